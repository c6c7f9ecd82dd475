//! `backup schedule`.

use std::path::PathBuf;
use std::process::Command;

use clap::Args;

use crate::backup::schedule::{self, Rhythm, Runner, Schedule, ScheduleFile, TimeOfDay};
use crate::cli::Session;
use crate::error::{Error, Kind, Result};
use crate::output::{self, Page};

#[derive(Args, Debug)]
pub(in crate::cli) struct ScheduleArgs {
    /// Databases in lifeboat.toml [default: DATABASE_URL in the environment file]
    #[arg(value_name = "DB")]
    databases: Vec<String>,
    /// What runs the schedule [default: systemd if it is running, otherwise cron]
    #[arg(long, value_enum, value_name = "RUNNER")]
    with: Option<Runner>,
    /// How often to back up; may be repeated
    #[arg(long = "every", value_enum, value_name = "RHYTHM", default_values = ["daily"])]
    rhythms: Vec<Rhythm>,
    /// Time of day, in UTC
    #[arg(long, value_name = "HH:MM", default_value = "02:15", value_parser = |text: &str| text.parse::<TimeOfDay>())]
    at: TimeOfDay,
    /// File with `NAME=value` lines for DATABASE_URL, PGPASSWORD and so on; mode 0600
    #[arg(long, value_name = "FILE", default_value = "/etc/lifeboat/backup.env")]
    environment_file: PathBuf,
    /// File for cron's output
    #[arg(long, value_name = "FILE", default_value = "/var/log/lifeboat-backup.log")]
    log: PathBuf,
    /// URL to ping at the start and on success or failure, such as a check at healthchecks.io
    #[arg(long, value_name = "URL")]
    ping: Option<String>,
    /// User to run as
    #[arg(long, value_name = "NAME", default_value = "root")]
    user: String,
    /// Write the files and enable the schedule, instead of printing them
    #[arg(long)]
    install: bool,
    /// Overwrite existing files that differ
    #[arg(long, requires = "install")]
    replace: bool,
    /// Directory for the files [default: /etc/systemd/system or /etc/cron.d]
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

pub(super) fn run(args: ScheduleArgs, session: &Session) -> Result<Option<Kind>> {
    let systemd_runs = std::path::Path::new("/run/systemd/system").exists();
    let runner = args.with.unwrap_or(if systemd_runs { Runner::Systemd } else { Runner::Cron });
    for database in &args.databases {
        if !session.config.backup.databases.own.contains_key(database) {
            return Err(Error::request(format!("`{database}` has no `backup` section in lifeboat.toml"))
                .hint(format!("Add `[databases.{database}.backup]` with a `url`.")));
        }
    }
    let usual = match runner {
        Runner::Systemd => "/etc/systemd/system",
        Runner::Cron => "/etc/cron.d",
    };
    let program = std::env::current_exe().map_err(|error| {
        Error::outside("cannot determine the path of the lifeboat program").caused_by(error)
    })?;
    let in_usual_place = args.directory.is_none();
    let mut rhythms = args.rhythms;
    rhythms.sort();
    rhythms.dedup();
    let schedule = Schedule {
        runner,
        rhythms,
        at: args.at,
        program,
        arguments: scheduled_arguments(&args.databases, session),
        name: schedule::schedule_name(&args.databases),
        environment_file: args.environment_file,
        log: args.log,
        ping: args.ping,
        directory: args.directory.unwrap_or_else(|| PathBuf::from(usual)),
        user: args.user,
    };
    refuse_relative_files(&args.databases, session)?;
    let files = schedule.files()?;
    if runner == Runner::Cron && schedule.user != "root" && !belongs_to_somebody_else_than_root(&schedule.log)
    {
        let (user, log) = (&schedule.user, schedule::quote_for_shell(&schedule.log.to_string_lossy()));
        session.output.warn(format!(
            "the job will not start unless `{user}` can write to the log: run `install -m 640 -o {user} /dev/null {log}`, or pass \
             another `--log`"
        ));
    }
    if args.install {
        if !args.replace {
            refuse_to_displace(&files)?;
        }
        install_files(&files)?;
        if runner == Runner::Systemd && in_usual_place {
            switch_on(&files, systemd_runs, session)?;
        }
    }
    session.output.report(&Scheduled {
        schema: "lifeboat.backup-schedule/1",
        runner,
        installed: args.install,
        files,
    })?;
    Ok(None)
}

/// Refuses a SQLite file whose path is relative: a schedule runs in another directory, where that is another file or none.
fn refuse_relative_files(databases: &[String], session: &Session) -> Result<()> {
    for database in databases {
        let url = session.config.backup.url_of(database);
        let path = url.map(crate::backup::sqlite_path).transpose()?.flatten();
        if let Some(path) = path.filter(|path| path.is_relative()) {
            let absolute = std::path::absolute(&path).unwrap_or(path);
            return Err(Error::request(format!(
                "the `url` of `{database}` in lifeboat.toml is a relative path, but a schedule runs in another directory"
            ))
            .hint(format!("Write it as `{}`.", crate::backup::sqlite_url(&absolute))));
        }
    }
    Ok(())
}

/// Whether there is a log already that root has given to another user.
fn belongs_to_somebody_else_than_root(log: &std::path::Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(log).is_ok_and(|found| found.uid() != 0)
}

/// What is relative here is absolute there.
fn scheduled_arguments(databases: &[String], session: &Session) -> Vec<String> {
    let absolute = |path: &str| {
        std::path::absolute(path).map_or(path.to_owned(), |path| path.to_string_lossy().into_owned())
    };
    let mut arguments = vec!["--quiet".to_owned()];
    if let Some(file) = &session.config_file {
        arguments.extend(["--config".to_owned(), absolute(&file.to_string_lossy())]);
    }
    let vault = if session.vault.contains("://") { session.vault.clone() } else { absolute(&session.vault) };
    arguments.extend(["--vault".to_owned(), vault]);
    arguments.extend(["backup", "create", "--trigger", "schedule"].map(str::to_owned));
    arguments.extend(databases.iter().cloned());
    arguments
}

/// Refuses where something else has one of the names: another schedule, somebody's own edits, a link.
fn refuse_to_displace(files: &[ScheduleFile]) -> Result<()> {
    let displaced = |file: &&ScheduleFile| match std::fs::symlink_metadata(&file.path) {
        Err(_) => false,
        Ok(found) => {
            !found.is_file()
                || std::fs::read(&file.path).map_or(true, |there| there != file.content.as_bytes())
        }
    };
    let Some(file) = files.iter().find(displaced) else { return Ok(()) };
    Err(Error::new(Kind::Guard, format!("`{}` was kept: it exists with other content", file.path.display()))
        .hint("Look at the file, then overwrite it with `--replace` or choose another `--directory`."))
}

fn install_files(files: &[ScheduleFile]) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    for file in files {
        let failed = |error: std::io::Error| {
            Error::outside(format!("cannot write `{}`", file.path.display()))
                .caused_by(error)
                .hint("Run the command as root, or choose another `--directory`.")
        };
        let parent = file.path.parent().unwrap_or(std::path::Path::new("/"));
        let mut made = tempfile::NamedTempFile::new_in(parent).map_err(failed)?;
        std::io::Write::write_all(&mut made, file.content.as_bytes()).map_err(failed)?;
        // cron passes over files that others than root can write to, and systemd over those that it cannot read.
        made.as_file().set_permissions(std::fs::Permissions::from_mode(0o644)).map_err(failed)?;
        made.persist(&file.path).map_err(|error| failed(error.error))?;
    }
    Ok(())
}

