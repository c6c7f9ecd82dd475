//! KMS keys. There is no KMS behind them: every text that has the form of a key of the caller's Region is accepted as
//! one.

use crate::error::{ApiError, Result};
use crate::ids::format_uuid;
use crate::scope;

/// Why a key cannot be used, as AWS words it; `which` is `specified`, `source snapshot` or `target`.
pub(super) fn not_accessible(which: &str, key: &str) -> ApiError {
    ApiError::new(
        "KMSKeyNotAccessibleFault",
        format!(
            "The {which} KMS key [{key}] does not exist, is not enabled or you do not have permissions to access it."
        ),
    )
}

/// The ARN of the key that a text names in the scope `at`: the id or ARN of a key, or an alias or its ARN.
pub(super) fn resolve_key(at: &str, text: &str) -> Result<String> {
    let refused = || not_accessible("specified", text);
    let (owner, name) = match text.splitn(6, ':').collect::<Vec<_>>()[..] {
        ["arn", _, "kms", region, account, name]
            if region == scope::region_of(at) && scope::is_account_id(account) =>
        {
            (scope::join_scope(account, region), name)
        }
        [name] => (at.to_owned(), name),
        _ => return Err(refused()),
    };
    if let Some(service) = name.strip_prefix("alias/aws/") {
        // A key that AWS keeps for another service cannot be used for RDS.
        return if service == "rds" && owner == at { Ok(default_key(at, service)) } else { Err(refused()) };
    }
    if let Some(alias) = name.strip_prefix("alias/") {
        let is_alias = !alias.is_empty()
            && alias.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/_-".contains(&byte));
        return if is_alias { Ok(key_arn(&owner, &alias_key_id(&owner, name))) } else { Err(refused()) };
    }
    let id = if text.starts_with("arn:") { name.strip_prefix("key/").unwrap_or_default() } else { name };
    if is_key_id(id) { Ok(key_arn(&owner, id)) } else { Err(refused()) }
}

/// The key that AWS keeps for a service in the scope `at`.
pub(super) fn default_key(at: &str, service: &str) -> String {
    key_arn(at, &alias_key_id(at, &format!("alias/aws/{service}")))
}

fn key_arn(at: &str, id: &str) -> String {
    format!("arn:aws:kms:{}:key/{id}", scope::arn_part(at))
}

/// A UUID, or `mrk-` and 32 hexadecimal digits.
fn is_key_id(text: &str) -> bool {
    let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match text.strip_prefix("mrk-") {
        Some(rest) => rest.len() == 32 && is_hex(rest),
        None => {
            let parts: Vec<&str> = text.split('-').collect();
            parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12]) && parts.iter().all(|part| is_hex(part))
        }
    }
}

/// The id of the key behind an alias: always the same for an alias in a scope.
fn alias_key_id(at: &str, alias: &str) -> String {
    let hash = |seed: u64| {
        // FNV-1a.
        let bytes = at.bytes().chain(alias.bytes());
        bytes.fold(seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    };
    let (high, low) = (hash(0xcbf2_9ce4_8422_2325), hash(0x9e37_79b9_7f4a_7c15));
    format_uuid(u128::from(high) << 64 | u128::from(low))
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
        assert_eq!(resolve_key(here, ID).unwrap(), key);
        assert_eq!(resolve_key(here, &key).unwrap(), key);
        assert_eq!(resolve_key(here, &foreign).unwrap(), foreign);
        assert!(resolve_key(here, &format!("mrk-{}", ID.replace('-', ""))).is_ok());
        assert_eq!(resolve_key(here, "alias/aws/rds").unwrap(), default_key(here, "rds"));
        let alias = resolve_key(here, "alias/backups").unwrap();
        assert_eq!(resolve_key(here, "arn:aws:kms:eu-west-1:123456789012:alias/backups").unwrap(), alias);
        assert_ne!(alias, resolve_key("eu-west-2", "alias/backups").unwrap());
        assert!(is_key_id(alias.rsplit('/').next().unwrap()), "{alias}");
        assert!(resolve_key(here, &default_key(here, "rds")).is_ok());
    }

    #[test]
    fn texts_that_are_not_keys_are_refused() {
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
            assert_eq!(
                resolve_key("eu-west-1", text).unwrap_err().code,
                "KMSKeyNotAccessibleFault",
                "{text}"
            );
        }
    }
}
