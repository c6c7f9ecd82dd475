use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::verify::lineage::Horizon;
use crate::verify::observation::Vessel;
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
        key: vec![0],
        fingerprint: Some(rows.to_string()),
        vessel: None,
        is_unlogged: false,
        carried: None,
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

const HORIZON: Horizon = Horizon {
    surely_before: 100,
    maybe_before: 100,
    ended_before: BTreeMap::new(),
    next_object: None,
    replayed_until: None,
};

/// Judges with what the rows say of the table `jobs`.
fn judge_live(source: Vec<Table>, copy: Vec<Table>, jobs: RowEvidence) -> Judgement {
    let evidence = Evidence::from([((DB.to_owned(), table("jobs", 0).oid), jobs)]);
    let mut evidence = evidence;
    for other in source.iter().filter(|table| table.name != "jobs") {
        let whole =
            RowEvidence { matched: other.counted_rows().unwrap_or_default(), ..RowEvidence::default() };
        evidence.insert((DB.to_owned(), other.oid), whole);
    }
    judge_seen(&seen(source), &seen(copy), &evidence, &HORIZON)
}

fn judge_seen(source: &Observation, copy: &Observation, evidence: &Evidence, horizon: &Horizon) -> Judgement {
    let kinship = Kinship::Lineage {
        horizon,
        uncommitted: &BTreeSet::new(),
        evidence,
        recency: &crate::verify::lineage::Recency::Proven,
        was_written_to: false,
        moment: Some("2026-11-21T00:00:00Z".parse().unwrap()),
        tolerance: 0.1,
        churning: &crate::verify::depth::Tables::new(["app.public.staging".to_owned()]),
    };
    super::judge_live(source, copy, &kinship)
}

/// So many rows are proven, and so many only the copy has.
fn proven(matched: u64, extra: u64) -> RowEvidence {
    RowEvidence { matched, extra, ..RowEvidence::default() }
}

/// And of the newer ones, the copy lacks so many keys that may be older.
fn with_absent(absent: u64, evidence: RowEvidence) -> RowEvidence {
    RowEvidence { newer: Some(NewerRows { absent, ..NewerRows::default() }), ..evidence }
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
    let judgement = judge_live(vec![rewritten(150, 100, 0, 0)], vec![table("jobs", 100)], proven(100, 0));
    assert_eq!(words(&judgement), (Word::Within, Verdict::Pass));
    assert_eq!(
        judgement.tables[0].reason,
        "100 rows from before the backup are identical; the source has written 50 rows since"
    );
    assert_eq!((judgement.tables[0].matched_rows, judgement.tables[0].open_rows), (Some(100), Some(0)));
    assert_eq!(judgement.not_tested, Vec::<String>::new());
}

#[test]
fn rows_that_are_missing_or_changed_fail_however_much_was_written_since() {
    let evidence = RowEvidence { missing: 1, changed: 2, ..proven(97, 900) };
    let judgement = judge_live(vec![rewritten(5000, 100, 9000, 9000)], vec![table("jobs", 999)], evidence);
    assert_eq!(words(&judgement), (Word::Differs, Verdict::Fail));
    assert_eq!(
        judgement.reasons,
        [
            "table `app.public.jobs` differs (expected 5000, found 999): 1 row missing, 2 rows changed: the source still has 100 rows from before the backup"
        ]
    );
}

#[test]
fn rows_too_many_are_found_unless_the_source_has_updated_or_deleted_as_many() {
    let judge = |deleted| {
        words(&judge_live(vec![rewritten(90, 90, 0, deleted)], vec![table("jobs", 100)], proven(90, 10)))
    };
    assert_eq!(judge(10), (Word::Within, Verdict::Pass));
    assert_eq!(judge(9), (Word::Differs, Verdict::Fail));
}

