//! Golden outputs: what people and programs are shown, word for word, in `tests/golden`. After a change of words run
//! `INSTA_UPDATE=always cargo test --test it -- golden::` and read `git diff tests/golden`.
//!
//! A scene runs commands in one world and writes down what came of them. What differs from run to run (times, spans, ids, paths,
//! ports) is replaced by something of the same width, so that the layout is pinned too.

mod backups;
mod drills;
mod help;
mod notifications;
mod pages;
mod rds;
mod redaction;
mod refusals;
mod runbooks;
mod serving;

use std::sync::LazyLock;
use std::time::Duration;

use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use tokio::process::Command;

use crate::offline::Offline;
use crate::support::{Run, World, binary, finish};
use crate::terminal::on_terminal;
use redaction::{redact, redact_times};

/// Compares a text with the one that is kept under this name.
#[track_caller]
fn assert_golden(name: &str, text: &str) {
    let mut settings = insta::Settings::new();
    settings.set_snapshot_path("../golden");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// The widths of terminals that a report is shown at.
const WIDTHS: [u16; 2] = [80, 120];

/// The built binary with these arguments, in a world of its own.
type CommandInWorld<'a> = Box<dyn Fn(&[&str]) -> Command + 'a>;

/// What a command takes for the machine's clock.
#[derive(Clone, Copy)]
enum Clock {
    /// A moment at which it stands still: times and ages are the same in each run.
    Still(&'static str),
    /// So many seconds ahead of the machine's: AWS's clock after as many jumps.
    Ahead(i64),
}

/// Commands that run in one world, and what they printed.
struct Scene<'a> {
    command: CommandInWorld<'a>,
    clock: Clock,
    midnight: Option<DateTime<Utc>>,
    text: String,
}

impl<'a> Scene<'a> {
    fn new(command: impl Fn(&[&str]) -> Command + 'a) -> Scene<'a> {
        Scene { command: Box::new(command), clock: Clock::Ahead(0), midnight: None, text: String::new() }
    }

    /// Paths are written relative to the directory, since the length of its own differs.
    fn of_world(world: &'a World) -> Scene<'a> {
        Scene::new(|arguments| {
            let mut command = world.command(arguments);
            command.env("BACKUP_DIR", "vault");
            command
        })
    }

    fn of_place(place: &'a Offline) -> Scene<'a> {
        Scene::new(|arguments| {
            let mut command = place.command(arguments);
            command.env("BACKUP_DIR", "vault");
            command
        })
    }

    fn in_directory(directory: &'a tempfile::TempDir) -> Scene<'a> {
        Scene::new(|arguments| binary(directory.path(), arguments))
    }

    /// Moves AWS's clock, and the machine's, so many minutes after the first midnight.
    async fn jump(&mut self, world: &World, minutes: i64) {
        let now = world.control("GET", "clock", serde_json::Value::Null).await;
        let now: DateTime<Utc> = now["now"].as_str().unwrap().parse().unwrap();
        let midnight = *self
            .midnight
            .get_or_insert((now + TimeDelta::days(1)).duration_trunc(TimeDelta::days(1)).unwrap());
        let until = midnight + TimeDelta::minutes(minutes);
        let seconds = (until - now).num_seconds();
        world.advance_clock(seconds).await;
        let Clock::Ahead(ahead) = self.clock else { panic!("the clock stands still") };
        self.clock = Clock::Ahead(ahead + seconds);
    }

    /// The command of a line such as `PGPASSWORD=wrong drill run orders-prod`; a variable without a value is unset.
    fn command(&self, line: &str) -> Command {
        let words = shlex::split(line).expect("the line is one of a shell");
        let (variables, arguments): (Vec<&str>, Vec<&str>) = {
            let count = words.iter().take_while(|word| is_assignment(word)).count();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            (words[..count].to_vec(), words[count..].to_vec())
        };
        let mut command = (self.command)(&arguments);
        command.env("TZ", "UTC");
        for (name, value) in variables.iter().filter_map(|word| word.split_once('=')) {
            match value {
                "" => command.env_remove(name),
                value => command.env(name, value),
            };
        }
        match self.clock {
            Clock::Still(moment) => at_time(moment, command),
            Clock::Ahead(0) => command,
            Clock::Ahead(seconds) => at_time(&format!("+{seconds}s"), command),
        }
    }

    async fn run(&self, line: &str) -> Run {
        let run = finish(self.command(line).spawn().unwrap());
        tokio::time::timeout(Duration::from_secs(60), run)
            .await
            .unwrap_or_else(|_| panic!("{line}: it does not end"))
    }

    /// Writes down what a command printed to a pipe, and how it ended.
    async fn pipe(&mut self, line: &str) {
        self.pipe_each(&[line]).await;
    }

    /// The same of commands that do not touch each other, all at once.
    async fn pipe_each(&mut self, lines: &[&str]) {
        let runs = futures::future::join_all(lines.iter().map(|line| self.run(line))).await;
        for (line, run) in lines.iter().zip(&runs) {
            self.write(&format!("$ {}", shown_line(line)), run);
        }
    }

    /// Writes down a report at each width, and its document.
    async fn report(&mut self, line: &str) {
        self.screens(line).await;
        self.pipe(&format!("{line} --json")).await;
    }

    /// Writes down a report as it stands on terminals of each width.
    async fn screens(&mut self, line: &str) {
        let (narrow, wide) = (self.screen(line, WIDTHS[0]).await, self.screen(line, WIDTHS[1]).await);
        let line = shown_line(line);
        if redact(&narrow.stdout) == redact(&wide.stdout) {
            self.write(&format!("$ {line}    # {} and {} columns", WIDTHS[0], WIDTHS[1]), &narrow);
        } else {
            self.write(&format!("$ {line}    # {} columns", WIDTHS[0]), &narrow);
            self.write(&format!("$ {line}    # {} columns", WIDTHS[1]), &wide);
        }
    }

    /// Writes down what a command that changes something leaves on a narrow terminal.
    async fn terminal(&mut self, line: &str) {
        let run = self.screen(line, WIDTHS[0]).await;
        self.write(&format!("$ {}    # {} columns", shown_line(line), WIDTHS[0]), &run);
    }

    async fn screen(&self, line: &str, columns: u16) -> Run {
        finish(on_terminal(columns, &self.command(line)).spawn().unwrap()).await
    }

    fn write(&mut self, title: &str, run: &Run) {
        self.text.push_str(&format!("{title}\n"));
        self.text.push_str(&run.stdout);
        if !run.stderr.is_empty() {
            self.text.push_str(&format!("--- stderr\n{}", run.stderr));
        }
        match run.code {
            Some(0) => self.text.push('\n'),
            code => self.text.push_str(&format!("--- exit code {}\n\n", code.unwrap_or(-1))),
        }
    }

    /// Writes down a page as text.
    fn page(&mut self, title: &str, page: &str) {
        self.text.push_str(&format!("{title}\n{}\n", pages::text_of(page)));
    }

    /// Ends the scene: compares what was written down.
    #[track_caller]
    fn assert_golden(&mut self, name: &str) {
        let text = redact(&std::mem::take(&mut self.text));
        let is_still = matches!(self.clock, Clock::Still(_));
        let text = if is_still { text } else { redact_times(&text) };
        assert_golden(name, &text);
    }
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.chars().all(|letter| letter.is_ascii_uppercase() || letter == '_')
    })
}

/// As a person would type it.
fn shown_line(line: &str) -> String {
    let count = line.split(' ').take_while(|word| is_assignment(word)).count();
    let mut words: Vec<&str> = line.split(' ').collect();
    words.insert(count, "lifeboat");
    words.join(" ")
}

/// The same command with another clock; spans are measured as they are.
fn at_time(clock: &str, mut command: Command) -> Command {
    command.env("LD_PRELOAD", LIBFAKETIME.as_str()).env("FAKETIME", clock);
    command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("NO_FAKE_STAT", "1");
    command
}

/// What `faketime` loads into a program; it does not pass on the signal that ends one.
static LIBFAKETIME: LazyLock<String> = LazyLock::new(|| {
    let said = std::process::Command::new("faketime").args(["-f", "+0s", "printenv", "LD_PRELOAD"]).output();
    String::from_utf8(said.expect("faketime is installed by `make setup`").stdout).unwrap().trim().to_owned()
});
