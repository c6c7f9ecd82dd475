//! The words of the page: how verdicts, counts, times and foreign names are written.

use crate::drill::evidence::{ObjectiveVerdict, Report, State};
use crate::verify::{Baseline, TableVerdict, Verdict, Word};
use crate::words::{Tone, format_count, format_thousands, join_with_and};

pub(crate) const fn tone_of_table(word: Word, baseline: Baseline) -> Tone {
    match word {
        Word::Identical | Word::Equal | Word::Within => Tone::Good,
        Word::Differs | Word::Missing => Tone::Bad,
        // Compared with the source of today, a table that only the copy has was dropped since.
        Word::Unexpected if matches!(baseline, Baseline::Live) => Tone::Faint,
        Word::Unexpected => Tone::Bad,
        Word::Skipped => Tone::Faint,
        Word::Unknown => Tone::Doubt,
    }
}

/// Rank of a verdict, worst first.
pub(crate) const fn table_rank(word: Word) -> u8 {
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

pub(super) const fn explain_table_word(word: Word) -> &'static str {
    match word {
        Word::Identical => "the same content",
        Word::Equal => "the same number of rows",
        Word::Within => "a different number of rows, explained by writes",
        Word::Differs => "rows are missing, or there are too many",
        Word::Missing => "the table is not in the copy",
        Word::Unexpected => "the table is only in the copy",
        Word::Skipped => "deliberately not compared",
        Word::Unknown => "could not be compared",
    }
}

pub(super) const fn explain_baseline(baseline: Baseline) -> &'static str {
    match baseline {
        Baseline::Aligned => {
            "Baseline aligned: the source was read at the very moment that was restored, so the two must agree except \
             for writes within that second."
        }
        Baseline::Recorded => {
            "Baseline recorded: the source was read, row by row, at an instant just before the backup was taken, and what \
             it contained was kept in the vault. Tables that nobody wrote to until the backup was complete must be identical."
        }
        Baseline::Live => {
            "Baseline live: the backup is compared with the source as it is now, so the expected rows are those of \
             today. What was written since is allowed for, and the reason says how; this is weaker than a comparison \
             at the same moment."
        }
    }
}

/// What the verdict means, for someone who has never seen such a page.
pub(super) fn explain_verdict(report: &Report) -> String {
    let nothing = "It proves nothing about the backup, good or bad.";
    match (report.state, report.verdict) {
        (State::Running, _) => format!("The drill had not ended when this was written. {nothing}"),
        (_, Verdict::Pass) => {
            let compared = report.tables.iter().filter(|table| table.verdict.is_comparison()).count();
            let mut shown = vec![format!("{} compared", format_count(compared, "table", "tables"))];
            if !report.checks.is_empty() {
                shown.push(format!("{} passed", format_count(report.checks.len(), "check", "checks")));
            }
            let shown = shown.join(", ");
            format!(
                "The backup works. Restored to an instance of its own, it contained what was expected: {shown}."
            )
        }
        (_, Verdict::Fail) => match join_with_and(&list_shortfalls(report)) {
            none if none.is_empty() => {
                "The restored copy does not contain what it should, for the reasons below.".to_owned()
            }
            shortfalls => format!("The backup falls short: {shortfalls}."),
        },
        (State::Interrupted, _) => {
            format!("The drill was interrupted (SIGINT) before it had a verdict. {nothing}")
        }
        (State::Terminated, _) => {
            format!("The drill was terminated (SIGTERM) before it had a verdict. {nothing}")
        }
        (State::Died, _) => format!("The process of the drill ended before it had a verdict. {nothing}"),
        (State::Finished, _) => {
            format!("The drill could not determine whether the backup is good. {nothing}")
        }
    }
}

/// What failed the drill, counted.
fn list_shortfalls(report: &Report) -> Vec<String> {
    let is_bad = |table: &&TableVerdict| tone_of_table(table.verdict, report.baseline) == Tone::Bad;
    let tables = report.tables.iter().filter(is_bad).count();
    let checks = report.checks.iter().filter(|check| check.verdict == Verdict::Fail).count();
    let mut found = Vec::new();
    if tables > 0 {
        let verb = if tables == 1 { "does" } else { "do" };
        found.push(format!(
            "{} of {} {verb} not contain what is expected",
            format_thousands(tables as u64),
            format_count(report.tables.len(), "table", "tables")
        ));
    }
    if checks > 0 {
        found.push(format!("{checks} of {} failed", format_count(report.checks.len(), "check", "checks")));
    }
    if report.rto.verdict == ObjectiveVerdict::Fail {
        found.push("restoring took longer than the objective allows".to_owned());
    }
    if report.rpo.verdict == ObjectiveVerdict::Fail {
        found.push("more data would have been lost than the objective allows".to_owned());
    }
    found
}

/// How much of an objective was used. Rounded away from it, so that no miss reads as 100 %.
pub(crate) fn format_share(measured: f64, objective: f64) -> String {
    let percent = measured / objective * 100.0;
    match percent {
        _ if objective <= 0.0 => "The objective leaves no time at all.".to_owned(),
        ..1.0 => "Less than 1 % of the objective was used.".to_owned(),
        1.0..=100.0 => format!("{} % of the objective was used.", percent.floor()),
        100.0..1000.0 => format!("{} % of the objective.", percent.ceil()),
        _ => format!("{} times the objective.", format_thousands((percent / 100.0).round() as u64)),
    }
}

/// `412 tables: 1 missing, 411 equal`.
pub(super) fn format_tally(tables: &[&TableVerdict]) -> String {
    let words = distinct_words(tables).into_iter().map(|word| {
        let number = tables.iter().filter(|table| table.verdict == word).count();
        let said = if word == Word::Differs && number > 1 { "differ" } else { word.as_str() };
        format!("{} {said}", format_thousands(number as u64))
    });
    format!("{}: {}", format_count(tables.len(), "table", "tables"), words.collect::<Vec<_>>().join(", "))
}

/// The words that occur, worst first.
pub(super) fn distinct_words(tables: &[&TableVerdict]) -> Vec<Word> {
    let mut words: Vec<Word> = tables.iter().map(|table| table.verdict).collect();
    words.sort_by_key(|word| table_rank(*word));
    words.dedup();
    words
}
