//! Compares any two databases, or one with a saved baseline.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use tokio::time::Instant;

use super::judge::{self, DefinitionVerdict, Judgement, Looks};
use super::observe::{Databases, Observation, Progress, Question, Visit};
use super::row_differences::{self, Differences, Extent};
use super::{Look, Origin, Recorded, TableVerdict, Verdict, Word, lineage, wording};
use crate::error::{Error, Result};
use crate::postgres::Target;

/// One side of a comparison.
#[derive(Debug)]
pub(crate) enum Operand {
    /// A live database.
    Server(Box<Target>),
    /// A recorded observation.
    Kept(Box<Recorded>),
}

/// What is compared, and how much is reported.
#[derive(Debug)]
pub(crate) struct Comparison {
    /// The expected side.
    pub left: Operand,
    pub right: Operand,
    pub look: Look,
    /// Kinds of definitions to ignore.
    pub ignored: Vec<String>,
    /// How many differing rows are reported, and how.
    pub extent: Extent,
}

/// The report, `lifeboat.verify/1`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// The schema of this document.
    pub schema: &'static str,
    /// Overall.
    pub verdict: Verdict,
    /// The reasons, worst first.
    pub reasons: Vec<String>,
    /// The expected side.
    pub left: SideReport,
    pub right: SideReport,
    pub tables: Vec<TableReport>,
    pub definitions: PartReport,
    pub sequences: PartReport,
    pub extensions: PartReport,
    /// What was not compared, and why.
    pub not_tested: Vec<String>,
    /// Differences that count against neither side, and why.
    pub notes: Vec<judge::Note>,
    /// How long it took.
    pub seconds: f64,
}

/// One side.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SideReport {
    /// URL without its password, or what the baseline was recorded from.
    pub name: String,
    /// `server` or `baseline`.
    pub kind: &'static str,
    /// Version of PostgreSQL, as `15.8`.
    pub server_version: String,
    pub rows: u64,
}

/// One table.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct TableReport {
    #[serde(flatten)]
    pub verdict: TableVerdict,
    /// Rows on the right.
    pub rows: Option<u64>,
    /// Fingerprint on the right.
    pub fingerprint: Option<String>,
    /// Fingerprint on the left.
    pub expected_fingerprint: Option<String>,
}

/// The summary of one kind.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PartReport {
    /// Whether it is the same; unknown where it was not compared.
    pub verdict: Verdict,
    /// How many were compared.
    pub compared: usize,
    /// Those that differ.
    pub differences: Vec<DefinitionVerdict>,
}

/// A server that is being read.
struct Opened<'a> {
    target: &'a Target,
    databases: Databases,
    looks: Looks,
    /// The name on the right of a database with another name on the left.
    own_name: Option<(String, String)>,
}

