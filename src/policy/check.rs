//! Where an instance's backups fall short of what is wanted: pure, one finding each, with its remedy.

use serde::Serialize;

use super::settings::PolicySettings;
use super::state::State;
use super::window::Window;
use crate::rds::Instance;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Severity {
    /// Data is at risk now.
    Critical,
    /// It should be fixed.
    Warning,
}

/// One way in which an instance falls short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// Its code.
    pub code: &'static str,
    /// How much it matters.
    pub severity: Severity,
    pub message: String,
    /// What fixes it: a command where possible.
    pub remedy: String,
}

impl Finding {
    /// A finding that puts data at risk.
    pub(crate) fn critical(
        code: &'static str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Finding { code, severity: Severity::Critical, message: message.into(), remedy: remedy.into() }
    }

    /// A finding that should be fixed.
    pub(crate) fn warning(code: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Finding { code, severity: Severity::Warning, message: message.into(), remedy: remedy.into() }
    }
}

/// The worst severity: what the terminal, the pages, the metrics and the notifications go by.
pub(crate) fn worst_severity(findings: &[Finding]) -> Option<Severity> {
    findings.iter().map(|finding| finding.severity).min()
}

/// A finding, and all databases of which it is true.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Shared {
    /// The finding; its remedy fixes all of them at once.
    #[serde(flatten)]
    pub finding: Finding,
    pub databases: Vec<String>,
}

/// Commands of ours that take several databases.
pub(crate) const FOR_SEVERAL: [&str; 4] =
    ["lifeboat policy set", "lifeboat drill run", "lifeboat alarms apply", "lifeboat backup create"];

/// The same finding of several databases is one, with one command. Worst first, then those of most databases.
pub(crate) fn group_findings<'a>(of: impl IntoIterator<Item = (&'a str, &'a [Finding])>) -> Vec<Shared> {
    let mut shared: Vec<(Shared, String)> = Vec::new();
    for (database, findings) in of {
        for finding in findings {
            let form = with_word(&finding.remedy, database, "{}");
            let same = |(known, its_form): &&mut (Shared, String)| {
                let (a, b) = (&known.finding, finding);
                a.code == b.code && a.severity == b.severity && a.message == b.message && *its_form == form
            };
            match shared.iter_mut().find(same) {
                Some((known, _)) => known.databases.push(database.to_owned()),
                None => {
                    let databases = vec![database.to_owned()];
                    shared.push((Shared { finding: finding.clone(), databases }, form));
                }
            }
        }
    }
    let mut shared: Vec<Shared> = shared
        .into_iter()
        .map(|(mut one, form)| {
            if one.databases.len() > 1 {
                one.finding.remedy = for_all(&form, &one.databases);
            }
            one
        })
        .collect();
    shared.sort_by_key(|it| (it.finding.severity, std::cmp::Reverse(it.databases.len())));
    shared
}

/// The command for one database as one for several; `form` has `{}` where its name stands.
fn for_all(form: &str, databases: &[String]) -> String {
    let names = databases.join(" ");
    let is_command = ["lifeboat ", "aws "].iter().any(|program| form.starts_with(program));
    if !is_command || !form.contains("{}") {
        return form.replace("{}", "DB");
    }
    let takes_several = FOR_SEVERAL.iter().any(|command| form.starts_with(&format!("{command} {{}}")));
    match takes_several && form.matches("{}").count() == 1 {
        true => form.replace("{}", &names),
        false => format!("for db in {names}; do {}; done", form.replace("{}", "${db}")),
    }
}

/// Replaces a name in a text where it is a whole word or the start of an id.
fn with_word(text: &str, name: &str, other: &str) -> String {
    let part = |word: &str| match word.strip_prefix(name) {
        Some(rest) if rest.is_empty() || rest.starts_with(['-', '`', '"', '\'']) => format!("{other}{rest}"),
        _ => word.to_owned(),
    };
    text.split(' ').map(part).collect::<Vec<_>>().join(" ")
}

