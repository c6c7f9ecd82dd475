//! How runbooks and runs look on a terminal.

use serde::Serialize;

use crate::output::{Page, Report as Printed, escape_controls};
use crate::runbook::fault::Fault;
use crate::runbook::gate::Approval;
use crate::runbook::plan::{Plan, Planned, Prospect};
use crate::runbook::preflight::Presence;
use crate::runbook::report::{Report, StepReport};
use crate::runbook::words;
use crate::runbook::{self, Mode, Runbook, Severity};
use crate::when::{format_span, format_time};
use crate::words::Tone;

/// A line of others as a terminal shows it: tabs as the spaces that they mean.
pub(super) fn escape_line(line: &str) -> String {
    let mut spaced = String::with_capacity(line.len());
    let mut column = 0;
    for letter in line.chars() {
        let width = if letter == '\t' { 8 - column % 8 } else { 1 };
        match letter {
            '\t' => spaced.push_str(&" ".repeat(width)),
            letter => spaced.push(letter),
        }
        column += width;
    }
    escape_controls(&spaced)
}

/// The runbooks that are built in (`lifeboat.runbooks/1`).
#[derive(Serialize)]
pub(super) struct Listing {
    schema: &'static str,
    runbooks: Vec<Listed>,
}

#[derive(Serialize)]
struct Listed {
    name: String,
    title: String,
    owner: String,
    steps: usize,
    rto_seconds: Option<f64>,
    rpo_seconds: Option<f64>,
    review_by: Option<chrono::NaiveDate>,
    sha256: String,
}

impl Listing {
    pub(super) fn new() -> Self {
        let listed = runbook::shipped::names().filter_map(|name| {
            let runbook = runbook::load_runbook(name).ok()?;
            Some(Listed {
                name: name.to_owned(),
                title: runbook.front.title.clone(),
                owner: runbook.front.owner.clone(),
                steps: runbook.steps.len(),
                rto_seconds: runbook.front.rto.map(|rto| rto.as_secs_f64()),
                rpo_seconds: runbook.front.rpo.map(|rpo| rpo.as_secs_f64()),
                review_by: runbook.front.review_by,
                sha256: runbook.sha256,
            })
        });
        Listing { schema: "lifeboat.runbooks/1", runbooks: listed.collect() }
    }
}

impl Printed for Listing {
    fn render(&self, page: &mut Page) {
        let time = |seconds: Option<f64>| seconds.map_or("–".to_owned(), format_span);
        let rows = self.runbooks.iter().map(|listed| {
            vec![
                (listed.name.clone(), Some(Tone::Strong)),
                (listed.title.clone(), None),
                (listed.steps.to_string(), None),
                (time(listed.rto_seconds), None),
                (listed.review_by.map_or("–".to_owned(), |date| date.to_string()), Some(Tone::Faint)),
            ]
        });
        page.table(&["runbook", "for when", "steps", "rto", "review by"], rows.collect());
        page.line("");
        page.line("  `lifeboat runbook show NAME` shows one, `lifeboat runbook run NAME --rehearse` tries it on throwaways");
    }
}

/// A runbook (`lifeboat.runbook/1`): for people it is its own text.
#[derive(Serialize)]
pub(super) struct Shown {
    schema: &'static str,
    name: String,
    sha256: String,
    title: String,
    owner: String,
    review_by: Option<chrono::NaiveDate>,
    rto_seconds: Option<f64>,
    rpo_seconds: Option<f64>,
    parameters: Vec<ShownParameter>,
    steps: Vec<ShownStep>,
    text: String,
}

#[derive(Serialize)]
struct ShownParameter {
    name: String,
    required: bool,
    pattern: Option<String>,
    default: Option<String>,
    rehearse: Option<String>,
    env: Option<String>,
    secret: bool,
    example: Option<String>,
    help: Option<String>,
}

#[derive(Serialize)]
struct ShownStep {
    id: String,
    title: String,
    role: &'static str,
    line: usize,
    only: Option<&'static str>,
    text: String,
    read_only: bool,
    creates: Vec<String>,
    sets: Vec<String>,
    expects: Vec<String>,
    probe: Option<String>,
    undo: Option<String>,
    by_hand: Vec<String>,
}

