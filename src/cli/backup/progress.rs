//! What is printed while a backup is made, verified or restored.

use std::time::Instant;

use crate::backup::catalogue::{self, Catalogue};
use crate::backup::{Context, Event};
use crate::cli::{host_name, now};
use crate::error::Result;
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::vault::Vault;
use crate::words::format_bytes;

/// The progress of something that is being done.
pub(super) struct Progress<'a> {
    output: &'a Output,
    what: String,
    began: Instant,
}

impl<'a> Progress<'a> {
    pub(super) fn new(output: &'a Output, what: impl Into<String>) -> Self {
        Progress { output, what: what.into(), began: Instant::now() }
    }

    pub(super) fn tell(&self, event: Event<'_>) {
        match event {
            Event::Phase(phase) => self.output.show_live(format!("{} · {phase}", self.what), self.began),
            Event::Bytes(bytes) if self.output.is_live() => {
                let seconds = self.began.elapsed().as_secs_f64().max(0.1);
                let rate = format_bytes((bytes as f64 / seconds) as u64);
                self.output
                    .show_live(format!("{} · {} · {rate}/s", self.what, format_bytes(bytes)), self.began);
            }
            event => Self::say(self.output, event),
        }
    }

    /// Prints notes and warnings.
    pub(super) fn say(output: &Output, event: Event<'_>) {
        match event {
            Event::Phase(_) | Event::Bytes(_) => {}
            Event::Note(text) => output.say(text),
            Event::Warning(text) => output.warn(text),
        }
    }
}

/// The backups of the vault, with a warning for each manifest that cannot be read.
pub(super) fn read_catalogue(vault: &Vault, output: &Output) -> Result<Catalogue> {
    let catalogue = catalogue::read(vault)?;
    catalogue.damaged.iter().for_each(|damaged| output.warn(damaged));
    Ok(catalogue)
}

/// What a command works with, besides its flags.
pub(super) fn context<'a>(
    vault: &'a Vault,
    interrupt: &'a Interrupt,
    tell: &'a (dyn Fn(Event<'_>) + Sync),
) -> Context<'a> {
    Context { vault, interrupt, tell, clock: now, host: host_name() }
}
