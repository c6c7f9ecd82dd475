//! What time AWS says it is.
//!
//! Ages of backups are differences between two clocks: AWS's, which stamped them, and ours. A machine whose clock is
//! wrong would call fresh backups old and prune them. Every answer of AWS carries the time, so it is used.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use aws_sdk_rds::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_rds::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_rds::error::BoxError;
use chrono::{DateTime, Utc};

use super::Aws;

/// How far the two clocks may differ before it is worth a word, as SigV4 has it.
const TOLERABLE: chrono::TimeDelta = chrono::TimeDelta::minutes(5);

/// The `Date` of the latest answer, and when it arrived by this machine's stopwatch, which no clock can set.
#[derive(Clone, Debug, Default)]
pub(super) struct LatestAnswer(Arc<Mutex<Option<Heard>>>);

/// What time an answer said that it was, and when it was heard.
type Heard = (DateTime<Utc>, Instant);

impl LatestAnswer {
    fn get(&self) -> Option<Heard> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, at: DateTime<Utc>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((at, Instant::now()));
    }
}

impl Intercept for LatestAnswer {
    fn name(&self) -> &'static str {
        "LatestAnswer"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date");
        if let Some(at) = date.and_then(|date| DateTime::parse_from_rfc2822(date).ok()) {
            self.set(at.with_timezone(&Utc));
        }
        Ok(())
    }
}

impl Aws {
    /// The time by AWS's clock, to the second, if it has answered anything yet; otherwise `here`, this machine's. Between
    /// answers it goes on by this machine's stopwatch.
    pub(crate) fn now(&self, here: DateTime<Utc>) -> DateTime<Utc> {
        let Some((answered, heard)) = self.latest_answer.get() else { return here };
        let since = chrono::TimeDelta::from_std(heard.elapsed()).unwrap_or_default();
        let there = answered.checked_add_signed(since).unwrap_or(answered);
        // To the second they agree, so the finer clock is the better one.
        if (there - here).abs() <= chrono::TimeDelta::seconds(2) { here } else { there }
    }

    /// Whether AWS has told the time.
    pub(crate) fn has_told_time(&self) -> bool {
        self.latest_answer.get().is_some()
    }

    /// By how much this machine's clock differs from AWS's, if by more than five minutes.
    pub(crate) fn clock_is_off_by(&self, here: DateTime<Utc>) -> Option<chrono::TimeDelta> {
        Some(here - self.now(here)).filter(|difference| difference.abs() > TOLERABLE)
    }
}
