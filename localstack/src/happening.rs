//! What happens to instances and snapshots: number, category and message of each event (Amazon RDS User Guide, "Amazon
//! RDS event categories and event messages").

use std::borrow::Cow;

/// One kind of event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Happening {
    pub(crate) id: &'static str,
    pub(crate) category: &'static str,
    pub(crate) message: Cow<'static, str>,
}

const fn of(id: &'static str, category: &'static str, message: &'static str) -> Happening {
    Happening { id, category, message: Cow::Borrowed(message) }
}

const CHANGE: &str = "configuration change";

pub(crate) static BACKING_UP: Happening = of("RDS-EVENT-0001", "backup", "Backing up DB instance");
pub(crate) static BACKED_UP: Happening = of("RDS-EVENT-0002", "backup", "Finished DB Instance backup");
pub(crate) static DELETED: Happening = of("RDS-EVENT-0003", "deletion", "DB instance deleted");
pub(crate) static SHUT_DOWN: Happening = of("RDS-EVENT-0004", "availability", "DB instance shutdown");
pub(crate) static CREATED: Happening = of("RDS-EVENT-0005", "creation", "DB instance created");
pub(crate) static RESTARTED: Happening = of("RDS-EVENT-0006", "availability", "DB instance restarted");
pub(crate) static CHANGING_CLASS: Happening =
    of("RDS-EVENT-0012", CHANGE, "Applying modification to database instance class");
pub(crate) static FAILOVER_BEGUN: Happening =
    of("RDS-EVENT-0013", "failover", "Multi-AZ instance failover started.");
pub(crate) static CHANGED_CLASS: Happening =
    of("RDS-EVENT-0014", CHANGE, "Finished applying modification to DB instance class");
pub(crate) static RESET_CREDENTIALS: Happening = of("RDS-EVENT-0016", CHANGE, "Reset master credentials");
pub(crate) static CHANGED_STORAGE: Happening =
    of("RDS-EVENT-0017", CHANGE, "Finished applying modification to allocated storage");
pub(crate) static CHANGING_STORAGE: Happening =
    of("RDS-EVENT-0018", CHANGE, "Applying modification to allocated storage");
pub(crate) static BECOMING_MULTI_AZ: Happening =
    of("RDS-EVENT-0024", CHANGE, "Applying modification to convert to a Multi-AZ DB instance");
pub(crate) static BECAME_MULTI_AZ: Happening =
    of("RDS-EVENT-0025", CHANGE, "Finished applying modification to convert to a Multi-AZ DB instance");
pub(crate) static BACKUPS_DISABLED: Happening =
    of("RDS-EVENT-0028", CHANGE, "Automated backups for this DB instance have been disabled");
pub(crate) static BECAME_SINGLE_AZ: Happening = of(
    "RDS-EVENT-0029",
    CHANGE,
    "Finished applying modification to convert to a standard (Single-AZ) DB instance",
);
pub(crate) static BECOMING_SINGLE_AZ: Happening =
    of("RDS-EVENT-0030", CHANGE, "Applying modification to convert to a standard (Single-AZ) DB instance");
pub(crate) static BACKUPS_ENABLED: Happening =
    of("RDS-EVENT-0032", CHANGE, "Automated backups for this DB instance have been enabled");
pub(crate) static INVALID_PARAMETERS: Happening =
    of("RDS-EVENT-0035", "failure", "Database instance put into incompatible-parameters state.");
pub(crate) static MANUAL_SNAPSHOT_BEGUN: Happening =
    of("RDS-EVENT-0040", "creation", "Creating manual snapshot");
pub(crate) static SNAPSHOT_DELETED: Happening = of("RDS-EVENT-0041", "deletion", "Deleted manual snapshot");
pub(crate) static MANUAL_SNAPSHOT_CREATED: Happening =
    of("RDS-EVENT-0042", "creation", "Manual snapshot created");
pub(crate) static FAILOVER_DONE: Happening =
    of("RDS-EVENT-0049", "failover", "Multi-AZ instance failover completed");
pub(crate) static STOPPED: Happening = of("RDS-EVENT-0087", "notification", "DB instance stopped");
pub(crate) static STARTED: Happening = of("RDS-EVENT-0088", "notification", "DB instance started");
pub(crate) static AUTOMATED_SNAPSHOT_BEGUN: Happening =
    of("RDS-EVENT-0090", "creation", "Creating automated snapshot");
pub(crate) static AUTOMATED_SNAPSHOT_CREATED: Happening =
    of("RDS-EVENT-0091", "creation", "Automated snapshot created");
pub(crate) static STOPPED_TOO_LONG: Happening = of(
    "RDS-EVENT-0154",
    "notification",
    "DB instance is being started due to it exceeding the maximum allowed time being stopped.",
);

fn saying(id: &'static str, category: &'static str, message: String) -> Happening {
    Happening { id, category, message: Cow::Owned(message) }
}

pub(crate) fn uses_parameter_group(name: &str) -> Happening {
    saying("RDS-EVENT-0011", CHANGE, format!("Updated to use DBParameterGroup {name}"))
}

