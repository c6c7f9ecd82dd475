//! Events of RDS: they are recorded, and delivered at once to the event subscriptions that asked for them.

use std::sync::Arc;

use serde_json::json;

use crate::event_messages::EventMessage;
use crate::resources::{Event, EventSource, EventSubscription, arn};
use crate::sns;
use crate::stack::Context;

/// The service that publishes events to SNS.
pub(crate) const EVENTS_SERVICE: &str = "events.rds.amazonaws.com";

/// Records and delivers something that happens now to an instance or a snapshot.
pub(crate) fn record_event(
    cx: &Arc<Context>,
    region: &str,
    source_type: EventSource,
    source: &str,
    what: &EventMessage,
) {
    let event = Event {
        at: cx.clock.now(),
        source: source.to_owned(),
        source_type,
        category: what.category.clone().into_owned(),
        message: what.text.clone().into_owned(),
        id: what.id.to_owned(),
    };
    cx.store.change(|state| state.region_mut(region).events.push(event.clone()));
    deliver_event(cx, region, &event);
}

/// Publishes an event to the topics of every subscription that asked for it.
fn deliver_event(cx: &Arc<Context>, region: &str, event: &Event) {
    let kind = event.source_type.name();
    let wanted: Vec<EventSubscription> = cx.store.read(|state| {
        let all = state.region(region).subscriptions.values();
        all.filter(|one| {
            one.enabled
                && one.source_type.as_deref().is_none_or(|wanted| wanted == kind)
                && (one.sources.is_empty() || one.sources.contains(&event.source))
                && (one.categories.is_empty() || one.categories.contains(&event.category))
        })
        .cloned()
        .collect()
    });
    let text = json!({
        "Event Source": kind,
        "Event Time": event.at.format("%Y-%m-%d %H:%M:%S%.3f").to_string(),
        "Identifier Link": format!(
            "https://console.aws.amazon.com/rds/home?region={region}#{}:id={}",
            if kind == "db-snapshot" { "snapshot" } else { "dbinstance" },
            event.source
        ),
        "Source ID": event.source,
        "Source ARN": arn(region, event.source_type.arn_word(), &event.source),
        "Event ID": format!(
            "http://docs.amazonwebservices.com/AmazonRDS/latest/UserGuide/USER_Events.html#{}",
            event.id
        ),
        "Event Message": event.message,
    })
    .to_string();
    for subscription in wanted {
        let own = arn(region, "es", &subscription.name);
        let publisher = sns::Publisher { service: EVENTS_SERVICE, arn: &own, region };
        let message = sns::Message {
            subject: Some("RDS Notification Message"),
            text: &text,
            ..sns::Message::default()
        };
        // A topic that is gone or refuses RDS shows in the subscription's status; events are best effort.
        let _ = sns::publish(cx, &subscription.topic, &message, &publisher);
    }
}
