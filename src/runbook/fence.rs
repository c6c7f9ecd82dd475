//! The line that opens a fenced block: its role and its attributes.

use std::time::Duration;

use super::confined::is_listed;
use super::fault::{Faults, Position};
use crate::when::parse_duration;

/// Languages that have a meaning here.
pub(super) const ROLES: [&str; 10] =
    ["sh", "sql", "expect", "probe", "wait", "confirm", "manual", "approve", "undo", "undo-check"];

/// Languages of examples, which are only read.
const PROSE: &str = "text txt plain plaintext console shell-session output json jsonc json5 yaml yml toml ini env dotenv \
     properties conf nginx bash shell zsh fish powershell python py ruby php js javascript ts typescript go \
     rust java diff patch markdown md html xml csv mermaid";

/// The opening line of a fenced block.
#[derive(Clone, Debug)]
pub(super) struct Fence {
    pub(super) role: String,
    pub(super) at: Position,
    attributes: Vec<Attribute>,
}

#[derive(Clone, Debug)]
struct Attribute {
    name: String,
    value: Option<String>,
    at: Position,
    is_used: std::cell::Cell<bool>,
}

/// The meaning of a language.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Language {
    Role,
    Prose,
    Unknown,
}

pub(super) fn language(word: &str) -> Language {
    if ROLES.contains(&word) {
        Language::Role
    } else if word.is_empty() || is_listed(word, PROSE) {
        Language::Prose
    } else {
        Language::Unknown
    }
}

/// The role that was probably meant.
pub(super) fn nearest_role(word: &str) -> Option<&'static str> {
    let word = word.to_lowercase();
    ROLES
        .iter()
        .map(|role| (strsim::damerau_levenshtein(&word, role), *role))
        .min()
        .filter(|(distance, role)| *distance <= 1 + role.len() / 4)
        .map(|(_, role)| role)
}

impl Fence {
    /// Parses the text after the backticks; `at` is where it begins.
    pub(super) fn parse(text: &str, at: Position, faults: &mut Faults) -> Self {
        let letters: Vec<char> = text.chars().collect();
        let here = |index: usize| Position { line: at.line, column: at.column + index };
        let mut place = letters.iter().take_while(|c| c.is_whitespace()).count();
        let start = place;
        while place < letters.len() && !letters[place].is_whitespace() {
            place += 1;
        }
        let role: String = letters[start..place].iter().collect();
        let mut fence = Fence { role, at: here(start), attributes: Vec::new() };
        loop {
            while place < letters.len() && letters[place].is_whitespace() {
                place += 1;
            }
            if place >= letters.len() {
                return fence;
            }
            let begin = place;
            while place < letters.len() && !letters[place].is_whitespace() && letters[place] != '=' {
                place += 1;
            }
            let name: String = letters[begin..place].iter().collect();
            let mut value = None;
            if letters.get(place) == Some(&'=') {
                let (text, end, is_closed) = read_value(&letters, place + 1);
                if !is_closed {
                    faults.malformed(
                        here(place + 1),
                        "attribute",
                        format!("the quoted value of `{name}` is not closed"),
                    );
                }
                (value, place) = (Some(text), end);
            }
            if fence.attributes.iter().any(|other| other.name == name) {
                faults.malformed(here(begin), "attribute", format!("`{name}` is given twice"));
            }
            fence.attributes.push(Attribute { name, value, at: here(begin), is_used: false.into() });
        }
    }

    /// Whether anything follows the role.
    pub(super) fn has_attributes(&self) -> bool {
        !self.attributes.is_empty()
    }

    fn find(&self, name: &str) -> Option<&Attribute> {
        let found = self.attributes.iter().find(|attribute| attribute.name == name)?;
        found.is_used.set(true);
        Some(found)
    }

    /// The position of an attribute.
    pub(super) fn at(&self, name: &str) -> Position {
        self.attributes.iter().find(|attribute| attribute.name == name).map_or(self.at, |found| found.at)
    }

    /// The value of an attribute.
    pub(super) fn value(&self, name: &str, faults: &mut Faults) -> Option<String> {
        let found = self.find(name)?;
        match &found.value {
            Some(value) if !value.is_empty() => Some(value.clone()),
            _ => {
                faults
                    .malformed(found.at, "attribute", format!("`{name}` has no value"))
                    .hint(format!("Write `{name}=VALUE`."));
                None
            }
        }
    }

