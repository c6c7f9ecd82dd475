//! `lifeboat restore`: its flags, and how its reports look.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::connect::ConnectArgs;
use super::places::Seek;
use super::waiting::{Teller, WaitArgs, conclude_wait, parse_poll};
use super::{Session, now};
use crate::aws::Poll;
use crate::error::{Error, Kind, Result};
use crate::interrupt::Interrupt;
use crate::output::{self, Page, escape_controls};
use crate::rds::{Instance, InstanceId, Settings, SnapshotId, tag};
use crate::restore::Wanted;
use crate::restore::activity::{ActivityGuard, guard_against_activity};
use crate::restore::apply::{self, Report};
use crate::restore::isolation;
use crate::restore::plan::{self, From, Moment, Request, SettingsFrom, Unknown};
use crate::snapshot::Event;
use crate::tables::{self, TableName};
use crate::when::parse_duration;
use crate::when::{format_age, format_time};
use crate::words::{Tone, format_thousands};

#[derive(Debug, Subcommand)]
pub(super) enum RestoreCommand {
    /// Show from when to when a DB instance can be restored to a point in time; also of a deleted one whose automated
    /// backups are retained.
    Window(WindowArgs),
    /// Restore a snapshot to a new instance with the settings of its source, even when that is gone.
    Snapshot(Box<SnapshotArgs>),
    /// Restore a DB instance to a point in time, as a new instance with the same settings, even when it is gone.
    PointInTime(Box<PointInTimeArgs>),
    /// Bring back single tables of a DB instance, beside the live ones: orders comes back as orders_restored_20261121.
    ///
    /// Restores the backup to a throwaway, copies the tables with pg_dump and pg_restore, compares them value for value,
    /// and removes the throwaway. Nothing that is there is written over.
    Table(Box<TableArgs>),
}

#[derive(Args, Debug)]
pub(super) struct WindowArgs {
    /// Id or resource id of the DB instance
    #[arg(value_name = "DB")]
    database: String,
}

#[derive(Args, Debug)]
pub(super) struct SnapshotArgs {
    /// Id of the snapshot; the ARN of a shared one
    #[arg(value_name = "ID", value_parser = SnapshotId::parse)]
    snapshot: SnapshotId,
    #[command(flatten)]
    target: TargetArgs,
}

#[derive(Args, Debug)]
#[command(group(clap::ArgGroup::new("backup").required(true).args(["at", "from"])))]
pub(super) struct TableArgs {
    /// Id of the DB instance
    #[arg(value_name = "DB")]
    database: InstanceId,
    /// Table to bring back, as TABLE or SCHEMA.TABLE; may be repeated
    #[arg(long = "table", required = true, value_name = "SCHEMA.TABLE")]
    tables: Vec<TableName>,
    /// Moment to go back to: RFC 3339, "20 minutes ago", "yesterday 14:05", or "2026-11-21 15:05" (local time)
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Snapshot to take it from
    #[arg(long, value_name = "ID", value_parser = SnapshotId::parse)]
    from: Option<SnapshotId>,
    /// Class of the throwaway
    #[arg(long, value_name = "CLASS", default_value = "db.t3.micro")]
    class: String,
    #[command(flatten)]
    connect: ConnectArgs,
    /// Run every check that needs no instance, show the plan, create nothing
    #[arg(long)]
    dry_run: bool,
    /// How long the throwaway may take to become available
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "2h")]
    wait: Duration,
    /// How often to poll AWS
    #[arg(long, value_name = "DURATION", value_parser = parse_poll, default_value = "15s")]
    poll: Duration,
}

#[derive(Args, Debug)]
#[command(group(clap::ArgGroup::new("moment").required(true).args(["at", "latest"])))]
pub(super) struct PointInTimeArgs {
    /// Id or resource id of the DB instance
    #[arg(value_name = "DB")]
    database: String,
    /// Moment to go back to: RFC 3339, "20 minutes ago", "yesterday 14:05", or "2026-11-21 15:05" (local time)
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// The latest restorable time
    #[arg(long)]
    latest: bool,
    #[command(flatten)]
    target: TargetArgs,
}