impl Shown {
    pub(super) fn of(runbook: &Runbook) -> Self {
        let parameters = runbook.front.parameters.iter().map(|it| ShownParameter {
            name: it.name.clone(),
            required: it.required,
            pattern: it.pattern.clone(),
            default: it.default.clone(),
            rehearse: it.rehearse.clone(),
            env: it.env.clone(),
            secret: it.secret,
            example: it.example.clone(),
            help: it.help.clone(),
        });
        let steps = runbook.steps.iter().map(|step| {
            let act = step.kind.act();
            ShownStep {
                id: step.id.clone(),
                title: step.title.clone(),
                role: step.kind.role(),
                line: step.at.line,
                only: step.only.map(Mode::word),
                text: match &step.kind {
                    runbook::Kind::Sh(act) | runbook::Kind::Sql(act, _) => act.script.text.clone(),
                    runbook::Kind::Wait(waiting) => waiting.condition.text.clone(),
                    runbook::Kind::Confirm { text, .. }
                    | runbook::Kind::Manual { text }
                    | runbook::Kind::Approve { text, .. } => text.clone(),
                },
                read_only: act.is_some_and(|act| act.read_only),
                creates: act.map(|act| act.creates.clone()).unwrap_or_default(),
                sets: act.map(|act| act.outputs().cloned().collect()).unwrap_or_default(),
                expects: step.expects.iter().map(|assertion| assertion.text.clone()).collect(),
                probe: step.probe.as_ref().map(|script| script.text.clone()),
                undo: step.undo.as_ref().map(|script| script.text.clone()),
                by_hand: step.by_hand.iter().map(|script| script.text.clone()).collect(),
            }
        });
        Shown {
            schema: "lifeboat.runbook/1",
            name: runbook.origin.file_stem(),
            sha256: runbook.sha256.clone(),
            title: runbook.front.title.clone(),
            owner: runbook.front.owner.clone(),
            review_by: runbook.front.review_by,
            rto_seconds: runbook.front.rto.map(|rto| rto.as_secs_f64()),
            rpo_seconds: runbook.front.rpo.map(|rpo| rpo.as_secs_f64()),
            parameters: parameters.collect(),
            steps: steps.collect(),
            text: runbook.text.clone(),
        }
    }
}

impl Printed for Shown {
    fn render(&self, page: &mut Page) {
        for line in self.text.lines() {
            page.verbatim(escape_line(line));
        }
    }
}

/// What is wrong with runbooks (`lifeboat.runbook.check/1`).
#[derive(Serialize)]
pub(super) struct Checks {
    pub(super) schema: &'static str,
    pub(super) runbooks: Vec<Checked>,
}

/// What is wrong with one.
#[derive(Serialize)]
pub(super) struct Checked {
    runbook: String,
    sha256: String,
    steps: usize,
    pub(super) faults: Vec<Fault>,
}

impl Checked {
    pub(super) fn new(name: &str, runbook: &Runbook, faults: Vec<Fault>) -> Self {
        Checked {
            runbook: name.to_owned(),
            sha256: runbook.sha256.clone(),
            steps: runbook.steps.len(),
            faults,
        }
    }
}

impl Printed for Checks {
    fn render(&self, page: &mut Page) {
        for checked in &self.runbooks {
            for fault in &checked.faults {
                let (tone, word) = match fault.severity {
                    Severity::Malformed => (Tone::Bad, "error"),
                    Severity::Shortfall => (Tone::Doubt, "warning"),
                    Severity::Note => (Tone::Faint, "note"),
                };
                page.line(format!(
                    "{}:{}: {}: {}",
                    checked.runbook,
                    fault.at,
                    page.toned(tone, word),
                    escape_controls(&fault.message)
                ));
                if let Some(hint) = &fault.hint {
                    page.line(page.toned(Tone::Faint, format!("    {}", escape_controls(hint))));
                }
            }
            let count = |severity| checked.faults.iter().filter(|fault| fault.severity == severity).count();
            let (errors, warnings) = (count(Severity::Malformed), count(Severity::Shortfall));
            if errors + warnings == 0 {
                page.line(format!(
                    "{} {}: {} steps, nothing is wrong",
                    page.toned(Tone::Good, "ok"),
                    checked.runbook,
                    checked.steps
                ));
            } else {
                page.line(format!(
                    "{} {}: {errors} errors, {warnings} warnings",
                    page.toned(Tone::Bad, "no"),
                    checked.runbook
                ));
            }
        }
    }
}

