//! The code that reads what others wrote, for the targets in `fuzz/`: for any text it must end, and keep its promise.

use chrono::{TimeZone as _, Utc};

use crate::backup::sql_lexer::{Lexer, Piece};
use crate::postgres::{Password, Target, redact_urls};
use crate::runbook::{Origin, parse, shell};
use crate::when::{format_time, parse_time};

/// A runbook: whatever is wrong in it is among its faults.
pub fn runbook(text: &[u8]) {
    let runbook = parse::parse(Origin::File("x.md".into()), text);
    let is_text = std::str::from_utf8(text).is_ok();
    assert!(is_text || !runbook.faults.is_empty(), "a runbook that is no text is sound");
}

/// The shell of a runbook's step: every call that is seen is of a word that stands in the text.
pub fn shell(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let scan = shell::Scan::of_text(text);
    let lines = text.lines().count().max(1);
    for command in &scan.commands {
        assert!(command.line <= lines, "line {} of {lines}", command.line);
    }
}

/// A dump in SQL: read in one piece or byte by byte, it falls into the same statements.
pub fn dump(text: &[u8]) {
    let split = |size: usize| {
        let (mut lexer, mut pieces) = (Lexer::new(), Vec::new());
        let mut take = |piece: Piece<'_>| {
            pieces.push(format!("{piece:?}"));
            Ok(())
        };
        let ended = text.chunks(size.max(1)).try_for_each(|chunk| lexer.feed(chunk, &mut take));
        let ended = ended.and_then(|()| lexer.finish(&mut take));
        (pieces, ended.map_err(|error| error.to_string()))
    };
    let (whole, by_byte) = (split(text.len()), split(1));
    // Rows are passed on as they come, in pieces.
    let statements = |(pieces, ended): &(Vec<String>, Result<(), String>)| {
        (
            pieces.iter().filter(|piece| piece.starts_with("Statement")).cloned().collect::<Vec<_>>(),
            ended.clone(),
        )
    };
    assert_eq!(statements(&whole), statements(&by_byte));
}

/// A connection string: what is understood is written without its password.
pub fn database_url(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    if let Ok(target) = Target::parse(text) {
        let password = target.server.password.as_ref().map_or("", Password::expose);
        let shown = target.display_url();
        assert!(password.len() < 12 || !shown.contains(password), "{shown}");
    }
}

/// A time: what is understood is said so that it is understood as the same.
pub fn time(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let now = Utc.with_ymd_and_hms(2026, 11, 30, 12, 0, 0).single().expect("a time");
    if let Ok(at) = parse_time(text, now, &Utc) {
        let again = parse_time(&format_time(at), now, &Utc).expect("a time as reports show it");
        assert_eq!(again.timestamp(), at.timestamp());
    }
}

/// A text with a password in a connection string: the password is in none that is printed.
pub fn redaction(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let shown = redact_urls(&format!(
        "{text} postgresql://u:canary-7f3a@h/d {text} host=h password=canary-7f3a {text}"
    ));
    assert!(text.contains("canary") || !shown.contains("canary-7f3a"), "{shown}");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    /// Pieces that have a meaning to one of the readers.
    const PIECES: &str = "(\\PC{0,6}|[\\x00-\\x7f]{0,6}|```sh id=a\n|---\n|runbook: 1\n|'|\"|\\$\\$|\\$\\(|`|;|\n|\\\\\\.\n|copy t from stdin;\n|postgresql://|@|/|password=|-- |/\\*|2026-11-30|T14:05|yesterday| ago|1e9){0,24}";

    proptest! {
        #[test]
        fn no_text_is_too_odd_to_be_read(text in PIECES, bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            for input in [text.as_bytes(), &bytes] {
                super::runbook(input);
                super::shell(input);
                super::dump(input);
                super::database_url(input);
                super::time(input);
                super::redaction(input);
            }
        }
    }
}
