//! The page of a run: its record as one HTML file, in the same dress as the page of a drill.
//!
//! Pure: a report in, a page out. The page runs no script and loads nothing, and everything that came from outside passes through
//! maud's escaping.

use maud::{DOCTYPE, Markup, html};

use super::document::Mode;
use super::report::{Report, StepReport, span};
use super::sha256;
use super::state::StepState;
use super::words::{
    Count, Headline, StepWords, headline, recovery_sentence, rto_words, step_words, was_done,
};
use crate::drill::page::words::{Tone, badge, fact, lines, mark, name, prose, share, spelled, time};
use crate::drill::page::{page_head, sign_off, symbols};

const OWN_CSS: &str = include_str!("page.css");

/// Draws the page; `json` is the evidence file that it belongs to.
pub(super) fn render(report: &Report, json: &[u8]) -> String {
    let word = headline(report).word;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            (page_head(html! { (word) ": " (spelled(&report.title)) ", " (spelled(&report.run)) }, OWN_CSS))
            body {
                (symbols())
                main {
                    (head(report))
                    (time_left(report))
                    (steps(report))
                    (left(report))
                    (not_rehearsed(report))
                    (record(report))
                    (evidence(report, json))
                    (sign_off())
                }
                footer { "Written by lifeboat " (spelled(&report.ran_by.version)) " as " (report.schema) }
            }
        }
    };
    page.into_string()
}

fn head(report: &Report) -> Markup {
    let Headline { tone, word, meaning } = headline(report);
    html! {
        header {
            p.over { span { "lifeboat" } span { @if report.mode == Mode::Rehearse { "Rehearsal of a runbook" } @else { "Runbook" } } span.run { (name(&report.run)) } }
            h1 { (name(&report.title)) }
            p.moment { (time(report.started_at)) " · " (name(report.ran_by.account.as_deref().unwrap_or("no AWS account"))) @if let Some(region) = &report.ran_by.region { " · " (name(region)) } }
            div class={ "verdict " (tone.class()) } {
                p.word { (mark(tone)) (word) }
                p.meaning { (prose(&meaning)) }
            }
            @if !report.reasons.is_empty() {
                section.reasons { h2 { "Reasons" } (lines(&report.reasons)) }
            }
            @if !report.doubts.is_empty() {
                section.reasons { h2 { "In doubt before the first step" } (lines(&report.doubts)) }
            }
            @if let Some(undo) = &report.undo {
                section.reasons {
                    h2 { "Taken back" }
                    p { (time(undo.at)) " by " (name(&undo.by.identity)) @if let Some(kept) = &undo.kept { ". Kept: " code { (name(kept)) } " and everything before it" } "." }
                    (lines(&undo.reasons))
                }
            }
        }
    }
}

fn time_left(report: &Report) -> Markup {
    let rto = &report.rto;
    let (tone, word) = rto_words(rto, report.state.is_over());
    let objective = rto.objective_seconds.unwrap_or_default();
    let scale = rto.measured_seconds.max(objective).max(f64::MIN_POSITIVE);
    let lengths = format!(
        "--used:{:.2}%;--goal:{:.2}%",
        (rto.measured_seconds / scale * 100.0).clamp(0.0, 100.0),
        (objective / scale * 100.0).clamp(0.0, 100.0)
    );
    html! {
        section {
            h2 { "Time" }
            div.objectives {
                div.objective {
                    h3 { "Recovery time " abbr { "RTO" } (badge(tone, word)) }
                    p.figure { (span(rto.measured_seconds)) @if objective > 0.0 { small { "objective " (span(objective)) } } }
                    div class={ "bar " (tone.class()) } style=(lengths) aria-hidden="true" { span.used {} @if objective > 0.0 { span.goal {} } }
                    @if objective > 0.0 { p { (share(rto.measured_seconds, objective)) } }
                    p { (prose(&format!("From the start of the run: {}.", recovery_sentence(rto)))) @if rto.people_seconds > 0.0 { " People took " (span(rto.people_seconds)) " of it at gates." } }
                }
            }
        }
    }
}

fn steps(report: &Report) -> Markup {
    html! {
        section {
            h2 { "Steps" }
            p { (Count::of(report).sentence(report.mode)) }
            ol.steps { @for (index, step) in report.steps.iter().enumerate() { (one(index + 1, step, report)) } }
        }
    }
}

