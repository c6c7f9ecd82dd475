//! The parts of the page, from the answer at its top down to the runs of runbooks.

use chrono::TimeDelta;
use maud::{Markup, html};

use super::charts;
use super::filter::Filter;
use super::records::{draw_backups, draw_drills, draw_runs};
use super::view::{DashboardData, Permissions, running_jobs};
use crate::backup::Level;
use crate::drill::outcome::Outcome;
use crate::output::escape_controls;
use crate::page::{capitalise, draw_badge, draw_mark, draw_prose, draw_symbols, draw_time};
use crate::policy::check::{Finding, Severity};
use crate::server::banner::Health;
use crate::server::overview::{Database, Located, Overview};
use crate::when::{format_age, format_ago, format_span};
use crate::words::{Tone, format_bytes, format_count};

pub(super) fn draw_dashboard(seen: &DashboardData, may: Permissions, filter: &Filter) -> Markup {
    html! {
        (draw_symbols())
        a.skip href="#content" { "Skip to the content" }
        header.bar {
            strong { a href="/" { "lifeboat" } }
            span { code { (escape_controls(&seen.vault)) } }
            nav aria-label="Sections" {
                a href="#databases" { "Databases" } a href="#backups" { "Backups" } a href="#drills" { "Drills" } a href="#runs" { "Runbooks" }
                @if may.leave { form method="post" action="/logout" { button.plain type="submit" { "Log out" } } }
            }
        }
        main id="content" {
            (draw_answer(seen, may))
            (to_do(&seen.overview.findings))
            (filter.form())
            (draw_databases(seen, may, filter))
            (draw_instances(seen, filter))
            (draw_backups(seen, may, filter))
            (draw_drills(seen, filter))
            (draw_runs(seen, filter))
        }
        div.live id="live" role="status" aria-live="polite" {}
        (draw_dialog())
        footer { "lifeboat " (env!("CARGO_PKG_VERSION")) " · " a href="/api/openapi.json" { "API" } " · " a href="/metrics" { "metrics" } }
    }
}

/// Each finding once: the message, its databases, and the command that fixes it.
fn to_do(findings: &[Located]) -> Markup {
    if findings.is_empty() {
        return html! {};
    }
    let count =
        if findings.len() == 1 { "1 finding".to_owned() } else { format!("{} findings", findings.len()) };
    html! {
        section id="findings" aria-labelledby="findings-title" {
            div.title { h2 id="findings-title" { "What to do" } p { (count) } }
            ul.findings { @for (number, told) in findings.iter().enumerate() {
                @let finding = &told.shared.finding;
                @let tone = tone_of(finding);
                li class=(tone.class()) id={ "finding-" (number) } {
                    p { (draw_mark(tone)) span.unseen { (severity(finding)) ": " } span { (capitalise(&escape_controls(&finding.message))) } }
                    p.of {
                        @for name in &told.shared.databases { strong { (escape_controls(name)) } " " }
                        @if let Some(place) = &told.place { small { (escape_controls(place)) } }
                    }
                    code { (escape_controls(&finding.remedy)) }
                }
            } }
        }
    }
}

const fn tone_of(finding: &Finding) -> Tone {
    match finding.severity {
        Severity::Critical => Tone::Bad,
        Severity::Warning => Tone::Doubt,
    }
}

const fn severity(finding: &Finding) -> &'static str {
    match finding.severity {
        Severity::Critical => "critical",
        Severity::Warning => "warning",
    }
}

