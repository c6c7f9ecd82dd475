//! Applies a restore plan: requests the instance, waits for it, and sets what only ModifyDBInstance can.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio::time::Instant;

use super::plan::{Change, Plan, SettingsFrom};
use crate::aws::{Arrival, Aws, Creation, Failure, Poll, Sighting, retry_while_wrong_state};
use crate::backup::schedule::quote_for_shell;
use crate::error::{Error, Kind, Result};
use crate::rds::{Instance, InstanceId, tag};
use crate::snapshot::{Event, Tell};

/// What was restored, or would be (`lifeboat.restore/1`).
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    schema: &'static str,
    /// Whether nothing was to be done.
    pub dry_run: bool,
    /// The new instance.
    pub instance_id: String,
    /// Its immutable id, once AWS has said it.
    pub resource_id: Option<String>,
    /// What AWS says of it.
    pub status: String,
    /// Where it can be reached.
    pub endpoint: Option<Endpoint>,
    /// How to connect.
    pub connect: Option<String>,
    /// The instance that it was restored from.
    pub source: String,
    /// The moment that it is of.
    pub moment: Option<DateTime<Utc>>,
    /// Where its settings come from.
    pub settings_from: SettingsFrom,
    /// What is as it was.
    pub carried_over: BTreeMap<&'static str, String>,
    /// What is not.
    pub changed: BTreeMap<&'static str, Change>,
    /// What no restore brings back.
    pub not_carried: Vec<String>,
    /// The parameter group that was made so that nothing in it acts by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub isolated_by: Option<String>,
    /// From the request to available.
    pub seconds: Option<f64>,
    /// How the person who restores connects.
    #[serde(skip)]
    psql: Psql,
}

/// What psql has to be told besides where: what this machine has for it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Psql {
    /// The user, if not the master user.
    pub user: Option<String>,
    /// The database, if not the one that AWS made with the instance.
    pub database: Option<String>,
    /// Parameters of the encryption, such as `sslmode`.
    pub tls: Vec<(&'static str, String)>,
}

impl Psql {
    /// The command that connects to an instance.
    fn connect_command(&self, instance: &Instance) -> Option<String> {
        let (host, port) = instance.endpoint.clone()?;
        let user = self.user.as_ref().unwrap_or(&instance.master_user);
        let database =
            self.database.as_ref().or(instance.db_name.as_ref()).map_or("postgres", String::as_str);
        let mut words = vec![
            ("host", host),
            ("port", port.to_string()),
            ("user", user.clone()),
            ("dbname", database.to_owned()),
        ];
        words.extend(self.tls.iter().cloned());
        let words: Vec<String> =
            words.iter().map(|(key, value)| format!("{key}={}", quote_for_conninfo(value))).collect();
        Some(format!("psql {}", quote_for_shell(&words.join(" "))))
    }
}

