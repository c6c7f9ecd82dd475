//! Creating a database: empty, from a snapshot, or at a point in time.

use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio_postgres::Client;

use crate::call_log::Call;
use crate::cancel::CancelSignal;
use crate::cluster::base_backup::{archive_everything, copy_cluster, lay_out_base_backup, request_recovery};
use crate::cluster::config::Recovery;
use crate::cluster::files::Content;
use crate::cluster::server::Server;
use crate::event_delivery::record_event;
use crate::event_messages;
use crate::instance_status::Status;
use crate::lazy_servers::{open_proxy, wake_server};
use crate::lifecycle::job::{Job, Superseded};
use crate::lifecycle::sweep::sweep_files;
use crate::pace::Stage;
use crate::resources::{EventSource, ForcedStatus, Instance, Origin};
use crate::scope;
use crate::stack::report_problem;
use crate::store::State;
use crate::wire::format_timestamp;

impl Job {
    pub(super) async fn create(&self) -> anyhow::Result<()> {
        let instance = self.instance()?;
        let since = self.cx.clock.now();
        let is_new = matches!(instance.origin, Origin::New { .. });
        if self.cx.is_lazy()
            && let Origin::Snapshot { backup, .. } = &instance.origin
            && !self.cx.injected.has_sql()
        {
            let port = open_proxy(&self.cx, &instance).await?;
            self.edit_instance(|instance| {
                (instance.port, instance.asleep) = (Some(port), Some(backup.clone()))
            })?;
        } else if instance.settings.is_postgres()
            && let Err(error) = self.build_database(&instance).await
        {
            if error.is::<Superseded>() || self.cancel.is_set() {
                return Err(Superseded.into());
            }
            self.cx.stop_server(&self.resource_id).await;
            let status = if is_new { Status::Failed } else { Status::IncompatibleRestore };
            let event = event_messages::failed(&status);
            self.enter_status_with(status, |instance| instance.origin = Origin::Done)?;
            self.record_event(&event);
            return Err(error);
        }
        self.hold_stage(since, if is_new { Stage::Create } else { Stage::Restore }).await?;
        let now = self.cx.clock.now();
        let outcome = self.instance()?.restore_outcome.filter(|outcome| outcome.status != Status::Deleting);
        if let Some(outcome) = outcome {
            return self.end_restore(&outcome).await;
        }
        let retention = instance.settings.retention_days;
        let next = if retention > 0 && instance.settings.is_postgres() {
            Status::BackingUp
        } else {
            Status::Available
        };
        self.enter_status_with(next.clone(), |instance| {
            instance.origin = Origin::Done;
            instance.created_at = Some(now);
            if let Some(secret) = &mut instance.secret {
                secret.active = true;
            }
        })?;
        self.record_origin(&instance);
        // The source of the restore may have been deleted in the meantime, and is no longer needed now.
        sweep_files(&self.cx)?;
        if next == Status::BackingUp { self.back_up().await } else { Ok(()) }
    }

    /// Ends a restore in the status that the control endpoint asked for.
    async fn end_restore(&self, outcome: &ForcedStatus) -> anyhow::Result<()> {
        let is_running = outcome.status.is_running();
        if !is_running {
            self.cx.stop_server(&self.resource_id).await;
        }
        let now = self.cx.clock.now();
        self.enter_status_with(outcome.status.clone(), |instance| {
            // An instance stuck in `creating` keeps its origin, so that a restarted stack gets stuck in the same way.
            if outcome.status != Status::Creating {
                instance.origin = Origin::Done;
            }
            instance.created_at = is_running.then_some(now);
        })?;
        self.record_event(&event_messages::failed(&outcome.status));
        Ok(())
    }

    /// Records where the instance came from. A restore from a snapshot is an event of the snapshot, too.
    fn record_origin(&self, was: &Instance) {
        match &was.origin {
            Origin::New { .. } | Origin::Done => self.record_event(&event_messages::CREATED),
            Origin::Snapshot { snapshot, .. } => {
                let restored = event_messages::restored_from_snapshot(snapshot);
                self.record_event(&restored);
                let is_here = |state: &State| state.region(&was.region).snapshots.contains_key(snapshot);
                if self.cx.store.read(is_here) {
                    record_event(&self.cx, &was.region, EventSource::Snapshot, snapshot, &restored);
                }
            }
            Origin::Time { source, .. } => {
                let named =
                    self.cx.store.read(|state| state.instance(source).map(|instance| instance.id.clone()));
                let source = named.unwrap_or_else(|| source.clone());
                self.record_event(&event_messages::restored_to_time(&source, &was.id));
            }
        }
    }

