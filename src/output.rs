//! The only printer. stdout carries the report and nothing else, as text or as one JSON document; stderr carries
//! talk: one live line on a terminal, one line per change of state otherwise.
//!
//! A closed pipe is not an error: whoever reads has read enough.

mod commands;
mod layout;
mod live;
mod terminal;

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::error::{Error, Kind, Result};
pub(crate) use crate::postgres::redact_urls;
use crate::verify::Verdict;
use crate::when::{format_span, format_time};
use crate::words::Tone;

pub(crate) use crate::words::escape_controls;
pub(crate) use commands::Repeated;
use live::Live;
use terminal::{colorize, escaped_json, printable, terminal_width};

/// When to use colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How a report is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON document.
    Json,
}

/// What a command has to say, for people and for programs.
pub(crate) trait Report: Serialize {
    /// Writes it for people.
    fn render(&self, page: &mut Page);
}

/// Text for people, in the making.
pub(crate) struct Page {
    text: String,
    colored: bool,
    /// Of the terminal; none where whoever reads it is no person.
    width: Option<usize>,
    repeated: Repeated,
}

impl Page {
    /// A line, or several; on a terminal it is wrapped between words.
    pub(crate) fn line(&mut self, text: impl AsRef<str>) {
        self.verbatim(wrap_lines(&self.repeated.complete(text.as_ref()), self.width));
    }

    /// The head of a report: its verdict or state, then what it is about, then how long that took.
    pub(crate) fn heading(&mut self, tone: Tone, word: &str, about: impl AsRef<str>, seconds: Option<f64>) {
        let took = seconds.map_or(String::new(), |seconds| format!(", {}", format_span(seconds)));
        let (word, about) =
            (self.toned(tone, word), self.toned(Tone::Strong, escape_controls(about.as_ref())));
        self.line(format!("{word}  {about}{took}"));
    }

    /// The head of a report on what was compared or checked; returns the tone of the verdict.
    pub(crate) fn verdict(&mut self, verdict: Verdict, about: impl AsRef<str>, seconds: Option<f64>) -> Tone {
        let (tone, word) = match verdict {
            Verdict::Pass => (Tone::Good, "PASS"),
            Verdict::Fail => (Tone::Bad, "FAIL"),
            Verdict::Unknown => (Tone::Doubt, "UNKNOWN"),
        };
        self.heading(tone, word, about, seconds);
        tone
    }

    /// Words in a tone.
    pub(crate) fn toned(&self, tone: Tone, text: impl AsRef<str>) -> String {
        colorize(self.colored, tone, text.as_ref())
    }

    /// A line that is copied as it stands, such as one of a script: it is not wrapped.
    pub(crate) fn verbatim(&mut self, text: impl AsRef<str>) {
        self.text.push_str(text.as_ref());
        self.text.push('\n');
    }

    /// What to do about the lines above it: a command, or prose.
    pub(crate) fn remedy(&mut self, indent: usize, text: &str) {
        let text = escape_controls(text);
        let is_command = ["lifeboat ", "aws ", "psql ", "for "].iter().any(|start| text.starts_with(start));
        match is_command {
            true => self.command(&" ".repeat(indent), &text),
            false => self.line(format!("{}{}", " ".repeat(indent), self.toned(Tone::Faint, text))),
        }
    }

    /// A command behind a label: where it is longer than a line of the terminal, each but the last ends with a backslash, so that
    /// a shell takes it as it is shown.
    pub(crate) fn command(&mut self, label: &str, command: &str) {
        let command = self.repeated.complete(&escape_controls(command));
        let lines = match self.width {
            Some(width) => layout::continue_command(label, &command, width),
            None => vec![format!("{label}{command}")],
        };
        for line in lines {
            let (label, command) = line.split_at(line.len().min(label.len()));
            let command = self.toned(Tone::Faint, command);
            self.verbatim(format!("{label}{command}"));
        }
    }

