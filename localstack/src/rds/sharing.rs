//! Snapshots that an account shares with others, or with everybody: which, with whom, and what the others see of them.

use crate::error::{ApiError, Result};
use crate::place;
use crate::rds::{Request, bare, keys};
use crate::record::{Snapshot, SnapshotKind, State};
use crate::wire::Xml;

/// With how many accounts a snapshot can be shared.
const MOST: usize = 20;
/// In place of an account: everybody.
const EVERYBODY: &str = "all";

/// Whether a snapshot belongs to another account than that of `at`.
pub(super) fn is_foreign(snapshot: &Snapshot, at: &str) -> bool {
    place::account(&snapshot.region) != place::account(at)
}

/// Of a foreign snapshot: `shared` or `public`, as it is to be seen from `at`; nothing when it is not for that account.
pub(super) fn kind_for(snapshot: &Snapshot, at: &str) -> Option<&'static str> {
    let has = |who: &str| snapshot.shared_with.iter().any(|with| with == who);
    if has(place::account(at)) {
        Some("shared")
    } else if has(EVERYBODY) {
        Some("public")
    } else {
        None
    }
}

/// The snapshot that a text names, as far as the account of `at` may see it. One of another account is named by its ARN.
pub(super) fn find<'s>(state: &'s State, at: &str, text: &str) -> Result<&'s Snapshot> {
    let home = place::of_arn(text).unwrap_or_else(|| at.to_owned());
    let name = bare(text);
    let found = state.regions.get(&home).and_then(|region| region.snapshots.get(&name));
    found
        .filter(|snapshot| !is_foreign(snapshot, at) || kind_for(snapshot, at).is_some())
        .ok_or_else(|| ApiError::no_snapshot(if home == at { &name } else { text }))
}

/// The snapshots of other accounts in the Region of `at` that its account may copy and restore.
pub(super) fn seen_from<'s>(state: &'s State, at: &str) -> impl Iterator<Item = &'s Snapshot> {
    let at = at.to_owned();
    let regions = state.regions.values().flat_map(|region| region.snapshots.values());
    regions.filter(move |snapshot| {
        is_foreign(snapshot, &at)
            && place::region(&snapshot.region) == place::region(&at)
            && kind_for(snapshot, &at).is_some()
    })
}

pub(super) fn describe(request: &Request<'_>) -> Result<Xml> {
    let name = request.identifier("DBSnapshotIdentifier")?;
    request.shared.store.read(|state| {
        let region = state.regions.get(request.region);
        let snapshot = region.and_then(|region| region.snapshots.get(&name));
        snapshot.map(shown).ok_or_else(|| ApiError::no_snapshot(&name))
    })
}

pub(super) fn modify(request: &Request<'_>) -> Result<Xml> {
    let query = request.query;
    let name = request.identifier("DBSnapshotIdentifier")?;
    let attribute = query.required("AttributeName")?;
    if attribute != "restore" {
        return Err(ApiError::value(format!("Invalid snapshot attribute: {attribute}. Must be restore.")));
    }
    let list = |name: &str| query.list(name, "AttributeValue").unwrap_or_default();
    let (add, remove) = (list("ValuesToAdd"), list("ValuesToRemove"));
    let is_account = |text: &str| text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    if let Some(wrong) = add.iter().chain(&remove).find(|text| *text != EVERYBODY && !is_account(text)) {
        return Err(ApiError::value(format!("Invalid account ID: {wrong}")));
    }
    if let Some(both) = add.iter().find(|value| remove.contains(value)) {
        return Err(ApiError::combination(format!("A value may not be both added and removed: {both}")));
    }
    request.shared.store.change(|state| {
        let region = state.region_mut(request.region);
        let snapshot = region.snapshots.get_mut(&name).ok_or_else(|| ApiError::no_snapshot(&name))?;
        if snapshot.kind == SnapshotKind::Automated {
            return Err(ApiError::value("The parameter DBSnapshotIdentifier is not a valid identifier."));
        }
        if snapshot.backup.is_none() && snapshot.settings.is_postgres() {
            return Err(ApiError::new(
                "InvalidDBSnapshotState",
                format!("The snapshot {name} is not in the available state."),
            ));
        }
        check_key(snapshot, &add)?;
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
        Ok(shown(snapshot))
    })
}

/// An encrypted snapshot is never public, and one under RDS's own key stays where it is.
fn check_key(snapshot: &Snapshot, add: &[String]) -> Result<()> {
    let Some(key) = snapshot.settings.kms_key.as_deref().filter(|_| !add.is_empty()) else { return Ok(()) };
    if add.iter().any(|value| value == EVERYBODY) {
        return Err(ApiError::value("Encrypted snapshots can't be made public."));
    }
    if key == keys::default_for(&snapshot.region, "rds") {
        return Err(ApiError::new(
            "InvalidDBSnapshotState",
            "A snapshot that is encrypted with the default KMS key can't be shared: copy it with a customer managed key and \
             share the copy.",
        ));
    }
    Ok(())
}

fn shown(snapshot: &Snapshot) -> Xml {
    let mut xml = Xml::new();
    xml.within("DBSnapshotAttributesResult", |xml| {
        xml.text("DBSnapshotIdentifier", &snapshot.id).list(
            "DBSnapshotAttributes",
            "DBSnapshotAttribute",
            ["restore"],
            |xml, name| {
                xml.text("AttributeName", name).values(
                    "AttributeValues",
                    "AttributeValue",
                    &snapshot.shared_with,
                );
            },
        );
    });
    xml
}
