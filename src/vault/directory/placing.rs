//! Giving a file a name that nothing has, on whatever file system.
//!
//! A plain rename would silently replace what somebody else has put there. Linux can rename without replacing; where a file
//! system cannot, a hard link and a removal do the same; where it has no hard links either (FAT, SMB, many of FUSE), the
//! name is taken by an empty file first, and that one, which is ours, is renamed over.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, RenameFlags, linkat, openat, renameat, renameat_with, unlinkat,
};
use rustix::io::Errno;

/// Renames a file, unless something has the name: then it is [`io::ErrorKind::AlreadyExists`].
pub(crate) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    rename_new_at(CWD, from, to)
}

/// The same, with names in `folder`.
pub(super) fn rename_new_at(folder: impl AsFd, from: &Path, to: &Path) -> io::Result<()> {
    let folder = folder.as_fd();
    match renameat_with(folder, from, folder, to, RenameFlags::NOREPLACE) {
        Err(errno) if cannot_do(errno) => {}
        done => return Ok(done?),
    }
    match linkat(folder, from, folder, to, AtFlags::empty()) {
        Err(errno) if cannot_do(errno) || errno == Errno::MLINK => {}
        done => {
            done?;
            return Ok(unlinkat(folder, from, AtFlags::empty())?);
        }
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    drop(openat(folder, to, flags, Mode::RUSR | Mode::WUSR)?);
    renameat(folder, from, folder, to).map_err(|errno| {
        let _ = unlinkat(folder, to, AtFlags::empty());
        errno.into()
    })
}

/// Gives a file a second name, where nothing is; where there are no hard links, that of a copy.
pub(crate) fn link_or_copy(from: &Path, to: &Path) -> io::Result<()> {
    match linkat(CWD, from, CWD, to, AtFlags::empty()) {
        Err(errno) if cannot_do(errno) || errno == Errno::MLINK => {}
        done => return Ok(done?),
    }
    let mut source = File::open(from)?;
    let mut copy = File::options().write(true).create_new(true).open(to)?;
    copy.set_permissions(source.metadata()?.permissions())?;
    let copied = io::copy(&mut source, &mut copy).and_then(|_| copy.sync_all());
    copied.inspect_err(|_| drop(std::fs::remove_file(to)))
}

/// Whether a file system says that it does not do such a thing at all.
fn cannot_do(errno: Errno) -> bool {
    matches!(errno, Errno::PERM | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL)
}

/// Flushes a directory, so that the names in it last. File systems that cannot (some of FUSE and SMB) say that the request is
/// invalid: there a name lasts as soon as the server has it.
pub(crate) fn sync_folder(folder: &File) -> io::Result<()> {
    match folder.sync_all() {
        Err(error) if error.raw_os_error().is_some_and(|code| cannot_do(Errno::from_raw_os_error(code))) => {
            Ok(())
        }
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_name_that_is_taken_is_not_taken_over() {
        let place = tempfile::tempdir().unwrap();
        let (from, to) = (place.path().join("a"), place.path().join("b"));
        fs::write(&from, "new").unwrap();
        fs::write(&to, "old").unwrap();
        assert_eq!(rename_new(&from, &to).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&to).unwrap(), "old");
        fs::remove_file(&to).unwrap();
        rename_new(&from, &to).unwrap();
        assert_eq!(fs::read_to_string(&to).unwrap(), "new");
        assert!(!from.exists());
    }
}
