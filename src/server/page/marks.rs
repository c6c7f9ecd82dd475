//! Common elements of the page: marks, badges, times, names.

use chrono::{DateTime, SecondsFormat, Utc};
use maud::{Markup, html};

use crate::output::escape_controls;

/// The symbols, drawn once.
const SYMBOLS: [(&str, &str); 4] = [
    ("good", "M3 8.5 6.5 12 13 4.5"),
    ("bad", "M4 4l8 8M12 4l-8 8"),
    ("doubt", "M8 3.5v5.5M8 12.4v.1"),
    ("quiet", "M4 8h8"),
];

pub(super) fn badge(tone: &str, words: &str) -> Markup {
    html! { span class={ "badge " (tone) } { (mark(tone)) (words) } }
}

pub(super) fn mark(tone: &str) -> Markup {
    html! { svg.mark aria-hidden="true" viewBox="0 0 16 16" { path d=(SYMBOLS.iter().find(|(name, _)| *name == tone).map_or("", |(_, path)| path)) {} } }
}

pub(super) fn time(at: DateTime<Utc>) -> Markup {
    let exact = at.to_rfc3339_opts(SecondsFormat::Secs, true);
    html! { time datetime=(exact) { (at.format("%Y-%m-%d %H:%M")) " UTC" } }
}

/// Draws text between backquotes as code.
pub(super) fn quoted(text: &str) -> Markup {
    html! { @for (at, part) in escape_controls(text).split('`').enumerate() { @if at % 2 == 1 { code { (part) } } @else { (part) } } }
}
