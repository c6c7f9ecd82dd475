//! What the stack knows of RDS: one `State` behind a lock that is held only for moments, written to `state.json` whenever
//! it changes.
//!
//! An answer waits until the change that it reports is in the file (`wait_until_saved`), so what a caller was told
//! survives a `kill -9`.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::atomic_file::{read_json, replace_file};
use crate::clock::Jump;
use crate::resources::{
    BaseBackup, Event, EventSubscription, Instance, ParameterGroup, Replicated, Retained, Snapshot,
    SubnetGroup,
};

/// Everything the stack knows of RDS, apart from the databases themselves. Regions are stored by scope.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) regions: BTreeMap<String, Region>,
    /// Base backups by their ids. A snapshot and its copies refer to the same one.
    pub(crate) backups: BTreeMap<String, BaseBackup>,
    pub(crate) jumps: Vec<Jump>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Region {
    pub(crate) instances: BTreeMap<String, Instance>,
    pub(crate) snapshots: BTreeMap<String, Snapshot>,
    /// Automated backups of deleted instances, by the instance's resource id.
    pub(crate) retained: BTreeMap<String, Retained>,
    /// Automated backups that are replicated from other Regions, by the instance's resource id.
    #[serde(default)]
    pub(crate) replicated: BTreeMap<String, Replicated>,
    pub(crate) subnet_groups: BTreeMap<String, SubnetGroup>,
    pub(crate) parameter_groups: BTreeMap<String, ParameterGroup>,
    pub(crate) events: Vec<Event>,
    #[serde(default)]
    pub(crate) subscriptions: BTreeMap<String, EventSubscription>,
}

static NO_REGION: Region = Region {
    instances: BTreeMap::new(),
    snapshots: BTreeMap::new(),
    retained: BTreeMap::new(),
    replicated: BTreeMap::new(),
    subnet_groups: BTreeMap::new(),
    parameter_groups: BTreeMap::new(),
    events: Vec::new(),
    subscriptions: BTreeMap::new(),
};

impl State {
    /// The instance of that resource id, in whichever Region and under whichever name.
    pub(crate) fn instance(&self, resource_id: &str) -> Option<&Instance> {
        self.instances().find(|instance| instance.resource_id == resource_id)
    }

    pub(crate) fn instance_mut(&mut self, resource_id: &str) -> Option<&mut Instance> {
        self.instances_mut().find(|instance| instance.resource_id == resource_id)
    }

    pub(crate) fn instances(&self) -> impl Iterator<Item = &Instance> {
        self.regions.values().flat_map(|region| region.instances.values())
    }

    pub(crate) fn instances_mut(&mut self) -> impl Iterator<Item = &mut Instance> {
        self.regions.values_mut().flat_map(|region| region.instances.values_mut())
    }

    pub(crate) fn snapshots(&self) -> impl Iterator<Item = &Snapshot> {
        self.regions.values().flat_map(|region| region.snapshots.values())
    }

    /// What a Region holds; nothing if nothing was ever created there.
    pub(crate) fn region(&self, scope: &str) -> &Region {
        self.regions.get(scope).unwrap_or(&NO_REGION)
    }

    pub(crate) fn region_mut(&mut self, scope: &str) -> &mut Region {
        self.regions.entry(scope.to_owned()).or_default()
    }

    /// The values of an instance's parameter group.
    pub(crate) fn group_values(&self, instance: &Instance) -> BTreeMap<String, String> {
        let group = self.region(&instance.region).parameter_groups.get(&instance.settings.parameter_group);
        group.map(|group| group.values.clone()).unwrap_or_default()
    }
}

#[derive(Debug)]
pub(crate) struct Store {
    state: Mutex<State>,
    file: PathBuf,
    /// Counts changes.
    changes: watch::Sender<u64>,
    /// How many of them are in the file.
    written: watch::Sender<u64>,
}

impl Store {
    pub(crate) fn open(file: PathBuf) -> anyhow::Result<Self> {
        Ok(Self {
            state: Mutex::new(read_json(&file)?.unwrap_or_default()),
            file,
            changes: watch::Sender::new(0),
            written: watch::Sender::new(0),
        })
    }

    pub(crate) fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn change<T>(&self, edit: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = edit(&mut state);
        // Counted while the state is locked, so that a writer that reads the count first never misses a change.
        self.changes.send_modify(|count| *count += 1);
        outcome
    }

    /// Is notified of every change from now on.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Waits until every change made so far is in the file.
    pub(crate) async fn wait_until_saved(&self) {
        let made = *self.changes.borrow();
        // This fails only when the store is gone, and then nobody waits.
        let _ = self.written.subscribe().wait_for(|written| *written >= made).await;
    }

    /// Writes changes as they come, for as long as the stack runs.
    pub(crate) async fn keep_writing(&self, report_failure: impl Fn(&io::Error)) {
        let mut changes = self.changes.subscribe();
        loop {
            let made = *changes.borrow_and_update();
            if made > *self.written.borrow()
                && let Err(error) = self.write(made)
            {
                report_failure(&error);
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Writes what is not written yet. The file is small and goes to the page cache, so this does not leave the thread.
    pub(crate) fn flush(&self) -> io::Result<()> {
        self.write(*self.changes.borrow())
    }

    fn write(&self, made: u64) -> io::Result<()> {
        let json = self.read(serde_json::to_vec).map_err(io::Error::other)?;
        let outcome = replace_file(&self.file, &json);
        // Counted as written even if writing failed: a full disk must not make every call hang. The failure is
        // reported.
        self.written.send_modify(|written| *written = made.max(*written));
        outcome
    }
}
