//! One call of an AWS API, in whichever protocol it came.

use hyper::header::HeaderMap;
use serde_json::Value;

use crate::document::Document;
use crate::sts::Signer;
use crate::wire::Query;
use crate::{cloudwatch, iam, rds, scope, sns, sts};

pub(super) const DEFAULT_REGION: &str = "us-east-1";

pub(super) struct ApiCall {
    pub(super) service: Service,
    pub(super) protocol: Protocol,
    pub(super) action: String,
    /// The scope of account and Region.
    pub(super) region: String,
    /// The parameters of a form; in the other protocols, what the log of calls shows.
    pub(super) parameters: Query,
    /// For CloudWatch.
    pub(super) document: Document,
    /// For Secrets Manager.
    pub(super) json: Value,
    pub(super) signer: Signer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    Rds,
    Sts,
    Iam,
    SecretsManager,
    CloudWatch,
    Sns,
    Ec2,
    /// A service that the stack does not have.
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Query,
    /// awsJson 1.0 or 1.1.
    Json(&'static str),
    Cbor,
}

impl Service {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Rds => "rds",
            Self::Sts => "sts",
            Self::Iam => "iam",
            Self::SecretsManager => "secretsmanager",
            Self::CloudWatch => "cloudwatch",
            Self::Sns => "sns",
            Self::Ec2 => "ec2",
            Self::Other => "other",
        }
    }

    pub(super) fn namespace(self) -> &'static str {
        match self {
            Self::Sts => sts::NAMESPACE,
            Self::Iam => iam::NAMESPACE,
            Self::CloudWatch => cloudwatch::NAMESPACE,
            Self::Sns => sns::NAMESPACE,
            Self::Rds | Self::SecretsManager | Self::Other => rds::NAMESPACE,
            Self::Ec2 => "http://ec2.amazonaws.com/doc/2016-11-15/",
        }
    }

    /// The service that a form is for: each has a version of its own.
    fn of_version(version: Option<&str>) -> Self {
        match version {
            Some(sts::VERSION) => Self::Sts,
            Some(iam::VERSION) => Self::Iam,
            Some(cloudwatch::VERSION) => Self::CloudWatch,
            Some(sns::VERSION) => Self::Sns,
            Some("2016-11-15") => Self::Ec2,
            Some(version) if version.starts_with("20") && version != rds::VERSION => Self::Other,
            _ => Self::Rds,
        }
    }
}

impl ApiCall {
    pub(super) fn read(path: &str, headers: &HeaderMap, body: &[u8]) -> Self {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let authorization = header("authorization");
        let access_key = access_key(authorization).to_owned();
        let account = scope::account_of_access_key(&access_key);
        let region = scope::join_scope(account, signing_region(authorization));
        let signer = Signer { access_key, token: header("x-amz-security-token").to_owned() };
        let call = |service, protocol, action: &str| Self {
            service,
            protocol,
            action: action.to_owned(),
            region,
            parameters: Query::default(),
            document: Document::Null,
            json: Value::Null,
            signer,
        };
        let cbor = path.strip_prefix("/service/").and_then(|rest| rest.split_once("/operation/"));
        if let Some((_, action)) = cbor {
            let document = Document::from_cbor(body).unwrap_or(Document::Null);
            let parameters = Query::from_pairs(document.log_fields());
            return Self { parameters, document, ..call(Service::CloudWatch, Protocol::Cbor, action) };
        }
        if let Some((target, action)) = header("x-amz-target").split_once('.') {
            let json = serde_json::from_slice(body).unwrap_or(Value::Null);
            if target == cloudwatch::TARGET {
                let document = Document::from_json(json);
                let parameters = Query::from_pairs(document.log_fields());
                let protocol = Protocol::Json("1.0");
                return Self { parameters, document, ..call(Service::CloudWatch, protocol, action) };
            }
            let service = if target == "secretsmanager" { Service::SecretsManager } else { Service::Other };
            let secret_id = json["SecretId"].as_str();
            let parameters = secret_id.map_or_else(Query::default, |id| Query::from_pair("SecretId", id));
            return Self { parameters, json, ..call(service, Protocol::Json("1.1"), action) };
        }
        let parameters = Query::parse(body);
        let service = Service::of_version(parameters.get("Version"));
        let is_document = service == Service::CloudWatch;
        let document = if is_document { Document::from_form(&parameters) } else { Document::Null };
        let call = call(service, Protocol::Query, parameters.get("Action").unwrap_or_default());
        Self { document, parameters, ..call }
    }

    /// A call that somebody makes by following a link in a message of SNS; it needs no signature.
    pub(super) fn from_link(query: &str) -> Option<Self> {
        let parameters = Query::parse(query.as_bytes());
        let action = parameters.owned("Action")?;
        // A topic's ARN names the Region; the subscription of a link to unsubscribe is found by its ARN alone.
        let region = parameters.get("TopicArn").and_then(scope::scope_of_arn);
        ["ConfirmSubscription", "Unsubscribe"].contains(&action.as_str()).then(|| Self {
            service: Service::Sns,
            protocol: Protocol::Query,
            action,
            region: region.unwrap_or_else(|| DEFAULT_REGION.to_owned()),
            parameters,
            document: Document::Null,
            json: Value::Null,
            signer: Signer::default(),
        })
    }

    pub(super) fn may_be_unsigned(&self) -> bool {
        self.service == Service::Sts && sts::may_be_unsigned(&self.action)
    }
}

/// The Region of the credential scope: `Credential=AKID/20261121/eu-west-1/rds/aws4_request`.
fn signing_region(authorization: &str) -> &str {
    let is_region = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    authorization
        .split("Credential=")
        .nth(1)
        .and_then(|scope| scope.split(',').next())
        .and_then(|scope| scope.split('/').rev().nth(2))
        .filter(|region| !region.is_empty() && region.bytes().all(is_region))
        .unwrap_or(DEFAULT_REGION)
}

fn access_key(authorization: &str) -> &str {
    let scope = authorization.split("Credential=").nth(1).unwrap_or_default();
    scope.split('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_region_comes_from_the_credential_scope() {
        let header = "AWS4-HMAC-SHA256 Credential=test/20261121/eu-central-1/rds/aws4_request, SignedHeaders=host, Signature=0";
        assert_eq!(signing_region(header), "eu-central-1");
        let with_slash = "AWS4-HMAC-SHA256 Credential=a/b/20261121/eu-west-3/rds/aws4_request,";
        assert_eq!(signing_region(with_slash), "eu-west-3");
        for other in
            ["", "Bearer x", "AWS4-HMAC-SHA256 Credential=test", "Credential=a/b/<x>/rds/aws4_request"]
        {
            assert_eq!(signing_region(other), "us-east-1", "{other}");
        }
    }
}