impl Printed for Plan {
    fn render(&self, page: &mut Page) {
        let (word, tone) = match self.mode {
            Mode::Real => ("REAL", Tone::Bad),
            Mode::Rehearse => ("REHEARSAL", Tone::Good),
        };
        page.heading(tone, word, format!("{}, only planned", self.title), None);
        let mut facts = vec![self.identity.clone()];
        facts.extend(self.region.clone());
        facts.extend(self.rto_seconds.map(|rto| format!("RTO {}", format_span(rto))));
        page.line(page.toned(Tone::Faint, facts.join(" · ")));
        page.line("");
        let width = self.values.keys().map(String::len).max().unwrap_or(0);
        for (name, value) in self.values.iter().filter(|(name, _)| !name.starts_with("run_")) {
            page.line(format!("  {name:width$}  {}", escape_controls(value)));
        }
        for (index, step) in self.steps.iter().enumerate() {
            page.line("");
            planned(index + 1, step, page);
        }
        page.line("");
        page.line("Nothing was changed.");
        let there = self.needs.iter().filter(|need| need.state == Presence::There);
        let unlooked = self.needs.iter().filter(|need| need.state == Presence::Unknown);
        let lists: [(&str, &str, Tone, Vec<&String>); 4] = [
            ("What later steps need, and is there:", "✓", Tone::Good, there.map(|need| &need.text).collect()),
            ("Not checked:", "?", Tone::Doubt, unlooked.map(|need| &need.text).collect()),
            ("This may stop the run:", "?", Tone::Doubt, self.doubts.iter().collect()),
            ("This would stop the run:", "✗", Tone::Bad, self.findings.iter().collect()),
        ];
        for (title, mark, tone, texts) in lists.iter().filter(|(.., texts)| !texts.is_empty()) {
            page.line(*title);
            for text in texts {
                page.line(format!("  {}  {}", page.toned(*tone, *mark), escape_controls(text)));
            }
        }
        if self.findings.is_empty() && self.doubts.is_empty() {
            page.line("Nothing that can be seen beforehand would stop this run.");
        }
    }
}

fn planned(number: usize, step: &Planned, page: &mut Page) {
    let (tone, mark, words) = match step.state {
        Prospect::Holds => (Tone::Good, "✓", "checked just now"),
        Prospect::DoesNotHold => (Tone::Bad, "✗", "checked just now"),
        Prospect::Failed => (Tone::Bad, "✗", "could not be checked"),
        Prospect::NotRun => (Tone::Doubt, "?", "not run in a plan"),
        Prospect::WouldRun => (Tone::Strong, "▸", "would run"),
        Prospect::Later => (Tone::Faint, "○", "reads what is not there yet"),
        Prospect::WouldAsk => (Tone::Doubt, "┃", "would ask"),
        Prospect::Skipped => (Tone::Faint, "–", "skipped"),
    };
    let reason = step.reason.as_deref().map(|reason| reason.trim_start_matches("not run in a plan: "));
    let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    page.line(format!(
        "  {} {number:>2} {}  {}  {}",
        page.toned(tone, mark),
        page.toned(Tone::Strong, &step.id),
        escape_controls(&step.title),
        page.toned(Tone::Faint, format!("({words}{reason})"))
    ));
    if step.state == Prospect::Skipped {
        return;
    }
    for line in step.text.lines() {
        page.verbatim(format!("       {}", escape_line(line)));
    }
    for line in step.output.iter().flat_map(|output| output.lines()) {
        page.line(page.toned(Tone::Faint, format!("       → {}", escape_line(line))));
    }
    for object in &step.creates {
        page.line(page.toned(Tone::Faint, format!("       makes {}", escape_controls(object))));
    }
}

/// Runs of a vault (`lifeboat.runs/1`).
#[derive(Serialize)]
pub(super) struct Runs {
    pub(super) schema: &'static str,
    pub(super) runs: Vec<Report>,
}

