//! Requests that another Region may make in our name: the Rust SDK signs none for RDS.

use std::fmt::Write as _;
use std::time::Duration;

use aws_credential_types::provider::ProvideCredentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign};
use aws_sigv4::sign::v4;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};

use super::{Aws, Failure, Fault};

/// AWS's limit for requests of copying.
const LIFETIME: Duration = Duration::from_secs(3600);

impl Aws {
    /// The URL of a call to RDS in `region`, signed to be made within the hour (Signature Version 4, in the query).
    pub(super) async fn presign(&self, region: &str, parameters: &[(&str, &str)]) -> Result<String, Failure> {
        let failed = |message: String| {
            Failure::new(
                "CopyDBSnapshot",
                format!("RDS in {region}"),
                Fault::Denied,
                format!("the request for the source Region could not be signed: {message}"),
            )
        };
        let provider =
            self.config.credentials_provider().ok_or_else(|| failed("no credentials".to_owned()))?;
        let credentials = provider.provide_credentials().await.map_err(|error| failed(error.to_string()))?;
        let time = self.config.time_source().ok_or_else(|| failed("no clock".to_owned()))?;
        let mut settings = SigningSettings::default();
        settings.expires_in = Some(LIFETIME);
        settings.signature_location = SignatureLocation::QueryParams;
        let identity = credentials.into();
        let signing = v4::SigningParams::builder()
            .identity(&identity)
            .region(region)
            .name("rds")
            .time(time.now())
            .settings(settings)
            .build()
            .map_err(|error| failed(error.to_string()))?;
        let suffix = if region.starts_with("cn-") { ".cn" } else { "" };
        let host = match self.config.endpoint_url() {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => format!("https://rds.{region}.amazonaws.com{suffix}"),
        };
        let mut url = format!("{host}/?{}", query(parameters.iter().copied()));
        let request = SignableRequest::new("GET", &url, std::iter::empty(), SignableBody::empty())
            .map_err(|error| failed(error.to_string()))?;
        let (instructions, _) =
            sign(request, &signing.into()).map_err(|error| failed(error.to_string()))?.into_parts();
        let added = query(instructions.params().iter().map(|(name, value)| (*name, value.as_ref())));
        let _ = write!(url, "&{added}");
        Ok(url)
    }
}

pub(super) fn query<'a>(parameters: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let pairs: Vec<String> =
        parameters.map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    pairs.join("&")
}

/// RFC 3986, as Signature Version 4 wants it.
fn encode(text: &str) -> PercentEncode<'_> {
    const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    utf8_percent_encode(text, RESERVED)
}
