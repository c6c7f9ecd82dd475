//! Drills to draw: one that passed, one that failed with hostile names, one that was interrupted.

use chrono::{DateTime, TimeDelta, Utc};

use crate::drill::evidence::{
    CheckResult, Evidence, Moment, ObjectiveVerdict, Phase, RanBy, Report, Rpo, Rto, SCHEMA, Source, State,
    Throwaway,
};
use crate::restore::Way;
use crate::verify::{Baseline, TableVerdict, Verdict, Word};

/// Names that would like to be markup, or to look like something else.
const HOSTILE: [&str; 8] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "a_name_of_sixty_three_bytes_without_any_place_to_break_it_at_all",
    "טבלת_הזמנות",
    "invoice\u{202e}gpj.exe",
    "🚣‍♀️ lifeboats & more",
    "two\nlines",
    "z\u{351}\u{327}\u{34a}\u{342}\u{319}\u{34e}\u{363}\u{367}\u{346}\u{322}\u{338}algo",
];

fn parse_at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn sample_table(
    database: &str,
    schema: &str,
    table: &str,
    verdict: Word,
    rows: (Option<u64>, Option<u64>),
    reason: &str,
) -> TableVerdict {
    let owned = str::to_owned;
    TableVerdict {
        database: owned(database),
        schema: owned(schema),
        table: owned(table),
        verdict,
        expected_rows: rows.0,
        observed_rows: rows.1,
        matched_rows: None,
        open_rows: None,
        reason: owned(reason),
        differences: Vec::new(),
    }
}

fn sample_check(
    name: &str,
    query: &str,
    expect: &str,
    observed: Option<&str>,
    verdict: Verdict,
    reason: &str,
) -> CheckResult {
    CheckResult {
        name: name.to_owned(),
        database: "shop".to_owned(),
        query: query.to_owned(),
        expect: expect.to_owned(),
        observed: observed.map(str::to_owned),
        verdict,
        reason: reason.to_owned(),
    }
}

fn phases_of(started: DateTime<Utc>, lengths: &[(&str, f64)]) -> Vec<Phase> {
    let mut began = started + TimeDelta::milliseconds(420);
    let mut phases = Vec::new();
    for (name, seconds) in lengths {
        phases.push(Phase { name: (*name).to_owned(), started_at: began, seconds: *seconds });
        began += TimeDelta::milliseconds((seconds * 1000.0) as i64 + 15);
    }
    phases
}

