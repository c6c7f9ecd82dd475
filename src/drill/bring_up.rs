//! Creating the copy: the request until AWS has answered, the wait until it is available, the login.

use std::time::Duration;

use tokio::time::Instant;

use super::context::Event;
use super::plan::CopyLogin;
use super::run::Drill;
use super::throwaway;
use crate::aws::{Arrival, Creation, Failure, Fault, Restore, Sighting};
use crate::error::{Error, Result};
use crate::postgres::{Refusal, Server, generate};
use crate::rds::{Instance, InstanceId};
use crate::restore::log_in::{LOGIN_PATIENCE, server_of_copy, wait_until_logged_in};

impl Drill<'_> {
    /// Requests the restore until AWS has answered. After a lost answer the name belongs to our own throwaway,
    /// which its run tag proves; there is never a second one.
    pub(super) async fn request_copy(&mut self, restore: &Restore) -> Result<Instance> {
        let (asked_at, poll, cx) = (Instant::now(), self.poll(), self.cx);
        let (plan, copy) = (&self.plan, &mut self.copy);
        let begin = async || {
            let (aws, asked) = (cx.aws.clone(), restore.clone());
            copy.was_requested = true;
            let request = copy.request.insert(tokio::spawn(async move { aws.begin_restore(&asked).await }));
            let answer = request.await;
            copy.request = None;
            let answer = answer.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
            copy.is_unsure |= answer.as_ref().is_err_and(|failure| failure.fault == Fault::Unsure);
            answer
        };
        let find_ours = async |failure: &Failure| {
            let Some(found) = cx.aws.instance(&restore.id).await? else { return Ok(None) };
            let is_ours =
                throwaway::prove_throwaway(&found).is_ok_and(|proof| proof.origin.run == plan.run.as_str());
            if !is_ours {
                return Err(
                    Error::from(failure.clone()).hint("Another instance has this name: run the drill again.")
                );
            }
            Ok(Some(found))
        };
        let wait_out = async |failure: &Failure, left: Duration| {
            let is_full =
                failure.fault == Fault::Quota && asked_at.elapsed() < plan.request.patience_for_room;
            // Drills run unattended: nobody would restart one once AWS can be reached.
            let is_away = failure.fault.is_transient() && !failure.is_worth_repeating() && !left.is_zero();
            if is_full {
                (cx.tell)(Event::Note(&format!("waiting for room in the instance quota: {failure}")));
            }
            if is_full || is_away {
                poll.pause().await;
            }
            Ok(is_full || is_away)
        };
        let note = |text: String| (cx.tell)(Event::Note(&text));
        let creation = Creation { what: "restore", give_up_after: Duration::from_secs(300), note: &note };
        creation.begin_or_adopt(begin, find_ours, wait_out).await
    }

    pub(super) async fn wait_until_available(&mut self, id: &InstanceId) -> Result<Instance> {
        let tell = self.cx.tell;
        let on_sighting = |sighting: Sighting<'_>| match sighting {
            Sighting::Instance { instance, is_new_status: true } => {
                tell(Event::Status { id, status: &instance.reported_status.0 });
            }
            Sighting::Instance { .. } => {}
            Sighting::NoAnswer(failure) => tell(Event::Note(&format!("AWS gave no status: {failure}"))),
        };
        let failed =
            |why: String| Error::outside(format!("the restored copy `{id}` did not become available: {why}"));
        match self.cx.aws.wait_until_available(id, self.poll(), on_sighting).await? {
            Arrival::Available(instance) => Ok(*instance),
            Arrival::Never { why, remedy } => Err(failed(why).hint(remedy)),
            Arrival::StillGoing { status } => Err(failed(format!(
                "it was still `{status}` after {}",
                humantime::format_duration(self.plan.request.wait)
            ))
            .hint("Large databases and busy Regions take longer: raise `--wait`. `aws rds describe-events` shows what AWS does.")),
        }
    }

    /// Makes the copy accept our login, and returns the credentials.
    pub(super) async fn log_in(&mut self, instance: &Instance) -> Result<Server> {
        self.begin_phase("log in");
        let mut server = server_of_copy(&instance.id, instance.endpoint.clone(), &self.plan.source_server)?;
        match self.plan.request.login {
            CopyLogin::ResetPassword => {
                let password = generate();
                self.cx.aws.reset_password(&instance.id, password.expose(), self.poll()).await?;
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

    async fn wait_for_login(&self, server: &Server) -> Result<()> {
        // A new password can take minutes to take effect; one that the copy inherited works at once.
        let patience = |refusal: Refusal| match (self.plan.request.login, refusal) {
            (CopyLogin::SameCredentials | CopyLogin::Iam, Refusal::Login) => Duration::from_secs(15),
            _ => LOGIN_PATIENCE,
        };
        let failure = match wait_until_logged_in(server, "postgres", self.plan.request.poll, patience).await {
            Ok(()) => return Ok(()),
            // `postgres` may have been dropped; getting this far is enough.
            Err(failure) if failure.refusal == Refusal::Database => return Ok(()),
            Err(failure) if failure.refusal == Refusal::Tls => return Err(failure.error),
            Err(failure) => failure,
        };
        let error = Error::outside(format!("could not log in to the restored copy at {}", server.place()))
            .caused_by(failure.error);
        Err(match failure.refusal {
            Refusal::Login => {
                error.hint("Leave out `--login`: the drill then sets a new password on the copy.")
            }
            _ => error.hint(
                "Its security groups and subnets must let this machine in: compare them with those of the source.",
            ),
        })
    }
}
