//! The document as one HTML page: for an auditor on a screen and on paper. Pure; it runs no script and loads nothing, and
//! what came from outside passes through maud's escaping and through the escaping of invisible characters.

use chrono::NaiveDate;
use maud::{Markup, html};

use super::{Against, DrillReport, Entry};
use crate::drill::annotate::Note;
use crate::drill::calendar::{Cell, Month, Period, Row};
use crate::drill::evidence::{ObjectiveVerdict, Report};
use crate::drill::outcome::Fate;
use crate::drill::page::sign_off;
use crate::drill::verify_evidence::{Checked, Verdict as Integrity};
use crate::page::{
    draw_badge, draw_fact, draw_list, draw_mark, draw_name, draw_page, draw_prose, draw_time, spell_unseen,
};
use crate::restore::Way;
use crate::verify::Verdict;
use crate::when::format_span;
use crate::words::{Tone, format_count};

const CSS: &str = include_str!("dossier.css");

/// Draws the page.
pub(crate) fn render_report(dossier: &DrillReport) -> String {
    let title = format!("Restore drills, {}", format_period(dossier.calendar.period));
    let shown = html! {
        (draw_heading(dossier))
        (draw_year(dossier))
        (draw_objectives(dossier))
        (draw_shortfalls(dossier))
        (draw_drills(dossier))
        (draw_facts(dossier))
        (draw_integrity(dossier))
        (draw_limits(dossier))
        (draw_sign_offs(dossier))
        (sign_off())
    };
    draw_page(html! { (title) }, CSS, shown, &dossier.author.version, dossier.schema)
}

fn format_period(period: Period) -> String {
    let day = |day: NaiveDate| day.format("%-d %B %Y").to_string();
    let year = chrono::Datelike::year(&period.from);
    if Period::of_year(year).is_ok_and(|whole| whole == period) {
        return year.to_string();
    }
    if Period::month_of(period.from).is_ok_and(|whole| whole == period) {
        return period.from.format("%B %Y").to_string();
    }
    format!("{} to {}", day(period.from), day(period.to))
}

fn draw_heading(dossier: &DrillReport) -> Markup {
    let headline = dossier.headline();
    let (tone, word) = (headline.tone, headline.words.to_uppercase());
    html! {
        header {
            p.over { span { "lifeboat" } span { "Evidence of restore drills" } span.run { (draw_time(dossier.at)) } }
            h1 { "Restore drills, " (format_period(dossier.calendar.period)) }
            p.moment {
                (format_count(dossier.calendar.databases.len(), "database", "databases")) ", "
                (format_count(dossier.totals.drills, "drill", "drills"))
                span.asked { "prepared by " (draw_name(&dossier.author.by)) " on " (draw_name(&dossier.author.host)) " from " code { (draw_name(&dossier.vault)) } }
            }
            div class={ "verdict " (tone.class()) } {
                p.word { (draw_mark(tone)) (word) }
                p.meaning { (explain_headline(dossier)) }
            }
            @if dossier.integrity.verdict == Integrity::Altered {
                div.alarm.bad { p {
                    strong { "Evidence was altered after it was recorded. " }
                    "Integrity, below, lists the files and what is wrong with them. Until that is explained, this page proves nothing about those databases."
                } }
            }
        }
    }
}

fn explain_headline(dossier: &DrillReport) -> String {
    let (totals, rows) = (&dossier.totals, &dossier.calendar.databases);
    let cells = || rows.iter().flat_map(|row| &row.months);
    let gaps = cells().filter(|cell| cell.outcome == Month::Gap).count();
    let unproven = cells().filter(|cell| cell.outcome.is_short()).count() - gaps;
    let failing = rows.iter().filter(|row| row.failed_since_pass > 0).count();
    let never = rows.iter().filter(|row| row.never_drilled).count();
    let mut said = vec![format!(
        "{}: {} passed, {} failed, {} gave no answer.",
        format_count(totals.drills, "drill", "drills"),
        totals.passed,
        totals.failed,
        totals.unknown
    )];
    if gaps > 0 {
        said.push(format!(
            "{} without any drill.",
            format_count(gaps, "month of a database", "months of databases")
        ));
    }
    if unproven > 0 {
        let months = format_count(unproven, "month of a database", "months of databases");
        said.push(format!("{months} with drills of which none passed."));
    }
    if failing > 0 {
        let databases = format_count(failing, "database", "databases");
        said.push(format!("{databases} whose last drill failed, with none that passed since."));
    }
    if never > 0 {
        said.push(format!(
            "{} never drilled.",
            format_count(never, "database that exists was", "databases that exist were")
        ));
    }
    if totals.unanswered > 0 {
        let drills = format_count(totals.unanswered, "drill that did not pass", "drills that did not pass");
        said.push(format!("No note says what was done about {drills}."));
    }
    said.join(" ")
}

