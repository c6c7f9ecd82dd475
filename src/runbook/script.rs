//! Runs shell and SQL: in their own process group, with values as environment variables, with a timeout,
//! and with their output redacted before anybody sees it.
//!
//! Standard input of a command is an empty file that this process has locked. The lock lives as long as the command and all that
//! it has started, even if this process dies: whoever resumes the run knows whether something is still running.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use fs4::fs_std::FileExt as _;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};

use super::document::Act;
use super::redact::Redactor;
use super::values::{Values, judge_plain};
use crate::error::{Error, Kind, Result};
use crate::interrupt::Interrupt;

/// How much of a command's output is kept.
const LONGEST: usize = 256 * 1024;

/// How long a command may take to end after a signal.
const GRACE: Duration = Duration::from_secs(10);

/// The result of a command.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) exit: Option<i32>,
    pub(super) stdout: String,
    pub(super) stderr: String,
    /// The variables that it was asked for.
    pub(super) set: Vec<String>,
    pub(super) end: Ended,
    /// Why it was not run at all.
    pub(super) refused: Option<String>,
}

/// Why it ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Ended {
    #[default]
    ByItself,
    TooLong,
    Interrupted(Kind),
}

impl Done {
    /// The variables that a step has set, by name.
    pub(super) fn found(&self, act: &Act) -> std::result::Result<Vec<(String, String)>, String> {
        let mut found: Vec<(String, String)> =
            act.sets.iter().cloned().zip(self.set.iter().cloned()).collect();
        if let [name] = act.capture.as_slice() {
            found.push((name.clone(), self.stdout.trim().to_owned()));
        } else if !act.capture.is_empty() {
            let words: Vec<&str> = self.stdout.split_whitespace().collect();
            if words.len() != act.capture.len() {
                return Err(format!(
                    "printed {} words where `capture` names {} variables",
                    words.len(),
                    act.capture.len()
                ));
            }
            found.extend(act.capture.iter().cloned().zip(words.into_iter().map(str::to_owned)));
        }
        // Such values are not under the author's control either.
        if !act.secret && !act.free_text {
            for (name, value) in &found {
                judge_plain(value).map_err(|why| {
                    format!("found a value of `{name}` that is not free text: {why}; the block may say `free-text`")
                })?;
            }
        }
        Ok(found)
    }
}

/// How to run something.
pub(super) struct Settings<'a> {
    pub(super) values: &'a Values,
    pub(super) variables: &'a [(String, String)],
    pub(super) timeout: Duration,
    pub(super) lock: Option<&'a Path>,
    pub(super) interrupt: &'a Interrupt,
    pub(super) redactor: &'a Redactor,
}

/// Runs shell text. `started` is called with the process group, `says` with every line, redacted.
pub(super) async fn shell(
    text: &str,
    sets: &[String],
    settings: &Settings<'_>,
    started: impl FnMut(u32) -> Result<()>,
    says: impl FnMut(&str),
) -> Result<Done> {
    let mark: String = format!("--{:032x}--", rand::random::<u128>());
    // A shell started by a step finds this very binary, not another version.
    let mut script =
        String::from("lifeboat() { \"$LIFEBOAT_PROGRAM\" \"$@\"; }; export -f lifeboat; set -euo pipefail\n");
    script.push_str(text);
    if !sets.is_empty() {
        let list: Vec<String> = sets.iter().map(|name| format!("\"${{{name}-}}\"")).collect();
        script.push_str(&format!("\nprintf '\\n%s\\n' '{mark}'; printf '%s\\0' {}", list.join(" ")));
    }
    let mut command = Command::new("bash");
    command.args(["--noprofile", "--norc", "-c", &script]);
    for (name, value) in settings.values.iter() {
        command.env(name, value);
    }
    run_script(command, &mark, settings, started, says).await
}

/// Runs a prepared command.
pub(super) async fn run_script(
    mut command: Command,
    mark: &str,
    settings: &Settings<'_>,
    mut started: impl FnMut(u32) -> Result<()>,
    mut says: impl FnMut(&str),
) -> Result<Done> {
    let stdin = match settings.lock {
        Some(path) => Stdio::from(locked(path)?),
        None => Stdio::null(),
    };
    if let Ok(program) = std::env::current_exe() {
        command.env("LIFEBOAT_PROGRAM", program);
    }
    command.env_remove("BASH_ENV").env_remove("ENV").env("AWS_PAGER", "").env("PAGER", "cat");
    command.envs(settings.variables.iter().map(|(name, value)| (name, value)));
    command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| {
        Error::outside("a command cannot be started")
            .caused_by(error)
            .hint("Steps need `bash`, and SQL steps `psql`.")
    })?;
    let group = child.id().unwrap_or_default();
    if let Err(error) = started(group) {
        end_child(&mut child, group).await;
        return Err(error);
    }
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let (lines, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let readers = (tokio::spawn(listen(out, false, lines.clone())), tokio::spawn(listen(err, true, lines)));
    let mut done = Done::default();
    let mut collected = Collected::new(mark);
    let deadline = tokio::time::sleep(settings.timeout);
    tokio::pin!(deadline);
    let status = loop {
        tokio::select! {
            biased;
            Some((is_err, line)) = heard.recv() => collected.take(is_err, &line, settings.redactor, &mut says),
            status = child.wait() => break status.ok(),
            () = &mut deadline => { done.end = Ended::TooLong; break end_child(&mut child, group).await; }
            kind = settings.interrupt.wait(1) => { done.end = Ended::Interrupted(kind); break end_child(&mut child, group).await; }
        }
    };
    // A daemon that it leaves behind may hold its output open forever.
    let rest = async {
        while let Some((is_err, line)) = heard.recv().await {
            collected.take(is_err, &line, settings.redactor, &mut says);
        }
    };
    let _ = tokio::time::timeout(Duration::from_millis(500), rest).await;
    readers.0.abort();
    readers.1.abort();
    done.exit = status.and_then(|status| {
        use std::os::unix::process::ExitStatusExt as _;
        status.code().or_else(|| status.signal().map(|signal| 128 + signal))
    });
    (done.stdout, done.stderr, done.set) = collected.whole();
    Ok(done)
}

