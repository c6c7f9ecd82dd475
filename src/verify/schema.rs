//! The definitions in a database: what there is besides rows, each thing with a digest of its definition.
//!
//! Digests are taken in the server from PostgreSQL's own deparsed definitions, under an empty search path, so that
//! they do not depend on object ids and are the same on every server of one major version. What an extension brought
//! along is covered by the extension and its version.

pub(super) mod dumped;
mod lesser;
mod queries;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use queries::{DIGESTS, TOUCHED, definitions_sql, expand_functions, parts_sql, plain_body_sql};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};
use crate::postgres::{QueryFailure, RawText, Session};

/// Digests of the definitions of a database, by kind (`index`, `function`, …) and qualified name.
pub(crate) type Definitions = BTreeMap<String, BTreeMap<String, Digest>>;

/// MD5 of a definition, as hexadecimal digits where it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Digest(u128);

impl Digest {
    /// The digest of a text that is not one of PostgreSQL's own.
    pub(super) fn of_text(text: &str) -> Digest {
        let digest = Sha256::digest(text);
        let (start, _) = digest.as_slice().split_first_chunk().expect("a SHA-256 has 32 bytes");
        Digest(u128::from_be_bytes(*start))
    }
}

impl TryFrom<String> for Digest {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> std::result::Result<Self, Self::Error> {
        u128::from_str_radix(&text, 16).map(Digest)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        format!("{:032x}", digest.0)
    }
}

/// The definitions that are not the same in both, as kind and name.
pub(crate) fn list_changes(before: &Definitions, after: &Definitions) -> Vec<String> {
    let all = |definitions: &Definitions| -> BTreeMap<(String, String), Digest> {
        let each = definitions.iter().flat_map(|(kind, named)| {
            named.iter().map(move |(name, digest)| ((kind.clone(), name.clone()), *digest))
        });
        each.collect()
    };
    let (before, after) = (all(before), all(after));
    let names: BTreeSet<&(String, String)> = before.keys().chain(after.keys()).collect();
    let changed = names.into_iter().filter(|name| before.get(*name) != after.get(*name));
    changed.map(|(kind, name)| format!("{kind} {name}")).collect()
}

/// Which kinds of definitions are read. Records of an older recipe have fewer.
pub(crate) const RECIPE: u32 = 3;

/// Kinds that records of the first recipe do not have.
const NEW_IN_THE_SECOND: [&str; 12] = [
    "foreign options",
    "foreign data wrapper",
    "publication columns",
    "aggregate",
    SERVER_ROLE,
    "connection limit",
    "system function",
    "system relation",
    "system rights",
    "extension members",
    "catalog flags",
    "instance setting",
];

/// The kind of every role of a server, whether the database refers to it or not.
pub(super) const SERVER_ROLE: &str = "server role";

/// Whether a record of `recipe` has definitions of a kind.
pub(super) fn is_in_recipe(kind: &str, recipe: u32) -> bool {
    (recipe >= 2 || !NEW_IN_THE_SECOND.contains(&kind)) && (recipe >= 3 || !lesser::KINDS.contains(&kind))
}

/// Whether physical copies are not judged by definitions of a kind: no query tells when the source last wrote to them.
pub(super) fn is_of_dumps(kind: &str) -> bool {
    ["user mapping", "subscription"].contains(&kind)
}

/// Whether only physical copies have definitions of a kind in common: what belongs to the server, or to its system
/// catalogs, is in no dump.
pub(super) fn is_of_the_server(kind: &str) -> bool {
    const KINDS: [&str; 7] = [
        SERVER_ROLE,
        "connection limit",
        "system function",
        "system relation",
        "system rights",
        "extension members",
        "instance setting",
    ];
    KINDS.contains(&kind)
}

/// A definition that was written to since some transaction, each time by its newest transaction as a 64-bit id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Touch {
    /// Object id of what is defined; a physical copy has the same.
    pub oid: u32,
    /// Who last wrote to it or to anything that it names, such as the table of a trigger.
    pub newest: u64,
    /// Who last wrote to it.
    pub own: Option<u64>,
    /// Who made it, as far as the catalog still tells.
    pub made: Option<u64>,
}

/// The definitions of a database that were written to since some transaction, by kind and qualified name.
pub(crate) type Touched = BTreeMap<String, BTreeMap<String, Touch>>;

/// Where a sequence stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SequenceState {
    /// Last value handed out, or the one before the first; none if it could not be read.
    pub last_value: Option<i64>,
    /// Step.
    pub increment: i64,
    /// How many values a session takes at once, where that was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<i64>,
}

/// Sequences of a database, by qualified name.
pub(crate) type Sequences = BTreeMap<String, SequenceState>;

/// How often the definitions are asked for again when something was dropped under the query's hands.
const ATTEMPTS: usize = 30;

/// Reads the definitions of a database, outside of a transaction: PostgreSQL deparses them as they are now, so an older
/// snapshot would trip over everything that was dropped since. Even so, what is dropped between the listing and the
/// deparsing ends the query, which is then asked again.
pub(super) async fn read_definitions(session: &Session) -> Result<Definitions> {
    digests_of_rows(
        &query_until_stable(session, &format!("{}{DIGESTS}", definitions_sql(major_version(session).await?)))
            .await?,
    )
}

/// Lists the definitions of a database that were written to by the transaction `since` (64 bits) or a later one, outside
/// of a transaction.
pub(super) async fn read_touched(session: &Session, since: u64) -> Result<Touched> {
    // The three least ids are no transactions and have no age.
    let low = (since as u32).max(3);
    let definitions = definitions_sql(major_version(session).await?);
    let sql = format!("{definitions}{}", TOUCHED.replace("{since}", &low.to_string()));
    let mut all = Touched::new();
    for row in query_until_stable(session, &sql).await? {
        let id =
            |column: usize| row.get::<_, Option<i64>>(column).map(|later| since.saturating_add_signed(later));
        let touch = Touch { oid: row.get(2), newest: id(3).unwrap_or(since), own: id(4), made: id(5) };
        all.entry(row.get(0)).or_default().insert(row.get::<_, RawText>(1).into_string(), touch);
    }
    Ok(all)
}

