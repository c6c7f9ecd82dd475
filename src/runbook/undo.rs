//! Taking back what a run did, newest first, and nothing that its journal does not prove to be the run's own: an object was not
//! there before the step, it was there after it, and it still is the very same one.

use std::time::{Duration, Instant};

use super::document::{Mode, Runbook, Step};
use super::gate::Gate;
use super::journal::{Event, Found, Journal, Made};
use super::objects::{self, Seen};
use super::redact::Redactor;
use super::run::{Outcome, Run, Surroundings, Tell};
use super::script::{self, Ended, Settings};
use super::state::{StepState, Story};
use super::values::Values;
use crate::error::{Error, Kind, Result};

/// How long an undo may take that does not say; a DB instance takes minutes to go.
const USUAL: Duration = Duration::from_secs(1800);

/// Takes back what a run did; on a real run somebody types the name of each thing that goes.
pub async fn undo<A: AsyncFn(&Gate) -> Result<Option<String>>>(
    runbook: &Runbook,
    journal: Journal,
    found: &Found,
    mut values: Values,
    to: &Surroundings<'_, A>,
) -> Result<Outcome> {
    let story = Story::of(journal.lines())?;
    if found.lost_lines > 0 {
        return Err(Error::new(
            Kind::Guard,
            "the journal has lost lines: it does not prove what the run made",
        ));
    }
    values.take_over(&story.values, &runbook.free_names())?;
    let mut redactor = Redactor::of_environment();
    for secret in values.secrets() {
        redactor.hide(secret);
    }
    let mut run = Run { runbook, journal, story, values, redactor, to, suspects: Vec::new() };
    let left = run.undo_all().await?;
    let report = run.keep_evidence();
    let error = (!left.is_empty()).then(|| {
        let kind = if run.story.start.mode == Mode::Rehearse { Kind::LeftBehind } else { Kind::Partial };
        Error::new(kind, format!("not everything was taken back: {}", left.join("; ")))
    });
    Ok(Outcome { report, error })
}

