//! What a run would do: every step with its values filled in. Steps that say `read-only` and are confined to read-only commands are
//! run, as far as nothing before them would have changed what they see; nothing is changed, and nothing is written.

use std::time::Duration;

use serde::Serialize;

use super::confined::ReadsOnly;
use super::document::{Kind, Mode, Runbook, Step};
use super::expect::Observed;
use super::objects::{self, ObjectState};
use super::preflight::{self, Finding, PreflightContext, Presence};
use super::read_only_step::{self, Reading};
use super::redact::Redactor;
use super::script::{self, Done, Ended, Settings};
use super::state::StepState;
use super::values::Values;
use crate::aws::Aws;
use crate::error::Result;
use crate::interrupt::Interrupt;

/// What would be done (`lifeboat.runbook.plan/1`).
#[derive(Debug, Serialize)]
pub(crate) struct Plan {
    schema: &'static str,
    /// Name of the runbook.
    pub runbook: String,
    /// SHA-256 of the file.
    pub sha256: String,
    pub title: String,
    /// Whether the run would be real or a rehearsal.
    pub mode: Mode,
    /// Who would run it.
    pub identity: String,
    /// AWS account.
    pub account: Option<String>,
    /// AWS Region.
    pub region: Option<String>,
    /// How long it may take.
    pub rto_seconds: Option<f64>,
    /// Values, without the secret ones.
    pub values: std::collections::BTreeMap<String, String>,
    /// Steps, in order.
    pub steps: Vec<Planned>,
    /// What would stop the run, as far as known.
    pub findings: Vec<String>,
    /// What may stop it.
    pub doubts: Vec<String>,
    /// What later steps need, as far as checked.
    pub needs: Vec<Finding>,
}

/// One step.
#[derive(Debug, Serialize)]
pub(crate) struct Planned {
    pub id: String,
    /// The heading above it.
    pub title: String,
    pub role: &'static str,
    /// The result.
    pub state: Prospect,
    /// What would be run, asked or waited for.
    pub text: String,
    /// What it would create.
    pub creates: Vec<String>,
    /// Its output, if it was run.
    pub output: Option<String>,
    /// The reason.
    pub reason: Option<String>,
    /// How long it may take.
    pub timeout_seconds: Option<f64>,
}

/// What a plan knows of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Prospect {
    /// It is read-only, was run, and all is as expected.
    Holds,
    /// It is read-only, was run, and something is not as expected.
    DoesNotHold,
    /// It is read-only, and could not be run.
    Failed,
    /// It says `read-only`, but that cannot be verified: a plan does not run it.
    NotRun,
    WouldRun,
    /// It is read-only, but reads what earlier steps create.
    Later,
    /// Somebody would be asked.
    WouldAsk,
    /// It is not for this mode.
    Skipped,
}

/// The context of a plan.
pub(crate) struct PlanContext<'a> {
    /// AWS, if the runbook needs it.
    pub aws: Option<&'a Aws>,
    /// Signals.
    pub interrupt: &'a Interrupt,
    /// Variables for commands.
    pub variables: &'a [(String, String)],
    /// Who would run it.
    pub by: super::journal::Actor,
    /// Which calls of lifeboat are read-only.
    pub reads_only: ReadsOnly<'a>,
    pub now: chrono::DateTime<chrono::Utc>,
    /// Called with the step that is being run.
    pub tell: &'a dyn Fn(&str),
}

