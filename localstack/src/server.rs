//! HTTP: who is called, in which Region, with which fault in the way; and the answer on the wire.
//!
//! A connection that is to be cut ends with an error instead of an answer, which makes hyper close it.

use std::io::{self, Read as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use flate2::read::MultiGzDecoder;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, DATE, HeaderMap, HeaderValue, ORIGIN};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::calls::Call;
use crate::document::{Document, Fields};
use crate::error::ApiError;
use crate::faults::{Fault, Met};
use crate::stack::Shared;
use crate::wire::{Query, Xml, ec2_error_response, error_response, timestamp};
use crate::{cloudwatch, control, iam, place, rds, secrets, sns, sts};

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
    let body = match unpacked(&head.headers, body) {
        Ok(body) => body,
        Err(why) => return Ok(control::refuse(400, why)),
    };
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
    } else if path == "/" && head.method == Method::GET {
        follow_link(&shared, head.uri.query().unwrap_or_default())
    } else if (path == "/" || path.starts_with("/service/")) && head.method == Method::POST {
        aws(&shared, path, &head.headers, &body).await?
    } else {
        control::refuse(404, "the API is at POST /, the control endpoint below /_control/")
    };
    let date = shared.clock.now().format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    if let Ok(date) = date.parse() {
        answer.headers_mut().insert(DATE, date);
    }
    Ok(answer)
}

/// The body as it was before the client compressed it: SDKs gzip `PutMetricData` from 10 KiB on, in every protocol.
fn unpacked(headers: &HeaderMap, mut body: Bytes) -> Result<Bytes, &'static str> {
    let encodings = headers.get_all(CONTENT_ENCODING).iter();
    let encodings: Vec<&str> = encodings.filter_map(|value| value.to_str().ok()).collect();
    // Several are undone in the opposite order (RFC 9110, section 8.4).
    for encoding in encodings.iter().flat_map(|value| value.split(',')).map(str::trim).rev() {
        body = match encoding.to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => {
                let most = LONGEST_BODY as u64 + 1;
                let mut plain = Vec::new();
                let read = MultiGzDecoder::new(&body[..]).take(most).read_to_end(&mut plain);
                read.map_err(|_| "the body is not gzip, though its Content-Encoding says so")?;
                if plain.len() > LONGEST_BODY {
                    return Err("the body is too long");
                }
                plain.into()
            }
            "" | "identity" => body,
            _ => return Err("the Content-Encoding is not supported: use gzip or none"),
        };
    }
    Ok(body)
}

/// The links in the messages of SNS need no signature.
fn follow_link(shared: &Arc<Shared>, query: &str) -> Answer {
    let parameters = Query::parse(query.as_bytes());
    let action = parameters.owned("Action").unwrap_or_default();
    if !["ConfirmSubscription", "Unsubscribe"].contains(&action.as_str()) {
        return control::refuse(404, "the API is at POST /, the control endpoint below /_control/");
    }
    // A token or an ARN names the Region by itself.
    let call = ApiCall {
        service: Service::Sns,
        protocol: Protocol::Query,
        action,
        region: parameters
            .get("TopicArn")
            .and_then(place::of_arn)
            .unwrap_or_else(|| DEFAULT_REGION.to_owned()),
        parameters,
        input: Document::Null,
        json: Value::Null,
        signer: sts::Signer::default(),
    };
    let request_id = request_id();
    let outcome = perform_sns(shared, &call, &request_id);
    let (code, status, message) = told(&outcome);
    log(shared, &call, code, Some(status), message);
    call.write(outcome, &request_id)
}

