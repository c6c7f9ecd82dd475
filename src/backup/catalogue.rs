//! The backups of a vault: found by their manifests, never by patterns of file names.

use chrono::{DateTime, Utc};

use super::manifest::{self, Manifest, Verification};
use super::name::BackupName;
use super::seal::SealKeys;
use crate::error::{Error, Kind, Result};
use crate::vault::{Listing, Recovered, Vault};
use crate::verify::Verdict;

/// What is known of a backup without reading its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Its file is there, and as large as it should be.
    Present,
    /// Its file is not there.
    Missing,
    /// Its file has another size.
    Resized(u64),
}

/// A backup of the vault.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Its manifest.
    pub manifest: Manifest,
    /// What became of its file.
    pub state: State,
}

/// What a vault holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Catalogue {
    /// Backups, newest first.
    pub entries: Vec<Entry>,
    /// Manifests that cannot be read, with the reason: whatever they describe is left alone.
    pub damaged: Vec<String>,
    /// Everything that lies at the root of the vault.
    pub listing: Listing,
}

/// Reads every manifest.
pub(crate) fn read(vault: &Vault) -> Result<Catalogue> {
    let mut catalogue = Catalogue { listing: vault.list("")?, ..Catalogue::default() };
    let listing = &catalogue.listing;
    let stems = listing.files.iter().filter_map(|file| file.name.strip_suffix(".json"));
    let names: Vec<BackupName> = stems.filter_map(|stem| stem.parse().ok()).collect();
    let files: Vec<String> = names.iter().map(manifest::manifest_name).collect();
    for (name, text) in names.iter().zip(vault.read_all_at_most(&files, manifest::LARGEST)?) {
        let read = match text {
            // One that went while we were reading is none.
            Ok(None) => continue,
            Ok(Some(text)) => read_entry(listing, name, &text),
            // Of one that is no plain file, or too large, nothing is known; the others are as good as ever.
            Err(error) if vault.directory().is_some() => Err(error),
            Err(error) => return Err(error),
        };
        match read {
            Ok(entry) => catalogue.entries.push(entry),
            Err(error) => catalogue.damaged.push(error.chain()),
        }
    }
    catalogue.entries.sort_by(|left, right| {
        let key = |entry: &Entry| (entry.manifest.timestamp, entry.manifest.backup_name.clone());
        key(right).cmp(&key(left))
    });
    Ok(catalogue)
}

fn read_entry(listing: &Listing, name: &BackupName, text: &[u8]) -> Result<Entry> {
    let unusable = |why: String| {
        Error::new(Kind::No, format!("`{name}.json` is not the manifest of a backup")).caused_by(why)
    };
    let manifest = Manifest::parse(text).map_err(unusable)?;
    if manifest.backup_name != *name {
        return Err(unusable(format!("it is of `{}`", manifest.backup_name)));
    }
    let state = match listing.size(&manifest.file_name()) {
        None => State::Missing,
        Some(size) if size != manifest.file_size => State::Resized(size),
        Some(_) => State::Present,
    };
    Ok(Entry { manifest, state })
}

/// One backup, by name.
pub(crate) fn find(vault: &Vault, name: &str) -> Result<Entry> {
    let name: BackupName = name.parse()?;
    if let Some(text) = vault.read_at_most(&manifest::manifest_name(&name), manifest::LARGEST)? {
        return read_entry(&vault.list("")?, &name, &text);
    }
    let known = read(vault).unwrap_or_default().entries;
    let near = known.iter().map(|entry| entry.manifest.backup_name.as_str()).find(|known| {
        known.starts_with(name.as_str())
            || name.as_str().starts_with(known)
            || known.eq_ignore_ascii_case(name.as_str())
    });
    Err(Error::request(format!("backup `{name}` does not exist")).hint(match near {
        Some(near) => format!("Did you mean `{near}`?"),
        None => "`lifeboat backup list` lists the backups.".to_owned(),
    }))
}

/// Puts right what dead processes left.
pub(crate) fn recover(vault: &Vault) -> Result<Recovered> {
    vault.recover(&|text| Manifest::parse(text).map(|manifest| manifest.files()).unwrap_or_default())
}

/// Whether something of that name exists, whatever it is.
pub(super) fn is_taken(listing: &Listing, name: &BackupName) -> bool {
    manifest::file_names(name).iter().any(|file| listing.has(file))
}

/// Whether somebody is making a backup of that name, or has died of it: content may have its name before its manifest.
pub(super) fn is_in_the_making(listing: &Listing, name: &BackupName) -> bool {
    !listing.has(&manifest::manifest_name(name)) && listing.has(&format!(".{name}.partial"))
}

/// The first name that nothing has: the one that is wanted, or the same with a number.
pub(super) fn free_name(vault: &Vault, wanted: BackupName) -> Result<BackupName> {
    let listing = vault.list("")?;
    let mut names = std::iter::once(wanted.clone()).chain((2..).map(|number| wanted.numbered(number)));
    Ok(names.find(|name| !is_taken(&listing, name)).unwrap_or(wanted))
}

