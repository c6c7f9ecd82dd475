//! Permissions: what IAM's simulator says about the calls that steps make. It knows the policies of an identity, not all conditions, so that a
//! refusal is a doubt.

use std::collections::{BTreeMap, BTreeSet};

use super::{Finding, PreflightContext, Presence};
use crate::aws::identity_of_policies;
use crate::runbook::document::Step;
use crate::runbook::shell::{Command, Scan};

/// Tags that our own calls carry, for policies that require them.
const TAGGED: [(&str, &str); 4] = [
    ("aws:RequestTag/lifeboat:purpose", "restore"),
    ("aws:ResourceTag/lifeboat:purpose", "restore"),
    ("aws:RequestTag/lifeboat:class", "pre-migration"),
    ("aws:ResourceTag/lifeboat:class", "pre-migration"),
];

/// Simulates everything that steps change with `aws rds` and lifeboat.
pub(super) async fn check_rights(steps: &[&Step], ground: &PreflightContext<'_>) -> Vec<Finding> {
    let Some(aws) = ground.aws else { return Vec::new() };
    let Some(identity) = identity_of_policies(ground.identity) else { return Vec::new() };
    let place = aws.location();
    let partition = ground.identity.split(':').nth(1).unwrap_or("aws").to_owned();
    let account = ground.identity.split(':').nth(4).unwrap_or_default().to_owned();
    let arn = |kind: &str, id: &str| format!("arn:{partition}:rds:{}:{account}:{kind}:{id}", place.region);
    let mut needed: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for step in steps {
        let undo = step.undo.as_ref().filter(|_| ground.mode == crate::runbook::Mode::Rehearse);
        for script in step.kind.act().map(|act| &act.script).into_iter().chain(undo) {
            for call in &Scan::of_text(&script.text).commands {
                for (action, kind, id) in actions_of(call, ground) {
                    let actions = needed.entry(arn(kind, &id)).or_default();
                    actions.entry(format!("rds:{action}")).or_insert_with(|| step.id.clone());
                }
            }
        }
    }
    let tags: Vec<(String, String)> =
        TAGGED.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let mut findings = Vec::new();
    let mut allowed = BTreeSet::new();
    for (arn, actions) in needed {
        let names: Vec<String> = actions.keys().cloned().collect();
        match aws.simulate(&identity, &names, &arn, &tags, ground.now).await {
            Err(_) => {
                let what = "permissions were not checked: this role may not call iam:SimulatePrincipalPolicy";
                return vec![Finding::new(Presence::Unknown, what)];
            }
            Ok(decisions) => {
                for decision in decisions {
                    if decision.is_allowed {
                        allowed.insert(decision.action);
                        continue;
                    }
                    let step = actions.get(&decision.action).map_or("", String::as_str);
                    let what = format!(
                        "step `{step}` needs `{}` on {arn}, which IAM's simulator denies to {identity}",
                        decision.action
                    );
                    findings.push(Finding::new(Presence::Doubtful, what));
                }
            }
        }
    }
    if !allowed.is_empty() {
        let names: Vec<String> = allowed.into_iter().collect();
        findings.push(Finding::new(Presence::There, format!("IAM allows {}", names.join(", "))));
    }
    findings
}

/// What a call needs: the action, the kind of its object, and its id.
fn actions_of(call: &Command, ground: &PreflightContext<'_>) -> Vec<(String, &'static str, String)> {
    let words: Vec<String> = call
        .words
        .iter()
        .map(|word| match word.strip_prefix('$').and_then(|name| ground.values.get(name)) {
            Some(value) => value.to_owned(),
            None => word.clone(),
        })
        .collect();
    let after = |flag: &str| {
        let place = words.iter().position(|word| word == flag)?;
        words.get(place + 1).filter(|id| !id.starts_with('$')).cloned()
    };
    let start: Vec<&str> = words.iter().map(String::as_str).take(4).collect();
    let of = |actions: &[&str], kind: &'static str, id: Option<String>| {
        let id = id.unwrap_or_else(|| "*".to_owned());
        actions.iter().map(|action| ((*action).to_owned(), kind, id.clone())).collect::<Vec<_>>()
    };
    match start.as_slice() {
        ["lifeboat", "restore", "point-in-time", ..] => {
            of(&["RestoreDBInstanceToPointInTime", "AddTagsToResource"], "db", after("--to"))
        }
        ["lifeboat", "restore", "snapshot", ..] => {
            of(&["RestoreDBInstanceFromDBSnapshot", "AddTagsToResource"], "db", after("--to"))
        }
        ["lifeboat", "snapshot", "create", database] => {
            of(&["CreateDBSnapshot"], "db", Some((*database).to_owned()))
        }
        ["aws", "rds", operation, ..] if !operation.starts_with("describe-") && *operation != "wait" => {
            let action = operation.split('-').map(|word| match word {
                "db" => "DB".to_owned(),
                word => word[..1].to_uppercase() + &word[1..],
            });
            let action: String = action.collect();
            let instance =
                after("--target-db-instance-identifier").or_else(|| after("--db-instance-identifier"));
            let target =
                after("--target-db-snapshot-identifier").or_else(|| after("--db-snapshot-identifier"));
            match instance {
                Some(id) => of(&[&action], "db", Some(id)),
                None => of(&[&action], "snapshot", target),
            }
        }
        _ => Vec::new(),
    }
}
