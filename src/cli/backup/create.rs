//! `backup create`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::flags::AccessArgs;
use super::progress::{Progress, context};
use super::render::{Backups, Plans};
use crate::backup::DumpFormat;
use crate::backup::create::{self, AuditFrom, Created, Plan};
use crate::backup::prune::Occasion;
use crate::backup::request::{Asked, Compress, Observe, Request, Roles};
use crate::backup::{BackupName, Compression, Event, Level, Manifest};
use crate::cli::{Session, actor};
use crate::error::{Kind, Result};
use crate::interrupt::Interrupt;
use crate::notify::{Announcement, Subject};
use crate::output::Output;
use crate::vault::{Trigger, Vault};
use crate::when::parse_duration;

#[derive(Args, Debug)]
pub(in crate::cli) struct CreateArgs {
    /// Databases of lifeboat.toml (`[databases.DB.backup]`)
    #[arg(value_name = "DB")]
    databases: Vec<String>,
    /// Database to back up, as postgresql://… or sqlite:///path; `env:NAME` reads the URL from a variable; may be repeated
    /// [env: DATABASE_URL]
    #[arg(long = "url", value_name = "URL")]
    urls: Vec<String>,
    /// Name of the backup [default: the name of the database and the time]. An earlier backup of this database with that name
    /// gets its own time appended
    #[arg(long, value_name = "NAME")]
    name: Option<BackupName>,
    /// Format of a PostgreSQL dump
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<DumpFormat>,
    /// Number of connections that dump in parallel (`--format custom`). More than one makes a directory-format archive,
    /// `NAME.tar.gz`, for `tar xzf` and `pg_restore -j` [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: Option<u16>,
    /// Compression of the file [env: BACKUP_COMPRESS, true or false] [default: gzip]
    #[arg(long, value_enum, value_name = "HOW", conflicts_with = "no_compress")]
    compression: Option<Compression>,
    /// Do not compress
    #[arg(long)]
    no_compress: bool,
    /// Compression level: gzip 1 to 12, zstd 1 to 19 [default: 1]
    #[arg(long, value_name = "N")]
    compression_level: Option<i32>,
    /// Number of compression threads [default: one per core, at most 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    threads: Option<u16>,
    /// Encrypt to an age recipient (`age1…`); may be repeated
    #[arg(long = "encrypt-to", value_name = "RECIPIENT")]
    encrypt_to: Vec<String>,
    /// What to record about the source during the dump, for later verification of restored copies
    #[arg(long, value_enum, value_name = "DEPTH", default_value_t)]
    observe: Observe,
    /// Also back up the server's roles and tablespaces, without passwords
    #[arg(long)]
    globals: bool,
    /// Also back up the server's roles and tablespaces, with password hashes; requires a superuser
    #[arg(long)]
    globals_with_passwords: bool,
    /// Do not prune old backups of the database afterwards
    #[arg(long)]
    no_prune: bool,
    /// How thoroughly to verify the backup before it counts [default: stream]. If that level cannot be reached, the backup is
    /// kept and the exit code is 3
    #[arg(long, value_enum, value_name = "LEVEL")]
    verify: Option<Level>,
    /// Keep the backup, whatever the retention rules say
    #[arg(long)]
    keep_forever: bool,
    /// Identity of the database across hosts, so that its older backups are pruned; for containers whose host names change
    /// [default: host and path, or address and cluster]
    #[arg(long, value_name = "ID", env = "BACKUP_DATABASE_ID", hide_env_values = true)]
    database_id: Option<String>,
    /// Retention class, such as `pre-migration` or `major-release`
    #[arg(long, value_name = "CLASS")]
    class: Option<String>,
    /// How long to wait for another backup of the same database or with the same name
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "10m", conflicts_with = "no_wait")]
    wait: Duration,
    /// Do not wait for another backup of the same database
    #[arg(long)]
    no_wait: bool,
    /// File with `NAME=value` lines to load first, if it exists, such as DATABASE_URL and PGPASSWORD
    #[arg(long, value_name = "FILE")]
    pub(super) environment_file: Option<PathBuf>,
    /// URL to ping at the start and on success or failure, such as a check at healthchecks.io
    #[arg(long, value_name = "URL")]
    pub(super) ping: Option<String>,
    /// What started the backup, for the manifest
    #[arg(long, value_name = "WORD", default_value = "cli", hide = true)]
    trigger: Trigger,
    #[command(flatten)]
    access: AccessArgs,
    /// Check whether the backup can be made, but do not make it
    #[arg(long)]
    pub(super) dry_run: bool,
}

