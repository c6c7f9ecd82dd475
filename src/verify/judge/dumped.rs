//! What a dump and its restore leave otherwise, and what of it is no fault. Pure.
//!
//! What pg_dump cannot carry, what PostgreSQL names or computes by itself, and what belongs to a server and not to a database
//! cannot be the same in a copy made with a dump. It becomes a note that says what differs and why.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Observation;
use crate::verify::observation::{Carried, Table};
use crate::verify::schema::Definitions;
use crate::verify::schema::dumped::{DUMPED, UNDUMPED};

/// A difference that counts against neither side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Note {
    pub database: String,
    /// `index`, `table`, …
    pub kind: String,
    /// Qualified name.
    pub name: String,
    /// What is otherwise, and why.
    pub reason: String,
}

impl Note {
    /// For people.
    pub(crate) fn sentence(&self) -> String {
        format!("{} `{}`: {}", self.kind, self.name, self.reason)
    }
}

/// Kinds by which definitions name what does not come back as it is.
const KINDS: [&str; 7] =
    ["foreign data wrapper", "constraint", "extension", "sequence", "operator", "rights", "index"];

/// An event trigger that runs when somebody logs in.
pub(super) const LOGIN_TRIGGER: &str = "login trigger";

/// A definition that a dump does not bring back as it is.
struct Undumped<'a> {
    why: &'a str,
    kind: &'static str,
    name: &'a str,
}

fn list_undumped(definitions: &Definitions) -> impl Iterator<Item = Undumped<'_>> {
    let marked = definitions.iter().filter_map(|(kind, named)| Some((kind.strip_prefix(UNDUMPED)?, named)));
    marked.flat_map(|(why, named)| {
        named.keys().filter_map(move |marked| {
            let kind = KINDS.into_iter().find(|kind| marked.starts_with(&format!("{kind} ")))?;
            Some(Undumped { why, kind, name: &marked[kind.len() + 1..] })
        })
    })
}

/// Whether a kind says something of other definitions, and is none by itself.
pub(super) fn is_about_others(kind: &str) -> bool {
    kind.starts_with(UNDUMPED) || kind.starts_with(DUMPED) || kind == LOGIN_TRIGGER
}

/// The definitions that a dump of a database brings across.
fn as_dumped(definitions: &Definitions) -> Definitions {
    let mut all = definitions.clone();
    for Undumped { why, kind, name } in list_undumped(definitions) {
        if why != "position"
            && let Some(named) = all.get_mut(kind)
        {
            named.remove(name);
        }
    }
    for (kind, named) in definitions {
        if let Some(kind) = kind.strip_prefix(DUMPED) {
            let of_kind = all.entry(kind.to_owned()).or_default();
            of_kind.extend(named.iter().map(|(name, digest)| (name.clone(), *digest)));
        }
    }
    all
}

/// The definitions of an observation as a dump brings them across, where the database on the other side is no physical copy.
pub(super) fn definitions_as_dumped(seen: &Observation, other: &Observation) -> Observation {
    let definitions = seen.definitions.iter().map(|(database, definitions)| {
        let definitions = match seen.is_same_database(other, database) {
            true => definitions.clone(),
            false => as_dumped(definitions),
        };
        (database.clone(), definitions)
    });
    Observation {
        definitions: definitions.collect(),
        definitions_recipe: seen.definitions_recipe,
        database_oids: seen.database_oids.clone(),
        system_identifier: seen.system_identifier,
        server_version: seen.server_version,
        ..Observation::default()
    }
}

/// Sequences whose positions no dump carries: those that belong to extensions, which did not ask for it.
pub(super) fn has_undumped_position(definitions: &Definitions, sequence: &str) -> bool {
    definitions
        .get("undumped: position")
        .is_some_and(|named| named.contains_key(&format!("sequence {sequence}")))
}

/// Names of the event triggers that run when somebody logs in.
pub(super) fn login_triggers(definitions: &Definitions) -> Vec<&str> {
    definitions.get(LOGIN_TRIGGER).into_iter().flat_map(BTreeMap::keys).map(String::as_str).collect()
}

