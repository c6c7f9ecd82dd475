//! What a drill has left behind that costs money, and how to remove it.

use crate::drill::{Report, removal};
use crate::output::Output;
use crate::rds::InstanceId;
use crate::restore::isolation;
use crate::when::format_time;

/// What costs money is said on stderr, whatever else is printed.
pub(super) fn warn_of_left_behind(output: &Output, report: &Report) {
    let throwaway = &report.throwaway;
    if let Some(isolation) = &report.isolation
        && let (Some(why), Some(group)) = (&isolation.left_behind, &isolation.parameter_group)
    {
        let command = isolation::remove_group_command(group, &report.source.region);
        output.warn(format!("{why}; remove it with `lifeboat drill sweep`, or `{command}`"));
    }
    if let Some(reason) = &throwaway.left_behind {
        output.warn(describe_cost(throwaway.current_name(), &report.source.region, &throwaway.class));
        output.warn(reason);
        let command = InstanceId::parse(throwaway.current_name())
            .map(|id| removal::delete_command(&id, &report.source.region))
            .unwrap_or_default();
        output.warn(format!("remove it with `lifeboat drill sweep`, or `{command}`"));
    } else if report.throwaway.kept {
        output.warn(format!(
            "`{}` was kept and costs an hourly rate ({}) until it is removed; it expires at {}",
            report.throwaway.id,
            report.throwaway.class,
            format_time(report.throwaway.expires_at)
        ));
    }
}

pub(super) fn describe_cost(id: &str, region: &str, class: &str) -> String {
    format!("throwaway `{id}` was left behind in {region} and is billed by the hour as {class}")
}
