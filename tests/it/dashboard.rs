//! What the dashboard, `/api/status` and `/metrics` say of one thing, which must be the same, and what can be found on the page.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};

use crate::offline::Offline;
use crate::serving::{Serving, database, rows};
use crate::support::{PASSWORD, World, wait};

const HTML: (&str, &str) = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8");

/// The cards of a page, each with its text.
fn card<'a>(page: &'a str, label: &str) -> &'a str {
    let cards = page.split("<article class=\"card\"").skip(1);
    let found = cards.map(|card| card.split("</article>").next().unwrap());
    let mut its = found.filter(|card| card.contains(&format!(">{label}</h3>")));
    let card = its.next().unwrap_or_else(|| panic!("no card of {label}: {page}"));
    assert!(its.next().is_none(), "two cards of {label}");
    card
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_of_one_name_are_told_apart_everywhere() {
    let world = World::new().await;
    world.create("orders-prod").await;
    world.fill("orders-prod").await;
    let url = world.url("orders-prod", "app").await.replacen("owner@", &format!("owner:{PASSWORD}@"), 1);
    fs::create_dir(world.path("other")).unwrap();
    let files: Vec<String> = ["app.db", "other/app.db"]
        .iter()
        .map(|name| {
            let made = rusqlite::Connection::open(world.path(name)).unwrap();
            made.execute_batch("create table t (a); insert into t values (1)").unwrap();
            format!("sqlite://{}", world.path(name).display())
        })
        .collect();
    for (name, of) in [("server", &url), ("file", &files[0]), ("other", &files[1])] {
        world.lifeboat(&["backup", "create", "--url", of, "--name", name]).await.assert_code(0);
    }
    let stats = world.lifeboat(&["backup", "stats", "--json"]).await.json();
    assert_eq!(stats["databases"].as_array().unwrap().len(), 3, "{stats}");

    let mut command = world.command(&["serve", "--listen", "127.0.0.1:0"]);
    command.env("DATABASE_URL", &url).env_remove("AWS_REGION").env_remove("AWS_DEFAULT_REGION");
    let server = Serving::start(command).await;
    let _ = server.post("/api/backup/restore/server", &Value::Null).await.json(200);
    let status = server.get("/api/status").await.json(200);
    let databases = status["databases"].as_array().unwrap();
    let restored: Vec<&str> = databases
        .iter()
        .filter(|it| !it["rto_measured_seconds"].is_null())
        .map(|it| it["label"].as_str().unwrap())
        .collect();
    assert_eq!(restored, ["app (PostgreSQL)"], "{status}");
    let labels: BTreeSet<&str> = databases.iter().map(|it| it["label"].as_str().unwrap()).collect();
    assert_eq!(labels.len(), 3, "{labels:?}");
    assert!(labels.iter().any(|label| label.contains("/other/app.db")), "{labels:?}");

    // Of each series there is one.
    let metrics = server.get("/metrics").await.text;
    let series: Vec<&str> = metrics
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.rsplit_once(' ').unwrap().0)
        .collect();
    assert_eq!(series.iter().collect::<BTreeSet<_>>().len(), series.len(), "{metrics}");
    let sizes = series.iter().filter(|it| it.starts_with("lifeboat_backups{database=\"app\",type=")).count();
    assert_eq!(sizes, 3, "{metrics}");
    let rto: Vec<&&str> = series.iter().filter(|it| it.starts_with("lifeboat_backup_rto_seconds")).collect();
    assert!(rto.len() == 1 && rto[0].contains("type=\"postgresql\""), "{rto:?}");

    // The page tells them apart, and only the one that DATABASE_URL names can be backed up from it.
    let page = server.get("/").await.text;
    assert!(card(&page, "app (PostgreSQL)").contains("Back up now"));
    assert_eq!(page.matches("data-act=\"create\"").count(), 1, "{page}");
    for label in &labels {
        let _ = card(&page, label);
        assert!(page.contains(&format!("data-label=\"{label}\"")), "the table does not tell {label}");
    }
    // What is asked for under a name that is another's is not taken for it.
    for name in ["file", "server"] {
        let told = server.post(&format!("/api/backup/restore/{name}"), &json!({"dry_run": true})).await;
        match name {
            "server" => {
                let loss = &told.json(200)["loss"];
                assert_eq!(
                    (&loss["engine"], &loss["database"]),
                    (&json!("PostgreSQL"), &json!("app")),
                    "{loss}"
                );
                assert!(url.contains(loss["host"].as_str().unwrap()), "{loss}");
                assert!(loss["gone"].as_str().unwrap().contains("kept as another database for"), "{loss}");
            }
            _ => assert_eq!(told.refusal(400)["backup_name"], "file"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_banner_names_who_is_at_risk_and_a_finding_stands_once_with_its_databases() {
    let world = World::new().await;
    for id in ["billing", "inventory", "orders-prod", "users"] {
        world.create_record(id).await;
    }
    let lost = format!("sqlite://{}", world.path("gone.db").display());
    let file = world.path("app.db");
    rusqlite::Connection::open(&file).unwrap().execute_batch("create table t (a)").unwrap();
    world.write(
        "lifeboat.toml",
        &format!(
            "[databases.ledger.backup]\nurl = \"{lost}\"\n[databases.app.backup]\nurl = \"sqlite://{}\"\n",
            file.display()
        ),
    );
    world.lifeboat(&["backup", "create", "app", "--verify", "restore"]).await.assert_code(0);
    let server = Serving::start(world.command(&["serve", "--listen", "127.0.0.1:0"])).await;
    wait("AWS to be looked at", async || {
        let status = server.get("/api/status").await.json(200);
        status["instances"]["report"]["databases"].as_array().is_some_and(|all| all.len() == 4)
    })
    .await;
    let told = server.post("/api/backup/create", &json!({"database": "ledger"})).await;
    assert!(told.status >= 400, "{told:?}");

    let status = server.get("/api/status").await.json(200);
    let of_vault = status["databases"].as_array().unwrap().iter();
    let of_aws = status["instances"]["report"]["databases"].as_array().unwrap().iter();
    // By the cards themselves, without the function that says it.
    let critical = |it: &&Value| {
        it["findings"].as_array().unwrap().iter().any(|finding| finding["severity"] == "critical")
    };
    let mut at_risk: Vec<&str> = of_vault
        .filter(critical)
        .map(|it| it["label"].as_str().unwrap())
        .chain(of_aws.filter(critical).map(|it| it["id"].as_str().unwrap()))
        .collect();
    at_risk.sort_unstable();
    assert!(at_risk.contains(&"ledger") && !at_risk.contains(&"app"), "{status}");
    assert_eq!(status["banner"]["at_risk"], json!(at_risk));
    let names: Vec<String> = at_risk.iter().map(|name| format!("`{name}`")).collect();
    let verb = if at_risk.len() == 1 { "is" } else { "are" };
    let headline = format!("{} of 6 databases {verb} at risk: {}", at_risk.len(), names.join(", "));
    assert_eq!(status["banner"]["headline"], json!(headline));
    let metrics = server.get("/metrics").await.text;
    assert!(metrics.contains(&format!("\nlifeboat_databases_at_risk {}\n", at_risk.len())), "{metrics}");
    assert!(metrics.contains("\nlifeboat_databases 6\n"), "{metrics}");
    // The last failure is as grave as what it leads to.
    let ledger = status["databases"].as_array().unwrap().iter().find(|it| it["label"] == "ledger").unwrap();
    let failed =
        ledger["findings"].as_array().unwrap().iter().find(|it| it["code"] == "backups_fail").unwrap();
    assert_eq!(failed["severity"], "critical", "{ledger}");

    // What several share stands once, with one command for all of them.
    let findings = status["findings"].as_array().unwrap();
    let codes: BTreeSet<String> =
        findings.iter().map(|it| format!("{} {}", it["code"], it["message"])).collect();
    assert_eq!(codes.len(), findings.len(), "{findings:#?}");
    let shared = findings.iter().find(|it| it["databases"].as_array().unwrap().len() == 4).unwrap();
    let remedy = shared["remedy"].as_str().unwrap();
    assert!(
        ["billing", "inventory", "orders-prod", "users"].iter().all(|id| remedy.contains(id)),
        "{remedy}"
    );
    let page = server.get("/").await.text;
    for finding in findings {
        // Two findings of one database may call for the same command.
        let alike = findings.iter().filter(|other| other["remedy"] == finding["remedy"]).count();
        let remedy = finding["remedy"].as_str().unwrap().replace('&', "&amp;").replace('"', "&quot;");
        assert_eq!(page.matches(&format!("<code>{remedy}</code>")).count(), alike, "{remedy}");
    }
    let heading = page.split("<h1").nth(1).unwrap().split("</h1>").next().unwrap();
    assert!(
        at_risk
            .iter()
            .all(|name| heading.contains(&format!("<code><bdi class=\"name\">{name}</bdi></code>"))),
        "{heading}"
    );
    assert!(page.contains("class=\"notice bad\""), "the failure is not as loud as it is grave");
    let stray = page.split("href=\"#").skip(1).map(|rest| rest.split('"').next().unwrap());
    for target in stray.filter(|target| !target.is_empty()) {
        assert!(page.contains(&format!("id=\"{target}\"")), "a link leads to {target}, which is not there");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_and_backups_are_found_by_searching_and_every_page_has_a_way_back() {
    let place = Offline::new();
    let url = database(&place, "app.db", 10);
    let other = database(&place, "ledger.db", 10);
    for (name, of) in [("first", &url), ("second", &url), ("third", &other)] {
        place.backup(&["create", "--url", of, "--name", name]).await.assert_code(0);
    }
    let server = Serving::of_place(&place, &url, &[]).await;
    let shown = async |query: &str| {
        let page = server.get(&format!("/{query}")).await;
        assert_eq!(page.status, 200, "{query}");
        let names = ["first", "second", "third"].into_iter();
        let names: Vec<&str> =
            names.filter(|it| page.text.contains(&format!("id=\"delete-{it}\""))).collect();
        (names, page.text.matches("<article class=\"card\"").count(), page.text)
    };
    assert_eq!(shown("").await.0, ["first", "second", "third"]);
    let (names, cards, page) = shown("?q=LEDGER").await;
    assert_eq!((names, cards), (vec!["third"], 1));
    assert!(page.contains("1 of 3 shown") && page.contains("value=\"LEDGER\"") && page.contains("Show all"));
    // Who is at risk is said whatever is searched for.
    assert!(page.contains("databases"), "{page}");
    assert_eq!(shown("?q=app+second").await.0, ["second"]);
    let (names, cards, page) = shown("?q=%3Cscript%3E%22").await;
    assert_eq!((names.len(), cards), (0, 0));
    assert!(
        page.contains("No backup matches.")
            && page.contains("&lt;script&gt;&quot;")
            && !page.contains("<script>\"")
    );
    let _ = shown(&format!("?q={}&only=findings&only=x&q=%00", "a".repeat(5000))).await;

    // What is not there is said as a page to people, and as a document to programs.
    for path in ["/nothing", "/drills/none/none/evidence.html", "/runs/none/evidence.html", "/login"] {
        let page = server.call_with("GET", path, &[HTML], "").await;
        assert!([404, 405].contains(&page.status), "{path}: {page:?}");
        assert!(
            page.text.contains("href=\"/\"") && page.text.contains("Back to the dashboard"),
            "{path}: {page:?}"
        );
        assert!(page.header("content-security-policy").unwrap().starts_with("default-src 'none'"));
    }
    let _ = server.get("/nothing").await.refusal(404);
    let _ = server.call_with("GET", "/api/nothing", &[HTML], "").await.refusal(404);
    let page = server.call_with("GET", "/", &[HTML, ("host", "evil.example")], "").await;
    assert!(page.status == 403 && page.text.contains("<html"), "{page:?}");

    // Asked about, nothing is touched and nothing is counted.
    for _ in 0..12 {
        let told = server.delete("/api/backup/delete/third?dry_run=true").await.json(200);
        assert_eq!((&told["dry_run"], &told["loss"]["engine"]), (&json!(true), &json!("SQLite")), "{told}");
        let gone = told["loss"]["gone"].as_str().unwrap();
        assert!(gone.contains("third.sqlite.gz") && gone.contains("no other good backup"), "{gone}");
        assert!(told["loss"]["database"].as_str().unwrap().ends_with("ledger.db"), "{told}");
        let told = server.post("/api/backup/restore/first", &json!({"dry_run": true})).await.json(200);
        assert!(told["loss"]["gone"].as_str().unwrap().contains("a backup of it is made first"), "{told}");
    }
    let _ = server.delete("/api/backup/delete/none?dry_run=true").await.refusal(404);
    assert!(place.files().contains(&"third.sqlite.gz".to_owned()));
    assert_eq!(rows(&place.path("app.db")), 10);
    let _ = server.delete("/api/backup/delete/second").await.json(200);
    let kept = server.delete("/api/backup/delete/first").await.refusal(409);
    assert!(kept["hints"].to_string().contains("?allow_last_copy=true"), "{kept}");
    assert!(!kept.to_string().contains("--allow-last-copy"), "{kept}");
}
