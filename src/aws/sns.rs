//! Amazon SNS: what a topic is like, and messages to it. It is never changed from here.

use aws_sdk_sns::types::MessageAttributeValue;

use super::{Aws, Failure, Fault, call, if_found, list_all};
use crate::rds::Topic;

impl Aws {
    /// The ARNs of all topics of the Region.
    pub(crate) async fn topics(&self) -> Result<Vec<String>, Failure> {
        list_all(|token| async move {
            let list = || self.sns.list_topics().set_next_token(token.clone()).send();
            let page = call("ListTopics", "all topics", list).await?;
            let arns =
                page.topics().iter().filter_map(|topic| topic.topic_arn().map(str::to_owned)).collect();
            Ok((arns, page.next_token))
        })
        .await
    }

    /// The topic of that ARN, if there is one in this Region.
    pub(crate) async fn topic(&self, arn: &str) -> Result<Option<Topic>, Failure> {
        let get = || self.sns.get_topic_attributes().topic_arn(arn).send();
        let answer = call("GetTopicAttributes", format!("topic `{arn}`"), get).await;
        let Some(answer) = if_found(answer)? else { return Ok(None) };
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

    /// Publishes a message that is written in several forms, as a JSON object of them; `default` is one. It is sent once:
    /// an answer that was lost may make it arrive twice, which its id shows.
    pub(crate) async fn publish_message(
        &self,
        topic: &str,
        subject: &str,
        forms: &str,
        attributes: &[(&str, &str)],
    ) -> Result<(), Failure> {
        let mut request =
            self.sns.publish().topic_arn(topic).subject(subject).message(forms).message_structure("json");
        for (name, value) in attributes {
            let value = MessageAttributeValue::builder().data_type("String").string_value(*value).build();
            let value = value.map_err(|error| {
                Failure::new("Publish", format!("topic `{topic}`"), Fault::Refused, error.to_string())
            })?;
            request = request.message_attributes(*name, value);
        }
        let answer = request.send().await;
        answer.map(drop).map_err(|error| Failure::from_sdk("Publish", format!("topic `{topic}`"), error))
    }
}
