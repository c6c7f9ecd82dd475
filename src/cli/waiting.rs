//! Flags of commands that wait, and the progress that they show.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use clap::Args;

use crate::aws::Poll;
use crate::output::Output;
use crate::snapshot::{Event, Wait};
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
    /// How long to wait for the end.
    pub(super) fn wait(&self) -> Wait {
        if self.no_wait { Wait::No } else { Wait::AtMost(self.wait) }
    }

    /// What is left of the time since `began`.
    pub(super) fn poll_since(&self, began: Instant) -> Poll {
        Poll { every: self.poll, give_up_after: self.wait.saturating_sub(began.elapsed()) }
    }
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
                if let Ok(mut live) = self.what.lock() {
                    *live = format!("{what} is {status}");
                    self.output.show_live(live.clone(), self.began);
                }
            }
            Event::Progress { percent } => {
                let what = self.what.lock().map(|what| what.clone()).unwrap_or_default();
                self.output.show_live(format!("{what}, {percent} %"), self.began);
            }
            Event::Note(text) => self.output.say(text),
        }
    }
}
