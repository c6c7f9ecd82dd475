//! Text that fits a terminal. Words, and above all ids and commands, are never broken: somebody will copy them. Prose
//! is wrapped between words, commands in backticks stay whole, and a table that does not fit becomes blocks.

use unicode_width::UnicodeWidthStr;

use super::terminal::tone_at;
use crate::words::Tone;
use crate::words::escape_controls;

/// What a line may begin with before its text: an indent, and the bar beside what a person is asked.
const BARS: [char; 3] = [' ', '┃', '│'];
/// Between two columns.
const GAP: usize = 2;
/// A column of prose that has to be narrower than this is hard to read: blocks are better.
const NARROWEST_PROSE: usize = 24;
/// In a block, what is longer than this has a line of its own.
const LONGEST_SHARED: usize = 32;

/// A cell: what it says, and in which tone.
pub(super) type Row = Vec<(String, Option<Tone>)>;

/// Lays a table out. Without a width, each row is one line: whoever reads it is a program.
pub(super) fn lay_out(header: &[&str], rows: &[Row], width: Option<usize>, colored: bool) -> Vec<String> {
    let rows: Vec<Row> = rows
        .iter()
        .map(|row| row.iter().map(|(text, tone)| (escape_controls(text), *tone)).collect())
        .collect();
    let width = width.unwrap_or(usize::MAX);
    match widths(header, &rows, width.saturating_sub(2)) {
        Some(widths) => as_table(header, &rows, &widths, colored),
        None => as_blocks(header, &rows, width, colored),
    }
}

/// How wide each column is, if all fit: wide columns of prose give way, the widest first.
fn widths(header: &[&str], rows: &[Row], available: usize) -> Option<Vec<usize>> {
    let cells =
        |column: usize| rows.iter().filter_map(move |row| row.get(column)).map(|(text, _)| text.as_str());
    let at_least = |column: usize| {
        let longest = cells(column).flat_map(pieces).map(|piece| piece.width()).max().unwrap_or(0);
        longest.max(header[column].width())
    };
    let natural = |column: usize| {
        cells(column).map(UnicodeWidthStr::width).max().unwrap_or(0).max(header[column].width())
    };
    let mut widths: Vec<usize> = (0..header.len()).map(natural).collect();
    let least: Vec<usize> = widths
        .iter()
        .enumerate()
        .map(|(column, natural)| at_least(column).max(NARROWEST_PROSE.min(*natural)))
        .collect();
    let gaps = GAP * header.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > available {
        let (widest, _) = widths
            .iter()
            .enumerate()
            .filter(|(at, width)| **width > least[*at])
            .max_by_key(|(_, width)| **width)?;
        widths[widest] -= 1;
    }
    Some(widths)
}

fn as_table(header: &[&str], rows: &[Row], widths: &[usize], colored: bool) -> Vec<String> {
    let titles: Row = header.iter().map(|title| ((*title).to_owned(), Some(Tone::Faint))).collect();
    let mut lines = Vec::new();
    for row in std::iter::once(&titles).chain(rows) {
        let cells: Vec<Vec<String>> =
            row.iter().zip(widths).map(|((text, _), width)| wrap_at(text, *width, "")).collect();
        for at in 0..cells.iter().map(Vec::len).max().unwrap_or(0) {
            let mut line = String::from(" ");
            let mut missing = 1;
            for ((cell, (_, tone)), width) in cells.iter().zip(row).zip(widths) {
                let text = cell.get(at).map_or("", String::as_str);
                if !text.is_empty() {
                    line.extend(std::iter::repeat_n(' ', missing));
                    line.push_str(&toned(text, *tone, colored));
                    missing = 0;
                }
                missing += width.saturating_sub(text.width()) + GAP;
            }
            lines.push(line);
        }
    }
    lines
}

fn toned(text: &str, tone: Option<Tone>, colored: bool) -> String {
    tone.map_or(text.to_owned(), |tone| super::terminal::colorize(colored, tone, text))
}

/// One block for each row: its first cells on a line, up to the first that has a title. Below it, what is short shares lines,
/// and prose has its own.
fn as_blocks(header: &[&str], rows: &[Row], width: usize, colored: bool) -> Vec<String> {
    let first = header.iter().position(|title| !title.is_empty()).unwrap_or(0);
    let mut lines = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        if at > 0 {
            lines.push(String::new());
        }
        let painted = |(text, tone): &(String, Option<Tone>)| toned(text, *tone, colored);
        let head: Vec<String> =
            row.iter().take(first + 1).filter(|(text, _)| !text.is_empty()).map(painted).collect();
        lines.extend(wrap(&format!("  {}", head.join("  ")), width));
        let said = |(_, (text, _)): &(&&str, &(String, Option<Tone>))| !text.is_empty() && text != "-";
        let mut shared = String::new();
        for (title, cell) in header.iter().zip(row).skip(first + 1).filter(said) {
            let value = painted(cell);
            let part = match title.is_empty() {
                true => value,
                false => format!("{} {value}", toned(title, Some(Tone::Faint), colored)),
            };
            let is_prose = cell.0.width() > LONGEST_SHARED;
            if shared.is_empty() {
                shared = format!("    {part}");
            } else if is_prose || shown_width(&shared) + 3 + shown_width(&part) > width {
                lines.extend(wrap(&std::mem::replace(&mut shared, format!("    {part}")), width));
            } else {
                shared = format!("{shared} · {part}");
            }
            if is_prose {
                lines.extend(wrap(&std::mem::take(&mut shared), width));
            }
        }
        if !shared.is_empty() {
            lines.extend(wrap(&shared, width));
        }
    }
    lines
}

