//! A simulator of IAM, as far as the policies of `deploy/iam` need it, and its own tests against AWS's rules
//! (IAM User Guide, "Policy evaluation logic", "Condition operators", "Multivalued context keys").
//!
//! It knows identity policies of one account: no boundaries, no resource policies. What it does not know it does not guess:
//! an operator or an element that is not here is a panic. Of variables it knows those that are keys of the request, in values.

use std::collections::BTreeMap;

use serde_json::Value;

/// What a request says beside its action and resource: keys are compared without case, and may have several values.
pub(crate) type Context = BTreeMap<String, Vec<String>>;

/// One thing that IAM is asked; a call of an API asks several.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) action: String,
    pub(crate) resource: String,
    pub(crate) context: Context,
}

impl Ask {
    pub(crate) fn new(action: &str, resource: &str) -> Ask {
        Ask { action: action.to_owned(), resource: resource.to_owned(), context: Context::new() }
    }

    pub(crate) fn with(mut self, key: &str, value: &str) -> Ask {
        self.context.entry(key.to_ascii_lowercase()).or_default().push(value.to_owned());
        self
    }

    /// Tags that the object has.
    pub(crate) fn on(self, tags: &BTreeMap<String, String>) -> Ask {
        tags.iter().fold(self, |ask, (key, value)| ask.with(&format!("aws:ResourceTag/{key}"), value))
    }

    /// Tags that the request brings.
    pub(crate) fn bringing(self, tags: &BTreeMap<String, String>) -> Ask {
        tags.iter().fold(self, |ask, (key, value)| {
            ask.with(&format!("aws:RequestTag/{key}"), value).with("aws:TagKeys", key)
        })
    }
}

/// What IAM answers, and by which statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Allowed(String),
    /// No statement allows it.
    Implicit,
    Denied(String),
}

pub(crate) struct Policy(Vec<Statement>);

struct Statement {
    name: String,
    allows: bool,
    actions: Patterns,
    resources: Patterns,
    conditions: Vec<Condition>,
}

/// `Action`, or `NotAction`.
struct Patterns {
    negated: bool,
    patterns: Vec<String>,
}

struct Condition {
    operator: String,
    key: String,
    values: Vec<String>,
}

fn strings(value: &Value) -> Vec<String> {
    match value {
        Value::Array(list) => list.iter().flat_map(strings).collect(),
        Value::String(text) => vec![text.clone()],
        other => vec![other.to_string()],
    }
}

impl Policy {
    pub(crate) fn parse(text: &str) -> Policy {
        let document: Value = serde_json::from_str(text).unwrap();
        assert_eq!(document["Version"], "2012-10-17");
        Policy(document["Statement"].as_array().unwrap().iter().map(Statement::parse).collect())
    }

    /// An explicit deny wins over any allow; without an allow it is no.
    pub(crate) fn decide(&self, ask: &Ask) -> Decision {
        let applying: Vec<&Statement> = self.0.iter().filter(|statement| statement.applies(ask)).collect();
        if let Some(deny) = applying.iter().find(|statement| !statement.allows) {
            return Decision::Denied(deny.name.clone());
        }
        applying.first().map_or(Decision::Implicit, |allow| Decision::Allowed(allow.name.clone()))
    }

    /// What keeps a call from being made: a call needs every one of its questions answered with yes.
    pub(crate) fn refusals(&self, asks: &[Ask]) -> Vec<(Ask, Decision)> {
        assert!(!asks.is_empty(), "a call that asks nothing is allowed to everybody");
        asks.iter()
            .map(|ask| (ask.clone(), self.decide(ask)))
            .filter(|(_, decision)| !matches!(decision, Decision::Allowed(_)))
            .collect()
    }
}

impl Statement {
    fn parse(value: &Value) -> Statement {
        for key in value.as_object().unwrap().keys() {
            let known = ["Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition"]
                .contains(&key.as_str());
            assert!(known, "the element {key} is not known here");
        }
        let patterns = |plain: &str, negated: &str| match (value.get(plain), value.get(negated)) {
            (Some(list), None) => Patterns { negated: false, patterns: strings(list) },
            (None, Some(list)) => Patterns { negated: true, patterns: strings(list) },
            _ => panic!("a statement needs one of {plain} and {negated}: {value}"),
        };
        let mut conditions = Vec::new();
        for (operator, keys) in value["Condition"].as_object().into_iter().flatten() {
            for (key, values) in keys.as_object().unwrap() {
                let key = key.to_ascii_lowercase();
                conditions.push(Condition { operator: operator.clone(), key, values: strings(values) });
            }
        }
        Statement {
            name: value["Sid"].as_str().unwrap_or("(no Sid)").to_owned(),
            allows: match value["Effect"].as_str() {
                Some("Allow") => true,
                Some("Deny") => false,
                other => panic!("an effect of {other:?}"),
            },
            actions: patterns("Action", "NotAction"),
            resources: patterns("Resource", "NotResource"),
            conditions,
        }
    }

