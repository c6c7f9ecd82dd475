//! The files of a backup of the local stack, and damage that a bad disk would do to them: it leaves no trace in transaction
//! ids, counters or catalogs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::support::World;

const PAGE: usize = 8192;

/// Where a text stands in a row. A page that was pruned may hold the bytes of a row once more, where nothing points at
/// them.
#[track_caller]
pub(crate) fn find_row(bytes: &[u8], text: &str) -> usize {
    let wanted = text.as_bytes();
    let all =
        bytes.windows(wanted.len()).enumerate().filter(|(_, window)| *window == wanted).map(|(at, _)| at);
    let found: Vec<usize> = all.filter(|at| line_pointer(bytes, *at).is_some()).collect();
    assert_eq!(found.len(), 1, "{text} stands in one row of the file");
    found[0]
}

/// The line pointer of the row that the byte at `at` belongs to (PostgreSQL documentation, "Database Page Layout").
fn line_pointer(bytes: &[u8], at: usize) -> Option<usize> {
    let (start, within) = (at / PAGE * PAGE, at % PAGE);
    let page = &bytes[start..start + PAGE];
    let lower = usize::from(u16::from_le_bytes([page[12], page[13]]));
    let holds = |pointer: &usize| {
        let item = u32::from_le_bytes(page[*pointer..pointer + 4].try_into().unwrap());
        let (offset, length) = ((item & 0x7fff) as usize, (item >> 17) as usize);
        (offset..offset + length).contains(&within)
    };
    (24..lower).step_by(4).find(holds).map(|pointer| start + pointer)
}

/// Clears the line pointer of a row: it is gone.
pub(crate) fn lose_row(bytes: &mut [u8], at: usize) {
    let pointer = line_pointer(bytes, at).unwrap();
    bytes[pointer..pointer + 4].fill(0);
}

/// Replaces a text wherever it stands in a file; both are of one length.
pub(crate) fn replace(file: &Path, text: &str, by: &str) {
    assert_eq!(text.len(), by.len());
    let mut bytes = std::fs::read(file).unwrap();
    let wanted = text.as_bytes();
    let found: Vec<usize> = bytes
        .windows(wanted.len())
        .enumerate()
        .filter(|(_, window)| *window == wanted)
        .map(|(at, _)| at)
        .collect();
    assert!(!found.is_empty(), "{text} stands in {}", file.display());
    for at in found {
        bytes[at..at + by.len()].copy_from_slice(by.as_bytes());
    }
    std::fs::write(file, bytes).unwrap();
}

impl World {
    pub(crate) fn backups(&self) -> BTreeSet<PathBuf> {
        let all = std::fs::read_dir(self.path("stack/backups"));
        all.map(|all| all.flatten().map(|entry| entry.path()).collect()).unwrap_or_default()
    }

    /// Takes a snapshot; returns the folder with its files.
    pub(crate) async fn snapshot_files(&self, instance: &str, id: &str) -> PathBuf {
        let known = self.backups();
        self.snapshot(instance, id).await;
        let new: Vec<PathBuf> = self.backups().difference(&known).cloned().collect();
        assert_eq!(new.len(), 1, "one backup was taken");
        new[0].clone()
    }

    /// Runs SQL as the superuser that no customer of RDS has.
    pub(crate) async fn sql_as_superuser(&self, id: &str, database: &str, sql: &str) -> String {
        let answer = self.rds.describe_db_instances().db_instance_identifier(id).send().await.unwrap();
        let port = answer.db_instances()[0].endpoint().unwrap().port().unwrap().to_string();
        let secret = std::fs::read_to_string(self.path("stack/secret")).unwrap();
        let done = Command::new("psql")
            .args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", &port])
            .args(["-U", "rdsadmin", "-d", database, "-c", sql])
            .env("PGPASSWORD", secret.trim())
            .output()
            .await
            .unwrap();
        assert!(done.status.success(), "{sql}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    }
}
