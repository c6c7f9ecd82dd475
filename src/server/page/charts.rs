//! Charts, drawn as SVG with attributes of its own: the page's policy allows no style in attributes.

use chrono::{DateTime, Utc};
use maud::{Markup, html};

use crate::backup::stats::Point;
use crate::drill::evidence::Report;
use crate::server::drills::Drill;
use crate::when::format_span;
use crate::words::{format_bytes, format_count};

const WIDTH: f64 = 600.0;

/// How the content of a database grew.
pub(super) fn draw_growth(points: &[Point], now: DateTime<Utc>) -> Markup {
    const HEIGHT: f64 = 64.0;
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return html! {} };
    if points.len() < 2 {
        return html! {};
    }
    let most = points.iter().map(|point| point.plain_bytes).max().unwrap_or(1).max(1) as f64;
    let whole = (last.at - first.at).as_seconds_f64().max(0.001);
    let across = |point: &Point| (point.at - first.at).as_seconds_f64() / whole * WIDTH;
    let place = |point: &Point| {
        let x = across(point);
        let y = HEIGHT - point.plain_bytes as f64 / most * (HEIGHT - 6.0);
        format!("{x:.1} {y:.1}")
    };
    let line: Vec<String> = points.iter().map(place).collect();
    let area = format!("M0 {HEIGHT} L{} L{:.1} {HEIGHT} Z", line.join(" L"), across(last));
    let days = (now - first.at).num_days();
    let since = if days > 0 {
        format!("over {}", format_count(usize::try_from(days).unwrap_or(0), "day", "days"))
    } else {
        "today".to_owned()
    };
    let words = format!(
        "Content: {} to {} {since}, {} backups",
        format_bytes(first.plain_bytes),
        format_bytes(last.plain_bytes),
        points.len()
    );
    html! {
        figure {
            figcaption { (words) }
            svg.chart viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } preserveAspectRatio="none" height="64" role="img" aria-label=(words) {
                path.area d=(area) {}
                path.line d={ "M" (line.join(" L")) } {}
            }
        }
    }
}

/// Recovery times of drills, oldest first, against their objective.
pub(super) fn draw_recovery_times(drills: &[&Drill]) -> Markup {
    const HEIGHT: f64 = 96.0;
    let shown: Vec<&&Drill> = drills.iter().take(24).rev().collect();
    let Some(newest) = shown.last() else { return html! {} };
    let objective = newest.report.rto.objective_seconds;
    let measured = shown.iter().filter_map(|drill| drill.report.rto.measured_seconds);
    let most = measured.fold(objective, f64::max).max(1.0);
    let slot = WIDTH / shown.len().max(8) as f64;
    let height = |seconds: f64| seconds / most * (HEIGHT - 8.0);
    let goal = HEIGHT - height(objective);
    let words = format!(
        "Recovery time of {}, objective {}",
        format_count(shown.len(), "drill", "drills"),
        format_span(objective)
    );
    html! {
        figure {
            figcaption { (words) }
            svg.chart viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } preserveAspectRatio="none" height="96" role="img" aria-label=(words) {
                @for (number, drill) in shown.iter().enumerate() {
                    @let seconds = drill.report.rto.measured_seconds.unwrap_or(0.0);
                    @let tall = height(seconds).max(3.0);
                    rect class=(drill.outcome.tone().class()) x=(format!("{:.1}", number as f64 * slot + slot * 0.15))
                        y=(format!("{:.1}", HEIGHT - tall)) width=(format!("{:.1}", slot * 0.7)) height=(format!("{tall:.1}")) {
                        title { (drill.report.started_at.format("%Y-%m-%d")) ": " (drill.outcome.word()) ", " (drill.report.rto.measured_seconds.map_or("not measured".to_owned(), format_span)) }
                    }
                }
                line.goal x1="0" x2=(WIDTH) y1=(format!("{goal:.1}")) y2=(format!("{goal:.1}")) {}
            }
        }
    }
}

/// The phases of a drill.
pub(super) fn draw_timeline(drill: &Report) -> Markup {
    let offset = |at: DateTime<Utc>| (at - drill.started_at).as_seconds_f64().max(0.0);
    let ends = drill.phases.iter().map(|phase| offset(phase.started_at) + phase.seconds);
    let whole = ends.fold(0.0, f64::max).max(0.001);
    html! {
        table.phases {
            caption.unseen { "Phases of the newest drill" }
            thead.unseen { tr { th scope="col" { "Phase" } th scope="col" { "When" } th scope="col" { "Took" } } }
            tbody { @for phase in &drill.phases {
                @let from = offset(phase.started_at) / whole * 100.0;
                @let wide = (phase.seconds / whole * 100.0).max(0.6);
                tr {
                    th scope="row" { (phase.name) }
                    td.lane aria-hidden="true" {
                        svg.chart viewBox="0 0 100 10" preserveAspectRatio="none" {
                            rect.ground x="0" y="0" width="100" height="10" rx="1" {}
                            rect.phase x=(format!("{:.2}", from.min(99.4))) y="0" width=(format!("{wide:.2}")) height="10" {}
                        }
                    }
                    td.took { (format_span(phase.seconds)) }
                }
            } }
        }
    }
}
