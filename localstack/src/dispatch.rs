//! HTTP: which service a call is for, which fault it meets, and who performs it.
//!
//! A connection that a fault cuts ends with an error instead of an answer, which makes hyper close it.

mod call;
mod reply;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, DATE, HeaderMap, ORIGIN};
use hyper::service::service_fn;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::call_log::Call;
use crate::error::ApiError;
use crate::faults::{Fault, FaultTarget};
use crate::http::{Answer, LONGEST_BODY, decode_body, refuse_request};
use crate::ids::random_uuid;
use crate::stack::Context;
use crate::wire::format_timestamp;
use crate::{cloudwatch, control, iam, rds, scope, secrets_manager, sns, sts};

use call::{ApiCall, Protocol, Service};
use reply::{Body, Outcome, write_reply};

const NOTHING_HERE: &str = "the API is at POST /, the control endpoint is below /_control/";

/// Answers calls for as long as the stack runs.
pub(crate) async fn serve(cx: Arc<Context>, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file handles, for example: other connections may close theirs.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let cx = Arc::clone(&cx);
        connections.spawn(async move {
            let service = service_fn(move |request| answer_request(Arc::clone(&cx), request));
            let connection = hyper::server::conn::http1::Builder::new();
            // An error here is a client that went away, or one that a fault cut off.
            let _ = connection.serve_connection(TokioIo::new(stream), service).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn answer_request(cx: Arc<Context>, request: Request<Incoming>) -> io::Result<Answer> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, LONGEST_BODY).collect().await.map_err(io::Error::other)?.to_bytes();
    let body = match decode_body(&head.headers, body) {
        Ok(body) => body,
        Err(why) => return Ok(refuse_request(400, why)),
    };
    let path = head.uri.path();
    let mut answer = if let Some(rest) = path.strip_prefix("/_control/") {
        // A web page in a browser on this machine must not control the stack.
        if head.headers.contains_key(ORIGIN) {
            refuse_request(403, "the control endpoint does not answer web pages")
        } else {
            let answer = control::answer_control(&cx, &head.method, rest, &body);
            cx.store.wait_until_saved().await;
            answer
        }
    } else if path == "/" && head.method == Method::GET {
        follow_link(&cx, head.uri.query().unwrap_or_default())
    } else if (path == "/" || path.starts_with("/service/")) && head.method == Method::POST {
        answer_call(&cx, &ApiCall::read(path, &head.headers, &body), &head.headers).await?
    } else {
        refuse_request(404, NOTHING_HERE)
    };
    let date = cx.clock.now().format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    if let Ok(date) = date.parse() {
        answer.headers_mut().insert(DATE, date);
    }
    Ok(answer)
}

fn follow_link(cx: &Arc<Context>, query: &str) -> Answer {
    let Some(call) = ApiCall::from_link(query) else { return refuse_request(404, NOTHING_HERE) };
    let request_id = random_uuid();
    let outcome = perform_sns(cx, &call, &request_id);
    log_outcome(cx, &call, &outcome);
    write_reply(&call, outcome, &request_id)
}

async fn answer_call(cx: &Arc<Context>, call: &ApiCall, headers: &HeaderMap) -> io::Result<Answer> {
    let request_id = random_uuid();
    let target = FaultTarget {
        action: &call.action,
        region: scope::region_of(&call.region),
        account: scope::account_of(&call.region),
        parameters: &call.parameters,
    };
    let fault = cx.injected.take_fault(&target, Instant::now());
    if fault == Some(Fault::Cut) {
        log_call(cx, call, "cut", None, None);
        return Err(io::Error::other("cut off on request"));
    }
    let outcome = match &fault {
        Some(Fault::Refuse(error)) => Err(error.clone()),
        _ if !headers.contains_key(AUTHORIZATION) && !call.may_be_unsigned() => {
            Err(ApiError::new("MissingAuthenticationToken", "Request is missing Authentication Token"))
        }
        _ => perform_call(cx, call, &request_id).await,
    };
    // A caller must not be told of a change that a stack killed now would forget.
    cx.store.wait_until_saved().await;
    if fault == Some(Fault::LoseResponse) {
        let code = outcome.as_ref().map_or_else(|error| error.code.as_str(), |_| "ok");
        log_call(cx, call, "lost-response", None, Some(code));
        return Err(io::Error::other("response lost on request"));
    }
    log_outcome(cx, call, &outcome);
    if let Some(Fault::Slow(span)) = fault {
        tokio::time::sleep(span).await;
    }
    Ok(write_reply(call, outcome, &request_id))
}

async fn perform_call(cx: &Arc<Context>, call: &ApiCall, request_id: &str) -> Outcome {
    if call.action.is_empty() {
        return Err(ApiError::new("MissingAction", "The request must contain the parameter Action."));
    }
    let (action, region) = (call.action.as_str(), call.region.as_str());
    let now = cx.clock.now();
    match call.service {
        Service::SecretsManager => secrets_manager::perform_action(cx, region, action, &call.json)
            .map(|answer| Body::Text(answer.to_string())),
        Service::Sts => {
            let request = sts::Request { signer: &call.signer, query: &call.parameters, now };
            let xml = sts::perform_action(&request, action)?;
            Ok(Body::Text(xml.response(sts::NAMESPACE, action, true, request_id)))
        }
        Service::Iam => {
            let xml = iam::perform_action(&cx.injected, &call.parameters, action)?;
            Ok(Body::Text(xml.response(iam::NAMESPACE, action, true, request_id)))
        }
        Service::Sns => perform_sns(cx, call, request_id),
        Service::Ec2 | Service::Other if call.protocol == Protocol::Query => Err(ApiError::new(
            "InvalidAction",
            format!(
                "The action {action} is not valid for this web service: the local stack has no service of version {}",
                call.parameters.get("Version").unwrap_or_default()
            ),
        )),
        Service::Ec2 | Service::Other => Err(ApiError::with_status(
            400,
            "UnknownOperationException",
            "The local stack has no such service.",
        )),
        Service::CloudWatch => {
            let request = cloudwatch::Request { cx, region, input: &call.document, now };
            cloudwatch::perform_action(&request, action).map(Body::Document)
        }
        Service::Rds => {
            let request = rds::Request { cx, region, query: &call.parameters, now };
            let xml = rds::perform_action(&request, action).await?;
            Ok(Body::Text(xml.response(rds::NAMESPACE, action, !rds::has_no_result(action), request_id)))
        }
    }
}

fn perform_sns(cx: &Arc<Context>, call: &ApiCall, request_id: &str) -> Outcome {
    let request = sns::Request { cx, region: &call.region, query: &call.parameters };
    let xml = sns::perform_action(&request, &call.action)?;
    let has_result = !sns::has_no_result(&call.action);
    Ok(Body::Text(xml.response(sns::NAMESPACE, &call.action, has_result, request_id)))
}

fn log_outcome(cx: &Context, call: &ApiCall, outcome: &Outcome) {
    match outcome {
        Ok(_) => log_call(cx, call, "ok", Some(200), None),
        Err(error) => log_call(cx, call, &error.code, Some(error.status), Some(&error.message)),
    }
}

fn log_call(cx: &Context, call: &ApiCall, outcome: &str, status: Option<u16>, message: Option<&str>) {
    cx.calls.add(Call {
        time: format_timestamp(cx.clock.now()),
        service: call.service.name(),
        action: call.action.clone(),
        region: scope::region_of(&call.region).to_owned(),
        account: scope::account_of(&call.region).to_owned(),
        parameters: call.parameters.redacted(),
        outcome: outcome.to_owned(),
        status,
        message: message.map(str::to_owned),
    });
}
