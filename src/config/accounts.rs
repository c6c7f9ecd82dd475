//! The sections `[[accounts]]`: several accounts and Regions, which every command over a fleet spans.

use serde::Deserialize;

use crate::aws::{Access, Role};

/// An account: its name here, how to get into it, and the Regions in which it has databases.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AccountSettings {
    /// What it is called in reports and by `--account`.
    pub name: String,
    /// Profile of `~/.aws/config`; otherwise the usual credentials.
    pub profile: Option<String>,
    /// A role to assume with those.
    pub role_arn: Option<String>,
    /// What the role's trust policy asks for.
    pub external_id: Option<String>,
    /// How the session is called; `lifeboat` by default.
    pub session_name: Option<String>,
    /// Its Regions; otherwise the general one.
    #[serde(default)]
    pub regions: Vec<String>,
}

/// What flags say of where to look.
#[derive(Clone, Debug, Default)]
pub(crate) struct Narrow {
    /// `--account`.
    pub account: Option<String>,
    /// `--region`.
    pub region: Option<String>,
    /// Whether `--profile` names somebody else than the accounts do: then it is that one alone.
    pub is_profile_given: bool,
}

impl AccountSettings {
    pub(super) fn access(&self, usual: &Access, region: Option<&str>) -> Access {
        let role = self.role_arn.as_ref().map(|arn| Role {
            arn: arn.clone(),
            external_id: self.external_id.clone(),
            session_name: self.session_name.clone().unwrap_or("lifeboat".to_owned()),
        });
        Access {
            account: Some(self.name.clone()),
            region: region.map(str::to_owned),
            profile: self.profile.clone().or_else(|| usual.profile.clone()),
            profile_wins: self.profile.is_some() || usual.profile_wins,
            role,
            endpoint_url: usual.endpoint_url.clone(),
        }
    }
}

/// Checks accounts against AWS's rules before anything is asked of AWS; an error has the index of the account.
pub(super) fn check_accounts(accounts: &[AccountSettings]) -> std::result::Result<(), (usize, String)> {
    (0..accounts.len()).try_for_each(|index| check_account(accounts, index).map_err(|why| (index, why)))
}

/// Whether a text has the form of a Region's name.
pub(super) fn is_region(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
}

fn check_account(accounts: &[AccountSettings], index: usize) -> std::result::Result<(), String> {
    let account = &accounts[index];
    let name = &account.name;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || !name.chars().all(is_plain) || name.starts_with('-') {
        return Err(format!(
            "account `{}` needs another name: letters, digits, `.`, `_` and `-`",
            name.escape_default()
        ));
    }
    if accounts[..index].iter().any(|other| other.name == *name) {
        return Err(format!("two accounts are called `{name}`"));
    }
    if let Some(region) = account.regions.iter().find(|region| !is_region(region)) {
        return Err(format!(
            "account `{name}`: `{}` is not a Region, such as eu-central-1",
            region.escape_default()
        ));
    }
    if let Some(twice) =
        account.regions.iter().enumerate().find(|(at, it)| account.regions[..*at].contains(it))
    {
        return Err(format!("account `{name}` names the Region `{}` twice", twice.1));
    }
    check_role(account)
}

/// AWS Security Token Service API, `AssumeRole`.
fn check_role(account: &AccountSettings) -> std::result::Result<(), String> {
    let name = &account.name;
    let Some(arn) = &account.role_arn else {
        return match (&account.external_id, &account.session_name) {
            (None, None) => Ok(()),
            _ => Err(format!(
                "account `{name}`: `external_id` and `session_name` are of a role; `role_arn` is missing"
            )),
        };
    };
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let is_role = match parts[..] {
        ["arn", partition, "iam", "", id, role] => {
            partition.starts_with("aws")
                && id.len() == 12
                && id.bytes().all(|byte| byte.is_ascii_digit())
                && role.strip_prefix("role/").is_some_and(|role| !role.is_empty())
        }
        _ => false,
    };
    if !is_role {
        return Err(format!(
            "account `{name}`: `{}` is not the ARN of a role, such as arn:aws:iam::111122223333:role/lifeboat",
            arn.escape_default()
        ));
    }
    let fits = |text: &String, lengths: std::ops::RangeInclusive<usize>, also: &str| {
        lengths.contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || also.contains(c))
    };
    if account.session_name.as_ref().is_some_and(|text| !fits(text, 2..=64, "_+=,.@-")) {
        return Err(format!("account `{name}`: a `session_name` has 2 to 64 letters, digits and `_+=,.@-`"));
    }
    if account.external_id.as_ref().is_some_and(|text| !fits(text, 2..=1224, "_+=,.@:/-")) {
        return Err(format!(
            "account `{name}`: an `external_id` has 2 to 1224 letters, digits and `_+=,.@:/-`"
        ));
    }
    Ok(())
}
