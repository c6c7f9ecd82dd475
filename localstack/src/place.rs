//! Where an object is, as one word: its Region, and its account if that is not the first one.
//!
//! Objects are kept by that word, so nobody sees those of another account. The account is told from the access key: AWS's
//! own keys of assumed roles say nothing of it, ours do (`ASIA`, the account, and something random); an access key of twelve
//! digits is of the account of that number, and everybody else is of the first.

use crate::record::ACCOUNT;

/// The word for a Region of an account.
pub(crate) fn of(account: &str, region: &str) -> String {
    if account == ACCOUNT { region.to_owned() } else { format!("{region}:{account}") }
}

/// The Region in it.
pub(crate) fn region(place: &str) -> &str {
    place.split(':').next().unwrap_or(place)
}

/// The account in it.
pub(crate) fn account(place: &str) -> &str {
    place.split_once(':').map_or(ACCOUNT, |(_, account)| account)
}

/// As an ARN has it.
pub(crate) fn in_arn(place: &str) -> String {
    format!("{}:{}", region(place), account(place))
}

/// The place in an ARN.
pub(crate) fn of_arn(arn: &str) -> Option<String> {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    match parts[..] {
        ["arn", _, _, region, account, _] => Some(of(account, region)),
        _ => None,
    }
}

/// The account of whoever signs with an access key.
pub(crate) fn account_of_key(access_key: &str) -> &str {
    let is_account = |text: &&str| text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    let assumed = access_key.strip_prefix("ASIA").and_then(|rest| rest.get(..12));
    assumed.or(Some(access_key)).filter(is_account).unwrap_or(ACCOUNT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_called_as_its_region_in_the_first_account_alone() {
        assert_eq!(of(ACCOUNT, "eu-west-1"), "eu-west-1");
        let other = of("111122223333", "eu-west-1");
        assert_eq!((region(&other), account(&other)), ("eu-west-1", "111122223333"));
        assert_eq!(in_arn(&other), "eu-west-1:111122223333");
        assert_eq!(of_arn("arn:aws:rds:eu-west-1:111122223333:snapshot:rds:x"), Some(other));
        assert_eq!(of_arn("orders"), None);
    }

    #[test]
    fn the_account_is_told_from_the_access_key() {
        assert_eq!(account_of_key("111122223333"), "111122223333");
        assert_eq!(account_of_key("ASIA111122223333ABCD"), "111122223333");
        assert_eq!(account_of_key("ASIAIOSFODNN7EXAMPLE"), ACCOUNT);
        assert_eq!(account_of_key("test"), ACCOUNT);
    }
}
