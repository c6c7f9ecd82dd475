//! `lifeboat verify`: its flags, and how its report looks.

use std::path::Path;
use std::time::Instant;

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::connect::{LookArgs, UrlArgs};
use super::{Session, now};
use crate::error::{Error, Kind, Result};
use crate::output::{self, Page};
use crate::postgres::is_connection_string;
use crate::verify::observe::Progress;
use crate::verify::pair::{self, Comparison, Operand, PartReport, Report, TableReport};
use crate::verify::row_differences::{Extent, RowsNamed};
use crate::verify::{Copies, Look, Origin, Recorded, Recording, Verdict, Word, record};
use crate::words::{Tone, format_thousands};

/// Kinds of definitions, as reports name them.
const KINDS: [&str; 56] = [
    "access method",
    "aggregate",
    "cast",
    "catalog flags",
    "collation",
    "column options",
    "column order",
    "columns",
    "comment",
    "constraint",
    "conversion",
    "database",
    "database comment",
    "default rights",
    "domain constraint",
    "event trigger",
    "extension",
    "extension rights",
    "foreign data wrapper",
    "foreign options",
    "foreign server",
    "function",
    "index",
    "language",
    "large object rights",
    "large objects",
    "object owner",
    "operator",
    "operator class",
    "operator family",
    "owner",
    "policy",
    "publication",
    "publication columns",
    "publication schemas",
    "rights",
    "rights to maintain",
    "role",
    "row security",
    "rule",
    "schema",
    "security label",
    "sequence",
    "setting",
    "statistics",
    "statistics target",
    "storage",
    "subscription",
    "table options",
    "text search",
    "transform",
    "trigger",
    "type",
    "type options",
    "user mapping",
    "view",
];

#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct VerifyArgs {
    #[command(subcommand)]
    command: Option<VerifyCommand>,
    /// What ought to be: postgresql://user@host/database, env:NAME for a URL in an environment variable, or a baseline
    /// (a file, or its SHA-256 in the vault). Without a database, all of the server's
    #[arg(required = true, value_name = "LEFT")]
    left: Option<String>,
    /// What is: likewise
    #[arg(required = true, value_name = "RIGHT")]
    right: Option<String>,
    #[command(flatten)]
    look: LookArgs,
    /// Kind of definitions that does not matter, such as owner or rights; may be repeated
    #[arg(long = "ignore", value_name = "KIND", value_delimiter = ',', value_parser = parse_kind, help_heading = "Comparing")]
    ignored: Vec<String>,
    /// How many rows that differ are told, for each table
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(0..=10_000), help_heading = "Comparing")]
    rows: u16,
    /// Tell the contents of rows that differ too; they then stand in the output
    #[arg(long, help_heading = "Comparing")]
    show_rows: bool,
    #[command(flatten)]
    connect: UrlArgs,
}

#[derive(Debug, Subcommand)]
enum VerifyCommand {
    /// Keep what a database contains as a baseline in the vault, to verify another one by it later.
    ///
    /// It holds names, numbers and hashes, and no row.
    Record(RecordArgs),
}

#[derive(Args, Debug)]
struct RecordArgs {
    /// postgresql://user@host/database, or env:NAME for a URL in an environment variable
    #[arg(value_name = "URL")]
    url: String,
    #[command(flatten)]
    look: LookArgs,
    #[command(flatten)]
    connect: UrlArgs,
}

pub(super) async fn run(args: VerifyArgs, session: &Session) -> Result<Option<Kind>> {
    match args.command {
        Some(VerifyCommand::Record(args)) => record_url(&args, session).await,
        None => compare_databases(args, session).await,
    }
}

async fn compare_databases(args: VerifyArgs, session: &Session) -> Result<Option<Kind>> {
    let operand =
        |text: &Option<String>| parse_operand(text.as_deref().unwrap_or_default(), &args.connect, session);
    let comparison = Comparison {
        left: operand(&args.left)?,
        right: operand(&args.right)?,
        look: Look { copies: Copies::Dumped, ..args.look.read_settings(&[])? },
        ignored: args.ignored,
        extent: Extent { rows: usize::from(args.rows), show_rows: args.show_rows, told: RowsNamed::All },
    };
    let began = Instant::now();
    let tell = |side: &'static str, progress: Progress| show_progress(session, side, &progress, began);
    let report = pair::compare_operands(&comparison, &tell).await?;
    let kind = match report.verdict {
        Verdict::Pass => None,
        Verdict::Fail => Some(Kind::No),
        Verdict::Unknown => Some(Kind::Outside),
    };
    session.output.conclude(&report, kind)?;
    Ok(kind)
}

