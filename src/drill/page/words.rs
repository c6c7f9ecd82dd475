//! The words of the page: how verdicts, counts, times and the names of others are written.

use chrono::{DateTime, SecondsFormat, Utc};
use maud::{Markup, html};

use crate::drill::report::{Met, Report, State};
use crate::verify::{Baseline, TableVerdict, Verdict, Word};

/// Characters of one text that are shown; the JSON has it whole.
const LONGEST_TEXT: usize = 2000;

/// Lines of a list that are shown at once: a lost database alone can give thousands of reasons.
const LINES_UNFOLDED: usize = 12;

/// How something is drawn. The word beside it always says it too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Good,
    Bad,
    Doubt,
    Quiet,
}

impl Tone {
    pub(crate) const ALL: [Tone; 4] = [Tone::Good, Tone::Bad, Tone::Doubt, Tone::Quiet];

    pub(crate) const fn class(self) -> &'static str {
        match self {
            Tone::Good => "good",
            Tone::Bad => "bad",
            Tone::Doubt => "doubt",
            Tone::Quiet => "quiet",
        }
    }

    /// The symbol, as strokes in a square of 16: a tick, a cross, a question mark, a dash.
    pub(crate) const fn strokes(self) -> &'static str {
        match self {
            Tone::Good => "M3.5 8.5 L6.6 11.5 L12.5 4.8",
            Tone::Bad => "M4.3 4.3 L11.7 11.7 M11.7 4.3 L4.3 11.7",
            Tone::Doubt => "M5.4 5.6 A2.6 2.6 0 1 1 8 8.4 V9.4 M8 12.4 V12.5",
            Tone::Quiet => "M4.5 8 H11.5",
        }
    }

    pub(crate) fn of_table(word: Word, baseline: Baseline) -> Self {
        match word {
            Word::Identical | Word::Equal | Word::Within => Tone::Good,
            Word::Differs | Word::Missing => Tone::Bad,
            // Against the source of today, a table that only the copy has was dropped since.
            Word::Unexpected if baseline == Baseline::Live => Tone::Quiet,
            Word::Unexpected => Tone::Bad,
            Word::Skipped => Tone::Quiet,
            Word::Unknown => Tone::Doubt,
        }
    }
}

impl From<Verdict> for Tone {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Pass => Tone::Good,
            Verdict::Fail => Tone::Bad,
            Verdict::Unknown => Tone::Doubt,
        }
    }
}

pub(crate) fn mark(tone: Tone) -> Markup {
    html! { svg.mark viewBox="0 0 16 16" aria-hidden="true" { use href={ "#" (tone.class()) } {} } }
}

pub(crate) fn badge(tone: Tone, word: &str) -> Markup {
    html! { span class={ "badge " (tone.class()) } { (mark(tone)) (word) } }
}

/// A verdict in a word.
pub(crate) const fn word_of(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Fail => "fail",
        Verdict::Unknown => "unknown",
    }
}

/// Place of a word in the order worst first.
pub(crate) const fn rank(word: Word) -> u8 {
    match word {
        Word::Missing => 0,
        Word::Differs => 1,
        Word::Unexpected => 2,
        Word::Unknown => 3,
        Word::Skipped => 4,
        Word::Within => 5,
        Word::Equal => 6,
        Word::Identical => 7,
    }
}

pub(super) const fn explained(word: Word) -> &'static str {
    match word {
        Word::Identical => "the same content",
        Word::Equal => "the same number of rows",
        Word::Within => "another number of rows, explained by what was written",
        Word::Differs => "rows are missing, or there are too many",
        Word::Missing => "the table is not in the copy",
        Word::Unexpected => "the table is only in the copy",
        Word::Skipped => "deliberately not compared",
        Word::Unknown => "could not be compared",
    }
}

pub(super) const fn baseline(baseline: Baseline) -> &'static str {
    match baseline {
        Baseline::Aligned => {
            "Baseline aligned: the source was read at the very moment that was restored, so the two must agree but \
             for what was written within that second."
        }
        Baseline::Recorded => {
            "Baseline recorded: the source was read, row by row, at an instant just before the backup was taken, and what \
             it held was kept in the vault. Tables that nobody wrote to until the backup was complete must be identical."
        }
        Baseline::Live => {
            "Baseline live: the backup is held against the source as it is now, so the expected rows are those of \
             today. What was written since is allowed for, and the reason says how; this is weaker than a comparison \
             at the same moment."
        }
    }
}

pub(crate) fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

/// What the verdict means, for someone who has never seen such a page.
pub(super) fn meaning(report: &Report) -> String {
    let nothing = "It proves nothing, neither for the backup nor against it.";
    match (report.state, report.verdict) {
        (State::Running, _) => format!("The drill was not over when this was written. {nothing}"),
        (_, Verdict::Pass) => {
            let compared = report.tables.iter().filter(|table| table.verdict.is_comparison()).count();
            let mut shown = vec![format!("{} compared", counted(compared, "table", "tables"))];
            if !report.checks.is_empty() {
                shown.push(format!("{} passed", counted(report.checks.len(), "check", "checks")));
            }
            let shown = shown.join(", ");
            format!(
                "The backup works. Restored to an instance of its own, it held what was expected: {shown}."
            )
        }
        (_, Verdict::Fail) => match listed(&shortfalls(report)) {
            Some(shortfalls) => format!("The backup falls short: {shortfalls}."),
            None => "The restored copy does not hold what it ought to, for the reasons below.".to_owned(),
        },
        (State::Interrupted, _) => {
            format!("The drill was interrupted (SIGINT) before it could tell. {nothing}")
        }
        (State::Terminated, _) => {
            format!("The drill was terminated (SIGTERM) before it could tell. {nothing}")
        }
        (State::Died, _) => format!("The process of the drill ended before the drill could tell. {nothing}"),
        (State::Finished, _) => format!("The drill could not find out whether the backup is good. {nothing}"),
    }
}

