//! What a runbook is once it has been read: its front matter, its steps in order, and what is wrong with it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use super::expect::Assertion;
use super::fault::{Faults, Position};
use super::wait::Condition;

/// Where a runbook comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Built into the tool.
    Shipped(String),
    File(PathBuf),
}

impl Origin {
    /// Its name for people, by which `load_runbook` finds it again.
    pub(crate) fn display_path(&self) -> String {
        match self {
            Origin::Shipped(name) => name.clone(),
            Origin::File(path) => match std::env::current_dir()
                .ok()
                .and_then(|here| path.strip_prefix(here).ok().map(PathBuf::from))
            {
                Some(relative) => relative.display().to_string(),
                None => path.display().to_string(),
            },
        }
    }

    /// Its name in a journal: a path that is found from any directory.
    pub(crate) fn recorded(&self) -> String {
        match self {
            Origin::Shipped(name) => name.clone(),
            Origin::File(path) => path.display().to_string(),
        }
    }

    /// Its short name, as in `data-loss`.
    pub(crate) fn file_stem(&self) -> String {
        match self {
            Origin::Shipped(name) => name.clone(),
            Origin::File(path) => {
                let name =
                    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                name.trim_end_matches(".md").trim_end_matches(".runbook").to_owned()
            }
        }
    }
}

/// Whether a run is real or a rehearsal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    /// For real.
    Real,
    /// On throwaways, which are removed at the end.
    Rehearse,
}

impl Mode {
    /// In a word.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Mode::Real => "real",
            Mode::Rehearse => "rehearse",
        }
    }
}

/// A runbook, with its faults: one that has malformed parts is never run.
#[derive(Clone, Debug)]
pub(crate) struct Runbook {
    /// Where it comes from.
    pub origin: Origin,
    /// SHA-256 of the file.
    pub sha256: String,
    /// The file.
    pub text: String,
    /// The front matter.
    pub front: Front,
    /// What is to be done, in order.
    pub steps: Vec<Step>,
    /// What is wrong, in order.
    pub faults: Faults,
}

/// The front matter.
#[derive(Clone, Debug, Default)]
pub(crate) struct Front {
    /// What the runbook is for.
    pub title: String,
    /// Who maintains it.
    pub owner: String,
    /// When it must be reviewed again.
    pub review_by: Option<NaiveDate>,
    /// How long the recovery may take.
    pub rto: Option<Duration>,
    /// How much may be lost.
    pub rpo: Option<Duration>,
    /// Its parameters.
    pub parameters: Vec<Parameter>,
    /// What must exist before a run.
    pub needs: Needs,
}

/// A parameter of a runbook.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parameter {
    /// Its name, as a shell variable.
    pub name: String,
    pub at: Position,
    /// Whether it has no default.
    pub required: bool,
    /// What the whole of its value must match.
    pub pattern: Option<String>,
    /// Default value.
    pub default: Option<String>,
    /// Default value in a rehearsal.
    pub rehearse: Option<String>,
    /// Environment variable that it is read from by default.
    pub env: Option<String>,
    /// Whether it must never be written down.
    pub secret: bool,
    /// Whether it is a time as people write it; its value is that time in UTC.
    pub is_time: bool,
    /// Whether its value may have any characters, including those special to a shell.
    pub free_text: bool,
    /// A value as an example.
    pub example: Option<String>,
    pub help: Option<String>,
}

/// What must exist before a run begins.
#[derive(Clone, Debug, Default)]
pub(crate) struct Needs {
    /// Programs.
    pub commands: Vec<String>,
    pub files: Vec<NeedsFile>,
    /// Databases that steps log in to.
    pub databases: Vec<NeedsDatabase>,
    /// Whether AWS is needed, and in which account and Region.
    pub aws: Option<NeedsAws>,
}

/// A file that must exist.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NeedsFile {
    /// Its path, with placeholders and with `$BACKUP_DIR`.
    pub path: String,
    /// A pattern that one of its lines must match.
    pub has: Option<String>,
    /// Whether it will be replaced, so that its folder must be writable.
    #[serde(default, rename = "replaced")]
    pub is_replaced: bool,
}

/// A database that must accept our login.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NeedsDatabase {
    /// Parameter with the id of a DB instance or with a URL; otherwise what libpq's environment says.
    pub on: Option<String>,
    /// Its name.
    pub db: Option<String>,
    /// Tables that should be in it, separated by commas.
    pub tables: Option<String>,
    /// Tables that must not be in it, since steps create them.
    pub without_tables: Option<String>,
    /// Whether databases are created there.
    #[serde(default)]
    pub creates_databases: bool,
}

impl NeedsDatabase {
    /// The names of the values that it depends on.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        [&self.tables, &self.without_tables, &self.db].into_iter().filter_map(|text| text.as_deref())
    }
}

/// The AWS account that a runbook is for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NeedsAws {
    /// Account id.
    pub account: Option<String>,
    pub region: Option<String>,
}

/// One thing to do.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// Its name in this runbook.
    pub id: String,
    /// The heading above it.
    pub title: String,
    pub at: Position,
    pub kind: Kind,
    /// The only mode in which it is run.
    pub only: Option<Mode>,
    /// How long it may take.
    pub timeout: Option<Duration>,
    /// What must be true afterwards.
    pub expects: Vec<Assertion>,
    /// The probe: whether it has happened.
    pub probe: Option<Script>,
    /// The undo.
    pub undo: Option<Script>,
    /// Whether it can be undone: exit code 0 if it can.
    pub undo_check: Option<Script>,
    /// How to do it without lifeboat.
    pub by_hand: Vec<Script>,
    /// Whether the recovery is complete when it is done.
    pub completes_recovery: bool,
}

