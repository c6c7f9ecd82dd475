//! What a terminal obeys, how wide it is, and our own tones.

use std::fmt::Write as _;

use crate::words::{Tone, is_obeyed};

/// What may go to a terminal: lines and tabs, the tones that we paint with where there is colour, and nothing else that it
/// would obey. Everything that is printed for people passes through here, whatever vault, database or server it came from.
pub(super) fn printable(text: &str, colored: bool) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let tone = if colored { tone_at(rest) } else { 0 };
        if tone > 0 {
            shown.push_str(&rest[..tone]);
            rest = &rest[tone..];
            continue;
        }
        rest = &rest[c.len_utf8()..];
        match c {
            '\n' | '\t' => shown.push(c),
            c if is_obeyed(c) => shown.extend(c.escape_default()),
            c => shown.push(c),
        }
    }
    shown
}

/// How long the tone is that `text` begins with: colour, bold, dim, and their end. Others could hide what follows.
pub(super) fn tone_at(text: &str) -> usize {
    let Some(inside) = text.strip_prefix("\u{1b}[") else { return 0 };
    let Some(end) = inside.find(|c: char| !(c.is_ascii_digit() || c == ';')) else { return 0 };
    let values: Vec<&str> = inside[..end].split(';').collect();
    let is_tone = match values[..] {
        [one] => matches!(one.parse::<u8>(), Ok(0..=2 | 22 | 30..=37 | 39 | 90..=97)),
        ["38", "5", _] => true,
        _ => false,
    };
    if is_tone && inside[end..].starts_with('m') { 2 + end + 1 } else { 0 }
}

/// JSON without characters that a terminal obeys. serde escapes those of ASCII, and no others.
pub(super) fn escaped_json(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if c != '\n' && is_obeyed(c) {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        } else {
            escaped.push(c);
        }
    }
    escaped
}

pub(super) fn colorize(colored: bool, tone: Tone, text: &str) -> String {
    use clap::builder::styling::{AnsiColor, Style};
    let style = match tone {
        Tone::Good => Style::new().fg_color(Some(AnsiColor::Green.into())),
        Tone::Bad => Style::new().fg_color(Some(AnsiColor::Red.into())).bold(),
        Tone::Doubt => Style::new().fg_color(Some(AnsiColor::Yellow.into())),
        Tone::Faint => Style::new().dimmed(),
        Tone::Strong => Style::new().bold(),
    };
    if colored { format!("{style}{text}{style:#}") } else { text.to_owned() }
}

/// How many columns a terminal has, if it is one.
pub(super) fn terminal_width(stream: &impl std::os::fd::AsFd) -> Option<usize> {
    if !rustix::termios::isatty(stream) {
        return None;
    }
    let columns = rustix::termios::tcgetwinsize(stream).ok()?.ws_col;
    (columns > 0).then_some(usize::from(columns))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::escape_controls;

    #[test]
    fn control_characters_of_names_are_shown_not_obeyed() {
        assert_eq!(escape_controls("a\u{1b}[2Jb\nc"), "a\\u{1b}[2Jb\\nc");
        assert_eq!(escape_controls("a\u{202e}b\u{2066}é"), "a\\u{202e}b\\u{2066}é");
    }

    #[test]
    fn a_terminal_obeys_nothing_that_we_print_but_our_own_tones() {
        let painted = colorize(true, Tone::Bad, "x") + &colorize(true, Tone::Faint, "é\ty\n");
        assert_eq!(printable(&painted, true), painted);
        for hostile in [
            "\u{1b}[2J",
            "\u{1b}]0;title\u{7}",
            "\u{1b}[8mhidden",
            "\u{1b}[7m",
            "\u{1b}[38;2;1;1;1m",
            "\u{1b}",
            "\u{1b}[3",
            "\u{9b}2J",
            "\u{7f}",
            "a\rb",
            "\u{202e}",
            "\u{0}",
        ] {
            for colored in [true, false] {
                let shown = printable(hostile, colored);
                assert!(!shown.chars().any(is_obeyed), "{hostile:?}: {shown:?}");
            }
        }
        assert_eq!(printable("\u{1b}[31mx", false), "\\u{1b}[31mx");
        let json = escaped_json("{\n  \"a\": \"\u{9b}é\u{202e}\"\n}");
        assert_eq!(json, "{\n  \"a\": \"\\u009bé\\u202e\"\n}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap()["a"], "\u{9b}é\u{202e}");
    }
}
