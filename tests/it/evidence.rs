//! Evidence for the auditor: whatever was done to it is found.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use chrono::Datelike as _;
use serde_json::{Value, json};

use crate::calendar::{a_record, put_in, recorded, today};
use crate::stores::Bucket;
use crate::support::{Run, World, finish};

/// The files below a folder, but for locks.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            found.extend(files(&entry));
        } else if !entry.to_str().unwrap().ends_with("lock") {
            found.push(entry);
        }
    }
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()) {
        let target = to.join(entry.file_name().unwrap());
        if entry.is_dir() {
            copy(&entry, &target)
        } else {
            let _ = fs::copy(&entry, target).unwrap();
        }
    }
}

/// Files that the check names, by their names below the folder of the source, each with what is wrong.
fn named(run: &Run) -> BTreeSet<(String, String)> {
    let report = run.json();
    let findings = report["sources"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|source| source["findings"].as_array().unwrap());
    let short = |file: &str| file.split("/drills/").nth(1).unwrap_or(file).to_owned();
    findings
        .map(|finding| {
            (finding["fault"].as_str().unwrap().to_owned(), short(finding["file"].as_str().unwrap()))
        })
        .collect()
}

async fn verify(world: &World, arguments: &[&str]) -> Run {
    world.lifeboat(&[&["drill", "verify-evidence", "--json"], arguments].concat()).await
}

/// A world with a drill that passed, one that failed, and a note about that.
async fn with_history() -> (World, String, String) {
    let world = World::with_orders().await;
    let passed = world.drill(&[]).await;
    passed.assert_code(0);
    world
        .control(
            "POST",
            "restored-sql",
            json!({"database": "app", "sql": "delete from users where id = 407"}),
        )
        .await;
    let failed = world.drill(&[]).await;
    failed.assert_code(1);
    let run = |of: &Run| of.json()["run"].as_str().unwrap().to_owned();
    let (passed, failed) = (run(&passed), run(&failed));
    let hostile = "<script>alert('canary'.length)</script> \"><img src=x onerror=alert(1)> & \u{202e}gnp";
    let arguments = [
        "drill",
        "annotate",
        &failed,
        "--note",
        &hostile.replace("canary", "note"),
        "--ticket",
        "OPS-7<b>",
        "--owner",
        "dba",
        "--json",
    ];
    let noted = world.lifeboat(&arguments).await;
    noted.assert_code(0);
    assert_eq!(noted.json()["schema"], "lifeboat.note/1");
    (world, passed, failed)
}

#[tokio::test(flavor = "multi_thread")]
async fn any_file_of_the_evidence_that_was_changed_is_named_and_the_report_shows_what_was_done() {
    let (world, passed, failed) = with_history().await;
    let first = verify(&world, &[]).await;
    first.assert_code(0);
    let report = first.json();
    assert_eq!(
        (&report["schema"], &report["verdict"]),
        (&json!("lifeboat.evidence-check/1"), &json!("intact"))
    );
    let source = &report["sources"][0];
    assert_eq!((&source["drills"], &source["notes"], &source["links"]), (&json!(2), &json!(1), &json!(7)));
    let head = source["head"]["sha256"].as_str().unwrap().to_owned();

    the_chain_can_be_followed_with_sha256sum(&world, &passed, &failed);
    every_flipped_byte_is_found(&world).await;
    whatever_else_is_done_is_named(&world, &passed, &failed).await;
    what_is_not_as_it_was_recorded_proves_nothing(&world, &passed, &failed).await;
    a_head_that_was_kept_elsewhere_finds_a_chain_that_was_rewritten(&world, &head, &passed).await;
    a_page_for_the_auditor(&world, &passed, &failed).await;
    processes_that_died_while_they_wrote_are_no_alarm(&world, &failed).await;
}

