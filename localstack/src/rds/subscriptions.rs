//! Event subscriptions: which events of which sources go to which SNS topic. `event_delivery` delivers them.
//!
//! Categories depend on the type of source, as on AWS: `DescribeEventCategories` lists them.

use crate::error::{ApiError, Result};
use crate::event_delivery::EVENTS_SERVICE;
use crate::rds::paging::{Filters, page};
use crate::rds::request::{Request, local_name};
use crate::rds::validate;
use crate::resources::{EventSource, EventSubscription, arn};
use crate::scope;
use crate::sns;
use crate::wire::Xml;

/// AWS's quota in a Region.
const MOST: usize = 20;

/// Types of sources and their categories (Amazon RDS User Guide, "Amazon RDS event categories and event messages").
const CATEGORIES: [(&str, &str); 9] = [
    (
        "db-instance",
        "availability, backtrack, backup, configuration change, creation, deletion, failover, failure, low storage, \
         maintenance, notification, read replica, recovery, restoration, security, security patching",
    ),
    ("db-snapshot", "creation, deletion, notification, restoration"),
    ("db-parameter-group", "configuration change"),
    ("db-security-group", "configuration change, failure"),
    (
        "db-cluster",
        "availability, configuration change, creation, deletion, failover, failure, global failover, maintenance, \
         migration, notification, serverless",
    ),
    ("db-cluster-snapshot", "backup, creation, deletion, notification"),
    ("db-proxy", "configuration change, creation, deletion, failure"),
    ("custom-engine-version", "creation, deletion, failure, restoring"),
    ("blue-green-deployment", "creation, deletion, failure, notification"),
];

pub(super) fn describe_event_categories(request: &Request<'_>) -> Result<Xml> {
    Filters::parse(request.query, &[])?;
    let kind = request.query.get("SourceType");
    check_source_type(kind)?;
    let listed = CATEGORIES.iter().filter(|(of, _)| kind.is_none_or(|kind| kind == *of));
    Ok(Xml::with_list("EventCategoriesMapList", "EventCategoriesMap", listed, |xml, (of, categories)| {
        xml.text("SourceType", of).values("EventCategories", "EventCategory", categories.split(", "));
    }))
}

fn check_source_type(kind: Option<&str>) -> Result<()> {
    match kind.filter(|kind| CATEGORIES.iter().all(|(of, _)| of != kind)) {
        Some(wrong) => Err(ApiError::invalid_value(format!("Invalid source type: {wrong}"))),
        None => Ok(()),
    }
}

fn check_categories(kind: Option<&str>, categories: &[String]) -> Result<()> {
    let known = |category: &str| {
        let mut possible = CATEGORIES.iter().filter(|(of, _)| kind.is_none_or(|kind| kind == *of));
        possible.any(|(_, categories)| categories.split(", ").any(|known| known == category))
    };
    match categories.iter().find(|category| !known(category)) {
        None => Ok(()),
        Some(wrong) => Err(ApiError::new(
            "SubscriptionCategoryNotFound",
            format!("The supplied category does not exist: {wrong}"),
        )),
    }
}

/// Whether RDS may publish to a topic of this Region.
fn check_topic(request: &Request<'_>, topic: &str) -> Result<()> {
    let refused = |status, code: &str, message: &str| {
        Err(ApiError::with_status(status, code, format!("{message}: {topic}")))
    };
    if !topic.starts_with("arn:aws:sns:") || topic.ends_with(".fifo") {
        return refused(400, "SNSInvalidTopic", "Invalid topic");
    }
    match sns::publish_admission(request.cx, topic, EVENTS_SERVICE, request.region) {
        sns::Admission::Admitted => Ok(()),
        sns::Admission::NoTopic => refused(404, "SNSTopicArnNotFound", "SNS topic ARN not found"),
        sns::Admission::Denied => {
            refused(400, "SNSNoAuthorization", "RDS does not have permission to publish to the topic")
        }
    }
}

