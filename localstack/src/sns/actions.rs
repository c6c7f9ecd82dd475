//! The actions of SNS.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::{ApiError, Result};
use crate::ids::random_uuid;
use crate::monitoring::sns_memory::{Subscription, Topic};
use crate::scope;
use crate::sns::deliver::request_confirmation;
use crate::sns::error::{invalid_parameter, not_found};
use crate::sns::filter::check_filter_policy;
use crate::sns::policy::{Publisher, policy_of};
use crate::sns::publish::{Message, publish};
use crate::stack::Context;
use crate::wire::{Query, Xml, decode_page_token, encode_page_token};

pub(crate) const NAMESPACE: &str = "http://sns.amazonaws.com/doc/2010-03-31/";
pub(crate) const VERSION: &str = "2010-03-31";

/// A call of one action.
pub(crate) struct Request<'a> {
    pub(crate) cx: &'a Arc<Context>,
    pub(crate) region: &'a str,
    pub(crate) query: &'a Query,
}

/// Performs an action.
pub(crate) fn perform_action(request: &Request<'_>, action: &str) -> Result<Xml> {
    match action {
        "CreateTopic" => create_topic(request),
        "DeleteTopic" => delete_topic(request),
        "ListTopics" => list_topics(request),
        "GetTopicAttributes" => get_topic_attributes(request),
        "SetTopicAttributes" => set_topic_attributes(request),
        "Subscribe" => subscribe(request),
        "ConfirmSubscription" => confirm_subscription(request),
        "Unsubscribe" => unsubscribe(request),
        "ListSubscriptions" => list_subscriptions(request, None),
        "ListSubscriptionsByTopic" => list_subscriptions(request, Some(request.query.required("TopicArn")?)),
        "GetSubscriptionAttributes" => get_subscription_attributes(request),
        "SetSubscriptionAttributes" => set_subscription_attributes(request),
        "Publish" => publish_message(request),
        "TagResource" => tag_resource(request),
        "UntagResource" => untag_resource(request),
        "ListTagsForResource" => list_tags(request),
        _ => Err(ApiError::new(
            "InvalidAction",
            format!("The action {action} is not valid for this web service."),
        )),
    }
}

/// Whether the answer to an action has no result element, only metadata.
pub(crate) fn has_no_result(action: &str) -> bool {
    ["DeleteTopic", "SetTopicAttributes", "Unsubscribe", "SetSubscriptionAttributes"].contains(&action)
}

/// The pairs of a map: `Attributes.entry.1.key`, `Attributes.entry.1.value`.
fn requested_attributes(query: &Query) -> BTreeMap<String, String> {
    query
        .structures("Attributes", "entry")
        .into_iter()
        .filter_map(|entry| Some((entry.owned("key")?, entry.get("value").unwrap_or_default().to_owned())))
        .collect()
}

/// The attributes that SNS determines, and those that were set, which take precedence.
fn attributes_result<'a>(mut own: BTreeMap<&'a str, String>, set: &'a BTreeMap<String, String>) -> Xml {
    own.extend(set.iter().map(|(name, value)| (name.as_str(), value.clone())));
    Xml::with_list("Attributes", "entry", own, |xml, (key, value)| {
        xml.text("key", key).text("value", value);
    })
}

/// Sets the attribute that a request names; an empty value removes it.
fn set_attribute(attributes: &mut BTreeMap<String, String>, name: String, value: String) -> Result<Xml> {
    if value.is_empty() {
        attributes.remove(&name);
    } else {
        attributes.insert(name, value);
    }
    Ok(Xml::new())
}

fn requested_tags(query: &Query) -> Vec<(String, String)> {
    let tags = query.structures("Tags", "member").into_iter();
    tags.filter_map(|tag| Some((tag.owned("Key")?, tag.get("Value").unwrap_or_default().to_owned())))
        .collect()
}

