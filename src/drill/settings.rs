//! The sections `[drill]`, `[databases.*.drill]` and `[fleet]`.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::restore::Wanted;
use crate::settings::{
    Layered, at_least_one, describe_refusal, duration, filled_text, hours, list_from_texts, percent,
};
use crate::verify::depth::DepthRule;

/// How drills are run; every key is optional.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DrillSettings {
    /// What to restore, as `--from`.
    #[serde(deserialize_with = "restorable")]
    pub from: Option<String>,
    /// Class of the throwaway.
    #[serde(deserialize_with = "class")]
    pub class: Option<String>,
    /// DB subnet group of the throwaway; otherwise the source's.
    #[serde(deserialize_with = "filled_text")]
    pub subnet_group: Option<String>,
    /// Security groups of the throwaway; otherwise the source's.
    pub security_groups: Option<Vec<String>>,
    /// Parameter group of the throwaway; otherwise the source's.
    #[serde(deserialize_with = "filled_text")]
    pub parameter_group: Option<String>,
    /// Option group of the throwaway; otherwise the source's.
    #[serde(deserialize_with = "filled_text")]
    pub option_group: Option<String>,
    /// Recovery time objective.
    #[serde(deserialize_with = "duration")]
    pub rto: Option<Duration>,
    /// Recovery point objective.
    #[serde(deserialize_with = "duration")]
    pub rpo: Option<Duration>,
    /// How long the restore may take to become available.
    #[serde(deserialize_with = "duration")]
    pub wait: Option<Duration>,
    /// User on the source.
    #[serde(deserialize_with = "filled_text")]
    pub user: Option<String>,
    /// Secrets Manager secret with the user's password.
    #[serde(deserialize_with = "filled_text")]
    pub secret: Option<String>,
    /// Databases to compare; otherwise all of them.
    pub databases: Option<Vec<String>>,
    /// How deep to compare, as `--depth`: `content`, or `audit.*=counts` for some tables; the last one that fits counts.
    #[serde(deserialize_with = "list_from_texts")]
    pub depth: Option<Vec<DepthRule>>,
    /// How much of a table may stay open without leaving the drill unknown, in percent.
    #[serde(deserialize_with = "percent")]
    pub tolerance_percent: Option<f64>,
    /// Tables that are emptied and loaded anew as a matter of course, as `--churning`.
    pub churning: Option<Vec<String>>,
}

impl Layered for DrillSettings {
    fn over(self, general: &Self) -> Self {
        let general = general.clone();
        DrillSettings {
            from: self.from.or(general.from),
            class: self.class.or(general.class),
            subnet_group: self.subnet_group.or(general.subnet_group),
            security_groups: self.security_groups.or(general.security_groups),
            parameter_group: self.parameter_group.or(general.parameter_group),
            option_group: self.option_group.or(general.option_group),
            rto: self.rto.or(general.rto),
            rpo: self.rpo.or(general.rpo),
            wait: self.wait.or(general.wait),
            user: self.user.or(general.user),
            secret: self.secret.or(general.secret),
            databases: self.databases.or(general.databases),
            depth: self.depth.or(general.depth),
            tolerance_percent: self.tolerance_percent.or(general.tolerance_percent),
            churning: self.churning.or(general.churning),
        }
    }
}

/// How fleets are drilled; every key is optional.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct FleetSettings {
    /// Drills at once, in one process.
    #[serde(deserialize_with = "at_least_one")]
    pub concurrency: Option<u16>,
    /// Throwaways at once in an account and Region, over all processes.
    #[serde(deserialize_with = "at_least_one")]
    pub max_instances: Option<u16>,
    /// Hours of throwaways, of one process.
    #[serde(deserialize_with = "hours")]
    pub max_hours: Option<f64>,
    /// How long a proof lasts.
    #[serde(deserialize_with = "duration")]
    pub due: Option<Duration>,
}

/// What `--from` takes. A relative time means something else at each run, so the text stays. It is right if there are days on
/// which it can be read: `thursday 09:00` is ambiguous on a Thursday alone.
fn restorable<'de, D: Deserializer<'de>>(source: D) -> Result<Option<String>, D::Error> {
    const NOON: DateTime<Utc> = DateTime::from_timestamp_nanos(1_800_014_400_000_000_000);
    let text = String::deserialize(source)?;
    let read = |now| Wanted::parse(&text, now, &Utc);
    match read(NOON).or_else(|why| read(NOON + TimeDelta::days(1)).map_err(|_| why)) {
        Ok(_) => Ok(Some(text)),
        Err(why) => Err(D::Error::custom(describe_refusal(&why))),
    }
}

fn class<'de, D: Deserializer<'de>>(source: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(source)?;
    match text.strip_prefix("db.").is_some_and(|rest| !rest.is_empty()) {
        true => Ok(Some(text)),
        false => Err(D::Error::custom(format!(
            "`{}` is not a DB instance class, such as db.t4g.micro",
            text.escape_default()
        ))),
    }
}