/// Appends the time of a backup to its name, and says what it is called now. At every moment it has one of the two names, or
/// both.
pub(super) fn rename_backup(vault: &Vault, backup: &Manifest, keys: &SealKeys) -> Result<BackupName> {
    let old = &backup.backup_name;
    let is_sealed = backup.seal.is_some();
    if is_sealed && !keys.prove(backup, false)? {
        return Err(Error::new(Kind::Guard, format!("cannot rename backup `{old}`: it is sealed"))
            .hint("Pass the key that it was sealed with (`--seal-key`), or choose another `--name`."));
    }
    let quiet = vault.quiet()?;
    // What was recorded of it until now goes with it.
    let backup = &find(vault, old.as_str())?.manifest;
    let name = free_name(vault, old.dated(backup.timestamp))?;
    let mut renamed = Manifest { backup_name: name.clone(), ..backup.clone() };
    renamed.file_path = vault.shown(&renamed.file_name());
    if is_sealed {
        keys.seal(&mut renamed)?;
    }
    let text = serialize_manifest(&renamed)?;
    // Whoever finds this knows which files belong to it.
    let next = format!(".{name}.json.next");
    if vault.directory().is_some() {
        vault.write(&next, &text)?;
    }
    for (from, to) in backup.files().iter().zip(renamed.files()).rev() {
        vault.copy(from, &to)?;
    }
    quiet.require_held()?;
    vault.write(&manifest::manifest_name(&name), &text)?;
    if vault.directory().is_some() {
        vault.forget(&next)?;
    }
    vault.delete(old.as_str(), &backup.files())?;
    Ok(name)
}

/// Changes a manifest, if the backup is still there.
pub(crate) fn amend_manifest(
    vault: &Vault,
    name: &BackupName,
    change: impl FnOnce(&mut Manifest),
) -> Result<Manifest> {
    let quiet = vault.quiet()?;
    let mut manifest = find(vault, name.as_str())?.manifest;
    change(&mut manifest);
    quiet.require_held()?;
    vault.write(&manifest::manifest_name(name), &serialize_manifest(&manifest)?)?;
    Ok(manifest)
}

/// Records a look at a backup, under the name that it has by now: a newer backup may have been given its own meanwhile.
pub(crate) fn record_proof(vault: &Vault, examined: &Manifest, proof: Verification) -> Result<Manifest> {
    let is_it = |found: &Manifest| found.sha256 == examined.sha256 && found.timestamp == examined.timestamp;
    let (name, quiet) = (&examined.backup_name, vault.quiet()?);
    let here = match find(vault, name.as_str()) {
        Ok(entry) => Some(entry.manifest).filter(is_it),
        Err(error) if error.kind() == Kind::Request => None,
        Err(error) => return Err(error),
    };
    let found = match here {
        Some(manifest) => Some(manifest),
        // What was read under that name may have been the newer one.
        None if proof.result != Verdict::Pass => None,
        None => read(vault)?.entries.into_iter().map(|entry| entry.manifest).find(is_it),
    };
    let Some(mut manifest) = found else {
        return Err(Error::request(format!("backup `{name}` was removed or renamed while it was verified"))
            .hint("Verify it again: `lifeboat backup list` shows what the vault holds now."));
    };
    manifest.looked_at(proof);
    quiet.require_held()?;
    vault.write(&manifest::manifest_name(&manifest.backup_name), &serialize_manifest(&manifest)?)?;
    Ok(manifest)
}

/// A manifest as it stands in its file.
pub(super) fn serialize_manifest(manifest: &Manifest) -> Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(manifest)
        .map_err(|error| Error::new(Kind::Bug, "cannot serialize a manifest").caused_by(error))?;
    text.push(b'\n');
    Ok(text)
}

/// Files at the root of the vault that look like backups but that no manifest describes.
pub(crate) fn files_without_manifest(catalogue: &Catalogue) -> Vec<String> {
    let known: Vec<String> = catalogue.entries.iter().flat_map(|entry| entry.manifest.files()).collect();
    let looks_like_one = |file: &String| {
        let plain = file.trim_end_matches(".age").trim_end_matches(".gz").trim_end_matches(".zst");
        !file.starts_with('.')
            && [".sql", ".dump", ".tar", ".sqlite"].iter().any(|ending| plain.ends_with(ending))
    };
    let names = catalogue.listing.files.iter().map(|file| &file.name);
    // What is just being made in an object store has its name before its manifest has.
    let is_in_the_making = |file: &String| {
        file.match_indices('.').any(|(at, _)| catalogue.listing.has(&format!(".{}.partial", &file[..at])))
    };
    names
        .filter(|file| looks_like_one(file) && !known.contains(file) && !is_in_the_making(file))
        .cloned()
        .collect()
}

/// Age in seconds; a copy from the future, after the clock was set back, is new.
pub(crate) fn age_seconds(manifest: &Manifest, now: DateTime<Utc>) -> u64 {
    u64::try_from((now - manifest.timestamp).num_seconds()).unwrap_or(0)
}