/// What of two databases differs because no dump carries it.
pub(super) fn notes_on_definitions(database: &str, left: &Definitions, right: &Definitions) -> Vec<Note> {
    let mut notes = Vec::new();
    for (side, other_side, of, other) in [("left", "right", left, right), ("right", "left", right, left)] {
        for Undumped { why, kind, name } in list_undumped(of) {
            let get = |definitions: &Definitions, kind: &str, name: &str| {
                definitions.get(kind).and_then(|named| named.get(name)).copied()
            };
            let marked = format!("{kind} {name}");
            let reason = match why {
                "invalid" if get(other, kind, name).is_none() => {
                    format!("it is invalid on the {side}, and pg_dump leaves invalid indexes out")
                }
                "shell" if get(other, kind, name).is_none() => {
                    format!("on the {side} it is a shell operator, to which only other operators refer")
                }
                "grantor" if get(left, kind, name) != get(right, kind, name) => {
                    "they were granted by other roles than on the other side: a restore grants them again, as a role that may".to_owned()
                }
                "derived" if get(other, kind, name).is_none() => format!(
                    "it has a different name on the {other_side}: PostgreSQL chooses the names of the foreign keys that partitions inherit"
                ),
                "switched" if get(other, &format!("{UNDUMPED}{why}"), &marked).is_none() => format!(
                    "its triggers are disabled on the {side}, which a dump does not record: on the {other_side} they are enabled"
                ),
                "version" if side == "left" => {
                    let of = |definitions: &Definitions| get(definitions, "undumped: version", &marked);
                    match (of(left), of(right)) {
                        (Some(left), Some(right)) if left != right => {
                            "its version differs on the right: a restore installs the server's default version".to_owned()
                        }
                        _ => continue,
                    }
                }
                _ => continue,
            };
            notes.push(Note {
                database: database.to_owned(),
                kind: kind.to_owned(),
                name: name.to_owned(),
                reason,
            });
        }
    }
    notes
}

/// What of a database no dump carries, as far as its definitions tell.
pub(crate) fn notes_on_dumps(definitions: &Definitions) -> Vec<String> {
    let told = |Undumped { why, kind, name }: Undumped<'_>| match why {
        "invalid" => Some(format!("{kind} `{name}` is invalid: pg_dump leaves it out")),
        "switched" => {
            Some(format!("the triggers of {kind} `{name}` are disabled: after a restore they are enabled"))
        }
        _ => None,
    };
    list_undumped(definitions).filter_map(told).collect()
}

/// Whether what a dump carries of a table is the same on both sides, and why the rest of it may be otherwise; `None` where
/// a dump carries all of it, or it is not known what it carries.
pub(super) fn rest_of_rows(left: &Table, right: &Table) -> Option<String> {
    let (left, right) = (left.carried.as_ref()?, right.carried.as_ref()?);
    if left.kind() != right.kind() {
        return None;
    }
    let are_known = !matches!(left, Carried::Nothing { .. });
    if are_known && (left.portion_seen() != right.portion_seen() || left.portion_seen().is_none()) {
        return None;
    }
    Some(match right {
        Carried::Columns { computed, .. } if computed.is_empty() => {
            "a dump omits the XML declaration; the rest is identical".to_owned()
        }
        Carried::Columns { computed, .. } => format!(
            "generated columns ({}) have different values: a restore recomputes them with the functions as they are now",
            computed.join(", ")
        ),
        Carried::LargeObjects { .. } => {
            "the content is identical: zeros that were never written take pages only after a restore"
                .to_owned()
        }
        Carried::Condition { extension, .. } => format!(
            "extension `{extension}` creates its own rows; those that it lets pg_dump include are identical"
        ),
        Carried::Nothing { extension } => format!(
            "it belongs to extension `{extension}`, which creates its rows and lets pg_dump include none of them"
        ),
    })
}
