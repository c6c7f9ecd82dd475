//! What steps create (`db:…`, `snapshot:…`, `file:…`): whether it exists, and its immutable id.

use std::os::unix::fs::MetadataExt as _;

use super::journal::Made;
use super::values::Values;
use crate::aws::Aws;
use crate::error::{Error, Result};
use crate::rds::{InstanceId, SnapshotId};

/// Whether an object exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ObjectState {
    There(Option<String>),
    /// It is not.
    Absent,
    /// It cannot be checked for objects of this kind.
    Untold,
}

/// The objects of a step with their names filled in.
pub(super) fn fill_names(creates: &[String], values: &Values) -> Result<Vec<String>> {
    creates
        .iter()
        .map(|object| {
            values.fill(object).map_err(|why| Error::request(format!("`{object}` has no name: {why}")))
        })
        .collect()
}

/// Looks at one.
pub(super) async fn find_object(object: &str, aws: Option<&Aws>) -> Result<ObjectState> {
    let (kind, name) = object.split_once(':').unwrap_or(("", object));
    match (kind, aws) {
        ("db", Some(aws)) => Ok(match aws.instance(&InstanceId::parse(name)?).await? {
            Some(found) => ObjectState::There(Some(found.resource_id.to_string())),
            None => ObjectState::Absent,
        }),
        ("snapshot", Some(aws)) => Ok(match aws.snapshot(&SnapshotId::parse(name)?).await? {
            // Recreated under the same name, it would be of another instance or time.
            Some(found) => ObjectState::There(Some(format!(
                "{} of {}",
                found.arn,
                found.resource_id.map_or_else(|| found.instance.clone(), |id| id.to_string())
            ))),
            None => ObjectState::Absent,
        }),
        ("file", _) => match std::fs::symlink_metadata(name) {
            Ok(found) => Ok(ObjectState::There(Some(format!("{}:{}", found.dev(), found.ino())))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(ObjectState::Absent),
            Err(error) => Err(Error::outside(format!("cannot look up `{name}`")).caused_by(error)),
        },
        _ => Ok(ObjectState::Untold),
    }
}

/// The objects that exist. One that cannot be checked exists if its step was done.
pub(super) async fn made(objects: &[String], is_done: bool, aws: Option<&Aws>) -> Result<Vec<Made>> {
    let mut made = Vec::new();
    for object in objects {
        match find_object(object, aws).await? {
            ObjectState::There(identity) => made.push(Made { object: object.clone(), identity }),
            ObjectState::Untold if is_done => made.push(Made { object: object.clone(), identity: None }),
            ObjectState::Untold | ObjectState::Absent => {}
        }
    }
    Ok(made)
}

/// Whether AWS bills an object of its kind.
pub(super) fn is_billed(object: &str) -> bool {
    object.starts_with("db:") || object.starts_with("snapshot:")
}

/// What somebody should know about an object before it is used or removed: engine, host, size. Nothing if it does not exist.
pub(super) async fn describe(object: &str, aws: Option<&Aws>) -> Result<Vec<String>> {
    let (kind, name) = object.split_once(':').unwrap_or(("", object));
    let facts = match (kind, aws) {
        ("db", Some(aws)) => aws.instance(&InstanceId::parse(name)?).await?.map(|found| {
            let host =
                found.endpoint.map_or("no endpoint yet".to_owned(), |(host, port)| format!("{host}:{port}"));
            format!("{} {}, {}, {host}", found.engine, found.engine_version, found.reported_status)
        }),
        ("snapshot", Some(aws)) => aws.snapshot(&SnapshotId::parse(name)?).await?.map(|found| {
            let taken = found.original_created_at.or(found.created_at);
            let taken = taken.map_or(String::new(), |at| format!(", taken {}", crate::when::format_time(at)));
            format!("{} {} of `{}`{taken}", found.engine, found.engine_version, found.instance)
        }),
        ("database" | "table", _) => std::env::var("PGHOST").ok().map(|host| {
            let port = std::env::var("PGPORT").unwrap_or_else(|_| "5432".to_owned());
            format!("PostgreSQL at {host}:{port}")
        }),
        _ => None,
    };
    Ok(facts.into_iter().collect())
}
