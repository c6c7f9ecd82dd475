//! Asks before something is destroyed: names the object, where it is, and what will be lost.

use super::{Session, terminal};
use crate::backup::schedule::quote_for_shell;
use crate::error::{Error, Kind, Result};
use crate::output::{Output, escape_controls};
use crate::page::capitalise;

/// How often somebody may mistype a name before nothing is done.
const TRIES: u8 = 5;

/// Something that cannot be undone, or only with trouble.
pub(super) struct Act {
    /// The name that has to be typed.
    pub(super) name: String,
    /// What it does, as a sentence without its full stop: "this permanently deletes snapshot `x`".
    pub(super) sentence: String,
    /// Where it happens and what will be gone: a label, and what it says.
    pub(super) facts: Vec<(&'static str, String)>,
}

impl Act {
    /// Makes sure that the person means it: `given` is the name, or they type it on a terminal. Whoever calls this listens to
    /// signals afterwards only: until then Ctrl-C ends the process, as the question says.
    pub(super) fn confirm(&self, given: Option<&str>, session: &Session) -> Result<()> {
        match given {
            Some(given) if given == self.name => Ok(()),
            Some(given) => {
                Err(self.refused_error(&format!("`{}` is not `{}`", escape_controls(given), self.name)))
            }
            None if terminal::is_terminal() => self.ask_for_name(&session.output),
            None => Err(self.unconfirmed_error()),
        }
    }

    fn ask_for_name(&self, output: &Output) -> Result<()> {
        output.ask(format!("{}.", capitalise(&escape_controls(&self.sentence))));
        let widest = self.facts.iter().map(|(label, _)| label.len()).max().unwrap_or(0);
        for (label, fact) in &self.facts {
            output.ask(format!("  {label:widest$}  {}", escape_controls(fact)));
        }
        output.ask(format!("Type `{}` to continue; Ctrl-C changes nothing.", escape_controls(&self.name)));
        for _ in 0..TRIES {
            let Some(line) = terminal::read_line_at_once("> ")
                .map_err(|error| self.refused_error("the answer could not be read").caused_by(error))?
            else {
                break;
            };
            match line.trim() {
                typed if typed == self.name => return Ok(()),
                typed => output.ask(format!(
                    "`{}` is not `{}`. Nothing was changed; try again.",
                    escape_controls(typed),
                    escape_controls(&self.name)
                )),
            }
        }
        Err(self.unconfirmed_error())
    }

    fn unconfirmed_error(&self) -> Error {
        self.refused_error(&format!("`{}` was not confirmed", self.name))
    }

    fn refused_error(&self, why: &str) -> Error {
        let message = format!(
            "nothing was changed, since {}: {}",
            escape_controls(why),
            escape_controls(&self.sentence)
        );
        let facts: Vec<String> =
            self.facts.iter().map(|(label, fact)| format!("{label}: {}", escape_controls(fact))).collect();
        let error = Error::new(Kind::Guard, message);
        let error = if facts.is_empty() {
            error
        } else {
            error.hint(format!("What it is about: {}.", facts.join("; ")))
        };
        error.hint(format!("Pass `--confirm {}` if you mean it.", quote_for_shell(&self.name)))
    }
}
