//! What later steps need, checked before the first one changes anything: programs, files, URLs, databases with their tables, and
//! permissions. Reads only.
//!
//! What is certainly missing keeps a run from starting. What may be missing is reported: the table that a run will restore does not
//! exist, an application that is down does not answer, and a policy with tag conditions cannot be evaluated beforehand.

mod databases;
mod finding;
mod rights;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::document::{Kind, Mode, NeedsFile, Step};
use super::shell::{Scan, is_there};
use super::state::StepState;
use super::values::{Values, compile_line_pattern, placeholders};
pub(super) use finding::PreflightContext;
pub(crate) use finding::{Finding, Presence};

use crate::error::{Error, Result};

/// Checks everything that the remaining steps need.
pub(super) async fn find_missing(
    ground: &PreflightContext<'_>,
    state_of: &dyn Fn(&str) -> StepState,
) -> Result<Vec<Finding>> {
    let steps: Vec<&Step> = ground
        .runbook
        .steps
        .iter()
        .filter(|step| step.only.is_none_or(|only| only == ground.mode))
        .filter(|step| {
            !matches!(state_of(&step.id), StepState::Done | StepState::Skipped | StepState::Undone)
        })
        .collect();
    let is_begun = ground.runbook.steps.iter().any(|step| state_of(&step.id) != StepState::Todo);
    let used = names_used(&steps);
    let mut findings = check_programs(&steps, ground);
    let is_needed = |text: &str| {
        let names = placeholders(text);
        names.is_empty() || names.iter().any(|name| used.contains(&name.replace('.', "_")))
    };
    for file in ground.runbook.front.needs.files.iter().filter(|file| is_needed(&file.path)) {
        findings.extend(check_file(file, ground));
    }
    for step in &steps {
        if let Kind::Wait(waiting) = &step.kind
            && let Some((url, code)) = waiting.condition.url()
            && let Some(url) = ground.fill(url)
        {
            findings.push(check_url(&step.id, &url, code).await);
        }
    }
    for needed in ground.runbook.front.needs.databases.iter().filter(|it| it.names().any(&is_needed)) {
        findings.extend(databases::check_database(needed, ground, is_begun).await?);
    }
    findings.extend(rights::check_rights(&steps, ground).await);
    Ok(findings)
}

/// Refuses to start if something is certainly missing; returns what is doubtful.
pub(super) fn refuse_missing(findings: Vec<Finding>, what: &str) -> Result<Vec<String>> {
    let of = |state| {
        let found = findings.iter().filter(move |finding: &&Finding| finding.state == state);
        found.map(|finding| finding.text.clone()).collect::<Vec<_>>()
    };
    let missing = of(Presence::Missing);
    if missing.is_empty() {
        return Ok(of(Presence::Doubtful));
    }
    Err(Error::new(crate::error::Kind::Guard, format!("{what}, because later steps would fail: {}", missing.join("; ")))
        .hint("Fix that, or pass another value with `--set`. `lifeboat runbook plan` checks everything and changes nothing.")
        .hint("`--without-preflight` starts anyway."))
}

/// Names of values that steps use.
fn names_used(steps: &[&Step]) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for step in steps {
        let act = step.kind.act();
        let scripts = [act.map(|act| &act.script), step.probe.as_ref(), step.undo.as_ref()];
        for script in scripts.into_iter().flatten() {
            used.extend(Scan::of_text(&script.text).used.into_iter().map(|(name, _)| name));
            used.extend(script.text.split(':').skip(1).map(|part| {
                part.trim_start_matches(['\'', '"'])
                    .chars()
                    .take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '_')
                    .collect()
            }));
        }
        if let Kind::Sql(_, place) = &step.kind {
            used.extend(place.on.iter().map(|on| on.trim_matches(['{', '}', '$', ' ']).to_owned()));
        }
        let objects = act.into_iter().flat_map(|act| &act.creates);
        used.extend(objects.flat_map(|object| placeholders(object)).map(|name| name.replace('.', "_")));
    }
    used
}

