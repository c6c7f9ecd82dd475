//! Event subscriptions: the causes of failed backups as RDS reports them. They make alarms faster, never more certain: events are
//! best effort.

use std::collections::{BTreeMap, BTreeSet};

use super::wanted::{PURPOSE, is_ours};
use super::{Action, Change, Field};
use crate::aws::Aws;
use crate::error::Result;
use crate::rds::{EventSubscription, Tags};

/// What the names of ours begin with; hyphens, since RDS allows nothing else.
const PREFIX: &str = "lifeboat-";

/// None, which means all. Reasons why backups stop are spread over many: a stopped instance (RDS-EVENT-0087) is a
/// `notification`, switched-off backups (0028) are a `configuration change`. Security Hub's RDS.20 and Prowler want `maintenance`,
/// `configuration change` and `failure`; Prowler takes these three alone or all categories, and no other choice.
const OF_INSTANCES: [&str; 0] = [];

/// Deleted snapshots, and copies that were cancelled.
const OF_SNAPSHOTS: [&str; 2] = ["deletion", "notification"];

/// The subscriptions that `databases` (topics by instance id) need, against those there are.
pub(super) async fn plan_subscriptions(
    aws: &Aws,
    databases: &BTreeMap<String, Vec<String>>,
    is_whole_fleet: bool,
    tags: &Tags,
) -> Result<Vec<Change>> {
    let existing = aws.event_subscriptions().await?;
    let mut by_topic: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (database, topics) in databases {
        for topic in topics {
            by_topic.entry(topic).or_default().push(database);
        }
    }
    let mut changes = Vec::new();
    let mut known: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (topic, sources) in by_topic {
        // With one topic for all there is nothing to tell apart, and new instances are covered at once.
        let sources: Vec<String> = if is_whole_fleet && sources.len() == databases.len() {
            Vec::new()
        } else {
            sources.into_iter().map(str::to_owned).collect()
        };
        for (source_type, categories) in
            [("db-instance", OF_INSTANCES.as_slice()), ("db-snapshot", &OF_SNAPSHOTS)]
        {
            if !categories.is_empty() && !known.contains_key(source_type) {
                known.insert(source_type, aws.event_categories(source_type).await?);
            }
            // A category that RDS does not know here would be refused.
            let offered = known.get(source_type).map(Vec::as_slice).unwrap_or_default();
            let categories = categories.iter().filter(|one| offered.iter().any(|known| known == *one));
            let mut tags = tags.clone();
            tags.insert(PURPOSE.to_owned(), "alarm".to_owned());
            let wanted = EventSubscription {
                name: subscription_name(topic, source_type),
                arn: String::new(),
                topic: topic.to_owned(),
                source_type: Some(source_type.to_owned()),
                sources: if source_type == "db-instance" { sources.clone() } else { Vec::new() },
                categories: categories.map(|one| (*one).to_owned()).collect(),
                enabled: true,
                status: String::new(),
                tags,
            };
            let found = existing.iter().find(|one| one.name == wanted.name);
            changes.push(change(wanted, found));
        }
    }
    Ok(changes)
}

fn subscription_name(topic: &str, source_type: &str) -> String {
    let of = topic.rsplit(':').next().unwrap_or_default().to_lowercase();
    let of: String = of.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let words: Vec<&str> = of.split('-').filter(|word| !word.is_empty()).collect();
    format!("{PREFIX}{}-{source_type}", words.join("-"))
}

fn change(wanted: EventSubscription, found: Option<&EventSubscription>) -> Change {
    let mut fields = Vec::new();
    let mut new_sources = Vec::new();
    if let Some(found) = found {
        let words = |list: &[String]| list.iter().cloned().collect::<BTreeSet<_>>();
        let mut differ = |name: &str, before: String, after: String| {
            if before != after {
                fields.push(Field { name: name.to_owned(), before: Some(before), after: Some(after) });
            }
        };
        differ("topic", found.topic.clone(), wanted.topic.clone());
        differ("enabled", found.enabled.to_string(), wanted.enabled.to_string());
        let joined = |set: BTreeSet<String>| set.into_iter().collect::<Vec<_>>().join(", ");
        let categories = |list: &[String]| match list {
            [] => "all".to_owned(),
            some => joined(words(some)),
        };
        differ("categories", categories(&found.categories), categories(&wanted.categories));
        // No source at all means every source; others may stay, they are databases of another run.
        if !found.sources.is_empty() && !wanted.sources.is_empty() {
            new_sources = wanted.sources.iter().filter(|one| !found.sources.contains(one)).cloned().collect();
            if !new_sources.is_empty() {
                let after = words(&found.sources).union(&words(&wanted.sources)).cloned().collect();
                differ("sources", joined(words(&found.sources)), joined(after));
            }
        }
    }
    let action = match found {
        None => Action::Create,
        Some(_) if fields.is_empty() => Action::None,
        Some(_) => Action::Update,
    };
    Change::of_subscription(wanted, action, fields, new_sources)
}

/// Ours among the event subscriptions.
pub(super) async fn ours(aws: &Aws) -> Result<Vec<EventSubscription>> {
    let mut ours = Vec::new();
    for mut one in aws.event_subscriptions().await? {
        if one.name.starts_with(PREFIX) {
            one.tags = aws.tags_of(&one.arn).await?;
            if is_ours(&one.tags) {
                ours.push(one);
            }
        }
    }
    Ok(ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_such_as_rds_takes() {
        let topic = "arn:aws:sns:eu-central-1:123456789012:Team_A--alerts";
        assert_eq!(subscription_name(topic, "db-instance"), "lifeboat-team-a-alerts-db-instance");
    }
}
