//! The fingerprint of a table's content: one number that every row contributes to, computed in the server in the
//! pass that counts the rows.
//!
//! Each column of a row is hashed with a seed of its own, the hashes are combined, *finalised by one more hash*, and
//! summed over the rows. PostgreSQL's own hash of 64-bit values folds their halves together first (1 and 4294967296
//! have one hash), so the halves are hashed apart, and what has eight bytes otherwise by its wire form. Without the last hash a swap of two values between rows could go unseen, since sums and
//! record hashes are linear; with a seed per column a value that moves to another column does not. Seeds come from
//! the columns' names, since a dump may restore columns in another order. Rows may come in any order, and the same
//! content gives the same number in every PostgreSQL from 14 on.
//!
//! Where the hash of a type calls different stored values equal (`1.0` and `1.00`, `-0` and `0`), or depends on the
//! cluster (enums and composites hash their object ids), or does not exist (json, xml, geometric types), the text
//! form is hashed, under settings that [`SETTINGS`] fixes. That of users' own types comes from their output function
//! and never from a cast, which may be anybody's code.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Version of the recipe: fingerprints of different versions cannot be compared.
pub(crate) const RECIPE: u32 = 3;

/// Settings on which the text form of values depends, for every session that takes fingerprints.
pub(crate) const SETTINGS: &str = "set timezone = 'UTC'; set datestyle = 'ISO, YMD'; set intervalstyle = 'postgres'; \
                            set bytea_output = 'hex'; set extra_float_digits = 1; set lc_monetary = 'C'; \
                            set xmloption = 'content'";

/// A column, as far as its hash depends on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Column {
    pub name: String,
    /// Name of its type in `pg_catalog`, domains resolved; `None` for types of other schemas, arrays, enums and so on.
    pub built_in_type: Option<String>,
}

impl Column {
    /// Whether its values are XML, which PostgreSQL keeps with a declaration (`<?xml version="1.0"?>`) and writes without.
    pub(super) fn is_xml(&self) -> bool {
        self.built_in_type.as_deref() == Some("xml")
    }

    /// The same column, known by what its output function writes.
    pub(super) fn as_written(&self) -> Column {
        Column { name: self.name.clone(), built_in_type: None }
    }
}

/// A column as it is hashed: where its values stand, and by what they are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hashed {
    /// Its name in the table that is read.
    pub name: String,
    /// The name that its hash is seeded with, which is the same on both sides of a comparison.
    pub seed: String,
    /// What of its values is hashed.
    pub form: Form,
}

/// What of a column's values is hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The value, by the hash of this type of `pg_catalog`.
    BuiltIn(String),
    /// The text that its output function writes.
    Text,
    /// The object ids in an array of names of objects (`regclass[]`), which may have been renamed.
    ObjectIds,
    /// The label of an enum, by its old name where it was renamed: `(new, old)`.
    Labels(Vec<(String, String)>),
}

impl From<&Column> for Hashed {
    fn from(column: &Column) -> Self {
        let form = column.built_in_type.clone().map_or(Form::Text, Form::BuiltIn);
        Hashed { name: column.name.clone(), seed: column.name.clone(), form }
    }
}

/// The SQL expression for the hash of one row, an `int8`.
pub(crate) fn row_hash<'a>(columns: impl IntoIterator<Item = &'a Column>) -> String {
    hash_of_row(&columns.into_iter().map(Hashed::from).collect::<Vec<_>>())
}

/// The same of columns that are hashed in a form of their own.
pub(crate) fn hash_of_row(columns: &[Hashed]) -> String {
    let hashes: Vec<String> = columns.iter().map(Hashed::hash).collect();
    // As text, since the hash of an int8 is one of 32 bits.
    format!("hashtextextended({}::text collate \"C\", 0)", combine_hashes(&hashes))
}

/// Exclusive or, as a balanced tree: a chain over 1,600 columns would exhaust the parser's stack.
fn combine_hashes(hashes: &[String]) -> String {
    match hashes {
        [] => "0::int8".to_owned(),
        [one] => one.clone(),
        many => {
            let (left, right) = many.split_at(many.len() / 2);
            format!("({} # {})", combine_hashes(left), combine_hashes(right))
        }
    }
}

