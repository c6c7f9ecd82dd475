//! What the control endpoint injects: faults in calls, outcomes of restores, SQL in restored instances.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::error::{ApiError, status_of};
use crate::resources::ForcedStatus;
use crate::wire::Query;

/// How a call fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Refused before anything is done.
    Refuse(ApiError),
    /// Performed, and then the connection closes without an answer.
    LoseResponse,
    /// The connection closes before anything is done.
    Cut,
    /// Performed, and answered this much later.
    Slow(Duration),
}

/// A request for faults, as it is posted.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FaultRequest {
    /// An API action, or `*`.
    action: String,
    /// Only in this Region.
    region: Option<String>,
    /// Only in this account.
    account: Option<String>,
    /// Only calls with a parameter that contains this text, such as the ARN of a role.
    about: Option<String>,
    fault: FaultName,
    code: Option<String>,
    message: Option<String>,
    status: Option<u16>,
    seconds: Option<f64>,
    times: Option<u32>,
    for_seconds: Option<f64>,
    /// Only calls beyond this rate.
    above_per_second: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum FaultName {
    Throttle,
    Error,
    LostResponse,
    Cut,
    Slow,
}

/// A call, as far as faults depend on it.
#[derive(Debug)]
pub(crate) struct FaultTarget<'a> {
    pub(crate) action: &'a str,
    pub(crate) region: &'a str,
    pub(crate) account: &'a str,
    pub(crate) parameters: &'a Query,
}

#[derive(Debug)]
struct Rule {
    action: String,
    region: Option<String>,
    account: Option<String>,
    about: Option<String>,
    fault: Fault,
    left: Option<u32>,
    until: Option<Instant>,
    rate: Option<Rate>,
}

/// A token bucket: it admits `per_second` calls each second, and up to as many at once after a pause.
#[derive(Debug)]
struct Rate {
    per_second: f64,
    tokens: f64,
    at: Instant,
}

impl Rate {
    /// Whether a call made now is admitted.
    fn admits(&mut self, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        (self.tokens, self.at) = ((self.tokens + since * self.per_second).min(self.per_second.max(1.0)), now);
        let is_admitted = self.tokens >= 1.0;
        if is_admitted {
            self.tokens -= 1.0;
        }
        is_admitted
    }
}

impl Rule {
    fn applies_to(&self, call: &FaultTarget<'_>) -> bool {
        let is = |wanted: &Option<String>, has: &str| wanted.as_deref().is_none_or(|wanted| wanted == has);
        (self.action == "*" || self.action == call.action)
            && is(&self.region, call.region)
            && is(&self.account, call.account)
            && self.about.as_ref().is_none_or(|about| call.parameters.mentions(about))
    }
}

/// SQL that runs in restored instances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RestoredSql {
    pub(crate) database: String,
    pub(crate) sql: String,
    #[serde(default = "default_times")]
    times: u32,
}

fn default_times() -> u32 {
    1
}

/// Everything that was injected and is not used up.
#[derive(Debug, Default)]
pub(crate) struct InjectedFaults {
    rules: Mutex<Vec<Rule>>,
    outcomes: Mutex<Vec<ForcedStatus>>,
    sql: Mutex<Vec<RestoredSql>>,
}

impl InjectedFaults {
    /// # Errors
    ///
    /// When the request contradicts itself; the message is for the person who posted it.
    pub(crate) fn add_fault(&self, request: FaultRequest) -> Result<(), String> {
        build_rule(request).map(|rule| lock_list(&self.rules).push(rule))
    }

    pub(crate) fn clear_faults(&self) {
        lock_list(&self.rules).clear();
    }

    /// The fault that a call meets; it is used up by this.
    pub(crate) fn take_fault(&self, call: &FaultTarget<'_>, now: Instant) -> Option<Fault> {
        let mut rules = lock_list(&self.rules);
        rules.retain(|rule| rule.until.is_none_or(|until| now < until));
        let index = rules.iter_mut().position(|rule| {
            rule.applies_to(call) && rule.rate.as_mut().is_none_or(|rate| !rate.admits(now))
        })?;
        let rule = &mut rules[index];
        let fault = rule.fault.clone();
        if let Some(left) = &mut rule.left {
            *left -= 1;
            if *left == 0 {
                rules.remove(index);
            }
        }
        Some(fault)
    }

    /// Whether a call would be refused for lack of a permission. Nothing is used up.
    pub(crate) fn would_deny(
        &self,
        action: &str,
        region: Option<&str>,
        account: &str,
        parameters: &Query,
    ) -> bool {
        let denial = |rule: &&Rule| matches!(&rule.fault, Fault::Refuse(error) if error.code.starts_with("AccessDenied"));
        lock_list(&self.rules).iter().filter(denial).any(|rule| {
            // An action on no Region's resource counts as one in every Region.
            let region = region.or(rule.region.as_deref()).unwrap_or_default();
            rule.applies_to(&FaultTarget { action, region, account, parameters })
        })
    }

