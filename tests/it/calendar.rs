//! A year as months: one without a drill stands out, and nothing else is called a gap.

use std::fs;
use std::path::Path;

use chrono::{Datelike as _, Utc};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::{Run, World, finish};

/// The day of the machine, which is that of the binary.
#[expect(clippy::disallowed_methods, reason = "a test is an outermost layer too")]
pub(crate) fn today() -> chrono::DateTime<Utc> {
    Utc::now()
}

/// A drill of a day, with the record of another one for all else.
pub(crate) fn recorded(vault: &Path, like: &Value, source: &str, day: &str, verdict: &str) -> String {
    let (run, record) = put_in(vault, like, source, day, verdict);
    chained(&vault.join("drills").join(source), source, &run, &record);
    run
}

/// The same, without a link in the chain.
pub(crate) fn put_in(vault: &Path, like: &Value, source: &str, day: &str, verdict: &str) -> (String, Value) {
    let run = format!("{}-030000-abcdef", day.replace('-', ""));
    let mut record = like.clone();
    record.as_object_mut().unwrap().remove("chain");
    record["run"] = run.clone().into();
    record["source"]["id"] = source.into();
    record["verdict"] = verdict.into();
    record["started_at"] = format!("{day}T03:00:00Z").into();
    record["finished_at"] = format!("{day}T03:10:00Z").into();
    let folder = vault.join("drills").join(source).join(&run);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("evidence.json"), record.to_string()).unwrap();
    (run, record)
}

/// Adds a record to the chain of its source.
fn chained(folder: &Path, source: &str, run: &str, record: &Value) {
    let hash = |text: &str| Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let head = fs::read_to_string(folder.join("head.json"))
        .map_or(json!({ "seq": 0, "sha256": "0".repeat(64) }), |head| head.parse().unwrap());
    let seq = head["seq"].as_u64().unwrap() + 1;
    let link = json!({
        "schema": "lifeboat.chain/1", "seq": seq, "previous": head["sha256"], "at": record["finished_at"], "source": source, "run": run,
        "what": "ended", "files": { format!("{run}/evidence.json"): hash(&record.to_string()) },
    })
    .to_string();
    fs::create_dir_all(folder.join("chain")).unwrap();
    fs::write(folder.join(format!("chain/{seq:06}.json")), &link).unwrap();
    fs::write(folder.join("head.json"), format!("{{\"seq\":{seq},\"sha256\":\"{}\"}}", hash(&link))).unwrap();
}

/// Outcomes of the months of a database.
fn outcomes(run: &Run, database: &str) -> Vec<String> {
    let report = run.json();
    let rows = report["databases"].as_array().unwrap();
    let row = rows
        .iter()
        .find(|row| row["id"] == database)
        .unwrap_or_else(|| panic!("no {database} in {report:#}"));
    row["months"]
        .as_array()
        .unwrap()
        .iter()
        .map(|month| month["outcome"].as_str().unwrap().to_owned())
        .collect()
}

