//! Removing backups that no rule keeps.
//!
//! Manifests are judged, never file names or times of files. Only a backup whose file is there and that was proven counts
//! as good; the newest good one of a database stays whatever the rules say. What has no manifest is never touched.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

use super::catalogue::{Catalogue, Entry, State};
use super::identity::{self, Identity};
use super::{BackupName, Level, Manifest};
use crate::error::{Error, Kind, Result};
use crate::retention::{self, Copy, Lifetime, Proof, PruneFailure, PruneReport, Rules, Verdict};
use crate::vault::Vault;
use crate::verify;

/// The class of backups that were given none.
pub(crate) const USUAL_CLASS: &str = "backup";

/// What is going to be removed.
#[derive(Debug)]
pub(crate) struct Plan {
    verdicts: Vec<Verdict>,
    manifests: BTreeMap<String, Manifest>,
}

/// Whose rule a backup without a class is judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    /// The one that it was made under, if that was said when it was made.
    AsMade,
    /// The one that is given now, whatever it was made under.
    AsGiven,
}

/// How careful to be with the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caution {
    /// Somebody asked for it: the rules as they are.
    Asked,
    /// After a backup, unasked: after a gap, which may be an outage or a clock that has jumped, what the gap alone made
    /// old stays until another backup has confirmed the time.
    Unasked,
}

/// Judges the backups of a vault, or of some databases.
pub(crate) fn plan(
    catalogue: &Catalogue,
    databases: &[String],
    (rules, measure): (&Rules, Measure),
    now: DateTime<Utc>,
    caution: Caution,
) -> Plan {
    let wanted = |entry: &&Entry| databases.is_empty() || databases.contains(&entry.manifest.source.database);
    let mut manifests = BTreeMap::new();
    let entries: Vec<&Entry> = catalogue.entries.iter().filter(wanted).collect();
    for entry in &entries {
        manifests.insert(entry.manifest.backup_name.to_string(), entry.manifest.clone());
    }
    let identities: Vec<Identity> = entries.iter().map(|entry| Identity::of(&entry.manifest)).collect();
    let groups = identity::group(&identities);
    let groups = groups.iter().map(|group| group.iter().map(|at| copy(entries[*at], measure)).collect());
    let judge = |copies: &Vec<Copy>| {
        let at = if caution == Caution::Asked { now } else { now.min(confirmed(copies)) };
        retention::judge(copies, rules, at)
    };
    let groups: Vec<Vec<Copy>> = groups.collect();
    Plan { verdicts: groups.iter().flat_map(judge).collect(), manifests }
}

fn copy(entry: &Entry, measure: Measure) -> Copy {
    let manifest = &entry.manifest;
    let days = manifest.keep_days.filter(|_| measure == Measure::AsMade && manifest.class.is_none());
    Copy {
        id: manifest.backup_name.to_string(),
        database: manifest.source.database.clone(),
        taken_at: Some(manifest.timestamp),
        class: Some(manifest.class.clone().unwrap_or_else(|| USUAL_CLASS.to_owned())),
        lifetime: days.map(|days| Lifetime::Span(TimeDelta::days(i64::from(days)))),
        is_good: manifest.is_verified() && entry.state == State::Present,
        proof: proof(manifest),
        keep_until: None,
        exempt: manifest.keep_forever.then(|| "it is kept forever".to_owned()),
    }
}

/// A restore that held what was observed in the source proves a backup; so does nothing less.
fn proof(manifest: &Manifest) -> Proof {
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
fn confirmed(copies: &[Copy]) -> DateTime<Utc> {
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
        Error::new(Kind::StillGoing, "another prune of this vault is going on")
            .hint("Run it again when it is done.")
    })?;
    let (mut deleted, mut failed) = (Vec::new(), Vec::new());
    let mut expired: Vec<&Verdict> = plan.verdicts.iter().filter(|verdict| !verdict.keep).collect();
    expired.sort_by_key(|verdict| verdict.taken_at);
    for verdict in expired {
        let Some(manifest) = plan.manifests.get(&verdict.id) else { continue };
        match remove(vault, manifest) {
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

/// Deletes one backup by hand. What is pinned is refused, and the last good one of a database is guarded.
pub(crate) fn delete(
    vault: &Vault,
    catalogue: &Catalogue,
    name: &BackupName,
    even_the_last: bool,
) -> Result<Manifest> {
    let entry =
        catalogue.entries.iter().find(|entry| entry.manifest.backup_name == *name).ok_or_else(|| {
            Error::request(format!("there is no backup `{name}`"))
                .hint("`lifeboat backup list` shows those there are.")
        })?;
    // Whoever may delete the last copy has not said yet that what was pinned is pinned no longer.
    if entry.manifest.keep_forever {
        return Err(Error::new(
            Kind::Guard,
            format!("backup `{name}` was kept: it is marked to be kept forever"),
        )
        .hint(format!("End that with `lifeboat backup keep {name} --no-longer`, then delete it.")));
    }
    let is_good = |entry: &Entry| copy(entry, Measure::AsMade).is_good;
    let identity = Identity::of(&entry.manifest);
    let others = catalogue.entries.iter().filter(|other| {
        Identity::of(&other.manifest).is_same_as(&identity)
            && other.manifest.backup_name != *name
            && is_good(other)
    });
    if is_good(entry) && others.count() == 0 && !even_the_last {
        return Err(Error::new(
            Kind::Guard,
            format!(
                "backup `{name}` was kept: it is the last good one of `{}`, {}",
                entry.manifest.source.database,
                identity.distinction()
            ),
        )
        .hint("Make a new backup first, or pass `--allow-last-copy`."));
    }
    remove(vault, &entry.manifest)?;
    Ok(entry.manifest.clone())
}

/// Under the lock of manifests: nobody may just be pinning it.
fn remove(vault: &Vault, judged: &Manifest) -> Result<()> {
    let quiet = vault.quiet()?;
    let current = super::catalogue::find(vault, judged.backup_name.as_str())?.manifest;
    if current.keep_forever && !judged.keep_forever {
        return Err(Error::new(Kind::Guard, "it was pinned meanwhile"));
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
        format!("nothing was pruned: the clock is {days} days ahead of the one of the vault's file system"),
    )
    .hint("Set the clock right, then run it again: ages of backups mean nothing until then."))
}
