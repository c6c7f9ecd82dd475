//! Backups on a schedule: what systemd and cron have to be told, as files that work as they are written.
//!
//! Each rhythm is a schedule of its own with a retention class of its own, so that daily backups make room for the next
//! ones while monthly ones stay. All of them begin at the same minute on some days, so each waits for the others to be done,
//! though never until its own next turn: then it ends with exit code 7, rather than to pile up. Times are UTC: a night in
//! which the clocks change has neither two backups nor none.

use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};

/// How often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Rhythm {
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
    pub(crate) const ALL: [Rhythm; 4] = [Rhythm::Hourly, Rhythm::Daily, Rhythm::Weekly, Rhythm::Monthly];

    /// Its retention class.
    pub(crate) const fn class(self) -> &'static str {
        match self {
            Rhythm::Hourly => "hourly",
            Rhythm::Daily => "daily",
            Rhythm::Weekly => "weekly",
            Rhythm::Monthly => "monthly",
        }
    }

    /// How many days backups of its class are kept, unless lifeboat.toml says otherwise.
    pub(crate) const fn usual_days(self) -> u32 {
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
pub(crate) struct TimeOfDay {
    hour: u8,
    minute: u8,
}

impl std::str::FromStr for TimeOfDay {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let wrong = || "write it as hours and minutes in UTC, such as 02:15".to_owned();
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
pub(crate) enum Runner {
    /// A service and a timer for each rhythm
    Systemd,
    /// A file for /etc/cron.d for each rhythm
    Cron,
}

/// A schedule that is wanted.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
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
    /// As whom it runs.
    pub user: String,
    /// What tells it from other schedules: [`schedule_name`] of its databases.
    pub name: String,
}

/// A file of a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ScheduleFile {
    /// Where it goes.
    pub path: PathBuf,
    /// What is in it.
    pub content: String,
}

impl Schedule {
    /// The files.
    pub(crate) fn files(&self) -> Result<Vec<ScheduleFile>> {
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
                    "`{}` cannot be part of a schedule",
                    text.escape_default()
                ))
                .hint("It contains a control character."));
            }
        }
        let is_user = |c: char| c.is_ascii_alphanumeric() || "._-$".contains(c);
        if self.user.is_empty() || self.user.starts_with('-') || !self.user.chars().all(is_user) {
            return Err(Error::request(format!("`{}` is not a valid user name", self.user.escape_default()))
                .hint("Name the user to run as, such as `--user postgres`."));
        }
        Ok(match self.runner {
            Runner::Systemd => self.rhythms.iter().flat_map(|rhythm| self.units(*rhythm)).collect(),
            Runner::Cron => self.rhythms.iter().map(|rhythm| self.crontab(*rhythm)).collect(),
        })
    }

    /// What the files of a rhythm are called: the database and the rhythm, so that no schedule displaces another.
    fn stem(&self, rhythm: Rhythm) -> String {
        let of = if self.name.is_empty() { String::new() } else { format!("{}-", self.name) };
        format!("lifeboat-backup-{of}{}", rhythm.class())
    }

    fn units(&self, rhythm: Rhythm) -> [ScheduleFile; 2] {
        let command: Vec<String> = self.command(rhythm).iter().map(|word| systemd_word(word)).collect();
        let of = if self.name.is_empty() { String::new() } else { format!(" of {}", self.name) };
        let description = format!("lifeboat: {} backup{of}", rhythm.class());
        let user = if self.user == "root" { String::new() } else { format!("User={}\n", self.user) };
        let service = format!(
            "[Unit]\nDescription={description}\nAfter=network-online.target\nWants=network-online.target\n\n\
             [Service]\nType=oneshot\n{user}EnvironmentFile=-{}\nExecStart={}\nUMask=0077\nNoNewPrivileges=true\n\
             PrivateTmp=true\nProtectSystem=full\nNice=10\nIOSchedulingClass=idle\n",
            systemd_path(&self.environment_file),
            command.join(" "),
        );
        let timer = format!(
            "[Unit]\nDescription={description}\n\n[Timer]\nOnCalendar={}\nPersistent=true\nRandomizedDelaySec=5min\n\n\
             [Install]\nWantedBy=timers.target\n",
            rhythm.calendar(self.at),
        );
        [("service", service), ("timer", timer)].map(|(kind, content)| ScheduleFile {
            path: self.directory.join(format!("{}.{kind}", self.stem(rhythm))),
            content,
        })
    }

    fn crontab(&self, rhythm: Rhythm) -> ScheduleFile {
        let mut command = self.command(rhythm);
        let environment = self.environment_file.to_string_lossy().into_owned();
        command.extend(["--environment-file".to_owned(), environment]);
        let command: Vec<String> = command.iter().map(|word| quote_for_shell(word)).collect();
        let log = quote_for_shell(&self.log.to_string_lossy());
        // To cron, a percent sign is the end of the line.
        let line = format!("{} >> {log} 2>&1", command.join(" ")).replace('%', "\\%");
        let content = format!(
            "# Backups by lifeboat. Times are UTC where cron knows CRON_TZ.\nCRON_TZ=UTC\n{} {} {line}\n",
            rhythm.cron(self.at),
            self.user
        );
        ScheduleFile { path: self.directory.join(self.stem(rhythm)), content }
    }

    fn command(&self, rhythm: Rhythm) -> Vec<String> {
        let mut command = vec![self.program.to_string_lossy().into_owned()];
        command.extend(self.arguments.iter().cloned());
        command.extend(["--wait", rhythm.patience(), "--class", rhythm.class()].map(str::to_owned));
        if let Some(url) = &self.ping {
            command.extend(["--ping".to_owned(), url.clone()]);
        }
        command
    }
}