/// Compares. `progress` is called with the side that is being read.
pub(crate) async fn compare_operands(
    comparison: &Comparison,
    progress: &(dyn Fn(&'static str, Progress) + Sync),
) -> Result<Report> {
    let began = Instant::now();
    let Comparison { left, right, look, extent, .. } = comparison;
    let names = (database_of(left), database_of(right));
    let left_only = names.0.or(names.1);
    let right_only = names.1.or(names.0);
    let (mut left_open, mut right_open) =
        (open_operand(left, left_only, look).await?, open_operand(right, right_only, look).await?);
    if let (Some(open), Some(theirs), Some(ours)) = (&mut right_open, names.0, names.1)
        && theirs != ours
    {
        open.own_name = Some((ours.to_owned(), theirs.to_owned()));
    }
    // Both instants as close together as can be.
    for open in [&mut left_open, &mut right_open].into_iter().flatten() {
        open.looks.before = open.databases.read_write_counters().await?;
    }
    for open in [&mut left_open, &mut right_open].into_iter().flatten() {
        open.databases.prepare_all().await?;
    }
    for open in [&mut left_open, &mut right_open].into_iter().flatten() {
        open.databases.begin_prepared().await?;
    }
    let begun = Instant::now();
    let (of_left, of_right) = futures::future::try_join(
        observe_operand(left, left_open.as_ref(), right, &|seen| progress("left", seen)),
        observe_operand(right, right_open.as_ref(), left, &|seen| progress("right", seen)),
    )
    .await?;
    let of_right = rename_databases(of_right, names);
    let (mut of_left, mut of_right) =
        (restrict_to_database(of_left, left_only), restrict_to_database(of_right, left_only));
    skip_unlogged_of_kin(&mut of_left, &mut of_right);
    let mut judgement =
        judge_pair(comparison, (&of_left, left_open.as_ref()), (&of_right, right_open.as_ref())).await?;
    if judgement.tables.iter().any(|table| table.verdict == Word::Differs) {
        // Before rows count as different, the writes that would explain them get time to be counted.
        for open in [&mut left_open, &mut right_open].into_iter().flatten() {
            open.look_again(look, begun).await?;
        }
        judgement =
            judge_pair(comparison, (&of_left, left_open.as_ref()), (&of_right, right_open.as_ref())).await?;
    }
    forgive_wordings(&mut judgement, (&of_left, left_open.as_ref()), (&of_right, right_open.as_ref()))
        .await?;
    name_rows(&mut judgement, (&of_left, left_open.as_ref()), (&of_right, right_open.as_ref()), *extent)
        .await?;
    Ok(report_comparison(comparison, judgement, &of_left, &of_right, began.elapsed().as_secs_f64()))
}

/// No physical copy holds the rows of unlogged tables.
fn skip_unlogged_of_kin(left: &mut Observation, right: &mut Observation) {
    let kin: Vec<String> =
        left.databases.keys().filter(|database| left.is_same_database(right, database)).cloned().collect();
    for database in &kin {
        for seen in [&mut *left, &mut *right] {
            let tables = seen.databases.get_mut(database).into_iter().flatten();
            tables.for_each(super::observe::Table::skip_if_unlogged);
        }
    }
}

/// Of a baseline of several databases, the one that matches the other side.
fn restrict_to_database(mut seen: Observation, only: Option<&str>) -> Observation {
    if let Some(only) = only {
        seen.databases.retain(|database, _| database == only);
        seen.definitions.retain(|database, _| database == only);
        seen.sequences.retain(|database, _| database == only);
    }
    seen
}

fn database_of(operand: &Operand) -> Option<&str> {
    match operand {
        Operand::Server(target) => target.database.as_deref(),
        Operand::Kept(recorded) => recorded.of.database.as_deref(),
    }
}

async fn open_operand<'a>(
    operand: &'a Operand,
    only: Option<&str>,
    look: &Look,
) -> Result<Option<Opened<'a>>> {
    let Operand::Server(target) = operand else { return Ok(None) };
    let only: Vec<String> = only.into_iter().map(str::to_owned).collect();
    let databases = Databases::connect(&target.server, &only, look).await?;
    if let Some(missing) = only.iter().find(|name| !databases.has_database(name)) {
        let server = &target.server;
        return Err(Error::request(format!("PostgreSQL at {} has no database `{missing}`", server.place()))
            .hint("Correct the last part of the URL; `psql -l` lists the databases."));
    }
    Ok(Some(Opened { target, databases, looks: Looks::default(), own_name: None }))
}

impl Opened<'_> {
    async fn look_again(&mut self, look: &Look, since: Instant) -> Result<()> {
        let only: Vec<String> = self.databases.database_names().map(str::to_owned).collect();
        let others = Databases::connect(&self.target.server, &only, look).await?;
        others.wait_for_counters(since).await?;
        self.looks.after = others.read_write_counters().await?;
        if let Some((own, theirs)) = &self.own_name {
            for looks in [&mut self.looks.before, &mut self.looks.after] {
                if let Some(tables) = looks.remove(own) {
                    looks.insert(theirs.clone(), tables);
                }
            }
        }
        Ok(())
    }

    /// The server's name for the `database` of the report.
    fn name_on_the_server<'b>(&'b self, database: &'b str) -> &'b str {
        match &self.own_name {
            Some((own, theirs)) if theirs == database => own,
            _ => database,
        }
    }

    /// The connection to the `database` of the report.
    async fn visit(&self, database: &str) -> Result<Visit<'_>> {
        self.databases.visit_database(self.name_on_the_server(database)).await
    }
}

