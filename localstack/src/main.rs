//! Starts a local RDS by hand.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use lifeboat_localstack::{Limits, Options, Pace, Stack, StartError};
use tokio::signal::unix::{SignalKind, signal};

/// A local Amazon RDS whose databases are real PostgreSQL servers.
///
/// The first line on stdout, once it answers, is `ready http://127.0.0.1:4566`.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Where to listen: a loopback address; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:4566", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// The directory for databases, snapshots and state [default: lifeboat-localstack in $XDG_STATE_HOME or ~/.local/state]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// How fast instances change their states
    #[arg(long, value_enum, default_value_t = Pace::Instant)]
    pace: Pace,
    /// The directory of `initdb` and `postgres` [default: LIFEBOAT_PG_BIN, PATH, the usual places]
    #[arg(long, value_name = "DIR")]
    pg_bin: Option<PathBuf>,
    /// How many DB instances a Region holds
    #[arg(long, default_value_t = Limits::default().instances, value_name = "N")]
    max_instances: usize,
    /// How many manual snapshots a Region holds
    #[arg(long, default_value_t = Limits::default().manual_snapshots, value_name = "N")]
    max_snapshots: usize,
    /// Start the server of an instance only when a client connects to it, and stop it when none is connected any more
    #[arg(long)]
    lazy: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let options = Options {
        listen: arguments.listen,
        data: arguments.data,
        pace: arguments.pace,
        pg_bin: arguments.pg_bin,
        limits: Limits { instances: arguments.max_instances, manual_snapshots: arguments.max_snapshots },
        lazy: arguments.lazy,
        ..Options::default()
    };
    match run(options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // If stderr is closed, the message is lost.
            let _ = writeln!(std::io::stderr().lock(), "error: {error}");
            ExitCode::from(if matches!(error, StartError::Request(_)) { 2 } else { 3 })
        }
    }
}

async fn run(options: Options) -> Result<(), StartError> {
    // Handled from the start: a signal during the start must not leave servers to their watchers.
    let mut signals = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()]
        .map(|kind| signal(kind).map_err(|error| StartError::Machine(error.into())));
    let [interrupt, terminate, hangup] = &mut signals;
    let (Ok(interrupt), Ok(terminate), Ok(hangup)) = (interrupt, terminate, hangup) else {
        return signals.into_iter().collect::<Result<Vec<_>, _>>().map(|_| ());
    };
    let stack = tokio::select! {
        stack = Stack::start(options) => stack?,
        _ = interrupt.recv() => return Ok(()),
        _ = terminate.recv() => return Ok(()),
    };
    announce(&stack);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    tokio::select! {
        () = stack.stop() => {}
        // A second signal: the servers end immediately, and recover at their next start.
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// The caller may read only the first line, or nothing.
fn announce(stack: &Stack) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "ready {}", stack.endpoint());
    let _ = writeln!(stdout, "ca {}", stack.ca_path().display());
    let _ = writeln!(stdout, "data {}", stack.directory().display());
    let _ = stdout.flush();
}
