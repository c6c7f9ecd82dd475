//! `lifeboat.toml`: what a team has settled once, so that commands stay short.
//!
//! Flags win over environment variables, those over the section of a database, that over the general section,
//! that over the defaults. Unknown keys are errors: a misspelt objective must not silently become the default.

mod accounts;
mod alarms;
mod notify;
mod reach;
mod value;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::error::{Error, Result};

pub(crate) use accounts::{AccountSettings, Narrow};
pub(crate) use alarms::{AlarmKindSettings, AlarmSettings};
pub(crate) use notify::{ChannelKind, ChannelSettings, Encryption, Mail, NotifySettings, Secret};
pub(crate) use value::parse_duration;
use value::{duration, text_or_value};

/// The file, or the defaults where there is none.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// AWS Region.
    pub region: Option<String>,
    /// AWS profile.
    pub profile: Option<String>,
    /// AWS endpoint.
    pub endpoint_url: Option<String>,
    /// Where what must last is kept.
    pub vault: Option<String>,
    /// File with the keys that seal the manifests of backups, as `--seal-key`; it lies outside of the vault.
    pub seal_key: Option<PathBuf>,
    /// Several accounts and Regions.
    #[serde(default)]
    pub accounts: Vec<AccountSettings>,
    /// How drills are run.
    #[serde(default)]
    pub drill: DrillSettings,
    /// How fleets are drilled.
    #[serde(default)]
    pub fleet: FleetSettings,
    /// How instances are to be backed up.
    #[serde(default)]
    pub policy: PolicySettings,
    /// How long copies of each retention class are kept; classes that are not named keep their defaults.
    #[serde(default)]
    pub retention: BTreeMap<String, ClassSettings>,
    /// How backups are made.
    #[serde(default)]
    pub backup: BackupSettings,
    /// How alarms are set.
    #[serde(default)]
    pub alarms: AlarmSettings,
    /// Who is told what changed.
    #[serde(default)]
    pub notify: NotifySettings,
    /// What is special about single databases, by instance id.
    #[serde(default)]
    pub databases: BTreeMap<String, DatabaseSettings>,
}

/// How long the copies of one retention class are kept: a lifetime (`pre-migration = "30d"`), or counts too.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(try_from = "toml::Value")]
pub(crate) struct ClassSettings {
    /// `30d`, `12 months`, `forever`.
    pub keep_for: Option<String>,
    /// The newest so many.
    pub keep_last: usize,
    /// The last of each of so many days.
    pub keep_daily: usize,
    /// The last of each of so many weeks.
    pub keep_weekly: usize,
    /// The last of each of so many months.
    pub keep_monthly: usize,
    /// The last of each of so many years.
    pub keep_yearly: usize,
}

impl TryFrom<toml::Value> for ClassSettings {
    type Error = String;

    fn try_from(value: toml::Value) -> std::result::Result<Self, String> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields, default)]
        #[derive(Default)]
        struct Full {
            keep_for: Option<String>,
            keep_last: usize,
            keep_daily: usize,
            keep_weekly: usize,
            keep_monthly: usize,
            keep_yearly: usize,
        }
        let full = match value {
            toml::Value::String(keep_for) => Full { keep_for: Some(keep_for), ..Full::default() },
            table @ toml::Value::Table(_) => table.try_into::<Full>().map_err(|error| error.to_string())?,
            other => {
                return Err(format!(
                    "a retention class is a lifetime or a table, not a {}",
                    other.type_str()
                ));
            }
        };
        let Full { keep_for, keep_last, keep_daily, keep_weekly, keep_monthly, keep_yearly } = full;
        Ok(ClassSettings { keep_for, keep_last, keep_daily, keep_weekly, keep_monthly, keep_yearly })
    }
}

/// What is special about one database.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DatabaseSettings {
    /// How its drills are run.
    #[serde(default)]
    pub drill: DrillSettings,
    /// How it is to be backed up.
    #[serde(default)]
    pub policy: PolicySettings,
    /// How its backups are made.
    pub backup: Option<BackupSettings>,
    /// How its alarms are set.
    #[serde(default)]
    pub alarms: AlarmSettings,
    /// Questions that its restored copies must answer rightly.
    #[serde(default)]
    pub checks: Vec<Check>,
    /// A query for the time of the newest row, from which the real RPO is measured.
    pub freshness: Option<Freshness>,
}