/// What may not be broken: words, and whole what stands between backticks.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let (mut open, mut left) = (false, text.matches('`').count());
        for (at, c) in text.char_indices() {
            match c {
                '`' if open || left > 1 => {
                    open = !open;
                    left -= 1;
                }
                ' ' if !open => {
                    rest = Some(&text[at + 1..]);
                    return Some(&text[..at]);
                }
                _ => {}
            }
        }
        rest = None;
        Some(text)
    })
}

/// How much of a line a text takes on a terminal, without the tones in it.
fn shown_width(text: &str) -> usize {
    let (mut width, mut rest) = (0, text);
    while let Some(at) = rest.find('\u{1b}') {
        width += rest[..at].width();
        let tone = tone_at(&rest[at..]).max(1);
        rest = &rest[at + tone..];
    }
    width + rest.width()
}

/// Wraps a line between words. What continues it stands below where its text begins, and a piece that is longer than a
/// line gets one of its own.
pub(super) fn wrap(line: &str, width: usize) -> Vec<String> {
    if shown_width(line) <= width {
        vec![line.to_owned()]
    } else {
        wrap_at(line, width, &hanging(line, width))
    }
}

fn wrap_at(line: &str, width: usize, hang: &str) -> Vec<String> {
    let indent = line.len() - line.trim_start_matches(BARS).len();
    let (start, text) = line.split_at(indent);
    let (mut lines, mut current, mut is_empty) = (Vec::new(), start.to_owned(), true);
    for piece in pieces(text) {
        if !is_empty && shown_width(&current) + 1 + shown_width(piece) > width {
            lines.push(current.trim_end().to_owned());
            // What is too long to stand below the text may still fit further to the left.
            let fits = |start: &&str| shown_width(start) + shown_width(piece) <= width;
            [hang, start].into_iter().find(fits).unwrap_or_default().clone_into(&mut current);
        } else if !is_empty {
            current.push(' ');
        }
        current.push_str(piece);
        is_empty = false;
    }
    lines.push(current);
    lines
}

/// A command on as many lines as it takes, broken between arguments in the way of shells. The lines that continue it are
/// indented like the first.
pub(super) fn continue_command(label: &str, command: &str, width: usize) -> Vec<String> {
    let indent = " ".repeat(label.width());
    let (mut lines, mut current, mut is_empty) = (Vec::new(), label.to_owned(), true);
    let words = arguments(command);
    for (at, word) in words.iter().enumerate() {
        let ending = if at + 1 == words.len() { 0 } else { 2 };
        if !is_empty && current.width() + 1 + word.width() + ending > width {
            lines.push(format!("{current} \\"));
            current = format!("{indent}  ");
        } else if !is_empty {
            current.push(' ');
        }
        current.push_str(word);
        is_empty = false;
    }
    lines.push(current);
    lines
}

