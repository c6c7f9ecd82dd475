//! Whether the policy of a topic lets a service publish. Conditions that can only be judged at the moment of publishing are
//! taken to hold: a fault is reported only where there is one for sure.

use serde_json::Value;

/// Whether `service` may publish to `topic`, as far as its policy tells.
pub(super) fn allows(policy: &str, service: &str, topic: &str) -> bool {
    let Ok(policy) = serde_json::from_str::<Value>(policy) else { return true };
    let account = topic.split(':').nth(4).unwrap_or_default();
    let statements = many(&policy["Statement"]);
    let about = |statement: &Value| {
        let action = match &statement["NotAction"] {
            Value::Null => {
                texts(&statement["Action"]).any(|action| like(&action.to_lowercase(), "sns:publish"))
            }
            not => !texts(not).any(|action| like(&action.to_lowercase(), "sns:publish")),
        };
        let resource = match &statement["NotResource"] {
            Value::Null => texts(&statement["Resource"]).any(|resource| like(resource, topic)),
            not => !texts(not).any(|resource| like(resource, topic)),
        };
        action && resource && names(&statement["Principal"], service)
    };
    let has = |effect: &str, conditions: &dyn Fn(&Value) -> bool| {
        statements.iter().any(|one| one["Effect"] == effect && about(one) && conditions(&one["Condition"]))
    };
    has("Allow", &|conditions| may_hold(conditions, account)) && !has("Deny", &Value::is_null)
}

fn many(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Null => Vec::new(),
        one => vec![one],
    }
}

fn texts(value: &Value) -> impl Iterator<Item = &str> {
    many(value).into_iter().filter_map(Value::as_str)
}

fn names(principal: &Value, service: &str) -> bool {
    principal == "*"
        || texts(&principal["AWS"]).any(|one| one == "*")
        || texts(&principal["Service"]).any(|one| one == service || one == "*")
}

/// Whether a service that acts for `account` could meet the conditions.
fn may_hold(conditions: &Value, account: &str) -> bool {
    let Some(conditions) = conditions.as_object() else { return true };
    conditions.iter().all(|(operator, keys)| {
        keys.as_object().into_iter().flatten().all(|(key, wanted)| match key.to_lowercase().as_str() {
            "aws:sourceowner" | "aws:sourceaccount" if operator.starts_with("StringEquals") => {
                texts(wanted).any(|one| one == account)
            }
            // Alarms and event subscriptions have ARNs of their own services.
            "aws:sourcearn" if !operator.contains("Not") => texts(wanted).any(|one| {
                one == "*" || one.split(':').nth(2).is_none_or(|of| ["cloudwatch", "rds", "*"].contains(&of))
            }),
            _ => true,
        })
    })
}

fn like(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|left| {
            rest.is_empty() || left.char_indices().any(|(at, _)| like(rest, &left[at..])) || like(rest, "")
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOPIC: &str = "arn:aws:sns:eu-central-1:123456789012:ops";
    const CLOUDWATCH: &str = "cloudwatch.amazonaws.com";

    fn statement(principal: &str, action: &str, rest: &str) -> String {
        format!(
            r#"{{"Statement": [{{"Effect": "Allow", "Principal": {principal}, "Action": "{action}", "Resource": "*"{rest}}}]}}"#
        )
    }

    #[test]
    fn a_policy_admits_whom_it_names() {
        let owner = r#", "Condition": {"StringEquals": {"AWS:SourceOwner": "123456789012"}}"#;
        assert!(allows(&statement(r#"{"AWS": "*"}"#, "SNS:Publish", owner), CLOUDWATCH, TOPIC));
        let other = owner.replace("123456789012", "999999999999");
        assert!(!allows(&statement(r#"{"AWS": "*"}"#, "SNS:Publish", &other), CLOUDWATCH, TOPIC));
        let service = r#"{"Service": "events.amazonaws.com"}"#;
        assert!(!allows(&statement(service, "sns:*", ""), CLOUDWATCH, TOPIC));
        assert!(allows(&statement(service, "sns:*", ""), "events.amazonaws.com", TOPIC));
        assert!(!allows(&statement(r#"{"AWS": "*"}"#, "SNS:Subscribe", ""), CLOUDWATCH, TOPIC));
        assert!(!allows(r#"{"Statement": []}"#, CLOUDWATCH, TOPIC));
    }

    #[test]
    fn a_denial_that_always_holds_outweighs() {
        let policy = r#"{"Statement": [
            {"Effect": "Allow", "Principal": "*", "Action": "sns:Publish", "Resource": "arn:aws:sns:*:ops"},
            {"Effect": "Deny", "Principal": "*", "Action": "sns:Publish", "Resource": "*"}]}"#;
        assert!(!allows(policy, CLOUDWATCH, TOPIC));
        let insecure = policy.replace(
            r#""Resource": "*"}"#,
            r#""Resource": "*", "Condition": {"Bool": {"aws:SecureTransport": "false"}}}"#,
        );
        assert!(allows(&insecure, CLOUDWATCH, TOPIC));
    }
}