/// A drill of the newest moment, and everything holds.
pub(in crate::drill) fn passed_report() -> Report {
    let started = parse_at("2026-11-21T14:05:00.250Z");
    let names = [
        "customers",
        "orders",
        "order_lines",
        "payments",
        "refunds",
        "carts",
        "addresses",
        "products",
        "prices",
        "stock",
    ];
    let mut tables: Vec<TableVerdict> = (0_u64..)
        .zip(names)
        .map(|(n, name)| {
            sample_table(
                "shop",
                "public",
                name,
                Word::Equal,
                (Some(n * n * 184_467), Some(n * n * 184_467)),
                "",
            )
        })
        .collect();
    tables[3].verdict = Word::Within;
    tables[3].observed_rows = Some(1_660_209);
    tables[3].reason =
        "written to around that moment: 1660203 to 1660215 rows are sound (+12, -0)".to_owned();
    tables.push(sample_table(
        "shop",
        "public",
        "session_cache",
        Word::Skipped,
        (None, None),
        "unlogged: a restore brings it back empty",
    ));
    tables.push(sample_table(
        "warehouse",
        "stock",
        "movements",
        Word::Equal,
        (Some(48_210_933), Some(48_210_933)),
        "",
    ));
    Report {
        schema: SCHEMA.to_owned(),
        run: "20261121-140500-k3x9qa".to_owned(),
        state: State::Finished,
        verdict: Verdict::Pass,
        reasons: vec![],
        hints: vec![],
        started_at: started,
        finished_at: Some(parse_at("2026-11-21T14:31:42Z")),
        ran_by: RanBy {
            caller: Some("arn:aws:sts::123456789012:assumed-role/lifeboat-drill/github-actions".to_owned()),
            host: "ip-10-0-3-41".to_owned(),
            version: "0.1.0".to_owned(),
            lock: None,
        },
        fleet: None,
        source: Source {
            id: "orders-production".to_owned(),
            resource_id: "db-4QZLCJWJ6Z6ZB5D3LRNDYB5XAE".to_owned(),
            account: Some("123456789012".to_owned()),
            region: "eu-west-1".to_owned(),
            engine: "postgres".to_owned(),
            engine_version: "16.4".to_owned(),
            class: "db.r6g.large".to_owned(),
            storage_gib: 400,
            encrypted: true,
        },
        moment: Moment {
            kind: Way::PointInTime,
            snapshot_id: None,
            snapshot_type: None,
            time: Some(parse_at("2026-11-21T14:05:02Z")),
            asked_for: "latest".to_owned(),
        },
        baseline: Baseline::Aligned,
        baseline_sha256: None,
        isolation: None,
        throwaway: Throwaway {
            id: "lifeboat-drill-orders-production-20261121-k3x9qa".to_owned(),
            resource_id: Some("db-7HXQ2M4T5V6W7X8Y9ZABCDEFGH".to_owned()),
            class: "db.t3.micro".to_owned(),
            requested_at: Some(parse_at("2026-11-21T14:09:31Z")),
            expires_at: parse_at("2026-11-21T20:05:00Z"),
            removed_at: Some(parse_at("2026-11-21T14:31:41Z")),
            kept: false,
            left_behind: None,
            found_gone_at: None,
            known_as: None,
        },
        phases: phases_of(
            started,
            &[
                ("observe source", 48.2),
                ("wait until restorable", 221.9),
                ("restore", 642.7),
                ("log in", 71.4),
                ("observe copy", 96.1),
                ("compare", 0.34),
                ("tear down", 514.8),
            ],
        ),
        tables,
        definitions: Vec::new(),
        chain: None,
        broke_off: None,
        checks: vec![
            sample_check(
                "orders of the last day",
                "select count(*) from orders\nwhere created_at > now() - interval '1 day'",
                "> 100",
                Some("4183"),
                Verdict::Pass,
                "",
            ),
            sample_check(
                "select max(version) from schema_migrations",
                "select max(version) from schema_migrations",
                "20261118093000",
                Some("20261118093000"),
                Verdict::Pass,
                "",
            ),
        ],
        rto: Rto {
            objective_seconds: 3600.0,
            measured_seconds: Some(810.2),
            available_seconds: Some(642.7),
            verdict: ObjectiveVerdict::Pass,
        },
        rpo: Rpo {
            objective_seconds: 900.0,
            measured_seconds: Some(141.0),
            newest_row: Some(parse_at("2026-11-21T14:02:39Z")),
            reason: None,
            verdict: ObjectiveVerdict::Pass,
        },
        not_tested: vec![
            "the content of rows: tables are compared by their exact number of rows".to_owned(),
            "table `shop.public.session_cache`: unlogged: a restore brings it back empty".to_owned(),
        ],
        evidence: Evidence {
            json: "/var/lib/lifeboat/backups/drills/orders-production/20261121-140500-k3x9qa/evidence.json"
                .to_owned(),
            html: "/var/lib/lifeboat/backups/drills/orders-production/20261121-140500-k3x9qa/evidence.html"
                .to_owned(),
        },
    }
}

