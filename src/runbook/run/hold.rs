//! Steps at which a run holds: until a condition is met, or until a person has decided.

use std::time::{Duration, Instant};

use super::{Progress, Run, Stop, stop_interrupted};
use crate::aws::Poll;
use crate::backup::schedule::quote_for_shell;
use crate::error::{Error, Kind, Result};
use crate::runbook::document::{Step, Waiting};
use crate::runbook::gate::{self, Gate, Reply};
use crate::runbook::journal::{End, Ending, Event};
use crate::runbook::wait::PollResult;
use crate::runbook::{objects, sha256};
use crate::when::format_span;

/// The default timeout of a wait.
const USUAL_WAIT: Duration = Duration::from_secs(3600);

impl Run<'_, '_> {
    pub(super) async fn wait(
        &mut self,
        step: &Step,
        waiting: &Waiting,
    ) -> Result<std::result::Result<(), Stop>> {
        let told = self.story.step(&step.id);
        let text = self.values.fill_for_display(&waiting.condition.text);
        self.add(Event::Begin {
            step: step.id.clone(),
            attempt: told.attempts + 1,
            sha256: sha256(text.as_bytes()),
            absent: Vec::new(),
        })?;
        let (began, limit) = (Instant::now(), step.timeout.unwrap_or(USUAL_WAIT));
        let poll = Poll { every: self.cx.poll.unwrap_or(waiting.every), give_up_after: limit };
        let mut seen: String;
        let (result, reason, kind) = loop {
            match waiting.condition.poll(self.cx.aws, &self.values, &waiting.fails_on).await? {
                Ok(PollResult::There(what)) => break (Ending::Done, what, Kind::No),
                Ok(PollResult::Never(why)) => {
                    break (Ending::Failed, format!("cannot be met: {why}"), Kind::Outside);
                }
                Ok(PollResult::NotYet(what)) => seen = what,
                Err(failure) if failure.is_worth_repeating() => seen = format!("AWS failed: {failure}"),
                Err(failure) => {
                    break (Ending::Failed, format!("could not be read: {failure}"), Kind::Outside);
                }
            }
            self.tell(Progress::Waits(&format!("{text}: {seen}")));
            let left = limit.saturating_sub(began.elapsed());
            if left.is_zero() {
                let limit = format_span(limit.as_secs_f64());
                break (Ending::Failed, format!("was not met in {limit}: {seen}"), Kind::StillGoing);
            }
            tokio::select! {
                () = poll.pause() => {}
                () = tokio::time::sleep(left) => {}
                kind = self.cx.interrupt.wait(1) => break (Ending::Unknown, "was interrupted".to_owned(), kind),
            }
        };
        let seconds = began.elapsed().as_secs_f64();
        let reason = self.redactor.clean(&reason);
        let reasons = if result == Ending::Done { Vec::new() } else { vec![reason.clone()] };
        self.add(Event::End(Box::new(End {
            step: step.id.clone(),
            result,
            exit: None,
            seconds,
            output: None,
            values: std::collections::BTreeMap::new(),
            made: Vec::new(),
            reasons: reasons.clone(),
        })))?;
        self.tell(Progress::Ended(step, result, seconds, &reasons, &self.clock(step)));
        if result == Ending::Done {
            return Ok(Ok(()));
        }
        let state = if result == Ending::Unknown { "interrupted" } else { "failed" };
        Ok(Err(Stop::at(step, state, Error::new(kind, format!("wait `{text}` {reason}")))))
    }

