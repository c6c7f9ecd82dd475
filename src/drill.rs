//! The restore drill: restore elsewhere, prove, time, tear down.
//!
//! Owns the throwaway instance from the request that makes it to the look that no longer finds it, and the record
//! in the vault. A drill never writes to its source, and nothing in here deletes an instance that is not proven to
//! be a throwaway ([`throwaway::prove`]).
//!
//! ```text
//! preflight  reads only: everything that can be known to fail fails here, before anything is created
//! restore    the throwaway, with everything said explicitly
//! compare    source and copy, by `verify`; the user's own checks
//! throwaway  its name, tags, proof and removal
//! journal    the record, written before the restore and after the removal
//! sweep      removes what a drill that died has left
//! ```

pub mod checks;
mod compare;
pub mod journal;
mod page;
mod preflight;
pub mod report;
pub mod sweep;
pub mod throwaway;

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::task::JoinHandle;
use tokio::time::Instant;

pub use preflight::plan;
pub use report::{Report, State};

use crate::aws::{Aws, Failure, Fault, Poll, Restore, RestoreFrom, Seen};
use crate::config::{Check, Freshness};
use crate::error::{Error, Kind, Result};
use crate::fleet::{Health, Instance, InstanceId, ResourceId};
use crate::interrupt::Interrupt;
use crate::postgres::{Password, Refusal, Server, generate};
use crate::restore::{Chosen, Wanted, Way};
use crate::vault::Vault;
use crate::verify::{Baseline, Judgement, Verdict};

use journal::Journal;
use report::{CheckResult, Met, Moment, Phase, RanBy, Rpo, Rto, SCHEMA, Source, Throwaway};
use throwaway::{Claim, RunId};

/// What a drill is asked to do.
#[derive(Clone, Debug)]
pub struct Request {
    /// The instance to drill.
    pub source: InstanceId,
    /// What to restore.
    pub wanted: Wanted,
    /// How that was written.
    pub asked_for: String,
    /// Class of the throwaway.
    pub class: String,
    /// Subnet group, if not the source's.
    pub subnet_group: Option<String>,
    /// Security groups, if not the source's.
    pub security_groups: Vec<String>,
    /// Parameter group, if not the source's.
    pub parameter_group: Option<String>,
    /// Option group, if not the source's.
    pub option_group: Option<String>,
    /// How to log in to the copy.
    pub login: CopyLogin,
    /// Databases to compare; none means all.
    pub databases: Vec<String>,
    /// Questions to the copy.
    pub checks: Vec<Check>,
    /// Where the newest row is found.
    pub freshness: Option<Freshness>,
    /// Recovery time objective.
    pub rto: Duration,
    /// Recovery point objective.
    pub rpo: Duration,
    /// Allowed difference where only counts can be compared, 0 to 1.
    pub tolerance: f64,
    /// How often to look.
    pub poll: Duration,
    /// How long the restore may take.
    pub wait: Duration,
    /// How long the removal may take.
    pub teardown_timeout: Duration,
    /// When anyone may remove the throwaway, counted from the start.
    pub expires_after: Duration,
    /// What becomes of the throwaway.
    pub afterwards: Afterwards,
}

/// How to log in to the restored copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CopyLogin {
    /// As the master user with a new random password: works however old the backup is.
    #[default]
    ResetPassword,
    /// With the credentials of the source; wrong if the password was changed since the backup.
    SameCredentials,
    /// With an IAM token.
    Iam,
}

/// What becomes of the throwaway when the drill is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Afterwards {
    /// It is removed, whatever happened.
    #[default]
    Remove,
    /// It is kept, to be looked at, until it expires.
    Keep,
}

/// A drill that can be run. By value: it cannot run twice.
#[derive(Debug)]
pub struct Plan {
    /// Its id.
    pub run: RunId,
    /// Name of the throwaway.
    pub throwaway: InstanceId,
    /// When anyone may remove it.
    pub expires: DateTime<Utc>,
    /// When it was planned.
    pub planned_at: DateTime<Utc>,
    /// The source.
    pub source: Instance,
    /// How to reach it.
    pub source_server: Server,
    /// What will be restored.
    pub chosen: Chosen,
    /// What was asked for.
    pub request: Request,
}

