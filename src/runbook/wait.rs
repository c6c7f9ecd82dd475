//! Waiting: what must come true, in one line, and the looks at it.
//!
//! ```text
//! db {{target}} status available
//! db {{target}} gone
//! snapshot {{snapshot}} status available
//! url {{health_url}} answers 200
//! ```

use super::fault::{Faults, Position};
use super::values::{self, Values};
use crate::aws::{Aws, Failure};
use crate::error::Result;
use crate::rds::{Health, InstanceId, SnapshotId};

/// The condition.
#[derive(Clone, Debug)]
pub(crate) struct Condition {
    /// As it is written.
    pub text: String,
    object: Object,
    name: String,
    goal: Goal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Object {
    Db,
    Snapshot,
    Url,
}

#[derive(Clone, Debug)]
enum Goal {
    Status(Vec<String>),
    Gone,
    Answers(u16),
}

/// What one look found.
#[derive(Debug)]
pub(super) enum PollResult {
    /// It is met.
    There(String),
    /// It is not yet so.
    NotYet(String),
    /// It will never be so by itself.
    Never(String),
}

/// Reads the line of a block.
pub(super) fn parse_condition(text: &str, at: Position, faults: &mut Faults) -> Option<Condition> {
    let line = |line: &str| line.split(" #").next().unwrap_or_default().trim().to_owned();
    let lines: Vec<String> =
        text.lines().map(line).filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let mut refuse = |what: String| {
        faults.malformed(at, "wait", what).hint(
            "Write one line: `db NAME status available`, `db NAME gone`, `snapshot NAME status available` or `url URL answers 200`.",
        )
    };
    let [line] = lines.as_slice() else {
        refuse(format!("a wait has one line, not {}", lines.len()));
        return None;
    };
    // `{{ target }}` is one word.
    let words: Vec<String> =
        line.replace("{{ ", "{{").replace(" }}", "}}").split_whitespace().map(str::to_owned).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let statuses = |words: &str| Goal::Status(words.split(',').map(str::to_owned).collect());
    let (object, name, goal) = match words.as_slice() {
        ["db", name, "status", words] => (Object::Db, name, statuses(words)),
        ["db", name, "gone"] => (Object::Db, name, Goal::Gone),
        ["snapshot", name, "status", words] => (Object::Snapshot, name, statuses(words)),
        ["url", name, "answers", code] if code.parse::<u16>().is_ok() => {
            (Object::Url, name, Goal::Answers(code.parse().unwrap_or(200)))
        }
        _ => {
            refuse(format!("`{}` cannot be waited for", line.escape_default()));
            return None;
        }
    };
    Some(Condition { text: line.clone(), object, name: (*name).to_owned(), goal })
}

impl Condition {
    /// Whether it is AWS that is asked.
    pub(crate) fn is_of_aws(&self) -> bool {
        self.object != Object::Url
    }

    /// The URL that is asked, and what it must answer.
    pub(super) fn url(&self) -> Option<(&str, u16)> {
        match self.goal {
            Goal::Answers(code) => Some((&self.name, code)),
            _ => None,
        }
    }

    /// Names that it uses.
    pub(super) fn names(&self) -> Vec<String> {
        values::placeholders(&self.name)
    }

    /// Looks once; a failure says that there was no answer.
    pub(super) async fn poll(
        &self,
        aws: Option<&Aws>,
        values: &Values,
        fails_on: &[String],
    ) -> Result<std::result::Result<PollResult, Failure>> {
        let name = values.fill(&self.name).map_err(crate::error::Error::request)?;
        let found = match (self.object, aws) {
            (Object::Url, _) => return Ok(Ok(self.look_at_url(&name).await)),
            (_, None) => return Ok(Ok(PollResult::Never("AWS is not available to this run".to_owned()))),
            (Object::Db, Some(aws)) => {
                let found = aws.look_at_instance(&InstanceId::parse(&name)?).await;
                found.map(|found| {
                    let status = found?.reported_status;
                    let is_broken = matches!(status.health(), Health::Broken | Health::Stopped);
                    Some((status.0.clone(), is_broken, status.remedy()))
                })
            }
            (Object::Snapshot, Some(aws)) => {
                let found = aws.look_at_snapshot(&SnapshotId::parse(&name)?).await;
                found.map(|found| {
                    let status = found?.reported_status;
                    let remedy = "Check `aws rds describe-events`.";
                    Some((status.as_str().to_owned(), status.is_broken(), remedy))
                })
            }
        };
        Ok(found.map(|found| match found {
            None => self.judge_absent(&name),
            Some((status, is_broken, remedy)) => self.judge(&status, is_broken, remedy, fails_on),
        }))
    }

    fn judge_absent(&self, name: &str) -> PollResult {
        match self.goal {
            Goal::Gone => PollResult::There(format!("`{name}` is gone")),
            _ => PollResult::NotYet(format!("AWS has no `{name}` yet")),
        }
    }

    fn judge(&self, status: &str, is_broken: bool, remedy: &str, fails_on: &[String]) -> PollResult {
        let Goal::Status(wanted) = &self.goal else { return PollResult::NotYet(format!("it is {status}")) };
        if wanted.iter().any(|wanted| wanted == status) {
            PollResult::There(format!("it is {status}"))
        } else if is_broken || fails_on.iter().any(|pattern| matches_status(pattern, status)) {
            PollResult::Never(format!("it ended as `{status}`. {remedy}"))
        } else {
            PollResult::NotYet(format!("it is {status}"))
        }
    }

    async fn look_at_url(&self, url: &str) -> PollResult {
        let Goal::Answers(wanted) = self.goal else {
            return PollResult::Never("only its answer can be waited for".to_owned());
        };
        match crate::web::status(url).await {
            Ok(code) if code == wanted => PollResult::There(format!("it answers {code}")),
            Ok(code) => PollResult::NotYet(format!("it answers {code}")),
            Err(error) => PollResult::NotYet(error.chain()),
        }
    }
}

/// `incompatible-*` fits whatever begins so.
fn matches_status(pattern: &str, status: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => status.starts_with(start),
        None => pattern == status,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_says_what_is_waited_for() {
        let mut faults = Faults::default();
        let at = Position { line: 1, column: 1 };
        let condition = parse_condition(
            "db {{ target }} status available   # fails at once on: failed\n",
            at,
            &mut faults,
        )
        .unwrap();
        assert_eq!(condition.names(), ["target"]);
        assert!(matches!(condition.judge("available", false, "", &[]), PollResult::There(_)));
        assert!(matches!(condition.judge("incompatible-restore", true, "", &[]), PollResult::Never(_)));
        assert!(matches!(
            condition.judge("upgrading", false, "", &["upg*".to_owned()]),
            PollResult::Never(_)
        ));
        assert!(matches!(condition.judge("polishing", false, "", &[]), PollResult::NotYet(_)));
        assert!(faults.is_empty());
        for wrong in ["", "db x", "db x status a\ndb y status b", "table x gone", "url x answers maybe"] {
            assert!(parse_condition(wrong, at, &mut faults).is_none(), "{wrong}");
        }
        assert_eq!(faults.len(), 5);
    }
}
