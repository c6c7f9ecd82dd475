//! Restoring SQLite files.
//!
//! A live file gets the content through SQLite itself, in one transaction, so that applications that have it open see it
//! and can go on; to put another file in its place would let the old one's WAL undo the restore. Before that the content
//! of the live file is backed up. With `--offline`, or where nothing is yet, a complete file is put in place by a rename.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::plan::{Plan, Report, RestoreOptions};
use super::proven::{Proven, prove_file};
use crate::backup::catalogue;
use crate::backup::coding::Compression;
use crate::backup::context::Context;
use crate::backup::create;
use crate::backup::dump_gate::Trust;
use crate::backup::event::{Event, default_threads, follow_progress, stop_if_interrupted};
use crate::backup::examine::{EXPANDED, scratch_for, write_content};
use crate::backup::manifest::{Format, Level};
use crate::backup::name::BackupName;
use crate::backup::request::{IfTaken, Request, Roles, provable_level};
use crate::backup::schedule::quote_for_shell;
use crate::backup::source::Source;
use crate::backup::sqlite::{self, path_beside};
use crate::backup::sqlite_url::{absolute_path, sqlite_url};
use crate::backup::stream::Packing;
use crate::error::{Error, Kind, Result};
use crate::vault::{Content, Scratch, Trigger, link_or_copy, rename_new, sync_folder};

/// Whether a file is there.
pub(super) fn preflight_sqlite(path: &Path, options: &RestoreOptions) -> Result<bool> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = absolute_path(path).parent().map(Path::to_owned).unwrap_or_default();
            if parent.is_dir() {
                return Ok(false);
            }
            return Err(Error::request(format!("the directory `{}` does not exist", parent.display()))
                .hint("Create it, or name another file with `--into`."));
        }
        Err(error) => {
            return Err(
                Error::outside(format!("cannot read the metadata of `{}`", path.display())).caused_by(error)
            );
        }
    };
    if let (true, Err(_), Ok(target)) = (found.is_symlink(), fs::metadata(path), fs::read_link(path)) {
        let target = path.parent().unwrap_or(Path::new("")).join(target);
        return Err(Error::request(format!(
            "`{}` is a symbolic link to `{}`, which does not exist",
            path.display(),
            target.display()
        ))
        .hint(format!(
            "Restore to the target of the link: `--url {}`.",
            Source::Sqlite { path: absolute_path(&target) }.shown()
        )));
    }
    if options.offline && found.is_symlink() {
        return Err(Error::request(format!("`{}` is a symbolic link", path.display()))
            .hint("Name the file itself: `--offline` would replace the link."));
    }
    if !fs::metadata(path).is_ok_and(|found| found.is_file()) {
        return Err(Error::request(format!("`{}` is not a file", path.display())));
    }
    Ok(true)
}

pub(super) async fn restore_sqlite(plan: &Plan, path: &Path, cx: &Context<'_>) -> Result<Report> {
    let path = absolute_path(path);
    let Proven { file, finding } = prove_file(plan, cx).await?;
    let scratch = expand_backup(plan, file, cx).await?;
    let mut report = Report::new(
        plan.manifest.backup_name.to_string(),
        plan.manifest.timestamp,
        &Source::Sqlite { path: path.clone() },
    );
    let recorded = plan.manifest.contents.as_ref();
    if let Some(contents) = finding.contents {
        for warning in &contents.warnings {
            (cx.tell)(Event::Warning(&warning.sentence()));
        }
        if recorded.is_some_and(sqlite::Contents::is_inspected) {
            report.tables_checked = contents.tables.len();
            report.rows_checked = contents.tables.iter().filter_map(|table| table.rows).sum();
        }
    }
    stop_if_interrupted(cx.interrupt, "nothing was changed")?;
    (cx.tell)(Event::Phase("restoring"));
    let placing = Placing { content: scratch.file(EXPANDED), path: path.clone(), plan, cx };
    if !plan.replaces {
        report.moved_aside = placing.put_where_nothing_is()?;
    } else if plan.options.offline {
        report.kept_old = Some(placing.replace_offline()?);
    } else {
        // An application that has lost its file makes an empty one: of that there is nothing to keep.
        if fs::metadata(&path).map_or(true, |found| found.len() > 0) {
            sqlite::require_fit(&scratch.file(EXPANDED), &path)?;
            let copy = safety_copy(plan, &path, cx).await?;
            let url = quote_for_shell(&sqlite_url(&path));
            report.undo = Some(format!("lifeboat backup restore {copy} --url {url} --confirm {copy}"));
            report.kept_old = Some(copy);
        } else {
            report.moved_aside = placing.clear_beside_empty()?;
        }
        stop_if_interrupted(cx.interrupt, "the database is unchanged, and a backup of it was made")?;
        let (copy, live, is_new) = (scratch.file(EXPANDED), path.clone(), report.kept_old.is_none());
        let mode = recorded.map(|contents| contents.journal_mode.clone()).filter(|_| is_new);
        follow_progress(&std::sync::Arc::default(), cx.tell, move || {
            sqlite::restore_into_live(&copy, &live)?;
            // One that is in use keeps the mode that its application has set.
            mode.map_or(Ok(()), |mode| sqlite::set_journal_mode(&live, &mode))
        })
        .await?;
    }
    Ok(report)
}

