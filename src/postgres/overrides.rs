//! What flags say about connections to databases that are named by a URL, and the URL that `env:NAME` stands for.

use std::path::PathBuf;

use super::authorities::Authorities;
use super::resolution::{Target, TlsSaidBy};
use super::tls::TlsMode;
use super::url::refuse_quotes;
use crate::error::{Error, Kind, Result};

/// How connections are protected where a URL does not say so itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConnectionOverrides {
    /// The mode, in place of PGSSLMODE.
    pub tls: Option<TlsMode>,
    /// Certificate authorities to trust.
    pub ca: Option<PathBuf>,
}

impl ConnectionOverrides {
    /// The database that a connection string names, as psql would read it here. `env:NAME` takes it from an environment
    /// variable, which no list of processes shows.
    pub(crate) fn target(&self, text: &str, application_name: &str) -> Result<Target> {
        let text = read_url(text)?;
        let mut target = Target::parse(&text)?;
        let is_open = target.tls_said_by != TlsSaidBy::Written;
        target.for_each_server(|server| {
            match self.tls.filter(|_| is_open) {
                Some(TlsMode::Require) => {
                    (server.tls.mode, server.tls.authorities) = (TlsMode::Require, None)
                }
                Some(mode) => server.tls.mode = mode,
                None => {}
            }
            // The authorities of a URL come before those of a flag.
            if let (Some(ca), false) = (&self.ca, text.contains("sslrootcert")) {
                server.tls.authorities = Some(ca.clone());
            }
            application_name.clone_into(&mut server.application_name);
        });
        if self.ca.is_some() {
            // Where certificates are checked only if they can be, a file that was named must not be passed over.
            Authorities::of(&target.server.tls)?;
        }
        if !target.is_a_choice() {
            return Ok(target);
        }
        // Which of several servers is meant is known when one has answered; callers of every kind wait for that.
        let choosing = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
                    Error::outside("the servers of a connection URL cannot be tried").caused_by(error)
                })?;
            runtime.block_on(target.choose_server())
        });
        choosing.join().unwrap_or_else(|_| Err(Error::new(Kind::Bug, "choosing a server failed")))
    }
}

/// What is written where a URL belongs: the URL itself, or the value of the variable that `env:NAME` names.
pub(crate) fn read_url(text: &str) -> Result<String> {
    let text = text.trim();
    let Some(name) = text.strip_prefix("env:") else { return Ok(text.to_owned()) };
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Err(Error::request("`env:` is not followed by the name of an environment variable")
            .hint("Write the name itself, as in `env:DATABASE_URL`, without a `$`."));
    }
    let value = std::env::var(name).map_err(|_| {
        Error::request(format!("the environment variable `{name}` is not set"))
            .hint("`env:NAME` takes a connection URL from the environment.")
    })?;
    let value = value.trim();
    refuse_quotes(value, &format!("the value of {name}"))?;
    Ok(value.to_owned())
}

/// DATABASE_URL, if it has a value.
pub(crate) fn read_database_url() -> Result<Option<String>> {
    let Some(url) = std::env::var("DATABASE_URL").ok().filter(|url| !url.trim().is_empty()) else {
        return Ok(None);
    };
    refuse_quotes(url.trim(), "the value of DATABASE_URL")?;
    Ok(Some(url.trim().to_owned()))
}
