//! Whether a restored instance may act by itself: logical subscriptions, pg_cron and other workers of its source.

use std::time::Duration;

use super::isolation::{self, Isolation};
use super::plan::{Plan, SettingsFrom};
use crate::aws::Aws;
use crate::error::{Kind, Result};
use crate::postgres::Server;
use crate::rds::Instance;

/// How long to wait for the source to say what would act in its copy: it may be lost.
const SOURCE_TIMEOUT: Duration = Duration::from_secs(15);

/// What to do about what would act in the new instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ActivityGuard {
    /// Keep it from acting, with a parameter group that is created for it.
    Isolate,
    /// Let it act.
    Allow,
    /// Refuse a restore that would compete with its source.
    RefuseCompetitors,
}

/// Plans how the new instance is kept from acting by itself, or refuses one that would compete with its source.
pub(crate) async fn guard_against_activity(
    aws: &Aws,
    plan: &mut Plan,
    guard: ActivityGuard,
    connect: impl AsyncFnOnce(&Instance) -> Result<Server>,
    warn: &dyn Fn(String),
) -> Result<Option<Isolation>> {
    if guard == ActivityGuard::Isolate {
        return plan_isolated(aws, plan).await.map(Some);
    }
    if guard == ActivityGuard::Allow || plan.settings_from != SettingsFrom::Instance {
        return Ok(None);
    }
    let group = plan.restore.settings.parameter_group.clone();
    let observed = async {
        let source = aws.existing_instance(&plan.source.parse()?).await?;
        let server = connect(&source).await?;
        isolation::check_that_nothing_competes(aws, &plan.source, &server, group.as_deref()).await
    };
    let not_seen = |why: String| {
        warn(format!(
            "could not see whether `{}` has logical subscriptions or jobs, which would act in its copy too: {why}; \
             `--isolated` keeps them from it",
            plan.source
        ));
    };
    match tokio::time::timeout(SOURCE_TIMEOUT, observed).await {
        Ok(Ok(acting)) if acting.is_empty() => {}
        Ok(Ok(acting)) => warn(format!(
            "the copy starts with {}, which may act by itself; `--isolated` keeps it from that",
            acting.join(", ")
        )),
        Ok(Err(error)) if error.kind() == Kind::Guard => return Err(error),
        Ok(Err(error)) => not_seen(error.chain()),
        Err(_) => not_seen(format!("no answer within {} seconds", SOURCE_TIMEOUT.as_secs())),
    }
    Ok(None)
}

async fn plan_isolated(aws: &Aws, plan: &mut Plan) -> Result<Isolation> {
    let group = plan.restore.settings.parameter_group.clone();
    let stem: String = plan.restore.id.as_str().chars().take(40).collect();
    let name = format!("lifeboat-restore-{}-{}", stem.trim_end_matches('-'), plan.run.random());
    let wanted = isolation::Wanted {
        name: &name,
        tags: plan.restore.tags.clone(),
        engine_version: &plan.engine_version,
        source_group: group.as_deref(),
        given: None,
    };
    let asked_for = vec!["`--isolated` was asked for".to_owned()];
    let isolation = isolation::plan_isolation(aws, &plan.source, wanted, asked_for).await?;
    plan.restore.settings.parameter_group = Some(name.clone());
    plan.not_carried.push(format!(
        "it starts with parameter group `{name}`, in which nothing acts by itself: before you use it, give it {} and reboot it",
        group.map_or("another group".to_owned(), |group| format!("`{group}`"))
    ));
    plan.not_carried.extend(isolation.notes.iter().cloned());
    Ok(isolation)
}
