//! Random histories of a source and random damage to its backup, against an oracle that knows both: no changed copy passes,
//! no sound one fails, and of ordinary histories hardly anything stays unknown.
//!
//! The damage is done to the files of the backup, as a bad disk would do it: it leaves no trace in transaction ids,
//! counters or catalogs. Every table is a round of its own. LIFEBOAT_CAMPAIGN=20 makes twenty times as many.

#![expect(clippy::print_stderr, reason = "the figures of a campaign are its result")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Stdio;

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};

use crate::disk::{find_row, lose_row};
use crate::support::{PASSWORD, World};

/// Tables of one drill.
const TABLES: usize = 60;

fn drills() -> usize {
    std::env::var("LIFEBOAT_CAMPAIGN").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Serial,
    Uuid,
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Damage {
    ChangeOne,
    ChangeSome,
    ChangeAll,
    LoseOne,
    LoseSome,
    LoseAll,
    LoseFile,
}

/// A table with everything that happens to it.
struct Subject {
    number: usize,
    key: Key,
    /// What it is called after its history.
    name: String,
    before: String,
    /// In a transaction that is open at the moment of the backup.
    across: String,
    after: String,
    /// Whether every row version was written anew since.
    replaced: bool,
    what: Vec<&'static str>,
    damage: Option<Damage>,
    /// Marks of the rows at the moment.
    held: BTreeSet<String>,
    /// Marks that were damaged.
    hit: BTreeSet<String>,
}

/// A new value of `mark`, which no other row version has.
fn mark(number: usize) -> String {
    format!("'m{number}.' || nextval('oracle.marks') || ';AAAA'")
}

fn insert(number: usize, name: &str, rows: usize) -> String {
    format!("insert into {name} (mark, v) select {}, n from generate_series(1, {rows}) n;\n", mark(number))
}

impl Subject {
    fn new(number: usize, rng: &mut StdRng) -> Self {
        let key = *[Key::Serial, Key::Serial, Key::Uuid, Key::None].choose(rng).unwrap();
        let name = format!("t{number}");
        let id = match key {
            Key::Serial => "id bigserial primary key",
            Key::Uuid => "id uuid primary key default gen_random_uuid()",
            Key::None => "id int default 7",
        };
        let mut before =
            format!("create table {name} ({id}, mark varchar(60) not null, v int, spare text);\n");
        before += &insert(number, &name, rng.random_range(50..300));
        if rng.random_bool(0.4) {
            let _ = writeln!(before, "update {name} set mark = {}, v = v + 1 where v % 5 = 1;", mark(number));
        }
        if rng.random_bool(0.3) {
            let _ = writeln!(before, "delete from {name} where v % 9 = 2;");
        }
        if rng.random_bool(0.3) {
            let _ = writeln!(before, "vacuum {name};");
        }
        // As autovacuum would have.
        if rng.random_bool(0.95) {
            let _ = writeln!(before, "analyze {name};");
        }
        let mut subject = Subject {
            number,
            key,
            name,
            before,
            across: String::new(),
            after: String::new(),
            replaced: false,
            what: Vec::new(),
            damage: None,
            held: BTreeSet::new(),
            hit: BTreeSet::new(),
        };
        if rng.random_bool(0.15) {
            subject.leave_open(rng);
        }
        for _ in 0..rng.random_range(0..3) {
            subject.go_on(rng);
        }
        if rng.random_bool(0.5) {
            let all = [
                Damage::ChangeOne,
                Damage::ChangeSome,
                Damage::ChangeAll,
                Damage::LoseOne,
                Damage::LoseSome,
                Damage::LoseAll,
                Damage::LoseFile,
            ];
            subject.damage = all.choose(rng).copied();
        }
        subject
    }

    /// Writes in a transaction that is open across the backup.
    fn leave_open(&mut self, rng: &mut StdRng) {
        let (name, mark) = (&self.name, mark(self.number));
        let (what, sql) = match rng.random_range(0..4) {
            0 => ("update across", format!("update {name} set mark = {mark} where v % 11 = 3;\n")),
            1 => ("insert across", insert(self.number, name, 5)),
            2 => ("delete across", format!("delete from {name} where v % 13 = 4;\n")),
            _ => (
                "savepoint across",
                format!("savepoint s; update {name} set mark = {mark} where v % 7 = 5; release s;\n"),
            ),
        };
        self.what.push(what);
        self.across += &sql;
    }

    /// Something that happens after the backup.
    fn go_on(&mut self, rng: &mut StdRng) {
        let (number, name, mark) = (self.number, self.name.clone(), mark(self.number));
        let rows = rng.random_range(1..60);
        let (what, sql) = match rng.random_range(0..20) {
            0..4 => ("insert", insert(number, &name, rows)),
            4..7 => ("update some", format!("update {name} set mark = {mark} where v % 6 = 1;\n")),
            7 => ("update all", format!("update {name} set mark = {mark};\n")),
            8 => (
                "update other column",
                format!("update {name} set v = v + 1000, mark = {mark} where v < 20;\n"),
            ),
            9 | 10 => ("delete some", format!("delete from {name} where v % 8 = 3;\n")),
            11 => {
                let columns = if self.key == Key::None { "mark, v" } else { "id, mark, v" };
                let values = columns.replace("mark", &mark);
                (
                    "delete and reload",
                    format!(
                        "create temp table old as table {name}; delete from {name};\ninsert into {name} ({columns}) select {values} from old; drop table old;\n"
                    ),
                )
            }
            12 => ("truncate and reload", format!("truncate {name};\n{}", insert(number, &name, 200))),
            13 => ("vacuum full", format!("vacuum full {name};\n")),
            14 => ("vacuum freeze", format!("vacuum freeze {name};\n")),
            15 => {
                ("add column", format!("alter table {name} add column if not exists extra int default 5;\n"))
            }
            16 => ("drop column", format!("alter table {name} drop column if exists spare;\n")),
            17 => ("type without rewrite", format!("alter table {name} alter mark type text;\n")),
            18 => {
                self.name = format!("{name}_r");
                ("rename", format!("alter table {name} rename to {};\n", self.name))
            }
            // A sequence would go with the table that owns it.
            _ if self.key == Key::Serial => return,
            _ => (
                "swap by rename",
                format!(
                    "create table {name}_n (like {name} including all);\ninsert into {name}_n select * from {name};\n\
                 drop table {name};\nalter table {name}_n rename to {name};\n"
                ),
            ),
        };
        self.replaced |= ["delete and reload", "truncate and reload", "swap by rename"].contains(&what);
        self.what.push(what);
        self.after += &sql;
    }

    /// Damages the files of the backup. `file`: the one that holds the table.
    fn damage(&mut self, file: &Path, rng: &mut StdRng) {
        let Some(damage) = self.damage.filter(|_| !self.held.is_empty()) else { return };
        let mut all: Vec<String> = self.held.iter().cloned().collect();
        all.shuffle(rng);
        let count = match damage {
            Damage::ChangeOne | Damage::LoseOne => 1,
            Damage::ChangeSome | Damage::LoseSome => rng.random_range(1..=all.len()),
            Damage::ChangeAll | Damage::LoseAll | Damage::LoseFile => all.len(),
        };
        let chosen = &all[..count];
        let mut bytes = std::fs::read(file).unwrap();
        match damage {
            Damage::LoseFile => bytes.clear(),
            Damage::ChangeOne | Damage::ChangeSome | Damage::ChangeAll => {
                for mark in chosen {
                    let at = find_row(&bytes, mark);
                    let end = at + mark.len();
                    bytes[end - 4..end].copy_from_slice(b"BBBB");
                }
            }
            Damage::LoseOne | Damage::LoseSome | Damage::LoseAll => {
                for mark in chosen {
                    let at = find_row(&bytes, mark);
                    lose_row(&mut bytes, at);
                }
            }
        }
        std::fs::write(file, bytes).unwrap();
        self.hit.extend(chosen.iter().cloned());
    }
}

/// A session of the application whose transaction stays open.
async fn open_transaction(world: &World, sql: &str) -> Child {
    let url = world.url("orders-prod", "app").await;
    let mut child = Command::new("psql")
        .args(["-XAtq", "-v", "ON_ERROR_STOP=1", &url])
        .env("PGPASSWORD", PASSWORD)
        .env("PGSSLROOTCERT", world.stack.ca_path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let sql = format!("begin;\n{sql}insert into oracle.reached values (1);\nselect pg_advisory_lock(7);\n");
    child.stdin.as_mut().unwrap().write_all(sql.as_bytes()).await.unwrap();
    crate::support::wait("the transaction to be open", async || {
        world
            .sql(
                "orders-prod",
                "app",
                "select count(*) from pg_locks where locktype = 'advisory' and granted",
            )
            .await
            == "1"
    })
    .await;
    child
}

async fn marks(world: &World, subjects: &[Subject]) -> BTreeMap<usize, BTreeSet<String>> {
    let selects: Vec<String> = subjects
        .iter()
        .map(|subject| format!("select '{}', mark from {}", subject.number, subject.name))
        .collect();
    let text = world.sql("orders-prod", "app", &format!("{};", selects.join(" union all "))).await;
    let mut all: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines() {
        let (number, mark) = line.split_once('|').unwrap();
        all.entry(number.parse().unwrap()).or_default().insert(mark.to_owned());
    }
    all
}

/// What came of one drill.
#[derive(Default)]
struct Score {
    sound: usize,
    sound_unknown: usize,
    damaged: usize,
    found: usize,
    unknown: usize,
    /// Of those, damage that the source could have told: written just before the backup, and nothing younger is left.
    open: usize,
    /// Damage to rows that the source has replaced since, which is said not to be tested.
    said: usize,
    wrong: Vec<String>,
}

async fn one_drill(seed: u64, score: &mut Score) {
    let mut rng = StdRng::seed_from_u64(seed);
    let world = World::new().await;
    world.create("orders-prod").await;
    let setup = "create schema oracle; create sequence oracle.marks; create table oracle.reached (n int);";
    world.sql("orders-prod", "app", setup).await;
    let mut subjects: Vec<Subject> = (0..TABLES).map(|number| Subject::new(number, &mut rng)).collect();
    let all = |part: fn(&Subject) -> &String| {
        subjects.iter().map(|subject| part(subject).as_str()).collect::<String>()
    };
    let (before, across, after) = (all(|s| &s.before), all(|s| &s.across), all(|s| &s.after));
    world.sql("orders-prod", "app", &before).await;
    // Names are those after the history: what the rows are called before it is the number.
    let names: Vec<String> = subjects.iter().map(|subject| subject.name.clone()).collect();
    for subject in &mut subjects {
        subject.name = format!("t{}", subject.number);
    }
    let mut open = open_transaction(&world, &across).await;
    let held = marks(&world, &subjects).await;
    let files =
        subjects.iter().map(|subject| format!("select '{}', pg_relation_filepath('t{0}')", subject.number));
    let files =
        world.sql("orders-prod", "app", &format!("{};", files.collect::<Vec<_>>().join(" union all "))).await;
    let files: BTreeMap<usize, String> = files
        .lines()
        .map(|line| line.split_once('|').unwrap())
        .map(|(number, file)| (number.parse().unwrap(), file.to_owned()))
        .collect();
    let backup = world.snapshot_files("orders-prod", "before").await;
    for subject in &mut subjects {
        subject.held = held.get(&subject.number).cloned().unwrap_or_default();
        subject.damage(&backup.join(&files[&subject.number]), &mut rng);
    }
    let end = if rng.random_bool(0.8) { "commit;\n\\q\n" } else { "rollback;\n\\q\n" };
    open.stdin.as_mut().unwrap().write_all(end.as_bytes()).await.unwrap();
    assert!(open.wait().await.unwrap().success());
    world.sql("orders-prod", "app", &after).await;
    for (subject, name) in subjects.iter_mut().zip(names) {
        subject.name = name;
    }
    let kept = marks(&world, &subjects).await;
    // A restore of RDS takes longer than the time between two checkpoints.
    if rng.random_bool(0.6) {
        let sql = "checkpoint; select pg_current_xact_id(); checkpoint";
        world.control("POST", "restored-sql", serde_json::json!({"database": "app", "sql": sql})).await;
    }
    if rng.random_bool(0.1) {
        world.sql_as_superuser("orders-prod", "app", "select pg_stat_reset()").await;
    }
    let run = world.drill(&[]).await;
    assert!(matches!(run.code, Some(0 | 1 | 3)), "{:?}: {}", run.code, run.stderr);
    let report = run.json();
    for subject in &subjects {
        judge(subject, kept.get(&subject.number), &report, seed, score);
    }
    let tables = report["tables"].as_array().unwrap();
    let names: BTreeSet<String> = tables
        .iter()
        .map(|table| format!("{}.{}.{}", table["database"], table["schema"], table["table"]))
        .collect();
    assert_eq!(names.len(), tables.len(), "every table stands in the report once");
}

/// Holds the verdict on one table against what the oracle knows.
fn judge(subject: &Subject, kept: Option<&BTreeSet<String>>, report: &Value, seed: u64, score: &mut Score) {
    let none = BTreeSet::new();
    let surviving: BTreeSet<&String> = match subject.replaced {
        true => BTreeSet::new(),
        false => subject.held.intersection(kept.unwrap_or(&none)).collect(),
    };
    let found = report["tables"]
        .as_array()
        .unwrap()
        .iter()
        .find(|table| table["table"] == subject.name.as_str())
        .unwrap_or_else(|| panic!("{} is not in the report", subject.name));
    let verdict = found["verdict"].as_str().unwrap();
    let is_said = report["not_tested"]
        .as_array()
        .unwrap()
        .iter()
        .any(|line| line.as_str().unwrap().starts_with(&format!("table `app.public.{}`", subject.name)));
    let hits_surviving = subject.hit.iter().any(|mark| surviving.contains(mark));
    let wrong = if subject.hit.is_empty() {
        score.sound += 1;
        score.sound_unknown += usize::from(verdict == "unknown");
        matches!(verdict, "differs" | "missing")
    } else {
        score.damaged += 1;
        score.found += usize::from(verdict == "differs");
        score.unknown += usize::from(verdict == "unknown");
        score.said += usize::from(is_said && verdict != "differs");
        score.open += usize::from(verdict == "unknown" && hits_surviving);
        match verdict {
            "differs" | "unknown" => false,
            _ => hits_surviving || !is_said,
        }
    };
    if wrong || (subject.hit.is_empty() && verdict == "unknown") {
        let line = format!(
            "{} seed {seed} {} ({:?}, {:?}, {} hit of {}, {} surviving): {verdict}, {}: {:?}",
            if wrong { "WRONG" } else { "unknown" },
            subject.name,
            subject.key,
            subject.damage.filter(|_| !subject.hit.is_empty()),
            subject.hit.len(),
            subject.held.len(),
            surviving.len(),
            found["reason"],
            subject.what
        );
        eprintln!("{line}");
        if wrong {
            score.wrong.push(line);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_changed_copy_passes_and_no_sound_one_fails_whatever_happened_since() {
    let mut score = Score::default();
    for _ in 0..drills() {
        let seed = std::env::var("LIFEBOAT_SEED").ok().and_then(|text| text.parse().ok());
        one_drill(seed.unwrap_or_else(|| rand::rng().random()), &mut score).await;
    }
    let Score { sound, sound_unknown, damaged, found, unknown, open, said, wrong } = score;
    eprintln!(
        "{sound} sound tables, {sound_unknown} of them unknown; {damaged} damaged: {found} found, {unknown} unknown ({open} that \
         could have been found), {said} only damaged in rows that the source has replaced since, and said not to be tested"
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(
        open <= (damaged / 50).max(2),
        "{open} of {damaged} damages that could have been found are unknown"
    );
    // Of one drill the dice may fall badly.
    let allowed = (sound / 50).max(3);
    assert!(sound_unknown <= allowed, "{sound_unknown} of {sound} sound tables are unknown");
}