/// The new instance.
#[derive(Args, Debug)]
struct TargetArgs {
    /// Id of the new DB instance
    #[arg(long, value_name = "NEW")]
    to: InstanceId,
    #[command(flatten)]
    changes: ChangeArgs,
    /// Tag to put on it; may be repeated. The source's tags come along
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = tag::parse)]
    tags: Vec<(String, String)>,
    /// Where the settings of the source are not known any more, take RDS's defaults
    #[arg(long)]
    accept_defaults: bool,
    /// Keep everything in the new instance from acting by itself: logical subscriptions, pg_cron and other workers. It gets a
    /// parameter group that is made for it
    #[arg(long)]
    isolated: bool,
    /// Restore although the source has logical subscriptions, which the new instance would receive in its place
    #[arg(long, conflicts_with = "isolated")]
    allow_active: bool,
    #[command(flatten)]
    connect: ConnectArgs,
    /// Run every check that needs no instance, show the plan, create nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    waiting: WaitArgs,
}

/// Settings that are not to be the source's.
#[derive(Args, Debug)]
struct ChangeArgs {
    /// Instance class
    #[arg(long, value_name = "CLASS", help_heading = "In place of the source's settings")]
    class: Option<String>,
    /// DB subnet group
    #[arg(long, value_name = "NAME", help_heading = "In place of the source's settings")]
    subnet_group: Option<String>,
    /// VPC security group; may be repeated
    #[arg(long = "security-group", value_name = "ID", help_heading = "In place of the source's settings")]
    security_groups: Vec<String>,
    /// DB parameter group
    #[arg(long, value_name = "NAME", help_heading = "In place of the source's settings")]
    parameter_group: Option<String>,
    /// Option group
    #[arg(long, value_name = "NAME", help_heading = "In place of the source's settings")]
    option_group: Option<String>,
    /// Port
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1150..), help_heading = "In place of the source's settings")]
    port: Option<u16>,
    /// Standby in another Availability Zone
    #[arg(long, value_name = "BOOL", help_heading = "In place of the source's settings")]
    multi_az: Option<bool>,
    /// Public address
    #[arg(long, value_name = "BOOL", help_heading = "In place of the source's settings")]
    public: Option<bool>,
    /// Deletion protection
    #[arg(long, value_name = "BOOL", help_heading = "In place of the source's settings")]
    deletion_protection: Option<bool>,
    /// Days that automated backups are kept, 0 to 35
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(i32).range(0..=35), help_heading = "In place of the source's settings")]
    retention_days: Option<i32>,
}

impl TargetArgs {
    fn restore_request(&self, from: From) -> Request {
        let changes = &self.changes;
        Request {
            from,
            target: self.to.clone(),
            changes: Settings {
                class: changes.class.clone(),
                subnet_group: changes.subnet_group.clone(),
                security_groups: changes.security_groups.clone(),
                parameter_group: changes.parameter_group.clone(),
                option_group: changes.option_group.clone(),
                port: changes.port,
                multi_az: changes.multi_az,
                public: changes.public,
                deletion_protection: changes.deletion_protection,
                retention_days: changes.retention_days,
                ..Settings::default()
            },
            tags: self.tags.iter().cloned().collect(),
            unknown: if self.accept_defaults { Unknown::Defaults } else { Unknown::Refused },
        }
    }
}

pub(super) async fn run(command: RestoreCommand, session: &Session) -> Result<Option<Kind>> {
    match command {
        RestoreCommand::Window(args) => show_window(&args, session).await,
        RestoreCommand::Snapshot(args) => {
            let request = args.target.restore_request(From::Snapshot(args.snapshot.clone()));
            restore_instance(request, &args.target, session).await
        }
        RestoreCommand::PointInTime(args) => {
            let moment = match &args.at {
                Some(text) => Moment::At(session.read_time(text)?),
                None => Moment::Latest,
            };
            let request = args.target.restore_request(From::Time(args.database.clone(), moment));
            restore_instance(request, &args.target, session).await
        }
        RestoreCommand::Table(args) => restore_tables(&args, session).await,
    }
}

