//! Backups on a schedule: what systemd and cron have to be told, as files that work as they are written.
//!
//! Each rhythm is a schedule of its own with a retention class of its own, so that daily backups make room for the next
//! ones while monthly ones stay. All of them begin at the same minute on some days, so each waits for the others to be done,
//! though never until its own next turn: then it ends with exit code 7, rather than to pile up. Times are UTC: a night in
//! which the clocks change has neither two backups nor none.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::{Error, Result};

/// How often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Rhythm {
    /// Every hour, kept 2 days
    Hourly,
    /// Every day, kept 7 days
    Daily,
    /// Every Sunday, kept 30 days
    Weekly,
    /// On the first of every month, kept 365 days
    Monthly,
}

impl Rhythm {
    /// All of them.
    pub const ALL: [Rhythm; 4] = [Rhythm::Hourly, Rhythm::Daily, Rhythm::Weekly, Rhythm::Monthly];

    /// Its retention class.
    pub const fn class(self) -> &'static str {
        match self {
            Rhythm::Hourly => "hourly",
            Rhythm::Daily => "daily",
            Rhythm::Weekly => "weekly",
            Rhythm::Monthly => "monthly",
        }
    }

    /// How many days backups of its class are kept, unless lifeboat.toml says otherwise.
    pub const fn usual_days(self) -> u32 {
        match self {
            Rhythm::Hourly => 2,
            Rhythm::Daily => 7,
            Rhythm::Weekly => 30,
            Rhythm::Monthly => 365,
        }
    }

    /// How long a run waits for those that were due at the same minute.
    const fn patience(self) -> &'static str {
        match self {
            Rhythm::Hourly => "50m",
            Rhythm::Daily | Rhythm::Weekly | Rhythm::Monthly => "12h",
        }
    }

    fn calendar(self, at: TimeOfDay) -> String {
        let TimeOfDay { hour, minute } = at;
        match self {
            Rhythm::Hourly => format!("*-*-* *:{minute:02}:00 UTC"),
            Rhythm::Daily => format!("*-*-* {hour:02}:{minute:02}:00 UTC"),
            Rhythm::Weekly => format!("Sun *-*-* {hour:02}:{minute:02}:00 UTC"),
            Rhythm::Monthly => format!("*-*-01 {hour:02}:{minute:02}:00 UTC"),
        }
    }

    fn cron(self, at: TimeOfDay) -> String {
        let TimeOfDay { hour, minute } = at;
        match self {
            Rhythm::Hourly => format!("{minute} * * * *"),
            Rhythm::Daily => format!("{minute} {hour} * * *"),
            Rhythm::Weekly => format!("{minute} {hour} * * 0"),
            Rhythm::Monthly => format!("{minute} {hour} 1 * *"),
        }
    }
}

/// An hour and a minute, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeOfDay {
    hour: u8,
    minute: u8,
}

impl std::str::FromStr for TimeOfDay {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let wrong = || "it is an hour and a minute, UTC, such as 02:15".to_owned();
        let (hour, minute) = text.split_once(':').ok_or_else(wrong)?;
        let part =
            |part: &str, most: u8| part.parse::<u8>().ok().filter(|value| *value <= most && part.len() <= 2);
        match (part(hour, 23), part(minute, 59)) {
            (Some(hour), Some(minute)) => Ok(TimeOfDay { hour, minute }),
            _ => Err(wrong()),
        }
    }
}

/// What runs the schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Runner {
    /// A service and a timer for each rhythm
    Systemd,
    /// A line for each rhythm in a file for /etc/cron.d
    Cron,
}

/// A schedule that is wanted.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// What runs it.
    pub runner: Runner,
    /// How often.
    pub rhythms: Vec<Rhythm>,
    /// When.
    pub at: TimeOfDay,
    /// The program.
    pub program: PathBuf,
    /// Its arguments, but for the class.
    pub arguments: Vec<String>,
    /// A file with `NAME=value` lines: DATABASE_URL, PGPASSWORD and so on.
    pub environment_file: PathBuf,
    /// Where cron's output goes; systemd has its journal.
    pub log: PathBuf,
    /// An address that is called after each success, so that somebody notices when that stops.
    pub ping: Option<String>,
    /// Where the files go.
    pub directory: PathBuf,
    /// As whom cron runs it.
    pub user: String,
}

/// A file of a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ScheduleFile {
    /// Where it goes.
    pub path: PathBuf,
    /// What is in it.
    pub content: String,
}

