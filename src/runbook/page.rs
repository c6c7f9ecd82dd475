//! The page of a run: its record as one HTML file, in the same style as the page of a drill.
//!
//! Pure: a report in, a page out. The page runs no script and loads nothing, and everything that came from outside passes through
//! maud's escaping.

use maud::{Markup, html};

use super::document::Mode;
use super::report::{Report, StepReport};
use super::sha256;
use super::state::StepState;
use super::words::{Count, Headline, StepWords, headline, is_done, recovery_sentence, rto_words, step_words};
use crate::drill::page::sign_off;
use crate::drill::page::words::format_share;
use crate::page::{
    draw_badge, draw_fact, draw_list, draw_mark, draw_name, draw_page, draw_prose, draw_time, spell_unseen,
};
use crate::when::format_span;
use crate::words::Tone;

const OWN_CSS: &str = include_str!("page.css");

/// Draws the page; `json` is the evidence file that it belongs to.
pub(super) fn render_page(report: &Report, json: &[u8]) -> String {
    let word = headline(report).word;
    let shown = html! {
        (draw_header(report))
        (draw_objectives(report))
        (draw_steps(report))
        (draw_left_behind(report))
        (draw_not_rehearsed(report))
        (draw_record(report))
        (draw_evidence(report, json))
        (sign_off())
    };
    let title = html! { (word) ": " (spell_unseen(&report.title)) ", " (spell_unseen(&report.run)) };
    draw_page(title, OWN_CSS, shown, &report.ran_by.version, report.schema)
}

fn draw_header(report: &Report) -> Markup {
    let Headline { tone, word, meaning } = headline(report);
    html! {
        header {
            p.over { span { "lifeboat" } span { @if report.mode == Mode::Rehearse { "Rehearsal of a runbook" } @else { "Runbook" } } span.run { (draw_name(&report.run)) } }
            h1 { (draw_name(&report.title)) }
            p.moment { (draw_time(report.started_at)) " · " (draw_name(report.ran_by.account.as_deref().unwrap_or("no AWS account"))) @if let Some(region) = &report.ran_by.region { " · " (draw_name(region)) } }
            div class={ "verdict " (tone.class()) } {
                p.word { (draw_mark(tone)) (word) }
                p.meaning { (draw_prose(&meaning)) }
            }
            @if !report.reasons.is_empty() {
                section.reasons { h2 { "Reasons" } (draw_list(&report.reasons)) }
            }
            @if !report.doubts.is_empty() {
                section.reasons { h2 { "In doubt before the first step" } (draw_list(&report.doubts)) }
            }
            @if let Some(undo) = &report.undo {
                section.reasons {
                    h2 { "Undone" }
                    p { (draw_time(undo.at)) " by " (draw_name(&undo.by.identity)) @if let Some(kept) = &undo.kept { ". Kept: " code { (draw_name(kept)) } " and everything before it" } "." }
                    (draw_list(&undo.reasons))
                }
            }
        }
    }
}

fn draw_objectives(report: &Report) -> Markup {
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
                    h3 { "Recovery time " abbr { "RTO" } (draw_badge(tone, word)) }
                    p.figure { (format_span(rto.measured_seconds)) @if objective > 0.0 { small { "objective " (format_span(objective)) } } }
                    div class={ "bar " (tone.class()) } style=(lengths) aria-hidden="true" { span.used {} @if objective > 0.0 { span.goal {} } }
                    @if objective > 0.0 { p { (format_share(rto.measured_seconds, objective)) } }
                    p { (draw_prose(&format!("From the start of the run: {}.", recovery_sentence(rto)))) @if rto.people_seconds > 0.0 { " People took " (format_span(rto.people_seconds)) " of it at gates." } }
                }
            }
        }
    }
}

fn draw_steps(report: &Report) -> Markup {
    html! {
        section {
            h2 { "Steps" }
            p { (Count::of_report(report).sentence(report.mode)) }
            ol.steps { @for (index, step) in report.steps.iter().enumerate() { (draw_step(index + 1, step, report)) } }
        }
    }
}

