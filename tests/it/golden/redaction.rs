//! What differs from run to run, replaced by what does not.

use std::sync::LazyLock;

use regex_lite::{Captures, Regex};

/// Replaces spans, ids, hashes, paths, ports and versions, each by something as long where it stands in a table.
pub(super) fn redact(text: &str) -> String {
    let mut text = text.replace("\r\n", "\n");
    for (pattern, replacement) in RULES.iter() {
        text = pattern.replace_all(&text, *replacement).into_owned();
    }
    for pattern in ZEROED.iter() {
        text = pattern.replace_all(&text, |found: &Captures| "0".repeat(found[0].len())).into_owned();
    }
    text
}

/// Replaces each digit of a time by a zero.
pub(super) fn redact_times(text: &str) -> String {
    TIME.replace_all(text, |found: &Captures| -> String {
        found[0].chars().map(|letter| if letter.is_ascii_digit() { '0' } else { letter }).collect()
    })
    .into_owned()
}

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("it is a regular expression")
}

static TIME: LazyLock<Regex> =
    LazyLock::new(|| regex(r"\b20[2-9]\d-?[01]\d-?[0-3]\d(?:[Tt ][0-2]\d(?::?[0-5]\d){0,2}(?:\.\d+)?)?"));

static RULES: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    vec![
        // The live line of a terminal, which is drawn over.
        (regex("[\u{2800}-\u{28ff}] [^\r\n]*\r\u{1b}\\[2K"), ""),
        (regex("\r\u{1b}\\[2K"), ""),
        (regex(r"(T\d\d:\d\d:\d\d)\.\d+Z"), "${1}Z"),
        (regex(r"\b(?:\d+ ms|\d+\.\d s)\b"), "0.0 s"),
        (regex(r#"("(?:duration|[a-z_]*seconds)"): \d+\.\d+(?:e-\d+)?"#), "$1: 0.0"),
        (regex(r#""file_id": "[^"]+""#), "\"file_id\": \"0\""),
        (regex(r#""host": "[^"]+""#), "\"host\": \"host\""),
        (regex(r#", on [\w.-]+""#), ", on host\""),
        (regex(r#""(user|group|mode)": "[^"]+""#), "\"$1\": \"0\""),
        (regex(r#""(uid|gid)": \d+"#), "\"$1\": 0"),
        (regex(r#"(SQLite |"server_version": ")\d+\.\d+(?:\.\d+)?"#), "${1}0.0.0"),
        (regex(r"lifeboat \d+\.\d+\.\d+"), "lifeboat 0.0.0"),
        (regex(r"(127\.0\.0\.1:|localhost:)\d+"), "${1}00000"),
        (regex(r"/[\w./-]*\.tmp\w{6}\b"), "/world"),
    ]
});

static ZEROED: LazyLock<Vec<Regex>> = LazyLock::new(|| vec![regex(r"\b[0-9a-f]{32,64}\b")]);
