//! Undoes a run, newest step first, and nothing that its journal does not prove to be the run's own: an object was not
//! there before the step, it was there after it, and it still is the very same one.
//!
//! A real run is undone only if all of it can be: obstacles are found, and every name is typed, before anything is
//! touched. It stops at the first step that cannot be undone, since what older steps created may still be in use. A rehearsal removes all
//! that it can.

use std::time::{Duration, Instant};

use super::document::{Mode, Runbook, Step};
use super::gate::{Gate, Reply};
use super::journal::{Answer, Event, Made};
use super::objects::{self, ObjectState};
use super::preflight;
use super::redact::Redactor;
use super::resumption::Reopened;
use super::run::{Context, Outcome, Progress, Run};
use super::script::{self, Done, Ended, Settings};
use super::state::StepState;
use super::values::Values;
use crate::error::{Error, Kind, Result};

/// The default timeout of an undo; deleting a DB instance takes minutes.
const USUAL: Duration = Duration::from_secs(1800);

/// The timeout of the check before an undo.
const USUAL_CHECK: Duration = Duration::from_secs(60);

/// A step to be undone.
struct Item<'a> {
    step: &'a Step,
    /// What it made and is there; nothing of a step that makes no objects.
    there: Vec<Made>,
    /// Whether all that it made is gone already.
    is_gone: bool,
    /// What its probe has found.
    probed: Option<Event>,
}

/// Something that was not undone.
pub(super) struct Residue {
    step: String,
    why: String,
    /// Whether it is known to be there.
    pub(super) is_there: bool,
    /// Whether AWS bills it.
    pub(super) is_billed: bool,
}

