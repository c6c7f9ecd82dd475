//! A first `lifeboat.toml`, from what exists: databases, how they are backed up now, topics, Regions. Pure but for the survey.
//!
//! The file states what is already the case, or our defaults, so that writing it changes nothing; what would be
//! better is in comments. Our own parser reads it before it is written. Names come from outside, so each is quoted.

use std::fmt::Write as _;
use std::path::Path;

use chrono::{DateTime, Utc};

use crate::aws::Aws;
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::rds::Instance;

/// What was found in one Region.
#[derive(Clone, Debug, Default)]
pub(crate) struct RegionSurvey {
    pub region: String,
    /// The account's number.
    pub account: String,
    /// DB instances, except throwaways.
    pub instances: Vec<Instance>,
    /// Names of topics.
    pub topics: Vec<String>,
}

/// A database that is backed up over a connection, found by a variable of the environment.
#[derive(Clone, Debug)]
pub(crate) struct Local {
    /// What it is called in the file.
    pub name: String,
    /// `PostgreSQL` or `SQLite`.
    pub kind: &'static str,
    /// The variable that holds its URL, which is not written down: there may be a password in it.
    pub variable: &'static str,
}

/// Everything that goes into the file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    /// What was found in each Region.
    pub places: Vec<RegionSurvey>,
    /// The profile, if one was named.
    pub profile: Option<String>,
    /// The endpoint, if it is not AWS's own.
    pub endpoint_url: Option<String>,
    /// The vault, if one was named.
    pub vault: Option<String>,
    /// Databases without AWS.
    pub local: Vec<Local>,
}

/// Looks at one Region. Reads only.
pub(crate) async fn survey_region(aws: &Aws) -> Result<RegionSurvey> {
    let (instances, topics) = tokio::try_join!(aws.instances(), aws.topics())?;
    let instances: Vec<Instance> = instances.into_iter().filter(|it| !it.is_throwaway()).collect();
    let caller = aws.caller().await.unwrap_or_default();
    let mut topics: Vec<String> = topics
        .iter()
        .filter_map(|arn| arn.rsplit(':').next())
        .filter(|name| !name.ends_with(".fifo"))
        .map(str::to_owned)
        .collect();
    topics.sort();
    let account = caller.split(':').nth(4).unwrap_or_default().to_owned();
    Ok(RegionSurvey { region: aws.region().to_owned(), account, instances, topics })
}

/// The text of the file, checked by our own parser.
pub(crate) fn written(found: &Found, now: DateTime<Utc>) -> Result<String> {
    let text = render_config(found, now);
    Config::parse(&text, Path::new("lifeboat.toml")).map_err(|error| {
        Error::new(Kind::Bug, "the generated configuration is not valid").caused_by(error)
    })?;
    Ok(text)
}

fn render_config(found: &Found, now: DateTime<Utc>) -> String {
    let mut text = String::new();
    let line = |text: &mut String, words: String| {
        text.push_str(&words);
        text.push('\n');
    };
    let accounts: Vec<&str> =
        found.places.iter().map(|seen| seen.account.as_str()).filter(|it| !it.is_empty()).collect();
    let whose = accounts
        .first()
        .map_or(String::new(), |account| format!(", from the DB instances of account {account}"));
    line(
        &mut text,
        format!("# Written by `lifeboat init` on {}{}.", now.format("%Y-%m-%d"), comment(&whose)),
    );
    line(
        &mut text,
        "# Every key is optional. `lifeboat doctor` checks whether everything works with it.".to_owned(),
    );
    text.push('\n');
    render_general(&mut text, found);
    objectives(&mut text, found);
    alarms(&mut text, found);
    for seen in &found.places {
        for instance in &seen.instances {
            database(&mut text, instance, &seen.region, found);
        }
    }
    for local in &found.local {
        let _ = write!(
            text,
            "\n[databases.{}.backup]  # {}: `lifeboat backup create {}`\nurl = {}\n",
            toml_key(&local.name),
            local.kind,
            comment(&local.name),
            quoted(&format!("env:{}", local.variable))
        );
    }
    text
}