/// Makes the plan.
pub(crate) async fn plan_run(
    runbook: &Runbook,
    mode: Mode,
    mut values: Values,
    to: &PlanContext<'_>,
) -> Result<Plan> {
    let mut redactor = Redactor::hiding(values.secrets());
    let open = values.list_public().into_iter().map(|(name, value)| (name, redactor.clean(&value))).collect();
    let mut plan = Plan {
        schema: "lifeboat.runbook.plan/1",
        runbook: runbook.origin.file_stem(),
        sha256: runbook.sha256.clone(),
        title: runbook.front.title.clone(),
        mode,
        identity: to.by.identity.clone(),
        account: to.by.account.clone(),
        region: to.by.region.clone(),
        rto_seconds: runbook.front.rto.map(|rto| rto.as_secs_f64()),
        values: open,
        steps: Vec::new(),
        findings: Vec::new(),
        doubts: Vec::new(),
        needs: Vec::new(),
    };
    (to.tell)("what later steps need");
    let ground = PreflightContext {
        runbook,
        mode,
        values: &values,
        aws: to.aws,
        variables: to.variables,
        identity: &to.by.identity,
        now: to.now,
    };
    for mut need in preflight::find_missing(&ground, &|_| StepState::Todo).await? {
        need.text = redactor.clean(&need.text);
        match need.state {
            Presence::Missing => plan.findings.push(need.text.clone()),
            Presence::Doubtful => plan.doubts.push(need.text.clone()),
            Presence::There | Presence::Unknown => {}
        }
        plan.needs.push(need);
    }
    let mut is_before_changes = true;
    for step in &runbook.steps {
        let mut planned = plan_step(step, &values, &redactor);
        if step.only.is_some_and(|only| only != mode) {
            planned.state = Prospect::Skipped;
            planned.reason = step.only.map(|only| format!("only {}", only.word()));
            plan.steps.push(planned);
            continue;
        }
        match &step.kind {
            Kind::Sh(act) | Kind::Sql(act, _) if act.read_only && is_before_changes => {
                match read_only_step::confine_step(step, runbook, &values, to.reads_only) {
                    Ok(reading) => {
                        (to.tell)(&step.id);
                        (planned.state, planned.reason) =
                            check_step(step, reading, &mut planned, &mut values, &mut redactor, to).await?;
                        if let (Prospect::NotRun, Some(reason)) = (planned.state, &planned.reason) {
                            plan.findings.push(format!("`{}` fails: {reason}", step.id));
                        }
                    }
                    Err(why) => {
                        planned.state = Prospect::NotRun;
                        planned.reason = Some(redactor.clean(&format!("not run in a plan: {why}")));
                    }
                }
                if let (Prospect::DoesNotHold | Prospect::Failed, Some(reason)) =
                    (planned.state, &planned.reason)
                {
                    plan.findings.push(format!("`{}` {reason}", step.id));
                }
            }
            Kind::Sh(act) | Kind::Sql(act, _) if act.read_only => planned.state = Prospect::Later,
            Kind::Sh(act) | Kind::Sql(act, _) => {
                for object in objects::fill_names(&act.creates, &values).unwrap_or_default() {
                    if let ObjectState::There(_) = objects::find_object(&object, to.aws).await? {
                        plan.findings
                            .push(format!("`{}` would create `{object}`, which already exists", step.id));
                    }
                }
                planned.reason = Some(format!("not run in a plan: {}", read_only_step::NO_PROMISE));
                is_before_changes = false;
            }
            Kind::Wait(_) => {}
            Kind::Confirm { .. } | Kind::Manual { .. } | Kind::Approve { .. } => {
                planned.state = Prospect::WouldAsk;
                // What a person does by hand changes what later steps see.
                is_before_changes &= !matches!(step.kind, Kind::Manual { .. });
            }
        }
        plan.steps.push(planned);
    }
    Ok(plan)
}

fn plan_step(step: &Step, values: &Values, redactor: &Redactor) -> Planned {
    let (text, creates) = match &step.kind {
        Kind::Sh(act) | Kind::Sql(act, _) => {
            (filled_in(&act.script.text, values, matches!(step.kind, Kind::Sql(..))), act.creates.clone())
        }
        Kind::Wait(waiting) => (values.fill_for_display(&waiting.condition.text), Vec::new()),
        Kind::Confirm { text, .. } | Kind::Manual { text } | Kind::Approve { text, .. } => {
            (values.fill_for_display(text), Vec::new())
        }
    };
    Planned {
        id: step.id.clone(),
        title: step.title.clone(),
        role: step.kind.role(),
        state: Prospect::WouldRun,
        text: redactor.clean(&text),
        creates: creates.iter().map(|object| redactor.clean(&values.fill_for_display(object))).collect(),
        output: None,
        reason: None,
        timeout_seconds: step.timeout.map(|timeout| timeout.as_secs_f64()),
    }
}

