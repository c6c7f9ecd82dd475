use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::verify::lineage::Horizon;
use crate::verify::observe::{Strata, Stratum, WriteCounters, Written, WrittenTables};

const DB: &str = "app";

fn table(name: &str, rows: u64) -> Table {
    Table {
        oid: name.bytes().map(u32::from).sum(),
        schema: "public".into(),
        name: name.into(),
        is_view: false,
        bytes: rows * 100,
        depth: Depth::Content,
        counted: Counted::Rows(rows),
        written: written(0, 0, 0),
        created_by: Some(10),
        newest_write: Some(20),
        strata: strata(rows, rows, rows),
        columns: Vec::new(),
        key: Vec::new(),
        fingerprint: None,
    }
}

fn written(inserted: i64, updated: i64, deleted: i64) -> Written {
    Written { counters: WriteCounters { inserted, updated, deleted }, filenode: Some(1) }
}

/// Of `rows` rows, so many surely and so many perhaps older than the boundary.
fn strata(rows: u64, surely: u64, maybe: u64) -> Option<Strata> {
    let stratum = |rows| Stratum { rows, sum: 0 };
    let (recent, newer) = (stratum(maybe - surely), stratum(rows.saturating_sub(maybe)));
    Some(Strata { settled: stratum(surely), recent, newer })
}

fn seen(tables: Vec<Table>) -> Observation {
    Observation {
        databases: BTreeMap::from([(DB.to_owned(), tables)]),
        made_by: BTreeMap::from([(DB.to_owned(), 5)]),
        next_transaction: 200,
        counting_since: Some("2026-01-01T00:00:00Z".parse().unwrap()),
        ..Observation::default()
    }
}

const HORIZON: Horizon = Horizon { surely_before: 100, maybe_before: 100 };

fn judge_live(source: Vec<Table>, copy: Vec<Table>) -> Judgement {
    judge_live_with(source, copy, &HORIZON)
}

fn judge_live_with(source: Vec<Table>, copy: Vec<Table>, horizon: &Horizon) -> Judgement {
    let commit_log = CommitLog::default();
    let moment = Some("2026-11-21T00:00:00Z".parse().unwrap());
    live(
        &seen(source),
        &seen(copy),
        &Kinship::Lineage { horizon, commit_log: &commit_log, moment, tolerance: 0.1 },
    )
}

/// The verdict on the one table, and the overall one.
fn words(judgement: &Judgement) -> (Word, Verdict) {
    (judgement.tables[0].verdict, judgement.verdict)
}

/// A source of `rows` rows, of which `older` are from before the backup.
fn grown(rows: u64, older: u64) -> Table {
    Table { strata: strata(rows, older, older), ..table("jobs", rows) }
}

#[test]
fn a_source_that_has_grown_since_is_not_a_failure_and_is_said_why() {
    let judgement = judge_live(vec![grown(150, 100)], vec![table("jobs", 100)]);
    assert_eq!(words(&judgement), (Word::Within, Verdict::Pass));
    assert_eq!(
        judgement.tables[0].reason,
        "100 rows from before the backup are all there; the source has grown by 50 rows since"
    );
}

#[test]
fn rows_missing_from_the_copy_are_found_although_the_source_has_grown() {
    let judgement = judge_live(vec![grown(150, 100)], vec![table("jobs", 99)]);
    assert_eq!(words(&judgement), (Word::Differs, Verdict::Fail));
    assert_eq!(
        judgement.reasons,
        [
            "table `app.public.jobs` differs (expected 150, found 99): 1 row missing: the source still has 100 rows from before the backup"
        ]
    );
}

#[test]
fn rows_too_many_are_found_unless_the_source_has_deleted_as_many() {
    let source = |deleted| Table { written: written(0, 0, deleted), ..grown(90, 90) };
    assert_eq!(words(&judge_live(vec![source(10)], vec![table("jobs", 100)])), (Word::Within, Verdict::Pass));
    assert_eq!(words(&judge_live(vec![source(9)], vec![table("jobs", 100)])), (Word::Differs, Verdict::Fail));
}

