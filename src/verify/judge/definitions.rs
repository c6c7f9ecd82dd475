//! Whether a copy has the definitions and sequences of its source. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::dumped::is_about_others;
use super::judgement::{DefinitionVerdict, Word};
use crate::verify::lineage::Horizon;
use crate::verify::observe::{Observation, Table};
use crate::verify::schema::{
    Definitions, Digest, SERVER_ROLE, SequenceState, Sequences, Touch, Touched, is_in_recipe, is_of_dumps,
    is_of_the_server,
};
/// Whether a definition is only missing because the relation is missing that it says something about.
fn follows_from_another(kind: &str, name: &str, there: &Definitions) -> bool {
    const KINDS: [&str; 6] =
        ["owner", "rights", "storage", "column options", "column order", "table options"];
    KINDS.contains(&kind)
        && ["columns", "sequence", "index"].iter().all(|kind| find_definition(there, kind, name).is_none())
}

fn each_definition(definitions: &Definitions) -> impl Iterator<Item = (&str, &str, Digest)> {
    definitions.iter().flat_map(|(kind, named)| {
        named.iter().map(move |(name, digest)| (kind.as_str(), name.as_str(), *digest))
    })
}

fn find_definition(definitions: &Definitions, kind: &str, name: &str) -> Option<Digest> {
    definitions.get(kind)?.get(name).copied()
}

/// How the definitions of a copy may have come to be what they are, where it is a physical copy: by what the source wrote
/// around that moment, or by what was written in the copy itself.
#[derive(Clone, Copy, Default)]
pub(super) struct Window<'a> {
    /// Every transaction before this one had ended at the first look.
    pub(super) since: u64,
    /// What was written to in the source between the two looks.
    pub(super) source: Option<&'a Touched>,
    /// What was written to in the copy since the first look at the source.
    pub(super) copy: Option<&'a Touched>,
    /// Up to which transaction the copy reaches.
    pub(super) horizon: Option<&'a Horizon>,
    /// Roles of the source were made, altered or dropped between the looks.
    pub(super) roles_were_written: bool,
}

/// Whose transaction it was that last wrote to a definition of the copy.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Writer {
    /// One that had ended by the first look.
    Earlier,
    /// The source's, after the first look and before the copy's moment.
    Source,
    /// Either side's.
    Either,
    /// One of the copy's own.
    Copy,
}

/// Evidence for a difference between a copy and its baseline.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Excuse {
    None,
    /// The source changed it around that moment.
    Source,
    /// Either the source or somebody in the copy did.
    Perhaps,
}

