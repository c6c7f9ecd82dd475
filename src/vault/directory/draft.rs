//! Large files in the making, in a directory.
//!
//! A draft lies under a hidden name, locked by whoever makes it. It gets its final name when it is complete and on
//! disk; its manifest, which is what counts, gets its own a moment later. A process that dies on the way, however it
//! dies, leaves a draft whose lock is free: [`Directory::tidy`] removes it, or finishes the publication that the
//! process had begun.
//!
//! | file | means |
//! |---|---|
//! | `.NAME.partial` | content in the making, locked; or a folder of [`crate::vault::Scratch`], which has a lock in it |
//! | `.NAME.json.next` | the manifest of a content that is complete; NAME is being published |
//! | `.NAME.json.gone` | the manifest of a backup that is being deleted |

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use fs4::fs_std::FileExt as _;

use super::beneath::Beneath;
use super::placing::rename_new;
use super::root::{Directory, make_directory, remove_if_there, sync_directory};
use crate::error::{Error, Result};
use crate::vault::backend::{Content, DraftFile, FilesOf, LARGEST_READ, Listing, Recovered};
use crate::vault::scratch;

/// A file in the making; dropped before it is published, it leaves nothing.
#[derive(Debug)]
pub(super) struct Draft {
    file: File,
    path: PathBuf,
    root: PathBuf,
    stem: String,
    payload: String,
    is_published: bool,
}