    /// Names, separated by spaces or commas.
    pub(super) fn names(&self, name: &str, faults: &mut Faults) -> Vec<String> {
        let value = self.value(name, faults).unwrap_or_default();
        value.split([' ', ',']).filter(|part| !part.is_empty()).map(str::to_owned).collect()
    }

    /// Whether a bare word is present.
    pub(super) fn flag(&self, name: &str, faults: &mut Faults) -> bool {
        let Some(found) = self.find(name) else { return false };
        if found.value.is_some() {
            faults.malformed(found.at, "attribute", format!("`{name}` takes no value"));
        }
        true
    }

    /// A duration.
    pub(super) fn duration(&self, name: &str, faults: &mut Faults) -> Option<Duration> {
        let value = self.value(name, faults)?;
        match parse_duration(&value) {
            Ok(duration) if !duration.is_zero() => Some(duration),
            _ => {
                let what = format!("`{}` is not a duration", value.escape_default());
                faults
                    .malformed(self.at(name), "attribute", what)
                    .hint("Write it as in `90s`, `5m` or `2h`.");
                None
            }
        }
    }

    /// Whatever was not read is unknown: a misspelt `timeout` must not become no timeout.
    pub(super) fn refuse_the_rest(&self, allowed: &[&str], faults: &mut Faults) {
        for attribute in self.attributes.iter().filter(|attribute| !attribute.is_used.get()) {
            let name = attribute.name.escape_default();
            let what = format!("a block of role `{}` has no attribute `{name}`", self.role);
            let fault = faults.malformed(attribute.at, "attribute", what);
            let near = allowed
                .iter()
                .map(|known| (strsim::damerau_levenshtein(known, &attribute.name), *known))
                .min();
            match near {
                Some((..=2, near)) => fault.hint(format!("Did you mean `{near}`?")),
                _ => fault.hint(format!("It takes {}.", allowed.join(", "))),
            }
        }
    }
}

fn read_value(letters: &[char], start: usize) -> (String, usize, bool) {
    let mut place = start;
    let mut value = String::new();
    if letters.get(place) == Some(&'"') {
        place += 1;
        while let Some(letter) = letters.get(place) {
            place += 1;
            match letter {
                '"' => return (value, place, true),
                letter => value.push(*letter),
            }
        }
        return (value, place, false);
    }
    while let Some(letter) = letters.get(place).filter(|letter| !letter.is_whitespace()) {
        value.push(*letter);
        place += 1;
    }
    (value, place, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_opening_line_is_read_with_its_places() {
        let mut faults = Faults::default();
        let at = Position { line: 7, column: 4 };
        let fence = Fence::parse(
            "sh id=restore timeout=5m once creates=\"db:{{target}} file:x\" tiemout=3",
            at,
            &mut faults,
        );
        assert_eq!((fence.role.as_str(), fence.value("id", &mut faults)), ("sh", Some("restore".into())));
        assert_eq!(fence.duration("timeout", &mut faults), Some(Duration::from_secs(300)));
        assert!(fence.flag("once", &mut faults));
        assert_eq!(fence.names("creates", &mut faults), ["db:{{target}}", "file:x"]);
        assert!(faults.is_empty(), "{faults:?}");
        fence.refuse_the_rest(&["id", "timeout"], &mut faults);
        assert_eq!(faults[0].message, "a block of role `sh` has no attribute `tiemout`");
        assert_eq!(faults[0].hint.as_deref(), Some("Did you mean `timeout`?"));
        assert_eq!(faults[0].at, Position { line: 7, column: 4 + 61 });
    }

    #[test]
    fn a_role_that_is_spelled_wrong_finds_its_name() {
        for (wrong, right) in
            [("shh", "sh"), ("expct", "expect"), ("prob", "probe"), ("confrim", "confirm"), ("SQL", "sql")]
        {
            assert_eq!(nearest_role(wrong), Some(right), "{wrong}");
            assert_eq!(language(wrong), Language::Unknown);
        }
    }
}
