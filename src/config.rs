//! `lifeboat.toml`: what a team has settled once, so that commands stay short.
//!
//! Flags win over environment variables, those over the section of a database, that over the general section,
//! that over the defaults. Unknown keys are errors: a misspelt objective must not silently become the default.

mod accounts;
mod reach;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use toml::de::{DeTable, DeValue};

use crate::alarms::{self, AlarmSettings};
use crate::backup::{BackupSettings, Configured};
use crate::drill::{Check, DrillSettings, FleetSettings, Freshness};
use crate::error::{Error, Result};
use crate::notify::NotifySettings;
use crate::policy::PolicySettings;
use crate::retention::Rules;
use crate::settings::{PerDatabase, describe_refusal, filled_text, split_remedy};
use crate::vault::read_location;
use crate::web;

pub(crate) use accounts::{AccountSettings, Narrow};

/// What the file says, or the defaults where there is none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Config {
    /// AWS Region.
    pub region: Option<String>,
    /// AWS profile.
    pub profile: Option<String>,
    /// AWS endpoint.
    pub endpoint_url: Option<String>,
    /// The vault: a directory, or the URL of a bucket.
    pub vault: Option<String>,
    /// Several accounts and Regions.
    pub accounts: Vec<AccountSettings>,
    /// How drills are run.
    pub drill: PerDatabase<DrillSettings>,
    /// How fleets are drilled.
    pub fleet: FleetSettings,
    /// How instances are to be backed up.
    pub policy: PerDatabase<PolicySettings>,
    /// How backups are made and kept.
    pub backup: Configured,
    /// How alarms are set.
    pub alarms: PerDatabase<AlarmSettings>,
    /// Who is told what changed.
    pub notify: NotifySettings,
    /// Questions that the restored copies of single databases must answer rightly.
    checks: BTreeMap<String, Vec<Check>>,
    /// Queries for the time of the newest row of single databases, from which the real RPO is measured.
    freshness: BTreeMap<String, Freshness>,
}

/// The file as it is written.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    #[serde(deserialize_with = "region")]
    region: Option<String>,
    #[serde(deserialize_with = "filled_text")]
    profile: Option<String>,
    #[serde(deserialize_with = "endpoint_url")]
    endpoint_url: Option<String>,
    #[serde(deserialize_with = "vault")]
    vault: Option<String>,
    seal_key: Option<PathBuf>,
    accounts: Vec<AccountSettings>,
    drill: DrillSettings,
    fleet: FleetSettings,
    policy: PolicySettings,
    retention: Rules,
    backup: BackupSettings,
    alarms: AlarmSettings,
    notify: NotifySettings,
    databases: BTreeMap<String, DatabaseSettings>,
}

/// What is special about one database.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct DatabaseSettings {
    drill: DrillSettings,
    policy: PolicySettings,
    backup: Option<BackupSettings>,
    alarms: AlarmSettings,
    checks: Vec<Check>,
    freshness: Option<Freshness>,
}

impl From<File> for Config {
    fn from(file: File) -> Config {
        let mut config = Config {
            region: file.region,
            profile: file.profile,
            endpoint_url: file.endpoint_url,
            vault: file.vault,
            accounts: file.accounts,
            fleet: file.fleet,
            notify: file.notify,
            ..Config::default()
        };
        (config.backup.seal_key, config.backup.retention) = (file.seal_key, file.retention);
        (config.drill.general, config.policy.general) = (file.drill, file.policy);
        (config.alarms.general, config.backup.databases.general) = (file.alarms, file.backup);
        for (name, own) in file.databases {
            config.drill.own.insert(name.clone(), own.drill);
            config.policy.own.insert(name.clone(), own.policy);
            config.alarms.own.insert(name.clone(), own.alarms);
            config.checks.insert(name.clone(), own.checks);
            if let Some(freshness) = own.freshness {
                config.freshness.insert(name.clone(), freshness);
            }
            if let Some(backup) = own.backup {
                config.backup.databases.own.insert(name, backup);
            }
        }
        config
    }
}

impl Config {
    /// Reads `file`, or `lifeboat.toml` here if there is one.
    pub(crate) fn load(file: Option<&Path>) -> Result<Self> {
        let path = match file {
            Some(path) => path.to_owned(),
            None => {
                let usual = PathBuf::from("lifeboat.toml");
                if !usual.exists() {
                    return Ok(Config::default());
                }
                usual
            }
        };
        let text = std::fs::read_to_string(&path)
            .map_err(|error| Error::request(format!("cannot read `{}`", path.display())).caused_by(error))?;
        Self::parse(&text, &path)
    }

