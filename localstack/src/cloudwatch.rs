//! CloudWatch: metrics in and out, alarms that are evaluated, and the actions they run.

mod alarms;
mod watch;
mod transition;
mod instance_metrics;
mod evaluate;
mod describe_alarms;
mod composite_rule;
mod history;
mod metrics;
mod request;

use crate::document::Document;
use crate::error::{ApiError, Result};

pub(crate) use request::{Request, VERSION};
pub(crate) use watch::keep_watch;

pub(crate) const NAMESPACE: &str = "http://monitoring.amazonaws.com/doc/2010-08-01/";
/// The service's name in `X-Amz-Target` and in the path of CBOR calls.
pub(crate) const TARGET: &str = "GraniteServiceVersion20100801";

/// Performs an action.
pub(crate) fn perform_action(request: &Request<'_>, action: &str) -> Result<Document> {
    match action {
        "PutMetricAlarm" => alarms::put_metric_alarm(request),
        "PutCompositeAlarm" => alarms::put_composite_alarm(request),
        "DescribeAlarms" => describe_alarms::describe_alarms(request),
        "DescribeAlarmsForMetric" => describe_alarms::describe_alarms_for_metric(request),
        "DeleteAlarms" => alarms::delete_alarms(request),
        "EnableAlarmActions" => alarms::set_actions_enabled(request, true),
        "DisableAlarmActions" => alarms::set_actions_enabled(request, false),
        "SetAlarmState" => alarms::set_alarm_state(request),
        "DescribeAlarmHistory" => history::describe_alarm_history(request),
        "PutMetricData" => metrics::put_metric_data(request),
        "GetMetricData" => metrics::get_metric_data(request),
        "GetMetricStatistics" => metrics::get_metric_statistics(request),
        "ListMetrics" => metrics::list_metrics(request),
        "TagResource" => alarms::tag_resource(request),
        "UntagResource" => alarms::untag_resource(request),
        "ListTagsForResource" => alarms::list_tags(request),
        _ => Err(ApiError::no_operation(action, VERSION)),
    }
}

/// Whether the answer to an action has no result element in XML.
pub(crate) fn has_no_result(action: &str) -> bool {
    const NO_RESULT: &str = "PutMetricAlarm PutCompositeAlarm DeleteAlarms EnableAlarmActions DisableAlarmActions \
        SetAlarmState PutMetricData";
    NO_RESULT.split_whitespace().any(|known| known == action)
}

/// The name of an error's shape, which JSON and CBOR have in place of its code.
pub(crate) fn error_shape(code: &str) -> &str {
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
