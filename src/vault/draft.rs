//! Large files in the making.
//!
//! A draft lies under a hidden name, locked by whoever makes it. It gets its final name when it is complete and on
//! disk; its manifest, which is what counts, gets its own a moment later. A process that dies on the way, however it
//! dies, leaves a draft whose lock is free: [`Vault::recover`] removes it, or finishes the publication that the
//! process had begun.
//!
//! | file | means |
//! |---|---|
//! | `.NAME.partial` | content in the making, locked |
//! | `.NAME.json.next` | the manifest of a content that is complete; NAME is being published |
//! | `.NAME.json.gone` | the manifest of a backup that is being deleted |

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use fs4::fs_std::FileExt as _;

use super::{Vault, make_directory};
use crate::error::{Error, Result};

/// A file in the making; dropped before it is published, it leaves nothing.
#[derive(Debug)]
pub struct Draft {
    file: File,
    path: PathBuf,
    root: PathBuf,
    stem: String,
    is_published: bool,
}

/// What [`Vault::recover`] found and put right.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Names whose publication was finished.
    pub published: Vec<String>,
    /// Names whose deletion was finished.
    pub deleted: Vec<String>,
    /// Names whose incomplete content was removed.
    pub removed: Vec<String>,
}

impl Vault {
    /// Begins a file that belongs to `stem`; `None` while another process makes one of that name.
    pub fn draft(&self, stem: &str) -> Result<Option<Draft>> {
        let path = self.inside(&format!(".{stem}.partial"))?;
        let failed = |error: io::Error| {
            Error::outside(format!("cannot write to the vault `{}`", self.root.display()))
                .caused_by(error)
                .hint("Make the directory writable, free some space, or choose another `--vault`.")
        };
        make_directory(&self.root).map_err(failed)?;
        // Between the birth of a draft and its lock nobody must take it for an abandoned one.
        let _quiet = self.wait_for_lock(".lock")?;
        let mut options = OpenOptions::new();
        let file = match options.read(true).write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        if !file.try_lock_exclusive().map_err(failed)? {
            return Ok(None);
        }
        Ok(Some(Draft { file, path, root: self.root.clone(), stem: stem.to_owned(), is_published: false }))
    }

    /// Takes the lock file `name`, waiting for whoever holds it. Only for locks that are held for a moment.
    pub fn wait_for_lock(&self, name: &str) -> Result<super::Lock> {
        let path = self.inside(name)?;
        let file = super::lock_file(&path)
            .and_then(|file| file.lock_exclusive().map(|()| file))
            .map_err(|error| Error::outside(format!("cannot lock `{}`", path.display())).caused_by(error))?;
        Ok(super::Lock { _file: file })
    }

    /// Puts right what processes left that died on the way. What living ones are making is not touched.
    ///
    /// `files_of` reads from a manifest which files it describes, the content first; nothing if it is not whole.
    pub fn recover(&self, files_of: &dyn Fn(&[u8]) -> Vec<String>) -> Result<Recovered> {
        let mut recovered = Recovered::default();
        if !self.root.exists() {
            return Ok(recovered);
        }
        let _quiet = self.wait_for_lock(".lock")?;
        let failed = |error: io::Error| {
            Error::outside(format!("cannot tidy the vault `{}`", self.root.display())).caused_by(error)
        };
        for name in self.files()? {
            let Some(hidden) = name.strip_prefix('.') else { continue };
            let path = self.root.join(&name);
            if let Some(stem) = hidden.strip_suffix(".partial") {
                if is_abandoned(&path).map_err(failed)? {
                    fs::remove_file(&path).map_err(failed)?;
                    recovered.removed.push(stem.to_owned());
                }
            } else if let Some(stem) = hidden.strip_suffix(".json.next") {
                if self.finish_publication(stem, &path, files_of).map_err(failed)? {
                    recovered.published.push(stem.to_owned());
                }
            } else if let Some(stem) = hidden.strip_suffix(".json.gone") {
                self.finish_deletion(&path, files_of).map_err(failed)?;
                recovered.deleted.push(stem.to_owned());
            } else if hidden.ends_with(".tmp") {
                // Of a manifest that was being rewritten, which happens under this lock.
                fs::remove_file(&path).map_err(failed)?;
            }
        }
        sync_directory(&self.root).map_err(failed)?;
        Ok(recovered)
    }