#[test]
fn nothing_bounds_the_deletes_of_a_source_whose_counters_were_reset_since() {
    let (mut source, copy) = (seen(vec![grown(90, 90)]), seen(vec![table("jobs", 100)]));
    source.counting_since = Some("2026-11-21T10:00:00Z".parse().unwrap());
    let commit_log = CommitLog::default();
    let kinship = Kinship::Lineage {
        horizon: &HORIZON,
        commit_log: &commit_log,
        moment: Some("2026-11-21T00:00:00Z".parse().unwrap()),
        tolerance: 0.1,
    };
    assert_eq!(words(&live(&source, &copy, &kinship)), (Word::Within, Verdict::Pass));
}

#[test]
fn transactions_that_were_running_at_the_moment_of_the_backup_raise_no_alarm() {
    let (source, copy) = (seen(vec![grown(150, 120)]), seen(vec![table("jobs", 100)]));
    let mut commit_log = CommitLog::default();
    commit_log.rows_not_in_copy.insert((DB.to_owned(), table("jobs", 0).oid), 20);
    let kinship =
        Kinship::Lineage { horizon: &HORIZON, commit_log: &commit_log, moment: None, tolerance: 0.1 };
    assert_eq!(words(&live(&source, &copy, &kinship)), (Word::Within, Verdict::Pass));
}

#[test]
fn a_table_older_than_the_backup_is_missing_a_newer_one_is_not() {
    let kept = || table("kept", 1);
    let newer = Table { created_by: Some(101), ..table("flags", 3) };
    let judgement = judge_live(vec![kept(), table("jobs", 3), newer], vec![kept()]);
    let found: Vec<_> = judgement.tables.iter().map(|table| (table.table.as_str(), table.verdict)).collect();
    assert_eq!(found, [("kept", Word::Equal), ("jobs", Word::Missing), ("flags", Word::Skipped)]);
    assert_eq!(judgement.verdict, Verdict::Fail);
}

#[test]
fn a_renamed_table_is_compared_under_its_new_name() {
    let renamed = Table { name: "vacancies".into(), ..table("jobs", 5) };
    assert_eq!(words(&judge_live(vec![renamed], vec![table("jobs", 5)])), (Word::Equal, Verdict::Pass));
}

#[test]
fn an_emptied_copy_is_not_explained_away_by_a_blurred_horizon() {
    let blurred = Horizon { surely_before: 50, maybe_before: 100 };
    let source = Table { strata: strata(1000, 0, 1000), ..table("jobs", 1000) };
    let judgement =
        judge_live_with(vec![table("kept", 1), source], vec![table("kept", 1), table("jobs", 0)], &blurred);
    assert_eq!((judgement.tables[1].verdict, judgement.verdict), (Word::Unknown, Verdict::Unknown));
}

#[test]
fn a_missing_database_fails_and_one_that_cannot_be_read_is_unknown() {
    let source = seen(vec![table("jobs", 1)]);
    let missing = Observation { next_transaction: 100, ..Observation::default() };
    let unreadable = Observation {
        unreadable: BTreeMap::from([(DB.to_owned(), "no rights".to_owned())]),
        ..missing.clone()
    };
    let commit_log = CommitLog::default();
    let kinship =
        Kinship::Lineage { horizon: &HORIZON, commit_log: &commit_log, moment: None, tolerance: 0.1 };
    assert_eq!(words(&live(&source, &missing, &kinship)), (Word::Missing, Verdict::Fail));
    assert_eq!(words(&live(&source, &unreadable, &kinship)), (Word::Unknown, Verdict::Unknown));
    assert_eq!(
        words(&at_the_moment(&source, &Movement::default(), &missing, None)),
        (Word::Missing, Verdict::Fail)
    );
    assert_eq!(
        words(&at_the_moment(&source, &Movement::default(), &unreadable, None)),
        (Word::Unknown, Verdict::Unknown)
    );
}