    /// A table; an empty one is left out. The cells of one column may carry a tone. Where it is too wide for the terminal, its
    /// rows become blocks.
    pub(crate) fn table(&mut self, header: &[&str], rows: Vec<layout::Row>) {
        if rows.is_empty() {
            return;
        }
        let completed = |(text, tone): (String, _)| (self.repeated.complete(&text), tone);
        let rows: Vec<layout::Row> =
            rows.into_iter().map(|row| row.into_iter().map(completed).collect()).collect();
        for line in layout::lay_out(header, &rows, self.width, self.colored) {
            self.verbatim(line);
        }
    }
}

/// Where everything is printed.
pub(crate) struct Output {
    format: Format,
    colored_stdout: bool,
    colored_stderr: bool,
    quiet: bool,
    live: Option<Live>,
    log: Option<Log>,
    repeated: Repeated,
    /// Whether the one document that a program expects was printed.
    is_reported: AtomicBool,
}

/// What goes to a file is read days later, by people and by `grep`: each line carries its time and its level there.
struct Log {
    clock: fn() -> DateTime<Utc>,
    /// Whether stdout goes to the same file.
    with_stdout: bool,
}

/// An error for programs (`lifeboat.error/1`).
#[derive(Serialize)]
struct ErrorDocument {
    schema: &'static str,
    kind: &'static str,
    message: String,
    caused_by: Vec<String>,
    hints: Vec<String>,
    exit_code: u8,
}

/// How much a line of talk matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Severity {
    Error,
    Warning,
    Info,
}

