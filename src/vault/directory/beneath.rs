//! Files beneath a directory, and nowhere else.
//!
//! The directory itself may be reached through links; whoever chose it knows. Beneath it nothing is followed: each folder
//! on the way is opened by its name in the one before it, and what is opened at the end is a regular file, or nothing. So
//! whoever can write to the vault cannot have us read, write or lock a file that lies elsewhere, nor have us wait for a pipe.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, linkat, mkdirat, open, openat, renameat, statat,
    unlinkat,
};
use rustix::io::Errno;

use super::placing::{rename_new_at, sync_folder};
use crate::vault::backend::{Listing, StoredFile};

/// A directory beneath which files are opened.
#[derive(Clone, Debug)]
pub(in crate::vault) struct Beneath {
    root: PathBuf,
}

/// Whether folders on the way are made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Folders {
    Made,
    Needed,
}

fn file_mode() -> Mode {
    Mode::RUSR | Mode::WUSR
}

fn folder_mode() -> Mode {
    Mode::RWXU | Mode::RGRP | Mode::XGRP
}

fn told(errno: Errno) -> io::Error {
    match errno {
        Errno::LOOP => io::Error::other("it is a symbolic link, which lifeboat does not follow in the vault"),
        Errno::NOTDIR => io::Error::other("a folder in its path is a symbolic link or not a folder"),
        Errno::NXIO => not_regular(),
        other => other.into(),
    }
}

fn not_regular() -> io::Error {
    io::Error::other("it is not a regular file")
}

impl Beneath {
    pub(in crate::vault) fn at(root: &Path) -> Self {
        Beneath { root: root.to_owned() }
    }

