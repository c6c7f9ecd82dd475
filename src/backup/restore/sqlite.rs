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

use super::{Manner, Plan, Proven, Report, absolute, prove, report};
use crate::backup::check::{self, EXPANDED};
use crate::backup::create;
use crate::backup::stream::Packing;
use crate::backup::{
    BackupName, Compression, Event, Format, Level, Recipients, Source, Surroundings, catalogue, interrupted,
    sqlite, usual_threads,
};
use crate::error::{Error, Kind, Result};
use crate::vault::{Content, Scratch};

/// Whether a file is there.
pub(super) fn preflight(path: &Path, manner: &Manner) -> Result<bool> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = absolute(path).parent().map(Path::to_owned).unwrap_or_default();
            if parent.is_dir() {
                return Ok(false);
            }
            return Err(Error::request(format!("the directory `{}` does not exist", parent.display()))
                .hint("Create it, or name another file with `--into`."));
        }
        Err(error) => {
            return Err(Error::outside(format!("cannot look at `{}`", path.display())).caused_by(error));
        }
    };
    if manner.offline && found.is_symlink() {
        return Err(Error::request(format!("`{}` is a symbolic link", path.display()))
            .hint("Name the file itself: `--offline` would put a file in the place of the link."));
    }
    if fs::metadata(path).is_ok_and(|found| found.is_file()) {
        return Ok(true);
    }
    Err(Error::request(format!("`{}` is not a file", path.display())))
}

pub(super) async fn restore(plan: &Plan, path: &Path, surroundings: &Surroundings<'_>) -> Result<Report> {
    let path = absolute(path);
    let Proven { file, finding } = prove(plan, surroundings).await?;
    let scratch = expanded(plan, file, surroundings).await?;
    let mut report = report(plan, &Source::Sqlite { path: path.clone() });
    if let Some(contents) = finding.contents {
        report.tables_checked = contents.tables.len();
        report.rows_checked = contents.tables.iter().filter_map(|table| table.rows).sum();
    }
    interrupted(surroundings.interrupt, "nothing was touched")?;
    (surroundings.tell)(Event::Phase("restoring"));
    let journal_mode = plan.manifest.contents.as_ref().map(|contents| contents.journal_mode.clone());
    if !plan.replaces {
        place(&scratch.file(EXPANDED), &path, journal_mode.as_deref(), None)?;
    } else if plan.manner.offline {
        report.kept_old = Some(replace_offline(&scratch, &path, journal_mode.as_deref(), surroundings)?);
    } else {
        // An application that has lost its file makes an empty one: of that there is nothing to keep.
        if fs::metadata(&path).map_or(true, |found| found.len() > 0) {
            report.kept_old = Some(safety_copy(plan, &path, surroundings).await?);
        }
        interrupted(surroundings.interrupt, "the database is as it was; a copy of it was made")?;
        let (copy, live) = (scratch.file(EXPANDED), path.clone());
        super::super::follow(&std::sync::Arc::default(), surroundings.tell, move || {
            sqlite::restore_into_live(&copy, &live)
        })
        .await?;
    }
    Ok(report)
}

/// The content of the backup as a file.
async fn expanded(plan: &Plan, file: Content, surroundings: &Surroundings<'_>) -> Result<Scratch> {
    let scratch = check::scratch_for(&plan.manifest, surroundings.vault)?;
    let target = scratch.create(EXPANDED)?;
    check::expand(&plan.manifest, &file, target, &plan.manner.means, surroundings).await?;
    Ok(scratch)
}

