//! Removing throwaways whose drill can no longer do it, and the parameter groups that were made for them.
//!
//! Two things make one removable: its tag says that it has expired, or the record of its run is in this vault and
//! the process that held it is gone. Everything else is left alone, with the reason. What looks like a throwaway that should be
//! gone, and cannot be proven to be one, is left behind for a person to inspect.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use super::context::Event;
use super::evidence::{Report, State};
use super::journal::{self, Found, Process};
use super::proof;
use super::removal::{self, Remains, delete_command};
use super::throwaway::{self, OWN_SOURCE, Origin, Proof, prove_by_resource_id, read_origin_tags};
use crate::aws::{Aws, Failure, Poll};
use crate::error::{Kind, Result};
use crate::rds::tag::{EXPIRES, PURPOSE, RUN, SOURCE_RESOURCE};
use crate::rds::{
    Instance, InstanceId, Place, ResourceId, RunId, THROWAWAY_PREFIX, Tags, Unreached, account_of,
    list_regions,
};
use crate::restore::isolation;
use crate::vault::Vault;
use crate::when::format_time;

/// For how long after its expiry a throwaway is left to a drill that may still be removing it.
const EXPIRY_MARGIN: TimeDelta = TimeDelta::minutes(15);

/// What a sweep found and did.
#[derive(Debug, Default, Serialize)]
pub(crate) struct SweepReport {
    /// `lifeboat.sweep/1`.
    pub schema: &'static str,
    /// Regions that were swept.
    pub region: String,
    /// Accounts and Regions that could not be reached.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unreached: Vec<Unreached>,
    /// Whether it only looked.
    pub dry_run: bool,
    pub instances: Vec<Swept>,
    /// The parameter groups that were made for throwaways.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parameter_groups: Vec<SweptGroup>,
    /// What could not be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// The outcome for a parameter group that was created for a throwaway.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SweptGroup {
    pub name: String,
    /// Its account and Region.
    #[serde(flatten)]
    pub place: Place,
    /// The run that made it, if it says so credibly.
    pub run: Option<String>,
    /// What was done.
    pub action: Action,
    pub reason: String,
}

/// The outcome for one instance.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Swept {
    pub id: String,
    /// Its account and Region.
    #[serde(flatten)]
    pub place: Place,
    /// Its class, which says what it costs by the hour.
    pub class: String,
    /// The run that made it, if it says so credibly.
    pub run: Option<String>,
    /// What was done.
    pub action: Action,
    pub reason: String,
    /// Whether it should be gone, as far as can be told, and still exists.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub left_behind: bool,
    /// The command that removes it, for a person who has verified what it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remove_with: Option<String>,
}

/// What was done with an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Action {
    /// It is gone.
    Removed,
    /// It would be removed.
    WouldRemove,
    /// It was left alone.
    Left,
    /// It should be gone, and is not.
    Failed,
}

impl SweepReport {
    /// The sweeps of several accounts and Regions as one.
    pub(crate) fn merge(
        sweeps: impl IntoIterator<Item = SweepReport>,
        unreached: &[Unreached],
    ) -> SweepReport {
        let mut all = SweepReport { schema: SCHEMA, unreached: unreached.to_vec(), ..SweepReport::default() };
        let mut places = Vec::new();
        for sweep in sweeps {
            places.push(Place { account: None, region: sweep.region });
            all.dry_run |= sweep.dry_run;
            all.instances.extend(sweep.instances);
            all.parameter_groups.extend(sweep.parameter_groups);
            all.notes.extend(sweep.notes);
        }
        all.region = list_regions(&places);
        all
    }

    /// What the sweep means to its caller.
    pub(crate) fn exit_kind(&self) -> Option<Kind> {
        let is_left = self.instances.iter().any(|swept| swept.action == Action::Failed || swept.left_behind)
            || self.parameter_groups.iter().any(|swept| swept.action == Action::Failed);
        is_left.then_some(Kind::LeftBehind)
    }
}

