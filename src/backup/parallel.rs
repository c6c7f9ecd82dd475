//! Archives in parts: PostgreSQL's directory format, dumped by several connections at once, as a tar.
//!
//! pg_dump can write that format to a folder only. The data of a table goes into the tar as soon as its file is closed, and
//! off the disk; what is left, the table of contents among it, goes in when pg_dump has ended. So the disk holds the
//! tables that are being dumped, not the whole dump. By hand: `tar xzf NAME.tar.gz && pg_restore -j 4 -d DATABASE dump`.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::dump::{Dumped, Order, explain_failure, spawn_pg_dump};
use super::event::{cannot_write, stop_if_interrupted};
use super::stream::{Inflow, Packing, Target};
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::postgres::collect_stderr;
use crate::vault::Scratch;

/// The table of contents.
const CONTENTS: &str = "toc.dat";

/// A pg_dump that writes into a folder.
pub(super) struct Running {
    child: Child,
    stderr: JoinHandle<String>,
    folder: PathBuf,
    closed: Closed,
    name: String,
    _scratch: Scratch,
}

impl Running {
    /// Starts it; `scratch` is where its files lie until they are in the tar.
    pub(super) fn start(order: &Order<'_>, jobs: usize, scratch: Scratch) -> Result<Self> {
        let folder = scratch.file("dump");
        let cannot =
            |error: io::Error| Error::outside("cannot create a folder for the dump").caused_by(error);
        fs::DirBuilder::new().mode(0o700).create(&folder).map_err(cannot)?;
        let folder = fs::canonicalize(folder).map_err(cannot)?;
        let closed = Closed::watch(&folder).map_err(cannot)?;
        let (jobs, mut file) = (format!("--jobs={jobs}"), OsString::from("--file="));
        file.push(&folder);
        // We compress, with more threads and better than its workers would.
        let arguments = ["--format=directory", "--compress=0", "--no-sync", &jobs].map(OsStr::new);
        let arguments = [&arguments[..], &[&file]].concat();
        let mut child = spawn_pg_dump(order, &arguments, Stdio::null())?;
        let stderr = collect_stderr(&mut child);
        Ok(Running { child, stderr, folder, closed, name: order.dbname.to_owned(), _scratch: scratch })
    }

    /// Takes everything that pg_dump writes into `target`.
    pub(super) fn pump(
        mut self,
        target: Target,
        packing: Packing,
        interrupt: &Interrupt,
        bytes: &AtomicU64,
    ) -> Result<Dumped> {
        let inflow = Inflow::open(target, packing).map_err(cannot_write)?;
        let counted = Counted { inflow, bytes };
        let mut tar =
            Tar { builder: tar::Builder::new(counted), folder: self.folder.clone(), taken: BTreeSet::new() };
        let ended = loop {
            if let Some(ended) = self
                .child
                .try_wait()
                .map_err(|error| Error::outside("lost track of pg_dump").caused_by(error))?
            {
                break ended;
            }
            let step = stop_if_interrupted(interrupt, "the unfinished dump was removed")
                .and_then(|()| self.closed.next(Duration::from_millis(200)).map_err(cannot_read))
                .and_then(|names| names.iter().try_for_each(|name| tar.take_closed(name)));
            if let Err(error) = step {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return Err(error);
            }
        };
        let said = self.stderr.join().unwrap_or_default();
        if !ended.success() {
            return Err(explain_failure(&said, &ended.to_string()));
        }
        let inflow = tar.finish(&self.name)?;
        Ok(Dumped { totals: inflow.finish().map_err(cannot_write)?, held: None })
    }
}

fn cannot_read(error: io::Error) -> Error {
    Error::outside("cannot read the output of pg_dump").caused_by(error)
}

/// The tar in the making.
struct Tar<'a> {
    builder: tar::Builder<Counted<'a>>,
    folder: PathBuf,
    taken: BTreeSet<String>,
}

impl<'a> Tar<'a> {
    /// Takes the data of a table, which pg_dump closes once. Other files it may open again.
    fn take_closed(&mut self, name: &str) -> Result<()> {
        let is_data =
            name.strip_suffix(".dat").is_some_and(|id| id.bytes().all(|byte| byte.is_ascii_digit()));
        if !is_data || self.taken.contains(name) {
            return Ok(());
        }
        self.take(name)?;
        fs::remove_file(self.folder.join(name)).map_err(cannot_read)
    }

