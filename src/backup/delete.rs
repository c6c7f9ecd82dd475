//! `backup delete`: one backup, by name.

use super::catalogue::Catalogue;
use super::context::Context;
use super::identity::Identity;
use super::manifest::Manifest;
use super::name::BackupName;
use super::prune::{is_good, remove_backup};
use crate::error::{Error, Kind, Result};
use crate::vault::{Actor, Vault};

/// Whether the last good backup of a database may be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LastCopy {
    /// It is kept, and the deletion refused.
    Keep,
    /// It is deleted like any other.
    Delete,
}

/// Deletes one backup between two lines of the audit log.
pub(crate) async fn run_recorded(
    name: &BackupName,
    catalogue: &Catalogue,
    last_copy: LastCopy,
    actor: &Actor,
    cx: &Context<'_>,
) -> Result<Manifest> {
    let work = async { delete_backup(cx.vault, catalogue, name, last_copy) };
    cx.record_act(actor.act("backup delete", name.as_str()), work).await
}

/// Deletes one backup by hand. What is pinned is refused, and the last good one of a database is guarded.
fn delete_backup(
    vault: &Vault,
    catalogue: &Catalogue,
    name: &BackupName,
    last_copy: LastCopy,
) -> Result<Manifest> {
    let entry =
        catalogue.entries.iter().find(|entry| entry.manifest.backup_name == *name).ok_or_else(|| {
            Error::request(format!("backup `{name}` does not exist"))
                .hint("`lifeboat backup list` lists the backups.")
        })?;
    // Permission to delete the last copy does not unpin it.
    if entry.manifest.keep_forever {
        return Err(Error::new(
            Kind::Guard,
            format!("backup `{name}` was kept: it is marked to be kept forever"),
        )
        .hint(format!("Run `lifeboat backup keep {name} --no-longer` first.")));
    }
    let identity = Identity::of(&entry.manifest);
    let others = catalogue.entries.iter().filter(|other| {
        Identity::of(&other.manifest).is_same_as(&identity)
            && other.manifest.backup_name != *name
            && is_good(other)
    });
    if is_good(entry) && others.count() == 0 && last_copy == LastCopy::Keep {
        return Err(Error::new(
            Kind::Guard,
            format!(
                "backup `{name}` was kept: it is the last good backup of `{}`, {}",
                entry.manifest.source.database,
                identity.distinction()
            ),
        )
        .hint("Make a new backup first, or pass `--allow-last-copy`."));
    }
    remove_backup(vault, &entry.manifest)?;
    Ok(entry.manifest.clone())
}