impl Schedule {
    /// The files.
    pub fn files(&self) -> Result<Vec<ScheduleFile>> {
        let paths = [&self.program, &self.environment_file, &self.log, &self.directory]
            .map(|path| path.to_string_lossy());
        let texts = self
            .arguments
            .iter()
            .map(String::as_str)
            .chain(paths.iter().map(AsRef::as_ref))
            .chain(self.ping.as_deref());
        for text in texts {
            if text.chars().any(char::is_control) {
                return Err(Error::request(format!(
                    "`{}` cannot stand in a schedule",
                    text.escape_default()
                ))
                .hint("It contains a control character."));
            }
        }
        let is_user = |c: char| c.is_ascii_alphanumeric() || "._-$".contains(c);
        if self.user.is_empty() || self.user.starts_with('-') || !self.user.chars().all(is_user) {
            return Err(Error::request(format!("`{}` is no name of a user", self.user.escape_default()))
                .hint("Name the user as whom cron is to run it, such as `--user postgres`."));
        }
        Ok(match self.runner {
            Runner::Systemd => self.rhythms.iter().flat_map(|rhythm| self.units(*rhythm)).collect(),
            Runner::Cron => vec![self.crontab()],
        })
    }

    fn units(&self, rhythm: Rhythm) -> [ScheduleFile; 2] {
        let name = format!("lifeboat-backup-{}", rhythm.class());
        let command: Vec<String> = self.command(rhythm).iter().map(|word| systemd_word(word)).collect();
        let ping = self.ping.as_ref().map_or(String::new(), |url| {
            let url = systemd_word(url);
            format!("ExecStartPost=-/usr/bin/env curl --silent --show-error --fail --max-time 10 --retry 3 --output /dev/null {url}\n")
        });
        let service = format!(
            "[Unit]\nDescription=lifeboat: {} backup\nAfter=network-online.target\nWants=network-online.target\n\n\
             [Service]\nType=oneshot\nEnvironmentFile=-{}\nExecStart={}\n{ping}UMask=0077\nNoNewPrivileges=true\n\
             PrivateTmp=true\nProtectSystem=full\nNice=10\nIOSchedulingClass=idle\n",
            rhythm.class(),
            systemd_path(&self.environment_file),
            command.join(" "),
        );
        let timer = format!(
            "[Unit]\nDescription=lifeboat: {} backup\n\n[Timer]\nOnCalendar={}\nPersistent=true\nRandomizedDelaySec=5min\n\n\
             [Install]\nWantedBy=timers.target\n",
            rhythm.class(),
            rhythm.calendar(self.at),
        );
        [("service", service), ("timer", timer)].map(|(kind, content)| ScheduleFile {
            path: self.directory.join(format!("{name}.{kind}")),
            content,
        })
    }

    fn crontab(&self) -> ScheduleFile {
        let mut content =
            "# Backups by lifeboat. Times are UTC where cron knows CRON_TZ.\nCRON_TZ=UTC\nSHELL=/bin/sh\n\
                           PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
                .to_owned();
        for rhythm in &self.rhythms {
            let command: Vec<String> = self.command(*rhythm).iter().map(|word| shell_word(word)).collect();
            let environment = shell_word(&self.environment_file.to_string_lossy());
            let ping = self.ping.as_ref().map_or(String::new(), |url| {
                format!(
                    " && curl --silent --show-error --fail --max-time 10 --retry 3 --output /dev/null {}",
                    shell_word(url)
                )
            });
            // To cron, a percent sign is the end of the line.
            let line = format!(
                "umask 077; if [ -r {environment} ]; then {READ_ENVIRONMENT} < {environment}; fi; {{ {}{ping}; }} >> {} 2>&1",
                command.join(" "),
                shell_word(&self.log.to_string_lossy()),
            )
            .replace('%', "\\%");
            content.push_str(&format!("{} {} {line}\n", rhythm.cron(self.at), self.user));
        }
        ScheduleFile { path: self.directory.join("lifeboat-backup"), content }
    }

    fn command(&self, rhythm: Rhythm) -> Vec<String> {
        let mut command = vec![self.program.to_string_lossy().into_owned()];
        command.extend(self.arguments.iter().cloned());
        command.extend(["--wait", rhythm.patience(), "--class", rhythm.class()].map(str::to_owned));
        command
    }
}

/// Reads the environment file as systemd does: values are what they are, with or without quotes around them. To a shell
/// that ran the file, the `&` of a URL would be the end of the line, and a `$` in a password something else.
const READ_ENVIRONMENT: &str = "while IFS= read -r l || [ -n \"$l\" ]; do case $l in [A-Za-z_]*=*) v=${l#*=}; \
    case $v in \\\"*\\\") v=${v#?}; v=${v%?};; \\'*\\') v=${v#?}; v=${v%?};; esac; export \"${l%%=*}=$v\";; esac; done";

