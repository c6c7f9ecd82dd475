//! How a run and its steps stand, in words: one function each, asked by the terminal, the page, the JSON and the list of runs.

use super::document::Mode;
use super::report::{Report, Rto};
use super::state::{RunState, StepState};
use crate::when::format_span;
use crate::words::{Tone, format_count};

/// What stands over a report.
#[derive(Clone, Debug)]
pub(crate) struct Headline {
    pub(crate) tone: Tone,
    /// `PASS`, `FAIL`, `STOPPED` and so on.
    pub word: &'static str,
    /// A sentence or two that say what the word means here.
    pub meaning: String,
}

/// The headline of a run.
pub(crate) fn headline(report: &Report) -> Headline {
    let next = report.next.as_deref().unwrap_or("its next step");
    let count = Count::of_report(report);
    let (tone, word, meaning) = match report.state {
        RunState::Passed if report.mode == Mode::Rehearse => (
            Tone::Good,
            "PASS",
            format!("{} The rehearsal has removed what it created.", count.sentence(Mode::Rehearse)),
        ),
        RunState::Passed => {
            (Tone::Good, "PASS", format!("{} Every expectation holds.", count.sentence(Mode::Real)))
        }
        RunState::Missed if !report.left.is_empty() => (
            Tone::Bad,
            "FAIL",
            format!("{} Something that the run created still exists.", count.sentence(report.mode)),
        ),
        RunState::Missed if count.failed > 0 => (
            Tone::Bad,
            "FAIL",
            format!("A step failed, and the run has ended. {}", count.sentence(report.mode)),
        ),
        RunState::Missed => (
            Tone::Bad,
            "FAIL",
            format!("The run has ended and did not meet its objective. {}", count.sentence(report.mode)),
        ),
        RunState::Failed => {
            (Tone::Bad, "STOPPED", format!("The run stopped at `{next}` and can be resumed."))
        }
        RunState::Waiting => {
            (Tone::Doubt, "WAITING", format!("The run waits for somebody to decide at `{next}`."))
        }
        RunState::Interrupted => (
            Tone::Doubt,
            "INTERRUPTED",
            format!("The run was interrupted and can be resumed. The next step is `{next}`."),
        ),
        RunState::Unknown => (
            Tone::Doubt,
            "UNKNOWN",
            format!("It is not known whether `{next}` happened. Somebody must decide."),
        ),
        RunState::Running => {
            (Tone::Doubt, "RUNNING", "The run was under way when this was written.".to_owned())
        }
        RunState::Died => (
            Tone::Doubt,
            "DIED",
            "The process of the run ended unexpectedly. The run can be resumed.".to_owned(),
        ),
        RunState::Undone => {
            (Tone::Faint, "UNDONE", format!("{} Everything it did was undone.", before(report)))
        }
        RunState::NotUndone => {
            (Tone::Doubt, "NOT UNDONE", format!("{} None of its steps was undone.", before(report)))
        }
        RunState::PartlyUndone => (
            Tone::Doubt,
            "PARTLY UNDONE",
            format!("{} {} of its steps {} undone.", before(report), count.undone, was(count.undone)),
        ),
    };
    Headline { tone, word, meaning }
}

const fn was(count: usize) -> &'static str {
    if count == 1 { "was" } else { "were" }
}

/// The state of the run before it was undone.
fn before(report: &Report) -> &'static str {
    match report.verdict {
        "pass" => "The run had passed.",
        "fail" => "The run had failed.",
        _ => "The run had not finished.",
    }
}

/// How many steps are done, of how many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub all: usize,
    /// Those that were done, whether undone or not.
    pub done: usize,
    /// Those that failed or were not as expected.
    pub failed: usize,
    /// Those that are not for this mode.
    pub skipped: usize,
    /// Those that were undone, failed ones included.
    pub undone: usize,
}

impl Count {
    /// Counts the steps of a report.
    pub(crate) fn of_report(report: &Report) -> Self {
        let mut count = Count { all: report.steps.len(), ..Count::default() };
        for step in &report.steps {
            count.done += usize::from(is_done(step.state));
            count.failed += usize::from(matches!(step.state, StepState::Failed | StepState::Unmet));
            count.skipped += usize::from(step.state == StepState::Skipped);
            count.undone += usize::from(step.taken_back == Some(true));
        }
        count
    }

    /// How much of the steps were done, in percent.
    pub(crate) fn percent(self) -> u32 {
        u32::try_from(self.done * 100 / self.all.max(1)).unwrap_or(0)
    }

