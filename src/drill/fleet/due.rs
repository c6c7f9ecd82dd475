//! When a database was last proven, from the evidence in the vault. Only a drill that passed is a proof, and only of the
//! database with that resource id: one that was recreated under an old name has never been proven.

use chrono::{DateTime, TimeDelta, Utc};

use crate::drill::evidence::{Report, State};
use crate::drill::{journal, verify_evidence};
use crate::error::Result;
use crate::rds::{Instance, RunId};
use crate::vault::Vault;
use crate::verify::Verdict;

/// Evidence that is dated further in the future than this was written by a wrong clock, and never proves anything.
const TOLERABLE: TimeDelta = TimeDelta::hours(1);

/// When each of these was last proven, if ever; in their order.
pub(super) fn list_last_proofs(
    vault: &Vault,
    of: &[&Instance],
    now: DateTime<Utc>,
) -> Result<Vec<Option<DateTime<Utc>>>> {
    // In most cases it is the newest pass of that name.
    let stamps: Vec<String> = of.iter().map(|it| format!("drills/{}/last-pass.json", it.id)).collect();
    let runs: Vec<Option<String>> = vault
        .read_all(&stamps)?
        .into_iter()
        .map(|read| {
            serde_json::from_slice::<serde_json::Value>(&read.ok()??).ok()?["run"].as_str().map(str::to_owned)
        })
        .collect();
    let named: Vec<String> = of
        .iter()
        .zip(&runs)
        .map(|(it, run)| journal::evidence_name(it.id.as_str(), run.as_deref().unwrap_or("-")))
        .collect();
    let evidence = vault.read_all(&named)?;
    let mut proofs = Vec::new();
    for (instance, read) in of.iter().zip(evidence) {
        let report = read.ok().flatten().and_then(|json| serde_json::from_slice::<Report>(&json).ok());
        let quick = report.and_then(|report| read_proof(vault, &report, instance, now));
        proofs.push(match quick {
            Some(at) => Some(at),
            None => newest_proof(vault, instance, now)?,
        });
    }
    Ok(proofs)
}

/// When one was last proven, by looking through all of its evidence, the newest first.
pub(super) fn newest_proof(
    vault: &Vault,
    instance: &Instance,
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>> {
    let mut runs = vault.list(&format!("drills/{}", instance.id))?.folders;
    runs.retain(|run| RunId::parse(run).is_some());
    runs.reverse();
    for some in runs.chunks(16) {
        let names: Vec<String> =
            some.iter().map(|run| journal::evidence_name(instance.id.as_str(), run)).collect();
        let found = vault.read_all(&names)?.into_iter().filter_map(|read| {
            let report: Report = serde_json::from_slice(&read.ok()??).ok()?;
            read_proof(vault, &report, instance, now)
        });
        if let Some(at) = found.max() {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

/// When a drill proved this database, if it did and its record is as it was written.
fn read_proof(
    vault: &Vault,
    report: &Report,
    instance: &Instance,
    now: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    let at = claimed_proof(report, instance, now)?;
    verify_evidence::is_record_sound(vault, instance.id.as_str(), &report.run).ok()?.then_some(at)
}

/// When a drill proved this database, by its record.
fn claimed_proof(report: &Report, instance: &Instance, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    // By AWS's clock, where the end is by that of some machine.
    let at = Some(report.started_at).filter(|_| report.state != State::Running)?;
    let is_its = report.source.resource_id == instance.resource_id.0;
    (is_its && report.verdict == Verdict::Pass && at <= now + TOLERABLE).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::page::samples;
    use crate::rds::ResourceId;

    #[test]
    fn only_a_pass_of_the_same_database_is_a_proof() {
        let now: DateTime<Utc> = "2026-11-22T12:00:00Z".parse().unwrap();
        let mut report = samples::unknown_report();
        (report.state, report.verdict) = (State::Finished, Verdict::Pass);
        report.started_at = now - TimeDelta::days(3);
        let instance =
            Instance { resource_id: ResourceId(report.source.resource_id.clone()), ..Instance::default() };
        assert_eq!(claimed_proof(&report, &instance, now), Some(report.started_at));
        assert_eq!(
            claimed_proof(
                &report,
                &Instance { resource_id: ResourceId("db-NEW".into()), ..instance.clone() },
                now
            ),
            None
        );
        for verdict in [Verdict::Fail, Verdict::Unknown] {
            assert_eq!(claimed_proof(&Report { verdict, ..report.clone() }, &instance, now), None);
        }
        assert_eq!(claimed_proof(&Report { state: State::Running, ..report.clone() }, &instance, now), None);
        let ahead = Report { started_at: now + TimeDelta::days(300), ..report };
        assert_eq!(claimed_proof(&ahead, &instance, now), None, "a wrong clock must not prove for ever");
    }
}
