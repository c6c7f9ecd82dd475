//! Keys of KMS. There is no KMS behind them: every key exists that has the form of one and lies in the caller's Region.

use crate::error::{ApiError, Result};
use crate::place;

/// Why a key cannot be used, as AWS words it; `which` is `specified`, `source snapshot` or `target`.
pub(super) fn not_accessible(which: &str, key: &str) -> ApiError {
    ApiError::new(
        "KMSKeyNotAccessibleFault",
        format!(
            "The {which} KMS key [{key}] does not exist, is not enabled or you do not have permissions to access it."
        ),
    )
}

/// The ARN of the key that a text names in a place: a key's id or ARN, or an alias or its ARN.
pub(super) fn named(at: &str, text: &str) -> Result<String> {
    let refused = || not_accessible("specified", text);
    let (owner, name) = match text.splitn(6, ':').collect::<Vec<_>>()[..] {
        ["arn", _, "kms", region, account, name] if region == place::region(at) && is_account(account) => {
            (place::of(account, region), name)
        }
        [name] => (at.to_owned(), name),
        _ => return Err(refused()),
    };
    if let Some(service) = name.strip_prefix("alias/aws/") {
        // The keys that AWS keeps for other services are theirs alone.
        return if service == "rds" && owner == at { Ok(default_for(at, service)) } else { Err(refused()) };
    }
    if let Some(alias) = name.strip_prefix("alias/") {
        let is_alias = !alias.is_empty()
            && alias.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/_-".contains(&byte));
        return if is_alias { Ok(arn(&owner, &made_up(&owner, name))) } else { Err(refused()) };
    }
    let id = if text.starts_with("arn:") { name.strip_prefix("key/").unwrap_or_default() } else { name };
    if is_id(id) { Ok(arn(&owner, id)) } else { Err(refused()) }
}

/// The key that AWS keeps for a service in a place.
pub(super) fn default_for(at: &str, service: &str) -> String {
    arn(at, &made_up(at, &format!("alias/aws/{service}")))
}

fn arn(at: &str, id: &str) -> String {
    format!("arn:aws:kms:{}:key/{id}", place::in_arn(at))
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A UUID, or `mrk-` and 32 hexadecimal digits.
fn is_id(text: &str) -> bool {
    let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match text.strip_prefix("mrk-") {
        Some(rest) => rest.len() == 32 && is_hex(rest),
        None => {
            let parts: Vec<&str> = text.split('-').collect();
            parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12]) && parts.iter().all(|part| is_hex(part))
        }
    }
}

/// Always the same id for an alias in a place.
fn made_up(at: &str, alias: &str) -> String {
    let hash = |seed: u64| {
        // FNV-1a.
        let bytes = at.bytes().chain(alias.bytes());
        bytes.fold(seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    };
    let hex = format!("{:016x}{:016x}", hash(0xcbf2_9ce4_8422_2325), hash(0x9e37_79b9_7f4a_7c15));
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "1234abcd-12ab-34cd-56ef-1234567890ab";

    #[test]
    fn keys_are_found_by_id_arn_and_alias_in_their_own_region() {
        let here = "eu-west-1";
        let key = format!("arn:aws:kms:eu-west-1:123456789012:key/{ID}");
        let foreign = format!("arn:aws:kms:eu-west-1:111122223333:key/{ID}");
        assert_eq!(named(here, ID).unwrap(), key);
        assert_eq!(named(here, &key).unwrap(), key);
        assert_eq!(named(here, &foreign).unwrap(), foreign);
        assert!(named(here, &format!("mrk-{}", ID.replace('-', ""))).is_ok());
        assert_eq!(named(here, "alias/aws/rds").unwrap(), default_for(here, "rds"));
        let alias = named(here, "alias/backups").unwrap();
        assert_eq!(named(here, "arn:aws:kms:eu-west-1:123456789012:alias/backups").unwrap(), alias);
        assert_ne!(alias, named("eu-west-2", "alias/backups").unwrap());
        assert!(is_id(alias.rsplit('/').next().unwrap()), "{alias}");
        assert!(named(here, &default_for(here, "rds")).is_ok());
    }

    #[test]
    fn what_is_no_key_here_is_not_accessible() {
        for text in [
            "garbage key!",
            "nonsense",
            "alias/",
            "alias/with space",
            "alias/aws/ebs",
            "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab",
            "arn:aws:kms:eu-west-1:123456789012:key/there",
            "arn:aws:kms:eu-west-1:123456789012:1234abcd-12ab-34cd-56ef-1234567890ab",
            "arn:aws:s3:::bucket",
            "key/1234abcd-12ab-34cd-56ef-1234567890ab",
        ] {
            assert_eq!(named("eu-west-1", text).unwrap_err().code, "KMSKeyNotAccessibleFault", "{text}");
        }
    }
}