#[test]
fn counters_that_were_reset_since_bound_nothing_and_excuse_nothing() {
    let judge = |source: Table, held, evidence: RowEvidence| {
        let mut seen_source = seen(vec![source]);
        seen_source.counting_since = Some("2026-11-21T10:00:00Z".parse().unwrap());
        let evidence = Evidence::from([((DB.to_owned(), table("jobs", 0).oid), evidence)]);
        words(&judge_seen(&seen_source, &seen(vec![table("jobs", held)]), &evidence, &HORIZON))
    };
    // More rows than the source has deleted by its counters: they have not seen it.
    assert_eq!(judge(rewritten(90, 90, 0, 0), 100, proven(90, 10)), (Word::Within, Verdict::Pass));
    // Every row was updated, then the counters were reset: a copy without any is no pass.
    let lost = with_absent(10_000, proven(0, 0));
    assert_eq!(judge(rewritten(10_000, 0, 0, 0), 0, lost), (Word::Unknown, Verdict::Unknown));
    // So is one that has lost all but a few.
    let lost = with_absent(9_998, proven(0, 2));
    assert_eq!(judge(rewritten(10_000, 0, 0, 0), 2, lost), (Word::Unknown, Verdict::Unknown));
}

#[test]
fn counters_of_one_table_that_were_reset_have_seen_fewer_writes_than_there_are_newer_rows() {
    // 1,000 newer rows, and 3 writes.
    let source = Table { written: written(3, 0, 0), ..grown(1000, 0) };
    let judgement = judge_live(vec![source], vec![table("jobs", 400)], with_absent(600, proven(0, 400)));
    assert_eq!(words(&judgement), (Word::Unknown, Verdict::Unknown));
}

#[test]
fn a_table_that_had_rows_and_has_none_in_the_copy_is_no_pass() {
    let empty =
        |source: Table, evidence| words(&judge_live(vec![source], vec![table("jobs", 0)], evidence)).0;
    let all_absent = |rows| with_absent(rows, RowEvidence::default());
    // Updated, deleted and loaded again, truncated and loaded.
    assert_eq!(empty(rewritten(1000, 0, 1000, 0), all_absent(1000)), Word::Unknown);
    assert_eq!(empty(rewritten(1000, 0, 0, 1000), all_absent(1000)), Word::Unknown);
    let truncated = Table { written: Written { filenode: Some(2), ..written(1000, 0, 0) }, ..grown(1000, 0) };
    assert_eq!(empty(truncated, all_absent(1000)), Word::Unknown);
    // Nothing was ever taken out of it since: it was empty then.
    assert_eq!(empty(rewritten(1000, 0, 0, 0), all_absent(1000)), Word::Within);
}

#[test]
fn a_table_that_truncate_had_emptied_before_the_backup_is_believed_to_be_empty() {
    let vessel =
        |bytes, index_bytes, estimate, altered_by| Vessel { estimate, bytes, index_bytes, altered_by };
    let judge = |vessel| {
        let copy = Table { vessel: Some(vessel), ..table("jobs", 0) };
        let source =
            Table { written: Written { filenode: Some(2), ..written(1000, 0, 0) }, ..grown(1000, 0) };
        judge_live(
            vec![table("kept", 1), source],
            vec![table("kept", 1), copy],
            with_absent(1000, proven(0, 0)),
        )
    };
    let pass = judge(vessel(0, 8192, None, Some(90)));
    assert_eq!((pass.tables[1].verdict, pass.verdict), (Word::Skipped, Verdict::Pass));
    // Index pages, rows in the statistics, or a truncation in the copy itself contradict it.
    for vessel in [
        vessel(0, 16_384, None, Some(90)),
        vessel(0, 8192, Some(1000), Some(90)),
        vessel(8192, 8192, None, Some(90)),
        vessel(0, 8192, None, Some(101)),
        vessel(0, 8192, None, None),
    ] {
        assert_eq!(judge(vessel).tables[1].verdict, Word::Unknown, "{vessel:?}");
    }
}

#[test]
fn a_copy_that_was_written_to_is_not_the_backup() {
    let judge = |written_in_copy: Written, evidence| {
        let mut copy = seen(vec![Table { written: written_in_copy, ..table("jobs", 90) }]);
        copy.counting_since = Some("2026-11-22T00:00:00Z".parse().unwrap());
        let evidence = Evidence::from([((DB.to_owned(), table("jobs", 0).oid), evidence)]);
        words(&judge_seen(&seen(vec![rewritten(100, 50, 50, 50)]), &copy, &evidence, &HORIZON))
    };
    let evidence = || with_absent(0, proven(50, 40));
    assert_eq!(judge(written(0, 0, 0), evidence()), (Word::Within, Verdict::Pass));
    for damage in [written(1, 0, 0), written(0, 1, 0), written(0, 0, 10)] {
        assert_eq!(judge(damage, evidence()), (Word::Differs, Verdict::Fail));
    }
}

