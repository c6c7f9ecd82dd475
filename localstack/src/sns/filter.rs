//! Filter policies of subscriptions: which messages a subscriber gets (Amazon SNS Developer Guide, "Amazon SNS subscription
//! filter policies").

use serde_json::{Map, Value};

use crate::error::Result;
use crate::monitoring::sns_memory::Subscription;
use crate::sns::error::invalid_parameter;

/// Checks a filter policy that is about to be set; an empty text removes it.
pub(super) fn check_filter_policy(policy: &str) -> Result<()> {
    if policy.is_empty() {
        return Ok(());
    }
    let refused = |why: &str| invalid_parameter(format!("Invalid parameter: FilterPolicy: {why}"));
    let Ok(Value::Object(keys)) = serde_json::from_str(policy) else {
        return Err(refused("failed to parse JSON."));
    };
    check_keys(&keys).map_err(|why| refused(&why))
}

fn check_keys(keys: &Map<String, Value>) -> std::result::Result<(), String> {
    for (key, value) in keys {
        match value {
            Value::Object(nested) => check_keys(nested)?,
            Value::Array(rules) if key == "$or" => {
                for rule in rules {
                    let Value::Object(nested) = rule else {
                        return Err("\"$or\" must be an array of objects".to_owned());
                    };
                    check_keys(nested)?;
                }
            }
            Value::Array(rules) if !rules.is_empty() => rules.iter().try_for_each(check_rule)?,
            _ => return Err(format!("\"{key}\" must be an object or an array")),
        }
    }
    Ok(())
}

fn check_rule(rule: &Value) -> std::result::Result<(), String> {
    const KINDS: [&str; 7] =
        ["exists", "prefix", "suffix", "anything-but", "numeric", "equals-ignore-case", "cidr"];
    match rule {
        Value::Object(rule) => match rule.keys().find(|kind| !KINDS.contains(&kind.as_str())) {
            Some(kind) => Err(format!("Unrecognized match type {kind}")),
            None if rule.get("exists").is_some_and(|value| !value.is_boolean()) => {
                Err("exists match pattern must be either true or false.".to_owned())
            }
            None => Ok(()),
        },
        Value::Array(_) => Err("Match value must be String, number, true, false, or null".to_owned()),
        _ => Ok(()),
    }
}

/// Whether a subscription's filter policy, if it has one, lets a message pass.
pub(super) fn wants_message(subscription: &Subscription, message: &str, attributes: &Value) -> bool {
    let scope = subscription.attributes.get("FilterPolicyScope").map(String::as_str);
    let policy = subscription.attributes.get("FilterPolicy").filter(|policy| !policy.is_empty());
    policy.is_none_or(|policy| policy_admits(policy, scope, message, attributes))
}

/// Whether a message with these attributes passes. With the scope `MessageBody`, its text is compared instead.
fn policy_admits(policy: &str, scope: Option<&str>, message: &str, attributes: &Value) -> bool {
    let Ok(Value::Object(policy)) = serde_json::from_str(policy) else { return true };
    if scope == Some("MessageBody") {
        // A text that is not JSON cannot match any policy.
        return serde_json::from_str(message).is_ok_and(|body| policy_matches(&policy, &body));
    }
    let plain: Map<String, Value> = attributes
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, attribute)| (name.clone(), value_of(attribute)))
        .collect();
    policy_matches(&policy, &Value::Object(plain))
}

/// The value of an attribute, by its type.
fn value_of(attribute: &Value) -> Value {
    let text = attribute["Value"].as_str().unwrap_or_default();
    let kind = attribute["Type"].as_str().unwrap_or_default();
    let parsed = || serde_json::from_str::<Value>(text).ok();
    match kind.split('.').next().unwrap_or_default() {
        "Number" => parsed().filter(Value::is_number).unwrap_or(Value::Null),
        "String" if kind == "String.Array" => parsed().unwrap_or(Value::Null),
        _ => text.into(),
    }
}

fn policy_matches(policy: &Map<String, Value>, given: &Value) -> bool {
    policy.iter().all(|(key, wanted)| match wanted {
        Value::Array(choices) if key == "$or" => {
            choices.iter().filter_map(Value::as_object).any(|choice| policy_matches(choice, given))
        }
        Value::Object(nested) => match &given[key] {
            Value::Array(all) => all.iter().any(|one| policy_matches(nested, one)),
            one => policy_matches(nested, one),
        },
        Value::Array(rules) => rules.iter().any(|rule| rule_matches(rule, given.get(key))),
        _ => false,
    })
}

