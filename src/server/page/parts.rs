//! The parts of the page, from the answer at its top down to the runs of runbooks.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, Utc};
use maud::{Markup, html};

use super::charts;
use super::{May, Seen, running};
use crate::backup::catalogue::{Entry, State};
use crate::backup::{DatabaseType, Level, Verification};
use crate::drill::report::{Met, Report, span};
use crate::output::{human_bytes, plain};
use crate::policy::check::{Finding, Severity};
use crate::runbook::Mode;
use crate::runbook::report::Report as RunReport;
use crate::runbook::state::RunState;
use crate::runbook::words;
use crate::server::overview::{self, Database, Health, Overview};
use crate::verify::Verdict;

/// More rows than anyone reads.
const BACKUPS_SHOWN: usize = 200;
const DRILLS_SHOWN: usize = 30;

/// The symbols, drawn once.
const SYMBOLS: [(&str, &str); 4] = [
    ("good", "M3 8.5 6.5 12 13 4.5"),
    ("bad", "M4 4l8 8M12 4l-8 8"),
    ("doubt", "M8 3.5v5.5M8 12.4v.1"),
    ("quiet", "M4 8h8"),
];

fn badge(tone: &str, words: &str) -> Markup {
    html! { span class={ "badge " (tone) } { (mark(tone)) (words) } }
}

fn mark(tone: &str) -> Markup {
    html! { svg.mark aria-hidden="true" viewBox="0 0 16 16" { path d=(SYMBOLS.iter().find(|(name, _)| *name == tone).map_or("", |(_, path)| path)) {} } }
}

fn time(at: DateTime<Utc>) -> Markup {
    let exact = at.to_rfc3339_opts(SecondsFormat::Secs, true);
    html! { time datetime=(exact) { (at.format("%Y-%m-%d %H:%M")) " UTC" } }
}

/// An age as people say it, to one unit.
fn age(seconds: u64) -> String {
    let (count, unit) = match seconds {
        0..=59 => return "just now".to_owned(),
        60..=3_599 => (seconds / 60, "minute"),
        3_600..=172_799 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{} ago", if count == 1 { "" } else { "s" })
}

fn ago(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    age(u64::try_from((now - at).num_seconds()).unwrap_or(0))
}

const fn tone_of(health: Health) -> &'static str {
    match health {
        Health::Safe => "good",
        Health::Attention => "doubt",
        Health::AtRisk => "bad",
        Health::Unknown => "quiet",
    }
}

const fn word_of(health: Health) -> &'static str {
    match health {
        Health::Safe => "Safe",
        Health::Attention => "Needs attention",
        Health::AtRisk => "At risk",
        Health::Unknown => "Not known",
    }
}

pub(super) fn dashboard(seen: &Seen, may: May) -> Markup {
    html! {
        a.skip href="#content" { "Skip to the content" }
        header.bar {
            strong { "lifeboat" }
            span { code { (plain(&seen.vault)) } }
            nav aria-label="Sections" {
                a href="#databases" { "Databases" } a href="#backups" { "Backups" } a href="#drills" { "Drills" } a href="#runs" { "Runbooks" }
            }
        }
        main id="content" {
            (answer(seen, may))
            (databases(seen, may))
            (instances(seen))
            (backups(seen, may))
            (drills(seen))
            (runs(seen))
        }
        div.live id="live" role="status" aria-live="polite" {}
        (dialog())
        footer { "lifeboat " (env!("CARGO_PKG_VERSION")) " · " a href="/api/openapi.json" { "API" } " · " a href="/metrics" { "metrics" } }
    }
}

/// What is asked before something is done.
fn dialog() -> Markup {
    html! {
        dialog id="ask" aria-labelledby="ask-title" aria-describedby="ask-text" {
            form method="dialog" {
                h2 id="ask-title" {}
                p id="ask-text" {}
                div id="ask-fields" {}
                p.refusal id="ask-refusal" role="alert" {}
                menu {
                    button id="ask-no" type="button" { "Cancel" }
                    button.first id="ask-go" type="submit" {}
                }
            }
        }
    }
}