impl Hashed {
    /// The SQL expression for the hash of the column's value, an `int8`.
    pub(crate) fn hash(&self) -> String {
        let name = crate::postgres::quote_identifier(&self.name);
        let seed = format!("'{}'::int8", number_of(&self.seed, "seed"));
        let kind = match &self.form {
            Form::BuiltIn(kind) => Some(kind.as_str()),
            Form::Text | Form::ObjectIds | Form::Labels(_) => None,
        };
        let hash = match kind {
            Some("bool") => format!("hashint4extended({name}::bool::int4, {seed})"),
            Some("int2") => format!("hashint2extended({name}::int2, {seed})"),
            Some("int4") => format!("hashint4extended({name}::int4, {seed})"),
            Some("int8") => {
                let other_seed = format!("'{}'::int8", number_of(&self.seed, "other half"));
                format!(
                    "(hashint4extended(({name}::int8 >> 32)::int4, {seed}) # \
                     hashint4extended((({name}::int8 << 32) >> 32)::int4, {other_seed}))"
                )
            }
            Some("oid") => format!("hashoidextended({name}::oid, {seed})"),
            Some("uuid") => format!("uuid_hash_extended({name}::uuid, {seed})"),
            // These have no hash function that SQL can call in every version, but their record has. NULL is 0 there.
            Some(kind @ ("date" | "bytea" | "inet" | "cidr" | "macaddr" | "macaddr8")) => {
                return format!("hash_record_extended(row({name}::{kind}), {seed})");
            }
            Some(kind @ ("time" | "timetz" | "timestamp" | "timestamptz" | "pg_lsn")) => {
                return format!("hash_record_extended(row({kind}_send({name}::{kind})), {seed})");
            }
            _ => format!("hashtextextended({} collate \"C\", {seed})", self.text()),
        };
        // Not even NOT NULL is to be relied on: PostgreSQL 18 has constraints that are not valid.
        format!("coalesce({hash}, '{}'::int8)", number_of(&self.seed, "null"))
    }

    /// The SQL expression for the text of the column's value as its output function writes it.
    pub(crate) fn text(&self) -> String {
        let name = crate::postgres::quote_identifier(&self.name);
        // The cast of `character` leaves its blanks out, and one of users' own types may be anybody's code.
        let written = format!("case when num_nulls({name}) = 0 then concat({name}) end");
        match &self.form {
            Form::BuiltIn(kind) if kind != "bpchar" => format!("{name}::text"),
            Form::BuiltIn(_) | Form::Text => written,
            Form::ObjectIds => format!("{name}::oid[]::text"),
            Form::Labels(renamed) => {
                let literal = |label: &str| crate::postgres::quote_literal(label);
                let cases: Vec<String> = renamed
                    .iter()
                    .map(|(new, old)| format!("when {} then {}", literal(new), literal(old)))
                    .collect();
                format!("case {written} {} else {written} end", cases.join(" "))
            }
        }
    }
}

/// A number that stands for a column in one of its parts, and for no other.
fn number_of(column: &str, part: &str) -> i64 {
    let digest = Sha256::new().chain_update(part).chain_update([0]).chain_update(column).finalize();
    let (start, _) = digest.as_slice().split_first_chunk().expect("a SHA-256 has 32 bytes");
    i64::from_be_bytes(*start)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, built_in_type: Option<&str>) -> Column {
        Column { name: name.into(), built_in_type: built_in_type.map(Into::into) }
    }

    #[test]
    fn the_recipe_is_what_version_3_says() {
        let columns = [
            column("id", Some("int4")),
            column("Na\"me", Some("text")),
            column("at", Some("timestamptz")),
            column("big", Some("int8")),
            column("mood", None),
        ];
        assert_eq!(
            row_hash(&columns),
            "hashtextextended(((coalesce(hashint4extended(\"id\"::int4, '1223326041390210585'::int8), \
             '-2010781151229798046'::int8) # coalesce(hashtextextended(\"Na\"\"me\"::text collate \
             \"C\", '3386831257302061975'::int8), '8134948049947841944'::int8)) # \
             (hash_record_extended(row(timestamptz_send(\"at\"::timestamptz)), \
             '5788404585619212431'::int8) # (coalesce((hashint4extended((\"big\"::int8 >> 32)::int4, \
             '-1191958572422050237'::int8) # hashint4extended(((\"big\"::int8 << 32) >> 32)::int4, \
             '1453107606028572866'::int8)), '-8806568840266275255'::int8) # \
             coalesce(hashtextextended(case when num_nulls(\"mood\") = 0 then concat(\"mood\") end \
             collate \"C\", '1882102308694216748'::int8), '7265700346698911338'::int8))))::text collate \
             \"C\", 0)"
        );
        assert_eq!(row_hash(&[]), "hashtextextended(0::int8::text collate \"C\", 0)");
    }

    #[test]
    fn no_two_columns_share_a_number() {
        let numbers = |part: &'static str| (1..=1600).map(move |n| number_of(&format!("c{n}"), part));
        let all: std::collections::BTreeSet<i64> =
            numbers("seed").chain(numbers("null")).chain(numbers("other half")).collect();
        assert_eq!(all.len(), 4800);
    }
}
