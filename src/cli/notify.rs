//! `lifeboat notify`: its flags and how its reports look; and what every other command does for those who listen.

use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Serialize;
use tokio::task::JoinHandle;

use super::{Session, host_name, now};
use crate::drill;
use crate::error::{Error, Kind, Result};
pub(super) use crate::notify::Reported;
use crate::notify::{Delivery, Nature, News, Notifier, Sender, State, Subject, state};
use crate::output::{self, Page, escape_controls};
use crate::rds::Place;
use crate::verify::Verdict;
use crate::when::format_time;
use crate::words::Tone;

/// For how long the vault may be asked what was said before.
const RECALL: Duration = Duration::from_secs(5);

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

fn notifier(session: &Session) -> Notifier {
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
    states: Vec<state::Kept>,
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
    let states = state::list_states(&session.vault_to_read()?)?;
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

/// A command that somebody listens to, while it runs.
pub(super) struct Spoken {
    command: &'static str,
    nature: Nature,
    run: String,
    notifier: Arc<Notifier>,
    begun: JoinHandle<Vec<Delivery>>,
}

impl Spoken {
    /// Tells the dead man's switches that it begins, without waiting for them.
    pub(super) fn begin(
        name: &'static str,
        nature: Nature,
        ping: Option<&str>,
        session: &Session,
    ) -> Option<Spoken> {
        let notifier = Arc::new(notifier(session).with_ping(ping));
        if notifier.is_empty() {
            return None;
        }
        let run = random_uuid();
        let (telling, id) = (Arc::clone(&notifier), run.clone());
        let begun = tokio::spawn(async move { telling.begin(name, &id).await });
        Some(Spoken { command: name, nature, run, notifier, begun })
    }

    /// Tells everybody how it ended. Whatever fails here is said, and changes nothing.
    pub(super) async fn end(self, ended: &Result<Option<Kind>>, session: &Session) {
        let mut told = session.take_outcomes();
        let whole = self.whole(ended, &told);
        let line = whole.as_ref().or(worst_outcome(&told)).map_or(String::new(), format_outcome);
        told.extend(whole);
        // What the command itself wants to tell a switch, such as the line of `status`.
        let line = session.line().unwrap_or(line);
        let code = match ended {
            Ok(kind) => kind.map_or(0, Kind::exit_code),
            Err(error) => error.kind().exit_code(),
        };
        let mut missed = Vec::new();
        let switches = async {
            // A start that overtakes the end would look like a run that never ends.
            let begun = self.begun.await.unwrap_or_default();
            let code = session.ping_code().unwrap_or(code);
            (begun, self.notifier.end(self.command, &self.run, code, &line).await)
        };
        let ((begun, ended), sent) =
            tokio::join!(switches, send_news(&self.notifier, self.command, told, session));
        for delivery in begun.into_iter().chain(ended).chain(sent) {
            let whom = match delivery.channel.as_str() {
                "--ping" => "the dead man's switch".to_owned(),
                name => format!("channel `{}`", escape_controls(name)),
            };
            missed.extend(delivery.error.map(|why| format!("{whom} was not told: {why}")));
        }
        missed.dedup();
        for why in missed {
            session.output.warn(output::redact_urls(&why));
        }
    }

    /// What is to be said of the command itself: what nothing else explains, or that all is well.
    fn whole(&self, ended: &Result<Option<Kind>>, told: &[Reported]) -> Option<Reported> {
        let is_told = told.iter().any(|told| told.state != State::Ok);
        let whole = match ended {
            Ok(None) => outcome_of_exit(Subject::Whole, None, None),
            Ok(Some(_)) | Err(_) if is_told => return None,
            Ok(kind) => outcome_of_exit(Subject::Whole, *kind, None),
            Err(error) => outcome_of_error(Subject::Whole, error),
        };
        Some(Reported { nature: self.nature, ..whole })
    }
}

fn worst_outcome(told: &[Reported]) -> Option<&Reported> {
    told.iter().max_by_key(|told| told.state)
}

fn format_outcome(told: &Reported) -> String {
    let of = match &told.subject {
        Subject::Database(name) | Subject::Runbook(name) => format!(" {name}"),
        Subject::Whole => String::new(),
    };
    output::redact_urls(&escape_controls(&format!("{}{of}: {}", told.verdict, told.reason)))
}

/// Holds it against what was said before, sends what is news, and keeps that. A vault that does not answer in time is no
/// reason to be silent.
async fn send_news(
    notifier: &Arc<Notifier>,
    command: &'static str,
    told: Vec<Reported>,
    session: &Session,
) -> Vec<Delivery> {
    if !notifier.listens(command) || told.is_empty() {
        return Vec::new();
    }
    let (place, access, at) = (session.vault.clone(), session.access.clone(), now());
    let (recalling, all) = (Arc::clone(notifier), told.clone());
    let recall = tokio::task::spawn_blocking(move || {
        let vault = crate::vault::Vault::open(&place, &access)?;
        let news = recalling.news(&vault, command, all, at)?;
        Ok::<_, Error>((vault, news))
    });
    let recalled = match tokio::time::timeout(RECALL, recall).await {
        Ok(Ok(recalled)) => recalled,
        Ok(Err(_)) | Err(_) => {
            Err(Error::outside("timed out after 5 s reading earlier notifications from the vault"))
        }
    };
    match recalled {
        Ok((vault, news)) => {
            let sent = notifier.send(&news, at).await;
            let (keeping, deliveries) = (Arc::clone(notifier), sent.clone());
            let keep = tokio::task::spawn_blocking(move || keeping.keep(&vault, &news, &deliveries, at));
            let kept = tokio::time::timeout(RECALL, keep).await;
            if !matches!(kept, Ok(Ok(Ok(())))) {
                session.output.warn("the vault could not record what was sent: it may be sent again");
            }
            sent
        }
        Err(error) => {
            session.output.warn(format!(
                "notifications are sent without comparing them with earlier ones: {}",
                error.chain()
            ));
            notifier.send(&notifier.all_news(command, told), at).await
        }
    }
}

fn state_of(kind: Kind) -> State {
    match kind {
        Kind::No | Kind::Partial | Kind::LeftBehind | Kind::Guard | Kind::Bug => State::Fail,
        Kind::Request | Kind::Outside | Kind::Interrupted | Kind::Terminated => State::Unknown,
        Kind::StillGoing => State::Warning,
    }
}

fn word_of(kind: Kind) -> &'static str {
    match kind {
        Kind::No => "no",
        Kind::Request => "wrong request",
        Kind::Outside => "unknown",
        Kind::Guard => "refused",
        Kind::Partial => "partly done",
        Kind::LeftBehind => "left behind",
        Kind::StillGoing => "still going on",
        Kind::Bug => "defect",
        Kind::Interrupted | Kind::Terminated => "interrupted",
    }
}