fn answer(seen: &Seen, may: May) -> Markup {
    let overview = &seen.overview;
    let (title, words) = match overview.health {
        Health::Safe => (
            "Your data is safe",
            "Every database has a proven backup within its objective, and nothing needs mending.",
        ),
        Health::Attention => (
            "Safe, with something to mend",
            "No more would be lost now than the objectives allow, but the findings below should be mended.",
        ),
        Health::AtRisk => (
            "Data is at risk",
            "If a database were lost now, more would be lost than may be. What to do stands below.",
        ),
        Health::Unknown => (
            "Nothing is known yet",
            "There are no backups here and no databases to watch. Make the first backup.",
        ),
    };
    let now = overview.timestamp;
    let newest =
        overview.databases.iter().filter_map(|it| it.newest_proven.as_ref()).map(|copy| copy.timestamp).max();
    let passed =
        seen.drills.iter().find(|drill| drill.verdict == Verdict::Pass).and_then(|drill| drill.finished_at);
    let tone = tone_of(overview.health);
    html! {
        div class={ "answer " (tone) } {
            h1 class=(tone) { (mark(tone)) (title) }
            p { (words) }
            dl {
                div { dt { "Newest proven backup" } dd { (newest.map_or("none".to_owned(), |at| ago(at, now))) } }
                div { dt { "Last drill passed" } dd { (passed.map_or("never".to_owned(), |at| ago(at, now))) } }
                div { dt { "Backups" } dd { (seen.catalogue.entries.len()) } }
                div { dt { "Kept" } dd { (human_bytes(overview.databases.iter().map(|it| it.total_size_bytes).sum())) } }
                @if let Some(free) = overview.free_bytes { div { dt { "Free in the vault" } dd { (human_bytes(free)) } } }
            }
            @for job in running(&seen.jobs) { span hidden data-running=(job.job) {} }
            @for damaged in &overview.damaged { p { (plain(damaged)) } }
            @if may.create && seen.known.len() < 2 && overview.databases.is_empty() {
                div.actions { (create_button(seen.usual.as_deref(), "Back up now", "create-usual")) }
            }
        }
    }
}

fn create_button(database: Option<&str>, words: &str, id: &str) -> Markup {
    html! { button.first type="button" id=(id) data-act="create" data-database=[database] { (words) } }
}

fn databases(seen: &Seen, may: May) -> Markup {
    let overview = &seen.overview;
    html! {
        section id="databases" aria-labelledby="databases-title" {
            div.title { h2 id="databases-title" { "Databases" } p { "as of " (time(overview.timestamp)) } }
            @if overview.databases.is_empty() { p.empty { "No backups yet, and no database in lifeboat.toml." } }
            div.cards { @for (number, it) in overview.databases.iter().enumerate() { (card(it, number, overview, seen, may)) } }
        }
    }
}

fn card(it: &Database, number: usize, overview: &Overview, seen: &Seen, may: May) -> Markup {
    let tone = tone_of(it.health);
    let kind = match it.database_type {
        Some(DatabaseType::Postgresql) => "PostgreSQL",
        Some(DatabaseType::Sqlite) => "SQLite",
        None => "not backed up yet",
    };
    let backups = if it.backups == 1 { "1 backup".to_owned() } else { format!("{} backups", it.backups) };
    // A database of lifeboat.toml is named in the request; the usual one is not.
    let is_known = seen.known.contains(&it.database);
    let is_usual = seen.known.is_empty() && overview.databases.len() == 1;
    html! {
        article.card aria-labelledby={ "database-" (number) } {
            header {
                h3 id={ "database-" (number) } { (plain(&it.database)) }
                (badge(tone, word_of(it.health)))
                small { (kind) ", " (backups) ", " (human_bytes(it.total_size_bytes)) }
            }
            dl.figures {
                div { dt { "Newest proven" } dd {
                    @if let Some(copy) = &it.newest_proven {
                        (age(copy.age_seconds))
                        small { (level(copy.level)) @if let Some(at) = copy.proven_at { ", " (ago(at, overview.timestamp)) } }
                    } @else { "none" }
                } }
                div { dt { "Recovery point" } dd {
                    (it.rpo_measured_seconds.map_or("–".to_owned(), span))
                    small { "objective " (span(it.rpo_objective_seconds)) }
                } }
                div { dt { "Recovery time" } dd {
                    (it.rto_measured_seconds.map_or("–".to_owned(), span))
                    small { @if let Some(objective) = it.rto_objective_seconds { "objective " (span(objective)) } @else if it.rto_measured_seconds.is_some() { "the last restore" } @else { "never measured" } }
                } }
                div { dt { "Proven by restore" } dd {
                    @if let Some(copy) = &it.newest_restored { (age(copy.age_seconds)) } @else { "never" }
                } }
            }
            (charts::growth(&it.trend, overview.timestamp))
            (findings(&it.findings))
            @if may.create && (is_known || is_usual) {
                div.actions { (create_button(Some(&it.database).filter(|_| is_known).map(String::as_str), "Back up now", &format!("create-{number}"))) }
            }
        }
    }
}