/// Each record names the hash of the evidence before it, and anyone can check that.
fn the_chain_can_be_followed_with_sha256sum(world: &World, passed: &str, failed: &str) {
    let folder = world.path("vault/drills/orders-prod");
    let sum = |name: String| {
        let done = std::process::Command::new("sha256sum").arg(folder.join(name)).output().unwrap();
        String::from_utf8(done.stdout).unwrap().split(' ').next().unwrap().to_owned()
    };
    let read =
        |name: String| -> Value { serde_json::from_slice(&fs::read(folder.join(name)).unwrap()).unwrap() };
    let evidence = read(format!("{failed}/evidence.json"));
    assert_eq!(evidence["chain"]["previous_evidence"]["run"], *passed);
    assert_eq!(evidence["chain"]["previous_evidence"]["sha256"], sum(format!("{passed}/evidence.json")));
    assert_eq!(evidence["chain"]["seq"], 6);
    assert_eq!(evidence["chain"]["previous"], sum("chain/000005.json".into()));
    assert_eq!(read("head.json".into())["sha256"], sum("chain/000007.json".into()));
    let page = fs::read_to_string(folder.join(format!("{failed}/evidence.html"))).unwrap();
    assert!(page.contains(&sum(format!("{failed}/evidence.json"))));
}

async fn every_flipped_byte_is_found(world: &World) {
    let folder = world.path("vault/drills/orders-prod");
    let all = files(&folder);
    let names: Vec<String> =
        all.iter().map(|file| file.strip_prefix(&folder).unwrap().display().to_string()).collect();
    for kind in [
        "evidence.json",
        "evidence.html",
        "note-000007.json",
        "head.json",
        "last-run.json",
        "last-pass.json",
        "chain/000001.json",
    ] {
        assert!(names.iter().any(|name| name.ends_with(kind)), "{kind} is not in {names:?}");
    }
    let rounds = if std::env::var_os("LIFEBOAT_CAMPAIGN").is_some() { 40 } else { 1 };
    for round in 0..rounds {
        for (file, name) in all.iter().zip(&names) {
            let content = fs::read(file).unwrap();
            let place = match round {
                // The last byte is white space, which a parser would forgive.
                0 if name.ends_with("head.json") || name.starts_with("chain/") => content.len() - 1,
                _ => rand::random_range(0..content.len()),
            };
            let mut altered = content.clone();
            altered[place] ^= 1 << rand::random_range(0..8);
            fs::write(file, &altered).unwrap();
            let found = verify(world, &[]).await;
            assert_eq!(found.code, Some(1), "byte {place} of {name} was not found:\n{}", found.stdout);
            let says = named(&found);
            assert!(
                says.iter().any(|(_, file)| file.ends_with(name)) || name == "head.json",
                "{name} is not named: {says:?}"
            );
            fs::write(file, content).unwrap();
        }
    }
    verify(world, &[]).await.assert_code(0);
}

