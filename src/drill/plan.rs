//! The request for a drill, and the planned drill. Plain data.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::ValueEnum;

use super::checks::{Check, Freshness};
use super::settings::DrillSettings;
use super::throwaway;
use crate::aws::{Poll, Restore, RestoreFrom};
use crate::postgres::Server;
use crate::rds::{Instance, InstanceId, RunId, Settings};
use crate::restore::isolation::Isolation;
use crate::restore::{Chosen, Wanted, Way};
use crate::verify::depth::Tables;
use crate::verify::{Baseline, Look, Recorded};

/// The default backup to restore.
pub(crate) const DEFAULT_FROM: &str = "latest-snapshot";

/// The request for a drill.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The instance to drill.
    pub source: InstanceId,
    /// What to restore.
    pub wanted: Wanted,
    /// The moment as the user wrote it.
    pub asked_for: String,
    /// Class of the throwaway.
    pub class: String,
    /// Subnet group, if not the source's.
    pub subnet_group: Option<String>,
    /// Security groups, if not the source's.
    pub security_groups: Vec<String>,
    /// Parameter group, if not the source's.
    pub parameter_group: Option<String>,
    /// Option group, if not the source's.
    pub option_group: Option<String>,
    /// How to log in to the copy.
    pub login: CopyLogin,
    /// Databases to compare; none means all.
    pub databases: Vec<String>,
    /// How deep to compare, and how gently.
    pub look: Look,
    /// Whether a baseline that was recorded with the backup is used.
    pub baseline: BaselineChoice,
    /// Checks to run on the copy.
    pub checks: Vec<Check>,
    /// Where the newest row is found.
    pub freshness: Option<Freshness>,
    /// Recovery time objective.
    pub rto: Duration,
    /// Recovery point objective.
    pub rpo: Duration,
    /// How large a part of a table, 0 to 1, may remain unverified without making the drill unknown.
    pub tolerance: f64,
    /// Tables that are regularly emptied and reloaded.
    pub churning: Tables,
    /// How often to poll.
    pub poll: Duration,
    /// How long the restore may take.
    pub wait: Duration,
    /// How long the removal may take.
    pub teardown_timeout: Duration,
    /// When anyone may remove the throwaway, counted from the start.
    pub expires_after: Duration,
    /// Whether the throwaway is kept.
    pub afterwards: Afterwards,
    /// The fleet run that it belongs to.
    pub fleet: Option<String>,
    /// How long to retry a restore that exceeds the quota.
    pub patience_for_room: Duration,
}

impl Request {
    /// The drill of a database by its settings; what they leave open has its default.
    pub(crate) fn new(source: InstanceId, wanted: Wanted, settings: DrillSettings, look: Look) -> Self {
        const HOUR: Duration = Duration::from_secs(3600);
        let wait = settings.wait.unwrap_or(2 * HOUR);
        Request {
            source,
            wanted,
            asked_for: settings.from.unwrap_or(DEFAULT_FROM.to_owned()),
            class: settings.class.unwrap_or("db.t3.micro".to_owned()),
            subnet_group: settings.subnet_group,
            security_groups: settings.security_groups.unwrap_or_default(),
            parameter_group: settings.parameter_group,
            option_group: settings.option_group,
            login: CopyLogin::default(),
            databases: settings.databases.unwrap_or_default(),
            look,
            baseline: BaselineChoice::default(),
            checks: Vec::new(),
            freshness: None,
            rto: settings.rto.unwrap_or(HOUR),
            rpo: settings.rpo.unwrap_or(24 * HOUR),
            tolerance: settings.tolerance_percent.unwrap_or(10.0) / 100.0,
            churning: Tables::new(settings.churning.unwrap_or_default()),
            poll: Duration::from_secs(15),
            wait,
            teardown_timeout: HOUR / 2,
            expires_after: wait + 4 * HOUR,
            afterwards: Afterwards::default(),
            fleet: None,
            patience_for_room: Duration::ZERO,
        }
    }

    /// How often to ask AWS while the throwaway is removed, and for how long.
    pub(crate) fn teardown_poll(&self) -> Poll {
        Poll { every: self.poll, give_up_after: self.teardown_timeout }
    }
}

