//! What this machine and this role can and cannot do, command by command, and the remedies.
//!
//! Reads, and changes nothing: permissions are tested with IAM's simulator, with read calls, and with calls for
//! objects that do not exist; only the vault is tried for real, with a file that is removed again. What could not be
//! determined is *unknown*, neither fine nor broken.
//!
//! ```text
//! identity     credentials, where they come from, when they expire; the clock
//! network      names, connections and TLS of AWS's endpoints and of databases
//! permissions  which action each command needs, and whether AWS allows it
//! tools        PostgreSQL's programs, compared with the known servers; certificate authorities
//! storage      the vault
//! settings     lifeboat.toml, keys, topics, where messages go
//! ```

pub(crate) mod identity;
pub(crate) mod network;
pub(crate) mod permissions;
pub(crate) mod settings;
pub(crate) mod storage;
pub(crate) mod tools;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::rds::Place;

/// A command that this machine should be able to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Task {
    /// `lifeboat status`.
    Status,
    /// `lifeboat policy`.
    Policy,
    /// `lifeboat snapshot`.
    Snapshot,
    /// `lifeboat restore`.
    Restore,
    /// `lifeboat drill`.
    Drill,
    /// `lifeboat alarms`.
    Alarms,
    /// `lifeboat backup`.
    Backup,
    /// `lifeboat serve`.
    Serve,
}

impl Task {
    /// All of them.
    pub(crate) const ALL: [Task; 8] = [
        Task::Status,
        Task::Policy,
        Task::Snapshot,
        Task::Restore,
        Task::Drill,
        Task::Alarms,
        Task::Backup,
        Task::Serve,
    ];

    /// Those that speak to AWS about a fleet.
    pub(crate) const OF_AWS: [Task; 6] =
        [Task::Status, Task::Policy, Task::Snapshot, Task::Restore, Task::Drill, Task::Alarms];

    /// The command as it is typed.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Task::Status => "status",
            Task::Policy => "policy",
            Task::Snapshot => "snapshot",
            Task::Restore => "restore",
            Task::Drill => "drill",
            Task::Alarms => "alarms",
            Task::Backup => "backup",
            Task::Serve => "serve",
        }
    }
}

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// As it should be.
    Pass,
    /// It works, but deserves attention.
    Warning,
    /// It could not be determined.
    Unknown,
    /// It keeps commands from working.
    Fail,
}

/// One check.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Check {
    /// What it is about: `configuration`, `credentials`, `clock`, `network`, `permissions`, `databases`, `tools`, `vault`, `alarms`.
    pub group: &'static str,
    /// Its code, whatever the result: `pg_dump`, `vault_writable`.
    pub code: String,
    /// The result.
    pub verdict: Outcome,
    pub message: String,
    /// What fixes it: a command, or a policy statement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// The account and Region that it is about, if it is about one.
    #[serde(flatten)]
    pub place: Option<Place>,
    /// The commands that need it.
    pub commands: Vec<Task>,
}

impl Check {
    /// A check with its result.
    pub(crate) fn new(
        group: &'static str,
        code: impl Into<String>,
        verdict: Outcome,
        message: impl Into<String>,
    ) -> Self {
        Check {
            group,
            code: code.into(),
            verdict,
            message: message.into(),
            remedy: None,
            place: None,
            commands: Vec::new(),
        }
    }

    /// Adds the remedy.
    #[must_use]
    pub(crate) fn mended_by(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// Sets the account and Region.
    #[must_use]
    pub(crate) fn at(mut self, place: &Place) -> Self {
        self.place = Some(place.clone());
        self
    }

    /// Sets the commands that need it.
    #[must_use]
    pub(crate) fn for_tasks(mut self, tasks: &[Task]) -> Self {
        self.commands = tasks.to_vec();
        self
    }
}

/// Whether a command can work.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Ability {
    pub command: Task,
    /// The worst of what it needs.
    pub verdict: Outcome,
    /// Codes of the checks that failed or are unknown.
    pub because: Vec<String>,
}

/// All checks (`lifeboat.doctor/1`).
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// The schema of this document.
    pub schema: &'static str,
    pub at: DateTime<Utc>,
    /// Version of lifeboat.
    pub version: &'static str,
    /// The machine.
    pub host: String,
    /// The worst of all.
    pub verdict: Outcome,
    pub commands: Vec<Ability>,
    pub checks: Vec<Check>,
}

impl Report {
    /// The report for some commands; checks that none of them needs are left out.
    pub(crate) fn new(mut checks: Vec<Check>, wanted: &[Task], host: String, at: DateTime<Utc>) -> Self {
        checks.retain(|check| check.commands.iter().any(|task| wanted.contains(task)));
        for check in &mut checks {
            check.commands.retain(|task| wanted.contains(task));
        }
        let commands = wanted.iter().map(|task| ability(*task, &checks)).collect();
        let verdict = checks.iter().map(|check| check.verdict).max().unwrap_or(Outcome::Unknown);
        Report {
            schema: "lifeboat.doctor/1",
            at,
            version: env!("CARGO_PKG_VERSION"),
            host,
            verdict,
            commands,
            checks,
        }
    }
}

fn ability(task: Task, checks: &[Check]) -> Ability {
    let needed = || checks.iter().filter(|check| check.commands.contains(&task));
    let verdict = needed().map(|check| check.verdict).max().unwrap_or(Outcome::Unknown);
    let mut because: BTreeMap<&str, ()> = BTreeMap::new();
    if matches!(verdict, Outcome::Fail | Outcome::Unknown) {
        because
            .extend(needed().filter(|check| check.verdict == verdict).map(|check| (check.code.as_str(), ())));
    }
    Ability { command: task, verdict, because: because.into_keys().map(str::to_owned).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_as_able_as_the_worst_of_what_it_needs() {
        let check =
            |code: &str, verdict, tasks: &[Task]| Check::new("vault", code, verdict, "").for_tasks(tasks);
        let checks = vec![
            check("a", Outcome::Pass, &[Task::Drill, Task::Backup]),
            check("b", Outcome::Fail, &[Task::Drill]),
            check("c", Outcome::Unknown, &[Task::Drill, Task::Status]),
            check("d", Outcome::Warning, &[Task::Backup]),
        ];
        let report = Report::new(
            checks,
            &[Task::Status, Task::Drill, Task::Backup],
            "host".to_owned(),
            DateTime::UNIX_EPOCH,
        );
        let seen: Vec<_> =
            report.commands.iter().map(|it| (it.command.word(), it.verdict, it.because.join(" "))).collect();
        assert_eq!(
            seen,
            [
                ("status", Outcome::Unknown, "c".to_owned()),
                ("drill", Outcome::Fail, "b".to_owned()),
                ("backup", Outcome::Warning, String::new()),
            ]
        );
        assert_eq!(report.verdict, Outcome::Fail);
    }
}
