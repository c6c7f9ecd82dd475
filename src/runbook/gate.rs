//! Gates: where a person decides. What they read names the account, the Region and the object; what they type is the object's own
//! name. A second person approves from a second terminal, as another user or role of AWS; an approval carries the proof of that, so that a
//! hand-written file is worthless. Without AWS, the approver's identity is only claimed, and the record says so.

use chrono::{DateTime, Utc};
use futures::future::LocalBoxFuture;
use serde::{Deserialize, Serialize};

use super::document::{Kind as StepKind, Runbook, Step};
use super::journal::{self, Actor, folder};
use super::state::{RunHistory, RunState};
use super::values::Values;
use crate::aws::{Aws, Proof};
use crate::error::{Error, Kind, Result};
use crate::vault::Vault;

/// What a person sees at a gate.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Gate {
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
    /// What is known of the object: its engine, its host, what will be gone.
    pub facts: Vec<String>,
    /// Why the answer before this one was refused.
    #[serde(skip)]
    pub refused: Option<String>,
}

/// Asks a person on the terminal.
pub(crate) type Ask<'a> = &'a dyn Fn(Gate) -> LocalBoxFuture<'a, Result<Reply>>;

/// The result of asking a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// They typed this; nothing where they are only shown what somebody else is asked.
    Typed(String),
    /// They ended the input.
    Ended,
    /// There is no terminal to ask on.
    NoTerminal,
}

impl Gate {
    /// The gate of a step with its values filled in.
    pub(super) fn of_step(step: &Step, values: &Values, by: &Actor) -> Result<Option<Self>> {
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
            facts: Vec::new(),
            refused: None,
        }))
    }

    /// Judges an answer: the reason if it is refused.
    pub(super) fn judge(&self, typed: &str) -> std::result::Result<(), String> {
        let typed = typed.trim();
        match (&self.answer, self.role) {
            (Some(wanted), _) if typed != wanted => {
                Err(format!("`{}` is not `{wanted}`", typed.escape_default()))
            }
            (None, "manual") if typed.chars().filter(|c| c.is_alphanumeric()).count() < 2 => {
                Err("the answer does not say what was done".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// ` (account 123456789012, Region eu-central-1, object orders-prod)`.
    pub(super) fn describe_target(&self) -> String {
        let facts = [("account", &self.account), ("Region", &self.region), ("object", &self.answer)];
        let facts: Vec<String> =
            facts.iter().filter_map(|(what, value)| Some(format!("{what} {}", value.as_ref()?))).collect();
        if facts.is_empty() { String::new() } else { format!(" ({})", facts.join(", ")) }
    }

    /// Asks until the answer is right, or until nobody answers.
    pub(crate) async fn ask_until_right(mut self, ask: Ask<'_>) -> Result<Reply> {
        loop {
            match ask(self.clone()).await? {
                Reply::Typed(typed) => match self.judge(&typed) {
                    Ok(()) => return Ok(Reply::Typed(typed.trim().to_owned())),
                    Err(why) => self.refused = Some(why),
                },
                other => return Ok(other),
            }
        }
    }

    /// The instruction at the prompt.
    pub(crate) fn describe_answer(&self) -> String {
        match (&self.answer, self.role) {
            (Some(answer), _) => format!("Type `{answer}` to continue."),
            (None, "manual") => "Describe what you did to continue.".to_owned(),
            (None, _) => "A second person must approve.".to_owned(),
        }
    }
}

/// The approval of a second person.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Approval {
    pub step: String,
    pub by: Actor,
    pub at: DateTime<Utc>,
    /// Hash of the runbook that they saw.
    pub sha256: String,
    /// Hash of what they approved: the run, the step, the runbook and its values.
    #[serde(default)]
    pub purpose: String,
    /// The proof of identity by AWS; absent without AWS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
}

/// What an approval is given for: another run, step, runbook or value is another purpose.
fn purpose_of(story: &RunHistory, step: &str) -> Result<String> {
    let parts = (&story.start.run, step, &story.sha256, story.start.mode, &story.values);
    let text = serde_json::to_vec(&parts)
        .map_err(|error| Error::new(Kind::Bug, "a purpose cannot be written as JSON").caused_by(error))?;
    Ok(super::sha256(&text))
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

/// Removes the signature of an approval that was accepted: the journal has it now.
pub(super) fn forget_proof(vault: &Vault, run: &str, approval: &Approval) -> Result<()> {
    write_approval(vault, run, &Approval { proof: None, ..approval.clone() })
}

fn write_approval(vault: &Vault, run: &str, approval: &Approval) -> Result<()> {
    let text = serde_json::to_vec_pretty(approval)
        .map_err(|error| Error::new(Kind::Bug, "an approval cannot be written as JSON").caused_by(error))?;
    vault.write(&approval_name(run, &approval.step), &text)
}

/// How certain the approver's identity is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Certainty {
    /// AWS says so.
    Proven,
    /// They say so.
    Claimed,
}

impl Certainty {
    /// For the record.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Certainty::Proven => "proven by AWS",
            Certainty::Claimed => "claimed, not proven",
        }
    }
}