fn check_programs(steps: &[&Step], ground: &PreflightContext<'_>) -> Vec<Finding> {
    let mut missing: BTreeSet<String> = BTreeSet::new();
    let mut findings = Vec::new();
    for command in &ground.runbook.front.needs.commands {
        if !is_there(command) && missing.insert(command.clone()) {
            findings.push(Finding::new(Presence::Missing, format!("`{command}` is not installed")));
        }
    }
    for step in steps {
        let undo = step.undo.as_ref().filter(|_| ground.mode == Mode::Rehearse);
        for script in
            [step.kind.act().map(|act| &act.script), step.probe.as_ref(), undo].into_iter().flatten()
        {
            if matches!(step.kind, Kind::Sql(..))
                && step.kind.act().is_some_and(|act| act.script.at == script.at)
            {
                continue;
            }
            for (program, why) in missing_programs(&script.text, ground.values) {
                if missing.insert(program) {
                    findings.push(Finding::new(Presence::Missing, format!("step `{}` needs {why}", step.id)));
                }
            }
        }
    }
    findings
}

/// Programs that are missing, with what is wrong. A program that an earlier step may create, since its path is in the script, is not
/// checked.
pub(super) fn missing_programs(text: &str, values: &Values) -> Vec<(String, String)> {
    let scan = Scan::of_text(text);
    let plain = scan.programs().into_iter().map(|(program, _)| program.to_owned());
    let plain = plain.filter(|program| program != "lifeboat" && !program.contains('/'));
    let named = scan.commands.iter().filter_map(|command| command.words.first()?.strip_prefix('$'));
    let named = named.filter(|name| !scan.set.contains(*name)).filter_map(|name| values.get(name));
    plain
        .filter(|program| !is_there(program) && !is_known_to_the_shell(program))
        .map(|program| (program.clone(), format!("`{program}`, which is not installed")))
        .chain(named.filter(|path| !is_there(path)).map(|path| (path.to_owned(), why_no_program(path))))
        .collect()
}

fn why_no_program(path: &str) -> String {
    match Path::new(path).exists() {
        true => format!("`{path}`, which is not an executable file"),
        false if path.contains('/') => format!("`{path}`, which does not exist"),
        false => format!("`{path}`, which is not installed"),
    }
}

/// Keywords and what the shell does by itself.
fn is_known_to_the_shell(word: &str) -> bool {
    let asked = std::process::Command::new("bash")
        .args(["--noprofile", "--norc", "-c", "type -t -- \"$1\"", "_", word])
        .env_remove("BASH_ENV")
        .stdin(std::process::Stdio::null())
        .output();
    asked.is_ok_and(|done| done.status.success())
}

/// A file that is read, and replaced by another one in its folder.
fn check_file(file: &NeedsFile, ground: &PreflightContext<'_>) -> Option<Finding> {
    let mut path = file.path.clone();
    for (name, value) in ground.variables {
        path = path.replace(&format!("${name}"), value);
    }
    let path = PathBuf::from(ground.fill(&path)?);
    let shown = path.display();
    let missing = |why: &str| Some(Finding::new(Presence::Missing, format!("`{shown}` {why}")));
    if !path.exists() {
        return missing("does not exist");
    }
    if !path.is_file() {
        return missing("is not a file");
    }
    if access(&path, Access::READ_OK).is_err() {
        return missing("cannot be read by this user");
    }
    if file.is_replaced {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if access(folder, Access::WRITE_OK).is_err() {
            return missing(&format!(
                "cannot be replaced: this user may not write to `{}`",
                folder.display()
            ));
        }
    }
    if let Some(pattern) = &file.has {
        let text = std::fs::read(&path).unwrap_or_default();
        let has =
            compile_line_pattern(pattern).is_ok_and(|line| line.is_match(&String::from_utf8_lossy(&text)));
        if !has {
            return missing(&format!("has no line that matches `{pattern}`"));
        }
    }
    Some(Finding::new(Presence::There, format!("`{shown}` exists")))
}

async fn check_url(step: &str, url: &str, wanted: u16) -> Finding {
    let doubt = |why: String| {
        Finding::new(
            Presence::Doubtful,
            format!("step `{step}` waits for {url} to answer {wanted}, and at present {why}"),
        )
    };
    match crate::web::status(url).await {
        Ok(code) if code == wanted => Finding::new(Presence::There, format!("{url} answers {code}")),
        // What the run will repair may be down.
        Ok(code @ 500..) => Finding::new(Presence::There, format!("{url} answers {code}, not yet {wanted}")),
        Ok(code) => doubt(format!("it answers {code}")),
        Err(error) => doubt(format!("it does not answer: {}", error.chain())),
    }
}
