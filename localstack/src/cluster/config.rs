//! The configuration of a server: what the stack needs, and the harmless part of a parameter group.
//!
//! It lies beside the data, not in it, so that a copy of the data never carries another server's port or archive.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::Path;

use chrono::{DateTime, Utc};

use crate::cluster::extensions::Equipment;
use crate::cluster::tls::Credentials;
use crate::home::{ClusterPaths, Home};

/// Settings that the stack decides, whatever a parameter group says: where the server listens, how it archives, and
/// how much memory it takes.
const STACK_DECIDES: &str = "archive_cleanup_command archive_command archive_library archive_mode config_file data_directory \
    external_pid_file fsync full_page_writes hba_file huge_pages ident_file listen_addresses \
    log_destination log_directory log_filename logging_collector port recovery_target_action \
    restore_command session_preload_libraries shared_buffers shared_preload_libraries ssl ssl_ca_file \
    ssl_cert_file ssl_key_file summarize_wal unix_socket_directories unix_socket_group \
    unix_socket_permissions wal_level wal_sync_method";

/// Whether a parameter group's value for a setting reaches the server.
pub(crate) fn is_applied(name: &str) -> bool {
    !STACK_DECIDES.split_whitespace().any(|decided| decided == name)
        && !name.starts_with("rds.")
        && !name.starts_with("recovery_")
}

pub(crate) struct Config<'a> {
    pub(crate) port: u16,
    /// Whether to refuse connections without TLS.
    pub(crate) force_tls: bool,
    /// A parameter group's values, by name.
    pub(crate) parameters: &'a BTreeMap<String, String>,
    pub(crate) archive: &'a Path,
    pub(crate) recovery: Option<Recovery<'a>>,
    /// The extensions of the installation; `None` while they are being determined.
    pub(crate) equipment: Option<&'a Equipment>,
}

/// The archive to replay, and the time to stop at (inclusive).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recovery<'a> {
    pub(crate) archive: &'a Path,
    pub(crate) target: DateTime<Utc>,
}

/// Writes the certificate of an instance's server.
pub(crate) fn write_credentials(
    home: &Home,
    paths: &ClusterPaths,
    credentials: &Credentials,
) -> io::Result<()> {
    home.make_private(&paths.conf)?;
    home.write_private(&paths.conf.join("server.key"), &credentials.key)?;
    home.write_private(&paths.conf.join("server.pem"), &credentials.certificate)
}

/// Writes the configuration; a running server applies it when it reloads or restarts.
pub(crate) fn write_config(home: &Home, paths: &ClusterPaths, config: &Config<'_>) -> io::Result<()> {
    home.make_private(&paths.conf)?;
    home.write_private(&paths.conf.join("pg_hba.conf"), &access_rules(config.force_tls))?;
    home.write_private(&paths.conf.join("pg_ident.conf"), "")?;
    home.write_private(&paths.conf.join("postgresql.conf"), &settings_text(&paths.conf, config))
}

/// The stack's own user logs in with its password; nobody else can connect to the `rdsadmin` database, as on RDS.
fn access_rules(force_tls: bool) -> String {
    let transport = if force_tls { "hostssl" } else { "host" };
    format!(
        "host all rdsadmin 127.0.0.1/32 scram-sha-256\n\
         host rdsadmin all all reject\n\
         {transport} all all all scram-sha-256\n"
    )
}

fn settings_text(conf: &Path, config: &Config<'_>) -> String {
    let mut text = String::new();
    let mut set = |name: &str, value: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name} = '{}'", value.replace('\\', "\\\\").replace('\'', "''"));
    };
    set("timezone", "UTC");
    set("log_timezone", "UTC");
    // A failed statement may contain a password, which must not be logged.
    set("log_min_error_statement", "panic");
    set("log_line_prefix", "%m [%p] %q%u@%d ");
    set("max_connections", "60");
    set("max_wal_size", "128MB");
    set("max_wal_senders", "20");
    set("max_replication_slots", "20");
    for (name, value) in config.parameters {
        if is_applied(name) {
            set(name, value);
        }
    }
    let logical = config.parameters.get("rds.logical_replication").is_some_and(|value| value == "1");
    if let Some(equipment) = config.equipment {
        set("rds.extensions", &equipment.extensions.join(", "));
        if let Some(library) = &equipment.preloaded {
            set("shared_preload_libraries", library);
        }
    }
    set("wal_level", if logical { "logical" } else { "replica" });
    set("listen_addresses", "127.0.0.1");
    set("port", &config.port.to_string());
    set("unix_socket_directories", "");
    set("hba_file", &conf.join("pg_hba.conf").to_string_lossy());
    set("ident_file", &conf.join("pg_ident.conf").to_string_lossy());
    if conf.join("server.key").is_file() {
        set("ssl", "on");
        set("ssl_cert_file", &conf.join("server.pem").to_string_lossy());
        set("ssl_key_file", &conf.join("server.key").to_string_lossy());
    }
    set("shared_buffers", "16MB");
    set("huge_pages", "off");
    set("logging_collector", "off");
    set("log_destination", "stderr");
    // The databases need to survive killed processes, not crashed machines: written data is in the page cache.
    set("fsync", "off");
    set("full_page_writes", "off");
    set("archive_mode", "on");
    set("archive_command", &archive_command(config.archive));
    if let Some(recovery) = &config.recovery {
        set("restore_command", &format!("cp {}/%f \"%p\" 2>/dev/null", shell_path(recovery.archive)));
        set("recovery_target_time", &recovery.target.format("%Y-%m-%d %H:%M:%S%.6f+00").to_string());
        set("recovery_target_timeline", "current");
        set("recovery_target_action", "promote");
        // No connections before the target is reached.
        set("hot_standby", "off");
    }
    text
}

/// A segment appears in the archive as a whole. Archiving it again, as a killed server does, is not an error.
fn archive_command(archive: &Path) -> String {
    let to = shell_path(archive);
    format!("cp \"%p\" {to}/%f.partial && mv {to}/%f.partial {to}/%f")
}

/// Quotes a path for a shell command in which PostgreSQL replaces `%…`.
fn shell_path(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('%', "%%").replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_survive_the_shell_and_the_placeholders() {
        assert_eq!(shell_path(Path::new("/a b/it's/100%")), "'/a b/it'\\''s/100%%'");
    }

    #[test]
    fn a_parameter_group_cannot_move_the_server() {
        let parameters: BTreeMap<String, String> =
            [("work_mem", "8MB"), ("listen_addresses", "*"), ("fsync", "on"), ("rds.force_ssl", "0")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into();
        let config = Config {
            port: 5555,
            force_tls: true,
            parameters: &parameters,
            archive: Path::new("/archive"),
            recovery: None,
            equipment: None,
        };
        let text = settings_text(Path::new("/conf"), &config);
        assert!(text.contains("work_mem = '8MB'"));
        assert!(!text.contains("'*'"));
        assert!(!text.contains("fsync = 'on'"));
        assert!(!text.contains("rds."));
    }

    #[test]
    fn strangers_need_tls_when_it_is_forced_and_never_reach_rdsadmin() {
        let rules = access_rules(true);
        assert!(rules.lines().nth(2).unwrap().starts_with("hostssl "), "{rules}");
        assert!(rules.lines().nth(1).unwrap().ends_with("reject"), "{rules}");
        assert!(access_rules(false).lines().nth(2).unwrap().starts_with("host "));
    }
}
