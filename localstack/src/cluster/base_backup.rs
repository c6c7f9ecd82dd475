//! Base backups, and the archived write-ahead log that recovers them to a time.
//!
//! A base backup is complete in itself: the log that makes it consistent is in its own `pg_wal`. To go further, a
//! recovery reads the archive of the instance from which it was taken.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use chrono::{DateTime, Utc};
use tokio_postgres::Client;

use crate::cancel::CancelSignal;
use crate::clock::Clock;
use crate::cluster::files::{Content, copy_tree, list_names, make_room};
use crate::cluster::server::Server;
use crate::home::{ClusterPaths, Home, Owner};
use crate::resources::BaseBackup;

/// The longest time that archiving a segment may take.
const ARCHIVING: Duration = Duration::from_secs(60);

/// Takes a base backup into `directory`.
pub(crate) async fn take_base_backup(
    home: &Home,
    server: &Server,
    resource_id: &str,
    directory: &Path,
    cancel: &CancelSignal,
) -> anyhow::Result<BaseBackup> {
    let paths = home.cluster(resource_id);
    make_room(directory)?;
    // Start and stop must use the same session: the backup ends with it.
    let client = server.connect("postgres").await.context("cannot connect to take a base backup")?;
    let is_old = server_major(&client).await? < 15;
    let start = if is_old {
        "select pg_start_backup($1, true, false)::text"
    } else {
        "select pg_backup_start($1, true)::text"
    };
    client.query_one(start, &[&"lifeboat-localstack"]).await.context("cannot begin a base backup")?;
    copy_cluster(paths.data.clone(), directory.to_owned(), Content::BaseBackup, home.owner, cancel).await?;
    let complete_until = Clock::machine_now();
    let stop = if is_old { "pg_stop_backup(false, false)" } else { "pg_backup_stop(false)" };
    // `- 1`: the last byte of the backup, since a position on a segment's boundary names different segments in
    // different versions.
    let end = client
        .query_one(&format!("select pg_walfile_name(lsn - 1), labelfile from {stop}"), &[])
        .await
        .context("cannot end a base backup")?;
    let consistent_at = Clock::machine_now();
    let (stop_segment, label): (String, String) = (end.try_get(0)?, end.try_get(1)?);
    let start_segment = segment_in_label(&label).context("the backup label names no start segment")?;
    let label_file = directory.join("backup_label");
    fs::write(&label_file, &label)?;
    home.give_to_owner(&label_file)?;
    let archive = home.archive(resource_id);
    wait_for_segment(&archive, &stop_segment, cancel).await?;
    for segment in list_names(&archive)? {
        if is_segment(&segment) && start_segment <= segment && segment <= stop_segment {
            let target = directory.join("pg_wal").join(&segment);
            fs::copy(archive.join(&segment), &target)?;
            home.give_to_owner(&target)?;
        }
    }
    Ok(BaseBackup { resource_id: resource_id.to_owned(), start_segment, complete_until, consistent_at })
}

/// Copies a base backup to where a server can start on it.
pub(crate) async fn lay_out_base_backup(
    home: &Home,
    backup: &Path,
    paths: &ClusterPaths,
    cancel: &CancelSignal,
) -> anyhow::Result<()> {
    make_room(&paths.data)?;
    copy_cluster(backup.to_owned(), paths.data.clone(), Content::Everything, home.owner, cancel).await
}

/// Makes the server recover from the archive when it starts.
pub(crate) fn request_recovery(home: &Home, paths: &ClusterPaths) -> io::Result<()> {
    home.write_private(&paths.data.join("recovery.signal"), "")
}