fn draw_year(dossier: &DrillReport) -> Markup {
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
                    tbody { @for row in &dossier.calendar.databases { (draw_year_row(row)) } }
                } }
                p.legend {
                    span { "A month counts when a drill passed in it (UTC)." }
                    span { "GAP: no drill, though the database had been drilled before." }
                    @if !dossier.calendar.aws.asked {
                        span { "AWS was not asked which databases exist: " (draw_prose(dossier.calendar.aws.reason.as_deref().unwrap_or("unknown"))) "." }
                    }
                }
            }
        }
    }
}

fn draw_year_row(row: &Row) -> Markup {
    html! {
        tr {
            th scope="row" {
                (draw_name(&row.label))
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
                (draw_mark(tone)) span.unseen { (word) " " }
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
        Month::Ahead => html! { span.none title="in the future" { "" } },
    }
}

fn draw_objectives(dossier: &DrillReport) -> Markup {
    let measured = dossier.measured_objectives();
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
                        th scope="row" { (draw_name(&of.source)) }
                        td.number data-label="drills" { (of.drills) }
                        (draw_against(of.rto, "RTO")) (draw_against(of.rpo, "RPO"))
                    } } }
                }
                p.legend { span { "Recovery time: from the request to restore until every row had been read and every check run. Recovery point: the age of what was restored when the drill began." } }
            }
        }
    }
}

fn draw_against(of: Against, which: &str) -> Markup {
    let seconds = |value: Option<f64>| value.map_or("not measured".to_owned(), format_span);
    let is_missed = of.worst.is_some_and(|worst| worst > of.objective);
    html! {
        td.number data-label={ (which) " objective" } { (format_span(of.objective)) }
        td.number data-label={ (which) " median" } { (seconds(of.median)) }
        td.number data-label={ (which) " worst" } { @if is_missed { (draw_badge(Tone::Bad, &seconds(of.worst))) } @else { (seconds(of.worst)) } }
    }
}

fn draw_shortfalls(dossier: &DrillReport) -> Markup {
    let short: Vec<&Entry> = dossier.drills.iter().filter(|entry| entry.outcome.is_shortfall()).collect();
    html! {
        section {
            h2 { "Drills that did not pass, and what was done" }
            @if dossier.drills.is_empty() { p { "There was no drill in this period." } }
            @else if short.is_empty() { p { "Every drill of this period passed." } }
            @for entry in short { (draw_shortfall(entry)) }
        }
    }
}

fn draw_shortfall(entry: &Entry) -> Markup {
    let (drill, tone) = (&entry.drill, entry.outcome.tone());
    let answers: Vec<&Note> = entry.follow_ups().collect();
    html! {
        article class={ "short " (tone.class()) } {
            h3 { (draw_name(&entry.label)) " " small { (draw_time(drill.started_at)) } " " small { (draw_name(&drill.run)) } (draw_badge(tone, entry.outcome.word())) }
            @if drill.reasons.is_empty() { p { "It gave no reason: its process ended before it could." } } @else { (draw_list(&drill.reasons)) }
            h4 { "What was done" }
            @if answers.is_empty() { p { "Nothing is recorded." } }
            @for note in answers { (note_of(note)) }
            p.legend { @match &entry.passed_again {
                Some(later) => span { "Passed again on " (draw_time(later.at)) ", after " (format_span((later.at - drill.started_at).as_seconds_f64())) ", run " (draw_name(&later.run)) "." },
                None => span { "No drill of this database has passed since." },
            } }
        }
    }
}

fn note_of(note: &Note) -> Markup {
    html! {
        div.note {
            p { (draw_prose(&note.note)) }
            p.by {
                (draw_name(&note.by)) " on " (draw_name(&note.host)) ", " (draw_time(note.at))
                @if let Some(ticket) = &note.ticket { " · ticket " (draw_name(ticket)) }
                @if let Some(owner) = &note.owner { " · owner " (draw_name(owner)) }
                @if let Some(due) = &note.due { " · due " (due) }
            }
        }
    }
}

