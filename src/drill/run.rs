//! Executes a drill: its phases in order, its verdict, and the removal of the throwaway at the end, whatever
//! happened before.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::FutureExt as _;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::begin::begin_report;
use super::context::{Context, Event};
use super::estimate::Earlier;
use super::evidence::{CheckResult, Phase, Report, State, TEAR_DOWN};
use super::journal::Journal;
use super::objectives::age_of_newest_row;
use super::plan::{Afterwards, Plan};
use super::removal::{self, Claim, Remains};
use super::{checks, compare, lease};
use crate::aws::{Failure, Fault, Poll};
use crate::error::{Error, Kind, Result};
use crate::postgres::Server;
use crate::rds::{Instance, ResourceId};
use crate::restore::{Chosen, isolation};
use crate::vault::Lease;
use crate::verify::{Judgement, Origin, Recorded, Verdict, Word, record};
use crate::when::format_span;

/// Runs a drill outside a fleet run, under the lease of its source, which it takes and releases.
pub(crate) async fn run_alone(plan: Plan, cx: &Context<'_>) -> Result<Report> {
    let lease = lease::acquire_lease(&plan.source, plan.request.teardown_poll(), cx).await?;
    let id = plan.source.id.clone();
    let report =
        run_drill(plan, &lease, cx).await.map_err(|error| error.hint(format!("`{id}` was not drilled.")))?;
    lease.release((cx.clock)());
    Ok(report)
}

/// Runs a drill to its end: whatever happens, the throwaway is removed (unless it is to be kept) and the record
/// is written. An error is returned only if nothing was started. The caller holds the lease of the source; a drill that
/// loses it ends, since another process may start one.
pub(crate) async fn run_drill(plan: Plan, lease: &Lease, cx: &Context<'_>) -> Result<Report> {
    lease.require_held()?;
    let journal = Journal::open(cx.vault, plan.source.id.as_str(), plan.run.as_str())?;
    let caller = cx.aws.caller().await.ok();
    let mut report = begin_report(&plan, cx, caller, journal.evidence_paths());
    report.ran_by.lock = journal.lock_mark();
    let source = &plan.source;
    let before = super::journal::newest_records(cx.vault, source.id.as_str(), &source.resource_id.0);
    let earlier =
        Earlier::of_records(before.iter().filter(|before| before.moment.kind == report.moment.kind));
    (cx.tell)(Event::Begun { plan: &plan, earlier: &earlier });
    let started_at = report.started_at;
    journal.record_progress(&mut report, started_at)?;

    let mut drill =
        Drill { plan, cx, journal: &journal, earlier, report, copy: CopyState::default(), phase_begun: None };
    let ended = tokio::select! {
        biased;
        kind = cx.interrupt.wait(1) => Err(Error::new(kind, "the drill was interrupted")),
        reason = wait_for_stop(lease, cx) => Err(reason),
        // Not even a bug may keep the throwaway from being removed.
        ended = AssertUnwindSafe(drill.run_in_time()).catch_unwind() => ended.unwrap_or_else(|_| {
            Err(Error::new(Kind::Bug, "the drill was aborted by a bug in lifeboat"))
        }),
    };
    drill.conclude_verdict(ended);
    drill.tear_down().await;
    drill.remove_group().await;
    drill.end_phase();
    let mut report = drill.report;
    if let Some(kind) = cx.interrupt.first() {
        report.state = if kind == Kind::Terminated { State::Terminated } else { State::Interrupted };
    }
    report.finished_at = Some(cx.now());
    if let Err(error) = journal.close(&mut report) {
        // A drill without evidence proves nothing.
        report.reasons.push(format!("the evidence could not be written: {}", error.chain()));
        report.hints.extend(error.hints().iter().cloned());
        if report.verdict == Verdict::Pass {
            report.verdict = Verdict::Unknown;
        }
    }
    Ok(report)
}

/// A running drill.
pub(super) struct Drill<'a> {
    pub(super) plan: Plan,
    pub(super) cx: &'a Context<'a>,
    journal: &'a Journal<'a>,
    earlier: Earlier,
    report: Report,
    pub(super) copy: CopyState,
    /// When the current phase began, which the report lists last.
    phase_begun: Option<Instant>,
}