impl Window<'_> {
    fn touch<'t>(of: Option<&'t Touched>, kind: &str, name: &str) -> Option<&'t Touch> {
        of?.get(kind)?.get(name)
    }

    fn writer(&self, touch: Option<&Touch>) -> Writer {
        match (touch, self.horizon) {
            (None, _) => Writer::Earlier,
            (Some(_), None) => Writer::Either,
            (Some(touch), Some(horizon)) if touch.newest <= horizon.surely_before => Writer::Source,
            (Some(touch), Some(horizon)) if touch.newest <= horizon.maybe_before => Writer::Either,
            _ => Writer::Copy,
        }
    }

    /// Whether the source gave a table the name that it has in the copy, around that moment.
    pub(super) fn renamed(&self, copy: &Table) -> bool {
        let touched = self.copy.and_then(|touched| touched.get("columns"));
        let of_table = touched.and_then(|touched| touched.values().find(|touch| touch.oid == copy.oid));
        of_table.is_some() && self.writer(of_table) == Writer::Source
    }

    fn writer_in_copy(&self, kind: &str, name: &str) -> Writer {
        self.writer(Window::touch(self.copy, kind, name))
    }

    fn excuse_of_a_difference(&self, kind: &str, name: &str) -> Excuse {
        let is_touched = Window::touch(self.source, kind, name).is_some();
        match self.writer_in_copy(kind, name) {
            Writer::Copy => Excuse::None,
            Writer::Source => Excuse::Source,
            Writer::Earlier if is_touched => Excuse::Source,
            Writer::Either if is_touched => Excuse::Perhaps,
            Writer::Earlier | Writer::Either => self.excuse_of_a_role(kind),
        }
    }

    /// That the source wrote to what is missing says nothing: it must have made or renamed it around that moment.
    fn excuse_of_a_loss(&self, kind: &str, name: &str) -> Excuse {
        let Some(touch) = Window::touch(self.source, kind, name) else { return self.excuse_of_a_role(kind) };
        if touch.made.is_some_and(|made| made >= self.since) {
            return Excuse::Source;
        }
        let others = self.copy.and_then(|copy| copy.get(kind));
        let renamed = others.and_then(|others| {
            others.iter().find(|(other, found)| found.oid == touch.oid && other.as_str() != name)
        });
        match renamed.map(|(_, found)| self.writer(Some(found))) {
            Some(Writer::Source) => Excuse::Source,
            Some(Writer::Either) => Excuse::Perhaps,
            _ => Excuse::None,
        }
    }

    /// What was made in the copy itself is never excused, nor what may have been.
    fn excuse_of_an_addition(&self, kind: &str, name: &str) -> Excuse {
        match self.writer_in_copy(kind, name) {
            Writer::Source => Excuse::Source,
            Writer::Earlier => self.excuse_of_a_role(kind),
            Writer::Either | Writer::Copy => Excuse::None,
        }
    }

    /// Which transaction wrote a role, only superusers can see.
    fn excuse_of_a_role(&self, kind: &str) -> Excuse {
        if kind == SERVER_ROLE && self.roles_were_written { Excuse::Source } else { Excuse::None }
    }
}

/// What was found of the definitions of databases.
#[derive(Default)]
pub(super) struct Found {
    /// Not as expected.
    pub(super) differences: Vec<DefinitionVerdict>,
    /// Changed in the source around that moment, so that the copy may rightly hold them otherwise.
    pub(super) changed_around: Vec<String>,
    /// That, or changed in the copy.
    pub(super) doubts: Vec<String>,
}

impl Found {
    fn add(&mut self, found: DefinitionVerdict, excuse: Excuse) {
        let told = || format!("{} `{}.{}`", found.kind, found.database, found.name);
        match excuse {
            Excuse::None => self.differences.push(found),
            Excuse::Source => {
                self.changed_around.push(format!("{}: changed in the source around that moment", told()));
            }
            Excuse::Perhaps => self.doubts.push(format!(
                "{} is different in the copy: the source changed it around that moment, and it may have been changed in the copy as well",
                told()
            )),
        }
    }
}

/// Which definitions of two observations can be compared.
#[derive(Clone, Copy)]
struct Comparable {
    recipe: u32,
    is_physical: bool,
}

impl Comparable {
    fn has(self, kind: &str) -> bool {
        if is_about_others(kind) || self.is_physical && is_of_dumps(kind) {
            return false;
        }
        // Whom what belongs to extensions was not told apart before.
        if kind == "foreign data wrapper" && !self.is_physical && self.recipe < 3 {
            return false;
        }
        let is_replaced = kind == "role" && self.is_physical && is_in_recipe(SERVER_ROLE, self.recipe);
        is_in_recipe(kind, self.recipe) && (self.is_physical || !is_of_the_server(kind)) && !is_replaced
    }
}

/// Whether definitions of a kind are compared in a database of two observations.
pub(crate) fn compares_kind(left: &Observation, right: &Observation, database: &str, kind: &str) -> bool {
    let comparable = Comparable {
        recipe: left.definitions_recipe.min(right.definitions_recipe),
        is_physical: left.is_same_database(right, database),
    };
    comparable.has(kind)
}