impl Printed for Runs {
    fn render(&self, page: &mut Page) {
        if self.runs.is_empty() {
            page.line("there are no runs in this vault");
            return;
        }
        let rows = self.runs.iter().map(|run| {
            vec![
                (run.state.word().to_owned(), Some(words::headline(run).tone)),
                (run.run.clone(), Some(Tone::Strong)),
                (run.runbook.clone(), None),
                (run.mode.word().to_owned(), None),
                (format!("{}/{}", run.steps_done, run.steps.len()), None),
                (run.next.clone().unwrap_or_default(), None),
                (format_span(run.rto.measured_seconds), None),
                (format_time(run.started_at), Some(Tone::Faint)),
            ]
        });
        page.table(&["", "run", "runbook", "mode", "steps", "next", "took", "began"], rows.collect());
    }
}

impl Printed for Report {
    fn render(&self, page: &mut Page) {
        let headline = words::headline(self);
        let what = if self.mode == Mode::Rehearse { "rehearsal of runbook" } else { "runbook" };
        let took = self.finished_at.map(|at| (at - self.started_at).as_seconds_f64());
        let head = format!("{what} `{}`", self.runbook);
        page.heading(headline.tone, headline.word, head, took);
        let mut lines =
            vec![self.title.clone(), headline.meaning, format!("{}.", words::recovery_sentence(&self.rto))];
        if let Some(undo) = &self.undo {
            lines.push(format!("Taken back by {} at {}.", undo.by.identity, format_time(undo.at)));
        }
        lines.iter().for_each(|line| page.line(format!("  {}", escape_controls(line))));
        page.line(page.toned(Tone::Faint, format!("  run {}", self.run)));
        for reason in self.reasons.iter().chain(self.undo.iter().flat_map(|undo| &undo.reasons)) {
            page.line(format!("  •  {}", escape_controls(reason)));
        }
        page.line("");
        let rows =
            self.steps.iter().enumerate().map(|(index, step)| row(index + 1, step, self.next.as_deref()));
        page.table(&["", "", "step", "took", ""], rows.collect());
        page.line("");
        for left in &self.left {
            page.line(format!("  made: {}", escape_controls(&left.object)));
        }
        if !self.not_rehearsed.is_empty() {
            page.line(format!(
                "  not rehearsed ({} % were): {}",
                self.coverage_percent,
                ids(&self.not_rehearsed)
            ));
        }
        page.line(format!("  evidence: {}", self.evidence.html));
    }
}

fn ids(steps: &[String]) -> String {
    steps.iter().filter_map(|step| step.split(':').next()).collect::<Vec<_>>().join(", ")
}

fn row(number: usize, step: &StepReport, next: Option<&str>) -> Vec<(String, Option<Tone>)> {
    let words = words::step_words(step.state, step.taken_back, next == Some(step.id.as_str()));
    let tone = words.tone;
    let is_said = step.reasons.first().is_some_and(|reason| reason.starts_with(words.word));
    let mut said: Vec<String> = (!is_said).then(|| words.word.to_owned()).into_iter().collect();
    said.extend(step.answer.as_ref().map(|answer| format!("“{answer}”")));
    said.extend((step.attempts > 1).then(|| format!("{} attempts", step.attempts)));
    said.extend(step.reasons.iter().cloned());
    vec![
        (words.mark.to_owned(), Some(tone)),
        (number.to_string(), Some(Tone::Faint)),
        (step.id.clone(), None),
        (step.seconds.map(format_span).unwrap_or_default(), None),
        (said.join("; "), Some(if tone == Tone::Bad { Tone::Bad } else { Tone::Faint })),
    ]
}

/// An approval that was given (`lifeboat.approval/1`).
#[derive(Serialize)]
pub(super) struct Approved {
    schema: &'static str,
    run: String,
    #[serde(flatten)]
    approval: Approval,
}

impl Approved {
    pub(super) fn of(run: &str, approval: Approval) -> Self {
        Approved { schema: "lifeboat.approval/1", run: run.to_owned(), approval }
    }
}

impl Printed for Approved {
    fn render(&self, page: &mut Page) {
        page.line(format!(
            "approved step `{}` of run {} as {}",
            self.approval.step, self.run, self.approval.by.identity
        ));
        page.line(match self.approval.proof {
            Some(_) => "The proof that it was you expires within minutes: have the run resumed now.",
            None => "Without AWS, nothing proves that it was you; the record of the run will say so.",
        });
    }
}
