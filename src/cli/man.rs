//! `lifeboat man`: manual pages, and the pages of commands in the reference, from the same words as `--help`.

mod markdown;

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use clap_mangen::Man;
use serde::Serialize;

use crate::error::{Error, Kind, Result};
use crate::output::{self, Output, Page};

/// Print the manual page, or write those of all commands into a directory.
///
/// `lifeboat man | man -l -` shows it; `lifeboat man --out /usr/local/share/man/man1` installs lifeboat(1), lifeboat-drill-run(1) and
/// so on.
#[derive(Args, Debug)]
pub(super) struct ManArgs {
    /// Directory for one page for each command; it must be there
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// What the pages are written in
    #[arg(long, value_enum, default_value_t, requires = "out")]
    format: Format,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For `man`
    #[default]
    Roff,
    /// For the reference of lifeboat's documentation
    Markdown,
}

/// One page, on stdout.
#[derive(Serialize)]
struct Shown {
    schema: &'static str,
    page: String,
}

impl output::Report for Shown {
    fn render(&self, page: &mut Page) {
        self.page.lines().for_each(|line| page.verbatim(line));
    }
}

/// All of them, in files.
#[derive(Serialize)]
struct Written {
    schema: &'static str,
    files: Vec<PathBuf>,
}

impl output::Report for Written {
    fn render(&self, page: &mut Page) {
        let folder = self.files.first().and_then(|file| file.parent()).unwrap_or(Path::new("."));
        page.line(format!("{} pages written to `{}`", self.files.len(), folder.display()));
    }
}

pub(super) fn run(args: &ManArgs, command_line: clap::Command, output: &Output) -> Result<Option<Kind>> {
    let mut root = command_line.name("lifeboat");
    root.build();
    match &args.out {
        None => output.report(&Shown { schema: "lifeboat.man/1", page: page(root)? })?,
        Some(directory) => {
            std::fs::create_dir_all(directory).map_err(|error| {
                Error::request(format!("cannot make directory `{}`", directory.display()))
                    .caused_by(error)
                    .hint("Name a directory that you may write to.")
            })?;
            let mut files = Vec::new();
            write(&root, "lifeboat", directory, args.format, &mut files)?;
            output.report(&Written { schema: "lifeboat.man-pages/1", files })?;
        }
    }
    Ok(None)
}

fn page(command: clap::Command) -> Result<String> {
    let mut page = Vec::new();
    Man::new(command)
        .render(&mut page)
        .map_err(|error| Error::new(Kind::Bug, "the manual page cannot be written").caused_by(error))?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}

/// Writes the page of a command and those of its subcommands, each under its whole name: `lifeboat-drill-run.1`.
fn write(
    command: &clap::Command,
    name: &str,
    directory: &Path,
    format: Format,
    files: &mut Vec<PathBuf>,
) -> Result<()> {
    let (file, text) = match format {
        Format::Roff => (format!("{name}.1"), page(command.clone().display_name(name.to_owned()))?),
        Format::Markdown => (markdown::file_name(name), markdown::draw_page(command, name)),
    };
    let file = directory.join(file);
    std::fs::write(&file, text).map_err(|error| {
        Error::request(format!("cannot write `{}`", file.display()))
            .caused_by(error)
            .hint("Name a directory that is there and may be written to.")
    })?;
    files.push(file);
    for child in markdown::visible_subcommands(command) {
        write(child, &format!("{name}-{}", child.get_name()), directory, format, files)?;
    }
    Ok(())
}
