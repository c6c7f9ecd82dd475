//! Publishing: who may publish to a topic, and which of its subscribers get the message.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::error::{ApiError, Result};
use crate::ids::random_uuid;
use crate::monitoring::sns_memory::{Delivery, MOST_MESSAGES, Sent, Subscription, Topic};
use crate::scope;
use crate::sns::deliver::{Envelope, deliver};
use crate::sns::error::{invalid_parameter, not_authorized, not_found};
use crate::sns::filter::wants_message;
use crate::sns::policy::{Publisher, policy_allows, policy_of};
use crate::stack::Context;
use crate::wire::format_timestamp;

/// What is published.
#[derive(Debug, Default)]
pub(crate) struct Message<'a> {
    pub(crate) subject: Option<&'a str>,
    pub(crate) text: &'a str,
    /// By name: `Type` and `Value`.
    pub(crate) attributes: Value,
}

/// Publishes to a topic and returns the message's id. Subscribers that are reached over HTTP get it later.
///
/// # Errors
///
/// When the topic does not exist, lies in another Region, is FIFO, or does not admit the publisher.
pub(crate) fn publish(
    cx: &Arc<Context>,
    arn: &str,
    message: &Message<'_>,
    publisher: &Publisher<'_>,
) -> Result<String> {
    let now = cx.clock.now();
    let id = random_uuid();
    let subscribers = cx.monitoring.change(|all| {
        let topic = all.sns.topics.get(arn);
        let topic = topic.filter(|_| scope::scope_of_arn(arn).as_deref() == Some(publisher.region));
        check_publisher(topic.ok_or_else(|| not_found("Topic does not exist"))?, arn, publisher)?;
        let subscribers: Vec<(String, Subscription)> = all
            .sns
            .subscriptions
            .iter()
            .filter(|(_, subscription)| subscription.topic == arn)
            .map(|(arn, subscription)| (arn.clone(), subscription.clone()))
            .collect();
        let deliveries = subscribers.iter().map(|(_, subscription)| Delivery {
            protocol: subscription.protocol.clone(),
            endpoint: subscription.endpoint.clone(),
            outcome: match subscription.token {
                Some(_) => "pending confirmation",
                None if !wants_message(subscription, message.text, &message.attributes) => "filtered out",
                None => "under way",
            }
            .to_owned(),
        });
        let sent = Sent {
            time: now,
            topic: arn.to_owned(),
            message_id: id.clone(),
            subject: message.subject.map(str::to_owned),
            message: message.text.to_owned(),
            deliveries: deliveries.collect(),
        };
        if all.sns.sent.len() >= MOST_MESSAGES {
            all.sns.sent.remove(0);
        }
        all.sns.sent.push(sent);
        Ok::<_, ApiError>(subscribers)
    })?;
    for (subscription_arn, subscription) in subscribers {
        if subscription.token.is_some() || !wants_message(&subscription, message.text, &message.attributes) {
            continue;
        }
        let mut body = json!({
            "Type": "Notification",
            "MessageId": id,
            "TopicArn": arn,
            "Message": message.text,
            "Timestamp": format_timestamp(now),
            "SignatureVersion": "1",
            "Signature": "bm90IHNpZ25lZA==",
            "SigningCertURL": "https://sns.amazonaws.com/none.pem",
            "UnsubscribeURL": format!("{}/?Action=Unsubscribe&SubscriptionArn={subscription_arn}", cx.endpoint),
        });
        if let Some(subject) = message.subject {
            body["Subject"] = subject.into();
        }
        if message.attributes.as_object().is_some_and(|all| !all.is_empty()) {
            body["MessageAttributes"] = message.attributes.clone();
        }
        let is_raw = subscription.attributes.get("RawMessageDelivery").is_some_and(|raw| raw == "true");
        let body = if is_raw { message.text.to_owned() } else { body.to_string() };
        let envelope = Envelope { message_id: id.clone(), kind: "Notification", subscription_arn, body };
        deliver(cx, &subscription, envelope);
    }
    Ok(id)
}

/// Whether a service may publish to a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    Admitted,
    NoTopic,
    Denied,
}

/// Whether `service` may publish events of the Region to a topic.
pub(crate) fn publish_admission(cx: &Context, arn: &str, service: &str, region: &str) -> Admission {
    cx.monitoring.read(|all| {
        let topic = all.sns.topics.get(arn).filter(|_| scope::scope_of_arn(arn).as_deref() == Some(region));
        let Some(topic) = topic else { return Admission::NoTopic };
        let source = format!("arn:aws:rds:{}:es:any", scope::arn_part(region));
        let publisher = Publisher { service, arn: &source, region };
        check_publisher(topic, arn, &publisher).map_or(Admission::Denied, |()| Admission::Admitted)
    })
}

fn check_publisher(topic: &Topic, arn: &str, publisher: &Publisher<'_>) -> Result<()> {
    if publisher.service.is_empty() {
        return Ok(());
    }
    if arn.ends_with(".fifo") {
        return Err(invalid_parameter(
            "Invalid parameter: The MessageGroupId parameter is required for FIFO topics",
        ));
    }
    let key = topic.attributes.get("KmsMasterKeyId").map(String::as_str).unwrap_or_default();
    if key.ends_with("alias/aws/sns") || key.ends_with("-without-services") {
        return Err(not_authorized(format!(
            "null (Service: AWSKMS; Status Code: 400; Error Code: AccessDeniedException): {} does not have authorization to \
             access the SNS topic encryption key",
            publisher.service
        )));
    }
    if policy_allows(&policy_of(topic, arn), publisher, arn) {
        return Ok(());
    }
    Err(not_authorized(format!(
        "Resource: {} is not authorized to perform: SNS:Publish on resource: {arn}",
        publisher.service
    )))
}