fn findings(findings: &[Finding]) -> Markup {
    html! { @if !findings.is_empty() {
        ul.findings { @for finding in findings {
            @let tone = if finding.severity == Severity::Critical { "bad" } else { "doubt" };
            li class=(tone) {
                p { (mark(tone)) span { (plain(&finding.message)) } }
                code { (plain(&finding.remedy)) }
            }
        } }
    } }
}

fn level(level: Option<Level>) -> &'static str {
    match level {
        Some(Level::Checksum) => "by checksum",
        Some(Level::Stream) => "read to its end",
        Some(Level::Restore) => "restored and compared",
        None => "not proven",
    }
}

/// DB instances in AWS, where a Region is settled.
fn instances(seen: &Seen) -> Markup {
    let instances = &seen.overview.instances;
    let now = seen.overview.timestamp;
    if !instances.is_watched {
        return html! {};
    }
    html! {
        section id="instances" aria-labelledby="instances-title" {
            div.title {
                h2 id="instances-title" { "DB instances" }
                @if let Some(report) = &instances.report { p { (report.region) @if let Some(at) = instances.looked_at { ", seen " (ago(at, now)) } } }
            }
            @if let Some(error) = &instances.error { p.empty { "AWS could not be asked: " (plain(error)) } }
            @for one in instances.report.iter().flat_map(|report| &report.unreached) {
                p.empty { (one.place.to_string()) " could not be looked at: " (plain(&one.error)) }
            }
            @match &instances.report {
                None if instances.error.is_none() => p.empty { "AWS is being asked." },
                None => {},
                Some(report) if report.databases.is_empty() => p.empty { "No DB instances in " (report.region) "." },
                Some(report) => div.cards { @for it in &report.databases { (instance(it, now)) } },
            }
        }
    }
}

fn instance(it: &crate::status::Database, now: DateTime<Utc>) -> Markup {
    let health = overview::health(&it.findings);
    let newest = it.newest_snapshot();
    html! {
        article.card {
            header {
                h3 { (plain(&it.id)) }
                (badge(tone_of(health), word_of(health)))
                small { @if it.place.account.is_some() { (it.place.to_string()) ", " } (plain(&it.engine)) " " (plain(&it.engine_version)) ", " (plain(&it.status)) }
            }
            dl.figures {
                div { dt { "Newest snapshot" } dd { (newest.map_or("none".to_owned(), |at| ago(at, now))) small { @if it.retention_days == 0 { "automated backups are off" } @else { "kept " (it.retention_days) " days" } } } }
                div { dt { "Recovery point" } dd { (it.rpo.measured_seconds.map_or("–".to_owned(), span)) small { "objective " (span(it.rpo.objective_seconds)) } } }
                div { dt { "Last drill" } dd { @if let Some(last) = &it.last_drill { (plain(&last.verdict)) small { (ago(last.at, now)) } } @else { "never" } } }
            }
            (findings(&it.findings))
        }
    }
}