/// What a schedule of some databases is called: their names, as both systemd and cron take them for part of a file's.
pub(crate) fn schedule_name(databases: &[String]) -> String {
    let short_hash = |text: &str| hex::encode(Sha256::digest(text.as_bytes()))[..8].to_owned();
    let is_plain = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    let plain = |name: &String| match is_plain(name) && !name.is_empty() {
        true => name.clone(),
        // Two names that differ must not become one.
        false => {
            let letters = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' });
            format!("{}-{}", letters.take(40).collect::<String>(), short_hash(name))
        }
    };
    let name = databases.iter().map(plain).collect::<Vec<_>>().join("-");
    match name.len() {
        ..=120 => name,
        _ => format!("{}-databases-{}", databases.len(), short_hash(&name)),
    }
}

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
pub(crate) fn quote_for_shell(word: &str) -> String {
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
            name: "app".to_owned(),
        }
    }

    #[test]
    fn a_cron_line_calls_the_program_and_nothing_else() {
        let files = schedule(Runner::Cron).files().unwrap();
        assert_eq!(files[0].path, Path::new("/etc/x/lifeboat-backup-app-daily"));
        assert_eq!(files[1].path, Path::new("/etc/x/lifeboat-backup-app-monthly"));
        let line = |file: &ScheduleFile| file.content.lines().last().unwrap().to_owned();
        assert_eq!(
            line(&files[0]),
            "15 2 * * * root /usr/local/bin/lifeboat --quiet backup create 'it'\\''s 100\\%' --wait 12h --class daily \
             --ping https://hc.example/abc --environment-file /etc/lifeboat/backup.env >> /var/log/lifeboat.log 2>&1"
        );
        assert!(
            line(&files[1]).starts_with("15 2 1 * * root ") && line(&files[1]).contains("--class monthly")
        );
    }

    #[test]
    fn names_of_schedules_are_names_of_files_and_differ() {
        let name =
            |names: &[&str]| schedule_name(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!(
            (name(&[]), name(&["a"]), name(&["a", "b_1"])),
            (String::new(), "a".into(), "a-b_1".into())
        );
        assert_ne!(name(&["a.b"]), name(&["a b"]));
        let long = ["x".repeat(100), "y".repeat(100)];
        for text in [name(&["a/../b"]), name(&["ü"]), schedule_name(&long)] {
            assert!(
                text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)) && text.len() <= 120
            );
        }
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
            "ExecStart=/usr/local/bin/lifeboat --quiet backup create \"it's 100%%\" --wait 12h --class daily \
             --ping https://hc.example/abc\n"
        ));
        assert!(!files[0].content.contains("User="));
        let of_another = Schedule { user: "ats".to_owned(), ..schedule(Runner::Systemd) };
        assert!(of_another.files().unwrap()[0].content.contains("\nUser=ats\n"));
        assert!(files[1].content.contains("OnCalendar=*-*-* 02:15:00 UTC\n"));
        assert!(files[3].content.contains("OnCalendar=*-*-01 02:15:00 UTC\n"));
    }
}
