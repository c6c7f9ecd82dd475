//! Where passwords come from, and the wrapper that keeps them out of everything printed.

use std::fmt;
use std::fs;
use std::path::Path;

use rand::RngExt as _;

use crate::error::{Error, Result};

/// A password. `Debug` shows that there is one and nothing else; there is no `Display` and no `Serialize`.
#[derive(Clone)]
pub(crate) struct Password(String);

impl Password {
    /// Wraps a password.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Password(text.into())
    }

    /// The password itself, for a server or for AWS.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// The first line of a file.
    pub(crate) fn from_file(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(|error| {
            Error::request(format!("cannot read the password file `{}`", path.display())).caused_by(error)
        })?;
        let line = text.lines().next().unwrap_or_default();
        if line.is_empty() {
            return Err(Error::request(format!(
                "the first line of the password file `{}` is empty",
                path.display()
            )));
        }
        Ok(Password::new(line))
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// A new random password of 40 letters and digits: within what RDS takes (8 to 128 printable ASCII characters,
/// without `/`, `"`, `@`, `'` and space).
pub(crate) fn generate() -> Password {
    let mut rng = rand::rng();
    Password((0..40).map(|_| char::from(rng.sample(rand::distr::Alphanumeric))).collect())
}

/// A password file (PostgreSQL documentation, "The Password File"): the first line that fits a login has its password.
#[derive(Debug, Default)]
pub(crate) struct PassFile {
    lines: Vec<[String; 5]>,
}

impl PassFile {
    /// Reads one. `None` if it is not there; an error, for people, if libpq would pass it over too.
    pub(crate) fn read(path: &Path) -> std::result::Result<Option<Self>, String> {
        use std::os::unix::fs::PermissionsExt as _;
        let Ok(metadata) = fs::metadata(path) else { return Ok(None) };
        let shown = path.display();
        if !metadata.is_file() {
            return Err(format!("the password file `{shown}` is not a plain file and was not used"));
        }
        if metadata.permissions().mode() & 0o077 != 0 {
            return Err(format!("`{shown}` is readable by others and was not used: run `chmod 600` on it"));
        }
        let bytes =
            fs::read(path).map_err(|error| format!("the password file `{shown}` cannot be read: {error}"))?;
        let text = String::from_utf8_lossy(&bytes);
        let lines =
            text.split('\n').map(|line| line.trim_end_matches('\r')).filter(|line| !line.starts_with('#'));
        Ok(Some(PassFile { lines: lines.filter_map(read_line).collect() }))
    }

    /// The passwords for a login, each with the database that its line names (`*` for all), in the order of the file.
    pub(crate) fn passwords_for(&self, host: &str, port: u16, user: &str) -> Vec<(String, Password)> {
        let port = port.to_string();
        let fits = |pattern: &str, value: &str| pattern == ANY || unescaped(pattern) == value;
        self.lines
            .iter()
            .filter(|[line_host, line_port, _, line_user, _]| {
                fits(line_host, host) && fits(line_port, &port) && fits(line_user, user)
            })
            .map(|[_, _, database, _, password]| (database.clone(), Password(unescaped(password))))
            .collect()
    }
}

const ANY: &str = "*";

/// Of the lines that fit a login, the password for one database: libpq asks for each database anew.
///
/// Where no line names the database, the first line does: a server is looked at through several of its databases, and one
/// login has one password.
pub(super) fn password_for<'a>(lines: &'a [(String, Password)], database: &str) -> Option<&'a Password> {
    let fits = |pattern: &str| pattern == ANY || unescaped(pattern) == database;
    lines.iter().find(|(pattern, _)| fits(pattern)).or(lines.first()).map(|(_, password)| password)
}

/// The five fields of a line; what follows another colon is passed over, as libpq does.
fn read_line(line: &str) -> Option<[String; 5]> {
    let mut fields = split_fields(line);
    fields.truncate(5);
    fields.try_into().ok()
}

/// Splits at the colons that no backslash stands before, and leaves the backslashes where they are.
fn split_fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut characters = line.chars();
    while let Some(c) = characters.next() {
        match (c, fields.last_mut()) {
            (':', _) => fields.push(String::new()),
            ('\\', Some(field)) => {
                field.push(c);
                field.extend(characters.next());
            }
            (c, Some(field)) => field.push(c),
            (_, None) => {}
        }
    }
    fields
}

/// `\:` and `\\` stand for the characters themselves.
fn unescaped(field: &str) -> String {
    let mut text = String::with_capacity(field.len());
    let mut characters = field.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' => text.push(characters.next().unwrap_or('\\')),
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_password_never_shows_itself() {
        assert_eq!(format!("{:?}", Some(Password::new("hunter2"))), "Some(Password(…))");
    }

    #[test]
    fn generated_passwords_are_what_rds_takes() {
        let password = generate();
        assert_eq!(password.expose().len(), 40);
        assert!(password.expose().chars().all(|c| c.is_ascii_alphanumeric()));
        assert_ne!(password.expose(), generate().expose());
    }

    fn file(text: &str, mode: u32) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
        file
    }

    #[test]
    fn a_password_file_gives_the_first_line_that_fits() {
        let text = "# comment\nother:*:*:me:no\ndb\\:1:5432:app:me:a\\:b\\\\c\r\n\\*:5432:*:me:star\n*:*:ap\\p:p:w:x\n*:*:*:*:rest\n";
        let file = file(text, 0o600);
        let read = PassFile::read(file.path()).unwrap().unwrap();
        let find = |host, user, database| {
            let lines = read.passwords_for(host, 5432, user);
            password_for(&lines, database).map(|found| found.expose().to_owned())
        };
        assert_eq!(find("db:1", "me", "app").as_deref(), Some("a:b\\c"));
        assert_eq!(find("db:1", "you", "x").as_deref(), Some("rest"));
        assert_eq!(find("*", "me", "x").as_deref(), Some("star"), "an escaped star is a star");
        assert_eq!(find("h", "p", "app").as_deref(), Some("w"), "a colon ends the password");
    }

    #[test]
    fn a_password_file_that_others_can_read_is_passed_over() {
        let open = file("*:*:*:*:x\n", 0o644);
        assert!(PassFile::read(open.path()).unwrap_err().contains("chmod 600"));
        assert!(PassFile::read(Path::new("/nonexistent")).unwrap().is_none());
        assert!(PassFile::read(Path::new("/dev/null")).unwrap_err().contains("not a plain file"));
    }

    #[test]
    fn a_database_that_no_line_names_gets_the_password_of_the_login() {
        let lines = vec![("app".to_owned(), Password::new("a"))];
        assert_eq!(password_for(&lines, "postgres").map(Password::expose), Some("a"));
    }
}