impl std::fmt::Display for Residue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}`: {}", self.step, self.why)
    }
}

/// How much is undone.
pub(crate) struct Undoing<'a> {
    /// The newest step that is kept, with all before it.
    pub keep: Option<&'a str>,
    /// Whether it is only checked.
    pub is_dry: bool,
}

/// Undoes a run; for a real run, somebody types the name of each object that will be removed.
pub(crate) async fn undo_run(
    runbook: &Runbook,
    reopened: Reopened,
    mut values: Values,
    undoing: Undoing<'_>,
    cx: &Context<'_>,
) -> Result<Outcome> {
    let Reopened { journal, found, story, .. } = reopened;
    if found.lost_lines > 0 {
        return Err(Error::new(
            Kind::Guard,
            "the journal has lost lines: it does not prove what the run created",
        ));
    }
    values.take_over(&story.values, &runbook.free_names())?;
    let redactor = Redactor::hiding(values.secrets());
    let mut run = Run { runbook, journal, story, values, redactor, cx, suspects: Vec::new() };
    let kept = kept_steps(runbook, undoing.keep)?;
    let items = run.plan_undo(kept).await?;
    for item in &items {
        run.tell(Progress::Note(&format!("to undo: {}", run.what(item))));
    }
    if items.is_empty() {
        run.tell(Progress::Note("there is nothing to undo"));
    }
    if undoing.is_dry || items.is_empty() {
        return Ok(Outcome { report: run.report(), error: None });
    }
    if run.story.start.mode == Mode::Real {
        run.confirm_all(&items).await?;
    }
    run.add(Event::Undo { by: cx.by.clone(), kept: undoing.keep.map(str::to_owned) })?;
    let left = match run.story.start.mode {
        Mode::Rehearse => run.undo_all().await?,
        Mode::Real => run.undo_in_order(items).await?,
    };
    let mut reasons: Vec<String> = left.iter().map(ToString::to_string).collect();
    if let Some(keep) = undoing.keep {
        reasons.push(format!("`{keep}` and everything before it was kept, as requested"));
    }
    run.add(Event::Undone { is_whole: reasons.is_empty(), reasons: reasons.clone() })?;
    let error = (!left.is_empty()).then(|| run.incomplete(&left));
    Ok(Outcome { report: run.keep_evidence(), error })
}

/// How many steps from the start are kept.
fn kept_steps(runbook: &Runbook, keep: Option<&str>) -> Result<usize> {
    let Some(keep) = keep else { return Ok(0) };
    let place = runbook.steps.iter().position(|step| step.id == keep);
    place.map(|place| place + 1).ok_or_else(|| super::unknown_step_error(runbook, keep))
}

impl<'r> Run<'r, '_> {
    /// What is to be undone of the steps after the first `kept`, newest first. Nothing is touched; of a real run, whatever stands
    /// in the way is an error, all of it at once.
    async fn plan_undo(&self, kept: usize) -> Result<Vec<Item<'r>>> {
        let (mut items, mut in_the_way) = (Vec::new(), Vec::new());
        let runbook = self.runbook;
        for step in runbook.steps[kept..].iter().rev() {
            match self.look_at_step(step).await? {
                Ok(None) => {}
                Ok(Some(item)) => {
                    if self.story.start.mode == Mode::Real && !item.is_gone {
                        let obstacles = self.obstacles(&item).await?;
                        in_the_way.extend(obstacles.into_iter().map(|why| format!("`{}`: {why}", step.id)));
                    }
                    items.push(item);
                }
                Err(residue) => in_the_way.push(residue.to_string()),
            }
        }
        if in_the_way.is_empty() || self.story.start.mode == Mode::Rehearse {
            return Ok(items);
        }
        let what = format!("nothing was undone, because not all of it can be: {}", in_the_way.join("; "));
        let run = &self.story.start.run;
        Err(Error::new(Kind::Guard, self.redactor.clean(&what)).hint(format!(
            "Fix that first, or keep a step and everything before it with `lifeboat runbook undo {run} --keep STEP`."
        )))
    }

    /// What there is to undo of a step, if anything; otherwise why it cannot be undone.
    async fn look_at_step(&self, step: &'r Step) -> Result<std::result::Result<Option<Item<'r>>, Residue>> {
        let creates = step.kind.act().map(|act| act.creates.as_slice()).unwrap_or_default();
        let mut told = self.story.step(&step.id);
        if (step.undo.is_none() && creates.is_empty()) || told.attempts == 0 || told.undone == Some(true) {
            return Ok(Ok(None));
        }
        let residue = |why: String, is_there: bool| Residue {
            step: step.id.clone(),
            why,
            is_there,
            is_billed: creates.iter().any(|object| objects::is_billed(object)),
        };
        let is_open =
            told.state == StepState::Unknown || (told.state == StepState::Failed && told.made.is_empty());
        let (mut probed, mut doubt) = (None, "nothing shows whether it happened".to_owned());
        if let (true, Some(probe)) = (is_open, &step.probe) {
            let found = self.ask_probe(step, probe).await?;
            match found.answer {
                Answer::Happened => {
                    told.state = StepState::Done;
                    told.made.clone_from(&found.made);
                }
                Answer::DidNot => told.state = StepState::Todo,
                Answer::Unknown => doubt = found.reason.clone(),
            }
            // What failed has failed, whatever it made before that.
            if self.story.state_of(&step.id) == StepState::Unknown {
                probed = Some(found.into_event(step));
            }
        }
        if creates.is_empty() {
            return Ok(match told.state {
                StepState::Done => Ok(Some(Item { step, there: Vec::new(), is_gone: false, probed })),
                StepState::Unknown => {
                    Err(residue(format!("it is not known whether it happened: {doubt}"), false))
                }
                _ => Ok(None),
            });
        }
        let mut there: Vec<Made> = Vec::new();
        for object in objects::fill_names(creates, &self.values)? {
            let seen = objects::find_object(&object, self.cx.aws).await?;
            let made = told.made.iter().find(|made| made.object == object);
            let unproven = || format!("the journal does not prove that this run created `{object}`");
            match (seen, made) {
                (ObjectState::Absent, _) => {}
                (ObjectState::Untold, None) => match told.state {
                    StepState::Unknown | StepState::Failed => {
                        let why = format!("it is not known whether `{object}` was created: {doubt}");
                        return Ok(Err(residue(why, false)));
                    }
                    _ => {}
                },
                (_, None) => return Ok(Err(residue(unproven(), true))),
                (_, Some(_)) if !told.absent.contains(&object) => return Ok(Err(residue(unproven(), true))),
                (ObjectState::There(identity), Some(made)) if identity != made.identity => {
                    return Ok(Err(residue(format!("`{object}` is not the one this run created"), true)));
                }
                (_, Some(made)) => there.push(made.clone()),
            }
        }
        let is_gone = there.is_empty();
        if is_gone && told.made.is_empty() && told.undone.is_none() {
            return Ok(Ok(None));
        }
        Ok(Ok(Some(Item { step, there, is_gone, probed })))
    }

    /// Why a step cannot be undone.
    async fn obstacles(&self, item: &Item<'_>) -> Result<Vec<String>> {
        let Some(undo) = &item.step.undo else {
            return Ok(vec!["the runbook does not say how to undo it".to_owned()]);
        };
        let missing = preflight::missing_programs(&undo.text, &self.values);
        let mut obstacles: Vec<String> = missing.into_iter().map(|(_, why)| why).collect();
        if let Some(check) = &item.step.undo_check {
            let settings = self.settings(check.timeout.unwrap_or(USUAL_CHECK), self.cx.interrupt);
            let done = script::shell(&check.text, &[], &settings, |_| Ok(()), |_| ()).await?;
            if !is_well(&done) {
                obstacles.push(self.words_of(&done));
            }
        }
        Ok(obstacles)
    }

    /// Has every name typed before anything is touched.
    async fn confirm_all(&self, items: &[Item<'_>]) -> Result<()> {
        let (mut missing, mut named) = (Vec::new(), Vec::new());
        for item in items.iter().filter(|item| !item.is_gone) {
            let gate = self.gate_of(item).await?;
            let given =
                self.cx.answers.iter().find(|(id, _)| *id == item.step.id).map(|(_, text)| text.as_str());
            let reply = match given {
                Some(given) => gate.judge(given).map(|()| Reply::Typed(String::new())).map_err(|why| {
                    Error::new(
                        Kind::Guard,
                        format!("nothing was undone: `{}` was not confirmed: {why}", item.step.id),
                    )
                })?,
                None => tokio::select! {
                    reply = gate.clone().ask_until_right(self.cx.ask) => reply?,
                    kind = self.cx.interrupt.wait(1) => {
                        return Err(Error::new(kind, "interrupted before anything was undone"));
                    }
                },
            };
            match reply {
                Reply::Typed(_) => {}
                Reply::NoTerminal => {
                    missing.push(format!(
                        "--answer {}={}",
                        item.step.id,
                        gate.answer.clone().unwrap_or_default()
                    ));
                    named.push([vec![gate.text.clone()], gate.facts.clone()].concat().join(" "));
                }
                Reply::Ended => {
                    let what = format!("nothing was undone: `{}` was not confirmed", item.step.id);
                    return Err(Error::new(Kind::Guard, what));
                }
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let place = match (&self.cx.by.account, &self.cx.by.region) {
            (Some(account), Some(region)) => format!(" in account {account}, Region {region}"),
            _ => String::new(),
        };
        let what = format!("nothing was undone{place}, because nobody confirmed it: {}", named.join(" "));
        let run = &self.story.start.run;
        Err(Error::new(Kind::Guard, what)
            .hint(format!("`lifeboat runbook undo {run} {}` undoes it.", missing.join(" ")))
            .hint("`--keep STEP` keeps what a step created, and everything before it."))
    }

    /// The gate before a step is undone.
    async fn gate_of(&self, item: &Item<'_>) -> Result<Gate> {
        let step = item.step;
        let mut facts = Vec::new();
        for made in &item.there {
            facts.extend(objects::describe(&made.object, self.cx.aws).await?);
        }
        let name = item.there.first().and_then(|made| made.object.split_once(':'));
        // The path of a file is nothing to type at night.
        let answer = name.filter(|(kind, _)| *kind != "file").map_or(step.id.as_str(), |(_, name)| name);
        Ok(Gate {
            step: step.id.clone(),
            role: "confirm",
            text: self.what(item),
            answer: Some(answer.to_owned()),
            account: self.cx.by.account.clone(),
            region: self.cx.by.region.clone(),
            facts,
            refused: None,
        })
    }

    /// What taking a step back does.
    fn what(&self, item: &Item<'_>) -> String {
        let does = item.step.undo.as_ref().and_then(|undo| undo.does.as_deref());
        let objects: Vec<String> = item.there.iter().map(|made| format!("`{}`", made.object)).collect();
        match does {
            _ if item.is_gone => format!("Step `{}` needs nothing: what it created is gone.", item.step.id),
            Some(does) => format!("Undo of `{}`: {}", item.step.id, self.values.fill_for_display(does)),
            None if objects.is_empty() => format!("Undo of `{}` ({}).", item.step.id, item.step.title),
            None => {
                format!("Undo of `{}`: removes {}, which this run created.", item.step.id, objects.join(", "))
            }
        }
    }

    /// Stops at the first step that does not go back.
    async fn undo_in_order(&mut self, items: Vec<Item<'r>>) -> Result<Vec<Residue>> {
        let mut rest = items.into_iter();
        while let Some(item) = rest.next() {
            if let Some(residue) = self.undo_item(item).await? {
                let left = rest.filter(|item| !item.is_gone).map(|item| Residue {
                    step: item.step.id.clone(),
                    why: "was kept, because a later step was not undone".to_owned(),
                    is_there: true,
                    is_billed: false,
                });
                return Ok(std::iter::once(residue).chain(left).collect());
            }
        }
        Ok(Vec::new())
    }

    /// Takes back all that can be, in a rehearsal; what could not.
    pub(super) async fn undo_all(&mut self) -> Result<Vec<Residue>> {
        let mut left = Vec::new();
        let runbook = self.runbook;
        for step in runbook.steps.iter().rev() {
            let residue = match self.look_at_step(step).await? {
                Ok(None) => continue,
                Ok(Some(item)) => self.undo_item(item).await?,
                Err(residue) => {
                    self.note_failure(&residue)?;
                    Some(residue)
                }
            };
            left.extend(residue);
        }
        Ok(left)
    }

    fn note_failure(&mut self, residue: &Residue) -> Result<()> {
        self.tell(Progress::Undo(&residue.step, Some(false), &residue.why));
        let (step, reason) = (residue.step.clone(), residue.why.clone());
        self.add(Event::UndoEnd { step, is_undone: false, reason })
    }

    async fn undo_item(&mut self, item: Item<'r>) -> Result<Option<Residue>> {
        let step = item.step;
        if let Some(probed) = item.probed {
            self.add(probed)?;
        }
        if item.is_gone {
            let reason = "it was already gone".to_owned();
            self.add(Event::UndoEnd { step: step.id.clone(), is_undone: true, reason })?;
            return Ok(None);
        }
        let (why, is_there) = match &step.undo {
            None => ("the runbook does not say how to undo it".to_owned(), true),
            Some(undo) => {
                self.add(Event::UndoBegin { step: step.id.clone() })?;
                let what = item.there.first().map_or(step.id.clone(), |made| made.object.clone());
                self.tell(Progress::Undo(&what, None, ""));
                match self.run_undo(undo.text.as_str(), undo.timeout.unwrap_or(USUAL), &item.there).await? {
                    Ok(()) => {
                        self.add(Event::UndoEnd {
                            step: step.id.clone(),
                            is_undone: true,
                            reason: String::new(),
                        })?;
                        self.tell(Progress::Undo(&what, Some(true), ""));
                        return Ok(None);
                    }
                    Err(why) => (why, true),
                }
            }
        };
        let is_billed = item.there.iter().any(|made| objects::is_billed(&made.object));
        let residue = Residue { step: step.id.clone(), why, is_there, is_billed };
        self.note_failure(&residue)?;
        Ok(Some(residue))
    }

    /// Runs an undo until what it removes is gone.
    async fn run_undo(
        &self,
        text: &str,
        timeout: Duration,
        there: &[Made],
    ) -> Result<std::result::Result<(), String>> {
        let began = Instant::now();
        let never = crate::interrupt::Interrupt::never();
        // What costs money is put away even if somebody is impatient; a second signal lets go.
        let interrupt = if self.cx.interrupt.first().is_some() { &never } else { self.cx.interrupt };
        let settings = self.settings(timeout, interrupt);
        let tell = self.cx.tell;
        let done = script::shell(text, &[], &settings, |_| Ok(()), |line| tell(Progress::Says(line))).await?;
        let is_well = is_well(&done);
        // A second request to delete is refused while the first is in progress.
        let patience = if is_well { timeout } else { Duration::from_secs(20) };
        if !is_well && there.iter().all(|made| !objects::is_billed(&made.object)) {
            return Ok(Err(self.words_of(&done)));
        }
        for made in there {
            loop {
                match objects::find_object(&made.object, self.cx.aws).await? {
                    ObjectState::Absent => break,
                    ObjectState::Untold if is_well => break,
                    _ => {}
                }
                let is_hasty = !is_well && self.cx.poll.is_some() && began.elapsed() > Duration::from_secs(3);
                if began.elapsed() > patience || is_hasty {
                    return Ok(Err(format!("`{}` still exists: {}", made.object, self.words_of(&done))));
                }
                self.tell(Progress::Waits(&format!("`{}` to be gone", made.object)));
                tokio::select! {
                    () = tokio::time::sleep(self.cx.poll.unwrap_or(Duration::from_secs(15))) => {}
                    // Whoever insists is let go, and told what is left.
                    _ = self.cx.interrupt.wait(2) => return Ok(Err(format!("`{}` still exists", made.object))),
                }
            }
        }
        Ok(Ok(()))
    }

    pub(super) fn settings<'s>(
        &'s self,
        timeout: Duration,
        interrupt: &'s crate::interrupt::Interrupt,
    ) -> Settings<'s> {
        Settings {
            values: &self.values,
            variables: self.cx.variables,
            timeout,
            lock: None,
            interrupt,
            redactor: &self.redactor,
        }
    }

    /// What a script that failed has to say.
    fn words_of(&self, done: &Done) -> String {
        let said = script::reason_of(done).map_or_else(String::new, |why| format!(": {why}"));
        let how = match (done.end, done.exit) {
            (Ended::TooLong, _) => "took too long".to_owned(),
            (Ended::Interrupted(_), _) => "was interrupted".to_owned(),
            (_, Some(code)) => format!("failed with exit code {code}"),
            (_, None) => "failed".to_owned(),
        };
        self.redactor.clean(&format!("it {how}{said}"))
    }

    /// The error of an undo that left something.
    fn incomplete(&self, left: &[Residue]) -> Error {
        let names: Vec<String> = left.iter().map(ToString::to_string).collect();
        let kind = match self.story.start.mode {
            _ if left.iter().all(|residue| !residue.is_there) => Kind::Outside,
            Mode::Rehearse => Kind::LeftBehind,
            Mode::Real => Kind::Partial,
        };
        Error::new(kind, format!("not everything was undone: {}", names.join("; ")))
            .hint(format!("`lifeboat runbook undo {}` resumes once that is fixed.", self.story.start.run))
    }
}

fn is_well(done: &Done) -> bool {
    done.end == Ended::ByItself && done.exit == Some(0)
}
