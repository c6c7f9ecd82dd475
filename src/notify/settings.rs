//! `[notify]`: channels, and what they carry. A secret is named by the environment variable or the file that holds it; one
//! that stands in the configuration itself is refused without being repeated.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::settings::duration;

/// Who is told what changed.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NotifySettings {
    /// When a condition that lasts is told again; a day by default.
    #[serde(default, deserialize_with = "duration")]
    pub remind_after: Option<Duration>,
    /// How often a summary of everything is sent, whatever it says; never by default.
    #[serde(default, deserialize_with = "duration")]
    pub digest_every: Option<Duration>,
    /// The channels, by name.
    #[serde(default)]
    pub channels: BTreeMap<String, ChannelSettings>,
}

/// Where a secret is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Secret {
    /// In an environment variable.
    Variable(String),
    /// In a file, alone.
    File(PathBuf),
    /// It is none, and stands in the configuration.
    Plain(String),
}

/// What a channel is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ChannelKind {
    /// An SNS topic, by its ARN.
    Sns(String),
    /// A Slack-compatible webhook.
    Slack(Secret),
    /// A webhook that takes JSON, and the key of its signature.
    Webhook(Secret, Option<Secret>),
    /// A dead man's switch.
    Ping(Secret),
    /// Mail over SMTP.
    Smtp(Mail),
}

/// How mail is sent, and to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mail {
    /// Host of the server.
    pub host: String,
    /// Its port: 587, or 465 with `tls = "implicit"`, or 25 with `tls = "none"`, unless named.
    pub port: u16,
    /// How the connection is protected.
    pub encryption: Encryption,
    /// Who logs in, if anybody does.
    pub user: Option<String>,
    /// The password of that user.
    pub password: Option<Secret>,
    /// From whom.
    pub from: String,
    /// To whom.
    pub to: Vec<String>,
}

/// How a connection to a mail server is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encryption {
    /// STARTTLS, which the server must offer.
    StartTls,
    /// TLS from the first byte.
    Implicit,
    /// Not at all: for a relay on this machine or in a trusted network.
    None,
}

/// A channel.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "toml::Value")]
pub(crate) struct ChannelSettings {
    /// What it is.
    pub kind: ChannelKind,
    /// Only what these commands say, such as `drill run`; all by default.
    pub commands: Vec<String>,
    /// Only what is at least so severe: `info`, `warning` or `critical`.
    pub severity: Option<String>,
}

const KEYS: [&str; 17] = [
    "kind",
    "topic",
    "url",
    "url_env",
    "url_file",
    "secret_env",
    "secret_file",
    "commands",
    "severity",
    "secret",
    "server",
    "tls",
    "user",
    "password_env",
    "password_file",
    "from",
    "to",
];

/// Commands that have something to say.
const COMMANDS: [&str; 9] = [
    "drill run",
    "drill sweep",
    "drill list",
    "drill verify-evidence",
    "status",
    "backup create",
    "snapshot create",
    "snapshot prune",
    "runbook run",
];

impl TryFrom<toml::Value> for ChannelSettings {
    type Error = String;

