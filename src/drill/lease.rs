//! One drill of one source at a time, on whichever machine: the lease of a source, in the vault.
//!
//! It is keyed by the resource id, which is AWS's own for all accounts and Regions. Whoever takes over the lease of a holder
//! that has died first removes the throwaway that it left, so that there is never more than one of a source.

use chrono::{DateTime, Utc};

use super::context::{Context, Event};
use super::sweep::{self, Action};
use crate::aws::Poll;
use crate::error::{Error, Kind, Result};
use crate::rds::{Instance, ResourceId};
use crate::vault::{Holder, Lease, Leased, Theirs, Vault, is_held};
use crate::when::format_span;

/// The name of a source's lease in the vault.
pub(crate) fn lease_name(resource: &ResourceId) -> String {
    // AWS uses letters, digits and hyphens; this holds even if it does not.
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    format!("leases/{}.json", resource.0.chars().map(plain).collect::<String>())
}

/// A request for the lease of a source.
pub(crate) fn try_acquire_lease(
    vault: &Vault,
    source: &Instance,
    host: &str,
    fleet: Option<&str>,
    now: DateTime<Utc>,
) -> Result<Leased> {
    let what = match fleet {
        Some(fleet) => format!("drill of {} in fleet run {fleet}", source.id),
        None => format!("drill of {}", source.id),
    };
    vault.lease(&lease_name(&source.resource_id), Holder::new(host, what, now).in_fleet(fleet))
}

/// Takes the lease of a source for a single drill, and removes what a dead holder of it has left behind. A lease whose
/// holder may be dead is watched until it is certain.
pub(crate) async fn acquire_lease(source: &Instance, poll: Poll, cx: &Context<'_>) -> Result<Lease> {
    let lease = tokio::select! {
        biased;
        kind = cx.interrupt.wait(1) => Err(Error::new(kind, "interrupted before anything was created")),
        lease = wait_for_lease(source, cx) => lease,
    }?;
    remove_dead_holders_throwaway(&lease, source, cx, poll).await?;
    Ok(lease)
}

async fn wait_for_lease(source: &Instance, cx: &Context<'_>) -> Result<Lease> {
    let (began, mut was_told) = (tokio::time::Instant::now(), false);
    loop {
        match try_acquire_lease(cx.vault, source, &cx.host, None, (cx.clock)())? {
            Leased::Ours(lease) => return Ok(lease),
            Leased::Theirs(theirs) if theirs.is_alive || began.elapsed() > theirs.lasts * 2 => {
                return Err(lease_held_error(source, &theirs));
            }
            Leased::Theirs(theirs) => {
                if !was_told {
                    let error = lease_held_error(source, &theirs);
                    (cx.tell)(Event::Note(&format!(
                        "{error}; waiting up to {} to see whether that process is still alive",
                        format_span(theirs.lasts.as_secs_f64())
                    )));
                    was_told = true;
                }
                tokio::time::sleep(std::time::Duration::from_secs(2)).await;
            }
        }
    }
}

/// The error that another process drills a source.
pub(crate) fn lease_held_error(source: &Instance, theirs: &Theirs) -> Error {
    is_held(&format!("the lease of `{}`", source.id), theirs)
        .hint("One database is drilled by one process at a time: wait for that drill, `lifeboat drill list` shows it.")
}

/// Removes what the former, dead holder of a lease has left of its throwaway.
pub(crate) async fn remove_dead_holders_throwaway(
    lease: &Lease,
    source: &Instance,
    cx: &Context<'_>,
    poll: Poll,
) -> Result<()> {
    let Some(dead) = &lease.taken_from else { return Ok(()) };
    (cx.tell)(Event::Note(&format!(
        "taking over the lease of `{}` from a process that has ended: {}",
        source.id,
        dead.told()
    )));
    let plan =
        sweep::plan_sweep(cx.aws, cx.vault, Some(&source.resource_id), cx.aws.now((cx.clock)())).await?;
    let swept = sweep::apply_sweep(plan, cx.aws, cx.vault, poll, cx.tell).await;
    for one in &swept.instances {
        let word = match one.action {
            Action::Removed | Action::WouldRemove => "is removed",
            Action::Left => "is left alone",
            Action::Failed => "could not be removed",
        };
        (cx.tell)(Event::Note(&format!("throwaway `{}` {word}: {}", one.id, one.reason)));
        if one.action == Action::Failed {
            return Err(Error::new(
                Kind::LeftBehind,
                format!(
                    "throwaway `{}` of an earlier drill of `{}` could not be removed: {}",
                    one.id, source.id, one.reason
                ),
            )
            .hint("Remove it with `lifeboat drill sweep`; no second one was created."));
        }
    }
    Ok(())
}