/// Whether an approval counts for a run, and how certain its identity is.
pub(super) async fn judge_approval(
    approval: &Approval,
    story: &RunHistory,
    aws: Option<&Aws>,
) -> Result<std::result::Result<Certainty, String>> {
    if let Err(why) = refuse_same_person(&approval.by.identity, story) {
        return Ok(Err(why));
    }
    if approval.sha256 != story.sha256 {
        return Ok(Err("it was given for another version of the runbook".to_owned()));
    }
    if approval.purpose != purpose_of(story, &approval.step)? {
        return Ok(Err("it was not given for the current state of this run".to_owned()));
    }
    let Some(aws) = aws else { return Ok(Ok(Certainty::Claimed)) };
    let Some(proof) = &approval.proof else {
        return Ok(Err("it carries no proof of who gave it".to_owned()));
    };
    Ok(match aws.identity_of(proof, &approval.purpose).await? {
        Ok(arn) if arn == approval.by.identity => Ok(Certainty::Proven),
        Ok(arn) => Err(format!("it is signed by {arn}")),
        Err(why) => Err(format!("{why}; approve again")),
    })
}

/// Nobody approves their own run.
fn refuse_same_person(identity: &str, story: &RunHistory) -> std::result::Result<(), String> {
    let own = principal_of(identity).map_err(|why| format!("{identity} cannot approve: {why}"))?;
    let runners = std::iter::once(&story.start.by).chain(story.resumed.iter().map(|(_, by)| by));
    for runner in runners {
        if principal_of(&runner.identity).as_ref() != Ok(&own) {
            continue;
        }
        return Err(match runner.identity == identity {
            true => format!("{identity} runs this runbook and cannot approve it too"),
            false => format!(
                "{identity} is {own}, which runs this runbook: the name of a session is chosen by whoever starts it"
            ),
        });
    }
    Ok(())
}

/// The principal of an identity, without self-chosen parts. Two sessions of a role are one principal, since AWS lets whoever assumes
/// it name the session freely; whether two people share a role, or one person has two, AWS cannot tell.
fn principal_of(identity: &str) -> std::result::Result<String, String> {
    let parts: Vec<&str> = identity.splitn(6, ':').collect();
    let ["arn", _, _, _, account, resource] = parts.as_slice() else { return Ok(identity.to_owned()) };
    let (kind, name) = resource.split_once('/').unwrap_or((resource, ""));
    match kind {
        "assumed-role" | "role" => {
            // With its path, or with its session, or with neither.
            let role = if kind == "role" { name.rsplit('/').next() } else { name.split('/').next() };
            Ok(format!("role {} of account {account}", role.unwrap_or_default()))
        }
        "user" => Ok(format!("user {} of account {account}", name.rsplit('/').next().unwrap_or_default())),
        "root" => Ok(format!("the root user of account {account}")),
        "federated-user" => Err("the name of a federated session is chosen by the user behind it".to_owned()),
        _ => Err(format!("`{}` is neither a user nor a role", resource.escape_default())),
    }
}