#[test]
fn a_comparison_of_nothing_is_not_a_pass() {
    assert_eq!(judge_live(vec![], vec![]).verdict, Verdict::Unknown);
    let unlogged = || Table { counted: Counted::Skipped("unlogged".into()), ..table("sessions", 0) };
    let judgement = judge_live(vec![unlogged()], vec![unlogged()]);
    assert_eq!(words(&judgement), (Word::Skipped, Verdict::Unknown));
    assert_eq!(judgement.not_tested, ["table `app.public.sessions`: unlogged"]);
}

#[test]
fn empty_against_empty_is_fine() {
    assert_eq!(
        words(&judge_live(vec![table("jobs", 0)], vec![table("jobs", 0)])),
        (Word::Equal, Verdict::Pass)
    );
}

#[test]
fn a_table_that_cannot_be_read_is_unknown_and_so_is_the_drill() {
    let locked = Table { counted: Counted::Unreadable("permission denied".into()), ..table("secrets", 0) };
    let judgement = judge_live(vec![table("a", 1), locked.clone()], vec![table("a", 1), table("secrets", 3)]);
    assert_eq!((judgement.tables[1].verdict, judgement.verdict), (Word::Unknown, Verdict::Unknown));
    assert!(judgement.tables[1].reason.contains("permission denied"));
}

#[test]
fn without_a_common_history_counts_are_held_against_the_tolerance() {
    let by_names = |rows, held| {
        let kinship = Kinship::Names { tolerance: 0.1, because: "an earlier instance".into() };
        words(&live(&seen(vec![table("jobs", rows)]), &seen(vec![table("jobs", held)]), &kinship))
    };
    assert_eq!(by_names(100, 95), (Word::Within, Verdict::Pass));
    assert_eq!(by_names(100, 89), (Word::Differs, Verdict::Fail));
    assert_eq!(by_names(3, 0), (Word::Differs, Verdict::Fail));
}

/// A source of 1,000 rows, of which `older` are left from before the backup, after so many updates and deletes.
fn rewritten(older: u64, updated: i64, deleted: i64) -> Table {
    Table { written: written(1000, updated, deleted), ..grown(1000, older) }
}

#[test]
fn updates_in_the_source_do_not_excuse_rows_that_are_missing_from_the_copy() {
    let second = |source: Table, held| {
        let judgement =
            judge_live(vec![table("kept", 1), source], vec![table("kept", 1), table("jobs", held)]);
        (judgement.tables[1].verdict, judgement.verdict)
    };
    assert_eq!(second(rewritten(0, 1000, 0), 1000), (Word::Equal, Verdict::Pass));
    // Half of it, and all of it, although every row was updated since.
    assert_eq!(second(rewritten(0, 1000, 0), 500), (Word::Unknown, Verdict::Unknown));
    assert_eq!(second(rewritten(0, 1000, 0), 0), (Word::Unknown, Verdict::Unknown));
    assert_eq!(second(rewritten(700, 300, 0), 700), (Word::Unknown, Verdict::Unknown));
    // A rewrite makes every row new.
    assert_eq!(
        second(Table { written: Written { filenode: Some(2), ..written(0, 0, 0) }, ..rewritten(0, 0, 0) }, 0),
        (Word::Unknown, Verdict::Unknown)
    );
    // Growth without updates is growth.
    assert_eq!(second(rewritten(400, 0, 0), 400), (Word::Within, Verdict::Pass));
    // Within the tolerance, and in a table whose rows come and go, only bounds are checked.
    assert_eq!(second(rewritten(900, 100, 0), 910), (Word::Within, Verdict::Pass));
    assert_eq!(second(rewritten(0, 5000, 9000), 300), (Word::Within, Verdict::Pass));
    assert_eq!(second(rewritten(0, 5000, 900), 0), (Word::Unknown, Verdict::Unknown));
}

