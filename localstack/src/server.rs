//! HTTP: who is called, in which Region, with which fault in the way; and the answer on the wire.
//!
//! A connection that is to be cut ends with an error instead of an answer, which makes hyper close it.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, ORIGIN};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::calls::Call;
use crate::error::ApiError;
use crate::faults::Fault;
use crate::stack::Shared;
use crate::wire::{Query, error_response, timestamp};
use crate::{control, rds, secrets, sts};

/// More than any request has.
const LONGEST_BODY: usize = 4 << 20;

const DEFAULT_REGION: &str = "us-east-1";

pub(crate) type Answer = Response<Full<Bytes>>;

/// Answers calls for as long as the stack runs.
pub(crate) async fn serve(shared: Arc<Shared>, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(_) => {
                // Out of file handles, for example: others may close theirs.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&shared), request));
            let connection = hyper::server::conn::http1::Builder::new();
            // An error here is a caller that went away, or one that we cut off.
            let _ = connection.serve_connection(TokioIo::new(stream), service).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> io::Result<Answer> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, LONGEST_BODY).collect().await.map_err(io::Error::other)?.to_bytes();
    let path = head.uri.path();
    let mut answer = if let Some(rest) = path.strip_prefix("/_control/") {
        // A web page in a browser on this machine has no business here.
        if head.headers.contains_key(ORIGIN) {
            control::refuse(403, "the control endpoint is not for web pages")
        } else {
            let answer = control::answer(&shared, &head.method, rest, &body);
            shared.store.saved().await;
            answer
        }
    } else if path == "/" && head.method == Method::POST {
        aws(&shared, &head.headers, &body).await?
    } else {
        control::refuse(404, "the API is at POST /, the control endpoint below /_control/")
    };
    let date = shared.clock.now().format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    if let Ok(date) = date.parse() {
        answer.headers_mut().insert(DATE, date);
    }
    Ok(answer)
}

/// One call of an AWS API, however it was spelled.
struct ApiCall {
    service: Service,
    action: String,
    region: String,
    parameters: Query,
    json: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Service {
    Rds,
    Sts,
    SecretsManager,
}

impl Service {
    fn name(self) -> &'static str {
        match self {
            Self::Rds => "rds",
            Self::Sts => "sts",
            Self::SecretsManager => "secretsmanager",
        }
    }

    fn namespace(self) -> &'static str {
        if self == Self::Sts { sts::NAMESPACE } else { rds::NAMESPACE }
    }
}

async fn aws(shared: &Arc<Shared>, headers: &HeaderMap, body: &[u8]) -> io::Result<Answer> {
    let request_id = request_id();
    let call = ApiCall::read(headers, body);
    let fault = shared.injected.fault(&call.action, Instant::now());
    if fault == Some(Fault::Cut) {
        log(shared, &call, "cut".to_owned(), None, None);
        return Err(io::Error::other("cut off on request"));
    }
    let outcome = match &fault {
        Some(Fault::Refuse(error)) => Err(error.clone()),
        _ if !headers.contains_key(AUTHORIZATION) => {
            Err(ApiError::new("MissingAuthenticationToken", "Request is missing Authentication Token"))
        }
        _ => perform(shared, &call, &request_id).await,
    };
    // What a caller is told, a stack that is killed now still knows.
    shared.store.saved().await;
    if fault == Some(Fault::LoseResponse) {
        let status = outcome.as_ref().map_or_else(|error| error.code.clone(), |_| "ok".to_owned());
        log(shared, &call, "lost-response".to_owned(), None, Some(status));
        return Err(io::Error::other("response lost on request"));
    }
    let (code, status, message) = match &outcome {
        Ok(_) => ("ok".to_owned(), 200, None),
        Err(error) => (error.code.clone(), error.status, Some(error.message.clone())),
    };
    log(shared, &call, code, Some(status), message);
    if let Some(Fault::Slow(span)) = fault {
        tokio::time::sleep(span).await;
    }
    Ok(call.write(outcome, &request_id))
}

