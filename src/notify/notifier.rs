//! All channels that are configured: what of an announcement is news to them, and sending that.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::announcement::{Announcement, State};
use super::channel::Channel;
use super::delivery::Delivery;
use super::message::{Message, Sender};
use super::news::{self, Change, Item};
use super::settings::NotifySettings;
use crate::aws::Access;
use crate::error::Result;
use crate::vault::Vault;

/// More messages than this are combined into one.
const SINGLE: usize = 5;

/// The time limit for all channels together, so that a hanging webhook does not hold up a deployment.
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
    /// From the configuration. No secret is read yet.
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

    /// Tells the dead man's switches that a command begins. Returns what could not be delivered.
    pub(crate) async fn begin(&self, command: &str, run: &str) -> Vec<Delivery> {
        let all = self
            .switches(command)
            .map(async |channel| channel.delivery(with_budget(channel.start(run)).await));
        futures::future::join_all(all).await
    }

    fn switches(&self, command: &str) -> impl Iterator<Item = &Channel> {
        self.channels.iter().filter(move |channel| channel.is_ping() && channel.carries(command))
    }

    /// Tells the dead man's switches how a command ended.
    pub(crate) async fn end(&self, command: &str, run: &str, exit_code: u8, line: &str) -> Vec<Delivery> {
        let all = self.switches(command);
        let all =
            all.map(async |channel| channel.delivery(with_budget(channel.end(run, exit_code, line)).await));
        futures::future::join_all(all).await
    }

    /// Whether any channel other than a dead man's switch carries a command.
    pub(crate) fn listens(&self, command: &str) -> bool {
        self.channels.iter().any(|channel| !channel.is_ping() && channel.carries(command))
    }

    /// Decides what is news compared with the notifications in the vault. Reads only.
    pub(crate) fn news(
        &self,
        vault: &Vault,
        command: &str,
        told: Vec<Announcement>,
        now: DateTime<Utc>,
    ) -> Result<News> {
        let names: Vec<String> =
            told.iter().map(|told| news::state_path(command, &told.subject, told.place.as_deref())).collect();
        let mut news = News { command: command.to_owned(), items: Vec::new(), digest: None };
        for (told, kept) in told.into_iter().zip(vault.read_all(&names)?) {
            let kept = kept?.and_then(|text| news::Kept::parse(&text));
            let change = news::decide_change(kept.as_ref(), &told, self.remind_after, now);
            news.items.push(Item { told, kept, change });
        }
        if let Some(every) = self.digest_every {
            let last: Option<Digest> =
                vault.read(DIGEST)?.and_then(|text| serde_json::from_slice(&text).ok());
            let is_due = last.is_none_or(|last| (now - last.at).to_std().is_ok_and(|since| since >= every));
            if is_due {
                news.digest = Some(news::list_states(vault)?);
            }
        }
        Ok(news)
    }

    /// Where earlier notifications cannot be read, everything but good news is sent.
    pub(crate) fn all_news(&self, command: &str, told: Vec<Announcement>) -> News {
        let item = |told: Announcement| {
            let change = (told.state != State::Ok).then_some(Change::Failed);
            Item { told, kept: None, change }
        };
        News { command: command.to_owned(), items: told.into_iter().map(item).collect(), digest: None }
    }

    /// Sends what is news. What no channel accepted will be news again.
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

    /// Sends one message through one channel, whatever its filters are.
    pub(crate) async fn test(&self, channel: &Channel, now: DateTime<Utc>) -> Delivery {
        let message = Message::test(&channel.name, &self.sender, now);
        let sent = match channel.is_ping() {
            true => with_budget(channel.note(&message.headline())).await,
            false => with_budget(channel.send(&[&message], &self.access)).await,
        };
        channel.delivery(sent)
    }

    /// Records what was sent.
    pub(crate) fn keep(
        &self,
        vault: &Vault,
        news: &News,
        deliveries: &[Delivery],
        now: DateTime<Utc>,
    ) -> Result<()> {
        let arrived = deliveries.is_empty() || deliveries.iter().any(|delivery| delivery.delivered);
        for item in &news.items {
            if item.change.is_some() && !arrived {
                continue;
            }
            if let Some(kept) = news::serialize_state(&news.command, item, now) {
                let told = &item.told;
                vault.write(&news::state_path(&news.command, &told.subject, told.place.as_deref()), &kept)?;
            }
        }
        if news.digest.is_some() && arrived {
            let digest = serde_json::to_vec(&Digest { at: now }).unwrap_or_default();
            vault.write(DIGEST, &digest)?;
        }
        Ok(())
    }
}

async fn with_budget(
    work: impl Future<Output = std::result::Result<(), String>>,
) -> std::result::Result<(), String> {
    let late = |_| Err(format!("it took longer than {} seconds", BUDGET.as_secs()));
    tokio::time::timeout(BUDGET, work).await.unwrap_or_else(late)
}

/// The announcements of a command, compared with earlier ones.
#[derive(Debug)]
pub(crate) struct News {
    command: String,
    pub(crate) items: Vec<Item>,
    digest: Option<Vec<news::Kept>>,
}

impl News {
    /// A summary of everything.
    pub(crate) fn of_everything(vault: &Vault) -> Result<Self> {
        Ok(News {
            command: "notify digest".to_owned(),
            items: Vec::new(),
            digest: Some(news::list_states(vault)?),
        })
    }

    fn messages(&self, sender: &Sender, now: DateTime<Utc>) -> Vec<Message> {
        let changed = self.items.iter().filter_map(|item| Some((item, item.change?)));
        changed.map(|(item, change)| Message::from_item(&self.command, item, change, sender, now)).collect()
    }
}