    async fn build_database(&self, instance: &Instance) -> anyhow::Result<()> {
        let home = &self.cx.home;
        let paths = home.cluster(&self.resource_id);
        self.cx.make_cluster_room(&self.resource_id)?;
        let server = match &instance.origin {
            Origin::Done => bail!("the instance has no origin to create it from"),
            Origin::New { verifier } => {
                let engine = self.cx.engine_of(instance)?;
                let template = self.cx.templates.get_or_make(home, engine).await?;
                let (from, to) = (template.data.clone(), paths.data.clone());
                copy_cluster(from, to, Content::Everything, home.owner, &self.cancel).await?;
                let server = self.cx.start_server(instance, None, &self.cancel).await?;
                create_master_user(&server, instance, verifier)
                    .await
                    .context("cannot set up the master user")?;
                server
            }
            Origin::Snapshot { backup, .. } => {
                lay_out_base_backup(home, &home.backup(backup), &paths, &self.cancel).await?;
                self.cx.start_server(instance, None, &self.cancel).await?
            }
            Origin::Time { source, backup, target, .. } => {
                self.archive_source(source).await?;
                lay_out_base_backup(home, &home.backup(backup), &paths, &self.cancel).await?;
                request_recovery(home, &paths)?;
                let archive = home.archive(source);
                let recovery = Recovery { archive: &archive, target: *target };
                self.cx.start_server(instance, Some(recovery), &self.cancel).await?
            }
        };
        let port = if self.cx.is_lazy() { open_proxy(&self.cx, instance).await? } else { server.port };
        self.edit_instance(|instance| instance.port = Some(port))?;
        if !matches!(instance.origin, Origin::New { .. }) {
            // The recovery is complete: its settings are removed.
            self.cx.reload_server(instance)?;
            self.run_restored_sql(&server, instance).await?;
        }
        Ok(())
    }

    /// Makes sure that the archived log of the source reaches beyond the target.
    ///
    /// A source that is stopped or gone archived everything on its way there. A source that is just restarting,
    /// stopping or being deleted is waited for.
    async fn archive_source(&self, source: &str) -> anyhow::Result<()> {
        loop {
            let look = || {
                let found = self.cx.store.read(|state| state.instance(source).cloned());
                found.filter(|found| found.archived_until.is_none())
            };
            if look().is_none() {
                return Ok(());
            }
            if self.cx.is_lazy() {
                // A server that does not run archives nothing.
                let _ = wake_server(&self.cx, source, &self.cancel).await;
            }
            let outcome = match self.cx.server(source) {
                Some(server) => {
                    archive_everything(&self.cx.home, &server, source, &self.cancel).await.map(|_| ())
                }
                None => Err(anyhow::anyhow!("the PostgreSQL server of the source is not running")),
            };
            // Checked again, because the source may have begun to stop during the attempt.
            let is_passing = look().is_none_or(|found| {
                matches!(
                    found.status,
                    Status::Deleting
                        | Status::Stopping
                        | Status::Stopped
                        | Status::Starting
                        | Status::Rebooting
                        | Status::Modifying
                        | Status::Renaming
                )
            });
            if outcome.is_ok() || !is_passing || self.cancel.is_set() {
                return outcome;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Runs the SQL that the control endpoint queued for the next restored instance.
    async fn run_restored_sql(&self, server: &Server, instance: &Instance) -> anyhow::Result<()> {
        for entry in self.cx.injected.take_sql() {
            let outcome = run_sql(server, &entry.database, &entry.sql, &self.cancel).await;
            let message = outcome.as_ref().err().map(ToString::to_string);
            self.cx.calls.add(Call {
                time: format_timestamp(self.cx.clock.now()),
                service: "control",
                action: "restored-sql".to_owned(),
                region: scope::region_of(&instance.region).to_owned(),
                account: scope::account_of(&instance.region).to_owned(),
                parameters: [("DBInstanceIdentifier", instance.id.as_str()), ("Database", &entry.database)]
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .into(),
                outcome: if outcome.is_ok() { "ok" } else { "error" }.to_owned(),
                status: None,
                message: message.clone(),
            });
            if let Some(message) = message {
                report_problem(format_args!("SQL for the restored `{}` failed: {message}", instance.id));
                bail!("restored-sql failed in database `{}`: {message}", entry.database);
            }
        }
        Ok(())
    }
}

async fn run_sql(server: &Server, database: &str, sql: &str, cancel: &CancelSignal) -> anyhow::Result<()> {
    let client = server.connect(database).await.map_err(|error| anyhow::anyhow!(server_message(&error)))?;
    tokio::select! {
        outcome = client.batch_execute(sql) => outcome.map_err(|error| anyhow::anyhow!(server_message(&error))),
        () = cancel.wait() => Err(Superseded.into()),
    }
}

/// The server's own message; tokio-postgres says only "db error".
fn server_message(error: &tokio_postgres::Error) -> String {
    error
        .as_db_error()
        .map_or_else(|| error.to_string(), |error| format!("{}: {}", error.severity(), error.message()))
}

/// Creates the master user as RDS does: no superuser, but owner of the databases and member of `rds_superuser`.
async fn create_master_user(server: &Server, instance: &Instance, verifier: &str) -> anyhow::Result<()> {
    let client = server.connect("postgres").await?;
    let user = instance.settings.master_username.as_deref().context("the instance has no master user")?;
    let user = quote_identifier(user);
    // A verifier consists of base64, `$` and `:`, so there is nothing to escape. The password itself is never part of
    // the SQL.
    client
        .batch_execute(&format!(
            "create role {user} login createdb createrole password '{verifier}' valid until 'infinity';\n\
             grant rds_superuser to {user} with admin option;\n\
             alter database postgres owner to {user};\n\
             alter database template1 owner to {user}"
        ))
        .await?;
    if let Some(database) = instance.settings.db_name.as_deref().filter(|name| *name != "postgres") {
        client.batch_execute(&format!("create database {} owner {user}", quote_identifier(database))).await?;
    }
    Ok(())
}

/// Sets the master user's password.
pub(super) async fn set_password(client: &Client, user: &str, verifier: &str) -> anyhow::Result<()> {
    client.batch_execute(&format!("alter role {} password '{verifier}'", quote_identifier(user))).await?;
    Ok(())
}

fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