/// How instances are to be backed up; every key is optional.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PolicySettings {
    /// Days that automated backups are kept, at least; `policy set` sets this many. 7 by default.
    pub retention_days: Option<i32>,
    /// Backup window, UTC.
    pub backup_window: Option<String>,
    /// When instances are stopped by a schedule, UTC: no backups are made then.
    pub stopped: Option<String>,
    /// Whether storage must be encrypted; true by default.
    pub encrypted: Option<bool>,
    /// Whether snapshots must get the instance's tags; true by default.
    pub copy_tags: Option<bool>,
    /// Whether deletion protection must be on; true by default.
    pub deletion_protection: Option<bool>,
    /// Findings, by code, that are accepted.
    pub ignore: Option<Vec<String>>,
}

impl PolicySettings {
    fn over(self, general: &PolicySettings) -> PolicySettings {
        let general = general.clone();
        PolicySettings {
            retention_days: self.retention_days.or(general.retention_days),
            backup_window: self.backup_window.or(general.backup_window),
            stopped: self.stopped.or(general.stopped),
            encrypted: self.encrypted.or(general.encrypted),
            copy_tags: self.copy_tags.or(general.copy_tags),
            deletion_protection: self.deletion_protection.or(general.deletion_protection),
            ignore: self.ignore.or(general.ignore),
        }
    }
}

/// How drills are run; every key is optional.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DrillSettings {
    /// What to restore, as `--from`.
    pub from: Option<String>,
    /// Class of the throwaway.
    pub class: Option<String>,
    /// DB subnet group of the throwaway; otherwise the source's.
    pub subnet_group: Option<String>,
    /// Security groups of the throwaway; otherwise the source's.
    pub security_groups: Option<Vec<String>>,
    /// Parameter group of the throwaway; otherwise the source's.
    pub parameter_group: Option<String>,
    /// Option group of the throwaway; otherwise the source's.
    pub option_group: Option<String>,
    /// Recovery time objective.
    #[serde(default, deserialize_with = "duration")]
    pub rto: Option<Duration>,
    /// Recovery point objective.
    #[serde(default, deserialize_with = "duration")]
    pub rpo: Option<Duration>,
    /// How long the restore may take to become available.
    #[serde(default, deserialize_with = "duration")]
    pub wait: Option<Duration>,
    /// User on the source.
    pub user: Option<String>,
    /// Secrets Manager secret with the user's password.
    pub secret: Option<String>,
    /// Databases to compare; otherwise all of them.
    pub databases: Option<Vec<String>>,
    /// How deep to compare, as `--depth`: `content`, or `audit.*=counts` for some tables; the last one that fits counts.
    pub depth: Option<Vec<String>>,
    /// How much of a table may stay open without leaving the drill unknown, in percent.
    pub tolerance_percent: Option<f64>,
    /// Tables that are emptied and loaded anew as a matter of course, as `--churning`.
    pub churning: Option<Vec<String>>,
}

impl DrillSettings {
    /// These settings, and `general` where they say nothing.
    pub(crate) fn over(self, general: &DrillSettings) -> DrillSettings {
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
#[serde(deny_unknown_fields)]
pub(crate) struct FleetSettings {
    /// Drills at once, in one process.
    pub concurrency: Option<u16>,
    /// Throwaways at once in an account and Region, over all processes.
    pub max_instances: Option<u16>,
    /// Hours of throwaways, of one process.
    pub max_hours: Option<f64>,
    /// How long a proof lasts.
    #[serde(default, deserialize_with = "duration")]
    pub due: Option<Duration>,
}

/// How logical backups are made; every key is optional.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BackupSettings {
    /// The database: `postgresql://…`, `sqlite:///path`, or `env:NAME` for the variable that holds it.
    pub url: Option<String>,
    /// `gzip`, `zstd` or `none`.
    pub compression: Option<String>,
    /// `sql` or `custom`.
    pub format: Option<String>,
    /// How many connections dump a PostgreSQL database at once, as `--jobs`.
    pub jobs: Option<u16>,
    /// age recipients.
    pub encrypt_to: Option<Vec<String>>,
    /// What makes it the same database on whatever host it is backed up, as `--database-id`.
    pub database_id: Option<String>,
}

impl BackupSettings {
    /// These settings, and `general` where they say nothing.
    #[must_use]
    pub(crate) fn over(self, general: &BackupSettings) -> BackupSettings {
        let general = general.clone();
        BackupSettings {
            url: self.url,
            compression: self.compression.or(general.compression),
            format: self.format.or(general.format),
            jobs: self.jobs.or(general.jobs),
            encrypt_to: self.encrypt_to.or(general.encrypt_to),
            // An id is one database's.
            database_id: self.database_id,
        }
    }
}

/// A question to a restored copy, in SQL, and the answer that it must give.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Check {
    /// What the check is called in reports; otherwise its query.
    pub name: Option<String>,
    /// Database to ask.
    pub database: String,
    /// A query that returns one value.
    pub query: String,
    /// `> 100`, `= 0`, `!= x`, `between 1 and 5`, or the value itself.
    #[serde(deserialize_with = "text_or_value")]
    pub expect: String,
}