/// Regions, profile and vault.
fn render_general(text: &mut String, found: &Found) {
    if let [seen] = found.places.as_slice() {
        let _ = writeln!(text, "region = {}", quoted(&seen.region));
    }
    if let Some(profile) = found.profile.as_ref().filter(|_| found.places.len() == 1) {
        let _ = writeln!(text, "profile = {}", quoted(profile));
    }
    if let Some(url) = &found.endpoint_url {
        let _ = writeln!(text, "endpoint_url = {}", quoted(url));
    }
    match &found.vault {
        Some(vault) => {
            let _ = writeln!(text, "vault = {}  # evidence, baselines, backups", quoted(vault));
        }
        None => {
            text.push_str(
                "# vault = \"s3://BUCKET/lifeboat\"  # evidence, baselines, backups; ./backups otherwise\n",
            );
        }
    }
    if found.places.len() < 2 {
        return;
    }
    let (with, without): (Vec<&RegionSurvey>, Vec<&RegionSurvey>) =
        found.places.iter().partition(|seen| !seen.instances.is_empty());
    let names =
        |seen: &[&RegionSurvey]| seen.iter().map(|it| quoted(&it.region)).collect::<Vec<_>>().join(", ");
    let shown = if with.is_empty() { &without } else { &with };
    let number = found.places.iter().map(|seen| seen.account.as_str()).find(|it| !it.is_empty());
    let _ = write!(
        text,
        "\n[[accounts]]  # more of them: `profile = \"…\"` or `role_arn = \"arn:aws:iam::…:role/…\"`\nname = {}\nregions = [{}]\n",
        quoted(number.unwrap_or("main")),
        names(shown)
    );
    if let Some(profile) = &found.profile {
        let _ = writeln!(text, "profile = {}", quoted(profile));
    }
    if !with.is_empty() && !without.is_empty() {
        let _ = writeln!(text, "# without databases: {}", comment(&names(&without)));
    }
}

/// Objectives of all databases.
fn objectives(text: &mut String, found: &Found) {
    if found.places.iter().all(|seen| seen.instances.is_empty()) {
        return;
    }
    let largest = list_instances(found).map(|it| it.storage_gib).max().unwrap_or(0);
    let _ = write!(
        text,
        "
[policy]                   # what `lifeboat policy set` sets and `policy check` requires
retention_days = 7
# encrypted = true, copy_tags = true, deletion_protection = true

[drill]                    # how restores are proved: `lifeboat drill run DB`
class = \"db.t3.micro\"      # of the throwaway
rto = {}                 # how long a restore and its verification may take; the largest database here has {largest} GiB
rpo = \"24h\"                # how much data may be lost; automated backups lose about 5 minutes
",
        quoted(rto(largest))
    );
}

fn list_instances(found: &Found) -> impl Iterator<Item = &Instance> {
    found.places.iter().flat_map(|seen| &seen.instances)
}

/// A first guess: a restored volume is read from S3 at first, which is slow.
fn rto(gib: i32) -> &'static str {
    match gib {
        ..=100 => "1h",
        101..=500 => "2h",
        501..=2000 => "4h",
        _ => "8h",
    }
}

/// Words in the names of topics that reach whoever is on call.
const ALERTING: [&str; 8] = ["alarm", "alert", "backup", "dba", "oncall", "on-call", "ops", "page"];

fn alarms(text: &mut String, found: &Found) {
    let mut topics: Vec<&str> =
        found.places.iter().flat_map(|seen| &seen.topics).map(String::as_str).collect();
    topics.sort_unstable();
    topics.dedup();
    // A name stands for the topic of that name in each Region, so it must be in all that have databases.
    let is_everywhere = |name: &str| {
        let with = found.places.iter().filter(|seen| !seen.instances.is_empty());
        with.into_iter().all(|seen| seen.topics.iter().any(|topic| topic == name))
    };
    let usable: Vec<&str> = topics.iter().copied().filter(|name| is_everywhere(name)).collect();
    let alerting = usable.iter().find(|name| ALERTING.iter().any(|word| name.to_lowercase().contains(word)));
    let chosen = alerting.or(usable.first().filter(|_| usable.len() == 1));
    if found.places.iter().all(|seen| seen.instances.is_empty()) {
        return;
    }
    text.push_str("\n[alarms]                   # `lifeboat alarms plan --all` shows which are missing\n");
    match chosen {
        Some(topic) => {
            let _ = writeln!(text, "topic = {}", quoted(topic));
        }
        None => text.push_str("# topic = \"NAME\"         # an SNS topic that reaches whoever is on call\n"),
    }
    if topics.len() > 1 || (chosen.is_none() && !topics.is_empty()) {
        let _ = writeln!(text, "# topics here: {}", comment(&topics.join(", ")));
    }
}

