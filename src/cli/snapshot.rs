//! `lifeboat snapshot`: its flags, and how its reports look.

pub(super) mod render;

use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};

use super::confirm::Act;
use super::connect::{ConnectArgs, LookArgs};
use super::places::{Seek, Target};
use super::waiting::{Teller, WaitArgs, conclude_wait};
use super::{Session, now};
use crate::aws::Poll;
use crate::drill::proof;
use crate::error::{Error, Kind, Result};
use crate::interrupt::Interrupt;
use crate::notify::{Announcement, Subject};
use crate::rds::{InstanceId, Place, SnapshotId, Tags, account_of, tag};
use crate::retention::Lifetime;
use crate::snapshot::baseline::{self, Baseline};
use crate::snapshot::copy::{self, CopySource};
use crate::snapshot::create::{self, Request, Taken};
use crate::snapshot::{self, Report, adopt, delete, prune};
use crate::verify::observe::Progress;
use crate::when::format_time;
use crate::when::parse_duration;

use render::List;

#[derive(Debug, Subcommand)]
pub(super) enum SnapshotCommand {
    /// Take a snapshot of a DB instance, with its retention class, expiry and settings in its tags.
    ///
    /// Waits while another snapshot of the instance is being created. Exit code 7, with the id on stdout, if the snapshot is
    /// still being created at the end of --wait.
    Create(Box<CreateArgs>),
    /// List snapshots, newest first.
    List(ListArgs),
    /// Show one snapshot.
    Show(ShowArgs),
    /// Copy a snapshot: into another Region, under another key, out of the reach of automated retention.
    Copy(CopyArgs),
    /// Make the monthly archive: copy the newest automated snapshot into the class monthly-archive.
    ///
    /// If it is run again in the same month, it finds its archive and makes no second one.
    Archive(ArchiveArgs),
    /// Delete the snapshots that have outlived their retention class, with the reason for each that is kept or deleted.
    ///
    /// Only manual snapshots that carry lifeboat's class tag are touched; never the newest good one of a database, and
    /// never those of a database that no longer exists. --dry-run shows the same without deleting.
    Prune(PruneArgs),
    /// Delete a snapshot that lifeboat took; the newest good one of a database only with --allow-last-copy.
    Delete(DeleteArgs),
    /// Take over a manual snapshot that was made without lifeboat: it gets a retention class, and counts from then on
    Adopt(AdoptArgs),
}

#[derive(Args, Debug)]
pub(super) struct AdoptArgs {
    /// Id of the snapshot
    #[arg(value_name = "ID", value_parser = parse_id)]
    id: SnapshotId,
    /// Retention class: pre-migration, monthly-archive, major-release, or one of `[retention]` in lifeboat.toml
    #[arg(long, value_name = "CLASS")]
    class: String,
    /// Show what would be changed, change nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args, Debug)]
pub(super) struct CreateArgs {
    /// Id of the DB instance
    #[arg(value_name = "DB")]
    database: InstanceId,
    /// Retention class: pre-migration, monthly-archive, major-release, or one of `[retention]` in lifeboat.toml
    #[arg(long, value_name = "CLASS", default_value = "pre-migration")]
    class: String,
    /// Id of the snapshot [default: CLASS-DB-yyyymmdd-hhmmss]
    #[arg(long, value_name = "ID", value_parser = parse_new_id)]
    id: Option<SnapshotId>,
    /// Tag to put on it; may be repeated
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = tag::parse)]
    tags: Vec<(String, String)>,
    /// Keep it at least this long, whatever its class says: 90d, 12 months, forever
    #[arg(long, value_name = "LIFETIME", value_parser = parse_lifetime)]
    expires_after: Option<Lifetime>,
    /// Commit that is about to be deployed [env: GITHUB_SHA, CI_COMMIT_SHA]
    #[arg(long, value_name = "SHA")]
    git_sha: Option<String>,
    /// A repeated job that passes the same key gets the snapshot of its first attempt, if that is recent enough to roll back to
    #[arg(long, value_name = "KEY", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    idempotency_key: Option<String>,
    /// How old the snapshot of the first attempt may be; if it is older, a new one is taken, with a warning
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "1h", requires = "idempotency_key")]
    idempotency_max_age: Duration,
    /// Write snapshot_id, snapshot_arn, snapshot_time, database_time and rollback_command to the file that GITHUB_OUTPUT names
    #[arg(long)]
    github_output: bool,
    /// Record what the database contains, so that a drill can hold the restored copy against that very moment: read at
    /// an instant just before the request, kept in the vault
    #[arg(long, conflicts_with = "no_wait")]
    baseline: bool,
    #[command(flatten)]
    look: LookArgs,
    #[command(flatten)]
    connect: ConnectArgs,
    /// Run every check that needs no snapshot, show the plan, take nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    waiting: WaitArgs,
}