/// A sweep that has been decided and not yet made.
pub(crate) struct SweepPlan {
    remove: Vec<(Proof, Instance, String)>,
    left: Vec<Swept>,
    /// Parameter groups, those that are to be removed among them.
    groups: Vec<SweptGroup>,
    notes: Vec<String>,
    /// Drills that died and whose throwaway AWS does not know: source and run.
    gone: Vec<(String, String)>,
    at: DateTime<Utc>,
}

/// For how long after its beginning AWS may not yet show the throwaway of a drill that died.
const LAG_OF_DESCRIBE: TimeDelta = TimeDelta::minutes(15);

/// Decides what to remove: all throwaways, or those of one source, by its immutable id. Reads only.
pub(crate) async fn plan_sweep(
    aws: &Aws,
    vault: &Vault,
    source: Option<&ResourceId>,
    now: DateTime<Utc>,
) -> Result<SweepPlan> {
    let is_meant = |tags: &Tags| source.is_none_or(|source| tags.get(SOURCE_RESOURCE) == Some(&source.0));
    let instances = aws.instances().await?;
    // AWS has told the time by now: a clock of ours that is ahead must not end the drills of others.
    let now = aws.now(now);
    let gone = list_vanished_runs(aws, vault, &instances, now);
    let (remove, left, groups, notes) = Default::default();
    let mut plan = SweepPlan { remove, left, groups, notes, gone, at: now };
    for instance in instances.iter().filter(|instance| looks_like_one(instance) && is_meant(&instance.tags)) {
        match decide_on_instance(instance, &instances, vault, now) {
            Decision::Remove(proof, reason) => plan.remove.push((proof, instance.clone(), reason)),
            Decision::Leave(run, reason) => {
                plan.left.push(describe_swept(instance, aws, run, Action::Left, reason))
            }
            Decision::Doubt(run, reason) => plan.left.push(Swept {
                left_behind: true,
                remove_with: Some(delete_command(&instance.id, aws.region())),
                ..describe_swept(instance, aws, run, Action::Left, reason)
            }),
        }
    }
    match made_groups(aws).await {
        Ok(made) => {
            let going: Vec<&InstanceId> = plan.remove.iter().map(|(_, instance, _)| &instance.id).collect();
            let stays = |instance: &&Instance| !going.contains(&&instance.id);
            let used: Vec<&str> =
                instances.iter().filter(stays).filter_map(|it| it.parameter_group.as_deref()).collect();
            for (name, tags) in made.into_iter().filter(|(_, tags)| is_meant(tags)) {
                let is_used = used.contains(&name.as_str());
                plan.groups.push(decide_group(name, &tags, is_used, aws.location(), vault, now));
            }
        }
        // A role that may only describe instances can still sweep them.
        Err(failure) => plan.notes.push(format!("parameter groups were not checked: {failure}")),
    }
    Ok(plan)
}

/// The drills of this place that died, and whose throwaway is not among its instances.
fn list_vanished_runs(
    aws: &Aws,
    vault: &Vault,
    instances: &[Instance],
    now: DateTime<Utc>,
) -> Vec<(String, String)> {
    // A list without any instance may be that of a role that may not see them.
    let Some(account) = instances.iter().find_map(|it| account_of(&it.arn)) else { return Vec::new() };
    let is_there = |report: &Report| {
        let throwaway = &report.throwaway;
        instances.iter().any(|it| {
            it.id.as_str() == throwaway.current_name()
                || throwaway.resource_id.as_ref() == Some(&it.resource_id.0)
                || it.tags.get(RUN) == Some(&report.run)
        })
    };
    let is_dead = |report: &Report| {
        let which = report.database_key();
        report.state == State::Running
            && which.region == aws.region()
            && which.account.as_deref().is_none_or(|of| of == account)
            && report.started_at + LAG_OF_DESCRIBE <= now
            && matches!(journal::process_of(vault, &report.source.id, &report.run), Ok(Process::Ended))
    };
    let (reports, _) = journal::list_records(vault, &[]).unwrap_or_default();
    let gone = reports.into_iter().filter(|it| is_dead(it) && !is_there(it));
    gone.map(|report| (report.source.id, report.run)).collect()
}