fn existing_sources(request: &Request<'_>, kind: Option<&str>, ids: Vec<String>) -> Result<Vec<String>> {
    let ids: Vec<String> = ids.iter().map(|id| local_name(id)).collect();
    if ids.is_empty() {
        return Ok(ids);
    }
    let Some(kind) = kind else {
        return Err(ApiError::invalid_combination("A source type must be given with source ids."));
    };
    request.cx.store.read(|state| {
        let region = state.region(request.region);
        let exists = |id: &String| match kind {
            "db-instance" => region.instances.contains_key(id),
            "db-snapshot" => region.snapshots.contains_key(id),
            _ => state.regions.contains_key(request.region),
        };
        match ids.iter().find(|id| !exists(id)) {
            None => Ok(()),
            Some(id) => Err(ApiError::new("SourceNotFound", format!("The source could not be found: {id}"))),
        }
    })?;
    Ok(ids)
}

fn no_subscription(name: &str) -> ApiError {
    ApiError::new("SubscriptionNotFound", format!("Subscription {name} was not found."))
}

pub(super) fn create_subscription(request: &Request<'_>) -> Result<Xml> {
    let query = request.query;
    let name = query.required("SubscriptionName")?.to_lowercase();
    let is_name = name.len() < 256
        && name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if !is_name {
        return Err(ApiError::invalid_value(format!("Invalid subscription name: {name}")));
    }
    let topic = query.required("SnsTopicArn")?.to_owned();
    let kind = query.owned("SourceType");
    check_source_type(kind.as_deref())?;
    let categories = query.list("EventCategories", "EventCategory").unwrap_or_default();
    check_categories(kind.as_deref(), &categories)?;
    let ids = query.list("SourceIds", "SourceId").unwrap_or_default();
    let sources = existing_sources(request, kind.as_deref(), ids)?;
    check_topic(request, &topic)?;
    let subscription = EventSubscription {
        name: name.clone(),
        topic,
        source_type: kind,
        sources,
        categories,
        enabled: query.flag("Enabled")?.unwrap_or(true),
        created_at: request.now,
        tags: validate::requested_tags(query)?.unwrap_or_default(),
    };
    request.cx.store.change(|state| {
        let region = state.region_mut(request.region);
        if region.subscriptions.contains_key(&name) {
            let message = format!("Subscription already exists: {name}");
            return Err(ApiError::with_status(400, "SubscriptionAlreadyExist", message));
        }
        if region.subscriptions.len() >= MOST {
            let message = "You have reached the maximum number of event subscriptions.";
            return Err(ApiError::with_status(400, "EventSubscriptionQuotaExceeded", message));
        }
        region.subscriptions.insert(name, subscription.clone());
        Ok(())
    })?;
    Ok(subscription_result(request, &subscription))
}

/// Changes a subscription and returns it.
fn edit_subscription(
    request: &Request<'_>,
    edit: impl FnOnce(&mut EventSubscription) -> Result<()>,
) -> Result<Xml> {
    let name = request.query.required("SubscriptionName")?.to_lowercase();
    let edited = request.cx.store.change(|state| {
        let subscriptions = &mut state.region_mut(request.region).subscriptions;
        let subscription = subscriptions.get_mut(&name).ok_or_else(|| no_subscription(&name))?;
        let mut edited = subscription.clone();
        edit(&mut edited)?;
        subscription.clone_from(&edited);
        Ok::<_, ApiError>(edited)
    })?;
    Ok(subscription_result(request, &edited))
}

pub(super) fn modify_subscription(request: &Request<'_>) -> Result<Xml> {
    let query = request.query;
    let topic = query.owned("SnsTopicArn");
    if let Some(topic) = &topic {
        check_topic(request, topic)?;
    }
    let kind = query.owned("SourceType");
    check_source_type(kind.as_deref())?;
    let is_cleared = query.clears_list("EventCategories");
    let categories = query.list("EventCategories", "EventCategory").or(is_cleared.then(Vec::new));
    let enabled = query.flag("Enabled")?;
    edit_subscription(request, |subscription| {
        if let Some(kind) = kind {
            subscription.source_type = Some(kind);
        }
        if let Some(categories) = categories {
            subscription.categories = categories;
        }
        check_categories(subscription.source_type.as_deref(), &subscription.categories)?;
        subscription.topic = topic.unwrap_or_else(|| subscription.topic.clone());
        subscription.enabled = enabled.unwrap_or(subscription.enabled);
        Ok(())
    })
}