    pub(super) async fn gate(&mut self, step: &Step) -> Result<std::result::Result<(), Stop>> {
        let mut gate = Gate::of_step(step, &self.values, &self.cx.by)?
            .ok_or_else(|| Error::new(Kind::Bug, "a gate is none"))?;
        if let Some(answer) = gate.answer.as_ref().filter(|_| self.cx.aws.is_some()) {
            // What is typed may not be the name of a DB instance.
            gate.facts = objects::describe(&format!("db:{answer}"), self.cx.aws).await.unwrap_or_default();
        }
        let waiting = |error: Error| Stop::at(step, "waiting", error);
        self.add(Event::Asked { step: step.id.clone() })?;
        if gate.role == "approve" {
            return self.approval(step, &gate).await;
        }
        let given = self.cx.answers.iter().find(|(id, _)| *id == step.id).map(|(_, text)| text.clone());
        let typed = match given {
            Some(given) => {
                if let Err(why) = gate.judge(&given) {
                    let error = Error::new(Kind::Guard, format!("gate `{}` was not passed: {why}", step.id));
                    return Ok(Err(waiting(error)));
                }
                given
            }
            None => {
                let reply = tokio::select! {
                    reply = gate.clone().ask_until_right(self.cx.ask) => reply?,
                    kind = self.cx.interrupt.wait(1) => return Ok(Err(stop_interrupted(step, kind))),
                };
                match reply {
                    Reply::Typed(typed) => typed,
                    other => return Ok(Err(waiting(refuse_unanswered(&gate, &other)))),
                }
            }
        };
        let answer = self.redactor.clean(typed.trim());
        self.add(Event::Gate { step: step.id.clone(), answer: answer.clone(), by: self.cx.by.clone() })?;
        self.tell(Progress::Answered(step, &answer, &self.clock(step)));
        Ok(Ok(()))
    }

    /// Waits for a second person as long as somebody watches; otherwise the run stops here.
    async fn approval(&mut self, step: &Step, gate: &Gate) -> Result<std::result::Result<(), Stop>> {
        let run = self.story.start.run.clone();
        let began = Instant::now();
        let limit = step.timeout.unwrap_or(USUAL_WAIT);
        let mut refused = String::new();
        let mut is_watched = None;
        loop {
            if let Some(approval) = gate::approval(self.journal.vault(), &run, &step.id)? {
                match gate::judge_approval(&approval, &self.story, self.cx.aws).await? {
                    Ok(certainty) => {
                        let answer = format!("approved by {} ({})", approval.by.identity, certainty.words());
                        if certainty == gate::Certainty::Claimed {
                            self.tell(Progress::Note(&format!(
                                "nothing proves that {} approved: without `needs: aws`, anyone who can write to the vault can claim it",
                                approval.by.identity
                            )));
                        }
                        self.add(Event::Gate {
                            step: step.id.clone(),
                            answer: answer.clone(),
                            by: approval.by.clone(),
                        })?;
                        if approval.proof.is_some() {
                            gate::forget_proof(self.journal.vault(), &run, &approval)?;
                        }
                        self.tell(Progress::Answered(step, &answer, &self.clock(step)));
                        return Ok(Ok(()));
                    }
                    Err(why) => refused = format!(" ({why})"),
                }
            }
            if is_watched.is_none() {
                is_watched = Some((self.cx.ask)(gate.clone()).await? != Reply::NoTerminal);
            }
            if is_watched != Some(true) || began.elapsed() > limit {
                let error = Error::new(
                    Kind::Guard,
                    format!(
                        "gate `{}` waits for a second person{refused}: {}",
                        step.id,
                        first_line(&gate.text)
                    ),
                )
                .hint(format!("They run `lifeboat runbook approve {run}` as a user or a role of their own."));
                return Ok(Err(Stop::at(step, "waiting", error)));
            }
            self.tell(Progress::Waits(&format!("a second person: lifeboat runbook approve {run}")));
            tokio::select! {
                () = tokio::time::sleep(self.cx.poll.unwrap_or(Duration::from_secs(1))) => {}
                kind = self.cx.interrupt.wait(1) => return Ok(Err(stop_interrupted(step, kind))),
            }
        }
    }
}

/// Why a gate holds the run.
fn refuse_unanswered(gate: &Gate, reply: &Reply) -> Error {
    let way = match &gate.answer {
        Some(answer) => format!("`--answer {}`", quote_for_shell(&format!("{}={answer}", gate.step))),
        None => format!("`--answer {}='WHAT YOU DID'`", gate.step),
    };
    let why = match reply {
        Reply::NoTerminal => "needs a person, and there is no terminal",
        _ => "was not answered",
    };
    let what = format!("gate `{}`{} {why}: {}", gate.step, gate.describe_target(), first_line(&gate.text));
    Error::new(Kind::Guard, what).hint(format!("Resume the run on a terminal, or answer with {way}."))
}

fn first_line(text: &str) -> &str {
    text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default()
}