/// The content of the backup as a file.
async fn expand_backup(plan: &Plan, file: Content, cx: &Context<'_>) -> Result<Scratch> {
    let scratch = scratch_for(&plan.manifest, cx.vault)?;
    let target = scratch.create(EXPANDED)?;
    write_content(&plan.manifest, &file, target, &plan.options.read, cx).await?;
    Ok(scratch)
}

/// A backup of what is there now.
async fn safety_copy(plan: &Plan, path: &Path, cx: &Context<'_>) -> Result<String> {
    (cx.tell)(Event::Phase("backing up the current content"));
    let now = (cx.clock)();
    let database = plan.manifest.source.database.clone();
    let first = BackupName::of(&format!("{database}-before-restore"), now);
    let name = catalogue::free_name(cx.vault, first)?;
    let packing = Packing {
        compression: Compression::Gzip,
        level: 1,
        threads: default_threads(),
        recipients: match plan.manifest.encrypted {
            // What is encrypted does not become readable by being restored.
            true => plan.options.recipients.clone().and_holders(&plan.options.read.identities),
            false => plan.options.recipients.clone(),
        },
    };
    let request = Request {
        source: Source::Sqlite { path: path.to_owned() },
        database,
        name: Some(name),
        format: Format::Sqlite,
        jobs: 1,
        level: provable_level(Level::Stream, &packing, &plan.options.read),
        packing,
        read: plan.options.read.clone(),
        wait: Duration::from_secs(600),
        keep_forever: false,
        class: None,
        keep_days: None,
        // Otherwise it would be a database of its own, whose last copy is never removed. Another file is one.
        database_id: plan
            .manifest
            .source
            .database_id
            .clone()
            .filter(|_| plan.manifest.source.path.as_deref() == path.to_str()),
        if_taken: IfTaken::Refuse,
        trigger: Trigger::Restore,
        observe: None,
        globals: Roles::Without,
    };
    let cannot = |error: Error| {
        Error::new(error.kind(), format!("cannot back up `{}` before replacing it", path.display()))
            .caused_by(error)
            .hint("If the file is damaged, stop the processes that use it and pass `--offline`: it is kept beside the new one.")
    };
    let planned = create::plan(request, cx).await.map_err(cannot)?;
    let made = Box::pin(create::run(planned, cx)).await.map_err(cannot)?;
    Ok(made.backup_name.to_string())
}

/// Whether nobody holds a lock on a file, such as SQLite takes before it writes.
fn is_unlocked(path: &Path) -> bool {
    let file = fs::OpenOptions::new().read(true).write(true).open(path);
    file.is_ok_and(|file| {
        let operation = rustix::fs::FlockOperation::NonBlockingLockExclusive;
        rustix::fs::fcntl_lock(&file, operation).is_ok()
    })
}

/// A complete file on its way to where it belongs.
struct Placing<'a> {
    content: PathBuf,
    path: PathBuf,
    plan: &'a Plan,
    cx: &'a Context<'a>,
}

