//! A notification channel. Its URL and key are secrets that are read when needed, and appear in no error.

use std::time::Duration;

use ring::hmac;
use serde_json::json;

use super::announcement::State;
use super::delivery::Delivery;
use super::mail;
use super::message::Message;
use super::news::Change;
use super::settings::{ChannelKind, ChannelSettings, Secret};
use crate::aws::{Access, Aws};
use crate::web::{self, Call};

/// The header with the time and the signature of a webhook: `t=<seconds>,v1=<HMAC-SHA256 in hexadecimal>` over
/// `<seconds>.<body>`.
const SIGNATURE: &str = "lifeboat-signature";

const ATTEMPT: Duration = Duration::from_secs(3);

/// Waits before the second and the third attempt.
const PAUSES: [Duration; 2] = [Duration::from_millis(300), Duration::from_millis(900)];

/// The result of sending; the failure contains no secret.
type Sent = Result<(), String>;

/// A channel.
#[derive(Clone, Debug)]
pub(crate) struct Channel {
    pub name: String,
    settings: ChannelSettings,
}

impl Channel {
    pub(super) fn new(name: &str, settings: ChannelSettings) -> Self {
        Channel { name: name.to_owned(), settings }
    }

    /// The dead man's switch of `--ping`.
    pub(super) fn ping_of(url: &str) -> Self {
        let kind = ChannelKind::Ping(Secret::Plain(url.to_owned()));
        Channel::new("--ping", ChannelSettings { kind, commands: Vec::new(), severity: None })
    }

    /// `sns`, `slack`, `webhook`, `smtp`, `ping`.
    pub(crate) fn kind(&self) -> &'static str {
        match self.settings.kind {
            ChannelKind::Sns(_) => "sns",
            ChannelKind::Slack(_) => "slack",
            ChannelKind::Webhook(..) => "webhook",
            ChannelKind::Ping(_) => "ping",
            ChannelKind::Smtp(_) => "smtp",
        }
    }

    /// What it sends, as a sentence.
    pub(crate) fn carries_what(&self) -> String {
        let commands = match self.settings.commands.as_slice() {
            [] => "every command".to_owned(),
            some => some.join(", "),
        };
        match &self.settings.severity {
            Some(severity) => format!("{commands}; {severity} and worse"),
            None => commands,
        }
    }

    /// Its destination, without secrets.
    pub(crate) fn goes_to(&self) -> String {
        let place = |secret: &Secret| match secret {
            Secret::Plain(url) => web::origin(url).to_owned(),
            Secret::Variable(name) => format!("the URL in ${name}"),
            Secret::File(path) => format!("the URL in {}", path.display()),
        };
        match &self.settings.kind {
            ChannelKind::Sns(topic) => topic.clone(),
            ChannelKind::Smtp(mail) => format!("{} by {}:{}", mail.to.join(", "), mail.host, mail.port),
            ChannelKind::Slack(url) | ChannelKind::Webhook(url, _) | ChannelKind::Ping(url) => place(url),
        }
    }

    pub(super) fn is_ping(&self) -> bool {
        matches!(self.settings.kind, ChannelKind::Ping(_))
    }

    /// Whether it covers a command.
    pub(super) fn carries(&self, command: &str) -> bool {
        self.settings.commands.is_empty() || self.settings.commands.iter().any(|one| one == command)
    }

    /// Whether it sends a message. A recovery goes to whoever was told of the failure.
    pub(super) fn takes(&self, message: &Message) -> bool {
        let rank = |severity: &str| ["info", "warning", "critical"].iter().position(|word| *word == severity);
        let worst = match (message.change, message.previous_state) {
            (Change::Recovered, Some(before)) => before.severity(),
            (Change::Recovered, None) => State::Fail.severity(),
            _ => message.severity,
        };
        let is_summary = message.change == Change::Digest;
        let is_severe = self.settings.severity.as_deref().is_none_or(|least| rank(worst) >= rank(least));
        is_summary || (self.carries(&message.command) && is_severe)
    }

    pub(super) fn delivery(&self, sent: Sent) -> Delivery {
        Delivery { channel: self.name.clone(), kind: self.kind(), delivered: sent.is_ok(), error: sent.err() }
    }

    fn reveal(&self, secret: &Secret) -> Result<String, String> {
        let whose = |what: String| format!("{what}, which channel `{}` names,", self.name.escape_default());
        let text = match secret {
            Secret::Plain(text) => text.clone(),
            Secret::Variable(name) => std::env::var(name)
                .map_err(|_| format!("{} is not set", whose(format!("the environment variable `{name}`"))))?,
            Secret::File(path) => std::fs::read_to_string(path).map_err(|error| {
                format!("{} cannot be read: {error}", whose(format!("the file `{}`", path.display())))
            })?,
        };
        match text.trim() {
            "" => Err(format!("the secret of channel `{}` is empty", self.name.escape_default())),
            text => Ok(text.to_owned()),
        }
    }

    /// Sends messages, one after the other.
    pub(super) async fn send(&self, messages: &[&Message], access: &Access) -> Sent {
        match &self.settings.kind {
            ChannelKind::Sns(topic) => publish(topic, messages, access).await,
            ChannelKind::Slack(url) => {
                let url = self.reveal(url)?;
                for message in messages {
                    post_with_retries(&url, &[], &json!({"text": slack_payload(message)}).to_string())
                        .await?;
                }
                Ok(())
            }
            ChannelKind::Webhook(url, key) => {
                let (url, key) = (self.reveal(url)?, key.as_ref().map(|key| self.reveal(key)).transpose()?);
                for message in messages {
                    let body = message.json();
                    let mut headers = vec![("lifeboat-id", message.id.clone())];
                    headers.extend(
                        key.as_deref().map(|key| (SIGNATURE, sign_body(key, message.at.timestamp(), &body))),
                    );
                    post_with_retries(&url, &headers, &body).await?;
                }
                Ok(())
            }
            ChannelKind::Smtp(to) => {
                let password = to.password.as_ref().map(|secret| self.reveal(secret)).transpose()?;
                mail::send_mail(to, password, messages).await
            }
            ChannelKind::Ping(_) => Ok(()),
        }
    }

    /// Pings a switch at the start of a run.
    pub(super) async fn start(&self, run: &str) -> Sent {
        self.tell("/start", run, "").await
    }

    /// Pings a switch at the end of a run; every exit code but 0 is a failure.
    pub(super) async fn end(&self, run: &str, exit_code: u8, line: &str) -> Sent {
        // `--ping` is older than exit codes, and services differ in whether they know them.
        let end = match (&self.settings.kind, exit_code) {
            (ChannelKind::Ping(Secret::Plain(_)), 0) => String::new(),
            (ChannelKind::Ping(Secret::Plain(_)), _) => "/fail".to_owned(),
            (_, code) => format!("/{code}"),
        };
        self.tell(&end, run, line).await
    }

    /// Pings a switch with neither success nor failure.
    pub(super) async fn note(&self, line: &str) -> Sent {
        self.tell("/log", "", line).await
    }

    async fn tell(&self, end: &str, run: &str, line: &str) -> Sent {
        let ChannelKind::Ping(url) = &self.settings.kind else { return Ok(()) };
        // What `--ping` names may be a service that knows nothing of runs.
        let run = if matches!(url, Secret::Plain(_)) { "" } else { run };
        ping(&self.reveal(url)?, end, run, line).await
    }
}

