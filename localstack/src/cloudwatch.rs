//! CloudWatch: metrics in and out, alarms that are really evaluated, and what they did.
//!
//! Memory of its own: alarms change state by themselves and metrics come every minute, so they do not lie in
//! `state.json`. `monitoring.json` is written a moment after a change, metrics when the stack stops.

mod alarms;
mod evaluate;
pub(crate) mod feed;
mod history;
mod metrics;
mod report;
mod rule;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::document::{Document, Fields};
use crate::error::{ApiError, Result};
use crate::stack::Shared;
use crate::wire::{key_token, token_key};

pub(crate) use alarms::Alarm;
pub(crate) use history::HistoryItem;
pub(crate) use metrics::Metrics;
pub(crate) use watch::keep_watch;

pub(crate) const NAMESPACE: &str = "http://monitoring.amazonaws.com/doc/2010-08-01/";
pub(crate) const VERSION: &str = "2010-08-01";
/// The service's name in `X-Amz-Target` and in the path of CBOR calls.
pub(crate) const TARGET: &str = "GraniteServiceVersion20100801";

/// What CloudWatch knows in one Region.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Monitor {
    pub(crate) alarms: BTreeMap<String, Alarm>,
    pub(crate) history: Vec<HistoryItem>,
    /// Kept in a file of its own.
    #[serde(skip)]
    pub(crate) metrics: Metrics,
    /// Metrics came since alarms were evaluated last.
    #[serde(skip)]
    pub(crate) stirred: bool,
    /// Alarms that were set since then.
    #[serde(skip)]
    pub(crate) fresh: BTreeSet<String>,
}

/// A call of one action.
pub(crate) struct Request<'a> {
    pub(crate) shared: &'a Arc<Shared>,
    pub(crate) region: &'a str,
    pub(crate) input: &'a Document,
    pub(crate) now: DateTime<Utc>,
}

impl Request<'_> {
    fn look<T>(&self, look: impl FnOnce(&Monitor) -> T) -> T {
        self.shared.monitoring.read(|all| match all.monitors.get(self.region) {
            Some(monitor) => look(monitor),
            None => look(&Monitor::default()),
        })
    }

    fn change<T>(&self, edit: impl FnOnce(&mut Monitor) -> T) -> T {
        self.shared.monitoring.change(|all| edit(all.monitors.entry(self.region.to_owned()).or_default()))
    }
}

/// Does what `action` asks for.
pub(crate) fn answer(request: &Request<'_>, action: &str) -> Result<Document> {
    match action {
        "PutMetricAlarm" => alarms::put_metric_alarm(request),
        "PutCompositeAlarm" => alarms::put_composite_alarm(request),
        "DescribeAlarms" => report::describe_alarms(request),
        "DescribeAlarmsForMetric" => report::describe_alarms_for_metric(request),
        "DeleteAlarms" => alarms::delete_alarms(request),
        "EnableAlarmActions" => alarms::switch_actions(request, true),
        "DisableAlarmActions" => alarms::switch_actions(request, false),
        "SetAlarmState" => alarms::set_alarm_state(request),
        "DescribeAlarmHistory" => history::describe_alarm_history(request),
        "PutMetricData" => metrics::put_metric_data(request),
        "GetMetricData" => metrics::get_metric_data(request),
        "GetMetricStatistics" => metrics::get_metric_statistics(request),
        "ListMetrics" => metrics::list_metrics(request),
        "TagResource" => alarms::tag_resource(request),
        "UntagResource" => alarms::untag_resource(request),
        "ListTagsForResource" => alarms::list_tags(request),
        _ => {
            Err(refusal("InvalidAction", format!("Could not find operation {action} for version {VERSION}")))
        }
    }
}

/// Whether an action's answer in XML has no result element.
pub(crate) fn has_no_result(action: &str) -> bool {
    [
        "PutMetricAlarm",
        "PutCompositeAlarm",
        "DeleteAlarms",
        "EnableAlarmActions",
        "DisableAlarmActions",
        "SetAlarmState",
        "PutMetricData",
    ]
    .contains(&action)
}

