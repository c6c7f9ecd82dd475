//! One table from one database into another, by pg_dump and pg_restore.

use std::process::Stdio;

use tokio::process::Command;

use super::programs::Connecting;
use super::{Programs, Server, Session};
use crate::error::{Error, Result};

impl Programs {
    /// Copies one table, as it is called, from one database into another, in one transaction there. `table` is quoted.
    pub(crate) async fn copy_table(
        &self,
        from: (&Server, &str),
        to: (&Server, &str),
        table: &str,
    ) -> Result<()> {
        // The files that tell the programs their passwords are there until both have ended.
        let Connecting { command, _kept: dump_files } = self.connecting("pg_dump", from.0, from.1)?;
        let mut dump_command = Command::from(command);
        let Connecting { command, _kept: restore_files } = self.connecting("pg_restore", to.0, to.1)?;
        let mut restore_command = Command::from(command);
        let plain = ["--format=custom", "--compress=0", "--no-owner", "--no-privileges", "--no-password"];
        dump_command.args(plain).args(["--table", table]).kill_on_drop(true);
        let mut dumping = dump_command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| cannot("pg_dump", error))?;
        let stream = dumping.stdout.take().ok_or_else(|| Error::outside("pg_dump has no output"))?;
        let input: Stdio = stream.try_into().map_err(|error| cannot("pg_restore", error))?;
        let single =
            ["--no-owner", "--no-privileges", "--single-transaction", "--exit-on-error", "--no-password"];
        restore_command.args(single).args(["--dbname", to.1]).kill_on_drop(true);
        let restoring = restore_command
            .stdin(input)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| cannot("pg_restore", error))?;
        let (dumped, restored) = tokio::join!(dumping.wait_with_output(), restoring.wait_with_output());
        drop((dump_files, restore_files));
        for (program, done) in [("pg_dump", dumped), ("pg_restore", restored)] {
            let done = done.map_err(|error| cannot(program, error))?;
            if !done.status.success() {
                let said = String::from_utf8_lossy(&done.stderr).trim().to_owned();
                return Err(Error::outside(format!("{program} could not copy {table}")).caused_by(said));
            }
        }
        Ok(())
    }
}

fn cannot(program: &str, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::outside(format!("{program} could not be run")).caused_by(error)
}

/// The major version of a server.
pub(crate) async fn major_version(session: &Session) -> Result<u32> {
    let row = session.row("select current_setting('server_version_num')::int4 / 10000", &[]).await?;
    Ok(u32::try_from(row.get::<_, i32>(0)).unwrap_or(0))
}
