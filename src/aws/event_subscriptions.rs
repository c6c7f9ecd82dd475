//! Event subscriptions of Amazon RDS, and the one parameter that an alarm's threshold depends on.

use aws_sdk_rds::types::Tag;

use super::{Aws, Failure, Fault, retry};
use crate::rds::{EventSubscription, Tags};

impl Aws {
    /// All event subscriptions of the Region, without their tags.
    pub(crate) async fn event_subscriptions(&self) -> Result<Vec<EventSubscription>, Failure> {
        let mut all = Vec::new();
        let mut marker: Option<String> = None;
        loop {
            let page = retry(|| async {
                let call = self.rds.describe_event_subscriptions().max_records(100);
                let answer = call.set_marker(marker.clone()).send().await;
                answer.map_err(|error| {
                    Failure::from_sdk("DescribeEventSubscriptions", "all event subscriptions", error)
                })
            })
            .await?;
            all.extend(page.event_subscriptions_list().iter().map(subscription));
            marker = page.marker().filter(|marker| !marker.is_empty()).map(str::to_owned);
            if marker.is_none() {
                return Ok(all);
            }
        }
    }

    /// The tags of an RDS object.
    pub(crate) async fn rds_tags(&self, arn: &str) -> Result<Tags, Failure> {
        let answer = retry(|| async {
            let answer = self.rds.list_tags_for_resource().resource_name(arn).send().await;
            answer.map_err(|error| Failure::from_sdk("ListTagsForResource", format!("`{arn}`"), error))
        })
        .await?;
        Ok(answer
            .tag_list()
            .iter()
            .filter_map(|tag| Some((tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned())))
            .collect())
    }

    /// The categories that events of a type of source come in.
    pub(crate) async fn event_categories(&self, source_type: &str) -> Result<Vec<String>, Failure> {
        let answer = retry(|| async {
            let answer = self.rds.describe_event_categories().source_type(source_type).send().await;
            answer.map_err(|error| {
                Failure::from_sdk("DescribeEventCategories", format!("`{source_type}`"), error)
            })
        })
        .await?;
        Ok(answer
            .event_categories_map_list()
            .iter()
            .flat_map(|map| map.event_categories().to_vec())
            .collect())
    }

    /// Makes an event subscription.
    pub(crate) async fn create_event_subscription(&self, wanted: &EventSubscription) -> Result<(), Failure> {
        let tags = wanted.tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build());
        let tags: Vec<Tag> = tags.collect();
        let create = || async {
            self.rds
                .create_event_subscription()
                .subscription_name(&wanted.name)
                .sns_topic_arn(&wanted.topic)
                .set_source_type(wanted.source_type.clone())
                .set_source_ids((!wanted.sources.is_empty()).then(|| wanted.sources.clone()))
                .set_event_categories((!wanted.categories.is_empty()).then(|| wanted.categories.clone()))
                .enabled(wanted.enabled)
                .set_tags(Some(tags.clone()))
                .send()
                .await
                .map_err(|error| {
                    Failure::from_sdk(
                        "CreateEventSubscription",
                        format!("event subscription `{}`", wanted.name),
                        error,
                    )
                })
        };
        match retry(create).await {
            // The answer to an earlier attempt was lost.
            Err(failure) if failure.code.as_deref().is_some_and(|code| code.contains("AlreadyExist")) => {
                Ok(())
            }
            other => other.map(drop),
        }
    }

    /// Sets topic, categories and switch of an event subscription, and adds sources.
    pub(crate) async fn modify_event_subscription(
        &self,
        wanted: &EventSubscription,
        new_sources: &[String],
    ) -> Result<(), Failure> {
        let resource = || format!("event subscription `{}`", wanted.name);
        retry(|| async {
            self.rds
                .modify_event_subscription()
                .subscription_name(&wanted.name)
                .sns_topic_arn(&wanted.topic)
                .set_source_type(wanted.source_type.clone())
                .set_event_categories(Some(wanted.categories.clone()))
                .enabled(wanted.enabled)
                .send()
                .await
                .map_err(|error| Failure::from_sdk("ModifyEventSubscription", resource(), error))
        })
        .await?;
        for source in new_sources {
            retry(|| async {
                let call = self.rds.add_source_identifier_to_subscription().subscription_name(&wanted.name);
                let answer = call.source_identifier(source).send().await;
                answer.map_err(|error| {
                    Failure::from_sdk("AddSourceIdentifierToSubscription", resource(), error)
                })
            })
            .await?;
        }
        Ok(())
    }

    /// Takes a database out of an event subscription.
    pub(crate) async fn remove_event_source(&self, subscription: &str, source: &str) -> Result<(), Failure> {
        let removed = retry(|| async {
            let call = self.rds.remove_source_identifier_from_subscription().subscription_name(subscription);
            let answer = call.source_identifier(source).send().await;
            let resource = format!("event subscription `{subscription}`");
            answer
                .map_err(|error| Failure::from_sdk("RemoveSourceIdentifierFromSubscription", resource, error))
        });
        gone_is_fine(removed.await.map(drop))
    }

    /// Deletes an event subscription.
    pub(crate) async fn delete_event_subscription(&self, name: &str) -> Result<(), Failure> {
        let deleted = retry(|| async {
            let answer = self.rds.delete_event_subscription().subscription_name(name).send().await;
            let resource = format!("event subscription `{name}`");
            answer.map_err(|error| Failure::from_sdk("DeleteEventSubscription", resource, error))
        });
        gone_is_fine(deleted.await.map(drop))
    }

    /// `max_connections` as somebody set it in a parameter group, if it is a plain number.
    pub(crate) async fn max_connections_in(&self, group: &str) -> Result<Option<u32>, Failure> {
        let mut marker: Option<String> = None;
        loop {
            let page = retry(|| async {
                let call = self.rds.describe_db_parameters().db_parameter_group_name(group).source("user");
                let answer = call.set_marker(marker.clone()).send().await;
                answer.map_err(|error| Failure::from_sdk("DescribeDBParameters", format!("`{group}`"), error))
            })
            .await?;
            let found = page.parameters().iter().find(|one| one.parameter_name() == Some("max_connections"));
            if let Some(parameter) = found {
                return Ok(parameter.parameter_value().and_then(|value| value.parse().ok()));
            }
            marker = page.marker().filter(|marker| !marker.is_empty()).map(str::to_owned);
            if marker.is_none() {
                return Ok(None);
            }
        }
    }
}

fn gone_is_fine(outcome: Result<(), Failure>) -> Result<(), Failure> {
    match outcome {
        Err(failure) if failure.fault == Fault::NotFound => Ok(()),
        other => other,
    }
}

fn subscription(row: &aws_sdk_rds::types::EventSubscription) -> EventSubscription {
    EventSubscription {
        name: row.cust_subscription_id().unwrap_or_default().to_owned(),
        arn: row.event_subscription_arn().unwrap_or_default().to_owned(),
        topic: row.sns_topic_arn().unwrap_or_default().to_owned(),
        source_type: row.source_type().map(str::to_owned),
        sources: row.source_ids_list().to_vec(),
        categories: row.event_categories_list().to_vec(),
        enabled: row.enabled().unwrap_or(true),
        status: row.status().unwrap_or_default().to_owned(),
        tags: Tags::new(),
    }
}
