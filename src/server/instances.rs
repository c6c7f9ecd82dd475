//! The DB instances of a Region, checked once a minute.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use serde::Serialize;

use super::setup::Setup;
use crate::status::Report;

/// How often AWS is asked, and how long it may take.
const BETWEEN_LOOKS: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(45);

/// AWS's answer, or why there is none.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Instances {
    /// Whether a Region is configured.
    pub(super) is_watched: bool,
    #[serde(serialize_with = "shared")]
    pub(super) report: Option<Arc<Report>>,
    pub(super) looked_at: Option<DateTime<Utc>>,
    pub(super) error: Option<String>,
}

impl Instances {
    /// Those that were seen.
    pub(super) fn all(&self) -> impl Iterator<Item = &crate::status::Database> {
        self.report.iter().flat_map(|report| &report.databases)
    }

    /// Whether several accounts or Regions are checked.
    pub(super) fn is_over_several(&self) -> bool {
        self.report.as_ref().is_some_and(|report| report.is_over_several())
    }

    /// The display name of an instance: two accounts may have the same id.
    pub(super) fn label(&self, it: &crate::status::Database) -> String {
        match self.all().filter(|other| other.id == it.id).count() {
            ..=1 => it.id.clone(),
            _ => format!("{} ({})", it.id, it.place),
        }
    }
}

fn shared<S: serde::Serializer>(
    report: &Option<Arc<Report>>,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    report.as_deref().serialize(serializer)
}

/// What was last seen of AWS.
pub(super) type WatchedInstances = Arc<Mutex<Instances>>;

/// Checks the instances from now on, if a Region is configured.
pub(super) fn watch_instances(setup: &Arc<Setup>, watched: &WatchedInstances) {
    let Some(check) = setup.instances.clone() else { return };
    let (setup, watched) = (Arc::clone(setup), watched.clone());
    watched.lock().is_watched = true;
    tokio::spawn(async move {
        loop {
            match tokio::time::timeout(PATIENCE, check()).await {
                Ok(Ok(report)) => {
                    *watched.lock() = Instances {
                        is_watched: true,
                        report: Some(Arc::new(report)),
                        looked_at: Some((setup.clock)()),
                        error: None,
                    };
                }
                Ok(Err(error)) => {
                    watched.lock().error = Some(crate::output::redact_urls(&error.chain()));
                }
                Err(_) => watched.lock().error = Some("AWS did not answer in time".to_owned()),
            }
            tokio::select! {
                () = tokio::time::sleep(BETWEEN_LOOKS) => {}
                _ = setup.interrupt.wait(1) => return,
            }
        }
    });
}
