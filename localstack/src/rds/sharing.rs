//! Snapshots that an account shares with other accounts or with everybody.

use crate::error::{ApiError, Result};
use crate::rds::keys;
use crate::rds::request::{Request, local_name};
use crate::resources::{Snapshot, SnapshotKind};
use crate::scope;
use crate::store::State;
use crate::wire::Xml;

/// The number of accounts that a snapshot can be shared with.
const MOST: usize = 20;
/// Stands for every account.
const EVERYBODY: &str = "all";

/// Whether a snapshot belongs to another account than that of `at`.
pub(super) fn is_foreign(snapshot: &Snapshot, at: &str) -> bool {
    scope::account_of(&snapshot.region) != scope::account_of(at)
}

/// How another account may see a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sharing {
    Shared,
    Public,
}

impl Sharing {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Public => "public",
        }
    }
}

pub(super) fn is_public(snapshot: &Snapshot) -> bool {
    snapshot.shared_with.iter().any(|with| with == EVERYBODY)
}

/// How a snapshot of another account is shared with the account of `at`; `None` if it is not.
pub(super) fn sharing_with(snapshot: &Snapshot, at: &str) -> Option<Sharing> {
    if snapshot.shared_with.iter().any(|with| with == scope::account_of(at)) {
        return Some(Sharing::Shared);
    }
    is_public(snapshot).then_some(Sharing::Public)
}

/// The snapshot that a name or an ARN refers to, if the account of `at` may see it. A snapshot of another account is named
/// by its ARN.
pub(super) fn find_snapshot<'s>(state: &'s State, at: &str, text: &str) -> Result<&'s Snapshot> {
    let home = scope::scope_of_arn(text).unwrap_or_else(|| at.to_owned());
    let name = local_name(text);
    let found = state.region(&home).snapshots.get(&name);
    found
        .filter(|snapshot| !is_foreign(snapshot, at) || sharing_with(snapshot, at).is_some())
        .ok_or_else(|| ApiError::no_snapshot(if home == at { &name } else { text }))
}

/// The same, if the snapshot is in the Region of `at`.
pub(super) fn find_snapshot_here<'s>(state: &'s State, at: &str, text: &str) -> Result<&'s Snapshot> {
    find_snapshot(state, at, text)
        .ok()
        .filter(|found| scope::region_of(&found.region) == scope::region_of(at))
        .ok_or_else(|| ApiError::no_snapshot(text))
}

/// The snapshots of other accounts in the Region of `at` that its account may copy and restore.
pub(super) fn shared_snapshots<'s>(state: &'s State, at: &str) -> impl Iterator<Item = &'s Snapshot> {
    let at = at.to_owned();
    state.snapshots().filter(move |snapshot| {
        is_foreign(snapshot, &at)
            && scope::region_of(&snapshot.region) == scope::region_of(&at)
            && sharing_with(snapshot, &at).is_some()
    })
}

pub(super) fn describe_db_snapshot_attributes(request: &Request<'_>) -> Result<Xml> {
    let name = request.resolve_identifier("DBSnapshotIdentifier")?;
    request.cx.store.read(|state| {
        let snapshot = state.region(request.region).snapshots.get(&name);
        snapshot.map(attributes_result).ok_or_else(|| ApiError::no_snapshot(&name))
    })
}

pub(super) fn modify_db_snapshot_attribute(request: &Request<'_>) -> Result<Xml> {
    let query = request.query;
    let name = request.resolve_identifier("DBSnapshotIdentifier")?;
    let attribute = query.required("AttributeName")?;
    if attribute != "restore" {
        return Err(ApiError::invalid_value(format!(
            "Invalid snapshot attribute: {attribute}. Must be restore."
        )));
    }
    let list = |name: &str| query.list(name, "AttributeValue").unwrap_or_default();
    let (add, remove) = (list("ValuesToAdd"), list("ValuesToRemove"));
    if let Some(wrong) =
        add.iter().chain(&remove).find(|text| *text != EVERYBODY && !scope::is_account_id(text))
    {
        return Err(ApiError::invalid_value(format!("Invalid account ID: {wrong}")));
    }
    if let Some(both) = add.iter().find(|value| remove.contains(value)) {
        return Err(ApiError::invalid_combination(format!(
            "A value may not be both added and removed: {both}"
        )));
    }
    request.cx.store.change(|state| {
        let region = state.region_mut(request.region);
        let snapshot = region.snapshots.get_mut(&name).ok_or_else(|| ApiError::no_snapshot(&name))?;
        if snapshot.kind == SnapshotKind::Automated {
            return Err(ApiError::invalid_value(
                "The parameter DBSnapshotIdentifier is not a valid identifier.",
            ));
        }
        if snapshot.backup.is_none() && snapshot.settings.is_postgres() {
            return Err(ApiError::snapshot_unavailable(&name));
        }
        check_encryption(snapshot, &add)?;
        let mut with = snapshot.shared_with.clone();
        with.retain(|value| !remove.contains(value));
        with.extend(add);
        with.sort();
        with.dedup();
        if with.iter().filter(|value| *value != EVERYBODY).count() > MOST {
            return Err(ApiError::new(
                "SharedSnapshotQuotaExceeded",
                format!("A DB snapshot can be shared with at most {MOST} accounts."),
            ));
        }
        snapshot.shared_with = with;
        Ok(attributes_result(snapshot))
    })
}

/// An encrypted snapshot can never be public, and one under the default key cannot be shared at all.
fn check_encryption(snapshot: &Snapshot, add: &[String]) -> Result<()> {
    let Some(key) = snapshot.settings.kms_key.as_deref().filter(|_| !add.is_empty()) else { return Ok(()) };
    if add.iter().any(|value| value == EVERYBODY) {
        return Err(ApiError::invalid_value("Encrypted snapshots can't be made public."));
    }
    if key == keys::default_key(&snapshot.region, "rds") {
        return Err(ApiError::snapshot_state(
            "A snapshot that is encrypted with the default KMS key can't be shared: copy it with a customer managed key and \
             share the copy.",
        ));
    }
    Ok(())
}

fn attributes_result(snapshot: &Snapshot) -> Xml {
    Xml::with_element("DBSnapshotAttributesResult", |xml| {
        xml.text("DBSnapshotIdentifier", &snapshot.id);
        xml.list("DBSnapshotAttributes", "DBSnapshotAttribute", ["restore"], |xml, name| {
            xml.text("AttributeName", name).values(
                "AttributeValues",
                "AttributeValue",
                &snapshot.shared_with,
            );
        });
    })
}
