//! Delivery: into queues immediately, over HTTP to this machine with a few retries, and nowhere else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::ids::random_uuid;
use crate::monitoring::sns_memory::{MOST_MESSAGES, Subscription};
use crate::stack::Context;
use crate::wire::format_timestamp;

const ATTEMPTS: u32 = 4;
const PATIENCE: Duration = Duration::from_secs(15);

/// A message on its way to one subscriber.
pub(super) struct Envelope {
    pub(super) message_id: String,
    /// `Notification` or `SubscriptionConfirmation`.
    pub(super) kind: &'static str,
    pub(super) subscription_arn: String,
    pub(super) body: String,
}

pub(super) fn deliver(cx: &Arc<Context>, subscription: &Subscription, envelope: Envelope) {
    match subscription.protocol.as_str() {
        "sqs" => {
            let name = subscription.endpoint.rsplit(':').next().unwrap_or_default().to_owned();
            let message = json!({ "received_at": format_timestamp(cx.clock.now()), "body": envelope.body });
            cx.monitoring.change(|all| {
                let queue = all.sns.queues.entry(name).or_default();
                if queue.len() >= MOST_MESSAGES {
                    queue.remove(0);
                }
                queue.push(message);
            });
            record_outcome(cx, &envelope.message_id, &subscription.endpoint, "delivered");
        }
        "http" => {
            let (cx, subscription) = (Arc::clone(cx), subscription.clone());
            tokio::spawn(async move {
                let outcome = send_with_retries(&subscription, &envelope).await;
                let outcome = outcome.map_or_else(|why| why, |()| "delivered".to_owned());
                record_outcome(&cx, &envelope.message_id, &subscription.endpoint, &outcome);
            });
        }
        other => {
            let why = format!("not delivered: the local stack does not deliver over {other}");
            record_outcome(cx, &envelope.message_id, &subscription.endpoint, &why);
        }
    }
}

fn record_outcome(cx: &Context, message_id: &str, endpoint: &str, outcome: &str) {
    cx.monitoring.change(|all| {
        let sent = all.sns.sent.iter_mut().rev().find(|sent| sent.message_id == message_id);
        let deliveries = sent.into_iter().flat_map(|sent| sent.deliveries.iter_mut());
        for delivery in deliveries.filter(|delivery| delivery.endpoint == endpoint) {
            outcome.clone_into(&mut delivery.outcome);
        }
    });
}

async fn send_with_retries(subscription: &Subscription, envelope: &Envelope) -> Result<(), String> {
    let mut why = String::new();
    for attempt in 0..ATTEMPTS {
        tokio::time::sleep(Duration::from_millis(200) * attempt * attempt).await;
        match tokio::time::timeout(PATIENCE, send(subscription, envelope)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => why = error,
            Err(_) => why = format!("no answer within {} s", PATIENCE.as_secs()),
        }
    }
    Err(format!("not delivered: {why}"))
}

async fn send(subscription: &Subscription, envelope: &Envelope) -> Result<(), String> {
    let url: hyper::Uri =
        subscription.endpoint.parse().map_err(|_| "the endpoint is not a URL".to_owned())?;
    let (host, port) = (url.host().unwrap_or_default(), url.port_u16().unwrap_or(80));
    let addresses = tokio::net::lookup_host((host.trim_matches(['[', ']']), port));
    let addresses: Vec<SocketAddr> = addresses.await.map_err(|error| error.to_string())?.collect();
    // The local stack must not call other machines.
    if addresses.is_empty() || addresses.iter().any(|address| !address.ip().is_loopback()) {
        return Err("the local stack delivers to loopback addresses only".to_owned());
    }
    let stream = TcpStream::connect(addresses.as_slice()).await.map_err(|error| error.to_string())?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    tokio::spawn(async move {
        // How the connection ends shows in the answer.
        let _ = connection.await;
    });
    let request = hyper::Request::post(url.path_and_query().map_or("/", |path| path.as_str()))
        .header("host", format!("{host}:{port}"))
        .header("content-type", "text/plain; charset=UTF-8")
        .header("user-agent", "Amazon Simple Notification Service Agent")
        .header("x-amz-sns-message-type", envelope.kind)
        .header("x-amz-sns-message-id", &envelope.message_id)
        .header("x-amz-sns-topic-arn", &subscription.topic)
        .header("x-amz-sns-subscription-arn", &envelope.subscription_arn)
        .body(Full::new(Bytes::from(envelope.body.clone())))
        .map_err(|error| error.to_string())?;
    let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let status = answer.status();
    // Read to the end, so that the endpoint can finish.
    let _ = answer.into_body().collect().await;
    if status.is_success() { Ok(()) } else { Err(format!("the endpoint answered {status}")) }
}

/// Asks an HTTP endpoint to confirm its subscription.
pub(super) fn request_confirmation(cx: &Arc<Context>, arn: &str, subscription: &Subscription) {
    let Some(token) = subscription.token.as_deref().filter(|_| subscription.protocol == "http") else {
        return;
    };
    let message_id = random_uuid();
    let topic = &subscription.topic;
    let body = json!({
        "Type": "SubscriptionConfirmation",
        "MessageId": message_id,
        "Token": token,
        "TopicArn": topic,
        "Message": format!(
            "You have chosen to subscribe to the topic {topic}.\nTo confirm the subscription, visit the SubscribeURL \
             included in this message."
        ),
        "SubscribeURL": format!("{}/?Action=ConfirmSubscription&TopicArn={topic}&Token={token}", cx.endpoint),
        "Timestamp": format_timestamp(cx.clock.now()),
        "SignatureVersion": "1",
        "Signature": "bm90IHNpZ25lZA==",
        "SigningCertURL": "https://sns.amazonaws.com/none.pem",
    });
    let kind = "SubscriptionConfirmation";
    let envelope = Envelope { message_id, kind, subscription_arn: arn.to_owned(), body: body.to_string() };
    deliver(cx, subscription, envelope);
}

/// Confirms every subscription of an endpoint, as its owner would by following the link in a mail. Returns how many.
pub(crate) fn confirm_endpoint(cx: &Context, endpoint: &str) -> Value {
    cx.monitoring.change(|all| {
        let waiting = all.sns.subscriptions.values_mut();
        let waiting = waiting.filter(|one| one.endpoint == endpoint && one.token.is_some());
        json!({ "confirmed": waiting.map(|one| one.token = None).count() })
    })
}
