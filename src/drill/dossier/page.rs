//! The document as one HTML page: for an auditor on a screen and on paper. Pure; it runs no script and loads nothing, and
//! what came from outside passes through maud's escaping and the spelling out of what cannot be seen.

use chrono::NaiveDate;
use maud::{DOCTYPE, Markup, html};

use super::{Against, Dossier, Entry};
use crate::drill::calendar::{Cell, Month, Period, Row};
use crate::drill::integrity::{Checked, Verdict as Integrity};
use crate::drill::notes::Note;
use crate::drill::outcome::Fate;
use crate::drill::page::words::{Tone, badge, counted, fact, lines, mark, name, prose, spelled, time};
use crate::drill::page::{page_head, sign_off, symbols};
use crate::drill::report::{Met, Report, span};
use crate::restore::Way;
use crate::verify::Verdict;

const CSS: &str = include_str!("dossier.css");

/// Draws the page.
pub(crate) fn render(dossier: &Dossier) -> String {
    let title = format!("Restore drills, {}", of_period(dossier.calendar.period));
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            (page_head(html! { (title) }, CSS))
            body {
                (symbols())
                main {
                    (head(dossier))
                    (year(dossier))
                    (objectives(dossier))
                    (shortfalls(dossier))
                    (drills(dossier))
                    (facts(dossier))
                    (integrity(dossier))
                    (limits(dossier))
                    (signed(dossier))
                    (sign_off())
                }
                footer { "Written by lifeboat " (spelled(&dossier.author.version)) " as " (dossier.schema) }
            }
        }
    };
    page.into_string()
}

fn of_period(period: Period) -> String {
    let day = |day: NaiveDate| day.format("%-d %B %Y").to_string();
    let year = chrono::Datelike::year(&period.from);
    if Period::year(year).is_ok_and(|whole| whole == period) {
        return year.to_string();
    }
    if Period::month_of(period.from).is_ok_and(|whole| whole == period) {
        return period.from.format("%B %Y").to_string();
    }
    format!("{} to {}", day(period.from), day(period.to))
}

fn head(dossier: &Dossier) -> Markup {
    let headline = dossier.headline();
    let (tone, word) = (headline.tone, headline.words.to_uppercase());
    html! {
        header {
            p.over { span { "lifeboat" } span { "Evidence of restore drills" } span.run { (time(dossier.at)) } }
            h1 { "Restore drills, " (of_period(dossier.calendar.period)) }
            p.moment {
                (counted(dossier.calendar.databases.len(), "database", "databases")) ", "
                (counted(dossier.totals.drills, "drill", "drills"))
                span.asked { "drawn up by " (name(&dossier.author.by)) " on " (name(&dossier.author.host)) " from " code { (name(&dossier.vault)) } }
            }
            div class={ "verdict " (tone.class()) } {
                p.word { (mark(tone)) (word) }
                p.meaning { (meaning(dossier)) }
            }
            @if dossier.integrity.verdict == Integrity::Altered {
                div.alarm.bad { p {
                    strong { "Evidence was altered after it was recorded. " }
                    "Which files, and how that shows, is said under Integrity. Until that is explained, what this page says of those databases proves nothing."
                } }
            }
        }
    }
}

fn meaning(dossier: &Dossier) -> String {
    let (totals, rows) = (&dossier.totals, &dossier.calendar.databases);
    let cells = || rows.iter().flat_map(|row| &row.months);
    let gaps = cells().filter(|cell| cell.outcome == Month::Gap).count();
    let unproven = cells().filter(|cell| cell.outcome.is_short()).count() - gaps;
    let failing = rows.iter().filter(|row| row.failed_since_pass > 0).count();
    let never = rows.iter().filter(|row| row.never_drilled).count();
    let mut said = vec![format!(
        "{}: {} passed, {} failed, {} gave no answer.",
        counted(totals.drills, "drill", "drills"),
        totals.passed,
        totals.failed,
        totals.unknown
    )];
    if gaps > 0 {
        said.push(format!(
            "{} without any drill.",
            counted(gaps, "month of a database", "months of databases")
        ));
    }
    if unproven > 0 {
        let months = counted(unproven, "month of a database", "months of databases");
        said.push(format!("{months} with drills of which none passed."));
    }
    if failing > 0 {
        let databases = counted(failing, "database", "databases");
        said.push(format!("{databases} whose last drill failed, with none that passed since."));
    }
    if never > 0 {
        said.push(format!(
            "{} never drilled.",
            counted(never, "database that exists was", "databases that exist were")
        ));
    }
    if totals.unanswered > 0 {
        let drills = counted(totals.unanswered, "drill that did not pass", "drills that did not pass");
        said.push(format!("No note says what was done about {drills}."));
    }
    said.join(" ")
}