fn create_topic(request: &Request<'_>) -> Result<Xml> {
    let name = request.query.required("Name")?;
    let attributes = requested_attributes(request.query);
    let wants_fifo = attributes.get("FifoTopic").is_some_and(|value| value == "true");
    let bare = if wants_fifo { name.strip_suffix(".fifo") } else { Some(name) };
    let is_name = bare.is_some_and(|bare| {
        (1..=256).contains(&bare.len())
            && bare.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    });
    if !is_name {
        return Err(invalid_parameter("Invalid parameter: Topic Name"));
    }
    check_policy(&attributes)?;
    let arn = format!("arn:aws:sns:{}:{name}", scope::arn_part(request.region));
    let given: BTreeMap<String, String> = requested_tags(request.query).into_iter().collect();
    request.cx.monitoring.change(|all| {
        let topics = &mut all.sns.topics;
        if let Some(old) = topics.get(&arn) {
            if attributes.iter().any(|(name, value)| old.attributes.get(name) != Some(value)) {
                return Err(invalid_parameter(
                    "Invalid parameter: Attributes Reason: Topic already exists with different attributes",
                ));
            }
            if !given.is_empty() && old.tags != given {
                return Err(invalid_parameter(
                    "Invalid parameter: Tags Reason: Topic already exists with different tags",
                ));
            }
        }
        topics.entry(arn.clone()).or_insert(Topic { attributes, tags: given });
        Ok(())
    })?;
    Ok(Xml::with_text("TopicArn", arn))
}

fn check_policy(attributes: &BTreeMap<String, String>) -> Result<()> {
    match attributes.get("Policy") {
        Some(policy) if serde_json::from_str::<serde_json::Value>(policy).is_err() => {
            Err(invalid_parameter("Invalid parameter: Policy Error: null"))
        }
        _ => Ok(()),
    }
}

fn delete_topic(request: &Request<'_>) -> Result<Xml> {
    let arn = request.query.required("TopicArn")?;
    request.cx.monitoring.change(|all| {
        all.sns.topics.remove(arn);
        all.sns.subscriptions.retain(|_, subscription| subscription.topic != arn);
    });
    Ok(Xml::new())
}

/// A page of 100, in the order of their ARNs. The token is the last ARN on it, so that what comes or goes between two
/// calls neither repeats nor hides others.
fn page_of_arns<T>(
    query: &Query,
    mut items: Vec<T>,
    arn: impl Fn(&T) -> &str,
) -> Result<(Vec<T>, Option<String>)> {
    items.sort_by(|a, b| arn(a).cmp(arn(b)));
    if let Some(token) = query.get("NextToken") {
        let after =
            decode_page_token(token).ok_or_else(|| invalid_parameter("Invalid parameter: NextToken"))?;
        items.retain(|item| *arn(item) > *after);
    }
    let has_more = items.len() > 100;
    items.truncate(100);
    let token = items.last().filter(|_| has_more).map(|last| encode_page_token(arn(last)));
    Ok((items, token))
}

fn list_topics(request: &Request<'_>) -> Result<Xml> {
    let ours = format!("arn:aws:sns:{}:", scope::arn_part(request.region));
    let arns: Vec<String> = request
        .cx
        .monitoring
        .read(|all| all.sns.topics.keys().filter(|arn| arn.starts_with(&ours)).cloned().collect());
    let (arns, token) = page_of_arns(request.query, arns, String::as_str)?;
    let mut xml = Xml::with_list("Topics", "member", arns, |xml, arn| {
        xml.text("TopicArn", arn);
    });
    xml.maybe("NextToken", token);
    Ok(xml)
}

impl Request<'_> {
    /// The topic of that ARN, which must be one of this Region.
    fn check_arn<'q>(&self, arn: &'q str) -> Result<&'q str> {
        let parts: Vec<&str> = arn.split(':').collect();
        let ["arn", _, "sns", _, _, _, ..] = parts[..] else {
            return Err(invalid_parameter(
                "Invalid parameter: TopicArn Reason: An ARN must have at least 6 elements, not 1",
            ));
        };
        if scope::scope_of_arn(arn).as_deref() != Some(self.region) {
            return Err(invalid_parameter("Invalid parameter: TopicArn"));
        }
        Ok(arn)
    }

    fn topic_arn(&self) -> Result<&str> {
        self.check_arn(self.query.required("TopicArn")?)
    }
}

fn no_topic() -> ApiError {
    not_found("Topic does not exist")
}

