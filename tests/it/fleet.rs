//! Drills of whole fleets: every database once, none twice, no throwaway left, whatever dies on the way.
//!
//! LIFEBOAT_CAMPAIGN=1 takes 200 databases and 8 shards, otherwise 6 and 2.

use std::collections::BTreeMap;
use std::time::Instant;

use lifeboat_localstack::Limits;
use serde_json::{Value, json};

use crate::stores::Bucket;
use crate::support::{REGION, Run, World, finish};

const RUN: [&str; 6] = ["drill", "run", "--json", "--poll", "200ms", "--all"];

fn is_campaign() -> bool {
    std::env::var_os("LIFEBOAT_CAMPAIGN").is_some()
}

impl World {
    async fn drill_all(&self, flags: &[&str]) -> Run {
        self.lifeboat(&[&RUN, flags].concat()).await
    }

    /// How many drills of each database reached a verdict, by the evidence in the vault.
    fn verdicts(&self) -> BTreeMap<String, Vec<String>> {
        let mut verdicts = BTreeMap::<String, Vec<String>>::new();
        for source in std::fs::read_dir(self.path("vault/drills")).unwrap().flatten() {
            for run in std::fs::read_dir(source.path()).unwrap().flatten() {
                let Ok(json) = std::fs::read(run.path().join("evidence.json")) else { continue };
                let evidence: Value = serde_json::from_slice(&json).unwrap();
                if evidence["state"] == "finished" {
                    let id = evidence["source"]["id"].as_str().unwrap().to_owned();
                    verdicts.entry(id).or_default().push(evidence["verdict"].as_str().unwrap().to_owned());
                }
            }
        }
        verdicts
    }

