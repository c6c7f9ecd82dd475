//! Jobs: backups, restores and proofs that run whether or not somebody waits for them.
//!
//! A job has a record in the vault, `jobs/<id>.json`, from before anything is done. Its server holds a lock, which the kernel
//! releases when the process dies, however it dies: whoever starts next on this vault finds the records that say *running*
//! under a free lock, and marks them *interrupted*. Each job runs on a thread of its own, off those that answer calls.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;

use super::answers::Answer;
use super::endpoints::Act;
use super::setup::Setup;
use crate::backup::Event;
use crate::error::{Error, Kind, Result};
use crate::vault::{Lock, Vault};

const FOLDER: &str = "jobs";
/// How many are remembered.
const MOST: usize = 200;

/// What a job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Task {
    Create,
    Restore,
    Verify,
}

impl Task {
    /// The endpoint that asks for it.
    pub(super) fn act(self) -> Act {
        match self {
            Task::Create => Act::Create,
            Task::Restore => Act::Restore,
            Task::Verify => Act::Verify,
        }
    }
}

/// The phase it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    Running,
    Succeeded,
    Failed,
    Interrupted,
}

/// The record of a job (`lifeboat.job/1`).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Job {
    pub(super) schema: String,
    pub(super) job: String,
    pub(super) task: Task,
    pub(super) state: State,
    pub(super) backup_name: Option<String>,
    pub(super) database: Option<String>,
    /// Distinguishes it from others of the same name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) identity: Option<String>,
    pub(super) who: String,
    pub(super) request_id: String,
    pub(super) started_at: DateTime<Utc>,
    pub(super) finished_at: Option<DateTime<Utc>>,
    pub(super) phase: Option<String>,
    /// Bytes of content that have passed in this phase.
    pub(super) bytes: u64,
    /// The status and the body that the call was answered with.
    pub(super) status: Option<u16>,
    pub(super) result: Option<Value>,
    /// The server that runs it, by its lock.
    server: String,
    pid: u32,
    host: String,
    /// SHA-256 of who asked, what, and the `Idempotency-Key`.
    key: Option<String>,
    /// SHA-256 of what was asked.
    asked: String,
}

/// A job to be started.
#[derive(Debug)]
pub(super) struct JobRequest {
    pub(super) task: Task,
    /// What no other job may use at the same time.
    pub(super) lane: String,
    pub(super) name: Option<String>,
    pub(super) database: Option<String>,
    pub(super) identity: Option<String>,
    pub(super) who: String,
    pub(super) request: String,
    pub(super) key: Option<String>,
    pub(super) asked: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Begun,
    Recorded,
    Ended,
}

/// A job of this process, or one that is remembered.
#[derive(Debug)]
pub(super) struct LiveJob {
    record: Mutex<Job>,
    bytes: AtomicU64,
    stage: watch::Sender<Stage>,
}

impl LiveJob {
    fn new(record: Job, stage: Stage) -> Arc<Self> {
        let bytes = AtomicU64::new(record.bytes);
        Arc::new(LiveJob { record: Mutex::new(record), bytes, stage: watch::Sender::new(stage) })
    }

    fn change(&self, change: impl FnOnce(&mut Job)) -> Job {
        let mut record = self.record.lock();
        record.bytes = self.bytes.load(Ordering::Relaxed);
        change(&mut record);
        record.clone()
    }

    /// How it stands.
    pub(super) fn shown(&self) -> Job {
        self.change(|_| {})
    }

    /// What happens in it.
    pub(super) fn tell(&self, event: Event<'_>) {
        match event {
            Event::Phase(phase) => {
                self.bytes.store(0, Ordering::Relaxed);
                self.change(|job| job.phase = Some(phase.to_owned()));
            }
            Event::Bytes(bytes) => self.bytes.store(bytes, Ordering::Relaxed),
            Event::Note(_) => {}
            Event::Warning(text) => tracing::warn!("{text}"),
        }
    }

    /// Waits until its record is in the vault, or it is over.
    pub(super) async fn recorded(&self) {
        // The sender lives as long as this does.
        let _ = self.stage.subscribe().wait_for(|stage| *stage >= Stage::Recorded).await;
    }

    /// Waits until it has ended, and returns its answer.
    pub(super) async fn ended(&self) -> Answer {
        let _ = self.stage.subscribe().wait_for(|stage| *stage == Stage::Ended).await;
        self.answer()
    }

    /// Its answer; for an interrupted job, a refusal.
    pub(super) fn answer(&self) -> Answer {
        let job = self.shown();
        let status = job.status.and_then(|status| StatusCode::from_u16(status).ok());
        match (status, &job.result) {
            (Some(status), Some(body)) => Answer::new(status, body.clone()),
            _ => interrupted(&job),
        }
    }
}