#[derive(Args, Debug)]
pub(super) struct ListArgs {
    /// Only snapshots of this DB instance
    #[arg(value_name = "DB")]
    database: Option<InstanceId>,
    /// Only snapshots of this retention class
    #[arg(long, value_name = "CLASS")]
    class: Option<String>,
    /// Only snapshots of this type [possible values: automated, manual, shared, awsbackup]
    #[arg(long = "type", value_name = "TYPE", value_parser = ["automated", "manual", "shared", "awsbackup"], hide_possible_values = true)]
    kind: Option<String>,
}

#[derive(Args, Debug)]
pub(super) struct ShowArgs {
    /// Id of the snapshot
    #[arg(value_name = "ID", value_parser = parse_id)]
    id: SnapshotId,
}

#[derive(Args, Debug)]
pub(super) struct CopyArgs {
    /// Id of the snapshot; the ARN of a shared one
    #[arg(value_name = "ID", value_parser = parse_id)]
    source: SnapshotId,
    #[command(flatten)]
    target: TargetArgs,
    /// Retention class of the copy [default: that of the snapshot, else pre-migration]
    #[arg(long, value_name = "CLASS")]
    class: Option<String>,
}

#[derive(Args, Debug)]
pub(super) struct ArchiveArgs {
    /// Id of the DB instance
    #[arg(value_name = "DB")]
    database: InstanceId,
    #[command(flatten)]
    target: TargetArgs,
    /// Retention class of the archive
    #[arg(long, value_name = "CLASS", default_value = "monthly-archive")]
    class: String,
}

/// Where a copy goes.
#[derive(Args, Debug)]
struct TargetArgs {
    /// Id of the copy [default: that of the source in another Region, else ID-copy; of an archive CLASS-DB-yyyymm]
    #[arg(long, value_name = "ID", value_parser = parse_new_id)]
    id: Option<SnapshotId>,
    /// Region of the copy
    #[arg(long, value_name = "NAME")]
    to_region: Option<String>,
    /// KMS key of the copy: an id or ARN of its Region [default: the source's]
    #[arg(long, value_name = "KEY")]
    kms_key: Option<String>,
    /// Run every check that needs no copy, show the plan, copy nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    waiting: WaitArgs,
}

#[derive(Args, Debug)]
pub(super) struct PruneArgs {
    /// Only snapshots of this DB instance
    #[arg(value_name = "DB")]
    database: Option<InstanceId>,
    /// Show what would be deleted, delete nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args, Debug)]
pub(super) struct DeleteArgs {
    /// Id of the snapshot
    #[arg(value_name = "ID", value_parser = parse_id)]
    id: SnapshotId,
    /// The id once more
    #[arg(long, value_name = "ID")]
    confirm: Option<String>,
    /// Delete it even if it is the newest good snapshot of its database
    #[arg(long)]
    allow_last_copy: bool,
    /// Show what would be deleted, delete nothing
    #[arg(long)]
    dry_run: bool,
}

impl SnapshotCommand {
    /// What those who listen know the command as.
    pub(super) fn notified_as(&self) -> Option<&'static str> {
        match self {
            SnapshotCommand::Create(args) if !args.dry_run => Some("snapshot create"),
            SnapshotCommand::Prune(args) if !args.dry_run => Some("snapshot prune"),
            _ => None,
        }
    }
}

