//! The kit of every page: its stylesheet, and how tones, times, lists and the names of others are drawn.
//!
//! A page that is kept in the vault stands for itself: it loads nothing, and runs nothing.

use chrono::{DateTime, Utc};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::when::format_time;
use crate::words::{Tone, format_thousands};

/// Colours, type, marks and badges.
pub(crate) const BASE_CSS: &str = include_str!("page/base.css");

/// What the pages of drills and runs have in common beyond that.
const RECORD_CSS: &str = include_str!("page/record.css");

/// Inline styles are allowed for the lengths of bars, which are numbers of ours.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// Characters of one text that are shown; the JSON has it whole.
const LONGEST_TEXT: usize = 2000;

/// Lines of a list that are shown at once: a lost database alone can give thousands of reasons.
const LINES_UNFOLDED: usize = 12;

/// A whole page of evidence, which loads nothing: its title, the style it has besides the common one, what it shows, and
/// the version and the schema that it was written with.
pub(crate) fn draw_page(title: Markup, own_css: &str, shown: Markup, version: &str, schema: &str) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            (draw_head(title, own_css))
            body {
                (draw_symbols())
                main { (shown) }
                footer { "Written by lifeboat " (spell_unseen(version)) " as " (spell_unseen(schema)) }
            }
        }
    };
    page.into_string()
}

fn draw_head(title: Markup, own_css: &str) -> Markup {
    html! {
        head {
            meta charset="utf-8";
            meta http-equiv="Content-Security-Policy" content=(POLICY);
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="color-scheme" content="light dark";
            meta name="referrer" content="no-referrer";
            // Phones take row counts for telephone numbers.
            meta name="format-detection" content="telephone=no, date=no, address=no, email=no";
            title { (title) }
            style { (PreEscaped(BASE_CSS)) (PreEscaped(RECORD_CSS)) (PreEscaped(own_css)) }
        }
    }
}

/// The tones that have a mark.
const MARKED: [Tone; 4] = [Tone::Good, Tone::Bad, Tone::Doubt, Tone::Faint];

/// The symbol of a tone, as strokes in a square of 16: a tick, a cross, a question mark, a dash.
const fn strokes(tone: Tone) -> &'static str {
    match tone {
        Tone::Good => "M3.5 8.5 L6.6 11.5 L12.5 4.8",
        Tone::Bad => "M4.3 4.3 L11.7 11.7 M11.7 4.3 L4.3 11.7",
        Tone::Doubt => "M5.4 5.6 A2.6 2.6 0 1 1 8 8.4 V9.4 M8 12.4 V12.5",
        Tone::Faint | Tone::Strong => "M4.5 8 H11.5",
    }
}

/// The symbols, drawn once: fonts differ in which they have, and some make coloured pictures of them.
pub(crate) fn draw_symbols() -> Markup {
    html! {
        svg.symbols aria-hidden="true" { @for tone in MARKED {
            symbol id=(tone.class()) viewBox="0 0 16 16" { path d=(strokes(tone)) {} }
        } }
    }
}

pub(crate) fn draw_mark(tone: Tone) -> Markup {
    html! { svg.mark viewBox="0 0 16 16" aria-hidden="true" { use href={ "#" (tone.class()) } {} } }
}

pub(crate) fn draw_badge(tone: Tone, word: &str) -> Markup {
    html! { span class={ "badge " (tone.class()) } { (draw_mark(tone)) (word) } }
}

/// A moment, in UTC.
pub(crate) fn draw_time(at: DateTime<Utc>) -> Markup {
    html! { time datetime=(format_time(at)) { (format_time(at)) } }
}

pub(crate) fn draw_fact(term: &str, value: Markup) -> Markup {
    html! { div { dt { (term) } dd { (value) } } }
}

pub(crate) fn draw_list(items: &[String]) -> Markup {
    let (shown, folded) = items.split_at(items.len().min(LINES_UNFOLDED));
    html! {
        ul { @for item in shown { li { (draw_prose(item)) } } }
        @if !folded.is_empty() {
            details {
                summary { "and " (format_thousands(folded.len() as u64)) " more" }
                ul { @for item in folded { li { (draw_prose(item)) } } }
            }
        }
    }
}

/// Running text that names things in backticks. The names are set apart, so that none can reorder its sentence.
pub(crate) fn draw_prose(text: &str) -> Markup {
    let pieces: Vec<&str> = text.split('`').collect();
    html! {
        @for (place, piece) in pieces.iter().enumerate() {
            @if place % 2 == 0 { (spell_unseen(piece)) }
            @else if place + 1 < pieces.len() { code { (draw_name(piece)) } }
            @else { "`" (spell_unseen(piece)) }
        }
    }
}

/// A name that others have chosen, on a line of its own writing direction.
pub(crate) fn draw_name(text: &str) -> Markup {
    html! { bdi.name { (spell_unseen(&text.replace('\n', "\\n"))) } }
}

/// Text of others with what cannot be seen spelled out, such as `\u{202e}`: a control character could make one name
/// look like another. Joiners stay, since scripts and emoji are made with them.
pub(crate) fn spell_unseen(text: &str) -> String {
    let is_unseen = |letter: char| {
        (letter.is_control() && letter != '\n')
            || matches!(letter, '\u{ad}' | '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{feff}')
            || matches!(letter, '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
    };
    let mut spelled = String::with_capacity(text.len());
    for (place, letter) in text.chars().enumerate() {
        if place == LONGEST_TEXT {
            spelled.push_str("… (cut here; the file has it whole)");
            break;
        }
        if is_unseen(letter) {
            spelled.extend(letter.escape_default());
        } else {
            spelled.push(letter);
        }
    }
    spelled
}

pub(crate) fn capitalise(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}
