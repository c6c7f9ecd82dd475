//! The times to which an instance can be restored.

use chrono::{DateTime, TimeDelta, Utc};

use crate::clock::Clock;
use crate::pace::Pace;
use crate::resources::{BaseBackup, Instance, SnapshotStatus};
use crate::store::State;

/// The window that `RestoreTime` must lie in, in the stack's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RestoreWindow {
    pub(crate) earliest: DateTime<Utc>,
    pub(crate) latest: DateTime<Utc>,
}

/// The window of an instance; `None` while backups are off or the first one is not complete.
pub(crate) fn restore_window(
    state: &State,
    clock: &Clock,
    pace: Pace,
    instance: &Instance,
) -> Option<RestoreWindow> {
    if instance.settings.retention_days == 0 {
        return None;
    }
    let oldest = automated_backups(state, instance).map(|(_, backup)| backup.consistent_at).min()?;
    // Rounded up to the precision of the API: a caller that asks for the earliest time must not be refused.
    let earliest = clock.stack_time(oldest).max(retention_start(instance, clock.now()));
    let earliest = round_up(earliest);
    let mut latest = clock.now() - pace.restorable_lag();
    if let Some(until) = instance.archived_until {
        latest = latest.min(clock.stack_time(until));
    }
    Some(RestoreWindow { earliest, latest: round_down(latest).max(earliest) })
}

/// How far the retention reaches back. The time for which an instance was stopped does not count.
pub(crate) fn retention_start(instance: &Instance, now: DateTime<Utc>) -> DateTime<Utc> {
    let end = instance.stopped_at.unwrap_or(now).min(now);
    subtract_running_time(end, TimeDelta::days(instance.settings.retention_days), &instance.stops)
}

/// The moment since which an instance had run for `left` at `end`.
fn subtract_running_time(
    mut end: DateTime<Utc>,
    mut left: TimeDelta,
    stops: &[(DateTime<Utc>, DateTime<Utc>)],
) -> DateTime<Utc> {
    for (stop, start) in stops.iter().rev() {
        let ran = end - *start;
        if ran >= left {
            break;
        }
        left -= ran;
        end = *stop;
    }
    end - left
}

/// The automated base backup that a recovery to `target` (machine's time) starts from: the newest that is not later.
pub(crate) fn newest_backup_before<'a>(
    state: &'a State,
    instance: &Instance,
    target: DateTime<Utc>,
) -> Option<(&'a str, &'a BaseBackup)> {
    automated_backups(state, instance)
        .filter(|(_, backup)| backup.consistent_at <= target)
        .max_by_key(|(_, backup)| backup.consistent_at)
}

/// The complete automated base backups of an instance, under its Region and resource id.
fn automated_backups<'a>(
    state: &'a State,
    instance: &Instance,
) -> impl Iterator<Item = (&'a str, &'a BaseBackup)> {
    let resource_id = instance.resource_id.clone();
    state.region(&instance.region).snapshots.values().filter_map(move |snapshot| {
        let is_candidate =
            snapshot.status == SnapshotStatus::Available && snapshot.is_automated_of(&resource_id);
        let id = snapshot.backup.as_ref().filter(|_| is_candidate)?;
        Some((id.as_str(), state.backups.get(id)?))
    })
}

fn round_down(time: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(time.timestamp_millis()).unwrap_or(time)
}

fn round_up(time: DateTime<Utc>) -> DateTime<Utc> {
    let down = round_down(time);
    if down == time { down } else { down + TimeDelta::milliseconds(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_in_which_an_instance_was_stopped_does_not_count() {
        let at = |day: i64| DateTime::<Utc>::UNIX_EPOCH + TimeDelta::days(day);
        let days = TimeDelta::days;
        assert_eq!(subtract_running_time(at(100), days(7), &[]), at(93));
        // Stopped from day 95 to day 98.
        assert_eq!(subtract_running_time(at(100), days(7), &[(at(95), at(98))]), at(90));
        assert_eq!(subtract_running_time(at(100), days(2), &[(at(95), at(98))]), at(98));
        assert_eq!(subtract_running_time(at(100), days(1), &[(at(95), at(98))]), at(99));
        assert_eq!(subtract_running_time(at(100), days(4), &[(at(90), at(94)), (at(95), at(98))]), at(89));
        assert_eq!(subtract_running_time(at(100), days(5), &[(at(90), at(94)), (at(95), at(98))]), at(88));
    }
}
