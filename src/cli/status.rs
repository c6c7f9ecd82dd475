//! `lifeboat status`: its flags, and how its report looks.

mod publish;

use std::fmt::Write as _;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::policy::findings;
use super::snapshot::render::age;
use super::{Session, now};
use crate::alarms::publish::Ping;
use crate::aws::Aws;
use crate::drill::journal;
use crate::error::{Kind, Result};
use crate::fleet::InstanceId;
use crate::output::{self, Format, Page, Tone};
use crate::policy::check::Severity;
use crate::status::{self, Database, LastDrill, Report, Wanted};
use crate::vault::Vault;
use crate::verify::Verdict;

use publish::PublishArgs;

/// Show how healthy the backups of DB instances are: age, restorable window, objective, last drill, findings.
///
/// Exit code 1 if a finding is critical. With --format nagios the exit codes are Nagios's: 0 ok, 1 warning, 2 critical.
#[derive(Args, Debug)]
pub(super) struct StatusArgs {
    /// Ids of the DB instances [default: all of the Region]
    #[arg(value_name = "DB")]
    databases: Vec<InstanceId>,
    /// All DB instances of the Region
    #[arg(long, conflicts_with = "databases")]
    all: bool,
    /// In which form; --json is the same as --format json
    #[arg(long, value_enum, value_name = "FORM")]
    format: Option<StatusFormat>,
    #[command(flatten)]
    publish: PublishArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum StatusFormat {
    /// For people
    Table,
    /// One JSON document
    Json,
    /// Prometheus text, for the node exporter's textfile collector
    Prometheus,
    /// One line, and Nagios's exit codes
    Nagios,
}

pub(super) async fn run(args: &StatusArgs, session: &Session) -> Result<Option<Kind>> {
    args.publish.begin(session).await?;
    let outcome = look(args, session).await;
    let (what, line) = match &outcome {
        Ok(report) if worst(report) == Some(Severity::Critical) => (Ping::Fail, nagios(report)),
        Ok(report) => (Ping::Success, nagios(report)),
        Err(error) => (Ping::Fail, error.chain()),
    };
    args.publish.tell(session, what, &line).await;
    show(args, session, &outcome?)
}

fn worst(report: &Report) -> Option<Severity> {
    report.databases.iter().flat_map(|it| &it.findings).map(|it| it.severity).min()
}

/// Looks, judges, and publishes what was seen.
async fn look(args: &StatusArgs, session: &Session) -> Result<Report> {
    let aws: Aws = session.aws().await?;
    let report = judged(&aws, &args.databases, session).await?;
    session.warn_of_clock(&aws);
    args.publish.publish(session, &aws, &report, &prometheus(&report)).await?;
    Ok(report)
}

/// The state of a Region, for the server.
pub(super) async fn of_region(session: &Session) -> Result<Report> {
    judged(&session.aws().await?, &[], session).await
}

async fn judged(aws: &Aws, databases: &[InstanceId], session: &Session) -> Result<Report> {
    let fleet = status::look(aws, databases).await?;
    let vault = session.vault_to_read()?;
    let wanted = |id: &str| Wanted {
        policy: session.config.policy_of(id),
        rpo: session.config.drill_of(id).rpo.unwrap_or(Duration::from_secs(24 * 3600)),
        last_drill: last_drill(&vault, id, session),
    };
    Ok(status::judge(&fleet, aws.region(), wanted, aws.now(now())))
}

fn show(args: &StatusArgs, session: &Session, report: &Report) -> Result<Option<Kind>> {
    let format = args.format.unwrap_or(match session.output.format() {
        Format::Json => StatusFormat::Json,
        Format::Text => StatusFormat::Table,
    });
    let worst = worst(report);
    match format {
        StatusFormat::Table => session.output.report_as(Format::Text, report)?,
        StatusFormat::Json => session.output.report_as(Format::Json, report)?,
        StatusFormat::Prometheus => session.output.report_as(Format::Text, &Text(prometheus(report)))?,
        StatusFormat::Nagios => {
            session.output.report_as(Format::Text, &Text(nagios(report)))?;
            // Nagios reads 1 as a warning and 2 as critical.
            return Ok(worst.map(|worst| if worst == Severity::Critical { Kind::Request } else { Kind::No }));
        }
    }
    Ok((worst == Some(Severity::Critical)).then_some(Kind::No))
}

fn last_drill(vault: &Vault, id: &str, session: &Session) -> Option<LastDrill> {
    match journal::last(vault, id) {
        Ok(last) => last.map(|(run, at, verdict)| {
            let verdict = match verdict {
                Verdict::Pass => "pass",
                Verdict::Fail => "fail",
                Verdict::Unknown => "unknown",
            };
            LastDrill { run, at, verdict: verdict.to_owned() }
        }),
        Err(error) => {
            session.output.warn(error.chain());
            None
        }
    }
}

impl output::Report for Report {
    fn render(&self, page: &mut Page) {
        if self.databases.is_empty() {
            page.line(format!("no DB instances in {}", self.region));
            return;
        }
        let rows = self.databases.iter().map(|it| row(it, self.at));
        page.table(
            &[
                "database",
                "engine",
                "retention",
                "automated",
                "manual",
                "restorable",
                "RPO",
                "last drill",
                "findings",
            ],
            rows.collect(),
        );
        // A few are told in full; of a fleet, `--json` and `policy check` tell the rest.
        if self.databases.len() <= 5 {
            for it in self.databases.iter().filter(|it| !it.findings.is_empty()) {
                page.line("");
                page.line(page.toned(Tone::Strong, format!("`{}`", it.id)));
                findings(&it.findings, page);
            }
        } else {
            let count = |severity| {
                self.databases
                    .iter()
                    .filter(|it| it.findings.first().map(|it| it.severity) == Some(severity))
                    .count()
            };
            let (critical, warning) = (count(Severity::Critical), count(Severity::Warning));
            let fine = self.databases.len() - critical - warning;
            page.line(format!(
                "{} instances in {}: {critical} critical, {warning} with warnings, {fine} without findings",
                self.databases.len(),
                self.region
            ));
        }
    }
}

fn row(it: &Database, now: DateTime<Utc>) -> Vec<(String, Option<Tone>)> {
    let span = |seconds: f64| age(TimeDelta::milliseconds((seconds * 1e3) as i64));
    let newest =
        |newest: &Option<status::Newest>| newest.as_ref().map_or("-".to_owned(), |it| span(it.age_seconds));
    let retention = match it.retention_days {
        0 => ("off".to_owned(), Some(Tone::Bad)),
        days => (format!("{days}d"), None),
    };
    let lag = it.restorable.as_ref().and_then(|it| it.lag_seconds);
    let rpo = match it.rpo.verdict {
        "pass" => ("met".to_owned(), Some(Tone::Good)),
        "fail" => ("MISSED".to_owned(), Some(Tone::Bad)),
        _ => ("unknown".to_owned(), Some(Tone::Faint)),
    };
    let drill = match &it.last_drill {
        None => ("never".to_owned(), Some(Tone::Doubt)),
        Some(last) => {
            let tone = match last.verdict.as_str() {
                "pass" => Tone::Good,
                "fail" => Tone::Bad,
                _ => Tone::Doubt,
            };
            (format!("{} {} ago", last.verdict, age(now - last.at)), Some(tone))
        }
    };
    let first = match it.findings.split_first() {
        None => ("none".to_owned(), Some(Tone::Good)),
        Some((first, rest)) => {
            let tone = if first.severity == Severity::Critical { Tone::Bad } else { Tone::Doubt };
            let more = if rest.is_empty() { String::new() } else { format!(" +{}", rest.len()) };
            (format!("{}{more}", first.code), Some(tone))
        }
    };
    let engine = format!("{} {}", it.engine, it.engine_version);
    vec![
        (it.id.clone(), None),
        (engine, Some(Tone::Faint)),
        retention,
        (newest(&it.newest_automated), None),
        (newest(&it.newest_manual), None),
        (lag.map_or("-".to_owned(), |lag| format!("to {} ago", span(lag))), None),
        rpo,
        drill,
        first,
    ]
}

/// Lines that are printed as they are.
#[derive(Serialize)]
struct Text(String);

impl output::Report for Text {
    fn render(&self, page: &mut Page) {
        for line in self.0.lines() {
            page.line(line);
        }
    }
}

/// The text format of Prometheus: each metric with its help, then one line per database.
fn prometheus(report: &Report) -> String {
    type Value = fn(&Database) -> Option<f64>;
    let stamp = |at: Option<DateTime<Utc>>| at.map(|at| at.timestamp() as f64);
    let metrics: [(&str, &str, Value); 10] = [
        ("backup_retention_days", "Days that automated backups are kept; 0 is off.", |it| {
            Some(f64::from(it.retention_days))
        }),
        ("newest_automated_age_seconds", "Age of the newest automated snapshot.", |it| {
            it.newest_automated.as_ref().map(|it| it.age_seconds)
        }),
        ("newest_manual_age_seconds", "Age of the newest manual snapshot.", |it| {
            it.newest_manual.as_ref().map(|it| it.age_seconds)
        }),
        ("restorable_lag_seconds", "How far the latest restorable time is behind now.", |it| {
            it.restorable.as_ref()?.lag_seconds
        }),
        ("rpo_objective_seconds", "Recovery point objective.", |it| Some(it.rpo.objective_seconds)),
        ("rpo_seconds", "Age of the newest moment that can be brought back.", |it| it.rpo.measured_seconds),
        ("rpo_met", "1 if the recovery point objective is met.", |it| match it.rpo.verdict {
            "pass" => Some(1.0),
            "fail" => Some(0.0),
            _ => None,
        }),
        ("last_drill_passed", "1 if the last drill has passed.", |it| {
            it.last_drill.as_ref().map(|it| f64::from(it.verdict == "pass"))
        }),
        ("findings_critical", "Findings that put data at risk.", |it| Some(count(it, Severity::Critical))),
        ("findings_warning", "Findings that should be mended.", |it| Some(count(it, Severity::Warning))),
    ];
    let mut text = String::new();
    let label = |it: &Database| format!("{{database=\"{}\",region=\"{}\"}}", it.id, report.region);
    for (name, help, value) in metrics {
        let _ = writeln!(text, "# HELP lifeboat_{name} {help}\n# TYPE lifeboat_{name} gauge");
        for it in &report.databases {
            if let Some(value) = value(it) {
                let _ = writeln!(text, "lifeboat_{name}{} {value}", label(it));
            }
        }
    }
    let _ = writeln!(
        text,
        "# HELP lifeboat_last_drill_timestamp_seconds When the last drill ended.\n# TYPE lifeboat_last_drill_timestamp_seconds gauge"
    );
    for it in &report.databases {
        if let Some(at) = stamp(it.last_drill.as_ref().map(|last| last.at)) {
            let _ = writeln!(text, "lifeboat_last_drill_timestamp_seconds{} {at}", label(it));
        }
    }
    text
}

fn count(it: &Database, severity: Severity) -> f64 {
    it.findings.iter().filter(|finding| finding.severity == severity).count() as f64
}

/// One line as Nagios plugins write it: the word, what is wrong, and performance data after the bar.
fn nagios(report: &Report) -> String {
    let all: Vec<_> =
        report.databases.iter().flat_map(|it| it.findings.iter().map(move |finding| (it, finding))).collect();
    let critical: Vec<_> = all.iter().filter(|(_, it)| it.severity == Severity::Critical).collect();
    let word = match (critical.is_empty(), all.is_empty()) {
        (false, _) => "CRITICAL",
        (true, false) => "WARNING",
        (true, true) => "OK",
    };
    let shown: Vec<String> = if critical.is_empty() {
        all.iter().take(3).map(|(it, finding)| format!("{}: {}", it.id, finding.code)).collect()
    } else {
        critical.iter().take(3).map(|(it, finding)| format!("{}: {}", it.id, finding.code)).collect()
    };
    let told = if shown.is_empty() { "no findings".to_owned() } else { shown.join(", ") };
    let (databases, warnings) = (report.databases.len(), all.len() - critical.len());
    let worst = report.databases.iter().filter_map(|it| it.rpo.measured_seconds).fold(0.0, f64::max);
    format!(
        "LIFEBOAT {word} - {told} ({databases} databases)|critical={};;1 warning={warnings};1 worst_rpo={worst:.0}s",
        critical.len()
    )
}