fn one(number: usize, step: &StepReport, report: &Report) -> Markup {
    let StepWords { tone, word, .. } =
        step_words(step.state, step.taken_back, report.next.as_deref() == Some(step.id.as_str()));
    let after = step.started_at.map(|at| (at - report.started_at).as_seconds_f64().max(0.0));
    html! {
        li class={ "step " (tone.class()) } {
            span.number { (number) }
            div.what {
                h3 { (name(&step.title)) }
                p.meta {
                    code { (name(&step.id)) } span { (step.role) }
                    @if step.attempts > 1 { span { (step.attempts) " attempts" } }
                    @if let Some(exit) = step.exit.filter(|exit| *exit != 0) { span { "exit code " (exit) } }
                    @for made in &step.made { span { "made " code { (name(made)) } } }
                }
                @if let (Some(answer), Some(by)) = (&step.answer, &step.answered_by) {
                    p.answer { "“" (name(answer)) "”" small { (name(by)) } }
                }
                @for reason in &step.reasons { p.reason { (prose(reason)) } }
                @if was_done(step.state) {
                    @for expected in &step.expects { p.holds { (mark(Tone::Good)) code { (name(expected)) } } }
                }
                @if let Some(output) = &step.output {
                    details open[matches!(step.state, StepState::Failed | StepState::Unmet)] { summary { "what it said" } pre { code { @for line in output.lines() { (spelled(&line.replace('\t', "        "))) "\n" } } } }
                }
            }
            div.when {
                (badge(tone, word))
                @if let Some(seconds) = step.seconds { p { (span(seconds)) } }
                @if let Some(after) = after { p.after { "after " (span(after)) } }
            }
        }
    }
}

fn left(report: &Report) -> Markup {
    html! {
        @if !report.left.is_empty() {
            section {
                h2 { "What this run has made" (badge(if report.mode == Mode::Rehearse { Tone::Bad } else { Tone::Quiet }, "still there")) }
                dl.facts { @for left in &report.left {
                    (fact(&left.step, html! { (name(&left.object)) small { (name(left.identity.as_deref().unwrap_or(""))) } }))
                } }
            }
        }
    }
}

fn not_rehearsed(report: &Report) -> Markup {
    html! {
        @if report.mode == Mode::Rehearse {
            section {
                h2 { "Not rehearsed" }
                @if report.not_rehearsed.is_empty() { p { "Every step was tried." } } @else {
                    p { "This rehearsal says nothing about:" }
                    (lines(&report.not_rehearsed))
                }
            }
        }
    }
}

fn record(report: &Report) -> Markup {
    html! {
        section {
            h2 { "Record" }
            dl.facts {
                (fact("Run", html! { (name(&report.run)) small { (report.mode.word()) } }))
                (fact("Runbook", html! { (name(&report.runbook)) small { (name(&report.place)) } }))
                (fact("SHA-256 of it", html! { code { (report.sha256) } }))
                (fact("Owner", html! { (name(&report.owner)) }))
                (fact("Started", time(report.started_at)))
                (fact("Finished", html! { @if let Some(at) = report.finished_at { (time(at)) } @else { "not finished" } }))
                (fact("Run by", html! { (name(&report.ran_by.identity)) small { "on " (name(&report.ran_by.host)) } }))
                @for resumed in &report.resumed_by {
                    (fact("Resumed", html! { (time(resumed.at)) small { (name(&resumed.identity)) } }))
                }
                @for (key, value) in &report.values { (fact(key, html! { code { (name(value)) } })) }
            }
        }
    }
}

fn evidence(report: &Report, json: &[u8]) -> Markup {
    html! {
        section.evidence {
            h2 { "Evidence" }
            p { "This page shows what is in the file below; " code { "sha256sum" } " tells whether it is the one that it was made from. "
                "The journal has " (report.journal.lines) " lines, each with the hash of the one before." }
            dl.facts {
                (fact("SHA-256", html! { code { (sha256(json)) } }))
                (fact("File", html! { code { (name(&report.evidence.json)) } }))
                (fact("Journal", html! { code { (name(&report.journal.file)) } }))
                (fact("Its last hash", html! { code { (report.journal.head) } }))
            }
        }
    }
}
