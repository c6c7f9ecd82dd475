//! Who runs a runbook, and the environment of its commands.

use super::journal::Actor;
use crate::aws::{Access, Aws};
use crate::error::Result;

/// The environment variables with which the commands of steps reach the same Region, endpoint and vault as we do.
pub(crate) fn list_variables(access: &Access, vault: &str, aws: Option<&Aws>) -> Vec<(String, String)> {
    let mut variables = Vec::new();
    let mut set = |name: &str, value: String| variables.push((name.to_owned(), value));
    if let Some(aws) = aws {
        set("AWS_REGION", aws.region().to_owned());
        set("AWS_DEFAULT_REGION", aws.region().to_owned());
    }
    if let Some(profile) = &access.profile {
        set("AWS_PROFILE", profile.clone());
    }
    if let Some(url) = &access.endpoint_url {
        set("AWS_ENDPOINT_URL", url.clone());
    }
    let vault = std::path::absolute(vault).unwrap_or_else(|_| vault.into());
    set("BACKUP_DIR", vault.display().to_string());
    variables
}

/// The name of the user that this process runs as; `USER` can be set to anything.
fn user_of_process() -> String {
    let uid = rustix::process::getuid().as_raw();
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let of_uid = |line: &&str| line.split(':').nth(2) == Some(uid.to_string().as_str());
    let name = passwd.lines().find(of_uid).and_then(|line| line.split(':').next());
    name.map_or_else(|| format!("uid-{uid}"), str::to_owned)
}

/// Who runs a runbook: the caller's ARN where the runbook needs AWS, otherwise the user of this process.
pub(crate) async fn identify_actor(aws: Option<&Aws>, host: String) -> Result<Actor> {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let Some(aws) = aws else {
        let identity = format!("{}@{host}", user_of_process());
        return Ok(Actor { identity, account: None, region: None, host, version });
    };
    let arn = aws.caller().await?;
    let account = crate::rds::account_of(&arn).map(str::to_owned);
    Ok(Actor { identity: arn, account, region: Some(aws.region().to_owned()), host, version })
}
