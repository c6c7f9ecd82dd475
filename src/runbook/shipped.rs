//! The runbooks that are built in, so that an installed tool has them.

/// Name and text of each, in the order in which they are listed.
const SHIPPED: [(&str, &str); 10] = [
    ("data-loss", include_str!("../../runbooks/data-loss.md")),
    ("a-table-was-dropped", include_str!("../../runbooks/a-table-was-dropped.md")),
    ("point-in-time", include_str!("../../runbooks/point-in-time.md")),
    ("before-a-migration", include_str!("../../runbooks/before-a-migration.md")),
    ("storage-is-full", include_str!("../../runbooks/storage-is-full.md")),
    ("the-key-is-lost", include_str!("../../runbooks/the-key-is-lost.md")),
    ("the-region-is-gone", include_str!("../../runbooks/the-region-is-gone.md")),
    ("restore-a-local-backup", include_str!("../../runbooks/restore-a-local-backup.md")),
    ("monthly-drill", include_str!("../../runbooks/monthly-drill.md")),
    ("new-team-member", include_str!("../../runbooks/new-team-member.md")),
];

/// Their names.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    SHIPPED.iter().map(|(name, _)| *name)
}

/// The text of one.
pub(crate) fn read_shipped(name: &str) -> Option<&'static str> {
    SHIPPED.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// The one that was probably meant.
pub(super) fn nearest_name(name: &str) -> Option<&'static str> {
    let near = names().map(|known| (strsim::damerau_levenshtein(known, name), known)).min()?;
    (near.0 <= 3).then_some(near.1)
}
