//! The text of a message: what, which database, the verdict, the first reason, the evidence, one next step.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::announcement::{State, Subject};
use super::news::{Change, Item, Kept};
use crate::postgres::redact_urls;
use crate::when::format_time;

/// Name and version of the document.
pub(crate) const SCHEMA: &str = "lifeboat.notification/1";

/// Characters of a reason that are sent; the evidence has the rest.
const LONGEST: usize = 600;

/// Parts that are listed in a message about many.
const LISTED: usize = 20;

/// Who sends.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Sender {
    /// The machine.
    pub host: String,
    /// Version of lifeboat.
    pub version: String,
}

/// A message.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Message {
    /// `lifeboat.notification/1`.
    pub schema: &'static str,
    /// A unique id, to recognise duplicates.
    pub id: String,
    /// When it was written.
    pub at: DateTime<Utc>,
    pub command: String,
    /// Of which database, if it is about one.
    pub database: Option<String>,
    /// In which account and Region, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// Of which runbook, if it is about one.
    pub runbook: Option<String>,
    /// The state: `ok`, `warning`, `unknown`, `fail`.
    pub state: State,
    /// The previous state, if known.
    pub previous_state: Option<State>,
    /// Why this is sent.
    pub change: Change,
    /// `info`, `warning`, `critical`.
    pub severity: &'static str,
    /// The command's own verdict.
    pub verdict: String,
    /// The first reason.
    pub reason: String,
    pub evidence: Option<String>,
    /// One step to take.
    pub next_step: String,
    /// Parts, where this is about many.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<Message>,
    /// Who sends it.
    pub sender: Sender,
}

/// Foreign text, without passwords, control characters and line breaks, and shortened.
fn escape_mentions(text: &str) -> String {
    let text = redact_urls(text);
    let mut calm: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST).collect();
    if text.chars().count() > LONGEST {
        calm.push('…');
    }
    calm.trim().to_owned()
}

impl Message {
    fn new(command: &str, change: Change, state: State, sender: &Sender, now: DateTime<Utc>) -> Self {
        Message {
            schema: SCHEMA,
            id: format!("{:032x}", rand::random::<u128>()),
            at: now,
            command: command.to_owned(),
            database: None,
            place: None,
            runbook: None,
            state,
            previous_state: None,
            change,
            severity: state.severity(),
            verdict: state.as_str().to_owned(),
            reason: String::new(),
            evidence: None,
            next_step: String::new(),
            items: Vec::new(),
            sender: sender.clone(),
        }
    }

    /// The message about one item.
    pub(super) fn from_item(
        command: &str,
        item: &Item,
        change: Change,
        sender: &Sender,
        now: DateTime<Utc>,
    ) -> Self {
        let told = &item.told;
        let mut message = Message::new(command, change, told.state, sender, now);
        match &told.subject {
            Subject::Database(name) => message.database = Some(escape_mentions(name)),
            Subject::Runbook(name) => message.runbook = Some(escape_mentions(name)),
            Subject::Whole => {}
        }
        message.place = told.place.as_deref().map(escape_mentions);
        message.previous_state = item.kept.as_ref().map(|kept| kept.state);
        message.verdict = escape_mentions(&told.verdict);
        message.reason = escape_mentions(&told.reason);
        message.evidence = told.evidence.as_deref().map(escape_mentions);
        message.next_step = escape_mentions(&told.next);
        message
    }

    /// The message about many items: nobody reads a hundred messages at once.
    pub(super) fn of_many(command: &str, items: Vec<Message>, sender: &Sender, now: DateTime<Utc>) -> Self {
        let worst = items.iter().map(|item| item.state).max().unwrap_or(State::Ok);
        let change = if worst == State::Ok { Change::Recovered } else { Change::Failed };
        let mut message = Message::new(command, change, worst, sender, now);
        let bad = items.iter().filter(|item| item.state != State::Ok).count();
        message.reason = format!("{bad} unhealthy, {} recovered", items.len() - bad);
        let worst_of = items.iter().find(|item| item.state == worst);
        if let Some(first) = worst_of {
            (message.evidence, message.next_step) = (first.evidence.clone(), first.next_step.clone());
        }
        message.items = items;
        message
    }

    /// A summary of all known states.
    pub(super) fn digest(kept: &[Kept], sender: &Sender, now: DateTime<Utc>) -> Self {
        let worst = kept.iter().map(|kept| kept.state).max().unwrap_or(State::Ok);
        let mut message = Message::new("notify digest", Change::Digest, worst, sender, now);
        let bad = kept.iter().filter(|kept| kept.state != State::Ok).count();
        message.reason = format!("still watching: {} healthy, {bad} unhealthy", kept.len() - bad);
        message.next_step = match bad {
            0 => "nothing to do".to_owned(),
            _ => "lifeboat notify list".to_owned(),
        };
        message.items = kept
            .iter()
            .filter(|kept| kept.state != State::Ok)
            .map(|kept| {
                let mut item = Message::new(&kept.command, Change::Digest, kept.state, sender, now);
                item.database = kept.subject.as_deref().map(escape_mentions);
                item.place = kept.place.as_deref().map(escape_mentions);
                let since = format_time(kept.since);
                item.reason = format!("{} (since {since})", escape_mentions(&kept.reason));
                item
            })
            .collect();
        message
    }

    /// A test message.
    pub(super) fn test(channel: &str, sender: &Sender, now: DateTime<Utc>) -> Self {
        let mut message = Message::new("notify test", Change::Test, State::Ok, sender, now);
        message.verdict = "test".to_owned();
        message.reason = format!("a test of channel {}", escape_mentions(channel));
        message.next_step = "nothing to do".to_owned();
        message
    }

    fn subject_name(&self) -> Option<&str> {
        self.database.as_deref().or(self.runbook.as_deref())
    }

    /// The message in a line: verdict first.
    pub(crate) fn headline(&self) -> String {
        let word = match self.change {
            Change::Test => "TEST".to_owned(),
            Change::Digest => "DIGEST".to_owned(),
            Change::Recovered => "RECOVERED".to_owned(),
            _ => self.state.as_str().to_uppercase(),
        };
        match (self.subject_name(), &self.place) {
            (Some(name), Some(place)) => format!("{word} {name} ({place}): {}", self.command),
            (Some(name), None) => format!("{word} {name}: {}", self.command),
            (None, _) => format!("{word} {}", self.command),
        }
    }

    /// A subject that SNS accepts: at most 100 characters of ASCII, which do not begin with a space.
    pub(crate) fn subject(&self) -> String {
        let ascii = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
        self.headline().chars().map(ascii).take(100).collect()
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let mut text = self.headline();
        let previous = match (self.change, self.previous_state) {
            (Change::Test | Change::Digest, _) | (_, None) => String::new(),
            (_, Some(state)) => format!(" (was {})", state.as_str()),
        };
        let _ = write!(text, "\nVerdict: {}{previous}\nReason: {}", self.verdict, self.reason);
        for item in self.items.iter().take(LISTED) {
            let _ = write!(text, "\n- {}: {}", item.headline(), item.reason);
        }
        if self.items.len() > LISTED {
            let _ = write!(text, "\n- and {} more", self.items.len() - LISTED);
        }
        if let Some(evidence) = &self.evidence {
            let _ = write!(text, "\nEvidence: {evidence}");
        }
        let at = format_time(self.at);
        let _ = write!(
            text,
            "\nNext: {}\nSent by lifeboat {} on {}, {at}",
            self.next_step, self.sender.version, self.sender.host
        );
        text
    }

    /// For programs.
    pub(crate) fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}
