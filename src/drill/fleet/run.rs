//! Executes a fleet run: several drills at once, each on its own thread, so that a slow vault or a slow database
//! keeps none of the others from removing its throwaway.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use tokio::task::JoinSet;

use super::ceiling::{self, Hours};
use super::journal;
use super::plan::{Plan, Todo, why_not_due};
use super::record::{Fleet, Outcome, Progress, Row};
use super::{Ceilings, due};
use crate::aws::Aws;
use crate::drill::lease;
use crate::drill::{self, Context, Event, Report};
use crate::error::{Error, Kind, Result};
use crate::interrupt::Interrupt;
use crate::postgres::Server;
use crate::rds::Instance;
use crate::vault::{Leased, Theirs, Vault};

/// How long until a database that was turned away is tried again.
const AGAIN: Duration = Duration::from_secs(2);

/// Called with the events of the drill of a source.
type Tell = Box<dyn Fn(&str, Event<'_>) + Send + Sync>;

/// Called with the outcome of a database, and its drill if there was one.
type OnOutcome = Box<dyn Fn(&Row, Option<&Report>) + Send + Sync>;

/// The context of a fleet run.
pub(crate) struct FleetContext<C> {
    /// Where the records are kept.
    pub vault: Vault,
    /// Signals.
    pub interrupt: Interrupt,
    /// How a source is reached.
    pub connect: C,
    /// Where the events of each drill go, by the name of its source.
    pub tell: Tell,
    /// Called whenever the outcome of a database is known.
    pub on_outcome: OnOutcome,
    pub clock: fn() -> DateTime<Utc>,
    /// Host name.
    pub host: String,
}

/// How a turn of a database ended.
enum End {
    Drilled(Box<Report>),
    /// Another process of this fleet run has drilled it.
    DoneByOthers(Box<Report>),
    /// Another process has proven it since.
    Proven(String),
    /// Another process drills it.
    Held(Theirs),
    /// There is no room for its throwaway.
    Full(String),
    /// It could not be drilled.
    Refused(Error),
}

/// A database that waits for its turn.
struct Turn {
    todo: Arc<Todo>,
    not_before: Instant,
    /// Since when there was no room for it, and why.
    full: Option<(Instant, String)>,
    held: Option<Theirs>,
}

/// Runs the drills of a plan to their end. Whatever happens to one, the others continue; a signal ends all of them, with their
/// throwaways removed and their leases let go.
pub(crate) async fn run_fleet<C>(plan: Plan, cx: Arc<FleetContext<C>>) -> Result<Fleet>
where
    C: AsyncFn(&Aws, &Instance) -> Result<Server> + Send + Sync + 'static,
{
    let Plan { record, todo, .. } = plan;
    let used = record.databases.iter().map(|row| row.throwaway_seconds).sum();
    let hours = Arc::new(Hours::new(record.ceilings.max_hours, used));
    let now = Instant::now();
    let waiting = todo
        .into_iter()
        .map(|todo| Turn { todo: Arc::new(todo), not_before: now, full: None, held: None })
        .collect();
    let mut run = Run { record, waiting, cx, hours };
    run.write_record();
    run.run_all().await;
    run.close_run();
    Ok(run.record)
}

struct Run<C> {
    record: Fleet,
    waiting: VecDeque<Turn>,
    cx: Arc<FleetContext<C>>,
    hours: Arc<Hours>,
}

impl<C> Run<C>
where
    C: AsyncFn(&Aws, &Instance) -> Result<Server> + Send + Sync + 'static,
{
    async fn run_all(&mut self) {
        let mut under_way: JoinSet<(Turn, End)> = JoinSet::new();
        loop {
            let is_ending = self.cx.interrupt.first().is_some() || self.hours.limit_reached().is_some();
            while !is_ending && under_way.len() < self.record.ceilings.concurrency {
                let now = Instant::now();
                let Some(next) = self.waiting.iter().position(|turn| turn.not_before <= now) else { break };
                let Some(turn) = self.waiting.remove(next) else { break };
                self.begin_turn(turn, &mut under_way);
            }
            if under_way.is_empty() && (is_ending || self.waiting.is_empty() || self.give_up_on_held()) {
                return;
            }
            tokio::select! {
                Some(ended) = under_way.join_next(), if !under_way.is_empty() => {
                    if let Ok((turn, end)) = ended {
                        self.end_turn(turn, end);
                    }
                }
                _ = self.cx.interrupt.wait(1), if self.cx.interrupt.first().is_none() => {}
                () = tokio::time::sleep(Duration::from_millis(250)) => {}
            }
        }
    }

    fn begin_turn(&self, turn: Turn, under_way: &mut JoinSet<(Turn, End)>) {
        let (cx, hours) = (Arc::clone(&self.cx), Arc::clone(&self.hours));
        let fleet_run = FleetRun {
            fleet: self.record.fleet.clone(),
            started_at: self.record.started_at,
            ceilings: self.record.ceilings,
            selection: self.record.selection.clone(),
        };
        let runtime = tokio::runtime::Handle::current();
        under_way.spawn_blocking(move || {
            let todo = Arc::clone(&turn.todo);
            let drilled = AssertUnwindSafe(|| runtime.block_on(drill_one(&todo, &fleet_run, &cx, &hours)));
            let end = std::panic::catch_unwind(drilled)
                .unwrap_or_else(|_| Err(Error::new(Kind::Bug, "the drill was aborted by a bug in lifeboat")));
            hours.stop_counting(&todo.source.resource_id.0);
            (turn, end.unwrap_or_else(End::Refused))
        });
    }

    fn end_turn(&mut self, mut turn: Turn, end: End) {
        let row = turn.todo.pending_row();
        let settled = match end {
            End::Drilled(report) => {
                let row = row.with_drill(&report);
                (self.cx.on_outcome)(&row, Some(&report));
                self.record_row(row);
                return;
            }
            End::DoneByOthers(report) => row.with_drill(&report),
            End::Proven(reason) => row.with_outcome(Outcome::NotDue, reason),
            End::Refused(error) if matches!(error.kind(), Kind::Interrupted | Kind::Terminated) => {
                row.with_outcome(Outcome::Pending, error.chain())
            }
            End::Refused(error) => row.with_refusal(&error),
            End::Held(theirs) => {
                (turn.held, turn.not_before) = (Some(theirs), Instant::now() + AGAIN);
                self.waiting.push_back(turn);
                return;
            }
            End::Full(reason) => {
                let since = turn.full.take().map_or_else(Instant::now, |(since, _)| since);
                if since.elapsed() < turn.todo.request.wait {
                    turn.full = Some((since, reason));
                    turn.not_before = Instant::now() + AGAIN.max(turn.todo.request.poll);
                    self.waiting.push_front(turn);
                    return;
                }
                row.with_outcome(Outcome::Pending, reason)
            }
        };
        (self.cx.on_outcome)(&settled, None);
        self.record_row(settled);
    }

    /// When nothing is left but what living processes of others hold, there is nothing to wait for. Those of this fleet run
    /// are waited for: their drills are ours.
    fn give_up_on_held(&mut self) -> bool {
        let is_of_others = |turn: &Turn| {
            turn.held.as_ref().is_some_and(|theirs| {
                let fleet = theirs.holder.as_ref().and_then(|holder| holder.fleet.as_ref());
                theirs.is_alive && fleet != Some(&self.record.fleet)
            })
        };
        if !self.waiting.iter().all(is_of_others) {
            return false;
        }
        for turn in std::mem::take(&mut self.waiting) {
            let row = turn.todo.pending_row();
            let Some(theirs) = &turn.held else { continue };
            let error = lease::lease_held_error(&turn.todo.source, theirs);
            let row = Row { hints: error.hints().to_vec(), ..row.with_outcome(Outcome::Held, error.chain()) };
            (self.cx.on_outcome)(&row, None);
            self.record_row(row);
        }
        true
    }

    fn record_row(&mut self, row: Row) {
        self.replace_row(row);
        self.record.recount();
        self.write_record();
    }

    fn replace_row(&mut self, row: Row) {
        match self.record.databases.iter_mut().find(|known| known.resource_id == row.resource_id) {
            Some(known) => *known = row,
            None => self.record.databases.push(row),
        }
    }

    /// The evidence of the drills is what counts: a failure to write this record does not stop them.
    fn write_record(&self) {
        if let Err(error) = journal::write_shard(&self.cx.vault, &self.record) {
            (self.cx.tell)(&self.record.fleet, Event::Warning(&error.chain()));
        }
    }

    fn close_run(&mut self) {
        let ceiling = self.hours.limit_reached().map(|error| error.chain());
        for turn in std::mem::take(&mut self.waiting) {
            let full = turn.full.map(|(_, reason)| reason);
            let reason = ceiling.clone().or(full).unwrap_or("the run ended before its turn".to_owned());
            self.replace_row(turn.todo.pending_row().with_outcome(Outcome::Pending, reason));
        }
        self.record.recount();
        self.record.finished_at = Some((self.cx.clock)());
        self.record.state = match (self.cx.interrupt.first(), self.record.without_verdict()) {
            (Some(_), _) => Progress::Interrupted,
            (None, 0) => Progress::Finished,
            (None, _) => Progress::Partial,
        };
        self.write_record();
    }
}

/// Adds what a drill must know about the fleet run.
struct FleetRun {
    fleet: String,
    started_at: DateTime<Utc>,
    ceilings: Ceilings,
    selection: super::Selection,
}

/// The turn of one database.
async fn drill_one<C>(todo: &Todo, fleet_run: &FleetRun, cx: &FleetContext<C>, hours: &Hours) -> Result<End>
where
    C: AsyncFn(&Aws, &Instance) -> Result<Server> + Sync,
{
    let (source, aws, vault, request) = (&todo.source, &todo.aws, &cx.vault, &todo.request);
    let (id, now) = (source.id.as_str(), (cx.clock)());
    let most = fleet_run.ceilings.max_instances;
    let _slot = match most {
        None => None,
        Some(most) => {
            let account = source.arn.split(':').nth(4).unwrap_or_default();
            let place = format!("{account}-{}", aws.region());
            let taker = || ceiling::slot_holder(&cx.host, id, &fleet_run.fleet, now);
            match ceiling::acquire_slot(vault, &place, most, taker)? {
                Some(slot) => Some(slot),
                None => return Ok(End::Full(format!("{most} throwaways exist, and no more are allowed"))),
            }
        }
    };
    let lease = match lease::try_acquire_lease(vault, source, &cx.host, Some(&fleet_run.fleet), now)? {
        Leased::Ours(lease) => lease,
        Leased::Theirs(theirs) => return Ok(End::Held(theirs)),
    };
    // From here on no other process can drill it.
    if let Some(report) = journal::find_finished_drill(vault, source, &fleet_run.fleet, fleet_run.started_at)?
    {
        lease.release(now);
        return Ok(End::DoneByOthers(Box::new(report)));
    }
    let proven = match fleet_run.selection.proof_lasts() {
        Some(_) => {
            why_not_due(&fleet_run.selection, due::newest_proof(vault, source, aws.now(now))?, aws.now(now))
        }
        None => None,
    };
    if let Some(reason) = proven {
        lease.release(now);
        return Ok(End::Proven(reason));
    }
    let tell = |event: Event<'_>| {
        if matches!(event, Event::Phase("restore")) {
            hours.start_counting(&source.resource_id.0);
        }
        (cx.tell)(id, event);
    };
    let drill_cx = Context {
        aws,
        vault,
        interrupt: &cx.interrupt,
        tell: &tell,
        clock: cx.clock,
        host: cx.host.clone(),
        stop: &|| hours.limit_reached(),
    };
    lease::remove_dead_holders_throwaway(&lease, source, &drill_cx, request.teardown_poll()).await?;
    if let Some(reason) = ceiling::why_no_room(aws, most).await? {
        lease.release((cx.clock)());
        return Ok(End::Full(reason));
    }
    let connect = async |source: &Instance| (cx.connect)(aws, source).await;
    let plan = drill::plan_drill(request.clone(), connect, &drill_cx).await?;
    let report = drill::run_drill(plan, &lease, &drill_cx).await?;
    lease.release((cx.clock)());
    Ok(End::Drilled(Box::new(report)))
}