impl CreateArgs {
    fn asked(&self) -> Asked {
        Asked {
            databases: self.databases.clone(),
            urls: self.urls.clone(),
            name: self.name.clone(),
            format: self.format,
            jobs: self.jobs,
            compress: match (self.no_compress, self.compression) {
                (true, _) => Compress::With(Compression::None),
                (false, Some(compression)) => Compress::With(compression),
                (false, None) => Compress::AsConfigured,
            },
            compression_level: self.compression_level,
            threads: self.threads,
            encrypt_to: self.encrypt_to.clone(),
            observe: self.observe,
            globals: match (self.globals, self.globals_with_passwords) {
                (_, true) => Roles::WithPasswords,
                (true, false) => Roles::WithoutPasswords,
                (false, false) => Roles::Without,
            },
            level: self.verify,
            keep_forever: self.keep_forever,
            database_id: self.database_id.clone(),
            class: self.class.clone(),
            wait: if self.no_wait { Duration::ZERO } else { self.wait },
            access: self.access.options(),
        }
    }
}

pub(super) async fn run(args: CreateArgs, session: &Session) -> Result<Option<Kind>> {
    let interrupt = Interrupt::listen()?;
    let output = &session.output;
    args.ping.as_deref().map_or(Ok(()), crate::web::refuse_bad_url)?;
    let requests =
        args.asked().resolve(&args.trigger, &session.config.backup, &|event| Progress::say(output, event))?;
    if !args.no_prune {
        // Rules that cannot be read are reported before the work, not after it.
        Occasion::AfterBackup.rules(&session.config.backup)?;
    }
    let vault = if args.dry_run { session.vault_to_read()? } else { session.vault()? };
    let is_single = requests.len() == 1;
    let (mut plans, mut made, mut failures) = (Vec::new(), Vec::new(), Vec::new());
    for request in requests {
        let database = request.database.clone();
        let outcome = create_one(request, &args, session, &vault, &interrupt).await;
        output.settle();
        notify_of(session, &vault, &database, &outcome);
        match outcome {
            Ok(Done::Planned(plan)) => plans.push(*plan),
            Ok(Done::Made(created)) => {
                print_pruned(&created, output);
                made.push(created.manifest);
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
        output.warn("the backup could not be verified as thoroughly as `--verify` asks: it was kept, but it may not be restorable");
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
    Made(Box<Created>),
}

async fn create_one(
    request: Request,
    args: &CreateArgs,
    session: &Session,
    vault: &Vault,
    interrupt: &Interrupt,
) -> Result<Done> {
    let progress = Progress::new(&session.output, request.source.shown());
    let tell = |event: Event<'_>| progress.tell(event);
    let cx = context(vault, interrupt, &tell);
    if args.dry_run {
        return create::plan(request, &cx).await.map(|plan| Done::Planned(Box::new(plan)));
    }
    let prune_by = (!args.no_prune).then_some(&session.config.backup);
    let actor = actor(args.trigger.clone());
    let created = create::run_recorded(|| Ok(request), &actor, AuditFrom::Plan, prune_by, &cx).await?;
    Ok(Done::Made(Box::new(created)))
}

/// That something could not be pruned is a warning: the backup was made.
fn print_pruned(created: &Created, output: &Output) {
    match &created.pruned {
        Ok(None) => {}
        Ok(Some(report)) => {
            for name in &report.deleted {
                output.say(format!("removed `{name}`, which no retention rule keeps"));
            }
            for failure in &report.failed {
                output.warn(format!("`{}` could not be removed: {}", failure.id, failure.reason));
            }
        }
        Err(error) => output.warn(format!("old backups were not removed: {}", error.chain())),
    }
}

/// What notifications say of one database when the command has ended.
fn notify_of(session: &Session, vault: &Vault, database: &str, outcome: &Result<Done>) {
    let subject = Subject::Database(database.to_owned());
    match outcome {
        Ok(Done::Planned(_)) => {}
        Ok(Done::Made(created)) => {
            let file = vault.shown(&created.manifest.file_path);
            session.announce(Announcement::of_exit(subject, None, Some(file)));
        }
        Err(error) => session.announce(Announcement::of_error(subject, error)),
    }
}