async fn perform(shared: &Arc<Shared>, call: &ApiCall, request_id: &str) -> Result<String, ApiError> {
    if call.action.is_empty() {
        return Err(ApiError::new("MissingAction", "The request must contain the parameter Action."));
    }
    let action = call.action.as_str();
    match call.service {
        Service::SecretsManager => {
            secrets::answer(shared, &call.region, action, &call.json).map(|answer| answer.to_string())
        }
        Service::Sts => Ok(sts::answer(action)?.response(sts::NAMESPACE, action, true, request_id)),
        Service::Rds => {
            let request = rds::Request {
                shared,
                region: &call.region,
                query: &call.parameters,
                now: shared.clock.now(),
            };
            let xml = rds::answer(&request, action).await?;
            Ok(xml.response(rds::NAMESPACE, action, !rds::has_no_result(action), request_id))
        }
    }
}

impl ApiCall {
    fn read(headers: &HeaderMap, body: &[u8]) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let region = region(text("authorization"));
        if let Some((_, action)) = text("x-amz-target").split_once('.') {
            let json = serde_json::from_slice(body).unwrap_or(Value::Null);
            return Self {
                service: Service::SecretsManager,
                action: action.to_owned(),
                region,
                parameters: secret_parameters(&json),
                json,
            };
        }
        let parameters = Query::parse(body);
        let is_sts = parameters.get("Version") == Some(sts::VERSION);
        Self {
            service: if is_sts { Service::Sts } else { Service::Rds },
            action: parameters.owned("Action").unwrap_or_default(),
            region,
            parameters,
            json: Value::Null,
        }
    }

    fn write(&self, outcome: Result<String, ApiError>, request_id: &str) -> Answer {
        let is_json = self.service == Service::SecretsManager;
        let (status, body) = match outcome {
            Ok(body) => (200, body),
            Err(error) if is_json => {
                let body = serde_json::json!({ "__type": error.code, "message": error.message });
                (error.status, body.to_string())
            }
            Err(error) => (error.status, error_response(self.service.namespace(), &error, request_id)),
        };
        let kind = if is_json { "application/x-amz-json-1.1" } else { "text/xml" };
        respond(status, kind, body, Some(request_id))
    }
}

/// What of a Secrets Manager request the log shows.
fn secret_parameters(json: &Value) -> Query {
    json["SecretId"].as_str().map_or_else(Query::default, |id| Query::single("SecretId", id))
}

pub(crate) fn respond(status: u16, kind: &str, body: String, request_id: Option<&str>) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() =
        hyper::StatusCode::from_u16(status).unwrap_or(hyper::StatusCode::INTERNAL_SERVER_ERROR);
    if let Ok(kind) = kind.parse() {
        answer.headers_mut().insert(CONTENT_TYPE, kind);
    }
    if let Some(id) = request_id.and_then(|id| id.parse().ok()) {
        answer.headers_mut().insert("x-amzn-requestid", id);
    }
    answer
}

fn log(shared: &Shared, call: &ApiCall, outcome: String, status: Option<u16>, message: Option<String>) {
    shared.calls.add(Call {
        time: timestamp(shared.clock.now()),
        service: call.service.name(),
        action: call.action.clone(),
        region: call.region.clone(),
        parameters: call.parameters.redacted(),
        outcome,
        status,
        message,
    });
}

/// The Region of the credential scope: `Credential=AKID/20261121/eu-west-1/rds/aws4_request`.
fn region(authorization: &str) -> String {
    authorization
        .split("Credential=")
        .nth(1)
        .and_then(|scope| scope.split(',').next())
        .and_then(|scope| scope.split('/').rev().nth(2))
        .filter(|region| {
            !region.is_empty()
                && region
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        })
        .unwrap_or(DEFAULT_REGION)
        .to_owned()
}

fn request_id() -> String {
    let random = rand::random::<u128>();
    let hex = format!("{random:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_region_comes_from_the_credential_scope() {
        let header = "AWS4-HMAC-SHA256 Credential=test/20261121/eu-central-1/rds/aws4_request, SignedHeaders=host, Signature=0";
        assert_eq!(region(header), "eu-central-1");
        assert_eq!(
            region("AWS4-HMAC-SHA256 Credential=a/b/20261121/eu-west-3/rds/aws4_request,"),
            "eu-west-3"
        );
        for other in
            ["", "Bearer x", "AWS4-HMAC-SHA256 Credential=test", "Credential=a/b/<x>/rds/aws4_request"]
        {
            assert_eq!(region(other), "us-east-1", "{other}");
        }
    }

    #[test]
    fn request_ids_look_like_uuids() {
        let id = request_id();
        assert_eq!(id.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
    }
}