impl<A: AsyncFn(&Gate) -> Result<Option<String>>> Run<'_, A> {
    /// Takes back all that can be; what could not, with the reason.
    pub(super) async fn undo_all(&mut self) -> Result<Vec<String>> {
        let mut left = Vec::new();
        let runbook = self.runbook;
        for step in runbook.steps.iter().rev() {
            if step.undo.is_none() && step.kind.act().is_none_or(|act| act.creates.is_empty()) {
                continue;
            }
            let told = self.story.told(&step.id);
            if told.attempts == 0 || told.undone == Some(true) {
                continue;
            }
            if told.state == StepState::Unknown
                && let Some(probe) = &step.probe
            {
                self.probe(step, &probe.text, probe.timeout).await?;
            }
            match self.undo_step(step).await? {
                Ok(()) => {}
                Err(why) => {
                    self.tell(Tell::Undo(&step.id, Some(false), &why));
                    self.add(Event::UndoEnd {
                        step: step.id.clone(),
                        is_undone: false,
                        reason: why.clone(),
                    })?;
                    left.push(format!("`{}`: {why}", step.id));
                }
            }
        }
        Ok(left)
    }

    async fn undo_step(&mut self, step: &Step) -> Result<std::result::Result<(), String>> {
        let told = self.story.told(&step.id);
        let creates = step.kind.act().map(|act| act.creates.as_slice()).unwrap_or_default();
        let mut there: Vec<Made> = Vec::new();
        if creates.is_empty() {
            if told.state != StepState::Done {
                return Ok(Ok(()));
            }
        } else {
            let objects = objects::named(creates, &self.values)?;
            for object in objects {
                match (
                    objects::look(&object, self.to.aws).await?,
                    told.made.iter().find(|made| made.object == object),
                ) {
                    (Seen::Absent, _) => {}
                    (_, _) if !told.absent.contains(&object) => {
                        return Ok(Err(format!("the journal does not prove that this run made `{object}`")));
                    }
                    (_, None) => {
                        return Ok(Err(format!("the journal does not prove that this run made `{object}`")));
                    }
                    (Seen::Untold, Some(made)) => there.push(made.clone()),
                    (Seen::There(identity), Some(made)) if identity == made.identity => {
                        there.push(made.clone())
                    }
                    (Seen::There(_), Some(_)) => {
                        return Ok(Err(format!("`{object}` is another one than this run made")));
                    }
                }
            }
            if there.is_empty() {
                if told.undone.is_some() || !told.made.is_empty() {
                    self.add(Event::UndoEnd {
                        step: step.id.clone(),
                        is_undone: true,
                        reason: "it was gone already".to_owned(),
                    })?;
                }
                return Ok(Ok(()));
            }
        }
        let Some(undo) = &step.undo else {
            return Ok(Err("the runbook does not say how to take it back".to_owned()));
        };
        if let Err(why) = self.may_undo(step, &there).await? {
            return Ok(Err(why));
        }
        self.add(Event::UndoBegin { step: step.id.clone() })?;
        let what = there.first().map_or(step.id.clone(), |made| made.object.clone());
        self.tell(Tell::Undo(&what, None, ""));
        let timeout = undo.timeout.unwrap_or(USUAL);
        let began = Instant::now();
        let never = crate::interrupt::Interrupt::never();
        let settings = Settings {
            values: &self.values,
            variables: self.to.variables,
            timeout,
            lock: None,
            // What costs money is put away even if somebody is impatient; a second signal lets go.
            interrupt: if self.to.interrupt.first().is_some() { &never } else { self.to.interrupt },
            redactor: &self.redactor,
        };
        let done = script::shell(&undo.text, &[], &settings, |_| Ok(()), |_| ()).await?;
        let is_well = done.end == Ended::ByItself && done.exit == Some(0);
        // A deletion that was asked for before is refused, and goes on.
        let patience = if is_well { timeout } else { Duration::from_secs(20) };
        if !is_well && there.is_empty() {
            return Ok(Err(self.redactor.clean(&format!("its undo failed: {}", done.stderr.trim()))));
        }
        for made in &there {
            while objects::look(&made.object, self.to.aws).await? != Seen::Absent {
                if matches!(objects::look(&made.object, self.to.aws).await?, Seen::Untold) && is_well {
                    break;
                }
                if began.elapsed() > patience
                    || (!is_well && self.to.poll.is_some() && began.elapsed() > Duration::from_secs(3))
                {
                    let said = self.redactor.clean(done.stderr.trim());
                    return Ok(Err(format!("`{}` is still there: {said}", made.object)));
                }
                self.tell(Tell::Waits(&format!("`{}` to be gone", made.object)));
                tokio::select! {
                    () = tokio::time::sleep(self.to.poll.unwrap_or(Duration::from_secs(15))) => {}
                    // Whoever insists is let go, and told what is left.
                    _ = self.to.interrupt.wait(2) => return Ok(Err(format!("`{}` is still there", made.object))),
                }
            }
        }
        self.add(Event::UndoEnd { step: step.id.clone(), is_undone: true, reason: String::new() })?;
        self.tell(Tell::Undo(&what, Some(true), ""));
        Ok(Ok(()))
    }

    /// On a rehearsal everything that it made goes; on a real run somebody types its name.
    async fn may_undo(&self, step: &Step, there: &[Made]) -> Result<std::result::Result<(), String>> {
        if self.story.start.mode == Mode::Rehearse {
            return Ok(Ok(()));
        }
        let name = there
            .first()
            .map_or(step.id.as_str(), |made| made.object.split_once(':').map_or("", |(_, name)| name));
        let text = match there.first() {
            Some(made) => {
                format!("This removes `{}`, which step `{}` of this run has made.", made.object, step.id)
            }
            None => format!("This takes back step `{}` of this run ({}).", step.id, step.title),
        };
        let gate = Gate {
            step: step.id.clone(),
            role: "confirm",
            text,
            answer: Some(name.to_owned()),
            account: self.to.by.account.clone(),
            region: self.to.by.region.clone(),
        };
        let given = self.to.answers.iter().find(|(id, _)| *id == step.id).map(|(_, text)| text.clone());
        let typed = match given {
            Some(given) => Some(given),
            None => (self.to.ask)(&gate).await?,
        };
        Ok(match typed {
            None => Err(format!("nobody has confirmed it: say `--answer {}={name}`", step.id)),
            Some(typed) => gate.judge(&typed),
        })
    }
}