/// Where the time of the newest row is found.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Freshness {
    /// Database to ask.
    pub database: String,
    /// A query that returns one timestamp.
    pub query: String,
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

    /// Reads what `text`, the content of the file `path`, says.
    pub(crate) fn parse(text: &str, path: &Path) -> Result<Self> {
        let wrong = || {
            Error::request(format!("`{}` is not a configuration of lifeboat", path.display()))
                .hint("The section \"Configuration\" of README lists every key.")
        };
        let config: Config =
            toml::from_str(text).map_err(|error| wrong().caused_by(describe_toml_error(text, &error)))?;
        accounts::check_accounts(&config.accounts).map_err(|why| wrong().caused_by(why))?;
        Ok(config)
    }

    /// How drills of one database are run.
    pub(crate) fn drill_of(&self, instance: &str) -> DrillSettings {
        let own = self.databases.get(instance).map(|database| database.drill.clone()).unwrap_or_default();
        own.over(&self.drill)
    }

    /// How one database is to be backed up.
    pub(crate) fn policy_of(&self, instance: &str) -> PolicySettings {
        let own = self.databases.get(instance).map(|database| database.policy.clone()).unwrap_or_default();
        own.over(&self.policy)
    }

    /// How backups of one database are made, if the file names it.
    pub(crate) fn backup_of(&self, database: &str) -> Option<&BackupSettings> {
        self.databases.get(database).and_then(|database| database.backup.as_ref())
    }

    /// How alarms of one database are set.
    pub(crate) fn alarms_of(&self, instance: &str) -> AlarmSettings {
        let own = self.databases.get(instance).map(|database| database.alarms.clone()).unwrap_or_default();
        own.over(&self.alarms)
    }

    /// The checks of one database.
    pub(crate) fn checks_of(&self, instance: &str) -> &[Check] {
        self.databases.get(instance).map(|database| database.checks.as_slice()).unwrap_or_default()
    }

    /// Where the newest row of one database is found.
    pub(crate) fn freshness_of(&self, instance: &str) -> Option<&Freshness> {
        self.databases.get(instance).and_then(|database| database.freshness.as_ref())
    }
}

/// Where and what, without the line itself: there may be a secret in it that does not belong there.
fn describe_toml_error(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().map_or("", |span| text.get(..span.start).unwrap_or_default());
    let line = before.matches('\n').count() + 1;
    format!("line {line}: {}", error.message())
}

#[cfg(test)]
mod tests {
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
        let drill = config.drill_of("orders-prod");
        assert_eq!(drill.rto, Some(Duration::from_secs(1800)));
        assert_eq!(drill.class.as_deref(), Some("db.t3.small"));
        assert_eq!(config.checks_of("orders-prod")[0].expect, "5");
        assert_eq!(config.drill_of("other").rto, Some(Duration::from_secs(3600)));
    }

    #[test]
    fn a_misspelt_key_is_an_error_that_names_it() {
        let error = Config::parse("[drill]\nrtoo = \"1h\"\n", Path::new("lifeboat.toml")).unwrap_err();
        assert!(error.chain().contains("rtoo"), "{}", error.chain());
    }
}
