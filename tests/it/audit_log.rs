//! The audit log of a vault without a server.

use std::fs;

use serde_json::Value;

use crate::offline::Offline;

#[tokio::test(flavor = "multi_thread")]
async fn who_did_what_and_what_came_of_it_stands_in_the_audit_log() {
    let place = Offline::new();
    let url = place.database("app.db", "delete", 10);
    let lines = || -> Vec<Value> {
        let text = fs::read_to_string(place.path("vault/audit.jsonl")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    // A request that is wrong is no act.
    place.backup(&["create", "--url", &url, "--name", "a/b"]).await.assert_code(2);
    place.backup(&["delete", "nothing", "--confirm", "nothing"]).await.assert_code(2);
    assert_eq!(lines().len(), 0);
    place.backup(&["create", "--url", &url, "--name", "a"]).await.assert_code(0);
    place.backup(&["create", "--url", &url, "--name", "b", "--trigger", "schedule"]).await.assert_code(0);
    place.backup(&["restore", "a", "--url", &url, "--confirm", "a"]).await.assert_code(0);
    place.backup(&["keep", "a"]).await.assert_code(0);
    place.backup(&["delete", "a", "--confirm", "a"]).await.assert_code(4);
    place.backup(&["delete", "b", "--confirm", "b"]).await.assert_code(0);
    let (lines, mut acts) = (lines(), Vec::new());
    for pair in lines.chunks(2) {
        let (begun, ended) = (&pair[0], &pair[1]);
        assert_eq!((&begun["result"], &begun["run"]), (&"begun".into(), &ended["run"]));
        assert_eq!(ended["schema"], "lifeboat.audit/1");
        assert!(
            ended["duration_seconds"].as_f64().unwrap() > 0.0
                && ended["who"].as_str().unwrap().contains("uid")
        );
        acts.push((
            ended["what"].as_str().unwrap(),
            ended["name"].as_str().unwrap(),
            ended["exit_code"].as_i64().unwrap(),
        ));
    }
    assert_eq!(
        acts,
        [
            ("backup create", "a", 0),
            ("backup create", "b", 0),
            ("backup restore", "a", 0),
            ("backup keep", "a", 0),
            ("backup delete", "a", 4),
            ("backup delete", "b", 0)
        ]
    );
    assert_eq!((&lines[3]["trigger"], &lines[9]["result"]), (&"schedule".into(), &"failed".into()));
    assert!(lines[9]["error"].as_str().unwrap().contains("marked to be kept forever"));
    // A log that cannot be written stops what would destroy something.
    fs::remove_file(place.path("vault/audit.jsonl")).unwrap();
    fs::create_dir(place.path("vault/audit.jsonl")).unwrap();
    place.backup(&["keep", "a", "--no-longer"]).await.assert_code(3).assert_says(&["audit.jsonl"]);
    let run = place.backup(&["delete", "a", "--confirm", "a", "--allow-last-copy"]).await;
    run.assert_code(3);
    assert!(place.files().contains(&"a.json".to_owned()));
}
