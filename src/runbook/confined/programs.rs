//! The programs that a plan may start, and where they are.

use std::path::PathBuf;

use super::ReadsOnly;
use super::aws::{has_alias, judge_aws};

/// A program that may be started, with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::runbook) struct Program {
    pub(in crate::runbook) path: PathBuf,
    pub(in crate::runbook) arguments: Vec<String>,
}

/// Checks a command against the list. `reads_only` judges calls of lifeboat, with the parser that would run them.
pub(in crate::runbook) fn judge_call(words: &[String], reads_only: ReadsOnly<'_>) -> Result<(), String> {
    let (program, arguments) = words.split_first().ok_or("the block has no command")?;
    match program.as_str() {
        "aws" => judge_aws(arguments),
        "lifeboat" => reads_only(words),
        "test" => match arguments {
            [operator, _] if ["-d", "-e", "-f", "-r", "-s"].contains(&operator.as_str()) => Ok(()),
            _ => Err("of `test`, a plan runs only `test -f FILE`, and -d, -e, -r and -s".to_owned()),
        },
        "df" => judge_options("df", arguments, &["-h", "-k", "-P", "-i"]),
        "ls" => judge_options("ls", arguments, &["-1", "-a", "-d", "-h", "-l", "-la", "-lh"]),
        "date" => match arguments {
            [] => Ok(()),
            [one] if one == "-u" || one.starts_with('+') => Ok(()),
            [utc, format] if utc == "-u" && format.starts_with('+') => Ok(()),
            _ => Err("of `date`, a plan runs only `date -u +FORMAT`".to_owned()),
        },
        other => Err(format!("`{}` is not a program that is known to be read-only", other.escape_default())),
    }
}

fn judge_options(program: &str, arguments: &[String], known: &[&str]) -> Result<(), String> {
    let unknown = arguments.iter().find(|word| word.starts_with('-') && !known.contains(&word.as_str()));
    match unknown {
        Some(word) => {
            Err(format!("option `{}` of `{program}` is not known to be read-only", word.escape_default()))
        }
        None => Ok(()),
    }
}

impl Program {
    /// Finds the program of a command that has been judged.
    pub(in crate::runbook) fn find(words: &[String]) -> Result<Self, String> {
        let (name, arguments) = words.split_first().ok_or("the block has no command")?;
        if let ("aws", Some(service)) = (name.as_str(), arguments.first())
            && has_alias(service)
        {
            return Err(format!("`~/.aws/cli/alias` redefines `aws {service}`"));
        }
        let path = match name.as_str() {
            "lifeboat" => std::env::current_exe().ok(),
            _ => search_path().into_iter().map(|folder| folder.join(name)).find(|path| path.is_file()),
        };
        let path = path.ok_or_else(|| format!("`{name}` is not installed"))?;
        Ok(Program { path, arguments: arguments.to_vec() })
    }
}

/// The folders of PATH that mean the same wherever a plan is made; a program in the current folder is not trusted.
pub(in crate::runbook) fn search_path() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).filter(|folder| folder.is_absolute()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(text: &str) -> Result<(), String> {
        let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
        judge_call(&words, &|_| Err("no".to_owned()))
    }

    #[test]
    fn programs_are_known_by_name_and_their_options_too() {
        for text in ["test -f .env", "df -h /srv", "ls -l backups", "date -u +%s", "date"] {
            assert_eq!(judge(text), Ok(()), "{text}");
        }
        for text in [
            "sed -n w/out x",
            "sort -o x y",
            "uniq in out",
            "date 0101000026",
            "date -s tomorrow",
            "date --set=x",
            "date -f x",
            "printf -v a[1] x",
            "cat x",
            "test -v x",
            "test a -o b",
            "ls --hyperlink=x",
            "df --output=x",
            "/usr/bin/touch x",
            "./aws sts get-caller-identity",
            "echo x",
            "read x",
            "env x",
            "command x",
            "PATH=. aws",
            "lifeboat status",
        ] {
            assert!(judge(text).is_err(), "{text}");
        }
    }
}
