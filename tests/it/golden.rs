//! Golden outputs: what people and programs are shown, word for word, in `tests/golden`. After a change of words run
//! `INSTA_UPDATE=always cargo test --test it -- golden::` and read `git diff tests/golden`.
//!
//! A scene runs commands in one world and writes down what came of them. What differs from run to run (times, spans, ids, paths,
//! ports) is replaced by something of the same width, so that the layout is pinned too.

mod backups;
mod help;
mod redaction;
mod refusals;

use tokio::process::Command;

use crate::backup::Place;
use crate::support::{Run, binary, finish};
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

/// Commands that run in one world, and what they printed.
struct Scene<'a> {
    command: CommandInWorld<'a>,
    /// What the machine's clock says; none where AWS's clock counts.
    clock: Option<&'static str>,
    text: String,
}

impl<'a> Scene<'a> {
    fn new(command: impl Fn(&[&str]) -> Command + 'a) -> Scene<'a> {
        Scene { command: Box::new(command), clock: None, text: String::new() }
    }

    /// Paths are written relative to the directory, since the length of its own differs.
    fn of_place(place: &'a Place) -> Scene<'a> {
        Scene::new(|arguments| {
            let mut command = place.command(arguments);
            command.env("BACKUP_DIR", "vault");
            command
        })
    }

    fn in_directory(directory: &'a tempfile::TempDir) -> Scene<'a> {
        Scene::new(|arguments| binary(directory.path(), arguments))
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
            Some(clock) => at_time(clock, &command),
            None => command,
        }
    }

    /// Runs a command whose output is of no interest.
    async fn prepare(&self, line: &str) -> Run {
        let run = self.run(line).await;
        assert!(run.code == Some(0), "{line}: {run:?}");
        run
    }

    async fn run(&self, line: &str) -> Run {
        finish(self.command(line).spawn().unwrap()).await
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
        let (narrow, wide) = tokio::join!(self.screen(line, WIDTHS[0]), self.screen(line, WIDTHS[1]));
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

    /// Ends the scene: compares what was written down.
    #[track_caller]
    fn assert_golden(&mut self, name: &str) {
        let text = redact(&std::mem::take(&mut self.text));
        let text = if self.clock.is_some() { text } else { redact_times(&text) };
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

/// The same command with a clock that stands still; spans are measured as they are.
fn at_time(clock: &str, ours: &Command) -> Command {
    let ours = ours.as_std();
    let mut command = Command::new("faketime");
    command.args(["-f", clock]).arg(ours.get_program()).args(ours.get_args());
    command.env_clear().envs(ours.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("NO_FAKE_STAT", "1");
    command.current_dir(ours.get_current_dir().unwrap()).stdin(std::process::Stdio::null());
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).kill_on_drop(true);
    command
}
