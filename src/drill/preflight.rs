//! The checks before anything is created, and the resulting plan. Reads only.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::context::{Context, Event};
use super::plan::{BaselineChoice, CopyLogin, Plan, Request};
use super::throwaway;
use crate::aws::Aws;
use crate::error::{Error, Result};
use crate::postgres::Server;
use crate::rds::{Health, Instance, InstanceId, NoSource, RunId, tag};
use crate::restore::isolation;
use crate::restore::{self, Chosen, target};
use crate::vault::Vault;
use crate::verify::record;
use crate::verify::{Databases, Recorded};

/// Checks that a drill can be run, and plans it, unless a signal comes.
pub(crate) async fn plan_drill(
    request: Request,
    source_server: impl AsyncFnOnce(&Instance) -> Result<Server>,
    cx: &Context<'_>,
) -> Result<Plan> {
    tokio::select! {
        biased;
        kind = cx.interrupt.wait(1) => Err(Error::new(kind, "interrupted before anything was created")),
        plan = check_and_plan(request, source_server, cx) => plan,
    }
}

async fn check_and_plan(
    request: Request,
    source_server: impl AsyncFnOnce(&Instance) -> Result<Server>,
    cx: &Context<'_>,
) -> Result<Plan> {
    let Context { aws, vault, tell, .. } = *cx;
    let source = find_source(aws, &request.source).await?;
    let chosen = restore::choose_backup(aws, &source, &request.wanted).await?;
    check_target(aws, &request, &source, &chosen, tell).await?;

    let recorded = find_recorded_baseline(vault, &request, &chosen, tell)?;
    let source_server = source_server(&source).await?;
    let databases = Databases::connect(&source_server, &request.databases, &request.look).await?;
    if let Some(missing) = request.databases.iter().find(|name| !databases.has_database(name)) {
        return Err(Error::request(format!("`{}` has no database `{missing}`", source.id))
            .hint("Name existing databases with `--dbname`, or leave it out to compare all of them."));
    }
    let unknown = request
        .checks
        .iter()
        .map(|check| &check.database)
        .chain(request.freshness.iter().map(|it| &it.database));
    if let Some(missing) =
        unknown.into_iter().find(|name| request.databases.is_empty() && !databases.has_database(name))
    {
        return Err(Error::request(format!(
            "a check asks database `{missing}`, which `{}` does not have",
            source.id
        ))
        .hint("Correct `database` in lifeboat.toml."));
    }
    if let Err(error) = databases.visit_any().await {
        return Err(Error::outside(format!(
            "no database of `{}` can be read by user `{}`",
            source.id, source_server.user
        ))
        .caused_by(error)
        .hint("Choose another `--user`, or grant it CONNECT and pg_read_all_data."));
    }

    // AWS's time is known by now, and its clock stamps the instance that the run will create.
    let now = cx.now();
    let run = RunId::new(now);
    let throwaway = throwaway::throwaway_name(source.id.as_str(), &run)?;
    let expires = expiry_of(&request, now);
    let wanted = isolation::Wanted {
        name: throwaway.as_str(),
        tags: throwaway::throwaway_tags(&source, &run, expires),
        engine_version: chosen.engine_version(&source),
        source_group: source.parameter_group.as_deref(),
        given: request.parameter_group.as_deref(),
    };
    let acting = find_acting(&source_server, &request.databases).await;
    let isolation = isolation::plan_isolation(aws, source.id.as_str(), wanted, acting).await?;
    for note in &isolation.notes {
        tell(Event::Warning(note));
    }
    Ok(Plan {
        run,
        throwaway,
        expires,
        planned_at: now,
        source,
        source_server,
        chosen,
        recorded,
        isolation,
        request,
    })
}

fn expiry_of(request: &Request, now: DateTime<Utc>) -> DateTime<Utc> {
    let lifetime = chrono::TimeDelta::from_std(request.expires_after);
    now + lifetime.unwrap_or(chrono::TimeDelta::hours(6))
}

/// What would act in a copy by itself, according to its source.
async fn find_acting(server: &Server, databases: &[String]) -> Vec<String> {
    isolation::find_subscriptions_of(server, databases).await.unwrap_or_else(|error| {
        vec![format!("any subscriptions that it has, which could not be read: {}", error.chain())]
    })
}

