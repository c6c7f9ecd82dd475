//! Which databases a fleet run drills, in which order; what can be known beforehand to fail. Reads only, but for the one
//! entry in the vault by which the shards of a run find each other.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

use super::journal::{self, Joined};
use super::record::{Fleet, Outcome, Progress, Row, SCHEMA, Summary};
use super::{Ceilings, Selection, Shard, ceiling, due};
use crate::aws::Aws;
use crate::drill::{Request, preflight};
use crate::error::{Error, Kind, Result};
use crate::rds::{Instance, InstanceId, Place, ResourceId, SnapshotType, Unreached};
use crate::restore::{Wanted, target};
use crate::vault::Vault;

/// What a fleet run is asked to do.
#[derive(Clone, Debug)]
pub(crate) struct FleetRequest {
    pub selection: Selection,
    /// Which part of them.
    pub shard: Option<Shard>,
    /// Its limits.
    pub ceilings: Ceilings,
    /// The name of the run, if it was given one.
    pub name: Option<String>,
    /// Accounts and Regions that could not be reached.
    pub unreached: Vec<Unreached>,
    /// Only plan: nothing is written.
    pub is_dry: bool,
}

/// A fleet run that can be run. By value: it cannot run twice.
pub(crate) struct Plan {
    /// The record so far: what is decided of all databases.
    pub record: Fleet,
    /// Those to be drilled, the most urgent first.
    pub todo: Vec<Todo>,
    /// Notes.
    pub notes: Vec<String>,
}

/// One database to be drilled.
pub(crate) struct Todo {
    /// Its account and Region.
    pub aws: Aws,
    /// The database.
    pub source: Instance,
    /// When it was last proven.
    pub last_proof: Option<DateTime<Utc>>,
    /// How it is drilled.
    pub request: Request,
}

impl Todo {
    /// What is recorded of it before its drill.
    pub(super) fn pending_row(&self) -> Row {
        Row::pending(&self.source, self.aws.location(), self.last_proof)
    }
}

/// Plans a fleet run over some accounts and Regions, each with the databases that are named there.
pub(crate) async fn plan_fleet_run(
    places: Vec<(Aws, Vec<InstanceId>)>,
    vault: &Vault,
    ask: &FleetRequest,
    request_of: &dyn Fn(&InstanceId) -> Result<Request>,
    now: DateTime<Utc>,
) -> Result<Plan> {
    let mut met = Vec::new();
    let mut unreached = ask.unreached.clone();
    let is_alone = places.len() + unreached.len() == 1;
    for (aws, only) in &places {
        match list_matching_databases(aws, only, ask).await {
            Ok(here) => met.extend(here.into_iter().map(|source| (aws.clone(), source))),
            // One place that fails does not keep the others from being drilled.
            Err(error) if !is_alone && error.kind() == Kind::Outside => {
                unreached.push(Unreached { place: aws.location(), error: error.chain() });
            }
            Err(error) => return Err(error),
        }
    }
    let places: Vec<(Aws, Vec<InstanceId>)> = places
        .into_iter()
        .filter(|(aws, _)| !unreached.iter().any(|one| one.place == aws.location()))
        .collect();
    // An empty fleet is a mistake, not a pass; places that could not be reached may hold databases.
    if met.is_empty() && unreached.is_empty() {
        return Err(nothing_to_drill(&places, &ask.selection));
    }
    met.retain(|(_, source)| ask.shard.is_none_or(|shard| shard.contains(&source.resource_id)));
    let now = places.first().map_or(now, |(aws, _)| aws.now(now));
    let joined = if ask.is_dry {
        Joined { fleet: "none".to_owned(), started_at: now, is_resumed: false }
    } else {
        journal::join_fleet_run(vault, &ask.selection, ask.shard, ask.name.as_deref(), now)?
    };
    let proofs =
        due::list_last_proofs(vault, &met.iter().map(|(_, source)| source).collect::<Vec<_>>(), now)?;
    let mut plan = Plan {
        record: Fleet { unreached, ..begin_record(ask, &joined) },
        todo: Vec::new(),
        notes: Vec::new(),
    };
    for ((aws, source), last_proof) in met.into_iter().zip(proofs) {
        let row = Row::pending(&source, aws.location(), last_proof);
        if let Some(reason) = ask.selection.why_skipped(&source) {
            plan.record.databases.push(row.with_outcome(Outcome::Skipped, reason));
        } else if joined.is_resumed
            && let Some(report) =
                journal::find_finished_drill(vault, &source, &joined.fleet, joined.started_at)?
        {
            plan.record.databases.push(row.with_drill(&report));
        } else if let Some(reason) = why_not_due(&ask.selection, last_proof, now) {
            plan.record.databases.push(row.with_outcome(Outcome::NotDue, reason));
        } else if let Err(error) = preflight::refuse_unusable(&source) {
            plan.record.databases.push(row.with_refusal(&error));
        } else {
            let request = Request { fleet: Some(joined.fleet.clone()), ..request_of(&source.id)? };
            let request = Request { patience_for_room: request.wait, ..request };
            plan.todo.push(Todo { aws, source, last_proof, request });
        }
    }
    // Never proven first, then the oldest proof.
    plan.todo.sort_by(|a, b| (a.last_proof, &a.source.id).cmp(&(b.last_proof, &b.source.id)));
    check_snapshots(&mut plan, &places).await?;
    check_classes(&mut plan).await?;
    check_room(&mut plan, &places).await?;
    for todo in &plan.todo {
        plan.record.databases.push(todo.pending_row());
    }
    plan.record.recount();
    Ok(plan)
}

