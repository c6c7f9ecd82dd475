//! Whether backups can be made. The answer is cached for some seconds, so that anyone can ask often.

use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::audit::Audit;
use super::blocking::run_blocking;
use crate::vault::Vault;

/// How long an answer is cached.
const GOOD_FOR: Duration = Duration::from_secs(5);
/// How long the vault may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was last found.
#[derive(Debug, Default)]
pub(super) struct Readiness(Mutex<Option<(Instant, Option<String>)>>);

impl Readiness {
    /// What keeps backups from being made; concurrent callers share one answer.
    pub(super) async fn problem(&self, vault: &Vault, audit: &Audit) -> Option<String> {
        if audit.lost() > 0 {
            return Some("lines of the audit log could not be written".to_owned());
        }
        let mut found = self.0.lock().await;
        if let Some((_, problem)) = found.as_ref().filter(|(at, _)| at.elapsed() < GOOD_FOR) {
            return problem.clone();
        }
        let vault = vault.clone();
        let asked = tokio::time::timeout(PATIENCE, run_blocking(move || vault.clock())).await;
        let problem = match asked {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(error.chain()),
            Err(_) => Some("the vault did not answer in time".to_owned()),
        };
        *found = Some((Instant::now(), problem.clone()));
        problem
    }
}