    /// Reads `text`, the content of the file `path`.
    pub(crate) fn parse(text: &str, path: &Path) -> Result<Self> {
        let wrong = |offset: usize, why: &str| {
            let (why, remedy) = split_remedy(why);
            let line = text.get(..offset).unwrap_or_default().matches('\n').count() + 1;
            let place = match keys_at(text, offset).as_str() {
                "" => format!("line {line}"),
                keys => format!("line {line}, `{keys}`"),
            };
            Error::request(format!("`{}` is not a valid configuration", path.display()))
                .caused_by(format!("{place}: {}", why.trim_end()))
                .hint(remedy.unwrap_or("docs/reference.md lists every key."))
        };
        // The line itself is not shown: there may be a secret in it that does not belong there.
        let file: File = toml::from_str(text)
            .map_err(|error| wrong(error.span().map_or(0, |span| span.start), error.message()))?;
        accounts::check_accounts(&file.accounts)
            .map_err(|(index, why)| wrong(offset_of(text, &["accounts", &index.to_string()]), &why))?;
        let config = Config::from(file);
        for (section, settings) in config.alarm_sections() {
            for (kind, own) in &settings.kinds {
                alarms::check_kind(kind, own).map_err(|why| {
                    let keys: Vec<&str> = section.iter().copied().chain(["kinds", kind]).collect();
                    wrong(offset_of(text, &keys), &describe_refusal(&why))
                })?;
            }
        }
        Ok(config)
    }

    /// The sections about alarms, and the keys that lead to them.
    fn alarm_sections(&self) -> impl Iterator<Item = (Vec<&str>, &AlarmSettings)> {
        let own = self.alarms.own.iter().map(|(name, own)| (vec!["databases", name, "alarms"], own));
        std::iter::once((vec!["alarms"], &self.alarms.general)).chain(own)
    }

    /// The checks of one database.
    pub(crate) fn checks_of(&self, instance: &str) -> &[Check] {
        self.checks.get(instance).map(Vec::as_slice).unwrap_or_default()
    }

    /// Where the newest row of one database is found.
    pub(crate) fn freshness_of(&self, instance: &str) -> Option<&Freshness> {
        self.freshness.get(instance)
    }

    /// The databases that have a section of their own.
    pub(crate) fn database_names(&self) -> impl Iterator<Item = &String> {
        self.policy.own.keys()
    }
}

fn region<'de, D: Deserializer<'de>>(source: D) -> std::result::Result<Option<String>, D::Error> {
    let text = String::deserialize(source)?;
    match accounts::is_region(&text) {
        true => Ok(Some(text)),
        false => Err(D::Error::custom(format!(
            "`{}` is not a Region, such as eu-central-1",
            text.escape_default()
        ))),
    }
}

fn endpoint_url<'de, D: Deserializer<'de>>(source: D) -> std::result::Result<Option<String>, D::Error> {
    let url = String::deserialize(source)?;
    web::refuse_bad_url(&url).map(|()| Some(url)).map_err(|why| D::Error::custom(describe_refusal(&why)))
}

fn vault<'de, D: Deserializer<'de>>(source: D) -> std::result::Result<Option<String>, D::Error> {
    let text = String::deserialize(source)?;
    read_location(&text, "`vault`").map(Some).map_err(|why| D::Error::custom(describe_refusal(&why)))
}

/// Where the value stands that `keys` lead to; an element of a list is named by its index.
fn offset_of(text: &str, keys: &[&str]) -> usize {
    let Ok(table) = DeTable::parse(text) else { return 0 };
    let (mut at, mut value) = (table.span().start, None::<&DeValue<'_>>);
    for key in keys {
        let next = match value {
            None => table.get_ref().get(*key),
            Some(DeValue::Table(table)) => table.get(*key),
            Some(DeValue::Array(list)) => key.parse().ok().and_then(|index: usize| list.get(index)),
            Some(_) => None,
        };
        let Some(next) = next else { break };
        (at, value) = (next.span().start, Some(next.get_ref()));
    }
    at
}

/// The keys that lead to the value which stands at `offset`, as in `drill.rto`; nothing if no value does.
fn keys_at(text: &str, offset: usize) -> String {
    fn find(table: &DeTable<'_>, offset: usize) -> Option<Vec<String>> {
        table.iter().find_map(|(key, value)| {
            let key = key.get_ref().to_string();
            let within = match value.get_ref() {
                DeValue::Table(table) => find(table, offset),
                DeValue::Array(list) => list.iter().find_map(|one| match one.get_ref() {
                    DeValue::Table(table) => find(table, offset),
                    _ => None,
                }),
                _ => None,
            };
            let rest = within.or_else(|| value.span().contains(&offset).then(Vec::new))?;
            Some([vec![key], rest].concat())
        })
    }
    let table = DeTable::parse(text);
    table.ok().and_then(|table| find(table.get_ref(), offset)).unwrap_or_default().join(".")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_section_of_a_database_wins_over_the_general_one() {
        let text = r#"
            [drill]
            rto = "1h"
            class = "db.t3.small"
            [databases.orders-prod.drill]
            rto = "30m"
            [[databases.orders-prod.checks]]
            database = "app"
            query = "select count(*) from users"
            expect = 5
        "#;
        let config = Config::parse(text, Path::new("x")).unwrap();
        let drill = config.drill.of("orders-prod");
        assert_eq!(drill.rto, Some(Duration::from_secs(1800)));
        assert_eq!(drill.class.as_deref(), Some("db.t3.small"));
        assert_eq!(config.checks_of("orders-prod")[0].expect.to_string(), "5");
        assert_eq!(config.drill.of("other").rto, Some(Duration::from_secs(3600)));
    }

    #[test]
    fn a_misspelt_key_is_an_error_that_names_it() {
        let error = Config::parse("[drill]\nrtoo = \"1h\"\n", Path::new("lifeboat.toml")).unwrap_err();
        assert!(error.chain().contains("rtoo"), "{}", error.chain());
    }
}