/// What in a copy of the very moment is defined otherwise than in its source. `later`: the source's definitions
/// after that moment; what was changed in between may be in the copy either way. Databases that are not on both
/// sides are left out: missing ones are reported elsewhere. `window` is called for each database.
pub(super) fn find_differences<'a>(
    expected: &Observation,
    later: &BTreeMap<String, Definitions>,
    observed: &Observation,
    window: impl Fn(&str) -> Option<Window<'a>>,
) -> Found {
    let (mut found, mut of_instance) = (Found::default(), BTreeSet::new());
    for (database, definitions) in &expected.definitions {
        let (Some(later), Some(copies)) = (later.get(database), observed.definitions.get(database)) else {
            continue;
        };
        let window = window(database);
        let comparable = Comparable {
            recipe: expected.definitions_recipe.min(observed.definitions_recipe),
            is_physical: window.is_some() || expected.is_same_database(observed, database),
        };
        let window = window.unwrap_or_default();
        let mut add = |kind: &str, name: &str, verdict, excuse, reason: &str| {
            let told_kind = if kind == SERVER_ROLE { "role" } else { kind };
            // Every database has the same ones.
            if matches!(kind, SERVER_ROLE | "instance setting")
                && !of_instance.insert((kind.to_owned(), name.to_owned()))
            {
                return;
            }
            let found_here = DefinitionVerdict::of_difference(database, told_kind, name, reason.to_owned());
            found.add(DefinitionVerdict { verdict, ..found_here }, excuse);
        };
        for (kind, name, digest) in each_definition(definitions).filter(|(kind, _, _)| comparable.has(kind)) {
            let (now, copy) = (find_definition(later, kind, name), find_definition(copies, kind, name));
            let is_unchanged = now == Some(digest);
            match copy {
                Some(copy) if copy == digest => {}
                Some(_) if is_unchanged => {
                    let excuse = window.excuse_of_a_difference(kind, name);
                    add(kind, name, Word::Differs, excuse, "its definition is different in the copy");
                }
                // Neither what it was before nor what it was after, and written in the copy itself.
                Some(copy) if now.is_some_and(|now| now != copy) => {
                    if window.writer_in_copy(kind, name) == Writer::Copy {
                        add(kind, name, Word::Differs, Excuse::None, "it was changed in the copy itself");
                    }
                }
                None if is_unchanged && !follows_from_another(kind, name, copies) => {
                    let excuse = window.excuse_of_a_loss(kind, name);
                    add(kind, name, Word::Missing, excuse, "it is not in the copy");
                }
                Some(_) | None => {}
            }
        }
        // In a database in which things come and go, some were made and dropped between the two looks. Without any word on
        // who wrote to what, that is all that can be said.
        let names = |(kind, name, _)| (kind, name);
        if window.copy.is_none()
            && !each_definition(definitions).map(names).eq(each_definition(later).map(names))
        {
            continue;
        }
        for (kind, name, _) in each_definition(copies).filter(|(kind, _, _)| comparable.has(kind)) {
            let is_known = find_definition(definitions, kind, name).is_some()
                || find_definition(later, kind, name).is_some();
            if !is_known && !follows_from_another(kind, name, definitions) {
                let excuse = window.excuse_of_an_addition(kind, name);
                let reason = match kind {
                    "catalog flags" => "the catalog is inconsistent in the copy, but not in the source",
                    _ => "it was not in the source",
                };
                add(kind, name, Word::Unexpected, excuse, reason);
            }
        }
    }
    found
}

/// PostgreSQL logs so many values of a sequence in advance, beyond those that a session takes at once.
const LOGGED_IN_ADVANCE: i128 = 32;

