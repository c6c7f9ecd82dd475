//! SNS: topics, subscriptions, and messages that really arrive: by HTTP on this machine, or in a queue that the control
//! endpoint shows.

mod api;
mod deliver;
mod filter;
mod policy;

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::{ApiError, Result};
use crate::place;
use crate::stack::Shared;
use crate::wire::timestamp;

pub(crate) use api::{Request, answer, has_no_result};
pub(crate) use deliver::confirm_endpoint;

pub(crate) const NAMESPACE: &str = "http://sns.amazonaws.com/doc/2010-03-31/";
pub(crate) const VERSION: &str = "2010-03-31";

/// Deliveries and queued messages beyond these are forgotten, oldest first.
const KEPT: usize = 10_000;

/// Everything that SNS knows, by ARN.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Post {
    topics: BTreeMap<String, Topic>,
    subscriptions: BTreeMap<String, Subscription>,
    /// What came out at queues, by their names.
    pub(crate) queues: BTreeMap<String, Vec<Value>>,
    /// What was published, and what became of it.
    pub(crate) sent: Vec<Sent>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Topic {
    /// As they were set: `DisplayName`, `Policy`, `KmsMasterKeyId`, …
    attributes: BTreeMap<String, String>,
    tags: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Subscription {
    topic: String,
    protocol: String,
    endpoint: String,
    /// Waits to be confirmed with this token.
    token: Option<String>,
    attributes: BTreeMap<String, String>,
}

/// A message, and what became of it at each subscriber.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Sent {
    time: DateTime<Utc>,
    topic: String,
    message_id: String,
    subject: Option<String>,
    message: String,
    deliveries: Vec<Delivery>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Delivery {
    protocol: String,
    endpoint: String,
    /// `delivered`, `under way`, `pending confirmation`, or why not.
    outcome: String,
}

/// Who publishes: a service on behalf of one of its objects, or a user of the account.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Publisher<'a> {
    /// Such as `cloudwatch.amazonaws.com`; empty for a user.
    pub(crate) service: &'a str,
    /// The alarm or event subscription.
    pub(crate) arn: &'a str,
    pub(crate) region: &'a str,
}

/// The policy of a topic that was given none: its account may do everything, services included.
fn default_policy(arn: &str) -> String {
    json!({
        "Version": "2008-10-17",
        "Id": "__default_policy_ID",
        "Statement": [{
            "Sid": "__default_statement_ID",
            "Effect": "Allow",
            "Principal": { "AWS": "*" },
            "Action": [
                "SNS:GetTopicAttributes", "SNS:SetTopicAttributes", "SNS:AddPermission", "SNS:RemovePermission",
                "SNS:DeleteTopic", "SNS:Subscribe", "SNS:ListSubscriptionsByTopic", "SNS:Publish",
            ],
            "Resource": arn,
            "Condition": { "StringEquals": { "AWS:SourceOwner": arn.split(':').nth(4) } },
        }],
    })
    .to_string()
}

impl Topic {
    fn policy(&self, arn: &str) -> String {
        self.attributes.get("Policy").cloned().unwrap_or_else(|| default_policy(arn))
    }

    fn is_fifo(arn: &str) -> bool {
        arn.ends_with(".fifo")
    }
}

impl Subscription {
    /// Whether its filter policy, if it has one, lets a message pass.
    fn wants(&self, message: &str, attributes: &Value) -> bool {
        let scope = self.attributes.get("FilterPolicyScope").map(String::as_str);
        let policy = self.attributes.get("FilterPolicy").filter(|policy| !policy.is_empty());
        policy.is_none_or(|policy| filter::admits(policy, scope, message, attributes))
    }
}

/// Publishes to a topic, and hands the message to each subscriber. Returns the message's id.
///
/// # Errors
///
/// When the topic is not there, lies in another Region, is FIFO, or does not admit the publisher.
pub(crate) fn publish(
    shared: &Arc<Shared>,
    arn: &str,
    subject: Option<&str>,
    message: &str,
    publisher: &Publisher<'_>,
) -> Result<String> {
    publish_with(shared, arn, subject, (message, serde_json::Value::Null), publisher)
}