    /// The content gets its final name last: where it has it, everything was complete.
    fn finish_publication(
        &self,
        stem: &str,
        next: &Path,
        files_of: &dyn Fn(&[u8]) -> Vec<String>,
    ) -> io::Result<bool> {
        let draft = self.root.join(format!(".{stem}.partial"));
        if draft.exists() && !is_abandoned(&draft)? {
            return Ok(false);
        }
        let files: Vec<PathBuf> =
            files_of(&fs::read(next)?).iter().map(|name| self.root.join(name)).collect();
        match files.first() {
            Some(content) if content.exists() => {
                if !is_abandoned(content)? {
                    return Ok(false);
                }
                fs::rename(next, self.root.join(format!("{stem}.json")))?;
                Ok(true)
            }
            _ => {
                files.iter().skip(1).try_for_each(|file| remove_if_there(file))?;
                fs::remove_file(next)?;
                Ok(false)
            }
        }
    }

    fn finish_deletion(&self, gone: &Path, files_of: &dyn Fn(&[u8]) -> Vec<String>) -> io::Result<()> {
        files_of(&fs::read(gone)?).iter().try_for_each(|name| remove_if_there(&self.root.join(name)))?;
        remove_if_there(gone)
    }

    /// Deletes a backup: from the first moment on it does not count, and from then on it will be deleted, even if
    /// this process dies.
    pub fn delete(&self, stem: &str, files: &[String]) -> Result<()> {
        let (manifest, gone) =
            (self.inside(&format!("{stem}.json"))?, self.inside(&format!(".{stem}.json.gone"))?);
        let files: Vec<PathBuf> = files.iter().map(|file| self.inside(file)).collect::<Result<_>>()?;
        let act = || {
            fs::rename(&manifest, &gone)?;
            sync_directory(&self.root)?;
            files.iter().try_for_each(|path| remove_if_there(path))?;
            remove_if_there(&gone)?;
            sync_directory(&self.root)
        };
        act().map_err(|error| Error::outside(format!("cannot delete `{stem}`")).caused_by(error))
    }

    /// Names of the files at the root, sorted; hidden ones too.
    pub fn files(&self) -> Result<Vec<String>> {
        self.files_of(&self.root)
    }

    /// Names of the files in a directory of the vault, sorted; none if there is no such directory.
    pub fn files_in(&self, name: &str) -> Result<Vec<String>> {
        self.files_of(&self.inside(name)?)
    }

    /// Removes a record that has served its purpose.
    pub fn forget(&self, name: &str) -> Result<()> {
        let path = self.inside(name)?;
        remove_if_there(&path)
            .map_err(|error| Error::outside(format!("cannot remove `{}`", path.display())).caused_by(error))
    }

    fn files_of(&self, directory: &Path) -> Result<Vec<String>> {
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => {
                return Err(Error::outside(format!("cannot read `{}`", self.root.display())).caused_by(error));
            }
        };
        let mut names: Vec<String> = entries
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort();
        Ok(names)
    }

    /// How large a file is; `None` if there is none.
    pub fn size(&self, name: &str) -> Result<Option<u64>> {
        let path = self.inside(name)?;
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_file() => Ok(Some(found.len())),
            Ok(_) => Err(Error::outside(format!("`{}` is not a file", path.display()))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::outside(format!("cannot read `{}`", path.display())).caused_by(error)),
        }
    }

    /// Opens a file once, to be checked and used through the same handle: what was checked is what is used.
    pub fn open_file(&self, name: &str) -> Result<File> {
        let path = self.inside(name)?;
        let mut options = OpenOptions::new();
        let no_follow = rustix::fs::OFlags::NOFOLLOW.bits();
        options.read(true).custom_flags(i32::try_from(no_follow).unwrap_or(0)).open(&path).map_err(|error| {
            Error::outside(format!("cannot open `{}`", path.display()))
                .caused_by(error)
                .hint("`lifeboat backup list` shows what the vault holds.")
        })
    }
}

impl Draft {
    /// A handle to write its content through.
    pub fn writer(&self) -> Result<File> {
        self.file.try_clone().map_err(|error| self.failed(error))
    }