pub(super) async fn run(command: SnapshotCommand, session: &Session) -> Result<Option<Kind>> {
    match command {
        SnapshotCommand::Create(args) => {
            let subject = Subject::Database(args.database.to_string());
            let mut place = None;
            let taken = take_snapshot(*args, session, &mut place).await;
            let announcement = Announcement::of_result(subject, &taken);
            session.announce(match &place {
                Some(place) => announcement.located_in(place),
                None => announcement,
            });
            taken
        }
        SnapshotCommand::List(args) => list_snapshots(&args, session).await,
        SnapshotCommand::Show(args) => show_snapshot(&args, session).await,
        SnapshotCommand::Copy(args) => {
            let request = copy::Request {
                source: CopySource::Snapshot(args.source),
                id: args.target.id.clone(),
                class: args.class,
                kms_key: args.target.kms_key.clone(),
            };
            copy_snapshot(request, &args.target, session).await
        }
        SnapshotCommand::Archive(args) => {
            let request = copy::Request {
                source: CopySource::NewestAutomated(args.database),
                id: args.target.id.clone(),
                class: Some(args.class),
                kms_key: args.target.kms_key.clone(),
            };
            copy_snapshot(request, &args.target, session).await
        }
        SnapshotCommand::Prune(args) => prune_snapshots(&args, session).await,
        SnapshotCommand::Delete(args) => delete_snapshot(&args, session).await,
        SnapshotCommand::Adopt(args) => adopt_snapshot(&args, session).await,
    }
}

async fn adopt_snapshot(args: &AdoptArgs, session: &Session) -> Result<Option<Kind>> {
    let rules = &session.config.backup.retention;
    let aws = session.aws_of_snapshot(&args.id, Seek::ToChange).await?;
    let proofs = proof::read_records(&session.vault_to_read()?, &[])?.collect_proofs();
    let plan = adopt::plan_adoption(&aws, &args.id, &args.class, rules, &proofs, aws.now(now())).await?;
    for note in &plan.notes {
        session.output.warn(note);
    }
    match args.dry_run {
        true => session.output.report(&plan.report(&aws.location()))?,
        false => session.output.conclude(&adopt::apply_adoption(plan, &aws).await?, None)?,
    }
    Ok(None)
}

async fn take_snapshot(
    args: CreateArgs,
    session: &Session,
    found_in: &mut Option<Place>,
) -> Result<Option<Kind>> {
    let interrupt = Interrupt::listen()?;
    let began = Instant::now();
    let rules = &session.config.backup.retention;
    let github = args.github_output.then(GithubOutput::open).transpose()?;
    let aws = session.aws_of(&args.database, Seek::ToChange).await?;
    *found_in = Some(aws.location());
    let plan = create::plan_snapshot(&aws, snapshot_request(&args), rules, now()).await?;
    session.warn_of_clock(&aws);
    for note in &plan.notes {
        session.output.say(format!("note: {note}"));
    }
    if let Some(stale) = &plan.stale {
        session.output.warn(stale);
    }
    if args.dry_run {
        session.output.report(&plan.report(&aws.location(), args.baseline))?;
        return Ok(None);
    }
    let teller = Teller::new(&session.output);
    let tell = |event: snapshot::Event<'_>| teller.show_event(&event);
    let is_new = plan.existing.is_none();
    let vault = args.baseline.then(|| session.vault()).transpose()?;
    let asked = async {
        let mut baseline = None;
        if is_new {
            create::wait_for_turn(&aws, &plan, turn_poll(&args.waiting, began), &tell).await?;
            if args.baseline {
                let source = &plan.source;
                let server = args.connect.connect_to(session, &aws, source, "lifeboat snapshot").await?;
                let look = args.look.read_settings(&[])?;
                baseline = Some(Baseline::begin(source, &server, &args.connect.dbnames, &look).await?);
            }
        }
        let taken = create::request_snapshot(&aws, plan, turn_poll(&args.waiting, began), &tell).await?;
        Ok::<_, Error>((taken, baseline))
    };
    let (mut taken, mut recording) = tokio::select! {
        biased;
        kind = interrupt.wait(1) => return Err(Error::new(kind, "interrupted before AWS had answered")
            .hint("`lifeboat snapshot list` shows whether the snapshot was begun.")),
        asked = asked => asked?,
    };
    announce_snapshot(session, &taken);
    let progress = |seen: Progress| {
        let read = seen.describe_with_estimate(began.elapsed());
        session.output.show_live(format!("recording the baseline: {read}"), began);
    };
    let read = async {
        match &mut recording {
            Some(recording) => recording.observe(&progress).await,
            None => Ok(()),
        }
    };
    let complete = create::wait_until_complete(&aws, &mut taken, args.waiting.poll_since(began), &tell);
    let (ended, read) = tokio::join!(args.waiting.wait_for(&interrupt, complete), read);
    let mut kept = read;
    if let (Ok(None), Ok(()), Some(vault)) = (&ended, &kept, &vault) {
        kept = match recording {
            Some(recording) => recording.keep(&aws, vault, &mut taken.snapshot, now()).await,
            None if taken.snapshot.tags.contains_key(tag::BASELINE) => Ok(()),
            None => Err(Error::outside("an earlier attempt had taken it without one")),
        };
    }
    let report = taken.report(&aws.location());
    if let Some(github) = github {
        github.write(&report)?;
    }
    let ended = report_snapshot(ended, &report, session)?;
    match (ended, kept) {
        (None, Err(error)) => Err(baseline::missing_baseline_error(&taken.snapshot, error)),
        (Some(_), _) if args.baseline => {
            session.output.warn("no baseline was recorded: the snapshot was not complete by then");
            Ok(ended)
        }
        (ended, _) => Ok(ended),
    }
}

