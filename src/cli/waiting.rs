//! Flags of commands that wait, and the progress that they show.

use std::time::{Duration, Instant};

use clap::Args;
use parking_lot::Mutex;

use crate::aws::Poll;
use crate::error::{Kind, Result};
use crate::interrupt::Interrupt;
use crate::output::{self, Output};
use crate::snapshot::Event;
use crate::when::parse_duration;

/// How long to wait, and how often to look.
#[derive(Args, Debug)]
pub(super) struct WaitArgs {
    /// How long to wait for the end; exit code 7 if it is still going on then
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "2h")]
    wait: Duration,
    /// Return as soon as AWS has accepted the request
    #[arg(long, conflicts_with = "wait")]
    no_wait: bool,
    /// How often to poll AWS
    #[arg(long, value_name = "DURATION", value_parser = parse_poll, default_value = "15s")]
    poll: Duration,
}

impl WaitArgs {
    /// Whether the end is waited for.
    pub(super) fn is_wanted(&self) -> bool {
        !self.no_wait
    }

    /// What is left of the time since `began`.
    pub(super) fn poll_since(&self, began: Instant) -> Poll {
        Poll { every: self.poll, give_up_after: self.wait.saturating_sub(began.elapsed()) }
    }

    /// Waits for the end, as far as that is wanted.
    pub(super) async fn wait_for(
        &self,
        interrupt: &Interrupt,
        end: impl Future<Output = Result<Option<Kind>>>,
    ) -> Result<Option<Kind>> {
        if self.no_wait {
            return Ok(None);
        }
        tokio::select! {
            biased;
            kind = interrupt.wait(1) => Ok(Some(kind)),
            ended = end => ended,
        }
    }
}

/// The report comes first, so that the id of what goes on at AWS is known whatever happened; `going_on` says what does.
pub(super) fn conclude_wait(
    output: &Output,
    ended: Result<Option<Kind>>,
    report: &impl output::Report,
    going_on: impl FnOnce() -> String,
) -> Result<Option<Kind>> {
    output.conclude(report, ended.as_ref().map_or_else(|error| Some(error.kind()), |kind| *kind))?;
    let ended = ended?;
    if matches!(ended, Some(Kind::StillGoing | Kind::Interrupted | Kind::Terminated)) {
        output.warn(going_on());
    }
    Ok(ended)
}

/// Reads `--poll`.
pub(super) fn parse_poll(text: &str) -> std::result::Result<Duration, String> {
    let poll = parse_duration(text)?;
    if (Duration::from_millis(100)..=Duration::from_secs(600)).contains(&poll) {
        Ok(poll)
    } else {
        Err("expected 100ms to 10m".to_owned())
    }
}

/// What happens at AWS, told on stderr: one live line on a terminal, one line per change of state otherwise.
pub(super) struct Teller<'a> {
    output: &'a Output,
    began: Instant,
    what: Mutex<String>,
}

impl<'a> Teller<'a> {
    pub(super) fn new(output: &'a Output) -> Self {
        Teller { output, began: Instant::now(), what: Mutex::new(String::new()) }
    }

    pub(super) fn show_event(&self, event: &Event<'_>) {
        match event {
            Event::Status { what, status } => {
                self.output.say(format!("{what} is {status}"));
                let mut live = self.what.lock();
                *live = format!("{what} is {status}");
                self.output.show_live(live.clone(), self.began);
            }
            Event::Progress { percent } => {
                self.output.show_live(format!("{}, {percent} %", self.what.lock()), self.began);
            }
            Event::Note(text) => self.output.say(text),
        }
    }
}