/// The findings of an instance, and notes about it.
pub(crate) fn check_instance(instance: &Instance, wanted: &PolicySettings) -> (Vec<Finding>, Vec<String>) {
    let state = State::of_instance(instance);
    let id = &instance.id;
    let (mut findings, mut notes) = (Vec::new(), Vec::new());
    let set = |flags: &str| format!("lifeboat policy set {id} {flags}");
    match (&instance.cluster, &instance.replica_of) {
        (Some(cluster), _) => {
            notes.push(format!("a member of DB cluster `{cluster}`, which is backed up as a whole"))
        }
        (None, Some(source)) => notes.push(format!("a read replica of `{source}`, whose backups count")),
        (None, None) => findings.extend(check_retention(&state, wanted, &set)),
    }
    if instance.aws_backup.is_some() {
        notes.push("AWS Backup manages its continuous backups".to_owned());
    }
    if instance.cluster.is_none() && instance.replica_of.is_none() {
        findings.extend(check_windows(&state, wanted, &set));
    }
    if !state.encrypted && wanted.encrypted.unwrap_or(true) {
        findings.push(Finding::warning(
            "not_encrypted",
            "its storage and snapshots are not encrypted (KEY is a customer managed key: what alias/aws/rds encrypts can never be shared)",
            format!(
                "lifeboat snapshot create {id} --id {id}-plain && lifeboat snapshot copy {id}-plain --kms-key KEY && \
                 lifeboat restore snapshot {id}-plain-copy --to {id}-encrypted"
            ),
        ));
    }
    if !state.copy_tags_to_snapshot && wanted.copy_tags.unwrap_or(true) && instance.cluster.is_none() {
        findings.push(Finding::warning(
            "copy_tags_off",
            "its tags are not copied to its snapshots",
            set("--copy-tags true"),
        ));
    }
    if !state.deletion_protection && wanted.deletion_protection.unwrap_or(true) {
        findings.push(Finding::warning(
            "no_deletion_protection",
            "deletion protection is off: whoever may delete it can delete its automated backups with it",
            set("--deletion-protection true"),
        ));
    }
    findings.retain(|finding| !wanted.ignore.iter().flatten().any(|code| code == finding.code));
    findings.sort_by_key(|finding| finding.severity);
    (findings, notes)
}

fn check_retention(state: &State, wanted: &PolicySettings, set: &dyn Fn(&str) -> String) -> Option<Finding> {
    let least = wanted.retention_days.unwrap_or(7);
    let remedy = set(&format!("--retention-days {least}"));
    match state.retention_days {
        0 => Some(Finding::critical(
            "backups_off",
            "automated backups are off: point-in-time restore is not possible",
            remedy,
        )),
        days if days < least => Some(Finding::warning(
            "retention_short",
            format!(
                "automated backups are kept for {days} day{}, fewer than {least}",
                if days == 1 { "" } else { "s" }
            ),
            remedy,
        )),
        _ => None,
    }
}

