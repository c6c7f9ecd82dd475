//! STS: who calls, and roles that are assumed. Every caller is the same user of an account, except that an access key
//! `user-NAME` belongs to the user NAME. Everybody can assume every role unless a fault refuses it.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use crate::error::{ApiError, Result};
use crate::scope;
use crate::wire::{Query, Xml, format_timestamp};

pub(crate) const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";
pub(crate) const VERSION: &str = "2011-06-15";

/// The credentials that signed a call.
#[derive(Debug, Default)]
pub(crate) struct Signer {
    pub(crate) access_key: String,
    /// The session token, which names the role and the session; empty for a user.
    pub(crate) token: String,
}

/// One call.
pub(crate) struct Request<'a> {
    pub(crate) signer: &'a Signer,
    pub(crate) query: &'a Query,
    pub(crate) now: DateTime<Utc>,
}

pub(crate) fn perform_action(request: &Request<'_>, action: &str) -> Result<Xml> {
    match action {
        "GetCallerIdentity" => Ok(caller_identity(request.signer)),
        "AssumeRole" => assume_role(request, |_| ()),
        "AssumeRoleWithWebIdentity" => assume_with_token(request),
        _ => Err(ApiError::no_operation(action, VERSION)),
    }
}

fn caller_identity(signer: &Signer) -> Xml {
    let account = scope::account_of_access_key(&signer.access_key);
    let mut xml = Xml::new();
    match signer.token.strip_prefix(TOKEN) {
        Some(session) => xml
            .text("Arn", format!("arn:aws:sts::{account}:assumed-role/{session}"))
            .text("UserId", format!("{ROLE_ID}:{}", session.rsplit('/').next().unwrap_or_default())),
        None => {
            let user = signer.access_key.strip_prefix("user-").unwrap_or("local");
            xml.text("Arn", format!("arn:aws:iam::{account}:user/{user}"))
                .text("UserId", "AIDALIFEBOATLOCALSTACK")
        }
    };
    xml.text("Account", account);
    xml
}

/// The beginning of the session tokens issued here; the role and the session follow.
const TOKEN: &str = "localstack-role/";
const ROLE_ID: &str = "AROALIFEBOATLOCALSTACK";

/// Whether an action is called without a signature, by callers that have no credentials yet.
pub(crate) fn may_be_unsigned(action: &str) -> bool {
    action == "AssumeRoleWithWebIdentity"
}

/// Gives a role to the holder of a token from an identity provider: GitHub, a Kubernetes cluster. The token's
/// signature is not verified.
fn assume_with_token(request: &Request<'_>) -> Result<Xml> {
    let refused = |code: &str, message: &str| ApiError::with_status(400, code, message);
    let token = request.query.required("WebIdentityToken")?;
    let claims = token_claims(token).ok_or_else(|| {
        refused(
            "InvalidIdentityToken",
            "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)",
        )
    })?;
    let text = |name: &str| claims[name].as_str().unwrap_or_default().to_owned();
    let (subject, issuer) = (text("sub"), text("iss"));
    // A single audience, or a list of which the first counts.
    let audience = match &claims["aud"] {
        Value::Array(all) => all.first().and_then(Value::as_str).unwrap_or_default().to_owned(),
        _ => text("aud"),
    };
    if subject.is_empty() || issuer.is_empty() || audience.is_empty() {
        return Err(refused("InvalidIdentityToken", "Missing a required claim: iss, sub or aud"));
    }
    match claims["exp"].as_f64() {
        None => return Err(refused("InvalidIdentityToken", "Missing a required claim: exp")),
        Some(until) if until < request.now.timestamp() as f64 => {
            return Err(refused(
                "ExpiredTokenException",
                "Token expired: current date/time must be before the expiration date/time",
            ));
        }
        Some(_) => {}
    }
    assume_role(request, |xml| {
        xml.text("SubjectFromWebIdentityToken", subject)
            .text("Audience", audience)
            .text("Provider", issuer.trim_start_matches("https://"));
    })
}

/// The claims of a JSON Web Token.
fn token_claims(token: &str) -> Option<Value> {
    let parts: Vec<&str> = token.split('.').collect();
    let [header, claims, _] = parts[..] else { return None };
    let read = |part: &str| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(part).ok()?).ok();
    read(header)?["alg"].as_str()?;
    read(claims).filter(Value::is_object)
}

fn assume_role(request: &Request<'_>, more: impl FnOnce(&mut Xml)) -> Result<Xml> {
    let arn = request.query.required("RoleArn")?;
    let session = request.query.required("RoleSessionName")?;
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", _, "iam", "", account, role] = parts[..] else { return Err(invalid_role_arn(arn)) };
    let Some(role) =
        role.strip_prefix("role/").filter(|role| scope::is_account_id(account) && !role.is_empty())
    else {
        return Err(invalid_role_arn(arn));
    };
    let seconds = request.query.number("DurationSeconds")?.unwrap_or(3600);
    if !(900..=43_200).contains(&seconds) {
        return Err(validation_error("DurationSeconds is from 900 to 43200.".to_owned()));
    }
    let is_session = (2..=64).contains(&session.len())
        && session.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte));
    if !is_session {
        return Err(validation_error(format!(
            "1 validation error detected: Value '{session}' at 'roleSessionName' failed to satisfy constraint: Member must \
             satisfy regular expression pattern: [\\w+=,.@-]{{2,64}}"
        )));
    }
    let name = role.rsplit('/').next().unwrap_or(role);
    let tail = format!("{:04X}", rand::random::<u16>());
    let mut xml = Xml::new();
    xml.within("Credentials", |xml| {
        xml.text("AccessKeyId", format!("ASIA{account}{tail}"))
            .text("SecretAccessKey", "local")
            .text("SessionToken", format!("{TOKEN}{name}/{session}"))
            .text("Expiration", format_timestamp(request.now + TimeDelta::seconds(seconds)));
    });
    xml.within("AssumedRoleUser", |xml| {
        xml.text("AssumedRoleId", format!("{ROLE_ID}:{session}"))
            .text("Arn", format!("arn:aws:sts::{account}:assumed-role/{name}/{session}"));
    });
    more(&mut xml);
    Ok(xml)
}

fn invalid_role_arn(arn: &str) -> ApiError {
    validation_error(format!("{arn} is invalid"))
}

fn validation_error(message: String) -> ApiError {
    ApiError { code: "ValidationError".to_owned(), status: 400, message }
}