fn database(text: &mut String, it: &Instance, region: &str, found: &Found) {
    let place = if found.places.len() > 1 { format!(" in {region}") } else { String::new() };
    let kept = match it.retention_days {
        0 => "automated backups are OFF".to_owned(),
        days => format!("automated backups are kept {days} days"),
    };
    let window =
        it.settings.backup_window.as_ref().map_or(String::new(), |window| format!(", taken at {window} UTC"));
    let words = format!("{} {}, {} GiB{place}: {kept}{window}", it.engine, it.engine_version, it.storage_gib);
    let id = it.id.as_str();
    // The same name in two Regions is one section.
    let is_first =
        list_instances(found).find(|other| other.id == it.id).is_some_and(|first| first.arn == it.arn);
    let _ = writeln!(text, "\n# {}", comment(&words));
    if let Some(owner) = it.cluster.as_ref().or(it.replica_of.as_ref()) {
        let _ = writeln!(text, "# {id}: its backups are those of {}", comment(owner));
        return;
    }
    if !is_first {
        let _ = writeln!(text, "# {id}: as above");
        return;
    }
    // An instance with a longer retention than the default keeps it.
    if it.retention_days > 7 {
        let _ = write!(text, "[databases.{}.policy]\nretention_days = {}\n", toml_key(id), it.retention_days);
    }
    if it.engine != "postgres" {
        let _ = writeln!(text, "# {id}: drills support PostgreSQL only");
        return;
    }
    let _ = write!(text, "[databases.{}.drill]\nrto = {}\n", toml_key(id), quoted(rto(it.storage_gib)));
    if !it.iam_authentication && it.master_secret_arn.is_none() {
        text.push_str(
            "# user = \"…\", secret = \"…\"  # otherwise the master user, with PGPASSWORD or ~/.pgpass\n",
        );
    }
}

/// A string of TOML.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            letter if letter.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(letter));
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

/// A TOML key, quoted where necessary.
fn toml_key(text: &str) -> String {
    let is_bare = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if is_bare { text.to_owned() } else { quoted(text) }
}

/// Removes line breaks from a comment.
fn comment(text: &str) -> String {
    crate::output::escape_controls(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rds::InstanceId;

    fn instance(id: &str) -> Instance {
        Instance {
            id: InstanceId::parse(id).unwrap(),
            arn: format!("arn:{id}"),
            engine: "postgres".to_owned(),
            engine_version: "16.3".to_owned(),
            retention_days: 14,
            storage_gib: 400,
            ..Instance::default()
        }
    }

    #[test]
    fn what_is_written_means_what_was_found() {
        let seen = RegionSurvey {
            region: "eu-west-1".to_owned(),
            account: "111122223333".to_owned(),
            instances: vec![instance("orders"), instance("billing")],
            topics: vec!["billing-events".to_owned(), "db-alerts".to_owned()],
        };
        let other = RegionSurvey { region: "eu-north-1".to_owned(), ..RegionSurvey::default() };
        let found = Found { places: vec![seen.clone()], ..Found::default() };
        let config = Config::parse(&written(&found, DateTime::UNIX_EPOCH).unwrap(), Path::new("x")).unwrap();
        assert_eq!((config.region.as_deref(), config.accounts.len()), (Some("eu-west-1"), 0));
        assert_eq!(config.alarms.general.topic, Some(vec!["db-alerts".to_owned()]));
        assert_eq!(config.policy.of("orders").retention_days, Some(14));
        assert_eq!(config.policy.of("another").retention_days, Some(7));
        assert_eq!(config.drill.of("orders").rto, Some(std::time::Duration::from_secs(7200)));
        let found = Found { places: vec![seen, other], profile: Some("prod".to_owned()), ..Found::default() };
        let config = Config::parse(&written(&found, DateTime::UNIX_EPOCH).unwrap(), Path::new("x")).unwrap();
        let account = &config.accounts[0];
        assert_eq!((account.name.as_str(), account.profile.as_deref()), ("111122223333", Some("prod")));
        assert_eq!(account.regions, ["eu-west-1"]);
    }

    proptest! {
        #[test]
        fn no_name_is_too_hostile_to_be_written(name in "\\PC{1,20}|[\\x00-\\x7f]{1,20}", vault in "[\\x00-\\x7f\u{2028}\u{202e}\"\\\\]{0,20}") {
            // Neither a blank profile nor a vault that is refused gets as far as this.
            prop_assume!(!name.trim().is_empty());
            let vault = crate::vault::read_location(&vault, "it").unwrap_or_default();
            let seen = RegionSurvey { region: "eu-west-1".to_owned(), account: name.clone(), instances: vec![instance("a")], topics: vec![name.clone()] };
            let found = Found {
                places: vec![seen],
                profile: Some(name.clone()),
                endpoint_url: Some("http://localhost:4566".to_owned()),
                vault: Some(vault.clone()),
                local: vec![Local { name: name.clone(), kind: "SQLite", variable: "DATABASE_URL" }],
            };
            let config = Config::parse(&written(&found, DateTime::UNIX_EPOCH).unwrap(), Path::new("x")).unwrap();
            prop_assert_eq!(config.profile.as_ref(), Some(&name));
            prop_assert_eq!(config.vault.clone(), Some(vault));
            prop_assert_eq!(config.backup.url_of(&name), Some("env:DATABASE_URL"));
        }
    }
}
