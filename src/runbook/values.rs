//! Values: what a run was told, what its steps have found, and the places in the text where they stand.
//!
//! A value is checked once, when it comes in. It reaches a shell as an environment variable and in no other way; and since shells evaluate
//! variables too (`(( count > 0 ))` runs what stands in a subscript), it has no characters in it that mean something to them, unless the
//! runbook says that it is free text.

use std::collections::{BTreeMap, BTreeSet};

use super::redact::HIDDEN;
use crate::error::{Error, Kind, Result};

/// Longest value.
pub(super) const LONGEST: usize = 4096;

/// Values by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Values {
    values: BTreeMap<String, Value>,
}

#[derive(Clone, Debug)]
struct Value {
    text: String,
    is_secret: bool,
}

impl Values {
    /// Sets one.
    pub(crate) fn set(&mut self, name: &str, text: &str, is_secret: bool) {
        self.values.insert(name.to_owned(), Value { text: text.to_owned(), is_secret });
    }

    /// Takes over what a journal has; what was kept out of it stays as it is.
    /// Whoever wrote them there, values that are not `free` are held to what every value is held to.
    pub(super) fn take_over(
        &mut self,
        recorded: &BTreeMap<String, String>,
        free: &BTreeSet<String>,
    ) -> Result<()> {
        for (name, text) in recorded.iter().filter(|(_, text)| !is_withheld(text)) {
            if !free.contains(name) {
                judge_plain(text).map_err(|why| {
                    let what = format!("the journal has a value of `{name}` that is not free text: {why}");
                    Error::new(Kind::Guard, what).hint("The run was not resumed. Start a new one.")
                })?;
            }
            self.set(name, text, self.is_secret(name));
        }
        Ok(())
    }

    /// One of them.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        Some(self.values.get(name)?.text.as_str())
    }

    /// Whether it must not be written down.
    pub(crate) fn is_secret(&self, name: &str) -> bool {
        self.values.get(name).is_some_and(|value| value.is_secret)
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value.text.as_str()))
    }

    /// Those that may be written down.
    pub(crate) fn list_public(&self) -> BTreeMap<String, String> {
        let open = self.values.iter().filter(|(_, value)| !value.is_secret);
        open.map(|(name, value)| (name.clone(), value.text.clone())).collect()
    }

    /// Those that must not.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &str> {
        self.values.values().filter(|value| value.is_secret).map(|value| value.text.as_str())
    }

    /// `text` with its `{{places}}` filled.
    pub(crate) fn fill(&self, text: &str) -> std::result::Result<String, String> {
        self.fill_with(text, str::to_owned)
    }

    /// The same, each value passed through `shape`.
    pub(super) fn fill_with(
        &self,
        text: &str,
        shape: impl Fn(&str) -> String,
    ) -> std::result::Result<String, String> {
        let mut filled = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let Some((name, after)) = after.split_once("}}") else { break };
            filled.push_str(before);
            let name = name.trim();
            let value = self.get(&variable_name(name)).ok_or_else(|| format!("`{name}` has no value yet"))?;
            filled.push_str(&shape(value));
            rest = after;
        }
        filled.push_str(rest);
        Ok(filled)
    }

    /// For people: places that have no value yet, and secrets, stay as they are written.
    pub(crate) fn fill_for_display(&self, text: &str) -> String {
        let mut shown = text.to_owned();
        for name in placeholders(text) {
            if let Some(value) = self.values.get(&variable_name(&name)).filter(|value| !value.is_secret) {
                for written in [format!("{{{{{name}}}}}"), format!("{{{{ {name} }}}}")] {
                    shown = shown.replace(&written, &value.text);
                }
            }
        }
        shown
    }
}

/// `run.short` is `run_short` where dots cannot be.
fn variable_name(name: &str) -> String {
    name.replace('.', "_")
}

/// Names in `{{places}}`.
pub(super) fn placeholders(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("{{") {
        let Some((name, after)) = after.split_once("}}") else { break };
        names.push(name.trim().to_owned());
        rest = after;
    }
    names
}

/// A pattern that must match the whole of a value.
pub(super) fn compile_pattern(pattern: &str) -> std::result::Result<regex_lite::Regex, String> {
    regex_lite::Regex::new(&format!("^(?:{pattern})$")).map_err(|error| error.to_string())
}

/// A pattern that some line of a text must match.
pub(super) fn compile_line_pattern(pattern: &str) -> std::result::Result<regex_lite::Regex, String> {
    regex_lite::Regex::new(&format!("(?m){pattern}")).map_err(|error| error.to_string())
}

/// What to do about a value that is refused.
pub(super) const FREE_TEXT: &str = "A parameter that must take any text says `free_text: true`.";

/// Whether a value has nothing in it that a shell or another interpreter could take for anything but a name, a number, a time or a URL.
/// Characters are known by name, since a list of those that are dangerous would never be complete.
pub(super) fn judge_plain(text: &str) -> std::result::Result<(), String> {
    let is_url = text.split_once("://").is_some_and(|(scheme, _)| {
        !scheme.is_empty()
            && scheme.chars().all(|letter| letter.is_ascii_alphanumeric() || "+.-".contains(letter))
    });
    let digits = |at: std::ops::Range<usize>| {
        text.get(at).is_some_and(|part| part.chars().all(|letter| letter.is_ascii_digit()))
    };
    // `2026-11-20 14:05:00 UTC`
    let is_time = digits(0..4)
        && text.get(4..5) == Some("-")
        && digits(5..7)
        && text.get(7..8) == Some("-")
        && digits(8..10);
    let is_plain = |letter: char| {
        letter.is_alphanumeric()
            || "_-./:@%+,".contains(letter)
            || is_url && "?=".contains(letter)
            || is_time && letter == ' '
    };
    match text.chars().find(|letter| !is_plain(*letter)) {
        None => Ok(()),
        Some(letter) if letter.is_whitespace() => {
            Err("it contains a space, which a shell would interpret".to_owned())
        }
        Some(letter) => {
            Err(format!("it contains `{}`, which a shell would interpret", letter.escape_default()))
        }
    }
}

/// Text with its `{{places}}` taken out.
pub(super) fn without_placeholders(text: &str) -> String {
    let mut rest = text;
    let mut left = String::new();
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((_, after)) = after.split_once("}}") else { break };
        left.push_str(before);
        rest = after;
    }
    left + rest
}

/// Whether a part of a value was kept out of the journal, since it looked secret.
pub(crate) fn is_withheld(recorded: &str) -> bool {
    recorded.contains(HIDDEN) || recorded.contains('…')
}