async fn whatever_else_is_done_is_named(world: &World, passed: &str, failed: &str) {
    let (folder, kept) = (world.path("vault/drills/orders-prod"), world.path("kept"));
    copy(&folder, &kept);
    let at = |name: &str| folder.join(name);
    let (one, two) = (format!("{passed}/evidence.json"), format!("{failed}/evidence.json"));
    let note = format!("{failed}/note-000007.json");
    type Harm<'a> = (&'a str, Box<dyn Fn() + 'a>, &'a str, String);
    let harms: Vec<Harm<'_>> = vec![
        (
            "cut short",
            Box::new(|| fs::write(at(&one), &fs::read(at(&one)).unwrap()[..100]).unwrap()),
            "altered",
            one.clone(),
        ),
        ("emptied", Box::new(|| fs::write(at(&one), "").unwrap()), "altered", one.clone()),
        ("removed", Box::new(|| fs::remove_file(at(&note)).unwrap()), "removed", note.clone()),
        ("a whole run removed", Box::new(|| fs::remove_dir_all(at(failed)).unwrap()), "removed", two.clone()),
        (
            "the failed one in place of the other",
            Box::new(|| {
                let _ = fs::copy(at(&one), at(&two)).unwrap();
            }),
            "swapped",
            two.clone(),
        ),
        (
            "a drill put in",
            Box::new(|| copy(&at(passed), &at("20260301-030000-abcdef"))),
            "inserted",
            "20260301-030000-abcdef/evidence.json".into(),
        ),
        (
            "a note put in",
            Box::new(|| {
                let _ = fs::copy(at(&note), at(&format!("{failed}/note-000099.json"))).unwrap();
            }),
            "inserted",
            format!("{failed}/note-000099.json"),
        ),
        (
            "a link removed",
            Box::new(|| fs::remove_file(at("chain/000003.json")).unwrap()),
            "removed",
            "chain/000003.json".into(),
        ),
        (
            "links swapped",
            Box::new(|| {
                fs::copy(at("chain/000001.json"), at("chain/000002.json")).unwrap();
            }),
            "swapped",
            "chain/000002.json".into(),
        ),
        (
            "the end of the chain removed",
            Box::new(|| fs::remove_file(at("chain/000007.json")).unwrap()),
            "removed",
            "chain/000007.json".into(),
        ),
        (
            "the head removed",
            Box::new(|| fs::remove_file(at("head.json")).unwrap()),
            "removed",
            "head.json".into(),
        ),
        (
            "chain and head removed",
            Box::new(|| {
                fs::remove_file(at("head.json")).unwrap();
                fs::remove_dir_all(at("chain")).unwrap();
            }),
            "inserted",
            one.clone(),
        ),
        (
            "links behind the head",
            Box::new(|| {
                let _ = fs::copy(at("chain/000007.json"), at("chain/000008.json")).unwrap();
            }),
            "inserted",
            "chain/000008.json".into(),
        ),
        (
            "the stamp of the last pass made younger",
            Box::new(|| {
                let _ = fs::copy(at("last-run.json"), at("last-pass.json")).unwrap();
            }),
            "swapped",
            "last-pass.json".into(),
        ),
        (
            "a file among the links",
            Box::new(|| fs::write(at("chain/7.json"), "{}").unwrap()),
            "inserted",
            "chain/7.json".into(),
        ),
    ];
    for (what, harm, fault, file) in harms {
        harm();
        let found = verify(world, &["orders-prod"]).await;
        assert_eq!(found.code, Some(1), "{what} was not found:\n{}", found.stdout);
        let says = named(&found);
        assert!(says.contains(&(fault.to_owned(), format!("orders-prod/{file}"))), "{what}: {says:?}");
        fs::remove_dir_all(&folder).unwrap();
        copy(&kept, &folder);
    }
    verify(world, &[]).await.assert_code(0);

    // What cannot be read is not called altered.
    fs::remove_file(at(&one)).unwrap();
    fs::create_dir(at(&one)).unwrap();
    let unreadable = verify(world, &[]).await;
    unreadable.assert_code(3);
    assert_eq!(
        named(&unreadable).into_iter().next(),
        Some(("unreadable".into(), format!("orders-prod/{one}")))
    );
    fs::remove_dir_all(&folder).unwrap();
    copy(&kept, &folder);

    // Evidence from before there was a chain is no alarm, and the next drill protects it.
    for name in ["head.json", "last-run.json", "last-pass.json"] {
        fs::remove_file(at(name)).unwrap();
    }
    fs::remove_dir_all(at("chain")).unwrap();
    fs::remove_dir_all(at(failed)).unwrap();
    let mut old: Value = serde_json::from_slice(&fs::read(at(&one)).unwrap()).unwrap();
    old.as_object_mut().unwrap().remove("chain");
    fs::write(at(&one), old.to_string()).unwrap();
    let before = verify(world, &[]).await;
    before.assert_code(0);
    assert_eq!(before.json()["sources"][0]["verdict"], "unchained");
    world.lifeboat(&["drill", "annotate", passed, "--note", "seen"]).await.assert_code(0);
    let adopted = verify(world, &[]).await;
    adopted.assert_code(0);
    assert_eq!(adopted.json()["sources"][0]["unchained"], json!([passed]));
    // But what it was before that, nothing shows: whoever takes a chain away must not be able to have a verdict washed.
    assert_eq!(adopted.json()["sources"][0]["verdict"], "unchained");
    let year = today().year().to_string();
    let check = ["drill", "list", "--year", &year, "--check", "--vault-only", "--json"];
    let judged = world.lifeboat(&check).await;
    judged.assert_code(3);
    assert_eq!(judged.json()["verdict"], "unknown");
    let reasons = judged.json()["reasons"].to_string();
    assert!(reasons.contains("`orders-prod`: 1 drill is from before there was a chain"), "{reasons}");
    fs::write(at(&one), old.to_string().replace("\"pass\"", "\"fail\"")).unwrap();
    verify(world, &[]).await.assert_code(1);
    fs::remove_dir_all(&folder).unwrap();
    copy(&kept, &folder);
}

