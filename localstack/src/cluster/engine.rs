//! The PostgreSQL versions that are installed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::bail;

/// The major versions that the stack supports.
const SUPPORTED: std::ops::RangeInclusive<u32> = 14..=18;

/// One installed version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Engine {
    pub(crate) major: u32,
    /// As RDS writes it: `15.18`.
    pub(crate) version: String,
    bin: PathBuf,
}

impl Engine {
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }
}

/// The installed versions, by their majors.
#[derive(Debug, Clone)]
pub(crate) struct Engines(BTreeMap<u32, Engine>);

impl Engines {
    /// Searches `chosen` if given, else `LIFEBOAT_PG_BIN`, else PATH and the usual directories. Of each major
    /// version, the first one found is used.
    ///
    /// # Errors
    ///
    /// When no supported version is found.
    pub(crate) fn find(chosen: Option<&Path>) -> anyhow::Result<Self> {
        let given = chosen.map(|path| path.as_os_str().to_owned());
        let given = given.or_else(|| std::env::var_os("LIFEBOAT_PG_BIN"));
        let directories = match &given {
            Some(given) => std::env::split_paths(given).collect(),
            None => usual_directories(),
        };
        let mut found = BTreeMap::new();
        for bin in directories {
            if let Some(engine) = inspect_directory(&bin) {
                found.entry(engine.major).or_insert(engine);
            }
        }
        if found.is_empty() {
            let (first, last) = SUPPORTED.into_inner();
            let searched = given.map_or_else(String::new, |given| format!(" in `{}`", given.display()));
            bail!(
                "found no PostgreSQL {first} to {last}{searched} (`initdb` and `postgres`): install one, for example \
                 `sudo apt-get install postgresql`, or name its directory with `--pg-bin`"
            );
        }
        Ok(Self(found))
    }

    pub(crate) fn newest(&self) -> &Engine {
        self.0.values().next_back().expect("`find` refuses an empty set")
    }

    pub(crate) fn major(&self, major: u32) -> Option<&Engine> {
        self.0.get(&major)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Engine> {
        self.0.values()
    }

    /// The version that `asked` names: a major version (`15`) or exactly an installed one (`15.18`).
    pub(crate) fn find_version(&self, asked: &str) -> Option<&Engine> {
        self.0.values().find(|engine| engine.version == asked || engine.major.to_string() == asked)
    }
}

fn usual_directories() -> Vec<PathBuf> {
    let mut directories: Vec<PathBuf> =
        std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default();
    for (parent, prefix, rest) in [
        ("/usr/lib/postgresql", "", "bin"),
        ("/usr", "pgsql-", "bin"),
        ("/usr/local", "pgsql", "bin"),
        ("/opt/homebrew/opt", "postgresql@", "bin"),
        ("/usr/local/opt", "postgresql@", "bin"),
        ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
    ] {
        let Ok(entries) = std::fs::read_dir(parent) else { continue };
        let mut versions: Vec<PathBuf> = entries
            .filter_map(|entry| entry.ok())
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
            .map(|entry| entry.path().join(rest))
            .collect();
        versions.sort();
        directories.extend(versions.into_iter().rev());
    }
    directories
}

/// The version in a directory, if it is supported and complete.
fn inspect_directory(bin: &Path) -> Option<Engine> {
    if !bin.join("initdb").is_file() || !bin.join("postgres").is_file() {
        return None;
    }
    let bin = bin.canonicalize().ok()?;
    let answer = Command::new(bin.join("postgres")).arg("--version").output().ok()?;
    let (major, version) = parse_version(&String::from_utf8_lossy(&answer.stdout))?;
    SUPPORTED.contains(&major).then_some(Engine { major, version, bin })
}

/// Reads `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`.
fn parse_version(answer: &str) -> Option<(u32, String)> {
    let version = answer.split_whitespace().nth(2)?;
    let major: String = version.chars().take_while(char::is_ascii_digit).collect();
    Some((major.parse().ok()?, version.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_servers_print_them() {
        assert_eq!(
            parse_version("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"),
            Some((15, "15.18".to_owned()))
        );
        assert_eq!(parse_version("postgres (PostgreSQL) 18beta1"), Some((18, "18beta1".to_owned())));
        assert_eq!(parse_version("nonsense"), None);
    }
}
