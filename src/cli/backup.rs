//! `lifeboat backup`: its flags, and how its reports look.

pub(super) mod asked;
pub(super) mod audited;
mod adopt;
mod manage;
mod render;
mod schedule;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand, ValueEnum};

use super::connect::{UrlArgs, url_of_environment, url_text};
use super::{Session, now};
use crate::backup::create::{self, Plan, Request};
use crate::backup::failures::{self, Failure};
use crate::backup::restore::Tolerance;
use crate::backup::{
    self, BackupName, Compression, Event, Format, Identities, Level, Manifest, Means, Packing, Recipients,
    SealKeys, Source, Surroundings, catalogue,
};
use crate::config::parse_duration;
use crate::error::{Error, Kind, Result};
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::vault::Vault;
use crate::verify::Depth;
use crate::words::format_bytes;

use render::{Backups, Listing, Plans, Proofs};

#[derive(Debug, Subcommand)]
pub(super) enum BackupCommand {
    /// Back up databases into the vault.
    ///
    /// A backup has its name only when it is complete, on disk, hashed and proven; otherwise nothing is left of it.
    /// Without DB and --url, DATABASE_URL names the database.
    Create(Box<CreateArgs>),
    /// List the backups in the vault, newest first.
    List(ListArgs),
    /// Show one backup.
    Show(ShowArgs),
    /// Restore a backup: beside what is there, checked, then in its place.
    ///
    /// The whole file is read and found good before anything is touched. A PostgreSQL database is restored into a new one,
    /// checked, and swapped in by two renames in one transaction; the old one is kept (`--keep-old`, and `backup undo`).
    /// A live SQLite file gets its content through SQLite, after a backup of what it holds now.
    Restore(Box<manage::RestoreArgs>),
    /// Put back the PostgreSQL database that the latest restore replaced.
    Undo(manage::UndoArgs),
    /// Remove the backups that no rule of retention keeps. Never the newest good one of a database.
    Prune(manage::PruneArgs),
    /// Delete one backup.
    Delete(manage::DeleteArgs),
    /// Keep a backup whatever the rules of retention say.
    Keep(manage::KeepArgs),
    /// Print, or install, a schedule for systemd or cron.
    Schedule(Box<schedule::ScheduleArgs>),
    /// Take over dumps and SQLite files that were made without lifeboat: proven, copied into the vault, and counted.
    ///
    /// A file is a plain dump of pg_dump, an archive of it, or a SQLite file; as it is, or compressed by gzip or zstd. It stays
    /// where it is.
    Adopt(Box<adopt::AdoptArgs>),
    /// Count the backups, and show how they grow.
    Stats(manage::StatsArgs),
    /// Prove backups: exit code 0 if they are good, 1 if not, 3 if that cannot be found out.
    Verify(VerifyArgs),
}