/// The text of a block.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub text: String,
    /// The position of its first line.
    pub at: Position,
    /// How long it may take.
    pub timeout: Option<Duration>,
    /// What an undo does, for whoever confirms it.
    pub does: Option<String>,
}

/// What a step is.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// Shell commands.
    Sh(Act),
    Sql(Act, SqlTarget),
    /// Waits until a condition is met.
    Wait(Waiting),
    /// A person types the name of the object at stake.
    Confirm {
        /// What they read.
        text: String,
        /// What they must type.
        answer: String,
    },
    /// A person does something by hand, and describes it.
    Manual {
        /// What they read.
        text: String,
    },
    /// A second person approves.
    Approve {
        /// What they read.
        text: String,
        /// What they must type.
        answer: Option<String>,
    },
}

impl Step {
    /// All its scripts, each with its role in words; its own has none.
    pub(super) fn scripts(&self) -> impl Iterator<Item = (&'static str, &Script)> {
        let attached =
            [("probe of ", &self.probe), ("undo of ", &self.undo), ("undo-check of ", &self.undo_check)];
        let own = self.kind.act().map(|act| ("", &act.script));
        own.into_iter()
            .chain(attached.into_iter().filter_map(|(role, script)| Some((role, script.as_ref()?))))
            .chain(self.by_hand.iter().map(|script| ("by-hand block of ", script)))
    }
}

impl Kind {
    /// The role, as in the file.
    pub(crate) const fn role(&self) -> &'static str {
        match self {
            Kind::Sh(_) => "sh",
            Kind::Sql(..) => "sql",
            Kind::Wait(_) => "wait",
            Kind::Confirm { .. } => "confirm",
            Kind::Manual { .. } => "manual",
            Kind::Approve { .. } => "approve",
        }
    }

    /// Whether a person decides before the next step.
    pub(crate) const fn is_gate(&self) -> bool {
        matches!(self, Kind::Confirm { .. } | Kind::Manual { .. } | Kind::Approve { .. })
    }

    /// The script, if it runs one.
    pub(crate) fn act(&self) -> Option<&Act> {
        match self {
            Kind::Sh(act) | Kind::Sql(act, _) => Some(act),
            _ => None,
        }
    }
}

/// Something that is run.
#[derive(Clone, Debug)]
pub(crate) struct Act {
    pub script: Script,
    /// Variables that its shell sets and that later steps get.
    pub sets: Vec<String>,
    /// The variable that gets its output; of several, each gets one word of it.
    pub capture: Vec<String>,
    /// Whether the values that it sets are secret.
    pub secret: bool,
    /// Whether the values that it sets may have any characters.
    pub free_text: bool,
    /// Whether it says `read-only`. That counts only if it is confined to commands known to be read-only.
    pub read_only: bool,
    /// What it creates, as `kind:name`.
    pub creates: Vec<String>,
    /// Whether it must not be repeated.
    pub once: bool,
}

impl Act {
    /// Every variable that later steps get.
    pub(crate) fn outputs(&self) -> impl Iterator<Item = &String> {
        self.sets.iter().chain(&self.capture)
    }
}

/// The database that runs the SQL.
#[derive(Clone, Debug, Default)]
pub(crate) struct SqlTarget {
    /// Parameter with the id of a DB instance or with a URL; otherwise what libpq's environment says.
    pub on: Option<String>,
    /// Database.
    pub db: Option<String>,
}

/// What is waited for.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    /// The condition.
    pub condition: Condition,
    /// How often to poll.
    pub every: Duration,
    /// Statuses that end the wait, besides those that no instance recovers from by itself.
    pub fails_on: Vec<String>,
}

impl Runbook {
    /// The step of that id.
    pub(crate) fn step(&self, id: &str) -> Option<&Step> {
        self.steps.iter().find(|step| step.id == id)
    }

    /// Whether any step calls AWS by itself.
    pub(crate) fn uses_aws(&self) -> bool {
        let makes = |step: &Step| {
            step.kind.act().is_some_and(|act| {
                act.creates.iter().any(|object| object.starts_with("db:") || object.starts_with("snapshot:"))
            })
        };
        self.front.needs.aws.is_some()
            || self.steps.iter().any(|step| {
                makes(step) || matches!(&step.kind, Kind::Wait(waiting) if waiting.condition.is_of_aws())
            })
    }

    /// Names whose values may have any characters: secrets and free text.
    pub(crate) fn free_names(&self) -> BTreeSet<String> {
        let parameters = self.front.parameters.iter().filter(|it| it.secret || it.free_text);
        let acts =
            self.steps.iter().filter_map(|step| step.kind.act()).filter(|act| act.secret || act.free_text);
        parameters.map(|it| it.name.clone()).chain(acts.flat_map(Act::outputs).cloned()).collect()
    }

    /// Names that the text may use: parameters, what steps set, and what every run has.
    pub(crate) fn names(&self) -> BTreeMap<String, Option<usize>> {
        let mut names: BTreeMap<String, Option<usize>> =
            ["run_id", "run_short", "run_mode"].map(|name| (name.to_owned(), None)).into();
        names.extend(self.front.parameters.iter().map(|it| (it.name.clone(), None)));
        for (index, step) in self.steps.iter().enumerate() {
            for name in step.kind.act().into_iter().flat_map(Act::outputs) {
                names.entry(name.clone()).or_insert(Some(index));
            }
        }
        names
    }
}