fn year(dossier: &Dossier) -> Markup {
    let months = dossier.calendar.period.months();
    let spans_years = months.first().map(chrono::Datelike::year) != months.last().map(chrono::Datelike::year);
    let label = |month: &NaiveDate| {
        let format = if spans_years { "%b %y" } else { "%b" };
        month.format(format).to_string()
    };
    html! {
        section {
            h2 { "Databases by months" }
            @if dossier.calendar.databases.is_empty() { p { "No drill is recorded up to the end of this period." } } @else {
                div.scroll tabindex="0" role="region" aria-label="Databases by months" { table.year {
                    thead { tr {
                        th scope="col" { "Database" }
                        @for month in &months { th scope="col" { (label(month)) } }
                    } }
                    tbody { @for row in &dossier.calendar.databases { (year_row(row)) } }
                } }
                p.legend {
                    span { "A month counts when a drill passed in it (UTC)." }
                    span { "GAP: no drill, though the database had been drilled before." }
                    @if !dossier.calendar.aws.asked {
                        span { "AWS was not asked which databases exist: " (prose(dossier.calendar.aws.reason.as_deref().unwrap_or("unknown"))) "." }
                    }
                }
            }
        }
    }
}

fn year_row(row: &Row) -> Markup {
    html! {
        tr {
            th scope="row" {
                (name(&row.label))
                @if row.never_drilled { small { " never drilled" } }
                @if row.exists == Some(false) { small { " no longer in AWS" } }
            }
            @for cell in &row.months { td { (year_cell(cell)) } }
        }
    }
}

fn year_cell(cell: &Cell) -> Markup {
    let all = cell.passed + cell.failed + cell.unknown;
    let told = |class: &str, tone: Tone, word: &str| {
        html! {
            span class=(class) {
                (mark(tone)) span.unseen { (word) " " }
                small { (cell.passed) "/" (all) }
            }
        }
    };
    match cell.outcome {
        Month::Pass => told("pass", Tone::Good, "passed"),
        Month::Fail => told("fail", Tone::Bad, "failed"),
        Month::Unknown => told("unknown", Tone::Doubt, "unknown"),
        Month::Gap => html! { span.gap { "GAP" } },
        Month::Due => html! { span.due { "due" } },
        Month::Before => html! { span.none title="before its first drill" { "·" } },
        Month::Gone => html! { span.none title="no longer in AWS" { "gone" } },
        Month::Ahead => html! { span.none title="not yet come" { "" } },
    }
}

fn objectives(dossier: &Dossier) -> Markup {
    let measured = dossier.measured();
    html! {
        @if !measured.is_empty() {
            section {
                h2 { "Objectives and what was measured" }
                table.drills {
                    thead { tr {
                        th scope="col" { "Database" } th.number scope="col" { "Drills" }
                        th.number scope="col" { "RTO objective" } th.number scope="col" { "Median" } th.number scope="col" { "Worst" }
                        th.number scope="col" { "RPO objective" } th.number scope="col" { "Median" } th.number scope="col" { "Worst" }
                    } }
                    tbody { @for of in &measured { tr {
                        th scope="row" { (name(&of.source)) }
                        td.number data-label="drills" { (of.drills) }
                        (against(of.rto, "RTO")) (against(of.rpo, "RPO"))
                    } } }
                }
                p.legend { span { "Recovery time: from the request to restore until every row had been read and every check made. Recovery point: the age of what was restored when the drill began." } }
            }
        }
    }
}

