//! DescribeAlarmHistory.

use crate::cloudwatch::request::{Order, Request, page};
use crate::document::{Document, Fields};
use crate::error::Result;
use crate::monitoring::history::HistoryItem;

pub(super) fn describe_alarm_history(request: &Request<'_>) -> Result<Document> {
    let input = request.input;
    let (name, kind) = (input.text("AlarmName"), input.text("HistoryItemType"));
    let (start, end) = (input.time("StartDate")?, input.time("EndDate")?);
    let types = input.texts("AlarmTypes");
    let found: Vec<(usize, HistoryItem)> = request.read(|monitor| {
        let mut times = (None, 0);
        let numbered = monitor.history.iter().map(|item| {
            // Numbered within a moment, so that dropping the oldest items changes no other number.
            times = if times.0 == Some(item.at) { (times.0, times.1 + 1) } else { (Some(item.at), 0) };
            (times.1, item)
        });
        let items = numbered.filter(|(_, item)| {
            name.is_none_or(|name| item.alarm == name)
                && kind.is_none_or(|kind| item.kind == kind)
                && start.is_none_or(|start| item.at >= start)
                && end.is_none_or(|end| item.at <= end)
                && if types.is_empty() {
                    item.alarm_type == "MetricAlarm"
                } else {
                    types.contains(&item.alarm_type)
                }
        });
        items.map(|(number, item)| (number, item.clone())).collect()
    });
    let is_rising = input.text("ScanBy") == Some("TimestampAscending");
    let order = if is_rising { Order::Rising } else { Order::Falling };
    // In the order in which they were recorded, which their times alone do not determine.
    let (items, token) = page(input, 100, order, found, |(number, item)| {
        format!("{:020} {number:08}", item.at.timestamp_micros())
    })?;
    let rows: Vec<Document> = items
        .into_iter()
        .map(|(_, item)| {
            Fields::new()
                .with("AlarmName", item.alarm)
                .with("AlarmType", item.alarm_type)
                .with("Timestamp", item.at)
                .with("HistoryItemType", item.kind)
                .with("HistorySummary", item.summary)
                .with("HistoryData", item.data)
                .done()
        })
        .collect();
    Ok(Fields::new().with("AlarmHistoryItems", rows).maybe("NextToken", token).done())
}