/// Tells a service such as healthchecks.io, whose URL takes `/start`, `/fail` or an exit code after it; `run` pairs the
/// start with the end.
pub(crate) async fn ping(url: &str, end: &str, run: &str, line: &str) -> Result<(), String> {
    let (base, query) = url.split_once('?').map_or((url, ""), |(base, rest)| (base, rest));
    let run = if run.is_empty() { String::new() } else { format!("rid={run}") };
    let query: Vec<&str> = [query, &run].into_iter().filter(|part| !part.is_empty()).collect();
    let mark = if query.is_empty() { "" } else { "?" };
    let url = format!("{}{end}{mark}{}", base.trim_end_matches('/'), query.join("&"));
    post_once(&url, &[("content-type", "text/plain; charset=utf-8".to_owned())], line).await
}

fn sign_body(key: &str, seconds: i64, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
    let tag = hmac::sign(&key, format!("{seconds}.{body}").as_bytes());
    format!("t={seconds},v1={}", hex::encode(tag))
}

/// Slack reserves three characters.
fn slack_payload(message: &Message) -> String {
    let escaped = message.text().replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    match escaped.split_once('\n') {
        Some((head, rest)) => format!("*{}*\n{rest}", head.replace('*', "")),
        None => escaped,
    }
}

async fn post_with_retries(url: &str, headers: &[(&str, String)], body: &str) -> Sent {
    let mut all = vec![("content-type", "application/json".to_owned())];
    all.extend(headers.iter().cloned());
    post_once(url, &all, body).await
}

/// Posts, and retries transient failures.
async fn post_once(url: &str, headers: &[(&str, String)], body: &str) -> Sent {
    let mut pauses = PAUSES.into_iter();
    loop {
        let call = Call { url, headers, body, patience: ATTEMPT };
        let why = match web::deliver(call).await {
            Ok(200..=299) => return Ok(()),
            Ok(status @ (429 | 500..=599)) => format!("`{}` answered {status}", web::origin(url)),
            Ok(status @ 300..=399) => {
                return Err(format!("`{}` answered {status}: a redirect is not followed", web::origin(url)));
            }
            Ok(status) => return Err(format!("`{}` answered {status}", web::origin(url))),
            Err(error) => error.chain(),
        };
        match pauses.next() {
            Some(pause) => tokio::time::sleep(pause).await,
            None => return Err(why),
        }
    }
}

/// Publishes to a topic, in the Region of its ARN: JSON for programs, text for mail and telephones.
async fn publish(topic: &str, messages: &[&Message], access: &Access) -> Sent {
    let region = topic.split(':').nth(3).unwrap_or_default();
    let there = Access { region: Some(region.to_owned()), ..access.clone() };
    let aws = Aws::connect(&there).await.map_err(|error| error.chain())?;
    for message in messages {
        let body = json!({"default": message.json(), "email": message.text(), "sms": message.headline()})
            .to_string();
        let database = message.database.as_deref().or(message.runbook.as_deref()).unwrap_or("none");
        let attributes = [
            ("severity", message.severity),
            ("database", database),
            ("command", message.command.as_str()),
            ("state", message.state.as_str()),
        ];
        let published = aws.publish_message(topic, &message.subject(), &body, &attributes).await;
        published.map_err(|failure| crate::error::Error::from(failure).chain())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_the_one_that_others_compute() {
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac key
        assert_eq!(
            sign_body("key", 1_700_000_000, "{\"a\":1}"),
            "t=1700000000,v1=a438e398bfafc57e4396bb7fc2304422f0f768e965d073ca313cb52e22e6ad03"
        );
    }
}