/// Of the instance that came out of a point in time.
pub(crate) fn restored_to_time(source: &str, target: &str) -> Happening {
    saying("RDS-EVENT-0019", "restoration", format!("Restored from DB instance {source} to {target}"))
}

pub(crate) fn failed(status: &str) -> Happening {
    saying(
        "RDS-EVENT-0031",
        "failure",
        format!(
            "DB instance put into {status} state. RDS recommends that you initiate a point-in-time-restore."
        ),
    )
}

/// Of the instance and of the snapshot.
pub(crate) fn restored_from_snapshot(snapshot: &str) -> Happening {
    saying("RDS-EVENT-0043", "restoration", format!("Restored from snapshot {snapshot}"))
}

pub(crate) fn monitoring_changed(seconds: i64) -> Happening {
    saying("RDS-EVENT-0078", CHANGE, format!("Monitoring Interval changed to {seconds}"))
}

pub(crate) fn low_storage(message: String) -> Happening {
    saying("RDS-EVENT-0089", "low storage", message)
}

/// A copy begins: from another Region, or within one.
pub(crate) fn copy_begun(snapshot: &str, from: Option<&str>, region: &str) -> Happening {
    match from {
        Some(from) => saying(
            "RDS-EVENT-0059",
            "notification",
            format!("Started copy of snapshot {snapshot} from region {from}"),
        ),
        None => saying(
            "RDS-EVENT-0196",
            "notification",
            format!("Started copy of snapshot {snapshot} in region {region}"),
        ),
    }
}

pub(crate) fn copy_done(snapshot: &str, from: Option<&str>, region: &str, minutes: i64) -> Happening {
    match from {
        Some(from) => saying(
            "RDS-EVENT-0060",
            "notification",
            format!("Finished copy of snapshot {snapshot} from region {from} in {minutes} minutes"),
        ),
        None => saying(
            "RDS-EVENT-0197",
            "notification",
            format!("Finished copy of snapshot {snapshot} in region {region}"),
        ),
    }
}

/// The number of an event by its text, for one that the control endpoint made happen.
pub(crate) fn id_of(message: &str) -> &'static str {
    static FIXED: [&Happening; 27] = [
        &BACKING_UP,
        &BACKED_UP,
        &DELETED,
        &SHUT_DOWN,
        &CREATED,
        &RESTARTED,
        &CHANGING_CLASS,
        &FAILOVER_BEGUN,
        &CHANGED_CLASS,
        &RESET_CREDENTIALS,
        &CHANGED_STORAGE,
        &CHANGING_STORAGE,
        &BECOMING_MULTI_AZ,
        &BECAME_MULTI_AZ,
        &BACKUPS_DISABLED,
        &BECAME_SINGLE_AZ,
        &BECOMING_SINGLE_AZ,
        &BACKUPS_ENABLED,
        &MANUAL_SNAPSHOT_BEGUN,
        &SNAPSHOT_DELETED,
        &MANUAL_SNAPSHOT_CREATED,
        &FAILOVER_DONE,
        &STOPPED,
        &STARTED,
        &AUTOMATED_SNAPSHOT_BEGUN,
        &AUTOMATED_SNAPSHOT_CREATED,
        &STOPPED_TOO_LONG,
    ];
    const BEGINNINGS: [(&str, &str); 7] = [
        ("DB instance put into", "RDS-EVENT-0031"),
        ("Database instance put into", "RDS-EVENT-0035"),
        ("Restored from DB instance", "RDS-EVENT-0019"),
        ("Restored from snapshot", "RDS-EVENT-0043"),
        ("The free storage capacity", "RDS-EVENT-0089"),
        ("Started copy", "RDS-EVENT-0196"),
        ("Finished copy", "RDS-EVENT-0197"),
    ];
    let fixed = FIXED.iter().find(|known| message.starts_with(&*known.message)).map(|known| known.id);
    let by_beginning = || BEGINNINGS.iter().find(|(text, _)| message.starts_with(text)).map(|(_, id)| *id);
    fixed.or_else(by_beginning).unwrap_or("RDS-EVENT-0000")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_have_the_numbers_of_the_user_guide() {
        for (message, id) in [
            ("Automated backups for this DB instance have been enabled", "RDS-EVENT-0032"),
            ("Automated backups for this DB instance have been disabled", "RDS-EVENT-0028"),
            ("Deleted manual snapshot", "RDS-EVENT-0041"),
            ("Creating manual snapshot", "RDS-EVENT-0040"),
            ("Restored from snapshot before", "RDS-EVENT-0043"),
            ("DB instance put into incompatible-restore state.", "RDS-EVENT-0031"),
            ("something new", "RDS-EVENT-0000"),
        ] {
            assert_eq!(id_of(message), id, "{message}");
        }
        assert_eq!(copy_begun("s", None, "r").id, "RDS-EVENT-0196");
        assert_eq!(copy_begun("s", Some("r2"), "r").id, "RDS-EVENT-0059");
    }
}
