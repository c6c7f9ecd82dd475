//! What AWS forgets of an instance when it is deleted, and what a restore must be told again.
//!
//! A snapshot knows engine, storage and key, but neither security groups nor subnet group, parameter group, class or
//! log exports. They are therefore saved with it, as tags, which travel with every copy of it. AWS allows letters,
//! digits, spaces and `_.:/=+-@` in at most 256 characters of a tag: `key=value` pairs, spaces between them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::tag::Tags;

/// Tags that hold saved settings begin with this; more than 256 characters go on in `…-2`, `…-3`.
pub(crate) const SETTINGS_TAG: &str = "lifeboat:settings";

/// The longest value of a tag.
const LONGEST: usize = 256;

/// The settings of an instance. What the backup does not know is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// Instance class.
    pub class: Option<String>,
    /// DB subnet group.
    pub subnet_group: Option<String>,
    /// VPC security groups.
    pub security_groups: Vec<String>,
    /// DB parameter group.
    pub parameter_group: Option<String>,
    /// Option group.
    pub option_group: Option<String>,
    /// Port of the database.
    pub port: Option<u16>,
    /// Whether there is a standby in another Availability Zone.
    pub multi_az: Option<bool>,
    /// Whether it has a public address.
    pub public: Option<bool>,
    /// Storage type.
    pub storage_type: Option<String>,
    /// Provisioned IOPS.
    pub iops: Option<i32>,
    /// Storage throughput in MiB per second.
    pub storage_throughput: Option<i32>,
    /// Up to how many gibibytes the storage grows by itself.
    pub max_storage_gib: Option<i32>,
    /// Whether IAM logins are enabled.
    pub iam_authentication: Option<bool>,
    /// Logs that go to CloudWatch.
    pub log_exports: Vec<String>,
    /// Certificate authority of the server's certificate.
    pub ca: Option<String>,
    /// Whether its snapshots get its tags.
    pub copy_tags_to_snapshot: Option<bool>,
    /// Whether AWS refuses to delete it.
    pub deletion_protection: Option<bool>,
    /// Whether minor versions are installed by themselves.
    pub auto_minor_upgrade: Option<bool>,
    /// Days that automated backups are kept.
    pub retention_days: Option<i32>,
    /// Backup window, UTC.
    pub backup_window: Option<String>,
    /// Maintenance window, UTC.
    pub maintenance_window: Option<String>,
    /// Seconds between two measurements of Enhanced Monitoring; zero is off.
    pub monitoring_interval: Option<i32>,
    /// Role of Enhanced Monitoring.
    pub monitoring_role: Option<String>,
    /// Whether Performance Insights is on.
    pub performance_insights: Option<bool>,
    /// Whether it enters paid extended support when its version ends.
    pub lifecycle_support: Option<String>,
    /// `IPV4` or `DUAL`.
    pub network_type: Option<String>,
}

/// How each setting is called in a tag, and how it is read and written there.
macro_rules! codec {
    ($($key:literal => $field:ident: $kind:ident,)*) => {
        fn pairs(settings: &Settings) -> Vec<(&'static str, String)> {
            [$(($key, $kind::write(&settings.$field)),)*]
                .into_iter()
                .filter_map(|(key, value)| Some((key, value?)))
                .collect()
        }

        fn read_pair(settings: &mut Settings, key: &str, value: &str) {
            match key {
                $($key => settings.$field = $kind::read(value),)*
                // Written by a later version: what this one does not know, it cannot restore.
                _ => {}
            }
        }
    };
}

codec! {
    "class" => class: text,
    "subnet-group" => subnet_group: text,
    "security-groups" => security_groups: list,
    "parameter-group" => parameter_group: text,
    "option-group" => option_group: text,
    "port" => port: plain,
    "multi-az" => multi_az: plain,
    "public" => public: plain,
    "storage-type" => storage_type: text,
    "iops" => iops: plain,
    "throughput" => storage_throughput: plain,
    "max-storage" => max_storage_gib: plain,
    "iam" => iam_authentication: plain,
    "logs" => log_exports: list,
    "ca" => ca: text,
    "copy-tags" => copy_tags_to_snapshot: plain,
    "protected" => deletion_protection: plain,
    "auto-minor" => auto_minor_upgrade: plain,
    "retention" => retention_days: plain,
    "backup-window" => backup_window: text,
    "maintenance-window" => maintenance_window: text,
    "monitoring" => monitoring_interval: plain,
    "monitoring-role" => monitoring_role: text,
    "insights" => performance_insights: plain,
    "lifecycle" => lifecycle_support: text,
    "network" => network_type: text,
}

/// Names may have spaces (subnet groups do), but none has a `+`.
mod text {
    pub(super) fn write(value: &Option<String>) -> Option<String> {
        value.as_ref().map(|value| value.replace(' ', "+"))
    }

