//! Drills that are stopped in the middle.

use serde_json::json;

use crate::support::{World, wait};

const LEFT: [&str; 1] = ["orders-prod"];

/// What holds a drill in one of its phases for so many seconds, long enough to be met there whoever else is busy. Before it
/// compares it is held where it tears down: what it compares is a moment's work.
pub(crate) async fn hold(world: &World, phase: &str, seconds: u32) {
    let check = |query: &str| {
        format!("[[databases.orders-prod.checks]]\ndatabase = \"app\"\nquery = \"{query}\"\nexpect = 1\n")
    };
    match phase {
        "restore" => {
            world
                .control(
                    "POST",
                    "statuses",
                    json!({"instance": "next-restore", "status": "creating", "stay": true}),
                )
                .await;
        }
        "log in" => {
            world.fault("ModifyDBInstance", json!({"fault": "slow", "seconds": seconds, "times": 1})).await
        }
        "observe copy" => world.write("lifeboat.toml", &check(&format!("select 1 from pg_sleep({seconds})"))),
        "compare" | "tear down" => {
            world.fault("DeleteDBInstance", json!({"fault": "slow", "seconds": seconds, "times": 1})).await
        }
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sigint_and_sigterm_remove_the_throwaway_before_the_exit_at_any_phase() {
    let world = World::with_orders().await;
    for phase in ["restore", "is creating", "log in", "observe copy", "compare", "tear down"] {
        for (name, code, state) in
            [("INT", 130, "interrupted"), ("TERM", 143, "terminated"), ("HUP", 143, "terminated")]
        {
            let seconds = match phase {
                "observe copy" => 20,
                "log in" => 5,
                _ => 3,
            };
            hold(&world, if phase == "is creating" { "restore" } else { phase }, seconds).await;
            let child = world.drill_until(&[], phase).await;
            child.signal(name);
            let run = child.finish().await;
            run.assert_code(code);
            assert_eq!(run.json()["state"], state, "in {phase}");
            world.assert_only(&LEFT).await;
            world.write("lifeboat.toml", "");
            world.control("DELETE", "faults", serde_json::Value::Null).await;
            // Of a restore that was not asked for any more.
            world.control("DELETE", "statuses", serde_json::Value::Null).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_interrupts_is_told_what_is_removed_and_how_long_that_takes() {
    let world = World::with_orders().await;
    let drill = ["drill", "run", "orders-prod", "--poll", "200ms"];
    let first = world.lifeboat(&drill).await;
    first.assert_code(0);
    // Nothing is known yet, so nothing is guessed.
    assert!(!first.stderr.contains(" left") && !first.stderr.contains("longer than"), "{}", first.stderr);
    let second = world.lifeboat(&drill).await;
    second.assert_code(0);
    let line = second.stderr.lines().find(|line| line.contains("] restore")).unwrap();
    assert!(line.contains("restore, about ") && line.contains(" left (last drill took "), "{line}");
    // On a terminal the live line says so, and no line that stays.
    let screen = world.screen(100, &drill, "").await;
    assert!(
        screen.stdout.contains("restore, about ") || screen.stdout.contains("), about "),
        "{}",
        screen.stdout
    );
    assert!(screen.stdout.contains("(last drill took "), "{}", screen.stdout);
    for (signal, word) in [("INT", "interrupted"), ("TERM", "terminated")] {
        hold(&world, "restore", 0).await;
        let child = world.drill_until(&[], "is creating").await;
        child.signal(signal);
        let run = child.finish().await;
        let throwaway = run.json()["throwaway"]["id"].as_str().unwrap().to_owned();
        let told =
            run.stderr.lines().find(|line| line.contains(word)).unwrap_or_else(|| panic!("{}", run.stderr));
        let promised =
            format!("{word}: removing throwaway `{throwaway}` (db.t3.micro) before exiting; that took ");
        assert!(told.contains(&promised) && told.contains(" in the last drill."), "{told}");
        assert!(told.contains("Two more signals leave it behind"), "{told}");
    }
    world.assert_only(&LEFT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_while_the_restore_is_being_asked_for_leaves_nothing() {
    let world = World::with_orders().await;
    for fault in
        [json!({"fault": "slow", "seconds": 2, "times": 1}), json!({"fault": "lost-response", "times": 1})]
    {
        world.fault("RestoreDBInstanceFromDBSnapshot", fault).await;
        let child = world.drill_until(&[], "] restore").await;
        child.signal("INT");
        child.finish().await.assert_code(130);
        world.assert_only(&LEFT).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_removes_what_a_killed_drill_has_left_at_any_phase() {
    let world = World::with_orders().await;
    for phase in ["is creating", "log in", "observe copy", "tear down"] {
        hold(&world, if phase == "is creating" { "restore" } else { phase }, 60).await;
        let child = world.drill_until(&[], phase).await;
        let swept = world.lifeboat(&["drill", "sweep", "--json", "--poll", "200ms"]).await;
        assert!(
            !swept.stdout.contains("\"removed\""),
            "a sweep removed the throwaway of a drill that runs: {swept:?}"
        );
        child.kill().await;
        let listed = world.lifeboat(&["drill", "list", "--json"]).await;
        assert_eq!(listed.json()["drills"][0]["outcome"], "died");
        world.lifeboat(&["drill", "sweep", "--poll", "200ms"]).await.assert_code(0);
        world.assert_only(&LEFT).await;
        world.write("lifeboat.toml", "");
        world.control("DELETE", "faults", serde_json::Value::Null).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_insists_is_let_go_and_told_what_is_left() {
    let world = World::with_orders().await;
    hold(&world, "restore", 0).await;
    let mut child = world.drill_until(&[], "is creating").await;
    world.fault("DeleteDBInstance", json!({"fault": "slow", "seconds": 60, "times": 1})).await;
    child.signal("INT");
    wait("the removal to begin", async || world.calls("DeleteDBInstance").await > 0).await;
    // Twice more; two that come before the first is looked at are one to a process.
    while !child.has_ended() {
        child.signal("INT");
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    }
    child.finish().await.assert_code(6);
}
