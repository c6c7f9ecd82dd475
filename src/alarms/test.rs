//! Proof that an alarm arrives: it is set off by hand, CloudWatch's history shows whether its actions succeeded, and, if the
//! user names an inbox, that the message arrived. The state is always restored.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio::time::Instant;

use crate::aws::Aws;
use crate::error::{Error, Kind, Result};
use crate::interrupt::Interrupt;
use crate::rds::AlarmState;
use crate::web;

/// How often the history and the inbox are polled.
const POLL: Duration = Duration::from_secs(1);

/// The result of an action.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    /// ARN of the topic or other action.
    pub action: String,
    /// `succeeded`, `failed` or `unknown`.
    pub result: &'static str,
    /// CloudWatch's message.
    pub said: Option<String>,
}

/// The result of a test.
#[derive(Debug, Serialize)]
pub(crate) struct TestReport {
    /// `lifeboat.alarms.test/1`.
    pub schema: &'static str,
    pub alarm: String,
    /// `pass`, `fail` or `unknown`.
    pub verdict: &'static str,
    pub actions: Vec<Outcome>,
    /// Whether the message was seen in the inbox; absent if none was given.
    pub arrived: Option<bool>,
    /// The state before, and again after the test.
    pub state: AlarmState,
    /// Whether the state was restored.
    pub put_back: bool,
    /// How long the test took.
    pub seconds: f64,
}

impl TestReport {
    /// The exit code.
    pub(crate) fn kind(&self) -> Option<Kind> {
        match self.verdict {
            "pass" => None,
            "fail" => Some(Kind::No),
            _ => Some(Kind::Outside),
        }
    }
}

/// The settings of a test.
#[derive(Clone, Debug)]
pub(crate) struct Test {
    pub alarm: String,
    /// A unique mark that identifies the message.
    pub mark: String,
    /// A URL that shows the messages that have arrived.
    pub inbox: Option<String>,
    /// How long to wait.
    pub patience: Duration,
}

/// Sets an alarm off and follows its actions.
pub(crate) async fn test_alarm(
    aws: &Aws,
    test: &Test,
    here: DateTime<Utc>,
    interrupt: &Interrupt,
) -> Result<TestReport> {
    let Test { alarm: name, mark, .. } = test;
    let alarm = aws.alarm(name).await?.ok_or_else(|| {
        Error::request(format!("there is no alarm `{name}` in {}", aws.region())).hint(
            "`lifeboat alarms list` lists lifeboat's own alarms, `aws cloudwatch describe-alarms` all of them.",
        )
    })?;
    let spec = &alarm.spec;
    let cannot = if spec.alarm_actions.is_empty() {
        Some("there is no action for the state ALARM")
    } else if !spec.actions_enabled {
        Some("its actions are disabled")
    } else {
        None
    };
    if let Some(why) = cannot {
        return Err(Error::new(Kind::No, format!("alarm `{name}` notifies nobody: {why}"))
            .hint("Give it a topic (`lifeboat alarms apply` does for its own), or `aws cloudwatch enable-alarm-actions`."));
    }
    let began = Instant::now();
    // The history goes by AWS's clock. A clock slightly ahead of ours must not hide what follows.
    let since = aws.now(here) - chrono::TimeDelta::seconds(2);
    let seen_before: Vec<String> =
        aws.alarm_actions_since(name, since).await?.into_iter().map(|item| item.details).collect();
    let reason = format!("lifeboat alarms test {mark}: this is a test; the previous state will be restored");
    let before = alarm.state.clone();
    if before == AlarmState::Alarm {
        // Actions happen on changes of state only.
        aws.set_alarm_state(name, &AlarmState::InsufficientData, &reason).await?;
    }
    let set = aws.set_alarm_state(name, &AlarmState::Alarm, &reason).await;
    let followed = match set {
        Ok(()) => follow(aws, test, &spec.alarm_actions, since, &seen_before, interrupt).await,
        Err(failure) => Err(failure.into()),
    };
    // CloudWatch restores the state of a metric alarm at its next evaluation, but not that of a composite alarm.
    let put_back = before == AlarmState::Alarm || aws.set_alarm_state(name, &before, &reason).await.is_ok();
    let (actions, arrived) = followed?;
    let verdict = if actions.iter().any(|one| one.result == "failed") || arrived == Some(false) {
        "fail"
    } else if actions.iter().all(|one| one.result == "succeeded") {
        "pass"
    } else {
        "unknown"
    };
    Ok(TestReport {
        schema: "lifeboat.alarms.test/1",
        alarm: name.to_owned(),
        verdict,
        actions,
        arrived,
        state: before,
        put_back,
        seconds: began.elapsed().as_secs_f64(),
    })
}

async fn follow(
    aws: &Aws,
    test: &Test,
    wanted: &[String],
    since: DateTime<Utc>,
    seen_before: &[String],
    interrupt: &Interrupt,
) -> Result<(Vec<Outcome>, Option<bool>)> {
    let give_up = Instant::now() + test.patience;
    let mut arrived = test.inbox.as_ref().map(|_| false);
    loop {
        let history = aws.alarm_actions_since(&test.alarm, since).await?;
        let fresh: Vec<_> = history.into_iter().filter(|item| !seen_before.contains(&item.details)).collect();
        let outcomes: Vec<Outcome> = wanted
            .iter()
            .map(|action| {
                let item = fresh.iter().find(|item| item.concerns(action));
                let result = match item.and_then(|item| item.has_succeeded) {
                    Some(true) => "succeeded",
                    Some(false) => "failed",
                    None => "unknown",
                };
                Outcome { action: action.clone(), result, said: item.map(|item| item.summary.clone()) }
            })
            .collect();
        if let (Some(inbox), Some(false)) = (&test.inbox, arrived) {
            arrived = Some(web::get(inbox).await?.contains(&test.mark));
        }
        let is_known = outcomes.iter().all(|one| one.result != "unknown");
        let has_failed = outcomes.iter().any(|one| one.result == "failed");
        if (is_known && (arrived != Some(false) || has_failed)) || Instant::now() >= give_up {
            return Ok((outcomes, arrived));
        }
        tokio::select! {
            kind = interrupt.wait(1) => return Err(Error::new(kind, "interrupted; the alarm's state was restored")),
            () = tokio::time::sleep(POLL) => {}
        }
    }
}
