//! Values of `lifeboat.toml`: how each kind of value is read, and which of two layers wins. Which keys there are is the
//! business of the modules whose keys they are; a value that breaks a rule is refused while it is read, so that the error
//! has its line.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::error::Error;
use crate::when::parse_duration;

/// Settings of which one layer can lie over another.
pub(crate) trait Layered: Clone + Default {
    /// These settings, and those of `general` where these are silent.
    #[must_use]
    fn over(self, general: &Self) -> Self;
}

/// The general settings, and what single databases have in their own sections.
#[derive(Clone, Debug, Default)]
pub(crate) struct PerDatabase<T> {
    /// What holds for all databases.
    pub general: T,
    /// What is special about single ones, by name.
    pub own: BTreeMap<String, T>,
}

impl<T: Layered> PerDatabase<T> {
    /// What holds for one database.
    pub(crate) fn of(&self, database: &str) -> T {
        self.own.get(database).cloned().unwrap_or_default().over(&self.general)
    }

    /// Every section as it is written, the general one first.
    pub(crate) fn sections(&self) -> impl Iterator<Item = &T> {
        std::iter::once(&self.general).chain(self.own.values())
    }
}

/// Stands between the message of an error and its remedy while serde carries both.
const REMEDY: char = '\u{1e}';

/// An error of ours as serde can carry it; [`split_remedy`] takes it apart.
pub(crate) fn describe_refusal(error: &Error) -> String {
    match error.hints().first() {
        Some(hint) => format!("{}{REMEDY}{hint}", error.chain()),
        None => error.chain(),
    }
}

/// The message of a value that was refused, and its remedy if it has one.
pub(crate) fn split_remedy(refusal: &str) -> (&str, Option<&str>) {
    refusal.split_once(REMEDY).map_or((refusal, None), |(message, remedy)| (message, Some(remedy)))
}

/// A value with a grammar of its own.
pub(crate) fn from_text<'de, D, T>(source: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err = Error>,
{
    String::deserialize(source)?.parse().map(Some).map_err(|why| D::Error::custom(describe_refusal(&why)))
}

/// A list of values with a grammar of their own.
pub(crate) fn list_from_texts<'de, D, T>(source: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err = Error>,
{
    let texts = Vec::<String>::deserialize(source)?;
    let parsed = texts.iter().map(|text| text.parse()).collect::<Result<_, _>>();
    parsed.map(Some).map_err(|why| D::Error::custom(describe_refusal(&why)))
}

/// One of a few words, those of the flag.
pub(crate) fn one_of_words<'de, D: Deserializer<'de>, T: ValueEnum>(
    source: D,
) -> Result<Option<T>, D::Error> {
    let text = String::deserialize(source)?;
    T::from_str(&text, false).map(Some).map_err(|_| {
        let words = T::value_variants().iter().filter_map(T::to_possible_value);
        let words: Vec<String> = words.map(|word| word.get_name().to_owned()).collect();
        D::Error::custom(format!("`{}` is not one of: {}", text.escape_default(), words.join(", ")))
    })
}

/// A duration that is more than nothing, such as `30m`.
pub(crate) fn duration<'de, D: Deserializer<'de>>(source: D) -> Result<Option<Duration>, D::Error> {
    match parse_duration(&String::deserialize(source)?) {
        Ok(Duration::ZERO) => Err(D::Error::custom("a duration of zero is not allowed here")),
        read => read.map(Some).map_err(D::Error::custom),
    }
}

fn number_in<'de, D, T>(source: D, range: &RangeInclusive<T>) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + PartialOrd + Display,
{
    let number = T::deserialize(source)?;
    match range.contains(&number) {
        true => Ok(Some(number)),
        false => Err(D::Error::custom(format!(
            "{number} is out of range: it must be from {} to {}",
            range.start(),
            range.end()
        ))),
    }
}

/// Days of automated backups (Amazon RDS API, `ModifyDBInstance`; 0 would switch them off).
pub(crate) fn retention_days<'de, D: Deserializer<'de>>(source: D) -> Result<Option<i32>, D::Error> {
    number_in(source, &(1..=35))
}

/// A number of things of which there must be one.
pub(crate) fn at_least_one<'de, D: Deserializer<'de>>(source: D) -> Result<Option<u16>, D::Error> {
    number_in(source, &(1..=u16::MAX))
}

/// 0 to 100 percent.
pub(crate) fn percent<'de, D: Deserializer<'de>>(source: D) -> Result<Option<f64>, D::Error> {
    number_in(source, &(0.0..=100.0))
}

/// Hours, a positive number.
pub(crate) fn hours<'de, D: Deserializer<'de>>(source: D) -> Result<Option<f64>, D::Error> {
    number_in(source, &(f64::MIN_POSITIVE..=100_000.0))
        .map_err(|_| D::Error::custom("expected a number of hours above 0, at most 100000"))
}

/// A text that is not blank.
pub(crate) fn filled_text<'de, D: Deserializer<'de>>(source: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(source)?;
    match text.trim().is_empty() {
        true => Err(D::Error::custom("it must not be empty")),
        false => Ok(Some(text)),
    }
}

/// `expect = 5` and `expect = true` mean what they look like.
pub(crate) fn text_or_value<'de, D: Deserializer<'de>>(source: D) -> Result<String, D::Error> {
    match toml::Value::deserialize(source)? {
        toml::Value::String(text) => Ok(text),
        toml::Value::Integer(number) => Ok(number.to_string()),
        toml::Value::Float(number) => Ok(number.to_string()),
        toml::Value::Boolean(truth) => Ok(truth.to_string()),
        other => {
            let kind = other.type_str();
            Err(D::Error::custom(format!("expected text, a number or a boolean, not a {kind}")))
        }
    }
}

/// One text, or a list of them.
pub(crate) fn one_or_many<'de, D: Deserializer<'de>>(source: D) -> Result<Option<Vec<String>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected text, or a list of texts")]
    enum Either {
        One(String),
        Many(Vec<String>),
    }
    Ok(Some(match Either::deserialize(source)? {
        Either::One(one) => vec![one],
        Either::Many(many) => many,
    }))
}
