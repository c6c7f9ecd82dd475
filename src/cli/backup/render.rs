//! How the reports of backups look.

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use crate::backup::catalogue::{Catalogue, Entry, State};
use crate::backup::create::Plan;
use crate::backup::failures::Failure;
use crate::backup::identity::{self, Identity};
use crate::backup::stats::{DatabaseStats, Point, Stats};
use crate::backup::{Compression, Format, Manifest, Verification};
use crate::error::Kind;
use crate::output::{self, Page};
use crate::retention::PruneReport;
use crate::verify::Verdict;
use crate::when::{format_age, format_ago, format_time};
use crate::words::{Tone, format_bytes, format_thousands};

impl output::Report for Manifest {
    fn render(&self, page: &mut Page) {
        let title = self.database_type.title();
        let server = format!("{title} {}", self.source.server_version);
        let head =
            format!("backup `{}` of `{}` ({})", self.backup_name, self.source.database, server.trim_end());
        // Of a file that was made elsewhere nobody knows how long that took.
        let took = Some(self.duration).filter(|seconds| *seconds > 0.0);
        let result = self.verification.as_ref().map_or(Verdict::Unknown, |proof| proof.result);
        page.verdict(result, head, took);
        let tool = output::escape_controls(&self.made_by.tool);
        page.line(format!("  taken      {}, with {tool}", format_time(self.timestamp)));
        page.line(format!("  file       {}", output::escape_controls(&self.file_path)));
        page.line(format!("  size       {}", describe_sizes(self)));
        page.line(format!("  sha256     {}", output::escape_controls(&self.sha256)));
        page.line(format!("  proven     {}", proof(page, self.verification.as_ref())));
        if let Some(check) = &self.last_check {
            page.line(format!("  checked    {}", proof(page, Some(check))));
        }
        if let Some(contents) = &self.contents {
            let rows: u64 = contents.tables.iter().filter_map(|table| table.rows).sum();
            page.line(match contents.is_inspected() {
                true => format!("  contents   {}", tables_and_rows(contents.tables.len(), rows)),
                false => "  contents   not inspected".to_owned(),
            });
            for warning in &contents.warnings {
                let sign = page.toned(Tone::Doubt, "!");
                page.line(format!("  {sign} {}", output::escape_controls(&warning.sentence())));
            }
        }
        let kept = describe_retention(self);
        if !kept.is_empty() {
            page.line(format!("  kept       {kept}"));
        }
        for proof in self.verification.iter().chain(&self.last_check) {
            print_reasons(proof, page);
        }
    }
}

fn tables_and_rows(tables: usize, rows: u64) -> String {
    let plural = |number: u64| if number == 1 { "" } else { "s" };
    format!("{tables} table{}, {} row{}", plural(tables as u64), format_thousands(rows), plural(rows))
}

fn print_reasons(proof: &Verification, page: &mut Page) {
    for reason in &proof.reasons {
        page.line(format!(
            "  {} {}",
            page.toned(verdict(proof.result).1, "-"),
            output::escape_controls(reason)
        ));
    }
}

fn describe_retention(manifest: &Manifest) -> String {
    match (&manifest.class, manifest.keep_forever) {
        (_, true) => "forever".to_owned(),
        (Some(class), false) => format!("as {}", output::escape_controls(class)),
        (None, false) => String::new(),
    }
}

fn describe_sizes(manifest: &Manifest) -> String {
    let encrypted = if manifest.encrypted { ", encrypted with age" } else { "" };
    let content = match manifest.format {
        Format::Sql => "SQL",
        Format::Custom => "archive",
        Format::Directory => "directory archive",
        Format::Sqlite => "pages",
    };
    let (file, plain) = (format_bytes(manifest.file_size), format_bytes(manifest.plain_size));
    match manifest.compression {
        Compression::None => format!("{file}, not compressed{encrypted}"),
        Compression::Gzip => format!("{file} (gzip), {plain} of {content}{encrypted}"),
        Compression::Zstd => format!("{file} (zstd), {plain} of {content}{encrypted}"),
    }
}

fn proof(page: &Page, verification: Option<&Verification>) -> String {
    let Some(proof) = verification else { return page.toned(Tone::Doubt, "not yet") };
    let (word, tone) = verdict(proof.result);
    format!("{} ({}, {})", page.toned(tone, word), proof.level.as_str(), format_time(proof.at))
}

fn verdict(verdict: Verdict) -> (&'static str, Tone) {
    match verdict {
        Verdict::Pass => ("good", Tone::Good),
        Verdict::Fail => ("BAD", Tone::Bad),
        Verdict::Unknown => ("unknown", Tone::Doubt),
    }
}