async fn observe_operand(
    operand: &Operand,
    open: Option<&Opened<'_>>,
    other: &Operand,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Observation> {
    match (operand, open) {
        (Operand::Kept(recorded), _) => Ok(recorded.seen.clone()),
        (Operand::Server(_), None) => Err(Error::outside("no database was opened")),
        (Operand::Server(_), Some(open)) => {
            let boundaries = match other {
                Operand::Kept(recorded) => recorded.seen.boundaries.clone(),
                Operand::Server(_) => BTreeMap::new(),
            };
            let newest_write = !boundaries.is_empty();
            open.databases.observe(&Question { boundaries, newest_write }, progress).await
        }
    }
}

/// The content of the right side, under the names of the left one.
fn rename_databases(mut seen: Observation, (left, right): (Option<&str>, Option<&str>)) -> Observation {
    fn rename<T>(of: &mut BTreeMap<String, T>, right: &str, left: &str) {
        if let Some(value) = of.remove(right) {
            of.insert(left.to_owned(), value);
        }
    }
    if let (Some(left), Some(right)) = (left, right)
        && left != right
    {
        rename(&mut seen.databases, right, left);
        rename(&mut seen.unreadable, right, left);
        rename(&mut seen.made_by, right, left);
        rename(&mut seen.database_oids, right, left);
        rename(&mut seen.definitions, right, left);
        rename(&mut seen.definitions_since, right, left);
        rename(&mut seen.sequences, right, left);
        rename(&mut seen.boundaries, right, left);
    }
    seen
}

type Half<'a> = (&'a Observation, Option<&'a Opened<'a>>);

async fn judge_pair(comparison: &Comparison, left: Half<'_>, right: Half<'_>) -> Result<Judgement> {
    let is_kin = left.0.databases.keys().all(|database| left.0.is_same_database(right.0, database));
    // A physical copy of a source recorded around a backup may contain writes around it.
    if let (Operand::Kept(recorded), Some(open)) = (&comparison.left, right.1)
        && is_kin
        && !recorded.movement.after.is_empty()
    {
        let horizon = lineage::find_horizon(&open.databases, right.0).await?;
        let touched = open.databases.read_touched(&left.0.definitions_settled_before()).await?;
        let traces = judge::Traces { horizon: horizon.as_ref(), touched: Some(&touched) };
        let mut judgement = judge::at_the_moment(left.0, &recorded.movement, right.0, traces);
        judgement.definitions.retain(|found| !comparison.ignored.contains(&found.kind));
        judgement.weigh();
        return Ok(judgement);
    }
    let still = Looks::default();
    let looks = |open: Option<&'_ Opened<'_>>| open.map_or(still.clone(), |open| open.looks.clone());
    let (left_looks, right_looks) = (looks(left.1), looks(right.1));
    let left = judge::Side { seen: left.0, looks: &left_looks };
    let right = judge::Side { seen: right.0, looks: &right_looks };
    Ok(judge::judge_alike(left, right, &comparison.ignored))
}

/// Removes definitions that are only worded differently, in databases that are not physical copies of each other.
async fn forgive_wordings(judgement: &mut Judgement, left: Half<'_>, right: Half<'_>) -> Result<()> {
    let (Some(left_open), Some(right_open)) = (left.1, right.1) else { return Ok(()) };
    let different = judgement.definitions.iter().filter(|found| found.verdict == Word::Differs);
    let databases: BTreeSet<String> = different
        .map(|found| found.database.clone())
        .filter(|database| !left.0.is_same_database(right.0, database))
        .collect();
    for database in databases {
        let wordings = async |open: &Opened<'_>| {
            let session = open.target.server.connect(open.name_on_the_server(&database)).await?;
            wording::wordings_apart(&session).await
        };
        let (of_left, of_right) = (wordings(left_open).await?, wordings(right_open).await?);
        judgement.definitions.retain(|found| {
            found.database != database || !wording::says_the_same(found, &of_left, &of_right)
        });
    }
    judgement.weigh();
    Ok(())
}

/// Names the rows that differ, if both sides can still be queried.
async fn name_rows(judgement: &mut Judgement, left: Half<'_>, right: Half<'_>, extent: Extent) -> Result<()> {
    let opened = (left.1, right.1);
    let is_open = |table: &&mut TableVerdict| matches!(table.verdict, Word::Differs | Word::Within);
    for table in judgement.tables.iter_mut().filter(is_open) {
        let visits = (visit_table(opened.0, table).await?, visit_table(opened.1, table).await?);
        let (Some(left), Some(right)) =
            (side_of(left.0, visits.0.as_ref(), table), side_of(right.0, visits.1.as_ref(), table))
        else {
            if table.verdict == Word::Differs {
                table.reason.push_str("; the rows cannot be named, because a baseline does not contain them");
            }
            continue;
        };
        let written =
            |open: Option<&Opened<'_>>, oid| open.and_then(|open| open.looks.written(&table.database, oid));
        let written = written(opened.0, left.table.oid).zip(written(opened.1, right.table.oid));
        match row_differences::find_differences(left, right, extent).await {
            // So many rows cannot have been changed by fewer writes.
            Ok(found) if table.verdict == Word::Within => {
                let explained = written.map_or(0, |(left, right)| left + right);
                if found.more || found.found as u64 > explained {
                    table.verdict = Word::Differs;
                    add_rows(table, found);
                    table
                        .reason
                        .push_str(&format!("; {explained} rows were written to while it was being compared"));
                }
            }
            Ok(found) => add_rows(table, found),
            Err(failure) if failure.session_survives() => {
                table.reason.push_str(&format!("; the rows could not be identified: {failure}"));
                for side in [left, right] {
                    side.session.execute("rollback").await?;
                }
                break;
            }
            Err(failure) => return Err(failure.into()),
        }
    }
    judgement.weigh();
    Ok(())
}