/// Parameter groups with the names of throwaways, and their tags.
async fn made_groups(aws: &Aws) -> std::result::Result<Vec<(String, Tags)>, Failure> {
    let mut made = Vec::new();
    for group in
        aws.parameter_groups().await?.into_iter().filter(|group| group.name.starts_with(THROWAWAY_PREFIX))
    {
        let tags = aws.tags_of(&group.arn).await?;
        made.push((group.name, tags));
    }
    Ok(made)
}

/// A group goes by the same proof as an instance: its name is the one that its tags would have given it.
fn decide_group(
    name: String,
    tags: &Tags,
    is_used: bool,
    place: Place,
    vault: &Vault,
    now: DateTime<Utc>,
) -> SweptGroup {
    let left = |run, reason: String| SweptGroup {
        name: name.clone(),
        place: place.clone(),
        run,
        action: Action::Left,
        reason,
    };
    let (run, origin) = match read_origin_tags(tags) {
        Ok(read) => read,
        Err(reason) => return left(None, format!("it cannot be shown that a drill created it: {reason}")),
    };
    if throwaway::throwaway_name(&origin.source, &run).ok().is_none_or(|its| its.as_str() != name) {
        return left(None, "its name is not the one that its run would have given it".to_owned());
    }
    let run = Some(origin.run.clone());
    match may_go(vault, &origin, now) {
        Ok(_) if is_used => left(run, "an instance uses it".to_owned()),
        Ok(reason) => SweptGroup { action: Action::WouldRemove, ..left(run, reason) },
        Err(reason) => left(run, reason),
    }
}

/// Whether an instance has anything of a throwaway. Somebody may have renamed it, or taken some of its tags away.
fn looks_like_one(instance: &Instance) -> bool {
    instance.id.as_str().starts_with(THROWAWAY_PREFIX)
        || [PURPOSE, EXPIRES].iter().any(|key| instance.tags.contains_key(*key))
}

/// Whether a name is such as runs give to their throwaways.
fn is_generated(name: &str) -> bool {
    let mut parts = name.strip_prefix(THROWAWAY_PREFIX).unwrap_or_default().rsplitn(3, '-');
    let (random, day, source) = (parts.next(), parts.next(), parts.next());
    let is_day = day.is_some_and(|day| day.len() == 8 && day.bytes().all(|byte| byte.is_ascii_digit()));
    is_day && random.is_some_and(|random| random.len() == 6) && source.is_some()
}

/// What is to become of an instance, and why.
enum Decision {
    Remove(Proof, String),
    /// It is as it should be, or none of ours.
    Leave(Option<String>, String),
    /// It should be gone, as far as can be told, and there is no proof that it may be removed.
    Doubt(Option<String>, String),
}

fn decide_on_instance(instance: &Instance, all: &[Instance], vault: &Vault, now: DateTime<Utc>) -> Decision {
    let proof = match prove_somehow(instance, vault) {
        Ok(proof) => proof,
        Err(reason) => return without_proof(instance, &reason, now),
    };
    let origin = proof.origin.clone();
    let run = Some(origin.run.clone());
    // A tag is only a tag: what the source really is counts as well.
    if all.iter().any(|other| other.id.as_str() == origin.source && other.resource_id == instance.resource_id)
    {
        return Decision::Leave(run, OWN_SOURCE.to_owned());
    }
    let why = match may_go(vault, &origin, now) {
        Ok(why) => why,
        Err(reason) => return Decision::Leave(run, reason),
    };
    if instance.deletion_protection {
        let reason = format!(
            "{why}, and someone has turned on its deletion protection: turn that off, or, if it is to stay, remove its \
             `lifeboat:` tags and rename it"
        );
        return Decision::Doubt(run, reason);
    }
    Decision::Remove(proof, why)
}

