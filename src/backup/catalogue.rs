//! The backups of a vault: found by their manifests, never by patterns of file names.

use chrono::{DateTime, Utc};

use super::manifest::{self, Manifest, Verification};
use super::name::BackupName;
use crate::error::{Error, Kind, Result};
use crate::vault::{Recovered, Vault, read_small};

/// What is known of a backup without reading its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Its file is there, and as large as it should be.
    Present,
    /// Its file is not there.
    Missing,
    /// Its file has another size.
    Resized(u64),
}

/// A backup of the vault.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its manifest.
    pub manifest: Manifest,
    /// What became of its file.
    pub state: State,
}

/// What a vault holds.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    /// Backups, newest first.
    pub entries: Vec<Entry>,
    /// Manifests that cannot be read, with the reason: whatever they describe is left alone.
    pub damaged: Vec<String>,
}

/// Reads every manifest.
pub fn read(vault: &Vault) -> Result<Catalogue> {
    let mut catalogue = Catalogue::default();
    for file in vault.files()? {
        let Some(stem) = file.strip_suffix(".json").filter(|stem| !stem.starts_with('.')) else { continue };
        match read_one(vault, stem) {
            Ok(Some(entry)) => catalogue.entries.push(entry),
            Ok(None) => {}
            Err(error) => catalogue.damaged.push(error.chain()),
        }
    }
    catalogue.entries.sort_by(|left, right| {
        let key = |entry: &Entry| (entry.manifest.timestamp, entry.manifest.backup_name.clone());
        key(right).cmp(&key(left))
    });
    Ok(catalogue)
}

fn read_one(vault: &Vault, stem: &str) -> Result<Option<Entry>> {
    let Ok(name) = stem.parse::<BackupName>() else { return Ok(None) };
    let unusable = |why: String| {
        Error::new(Kind::No, format!("`{name}.json` is not the manifest of a backup")).caused_by(why)
    };
    let text = read_small(vault.open_file(&format!("{stem}.json"))?, manifest::LARGEST)
        .map_err(|error| unusable(error.to_string()))?;
    let manifest = Manifest::parse(&text).map_err(unusable)?;
    if manifest.backup_name != name {
        return Err(unusable(format!("it is of `{}`", manifest.backup_name)));
    }
    let state = match vault.size(&manifest.file_name())? {
        None => State::Missing,
        Some(size) if size != manifest.file_size => State::Resized(size),
        Some(_) => State::Present,
    };
    Ok(Some(Entry { manifest, state }))
}

/// One backup, by name.
pub fn find(vault: &Vault, name: &str) -> Result<Entry> {
    let name: BackupName = name.parse()?;
    let absent = || {
        let known = read(vault).unwrap_or_default().entries;
        let near = known.iter().map(|entry| entry.manifest.backup_name.as_str()).find(|known| {
            known.starts_with(name.as_str())
                || name.as_str().starts_with(known)
                || known.eq_ignore_ascii_case(name.as_str())
        });
        Error::request(format!("there is no backup `{name}`")).hint(match near {
            Some(near) => format!("Did you mean `{near}`?"),
            None => "`lifeboat backup list` shows those there are.".to_owned(),
        })
    };
    if !vault.contains(&format!("{name}.json")) {
        return Err(absent());
    }
    read_one(vault, name.as_str())?.ok_or_else(absent)
}

/// Puts right what dead processes left.
pub fn recover(vault: &Vault) -> Result<Recovered> {
    vault.recover(&|text| Manifest::parse(text).map(|manifest| manifest.files()).unwrap_or_default())
}

/// Whether something of that name exists, whatever it is.
pub(super) fn is_taken(vault: &Vault, name: &BackupName) -> bool {
    manifest::file_names(name).iter().any(|file| vault.contains(file))
}

/// Changes a manifest, if the backup is still there.
pub fn amend(vault: &Vault, name: &BackupName, change: impl FnOnce(&mut Manifest)) -> Result<Manifest> {
    let _quiet = vault.wait_for_lock(".lock")?;
    let mut manifest = find(vault, name.as_str())?.manifest;
    change(&mut manifest);
    vault.write(&format!("{name}.json"), &written(&manifest)?)?;
    Ok(manifest)
}

/// Records a proof.
pub fn record(vault: &Vault, name: &BackupName, proof: Verification) -> Result<Manifest> {
    amend(vault, name, |manifest| manifest.verification = Some(proof))
}

/// A manifest as it stands in its file.
pub(super) fn written(manifest: &Manifest) -> Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(manifest)
        .map_err(|error| Error::new(Kind::Bug, "a manifest cannot be written").caused_by(error))?;
    text.push(b'\n');
    Ok(text)
}

/// Files at the root of the vault that look like backups but that no manifest describes.
pub fn strangers(vault: &Vault, catalogue: &Catalogue) -> Result<Vec<String>> {
    let known: Vec<String> = catalogue.entries.iter().flat_map(|entry| entry.manifest.files()).collect();
    let looks_like_one = |file: &String| {
        let plain = file.trim_end_matches(".age").trim_end_matches(".gz").trim_end_matches(".zst");
        !file.starts_with('.') && [".sql", ".dump", ".sqlite"].iter().any(|ending| plain.ends_with(ending))
    };
    Ok(vault.files()?.into_iter().filter(|file| looks_like_one(file) && !known.contains(file)).collect())
}

/// Age in seconds; a copy from the future, after the clock was set back, is new.
pub fn age_seconds(manifest: &Manifest, now: DateTime<Utc>) -> u64 {
    u64::try_from((now - manifest.timestamp).num_seconds()).unwrap_or(0)
}