/// What is known of the throwaway.
#[derive(Default)]
pub(super) struct CopyState {
    /// The request in flight. It runs as its own task, so that an interrupt does not cancel it and
    /// leave its result unknown.
    pub(super) request: Option<JoinHandle<std::result::Result<Instance, Failure>>>,
    /// Whether a request was sent.
    pub(super) was_requested: bool,
    /// Whether the last answer left open if AWS has begun.
    pub(super) is_unsure: bool,
    resource_id: Option<ResourceId>,
    requested_at: Option<Instant>,
    /// The requested parameter group, as long as it may exist.
    group: Option<String>,
}

impl Drill<'_> {
    /// The drill, ended in time to remove the throwaway before others may.
    async fn run_in_time(&mut self) -> Result<Judgement> {
        let limit = self.plan.request.expires_after.saturating_sub(Duration::from_secs(300));
        match tokio::time::timeout(limit, self.restore_and_prove()).await {
            Ok(ended) => ended,
            Err(_) => Err(Error::outside(format!("the drill had not finished after {}", humantime::format_duration(limit)))
                .hint("Give it more time with `--expires-after`, or compare less with `--depth counts` or `--dbname`.")),
        }
    }

    /// Everything between the first and last write of the record, except the removal.
    async fn restore_and_prove(&mut self) -> Result<Judgement> {
        let (moment, recorded) = match (&self.plan.chosen, &self.plan.recorded) {
            (Chosen::Now { .. }, _) => {
                let (moment, recorded) = self.observe_source_and_wait().await?;
                (Some(moment), Some(Arc::new(recorded)))
            }
            (Chosen::Snapshot(_) | Chosen::Time(_), recorded) => (None, recorded.clone()),
        };
        self.report.baseline_sha256 = recorded.as_ref().map(|kept| kept.0.clone());
        let instance = self.restore_copy(moment).await?;
        let server = self.log_in(&instance).await?;
        self.ensure_at_rest(&server).await?;

        self.begin_phase("observe copy");
        let (only, look) = (self.plan.request.databases.clone(), self.plan.request.look.clone());
        let recorded = recorded.as_deref().map(|(_, kept)| kept);
        let seen = recorded.map(|kept| &kept.seen);
        let copy = compare::observe_copy(&server, &only, &look, seen, self.cx.tell).await?;
        self.report.checks = checks::run_checks(&self.plan.request.checks, &server).await;
        self.measure_freshness(&server).await;
        self.report.rto.measured_seconds = self.copy.requested_at.map(|at| at.elapsed().as_secs_f64());

        self.begin_phase("compare");
        let (source, ties) = (&self.plan.source_server, self.relation_of_copy());
        let mut judgement = match recorded {
            None => compare::judge_live(source, &only, &copy, &ties, self.cx.tell).await?,
            Some(recorded) => {
                let judged = compare::judge_recorded(recorded, source, &only, &copy, &ties, self.cx.tell);
                let mut judgement = judged.await?;
                if ties.is_same_instance && ties.is_same_major {
                    compare::name_rows(&mut judgement, recorded, source, &copy, self.cx.tell).await;
                }
                judgement
            }
        };
        self.begin_phase("check indexes");
        compare::check_indexes(&mut judgement, &copy, &ties.look).await;
        Ok(judgement)
    }

    fn relation_of_copy(&self) -> compare::Ties {
        let major = |version: &str| version.split('.').next().unwrap_or_default().to_owned();
        let (is_same_instance, is_same_major) = match &self.plan.chosen {
            Chosen::Snapshot(snapshot) => (
                snapshot.resource_id.as_ref() == Some(&self.plan.source.resource_id),
                major(&snapshot.engine_version) == major(&self.plan.source.engine_version),
            ),
            Chosen::Time(_) | Chosen::Now { .. } => (true, true),
        };
        compare::Ties {
            is_same_instance,
            is_same_major,
            moment: self.report.moment.time,
            tolerance: self.plan.request.tolerance,
            churning: self.plan.request.churning.clone(),
            look: self.plan.request.look.clone(),
        }
    }

    /// For the time-aligned baseline: the source first, then the wait until its moment can be restored.
    async fn observe_source_and_wait(&mut self) -> Result<(DateTime<Utc>, (String, Recorded))> {
        self.begin_phase("observe source");
        let (only, look) = (&self.plan.request.databases, &self.plan.request.look);
        let mut aligned =
            compare::observe_aligned(&self.plan.source_server, only, look, self.cx.tell).await?;
        let moment = aligned.next_second();
        self.report.moment.time = Some(moment);

        self.begin_phase("wait until restorable");
        let only = &self.plan.request.databases;
        aligned.read_counters_again(aligned.begun_at() + Duration::from_secs(1)).await?;
        let reached = self
            .cx
            .aws
            .watch(&self.plan.source.id, self.poll(), |seen| match seen {
                Ok(Some(source)) => (source.latest_restorable >= Some(moment)).then_some(()),
                Ok(None) | Err(_) => None,
            })
            .await?;
        reached.ok_or_else(|| {
            Error::outside(format!("`{}` could still not be restored to {moment} after {:?}", self.plan.source.id, self.plan.request.wait))
                .hint("RDS uploads transaction logs every five minutes: check the instance's LatestRestorableTime and its events.")
        })?;
        let of = Origin::of_instance(&self.plan.source, &self.plan.source_server, only);
        let recorded = aligned.into_baseline(of, self.now());
        let (seal, document) = recorded.to_sealed_json()?;
        self.cx.vault.write(&record::vault_name(&seal), &document)?;
        Ok((moment, (seal, recorded)))
    }

    /// Requests the throwaway and waits until it can be used.
    async fn restore_copy(&mut self, at: Option<DateTime<Utc>>) -> Result<Instance> {
        self.begin_phase("restore");
        self.isolate_copy().await?;
        let restore = self.plan.restore_request(at);
        self.report.throwaway.requested_at = Some(self.now());
        self.copy.requested_at = Some(Instant::now());
        let begun = self.request_copy(&restore).await?;
        self.copy.resource_id = Some(begun.resource_id.clone());
        self.report.throwaway.resource_id = Some(begun.resource_id.to_string());
        if begun.resource_id == self.plan.source.resource_id {
            return Err(Error::new(Kind::Guard, format!("AWS returned the source itself as `{}`", begun.id)));
        }
        // If this process dies, a sweep recognises the copy by this, whatever its name by then.
        let now = self.now();
        if let Err(error) = self.journal.record_progress(&mut self.report, now) {
            (self.cx.tell)(Event::Warning(&format!(
                "the record of the drill could not be written: {}",
                error.chain()
            )));
        }
        let available = self.wait_until_available(&restore.id).await?;
        self.report.rto.available_seconds = self.copy.requested_at.map(|at| at.elapsed().as_secs_f64());
        Ok(available)
    }

    /// Creates the group that isolates the copy. Where that is not possible, the drill continues without one only
    /// if nothing in the source is known to act.
    async fn isolate_copy(&mut self) -> Result<()> {
        let Some(group) = self.plan.isolation.group_to_create().cloned() else { return Ok(()) };
        self.copy.group = Some(group.name.clone());
        let settling = self.plan.isolation.settling_time(self.poll());
        if !settling.is_zero() {
            (self.cx.tell)(Event::Note(&format!(
                "created parameter group `{}`, which turns off jobs and subscriptions; waiting {} before using it, as AWS advises",
                group.name,
                humantime::format_duration(settling)
            )));
        }
        let note = match isolation::create_group(self.cx.aws, &group, settling).await {
            Ok(note) => note,
            Err(failure) => {
                let source = self.plan.source.id.to_string();
                self.plan.isolation.run_without(&source, &failure.to_string())?;
                self.plan.isolation.notes.last().cloned()
            }
        };
        if let Some(note) = note {
            (self.cx.tell)(Event::Warning(&note));
            if !self.plan.isolation.notes.contains(&note) {
                self.plan.isolation.notes.push(note);
            }
        }
        if let Some(isolated) = &mut self.report.isolation {
            isolated.parameter_group = self.plan.parameter_group();
            isolated.is_made = self.plan.isolation.group_to_create().is_some();
        }
        Ok(())
    }

    /// Verifies that an isolated copy runs nothing that acts.
    async fn ensure_at_rest(&mut self, copy: &Server) -> Result<()> {
        if matches!(self.plan.isolation.way, isolation::Way::Nothing) {
            return Ok(());
        }
        let is_at_rest = isolation::is_at_rest(copy, &self.plan.request.databases).await?;
        if let Some(isolated) = &mut self.report.isolation {
            isolated.is_at_rest = Some(is_at_rest);
        }
        if is_at_rest {
            return Ok(());
        }
        let group = self.plan.parameter_group().unwrap_or_default();
        Err(Error::new(Kind::Guard, format!("the copy did not start with parameter group `{group}`, so its jobs and subscriptions may have run"))
            .hint("Compare the publishers of its subscriptions with their subscribers, and check `aws rds describe-events`."))
    }

    /// The real RPO, if the configuration says how to find the newest row.
    async fn measure_freshness(&mut self, copy: &Server) {
        let Some(freshness) = &self.plan.request.freshness else {
            self.report.not_tested.push("how old the newest row is: no `freshness` is configured".to_owned());
            return;
        };
        let query = format!(
            "select to_char((({})::timestamptz at time zone 'UTC'), 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')",
            freshness.query.trim_end_matches(';')
        );
        let answer = checks::query_value(copy, &freshness.database, &query).await;
        let newest = answer.and_then(|text| match text.as_deref() {
            None => Err("the query returns no row".to_owned()),
            Some(checks::NULL) => {
                Err("the query returns no row, null or infinity, none of which has an age".to_owned())
            }
            Some(text) => {
                text.parse::<DateTime<Utc>>().map_err(|_| format!("the answer `{text}` is not a time"))
            }
        });
        let rpo = &mut self.report.rpo;
        rpo.newest_row = newest.as_ref().ok().copied();
        let (moment, began) = (self.report.moment.time, self.plan.planned_at);
        match newest.and_then(|newest| age_of_newest_row(newest, moment, began)) {
            Ok(age) => rpo.measured_seconds = Some(age),
            Err(reason) => {
                rpo.measured_seconds = None;
                rpo.reason = Some(reason.clone());
                self.report.not_tested.push(format!("how old the newest row is: {reason}"));
            }
        }
    }

    /// Turns the end of the drill into its verdict.
    fn conclude_verdict(&mut self, ended: Result<Judgement>) {
        let report = &mut self.report;
        report.state = State::Finished;
        match ended {
            Ok(judgement) => {
                report.verdict = judgement.verdict;
                report.reasons = judgement.reasons;
                report.tables = judgement.tables;
                report.definitions = judgement.definitions;
                report.not_tested.extend(judgement.not_tested);
                report.not_tested.extend(self.plan.isolation.notes.iter().cloned());
                if report
                    .tables
                    .iter()
                    .any(|table| table.verdict == Word::Unknown && is_refusal(&table.reason))
                {
                    report.hints.push(
                        "Let the user read every table: `grant pg_read_all_data to` it, and for row-level security \
                         `alter role … bypassrls`."
                            .to_owned(),
                    );
                }
                weigh_checks(report);
                report.judge_objectives(self.plan.request.wanted.is_by_hand());
            }
            Err(error) => {
                report.verdict = Verdict::Unknown;
                report.broke_off = Some(error.kind());
                report.reasons.push(error.chain());
                let mut next: Option<&(dyn std::error::Error + 'static)> = Some(&error);
                while let Some(cause) = next {
                    let hints = cause.downcast_ref::<Error>().map(Error::hints).unwrap_or_default();
                    report.hints.extend(hints.iter().cloned());
                    next = cause.source();
                }
            }
        }
    }

    /// What a signal ends, and how long that takes, since the person who pressed Ctrl-C waits for it.
    fn say_what_ends(&self, kind: Kind) -> String {
        let word = if kind == Kind::Terminated { "terminated" } else { "interrupted" };
        if !self.copy.was_requested {
            return format!("{word}: no throwaway was requested yet, so none has to be removed");
        }
        let took = match self.earlier.phase_took(TEAR_DOWN) {
            Some(took) => format!("that took {} in the last drill", format_span(took.as_secs_f64())),
            None => "no earlier drill shows how long that takes".to_owned(),
        };
        format!(
            "{word}: removing throwaway `{}` ({}) before exiting; {took}. Two more signals leave it behind, and it is billed until \
             `lifeboat drill sweep` removes it",
            self.plan.throwaway, self.plan.request.class
        )
    }

    /// Removes the throwaway, or keeps it if that was asked for and the drill was not interrupted.
    async fn tear_down(&mut self) {
        let pending = self.copy.request.take();
        if let Some(kind) = self.cx.interrupt.first() {
            (self.cx.tell)(Event::Note(&self.say_what_ends(kind)));
        }
        if !self.copy.was_requested {
            return;
        }
        self.begin_phase(TEAR_DOWN);
        if let Some(request) = pending {
            match request.await {
                Ok(Ok(instance)) => self.copy.resource_id = Some(instance.resource_id),
                Ok(Err(failure)) => self.copy.is_unsure |= failure.fault == Fault::Unsure,
                Err(_) => self.copy.is_unsure = true,
            }
        }
        let exists = self.copy.resource_id.is_some();
        if self.plan.request.afterwards == Afterwards::Keep && self.report.state == State::Finished && exists
        {
            self.report.throwaway.kept = true;
            return;
        }
        let claim = Claim {
            id: self.plan.throwaway.clone(),
            run: self.plan.run.clone(),
            resource_id: self.copy.resource_id.clone(),
            may_yet_appear: self.copy.is_unsure && !exists,
        };
        let poll = self.plan.request.teardown_poll();
        // One signal ends the drill, and its throwaway with it. Whoever insists is let go.
        let signals = if self.cx.interrupt.first().is_some() { 3 } else { 2 };
        let removed = tokio::select! {
            biased;
            removed = removal::remove_claimed(self.cx.aws, &claim, poll, self.cx.tell) => removed,
            _ = self.cx.interrupt.wait(signals) => Err(Remains {
                known_as: claim.id.clone(),
                error: Error::outside("the removal was interrupted by a signal"),
            }),
        };
        match removed {
            Ok(true) => self.report.throwaway.removed_at = Some(self.now()),
            Ok(false) => {}
            Err(Remains { known_as, error }) => {
                let throwaway = &mut self.report.throwaway;
                throwaway.known_as = Some(known_as.to_string()).filter(|name| *name != throwaway.id);
                throwaway.left_behind = Some(error.chain());
                self.report.hints.extend(error.hints().iter().cloned());
            }
        }
    }

    /// The time by AWS's clock: one of ours that is wrong must not get into the evidence.
    fn now(&self) -> DateTime<Utc> {
        self.cx.now()
    }

    /// Removes the parameter group that was made for the copy, unless the copy is still there and uses it.
    async fn remove_group(&mut self) {
        let Some(name) = self.copy.group.take() else { return };
        let throwaway = &self.report.throwaway;
        if throwaway.kept {
            return;
        }
        let removed = if throwaway.left_behind.is_some() {
            Err("its instance is still there".to_owned())
        } else {
            let poll = self.plan.request.teardown_poll();
            let signals = if self.cx.interrupt.first().is_some() { 3 } else { 2 };
            tokio::select! {
                biased;
                removed = isolation::remove_group(self.cx.aws, &name, poll) => removed.map_err(|error| error.chain()),
                _ = self.cx.interrupt.wait(signals) => Err("its removal was interrupted by a signal".to_owned()),
            }
        };
        let now = self.now();
        if let Some(isolated) = &mut self.report.isolation {
            match removed {
                Ok(()) => isolated.removed_at = Some(now),
                Err(why) => {
                    isolated.left_behind =
                        Some(format!("parameter group `{name}` could not be removed: {why}"));
                }
            }
        }
    }

    pub(super) fn poll(&self) -> Poll {
        Poll { every: self.plan.request.poll, give_up_after: self.plan.request.wait }
    }

    /// Begins a part of the drill, and with that ends the one before.
    pub(super) fn begin_phase(&mut self, name: &'static str) {
        self.end_phase();
        (self.cx.tell)(Event::Phase(name));
        self.report.phases.push(Phase { name: name.to_owned(), started_at: self.now(), seconds: 0.0 });
        self.phase_begun = Some(Instant::now());
    }

    fn end_phase(&mut self) {
        if let (Some(begun), Some(phase)) = (self.phase_begun.take(), self.report.phases.last_mut()) {
            phase.seconds = begun.elapsed().as_secs_f64();
        }
    }
}

/// Waits until the drill must stop, and returns the reason.
async fn wait_for_stop(lease: &Lease, cx: &Context<'_>) -> Error {
    loop {
        if let Some(reason) = lease.require_held().err().or_else(cx.stop) {
            return Error::new(reason.kind(), "the drill was aborted").caused_by(reason);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Whether a table could not be read for want of rights.
fn is_refusal(reason: &str) -> bool {
    reason.contains("permission denied") || reason.contains("row-level security")
}

/// A check that does not hold fails the drill; one that could not be made leaves it unknown at best.
fn weigh_checks(report: &mut Report) {
    let told = |check: &CheckResult| format!("check `{}`: {}", check.name, check.reason);
    for check in report.checks.iter().filter(|check| check.verdict != Verdict::Pass) {
        report.reasons.push(told(check));
        report.verdict = match (report.verdict, check.verdict) {
            (Verdict::Fail, _) | (_, Verdict::Fail) => Verdict::Fail,
            _ => Verdict::Unknown,
        };
    }
}
