//! A directory with a vault, SQLite files and the built binary in it, without AWS.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use tokio::process::Command;

use crate::support::{Run, binary, directory, finish};

/// What a vault holds besides backups: who did what, and what did not come about.
pub(crate) const RECORDS: [&str; 2] = ["audit.jsonl", "failures"];

/// A directory with a vault and some SQLite files, and the built binary in it.
pub(crate) struct Offline {
    directory: tempfile::TempDir,
}

impl Offline {
    pub(crate) fn new() -> Offline {
        Offline { directory: directory() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = binary(self.directory.path(), arguments);
        command.env("BACKUP_DIR", self.path("vault"));
        command
    }

    pub(crate) async fn backup(&self, arguments: &[&str]) -> Run {
        finish(self.command(&[&["backup"], arguments].concat()).spawn().unwrap()).await
    }

    /// A SQLite file with a table `accounts` whose balances sum to 100,000, and some more.
    pub(crate) fn database(&self, name: &str, journal_mode: &str, rows: usize) -> String {
        let connection = rusqlite::Connection::open(self.path(name)).unwrap();
        connection
            .execute_batch(&format!(
                "pragma journal_mode = {journal_mode};
                 create table accounts (id integer primary key, balance int);
                 insert into accounts values (1, 60000), (2, 40000);
                 create table filler (a integer primary key, b text);
                 create index of_b on filler (b);
                 with recursive n (i) as (select 1 union all select i + 1 from n where i < {rows})
                 insert into filler select i, hex(randomblob(60)) from n;"
            ))
            .unwrap();
        format!("sqlite://{}", self.path(name).display())
    }

    pub(crate) fn query(&self, name: &str, sql: &str) -> String {
        let connection = rusqlite::Connection::open(self.path(name)).unwrap();
        connection.query_row(sql, [], |row| row.get::<_, rusqlite::types::Value>(0)).map_or_else(
            |error| error.to_string(),
            |value| match value {
                rusqlite::types::Value::Text(text) => text,
                other => format!("{other:?}"),
            },
        )
    }

    pub(crate) fn manifest(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.path(&format!("vault/{name}.json"))).unwrap()).unwrap()
    }

    pub(crate) fn age(&self, name: &str, days: i64) {
        let mut manifest = self.manifest(name);
        let taken: chrono::DateTime<chrono::Utc> = manifest["timestamp"].as_str().unwrap().parse().unwrap();
        manifest["timestamp"] = (taken - chrono::TimeDelta::days(days)).to_rfc3339().into();
        fs::write(self.path(&format!("vault/{name}.json")), manifest.to_string()).unwrap();
    }

    /// Names of the visible files of the vault, but for the records of what happened.
    pub(crate) fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("vault")).map(|entries| entries.flatten().collect::<Vec<_>>());
        let mut names: Vec<String> = entries
            .unwrap_or_default()
            .iter()
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect();
        names.retain(|name| !name.starts_with('.') && !RECORDS.contains(&name.as_str()));
        names.sort();
        names
    }

    /// Files of the vault that only a process that works, or one that has died, has.
    pub(crate) fn unfinished(&self) -> Vec<String> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.path("vault")).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            if name.starts_with('.') && name != ".lock" && name != ".locks" {
                names.push(name);
            }
        }
        names
    }
}