fn show_progress(session: &Session, side: &str, progress: &Progress, began: Instant) {
    session.output.show_live(format!("{side}: {}", progress.describe_with_estimate(began.elapsed())), began);
}

/// A URL, or a baseline by its file or its seal.
fn parse_operand(text: &str, connect: &UrlArgs, session: &Session) -> Result<Operand> {
    if is_connection_string(text) || text.starts_with("env:") || text.contains("://") {
        let target = connect.target(text, &session.output, "lifeboat verify")?;
        return Ok(Operand::Server(Box::new(target)));
    }
    let (name, document, expected) = if record::is_seal(text) {
        let vault = session.vault_to_read()?;
        let name = record::vault_name(text);
        let document = vault.read(&name)?.ok_or_else(|| {
            Error::request(format!("the vault has no baseline `{text}`"))
                .hint("Look into its directory `baselines`, or name another vault with `--vault`.")
        })?;
        (vault.shown(&name), document, Some(text))
    } else {
        let document = std::fs::read(Path::new(text)).map_err(|error| {
            Error::request(format!("`{text}` is neither a connection URL nor a baseline that can be read"))
                .caused_by(error)
                .hint("A URL begins with `postgresql://`; `lifeboat verify record URL` records a baseline.")
        })?;
        (text.to_owned(), document, None)
    };
    let (_, recorded) = Recorded::from_sealed_json(&name, &document, expected)?;
    Ok(Operand::Kept(Box::new(recorded)))
}

async fn record_url(args: &RecordArgs, session: &Session) -> Result<Option<Kind>> {
    let target = args.connect.target(&args.url, &session.output, "lifeboat verify record")?;
    let vault = session.vault()?;
    let only: Vec<String> = target.database.clone().into_iter().collect();
    let began = Instant::now();
    let look = Look { copies: Copies::Dumped, ..args.look.read_settings(&[])? };
    let mut recording = Recording::begin(&target.server, &only, &look).await?;
    recording.observe(&|progress| show_progress(session, "reading", &progress, began)).await?;
    let missing = only.iter().find(|name| !recording.seen.databases.contains_key(*name));
    if let Some(missing) = missing {
        let server = &target.server;
        let why = recording.seen.unreadable.get(missing).cloned().unwrap_or("it does not exist".to_owned());
        return Err(Error::outside(format!(
            "database `{missing}` at {} could not be recorded",
            server.place()
        ))
        .caused_by(why));
    }
    let of = Origin::of_server(&target.server, &only);
    let unreadable = recording.seen.unreadable.clone();
    let recorded = recording.into_baseline(of, now());
    let (seal, document) = recorded.to_sealed_json()?;
    let name = record::vault_name(&seal);
    vault.write(&name, &document)?;
    for (database, reason) in unreadable {
        session
            .output
            .warn(format!("database `{database}` could not be read and is not in the baseline: {reason}"));
    }
    session.output.report(&RecordReport {
        schema: "lifeboat.baseline.recorded/1",
        of: recorded.of.clone(),
        recorded_at: recorded.recorded_at,
        sha256: seal,
        file: vault.shown(&name),
        databases: recorded.seen.databases.len(),
        tables: recorded.seen.databases.values().map(Vec::len).sum(),
        rows: recorded.seen.total_rows(),
        bytes: document.len(),
        seconds: began.elapsed().as_secs_f64(),
    })?;
    Ok(None)
}

fn parse_kind(text: &str) -> std::result::Result<String, String> {
    if KINDS.contains(&text) { Ok(text.to_owned()) } else { Err(format!("kinds are {}", KINDS.join(", "))) }
}

/// What was recorded.
#[derive(Debug, Serialize)]
struct RecordReport {
    schema: &'static str,
    of: Origin,
    recorded_at: DateTime<Utc>,
    sha256: String,
    file: String,
    databases: usize,
    tables: usize,
    rows: u64,
    bytes: usize,
    seconds: f64,
}

impl output::Report for RecordReport {
    fn render(&self, page: &mut Page) {
        let rows = format_thousands(self.rows);
        let (tables, databases) = (self.tables, self.databases);
        let of = format!("{}: {rows} rows in {tables} tables of {databases} databases", self.of.describe());
        page.heading(Tone::Good, "RECORDED", of, Some(self.seconds));
        page.line(format!("  file    {}", self.file));
        page.line(format!("  sha256  {}", self.sha256));
    }
}