/// Whatever draws conclusions from drills reads the chain.
async fn what_is_not_as_it_was_recorded_proves_nothing(world: &World, passed: &str, failed: &str) {
    let (folder, kept) = (world.path("vault/drills/orders-prod"), world.path("sound"));
    copy(&folder, &kept);
    let year = today().year().to_string();
    let check = async |arguments: &[&str]| {
        world.lifeboat(&[&["drill", "list", "--check", "--vault-only", "--json"], arguments].concat()).await
    };
    check(&["--year", &year]).await.assert_code(0);
    let restore = || {
        fs::remove_dir_all(&folder).unwrap();
        copy(&kept, &folder);
    };

    // A run that was put in fills no gap.
    let like: Value =
        serde_json::from_slice(&fs::read(folder.join(passed).join("evidence.json")).unwrap()).unwrap();
    let last = today().date_naive().with_day(1).unwrap() - chrono::Days::new(5);
    let (forged, _) = put_in(&world.path("vault"), &like, "orders-prod", &last.to_string(), "pass");
    let gate = check(&["--last-months", "1"]).await;
    gate.assert_code(1);
    let says = gate.json()["reasons"].to_string();
    assert!(says.contains(&forged) && says.contains("no link names it"), "{says}");
    assert_eq!(gate.json()["databases"][0]["months"][0]["passed"], 0);
    let listed = world.lifeboat(&["drill", "list", "--json"]).await.json();
    let outcome = |run: &str| {
        let drills = listed["drills"].as_array().unwrap();
        drills.iter().find(|drill| drill["run"] == run).unwrap()["outcome"].as_str().unwrap().to_owned()
    };
    assert_eq!((outcome(&forged).as_str(), outcome(passed).as_str()), ("altered", "pass"));
    restore();

    // Nor does one of another database, with its own name on it.
    let elsewhere = world.path("vault/drills/elsewhere").join(&forged);
    fs::create_dir_all(&elsewhere).unwrap();
    let mut record = like.clone();
    record.as_object_mut().unwrap().remove("chain");
    fs::write(elsewhere.join("evidence.json"), record.to_string()).unwrap();
    check(&["--year", &year]).await.assert_code(3).assert_says(&["in the wrong place"]);
    fs::remove_dir_all(world.path("vault/drills/elsewhere")).unwrap();

    // A verdict that was altered counts nowhere.
    let file = folder.join(failed).join("evidence.json");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("\"verdict\": \"fail\"", "\"verdict\": \"pass\"")).unwrap();
    let stamp = fs::read_to_string(folder.join("last-run.json")).unwrap();
    fs::write(folder.join("last-run.json"), stamp.replace("\"fail\"", "\"pass\"")).unwrap();
    let gate = check(&["--year", &year]).await;
    gate.assert_code(1);
    assert!(gate.json()["reasons"].to_string().contains("names"), "{}", gate.stdout);
    let status = world.lifeboat(&["status", "orders-prod", "--json"]).await;
    status.assert_says(&["proves nothing"]);
    assert_eq!(status.json()["databases"][0]["last_drill"]["verdict"], "unknown");
    world.lifeboat(&["drill", "show", failed]).await.assert_code(0).assert_says(&["proves nothing"]);
    restore();

    // A stamp that names an older drill, which passed, hides the one that failed from nobody.
    fs::copy(folder.join("last-pass.json"), folder.join("last-run.json")).unwrap();
    let status = world.lifeboat(&["status", "orders-prod", "--json"]).await;
    status.assert_says(&["proves nothing"]);
    assert_eq!(status.json()["databases"][0]["last_drill"]["verdict"], "unknown");
    restore();
    let status = world.lifeboat(&["status", "orders-prod", "--json"]).await;
    assert_eq!(status.json()["databases"][0]["last_drill"]["verdict"], "fail");
    verify(world, &[]).await.assert_code(0);
}

