//! Drills that are recorded: a year of them, the page for the auditor, and evidence that was altered.

use serde_json::{Value, json};

use super::{Clock, Scene};
use crate::calendar::{a_record, recorded};
use crate::offline::Offline;

/// A record with something of everything.
fn whole_record() -> Value {
    let table = |table: &str, verdict: &str, rows: [u64; 2], reason: &str| {
        json!({"database": "app", "schema": "public", "table": table, "verdict": verdict, "expected_rows": rows[0],
               "observed_rows": rows[1], "matched_rows": rows[1], "open_rows": 0, "reason": reason, "differences": []})
    };
    let phases = ["restore", "log in", "observe copy", "compare", "check indexes", "tear down"];
    let phase = |(number, name): (usize, &&str)| json!({"name": name, "started_at": format!("2026-01-20T03:0{number}:00Z"), "seconds": 60.0});
    let mut record = a_record();
    record["phases"] = phases.iter().enumerate().map(phase).collect();
    record["tables"] = json!([
        table("jobs", "identical", [300, 300], ""),
        table("users", "differs", [501, 500], "1 row differs (id 7): 1 missing"),
        table(
            "events",
            "within",
            [120, 100],
            "100 rows from before the backup are identical; the source has written 20 rows since"
        ),
    ]);
    record["not_tested"] = json!(["how old the newest row is: no `freshness` is configured"]);
    record["checks"] = json!([{"name": "no orphans", "database": "app", "query": "select count(*) from orphans", "expect": "0",
                               "observed": "3", "verdict": "fail", "reason": "it is 3, not 0"}]);
    record["hints"] = json!(["Look at `users` first."]);
    record["throwaway"]["left_behind"] = "AWS refused to delete it".into();
    record
}

#[tokio::test(flavor = "multi_thread")]
async fn a_year_of_drills_is_listed_reported_and_checked() {
    let place = Offline::new();
    let vault = place.path("vault");
    for (source, day, verdict) in [
        ("orders-prod", "2025-10-15", "pass"),
        ("orders-prod", "2025-11-15", "fail"),
        ("orders-prod", "2025-11-20", "pass"),
        ("billing", "2025-12-01", "unknown"),
        ("orders-prod", "2026-01-15", "pass"),
    ] {
        recorded(&vault, &a_record(), source, day, verdict);
    }
    let run = recorded(&vault, &whole_record(), "shop", "2026-01-20", "fail");
    let mut scene = Scene::of_place(&place);
    scene.clock = Clock::Still("2026-02-03 12:00:00");
    scene.report("drill list").await;
    scene.report("drill list --from 2025-10-01 --to 2026-01-31 --vault-only").await;
    scene.pipe("drill list --last-months 3 --vault-only --check").await;
    scene.report("drill show 20251115-030000-abcdef").await;
    scene.screens(&format!("drill show {run}")).await;
    scene.terminal("drill annotate 20251115-030000-abcdef --note Mended --sign-off grace").await;
    scene.assert_golden("drill-year");
    scene.report("drill report --from 2025-10-01 --to 2026-01-31 --vault-only --output report.html").await;
    scene.assert_golden("drill-report");
    scene.page("report.html", &std::fs::read_to_string(place.path("report.html")).unwrap());
    scene.assert_golden("page-drill-report");
    scene.report("drill verify-evidence").await;
    std::fs::write(vault.join("drills/orders-prod/20251115-030000-abcdef/evidence.json"), "{}").unwrap();
    std::fs::remove_file(vault.join("drills/orders-prod/chain/000003.json")).unwrap();
    scene.report("drill verify-evidence").await;
    scene.assert_golden("drill-verify-evidence");
}
