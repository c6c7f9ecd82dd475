//! `--environment-file`: variables that a scheduler does not set, from the file that systemd would read them from.
//!
//! What reads the environment, and that is the AWS SDK and PostgreSQL's programs too, reads it from the process. So the
//! program is started anew, in its own place, with the variables set.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use crate::error::{Error, Result};

/// Marks the process that has them, so that it does not begin again.
const MARK: &str = "LIFEBOAT_ENVIRONMENT_FILE";

/// Replaces this process by one that has the variables of the file. Returns where that was done already, and where there is no
/// such file.
pub(super) fn adopt_variables_of(file: &Path) -> Result<()> {
    if std::env::var_os(MARK).is_some_and(|mark| mark == file.as_os_str()) {
        return Ok(());
    }
    let failed =
        |what: &str| Error::request(format!("cannot {what} the environment file `{}`", file.display()));
    let text = match std::fs::read_to_string(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        text => text.map_err(|error| {
            failed("read")
                .caused_by(error)
                .hint("Run the schedule as a user who may read it, or correct `--environment-file`.")
        })?,
    };
    let program = std::env::current_exe().map_err(|error| failed("use").caused_by(error))?;
    let error =
        Command::new(program).args(std::env::args_os().skip(1)).envs(variables(&text)).env(MARK, file).exec();
    Err(failed("use").caused_by(error))
}

/// `NAME=value` lines: a value is what it is, with or without quotes around it. Nothing is expanded.
fn variables(text: &str) -> Vec<(String, String)> {
    let variable = |line: &str| {
        let (name, value) = line.trim_start().split_once('=')?;
        let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let value = value.trim_end();
        let quoted = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
        (is_name && !value.contains('\0')).then(|| (name.to_owned(), quoted.unwrap_or(value).to_owned()))
    };
    text.lines().filter_map(variable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_mean_themselves() {
        let file = "# a comment\n\nU=postgresql://a@h/db?x=1&y=2\nP=pa$HOME `id` \\ %\nQ='in; quotes'\nR=\"double\"\nbad line\nS=\n  T=1\r\n1X=no\nV='";
        let expected = [
            ("U", "postgresql://a@h/db?x=1&y=2"),
            ("P", "pa$HOME `id` \\ %"),
            ("Q", "in; quotes"),
            ("R", "double"),
            ("S", ""),
            ("T", "1"),
            ("V", "'"),
        ];
        assert_eq!(variables(file), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
