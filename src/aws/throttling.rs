//! Throttling: RDS shares one unpublished rate of calls among all who use an account and Region, so whoever is told that it is exceeded
//! backs off: the SDK a few times, then `patiently` with pauses that grow. Here it is said, for whoever asked to see what is
//! done. (The SDK's adaptive mode is not for us: whoever makes few calls is held at one in two seconds long after the last refusal.)

use aws_sdk_rds::config::interceptors::FinalizerInterceptorContextRef;
use aws_sdk_rds::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_rds::error::BoxError;

/// Tells of each call that was throttled.
#[derive(Clone, Debug)]
pub(super) struct Throttled;

impl Intercept for Throttled {
    fn name(&self) -> &'static str {
        "Throttled"
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let answer = context.response().filter(|answer| !answer.status().is_success());
        let text = answer.and_then(|answer| answer.body().bytes()).map(String::from_utf8_lossy);
        if text
            .is_some_and(|text| text.contains("<Code>Thrott") || text.contains("<Code>RequestLimitExceeded"))
        {
            // Of the request nothing but its name is shown: others hold passwords.
            let asked =
                context.request().and_then(|request| request.body().bytes()).map(String::from_utf8_lossy);
            let action = asked
                .as_deref()
                .and_then(|text| text.split('&').find_map(|part| part.strip_prefix("Action=")));
            tracing::info!(action = action.unwrap_or("a call"), "throttled by AWS: backing off");
        }
        Ok(())
    }
}