/// What a proof means for the exit code.
pub(super) fn kind_of(proof: &Verification) -> Option<Kind> {
    match proof.result {
        Verdict::Pass => None,
        Verdict::Fail => Some(Kind::No),
        Verdict::Unknown => Some(Kind::Outside),
    }
}

/// Several backups of one command.
#[derive(Serialize)]
pub(super) struct Backups {
    schema: &'static str,
    backups: Vec<Manifest>,
}

impl Backups {
    pub(super) fn new(backups: Vec<Manifest>) -> Self {
        Backups { schema: "lifeboat.backups/1", backups }
    }
}

impl output::Report for Backups {
    fn render(&self, page: &mut Page) {
        for (position, backup) in self.backups.iter().enumerate() {
            if position > 0 {
                page.line("");
            }
            backup.render(page);
        }
    }
}

/// The backups of a vault.
#[derive(Serialize)]
pub(super) struct Listing {
    schema: &'static str,
    backups: Vec<Listed>,
    /// Those that did not come about.
    failures: Vec<Failure>,
    #[serde(skip)]
    now: DateTime<Utc>,
}

#[derive(Serialize)]
struct Listed {
    #[serde(flatten)]
    manifest: Manifest,
    /// What tells its database from others of the name: backups of one identity make each other superfluous.
    identity: Identity,
    /// `present`, `missing` or `altered`.
    file: &'static str,
}

impl Listing {
    pub(super) fn new(catalogue: &Catalogue, failures: Vec<Failure>, now: DateTime<Utc>) -> Self {
        let listed = |entry: &Entry| Listed {
            identity: Identity::of(&entry.manifest),
            manifest: entry.manifest.clone(),
            file: match entry.state {
                State::Present => "present",
                State::Missing => "missing",
                State::Resized(_) => "altered",
            },
        };
        Listing {
            schema: "lifeboat.backup-list/1",
            backups: catalogue.entries.iter().map(listed).collect(),
            failures,
            now,
        }
    }
}

impl output::Report for Listing {
    fn render(&self, page: &mut Page) {
        if self.backups.is_empty() {
            page.line("no backups");
        } else {
            self.table(page);
        }
        self.failures(page);
    }
}

impl Listing {
    fn table(&self, page: &mut Page) {
        let identities: Vec<Identity> = self.backups.iter().map(|it| it.identity.clone()).collect();
        let names = identity::name_databases(&identities);
        let row = |(listed, name): (&Listed, String)| {
            let manifest = &listed.manifest;
            let (word, tone) = match (listed.file, &manifest.verification) {
                ("missing", _) => ("FILE MISSING".to_owned(), Tone::Bad),
                ("altered", _) => ("FILE ALTERED".to_owned(), Tone::Bad),
                (_, None) => ("not yet".to_owned(), Tone::Doubt),
                (_, Some(proof)) => {
                    let (word, tone) = verdict(proof.result);
                    (format!("{word} ({})", proof.level.as_str()), tone)
                }
            };
            vec![
                (manifest.backup_name.to_string(), None),
                (name, None),
                (manifest.database_type.title().to_owned(), None),
                (format_ago(manifest.timestamp, self.now), None),
                (format_bytes(manifest.file_size), None),
                (word, Some(tone)),
                (describe_retention(manifest), None),
            ]
        };
        page.table(
            &["backup", "database", "type", "taken", "size", "proven", "kept"],
            self.backups.iter().zip(names).map(row).collect(),
        );
    }

    /// Those that did not come about since the newest good one of their database, which is what calls for somebody.
    fn failures(&self, page: &mut Page) {
        let newest = |database: &str| {
            let of_it = self.backups.iter().filter(|listed| listed.manifest.source.database == database);
            of_it.filter(|listed| listed.manifest.is_verified()).map(|listed| listed.manifest.timestamp).max()
        };
        let recent: Vec<&Failure> = self
            .failures
            .iter()
            .filter(|failure| newest(&failure.database).is_none_or(|success| failure.timestamp > success))
            .collect();
        for failure in recent.iter().take(10) {
            page.line(format!(
                "{}  {} of {}, {}: {}",
                page.toned(Tone::Bad, "FAILED"),
                failure.backup_name,
                output::escape_controls(&failure.database),
                format_ago(failure.timestamp, self.now),
                output::escape_controls(&failure.error)
            ));
        }
        if recent.len() > 10 {
            page.line(format!("and {} more that failed since the last good one", recent.len() - 10));
        }
    }
}

/// What proofs gave.
#[derive(Serialize)]
pub(super) struct Proofs {
    pub(super) schema: &'static str,
    pub(super) backups: Vec<Proven>,
}

#[derive(Serialize)]
pub(super) struct Proven {
    pub(super) backup_name: String,
    pub(super) verification: Verification,
}

