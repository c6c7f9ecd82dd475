//! Calls for whoever wants to know what we may do: as forms, in the query protocol that these services all speak. One small
//! function in place of the SDK of yet another service, and of a call of the SDK for each of some twenty actions.
//!
//! Nothing here is tried again and nothing is read from the answers but whether there was one.

use aws_credential_types::Credentials;
use aws_credential_types::credential_feature::AwsCredentialFeature as Feature;
use aws_credential_types::provider::ProvideCredentials as _;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use chrono::{DateTime, Utc};
use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;

use super::failure::{fault_of_code, is_unreachable};
use super::presign::query as form;
use super::{Aws, Failure, Fault};
use crate::error::{Error, Result};
use crate::web;

/// A service that is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Service {
    /// Amazon RDS.
    Rds,
    /// Amazon CloudWatch.
    CloudWatch,
    /// Amazon SNS.
    Sns,
    /// AWS Security Token Service.
    Sts,
    /// AWS Identity and Access Management.
    Iam,
}

impl Service {
    /// The prefix of its actions in policies.
    pub(crate) fn prefix(self) -> &'static str {
        match self {
            Service::Rds => "rds",
            Service::CloudWatch => "cloudwatch",
            Service::Sns => "sns",
            Service::Sts => "sts",
            Service::Iam => "iam",
        }
    }

    fn version(self) -> &'static str {
        match self {
            Service::Rds => "2014-10-31",
            Service::CloudWatch => "2010-08-01",
            Service::Sns => "2010-03-31",
            Service::Sts => "2011-06-15",
            Service::Iam => "2010-05-08",
        }
    }

    /// The name in signatures.
    fn signing_name(self) -> &'static str {
        if self == Service::CloudWatch { "monitoring" } else { self.prefix() }
    }

    /// The Region that it is signed for: IAM has one for each partition.
    fn signing_region(self, region: &str) -> &str {
        match self {
            Service::Iam if region.starts_with("cn-") => "cn-north-1",
            Service::Iam if region.starts_with("us-gov-") => "us-gov-west-1",
            Service::Iam => "us-east-1",
            _ => region,
        }
    }

    pub(super) fn host(self, region: &str) -> String {
        let suffix = if region.starts_with("cn-") { ".cn" } else { "" };
        match self {
            Service::Iam if region.starts_with("us-gov-") => "iam.us-gov.amazonaws.com".to_owned(),
            Service::Iam if region.starts_with("cn-") => "iam.cn-north-1.amazonaws.com.cn".to_owned(),
            Service::Iam => "iam.amazonaws.com".to_owned(),
            _ => format!("{}.{region}.amazonaws.com{suffix}", self.signing_name()),
        }
    }
}

/// A call.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    /// Of which service.
    pub service: Service,
    /// Which action.
    pub action: &'static str,
    /// With what.
    pub parameters: Vec<(String, String)>,
}

impl Query {
    /// The body of the request.
    pub(super) fn form(&self) -> String {
        let fixed = [("Action", self.action), ("Version", self.service.version())];
        let parameters = self.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        form(fixed.into_iter().chain(parameters))
    }
}

/// As whom we speak to AWS, as far as may be told.
#[derive(Clone, Debug)]
pub(crate) struct Who {
    /// Where the credentials come from, in words.
    pub source: String,
    /// The last characters of the access key id, by which somebody knows it again.
    pub key_ending: String,
    /// When they expire; those that do not are never renewed either.
    pub expires: Option<DateTime<Utc>>,
}

/// What a simulation says of an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    /// Such as `rds:CreateDBSnapshot`.
    pub action: String,
    /// Whether it is allowed.
    pub is_allowed: bool,
    /// `allowed`, `implicitDeny`, `explicitDeny`.
    pub word: String,
}