impl Directory {
    /// Begins a file that belongs to `stem`; `None` while another process makes one of that name.
    pub(super) fn begin_draft(&self, stem: &str, payload: &str) -> Result<Option<Draft>> {
        let path = self.path(&format!(".{stem}.partial"));
        let failed = |error: io::Error| {
            Error::outside(format!("cannot write to the vault `{}`", self.root.display()))
                .caused_by(error)
                .hint("Make the directory writable, free some space, or choose another `--vault`.")
        };
        make_directory(&self.root).map_err(failed)?;
        // Between the birth of a draft and its lock nobody must take it for an abandoned one.
        let _quiet = self.quiet()?;
        let mut options = OpenOptions::new();
        let file = match options.read(true).write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                return match open_plain(&path) {
                    // It is being made, or was until a moment ago.
                    Ok(_) => Ok(None),
                    Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
                    // Nobody makes a link or a pipe: it would be waited for in vain.
                    Err(error) => Err(Error::outside(format!("`{}` blocks the backup", path.display()))
                        .caused_by(error)
                        .hint("Remove it: lifeboat did not create it.")),
                };
            }
            Err(error) => return Err(failed(error)),
        };
        if !file.try_lock_exclusive().map_err(failed)? {
            return Ok(None);
        }
        Ok(Some(Draft {
            file,
            path,
            root: self.root.clone(),
            stem: stem.to_owned(),
            payload: payload.to_owned(),
            is_published: false,
        }))
    }

    /// Puts right what processes left that died on the way. What living ones are making is not touched.
    pub(super) fn tidy(&self, files_of: FilesOf<'_>) -> Result<Recovered> {
        let mut recovered = Recovered::default();
        if !self.root.exists() {
            return Ok(recovered);
        }
        let _quiet = self.quiet()?;
        let failed = |error: io::Error| {
            Error::outside(format!("cannot tidy the vault `{}`", self.root.display())).caused_by(error)
        };
        let Listing { files, folders } = self.beneath().list("").map_err(failed)?;
        for folder in folders.iter().filter(|folder| folder.starts_with('.') && folder.ends_with(".partial"))
        {
            let path = self.root.join(folder);
            // Whoever lives takes his own folder away whenever he is done, and needs no lock for that.
            let removed = scratch::is_abandoned(&path, true)
                .and_then(|is_abandoned| if is_abandoned { fs::remove_dir_all(&path) } else { Ok(()) });
            match removed {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
                _ => {}
            }
        }
        for name in files.iter().map(|file| &file.name) {
            let Some(hidden) = name.strip_prefix('.') else { continue };
            let path = self.root.join(name);
            if let Some(stem) = hidden.strip_suffix(".partial") {
                if is_abandoned(&path).map_err(failed)? {
                    remove_if_there(&path).map_err(failed)?;
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
                remove_if_there(&path).map_err(failed)?;
            }
        }
        sync_directory(&self.root).map_err(failed)?;
        Ok(recovered)
    }

    /// The content gets its final name last: where it has it, everything was complete.
    fn finish_publication(&self, stem: &str, next: &Path, files_of: FilesOf<'_>) -> io::Result<bool> {
        let draft = self.root.join(format!(".{stem}.partial"));
        if is_there(&draft) && !is_abandoned(&draft)? {
            return Ok(false);
        }
        let files: Vec<PathBuf> =
            files_of(&read_manifest(next)?).iter().map(|name| self.root.join(name)).collect();
        // Where the draft is still there, the content has not got its name: what has it may hold it for the content.
        let holds_the_name = |content: &Path| {
            is_there(&draft) && fs::symlink_metadata(content).is_ok_and(|found| found.len() == 0)
        };
        match files.first() {
            Some(content) if holds_the_name(content) => {
                fs::remove_file(content)?;
                files.iter().skip(1).try_for_each(|file| remove_if_there(file))?;
                fs::remove_file(next)?;
                Ok(false)
            }
            Some(content) if is_there(content) => {
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

    fn finish_deletion(&self, gone: &Path, files_of: FilesOf<'_>) -> io::Result<()> {
        files_of(&read_manifest(gone)?).iter().try_for_each(|name| remove_if_there(&self.root.join(name)))?;
        remove_if_there(gone)
    }

    /// Deletes a backup: what comes first is that its manifest is hidden.
    pub(super) fn delete_backup(&self, stem: &str, files: &[String]) -> Result<()> {
        let (manifest, gone) = (self.path(&format!("{stem}.json")), self.path(&format!(".{stem}.json.gone")));
        let files: Vec<PathBuf> = files.iter().map(|file| self.path(file)).collect();
        let act = || {
            fs::rename(&manifest, &gone)?;
            sync_directory(&self.root)?;
            files.iter().try_for_each(|path| remove_if_there(path))?;
            remove_if_there(&gone)?;
            sync_directory(&self.root)
        };
        act().map_err(|error| Error::outside(format!("cannot delete `{stem}`")).caused_by(error))
    }
}

impl DraftFile for Draft {
    fn writer(&self) -> Result<Box<dyn io::Write + Send>> {
        Ok(Box::new(self.file()?))
    }

    fn content(&mut self) -> Result<Content> {
        self.file().map(Content::of)
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }

    /// Makes it last: the content first, and its manifest last.
    fn publish(mut self: Box<Self>, beside: &[(String, Vec<u8>)], manifest: &[u8]) -> Result<()> {
        let target = self.root.join(&self.payload);
        let (next, last) = (
            self.root.join(format!(".{}.json.next", self.stem)),
            self.root.join(format!("{}.json", self.stem)),
        );
        let act = || {
            self.file.sync_all()?;
            if is_there(&last) {
                return Err(io::Error::from(ErrorKind::AlreadyExists));
            }
            // What a dead process left, or somebody's link: ours is another file.
            remove_if_there(&next)?;
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&next)?;
            file.write_all(manifest)?;
            file.sync_all()?;
            for (name, content) in beside {
                let mut file =
                    OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.root.join(name))?;
                file.write_all(content)?;
                file.sync_all()?;
            }
            sync_directory(&self.root)?;
            rename_new(&self.path, &target)?;
            fs::rename(&next, &last)?;
            sync_directory(&self.root).inspect_err(|_| {
                // Whether the names last is not known: a backup that was reported as failed must not be listed as a good one.
                let _ = fs::remove_file(&last);
                let _ = fs::remove_file(&target);
            })
        };
        let done = act();
        self.is_published = !self.path.exists();
        if self.is_published && done.is_err() {
            for (name, _) in beside.iter().filter(|_| !is_there(&target)) {
                let _ = fs::remove_file(self.root.join(name));
            }
        }
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
}

impl Draft {
    /// A handle to write its content through, and to read it.
    fn file(&self) -> Result<File> {
        self.file.try_clone().map_err(|error| self.failed(error))
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

/// Whether a name is taken, by whatever it is.
fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// A file at the root of the vault, which is no link and no pipe.
fn open_plain(path: &Path) -> io::Result<File> {
    let (parent, name) = (path.parent().unwrap_or(Path::new(".")), path.file_name().unwrap_or_default());
    Beneath::at(parent).open(&name.to_string_lossy())
}

fn read_manifest(path: &Path) -> io::Result<Vec<u8>> {
    let (parent, name) = (path.parent().unwrap_or(Path::new(".")), path.file_name().unwrap_or_default());
    Beneath::at(parent).read(&name.to_string_lossy(), LARGEST_READ)
}

/// Whether nobody holds the lock of a file.
fn is_abandoned(path: &Path) -> io::Result<bool> {
    match open_plain(path) {
        Ok(file) => file.try_lock_exclusive(),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault() -> (tempfile::TempDir, Directory) {
        let parent = tempfile::tempdir().unwrap();
        let directory = Directory::open(parent.path().join("v").to_str().unwrap()).unwrap();
        (parent, directory)
    }

    fn files_of(manifest: &[u8]) -> Vec<String> {
        let name = String::from_utf8_lossy(manifest).into_owned();
        if name.ends_with(".gz") { vec![name.clone(), name + ".roles"] } else { Vec::new() }
    }

    fn visible(vault: &Directory) -> Vec<String> {
        let files = vault.beneath().list("").unwrap().files;
        files.into_iter().map(|file| file.name).filter(|name| name != ".lock").collect()
    }

    #[test]
    fn a_draft_is_published_whole_and_never_over_another() {
        let (_directory, vault) = vault();
        let draft = vault.begin_draft("a", "a.gz").unwrap().unwrap();
        assert!(vault.begin_draft("a", "a.gz").unwrap().is_none(), "two make the same name");
        draft.file().unwrap().write_all(b"content").unwrap();
        assert_eq!(visible(&vault), [".a.partial"]);
        Box::new(draft).publish(&[], b"a.gz").unwrap();
        assert_eq!(visible(&vault), ["a.gz", "a.json"]);
        let again = vault.begin_draft("a", "a.gz").unwrap().unwrap();
        assert!(Box::new(again).publish(&[], b"a.gz").is_err());
        assert_eq!(fs::read(vault.path("a.gz")).unwrap(), b"content");
        assert_eq!(visible(&vault), ["a.gz", "a.json"]);
    }

    #[test]
    fn a_draft_that_is_dropped_leaves_nothing_and_one_that_lives_is_left_alone() {
        let (_directory, vault) = vault();
        let draft = vault.begin_draft("a", "a.gz").unwrap().unwrap();
        assert_eq!(vault.tidy(&files_of).unwrap(), Recovered::default());
        assert_eq!(visible(&vault), [".a.partial"]);
        drop(draft);
        assert_eq!(visible(&vault), Vec::<String>::new());
    }

    #[test]
    fn recovery_finishes_what_was_complete_and_removes_what_was_not() {
        let (_directory, vault) = vault();
        let root = vault.path("");
        let put = |name: &str, content: &str| fs::write(root.join(name), content).unwrap();
        // Died while the name was held by an empty file, where there are no hard links.
        put(".held.partial", "x");
        put("held.gz", "");
        put(".held.json.next", "held.gz");
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
        let recovered = vault.tidy(&files_of).unwrap();
        assert_eq!(recovered.published, ["late"]);
        assert_eq!(recovered.deleted, ["old"]);
        assert_eq!(visible(&vault), ["late.gz", "late.json"]);
    }
}