/// The confirmation before an action.
fn draw_dialog() -> Markup {
    html! {
        dialog id="ask" aria-labelledby="ask-title" aria-describedby="ask-text" {
            form method="dialog" {
                h2 id="ask-title" {}
                p id="ask-text" {}
                dl.facts id="ask-facts" {}
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

fn draw_answer(seen: &DashboardData, may: Permissions) -> Markup {
    let overview = &seen.overview;
    let now = overview.timestamp;
    let newest =
        overview.databases.iter().filter_map(|it| it.newest_proven.as_ref()).map(|copy| copy.timestamp).max();
    let passed = seen.drills.all.iter().find(|drill| drill.outcome == Outcome::Pass);
    let passed = passed.and_then(|drill| drill.report.finished_at);
    let banner = &overview.banner;
    let tone = banner.health.tone();
    html! {
        div class={ "answer " (tone.class()) } {
            h1 class=(tone.class()) { (draw_mark(tone)) span { (draw_prose(&banner.headline)) } }
            @if !banner.details.is_empty() { p { (draw_prose(&banner.details)) } }
            dl {
                div { dt { "Newest proven backup" } dd { (newest.map_or("none".to_owned(), |at| format_ago(at, now))) } }
                div { dt { "Last drill passed" } dd { (passed.map_or("never".to_owned(), |at| format_ago(at, now))) } }
                div { dt { "Backups" } dd { (seen.catalogue.entries.len()) } }
                div { dt { "Kept" } dd { (format_bytes(overview.databases.iter().map(|it| it.total_size_bytes).sum())) } }
                @if let Some(free) = overview.free_bytes { div { dt { "Free in the vault" } dd { (format_bytes(free)) } } }
            }
            @for job in running_jobs(&seen.jobs) { span hidden data-running=(job.job) {} }
            @for damaged in &overview.damaged { p { (escape_controls(damaged)) } }
            @if may.create && overview.databases.is_empty() {
                div.actions { (create_button(None, None, "create-usual")) }
            }
        }
    }
}

/// `named` is its name in lifeboat.toml, if a request has to name it.
fn create_button(named: Option<&str>, label: Option<&str>, id: &str) -> Markup {
    html! { button.first type="button" id=(id) data-act="create" data-database=[named] data-label=[label] { "Back up now" } }
}

fn draw_databases(seen: &DashboardData, may: Permissions, filter: &Filter) -> Markup {
    let overview = &seen.overview;
    let is_shown = |it: &&Database| {
        let kind = it.database_type.map_or("", |kind| kind.title());
        let place = it.identity.as_ref().map_or(String::new(), |identity| identity.distinction());
        filter.shows(&[&it.label, kind, &place, it.health.word()], it.findings.is_empty())
    };
    let shown: Vec<&Database> = overview.databases.iter().filter(is_shown).collect();
    html! {
        section id="databases" aria-labelledby="databases-title" {
            div.title { h2 id="databases-title" { "Databases" } p { (filter.count(shown.len(), overview.databases.len())) "as of " (draw_time(overview.timestamp)) } }
            @if overview.databases.is_empty() { p.empty { "No backups yet, and no database in lifeboat.toml." } }
            @else if shown.is_empty() { p.empty { "No database here matches." } }
            div.cards { @for (number, it) in shown.into_iter().enumerate() { (draw_card(it, number, overview, may)) } }
        }
    }
}

fn draw_card(it: &Database, number: usize, overview: &Overview, may: Permissions) -> Markup {
    let kind = it.database_type.map_or("not backed up yet", |kind| kind.title());
    let backups = format_count(it.backups, "backup", "backups");
    html! {
        article.card aria-labelledby={ "database-" (number) } {
            header {
                h3 id={ "database-" (number) } { (escape_controls(&it.label)) }
                (draw_health(it.health))
                small { (kind) ", " (backups) ", " (format_bytes(it.total_size_bytes)) @if let Some(identity) = &it.identity { br; (escape_controls(&identity.distinction())) } }
            }
            dl.figures {
                div { dt { "Newest proven" } dd {
                    @if let Some(copy) = &it.newest_proven {
                        (format_age(TimeDelta::seconds(copy.age_seconds as i64))) " ago"
                        small { (level(copy.level)) @if let Some(at) = copy.proven_at { ", " (format_ago(at, overview.timestamp)) } }
                    } @else { "none" }
                } }
                div { dt { "Recovery point" } dd {
                    (it.rpo_measured_seconds.map_or("–".to_owned(), format_span))
                    small { "objective " (format_span(it.rpo_objective_seconds)) }
                } }
                div { dt { "Recovery time" } dd {
                    (it.rto_measured_seconds.map_or("–".to_owned(), format_span))
                    small { @if let Some(objective) = it.rto_objective_seconds { "objective " (format_span(objective)) } @else if it.rto_measured_seconds.is_some() { "the last restore" } @else { "never measured" } }
                } }
                div { dt { "Proven by restore" } dd {
                    @if let Some(copy) = &it.newest_restored { (format_age(TimeDelta::seconds(copy.age_seconds as i64))) " ago" } @else { "never" }
                } }
            }
            (charts::draw_growth(&it.trend, overview.timestamp))
            (draw_findings(&it.findings, &it.label, None, overview))
            @if let Some(target) = it.target.as_ref().filter(|_| may.create) {
                div.actions { (create_button(target.name.as_deref(), Some(&it.label), &format!("create-{number}"))) }
            }
        }
    }
}

fn draw_health(health: Health) -> Markup {
    draw_badge(health.tone(), health.word())
}

/// The findings of one database, each a link to its command.
fn draw_findings(findings: &[Finding], label: &str, place: Option<String>, overview: &Overview) -> Markup {
    let told = |finding: &Finding| {
        overview.findings.iter().position(|told| {
            let shared = &told.shared;
            let is_its = shared.databases.iter().any(|name| name == label) && told.place == place;
            is_its && shared.finding.code == finding.code && shared.finding.message == finding.message
        })
    };
    html! { @if !findings.is_empty() {
        ul.brief { @for finding in findings {
            @let tone = tone_of(finding);
            li class=(tone.class()) {
                (draw_mark(tone)) span.unseen { (severity(finding)) ": " }
                @if let Some(number) = told(finding) { a href={ "#finding-" (number) } { (escape_controls(&finding.message)) } }
                @else { (escape_controls(&finding.message)) }
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

/// DB instances in AWS, if a Region is configured.
fn draw_instances(seen: &DashboardData, filter: &Filter) -> Markup {
    let instances = &seen.overview.instances;
    let now = seen.overview.timestamp;
    if !instances.is_watched {
        return html! {};
    }
    html! {
        section id="instances" aria-labelledby="instances-title" {
            div.title {
                h2 id="instances-title" { "DB instances" }
                @if let Some(report) = &instances.report { p { (report.region) @if let Some(at) = instances.looked_at { ", seen " (format_ago(at, now)) } } }
            }
            @if let Some(error) = &instances.error { p.empty { "AWS could not be reached: " (escape_controls(error)) } }
            @for one in instances.report.iter().flat_map(|report| &report.unreached) {
                p.empty { (one.place.to_string()) " could not be checked: " (escape_controls(&one.error)) }
            }
            @match &instances.report {
                None if instances.error.is_none() => p.empty { "DB instances are being checked." },
                None => {},
                Some(report) if report.databases.is_empty() => p.empty { "No DB instances in " (report.region) "." },
                Some(_) => {
                    @let shown: Vec<_> = instances.all().filter(|it| filter.shows(&[&it.id, &it.engine, &it.place.to_string(), Health::of(&it.findings).word()], it.findings.is_empty())).collect();
                    @if shown.is_empty() { p.empty { "No DB instance here matches." } }
                    div.cards { @for it in shown { (draw_instance(it, &seen.overview)) } }
                },
            }
        }
    }
}

fn draw_instance(it: &crate::status::Database, overview: &Overview) -> Markup {
    let (instances, now) = (&overview.instances, overview.timestamp);
    let place = Some(it.place.to_string()).filter(|_| instances.is_over_several());
    let newest = it.newest_snapshot();
    html! {
        article.card {
            header {
                h3 { (escape_controls(&instances.label(it))) }
                (draw_health(Health::of(&it.findings)))
                small { @if it.place.account.is_some() { (it.place.to_string()) ", " } (escape_controls(&it.engine)) " " (escape_controls(&it.engine_version)) ", " (escape_controls(&it.status)) }
            }
            dl.figures {
                div { dt { "Newest snapshot" } dd { (newest.map_or("none".to_owned(), |at| format_ago(at, now))) small { @if it.retention_days == 0 { "automated backups are off" } @else { "kept " (format_count(it.retention_days as usize, "day", "days")) } } } }
                div { dt { "Recovery point" } dd { (it.rpo.measured_seconds.map_or("–".to_owned(), format_span)) small { "objective " (format_span(it.rpo.objective_seconds)) } } }
                div { dt { "Last drill" } dd { @if let Some(last) = &it.last_drill { a href="#drills" { (escape_controls(&last.verdict)) } small { (format_ago(last.at, now)) } } @else { "never" } } }
            }
            (draw_findings(&it.findings, &it.id, place, overview))
        }
    }
}
