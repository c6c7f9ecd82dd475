//! Topics: from names to ARNs, and whether they can deliver.

use std::collections::BTreeMap;

use super::audit::fault::Fault;
use super::settings::{AlarmKindSettings, AlarmSettings};
use crate::aws::Aws;
use crate::error::{Error, Result};
use crate::rds::{Instance, Topic};

/// Actions per state (Amazon CloudWatch API, `PutMetricAlarm`).
const MOST: usize = 5;

/// The parts of a topic's ARN.
pub(super) struct TopicArn<'a> {
    pub(super) region: &'a str,
    pub(super) account: &'a str,
    pub(super) name: &'a str,
}

pub(super) fn parse_arn(arn: &str) -> Option<TopicArn<'_>> {
    let parts: Vec<&str> = arn.split(':').collect();
    match parts[..] {
        ["arn", _, "sns", region, account, name] if !name.is_empty() => {
            Some(TopicArn { region, account, name })
        }
        _ => None,
    }
}

/// The topics of an alarm, as ARNs of this Region. Flags win over the kind's, that over the team's, that over the database's.
pub(super) fn list_topics(
    instance: &Instance,
    flags: &[String],
    settings: &AlarmSettings,
    kind: &AlarmKindSettings,
    region: &str,
) -> Result<Vec<String>> {
    let team = settings.team_tag.as_ref().and_then(|tag| instance.tags.get(tag));
    let of_team = team.filter(|team| settings.topics.contains_key(*team)).map(|team| vec![team.clone()]);
    let named = if flags.is_empty() {
        kind.topic.clone().or(of_team).or_else(|| settings.topic.clone()).unwrap_or_default()
    } else {
        flags.to_vec()
    };
    if named.is_empty() {
        return Err(Error::request(format!(
            "the alarms of `{}` would notify nobody: no topic is given",
            instance.id
        ))
        .hint("Pass `--topic NAME`, or set `topic = \"NAME\"` in [alarms] of lifeboat.toml."));
    }
    let mut arns: Vec<String> = Vec::new();
    for name in &named {
        let arn = resolve_arn(settings.topics.get(name).unwrap_or(name), region, instance)?;
        if !arns.contains(&arn) {
            arns.push(arn);
        }
    }
    if arns.len() > MOST {
        return Err(Error::request(format!("{} topics are too many for an alarm", arns.len()))
            .hint("CloudWatch carries out at most 5 actions per state: publish to one topic that others subscribe to."));
    }
    Ok(arns)
}

fn resolve_arn(text: &str, region: &str, instance: &Instance) -> Result<String> {
    let fifo = |name: &str| {
        Error::request(format!(
            "topic `{name}` is a FIFO topic, which neither CloudWatch nor RDS can publish to"
        ))
        .hint("Use a standard topic; a FIFO queue cannot subscribe to it, an ordinary queue can.")
    };
    if !text.starts_with("arn:") {
        let is_name = !text.is_empty()
            && text.len() <= 256
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if !is_name {
            return Err(Error::request(format!(
                "`{}` is not the name of an SNS topic",
                text.escape_default()
            ))
            .hint("Names have letters, digits, hyphens and underscores; or pass an ARN."));
        }
        if text.ends_with(".fifo") {
            return Err(fifo(text));
        }
        // The account that the instance lives in.
        let account = instance.arn.split(':').nth(4).unwrap_or_default();
        let partition = instance.arn.split(':').nth(1).filter(|part| !part.is_empty()).unwrap_or("aws");
        return Ok(format!("arn:{partition}:sns:{region}:{account}:{text}"));
    }
    let Some(parts) = parse_arn(text) else {
        return Err(Error::request(format!("`{}` is not the ARN of an SNS topic", text.escape_default()))
            .hint("An ARN looks like arn:aws:sns:eu-central-1:123456789012:ops."));
    };
    if parts.region != region {
        return Err(Error::request(format!(
            "topic `{text}` is in {}, but the alarms are in {region}",
            parts.region
        ))
        .hint("An alarm can only publish to a topic of its own Region: create one there that forwards."));
    }
    if parts.name.ends_with(".fifo") {
        return Err(fifo(text));
    }
    Ok(text.to_owned())
}

/// What a key needs.
pub(super) const KEY_REMEDY: &str = "Encrypt it with a customer managed key whose policy grants the service kms:Decrypt and kms:GenerateDataKey*.";

/// What cannot be checked here: whether key policies allow a service.
pub(super) fn list_unknown_keys<'t>(topics: impl Iterator<Item = &'t Topic>) -> Vec<String> {
    let own =
        |topic: &'t Topic| topic.key.as_ref().filter(|key| !key.ends_with(AWS_KEY)).map(|key| (topic, key));
    topics
        .filter_map(own)
        .map(|(topic, key)| {
            format!(
                "topic `{}` is encrypted with key `{key}`, whose policy may not allow CloudWatch to use it: `lifeboat alarms \
                 test` shows whether it does",
                topic.arn
            )
        })
        .collect()
}

/// SNS's AWS managed key, whose policy cannot be changed.
const AWS_KEY: &str = "alias/aws/sns";

/// What keeps a service's messages from being delivered by a topic.
pub(super) fn find_obstacles(topic: &Topic, service: &str) -> Vec<Fault> {
    let mut found = Vec::new();
    let arn = &topic.arn;
    if topic.confirmed == 0 {
        let message = match topic.pending {
            0 => format!("nobody is subscribed to topic `{arn}`"),
            1 => format!("the only subscription of topic `{arn}` was never confirmed"),
            many => format!("none of the {many} subscriptions of topic `{arn}` was ever confirmed"),
        };
        found.push(Fault {
            code: "topic-without-subscribers",
            message,
            remedy: "Subscribe someone (`aws sns subscribe`), and have them confirm.".to_owned(),
        });
    }
    if topic.key.as_deref().is_some_and(|key| key.ends_with(AWS_KEY)) {
        found.push(Fault {
            code: "topic-key-shuts-out",
            message: format!("topic `{arn}` has an AWS managed key, which {service} may not use"),
            remedy: KEY_REMEDY.to_owned(),
        });
    }
    if !super::topic_policy::allows(&topic.policy, service, arn) {
        found.push(Fault {
            code: "topic-policy-shuts-out",
            message: format!("the policy of topic `{arn}` does not let {service} publish"),
            remedy: "Add a statement to the topic's policy that allows the service sns:Publish.".to_owned(),
        });
    }
    found
}

/// Checks each topic once.
#[derive(Debug, Default)]
pub(super) struct Topics(BTreeMap<String, Option<Topic>>);

impl Topics {
    /// Those of some topics that were checked and exist.
    pub(super) fn list_fetched<'t>(&'t self, arns: &'t [String]) -> impl Iterator<Item = &'t Topic> {
        arns.iter().filter_map(|arn| self.0.get(arn)?.as_ref())
    }

    pub(super) async fn fetch(&mut self, aws: &Aws, arn: &str) -> Result<Option<Topic>> {
        if let Some(known) = self.0.get(arn) {
            return Ok(known.clone());
        }
        let found = aws.topic(arn).await?;
        self.0.insert(arn.to_owned(), found.clone());
        Ok(found)
    }
}
