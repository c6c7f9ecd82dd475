//! How the reports of snapshots look.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::output::{self, Page};
use crate::rds::{SnapshotStatus, Unreached};
use crate::retention::{PruneReport, Verdict};
use crate::snapshot::adopt::AdoptReport;
use crate::snapshot::create::PlanReport;
use crate::snapshot::delete::DeleteReport;
use crate::snapshot::{Report, copy};
use crate::when::{format_age, format_time};
use crate::words::Tone;

/// Snapshots of one place, or several.
#[derive(Serialize)]
pub(super) struct List {
    schema: &'static str,
    snapshots: Vec<Report>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unreached: Vec<Unreached>,
    #[serde(skip)]
    now: DateTime<Utc>,
}

impl List {
    pub(super) fn new(snapshots: Vec<Report>, unreached: Vec<Unreached>, now: DateTime<Utc>) -> Self {
        List { schema: "lifeboat.snapshot-list/1", snapshots, unreached, now }
    }
}

impl output::Report for List {
    fn render(&self, page: &mut Page) {
        if self.snapshots.is_empty() {
            page.line("no snapshots");
            return;
        }
        let is_over_several = self.snapshots.iter().any(|it| it.source.place.account.is_some());
        let rows = self.snapshots.iter().map(|it| {
            let old = it.created_at.map_or("-".to_owned(), |at| format_age(self.now - at));
            let expires = match (&it.class, it.expires_at) {
                (None, _) => "-".to_owned(),
                (Some(_), None) => "never".to_owned(),
                (Some(_), Some(at)) if at <= self.now => "expired".to_owned(),
                (Some(_), Some(at)) => format!("in {}", format_age(at - self.now)),
            };
            vec![
                (it.snapshot_id.clone(), None),
                (database_label(it, is_over_several), None),
                (it.snapshot_type.to_string(), Some(Tone::Faint)),
                (it.class.clone().unwrap_or("-".to_owned()), None),
                (old, None),
                (expires, None),
                (format!("{} GiB", it.storage_gib), Some(Tone::Faint)),
                (it.status.to_string(), Some(tone_of_status(&it.status))),
            ]
        });
        page.table(
            &["snapshot", "database", "type", "class", "age", "expires", "size", "status"],
            rows.collect(),
        );
    }
}

/// A database, and where it is if that is not clear.
fn database_label(it: &Report, is_over_several: bool) -> String {
    if is_over_several { format!("{} ({})", it.source.id, it.source.place) } else { it.source.id.clone() }
}

impl output::Report for Report {
    fn render(&self, page: &mut Page) {
        let head = format!("snapshot `{}` of `{}`", self.snapshot_id, self.source.id);
        page.heading(tone_of_status(&self.status), &self.status.as_str().to_uppercase(), head, self.seconds);
        if self.reused == Some(true) {
            page.line("  reused    an earlier attempt with the same key had begun it");
        }
        if let Some(at) = self.created_at {
            page.line(format!("  taken     {}", format_time(at)));
        }
        let class = match (&self.class, self.expires_at) {
            (Some(class), Some(at)) => format!("{class}, kept until {}", format_time(at)),
            (Some(class), None) => format!("{class}, kept forever"),
            (None, _) => format!("none ({})", self.snapshot_type),
        };
        page.line(format!("  class     {class}"));
        page.line(format!("  engine    {} {}, {} GiB", self.engine, self.engine_version, self.storage_gib));
        page.line(format!("  arn       {}", self.arn));
        let key = match (&self.kms_key, self.encrypted) {
            (Some(key), _) => format!("with {key}"),
            (None, true) => "yes".to_owned(),
            (None, false) => "no".to_owned(),
        };
        page.line(format!("  encrypted {key}"));
        let baseline = match &self.baseline_sha256 {
            Some(sha256) => format!("recorded: a drill compares the copy with it (SHA-256 {sha256})"),
            None => "none recorded".to_owned(),
        };
        page.line(format!("  baseline  {baseline}"));
        let settings = match &self.settings {
            Some(_) => "saved with it: it can be restored as it was, even when its instance is gone",
            None => "not saved with it: a restore needs its instance, or flags",
        };
        page.line(format!("  settings  {settings}"));
        page.command("  rollback  ", &self.rollback_command);
    }
}

