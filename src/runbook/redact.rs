//! Keeps secrets out of everything that is written.
//!
//! What is known to be secret (parameters, values of steps marked so, and environment variables with such names) is removed
//! as it is and in the forms that programs give it: percent-encoded, in JSON, in base64, quoted for a shell. What merely looks
//! like a password in a URL goes too.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::postgres::redact_urls;

/// Its replacement.
pub(super) const HIDDEN: &str = "[secret]";

/// Shorter ones would hide half of every text, and are no secrets.
const SHORTEST: usize = 4;

/// Shorter ones may be part of a longer word (`test` of `latest`), and are hidden only as whole words.
const LIKE_A_WORD: usize = 8;

const UNRESERVED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Removes secrets from text.
#[derive(Clone, Debug, Default)]
pub(crate) struct Redactor {
    /// Longest first, since one may hold another.
    needles: Vec<String>,
}

impl Redactor {
    /// Knows what the environment keeps secret, and these.
    pub(super) fn hiding<'s>(secrets: impl Iterator<Item = &'s str>) -> Self {
        let mut redactor = Redactor::of_environment();
        secrets.for_each(|secret| redactor.hide(secret));
        redactor
    }

    fn of_environment() -> Self {
        let mut redactor = Redactor::default();
        for (name, value) in std::env::vars() {
            let name = name.to_ascii_uppercase();
            let says_so = [
                "PASSWORD",
                "PASSWD",
                "SECRET",
                "TOKEN",
                "PRIVATE_KEY",
                "API_KEY",
                "PASSPHRASE",
                "CREDENTIAL",
            ]
            .iter()
            .any(|word| name.contains(word));
            let is_a_place = ["_FILE", "_PATH", "_URI", "_ARN", "_COMMAND", "PGPASSFILE"]
                .iter()
                .any(|end| name.ends_with(end));
            // Local stacks accept any word as a key; AWS's own are long.
            let is_a_stand_in = name.starts_with("AWS_") && value.len() < 16;
            if says_so && !is_a_place && !is_a_stand_in {
                redactor.hide(&value);
            }
            if let Some(password) = password_of_url(&value) {
                redactor.hide(&password);
            }
        }
        redactor
    }

    /// Hides one more secret.
    pub(crate) fn hide(&mut self, secret: &str) {
        if let Some(password) = password_of_url(secret) {
            self.hide_word(&password);
        }
        self.hide_word(secret.trim());
        for line in secret.lines().filter(|line| line.trim().len() > 7) {
            self.hide_word(line.trim());
        }
    }

    fn hide_word(&mut self, secret: &str) {
        if secret.len() < SHORTEST || secret == HIDDEN {
            return;
        }
        let encoded = utf8_percent_encode(secret, &UNRESERVED).to_string();
        let decoded = percent_encoding::percent_decode_str(secret).decode_utf8_lossy().into_owned();
        let in_json =
            serde_json::to_string(secret).map(|text| text.trim_matches('"').to_owned()).unwrap_or_default();
        let quoted = secret.replace('\'', "'\\''");
        let mut shapes = vec![secret.to_owned(), encoded.to_lowercase(), encoded, decoded, in_json, quoted];
        // In base64 a text has three shapes, by where it begins; the ends depend on what stands around it.
        shapes.extend((0..3).filter_map(|shift| base64_inside(secret.as_bytes(), shift)));
        for shape in shapes {
            if shape.len() >= SHORTEST && !self.needles.contains(&shape) {
                self.needles.push(shape);
            }
        }
        self.needles.sort_by_key(|needle| std::cmp::Reverse(needle.len()));
    }

    /// `text` without them.
    pub(crate) fn clean(&self, text: &str) -> String {
        let mut clean = text.to_owned();
        for needle in &self.needles {
            if needle.len() < LIKE_A_WORD {
                clean = without_word(&clean, needle);
            } else if clean.contains(needle.as_str()) {
                clean = clean.replace(needle.as_str(), HIDDEN);
            }
        }
        redact_urls(&clean)
    }
}

fn without_word(text: &str, word: &str) -> String {
    let mut clean = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(word) {
        let (before, after) = (&rest[..at], &rest[at + word.len()..]);
        let is_inside = before.ends_with(char::is_alphanumeric) || after.starts_with(char::is_alphanumeric);
        clean.push_str(before);
        clean.push_str(if is_inside { word } else { HIDDEN });
        rest = after;
    }
    clean + rest
}

/// The password in a URL, as it is written there and as it is meant.
fn password_of_url(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("://")?;
    let (login, _) = rest.rsplit_once('@')?;
    let (_, password) = login.split_once(':')?;
    (!password.is_empty()).then(|| password.to_owned())
}

/// The part of the base64 of `secret` that does not depend on its surroundings, when it begins `shift` bytes into a group.
fn base64_inside(secret: &[u8], shift: usize) -> Option<String> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let skip = (3 - shift) % 3;
    let whole = secret.get(skip..)?;
    let whole = &whole[..whole.len() / 3 * 3];
    let letters = whole.chunks(3).flat_map(|group| {
        let bits = group.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
        [18, 12, 6, 0].map(|at| char::from(LETTERS[bits >> at & 63]))
    });
    let text: String = letters.collect();
    (text.len() >= 8).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_hidden_in_every_shape_that_programs_give_it() {
        let mut redactor = Redactor::default();
        redactor.hide("p@ss \"wörd'42");
        for text in [
            "x p@ss \"wörd'42 y",
            "p%40ss%20%22w%C3%B6rd%2742",
            "{\"a\":\"p@ss \\\"wörd'42\"}",
            "'p@ss \"wörd'\\''42'",
        ] {
            let clean = redactor.clean(text);
            assert!(!clean.contains("rd") && clean.contains(HIDDEN), "{text}: {clean}");
        }
        let mut redactor = Redactor::default();
        redactor.hide("canary-7f3a-correct-horse");
        // base64 of "canary-7f3a-correct-horse", and of the same behind one and behind two letters.
        for text in [
            "Y2FuYXJ5LTdmM2EtY29ycmVjdC1ob3JzZQ==",
            "eGNhbmFyeS03ZjNhLWNvcnJlY3QtaG9yc2U=",
            "eHhjYW5hcnktN2YzYS1jb3JyZWN0LWhvcnNl",
        ] {
            assert!(redactor.clean(text).contains(HIDDEN), "{text}: {}", redactor.clean(text));
        }
    }

    #[test]
    fn the_password_of_a_url_is_hidden_without_it_too() {
        let mut redactor = Redactor::default();
        redactor.hide("postgresql://app:s3cr%2Ft-x@db/orders");
        assert_eq!(redactor.clean("it is s3cr/t-x or s3cr%2Ft-x"), "it is [secret] or [secret]");
        assert_eq!(redactor.clean("postgresql://u:other@h/d"), "postgresql://u:…@h/d");
        assert_eq!(redactor.clean("nothing here"), "nothing here");
        redactor.hide("test");
        assert_eq!(redactor.clean("the latest test=test"), "the latest [secret]=[secret]");
    }
}
