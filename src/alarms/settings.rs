//! The sections `[alarms]` and `[databases.*.alarms]`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use crate::settings::{Layered, duration, one_or_many, text_or_value};

/// How alarms are set; every key is optional.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AlarmSettings {
    /// Who is told: names or ARNs of SNS topics, or names from `topics`.
    #[serde(default, deserialize_with = "one_or_many")]
    pub topic: Option<Vec<String>>,
    /// Topics of teams, by names of your own.
    #[serde(default)]
    pub topics: BTreeMap<String, String>,
    /// The tag of a DB instance that names its team, a key of `topics`.
    pub team_tag: Option<String>,
    /// Tags that every alarm gets.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Where runbooks are; the kind of the alarm and `.md` are put after it.
    pub runbooks: Option<String>,
    /// What is special about single kinds of alarms.
    #[serde(default)]
    pub kinds: BTreeMap<String, AlarmKindSettings>,
}

/// How alarms of one kind are set; every key is optional.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AlarmKindSettings {
    /// Whether there is one at all.
    pub enabled: Option<bool>,
    /// `10%`, `26h`, `2GiB` or a number, as the kind has it.
    #[serde(default, deserialize_with = "scalar")]
    pub threshold: Option<String>,
    /// Who is told, in place of the general topic.
    #[serde(default, deserialize_with = "one_or_many")]
    pub topic: Option<Vec<String>>,
    /// Length of a period.
    #[serde(default, deserialize_with = "duration")]
    pub period: Option<Duration>,
    /// Periods that are checked.
    pub evaluation_periods: Option<i32>,
    /// Breaching ones of them that raise the alarm.
    pub datapoints_to_alarm: Option<i32>,
}

impl Layered for AlarmKindSettings {
    fn over(self, general: &Self) -> Self {
        let general = general.clone();
        AlarmKindSettings {
            enabled: self.enabled.or(general.enabled),
            threshold: self.threshold.or(general.threshold),
            topic: self.topic.or(general.topic),
            period: self.period.or(general.period),
            evaluation_periods: self.evaluation_periods.or(general.evaluation_periods),
            datapoints_to_alarm: self.datapoints_to_alarm.or(general.datapoints_to_alarm),
        }
    }
}

impl Layered for AlarmSettings {
    fn over(mut self, general: &Self) -> Self {
        let general = general.clone();
        let mut kinds = general.kinds;
        for (name, own) in self.kinds {
            let merged = own.over(&kinds.get(&name).cloned().unwrap_or_default());
            kinds.insert(name, merged);
        }
        let (mut topics, mut tags) = (general.topics, general.tags);
        topics.append(&mut self.topics);
        tags.append(&mut self.tags);
        AlarmSettings {
            topic: self.topic.or(general.topic),
            topics,
            team_tag: self.team_tag.or(general.team_tag),
            tags,
            runbooks: self.runbooks.or(general.runbooks),
            kinds,
        }
    }
}

fn scalar<'de, D: serde::Deserializer<'de>>(source: D) -> Result<Option<String>, D::Error> {
    text_or_value(source).map(Some)
}
