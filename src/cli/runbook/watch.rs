//! What whoever runs a runbook sees: the list of its steps, where it is, what comes next, and how much time is left.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::error::{Error, Kind, Result};
use crate::output::{Output, Tone, plain};
use crate::runbook::gate::Gate;
use crate::runbook::journal::{Actor, Answer, Ending};
use crate::runbook::report::span;
use crate::runbook::run::{Clock, Tell};
use crate::runbook::state::{StepState, Story};
use crate::runbook::{Mode, Runbook, Step};

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
    /// Lines that the step has said.
    lines: usize,
}

/// Lines of a step that are shown; the record has them all.
const LINES_SHOWN: usize = 12;

impl<'a> Watch<'a> {
    pub(super) fn new(output: &'a Output, runbook: &'a Runbook) -> Self {
        let now = Now {
            began: Instant::now(),
            words: String::new(),
            deadline: None,
            next: String::new(),
            lines: 0,
        };
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
    pub(super) fn resume(&self, story: &Story, by: &Actor) {
        self.head(&story.start.run, story.start.mode, by);
        for (index, step) in self.runbook.steps.iter().enumerate() {
            let (mark, words, tone) = match story.state_of(&step.id) {
                StepState::Done => ("✓", "done", Tone::Good),
                StepState::Skipped => ("–", "skipped", Tone::Faint),
                StepState::Undone => ("↶", "taken back", Tone::Faint),
                StepState::Failed => ("✗", "failed", Tone::Bad),
                StepState::Unmet => ("✗", "not as expected", Tone::Bad),
                StepState::Running => ("▸", "being done", Tone::Strong),
                StepState::Unknown => ("?", "not known", Tone::Doubt),
                StepState::Todo => ("○", "", Tone::Faint),
            };
            self.listed(mark, index, step, words, tone);
        }
        self.output.say("");
    }

    fn head(&self, run: &str, mode: Mode, by: &Actor) {
        let word = match mode {
            Mode::Real => self.output.toned(Tone::Bad, "REAL"),
            Mode::Rehearse => self.output.toned(Tone::Good, "REHEARSAL"),
        };
        self.output
            .say(format!("{}   {word}", self.output.toned(Tone::Strong, plain(&self.runbook.front.title))));
        let mut facts = vec![format!("run {run}")];
        facts.extend(by.account.as_ref().map(|account| format!("account {account}")));
        facts.extend(by.region.clone());
        facts.extend(self.runbook.front.rto.map(|rto| format!("RTO {}", span(rto.as_secs_f64()))));
        facts.extend(self.runbook.front.rpo.map(|rpo| format!("RPO {}", span(rpo.as_secs_f64()))));
        self.output.say(self.output.toned(Tone::Faint, facts.join(" · ")));
        self.output.say("");
    }

    fn width(&self) -> usize {
        self.runbook.steps.iter().map(|step| step.id.chars().count()).max().unwrap_or(0)
    }

    fn listed(&self, mark: &str, index: usize, step: &Step, words: &str, tone: Tone) {
        let line =
            format!("{:>4}  {:width$}  {}", index + 1, step.id, plain(&step.title), width = self.width());
        let words = if words.is_empty() { String::new() } else { format!("  ({words})") };
        self.output.say(format!(
            "  {} {line}{}",
            self.output.toned(tone, mark),
            self.output.toned(Tone::Faint, words)
        ));
    }

    /// Tells one thing.
    pub(super) fn tell(&self, tell: &Tell<'_>) {
        match tell {
            Tell::Step(step, clock) => self.step(step, clock),
            Tell::Says(line) => self.says(line),
            Tell::Waits(text) => self.live(text),
            Tell::Ended(step, ending, seconds, reasons, clock) => {
                self.ended(step, *ending, *seconds, reasons, clock)
            }
            Tell::Passed(step, why) => self.marked(Tone::Faint, "–", step, why),
            Tell::Probed(step, answer, reason) => {
                let (tone, word) = match answer {
                    Answer::Happened => (Tone::Good, "it happened"),
                    Answer::DidNot => (Tone::Doubt, "it did not happen"),
                    Answer::Unknown => (Tone::Bad, "nobody knows whether it happened"),
                };
                self.marked(tone, "?", step, &format!("{word}: {reason}"));
            }
            Tell::Answered(step, answer, clock) => {
                self.marked(Tone::Good, "✓", step, &format!("“{answer}”   {}", left(clock)));
            }
            Tell::Undo(what, None, _) => self.output.say(format!("  ↶ taking back {}", plain(what))),
            Tell::Undo(what, Some(true), _) => {
                self.output.say(format!("  {} {} is gone", self.output.toned(Tone::Good, "✓"), plain(what)));
            }
            Tell::Undo(what, Some(false), why) => {
                self.output.warn(format!("{} was not taken back: {}", plain(what), plain(why)));
            }
            Tell::Note(text) => self.output.say(format!("    {}", plain(text))),
        }
    }

    fn step(&self, step: &Step, clock: &Clock) {
        let (number, of) = clock.step;
        let next = self.runbook.steps.get(number).map_or("the end".to_owned(), |next| next.id.clone());
        if let Ok(mut now) = self.now.lock() {
            *now = Now {
                began: Instant::now(),
                words: format!("{number}/{of} {}", step.id),
                deadline: clock.rto.map(|rto| Instant::now() + rto.saturating_sub(clock.elapsed)),
                next,
                lines: 0,
            };
        }
        let arrow = self.output.toned(Tone::Strong, "▸");
        let place = self.output.toned(Tone::Strong, format!("{number}/{of} {}", step.id));
        self.output.say(format!(
            "  {arrow} {place}  {}   {}",
            plain(&step.title),
            self.output.toned(Tone::Faint, left(clock))
        ));
        self.live("");
    }

    fn says(&self, line: &str) {
        let Ok(mut now) = self.now.lock() else { return };
        now.lines += 1;
        let shown = match now.lines {
            ..=LINES_SHOWN => plain(line),
            number if number == LINES_SHOWN + 1 => "… (the record has it all)".to_owned(),
            _ => return,
        };
        self.output.say(self.output.toned(Tone::Faint, format!("         │ {shown}")));
    }

    fn live(&self, text: &str) {
        let Ok(now) = self.now.lock() else { return };
        let mut parts = vec![now.words.clone()];
        if !text.is_empty() {
            parts.push(text.to_owned());
        }
        if let Some(deadline) = now.deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            parts.push(if left.is_zero() {
                "the RTO is over".to_owned()
            } else {
                format!("{} left", span(left.as_secs_f64()))
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
        let mut words = span(seconds);
        for reason in reasons {
            words.push_str(&format!("; {reason}"));
        }
        self.marked(tone, mark, step, &words);
        if clock.rto.is_some_and(|rto| clock.elapsed > rto) {
            self.output.warn(format!("the recovery time objective has passed: {}", left(clock)));
        }
    }

    fn marked(&self, tone: Tone, mark: &str, step: &Step, words: &str) {
        self.output.settle();
        self.output.say(format!(
            "  {} {:width$}  {}",
            self.output.toned(tone, mark),
            step.id,
            plain(words),
            width = self.width()
        ));
    }

    /// Asks a person on the terminal; `None` where there is none. For a second person's gate it only shows what is asked.
    pub(super) async fn ask(&self, gate: &Gate) -> Result<Option<String>> {
        self.output.settle();
        if !super::is_terminal() {
            return Ok(None);
        }
        let bar = self.output.toned(Tone::Doubt, "┃");
        let mut lines = vec![String::new()];
        lines.push(format!(
            "  {bar} {}",
            self.output.toned(Tone::Strong, format!("{}  {}", gate.role.to_uppercase(), gate.step))
        ));
        lines.extend(gate.text.lines().flat_map(wrapped).map(|line| format!("  {bar} {line}")));
        let mut facts = Vec::new();
        facts.extend(gate.account.as_ref().map(|account| format!("account {account}")));
        facts.extend(gate.region.as_ref().map(|region| format!("Region {region}")));
        facts.extend(gate.answer.as_ref().map(|answer| format!("object {answer}")));
        lines.push(format!("  {bar}"));
        lines.push(format!("  {bar} {}", self.output.toned(Tone::Strong, facts.join(" · "))));
        lines.push(format!("  {bar} {} (Ctrl-C stops here; nothing is lost)", gate.wanted()));
        self.output.ask(lines.join("\n"));
        if gate.role == "approve" {
            return Ok(Some(String::new()));
        }
        // Its own thread: a person who never answers must not keep the process from ending.
        let (sender, answer) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let read = std::io::stdin().read_line(&mut line).map(|bytes| (bytes > 0).then_some(line));
            let _ = sender.send(read);
        });
        match answer.await {
            Ok(Ok(typed)) => Ok(typed),
            Ok(Err(error)) => Err(Error::new(Kind::Guard, "the terminal cannot be read").caused_by(error)),
            Err(_) => Ok(None),
        }
    }
}

/// `3m 12s gone, 56m 48s left`.
fn left(clock: &Clock) -> String {
    let gone = span(clock.elapsed.as_secs_f64());
    match clock.rto {
        None => format!("{gone} gone"),
        Some(rto) if rto >= clock.elapsed => {
            format!("{gone} gone, {} left", span((rto - clock.elapsed).as_secs_f64()))
        }
        Some(rto) => format!(
            "{gone} gone, {} over",
            span((clock.elapsed.saturating_sub(rto) + Duration::ZERO).as_secs_f64())
        ),
    }
}

/// A line of a gate, broken between words where a terminal would break inside of them.
fn wrapped(line: &str) -> Vec<String> {
    const WIDTH: usize = 72;
    let mut lines = vec![String::new()];
    for word in plain(line).split(' ') {
        let last = lines.last().map_or(0, |line| line.chars().count());
        match lines.last_mut() {
            Some(line) if last == 0 => line.push_str(word),
            Some(line) if last + 1 + word.chars().count() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