/// The identity whose policies count: of a session of a role, the role. Where that has a path, its ARN does not tell.
pub(crate) fn identity_of_policies(caller: &str) -> Option<String> {
    let parts: Vec<&str> = caller.splitn(6, ':').collect();
    let ["arn", partition, service, "", account, name] = parts[..] else { return None };
    match (service, name.strip_prefix("assumed-role/")) {
        ("sts", Some(session)) => {
            Some(format!("arn:{partition}:iam::{account}:role/{}", session.split('/').next()?))
        }
        ("iam", None) if name != "root" => Some(caller.to_owned()),
        _ => None,
    }
}

impl Aws {
    /// The URL that a service is reached at.
    pub(crate) fn endpoint_of(&self, service: Service) -> String {
        match self.config.endpoint_url() {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => format!("https://{}", service.host(&self.region)),
        }
    }

    async fn credentials(&self) -> Result<Credentials> {
        let missing = || Error::outside("there are no usable AWS credentials");
        let provider = self.config.credentials_provider().ok_or_else(missing)?;
        provider.provide_credentials().await.map_err(|error| missing().caused_by(error))
    }

    /// As whom we speak.
    pub(crate) async fn who(&self) -> Result<Who> {
        let credentials = self.credentials().await?;
        let id = credentials.access_key_id();
        let ending = id.len().saturating_sub(4);
        Ok(Who {
            source: source_of(&credentials),
            key_ending: id.get(ending..).unwrap_or_default().to_owned(),
            expires: credentials.expiry().map(DateTime::<Utc>::from),
        })
    }

    /// Makes a call once, and says whether it was answered or why not.
    pub(crate) async fn ask(
        &self,
        query: &Query,
        now: DateTime<Utc>,
    ) -> std::result::Result<String, Failure> {
        let resource = format!("{} in {}", query.service.prefix(), self.region);
        let unsure = |error: Error| Failure {
            is_unreachable: is_unreachable(&error),
            ..Failure::new(query.action, &resource, Fault::Unsure, error.chain())
        };
        let request = self.signed(query, &[], now).await.map_err(unsure)?;
        let answer = web::send(request).await.map_err(unsure)?;
        if (200..300).contains(&answer.status) {
            return Ok(answer.text);
        }
        let code = element(&answer.text, "Code").unwrap_or_else(|| format!("HTTP {}", answer.status));
        let message = element(&answer.text, "Message").unwrap_or_else(|| "no reason was given".to_owned());
        let fault = if answer.status >= 500 { Fault::Unsure } else { fault_of_code(&code) };
        Err(Failure { code: Some(code), ..Failure::new(query.action, resource, fault, message) })
    }

