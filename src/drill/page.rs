//! The page of a drill: its record as one HTML file, for an engineer on a phone and for an auditor on paper.
//!
//! Pure: a report in, a page out. The page runs no script and loads nothing, and everything that came from outside
//! (names, queries, answers) passes through maud's escaping and [`spell_unseen`]. The JSON beside it is the record; the
//! page carries its hash.

pub(crate) mod words;

use maud::{Markup, html};

use words::{
    distinct_words, explain_baseline, explain_table_word, explain_verdict, format_share, format_tally,
    table_rank, tone_of_table,
};

use super::evidence::{CheckResult, Moment, ObjectiveVerdict, Phase, Report, State, Throwaway};
use super::outcome::{Fate, Outcome};
use crate::page::{
    capitalise, draw_badge, draw_fact, draw_list, draw_mark, draw_name, draw_page, draw_prose, draw_time,
    spell_unseen,
};
use crate::restore::Way;
use crate::vault::chain::sha256;
use crate::verify::judge::DefinitionVerdict;
use crate::verify::{Baseline, TableVerdict, Verdict};
use crate::when::format_span;
use crate::words::{Tone, format_thousands};

/// How many rows of sound tables are shown; more are collapsed.
const ROWS_UNFOLDED: usize = 30;

/// Draws the page; `json` is the evidence file that it belongs to.
pub(super) fn render_evidence(report: &Report, json: &[u8]) -> String {
    let verdict = Outcome::of_record(report).headline();
    let shown = html! {
        (draw_heading(report))
        (draw_reasons(report))
        (draw_record(report))
        (draw_objectives(report))
        (draw_phases(report))
        (draw_tables(report))
        (draw_definitions(&report.definitions))
        (draw_checks(&report.checks))
        (draw_throwaway(report))
        (not_tested(&report.not_tested))
        (draw_evidence(report, json))
        (sign_off())
    };
    let title = html! { (verdict) ": restore drill of " (spell_unseen(&report.source.id)) ", " (spell_unseen(&report.run)) };
    draw_page(title, "", shown, &report.ran_by.version, &report.schema)
}

fn draw_heading(report: &Report) -> Markup {
    let (source, outcome) = (&report.source, Outcome::of_record(report));
    html! {
        header {
            p.over { span { "lifeboat" } span { "Restore drill" } span.run { (draw_name(&report.run)) } }
            h1 { (draw_name(&source.id)) }
            p.moment { (draw_moment(&report.moment)) }
            div class={ "verdict " (outcome.tone().class()) } {
                p.word { (draw_mark(outcome.tone())) (outcome.headline()) }
                p.meaning { (explain_verdict(report)) }
            }
            (draw_left_behind(&report.throwaway))
        }
    }
}

/// What still costs money is at the top.
fn draw_left_behind(throwaway: &Throwaway) -> Markup {
    let instance = || html! { code { (draw_name(throwaway.current_name())) } };
    html! {
        @if throwaway.left_behind.is_some() {
            div.alarm.bad {
                p { strong { "An instance was left behind and costs money: " } (instance()) }
                p { "Remove it with " code { "lifeboat drill sweep" } ", and make sure that it is gone." }
            }
        } @else if throwaway.kept {
            div.alarm.doubt {
                p { strong { "An instance was kept, as requested, and costs money: " } (instance()) }
                p { code { "lifeboat drill sweep" } " removes it from " (draw_time(throwaway.expires_at)) " on." }
            }
        }
    }
}

fn draw_moment(moment: &Moment) -> Markup {
    html! {
        @match moment.kind {
            Way::Snapshot => {
                @if let Some(kind) = &moment.snapshot_type { (capitalise(&spell_unseen(kind))) " snapshot " } @else { "Snapshot " }
                code { (draw_name(moment.snapshot_id.as_deref().unwrap_or("of unknown id"))) }
                @if moment.time.is_some() { " of " }
            }
            Way::PointInTime => { "Point in time" @if moment.time.is_none() { ", not resolved before the drill ended" } " " }
        }
        @if let Some(at) = moment.time { (draw_time(at)) }
        span.asked { "asked for: " code { (draw_name(&moment.asked_for)) } }
    }
}

fn draw_reasons(report: &Report) -> Markup {
    html! {
        @if !report.reasons.is_empty() {
            section.reasons { h2 { "Reasons" } (draw_list(&report.reasons)) }
        }
        @if !report.hints.is_empty() {
            section.reasons { h2 { "What to do" } (draw_list(&report.hints)) }
        }
    }
}

