//! `lifeboat status --publish`: what was seen goes to CloudWatch, for the alarms; to Prometheus; and to a dead man's switch.

use std::path::PathBuf;

use clap::Args;

use crate::alarms::publish::{self, Health, LastDrill};
use crate::aws::Aws;
use crate::cli::Session;
use crate::drill::journal;
use crate::error::Result;
use crate::rds::{InstanceId, Measurement};
use crate::status::{Database, Report};
use crate::web;

/// Where the state of the fleet goes besides stdout.
#[derive(Args, Debug)]
pub(super) struct PublishArgs {
    /// Publish ages of backups, copies and drills to CloudWatch, in the namespace `Lifeboat`: what the alarms about backups
    /// stand on. Run it every 15 minutes
    #[arg(long)]
    publish: bool,
    /// Region where copies of the snapshots are kept
    #[arg(long, value_name = "REGION", requires = "publish")]
    copies_in: Option<String>,
    /// Also write the Prometheus text to a file, for the node exporter's textfile collector
    #[arg(long, value_name = "FILE")]
    textfile: Option<PathBuf>,
    /// A dead man's switch (healthchecks.io and the like) that is told of the start, and of success or failure
    #[arg(long, value_name = "URL", env = "LIFEBOAT_PING_URL", hide_env_values = true)]
    ping: Option<String>,
}

impl PublishArgs {
    /// Refuses what is no URL before anything is done.
    pub(super) fn check_target(&self) -> Result<()> {
        self.ping.as_deref().map_or(Ok(()), web::refuse_bad_url)
    }

    /// The switch.
    pub(super) fn ping(&self) -> Option<&str> {
        self.ping.as_deref().filter(|url| web::refuse_bad_url(url).is_ok())
    }

    /// Writes what Prometheus is to read.
    pub(super) fn write(&self, text: &str) -> Result<()> {
        self.textfile.as_deref().map_or(Ok(()), |path| publish::write_textfile(path, text))
    }

    /// Publishes what was seen of a place, in that place.
    pub(super) async fn publish(&self, session: &Session, aws: &Aws, report: &Report) -> Result<()> {
        if !self.publish {
            return Ok(());
        }
        let elsewhere = match &self.copies_in {
            Some(region) => Some(aws.in_region(region).await?),
            None => None,
        };
        let mut measurements: Vec<Measurement> = Vec::new();
        for database in &report.databases {
            let health = observe_health(session, elsewhere.as_ref(), database).await?;
            measurements.extend(publish::measurements(&health, report.at));
        }
        publish::publish(aws, &measurements).await?;
        let place = if session.config.accounts.is_empty() {
            String::new()
        } else {
            format!(" in {}", aws.location())
        };
        session.output.say(format!("{} values published in namespace Lifeboat{place}", measurements.len()));
        Ok(())
    }
}

async fn observe_health(session: &Session, elsewhere: Option<&Aws>, database: &Database) -> Result<Health> {
    let newest_copy = match elsewhere {
        Some(aws) => publish::newest_copy(aws, &InstanceId::parse(&database.id)?).await?,
        None => None,
    };
    let last_drill = database.last_drill.as_ref().map(|last| LastDrill {
        at: last.at,
        passed: last.verdict == "pass",
        rto_seconds: rto_of(session, &database.id, &last.run),
    });
    Ok(Health {
        database: database.id.clone(),
        newest_backup: database.newest_snapshot(),
        latest_restorable: database.restorable.as_ref().and_then(|window| window.latest),
        newest_copy,
        last_drill,
    })
}

/// What the last drill took. Evidence that is damaged leaves it unknown; `drill show` says why.
fn rto_of(session: &Session, database: &str, run: &str) -> Option<f64> {
    let vault = session.vault_to_read().ok()?;
    journal::read_record(&vault, database, run).ok()??.rto.measured_seconds
}
