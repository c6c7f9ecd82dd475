//! Event subscriptions of Amazon RDS, and the one parameter that an alarm's threshold depends on.

use super::rds::to_aws;
use super::{Aws, Failure, call, if_found, list_all};
use crate::rds::{EventSubscription, Tags};

impl Aws {
    /// All event subscriptions of the Region, without their tags.
    pub(crate) async fn event_subscriptions(&self) -> Result<Vec<EventSubscription>, Failure> {
        list_all(|marker| async move {
            let list = || {
                let request = self.rds.describe_event_subscriptions().max_records(100);
                request.set_marker(marker.clone()).send()
            };
            let page = call("DescribeEventSubscriptions", "all event subscriptions", list).await?;
            Ok((page.event_subscriptions_list().iter().map(subscription).collect(), page.marker))
        })
        .await
    }

    /// The categories that events of a type of source come in.
    pub(crate) async fn event_categories(&self, source_type: &str) -> Result<Vec<String>, Failure> {
        let list = || self.rds.describe_event_categories().source_type(source_type).send();
        let answer = call("DescribeEventCategories", format!("`{source_type}`"), list).await?;
        Ok(answer
            .event_categories_map_list()
            .iter()
            .flat_map(|map| map.event_categories().to_vec())
            .collect())
    }

    /// Makes an event subscription.
    pub(crate) async fn create_event_subscription(&self, wanted: &EventSubscription) -> Result<(), Failure> {
        let create = || {
            self.rds
                .create_event_subscription()
                .subscription_name(&wanted.name)
                .sns_topic_arn(&wanted.topic)
                .set_source_type(wanted.source_type.clone())
                .set_source_ids((!wanted.sources.is_empty()).then(|| wanted.sources.clone()))
                .set_event_categories((!wanted.categories.is_empty()).then(|| wanted.categories.clone()))
                .enabled(wanted.enabled)
                .set_tags(Some(to_aws(&wanted.tags)))
                .send()
        };
        match call("CreateEventSubscription", resource(&wanted.name), create).await {
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
        let modify = || {
            self.rds
                .modify_event_subscription()
                .subscription_name(&wanted.name)
                .sns_topic_arn(&wanted.topic)
                .set_source_type(wanted.source_type.clone())
                .set_event_categories(Some(wanted.categories.clone()))
                .enabled(wanted.enabled)
                .send()
        };
        call("ModifyEventSubscription", resource(&wanted.name), modify).await?;
        for source in new_sources {
            let add = || {
                let request = self.rds.add_source_identifier_to_subscription();
                request.subscription_name(&wanted.name).source_identifier(source).send()
            };
            call("AddSourceIdentifierToSubscription", resource(&wanted.name), add).await?;
        }
        Ok(())
    }

    /// Takes a database out of an event subscription.
    pub(crate) async fn remove_event_source(&self, subscription: &str, source: &str) -> Result<(), Failure> {
        let remove = || {
            let request = self.rds.remove_source_identifier_from_subscription();
            request.subscription_name(subscription).source_identifier(source).send()
        };
        let removed = call("RemoveSourceIdentifierFromSubscription", resource(subscription), remove).await;
        if_found(removed).map(drop)
    }

    /// Deletes an event subscription.
    pub(crate) async fn delete_event_subscription(&self, name: &str) -> Result<(), Failure> {
        let delete = || self.rds.delete_event_subscription().subscription_name(name).send();
        if_found(call("DeleteEventSubscription", resource(name), delete).await).map(drop)
    }

    /// `max_connections` as somebody set it in a parameter group, if it is a plain number.
    pub(crate) async fn max_connections_in(&self, group: &str) -> Result<Option<u32>, Failure> {
        let set = list_all(|marker| async move {
            let list = || {
                let request = self.rds.describe_db_parameters().db_parameter_group_name(group);
                request.source("user").set_marker(marker.clone()).send()
            };
            let page = call("DescribeDBParameters", format!("`{group}`"), list).await?;
            Ok((page.parameters.unwrap_or_default(), page.marker))
        });
        let found = set.await?.into_iter().find(|one| one.parameter_name() == Some("max_connections"));
        Ok(found.and_then(|parameter| parameter.parameter_value()?.parse().ok()))
    }
}

fn resource(subscription: &str) -> String {
    format!("event subscription `{subscription}`")
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
