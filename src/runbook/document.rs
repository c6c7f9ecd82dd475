//! What a runbook is once it has been read: its front matter, its steps in order, and what is wrong with it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use super::expect::Assertion;
use super::fault::{Fault, Position};
use super::wait::Condition;

/// Where a runbook comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Built into the tool.
    Shipped(String),
    /// A file.
    File(PathBuf),
}

impl Origin {
    /// As people call it, and as `load_runbook` finds it again.
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

    /// As a journal has it: a path that is found from any directory.
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

/// Whether it is in earnest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    /// In earnest.
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
    /// What stands before the text.
    pub front: Front,
    /// What is to be done, in order.
    pub steps: Vec<Step>,
    /// What is wrong, in order.
    pub faults: Vec<Fault>,
}

/// What stands before the text.
#[derive(Clone, Debug, Default)]
pub(crate) struct Front {
    /// What the runbook is for.
    pub title: String,
    /// Who keeps it right.
    pub owner: String,
    /// When it must be looked at again.
    pub review_by: Option<NaiveDate>,
    /// How long the recovery may take.
    pub rto: Option<Duration>,
    /// How much may be lost.
    pub rpo: Option<Duration>,
    /// What must be said when it is run.
    pub parameters: Vec<Parameter>,
    /// What must be there.
    pub needs: Needs,
}

/// Something that must be said when a runbook is run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parameter {
    /// Its name, as the shell has it.
    pub name: String,
    /// Where it stands.
    pub at: Position,
    /// Whether it has no default.
    pub required: bool,
    /// What the whole of its value must match.
    pub pattern: Option<String>,
    /// Value when nothing else is said.
    pub default: Option<String>,
    /// Value in a rehearsal when nothing else is said.
    pub rehearse: Option<String>,
    /// Environment variable that it is taken from when nothing else is said.
    pub env: Option<String>,
    /// Whether it must never be written down.
    pub secret: bool,
    /// Whether it is a time, as people say it; what it means in UTC is its value.
    pub is_time: bool,
    /// Whether its value may have any characters, those among them that mean something to a shell.
    pub free_text: bool,
    /// A value as an example.
    pub example: Option<String>,
    /// What it is.
    pub help: Option<String>,
}

/// What must be there before a run begins.
#[derive(Clone, Debug, Default)]
pub(crate) struct Needs {
    /// Programs.
    pub commands: Vec<String>,
    /// Files.
    pub files: Vec<NeedsFile>,
    /// Databases that steps log in to.
    pub databases: Vec<NeedsDatabase>,
    /// Whether AWS is needed, and which account and Region it must be.
    pub aws: Option<NeedsAws>,
}

/// A file that must be there.
#[derive(Clone, Debug, Default)]
pub(crate) struct NeedsFile {
    /// Its path, with places for values and with `$BACKUP_DIR`.
    pub path: String,
    /// A pattern of which it must have a line.
    pub has: Option<String>,
    /// Whether another one takes its place, so that its folder must be writable.
    pub is_replaced: bool,
}

/// A database that must let us in.
#[derive(Clone, Debug, Default)]
pub(crate) struct NeedsDatabase {
    /// Parameter with the id of a DB instance or with a URL; otherwise what libpq's environment says.
    pub on: Option<String>,
    /// Its name.
    pub db: Option<String>,
    /// Tables that should be in it, apart by commas.
    pub tables: Option<String>,
    /// Tables that must not be in it, since steps make them.
    pub without_tables: Option<String>,
    /// Whether databases are created there.
    pub creates_databases: bool,
}

impl NeedsDatabase {
    /// The values that it depends on, as places.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        [&self.tables, &self.without_tables, &self.db].into_iter().filter_map(|text| text.as_deref())
    }
}

/// The AWS account that a runbook is for.
#[derive(Clone, Debug, Default)]
pub(crate) struct NeedsAws {
    /// Account id.
    pub account: Option<String>,
    /// Region.
    pub region: Option<String>,
}

/// One thing to do.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// Its name in this runbook.
    pub id: String,
    /// The heading that it stands under.
    pub title: String,
    /// Where it stands.
    pub at: Position,
    /// What it is.
    pub kind: Kind,
    /// The only mode in which it is done.
    pub only: Option<Mode>,
    /// How long it may take.
    pub timeout: Option<Duration>,
    /// What must be true afterwards.
    pub expects: Vec<Assertion>,
    /// Tells whether it has happened.
    pub probe: Option<Script>,
    /// Takes it back.
    pub undo: Option<Script>,
    /// Tells whether it can be taken back: exit code 0 if it can.
    pub undo_check: Option<Script>,
    /// How to do it without this tool.
    pub by_hand: Vec<Script>,
    /// Whether the recovery is complete when it is done.
    pub completes_recovery: bool,
}

/// The text of a block.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    /// The text.
    pub text: String,
    /// Where its first line stands.
    pub at: Position,
    /// How long it may take.
    pub timeout: Option<Duration>,
    /// Of an undo: what it does, for whoever confirms it.
    pub does: Option<String>,
}

/// What a step is.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// Shell commands.
    Sh(Act),
    /// SQL.
    Sql(Act, Place),
    /// Waiting for the world to get somewhere.
    Wait(Waiting),
    /// Somebody types the name of what is at stake.
    Confirm {
        /// What they read.
        text: String,
        /// What they must type.
        answer: String,
    },
    /// Somebody does something, and writes what.
    Manual {
        /// What they read.
        text: String,
    },
    /// Somebody else agrees.
    Approve {
        /// What they read.
        text: String,
        /// What they must type.
        answer: Option<String>,
    },
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

    /// Whether a person stands between here and the next step.
    pub(crate) const fn is_gate(&self) -> bool {
        matches!(self, Kind::Confirm { .. } | Kind::Manual { .. } | Kind::Approve { .. })
    }

    /// What is run, if something is.
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
    /// What.
    pub script: Script,
    /// Variables that its shell sets and that later steps get.
    pub sets: Vec<String>,
    /// The variable that gets its output; of several, each gets one word of it.
    pub capture: Vec<String>,
    /// Whether what it sets must never be written down.
    pub secret: bool,
    /// Whether what it sets may have any characters.
    pub free_text: bool,
    /// Whether it says that it only reads. It is taken at its word only if it is confined to what is known to read.
    pub read_only: bool,
    /// What it makes, as `kind:name`.
    pub creates: Vec<String>,
    /// Whether it must not happen twice.
    pub once: bool,
}

impl Act {
    /// Every variable that later steps get.
    pub(crate) fn outputs(&self) -> impl Iterator<Item = &String> {
        self.sets.iter().chain(&self.capture)
    }
}

/// The database that SQL is sent to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place {
    /// Parameter with the id of a DB instance or with a URL; otherwise what libpq's environment says.
    pub on: Option<String>,
    /// Database.
    pub db: Option<String>,
}

/// What is waited for.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    /// What must come true.
    pub condition: Condition,
    /// How often to look.
    pub every: Duration,
    /// Statuses that end it, besides those that no instance recovers from by itself.
    pub fails_on: Vec<String>,
}

impl Runbook {
    /// The step of that id.
    pub(crate) fn step(&self, id: &str) -> Option<&Step> {
        self.steps.iter().find(|step| step.id == id)
    }

    /// Whether any step speaks to AWS by itself.
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
