//! psql for steps of runbooks, as a person would start it: with the environment that they have, `~/.pgpass` and all.

use std::os::fd::OwnedFd;

use super::Server;
use super::programs::{connection_environment, shared_memory};
use crate::error::{Error, Result};

/// psql, ready to be started.
pub(crate) struct Psql {
    command: tokio::process::Command,
    _kept: Vec<OwnedFd>,
}

impl Psql {
    /// Where libpq's environment says. What is sent reaches psql through memory that has no name.
    pub(crate) fn of_environment(database: Option<&str>, text: &str) -> Result<Self> {
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
    pub(crate) fn of(server: &Server, database: Option<&str>, text: &str) -> Result<Self> {
        let mut psql = Psql::of_environment(database, text)?;
        // A service or a list of hosts in the environment would come before what is said here.
        for name in ["PGSERVICE", "PGHOSTADDR", "PGTARGETSESSIONATTRS", "PGLOADBALANCEHOSTS", "PGREQUIRESSL"]
        {
            psql.command.env_remove(name);
        }
        for (name, value) in connection_environment(server, database, &mut psql._kept)? {
            psql.command.env(name, value);
        }
        let named = database.unwrap_or(&server.user);
        if let Some(password) = server.password_for(named) {
            psql.command.env("PGPASSWORD", password.expose());
        }
        Ok(psql)
    }

    /// The server is told to change nothing.
    pub(crate) fn read_only(&mut self) {
        let given = self
            .command
            .as_std()
            .get_envs()
            .find(|(name, _)| *name == "PGOPTIONS")
            .and_then(|(_, value)| value);
        let mut options =
            given.map(ToOwned::to_owned).or_else(|| std::env::var_os("PGOPTIONS")).unwrap_or_default();
        options.push(" -c default_transaction_read_only=on");
        self.command.env("PGOPTIONS", options);
    }

    /// The command; the value must stay until it has been started.
    pub(crate) fn take(&mut self) -> tokio::process::Command {
        std::mem::replace(&mut self.command, tokio::process::Command::new("psql"))
    }
}