#[test]
fn what_cannot_be_compared_is_said_under_not_tested() {
    let judgement = judge_live(
        vec![rewritten(1000, 900, 100, 0)],
        vec![table("jobs", 1000)],
        with_absent(0, proven(900, 100)),
    );
    assert_eq!(words(&judgement), (Word::Within, Verdict::Pass));
    assert_eq!(
        judgement.not_tested,
        [
            "table `app.public.jobs`: the values of 100 rows that the source has updated or deleted since could not be compared"
        ]
    );
    assert_eq!(judgement.tables[0].open_rows, Some(100));
}

#[test]
fn every_row_updated_and_a_fifth_new_passes_where_the_keys_tell() {
    let judge = |absent| {
        // Some of them twice.
        let source = rewritten(12_000, 0, 20_000, 0);
        let copies = vec![table("kept", 1), table("jobs", 10_000)];
        let judgement =
            judge_live(vec![table("kept", 1), source], copies, with_absent(absent, proven(0, 10_000)));
        (judgement.tables[1].verdict, judgement.verdict, judgement.not_tested.len())
    };
    assert_eq!(judge(0), (Word::Within, Verdict::Pass, 1));
    // Within the tolerance, and beyond it.
    assert_eq!(judge(1_200), (Word::Within, Verdict::Pass, 1));
    assert_eq!(judge(1_201), (Word::Unknown, Verdict::Unknown, 0));
}

#[test]
fn as_many_updates_as_there_are_rows_that_only_the_copy_has_leave_none_to_hide_a_loss() {
    let judge = |updated| {
        let evidence = with_absent(1101, proven(500, 500));
        judge_live(vec![rewritten(1601, 500, updated, 0)], vec![table("jobs", 1000)], evidence).tables[0]
            .verdict
    };
    assert_eq!(judge(500), Word::Within);
    assert_eq!(judge(1000), Word::Unknown);
}

#[test]
fn rows_that_the_commit_log_excuses_are_not_all_believed() {
    let judge = |of_old_transactions| {
        let newer =
            NewerRows { absent: 300, of_open_transactions: 300, of_old_transactions, ..NewerRows::default() };
        let evidence = RowEvidence { newer: Some(newer), ..proven(700, 0) };
        judge_live(vec![rewritten(1000, 700, 0, 0)], vec![table("jobs", 700)], evidence)
    };
    assert_eq!(words(&judge(0)), (Word::Within, Verdict::Pass));
    assert_eq!(judge(0).not_tested.len(), 1);
    assert_eq!(words(&judge(300)), (Word::Unknown, Verdict::Unknown));
}

#[test]
fn a_whole_table_written_around_the_moment_may_be_of_an_older_time() {
    let judge = |rows: u64, around_the_moment| {
        let newer = NewerRows { around_the_moment, ..NewerRows::default() };
        let evidence =
            RowEvidence { newer: Some(newer), ..proven(rows - around_the_moment, around_the_moment) };
        let source = rewritten(rows, rows - around_the_moment, around_the_moment as i64, 0);
        judge_live(vec![source], vec![table("jobs", rows)], evidence).tables[0].verdict
    };
    assert_eq!(judge(20, 12), Word::Within);
    assert_eq!(judge(1000, 1000), Word::Unknown);
}

#[test]
fn an_empty_copy_of_rows_that_were_written_around_the_moment_is_no_pass() {
    let judge = |around_the_moment| {
        let newer = NewerRows { absent: 200, around_the_moment, ..NewerRows::default() };
        let evidence = RowEvidence { newer: Some(newer), ..proven(0, 0) };
        judge_live(vec![rewritten(200, 0, 0, 0)], vec![table("jobs", 0)], evidence).tables[0].verdict
    };
    assert_eq!(judge(0), Word::Within);
    assert_eq!(judge(1), Word::Unknown);
    assert_eq!(judge(195), Word::Unknown);
}

#[test]
fn a_column_that_only_one_side_has_and_that_was_not_added_since_fails() {
    let evidence = RowEvidence { columns_lost: vec!["iban".into()], ..proven(5, 0) };
    let judgement = judge_live(vec![table("jobs", 5)], vec![table("jobs", 5)], evidence);
    assert_eq!(words(&judgement), (Word::Differs, Verdict::Fail));
    assert!(judgement.reasons[0].contains("`iban`"), "{:?}", judgement.reasons);
}

