//! Removes the alarms and event subscriptions that name and tag prove to be ours.

use serde::Serialize;

use super::{Scope, is_ours, list_own_alarms, subscriptions};
use crate::aws::Aws;
use crate::error::Result;

/// What will be removed: decided, not yet done.
#[derive(Debug, Serialize)]
pub(crate) struct Removal {
    /// `lifeboat.alarms.remove/1`.
    pub schema: &'static str,
    pub region: String,
    /// Alarms to delete.
    pub alarms: Vec<String>,
    /// Event subscriptions to delete.
    pub event_subscriptions: Vec<String>,
    /// Event subscriptions that are kept but lose databases: name, database.
    pub event_sources: Vec<(String, String)>,
    /// Alarms with names like ours but without our tag: they are kept.
    pub not_ours: Vec<String>,
    /// Whether it was only shown.
    pub dry_run: bool,
}

/// Plans what `remove` deletes: only what name and tag prove to be ours.
pub(crate) async fn plan_removal(aws: &Aws, scope: &Scope) -> Result<Removal> {
    let (ours, strange): (Vec<_>, Vec<_>) =
        list_own_alarms(aws, scope).await?.into_iter().partition(|(_, tags)| is_ours(tags));
    let (mut gone, mut sources) = (Vec::new(), Vec::new());
    for subscription in subscriptions::ours(aws).await? {
        let Scope::Some(ids) = scope else {
            gone.push(subscription.name);
            continue;
        };
        let leaves = |source: &String| ids.iter().any(|id| id.as_str() == source);
        let leaving: Vec<&String> = subscription.sources.iter().filter(|source| leaves(source)).collect();
        if leaving.is_empty() {
            continue;
        }
        // Without any source it would cover every instance.
        if leaving.len() == subscription.sources.len() {
            gone.push(subscription.name);
        } else {
            sources.extend(leaving.into_iter().map(|source| (subscription.name.clone(), source.clone())));
        }
    }
    Ok(Removal {
        schema: "lifeboat.alarms.remove/1",
        region: aws.region().to_owned(),
        alarms: ours.into_iter().map(|(alarm, _)| alarm.spec.name).collect(),
        event_subscriptions: gone,
        event_sources: sources,
        not_ours: strange.into_iter().map(|(alarm, _)| alarm.spec.name).collect(),
        dry_run: false,
    })
}

/// Removes what was planned.
pub(crate) async fn remove(aws: &Aws, removal: Removal) -> Result<Removal> {
    aws.delete_alarms(&removal.alarms).await?;
    for name in &removal.event_subscriptions {
        aws.delete_event_subscription(name).await?;
    }
    for (name, source) in &removal.event_sources {
        aws.remove_event_source(name, source).await?;
    }
    Ok(removal)
}