fn against(of: Against, which: &str) -> Markup {
    let seconds = |value: Option<f64>| value.map_or("not measured".to_owned(), span);
    let is_missed = of.worst.is_some_and(|worst| worst > of.objective);
    html! {
        td.number data-label={ (which) " objective" } { (span(of.objective)) }
        td.number data-label={ (which) " median" } { (seconds(of.median)) }
        td.number data-label={ (which) " worst" } { @if is_missed { (badge(Tone::Bad, &seconds(of.worst))) } @else { (seconds(of.worst)) } }
    }
}

fn shortfalls(dossier: &Dossier) -> Markup {
    let short: Vec<&Entry> = dossier.drills.iter().filter(|entry| entry.outcome.is_short()).collect();
    html! {
        section {
            h2 { "Drills that did not pass, and what was done" }
            @if dossier.drills.is_empty() { p { "There was no drill in this period." } }
            @else if short.is_empty() { p { "Every drill of this period passed." } }
            @for entry in short { (shortfall(entry)) }
        }
    }
}

fn shortfall(entry: &Entry) -> Markup {
    let (drill, tone) = (&entry.drill, entry.outcome.tone());
    let answers: Vec<&Note> = entry.answers().collect();
    html! {
        article class={ "short " (tone.class()) } {
            h3 { (name(&entry.label)) " " small { (time(drill.started_at)) } " " small { (name(&drill.run)) } (badge(tone, entry.outcome.word())) }
            @if drill.reasons.is_empty() { p { "It gave no reason: its process ended before it could." } } @else { (lines(&drill.reasons)) }
            h4 { "What was done" }
            @if answers.is_empty() { p { "Nothing is on record." } }
            @for note in answers { (note_of(note)) }
            p.legend { @match &entry.passed_again {
                Some(later) => span { "Passed again on " (time(later.at)) ", after " (span((later.at - drill.started_at).as_seconds_f64())) ", run " (name(&later.run)) "." },
                None => span { "No drill of this database has passed since." },
            } }
        }
    }
}

fn note_of(note: &Note) -> Markup {
    html! {
        div.note {
            p { (prose(&note.note)) }
            p.by {
                (name(&note.by)) " on " (name(&note.host)) ", " (time(note.at))
                @if let Some(ticket) = &note.ticket { " · ticket " (name(ticket)) }
                @if let Some(owner) = &note.owner { " · owner " (name(owner)) }
                @if let Some(due) = &note.due { " · due " (due) }
            }
        }
    }
}

fn drills(dossier: &Dossier) -> Markup {
    html! {
        section {
            h2 { "Every drill" }
            @if dossier.drills.is_empty() { p { "None in this period." } } @else {
                table.drills {
                    thead { tr {
                        th scope="col" { "Database" } th scope="col" { "Result" } th scope="col" { "Began" }
                        th scope="col" { "Restored" } th.number scope="col" { "RTO" } th.number scope="col" { "RPO" } th scope="col" { "Copy removed" }
                    } }
                    tbody { @for entry in &dossier.drills { @let drill = &entry.drill; tr {
                        th scope="row" { (name(&entry.label)) }
                        td { (badge(entry.outcome.tone(), entry.outcome.word())) }
                        td data-label="began" { (time(drill.started_at)) }
                        td data-label="restored" { (restored(drill)) }
                        td.number data-label="RTO" { (drill.rto.measured_seconds.map_or("–".to_owned(), span)) }
                        td.number data-label="RPO" { (drill.rpo.measured_seconds.map_or("–".to_owned(), span)) }
                        td data-label="copy removed" { (removed(entry)) }
                    } } }
                }
            }
        }
    }
}