    pub(super) fn read(value: &str) -> Option<String> {
        Some(value.replace('+', " "))
    }
}

/// Ids of security groups and names of logs have no colon.
mod list {
    pub(super) fn write(values: &[String]) -> Option<String> {
        (!values.is_empty()).then(|| values.join(":"))
    }

    pub(super) fn read(value: &str) -> Vec<String> {
        value.split(':').map(str::to_owned).collect()
    }
}

/// Numbers and booleans.
mod plain {
    pub(super) fn write<T: ToString>(value: &Option<T>) -> Option<String> {
        value.as_ref().map(ToString::to_string)
    }

    pub(super) fn read<T: std::str::FromStr>(value: &str) -> Option<T> {
        value.parse().ok()
    }
}

impl Settings {
    /// What is known, by the names that tags and reports use.
    pub(crate) fn pairs(&self) -> Vec<(&'static str, String)> {
        pairs(self)
    }

    /// As tags to put on a snapshot.
    pub(crate) fn to_tags(&self) -> Tags {
        let mut values = vec![String::new()];
        for (key, value) in pairs(self) {
            let pair = format!("{key}={value}");
            // A single value that no tag can hold is left out; AWS's own limits are below that.
            if pair.len() > LONGEST {
                continue;
            }
            match values.last_mut() {
                Some(last) if last.is_empty() => *last = pair,
                Some(last) if last.len() + 1 + pair.len() <= LONGEST => {
                    last.push(' ');
                    last.push_str(&pair);
                }
                _ => values.push(pair),
            }
        }
        let key = |number: usize| match number {
            0 => SETTINGS_TAG.to_owned(),
            _ => format!("{SETTINGS_TAG}-{}", number + 1),
        };
        values.into_iter().enumerate().map(|(number, value)| (key(number), value)).collect()
    }

    /// From the tags of a snapshot, if it has any.
    pub(crate) fn from_tags(tags: &Tags) -> Option<Self> {
        let mut settings = Settings::default();
        let saved: BTreeMap<_, _> = tags.iter().filter(|(key, _)| key.starts_with(SETTINGS_TAG)).collect();
        for pair in saved.values().flat_map(|value| value.split(' ')) {
            if let Some((key, value)) = pair.split_once('=') {
                read_pair(&mut settings, key, value);
            }
        }
        (!saved.is_empty()).then_some(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Settings {
        let text = |text: &str| Some(text.to_owned());
        Settings {
            class: text("db.r6g.16xlarge"),
            subnet_group: text("Private subnets of orders_v2.1"),
            security_groups: (0..5).map(|n| format!("sg-0123456789abcdef{n}")).collect(),
            parameter_group: text("orders-postgres15"),
            option_group: text("default:postgres-15"),
            port: Some(5433),
            multi_az: Some(true),
            public: Some(false),
            storage_type: text("gp3"),
            iops: Some(12_000),
            storage_throughput: Some(500),
            max_storage_gib: Some(1000),
            iam_authentication: Some(true),
            log_exports: vec!["postgresql".into(), "upgrade".into()],
            ca: text("rds-ca-rsa2048-g1"),
            copy_tags_to_snapshot: Some(true),
            deletion_protection: Some(true),
            auto_minor_upgrade: Some(false),
            retention_days: Some(14),
            backup_window: text("03:00-03:30"),
            maintenance_window: text("sun:05:00-sun:05:30"),
            monitoring_interval: Some(60),
            monitoring_role: text("arn:aws:iam::123456789012:role/rds-monitoring-role"),
            performance_insights: Some(true),
            lifecycle_support: text("open-source-rds-extended-support-disabled"),
            network_type: text("IPV4"),
        }
    }

    #[test]
    fn settings_survive_as_tags_within_the_limits_of_aws() {
        let tags = full().to_tags();
        assert!(tags.len() > 1, "they need several tags: {tags:?}");
        for (key, value) in &tags {
            assert!(value.len() <= 256 && key.len() <= 128);
            let is_allowed = |c: char| c.is_ascii_alphanumeric() || " _.:/=+-@".contains(c);
            assert!(value.chars().all(is_allowed), "{value}");
        }
        assert_eq!(Settings::from_tags(&tags), Some(full()));
    }

    #[test]
    fn no_tags_are_no_settings_and_unknown_ones_are_passed_over() {
        assert_eq!(Settings::from_tags(&Tags::new()), None);
        let tags = Tags::from([(SETTINGS_TAG.to_owned(), "class=db.t3.micro warp=9 junk".to_owned())]);
        assert_eq!(Settings::from_tags(&tags).unwrap().class.as_deref(), Some("db.t3.micro"));
    }
}
