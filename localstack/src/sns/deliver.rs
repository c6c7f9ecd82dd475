//! Delivery: into queues at once, by HTTP to this machine with a few retries, and nowhere else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::{KEPT, Subscription};
use crate::stack::Shared;
use crate::wire::timestamp;

const ATTEMPTS: u32 = 4;
const PATIENCE: Duration = Duration::from_secs(15);

/// Hands one message to one subscriber.
pub(super) fn deliver(
    shared: &Arc<Shared>,
    message_id: &str,
    arn: &str,
    subscription: &Subscription,
    kind: &'static str,
    body: String,
) {
    match subscription.protocol.as_str() {
        "sqs" => {
            let name = subscription.endpoint.rsplit(':').next().unwrap_or_default().to_owned();
            let message = json!({ "received_at": timestamp(shared.clock.now()), "body": body });
            shared.monitoring.change(|all| {
                let queue = all.post.queues.entry(name).or_default();
                if queue.len() >= KEPT {
                    queue.remove(0);
                }
                queue.push(message);
            });
            note(shared, message_id, &subscription.endpoint, "delivered");
        }
        "http" => {
            let (shared, message_id, arn) = (Arc::clone(shared), message_id.to_owned(), arn.to_owned());
            let subscription = subscription.clone();
            tokio::spawn(async move {
                let outcome = send_patiently(&arn, &subscription, &message_id, kind, &body).await;
                let outcome = outcome.map_or_else(|why| why, |()| "delivered".to_owned());
                note(&shared, &message_id, &subscription.endpoint, &outcome);
            });
        }
        other => {
            let why = format!("not delivered: the local stack has no {other}");
            note(shared, message_id, &subscription.endpoint, &why);
        }
    }
}

fn note(shared: &Shared, message_id: &str, endpoint: &str, outcome: &str) {
    shared.monitoring.change(|all| {
        let sent = all.post.sent.iter_mut().rev().find(|sent| sent.message_id == message_id);
        let deliveries = sent.into_iter().flat_map(|sent| sent.deliveries.iter_mut());
        for delivery in deliveries.filter(|delivery| delivery.endpoint == endpoint) {
            outcome.clone_into(&mut delivery.outcome);
        }
    });
}

async fn send_patiently(
    arn: &str,
    subscription: &Subscription,
    id: &str,
    kind: &str,
    body: &str,
) -> Result<(), String> {
    let mut why = String::new();
    for attempt in 0..ATTEMPTS {
        tokio::time::sleep(Duration::from_millis(200) * attempt * attempt).await;
        match tokio::time::timeout(PATIENCE, send(arn, subscription, id, kind, body)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => why = error,
            Err(_) => why = "no answer within 15 seconds".to_owned(),
        }
    }
    Err(format!("not delivered: {why}"))
}

async fn send(
    arn: &str,
    subscription: &Subscription,
    id: &str,
    kind: &str,
    body: &str,
) -> Result<(), String> {
    let url: hyper::Uri = subscription.endpoint.parse().map_err(|_| "its URL is not one".to_owned())?;
    let (host, port) = (url.host().unwrap_or_default(), url.port_u16().unwrap_or(80));
    let addresses = tokio::net::lookup_host((host.trim_matches(['[', ']']), port));
    let addresses: Vec<SocketAddr> = addresses.await.map_err(|error| error.to_string())?.collect();
    // The local stack must not call out.
    if addresses.is_empty() || addresses.iter().any(|address| !address.ip().is_loopback()) {
        return Err("only loopback addresses are delivered to".to_owned());
    }
    let stream = TcpStream::connect(addresses.as_slice()).await.map_err(|error| error.to_string())?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    tokio::spawn(async move {
        // Its end shows in the answer.
        let _ = connection.await;
    });
    let request = hyper::Request::post(url.path_and_query().map_or("/", |path| path.as_str()))
        .header("host", format!("{host}:{port}"))
        .header("content-type", "text/plain; charset=UTF-8")
        .header("user-agent", "Amazon Simple Notification Service Agent")
        .header("x-amz-sns-message-type", kind)
        .header("x-amz-sns-message-id", id)
        .header("x-amz-sns-topic-arn", &subscription.topic)
        .header("x-amz-sns-subscription-arn", arn)
        .body(Full::new(Bytes::from(body.to_owned())))
        .map_err(|error| error.to_string())?;
    let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let status = answer.status();
    // Read to its end, so that the other side is done with it.
    let _ = answer.into_body().collect().await;
    if status.is_success() { Ok(()) } else { Err(format!("it answered {status}")) }
}

/// Asks an HTTP endpoint to confirm its subscription.
pub(super) fn ask_to_confirm(shared: &Arc<Shared>, arn: &str, subscription: &Subscription) {
    let Some(token) = subscription.token.as_deref().filter(|_| subscription.protocol == "http") else {
        return;
    };
    let id = super::random_id();
    let topic = &subscription.topic;
    let body = json!({
        "Type": "SubscriptionConfirmation",
        "MessageId": id,
        "Token": token,
        "TopicArn": topic,
        "Message": format!(
            "You have chosen to subscribe to the topic {topic}.\nTo confirm the subscription, visit the SubscribeURL \
             included in this message."
        ),
        "SubscribeURL": format!("{}/?Action=ConfirmSubscription&TopicArn={topic}&Token={token}", shared.endpoint()),
        "Timestamp": timestamp(shared.clock.now()),
        "SignatureVersion": "1",
        "Signature": "bm90IHNpZ25lZA==",
        "SigningCertURL": "https://sns.amazonaws.com/none.pem",
    });
    deliver(shared, &id, arn, subscription, "SubscriptionConfirmation", body.to_string());
}

/// Confirms every subscription of an endpoint, as its owner would by following the link in a mail. Returns how many.
pub(crate) fn confirm_endpoint(shared: &Shared, endpoint: &str) -> Value {
    shared.monitoring.change(|all| {
        let waiting = all.post.subscriptions.values_mut();
        let waiting = waiting.filter(|one| one.endpoint == endpoint && one.token.is_some());
        json!({ "confirmed": waiting.map(|one| one.token = None).count() })
    })
}