fn restored(drill: &Report) -> Markup {
    html! {
        @match drill.moment.kind {
            Way::Snapshot => { "snapshot " (name(drill.moment.snapshot_id.as_deref().unwrap_or("of unknown id"))) },
            Way::PointInTime => "point in time",
        }
        @if let Some(at) = drill.moment.time { " of " (time(at)) }
    }
}

/// What became of the copy: when it was removed, or a word.
fn removed(entry: &Entry) -> Markup {
    let fate = Fate::of(&entry.drill.throwaway, entry.outcome);
    html! {
        @match fate {
            Fate::Removed(at) => (time(at)),
            _ => { (badge(fate.tone(), fate.word())) @if let Some(at) = fate.at() { " " small { (time(at)) } } },
        }
    }
}

/// What an auditor asks of each drill.
fn facts(dossier: &Dossier) -> Markup {
    html! {
        @if !dossier.drills.is_empty() {
            section {
                h2 { "The drills in full" }
                @for entry in &dossier.drills {
                    details.drill-facts {
                        summary {
                            (badge(entry.outcome.tone(), entry.outcome.word())) (name(&entry.label))
                            small { (time(entry.drill.started_at)) } " " small { (name(&entry.drill.run)) }
                        }
                        (facts_of(entry))
                    }
                }
            }
        }
    }
}

fn facts_of(entry: &Entry) -> Markup {
    let drill = &entry.drill;
    let (by, source, copy) = (&drill.ran_by, &drill.source, &drill.throwaway);
    let passed = drill.checks.iter().filter(|check| check.verdict == Verdict::Pass).count();
    html! {
        dl.facts {
            (fact("Who", html! { (name(by.caller.as_deref().unwrap_or("not known: AWS did not say"))) " " small { "on " (name(&by.host)) " with lifeboat " (name(&by.version)) } }))
            (fact("When", html! { (time(drill.started_at)) " to " @if let Some(at) = drill.finished_at { (time(at)) } @else { "an end that is not on record" } }))
            (fact("Source", html! {
                (name(&source.id)) " (" (name(&source.resource_id)) ") in " (name(&source.region))
                small { (name(&source.engine)) " " (name(&source.engine_version)) ", " (name(&source.class)) ", " (source.storage_gib) " GiB, " @if source.encrypted { "encrypted" } @else { "not encrypted" } }
            }))
            (fact("Backup", html! { (restored(drill)) " " small { "chosen by " code { (name(&drill.moment.asked_for)) } } }))
            (fact("Compared", html! { (counted(drill.tables.len(), "table", "tables")) ", baseline " (baseline(drill)) ", " (passed) " of " (counted(drill.checks.len(), "check", "checks")) " passed" }))
            (fact("Recovery time", objective(drill.rto.objective_seconds, drill.rto.measured_seconds, drill.rto.verdict)))
            (fact("Recovery point", objective(drill.rpo.objective_seconds, drill.rpo.measured_seconds, drill.rpo.verdict)))
            (fact("Copy", html! { (name(&copy.id)) " (" (name(copy.resource_id.as_deref().unwrap_or("resource id not known"))) ")" }))
            (fact("Proof of deletion", html! { (removed(entry)) " " small { (prose(&Fate::of(copy, entry.outcome).explained())) } }))
            (fact("Not tested", html! { @if drill.not_tested.is_empty() { "nothing is listed" } @else { (lines(&drill.not_tested)) } }))
            @for note in entry.answers() { (fact("Note", note_of(note))) }
            @for note in entry.sign_offs() { (fact("Signed off", signed_off(note))) }
            (fact("SHA-256 of the evidence", html! { code { (entry.integrity.evidence_sha256.as_deref().unwrap_or("none")) } }))
            (fact("SHA-256 of its page", html! { code { (entry.integrity.page_sha256.as_deref().unwrap_or("none")) } }))
            (fact("Record", html! {
                (integrity_badge(entry.integrity.verdict))
                @if let Some(link) = entry.integrity.link { small { "link " (link) " of the chain" } }
            }))
        }
    }
}

