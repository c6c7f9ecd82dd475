//! Amazon SNS: what a topic is like. It is never changed from here.

use super::{Aws, Failure, Fault, patiently};
use crate::fleet::Topic;

impl Aws {
    /// The topic of that ARN, if there is one in this Region.
    pub async fn topic(&self, arn: &str) -> Result<Option<Topic>, Failure> {
        let answer = patiently(|| async {
            let answer = self.sns.get_topic_attributes().topic_arn(arn).send().await;
            answer.map_err(|error| Failure::of("GetTopicAttributes", format!("topic `{arn}`"), error))
        })
        .await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(failure) if failure.fault == Fault::NotFound => return Ok(None),
            Err(failure) => return Err(failure),
        };
        let text = |name: &str| answer.attributes().and_then(|attributes| attributes.get(name)).cloned();
        let count = |name: &str| text(name).and_then(|text| text.parse().ok()).unwrap_or(0);
        Ok(Some(Topic {
            arn: arn.to_owned(),
            confirmed: count("SubscriptionsConfirmed"),
            pending: count("SubscriptionsPending"),
            policy: text("Policy").unwrap_or_default(),
            key: text("KmsMasterKeyId").filter(|key| !key.is_empty()),
        }))
    }
}
