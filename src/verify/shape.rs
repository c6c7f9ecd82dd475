//! How the columns of a table and of its physical copy can be compared although the source has been migrated since.
//!
//! A physical copy has the same object ids, so columns are paired by their numbers, whatever they are called now. Values
//! are compared in a form that migrations leave alone: names of objects by their ids, renamed labels of an enum by their
//! old names. What has no such form is left out, and said to be.

use std::collections::BTreeMap;

use super::fingerprint::{Form, Hashed};
use super::observe::Table;
use super::row_differences::{Common, Compared};
use crate::error::Result;
use crate::postgres::Session;

/// A column, by what it is rather than by what it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Column {
    number: i16,
    name: String,
    type_oid: u32,
}

/// A type, as far as the text of its values depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Type {
    name: String,
    is_built_in: bool,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Base,
    /// Labels by object id.
    Enum(BTreeMap<u32, String>),
    Domain(u32),
    Array(u32),
    Range(u32),
    /// Types of the attributes, by number.
    Composite(BTreeMap<i16, u32>),
}

/// Columns and types of one database.
#[derive(Clone, Debug, Default)]
pub(super) struct Shapes {
    columns: BTreeMap<u32, Vec<Column>>,
    /// How many columns a table has ever had.
    numbers: BTreeMap<u32, i16>,
    types: BTreeMap<u32, Type>,
}

/// The first object id that is not PostgreSQL's own.
const FIRST_OF_USERS: u32 = 16_384;

impl Shapes {
    /// Reads the columns of some tables, and the types of the database.
    pub(super) async fn read(session: &Session, tables: &[u32]) -> Result<Self> {
        let mut shapes = Shapes::default();
        let columns = session
            .rows(
                "select attrelid, attnum, attname::text, atttypid from pg_attribute
                 where attrelid = any ($1) and attnum > 0 and not attisdropped order by attnum",
                &[&tables],
            )
            .await?;
        for row in &columns {
            let column = Column { number: row.get(1), name: row.get(2), type_oid: row.get(3) };
            shapes.columns.entry(row.get(0)).or_default().push(column);
        }
        let numbers =
            session.rows("select oid, relnatts from pg_class where oid = any ($1)", &[&tables]).await?;
        shapes.numbers = numbers.iter().map(|row| (row.get(0), row.get(1))).collect();
        let types = session
            .rows(
                "select t.oid, t.typname::text, t.typnamespace = 'pg_catalog'::regnamespace, t.typtype::text,
                        t.typbasetype, case when t.typcategory = 'A' and t.typlen = -1 then t.typelem else 0 end,
                        coalesce(r.rngsubtype, m.rngsubtype, 0),
                        array(select l.oid from pg_enum l where l.enumtypid = t.oid order by l.oid),
                        array(select l.enumlabel::text from pg_enum l where l.enumtypid = t.oid order by l.oid),
                        array(select a.attnum from pg_attribute a where a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped order by a.attnum),
                        array(select a.atttypid from pg_attribute a where a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped order by a.attnum)
                 from pg_type t left join pg_range r on r.rngtypid = t.oid left join pg_range m on m.rngmultitypid = t.oid
                 where t.typrelid = 0 or t.typrelid >= 16384",
                &[],
            )
            .await?;
        for row in &types {
            shapes.types.insert(row.get(0), Type::of(row));
        }
        Ok(shapes)
    }

    /// What is below domains.
    fn base_of(&self, oid: u32) -> u32 {
        match self.types.get(&oid).map(|of| &of.kind) {
            Some(Kind::Domain(base)) => self.base_of(*base),
            _ => oid,
        }
    }

    fn built_in_name(&self, oid: u32) -> Option<&str> {
        self.types.get(&oid).filter(|of| of.is_built_in && of.kind == Kind::Base).map(|of| of.name.as_str())
    }
}