    /// No message repeats a value: it may be a secret in the wrong place.
    fn try_from(value: toml::Value) -> Result<Self, String> {
        let toml::Value::Table(table) = value else {
            return Err("a channel is a table, such as [notify.channels.oncall]".to_owned());
        };
        if let Some(key) =
            table.keys().filter(|key| *key != "password").find(|key| !KEYS.contains(&key.as_str()))
        {
            return Err(format!("unknown key `{}` of a channel", key.escape_default()));
        }
        let text = |key: &str| match table.get(key) {
            None => Ok(None),
            Some(toml::Value::String(text)) if !text.is_empty() => Ok(Some(text.clone())),
            Some(_) => Err(format!("`{key}` of a channel is a text")),
        };
        if table.contains_key("password") {
            return Err("a password does not belong into the configuration: name the environment variable \
                        (`password_env`) or the file (`password_file`) that holds it"
                .to_owned());
        }
        if table.contains_key("secret") {
            return Err("a secret does not belong into the configuration: name the environment variable \
                        (`secret_env`) or the file (`secret_file`) that holds it"
                .to_owned());
        }
        let one = |variable: &str, file: &str| match (text(variable)?, text(file)?) {
            (Some(_), Some(_)) => Err(format!("either `{variable}` or `{file}`, not both")),
            (Some(name), None) => Ok(Some(Secret::Variable(name))),
            (None, Some(path)) => Ok(Some(Secret::File(PathBuf::from(path)))),
            (None, None) => Ok(None),
        };
        let (url, hidden) = (text("url")?, one("url_env", "url_file")?);
        let kind = text("kind")?.ok_or("a channel needs a `kind`: sns, slack, webhook, smtp or ping")?;
        let secret_url = || match (&url, hidden.clone()) {
            (Some(_), _) => Err(format!(
                "the URL of a {kind} channel is a secret: name the environment variable (`url_env`) or the file (`url_file`) \
                 that holds it"
            )),
            (None, Some(secret)) => Ok(secret),
            (None, None) => Err(format!("a {kind} channel needs `url_env` or `url_file`")),
        };
        let kind = match kind.as_str() {
            "sns" => match text("topic")? {
                Some(topic) if is_topic(&topic) => ChannelKind::Sns(topic),
                _ => {
                    return Err(
                        "an sns channel needs a `topic`: the ARN of a standard topic, not a FIFO one"
                            .to_owned(),
                    );
                }
            },
            "slack" => ChannelKind::Slack(secret_url()?),
            "ping" => ChannelKind::Ping(secret_url()?),
            "webhook" => {
                let url = match (url, hidden) {
                    (Some(_), Some(_)) => return Err("either `url` or `url_env` or `url_file`".to_owned()),
                    (Some(url), None) => Secret::Plain(url),
                    (None, Some(secret)) => secret,
                    (None, None) => {
                        return Err("a webhook channel needs `url`, `url_env` or `url_file`".to_owned());
                    }
                };
                ChannelKind::Webhook(url, one("secret_env", "secret_file")?)
            }
            "smtp" => ChannelKind::Smtp(mail(&table, &text, one("password_env", "password_file")?)?),
            _ => return Err("the `kind` of a channel is sns, slack, webhook, smtp or ping".to_owned()),
        };
        let severity = text("severity")?;
        if severity.as_deref().is_some_and(|word| !["info", "warning", "critical"].contains(&word)) {
            return Err("`severity` is info, warning or critical".to_owned());
        }
        Ok(ChannelSettings { kind, commands: commands(table.get("commands"))?, severity })
    }
}

fn mail(
    table: &toml::Table,
    text: &impl Fn(&str) -> Result<Option<String>, String>,
    password: Option<Secret>,
) -> Result<Mail, String> {
    let encryption = match text("tls")?.as_deref() {
        None | Some("starttls") => Encryption::StartTls,
        Some("implicit") => Encryption::Implicit,
        Some("none") => Encryption::None,
        Some(_) => return Err("`tls` of an smtp channel is starttls, implicit or none".to_owned()),
    };
    let server =
        text("server")?.ok_or("an smtp channel needs a `server`, such as \"smtp.example.com:587\"")?;
    let usual = match encryption {
        Encryption::StartTls => 587,
        Encryption::Implicit => 465,
        Encryption::None => 25,
    };
    let (host, port) = match server.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (
            host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port.parse().map_err(|_| "the port of `server` is a number from 1 to 65535".to_owned())?,
        ),
        _ => (server, usual),
    };
    let to = match table.get("to") {
        Some(toml::Value::String(one)) => vec![one.clone()],
        Some(toml::Value::Array(list)) => {
            let texts = list.iter().map(|one| one.as_str().map(str::to_owned));
            texts.collect::<Option<Vec<_>>>().ok_or("`to` is a list of addresses")?
        }
        _ => Vec::new(),
    };
    let from =
        text("from")?.ok_or("an smtp channel needs `from`, such as \"lifeboat <lifeboat@example.com>\"")?;
    for address in to.iter().chain([&from]) {
        address.parse::<lettre::message::Mailbox>().map_err(|_| {
            "an address in `from` or `to` is not one, such as oncall@example.com or \"On call <oncall@example.com>\""
        })?;
    }
    let user = text("user")?;
    match (&user, &password) {
        _ if to.is_empty() => Err("an smtp channel needs `to`, a list of addresses".to_owned()),
        (Some(_), None) => Err("`user` of an smtp channel needs `password_env` or `password_file`".to_owned()),
        (None, Some(_)) => Err("the password of an smtp channel needs a `user`".to_owned()),
        (Some(_), _) if encryption == Encryption::None => {
            Err("a password is not sent over a connection that is not encrypted: use `tls` = starttls or implicit".to_owned())
        }
        _ => Ok(Mail { host, port, encryption, user, password, from, to }),
    }
}