/// What a second person is asked to approve.
pub(crate) struct Request {
    /// What they read.
    pub gate: Gate,
    /// Hash of what they approve; AWS can prove their identity.
    pub purpose: String,
    story: RunHistory,
    run: String,
}

/// Finds what a run waits for.
pub(crate) fn prepare_approval(
    vault: &Vault,
    run: &str,
    runbook: &Runbook,
    values: &Values,
    by: &Actor,
) -> Result<Request> {
    let story = RunHistory::replay(&journal::read_journal(vault, run)?.lines)?;
    if story.state == RunState::Passed || story.state == RunState::Missed {
        return Err(Error::request(format!("run `{run}` has ended")));
    }
    if runbook.sha256 != story.sha256 {
        return Err(Error::new(
            Kind::Guard,
            format!("{} is not the runbook that `{run}` runs", runbook.origin.display_path()),
        ));
    }
    let next = story.next(runbook).filter(|step| matches!(step.kind, StepKind::Approve { .. }));
    let Some(step) = next else {
        return Err(Error::request(format!("run `{run}` is not waiting for an approval"))
            .hint(format!("`lifeboat runbook show {run}` shows where it is.")));
    };
    let mut gate = Gate::of_step(step, values, &story.start.by)?
        .ok_or_else(|| Error::new(Kind::Bug, "an approval is not a gate"))?;
    // The approver must type what they approve: the run itself, where the runbook names nothing else.
    gate.answer.get_or_insert_with(|| run.to_owned());
    if let Err(why) = refuse_same_person(&by.identity, &story) {
        return Err(Error::new(Kind::Guard, format!("`{}` cannot be approved: {why}", step.id))
            .hint("A second person approves, under a user or a role of their own."));
    }
    let purpose = purpose_of(&story, &step.id)?;
    Ok(Request { gate, purpose, story, run: run.to_owned() })
}

/// Gives the approval.
pub(crate) fn approve_step(
    request: Request,
    vault: &Vault,
    typed: &str,
    by: Actor,
    proof: Option<Proof>,
    now: DateTime<Utc>,
) -> Result<Approval> {
    request
        .gate
        .judge(typed)
        .map_err(|why| Error::new(Kind::Guard, format!("`{}` was not approved: {why}", request.gate.step)))?;
    let approval = Approval {
        step: request.gate.step.clone(),
        by,
        at: now,
        sha256: request.story.sha256,
        purpose: request.purpose,
        proof,
    };
    write_approval(vault, &request.run, &approval)?;
    Ok(approval)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_principal_is_what_nobody_chooses_for_themselves() {
        let of = |identity: &str| principal_of(identity).unwrap();
        let role = of("arn:aws:sts::123456789012:assumed-role/admin/ada");
        for same in [
            "arn:aws:sts::123456789012:assumed-role/admin/grace",
            "arn:aws:sts::123456789012:assumed-role/admin/a/b",
            "arn:aws:iam::123456789012:role/path/admin",
        ] {
            assert_eq!(of(same), role, "{same}");
        }
        let user = of("arn:aws:iam::123456789012:user/ops/ada");
        assert_eq!(of("arn:aws:iam::123456789012:user/ada"), user);
        for other in [
            "arn:aws:sts::123456789012:assumed-role/other/ada",
            "arn:aws:sts::210987654321:assumed-role/admin/ada",
            "arn:aws:iam::123456789012:user/admin",
            "arn:aws:iam::123456789012:root",
            "ada@host",
        ] {
            assert!(of(other) != role && of(other) != user, "{other}");
        }
        for nobody in [
            "arn:aws:sts::123456789012:federated-user/grace",
            "arn:aws:s3:::bucket",
            "arn:aws:iam::1:group/x",
        ] {
            assert!(principal_of(nobody).is_err(), "{nobody}");
        }
    }
}
