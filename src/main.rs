//! Parse, run, exit code.

use std::process::ExitCode;

use lifeboat::error::Kind;

fn main() -> ExitCode {
    // A panic has printed what happened; its exit code must not pass for an answer.
    let code = std::panic::catch_unwind(|| lifeboat::cli::run(std::env::args_os()));
    ExitCode::from(code.unwrap_or(Kind::Bug.exit_code()))
}