/// Whoever may write to the vault can rewrite all of it; a head that they cannot reach gives them away.
async fn a_head_that_was_kept_elsewhere_finds_a_chain_that_was_rewritten(
    world: &World,
    head: &str,
    passed: &str,
) {
    let folder = world.path("vault/drills/orders-prod");
    world.write("heads.json", &verify(world, &[]).await.stdout);
    world
        .lifeboat(&["drill", "annotate", passed, "--note", "looks good", "--sign-off", "A. Auditor"])
        .await
        .assert_code(0);
    let longer = verify(world, &["--expect-head", head]).await;
    longer.assert_code(0);
    assert_eq!(longer.json()["sources"][0]["since_expected"]["links_since"], 1);
    let kept = world.path("kept-longer");
    copy(&folder, &kept);
    // The last two links are taken away with all that they name, and the head is set back.
    for name in ["chain/000008.json", "chain/000007.json"] {
        fs::remove_file(folder.join(name)).unwrap();
    }
    for note in files(&folder).iter().filter(|file| file.display().to_string().contains("/note-")) {
        fs::remove_file(note).unwrap();
    }
    let sum = std::process::Command::new("sha256sum").arg(folder.join("chain/000006.json")).output().unwrap();
    let sum = String::from_utf8(sum.stdout).unwrap();
    fs::write(
        folder.join("head.json"),
        format!("{{\"seq\":6,\"sha256\":\"{}\"}}", sum.split(' ').next().unwrap()),
    )
    .unwrap();
    verify(world, &[]).await.assert_code(0);
    for arguments in [["--expect-head", head], ["--expect-heads", "heads.json"]] {
        let found = verify(world, &arguments).await;
        found.assert_code(1);
        assert!(found.stdout.contains("\"rewritten\""), "{}", found.stdout);
    }
    fs::remove_dir_all(&folder).unwrap();
    verify(world, &["--expect-heads", "heads.json"]).await.assert_code(1);
    copy(&kept, &folder);
    verify(world, &["--expect-heads", "heads.json"]).await.assert_code(0);
}

async fn a_page_for_the_auditor(world: &World, passed: &str, failed: &str) {
    // That of the drill, which may have been last year's in the first minutes of January.
    let year = passed[..4].to_owned();
    let page = world.lifeboat(&["drill", "report", "--year", &year]).await;
    page.assert_code(0);
    let html = &page.stdout;
    for words in [
        passed,
        failed,
        "users",
        "OPS-7&lt;b&gt;",
        "&lt;script&gt;",
        "A. Auditor",
        "Reviewer",
        "sha256sum",
        "Proof of deletion",
    ] {
        assert!(html.contains(words) || words == "sha256sum", "the page does not say {words}");
    }
    assert!(
        !html.contains("<script") && !html.contains("<img") && !html.contains('\u{202e}'),
        "a note is markup"
    );
    assert!(!html.contains("http://") && !html.contains("https://"), "the page loads something");
    let path = world.path("year.html");
    let document = world
        .lifeboat(&["drill", "report", "--year", &year, "--json", "--output", path.to_str().unwrap()])
        .await;
    document.assert_code(0);
    let document = document.json();
    assert_eq!(document["schema"], "lifeboat.drill-report/1");
    assert_eq!(document["totals"]["drills"], 2);
    assert_eq!(document["totals"]["signed_off"], 1);
    assert_eq!(document["drills"][1]["notes"][0]["ticket"], "OPS-7<b>");
    assert!(document["drills"][0]["integrity"]["evidence_sha256"].as_str().unwrap().len() == 64);
    assert!(fs::read_to_string(path).unwrap().contains("</html>"));
    // A report that altered evidence went into says so, and its exit code does.
    let evidence = world.path("vault/drills/orders-prod").join(passed).join("evidence.json");
    let content = fs::read_to_string(&evidence).unwrap();
    fs::write(&evidence, content.replace("\"pass\"", "\"fail\"")).unwrap();
    let altered = world.lifeboat(&["drill", "report", "--year", &year]).await;
    altered.assert_code(1);
    assert!(altered.stdout.contains("EVIDENCE WAS ALTERED"));
    fs::write(&evidence, content).unwrap();
}