fn draw_drills(dossier: &DrillReport) -> Markup {
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
                        th scope="row" { (draw_name(&entry.label)) }
                        td { (draw_badge(entry.outcome.tone(), entry.outcome.word())) }
                        td data-label="began" { (draw_time(drill.started_at)) }
                        td data-label="restored" { (draw_restored(drill)) }
                        td.number data-label="RTO" { (drill.rto.measured_seconds.map_or("–".to_owned(), format_span)) }
                        td.number data-label="RPO" { (drill.rpo.measured_seconds.map_or("–".to_owned(), format_span)) }
                        td data-label="copy removed" { (draw_removed(entry)) }
                    } } }
                }
            }
        }
    }
}

fn draw_restored(drill: &Report) -> Markup {
    html! {
        @match drill.moment.kind {
            Way::Snapshot => { "snapshot " (draw_name(drill.moment.snapshot_id.as_deref().unwrap_or("of unknown id"))) },
            Way::PointInTime => "point in time",
        }
        @if let Some(at) = drill.moment.time { " of " (draw_time(at)) }
    }
}

/// The outcome of the copy: when it was removed, or a word.
fn draw_removed(entry: &Entry) -> Markup {
    let fate = Fate::of_throwaway(&entry.drill.throwaway, entry.outcome);
    html! {
        @match fate {
            Fate::Removed(at) => (draw_time(at)),
            _ => { (draw_badge(fate.tone(), fate.word())) @if let Some(at) = fate.known_at() { " " small { (draw_time(at)) } } },
        }
    }
}