fn backups(seen: &Seen, may: May) -> Markup {
    let entries = &seen.catalogue.entries;
    let now = seen.overview.timestamp;
    html! {
        section id="backups" aria-labelledby="backups-title" {
            div.title {
                h2 id="backups-title" { "Backups" }
                @if entries.len() > BACKUPS_SHOWN { p { "the newest " (BACKUPS_SHOWN) " of " (entries.len()) } }
            }
            @if entries.is_empty() { p.empty { "No backups yet." } } @else {
                div.scroll { table.list {
                    caption.unseen { "Backups, newest first" }
                    thead { tr {
                        th scope="col" { "Backup" } th scope="col" { "Taken" } th scope="col" { "Proven" }
                        th.number scope="col" { "Size" } th scope="col" { span.unseen { "Actions" } }
                    } }
                    tbody { @for entry in entries.iter().take(BACKUPS_SHOWN) { (backup(entry, now, may)) } }
                } }
            }
            @if let Some(failure) = seen.failures.first() {
                p { small { "The last backup that failed: " (plain(&failure.database)) ", " (ago(failure.timestamp, now)) ": " (plain(&failure.error)) } }
            }
        }
    }
}

fn backup(entry: &Entry, now: DateTime<Utc>, may: May) -> Markup {
    let manifest = &entry.manifest;
    let name = manifest.backup_name.as_str();
    let (tone, word) = proof(entry, manifest.verification.as_ref());
    let at = manifest.timestamp.format("%Y-%m-%d %H:%M UTC").to_string();
    let button = |act: &str, word: &str, class: Option<&str>| {
        html! { button type="button" class=[class] id={ (act) "-" (name) } data-act=(act) data-name=(name)
        data-database=(plain(&manifest.source.database)) data-time=(at) aria-label={ (word) " " (name) } { (word) } " " }
    };
    html! {
        tr {
            th scope="row" { (name) small { (plain(&manifest.source.database)) @if manifest.encrypted { ", encrypted" } @if manifest.keep_forever { ", kept for ever" } } }
            td data-label="Taken" { (ago(manifest.timestamp, now)) small { (time(manifest.timestamp)) } }
            td data-label="Proven" { (badge(tone, word)) @if let Some(proof) = &manifest.verification { small { (ago(proof.at, now)) } } }
            td.number data-label="Size" { (human_bytes(manifest.file_size)) small { (human_bytes(manifest.plain_size)) " of content" } }
            td.actions {
                @if may.create { (button("verify", "Prove", None)) }
                @if may.restore { (button("restore", "Restore", None)) }
                @if may.delete { (button("delete", "Delete", Some("danger"))) }
            }
        }
    }
}

fn proof(entry: &Entry, proof: Option<&Verification>) -> (&'static str, &'static str) {
    match (&entry.state, proof) {
        (State::Missing, _) => ("bad", "file missing"),
        (State::Resized(_), _) => ("bad", "file altered"),
        (State::Present, None) => ("doubt", "not yet"),
        (State::Present, Some(proof)) => match (proof.result, proof.level) {
            (Verdict::Fail, _) => ("bad", "bad"),
            (Verdict::Unknown, _) => ("doubt", "unknown"),
            (Verdict::Pass, Level::Restore) => ("good", "by restore"),
            (Verdict::Pass, Level::Stream) => ("good", "read to its end"),
            (Verdict::Pass, Level::Checksum) => ("good", "by checksum"),
        },
    }
}

fn drills(seen: &Seen) -> Markup {
    let now = seen.overview.timestamp;
    let mut sources: BTreeMap<&str, Vec<&Report>> = BTreeMap::new();
    for drill in &seen.drills {
        sources.entry(drill.source.id.as_str()).or_default().push(drill);
    }
    html! {
        section id="drills" aria-labelledby="drills-title" {
            div.title { h2 id="drills-title" { "Drills" } p { "restored elsewhere, compared, timed, removed" } }
            @if sources.is_empty() { p.empty { "No drill yet. " code { "lifeboat drill run DB" } " proves that a backup can be restored." } }
            @for (source, drills) in &sources { (drills_of(source, drills, now)) }
            @for damaged in &seen.damaged_drills { p { small { (plain(damaged)) } } }
        }
    }
}

