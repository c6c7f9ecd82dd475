//! The flags of `lifeboat drill run`, for one database and for fleets.

use std::time::Duration;

use clap::Args;

use crate::cli::connect::{ConnectArgs, LookArgs};
use crate::cli::waiting::parse_poll;
use crate::cli::{Session, now};
use crate::drill::DrillSettings;
use crate::drill::fleet::{self, Ceilings, FleetRequest, Selection, Shard};
use crate::drill::{Afterwards, BaselineChoice, CopyLogin, DEFAULT_FROM, Request};
use crate::error::Result;
use crate::rds::{InstanceId, Unreached};
use crate::restore::Wanted;
use crate::settings::Layered as _;
use crate::when;
use crate::when::parse_duration;

#[derive(Args, Debug)]
pub(in crate::cli) struct RunArgs {
    /// Ids of the DB instances to drill, one after the other
    #[arg(required_unless_present_any = ["all", "tags"], value_name = "DB")]
    pub(super) databases: Vec<InstanceId>,
    #[command(flatten)]
    pub(super) fleet: FleetArgs,
    /// What to restore: latest-snapshot, latest-automated, latest-manual, latest (point in time), a snapshot id, or
    /// a time as in `restore point-in-time --at` [default: latest-snapshot]
    #[arg(long, value_name = "WHAT")]
    pub(super) from: Option<String>,
    /// Class of the throwaway [default: db.t3.micro]
    #[arg(long, value_name = "CLASS")]
    pub(super) class: Option<String>,
    /// DB subnet group of the throwaway [default: the source's]
    #[arg(long, value_name = "NAME")]
    pub(super) subnet_group: Option<String>,
    /// VPC security group of the throwaway; may be repeated [default: the source's]
    #[arg(long = "security-group", value_name = "ID")]
    pub(super) security_groups: Vec<String>,
    /// DB parameter group of the throwaway [default: the source's]
    #[arg(long, value_name = "NAME")]
    pub(super) parameter_group: Option<String>,
    /// Option group of the throwaway [default: the source's]
    #[arg(long, value_name = "NAME")]
    pub(super) option_group: Option<String>,
    #[command(flatten)]
    pub(super) connect: ConnectArgs,
    /// How to log in to the copy
    #[arg(long, value_enum, default_value_t, value_name = "HOW")]
    pub(super) login: CopyLogin,
    /// Recovery time objective: from the request to the validated copy [default: 1h]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(super) rto: Option<Duration>,
    /// Recovery point objective: age of what was restored when the drill began [default: 24h]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(super) rpo: Option<Duration>,
    #[command(flatten)]
    pub(super) look: LookArgs,
    /// What to compare the copy with: what was recorded with the backup if that is in the vault (best), only that
    /// (recorded), or the source as it is now (live)
    #[arg(long, value_enum, default_value_t, value_name = "WHICH", help_heading = "Comparing")]
    pub(super) baseline: BaselineChoice,
    /// How many percent of a table may stay unproven: rows written since the backup, each of which may stand for an older one
    /// that is missing from the copy. Above this, the table and the drill are unknown [default: 10]
    #[arg(long, value_name = "PERCENT", value_parser = parse_percent)]
    pub(super) tolerance: Option<f64>,
    /// Table that is regularly emptied and reloaded, such as `staging.*` or a queue. If none of its rows can be compared,
    /// the report says so, and the drill is not unknown for it. May be repeated
    #[arg(long, value_name = "TABLE", help_heading = "Comparing")]
    pub(super) churning: Vec<String>,
    /// How often to poll AWS
    #[arg(long, value_name = "DURATION", value_parser = parse_poll, default_value = "15s")]
    pub(super) poll: Duration,
    /// How long the copy may take to become available [default: 2h]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(super) wait: Option<Duration>,
    /// How long the removal of the throwaway may take
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "30m")]
    pub(super) teardown_timeout: Duration,
    /// Time after which anyone may remove the throwaway [default: 6h, or --wait and 4h]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(super) expires_after: Option<Duration>,
    /// Keep the throwaway until it expires, so that you can inspect it; it is billed until then
    #[arg(long, conflicts_with_all = ["all", "tags"])]
    pub(super) keep: bool,
    /// Run every check that needs no instance, show the plan, create nothing
    #[arg(long)]
    pub(super) dry_run: bool,
}

