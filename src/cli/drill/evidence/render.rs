//! How a year of drills looks.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::drill::annotate::Note;
use crate::drill::calendar::{Calendar, Cell, Month};
use crate::drill::headline::{self, Standing};
use crate::drill::report::DrillReport;
use crate::drill::verify_evidence::{Checked, Fault, Report as Integrity, Verdict};
use crate::error::Kind;
use crate::output::{self, Page, escape_controls};
use crate::when::format_time;
use crate::words::Tone;

/// `drill list --year`.
#[derive(Serialize)]
pub(super) struct YearReport {
    schema: &'static str,
    at: DateTime<Utc>,
    #[serde(flatten)]
    calendar: Calendar,
    verdict: Standing,
    #[serde(skip)]
    tone: Tone,
    headline: String,
    reasons: Vec<String>,
    unreadable: Vec<String>,
    /// What is not as it was recorded, as `drill verify-evidence` says it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    altered: Vec<String>,
    #[serde(skip)]
    is_judged: bool,
}

/// What is wrong with the evidence itself.
pub(super) struct Evidence {
    /// What is not as it was recorded, or could not be held against that.
    pub(super) altered: Vec<String>,
    /// Whether something was changed since it was recorded.
    pub(super) is_altered: bool,
    /// How many drills no chain protected when they were recorded, by database.
    pub(super) unchained: BTreeMap<String, usize>,
    /// Records that cannot be read.
    pub(super) unreadable: Vec<String>,
}

impl YearReport {
    pub(super) fn new(calendar: Calendar, evidence: Evidence, is_judged: bool, at: DateTime<Utc>) -> Self {
        let Evidence { altered, is_altered, unchained, unreadable } = evidence;
        let is_unchained = !unchained.is_empty();
        let mut reasons = headline::list_shortfalls(&calendar);
        let is_unreadable = !unreadable.is_empty() || !altered.is_empty();
        let headline = headline::summarize_calendar(
            &calendar,
            headline::Evidence { is_altered, is_unreadable, is_unchained },
        );
        if is_altered {
            reasons.push(format!(
                "the evidence was changed after it was recorded: {}; run `lifeboat drill verify-evidence` for details",
                some_of(&altered)
            ));
        } else if !altered.is_empty() {
            reasons.push(format!("the evidence could not be held against its chain: {}", some_of(&altered)));
        }
        if !unreadable.is_empty() {
            reasons.push(format!("{} of the evidence could not be read", unreadable.len()));
        }
        reasons.extend(unchained.iter().map(|(source, count)| {
            let drills = if *count == 1 { "1 drill is" } else { &format!("{count} drills are") };
            format!(
                "`{source}`: {drills} from before there was a chain, or the chain was taken away: nothing shows that they are as they \
                 were written; a head that was kept elsewhere does (`lifeboat drill verify-evidence` with `--expect-head`)"
            )
        }));
        if calendar.databases.is_empty() {
            reasons.push("there are no databases and no drills".to_owned());
        }
        if headline.standing == Standing::Unknown && reasons.is_empty() && calendar.aws.asked {
            reasons
                .push("no month is missing yet, and not every database has a drill that passed".to_owned());
        }
        if !calendar.aws.asked && !calendar.aws.is_left_out {
            let why = calendar.aws.reason.clone().unwrap_or_default();
            reasons.push(format!("AWS could not be asked which databases exist: {why}"));
        }
        let schema = "lifeboat.drill-year/1";
        let (verdict, tone, headline) = (headline.standing, headline.tone, headline.words);
        YearReport { schema, at, calendar, verdict, tone, headline, reasons, unreadable, altered, is_judged }
    }

    /// The exit code judges only if `--check` asks for that.
    pub(super) fn kind(&self) -> Option<Kind> {
        match self.verdict {
            _ if !self.is_judged => None,
            Standing::Complete => None,
            Standing::Incomplete => Some(Kind::No),
            Standing::Unknown => Some(Kind::Outside),
        }
    }
}

/// The first of several, and how many more there are.
fn some_of(findings: &[String]) -> String {
    let shown: Vec<&str> = findings.iter().take(3).map(String::as_str).collect();
    match findings.len().saturating_sub(shown.len()) {
        0 => shown.join("; "),
        more => format!("{}; and {more} more", shown.join("; ")),
    }
}