    /// The folder that `name` lies in, and its name there.
    fn parent<'a>(&self, name: &'a str, folders: Folders) -> io::Result<(OwnedFd, &'a str)> {
        let (way, last) = name.rsplit_once('/').unwrap_or(("", name));
        Ok((self.folder(way, folders)?, last))
    }

    fn folder(&self, name: &str, folders: Folders) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut folder = open(&self.root, flags, Mode::empty()).map_err(io::Error::from)?;
        for part in name.split('/').filter(|part| !part.is_empty()) {
            let next = openat(&folder, part, flags | OFlags::NOFOLLOW, Mode::empty());
            folder = match next {
                Err(Errno::NOENT) if folders == Folders::Made => {
                    match mkdirat(&folder, part, folder_mode()) {
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(errno) => return Err(told(errno)),
                    }
                    openat(&folder, part, flags | OFlags::NOFOLLOW, Mode::empty()).map_err(told)?
                }
                next => next.map_err(told)?,
            };
        }
        Ok(folder)
    }

    /// Opens a regular file; a pipe is not waited for.
    fn open_with(folder: &OwnedFd, name: &str, flags: OFlags) -> io::Result<File> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(folder, name, flags, file_mode()).map_err(told)?;
        if !is_regular(&fstat(&file)?) {
            return Err(not_regular());
        }
        Ok(File::from(file))
    }

    /// Opens a file to read it.
    pub(in crate::vault) fn open(&self, name: &str) -> io::Result<File> {
        let (folder, last) = self.parent(name, Folders::Needed)?;
        Self::open_with(&folder, last, OFlags::RDONLY)
    }

    /// Opens a file to lock it, new or not. It is never written to.
    pub(in crate::vault) fn open_lock(&self, name: &str) -> io::Result<File> {
        let (folder, last) = self.parent(name, Folders::Made)?;
        Self::open_with(&folder, last, OFlags::WRONLY | OFlags::CREATE)
    }

    /// Opens a file that only grows, new or not. One that has another name besides is copied first: what lies under that
    /// name, which may be anybody's, is not written to.
    pub(in crate::vault) fn open_to_append(&self, name: &str) -> io::Result<File> {
        let (folder, last) = self.parent(name, Folders::Made)?;
        let mut file = Self::open_with(&folder, last, OFlags::RDWR | OFlags::APPEND | OFlags::CREATE)?;
        if fstat(&file)?.st_nlink <= 1 {
            return Ok(file);
        }
        let (hidden, mut copy) = Self::make_hidden(&folder)?;
        let copied = io::copy(&mut file, &mut copy).and_then(|_| copy.sync_all());
        let placed = copied.and_then(|()| Ok(renameat(&folder, &hidden, &folder, last)?));
        if let Err(error) = placed {
            let _ = unlinkat(&folder, &hidden, AtFlags::empty());
            return Err(error);
        }
        Self::open_with(&folder, last, OFlags::RDWR | OFlags::APPEND)
    }

    /// Whether `name` is still the file that was opened.
    pub(in crate::vault) fn is_still(&self, name: &str, file: &File) -> io::Result<bool> {
        let (folder, last) = self.parent(name, Folders::Needed)?;
        let ours = fstat(file)?;
        match statat(&folder, last, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(there) => Ok((there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(told(errno)),
        }
    }

    /// All of a file that has at most so many bytes. Its size is asked before anything is read.
    pub(in crate::vault) fn read(&self, name: &str, largest: u64) -> io::Result<Vec<u8>> {
        let mut file = self.open(name)?;
        let size = file.metadata()?.len();
        let too_large = || io::Error::other(format!("it is larger than {largest} bytes"));
        if size > largest {
            return Err(too_large());
        }
        file.rewind()?;
        let mut content = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
        file.take(largest + 1).read_to_end(&mut content)?;
        if content.len() as u64 > largest { Err(too_large()) } else { Ok(content) }
    }

    /// Writes a file whole or not at all, in the place of what was there.
    pub(in crate::vault) fn replace(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let (folder, last) = self.parent(name, Folders::Made)?;
        let hidden = Self::write_hidden(&folder, content)?;
        renameat(&folder, &hidden, &folder, last).map_err(|errno| {
            let _ = unlinkat(&folder, &hidden, AtFlags::empty());
            told(errno)
        })?;
        // The new name itself must be on disk too.
        sync_folder(&File::from(folder))
    }

    /// Writes a file where nothing is; says whether nothing was.
    pub(in crate::vault) fn create(&self, name: &str, content: &[u8]) -> io::Result<bool> {
        let (folder, last) = self.parent(name, Folders::Made)?;
        let hidden = Self::write_hidden(&folder, content)?;
        match rename_new_at(&folder, Path::new(&hidden), Path::new(last)) {
            Ok(()) => {
                sync_folder(&File::from(folder))?;
                Ok(true)
            }
            Err(error) => {
                unlinkat(&folder, &hidden, AtFlags::empty())?;
                if error.kind() == ErrorKind::AlreadyExists { Ok(false) } else { Err(error) }
            }
        }
    }

    /// Makes a second name for the content of a file of the root: a link, or a copy where there are no links.
    pub(in crate::vault) fn create_from(&self, name: &str, from: &str, mut content: File) -> io::Result<()> {
        let folder = self.folder("", Folders::Needed)?;
        match linkat(&folder, from, &folder, name, AtFlags::empty()) {
            Ok(()) => return sync_folder(&File::from(folder)),
            Err(Errno::EXIST) => return Err(ErrorKind::AlreadyExists.into()),
            Err(_) => {}
        }
        let (hidden, mut copy) = Self::make_hidden(&folder)?;
        let copied = io::copy(&mut content, &mut copy).and_then(|_| copy.sync_all());
        let placed = copied.and_then(|()| rename_new_at(&folder, Path::new(&hidden), Path::new(name)));
        if placed.is_err() {
            let _ = unlinkat(&folder, &hidden, AtFlags::empty());
        }
        placed.and_then(|()| sync_folder(&File::from(folder)))
    }

    /// A private file in the same folder, since a rename is atomic only within a file system.
    fn make_hidden(folder: &OwnedFd) -> io::Result<(String, File)> {
        let hidden = format!(".{:016x}.tmp", rand::random::<u64>());
        let file = Self::open_with(folder, &hidden, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL)?;
        Ok((hidden, file))
    }

    fn write_hidden(folder: &OwnedFd, content: &[u8]) -> io::Result<String> {
        let (hidden, mut file) = Self::make_hidden(folder)?;
        match file.write_all(content).and_then(|()| file.sync_all()) {
            Ok(()) => Ok(hidden),
            Err(error) => {
                let _ = unlinkat(folder, &hidden, AtFlags::empty());
                Err(error)
            }
        }
    }

    /// Removes a file, a link or a pipe, if it is there: the name, and not what it leads to.
    pub(in crate::vault) fn remove(&self, name: &str) -> io::Result<()> {
        let (folder, last) = match self.parent(name, Folders::Needed) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            parent => parent?,
        };
        match unlinkat(&folder, last, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(told(errno)),
        }
    }

    /// How large a regular file is; `None` if there is none.
    pub(in crate::vault) fn size(&self, name: &str) -> io::Result<Option<u64>> {
        let (folder, last) = match self.parent(name, Folders::Needed) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            parent => parent?,
        };
        match statat(&folder, last, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => Ok(Some(u64::try_from(found.st_size).unwrap_or_default())),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(told(errno)),
        }
    }

    /// What lies in a folder; links, pipes and devices are passed over. Nothing, if there is no such folder.
    pub(in crate::vault) fn list(&self, name: &str) -> io::Result<Listing> {
        let folder = match self.folder(name, Folders::Needed) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Listing::default()),
            folder => folder?,
        };
        let mut listing = Listing::default();
        for entry in Dir::read_from(&folder)? {
            let entry = entry?;
            let name = OsString::from_vec(entry.file_name().to_bytes().to_vec());
            let Ok(name) = name.into_string() else { continue };
            if name == "." || name == ".." {
                continue;
            }
            let found = statat(&folder, OsStr::from_bytes(name.as_bytes()), AtFlags::SYMLINK_NOFOLLOW);
            // One that went while we were reading is none.
            let Ok(found) = found else { continue };
            if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
                listing.folders.push(name);
            } else if is_regular(&found) {
                listing
                    .files
                    .push(StoredFile { name, size: u64::try_from(found.st_size).unwrap_or_default() });
            }
        }
        listing.files.sort_by(|left, right| left.name.cmp(&right.name));
        listing.folders.sort();
        Ok(listing)
    }

    /// Where a file lies, for what opens files by their path; there is no link on the way, and none at the end.
    pub(in crate::vault) fn plain_path(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.root.join(name);
        let (folder, last) = match self.parent(name, Folders::Needed) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(path),
            parent => parent?,
        };
        match statat(&folder, last, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) if FileType::from_raw_mode(found.st_mode) == FileType::Symlink => {
                Err(told(Errno::LOOP))
            }
            Ok(_) | Err(Errno::NOENT) => Ok(path),
            Err(errno) => Err(told(errno)),
        }
    }
}