impl Type {
    fn of(row: &tokio_postgres::Row) -> Self {
        let (typtype, base, element, subtype): (String, u32, u32, u32) =
            (row.get(3), row.get(4), row.get(5), row.get(6));
        let kind = match typtype.as_str() {
            "e" => {
                let (oids, labels): (Vec<u32>, Vec<String>) = (row.get(7), row.get(8));
                Kind::Enum(oids.into_iter().zip(labels).collect())
            }
            "d" => Kind::Domain(base),
            "c" => {
                let (numbers, types): (Vec<i16>, Vec<u32>) = (row.get(9), row.get(10));
                Kind::Composite(numbers.into_iter().zip(types).collect())
            }
            "r" | "m" => Kind::Range(subtype),
            _ if element != 0 => Kind::Array(element),
            _ => Kind::Base,
        };
        Type { name: row.get(1), is_built_in: row.get(2), kind }
    }
}

/// Names of objects, which values of these types are written as, may have been changed since.
const NAMES_OF_OBJECTS: [&str; 11] = [
    "regclass",
    "regcollation",
    "regconfig",
    "regdictionary",
    "regnamespace",
    "regoper",
    "regoperator",
    "regproc",
    "regprocedure",
    "regrole",
    "regtype",
];

/// How the columns of a table and its copy are compared.
pub(super) struct Paired {
    /// Those that both have.
    pub(super) common: Common,
    /// Names of those that cannot be compared.
    pub(super) left_out: Vec<String>,
    /// Names of those that were there before the moment and are not in the copy, or were added in the copy: numbers are
    /// never given twice.
    pub(super) lost: Vec<String>,
}

/// Pairs the columns of a table with those of its copy.
pub(super) fn pair_columns((source, table): (&Shapes, &Table), (copy, copied): (&Shapes, &Table)) -> Paired {
    let none = Vec::new();
    let ours = source.columns.get(&table.oid).unwrap_or(&none);
    let theirs = copy.columns.get(&copied.oid).unwrap_or(&none);
    let is_same_table = table.oid == copied.oid;
    let (mut pairs, mut left_out): (Vec<(&Column, Hashed, Hashed)>, Vec<String>) = (Vec::new(), Vec::new());
    let mut lost = Vec::new();
    for column in ours {
        let is_counterpart = |other: &&Column| match is_same_table {
            true => other.number == column.number,
            false => other.name == column.name,
        };
        let Some(other) = theirs.iter().find(is_counterpart) else {
            if is_same_table && copy.numbers.get(&copied.oid).is_some_and(|last| column.number <= *last) {
                lost.push(column.name.clone());
            }
            continue;
        };
        match common_forms(source, column.type_oid, copy, other.type_oid) {
            Some((ours, theirs)) => {
                let seed = &other.name;
                let hashed = |name: &str, form| Hashed { name: name.to_owned(), seed: seed.clone(), form };
                pairs.push((column, hashed(&column.name, ours), hashed(&other.name, theirs)));
            }
            None => left_out.push(column.name.clone()),
        }
    }
    if is_same_table && let Some(last) = source.numbers.get(&table.oid) {
        lost.extend(theirs.iter().filter(|column| column.number > *last).map(|column| column.name.clone()));
    }
    // The copy's key, unless the source no longer has its columns: a key that was added since is none in the copy.
    let key_names = names_of_key(copied);
    let key: Vec<(Hashed, Hashed)> = key_names
        .iter()
        .filter_map(|name| pairs.iter().find(|(_, _, theirs)| theirs.name == **name))
        .map(|(_, ours, theirs)| (ours.clone(), theirs.clone()))
        .collect();
    // In the source it must still be one: else one key may stand for many rows.
    let names = names_of_key(table);
    let is_key_of_source = !table.key.is_empty()
        && names.len() == key.len()
        && key.iter().all(|(ours, _)| names.contains(&ours.name.as_str()));
    let key = if key.len() == key_names.len() && is_key_of_source { key } else { Vec::new() };
    let (left_key, right_key) = key.into_iter().unzip();
    let (left, right) = pairs.into_iter().map(|(_, ours, theirs)| (ours, theirs)).unzip();
    let common = Common {
        left: Compared { columns: left, key: left_key },
        right: Compared { columns: right, key: right_key },
    };
    Paired { common, left_out, lost }
}

fn names_of_key(table: &Table) -> Vec<&str> {
    let columns = table.key.iter().filter_map(|at| table.columns.get(*at));
    columns.map(|column| column.name.as_str()).collect()
}

