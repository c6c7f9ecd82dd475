//! Files that are replaced as a whole: a reader finds the old content or the new one.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use serde::de::DeserializeOwned;

/// Puts `content` at `file`, readable by its owner only.
pub(crate) fn replace_file(file: &Path, content: &[u8]) -> io::Result<()> {
    let partial = file.with_extension("partial");
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(&partial)?.write_all(content)?;
    fs::rename(&partial, file)
}

/// Reads a JSON file; `None` if it does not exist.
pub(crate) fn read_json<T: DeserializeOwned>(file: &Path) -> anyhow::Result<Option<T>> {
    match fs::read(file) {
        Ok(json) => serde_json::from_slice(&json)
            .with_context(|| format!("`{}` was not written by this version", file.display()))
            .map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read `{}`", file.display())),
    }
}
