//! How long the copies of each retention class are kept: the defaults, and `[retention]` of lifeboat.toml.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Months, TimeDelta, Utc};
use serde::{Deserialize, Deserializer};

use crate::error::{Error, Result};

/// How long something is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// A span of time.
    Span(TimeDelta),
    /// Calendar months.
    Months(u32),
    /// It never expires.
    Ever,
}

impl Lifetime {
    /// When something of `start` expires; `None` if never.
    pub(crate) fn end(self, start: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match self {
            Lifetime::Span(span) => start.checked_add_signed(span),
            Lifetime::Months(months) => start.checked_add_months(Months::new(months)),
            Lifetime::Ever => None,
        }
    }
}

impl std::str::FromStr for Lifetime {
    type Err = String;

    /// As people write it: `30d`, `12 months`, `7 years`, `forever`.
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let text = text.trim();
        if matches!(text, "forever" | "for ever") {
            return Ok(Lifetime::Ever);
        }
        let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = (text[..split].parse::<u32>(), text[split..].trim());
        let per_unit = match unit {
            "month" | "months" | "mo" | "M" => Some(1),
            "year" | "years" | "y" => Some(12),
            _ => None,
        };
        if let (Ok(number), Some(per_unit)) = (number, per_unit) {
            return match number.checked_mul(per_unit) {
                Some(months) if months <= 12 * 100 => Ok(Lifetime::Months(months)),
                _ => Err("the maximum is 100 years; write `forever` for longer".to_owned()),
            };
        }
        let span = humantime::parse_duration(text)
            .map_err(|error| format!("{error}; examples are 30d, 12 months, 7 years and forever"))?;
        match TimeDelta::from_std(span) {
            Ok(span) if span <= TimeDelta::days(36_525) => Ok(Lifetime::Span(span)),
            _ => Err("the maximum is 100 years; write `forever` for longer".to_owned()),
        }
    }
}

impl fmt::Display for Lifetime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |n: i64, unit: &str| format!("{n} {unit}{}", if n == 1 { "" } else { "s" });
        match *self {
            Lifetime::Ever => f.write_str("ever"),
            Lifetime::Months(months) => f.write_str(&plural(i64::from(months), "month")),
            Lifetime::Span(span) if span.num_seconds() % 86_400 == 0 => {
                f.write_str(&plural(span.num_days(), "day"))
            }
            Lifetime::Span(span) => {
                write!(f, "{}", humantime::format_duration(span.to_std().unwrap_or_default()))
            }
        }
    }
}

/// What a class keeps. A copy stays if any part of the rule keeps it. In lifeboat.toml it is a lifetime
/// (`pre-migration = "30d"`), or a table.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "toml::Value")]
pub(crate) struct Rule {
    /// Every copy, for this long.
    pub keep_for: Lifetime,
    /// Keep the newest N backups of each database, however old.
    pub keep_last: usize,
    /// The last copy of each of the newest so many days (UTC) that have one.
    pub keep_daily: usize,
    /// The same for ISO weeks.
    pub keep_weekly: usize,
    /// The same for months.
    pub keep_monthly: usize,
    /// The same for years.
    pub keep_yearly: usize,
}

impl Rule {
    /// Every copy for `keep_for`, and no more.
    pub(crate) const fn lasting(keep_for: Lifetime) -> Self {
        Rule { keep_for, keep_last: 0, keep_daily: 0, keep_weekly: 0, keep_monthly: 0, keep_yearly: 0 }
    }
}

impl TryFrom<toml::Value> for Rule {
    type Error = String;

    fn try_from(value: toml::Value) -> std::result::Result<Self, String> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields, default)]
        #[derive(Default)]
        struct Table {
            keep_for: Option<String>,
            keep_last: usize,
            keep_daily: usize,
            keep_weekly: usize,
            keep_monthly: usize,
            keep_yearly: usize,
        }
        let table = match value {
            toml::Value::String(keep_for) => Table { keep_for: Some(keep_for), ..Table::default() },
            table @ toml::Value::Table(_) => {
                table.try_into().map_err(|error: toml::de::Error| error.message().to_owned())?
            }
            other => {
                return Err(format!(
                    "a retention class is a lifetime or a table, not a {}",
                    other.type_str()
                ));
            }
        };
        let Table { keep_for, keep_last, keep_daily, keep_weekly, keep_monthly, keep_yearly } = table;
        let keep_for = match keep_for {
            Some(text) => text.parse().map_err(|why| format!("`{}`: {why}", text.escape_default()))?,
            None => NOTHING,
        };
        let rule = Rule { keep_for, keep_last, keep_daily, keep_weekly, keep_monthly, keep_yearly };
        if rule == Rule::lasting(NOTHING) {
            let examples = "a lifetime, such as \"30d\", or counts, such as `keep_last = 3`";
            return Err(format!("it keeps nothing; give it {examples}"));
        }
        Ok(rule)
    }
}

const NOTHING: Lifetime = Lifetime::Span(TimeDelta::zero());

/// The name of a class, which becomes part of ids.
#[derive(PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
struct ClassName(String);

impl TryFrom<String> for ClassName {
    type Error = String;

    fn try_from(name: String) -> std::result::Result<Self, String> {
        let is_plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        let starts_well = name.starts_with(|c: char| c.is_ascii_lowercase());
        match is_plain && starts_well && !name.ends_with('-') && !name.contains("--") && name.len() <= 60 {
            true => Ok(ClassName(name)),
            false => Err(format!(
                "`{}` is not a name for a retention class; use at most 60 lower-case letters, digits and single hyphens, a \
                 letter first and no hyphen last",
                name.escape_default()
            )),
        }
    }
}

/// The rule of each class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rules(pub BTreeMap<String, Rule>);

impl<'de> Deserialize<'de> for Rules {
    /// The default rules, and over them those of `[retention]` in lifeboat.toml.
    fn deserialize<D: Deserializer<'de>>(source: D) -> std::result::Result<Self, D::Error> {
        let mut rules = Rules::default();
        let configured = BTreeMap::<ClassName, Rule>::deserialize(source)?;
        rules.0.extend(configured.into_iter().map(|(ClassName(name), rule)| (name, rule)));
        Ok(rules)
    }
}

impl Default for Rules {
    fn default() -> Self {
        let classes = [
            ("automated-daily", Lifetime::Span(TimeDelta::days(7))),
            ("pre-migration", Lifetime::Span(TimeDelta::days(30))),
            ("monthly-archive", Lifetime::Months(12)),
            ("major-release", Lifetime::Ever),
        ];
        Rules(classes.map(|(name, keep_for)| (name.to_owned(), Rule::lasting(keep_for))).into())
    }
}

impl Rules {
    /// The rule of a class that someone named.
    pub(crate) fn of(&self, class: &str) -> Result<&Rule> {
        self.0.get(class).ok_or_else(|| {
            let known: Vec<String> = self.0.keys().map(|name| format!("`{name}`")).collect();
            Error::request(format!("retention class `{}` does not exist", class.escape_default())).hint(
                format!("Choose one of {}, or add it to `[retention]` in lifeboat.toml.", known.join(", ")),
            )
        })
    }
}