fn switch_on(files: &[ScheduleFile], systemd_runs: bool, session: &Session) -> Result<()> {
    let timers: Vec<String> = files
        .iter()
        .filter(|file| file.path.extension().is_some_and(|extension| extension == "timer"))
        .filter_map(|file| Some(file.path.file_name()?.to_string_lossy().into_owned()))
        .collect();
    if !systemd_runs {
        session.output.warn(format!(
            "systemd is not running on this machine. Where it is, run `systemctl daemon-reload && systemctl enable --now {}`",
            timers.join(" ")
        ));
        return Ok(());
    }
    for arguments in
        [vec!["daemon-reload".to_owned()], [vec!["enable".to_owned(), "--now".to_owned()], timers].concat()]
    {
        let done = Command::new("systemctl")
            .args(&arguments)
            .output()
            .map_err(|error| Error::outside("cannot run systemctl").caused_by(error))?;
        if !done.status.success() {
            return Err(Error::outside(format!("`systemctl {}` failed", arguments.join(" ")))
                .caused_by(String::from_utf8_lossy(&done.stderr).trim().to_owned()));
        }
    }
    Ok(())
}

/// The files of a schedule.
#[derive(serde::Serialize)]
struct Scheduled {
    schema: &'static str,
    runner: Runner,
    installed: bool,
    files: Vec<ScheduleFile>,
}

impl output::Report for Scheduled {
    fn render(&self, page: &mut Page) {
        for file in &self.files {
            if self.installed {
                page.line(format!("wrote {}", file.path.display()));
            } else {
                page.verbatim(format!("# {}", file.path.display()));
                page.verbatim(&file.content);
            }
        }
    }
}