    fn applies(&self, ask: &Ask) -> bool {
        let action = ask.action.to_ascii_lowercase();
        self.actions.fit(|pattern| like(&pattern.to_ascii_lowercase(), &action))
            && self.resources.fit(|pattern| {
                assert!(!pattern.contains("${"), "variables in resources are not known here: {pattern}");
                pattern == "*" || arn_like(pattern, &ask.resource)
            })
            && self.conditions.iter().all(|condition| condition.holds(&ask.context))
    }
}

impl Patterns {
    fn fit(&self, fits: impl Fn(&str) -> bool) -> bool {
        self.patterns.iter().any(|pattern| fits(pattern)) != self.negated
    }
}

impl Condition {
    fn holds(&self, context: &Context) -> bool {
        // With a variable that has no value, a statement does not apply.
        let Some(wanted) =
            self.values.iter().map(|value| filled_in(value, context)).collect::<Option<Vec<_>>>()
        else {
            return false;
        };
        let found = context.get(&self.key);
        let (set, operator) = match self.operator.split_once(':') {
            Some((set, operator)) => (Some(set), operator),
            None => (None, self.operator.as_str()),
        };
        let (operator, if_exists) = match operator.strip_suffix("IfExists") {
            Some(operator) => (operator, true),
            None => (operator, false),
        };
        if operator == "Null" {
            let wanted: Vec<bool> = wanted.iter().map(|value| value == "true").collect();
            return wanted.contains(&found.is_none_or(Vec::is_empty));
        }
        let values = match found.filter(|values| !values.is_empty()) {
            Some(values) => values,
            None if if_exists => return true,
            // Nothing is a subset of everything, and has no member.
            None => return set.map_or(is_negated(operator), |set| set == "ForAllValues"),
        };
        let one = |value: &String| compares(&wanted, operator, value);
        match set {
            Some("ForAllValues") => values.iter().all(one),
            Some("ForAnyValue") => values.iter().any(one),
            Some(other) => panic!("{other} is not a set operator"),
            None => {
                assert!(values.len() == 1, "{} has several values and needs a set operator", self.key);
                one(&values[0])
            }
        }
    }
}

/// A value of a condition in which `${key}` stands for what the request says.
fn filled_in(value: &str, context: &Context) -> Option<String> {
    let Some((before, rest)) = value.split_once("${") else { return Some(value.to_owned()) };
    let (key, after) = rest.split_once('}').expect("a variable ends");
    match context.get(&key.to_ascii_lowercase()).map(Vec::as_slice) {
        Some([only]) => Some(format!("{before}{only}{}", filled_in(after, context)?)),
        _ => None,
    }
}

/// The values of a condition are alternatives; of a negated one, none may fit.
fn compares(wanted: &[String], operator: &str, value: &str) -> bool {
    let plain = operator.replace("Not", "");
    let fits = |pattern: &String| match plain.as_str() {
        "StringEquals" => pattern == value,
        "StringEqualsIgnoreCase" => pattern.eq_ignore_ascii_case(value),
        "StringLike" => like(pattern, value),
        "ArnLike" | "ArnEquals" => arn_like(pattern, value),
        "Bool" => pattern.eq_ignore_ascii_case(value),
        other => panic!("the operator {other} is not known here"),
    };
    wanted.iter().any(fits) != is_negated(operator)
}

fn is_negated(operator: &str) -> bool {
    operator.contains("Not")
}

/// `*` is any number of characters, `?` is one.
fn like(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut in_text) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while in_text < text.len() {
        if at < pattern.len() && pattern[at] == '*' {
            star = Some((at, in_text));
            at += 1;
        } else if at < pattern.len() && (pattern[at] == '?' || pattern[at] == text[in_text]) {
            (at, in_text) = (at + 1, in_text + 1);
        } else if let Some((star_at, taken)) = star {
            star = Some((star_at, taken + 1));
            (at, in_text) = (star_at + 1, taken + 1);
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|c| *c == '*')
}