/// The baseline that was recorded with a snapshot, if it is wanted and in the vault. A damaged one is an error.
fn find_recorded_baseline(
    vault: &Vault,
    request: &Request,
    chosen: &Chosen,
    tell: &(dyn Fn(Event<'_>) + Sync),
) -> Result<Option<Arc<(String, Recorded)>>> {
    let missing = |why: String| {
        match request.baseline {
        BaselineChoice::Recorded => Err(Error::request(why).hint(
            format!(
                "Leave out `--baseline`: the copy is then compared with its source as it is now. `lifeboat snapshot create {} \
                 --baseline` records one.",
                request.source
            ),
        )),
        BaselineChoice::Best | BaselineChoice::Live => Ok(None),
    }
    };
    if request.baseline == BaselineChoice::Live {
        return Ok(None);
    }
    let Chosen::Snapshot(snapshot) = chosen else {
        return missing("a restore to a time has no recorded baseline".to_owned());
    };
    let Some(seal) = snapshot.tags.get(tag::BASELINE) else {
        return missing(format!(
            "snapshot `{}` has no tag `{}`: none was recorded with it",
            snapshot.id,
            tag::BASELINE
        ));
    };
    if !record::is_seal(seal) {
        return missing(format!(
            "the tag `{}` of snapshot `{}` is not a SHA-256",
            tag::BASELINE,
            snapshot.id
        ));
    }
    let name = record::vault_name(seal);
    let Some(document) = vault.read(&name)? else {
        let why = format!("the baseline of snapshot `{}` is not in this vault: `{name}`", snapshot.id);
        tell(Event::Warning(&why));
        return missing(why);
    };
    let (_, recorded) = Recorded::from_sealed_json(&vault.shown(&name), &document, Some(seal))
        .map_err(|error| error.hint("Or pass `--baseline live` to compare with the source as it is now."))?;
    let recorded_of = recorded.of.resource_id.as_deref();
    if recorded_of != snapshot.resource_id.as_ref().map(ToString::to_string).as_deref() {
        return Err(Error::request(format!(
            "the baseline that snapshot `{}` is tagged with was recorded from {}{}, but the snapshot is of another database",
            snapshot.id,
            recorded.of.describe(),
            recorded_of.map(|id| format!(" ({id})")).unwrap_or_default()
        ))
        .hint("Pass `--baseline live` to compare with the source as it is now, and find out who set the tag."));
    }
    Ok(Some(Arc::new((seal.clone(), recorded))))
}

async fn find_source(aws: &Aws, id: &InstanceId) -> Result<Instance> {
    let source = aws.existing_instance(id).await?;
    const SUPPORTED: &str = "Drills support instances of Amazon RDS for PostgreSQL, Single-AZ or Multi-AZ, but neither Aurora nor Multi-AZ DB clusters.";
    match source.why_no_source() {
        // A replica that is named is intended.
        None | Some(NoSource::Replica(_)) => {}
        Some(why @ NoSource::Throwaway) => {
            return Err(Error::request(format!("`{id}` is {why}")).hint("Drill its source."));
        }
        Some(why) => return Err(Error::request(format!("`{id}` is {why}")).hint(SUPPORTED)),
    }
    refuse_unusable(&source)?;
    Ok(source)
}

/// Refuses a source that cannot be reached now.
pub(super) fn refuse_unusable(source: &Instance) -> Result<()> {
    let (id, status) = (&source.id, &source.reported_status);
    let hint = match status.health() {
        Health::Usable => return Ok(()),
        Health::Stopped => format!(
            "Start it first: `aws rds start-db-instance --db-instance-identifier {id}`. AWS takes no backups of a stopped instance either."
        ),
        Health::InTransit => "Run the drill again when it is available.".to_owned(),
        Health::Broken => status.remedy().to_owned(),
    };
    Err(Error::outside(format!("`{id}` is `{status}`")).hint(hint))
}

/// Checks that what the restore will use exists, and that the quota leaves room.
async fn check_target(
    aws: &Aws,
    request: &Request,
    source: &Instance,
    chosen: &Chosen,
    tell: &(dyn Fn(Event<'_>) + Sync),
) -> Result<()> {
    target::require_subnet_group(aws, request.subnet_group.as_ref()).await?;
    target::require_parameter_group(aws, request.parameter_group.as_ref()).await?;
    let version = chosen.engine_version(source);
    match aws.class_is_orderable(&source.engine, version, &request.class).await {
        Ok(true) => {}
        Ok(false) => {
            return Err(target::class_not_offered_error(aws, &source.engine, version, &request.class));
        }
        // A role without this permission can still run drills; the restore itself would fail.
        Err(failure) => {
            tell(Event::Warning(&format!("could not check whether the class is offered: {failure}")))
        }
    }
    match aws.instance_quota().await {
        Ok(Some(quota)) if quota.used >= quota.max && request.patience_for_room.is_zero() => {
            return Err(Error::outside(format!(
                "the quota of DB instances is exhausted: {} of {} are in use",
                quota.used, quota.max
            ))
            .hint("Remove an instance, run `lifeboat drill sweep`, or raise the quota in Service Quotas."));
        }
        Ok(_) => {}
        Err(failure) => tell(Event::Warning(&format!("could not check the instance quota: {failure}"))),
    }
    if request.login == CopyLogin::Iam && !source.iam_authentication {
        return Err(Error::request(format!("IAM logins are not enabled on `{}`", source.id))
            .hint("Enable them there first, so that the user has `rds_iam`, or leave out `--login iam`."));
    }
    if request.expires_after < request.wait + Duration::from_secs(600) {
        return Err(Error::request("the throwaway would expire while the drill may still wait for it")
            .hint("Let `--expires-after` exceed `--wait` by some time for the comparison."));
    }
    Ok(())
}