/// A record to make others of, without a drill.
pub(crate) fn a_record() -> Value {
    json!({
        "schema": "lifeboat.drill/1", "run": "", "state": "finished", "verdict": "pass", "reasons": ["users: 1 row is missing"],
        "hints": [], "started_at": "2026-01-01T00:00:00Z", "finished_at": null,
        "ran_by": {"caller": "arn:aws:iam::123456789012:role/drill", "host": "h", "version": "0.1.0"},
        "source": {"id": "", "resource_id": "db-1", "region": crate::support::REGION, "engine": "postgres", "engine_version": "15.4",
                   "class": "db.m6g.large", "storage_gib": 20, "encrypted": true},
        "moment": {"kind": "snapshot", "snapshot_id": "s", "snapshot_type": "manual", "time": "2026-01-01T00:00:00Z", "asked_for": "latest-snapshot"},
        "baseline": "live",
        "throwaway": {"id": "lifeboat-drill-x", "resource_id": "db-2", "class": "db.t3.micro", "requested_at": "2026-01-01T00:00:00Z",
                      "expires_at": "2026-01-01T06:00:00Z", "removed_at": "2026-01-01T00:10:00Z", "kept": false, "left_behind": null},
        "phases": [], "tables": [], "checks": [],
        "rto": {"objective_seconds": 3600.0, "measured_seconds": 700.0, "available_seconds": 600.0, "verdict": "pass"},
        "rpo": {"objective_seconds": 86400.0, "measured_seconds": 4000.0, "newest_row": null, "verdict": "pass"},
        "not_tested": [], "evidence": {"json": "", "html": ""}
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_year_shows_the_month_without_a_drill_and_calls_nothing_else_a_gap() {
    let world = World::new().await;
    // In AWS: one that was drilled, one that never was, one that cannot be.
    world.create("orders-prod").await;
    world.create("billing").await;
    world.create_record("legacy-mysql").await;
    let world = world
        .rewritten(lifeboat_localstack::Limits::default(), |state| {
            state["regions"][crate::support::REGION]["instances"]["billing"]["created_at"] =
                "2020-01-01T00:00:00Z".into();
        })
        .await;
    let (vault, like) = (world.path("vault"), a_record());
    let year = today().year() - 1;
    for (month, verdict) in [
        (2, "pass"),
        (3, "pass"),
        (5, "fail"),
        (6, "unknown"),
        (7, "pass"),
        (8, "pass"),
        (9, "pass"),
        (10, "pass"),
        (11, "pass"),
        (12, "pass"),
    ] {
        recorded(&vault, &like, "orders-prod", &format!("{year}-{month:02}-15"), verdict);
    }
    recorded(&vault, &like, "orders-prod", &format!("{year}-07-20"), "fail");
    recorded(&vault, &like, "sold-in-march", &format!("{year}-03-01"), "pass");
    let last = year.to_string();
    let shown = world.lifeboat(&["drill", "list", "--year", &last, "--json"]).await;
    shown.assert_code(0);
    assert_eq!(shown.json()["schema"], "lifeboat.drill-year/1");
    let expected =
        ["before", "pass", "pass", "gap", "fail", "unknown", "pass", "pass", "pass", "pass", "pass", "pass"];
    assert_eq!(outcomes(&shown, "orders-prod"), expected);
    assert_eq!(outcomes(&shown, "sold-in-march")[2..5], ["pass", "gone", "gone"]);
    assert!(outcomes(&shown, "billing").iter().all(|month| month == "before"));
    let report = shown.json();
    let names: Vec<&str> =
        report["databases"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert_eq!(names, ["billing", "orders-prod", "sold-in-march"]);
    assert_eq!(report["databases"][0]["never_drilled"], true);
    let table = world.lifeboat(&["drill", "list", "--year", &last]).await;
    for words in [
        "GAP",
        "FAIL",
        "ok 1/2",
        "NEVER DRILLED",
        "no longer in AWS",
        &format!("`orders-prod`: no drill in {last}-04"),
    ] {
        assert!(table.stdout.contains(words), "{words}:\n{}", table.stdout);
    }

    // This year: what is to come is no gap, and neither is the month that is not over.
    let (now, months) = loop {
        let now = today();
        let year = now.year().to_string();
        let this = world.lifeboat(&["drill", "list", "--year", &year, "--json", "orders-prod"]).await;
        // Not while one month becomes another.
        if today().month() == now.month() {
            break (now, outcomes(&this, "orders-prod"));
        }
    };
    for (month, outcome) in (1..).zip(&months) {
        let expected = match month {
            month if month < now.month() => "gap",
            month if month == now.month() => "due",
            _ => "ahead",
        };
        assert_eq!(outcome, expected, "month {month}");
    }

    // What a scheduler asks: only whoever asks for a judgement gets one.
    let march = format!("{last}-03");
    let check = |more: &[&str]| {
        [&["drill", "list", "--check", "--month", &march], more]
            .concat()
            .iter()
            .map(|&word| word.to_owned())
            .collect::<Vec<_>>()
    };
    for (more, code) in [(vec!["orders-prod"], 0), (vec![], 1), (vec!["--vault-only"], 0)] {
        let words = check(&more);
        world.lifeboat(&words.iter().map(String::as_str).collect::<Vec<_>>()).await.assert_code(code);
    }
    world.lifeboat(&["drill", "list", "--check", "--year", &last, "orders-prod"]).await.assert_code(1);
    // Where nothing was proven, nothing being missing is no proof.
    let ahead = (now.year() + 1).to_string();
    world.lifeboat(&["drill", "list", "--check", "--year", &ahead, "orders-prod"]).await.assert_code(3);
    world.lifeboat(&["drill", "list", "--check"]).await.assert_code(2);
    world.lifeboat(&["drill", "list"]).await.assert_code(0);

    // AWS that cannot be asked is said, and leaves open whether there are others.
    let mut blind = world.command(&["drill", "list", "--check", "--month", &march]);
    blind.env_remove("AWS_REGION");
    let blind = finish(blind.spawn().unwrap()).await;
    blind.assert_code(3);
    assert!(
        blind.stdout.contains("AWS was not asked") && blind.stdout.contains("no AWS Region"),
        "{}",
        blind.stdout
    );
    // Evidence that cannot be read is no pass.
    let damaged = vault.join("drills/orders-prod").join(format!("{last}0315-030000-abcdef/evidence.json"));
    fs::write(&damaged, "{").unwrap();
    world.lifeboat(&["drill", "list", "--check", "--month", &march, "orders-prod"]).await.assert_code(1);
    let report = world
        .lifeboat(&["drill", "report", "--from", &format!("{last}-03-01"), "--to", &format!("{last}-03-31")])
        .await;
    report.assert_code(1);
    assert!(report.stdout.contains("Records that could not be read"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_restore_brought_back_is_asked_for_its_drills_and_what_cannot_be_drilled_is_not() {
    let world = World::with_orders().await;
    world
        .lifeboat(&["restore", "snapshot", "before", "--to", "orders-back", "--poll", "200ms"])
        .await
        .assert_code(0);
    world.create_record("legacy-mysql").await;
    world
        .rds
        .delete_db_instance()
        .db_instance_identifier("orders-prod")
        .skip_final_snapshot(true)
        .send()
        .await
        .unwrap();
    crate::support::wait("orders-prod to be gone", async || !world.instances().await.contains("orders-prod"))
        .await;
    let world = world
        .rewritten(lifeboat_localstack::Limits::default(), |state| {
            let instances = &mut state["regions"][crate::support::REGION]["instances"];
            instances["orders-back"]["created_at"] = "2020-01-01T00:00:00Z".into();
            let mut aurora = instances["legacy-mysql"].clone();
            aurora["id"] = "aurora-1".into();
            aurora["resource_id"] = "db-AURORA0000000000000000".into();
            aurora["settings"]["engine"] = "aurora-postgresql".into();
            instances["aurora-1"] = aurora;
        })
        .await;
    let year = (today().year() - 1).to_string();
    let check = world.lifeboat(&["drill", "list", "--year", &year, "--check", "--json"]).await;
    let report = check.assert_code(1).json();
    let rows = report["databases"].as_array().unwrap();
    let ids: Vec<&str> = rows.iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["orders-back"], "{report:#}");
    assert_eq!(rows[0]["never_drilled"], true);
    // The same are drilled when all are.
    let plan = world.lifeboat(&["drill", "run", "--all", "--dry-run", "--json"]).await;
    let plan = plan.json();
    let passed_over = |id: &str| {
        let row =
            plan["databases"].as_array().unwrap().iter().find(|row| row["database"] == id || row["id"] == id);
        row.unwrap_or_else(|| panic!("no {id} in {plan:#}")).to_string()
    };
    assert!(passed_over("aurora-1").contains("it is an Aurora instance (aurora-postgresql)"), "{plan:#}");
    assert!(passed_over("legacy-mysql").contains("it is an instance of mysql"), "{plan:#}");
}
