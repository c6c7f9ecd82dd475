//! `/metrics` for Prometheus. Names and labels are a contract with dashboards and alarms.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};

use super::answers::{Answer, text_response};
use super::app::App;
use super::blocking::run_blocking;
use super::drills::{self, Drill, Drills};
use super::overview::{self, Database, Overview};
use crate::backup::{DatabaseType, catalogue, failures};
use crate::drill::outcome::Outcome;
use crate::error::Result;
use crate::policy::check::{Finding, Severity};

pub(super) async fn serve(State(app): State<Arc<App>>) -> Response {
    let inner = Arc::clone(&app);
    match run_blocking(move || write(&inner)).await {
        Ok(metrics) => text_response("text/plain; version=0.0.4; charset=utf-8", metrics),
        Err(error) => Answer::of(&error).at((app.setup.clock)()).into_response(),
    }
}

fn write(app: &App) -> Result<String> {
    let drills = drills::read(&app.setup.vault)?;
    let overview =
        overview::of(app, &catalogue::read(&app.setup.vault)?, &failures::read(&app.setup.vault)?, &drills);
    let mut page = Page(String::new());
    page.total("up", "Whether the server answers.", Some(1.0));
    of_databases(&mut page, &overview);
    of_instances(&mut page, &overview);
    of_drills(&mut page, &drills);
    let free = overview.free_bytes.map(|it| it as f64);
    page.total("vault_free_bytes", "Free space where the vault is.", free);
    page.total("jobs_running", "Running jobs.", Some(overview.jobs_running as f64));
    let lost = app.audit.lost() as f64;
    page.total("audit_lines_lost", "Lines of the audit log that could not be written.", Some(lost));
    Ok(page.0)
}

struct Page(String);

impl Page {
    /// A metric with one value for all.
    fn total(&mut self, name: &str, help: &str, value: Option<f64>) {
        self.gauge(name, help, [(String::new(), value)]);
    }

    /// One metric: labels and values; those without a value are left out.
    fn gauge(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = (String, Option<f64>)>) {
        let _ = writeln!(self.0, "# HELP lifeboat_{name} {help}\n# TYPE lifeboat_{name} gauge");
        for (labels, value) in samples {
            if let Some(value) = value {
                let _ = writeln!(self.0, "lifeboat_{name}{labels} {value}");
            }
        }
    }
}

/// A label, escaped.
fn label(key: &str, value: &str) -> String {
    let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("{{{key}=\"{escaped}\"}}")
}

/// The same with more labels.
fn with(labels: String, more: &[(&str, &str)]) -> String {
    more.iter().fold(labels, |labels, (key, value)| {
        format!("{},{}", labels.strip_suffix('}').unwrap_or(&labels), &label(key, value)[1..])
    })
}

fn count(findings: &[Finding], severity: Severity) -> Option<f64> {
    Some(findings.iter().filter(|finding| finding.severity == severity).count() as f64)
}

fn of_databases(page: &mut Page, overview: &Overview) {
    type Value = fn(&Database) -> Option<f64>;
    let metrics: [(&str, &str, Value); 12] = [
        ("backups", "Backups in the vault.", |it| Some(it.backups as f64)),
        ("backups_size_bytes", "Bytes of their files.", |it| Some(it.total_size_bytes as f64)),
        ("last_success_timestamp_seconds", "When the newest backup was taken.", |it| {
            it.newest.as_ref().map(|copy| copy.timestamp.timestamp() as f64)
        }),
        ("last_verified_timestamp_seconds", "When the newest proven backup was taken.", |it| {
            it.newest_proven.as_ref().map(|copy| copy.timestamp.timestamp() as f64)
        }),
        ("last_restore_proof_timestamp_seconds", "When a backup was last proven by a restore.", |it| {
            it.newest_restored.as_ref().and_then(|copy| copy.proven_at).map(|at| at.timestamp() as f64)
        }),
        ("last_backup_duration_seconds", "How long the newest backup took.", |it| {
            it.trend.last().map(|point| point.duration_seconds)
        }),
        ("last_backup_plain_bytes", "Bytes of the content of the newest backup.", |it| {
            it.trend.last().map(|point| point.plain_bytes as f64)
        }),
        ("backup_rpo_objective_seconds", "Recovery point objective.", |it| Some(it.rpo_objective_seconds)),
        ("backup_rpo_seconds", "Age of the newest proven backup.", |it| it.rpo_measured_seconds),
        ("backup_rto_seconds", "How long the last restore took.", |it| it.rto_measured_seconds),
        ("backup_findings_critical", "Findings that put data at risk.", |it| {
            count(&it.findings, Severity::Critical)
        }),
        ("backup_findings_warning", "Findings that should be fixed.", |it| {
            count(&it.findings, Severity::Warning)
        }),
    ];
    let labels = |it: &Database| {
        let own = label("database", &it.database);
        let namesakes = overview.databases.iter().filter(|other| other.database == it.database);
        // The name alone would not be unique, and Prometheus would keep only one.
        match (namesakes.count(), &it.identity) {
            (..=1, _) => own,
            (_, Some(identity)) => {
                with(own, &[("type", identity.kind().as_str()), ("identity", &identity.distinction())])
            }
            (_, None) => {
                with(own, &[("type", it.database_type.map_or("", DatabaseType::as_str)), ("identity", "")])
            }
        }
    };
    for (name, help, value) in metrics {
        page.gauge(name, help, overview.databases.iter().map(|it| (labels(it), value(it))));
    }
    let banner = &overview.banner;
    page.total("databases", "Databases that are checked.", Some(banner.databases as f64));
    let at_risk = Some(banner.at_risk.len() as f64);
    page.total("databases_at_risk", "Databases at risk, as the dashboard names them.", at_risk);
}

