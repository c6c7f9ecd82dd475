//! Gates: where a person decides. What they read names the account, the Region and the object; what they type is the object's own
//! name. A second person agrees from a second terminal, under another identity.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::document::{Kind as StepKind, Runbook, Step};
use super::journal::{self, Actor, folder};
use super::state::{RunState, Story};
use super::values::Values;
use crate::error::{Error, Kind, Result};
use crate::vault::Vault;

/// What a person is shown.
#[derive(Clone, Debug, Serialize)]
pub struct Gate {
    /// Which step.
    pub step: String,
    /// `confirm`, `manual` or `approve`.
    pub role: &'static str,
    /// What they read.
    pub text: String,
    /// What they must type; `None` where anything will do.
    pub answer: Option<String>,
    /// AWS account.
    pub account: Option<String>,
    /// AWS Region.
    pub region: Option<String>,
}

impl Gate {
    /// The gate of a step with its values filled in.
    pub(super) fn of(step: &Step, values: &Values, by: &Actor) -> Result<Option<Self>> {
        let fill = |text: &str| {
            values
                .fill(text)
                .map_err(|why| Error::request(format!("gate `{}` cannot be shown: {why}", step.id)))
        };
        let (text, answer) = match &step.kind {
            StepKind::Confirm { text, answer } => (text, Some(answer)),
            StepKind::Manual { text } => (text, None),
            StepKind::Approve { text, answer } => (text, answer.as_ref()),
            _ => return Ok(None),
        };
        Ok(Some(Gate {
            step: step.id.clone(),
            role: step.kind.role(),
            text: fill(text)?,
            answer: answer.map(|answer| fill(answer)).transpose()?,
            account: by.account.clone(),
            region: by.region.clone(),
        }))
    }

    /// What an answer comes to: refused, with the reason, or not.
    pub(super) fn judge(&self, typed: &str) -> std::result::Result<(), String> {
        let typed = typed.trim();
        match (&self.answer, self.role) {
            (Some(wanted), _) if typed != wanted => {
                Err(format!("`{}` is not `{wanted}`: nothing was run", typed.escape_default()))
            }
            (None, "manual") if typed.chars().filter(|c| c.is_alphanumeric()).count() < 2 => {
                Err("nothing was written about what was done".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// ` (account 123456789012, Region eu-central-1, object orders-prod)`.
    pub(super) fn place(&self) -> String {
        let facts = [("account", &self.account), ("Region", &self.region), ("object", &self.answer)];
        let facts: Vec<String> =
            facts.iter().filter_map(|(what, value)| Some(format!("{what} {}", value.as_ref()?))).collect();
        if facts.is_empty() { String::new() } else { format!(" ({})", facts.join(", ")) }
    }

    /// What must be typed, in words.
    pub fn wanted(&self) -> String {
        match (&self.answer, self.role) {
            (Some(answer), _) => format!("type `{answer}` to go on"),
            (None, "manual") => "write what you did to go on".to_owned(),
            (None, _) => "waiting for somebody else".to_owned(),
        }
    }
}

/// That somebody else agrees.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Approval {
    /// Which step.
    pub step: String,
    /// Who.
    pub by: Actor,
    /// When.
    pub at: DateTime<Utc>,
    /// Hash of the runbook that they saw.
    pub sha256: String,
}

fn approval_name(run: &str, step: &str) -> String {
    format!("{}/approvals/{step}.json", folder(run))
}

/// The approval of a step, if there is one.
pub(super) fn approval(vault: &Vault, run: &str, step: &str) -> Result<Option<Approval>> {
    let Some(text) = vault.read(&approval_name(run, step))? else { return Ok(None) };
    serde_json::from_slice(&text).map(Some).map_err(|error| {
        Error::new(Kind::Guard, format!("the approval of `{step}` cannot be read")).caused_by(error)
    })
}

/// Whether an approval counts for a run.
pub(super) fn counts(approval: &Approval, story: &Story) -> std::result::Result<(), String> {
    let identities = std::iter::once(&story.start.by).chain(story.resumed.iter().map(|(_, by)| by));
    if identities.into_iter().any(|by| by.identity == approval.by.identity) {
        return Err(format!("{} runs this runbook and cannot approve it too", approval.by.identity));
    }
    if approval.sha256 != story.sha256 {
        return Err("it was given for another version of the runbook".to_owned());
    }
    Ok(())
}

/// What a second person is asked to approve.
pub struct Request {
    /// What they read.
    pub gate: Gate,
    story: Story,
    run: String,
}

/// Finds what a run waits for.
pub fn request(vault: &Vault, run: &str, runbook: &Runbook, values: &Values, by: &Actor) -> Result<Request> {
    let story = Story::of(&journal::read(vault, run)?.lines)?;
    if story.state == RunState::Passed || story.state == RunState::Missed {
        return Err(Error::request(format!("run `{run}` is over")));
    }
    if runbook.sha256 != story.sha256 {
        return Err(Error::new(
            Kind::Guard,
            format!("{} is not the runbook that `{run}` runs", runbook.origin.shown()),
        ));
    }
    let next = story.next(runbook).filter(|step| matches!(step.kind, StepKind::Approve { .. }));
    let Some(step) = next else {
        return Err(Error::request(format!("run `{run}` does not wait for an approval now"))
            .hint(format!("`lifeboat runbook show {run}` shows where it stands.")));
    };
    let mut gate = Gate::of(step, values, &story.start.by)?
        .ok_or_else(|| Error::new(Kind::Bug, "an approval is not a gate"))?;
    // Who agrees must say to what: the run itself, where the runbook names nothing else.
    gate.answer.get_or_insert_with(|| run.to_owned());
    let wanted =
        Approval { step: step.id.clone(), by: by.clone(), at: story.last, sha256: story.sha256.clone() };
    if let Err(why) = counts(&wanted, &story) {
        return Err(Error::new(Kind::Guard, format!("`{}` cannot be approved: {why}", step.id))
            .hint("A second person approves, under an AWS identity of their own."));
    }
    Ok(Request { gate, story, run: run.to_owned() })
}

/// Gives the approval.
pub fn approve(
    request: Request,
    vault: &Vault,
    typed: &str,
    by: Actor,
    now: DateTime<Utc>,
) -> Result<Approval> {
    request.gate.judge(typed).map_err(|why| {
        Error::new(
            Kind::Guard,
            format!("`{}` was not approved: {}", request.gate.step, why.replace(": nothing was run", "")),
        )
    })?;
    let approval = Approval { step: request.gate.step.clone(), by, at: now, sha256: request.story.sha256 };
    let text = serde_json::to_vec_pretty(&approval)
        .map_err(|error| Error::new(Kind::Bug, "an approval cannot be written as JSON").caused_by(error))?;
    vault.write(&approval_name(&request.run, &approval.step), &text)?;
    Ok(approval)
}