#[derive(Args, Debug)]
pub(super) struct CreateArgs {
    /// Databases of lifeboat.toml (`[databases.DB.backup]`)
    #[arg(value_name = "DB")]
    databases: Vec<String>,
    /// Database to back up: postgresql://… or sqlite:///path; may be repeated; `env:NAME` takes it from a variable
    /// [env: DATABASE_URL]
    #[arg(long = "url", value_name = "URL")]
    urls: Vec<String>,
    /// Name of the backup [default: the database's, with the time]. An earlier backup of this database that has the name
    /// gets its own time appended
    #[arg(long, value_name = "NAME")]
    name: Option<BackupName>,
    /// How PostgreSQL is dumped
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<FormatArg>,
    /// How many connections dump at once (`--format custom`): an archive in parts, `NAME.tar.gz`, which `tar xzf` and
    /// `pg_restore -j` read [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: Option<u16>,
    /// How the file is compressed [env: BACKUP_COMPRESS, true or false] [default: gzip]
    #[arg(long, value_enum, value_name = "HOW", conflicts_with = "no_compress")]
    compression: Option<Compression>,
    /// Do not compress
    #[arg(long)]
    no_compress: bool,
    /// How hard to compress: gzip 1 to 12, zstd 1 to 19 [default: 1]
    #[arg(long, value_name = "N")]
    compression_level: Option<i32>,
    /// How many threads compress [default: one per core, at most 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    threads: Option<u16>,
    /// Encrypt to an age recipient (`age1…`); may be repeated
    #[arg(long = "encrypt-to", value_name = "RECIPIENT")]
    encrypt_to: Vec<String>,
    /// How deep the source is looked into while it is dumped, to prove restored copies by
    #[arg(long, value_enum, value_name = "DEPTH", default_value_t)]
    observe: ObserveArg,
    /// Keep the roles and tablespaces of the server beside it
    #[arg(long)]
    globals: bool,
    /// The same, with the verifiers of the roles' passwords, which takes a superuser
    #[arg(long)]
    globals_with_passwords: bool,
    /// Do not remove old backups of the database afterwards
    #[arg(long)]
    no_prune: bool,
    /// How thoroughly the backup is proven before it counts [default: stream]. If the proof that is asked for cannot be made, the
    /// backup is kept and the exit code is 3
    #[arg(long, value_enum, value_name = "LEVEL")]
    verify: Option<Level>,
    /// Keep it whatever the rules of retention say
    #[arg(long)]
    keep_forever: bool,
    /// What makes it the same database on whatever host it is backed up, so that its older backups are removed: for
    /// containers whose host names change [default: host and path, or address and cluster]
    #[arg(long, value_name = "ID", env = "BACKUP_DATABASE_ID", hide_env_values = true)]
    database_id: Option<String>,
    /// Retention class, such as `pre-migration` or `major-release`
    #[arg(long, value_name = "CLASS")]
    class: Option<String>,
    /// How long to wait for another backup of the same database, or of the same name
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "10m", conflicts_with = "no_wait")]
    wait: Duration,
    /// Do not wait for another backup of the same database
    #[arg(long)]
    no_wait: bool,
    /// File with `NAME=value` lines, such as DATABASE_URL and PGPASSWORD, to set first, if it exists
    #[arg(long, value_name = "FILE")]
    environment_file: Option<PathBuf>,
    /// A dead man's switch (healthchecks.io and the like) that is told of the start, and of success or failure
    #[arg(long, value_name = "URL")]
    ping: Option<String>,
    /// What started it, for the manifest
    #[arg(long, value_name = "WORD", default_value = "cli", hide = true)]
    trigger: String,
    #[command(flatten)]
    means: MeansArgs,
    #[command(flatten)]
    connect: UrlArgs,
    /// Check whether it can be made, make nothing
    #[arg(long)]
    dry_run: bool,
}

/// What proofs and restores need besides the backup.
#[derive(Args, Clone, Debug)]
struct MeansArgs {
    /// File with the age secret key of encrypted backups
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
    /// Directory of pg_dump, pg_restore and psql [default: those that fit the server are looked for]
    #[arg(long, value_name = "DIR", env = "LIFEBOAT_PG_BIN", hide_env_values = true)]
    pg_bin: Option<PathBuf>,
    /// File with the keys that seal manifests, one a line; with it, backups that none of them has sealed are refused
    /// [default: `seal_key` of lifeboat.toml]
    #[arg(long, value_name = "FILE", env = "LIFEBOAT_SEAL_KEY", hide_env_values = true)]
    seal_key: Option<PathBuf>,
    /// Take backups without a seal although there is a key: those that were made before it
    #[arg(long)]
    accept_unsealed: bool,
    /// Run whatever the SQL of a backup says with all rights of the user who restores it, without a seal
    #[arg(long)]
    trust_content: bool,
}

/// What restores and proofs by a restore go on past.
#[derive(Args, Clone, Debug, Default)]
struct ToleranceArgs {
    /// Without the owners and rights of the source
    #[arg(long)]
    no_owner: bool,
    /// Go on past what the server refuses, as psql does; everything that it refused and everything that is then different is
    /// listed, and where something is, the exit code is 1
    #[arg(long)]
    keep_going: bool,
    /// Accept a difference from what was recorded, by the name that the refusal gave it; may be repeated
    #[arg(long = "accept", value_name = "NAME")]
    accepted: Vec<String>,
    /// Locale of the new database, such as C.UTF-8, where the server lacks that of the source
    #[arg(long, value_name = "LOCALE")]
    locale: Option<String>,
}