impl Placing<'_> {
    /// A name beside the database that is free, for what was there before.
    fn free_name(&self) -> PathBuf {
        let stamp = (self.cx.clock)().format("%Y%m%dt%H%M%Sz");
        let first = path_beside(&self.path, &format!(".old-{stamp}"));
        let is_free = |name: &PathBuf| {
            ["", "-wal", "-shm", "-journal"]
                .iter()
                .all(|ending| fs::symlink_metadata(path_beside(name, ending)).is_err())
        };
        let others = (2..).map(|number| path_beside(&first, &format!("-{number}")));
        std::iter::once(first.clone()).chain(others).find(is_free).unwrap_or(first)
    }

    /// Moves aside what would be played into the file that is about to lie beside it.
    fn clear(&self, kept: &Path) -> Result<Vec<(PathBuf, PathBuf)>> {
        let moved = sqlite::move_aside(&self.path, kept).map_err(|error| {
            Error::new(
                Kind::Guard,
                format!("cannot move the files of another database that lie beside `{}`", self.path.display()),
            )
            .caused_by(error)
            .hint("Nothing was changed. Move the `-wal` and `-journal` files away: SQLite would apply them to the restored file.")
        })?;
        for (from, to) in &moved {
            (self.cx.tell)(Event::Warning(&format!(
                "`{}` belongs to a database that no longer exists: it was moved to `{}`",
                from.display(),
                to.display()
            )));
        }
        Ok(moved)
    }

    fn put_where_nothing_is(&self) -> Result<Vec<String>> {
        let made = self.write()?;
        let refused = made.1;
        let moved = self.clear(&self.free_name())?;
        let placed = rename_new(&made.0, &self.path).and_then(|()| self.flush());
        if let Err(error) = placed {
            for (from, to) in moved.iter().rev() {
                let _ = fs::rename(to, from);
            }
            return Err(self.cannot_write(error));
        }
        // Whoever asks for a copy elsewhere may well want it for himself.
        let is_own = self.plan.manifest.source.path.as_deref() == self.path.to_str();
        if let Some(command) = refused.filter(|_| is_own) {
            (self.cx.tell)(Event::Warning(&format!(
                "`{}` has another owner than the file that was backed up; to restore the owner, run `{command}`",
                self.path.display()
            )));
        }
        Ok(moved.iter().map(|(_, to)| to.to_string_lossy().into_owned()).collect())
    }

    /// An empty file has neither a WAL nor a journal of its own, unless somebody is just beginning to write to it.
    fn clear_beside_empty(&self) -> Result<Vec<String>> {
        if !is_unlocked(&self.path) {
            return Ok(Vec::new());
        }
        let moved = self.clear(&self.free_name())?;
        Ok(moved.iter().map(|(_, to)| to.to_string_lossy().into_owned()).collect())
    }

    /// Puts it in the place of a file that nobody has open, which is kept beside it.
    fn replace_offline(&self) -> Result<String> {
        let path = &self.path;
        // What is no database any more is not for SQLite to lock; that is why it is being replaced.
        let is_free = match sqlite::has_header(path) {
            Ok(true) => sqlite::is_free(path),
            _ => Ok(is_unlocked(path)),
        };
        match is_free {
            Ok(true) => {}
            Ok(false) => {
                return Err(Error::new(Kind::Guard, format!("`{}` is in use", path.display())).hint(
                    "Stop the processes that use it, or leave out `--offline` to restore it while it is in use.",
                ));
            }
            Err(error) if matches!(error.kind(), Kind::Request | Kind::No) => {}
            Err(error) => return Err(error),
        }
        let made = self.write_like(path)?;
        let kept = self.free_name();
        let cannot = |error: io::Error| {
            Error::outside(format!("cannot keep `{}` as `{}`", path.display(), kept.display()))
                .caused_by(error)
        };
        link_or_copy(path, &kept).map_err(cannot)?;
        // What SQLite has not played into the old file itself stays with it.
        sqlite::move_aside(path, &kept).map_err(cannot)?;
        fs::rename(&made, path).and_then(|()| self.flush()).map_err(|error| self.cannot_write(error))?;
        Ok(kept.to_string_lossy().into_owned())
    }

    fn flush(&self) -> io::Result<()> {
        sync_folder(&File::open(self.path.parent().unwrap_or(Path::new(".")))?)
    }

    fn cannot_write(&self, error: io::Error) -> Error {
        Error::outside(format!("cannot write `{}`", self.path.display()))
            .caused_by(error)
            .hint("Nothing was replaced.")
    }

    /// Writes the file beside where it will be, of whom its source was; and the command that gives it to him, if we may not.
    fn write(&self) -> Result<(tempfile::TempPath, Option<String>)> {
        let manifest = &self.plan.manifest;
        let made = self.write_plainly(|_| Ok(()))?;
        let owner = manifest.contents.as_ref().and_then(|contents| contents.owner.as_ref());
        let is_same_host = manifest.made_by.host == self.cx.host;
        // Whoever can write to the vault could otherwise choose who reads what was encrypted.
        let is_trusted = !manifest.encrypted || self.plan.options.read.trust_in(manifest)? == Trust::Vouched;
        let refused = owner.and_then(|owner| match is_trusted {
            true => owner.give(&made, &self.path, is_same_host).err(),
            false => owner.command_unless_given(&made, &self.path),
        });
        Ok((made, refused))
    }

    /// Writes it with the owner and the permissions of the file that it replaces, so that the application can open it.
    fn write_like(&self, old: &Path) -> Result<tempfile::TempPath> {
        self.write_plainly(|made| {
            let old = fs::metadata(old)?;
            let _ = std::os::unix::fs::chown(made.path(), Some(old.uid()), Some(old.gid()));
            made.as_file().set_permissions(fs::Permissions::from_mode(old.mode() & 0o777))
        })
    }

    fn write_plainly(
        &self,
        finish: impl FnOnce(&tempfile::NamedTempFile) -> io::Result<()>,
    ) -> Result<tempfile::TempPath> {
        let act = || -> io::Result<tempfile::TempPath> {
            let parent = self.path.parent().unwrap_or(Path::new("."));
            let mut made =
                tempfile::Builder::new().prefix(".lifeboat-").suffix(".restore").tempfile_in(parent)?;
            io::copy(&mut File::open(&self.content)?, &mut made)?;
            finish(&made)?;
            made.as_file().sync_all()?;
            Ok(made.into_temp_path())
        };
        let made = act().map_err(|error| self.cannot_write(error))?;
        if let Some(contents) = &self.plan.manifest.contents {
            sqlite::set_journal_mode(&made, &contents.journal_mode)?;
        }
        Ok(made)
    }
}
