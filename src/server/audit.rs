//! The lines of calls in the audit log.
//!
//! What makes, restores or deletes writes its own lines, before and after, and is not done where the first cannot be written
//! (`vault::audit`). Every other call has one line, written by a thread of its own, many at a time: reading a list must not
//! wait for a disk. Of calls that anybody can make, and of those that are refused, only so many have one; the others are counted
//! ([`super::refusals`]).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::refusals::{NOBODY, Refusals, Tally};
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

#[derive(Debug, Serialize)]
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
    /// Calls without a line of their own that this one stands for.
    #[serde(skip_serializing_if = "Option::is_none")]
    more_since: Option<u64>,
    /// How many addresses they came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    addresses: Option<usize>,
    /// How often each status was answered.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    statuses: BTreeMap<u16, u64>,
}

/// Messages to the writing thread.
#[derive(Debug)]
enum WriterMessage {
    Line(Box<Line>),
    /// Write what is known, counts too, and answer.
    Finish(Sender<()>),
}

/// The log.
#[derive(Debug)]
pub(super) struct Audit {
    sender: SyncSender<WriterMessage>,
    refusals: Arc<Refusals>,
    clock: fn() -> DateTime<Utc>,
    /// Lines that could not be written.
    lost: Arc<AtomicU64>,
}

impl Audit {
    pub(super) fn start(vault: &Vault, clock: fn() -> DateTime<Utc>) -> Self {
        let (sender, receiver) = sync_channel(WAITING);
        let (vault, lost) = (vault.clone(), Arc::new(AtomicU64::new(0)));
        let counted = Arc::clone(&lost);
        let refusals = Arc::new(Refusals::default());
        let tallies = Arc::clone(&refusals);
        std::thread::spawn(move || write_all(&vault, &receiver, &tallies, clock, &counted));
        Audit { sender, refusals, clock, lost }
    }

    /// Records how a call ended, unless its own lines do.
    pub(super) fn called(&self, call: &Called, status: StatusCode, began: Instant, is_recorded: bool) {
        let is_probe = ["/healthz", "/readyz", "/assets/"].iter().any(|path| call.what.contains(path));
        if is_recorded || (is_probe && status.is_success()) {
            return;
        }
        let is_anybodys = call.who == NOBODY || status.is_client_error();
        if is_anybodys && !self.refusals.has_own_line(&call.who, call.peer, status.as_u16(), Instant::now()) {
            return;
        }
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
            more_since: None,
            addresses: None,
            statuses: BTreeMap::new(),
        };
        if self.sender.try_send(WriterMessage::Line(Box::new(line))).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Writes what is left, before the process ends.
    pub(super) fn finish(&self) {
        let (answer, answered) = channel();
        if self.sender.try_send(WriterMessage::Finish(answer)).is_ok() {
            let _ = answered.recv_timeout(Duration::from_secs(5));
        }
    }

    /// Lines that could not be written so far.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// How often counts are asked for.
const TICK: Duration = Duration::from_secs(5);

fn write_all(
    vault: &Vault,
    receiver: &Receiver<WriterMessage>,
    refusals: &Refusals,
    clock: fn() -> DateTime<Utc>,
    lost: &AtomicU64,
) {
    let mut is_open = true;
    while is_open {
        let (mut lines, mut finishing) = (Vec::new(), None);
        let mut until = Instant::now() + TICK;
        while lines.len() < 1000 && finishing.is_none() {
            match receiver.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(WriterMessage::Line(line)) => {
                    // Many at a time, but none waits for long.
                    if lines.is_empty() {
                        until = Instant::now() + Duration::from_millis(100);
                    }
                    lines.push(*line);
                }
                Ok(WriterMessage::Finish(answer)) => finishing = Some(answer),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => {
                    is_open = false;
                    break;
                }
            }
        }
        let is_last = finishing.is_some() || !is_open;
        lines.extend(
            refusals.take_tallies(Instant::now(), is_last).into_iter().map(|tally| line_of(tally, clock())),
        );
        let at = lines.first().map_or(DateTime::UNIX_EPOCH, |line| line.at);
        let texts: Vec<String> = lines.iter().filter_map(|line| serde_json::to_string(line).ok()).collect();
        if !texts.is_empty() && vault.append("audit.jsonl", at, texts.join("\n").as_bytes()).is_err() {
            lost.fetch_add(texts.len() as u64, Ordering::Relaxed);
        }
        if let Some(answer) = finishing {
            let _ = answer.send(());
        }
    }
}

/// The line of calls that had none.
fn line_of(tally: Tally, at: DateTime<Utc>) -> Line {
    let most = tally.statuses.iter().max_by_key(|(_, count)| **count).map_or(0, |(status, _)| *status);
    let run = format!("{:016x}", rand::random::<u64>());
    Line {
        schema: "lifeboat.audit/1",
        at,
        run: run.clone(),
        who: tally.who,
        peer: tally.peer,
        trigger: "api",
        what: "more calls".to_owned(),
        name: None,
        result: if most >= 400 { "refused" } else { "done" },
        status: most,
        duration_seconds: 0.0,
        request: run,
        more_since: Some(tally.calls),
        addresses: Some(tally.addresses.len()),
        statuses: tally.statuses,
    }
}
