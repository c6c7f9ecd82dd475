//! Steps that run a script: recorded as begun, run, judged, recorded as ended.

use std::time::{Duration, Instant};

use super::{Progress, Run, Stop, USUAL};
use crate::error::{Error, Kind, Result};
use crate::runbook::document::{Act, Kind as StepKind, Step};
use crate::runbook::expect::Observed;
use crate::runbook::journal::{End, Ending, Event, Made, Output};
use crate::runbook::objects::{self, ObjectState};
use crate::runbook::script::{self, Done, Ended, Settings};
use crate::runbook::{read_only_step, sha256, sql};
use crate::when::format_span;

/// How much of a step's output the report keeps, from its end; the file beside the journal has all of it.
const LINES_KEPT: usize = 200;
const LETTERS_KEPT: usize = 16_000;

impl Run<'_, '_> {
    pub(super) async fn act(&mut self, step: &Step, act: &Act) -> Result<std::result::Result<(), Stop>> {
        let told = self.story.step(&step.id);
        let objects = objects::fill_names(&act.creates, &self.values)?;
        let mut absent = Vec::new();
        for object in &objects {
            match objects::find_object(object, self.cx.aws).await? {
                ObjectState::Absent | ObjectState::Untold => absent.push(object.clone()),
                ObjectState::There(_) if told.absent.contains(object) => {}
                ObjectState::There(_) => return Ok(Err(stop_for_existing(step, object))),
            }
        }
        let id = step.id.clone();
        self.add(Event::Begin {
            step: id.clone(),
            attempt: told.attempts + 1,
            sha256: sha256(act.script.text.as_bytes()),
            absent,
        })?;
        self.journal.write_beside(&format!("steps/{id}.in"), b"")?;
        let began = Instant::now();
        let done = match self.execute(step, act).await {
            Ok(done) => done,
            // Nothing was started: that is known.
            Err(error) => {
                let failed = Done { exit: Some(127), stderr: error.chain(), ..Done::default() };
                let _ = self.end(step, act, failed, began, &objects).await?;
                return Ok(Err(Stop::at(step, "failed", error)));
            }
        };
        self.end(step, act, done, began, &objects).await
    }

    async fn execute(&mut self, step: &Step, act: &Act) -> Result<Done> {
        let lock = self.lock_path(step)?;
        let (journal, story) = (&mut self.journal, &mut self.story);
        let settings = Settings {
            values: &self.values,
            variables: self.cx.variables,
            timeout: step.timeout.unwrap_or(USUAL),
            lock: Some(&lock),
            interrupt: self.cx.interrupt,
            redactor: &self.redactor,
        };
        let (clock, tell) = (self.cx.clock, self.cx.tell);
        let started = |group: u32| {
            journal.add(Event::Process { step: step.id.clone(), group }, clock())?;
            if let Some(line) = journal.lines().last() {
                story.hear(line);
            }
            Ok(())
        };
        let says = |line: &str| {
            if !act.secret {
                tell(Progress::Says(line));
            }
        };
        // A plan would run it in the same way.
        if let Ok(reading) =
            read_only_step::confine_step(step, self.runbook, &self.values, self.cx.reads_only)
        {
            return read_only_step::run_reading(reading, self.cx.aws, &settings, started, says).await;
        }
        match &step.kind {
            StepKind::Sql(act, place) => {
                let mut psql = sql::command(&act.script.text, place, &self.values, self.cx.aws).await?;
                if act.read_only {
                    psql.read_only();
                }
                script::run_script(psql.take(), "", &settings, started, says).await
            }
            _ => script::shell(&act.script.text, &act.sets, &settings, started, says).await,
        }
    }

    /// Records how a step has ended, and judges it.
    async fn end(
        &mut self,
        step: &Step,
        act: &Act,
        done: Done,
        began: Instant,
        objects: &[String],
    ) -> Result<std::result::Result<(), Stop>> {
        let seconds = began.elapsed().as_secs_f64();
        let (set, misfit) = match done.found(act) {
            Ok(set) => (set, None),
            Err(why) => (Vec::new(), Some(why)),
        };
        let is_whole = done.end == Ended::ByItself && done.exit == Some(0);
        for (name, value) in &set {
            if act.secret {
                self.redactor.hide(value);
            }
            if is_whole {
                self.values.set(name, value, act.secret);
            }
        }
        if act.secret {
            self.redactor.hide(&done.stdout);
        }
        let lacking = misfit.or_else(|| {
            (set.len() < act.outputs().count()).then(|| "ended before it had set its variables".to_owned())
        });
        let (result, reasons, kind) = self.judge(step, &done, lacking);
        let reasons: Vec<String> = reasons.iter().map(|reason| self.redactor.clean(reason)).collect();
        let output = self.keep_output(step, &done)?;
        // Of what was cut short, its probe says what it made.
        let made = if result == Ending::Unknown { Vec::new() } else { self.made(objects, result).await };
        let open = set
            .into_iter()
            .filter(|_| is_whole && !act.secret)
            .map(|(name, value)| (name, self.redactor.clean(&value)))
            .collect();
        self.add(Event::End(Box::new(End {
            step: step.id.clone(),
            result,
            exit: done.exit,
            seconds,
            output,
            values: open,
            made,
            reasons: reasons.clone(),
        })))?;
        self.tell(Progress::Ended(step, result, seconds, &reasons, &self.clock(step)));
        if result == Ending::Done {
            return Ok(Ok(()));
        }
        let state = if matches!(done.end, Ended::Interrupted(_)) { "interrupted" } else { "failed" };
        let error = Error::new(kind, format!("step `{}` {}", step.id, reasons.join("; ")));
        Ok(Err(Stop::at(step, state, error)))
    }