    /// `12 of 16 steps were done.`
    pub(crate) fn sentence(self, mode: Mode) -> String {
        let verb = if mode == Mode::Rehearse { "rehearsed" } else { "done" };
        let skipped = match self.skipped {
            0 => String::new(),
            skipped => format!("; {skipped} {} not for this mode", if skipped == 1 { "is" } else { "are" }),
        };
        let steps = format_count(self.all, "step", "steps");
        format!(
            "{} of {steps} {} {verb}{skipped}.",
            self.done,
            was(if self.all == 1 { 1 } else { self.done })
        )
    }
}

/// Whether a step was done, even if it was undone later.
pub(crate) const fn is_done(state: StepState) -> bool {
    matches!(state, StepState::Done | StepState::Undone)
}

/// The state of a step.
#[derive(Clone, Debug)]
pub(crate) struct StepWords {
    pub(crate) tone: Tone,
    /// A mark of one character.
    pub mark: &'static str,
    pub word: &'static str,
}

/// The state of a step; `is_next` if the run continues with it.
pub(crate) fn step_words(state: StepState, taken_back: Option<bool>, is_next: bool) -> StepWords {
    let (tone, mark, word) = match (state, taken_back) {
        (StepState::Done, Some(false)) => (Tone::Bad, "✗", "not undone"),
        (StepState::Done, _) => (Tone::Good, "✓", "done"),
        (StepState::Undone, _) => (Tone::Faint, "↶", "undone"),
        (StepState::Failed, Some(true)) => (Tone::Bad, "✗", "failed, undone"),
        (StepState::Failed, _) => (Tone::Bad, "✗", "failed"),
        (StepState::Unmet, Some(true)) => (Tone::Bad, "✗", "not as expected, undone"),
        (StepState::Unmet, _) => (Tone::Bad, "✗", "not as expected"),
        (StepState::Running, _) => (Tone::Doubt, "▸", "running"),
        (StepState::Unknown, Some(true)) => (Tone::Doubt, "?", "not known, undone"),
        (StepState::Unknown, _) => (Tone::Doubt, "?", "not known"),
        (StepState::Skipped, _) => (Tone::Faint, "–", "skipped"),
        (StepState::Todo, _) if is_next => (Tone::Doubt, "▸", "next"),
        (StepState::Todo, _) => (Tone::Faint, "○", "not reached"),
    };
    StepWords { tone, mark, word }
}

/// The recovery time compared with its objective.
pub(crate) fn rto_words(rto: &Rto, is_over: bool) -> (Tone, &'static str) {
    match rto.verdict {
        "pass" => (Tone::Good, "met"),
        "fail" => (Tone::Bad, "missed"),
        _ if rto.objective_seconds.is_none() => (Tone::Faint, "no objective"),
        _ if is_over => (Tone::Doubt, "not reached"),
        _ => (Tone::Doubt, "not measured yet"),
    }
}

