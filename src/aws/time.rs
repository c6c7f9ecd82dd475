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

/// The `Date` of the latest answer, and when it arrived by this machine's stopwatch, which no clock can set.
#[derive(Clone, Debug, Default)]
pub(super) struct LatestAnswer(Arc<Mutex<Option<Heard>>>);

/// What time an answer said that it was, and when it was heard.
type Heard = (DateTime<Utc>, Instant);

impl LatestAnswer {
    pub(super) fn get(&self) -> Option<Heard> {
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
