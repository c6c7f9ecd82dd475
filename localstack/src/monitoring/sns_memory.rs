//! What SNS knows: topics, subscriptions, and the messages that were published.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Published messages and messages in a queue beyond these are dropped, oldest first.
pub(crate) const MOST_MESSAGES: usize = 10_000;

/// Everything that SNS knows, by ARN.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct SnsMemory {
    pub(crate) topics: BTreeMap<String, Topic>,
    pub(crate) subscriptions: BTreeMap<String, Subscription>,
    /// The messages that were delivered to SQS queues, by the names of the queues.
    pub(crate) queues: BTreeMap<String, Vec<Value>>,
    /// The messages that were published, oldest first.
    pub(crate) sent: Vec<Sent>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Topic {
    /// As they were set: `DisplayName`, `Policy`, `KmsMasterKeyId`, …
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) tags: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Subscription {
    pub(crate) topic: String,
    pub(crate) protocol: String,
    pub(crate) endpoint: String,
    /// The token that confirms it; `None` once it is confirmed.
    pub(crate) token: Option<String>,
    pub(crate) attributes: BTreeMap<String, String>,
}

/// A published message, and what became of it at each subscriber.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Sent {
    pub(crate) time: DateTime<Utc>,
    pub(crate) topic: String,
    pub(crate) message_id: String,
    pub(crate) subject: Option<String>,
    pub(crate) message: String,
    pub(crate) deliveries: Vec<Delivery>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Delivery {
    pub(crate) protocol: String,
    pub(crate) endpoint: String,
    /// `delivered`, `under way`, `pending confirmation`, `filtered out`, or why it was not delivered.
    pub(crate) outcome: String,
}