fn check_windows(state: &State, wanted: &PolicySettings, set: &dyn Fn(&str) -> String) -> Vec<Finding> {
    let mut findings = Vec::new();
    if state.retention_days == 0 {
        return findings;
    }
    let maintenance = state.maintenance_window.as_deref().and_then(|text| Window::weekly(text).ok());
    let stopped = wanted.stopped;
    let others: Vec<Window> = maintenance.into_iter().chain(stopped).collect();
    let configured = wanted.backup_window.filter(|window| others.iter().all(|other| !window.meets(*other)));
    let free = configured.or_else(|| Window::clear_of(&others));
    let mend = match free {
        Some(window) => set(&format!("--backup-window {window}")),
        None => {
            "Make room for a backup window of half an hour: the maintenance window and `stopped` leave none."
                .to_owned()
        }
    };
    let Some(text) = &state.backup_window else {
        findings.push(Finding::warning("window_unset", "it has no backup window", mend));
        return findings;
    };
    let Ok(backup) = Window::daily(text) else { return findings };
    if maintenance.is_some_and(|maintenance| maintenance.meets(backup)) {
        findings.push(Finding::warning(
            "window_overlaps_maintenance",
            format!("backup window {text} overlaps the maintenance window"),
            &mend,
        ));
    }
    if let Some(text_of_stop) = wanted.stopped.as_ref().filter(|_| stopped.is_some_and(|it| it.meets(backup)))
    {
        findings.push(Finding::warning(
            "window_while_stopped",
            format!("backup window {text} falls into {text_of_stop}, when the instance is stopped: no backup is taken then"),
            &mend,
        ));
    }
    if let Some(configured) = wanted.backup_window.filter(|configured| *configured != backup) {
        findings.push(Finding::warning(
            "window_differs",
            format!("its backup window is {text}, not {configured}"),
            set(&format!("--backup-window {configured}")),
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_of_several_databases_is_one_with_one_command() {
        let short = |id: &str| {
            Finding::warning(
                "retention_short",
                "too few",
                format!("lifeboat policy set {id} --retention-days 7"),
            )
        };
        let plain = |id: &str| {
            let remedy = format!(
                "lifeboat snapshot create {id} --id {id}-plain && lifeboat restore snapshot {id}-plain"
            );
            Finding::warning("not_encrypted", "not encrypted", remedy)
        };
        let gone =
            |id: &str| Finding::critical("no_backup", "gone", format!("lifeboat snapshot create {id}"));
        let (a, b, c) = (
            vec![short("app"), plain("app")],
            vec![short("app-2"), plain("app-2")],
            vec![short("x"), gone("x")],
        );
        let shared = group_findings([("app", a.as_slice()), ("app-2", b.as_slice()), ("x", c.as_slice())]);
        let told: Vec<(&str, String, &str)> = shared
            .iter()
            .map(|it| (it.finding.code, it.databases.join(" "), it.finding.remedy.as_str()))
            .collect();
        assert_eq!(
            told,
            [
                ("no_backup", "x".to_owned(), "lifeboat snapshot create x"),
                (
                    "retention_short",
                    "app app-2 x".to_owned(),
                    "lifeboat policy set app app-2 x --retention-days 7"
                ),
                (
                    "not_encrypted",
                    "app app-2".to_owned(),
                    "for db in app app-2; do lifeboat snapshot create ${db} --id ${db}-plain && lifeboat restore snapshot ${db}-plain; done"
                ),
            ]
        );
    }

    #[test]
    fn no_finding_gets_lost_when_they_are_shared() {
        use proptest::prelude::*;
        let finding = (0..3usize, 0..2usize)
            .prop_map(|(code, message)| (["a", "b", "c"][code], ["is so", "is bad"][message]));
        let databases = prop::collection::vec(prop::collection::vec(finding, 0..4), 0..6);
        proptest!(|(databases in databases)| {
            let named: Vec<(String, Vec<Finding>)> = databases.iter().enumerate().map(|(at, findings)| {
                let mut findings = findings.clone();
                findings.dedup();
                findings.sort_unstable();
                findings.dedup();
                let id = format!("db-{at}");
                let of = findings.iter().map(|(code, message)| Finding::warning(code, *message, format!("lifeboat drill run {id}"))).collect();
                (id, of)
            }).collect();
            let shared = group_findings(named.iter().map(|(id, findings)| (id.as_str(), findings.as_slice())));
            let counted: usize = shared.iter().map(|it| it.databases.len()).sum();
            prop_assert_eq!(counted, named.iter().map(|(_, findings)| findings.len()).sum::<usize>());
            for it in &shared {
                for id in &it.databases {
                    let of = &named.iter().find(|(name, _)| name == id).unwrap().1;
                    prop_assert!(of.iter().any(|own| own.code == it.finding.code && own.message == it.finding.message));
                    prop_assert!(it.finding.remedy.split([' ', ';']).any(|word| word == id));
                }
            }
        });
    }
}
