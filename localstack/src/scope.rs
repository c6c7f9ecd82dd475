//! The account and Region that an object belongs to, as one string: `eu-west-1`, or `eu-west-1:111122223333` for any
//! account but the default one.
//!
//! Objects are stored by scope, so no account sees those of another. A call's account follows from its access key: a key
//! that consists of twelve digits belongs to the account of that number, and so do the keys of the roles assumed here
//! (`ASIA`, the account, a random tail). Every other key belongs to the default account.

/// The account of callers whose access key names no other.
pub(crate) const DEFAULT_ACCOUNT: &str = "123456789012";

pub(crate) fn join_scope(account: &str, region: &str) -> String {
    if account == DEFAULT_ACCOUNT { region.to_owned() } else { format!("{region}:{account}") }
}

pub(crate) fn region_of(scope: &str) -> &str {
    scope.split(':').next().unwrap_or(scope)
}

pub(crate) fn account_of(scope: &str) -> &str {
    scope.split_once(':').map_or(DEFAULT_ACCOUNT, |(_, account)| account)
}

/// Region and account as they stand in an ARN.
pub(crate) fn arn_part(scope: &str) -> String {
    format!("{}:{}", region_of(scope), account_of(scope))
}

/// The scope of the object that an ARN names; `None` if the text is no ARN.
pub(crate) fn scope_of_arn(arn: &str) -> Option<String> {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    match parts[..] {
        ["arn", _, _, region, account, _] => Some(join_scope(account, region)),
        _ => None,
    }
}

pub(crate) fn is_account_id(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

pub(crate) fn account_of_access_key(access_key: &str) -> &str {
    let assumed = access_key.strip_prefix("ASIA").and_then(|rest| rest.get(..12));
    assumed.or(Some(access_key)).filter(|text| is_account_id(text)).unwrap_or(DEFAULT_ACCOUNT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scope_of_the_default_account_is_the_region_alone() {
        assert_eq!(join_scope(DEFAULT_ACCOUNT, "eu-west-1"), "eu-west-1");
        let other = join_scope("111122223333", "eu-west-1");
        assert_eq!((region_of(&other), account_of(&other)), ("eu-west-1", "111122223333"));
        assert_eq!(arn_part(&other), "eu-west-1:111122223333");
        assert_eq!(scope_of_arn("arn:aws:rds:eu-west-1:111122223333:snapshot:rds:x"), Some(other));
        assert_eq!(scope_of_arn("orders"), None);
    }

    #[test]
    fn the_account_follows_from_the_access_key() {
        assert_eq!(account_of_access_key("111122223333"), "111122223333");
        assert_eq!(account_of_access_key("ASIA111122223333ABCD"), "111122223333");
        assert_eq!(account_of_access_key("ASIAIOSFODNN7EXAMPLE"), DEFAULT_ACCOUNT);
        assert_eq!(account_of_access_key("test"), DEFAULT_ACCOUNT);
    }
}
