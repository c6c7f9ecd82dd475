//! The only code that connects to PostgreSQL or runs its programs: TLS, credentials, redaction, and what a refused
//! login means.
//!
//! Writes nothing. A [`Session`] ends with its value; a password leaves this module only towards a server.

mod authorities;
mod certificate;
mod connect;
mod copy;
mod curves;
mod environment;
mod failure;
mod link;
mod overrides;
mod parameters;
mod password;
mod pooler;
mod private_server;
mod programs;
mod psql;
mod quote;
mod raw_text;
mod redaction;
mod resolution;
mod server;
mod session;
mod tls;
mod trust;
mod url;

pub(crate) use authorities::Authorities;
pub(crate) use copy::major_version;
pub(crate) use failure::{ConnectFailure, QueryFailure, Refusal};
pub(crate) use overrides::{ConnectionOverrides, read_database_url, read_url};
pub(crate) use password::{PassFile, Password, generate};
pub(crate) use private_server::{PrivateServer, can_start};
pub(crate) use programs::{Connecting, Programs, collect_stderr};
pub(crate) use psql::Psql;
pub(crate) use quote::{quote_identifier, quote_literal};
pub(crate) use raw_text::{AS_IT_IS, RawText};
pub(crate) use redaction::redact_urls;
pub(crate) use resolution::Target;
pub(crate) use server::{ConnectionOptions, Server};
pub(crate) use session::{CopyIn, Session, user_databases};
pub(crate) use tls::{Tls, TlsMode};
pub(crate) use url::{is_connection_string, refuse_quotes};

#[cfg(test)]
mod beside_psql;
