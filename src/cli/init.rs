//! `lifeboat init`: its flags, and how its report looks.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::{Session, is_unset, now};
use crate::aws::{Access, Aws};
use crate::backup::sqlite_path;
use crate::error::{Error, Kind, Result};
use crate::init::{self, Found, Local, RegionSurvey};
use crate::output::{self, Page};
use crate::postgres::Target;
use crate::words::Tone;

/// Write a first lifeboat.toml, with comments, from what there is in the account and in DATABASE_URL.
///
/// Without AWS it is a file for the database that DATABASE_URL names. A file that is there is never written over.
#[derive(Args, Debug)]
pub(super) struct InitArgs {
    /// Regions to look for databases in [default: the one Region that is set]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    regions: Vec<String>,
    /// Do not look for databases in AWS
    #[arg(long, conflicts_with = "regions")]
    no_aws: bool,
    /// Print it on stdout, write nothing
    #[arg(long)]
    print: bool,
}

pub(super) async fn run(args: &InitArgs, session: &Session) -> Result<Option<Kind>> {
    let file = session.config_file.clone().unwrap_or_else(|| PathBuf::from("lifeboat.toml"));
    if !args.print && file.symlink_metadata().is_ok() {
        return Err(Error::new(Kind::Guard, format!("`{}` is there: nothing was written", file.display()))
            .hint("`--print` shows what would be written; `--config FILE` names another file."));
    }
    let (places, why) = if args.no_aws { (Vec::new(), None) } else { survey(args, session).await? };
    let local: Vec<Local> = local().into_iter().collect();
    if let Some(error) = why {
        if local.is_empty() {
            return Err(
                error.hint("Without AWS: set DATABASE_URL, or pass `--no-aws` for a file to fill in.")
            );
        }
        session.output.warn(format!("AWS was left out: {}", error.chain()));
    }
    let vault = (!is_unset("BACKUP_DIR") || session.vault != "./backups").then(|| session.vault.clone());
    let found = Found {
        profile: session.access.profile.clone(),
        endpoint_url: session.access.endpoint_url.clone(),
        vault,
        local,
        places,
    };
    let text = init::written(&found, now())?;
    let report = Written::new(&found, (!args.print).then_some(file.as_path()), text);
    if !args.print {
        write_new(&file, &report.text)?;
    }
    session.output.report(&report)?;
    Ok(None)
}

/// What there is in AWS; the reason, if AWS cannot be asked at all.
async fn survey(args: &InitArgs, session: &Session) -> Result<(Vec<RegionSurvey>, Option<Error>)> {
    let accesses: Vec<Access> = match args.regions.as_slice() {
        [] => vec![session.access.clone()],
        some => some
            .iter()
            .map(|region| Access { region: Some(region.clone()), ..session.access.clone() })
            .collect(),
    };
    let mut places = Vec::new();
    for access in &accesses {
        let seen = match Aws::connect(access).await {
            Ok(aws) => init::survey_region(&aws).await,
            Err(error) => Err(error),
        };
        match seen {
            Ok(seen) => places.push(seen),
            // Of Regions that were named, each must be looked at.
            Err(error) if !args.regions.is_empty() => return Err(error),
            Err(error) => return Ok((Vec::new(), Some(error))),
        }
    }
    Ok((places, None))
}

/// The database that DATABASE_URL names. Its URL stays there: a password may be in it.
fn local() -> Option<Local> {
    let url = crate::postgres::read_database_url().ok()??;
    let (name, kind) = match sqlite_path(&url).ok()? {
        Some(path) => (path.file_stem()?.to_string_lossy().into_owned(), "SQLite"),
        None => {
            let target = Target::parse(&url).ok()?;
            (target.database.unwrap_or(target.server.user), "PostgreSQL")
        }
    };
    Some(Local { name, kind, variable: "DATABASE_URL" })
}

/// Somebody may have made the file meanwhile.
fn write_new(file: &Path, text: &str) -> Result<()> {
    let opened = std::fs::OpenOptions::new().write(true).create_new(true).open(file);
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Error::new(Kind::Guard, format!("`{}` is there: nothing was written", file.display()))
                .hint("`--print` shows what would be written.")
        }
        _ => Error::outside(format!("cannot write `{}`", file.display())).caused_by(error).hint(
            "Go to a directory that you may write to, name a file with `--config`, or look with `--print`.",
        ),
    };
    opened
        .and_then(|mut opened| opened.write_all(text.as_bytes()).and_then(|()| opened.sync_all()))
        .map_err(failed)
}

/// What was written (`lifeboat.init/1`).
#[derive(Serialize)]
struct Written {
    schema: &'static str,
    /// Where; absent if it was only printed.
    file: Option<String>,
    regions: Vec<String>,
    databases: Vec<String>,
    text: String,
}

impl Written {
    fn new(found: &Found, file: Option<&Path>, text: String) -> Self {
        let instances = found.places.iter().flat_map(|seen| &seen.instances).map(|it| it.id.to_string());
        Written {
            schema: "lifeboat.init/1",
            file: file.map(|file| file.display().to_string()),
            regions: found.places.iter().map(|seen| seen.region.clone()).collect(),
            databases: instances.chain(found.local.iter().map(|local| local.name.clone())).collect(),
            text,
        }
    }
}

impl output::Report for Written {
    fn render(&self, page: &mut Page) {
        let Some(file) = &self.file else {
            for line in self.text.lines() {
                page.verbatim(line);
            }
            return;
        };
        let databases = match self.databases.len() {
            1 => "1 database".to_owned(),
            many => format!("{many} databases"),
        };
        let place =
            if self.regions.is_empty() { String::new() } else { format!(", {}", self.regions.join(", ")) };
        page.line(format!("wrote {}: {databases}{place}", page.toned(Tone::Strong, format!("`{file}`"))));
        page.line("  look through it, then see what works: `lifeboat doctor`");
    }
}