/// Each of the six parts of an ARN by itself: no `*` reaches over a colon, except within the last part.
fn arn_like(pattern: &str, arn: &str) -> bool {
    let parts = |text: &str| -> Vec<String> { text.splitn(6, ':').map(str::to_owned).collect() };
    let (pattern, arn) = (parts(pattern), parts(arn));
    pattern.len() == arn.len() && pattern.iter().zip(&arn).all(|(pattern, part)| like(pattern, part))
}

fn policy(statements: Value) -> Policy {
    Policy::parse(&serde_json::json!({"Version": "2012-10-17", "Statement": statements}).to_string())
}

/// Whether a policy with one allowing statement under this condition allows a request in this context.
fn allows(condition: Value, context: &[(&str, &str)]) -> bool {
    let policy = policy(
        serde_json::json!([{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": condition}]),
    );
    let ask = context.iter().fold(Ask::new("rds:X", "*"), |ask, (key, value)| ask.with(key, value));
    policy.decide(&ask) != Decision::Implicit
}

#[test]
fn a_deny_wins_over_any_allow_and_nothing_is_no() {
    let policy = policy(serde_json::json!([
        {"Sid": "all", "Effect": "Allow", "Action": "rds:*", "Resource": "*"},
        {"Sid": "not-that", "Effect": "Deny", "Action": "rds:Delete*", "Resource": "arn:aws:rds:*:1:db:prod-?"},
        {"Sid": "all-again", "Effect": "Allow", "Action": "*", "Resource": "arn:aws:rds:eu-west-1:1:db:prod-1"},
    ]));
    let decide = |action: &str, resource: &str| policy.decide(&Ask::new(action, resource));
    assert_eq!(
        decide("rds:DeleteDBInstance", "arn:aws:rds:eu-west-1:1:db:prod-1"),
        Decision::Denied("not-that".into())
    );
    assert_eq!(
        decide("RDS:deletedbinstance", "arn:aws:rds:eu-west-1:1:db:prod-1"),
        Decision::Denied("not-that".into())
    );
    assert_eq!(
        decide("rds:DeleteDBInstance", "arn:aws:rds:eu-west-1:1:db:prod-10"),
        Decision::Allowed("all".into())
    );
    assert_eq!(decide("s3:GetObject", "arn:aws:s3:::b/k"), Decision::Implicit);
}

#[test]
fn not_action_and_not_resource_are_everything_else() {
    let policy = policy(serde_json::json!([
        {"Sid": "allow", "Effect": "Allow", "NotAction": "iam:*", "Resource": "*"},
        {"Sid": "deny", "Effect": "Deny", "Action": "rds:*", "NotResource": ["arn:aws:rds:*:1:db:a*", "arn:aws:rds:*:1:db:b*"]},
    ]));
    let decide = |action: &str, resource: &str| policy.decide(&Ask::new(action, resource));
    assert_eq!(decide("rds:DeleteDBInstance", "arn:aws:rds:r:1:db:abc"), Decision::Allowed("allow".into()));
    assert_eq!(decide("rds:DeleteDBInstance", "arn:aws:rds:r:1:db:c"), Decision::Denied("deny".into()));
    assert_eq!(decide("rds:DescribeDBInstances", "*"), Decision::Denied("deny".into()));
    assert_eq!(decide("iam:PassRole", "*"), Decision::Implicit);
}

#[test]
fn a_star_stays_within_its_part_of_an_arn() {
    assert!(arn_like("arn:aws:rds:*:1:db:x-*", "arn:aws:rds:eu-west-1:1:db:x-y:z"));
    assert!(arn_like("arn:aws:rds:*:1:snapshot:*", "arn:aws:rds:eu-west-1:1:snapshot:rds:orders-2026"));
    assert!(!arn_like("arn:aws:rds:*:db:x", "arn:aws:rds:eu-west-1:1:db:x"));
    assert!(!arn_like("arn:aws:s3:::b/*", "arn:aws:s3:::b"));
    assert!(!arn_like("arn:aws:rds:*:1:db:x-*", "arn:aws:rds:eu-west-1:2:db:x-y"));
    assert!(like("a*b?d", "axxbcd") && !like("a*b?d", "abd") && like("*", "") && !like("?", ""));
}

#[test]
fn a_key_that_is_missing_fails_what_must_equal_and_fits_what_must_not() {
    let equals = serde_json::json!({"StringEquals": {"aws:ResourceTag/p": "drill"}});
    assert!(allows(equals.clone(), &[("aws:resourcetag/P", "drill")]));
    assert!(!allows(equals.clone(), &[("aws:ResourceTag/p", "Drill")]) && !allows(equals, &[]));
    let not = serde_json::json!({"StringNotEquals": {"aws:ResourceTag/p": ["drill", "test"]}});
    assert!(allows(not.clone(), &[]) && allows(not.clone(), &[("aws:ResourceTag/p", "prod")]));
    assert!(!allows(not, &[("aws:ResourceTag/p", "test")]));
    let if_exists = serde_json::json!({"StringEqualsIfExists": {"k": "v"}});
    assert!(allows(if_exists.clone(), &[]) && !allows(if_exists, &[("k", "w")]));
    let no_case = serde_json::json!({"StringEqualsIgnoreCase": {"k": "V"}});
    assert!(allows(no_case, &[("k", "v")]));
    assert!(allows(serde_json::json!({"StringLike": {"k": ["x", "a*c"]}}), &[("k", "abc")]));
    assert!(!allows(serde_json::json!({"StringNotLike": {"k": "a*"}}), &[("k", "abc")]));
    let both = serde_json::json!({"StringEquals": {"a": "1", "b": "2"}});
    assert!(allows(both.clone(), &[("a", "1"), ("b", "2")]) && !allows(both, &[("a", "1")]));
}

#[test]
fn null_bool_and_arns() {
    assert!(
        allows(serde_json::json!({"Null": {"k": "true"}}), &[])
            && !allows(serde_json::json!({"Null": {"k": true}}), &[("k", "v")])
    );
    assert!(
        allows(serde_json::json!({"Null": {"k": "false"}}), &[("k", "v")])
            && !allows(serde_json::json!({"Null": {"k": "false"}}), &[])
    );
    assert!(
        allows(serde_json::json!({"Bool": {"k": true}}), &[("k", "True")])
            && !allows(serde_json::json!({"Bool": {"k": "true"}}), &[])
    );
    let arn = serde_json::json!({"ArnLike": {"aws:SourceArn": "arn:aws:ecs:*:1:*"}});
    assert!(allows(arn.clone(), &[("aws:SourceArn", "arn:aws:ecs:eu-west-1:1:task/x")]));
    assert!(!allows(arn, &[("aws:SourceArn", "arn:aws:ecs:eu-west-1:2:task/x")]));
    assert!(allows(serde_json::json!({"ArnNotLike": {"k": "arn:aws:ecs:*:1:*"}}), &[]));
}

#[test]
fn a_variable_is_what_the_request_says() {
    let same = serde_json::json!({"StringEquals": {"aws:RequestTag/x": "a-${aws:ResourceTag/x}"}});
    assert!(allows(same.clone(), &[("aws:RequestTag/x", "a-1"), ("aws:ResourceTag/x", "1")]));
    assert!(!allows(same.clone(), &[("aws:RequestTag/x", "a-2"), ("aws:ResourceTag/x", "1")]));
    assert!(!allows(same, &[("aws:RequestTag/x", "a-1")]));
    let other = serde_json::json!({"StringNotEquals": {"aws:RequestTag/x": "${aws:ResourceTag/x}"}});
    assert!(allows(other.clone(), &[("aws:ResourceTag/x", "1")]) && !allows(other, &[]));
}

#[test]
fn sets_of_values() {
    let all = serde_json::json!({"ForAllValues:StringEquals": {"aws:TagKeys": ["a", "b"]}});
    assert!(allows(all.clone(), &[("aws:TagKeys", "a"), ("aws:TagKeys", "b")]) && allows(all.clone(), &[]));
    assert!(!allows(all, &[("aws:TagKeys", "a"), ("aws:TagKeys", "c")]));
    let any = serde_json::json!({"ForAnyValue:StringLike": {"aws:TagKeys": ["a*"]}});
    assert!(allows(any.clone(), &[("aws:TagKeys", "x"), ("aws:TagKeys", "abc")]));
    assert!(!allows(any.clone(), &[("aws:TagKeys", "x")]) && !allows(any, &[]));
}