impl output::Report for Proofs {
    fn render(&self, page: &mut Page) {
        for backup in &self.backups {
            let proof = &backup.verification;
            let head = format!("backup `{}` ({})", backup.backup_name, proof.level.as_str());
            page.verdict(proof.result, head, None);
            print_reasons(proof, page);
        }
    }
}

/// What would be made.
#[derive(Serialize)]
pub(super) struct Plans {
    schema: &'static str,
    dry_run: bool,
    backups: Vec<Planned>,
}

#[derive(Serialize)]
struct Planned {
    backup_name: String,
    file: String,
    database: String,
    source: String,
    server_version: String,
    tool: String,
}

impl Plans {
    pub(super) fn new(plans: &[Plan]) -> Self {
        let planned = |plan: &Plan| Planned {
            backup_name: plan.name.to_string(),
            file: plan.file_name(),
            database: plan.request.database.clone(),
            source: plan.request.source.shown(),
            server_version: plan.server_version.clone(),
            tool: plan.tool(),
        };
        Plans {
            schema: "lifeboat.backup-plan/1",
            dry_run: true,
            backups: plans.iter().map(planned).collect(),
        }
    }
}

impl output::Report for Plans {
    fn render(&self, page: &mut Page) {
        for plan in &self.backups {
            page.line(format!("would back up {}", output::escape_controls(&plan.source)));
            page.line(format!("  as    {}", plan.file));
            page.line(format!(
                "  with  {} (the source has {})",
                plan.tool,
                output::escape_controls(&plan.server_version)
            ));
        }
    }
}

/// What a restore would do.
#[derive(Serialize)]
pub(super) struct RestorePlan {
    schema: &'static str,
    dry_run: bool,
    backup_name: String,
    restores_to: String,
    content_of: DateTime<Utc>,
    replaces: bool,
}

impl RestorePlan {
    pub(super) fn new(plan: &crate::backup::restore::Plan) -> Self {
        RestorePlan {
            schema: "lifeboat.backup-restore-plan/1",
            dry_run: true,
            backup_name: plan.manifest.backup_name.to_string(),
            restores_to: plan.destination.source().shown(),
            content_of: plan.manifest.timestamp,
            replaces: plan.replaces,
        }
    }
}

impl output::Report for RestorePlan {
    fn render(&self, page: &mut Page) {
        page.line(format!("would restore {} (of {})", self.backup_name, format_time(self.content_of)));
        let what = if self.replaces { "replacing what it holds now" } else { "creating it" };
        page.line(format!("  to  {}, {what}", output::escape_controls(&self.restores_to)));
    }
}

impl output::Report for crate::backup::restore::Report {
    fn render(&self, page: &mut Page) {
        let head = format!("`{}` from backup `{}`", self.restored_to, self.backup_name);
        page.heading(Tone::Good, "RESTORED", head, Some(self.seconds));
        page.line(format!("  content of  {}", format_time(self.content_of)));
        if self.tables_checked > 0 {
            page.line(format!("  checked     {}", tables_and_rows(self.tables_checked, self.rows_checked)));
        }
        for left_out in &self.left_out {
            page.line(format!(
                "  left out    {}: {}",
                output::escape_controls(&left_out.what),
                output::escape_controls(&left_out.why)
            ));
        }
        for refused in &self.complaints {
            let word = page.toned(Tone::Doubt, "refused");
            page.line(format!(
                "  {word}     {}: {}",
                output::escape_controls(&refused.what),
                output::escape_controls(&refused.why)
            ));
        }
        for difference in &self.differences {
            let (word, tone) = match difference.accepted {
                true => ("accepted ", Tone::Doubt),
                false => ("different", Tone::Bad),
            };
            page.line(format!(
                "  {}   {}",
                page.toned(tone, word),
                output::escape_controls(&difference.text)
            ));
        }
        for moved in &self.moved_aside {
            page.line(format!("  moved aside {}", output::escape_controls(moved)));
        }
        match (&self.kept_old, self.kept_until) {
            (Some(kept), Some(until)) => {
                page.line(format!(
                    "  before      kept as database {} until {}",
                    output::escape_controls(kept),
                    format_time(until)
                ));
            }
            (Some(kept), None) => {
                page.line(format!("  before      kept as {}", output::escape_controls(kept)))
            }
            (None, _) => {}
        }
        if let Some(undo) = &self.undo {
            page.command("  to undo     ", undo);
        }
    }
}

/// What a prune found and did.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct Pruned(pub(super) PruneReport);

