//! `lifeboat completions`: what a shell needs to complete lifeboat's commands and flags.

use clap::Args;
use clap_complete::Shell;
use serde::Serialize;

use crate::error::{Kind, Result};
use crate::output::{self, Output, Page};

/// Print the completions of a shell.
///
/// For example `lifeboat completions bash > /etc/bash_completion.d/lifeboat`, `lifeboat completions zsh >
/// "${fpath[1]}/_lifeboat"`, `lifeboat completions fish > ~/.config/fish/completions/lifeboat.fish`.
#[derive(Args, Debug)]
pub(super) struct CompletionsArgs {
    /// Shell
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

#[derive(Serialize)]
struct Completions {
    schema: &'static str,
    shell: String,
    script: String,
}

impl output::Report for Completions {
    fn render(&self, page: &mut Page) {
        self.script.lines().for_each(|line| page.verbatim(line));
    }
}

pub(super) fn run(
    args: &CompletionsArgs,
    mut command_line: clap::Command,
    output: &Output,
) -> Result<Option<Kind>> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command_line, "lifeboat", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    let shell = args.shell.to_string();
    output.report(&Completions { schema: "lifeboat.completions/1", shell, script })?;
    Ok(None)
}
