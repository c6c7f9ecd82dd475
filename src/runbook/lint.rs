//! What will fail somebody one day, although it can be run: an overdue review, a missing command, something
//! that is created and never undone.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};

use super::confined::ReadsOnly;
use super::document::{Act, Kind, Runbook, Script, Step};
use super::evaluation::{self, ByHand};
use super::fault::{Fault, Faults, Position};
use super::read_only_step;
use super::shell::{Scan, is_there};

/// Why a call of lifeboat is invalid, if it is.
pub(crate) type Understands<'a> = &'a dyn Fn(&[String]) -> Result<(), String>;

/// Everything that is wrong with a runbook, in order.
pub(crate) fn lint_runbook(
    runbook: &Runbook,
    now: DateTime<Utc>,
    understands: Understands<'_>,
    reads_only: ReadsOnly<'_>,
) -> Vec<Fault> {
    let mut faults = runbook.faults.clone();
    if runbook.text.is_empty() {
        return faults.0;
    }
    review(runbook, now, &mut faults);
    let known = runbook.names();
    for step in &runbook.steps {
        of_step(step, &mut faults);
        judge_promise(step, runbook, reads_only, &mut faults);
        for (role, script) in step.scripts() {
            if role.is_empty() && matches!(step.kind, Kind::Sql(..)) {
                continue;
            }
            let what = format!("{role}`{}`", step.id);
            let is_known = |name: &str| known.contains_key(name);
            of_script(&what, script, &is_known, understands, &mut faults);
            if role.starts_with("by-hand") && Scan::of_text(&script.text).calls("lifeboat").next().is_some() {
                faults.shortfall(script.at, "by-hand", format!("the {what} calls lifeboat itself"));
            }
        }
    }
    let free = runbook.free_names();
    let plain: BTreeSet<String> = known.keys().filter(|name| !free.contains(*name)).cloned().collect();
    for found in evaluation::list_evaluations(runbook, &plain, ByHand::Included) {
        faults.shortfall(found.at, "evaluated", found.message).hint(
            "Pass it as a separate argument: `[ \"$value\" -gt 0 ]`, `psql -v name=\"$value\"`, `bash -c '…' _ \"$value\"`.",
        );
    }
    for command in &runbook.front.needs.commands {
        if !is_there(command) {
            let at = position_of(&runbook.text, "needs:");
            faults
                .shortfall(at, "command", format!("`{command}` is not installed"))
                .hint("Install it, or take it out of `needs`.");
        }
    }
    faults.sort();
    faults.0
}

fn review(runbook: &Runbook, now: DateTime<Utc>, faults: &mut Faults) {
    let Some(review_by) = runbook.front.review_by else { return };
    let at = position_of(&runbook.text, "review_by:");
    match (review_by - now.date_naive()).num_days() {
        days @ ..0 => faults
            .shortfall(at, "review", format!("this runbook was due for review {} days ago", -days))
            .hint("Rehearse it, read it, and set a new `review_by`."),
        days @ ..=14 => {
            faults.note(at, "review", format!("this runbook is due for review in {days} days"));
        }
        _ => {}
    }
}

fn position_of(text: &str, word: &str) -> Position {
    let line = text.lines().position(|line| line.trim_start().starts_with(word));
    Position { line: line.map_or(1, |line| line + 1), column: 1 }
}

fn of_step(step: &Step, faults: &mut Faults) {
    let Some(act) = step.kind.act() else { return };
    let id = &step.id;
    if !act.creates.is_empty() {
        let made = act.creates.join(", ");
        if step.undo.is_none() {
            faults
                .shortfall(step.at, "undo", format!("step `{id}` creates {made}, and nothing undoes it"))
                .hint(format!("Add a block ```undo for={id}."));
        }
        if step.probe.is_none() {
            faults
                .shortfall(
                    step.at,
                    "probe",
                    format!("step `{id}` creates {made}, and nothing checks whether it exists"),
                )
                .hint(format!("Add a block ```probe for={id}: exit code 0 if it exists."));
        }
    } else if !act.read_only && step.probe.is_none() {
        faults
            .note(
                step.at,
                "probe",
                format!("after a crash, somebody must decide whether step `{id}` happened"),
            )
            .hint(format!("Add a block ```probe for={id}, or `read-only` if it changes nothing."));
    }
    if step.timeout.is_none() {
        faults.note(step.at, "timeout", format!("step `{id}` has no `timeout`: the default is 5 minutes"));
    }
    if act.read_only && !act.creates.is_empty() {
        faults.malformed(step.at, "read-only", format!("step `{id}` is read-only and creates something"));
    }
    if let Kind::Sh(act) = &step.kind {
        of_shell(step, act, faults);
    }
}

