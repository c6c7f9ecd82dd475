//! The restore drill: restore elsewhere, prove, time, tear down.
//!
//! Owns the throwaway instance from the request that makes it to the look that no longer finds it, and the record
//! in the vault. A drill never writes to its source, and nothing in here deletes an instance that is not proven to
//! be a throwaway ([`throwaway::prove`]).
//!
//! ```text
//! preflight  reads only: everything that can be known to fail fails here, before anything is created
//! run        the phases in order, the verdict, the removal
//! bring_up   the request for the copy, the wait for it, the login
//! compare    source and copy, by `verify`; the user's own checks
//! throwaway  its name, its tags, and the proof that a drill made it
//! removal    its end, and the proof that it is gone
//! journal    the record, written before the restore and after the removal
//! chain      what names each file of the record by its hash
//! integrity  whether the record is as it was written
//! estimate   how long a drill may still take, by earlier ones
//! proof      which records prove something, for whoever draws conclusions from them
//! outcome    what became of a drill, its throwaway and its objectives, in a word and a tone
//! notes      what was done about a drill, and who signed it off
//! calendar   databases by months, with the gaps
//! headline   what a calendar comes to, in one sentence
//! dossier    every drill of a period, for an auditor
//! sweep      removes what a drill that died has left
//! lease      one drill of one source at a time, on whichever machine
//! fleet      drills of many databases: which, in which order, how many at once, by which of several machines
//! ```

mod bring_up;
pub(crate) mod calendar;
pub(crate) mod chain;
pub(crate) mod checks;
mod compare;
mod decimal;
pub(crate) mod dossier;
pub(crate) mod estimate;
pub(crate) mod fleet;
pub(crate) mod headline;
pub(crate) mod integrity;
pub(crate) mod journal;
pub(crate) mod lease;
pub(crate) mod notes;
pub(crate) mod outcome;
pub(crate) mod page;
mod preflight;
pub(crate) mod proof;
pub(crate) mod report;
pub(crate) mod removal;
mod run;
pub(crate) mod sweep;
pub(crate) mod throwaway;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

pub(crate) use preflight::plan;
pub(crate) use report::{Report, State};
pub(crate) use run::run;

use estimate::Earlier;

use crate::aws::{Aws, Restore, RestoreFrom};
use crate::config::{Check, Freshness};
use crate::error::Error;
use crate::fleet::{Instance, InstanceId, RunId, Settings};
use crate::interrupt::Interrupt;
use crate::postgres::Server;
use crate::restore::isolation::Isolation;
use crate::restore::{Chosen, Wanted, Way};
use crate::vault::Vault;
use crate::verify::{Baseline, Look, Recorded};

/// The phase in which the throwaway is removed.
pub(crate) const TEAR_DOWN: &str = "tear down";

/// What a drill is asked to do.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The instance to drill.
    pub source: InstanceId,
    /// What to restore.
    pub wanted: Wanted,
    /// How that was written.
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
    /// Questions to the copy.
    pub checks: Vec<Check>,
    /// Where the newest row is found.
    pub freshness: Option<Freshness>,
    /// Recovery time objective.
    pub rto: Duration,
    /// Recovery point objective.
    pub rpo: Duration,
    /// How large a part of a table, 0 to 1, may stay open without leaving the drill unknown.
    pub tolerance: f64,
    /// Tables that are emptied and loaded anew as a matter of course.
    pub churning: crate::verify::depth::Tables,
    /// How often to look.
    pub poll: Duration,
    /// How long the restore may take.
    pub wait: Duration,
    /// How long the removal may take.
    pub teardown_timeout: Duration,
    /// When anyone may remove the throwaway, counted from the start.
    pub expires_after: Duration,
    /// What becomes of the throwaway.
    pub afterwards: Afterwards,
    /// The fleet run that it belongs to.
    pub fleet: Option<String>,
    /// How long a restore that the quota leaves no room for is asked for again.
    pub patience_for_room: Duration,
}

/// How to log in to the restored copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum CopyLogin {
    /// As the master user with a new random password: works however old the backup is.
    #[default]
    ResetPassword,
    /// With the credentials of the source; wrong if the password was changed since the backup.
    SameCredentials,
    /// With an IAM token.
    Iam,
}

