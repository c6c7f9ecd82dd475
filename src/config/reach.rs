//! The accounts and Regions that a command over a fleet spans.

use super::Config;
use super::accounts::{AccountSettings, Narrow};
use crate::aws::Access;
use crate::error::{Error, Result};

impl Config {
    /// The accounts and Regions that a command over a fleet spans; `usual` alone, where no accounts are named.
    pub(crate) fn list_accesses(&self, usual: &Access, only: &Narrow) -> Result<Vec<Access>> {
        if let Some(name) = &only.account
            && !self.accounts.iter().any(|account| account.name == *name)
        {
            return Err(self.no_account(name));
        }
        if self.accounts.is_empty() || (only.is_profile_given && only.account.is_none()) {
            return Ok(vec![usual.clone()]);
        }
        let chosen: Vec<&AccountSettings> = self
            .accounts
            .iter()
            .filter(|account| only.account.as_ref().is_none_or(|name| account.name == *name))
            .collect();
        // Who names the account may mean a Region that is not listed, such as one that a copy was taken to.
        let is_any_region = chosen.len() == 1;
        let mut places = Vec::new();
        for account in chosen {
            let listed: Vec<Option<&str>> = match (only.region.as_deref(), account.regions.as_slice()) {
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
        match (places.is_empty(), &only.region) {
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

    fn places(only: Narrow) -> Result<Vec<String>> {
        let config = Config::parse(TWO, Path::new("x"))?;
        let usual = Access { region: config.region.clone(), ..Access::default() };
        let shown =
            |it: Access| format!("{}/{}", it.account.unwrap_or_default(), it.region.unwrap_or_default());
        Ok(config.list_accesses(&usual, &only)?.into_iter().map(shown).collect())
    }

    #[test]
    fn every_account_has_its_regions_and_flags_narrow_them_down() {
        let all = places(Narrow::default()).unwrap();
        assert_eq!(all, ["prod/eu-west-1", "prod/eu-central-1", "dev/eu-north-1"]);
        let region = Narrow { region: Some("eu-west-1".to_owned()), ..Narrow::default() };
        assert_eq!(places(region).unwrap(), ["prod/eu-west-1", "dev/eu-west-1"]);
        let account = Narrow { account: Some("prod".to_owned()), ..Narrow::default() };
        assert_eq!(places(account).unwrap(), ["prod/eu-west-1", "prod/eu-central-1"]);
        let elsewhere = Narrow {
            account: Some("prod".to_owned()),
            region: Some("us-east-1".to_owned()),
            ..Narrow::default()
        };
        assert_eq!(places(elsewhere).unwrap(), ["prod/us-east-1"]);
        let nobody = Narrow { account: Some("nope".to_owned()), ..Narrow::default() };
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