/// A step that says `read-only` is run in a plan, and repeated after an interruption, only if it is confined.
fn judge_promise(step: &Step, runbook: &Runbook, reads_only: ReadsOnly<'_>, faults: &mut Faults) {
    let Some(act) = step.kind.act().filter(|act| act.read_only) else { return };
    let Some(refusal) = read_only_step::first_refusal(step, runbook, reads_only) else { return };
    let what = format!("step `{}` says `read-only`, but a plan cannot verify it: {}", step.id, refusal.why);
    faults.shortfall(below(act.script.at, refusal.line), "read-only", what).hint(
        "Write one command per line, using only `aws`, `lifeboat`, `test`, `ls`, `df` and `date`, or one SQL query; or leave out `read-only` and add a `probe`.",
    );
}

fn of_shell(step: &Step, act: &Act, faults: &mut Faults) {
    let (id, scan) = (&step.id, Scan::of_text(&act.script.text));
    if scan.calls("lifeboat").next().is_some() && step.by_hand.is_empty() {
        faults
            .shortfall(
                step.at,
                "by-hand",
                format!("step `{id}` calls lifeboat, and the runbook does not say how to do it without"),
            )
            .hint(format!("Add a block ```sh by-hand={id} with aws and psql alone."));
    }
    for name in act.sets.iter().filter(|name| !scan.set.contains(*name)) {
        faults.shortfall(step.at, "sets", format!("step `{id}` does not set `{name}`"));
    }
}

fn of_script(
    what: &str,
    script: &Script,
    is_known: &dyn Fn(&str) -> bool,
    understands: Understands<'_>,
    faults: &mut Faults,
) {
    let scan = Scan::of_text(&script.text);
    for (name, line) in &scan.bare {
        if is_known(name) && name != "run_mode" {
            faults
                .shortfall(
                    below(script.at, *line),
                    "quotes",
                    format!("`${name}` is outside double quotes in {what}"),
                )
                .hint(format!("Write `\"${name}\"`: a space in its value would split it."));
        }
    }
    for (name, line) in &scan.used {
        let is_ours =
            name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_') && name != "_";
        if is_ours && !is_known(name) && !scan.set.contains(name) {
            faults.shortfall(
                below(script.at, *line),
                "variable",
                format!("`${name}` in {what} is neither a parameter nor set by a step"),
            );
        }
    }
    for (program, line) in scan.programs() {
        if program != "lifeboat" && !is_there(program) {
            faults.shortfall(
                below(script.at, line),
                "command",
                format!("`{program}` in {what} is not installed"),
            );
        }
    }
    for call in scan.calls("lifeboat") {
        if let Err(why) = understands(&call.words) {
            faults.shortfall(
                below(script.at, call.line),
                "command",
                format!("this version of lifeboat rejects a call in {what}: {why}"),
            );
        }
    }
    if let Some((line, why)) = syntax_error(&script.text) {
        faults.shortfall(below(script.at, line), "syntax", format!("the shell cannot parse {what}: {why}"));
    }
}

fn below(at: Position, lines: usize) -> Position {
    Position { line: at.line + lines, ..at }
}

/// Syntax errors, from the shell itself, which runs nothing.
fn syntax_error(text: &str) -> Option<(usize, String)> {
    let done = std::process::Command::new("bash")
        .args(["--noprofile", "--norc", "-n", "-c", text])
        .env_remove("BASH_ENV")
        .env("LC_ALL", "C")
        .output()
        .ok()?;
    if done.status.success() {
        return None;
    }
    let said = String::from_utf8_lossy(&done.stderr);
    let first = said.lines().next().unwrap_or_default();
    let (place, why) = first.split_once("line ")?.1.split_once(": ")?;
    Some((place.parse::<usize>().ok()?.saturating_sub(1), why.to_owned()))
}