async fn visit_table<'a>(open: Option<&'a Opened<'_>>, table: &TableVerdict) -> Result<Option<Visit<'a>>> {
    match open {
        Some(open) => Ok(Some(open.visit(&table.database).await?)),
        None => Ok(None),
    }
}

/// One side of a table of the report.
fn side_of<'a>(
    seen: &'a Observation,
    visit: Option<&'a Visit<'_>>,
    table: &TableVerdict,
) -> Option<row_differences::Side<'a>> {
    let table = seen.find_table(&table.database, &table.schema, &table.table)?;
    Some(row_differences::Side { session: visit?, table, only: None })
}

/// Adds the differing rows to a table's verdict.
pub(crate) fn add_rows(table: &mut TableVerdict, found: Differences) {
    match found.summary() {
        Some(told) => table.reason = told,
        None => table.reason.push_str("; every row is identical in the columns that both have"),
    }
    table.differences = found.rows;
}

fn report_comparison(
    comparison: &Comparison,
    judgement: Judgement,
    left: &Observation,
    right: &Observation,
    seconds: f64,
) -> Report {
    let fingerprint = |seen: &Observation, table: &TableVerdict| {
        seen.find_table(&table.database, &table.schema, &table.table)?.fingerprint.clone()
    };
    let tables = judgement.tables.into_iter().map(|table| TableReport {
        rows: table.observed_rows,
        fingerprint: fingerprint(right, &table),
        expected_fingerprint: fingerprint(left, &table),
        verdict: table,
    });
    let tables = tables.collect();
    let part = |is_of: &dyn Fn(&str) -> bool, compared: usize, were_compared: bool| {
        let differences: Vec<DefinitionVerdict> =
            judgement.definitions.iter().filter(|found| is_of(&found.kind)).cloned().collect();
        let verdict = match (were_compared, differences.is_empty()) {
            (_, false) => Verdict::Fail,
            (true, true) => Verdict::Pass,
            (false, true) => Verdict::Unknown,
        };
        PartReport { verdict, compared, differences }
    };
    let were_compared = !left.definitions.is_empty() && !right.definitions.is_empty();
    let count = |is_of: &dyn Fn(&str) -> bool| -> usize {
        let is_counted = |database: &str, kind: &str| {
            is_of(kind)
                && !comparison.ignored.iter().any(|ignored| ignored == kind)
                && judge::compares_kind(left, right, database, kind)
        };
        let databases = left.definitions.iter();
        databases
            .flat_map(|(database, kinds)| kinds.iter().filter(|(kind, _)| is_counted(database, kind)))
            .map(|(_, named)| named.len())
            .sum()
    };
    let (extension, sequence) = (|kind: &str| kind == "extension", |kind: &str| kind == "sequence");
    let other = |kind: &str| !extension(kind) && !sequence(kind);
    let sequences = left.sequences.values().map(BTreeMap::len).sum();
    let is_asked = |count: usize| if were_compared { count } else { 0 };
    Report {
        schema: "lifeboat.verify/1",
        verdict: judgement.verdict,
        reasons: judgement.reasons,
        left: side_report(&comparison.left, left),
        right: side_report(&comparison.right, right),
        tables,
        definitions: part(&other, is_asked(count(&other)), were_compared),
        sequences: part(&sequence, is_asked(sequences), were_compared),
        extensions: part(&extension, is_asked(count(&extension)), were_compared),
        not_tested: judgement.not_tested,
        notes: judgement.notes,
        seconds,
    }
}

fn side_report(operand: &Operand, seen: &Observation) -> SideReport {
    let (major, minor) = (seen.server_version / 10_000, seen.server_version % 10_000);
    let (name, kind) = match operand {
        Operand::Server(target) => (target.display_url(), "server"),
        Operand::Kept(recorded) => {
            (format!("baseline of {} at {}", Origin::describe(&recorded.of), recorded.instant), "baseline")
        }
    };
    SideReport { name, kind, server_version: format!("{major}.{minor}"), rows: seen.total_rows() }
}
