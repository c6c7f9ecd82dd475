//! What a new instance needs that may not be there: its groups, and its class.

use crate::aws::Aws;
use crate::error::{Error, Result};

/// Refuses a DB subnet group that does not exist.
pub(crate) async fn require_subnet_group(aws: &Aws, group: Option<&String>) -> Result<()> {
    match group {
        Some(group) if !aws.subnet_group_exists(group).await? => {
            Err(Error::request(format!("DB subnet group `{group}` does not exist"))
                .hint("Choose another `--subnet-group`."))
        }
        _ => Ok(()),
    }
}

/// Refuses a DB parameter group that does not exist.
pub(crate) async fn require_parameter_group(aws: &Aws, group: Option<&String>) -> Result<()> {
    match group {
        Some(group) if !aws.parameter_group_exists(group).await? => {
            Err(Error::request(format!("DB parameter group `{group}` does not exist"))
                .hint("Choose another `--parameter-group`."))
        }
        _ => Ok(()),
    }
}

/// The error of a class that AWS does not offer there.
pub(crate) fn class_not_offered_error(aws: &Aws, engine: &str, version: &str, class: &str) -> Error {
    let engine = if engine == "postgres" { "PostgreSQL" } else { engine };
    Error::request(format!("class `{class}` is not offered for {engine} {version} in {}", aws.region()))
        .hint("Choose another `--class`, such as db.t4g.micro.")
}