/// The same, with attributes of the message.
///
/// # Errors
///
/// As [`publish`].
pub(crate) fn publish_with(
    shared: &Arc<Shared>,
    arn: &str,
    subject: Option<&str>,
    (message, attributes): (&str, serde_json::Value),
    publisher: &Publisher<'_>,
) -> Result<String> {
    let now = shared.clock.now();
    let id = random_id();
    let subscribers = shared.monitoring.change(|all| {
        let topic = all
            .post
            .topics
            .get(arn)
            .filter(|_| place::of_arn(arn).as_deref() == Some(publisher.region))
            .ok_or_else(|| not_found("Topic does not exist"))?;
        admit(topic, arn, publisher)?;
        let subscribers: Vec<(String, Subscription)> = all
            .post
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
                None if !subscription.wants(message, &attributes) => "filtered out",
                None => "under way",
            }
            .to_owned(),
        });
        let sent = Sent {
            time: now,
            topic: arn.to_owned(),
            message_id: id.clone(),
            subject: subject.map(str::to_owned),
            message: message.to_owned(),
            deliveries: deliveries.collect(),
        };
        if all.post.sent.len() >= KEPT {
            all.post.sent.remove(0);
        }
        all.post.sent.push(sent);
        Ok::<_, ApiError>(subscribers)
    })?;
    for (subscription_arn, subscription) in subscribers {
        if subscription.token.is_some() || !subscription.wants(message, &attributes) {
            continue;
        }
        let mut envelope = json!({
            "Type": "Notification",
            "MessageId": id,
            "TopicArn": arn,
            "Message": message,
            "Timestamp": timestamp(now),
            "SignatureVersion": "1",
            "Signature": "bm90IHNpZ25lZA==",
            "SigningCertURL": "https://sns.amazonaws.com/none.pem",
            "UnsubscribeURL": format!("{}/?Action=Unsubscribe&SubscriptionArn={subscription_arn}", shared.endpoint()),
        });
        if let Some(subject) = subject {
            envelope["Subject"] = subject.into();
        }
        if attributes.as_object().is_some_and(|all| !all.is_empty()) {
            envelope["MessageAttributes"] = attributes.clone();
        }
        let is_raw = subscription.attributes.get("RawMessageDelivery").is_some_and(|raw| raw == "true");
        let body = if is_raw { message.to_owned() } else { envelope.to_string() };
        deliver::deliver(shared, &id, &subscription_arn, &subscription, "Notification", body);
    }
    Ok(id)
}

/// Whether a service may publish to a topic of a Region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    Admitted,
    NoTopic,
    Denied,
}

pub(crate) fn admits(shared: &Shared, arn: &str, service: &str, region: &str) -> Admission {
    shared.monitoring.read(|all| {
        let topic = all.post.topics.get(arn).filter(|_| place::of_arn(arn).as_deref() == Some(region));
        let Some(topic) = topic else { return Admission::NoTopic };
        let source = format!("arn:aws:rds:{}:es:any", place::in_arn(region));
        let publisher = Publisher { service, arn: &source, region };
        admit(topic, arn, &publisher).map_or(Admission::Denied, |()| Admission::Admitted)
    })
}

/// Whether a topic takes a message from that publisher.
fn admit(topic: &Topic, arn: &str, publisher: &Publisher<'_>) -> Result<()> {
    if publisher.service.is_empty() {
        return Ok(());
    }
    if Topic::is_fifo(arn) {
        return Err(invalid("Invalid parameter: The MessageGroupId parameter is required for FIFO topics"));
    }
    let key = topic.attributes.get("KmsMasterKeyId").map(String::as_str).unwrap_or_default();
    if key.ends_with("alias/aws/sns") || key.ends_with("-without-services") {
        return Err(denied(format!(
            "null (Service: AWSKMS; Status Code: 400; Error Code: AccessDeniedException): {} does not have authorization to \
             access the SNS topic encryption key",
            publisher.service
        )));
    }
    let policy = topic.policy(arn);
    if policy::allows(&policy, publisher, arn) {
        return Ok(());
    }
    Err(denied(format!(
        "Resource: {} is not authorized to perform: SNS:Publish on resource: {arn}",
        publisher.service
    )))
}

fn refusal(code: &str, status: u16, message: impl Into<String>) -> ApiError {
    ApiError { code: code.to_owned(), status, message: message.into() }
}

fn invalid(message: impl Into<String>) -> ApiError {
    refusal("InvalidParameter", 400, message)
}

fn not_found(message: impl Into<String>) -> ApiError {
    refusal("NotFound", 404, message)
}

fn denied(message: impl Into<String>) -> ApiError {
    refusal("AuthorizationError", 403, message)
}

fn random_id() -> String {
    let hex = format!("{:032x}", rand::random::<u128>());
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
