//! What definitions say, whatever words PostgreSQL finds for it.
//!
//! Expressions are kept as trees and written down anew whenever somebody asks. When a dump is loaded, PostgreSQL reads what
//! it wrote and may then write it otherwise: `ARRAY['a'::varchar, 'b'::varchar]::text[]` comes back as
//! `ARRAY[('a'::varchar)::text, ('b'::varchar)::text]`. Casts, and brackets around single values, are where that happens.
//! Two definitions that differ in nothing else say the same. It is asked only of definitions that do differ, and only of
//! copies that came about by a dump: physical copies have the same trees, and so the same words.

use super::judge::{DefinitionVerdict, Word};
use super::schema::{Definitions, Digest, definitions_sql};
use crate::error::{Error, Result};
use crate::postgres::Session;

/// Kinds whose definitions PostgreSQL writes from expressions.
const WORDED: &str =
    "'columns', 'storage', 'constraint', 'index', 'view', 'rule', 'trigger', 'policy', 'type', 'statistics'";

/// A definition without spaces, without casts, and without brackets around a single value or another pair of brackets. What
/// stands in a string is passed over.
const WORDING: &str = r#"
    replace(regexp_replace(regexp_replace(regexp_replace(coalesce(body, ''),
        '(''(?:[^'']|'''')*'')|::[a-z_"][a-z0-9_ ".]*(?:\([0-9, ]+\))?(?:\[\])*', '\1', 'g'),
        '(''(?:[^'']|'''')*'')|\((''(?:[^'']|'''')*''|[A-Za-z0-9_."]+)\)', '\1\2', 'g'),
        '(''(?:[^'']|'''')*'')|\((\((?:[^()'']|''(?:[^'']|'''')*'')*\))\)', '\1\2', 'g'), ' ', '')"#;

/// Digests of what the definitions of a database say.
pub async fn wordings(session: &Session) -> Result<Definitions> {
    let mut all = Definitions::new();
    session
        .for_each(&wordings_sql(), |row| {
            let digest = Digest::try_from(row.get::<_, String>(2))
                .map_err(|error| Error::outside("a digest is not hexadecimal").caused_by(error))?;
            all.entry(row.get(0)).or_default().insert(row.get(1), digest);
            Ok(())
        })
        .await?;
    Ok(all)
}

/// The same, of a database that is connected to for nothing else.
pub(super) async fn wordings_apart(session: &Session) -> Result<Definitions> {
    session.run("begin read only; set local search_path = pg_catalog").await?;
    let read = wordings(session).await?;
    session.run("rollback").await?;
    Ok(read)
}

/// Whether a definition that differs says the same on both sides.
pub fn says_the_same(found: &DefinitionVerdict, left: &Definitions, right: &Definitions) -> bool {
    let of = |all: &Definitions| all.get(&found.kind).and_then(|named| named.get(&found.name)).copied();
    found.verdict == Word::Differs && of(left).is_some() && of(left) == of(right)
}

fn wordings_sql() -> String {
    let filter = format!("from definition where kind in ({WORDED}) group by");
    let sql = definitions_sql().replace("from definition group by", &filter);
    match sql.rsplit_once("coalesce(body, '')") {
        Some((head, tail)) => format!("{head}{}{tail}", WORDING.trim()),
        None => sql,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_for_wordings_is_that_for_definitions_with_less_in_it() {
        let sql = wordings_sql();
        assert!(sql.contains("regexp_replace(coalesce(body, '')"), "{sql}");
        assert!(sql.contains("where kind in ('columns'"), "{sql}");
    }
}