fn drills_of(source: &str, drills: &[&Report], now: DateTime<Utc>) -> Markup {
    let Some(newest) = drills.first() else { return html! {} };
    let (tone, word) = verdict(newest.verdict);
    html! {
        article.drill {
            header { h3 { (plain(source)) } (badge(tone, word)) small { (newest.finished_at.map_or("not finished".to_owned(), |at| ago(at, now))) } }
            div.two {
                (charts::recovery(drills))
                div { p { small { "Phases of the newest drill" } } (charts::timeline(newest)) }
            }
            div.scroll { table.list {
                caption.unseen { "Drills of " (plain(source)) }
                thead { tr { th scope="col" { "Run" } th scope="col" { "When" } th scope="col" { "Verdict" } th scope="col" { "Recovery time" } th scope="col" { "Recovery point" } } }
                tbody { @for drill in drills.iter().take(DRILLS_SHOWN) { (drill_row(drill, now)) } }
            } }
        }
    }
}

fn drill_row(drill: &Report, now: DateTime<Utc>) -> Markup {
    let (tone, word) = verdict(drill.verdict);
    let page = format!("/drills/{}/{}/evidence.html", drill.source.id, drill.run);
    let met = |met: Met| match met {
        Met::Pass => "met",
        Met::Fail => "missed",
        Met::Unknown | Met::NotJudged => "not judged",
    };
    html! {
        tr {
            th scope="row" { @if drill.finished_at.is_some() { a href=(page) { (plain(&drill.run)) } } @else { (plain(&drill.run)) } }
            td data-label="When" { (ago(drill.started_at, now)) }
            td data-label="Verdict" { (badge(tone, word)) }
            td data-label="Recovery time" { (drill.rto.measured_seconds.map_or("–".to_owned(), span)) small { (met(drill.rto.verdict)) } }
            td data-label="Recovery point" { (drill.rpo.measured_seconds.map_or("–".to_owned(), span)) small { (met(drill.rpo.verdict)) } }
        }
    }
}

const fn verdict(verdict: Verdict) -> (&'static str, &'static str) {
    match verdict {
        Verdict::Pass => ("good", "Pass"),
        Verdict::Fail => ("bad", "Fail"),
        Verdict::Unknown => ("doubt", "Unknown"),
    }
}

fn runs(seen: &Seen) -> Markup {
    let now = seen.overview.timestamp;
    html! {
        section id="runs" aria-labelledby="runs-title" {
            div.title { h2 id="runs-title" { "Runbooks" } }
            @for damage in &seen.damaged_runs { p.refusal { (plain(damage)) } }
            @if seen.runs.is_empty() { p.empty { "No runbook was run yet." } } @else {
                div.scroll { table.list {
                    caption.unseen { "Runs of runbooks, newest first" }
                    thead { tr { th scope="col" { "Run" } th scope="col" { "Began" } th scope="col" { "State" } th scope="col" { "Steps" } } }
                    tbody { @for run in seen.runs.iter().take(DRILLS_SHOWN) { (run_row(run, now)) } }
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
    let tone = words::headline(run).tone.class();
    html! {
        // What is going on is looked at again in a moment.
        tr data-live[is_running] {
            th scope="row" {
                @if is_written { a href=(page) { (plain(&run.runbook)) } } @else { (plain(&run.runbook)) }
                small { (plain(&run.run)) @if run.mode == Mode::Rehearse { ", rehearsed" } }
            }
            td data-label="Began" { (ago(run.started_at, now)) }
            td data-label="State" { (badge(tone, run.state.word())) }
            td data-label="Steps" {
                (done) " of " (run.steps.len())
                @if let Some(next) = run.next.as_ref().filter(|_| run.verdict != "pass") { small { @if is_running { "at " } @else { "next " } (plain(next)) } }
            }
        }
    }
}