/// Proves an instance by its name and tags, or, whatever it is called by now, by the resource id that the record of its run
/// names. A record that names another instance counts against it.
fn prove_somehow(instance: &Instance, vault: &Vault) -> std::result::Result<Proof, String> {
    let proof = throwaway::prove_throwaway(instance);
    let Ok((_, origin)) = read_origin_tags(&instance.tags) else { return proof };
    let Some(made) = recorded_resource(vault, &origin) else { return proof };
    match prove_by_resource_id(instance, &origin.run, &made) {
        Err(_) if instance.resource_id != made => {
            Err(format!("run `{}` created another instance, with the resource id `{made}`", origin.run))
        }
        proof => proof,
    }
}

/// The resource id of the instance that a run made, if its record is in this vault and is as it was written.
fn recorded_resource(vault: &Vault, origin: &Origin) -> Option<ResourceId> {
    let record = proof::read_proven_record(vault, &origin.source, &origin.run).ok()??;
    record.throwaway.resource_id.map(ResourceId)
}

/// What to do about an instance that no proof allows to remove.
fn without_proof(instance: &Instance, reason: &str, now: DateTime<Utc>) -> Decision {
    let unproven = format!("it cannot be shown that a drill created it: {reason}");
    let run = instance.tags.get(RUN).filter(|run| RunId::parse(run).is_some()).cloned();
    let purpose = instance.tags.get(PURPOSE).map(String::as_str);
    match read_origin_tags(&instance.tags) {
        _ if reason == OWN_SOURCE => Decision::Leave(run, unproven),
        Ok((_, origin)) if origin.expires + EXPIRY_MARGIN > now => {
            Decision::Leave(run, format!("{unproven}; it expires at {}", format_time(origin.expires)))
        }
        Ok((_, origin)) => {
            let reason =
                format!("its tags say that it expired at {}, and {unproven}", format_time(origin.expires));
            Decision::Doubt(run, reason)
        }
        Err(_) if purpose == Some("drill") || is_generated(instance.id.as_str()) => {
            Decision::Doubt(run, unproven)
        }
        Err(_) if purpose.is_none() && run.is_some() && instance.tags.contains_key(EXPIRES) => {
            Decision::Doubt(run, unproven)
        }
        Err(_) => Decision::Leave(run, unproven),
    }
}

/// Why what a run has made may be removed, or else why not.
fn may_go(vault: &Vault, origin: &Origin, now: DateTime<Utc>) -> std::result::Result<String, String> {
    let until = format_time(origin.expires);
    let expired = format!("it expired at {until}");
    let process = journal::process_of(vault, &origin.source, &origin.run).unwrap_or(Process::Unknown);
    match process {
        // Whatever is still removing it then has hung.
        _ if origin.expires + EXPIRY_MARGIN <= now => Ok(expired),
        Process::Alive => Err("its drill is still running".to_owned()),
        Process::NotHere => Err(format!("it expires at {until}, and its run is not in this vault")),
        Process::Unknown => Err(format!(
            "it expires at {until}; whether its drill is still running is unknown: this vault is a copy of the drill's, or the drill \
             runs on another machine, or this machine was restarted since"
        )),
        Process::Ended if origin.expires <= now => Ok(expired),
        Process::Ended => match journal::read_record(vault, &origin.source, &origin.run) {
            Ok(Some(report)) if report.throwaway.kept && report.state == State::Finished => {
                Err(format!("its drill kept it as requested; it expires at {until}"))
            }
            _ => Ok("its drill ended without removing it".to_owned()),
        },
    }
}

impl SweepPlan {
    /// What would be done.
    pub(crate) fn preview(&self, aws: &Aws) -> SweepReport {
        let removable = self.remove.iter().map(|(proof, instance, reason)| {
            describe_swept(instance, aws, Some(proof.origin.run.clone()), Action::WouldRemove, reason.clone())
        });
        let instances = removable.chain(self.left.iter().cloned()).collect();
        SweepReport {
            schema: SCHEMA,
            region: aws.region().to_owned(),
            unreached: Vec::new(),
            dry_run: true,
            instances,
            parameter_groups: self.groups.clone(),
            notes: self.notes.clone(),
        }
    }
}

