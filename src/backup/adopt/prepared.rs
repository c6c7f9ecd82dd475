//! What has to be laid out before it can be read as one file: a dump in directory format, and the SQL that `sqlite3 .dump`
//! writes.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use rusqlite::limits::Limit;

use crate::backup::coding::Compression;
use crate::backup::parallel;
use crate::error::{Error, Kind, Result};

/// SQL is run as one text.
const LARGEST_SCRIPT: u64 = 2 << 30;

/// A file that stands for what was found, until it is dropped.
#[derive(Debug)]
pub(super) struct Prepared {
    folder: tempfile::TempDir,
}

impl Prepared {
    /// Where it lies.
    pub(super) fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("content")
    }

    fn begin() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("lifeboat-found-").tempdir().map_err(|error| {
            Error::outside("cannot create a temporary folder")
                .caused_by(error)
                .hint("Free some space, or set TMPDIR to another folder.")
        })?;
        Ok(Prepared { folder })
    }

    /// A dump in directory format, as the tar in which such dumps are kept.
    pub(super) fn of_directory(directory: &Path) -> Result<Self> {
        let prepared = Prepared::begin()?;
        let failed = |error: std::io::Error| {
            Error::outside(format!("`{}` cannot be packed", directory.display())).caused_by(error)
        };
        let target = File::create_new(prepared.path()).map_err(failed)?;
        parallel::pack_folder(directory, target).map_err(failed)?;
        Ok(prepared)
    }

    /// The database that SQL of `sqlite3 .dump` makes.
    pub(super) fn of_sqlite_script(path: &Path, compression: Compression) -> Result<Self> {
        let damaged =
            |why: String| Error::new(Kind::No, format!("`{}` is damaged", path.display())).caused_by(why);
        let file = File::open(path)
            .map_err(|error| Error::request(format!("cannot read `{}`", path.display())).caused_by(error))?;
        let file = BufReader::new(file);
        let reader: Box<dyn Read> = match compression {
            Compression::None => Box::new(file),
            Compression::Gzip => Box::new(flate2::read::MultiGzDecoder::new(file)),
            Compression::Zstd => {
                Box::new(zstd::Decoder::new(file).map_err(|error| damaged(error.to_string()))?)
            }
        };
        let mut script = String::new();
        let read = reader.take(LARGEST_SCRIPT + 1).read_to_string(&mut script);
        read.map_err(|error| damaged(error.to_string()))?;
        if script.len() as u64 > LARGEST_SCRIPT {
            return Err(Error::request(format!("`{}` holds more than 2 GiB of SQL", path.display()))
                .hint("Load it with `sqlite3 NEW.db < FILE`, and pass that database instead."));
        }
        // A dump is one transaction; where errors ended it, sqlite3 says so in its last line.
        if !script.trim_end().ends_with("COMMIT;") {
            return Err(damaged("the dump is truncated".to_owned()));
        }
        let prepared = Prepared::begin()?;
        let database = rusqlite::Connection::open(prepared.path())
            .map_err(|error| Error::outside("cannot create a temporary database").caused_by(error))?;
        // Whatever the script says, it reaches no other file.
        let run = database
            .set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)
            .and_then(|_| database.execute_batch(&script))
            .and_then(|()| database.execute_batch("pragma writable_schema = off"));
        run.map_err(|error| damaged(format!("SQLite cannot run it: {error}")))?;
        Ok(prepared)
    }
}