impl output::Report for Report {
    fn render(&self, page: &mut Page) {
        let tone = page.verdict(self.verdict, "verify", Some(self.seconds));
        for (side, seen) in [("left", &self.left), ("right", &self.right)] {
            page.line(format!(
                "  {side:5}  {} (PostgreSQL {}, {} rows)",
                output::escape_controls(&seen.name),
                seen.server_version,
                format_thousands(seen.rows)
            ));
        }
        for reason in self.reasons.iter().take(REASONS_LISTED) {
            page.line(format!("  {} {}", page.toned(tone, "•"), output::escape_controls(reason)));
        }
        if let more @ 1.. = self.reasons.len().saturating_sub(REASONS_LISTED) {
            page.line(format!("  {} and {more} more, all of them with `--json`", page.toned(tone, "•")));
        }
        page.line("");
        render_tables(&self.tables, page);
        render_rows(&self.tables, page);
        let part = |name: &str, part: &PartReport| match (part.verdict, part.differences.len()) {
            (Verdict::Unknown, _) => format!("{name} not compared"),
            (_, 0) => format!("{} {name} the same", format_thousands(part.compared as u64)),
            (_, apart) => format!("{apart} of {} {name} differ", format_thousands(part.compared as u64)),
        };
        page.line(format!(
            "  {}, {}, {}",
            part("definitions", &self.definitions),
            part("sequences", &self.sequences),
            part("extensions", &self.extensions)
        ));
        if !self.notes.is_empty() {
            page.line("");
            page.line(page.toned(Tone::Strong, "Different, and no fault"));
            for note in &self.notes {
                page.line(format!("  {}", output::escape_controls(&note.sentence())));
            }
        }
        if !self.not_tested.is_empty() {
            page.line("");
            page.line(page.toned(Tone::Strong, "Not tested"));
            for text in &self.not_tested {
                page.line(format!("  {}", output::escape_controls(text)));
            }
        }
    }
}

/// So many reasons stand above the tables.
const REASONS_LISTED: usize = 20;

/// Those that are alike are told in one line when there are many.
const ALIKE_LISTED: usize = 30;

fn render_tables(all: &[TableReport], page: &mut Page) {
    let is_alike = |table: &&TableReport| matches!(table.verdict.verdict, Word::Identical | Word::Equal);
    let alike = all.iter().filter(is_alike).count();
    let hides = alike > ALIKE_LISTED;
    let mut listed: Vec<&TableReport> = all.iter().filter(|table| !hides || !is_alike(table)).collect();
    // What matters stands first.
    listed.sort_by_key(|table| match table.verdict.verdict {
        Word::Differs | Word::Missing | Word::Unexpected => 0,
        Word::Unknown => 1,
        Word::Within => 2,
        Word::Identical | Word::Equal | Word::Skipped => 3,
    });
    let number = |rows: Option<u64>| rows.map_or("-".to_owned(), format_thousands);
    let row = |table: &TableReport| {
        let found = &table.verdict;
        let tone = match found.verdict {
            Word::Identical | Word::Equal | Word::Within => Tone::Good,
            Word::Differs | Word::Missing | Word::Unexpected => Tone::Bad,
            Word::Skipped => Tone::Faint,
            Word::Unknown => Tone::Doubt,
        };
        vec![
            (found.verdict.as_str().to_owned(), Some(tone)),
            (format!("{}.{}.{}", found.database, found.schema, found.table), None),
            (number(found.expected_rows), None),
            (number(found.observed_rows), None),
            (found.reason.clone(), None),
        ]
    };
    page.table(&["verdict", "table", "left", "right", ""], listed.into_iter().map(row).collect());
    if hides {
        page.line(format!("  and {} tables that are identical or equal", format_thousands(alike as u64)));
    }
}

/// Rows whose contents were asked for.
fn render_rows(all: &[TableReport], page: &mut Page) {
    for table in all {
        for row in table.verdict.differences.iter().filter(|row| row.left.is_some() || row.right.is_some()) {
            let name = &table.verdict.table;
            let key = row.key.as_deref().unwrap_or("a row");
            page.line(output::escape_controls(&format!("  {name}, {key}: {}", row.columns.join(", "))));
            for (side, content) in [("left", &row.left), ("right", &row.right)] {
                if let Some(content) = content {
                    page.line(output::escape_controls(&format!("    {side:5}  {content}")));
                }
            }
        }
    }
}
