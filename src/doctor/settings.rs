//! A team's settings: lifeboat.toml, keys, topics, notification channels. Wrong values are found before they are needed.

use std::path::Path;

use super::{Check, Outcome, Task};
use crate::alarms;
use crate::aws::Aws;
use crate::backup::Identities;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::notify::{ChannelKind, ChannelSettings, Secret};
use crate::web;
use crate::words::format_count;

/// A failed check, with the remedy of its error.
fn failed(group: &'static str, code: &str, error: &Error, otherwise: &str) -> Check {
    let remedy = error.hints().first().map_or(otherwise, String::as_str).to_owned();
    Check::new(group, code, Outcome::Fail, error.chain()).mended_by(remedy)
}

/// The file itself; `wrong` is why it could not be read, and then everything else goes by the defaults.
pub(crate) fn file(file: Option<&Path>, wrong: Option<&Error>) -> Check {
    let check = match (wrong, file) {
        (Some(error), _) => failed("configuration", "lifeboat_toml", error, "Correct it."),
        (None, Some(path)) => Check::new(
            "configuration",
            "lifeboat_toml",
            Outcome::Pass,
            format!("`{}` is valid", path.display()),
        ),
        (None, None) => {
            let message = "there is no lifeboat.toml here: the defaults apply";
            Check::new("configuration", "lifeboat_toml", Outcome::Pass, message)
        }
    };
    check.for_tasks(&Task::ALL)
}

/// age: whom backups are encrypted to, and the secret key to read them with, if one is named.
pub(crate) fn encryption(config: &Config, identity: Option<&Path>) -> Vec<Check> {
    const TASKS: [Task; 2] = [Task::Backup, Task::Serve];
    let mut checks = Vec::new();
    for recipients in config.backup.databases.sections().filter_map(|backup| backup.encrypt_to.as_ref()) {
        let message = format!(
            "backups are encrypted to {}",
            format_count(recipients.len(), "age recipient", "age recipients")
        );
        checks.push(Check::new("configuration", "age_recipients", Outcome::Pass, message));
    }
    if let Some(path) = identity {
        checks.push(match Identities::from_file(path) {
            Ok(_) => {
                let message = format!("the age keys in `{}` can be read", path.display());
                Check::new("configuration", "age_identity", Outcome::Pass, message)
            }
            Err(error) => failed("configuration", "age_identity", &error, "Name another file."),
        });
    }
    checks.into_iter().map(|check| check.for_tasks(&TASKS)).collect()
}

/// The URL that is pinged.
pub(crate) fn ping(url: Option<&str>) -> Option<Check> {
    let tasks = [Task::Status, Task::Backup];
    let check = match web::refuse_bad_url(url?) {
        Ok(()) => {
            let message = "LIFEBOAT_PING_URL is a URL; it was not called, because that would send a ping";
            Check::new("configuration", "ping", Outcome::Pass, message)
        }
        Err(error) => failed("configuration", "ping", &error, "Correct LIFEBOAT_PING_URL."),
    };
    Some(check.for_tasks(&tasks))
}

/// The channels of notifications: whether their settings are complete. Nothing is sent: `lifeboat notify test` does that.
pub(crate) fn channels(config: &Config) -> Vec<Check> {
    const TASKS: [Task; 4] = [Task::Drill, Task::Status, Task::Snapshot, Task::Backup];
    let check = |name: &str, channel: &ChannelSettings| {
        let needed: Vec<&Secret> = match &channel.kind {
            ChannelKind::Sns(_) => Vec::new(),
            ChannelKind::Slack(url) | ChannelKind::Ping(url) => vec![url],
            ChannelKind::Smtp(mail) => mail.password.iter().collect(),
            ChannelKind::Webhook(url, key) => std::iter::once(url).chain(key).collect(),
        };
        match needed.into_iter().find_map(lacking) {
            None => {
                let message =
                    format!("channel `{name}` is configured; `lifeboat notify test` sends a test message");
                Check::new("configuration", "notify", Outcome::Pass, message)
            }
            Some(why) => Check::new(
                "configuration",
                "notify",
                Outcome::Fail,
                format!("channel `{name}` cannot be used: {why}"),
            )
            .mended_by("Set it where this runs, or correct `[notify.channels]` in lifeboat.toml."),
        }
    };
    let all = config.notify.channels.iter();
    all.map(|(name, channel)| check(name, channel).for_tasks(&TASKS)).collect()
}

