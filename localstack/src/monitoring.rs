//! What the stack knows of CloudWatch and SNS: behind one lock, apart from what it knows of RDS, because it changes every
//! minute by itself.
//!
//! `monitoring.json` is written a second or more after a change, and when the stack stops; `metrics.json` only when it
//! stops. A stack that is killed loses its metrics.

pub(crate) mod alarm;
pub(crate) mod history;
pub(crate) mod metrics;
pub(crate) mod sns_memory;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::atomic_file::{read_json, replace_file};
use crate::monitoring::alarm::Alarm;
use crate::monitoring::history::HistoryItem;
use crate::monitoring::metrics::Metrics;
use crate::monitoring::sns_memory::SnsMemory;

/// What CloudWatch knows in one Region.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Monitor {
    pub(crate) alarms: BTreeMap<String, Alarm>,
    pub(crate) history: Vec<HistoryItem>,
    /// Saved in `metrics.json`.
    #[serde(skip)]
    pub(crate) metrics: Metrics,
    /// Whether metrics arrived since the alarms were last evaluated.
    #[serde(skip)]
    pub(crate) has_new_metrics: bool,
    /// The alarms that changed since then.
    #[serde(skip)]
    pub(crate) changed_alarms: BTreeSet<String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// CloudWatch, by Region.
    pub(crate) monitors: BTreeMap<String, Monitor>,
    /// SNS, and what it delivered.
    #[serde(rename = "post")]
    pub(crate) sns: SnsMemory,
    /// Measurements that the control endpoint overrides, by resource id.
    #[serde(rename = "told")]
    pub(crate) overrides: BTreeMap<String, Overrides>,
    /// Counts the changes of `overrides`.
    #[serde(skip)]
    pub(crate) revision: u64,
}

/// What the control endpoint makes an instance measure.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Overrides {
    /// Storage that something other than the database occupies.
    pub(crate) taken_bytes: f64,
    /// Values by the metric's name.
    pub(crate) metrics: BTreeMap<String, f64>,
}

#[derive(Debug)]
pub(crate) struct Monitoring {
    memory: Mutex<(Memory, bool)>,
    file: PathBuf,
    metrics_file: PathBuf,
}

impl Monitoring {
    pub(crate) fn open(file: PathBuf, metrics_file: PathBuf) -> anyhow::Result<Self> {
        let mut memory: Memory = read_json(&file)?.unwrap_or_default();
        let saved: Option<BTreeMap<String, _>> = read_json(&metrics_file)?;
        for (region, metrics) in saved.into_iter().flatten() {
            memory.monitors.entry(region).or_default().metrics = Metrics::from_saved(metrics);
        }
        Ok(Self { memory: Mutex::new((memory, false)), file, metrics_file })
    }

    pub(crate) fn read<T>(&self, look: impl FnOnce(&Memory) -> T) -> T {
        look(&self.memory.lock().unwrap_or_else(PoisonError::into_inner).0)
    }

    pub(crate) fn change<T>(&self, edit: impl FnOnce(&mut Memory) -> T) -> T {
        let mut guard = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        guard.1 = true;
        edit(&mut guard.0)
    }

    /// Writes changes every second or less often, for as long as the stack runs.
    pub(crate) async fn keep_writing(&self, report_failure: impl Fn(&io::Error)) {
        let mut pause = Duration::from_secs(1);
        loop {
            tokio::time::sleep(pause).await;
            let began = Instant::now();
            if let Err(error) = self.write() {
                report_failure(&error);
            }
            // A large memory is written less often, so that writing takes a small part of the time.
            pause = (began.elapsed() * 20).max(Duration::from_secs(1));
        }
    }

    pub(crate) fn change_monitor<T>(&self, scope: &str, edit: impl FnOnce(&mut Monitor) -> T) -> T {
        self.change(|all| edit(all.monitors.entry(scope.to_owned()).or_default()))
    }

    fn write(&self) -> io::Result<()> {
        let json = {
            let mut guard = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
            if !std::mem::take(&mut guard.1) {
                return Ok(());
            }
            serde_json::to_vec(&guard.0).map_err(io::Error::other)?
        };
        replace_file(&self.file, &json)
    }

    /// Writes everything, metrics included, when the stack stops.
    pub(crate) fn flush(&self) -> io::Result<()> {
        self.write()?;
        let json = self.read(|memory| {
            let metrics =
                memory.monitors.iter().map(|(region, monitor)| (region, monitor.metrics.to_saved()));
            serde_json::to_vec(&metrics.collect::<BTreeMap<_, _>>())
        });
        replace_file(&self.metrics_file, &json.map_err(io::Error::other)?)
    }
}
