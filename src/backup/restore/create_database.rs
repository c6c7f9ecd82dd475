//! How the database of a backup is to be created, where not all of what its source had is to be had.

use crate::backup::statement::create_database_statement;
use crate::postgres::{quote_identifier, quote_literal};

/// How a database is to be created.
pub(super) struct CreateDatabase {
    /// The clauses, but for those below.
    rest: String,
    pub(super) tablespace: Option<String>,
    pub(super) locale: Option<String>,
}

impl CreateDatabase {
    pub(super) fn of(rest: &str) -> Self {
        let (rest, tablespace) = take_clause(rest, "TABLESPACE");
        CreateDatabase { rest, tablespace, locale: None }
    }

    pub(super) fn statement(&self, name: &str) -> String {
        let mut rest = self.rest.clone();
        if let Some(locale) = &self.locale {
            for clause in [
                "LC_COLLATE",
                "LC_CTYPE",
                "LOCALE_PROVIDER",
                "ICU_LOCALE",
                "ICU_RULES",
                "BUILTIN_LOCALE",
                "LOCALE",
            ] {
                rest = take_clause(&rest, clause).0;
            }
            rest.push_str(&format!(" LOCALE = {}", quote_literal(locale)));
        }
        if let Some(tablespace) = &self.tablespace {
            rest.push_str(&format!(" TABLESPACE = {}", quote_identifier(tablespace)));
        }
        create_database_statement(&rest, name)
    }
}

/// Takes ` NAME = value` out of the clauses of a `CREATE DATABASE`: what is left, and the value. Values hold no more than
/// pg_dump writes: words, names in double quotes and strings.
fn take_clause(rest: &str, name: &str) -> (String, Option<String>) {
    let start = format!(" {name} = ");
    let Some(at) = rest.find(&start) else { return (rest.to_owned(), None) };
    let after = &rest[at + start.len()..];
    let quote = after.chars().next().filter(|c| ['"', '\''].contains(c));
    let length = match quote {
        None => after.find(' ').unwrap_or(after.len()),
        Some(quote) => {
            let mut end = 1;
            loop {
                let Some(next) = after[end..].find(quote) else { break after.len() };
                end += next + 1;
                if !after[end..].starts_with(quote) {
                    break end;
                }
                end += 1;
            }
        }
    };
    let text = &after[..length];
    let value = match quote {
        None => text.to_owned(),
        Some(quote) => text.trim_matches(quote).replace(&format!("{quote}{quote}"), &quote.to_string()),
    };
    (format!("{}{}", &rest[..at], &after[length..]), Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clauses_are_taken_out_whatever_their_names_hold() {
        for (rest, left, value) in [
            (" WITH TEMPLATE = template0 TABLESPACE = fast", " WITH TEMPLATE = template0", Some("fast")),
            (
                " TABLESPACE = \"a \"\"b\"\" = c\" ENCODING = 'UTF8'",
                " ENCODING = 'UTF8'",
                Some("a \"b\" = c"),
            ),
            (" WITH ENCODING = 'UTF8'", " WITH ENCODING = 'UTF8'", None),
        ] {
            let (found, taken) = take_clause(rest, "TABLESPACE");
            assert_eq!((found.as_str(), taken.as_deref()), (left, value), "{rest}");
        }
        let mut create = CreateDatabase::of(
            " WITH TEMPLATE = template0 ENCODING = 'UTF8' LOCALE_PROVIDER = icu LOCALE = 'de_DE.UTF-8' ICU_LOCALE = 'de'",
        );
        create.locale = Some("it's".to_owned());
        let statement = create.statement("x");
        assert!(
            !statement.contains("de_DE") && !statement.contains("icu") && !statement.contains("'de'"),
            "{statement}"
        );
        assert!(
            statement.contains("ENCODING = 'UTF8'") && statement.contains("LOCALE = E'it''s'"),
            "{statement}"
        );
    }
}
