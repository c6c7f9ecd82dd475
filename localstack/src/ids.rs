//! Random ids in the forms that AWS gives them.

/// A random UUID, as request and message ids are.
pub(crate) fn random_uuid() -> String {
    format_uuid(rand::random())
}

pub(crate) fn format_uuid(bits: u128) -> String {
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// A new resource id of a DB instance: `db-` and 26 capitals and digits.
pub(crate) fn random_resource_id() -> String {
    format!("db-{}", random_text(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"))
}

/// The last part of the ARN of an automated backup: `ab-` and 26 lowercase letters and digits.
pub(crate) fn random_backup_name() -> String {
    format!("ab-{}", random_text(b"abcdefghijklmnopqrstuvwxyz234567"))
}

/// 26 characters of `alphabet`.
pub(crate) fn random_text(alphabet: &[u8]) -> String {
    (0..26).map(|_| char::from(alphabet[rand::random::<u64>() as usize % alphabet.len()])).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn uuids_have_their_five_parts() {
        let id = super::random_uuid();
        assert_eq!(id.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
    }
}