/// The error for an empty selection.
fn nothing_to_drill(places: &[(Aws, Vec<InstanceId>)], selection: &Selection) -> Error {
    let tags: Vec<String> = selection.tags.iter().map(|(key, value)| format!("`{key}={value}`")).collect();
    if !tags.is_empty() {
        return Error::request(format!("no DB instance carries the tag {}", tags.join(" and ")))
            .hint("`lifeboat status` lists the instances; check `--region` and the spelling of the tag.");
    }
    let places: Vec<String> = places.iter().map(|(aws, _)| aws.location().to_string()).collect();
    Error::request(format!("there is no DB instance to drill in {}", places.join(", ")))
        .hint("Check `--region`, and run `lifeboat doctor drill` to see whose credentials these are.")
}

/// The databases of one account and Region that the selection meets.
async fn list_matching_databases(
    aws: &Aws,
    only: &[InstanceId],
    ask: &FleetRequest,
) -> Result<Vec<Instance>> {
    let mut all = aws.instances().await?;
    for id in only {
        if !all.iter().any(|instance| instance.id == *id) {
            // The error lists similar names.
            aws.existing_instance(id).await?;
        }
    }
    all.retain(|instance| match only {
        [] => !instance.is_throwaway() && ask.selection.matches_tags(instance),
        only => only.contains(&instance.id) && ask.selection.matches_tags(instance),
    });
    Ok(all)
}

fn begin_record(ask: &FleetRequest, joined: &Joined) -> Fleet {
    Fleet {
        schema: SCHEMA.to_owned(),
        fleet: joined.fleet.clone(),
        state: if ask.is_dry { Progress::Planned } else { Progress::Running },
        started_at: joined.started_at,
        finished_at: None,
        resumed: joined.is_resumed,
        selection: ask.selection.clone(),
        shard: ask.shard,
        missing_shards: Vec::new(),
        ceilings: ask.ceilings,
        unreached: Vec::new(),
        summary: Summary::default(),
        databases: Vec::new(),
    }
}

/// Why a database is not due, if so.
pub(super) fn why_not_due(
    selection: &Selection,
    last_proof: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Option<String> {
    let (within, at) = (TimeDelta::from_std(selection.proof_lasts()?).ok()?, last_proof?);
    (now - at < within).then(|| format!("proven at {}", crate::when::format_time(at)))
}

/// Takes out those that have no snapshot to restore. One call for all snapshots costs less than one for each database.
async fn check_snapshots(plan: &mut Plan, places: &[(Aws, Vec<InstanceId>)]) -> Result<()> {
    if plan.todo.len() < 4 {
        return Ok(());
    }
    let mut with_snapshot: BTreeMap<ResourceId, Vec<SnapshotType>> = BTreeMap::new();
    for (aws, _) in places {
        for snapshot in aws.backups().await? {
            if let (true, Some(resource)) = (snapshot.is_available(), &snapshot.resource_id) {
                with_snapshot.entry(resource.clone()).or_default().push(snapshot.snapshot_type);
            }
        }
    }
    let (todo, without) = std::mem::take(&mut plan.todo).into_iter().partition(|todo| {
        let kind = match todo.request.wanted {
            Wanted::LatestSnapshot => None,
            Wanted::LatestAutomated => Some(SnapshotType::Automated),
            Wanted::LatestManual => Some(SnapshotType::Manual),
            Wanted::Snapshot(_) | Wanted::Latest | Wanted::Time(_) => return true,
        };
        let types = with_snapshot.get(&todo.source.resource_id);
        types.is_some_and(|types| kind.is_none_or(|kind| types.contains(&kind)))
    });
    plan.todo = todo;
    let without: Vec<Todo> = without;
    for todo in without {
        let error = Error::request(format!("it has no available snapshot for `{}`", todo.request.asked_for))
            .hint("Turn automated backups on, or take a snapshot with `lifeboat snapshot create`.");
        plan.record.databases.push(todo.pending_row().with_refusal(&error));
    }
    Ok(())
}

/// Takes out those whose class is not offered. AWS is asked once for each class and version.
async fn check_classes(plan: &mut Plan) -> Result<()> {
    let mut known: BTreeMap<(Place, String, String), bool> = BTreeMap::new();
    let mut left = Vec::new();
    for todo in std::mem::take(&mut plan.todo) {
        let (version, class) = (&todo.source.engine_version, &todo.request.class);
        let key = (todo.aws.location(), version.clone(), class.clone());
        let is_there = match known.get(&key) {
            Some(is_there) => *is_there,
            // A role without this permission can still run drills; the restore itself would fail.
            None => todo.aws.class_is_orderable(&todo.source.engine, version, class).await.unwrap_or(true),
        };
        known.insert(key, is_there);
        if is_there {
            left.push(todo);
            continue;
        }
        let error = target::class_not_offered_error(&todo.aws, &todo.source.engine, version, class);
        plan.record.databases.push(todo.pending_row().with_refusal(&error));
    }
    plan.todo = left;
    Ok(())
}

/// Never more throwaways than the quota leaves room for.
async fn check_room(plan: &mut Plan, places: &[(Aws, Vec<InstanceId>)]) -> Result<()> {
    let mut room = 0;
    for (aws, _) in places {
        if !plan.todo.iter().any(|todo| todo.aws.location() == aws.location()) {
            continue;
        }
        let Some(here) = ceiling::instance_room(aws).await else { return Ok(()) };
        if here == 0 {
            plan.notes.push(format!(
                "the quota of DB instances in {} is used up: its databases wait until there is room",
                aws.location()
            ));
        }
        room += usize::try_from(here).unwrap_or(0);
    }
    if !plan.todo.is_empty() && room < plan.record.ceilings.concurrency {
        plan.record.ceilings.concurrency = room.max(1);
        plan.notes
            .push(format!("the quota of DB instances leaves room for {room}: so many are drilled at once"));
    }
    Ok(())
}
