//! Parses the body and headers of a request, strictly.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use crate::backup::Level;
use crate::server::answers::{Answer, Answered, LARGEST_BODY, too_large};
use crate::server::call::Call;

/// How long a body may take to arrive.
pub(super) const BODY: Duration = Duration::from_secs(10);

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateBody {
    pub(super) backup_name: Option<String>,
    pub(super) compress: Option<bool>,
    pub(super) database: Option<String>,
    #[serde(default, rename = "async")]
    pub(super) is_async: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RestoreBody {
    pub(super) confirm: Option<String>,
    #[serde(default)]
    pub(super) dry_run: bool,
    #[serde(default, rename = "async")]
    pub(super) is_async: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VerifyBody {
    pub(super) level: Option<Level>,
    #[serde(default, rename = "async")]
    pub(super) is_async: bool,
}

/// The body of a request as its type; an empty one means all defaults.
pub(super) async fn read_body<T: DeserializeOwned + Default>(headers: &HeaderMap, body: Body) -> Answered<T> {
    let reading = tokio::time::timeout(BODY, Limited::new(body, LARGEST_BODY).collect()).await;
    let bytes = match reading {
        Ok(Ok(collected)) => collected.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            return Err(too_large().header(header::CONNECTION, "close"));
        }
        Ok(Err(_)) => return Err(Answer::bad_request("the body was cut off")),
        Err(_) => {
            return Err(Answer::refusal(
                StatusCode::REQUEST_TIMEOUT,
                format!("the body did not arrive within {} seconds", BODY.as_secs()),
            )
            .header(header::CONNECTION, "close"));
        }
    };
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(T::default());
    }
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.map(|kind| kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    if !kind.as_deref().is_none_or(|kind| kind == "application/json" || kind.ends_with("+json")) {
        return Err(Answer::refusal(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the content type of the body is not JSON",
        )
        .hint("Send `Content-Type: application/json`."));
    }
    // serde accepts a list as the fields of a struct in order.
    if !bytes.trim_ascii_start().starts_with(b"{") {
        return Err(
            Answer::bad_request("the body is not a JSON object").hint("`/api/openapi.json` describes it.")
        );
    }
    serde_json::from_slice(&bytes).map_err(|error| {
        Answer::bad_request(format!("the body is not valid: {error}"))
            .hint("`/api/openapi.json` describes it.")
    })
}

/// Whether the caller prefers a job to waiting.
pub(super) fn prefers_async(headers: &HeaderMap) -> bool {
    let texts = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    texts
        .flat_map(|text| text.split([',', ';']))
        .any(|word| word.trim().eq_ignore_ascii_case("respond-async"))
}

/// A digest of caller, request and idempotency key.
pub(super) fn idempotency_key(headers: &HeaderMap, call: &Call) -> Answered<Option<String>> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    match value.to_str().map(str::trim) {
        Ok(key) if (1..=255).contains(&key.len()) => {
            let text = format!("{}\n{}\n{key}", call.caller.who, call.endpoint.path);
            Ok(Some(hex::encode(Sha256::digest(text.as_bytes()))))
        }
        _ => Err(Answer::bad_request("`Idempotency-Key` must be 1 to 255 ASCII characters")),
    }
}

/// A parameter of the query that is true or false.
pub(super) fn query_flag(query: Option<&str>, key: &str) -> Answered<bool> {
    let pairs = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let mut found = false;
    for (_, value) in pairs.filter(|(name, _)| name == key) {
        found = match value.as_ref() {
            "true" => true,
            "false" => false,
            _ => return Err(Answer::bad_request(format!("`{key}` must be `true` or `false`"))),
        };
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_list_is_no_body() {
        for text in ["[\"stream\", true]", "[]", "null", "\"x\""] {
            let answer = read_body::<VerifyBody>(&HeaderMap::new(), Body::from(text)).await.unwrap_err();
            assert_eq!(answer.body["error"], "the body is not a JSON object", "{text}");
        }
        assert!(
            read_body::<VerifyBody>(&HeaderMap::new(), Body::from(" {\"level\": \"stream\"}")).await.is_ok()
        );
    }

    #[test]
    fn an_asynchronous_answer_is_asked_for_in_a_header() {
        let mut headers = HeaderMap::new();
        assert!(!prefers_async(&headers));
        headers.insert("prefer", "wait=10, Respond-Async".parse().unwrap());
        assert!(prefers_async(&headers));
    }

    #[test]
    fn a_flag_is_true_or_false_and_nothing_else() {
        assert!(
            !query_flag(None, "x").unwrap()
                && !query_flag(Some("y=true"), "x").unwrap()
                && query_flag(Some("x=true"), "x").unwrap()
        );
        assert!(query_flag(Some("x=1"), "x").is_err());
    }
}
