//! Which copies to keep, and why.
//!
//! Dates and rules in, verdicts with reasons out: no I/O, no clock, and no word of where the copies are kept, so
//! that snapshots and dumps are judged alike. Five promises hold whatever goes in, and are property tests below:
//! the newest good copy of a database stays; every copy gets one verdict; a wider rule keeps at least as much;
//! the order of the input is irrelevant; and a clock that goes back removes nothing that stayed before. Good goes by proof:
//! the newest copy that a drill proved stays too, one that was found bad is not a good copy, and where no copy is good the newest
//! stays.

mod copy;
mod proof;
mod protected;
mod rules;

pub(crate) use copy::{Copy, PruneFailure, PruneReport, Verdict};
pub(crate) use proof::{Drilled, Proof, Proofs, Subject};
pub(crate) use rules::{Lifetime, Rule, Rules};

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Datelike as _, Utc};

use crate::when::format_time;
use protected::{counts_as_good, protected};

/// Judges all copies: one verdict each, by database, newest first.
pub(crate) fn judge(copies: &[Copy], rules: &Rules, now: DateTime<Utc>) -> Vec<Verdict> {
    let mut ordered: Vec<&Copy> = copies.iter().collect();
    ordered.sort_by(|a, b| {
        a.database.cmp(&b.database).then_with(|| b.taken_at.cmp(&a.taken_at)).then_with(|| a.id.cmp(&b.id))
    });
    let mut verdicts = Vec::with_capacity(ordered.len());
    for database in ordered.chunk_by(|a, b| a.database == b.database) {
        let protected = protected(database, now);
        let by_count = kept_by_count(database, rules);
        for copy in database {
            let mut reasons = Vec::new();
            reasons.extend(protected.get(copy.id.as_str()).into_iter().flatten().cloned());
            let keep = match &copy.exempt {
                Some(exempt) => {
                    reasons.push(exempt.clone());
                    true
                }
                None => {
                    reasons.extend(by_count.get(copy.id.as_str()).cloned().unwrap_or_default());
                    let kept_anyway = !reasons.is_empty();
                    by_age(copy, rules, now, &mut reasons) || kept_anyway
                }
            };
            if let Proof::Bad(by) = &copy.proof {
                reasons.push(format!("{by} failed, so it is not a good copy"));
            }
            verdicts.push(Verdict {
                id: copy.id.clone(),
                database: copy.database.clone(),
                place: None,
                class: copy.class.clone(),
                taken_at: copy.taken_at,
                keep,
                reasons,
            });
        }
    }
    verdicts
}

/// What `keep_last`, `keep_daily` and so on keep, with the reasons. `copies` are of one database, newest first.
fn kept_by_count<'c>(copies: &[&'c Copy], rules: &Rules) -> BTreeMap<&'c str, Vec<String>> {
    let mut kept: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (class, rule) in &rules.0 {
        let of_class: Vec<(&Copy, DateTime<Utc>)> = copies
            .iter()
            .filter(|copy| {
                copy.class.as_ref() == Some(class) && counts_as_good(copy) && copy.exempt.is_none()
            })
            .filter_map(|copy| Some((*copy, copy.taken_at?)))
            .collect();
        for (copy, _) in of_class.iter().take(rule.keep_last) {
            let reason = format!("it is among the newest {} of its class `{class}`", rule.keep_last);
            kept.entry(&copy.id).or_default().push(reason);
        }
        type Period = fn(DateTime<Utc>) -> (i32, u32);
        let periods: [(&str, usize, Period); 4] = [
            ("day", rule.keep_daily, |at| (at.year(), at.ordinal())),
            ("week", rule.keep_weekly, |at| (at.iso_week().year(), at.iso_week().week())),
            ("month", rule.keep_monthly, |at| (at.year(), at.month())),
            ("year", rule.keep_yearly, |at| (at.year(), 0)),
        ];
        for (period, count, key) in periods {
            let mut seen = BTreeSet::new();
            for (copy, taken) in &of_class {
                if seen.len() < count && seen.insert(key(*taken)) {
                    let reason =
                        format!("it is the last copy of its {period}, of which `{class}` keeps {count}");
                    kept.entry(&copy.id).or_default().push(reason);
                }
            }
        }
    }
    kept
}