/// What a drill tells while it runs.
#[derive(Debug)]
pub enum Event<'a> {
    /// A part begins.
    Phase(&'a str),
    /// An instance has another status than before.
    Status {
        /// Which.
        id: &'a InstanceId,
        /// What AWS says.
        status: &'a str,
        /// Since when we have been waiting.
        elapsed: Duration,
    },
    /// Tables are being read.
    Counting {
        /// `source` or `copy`.
        side: &'static str,
        /// Tables read.
        tables: usize,
        /// Tables in all, as far as known.
        of_tables: usize,
        /// Rows read.
        rows: u64,
    },
    /// Worth knowing.
    Note(&'a str),
    /// Worth worrying about.
    Warning(&'a str),
}

/// What a drill works with.
pub struct Surroundings<'a> {
    /// AWS.
    pub aws: &'a Aws,
    /// Where the record is kept.
    pub vault: &'a Vault,
    /// Signals.
    pub interrupt: &'a Interrupt,
    /// Where events go.
    pub tell: &'a (dyn Fn(Event<'_>) + Sync),
    /// The clock.
    pub clock: fn() -> DateTime<Utc>,
    /// Host name, for the record.
    pub host: String,
}

impl Plan {
    /// By which way the moment comes back, and which baseline that allows.
    pub fn way(&self) -> (Way, Baseline) {
        match self.chosen {
            Chosen::Snapshot(_) => (Way::Snapshot, Baseline::Live),
            Chosen::Time(_) => (Way::PointInTime, Baseline::Live),
            Chosen::Now { .. } => (Way::PointInTime, Baseline::Aligned),
        }
    }

    /// The restore that will be asked for; `at` is the aligned moment, where there is one.
    pub fn restore(&self, at: Option<DateTime<Utc>>) -> Restore {
        let (source, request) = (&self.source, &self.request);
        let by_time = |at| RestoreFrom::Time { source: source.resource_id.clone(), at };
        let from = match (&self.chosen, at) {
            (Chosen::Snapshot(snapshot), _) => RestoreFrom::Snapshot(snapshot.id.clone()),
            (Chosen::Time(at), _) => by_time(*at),
            (Chosen::Now { latest }, at) => by_time(at.unwrap_or(*latest)),
        };
        let security_groups = if request.security_groups.is_empty() {
            source.security_groups.clone()
        } else {
            request.security_groups.clone()
        };
        Restore {
            id: self.throwaway.clone(),
            from,
            class: request.class.clone(),
            subnet_group: request.subnet_group.clone().or_else(|| source.subnet_group.clone()),
            security_groups,
            parameter_group: request.parameter_group.clone().or_else(|| source.parameter_group.clone()),
            option_group: request.option_group.clone().or_else(|| source.option_group.clone()),
            iam_authentication: request.login == CopyLogin::Iam,
            retention_days: 0,
            tags: throwaway::tags(source, &self.run, self.expires),
        }
    }
}

/// Runs a drill to its end: whatever happens, the throwaway is removed (unless it is to be kept) and the record
/// is written. An error is returned only when nothing was begun.
pub async fn run(plan: Plan, surroundings: &Surroundings<'_>) -> Result<Report> {
    let journal = Journal::open(surroundings.vault, plan.source.id.as_str(), plan.run.as_str())?;
    let report = begin_report(&plan, surroundings, &journal).await;
    journal.write(&report)?;

    let mut drill = Drill { plan, to: surroundings, report, copy: CopyState::default(), phase_begun: None };
    let ended = tokio::select! {
        biased;
        kind = surroundings.interrupt.wait(1) => Err(Error::new(kind, "the drill was interrupted")),
        ended = drill.restore_and_prove() => ended,
    };
    drill.conclude(ended);
    drill.tear_down().await;
    drill.end_phase();
    let mut report = drill.report;
    if let Some(kind) = surroundings.interrupt.first() {
        report.state = if kind == Kind::Terminated { State::Terminated } else { State::Interrupted };
    }
    report.finished_at = Some((surroundings.clock)());
    journal.close(&report)?;
    Ok(report)
}