    /// The call, signed with more headers.
    pub(super) async fn signed(
        &self,
        query: &Query,
        more: &[(&'static str, &str)],
        now: DateTime<Utc>,
    ) -> Result<Request<Full<Bytes>>> {
        let unsigned =
            |why: String| Error::outside(format!("{} could not be signed", query.action)).caused_by(why);
        let url = format!("{}/", self.endpoint_of(query.service));
        let body = query.form();
        let mut request = Request::post(&url)
            .header("content-type", "application/x-www-form-urlencoded; charset=utf-8")
            .body(Full::new(Bytes::from(body.clone())))
            .map_err(|error| unsigned(error.to_string()))?;
        let identity = self.credentials().await?.into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(query.service.signing_region(&self.region))
            .name(query.service.signing_name())
            .time(now.into())
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| unsigned(error.to_string()))?;
        let usual = [("content-type", "application/x-www-form-urlencoded; charset=utf-8")];
        let headers = usual.into_iter().chain(more.iter().copied());
        let signable = SignableRequest::new("POST", &url, headers, SignableBody::Bytes(body.as_bytes()))
            .map_err(|error| unsigned(error.to_string()))?;
        let (instructions, _) =
            sign(signable, &parameters.into()).map_err(|error| unsigned(error.to_string()))?.into_parts();
        for (name, value) in instructions.headers() {
            let name = hyper::header::HeaderName::from_bytes(name.as_bytes())
                .map_err(|error| unsigned(error.to_string()))?;
            let value = value.parse().map_err(|_| unsigned("a header cannot be written".to_owned()))?;
            request.headers_mut().insert(name, value);
        }
        Ok(request)
    }

    /// What IAM's simulator says of actions on a resource, where we may ask it. It knows the policies of the identity, not
    /// those of resources and keys.
    pub(crate) async fn simulate(
        &self,
        identity: &str,
        actions: &[String],
        resource: &str,
        context: &[(String, String)],
        now: DateTime<Utc>,
    ) -> std::result::Result<Vec<Decision>, Failure> {
        let mut parameters = vec![
            ("PolicySourceArn".to_owned(), identity.to_owned()),
            ("ResourceArns.member.1".to_owned(), resource.to_owned()),
        ];
        for (number, action) in (1..).zip(actions) {
            parameters.push((format!("ActionNames.member.{number}"), action.clone()));
        }
        for (number, (key, value)) in (1..).zip(context) {
            let entry = format!("ContextEntries.member.{number}");
            parameters.push((format!("{entry}.ContextKeyName"), key.clone()));
            parameters.push((format!("{entry}.ContextKeyType"), "string".to_owned()));
            parameters.push((format!("{entry}.ContextKeyValues.member.1"), value.clone()));
        }
        let query = Query { service: Service::Iam, action: "SimulatePrincipalPolicy", parameters };
        let answer = self.ask(&query, now).await?;
        let decisions = answer.split("<EvalActionName>").skip(1).filter_map(|part| {
            let (action, rest) = part.split_once("</EvalActionName>")?;
            let word = element(rest, "EvalDecision")?;
            Some(Decision { action: action.to_owned(), is_allowed: word == "allowed", word })
        });
        Ok(decisions.collect())
    }
}

/// Where credentials come from, by what their provider left on them.
fn source_of(credentials: &Credentials) -> String {
    let features = credentials.get_property::<Vec<Feature>>().cloned().unwrap_or_default();
    let words: Vec<&str> = features.iter().filter_map(words_of).collect();
    if words.is_empty() { "an unnamed provider".to_owned() } else { words.join(", ") }
}

fn words_of(feature: &Feature) -> Option<&'static str> {
    Some(match feature {
        Feature::CredentialsEnvVars => "environment variables",
        Feature::CredentialsEnvVarsStsWebIdToken
        | Feature::CredentialsProfileStsWebIdToken
        | Feature::CredentialsStsAssumeRoleWebId => "a web identity token",
        Feature::CredentialsStsAssumeRole => "an assumed role",
        Feature::CredentialsProfile
        | Feature::CredentialsProfileSourceProfile
        | Feature::CredentialsProfileNamedProvider => "a profile",
        Feature::CredentialsProfileSso | Feature::CredentialsSso => "SSO",
        Feature::CredentialsProfileProcess | Feature::CredentialsProcess => "a credential process",
        Feature::CredentialsHttp => "the container's role",
        Feature::CredentialsImds => "the instance's role",
        _ => return None,
    })
}

/// The text of the first element of that name.
pub(super) fn element(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&#39;", "'");
    Some(text.replace("&apos;", "'").replace("&amp;", "&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_is_read_with_its_references() {
        let xml = "<Error><Code>AccessDenied</Code><Message>a &lt;b&gt; &amp;amp; c</Message></Error>";
        assert_eq!(element(xml, "Code").as_deref(), Some("AccessDenied"));
        assert_eq!(element(xml, "Message").as_deref(), Some("a <b> &amp; c"));
        assert_eq!(element(xml, "Nope"), None);
    }

    #[test]
    fn iam_has_one_endpoint_for_each_partition() {
        assert_eq!(Service::Iam.host("eu-west-1"), "iam.amazonaws.com");
        assert_eq!(Service::Iam.signing_region("us-gov-east-1"), "us-gov-west-1");
        assert_eq!(Service::CloudWatch.host("cn-north-1"), "monitoring.cn-north-1.amazonaws.com.cn");
    }
}