async fn restore_tables(args: &TableArgs, session: &Session) -> Result<Option<Kind>> {
    let interrupt = Interrupt::listen()?;
    let wanted = match (&args.at, &args.from) {
        (Some(text), _) => Wanted::Time(session.read_time(text)?),
        (None, Some(id)) => Wanted::Snapshot(id.clone()),
        (None, None) => return Err(Error::request("name the backup with `--at` or `--from`")),
    };
    if args.connect.dbnames.len() > 1 {
        return Err(Error::request("the tables of one database are brought back at a time")
            .hint("Name one `--dbname`."));
    }
    let aws = session.aws_of(&args.database, Seek::ToChange).await?;
    let request = tables::Request {
        source: args.database.clone(),
        wanted,
        database: args.connect.dbnames.first().cloned(),
        tables: args.tables.clone(),
        class: args.class.clone(),
    };
    let plan = tables::plan(
        &aws,
        request,
        async |source: &Instance| args.connect.connect_to(session, &aws, source, "lifeboat restore").await,
        now(),
    )
    .await?;
    if args.dry_run {
        session.output.report(&plan.report())?;
        return Ok(None);
    }
    session.output.say(format!(
        "bringing back tables of `{}` of {} from the throwaway `{}`",
        plan.source.id,
        format_time(plan.moment),
        plan.throwaway
    ));
    let teller = Teller::new(&session.output);
    let tell = |event: Event<'_>| teller.show_event(&event);
    let poll = Poll { every: args.poll, give_up_after: args.wait };
    let (report, ended) = tables::apply(plan, &aws, &interrupt, poll, &tell).await;
    session.output.settle();
    let left_behind = report.throwaway.left_behind.clone();
    if ended.is_ok() || report.tables.iter().any(|it| it.rows.is_some()) || left_behind.is_some() {
        session.output.report(&report)?;
    }
    let group_left_behind = &report.throwaway.parameter_group_left_behind;
    if left_behind.is_none() && group_left_behind.is_none() {
        return ended.map(|()| None);
    }
    if let Some(why) = group_left_behind {
        session.output.warn(why);
    }
    if let Some(why) = left_behind {
        session.output.warn(format!(
            "throwaway `{}` was left behind in {} and is billed by the hour: {why}; `lifeboat drill sweep` removes it when it \
             has expired",
            report.throwaway.id,
            aws.region()
        ));
        if let Some(command) = &report.throwaway.remove_with {
            session.output.warn(format!("or remove it now with `{command}`"));
        }
    }
    if let Err(error) = ended {
        session.output.error(&error);
    }
    Ok(Some(Kind::LeftBehind))
}

impl output::Report for tables::Report {
    fn render(&self, page: &mut Page) {
        let verb = if self.dry_run { "would bring back" } else { "brought back" };
        page.line(format!(
            "{verb} tables of `{}` ({}) of {}",
            self.source,
            self.database,
            format_time(self.moment)
        ));
        let count = |rows: Option<i64>| {
            rows.map_or("-".to_owned(), |rows| format_thousands(u64::try_from(rows).unwrap_or(0)))
        };
        let rows = self.tables.iter().map(|it| {
            let (word, tone) = match (it.verified, it.rows) {
                (true, _) if !it.not_copied.is_empty() => ("rows verified", Some(Tone::Doubt)),
                (true, _) => ("verified", Some(Tone::Good)),
                (false, Some(_)) => ("DIFFERS", Some(Tone::Bad)),
                (false, None) => ("", None),
            };
            vec![
                (format!("{}.{}", it.schema, it.table), None),
                (format!("{}.{}", it.schema, it.restored_as), None),
                (count(it.rows), None),
                (count(it.live_rows), Some(Tone::Faint)),
                (word.to_owned(), tone),
            ]
        });
        page.table(&["table", "comes back as", "rows", "live rows", ""], rows.collect());
        for it in &self.tables {
            for told in &it.not_copied {
                page.line(output::escape_controls(&format!("  {}.{}: {told}", it.schema, it.restored_as)));
            }
        }
        if !self.dry_run {
            let fate = if self.throwaway.is_removed { "removed" } else { "LEFT BEHIND" };
            page.line(format!("  throwaway `{}`: {fate}", self.throwaway.id));
            page.line("  foreign keys, triggers, defaults and rights are not on the copies: move rows with insert … select");
        }
    }
}

