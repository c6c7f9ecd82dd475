//! Lines in the audit log around what a command does, and what it has to say to those who listen.

use super::{BackupCommand, Done};
use crate::backup::failures::{self, Wanted};
use crate::backup::{Surroundings, create};
use crate::cli::{Session, notify, now};
use crate::error::{Error, Result};
use crate::notify::Subject;
use crate::output::{Output, redacted};
use crate::vault::{Act, Begun, Outcome, Vault};

impl BackupCommand {
    /// What those who listen know the command as.
    pub(in crate::cli) fn spoken(&self) -> Option<&'static str> {
        matches!(self, BackupCommand::Create(args) if !args.dry_run).then_some("backup create")
    }

    /// The dead man's switch that is told how it ends.
    pub(in crate::cli) fn ping(&self) -> Option<&str> {
        let BackupCommand::Create(args) = self else { return None };
        args.ping.as_deref().filter(|url| crate::web::check(url).is_ok())
    }

    /// The file that it takes variables from.
    pub(in crate::cli) fn environment_file(&self) -> Option<&std::path::Path> {
        let BackupCommand::Create(args) = self else { return None };
        args.environment_file.as_deref()
    }
}

/// What is to be said of one database when the command has ended.
pub(super) fn say(session: &Session, vault: &Vault, database: &str, outcome: &Result<Done>) {
    let subject = Subject::Database(database.to_owned());
    match outcome {
        Ok(Done::Planned(_)) => {}
        Ok(Done::Made(made)) => {
            session.say(notify::of_end(subject, None, Some(vault.shown(&made.file_path))))
        }
        Err(error) => session.say(notify::of_error(subject, error)),
    }
}

pub(super) fn begin<'a>(vault: &'a Vault, what: &str, name: &str, trigger: &str) -> Result<Begun<'a>> {
    let act = Act {
        who: crate::cli::who(),
        host: crate::cli::drill::host(),
        trigger: trigger.to_owned(),
        what: what.to_owned(),
        name: redacted(name),
        request: None,
    };
    vault.begin(act, now())
}

/// Notes what came of it. That this cannot be written is a warning: it was done.
pub(super) fn end<T>(begun: Begun<'_>, name: Option<&str>, outcome: &Result<T>, output: &Output) {
    let outcome = match outcome {
        Ok(_) => Outcome::Done,
        Err(error) => Outcome::Failed(error.kind().exit_code(), redacted(&error.chain())),
    };
    if let Err(error) = begun.end(name, &outcome, now()) {
        output.warn(error.chain());
    }
}

/// Does something that changes the vault, or who may, between two lines.
pub(in crate::cli) fn act<T>(
    session: &Session,
    vault: &Vault,
    (what, name): (&str, &str),
    work: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let begun = begin(vault, what, name, "cli")?;
    let outcome = work();
    end(begun, None, &outcome, &session.output);
    outcome
}

/// Records a backup that did not come about, where that is more than a mistyped request.
pub(super) fn record_failure(
    request: &create::Request,
    error: &Error,
    began: (chrono::DateTime<chrono::Utc>, std::time::Instant),
    surroundings: &Surroundings<'_>,
    output: &Output,
) {
    if !failures::is_worth_a_record(error.kind(), &request.trigger) {
        return;
    }
    let wanted = Wanted {
        source: request.source.clone(),
        database: request.database.clone(),
        database_id: request.database_id.clone(),
        name: request.name.clone(),
        trigger: request.trigger.clone(),
        timestamp: began.0,
    };
    let (words, seconds) = (redacted(&error.chain()), began.1.elapsed().as_secs_f64());
    if let Err(error) = failures::record(&wanted, error, words, seconds, surroundings) {
        output.warn(format!("the failure could not be recorded: {}", error.chain()));
    }
}
