//! `lifeboat notify`: its flags, and how its reports look.

use clap::{Args, Subcommand};
use serde::Serialize;

use super::{Session, host_name, now};
use crate::error::{Error, Kind, Result};
use crate::notify::{Delivery, News, Notifier, Sender, State, news};
use crate::output::{self, Page};
use crate::when::format_time;
use crate::words::Tone;

#[derive(Debug, Subcommand)]
pub(super) enum NotifyCommand {
    /// Send a test through each channel, and say which arrived.
    ///
    /// A dead man's switch is sent a line of its log (`/log`), which is neither success nor failure. Exit code 5 if some
    /// did not arrive, 3 if none did.
    Test(TestArgs),
    /// List the channels, and what was said last.
    List,
    /// Send a summary of what was said last, now: that it arrives shows that silence means well.
    Digest,
}

#[derive(Args, Debug)]
pub(super) struct TestArgs {
    /// Only these channels of lifeboat.toml
    #[arg(value_name = "CHANNEL")]
    channels: Vec<String>,
}

pub(super) async fn run(command: NotifyCommand, session: &Session) -> Result<Option<Kind>> {
    match command {
        NotifyCommand::Test(args) => test(&args, session).await,
        NotifyCommand::List => list(session),
        NotifyCommand::Digest => digest(session).await,
    }
}

pub(super) fn notifier(session: &Session) -> Notifier {
    let sender = Sender { host: host_name(), version: env!("CARGO_PKG_VERSION").to_owned() };
    Notifier::new(&session.config.notify, session.access.clone(), sender)
}

fn no_channel_error() -> Error {
    Error::request("no notification channel is configured")
        .hint("Add a channel to lifeboat.toml, such as `[notify.channels.oncall]`; docs/guides/notifications.md has examples.")
}

/// `notify test` and `notify digest`.
#[derive(Serialize)]
struct Deliveries {
    schema: &'static str,
    channels: Vec<Delivery>,
}

impl Deliveries {
    fn kind(&self) -> Option<Kind> {
        match self.channels.iter().filter(|channel| channel.delivered).count() {
            all if all == self.channels.len() => None,
            0 => Some(Kind::Outside),
            _ => Some(Kind::Partial),
        }
    }
}

impl output::Report for Deliveries {
    fn render(&self, page: &mut Page) {
        let rows = self.channels.iter().map(|channel| {
            let (word, tone) = match channel.delivered {
                true => ("arrived", Tone::Good),
                false => ("FAILED", Tone::Bad),
            };
            vec![
                (word.to_owned(), Some(tone)),
                (channel.channel.clone(), None),
                (channel.kind.to_owned(), None),
                (channel.error.clone().unwrap_or_default(), Some(Tone::Faint)),
            ]
        });
        page.table(&["", "channel", "kind", ""], rows.collect());
    }
}

async fn test(args: &TestArgs, session: &Session) -> Result<Option<Kind>> {
    let notifier = notifier(session);
    let names: Vec<&str> = notifier.channels().iter().map(|channel| channel.name.as_str()).collect();
    if let Some(unknown) = args.channels.iter().find(|name| !names.contains(&name.as_str())) {
        return Err(Error::request(format!("there is no channel `{}`", unknown.escape_default())).hint(
            format!(
                "lifeboat.toml has {}.",
                if names.is_empty() { "none".to_owned() } else { names.join(", ") }
            ),
        ));
    }
    let wanted = notifier.channels().iter();
    let wanted = wanted.filter(|channel| args.channels.is_empty() || args.channels.contains(&channel.name));
    let sent = futures::future::join_all(wanted.map(|channel| notifier.test(channel, now()))).await;
    if sent.is_empty() {
        return Err(no_channel_error());
    }
    let report = Deliveries { schema: "lifeboat.notify-test/1", channels: sent };
    session.output.report(&report)?;
    Ok(report.kind())
}

async fn digest(session: &Session) -> Result<Option<Kind>> {
    let notifier = notifier(session);
    let vault = session.vault()?;
    let news = News::of_everything(&vault)?;
    let sent = notifier.send(&news, now()).await;
    if sent.is_empty() {
        return Err(no_channel_error());
    }
    notifier.keep(&vault, &news, &sent, now())?;
    let report = Deliveries { schema: "lifeboat.notify-digest/1", channels: sent };
    session.output.report(&report)?;
    Ok(report.kind())
}

/// `notify list`.
#[derive(Serialize)]
struct Listed {
    schema: &'static str,
    channels: Vec<ListedChannel>,
    states: Vec<news::Kept>,
}

#[derive(Serialize)]
struct ListedChannel {
    name: String,
    kind: &'static str,
    carries: String,
    goes_to: String,
}

fn list(session: &Session) -> Result<Option<Kind>> {
    let notifier = notifier(session);
    let channels = notifier.channels().iter().map(|channel| ListedChannel {
        name: channel.name.clone(),
        kind: channel.kind(),
        carries: channel.carries_what(),
        goes_to: channel.goes_to(),
    });
    let states = news::list_states(&session.vault_to_read()?)?;
    session.output.report(&Listed {
        schema: "lifeboat.notify-list/1",
        channels: channels.collect(),
        states,
    })?;
    Ok(None)
}

impl output::Report for Listed {
    fn render(&self, page: &mut Page) {
        if self.channels.is_empty() {
            page.line("no channel is configured");
        }
        let rows = self.channels.iter().map(|channel| {
            let texts = [channel.name.as_str(), channel.kind, &channel.carries, &channel.goes_to];
            texts.into_iter().map(|text| (text.to_owned(), None)).collect()
        });
        page.table(&["channel", "kind", "carries", "to"], rows.collect());
        let rows = self.states.iter().map(|kept| {
            let tone = match kept.state {
                State::Ok => Tone::Good,
                State::Fail => Tone::Bad,
                State::Warning | State::Unknown => Tone::Doubt,
            };
            vec![
                (kept.state.as_str().to_owned(), Some(tone)),
                (kept.command.clone(), None),
                (kept.subject.clone().unwrap_or("-".to_owned()), None),
                (format_time(kept.since), None),
                (kept.told_at.map_or("never".to_owned(), format_time), None),
                (kept.reason.clone(), Some(Tone::Faint)),
            ]
        });
        if !self.states.is_empty() {
            page.line("");
        }
        page.table(&["state", "command", "of", "since", "told", "reason"], rows.collect());
    }
}
