//! Whether a bucket keeps every version for a time: the default retention of S3's Object Lock.

use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::StatusCode;
use object_store::aws::AmazonS3;
use object_store::client::{HttpRequest, HttpRequestBody, HttpService as _};
use object_store::path::Path;
use object_store::signer::{SignedUrlOptions, Signer as _};

use super::http::Connector;
use crate::error::{Error, Result};
use crate::vault::pulse::Overwritten;

/// Asks an S3 bucket what `object_store` has no call for.
#[derive(Debug)]
pub(super) struct Asker {
    pub(super) bucket: AmazonS3,
    pub(super) connector: Connector,
}

/// `GetObjectLockConfiguration` needs `s3:GetBucketObjectLockConfiguration`. A bucket without Object Lock answers 404, and a store
/// that does not know the question anything else.
fn what_becomes(status: StatusCode, answer: &str) -> Overwritten {
    let is_kept = match status {
        StatusCode::OK => answer.contains("<DefaultRetention>"),
        StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => true,
        status => status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED,
    };
    if is_kept { Overwritten::Kept } else { Overwritten::Gone }
}

impl Asker {
    /// What becomes of versions that are written over. Where the bucket does not say, they are spared: only the takeover of a
    /// dead holder's lease is slower then.
    pub(super) async fn overwritten_versions(&self) -> Overwritten {
        match self.lock_configuration().await {
            Ok((status, answer)) => what_becomes(status, &answer),
            Err(_) => Overwritten::Kept,
        }
    }

    async fn lock_configuration(&self) -> Result<(StatusCode, String)> {
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| {
            Error::outside("cannot read the Object Lock configuration of the bucket").caused_by(error)
        };
        let options = SignedUrlOptions::new().with_query([("object-lock", "")]);
        let (get, root, valid_for) = (hyper::Method::GET, Path::default(), Duration::from_secs(300));
        let url = self.bucket.signed_url_opts(get, &root, valid_for, &options).await;
        let url = url.map_err(|error| failed(error.into()))?;
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.uri_mut() =
            url.as_str().parse().map_err(|error: hyper::http::uri::InvalidUri| failed(error.into()))?;
        let answer = self.connector.call(request).await.map_err(|error| failed(error.into()))?;
        let status = answer.status();
        let body = answer.into_body().collect().await.map_err(|error| failed(error.into()))?;
        Ok((status, String::from_utf8_lossy(&body.to_bytes()).into_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_kept_by_a_default_retention_and_by_nothing_else() {
        let locked = "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention><Mode>COMPLIANCE</Mode><Days>400</Days></DefaultRetention></Rule></ObjectLockConfiguration>";
        let able = "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>";
        for (status, answer, expected) in [
            (200, locked, Overwritten::Kept),
            (200, able, Overwritten::Gone),
            (404, "ObjectLockConfigurationNotFoundError", Overwritten::Gone),
            (403, "AccessDenied", Overwritten::Kept),
            (503, "SlowDown", Overwritten::Kept),
            (501, "NotImplemented", Overwritten::Gone),
            (400, "InvalidArgument", Overwritten::Gone),
        ] {
            assert_eq!(what_becomes(StatusCode::from_u16(status).unwrap(), answer), expected, "{status}");
        }
    }
}
