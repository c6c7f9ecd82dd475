//! psql for steps of runbooks, as a person would start it: with the environment that they have, `~/.pgpass` and all.

use std::os::fd::OwnedFd;

use super::programs::{shared_memory, ssl_mode};
use super::{Server, TlsMode};
use crate::error::{Error, Result};

/// psql, ready to be started.
pub struct Psql {
    command: tokio::process::Command,
    _kept: Vec<OwnedFd>,
}

impl Psql {
    /// Where libpq's environment says. What is sent reaches psql through memory that has no name.
    pub fn of_environment(database: Option<&str>, text: &str) -> Result<Self> {
        let (path, memory) = shared_memory(text.as_bytes())
            .ok_or_else(|| Error::outside("SQL cannot be handed to psql: there is no anonymous memory"))?;
        let mut command = tokio::process::Command::new("psql");
        command.args(["-X", "-A", "-t", "-q", "-w", "-v", "ON_ERROR_STOP=1", "-f"]).arg(path);
        if let Some(database) = database {
            command.env("PGDATABASE", database);
        }
        Ok(Psql { command, _kept: vec![memory] })
    }

    /// On a server; its password comes from it, or from where libpq finds one.
    pub fn of(server: &Server, database: Option<&str>, text: &str) -> Result<Self> {
        let mut psql = Psql::of_environment(database, text)?;
        psql.command
            .env("PGHOST", &server.host)
            .env("PGPORT", server.port.to_string())
            .env("PGUSER", &server.user)
            .env("PGAPPNAME", &server.application_name)
            .env("PGCONNECT_TIMEOUT", "20")
            .env("PGSSLMODE", ssl_mode(server.tls.mode));
        if let Some(password) = &server.password {
            psql.command.env("PGPASSWORD", password.expose());
        }
        match (&server.tls.authorities, server.tls.mode) {
            (Some(path), _) => {
                psql.command.env("PGSSLROOTCERT", path);
            }
            (None, TlsMode::VerifyFull | TlsMode::VerifyCa) => {
                if let Some((path, file)) = shared_memory(super::tls::RDS_AUTHORITIES) {
                    psql.command.env("PGSSLROOTCERT", path);
                    psql._kept.push(file);
                }
            }
            (None, _) => {}
        }
        Ok(psql)
    }

    /// The server is told to change nothing.
    pub fn read_only(&mut self) {
        self.command.env("PGOPTIONS", "-c default_transaction_read_only=on");
    }

    /// The command; the value must stay until it has been started.
    pub fn take(&mut self) -> tokio::process::Command {
        std::mem::replace(&mut self.command, tokio::process::Command::new("psql"))
    }
}
