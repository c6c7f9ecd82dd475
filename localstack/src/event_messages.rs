//! The events of instances and snapshots: the id, category and message of each (Amazon RDS User Guide, "Amazon RDS event
//! categories and event messages").

use std::borrow::Cow;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EventMessage {
    pub(crate) id: &'static str,
    pub(crate) category: Cow<'static, str>,
    pub(crate) text: Cow<'static, str>,
}

macro_rules! messages {
    ($($name:ident = $id:literal, $category:expr, $text:literal;)*) => {
        $(pub(crate) static $name: EventMessage =
            EventMessage { id: $id, category: Cow::Borrowed($category), text: Cow::Borrowed($text) };)*
        /// The messages that name nothing.
        static FIXED: &[&EventMessage] = &[$(&$name),*];
    };
}

const CHANGE: &str = "configuration change";

messages! {
    BACKING_UP = "RDS-EVENT-0001", "backup", "Backing up DB instance";
    BACKED_UP = "RDS-EVENT-0002", "backup", "Finished DB Instance backup";
    DELETED = "RDS-EVENT-0003", "deletion", "DB instance deleted";
    SHUT_DOWN = "RDS-EVENT-0004", "availability", "DB instance shutdown";
    CREATED = "RDS-EVENT-0005", "creation", "DB instance created";
    RESTARTED = "RDS-EVENT-0006", "availability", "DB instance restarted";
    CHANGING_CLASS = "RDS-EVENT-0012", CHANGE, "Applying modification to database instance class";
    FAILOVER_BEGUN = "RDS-EVENT-0013", "failover", "Multi-AZ instance failover started.";
    CHANGED_CLASS = "RDS-EVENT-0014", CHANGE, "Finished applying modification to DB instance class";
    RESET_CREDENTIALS = "RDS-EVENT-0016", CHANGE, "Reset master credentials";
    CHANGED_STORAGE = "RDS-EVENT-0017", CHANGE, "Finished applying modification to allocated storage";
    CHANGING_STORAGE = "RDS-EVENT-0018", CHANGE, "Applying modification to allocated storage";
    BECOMING_MULTI_AZ = "RDS-EVENT-0024", CHANGE, "Applying modification to convert to a Multi-AZ DB instance";
    BECAME_MULTI_AZ = "RDS-EVENT-0025", CHANGE, "Finished applying modification to convert to a Multi-AZ DB instance";
    BACKUPS_DISABLED = "RDS-EVENT-0028", CHANGE, "Automated backups for this DB instance have been disabled";
    BECAME_SINGLE_AZ = "RDS-EVENT-0029", CHANGE, "Finished applying modification to convert to a standard (Single-AZ) DB instance";
    BECOMING_SINGLE_AZ = "RDS-EVENT-0030", CHANGE, "Applying modification to convert to a standard (Single-AZ) DB instance";
    BACKUPS_ENABLED = "RDS-EVENT-0032", CHANGE, "Automated backups for this DB instance have been enabled";
    INVALID_PARAMETERS = "RDS-EVENT-0035", "failure", "Database instance put into incompatible-parameters state.";
    MANUAL_SNAPSHOT_BEGUN = "RDS-EVENT-0040", "creation", "Creating manual snapshot";
    SNAPSHOT_DELETED = "RDS-EVENT-0041", "deletion", "Deleted manual snapshot";
    MANUAL_SNAPSHOT_CREATED = "RDS-EVENT-0042", "creation", "Manual snapshot created";
    FAILOVER_DONE = "RDS-EVENT-0049", "failover", "Multi-AZ instance failover completed";
    STOPPED = "RDS-EVENT-0087", "notification", "DB instance stopped";
    STARTED = "RDS-EVENT-0088", "notification", "DB instance started";
    AUTOMATED_SNAPSHOT_BEGUN = "RDS-EVENT-0090", "creation", "Creating automated snapshot";
    AUTOMATED_SNAPSHOT_CREATED = "RDS-EVENT-0091", "creation", "Automated snapshot created";
    STOPPED_TOO_LONG = "RDS-EVENT-0154", "notification", "DB instance is being started due to it exceeding the maximum allowed time being stopped.";
}

fn with_text(id: &'static str, category: &'static str, text: String) -> EventMessage {
    EventMessage { id, category: category.into(), text: text.into() }
}

pub(crate) fn uses_parameter_group(name: &str) -> EventMessage {
    with_text("RDS-EVENT-0011", CHANGE, format!("Updated to use DBParameterGroup {name}"))
}

/// Of the instance that came out of a point in time.
pub(crate) fn restored_to_time(source: &str, target: &str) -> EventMessage {
    with_text("RDS-EVENT-0019", "restoration", format!("Restored from DB instance {source} to {target}"))
}

pub(crate) fn failed(status: &impl std::fmt::Display) -> EventMessage {
    let text = format!(
        "DB instance put into {status} state. RDS recommends that you initiate a point-in-time-restore."
    );
    with_text("RDS-EVENT-0031", "failure", text)
}

/// Of the instance and of the snapshot.
pub(crate) fn restored_from_snapshot(snapshot: &str) -> EventMessage {
    with_text("RDS-EVENT-0043", "restoration", format!("Restored from snapshot {snapshot}"))
}

pub(crate) fn monitoring_changed(seconds: i64) -> EventMessage {
    with_text("RDS-EVENT-0078", CHANGE, format!("Monitoring Interval changed to {seconds}"))
}

pub(crate) fn low_storage(message: String) -> EventMessage {
    with_text("RDS-EVENT-0089", "low storage", message)
}

/// A copy begins: from another Region, or within one.
pub(crate) fn copy_begun(snapshot: &str, from: Option<&str>, region: &str) -> EventMessage {
    let (id, place) = match from {
        Some(from) => ("RDS-EVENT-0059", format!("from region {from}")),
        None => ("RDS-EVENT-0196", format!("in region {region}")),
    };
    with_text(id, "notification", format!("Started copy of snapshot {snapshot} {place}"))
}

pub(crate) fn copy_done(snapshot: &str, from: Option<&str>, region: &str, minutes: i64) -> EventMessage {
    let (id, place) = match from {
        Some(from) => ("RDS-EVENT-0060", format!("from region {from} in {minutes} minutes")),
        None => ("RDS-EVENT-0197", format!("in region {region}")),
    };
    with_text(id, "notification", format!("Finished copy of snapshot {snapshot} {place}"))
}

/// The id of an event by its text, for one that the control endpoint makes up.
pub(crate) fn event_id_of(text: &str) -> &'static str {
    const BEGINNINGS: [(&str, &str); 7] = [
        ("DB instance put into", "RDS-EVENT-0031"),
        ("Database instance put into", "RDS-EVENT-0035"),
        ("Restored from DB instance", "RDS-EVENT-0019"),
        ("Restored from snapshot", "RDS-EVENT-0043"),
        ("The free storage capacity", "RDS-EVENT-0089"),
        ("Started copy", "RDS-EVENT-0196"),
        ("Finished copy", "RDS-EVENT-0197"),
    ];
    let fixed = FIXED.iter().find(|known| text.starts_with(&*known.text)).map(|known| known.id);
    let by_beginning =
        || BEGINNINGS.iter().find(|(beginning, _)| text.starts_with(beginning)).map(|(_, id)| *id);
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
            assert_eq!(event_id_of(message), id, "{message}");
        }
        assert_eq!(copy_begun("s", None, "r").id, "RDS-EVENT-0196");
        assert_eq!(copy_begun("s", Some("r2"), "r").id, "RDS-EVENT-0059");
    }
}
