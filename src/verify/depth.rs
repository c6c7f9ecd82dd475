//! How deep an observation looks, table by table, and how gently.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How deep an observation looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Depth {
    /// Definitions alone; no row is read.
    Schema,
    /// Exact numbers of rows.
    Counts,
    /// Those, a fingerprint of every table's content, definitions and sequences.
    #[default]
    Content,
}

impl Depth {
    const fn as_str(self) -> &'static str {
        match self {
            Depth::Schema => "schema",
            Depth::Counts => "counts",
            Depth::Content => "content",
        }
    }
}

impl FromStr for Depth {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        [Depth::Schema, Depth::Counts, Depth::Content].into_iter().find(|depth| depth.as_str() == text).ok_or_else(
            || {
                Error::request(format!("`{}` is not a depth", text.escape_default()))
                    .hint("Depths are content, counts and schema; `TABLE=DEPTH` sets the depth of matching tables, such as `audit.*=counts`.")
            },
        )
    }
}

/// One rule: the tables that `pattern` names are looked at as deep as `depth`. Without a pattern, all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DepthRule {
    pattern: Option<String>,
    depth: Depth,
}

impl FromStr for DepthRule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.rsplit_once('=') {
            None => Ok(DepthRule { pattern: None, depth: text.parse()? }),
            Some(("", _)) => Err(Error::request(format!("`{text}` has no table name before `=`"))),
            Some((pattern, depth)) => {
                Ok(DepthRule { pattern: Some(pattern.to_owned()), depth: depth.parse()? })
            }
        }
    }
}

/// The depth of every table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Depths {
    default: Depth,
    rules: Vec<(String, Depth)>,
}

impl Depths {
    /// From rules; among those that fit a table the last one counts.
    pub(crate) fn new(rules: impl IntoIterator<Item = DepthRule>) -> Self {
        let mut depths = Depths::default();
        for rule in rules {
            match rule.pattern {
                None => depths.default = rule.depth,
                Some(pattern) => depths.rules.push((pattern, rule.depth)),
            }
        }
        depths
    }

    /// The depth of tables that no rule names.
    pub(crate) fn usual_depth(&self) -> Depth {
        self.default
    }

    /// The depth of one table. A pattern is `table`, `schema.table` or `database.schema.table`, with `*` for any text.
    pub(crate) fn depth_of(&self, database: &str, schema: &str, table: &str) -> Depth {
        let fits = |pattern: &str| matches_pattern(pattern, database, schema, table);
        self.rules.iter().rev().find(|(pattern, _)| fits(pattern)).map_or(self.default, |(_, depth)| *depth)
    }
}

/// Some tables, by patterns as in [`DepthRule`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tables(Vec<String>);

impl Tables {
    /// Those that any of the patterns names.
    pub(crate) fn new(patterns: impl IntoIterator<Item = String>) -> Self {
        Tables(patterns.into_iter().collect())
    }

    /// Whether a table is one of them.
    pub(crate) fn include(&self, database: &str, schema: &str, table: &str) -> bool {
        self.0.iter().any(|pattern| matches_pattern(pattern, database, schema, table))
    }
}

/// Whether a pattern names a table: it is `table`, `schema.table` or `database.schema.table`, with `*` for any text.
fn matches_pattern(pattern: &str, database: &str, schema: &str, table: &str) -> bool {
    let names = [table.to_owned(), format!("{schema}.{table}"), format!("{database}.{schema}.{table}")];
    names.iter().any(|name| matches_glob(pattern, name))
}

/// Whether `pattern`, in which `*` stands for any text, is the whole of `name`.
fn matches_glob(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|name| {
            // Every place where the rest may begin.
            name.char_indices()
                .map(|(at, _)| at)
                .chain([name.len()])
                .any(|at| matches_glob(rest, &name[at..]))
        }),
    }
}

/// How a server is checked.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    /// How deep.
    pub depths: Depths,
    /// How many connections to the server there may be at once, 1 to 16, and never more than a quarter of the free ones.
    pub connections: usize,
    /// How long the server may work on one table; zero means as long as it takes.
    pub statement_timeout: Duration,
    /// Which kind of copy it may be compared with.
    pub copies: Copies,
}

/// Which kind of copy an observation may be compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Copies {
    /// Physical ones.
    #[default]
    Physical,
    /// Copies made with a dump, too: the rows that a dump includes are then read as well, and unlogged tables,
    /// which a dump includes.
    Dumped,
}

impl Default for Look {
    /// As many connections as cores of a small instance: more of them read no faster and take memory from its users.
    fn default() -> Self {
        Look {
            depths: Depths::default(),
            connections: 2,
            statement_timeout: Duration::ZERO,
            copies: Copies::Physical,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_rule_that_fits_counts() {
        let rules = ["audit.*=counts", "counts", "audit.now=content", "app.public.big*log=schema"];
        let depths = Depths::new(rules.map(|rule| rule.parse().unwrap()));
        let of = |name: &str| {
            depths.depth_of("app", name.split_once('.').unwrap().0, name.split_once('.').unwrap().1)
        };
        assert_eq!(of("public.users"), Depth::Counts);
        assert_eq!(of("audit.then"), Depth::Counts);
        assert_eq!(of("audit.now"), Depth::Content);
        assert_eq!(of("public.big_fat_log"), Depth::Schema);
        assert_eq!(of("public.big_fat_logs"), Depth::Counts);
    }

    #[test]
    fn a_wrong_depth_says_which_there_are() {
        for text in ["contents", "audit.*=", "=counts", "a=b=c"] {
            assert!(text.parse::<DepthRule>().is_err(), "{text}");
        }
    }
}