/// Only for display: scripts get their values as variables.
fn filled_in(text: &str, values: &Values, is_sql: bool) -> String {
    let mut pairs: Vec<(&str, &str)> = values.iter().filter(|(name, _)| !values.is_secret(name)).collect();
    pairs.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    let mut shown = text.to_owned();
    for (name, value) in pairs {
        if is_sql {
            shown = shown.replace(&format!(":'{name}'"), &format!("'{}'", value.replace('\'', "''")));
            continue;
        }
        shown = shown.replace(&format!("${{{name}}}"), value);
        let mut filled = String::new();
        let mut rest = shown.as_str();
        let written = format!("${name}");
        while let Some(at) = rest.find(&written) {
            let after = &rest[at + written.len()..];
            let is_longer = after.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
            filled.push_str(&rest[..at]);
            filled.push_str(if is_longer { &written } else { value });
            rest = after;
        }
        filled.push_str(rest);
        shown = filled;
    }
    shown
}

async fn check_step(
    step: &Step,
    reading: Reading,
    planned: &mut Planned,
    values: &mut Values,
    redactor: &mut Redactor,
    to: &PlanContext<'_>,
) -> Result<(Prospect, Option<String>)> {
    let Some(act) = step.kind.act() else { return Ok((planned.state, None)) };
    let settings = Settings {
        values,
        variables: to.variables,
        timeout: step.timeout.unwrap_or(Duration::from_secs(300)),
        lock: None,
        interrupt: to.interrupt,
        redactor,
    };
    let done = match read_only_step::run_reading(reading, to.aws, &settings, |_| Ok(()), |_| ()).await {
        Ok(done) => done,
        Err(error) => Done { exit: Some(127), stderr: error.chain(), ..Done::default() },
    };
    let is_whole = done.end == Ended::ByItself && done.exit == Some(0);
    let found = done.found(act);
    for (name, value) in found.iter().flatten().filter(|_| is_whole) {
        if act.secret {
            redactor.hide(value);
        }
        values.set(name, value, act.secret);
    }
    if let Ended::Interrupted(kind) = done.end {
        return Err(crate::error::Error::new(kind, "interrupted while planning; nothing was changed"));
    }
    let said = if act.secret { "[secret]".to_owned() } else { redactor.clean(done.stdout.trim()) };
    planned.output = Some(said).filter(|said| !said.is_empty());
    if let Some(why) = &done.refused {
        return Ok((Prospect::NotRun, Some(redactor.clean(&format!("not run in a plan: {why}")))));
    }
    if let (true, Err(why)) = (is_whole, &found) {
        return Ok((Prospect::Failed, Some(format!("failed: it {why}"))));
    }
    if !is_whole {
        let last = script::last_words(&done.stderr).unwrap_or("it printed nothing");
        return Ok((Prospect::Failed, Some(redactor.clean(&format!("failed: {last}")))));
    }
    let observed = Observed { stdout: done.stdout, stderr: done.stderr, exit: 0 };
    let unmet = step
        .expects
        .iter()
        .find_map(|assertion| Some((assertion, assertion.judge(&observed, values).err()?)));
    Ok(match unmet {
        None => (Prospect::Holds, None),
        Some((assertion, why)) => {
            let reason = format!("does not hold: `{}`, {why}", assertion.text);
            (Prospect::DoesNotHold, Some(redactor.clean(&reason)))
        }
    })
}
