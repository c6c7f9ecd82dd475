//! The lines of calls in the audit log.
//!
//! What makes, restores or deletes writes its own lines, before and after, and is not done where the first cannot be written
//! (`vault::audit`). Every other call has one line, written by a thread of its own, many at a time: a look at a list must not
//! wait for a disk. Of calls that were refused for a limit there is one line a minute, with the number of the others.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::limits::Limits;
use crate::vault::Vault;

/// Calls that may wait for their line.
const WAITING: usize = 10_000;

/// A call, for the log.
#[derive(Clone, Debug)]
pub(super) struct Called {
    pub(super) who: String,
    pub(super) peer: IpAddr,
    pub(super) request: String,
    pub(super) what: String,
    pub(super) name: Option<String>,
}

#[derive(Serialize)]
struct Line {
    schema: &'static str,
    at: DateTime<Utc>,
    run: String,
    who: String,
    peer: IpAddr,
    trigger: &'static str,
    what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    result: &'static str,
    status: u16,
    duration_seconds: f64,
    request: String,
    /// Refusals of the same kind since the last line.
    #[serde(skip_serializing_if = "Option::is_none")]
    more_since: Option<u64>,
}

/// The log.
#[derive(Debug)]
pub(super) struct Audit {
    sender: SyncSender<Line>,
    limits: Arc<Limits>,
    clock: fn() -> DateTime<Utc>,
    /// Lines that could not be written.
    lost: Arc<AtomicU64>,
}

impl Audit {
    pub(super) fn start(vault: &Vault, limits: Arc<Limits>, clock: fn() -> DateTime<Utc>) -> Self {
        let (sender, receiver) = sync_channel(WAITING);
        let (vault, lost) = (vault.clone(), Arc::new(AtomicU64::new(0)));
        let counted = Arc::clone(&lost);
        std::thread::spawn(move || write_all(&vault, &receiver, &counted));
        Audit { sender, limits, clock, lost }
    }

    /// Notes how a call ended, unless its own lines say that.
    pub(super) fn called(&self, call: &Called, status: StatusCode, began: Instant, is_recorded: bool) {
        let is_probe = ["/healthz", "/readyz", "/assets/"].iter().any(|path| call.what.contains(path));
        if is_recorded || (is_probe && status.is_success()) {
            return;
        }
        let is_refused_often = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::UNAUTHORIZED);
        let key = if call.who == "nobody" { call.peer.to_string() } else { call.who.clone() };
        let more = match is_refused_often {
            false => Some(0),
            true => self.limits.is_remarkable(
                &key,
                status.canonical_reason().unwrap_or("refused"),
                Instant::now(),
            ),
        };
        let Some(more) = more else { return };
        let line = Line {
            schema: "lifeboat.audit/1",
            at: (self.clock)(),
            run: call.request.clone(),
            who: call.who.clone(),
            peer: call.peer,
            trigger: "api",
            what: call.what.clone(),
            name: call.name.clone(),
            result: if status.is_success() || status.is_redirection() { "done" } else { "refused" },
            status: status.as_u16(),
            duration_seconds: began.elapsed().as_secs_f64(),
            request: call.request.clone(),
            more_since: (more > 0).then_some(more),
        };
        if self.sender.try_send(line).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Lines that could not be written so far.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

fn write_all(vault: &Vault, receiver: &Receiver<Line>, lost: &AtomicU64) {
    let mut is_open = true;
    while is_open {
        let mut lines = Vec::new();
        match receiver.recv() {
            Ok(line) => lines.push(line),
            Err(_) => return,
        }
        let until = Instant::now() + Duration::from_millis(100);
        while lines.len() < 1000 {
            match receiver.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => lines.push(line),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => {
                    is_open = false;
                    break;
                }
            }
        }
        let at = lines.first().map_or(DateTime::UNIX_EPOCH, |line| line.at);
        let texts: Vec<String> = lines.iter().filter_map(|line| serde_json::to_string(line).ok()).collect();
        if vault.append("audit.jsonl", at, texts.join("\n").as_bytes()).is_err() {
            lost.fetch_add(texts.len() as u64, Ordering::Relaxed);
        }
    }
}