/// Sequences that stand in the copy where they cannot have stood in the source. Sequences are not part of transactions,
/// so two looks bound them: one from before the moment, and one from after it. `after` is also asked about sequences that
/// the source itself has set back. Copies may stand a little ahead, since PostgreSQL logs values in advance.
pub(super) fn sequences_out_of_bounds(
    database: &str,
    (before, after): (&Sequences, Option<&Sequences>),
    copies: &Sequences,
    window: &Window<'_>,
) -> Found {
    let mut found = Found::default();
    for (name, state) in before {
        let (Some(copy), Some(after)) = (copies.get(name), after.and_then(|after| after.get(name))) else {
            continue;
        };
        let reason = match (state.last_value, copy.last_value, after.last_value) {
            _ if is_behind(after, state) => continue,
            (Some(source), Some(value), _) if is_behind(copy, state) => {
                format!("it is at {value}, and was already at {source} in the source")
            }
            (_, Some(value), Some(later)) if is_beyond(copy, after) => {
                format!("it is at {value}, and was only at {later} in the source later")
            }
            _ => continue,
        };
        // ALTER SEQUENCE … RESTART and TRUNCATE … RESTART IDENTITY write it down, setval() does not.
        let was_restarted =
            Window::touch(window.source, "sequence", name).is_some_and(|touch| touch.own.is_some());
        let verdict = DefinitionVerdict::of_difference(database, "sequence", name, reason);
        found.add(verdict, if was_restarted { Excuse::Source } else { Excuse::None });
    }
    found
}

fn is_behind(state: &SequenceState, reference: &SequenceState) -> bool {
    match (state.last_value, reference.last_value) {
        (Some(value), Some(reference)) if state.increment.is_positive() => value < reference,
        (Some(value), Some(reference)) => value > reference,
        (None, _) | (_, None) => false,
    }
}

/// Whether a sequence of the copy stands further ahead than values logged in advance explain.
fn is_beyond(copy: &SequenceState, after: &SequenceState) -> bool {
    let (Some(value), Some(later)) = (copy.last_value, after.last_value) else { return false };
    let cache = i128::from(copy.cache.max(after.cache).unwrap_or(1));
    let step = i128::from(after.increment);
    let ahead = (i128::from(value) - i128::from(later)) * step.signum();
    ahead > (LOGGED_IN_ADVANCE + cache) * step.abs()
}

/// Sequences that could not be read on one side although both have them.
pub(super) fn unreadable_sequences(database: &str, left: &Sequences, right: &Sequences) -> Vec<String> {
    let is_unknown = |(name, state): &(&String, &SequenceState)| {
        right.get(*name).is_some_and(|other| state.last_value.is_none() || other.last_value.is_none())
    };
    let told = |(name, _): (&String, &SequenceState)| {
        let why = match name.contains("\\x") {
            true => "its name is not valid UTF-8",
            false => "the user lacks SELECT on it",
        };
        format!("sequence `{database}.{name}` could not be read: {why}")
    };
    left.iter().filter(is_unknown).map(told).collect()
}