/// A backup of what is there now.
async fn safety_copy(plan: &Plan, path: &Path, surroundings: &Surroundings<'_>) -> Result<String> {
    (surroundings.tell)(Event::Phase("backing up what is there now"));
    let now = (surroundings.clock)();
    let database = plan.manifest.source.database.clone();
    let first = BackupName::of(&format!("{database}-before-restore"), now);
    let name = catalogue::free_name(surroundings.vault, first)?;
    let packing = Packing {
        compression: Compression::Gzip,
        level: 1,
        threads: usual_threads(),
        recipients: Recipients::default(),
    };
    let request = create::Request {
        source: Source::Sqlite { path: path.to_owned() },
        database,
        name: Some(name),
        format: Format::Sqlite,
        jobs: 1,
        packing,
        level: Level::Stream,
        means: plan.manner.means.clone(),
        wait: Duration::from_secs(600),
        keep_forever: false,
        class: None,
        keep_days: None,
        database_id: None,
        if_taken: create::IfTaken::Refuse,
        trigger: "restore".to_owned(),
        observe: None,
        globals: create::Roles::Without,
    };
    let cannot = |error: Error| {
        Error::new(error.kind(), format!("`{}` cannot be backed up before it is replaced", path.display()))
            .caused_by(error)
            .hint("If the file is beyond help, stop what uses it and pass `--offline`: it is kept beside the new one.")
    };
    let planned = create::plan(request, surroundings.vault, now).await.map_err(cannot)?;
    let made = Box::pin(create::run(planned, surroundings)).await.map_err(cannot)?;
    Ok(made.backup_name.to_string())
}

/// Puts a complete file in the place of one that nobody has open, which is kept beside it.
fn replace_offline(
    scratch: &Scratch,
    path: &Path,
    journal_mode: Option<&str>,
    surroundings: &Surroundings<'_>,
) -> Result<String> {
    match sqlite::is_free(path) {
        Ok(true) => {}
        Ok(false) => {
            return Err(Error::new(Kind::Guard, format!("`{}` is in use", path.display())).hint(
                "Stop what uses it, or leave `--offline` out: then it is restored while it is in use.",
            ));
        }
        // What is no database any more cannot be locked; that is why it is being replaced.
        Err(error) if matches!(error.kind(), Kind::Request | Kind::No) => {}
        Err(error) => return Err(error),
    }
    let stamp = (surroundings.clock)().format("%Y%m%dt%H%M%Sz");
    let first = beside(path, &format!(".old-{stamp}"));
    let mut free =
        std::iter::once(first.clone()).chain((2..).map(|number| beside(&first, &format!("-{number}"))));
    let kept = free.find(|kept| !kept.exists()).unwrap_or(first);
    let cannot = |error: io::Error| {
        Error::outside(format!("`{}` cannot be kept as `{}`", path.display(), kept.display()))
            .caused_by(error)
    };
    fs::hard_link(path, &kept).map_err(cannot)?;
    place(&scratch.file(EXPANDED), path, journal_mode, Some(&kept))?;
    Ok(kept.to_string_lossy().into_owned())
}

/// Puts a complete copy of `content` at `path`: where nothing is, or in the place of a file that is kept as `kept`.
fn place(content: &Path, path: &Path, journal_mode: Option<&str>, kept: Option<&Path>) -> Result<()> {
    let act = || -> io::Result<tempfile::TempPath> {
        let parent = path.parent().unwrap_or(Path::new("."));
        let mut made =
            tempfile::Builder::new().prefix(".lifeboat-").suffix(".restore").tempfile_in(parent)?;
        io::copy(&mut File::open(content)?, &mut made)?;
        if let Some(kept) = kept {
            // The application must be able to open the new file as it did the old one.
            let old = fs::metadata(kept)?;
            made.as_file().set_permissions(fs::Permissions::from_mode(old.mode() & 0o777))?;
            let _ = std::os::unix::fs::chown(made.path(), Some(old.uid()), Some(old.gid()));
        }
        made.as_file().sync_all()?;
        Ok(made.into_temp_path())
    };
    let cannot = |error: io::Error| {
        Error::outside(format!("cannot write `{}`", path.display()))
            .caused_by(error)
            .hint("Nothing was replaced.")
    };
    let made = act().map_err(cannot)?;
    if let Some(mode) = journal_mode {
        sqlite::set_journal_mode(&made, mode)?;
    }
    let finish = || -> io::Result<()> {
        if kept.is_some() {
            // A WAL or journal of the old file would be played into the new one.
            for ending in ["-wal", "-shm", "-journal"] {
                let _ = fs::remove_file(beside(path, ending));
            }
            fs::rename(&made, path)?;
        } else {
            fs::hard_link(&made, path)?;
        }
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    finish().map_err(cannot)
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}