async fn begin_report(plan: &Plan, to: &Surroundings<'_>, journal: &Journal<'_>) -> Report {
    let (way, baseline) = plan.way();
    let (snapshot, time) = match &plan.chosen {
        Chosen::Snapshot(snapshot) => (Some(snapshot), snapshot.moment()),
        Chosen::Time(at) => (None, Some(*at)),
        Chosen::Now { .. } => (None, None),
    };
    let seconds_before_start = |at: DateTime<Utc>| ((plan.planned_at - at).as_seconds_f64()).max(0.0);
    let lost = match &plan.chosen {
        Chosen::Now { latest } => Some(*latest),
        Chosen::Snapshot(_) | Chosen::Time(_) => time,
    };
    let source = &plan.source;
    Report {
        schema: SCHEMA.to_owned(),
        run: plan.run.to_string(),
        state: State::Running,
        verdict: Verdict::Unknown,
        reasons: Vec::new(),
        hints: Vec::new(),
        started_at: plan.planned_at,
        finished_at: None,
        ran_by: RanBy {
            caller: to.aws.caller().await.ok(),
            host: to.host.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        },
        source: Source {
            id: source.id.to_string(),
            resource_id: source.resource_id.to_string(),
            region: to.aws.region().to_owned(),
            engine: source.engine.clone(),
            engine_version: source.engine_version.clone(),
            class: source.class.clone(),
            storage_gib: source.storage_gib,
            encrypted: source.encrypted,
        },
        moment: Moment {
            kind: way,
            snapshot_id: snapshot.map(|snapshot| snapshot.id.to_string()),
            snapshot_type: snapshot.map(|snapshot| snapshot.snapshot_type.clone()),
            time,
            asked_for: plan.request.asked_for.clone(),
        },
        baseline,
        throwaway: Throwaway {
            id: plan.throwaway.to_string(),
            resource_id: None,
            class: plan.request.class.clone(),
            requested_at: None,
            expires_at: plan.expires,
            removed_at: None,
            kept: false,
            left_behind: None,
        },
        phases: Vec::new(),
        tables: Vec::new(),
        checks: Vec::new(),
        rto: Rto {
            objective_seconds: plan.request.rto.as_secs_f64(),
            measured_seconds: None,
            available_seconds: None,
            verdict: Met::Unknown,
        },
        rpo: Rpo {
            objective_seconds: plan.request.rpo.as_secs_f64(),
            measured_seconds: lost.map(seconds_before_start),
            newest_row: None,
            verdict: Met::Unknown,
        },
        not_tested: vec!["the content of rows: tables are compared by their exact number of rows".to_owned()],
        evidence: journal.evidence(),
    }
}

/// A drill while it runs.
struct Drill<'a> {
    plan: Plan,
    to: &'a Surroundings<'a>,
    report: Report,
    copy: CopyState,
    /// When the phase that the report lists last began, while it goes on.
    phase_begun: Option<Instant>,
}

/// What is known of the throwaway.
#[derive(Default)]
struct CopyState {
    /// The request that is under way. It runs as a task of its own, so that an interrupt does not tear it off and
    /// leave us not knowing what AWS made of it.
    request: Option<JoinHandle<std::result::Result<Instance, Failure>>>,
    /// A request was sent at all.
    was_requested: bool,
    /// The last answer left open whether AWS has begun.
    is_unsure: bool,
    resource_id: Option<ResourceId>,
    requested_at: Option<Instant>,
}

