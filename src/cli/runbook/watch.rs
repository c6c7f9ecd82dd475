//! What whoever runs a runbook sees: the list of its steps, where it is, what comes next, and how much time is left.

use std::time::{Duration, Instant};

use futures::future::LocalBoxFuture;
use parking_lot::Mutex;

use super::super::terminal;
use super::render::escape_line;
use crate::error::Result;
use crate::output::{Output, escape_controls};
use crate::runbook::gate::{Gate, Reply};
use crate::runbook::journal::{Actor, Answer, Ending};
use crate::runbook::run::{Clock, Progress};
use crate::runbook::state::{RunHistory, StepState};
use crate::runbook::words::step_words;
use crate::runbook::{Mode, Runbook, Step};
use crate::when::format_span;
use crate::words::Tone;

/// Tells what happens.
pub(super) struct Watch<'a> {
    output: &'a Output,
    runbook: &'a Runbook,
    now: Mutex<Now>,
}

/// What the live line shows.
struct Now {
    began: Instant,
    words: String,
    deadline: Option<Instant>,
    next: String,
}

/// Columns that talk keeps to on a terminal.
const WIDTH: usize = 80;

impl<'a> Watch<'a> {
    pub(super) fn new(output: &'a Output, runbook: &'a Runbook) -> Self {
        let now = Now { began: Instant::now(), words: String::new(), deadline: None, next: String::new() };
        Watch { output, runbook, now: Mutex::new(now) }
    }

    /// The head, and what will be done.
    pub(super) fn begin(&self, run: &str, mode: Mode, by: &Actor) {
        self.head(run, mode, by);
        for (index, step) in self.runbook.steps.iter().enumerate() {
            let is_skipped = step.only.is_some_and(|only| only != mode);
            let mark = if is_skipped { "–" } else { "○" };
            self.listed(mark, index, step, if is_skipped { "not in this mode" } else { "" }, Tone::Faint);
        }
        self.output.say("");
    }

    /// The same for a run that is taken up: what is done stands first.
    pub(super) fn resume(&self, story: &RunHistory, by: &Actor) {
        self.head(&story.start.run, story.start.mode, by);
        for (index, step) in self.runbook.steps.iter().enumerate() {
            let told = story.step(&step.id);
            let is_todo = told.state == StepState::Todo;
            let words = step_words(told.state, told.undone, false);
            let word = if is_todo { "" } else { words.word };
            self.listed(words.mark, index, step, word, words.tone);
        }
        self.output.say("");
    }

    fn head(&self, run: &str, mode: Mode, by: &Actor) {
        let word = match mode {
            Mode::Real => self.output.toned(Tone::Bad, "REAL"),
            Mode::Rehearse => self.output.toned(Tone::Good, "REHEARSAL"),
        };
        self.output.say(format!(
            "{}   {word}",
            self.output.toned(Tone::Strong, escape_controls(&self.runbook.front.title))
        ));
        let mut facts = vec![format!("run {run}")];
        facts.extend(by.account.as_ref().map(|account| format!("account {account}")));
        facts.extend(by.region.clone());
        facts.extend(self.runbook.front.rto.map(|rto| format!("RTO {}", format_span(rto.as_secs_f64()))));
        facts.extend(self.runbook.front.rpo.map(|rpo| format!("RPO {}", format_span(rpo.as_secs_f64()))));
        for line in joined(&facts) {
            self.output.say(self.output.toned(Tone::Faint, line));
        }
        self.output.say("");
    }

    fn width(&self) -> usize {
        self.runbook.steps.iter().map(|step| step.id.chars().count()).max().unwrap_or(0)
    }

    fn listed(&self, mark: &str, index: usize, step: &Step, words: &str, tone: Tone) {
        let width = self.width();
        let first = format!("  {} {:>2}  {:width$}  ", self.output.toned(tone, mark), index + 1, step.id);
        let words = if words.is_empty() { String::new() } else { format!(" ({words})") };
        self.output.say(format!("{first}{}{words}", escape_controls(&step.title)));
    }

    /// Tells one thing.
    pub(super) fn tell(&self, tell: &Progress<'_>) {
        match tell {
            Progress::Step(step, clock) => self.step(step, clock),
            Progress::Says(line) => self.says(line),
            Progress::Waits(text) => self.live(text),
            Progress::Ended(step, ending, seconds, reasons, clock) => {
                self.ended(step, *ending, *seconds, reasons, clock)
            }
            Progress::Passed(step, why) => self.marked(Tone::Faint, "–", step, why),
            Progress::Probed(step, answer, reason) => {
                let (tone, word) = match answer {
                    Answer::Happened => (Tone::Good, "it happened"),
                    Answer::DidNot => (Tone::Doubt, "it did not happen"),
                    Answer::Unknown => (Tone::Bad, "it is not known whether it happened"),
                };
                self.marked(tone, "?", step, &format!("{word}: {reason}"));
            }
            Progress::Answered(step, answer, clock) => {
                self.marked(Tone::Good, "✓", step, &format!("“{answer}”   {}", format_time_left(clock)));
            }
            Progress::Undo(what, None, _) => {
                self.output.say(format!("  ↶ taking back {}", escape_controls(what)))
            }
            Progress::Undo(what, Some(true), _) => {
                self.output.say(format!(
                    "  {} {} is gone",
                    self.output.toned(Tone::Good, "✓"),
                    escape_controls(what)
                ));
            }
            Progress::Undo(what, Some(false), why) => {
                self.output.warn(format!(
                    "{} was not undone: {}",
                    escape_controls(what),
                    escape_controls(why)
                ));
            }
            Progress::Doubt(text) => self.output.warn(escape_controls(text)),
            Progress::Note(text) => self.output.say(format!("    {}", escape_controls(text))),
        }
    }