/// The empty file that a command holds locked.
fn locked(path: &Path) -> Result<File> {
    let failed =
        |error: std::io::Error| Error::outside(format!("cannot lock `{}`", path.display())).caused_by(error);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    file.try_lock_exclusive().map_err(failed)?;
    Ok(file)
}

/// Whether a command of an earlier attempt, or something that it has started, is still running.
pub(super) fn is_under_way(path: &Path) -> bool {
    match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => !file.try_lock_exclusive().unwrap_or(true),
        Err(_) => false,
    }
}

async fn end_child(child: &mut Child, group: u32) -> Option<std::process::ExitStatus> {
    let signal = |signal| {
        if let Some(group) = i32::try_from(group).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, signal);
        }
    };
    signal(Signal::TERM);
    if let Ok(status) = tokio::time::timeout(GRACE, child.wait()).await {
        return status.ok();
    }
    signal(Signal::KILL);
    child.wait().await.ok()
}

/// The line that explains the failure: the first error, else the last line.
pub(super) fn last_words(text: &str) -> Option<&str> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.clone().find(is_error).or_else(|| lines.next_back())
}

fn is_error(line: &&str) -> bool {
    let line = line.to_lowercase();
    line.starts_with("error")
        || line.starts_with("fatal")
        || line.contains(": error:")
        || line.contains("an error occurred")
}

/// Why a command failed, in its own words. A report of lifeboat begins with its verdict, followed by reasons; its progress explains nothing.
pub(super) fn reason_of(done: &Done) -> Option<String> {
    let error = done.stderr.lines().map(str::trim).find(is_error);
    let mut report = done.stdout.lines().map(str::trim).filter(|line| !line.is_empty());
    match (error, report.next()) {
        (Some(error), _) => Some(error.to_owned()),
        (None, Some(verdict)) if verdict.ends_with(": FAIL") || verdict.ends_with(": UNKNOWN") => {
            let reasons: Vec<&str> = report.map_while(|line| line.strip_prefix("- ")).take(3).collect();
            Some(format!("{verdict}: {}", reasons.join("; ")).trim_end_matches(": ").to_owned())
        }
        _ => last_words(&done.stderr).or_else(|| last_words(&done.stdout)).map(str::to_owned),
    }
}

type Lines = tokio::sync::mpsc::UnboundedSender<(bool, Vec<u8>)>;

async fn listen(from: Option<impl AsyncRead + Unpin>, is_err: bool, to: Lines) {
    let Some(from) = from else { return };
    let mut reader = BufReader::new(from);
    loop {
        let mut line = Vec::new();
        match reader.read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) if to.send((is_err, line)).is_err() => return,
            Ok(_) => {}
        }
    }
}

/// The output so far.
struct Collected<'a> {
    mark: &'a str,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    set: Option<Vec<u8>>,
}

impl<'a> Collected<'a> {
    fn new(mark: &'a str) -> Self {
        Collected { mark, stdout: Vec::new(), stderr: Vec::new(), set: None }
    }

    fn take(&mut self, is_err: bool, line: &[u8], redactor: &Redactor, says: &mut impl FnMut(&str)) {
        if let (false, Some(set)) = (is_err, &mut self.set) {
            set.extend_from_slice(line);
            return;
        }
        if !is_err && !self.mark.is_empty() && String::from_utf8_lossy(line).trim_end() == self.mark {
            self.set = Some(Vec::new());
            // The line break before the mark is ours.
            if self.stdout.last() == Some(&b'\n') {
                self.stdout.pop();
            }
            return;
        }
        let kept = if is_err { &mut self.stderr } else { &mut self.stdout };
        if kept.len() < LONGEST {
            kept.extend_from_slice(line);
        }
        let shown = redactor.clean(String::from_utf8_lossy(line).trim_end());
        if !shown.is_empty() {
            says(&shown);
        }
    }

    fn whole(self) -> (String, String, Vec<String>) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let set = self.set.unwrap_or_default();
        let mut values: Vec<String> = set.split(|byte| *byte == 0).map(text).collect();
        values.pop();
        (text(&self.stdout), text(&self.stderr), values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_gives_its_own_reason_and_not_the_last_line_of_its_progress() {
        let done = |stdout: &str, stderr: &str| Done {
            stdout: stdout.to_owned(),
            stderr: stderr.to_owned(),
            ..Done::default()
        };
        for (stdout, stderr, reason) in [
            (
                "drill 1 of orders: UNKNOWN\n  - the newest row is 27 h old\n  - one more\n\n  tables\n",
                "restore\ntear down\n",
                "drill 1 of orders: UNKNOWN: the newest row is 27 h old; one more",
            ),
            ("drill 1 of orders: FAIL\n", "tear down\n", "drill 1 of orders: FAIL"),
            ("half\n", "error: no such table\nhint: look\n", "error: no such table"),
            ("", "one\ntwo\n", "two"),
            ("one\ntwo\n", "", "two"),
        ] {
            assert_eq!(reason_of(&done(stdout, stderr)).as_deref(), Some(reason));
        }
    }
}