fn draw_record(report: &Report) -> Markup {
    let (source, by) = (&report.source, &report.ran_by);
    let took = report.finished_at.map(|at| format_span((at - report.started_at).as_seconds_f64()));
    html! {
        section {
            h2 { "Record" }
            dl.facts {
                (draw_fact("Run", html! { (draw_name(&report.run)) }))
                (draw_fact("Started", draw_time(report.started_at)))
                (draw_fact("Finished", html! {
                    @if let Some(at) = report.finished_at { (draw_time(at)) } @else { "not finished" }
                    @if let Some(took) = took { small { "after " (took) } }
                    @match report.state {
                        State::Interrupted => small { "interrupted by SIGINT" },
                        State::Terminated => small { "terminated by SIGTERM" },
                        State::Died => small { "its process ended before the drill did" },
                        State::Running | State::Finished => {},
                    }
                }))
                (draw_fact("Run by", html! { (draw_name(by.caller.as_deref().unwrap_or("not known: AWS did not say"))) }))
                (draw_fact("On host", html! { (draw_name(&by.host)) }))
                (draw_fact("With", html! { "lifeboat " (draw_name(&by.version)) }))
                (draw_fact("Source", html! { (draw_name(&source.id)) " " small { (draw_name(&source.resource_id)) } }))
                (draw_fact("Engine", html! { (draw_name(&source.engine)) " " (draw_name(&source.engine_version)) " " small { "in " (draw_name(&source.region)) } }))
                (draw_fact("Size", html! {
                    (draw_name(&source.class)) ", " (source.storage_gib) " GiB"
                    small { @if source.encrypted { "encrypted" } @else { "not encrypted" } }
                }))
            }
        }
    }
}

fn draw_objectives(report: &Report) -> Markup {
    let (rto, rpo) = (&report.rto, &report.rpo);
    let available = rto.available_seconds.map(format_span);
    let rto_note = match (available, rto.measured_seconds.map(format_span)) {
        (Some(available), Some(validated)) => {
            format!("Available after {available}, validated after {validated}.")
        }
        (Some(available), None) => format!("Available after {available}, never validated."),
        (None, _) => "The copy never became available.".to_owned(),
    };
    html! {
        section {
            h2 { "Objectives" }
            div.objectives {
                (draw_objective("Recovery time", "RTO", rto.measured_seconds, rto.objective_seconds, rto.verdict, html! {
                    p { (rto_note) " Counted from the request to restore until every row had been read and every check run." }
                }))
                (draw_objective("Recovery point", "RPO", rpo.measured_seconds, rpo.objective_seconds, rpo.verdict, html! {
                    @if let Some(newest) = rpo.newest_row {
                        p { "The newest row in the copy is of " (draw_time(newest)) "." }
                    } @else if rpo.measured_seconds.is_some() {
                        p { "The age of the backup when the drill began; its newest row was not queried." }
                    }
                    @if let Some(reason) = &rpo.reason {
                        p { "It was not measured: " (draw_prose(reason)) "." }
                    }
                    @if rpo.verdict == ObjectiveVerdict::NotJudged {
                        p { "The backup was chosen by hand, so its age says nothing about scheduled backups." }
                    }
                }))
            }
        }
    }
}

fn draw_objective(
    title: &str,
    short: &str,
    measured: Option<f64>,
    objective: f64,
    met: ObjectiveVerdict,
    notes: Markup,
) -> Markup {
    let (tone, word) = (met.tone(), met.word(measured));
    let scale = measured.unwrap_or_default().max(objective).max(f64::MIN_POSITIVE);
    let percent = |seconds: f64| (seconds / scale * 100.0).clamp(0.0, 100.0);
    let lengths =
        format!("--used:{:.2}%;--goal:{:.2}%", percent(measured.unwrap_or_default()), percent(objective));
    html! {
        div.objective {
            h3 { (title) " " abbr { (short) } (draw_badge(tone, word)) }
            p.figure {
                @if let Some(measured) = measured { (format_span(measured)) } @else { span.none { "not measured" } }
                small { "objective " (format_span(objective)) }
            }
            div class={ "bar " (tone.class()) } style=(lengths) aria-hidden="true" {
                @if measured.is_some() { span.used {} }
                span.goal {}
            }
            @if let Some(measured) = measured { p { (format_share(measured, objective)) } }
            (notes)
        }
    }
}

