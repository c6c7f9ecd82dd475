//! The flags of `lifeboat runbook`.

use std::time::Duration;

use clap::{Args, Subcommand};

use crate::cli::waiting::parse_poll;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum RunbookCommand {
    /// List the runbooks that are built in.
    List,
    /// Show a runbook (to read or to print), or a run.
    Show(ShowArgs),
    /// Find what is wrong with runbooks: exit code 2 if one cannot be run, 1 if one will let somebody down.
    Check(CheckArgs),
    /// Show every step with its values. Steps that say `read-only` and are known to only read are run; nothing is changed.
    Plan(PlanArgs),
    /// Run a runbook.
    ///
    /// A journal is on disk before and after every step, so whatever stops a run, `resume` goes on where it stands. Gates ask on the
    /// terminal; without one the run stops with exit code 4 and can be resumed.
    Run(Box<RunArgs>),
    /// Go on with a run that has stopped, however it did.
    Resume(Box<ResumeArgs>),
    /// Approve what a run waits for, as a second person.
    Approve(ApproveArgs),
    /// Take back what a run did, newest first; only what its journal proves to be its own.
    Undo(UndoArgs),
    /// List the runs that are recorded in the vault, newest first.
    Runs,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct ShowArgs {
    /// A file, the name of one that is built in, or the id of a run
    #[arg(value_name = "RUNBOOK|RUN")]
    pub(super) what: String,
    /// What to do without this tool, as one shell script to read and paste from
    #[arg(long)]
    pub(super) by_hand: bool,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct CheckArgs {
    /// Files, or names of built-in ones [default: all that are built in]
    #[arg(value_name = "RUNBOOK")]
    pub(super) runbooks: Vec<String>,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct ValueArgs {
    /// Value of a parameter; may be repeated. NAME=env:VARIABLE takes it from the environment
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = parse_pair)]
    pub(super) set: Vec<(String, String)>,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct PlanArgs {
    /// A file, or the name of one that is built in
    #[arg(value_name = "RUNBOOK")]
    pub(super) runbook: String,
    #[command(flatten)]
    pub(super) values: ValueArgs,
    /// Plan a rehearsal
    #[arg(long)]
    pub(super) rehearse: bool,
}

/// What every command takes that goes on with steps.
#[derive(Args, Debug)]
pub(in crate::cli) struct GoArgs {
    /// Answer of a gate, by its step; may be repeated
    #[arg(long = "answer", value_name = "STEP=TEXT", value_parser = parse_pair)]
    pub(super) answers: Vec<(String, String)>,
    /// Do not look beforehand whether the files, programs and databases that later steps need are there
    #[arg(long)]
    pub(super) without_preflight: bool,
    /// How often waits look, in place of what they say themselves
    #[arg(long, value_name = "DURATION", value_parser = parse_poll)]
    pub(super) poll: Option<Duration>,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct RunArgs {
    /// A file, or the name of one that is built in
    #[arg(value_name = "RUNBOOK")]
    pub(super) runbook: String,
    #[command(flatten)]
    pub(super) values: ValueArgs,
    /// On throwaways, which are removed at the end; steps that are only for real are skipped and listed
    #[arg(long)]
    pub(super) rehearse: bool,
    /// Go on from this step with the latest run of this runbook; refused unless its journal proves that all before is done
    #[arg(long, value_name = "STEP")]
    pub(super) from: Option<String>,
    /// Show what would be done, like `plan`
    #[arg(long)]
    pub(super) dry_run: bool,
    #[command(flatten)]
    pub(super) go: GoArgs,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct ResumeArgs {
    /// Id of the run, as `runbook runs` shows it
    #[arg(value_name = "RUN")]
    pub(super) run: String,
    #[command(flatten)]
    pub(super) values: ValueArgs,
    /// The runbook has changed since: go on with the one of this SHA-256
    #[arg(long, value_name = "SHA256")]
    pub(super) accept_changed: Option<String>,
    /// Go back to this step; refused unless the journal proves that all before is done
    #[arg(long, value_name = "STEP")]
    pub(super) from: Option<String>,
    /// A step of which nobody knew: it happened; may be repeated
    #[arg(long, value_name = "STEP")]
    pub(super) done: Vec<String>,
    /// A step of which nobody knew: it may be done again; may be repeated
    #[arg(long, value_name = "STEP")]
    pub(super) redo: Vec<String>,
    #[command(flatten)]
    pub(super) go: GoArgs,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct ApproveArgs {
    /// Id of the run, as `runbook runs` shows it
    #[arg(value_name = "RUN")]
    pub(super) run: String,
    /// What must be typed, where there is no terminal
    #[arg(long, value_name = "NAME")]
    pub(super) confirm: Option<String>,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct UndoArgs {
    /// Id of the run, as `runbook runs` shows it
    #[arg(value_name = "RUN")]
    pub(super) run: String,
    #[command(flatten)]
    pub(super) values: ValueArgs,
    /// Keep what this step made, and everything before it
    #[arg(long, value_name = "STEP")]
    pub(super) keep: Option<String>,
    /// Show what would be undone and what prevents it; undo nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    #[command(flatten)]
    pub(super) go: GoArgs,
}

fn parse_pair(text: &str) -> std::result::Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write it as NAME=VALUE".to_owned()),
    }
}