fn get_topic_attributes(request: &Request<'_>) -> Result<Xml> {
    let arn = request.topic_arn()?;
    request.cx.monitoring.read(|all| {
        let topic = all.sns.topics.get(arn).ok_or_else(no_topic)?;
        let count = |pending: bool| {
            let subscriptions = all.sns.subscriptions.values();
            subscriptions.filter(|one| one.topic == arn && one.token.is_some() == pending).count().to_string()
        };
        let own = [
            ("TopicArn", arn.to_owned()),
            ("Owner", scope::account_of(request.region).to_owned()),
            ("Policy", policy_of(topic, arn)),
            ("DisplayName", String::new()),
            ("SubscriptionsConfirmed", count(false)),
            ("SubscriptionsPending", count(true)),
            ("SubscriptionsDeleted", "0".to_owned()),
        ];
        Ok(attributes_result(own.into(), &topic.attributes))
    })
}

fn set_topic_attributes(request: &Request<'_>) -> Result<Xml> {
    let arn = request.topic_arn()?;
    let name = request.query.required("AttributeName")?.to_owned();
    let value = request.query.get("AttributeValue").unwrap_or_default().to_owned();
    check_policy(&[(name.clone(), value.clone())].into())?;
    request.cx.monitoring.change(|all| {
        let topic = all.sns.topics.get_mut(arn).ok_or_else(no_topic)?;
        set_attribute(&mut topic.attributes, name, value)
    })
}

fn subscribe(request: &Request<'_>) -> Result<Xml> {
    let topic = request.topic_arn()?;
    // Checked first: a topic that does not exist is the most important error.
    if !request.cx.monitoring.read(|all| all.sns.topics.contains_key(topic)) {
        return Err(no_topic());
    }
    let protocol = request.query.required("Protocol")?;
    let endpoint = request.query.required("Endpoint")?;
    let fits = match protocol {
        "http" | "https" => endpoint.starts_with(&format!("{protocol}://")),
        "email" | "email-json" => endpoint.contains('@'),
        "sqs" | "lambda" | "firehose" => endpoint.starts_with("arn:"),
        "sms" | "application" => true,
        _ => {
            return Err(invalid_parameter(format!(
                "Invalid parameter: Does not support this protocol string: {protocol}"
            )));
        }
    };
    if !fits {
        return Err(invalid_parameter("Invalid parameter: Endpoint"));
    }
    if protocol == "sqs" && endpoint.ends_with(".fifo") && !topic.ends_with(".fifo") {
        return Err(invalid_parameter(
            "Invalid parameter: Invalid parameter: Endpoint Reason: FIFO SQS Queues can not be subscribed to standard SNS \
             topics",
        ));
    }
    let given = requested_attributes(request.query);
    given.iter().try_for_each(|(name, value)| check_attribute(name, value))?;
    // Endpoints of the same account need no confirmation.
    let is_own = ["sqs", "lambda", "firehose", "sms", "application"].contains(&protocol);
    let new = Subscription {
        topic: topic.to_owned(),
        protocol: protocol.to_owned(),
        endpoint: endpoint.to_owned(),
        token: (!is_own).then(|| format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>())),
        attributes: given,
    };
    let (arn, subscription) = request.cx.monitoring.change(|all| {
        if !all.sns.topics.contains_key(topic) {
            return Err(no_topic());
        }
        let same = all.sns.subscriptions.iter().find(|(_, old)| {
            (&old.topic, &old.protocol, &old.endpoint) == (&new.topic, &new.protocol, &new.endpoint)
        });
        if let Some((arn, old)) = same {
            return Ok((arn.clone(), old.clone()));
        }
        let arn = format!("{topic}:{}", random_uuid());
        all.sns.subscriptions.insert(arn.clone(), new.clone());
        Ok((arn, new))
    })?;
    request_confirmation(request.cx, &arn, &subscription);
    let wants_arn = request.query.flag("ReturnSubscriptionArn")?.unwrap_or(false);
    Ok(Xml::with_text(
        "SubscriptionArn",
        if subscription.token.is_none() || wants_arn { &arn } else { "pending confirmation" },
    ))
}