fn report_snapshot(ended: Result<Option<Kind>>, report: &Report, session: &Session) -> Result<Option<Kind>> {
    conclude_wait(&session.output, ended, report, || {
        let id = &report.snapshot_id;
        format!(
            "snapshot `{id}` is still being created in AWS; `lifeboat snapshot show {id}` shows its progress"
        )
    })
}

/// A snapshot that could not be begun is none, so one's turn is waited for with `--no-wait` too.
fn turn_poll(waiting: &WaitArgs, began: Instant) -> Poll {
    let poll = waiting.poll_since(began);
    match waiting.is_wanted() {
        true => poll,
        false => Poll { give_up_after: poll.give_up_after.min(Duration::from_secs(1800)), ..poll },
    }
}

async fn copy_snapshot(request: copy::Request, args: &TargetArgs, session: &Session) -> Result<Option<Kind>> {
    let interrupt = Interrupt::listen()?;
    let began = Instant::now();
    let rules = &session.config.backup.retention;
    let here = match &request.source {
        CopySource::Snapshot(id) => session.aws_of_snapshot(id, Seek::ToRead).await?,
        CopySource::NewestAutomated(id) => session.aws_of(id, Seek::ToRead).await?,
    };
    let there = match &args.to_region {
        Some(region) => here.in_region(region).await?,
        None => here.clone(),
    };
    let plan = copy::plan_copy(&here, &there, &request, rules, now()).await?;
    session.warn_of_clock(&here);
    if args.dry_run {
        session.output.report(&plan.report())?;
        return Ok(None);
    }
    let teller = Teller::new(&session.output);
    let tell = |event: snapshot::Event<'_>| teller.show_event(&event);
    let id = plan.id.clone();
    let mut taken = tokio::select! {
        biased;
        kind = interrupt.wait(1) => return Err(copy::interrupted_error(kind, &id)),
        taken = copy::request_copy(&there, plan, &tell) => taken?,
    };
    announce_snapshot(session, &taken);
    let complete = create::wait_until_complete(&there, &mut taken, args.waiting.poll_since(began), &tell);
    let ended = args.waiting.wait_for(&interrupt, complete).await;
    report_snapshot(ended, &taken.report(&there.location()), session)
}

async fn prune_snapshots(args: &PruneArgs, session: &Session) -> Result<Option<Kind>> {
    let interrupt = Interrupt::listen()?;
    let rules = &session.config.backup.retention;
    let only: Vec<InstanceId> = args.database.iter().cloned().collect();
    let tell = |event: snapshot::Event<'_>| Teller::new(&session.output).show_event(&event);
    let proofs = proof::read_records(&session.vault_to_read()?, &[])?.collect_proofs();
    let targets = session.targets(&only, Seek::ToChange).await?;
    let looked = targets
        .each(session, async |target: Target| {
            let plan = prune::plan_prune(&target.aws, rules, target.only.first(), &proofs, now()).await?;
            session.warn_of_clock(&target.aws);
            match args.dry_run {
                true => Ok(plan.report()),
                false => prune::apply_prune(plan, &target.aws, &interrupt, now(), &tell).await,
            }
        })
        .await?;
    let report = prune::merge_reports(looked.done, looked.unreached);
    let kind = prune::exit_kind(&report, &interrupt);
    match args.dry_run {
        true => session.output.report(&report)?,
        false => session.output.conclude(&report, kind)?,
    }
    if let Some(error) = prune::next_step(&report) {
        session.output.error(&error);
    }
    Ok(kind)
}

