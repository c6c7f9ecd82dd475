//! What time AWS says it is.
//!
//! Ages of backups are differences between two clocks: AWS's, which stamped them, and ours. A machine whose clock is
//! wrong would call fresh backups old and prune them. Every answer of AWS carries the time, so it is used.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use aws_sdk_rds::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_rds::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_rds::error::BoxError;
use chrono::{DateTime, Utc};

use super::Aws;

/// How far the two clocks may differ before it is worth a word, as SigV4 has it.
const TOLERABLE: chrono::TimeDelta = chrono::TimeDelta::minutes(5);

/// The `Date` of the latest answer, in seconds since 1970; `i64::MIN` before the first.
#[derive(Clone, Debug)]
pub(super) struct LatestAnswer(Arc<AtomicI64>);

impl Default for LatestAnswer {
    fn default() -> Self {
        LatestAnswer(Arc::new(AtomicI64::new(i64::MIN)))
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
            self.0.store(at.timestamp(), Ordering::Relaxed);
        }
        Ok(())
    }
}

impl Aws {
    /// The time by AWS's clock, to the second, if it has answered anything yet; otherwise `here`, this machine's.
    pub fn now(&self, here: DateTime<Utc>) -> DateTime<Utc> {
        match self.latest_answer.0.load(Ordering::Relaxed) {
            i64::MIN => here,
            seconds => match DateTime::from_timestamp(seconds, 0) {
                // To the second they agree, so the finer clock is the better one.
                Some(there) if (there - here).abs() <= chrono::TimeDelta::seconds(2) => here,
                Some(there) => there,
                None => here,
            },
        }
    }

    /// Whether AWS has told the time.
    pub fn has_told_time(&self) -> bool {
        self.latest_answer.0.load(Ordering::Relaxed) != i64::MIN
    }

    /// By how much this machine's clock differs from AWS's, if by more than five minutes.
    pub fn clock_is_off_by(&self, here: DateTime<Utc>) -> Option<chrono::TimeDelta> {
        Some(here - self.now(here)).filter(|difference| difference.abs() > TOLERABLE)
    }
}
