//! SQLite files as applications make them, each backed up, verified and restored over a live file, and held against what
//! Python's own backup of the same file gives, page by page.
//!
//! LIFEBOAT_CAMPAIGN restores every file over live files of every form; without it each over one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::offline::Offline;

use crate::support::root;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/sqlite_corpus.py");

/// Runs the script with the Python that `make setup` has installed.
fn python(arguments: &[&str]) -> String {
    let installed = root().join("target/clients/bin/python");
    let program = if installed.exists() { installed } else { PathBuf::from("python3") };
    let output = Command::new(&program).arg(SCRIPT).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A file, and what is to be said of it.
#[derive(Deserialize)]
struct Member {
    file: String,
    code: i32,
    says: Vec<String>,
}

/// A file without what no copy has in common with its source: the journal mode, and counters of changes (file format,
/// 1.3.3, 1.3.7, 1.3.9 and 1.3.10).
fn pages(path: &Path) -> Vec<u8> {
    let mut content = fs::read(path).unwrap();
    for counter in [18..20, 24..28, 40..44, 92..100] {
        content[counter].fill(0);
    }
    content
}

/// The forms of live files that a backup is restored over: size of pages, journal mode, auto-vacuum.
const LIVE: [(u32, &str, &str); 4] = [
    (4096, "wal", "none"),
    (512, "delete", "full"),
    (65_536, "truncate", "none"),
    (1024, "wal", "incremental"),
];

fn live_file(path: &Path, (size, mode, vacuum): (u32, &str, &str), encoding: &str) {
    for ending in ["", "-wal", "-shm", "-journal"] {
        let _ = fs::remove_file(format!("{}{ending}", path.display()));
    }
    let connection = rusqlite::Connection::open(path).unwrap();
    connection
        .execute_batch(&format!(
            "pragma synchronous = off; pragma page_size = {size}; pragma encoding = '{encoding}';
             pragma auto_vacuum = {vacuum}; pragma journal_mode = {mode};
             create table old (a unique); insert into old values ('old'), (zeroblob(90000)); delete from old where a = 'old'"
        ))
        .unwrap();
}

async fn try_member(place: &Offline, member: &Member, number: usize) {
    let name = member.file.trim_end_matches(".db");
    let file = place.path("corpus").join(&member.file);
    let url = format!("sqlite://{}", file.display());
    let vault = place.path(&format!("vault-{name}"));
    let backup = async |arguments: &[&str]| {
        place.backup(&[arguments, &["--vault", vault.to_str().unwrap()]].concat()).await
    };
    let run = backup(&["create", "--url", &url, "--name", name, "--no-prune", "--no-compress"]).await;
    assert_eq!(run.code, Some(member.code), "{name}: {}", run.stderr);
    for words in &member.says {
        assert!(run.stderr.contains(words), "{name} lacks {words:?}: {}", run.stderr);
    }
    if member.code != 0 {
        assert!(!vault.join(format!("{name}.json")).exists(), "{name}");
        return;
    }
    if member.says.is_empty() {
        assert_eq!(run.stderr, "", "{name}");
    }
    // What the plain tool copies is what was copied.
    let plain = place.path(&format!("{name}.plain"));
    python(&["copy", file.to_str().unwrap(), plain.to_str().unwrap()]);
    assert!(pages(&plain) == pages(&vault.join(format!("{name}.sqlite"))), "{name}: other pages");
    backup(&["verify", name, "--level", "restore"]).await.assert_code(0);
    let encoding: String = rusqlite::Connection::open(&file)
        .unwrap()
        .query_row("pragma encoding", [], |row| row.get(0))
        .unwrap();
    let is_campaign = std::env::var_os("LIFEBOAT_CAMPAIGN").is_some();
    for form in if is_campaign { LIVE.to_vec() } else { vec![LIVE[number % LIVE.len()]] } {
        let live = place.path(&format!("{name}.live"));
        live_file(&live, form, &encoding);
        let at = format!("sqlite://{}", live.display());
        backup(&["restore", name, "--url", &at, "--confirm", name]).await.assert_code(0);
        let mode: String = rusqlite::Connection::open(&live)
            .unwrap()
            .query_row("pragma journal_mode", [], |row| row.get(0))
            .unwrap();
        assert_eq!(mode == "wal", form.1 == "wal", "{name} over {form:?}");
        assert!(pages(&plain) == pages(&live), "{name} over {form:?}: other pages");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_plain_tool_copies_is_copied_and_damage_is_told_from_complaints() {
    let place = std::sync::Arc::new(Offline::new());
    fs::create_dir(place.path("corpus")).unwrap();
    let members: Vec<Member> =
        serde_json::from_str(&python(&["build", place.path("corpus").to_str().unwrap()])).unwrap();
    let damaged = members.iter().filter(|member| member.code == 1).count();
    assert!(members.len() >= 100 && damaged >= 20, "{} files, {damaged} of them damaged", members.len());
    let room = std::sync::Arc::new(tokio::sync::Semaphore::new(4));
    let mut running = tokio::task::JoinSet::new();
    for (number, member) in members.into_iter().enumerate() {
        let (place, room) = (std::sync::Arc::clone(&place), std::sync::Arc::clone(&room));
        running.spawn(async move {
            let _turn = room.acquire_owned().await.unwrap();
            try_member(&place, &member, number).await;
        });
    }
    while let Some(done) = running.join_next().await {
        done.unwrap();
    }
}