fn announce_snapshot(session: &Session, taken: &Taken) {
    let snapshot = &taken.snapshot;
    if taken.reused {
        session.output.say(format!(
            "snapshot `{}` of `{}` is used: an earlier attempt with the same key began it at {}",
            snapshot.id,
            snapshot.instance,
            create::begun_at(snapshot).map_or("an unknown time".to_owned(), format_time)
        ));
    } else {
        session.output.say(format!("AWS has begun snapshot `{}` of `{}`", snapshot.id, snapshot.instance));
    }
}

fn snapshot_request(args: &CreateArgs) -> Request {
    let first = |names: &[&str]| {
        names.iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    };
    let run = first(&["GITHUB_RUN_ID", "CI_PIPELINE_ID", "BUILDKITE_BUILD_ID", "BUILD_TAG"]);
    let who = first(&["GITHUB_ACTOR", "GITLAB_USER_LOGIN", "USER"]);
    let sha = args.git_sha.clone().or_else(|| first(&["GITHUB_SHA", "CI_COMMIT_SHA"]));
    let provenance: Tags = [(tag::GIT_SHA, sha), (tag::CI_RUN, run), (tag::WHO, who)]
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), tag::fitting(&value?))))
        .collect();
    Request {
        source: args.database.clone(),
        id: args.id.clone(),
        class: args.class.clone(),
        expires_after: args.expires_after,
        tags: args.tags.iter().cloned().collect(),
        provenance,
        idempotency_key: args.idempotency_key.clone(),
        idempotency_max_age: args.idempotency_max_age,
    }
}

/// The file in which GitHub Actions takes the outputs of a step.
struct GithubOutput(PathBuf);

impl GithubOutput {
    fn open() -> Result<Self> {
        let path = std::env::var_os("GITHUB_OUTPUT").filter(|path| !path.is_empty()).ok_or_else(|| {
            Error::request("`--github-output` needs the variable GITHUB_OUTPUT")
                .hint("GitHub Actions sets it in each step; elsewhere leave the flag out and read `--json`.")
        })?;
        // Found out before a snapshot is taken that nobody would hear of.
        let path = PathBuf::from(path);
        open_to_append(&path)?;
        Ok(GithubOutput(path))
    }

    fn write(&self, report: &Report) -> Result<()> {
        let stamp = |at: Option<chrono::DateTime<chrono::Utc>>| at.map(format_time).unwrap_or_default();
        let lines = format!(
            "snapshot_id={}\nsnapshot_arn={}\nsnapshot_time={}\ndatabase_time={}\nrollback_command={}\n",
            report.snapshot_id,
            report.arn,
            stamp(report.created_at),
            stamp(report.database_time),
            report.rollback_command
        );
        open_to_append(&self.0)?.write_all(lines.as_bytes()).map_err(|error| {
            Error::outside(format!("cannot write `{}`", self.0.display()))
                .caused_by(error)
                .hint(format!("The snapshot is there: it is called `{}`.", report.snapshot_id))
        })
    }
}

fn open_to_append(path: &std::path::Path) -> Result<std::fs::File> {
    std::fs::OpenOptions::new().append(true).create(true).open(path).map_err(|error| {
        Error::request(format!("cannot write to `{}`, which GITHUB_OUTPUT names", path.display()))
            .caused_by(error)
            .hint("GitHub Actions sets it in each step; elsewhere leave the flag out and read `--json`.")
    })
}