impl Output {
    /// The printer of this process.
    pub(crate) fn new(format: Format, color: Color, quiet: bool) -> Self {
        let wanted = |is_terminal: bool| match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        };
        let live = (!quiet && io::stderr().is_terminal()).then(Live::new);
        Output {
            format,
            colored_stdout: wanted(io::stdout().is_terminal()),
            colored_stderr: wanted(io::stderr().is_terminal()),
            quiet,
            live,
            log: None,
            repeated: Repeated::default(),
            is_reported: AtomicBool::new(false),
        }
    }

    /// The same printer, which repeats these flags in the commands that it prints.
    #[must_use]
    pub(crate) fn repeating(mut self, repeated: Repeated) -> Self {
        self.repeated = repeated;
        self
    }

    /// The same printer, which puts a time and a level before each line if stderr is a file.
    #[must_use]
    pub(crate) fn logging(mut self, clock: fn() -> DateTime<Utc>) -> Self {
        let file_of = |found: rustix::io::Result<rustix::fs::Stat>| {
            let found = found.ok()?;
            let is_file =
                rustix::fs::FileType::from_raw_mode(found.st_mode) == rustix::fs::FileType::RegularFile;
            is_file.then_some((found.st_dev, found.st_ino))
        };
        let [out, err] = [file_of(rustix::fs::fstat(io::stdout())), file_of(rustix::fs::fstat(io::stderr()))];
        self.log = err.map(|_| Log { clock, with_stdout: out == err });
        self
    }

    /// Prints the report of something that was done or checked. Where only what is wrong is wanted, one in which nothing is
    /// wrong is not printed, unless it was asked for as JSON.
    pub(crate) fn conclude(&self, report: &dyn ErasedReport, kind: Option<Kind>) -> Result<()> {
        self.conclude_as(self.format, report, kind)
    }

    /// The same, in a form that the command itself has chosen.
    pub(crate) fn conclude_as(
        &self,
        format: Format,
        report: &dyn ErasedReport,
        kind: Option<Kind>,
    ) -> Result<()> {
        match (format, &self.log) {
            (Format::Text, _) if self.quiet && kind.is_none() => Ok(()),
            // In a log it stands among lines that have a time.
            (Format::Text, Some(log)) if log.with_stdout => {
                let mut page = Page {
                    text: String::new(),
                    colored: false,
                    width: None,
                    repeated: self.repeated.clone(),
                };
                report.render_text(&mut page);
                let severity = if kind.is_some() { Severity::Error } else { Severity::Info };
                print_stdout(&(stamp_lines(log, severity, &printable(&page.text, false)) + "\n"))
            }
            _ => self.report_as(format, report),
        }
    }

    /// Prints a report on stdout.
    pub(crate) fn report(&self, report: &dyn ErasedReport) -> Result<()> {
        self.report_as(self.format, report)
    }

    /// Prints a report on stdout in a form that the command itself has chosen.
    pub(crate) fn report_as(&self, format: Format, report: &dyn ErasedReport) -> Result<()> {
        self.settle();
        self.is_reported.store(true, Ordering::Relaxed);
        let text = match format {
            Format::Json => {
                let mut text = report.to_json()?;
                text.push('\n');
                text
            }
            Format::Text => {
                let width = terminal_width(&io::stdout());
                let mut page = Page {
                    text: String::new(),
                    colored: self.colored_stdout,
                    width,
                    repeated: self.repeated.clone(),
                };
                report.render_text(&mut page);
                printable(&page.text, self.colored_stdout)
            }
        };
        print_stdout(&text)
    }

    /// A line of talk that stays.
    pub(crate) fn say(&self, text: impl AsRef<str>) {
        if !self.quiet {
            self.talk(Severity::Info, text.as_ref());
        }
    }

    /// Words in a tone, for talk.
    pub(crate) fn toned(&self, tone: Tone, text: impl AsRef<str>) -> String {
        colorize(self.colored_stderr, tone, text.as_ref())
    }

    /// A question, which is asked even when quiet.
    pub(crate) fn ask(&self, text: impl AsRef<str>) {
        self.settle();
        self.talk(Severity::Info, text.as_ref());
    }

    /// A line that stays, and is said even when quiet.
    pub(crate) fn warn(&self, text: impl AsRef<str>) {
        let word = colorize(self.colored_stderr, Tone::Doubt, "warning");
        self.talk(Severity::Warning, &format!("{}{}", self.label(&word), text.as_ref()));
    }

    /// What happens at the moment, with the time since `began`: a live line on a terminal, nothing otherwise.
    pub(crate) fn show_live(&self, text: impl Into<String>, began: Instant) {
        let text = text.into();
        self.show_live_as(move |_| text.clone(), began);
    }

    /// The same of what changes as time passes: asked again for each drawing, in so many columns.
    pub(crate) fn show_live_as(&self, text: impl Fn(usize) -> String + Send + 'static, began: Instant) {
        if let Some(live) = &self.live {
            live.show(text, began);
        }
    }

    /// Ends the live line.
    pub(crate) fn settle(&self) {
        if let Some(live) = &self.live {
            live.settle();
        }
    }

    /// How reports are printed unless a command chooses otherwise.
    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// Whether talk goes to a terminal.
    pub(crate) fn is_live(&self) -> bool {
        self.live.is_some()
    }

    /// Whether lines of talk carry a time and a level.
    pub(crate) fn is_log(&self) -> bool {
        self.log.is_some()
    }

    /// Says that a command line was refused, in the words of whoever read it. In a document, a paragraph of these is a hint each,
    /// after `hints`.
    pub(crate) fn refuse(&self, words: &str, hints: &[String]) {
        let words = words.trim_end();
        let inner = words.trim_start_matches("error: ");
        self.talk(Severity::Error, if self.is_log() { inner } else { words });
        for hint in hints {
            self.talk(Severity::Error, &format!("hint: {hint}"));
        }
        let mut paragraphs = inner
            .split("\n\n")
            .map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "))
            .filter(|paragraph| !paragraph.is_empty());
        let error = Error::request(paragraphs.next().unwrap_or_default());
        self.document(&hints.iter().cloned().chain(paragraphs).fold(error, Error::hint));
    }

    /// Tells an error: what, why, and what to do. An argument that it repeats may be a URL in the wrong place, with a password in
    /// it.
    pub(crate) fn error(&self, error: &Error) {
        self.settle();
        let word = colorize(self.colored_stderr, Tone::Bad, "error");
        let mut text = format!("{}{error}", self.label(&word));
        for cause in error.causes() {
            let _ = write!(text, "\n  caused by: {cause}");
        }
        for hint in error.all_hints() {
            let _ = write!(text, "\n{}: {hint}", colorize(self.colored_stderr, Tone::Strong, "hint"));
        }
        if error.kind() == Kind::Bug {
            text.push_str("\nThis is a defect of lifeboat: please report it with what you ran.");
        }
        self.talk(Severity::Error, &redact_urls(&text));
    }

    /// Tells the error with which a command ends: a program that was promised a document gets one.
    pub(crate) fn fail(&self, error: &Error) {
        self.error(error);
        self.document(error);
    }

    /// An error as JSON, unless a report was printed before.
    fn document(&self, error: &Error) {
        if self.format != Format::Json || self.is_reported.swap(true, Ordering::Relaxed) {
            return;
        }
        let said = |text: &str| self.repeated.complete(&redact_urls(text));
        let document = ErrorDocument {
            schema: "lifeboat.error/1",
            kind: error.kind().word(),
            message: said(&error.to_string()),
            caused_by: error.causes().iter().map(|cause| said(cause)).collect(),
            hints: error.all_hints().iter().map(|hint| said(hint)).collect(),
            exit_code: error.kind().exit_code(),
        };
        if let Ok(text) = serde_json::to_string_pretty(&document) {
            // The exit code says that something is wrong, also where nobody reads stdout any more.
            let _ = print_stdout(&(escaped_json(&text) + "\n"));
        }
    }

    /// What a message begins with, where its level does not stand before it anyway.
    fn label(&self, word: &str) -> String {
        if self.log.is_some() { String::new() } else { format!("{word}: ") }
    }

    fn talk(&self, severity: Severity, text: &str) {
        let text = printable(&self.repeated.complete(text), self.colored_stderr);
        let text = match &self.log {
            Some(log) => stamp_lines(log, severity, &text),
            None => wrap_lines(&text, terminal_width(&io::stderr())),
        };
        let write = || {
            // Nothing can be done about a stderr that is gone.
            let _ = writeln!(io::stderr().lock(), "{text}");
        };
        match &self.live {
            Some(live) => live.suspend(write),
            None => write(),
        }
    }
}