/// One call of an AWS API, however it was spelled.
struct ApiCall {
    service: Service,
    protocol: Protocol,
    action: String,
    /// Account and Region, as `place` writes them.
    region: String,
    /// Of a form; of the others what the log shows.
    parameters: Query,
    /// For CloudWatch.
    input: Document,
    /// For Secrets Manager.
    json: Value,
    /// Who calls.
    signer: sts::Signer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Service {
    Rds,
    Sts,
    Iam,
    SecretsManager,
    CloudWatch,
    Sns,
    Ec2,
    /// Another one that is not here.
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Query,
    /// awsJson 1.0 or 1.1.
    Json(&'static str),
    Cbor,
}

impl Service {
    fn name(self) -> &'static str {
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

    fn namespace(self) -> &'static str {
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

/// What an answer carries.
enum Body {
    /// XML or JSON, ready.
    Text(String),
    Document(Document),
}

type Outcome = Result<Body, ApiError>;

async fn aws(shared: &Arc<Shared>, path: &str, headers: &HeaderMap, body: &[u8]) -> io::Result<Answer> {
    let request_id = request_id();
    let call = ApiCall::read(path, headers, body);
    let met = Met {
        action: &call.action,
        region: place::region(&call.region),
        account: place::account(&call.region),
        parameters: &call.parameters,
    };
    let fault = shared.injected.fault(&met, Instant::now());
    if fault == Some(Fault::Cut) {
        log(shared, &call, "cut".to_owned(), None, None);
        return Err(io::Error::other("cut off on request"));
    }
    let outcome = match &fault {
        Some(Fault::Refuse(error)) => Err(error.clone()),
        _ if !headers.contains_key(AUTHORIZATION) && !call.is_unsigned() => {
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
    let (code, status, message) = told(&outcome);
    log(shared, &call, code, Some(status), message);
    if let Some(Fault::Slow(span)) = fault {
        tokio::time::sleep(span).await;
    }
    Ok(call.write(outcome, &request_id))
}

fn told(outcome: &Outcome) -> (String, u16, Option<String>) {
    match outcome {
        Ok(_) => ("ok".to_owned(), 200, None),
        Err(error) => (error.code.clone(), error.status, Some(error.message.clone())),
    }
}

async fn perform(shared: &Arc<Shared>, call: &ApiCall, request_id: &str) -> Outcome {
    if call.action.is_empty() {
        return Err(ApiError::new("MissingAction", "The request must contain the parameter Action."));
    }
    let action = call.action.as_str();
    let now = shared.clock.now();
    match call.service {
        Service::SecretsManager => secrets::answer(shared, &call.region, action, &call.json)
            .map(|answer| Body::Text(answer.to_string())),
        Service::Sts => {
            let request = sts::Request { signer: &call.signer, query: &call.parameters, now };
            Ok(Body::Text(sts::answer(&request, action)?.response(sts::NAMESPACE, action, true, request_id)))
        }
        Service::Iam => {
            let xml = iam::answer(&shared.injected, &call.parameters, action)?;
            Ok(Body::Text(xml.response(iam::NAMESPACE, action, true, request_id)))
        }
        Service::Sns => perform_sns(shared, call, request_id),
        Service::Ec2 | Service::Other if call.protocol == Protocol::Query => Err(ApiError::new(
            "InvalidAction",
            format!(
                "The action {action} is not valid for this web service: the local stack has no service of version {}",
                call.parameters.get("Version").unwrap_or_default()
            ),
        )),
        Service::Ec2 | Service::Other => Err(ApiError {
            status: 400,
            ..ApiError::new("UnknownOperationException", "The local stack has no such service.")
        }),
        Service::CloudWatch => {
            let request = cloudwatch::Request { shared, region: &call.region, input: &call.input, now };
            cloudwatch::answer(&request, action).map(Body::Document)
        }
        Service::Rds => {
            let request = rds::Request { shared, region: &call.region, query: &call.parameters, now };
            let xml = rds::answer(&request, action).await?;
            Ok(Body::Text(xml.response(rds::NAMESPACE, action, !rds::has_no_result(action), request_id)))
        }
    }
}

fn perform_sns(shared: &Arc<Shared>, call: &ApiCall, request_id: &str) -> Outcome {
    let request = sns::Request { shared, region: &call.region, query: &call.parameters };
    let xml = sns::answer(&request, &call.action)?;
    let has_result = !sns::has_no_result(&call.action);
    Ok(Body::Text(xml.response(sns::NAMESPACE, &call.action, has_result, request_id)))
}

impl ApiCall {
    fn read(path: &str, headers: &HeaderMap, body: &[u8]) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let access_key = access_key(text("authorization"));
        let region = place::of(place::account_of_key(&access_key), &region(text("authorization")));
        let signer = sts::Signer { access_key, token: text("x-amz-security-token").to_owned() };
        let cbor = path.strip_prefix("/service/").and_then(|rest| rest.split_once("/operation/"));
        if let Some((_, action)) = cbor {
            let input = Document::from_cbor(body).unwrap_or(Document::Null);
            return Self::monitoring(Protocol::Cbor, action, region, input);
        }
        if let Some((target, action)) = text("x-amz-target").split_once('.') {
            let json = serde_json::from_slice(body).unwrap_or(Value::Null);
            if target == cloudwatch::TARGET {
                return Self::monitoring(Protocol::Json("1.0"), action, region, Document::from_json(json));
            }
            return Self {
                service: if target == "secretsmanager" { Service::SecretsManager } else { Service::Other },
                protocol: Protocol::Json("1.1"),
                action: action.to_owned(),
                region,
                parameters: secret_parameters(&json),
                input: Document::Null,
                json,
                signer,
            };
        }
        let parameters = Query::parse(body);
        let service = Service::of_version(parameters.get("Version"));
        let is_document = service == Service::CloudWatch;
        Self {
            service,
            protocol: Protocol::Query,
            action: parameters.owned("Action").unwrap_or_default(),
            region,
            input: if is_document { Document::from_form(&parameters) } else { Document::Null },
            parameters,
            json: Value::Null,
            signer,
        }
    }

    fn is_unsigned(&self) -> bool {
        self.service == Service::Sts && sts::is_unsigned(&self.action)
    }

    /// A call of CloudWatch in one of its newer protocols.
    fn monitoring(protocol: Protocol, action: &str, region: String, input: Document) -> Self {
        Self {
            service: Service::CloudWatch,
            protocol,
            action: action.to_owned(),
            region,
            parameters: Query::of(input.shown()),
            input,
            json: Value::Null,
            signer: sts::Signer::default(),
        }
    }

    fn write(&self, outcome: Outcome, request_id: &str) -> Answer {
        let status = outcome.as_ref().map_or_else(|error| error.status, |_| 200);
        let error = outcome.as_ref().err().cloned();
        let (kind, body): (String, Vec<u8>) = match (self.protocol, outcome) {
            (Protocol::Query, outcome) => {
                ("text/xml".to_owned(), self.write_xml(outcome, request_id).into_bytes())
            }
            (Protocol::Json(version), outcome) => {
                let body = match outcome {
                    Ok(Body::Text(text)) => text,
                    Ok(Body::Document(document)) => document.to_json().to_string(),
                    Err(error) => {
                        serde_json::json!({ "__type": self.shape(&error), "message": error.message })
                            .to_string()
                    }
                };
                (format!("application/x-amz-json-{version}"), body.into_bytes())
            }
            (Protocol::Cbor, outcome) => {
                let document = match outcome {
                    Ok(Body::Text(text)) => text.into(),
                    Ok(Body::Document(document)) => document,
                    Err(error) => {
                        let shape = format!("com.amazonaws.cloudwatch#{}", self.shape(&error));
                        Fields::new().with("__type", shape).with("message", error.message).done()
                    }
                };
                ("application/cbor".to_owned(), document.to_cbor())
            }
        };
        let mut answer = respond_bytes(status, &kind, body, Some(request_id));
        if self.protocol == Protocol::Cbor {
            answer.headers_mut().insert("smithy-protocol", HeaderValue::from_static("rpc-v2-cbor"));
        }
        // Clients that knew the older protocol want its codes.
        let code = error.filter(|_| self.service == Service::CloudWatch && self.protocol != Protocol::Query);
        if let Some(code) = code.and_then(|error| format!("{};{}", error.code, error.party()).parse().ok()) {
            answer.headers_mut().insert("x-amzn-query-error", code);
        }
        answer
    }

    fn write_xml(&self, outcome: Outcome, request_id: &str) -> String {
        let namespace = self.service.namespace();
        match outcome {
            Ok(Body::Text(text)) => text,
            Ok(Body::Document(document)) => {
                let mut xml = Xml::new();
                document.write_xml(&mut xml);
                xml.response(namespace, &self.action, !cloudwatch::has_no_result(&self.action), request_id)
            }
            Err(error) if self.service == Service::Ec2 => ec2_error_response(&error, request_id),
            Err(error) => error_response(namespace, &error, request_id),
        }
    }

    /// What an error is called in JSON and CBOR.
    fn shape<'e>(&self, error: &'e ApiError) -> &'e str {
        if self.service == Service::CloudWatch { cloudwatch::shape_of(&error.code) } else { &error.code }
    }
}

/// What of a Secrets Manager request the log shows.
fn secret_parameters(json: &Value) -> Query {
    json["SecretId"].as_str().map_or_else(Query::default, |id| Query::single("SecretId", id))
}

pub(crate) fn respond(status: u16, kind: &str, body: String, request_id: Option<&str>) -> Answer {
    respond_bytes(status, kind, body.into_bytes(), request_id)
}

fn respond_bytes(status: u16, kind: &str, body: Vec<u8>, request_id: Option<&str>) -> Answer {
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
        region: place::region(&call.region).to_owned(),
        account: place::account(&call.region).to_owned(),
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

/// Who signed: `Credential=AKID/20261121/eu-west-1/rds/aws4_request`.
fn access_key(authorization: &str) -> String {
    let scope = authorization.split("Credential=").nth(1).unwrap_or_default();
    scope.split('/').next().unwrap_or_default().to_owned()
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

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, plain).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn bodies_are_unpacked_as_their_encoding_says() {
        let unpacked = |encoding: Option<&'static str>, body: Vec<u8>| {
            let encoding = encoding.map(|text| (CONTENT_ENCODING, HeaderValue::from_static(text)));
            unpacked(&HeaderMap::from_iter(encoding), body.into())
        };
        let plain = b"Action=PutMetricData".to_vec();
        assert_eq!(unpacked(None, plain.clone()).unwrap(), plain);
        assert_eq!(unpacked(Some("identity"), plain.clone()).unwrap(), plain);
        assert_eq!(unpacked(Some("GZIP"), gzip(&plain)).unwrap(), plain);
        assert_eq!(unpacked(Some("gzip, gzip"), gzip(&gzip(&plain))).unwrap(), plain);
        let two_members = [gzip(&plain[..5]), gzip(&plain[5..])].concat();
        assert_eq!(unpacked(Some("gzip"), two_members).unwrap(), plain);
        assert!(unpacked(Some("gzip"), plain.clone()).is_err());
        assert!(unpacked(Some("gzip"), gzip(&plain)[..12].to_vec()).is_err());
        assert!(unpacked(Some("br"), plain).is_err());
        assert_eq!(unpacked(Some("gzip"), gzip(&vec![0; LONGEST_BODY + 1])), Err("the body is too long"));
        assert_eq!(unpacked(Some("gzip"), gzip(&vec![0; LONGEST_BODY])).unwrap().len(), LONGEST_BODY);
    }

    #[test]
    fn request_ids_look_like_uuids() {
        let id = request_id();
        assert_eq!(id.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
    }
}
