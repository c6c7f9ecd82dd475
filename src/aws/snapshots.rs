//! Snapshots: listed, asked for, tagged, deleted.

use aws_smithy_types::retry::RetryConfig;

use super::rds::{snapshot, to_aws};
use super::{Aws, Failure, Fault, call, if_found, list_all, retry};
use crate::rds::{InstanceId, Snapshot, SnapshotId, SnapshotType, Tags};

/// A copy of a snapshot, in the Region of the connection that asks for it.
#[derive(Clone, Debug)]
pub(crate) struct CopySnapshot {
    /// Id of the source, or its ARN if it is in another Region or shared.
    pub source: String,
    /// Where the source is.
    pub source_region: String,
    /// Name of the copy.
    pub id: SnapshotId,
    /// Key of the copy; otherwise the source's.
    pub kms_key: Option<String>,
    /// Whether the source is encrypted.
    pub is_encrypted: bool,
    /// Tags of the copy.
    pub tags: Tags,
}

/// How often a snapshot must not be found before it counts as gone.
const LOOKS: u32 = 3;

/// The pause between two such looks.
const PAUSE: std::time::Duration = std::time::Duration::from_secs(1);

impl Aws {
    /// The automated and manual snapshots of an instance, in the order in which AWS lists them.
    pub(crate) async fn snapshots_of(&self, id: &InstanceId) -> Result<Vec<Snapshot>, Failure> {
        self.list_snapshots(Some(id), None).await
    }

    /// All snapshots of the Region: automated and manual ones, or those of one type (`shared`, `awsbackup`, …).
    pub(crate) async fn snapshots(&self, kind: Option<&str>) -> Result<Vec<Snapshot>, Failure> {
        self.list_snapshots(None, kind).await
    }

    /// The snapshots that an instance can be restored from: automated and manual ones, and those of AWS Backup, which RDS lists only
    /// if they are asked for.
    pub(crate) async fn backups_of(&self, id: &InstanceId) -> Result<Vec<Snapshot>, Failure> {
        self.with_those_of_aws_backup(Some(id)).await
    }

    /// The same of the Region.
    pub(crate) async fn backups(&self) -> Result<Vec<Snapshot>, Failure> {
        self.with_those_of_aws_backup(None).await
    }

    async fn with_those_of_aws_backup(&self, of: Option<&InstanceId>) -> Result<Vec<Snapshot>, Failure> {
        let (mut all, others) = tokio::try_join!(
            self.list_snapshots(of, None),
            self.list_snapshots(of, Some(SnapshotType::AwsBackup.as_str()))
        )?;
        all.extend(others.into_iter().filter(|it| it.snapshot_type == SnapshotType::AwsBackup));
        Ok(all)
    }

    /// Tags come with each snapshot: a call for the tags of each would use up the account's request rate.
    async fn list_snapshots(
        &self,
        of: Option<&InstanceId>,
        kind: Option<&str>,
    ) -> Result<Vec<Snapshot>, Failure> {
        list_all(|marker| async move {
            let request = self
                .rds
                .describe_db_snapshots()
                .set_db_instance_identifier(of.map(|id| id.as_str().to_owned()))
                .set_snapshot_type(kind.map(str::to_owned))
                .max_records(100)
                .set_marker(marker);
            let resource = of.map_or("all snapshots".to_owned(), |id| format!("snapshots of `{id}`"));
            let page = call("DescribeDBSnapshots", resource, || request.clone().send()).await?;
            Ok((page.db_snapshots().iter().filter_map(snapshot).collect(), page.marker))
        })
        .await
    }

    /// One snapshot. Throttling and lost answers are tried again for a while.
    pub(crate) async fn snapshot(&self, id: &SnapshotId) -> Result<Option<Snapshot>, Failure> {
        retry(|| self.look_at_snapshot(id)).await
    }

    /// One snapshot, in one look. RDS finds those of AWS Backup and shared ones only if they are asked for.
    pub(crate) async fn look_at_snapshot(&self, id: &SnapshotId) -> Result<Option<Snapshot>, Failure> {
        let kinds: &[Option<&str>] = match id.as_str() {
            text if text.starts_with("rds:") => &[Some("automated")],
            text if text.starts_with("awsbackup:") => &[Some("awsbackup")],
            // An ARN names a snapshot of our own as well.
            text if text.starts_with("arn:") => &[Some("shared"), None],
            _ => &[None],
        };
        for kind in kinds {
            let request = self.rds.describe_db_snapshots().db_snapshot_identifier(id.as_str());
            let answer = request.set_snapshot_type(kind.map(str::to_owned)).send().await;
            let answer = answer
                .map_err(|error| Failure::from_sdk("DescribeDBSnapshots", format!("snapshot `{id}`"), error));
            if let Some(row) = if_found(answer)?.as_ref().and_then(|answer| answer.db_snapshots().first()) {
                return Ok(snapshot(row));
            }
        }
        Ok(None)
    }

