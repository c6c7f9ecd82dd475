//! What differs from run to run, replaced by what does not.

use std::sync::LazyLock;

use regex_lite::{Captures, Regex};

/// Replaces spans, ids, hashes, paths, ports and versions, each by something as long where it stands in a table.
pub(super) fn redact(text: &str) -> String {
    let mut text = text.replace("\r\n", "\n");
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    text = text.replace(&format!("@{host}"), "@host");
    for before in [" on ", "on host ", "On host\n", "host: "] {
        for after in ["\n", " from ", ", ", "; "] {
            text = text.replace(&format!("{before}{host}{after}"), &format!("{before}host{after}"));
        }
    }
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

static TIME: LazyLock<Regex> = LazyLock::new(|| {
    regex(r"(?:\b|_)20[2-9]\d-?[01]\d-?[0-3]\d(?:[Tt -][0-2]\d(?:[:-]?[0-5]\d){0,2}(?:\.\d+)?)?")
});

/// Instead of the directory of a world, and as long.
const WORLD: &str = "/world______________________________________";

static RULES: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    vec![
        // The live line of a terminal, which is drawn over.
        (regex("[\u{2800}-\u{28ff}] [^\r\n]*\r\u{1b}\\[2K"), ""),
        (regex("\r\u{1b}\\[2K"), ""),
        // What an instance or a snapshot goes through, as far as it was seen.
        (regex(r"(?m)^(?:\[[^\]]*\] +)?(?:snapshot )?`[^`\n]+` is (?:[a-z]+ing|[a-z]+-up|available)\n"), ""),
        (regex(r"\b(20\d{6}(?:-\d{6})?)-[a-z0-9]{6}\b"), "$1-000000"),
        (regex(r"(T\d\d:\d\d:\d\d)\.\d+Z"), "${1}Z"),
        (regex(r"\b(?:\d+m )?\d+s ago"), "0s ago"),
        (regex(r"\b\d+ s ago"), "0 s ago"),
        (regex(r", (?:about [^(\n]* left|longer than ever before) \([^)\n]*\)"), ""),
        (regex(r"worst_rpo=\d+s"), "worst_rpo=0s"),
        (regex(r#"\b(port(?:=| +|": "?))\d+"#), "${1}00000"),
        (regex(r"\b[\d.]+ [GT]B are free"), "00.0 GB are free"),
        (regex(r"(Free in the vault\n)[\d.]+ [GT]B"), "${1}00.0 GB"),
        (regex(r#"("run_short": )"\w{6}""#), "$1\"000000\""),
        (regex(r"process \d+ on [\w.-]+"), "process 0 on host"),
        (regex(r#"("free_bytes":|"bytes":|vault_free_bytes) \d+"#), "$1 0"),
        (regex(r"\bfile:made \d+:\d+"), "file:made 0:0"),
        (regex(r"(?m)^(run_short)\n\w{6}$"), "$1\n000000"),
        (regex(r"\.tmp\w{6}\b"), ".tmp000000"),
        (regex(r#""identity": "(?:\w+@[\w.-]+|\d+:\d+)""#), "\"identity\": \"user@host\""),
        (regex(r"\b[\w-]+@host\b"), "user@host"),
        (regex(r"\buid \d+\b"), "uid 0"),
        (regex(r"\d+ bytes (\(gzip\), [\d.]+ kB of archive)"), "000 bytes $1"),
        (regex(r#"("next_transaction"|"app"|"billing"|"postgres"): \d+"#), "$1: 0"),
        (regex(r#"("uptime_seconds"): \d+"#), "$1: 0"),
        // A dump begins with a word that pg_dump makes up.
        (regex(r#"(\.(?:sql|dump)[.\w]*",\n *"file_size"): \d+"#), "$1: 0"),
        (regex(r"(AWS's to) \d+ s"), "$1 0 s"),
        (regex(r#""lock": "[^"]+""#), "\"lock\": \"0\""),
        (regex(r"\b(?:\d+ ms|\d+\.\d s)"), "0.0 s"),
        // The column of the steps of a run is as wide as the longest span.
        (
            regex(r"(?m)^(  [✓▸○✗] +\d+  \S+) +(?:(0\.0 s) +)?(done|next|not reached|failed|skipped)"),
            "$1  $2  $3",
        ),
        (regex(r"(?m)^( +step) +took$"), "$1  took"),
        (regex(r"\[ *0\.0 s\]"), "[ 0.0 s]"),
        (regex(r"\| \d+\.\d\n"), "| 0.0\n"),
        (regex(r#"("(?:duration|[a-z_]*seconds)"): -?\d+\.\d+(?:e-\d+)?"#), "$1: 0.0"),
        (regex(r"\b(\d\d?h) \d\dm\b"), "$1 00m"),
        (regex(r"(_seconds\{[^}]*\}) \d+\.\d+(?:e-\d+)?"), "$1 0.0"),
        (regex(r#""file_id": "[^"]+""#), "\"file_id\": \"0\""),
        (regex(r#""(host|server|request_id)": ?"[\w.-]+""#), "\"$1\": \"$1\""),
        (regex(r#""(pid|uid|gid)": \d+"#), "\"$1\": 0"),
        (regex(r"(t\d{6}z-)[0-9a-f]{8}\b"), "${1}00000000"),
        (regex(r"\blifeboat_[0-9a-f]{64}\b"), "lifeboat_TOKEN"),
        (regex(r"(timestamp_seconds\{[^}]*\}) 1[5-9]\d{8}"), "$1 1700000000"),
        (regex(r#", on [\w.-]+(["\)])"#), ", on host$1"),
        (regex(r"/[\w./-]+/lifeboat "), "/usr/bin/lifeboat "),
        (regex(r#""(user|group|mode)": "[^"]+""#), "\"$1\": \"0\""),
        (regex(r" \((?:Debian|Ubuntu) [^)]*\)"), ""),
        (regex(r#"(SQLite |"server_version": "|source has )\d+\.\d+(?:\.\d+)?"#), "${1}0.0.0"),
        (regex(r#"(postgres |PostgreSQL |"engine_version": ")\d+\.\d+"#), "${1}15.00"),
        (regex(r"\b(pg_dump|psql|pg_restore) \d+\.\d+"), "$1 15.00"),
        (regex(r"lifeboat \d+\.\d+\.\d+"), "lifeboat 0.0.0"),
        (regex(r"(127\.0\.0\.1:|localhost:)\d+"), "${1}00000"),
        (regex(r"/[\w.-][\w./-]*?/w{3,}\w{6}\b"), WORLD),
    ]
});

static ZEROED: LazyLock<Vec<Regex>> =
    LazyLock::new(|| vec![regex(r"\b[0-9a-f]{32,64}\b"), regex(r"\bdb-[A-Z0-9]{26}\b")]);