fn of_instances(page: &mut Page, overview: &Overview) {
    type Value = fn(&crate::status::Database) -> Option<f64>;
    let Some(report) = &overview.instances.report else { return };
    let metrics: [(&str, &str, Value); 6] = [
        ("instance_retention_days", "Days that automated backups are kept.", |it| {
            Some(f64::from(it.retention_days))
        }),
        ("instance_rpo_objective_seconds", "Recovery point objective.", |it| Some(it.rpo.objective_seconds)),
        ("instance_rpo_seconds", "Age of the newest moment that can be restored.", |it| {
            it.rpo.measured_seconds
        }),
        ("instance_restorable_lag_seconds", "How far the latest restorable time lags behind.", |it| {
            it.restorable.as_ref()?.lag_seconds
        }),
        ("instance_findings_critical", "Findings that put data at risk.", |it| {
            count(&it.findings, Severity::Critical)
        }),
        ("instance_findings_warning", "Findings that should be fixed.", |it| {
            count(&it.findings, Severity::Warning)
        }),
    ];
    for (name, help, value) in metrics {
        let samples = report.databases.iter().map(|it| (instance(it), value(it)));
        page.gauge(name, help, samples);
    }
}

/// The labels of a DB instance: two accounts may have one of the same name.
fn instance(it: &crate::status::Database) -> String {
    let own = label("instance", &it.id);
    match &it.place.account {
        None => own,
        Some(account) => with(own, &[("account", account), ("region", &it.place.region)]),
    }
}

fn of_drills(page: &mut Page, drills: &Drills) {
    type Value = fn(&[&Drill]) -> Option<f64>;
    let metrics: [(&str, &str, Value); 6] = [
        ("drill_last_timestamp_seconds", "When the last drill ended.", |it| {
            last(it)?.report.finished_at.map(|at| at.timestamp() as f64)
        }),
        ("drill_last_pass_timestamp_seconds", "When a drill last passed.", |it| {
            let passed = it.iter().find(|drill| drill.outcome == Outcome::Pass)?;
            passed.report.finished_at.map(|at| at.timestamp() as f64)
        }),
        ("drill_passed", "1 if the last drill passed.", |it| {
            Some(f64::from(last(it)?.outcome == Outcome::Pass))
        }),
        ("drill_rto_seconds", "Recovery time that the last drill measured.", |it| {
            last(it)?.report.rto.measured_seconds
        }),
        ("drill_rto_objective_seconds", "Recovery time objective.", |it| {
            Some(last(it)?.report.rto.objective_seconds)
        }),
        ("drill_rpo_seconds", "Recovery point that the last drill measured.", |it| {
            last(it)?.report.rpo.measured_seconds
        }),
    ];
    let databases: Vec<(String, Vec<&Drill>)> = drills.by_database().collect();
    let labels = |name: &str, of: &[&Drill]| {
        let mut labels = String::new();
        if let Some(first) = of.first() {
            let which = first.report.database_key();
            labels = label("instance", &which.id);
            // The name alone would not be unique.
            if name != which.id {
                let account = which.account.unwrap_or_default();
                labels = with(labels, &[("account", &account), ("region", &which.region)]);
            }
        }
        labels
    };
    for (name, help, value) in metrics {
        page.gauge(name, help, databases.iter().map(|(name, of)| (labels(name, of), value(of))));
    }
}

/// The last drill that has ended.
fn last<'a>(drills: &[&'a Drill]) -> Option<&'a Drill> {
    drills.iter().find(|drill| drill.is_over()).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_name_stays_inside_its_label() {
        assert_eq!(label("database", "a\"} 1\nb\\"), "{database=\"a\\\"} 1\\nb\\\\\"}");
    }
}
