//! What differs between the alarms there are and those there should be, field by field. Pure.

use std::collections::BTreeMap;

use super::change::{Action, Change, Field, Work};
use super::wanted::is_ours;
use super::wanted::{PREFIX, WantedAlarm};
use crate::rds::{Alarm, AlarmSpec, Instance, Tags, Watch};

/// The changes that turn `existing` into `wanted`. Our alarms that are no longer wanted are deleted, as are those of instances
/// that are gone; an alarm with a name like ours but without our tag is taken over only if it is wanted.
pub(super) fn plan_changes(
    wanted: Vec<WantedAlarm>,
    existing: Vec<(Alarm, Tags)>,
    instances: &[Instance],
) -> Vec<Change> {
    let mut existing: BTreeMap<String, (Alarm, Tags)> =
        existing.into_iter().map(|(alarm, tags)| (alarm.spec.name.clone(), (alarm, tags))).collect();
    let mut changes: Vec<Change> = wanted
        .into_iter()
        .map(|one| {
            let found = existing.remove(&one.spec.name);
            change(one, found)
        })
        .collect();
    for (name, (alarm, tags)) in existing {
        if !is_ours(&tags) {
            continue;
        }
        let database = name.strip_prefix(PREFIX).and_then(|rest| rest.split('/').next()).unwrap_or_default();
        let lives = instances.iter().any(|instance| instance.id.as_str() == database);
        changes.push(Change {
            noun: "alarm",
            database: Some(database.to_owned()),
            action: Action::Delete,
            rule: describe_rule(&alarm.spec),
            reason: Some(if lives {
                "no longer needed for this instance".to_owned()
            } else {
                "its DB instance is gone".to_owned()
            }),
            alarm: name,
            work: Work::Delete,
            ..Change::default()
        });
    }
    changes
}

fn change(wanted: WantedAlarm, found: Option<(Alarm, Tags)>) -> Change {
    let WantedAlarm { spec, tags, from, .. } = wanted;
    let metric = match &spec.watch {
        Watch::Metric(watch) => watch.metric.dimensions.get("DBInstanceIdentifier").cloned(),
        _ => None,
    };
    let mut change = Change {
        alarm: spec.name.clone(),
        noun: "alarm",
        database: metric,
        action: Action::Create,
        rule: describe_rule(&spec),
        threshold_from: Some(from),
        ..Change::default()
    };
    let Some((alarm, has)) = found else {
        change.work = Work::Put { spec: Box::new(spec), arn: None, is_spec_new: true, set: tags };
        return change;
    };
    let mut fields = differences(&alarm.spec, &spec);
    let is_spec_new = !fields.is_empty();
    let set: Tags = tags
        .iter()
        .filter(|(key, value)| has.get(*key) != Some(value))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    // Tags of others are kept.
    for (key, value) in &set {
        fields.push(Field {
            name: format!("tag {key}"),
            before: has.get(key).cloned(),
            after: Some(value.clone()),
        });
    }
    if fields.is_empty() {
        change.action = Action::None;
    } else {
        change.action = Action::Update;
        change.work = Work::Put { spec: Box::new(spec), arn: Some(alarm.arn), is_spec_new, set };
    }
    change.fields = fields;
    change
}

/// Every setting of an alarm, by its display name.
fn settings(spec: &AlarmSpec) -> Vec<(&'static str, String)> {
    let mut settings = vec![("description", spec.description.clone())];
    match &spec.watch {
        Watch::Metric(watch) => {
            let dimensions: Vec<String> =
                watch.metric.dimensions.iter().map(|(name, value)| format!("{name}={value}")).collect();
            settings.extend([
                ("metric", format!("{} {}", watch.metric.namespace, watch.metric.name)),
                ("dimensions", dimensions.join(", ")),
                ("statistic", watch.statistic.clone()),
                ("period_seconds", watch.period_seconds.to_string()),
                ("evaluation_periods", watch.evaluation_periods.to_string()),
                ("datapoints_to_alarm", watch.datapoints_to_alarm.to_string()),
                ("comparison", watch.comparison.sign().to_owned()),
                ("threshold", watch.threshold.to_string()),
                ("treat_missing_data", watch.missing.word().to_owned()),
                ("unit", watch.unit.clone().unwrap_or_default()),
            ]);
        }
        Watch::Computed(metrics) => {
            settings.push(("metric", format!("computed from {} metrics", metrics.len())));
        }
        Watch::Alarms(rule) => settings.push(("metric", format!("alarms: {rule}"))),
    }
    let sorted = |actions: &[String]| {
        let mut actions = actions.to_vec();
        actions.sort();
        actions.join(", ")
    };
    settings.extend([
        ("actions_enabled", spec.actions_enabled.to_string()),
        ("alarm_actions", sorted(&spec.alarm_actions)),
        ("ok_actions", sorted(&spec.ok_actions)),
        ("insufficient_data_actions", sorted(&spec.insufficient_data_actions)),
    ]);
    settings
}

