//! The memory of CloudWatch and SNS: behind one lock, apart from that of RDS, because it changes by itself all the time.
//!
//! `monitoring.json` is written a second or more after a change, and when the stack stops; metrics only then. A stack that is
//! killed forgets them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, io};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::cloudwatch::{Metrics, Monitor};
use crate::sns::Post;
use crate::state::replace;

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// CloudWatch, by Region.
    pub(crate) monitors: BTreeMap<String, Monitor>,
    /// SNS, and what it delivered.
    pub(crate) post: Post,
    /// What the control endpoint says of instances, by resource id.
    pub(crate) told: BTreeMap<String, Told>,
    /// Counts what the control endpoint said.
    #[serde(skip)]
    pub(crate) revision: u64,
}

/// What an instance is told to measure.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Told {
    pub(crate) taken_bytes: f64,
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
        let read = |file: &PathBuf| match fs::read(file) {
            Ok(json) => Ok(Some(json)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read `{}`", file.display())),
        };
        let strange = |file: &PathBuf| format!("`{}` is not a file of this version", file.display());
        let mut memory = match read(&file)? {
            Some(json) => serde_json::from_slice(&json).with_context(|| strange(&file))?,
            None => Memory::default(),
        };
        if let Some(json) = read(&metrics_file)? {
            let saved: BTreeMap<String, _> =
                serde_json::from_slice(&json).with_context(|| strange(&metrics_file))?;
            for (region, metrics) in saved {
                memory.monitors.entry(region).or_default().metrics = Metrics::loaded(metrics);
            }
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

    /// Writes changes now and then, for as long as the stack runs.
    pub(crate) async fn keep_writing(&self, trouble: impl Fn(&io::Error)) {
        let mut pause = Duration::from_secs(1);
        loop {
            tokio::time::sleep(pause).await;
            let began = Instant::now();
            if let Err(error) = self.write() {
                trouble(&error);
            }
            // A large memory is written less often, so that writing takes a small part of the time.
            pause = (began.elapsed() * 20).max(Duration::from_secs(1));
        }
    }

    fn write(&self) -> io::Result<()> {
        let json = {
            let mut guard = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
            if !std::mem::take(&mut guard.1) {
                return Ok(());
            }
            serde_json::to_vec(&guard.0).map_err(io::Error::other)?
        };
        replace(&self.file, &json)
    }

    /// Writes everything, for a stack that stops.
    pub(crate) fn flush(&self) -> io::Result<()> {
        self.write()?;
        let json = self.read(|memory| {
            let metrics = memory.monitors.iter().map(|(region, monitor)| (region, monitor.metrics.saved()));
            serde_json::to_vec(&metrics.collect::<BTreeMap<_, _>>())
        });
        replace(&self.metrics_file, &json.map_err(io::Error::other)?)
    }
}
