//! What every command works with: the flags that all of them take, the configuration, the vault, the printer and the clock.

use std::path::PathBuf;

use chrono::{DateTime, NaiveDate, Utc};
use clap::Args;

use crate::aws::{Access, Aws};
use crate::backup::schedule::quote_for_shell;
use crate::config::{Config, Narrow};
use crate::error::Result;
use crate::notify::{Announcement, Ping, Saying};
use crate::output::{Color, Output, Repeated};

use crate::vault::{Actor, Trigger, Vault, read_location};
use crate::when;

/// Flags that every command takes.
#[derive(Args, Debug)]
#[command(next_help_heading = "Global options")]
pub(super) struct Global {
    /// AWS Region [env: AWS_REGION]; of several accounts and Regions in lifeboat.toml, only this Region
    #[arg(long, global = true, value_name = "NAME")]
    pub(super) region: Option<String>,
    /// Only this account of lifeboat.toml
    #[arg(long, global = true, value_name = "NAME", conflicts_with = "profile")]
    pub(super) account: Option<String>,
    /// Profile of the AWS configuration [env: AWS_PROFILE]
    #[arg(long, global = true, value_name = "NAME")]
    pub(super) profile: Option<String>,
    /// Another AWS endpoint, such as the local stack's [env: AWS_ENDPOINT_URL]
    #[arg(long, global = true, value_name = "URL")]
    pub(super) endpoint_url: Option<String>,
    /// Configuration file [default: lifeboat.toml, if there is one]
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Where what must last is kept, evidence, baselines, backups: a directory, or `s3://`, `gs://` or `az://` and a bucket
    /// [env: BACKUP_DIR] [default: ./backups]
    #[arg(long, global = true, value_name = "PLACE")]
    pub(super) vault: Option<String>,
    /// Print the report as one JSON document
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// When to use colour
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    pub(super) color: Color,
    /// Print warnings and errors only; a report of something done or checked only if something is wrong
    #[arg(short, long, global = true)]
    pub(super) quiet: bool,
    /// Log what is done on stderr; twice for more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(super) verbose: u8,
}

impl Global {
    /// What a command that is printed has to repeat to mean the same place.
    pub(super) fn repeated(&self, command_line: &clap::Command) -> Repeated {
        let config = self.config.as_ref().map(|file| file.display().to_string());
        let given = [
            ("--region", self.region.as_ref()),
            ("--account", self.account.as_ref()),
            ("--profile", self.profile.as_ref()),
            ("--endpoint-url", self.endpoint_url.as_ref()),
            ("--config", config.as_ref()),
            ("--vault", self.vault.as_ref()),
        ];
        let flags =
            given.into_iter().filter_map(|(flag, value)| Some((flag, quote_for_shell(value?)))).collect();
        Repeated::new(flags, command_line.get_subcommands().map(|it| it.get_name().to_owned()).collect())
    }
}

/// What every command works with.
pub(super) struct Session {
    pub(super) config: Config,
    /// Where the configuration was read from.
    pub(super) config_file: Option<PathBuf>,
    /// As whom and where, apart from the accounts of lifeboat.toml; the vault is always reached in this way.
    pub(super) access: Access,
    pub(super) narrow: Narrow,
    pub(super) vault: String,
    pub(super) output: Output,
    /// What is to be said when the command has ended.
    saying: parking_lot::Mutex<Saying>,
    /// The grammar of the command line, for calls of this tool inside runbooks.
    pub(super) command_line: clap::Command,
}

