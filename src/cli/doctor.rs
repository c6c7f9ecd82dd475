//! `lifeboat doctor`: its flags, what is looked at in which order, and how its report looks.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use futures::StreamExt as _;

use super::connect::{ConnectArgs, UrlArgs};
use super::{Session, is_unset, now};
use crate::aws::{Access, Aws};
use crate::backup::sqlite_path;
use crate::doctor::permissions::CheckContext;
use crate::doctor::tools::Known;
use crate::doctor::{Check, Outcome, Report, Task, identity, network, permissions, settings, storage, tools};
use crate::error::{Error, Kind, Result};
use crate::output::{self, Page, escape_controls};
use crate::postgres::{Refusal, Server};
use crate::rds::{Health, Instance};
use crate::words::Tone;

/// Show what this machine and this role can and cannot do, and what mends it.
///
/// Credentials, permissions, network, clock, PostgreSQL's programs, certificate authorities, vault, lifeboat.toml, topics. It
/// changes nothing; the vault is tried with a file of its own. Exit code 1 if a command cannot work, 3 if something could not be
/// found out.
#[derive(Args, Debug)]
pub(super) struct DoctorArgs {
    /// Look only at what these commands need [default: all]
    #[arg(value_name = "COMMAND", value_enum)]
    commands: Vec<Task>,
    /// Do not connect to databases
    #[arg(long)]
    no_databases: bool,
    /// Directory of pg_dump, pg_restore and psql [default: those of this machine are looked for]
    #[arg(long, value_name = "DIR", env = "LIFEBOAT_PG_BIN", hide_env_values = true)]
    pg_bin: Option<PathBuf>,
    /// File with the age secret key of encrypted backups
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Databases that are connected to in one place; of more, the rest is taken to be like them.
const DATABASES: usize = 10;

/// `wrong` is why lifeboat.toml could not be read: everything else goes by the defaults then.
pub(super) async fn run(args: &DoctorArgs, session: &Session, wrong: Option<&Error>) -> Result<Option<Kind>> {
    let wanted: Vec<Task> = match args.commands.as_slice() {
        [] => Task::ALL.to_vec(),
        some => Task::ALL.into_iter().filter(|task| some.contains(task)).collect(),
    };
    let began = Instant::now();
    session.output.show_live("looking", began);
    let mut checks = vec![settings::file(session.config_file.as_deref(), wrong)];
    checks.extend(settings::encryption(&session.config, args.identity.as_deref()));
    checks.extend(settings::channels(&session.config));
    checks.extend(settings::ping(
        std::env::var("LIFEBOAT_PING_URL").ok().filter(|url| !url.is_empty()).as_deref(),
    ));
    let mut known = Vec::new();
    let is_of = |tasks: &[Task]| wanted.iter().any(|task| tasks.contains(task));
    // A database that is backed up over the network needs no AWS at all.
    if is_of(&Task::OF_AWS) {
        match session.places() {
            Ok(places) => {
                let looks = places.iter().map(|access| place(access, args, session, &wanted));
                let seen: Vec<(Vec<Check>, Vec<Known>)> =
                    futures::stream::iter(looks).buffered(4).collect().await;
                for (found, servers) in seen {
                    checks.extend(found);
                    known.extend(servers);
                }
                // One clock is enough of them.
                let mut has_clock = false;
                checks.retain(|check| check.group != "clock" || !std::mem::replace(&mut has_clock, true));
            }
            Err(error) => checks.push(of_error("configuration", "accounts", &error).for_tasks(&Task::OF_AWS)),
        }
    }
    if is_of(&[Task::Backup, Task::Serve, Task::Restore]) {
        let (found, servers, is_postgres_needed) = sources(args, session).await;
        checks.extend(found);
        known.extend(servers);
        checks.extend(tools::programs(&known, args.pg_bin.as_deref(), is_postgres_needed));
    }
    checks.push(tools::authorities(&args.connect.tls(), now()));
    if is_of(&[Task::Backup, Task::Serve, Task::Drill]) {
        checks.extend(storage::check_vault(&session.vault, &session.access));
    }
    session.output.settle();
    let report = Report::new(checks, &wanted, super::host_name(), now());
    session.output.report(&report)?;
    Ok(match report.verdict {
        Outcome::Pass | Outcome::Warning => None,
        Outcome::Unknown => Some(Kind::Outside),
        Outcome::Fail => Some(Kind::No),
    })
}

fn of_error(group: &'static str, code: &str, error: &Error) -> Check {
    mended_by_hint(Check::new(group, code, Outcome::Fail, error.chain()), error)
}

fn mended_by_hint(check: Check, error: &Error) -> Check {
    match error.hints().first() {
        Some(hint) => check.mended_by(hint),
        None => check,
    }
}

/// One account and Region.
async fn place(
    access: &Access,
    args: &DoctorArgs,
    session: &Session,
    wanted: &[Task],
) -> (Vec<Check>, Vec<Known>) {
    let login = identity::log_in(access, now()).await;
    let mut checks = login.checks;
    let Some(aws) = login.aws else { return (checks, Vec::new()) };
    checks.extend(network::check_network(&aws, wanted).await);
    if login.caller.is_empty() {
        return (checks, Vec::new());
    }
    // What is wrong with it is said of the permissions; its answer tells the time all the same.
    let instances = aws.instances().await.unwrap_or_default();
    checks.push(identity::clock(&aws, now()));
    let ground = CheckContext {
        instance: instances.first().map(|instance| instance.id.to_string()),
        caller: login.caller,
        mark: format!("{:016x}", rand::random::<u64>()),
    };
    checks.extend(permissions::check_permissions(&aws, &ground, wanted, now()).await);
    if wanted.contains(&Task::Alarms) {
        checks.extend(settings::topics(&aws, &ground.caller, &session.config).await);
    }
    let of_postgres: Vec<&Instance> = instances
        .iter()
        .filter(|it| it.engine == "postgres" && it.reported_status.health() == Health::Usable)
        .filter(|it| !it.is_throwaway())
        .collect();
    let needs_login = wanted.iter().any(|task| [Task::Drill, Task::Snapshot, Task::Restore].contains(task));
    if needs_login && !args.no_databases {
        let looks = of_postgres.iter().take(DATABASES).map(|it| instance(&aws, it, args, session));
        checks.extend(futures::stream::iter(looks).buffered(4).collect::<Vec<Check>>().await);
    }
    let major = |it: &Instance| it.engine_version.split('.').next().and_then(|major| major.parse().ok());
    let known =
        of_postgres.iter().filter_map(|it| Some(Known { name: it.id.to_string(), major: major(it)? }));
    (checks, known.collect())
}

const LOGIN: [Task; 2] = [Task::Drill, Task::Restore];

async fn instance(aws: &Aws, instance: &Instance, args: &DoctorArgs, session: &Session) -> Check {
    let name = instance.id.to_string();
    let check = match args.connect.connect_to(session, aws, instance, "lifeboat doctor").await {
        Ok(server) => connection(&name, &server, "postgres").await.0,
        Err(error) => of_error("databases", "database_login", &error),
    };
    check.at(&aws.location()).for_tasks(&LOGIN)
}

/// How far one gets into a database: the network, TLS, the login. And its major version.
async fn connection(name: &str, server: &Server, database: &str) -> (Check, Option<u32>) {
    let at = server.place();
    let check = |code: &str, verdict, message: String| Check::new("databases", code, verdict, message);
    let session = match server.connect(database).await {
        Ok(session) => session,
        Err(failure) => {
            let (code, verdict) = match failure.refusal {
                Refusal::Unreachable => ("database_network", Outcome::Fail),
                Refusal::Tls => ("database_tls", Outcome::Fail),
                Refusal::Login | Refusal::Database => ("database_login", Outcome::Fail),
                Refusal::Busy | Refusal::Other => ("database_login", Outcome::Unknown),
            };
            let found = check(code, verdict, format!("`{name}` at {at}: {}", failure.error.chain()));
            return (mended_by_hint(found, &failure.error), None);
        }
    };
    let version: Option<i32> = session
        .row("select current_setting('server_version_num')::int", &[])
        .await
        .ok()
        .map(|row| row.get(0));
    let major = version.and_then(|version| u32::try_from(version / 10_000).ok());
    let words = major.map_or(String::new(), |major| format!(", PostgreSQL {major}"));
    let message =
        format!("`{name}` at {at}: connected, encrypted as wanted, logged in as {}{words}", server.user);
    (check("database_login", Outcome::Pass, message), major)
}

/// Databases that are backed up without AWS: those of lifeboat.toml, and DATABASE_URL. Whether one of them needs PostgreSQL's
/// programs; where none is named, one might.
async fn sources(args: &DoctorArgs, session: &Session) -> (Vec<Check>, Vec<Known>, bool) {
    let mut urls: Vec<(String, String)> = session
        .config
        .backup
        .databases
        .own
        .iter()
        .filter_map(|(name, own)| Some((name.clone(), own.url.clone()?)))
        .collect();
    if urls.is_empty() && !is_unset("DATABASE_URL") {
        urls.push(("DATABASE_URL".to_owned(), "env:DATABASE_URL".to_owned()));
    }
    let (mut checks, mut known, mut is_postgres_needed) = (Vec::new(), Vec::new(), urls.is_empty());
    for (name, url) in urls {
        let (check, server) = source(&name, &url, args, session).await;
        is_postgres_needed |= !matches!(sqlite(&url), Ok(Some(_)));
        checks.push(check.for_tasks(&[Task::Backup, Task::Serve]));
        known.extend(server);
    }
    (checks, known, is_postgres_needed)
}

fn sqlite(url: &str) -> Result<Option<PathBuf>> {
    sqlite_path(&crate::postgres::read_url(url)?)
}

async fn source(name: &str, url: &str, args: &DoctorArgs, session: &Session) -> (Check, Option<Known>) {
    let file = match sqlite(url) {
        Ok(file) => file,
        Err(error) => return (of_error("databases", "database_url", &error), None),
    };
    if let Some(path) = file {
        let check = |verdict, message| Check::new("databases", "database_file", verdict, message);
        let file = path.display();
        let check = match std::fs::File::open(&path) {
            Ok(_) => check(Outcome::Pass, format!("`{name}`: `{file}` can be read")),
            Err(error) => check(Outcome::Fail, format!("`{name}`: `{file}` cannot be read: {error}"))
                .mended_by("Correct its `url`, or let this user read it."),
        };
        return (check, None);
    }
    let connect = UrlArgs::like(&args.connect);
    let target = match connect.target(url, &session.output, "lifeboat doctor") {
        Ok(target) => target,
        Err(error) => return (of_error("databases", "database_url", &error), None),
    };
    let database = target.database.clone().unwrap_or_else(|| target.server.user.clone());
    if args.no_databases {
        let message = format!("`{name}`: the URL is understood; it was not connected to");
        return (Check::new("databases", "database_url", Outcome::Pass, message), None);
    }
    let (check, major) = connection(name, &target.server, &database).await;
    (check, major.map(|major| Known { name: name.to_owned(), major }))
}

/// The order in which groups are shown, and how they are called.
const GROUPS: [(&str, &str); 9] = [
    ("configuration", "configuration"),
    ("credentials", "credentials"),
    ("clock", "clock"),
    ("network", "network"),
    ("permissions", "permissions"),
    ("databases", "databases"),
    ("tools", "programs and authorities"),
    ("vault", "vault"),
    ("alarms", "alarms"),
];

fn mark(outcome: Outcome) -> (&'static str, Tone) {
    match outcome {
        Outcome::Pass => ("ok", Tone::Good),
        Outcome::Warning => ("look", Tone::Doubt),
        Outcome::Unknown => ("unknown", Tone::Doubt),
        Outcome::Fail => ("FAIL", Tone::Bad),
    }
}

impl output::Report for Report {
    fn render(&self, page: &mut Page) {
        let (word, tone) = match self.verdict {
            Outcome::Pass | Outcome::Warning => ("PASS", Tone::Good),
            Outcome::Unknown => ("UNKNOWN", Tone::Doubt),
            Outcome::Fail => ("FAIL", Tone::Bad),
        };
        page.heading(tone, word, format!("doctor on {}", self.host), None);
        let is_over_several =
            self.checks.iter().any(|it| it.place.as_ref().is_some_and(|it| it.account.is_some()));
        for (group, title) in GROUPS {
            let of_group = || self.checks.iter().filter(|check| check.group == group);
            if of_group().next().is_none() {
                continue;
            }
            page.line(page.toned(Tone::Strong, title));
            // Twenty actions that are allowed are one line.
            if group == "permissions" {
                allowed(&of_group().collect::<Vec<_>>(), page, is_over_several);
            }
            let mut said: Option<String> = None;
            for check in of_group().filter(|check| group != "permissions" || check.verdict != Outcome::Pass) {
                line(check, said.take(), page, is_over_several);
                said.clone_from(&check.remedy);
            }
        }
        page.line("");
        conclude(self, page);
    }
}

fn at(check: &Check, is_over_several: bool) -> String {
    check.place.as_ref().filter(|_| is_over_several).map_or(String::new(), |place| format!("{place}: "))
}

/// `said` is the remedy of the line before: what mends several is said once.
fn line(check: &Check, said: Option<String>, page: &mut Page, is_over_several: bool) {
    let (word, tone) = mark(check.verdict);
    let (word, at) = (page.toned(tone, format!("{word:7}")), at(check, is_over_several));
    page.line(format!("  {word}  {at}{}", escape_controls(&check.message)));
    if let Some(remedy) = check.remedy.as_ref().filter(|remedy| said.as_ref() != Some(remedy)) {
        page.remedy(11, remedy);
    }
}

fn allowed(checks: &[&Check], page: &mut Page, is_over_several: bool) {
    let mut places: Vec<String> = Vec::new();
    for check in checks {
        let at = at(check, is_over_several);
        if !places.contains(&at) {
            places.push(at);
        }
    }
    for place in places {
        let of = |check: &&&Check| at(check, is_over_several) == place;
        let count = checks.iter().filter(of).filter(|check| check.verdict == Outcome::Pass).count();
        let all = checks.iter().filter(of).count();
        let (word, tone) = mark(Outcome::Pass);
        if count > 0 {
            let word = page.toned(tone, format!("{word:7}"));
            page.line(format!("  {word}  {place}{count} of {all} actions are allowed"));
        }
    }
}

/// What can be run here, what cannot, and what is not known.
fn conclude(report: &Report, page: &mut Page) {
    let words = |outcomes: &[Outcome]| -> Vec<&str> {
        let of = report.commands.iter().filter(|it| outcomes.contains(&it.verdict));
        of.map(|it| it.command.word()).collect()
    };
    let (able, unable, unknown) =
        (words(&[Outcome::Pass, Outcome::Warning]), words(&[Outcome::Fail]), words(&[Outcome::Unknown]));
    let mut parts = Vec::new();
    if !able.is_empty() {
        parts.push(page.toned(Tone::Good, format!("works here: {}", able.join(", "))));
    }
    if !unable.is_empty() {
        parts.push(page.toned(Tone::Bad, format!("does not: {}", unable.join(", "))));
    }
    if !unknown.is_empty() {
        parts.push(page.toned(Tone::Doubt, format!("not known: {}", unknown.join(", "))));
    }
    page.line(parts.join(" · "));
}