/// A word of a command line in a unit (systemd.service(5), "Command lines"): quoted, and `%` and `$` mean themselves.
fn systemd_word(word: &str) -> String {
    let escaped = word.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    if escaped.chars().all(|c| c.is_ascii_alphanumeric() || "-_./=:%$@,+".contains(c)) && !escaped.is_empty()
    {
        return escaped;
    }
    format!("\"{escaped}\"")
}

fn systemd_path(path: &Path) -> String {
    path.to_string_lossy().replace('%', "%%")
}

/// A word as a shell takes it for one.
pub fn shell_word(word: &str) -> String {
    if !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./=:@,+".contains(c)) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(runner: Runner) -> Schedule {
        Schedule {
            runner,
            rhythms: vec![Rhythm::Daily, Rhythm::Monthly],
            at: "02:15".parse().unwrap(),
            program: "/usr/local/bin/lifeboat".into(),
            arguments: ["--quiet", "backup", "create", "it's 100%"].map(str::to_owned).into(),
            environment_file: "/etc/lifeboat/backup.env".into(),
            log: "/var/log/lifeboat.log".into(),
            ping: Some("https://hc.example/abc".to_owned()),
            directory: "/etc/x".into(),
            user: "root".to_owned(),
        }
    }

    #[test]
    fn cron_lines_mean_what_they_say() {
        let file = &schedule(Runner::Cron).files().unwrap()[0];
        assert_eq!(file.path, Path::new("/etc/x/lifeboat-backup"));
        let lines: Vec<&str> =
            file.content.lines().filter(|line| line.contains("lifeboat --quiet")).collect();
        assert_eq!(
            lines[0],
            format!(
                "15 2 * * * root umask 077; if [ -r /etc/lifeboat/backup.env ]; then {} < /etc/lifeboat/backup.env; fi; \
                 {{ /usr/local/bin/lifeboat --quiet backup create 'it'\\''s 100\\%' --wait 12h --class daily && curl --silent \
                 --show-error --fail --max-time 10 --retry 3 --output /dev/null https://hc.example/abc; }} \
                 >> /var/log/lifeboat.log 2>&1",
                READ_ENVIRONMENT.replace('%', "\\%")
            )
        );
        assert!(lines[0].len() < 990, "cron reads 998 characters of a line");
        assert!(lines[1].starts_with("15 2 1 * * root ") && lines[1].contains("--class monthly"));
    }

    #[test]
    fn an_environment_file_says_the_same_to_cron_as_to_systemd() {
        let script = format!("{READ_ENVIRONMENT}; printf '%s|' \"$U\" \"$P\" \"$Q\" \"$R\" \"$S\"");
        let file = "# a comment\n\nU=postgresql://a@h/db?x=1&y=2\nP=pa$HOME `id` \\ %\nQ='in; quotes'\nR=\"double\"\nbad line\nS=";
        let mut shell = std::process::Command::new("/bin/sh");
        let (reader, mut writer) = std::io::pipe().unwrap();
        std::io::Write::write_all(&mut writer, file.as_bytes()).unwrap();
        drop(writer);
        let done = shell.args(["-c", &script]).stdin(reader).output().unwrap();
        let said = String::from_utf8(done.stdout).unwrap();
        assert_eq!(said, "postgresql://a@h/db?x=1&y=2|pa$HOME `id` \\ %|in; quotes|double||");
    }

    #[test]
    fn what_is_no_name_of_a_user_does_not_come_into_a_crontab() {
        for user in ["", "ro ot", "root\n* * * * * root x", "-x"] {
            let wrong = Schedule { user: user.to_owned(), ..schedule(Runner::Cron) };
            assert!(wrong.files().is_err(), "{user:?}");
        }
    }

    #[test]
    fn units_quote_what_systemd_would_take_for_something_else() {
        let files = schedule(Runner::Systemd).files().unwrap();
        assert_eq!(files.len(), 4);
        assert!(files[0].content.contains(
            "ExecStart=/usr/local/bin/lifeboat --quiet backup create \"it's 100%%\" --wait 12h --class daily\n"
        ));
        assert!(files[1].content.contains("OnCalendar=*-*-* 02:15:00 UTC\n"));
        assert!(files[3].content.contains("OnCalendar=*-*-01 02:15:00 UTC\n"));
    }
}