fn differences(before: &AlarmSpec, after: &AlarmSpec) -> Vec<Field> {
    let before: BTreeMap<&str, String> = settings(before).into_iter().collect();
    settings(after)
        .into_iter()
        .filter(|(name, after)| before.get(name) != Some(after))
        .map(|(name, after)| Field {
            name: name.to_owned(),
            before: before.get(name).cloned(),
            after: Some(after),
        })
        .collect()
}

/// The rule of an alarm, in one line.
pub(super) fn describe_rule(spec: &AlarmSpec) -> Option<String> {
    match &spec.watch {
        Watch::Metric(watch) => {
            let minutes = watch.period_seconds / 60;
            let missing = match watch.missing {
                crate::rds::Treatment::Breaching => ", or no data",
                _ => "",
            };
            Some(format!(
                "{} {} {} {}, {} of {} × {minutes} min{missing}",
                watch.statistic,
                watch.metric.name,
                watch.comparison.sign(),
                watch.threshold,
                watch.datapoints_to_alarm,
                watch.evaluation_periods
            ))
        }
        Watch::Computed(_) => None,
        Watch::Alarms(rule) => Some(rule.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rds::AlarmState;
    use crate::rds::{Comparison, Metric, MetricWatch, Treatment};

    fn spec() -> AlarmSpec {
        AlarmSpec {
            name: "lifeboat/orders/storage".into(),
            description: "d".into(),
            watch: Watch::Metric(MetricWatch {
                metric: Metric::of_instance("AWS/RDS", "FreeStorageSpace", "orders"),
                statistic: "Minimum".into(),
                period_seconds: 60,
                evaluation_periods: 5,
                datapoints_to_alarm: 5,
                comparison: Comparison::Below,
                threshold: 2_147_483_648.0,
                missing: Treatment::Missing,
                unit: None,
            }),
            actions_enabled: true,
            alarm_actions: vec!["t".into()],
            ok_actions: Vec::new(),
            insufficient_data_actions: Vec::new(),
        }
    }

    fn wanted() -> WantedAlarm {
        let tags = [("lifeboat:purpose".to_owned(), "alarm".to_owned())].into();
        WantedAlarm { spec: spec(), tags, from: "10%".into() }
    }

    fn found(edit: impl FnOnce(&mut AlarmSpec), tags: &[(&str, &str)]) -> (Alarm, Tags) {
        let mut spec = spec();
        edit(&mut spec);
        let alarm = Alarm { arn: "a".into(), spec, state: AlarmState::Ok, since: None };
        (alarm, tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    const OURS: &[(&str, &str)] = &[("lifeboat:purpose", "alarm"), ("someone", "else")];

    #[test]
    fn an_alarm_as_it_should_be_needs_nothing() {
        let changes = plan_changes(vec![wanted()], vec![found(|_| {}, OURS)], &[]);
        assert_eq!(changes[0].action, Action::None);
    }

    #[test]
    fn each_setting_that_differs_is_named() {
        let edit = |spec: &mut AlarmSpec| {
            spec.alarm_actions.clear();
            if let Watch::Metric(watch) = &mut spec.watch {
                watch.threshold = 10.0;
            }
        };
        let changes = plan_changes(vec![wanted()], vec![found(edit, &[])], &[]);
        let names: Vec<&str> = changes[0].fields.iter().map(|field| field.name.as_str()).collect();
        assert_eq!(names, ["threshold", "alarm_actions", "tag lifeboat:purpose"]);
        assert_eq!(changes[0].fields[0].before.as_deref(), Some("10"));
    }

    #[test]
    fn what_is_no_longer_wanted_goes_only_if_it_is_ours() {
        let ours = plan_changes(Vec::new(), vec![found(|_| {}, OURS)], &[]);
        assert_eq!(ours[0].action, Action::Delete);
        assert!(plan_changes(Vec::new(), vec![found(|_| {}, &[])], &[]).is_empty());
    }
}