async fn restore_instance(request: Request, args: &TargetArgs, session: &Session) -> Result<Option<Kind>> {
    let interrupt = Interrupt::listen()?;
    let began = Instant::now();
    let aws = match &request.from {
        From::Snapshot(id) => session.aws_of_snapshot(id, Seek::ToChange).await?,
        From::Time(name, _) => session.aws_of_backups(name, Seek::ToChange).await?,
    };
    let mut plan = plan::plan_restore(&aws, request, now()).await?;
    let connect =
        async |source: &Instance| args.connect.connect_to(session, &aws, source, "lifeboat restore").await;
    let guard = match (args.isolated, args.allow_active) {
        (true, _) => ActivityGuard::Isolate,
        (false, true) => ActivityGuard::Allow,
        (false, false) => ActivityGuard::RefuseCompetitors,
    };
    let warn = |warning: String| session.output.warn(warning);
    let isolation = guard_against_activity(&aws, &mut plan, guard, connect, &warn).await?;
    let mut report = Report::planned(&plan, args.connect.psql());
    if args.dry_run {
        session.output.report(&report)?;
        return Ok(None);
    }
    let moment = plan.moment.map_or("an unknown moment".to_owned(), format_time);
    session
        .output
        .say(format!("restoring `{}` of {moment} to the new instance `{}`", plan.source, plan.restore.id));
    for (key, change) in &report.changed {
        let before = change.before.as_deref().unwrap_or("not known");
        session.output.say(format!("  {key}: {} (was: {before})", change.after));
    }
    if let Some((isolation, group)) = isolation.as_ref().and_then(|it| Some((it, it.group_to_create()?))) {
        let settling = isolation.settling_time(args.waiting.poll_since(began));
        session.output.say(format!(
            "creating parameter group `{}`, which turns off jobs and subscriptions; waiting {} before using it, as AWS advises",
            group.name,
            humantime::format_duration(settling)
        ));
        let made = tokio::select! {
            biased;
            kind = interrupt.wait(1) => Err(Error::new(kind, "interrupted before anything was restored")),
            made = isolation::create_group(&aws, group, settling) => made.map(drop).map_err(Error::from),
        };
        if let Err(error) = made {
            // It may have been made before something went wrong.
            isolation::remove_group(&aws, &group.name, args.waiting.poll_since(began)).await?;
            return Err(error);
        }
        report.isolated_by = Some(group.name.clone());
    }
    let teller = Teller::new(&session.output);
    let tell = |event: Event<'_>| teller.show_event(&event);
    tokio::select! {
        biased;
        kind = interrupt.wait(1) => {
            return Err(Error::new(kind, "interrupted before AWS had answered").hint(format!(
                "`lifeboat status {}` shows whether it was begun.",
                args.to
            )));
        }
        begun = apply::begin_restore(&aws, &plan, &mut report, &tell) => if let Err(error) = begun {
            if let Some(group) = &report.isolated_by
                && let Err(left) = isolation::remove_group(&aws, group, args.waiting.poll_since(began)).await
            {
                session.output.warn(left.chain());
            }
            return Err(error);
        },
    }
    let finish = apply::finish_restore(&aws, plan, &mut report, args.waiting.poll_since(began), &tell);
    let ended = args.waiting.wait_for(&interrupt, finish).await;
    conclude_wait(&session.output, ended, &report, || {
        format!(
            "instance `{}` is still `{}` in AWS and is billed; the settings that a restore does not take are not set yet",
            report.instance_id, report.status
        )
    })
}