fn confirm_subscription(request: &Request<'_>) -> Result<Xml> {
    let (topic, token) = (request.query.required("TopicArn")?, request.query.required("Token")?);
    let arn = request.cx.monitoring.change(|all| {
        let mut waiting = all.sns.subscriptions.iter_mut();
        let found = waiting.find(|(_, one)| one.topic == topic && one.token.as_deref() == Some(token));
        let (arn, subscription) = found.ok_or_else(|| invalid_parameter("Invalid parameter: Token"))?;
        subscription.token = None;
        Ok::<_, ApiError>(arn.clone())
    })?;
    Ok(Xml::with_text("SubscriptionArn", arn))
}

fn unsubscribe(request: &Request<'_>) -> Result<Xml> {
    let arn = request.query.required("SubscriptionArn")?;
    request.cx.monitoring.change(|all| all.sns.subscriptions.remove(arn));
    Ok(Xml::new())
}

fn list_subscriptions(request: &Request<'_>, topic: Option<&str>) -> Result<Xml> {
    let ours = format!("arn:aws:sns:{}:", scope::arn_part(request.region));
    let found: Vec<(String, Subscription)> = request.cx.monitoring.read(|all| {
        if let Some(topic) = topic
            && !all.sns.topics.contains_key(topic)
        {
            return Err(no_topic());
        }
        let subscriptions = all.sns.subscriptions.iter().filter(|(arn, subscription)| {
            arn.starts_with(&ours) && topic.is_none_or(|topic| subscription.topic == topic)
        });
        Ok(subscriptions.map(|(arn, subscription)| (arn.clone(), subscription.clone())).collect())
    })?;
    let (found, token) = page_of_arns(request.query, found, |(arn, _)| arn.as_str())?;
    let mut xml = Xml::with_list("Subscriptions", "member", found, |xml, (arn, subscription)| {
        xml.text("SubscriptionArn", if subscription.token.is_some() { "PendingConfirmation" } else { &arn })
            .text("Owner", scope::account_of(request.region))
            .text("Protocol", subscription.protocol)
            .text("Endpoint", subscription.endpoint)
            .text("TopicArn", subscription.topic);
    });
    xml.maybe("NextToken", token);
    Ok(xml)
}

fn get_subscription_attributes(request: &Request<'_>) -> Result<Xml> {
    let arn = request.query.required("SubscriptionArn")?;
    request.cx.monitoring.read(|all| {
        let one = all.sns.subscriptions.get(arn).ok_or_else(|| not_found("Subscription does not exist"))?;
        let mut attributes: BTreeMap<&str, String> = [
            ("SubscriptionArn", arn.to_owned()),
            ("TopicArn", one.topic.clone()),
            ("Protocol", one.protocol.clone()),
            ("Endpoint", one.endpoint.clone()),
            ("Owner", scope::account_of(request.region).to_owned()),
            ("PendingConfirmation", one.token.is_some().to_string()),
            ("RawMessageDelivery", "false".to_owned()),
        ]
        .into();
        if one.attributes.contains_key("FilterPolicy") {
            attributes.insert("FilterPolicyScope", "MessageAttributes".to_owned());
        }
        Ok(attributes_result(attributes, &one.attributes))
    })
}

fn set_subscription_attributes(request: &Request<'_>) -> Result<Xml> {
    let arn = request.query.required("SubscriptionArn")?;
    let name = request.query.required("AttributeName")?.to_owned();
    let value = request.query.get("AttributeValue").unwrap_or_default().to_owned();
    check_attribute(&name, &value)?;
    request.cx.monitoring.change(|all| {
        let one =
            all.sns.subscriptions.get_mut(arn).ok_or_else(|| not_found("Subscription does not exist"))?;
        set_attribute(&mut one.attributes, name, value)
    })
}

fn check_attribute(name: &str, value: &str) -> Result<()> {
    let scopes = ["", "MessageAttributes", "MessageBody"];
    match name {
        "FilterPolicy" => check_filter_policy(value),
        "FilterPolicyScope" if !scopes.contains(&value) => {
            Err(invalid_parameter(format!("Invalid parameter: FilterPolicyScope: Invalid value [{value}]")))
        }
        "RawMessageDelivery" if !["", "true", "false"].contains(&value) => Err(invalid_parameter(format!(
            "Invalid parameter: RawMessageDelivery Reason: Invalid value [{value}]. Must be true or false."
        ))),
        _ => Ok(()),
    }
}

