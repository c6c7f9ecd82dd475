//! What a refusal of AWS means, from its error codes, and what to do about it.

use aws_sdk_rds::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_rds::operation::RequestId;

use crate::error::Error;

/// What a refusal of AWS means to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// There is no such object.
    NotFound,
    /// The name is taken.
    AlreadyExists,
    /// The object is in the wrong state for this.
    WrongState,
    /// Too many calls; the same call may succeed later.
    Throttled,
    /// The role may not do this.
    Denied,
    /// The service failed or could not be reached, or its answer was lost: whether the call was done is not known.
    Unsure,
    /// No capacity of this class now.
    NoCapacity,
    /// A quota of the account is used up.
    Quota,
    /// Anything else: the request as such was refused.
    Refused,
}

impl Fault {
    /// Whether the same call may succeed later without anyone doing anything.
    pub(crate) fn is_transient(self) -> bool {
        matches!(self, Fault::Throttled | Fault::Unsure)
    }
}

/// A call to AWS that did not succeed.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// The action, such as `DescribeDBInstances`.
    pub operation: &'static str,
    /// The object that it was about.
    pub resource: String,
    /// What the refusal means to us.
    pub fault: Fault,
    /// AWS's own code, if it answered.
    pub code: Option<String>,
    /// AWS's own words, or what kept them from us.
    pub message: String,
    /// Whether nobody listens at the address: a wrong `--endpoint-url` or no network, which no patience mends.
    pub is_unreachable: bool,
}

impl Failure {
    /// A failure that is not an error of the SDK.
    pub(crate) fn new(
        operation: &'static str,
        resource: impl Into<String>,
        fault: Fault,
        message: impl Into<String>,
    ) -> Self {
        let (resource, message) = (resource.into(), message.into());
        Failure { operation, resource, fault, code: None, message, is_unreachable: false }
    }

    pub(super) fn from_sdk<E, R>(
        operation: &'static str,
        resource: impl Into<String>,
        error: SdkError<E, R>,
    ) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
        R: std::fmt::Debug + Send + Sync + 'static,
        SdkError<E, R>: RequestId,
    {
        let resource = resource.into();
        let code = error.as_service_error().and_then(|service| service.code()).map(str::to_owned);
        let (fault, message) = match (&error, &code) {
            (SdkError::ServiceError(context), Some(code)) => {
                let message =
                    context.err().message().unwrap_or("AWS gave no reason").trim_end_matches('.').to_owned();
                (fault_of_code(code), message)
            }
            _ => (Fault::Unsure, innermost_cause(&error)),
        };
        let is_unreachable = code.is_none() && is_unreachable(&error);
        Failure { operation, resource, fault, code, message, is_unreachable }
    }
}

/// The answer, if there is the object that was asked for.
pub(super) fn if_found<T>(answer: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(failure) if failure.fault == Fault::NotFound => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// Wire codes carry `Fault` at their end or not, without a rule, so both spellings count
/// (`InvalidDBInstanceState` on the wire is `InvalidDBInstanceStateFault` in CloudTrail).
pub(super) fn fault_of_code(code: &str) -> Fault {
    let bare = code.strip_suffix("Fault").unwrap_or(code);
    match bare {
        "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "RequestLimitExceeded"
        | "TooManyRequestsException"
        | "SlowDown"
        | "RequestThrottled"
        | "RequestThrottledException" => Fault::Throttled,
        "InternalFailure"
        | "InternalError"
        | "InternalServerError"
        | "InternalServiceError"
        | "ServiceUnavailable"
        | "ServiceUnavailableException"
        | "RequestTimeout"
        | "RequestTimeoutException" => Fault::Unsure,
        "AccessDenied"
        | "AccessDeniedException"
        | "UnauthorizedOperation"
        | "NotAuthorized"
        | "AuthFailure"
        | "InvalidClientTokenId"
        | "UnrecognizedClientException"
        | "SignatureDoesNotMatch"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "OptInRequired"
        | "MissingAuthenticationToken" => Fault::Denied,
        "InsufficientDBInstanceCapacity"
        | "InsufficientStorageClusterCapacity"
        | "InsufficientDBClusterCapacity" => Fault::NoCapacity,
        _ if bare.ends_with("QuotaExceeded") => Fault::Quota,
        _ if bare.ends_with("AlreadyExists") => Fault::AlreadyExists,
        _ if bare.ends_with("NotFound") => Fault::NotFound,
        "ResourceNotFoundException" => Fault::NotFound,
        _ if bare.starts_with("Invalid") && bare.ends_with("State") => Fault::WrongState,
        _ => Fault::Refused,
    }
}

/// The innermost cause says what happened; the SDK's outer layers only say that something did.
pub(super) fn innermost_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(next) = innermost.source() {
        innermost = next;
    }
    innermost.to_string()
}

