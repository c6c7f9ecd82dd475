//! A rehearsal: a backup is restored into a scratch database, which is judged and removed.

use std::time::Duration;

use super::judge_copy::judge_copy;
use super::plan::{Destination, Plan, RestoreOptions};
use super::proven::Proven;
use super::remains::{drop_scratch, sweep_scratch_databases, with_remains};
use super::scratch::ScratchDatabase;
use super::scratch_load::load_into_scratch;
use super::sessions::{connect_for_maintenance, require_writable};
use crate::backup::context::Context;
use crate::backup::encryption::Recipients;
use crate::backup::event::{Event, default_threads};
use crate::backup::finding::Finding;
use crate::backup::manifest::Manifest;
use crate::backup::read_options::ProofOptions;
use crate::backup::source::Source;
use crate::backup::tolerance::Omissions;
use crate::error::Result;

/// Restores a backup into a scratch database of a server, looks whether that holds what was recorded, and removes it.
/// `file` has been read to its end before.
pub(in crate::backup) async fn rehearse(
    manifest: &Manifest,
    proven: Proven,
    scratch: &ScratchDatabase<'_>,
    options: &ProofOptions,
    cx: &Context<'_>,
) -> Result<Finding> {
    let server = scratch.server;
    let destination =
        Destination::New(Source::Postgresql { server: Box::new(server.clone()), dbname: String::new() });
    let options = RestoreOptions {
        jobs: default_threads(),
        keep_old: Duration::ZERO,
        offline: false,
        recipients: Recipients::default(),
        read: options.read.clone(),
        tolerance: options.tolerance.clone(),
    };
    let plan = Plan { manifest: manifest.clone(), destination, options, replaces: false };
    let session = connect_for_maintenance(server).await?;
    require_writable(server, &session).await?;
    sweep_scratch_databases(server, &session, cx).await;
    let dumped = proven.finding.dumped_rows.clone();
    let judged = match load_into_scratch(&plan, scratch, &session, proven, cx).await {
        Ok(omissions) => {
            (cx.tell)(Event::Phase("checking the restored copy"));
            let judged = judge_copy(&plan, scratch, &dumped, &omissions).await;
            judged.map(|finding| with_omissions(finding, &omissions, &plan))
        }
        Err(error) => Err(error),
    };
    match (judged, drop_scratch(scratch, &session).await) {
        (Err(error), cleared) => Err(with_remains(error, cleared)),
        (Ok(judged), Ok(())) => Ok(judged),
        // What was found out about the backup holds, whatever lies about on the server.
        (Ok(judged), Err(left)) => {
            (cx.tell)(Event::Warning(&left.chain()));
            for hint in left.hints() {
                (cx.tell)(Event::Warning(hint));
            }
            Ok(judged)
        }
    }
}

/// A proof is told what the restore went on past, and counts no difference that was accepted.
fn with_omissions(mut finding: Finding, omissions: &Omissions, plan: &Plan) -> Finding {
    let accepted = &plan.options.tolerance.accepted;
    let told = omissions.left_out.iter().chain(&omissions.complaints);
    finding.notes.extend(told.map(|left_out| format!("left out: {}: {}", left_out.what, left_out.why)));
    let (taken, left): (Vec<_>, Vec<_>) =
        finding.deviations.into_iter().partition(|deviation| accepted.contains(&deviation.name));
    finding.notes.extend(taken.into_iter().map(|deviation| format!("accepted: {}", deviation.text)));
    finding.deviations = left;
    finding
}
