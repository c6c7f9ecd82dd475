//! Tables of backups, drills and runs of runbooks, newest first.

use chrono::{DateTime, Utc};
use maud::{Markup, html};

use super::charts;
use super::filter::Filter;
use super::view::{DashboardData, Permissions};
use crate::backup::catalogue::{Entry, State};
use crate::backup::identity::{self, Identity};
use crate::backup::{Level, Verification};
use crate::drill::evidence::ObjectiveVerdict;
use crate::drill::outcome::Outcome;
use crate::output::escape_controls;
use crate::page::{draw_badge, draw_mark, draw_time};
use crate::policy::check::Severity;
use crate::runbook::Mode;
use crate::runbook::report::Report as RunReport;
use crate::runbook::state::RunState;
use crate::runbook::words;
use crate::server::drills::Drill;
use crate::server::overview::Database;
use crate::verify::Verdict;
use crate::when::{format_ago, format_span, format_time};
use crate::words::{Tone, format_bytes};

/// More rows than anyone reads.
const BACKUPS_SHOWN: usize = 200;
const DRILLS_SHOWN: usize = 30;

pub(super) fn draw_backups(seen: &DashboardData, may: Permissions, filter: &Filter) -> Markup {
    let entries = &seen.catalogue.entries;
    let identities: Vec<Identity> = entries.iter().map(|entry| Identity::of(&entry.manifest)).collect();
    let rows: Vec<(&Entry, String)> = entries
        .iter()
        .zip(identity::name_databases(&identities))
        .filter(|(entry, label)| {
            let (tone, word) = proof(entry, entry.manifest.verification.as_ref());
            let manifest = &entry.manifest;
            filter.shows(
                &[manifest.backup_name.as_str(), label, manifest.database_type.title(), word],
                tone == Tone::Good,
            )
        })
        .collect();
    let now = seen.overview.timestamp;
    html! {
        section id="backups" aria-labelledby="backups-title" {
            div.title {
                h2 id="backups-title" { "Backups" }
                p {
                    (filter.count(rows.len(), entries.len()))
                    @if rows.len() > BACKUPS_SHOWN { "the newest " (BACKUPS_SHOWN) " of " (rows.len()) }
                }
            }
            (draw_failures(seen))
            @if entries.is_empty() { p.empty { "No backups yet." } } @else if rows.is_empty() { p.empty { "No backup matches." } } @else {
                div.scroll { table.list {
                    caption.unseen { "Backups, newest first" }
                    thead { tr {
                        th scope="col" { "Backup" } th scope="col" { "Taken" } th scope="col" { "Proven" }
                        th.number scope="col" { "Size" } th scope="col" { span.unseen { "Actions" } }
                    } }
                    tbody { @for (entry, label) in rows.iter().take(BACKUPS_SHOWN) { (backup(entry, label, now, may)) } }
                } }
            }
        }
    }
}

/// The last backup that failed, with its severity: whether a good one was made since, and if not, what that means.
fn draw_failures(seen: &DashboardData) -> Markup {
    let Some(failure) = seen.failures.first() else { return html! {} };
    let is_its = |it: &&Database| match &it.identity {
        Some(identity) => failure.is_of(identity),
        None => it.database == failure.database,
    };
    let of_it = seen.overview.databases.iter().find(is_its);
    let finding = of_it.and_then(|it| it.findings.iter().find(|finding| finding.code == "backups_fail"));
    let (tone, what) = match finding.map(|finding| finding.severity) {
        Some(Severity::Critical) => (Tone::Bad, "The last backup failed, and data is at risk"),
        Some(Severity::Warning) => (Tone::Doubt, "The last backup failed"),
        None => (Tone::Faint, "A backup failed, and a later one succeeded"),
    };
    let name = of_it.map_or(&failure.database, |it| &it.label);
    html! {
        p class={ "notice " (tone.class()) } {
            (draw_mark(tone))
            span { strong { (what) } ": " (escape_controls(name)) ", " (format_ago(failure.timestamp, seen.overview.timestamp)) ": " (escape_controls(&failure.error)) }
        }
    }
}