fn draw_phases(report: &Report) -> Markup {
    let offset = |phase: &Phase| (phase.started_at - report.started_at).as_seconds_f64().max(0.0);
    let over = report.finished_at.map_or(0.0, |at| (at - report.started_at).as_seconds_f64());
    // The phases are timed by another clock than the drill; none may exceed the chart.
    let whole =
        report.phases.iter().map(|phase| offset(phase) + phase.seconds).fold(over, f64::max).max(0.001);
    let lengths = |phase: &Phase| {
        format!("--at:{:.3}%;--for:{:.3}%", offset(phase) / whole * 100.0, phase.seconds / whole * 100.0)
    };
    html! {
        section {
            h2 { "Phases" }
            @if report.phases.is_empty() { p { "The drill ended before its first phase." } } @else {
                table.phases {
                    caption { "How long each phase took, from " (draw_time(report.started_at)) " on" }
                    thead { tr {
                        th scope="col" { "Phase" } th.number scope="col" { "Began after" }
                        th.lane scope="col" { span { "0" } span { (format_span(whole)) } }
                        th.number scope="col" { "Took" } th.number scope="col" { "Seconds" }
                    } }
                    tbody { @for phase in &report.phases { tr {
                        th scope="row" { (draw_name(&phase.name)) }
                        td.number.began { (format_span(offset(phase))) }
                        td.lane aria-hidden="true" { div.track style=(lengths(phase)) { span {} } }
                        td.number.took { (format_span(phase.seconds)) }
                        td.number.seconds { (format!("{:.1}", phase.seconds)) }
                    } } }
                }
            }
        }
    }
}

fn draw_tables(report: &Report) -> Markup {
    let mut sorted: Vec<&TableVerdict> = report.tables.iter().collect();
    sorted.sort_by_key(|table| (&table.database, table_rank(table.verdict), &table.schema, &table.table));
    let rows: u64 = sorted.iter().filter_map(|table| table.observed_rows).fold(0, u64::saturating_add);
    html! {
        section {
            h2 { "Tables" }
            @if sorted.is_empty() { p { "No table was compared." } } @else {
                p { (format_tally(&sorted)) ". " (format_thousands(rows)) " rows were counted in the copy." }
                p.baseline { (explain_baseline(report.baseline)) }
                dl.words { @for word in distinct_words(&sorted) {
                    div { dt { (draw_badge(tone_of_table(word, report.baseline), word.as_str())) } dd { (explain_table_word(word)) } }
                } }
                @for tables in sorted.chunk_by(|left, right| left.database == right.database) {
                    (draw_database(tables, report.baseline))
                }
            }
        }
    }
}

fn draw_database(tables: &[&TableVerdict], baseline: Baseline) -> Markup {
    let database = tables.first().map(|table| table.database.as_str()).unwrap_or_default();
    let is_sound =
        |table: &TableVerdict| !matches!(tone_of_table(table.verdict, baseline), Tone::Bad | Tone::Doubt);
    let (sound, other): (Vec<&TableVerdict>, Vec<&TableVerdict>) =
        tables.iter().partition(|table| is_sound(table));
    let is_folded = sound.len() > ROWS_UNFOLDED;
    html! {
        h3 { "Database " code { (draw_name(database)) } small { (format_tally(tables)) } }
        @if is_folded {
            @if !other.is_empty() { (table_of(&other, baseline, &format!("Tables of {database} that need attention"))) }
            details {
                summary { (format_tally(&sound)) }
                (table_of(&sound, baseline, &format!("Tables of {database} that are as expected")))
            }
        } @else { (table_of(tables, baseline, &format!("Tables of {database}"))) }
    }
}

fn table_of(tables: &[&TableVerdict], baseline: Baseline, caption: &str) -> Markup {
    let rows = |rows: Option<u64>| rows.map_or("–".to_owned(), format_thousands);
    html! {
        table.results {
            caption.unseen { (spell_unseen(caption)) }
            thead { tr {
                th scope="col" { "Table" } th scope="col" { "Verdict" }
                th.number scope="col" { "Expected" } th.number scope="col" { "Found" } th scope="col" { "Reason" }
            } }
            tbody { @for table in tables { tr {
                // Each part by itself: a right-to-left name must not swap places with its schema.
                th scope="row" { (draw_name(&table.schema)) "." wbr; (draw_name(&table.table)) }
                td { (draw_badge(tone_of_table(table.verdict, baseline), table.verdict.as_str())) }
                td.number data-label="expected" { (rows(table.expected_rows)) }
                td.number data-label="found" { (rows(table.observed_rows)) }
                td.reason { (draw_prose(&table.reason)) }
            } } }
        }
    }
}

/// Empty if everything is as expected, or if definitions were not compared, which is reported elsewhere.
fn draw_definitions(found: &[DefinitionVerdict]) -> Markup {
    html! {
        @if !found.is_empty() {
            section {
                h2 { "Definitions" }
                table.results.checks {
                    caption { "Definitions and sequences that are not as expected" }
                    thead { tr {
                        th scope="col" { "Name" } th scope="col" { "Verdict" } th scope="col" { "Reason" }
                    } }
                    tbody { @for one in found { tr {
                        th scope="row" { (draw_name(&one.name)) " " small { (one.kind) " in database " (draw_name(&one.database)) } }
                        td { (draw_badge(Verdict::Fail.tone(), one.verdict.as_str())) }
                        td.reason { (draw_prose(&one.reason)) }
                    } } }
                }
            }
        }
    }
}

