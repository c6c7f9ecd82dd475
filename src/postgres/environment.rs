//! What surrounds a connection string: the `PG…` variables, the service file, and who and where we are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::parameters::{self, Role};
use crate::error::{Error, Result};

/// The environment as libpq looks at it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment {
    /// Variables that are not empty: an empty one counts as not set, as everywhere here.
    pub(super) variables: BTreeMap<String, String>,
    pub(super) home: Option<PathBuf>,
    /// The account that runs this process, whatever `USER` says.
    pub(super) account: Option<String>,
}

/// Where packages look for the service file of the whole machine: Debian, Red Hat, and where upstream installs.
const SERVICE_FOLDERS: [&str; 3] = ["/etc/postgresql-common", "/etc/sysconfig/pgsql", "/usr/local/pgsql/etc"];

impl Environment {
    /// That of this process.
    pub(crate) fn of_process() -> Self {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| {
                Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
            })
            .filter(|(name, value)| name.starts_with("PG") && !value.is_empty())
            .collect();
        let home = std::env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
        Environment { variables, home, account: whoami::username().ok() }
    }

    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// A file below the home directory, if it is there.
    pub(super) fn file_at_home(&self, path: &str) -> Option<PathBuf> {
        self.home.as_ref().map(|home| home.join(path)).filter(|path| path.exists())
    }

    /// What a service stands for (PostgreSQL documentation, "The Connection Service File").
    pub(super) fn service(
        &self,
        name: &str,
        named_file: Option<&str>,
    ) -> Result<BTreeMap<&'static str, String>> {
        let own = match named_file.or_else(|| self.variable("PGSERVICEFILE")) {
            Some(file) if !Path::new(file).exists() => {
                return Err(Error::request(format!("the service file `{file}` does not exist"))
                    .hint("PGSERVICEFILE names the file that holds the service."));
            }
            Some(file) => Some(PathBuf::from(file)),
            None => self.file_at_home(".pg_service.conf"),
        };
        let shared = match self.variable("PGSYSCONFDIR") {
            Some(folder) => Some(PathBuf::from(folder)),
            None => SERVICE_FOLDERS
                .iter()
                .map(PathBuf::from)
                .find(|folder| folder.join("pg_service.conf").exists()),
        };
        let shared = shared.map(|folder| folder.join("pg_service.conf")).filter(|file| file.exists());
        for file in own.into_iter().chain(shared) {
            let text = std::fs::read(&file).map_err(|error| {
                Error::request(format!("cannot read the service file `{}`", file.display())).caused_by(error)
            })?;
            if let Some(found) = read_service(&String::from_utf8_lossy(&text), name, &file)? {
                return Ok(found);
            }
        }
        Err(Error::request(format!("service `{}` is not defined", name.escape_default()))
            .hint("Services are defined in `~/.pg_service.conf`, or in the file that PGSERVICEFILE names."))
    }
}

/// The lines below `[name]`.
fn read_service(text: &str, name: &str, file: &Path) -> Result<Option<BTreeMap<&'static str, String>>> {
    let (mut found, mut is_inside) = (None, false);
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(header) = line.strip_prefix('[') {
            if is_inside {
                break;
            }
            is_inside =
                header.strip_suffix(']').or(header.split_once(']').map(|(name, _)| name)) == Some(name);
            if is_inside {
                found = Some(BTreeMap::new());
            }
            continue;
        }
        let Some(settings) = found.as_mut().filter(|_| is_inside) else { continue };
        let faulty = |why: &str| {
            Error::request(format!("line {} of the service file `{}` {why}", index + 1, file.display()))
        };
        let (key, value) = line.split_once('=').ok_or_else(|| faulty("is not `keyword=value`"))?;
        match parameters::role_of(key) {
            _ if key.starts_with("ldap") => {
                return Err(faulty("asks an LDAP server, which is not supported"));
            }
            Some(("service" | "servicefile", _)) => return Err(faulty("names a service within a service")),
            Some((_, Role::Unsupported)) => {
                return Err(faulty(&format!("sets `{key}`, which is not supported")));
            }
            Some((key, _)) => {
                settings.entry(key).or_insert_with(|| value.to_owned());
            }
            None => return Err(faulty("sets a parameter that is not libpq's")),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_service_of_a_name_counts_and_the_first_value_of_a_keyword() {
        let text =
            "# all\n[a]\nhost=one\n\n[b]\n host=two \nport=5433\nport=1\npassword=a = b\n[b]\nhost=three\n";
        let found = read_service(text, "b", Path::new("f")).unwrap().unwrap();
        assert_eq!(found["host"], "two");
        assert_eq!(found["port"], "5433");
        assert_eq!(found["password"], "a = b");
        assert!(read_service(text, "c", Path::new("f")).unwrap().is_none());
    }

    #[test]
    fn what_a_service_cannot_say_is_named_with_its_line() {
        for (line, words) in [
            ("host", "line 2 of the service file `f` is not `keyword=value`"),
            ("service=x", "names a service within a service"),
            ("host =x", "a parameter that is not libpq's"),
            ("ldap://x", "is not `keyword=value`"),
            ("sslcrldir=x", "sets `sslcrldir`, which is not supported"),
        ] {
            let error = read_service(&format!("[a]\n{line}\n"), "a", Path::new("f")).unwrap_err();
            assert!(error.chain().contains(words), "{line}: {}", error.chain());
        }
    }
}