/// A value as libpq takes it for one (PostgreSQL manual, "Connection Strings").
fn quote_for_conninfo(value: &str) -> String {
    if !value.is_empty() && !value.contains(|c: char| c.is_whitespace() || "'\\".contains(c)) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// Where an instance can be reached.
#[derive(Debug, Serialize)]
pub(crate) struct Endpoint {
    /// Host name.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl Report {
    /// What would be done.
    pub(crate) fn planned(plan: &Plan, psql: Psql) -> Self {
        Report {
            psql,
            schema: "lifeboat.restore/1",
            dry_run: true,
            instance_id: plan.restore.id.to_string(),
            resource_id: None,
            status: "planned".to_owned(),
            endpoint: None,
            connect: None,
            source: plan.source.clone(),
            moment: plan.moment,
            settings_from: plan.settings_from,
            carried_over: plan.carried_over.clone(),
            changed: plan.changed.clone(),
            not_carried: plan.not_carried.clone(),
            isolated_by: None,
            seconds: None,
        }
    }

    fn show_instance(&mut self, instance: &Instance) {
        self.dry_run = false;
        self.resource_id = Some(instance.resource_id.to_string());
        self.status.clone_from(&instance.reported_status.0);
        self.endpoint = instance.endpoint.clone().map(|(host, port)| Endpoint { host, port });
        if instance.engine == "postgres" {
            self.connect = self.psql.connect_command(instance);
        }
    }
}

/// Asks for the instance until AWS has answered; after a lost answer the run's tag proves which one is ours.
pub(crate) async fn begin_restore(aws: &Aws, plan: &Plan, report: &mut Report, tell: Tell<'_>) -> Result<()> {
    let note = |text| tell(Event::Note(text));
    let creation = Creation { what: "restore", give_up_after: Duration::from_secs(300), note: &note };
    let find_ours = async |failure: &Failure| match aws.instance(&plan.restore.id).await? {
        Some(found) if found.tags.get(tag::RUN).map(String::as_str) != Some(plan.run.as_str()) => {
            Err(Error::from(failure.clone()).hint("Another restore was faster: choose another `--to`."))
        }
        found => Ok(found),
    };
    let begin = async || aws.begin_restore(&plan.restore).await;
    let instance = creation.begin_or_adopt(begin, find_ours, async |_, _| Ok(false)).await?;
    report.show_instance(&instance);
    Ok(())
}

/// Waits until it can be used, then sets what only a change can; [`Kind::StillGoing`] if it is not there by then.
pub(crate) async fn finish_restore(
    aws: &Aws,
    plan: Plan,
    report: &mut Report,
    poll: Poll,
    tell: Tell<'_>,
) -> Result<Option<Kind>> {
    let began = Instant::now();
    if !wait_until_available(aws, &plan.restore.id, poll, report, tell).await? {
        return Ok(Some(Kind::StillGoing));
    }
    report.seconds = Some(began.elapsed().as_secs_f64());
    if plan.afterwards != crate::rds::Settings::default() {
        tell(Event::Note("setting what a restore does not take".to_owned()));
        let settled = set_remaining_settings(aws, &plan, poll).await;
        if let Err(error) = settled {
            // The data is back; a setting that is not must be known, not hide that.
            report
                .not_carried
                .insert(0, format!("{} could not be set: {}", changed_later(&plan), error.chain()));
            return Ok(Some(Kind::Partial));
        }
        let left = Poll { give_up_after: poll.give_up_after.saturating_sub(began.elapsed()), ..poll };
        if !wait_until_available(aws, &plan.restore.id, left, report, tell).await? {
            return Ok(Some(Kind::StillGoing));
        }
    }
    Ok(None)
}

fn changed_later(plan: &Plan) -> String {
    plan.afterwards.pairs().into_iter().map(|(key, _)| key).collect::<Vec<_>>().join(", ")
}

async fn set_remaining_settings(aws: &Aws, plan: &Plan, poll: Poll) -> Result<()> {
    let poll = Poll { give_up_after: Duration::from_secs(900).min(poll.give_up_after), ..poll };
    let set = async || aws.change_settings(&plan.restore.id, &plan.afterwards).await;
    retry_while_wrong_state(poll, set).await.map_err(Error::from)
}

/// Waits until an instance can be used; `false` if it cannot by then.
pub(crate) async fn wait_until_available(
    aws: &Aws,
    id: &InstanceId,
    poll: Poll,
    report: &mut Report,
    tell: Tell<'_>,
) -> Result<bool> {
    let on_sighting = |sighting: Sighting<'_>| match sighting {
        Sighting::Instance { instance, is_new_status } => {
            report.show_instance(instance);
            if is_new_status {
                tell(Event::Status { what: format!("`{id}`"), status: &instance.reported_status.0 });
            }
        }
        Sighting::NoAnswer(failure) => tell(Event::Note(format!("AWS gave no status: {failure}"))),
    };
    match aws.wait_until_available(id, poll, on_sighting).await? {
        Arrival::Available(_) => Ok(true),
        Arrival::Never { why, remedy } => {
            Err(Error::outside(format!("`{id}` did not become available: {why}")).hint(remedy).hint(format!(
                "It is billed while it exists: `aws rds delete-db-instance --db-instance-identifier {id} --skip-final-snapshot`."
            )))
        }
        Arrival::StillGoing { .. } => Ok(false),
    }
}