fn backup(entry: &Entry, label: &str, now: DateTime<Utc>, may: Permissions) -> Markup {
    let manifest = &entry.manifest;
    let name = manifest.backup_name.as_str();
    let (tone, word) = proof(entry, manifest.verification.as_ref());
    let at = format_time(manifest.timestamp);
    let button = |act: &str, word: &str, class: Option<&str>| {
        html! { button type="button" class=[class] id={ (act) "-" (name) } data-act=(act) data-name=(name)
        data-label=(escape_controls(label)) data-time=(at) aria-label={ (word) " " (name) } { (word) } " " }
    };
    html! {
        tr {
            th scope="row" { (name) small { (escape_controls(label)) ", " (manifest.database_type.title()) @if manifest.encrypted { ", encrypted" } @if manifest.keep_forever { ", kept forever" } } }
            td data-label="Taken" { (format_ago(manifest.timestamp, now)) small { (draw_time(manifest.timestamp)) } }
            td data-label="Proven" { (draw_badge(tone, word)) @if let Some(proof) = &manifest.verification { small { (format_ago(proof.at, now)) } } }
            td.number data-label="Size" { (format_bytes(manifest.file_size)) small { (format_bytes(manifest.plain_size)) " of content" } }
            td.actions {
                @if may.create { (button("verify", "Prove", None)) }
                @if may.restore { (button("restore", "Restore", None)) }
                @if may.delete { (button("delete", "Delete", Some("plain"))) }
            }
        }
    }
}

fn proof(entry: &Entry, proof: Option<&Verification>) -> (Tone, &'static str) {
    match (&entry.state, proof) {
        (State::Missing, _) => (Tone::Bad, "file missing"),
        (State::Resized(_), _) => (Tone::Bad, "file altered"),
        (State::Present, None) => (Tone::Doubt, "not yet"),
        (State::Present, Some(proof)) => match (proof.result, proof.level) {
            (Verdict::Fail, _) => (Tone::Bad, "bad"),
            (Verdict::Unknown, _) => (Tone::Doubt, "unknown"),
            (Verdict::Pass, Level::Restore) => (Tone::Good, "by restore"),
            (Verdict::Pass, Level::Stream) => (Tone::Good, "read to its end"),
            (Verdict::Pass, Level::Checksum) => (Tone::Good, "by checksum"),
        },
    }
}

pub(super) fn draw_drills(seen: &DashboardData, filter: &Filter) -> Markup {
    let now = seen.overview.timestamp;
    let sources: Vec<(String, Vec<&Drill>)> = seen.drills.by_database().collect();
    let is_shown = |(label, drills): &&(String, Vec<&Drill>)| {
        let newest = drills.first().map_or(Outcome::Unknown, |drill| drill.outcome);
        filter.shows(&[label, newest.word()], newest == Outcome::Pass)
    };
    let shown: Vec<&(String, Vec<&Drill>)> = sources.iter().filter(is_shown).collect();
    html! {
        section id="drills" aria-labelledby="drills-title" {
            div.title { h2 id="drills-title" { "Drills" } p { (filter.count(shown.len(), sources.len())) "restored elsewhere, compared, timed, removed" } }
            @if sources.is_empty() { p.empty { "No drill yet. " code { "lifeboat drill run DB" } " proves that a backup can be restored." } }
            @else if shown.is_empty() { p.empty { "No drill matches." } }
            @for (label, drills) in shown { (drills_of(label, drills, now)) }
            @for damaged in &seen.drills.damaged { p { small { (escape_controls(damaged)) } } }
        }
    }
}