/// Whether the age of a copy keeps it; says why or why not.
fn by_age(copy: &Copy, rules: &Rules, now: DateTime<Utc>, reasons: &mut Vec<String>) -> bool {
    let Some(class) = &copy.class else {
        reasons.push("it has no retention class".to_owned());
        return true;
    };
    let Some(rule) = rules.0.get(class) else {
        reasons.push(format!("its class `{class}` has no rule"));
        return true;
    };
    let Some(taken) = copy.taken_at else {
        reasons.push("its age is unknown".to_owned());
        return true;
    };
    let promised = copy.keep_until.filter(|until| *until > now);
    let keep_for = copy.lifetime.unwrap_or(rule.keep_for);
    let by_what = match copy.lifetime {
        Some(_) => "it was created to be kept".to_owned(),
        None => format!("copies of class `{class}` are kept"),
    };
    match (keep_for.end(taken), promised) {
        (None, _) => {
            reasons.push(format!("{by_what} forever"));
            true
        }
        // A copy from the future has not even begun to age: the clock went back, here or where it was taken.
        (Some(_), _) if taken > now => {
            reasons
                .push("it is dated in the future: a clock is wrong, here or where it was taken".to_owned());
            true
        }
        (Some(end), _) if end > now => {
            reasons.push(format!("{by_what} for {keep_for}: until {}", format_time(end)));
            true
        }
        (Some(_), Some(until)) => {
            reasons.push(format!("it must be kept until {}", format_time(until)));
            true
        }
        (Some(end), None) => {
            // The reasons of a copy that is kept anyway need not include what counts against it.
            if reasons.is_empty() {
                reasons.push(format!("{by_what} for {keep_for}: it expired {}", format_time(end)));
            }
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use chrono::TimeDelta;

    use super::*;

    const CLASSES: [&str; 4] = ["pre-migration", "monthly-archive", "major-release", "unheard-of"];

    fn day(number: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::days(20_000) + TimeDelta::hours(number * 5)
    }

    prop_compose! {
        fn copy()(
            database in 0..3u8,
            taken in prop::option::weighted(0.9, -2000..2000i64),
            class in prop::option::weighted(0.9, 0..CLASSES.len()),
            is_good in prop::bool::weighted(0.8),
            lifetime in prop::option::weighted(0.2, 1..400i64),
            promise in prop::option::weighted(0.2, -100..4000i64),
            is_exempt in prop::bool::weighted(0.15),
            proof in prop_oneof![
                4 => Just(Proof::Unknown),
                2 => Just(Proof::Good("a drill".to_owned())),
                1 => Just(Proof::Claimed("a drill".to_owned())),
                2 => Just(Proof::Bad("a drill".to_owned())),
            ],
        ) -> Copy {
            Copy {
                id: String::new(),
                database: format!("db-{database}"),
                taken_at: taken.map(day),
                class: class.map(|class| CLASSES[class].to_owned()),
                lifetime: lifetime.map(|days| Lifetime::Span(TimeDelta::days(days))),
                is_good,
                proof,
                keep_until: promise.map(day),
                exempt: is_exempt.then(|| "not ours".to_owned()),
            }
        }
    }

    fn copies() -> impl Strategy<Value = Vec<Copy>> {
        prop::collection::vec(copy(), 0..60).prop_map(|mut copies| {
            for (number, copy) in copies.iter_mut().enumerate() {
                copy.id = format!("copy-{number}");
            }
            copies
        })
    }

    prop_compose! {
        fn rule()(days in 0..400i64, ever in prop::bool::weighted(0.1), counts in prop::array::uniform5(0..5usize)) -> Rule {
            let keep_for = if ever { Lifetime::Ever } else { Lifetime::Span(TimeDelta::days(days)) };
            let [keep_last, keep_daily, keep_weekly, keep_monthly, keep_yearly] = counts;
            Rule { keep_for, keep_last, keep_daily, keep_weekly, keep_monthly, keep_yearly }
        }
    }

    fn rules() -> impl Strategy<Value = Rules> {
        prop::collection::vec(rule(), 3)
            .prop_map(|rules| Rules(CLASSES.iter().map(|class| (*class).to_owned()).zip(rules).collect()))
    }

    fn removed(verdicts: &[Verdict]) -> BTreeSet<&str> {
        verdicts.iter().filter(|verdict| !verdict.keep).map(|verdict| verdict.id.as_str()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn the_newest_good_copy_of_each_database_stays(copies in copies(), rules in rules(), now in -3000..6000i64) {
            let verdicts = judge(&copies, &rules, day(now));
            let removed = removed(&verdicts);
            for database in ["db-0", "db-1", "db-2"] {
                let usable = |copy: &&Copy| copy.database == database && copy.is_good && copy.taken_at.is_some();
                let newest = |is_meant: &dyn Fn(&Copy) -> bool, all: bool| {
                    let own = copies.iter().filter(usable).filter(|copy| is_meant(copy));
                    own.filter(|copy| all || !removed.contains(copy.id.as_str())).map(|copy| copy.taken_at).max()
                };
                // The newest good one; the newest that was proven, which no unproven one displaces; and where all that are
                // there were found bad, the newest of them.
                prop_assert_eq!(newest(&counts_as_good, false), newest(&counts_as_good, true));
                let is_proven = |copy: &Copy| matches!(copy.proof, Proof::Good(_));
                prop_assert_eq!(newest(&is_proven, false), newest(&is_proven, true));
                prop_assert!(newest(&|_| true, true).is_none() || newest(&|_| true, false).is_some());
            }
        }

        #[test]
        fn even_if_a_copy_is_dated_ahead_the_newest_of_the_past_stays(copies in copies(), rules in rules(), now in -2000..2000i64) {
            let now = day(now);
            let verdicts = judge(&copies, &rules, now);
            let removed = removed(&verdicts);
            let past = |copy: &&Copy| counts_as_good(copy) && copy.taken_at.is_some_and(|taken| taken <= now);
            for one in copies.iter().filter(past) {
                let survives = copies.iter().filter(past).any(|copy| {
                    copy.database == one.database && copy.taken_at >= one.taken_at && !removed.contains(copy.id.as_str())
                });
                prop_assert!(survives, "{} was removed with all that are newer", one.id);
            }
        }

        #[test]
        fn every_copy_gets_one_verdict_with_a_reason(copies in copies(), rules in rules(), now in -3000..6000i64) {
            let verdicts = judge(&copies, &rules, day(now));
            let mut judged: Vec<&str> = verdicts.iter().map(|verdict| verdict.id.as_str()).collect();
            let mut all: Vec<&str> = copies.iter().map(|copy| copy.id.as_str()).collect();
            judged.sort_unstable();
            all.sort_unstable();
            prop_assert_eq!(judged, all);
            prop_assert!(verdicts.iter().all(|verdict| !verdict.reasons.is_empty()));
        }

        #[test]
        fn what_is_exempt_or_not_understood_stays(copies in copies(), rules in rules(), now in -3000..6000i64) {
            let verdicts = judge(&copies, &rules, day(now));
            let removed = removed(&verdicts);
            for copy in &copies {
                let is_known = copy.class.as_ref().is_some_and(|class| rules.0.contains_key(class));
                if copy.exempt.is_some() || copy.taken_at.is_none() || !is_known {
                    prop_assert!(!removed.contains(copy.id.as_str()));
                }
            }
        }

        #[test]
        fn a_wider_rule_keeps_a_superset(copies in copies(), rules in rules(), more in prop::array::uniform6(0..4usize), now in -3000..6000i64) {
            let mut wider = rules.clone();
            for rule in wider.0.values_mut() {
                if let Lifetime::Span(span) = &mut rule.keep_for {
                    *span += TimeDelta::days(more[0] as i64 * 20);
                }
                rule.keep_last += more[1];
                rule.keep_daily += more[2];
                rule.keep_weekly += more[3];
                rule.keep_monthly += more[4];
                rule.keep_yearly += more[5];
            }
            let (narrow, wide) = (judge(&copies, &rules, day(now)), judge(&copies, &wider, day(now)));
            prop_assert!(removed(&wide).is_subset(&removed(&narrow)));
        }

        #[test]
        fn the_order_of_the_input_is_irrelevant((copies, shuffled) in copies().prop_flat_map(|copies| (Just(copies.clone()), Just(copies).prop_shuffle())), rules in rules(), now in -3000..6000i64) {
            prop_assert_eq!(judge(&copies, &rules, day(now)), judge(&shuffled, &rules, day(now)));
        }

        #[test]
        fn a_clock_that_goes_back_removes_nothing_more(copies in copies(), rules in rules(), now in -3000..6000i64, back in 0..5000i64) {
            let (at, before) = (judge(&copies, &rules, day(now)), judge(&copies, &rules, day(now - back)));
            prop_assert!(removed(&before).is_subset(&removed(&at)));
            if let Some(first) = copies.iter().filter_map(|copy| copy.taken_at).min() {
                let verdicts = judge(&copies, &rules, first - TimeDelta::seconds(1));
                prop_assert!(removed(&verdicts).is_empty(), "something was removed before anything was taken");
            }
        }
    }

    #[test]
    fn verdicts_say_why() {
        let copy = |id: &str, taken: &str, class: &str| Copy {
            id: id.to_owned(),
            database: "orders".to_owned(),
            taken_at: Some(taken.parse().unwrap()),
            class: Some(class.to_owned()),
            lifetime: None,
            is_good: true,
            proof: Proof::Unknown,
            keep_until: None,
            exempt: None,
        };
        let copies = [
            copy("old", "2026-09-01T00:00:00Z", "pre-migration"),
            copy("new", "2026-11-01T00:00:00Z", "pre-migration"),
            copy("archive", "2026-01-31T00:00:00Z", "monthly-archive"),
            copy("release", "2020-01-01T00:00:00Z", "major-release"),
            Copy {
                keep_until: "2026-12-01T00:00:00Z".parse().ok(),
                ..copy("held", "2026-08-01T00:00:00Z", "pre-migration")
            },
        ];
        let verdicts = judge(&copies, &Rules::default(), "2026-11-21T00:00:00Z".parse().unwrap());
        let said: Vec<String> =
            verdicts.iter().map(|it| format!("{} {}: {}", it.id, it.keep, it.reasons.join("; "))).collect();
        assert_eq!(
            said,
            [
                "new true: it is the newest good copy of `orders`; copies of class `pre-migration` are kept for 30 days: \
                 until 2026-12-01T00:00:00Z",
                "old false: copies of class `pre-migration` are kept for 30 days: it expired 2026-10-01T00:00:00Z",
                "held true: it must be kept until 2026-12-01T00:00:00Z",
                "archive true: copies of class `monthly-archive` are kept for 12 months: until 2027-01-31T00:00:00Z",
                "release true: copies of class `major-release` are kept forever",
            ]
        );
    }

    #[test]
    fn the_last_proven_copy_outlives_a_newer_one_that_was_found_bad() {
        let copy = |id: &str, taken: &str, proof: Proof| Copy {
            id: id.to_owned(),
            database: "orders".to_owned(),
            taken_at: Some(taken.parse().unwrap()),
            class: Some("pre-migration".to_owned()),
            lifetime: None,
            is_good: true,
            proof,
            keep_until: None,
            exempt: None,
        };
        let by = |run: &str| format!("drill run {run}");
        let copies = [
            copy("oldest", "2026-08-01T00:00:00Z", Proof::Unknown),
            copy("proven", "2026-09-01T00:00:00Z", Proof::Good(by("a"))),
            copy("unknown", "2026-09-02T00:00:00Z", Proof::Unknown),
            copy("bad", "2026-09-03T00:00:00Z", Proof::Bad(by("b"))),
        ];
        let now = "2026-11-21T00:00:00Z".parse().unwrap();
        let verdicts = judge(&copies, &Rules::default(), now);
        let said: Vec<String> =
            verdicts.iter().map(|it| format!("{} {}: {}", it.id, it.keep, it.reasons.join("; "))).collect();
        assert_eq!(
            said,
            [
                "bad false: copies of class `pre-migration` are kept for 30 days: it expired 2026-10-03T00:00:00Z; drill run b failed, \
                 so it is not a good copy",
                "unknown true: it is the newest good copy of `orders`",
                "proven true: it is the newest proven copy of `orders` (drill run a)",
                "oldest false: copies of class `pre-migration` are kept for 30 days: it expired 2026-08-31T00:00:00Z",
            ]
        );
        // Where all were found bad, the last is not given up for that.
        let all_bad = copies.map(|copy| Copy { proof: Proof::Bad(by("b")), ..copy });
        assert_eq!(removed(&judge(&all_bad, &Rules::default(), now)), ["oldest", "proven", "unknown"].into());
    }

    #[test]
    fn lifetimes_are_read_as_people_write_them() {
        for (text, said) in [
            ("30d", "30 days"),
            ("1 day", "1 day"),
            ("12 months", "12 months"),
            ("7y", "84 months"),
            ("forever", "ever"),
            ("36h", "1day 12h"),
        ] {
            assert_eq!(text.parse::<Lifetime>().unwrap().to_string(), said, "{text}");
        }
        for wrong in ["", "soon", "-3d", "30", "200 years", "99999999999999 months"] {
            assert!(wrong.parse::<Lifetime>().is_err(), "{wrong}");
        }
    }
}