const SCHEMA: &str = "lifeboat.sweep/1";

/// Removes what was decided to be removable; one that cannot be removed does not keep the others. The outcome for the throwaways of
/// drills that died is written into their records.
pub(crate) async fn apply_sweep(
    plan: SweepPlan,
    aws: &Aws,
    vault: &Vault,
    poll: Poll,
    tell: &(dyn Fn(Event<'_>) + Sync),
) -> SweepReport {
    let mut closed: Vec<(String, String, Found)> =
        plan.gone.into_iter().map(|(source, run)| (source, run, Found::NotThere)).collect();
    let sources: BTreeMap<String, String> = plan
        .remove
        .iter()
        .map(|(proof, ..)| (proof.origin.run.clone(), proof.origin.source.clone()))
        .collect();
    let removals = plan.remove.into_iter().map(|(proof, instance, reason)| async move {
        let run = Some(proof.origin.run.clone());
        match removal::remove_throwaway(aws, proof, poll, tell).await {
            Ok(()) => describe_swept(&instance, aws, run, Action::Removed, reason),
            Err(Remains { known_as, error }) => Swept {
                id: known_as.to_string(),
                left_behind: true,
                remove_with: Some(delete_command(&known_as, aws.region())),
                ..describe_swept(&instance, aws, run, Action::Failed, error.chain())
            },
        }
    });
    let mut instances: Vec<Swept> = futures::future::join_all(removals).await;
    instances.extend(plan.left);
    let removed = instances.iter().filter(|it| it.action == Action::Removed).filter_map(|it| it.run.clone());
    closed.extend(removed.filter_map(|run| Some((sources.get(&run)?.clone(), run, Found::Removed))));
    let mut notes = plan.notes;
    for (source, run, found) in closed {
        if let Err(error) = journal::close_dead(vault, &source, &run, found, plan.at) {
            notes.push(format!(
                "the record of drill {run} of `{source}` could not be closed: {}",
                error.chain()
            ));
        }
    }
    // Only when their instances are gone.
    let failed = instances.iter().filter(|swept| swept.action == Action::Failed);
    let stuck = &failed.filter_map(|swept| swept.run.clone()).collect::<BTreeSet<String>>();
    let groups = plan.groups.into_iter().map(|group| async move {
        if group.action != Action::WouldRemove {
            return group;
        }
        if group.run.as_ref().is_some_and(|run| stuck.contains(run)) {
            return SweptGroup {
                action: Action::Left,
                reason: "its instance is still there".to_owned(),
                ..group
            };
        }
        match isolation::remove_group(aws, &group.name, poll).await {
            Ok(()) => SweptGroup { action: Action::Removed, ..group },
            Err(error) => SweptGroup { action: Action::Failed, reason: error.chain(), ..group },
        }
    });
    let parameter_groups = futures::future::join_all(groups).await;
    SweepReport {
        schema: SCHEMA,
        region: aws.region().to_owned(),
        unreached: Vec::new(),
        dry_run: false,
        instances,
        parameter_groups,
        notes,
    }
}

fn describe_swept(
    instance: &Instance,
    aws: &Aws,
    run: Option<String>,
    action: Action,
    reason: String,
) -> Swept {
    Swept {
        id: instance.id.to_string(),
        place: aws.location(),
        class: instance.class.clone(),
        run,
        action,
        reason,
        left_behind: false,
        remove_with: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_runs_give_are_told_from_those_of_others() {
        assert!(is_generated("lifeboat-drill-orders-prod-20260101-abc234"));
        for other in
            ["lifeboat-drill-mine", "lifeboat-drill-20260101-abc234", "orders-20260101-abc234", "orders"]
        {
            assert!(!is_generated(other), "{other}");
        }
    }
}