fn is_topic(arn: &str) -> bool {
    let parts: Vec<&str> = arn.split(':').collect();
    parts.len() == 6
        && parts[0] == "arn"
        && parts[2] == "sns"
        && !parts[3].is_empty()
        && !arn.ends_with(".fifo")
}

fn commands(value: Option<&toml::Value>) -> Result<Vec<String>, String> {
    let wrong = || format!("`commands` is a list of: {}", COMMANDS.join(", "));
    let Some(value) = value else { return Ok(Vec::new()) };
    let list = value.as_array().ok_or_else(wrong)?;
    let known = |value: &toml::Value| {
        value.as_str().filter(|name| COMMANDS.contains(name)).map(str::to_owned).ok_or_else(wrong)
    };
    list.iter().map(known).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(text: &str) -> Result<ChannelSettings, String> {
        let table: toml::Table = toml::from_str(text).unwrap();
        ChannelSettings::try_from(toml::Value::Table(table))
    }

    #[test]
    fn a_secret_in_the_configuration_is_refused_and_not_repeated() {
        for text in [
            "kind = \"slack\"\nurl = \"https://hooks.slack.com/canary\"",
            "kind = \"ping\"\nurl = \"https://hc-ping.com/canary\"",
            "kind = \"webhook\"\nurl = \"https://x/y\"\nsecret = \"canary\"",
            "kind = \"canary\"",
            "kind = \"smtp\"\nserver = \"mail\"\nfrom = \"a@b.c\"\nto = [\"a@b.c\"]\nuser = \"u\"\npassword = \"canary\"",
            "kind = \"smtp\"\nserver = \"mail\"\nfrom = \"canary\"\nto = [\"a@b.c\"]",
            "kind = \"smtp\"\nserver = \"mail:canary\"\nfrom = \"a@b.c\"\nto = [\"a@b.c\"]",
            "kind = \"webhook\"\nurl = \"https://x/y\"\nsecret_env = [\"canary\"]",
            "kind = \"webhook\"\nurl = \"https://x/y\"\ncommands = [\"canary\"]",
            "kind = \"sns\"\ntopic = \"canary\"",
            "kind = \"sns\"\ntopic = \"arn:aws:sns:eu-central-1:1:canary.fifo\"",
        ] {
            let refused = channel(text).unwrap_err();
            assert!(!refused.contains("canary"), "{refused}");
        }
    }

    #[test]
    fn mail_has_a_server_an_address_and_no_password_in_the_clear() {
        let rest =
            "from = \"lifeboat <lifeboat@example.com>\"\nto = [\"a@example.com\", \"B <b@example.com>\"]";
        for (server, host, port) in [
            ("server = \"smtp.example.com\"", "smtp.example.com", 587),
            ("server = \"smtp.example.com\"\ntls = \"implicit\"", "smtp.example.com", 465),
            ("server = \"localhost\"\ntls = \"none\"", "localhost", 25),
            ("server = \"[::1]:2525\"\ntls = \"none\"", "::1", 2525),
        ] {
            let found = channel(&format!("kind = \"smtp\"\n{server}\n{rest}")).unwrap();
            let ChannelKind::Smtp(mail) = found.kind else { panic!("no mail") };
            assert_eq!((mail.host.as_str(), mail.port, mail.to.len()), (host, port, 2));
        }
        for (text, words) in [
            ("from = \"a@b.c\"\nto = [\"a@b.c\"]", "needs a `server`"),
            ("server = \"x\"\nto = [\"a@b.c\"]", "needs `from`"),
            ("server = \"x\"\nfrom = \"a@b.c\"", "needs `to`"),
            ("server = \"x\"\nfrom = \"a@b.c\"\nto = [\"a@b.c\"]\nuser = \"u\"", "needs `password_env`"),
            (
                "server = \"x\"\nfrom = \"a@b.c\"\nto = [\"a@b.c\"]\nuser = \"u\"\npassword_env = \"P\"\ntls = \"none\"",
                "not encrypted",
            ),
        ] {
            let refused = channel(&format!("kind = \"smtp\"\n{text}")).unwrap_err();
            assert!(refused.contains(words), "{refused}");
        }
    }

    #[test]
    fn a_channel_names_where_its_secret_is() {
        let slack = channel("kind = \"slack\"\nurl_env = \"SLACK\"\ncommands = [\"drill run\"]").unwrap();
        assert_eq!(slack.kind, ChannelKind::Slack(Secret::Variable("SLACK".into())));
        assert_eq!(slack.commands, ["drill run"]);
    }
}