    pub(crate) fn add_restore_outcome(&self, outcome: ForcedStatus) {
        lock_list(&self.outcomes).push(outcome);
    }

    /// The outcome that was injected for the restore that begins now.
    pub(crate) fn take_restore_outcome(&self) -> Option<ForcedStatus> {
        let mut outcomes = lock_list(&self.outcomes);
        (!outcomes.is_empty()).then(|| outcomes.remove(0))
    }

    pub(crate) fn clear_restore_outcomes(&self) {
        lock_list(&self.outcomes).clear();
    }

    /// # Errors
    ///
    /// When the SQL would never run.
    pub(crate) fn add_sql(&self, sql: RestoredSql) -> Result<(), String> {
        if sql.times == 0 {
            return Err("`times` must be at least 1".to_owned());
        }
        lock_list(&self.sql).push(sql);
        Ok(())
    }

    /// The SQL to run in the instance that is being restored now, in the order in which it was posted.
    pub(crate) fn take_sql(&self) -> Vec<RestoredSql> {
        let mut waiting = lock_list(&self.sql);
        let taken = waiting.clone();
        for entry in waiting.iter_mut() {
            entry.times -= 1;
        }
        waiting.retain(|entry| entry.times > 0);
        taken
    }

    /// Whether SQL is waiting for a restored instance.
    pub(crate) fn has_sql(&self) -> bool {
        !lock_list(&self.sql).is_empty()
    }

    pub(crate) fn clear_sql(&self) {
        lock_list(&self.sql).clear();
    }
}

fn build_rule(request: FaultRequest) -> Result<Rule, String> {
    if request.action.is_empty() {
        return Err("`action` is empty: name an API action, or `*` for any".to_owned());
    }
    if request.times == Some(0) {
        return Err("`times` must be at least 1".to_owned());
    }
    let fault = match request.fault {
        FaultName::Throttle => build_refusal("Throttling", "Rate exceeded", &request),
        FaultName::Error => build_refusal(
            "InternalFailure",
            "An internal error has occurred. Please try your query again.",
            &request,
        ),
        FaultName::LostResponse => Fault::LoseResponse,
        FaultName::Cut => Fault::Cut,
        FaultName::Slow => Fault::Slow(parse_span("seconds", request.seconds.unwrap_or(5.0))?),
    };
    let until = request.for_seconds.map(|seconds| parse_span("for_seconds", seconds)).transpose()?;
    // A fault with a duration or a rate has no count unless one is given too.
    let lasts = until.is_some() || request.above_per_second.is_some();
    let left = request.times.or(if lasts { None } else { Some(1) });
    let rate = match request.above_per_second {
        None => None,
        Some(per_second) if per_second > 0.0 && per_second.is_finite() => {
            Some(Rate { per_second, tokens: per_second.max(1.0), at: Instant::now() })
        }
        Some(other) => return Err(format!("`above_per_second` must be greater than 0, not {other}")),
    };
    let until = until.map(|span| Instant::now() + span);
    let FaultRequest { action, region, account, about, .. } = request;
    Ok(Rule { action, region, account, about, fault, left, until, rate })
}

fn build_refusal(code: &str, message: &str, request: &FaultRequest) -> Fault {
    let code = request.code.as_deref().unwrap_or(code);
    Fault::Refuse(ApiError {
        code: code.to_owned(),
        status: request.status.unwrap_or_else(|| status_of(code)),
        message: request.message.clone().unwrap_or_else(|| message_of(code).unwrap_or(message).to_owned()),
    })
}

/// AWS's messages for codes that tests often inject.
fn message_of(code: &str) -> Option<&'static str> {
    Some(match code {
        "InsufficientDBInstanceCapacity" => {
            "The requested DB instance class isn't available in the specified Availability Zone."
        }
        "InstanceQuotaExceeded" => "The request would exceed the allowed number of DB instances.",
        "SnapshotQuotaExceeded" => "The request would exceed the allowed number of DB snapshots.",
        "AccessDenied" => "The user is not authorized to perform this action.",
        _ => return None,
    })
}

fn parse_span(name: &str, seconds: f64) -> Result<Duration, String> {
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| format!("`{name}` must be a number of seconds, not {seconds}"))
}