/// `12m 4s until \`healthy\` was done, of an RTO of 1h`.
pub(crate) fn recovery_sentence(rto: &Rto) -> String {
    let until = match &rto.recovered_by {
        Some(step) => format!("{} until `{step}` was done", format_span(rto.measured_seconds)),
        None => format!("{} so far; the recovery was not complete", format_span(rto.measured_seconds)),
    };
    match rto.objective_seconds {
        Some(objective) => format!("{until}, of an RTO of {}", format_span(objective)),
        None => until,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::document::Origin;
    use super::super::journal::{Actor, End, Ending, Event, Line, Start};
    use super::super::parse;
    use super::super::state::RunHistory;
    use super::*;
    use crate::vault::Vault;

    const TEXT: &str = "---\nrunbook: 1\ntitle: t\nowner: o\nreview_by: 2099-01-01\nrto: 1h\n---\n\
        ```sh id=a\ntrue\n```\n```sh id=b only=real\ntrue\n```\n```sh id=c\ntrue\n```\n```manual id=d\nWrite\n```\n";

    /// The record of a run whose steps came to `endings`, until the first that is not done, and of which the steps of `undone` were
    /// taken back.
    fn record(mode: Mode, endings: &[Ending], undone: &[bool]) -> Report {
        let runbook = parse::parse(Origin::Shipped("t".to_owned()), TEXT.as_bytes());
        let by = Actor {
            identity: "ada".into(),
            account: None,
            region: None,
            host: "h".into(),
            version: "0".into(),
        };
        let start = Start {
            run: "20261122-050000-abc234".into(),
            runbook: "t".into(),
            place: "t".into(),
            sha256: runbook.sha256.clone(),
            mode,
            values: Default::default(),
            by: by.clone(),
            doubts: Vec::new(),
        };
        let mut events = vec![Event::Start(Box::new(start))];
        let mut is_whole = true;
        for (step, result) in runbook.steps.iter().zip(endings) {
            if step.only.is_some_and(|only| only != mode) {
                events.push(Event::Skipped { step: step.id.clone(), reason: "only real".into() });
                continue;
            }
            events.push(Event::Begin {
                step: step.id.clone(),
                attempt: 1,
                sha256: String::new(),
                absent: Vec::new(),
            });
            events.push(Event::End(Box::new(End {
                step: step.id.clone(),
                result: *result,
                exit: None,
                seconds: 1.0,
                output: None,
                values: Default::default(),
                made: Vec::new(),
                reasons: Vec::new(),
            })));
            if *result != Ending::Done {
                is_whole = false;
                break;
            }
        }
        let verdict = if is_whole { "passed" } else { "failed" };
        let reasons = if is_whole { Vec::new() } else { vec!["a step failed".to_owned()] };
        let undo = |events: &mut Vec<Event>| {
            for (step, _) in runbook.steps.iter().zip(undone).filter(|(_, undone)| **undone) {
                events.push(Event::UndoEnd { step: step.id.clone(), is_undone: true, reason: String::new() });
            }
        };
        if mode == Mode::Rehearse {
            undo(&mut events);
        }
        events.push(Event::Finished { verdict: verdict.into(), reasons });
        if mode == Mode::Real && undone.contains(&true) {
            events.push(Event::Undo { by, kept: None });
            undo(&mut events);
            events.push(Event::Undone { is_whole: !undone.contains(&false), reasons: Vec::new() });
        }
        let t = "2026-11-22T05:00:00Z".parse().unwrap();
        let line = |event| Line { v: 1, seq: 1, t, event, prev: String::new() };
        let lines: Vec<Line> = events.into_iter().map(line).collect();
        let directory = tempfile::tempdir().unwrap();
        let vault = Vault::open(directory.path().to_str().unwrap(), &crate::aws::Access::default()).unwrap();
        crate::runbook::evidence::build_report(
            &runbook,
            &RunHistory::replay(&lines).unwrap(),
            &vault,
            "",
            lines.len(),
        )
    }

    proptest! {
        #[test]
        fn a_headline_says_what_the_rows_below_it_say(
            is_rehearsal: bool,
            endings in proptest::collection::vec(0..4_u8, 4),
            undone in proptest::collection::vec(any::<bool>(), 4),
        ) {
            let endings: Vec<Ending> = endings
                .iter()
                .map(|number| match number {
                    0 | 1 => Ending::Done,
                    2 => Ending::Failed,
                    _ => Ending::Unmet,
                })
                .collect();
            let mode = if is_rehearsal { Mode::Rehearse } else { Mode::Real };
            let report = record(mode, &endings, &undone);
            let rows: Vec<&str> =
                report.steps.iter().map(|step| step_words(step.state, step.taken_back, false).word).collect();
            let failed = rows.iter().filter(|word| word.starts_with("failed") || word.starts_with("not as expected")).count();
            let done = report.steps.iter().filter(|step| is_done(step.state)).count();
            let was_undone = !is_rehearsal && undone.contains(&true);
            prop_assert_eq!(report.headline == "PASS", failed == 0 && !was_undone, "{:?}", rows);
            prop_assert_eq!(report.headline.ends_with("UNDONE"), was_undone);
            prop_assert_eq!(report.steps_done, done);
            prop_assert_eq!(Count::of_report(&report).failed, failed);
            prop_assert_eq!(report.verdict == "pass", failed == 0);
            // What failed is never shown as done, and the words never say both.
            for (step, word) in report.steps.iter().zip(&rows) {
                prop_assert!(!(matches!(step.state, StepState::Failed | StepState::Unmet) && *word == "undone"));
            }
            if report.headline == "PASS" || report.headline == "FAIL" {
                let sentence = format!("{done} of 4 steps");
                prop_assert!(report.meaning.contains(&sentence), "{}", report.meaning);
            }
            // Nothing that is over says that it is not.
            prop_assert!(rto_words(&report.rto, report.state.is_over()).1 != "not measured yet");
        }
    }
}