impl Failure {
    /// Whether asking again may help: it may pass by itself, and somebody listens at the address.
    pub(crate) fn is_worth_repeating(&self) -> bool {
        self.fault.is_transient() && !self.is_unreachable
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.code {
            Some(code) => write!(f, "{}: {} ({code})", self.operation, self.message),
            None => write!(f, "{}: no answer from AWS: {}", self.operation, self.message),
        }
    }
}

impl std::error::Error for Failure {}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let what = format!("AWS refused {} for {}", failure.operation, failure.resource);
        let error = match failure.fault {
            Fault::NotFound => Error::request(format!("{} does not exist", failure.resource)),
            Fault::AlreadyExists => Error::request(format!("{} exists already", failure.resource)),
            Fault::Throttled => Error::outside(format!("AWS throttled {} for too long", failure.operation))
                .hint("Other tools of this account share its request rate: run it again later, or with a longer `--poll`."),
            Fault::Unsure => Error::outside(format!("AWS could not be reached for {}", failure.operation))
                .hint("Check the network, `--region` and `--endpoint-url`, then run it again."),
            Fault::Denied => Error::outside(what).hint(format!(
                "Give this role the permission `{}:{}` on {}, or choose another `--profile`.",
                service_of(failure.operation),
                failure.operation,
                failure.resource
            )),
            Fault::NoCapacity => Error::outside(what)
                .hint("The Availability Zone has no room for this class now: choose another `--class`, or run it later."),
            Fault::Quota => {
                Error::outside(what).hint("Remove what is no longer needed, or raise the quota in Service Quotas.")
            }
            Fault::WrongState => Error::outside(what).hint("Run it again when the object is available."),
            Fault::Refused => Error::outside(what),
        };
        error.caused_by(failure)
    }
}

/// The prefix of an action in IAM policies.
fn service_of(operation: &str) -> &'static str {
    match operation {
        "GetTopicAttributes" | "ListTopics" => "sns",
        "GetSecretValue" => "secretsmanager",
        "GetCallerIdentity" => "sts",
        "DeleteAlarms" | "TagResource" | "UntagResource" | "ListTagsForResource" | "ListMetrics" => {
            "cloudwatch"
        }
        _ if operation.contains("Alarm") || operation.contains("Metric") => "cloudwatch",
        _ => "rds",
    }
}

/// Whether no connection came about: it was refused, or the name of the host is unknown. For the latter the standard library has
/// no kind of error, and the words are its own.
pub(super) fn is_unreachable(error: &(dyn std::error::Error + 'static)) -> bool {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.filter_map(|cause| cause.downcast_ref::<std::io::Error>()).any(|cause| {
        cause.kind() == std::io::ErrorKind::ConnectionRefused
            || cause.to_string().starts_with("failed to lookup address information")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_means_the_same_with_and_without_fault_at_its_end() {
        for (code, fault) in [
            ("DBInstanceNotFound", Fault::NotFound),
            ("DBSubnetGroupNotFoundFault", Fault::NotFound),
            ("InvalidDBInstanceState", Fault::WrongState),
            ("InvalidDBInstanceStateFault", Fault::WrongState),
            ("DBInstanceAlreadyExists", Fault::AlreadyExists),
            ("Throttling", Fault::Throttled),
            ("InternalFailure", Fault::Unsure),
            ("InstanceQuotaExceeded", Fault::Quota),
            ("InsufficientDBInstanceCapacity", Fault::NoCapacity),
            ("InvalidParameterValue", Fault::Refused),
            ("AccessDenied", Fault::Denied),
        ] {
            assert_eq!(fault_of_code(code), fault, "{code}");
        }
    }
}