fn meaning_of(kind: Kind) -> &'static str {
    match kind {
        Kind::No => "the answer is no",
        Kind::Request => "the request is wrong",
        Kind::Outside => "it could not be determined",
        Kind::Guard => "a guard refused",
        Kind::Partial => "some of several parts failed",
        Kind::LeftBehind => "something that costs money was left behind",
        Kind::StillGoing => "it was still going on when the time to wait was over",
        Kind::Bug => "a defect of lifeboat",
        Kind::Interrupted | Kind::Terminated => "it was interrupted",
    }
}

/// What a drill has to say.
pub(super) fn drill_outcome(report: &drill::Report) -> Reported {
    let left = report.throwaway.left_behind.as_ref();
    let state = match (left, report.verdict) {
        (Some(_), _) | (None, Verdict::Fail) => State::Fail,
        (None, Verdict::Unknown) => State::Unknown,
        (None, Verdict::Pass) => State::Ok,
    };
    let word = match report.verdict {
        Verdict::Pass => "pass",
        Verdict::Fail => "fail",
        Verdict::Unknown => "unknown",
    };
    let reason = match (left, report.reasons.first()) {
        (Some(why), _) => {
            format!("throwaway `{}` was left behind and costs money: {why}", report.throwaway.current_name())
        }
        (None, Some(reason)) => reason.clone(),
        (None, None) => "the backup was restored and holds what it should".to_owned(),
    };
    let next = match (left, state, report.hints.first()) {
        (Some(_), ..) => "lifeboat drill sweep".to_owned(),
        (None, State::Ok, _) => "nothing to do".to_owned(),
        (None, _, Some(hint)) => hint.clone(),
        (None, _, None) => format!(
            "read the evidence, then say what was done: lifeboat drill annotate {} --note …",
            report.run
        ),
    };
    Reported {
        subject: Subject::Database(report.source.id.clone()),
        place: None,
        nature: Nature::Event,
        state,
        verdict: word.to_owned(),
        reason,
        mark: word.to_owned(),
        evidence: Some(report.evidence.html.clone()),
        next,
    }
}

/// What can be said of something that ended without an error, from its exit code.
pub(super) fn outcome_of_exit(subject: Subject, kind: Option<Kind>, evidence: Option<String>) -> Reported {
    let (state, verdict, reason, next) = match kind {
        None => (State::Ok, "ok", "it is done", "nothing to do"),
        Some(kind) => (
            state_of(kind),
            word_of(kind),
            meaning_of(kind),
            "look at the output of the command, or run it again",
        ),
    };
    let text = str::to_owned;
    let (nature, mark) = (Nature::Event, text(verdict));
    Reported {
        subject,
        place: None,
        nature,
        state,
        verdict: text(verdict),
        reason: text(reason),
        mark,
        evidence,
        next: text(next),
    }
}

/// What can be said of something from the error that ended it.
pub(super) fn outcome_of_error(subject: Subject, error: &Error) -> Reported {
    let mut told = outcome_of_exit(subject, Some(error.kind()), None);
    told.reason = error.chain();
    if let Some(hint) = error.hints().first() {
        told.next = hint.clone();
    }
    told
}

/// The same, of something in an account that `lifeboat.toml` names: its namesakes elsewhere are others.
pub(super) fn with_location(told: Reported, place: &Place) -> Reported {
    Reported { place: place.account.is_some().then(|| place.to_string()), ..told }
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