#[test]
fn what_the_source_has_deleted_is_named_where_the_copy_does_not_show_it() {
    let judgement = judge_live(vec![rewritten(10, 10, 0, 9000)], vec![table("jobs", 10)], proven(10, 0));
    assert_eq!(judgement.verdict, Verdict::Pass);
    assert!(judgement.not_tested[0].contains("`app.public.jobs`"), "{:?}", judgement.not_tested);
}

#[test]
fn a_database_that_cannot_be_read_in_the_copy_is_not_said_to_be_missing() {
    // Made or altered since, as far as its own row tells.
    let mut source = seen(vec![Table { created_by: Some(150), ..table("jobs", 1) }]);
    source.made_by.insert(DB.to_owned(), 150);
    source.database_oids.insert(DB.to_owned(), 1);
    let unreadable = BTreeMap::from([(DB.to_owned(), "no rights".to_owned())]);
    let copy = Observation { unreadable, ..Observation::default() };
    let judgement = judge_seen(&source, &copy, &Evidence::new(), &HORIZON);
    assert_eq!(judgement.verdict, Verdict::Unknown);
    assert_eq!(judgement.tables[0].reason, "its database could not be read in the restored copy");
    assert!(!judgement.reasons.iter().any(|reason| reason.contains("is not in")), "{:?}", judgement.reasons);
}

#[test]
fn a_comparison_of_keys_alone_is_not_a_pass() {
    let all_updated = || rewritten(100, 0, 100, 0);
    let evidence = || with_absent(0, proven(0, 100));
    let alone = judge_live(vec![all_updated()], vec![table("jobs", 100)], evidence());
    assert_eq!(words(&alone), (Word::Within, Verdict::Unknown));
    let copies = vec![table("kept", 1), table("jobs", 100)];
    let with_another = judge_live(vec![table("kept", 1), all_updated()], copies, evidence());
    assert_eq!(with_another.verdict, Verdict::Pass);
}

#[test]
fn what_the_record_leaves_open_is_settled_by_the_source_as_it_is_now() {
    let source = || seen(vec![Table { fingerprint: Some("1".into()), ..table("jobs", 100) }]);
    let copy = seen(vec![Table { fingerprint: Some("2".into()), ..table("jobs", 100) }]);
    let mut movement = Movement { before: counters(100, 0), after: counters(100, 0), ..Movement::default() };
    movement.after.values_mut().flat_map(BTreeMap::values_mut).for_each(|look| look.counters.updated = 1);
    let by_the_record = || at_the_moment(&source(), &movement, &copy, Traces::default());
    assert_eq!(words(&by_the_record()), (Word::Within, Verdict::Pass));
    assert!(by_the_record().not_tested[0].contains("only bounds"), "{:?}", by_the_record().not_tested);
    let settled = |evidence| {
        let mut judgement = by_the_record();
        assert_eq!(judgement.databases_left_open(&copy), BTreeSet::from([DB.to_owned()]));
        let source = vec![rewritten(100, 99, 1, 0)];
        judgement.settle_with(judge_live(source, vec![table("jobs", 100)], evidence));
        judgement
    };
    let proven_but_one = settled(with_absent(0, proven(99, 1)));
    assert_eq!(words(&proven_but_one), (Word::Within, Verdict::Pass));
    assert_eq!(proven_but_one.tables[0].matched_rows, Some(99));
    let line = "table `app.public.jobs`: the values of 1 row that the source has updated or deleted since could not be compared";
    assert_eq!(proven_but_one.not_tested, [line]);
    let changed = settled(RowEvidence { changed: 50, ..proven(49, 1) });
    assert_eq!(words(&changed), (Word::Differs, Verdict::Fail));
    assert_eq!(changed.not_tested, Vec::<String>::new());
}

#[test]
fn the_statistics_of_the_copy_bear_witness_to_its_size() {
    let judge = |estimate| {
        let copy = Table {
            vessel: Some(Vessel { estimate: Some(estimate), bytes: 8192, ..Vessel::default() }),
            ..table("jobs", 1000)
        };
        let source =
            Table { written: Written { filenode: Some(2), ..written(2000, 0, 0) }, ..grown(2000, 0) };
        let sources = vec![table("kept", 1), source];
        judge_live(sources, vec![table("kept", 1), copy], with_absent(2000, proven(0, 1000))).tables[1]
            .verdict
    };
    assert_eq!(judge(1000), Word::Skipped);
    assert_eq!(judge(2000), Word::Unknown);
}

