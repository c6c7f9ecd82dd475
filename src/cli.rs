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
mod snapshot;
mod status;
mod terminal;
mod verify;
mod waiting;

pub use own_calls::fault_of_printed;

use std::ffi::OsString;
use std::path::PathBuf;

use chrono::{DateTime, NaiveDate, Utc};
use clap::{Args, Parser, Subcommand};

use crate::aws::{Access, Aws};
use crate::backup::schedule::shell_word;
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::output::{Color, Format, Output, Repeated};
use crate::postgres::refuse_quotes;
use crate::vault::{Actor, Trigger, Vault};
use crate::when;

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

/// Flags that every command takes.
#[derive(Args, Debug)]
struct Global {
    /// AWS Region [env: AWS_REGION]; of several accounts and Regions in lifeboat.toml, only this Region
    #[arg(long, global = true, value_name = "NAME", help_heading = "Global options")]
    region: Option<String>,
    /// Only this account of lifeboat.toml
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        conflicts_with = "profile",
        help_heading = "Global options"
    )]
    account: Option<String>,
    /// Profile of the AWS configuration [env: AWS_PROFILE]
    #[arg(long, global = true, value_name = "NAME", help_heading = "Global options")]
    profile: Option<String>,
    /// Another AWS endpoint, such as the local stack's [env: AWS_ENDPOINT_URL]
    #[arg(long, global = true, value_name = "URL", help_heading = "Global options")]
    endpoint_url: Option<String>,
    /// Configuration file [default: lifeboat.toml, if there is one]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    config: Option<PathBuf>,
    /// Where what must last is kept, evidence, baselines, backups: a directory, or `s3://`, `gs://` or `az://` and a bucket
    /// [env: BACKUP_DIR] [default: ./backups]
    #[arg(long, global = true, value_name = "PLACE", help_heading = "Global options")]
    vault: Option<String>,
    /// Print the report as one JSON document
    #[arg(long, global = true, help_heading = "Global options")]
    json: bool,
    /// When to use colour
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "WHEN",
        help_heading = "Global options"
    )]
    color: Color,
    /// Print warnings and errors only; a report of something done or checked only if something is wrong
    #[arg(short, long, global = true, help_heading = "Global options")]
    quiet: bool,
    /// Log what is done on stderr; twice for more
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Global options")]
    verbose: u8,
}

impl Global {
    /// What a command that is printed has to repeat to mean the same place.
    fn repeated(&self) -> Repeated {
        let config = self.config.as_ref().map(|file| file.display().to_string());
        let given = [
            ("--region", self.region.as_ref()),
            ("--account", self.account.as_ref()),
            ("--profile", self.profile.as_ref()),
            ("--endpoint-url", self.endpoint_url.as_ref()),
            ("--config", config.as_ref()),
            ("--vault", self.vault.as_ref()),
        ];
        let flags = given.into_iter().filter_map(|(flag, value)| Some((flag, shell_word(value?)))).collect();
        let root = <Cli as clap::CommandFactory>::command();
        Repeated::new(flags, root.get_subcommands().map(|it| it.get_name().to_owned()).collect())
    }
}

/// What every command works with.
struct Session {
    config: Config,
    /// Where the configuration was read from.
    config_file: Option<PathBuf>,
    /// As whom and where, apart from the accounts of lifeboat.toml; the vault is always reached in this way.
    access: Access,
    narrow: Narrowed,
    vault: String,
    output: Output,
    /// What is to be said when the command has ended.
    saying: std::sync::Mutex<notify::Saying>,
}

/// What flags say of where to look.
struct Narrowed {
    account: Option<String>,
    region: Option<String>,
    is_profile_given: bool,
}

impl Session {
    fn new(global: &Global, config: Config, output: Output) -> Result<Self> {
        let usual = PathBuf::from("lifeboat.toml");
        let config_file = global.config.clone().or_else(|| usual.exists().then_some(usual));
        let access = Access {
            region: global.region.clone().or_else(|| config.region.clone().filter(|_| unset("AWS_REGION"))),
            profile: global
                .profile
                .clone()
                .or_else(|| config.profile.clone().filter(|_| unset("AWS_PROFILE"))),
            endpoint_url: global
                .endpoint_url
                .clone()
                .or_else(|| config.endpoint_url.clone().filter(|_| unset("AWS_ENDPOINT_URL"))),
            profile_wins: global.profile.is_some(),
            ..Access::default()
        };
        let narrow = Narrowed {
            account: global.account.clone(),
            region: global.region.clone(),
            is_profile_given: global.profile.is_some(),
        };
        let from_environment = std::env::var("BACKUP_DIR").ok().filter(|value| !value.trim().is_empty());
        let vault = match (&global.vault, from_environment, &config.vault) {
            (Some(vault), _, _) => vault_place(vault, "`--vault`")?,
            (None, Some(vault), _) => vault_place(&vault, "the value of BACKUP_DIR")?,
            (None, None, Some(vault)) => vault_place(vault, "`vault` in lifeboat.toml")?,
            (None, None, None) => "./backups".to_owned(),
        };
        let saying = std::sync::Mutex::default();
        Ok(Session { config_file, config, access, narrow, vault, output, saying })
    }

    /// Ages and expiries go by AWS's clock; whoever looks at their own should know.
    fn warn_of_clock(&self, aws: &Aws) {
        if let Some(off) = aws.clock_is_off_by(now()) {
            let (minutes, way) = (
                off.num_minutes().abs(),
                if off > chrono::TimeDelta::zero() { "ahead of" } else { "behind" },
            );
            self.output
                .warn(format!("this machine's clock is {minutes} minutes {way} AWS's: AWS's time is used"));
        }
    }

