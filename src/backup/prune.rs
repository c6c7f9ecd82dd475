//! Removing backups that no rule keeps.
//!
//! Manifests are judged, never file names or times of files. Only a backup whose file is there and that was proven counts
//! as good; the newest good one of a database stays whatever the rules say. What has no manifest is never touched.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

use super::catalogue::{self, Catalogue, Entry, State};
use super::context::Context;
use super::identity::{self, Identity};
use super::manifest::{Level, Manifest};
use super::schedule::Rhythm;
use super::settings::Configured;
use crate::error::{Error, Kind, Result};
use crate::retention::{self, Copy, Lifetime, Proof, PruneFailure, PruneReport, Rule, Rules, Verdict};
use crate::vault::{Actor, Vault};
use crate::verify;

/// The class of backups that were given none.
pub(crate) const USUAL_CLASS: &str = "backup";

/// What is going to be removed.
#[derive(Debug)]
pub(crate) struct Plan {
    verdicts: Vec<Verdict>,
    manifests: BTreeMap<String, Manifest>,
}

/// Rules of retention that somebody gives, on top of those of lifeboat.toml and the environment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overrides {
    /// Days that backups without a class are kept, whatever they were made under.
    pub keep_days: Option<u32>,
    /// The newest so many.
    pub keep_last: usize,
    /// Keep the last backup of each of N days.
    pub keep_daily: usize,
    /// Keep the last backup of each of N weeks.
    pub keep_weekly: usize,
    /// Keep the last backup of each of N months.
    pub keep_monthly: usize,
    /// Keep the last backup of each of N years.
    pub keep_yearly: usize,
}

/// Why backups are pruned.
#[derive(Clone, Debug)]
pub(crate) enum Occasion {
    /// Somebody asked for it: the rules as they are.
    Asked(Overrides),
    /// A backup was made. After a gap, which may be an outage or a clock that has jumped, what the gap alone made old stays
    /// until another backup has confirmed the time.
    AfterBackup,
}

impl Occasion {
    /// The rules of retention of each class, and of backups without one.
    pub(crate) fn rules(&self, config: &Configured) -> Result<Rules> {
        let mut rules = config.retention.clone();
        let configured = rules.0.get(USUAL_CLASS).cloned();
        // The days that a backup was made under stand in its manifest. What the environment says now judges backups without
        // such days only if somebody asks.
        let from_environment = retention_days_of_environment()?;
        let keep_days = match self {
            Occasion::Asked(overrides) => overrides.keep_days.or(from_environment),
            Occasion::AfterBackup => None,
        };
        let keep_for = |days: u32| Lifetime::Span(TimeDelta::days(i64::from(days)));
        let mut rule = match (configured, keep_days) {
            (Some(rule), None) => rule,
            (Some(rule), Some(days)) => Rule { keep_for: keep_for(days), ..rule },
            (None, days) => Rule::lasting(keep_for(days.unwrap_or(30))),
        };
        if let Occasion::Asked(overrides) = self {
            rule.keep_last = rule.keep_last.max(overrides.keep_last);
            rule.keep_daily = rule.keep_daily.max(overrides.keep_daily);
            rule.keep_weekly = rule.keep_weekly.max(overrides.keep_weekly);
            rule.keep_monthly = rule.keep_monthly.max(overrides.keep_monthly);
            rule.keep_yearly = rule.keep_yearly.max(overrides.keep_yearly);
        }
        rules.0.insert(USUAL_CLASS.to_owned(), rule);
        for rhythm in Rhythm::ALL {
            rules
                .0
                .entry(rhythm.class().to_owned())
                .or_insert_with(|| Rule::lasting(keep_for(rhythm.usual_days())));
        }
        Ok(rules)
    }

    /// Whether the days that a backup was made under count, where there are any.
    fn goes_by_manifest(&self) -> bool {
        !matches!(self, Occasion::Asked(Overrides { keep_days: Some(_), .. }))
    }
}