    /// Asks for a snapshot, once: after a lost answer a repeated request is refused as a name already taken, and
    /// only the caller can tell whether that snapshot is its own.
    pub(crate) async fn begin_snapshot(
        &self,
        instance: &InstanceId,
        id: &SnapshotId,
        tags: &Tags,
    ) -> Result<Snapshot, Failure> {
        let resource = format!("snapshot `{id}`");
        let request = self
            .rds
            .create_db_snapshot()
            .db_instance_identifier(instance.as_str())
            .db_snapshot_identifier(id.as_str())
            .set_tags(Some(to_aws(tags)));
        let once = aws_sdk_rds::config::Config::builder().retry_config(RetryConfig::disabled());
        let answer = request.customize().config_override(once).send().await;
        let answer = answer.map_err(|error| Failure::from_sdk("CreateDBSnapshot", &resource, error))?;
        answer.db_snapshot().and_then(snapshot).ok_or_else(|| nameless("CreateDBSnapshot", resource))
    }

    /// Asks for a copy of a snapshot, once.
    pub(crate) async fn begin_copy(&self, copy: &CopySnapshot) -> Result<Snapshot, Failure> {
        let resource = format!("snapshot `{}`", copy.id);
        // Encrypted content leaves its Region only with a request that is signed for the Region that it leaves.
        let presigned = if copy.is_encrypted && copy.source_region != self.region {
            let mut parameters = vec![
                ("Action", "CopyDBSnapshot"),
                ("DestinationRegion", &self.region),
                ("SourceDBSnapshotIdentifier", &copy.source),
                ("TargetDBSnapshotIdentifier", copy.id.as_str()),
                ("Version", "2014-10-31"),
            ];
            parameters.extend(copy.kms_key.iter().map(|key| ("KmsKeyId", key.as_str())));
            Some(self.presign(&copy.source_region, &parameters).await?)
        } else {
            None
        };
        let request = self
            .rds
            .copy_db_snapshot()
            .source_db_snapshot_identifier(&copy.source)
            .target_db_snapshot_identifier(copy.id.as_str())
            .set_kms_key_id(copy.kms_key.clone())
            .set_pre_signed_url(presigned)
            .set_tags(Some(to_aws(&copy.tags)));
        let once = aws_sdk_rds::config::Config::builder().retry_config(RetryConfig::disabled());
        let answer = request.customize().config_override(once).send().await;
        let answer = answer.map_err(|error| Failure::from_sdk("CopyDBSnapshot", &resource, error))?;
        answer.db_snapshot().and_then(snapshot).ok_or_else(|| nameless("CopyDBSnapshot", resource))
    }

    /// Deletes a manual snapshot; `false` if it was gone already. What may be deleted is the caller's to judge. RDS is
    /// eventually consistent: that there is none is believed when it was said several times.
    pub(crate) async fn delete_snapshot(&self, id: &SnapshotId) -> Result<bool, Failure> {
        for _ in 0..LOOKS {
            let delete = || self.rds.delete_db_snapshot().db_snapshot_identifier(id.as_str()).send();
            let answer = call("DeleteDBSnapshot", format!("snapshot `{id}`"), delete).await;
            match if_found(answer)? {
                Some(_) => return Ok(true),
                None => tokio::time::sleep(PAUSE).await,
            }
        }
        Ok(false)
    }

    /// One snapshot that was there a moment ago; `None` only if several looks did not find it.
    pub(crate) async fn snapshot_again(&self, id: &SnapshotId) -> Result<Option<Snapshot>, Failure> {
        for _ in 0..LOOKS {
            match self.snapshot(id).await? {
                Some(snapshot) => return Ok(Some(snapshot)),
                None => tokio::time::sleep(PAUSE).await,
            }
        }
        Ok(None)
    }

    /// Adds tags to an object, by its ARN; those of the same key are replaced.
    pub(crate) async fn add_tags(&self, arn: &str, tags: &Tags) -> Result<(), Failure> {
        let request = self.rds.add_tags_to_resource().resource_name(arn).set_tags(Some(to_aws(tags)));
        call("AddTagsToResource", format!("`{arn}`"), || request.clone().send()).await.map(drop)
    }
}

fn nameless(operation: &'static str, resource: String) -> Failure {
    Failure::new(operation, resource, Fault::Unsure, "the answer names no object")
}