fn baseline(drill: &Report) -> &'static str {
    match drill.baseline {
        crate::verify::Baseline::Aligned => "aligned",
        crate::verify::Baseline::Recorded => "recorded",
        crate::verify::Baseline::Live => "live",
    }
}

fn objective(objective: f64, measured: Option<f64>, met: Met) -> Markup {
    let (tone, word) = (met.tone(), met.word(measured));
    html! {
        (measured.map_or("–".to_owned(), span)) " against an objective of " (span(objective)) " " (badge(tone, word))
    }
}

fn integrity_badge(verdict: Integrity) -> Markup {
    match verdict {
        Integrity::Intact => badge(Tone::Good, "as recorded"),
        Integrity::Unchained => badge(Tone::Doubt, "not protected by a chain"),
        Integrity::Unknown => badge(Tone::Doubt, "could not be read"),
        Integrity::Altered => badge(Tone::Bad, "ALTERED"),
    }
}

fn integrity(dossier: &Dossier) -> Markup {
    html! {
        section {
            h2 { "Integrity" }
            p.baseline {
                "Each record names the SHA-256 of the one before it. The heads below name the last record of each database: whoever keeps this page elsewhere can prove later that nothing up to it was changed, with "
                code { "lifeboat drill verify-evidence" } " and " code { "--expect-head" } "."
            }
            @if dossier.integrity.sources.is_empty() { p { "There is no evidence to look at." } }
            @for source in &dossier.integrity.sources { (integrity_of(source)) }
            p.legend { span { (prose(dossier.integrity.limits)) } }
        }
    }
}

fn integrity_of(source: &Checked) -> Markup {
    html! {
        dl.facts {
            (fact(&spelled(&source.source), html! {
                (integrity_badge(source.verdict))
                small { (counted(source.links as usize, "link", "links")) }
                @if !source.unchained.is_empty() {
                    small {
                        (counted(source.unchained.len(), "run", "runs")) " from before the chain"
                        @if let Some(at) = source.adopted_at { ", protected since " (time(at)) }
                    }
                }
                @if let Some(unfinished) = &source.unfinished { small { (unfinished) } }
            }))
            @if let Some(head) = &source.head { (fact("Head", html! { code { (head.sha256) } })) }
            @if !source.findings.is_empty() {
                (fact("Found", html! { ul { @for finding in &source.findings { li { code { (name(&finding.file)) } ": " (prose(&finding.message)) } } } }))
            }
        }
    }
}

fn limits(dossier: &Dossier) -> Markup {
    html! {
        @if !dossier.unreadable.is_empty() {
            section { h2 { "Records that could not be read" } (lines(&dossier.unreadable)) }
        }
    }
}

fn signed_off(note: &Note) -> Markup {
    html! {
        div.note {
            p { (prose(&note.note)) }
            p.by { (name(note.reviewer.as_deref().unwrap_or_default())) ", " (time(note.at)) ", entered by " (name(&note.by)) " on " (name(&note.host)) }
        }
    }
}

/// Sign-offs that are on record.
fn signed(dossier: &Dossier) -> Markup {
    let signed: Vec<(&Entry, &Note)> =
        dossier.drills.iter().flat_map(|entry| entry.sign_offs().map(move |note| (entry, note))).collect();
    html! {
        @if !signed.is_empty() {
            section {
                h2 { "Signed off" }
                p.signed { (signed.len()) " of " (counted(dossier.drills.len(), "drill", "drills")) ", by entries in the record:" }
                table.drills {
                    thead { tr { th scope="col" { "Reviewer" } th scope="col" { "Date" } th scope="col" { "Drill" } th scope="col" { "Comment" } } }
                    tbody { @for (entry, note) in &signed { tr {
                        th scope="row" { (name(note.reviewer.as_deref().unwrap_or_default())) }
                        td { (time(note.at)) }
                        td { (name(&entry.label)) " " small { (name(&entry.drill.run)) } }
                        td.reason { (prose(&note.note)) }
                    } } }
                }
            }
        }
    }
}