/// BACKUP_RETENTION_DAYS, if it is set.
pub(crate) fn retention_days_of_environment() -> Result<Option<u32>> {
    let text = std::env::var("BACKUP_RETENTION_DAYS").unwrap_or_default();
    match text.trim().parse::<u32>() {
        _ if text.trim().is_empty() => Ok(None),
        Ok(days) if (1..=36_500).contains(&days) => Ok(Some(days)),
        _ => Err(Error::request(format!(
            "BACKUP_RETENTION_DAYS is `{}`, which is not a number of days",
            text.escape_default()
        ))
        .hint("Set it to a number from 1 to 36500, or unset it: the default is 30.")),
    }
}

/// Removes what a plan says, between two lines of the audit log if that is anything.
pub(crate) async fn run_recorded(
    plan: Plan,
    databases: &[String],
    actor: &Actor,
    cx: &Context<'_>,
) -> Result<PruneReport> {
    if plan.removals() == 0 {
        return apply(plan, cx.vault);
    }
    let act = actor.act("backup prune", &databases.join(", "));
    cx.record_act(act, async { apply(plan, cx.vault) }).await
}

/// Removes what a new backup makes superfluous of its database; `None` if nothing.
pub(super) async fn run_after(
    made: &Manifest,
    config: &Configured,
    actor: &Actor,
    cx: &Context<'_>,
) -> Result<Option<PruneReport>> {
    let databases = [made.source.database.clone()];
    let (catalogue, now) = (catalogue::read(cx.vault)?, (cx.clock)());
    let occasion = Occasion::AfterBackup;
    let plan = plan(&catalogue, &databases, &occasion.rules(config)?, &occasion, now);
    if plan.removals() == 0 {
        return Ok(None);
    }
    check_clock(cx.vault, now)?;
    run_recorded(plan, &databases, actor, cx).await.map(Some)
}

/// Judges the backups of a vault, or of some databases.
pub(crate) fn plan(
    catalogue: &Catalogue,
    databases: &[String],
    rules: &Rules,
    occasion: &Occasion,
    now: DateTime<Utc>,
) -> Plan {
    let wanted = |entry: &&Entry| databases.is_empty() || databases.contains(&entry.manifest.source.database);
    let mut manifests = BTreeMap::new();
    let entries: Vec<&Entry> = catalogue.entries.iter().filter(wanted).collect();
    for entry in &entries {
        manifests.insert(entry.manifest.backup_name.to_string(), entry.manifest.clone());
    }
    let identities: Vec<Identity> = entries.iter().map(|entry| Identity::of(&entry.manifest)).collect();
    let groups = identity::group_by_identity(&identities);
    let groups = groups.iter().map(|group| group.iter().map(|at| copy_of(entries[*at], occasion)).collect());
    let judge = |copies: &Vec<Copy>| {
        let at = match occasion {
            Occasion::Asked(_) => now,
            Occasion::AfterBackup => now.min(confirmed_time(copies)),
        };
        retention::judge(copies, rules, at)
    };
    let groups: Vec<Vec<Copy>> = groups.collect();
    Plan { verdicts: groups.iter().flat_map(judge).collect(), manifests }
}

fn copy_of(entry: &Entry, occasion: &Occasion) -> Copy {
    let manifest = &entry.manifest;
    let days = manifest.keep_days.filter(|_| occasion.goes_by_manifest() && manifest.class.is_none());
    Copy {
        id: manifest.backup_name.to_string(),
        database: manifest.source.database.clone(),
        taken_at: Some(manifest.timestamp),
        class: Some(manifest.class.clone().unwrap_or_else(|| USUAL_CLASS.to_owned())),
        lifetime: days.map(|days| Lifetime::Span(TimeDelta::days(i64::from(days)))),
        is_good: is_good(entry),
        proof: proof_of(manifest),
        keep_until: None,
        exempt: manifest.keep_forever.then(|| "it is kept forever".to_owned()),
    }
}

/// Whether a backup counts as a copy to rely on: its file is there, and it was proven.
pub(super) fn is_good(entry: &Entry) -> bool {
    entry.manifest.is_verified() && entry.state == State::Present
}

