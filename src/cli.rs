//! The command line: flags in, a report out, an exit code. No rules, no AWS, no SQL.

mod alarms;
mod backup;
mod completions;
mod confirm;
mod connect;
mod doctor;
mod drill;
mod environment;
mod init;
mod man;
mod notify;
mod own_calls;
mod places;
mod policy;
mod restore;
mod runbook;
mod serve;
mod session;
mod snapshot;
mod status;
mod terminal;
mod verify;
mod waiting;

use std::ffi::OsString;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::notify::{Nature, NotifiedCommand};
use crate::output::{Color, Format, Output};
use session::{Global, Session, actor, host_name, is_unset, now, parse_day, user_name};

/// Takes, restores and proves database backups.
///
/// Untested backups are useless: `lifeboat drill run` restores one, compares it with its source, times it, and
/// removes the copy.
#[derive(Debug, Parser)]
#[command(name = "lifeboat", version, propagate_version = true, args_override_self = true, max_term_width = 110, after_help = EXIT_CODES)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Prove a backup: restore it elsewhere, compare, time, and remove the copy.
    #[command(subcommand)]
    Drill(drill::DrillCommand),
    /// Compare two databases row by row, or one with a baseline that was recorded.
    ///
    /// The verdict is pass (exit code 0), fail (1) or unknown (3). Tables that differ are narrowed down to the keys of
    /// the rows that do.
    Verify(Box<verify::VerifyArgs>),
    Status(status::StatusArgs),
    /// Show, check and change how DB instances are backed up.
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Bring a database back, as a new instance with the settings of the old.
    #[command(subcommand)]
    Restore(restore::RestoreCommand),
    /// Take, list, copy, prune and delete snapshots.
    #[command(subcommand)]
    Snapshot(snapshot::SnapshotCommand),
    /// Back up databases that can be reached, PostgreSQL and SQLite; prove, restore and keep the backups.
    #[command(subcommand)]
    Backup(backup::BackupCommand),
    /// Set the alarms that databases should have, find those that cannot fire or arrive, and prove one.
    #[command(subcommand)]
    Alarms(alarms::AlarmsCommand),
    /// Disaster recovery in Markdown that people read and the tool runs: plan, rehearse, run, resume.
    #[command(subcommand)]
    Runbook(runbook::RunbookCommand),
    Serve(Box<serve::ServeArgs>),
    /// Test the channels of notifications, list what was said last, send a summary.
    #[command(subcommand)]
    Notify(notify::NotifyCommand),
    Doctor(Box<doctor::DoctorArgs>),
    Init(init::InitArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}

const EXIT_CODES: &str = "Exit codes: 0 done, every check holds · 1 the answer is no · 2 the request is wrong · 3 the \
                          outside failed, we could not find out · 4 a guard refused · 5 partly done · 6 something was \
                          left behind · 7 still going on at the end of --wait · 70 a bug · 130, 143 interrupted";

/// Commands whose outcome channels are told, and whether that is an event or a condition.
fn notified_command(command: &Command) -> Option<(&'static str, Nature)> {
    match command {
        Command::Drill(command) => command.notified_as(),
        Command::Status(_) => Some(("status", Nature::Condition)),
        Command::Backup(command) => command.notified_as().map(|name| (name, Nature::Event)),
        Command::Snapshot(command) => command.notified_as().map(|name| (name, Nature::Event)),
        Command::Runbook(command) => command.notified_as().map(|name| (name, Nature::Event)),
        _ => None,
    }
}

/// The dead man's switch that is named on the command line.
fn ping(command: &Command) -> Option<&str> {
    match command {
        Command::Status(args) => args.ping(),
        Command::Backup(command) => command.ping(),
        _ => None,
    }
}

/// Returns what is wrong with a command line as it was printed, in a hint or a report.
pub fn fault_of_printed(line: &str) -> Option<String> {
    own_calls::fault_of_printed(Cli::command(), line)
}