#[derive(Args, Debug)]
pub(super) struct FleetArgs {
    /// Drill every RDS for PostgreSQL instance of all accounts and Regions that are configured; throwaways and read replicas are never drilled
    #[arg(long, conflicts_with_all = ["databases", "tags"], help_heading = "Fleets")]
    pub(super) all: bool,
    /// Drill the instances that carry this tag; if it is repeated, those that carry all of them
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = parse_tag, conflicts_with = "databases", help_heading = "Fleets")]
    pub(super) tags: Vec<(String, String)>,
    /// Drill only databases that were not proven within this time, according to the evidence in the vault: those never
    /// proven first, then those with the oldest proof; a failed drill is no proof [config: fleet.due]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, help_heading = "Fleets")]
    pub(super) due: Option<Duration>,
    /// Drill one of N parts of the fleet, divided by a hash of the resource ids; I counts from 0 or from 1
    #[arg(long, value_name = "I/N", help_heading = "Fleets")]
    pub(super) shard: Option<Shard>,
    /// How many databases are drilled at once by this process [config: fleet.concurrency] [default: 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=200), help_heading = "Fleets")]
    pub(super) concurrency: Option<u16>,
    /// Limit of throwaways at once in an account and Region, across all processes that share the vault
    /// [config: fleet.max_instances]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000), help_heading = "Fleets")]
    pub(super) max_instances: Option<u16>,
    /// Limit of instance-hours for the throwaways of this process; at the limit no drill begins, and running ones are aborted
    /// [config: fleet.max_hours]
    #[arg(long, value_name = "HOURS", value_parser = parse_hours, help_heading = "Fleets")]
    pub(super) max_hours: Option<f64>,
    /// Name of this fleet run, by which its shards find each other and by which it is resumed, such as the name of a Kubernetes Job
    /// [default: the latest incomplete run of the same selection that began within 12 hours, or a new one]
    #[arg(long, value_name = "NAME", value_parser = parse_name, help_heading = "Fleets")]
    pub(super) fleet_run: Option<String>,
}

impl RunArgs {
    /// The settings that the flags give.
    fn settings(&self) -> DrillSettings {
        let given = |flags: &[String]| (!flags.is_empty()).then(|| flags.to_vec());
        DrillSettings {
            from: self.from.clone(),
            class: self.class.clone(),
            subnet_group: self.subnet_group.clone(),
            security_groups: given(&self.security_groups),
            parameter_group: self.parameter_group.clone(),
            option_group: self.option_group.clone(),
            rto: self.rto,
            rpo: self.rpo,
            wait: self.wait,
            databases: given(&self.connect.dbnames),
            tolerance_percent: self.tolerance,
            churning: given(&self.churning),
            ..DrillSettings::default()
        }
    }

    /// The drill of one database: what the flags, its section of lifeboat.toml and the defaults come to.
    pub(super) fn request_for(&self, id: &InstanceId, session: &Session) -> Result<Request> {
        let settings = self.settings().over(&session.config.drill.of(id.as_str()));
        let wanted = match settings.from.as_deref().unwrap_or(DEFAULT_FROM) {
            time if when::looks_like_a_time(time) => Wanted::Time(session.read_time(time)?),
            other => Wanted::parse(other, now(), &chrono::Local)?,
        };
        let look = self.look.read_settings(settings.depth.as_deref().unwrap_or_default())?;
        let by_settings = Request::new(id.clone(), wanted, settings, look);
        Ok(Request {
            login: self.login,
            baseline: self.baseline,
            checks: session.config.checks_of(id.as_str()).to_vec(),
            freshness: session.config.freshness_of(id.as_str()).cloned(),
            poll: self.poll,
            teardown_timeout: self.teardown_timeout,
            expires_after: self.expires_after.unwrap_or(by_settings.expires_after),
            afterwards: if self.keep { Afterwards::Keep } else { Afterwards::Remove },
            ..by_settings
        })
    }
}

impl FleetArgs {
    /// Whether this is a fleet, and not single databases one after the other.
    pub(super) fn is_fleet(&self) -> bool {
        self.all
            || !self.tags.is_empty()
            || self.due.is_some()
            || self.shard.is_some()
            || self.concurrency.is_some()
            || self.max_instances.is_some()
            || self.max_hours.is_some()
            || self.fleet_run.is_some()
    }

    /// What a run of the fleet is asked to do.
    pub(super) fn ask(
        &self,
        databases: &[InstanceId],
        session: &Session,
        is_dry: bool,
        unreached: Vec<Unreached>,
    ) -> FleetRequest {
        let settings = &session.config.fleet;
        let whole = |number: u16| usize::from(number.max(1));
        FleetRequest {
            selection: Selection {
                databases: databases.to_vec(),
                tags: self.tags.clone(),
                due_seconds: self.due.or(settings.due).map(|due| due.as_secs()),
            },
            shard: self.shard,
            ceilings: Ceilings {
                concurrency: whole(self.concurrency.or(settings.concurrency).unwrap_or(4)),
                max_instances: self.max_instances.or(settings.max_instances).map(whole),
                max_hours: self.max_hours.or(settings.max_hours),
            },
            name: self.fleet_run.clone(),
            unreached,
            is_dry,
        }
    }
}

fn parse_percent(text: &str) -> std::result::Result<f64, String> {
    match text.trim_end_matches('%').trim().parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent),
        _ => Err("expected a number from 0 to 100".to_owned()),
    }
}

fn parse_tag(text: &str) -> std::result::Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

fn parse_hours(text: &str) -> std::result::Result<f64, String> {
    match text.trim_end_matches('h').parse::<f64>() {
        Ok(hours) if hours > 0.0 && hours <= 100_000.0 => Ok(hours),
        _ => Err("expected a number of hours above 0".to_owned()),
    }
}

fn parse_name(text: &str) -> std::result::Result<String, String> {
    if fleet::journal::is_name(text) {
        Ok(text.to_owned())
    } else {
        Err("expected 1 to 64 letters, digits, `-`, `_` or `.`".to_owned())
    }
}
