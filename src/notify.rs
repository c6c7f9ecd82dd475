//! Notifications about changes: SNS, Slack and compatible services, signed webhooks, mail, dead man's switches.
//!
//! What a command reports is compared with what was sent before, which the vault keeps in `notify/state/`; a failure and
//! a change are sent, repeated good news is not. Sending comes last, takes a few seconds at
//! most, and never changes the result of the command: failed deliveries are reported on stderr.
//!
//! ```text
//! state    what was sent last, and whether something must be sent now
//! message  the message, as text and as JSON
//! channel  one channel: its secret, its format, its attempts
//! ```

mod channel;
mod delivery;
mod mail;
pub(crate) mod message;
mod settings;
pub(crate) mod state;

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

pub(crate) use channel::Channel;
pub(crate) use delivery::Delivery;
pub(crate) use message::{Message, Sender};
pub(crate) use settings::{ChannelKind, ChannelSettings, NotifySettings, Secret};
pub(crate) use state::{Change, Item, Nature, Reported, State, Subject};

use crate::aws::Access;
use crate::vault::Vault;

/// More messages than this are combined into one.
const SINGLE: usize = 5;

/// The time limit for all channels together, so that a hanging hook does not hold up a deployment.
const BUDGET: Duration = Duration::from_secs(6);

/// The channels that are configured.
#[derive(Debug)]
pub(crate) struct Notifier {
    channels: Vec<Channel>,
    remind_after: Duration,
    digest_every: Option<Duration>,
    access: Access,
    sender: Sender,
}

/// When the last summary was sent.
#[derive(Debug, Serialize, Deserialize)]
struct Digest {
    at: DateTime<Utc>,
}

const DIGEST: &str = "notify/digest.json";

impl Notifier {
    /// From the configuration. Nothing is looked up yet.
    pub(crate) fn new(settings: &NotifySettings, access: Access, sender: Sender) -> Self {
        let channels = settings.channels.iter().map(|(name, settings)| Channel::new(name, settings.clone()));
        Notifier {
            channels: channels.collect(),
            remind_after: settings.remind_after.unwrap_or(Duration::from_secs(86_400)),
            digest_every: settings.digest_every,
            access,
            sender,
        }
    }

    /// Adds a dead man's switch for this call only.
    pub(crate) fn with_ping(mut self, url: Option<&str>) -> Self {
        self.channels.extend(url.map(Channel::ping_of));
        self
    }

    /// Whether no channel is configured.
    pub(crate) fn is_empty(&self) -> bool {
        self.channels.is_empty()
    }

    /// The channels.
    pub(crate) fn channels(&self) -> &[Channel] {
        &self.channels
    }

    /// Pings the dead man's switches of a command at its start. Returns the failures as sentences.
    pub(crate) async fn begin(&self, command: &str, run: &str) -> Vec<Delivery> {
        let all = self
            .switches(command)
            .map(async |channel| channel.delivery(with_budget(channel.start(run)).await));
        futures::future::join_all(all).await
    }

    fn switches(&self, command: &str) -> impl Iterator<Item = &Channel> {
        self.channels.iter().filter(move |channel| channel.is_ping() && channel.carries(command))
    }

    /// Pings the switches with the result of a command.
    pub(crate) async fn end(&self, command: &str, run: &str, exit_code: u8, line: &str) -> Vec<Delivery> {
        let all = self.switches(command);
        let all =
            all.map(async |channel| channel.delivery(with_budget(channel.end(run, exit_code, line)).await));
        futures::future::join_all(all).await
    }

    /// Whether any channel other than a switch covers a command.
    pub(crate) fn listens(&self, command: &str) -> bool {
        self.channels.iter().any(|channel| !channel.is_ping() && channel.carries(command))
    }