/// Every earlier transaction has ended by now.
pub(super) async fn read_settled_before(session: &Session) -> Result<u64> {
    let row = session.row("select pg_snapshot_xmin(pg_current_snapshot())::text::int8", &[]).await?;
    Ok(row.get::<_, i64>(0).unsigned_abs())
}

/// Runs a query over the definitions, outside of a transaction.
async fn query_until_stable(session: &Session, sql: &str) -> Result<Vec<tokio_postgres::Row>> {
    let mut attempt = 1;
    loop {
        match session.rows(sql, &[]).await {
            Ok(rows) => return Ok(rows),
            Err(failure) if failure.session_survives() && attempt < ATTEMPTS && is_race(&failure) => {
                tracing::debug!(%failure, attempt, "an object was dropped while definitions were being read");
                tokio::time::sleep(Duration::from_millis(20)).await;
                attempt += 1;
            }
            Err(failure) => return Err(failure.into()),
        }
    }
}

/// `cache lookup failed for index 16393`, `could not open relation with OID 16393`, or an undefined object.
fn is_race(failure: &QueryFailure) -> bool {
    let is_class = |class: &str| failure.sqlstate.as_deref().is_some_and(|state| state.starts_with(class));
    is_class("XX000") || is_class("42") || is_class("3F")
}

async fn major_version(session: &Session) -> Result<u32> {
    let row = session.row("select current_setting('server_version_num')::int4 / 10000", &[]).await?;
    Ok(u32::try_from(row.get::<_, i32>(0)).unwrap_or_default())
}

fn digests_of_rows(rows: &[tokio_postgres::Row]) -> Result<Definitions> {
    let mut all = Definitions::new();
    for row in rows {
        let digest = Digest::try_from(row.get::<_, String>(2))
            .map_err(|error| Error::outside("a digest is not hexadecimal").caused_by(error))?;
        all.entry(row.get(0)).or_default().insert(row.get::<_, RawText>(1).into_string(), digest);
    }
    Ok(all)
}

/// A query for the texts of the definitions of some kinds: kind, name, text.
pub(super) async fn texts_sql(session: &Session, kinds: &[&str]) -> Result<String> {
    let parts = expand_functions(&parts_sql(major_version(session).await?), plain_body_sql);
    let kinds: Vec<String> = kinds.iter().map(|kind| crate::postgres::quote_literal(kind)).collect();
    Ok(format!(
        "{parts} select kind, name, string_agg(coalesce(body, ''), e'\n' order by body) from definition
         where kind in ({}) group by kind, name",
        kinds.join(", ")
    ))
}

/// So many sequences are read by one statement.
const TOGETHER: usize = 100;

/// Reads where the sequences of a database stand, outside of a transaction. One that we may not read stands nowhere.
///
/// They are read as the relations that they are: `pg_sequences` would lock each until the end of the transaction.
pub(super) async fn read_sequences(session: &Session) -> Result<Sequences> {
    let listed = session
        .rows(
            "select format('%I.%I', n.nspname, c.relname), s.seqincrement, s.seqcache,
                    has_schema_privilege(n.oid, 'usage') and has_sequence_privilege(c.oid, 'select')
             from pg_sequence s join pg_class c on c.oid = s.seqrelid join pg_namespace n on n.oid = c.relnamespace
             where n.nspname !~ '^pg_' and c.relpersistence = 'p' order by 1",
            &[],
        )
        .await?;
    let mut all: Sequences = listed
        .iter()
        .map(|row| {
            let state = SequenceState { last_value: None, increment: row.get(1), cache: Some(row.get(2)) };
            (row.get::<_, RawText>(0).into_string(), state)
        })
        .collect();
    let readable: Vec<String> = listed
        .iter()
        .filter(|row| row.get::<_, Option<bool>>(3) == Some(true))
        .map(|row| row.get::<_, RawText>(0))
        .filter(RawText::is_utf8)
        .map(RawText::into_string)
        .collect();
    for group in readable.chunks(TOGETHER) {
        let stands = |position: usize, name: &String| {
            format!("select {position}, last_value, is_called::text from {name}")
        };
        let sql = |names: &[String]| {
            let parts: Vec<String> = names.iter().enumerate().map(|(at, name)| stands(at, name)).collect();
            parts.join(" union all ")
        };
        let mut groups = vec![group];
        while let Some(group) = groups.pop() {
            match session.texts(&sql(group)).await {
                Ok(rows) => {
                    for row in rows {
                        let text = |column: usize| row.get(column).and_then(Option::as_deref);
                        let at = text(0).and_then(|text| text.parse::<usize>().ok());
                        let value = text(1).and_then(|text| text.parse::<i64>().ok());
                        let name = at.and_then(|at| group.get(at));
                        if let Some(state) = name.and_then(|name| all.get_mut(name)) {
                            // One that has handed out nothing yet stands a step before what comes next.
                            let step = if text(2) == Some("true") { 0 } else { state.increment };
                            state.last_value = value.map(|value| value.saturating_sub(step));
                        }
                    }
                }
                // One of them was dropped in between: each is read alone, without that one.
                Err(failure) if failure.session_survives() => {
                    if group.len() > 1 {
                        groups.extend(group.chunks(1));
                    } else {
                        all.remove(&group[0]);
                    }
                }
                Err(failure) => return Err(failure.into()),
            }
        }
    }
    Ok(all)
}