/// A month in a few letters.
fn month_cell(cell: &Cell) -> (String, Option<Tone>) {
    let all = cell.passed + cell.failed + cell.unknown;
    match cell.outcome {
        Month::Pass if cell.passed == all => (format!("ok {all}"), Some(Tone::Good)),
        Month::Pass => (format!("ok {}/{all}", cell.passed), Some(Tone::Good)),
        Month::Fail => ("FAIL".to_owned(), Some(Tone::Bad)),
        Month::Unknown => ("?".to_owned(), Some(Tone::Doubt)),
        Month::Gap => ("GAP".to_owned(), Some(Tone::Bad)),
        Month::Due => ("due".to_owned(), Some(Tone::Doubt)),
        Month::Before => ("·".to_owned(), Some(Tone::Faint)),
        Month::Gone => ("gone".to_owned(), Some(Tone::Faint)),
        Month::Ahead => (String::new(), None),
    }
}

fn render_months(calendar: &Calendar, page: &mut Page) {
    let all = calendar.period.months();
    // A year fits on a terminal; more are shown a year at a time.
    for (nth, part) in all.chunks(12).enumerate() {
        let mut header =
            vec![if all.len() > 12 { part[0].format("%Y").to_string() } else { "database".to_owned() }];
        let is_one_year = part.first().map(chrono::Datelike::year) == part.last().map(chrono::Datelike::year);
        let format = if is_one_year { "%b" } else { "%b %y" };
        header.extend(part.iter().map(|month| month.format(format).to_string()));
        header.push(String::new());
        let rows = calendar.databases.iter().map(|row| {
            let mut cells = vec![(row.label.clone(), None)];
            cells.extend(row.months.iter().skip(nth * 12).take(12).map(month_cell));
            let remark = match (row.never_drilled, row.exists) {
                (true, _) => ("NEVER DRILLED".to_owned(), Some(Tone::Bad)),
                (_, Some(false)) => ("no longer in AWS".to_owned(), Some(Tone::Faint)),
                _ => (String::new(), None),
            };
            cells.push(remark);
            cells
        });
        page.table(&header.iter().map(String::as_str).collect::<Vec<_>>(), rows.collect());
    }
}

impl output::Report for YearReport {
    fn render(&self, page: &mut Page) {
        let calendar = &self.calendar;
        if calendar.databases.is_empty() {
            page.line(format!(
                "no drill is recorded in this vault up to {}{}",
                calendar.period.to,
                if calendar.aws.asked {
                    ", and AWS has no database of that time here that could be drilled"
                } else {
                    ""
                }
            ));
        }
        render_months(calendar, page);
        if !calendar.databases.is_empty() {
            page.line(page.toned(
                Tone::Faint,
                "  ok 2/3: two of three drills passed · ?: no answer · GAP: no drill · due: not over · ·: before its first drill",
            ));
        }
        match &calendar.aws.reason {
            Some(reason) if !calendar.aws.asked => page.line(format!(
                "  AWS was not asked which databases exist, so those that were never drilled are not shown: {}",
                escape_controls(reason)
            )),
            _ => {}
        }
        let colon = if self.reasons.is_empty() { "" } else { ":" };
        page.line(page.toned(self.tone, format!("{}{colon}", self.headline)));
        for reason in self.reasons.iter().take(20) {
            page.line(format!("  - {}", escape_controls(reason)));
        }
        if self.reasons.len() > 20 {
            page.line(format!("  … and {} more (all of them with `--json`)", self.reasons.len() - 20));
        }
    }
}

/// The page itself, where it goes to stdout.
pub(super) struct Html(pub(super) String);