/// The name of an error's shape, which JSON and CBOR carry in place of its code.
pub(crate) fn shape_of(code: &str) -> &str {
    match code {
        "InvalidParameterValue" => "InvalidParameterValueException",
        "InvalidParameterCombination" => "InvalidParameterCombinationException",
        "MissingParameter" => "MissingRequiredParameterException",
        "InvalidFormat" => "InvalidFormatFault",
        "LimitExceeded" => "LimitExceededFault",
        "ValidationError" => "ValidationException",
        "InternalServiceError" => "InternalServiceFault",
        other => other,
    }
}

/// Everything CloudWatch refuses is the caller's fault.
fn refusal(code: &str, message: impl Into<String>) -> ApiError {
    let status = if code == "ResourceNotFound" { 404 } else { 400 };
    ApiError { code: code.to_owned(), status, message: message.into() }
}

fn invalid(message: impl Into<String>) -> ApiError {
    refusal("ValidationError", message)
}

/// The order of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Rising,
    Falling,
}

/// The parameter that says how many items a page shall have.
const PAGE_SIZE: &str = "MaxRecords";

/// A page of `items` in the order of their keys, which are unique. The token is the last key of a page, so that items which
/// come or go between two calls neither repeat nor hide others.
fn page<T>(
    input: &Document,
    most: i64,
    order: Order,
    items: Vec<T>,
    key: impl Fn(&T) -> String,
) -> Result<(Vec<T>, Option<String>)> {
    let size = match input.integer(PAGE_SIZE)? {
        None => most,
        Some(wanted) if (1..=most).contains(&wanted) => wanted,
        Some(wanted) => {
            return Err(invalid(format!(
                "1 validation error detected: Value '{wanted}' at '{PAGE_SIZE}' failed to satisfy constraint: Member must \
                 have value between 1 and {most}"
            )));
        }
    };
    let wrong = || refusal("InvalidNextToken", "The next token specified is invalid.");
    let after = input.text("NextToken").map(|token| token_key(token).ok_or_else(wrong)).transpose()?;
    let mut keyed: Vec<(String, T)> = items.into_iter().map(|item| (key(&item), item)).collect();
    keyed.sort_by(|(a, _), (b, _)| if order == Order::Rising { a.cmp(b) } else { b.cmp(a) });
    if let Some(after) = after {
        keyed.retain(|(key, _)| if order == Order::Rising { *key > after } else { *key < after });
    }
    let size = usize::try_from(size).unwrap_or(100);
    let has_more = keyed.len() > size;
    keyed.truncate(size);
    let token = keyed.last().filter(|_| has_more).map(|(key, _)| key_token(key));
    Ok((keyed.into_iter().map(|(_, item)| item).collect(), token))
}

/// An answer of nothing.
fn nothing() -> Document {
    Fields::new().done()
}

/// Dimensions as the API writes them, in an order of their own: they are a set.
pub(crate) type Dimensions = BTreeMap<String, String>;

fn dimensions(input: &Document) -> Result<Dimensions> {
    let mut dimensions = Dimensions::new();
    for item in input.items("Dimensions") {
        let (name, value) = (item.required("Name")?, item.required("Value")?);
        if dimensions.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(refusal(
                "InvalidParameterValue",
                format!("Duplicate dimension name {name} is not allowed."),
            ));
        }
    }
    if dimensions.len() > 30 {
        return Err(refusal("InvalidParameterValue", "No more than 30 dimensions may be given."));
    }
    Ok(dimensions)
}

fn show_dimensions(dimensions: &Dimensions) -> Document {
    Document::List(
        dimensions
            .iter()
            .map(|(name, value)| {
                Fields::new().with("Name", name.as_str()).with("Value", value.as_str()).done()
            })
            .collect(),
    )
}
