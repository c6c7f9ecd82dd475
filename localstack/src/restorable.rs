//! Up to when, and from when on, an instance can be brought back.

use chrono::{DateTime, TimeDelta, Utc};

use crate::clock::Clock;
use crate::pace::Pace;
use crate::record::{BaseBackup, Instance, SnapshotKind, SnapshotStatus, State};

/// The window that `RestoreTime` must lie in, in the stack's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RestoreWindow {
    pub(crate) earliest: DateTime<Utc>,
    pub(crate) latest: DateTime<Utc>,
}

/// The instance's window; none while backups are off or the first is not complete.
pub(crate) fn window(state: &State, clock: &Clock, pace: Pace, instance: &Instance) -> Option<RestoreWindow> {
    if instance.settings.retention_days == 0 {
        return None;
    }
    let oldest = automated(state, instance).map(|(_, backup)| backup.consistent_at).min()?;
    // Rounded up to what the API can say: a caller that asks for the earliest time must not be refused.
    let earliest = clock.stack_time(oldest).max(horizon(instance, clock.now()));
    let earliest = up_to_a_millisecond(earliest);
    let mut latest = clock.now() - pace.restorable_lag();
    if let Some(until) = instance.archived_until {
        latest = latest.min(clock.stack_time(until));
    }
    Some(RestoreWindow { earliest, latest: down_to_a_millisecond(latest).max(earliest) })
}

/// Up to when the retention reaches back. The time for which an instance was stopped does not count.
pub(crate) fn horizon(instance: &Instance, now: DateTime<Utc>) -> DateTime<Utc> {
    let end = instance.stopped_at.unwrap_or(now).min(now);
    back_from(end, TimeDelta::days(instance.settings.retention_days), &instance.stops)
}

/// The moment from which on an instance has run for `left` by `end`.
fn back_from(
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
pub(crate) fn base_for<'a>(
    state: &'a State,
    instance: &Instance,
    target: DateTime<Utc>,
) -> Option<(&'a str, &'a BaseBackup)> {
    automated(state, instance)
        .filter(|(_, backup)| backup.consistent_at <= target)
        .max_by_key(|(_, backup)| backup.consistent_at)
}

/// The complete automated base backups of an instance, under its Region and resource id.
fn automated<'a>(state: &'a State, instance: &Instance) -> impl Iterator<Item = (&'a str, &'a BaseBackup)> {
    let resource_id = instance.resource_id.clone();
    state.regions.get(&instance.region).into_iter().flat_map(|region| region.snapshots.values()).filter_map(
        move |snapshot| {
            let is_its = snapshot.kind == SnapshotKind::Automated
                && snapshot.status == SnapshotStatus::Available
                && snapshot.resource_id == resource_id;
            let id = snapshot.backup.as_ref().filter(|_| is_its)?;
            Some((id.as_str(), state.backups.get(id)?))
        },
    )
}

fn down_to_a_millisecond(time: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(time.timestamp_millis()).unwrap_or(time)
}

fn up_to_a_millisecond(time: DateTime<Utc>) -> DateTime<Utc> {
    let down = down_to_a_millisecond(time);
    if down == time { down } else { down + TimeDelta::milliseconds(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_in_which_an_instance_was_stopped_does_not_count() {
        let at = |day: i64| DateTime::<Utc>::UNIX_EPOCH + TimeDelta::days(day);
        let days = TimeDelta::days;
        assert_eq!(back_from(at(100), days(7), &[]), at(93));
        // Stopped from day 95 to day 98.
        assert_eq!(back_from(at(100), days(7), &[(at(95), at(98))]), at(90));
        assert_eq!(back_from(at(100), days(2), &[(at(95), at(98))]), at(98));
        assert_eq!(back_from(at(100), days(1), &[(at(95), at(98))]), at(99));
        assert_eq!(back_from(at(100), days(4), &[(at(90), at(94)), (at(95), at(98))]), at(89));
        assert_eq!(back_from(at(100), days(5), &[(at(90), at(94)), (at(95), at(98))]), at(88));
    }
}