#[test]
fn a_table_that_was_emptied_by_its_nature_in_the_copy_is_not_skipped() {
    let unlogged = Table { counted: Counted::Skipped("unlogged".into()), ..table("jobs", 0) };
    assert_eq!(
        words(&judge_live(vec![grown(10, 10)], vec![unlogged.clone()])),
        (Word::Differs, Verdict::Fail)
    );
    assert_eq!(words(&judge_live(vec![grown(10, 0)], vec![unlogged])).0, Word::Skipped);
}

#[test]
fn a_renamed_database_is_compared_and_one_made_since_from_a_template_is_not_missed() {
    let named = |name: &str, oid: u32, made_by: u64, tables: Vec<Table>| Observation {
        databases: BTreeMap::from([(name.to_owned(), tables)]),
        made_by: BTreeMap::from([(name.to_owned(), made_by)]),
        database_oids: BTreeMap::from([(name.to_owned(), oid)]),
        next_transaction: 200,
        ..Observation::default()
    };
    let commit_log = CommitLog::default();
    let kinship =
        Kinship::Lineage { horizon: &HORIZON, commit_log: &commit_log, moment: None, tolerance: 0.1 };
    let copy = named("bill", 50, 5, vec![table("jobs", 3)]);
    assert_eq!(
        live(&named("bill2", 50, 150, vec![table("jobs", 3)]), &copy, &kinship).verdict,
        Verdict::Pass
    );
    let mut source = named("bill", 50, 5, vec![table("jobs", 3)]);
    source.databases.insert("copy".into(), vec![table("jobs", 3)]);
    source.made_by.insert("copy".into(), 150);
    source.database_oids.insert("copy".into(), 60_000);
    assert_eq!(live(&source, &copy, &kinship).verdict, Verdict::Pass);
    // Altered since, but older than its own tables: it was there.
    source.database_oids.insert("copy".into(), 20);
    assert_eq!(live(&source, &copy, &kinship).verdict, Verdict::Fail);
}

/// A source and a copy of 100 rows each with these fingerprints.
fn with_content(source: i128, copy: i128) -> (Table, Table) {
    let of = |sum: i128| Table {
        fingerprint: Some(sum.to_string()),
        strata: Some(Strata { settled: Stratum { rows: 100, sum }, ..Strata::default() }),
        ..table("jobs", 100)
    };
    (of(source), of(copy))
}

#[test]
fn a_changed_value_is_found_where_nothing_of_that_time_was_changed_since() {
    let (source, copy) = with_content(1, 1);
    assert_eq!(words(&judge_live(vec![source], vec![copy])), (Word::Identical, Verdict::Pass));
    let (source, copy) = with_content(1, 2);
    assert_eq!(words(&judge_live(vec![source], vec![copy])), (Word::Differs, Verdict::Fail));
    // The source has since replaced ten rows of that time, so the copy has ten that it has not.
    let (source, copy) = with_content(1, 2);
    let writes = WriteCounters { updated: 10, ..WriteCounters::default() };
    let source = Table {
        written: Written { counters: writes, ..source.written },
        strata: strata(100, 90, 90),
        ..source
    };
    assert_eq!(words(&judge_live(vec![source], vec![copy])), (Word::Equal, Verdict::Pass));
}

#[test]
fn other_content_is_no_evidence_under_a_blurred_horizon() {
    let blurred = Horizon { surely_before: 50, maybe_before: 100 };
    let (source, copy) = with_content(1, 2);
    assert_eq!(words(&judge_live_with(vec![source], vec![copy], &blurred)), (Word::Equal, Verdict::Pass));
}

