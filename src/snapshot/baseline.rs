//! The baseline of a snapshot: what its source was seen to contain just before the request, and what was written to it
//! until the snapshot was complete.
//!
//! The instant is fixed before the request and read while AWS makes the snapshot, so that as little as possible is
//! written between the two. It is kept in the vault under its seal, which the snapshot carries in a tag.

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use crate::aws::Aws;
use crate::error::{Error, Kind, Result};
use crate::postgres::Server;
use crate::rds::{Instance, Snapshot, Tags, tag};
use crate::vault::Vault;
use crate::verify::observe::Progress;
use crate::verify::{Look, Origin, Recording, record};

/// A baseline in the making.
pub(crate) struct Baseline {
    recording: Recording,
    of: Origin,
}

impl Baseline {
    /// Fixes the instant, just before the request.
    pub(crate) async fn begin(
        source: &Instance,
        server: &Server,
        only: &[String],
        look: &Look,
    ) -> Result<Self> {
        let recording = Recording::begin(server, only, look).await.map_err(|error| {
            Error::new(
                error.kind(),
                format!("no baseline of `{}` can be recorded, so nothing was taken", source.id),
            )
            .caused_by(error)
        })?;
        let of = Origin::of_instance(source, server, only);
        Ok(Baseline { recording, of })
    }

    /// Reads the source, while the snapshot is being made.
    pub(crate) async fn observe(&mut self, progress: &(dyn Fn(Progress) + Sync)) -> Result<()> {
        self.recording.observe(progress).await
    }

    /// Completes it when the snapshot is available, keeps it, and tags the snapshot with its seal.
    pub(crate) async fn keep(
        mut self,
        aws: &Aws,
        vault: &Vault,
        snapshot: &mut Snapshot,
        now: DateTime<Utc>,
    ) -> Result<()> {
        // Whatever the snapshot holds was written before this.
        self.recording.read_counters_again(Instant::now()).await?;
        let (seal, document) = self.recording.into_baseline(self.of, now).to_sealed_json()?;
        vault.write(&record::vault_name(&seal), &document)?;
        let tags = Tags::from([(tag::BASELINE.to_owned(), seal)]);
        aws.add_tags(&snapshot.arn, &tags).await.map_err(Error::from)?;
        snapshot.tags.extend(tags);
        Ok(())
    }
}

/// The error of a snapshot that is there, and its baseline is not.
pub(crate) fn missing_baseline_error(snapshot: &Snapshot, why: Error) -> Error {
    Error::new(
        Kind::Partial,
        format!("snapshot `{}` was taken, but its baseline was not recorded", snapshot.id),
    )
    .caused_by(why)
    .hint(
        "A drill then compares it with its source as it is at the time; take another one to have a baseline.",
    )
}