/// The maximum length of a message in bytes, its attributes included.
const LONGEST_MESSAGE: usize = 256 * 1024;

fn publish_message(request: &Request<'_>) -> Result<Xml> {
    let arn = request.query.get("TopicArn").or(request.query.get("TargetArn"));
    let arn = request
        .check_arn(arn.ok_or_else(|| invalid_parameter("Invalid parameter: TopicArn or TargetArn"))?)?;
    let message = request.query.required("Message")?;
    let attributes = message_attributes(request);
    let parts = attributes.as_object().into_iter().flatten();
    let size = |text: &serde_json::Value| text.as_str().map_or(0, str::len);
    let more: usize = parts.map(|(name, one)| name.len() + size(&one["Type"]) + size(&one["Value"])).sum();
    if message.len() + more > LONGEST_MESSAGE {
        return Err(invalid_parameter("Invalid parameter: Message too long"));
    }
    let text = message_text(request, message)?;
    let subject = request.query.get("Subject");
    // The API reference of Publish: ASCII, at most 100 characters, no line breaks or control characters.
    if subject.is_some_and(|text| {
        text.is_empty() || text.len() > 100 || !text.bytes().all(|b| (b' '..=b'~').contains(&b))
    }) {
        return Err(invalid_parameter("Invalid parameter: Subject"));
    }
    let publisher = Publisher { service: "", arn: "", region: request.region };
    let message = Message { subject, text: &text, attributes };
    let id = publish(request.cx, arn, &message, &publisher)?;
    Ok(Xml::with_text("MessageId", id))
}

/// The text for subscribers whose protocol has none of its own, which are all of the local stack's.
fn message_text(request: &Request<'_>, message: &str) -> Result<String> {
    if request.query.get("MessageStructure") != Some("json") {
        return Ok(message.to_owned());
    }
    let forms: Option<BTreeMap<String, String>> = serde_json::from_str(message).ok();
    let default = forms.and_then(|mut forms| forms.remove("default"));
    default.ok_or_else(|| {
        invalid_parameter("Invalid parameter: Message Structure - No default entry in JSON message body")
    })
}

/// The attributes of a message as they are delivered.
fn message_attributes(request: &Request<'_>) -> serde_json::Value {
    let mut all = serde_json::Map::new();
    for number in 1.. {
        let part = |end: &str| request.query.get(&format!("MessageAttributes.entry.{number}.{end}"));
        let Some(name) = part("Name") else { break };
        let one = serde_json::json!({"Type": part("Value.DataType"), "Value": part("Value.StringValue")});
        all.insert(name.to_owned(), one);
    }
    all.into()
}

fn change_tags<T>(request: &Request<'_>, edit: impl FnOnce(&mut BTreeMap<String, String>) -> T) -> Result<T> {
    let arn = request.query.required("ResourceArn")?;
    request.cx.monitoring.change(|all| {
        let topic = all.sns.topics.get_mut(arn);
        let topic =
            topic.ok_or_else(|| ApiError::with_status(404, "ResourceNotFound", "Resource does not exist"))?;
        Ok(edit(&mut topic.tags))
    })
}

fn tag_resource(request: &Request<'_>) -> Result<Xml> {
    change_tags(request, |all| all.extend(requested_tags(request.query)))?;
    Ok(Xml::new())
}

fn untag_resource(request: &Request<'_>) -> Result<Xml> {
    let keys = request.query.list("TagKeys", "member").unwrap_or_default();
    change_tags(request, |all| all.retain(|key, _| !keys.contains(key)))?;
    Ok(Xml::new())
}

fn list_tags(request: &Request<'_>) -> Result<Xml> {
    let tags = change_tags(request, |all| all.clone())?;
    Ok(Xml::with_list("Tags", "member", tags, |xml, (key, value)| {
        xml.text("Key", key).text("Value", value);
    }))
}
