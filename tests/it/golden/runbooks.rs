//! Runbooks: listed, linted, planned, run, resumed, approved and undone; and the page of a run.

use super::{Clock, Scene};
use crate::offline::Offline;

const FRONT: &str =
    "---\nrunbook: 1\ntitle: Bring the shop back\nowner: the shop\nreview_by: 2099-01-01\nrto: 60m\n";

/// Steps of most kinds.
const STEPS: &str = "params:
  source: {required: true, pattern: \"[a-z-]+\", help: which one}
---

# Bring the shop back

Text for people.

```sh id=look read-only capture=n timeout=1m
echo 7
```
```expect
n = 7
```
```sh id=make creates=\"file:made\" timeout=1m
echo \"$source\" > made
```
```undo for=make does=\"removes the file.\"
rm made
```
```confirm id=sure type=\"{{source}}\"
Is it really {{source}}?
```
```approve id=four-eyes timeout=1s
Does somebody else agree?
```
```sh id=end timeout=1m
echo done
```
";

#[tokio::test(flavor = "multi_thread")]
async fn a_runbook_is_listed_planned_run_resumed_and_undone() {
    let place = Offline::new();
    std::fs::write(place.path("shop.md"), format!("{FRONT}{STEPS}")).unwrap();
    let faulty = "```sh id=a creates=\"file:x\"\nlifeboat snapshot craete $source --frob\n```\n```shh id=a\nls\n```\n```expect\nnothing = 1\n```\n";
    std::fs::write(place.path("faulty.md"), format!("{FRONT}---\n{faulty}")).unwrap();
    let warned = "```sh id=a timeout=1m creates=\"file:made\"\necho $source > made\n```\n```sh id=b read-only\nno-such-program \"$sorce\"\n```\n";
    std::fs::write(
        place.path("warned.md"),
        format!("{FRONT}params:\n  source: {{default: x, pattern: \"[a-z]+\"}}\n---\n{warned}"),
    )
    .unwrap();
    let mut scene = Scene::new(|arguments| {
        let mut command = place.command(arguments);
        command.env("BACKUP_DIR", "vault").env("USER", "ada");
        for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"] {
            command.env_remove(name);
        }
        command
    });
    scene.clock = Clock::Still("2026-11-21 03:00:00");
    scene.report("runbook list").await;
    scene.screens("runbook show shop.md").await;
    scene.terminal("runbook show monthly-drill").await;
    scene.pipe("runbook show monthly-drill --by-hand").await;
    scene.pipe("runbook show shop.md --json").await;
    scene.assert_golden("runbook-show");
    scene.report("runbook check shop.md warned.md faulty.md").await;
    scene.pipe("runbook check").await;
    scene.assert_golden("runbook-check");
    scene.report("runbook plan shop.md --set source=orders").await;
    scene.pipe("runbook plan warned.md").await;
    scene.assert_golden("runbook-plan");
    scene.terminal("runbook run shop.md --set source=orders").await;
    scene.clock = Clock::Still("2026-11-21 03:10:00");
    scene.pipe("runbook run shop.md --set source=orders --answer sure=wrong").await;
    scene.clock = Clock::Still("2026-11-21 03:20:00");
    std::fs::remove_file(place.path("made")).unwrap();
    let run = scene.run("runbook run shop.md --set source=orders --answer sure=orders --json").await;
    scene.write("$ lifeboat runbook run shop.md --set source=orders --answer sure=orders --json", &run);
    let id = run.json()["run"].as_str().unwrap().to_owned();
    scene.terminal(&format!("runbook approve {id} --confirm {id}")).await;
    scene.pipe(&format!("USER=grace runbook approve {id} --confirm {id}")).await;
    scene.terminal(&format!("runbook resume {id}")).await;
    scene.report("runbook runs").await;
    scene.terminal(&format!("runbook undo {id} --dry-run")).await;
    scene.terminal(&format!("runbook undo {id}")).await;
    scene.assert_golden("runbook-run");
    let page = std::fs::read_to_string(place.path(&format!("vault/runs/{id}/evidence.html")));
    scene.page("evidence.html", &page.unwrap());
    scene.assert_golden("page-runbook-run");
}
