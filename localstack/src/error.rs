//! Refusals of the API: AWS's code, AWS's HTTP status, and a message.
//!
//! Codes are the ones on the wire (`DBInstanceNotFound`), which differ from the shape names of the SDKs
//! (`DBInstanceNotFoundFault`); codes and statuses are those of botocore's service model.

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) code: String,
    pub(crate) status: u16,
    pub(crate) message: String,
}

pub(crate) type Result<T> = std::result::Result<T, ApiError>;

impl ApiError {
    pub(crate) fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), status: status_of(code), message: message.into() }
    }

    /// A refusal whose status is not the one that goes with its code in RDS.
    pub(crate) fn with_status(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), status, message: message.into() }
    }

    pub(crate) fn invalid_value(message: impl Into<String>) -> Self {
        Self::new("InvalidParameterValue", message)
    }

    pub(crate) fn invalid_combination(message: impl Into<String>) -> Self {
        Self::new("InvalidParameterCombination", message)
    }

    pub(crate) fn instance_state(message: impl Into<String>) -> Self {
        Self::new("InvalidDBInstanceState", message)
    }

    pub(crate) fn snapshot_state(message: impl Into<String>) -> Self {
        Self::new("InvalidDBSnapshotState", message)
    }

    pub(crate) fn snapshot_unavailable(id: &str) -> Self {
        Self::snapshot_state(format!("The snapshot {id} is not in the available state."))
    }

    pub(crate) fn missing_parameter(parameter: &str) -> Self {
        Self::new("MissingParameter", format!("The request must contain the parameter {parameter}."))
    }

    pub(crate) fn no_operation(action: &str, version: &str) -> Self {
        Self::new("InvalidAction", format!("Could not find operation {action} for version {version}"))
    }

    pub(crate) fn no_option_group(name: &str) -> Self {
        Self::new("OptionGroupNotFoundFault", format!("Specified OptionGroupName: {name} not found."))
    }

    pub(crate) fn no_automated_backup(what: &str) -> Self {
        let message = format!("DBInstanceAutomatedBackup {what} not found.");
        Self::new("DBInstanceAutomatedBackupNotFound", message)
    }

    pub(crate) fn no_instance(id: &str) -> Self {
        Self::new("DBInstanceNotFound", format!("DBInstance {id} not found."))
    }

    pub(crate) fn no_snapshot(id: &str) -> Self {
        Self::new("DBSnapshotNotFound", format!("DBSnapshot {id} not found."))
    }

    /// `Receiver` when the fault is the service's, `Sender` when it is the caller's.
    pub(crate) fn fault_party(&self) -> &'static str {
        if self.status >= 500 { "Receiver" } else { "Sender" }
    }
}

/// The HTTP status that goes with a code.
///
/// RDS sends nearly every refusal as 400; the exceptions are listed. An unknown code counts as a failure of the service
/// (500), so that clients retry a fault with such a code.
pub(crate) fn status_of(code: &str) -> u16 {
    match code {
        "AccessDenied"
        | "AccessDeniedException"
        | "MissingAuthenticationToken"
        | "InvalidClientTokenId"
        | "SignatureDoesNotMatch"
        | "ExpiredToken"
        | "OptInRequired"
        | "NotAuthorized"
        | "UnrecognizedClientException"
        | "InsufficientDBClusterCapacityFault"
        | "DBClusterQuotaExceededFault"
        | "DBClusterEndpointQuotaExceededFault"
        | "GlobalClusterQuotaExceededFault" => 403,
        "ServiceUnavailable" | "ServiceUnavailableException" => 503,
        "InternalFailure" | "InternalError" | "InternalServerError" => 500,
        "ReservedDBInstanceAlreadyExists" => 404,
        _ if code.ends_with("NotFound") || code.ends_with("NotFoundFault") => 404,
        _ if is_known(code) => 400,
        _ => 500,
    }
}

/// Whether a code that is not an exception is one of AWS's.
fn is_known(code: &str) -> bool {
    const ENDINGS: &str = "AlreadyExists AlreadyExistsFault QuotaExceeded QuotaExceededFault State StateFault NotSupported \
        NotSupportedFault Fault Exception EnoughAZs";
    const CODES: &str = "InvalidParameterValue InvalidParameterCombination InvalidAction InvalidQueryParameter \
        InvalidSubnet InvalidExportOnly MalformedInput MalformedQueryString MissingAction MissingParameter \
        Throttling ThrottlingException Throttled RequestLimitExceeded RequestExpired ValidationError \
        InsufficientDBInstanceCapacity InsufficientStorageClusterCapacity PointInTimeRestoreNotEnabled \
        DBInstanceNotReady DBUpgradeDependencyFailure UnsupportedDBEngineVersion";
    CODES.split_whitespace().any(|known| known == code)
        || ENDINGS.split_whitespace().any(|ending| code.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_those_of_the_service_model() {
        for (code, status) in [
            ("DBInstanceNotFound", 404),
            ("DBSubnetGroupNotFoundFault", 404),
            ("DBInstanceAlreadyExists", 400),
            ("InstanceQuotaExceeded", 400),
            ("InsufficientDBInstanceCapacity", 400),
            ("KMSKeyNotAccessibleFault", 400),
            ("InvalidDBInstanceState", 400),
            ("PointInTimeRestoreNotEnabled", 400),
            ("AccessDenied", 403),
            ("InternalFailure", 500),
            ("ServiceUnavailable", 503),
            ("NobodyKnowsThis", 500),
        ] {
            assert_eq!(status_of(code), status, "{code}");
        }
    }
}