/// From when to when (`lifeboat.restore-window/1`).
#[derive(Serialize)]
struct Window {
    schema: &'static str,
    database: String,
    resource_id: String,
    /// `active`, or `retained` of a deleted instance.
    status: String,
    earliest: Option<DateTime<Utc>>,
    latest: Option<DateTime<Utc>>,
    lag_seconds: Option<f64>,
    restore_command: String,
    #[serde(skip)]
    now: DateTime<Utc>,
}

async fn show_window(args: &WindowArgs, session: &Session) -> Result<Option<Kind>> {
    let aws = session.aws_of_backups(&args.database, Seek::ToRead).await?;
    let (backup, _) = plan::automated_backup(&aws, &args.database).await?;
    let now = aws.now(now());
    let window = backup.window;
    let latest = window.latest.map(format_time);
    session.output.report(&Window {
        schema: "lifeboat.restore-window/1",
        restore_command: format!(
            "lifeboat restore point-in-time {} --at {} --to NEW {}",
            args.database,
            latest.unwrap_or("TIME".to_owned()),
            aws.location().flags()
        ),
        database: backup.instance,
        resource_id: backup.resource_id.to_string(),
        status: window.reported_status,
        earliest: window.earliest,
        latest: window.latest,
        lag_seconds: window.latest.map(|at| (now - at).as_seconds_f64().max(0.0)),
        now,
    })?;
    Ok(None)
}

impl output::Report for Window {
    fn render(&self, page: &mut Page) {
        let head = format!("`{}` ({}, {})", self.database, self.resource_id, self.status);
        page.line(page.toned(Tone::Strong, head));
        let line = |at: Option<DateTime<Utc>>| {
            at.map_or("none yet: the first backup is still being made".to_owned(), |at| {
                format!("{}, {} ago", format_time(at), format_age((self.now - at).max(TimeDelta::zero())))
            })
        };
        page.line(format!("  earliest  {}", line(self.earliest)));
        page.line(format!("  latest    {}", line(self.latest)));
        page.command("  restore   ", &self.restore_command);
    }
}

impl output::Report for Report {
    fn render(&self, page: &mut Page) {
        let verb = match (self.dry_run, self.status.as_str()) {
            (true, _) => "would restore",
            (false, "available") => "restored",
            (false, _) => "restoring",
        };
        let moment = self.moment.map_or("an unknown moment".to_owned(), format_time);
        let tone = if self.status == "available" { Tone::Good } else { Tone::Doubt };
        let head = format!("instance `{}`", self.instance_id);
        page.heading(tone, &self.status.to_uppercase(), head, self.seconds);
        page.line(format!("  {verb} `{}` of {moment}", self.source));
        if let Some(endpoint) = &self.endpoint {
            page.line(format!("  endpoint  {}:{}", endpoint.host, endpoint.port));
        }
        if let Some(connect) = &self.connect {
            page.command("  connect   ", connect);
        }
        let from = match self.settings_from {
            SettingsFrom::Instance => "its source as it is now",
            SettingsFrom::Snapshot => "the snapshot, with which they were saved",
            SettingsFrom::AnotherSnapshot => {
                "another snapshot of the same instance, with which they were saved"
            }
            SettingsFrom::Namesake => "the instance that has the name now",
            SettingsFrom::Nobody => "RDS's defaults: the settings of the source are not known",
        };
        page.line(format!("  settings  from {from}"));
        let same = self.carried_over.iter().map(|(key, value)| {
            vec![
                ("as it was".to_owned(), Some(Tone::Good)),
                ((*key).to_owned(), None),
                (escape_controls(value), None),
            ]
        });
        let changed = self.changed.iter().map(|(key, change)| {
            let before = change.before.as_deref().unwrap_or("not known");
            vec![
                ("changed".to_owned(), Some(Tone::Doubt)),
                ((*key).to_owned(), None),
                (format!("{} (was {before})", change.after), None),
            ]
        });
        page.table(&["", "setting", "value"], changed.chain(same).collect());
        for what in &self.not_carried {
            page.line(format!("  {} {what}", page.toned(Tone::Doubt, "not carried over:")));
        }
    }
}
