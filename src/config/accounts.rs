//! The sections `[[accounts]]`: several accounts and Regions, which every command over a fleet spans.

use serde::Deserialize;

use super::Config;
use crate::aws::{Access, Role};
use crate::error::{Error, Result};

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
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Narrow<'a> {
    /// `--account`.
    pub account: Option<&'a str>,
    /// `--region`.
    pub region: Option<&'a str>,
    /// Whether `--profile` names somebody else than the accounts do: then it is that one alone.
    pub is_profile_given: bool,
}

impl Config {
    /// The accounts and Regions that a command over a fleet spans; `usual` alone, where no accounts are named.
    pub(crate) fn places(&self, usual: &Access, only: Narrow<'_>) -> Result<Vec<Access>> {
        if let Some(name) = only.account
            && !self.accounts.iter().any(|account| account.name == name)
        {
            return Err(self.no_account(name));
        }
        if self.accounts.is_empty() || (only.is_profile_given && only.account.is_none()) {
            return Ok(vec![usual.clone()]);
        }
        let chosen: Vec<&AccountSettings> = self
            .accounts
            .iter()
            .filter(|account| only.account.is_none_or(|name| account.name == name))
            .collect();
        // Who names the account may mean a Region that is not listed, such as one that a copy was taken to.
        let is_any_region = chosen.len() == 1;
        let mut places = Vec::new();
        for account in chosen {
            let listed: Vec<Option<&str>> = match (only.region, account.regions.as_slice()) {
                (Some(region), []) => vec![Some(region)],
                (Some(region), _) if is_any_region => vec![Some(region)],
                (wanted, []) => vec![wanted.or(usual.region.as_deref())],
                (wanted, regions) => regions
                    .iter()
                    .map(String::as_str)
                    .filter(|region| wanted.is_none_or(|wanted| wanted == *region))
                    .map(Some)
                    .collect(),
            };
            places.extend(listed.into_iter().map(|region| account.access(usual, region)));
        }
        match (places.is_empty(), only.region) {
            (true, Some(region)) => Err(Error::request(format!(
                "no account of lifeboat.toml has the Region `{}`",
                region.escape_default()
            ))
            .hint("Name the account too, with `--account`, or add the Region to its `regions`.")),
            _ => Ok(places),
        }
    }

    fn no_account(&self, name: &str) -> Error {
        let names: Vec<&str> = self.accounts.iter().map(|account| account.name.as_str()).collect();
        let hint = if names.is_empty() {
            "It names none: each has a section [[accounts]] with `name`, `regions`, and `profile` or `role_arn`.".to_owned()
        } else {
            format!("It has {}.", names.join(", "))
        };
        Error::request(format!("lifeboat.toml has no account `{}`", name.escape_default())).hint(hint)
    }
}

impl AccountSettings {
    fn access(&self, usual: &Access, region: Option<&str>) -> Access {
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

/// Holds what the file says of accounts against AWS's rules, so that a slip is found before anything is asked.
pub(super) fn check(accounts: &[AccountSettings]) -> std::result::Result<(), String> {
    for (index, account) in accounts.iter().enumerate() {
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
        let is_region =
            |text: &String| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
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
        check_role(account)?;
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const TWO: &str = r#"
        region = "eu-north-1"
        [[accounts]]
        name = "prod"
        role_arn = "arn:aws:iam::111122223333:role/lifeboat"
        external_id = "x-1"
        regions = ["eu-west-1", "eu-central-1"]
        [[accounts]]
        name = "dev"
        profile = "dev"
    "#;

    fn places(only: Narrow<'_>) -> Result<Vec<String>> {
        let config = Config::parse(TWO, Path::new("x"))?;
        let usual = Access { region: config.region.clone(), ..Access::default() };
        let shown =
            |it: Access| format!("{}/{}", it.account.unwrap_or_default(), it.region.unwrap_or_default());
        Ok(config.places(&usual, only)?.into_iter().map(shown).collect())
    }

    #[test]
    fn every_account_has_its_regions_and_flags_narrow_them_down() {
        let all = places(Narrow::default()).unwrap();
        assert_eq!(all, ["prod/eu-west-1", "prod/eu-central-1", "dev/eu-north-1"]);
        let region = Narrow { region: Some("eu-west-1"), ..Narrow::default() };
        assert_eq!(places(region).unwrap(), ["prod/eu-west-1", "dev/eu-west-1"]);
        let account = Narrow { account: Some("prod"), ..Narrow::default() };
        assert_eq!(places(account).unwrap(), ["prod/eu-west-1", "prod/eu-central-1"]);
        let elsewhere = Narrow { account: Some("prod"), region: Some("us-east-1"), ..Narrow::default() };
        assert_eq!(places(elsewhere).unwrap(), ["prod/us-east-1"]);
        let nobody = Narrow { account: Some("nope"), ..Narrow::default() };
        assert!(places(nobody).unwrap_err().hints()[0].contains("prod, dev"));
        let profile = Narrow { is_profile_given: true, ..Narrow::default() };
        assert_eq!(places(profile).unwrap(), ["/eu-north-1"]);
    }

    #[test]
    fn a_slip_in_an_account_is_an_error_that_names_it() {
        for (text, says) in [
            ("name = \"\"", "another name"),
            ("name = \"a b\"", "another name"),
            ("name = \"a\"\n[[accounts]]\nname = \"a\"", "two accounts"),
            ("name = \"a\"\nregions = [\"eu west\"]", "not a Region"),
            ("name = \"a\"\nregions = [\"eu-west-1\", \"eu-west-1\"]", "twice"),
            ("name = \"a\"\nrole_arn = \"lifeboat\"", "not the ARN of a role"),
            ("name = \"a\"\nrole_arn = \"arn:aws:iam::1:role/x\"", "not the ARN of a role"),
            ("name = \"a\"\nexternal_id = \"xx\"", "`role_arn` is missing"),
            (
                "name = \"a\"\nrole_arn = \"arn:aws:iam::111122223333:role/x\"\nsession_name = \"a b\"",
                "session_name",
            ),
            ("name = \"a\"\nrole = \"x\"", "unknown field"),
        ] {
            let error = Config::parse(&format!("[[accounts]]\n{text}\n"), Path::new("x")).unwrap_err();
            assert!(error.chain().contains(says), "{text}: {}", error.chain());
        }
    }
}