impl ToleranceArgs {
    fn tolerance(&self) -> Tolerance {
        Tolerance {
            no_owner: self.no_owner,
            keep_going: self.keep_going,
            accepted: self.accepted.clone(),
            locale: self.locale.clone(),
        }
    }
}

impl MeansArgs {
    fn means(&self, session: &Session) -> Result<Means> {
        let identities = self.identity.as_deref().map(Identities::from_file).transpose()?.unwrap_or_default();
        let seal_key = self.seal_key.as_ref().or(session.config.seal_key.as_ref());
        let seal_keys = seal_key.map(|path| SealKeys::from_file(path)).transpose()?.unwrap_or_default();
        Ok(Means {
            identities,
            server: None,
            pg_bin: self.pg_bin.clone(),
            seal_keys,
            accept_unsealed: self.accept_unsealed,
            trust_content: self.trust_content,
            tolerance: Tolerance::default(),
        })
    }
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum ObserveArg {
    /// Numbers of rows, and a fingerprint of every table's content
    #[default]
    Content,
    /// Numbers of rows
    Counts,
    /// Not at all
    None,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum FormatArg {
    /// SQL, readable, and restorable by hand with `gunzip | psql`
    #[default]
    Sql,
    /// PostgreSQL's archive, restorable by several jobs
    Custom,
}

#[derive(Args, Debug)]
pub(super) struct ListArgs {
    /// Only backups of these databases
    #[arg(value_name = "DB")]
    databases: Vec<String>,
}

#[derive(Args, Debug)]
pub(super) struct ShowArgs {
    /// Name of the backup
    #[arg(value_name = "NAME")]
    name: String,
}

#[derive(Args, Debug)]
pub(super) struct VerifyArgs {
    /// Names of backups of the vault, or files that need no manifest: dumps of pg_dump and SQLite files, plain or compressed by
    /// gzip or zstd
    #[arg(value_name = "NAME|FILE", required_unless_present = "all")]
    names: Vec<String>,
    /// All backups of the vault
    #[arg(long, conflicts_with = "names")]
    all: bool,
    /// How thoroughly
    #[arg(long, value_enum, value_name = "LEVEL", default_value = "stream")]
    level: Level,
    /// Server to restore into for a proof of level `restore` [default: a temporary one of our own, if PostgreSQL's server
    /// is installed]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    #[command(flatten)]
    tolerance: ToleranceArgs,
    #[command(flatten)]
    means: MeansArgs,
    #[command(flatten)]
    connect: UrlArgs,
}

pub(super) async fn run(command: BackupCommand, session: &Session) -> Result<Option<Kind>> {
    match command {
        BackupCommand::Create(args) => create_all(*args, session).await,
        BackupCommand::List(args) => list(&args, session),
        BackupCommand::Show(args) => {
            let entry = catalogue::find(&session.vault_to_read()?, &args.name)?;
            session.output.report(&entry.manifest)?;
            Ok(None)
        }
        BackupCommand::Verify(args) => verify(args, session).await,
        BackupCommand::Restore(args) => manage::restore(*args, session).await,
        BackupCommand::Undo(args) => manage::undo(args, session).await,
        BackupCommand::Prune(args) => manage::prune(&args, session),
        BackupCommand::Delete(args) => manage::delete(&args, session),
        BackupCommand::Keep(args) => manage::keep(&args, session),
        BackupCommand::Schedule(args) => schedule::run(*args, session),
        BackupCommand::Adopt(args) => adopt::run(*args, session).await,
        BackupCommand::Stats(args) => manage::stats(&args, session),
    }
}

async fn create_all(args: CreateArgs, session: &Session) -> Result<Option<Kind>> {
    let interrupt = Interrupt::listen()?;
    let output = &session.output;
    args.ping.as_deref().map_or(Ok(()), crate::web::check)?;
    let requests = requests(&args, session)?;
    if !args.no_prune {
        // Rules that cannot be read are told before the work, not after it.
        manage::rules(session, None)?;
    }
    let vault = if args.dry_run { session.vault_to_read()? } else { session.vault()? };
    let is_single = requests.len() == 1;
    let (mut plans, mut made, mut failures) = (Vec::new(), Vec::new(), Vec::new());
    for request in requests {
        let database = request.database.clone();
        let outcome = create_one(request, args.dry_run, &vault, &interrupt, output).await;
        output.settle();
        audited::say(session, &vault, &database, &outcome);
        match outcome {
            Ok(Done::Planned(plan)) => plans.push(*plan),
            Ok(Done::Made(manifest)) => {
                prune_after(&manifest, &args, &vault, session);
                made.push(*manifest);
            }
            Err(error) if is_single => return Err(error),
            Err(error) => {
                failures.push(error.kind());
                output.error(&error.hint(format!("`{database}` was not backed up.")));
                if interrupt.first().is_some() {
                    break;
                }
            }
        }
    }
    if args.dry_run {
        output.report(&Plans::new(&plans))?;
    }
    let some_made = !(made.is_empty() && plans.is_empty());
    let failed = failures.first().map(|first| match interrupt.first() {
        Some(kind) => kind,
        None if some_made => Kind::Partial,
        None => *first,
    });
    let lacks_proof = |manifest: &Manifest| {
        let proven = manifest.verification.as_ref().map(|proof| proof.level);
        args.verify.is_some_and(|asked| proven < Some(asked))
    };
    let is_unproven = made.iter().any(lacks_proof);
    if is_unproven {
        output.warn("the proof that `--verify` asks for could not be made: the backup is kept, and it may not be restorable");
    }
    let kind = failed.or(is_unproven.then_some(Kind::Outside));
    if !args.dry_run && is_single {
        made.first().map_or(Ok(()), |manifest| output.conclude(manifest, kind))?;
    } else if !args.dry_run {
        output.conclude(&Backups::new(made), kind)?;
    }
    Ok(kind)
}

enum Done {
    Planned(Box<Plan>),
    Made(Box<Manifest>),
}

async fn create_one(
    request: Request,
    dry_run: bool,
    vault: &Vault,
    interrupt: &Interrupt,
    output: &Output,
) -> Result<Done> {
    let live = Live::new(output, request.source.shown());
    let tell = |event: Event<'_>| live.tell(event);
    let surroundings = Surroundings { vault, interrupt, tell: &tell, clock: now, host: super::drill::host() };
    let (wanted, began) = (request.clone(), (now(), Instant::now()));
    let plan = tokio::select! {
        biased;
        kind = interrupt.wait(1) => return Err(Error::new(kind, "interrupted before anything was begun")),
        plan = create::plan(request, vault, now()) => plan,
    };
    if dry_run {
        return Ok(Done::Planned(Box::new(plan?)));
    }
    let outcome = match plan {
        Ok(plan) => {
            let begun = audited::begin(vault, "backup create", plan.name.as_str(), &wanted.trigger)?;
            let made = create::run(plan, &surroundings).await;
            let name = made.as_ref().ok().map(|manifest| manifest.backup_name.to_string());
            audited::end(begun, name.as_deref(), &made, output);
            made
        }
        Err(error) => Err(error),
    };
    if let Err(error) = &outcome {
        audited::record_failure(&wanted, error, began, &surroundings, output);
    }
    outcome.map(|manifest| Done::Made(Box::new(manifest)))
}

/// After a success, and only then, what the rules no longer keep is removed. That it could not be is a warning: the
/// backup was made.
fn prune_after(made: &Manifest, args: &CreateArgs, vault: &Vault, session: &Session) {
    if args.no_prune {
        return;
    }
    let pruned = plan_prune_after(made, vault, session).and_then(|plan| {
        let Some(plan) = plan else { return Ok(()) };
        let report = audited::act(session, vault, ("backup prune", &made.source.database), || {
            backup::prune::apply(plan, vault)
        })?;
        for name in &report.deleted {
            session.output.say(format!("removed `{name}`, which no rule of retention keeps"));
        }
        for failure in &report.failed {
            session.output.warn(format!("`{}` could not be removed: {}", failure.id, failure.reason));
        }
        Ok(())
    });
    if let Err(error) = pruned {
        session.output.warn(format!("old backups were not removed: {}", error.chain()));
    }
}

/// What a new backup makes superfluous of its database; `None` if nothing.
fn plan_prune_after(
    made: &Manifest,
    vault: &Vault,
    session: &Session,
) -> Result<Option<backup::prune::Plan>> {
    let rules = manage::rules(session, None)?;
    let catalogue = catalogue::read(vault)?;
    let databases = [made.source.database.clone()];
    let rules = (&rules, backup::prune::Measure::AsMade);
    let plan = backup::prune::plan(&catalogue, &databases, rules, now(), backup::prune::Caution::Unasked);
    if plan.removals() == 0 {
        return Ok(None);
    }
    backup::prune::check_clock(vault, now())?;
    Ok(Some(plan))
}

fn requests(args: &CreateArgs, session: &Session) -> Result<Vec<Request>> {
    let mut sources = Vec::new();
    for database in &args.databases {
        let settings = session.config.backup_of(database).ok_or_else(|| {
            Error::request(format!("`{database}` has no backup in lifeboat.toml")).hint(format!(
                "Add `[databases.{database}.backup]` with a `url`, or name the database with `--url`."
            ))
        })?;
        let url = settings.url.clone().ok_or_else(|| {
            Error::request(format!("`[databases.{database}.backup]` has no `url`"))
                .hint("A `url` is `postgresql://user@host/db`, `sqlite:///path` or `env:NAME`.")
        })?;
        sources.push((source(&url, &args.connect, session)?, Some(database.clone())));
    }
    for url in &args.urls {
        sources.push((source(url, &args.connect, session)?, None));
    }
    if sources.is_empty() {
        let url = url_of_environment()?.ok_or_else(|| {
            Error::request("no database is named").hint(
                "Set DATABASE_URL, pass `--url postgresql://user@host/db` or `--url sqlite:///path`, or name a database of \
                 lifeboat.toml.",
            )
        })?;
        sources.push((source(&url, &args.connect, session)?, None));
    }
    if sources.len() > 1 && args.name.is_some() {
        return Err(Error::request("one `--name` cannot be that of several backups")
            .hint("Leave `--name` out, or back the databases up one by one."));
    }
    if sources.len() > 1 && args.database_id.as_ref().is_some_and(|id| !id.is_empty()) {
        return Err(Error::request("one `--database-id` cannot be that of several databases")
            .hint("Set `database_id` of each in lifeboat.toml, or back the databases up one by one."));
    }
    sources.into_iter().map(|(source, database)| request(args, source, database, session)).collect()
}

fn source(url: &str, connect: &UrlArgs, session: &Session) -> Result<Source> {
    let text = url_text(url)?;
    if let Some(path) = backup::sqlite_path(&text)? {
        return Ok(Source::Sqlite { path });
    }
    let target = connect.target(&text, &session.output, "lifeboat backup")?;
    let dbname = target.database.clone().unwrap_or_else(|| target.server.user.clone());
    Ok(Source::Postgresql { server: Box::new(target.server), dbname })
}

fn request(args: &CreateArgs, source: Source, name: Option<String>, session: &Session) -> Result<Request> {
    let settings =
        name.as_deref().and_then(|name| session.config.backup_of(name)).cloned().unwrap_or_default();
    let settings = settings.over(&session.config.backup);
    let compression = match (args.no_compress, args.compression) {
        (true, _) => Compression::None,
        (false, Some(compression)) => compression,
        (false, None) => match compression_of_environment()? {
            Some(compression) => compression,
            None => word(settings.compression.as_deref(), "compression")?.unwrap_or_default(),
        },
    };
    let level = args.compression_level.unwrap_or(compression.usual_level());
    if compression != Compression::None && !compression.levels().contains(&level) {
        let (low, high) = (compression.levels().start().to_owned(), compression.levels().end().to_owned());
        return Err(Error::request(format!(
            "`--compression-level {level}` is not a level of this compression"
        ))
        .hint(format!("It is from {low} to {high}.")));
    }
    let recipients = if args.encrypt_to.is_empty() {
        settings.encrypt_to.unwrap_or_default()
    } else {
        args.encrypt_to.clone()
    };
    let packing = Packing {
        compression,
        level,
        threads: args.threads.map_or_else(backup::usual_threads, usize::from),
        recipients: Recipients::parse(&recipients)?,
    };
    let means = args.means.means(session)?;
    let format = match args.format.or(word(settings.format.as_deref(), "format")?).unwrap_or_default() {
        FormatArg::Sql => Format::Sql,
        FormatArg::Custom => Format::Custom,
    };
    let is_archive = format == Format::Custom && matches!(source, Source::Postgresql { .. });
    let jobs = match (args.jobs, settings.jobs) {
        (Some(jobs), _) if jobs > 1 && !is_archive => {
            return Err(Error::request(format!("`--jobs {jobs}` needs an archive of PostgreSQL"))
                .hint("Add `--format custom`. SQL is one stream, and SQLite is read in one go."));
        }
        (jobs, configured) => jobs.or(configured.filter(|_| is_archive)).unwrap_or(1).max(1),
    };
    Ok(Request {
        database: name.unwrap_or_else(|| source.usual_name()),
        source,
        name: args.name.clone(),
        format,
        jobs: usize::from(jobs),
        level: create::possible_level(args.verify.unwrap_or(Level::Stream), &packing, &means),
        packing,
        means,
        wait: if args.no_wait { Duration::ZERO } else { args.wait },
        keep_forever: args.keep_forever,
        class: args.class.clone(),
        keep_days: manage::days_of_environment()?,
        database_id: args.database_id.clone().or(settings.database_id).filter(|id| !id.is_empty()),
        if_taken: match args.trigger.as_str() {
            // A caller that asks again may not have heard the first answer.
            "api" => create::IfTaken::Refuse,
            _ => create::IfTaken::MoveAside,
        },
        trigger: args.trigger.clone(),
        observe: match args.observe {
            ObserveArg::Content => Some(Depth::Content),
            ObserveArg::Counts => Some(Depth::Counts),
            ObserveArg::None => None,
        },
        globals: match (args.globals, args.globals_with_passwords) {
            (_, true) => create::Roles::WithPasswords,
            (true, false) => create::Roles::WithoutPasswords,
            (false, false) => create::Roles::Without,
        },
    })
}

/// A word of lifeboat.toml that is one of a few.
fn word<T: ValueEnum>(text: Option<&str>, key: &str) -> Result<Option<T>> {
    let Some(text) = text else { return Ok(None) };
    T::from_str(text, false).map(Some).map_err(|_| {
        let known: Vec<String> = T::value_variants()
            .iter()
            .filter_map(|value| Some(value.to_possible_value()?.get_name().to_owned()))
            .collect();
        Error::request(format!("`{key} = \"{}\"` in lifeboat.toml is not known", text.escape_default()))
            .hint(format!("It is one of: {}.", known.join(", ")))
    })
}

fn compression_of_environment() -> Result<Option<Compression>> {
    let Some(text) = std::env::var("BACKUP_COMPRESS").ok().filter(|text| !text.trim().is_empty()) else {
        return Ok(None);
    };
    let text = text.trim();
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" | "gzip" => Ok(Some(Compression::Gzip)),
        "false" | "0" | "no" | "off" | "none" => Ok(Some(Compression::None)),
        "zstd" => Ok(Some(Compression::Zstd)),
        _ => Err(Error::request(format!(
            "BACKUP_COMPRESS is `{}`, which is neither true nor false",
            text.escape_default()
        ))
        .hint("Set it to `true`, `false` or `zstd`, or unset it.")),
    }
}

fn list(args: &ListArgs, session: &Session) -> Result<Option<Kind>> {
    let vault = session.vault_to_read()?;
    let mut catalogue = catalogue::read(&vault)?;
    for damaged in &catalogue.damaged {
        session.output.warn(damaged);
    }
    for stranger in catalogue::strangers(&catalogue) {
        session.output.warn(format!("`{stranger}` has no manifest: it is not counted, and never removed"));
    }
    if !args.databases.is_empty() {
        catalogue.entries.retain(|entry| args.databases.contains(&entry.manifest.source.database));
    }
    let failures = failures_of(&vault, &args.databases)?;
    session.output.report(&Listing::new(&catalogue, failures, now()))?;
    Ok(None)
}

/// Backups that did not come about, of these databases or of all.
fn failures_of(vault: &Vault, databases: &[String]) -> Result<Vec<Failure>> {
    let mut failures = failures::read(vault)?;
    failures.retain(|failure| databases.is_empty() || databases.contains(&failure.database));
    Ok(failures)
}

async fn verify(args: VerifyArgs, session: &Session) -> Result<Option<Kind>> {
    let interrupt = Interrupt::listen()?;
    let (names, files) = adopt::apart(&args.names, session)?;
    let vault = if names.is_empty() && !args.all { None } else { Some(session.vault()?) };
    let mut means = args.means.means(session)?;
    means.tolerance = args.tolerance.tolerance();
    if let Some(url) = &args.url {
        means.server = Some(args.connect.target(url, &session.output, "lifeboat backup")?.server);
    }
    let (names, mut worst) = match &vault {
        Some(vault) if args.all => manage::all_of(vault, &session.output)?,
        _ => (names, None),
    };
    let (is_single, mut proven) = (names.len() + files.len() == 1, Vec::new());
    for file in files {
        let live = Live::new(&session.output, format!("proving `{}`", file.display()));
        let outcome =
            adopt::prove_alone(&file, args.level, &means, &interrupt, &|event| live.tell(event)).await;
        session.output.settle();
        match outcome {
            Ok(proof) => {
                worst = Kind::worse(worst, render::kind_of(&proof));
                proven.push((file.display().to_string(), proof));
            }
            Err(error) if is_single || interrupt.first().is_some() => return Err(error),
            Err(error) => {
                worst = Kind::worse(worst, Some(error.kind()));
                session.output.error(&error);
            }
        }
    }
    for (name, vault) in names.iter().zip(vault.iter().cycle()) {
        let live = Live::new(&session.output, format!("proving `{name}`"));
        let tell = |event: Event<'_>| live.tell(event);
        let surroundings = Surroundings {
            vault,
            interrupt: &interrupt,
            tell: &tell,
            clock: now,
            host: super::drill::host(),
        };
        let outcome = backup::verify(name, args.level, &means, &surroundings).await;
        session.output.settle();
        match outcome {
            Ok((proof, manifest)) => {
                worst = Kind::worse(worst, render::kind_of(&proof));
                proven.push((manifest.backup_name.to_string(), proof));
            }
            Err(_) if args.all && has_gone(vault, name) => {
                session
                    .output
                    .warn(format!("backup `{name}` was removed or renamed before it could be verified"));
            }
            Err(error) if is_single || interrupt.first().is_some() => return Err(error),
            Err(error) => {
                worst = Kind::worse(worst, Some(error.kind()));
                session.output.error(&error);
            }
        }
    }
    if proven.is_empty() {
        worst = worst.or(Some(Kind::Outside));
    }
    session.output.conclude(&Proofs::new(proven), worst)?;
    Ok(worst)
}

/// Whether a backup that was there is there no longer: another process may prune, or give its name to a newer one.
fn has_gone(vault: &Vault, name: &str) -> bool {
    catalogue::find(vault, name).is_err_and(|error| error.kind() == Kind::Request)
}

/// What is told while something goes on.
struct Live<'a> {
    output: &'a Output,
    what: String,
    began: Instant,
}

impl<'a> Live<'a> {
    fn new(output: &'a Output, what: impl Into<String>) -> Self {
        Live { output, what: what.into(), began: Instant::now() }
    }

    fn tell(&self, event: Event<'_>) {
        match event {
            Event::Phase(phase) => self.output.show_live(format!("{} · {phase}", self.what), self.began),
            Event::Bytes(bytes) if self.output.is_live() => {
                let seconds = self.began.elapsed().as_secs_f64().max(0.1);
                let rate = format_bytes((bytes as f64 / seconds) as u64);
                self.output
                    .show_live(format!("{} · {} · {rate}/s", self.what, format_bytes(bytes)), self.began);
            }
            Event::Bytes(_) => {}
            Event::Note(text) => self.output.say(text),
            Event::Warning(text) => self.output.warn(text),
        }
    }
}