/// A drill of an old snapshot with much that is wrong, and names that would like to break out.
pub(super) fn failed_report() -> Report {
    let mut report = passed_report();
    report.verdict = Verdict::Fail;
    report.baseline = Baseline::Live;
    report.moment = Moment {
        kind: Way::Snapshot,
        snapshot_id: Some("rds:orders-production-2026-11-21-03-12".to_owned()),
        snapshot_type: Some("automated".to_owned()),
        time: Some(parse_at("2026-11-21T03:12:09Z")),
        asked_for: "latest-automated".to_owned(),
    };
    for n in 0..120_u64 {
        let reason = "4812 rows from before the backup are all there; the source has grown by 311 since";
        report.tables.push(sample_table(
            "shop",
            "archive",
            &format!("events_{n:03}"),
            Word::Within,
            (Some(5123 + n), Some(4812 + n)),
            reason,
        ));
    }
    for (n, name) in (0_u64..).zip(HOSTILE) {
        report.tables.push(sample_table("shop", "wild", name, Word::Equal, (Some(n), Some(n)), ""));
        report.tables.push(sample_table(
            "<b>bold</b>",
            name,
            name,
            Word::Differs,
            (Some(1_000_000 + n), Some(n)),
            &format!("rows of `{name}` missing: <i>1000000</i>"),
        ));
    }
    report.tables.push(sample_table(
        "shop",
        "public",
        "ledger",
        Word::Missing,
        (Some(9_120_441), None),
        "it is older than the backup and not in the restored copy",
    ));
    report.tables.push(sample_table(
        "shop",
        "public",
        "coupons",
        Word::Unexpected,
        (None, Some(12)),
        "the source no longer has it: dropped since the backup",
    ));
    report.tables.push(sample_table(
        "shop",
        "public",
        "audit",
        Word::Unknown,
        (Some(u64::MAX), None),
        "permission denied for table audit",
    ));
    report.checks.push(sample_check(
        "<script>alert(2)</script>",
        "select '<script>'",
        "= '</style>'",
        Some("</code><script>"),
        Verdict::Fail,
        "expected = '</style>', found `</code><script>`",
    ));
    report.checks.push(sample_check(
        "ledger balances",
        "select sum(amount) from ledger",
        "= 0",
        None,
        Verdict::Unknown,
        "relation \"ledger\" does not exist",
    ));
    report.rto = Rto {
        objective_seconds: 600.0,
        measured_seconds: Some(810.2),
        available_seconds: Some(642.7),
        verdict: ObjectiveVerdict::Fail,
    };
    report.rpo = Rpo {
        objective_seconds: 86_400.0,
        measured_seconds: Some(39_171.0),
        newest_row: None,
        reason: None,
        verdict: ObjectiveVerdict::Pass,
    };
    report.reasons = report
        .tables
        .iter()
        .filter(|table| matches!(table.verdict, Word::Missing | Word::Differs))
        .map(|table| {
            format!(
                "table `{}.{}.{}` {}: {}",
                table.database,
                table.schema,
                table.table,
                table.verdict.as_str(),
                table.reason
            )
        })
        .collect();
    report.reasons.extend((0..9).map(|n| format!("check `made up {n}`: expected > 0, found `0`")));
    report.reasons.push("RTO missed: 13m 30s against an objective of 10m".to_owned());
    report.hints = vec![
        "Take a new snapshot now, and keep this one: `lifeboat snapshot create orders-production`."
            .to_owned(),
    ];
    report
}

/// A drill that was stopped, and whose throwaway still exists.
pub(in crate::drill) fn unknown_report() -> Report {
    let mut report = passed_report();
    report.state = State::Interrupted;
    report.verdict = Verdict::Unknown;
    report.reasons = vec!["the drill was interrupted".to_owned()];
    report.hints = vec!["Run `lifeboat drill sweep` once AWS answers again.".to_owned()];
    report.ran_by.caller = None;
    report.moment.time = None;
    report.tables.clear();
    report.checks.clear();
    report.phases.truncate(3);
    report.throwaway.removed_at = None;
    report.throwaway.left_behind = Some(
        "AWS refused to delete `lifeboat-drill-orders-production-20261121-k3x9qa`: Rate exceeded".to_owned(),
    );
    report.rto = Rto {
        measured_seconds: None,
        available_seconds: None,
        verdict: ObjectiveVerdict::Unknown,
        ..report.rto
    };
    report.rpo =
        Rpo { measured_seconds: None, newest_row: None, verdict: ObjectiveVerdict::Unknown, ..report.rpo };
    report
}