impl Session {
    pub(super) fn new(
        global: &Global,
        config: Config,
        command_line: clap::Command,
        output: Output,
    ) -> Result<Self> {
        let usual = PathBuf::from("lifeboat.toml");
        let config_file = global.config.clone().or_else(|| usual.exists().then_some(usual));
        let setting = |flag: &Option<String>, configured: &Option<String>, variable| {
            flag.clone().or_else(|| configured.clone().filter(|_| is_unset(variable)))
        };
        let access = Access {
            region: setting(&global.region, &config.region, "AWS_REGION"),
            profile: setting(&global.profile, &config.profile, "AWS_PROFILE"),
            endpoint_url: setting(&global.endpoint_url, &config.endpoint_url, "AWS_ENDPOINT_URL"),
            profile_wins: global.profile.is_some(),
            ..Access::default()
        };
        let narrow = Narrow {
            account: global.account.clone(),
            region: global.region.clone(),
            is_profile_given: global.profile.is_some(),
        };
        let from_environment = std::env::var("BACKUP_DIR").ok().filter(|value| !value.trim().is_empty());
        let vault = match (&global.vault, from_environment, &config.vault) {
            (Some(vault), _, _) => read_location(vault, "`--vault`")?,
            (None, Some(vault), _) => read_location(&vault, "the value of BACKUP_DIR")?,
            (None, None, Some(vault)) => vault.clone(),
            (None, None, None) => "./backups".to_owned(),
        };
        let saying = parking_lot::Mutex::default();
        Ok(Session { config_file, config, access, narrow, vault, output, saying, command_line })
    }

    /// Ages and expiries go by AWS's clock; whoever looks at their own should know.
    pub(super) fn warn_of_clock(&self, aws: &Aws) {
        if let Some(off) = aws.clock_is_off_by(now()) {
            let minutes = off.num_minutes().abs();
            let way = if off > chrono::TimeDelta::zero() { "ahead of" } else { "behind" };
            self.output
                .warn(format!("this machine's clock is {minutes} minutes {way} AWS's: AWS's time is used"));
        }
    }

    /// Reads a time as the person says it, and shows what it means.
    pub(super) fn read_time(&self, text: &str) -> Result<DateTime<Utc>> {
        let at = when::parse_time(text, now(), &chrono::Local)?;
        let local = at.with_timezone(&chrono::Local).format("%Y-%m-%dT%H:%M:%S%:z");
        let utc = when::format_time(at);
        self.output.say(format!("`{}` is {local} local time, {utc}", text.escape_default()));
        Ok(at)
    }

    pub(super) fn vault(&self) -> Result<Vault> {
        Vault::open(&self.vault, &self.access)
    }

    pub(super) fn vault_to_read(&self) -> Result<Vault> {
        Vault::open_to_read(&self.vault, &self.access)
    }
}

/// Whoever runs the command.
pub(super) fn user_name() -> String {
    let name = ["SUDO_USER", "LOGNAME", "USER"]
        .into_iter()
        .find_map(|variable| std::env::var(variable).ok().filter(|name| !name.is_empty()));
    let uid = rustix::process::getuid().as_raw();
    name.map_or(format!("uid {uid}"), |name| format!("{name} (uid {uid})"))
}

/// Who acts at this command line, for the audit log.
pub(super) fn actor(trigger: Trigger) -> Actor {
    Actor { who: user_name(), host: host_name(), trigger, request: None }
}

pub(super) fn is_unset(variable: &str) -> bool {
    std::env::var_os(variable).is_none_or(|value| value.is_empty())
}

/// The only place where the clock is read.
#[expect(
    clippy::disallowed_methods,
    reason = "the outermost layer; everything below takes the time as an argument"
)]
pub(super) fn now() -> DateTime<Utc> {
    Utc::now()
}

/// Reads a day as the person says it. Days of reports are those of UTC.
pub(super) fn parse_day(text: &str) -> Result<NaiveDate> {
    when::parse_day(text, now().date_naive())
}

impl Session {
    /// Notes what is to be said when the command has ended.
    pub(super) fn announce(&self, announcement: Announcement) {
        self.saying.lock().announcements.push(announcement);
    }

    /// What a dead man's switch is to be told, where that is not what the exit code says.
    pub(super) fn ping_with(&self, ping: Ping) {
        self.saying.lock().ping = Some(ping);
    }

    /// What the command has said.
    pub(super) fn take_saying(&self) -> Saying {
        std::mem::take(&mut *self.saying.lock())
    }
}

pub(super) fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .or_else(|_| std::env::var("HOSTNAME"))
        .unwrap_or_else(|_| "unknown".to_owned())
}
