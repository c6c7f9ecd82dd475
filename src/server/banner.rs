//! The answer at the top of the dashboard, and in `/api/status`: who is at risk, from the health of each database. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::policy::check::{Finding, Severity, worst_severity};
use crate::words::Tone;

/// More names than anyone reads in one sentence.
const NAMED: usize = 6;

/// How well something is backed up; the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Health {
    /// Data is at risk.
    AtRisk,
    /// Something should be fixed.
    Attention,
    /// There is nothing to judge, or it has not been checked yet.
    Unknown,
    /// No finding is critical, and none warns.
    Safe,
}

impl Health {
    /// By the findings.
    pub(super) fn of(findings: &[Finding]) -> Self {
        match worst_severity(findings) {
            None => Health::Safe,
            Some(Severity::Critical) => Health::AtRisk,
            Some(Severity::Warning) => Health::Attention,
        }
    }

    /// In a word or two.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Health::AtRisk => "At risk",
            Health::Attention => "Needs attention",
            Health::Unknown => "Not known",
            Health::Safe => "Safe",
        }
    }

    /// How it is drawn.
    pub(super) const fn tone(self) -> Tone {
        match self {
            Health::AtRisk => Tone::Bad,
            Health::Attention => Tone::Doubt,
            Health::Unknown => Tone::Faint,
            Health::Safe => Tone::Good,
        }
    }
}

/// Something that could not be checked.
#[derive(Clone, Debug)]
pub(super) struct Gap {
    /// As a sentence without its full stop.
    pub(super) words: String,
    /// Whether it needs action; otherwise it resolves with time.
    pub(super) is_fault: bool,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Banner {
    pub(super) health: Health,
    /// Who is at risk, or that nobody is; without a full stop.
    pub(super) headline: String,
    /// Further sentences.
    pub(super) details: String,
    /// The names of those at risk.
    pub(super) at_risk: Vec<String>,
    /// The names of those that need attention.
    pub(super) need_attention: Vec<String>,
    /// How many there are.
    pub(super) databases: usize,
}

/// Judges the whole. A database may come several times under its name, as a DB instance and in the vault: its worst counts.
pub(super) fn banner<'a>(of: impl IntoIterator<Item = (&'a str, Health)>, gaps: &[Gap]) -> Banner {
    let mut cards: BTreeMap<&str, Health> = BTreeMap::new();
    for (name, health) in of {
        let known = cards.entry(name).or_insert(health);
        *known = health.min(*known);
    }
    let named = |wanted: Health| -> Vec<String> {
        let those = cards.iter().filter(|(_, health)| **health == wanted);
        those.map(|(name, _)| (*name).to_owned()).collect()
    };
    let (at_risk, need_attention) = (named(Health::AtRisk), named(Health::Attention));
    let all = cards.len();
    let mut details: Vec<String> = Vec::new();
    let (health, headline) = match () {
        () if !at_risk.is_empty() => {
            if !need_attention.is_empty() {
                details.push(name_some(&need_attention, all, ["needs attention", "need attention"]));
            }
            (Health::AtRisk, name_some(&at_risk, all, ["is at risk", "are at risk"]))
        }
        () if !need_attention.is_empty() => {
            details.push("No database is at risk.".to_owned());
            (Health::Attention, name_some(&need_attention, all, ["needs attention", "need attention"]))
        }
        () if gaps.iter().any(|gap| gap.is_fault) => {
            (Health::Attention, "Not everything could be checked".to_owned())
        }
        () if !gaps.is_empty() || !named(Health::Unknown).is_empty() => {
            (Health::Unknown, "Not everything is known yet".to_owned())
        }
        () if all == 0 => {
            details.push("There is no backup in this vault and no database to watch.".to_owned());
            (Health::Unknown, "Nothing is known yet".to_owned())
        }
        () => {
            details.push("No finding needs attention.".to_owned());
            let headline = match all {
                1 => name_some(&named(Health::Safe), 1, ["is safe", "are safe"]),
                _ => format!("All {all} databases are safe"),
            };
            (Health::Safe, headline)
        }
    };
    details.extend(gaps.iter().map(|gap| gap.words.clone()));
    let details = details
        .iter()
        .map(|words| if words.ends_with('.') { words.clone() } else { format!("{words}.") })
        .collect::<Vec<_>>()
        .join(" ");
    Banner { health, headline, details, at_risk, need_attention, databases: all }
}

