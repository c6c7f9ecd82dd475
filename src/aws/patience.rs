//! Calls that are repeated until AWS answers.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

use aws_sdk_rds::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_rds::operation::RequestId;

use super::failure::Failure;

/// How long a call is tried again while AWS throttles it or cannot be reached.
const PATIENCE: Duration = Duration::from_secs(180);

/// Calls until it is answered for good: throttling and lost answers are tried again, with growing pauses, for
/// `PATIENCE`. Only for calls that may safely be made twice.
pub(super) async fn retry<T, F>(mut call: impl FnMut() -> F) -> std::result::Result<T, Failure>
where
    F: Future<Output = std::result::Result<T, Failure>>,
{
    let give_up = Instant::now() + PATIENCE;
    let mut pause = Duration::from_millis(500);
    loop {
        match call().await {
            Err(failure) if failure.is_worth_repeating() && Instant::now() + pause < give_up => {
                tracing::info!(operation = failure.operation, %failure, "trying again");
                tokio::time::sleep(pause.mul_f64(0.5 + rand::random::<f64>() / 2.0)).await;
                pause = (pause * 2).min(Duration::from_secs(15));
            }
            answer => return answer,
        }
    }
}

/// Makes a call of the SDK, and again while that may help.
pub(super) async fn call<T, E, R, F>(
    operation: &'static str,
    resource: impl Into<String>,
    send: impl Fn() -> F,
) -> std::result::Result<T, Failure>
where
    F: Future<Output = std::result::Result<T, SdkError<E, R>>>,
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
    SdkError<E, R>: RequestId,
{
    let resource = resource.into();
    retry(|| async { send().await.map_err(|error| Failure::from_sdk(operation, &resource, error)) }).await
}

/// Lists what AWS hands out page by page: `ask` gets the marker of a page, and gives what is on it and the marker of the next.
pub(super) async fn list_all<T, F>(
    mut ask: impl FnMut(Option<String>) -> F,
) -> std::result::Result<Vec<T>, Failure>
where
    F: Future<Output = std::result::Result<(Vec<T>, Option<String>), Failure>>,
{
    let (mut all, mut marker) = (Vec::new(), None);
    loop {
        let (some, next) = ask(marker).await?;
        all.extend(some);
        marker = next.filter(|marker| !marker.is_empty());
        if marker.is_none() {
            return Ok(all);
        }
    }
}
