//! Whether a copy has the definitions and sequences of its source. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Observation, Word};
use crate::verify::schema::{Definitions, Digest, SequenceState, Sequences};

/// A definition or a sequence of the copy that is not what it ought to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefinitionVerdict {
    /// Database.
    pub database: String,
    /// `index`, `function`, `constraint`, …
    pub kind: String,
    /// Qualified name.
    pub name: String,
    /// How it is not.
    pub verdict: Word,
    /// Why.
    pub reason: String,
}

/// Whether a definition is only missing because the relation is missing that it says something about.
fn follows(kind: &str, name: &str, there: &Definitions) -> bool {
    matches!(kind, "owner" | "rights" | "storage")
        && get(there, "columns", name).is_none()
        && get(there, "sequence", name).is_none()
}

fn each(definitions: &Definitions) -> impl Iterator<Item = (&str, &str, Digest)> {
    definitions.iter().flat_map(|(kind, named)| {
        named.iter().map(move |(name, digest)| (kind.as_str(), name.as_str(), *digest))
    })
}

fn get(definitions: &Definitions, kind: &str, name: &str) -> Option<Digest> {
    definitions.get(kind)?.get(name).copied()
}

/// What in a copy of the very moment is defined otherwise than in its source. `later`: the source's definitions
/// after that moment; what was changed meanwhile may stand in the copy either way. Databases that are not on both
/// sides are left out: that they are missing is said elsewhere.
pub(super) fn differences(
    expected: &Observation,
    later: &BTreeMap<String, Definitions>,
    observed: &Observation,
) -> Vec<DefinitionVerdict> {
    let mut found = Vec::new();
    for (database, definitions) in &expected.definitions {
        let (Some(later), Some(copies)) = (later.get(database), observed.definitions.get(database)) else {
            continue;
        };
        let mut add = |kind: &str, name: &str, verdict, reason: &str| {
            found.push(DefinitionVerdict {
                database: database.clone(),
                kind: kind.to_owned(),
                name: name.to_owned(),
                verdict,
                reason: reason.to_owned(),
            });
        };
        for (kind, name, digest) in each(definitions) {
            if get(later, kind, name) != Some(digest) {
                continue;
            }
            match get(copies, kind, name) {
                None if follows(kind, name, copies) => {}
                None => add(kind, name, Word::Missing, "it is not in the copy"),
                Some(copy) if copy != digest => {
                    add(kind, name, Word::Differs, "its definition is another one in the copy");
                }
                Some(_) => {}
            }
        }
        // In a database in which things come and go, some were made and dropped between the two looks.
        let names = |(kind, name, _)| (kind, name);
        if !each(definitions).map(names).eq(each(later).map(names)) {
            continue;
        }
        for (kind, name, _) in each(copies) {
            if get(definitions, kind, name).is_none() && !follows(kind, name, definitions) {
                add(kind, name, Word::Unexpected, "it was not in the source");
            }
        }
    }
    found
}

/// Sequences that stand further back in the copy than they stood in the source *before* the moment: sequences are
/// not part of transactions, so only a look from before bounds them. Copies may stand ahead, since PostgreSQL logs
/// 32 values in advance. `after`: a later look, for sequences that the source itself has set back.
pub(super) fn sequences_set_back(
    database: &str,
    before: &Sequences,
    after: Option<&Sequences>,
    copies: &Sequences,
) -> Vec<DefinitionVerdict> {
    let is_behind =
        |state: &SequenceState, reference: &SequenceState| match (state.last_value, reference.last_value) {
            (Some(value), Some(reference)) if state.increment.is_positive() => value < reference,
            (Some(value), Some(reference)) => value > reference,
            (None, _) | (_, None) => false,
        };
    let verdict = |(name, state): (&String, &SequenceState)| {
        let copy = copies.get(name)?;
        let source_went_back =
            after.and_then(|after| after.get(name)).is_none_or(|after| is_behind(after, state));
        (is_behind(copy, state) && !source_went_back).then(|| DefinitionVerdict {
            database: database.to_owned(),
            kind: "sequence".to_owned(),
            name: name.clone(),
            verdict: Word::Differs,
            reason: match (copy.last_value, state.last_value) {
                (Some(copy), Some(source)) => {
                    format!("it stands at {copy}, and stood at {source} in the source before")
                }
                _ => "it stands further back".to_owned(),
            },
        })
    };
    before.iter().filter_map(verdict).collect()
}