    fn judge(&self, step: &Step, done: &Done, lacking: Option<String>) -> (Ending, Vec<String>, Kind) {
        match (done.end, done.exit) {
            (Ended::Interrupted(kind), _) => (Ending::Unknown, vec!["was interrupted".to_owned()], kind),
            (Ended::TooLong, _) => {
                let limit = format_span(step.timeout.unwrap_or(USUAL).as_secs_f64());
                (Ending::Unknown, vec![format!("took longer than {limit} and was killed")], Kind::Outside)
            }
            (Ended::ByItself, Some(0)) => {
                if let Some(why) = lacking {
                    return (Ending::Failed, vec![why], Kind::Outside);
                }
                let observed = Observed { stdout: done.stdout.clone(), stderr: done.stderr.clone(), exit: 0 };
                let unmet: Vec<String> = step
                    .expects
                    .iter()
                    .filter_map(|assertion| {
                        Some(format!(
                            "does not hold: `{}`, {}",
                            assertion.text,
                            assertion.judge(&observed, &self.values).err()?
                        ))
                    })
                    .collect();
                let ending = if unmet.is_empty() { Ending::Done } else { Ending::Unmet };
                (ending, unmet, Kind::No)
            }
            (Ended::ByItself, exit) => {
                let code = exit.map_or("no exit code".to_owned(), |code| format!("exit code {code}"));
                let said = script::reason_of(done).map(|why| format!(": {why}")).unwrap_or_default();
                (Ending::Failed, vec![format!("failed with {code}{said}")], Kind::Outside)
            }
        }
    }

    async fn made(&self, objects: &[String], result: Ending) -> Vec<Made> {
        for pause in [0, 1, 2, 4] {
            tokio::time::sleep(Duration::from_secs(pause)).await;
            match objects::made(objects, result != Ending::Failed, self.cx.aws).await {
                // Describe may lag behind the request that it should show.
                Ok(made) if made.len() == objects.len() || result != Ending::Done => return made,
                Ok(made) if pause == 4 => return made,
                Ok(_) => {}
                Err(error) => {
                    self.tell(Progress::Note(&format!(
                        "what the step created could not be checked: {}",
                        error.chain()
                    )));
                    return Vec::new();
                }
            }
        }
        Vec::new()
    }

    fn keep_output(&self, step: &Step, done: &Done) -> Result<Option<Output>> {
        let mut text = done.stdout.trim_end().to_owned();
        if step.kind.act().is_some_and(|act| act.secret) && !text.is_empty() {
            text = "[secret]".to_owned();
        }
        if !done.stderr.trim().is_empty() {
            text.push_str(if text.is_empty() { "" } else { "\n" });
            text.push_str(done.stderr.trim_end());
        }
        let text = self.redactor.clean(&text);
        if text.is_empty() {
            return Ok(None);
        }
        let file = format!("steps/{:03}-{}.out", self.journal.lines().len() + 1, step.id);
        let content = format!("{text}\n");
        self.journal.write_beside(&file, content.as_bytes())?;
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(LINES_KEPT)..].join("\n");
        let start = tail.char_indices().nth_back(LETTERS_KEPT).map_or(0, |(at, _)| at);
        let tail = tail[start..].to_owned();
        Ok(Some(Output { file, sha256: sha256(content.as_bytes()), tail }))
    }
}

fn stop_for_existing(step: &Step, object: &str) -> Stop {
    let what = format!(
        "step `{}` would create `{object}`, which already exists and was not created by this run: the step was not run",
        step.id
    );
    let error = Error::new(Kind::Guard, what).hint("Choose another name with `--set`, in a new run.");
    Stop::at(step, "failed", error)
}