    /// Decides what is news, compared with the state in the vault. Reads only.
    pub(crate) fn news(
        &self,
        vault: &Vault,
        command: &str,
        told: Vec<Reported>,
        now: DateTime<Utc>,
    ) -> crate::error::Result<News> {
        let names: Vec<String> = told
            .iter()
            .map(|told| state::state_path(command, &told.subject, told.place.as_deref()))
            .collect();
        let mut news = News { command: command.to_owned(), items: Vec::new(), digest: None };
        for (told, kept) in told.into_iter().zip(vault.read_all(&names)?) {
            let kept = kept?.and_then(|text| state::Kept::parse(&text));
            let change = state::decide_change(kept.as_ref(), &told, self.remind_after, now);
            news.items.push(Item { told, kept, change });
        }
        if let Some(every) = self.digest_every {
            let last: Option<Digest> =
                vault.read(DIGEST)?.and_then(|text| serde_json::from_slice(&text).ok());
            let is_due = last.is_none_or(|last| (now - last.at).to_std().is_ok_and(|since| since >= every));
            if is_due {
                news.digest = Some(state::list_states(vault)?);
            }
        }
        Ok(news)
    }

    /// If the state cannot be read, everything is sent, except good news.
    pub(crate) fn all_news(&self, command: &str, told: Vec<Reported>) -> News {
        let item = |told: Reported| {
            let change = (told.state != State::Ok).then_some(Change::Failed);
            Item { told, kept: None, change }
        };
        News { command: command.to_owned(), items: told.into_iter().map(item).collect(), digest: None }
    }

    /// Sends what is news. What no channel delivered will be news again.
    pub(crate) async fn send(&self, news: &News, now: DateTime<Utc>) -> Vec<Delivery> {
        let mut messages = news.messages(&self.sender, now);
        if messages.len() > SINGLE {
            messages = vec![Message::of_many(&news.command, messages, &self.sender, now)];
        }
        if let Some(kept) = &news.digest {
            messages.push(Message::digest(kept, &self.sender, now));
        }
        let telling = self.channels.iter().filter(|channel| !channel.is_ping()).map(async |channel| {
            let own: Vec<&Message> = messages.iter().filter(|message| channel.takes(message)).collect();
            if own.is_empty() {
                return None;
            }
            Some(channel.delivery(with_budget(channel.send(&own, &self.access)).await))
        });
        futures::future::join_all(telling).await.into_iter().flatten().collect()
    }

    /// Sends one message through one channel, regardless of its filters.
    pub(crate) async fn test(&self, channel: &Channel, now: DateTime<Utc>) -> Delivery {
        let message = Message::test(&channel.name, &self.sender, now);
        let sent = match channel.is_ping() {
            true => with_budget(channel.note(&message.headline())).await,
            false => with_budget(channel.send(&[&message], &self.access)).await,
        };
        channel.delivery(sent)
    }

    /// Saves what was sent.
    pub(crate) fn keep(
        &self,
        vault: &Vault,
        news: &News,
        deliveries: &[Delivery],
        now: DateTime<Utc>,
    ) -> crate::error::Result<()> {
        let arrived = deliveries.is_empty() || deliveries.iter().any(|delivery| delivery.delivered);
        for item in &news.items {
            if item.change.is_some() && !arrived {
                continue;
            }
            if let Some(kept) = state::serialize_state(&news.command, item, now) {
                let told = &item.told;
                vault
                    .write(&state::state_path(&news.command, &told.subject, told.place.as_deref()), &kept)?;
            }
        }
        if news.digest.is_some() && arrived {
            let digest = serde_json::to_vec(&Digest { at: now }).unwrap_or_default();
            vault.write(DIGEST, &digest)?;
        }
        Ok(())
    }
}

async fn with_budget(work: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    let late = |_| Err(format!("it took longer than {} seconds", BUDGET.as_secs()));
    tokio::time::timeout(BUDGET, work).await.unwrap_or_else(late)
}

/// What a command reported, compared with what was sent before.
#[derive(Debug)]
pub(crate) struct News {
    command: String,
    pub(crate) items: Vec<Item>,
    digest: Option<Vec<state::Kept>>,
}

impl News {
    /// Sends a summary of everything now.
    pub(crate) fn of_everything(vault: &Vault) -> crate::error::Result<Self> {
        Ok(News {
            command: "notify digest".to_owned(),
            items: Vec::new(),
            digest: Some(state::list_states(vault)?),
        })
    }

    fn messages(&self, sender: &Sender, now: DateTime<Utc>) -> Vec<Message> {
        let changed = self.items.iter().filter_map(|item| Some((item, item.change?)));
        changed.map(|(item, change)| Message::from_item(&self.command, item, change, sender, now)).collect()
    }
}