fn drills_of(label: &str, drills: &[&Drill], now: DateTime<Utc>) -> Markup {
    let Some(newest) = drills.first() else { return html! {} };
    html! {
        article.drill {
            header { h3 { (escape_controls(label)) } (draw_outcome(newest.outcome)) small { (newest.report.finished_at.map_or("not finished".to_owned(), |at| format_ago(at, now))) } }
            div.two {
                (charts::draw_recovery_times(drills))
                div { p { small { "Phases of the newest drill" } } (charts::draw_timeline(&newest.report)) }
            }
            div.scroll { table.list {
                caption.unseen { "Drills of " (escape_controls(label)) }
                thead { tr { th scope="col" { "Run" } th scope="col" { "When" } th scope="col" { "Verdict" } th scope="col" { "Recovery time" } th scope="col" { "Recovery point" } } }
                tbody { @for drill in drills.iter().take(DRILLS_SHOWN) { (drill_row(drill, now)) } }
            } }
        }
    }
}

fn draw_outcome(outcome: Outcome) -> Markup {
    draw_badge(outcome.tone(), outcome.word())
}

fn drill_row(drill: &Drill, now: DateTime<Utc>) -> Markup {
    let report = &drill.report;
    let page = format!("/drills/{}/{}/evidence.html", report.source.id, report.run);
    let met = |met: ObjectiveVerdict, measured: Option<f64>| html! { small class=(met.tone().class()) { (met.word(measured)) } };
    html! {
        tr data-live[drill.outcome == Outcome::Running] {
            th scope="row" { @if report.finished_at.is_some() { a href=(page) { (escape_controls(&report.run)) } } @else { (escape_controls(&report.run)) } }
            td data-label="When" { (format_ago(report.started_at, now)) }
            td data-label="Verdict" { (draw_outcome(drill.outcome)) }
            td data-label="Recovery time" { (report.rto.measured_seconds.map_or("–".to_owned(), format_span)) (met(report.rto.verdict, report.rto.measured_seconds)) }
            td data-label="Recovery point" { (report.rpo.measured_seconds.map_or("–".to_owned(), format_span)) (met(report.rpo.verdict, report.rpo.measured_seconds)) }
        }
    }
}

pub(super) fn draw_runs(seen: &DashboardData, filter: &Filter) -> Markup {
    let now = seen.overview.timestamp;
    let is_shown = |run: &&RunReport| {
        filter.shows(&[&run.runbook, &run.run, run.state.word()], words::headline(run).tone == Tone::Good)
    };
    let shown: Vec<&RunReport> = seen.runs.iter().filter(is_shown).collect();
    html! {
        section id="runs" aria-labelledby="runs-title" {
            div.title { h2 id="runs-title" { "Runbooks" } p { (filter.count(shown.len(), seen.runs.len())) } }
            @for damage in &seen.damaged_runs { p.refusal { (escape_controls(damage)) } }
            @if seen.runs.is_empty() { p.empty { "No runbook has been run yet." } } @else if shown.is_empty() { p.empty { "No run matches." } } @else {
                div.scroll { table.list {
                    caption.unseen { "Runs of runbooks, newest first" }
                    thead { tr { th scope="col" { "Run" } th scope="col" { "Began" } th scope="col" { "State" } th scope="col" { "Steps" } } }
                    tbody { @for run in shown.iter().take(DRILLS_SHOWN) { (run_row(run, now)) } }
                } }
            }
        }
    }
}

fn run_row(run: &RunReport, now: DateTime<Utc>) -> Markup {
    let page = format!("/runs/{}/evidence.html", run.run);
    let is_running = run.state == RunState::Running;
    let is_written = !is_running && run.state != RunState::Died;
    let done = run.steps_done;
    let tone = words::headline(run).tone;
    html! {
        // Running ones are polled again soon.
        tr data-live[is_running] {
            th scope="row" {
                @if is_written { a href=(page) { (escape_controls(&run.runbook)) } } @else { (escape_controls(&run.runbook)) }
                small { (escape_controls(&run.run)) @if run.mode == Mode::Rehearse { ", rehearsed" } }
            }
            td data-label="Began" { (format_ago(run.started_at, now)) }
            td data-label="State" { (draw_badge(tone, run.state.word())) }
            td data-label="Steps" {
                (done) " of " (run.steps.len())
                @if let Some(next) = run.next.as_ref().filter(|_| run.verdict != "pass") { small { @if is_running { "at " } @else { "next " } (escape_controls(next)) } }
            }
        }
    }
}