/// Sequences that could not be read on one side although both have them.
pub(super) fn unreadable_sequences(database: &str, left: &Sequences, right: &Sequences) -> Vec<String> {
    let is_unknown = |(name, state): &(&String, &SequenceState)| {
        right.get(*name).is_some_and(|other| state.last_value.is_none() || other.last_value.is_none())
    };
    let told = |(name, _)| {
        format!("sequence `{database}.{name}` could not be read: the user may not select from it")
    };
    left.iter().filter(is_unknown).map(told).collect()
}

/// Sequences that do not stand at the same value on both sides.
pub(super) fn sequences_apart(database: &str, left: &Sequences, right: &Sequences) -> Vec<DefinitionVerdict> {
    let told = |value: Option<i64>| value.map_or("?".to_owned(), |value| value.to_string());
    let verdict = |(name, state): (&String, &SequenceState)| {
        let other = right.get(name)?;
        let are_known = state.last_value.is_some() && other.last_value.is_some();
        (are_known && other.last_value != state.last_value).then(|| DefinitionVerdict {
            database: database.to_owned(),
            kind: "sequence".to_owned(),
            name: name.clone(),
            verdict: Word::Differs,
            reason: format!(
                "it stands at {} on the left and at {} on the right",
                told(state.last_value),
                told(other.last_value)
            ),
        })
    };
    left.iter().filter_map(verdict).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defined(entries: &[(&str, &str)]) -> BTreeMap<String, Definitions> {
        let definition = |(name, digest): &(&str, &str)| {
            ((*name).to_owned(), Digest::try_from((*digest).to_owned()).unwrap())
        };
        let indexes = entries.iter().map(definition).collect();
        BTreeMap::from([("app".to_owned(), Definitions::from([("index".to_owned(), indexes)]))])
    }

    #[test]
    fn each_way_to_differ_is_named_and_changes_of_the_source_are_not() {
        let seen = |definitions| Observation { definitions, ..Observation::default() };
        let words = |source, later, copy| -> Vec<(String, Word)> {
            let found = differences(&seen(defined(source)), &defined(later), &seen(defined(copy)));
            found.into_iter().map(|found| (found.name, found.verdict)).collect()
        };
        let source = [("same", "1"), ("other", "1"), ("gone", "1"), ("altered", "1")];
        let later = [("same", "1"), ("other", "1"), ("gone", "1"), ("altered", "2")];
        let copy = [("same", "1"), ("other", "2"), ("altered", "2"), ("new", "1")];
        let expected = [("gone", Word::Missing), ("other", Word::Differs), ("new", Word::Unexpected)];
        assert_eq!(words(&source, &later, &copy), expected.map(|(name, word)| (name.to_owned(), word)));
        assert_eq!(words(&[("dropped", "1")], &[("newer", "1")], &[("between", "1")]), []);
    }

    #[test]
    fn a_sequence_that_was_set_back_is_found_and_one_ahead_is_not() {
        let at = |last_value, increment| {
            Sequences::from([("s".to_owned(), SequenceState { last_value, increment })])
        };
        let judge = |before, after, copy| {
            sequences_set_back("app", &at(before, 1), Some(&at(after, 1)), &at(copy, 1)).len()
        };
        assert_eq!(judge(Some(50), Some(60), Some(49)), 1);
        assert_eq!(judge(Some(50), Some(60), None), 0, "that it cannot be read is said elsewhere");
        assert_eq!(judge(Some(50), Some(60), Some(82)), 0);
        assert_eq!(judge(Some(50), Some(1), Some(1)), 0, "the source itself set it back");
        assert_eq!(
            sequences_set_back("app", &at(Some(-5), -1), Some(&at(Some(-5), -1)), &at(Some(-4), -1)).len(),
            1
        );
    }
}