    /// Where it lies for now.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it last: the content as `payload`, described by `manifest`, with small files beside it. All of it or
    /// nothing.
    pub fn publish(mut self, payload: &str, beside: &[(String, Vec<u8>)], manifest: &[u8]) -> Result<()> {
        let target = self.root.join(payload);
        let (next, last) = (
            self.root.join(format!(".{}.json.next", self.stem)),
            self.root.join(format!("{}.json", self.stem)),
        );
        let act = || {
            self.file.sync_all()?;
            if last.exists() {
                return Err(io::Error::from(ErrorKind::AlreadyExists));
            }
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
            file.write_all(manifest)?;
            file.sync_all()?;
            for (name, content) in beside {
                let mut file =
                    OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.root.join(name))?;
                file.write_all(content)?;
                file.sync_all()?;
            }
            sync_directory(&self.root)?;
            // A link, since a rename would silently replace what someone else has put there.
            fs::hard_link(&self.path, &target)?;
            fs::remove_file(&self.path)?;
            fs::rename(&next, &last)?;
            sync_directory(&self.root)
        };
        let done = act();
        self.is_published = !self.path.exists();
        done.map_err(|error| {
            // Whoever comes next must not take this for a publication that was nearly done.
            if !self.is_published {
                let _ = fs::remove_file(&next);
                for (name, _) in beside {
                    let _ = fs::remove_file(self.root.join(name));
                }
            }
            Error::outside(format!("cannot publish `{}`", target.display()))
                .caused_by(error)
                .hint("Free some space, or choose another `--vault`.")
        })
    }

    fn failed(&self, error: io::Error) -> Error {
        Error::outside(format!("cannot write `{}`", self.path.display())).caused_by(error)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // After publishing, the hidden name may be somebody else's.
        if !self.is_published {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether nobody holds the lock of a file.
fn is_abandoned(path: &Path) -> io::Result<bool> {
    match File::open(path) {
        Ok(file) => file.try_lock_exclusive(),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Reads a file of at most `limit` bytes whole.
pub fn read_small(mut file: File, limit: u64) -> io::Result<Vec<u8>> {
    if file.metadata()?.len() > limit {
        return Err(io::Error::other(format!("it is larger than {limit} bytes")));
    }
    let mut content = Vec::new();
    Read::by_ref(&mut file).take(limit).read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault() -> (tempfile::TempDir, Vault) {
        let directory = tempfile::tempdir().unwrap();
        let vault = Vault::open(directory.path().join("v").to_str().unwrap()).unwrap();
        (directory, vault)
    }

    fn files_of(manifest: &[u8]) -> Vec<String> {
        let name = String::from_utf8_lossy(manifest).into_owned();
        if name.ends_with(".gz") { vec![name.clone(), name + ".roles"] } else { Vec::new() }
    }

    fn visible(vault: &Vault) -> Vec<String> {
        vault.files().unwrap().into_iter().filter(|name| name != ".lock").collect()
    }

    #[test]
    fn a_draft_is_published_whole_and_never_over_another() {
        let (_directory, vault) = vault();
        let draft = vault.draft("a").unwrap().unwrap();
        assert!(vault.draft("a").unwrap().is_none(), "two make the same name");
        draft.writer().unwrap().write_all(b"content").unwrap();
        assert_eq!(visible(&vault), [".a.partial"]);
        draft.publish("a.gz", &[], b"a.gz").unwrap();
        assert_eq!(visible(&vault), ["a.gz", "a.json"]);
        let again = vault.draft("a").unwrap().unwrap();
        assert!(again.publish("a.gz", &[], b"a.gz").is_err());
        assert_eq!(fs::read(vault.path("a.gz")).unwrap(), b"content");
        assert_eq!(visible(&vault), ["a.gz", "a.json"]);
    }

    #[test]
    fn a_draft_that_is_dropped_leaves_nothing_and_one_that_lives_is_left_alone() {
        let (_directory, vault) = vault();
        let draft = vault.draft("a").unwrap().unwrap();
        assert_eq!(vault.recover(&files_of).unwrap(), Recovered::default());
        assert_eq!(visible(&vault), [".a.partial"]);
        drop(draft);
        assert_eq!(visible(&vault), Vec::<String>::new());
    }

    #[test]
    fn recovery_finishes_what_was_complete_and_removes_what_was_not() {
        let (_directory, vault) = vault();
        let root = vault.path("");
        let put = |name: &str, content: &str| fs::write(root.join(name), content).unwrap();
        // Died while dumping; died before and after the content got its name; died while deleting.
        put(".half.partial", "x");
        put(".early.partial", "x");
        put(".early.json.next", "early.gz");
        put("early.gz.roles", "x");
        put("late.gz", "x");
        put(".late.json.next", "late.gz");
        put("old.gz", "x");
        put(".old.json.gone", "old.gz");
        put(".torn.json.next", "to");
        let recovered = vault.recover(&files_of).unwrap();
        assert_eq!(recovered.published, ["late"]);
        assert_eq!(recovered.deleted, ["old"]);
        assert_eq!(visible(&vault), ["late.gz", "late.json"]);
    }
}