fn is_regular(found: &Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::RegularFile
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn ground() -> (tempfile::TempDir, Beneath) {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("vault")).unwrap();
        fs::write(place.path().join("secret"), "secret").unwrap();
        let beneath = Beneath::at(&place.path().join("vault"));
        (place, beneath)
    }

    /// Everything that can be done with a name.
    fn acts(beneath: &Beneath, name: &str) -> Vec<bool> {
        vec![
            beneath.open(name).is_ok(),
            beneath.open_lock(name).is_ok(),
            beneath.open_to_append(name).is_ok(),
            beneath.read(name, 100).is_ok(),
        ]
    }

    #[test]
    fn no_link_pipe_or_device_is_opened_and_no_folder_is_a_link() {
        let (place, beneath) = ground();
        let vault = place.path().join("vault");
        symlink(place.path().join("secret"), vault.join("link")).unwrap();
        symlink(place.path().join("new"), vault.join("dangling")).unwrap();
        symlink("/dev/zero", vault.join("device")).unwrap();
        symlink(place.path(), vault.join("folder")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, vault.join("pipe"), FileType::Fifo, file_mode(), 0).unwrap();
        for name in ["link", "dangling", "device", "pipe", "folder", "folder/secret", "folder/new"] {
            assert_eq!(acts(&beneath, name), [false; 4], "{name}");
        }
        for name in ["folder/x", "folder/a/b"] {
            assert!(beneath.replace(name, b"x").is_err() && beneath.create(name, b"x").is_err(), "{name}");
        }
        assert!(beneath.remove("folder/secret").is_err() && beneath.list("folder").is_err());
        assert!(beneath.plain_path("folder/secret").is_err() && beneath.plain_path("link").is_err());
        assert_eq!(beneath.list("").unwrap(), Listing::default());
        // A link that is replaced or removed is the link, and not what it leads to.
        beneath.replace("link", b"ours").unwrap();
        beneath.remove("dangling").unwrap();
        assert!(!beneath.create("link", b"x").unwrap());
        let mut left: Vec<_> =
            fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["secret", "vault"]);
        assert_eq!(fs::read_to_string(place.path().join("secret")).unwrap(), "secret");
    }

    #[test]
    fn a_vault_may_itself_be_a_link_and_folders_in_it_are_made() {
        let (place, _) = ground();
        symlink(place.path().join("vault"), place.path().join("alias")).unwrap();
        let beneath = Beneath::at(&place.path().join("alias"));
        beneath.replace("a/b/c", b"x").unwrap();
        assert_eq!(beneath.read("a/b/c", 1).unwrap(), b"x");
        assert_eq!(beneath.list("a/b").unwrap().files[0].name, "c");
        assert!(beneath.create("a/d", b"y").unwrap() && !beneath.create("a/d", b"z").unwrap());
        assert_eq!(beneath.read("a/d", 9).unwrap(), b"y");
        assert_eq!(beneath.read("nothing/x", 9).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(beneath.size("nothing").unwrap(), None);
    }

    #[test]
    fn what_has_another_name_elsewhere_is_not_written_to() {
        let (place, beneath) = ground();
        fs::hard_link(place.path().join("secret"), place.path().join("vault/log")).unwrap();
        let mut file = beneath.open_to_append("log").unwrap();
        file.write_all(b" line").unwrap();
        assert!(beneath.is_still("log", &file).unwrap());
        assert_eq!(beneath.read("log", 99).unwrap(), b"secret line");
        assert_eq!(fs::read_to_string(place.path().join("secret")).unwrap(), "secret");
    }

    #[test]
    fn a_size_is_asked_before_anything_is_read() {
        let (place, beneath) = ground();
        let sparse = File::create(place.path().join("vault/sparse")).unwrap();
        sparse.set_len(1 << 40).unwrap();
        assert!(beneath.read("sparse", 1 << 20).unwrap_err().to_string().contains("larger than"));
        fs::write(place.path().join("vault/full"), [b'x'; 10]).unwrap();
        assert_eq!(beneath.read("full", 10).unwrap().len(), 10);
        assert!(beneath.read("full", 9).is_err());
    }
}