async fn list_snapshots(args: &ListArgs, session: &Session) -> Result<Option<Kind>> {
    let kind = args.kind.as_deref();
    // A snapshot may outlive its database, so every place is asked, wherever that is.
    let targets = session.targets(&[], Seek::ToRead).await?;
    let looked = targets
        .each(session, async |Target { aws, .. }| {
            let mut found = match (&args.database, kind) {
                (Some(id), None) => aws.backups_of(id).await?,
                (None, None) => aws.backups().await?,
                (Some(id), Some("automated" | "manual")) => aws.snapshots_of(id).await?,
                (_, kind) => aws.snapshots(kind).await?,
            };
            found.retain(|it| {
                args.database.as_ref().is_none_or(|id| it.instance == id.as_str())
                    && kind.is_none_or(|kind| it.snapshot_type.as_str() == kind)
                    && args.class.as_ref().is_none_or(|class| snapshot::class_of(it) == Some(class))
            });
            Ok((found.iter().map(|it| Report::of(it, &aws.location())).collect::<Vec<_>>(), aws.now(now())))
        })
        .await?;
    let is_empty = looked.done.iter().all(|(found, _)| found.is_empty());
    if let Some(id) = args.database.as_ref().filter(|_| is_empty && looked.unreached.is_empty()) {
        // Nothing is listed of a database that there is; a name that nothing has is a wrong one.
        session.aws_of(id, Seek::ToRead).await?.existing_instance(id).await?;
    }
    let kind = looked.kind();
    let at = looked.done.iter().map(|(_, at)| *at).min().unwrap_or_else(now);
    let mut reports: Vec<Report> = looked.done.into_iter().flat_map(|(reports, _)| reports).collect();
    reports.sort_by(|a, b| b.created_at.cmp(&a.created_at).then_with(|| a.snapshot_id.cmp(&b.snapshot_id)));
    session.output.report(&List::new(reports, looked.unreached, at))?;
    Ok(kind)
}

async fn show_snapshot(args: &ShowArgs, session: &Session) -> Result<Option<Kind>> {
    let aws = session.aws_of_snapshot(&args.id, Seek::ToRead).await?;
    let found = snapshot::existing_snapshot(&aws, &args.id).await?;
    session.output.report(&Report::of(&found, &aws.location()))?;
    Ok(None)
}

async fn delete_snapshot(args: &DeleteArgs, session: &Session) -> Result<Option<Kind>> {
    let aws = session.aws_of_snapshot(&args.id, Seek::ToChange).await?;
    let allow = if args.allow_last_copy { delete::LastCopy::Allowed } else { delete::LastCopy::Guarded };
    let proofs = proof::read_records(&session.vault_to_read()?, &[])?.collect_proofs();
    let plan = delete::plan_deletion(&aws, &args.id, allow, &proofs).await?;
    if args.dry_run {
        session.output.report(&plan.report(&aws.location()))?;
        return Ok(None);
    }
    let snapshot = &plan.snapshot;
    let taken = snapshot
        .original_created_at
        .or(snapshot.created_at)
        .map_or("at an unknown time".to_owned(), format_time);
    let act = Act {
        name: snapshot.id.to_string(),
        sentence: format!("this permanently deletes snapshot `{}`", snapshot.id),
        facts: vec![
            ("database", format!("{}, {} {}", snapshot.instance, snapshot.engine, snapshot.engine_version)),
            (
                "account",
                format!("{}, Region {}", account_of(&snapshot.arn).unwrap_or("unknown"), aws.region()),
            ),
            ("content", format!("taken {taken}, {} GiB of storage", snapshot.storage_gib)),
        ],
    };
    act.confirm(args.confirm.as_deref(), session)?;
    let report = delete::apply_deletion(plan, &aws).await?;
    session.output.conclude(&report, None)?;
    Ok(None)
}

fn parse_id(text: &str) -> Result<SnapshotId> {
    SnapshotId::parse(text)
}

fn parse_new_id(text: &str) -> Result<SnapshotId> {
    let id = SnapshotId::parse(text)?;
    if id.as_str().contains(':') {
        return Err(Error::request(format!("`{id}` cannot be the id of a new snapshot: it has a colon"))
            .hint("AWS allows letters, digits and single hyphens."));
    }
    Ok(id)
}

fn parse_lifetime(text: &str) -> std::result::Result<Lifetime, String> {
    text.parse()
}