impl output::Report for Pruned {
    fn render(&self, page: &mut Page) {
        let report = &self.0;
        let row = |verdict: &crate::retention::Verdict| {
            let failed = report.failed.iter().find(|failure| failure.id == verdict.id);
            let (word, tone) = match (verdict.keep, failed.is_some(), report.dry_run) {
                (true, _, _) => ("kept", Tone::Good),
                (false, true, _) => ("FAILED", Tone::Bad),
                (false, false, true) => ("would go", Tone::Doubt),
                (false, false, false) => ("deleted", Tone::Doubt),
            };
            let reason = failed.map_or_else(|| verdict.reasons.join("; "), |failure| failure.reason.clone());
            vec![(word.to_owned(), Some(tone)), (verdict.id.clone(), None), (reason, Some(Tone::Faint))]
        };
        page.table(&["", "backup", ""], report.verdicts.iter().map(row).collect());
        let going = report.verdicts.iter().filter(|verdict| !verdict.keep).count();
        let (count, did) =
            if report.dry_run { (going, "would be deleted") } else { (report.deleted.len(), "deleted") };
        page.line(format!("{count} {did}, {} kept", report.verdicts.len() - going));
    }
}

/// A backup that was deleted.
#[derive(Serialize)]
pub(super) struct Deleted {
    schema: &'static str,
    dry_run: bool,
    backup_name: String,
    file_size: u64,
}

impl Deleted {
    pub(super) fn new(manifest: &Manifest, dry_run: bool) -> Self {
        Deleted {
            schema: "lifeboat.backup-delete/1",
            dry_run,
            backup_name: manifest.backup_name.to_string(),
            file_size: manifest.file_size,
        }
    }
}

impl output::Report for Deleted {
    fn render(&self, page: &mut Page) {
        let did = if self.dry_run { "would delete" } else { "deleted" };
        page.line(format!("{did} {} ({})", self.backup_name, format_bytes(self.file_size)));
    }
}

impl output::Report for Stats {
    fn render(&self, page: &mut Page) {
        if self.count == 0 && self.failed == 0 {
            page.line("no backups");
            return;
        }
        let bad =
            if self.bad == 0 { String::new() } else { page.toned(Tone::Bad, format!(", {} bad", self.bad)) };
        page.line(format!(
            "{} {}, {} ({} of content), {} verified{bad}",
            self.count,
            if self.count == 1 { "backup" } else { "backups" },
            format_bytes(self.total_size_bytes),
            format_bytes(self.total_plain_bytes),
            self.verified,
        ));
        page.line("");
        // The kind has a column of its own.
        let name = |it: &DatabaseStats| {
            let is_namesake = |other: &&DatabaseStats| {
                (&other.database, other.database_type) == (&it.database, it.database_type)
            };
            match &it.identity {
                Some(identity) if self.databases.iter().filter(is_namesake).count() > 1 => {
                    identity.to_string()
                }
                _ => it.database.clone(),
            }
        };
        let row = |database: &DatabaseStats| {
            let growth = database.growth_bytes_per_day.map_or("-".to_owned(), |bytes| {
                let sign = if bytes < 0.0 { "-" } else { "+" };
                format!("{sign}{}/day", format_bytes(bytes.abs() as u64))
            });
            let last =
                database.last_success_age_seconds.map_or(("never".to_owned(), Some(Tone::Bad)), |age| {
                    (format!("{} ago", format_age(TimeDelta::seconds(age.max(0)))), None)
                });
            vec![
                (name(database), None),
                (database.database_type.title().to_owned(), None),
                (database.count.to_string(), None),
                (format_bytes(database.total_size_bytes), None),
                last,
                describe_failures(database),
                (growth, None),
                (draw_trend(&database.trend), None),
            ]
        };
        page.table(
            &["database", "type", "backups", "size", "last good", "failed", "growth", "content over time"],
            self.databases.iter().map(row).collect(),
        );
    }
}

/// How many failed in 30 days, and whether the latest did.
fn describe_failures(database: &DatabaseStats) -> (String, Option<Tone>) {
    match (database.failed, database.failed_since_success) {
        (0, _) => ("-".to_owned(), None),
        (failed, 0) => (failed.to_string(), None),
        (failed, since) => (format!("{failed}, the last {since}"), Some(Tone::Bad)),
    }
}

/// Sizes as a row of bars; all of one height where they are all the same.
fn draw_trend(points: &[Point]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let sizes = || points.iter().map(|point| point.plain_bytes);
    let (low, high) = (sizes().min().unwrap_or_default(), sizes().max().unwrap_or_default());
    let bar = |size: u64| match high - low {
        0 => BARS[3],
        range => BARS[usize::try_from((size - low) * 7 / range).unwrap_or(7).min(7)],
    };
    sizes().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trend_is_drawn_between_the_smallest_and_the_largest() {
        let point = |plain_bytes| Point { at: DateTime::UNIX_EPOCH, plain_bytes, duration_seconds: 0.0 };
        assert_eq!(draw_trend(&[0, 50, 100].map(point)), "▁▄█");
        assert_eq!(draw_trend(&[7, 7].map(point)), "▄▄");
    }
}