/// What stands between the spaces of a command that no quotes and no backslash hold together.
fn arguments(command: &str) -> Vec<&str> {
    let (mut words, mut start, mut quote, mut escaped) = (Vec::new(), 0, None, false);
    for (at, c) in command.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quote != Some('\'') => escaped = true,
            '\'' | '"' if quote.is_none() => quote = Some(c),
            c if quote == Some(c) => quote = None,
            ' ' if quote.is_none() => {
                words.push(&command[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    words.push(&command[start..]);
    words
}

/// What the lines that continue a line begin with: below the text behind a label, or two further in.
fn hanging(line: &str, width: usize) -> String {
    let bar: String = line.chars().take_while(|c| BARS.contains(c)).collect();
    let label = line[bar.len()..].find("  ").map(|at| {
        let behind = &line[bar.len() + at..];
        bar.len() + at + (behind.len() - behind.trim_start().len())
    });
    match label.map(|at| shown_width(&line[..at])) {
        Some(at) if at <= 28 && at * 2 < width => format!("{bar}{}", " ".repeat(at - shown_width(&bar))),
        _ if bar.trim().is_empty() => format!("{bar}  "),
        _ => bar,
    }
}

#[cfg(test)]
mod tests {
    use super::super::terminal::colorize;
    use super::*;

    fn row(cells: &[&str]) -> Row {
        cells.iter().map(|text| ((*text).to_owned(), None)).collect()
    }

    const ID: &str = "lifeboat-orders-prod-20261121t030712z-pre-migration-k3x9";

    #[test]
    fn a_table_that_does_not_fit_becomes_blocks_and_keeps_its_ids_whole() {
        let header = ["", "snapshot", "database", "class", "taken", "status"];
        let rows = vec![row(&["kept", ID, "orders-prod", "pre-migration", "-", "available since 3 min"])];
        assert_eq!(
            lay_out(&header, &rows, Some(80), false),
            [
                "  kept  lifeboat-orders-prod-20261121t030712z-pre-migration-k3x9",
                "    database orders-prod · class pre-migration · status available since 3 min",
            ]
        );
        assert_eq!(lay_out(&header, &rows, Some(160), false).len(), 2);
        assert_eq!(lay_out(&header, &rows, None, false).len(), 2);
    }

    #[test]
    fn prose_gives_way_before_anything_else() {
        let header = ["database", "why"];
        let rows = vec![row(&[
            "orders-prod",
            "the newest snapshot is older than a day; run `lifeboat snapshot create orders-prod`",
        ])];
        assert_eq!(
            lay_out(&header, &rows, Some(64), false),
            [
                "  database     why",
                "  orders-prod  the newest snapshot is older than a day; run",
                "               `lifeboat snapshot create orders-prod`",
            ]
        );
    }

    #[test]
    fn no_piece_of_any_row_is_ever_broken() {
        use proptest::prelude::*;
        let word = "[a-z0-9:-]{1,70}";
        let cell = prop::collection::vec(word, 0..6).prop_map(|words| words.join(" "));
        let table = prop::collection::vec(prop::collection::vec(cell, 4), 1..4);
        proptest!(|(rows in table, width in 40usize..200)| {
            let rows: Vec<Row> = rows.iter().map(|cells| row(&cells.iter().map(String::as_str).collect::<Vec<_>>())).collect();
            let lines = lay_out(&["", "id", "why", "other"], &rows, Some(width), false);
            for (text, _) in rows.iter().flatten() {
                for piece in text.split(' ').filter(|piece| !matches!(*piece, "" | "-")) {
                    prop_assert!(lines.iter().any(|line| line.split(' ').any(|shown| shown == piece)), "{piece} in {lines:#?}");
                }
            }
            for line in &lines {
                let longest = line.split(' ').map(UnicodeWidthStr::width).max().unwrap_or(0);
                prop_assert!(line.width() <= width || line.trim().split(' ').count() <= 1 || longest > width, "{line}");
            }
        });
    }

    #[test]
    fn a_long_command_is_continued_as_a_shell_reads_it() {
        let command = r#"lifeboat backup undo --url 'postgresql://app@db.example/my app' --confirm "my app""#;
        assert_eq!(
            continue_command("  to undo  ", command, 60),
            [
                r"  to undo  lifeboat backup undo --url \",
                r"             'postgresql://app@db.example/my app' \",
                r#"             --confirm "my app""#,
            ]
        );
        assert_eq!(continue_command("", command, 90), [command]);
        for width in 20..100 {
            let script =
                format!("set -- {}; printf '%s|' \"$@\"", continue_command("", command, width).join("\n"));
            let ran = std::process::Command::new("sh").arg("-c").arg(script).output().unwrap();
            let said = String::from_utf8(ran.stdout).unwrap();
            assert_eq!(
                said,
                "lifeboat|backup|undo|--url|postgresql://app@db.example/my app|--confirm|my app|"
            );
        }
    }

    #[test]
    fn lines_are_wrapped_between_words_below_where_their_text_begins() {
        assert_eq!(
            wrap(
                "  before     kept as database app_old until tomorrow: `lifeboat backup undo --confirm app` takes it back",
                60
            ),
            [
                "  before     kept as database app_old until tomorrow:",
                "             `lifeboat backup undo --confirm app` takes it",
                "             back",
            ]
        );
        assert_eq!(
            wrap("  ┃ Stop the application, its workers and its cron jobs now.", 40),
            ["  ┃ Stop the application, its workers", "  ┃ and its cron jobs now."]
        );
        let painted = colorize(true, Tone::Bad, "FAIL") + " one two three";
        assert_eq!(wrap(&painted, 18), std::slice::from_ref(&painted));
        assert_eq!(wrap("a lone ` does not hold the words behind it together", 30).len(), 2);
        assert_eq!(
            wrap(&format!("use {ID}, please"), 30),
            ["use".to_owned(), format!("{ID},"), "  please".to_owned()]
        );
    }
}