    /// Reads a time as the person says it, and shows what it means.
    fn read_time(&self, text: &str) -> Result<DateTime<Utc>> {
        let at = when::parse_time(text, now(), &chrono::Local)?;
        let local = at.with_timezone(&chrono::Local).format("%Y-%m-%dT%H:%M:%S%:z");
        let utc = when::format_time(at);
        self.output.say(format!("`{}` is {local} local time, {utc}", text.escape_default()));
        Ok(at)
    }

    fn vault(&self) -> Result<Vault> {
        Vault::open(&self.vault, &self.access)
    }

    fn vault_to_read(&self) -> Result<Vault> {
        Vault::open_to_read(&self.vault, &self.access)
    }
}

/// Where the vault is, without what a file of variables adds to it. A directory that a shell would have made of it is not the
/// one that was written.
fn vault_place(text: &str, subject: &str) -> Result<String> {
    let text = text.trim();
    refuse_quotes(text, subject)?;
    let refused = |why: &str| Error::request(format!("{subject} {why}"));
    if text.chars().any(char::is_control) {
        return Err(refused("has a control character in it")
            .hint("Write the file of variables with plain line ends, without `\\r`."));
    }
    if text.ends_with(['"', '\'']) {
        return Err(refused("ends with a quote").hint("Remove the quotes: they are part of the value."));
    }
    if text.starts_with('~') {
        return Err(refused("begins with `~`, which only a shell replaces by a home directory")
            .hint("Write the whole path; a directory whose name begins so is `./~…`."));
    }
    if text.starts_with('$') || (text.contains("${") && !text.starts_with("./")) {
        return Err(refused("holds a variable, which only a shell replaces by its value")
            .hint("Write the whole path; a directory that has such a name is `./$…`."));
    }
    if let Some((scheme, _)) = text.split_once(":/").filter(|(scheme, rest)| {
        ["s3", "gs", "az"].iter().any(|store| scheme.eq_ignore_ascii_case(store)) && !rest.starts_with('/')
    }) {
        return Err(refused(&format!("begins with `{scheme}:/`, which is no URL of a bucket")).hint(
            format!("Write `{scheme}://BUCKET/PREFIX`; a directory that has such a name is `./{scheme}:/…`."),
        ));
    }
    Ok(text.to_owned())
}

/// Whoever runs the command.
fn who() -> String {
    let name = ["SUDO_USER", "LOGNAME", "USER"]
        .into_iter()
        .find_map(|variable| std::env::var(variable).ok().filter(|name| !name.is_empty()));
    let uid = rustix::process::getuid().as_raw();
    name.map_or(format!("uid {uid}"), |name| format!("{name} (uid {uid})"))
}

/// Who acts at this command line, for the audit log.
fn actor(trigger: Trigger) -> Actor {
    Actor { who: who(), host: drill::host(), trigger, request: None }
}

fn unset(variable: &str) -> bool {
    std::env::var_os(variable).is_none_or(|value| value.is_empty())
}

/// The only place where the clock is read.
#[expect(
    clippy::disallowed_methods,
    reason = "the outermost layer; everything below takes the time as an argument"
)]
fn now() -> DateTime<Utc> {
    Utc::now()
}

/// Reads a day as the person says it. Days of reports are those of UTC.
fn parse_day(text: &str) -> Result<NaiveDate> {
    when::parse_day(text, now().date_naive())
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
    if let Some(file) = environment_file(&cli.command)
        && let Err(error) = environment::adopt_variables_of(file)
    {
        Output::new(format, Color::Never, false).logging(now).fail(&error);
        return error.kind().exit_code();
    }
    log_to_stderr(cli.global.verbose);
    let printer = || {
        Output::new(format, cli.global.color, cli.global.quiet).logging(now).repeating(cli.global.repeated())
    };
    let output = printer();
    // What is about the tool itself works without a configuration, and with a broken one.
    let about_itself = match &cli.command {
        Command::Completions(args) => Some(completions::run(args, &output)),
        Command::Man(args) => Some(man::run(args, &output)),
        _ => None,
    };
    if let Some(ended) = about_itself {
        return exit_code(ended, &output);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let error = Error::outside("the process cannot be set up").caused_by(error);
            output.fail(&error);
            return error.kind().exit_code();
        }
    };
    let (config, wrong) = match Config::load(cli.global.config.as_deref()) {
        Ok(config) => (config, None),
        // What is wrong with the file is one of the things that it says.
        Err(error) if matches!(cli.command, Command::Doctor(_)) => (Config::default(), Some(error)),
        // It is about to be written, and refused if something is there.
        Err(_) if matches!(cli.command, Command::Init(_)) => (Config::default(), None),
        Err(error) => {
            output.fail(&error);
            return error.kind().exit_code();
        }
    };
    let session = match Session::new(&cli.global, config, printer()) {
        Ok(session) => std::sync::Arc::new(session),
        Err(error) => {
            output.fail(&error);
            return error.kind().exit_code();
        }
    };
    let ended = runtime.block_on(async {
        let spoken = notify::Spoken::begin(&cli.command, &session);
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
            Command::Completions(args) => completions::run(&args, &session.output),
            Command::Man(args) => man::run(&args, &session.output),
        };
        session.output.settle();
        if let Some(spoken) = spoken {
            spoken.end(&ended, &session).await;
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
    match crate::output::redacted(&text) {
        shown if error.use_stderr() && (output.is_log() || is_json) => output.refuse(&shown, &hints),
        _ if crate::output::redacted(&rendered) == rendered => {
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

/// The file that a scheduled command takes its variables from.
fn environment_file(command: &Command) -> Option<&std::path::Path> {
    match command {
        Command::Backup(command) => command.environment_file(),
        _ => None,
    }
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
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
