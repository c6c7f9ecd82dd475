//! What was last sent about each database by each command, and whether something must be sent now.

use std::time::Duration;

use chrono::{DateTime, Utc};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use super::announcement::{Announcement, Nature, State, Subject};
use crate::error::Result;
use crate::vault::Vault;

/// Name and version of the document.
const SCHEMA: &str = "lifeboat.notify-state/1";

const NAME: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');

/// Why something is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Change {
    /// It was ok before, or unknown.
    Failed,
    /// It failed before too.
    StillFailing,
    /// It fails for a different reason.
    Changed,
    /// It has recovered.
    Recovered,
    /// Nothing happened: a test.
    Test,
    /// A summary.
    Digest,
}

/// What was sent last.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Kept {
    schema: String,
    pub command: String,
    /// The database or runbook; absent for the command as a whole.
    pub subject: Option<String>,
    /// In which account and Region, where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    pub state: State,
    /// The first reason.
    pub reason: String,
    mark: String,
    /// Since when it has had this state.
    pub since: DateTime<Utc>,
    /// When it was last checked.
    pub seen_at: DateTime<Utc>,
    /// When it was last sent.
    pub told_at: Option<DateTime<Utc>>,
}

impl Kept {
    /// A state that cannot be read counts as never sent: it is sent again.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text).ok().filter(|kept: &Kept| kept.schema == SCHEMA)
    }
}

/// One item that a command reported.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) told: Announcement,
    pub(crate) kept: Option<Kept>,
    pub(crate) change: Option<Change>,
}

/// Where it is kept.
pub(super) fn state_path(command: &str, subject: &Subject, place: Option<&str>) -> String {
    let encoded = |text: &str| utf8_percent_encode(text, NAME).to_string();
    let subject = match subject {
        Subject::Database(name) => format!("database-{}", encoded(name)),
        Subject::Runbook(name) => format!("runbook-{}", encoded(name)),
        Subject::Whole => "whole".to_owned(),
    };
    // Names of files end at 255 bytes.
    let mut subject: String = subject.chars().take(160).collect();
    if let Some(place) = place {
        subject = format!("{subject}@{}", encoded(place).chars().take(60).collect::<String>());
    }
    format!("notify/state/{}/{subject}.json", command.replace(' ', "-"))
}

/// All states.
pub(crate) fn list_states(vault: &Vault) -> Result<Vec<Kept>> {
    let mut names = Vec::new();
    for command in vault.list("notify/state")?.folders {
        let folder = format!("notify/state/{command}");
        names.extend(vault.list(&folder)?.files.into_iter().map(|file| format!("{folder}/{}", file.name)));
    }
    let texts = vault.read_all(&names)?.into_iter().filter_map(|text| text.ok().flatten());
    Ok(texts.filter_map(|text| Kept::parse(&text)).collect())
}

/// Whether something must be sent, and why.
pub(super) fn decide_change(
    kept: Option<&Kept>,
    told: &Announcement,
    remind_after: Duration,
    now: DateTime<Utc>,
) -> Option<Change> {
    let before = kept.map_or(State::Ok, |kept| kept.state);
    if told.state == State::Ok {
        return (before != State::Ok).then_some(Change::Recovered);
    }
    if before == State::Ok {
        return Some(Change::Failed);
    }
    if told.nature == Nature::Event {
        return Some(Change::StillFailing);
    }
    let is_other = kept.is_some_and(|kept| kept.state != told.state || kept.mark != told.mark);
    if is_other {
        return Some(Change::Changed);
    }
    let told_at = kept.and_then(|kept| kept.told_at);
    // A clock that was set back must not suppress it.
    let is_old = told_at.is_none_or(|at| (now - at).to_std().is_ok_and(|since| since >= remind_after));
    is_old.then_some(Change::StillFailing)
}

/// The state to save; none if there was none and the command as a whole is ok.
pub(super) fn serialize_state(command: &str, item: &Item, now: DateTime<Utc>) -> Option<Vec<u8>> {
    let (told, before) = (&item.told, item.kept.as_ref());
    if before.is_none() && told.state == State::Ok && told.subject == Subject::Whole {
        return None;
    }
    let subject = match &told.subject {
        Subject::Database(name) | Subject::Runbook(name) => Some(name.clone()),
        Subject::Whole => None,
    };
    let since = before.filter(|kept| kept.state == told.state).map_or(now, |kept| kept.since);
    let told_at = if item.change.is_some() { Some(now) } else { before.and_then(|kept| kept.told_at) };
    let kept = Kept {
        schema: SCHEMA.to_owned(),
        command: command.to_owned(),
        subject,
        place: told.place.clone(),
        state: told.state,
        reason: crate::postgres::redact_urls(&told.reason),
        mark: told.mark.clone(),
        since,
        seen_at: now,
        told_at,
    };
    serde_json::to_vec_pretty(&kept).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        "2026-11-22T05:00:00Z".parse().unwrap()
    }

    fn told(nature: Nature, state: State, mark: &str) -> Announcement {
        Announcement {
            subject: Subject::Database("orders".into()),
            place: None,
            nature,
            state,
            verdict: state.as_str().into(),
            reason: "because".into(),
            mark: mark.into(),
            evidence: None,
            next: "look".into(),
        }
    }

    /// What is sent for a series of states, an hour apart.
    fn story(nature: Nature, states: &[(State, &str)]) -> Vec<Option<Change>> {
        let mut last: Option<Kept> = None;
        let mut said = Vec::new();
        for (hours, (state, mark)) in states.iter().enumerate() {
            let at = now() + chrono::TimeDelta::hours(hours as i64);
            let told = told(nature, *state, mark);
            let change = decide_change(last.as_ref(), &told, Duration::from_secs(3 * 3600), at);
            let item = Item { told, kept: last, change };
            last = Kept::parse(&serialize_state("drill run", &item, at).unwrap());
            said.push(change);
        }
        said
    }

    #[test]
    fn every_failure_of_an_event_is_said_and_good_news_only_after_bad() {
        use State::{Fail, Ok, Unknown};
        let said = story(Nature::Event, &[(Ok, ""), (Ok, ""), (Fail, ""), (Unknown, ""), (Ok, ""), (Ok, "")]);
        let expected =
            [None, None, Some(Change::Failed), Some(Change::StillFailing), Some(Change::Recovered), None];
        assert_eq!(said, expected);
    }

    #[test]
    fn a_condition_is_said_when_it_changes_and_again_after_a_while() {
        use State::{Fail, Ok, Warning};
        let states =
            [(Fail, "a"), (Fail, "a"), (Fail, "a"), (Fail, "a"), (Fail, "b"), (Warning, "b"), (Ok, "")];
        let expected = [
            Some(Change::Failed),
            None,
            None,
            Some(Change::StillFailing),
            Some(Change::Changed),
            Some(Change::Changed),
            Some(Change::Recovered),
        ];
        assert_eq!(story(Nature::Condition, &states), expected);
    }

    #[test]
    fn no_name_of_a_database_leads_out_of_its_folder() {
        assert_eq!(
            state_path("drill run", &Subject::Database("../../a b".into()), Some("prod/eu-1")),
            "notify/state/drill-run/database-%2E%2E%2F%2E%2E%2Fa%20b@prod%2Feu-1.json"
        );
    }
}
