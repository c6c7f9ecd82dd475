//! Logging in to a restored copy. Ready is an authenticated query that returns a row: RDS says `available` before the server
//! takes connections, and before a new password is in force.

use std::time::Duration;

use tokio::time::Instant;

use crate::error::{Error, Kind, Result};
use crate::postgres::{ConnectFailure, Refusal, Server};
use crate::rds::InstanceId;

/// How long a new password may take to be in force.
pub(crate) const LOGIN_PATIENCE: Duration = Duration::from_secs(600);

/// How to reach a copy, with the credentials of its source.
pub(crate) fn server_of_copy(
    id: &InstanceId,
    endpoint: Option<(String, u16)>,
    source: &Server,
) -> Result<Server> {
    let (host, port) =
        endpoint.ok_or_else(|| Error::outside(format!("AWS reports no endpoint for `{id}`")))?;
    if (&host, port) == (&source.host, source.port) {
        return Err(Error::new(Kind::Guard, format!("`{id}` has the address of its source")));
    }
    Ok(Server { host, port, ..source.clone() })
}

/// Waits until a server lets us in to a database, as long as `patience` allows after each refusal. That a certificate is not
/// trusted or that the database does not exist is not waited for.
pub(crate) async fn wait_until_logged_in(
    server: &Server,
    database: &str,
    every: Duration,
    patience: impl Fn(Refusal) -> Duration,
) -> std::result::Result<(), ConnectFailure> {
    let started = Instant::now();
    loop {
        let failure = match server.connect(database).await {
            Ok(session) => match session.row("select 1", &[]).await {
                Ok(_) => return Ok(()),
                Err(failure) => ConnectFailure::of_query(failure),
            },
            Err(failure) => failure,
        };
        if matches!(failure.refusal, Refusal::Tls | Refusal::Database)
            || started.elapsed() >= patience(failure.refusal)
        {
            return Err(failure);
        }
        tokio::time::sleep(every.min(Duration::from_millis(500))).await;
    }
}