impl output::Report for PlanReport {
    fn render(&self, page: &mut Page) {
        let what = if self.reused { "would use" } else { "would take" };
        page.line(format!("{what} snapshot `{}` of `{}`", self.snapshot_id, self.source.id));
        let until = self.expires_at.map_or("forever".to_owned(), |at| format!("until {}", format_time(at)));
        page.line(format!("  class     {}, kept {until}", self.class));
        let baseline = if self.baseline { "would be recorded with it" } else { "none" };
        page.line(format!("  baseline  {baseline}"));
        for note in &self.notes {
            page.line(format!("  note      {note}"));
        }
        for (key, value) in &self.tags {
            page.line(page.toned(Tone::Faint, format!("  tag       {key} = {value}")));
        }
    }
}

impl output::Report for copy::PlanReport {
    fn render(&self, page: &mut Page) {
        let what = if self.reused { "is there already: " } else { "would make " };
        page.line(format!("{what}snapshot `{}` in {}", self.snapshot_id, self.region));
        page.line(format!("  copy of   {}", self.copied_from));
        let key = self.kms_key.as_deref().unwrap_or(match self.encrypted {
            true => "the key of its source",
            false => "no key: its source is not encrypted",
        });
        page.line(format!("  encrypted with {key}"));
        let until = self.expires_at.map_or("forever".to_owned(), |at| format!("until {}", format_time(at)));
        page.line(format!("  class     {}, kept {until}", self.class));
    }
}

impl output::Report for PruneReport {
    fn render(&self, page: &mut Page) {
        let going: Vec<&Verdict> = self.verdicts.iter().filter(|it| !it.keep).collect();
        let failed: BTreeMap<_, &str> =
            self.failed.iter().map(|it| ((&it.place, it.id.as_str()), it.reason.as_str())).collect();
        let rows = going.iter().map(|it| {
            let (word, tone, reason) = match failed.get(&(&it.place, it.id.as_str())) {
                Some(reason) => ("FAILED", Tone::Bad, (*reason).to_owned()),
                None if self.dry_run => ("would go", Tone::Doubt, it.reasons.join("; ")),
                None => ("deleted", Tone::Doubt, it.reasons.join("; ")),
            };
            vec![
                (word.to_owned(), Some(tone)),
                (it.id.clone(), None),
                (at_home(it), None),
                (reason, Some(Tone::Faint)),
            ]
        });
        page.table(&["", "snapshot", "database", ""], rows.collect());
        // What stays is counted by reason: thousands of lines would bury what goes.
        let mut staying: BTreeMap<String, usize> = BTreeMap::new();
        for verdict in self.verdicts.iter().filter(|it| it.keep) {
            *staying.entry(kind_of_reason(&verdict.reasons)).or_default() += 1;
        }
        for (reason, count) in staying {
            page.line(page.toned(Tone::Faint, format!("  {count:>5} kept: {reason}")));
        }
        let done = if self.dry_run { "would be deleted" } else { "deleted" };
        let count = if self.dry_run { going.len() } else { self.deleted.len() };
        let kept = self.verdicts.len() - going.len();
        page.line(format!("{} {count} {done}, {kept} kept", page.toned(Tone::Strong, "snapshots:")));
    }
}

/// The database of a copy, and its account and Region if there are several.
fn at_home(verdict: &Verdict) -> String {
    match &verdict.place {
        Some(place) if place.account.is_some() => format!("{} ({place})", verdict.database),
        _ => verdict.database.clone(),
    }
}

/// The first reason, without what differs from one to the next.
fn kind_of_reason(reasons: &[String]) -> String {
    let first = reasons.first().map_or("", String::as_str);
    let general = first.split(": until ").next().unwrap_or(first);
    match general.strip_prefix("it is the newest good copy of ") {
        Some(_) => "it is the newest good copy of its database".to_owned(),
        None => general.split(" until 2").next().unwrap_or(general).to_owned(),
    }
}

impl output::Report for AdoptReport {
    fn render(&self, page: &mut Page) {
        if self.dry_run {
            page.line("dry run: nothing was changed");
        }
        self.snapshot.render(page);
        let proven = self.proven_by.clone().unwrap_or("not yet".to_owned());
        page.line(format!("  proven by {proven}"));
    }
}

impl output::Report for DeleteReport {
    fn render(&self, page: &mut Page) {
        let what = if self.dry_run { "would delete" } else { "deleted" };
        let class = self.snapshot.class.as_deref().unwrap_or("none");
        let taken = self.snapshot.created_at.map_or("an unknown time".to_owned(), format_time);
        page.line(format!(
            "{what} snapshot `{}` of `{}` (class {class}, of {taken})",
            self.snapshot.snapshot_id, self.snapshot.source.id
        ));
    }
}

fn tone_of_status(status: &SnapshotStatus) -> Tone {
    match status {
        SnapshotStatus::Available => Tone::Good,
        SnapshotStatus::Creating | SnapshotStatus::Copying => Tone::Doubt,
        _ => Tone::Bad,
    }
}