fn draw_checks(checks: &[CheckResult]) -> Markup {
    html! {
        section {
            h2 { "Checks" }
            @if checks.is_empty() { p { "None were configured or run." } } @else {
                table.results.checks {
                    caption { "SQL queries that were run on the restored copy" }
                    thead { tr {
                        th scope="col" { "Check" } th scope="col" { "Verdict" }
                        th scope="col" { "Expected" } th scope="col" { "Found" } th scope="col" { "Reason" }
                    } }
                    tbody { @for check in checks { (check_row(check)) } }
                }
            }
        }
    }
}

fn check_row(check: &CheckResult) -> Markup {
    let none = if check.verdict == Verdict::Unknown { "no answer" } else { "no row" };
    html! {
        tr {
            th scope="row" {
                @if check.name != check.query { (draw_name(&check.name)) }
                pre { code { (spell_unseen(&check.query)) } }
                small { "in database " (draw_name(&check.database)) }
            }
            td { (draw_badge(check.verdict.tone(), check.verdict.word())) }
            td data-label="expected" { code { (draw_name(&check.expect)) } }
            td data-label="found" { @if let Some(found) = &check.observed { code { (draw_name(found)) } } @else { (none) } }
            td.reason { (draw_prose(&check.reason)) }
        }
    }
}

fn draw_throwaway(report: &Report) -> Markup {
    let throwaway = &report.throwaway;
    let fate = Fate::of_throwaway(throwaway, Outcome::of_record(report));
    let at = fate.known_at().filter(|_| !matches!(fate, Fate::Kept(_)));
    html! {
        section {
            h2 { "Throwaway instance " (draw_badge(fate.tone(), fate.word())) }
            dl.facts {
                (draw_fact("Instance", html! { (draw_name(&throwaway.id)) }))
                (draw_fact("Resource id", html! { (draw_name(throwaway.resource_id.as_deref().unwrap_or("not known"))) }))
                (draw_fact("Class", html! { (draw_name(&throwaway.class)) }))
                (draw_fact("Requested", html! { @if let Some(at) = throwaway.requested_at { (draw_time(at)) } @else { "not recorded" } }))
                (draw_fact(if at.is_some() { "Removed" } else { "Outcome" }, html! {
                    @if let Some(at) = at { (draw_time(at)) " " small { (draw_prose(&fate.explain())) } }
                    @else { (draw_prose(&capitalise(&fate.explain()))) "." }
                }))
                @if at.is_none() { (draw_fact("Expires", draw_time(throwaway.expires_at))) }
            }
        }
    }
}

fn not_tested(not_tested: &[String]) -> Markup {
    html! {
        section {
            h2 { "Not tested" }
            @if not_tested.is_empty() { p { "The drill recorded nothing as not tested." } } @else {
                p { "This drill says nothing about:" }
                (draw_list(not_tested))
            }
        }
    }
}

fn draw_evidence(report: &Report, json: &[u8]) -> Markup {
    let hash = sha256(json);
    html! {
        section.evidence {
            h2 { "Evidence" }
            p { "This page shows what is in the file below. The file is the record; anyone who has it can check with "
                code { "sha256sum" } " that it is the one this page was made from." }
            dl.facts {
                (draw_fact("SHA-256", html! { code { (hash) } }))
                (draw_fact("File", html! { code { (draw_name(&report.evidence.json)) } }))
                @if let Some(place) = &report.chain {
                    (draw_fact("In the chain", html! {
                        "link " (place.seq) ", after " code { (draw_name(&place.previous)) }
                        small { "checked by " code { "lifeboat drill verify-evidence" } }
                    }))
                    @if let Some(earlier) = &place.previous_evidence {
                        (draw_fact("Evidence before it", html! { code { (draw_name(&earlier.sha256)) } small { "of " (draw_name(&earlier.run)) } }))
                    }
                }
            }
        }
    }
}

/// Lines to be filled in by hand, on paper.
pub(crate) fn sign_off() -> Markup {
    html! {
        section.sign-off {
            h2 { "Reviewed by" }
            dl { @for line in ["Reviewer", "Date", "Signature", "Comment and corrective action"] { div { dt { (line) } dd {} } } }
        }
    }
}

#[cfg(test)]
pub(super) mod samples;
#[cfg(test)]
mod tests;
