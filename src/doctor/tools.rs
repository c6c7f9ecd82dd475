//! What is installed on this machine: PostgreSQL's programs, compared with the known servers, and certificate authorities.

use std::path::Path;

use chrono::{DateTime, Utc};

use super::{Check, Outcome, Task};
use crate::postgres::{Authorities, Programs, Tls};

/// A PostgreSQL server that is to be backed up or copied from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    /// Its name for people.
    pub name: String,
    /// Its major version.
    pub major: u32,
}

const TASKS: [Task; 3] = [Task::Backup, Task::Serve, Task::Restore];

/// PostgreSQL's programs, compared with the known servers. Not needed if all databases are SQLite.
pub(crate) fn programs(known: &[Known], only: Option<&Path>, is_needed: bool) -> Vec<Check> {
    let installed = Programs::installed(only);
    let check = |verdict, message: String| Check::new("tools", "pg_dump", verdict, message).for_tasks(&TASKS);
    let mut versions: Vec<String> = installed.iter().map(|programs| programs.version.clone()).collect();
    versions.sort();
    versions.dedup();
    if installed.is_empty() {
        let place = only.map_or("on this machine".to_owned(), |only| format!("in `{}`", only.display()));
        let message = format!("pg_dump was not found {place}");
        return match is_needed || !known.is_empty() {
            true => {
                vec![check(Outcome::Fail, message).mended_by(install(known.iter().map(|it| it.major).max()))]
            }
            false => vec![check(Outcome::Pass, format!("{message}, and SQLite needs none"))],
        };
    }
    let newest = installed.iter().map(|programs| programs.major).max().unwrap_or(0);
    let mut checks = Vec::new();
    for server in known.iter().filter(|server| server.major > newest) {
        let message = format!(
            "`{}` is PostgreSQL {}, and the newest pg_dump here is {}: pg_dump refuses newer servers",
            server.name,
            server.major,
            versions.last().map_or("older", String::as_str)
        );
        checks.push(check(Outcome::Fail, message).mended_by(install(Some(server.major))));
    }
    if checks.is_empty() {
        let fits = match known {
            [] => String::new(),
            [one] => format!(", which can dump `{}` (PostgreSQL {})", one.name, one.major),
            several => format!(", which can dump all {} known servers", several.len()),
        };
        checks.push(check(Outcome::Pass, format!("pg_dump {}{fits}", versions.join(", "))));
    }
    checks.extend(missing_beside(&installed));
    checks
}

/// Programs that are missing beside pg_dump.
fn missing_beside(installed: &[Programs]) -> Option<Check> {
    let lacks: Vec<&str> =
        ["pg_restore", "psql"].into_iter().filter(|name| !installed.iter().any(|it| it.has(name))).collect();
    let message =
        format!("there is no {} beside pg_dump: backups cannot be restored here", lacks.join(" and no "));
    (!lacks.is_empty()).then(|| {
        Check::new("tools", "pg_restore", Outcome::Fail, message).mended_by(install(None)).for_tasks(&TASKS)
    })
}

fn install(major: Option<u32>) -> String {
    let package = major.map_or("postgresql-client".to_owned(), |major| format!("postgresql-client-{major}"));
    format!(
        "Install `{package}` (Debian and Ubuntu; other systems have similar packages), or name the directory of the \
         programs with `--pg-bin` or LIFEBOAT_PG_BIN."
    )
}

/// The certificate authorities that databases are verified with: a file, or RDS's, which are built in.
pub(crate) fn authorities(tls: &Tls, now: DateTime<Utc>) -> Check {
    const TASKS: [Task; 5] = [Task::Drill, Task::Snapshot, Task::Restore, Task::Backup, Task::Serve];
    let check = |verdict, message: String| Check::new("tools", "ca", verdict, message).for_tasks(&TASKS);
    let found = match Authorities::of(tls) {
        Ok(found) => found,
        Err(error) => {
            let check = check(Outcome::Fail, error.chain());
            return match error.hints().first() {
                Some(hint) => check.mended_by(hint),
                None => check,
            };
        }
    };
    let origin = match &tls.authorities {
        Some(path) => format!("`{}`", path.display()),
        None => "of RDS, built in".to_owned(),
    };
    let noun = if found.count == 1 { "authority" } else { "authorities" };
    let ended = found.ends.iter().filter(|end| **end <= now).count();
    let (all, living) = (found.count, found.ends.iter().filter(|end| **end > now));
    let until = match living.clone().min() {
        Some(first) => format!(", the first expires on {}", first.format("%Y-%m-%d")),
        None => String::new(),
    };
    let remedy = match &tls.authorities {
        Some(_) => "Get a current file from the server's administrator.",
        None => {
            "Install a newer lifeboat, or name AWS's bundle with `--ca` or PGSSLROOTCERT: https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem."
        }
    };
    match ended {
        0 => check(Outcome::Pass, format!("{all} certificate {noun}, {origin}{until}")),
        // AWS's own bundle keeps expired authorities.
        ended if ended < found.ends.len() => {
            let message = format!(
                "{all} certificate authorities, {origin}; {ended} have expired{}",
                until.replace("first", "next")
            );
            check(Outcome::Pass, message)
        }
        _ => check(Outcome::Fail, format!("all certificate authorities ({origin}) have expired"))
            .mended_by(remedy),
    }
}