/// Sequences that do not stand at the same value on both sides.
pub(super) fn sequences_apart(database: &str, left: &Sequences, right: &Sequences) -> Vec<DefinitionVerdict> {
    let told = |value: Option<i64>| value.map_or("?".to_owned(), |value| value.to_string());
    let verdict = |(name, state): (&String, &SequenceState)| {
        let other = right.get(name)?;
        let are_known = state.last_value.is_some() && other.last_value.is_some();
        (are_known && other.last_value != state.last_value).then(|| {
            let (left, right) = (told(state.last_value), told(other.last_value));
            let reason = format!("it is at {left} on the left and at {right} on the right");
            DefinitionVerdict::of_difference(database, "sequence", name, reason)
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
            let found =
                find_differences(&seen(defined(source)), &defined(later), &seen(defined(copy)), |_| None);
            found.differences.into_iter().map(|found| (found.name, found.verdict)).collect()
        };
        let source = [("same", "1"), ("other", "1"), ("gone", "1"), ("altered", "1")];
        let later = [("same", "1"), ("other", "1"), ("gone", "1"), ("altered", "2")];
        let copy = [("same", "1"), ("other", "2"), ("altered", "2"), ("new", "1")];
        let expected = [("gone", Word::Missing), ("other", Word::Differs), ("new", Word::Unexpected)];
        assert_eq!(words(&source, &later, &copy), expected.map(|(name, word)| (name.to_owned(), word)));
        assert_eq!(words(&[("dropped", "1")], &[("newer", "1")], &[("between", "1")]), []);
    }

    fn touched(entries: &[(&str, u32, u64, u64)]) -> Touched {
        let touch = |(name, oid, newest, made): &(&str, u32, u64, u64)| {
            let touch = Touch { oid: *oid, newest: *newest, own: Some(*newest), made: Some(*made) };
            ((*name).to_owned(), touch)
        };
        Touched::from([("index".to_owned(), entries.iter().map(touch).collect())])
    }

    /// What is told of a copy up to transaction 200, where the first look was at 100: differences, and what is excused.
    fn judge(
        looks: [&[(&str, &str)]; 3],
        (source, copy): (&Touched, &Touched),
        maybe_before: u64,
    ) -> (Vec<(String, Word)>, usize, usize) {
        let horizon = Horizon { surely_before: 200, maybe_before, ..Horizon::default() };
        let seen = |entries| Observation { definitions: defined(entries), ..Observation::default() };
        let found = find_differences(&seen(looks[0]), &defined(looks[1]), &seen(looks[2]), |_| {
            Some(Window {
                since: 100,
                source: Some(source),
                copy: Some(copy),
                horizon: Some(&horizon),
                roles_were_written: false,
            })
        });
        let words = found.differences.into_iter().map(|found| (found.name, found.verdict)).collect();
        (words, found.changed_around.len(), found.doubts.len())
    }

    #[test]
    fn what_the_source_changed_and_changed_back_is_no_difference_and_what_the_copy_wrote_is_one() {
        let same = [("x", "1")].as_slice();
        let other = [("x", "2")].as_slice();
        let none = Touched::new();
        let differs = || vec![("x".to_owned(), Word::Differs)];
        let by = |newest| touched(&[("x", 7, newest, 50)]);
        // Nobody touched it, so it is damage.
        assert_eq!(judge([same, same, other], (&none, &none), 200), (differs(), 0, 0));
        // The source did, in the copy or after its moment.
        assert_eq!(judge([same, same, other], (&none, &by(150)), 200), (vec![], 1, 0));
        assert_eq!(judge([same, same, other], (&by(230), &none), 200), (vec![], 1, 0));
        // The copy itself did, whatever the source has done.
        assert_eq!(judge([same, same, other], (&by(230), &by(201)), 200), (differs(), 0, 0));
        let third = [("x", "3")].as_slice();
        assert_eq!(judge([same, third, other], (&by(230), &by(201)), 200), (differs(), 0, 0));
        assert_eq!(judge([same, other, other], (&by(230), &by(150)), 200), (vec![], 0, 0));
        // Where the horizon is blurred, either may have; without a touch in the source, the copy did.
        assert_eq!(judge([same, same, other], (&by(230), &by(205)), 210), (vec![], 0, 1));
        assert_eq!(judge([same, same, other], (&none, &by(205)), 210), (differs(), 0, 0));
    }

    #[test]
    fn what_is_missing_was_made_or_renamed_in_the_source_around_that_moment_or_is_lost() {
        let there = [("x", "1")].as_slice();
        let none = Touched::new();
        let missing = || vec![("x".to_owned(), Word::Missing)];
        assert_eq!(judge([there, there, &[]], (&none, &none), 200), (missing(), 0, 0));
        // Dropped and made again.
        assert_eq!(judge([there, there, &[]], (&touched(&[("x", 8, 150, 150)]), &none), 200), (vec![], 1, 0));
        // Granted to, truncated: that removes nothing.
        let granted = touched(&[("x", 7, 150, 50)]);
        assert_eq!(judge([there, there, &[]], (&granted, &none), 200), (missing(), 0, 0));
        // Renamed there and back: it has another name in the copy.
        let renamed = touched(&[("y", 7, 150, 50)]);
        let elsewhere = [("y", "1")].as_slice();
        assert_eq!(judge([there, there, elsewhere], (&granted, &renamed), 200), (vec![], 2, 0));
        let in_the_copy = touched(&[("y", 7, 201, 50)]);
        assert_eq!(
            judge([there, there, elsewhere], (&granted, &in_the_copy), 200).0,
            [missing(), vec![("y".to_owned(), Word::Unexpected)]].concat()
        );
    }

    #[test]
    fn what_only_the_copy_has_was_the_sources_for_a_while_or_does_not_belong_there() {
        let none = Touched::new();
        let (nothing, ghost) = ([].as_slice(), [("x", "1")].as_slice());
        let unexpected = || vec![("x".to_owned(), Word::Unexpected)];
        let made = |by| touched(&[("x", 7, by, by)]);
        assert_eq!(judge([nothing, nothing, ghost], (&none, &made(150)), 200), (vec![], 1, 0));
        assert_eq!(judge([nothing, ghost, ghost], (&made(150), &made(150)), 200), (vec![], 0, 0));
        for by in [201, 205, 300] {
            assert_eq!(judge([nothing, nothing, ghost], (&none, &made(by)), 210), (unexpected(), 0, 0));
        }
        // Older than the first look, which did not see it.
        assert_eq!(judge([nothing, nothing, ghost], (&none, &none), 200), (unexpected(), 0, 0));
        // That other things came and went excuses nothing.
        assert_eq!(judge([&[("a", "1")], &[("b", "1")], ghost], (&none, &made(300)), 200).0, unexpected());
    }

    #[test]
    fn records_of_an_older_recipe_and_dumps_are_not_held_against_what_they_do_not_have() {
        let kinds = |kinds: &[&str], recipe| Observation {
            definitions: BTreeMap::from([(
                "app".to_owned(),
                kinds
                    .iter()
                    .map(|kind| {
                        (
                            (*kind).to_owned(),
                            BTreeMap::from([("x".to_owned(), Digest::try_from("1".to_owned()).unwrap())]),
                        )
                    })
                    .collect(),
            )]),
            definitions_recipe: recipe,
            ..Observation::default()
        };
        let (old, new) = (["role"].as_slice(), ["role", "server role", "catalog flags"].as_slice());
        let found = |left: &Observation, right: &Observation, is_physical: bool| {
            let window = |_: &str| is_physical.then(Window::default);
            let found = find_differences(left, &left.definitions, right, window).differences;
            found.into_iter().map(|found| found.kind).collect::<Vec<_>>()
        };
        let none = kinds(&[], 2);
        assert_eq!(found(&kinds(old, 0), &kinds(new, 2), true), Vec::<String>::new());
        assert_eq!(found(&none, &kinds(new, 2), true), ["catalog flags", "role"]);
        assert_eq!(found(&none, &kinds(&["server role", "system rights"], 2), false), Vec::<String>::new());
        assert_eq!(found(&none, &kinds(&["catalog flags"], 2), false), ["catalog flags"]);
    }

    #[test]
    fn a_sequence_that_was_set_back_or_far_ahead_is_found() {
        let at = |last_value, increment| {
            Sequences::from([("s".to_owned(), SequenceState { last_value, increment, cache: Some(1) })])
        };
        let out_of_bounds = |before: &Sequences, after: &Sequences, copy: &Sequences| {
            sequences_out_of_bounds("app", (before, Some(after)), copy, &Window::default()).differences.len()
        };
        let judge = |before, after, copy| out_of_bounds(&at(before, 1), &at(after, 1), &at(copy, 1));
        assert_eq!(judge(Some(50), Some(60), Some(49)), 1);
        assert_eq!(judge(Some(50), Some(60), None), 0, "that it cannot be read is said elsewhere");
        assert_eq!(judge(Some(50), Some(60), Some(92)), 0, "values are logged in advance");
        for far in [94, i64::from(i32::MAX) - 1, i64::MAX - 1] {
            assert_eq!(judge(Some(50), Some(60), Some(far)), 1, "{far}");
        }
        assert_eq!(judge(Some(50), Some(1), Some(1)), 0, "the source itself set it back");
        assert_eq!(out_of_bounds(&at(Some(-5), -1), &at(Some(-5), -1), &at(Some(-4), -1)), 1);
        assert_eq!(out_of_bounds(&at(Some(-5), -1), &at(Some(-5), -1), &at(Some(-38), -1)), 0);
        assert_eq!(out_of_bounds(&at(Some(-5), -1), &at(Some(-5), -1), &at(Some(-39), -1)), 1);
    }
}