#[test]
fn in_an_aligned_copy_a_changed_value_is_found_unless_the_table_was_written_to() {
    let judge = |updated: i64| {
        let ((source, copy), mut movement) = (with_content(1, 2), Movement::default());
        (movement.before, movement.after) = (counters(5, 5), counters(5, 5));
        movement
            .after
            .values_mut()
            .flat_map(BTreeMap::values_mut)
            .for_each(|look| look.counters.updated = updated);
        words(&at_the_moment(&seen(vec![source]), &movement, &seen(vec![copy]), None))
    };
    assert_eq!(judge(0), (Word::Differs, Verdict::Fail));
    // Even then its old rows, if they are all there, must be the same.
    assert_eq!(judge(1), (Word::Within, Verdict::Pass));
}

fn counters(inserted: i64, deleted: i64) -> WrittenTables {
    BTreeMap::from([(DB.to_owned(), BTreeMap::from([(table("jobs", 0).oid, written(inserted, 0, deleted))]))])
}

#[test]
fn writes_around_the_aligned_moment_are_bounded_by_the_counters() {
    let movement = Movement { before: counters(1000, 50), after: counters(1005, 52), ..Movement::default() };
    let judge = |copied| {
        words(&at_the_moment(
            &seen(vec![table("jobs", 100)]),
            &movement,
            &seen(vec![table("jobs", copied)]),
            None,
        ))
    };
    assert_eq!(judge(100), (Word::Equal, Verdict::Pass));
    assert_eq!(judge(98), (Word::Within, Verdict::Pass));
    assert_eq!(judge(105), (Word::Within, Verdict::Pass));
    assert_eq!(judge(97), (Word::Differs, Verdict::Fail));
    assert_eq!(judge(106), (Word::Differs, Verdict::Fail));
}

#[test]
fn a_table_that_appears_only_in_an_aligned_copy_fails() {
    let judgement = at_the_moment(
        &seen(vec![table("jobs", 1)]),
        &Movement::default(),
        &seen(vec![table("jobs", 1), table("ghosts", 1)]),
        None,
    );
    assert_eq!((judgement.tables[1].verdict, judgement.verdict), (Word::Unexpected, Verdict::Fail));
}

proptest! {
    /// Whatever happened to the source since the backup (rows inserted, deleted, updated) and whichever
    /// transactions were still running, a copy that holds what was there is never called bad.
    #[test]
    fn an_honest_copy_raises_no_alarm(
        at_backup in 0_u64..1000, running in 0_u64..50, deleted in 0_u64..1000, updated in 0_u64..1000, inserted in 0_u64..1000,
    ) {
        let deleted = deleted.min(at_backup);
        let updated = updated.min(at_backup - deleted);
        // Rows of transactions that were running then are older by number, and not in the copy.
        let older = at_backup - deleted - updated + running;
        let source = Table {
            written: written(0, updated as i64, deleted as i64),
            ..grown(at_backup - deleted + running + inserted, older)
        };
        let oid = source.oid;
        let mut commit_log = CommitLog::default();
        if at_backup < older {
            commit_log.rows_not_in_copy.insert((DB.to_owned(), oid), running);
        }
        let moment = Some("2026-11-21T00:00:00Z".parse().unwrap());
        let kinship = Kinship::Lineage { horizon: &HORIZON, commit_log: &commit_log, moment, tolerance: 0.1 };
        // Where the commit log was not asked, the running rows count as survivors: that must not hurt either.
        let judgement = live(&seen(vec![source]), &seen(vec![table("jobs", at_backup)]), &kinship);
        prop_assert_eq!(judgement.verdict, Verdict::Pass, "{:?}", judgement.reasons);
    }

    /// A copy that has lost rows of a table that only grew is always found.
    #[test]
    fn a_lossy_copy_of_a_table_that_only_grew_is_found(at_backup in 1_u64..1000, lost in 1_u64..1000, inserted in 0_u64..1000) {
        let lost = lost.min(at_backup);
        let judgement = judge_live(vec![grown(at_backup + inserted, at_backup)], vec![table("jobs", at_backup - lost)]);
        prop_assert_eq!(judgement.verdict, Verdict::Fail);
    }
}