    fn take(&mut self, name: &str) -> Result<()> {
        let file = File::open(self.folder.join(name)).map_err(cannot_read)?;
        let size = file.metadata().map_err(cannot_read)?.len();
        let mut header = tar::Header::new_gnu();
        header.set_size(size);
        header.set_mode(0o600);
        header.set_entry_type(tar::EntryType::Regular);
        let reader = io::BufReader::with_capacity(1 << 18, file);
        self.builder.append_data(&mut header, format!("{FOLDER}/{name}"), reader).map_err(cannot_write)?;
        self.taken.insert(name.to_owned());
        Ok(())
    }

    /// Takes what is left when pg_dump has ended.
    fn finish(mut self, database: &str) -> Result<Inflow> {
        let entries = fs::read_dir(&self.folder).map_err(cannot_read)?.flatten();
        let mut left: Vec<String> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        left.sort();
        let contents = File::open(self.folder.join(CONTENTS)).and_then(|mut file| {
            let mut head = [0; 5];
            file.read_exact(&mut head).map(|()| head)
        });
        let came_back = left.iter().any(|name| self.taken.contains(name));
        if came_back || !contents.is_ok_and(|head| head == *b"PGDMP") {
            return Err(Error::outside(format!(
                "pg_dump reported success, but its dump of `{database}` is incomplete"
            ))
            .hint("Check the pg_dump that `--pg-bin` or PATH names."));
        }
        for name in &left {
            self.take(name)?;
        }
        Ok(self.builder.into_inner().map_err(cannot_write)?.inflow)
    }
}

/// The folder that everything lies in.
const FOLDER: &str = "dump";

struct Counted<'a> {
    inflow: Inflow,
    bytes: &'a AtomicU64,
}

impl Write for Counted<'_> {
    fn write(&mut self, content: &[u8]) -> io::Result<usize> {
        let written = self.inflow.write(content)?;
        self.bytes.fetch_add(written as u64, Ordering::Relaxed);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inflow.flush()
    }
}

/// Hears which files of a folder were closed by whoever wrote them.
#[cfg(target_os = "linux")]
struct Closed(std::os::fd::OwnedFd);

#[cfg(target_os = "linux")]
impl Closed {
    fn watch(folder: &Path) -> io::Result<Self> {
        use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
        let events = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        add_watch(&events, folder, WatchFlags::CLOSE_WRITE)?;
        Ok(Closed(events))
    }

    /// Those of the next moment; none after `patience`.
    fn next(&self, patience: Duration) -> io::Result<Vec<String>> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(patience.subsec_nanos()) };
        let mut wanted = [PollFd::new(&self.0, PollFlags::IN)];
        match poll(&mut wanted, Some(&timeout)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(Vec::new()),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        let mut events = rustix::fs::inotify::Reader::new(&self.0, &mut buffer);
        let mut names = Vec::new();
        loop {
            match events.next() {
                Ok(event) => {
                    names.extend(event.file_name().map(|name| name.to_string_lossy().into_owned()));
                }
                Err(rustix::io::Errno::AGAIN) => return Ok(names),
                Err(error) => return Err(error.into()),
            }
            if events.is_buffer_empty() {
                return Ok(names);
            }
        }
    }
}

/// Elsewhere everything is taken when pg_dump has ended.
#[cfg(not(target_os = "linux"))]
struct Closed;

#[cfg(not(target_os = "linux"))]
impl Closed {
    fn watch(_folder: &Path) -> io::Result<Self> {
        Ok(Closed)
    }

    fn next(&self, patience: Duration) -> io::Result<Vec<String>> {
        std::thread::sleep(patience);
        Ok(Vec::new())
    }
}

