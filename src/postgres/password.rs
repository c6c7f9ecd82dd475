//! Where passwords come from, and the wrapper that keeps them out of everything printed.

use std::fmt;
use std::fs;
use std::path::Path;

use rand::RngExt as _;

use crate::error::{Error, Result};

/// A password. `Debug` shows that there is one and nothing else; there is no `Display` and no `Serialize`.
#[derive(Clone)]
pub struct Password(String);

impl Password {
    /// Wraps a password.
    pub fn new(text: impl Into<String>) -> Self {
        Password(text.into())
    }

    /// The password itself, for a server or for AWS.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The first line of a file.
    pub fn from_file(path: &Path) -> Result<Self> {
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
pub fn generate() -> Password {
    let mut rng = rand::rng();
    Password((0..40).map(|_| char::from(rng.sample(rand::distr::Alphanumeric))).collect())
}

/// The password that a pgpass file (PostgreSQL documentation, "The Password File") has for this login.
///
/// A file that others may read is passed over, as libpq does; the second value says so.
pub fn from_pgpass(path: &Path, host: &str, port: u16, user: &str) -> (Option<Password>, Option<String>) {
    let Ok(text) = fs::read_to_string(path) else { return (None, None) };
    if let Some(warning) = readable_by_others(path) {
        return (None, Some(warning));
    }
    let port = port.to_string();
    let found = text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let fields = split(line);
        let [line_host, line_port, _database, line_user, password] = fields.as_slice() else { return None };
        let fits = |pattern: &str, value: &str| pattern == "*" || pattern == value;
        // The field for the database is passed over: we connect to every database of the server with one login.
        (fits(line_host, host) && fits(line_port, &port) && fits(line_user, user))
            .then(|| Password::new(password.as_str()))
    });
    (found, None)
}

fn readable_by_others(path: &Path) -> Option<String> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = fs::metadata(path).ok()?.permissions().mode();
    (mode & 0o077 != 0).then(|| {
        format!("`{}` is readable by others and was not used: run `chmod 600` on it", path.display())
    })
}

/// Splits at colons; `\:` and `\\` stand for the characters themselves.
fn split(line: &str) -> Vec<String> {
    let mut fields = Vec::new();
    let mut field = String::new();
    let mut characters = line.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' => field.extend(characters.next()),
            ':' if fields.len() < 4 => fields.push(std::mem::take(&mut field)),
            c => field.push(c),
        }
    }
    fields.push(field);
    fields
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

    #[test]
    fn pgpass_takes_the_first_line_that_fits() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "# comment\nother:*:*:me:no\ndb\\:1:5432:*:me:a\\:b\\\\c\n*:*:*:*:rest\n")
            .unwrap();
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o600)).unwrap();
        let find =
            |host, user| from_pgpass(file.path(), host, 5432, user).0.map(|found| found.expose().to_owned());
        assert_eq!(find("db:1", "me").as_deref(), Some("a:b\\c"));
        assert_eq!(find("db:1", "you").as_deref(), Some("rest"));
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o644)).unwrap();
        let (password, warning) = from_pgpass(file.path(), "db:1", 5432, "me");
        assert!(password.is_none() && warning.is_some());
    }
}