fn draw_step(number: usize, step: &StepReport, report: &Report) -> Markup {
    let StepWords { tone, word, .. } =
        step_words(step.state, step.taken_back, report.next.as_deref() == Some(step.id.as_str()));
    let after = step.started_at.map(|at| (at - report.started_at).as_seconds_f64().max(0.0));
    html! {
        li class={ "step " (tone.class()) } {
            span.number { (number) }
            div.what {
                h3 { (draw_name(&step.title)) }
                p.meta {
                    code { (draw_name(&step.id)) } span { (step.role) }
                    @if step.attempts > 1 { span { (step.attempts) " attempts" } }
                    @if let Some(exit) = step.exit.filter(|exit| *exit != 0) { span { "exit code " (exit) } }
                    @for made in &step.made { span { "made " code { (draw_name(made)) } } }
                }
                @if let (Some(answer), Some(by)) = (&step.answer, &step.answered_by) {
                    p.answer { "“" (draw_name(answer)) "”" small { (draw_name(by)) } }
                }
                @for reason in &step.reasons { p.reason { (draw_prose(reason)) } }
                @if is_done(step.state) {
                    @for expected in &step.expects { p.holds { (draw_mark(Tone::Good)) code { (draw_name(expected)) } } }
                }
                @if let Some(output) = &step.output {
                    details open[matches!(step.state, StepState::Failed | StepState::Unmet)] { summary { "output" } pre { code { @for line in output.lines() { (spell_unseen(&line.replace('\t', "        "))) "\n" } } } }
                }
            }
            div.when {
                (draw_badge(tone, word))
                @if let Some(seconds) = step.seconds { p { (format_span(seconds)) } }
                @if let Some(after) = after { p.after { "after " (format_span(after)) } }
            }
        }
    }
}

fn draw_left_behind(report: &Report) -> Markup {
    html! {
        @if !report.left.is_empty() {
            section {
                h2 { "Created by this run" (draw_badge(if report.mode == Mode::Rehearse { Tone::Bad } else { Tone::Faint }, "still exists")) }
                dl.facts { @for left in &report.left {
                    (draw_fact(&left.step, html! { (draw_name(&left.object)) small { (draw_name(left.identity.as_deref().unwrap_or(""))) } }))
                } }
            }
        }
    }
}

fn draw_not_rehearsed(report: &Report) -> Markup {
    html! {
        @if report.mode == Mode::Rehearse {
            section {
                h2 { "Not rehearsed" }
                @if report.not_rehearsed.is_empty() { p { "Every step was tried." } } @else {
                    p { "This rehearsal says nothing about:" }
                    (draw_list(&report.not_rehearsed))
                }
            }
        }
    }
}

fn draw_record(report: &Report) -> Markup {
    html! {
        section {
            h2 { "Record" }
            dl.facts {
                (draw_fact("Run", html! { (draw_name(&report.run)) small { (report.mode.word()) } }))
                (draw_fact("Runbook", html! { (draw_name(&report.runbook)) small { (draw_name(&report.place)) } }))
                (draw_fact("SHA-256 of it", html! { code { (report.sha256) } }))
                (draw_fact("Owner", html! { (draw_name(&report.owner)) }))
                (draw_fact("Started", draw_time(report.started_at)))
                (draw_fact("Finished", html! { @if let Some(at) = report.finished_at { (draw_time(at)) } @else { "not finished" } }))
                (draw_fact("Run by", html! { (draw_name(&report.ran_by.identity)) small { "on " (draw_name(&report.ran_by.host)) } }))
                @for resumed in &report.resumed_by {
                    (draw_fact("Resumed", html! { (draw_time(resumed.at)) small { (draw_name(&resumed.identity)) } }))
                }
                @for (key, value) in &report.values { (draw_fact(key, html! { code { (draw_name(value)) } })) }
            }
        }
    }
}

fn draw_evidence(report: &Report, json: &[u8]) -> Markup {
    html! {
        section.evidence {
            h2 { "Evidence" }
            p { "This page shows what is in the file below; " code { "sha256sum" } " checks that it is the one it was made from. "
                "The journal has " (report.journal.lines) " lines, each with the hash of the one before." }
            dl.facts {
                (draw_fact("SHA-256", html! { code { (sha256(json)) } }))
                (draw_fact("File", html! { code { (draw_name(&report.evidence.json)) } }))
                (draw_fact("Journal", html! { code { (draw_name(&report.journal.file)) } }))
                (draw_fact("Its last hash", html! { code { (report.journal.head) } }))
            }
        }
    }
}