fn lock_list<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn injected(requests: &[&str]) -> InjectedFaults {
        let injected = InjectedFaults::default();
        for request in requests {
            injected.add_fault(serde_json::from_str(request).unwrap()).unwrap();
        }
        injected
    }

    fn met<'a>(action: &'a str, parameters: &'a Query) -> FaultTarget<'a> {
        FaultTarget { action, region: "eu-west-1", account: "111122223333", parameters }
    }

    #[test]
    fn a_fault_can_be_limited_to_a_region_account_or_object() {
        let of = |more: &str| injected(&[&format!(r#"{{"action":"*","fault":"cut","times":9,{more}}}"#)]);
        let parameters = Query::from_pair("RoleArn", "arn:aws:iam::111122223333:role/x");
        let now = Instant::now();
        for (more, meets) in [
            (r#""region":"eu-west-1""#, true),
            (r#""region":"eu-west-2""#, false),
            (r#""account":"111122223333""#, true),
            (r#""account":"123456789012""#, false),
            (r#""about":"role/x""#, true),
            (r#""about":"role/y""#, false),
        ] {
            let met = of(more).take_fault(&met("AssumeRole", &parameters), now);
            assert_eq!(met.is_some(), meets, "{more}");
        }
    }

    #[test]
    fn a_fault_meets_its_action_as_many_times_as_requested() {
        let injected = injected(&[r#"{"action":"DescribeDBInstances","fault":"throttle","times":2}"#]);
        let now = Instant::now();
        assert_eq!(injected.take_fault(&met("CreateDBSnapshot", &Query::default()), now), None);
        for _ in 0..2 {
            let Some(Fault::Refuse(error)) =
                injected.take_fault(&met("DescribeDBInstances", &Query::default()), now)
            else {
                panic!("no fault")
            };
            assert_eq!((error.code.as_str(), error.status), ("Throttling", 400));
        }
        assert_eq!(injected.take_fault(&met("DescribeDBInstances", &Query::default()), now), None);
    }

    #[test]
    fn a_fault_for_a_time_has_no_count() {
        let injected = injected(&[r#"{"action":"*","fault":"cut","for_seconds":60}"#]);
        let now = Instant::now();
        for _ in 0..10 {
            assert_eq!(injected.take_fault(&met("Anything", &Query::default()), now), Some(Fault::Cut));
        }
        assert_eq!(
            injected.take_fault(&met("Anything", &Query::default()), now + Duration::from_secs(61)),
            None
        );
    }

    #[test]
    fn a_rate_admits_that_many_calls() {
        let injected = injected(&[r#"{"action":"*","fault":"throttle","above_per_second":5}"#]);
        let began = Instant::now();
        let refused = |from: Duration| {
            let calls = (0..20).map(|n| {
                injected
                    .take_fault(&met("Any", &Query::default()), began + from + Duration::from_millis(n * 10))
            });
            calls.filter(Option::is_some).count()
        };
        assert_eq!(refused(Duration::ZERO), 15);
        assert_eq!(refused(Duration::from_secs(60)), 15);
    }

    #[test]
    fn an_unknown_code_is_a_failure_of_the_service() {
        let injected = injected(&[r#"{"action":"*","fault":"error","code":"SomethingNew"}"#]);
        let Some(Fault::Refuse(error)) = injected.take_fault(&met("Any", &Query::default()), Instant::now())
        else {
            panic!("no fault")
        };
        assert_eq!(error.status, 500);
    }

    #[test]
    fn contradictory_requests_are_refused() {
        for request in [
            r#"{"action":"","fault":"cut"}"#,
            r#"{"action":"*","fault":"cut","times":0}"#,
            r#"{"action":"*","fault":"slow","seconds":-1}"#,
        ] {
            assert!(build_rule(serde_json::from_str(request).unwrap()).is_err(), "{request}");
        }
        assert!(serde_json::from_str::<FaultRequest>(r#"{"action":"*","fault":"explode"}"#).is_err());
        assert!(serde_json::from_str::<FaultRequest>(r#"{"action":"*","fault":"cut","tmies":1}"#).is_err());
    }

    #[test]
    fn sql_runs_in_order_and_as_many_times_as_requested() {
        let injected = InjectedFaults::default();
        for (sql, times) in [("a", 1), ("b", 2)] {
            injected.add_sql(RestoredSql { database: "app".to_owned(), sql: sql.to_owned(), times }).unwrap();
        }
        let texts = |taken: Vec<RestoredSql>| taken.into_iter().map(|entry| entry.sql).collect::<Vec<_>>();
        assert_eq!(texts(injected.take_sql()), ["a", "b"]);
        assert_eq!(texts(injected.take_sql()), ["b"]);
        assert!(injected.take_sql().is_empty());
    }
}
