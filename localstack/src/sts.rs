//! STS: who am I. Everybody is the same user of the one account, but for access keys `user-NAME`, which are of the user NAME.

use crate::error::{ApiError, Result};
use crate::record::ACCOUNT;
use crate::wire::Xml;

pub(crate) const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";
pub(crate) const VERSION: &str = "2011-06-15";

pub(crate) fn answer(action: &str, access_key: &str) -> Result<Xml> {
    if action != "GetCallerIdentity" {
        let message = format!("Could not find operation {action} for version {VERSION}");
        return Err(ApiError::new("InvalidAction", message));
    }
    let user = access_key.strip_prefix("user-").unwrap_or("local");
    let mut xml = Xml::new();
    xml.text("Arn", format!("arn:aws:iam::{ACCOUNT}:user/{user}"))
        .text("UserId", "AIDALIFEBOATLOCALSTACK")
        .text("Account", ACCOUNT);
    Ok(xml)
}