fn interrupted(job: &Job) -> Answer {
    Answer::refusal(StatusCode::SERVICE_UNAVAILABLE, "the server was stopped before the job was done")
        .named(job.backup_name.as_deref())
        .field("job", job.job.as_str())
        .hint("No partial result was left. Send the request again.")
}

/// The jobs of a vault.
#[derive(Debug)]
pub(super) struct Jobs {
    setup: Arc<Setup>,
    server: String,
    _alive: Lock,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Newest first.
    jobs: VecDeque<Arc<LiveJob>>,
    /// What is in use, by which job.
    lanes: BTreeMap<String, String>,
}

impl Jobs {
    /// Reads the records in the vault; those of dead servers become *interrupted*. Returns how many.
    pub(super) fn open(setup: &Arc<Setup>) -> Result<(Self, usize)> {
        let (vault, now) = (&setup.vault, (setup.clock)());
        let server = format!("{:016x}", rand::random::<u64>());
        let alive = vault
            .try_lock(&lock_of(&server))?
            .ok_or_else(|| Error::new(Kind::Bug, "a lock that was just made is held"))?;
        let mut records = read(vault)?;
        let mut found = 0;
        let running: Vec<usize> =
            (0..records.len()).filter(|at| records[*at].state == State::Running).collect();
        let mut of_dead: BTreeMap<String, bool> = BTreeMap::new();
        for at in running {
            let of = records[at].server.clone();
            let is_plain = of.len() == 16 && of.bytes().all(|byte| byte.is_ascii_hexdigit());
            let is_dead = match of_dead.get(&of) {
                Some(known) => *known,
                None => !is_plain || vault.try_lock(&lock_of(&of))?.is_some(),
            };
            of_dead.insert(of, is_dead);
            if is_dead {
                records[at].state = State::Interrupted;
                records[at].finished_at = Some(now);
                save(vault, &records[at])?;
                found += 1;
            }
        }
        // Nobody waits for the lock of a dead server: it is only tested here.
        for of in of_dead.iter().filter(|(_, is_dead)| **is_dead).map(|(of, _)| of) {
            if vault.contains(&lock_of(of)).unwrap_or(false) {
                vault.forget(&lock_of(of))?;
            }
        }
        let jobs = records.into_iter().map(|record| LiveJob::new(record, Stage::Ended)).collect();
        let inner = Mutex::new(Inner { jobs, lanes: BTreeMap::new() });
        Ok((Jobs { setup: Arc::clone(setup), server, _alive: alive, inner }, found))
    }

    /// Newest first.
    pub(super) fn list(&self) -> Vec<Job> {
        let inner = self.inner.lock();
        inner.jobs.iter().map(|job| job.shown()).collect()
    }

    pub(super) fn find(&self, id: &str) -> Option<Arc<LiveJob>> {
        let inner = self.inner.lock();
        inner.jobs.iter().find(|live| live.shown().job == id).cloned()
    }

    /// The job that was requested with the same key, and whether the request was the same. One that failed or was interrupted
    /// does not count: the same request again is a retry.
    pub(super) fn with_key(&self, key: &str, asked: &str) -> Option<(Arc<LiveJob>, bool)> {
        let inner = self.inner.lock();
        let live = inner.jobs.iter().find(|live| {
            let job = live.shown();
            job.key.as_deref() == Some(key) && matches!(job.state, State::Running | State::Succeeded)
        })?;
        Some((Arc::clone(live), live.shown().asked == asked))
    }

    /// How many are running.
    pub(super) fn running(&self) -> usize {
        let inner = self.inner.lock();
        inner.lanes.len()
    }

    fn enter(&self, job: &Job, lane: &str) -> std::result::Result<Arc<LiveJob>, String> {
        let mut inner = self.inner.lock();
        if let Some(other) = inner.lanes.get(lane) {
            return Err(other.clone());
        }
        inner.lanes.insert(lane.to_owned(), job.job.clone());
        let live = LiveJob::new(job.clone(), Stage::Begun);
        inner.jobs.push_front(Arc::clone(&live));
        inner.jobs.truncate(MOST);
        Ok(live)
    }

    fn leave(&self, lane: &str) {
        self.inner.lock().lanes.remove(lane);
    }

    fn withdraw(&self, job: &str, lane: &str) {
        let mut inner = self.inner.lock();
        inner.lanes.remove(lane);
        inner.jobs.retain(|live| live.shown().job != job);
    }
}

/// Why a job was not started.
#[derive(Debug)]
pub(super) enum Refused {
    /// Another job is using it.
    Busy(String),
    /// Refused by `admit`.
    Not(Answer),
}

