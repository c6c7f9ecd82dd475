//! A PostgreSQL server, and who we are on it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::password::Password;
use super::tls::Tls;

/// A server and who we are on it.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    /// Host name or address, or the directory with its socket.
    pub host: String,
    /// Port.
    pub port: u16,
    /// User.
    pub user: String,
    /// Password; without one only servers that ask for none let us in.
    pub password: Option<Password>,
    /// How the connection is protected.
    pub tls: Tls,
    /// What `pg_stat_activity` shows.
    pub application_name: String,
    /// What else libpq's parameters say.
    pub wire: ConnectionOptions,
}

/// Parameters of a connection that a host and a port do not say.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConnectionOptions {
    /// Where to connect to in place of the host's own address: libpq's `hostaddr`.
    pub(super) address: Option<String>,
    /// Command-line options for the server's process, as in PGOPTIONS.
    pub(super) options: Option<String>,
    /// In seconds; zero is no limit.
    pub(super) connect_timeout: Option<u32>,
    pub(super) channel_binding: Option<&'static str>,
    /// Lines of the password file that fit, each with its database.
    pub(super) passfile: Vec<(String, Password)>,
    /// Whether a pooler was found in between.
    pub(super) is_pooled: Arc<AtomicBool>,
    /// The database that the connection string names.
    pub(super) named_database: Option<String>,
}

impl ConnectionOptions {
    /// The lines of a password file that fit a login.
    pub(crate) fn with_passfile(lines: Vec<(String, Password)>) -> Self {
        ConnectionOptions { passfile: lines, ..ConnectionOptions::default() }
    }

    /// The database that the connection string names: one that the user is let into, where any is.
    pub(crate) fn named_database(&self) -> Option<&str> {
        self.named_database.as_deref()
    }
}

/// Whether a host is a directory with sockets, or an abstract socket.
pub(super) fn is_socket(host: &str) -> bool {
    host.starts_with(['/', '@'])
}
