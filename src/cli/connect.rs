//! How commands get into a database: the flags, and the order in which credentials are looked for.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::Session;
use crate::aws::Aws;
use crate::when::parse_duration;

use crate::error::{Error, Result};
use crate::output::Output;
use crate::postgres::{
    ConnectionOptions, ConnectionOverrides, PassFile, Password, Server, Target, Tls, TlsMode,
};
use crate::rds::Instance;
use crate::restore::apply::Psql;
use crate::verify::observe::Progress;
use crate::verify::{Copies, DepthRule, Depths, Look};
use crate::when::format_rough_span;
use crate::words::{format_bytes, format_thousands};

/// How to connect to a database.
#[derive(Args, Debug)]
pub(super) struct ConnectArgs {
    /// User on the source [default: its master user]
    #[arg(long, value_name = "NAME", help_heading = "Connecting")]
    user: Option<String>,
    /// Database to compare; may be repeated [default: all of them]
    #[arg(long = "dbname", value_name = "NAME", help_heading = "Connecting")]
    pub(super) dbnames: Vec<String>,
    /// File with the password in its first line; otherwise PGPASSWORD, --secret, ~/.pgpass, or the secret that RDS
    /// manages for the instance
    #[arg(long, value_name = "FILE", help_heading = "Connecting")]
    password_file: Option<PathBuf>,
    /// Secrets Manager secret with the password
    #[arg(long, value_name = "NAME", help_heading = "Connecting")]
    secret: Option<String>,
    /// Log in to the source with an IAM token
    #[arg(long, help_heading = "Connecting")]
    iam: bool,
    /// How connections are encrypted
    #[arg(long, value_enum, default_value_t, value_name = "MODE", help_heading = "Connecting")]
    tls: TlsArg,
    /// Certificate authorities to trust, in place of RDS's [env: PGSSLROOTCERT]
    #[arg(long, value_name = "FILE", help_heading = "Connecting")]
    ca: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum TlsArg {
    /// Encrypted, certificate and host name checked
    #[default]
    VerifyFull,
    /// Encrypted, certificate not checked
    Require,
    /// Not encrypted
    Disable,
}

impl ConnectArgs {
    /// How to reach an RDS instance, and as whom.
    pub(super) async fn connect_to(
        &self,
        session: &Session,
        aws: &Aws,
        source: &Instance,
        application_name: &str,
    ) -> Result<Server> {
        let (host, port) = source.endpoint.clone().ok_or_else(|| {
            Error::outside(format!("AWS reports no endpoint for `{}`", source.id))
                .hint("Run it again when it is available.")
        })?;
        let settings = session.config.drill.of(source.id.as_str());
        let user = self.user.clone().or(settings.user).unwrap_or_else(|| source.master_user.clone());
        let secret = self.secret.clone().or(settings.secret);
        let password = if self.iam {
            Some(aws.login_token(&host, port, &user).await?)
        } else if let Some(file) = &self.password_file {
            Some(Password::from_file(file)?)
        } else if let Some(password) = std::env::var("PGPASSWORD").ok().filter(|value| !value.is_empty()) {
            Some(Password::new(password))
        } else if let Some(secret) = secret {
            Some(Password::new(aws.master_secret(&secret).await?.password))
        } else {
            match (password_of_pgpass(&session.output, &host, port, &user), &source.master_secret_arn) {
                (Some(password), _) => Some(password),
                (None, Some(arn)) if user == source.master_user => {
                    Some(Password::new(aws.master_secret(arn).await?.password))
                }
                (None, _) => None,
            }
        };
        Ok(Server {
            host,
            port,
            user,
            password,
            tls: self.tls(),
            application_name: application_name.to_owned(),
            wire: ConnectionOptions::default(),
        })
    }
}

impl ConnectArgs {
    /// What psql on this machine needs to connect as we do. RDS's authorities are built into us and not into psql: where it is given
    /// no file of authorities, it encrypts and does not check the certificate.
    pub(super) fn psql(&self) -> Psql {
        let home = std::env::var_os("HOME").map(PathBuf::from);
        let has_own = home.is_some_and(|home| home.join(".postgresql/root.crt").exists());
        let is_in_environment = std::env::var_os("PGSSLROOTCERT").is_some_and(|file| !file.is_empty());
        let mode = |mode: &str| ("sslmode", mode.to_owned());
        let tls = match (self.tls, &self.ca) {
            (TlsArg::Disable, _) => vec![mode("disable")],
            (TlsArg::Require, _) => vec![mode("require")],
            (TlsArg::VerifyFull, Some(ca)) => {
                let ca = std::path::absolute(ca).unwrap_or_else(|_| ca.clone());
                vec![mode("verify-full"), ("sslrootcert", ca.display().to_string())]
            }
            (TlsArg::VerifyFull, None) if is_in_environment || has_own => vec![mode("verify-full")],
            (TlsArg::VerifyFull, None) => vec![mode("require")],
        };
        Psql { user: self.user.clone(), database: self.dbnames.first().cloned(), tls }
    }