impl Jobs {
    /// Starts a job, unless another is using the same or `admit` refuses.
    pub(super) fn begin(
        self: &Arc<Self>,
        order: JobRequest,
        admit: impl FnOnce() -> std::result::Result<Instant, Answer>,
        work: impl FnOnce(&LiveJob, Instant) -> Answer + Send + 'static,
    ) -> std::result::Result<Arc<LiveJob>, Refused> {
        let now = (self.setup.clock)();
        let job = Job {
            schema: "lifeboat.job/1".to_owned(),
            job: format!("{}-{:08x}", now.format("%Y%m%dt%H%M%Sz"), rand::random::<u32>()),
            task: order.task,
            state: State::Running,
            backup_name: order.name,
            database: order.database,
            identity: order.identity,
            who: order.who,
            request_id: order.request,
            started_at: now,
            finished_at: None,
            phase: None,
            bytes: 0,
            status: None,
            result: None,
            server: self.server.clone(),
            pid: std::process::id(),
            host: self.setup.host.clone(),
            key: order.key,
            asked: order.asked,
        };
        let live = self.enter(&job, &order.lane).map_err(Refused::Busy)?;
        let taken = match admit() {
            Ok(taken) => taken,
            Err(answer) => {
                self.withdraw(&job.job, &order.lane);
                return Err(Refused::Not(answer));
            }
        };
        let (jobs, doing, lane) = (Arc::clone(self), Arc::clone(&live), order.lane);
        tokio::task::spawn_blocking(move || {
            let answer = match save(&jobs.setup.vault, &job) {
                Err(error) => Answer::of(&error),
                Ok(()) => {
                    doing.stage.send_replace(Stage::Recorded);
                    catch_unwind(AssertUnwindSafe(|| work(&doing, taken))).unwrap_or_else(|_| {
                        Answer::refusal(
                            StatusCode::INTERNAL_SERVER_ERROR,
                            "the job failed because of a bug in lifeboat",
                        )
                    })
                }
            };
            jobs.close(&doing, answer);
            jobs.leave(&lane);
            doing.stage.send_replace(Stage::Ended);
        });
        Ok(live)
    }

    /// Records how a job ended.
    fn close(&self, live: &LiveJob, answer: Answer) {
        let now = (self.setup.clock)();
        let ended = live.change(|job| {
            job.finished_at = Some(now);
            job.state = match answer.status {
                status if status.is_success() => State::Succeeded,
                _ if self.setup.interrupt.first().is_some() => State::Interrupted,
                _ => State::Failed,
            };
            let name = answer.body["backup_name"].as_str().map(str::to_owned);
            job.backup_name = name.or_else(|| job.backup_name.take());
            job.phase = None;
            job.status = Some(answer.status.as_u16());
            let answer = answer.named(job.backup_name.as_deref()).field("job", job.job.as_str()).at(now);
            job.result = Some(answer.field("request_id", job.request_id.as_str()).body);
        });
        // The backup is made or it is not, whatever becomes of this record: the next start finds it and calls it interrupted.
        let kept = save(&self.setup.vault, &ended).and_then(|()| forget_old(&self.setup.vault));
        if let Err(error) = kept {
            tracing::warn!("the end of job `{}` was not recorded: {}", ended.job, error.chain());
        }
    }
}

fn lock_of(server: &str) -> String {
    format!(".locks/serve-{server}")
}

fn save(vault: &Vault, job: &Job) -> Result<()> {
    let text = serde_json::to_vec_pretty(job)
        .map_err(|error| Error::new(Kind::Bug, "a job cannot be written").caused_by(error))?;
    vault.write(&format!("{FOLDER}/{}.json", job.job), &text)
}

/// Newest first. Records that cannot be read are skipped.
fn read(vault: &Vault) -> Result<Vec<Job>> {
    let files = vault.list(FOLDER)?.files;
    let names = files.iter().rev().filter(|file| file.name.ends_with(".json")).take(MOST);
    let names: Vec<String> = names.map(|file| format!("{FOLDER}/{}", file.name)).collect();
    let texts = vault.read_all(&names)?.into_iter().filter_map(|text| text.ok().flatten());
    Ok(texts.filter_map(|text| serde_json::from_slice(&text).ok()).collect())
}

/// Names begin with the time, so that the first ones are the oldest.
fn forget_old(vault: &Vault) -> Result<()> {
    let files = vault.list(FOLDER)?.files;
    let surplus = files.len().saturating_sub(MOST);
    files.iter().take(surplus).try_for_each(|file| vault.forget(&format!("{FOLDER}/{}", file.name)))
}
