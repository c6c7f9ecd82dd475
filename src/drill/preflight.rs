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
use crate::rds::{Health, Instance, InstanceId, NoSource, RunId, Tags, tag};
use crate::restore::isolation::{self, Isolation};
use crate::restore::{self, Chosen};
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
    let tags = throwaway::throwaway_tags(&source, &run, expires);
    let isolation =
        plan_isolation(aws, &request, (&source, &source_server), &chosen, (&throwaway, tags)).await?;
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

/// Decides how the copy is isolated.
async fn plan_isolation(
    aws: &Aws,
    request: &Request,
    (source, server): (&Instance, &Server),
    chosen: &Chosen,
    (throwaway, tags): (&InstanceId, Tags),
) -> Result<Isolation> {
    let acting = match isolation::find_subscriptions_of(server, &request.databases).await {
        Ok(acting) => acting,
        Err(error) => {
            vec![format!("any subscriptions that it has, which could not be read: {}", error.chain())]
        }
    };
    let engine_version = match chosen {
        Chosen::Snapshot(snapshot) => &snapshot.engine_version,
        Chosen::Time(_) | Chosen::Now { .. } => &source.engine_version,
    };
    let wanted = isolation::Wanted {
        name: throwaway.as_str(),
        tags,
        engine_version,
        source_group: source.parameter_group.as_deref(),
        given: request.parameter_group.as_deref(),
    };
    isolation::plan_isolation(aws, source.id.as_str(), wanted, acting).await
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
        tell(Event::Warning(&format!(
            "the baseline of snapshot `{}` is not in this vault: `{name}`",
            snapshot.id
        )));
        return missing(format!("the baseline of snapshot `{}` is not in this vault: `{name}`", snapshot.id));
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
    match source.reported_status.health() {
        Health::Usable => Ok(source),
        Health::Stopped => Err(Error::outside(format!("`{id}` is `{}`", source.reported_status)).hint(format!(
            "Start it first: `aws rds start-db-instance --db-instance-identifier {id}`. AWS takes no backups of a \
             stopped instance either."
        ))),
        Health::InTransit => Err(Error::outside(format!("`{id}` is `{}`, not available", source.reported_status))
            .hint("Run the drill again when it is available.")),
        Health::Broken => Err(Error::outside(format!("`{id}` is `{}`", source.reported_status))
            .hint(source.reported_status.remedy())),
    }
}

/// Checks that what the restore will use exists, and that the quota leaves room.
async fn check_target(
    aws: &Aws,
    request: &Request,
    source: &Instance,
    chosen: &Chosen,
    tell: &(dyn Fn(Event<'_>) + Sync),
) -> Result<()> {
    if let Some(group) = &request.subnet_group
        && !aws.subnet_group_exists(group).await?
    {
        return Err(Error::request(format!("DB subnet group `{group}` does not exist"))
            .hint("Correct `--subnet-group`."));
    }
    if let Some(group) = &request.parameter_group
        && !aws.parameter_group_exists(group).await?
    {
        return Err(Error::request(format!("DB parameter group `{group}` does not exist"))
            .hint("Correct `--parameter-group`."));
    }
    let version = match chosen {
        Chosen::Snapshot(snapshot) => &snapshot.engine_version,
        Chosen::Time(_) | Chosen::Now { .. } => &source.engine_version,
    };
    match aws.class_is_orderable(&source.engine, version, &request.class).await {
        Ok(true) => {}
        Ok(false) => {
            return Err(Error::request(format!(
                "class `{}` is not offered for PostgreSQL {version} in {}",
                request.class,
                aws.region()
            ))
            .hint("Choose another `--class`, such as db.t4g.micro."));
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
