//! What must be true after a step: one expectation per line.
//!
//! ```text
//! stdout matches ^arn:aws:sts::111122223333:
//! latest >= $when
//! newest >= $when - 15m
//! rows is not empty
//! ```

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};

use super::fault::{Faults, Position};
use super::values::{self, Values};
use crate::when::parse_duration;

/// One expectation.
#[derive(Clone, Debug)]
pub(crate) struct Assertion {
    /// As it is written.
    pub text: String,
    pub at: Position,
    left: String,
    operator: Operator,
    right: String,
    later_by: TimeDelta,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Matches,
    DoesNotMatch,
    Contains,
    DoesNotContain,
    IsEmpty,
    IsNotEmpty,
    Equal,
    NotEqual,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

/// Longer ones first, since `>` begins `>=`.
const OPERATORS: [(&str, Operator); 14] = [
    (" does not match ", Operator::DoesNotMatch),
    (" does not contain ", Operator::DoesNotContain),
    (" is not empty", Operator::IsNotEmpty),
    (" is empty", Operator::IsEmpty),
    (" matches ", Operator::Matches),
    (" contains ", Operator::Contains),
    (" >= ", Operator::AtLeast),
    (" <= ", Operator::AtMost),
    (" != ", Operator::NotEqual),
    (" == ", Operator::Equal),
    (" = ", Operator::Equal),
    (" > ", Operator::Greater),
    (" < ", Operator::Less),
    (" is ", Operator::Equal),
];

/// Names for the results of the step itself.
const OF_THE_STEP: [&str; 3] = ["stdout", "stderr", "exit"];

/// The results of a step.
#[derive(Clone, Debug, Default)]
pub(crate) struct Observed {
    /// Its standard output, trimmed.
    pub stdout: String,
    /// Its standard error, trimmed.
    pub stderr: String,
    /// How it ended.
    pub exit: i32,
}

/// Parses the expectations of a block whose first line is at `at`.
pub(super) fn parse_assertions(text: &str, at: Position, faults: &mut Faults) -> Vec<Assertion> {
    let mut assertions = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let column = at.column + line.len() - line.trim_start().len();
        let here = Position { line: at.line + index, column };
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        assertions.extend(read_line(line, here, faults));
    }
    if assertions.is_empty() && faults.is_empty() {
        faults.malformed(at, "expect", "this block expects nothing");
    }
    assertions
}

fn read_line(line: &str, at: Position, faults: &mut Faults) -> Option<Assertion> {
    let padded = format!("{line} ");
    // The operator is the first one in the line; the right side may contain others.
    let found = OPERATORS
        .iter()
        .filter_map(|(word, operator)| {
            Some((padded.find(word)?, std::cmp::Reverse(word.len()), *word, *operator))
        })
        .min_by_key(|(place, length, ..)| (*place, *length));
    let Some((place, _, word, operator)) = found else {
        faults.malformed(at, "expect", format!("`{}` is not an expectation", line.escape_default())).hint(
            "Write `NAME OPERATOR VALUE`; operators are =, !=, <, <=, >, >=, matches, does not match, contains, does not contain, is empty, is not empty.",
        );
        return None;
    };
    let left = padded[..place].trim().trim_start_matches('$').trim_matches(['{', '}']).to_owned();
    let mut right = padded[place + word.len()..].trim().to_owned();
    let mut later_by = TimeDelta::zero();
    if let Operator::Matches | Operator::DoesNotMatch = operator {
        if !right.contains("{{")
            && let Err(why) = regex_lite::Regex::new(&right)
        {
            faults.malformed(at, "expect", format!("the pattern is invalid: {why}"));
            return None;
        }
    } else if let Some((value, sign, duration)) = split_offset(&right) {
        later_by = TimeDelta::from_std(duration).unwrap_or_default() * sign;
        right = value;
    }
    let takes_nothing = matches!(operator, Operator::IsEmpty | Operator::IsNotEmpty);
    if left.is_empty() || takes_nothing != right.is_empty() {
        faults.malformed(at, "expect", format!("`{}` is an incomplete expectation", line.escape_default()));
        return None;
    }
    Some(Assertion { text: line.to_owned(), at, left, operator, right, later_by })
}

/// `$when - 15m`: the value, the sign and the duration.
fn split_offset(text: &str) -> Option<(String, i32, std::time::Duration)> {
    for (sign, word) in [(-1, " - "), (1, " + ")] {
        if let Some((value, duration)) = text.rsplit_once(word)
            && let Ok(duration) = parse_duration(duration.trim())
        {
            return Some((value.trim().to_owned(), sign, duration));
        }
    }
    None
}