#[test]
fn a_table_that_the_user_calls_churning_leaves_no_drill_unknown() {
    let source = Table { name: "staging".into(), oid: table("staging", 0).oid, ..grown(1000, 0) };
    let sources = vec![table("kept", 1), source];
    let judgement = {
        let mut evidence = Evidence::new();
        evidence.insert((DB.to_owned(), table("kept", 0).oid), proven(1, 0));
        evidence.insert((DB.to_owned(), table("staging", 0).oid), with_absent(1000, proven(0, 0)));
        let copy = seen(vec![table("kept", 1), table("staging", 0)]);
        judge_seen(&seen(sources), &copy, &evidence, &HORIZON)
    };
    assert_eq!((judgement.tables[1].verdict, judgement.verdict), (Word::Skipped, Verdict::Pass));
    assert_eq!(judgement.not_tested.len(), 1);
}

#[test]
fn a_churning_table_that_had_rows_and_has_none_is_no_pass() {
    let judge = |estimate, held| {
        let source = Table { name: "staging".into(), oid: table("staging", 0).oid, ..grown(1000, 0) };
        let vessel = Vessel { estimate, bytes: 8192, index_bytes: 0, altered_by: None };
        let copied = Table { vessel: Some(vessel), ..table("staging", held) };
        let mut evidence = Evidence::new();
        evidence.insert((DB.to_owned(), table("kept", 0).oid), proven(1, 0));
        evidence.insert((DB.to_owned(), table("staging", 0).oid), with_absent(1000, proven(0, held)));
        let copy = seen(vec![table("kept", 1), copied]);
        let judgement = judge_seen(&seen(vec![table("kept", 1), source]), &copy, &evidence, &HORIZON);
        (judgement.tables[1].verdict, judgement.verdict)
    };
    assert_eq!(judge(Some(1000), 0), (Word::Unknown, Verdict::Unknown));
    assert_eq!(judge(Some(0), 0), (Word::Skipped, Verdict::Pass));
    assert_eq!(judge(None, 0), (Word::Skipped, Verdict::Pass));
    assert_eq!(judge(Some(1000), 900).1, Verdict::Pass);
}

#[test]
fn a_table_older_than_the_backup_is_missing_a_newer_one_is_not() {
    let kept = || table("kept", 1);
    let newer = Table { created_by: Some(101), ..table("flags", 3) };
    let judgement = judge_live(vec![kept(), table("jobs", 3), newer], vec![kept()], proven(0, 0));
    let found: Vec<_> = judgement.tables.iter().map(|table| (table.table.as_str(), table.verdict)).collect();
    assert_eq!(found, [("kept", Word::Identical), ("jobs", Word::Missing), ("flags", Word::Skipped)]);
    assert_eq!(judgement.verdict, Verdict::Fail);
}

#[test]
fn a_table_that_only_the_copy_has_was_dropped_since_or_made_in_the_copy() {
    let judge = |created_by| {
        let ghost = Table { created_by: Some(created_by), ..table("ghost", 3) };
        judge_live(vec![table("jobs", 3)], vec![table("jobs", 3), ghost], proven(3, 0)).tables[1].verdict
    };
    assert_eq!(judge(90), Word::Unexpected);
    assert_eq!(judge(101), Word::Differs);
}

#[test]
fn a_renamed_table_is_compared_under_its_new_name() {
    let renamed = Table { name: "vacancies".into(), ..table("jobs", 5) };
    assert_eq!(
        words(&judge_live(vec![renamed], vec![table("jobs", 5)], proven(5, 0))),
        (Word::Identical, Verdict::Pass)
    );
}

#[test]
fn damage_in_the_copy_is_an_answer_and_damage_in_the_source_is_none() {
    let damaged =
        || Table { counted: Counted::Damaged("invalid page in block 10".into()), ..table("jobs", 0) };
    let judge = |source, copy| words(&judge_live(vec![source], vec![copy], proven(0, 0)));
    assert_eq!(judge(table("jobs", 3), damaged()), (Word::Differs, Verdict::Fail));
    assert_eq!(judge(damaged(), table("jobs", 3)), (Word::Unknown, Verdict::Unknown));
}