fn wrap_lines(text: &str, width: Option<usize>) -> String {
    let Some(width) = width else { return text.to_owned() };
    let lines: Vec<String> = text.split('\n').flat_map(|line| layout::wrap(line, width)).collect();
    lines.join("\n")
}

fn print_stdout(text: &str) -> Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()).and_then(|()| io::stdout().lock().flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Error::outside("the report could not be printed").caused_by(error)),
        Ok(()) => Ok(()),
    }
}

/// Each line with the time and its level.
fn stamp_lines(log: &Log, severity: Severity, text: &str) -> String {
    let level = match severity {
        Severity::Error => "ERROR",
        Severity::Warning => "WARN ",
        Severity::Info => "INFO ",
    };
    let time = format_time((log.clock)());
    let lines: Vec<String> =
        text.lines().map(|line| format!("{time} {level} {line}").trim_end().to_owned()).collect();
    lines.join("\n")
}

/// [`Report`] without its type, since `Serialize` has no trait objects.
pub(crate) trait ErasedReport {
    /// As JSON.
    fn to_json(&self) -> Result<String>;
    /// As text.
    fn render_text(&self, page: &mut Page);
}

impl<R: Report> ErasedReport for R {
    fn to_json(&self) -> Result<String> {
        serde_json::to_string_pretty(self)
            .map(|text| escaped_json(&text))
            .map_err(|error| Error::new(Kind::Bug, "a report cannot be written as JSON").caused_by(error))
    }

    fn render_text(&self, page: &mut Page) {
        self.render(page);
    }
}