/// Runs the command line and returns the exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return refuse_arguments(&error, &arguments),
    };
    let format = match &cli.command {
        Command::Status(args) if args.is_json() => Format::Json,
        _ if cli.global.json => Format::Json,
        _ => Format::Text,
    };
    if let Command::Backup(command) = &cli.command
        && let Some(file) = command.environment_file()
        && let Err(error) = environment::adopt_variables_of(file)
    {
        return exit_code(Err(error), &Output::new(format, Color::Never, false).logging(now));
    }
    log_to_stderr(cli.global.verbose);
    let printer = || {
        let repeated = cli.global.repeated(&Cli::command());
        Output::new(format, cli.global.color, cli.global.quiet).logging(now).repeating(repeated)
    };
    let output = printer();
    // What is about the tool itself works without a configuration, and with a broken one.
    let about_itself = match &cli.command {
        Command::Completions(args) => Some(completions::run(args, Cli::command(), &output)),
        Command::Man(args) => Some(man::run(args, Cli::command(), &output)),
        _ => None,
    };
    if let Some(ended) = about_itself {
        return exit_code(ended, &output);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return exit_code(Err(Error::outside("the process cannot be set up").caused_by(error)), &output);
        }
    };
    let (config, wrong) = match Config::load(cli.global.config.as_deref()) {
        Ok(config) => (config, None),
        // What is wrong with the file is one of the things that it says.
        Err(error) if matches!(cli.command, Command::Doctor(_)) => (Config::default(), Some(error)),
        // It is about to be written, and refused if something is there.
        Err(_) if matches!(cli.command, Command::Init(_)) => (Config::default(), None),
        Err(error) => return exit_code(Err(error), &output),
    };
    let session = match Session::new(&cli.global, config, Cli::command(), printer()) {
        Ok(session) => std::sync::Arc::new(session),
        Err(error) => return exit_code(Err(error), &output),
    };
    let ended = runtime.block_on(async {
        let notified = notified_command(&cli.command).and_then(|(name, nature)| {
            NotifiedCommand::begin(name, nature, notify::notifier(&session).with_ping(ping(&cli.command)))
        });
        let ended = match cli.command {
            Command::Drill(command) => drill::run(command, &session).await,
            Command::Verify(args) => verify::run(*args, &session).await,
            Command::Status(args) => status::run(&args, &session).await,
            Command::Policy(command) => policy::run(command, &session).await,
            Command::Restore(command) => restore::run(command, &session).await,
            Command::Snapshot(command) => snapshot::run(command, &session).await,
            Command::Backup(command) => backup::run(command, &session).await,
            Command::Alarms(command) => alarms::run(command, &session).await,
            Command::Runbook(command) => runbook::run(command, &session).await,
            Command::Serve(args) => serve::run(*args, &session).await,
            Command::Init(args) => init::run(&args, &session).await,
            Command::Doctor(args) => doctor::run(&args, &session, wrong.as_ref()).await,
            Command::Notify(command) => notify::run(command, &session).await,
            Command::Completions(args) => completions::run(&args, Cli::command(), &session.output),
            Command::Man(args) => man::run(&args, Cli::command(), &session.output),
        };
        session.output.settle();
        if let Some(notified) = notified {
            let vault = std::sync::Arc::clone(&session);
            let warnings = notified.end(&ended, session.take_saying(), move || vault.vault(), now()).await;
            warnings.into_iter().for_each(|warning| session.output.warn(warning));
        }
        ended
    });
    // A vault that does not answer must not keep the process from ending.
    runtime.shutdown_background();
    exit_code(ended, &session.output)
}

/// Help and version are answers (exit code 0), everything else is a wrong request (2). What was typed is repeated, and may hold
/// a URL with its password.
fn refuse_arguments(error: &clap::Error, arguments: &[OsString]) -> u8 {
    let is_json = arguments.iter().take_while(|word| *word != "--").any(|word| word == "--json");
    let format = if is_json { Format::Json } else { Format::Text };
    let rendered = error.render().to_string();
    let text = match error.kind() {
        clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => missing_subcommand(&rendered),
        _ => rendered.clone(),
    };
    let output = Output::new(format, Color::Never, false).logging(now);
    let hints = hints_of_cause(error);
    match crate::output::redact_urls(&text) {
        shown if error.use_stderr() && (output.is_log() || is_json) => output.refuse(&shown, &hints),
        _ if crate::output::redact_urls(&rendered) == rendered => {
            let _ = error.print();
            for hint in &hints {
                output.say(format!("hint: {hint}"));
            }
        }
        shown if error.use_stderr() => output.refuse(&shown, &hints),
        shown => output.say(shown),
    }
    u8::try_from(error.exit_code()).unwrap_or(2)
}

/// Clap answers a command without its subcommand with the whole help, which says nothing of what is wrong.
fn missing_subcommand(help: &str) -> String {
    let usage = help.lines().find(|line| line.starts_with("Usage: ")).unwrap_or("Usage: lifeboat <COMMAND>");
    let words = usage.split_whitespace().skip(1).take_while(|word| !word.starts_with(['[', '<']));
    let command = words.collect::<Vec<_>>().join(" ");
    format!("error: `{command}` needs a subcommand\n\n{usage}\n\n`{command} --help` lists them.\n")
}

fn exit_code(ended: Result<Option<Kind>>, output: &Output) -> u8 {
    match ended {
        Ok(None) => 0,
        Ok(Some(kind)) => kind.exit_code(),
        Err(error) => {
            output.fail(&error);
            error.kind().exit_code()
        }
    }
}

/// The next step that a refused value names, such as a rule of AWS.
fn hints_of_cause(error: &clap::Error) -> Vec<String> {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    causes.filter_map(|cause| cause.downcast_ref::<Error>()).flat_map(Error::hints).cloned().collect()
}

fn log_to_stderr(verbosity: u8) {
    let level = match verbosity {
        0 => return,
        1 => "lifeboat=info",
        // Not the SDK's own log: it would show requests, and with them a new password.
        _ => "lifeboat=debug",
    };
    let filter = tracing_subscriber::EnvFilter::new(level);
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