#[test]
fn a_missing_database_fails_and_one_that_cannot_be_read_is_unknown() {
    let source = seen(vec![table("jobs", 1)]);
    let missing = Observation { next_transaction: 100, ..Observation::default() };
    let unreadable = Observation {
        unreadable: BTreeMap::from([(DB.to_owned(), "no rights".to_owned())]),
        ..missing.clone()
    };
    let judge = |copy| words(&judge_seen(&source, copy, &Evidence::new(), &HORIZON));
    assert_eq!(judge(&missing), (Word::Missing, Verdict::Fail));
    assert_eq!(judge(&unreadable), (Word::Unknown, Verdict::Unknown));
    assert_eq!(
        words(&at_the_moment(&source, &Movement::default(), &missing, Traces::default())),
        (Word::Missing, Verdict::Fail)
    );
    assert_eq!(
        words(&at_the_moment(&source, &Movement::default(), &unreadable, Traces::default())),
        (Word::Unknown, Verdict::Unknown)
    );
}

#[test]
fn a_comparison_of_nothing_is_not_a_pass() {
    assert_eq!(judge_live(vec![], vec![], proven(0, 0)).verdict, Verdict::Unknown);
    let unlogged = || Table { counted: Counted::Skipped("unlogged".into()), ..table("sessions", 0) };
    let judgement = judge_live(vec![unlogged()], vec![unlogged()], proven(0, 0));
    assert_eq!(words(&judgement), (Word::Skipped, Verdict::Unknown));
    assert_eq!(judgement.not_tested, ["table `app.public.sessions`: unlogged"]);
}

#[test]
fn empty_against_empty_is_fine() {
    assert_eq!(
        words(&judge_live(vec![table("jobs", 0)], vec![table("jobs", 0)], proven(0, 0))),
        (Word::Identical, Verdict::Pass)
    );
}

#[test]
fn a_table_that_cannot_be_read_is_unknown_and_so_is_the_drill() {
    let locked = Table { counted: Counted::Unreadable("permission denied".into()), ..table("secrets", 0) };
    let judgement = judge_live(
        vec![table("a", 1), locked.clone()],
        vec![table("a", 1), table("secrets", 3)],
        proven(0, 0),
    );
    assert_eq!((judgement.tables[1].verdict, judgement.verdict), (Word::Unknown, Verdict::Unknown));
    assert!(judgement.tables[1].reason.contains("permission denied"));
}

#[test]
fn without_a_common_history_counts_are_held_against_the_tolerance() {
    let by_names = |rows, held| {
        let kinship = Kinship::Names { tolerance: 0.1, because: "an earlier instance".into() };
        words(&super::judge_live(
            &seen(vec![table("jobs", rows)]),
            &seen(vec![table("jobs", held)]),
            &kinship,
        ))
    };
    assert_eq!(by_names(100, 95), (Word::Within, Verdict::Pass));
    assert_eq!(by_names(100, 89), (Word::Differs, Verdict::Fail));
    assert_eq!(by_names(3, 0), (Word::Differs, Verdict::Fail));
}

/// A source of `rows` rows, of which `older` are left from before the backup, after so many updates and deletes.
fn rewritten(rows: u64, older: u64, updated: i64, deleted: i64) -> Table {
    Table { written: written(rows as i64, updated, deleted), ..grown(rows, older) }
}