/// The details of each drill for an auditor.
fn draw_facts(dossier: &DrillReport) -> Markup {
    html! {
        @if !dossier.drills.is_empty() {
            section {
                h2 { "The drills in full" }
                @for entry in &dossier.drills {
                    details.drill-facts {
                        summary {
                            (draw_badge(entry.outcome.tone(), entry.outcome.word())) (draw_name(&entry.label))
                            small { (draw_time(entry.drill.started_at)) } " " small { (draw_name(&entry.drill.run)) }
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
            (draw_fact("Who", html! { (draw_name(by.caller.as_deref().unwrap_or("not known: AWS did not say"))) " " small { "on " (draw_name(&by.host)) " with lifeboat " (draw_name(&by.version)) } }))
            (draw_fact("When", html! { (draw_time(drill.started_at)) " to " @if let Some(at) = drill.finished_at { (draw_time(at)) } @else { "an end that is not recorded" } }))
            (draw_fact("Source", html! {
                (draw_name(&source.id)) " (" (draw_name(&source.resource_id)) ") in " (draw_name(&source.region))
                small { (draw_name(&source.engine)) " " (draw_name(&source.engine_version)) ", " (draw_name(&source.class)) ", " (source.storage_gib) " GiB, " @if source.encrypted { "encrypted" } @else { "not encrypted" } }
            }))
            (draw_fact("Backup", html! { (draw_restored(drill)) " " small { "chosen by " code { (draw_name(&drill.moment.asked_for)) } } }))
            (draw_fact("Compared", html! { (format_count(drill.tables.len(), "table", "tables")) ", baseline " (describe_baseline(drill)) ", " (passed) " of " (format_count(drill.checks.len(), "check", "checks")) " passed" }))
            (draw_fact("Recovery time", draw_objective(drill.rto.objective_seconds, drill.rto.measured_seconds, drill.rto.verdict)))
            (draw_fact("Recovery point", draw_objective(drill.rpo.objective_seconds, drill.rpo.measured_seconds, drill.rpo.verdict)))
            (draw_fact("Copy", html! { (draw_name(&copy.id)) " (" (draw_name(copy.resource_id.as_deref().unwrap_or("resource id not known"))) ")" }))
            (draw_fact("Proof of deletion", html! { (draw_removed(entry)) " " small { (draw_prose(&Fate::of_throwaway(copy, entry.outcome).explain())) } }))
            (draw_fact("Not tested", html! { @if drill.not_tested.is_empty() { "nothing is listed" } @else { (draw_list(&drill.not_tested)) } }))
            @for note in entry.follow_ups() { (draw_fact("Note", note_of(note))) }
            @for note in entry.sign_offs() { (draw_fact("Signed off", signed_off(note))) }
            (draw_fact("SHA-256 of the evidence", html! { code { (entry.integrity.evidence_sha256.as_deref().unwrap_or("none")) } }))
            (draw_fact("SHA-256 of its page", html! { code { (entry.integrity.page_sha256.as_deref().unwrap_or("none")) } }))
            (draw_fact("Record", html! {
                (integrity_badge(entry.integrity.verdict))
                @if let Some(link) = entry.integrity.link { small { "link " (link) " of the chain" } }
            }))
        }
    }
}

fn describe_baseline(drill: &Report) -> &'static str {
    match drill.baseline {
        crate::verify::Baseline::Aligned => "aligned",
        crate::verify::Baseline::Recorded => "recorded",
        crate::verify::Baseline::Live => "live",
    }
}

fn draw_objective(objective: f64, measured: Option<f64>, met: ObjectiveVerdict) -> Markup {
    let (tone, word) = (met.tone(), met.word(measured));
    html! {
        (measured.map_or("–".to_owned(), format_span)) " against an objective of " (format_span(objective)) " " (draw_badge(tone, word))
    }
}

fn integrity_badge(verdict: Integrity) -> Markup {
    match verdict {
        Integrity::Intact => draw_badge(Tone::Good, "as recorded"),
        Integrity::Unchained => draw_badge(Tone::Doubt, "not protected by a chain"),
        Integrity::Unknown => draw_badge(Tone::Doubt, "could not be read"),
        Integrity::Altered => draw_badge(Tone::Bad, "ALTERED"),
    }
}

fn draw_integrity(dossier: &DrillReport) -> Markup {
    html! {
        section {
            h2 { "Integrity" }
            p.baseline {
                "Each record names the SHA-256 of the one before it. The heads below name the last record of each database: anyone who keeps this page elsewhere can prove later that nothing up to it was changed, with "
                code { "lifeboat drill verify-evidence" } " and " code { "--expect-head" } "."
            }
            @if dossier.integrity.sources.is_empty() { p { "There is no evidence to check." } }
            @for source in &dossier.integrity.sources { (draw_integrity_of(source)) }
            p.legend { span { (draw_prose(dossier.integrity.limits)) } }
        }
    }
}

fn draw_integrity_of(source: &Checked) -> Markup {
    html! {
        dl.facts {
            (draw_fact(&spell_unseen(&source.source), html! {
                (integrity_badge(source.verdict))
                small { (format_count(source.links as usize, "link", "links")) }
                @if !source.unchained.is_empty() {
                    small {
                        (format_count(source.unchained.len(), "run", "runs")) " from before the chain"
                        @if let Some(at) = source.adopted_at { ", protected since " (draw_time(at)) }
                    }
                }
                @if let Some(unfinished) = &source.unfinished { small { (unfinished) } }
            }))
            @if let Some(head) = &source.head { (draw_fact("Head", html! { code { (head.sha256) } })) }
            @if !source.findings.is_empty() {
                (draw_fact("Found", html! { ul { @for finding in &source.findings { li { code { (draw_name(&finding.file)) } ": " (draw_prose(&finding.message)) } } } }))
            }
        }
    }
}

fn draw_limits(dossier: &DrillReport) -> Markup {
    html! {
        @if !dossier.unreadable.is_empty() {
            section { h2 { "Records that could not be read" } (draw_list(&dossier.unreadable)) }
        }
    }
}

fn signed_off(note: &Note) -> Markup {
    html! {
        div.note {
            p { (draw_prose(&note.note)) }
            p.by { (draw_name(note.reviewer.as_deref().unwrap_or_default())) ", " (draw_time(note.at)) ", entered by " (draw_name(&note.by)) " on " (draw_name(&note.host)) }
        }
    }
}

/// Recorded sign-offs.
fn draw_sign_offs(dossier: &DrillReport) -> Markup {
    let signed: Vec<(&Entry, &Note)> =
        dossier.drills.iter().flat_map(|entry| entry.sign_offs().map(move |note| (entry, note))).collect();
    html! {
        @if !signed.is_empty() {
            section {
                h2 { "Signed off" }
                p.signed { (signed.len()) " of " (format_count(dossier.drills.len(), "drill", "drills")) ", by entries in the record:" }
                table.drills {
                    thead { tr { th scope="col" { "Reviewer" } th scope="col" { "Date" } th scope="col" { "Drill" } th scope="col" { "Comment" } } }
                    tbody { @for (entry, note) in &signed { tr {
                        th scope="row" { (draw_name(note.reviewer.as_deref().unwrap_or_default())) }
                        td { (draw_time(note.at)) }
                        td { (draw_name(&entry.label)) " " small { (draw_name(&entry.drill.run)) } }
                        td.reason { (draw_prose(&note.note)) }
                    } } }
                }
            }
        }
    }
}