/// What failed a drill, counted.
fn shortfalls(report: &Report) -> Vec<String> {
    let is_bad = |table: &&TableVerdict| Tone::of_table(table.verdict, report.baseline) == Tone::Bad;
    let tables = report.tables.iter().filter(is_bad).count();
    let checks = report.checks.iter().filter(|check| check.verdict == Verdict::Fail).count();
    let mut found = Vec::new();
    if tables > 0 {
        let verb = if tables == 1 { "does" } else { "do" };
        found.push(format!(
            "{} of {} {verb} not hold what is expected",
            thousands(tables as u64),
            counted(report.tables.len(), "table", "tables")
        ));
    }
    if checks > 0 {
        found.push(format!("{checks} of {} failed", counted(report.checks.len(), "check", "checks")));
    }
    if report.rto.verdict == Met::Fail {
        found.push("restoring took longer than the objective allows".to_owned());
    }
    if report.rpo.verdict == Met::Fail {
        found.push("more would have been lost than the objective allows".to_owned());
    }
    found
}

/// How much of an objective was used. Rounded away from it, so that no miss reads as 100 %.
pub(crate) fn share(measured: f64, objective: f64) -> String {
    let percent = measured / objective * 100.0;
    match percent {
        _ if objective <= 0.0 => "The objective leaves no time at all.".to_owned(),
        ..1.0 => "Less than 1 % of the objective was used.".to_owned(),
        1.0..=100.0 => format!("{} % of the objective was used.", percent.floor()),
        100.0..1000.0 => format!("{} % of the objective.", percent.ceil()),
        _ => format!("{} times the objective.", thousands((percent / 100.0).round() as u64)),
    }
}

/// `412 tables: 1 missing, 411 equal`.
pub(super) fn tally(tables: &[&TableVerdict]) -> String {
    let words = words(tables).into_iter().map(|word| {
        let number = tables.iter().filter(|table| table.verdict == word).count();
        let said = if word == Word::Differs && number > 1 { "differ" } else { word.as_str() };
        format!("{} {said}", thousands(number as u64))
    });
    format!("{}: {}", counted(tables.len(), "table", "tables"), words.collect::<Vec<_>>().join(", "))
}

/// The words that occur, worst first.
pub(super) fn words(tables: &[&TableVerdict]) -> Vec<Word> {
    let mut words: Vec<Word> = tables.iter().map(|table| table.verdict).collect();
    words.sort_by_key(|word| rank(*word));
    words.dedup();
    words
}

/// `1 table`, `1,234 tables`.
pub(crate) fn counted(number: usize, one: &str, many: &str) -> String {
    format!("{} {}", thousands(number as u64), if number == 1 { one } else { many })
}

/// `1,234,567`.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `a, b and c`; `None` of nothing.
fn listed(items: &[String]) -> Option<String> {
    let (last, others) = items.split_last()?;
    Some(if others.is_empty() { last.clone() } else { format!("{} and {last}", others.join(", ")) })
}

/// A moment, in UTC.
pub(crate) fn time(at: DateTime<Utc>) -> Markup {
    html! {
        time datetime=(at.to_rfc3339_opts(SecondsFormat::AutoSi, true)) { (at.format("%Y-%m-%d %H:%M:%S UTC")) }
    }
}

pub(crate) fn fact(term: &str, value: Markup) -> Markup {
    html! { div { dt { (term) } dd { (value) } } }
}

pub(crate) fn lines(items: &[String]) -> Markup {
    let (shown, folded) = items.split_at(items.len().min(LINES_UNFOLDED));
    html! {
        ul { @for item in shown { li { (prose(item)) } } }
        @if !folded.is_empty() {
            details {
                summary { "and " (thousands(folded.len() as u64)) " more" }
                ul { @for item in folded { li { (prose(item)) } } }
            }
        }
    }
}

/// Running text that names things in backticks. The names are set apart, so that none can reorder its sentence.
pub(crate) fn prose(text: &str) -> Markup {
    let pieces: Vec<&str> = text.split('`').collect();
    html! {
        @for (place, piece) in pieces.iter().enumerate() {
            @if place % 2 == 0 { (spelled(piece)) }
            @else if place + 1 < pieces.len() { code { (name(piece)) } }
            @else { "`" (spelled(piece)) }
        }
    }
}

/// A name that others have chosen, on a line of its own writing direction.
pub(crate) fn name(text: &str) -> Markup {
    html! { bdi.name { (spelled(&text.replace('\n', "\\n"))) } }
}

/// Text of others with what cannot be seen spelled out, such as `\u{202e}`: a control character could make one name
/// look like another. Joiners stay, since scripts and emoji are made with them.
pub(crate) fn spelled(text: &str) -> String {
    let is_unseen = |letter: char| {
        (letter.is_control() && letter != '\n')
            || matches!(letter, '\u{ad}' | '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{feff}')
            || matches!(letter, '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
    };
    let mut spelled = String::with_capacity(text.len());
    for (place, letter) in text.chars().enumerate() {
        if place == LONGEST_TEXT {
            spelled.push_str("… (cut here; the file has it whole)");
            break;
        }
        if is_unseen(letter) {
            spelled.extend(letter.escape_default());
        } else {
            spelled.push(letter);
        }
    }
    spelled
}