/// What a copy is compared with, where there is a choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum BaselineChoice {
    /// What was recorded with the backup if that is in the vault, else the source as it is now.
    #[default]
    Best,
    /// What was recorded with the backup.
    Recorded,
    /// The source as it is now.
    Live,
}

/// What becomes of the throwaway when the drill is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Afterwards {
    /// It is removed, whatever happened.
    #[default]
    Remove,
    /// It is kept, to be looked at, until it expires.
    Keep,
}

/// A drill that can be run. By value: it cannot run twice.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Its id.
    pub run: RunId,
    /// Name of the throwaway.
    pub throwaway: InstanceId,
    /// When anyone may remove it.
    pub expires: DateTime<Utc>,
    /// When it was planned.
    pub planned_at: DateTime<Utc>,
    /// The source.
    pub source: Instance,
    /// How to reach it.
    pub source_server: Server,
    /// What will be restored.
    pub chosen: Chosen,
    /// The baseline that was recorded with it, and its seal.
    pub recorded: Option<Arc<(String, Recorded)>>,
    /// How the copy is kept from acting by itself.
    pub isolation: Isolation,
    /// What was asked for.
    pub request: Request,
}

/// What a drill tells while it runs.
#[derive(Debug)]
pub(crate) enum Event<'a> {
    /// A drill begins, and this is what earlier ones of the database took.
    Begun(&'a Earlier),
    /// A part begins.
    Phase(&'a str),
    /// An instance has another status than before.
    Status {
        /// Which.
        id: &'a InstanceId,
        /// What AWS says.
        status: &'a str,
    },
    /// Tables are being read.
    Counting {
        /// `source` or `copy`.
        side: &'static str,
        /// Tables read.
        tables: usize,
        /// Tables in all, as far as known.
        of_tables: usize,
        /// Rows read.
        rows: u64,
        /// Bytes of the tables read.
        bytes: u64,
        /// Bytes of the tables in all, as far as known.
        of_bytes: u64,
    },
    /// Worth knowing.
    Note(&'a str),
    /// Worth worrying about.
    Warning(&'a str),
}

/// What a drill works with.
pub(crate) struct Surroundings<'a> {
    /// AWS.
    pub aws: &'a Aws,
    /// Where the record is kept.
    pub vault: &'a Vault,
    /// Signals.
    pub interrupt: &'a Interrupt,
    /// Where events go.
    pub tell: &'a (dyn Fn(Event<'_>) + Sync),
    /// The clock.
    pub clock: fn() -> DateTime<Utc>,
    /// Host name, for the record.
    pub host: String,
    /// Why the drill is to be broken off, as soon as there is a reason.
    pub stop: &'a (dyn Fn() -> Option<Error> + Sync),
}

impl Surroundings<'_> {
    /// The time by AWS's clock.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.aws.now((self.clock)())
    }
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
    /// By which way the moment comes back, and which baseline that allows.
    pub(crate) fn way(&self) -> (Way, Baseline) {
        match self.chosen {
            Chosen::Snapshot(_) if self.recorded.is_some() => (Way::Snapshot, Baseline::Recorded),
            Chosen::Snapshot(_) => (Way::Snapshot, Baseline::Live),
            Chosen::Time(_) => (Way::PointInTime, Baseline::Live),
            Chosen::Now { .. } => (Way::PointInTime, Baseline::Aligned),
        }
    }

    /// The parameter group of the copy: the one that is made for it, the one that was asked for, or the source's.
    pub(crate) fn parameter_group(&self) -> Option<String> {
        let made = self.isolation.group().map(|group| group.name.clone());
        made.or_else(|| self.request.parameter_group.clone()).or_else(|| self.source.parameter_group.clone())
    }

    /// The restore that will be asked for; `at` is the aligned moment, where there is one.
    pub(crate) fn restore(&self, at: Option<DateTime<Utc>>) -> Restore {
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
            tags: throwaway::tags(source, &self.run, self.expires),
        }
    }
}
