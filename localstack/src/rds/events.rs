//! DescribeEvents: what happened to instances and snapshots, for 14 days.

use chrono::TimeDelta;

use crate::error::{ApiError, Result};
use crate::rds::paging::{Filters, page};
use crate::rds::request::{Request, local_name};
use crate::resources::{Event, arn};
use crate::wire::Xml;

pub(super) fn describe_events(request: &Request<'_>) -> Result<Xml> {
    let query = request.query;
    Filters::parse(query, &[])?;
    let source = query.get("SourceIdentifier").map(local_name);
    let kind = query.get("SourceType");
    if source.is_some() && kind.is_none() {
        return Err(ApiError::invalid_combination(
            "Cannot specify a source identifier without a source type",
        ));
    }
    let end = query.time("EndTime")?.unwrap_or(request.now);
    let minutes = query.number("Duration")?.unwrap_or(60);
    let start = query.time("StartTime")?.unwrap_or(end - TimeDelta::minutes(minutes));
    if start > end {
        return Err(ApiError::invalid_combination("The start time must be before the end time."));
    }
    let categories = query.list("EventCategories", "EventCategory");
    let found: Vec<(usize, Event)> = request.cx.store.read(|state| {
        let events = state.region(request.region).events.iter();
        events
            .enumerate()
            .filter(|(_, event)| {
                (start..=end).contains(&event.at)
                    && source.as_ref().is_none_or(|source| *source == event.source)
                    && kind.is_none_or(|kind| kind == event.source_type.name())
                    && categories.as_ref().is_none_or(|categories| categories.contains(&event.category))
            })
            .map(|(number, event)| (number, event.clone()))
            .collect()
    });
    // In the order in which they were recorded, which their times alone do not determine.
    let page = page(query, found, |(number, _)| format!("{number:010}"))?;
    Ok(page.to_xml("Events", "Event", |xml, (_, event)| {
        xml.text("SourceIdentifier", &event.source)
            .text("SourceType", event.source_type.name())
            .text("Message", &event.message)
            .values("EventCategories", "EventCategory", [&event.category])
            .time("Date", Some(event.at))
            .text("SourceArn", arn(request.region, event.source_type.arn_word(), &event.source));
    }))
}