/// In which form values of the two types can be compared.
fn common_forms(source: &Shapes, ours: u32, copy: &Shapes, theirs: u32) -> Option<(Form, Form)> {
    let (ours, theirs) = (source.base_of(ours), copy.base_of(theirs));
    let both = |form: Form| Some((form.clone(), form));
    match (source.built_in_name(ours), copy.built_in_name(theirs)) {
        (Some(name), Some(other)) if name == other => both(if NAMES_OF_OBJECTS.contains(&name) {
            Form::BuiltIn("oid".to_owned())
        } else {
            Form::BuiltIn(name.to_owned())
        }),
        // Changed without rewriting the rows: the same bytes under another type.
        (Some("inet" | "cidr"), Some("inet" | "cidr")) => both(Form::BuiltIn("inet".to_owned())),
        (Some(name @ ("timestamp" | "timestamptz")), Some(other @ ("timestamp" | "timestamptz"))) => {
            Some((Form::BuiltIn(name.to_owned()), Form::BuiltIn(other.to_owned())))
        }
        (Some(name), Some(other)) if is_name_or_id(name) && is_name_or_id(other) => {
            both(Form::BuiltIn("oid".to_owned()))
        }
        (Some(name), Some(other)) => Some((Form::BuiltIn(name.to_owned()), Form::BuiltIn(other.to_owned())))
            .filter(|_| is_text(name) && is_text(other))
            .map(|_| (Form::Text, Form::Text)),
        _ if ours != theirs => None,
        _ => forms_of_one_type(source, copy, ours),
    }
}

fn is_name_or_id(name: &str) -> bool {
    name == "oid" || NAMES_OF_OBJECTS.contains(&name)
}

/// Types whose values stand in rows as the same bytes, so that one can be altered to the other without a rewrite.
fn is_text(name: &str) -> bool {
    matches!(name, "text" | "varchar" | "xml" | "json" | "name" | "bit" | "varbit")
}

fn forms_of_one_type(source: &Shapes, copy: &Shapes, oid: u32) -> Option<(Form, Form)> {
    let (ours, theirs) = (source.types.get(&oid)?, copy.types.get(&oid)?);
    match (&ours.kind, &theirs.kind) {
        (Kind::Enum(now), Kind::Enum(then)) => {
            let renamed = then.iter().filter_map(|(oid, old)| {
                now.get(oid).filter(|new| *new != old).map(|new| (new.clone(), old.clone()))
            });
            let renamed: Vec<(String, String)> = renamed.collect();
            Some(if renamed.is_empty() {
                (Form::Text, Form::Text)
            } else {
                (Form::Labels(renamed), Form::Text)
            })
        }
        (Kind::Array(element), Kind::Array(_))
            if source.built_in_name(*element).is_some_and(is_name_or_id) =>
        {
            Some((Form::ObjectIds, Form::ObjectIds))
        }
        _ => is_unchanged(source, copy, oid, 0).then_some((Form::Text, Form::Text)),
    }
}

/// Whether values of a type are written as they were.
fn is_unchanged(source: &Shapes, copy: &Shapes, oid: u32, depth: usize) -> bool {
    const DEEPEST: usize = 32;
    if source.built_in_name(oid).is_some_and(|name| NAMES_OF_OBJECTS.contains(&name)) || depth > DEEPEST {
        return false;
    }
    if oid < FIRST_OF_USERS && !matches!(source.types.get(&oid).map(|of| &of.kind), Some(Kind::Array(_))) {
        return true;
    }
    let (Some(ours), Some(theirs)) = (source.types.get(&oid), copy.types.get(&oid)) else { return false };
    let same = |inner: &u32| is_unchanged(source, copy, *inner, depth + 1);
    match (&ours.kind, &theirs.kind) {
        (Kind::Base, Kind::Base) => true,
        // A label that was added since stands in no row of then.
        (Kind::Enum(now), Kind::Enum(then)) => then.iter().all(|(oid, label)| now.get(oid) == Some(label)),
        (Kind::Domain(now), Kind::Domain(then))
        | (Kind::Array(now), Kind::Array(then))
        | (Kind::Range(now), Kind::Range(then)) => now == then && same(now),
        (Kind::Composite(now), Kind::Composite(then)) => now == then && now.values().all(same),
        _ => false,
    }
}
