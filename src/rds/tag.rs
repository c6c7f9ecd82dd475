//! The tags that everything carries that lifeboat makes, and AWS's rules for tags.

use std::collections::BTreeMap;

use crate::error::{Error, Result};

/// Tags of a resource, by key.
pub(crate) type Tags = BTreeMap<String, String>;

/// What it was made for: `drill`, `snapshot`, `restore`.
pub(crate) const PURPOSE: &str = "lifeboat:purpose";
/// The run that made it.
pub(crate) const RUN: &str = "lifeboat:run";
/// The instance that it is of, by name.
pub(crate) const SOURCE: &str = "lifeboat:source";
/// The instance that it is of, by immutable id.
pub(crate) const SOURCE_RESOURCE: &str = "lifeboat:source-resource-id";
/// When it may be removed, RFC 3339.
pub(crate) const EXPIRES: &str = "lifeboat:expires";
/// Its retention class.
pub(crate) const CLASS: &str = "lifeboat:class";
/// SHA-256 of the baseline that was saved with it.
pub(crate) const BASELINE: &str = "lifeboat:baseline";
/// ARN of the snapshot that it was copied from.
pub(crate) const COPIED_FROM: &str = "lifeboat:copied-from";
/// The key under which a pipeline finds its snapshot again.
pub(crate) const IDEMPOTENCY_KEY: &str = "lifeboat:idempotency-key";
/// The commit that was about to be deployed.
pub(crate) const GIT_SHA: &str = "lifeboat:git-sha";
/// The run of the pipeline.
pub(crate) const CI_RUN: &str = "lifeboat:ci-run";
/// Who asked for it.
pub(crate) const WHO: &str = "lifeboat:who";

/// Most tags that a resource can have.
pub(crate) const MOST: usize = 50;

/// Whether AWS would take a text as a tag's value or key: letters, digits, spaces and `_.:/=+-@`.
pub(crate) fn is_allowed(text: &str) -> bool {
    text.chars().all(|c| c.is_alphanumeric() || c == ' ' || "_.:/=+-@".contains(c))
}

/// `text` as AWS takes it: other characters become `_`, what is too long is cut off.
pub(crate) fn fitting(text: &str) -> String {
    let plain = text.chars().map(|c| if is_allowed(&c.to_string()) { c } else { '_' });
    plain.take(256).collect()
}

/// Reads `KEY=VALUE` and holds it against AWS's rules.
pub(crate) fn parse(text: &str) -> Result<(String, String)> {
    let wrong = |why: &str| {
        Error::request(format!("`{}` is not a tag: {why}", text.escape_default())).hint(
            "Write it as KEY=VALUE. AWS allows letters, digits, spaces and _.:/=+-@, at most 128 of them in the key \
             and 256 in the value, and no key that begins with `aws:` or `rds:`.",
        )
    };
    let (key, value) = text.split_once('=').ok_or_else(|| wrong("there is no `=`"))?;
    let lower = key.to_ascii_lowercase();
    if key.is_empty() {
        Err(wrong("its key is empty"))
    } else if key.chars().count() > 128 || value.chars().count() > 256 {
        Err(wrong("it is too long"))
    } else if lower.starts_with("aws:") || lower.starts_with("rds:") {
        Err(wrong("this prefix is AWS's own"))
    } else if lower.starts_with("lifeboat:") {
        Err(wrong("this prefix is lifeboat's own"))
    } else if !is_allowed(key) || !is_allowed(value) {
        Err(wrong("it has a character that AWS does not allow"))
    } else {
        Ok((key.to_owned(), value.to_owned()))
    }
}

/// The tags that a person gave, without lifeboat's and AWS's own.
pub(crate) fn foreign(tags: &Tags) -> Tags {
    let is_own = |key: &str| ["lifeboat:", "aws:", "rds:"].iter().any(|own| key.starts_with(own));
    tags.iter().filter(|(key, _)| !is_own(key)).map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Adds tags beside those that are there, as far as there is room; says whether all fit.
pub(crate) fn add_as_room_allows(tags: &mut Tags, others: &Tags) -> bool {
    let do_all_fit = tags.len() + others.len() <= MOST;
    for (key, value) in others {
        if tags.len() < MOST {
            tags.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
    do_all_fit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_follow_the_rules_of_aws() {
        assert_eq!(parse("team=a=b").unwrap(), ("team".to_owned(), "a=b".to_owned()));
        for wrong in
            ["team", "=x", "aws:x=1", "lifeboat:run=1", "a,b=1", "a=b;c", &format!("{}=", "k".repeat(129))]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(fitting("feat/x, y#1"), "feat/x_ y_1");
    }
}