/// A restore that held what was observed in the source proves a backup; so does nothing less.
fn proof_of(manifest: &Manifest) -> Proof {
    match &manifest.verification {
        Some(standing) if standing.result == verify::Verdict::Pass && standing.level == Level::Restore => {
            let at = standing.at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
            Proof::Good(format!("the restore of {at}"))
        }
        Some(standing) if standing.result == verify::Verdict::Fail => {
            let at = standing.at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
            Proof::Bad(format!("the verification of {at}"))
        }
        _ => Proof::Unknown,
    }
}

/// The latest moment that two good backups agree on: a day after the last but one.
fn confirmed_time(copies: &[Copy]) -> DateTime<Utc> {
    let mut times: Vec<DateTime<Utc>> =
        copies.iter().filter(|copy| copy.is_good).filter_map(|copy| copy.taken_at).collect();
    times.sort();
    times.iter().rev().nth(1).map_or(DateTime::<Utc>::MIN_UTC, |time| *time + TimeDelta::days(1))
}

impl Plan {
    /// What would be done, for a dry run.
    pub(crate) fn preview(&self) -> PruneReport {
        PruneReport {
            schema: "lifeboat.prune/1",
            dry_run: true,
            verdicts: self.verdicts.clone(),
            deleted: Vec::new(),
            failed: Vec::new(),
            unreached: Vec::new(),
        }
    }

    /// How many would be removed.
    pub(crate) fn removals(&self) -> usize {
        self.verdicts.iter().filter(|verdict| !verdict.keep).count()
    }
}

/// Removes what no rule keeps, oldest first, so that an abort leaves the newest.
pub(crate) fn apply(plan: Plan, vault: &Vault) -> Result<PruneReport> {
    let _alone = vault.try_lock(".locks/prune")?.ok_or_else(|| {
        Error::new(Kind::StillGoing, "another prune of this vault is running")
            .hint("Run it again when it is done.")
    })?;
    let (mut deleted, mut failed) = (Vec::new(), Vec::new());
    let mut expired: Vec<&Verdict> = plan.verdicts.iter().filter(|verdict| !verdict.keep).collect();
    expired.sort_by_key(|verdict| verdict.taken_at);
    for verdict in expired {
        let Some(manifest) = plan.manifests.get(&verdict.id) else { continue };
        match remove_backup(vault, manifest) {
            Ok(()) => deleted.push(verdict.id.clone()),
            Err(error) => {
                failed.push(PruneFailure { id: verdict.id.clone(), place: None, reason: error.chain() })
            }
        }
    }
    Ok(PruneReport {
        schema: "lifeboat.prune/1",
        dry_run: false,
        verdicts: plan.verdicts,
        deleted,
        failed,
        unreached: Vec::new(),
    })
}

/// Under the lock of manifests: nobody may just be pinning it.
pub(super) fn remove_backup(vault: &Vault, judged: &Manifest) -> Result<()> {
    let quiet = vault.quiet()?;
    let current = catalogue::find(vault, judged.backup_name.as_str())?.manifest;
    if current.keep_forever && !judged.keep_forever {
        return Err(Error::new(Kind::Guard, "it was marked to be kept in the meantime"));
    }
    quiet.check()?;
    vault.delete(judged.backup_name.as_str(), &current.files())
}

/// Refuses when the clock that we read is a day or more ahead of the one that stamps the vault's files: one of them is wrong,
/// and backups would be taken for older than they are. A clock that is behind takes them for younger, and removes too little.
pub(crate) fn check_clock(vault: &Vault, now: DateTime<Utc>) -> Result<()> {
    let stamped = vault.clock()?;
    let ahead = now - stamped;
    if ahead < TimeDelta::days(1) {
        return Ok(());
    }
    // To the nearest: a store is asked some time after our clock was read.
    let days = (ahead + TimeDelta::hours(12)).num_days();
    Err(Error::new(
        Kind::Guard,
        format!("nothing was pruned: this machine's clock is {days} days ahead of the vault's"),
    )
    .hint("Correct the clock, then run the command again: until then, the ages of backups are wrong."))
}
