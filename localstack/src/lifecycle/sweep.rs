//! Removes files that nothing refers to any more: base backups, archives, and clusters of instances that are gone.

use std::collections::HashSet;
use std::sync::Arc;

use crate::cluster::base_backup::prune_archive;
use crate::cluster::files::{list_names, remove_tree};
use crate::lifecycle::job::Job;
use crate::resources::Origin;
use crate::stack::{Context, report_problem};
use crate::store::State;

/// Removes base backups without a snapshot, and archives without an automated backup.
///
/// A restore under way refers to its source, so deleting that snapshot or instance in the meantime does not remove
/// the files that the restore reads.
pub(super) fn sweep_files(cx: &Arc<Context>) -> anyhow::Result<()> {
    // Listed first: an instance is in the state before its archive is on disk, so an archive that was listed and has
    // no instance has lost it.
    let archives = list_names(&cx.home.archives())?;
    let (backups, archives) = cx.store.change(|state| {
        let wanted = referred_backups(state);
        let unreferenced: Vec<String> =
            state.backups.keys().filter(|id| !wanted.contains(*id)).cloned().collect();
        state.backups.retain(|id, _| wanted.contains(id));
        let wanted = referred_archives(state);
        let archives: Vec<String> = archives.into_iter().filter(|name| !wanted.contains(name)).collect();
        (unreferenced, archives)
    });
    for id in backups {
        remove_tree(&cx.home.backup(&id))?;
    }
    for name in archives {
        remove_tree(&cx.home.archive(&name))?;
    }
    Ok(())
}

/// Sweeps in the background: a base backup can be large.
pub(crate) fn sweep_later(cx: &Arc<Context>) {
    let cx = Arc::clone(cx);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = sweep_files(&cx) {
            report_problem(format_args!("cannot remove what is no longer needed: {error:#}"));
        }
    });
}

/// Sweeps at the start, when no work is under way: also what a killed stack left unfinished.
pub(super) fn sweep_after_start(cx: &Arc<Context>) -> anyhow::Result<()> {
    let (backups, instances) = cx.store.read(|state| {
        let backups: HashSet<String> = state.backups.keys().cloned().collect();
        let instances: HashSet<String> =
            state.instances().map(|instance| instance.resource_id.clone()).collect();
        (backups, instances)
    });
    for id in list_names(&cx.home.backups())? {
        if !backups.contains(&id) {
            remove_tree(&cx.home.backup(&id))?;
        }
    }
    for id in list_names(&cx.home.clusters())? {
        if !instances.contains(&id) {
            remove_tree(&cx.home.cluster(&id).root)?;
        }
    }
    sweep_files(cx)
}

impl Job {
    /// Removes the archived log before the oldest base backup that a recovery may start from. Only the instance's own
    /// actor may call this, so that no backup is being taken at the same time.
    pub(super) fn prune_archive(&self) -> anyhow::Result<()> {
        let oldest = self.cx.store.read(|state| {
            let automated = state.snapshots().filter(|snapshot| snapshot.is_automated_of(&self.resource_id));
            let in_use = state.instances().filter_map(|instance| match &instance.origin {
                Origin::Time { source, backup, .. } if *source == self.resource_id => Some(backup),
                _ => None,
            });
            let backups = automated.filter_map(|snapshot| snapshot.backup.as_ref()).chain(in_use);
            backups.filter_map(|id| Some(state.backups.get(id)?.start_segment.clone())).min()
        });
        Ok(prune_archive(&self.cx.home.archive(&self.resource_id), oldest.as_deref())?)
    }
}

fn referred_backups(state: &State) -> HashSet<String> {
    let snapshots = state.snapshots();
    let asleep = state.instances().filter_map(|instance| instance.asleep.clone());
    let restores = state.instances().filter_map(|instance| match &instance.origin {
        Origin::Snapshot { backup, .. } | Origin::Time { backup, .. } => Some(backup.clone()),
        Origin::New { .. } | Origin::Done => None,
    });
    snapshots.filter_map(|snapshot| snapshot.backup.clone()).chain(restores).chain(asleep).collect()
}

fn referred_archives(state: &State) -> HashSet<String> {
    let existing = state.instances().map(|instance| instance.resource_id.clone());
    let retained = state.regions.values().flat_map(|region| region.retained.keys().cloned());
    let sources = state.instances().filter_map(|instance| match &instance.origin {
        Origin::Time { source, .. } => Some(source.clone()),
        _ => None,
    });
    existing.chain(retained).chain(sources).collect()
}
