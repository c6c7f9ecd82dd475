//! Bringing the copy up: asking for it until AWS has answered, waiting until it is available, logging in.

use std::time::Duration;

use tokio::time::Instant;

use super::context::Event;
use super::plan::CopyLogin;
use super::run::Drill;
use super::throwaway;
use crate::aws::{Fault, LOOKS_UNTIL_GONE, Poll, Restore, Seen};
use crate::error::{Error, Kind, Result};
use crate::fleet::{Health, Instance, InstanceId};
use crate::postgres::{Password, Refusal, Server, generate};

impl Drill<'_> {
    /// Asks for the restore until AWS has answered. After a lost answer the name is taken by our own throwaway,
    /// which its run tag proves; there is never a second one.
    pub(super) async fn request(&mut self, restore: &Restore) -> Result<Instance> {
        let asked_at = Instant::now();
        let give_up = asked_at + Duration::from_secs(300);
        let mut pause = Duration::from_millis(500);
        loop {
            let (aws, asked) = (self.cx.aws.clone(), restore.clone());
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
            if may_be_there && let Some(found) = self.cx.aws.instance(&restore.id).await? {
                let is_ours =
                    throwaway::prove(&found).is_ok_and(|proof| proof.origin.run == self.plan.run.as_str());
                return if is_ours {
                    (self.cx.tell)(Event::Note(
                        "AWS had begun the restore although its answer was lost; it is used",
                    ));
                    Ok(found)
                } else {
                    Err(Error::from(failure).hint("Another instance has this name: run the drill again."))
                };
            }
            let has_patience = asked_at.elapsed() < self.plan.request.patience_for_room;
            if failure.fault == Fault::Quota && has_patience {
                (self.cx.tell)(Event::Note(&format!("there is no room for it yet: {failure}")));
                self.poll().pause().await;
                continue;
            }
            if !failure.fault.is_transient() || Instant::now() + pause > give_up {
                return Err(failure.into());
            }
            (self.cx.tell)(Event::Note(&format!("the restore is asked for again: {failure}")));
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(15));
        }
    }

    pub(super) async fn wait_until_available(&mut self, id: &InstanceId) -> Result<Instance> {
        enum End {
            Usable(Box<Instance>),
            Never(String, &'static str),
        }
        let started = Instant::now();
        let (tell, mut said, mut missing) = (self.cx.tell, String::new(), 0);
        let end = self
            .cx
            .aws
            .watch(id, self.poll(), |seen| {
                let instance = match seen {
                    Seen::Instance(Some(instance)) => instance,
                    // Describe may lag behind the restore that it should show.
                    Seen::Instance(None)
                        if said.is_empty() && started.elapsed() < Duration::from_secs(90) =>
                    {
                        return None;
                    }
                    Seen::Instance(None) if missing + 1 < LOOKS_UNTIL_GONE => {
                        missing += 1;
                        return None;
                    }
                    Seen::Instance(None) => {
                        return Some(End::Never("it has vanished".to_owned(), "Look at who deleted it."));
                    }
                    Seen::Nothing(failure) => {
                        tell(Event::Note(&format!("AWS did not say how it stands: {failure}")));
                        return None;
                    }
                };
                missing = 0;
                let status = &instance.reported_status;
                if status.0 != said {
                    said.clone_from(&status.0);
                    tell(Event::Status { id, status: &said });
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
    pub(super) async fn log_in(&mut self, instance: &Instance) -> Result<Server> {
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
                let token = self.cx.aws.login_token(&server.host, server.port, &server.user).await?;
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
            match self.cx.aws.set_master_password(id, password.expose()).await {
                Ok(()) => return Ok(()),
                Err(failure) if failure.fault == Fault::WrongState && Instant::now() < give_up => {
                    (self.cx.tell)(Event::Note(&format!("the password is set again in a moment: {failure}")));
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
                let at = server.place();
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
}