/// Whether a value, or one of several, matches a rule.
fn rule_matches(rule: &Value, given: Option<&Value>) -> bool {
    let values: Vec<&Value> = match given {
        None => Vec::new(),
        Some(Value::Array(all)) => all.iter().collect(),
        Some(one) => vec![one],
    };
    let Value::Object(rule) = rule else { return values.into_iter().any(|value| values_equal(rule, value)) };
    rule.iter().all(|(kind, wanted)| match kind.as_str() {
        "exists" => wanted.as_bool() == Some(given.is_some()),
        "anything-but" => !values.is_empty() && values.iter().all(|value| !is_among(wanted, value)),
        _ => values.iter().any(|value| operator_matches(kind, wanted, value)),
    })
}

fn values_equal(wanted: &Value, given: &Value) -> bool {
    match (wanted.as_f64(), given.as_f64()) {
        (Some(wanted), Some(given)) => wanted == given,
        _ => wanted == given,
    }
}

fn is_among(wanted: &Value, given: &Value) -> bool {
    match wanted {
        Value::Array(all) => all.iter().any(|one| values_equal(one, given)),
        Value::Object(rule) => rule.iter().all(|(kind, wanted)| operator_matches(kind, wanted, given)),
        one => values_equal(one, given),
    }
}

fn operator_matches(kind: &str, wanted: &Value, given: &Value) -> bool {
    let texts = wanted.as_str().zip(given.as_str());
    match kind {
        "prefix" => texts.is_some_and(|(wanted, given)| given.starts_with(wanted)),
        "suffix" => texts.is_some_and(|(wanted, given)| given.ends_with(wanted)),
        "equals-ignore-case" => texts.is_some_and(|(wanted, given)| given.eq_ignore_ascii_case(wanted)),
        "numeric" => {
            let (Some(conditions), Some(given)) = (wanted.as_array(), given.as_f64()) else { return false };
            conditions.chunks(2).all(|condition| {
                let [operator, bound] = condition else { return false };
                let (Some(operator), Some(bound)) = (operator.as_str(), bound.as_f64()) else { return false };
                match operator {
                    "=" => given == bound,
                    "<" => given < bound,
                    "<=" => given <= bound,
                    ">" => given > bound,
                    ">=" => given >= bound,
                    _ => false,
                }
            })
        }
        // `cidr` is not supported.
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn passes(policy: &Value) -> bool {
        let attributes = json!({
            "severity": {"Type": "String", "Value": "critical"},
            "count": {"Type": "Number", "Value": "7"},
            "tags": {"Type": "String.Array", "Value": "[\"a\", \"b\"]"},
        });
        policy_admits(&policy.to_string(), None, "text", &attributes)
    }

    #[test]
    fn attributes_pass_or_not() {
        for policy in [
            json!({}),
            json!({"severity": ["critical", "warning"]}),
            json!({"severity": [{"prefix": "cri"}], "count": [7]}),
            json!({"severity": [{"anything-but": ["info"]}]}),
            json!({"severity": [{"anything-but": {"prefix": "in"}}]}),
            json!({"severity": [{"equals-ignore-case": "CRITICAL"}]}),
            json!({"severity": [{"suffix": "cal"}]}),
            json!({"count": [{"numeric": [">", 5, "<=", 7]}]}),
            json!({"absent": [{"exists": false}]}),
            json!({"tags": ["b"]}),
            json!({"$or": [{"severity": ["info"]}, {"count": [7]}]}),
        ] {
            assert!(passes(&policy), "{policy}");
        }
        for policy in [
            json!({"severity": ["info"]}),
            json!({"severity": ["critical"], "count": [8]}),
            json!({"absent": ["x"]}),
            json!({"absent": [{"anything-but": ["x"]}]}),
            json!({"severity": [{"exists": false}]}),
            json!({"severity": [{"anything-but": ["critical"]}]}),
            json!({"count": [{"numeric": ["<", 7]}]}),
            json!({"count": ["7"]}),
            json!({"tags": ["c"]}),
        ] {
            assert!(!passes(&policy), "{policy}");
        }
    }

    #[test]
    fn the_message_body_is_matched_in_its_scope() {
        let policy = json!({"detail": {"state": ["ALARM"]}}).to_string();
        let admits = |message: &str| policy_admits(&policy, Some("MessageBody"), message, &Value::Null);
        assert!(admits(r#"{"detail": {"state": "ALARM"}}"#));
        assert!(!admits(r#"{"detail": {"state": "OK"}}"#));
        assert!(!admits("plain text"));
    }

    #[test]
    fn invalid_policies_are_refused() {
        for bad in [
            "{",
            "[]",
            r#"{"a": "b"}"#,
            r#"{"a": []}"#,
            r#"{"a": [{"like": "x"}]}"#,
            r#"{"a": [{"exists": "x"}]}"#,
        ] {
            assert_eq!(check_filter_policy(bad).unwrap_err().code, "InvalidParameter", "{bad}");
        }
        assert!(
            check_filter_policy("").is_ok() && check_filter_policy(r#"{"a": ["b", 1, null, true]}"#).is_ok()
        );
    }
}
