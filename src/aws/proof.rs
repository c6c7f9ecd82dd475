//! Proof of an identity: a call of GetCallerIdentity that somebody has signed, for somebody else to make.
//!
//! The signature covers a header with what it is good for. AWS says whose it is, and takes it for some minutes only; with anything
//! else than this call it is worth nothing. Nothing of the proof but the signature itself comes from the file that it lies in: where
//! it is sent, the action and the header are put together anew.

use chrono::{DateTime, Utc};
use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use serde::{Deserialize, Serialize};

use super::Aws;
use super::query::{Query, Service, element};
use crate::error::{Error, Result};
use crate::web;

/// The header that says what a signature is good for.
const HEADER: &str = "x-lifeboat-approval";

/// A signature, and what AWS must know of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Proof {
    date: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    session: Option<String>,
    authorization: String,
}

impl Proof {
    /// The Region that it was signed for, if the signature covers what it must.
    fn region(&self) -> Option<&str> {
        let scope = self.authorization.split("Credential=").nth(1)?.split(',').next()?;
        let mut parts = scope.split('/').skip(2);
        let (region, service) = (parts.next()?, parts.next()?);
        let covered = self.authorization.split("SignedHeaders=").nth(1)?.split(',').next()?;
        let is_region = region.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        let covers = |header: &str| covered.trim().split(';').any(|other| other == header);
        (service == "sts" && is_region && covers(HEADER) && covers("host") && covers("x-amz-date"))
            .then_some(region)
    }
}

fn caller_query() -> Query {
    Query { service: Service::Sts, action: "GetCallerIdentity", parameters: Vec::new() }
}

impl Aws {
    /// Signs that we agree to `purpose`.
    pub(crate) async fn prove_identity(&self, purpose: &str, now: DateTime<Utc>) -> Result<Proof> {
        let signed = self.signed(&caller_query(), &[(HEADER, purpose)], now).await?;
        let header =
            |name: &str| signed.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let missing = || Error::outside("a proof of who we are could not be signed");
        Ok(Proof {
            date: header("x-amz-date").ok_or_else(missing)?,
            session: header("x-amz-security-token"),
            authorization: header("authorization").ok_or_else(missing)?,
        })
    }

    /// Who has signed `purpose`, as AWS says; the reason if it is nobody.
    pub(crate) async fn identity_of(
        &self,
        proof: &Proof,
        purpose: &str,
    ) -> Result<std::result::Result<String, String>> {
        let Some(region) = proof.region() else {
            return Ok(Err("its signature does not cover the run".to_owned()));
        };
        let endpoint = match self.config.endpoint_url() {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => format!("https://{}", Service::Sts.host(region)),
        };
        let mut request = Request::post(format!("{endpoint}/"))
            .header("content-type", "application/x-www-form-urlencoded; charset=utf-8")
            .header("x-amz-date", &proof.date)
            .header(HEADER, purpose)
            .header("authorization", &proof.authorization);
        if let Some(session) = &proof.session {
            request = request.header("x-amz-security-token", session);
        }
        let Ok(request) = request.body(Full::new(Bytes::from(caller_query().form()))) else {
            return Ok(Err("its signature cannot be read".to_owned()));
        };
        let answer = web::send(request).await?;
        match (answer.status, element(&answer.text, "Arn")) {
            (200..300, Some(arn)) => Ok(Ok(arn)),
            (500.., _) => Err(Error::outside(format!(
                "AWS could not say whose signature it is (HTTP {})",
                answer.status
            ))),
            _ => {
                let why =
                    element(&answer.text, "Message").unwrap_or_else(|| format!("HTTP {}", answer.status));
                Ok(Err(format!("AWS does not accept its signature: {why}")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_that_does_not_cover_the_run_is_none() {
        let proof = |scope: &str, headers: &str| Proof {
            date: "20261130T000000Z".to_owned(),
            session: None,
            authorization: format!(
                "AWS4-HMAC-SHA256 Credential=AKIA/20261130/{scope}/aws4_request, SignedHeaders={headers}, Signature=0"
            ),
        };
        let all = "content-type;host;x-amz-date;x-lifeboat-approval";
        assert_eq!(proof("eu-west-1/sts", all).region(), Some("eu-west-1"));
        assert_eq!(proof("eu-west-1/sts", "content-type;host;x-amz-date").region(), None);
        assert_eq!(proof("eu-west-1/rds", all).region(), None);
        assert_eq!(proof("evil.example:80/sts", all).region(), None);
    }
}
