//! The user's own questions to a restored copy, in SQL, and the answers that it must give.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::decimal::Decimal;
use crate::postgres::Server;
use crate::settings::{filled_text, text_or_value};
use crate::verify::Verdict;

use super::evidence::CheckResult;

/// A question to a restored copy, in SQL, and the answer that it must give.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Check {
    /// What the check is called in reports; otherwise its query.
    pub name: Option<String>,
    /// Database to ask.
    pub database: String,
    /// A query that returns one value.
    #[serde(deserialize_with = "query")]
    pub query: String,
    /// `> 100`, `= 0`, `!= x`, `between 1 and 5`, or the value itself.
    pub expect: Expected,
}

/// Where the time of the newest row is found.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Freshness {
    /// Database to ask.
    pub database: String,
    /// A query that returns one timestamp.
    #[serde(deserialize_with = "query")]
    pub query: String,
}

/// An answer that is expected, as it is written and as it is meant.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    written: String,
    meaning: Expectation,
}

impl<'de> Deserialize<'de> for Expected {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        let written = text_or_value(source)?;
        let meaning = parse_expectation(&written).map_err(|why| {
            D::Error::custom(format!(
                "{why}; write `> 100`, `>= 1`, `< 5`, `<= 5`, `= x`, `!= x`, `between 1 and 5`, `no row`, or the value itself"
            ))
        })?;
        Ok(Expected { written, meaning })
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

fn query<'de, D: Deserializer<'de>>(source: D) -> Result<String, D::Error> {
    filled_text(source).map(Option::unwrap_or_default)
}

/// What an answer has to be.
#[derive(Clone, Debug, PartialEq)]
enum Expectation {
    Compared(Comparison, String),
    Between(Decimal, Decimal),
    NoRow,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

/// Makes every check, each in a transaction of its own that cannot write.
pub(crate) async fn run_checks(checks: &[Check], copy: &Server) -> Vec<CheckResult> {
    let mut results = Vec::new();
    for check in checks {
        let answer = query_value(copy, &check.database, &check.query).await;
        let (observed, verdict, reason) = match answer {
            Ok(observed) => match meets_expectation(&check.expect.meaning, observed.as_deref()) {
                Ok(true) => (observed, Verdict::Pass, String::new()),
                Ok(false) => {
                    let found = observed.as_deref().map_or("no row".to_owned(), |value| format!("`{value}`"));
                    (observed, Verdict::Fail, format!("expected {}, found {found}", check.expect))
                }
                Err(reason) => (observed, Verdict::Unknown, reason),
            },
            Err(reason) => (None, Verdict::Unknown, reason),
        };
        results.push(CheckResult {
            name: check.name.clone().unwrap_or_else(|| check.query.clone()),
            database: check.database.clone(),
            query: check.query.clone(),
            expect: check.expect.to_string(),
            observed,
            verdict,
            reason,
        });
    }
    results
}

/// How long one check may take.
const STATEMENT_TIMEOUT: &str = "5min";

/// The one value that a query returns; `None` when it returns no row. The query is one statement, wrapped into
/// another: it can neither end the transaction, which only reads, nor begin a new one.
pub(super) async fn query_value(
    server: &Server,
    database: &str,
    query: &str,
) -> Result<Option<String>, String> {
    let failed = |failure: crate::postgres::QueryFailure| match failure.sqlstate.as_deref() {
        Some("57014") => format!("it was canceled after {STATEMENT_TIMEOUT}"),
        _ => failure.message,
    };
    let session = server.connect_for_others(database).await.map_err(|failure| failure.error.chain())?;
    let settings = format!("set statement_timeout = '{STATEMENT_TIMEOUT}'; begin read only");
    session.execute(&settings).await.map_err(failed)?;
    let columns = session.columns(query).await.map_err(failed)?;
    if columns != 1 {
        return Err(format!("the query returns {columns} columns, but a check compares one value"));
    }
    let query = query.trim().trim_end_matches(';');
    let wrapped = format!("select value::text from (\n{query}\n) as answer (value) limit 2");
    let rows = session.rows(&wrapped, &[]).await.map_err(failed)?;
    match rows.as_slice() {
        [] => Ok(None),
        [row] => Ok(Some(row.get::<_, Option<String>>(0).unwrap_or_else(|| NULL.to_owned()))),
        _ => Err("the query returns several rows, but a check compares one value".to_owned()),
    }
}

/// How the absence of a value is shown.
pub(super) const NULL: &str = "null";

fn parse_expectation(expect: &str) -> Result<Expectation, String> {
    let text = expect.trim();
    // `n > 100` and `> 100` say the same.
    let text = text.strip_prefix("n ").map_or(text, str::trim_start);
    if text.is_empty() {
        return Err("it is empty".to_owned());
    }
    if text.eq_ignore_ascii_case("no row") || text.eq_ignore_ascii_case("no rows") {
        return Ok(Expectation::NoRow);
    }
    let number = |text: &str| text.parse::<Decimal>();
    if let Some(range) = text.strip_prefix("between ") {
        let (low, high) = range.split_once(" and ").ok_or("a range is written `between 1 and 5`")?;
        return Ok(Expectation::Between(number(low)?, number(high)?));
    }
    let operators = [
        (">=", Comparison::AtLeast),
        ("<=", Comparison::AtMost),
        ("!=", Comparison::NotEqual),
        ("<>", Comparison::NotEqual),
        ("==", Comparison::Equal),
        ("=", Comparison::Equal),
        (">", Comparison::Greater),
        ("<", Comparison::Less),
    ];
    for (operator, comparison) in operators {
        let Some(value) = text.strip_prefix(operator) else { continue };
        let value = value.trim().trim_matches('\'');
        if !matches!(comparison, Comparison::Equal | Comparison::NotEqual) {
            number(value)?;
        }
        return Ok(Expectation::Compared(comparison, value.to_owned()));
    }
    Ok(Expectation::Compared(Comparison::Equal, text.trim_matches('\'').to_owned()))
}

fn meets_expectation(expectation: &Expectation, observed: Option<&str>) -> Result<bool, String> {
    let Some(observed) = observed else { return Ok(*expectation == Expectation::NoRow) };
    let number =
        || observed.parse::<Decimal>().map_err(|_| format!("the answer `{observed}` is not a number"));
    match expectation {
        Expectation::NoRow => Ok(false),
        Expectation::Between(low, high) => Ok((low..=high).contains(&&number()?)),
        Expectation::Compared(Comparison::Equal, value) => Ok(is_same(value, observed)),
        // As in SQL, nothing is known of NULL: not even that it is not something.
        Expectation::Compared(Comparison::NotEqual, value) => {
            Ok(observed != NULL && !is_same(value, observed))
        }
        Expectation::Compared(comparison, value) => {
            let (observed, value) = (number()?, value.parse::<Decimal>()?);
            Ok(match comparison {
                Comparison::Less => observed < value,
                Comparison::AtMost => observed <= value,
                Comparison::Greater => observed > value,
                _ => observed >= value,
            })
        }
    }
}

/// PostgreSQL writes truth as `t` and `f`, and `5` and `5.00` are one number.
fn is_same(expected: &str, observed: &str) -> bool {
    let folded = |text: &str| match text.to_ascii_lowercase().as_str() {
        "t" | "true" => "true".to_owned(),
        "f" | "false" => "false".to_owned(),
        _ => text.to_owned(),
    };
    match (expected.parse::<Decimal>(), observed.parse::<Decimal>()) {
        (Ok(left), Ok(right)) => left == right,
        _ => folded(expected) == folded(observed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expectations_are_read_as_people_write_them() {
        for (expect, observed, holds) in [
            ("> 100", Some("101"), true),
            ("n > 100", Some("100"), false),
            (">= 1", Some("1"), true),
            ("< 5", Some("4.5"), true),
            ("<= 5", Some("5.01"), false),
            ("= 5", Some("5.00"), true),
            ("5", Some("5"), true),
            ("!= 0", Some("0"), false),
            ("!= 5", Some("null"), false),
            ("!= null", Some("5"), true),
            ("<> draft", Some("sent"), true),
            ("= 'sent'", Some("sent"), true),
            ("true", Some("t"), true),
            ("between 1 and 5", Some("5"), true),
            ("between 1 and 5", Some("6"), false),
            ("no row", None, true),
            ("no row", Some("1"), false),
            ("> 0", None, false),
            ("9007199254740993", Some("9007199254740992"), false),
            (">= 9007199254740993", Some("9007199254740992"), false),
            ("> 9007199254740992", Some("9007199254740993"), true),
            ("= 9007199254740993", Some("9007199254740993.00"), true),
            ("between 9007199254740993 and 9007199254740995", Some("9007199254740992"), false),
            ("< 0.3", Some("0.2999999999999999999"), true),
            ("> 5", Some("NaN"), false),
            ("NaN", Some("NaN"), true),
        ] {
            assert_eq!(
                meets_expectation(&parse_expectation(expect).unwrap(), observed),
                Ok(holds),
                "{expect} against {observed:?}"
            );
        }
        assert!(
            meets_expectation(&parse_expectation("> 5").unwrap(), Some("many")).is_err(),
            "an answer that is no number is not a no"
        );
    }

    #[test]
    fn what_cannot_be_understood_is_refused() {
        for wrong in ["", "> many", "between 1", "between a and b", ">"] {
            assert!(parse_expectation(wrong).is_err(), "{wrong}");
        }
    }
}