    /// How connections are protected, and whom they trust.
    pub(super) fn tls(&self) -> Tls {
        // The flag says that the certificate is not checked, where libpq would check it with a file of authorities at hand.
        match self.tls {
            TlsArg::Require => Tls::new(TlsMode::Require, None),
            tls => Tls::new(tls.mode(), authorities(self.ca.as_ref())),
        }
    }
}

impl TlsArg {
    /// As the connection knows it.
    fn mode(self) -> TlsMode {
        match self {
            TlsArg::VerifyFull => TlsMode::VerifyFull,
            TlsArg::Require => TlsMode::Require,
            TlsArg::Disable => TlsMode::Disable,
        }
    }
}

/// How deep databases are looked into, and how gently.
#[derive(Args, Debug)]
pub(super) struct LookArgs {
    /// How deep to compare: content reads and fingerprints every value, counts only counts rows, schema reads
    /// definitions alone. TABLE=DEPTH sets the depth of matching tables, such as `audit.*=counts`; may be repeated,
    /// the last one that matches a table counts [default: content]
    #[arg(long = "depth", value_name = "[TABLE=]DEPTH", help_heading = "Comparing")]
    depths: Vec<String>,
    /// Connections to each server at once (1 to 16), but never more than a quarter of those that are free
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=16), help_heading = "Comparing")]
    connections: u8,
    /// Time limit for reading one table; a table that takes longer is reported as unknown [default: none]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, help_heading = "Comparing")]
    statement_timeout: Option<Duration>,
}

impl LookArgs {
    /// The look that the flags ask for, on top of the rules of the configuration.
    pub(super) fn read_settings(&self, configured: &[DepthRule]) -> Result<Look> {
        let rules = configured.iter().cloned().map(Ok).chain(self.depths.iter().map(|rule| rule.parse()));
        Ok(Look {
            depths: Depths::new(rules.collect::<Result<Vec<DepthRule>>>()?),
            connections: usize::from(self.connections),
            statement_timeout: self.statement_timeout.unwrap_or_default(),
            copies: Copies::Physical,
        })
    }
}

impl Progress {
    /// `table 3 of 9, 1,234 rows, 2.1 GB of 5.0 GB`.
    pub(super) fn describe(&self) -> String {
        let (rows, bytes, of_bytes) =
            (format_thousands(self.rows), format_bytes(self.bytes), format_bytes(self.of_bytes));
        format!("table {} of {}, {rows} rows, {bytes} of {of_bytes}", self.tables, self.of_tables)
    }

    /// The same, with what is left by the pace `since` reading began.
    pub(super) fn describe_with_estimate(&self, since: Duration) -> String {
        let part = self.bytes as f64 / self.of_bytes.max(1) as f64;
        // At first the guess is wild.
        let left = if part > 0.05 && since > Duration::from_secs(3) {
            format!(", about {} left", format_rough_span(since.mul_f64((1.0 - part) / part)))
        } else {
            String::new()
        };
        format!("{}{left}", self.describe())
    }
}

/// How connections to databases that are named by a URL are protected.
#[derive(Args, Clone, Debug)]
pub(super) struct UrlArgs {
    /// How connections are protected, where a URL does not say it with `sslmode` [env: PGSSLMODE] [default: verify-full;
    /// on this machine's own addresses prefer]
    #[arg(long, value_enum, value_name = "MODE", help_heading = "Connecting")]
    tls: Option<TlsArg>,
    /// Certificate authorities to trust, in place of RDS's; `system` for those of the operating system
    /// [env: PGSSLROOTCERT]
    #[arg(long, value_name = "FILE", help_heading = "Connecting")]
    ca: Option<PathBuf>,
}

impl UrlArgs {
    /// The authorities of other flags; how a connection is protected is the URL's to say.
    pub(super) fn like(connect: &ConnectArgs) -> Self {
        UrlArgs { tls: None, ca: connect.ca.clone() }
    }

    pub(super) fn overrides(&self) -> ConnectionOverrides {
        ConnectionOverrides { tls: self.tls.map(TlsArg::mode), ca: self.ca.clone() }
    }

    /// The database that a connection string names; what psql would note about it is printed.
    pub(super) fn target(&self, text: &str, output: &Output, application_name: &str) -> Result<Target> {
        let target = self.overrides().target(text, application_name)?;
        target.note.iter().for_each(|note| output.say(note));
        target.warnings.iter().for_each(|warning| output.warn(warning));
        Ok(target)
    }
}

fn authorities(flag: Option<&PathBuf>) -> Option<PathBuf> {
    let file = flag.cloned().or_else(|| std::env::var_os("PGSSLROOTCERT").map(PathBuf::from));
    file.filter(|path| !path.as_os_str().is_empty())
}

fn password_of_pgpass(output: &Output, host: &str, port: u16, user: &str) -> Option<Password> {
    let file = match std::env::var_os("PGPASSFILE") {
        Some(file) => PathBuf::from(file),
        None => PathBuf::from(std::env::var_os("HOME")?).join(".pgpass"),
    };
    match PassFile::read(&file) {
        Ok(file) => file?.passwords_for(host, port, user).into_iter().next().map(|(_, password)| password),
        Err(warning) => {
            output.warn(warning);
            None
        }
    }
}