    fn step(&self, step: &Step, clock: &Clock) {
        let (number, of) = clock.step;
        let next = self.runbook.steps.get(number).map_or("the end".to_owned(), |next| next.id.clone());
        *self.now.lock() = Now {
            began: Instant::now(),
            words: format!("{number}/{of} {}", step.id),
            deadline: clock
                .rto
                .filter(|_| clock.recovered.is_none())
                .map(|rto| Instant::now() + rto.saturating_sub(clock.elapsed)),
            next,
        };
        let arrow = self.output.toned(Tone::Strong, "▸");
        let place = self.output.toned(Tone::Strong, format!("{number}/{of} {}", step.id));
        let left = self.output.toned(Tone::Faint, format_time_left(clock));
        self.output.say(format!("  {arrow} {place}  {}  {left}", escape_controls(&step.title)));
        self.live("");
    }

    fn says(&self, line: &str) {
        self.output.say(self.output.toned(Tone::Faint, format!("    │ {}", escape_line(line))));
    }

    fn live(&self, text: &str) {
        let now = self.now.lock();
        let mut parts = vec![now.words.clone()];
        if !text.is_empty() {
            parts.push(text.to_owned());
        }
        if let Some(deadline) = now.deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            parts.push(if left.is_zero() {
                "the RTO is over".to_owned()
            } else {
                format!("{} left", format_span(left.as_secs_f64()))
            });
        }
        parts.push(format!("next: {}", now.next));
        self.output.show_live(parts.join(" · "), now.began);
    }

    fn ended(&self, step: &Step, ending: Ending, seconds: f64, reasons: &[String], clock: &Clock) {
        self.output.settle();
        let (tone, mark) = match ending {
            Ending::Done => (Tone::Good, "✓"),
            Ending::Failed | Ending::Unmet => (Tone::Bad, "✗"),
            Ending::Unknown => (Tone::Doubt, "?"),
        };
        let mut words = format_span(seconds);
        for reason in reasons {
            words.push_str(&format!("; {reason}"));
        }
        self.marked(tone, mark, step, &words);
        if clock.recovered.is_none() && clock.rto.is_some_and(|rto| clock.elapsed > rto) {
            self.output.warn(format!("the recovery time objective has passed: {}", format_time_left(clock)));
        }
    }

    fn marked(&self, tone: Tone, mark: &str, step: &Step, words: &str) {
        self.output.settle();
        let width = self.width();
        let first = format!("  {} {:width$}  ", self.output.toned(tone, mark), step.id);
        self.output.say(format!("{first}{}", escape_controls(words)));
    }

    /// Asks a person on the terminal. For a second person's gate it only shows what is asked.
    pub(super) fn ask_later(&self, gate: Gate) -> LocalBoxFuture<'_, Result<Reply>> {
        Box::pin(async move { self.ask(&gate).await })
    }

    async fn ask(&self, gate: &Gate) -> Result<Reply> {
        self.output.settle();
        if !terminal::is_terminal() {
            return Ok(Reply::NoTerminal);
        }
        let bar = self.output.toned(Tone::Doubt, "┃");
        let barred = |text: &str| {
            text.lines().map(|line| format!("  {bar} {}", escape_controls(line))).collect::<Vec<_>>()
        };
        let mut lines = Vec::new();
        match &gate.refused {
            Some(why) => lines.extend(barred(&format!("{}. {}", upper(why), gate.describe_answer()))),
            None => {
                let head = format!("{}  {}", gate.role.to_uppercase(), gate.step);
                lines.push(String::new());
                lines.push(format!("  {bar} {}", self.output.toned(Tone::Strong, head)));
                lines.extend(barred(&gate.text));
                lines.push(format!("  {bar}"));
                let mut facts = Vec::new();
                facts.extend(gate.account.as_ref().map(|account| format!("account {account}")));
                facts.extend(gate.region.as_ref().map(|region| format!("Region {region}")));
                facts.extend(gate.answer.as_ref().map(|answer| format!("object {answer}")));
                for line in joined(&facts) {
                    lines.push(format!("  {bar} {}", self.output.toned(Tone::Strong, line)));
                }
                lines.extend(gate.facts.iter().flat_map(|fact| barred(fact)));
                lines.extend(barred(&format!(
                    "{} Ctrl-C stops here, and nothing is lost.",
                    gate.describe_answer()
                )));
            }
        }
        self.output.ask(lines.join("\n"));
        if gate.role == "approve" {
            return Ok(Reply::Typed(String::new()));
        }
        let typed = terminal::read_line(&format!("  {bar} > ")).await?;
        Ok(typed.map_or(Reply::Ended, Reply::Typed))
    }
}

fn upper(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// Facts behind each other, as many as fit on a line.
fn joined(facts: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for fact in facts {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 3 + fact.chars().count() <= WIDTH - 6 => {
                line.push_str(&format!(" · {fact}"));
            }
            _ => lines.push(fact.clone()),
        }
    }
    lines
}

/// `3m 12s gone, 56m 48s left`.
fn format_time_left(clock: &Clock) -> String {
    if let Some(recovered) = clock.recovered {
        return format!("recovered after {}", format_span(recovered.as_secs_f64()));
    }
    let gone = format_span(clock.elapsed.as_secs_f64());
    match clock.rto {
        None => format!("{gone} gone"),
        Some(rto) if rto >= clock.elapsed => {
            format!("{gone} gone, {} left", format_span((rto - clock.elapsed).as_secs_f64()))
        }
        Some(rto) => format!(
            "{gone} gone, {} over",
            format_span((clock.elapsed.saturating_sub(rto) + Duration::ZERO).as_secs_f64())
        ),
    }
}
