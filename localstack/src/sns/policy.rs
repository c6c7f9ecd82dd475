//! Topic policies, as far as they decide whether a service may publish.

use serde_json::{Value, json};

use crate::monitoring::sns_memory::Topic;
use crate::scope;

/// Who publishes: a service on behalf of one of its resources, or a user of the account.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Publisher<'a> {
    /// Such as `cloudwatch.amazonaws.com`; empty for a user.
    pub(crate) service: &'a str,
    /// The alarm or event subscription.
    pub(crate) arn: &'a str,
    pub(crate) region: &'a str,
}

/// The policy of a topic that has none set: its account may do everything, services included.
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

/// The policy of a topic as it was set, or SNS's default one.
pub(super) fn policy_of(topic: &Topic, arn: &str) -> String {
    topic.attributes.get("Policy").cloned().unwrap_or_else(|| default_policy(arn))
}

/// Whether `policy` lets the publisher publish to `topic`: a matching statement allows it, and none denies it.
pub(super) fn policy_allows(policy: &str, publisher: &Publisher<'_>, topic: &str) -> bool {
    let Ok(policy) = serde_json::from_str::<Value>(policy) else { return false };
    let statements = one_or_many(&policy["Statement"]);
    let matching = |effect: &str| {
        statements.iter().any(|statement| {
            statement["Effect"] == effect
                && statement_covers(statement, "Action", "NotAction", |action| {
                    is_like(&action.to_lowercase(), "sns:publish")
                })
                && statement_covers(statement, "Resource", "NotResource", |resource| is_like(resource, topic))
                && is_principal(&statement["Principal"], publisher.service)
                && conditions_hold(&statement["Condition"], publisher)
        })
    };
    matching("Allow") && !matching("Deny")
}

fn one_or_many(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Null => Vec::new(),
        other => vec![other],
    }
}

fn statement_covers(statement: &Value, name: &str, opposite: &str, fits: impl Fn(&str) -> bool) -> bool {
    let any = |value: &Value| one_or_many(value).into_iter().filter_map(Value::as_str).any(&fits);
    if statement[opposite].is_null() { any(&statement[name]) } else { !any(&statement[opposite]) }
}

fn is_principal(principal: &Value, service: &str) -> bool {
    if principal == "*" {
        return true;
    }
    let everyone = one_or_many(&principal["AWS"]).into_iter().any(|one| one == "*");
    everyone || one_or_many(&principal["Service"]).into_iter().any(|one| one == service || one == "*")
}

fn conditions_hold(conditions: &Value, publisher: &Publisher<'_>) -> bool {
    let Some(conditions) = conditions.as_object() else { return true };
    conditions.iter().all(|(operator, keys)| {
        keys.as_object().into_iter().flatten().all(|(key, wanted)| {
            let has = match key.to_lowercase().as_str() {
                "aws:sourceowner" | "aws:sourceaccount" => scope::account_of(publisher.region),
                "aws:sourcearn" => publisher.arn,
                _ => return false,
            };
            let negated = operator.contains("Not");
            let is_pattern = operator.contains("Like") || operator.starts_with("Arn");
            let wanted = one_or_many(wanted);
            let mut wanted = wanted.into_iter().filter_map(Value::as_str);
            wanted.any(|wanted| if is_pattern { is_like(wanted, has) } else { wanted == has }) != negated
        })
    })
}

/// Whether `text` fits a pattern with `*` and `?`.
fn is_like(pattern: &str, text: &str) -> bool {
    match pattern.chars().next() {
        None => text.is_empty(),
        Some('*') => {
            let rest = &pattern[1..];
            text.char_indices().map(|(at, _)| at).chain([text.len()]).any(|at| is_like(rest, &text[at..]))
        }
        Some(first) => text.chars().next().is_some_and(|begin| {
            (first == '?' || first == begin)
                && is_like(&pattern[first.len_utf8()..], &text[begin.len_utf8()..])
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOPIC: &str = "arn:aws:sns:eu-central-1:123456789012:ops";
    const ALARM: Publisher<'_> = Publisher {
        service: "cloudwatch.amazonaws.com",
        arn: "arn:aws:cloudwatch:eu-central-1:123456789012:alarm:a",
        region: "eu-central-1",
    };

    #[test]
    fn the_default_policy_admits_services_of_the_account() {
        assert!(policy_allows(&default_policy(TOPIC), &ALARM, TOPIC));
    }

    #[test]
    fn a_policy_denies_services_that_it_does_not_name() {
        let events = r#"{"Statement": {"Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"},
            "Action": "sns:Publish", "Resource": "*"}}"#;
        assert!(!policy_allows(events, &ALARM, TOPIC));
        let named = events.replace("events.amazonaws.com", "cloudwatch.amazonaws.com");
        assert!(policy_allows(&named, &ALARM, TOPIC));
        let only_some = r#"{"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "sns:*", "Resource": "*",
            "Condition": {"ArnLike": {"aws:SourceArn": "arn:aws:cloudwatch:*:*:alarm:b*"}}}]}"#;
        assert!(!policy_allows(only_some, &ALARM, TOPIC));
        let denied = r#"{"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "sns:*", "Resource": "*"},
            {"Effect": "Deny", "Principal": "*", "Action": "SNS:Publish", "Resource": "*"}]}"#;
        assert!(!policy_allows(denied, &ALARM, TOPIC));
    }
}