pub(super) fn add_source(request: &Request<'_>) -> Result<Xml> {
    let id = request.query.required("SourceIdentifier")?.to_owned();
    let name = request.query.required("SubscriptionName")?.to_lowercase();
    let kind = request.cx.store.read(|state| {
        let subscription = state.region(request.region).subscriptions.get(&name);
        subscription
            .map(|subscription| subscription.source_type.clone())
            .ok_or_else(|| no_subscription(&name))
    })?;
    let added = existing_sources(request, kind.as_deref(), vec![id])?;
    edit_subscription(request, |subscription| {
        subscription.sources.extend(added);
        subscription.sources.sort();
        subscription.sources.dedup();
        Ok(())
    })
}

pub(super) fn remove_source(request: &Request<'_>) -> Result<Xml> {
    let id = local_name(request.query.required("SourceIdentifier")?);
    edit_subscription(request, |subscription| {
        subscription.sources.retain(|source| *source != id);
        Ok(())
    })
}

pub(super) fn delete_subscription(request: &Request<'_>) -> Result<Xml> {
    let name = request.query.required("SubscriptionName")?.to_lowercase();
    let removed = request.cx.store.change(|state| {
        state.region_mut(request.region).subscriptions.remove(&name).ok_or_else(|| no_subscription(&name))
    })?;
    Ok(subscription_result(request, &removed))
}

pub(super) fn describe_subscriptions(request: &Request<'_>) -> Result<Xml> {
    Filters::parse(request.query, &[])?;
    let name = request.query.owned("SubscriptionName").map(|name| name.to_lowercase());
    let found: Vec<EventSubscription> = request.cx.store.read(|state| {
        let all = state.region(request.region).subscriptions.values();
        all.filter(|one| name.as_ref().is_none_or(|name| *name == one.name)).cloned().collect()
    });
    if let (Some(name), true) = (&name, found.is_empty()) {
        return Err(no_subscription(name));
    }
    let page = page(request.query, found, |subscription| subscription.name.clone())?;
    Ok(page.to_xml("EventSubscriptionsList", "EventSubscription", |xml, subscription| {
        write_subscription(request, xml, subscription);
    }))
}

fn subscription_result(request: &Request<'_>, subscription: &EventSubscription) -> Xml {
    Xml::with_element("EventSubscription", |xml| write_subscription(request, xml, subscription))
}

fn write_subscription(request: &Request<'_>, xml: &mut Xml, subscription: &EventSubscription) {
    let status = match sns::publish_admission(request.cx, &subscription.topic, EVENTS_SERVICE, request.region)
    {
        sns::Admission::Admitted => "active",
        sns::Admission::NoTopic => "topic-not-exist",
        sns::Admission::Denied => "no-permission",
    };
    xml.text("CustomerAwsId", scope::account_of(request.region))
        .text("CustSubscriptionId", &subscription.name)
        .text("SnsTopicArn", &subscription.topic)
        .text("Status", status)
        .text("SubscriptionCreationTime", subscription.created_at.format("%Y-%m-%d %H:%M:%S%.3f"))
        .maybe("SourceType", subscription.source_type.as_deref())
        .values("SourceIdsList", "SourceId", &subscription.sources)
        .values("EventCategoriesList", "EventCategory", &subscription.categories)
        .text("Enabled", subscription.enabled)
        .text("EventSubscriptionArn", arn(request.region, "es", &subscription.name));
}

/// Checks that events of a type of source can have a category.
pub(crate) fn check_event_category(source: EventSource, category: &str) -> std::result::Result<(), String> {
    check_categories(Some(source.name()), &[category.to_owned()]).map_err(|error| error.message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn categories_depend_on_the_type_of_source() {
        let refused = |kind, category: &str| {
            check_categories(kind, &[category.to_owned()]).map_err(|error| error.code).err()
        };
        assert_eq!(refused(Some("db-instance"), "backup"), None);
        assert_eq!(refused(Some("db-snapshot"), "backup").as_deref(), Some("SubscriptionCategoryNotFound"));
        assert_eq!(refused(None, "backup"), None);
        assert!(check_source_type(Some("db-mainframe")).is_err());
    }
}