/// Packs a dump in directory format, as pg_dump leaves it.
pub(super) fn pack_folder(directory: &Path, target: File) -> io::Result<()> {
    let mut names: Vec<_> = fs::read_dir(directory)?.collect::<io::Result<Vec<_>>>()?;
    names.sort_by_key(fs::DirEntry::file_name);
    let mut builder = tar::Builder::new(io::BufWriter::new(target));
    for entry in names {
        let name = entry.file_name();
        builder.append_path_with_name(entry.path(), Path::new(FOLDER).join(name))?;
    }
    builder.into_inner()?.flush()
}

/// Unpacks such a tar while it streams by.
pub(super) struct Unpacker {
    pipe: Option<PipeWriter>,
    thread: JoinHandle<io::Result<()>>,
}

impl Unpacker {
    /// Unpacks into `folder`, which it makes.
    pub(super) fn start(folder: &Path) -> Result<Self> {
        let cannot = |error: io::Error| Error::outside("cannot unpack the backup").caused_by(error);
        fs::DirBuilder::new().mode(0o700).create(folder).map_err(cannot)?;
        let (source, pipe) = io::pipe().map_err(cannot)?;
        let folder = folder.to_owned();
        let thread = std::thread::spawn(move || unpack_tar(source, &folder));
        Ok(Unpacker { pipe: Some(pipe), thread })
    }

    /// Takes the next bytes.
    pub(super) fn feed(&mut self, content: &[u8]) -> io::Result<()> {
        // When unpacking ends early, it says why at the end; the rest is still read for its hash.
        if self.pipe.as_mut().is_some_and(|pipe| pipe.write_all(content).is_err()) {
            self.pipe = None;
        }
        Ok(())
    }

    /// Waits until everything lies in the folder.
    pub(super) fn finish(mut self) -> Result<()> {
        self.pipe = None;
        let unpacked = self.thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread has panicked")));
        unpacked.map_err(|error| {
            Error::outside("cannot unpack the backup")
                .caused_by(error)
                .hint("Free some space, or set TMPDIR to another folder.")
        })
    }
}

/// Names in a tar are not trusted: only plain files of one folder are taken out.
fn unpack_tar(source: PipeReader, folder: &Path) -> io::Result<()> {
    let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let mut archive = tar::Archive::new(source);
    let mut has_contents = false;
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let name = path.strip_prefix(FOLDER).and_then(|name| name.strip_prefix('/'));
        let is_plain = |name: &&str| {
            name.ends_with(|c: char| c.is_ascii_alphanumeric())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._".contains(&byte))
                && !name.starts_with('.')
        };
        let name = name.filter(is_plain).filter(|_| entry.header().entry_type().is_file());
        let name = name.ok_or_else(|| {
            invalid(format!("it contains `{}`, which is not part of an archive", path.escape_default()))
        })?;
        has_contents |= name == CONTENTS;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(folder.join(name))?;
        io::copy(&mut entry, &mut file)?;
    }
    // The end of a tar may be padded.
    io::copy(&mut archive.into_inner(), &mut io::sink())?;
    if has_contents { Ok(()) } else { Err(invalid("it has no table of contents".to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(names: &[&str]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for name in names {
            let mut header = tar::Header::new_gnu();
            header.set_size(4);
            header.set_mode(0o600);
            // The builder itself would refuse some of these names.
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            builder.append(&header, &b"data"[..]).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn unpacked(tar: &[u8]) -> Result<Vec<String>> {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("x");
        let mut unpacker = Unpacker::start(&folder)?;
        tar.chunks(700).for_each(|piece| unpacker.feed(piece).unwrap());
        unpacker.finish()?;
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        Ok(names)
    }

    #[test]
    fn only_plain_files_of_one_folder_are_unpacked() {
        assert_eq!(unpacked(&packed(&["dump/1.dat", "dump/toc.dat"])).unwrap(), ["1.dat", "toc.dat"]);
        for name in ["dump/../x", "/etc/x", "x", "dump/a/b", "dump/.x", "dump/", "other/x"] {
            assert!(unpacked(&packed(&["dump/toc.dat", name])).is_err(), "{name}");
        }
        assert!(unpacked(&packed(&["dump/1.dat"])).is_err(), "without a table of contents");
        let whole = packed(&["dump/toc.dat", "dump/1.dat"]);
        assert!(unpacked(&whole[..700]).is_err(), "cut off");
    }
}
