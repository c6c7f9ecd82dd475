//! A command that channels are notified of, from its begin to its end.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::task::JoinHandle;

use super::announcement::{Announcement, Nature, State, Subject};
use super::delivery::Delivery;
use super::notifier::Notifier;
use crate::error::{Error, Kind, Result};
use crate::postgres::redact_urls;
use crate::vault::Vault;
use crate::words::escape_controls;

/// For how long the vault may be asked what was said before.
const RECALL: Duration = Duration::from_secs(5);

/// A command that channels are notified of, while it runs.
pub(crate) struct NotifiedCommand {
    name: &'static str,
    nature: Nature,
    run: String,
    notifier: Arc<Notifier>,
    begun: JoinHandle<Vec<Delivery>>,
}

/// What a command has said so far, for those who listen.
#[derive(Debug, Default)]
pub(crate) struct Saying {
    /// Of its subjects.
    pub announcements: Vec<Announcement>,
    /// What a dead man's switch is told, where that is not what the exit code says.
    pub ping: Option<Ping>,
}

/// What a dead man's switch is told.
#[derive(Debug)]
pub(crate) struct Ping {
    /// A line for its log.
    pub line: String,
    /// 0 if all is well.
    pub code: u8,
}

impl NotifiedCommand {
    /// Tells the dead man's switches that it begins, without waiting for them; `None` if there is nobody to tell.
    pub(crate) fn begin(name: &'static str, nature: Nature, notifier: Notifier) -> Option<Self> {
        if notifier.is_empty() {
            return None;
        }
        let (notifier, run) = (Arc::new(notifier), random_uuid());
        let (telling, id) = (Arc::clone(&notifier), run.clone());
        let begun = tokio::spawn(async move { telling.begin(name, &id).await });
        Some(NotifiedCommand { name, nature, run, notifier, begun })
    }

    /// Tells everybody how it ended. What went wrong with that comes back as warnings, and changes nothing.
    pub(crate) async fn end(
        self,
        ended: &Result<Option<Kind>>,
        saying: Saying,
        open_vault: impl FnOnce() -> Result<Vault> + Send + 'static,
        now: DateTime<Utc>,
    ) -> Vec<String> {
        let mut announcements = saying.announcements;
        let whole = self.announce_whole(ended, &announcements);
        let worst = announcements.iter().max_by_key(|announcement| announcement.state);
        let usual = || Ping {
            line: whole.as_ref().or(worst).map_or(String::new(), format_line),
            code: match ended {
                Ok(kind) => kind.map_or(0, Kind::exit_code),
                Err(error) => error.kind().exit_code(),
            },
        };
        let ping = saying.ping.unwrap_or_else(usual);
        announcements.extend(whole);
        let (name, notifier) = (self.name, &self.notifier);
        let switches = async {
            // A start that overtakes the end would look like a run that never ends.
            let begun = self.begun.await.unwrap_or_default();
            (begun, notifier.end(name, &self.run, ping.code, &ping.line).await)
        };
        let news = send_news(notifier, name, announcements, open_vault, now);
        let ((begun, ended), (sent, mut warnings)) = tokio::join!(switches, news);
        let mut missed = Vec::new();
        for delivery in begun.into_iter().chain(ended).chain(sent) {
            let whom = match delivery.channel.as_str() {
                "--ping" => "the dead man's switch".to_owned(),
                name => format!("channel `{}`", escape_controls(name)),
            };
            missed.extend(delivery.error.map(|why| redact_urls(&format!("{whom} was not told: {why}"))));
        }
        missed.dedup();
        warnings.extend(missed);
        warnings
    }

    /// What is to be said of the command itself: what nothing else explains, or that all is well.
    fn announce_whole(
        &self,
        ended: &Result<Option<Kind>>,
        announcements: &[Announcement],
    ) -> Option<Announcement> {
        let is_explained = announcements.iter().any(|announcement| announcement.state != State::Ok);
        if is_explained && !matches!(ended, Ok(None)) {
            return None;
        }
        Some(Announcement { nature: self.nature, ..Announcement::of_result(Subject::Whole, ended) })
    }
}

fn format_line(announcement: &Announcement) -> String {
    let of = match &announcement.subject {
        Subject::Database(name) | Subject::Runbook(name) => format!(" {name}"),
        Subject::Whole => String::new(),
    };
    redact_urls(&escape_controls(&format!("{}{of}: {}", announcement.verdict, announcement.reason)))
}

/// Compares it with what was said before, sends what is news, and keeps that. A vault that does not answer in time is no
/// reason to be silent, but for a warning.
async fn send_news(
    notifier: &Arc<Notifier>,
    command: &'static str,
    announcements: Vec<Announcement>,
    open_vault: impl FnOnce() -> Result<Vault> + Send + 'static,
    now: DateTime<Utc>,
) -> (Vec<Delivery>, Vec<String>) {
    if !notifier.listens(command) || announcements.is_empty() {
        return (Vec::new(), Vec::new());
    }
    let (recalling, all) = (Arc::clone(notifier), announcements.clone());
    let recall = tokio::task::spawn_blocking(move || {
        let vault = open_vault()?;
        let news = recalling.news(&vault, command, all, now)?;
        Ok::<_, Error>((vault, news))
    });
    let recalled = match tokio::time::timeout(RECALL, recall).await {
        Ok(Ok(recalled)) => recalled,
        Ok(Err(_)) | Err(_) => {
            Err(Error::outside("timed out after 5 s reading earlier notifications from the vault"))
        }
    };
    let mut warnings = Vec::new();
    let sent = match recalled {
        Ok((vault, news)) => {
            let sent = notifier.send(&news, now).await;
            let (keeping, deliveries) = (Arc::clone(notifier), sent.clone());
            let keep = tokio::task::spawn_blocking(move || keeping.keep(&vault, &news, &deliveries, now));
            let kept = tokio::time::timeout(RECALL, keep).await;
            if !matches!(kept, Ok(Ok(Ok(())))) {
                warnings.push("the vault could not record what was sent: it may be sent again".to_owned());
            }
            sent
        }
        Err(error) => {
            warnings.push(format!(
                "notifications are sent without comparing them with earlier ones: {}",
                error.chain()
            ));
            notifier.send(&notifier.all_news(command, announcements), now).await
        }
    };
    (sent, warnings)
}

/// A number like those that healthchecks.io pairs starts and ends by.
fn random_uuid() -> String {
    let bits = (rand::random::<u128>() & !(0xf << 76) & !(0b11 << 62)) | (0x4 << 76) | (0b10 << 62);
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_has_an_id_of_the_fourth_kind() {
        let id = random_uuid();
        assert_eq!((id.len(), &id[14..15]), (36, "4"));
        assert!("89ab".contains(&id[19..20]), "{id}");
    }
}