impl Drill<'_> {
    /// Everything between the record's first and last writing, but for the removal.
    async fn restore_and_prove(&mut self) -> Result<Judgement> {
        let aligned = match self.plan.chosen {
            Chosen::Now { .. } => Some(self.observe_source_and_wait().await?),
            Chosen::Snapshot(_) | Chosen::Time(_) => None,
        };
        let instance = self.restore(aligned.as_ref().map(|aligned| aligned.moment)).await?;
        let server = self.log_in(&instance).await?;

        self.begin_phase("observe copy");
        let copy = compare::observe_copy(&server, &self.plan.request.databases, self.to.tell).await?;
        self.report.checks = checks::make(&self.plan.request.checks, &server).await;
        self.measure_freshness(&server).await;
        self.report.rto.measured_seconds = self.copy.requested_at.map(|at| at.elapsed().as_secs_f64());

        self.begin_phase("compare");
        let (source, only) = (&self.plan.source_server, &self.plan.request.databases);
        let judgement = match aligned {
            Some(aligned) => compare::judge_aligned(aligned, source, only, &copy.observed).await?,
            None => compare::judge_live(source, only, &copy, &self.ties(), self.to.tell).await?,
        };
        Ok(judgement)
    }

    fn ties(&self) -> compare::Ties {
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
        }
    }

    /// For the time-aligned baseline: the source first, then the wait until its moment can be restored.
    async fn observe_source_and_wait(&mut self) -> Result<compare::Aligned> {
        self.begin_phase("observe source");
        let only = &self.plan.request.databases;
        let aligned = compare::observe_aligned(&self.plan.source_server, only, self.to.tell).await?;
        self.report.moment.time = Some(aligned.moment);

        self.begin_phase("wait until restorable");
        let moment = aligned.moment;
        let reached = self
            .to
            .aws
            .watch(&self.plan.source.id, self.poll(), |seen| match seen {
                Seen::Instance(Some(source)) => (source.latest_restorable >= Some(moment)).then_some(()),
                Seen::Instance(None) | Seen::Nothing(_) => None,
            })
            .await?;
        reached.ok_or_else(|| {
            Error::outside(format!("`{}` could still not be restored to {moment} after {:?}", self.plan.source.id, self.plan.request.wait))
                .hint("RDS uploads the log every five minutes: look at the instance's LatestRestorableTime and events.")
        })?;
        Ok(aligned)
    }

    /// Asks for the throwaway and waits until it can be used.
    async fn restore(&mut self, at: Option<DateTime<Utc>>) -> Result<Instance> {
        self.begin_phase("restore");
        let restore = self.plan.restore(at);
        self.report.throwaway.requested_at = Some((self.to.clock)());
        self.copy.requested_at = Some(Instant::now());
        let begun = self.request(&restore).await?;
        self.copy.resource_id = Some(begun.resource_id.clone());
        self.report.throwaway.resource_id = Some(begun.resource_id.to_string());
        if begun.resource_id == self.plan.source.resource_id {
            return Err(Error::new(Kind::Guard, format!("AWS returned the source itself as `{}`", begun.id)));
        }
        let available = self.wait_until_available(&restore.id).await?;
        self.report.rto.available_seconds = self.copy.requested_at.map(|at| at.elapsed().as_secs_f64());
        Ok(available)
    }

    /// Asks for the restore until AWS has answered. After a lost answer the name is taken by our own throwaway,
    /// which its run tag proves; there is never a second one.
    async fn request(&mut self, restore: &Restore) -> Result<Instance> {
        let give_up = Instant::now() + Duration::from_secs(300);
        let mut pause = Duration::from_millis(500);
        loop {
            let (aws, asked) = (self.to.aws.clone(), restore.clone());
            self.copy.was_requested = true;
            let request =
                self.copy.request.insert(tokio::spawn(async move { aws.begin_restore(&asked).await }));
            let answer = request.await;
            self.copy.request = None;
            let failure = match answer {
                Ok(Ok(instance)) => return Ok(instance),
                Ok(Err(failure)) => failure,
                Err(error) => {
                    return Err(Error::new(Kind::Bug, "the restore request was lost").caused_by(error));
                }
            };
            self.copy.is_unsure |= failure.fault == Fault::Unsure;
            let may_be_there = failure.fault == Fault::AlreadyExists || failure.fault == Fault::Unsure;
            if may_be_there && let Some(found) = self.to.aws.instance(&restore.id).await? {
                let is_ours =
                    throwaway::prove(&found).is_ok_and(|proof| proof.origin.run == self.plan.run.as_str());
                return if is_ours {
                    (self.to.tell)(Event::Note(
                        "AWS had begun the restore although its answer was lost; it is used",
                    ));
                    Ok(found)
                } else {
                    Err(Error::from(failure).hint("Another instance has this name: run the drill again."))
                };
            }
            if !failure.fault.is_transient() || Instant::now() + pause > give_up {
                return Err(failure.into());
            }
            (self.to.tell)(Event::Note(&format!("the restore is asked for again: {failure}")));
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(15));
        }
    }

    async fn wait_until_available(&mut self, id: &InstanceId) -> Result<Instance> {
        enum End {
            Usable(Box<Instance>),
            Never(String, &'static str),
        }
        let started = Instant::now();
        let (tell, mut said) = (self.to.tell, String::new());
        let end = self
            .to
            .aws
            .watch(id, self.poll(), |seen| {
                let instance = match seen {
                    Seen::Instance(Some(instance)) => instance,
                    // Describe may lag behind the restore that it should show.
                    Seen::Instance(None) if started.elapsed() < Duration::from_secs(90) => return None,
                    Seen::Instance(None) => {
                        return Some(End::Never("it has vanished".to_owned(), "Look at who deleted it."));
                    }
                    Seen::Nothing(failure) => {
                        tell(Event::Note(&format!("AWS did not say how it stands: {failure}")));
                        return None;
                    }
                };
                let status = &instance.reported_status;
                if status.0 != said {
                    said.clone_from(&status.0);
                    tell(Event::Status { id, status: &said, elapsed: started.elapsed() });
                }
                match status.health() {
                    Health::Usable if instance.endpoint.is_some() => {
                        Some(End::Usable(Box::new(instance.clone())))
                    }
                    Health::Broken | Health::Stopped => {
                        Some(End::Never(format!("it ended as `{status}`"), status.remedy()))
                    }
                    _ if status.0 == "deleting" => Some(End::Never(
                        "someone is deleting it".to_owned(),
                        "Look at the account's CloudTrail.",
                    )),
                    Health::Usable | Health::InTransit => None,
                }
            })
            .await?;
        let failed =
            |why: String| Error::outside(format!("the restored copy `{id}` did not become available: {why}"));
        match end {
            Some(End::Usable(instance)) => Ok(*instance),
            Some(End::Never(why, remedy)) => Err(failed(why).hint(remedy)),
            None => Err(failed(format!(
                "it was still `{said}` after {}",
                humantime::format_duration(self.plan.request.wait)
            ))
            .hint("Large databases and busy Regions take longer: raise `--wait`, and look at `aws rds describe-events`.")),
        }
    }

    /// Makes the copy let us in, and returns how. It is ready when an authenticated query returns a row: RDS says
    /// `available` before the server takes connections, and before a new password is in force.
    async fn log_in(&mut self, instance: &Instance) -> Result<Server> {
        self.begin_phase("log in");
        let (host, port) = instance
            .endpoint
            .clone()
            .ok_or_else(|| Error::outside(format!("AWS names no endpoint for `{}`", instance.id)))?;
        if (&host, port) == (&self.plan.source_server.host, self.plan.source_server.port) {
            return Err(Error::new(Kind::Guard, format!("`{}` has the address of its source", instance.id)));
        }
        let mut server = Server { host, port, ..self.plan.source_server.clone() };
        match self.plan.request.login {
            CopyLogin::ResetPassword => {
                let password = generate();
                self.reset_password(&instance.id, &password).await?;
                server.user.clone_from(&instance.master_user);
                server.password = Some(password);
            }
            CopyLogin::SameCredentials => {}
            CopyLogin::Iam => {
                let token = self.to.aws.login_token(&server.host, server.port, &server.user).await?;
                server.password = Some(token);
            }
        }
        self.wait_for_login(&server).await?;
        Ok(server)
    }

    /// `available` is not stable: a restored instance may go through `modifying` once more.
    async fn reset_password(&self, id: &InstanceId, password: &Password) -> Result<()> {
        let give_up = Instant::now() + Duration::from_secs(600);
        loop {
            match self.to.aws.set_master_password(id, password.expose()).await {
                Ok(()) => return Ok(()),
                Err(failure) if failure.fault == Fault::WrongState && Instant::now() < give_up => {
                    (self.to.tell)(Event::Note(&format!("the password is set again in a moment: {failure}")));
                    Poll { every: self.plan.request.poll.min(Duration::from_secs(5)), ..self.poll() }
                        .pause()
                        .await;
                }
                Err(failure) => return Err(failure.into()),
            }
        }
    }

    async fn wait_for_login(&self, server: &Server) -> Result<()> {
        let started = Instant::now();
        loop {
            let (refusal, failure) = match server.connect("postgres").await {
                Ok(session) => match session.row("select 1", &[]).await {
                    Ok(_) => return Ok(()),
                    Err(failure) => (Refusal::Busy, failure.into()),
                },
                // `postgres` may have been dropped; being let in so far is enough.
                Err(failure) if failure.refusal == Refusal::Database => return Ok(()),
                Err(failure) if failure.refusal == Refusal::Tls => return Err(failure.error),
                Err(failure) => (failure.refusal, failure.error),
            };
            // A fresh password can take minutes to be in force; one that the copy brought along is in force at once.
            let patience = match (self.plan.request.login, refusal) {
                (CopyLogin::SameCredentials | CopyLogin::Iam, Refusal::Login) => Duration::from_secs(15),
                _ => Duration::from_secs(600),
            };
            if started.elapsed() >= patience {
                let at = format!("{}:{}", server.host, server.port);
                let error = Error::outside(format!("could not log in to the restored copy at {at}"))
                    .caused_by(failure);
                return Err(match refusal {
                    Refusal::Login => error.hint("Leave out `--login`: the drill then sets a new password on the copy."),
                    _ => error.hint("Its security group and subnets must let this machine in: compare them with the source's."),
                });
            }
            tokio::time::sleep(Duration::from_millis(500).min(self.plan.request.poll)).await;
        }
    }

    /// The real RPO, where the configuration says how to find the newest row.
    async fn measure_freshness(&mut self, copy: &Server) {
        let Some(freshness) = &self.plan.request.freshness else {
            self.report.not_tested.push("how old the newest row is: no `freshness` is configured".to_owned());
            return;
        };
        let query = format!(
            "select to_char((({})::timestamptz at time zone 'UTC'), 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')",
            freshness.query.trim_end_matches(';')
        );
        let answer = checks::ask(copy, &freshness.database, &query).await;
        let newest = answer.and_then(|text| {
            let text = text.unwrap_or_default();
            text.parse::<DateTime<Utc>>().map_err(|_| format!("the answer `{text}` is not a time"))
        });
        match newest {
            Ok(newest) => {
                self.report.rpo.newest_row = Some(newest);
                self.report.rpo.measured_seconds =
                    Some((self.plan.planned_at - newest).as_seconds_f64().max(0.0));
            }
            Err(reason) => {
                self.report.rpo.measured_seconds = None;
                self.report.not_tested.push(format!("how old the newest row is: {reason}"));
            }
        }
    }

    /// Turns the end of the drill into its verdict.
    fn conclude(&mut self, ended: Result<Judgement>) {
        let report = &mut self.report;
        report.state = State::Finished;
        match ended {
            Ok(judgement) => {
                report.verdict = judgement.verdict;
                report.reasons = judgement.reasons;
                report.tables = judgement.tables;
                report.not_tested.extend(judgement.not_tested);
                weigh_checks(report);
                report.judge_objectives(self.plan.request.wanted.is_by_hand());
            }
            Err(error) => {
                report.verdict = Verdict::Unknown;
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

    /// Removes the throwaway, or keeps it if that was asked for and the drill was not interrupted.
    async fn tear_down(&mut self) {
        let pending = self.copy.request.take();
        if !self.copy.was_requested {
            return;
        }
        self.begin_phase("tear down");
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
        let poll = Poll { every: self.plan.request.poll, give_up_after: self.plan.request.teardown_timeout };
        // One signal ends the drill, and its throwaway with it. Whoever insists is let go.
        let signals = if self.to.interrupt.first().is_some() { 3 } else { 2 };
        let removed = tokio::select! {
            biased;
            removed = throwaway::remove_claimed(self.to.aws, &claim, poll, self.to.tell) => removed,
            _ = self.to.interrupt.wait(signals) => Err(Error::outside("the removal was broken off by a signal")),
        };
        match removed {
            Ok(()) => self.report.throwaway.removed_at = Some((self.to.clock)()),
            Err(error) => {
                self.report.throwaway.left_behind = Some(error.chain());
                self.report.hints.extend(error.hints().iter().cloned());
            }
        }
    }

    fn poll(&self) -> Poll {
        Poll { every: self.plan.request.poll, give_up_after: self.plan.request.wait }
    }

    /// Begins a part of the drill, and with that ends the one before.
    fn begin_phase(&mut self, name: &'static str) {
        self.end_phase();
        (self.to.tell)(Event::Phase(name));
        self.report.phases.push(Phase { name: name.to_owned(), started_at: (self.to.clock)(), seconds: 0.0 });
        self.phase_begun = Some(Instant::now());
    }

    fn end_phase(&mut self) {
        if let (Some(begun), Some(phase)) = (self.phase_begun.take(), self.report.phases.last_mut()) {
            phase.seconds = begun.elapsed().as_secs_f64();
        }
    }
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
