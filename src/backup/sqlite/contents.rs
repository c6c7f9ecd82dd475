//! What a SQLite database was seen to contain.

use serde::{Deserialize, Serialize};

use super::companions::FileOwner;

/// What a SQLite database was seen to contain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Contents {
    /// Bytes of a page.
    pub page_size: u32,
    /// Pages.
    pub pages: u32,
    /// `delete`, `wal` and so on, as the source had it.
    pub journal_mode: String,
    /// `user_version`, which applications number their schema with.
    pub user_version: i64,
    /// Tables, with the number of rows in each.
    pub tables: Vec<TableRows>,
    /// Rows that refer to rows which do not exist, as the source has them too; at most 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dangling_references: Vec<String>,
    /// Whether the copy was looked into when it was made; a backup that was proven by its checksum alone was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inspected: Option<bool>,
    /// What is no damage, and what one should know of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
    /// Whose file it was, and who could open it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<FileOwner>,
}

impl Contents {
    /// Whether tables and rows were counted. A manifest that does not say so is of a time when all were that list any.
    pub(crate) fn is_inspected(&self) -> bool {
        self.inspected.unwrap_or(!self.tables.is_empty())
    }
}

/// A table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TableRows {
    /// Name.
    pub table: String,
    /// Rows; `None` for what this SQLite cannot read, such as virtual tables of an extension.
    pub rows: Option<u64>,
}

/// What is no damage, and what one should know of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Warning {
    /// What it is about, such as ``table `orders` ``.
    pub object: String,
    /// What there is to know.
    pub message: String,
    /// The SQL that puts it right, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Warning {
    pub(super) fn new(object: impl Into<String>, message: impl Into<String>) -> Self {
        Warning { object: object.into(), message: message.into(), remedy: None }
    }

    /// As a sentence.
    pub(crate) fn sentence(&self) -> String {
        let remedy =
            self.remedy.as_ref().map_or(String::new(), |sql| format!("; to put it right, run `{sql}`"));
        format!("{}: {}{remedy}", self.object, self.message)
    }
}