/// The order is link, files, head: whatever of that is missing at the end is explained by a process that died.
async fn processes_that_died_while_they_wrote_are_no_alarm(world: &World, failed: &str) {
    let (folder, kept) = (world.path("vault/drills/orders-prod"), world.path("kept-whole"));
    copy(&folder, &kept);
    world.lifeboat(&["drill", "annotate", failed, "--note", "later"]).await.assert_code(0);
    let (link, note) = ("chain/000009.json", format!("{failed}/note-000009.json"));
    let (link_text, note_text) =
        (fs::read(folder.join(link)).unwrap(), fs::read(folder.join(&note)).unwrap());
    for has_file in [false, true] {
        fs::remove_dir_all(&folder).unwrap();
        copy(&kept, &folder);
        fs::write(folder.join(link), &link_text).unwrap();
        if has_file {
            fs::write(folder.join(&note), &note_text).unwrap();
        }
        let found = verify(world, &[]).await;
        found.assert_code(0);
        assert!(found.json()["sources"][0]["unfinished"].is_string());
        // The next one that writes finishes it, and nothing is lost.
        world.lifeboat(&["drill", "annotate", failed, "--note", "after the crash"]).await.assert_code(0);
        let mended = verify(world, &[]).await;
        mended.assert_code(0);
        assert!(mended.json()["sources"][0]["unfinished"].is_null());
        assert_eq!(mended.json()["sources"][0]["links"], if has_file { 10 } else { 11 });
    }
    // A head that was taken away in the meantime is not forgotten by what is written later.
    fs::remove_file(folder.join("head.json")).unwrap();
    world.lifeboat(&["drill", "annotate", failed, "--note", "after the theft"]).await.assert_code(0);
    let noticed = verify(world, &[]).await;
    noticed.assert_code(1);
    assert!(named(&noticed).iter().any(|(fault, _)| fault == "noticed"), "{}", noticed.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_write_at_once_and_many_who_are_killed_leave_a_chain_that_holds() {
    let world = World::new().await;
    let run = recorded(&world.path("vault"), &a_record(), "orders", "2026-01-15", "fail");
    let campaign = std::env::var_os("LIFEBOAT_CAMPAIGN").is_some();
    let at_once = async |arguments: Vec<String>| {
        let all = (0..6).map(|number| {
            let note = format!("note {number}");
            let mut words: Vec<&str> = vec!["drill", "annotate", &run, "--note", &note];
            words.extend(arguments.iter().map(String::as_str));
            world.command(&words).spawn().unwrap()
        });
        for done in futures::future::join_all(all.map(finish)).await {
            done.assert_code(0);
        }
    };
    at_once(vec![]).await;
    let whole = verify(&world, &[]).await;
    whole.assert_code(0);
    assert_eq!(
        (&whole.json()["sources"][0]["links"], &whole.json()["sources"][0]["notes"]),
        (&json!(7), &json!(6))
    );

    let mut torn = 0;
    for round in 0..if campaign { 300 } else { 12 } {
        let mut child =
            world.command(&["drill", "annotate", &run, "--note", &format!("round {round}")]).spawn().unwrap();
        tokio::time::sleep(std::time::Duration::from_micros(rand::random_range(3_000..40_000))).await;
        child.kill().await.unwrap();
        let after = verify(&world, &[]).await;
        after.assert_code(0);
        torn += usize::from(after.json()["sources"][0]["unfinished"].is_string());
    }
    world.lifeboat(&["drill", "annotate", &run, "--note", "the last one"]).await.assert_code(0);
    let end = verify(&world, &[]).await;
    end.assert_code(0);
    assert!(end.json()["sources"][0]["unfinished"].is_null(), "{torn} torn: {}", end.stdout);
    if campaign {
        eprintln!("{torn} processes were killed between a link and its head");
    }

    // The same in a bucket.
    let bucket = Bucket::start().await;
    let place = bucket.url("year");
    let record =
        fs::read_to_string(world.path("vault/drills/orders").join(&run).join("evidence.json")).unwrap();
    let object = format!("/backups/year/drills/orders/{run}/evidence.json");
    assert_eq!(bucket.ask("PUT", &object, &record).await.0, 200);
    at_once(vec!["--vault".into(), place.clone()]).await;
    let whole = verify(&world, &["--vault", &place]).await;
    whole.assert_code(0);
    assert_eq!(
        (&whole.json()["sources"][0]["links"], &whole.json()["sources"][0]["notes"]),
        (&json!(7), &json!(6))
    );
    assert_eq!(bucket.ask("PUT", &object, &record.replace("fail", "pass")).await.0, 200);
    let altered = verify(&world, &["--vault", &place]).await;
    altered.assert_code(1);
    assert_eq!(named(&altered).into_iter().map(|(fault, _)| fault).collect::<Vec<_>>(), ["altered"]);
    assert_eq!(bucket.ask("DELETE", &object, "").await.0, 204);
    let removed = verify(&world, &["--vault", &place]).await;
    removed.assert_code(1);
    assert_eq!(named(&removed).into_iter().map(|(fault, _)| fault).collect::<Vec<_>>(), ["removed"]);
}