/// Makes sure that everything committed so far is in the archive, followed by a commit: a recovery to a point in time
/// fails unless it sees a later one. Returns the machine's time up to which the archive is then complete.
pub(crate) async fn archive_everything(
    home: &Home,
    server: &Server,
    resource_id: &str,
    cancel: &CancelSignal,
) -> anyhow::Result<DateTime<Utc>> {
    let until = Clock::machine_now();
    let client = server.connect("postgres").await.context("cannot connect to the source of a recovery")?;
    // This is a transaction of its own, and thus a commit: an idle database has no other.
    client.query_one("select pg_current_xact_id()::text", &[]).await?;
    let segment: String =
        client.query_one("select pg_walfile_name(pg_switch_wal() - 1)", &[]).await?.try_get(0)?;
    wait_for_segment(&home.archive(resource_id), &segment, cancel).await?;
    Ok(until)
}

/// Removes archived segments before `oldest`, or all segments if nothing needs them.
pub(crate) fn prune_archive(archive: &Path, oldest: Option<&str>) -> io::Result<()> {
    for name in list_names(archive)? {
        let is_needed = !is_segment(&name) || oldest.is_some_and(|oldest| name.as_str() >= oldest);
        if !is_needed {
            fs::remove_file(archive.join(name))?;
        }
    }
    Ok(())
}

/// Copies a cluster without blocking the runtime's threads.
pub(crate) async fn copy_cluster(
    from: std::path::PathBuf,
    to: std::path::PathBuf,
    content: Content,
    owner: Option<Owner>,
    cancel: &CancelSignal,
) -> anyhow::Result<()> {
    let cancel = cancel.clone();
    let from_shown = from.display().to_string();
    tokio::task::spawn_blocking(move || copy_tree(&from, &to, content, owner, &cancel))
        .await
        .context("the task that copied was lost")?
        .with_context(|| format!("cannot copy `{from_shown}`"))
}

async fn server_major(client: &Client) -> anyhow::Result<i32> {
    let number: i32 =
        client.query_one("select current_setting('server_version_num')::int", &[]).await?.try_get(0)?;
    Ok(number / 10_000)
}

async fn wait_for_segment(archive: &Path, segment: &str, cancel: &CancelSignal) -> anyhow::Result<()> {
    let file = archive.join(segment);
    let deadline = tokio::time::Instant::now() + ARCHIVING;
    while !file.exists() {
        if cancel.is_set() {
            bail!("no longer wanted");
        }
        if tokio::time::Instant::now() > deadline {
            bail!("segment {segment} was not archived within {} s", ARCHIVING.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// The first segment that a backup needs: `START WAL LOCATION: 0/2000028 (file 000000010000000000000020)`.
fn segment_in_label(label: &str) -> Option<String> {
    let line = label.lines().find(|line| line.starts_with("START WAL LOCATION"))?;
    let segment = line.split("(file ").nth(1)?.trim_end_matches(')');
    is_segment(segment).then(|| segment.to_owned())
}

fn is_segment(name: &str) -> bool {
    name.len() == 24 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_names_its_first_segment() {
        let label =
            "START WAL LOCATION: 0/300028 (file 000000010000000000000003)\nCHECKPOINT LOCATION: 0/300060\n";
        assert_eq!(segment_in_label(label).unwrap(), "000000010000000000000003");
        assert_eq!(segment_in_label("nothing"), None);
    }

    #[test]
    fn pruning_keeps_what_is_needed_and_what_is_no_segment() {
        let archive = tempfile::tempdir().unwrap();
        let file = |n: u32| format!("0000000100000000{n:08X}");
        for n in 1..=4 {
            fs::write(archive.path().join(file(n)), "").unwrap();
        }
        fs::write(archive.path().join("00000002.history"), "").unwrap();
        prune_archive(archive.path(), Some(&file(3))).unwrap();
        let mut left = list_names(archive.path()).unwrap();
        left.sort();
        assert_eq!(left, [file(3), file(4), "00000002.history".to_owned()]);
        prune_archive(archive.path(), None).unwrap();
        assert_eq!(list_names(archive.path()).unwrap(), ["00000002.history"]);
    }
}
