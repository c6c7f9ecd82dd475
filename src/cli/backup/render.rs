//! How the reports of backups look.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;

use crate::backup::catalogue::{Catalogue, Entry, State};
use crate::backup::create::Plan;
use crate::backup::{Compression, Format, Manifest, Verification};
use crate::error::Kind;
use crate::output::{self, Page, Tone, human_bytes, thousands};
use crate::verify::Verdict;

impl output::Report for Manifest {
    fn render(&self, page: &mut Page) {
        let title = self.database_type.title();
        page.line(format!(
            "backup {} of {} ({title} {})",
            page.toned(Tone::Strong, self.backup_name.as_str()),
            output::plain(&self.source.database),
            output::plain(&self.source.server_version),
        ));
        page.line(format!(
            "  taken      {} in {:.1} s, with {}",
            utc(self.timestamp),
            self.duration,
            self.made_by.tool
        ));
        page.line(format!("  file       {}", output::plain(&self.file_path)));
        page.line(format!("  size       {}", sizes(self)));
        page.line(format!("  sha256     {}", self.sha256));
        page.line(format!("  proven     {}", proof(page, self.verification.as_ref())));
        if let Some(contents) = &self.contents {
            let rows: u64 = contents.tables.iter().filter_map(|table| table.rows).sum();
            page.line(format!("  contents   {} tables, {} rows", contents.tables.len(), thousands(rows)));
        }
        let kept = kept(self);
        if !kept.is_empty() {
            page.line(format!("  kept       {kept}"));
        }
        if let Some(proof) = &self.verification {
            reasons(proof, page);
        }
    }
}

fn reasons(proof: &Verification, page: &mut Page) {
    for reason in &proof.reasons {
        page.line(format!("  {} {}", page.toned(verdict(proof.result).1, "-"), output::plain(reason)));
    }
}

fn kept(manifest: &Manifest) -> String {
    match (&manifest.class, manifest.keep_forever) {
        (_, true) => "for ever".to_owned(),
        (Some(class), false) => format!("as {}", output::plain(class)),
        (None, false) => String::new(),
    }
}

fn sizes(manifest: &Manifest) -> String {
    let encrypted = if manifest.encrypted { ", encrypted with age" } else { "" };
    let content = match manifest.format {
        Format::Sql => "SQL",
        Format::Custom => "archive",
        Format::Sqlite => "pages",
    };
    let (file, plain) = (human_bytes(manifest.file_size), human_bytes(manifest.plain_size));
    match manifest.compression {
        Compression::None => format!("{file}, not compressed{encrypted}"),
        Compression::Gzip => format!("{file} (gzip), {plain} of {content}{encrypted}"),
        Compression::Zstd => format!("{file} (zstd), {plain} of {content}{encrypted}"),
    }
}

fn proof(page: &Page, verification: Option<&Verification>) -> String {
    let Some(proof) = verification else { return page.toned(Tone::Doubt, "not yet") };
    let (word, tone) = verdict(proof.result);
    format!("{} ({}, {})", page.toned(tone, word), proof.level.as_str(), utc(proof.at))
}

fn utc(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn verdict(verdict: Verdict) -> (&'static str, Tone) {
    match verdict {
        Verdict::Pass => ("good", Tone::Good),
        Verdict::Fail => ("BAD", Tone::Bad),
        Verdict::Unknown => ("unknown", Tone::Doubt),
    }
}

/// What a proof means for the exit code.
pub(super) fn kind_of(manifest: &Manifest) -> Option<Kind> {
    match manifest.verification.as_ref().map(|proof| proof.result) {
        Some(Verdict::Pass) => None,
        Some(Verdict::Fail) => Some(Kind::No),
        Some(Verdict::Unknown) | None => Some(Kind::Outside),
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
    #[serde(skip)]
    now: DateTime<Utc>,
}

#[derive(Serialize)]
struct Listed {
    #[serde(flatten)]
    manifest: Manifest,
    /// `present`, `missing` or `altered`.
    file: &'static str,
}

impl Listing {
    pub(super) fn new(catalogue: &Catalogue, now: DateTime<Utc>) -> Self {
        let listed = |entry: &Entry| Listed {
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
            now,
        }
    }
}

impl output::Report for Listing {
    fn render(&self, page: &mut Page) {
        if self.backups.is_empty() {
            page.line("no backups");
            return;
        }
        let row = |listed: &Listed| {
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
                (manifest.source.database.clone(), None),
                (manifest.database_type.title().to_owned(), None),
                (ago(manifest.timestamp, self.now), None),
                (human_bytes(manifest.file_size), None),
                (word, Some(tone)),
                (kept(manifest), None),
            ]
        };
        page.table(
            &["NAME", "DATABASE", "TYPE", "TAKEN", "SIZE", "PROVEN", "KEPT"],
            self.backups.iter().map(row).collect(),
        );
    }
}

/// How long ago; a moment in the future is said as such.
fn ago(then: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let seconds = (now - then).num_seconds();
    match seconds {
        ..0 => utc(then),
        0..120 => format!("{seconds} s ago"),
        120..7_200 => format!("{} min ago", seconds / 60),
        7_200..172_800 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

/// What proofs gave.
#[derive(Serialize)]
pub(super) struct Proofs {
    schema: &'static str,
    backups: Vec<Proven>,
}

#[derive(Serialize)]
struct Proven {
    backup_name: String,
    verification: Option<Verification>,
}

impl Proofs {
    pub(super) fn new(manifests: Vec<Manifest>) -> Self {
        let proven = |manifest: Manifest| Proven {
            backup_name: manifest.backup_name.to_string(),
            verification: manifest.verification,
        };
        Proofs { schema: "lifeboat.backup-verify/1", backups: manifests.into_iter().map(proven).collect() }
    }
}

impl output::Report for Proofs {
    fn render(&self, page: &mut Page) {
        for backup in &self.backups {
            let Some(proof) = &backup.verification else { continue };
            let (word, tone) = verdict(proof.result);
            page.line(format!(
                "{}: {} ({})",
                backup.backup_name,
                page.toned(tone, word),
                proof.level.as_str()
            ));
            reasons(proof, page);
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
            page.line(format!("would back up {}", output::plain(&plan.source)));
            page.line(format!("  as    {}", plan.file));
            page.line(format!(
                "  with  {} (the source has {})",
                plan.tool,
                output::plain(&plan.server_version)
            ));
        }
    }
}