impl Serialize for Html {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl output::Report for Html {
    fn render(&self, page: &mut Page) {
        page.verbatim(&self.0);
    }
}

impl output::Report for DrillReport {
    fn render(&self, page: &mut Page) {
        let totals = &self.totals;
        page.line(page.toned(
            Tone::Strong,
            format!("drills from {} to {}", self.calendar.period.from, self.calendar.period.to),
        ));
        let headline = self.headline();
        page.line(page.toned(headline.tone, headline.words));
        render_months(&self.calendar, page);
        page.line(format!(
            "  {} drills: {} passed, {} failed, {} without an answer; {} signed off",
            totals.drills, totals.passed, totals.failed, totals.unknown, totals.signed_off
        ));
        for entry in self.drills.iter().filter(|entry| entry.outcome.is_shortfall()) {
            let (answers, tone) = match entry.follow_ups().last() {
                Some(note) => (note.note.clone(), Tone::Faint),
                None => ("no note says what was done about it".to_owned(), Tone::Doubt),
            };
            page.line(format!(
                "  {} {} of `{}`: {}",
                page.toned(entry.outcome.tone(), entry.outcome.word()),
                entry.drill.run,
                escape_controls(&entry.drill.source.id),
                page.toned(tone, escape_controls(&answers))
            ));
        }
        let (word, tone) = integrity_word(self.integrity.verdict);
        page.line(format!("  evidence: {}", page.toned(tone, word)));
    }
}

impl output::Report for Note {
    fn render(&self, page: &mut Page) {
        let what = match &self.reviewer {
            Some(reviewer) => {
                format!(
                    "run {} of `{}` is signed off by {}",
                    self.run,
                    self.source,
                    escape_controls(reviewer)
                )
            }
            None => format!("noted on run {} of `{}`", self.run, self.source),
        };
        page.line(format!("{}: {}", page.toned(Tone::Good, what), escape_controls(&self.note)));
        page.line(format!("  {} (link {} of the chain)", self.file, self.chain.seq));
    }
}

fn integrity_word(verdict: Verdict) -> (&'static str, Tone) {
    match verdict {
        Verdict::Intact => ("intact", Tone::Good),
        Verdict::Unchained => ("unchained", Tone::Doubt),
        Verdict::Unknown => ("unknown", Tone::Doubt),
        Verdict::Altered => ("ALTERED", Tone::Bad),
    }
}

impl output::Report for Integrity {
    fn render(&self, page: &mut Page) {
        if self.sources.is_empty() {
            page.line("no drill is recorded in this vault");
            return;
        }
        let rows = self.sources.iter().map(|source| {
            let (word, tone) = integrity_word(source.verdict);
            vec![
                (word.to_owned(), Some(tone)),
                (source.source.clone(), None),
                (source.drills.to_string(), None),
                (source.notes.to_string(), None),
                (source.links.to_string(), None),
                (describe_source(source), Some(Tone::Faint)),
            ]
        });
        page.table(&["", "source", "drills", "notes", "links", ""], rows.collect());
        for finding in self.sources.iter().flat_map(|source| &source.findings) {
            let (word, tone) = fault_word(finding.fault);
            page.line(format!(
                "  {} {}: {}",
                page.toned(tone, word),
                escape_controls(&finding.file),
                escape_controls(&finding.message)
            ));
        }
        let heads: Vec<&Checked> = self
            .sources
            .iter()
            .filter(|source| source.verdict != Verdict::Altered)
            .filter(|source| source.head.as_ref().is_some_and(|head| head.seq > 0))
            .collect();
        if !heads.is_empty() {
            page.line("heads, to be kept where nobody who writes to this vault can change them:");
        }
        for source in heads {
            let hash = source.head.as_ref().map(|head| head.sha256.clone()).unwrap_or_default();
            page.verbatim(format!("  --expect-head {}={hash}", escape_controls(&source.source)));
        }
        page.line(page.toned(Tone::Faint, self.limits));
    }
}

fn describe_source(source: &Checked) -> String {
    let mut remarks = Vec::new();
    if !source.unchained.is_empty() {
        let since = source.adopted_at.map(|at| format!(", protected since {}", format_time(at)));
        remarks.push(format!(
            "{} from before the chain{}",
            source.unchained.len(),
            since.unwrap_or(": nothing protects them".to_owned())
        ));
    }
    remarks.extend(source.unfinished.clone());
    if let Some(since) = &source.since_expected {
        remarks.push(match since.links_since {
            0 => "the expected head is its head".to_owned(),
            more => format!("{more} links since the expected head"),
        });
    }
    remarks.join("; ")
}

fn fault_word(fault: Fault) -> (&'static str, Tone) {
    match fault {
        Fault::Altered => ("altered", Tone::Bad),
        Fault::Swapped => ("swapped", Tone::Bad),
        Fault::Removed => ("removed", Tone::Bad),
        Fault::Inserted => ("inserted", Tone::Bad),
        Fault::Rewritten => ("rewritten", Tone::Bad),
        Fault::Noticed => ("noticed", Tone::Bad),
        Fault::Unreadable => ("unreadable", Tone::Doubt),
    }
}
