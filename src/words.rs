//! How counts, sizes, lists and verdicts are said: one way for every report, page and message.

/// What something means, shown by colour or a mark as well as by the word beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// As it should be.
    Good,
    /// As it should not be.
    Bad,
    /// Not known, or worth a look.
    Doubt,
    /// Beside the point.
    Faint,
    /// A heading.
    Strong,
}

impl Tone {
    /// The class of what is drawn so, on a page.
    pub(crate) const fn class(self) -> &'static str {
        match self {
            Tone::Good => "good",
            Tone::Bad => "bad",
            Tone::Doubt => "doubt",
            Tone::Faint | Tone::Strong => "quiet",
        }
    }
}

/// `1 table`, `1,234 tables`.
pub(crate) fn format_count(number: usize, one: &str, many: &str) -> String {
    format!("{} {}", format_thousands(number as u64), if number == 1 { one } else { many })
}

/// A number with its thousands apart: `1,234,567`.
pub(crate) fn format_thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A size in decimal units: `812 bytes`, `4.1 kB`, `2.3 GB`.
pub(crate) fn format_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if bytes < 1000 {
        return format_count(bytes as usize, "byte", "bytes");
    }
    let mut value = bytes as f64;
    let mut unit = "bytes";
    for next in UNITS {
        if value < 999.95 {
            break;
        }
        (value, unit) = (value / 1000.0, next);
    }
    format!("{value:.1} {unit}")
}

/// `a, b and c`; nothing for no items.
pub(crate) fn join_with_and(items: &[impl AsRef<str>]) -> String {
    let items: Vec<&str> = items.iter().map(AsRef::as_ref).collect();
    match items.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} and {last}", others.join(", ")),
        _ => items.concat(),
    }
}

/// Names of objects in a sentence: `` `a`, `b` ``.
pub(crate) fn quote_names(names: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let quoted: Vec<String> = names.into_iter().map(|name| format!("`{}`", name.as_ref())).collect();
    quoted.join(", ")
}

/// Whether a terminal obeys a character, or a reader is misled by it: control characters, and those that break a line or
/// turn the direction of what follows.
pub(crate) fn is_obeyed(c: char) -> bool {
    let turns =
        matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || turns
}

/// Without characters that a terminal obeys, and on one line.
pub(crate) fn escape_controls(text: &str) -> String {
    text.chars().flat_map(|c| if is_obeyed(c) { c.escape_default().collect() } else { vec![c] }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(format_thousands), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn bytes_have_the_unit_in_which_they_are_short() {
        assert_eq!(
            [0, 1, 999, 4_100, 999_960, 2_345_678_901].map(format_bytes),
            ["0 bytes", "1 byte", "999 bytes", "4.1 kB", "1.0 MB", "2.3 GB"]
        );
    }

    #[test]
    fn lists_end_with_and() {
        assert_eq!(
            ["", "a", "a and b", "a, b and c"].map(str::to_owned),
            [
                join_with_and(&[] as &[&str]),
                join_with_and(&["a"]),
                join_with_and(&["a", "b"]),
                join_with_and(&["a", "b", "c"]),
            ]
        );
        assert_eq!(quote_names(["a", "b"]), "`a`, `b`");
    }
}
