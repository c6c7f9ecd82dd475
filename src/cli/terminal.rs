//! Asking the person at the terminal: a prompt, and the line that they type.

use std::io::{IsTerminal as _, Write as _};

use crate::error::{Error, Kind, Result};

/// Whether there is a person to ask.
pub(super) fn is_terminal() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Shows `prompt`, waits and reads a line, whatever else goes on; `None` if the input has ended.
pub(super) fn read_line_at_once(prompt: &str) -> std::io::Result<Option<String>> {
    let mut stderr = std::io::stderr().lock();
    // Nothing can be done about a stderr that is gone.
    let _ = stderr.write_all(prompt.as_bytes()).and_then(|()| stderr.flush());
    drop(stderr);
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).map(|bytes| (bytes > 0).then_some(line))
}

/// Shows `prompt` and reads a line; `None` if the input has ended.
pub(super) async fn read_line(prompt: &str) -> Result<Option<String>> {
    // Its own thread: a person who never answers must not keep the process from ending.
    let (sender, answer) = tokio::sync::oneshot::channel();
    let prompt = prompt.to_owned();
    std::thread::spawn(move || {
        let _ = sender.send(read_line_at_once(&prompt));
    });
    match answer.await {
        Ok(Ok(typed)) => Ok(typed),
        Ok(Err(error)) => Err(Error::new(Kind::Guard, "the terminal cannot be read").caused_by(error)),
        Err(_) => Ok(None),
    }
}
