//! Where an instance's backups fall short of what is wanted: pure, one finding each, with the command that mends it.

use serde::Serialize;

use super::State;
use super::window::Window;
use crate::config::PolicySettings;
use crate::fleet::Instance;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Data is at risk now.
    Critical,
    /// It should be mended.
    Warning,
}

/// One way in which an instance falls short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// A word for programs.
    pub code: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// What is so.
    pub message: String,
    /// What mends it; a command where one does.
    pub remedy: String,
}

impl Finding {
    /// A finding that puts data at risk.
    pub fn critical(code: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Finding { code, severity: Severity::Critical, message: message.into(), remedy: remedy.into() }
    }

    /// A finding that should be mended.
    pub fn warning(code: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Finding { code, severity: Severity::Warning, message: message.into(), remedy: remedy.into() }
    }
}

/// What an instance falls short of, and what is special about it.
pub fn check(instance: &Instance, wanted: &PolicySettings) -> (Vec<Finding>, Vec<String>) {
    let state = State::of(instance);
    let id = &instance.id;
    let (mut findings, mut notes) = (Vec::new(), Vec::new());
    let set = |flags: &str| format!("lifeboat policy set {id} {flags}");
    match (&instance.cluster, &instance.replica_of) {
        (Some(cluster), _) => {
            notes.push(format!("a member of DB cluster `{cluster}`, which is backed up as a whole"))
        }
        (None, Some(source)) => notes.push(format!("a read replica of `{source}`, whose backups count")),
        (None, None) => findings.extend(retention(&state, wanted, &set)),
    }
    if instance.aws_backup.is_some() {
        notes.push("AWS Backup keeps its continuous backups".to_owned());
    }
    if instance.cluster.is_none() && instance.replica_of.is_none() {
        findings.extend(windows(&state, wanted, &set));
    }
    if !state.encrypted && wanted.encrypted.unwrap_or(true) {
        findings.push(Finding::warning(
            "not_encrypted",
            "its storage and snapshots are not encrypted; KEY is a customer managed key, since what AWS's own key (alias/aws/rds) \
             encrypts can never be shared with another account",
            format!(
                "lifeboat snapshot create {id} --id {id}-plain && lifeboat snapshot copy {id}-plain --kms-key KEY && \
                 lifeboat restore snapshot {id}-plain-copy --to {id}-encrypted"
            ),
        ));
    }
    if !state.copy_tags_to_snapshot && wanted.copy_tags.unwrap_or(true) && instance.cluster.is_none() {
        findings.push(Finding::warning(
            "copy_tags_off",
            "its snapshots do not get its tags",
            set("--copy-tags true"),
        ));
    }
    if !state.deletion_protection && wanted.deletion_protection.unwrap_or(true) {
        findings.push(Finding::warning(
            "no_deletion_protection",
            "anyone with the right to delete it can, and its automated backups with it",
            set("--deletion-protection true"),
        ));
    }
    findings.retain(|finding| !wanted.ignore.iter().flatten().any(|code| code == finding.code));
    findings.sort_by_key(|finding| finding.severity);
    (findings, notes)
}

fn retention(state: &State, wanted: &PolicySettings, set: &dyn Fn(&str) -> String) -> Option<Finding> {
    let least = wanted.retention_days.unwrap_or(7);
    let remedy = set(&format!("--retention-days {least}"));
    match state.retention_days {
        0 => Some(Finding::critical(
            "backups_off",
            "automated backups are off: there is no point-in-time restore",
            remedy,
        )),
        days if days < least => Some(Finding::warning(
            "retention_short",
            format!("automated backups are kept for {days} days, fewer than {least}"),
            remedy,
        )),
        _ => None,
    }
}

fn windows(state: &State, wanted: &PolicySettings, set: &dyn Fn(&str) -> String) -> Vec<Finding> {
    let mut findings = Vec::new();
    if state.retention_days == 0 {
        return findings;
    }
    let Some(text) = &state.backup_window else {
        findings.push(Finding::warning(
            "window_unset",
            "it has no backup window",
            set("--backup-window 03:00-03:30"),
        ));
        return findings;
    };
    let Ok(backup) = Window::daily(text) else { return findings };
    let maintenance = state.maintenance_window.as_deref().and_then(|text| Window::weekly(text).ok());
    if maintenance.is_some_and(|maintenance| maintenance.meets(backup)) {
        findings.push(Finding::warning(
            "window_overlaps_maintenance",
            format!("backup window {text} overlaps the maintenance window"),
            set("--backup-window HH:MM-HH:MM"),
        ));
    }
    if let Some(stopped) = &wanted.stopped
        && Window::daily(stopped).is_ok_and(|stopped| stopped.meets(backup))
    {
        findings.push(Finding::warning(
            "window_while_stopped",
            format!("backup window {text} falls into {stopped}, when the instance is stopped: no backup is made then"),
            set("--backup-window HH:MM-HH:MM"),
        ));
    }
    if let Some(configured) = wanted.backup_window.as_ref().filter(|configured| *configured != text) {
        findings.push(Finding::warning(
            "window_differs",
            format!("its backup window is {text}, not {configured}"),
            set(&format!("--backup-window {configured}")),
        ));
    }
    findings
}