/// How to log in to the restored copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum CopyLogin {
    // Works however old the backup is.
    /// As the master user, with a new random password
    #[default]
    ResetPassword,
    // Wrong if the password was changed since the backup.
    /// With the credentials of the source
    SameCredentials,
    /// With an IAM token
    Iam,
}

/// What a copy is compared with, if there is a choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum BaselineChoice {
    /// Recorded with the backup, else live
    #[default]
    Best,
    /// Recorded with the backup
    Recorded,
    /// The source as it is now
    Live,
}

/// Whether the throwaway is kept after the drill.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Afterwards {
    /// It is removed, whatever happened.
    #[default]
    Remove,
    /// It is kept for inspection until it expires.
    Keep,
}

/// A drill that can be run. By value: it cannot run twice.
#[derive(Debug)]
pub(crate) struct Plan {
    pub run: RunId,
    /// Name of the throwaway.
    pub throwaway: InstanceId,
    /// When anyone may remove it.
    pub expires: DateTime<Utc>,
    pub planned_at: DateTime<Utc>,
    pub source: Instance,
    /// How to reach it.
    pub source_server: Server,
    /// What will be restored.
    pub chosen: Chosen,
    /// The baseline that was recorded with it, and its seal.
    pub recorded: Option<Arc<(String, Recorded)>>,
    /// How the copy is isolated.
    pub isolation: Isolation,
    /// What was asked for.
    pub request: Request,
}

/// The settings of a throwaway: the source's network and groups, but small, private, without backups or protection.
pub(crate) fn copy_settings(source: &Instance, class: String) -> Settings {
    Settings {
        class: Some(class),
        subnet_group: source.subnet_group.clone(),
        security_groups: source.security_groups.clone(),
        parameter_group: source.parameter_group.clone(),
        option_group: source.option_group.clone(),
        retention_days: Some(0),
        public: Some(false),
        multi_az: Some(false),
        deletion_protection: Some(false),
        copy_tags_to_snapshot: Some(false),
        ..Settings::default()
    }
}

impl Plan {
    /// How the moment is restored, and which baseline that allows.
    pub(crate) fn way_and_baseline(&self) -> (Way, Baseline) {
        match self.chosen {
            Chosen::Snapshot(_) if self.recorded.is_some() => (Way::Snapshot, Baseline::Recorded),
            Chosen::Snapshot(_) => (Way::Snapshot, Baseline::Live),
            Chosen::Time(_) => (Way::PointInTime, Baseline::Live),
            Chosen::Now { .. } => (Way::PointInTime, Baseline::Aligned),
        }
    }

    /// The parameter group of the copy: the one created for it, the requested one, or the source's.
    pub(crate) fn parameter_group(&self) -> Option<String> {
        let made = self.isolation.group_to_create().map(|group| group.name.clone());
        made.or_else(|| self.request.parameter_group.clone()).or_else(|| self.source.parameter_group.clone())
    }

    /// The restore request; `at` is the aligned moment, if there is one.
    pub(crate) fn restore_request(&self, at: Option<DateTime<Utc>>) -> Restore {
        let (source, request) = (&self.source, &self.request);
        let by_time = |at| RestoreFrom::Time { source: source.resource_id.clone(), replica: None, at };
        let from = match (&self.chosen, at) {
            (Chosen::Snapshot(snapshot), _) => RestoreFrom::Snapshot(snapshot.id.clone()),
            (Chosen::Time(at), _) => by_time(*at),
            (Chosen::Now { latest }, at) => by_time(at.unwrap_or(*latest)),
        };
        let security_groups = if request.security_groups.is_empty() {
            source.security_groups.clone()
        } else {
            request.security_groups.clone()
        };
        Restore {
            id: self.throwaway.clone(),
            from,
            settings: Settings {
                subnet_group: request.subnet_group.clone().or_else(|| source.subnet_group.clone()),
                security_groups,
                parameter_group: self.parameter_group(),
                option_group: request.option_group.clone().or_else(|| source.option_group.clone()),
                iam_authentication: Some(request.login == CopyLogin::Iam),
                ..copy_settings(source, request.class.clone())
            },
            tags: throwaway::throwaway_tags(source, &self.run, self.expires),
        }
    }
}