    async fn assert_no_throwaway(&self) {
        let left: Vec<String> =
            self.instances().await.into_iter().filter(|id| id.starts_with("lifeboat-")).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[track_caller]
fn outcome<'a>(report: &'a Value, id: &str) -> &'a Value {
    report["databases"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["id"] == id)
        .unwrap_or_else(|| panic!("no {id}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_in_shards_is_drilled_once_though_one_is_killed_and_started_again() {
    let (count, shards) = if is_campaign() { (200, 8) } else { (6, 2) };
    let began = Instant::now();
    let world = World::fleet(count, 4 * shards).await;
    let made = began.elapsed();
    // One database's worth of patience for everybody else; the first shard dies after its first drill, in the middle of others.
    let flags = |shard: usize| {
        let part = format!("{shard}/{shards}");
        let concurrency = if is_campaign() { "1" } else { "2" };
        [&RUN[..], &["--shard", &part, "--concurrency", concurrency, "--max-instances", "12"]]
            .concat()
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let strs = |flags: &[String]| flags.iter().map(|flag| flag.clone().leak() as &str).collect::<Vec<_>>();
    let victim_flags = flags(0);
    let victim = world.start_until(&strs(&victim_flags), "[1/").await;
    let others: Vec<_> =
        (1..shards).map(|shard| world.command(&strs(&flags(shard))).spawn().unwrap()).collect();
    victim.kill().await;
    let again = finish(world.command(&strs(&victim_flags)).spawn().unwrap()).await;
    again.assert_code(0).assert_says(&["resumed"]);
    let mut reports = vec![again.json()];
    for other in others {
        let run = finish(other).await;
        run.assert_code(0);
        reports.push(run.json());
    }
    eprintln!("{count} databases, {shards} shards: made in {made:?}, all in {:?}", began.elapsed());

    let verdicts = world.verdicts();
    assert_eq!(verdicts.len(), count);
    assert!(verdicts.values().all(|of_one| *of_one == ["pass"]), "{verdicts:?}");
    world.assert_no_throwaway().await;
    // The reports of the shards cover all, none twice.
    let told: usize = reports.iter().map(|report| report["databases"].as_array().unwrap().len()).sum();
    assert_eq!(told, count);
    let fleet = reports[0]["fleet"].as_str().unwrap();
    assert!(
        reports.iter().all(|report| report["fleet"] == fleet && report["schema"] == "lifeboat.drill.fleet/1")
    );
    let whole = world.lifeboat(&["drill", "show", fleet, "--json"]).await;
    let report = whole.assert_code(0).json();
    assert_eq!((&report["state"], &report["summary"]["passed"]), (&json!("finished"), &json!(count)));
    assert_eq!(report["missing_shards"], json!([]));
    let text = world.lifeboat(&["drill", "show", fleet]).await;
    assert!(text.stdout.contains(&format!("{count} passed of {count} databases")), "{}", text.stdout);

    // Proven is proven: nothing is due, and the same command, done, begins anew only where something is.
    let restores = world.calls("RestoreDBInstanceFromDBSnapshot").await;
    let due = world.drill_all(&["--due", "30d"]).await;
    assert_eq!(due.assert_code(0).json()["summary"]["not_due"], json!(count));
    assert_eq!(world.calls("RestoreDBInstanceFromDBSnapshot").await, restores);
    if !is_campaign() {
        let new = world.drill_all(&["--due", "1s", "--shard", "1/3"]).await;
        assert_ne!(new.assert_code(0).json()["fleet"], json!(fleet));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_fleet_slows_down_and_none_of_its_drills_fails() {
    let world = World::fleet(3, 2).await;
    world.create_record("legacy").await;
    world.fault("*", json!({"fault": "throttle", "above_per_second": 6})).await;
    // A slow machine may ask no faster than that.
    world.fault("DescribeDBSnapshots", json!({"fault": "throttle", "times": 2})).await;
    // Another engine among them, and quota for one copy only.
    let run = world.drill_all(&["--concurrency", "4", "-v"]).await;
    let report = run.assert_code(0).json();
    run.assert_says(&["throttled by AWS: backing off", "leaves room for 1"]);
    assert_eq!((&report["summary"]["passed"], &report["ceilings"]["concurrency"]), (&json!(3), &json!(1)));
    assert_eq!(outcome(&report, "legacy")["outcome"], "skipped");
    world.control("DELETE", "faults", Value::Null).await;
    world.assert_no_throwaway().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_becomes_of_each_database_is_in_the_exit_code_and_in_the_report() {
    let world = World::fleet(3, 6).await;
    // A bad backup among good ones.
    world.control("POST", "restored-sql", json!({"database": "app", "sql": "delete from users"})).await;
    let run = world.drill_all(&["--concurrency", "1"]).await;
    let report = run.assert_code(1).json();
    assert_eq!((&report["summary"]["passed"], &report["summary"]["failed"]), (&json!(2), &json!(1)));
    let bad = report["databases"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(report["databases"][0]["outcome"], "fail");
    // A failed drill is no proof; it alone is due.
    let dry = world.drill_all(&["--due", "30d", "--dry-run"]).await;
    let planned = dry.assert_code(0).json();
    assert_eq!((&planned["state"], &planned["summary"]["pending"]), (&json!("planned"), &json!(1)));
    assert_eq!(outcome(&planned, &bad)["outcome"], "pending");

    // A tag that nobody carries is a mistake, and no fleet that is fine.
    world.lifeboat(&["drill", "run", "--tag", "env=prdo"]).await.assert_code(2).assert_says(&["`env=prdo`"]);
    let nothing = world.drill_all(&["--region", "eu-west-3"]).await;
    nothing.assert_code(2).assert_says(&["no DB instance to drill in eu-west-3"]);
    let dry = world.lifeboat(&["drill", "run", "--tag", "env=prod", "--dry-run", "--json"]).await;
    assert_eq!(dry.assert_code(0).json()["summary"]["databases"], json!(3));

    // Nothing is begun beyond the ceiling of hours, what is under way is broken off, and the rest is said.
    let run = world.drill_all(&["--concurrency", "1", "--max-hours", "0.000001"]).await;
    let report = run.json();
    assert!(matches!(run.code, Some(3 | 5)), "{run:?}");
    assert!(report.to_string().contains("limit of 0.000001 instance-hours"), "{report:#}");
    world.assert_no_throwaway().await;

    // SIGTERM ends all drills with their throwaways, and lets the leases go.
    world
        .control("POST", "statuses", json!({"instance": "next-restore", "status": "creating", "stay": true}))
        .await;
    let flags = [&RUN[..], &["--concurrency", "2", "-v", "--fleet-run", "job-7"]].concat();
    let started = world.start_until(&flags, "its throwaway is creating").await;
    started.signal("TERM");
    let ended = started.finish().await;
    assert_eq!(ended.assert_code(143).json()["state"], "interrupted");
    world.assert_no_throwaway().await;

    // Two who want one database: one gets it.
    world
        .control("POST", "statuses", json!({"instance": "next-restore", "status": "creating", "stay": true}))
        .await;
    let one = ["drill", "run", "db-1", "--json", "--poll", "200ms"];
    let first = world.start_until(&one, "is creating").await;
    let second = world.lifeboat(&one).await;
    second.assert_code(7).assert_says(&["the lease of `db-1` is held by process", "drill of db-1"]);
    // The named run goes on with all but that one, says so, and can be gone on with.
    let others = world.lifeboat(&flags).await;
    let report = others.assert_code(5).json();
    assert_eq!((&report["summary"]["passed"], &report["summary"]["held"]), (&json!(2), &json!(1)));
    assert_eq!(outcome(&report, "db-1")["outcome"], "held");
    // Its holder dies: whoever comes next removes what it left, and goes on.
    first.kill().await;
    let rest = world.lifeboat(&flags).await;
    let report = rest.assert_code(0).assert_says(&["taking over the lease"]).json();
    assert_eq!((&report["fleet"], &report["summary"]["passed"]), (&json!("job-7"), &json!(3)));
    world.assert_no_throwaway().await;
    // A single database still prints its one document.
    world.lifeboat(&["drill", "run", "db-0", "--json", "--poll", "200ms"]).await.assert_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_that_is_killed_at_any_moment_goes_on_where_it_was() {
    let (count, kills) = if is_campaign() { (12, 40) } else { (3, 2) };
    let world = World::fleet(count, 8).await;
    let flags = [&RUN[..], &["--concurrency", "3", "--fleet-run", "dice"]].concat();
    let mut killed = 0;
    for _ in 0..kills {
        let mut child = world.command(&flags).spawn().unwrap();
        let moment = std::time::Duration::from_millis(rand::random_range(300..4000));
        match tokio::time::timeout(moment, child.wait()).await {
            Ok(ended) => assert!(ended.unwrap().success()),
            Err(_) => {
                child.kill().await.unwrap();
                killed += 1;
            }
        }
    }
    let run = world.lifeboat(&flags).await;
    let report = run.assert_code(0).json();
    assert_eq!((&report["state"], &report["summary"]["passed"]), (&json!("finished"), &json!(count)));
    let verdicts = world.verdicts();
    assert!(verdicts.len() == count && verdicts.values().all(|of_one| *of_one == ["pass"]), "{verdicts:?}");
    world.assert_no_throwaway().await;
    eprintln!("killed {killed} times");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_in_a_bucket_holds_leases_and_evidence_of_a_fleet_in_two_regions() {
    let (world, bucket) = (World::fleet(2, 4).await, Bucket::start().await);
    let limits = Limits { instances: 6, manual_snapshots: 20 };
    let world = world
        .rewritten(limits, |state| {
            let here = &mut state["regions"][REGION];
            let mut there = here.clone();
            for (kind, first, second) in
                [("instances", "db-0", "db-1"), ("snapshots", "snapshot-0", "snapshot-1")]
            {
                here[kind].as_object_mut().unwrap().remove(second);
                there[kind].as_object_mut().unwrap().remove(first);
                there[kind][second]["region"] = "eu-west-1".into();
            }
            state["regions"]["eu-west-1"] = there;
        })
        .await;
    world.write(
        "lifeboat.toml",
        "[[accounts]]\nname = \"main\"\nregions = [\"eu-central-1\", \"eu-west-1\"]\n",
    );
    let vault = bucket.url("team");
    let both = [&RUN[..], &["--vault", &vault]].concat();
    // Two processes of one fleet run at once.
    let runs = futures::future::join(world.lifeboat(&both), world.lifeboat(&both)).await;
    for run in [&runs.0, &runs.1] {
        let report = run.assert_code(0).json();
        assert_eq!(report["summary"]["passed"], json!(2));
        assert_eq!(outcome(&report, "db-1")["region"], "eu-west-1");
    }
    let list = world.lifeboat(&["drill", "list", "--json", "--vault", &vault]).await;
    let drills = list.assert_code(0).json()["drills"].as_array().unwrap().clone();
    assert_eq!(drills.iter().filter(|drill| drill["outcome"] == "pass").count(), 2, "{drills:?}");
    assert_eq!(drills.len(), 2);
    let run = drills[0]["run"].as_str().unwrap();
    let shown = world.lifeboat(&["drill", "show", run, "--json", "--vault", &vault]).await;
    assert_eq!(shown.assert_code(0).json()["verdict"], "pass");
    world.lifeboat(&["drill", "run", "--all", "--due", "1d", "--vault", &vault]).await.assert_code(0);
    world.assert_no_throwaway().await;
}