#[test]
fn a_table_that_was_emptied_by_its_nature_in_the_copy_is_not_skipped() {
    let unlogged = Table { counted: Counted::Skipped("unlogged".into()), ..table("jobs", 0) };
    assert_eq!(
        words(&judge_live(vec![grown(10, 10)], vec![unlogged.clone()], proven(0, 0))),
        (Word::Differs, Verdict::Fail)
    );
    assert_eq!(words(&judge_live(vec![grown(10, 0)], vec![unlogged], proven(0, 0))).0, Word::Skipped);
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
    let evidence = Evidence::from([
        (("bill2".to_owned(), table("jobs", 0).oid), proven(3, 0)),
        (("bill".to_owned(), table("jobs", 0).oid), proven(3, 0)),
    ]);
    let judge =
        |source: &Observation, copy: &Observation| judge_seen(source, copy, &evidence, &HORIZON).verdict;
    let copy = named("bill", 50, 5, vec![table("jobs", 3)]);
    assert_eq!(judge(&named("bill2", 50, 150, vec![table("jobs", 3)]), &copy), Verdict::Pass);
    let with_database = |oid: u32, others: Vec<Table>| {
        let mut source = named("bill", 50, 5, [vec![table("jobs", 3)], others].concat());
        source
            .databases
            .insert("more".into(), vec![Table { oid: 70_000, created_by: Some(150), ..table("new", 3) }]);
        source.made_by.insert("more".into(), 150);
        source.database_oids.insert("more".into(), oid);
        source
    };
    let made = |name: &str, oid, created_by| Table { oid, created_by: Some(created_by), ..table(name, 0) };
    // Younger than a table that was made since.
    assert_eq!(judge(&with_database(60_000, vec![made("z", 50_000, 150)]), &copy), Verdict::Pass);
    // Older than a table from before the backup: it was there, whatever its own tables and a GRANT say.
    assert_eq!(judge(&with_database(20, Vec::new()), &copy), Verdict::Fail);
    // Nothing proves either.
    assert_eq!(judge(&with_database(60_000, Vec::new()), &copy), Verdict::Unknown);
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
fn in_an_aligned_copy_a_changed_value_is_found_unless_the_table_was_written_to() {
    let judge = |updated: i64| {
        let ((source, copy), mut movement) = (with_content(1, 2), Movement::default());
        (movement.before, movement.after) = (counters(5, 5), counters(5, 5));
        movement
            .after
            .values_mut()
            .flat_map(BTreeMap::values_mut)
            .for_each(|look| look.counters.updated = updated);
        words(&at_the_moment(&seen(vec![source]), &movement, &seen(vec![copy]), Traces::default()))
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
            &seen(vec![Table { fingerprint: None, ..table("jobs", 100) }]),
            &movement,
            &seen(vec![Table { fingerprint: None, ..table("jobs", copied) }]),
            Traces::default(),
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
        Traces::default(),
    );
    assert_eq!((judgement.tables[1].verdict, judgement.verdict), (Word::Unexpected, Verdict::Fail));
}

proptest! {
    /// Whatever happened to the source since the backup, a copy that holds what was there is never called bad, and what of
    /// it was not compared is said.
    #[test]
    fn an_honest_copy_raises_no_alarm(
        at_backup in 0_u64..1000, deleted in 0_u64..1000, updated in 0_u64..1000, inserted in 0_u64..1000,
        counted in proptest::bool::ANY,
    ) {
        let deleted = deleted.min(at_backup);
        let updated = updated.min(at_backup - deleted);
        let older = at_backup - deleted - updated;
        let source = Table {
            written: written(inserted as i64, updated as i64, deleted as i64),
            ..grown(older + updated + inserted, older)
        };
        let mut source = seen(vec![table("kept", 1), source]);
        if !counted {
            source.counting_since = None;
        }
        let copy = seen(vec![table("kept", 1), table("jobs", at_backup)]);
        let jobs = with_absent(0, proven(older, deleted + updated));
        let evidence = Evidence::from([
            ((DB.to_owned(), table("jobs", 0).oid), jobs),
            ((DB.to_owned(), table("kept", 0).oid), proven(1, 0)),
        ]);
        let judgement = judge_seen(&source, &copy, &evidence, &HORIZON);
        if at_backup > 0 || inserted == 0 {
            prop_assert_eq!(judgement.verdict, Verdict::Pass, "{:?}", judgement.reasons);
        } else {
            prop_assert_ne!(judgement.verdict, Verdict::Fail);
        }
        prop_assert_eq!(judgement.tables[1].verdict == Word::Identical, deleted + updated + inserted == 0);
        if at_backup > 0 {
            prop_assert_eq!(judgement.not_tested.is_empty(), deleted + updated == 0);
        }
    }

    /// A copy that has lost or changed rows which the source still has is always found.
    #[test]
    fn a_lossy_copy_is_found_whatever_the_counters_say(
        matched in 0_u64..1000, missing in 0_u64..1000, changed in 0_u64..1000, extra in 0_u64..1000,
        updated in 0_i64..10_000, deleted in 0_i64..10_000, inserted in 0_u64..1000,
    ) {
        prop_assume!(missing + changed > 0);
        let older = matched + missing + changed;
        let source = rewritten(older + inserted, older, updated, deleted);
        let evidence = RowEvidence { missing, changed, ..proven(matched, extra) };
        let judgement = judge_live(vec![source], vec![table("jobs", matched + changed + extra)], evidence);
        prop_assert_eq!(judgement.verdict, Verdict::Fail);
    }
}