impl Assertion {
    /// Names that it uses.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        if !OF_THE_STEP.contains(&self.left.as_str()) {
            names.push(self.left.clone());
        }
        names.extend(self.right.strip_prefix('$').map(str::to_owned));
        names.extend(values::placeholders(&self.right));
        names
    }

    /// Whether it holds; otherwise what was found instead.
    pub(crate) fn judge(&self, observed: &Observed, values: &Values) -> Result<(), String> {
        let left = match self.left.as_str() {
            "stdout" => observed.stdout.trim().to_owned(),
            "stderr" => observed.stderr.trim().to_owned(),
            "exit" => observed.exit.to_string(),
            name => values
                .get(name)
                .map(|text| text.trim().to_owned())
                .ok_or_else(|| format!("`{name}` has no value"))?,
        };
        let right = self.right_side(values)?;
        let is_so = match self.operator {
            Operator::Matches | Operator::DoesNotMatch => {
                let pattern =
                    regex_lite::Regex::new(&right).map_err(|why| format!("the pattern is invalid: {why}"))?;
                pattern.is_match(&left) == (self.operator == Operator::Matches)
            }
            Operator::Contains => left.contains(&right),
            Operator::DoesNotContain => !left.contains(&right),
            Operator::IsEmpty => left.is_empty(),
            Operator::IsNotEmpty => !left.is_empty(),
            _ => self.compare(&left, &right)?,
        };
        if is_so {
            return Ok(());
        }
        let shown: String = left.chars().take(200).collect();
        let what = if left.is_empty() { "it is empty".to_owned() } else { format!("it is `{shown}`") };
        Err(match self.right.starts_with('$') || self.right.contains("{{") {
            true => format!("{what}, compared with `{right}`"),
            false => what,
        })
    }

    fn right_side(&self, values: &Values) -> Result<String, String> {
        if let Some(name) = self.right.strip_prefix('$') {
            return values
                .get(name)
                .map(|text| text.trim().to_owned())
                .ok_or_else(|| format!("`{name}` has no value"));
        }
        let escape = matches!(self.operator, Operator::Matches | Operator::DoesNotMatch);
        let filled = values
            .fill_with(&self.right, |text| if escape { regex_lite::escape(text) } else { text.to_owned() })?;
        Ok(filled.trim_matches(['"', '\'']).to_owned())
    }

    fn compare(&self, left: &str, right: &str) -> Result<bool, String> {
        let order = match (parse_observed_time(left), parse_observed_time(right)) {
            (Some(left), Some(right)) => left.cmp(&(right + self.later_by)),
            _ => match (left.parse::<f64>(), right.parse::<f64>()) {
                (Ok(left), Ok(right)) => left.partial_cmp(&right).ok_or("that is not a number")?,
                _ if matches!(self.operator, Operator::Equal | Operator::NotEqual) => left.cmp(right),
                _ => return Err(format!("`{left}` and `{right}` are neither two times nor two numbers")),
            },
        };
        Ok(match self.operator {
            Operator::Equal => order.is_eq(),
            Operator::NotEqual => order.is_ne(),
            Operator::Less => order.is_lt(),
            Operator::AtMost => order.is_le(),
            Operator::Greater => order.is_gt(),
            _ => order.is_ge(),
        })
    }
}

/// A time as AWS, PostgreSQL and people write it; without a zone it is UTC.
pub(super) fn parse_observed_time(text: &str) -> Option<DateTime<Utc>> {
    let text = text.trim();
    if let Ok(at) = DateTime::parse_from_rfc3339(&text.replacen(' ', "T", 1)) {
        return Some(at.to_utc());
    }
    for form in ["%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M:%S%.f%#z"] {
        if let Ok(at) = DateTime::parse_from_str(text, form) {
            return Some(at.to_utc());
        }
    }
    let forms = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f"];
    forms.iter().find_map(|form| Some(NaiveDateTime::parse_from_str(text, form).ok()?.and_utc()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(line: &str, stdout: &str, pairs: &[(&str, &str)]) -> Result<(), String> {
        let mut faults = Faults::default();
        let read = parse_assertions(line, Position { line: 1, column: 1 }, &mut faults);
        assert!(faults.is_empty(), "{line}: {faults:?}");
        let mut values = Values::default();
        for (name, value) in pairs {
            values.set(name, value, false);
        }
        read[0].judge(&Observed { stdout: stdout.to_owned(), ..Observed::default() }, &values)
    }

    #[test]
    fn times_numbers_and_words_are_compared_as_what_they_are() {
        let when = [("when", "2026-11-20T14:05:00Z"), ("newest", "2026-11-20 13:55:00.5+00"), ("n", "10")];
        assert_eq!(holds("newest >= $when - 15m", "", &when), Ok(()));
        assert!(holds("newest >= $when - 5m", "", &when).unwrap_err().contains("2026-11-20 13:55"));
        assert_eq!(holds("n > 9", "", &when), Ok(()));
        assert_eq!(holds("stdout = 10", "10\n", &when), Ok(()));
        assert_eq!(holds("stdout matches ^a.c$", "abc\n", &when), Ok(()));
        assert_eq!(holds("stdout matches ^{{n}}\\.$", "10.", &when), Ok(()));
        assert_eq!(holds("stdout is not empty", "x", &when), Ok(()));
        assert_eq!(holds("exit = 0", "", &when), Ok(()));
        assert!(holds("stdout < 3", "abc", &when).unwrap_err().contains("neither two times nor two numbers"));
        assert!(
            holds("stdout matches a > b", "a > b", &when).is_ok(),
            "the first operator is the sentence's own"
        );
    }

    #[test]
    fn what_is_no_sentence_is_refused_with_its_place() {
        let mut faults = Faults::default();
        parse_assertions("\n  latest => 3", Position { line: 10, column: 1 }, &mut faults);
        assert_eq!((faults[0].at.line, faults[0].at.column), (11, 3));
        parse_assertions("stdout matches (", Position { line: 1, column: 1 }, &mut faults);
        assert!(faults[1].message.starts_with("the pattern is invalid"), "{}", faults[1].message);
    }
}