/// "2 of 5 databases are at risk: `billing`, `orders-prod`".
fn name_some(names: &[String], all: usize, [one, many]: [&str; 2]) -> String {
    let mut list: Vec<String> = names.iter().take(NAMED).map(|name| format!("`{name}`")).collect();
    if names.len() > NAMED {
        list.push(format!("{} more", names.len() - NAMED));
    }
    let verb = if names.len() == 1 { one } else { many };
    match (list.as_slice(), all) {
        ([only], 1) => format!("{only} {verb}"),
        _ => format!("{} of {all} databases {verb}: {}", names.len(), list.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(healths: &[(&str, Health)]) -> (Health, String, String) {
        let it = banner(healths.iter().copied(), &[]);
        (it.health, it.headline, it.details)
    }

    #[test]
    fn it_names_who_is_at_risk() {
        use Health::{AtRisk, Attention, Safe};
        let five = [("orders-prod", AtRisk), ("a", Safe), ("billing", AtRisk), ("b", Attention), ("c", Safe)];
        assert_eq!(
            of(&five),
            (
                AtRisk,
                "2 of 5 databases are at risk: `billing`, `orders-prod`".to_owned(),
                "1 of 5 databases needs attention: `b`.".to_owned()
            )
        );
        assert_eq!(of(&[("app", AtRisk)]).1, "`app` is at risk");
        assert_eq!(of(&[("app", AtRisk), ("b", Safe)]).1, "1 of 2 databases is at risk: `app`");
        assert_eq!(of(&[("app", Attention), ("app", Safe)]).1, "`app` needs attention");
        assert_eq!(of(&[("a", Safe), ("b", Safe)]).1, "All 2 databases are safe");
        assert_eq!(of(&[("app", Safe)]).1, "`app` is safe");
        assert_eq!(of(&[]).0, Health::Unknown);
        let many: Vec<String> = (10..20).map(|number| format!("db-{number}")).collect();
        let told = banner(many.iter().map(|name| (name.as_str(), AtRisk)), &[]);
        assert!(told.headline.ends_with("`db-15`, 4 more") && told.at_risk.len() == 10, "{told:?}");
    }

    #[test]
    fn it_agrees_with_the_cards_below_it() {
        let healths = [Health::AtRisk, Health::Attention, Health::Unknown, Health::Safe];
        let card = (0..4_usize, 0..7_usize).prop_map(move |(health, name)| (name, healths[health]));
        let gap =
            any::<bool>().prop_map(|is_fault| Gap { words: "AWS could not be reached".to_owned(), is_fault });
        let names = ["a", "b", "c", "d", "e", "f", "g"];
        proptest!(|(cards in prop::collection::vec(card, 0..9), gaps in prop::collection::vec(gap, 0..2))| {
            let shown: Vec<(&str, Health)> = cards.iter().map(|(name, health)| (names[*name], *health)).collect();
            let told = banner(shown.iter().copied(), &gaps);
            let has = |wanted: Health| shown.iter().any(|(_, health)| *health == wanted);
            // It is as bad as the worst card, and never better than what could not be seen.
            prop_assert_eq!(told.health == Health::AtRisk, has(Health::AtRisk));
            prop_assert_eq!(told.headline.contains("at risk"), has(Health::AtRisk));
            if told.health == Health::Safe {
                prop_assert!(shown.iter().all(|(_, health)| *health == Health::Safe) && gaps.is_empty() && !shown.is_empty());
            }
            for (name, health) in &shown {
                let quoted = format!("`{name}`");
                match health {
                    Health::AtRisk => prop_assert!(told.at_risk.contains(&(*name).to_owned()) && told.headline.contains(&quoted)),
                    Health::Attention => prop_assert!(told.headline.contains(&quoted) || told.details.contains(&quoted) || told.at_risk.contains(&(*name).to_owned())),
                    _ => {}
                }
            }
            for name in &told.at_risk {
                prop_assert!(shown.iter().any(|(card, health)| card == name && *health == Health::AtRisk));
            }
            for name in &told.need_attention {
                prop_assert!(!told.at_risk.contains(name));
            }
            let distinct: std::collections::BTreeSet<&str> = shown.iter().map(|(name, _)| *name).collect();
            prop_assert_eq!(told.databases, distinct.len());
            prop_assert!(gaps.is_empty() || told.details.contains("AWS could not be reached."));
        });
    }
}
