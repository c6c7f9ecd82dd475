//! `lifeboat status`: its flags, and how its report looks.

mod publish;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::places::{Seek, Target};
use super::policy::render_findings;
use super::{Session, now};
use crate::drill::journal;
use crate::drill::proof::{self, ProvenDrill};
use crate::error::{Error, Kind, Result};
use crate::notify::{Announcement, Nature, Ping, State, Subject};
use crate::output::{self, Format, Page, escape_controls};
use crate::policy::check::{self, Severity, group_findings};
use crate::rds::{Instance, InstanceId, Unreached};
use crate::status::{self, Database, LastDrill, Report, Wanted};
use crate::vault::Vault;
use crate::when::{format_age, format_ago};
use crate::words::Tone;

use publish::PublishArgs;

/// Show how healthy the backups of DB instances are: age, restorable window, objective, last drill, findings.
///
/// Exit code 1 if a finding is critical, else 5 if an account or Region of lifeboat.toml could not be reached. With
/// --format nagios the exit codes are Nagios's: 0 ok, 1 warning, 2 critical, 3 unknown.
#[derive(Args, Debug)]
pub(super) struct StatusArgs {
    /// Ids of the DB instances [default: all of the Region, or of all accounts and Regions of lifeboat.toml]
    #[arg(value_name = "DB")]
    databases: Vec<InstanceId>,
    /// All DB instances
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

impl StatusArgs {
    /// Whether a program reads the report.
    pub(super) fn is_json(&self) -> bool {
        matches!(self.format, Some(StatusFormat::Json))
    }
}

pub(super) async fn run(args: &StatusArgs, session: &Session) -> Result<Option<Kind>> {
    args.publish.check_target()?;
    let report = read_status(args, session).await?;
    let code = u8::from(worst_severity(&report) == Some(Severity::Critical));
    session.ping_with(Ping { line: render_nagios(&report), code });
    for database in &report.databases {
        session.announce(announce_database(database));
    }
    show_report(args, session, &report)
}

impl StatusArgs {
    /// The dead man's switch of this call.
    pub(super) fn ping(&self) -> Option<&str> {
        self.publish.ping()
    }
}

/// What there is to say of a database. The same findings again are no news.
fn announce_database(database: &Database) -> Announcement {
    let worst = database.findings.iter().min_by_key(|finding| finding.severity);
    let state = match check::worst_severity(&database.findings) {
        Some(Severity::Critical) => State::Fail,
        Some(Severity::Warning) => State::Warning,
        _ => State::Ok,
    };
    let codes =
        database.findings.iter().filter(|finding| Some(finding.severity) == worst.map(|it| it.severity));
    let mut codes: Vec<&str> = codes.map(|finding| finding.code).collect();
    codes.sort_unstable();
    let shown = worst.filter(|_| state != State::Ok);
    Announcement {
        subject: Subject::Database(database.id.clone()),
        place: database.place.account.is_some().then(|| database.place.to_string()),
        nature: Nature::Condition,
        state,
        verdict: state.severity().to_owned(),
        reason: shown.map_or("no finding that matters".to_owned(), |finding| finding.message.clone()),
        mark: if state == State::Ok { String::new() } else { codes.join(",") },
        evidence: None,
        next: shown.map_or("nothing to do".to_owned(), |finding| finding.remedy.clone()),
    }
}

fn worst_severity(report: &Report) -> Option<Severity> {
    report.databases.iter().filter_map(|it| check::worst_severity(&it.findings)).min()
}

/// Looks, judges, and publishes what was seen.
async fn read_status(args: &StatusArgs, session: &Session) -> Result<Report> {
    let targets = session.targets(&args.databases, Seek::ToRead).await?;
    let publish = &args.publish;
    let looked = targets
        .each(session, async |target: Target| {
            let report = judge_target(&target, session).await?;
            session.warn_of_clock(&target.aws);
            publish.publish(session, &target.aws, &report).await?;
            Ok(report)
        })
        .await?;
    let report = merge_reports(looked.done, looked.unreached)?;
    publish.write(&render_prometheus(&report))?;
    Ok(report)
}

/// The state of everything, for the server.
pub(super) async fn of_fleet(session: &Session) -> Result<Report> {
    let targets = session.targets(&[], Seek::ToRead).await?;
    let looked = targets.each(session, |target| async move { judge_target(&target, session).await }).await?;
    merge_reports(looked.done, looked.unreached)
}

fn merge_reports(reports: Vec<Report>, unreached: Vec<Unreached>) -> Result<Report> {
    Report::merge(reports, unreached).ok_or_else(|| Error::new(Kind::Bug, "no place was looked at"))
}

async fn judge_target(target: &Target, session: &Session) -> Result<Report> {
    let fleet = status::read_fleet(&target.aws, &target.only).await?;
    let vault = session.vault_to_read()?;
    let wanted = |instance: &Instance| {
        let id = instance.id.as_str();
        Wanted {
            policy: session.config.policy.of(id),
            rpo: session.config.drill.of(id).rpo.unwrap_or(Duration::from_secs(24 * 3600)),
            last_drill: last_drill(&vault, instance, session),
        }
    };
    Ok(status::judge_fleet(&fleet, &target.aws.location(), wanted, target.aws.now(now())))
}

fn show_report(args: &StatusArgs, session: &Session, report: &Report) -> Result<Option<Kind>> {
    let format = args.format.unwrap_or(match session.output.format() {
        Format::Json => StatusFormat::Json,
        Format::Text => StatusFormat::Table,
    });
    let worst = worst_severity(report);
    let kind = match worst {
        Some(Severity::Critical) => Some(Kind::No),
        _ => (!report.unreached.is_empty()).then_some(Kind::Partial),
    };
    match format {
        StatusFormat::Table => {
            // A warning leaves the exit code alone, and is worth saying all the same.
            let is_worth_saying = kind.or(worst.map(|_| Kind::No));
            session.output.conclude_as(Format::Text, report, is_worth_saying)?;
        }
        StatusFormat::Json => session.output.report_as(Format::Json, report)?,
        StatusFormat::Prometheus => {
            session.output.report_as(Format::Text, &Text(render_prometheus(report)))?
        }
        StatusFormat::Nagios => {
            session.output.report_as(Format::Text, &Text(render_nagios(report)))?;
            // Nagios reads 1 as a warning and 2 as critical.
            // Nagios reads 3 as unknown: worse than a warning.
            return Ok(match worst {
                Some(Severity::Critical) => Some(Kind::Request),
                _ if !report.unreached.is_empty() => Some(Kind::Outside),
                Some(Severity::Warning) => Some(Kind::No),
                None => None,
            });
        }
    }
    Ok(kind)
}

fn last_drill(vault: &Vault, instance: &Instance, session: &Session) -> Option<LastDrill> {
    let last = match proof::newest_drill(vault, instance.id.as_str()) {
        Ok(last) => last,
        Err(error) => {
            session.output.warn(error.chain());
            None
        }
    };
    if let Some(last) = last.as_ref().filter(|last| !last.is_sound) {
        session.output.warn(format!(
            "the record of drill {run} of `{id}` is not as it was written, and proves nothing: `lifeboat drill \
             verify-evidence {id}` says more",
            run = last.run,
            id = instance.id
        ));
    }
    // Two accounts may each have a database of that name: a drill of the one proves nothing of the other.
    let last = match last {
        Some(last) if !session.config.accounts.is_empty() => of_this_one(vault, instance, last),
        last => last,
    };
    last.map(|last| LastDrill { run: last.run, at: last.at, verdict: last.verdict.word().to_owned() })
}

/// The last drill of this very instance, which is not always the last one of that name.
fn of_this_one(vault: &Vault, instance: &Instance, last: ProvenDrill) -> Option<ProvenDrill> {
    let (id, resource) = (instance.id.as_str(), instance.resource_id.to_string());
    let is_its = |report: &crate::drill::evidence::Report| report.source.resource_id == resource;
    match journal::read_record(vault, id, &last.run) {
        Ok(Some(report)) if is_its(&report) => Some(last),
        _ => {
            let records = proof::read_records(vault, &[id.to_owned()]).ok()?;
            let is_over =
                |report: &&crate::drill::evidence::Report| is_its(report) && report.finished_at.is_some();
            let report = records.reports.iter().find(is_over)?;
            let (run, is_sound) = (report.run.clone(), records.is_sound(report));
            Some(ProvenDrill { run, at: report.finished_at?, verdict: report.verdict, is_sound })
        }
    }
}

impl output::Report for Report {
    fn render(&self, page: &mut Page) {
        for one in &self.unreached {
            page.line(format!(
                "{} {}: {}",
                page.toned(Tone::Bad, "not reached"),
                one.place,
                escape_controls(&one.error)
            ));
        }
        if self.databases.is_empty() {
            page.line(format!("no DB instances in {}", self.region));
            return;
        }
        let columns = [
            "database",
            "engine",
            "retention",
            "automated",
            "manual",
            "restorable",
            "RPO",
            "last drill",
            "findings",
        ];
        let rows = self.databases.iter().map(|it| status_row(it, self.at));
        if self.is_over_several() {
            let with_place = |(it, mut row): (&Database, Row)| {
                row.insert(1, (it.place.to_string(), Some(Tone::Faint)));
                row
            };
            let titles = [&columns[..1], &["where"], &columns[1..]].concat();
            page.table(&titles, self.databases.iter().zip(rows).map(with_place).collect());
        } else {
            page.table(&columns, rows.collect());
        }
        if self.databases.len() > 1 {
            let count = |severity| {
                self.databases
                    .iter()
                    .filter(|it| check::worst_severity(&it.findings) == Some(severity))
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
        for place in self.places.iter().collect::<BTreeSet<_>>() {
            let here: Vec<&Database> = self.databases.iter().filter(|it| it.place == *place).collect();
            let shared = group_findings(here.iter().map(|it| (it.id.as_str(), it.findings.as_slice())));
            if shared.is_empty() {
                continue;
            }
            page.line("");
            if self.is_over_several() {
                page.line(page.toned(Tone::Strong, place.to_string()));
            }
            render_findings(&shared, here.len(), page);
        }
    }
}

type Row = Vec<(String, Option<Tone>)>;

fn status_row(it: &Database, now: DateTime<Utc>) -> Row {
    let span = |seconds: f64| format_age(TimeDelta::milliseconds((seconds * 1e3) as i64));
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
            (format!("{} {}", last.verdict, format_ago(last.at, now)), Some(tone))
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
fn render_prometheus(report: &Report) -> String {
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
        ("findings_critical", "Findings that put data at risk.", |it| {
            Some(count_findings(it, Severity::Critical))
        }),
        ("findings_warning", "Findings that should be mended.", |it| {
            Some(count_findings(it, Severity::Warning))
        }),
    ];
    let mut text = String::new();
    let label = |it: &Database| match &it.place.account {
        None => format!("{{database=\"{}\",region=\"{}\"}}", it.id, it.place.region),
        Some(account) => {
            format!("{{database=\"{}\",account=\"{account}\",region=\"{}\"}}", it.id, it.place.region)
        }
    };
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
    let _ = writeln!(
        text,
        "# HELP lifeboat_reached 1 if the account and Region could be looked at.\n# TYPE lifeboat_reached gauge"
    );
    let unreached: Vec<_> = report.unreached.iter().map(|one| &one.place).collect();
    let reached = report.places.iter().filter(|place| !unreached.contains(place)).map(|place| (place, 1));
    for (place, value) in reached.chain(unreached.iter().map(|place| (*place, 0))) {
        let account = place.account.as_ref().map(|name| format!("account=\"{name}\",")).unwrap_or_default();
        let _ = writeln!(text, "lifeboat_reached{{{account}region=\"{}\"}} {value}", place.region);
    }
    text
}

fn count_findings(it: &Database, severity: Severity) -> f64 {
    it.findings.iter().filter(|finding| finding.severity == severity).count() as f64
}

/// One line as Nagios plugins write it: the word, what is wrong, and performance data after the bar.
fn render_nagios(report: &Report) -> String {
    let all: Vec<_> =
        report.databases.iter().flat_map(|it| it.findings.iter().map(move |finding| (it, finding))).collect();
    let critical: Vec<_> = all.iter().filter(|(_, it)| it.severity == Severity::Critical).collect();
    let unreached: Vec<String> =
        report.unreached.iter().map(|one| format!("{}: not reached", one.place)).collect();
    let word = match (critical.is_empty(), unreached.is_empty(), all.is_empty()) {
        (false, _, _) => "CRITICAL",
        (true, false, _) => "UNKNOWN",
        (true, true, false) => "WARNING",
        (true, true, true) => "OK",
    };
    let mut shown: Vec<String> = if critical.is_empty() {
        all.iter().take(3).map(|(it, finding)| format!("{}: {}", it.id, finding.code)).collect()
    } else {
        critical.iter().take(3).map(|(it, finding)| format!("{}: {}", it.id, finding.code)).collect()
    };
    shown.splice(0..0, unreached);
    let told = if shown.is_empty() { "no findings".to_owned() } else { shown.join(", ") };
    let (databases, warnings) = (report.databases.len(), all.len() - critical.len());
    let worst = report.databases.iter().filter_map(|it| it.rpo.measured_seconds).fold(0.0, f64::max);
    format!(
        "LIFEBOAT {word} - {told} ({databases} databases)|critical={};;1 warning={warnings};1 worst_rpo={worst:.0}s",
        critical.len()
    )
}
