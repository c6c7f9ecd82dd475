//! Calls that are repeated until AWS answers.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

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