/// Why a secret is missing; its content is not checked.
fn lacking(secret: &Secret) -> Option<String> {
    match secret {
        Secret::Plain(_) => None,
        Secret::Variable(name) => {
            std::env::var_os(name).is_none_or(|value| value.is_empty()).then(|| format!("{name} is not set"))
        }
        Secret::File(path) => match std::fs::read(path) {
            Ok(content) if content.iter().all(u8::is_ascii_whitespace) => {
                Some(format!("`{}` is empty", path.display()))
            }
            Ok(_) => None,
            Err(error) => Some(format!("`{}` cannot be read: {error}", path.display())),
        },
    }
}

/// The topics of alarms in one account and Region: whether they exist and can deliver messages.
pub(crate) async fn topics(aws: &Aws, caller: &str, config: &Config) -> Vec<Check> {
    let place = aws.location();
    let check = |verdict, message: String| {
        Check::new("alarms", "topic", verdict, message).at(&place).for_tasks(&[Task::Alarms])
    };
    let named = config.alarms.sections().flat_map(|alarms| alarms.topic.iter().flatten());
    let mut names: Vec<&String> = named.chain(config.alarms.general.topics.values()).collect();
    names.sort();
    names.dedup();
    if names.is_empty() {
        return vec![
            check(Outcome::Warning, "no topic is configured: alarms need `--topic` each time".to_owned())
                .mended_by("Set `topic = \"NAME\"` in [alarms] of lifeboat.toml."),
        ];
    }
    let mut checks = Vec::new();
    for name in names {
        // A key of `topics` stands for the topic that is listed under it.
        if config.alarms.general.topics.contains_key(name) {
            continue;
        }
        match topic(aws, caller, name).await {
            Ok(faults) if faults.is_empty() => {
                checks.push(check(Outcome::Pass, format!("topic `{name}` exists and can deliver messages")));
            }
            Ok(faults) => {
                checks.extend(
                    faults
                        .into_iter()
                        .map(|(message, remedy)| check(Outcome::Fail, message).mended_by(remedy)),
                );
            }
            Err(error) => {
                let remedy = error.hints().first().cloned().unwrap_or_default();
                checks.push(check(Outcome::Unknown, error.chain()).mended_by(remedy));
            }
        }
    }
    checks
}

/// What keeps messages from arriving at a topic, each with its remedy.
async fn topic(aws: &Aws, caller: &str, name: &str) -> Result<Vec<(String, String)>> {
    let parts: Vec<&str> = caller.split(':').collect();
    let (partition, account) =
        (parts.get(1).copied().unwrap_or("aws"), parts.get(4).copied().unwrap_or_default());
    let arn = match name.starts_with("arn:") {
        true => name.to_owned(),
        false => format!("arn:{partition}:sns:{}:{account}:{name}", aws.region()),
    };
    if arn.split(':').nth(3) != Some(aws.region()) {
        let message = format!("topic `{name}` is in another Region than the alarms in {}", aws.region());
        return Ok(vec![(
            message,
            "Give the topic's name alone, and create a topic of that name in each Region.".to_owned(),
        )]);
    }
    match aws.topic(&arn).await? {
        Some(topic) => Ok(alarms::obstacles(&topic)),
        None => Ok(vec![(
            format!("topic `{name}` does not exist in {}", aws.region()),
            format!(
                "`aws sns create-topic --region {} --name {name}`, and subscribe whoever is on call.",
                aws.region()
            ),
        )]),
    }
}
