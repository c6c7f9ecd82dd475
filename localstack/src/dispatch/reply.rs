//! The answer to an AWS call, written in the protocol of the call.

use hyper::header::HeaderValue;
use serde_json::json;

use crate::cloudwatch;
use crate::dispatch::call::{ApiCall, Protocol, Service};
use crate::document::{Document, Fields};
use crate::error::ApiError;
use crate::http::{Answer, build_answer};
use crate::wire::{Xml, ec2_error_response, error_response};

/// What a successful call returns.
pub(super) enum Body {
    /// XML or JSON, complete.
    Text(String),
    Document(Document),
}

pub(super) type Outcome = Result<Body, ApiError>;

pub(super) fn write_reply(call: &ApiCall, outcome: Outcome, request_id: &str) -> Answer {
    let status = outcome.as_ref().map_or_else(|error| error.status, |_| 200);
    // Clients that knew the older protocol want its codes.
    let is_newer = call.service == Service::CloudWatch && call.protocol != Protocol::Query;
    let error = outcome.as_ref().err().filter(|_| is_newer);
    let query_error = error.map(|error| format!("{};{}", error.code, error.fault_party()));
    let mut reply = match call.protocol {
        Protocol::Query => build_answer(status, "text/xml", write_xml(call, outcome, request_id)),
        Protocol::Json(version) => {
            let body = match outcome {
                Ok(Body::Text(text)) => text,
                Ok(Body::Document(document)) => document.to_json().to_string(),
                Err(error) => {
                    json!({ "__type": error_shape(call, &error), "message": error.message }).to_string()
                }
            };
            build_answer(status, &format!("application/x-amz-json-{version}"), body)
        }
        Protocol::Cbor => {
            let document = match outcome {
                Ok(Body::Text(text)) => text.into(),
                Ok(Body::Document(document)) => document,
                Err(error) => {
                    let shape = format!("com.amazonaws.cloudwatch#{}", error_shape(call, &error));
                    Fields::new().with("__type", shape).with("message", error.message).done()
                }
            };
            build_answer(status, "application/cbor", document.to_cbor())
        }
    };
    let mut set = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            reply.headers_mut().insert(name, value);
        }
    };
    set("x-amzn-requestid", request_id);
    if call.protocol == Protocol::Cbor {
        set("smithy-protocol", "rpc-v2-cbor");
    }
    if let Some(code) = query_error {
        set("x-amzn-query-error", &code);
    }
    reply
}

fn write_xml(call: &ApiCall, outcome: Outcome, request_id: &str) -> String {
    let namespace = call.service.namespace();
    match outcome {
        Ok(Body::Text(text)) => text,
        Ok(Body::Document(document)) => {
            let mut xml = Xml::new();
            document.write_xml(&mut xml);
            xml.response(namespace, &call.action, !cloudwatch::has_no_result(&call.action), request_id)
        }
        Err(error) if call.service == Service::Ec2 => ec2_error_response(&error, request_id),
        Err(error) => error_response(namespace, &error, request_id),
    }
}

/// The name of an error in JSON and CBOR.
fn error_shape<'e>(call: &ApiCall, error: &'e ApiError) -> &'e str {
    if call.service == Service::CloudWatch { cloudwatch::error_shape(&error.code) } else { &error.code }
}
