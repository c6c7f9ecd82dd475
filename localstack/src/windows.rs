//! Backup and maintenance windows: how they are written, whether they overlap, when they last began. All in UTC, in
//! minutes of a week without an end: a window may run over midnight, or over the end of Sunday.

use chrono::{DateTime, Datelike as _, TimeDelta, Timelike as _, Utc};

const DAY: u32 = 24 * 60;
const WEEK: u32 = 7 * DAY;
const SHORTEST: u32 = 30;
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// A part of each week or, for a backup window, of each day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    /// Minutes after Monday 00:00, or after midnight.
    start: u32,
    length: u32,
    /// The number of minutes after which it begins again.
    every: u32,
}

/// Why a text is no window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WindowFault {
    Format,
    TooShort,
}

impl Window {
    /// Reads `hh24:mi-hh24:mi`.
    pub(crate) fn parse_daily(text: &str) -> Result<Self, WindowFault> {
        let (start, end) = text.split_once('-').ok_or(WindowFault::Format)?;
        Self::from_minutes(time_of_day(start)?, time_of_day(end)?, DAY)
    }

    /// Reads `ddd:hh24:mi-ddd:hh24:mi`.
    pub(crate) fn parse_weekly(text: &str) -> Result<Self, WindowFault> {
        let (start, end) = text.split_once('-').ok_or(WindowFault::Format)?;
        let window = Self::from_minutes(time_of_week(start)?, time_of_week(end)?, WEEK)?;
        // RDS requires less than a day.
        if window.length >= DAY { Err(WindowFault::Format) } else { Ok(window) }
    }

    fn from_minutes(start: u32, end: u32, every: u32) -> Result<Self, WindowFault> {
        let length = (end + every - start) % every;
        if length < SHORTEST { Err(WindowFault::TooShort) } else { Ok(Self { start, length, every }) }
    }

    /// Whether some minute of the week belongs to both. Windows that only touch do not overlap.
    pub(crate) fn overlaps(self, other: Self) -> bool {
        self.starts().any(|a| {
            other
                .starts()
                .any(|b| (b + WEEK - a) % WEEK < self.length || (a + WEEK - b) % WEEK < other.length)
        })
    }

    fn starts(self) -> impl Iterator<Item = u32> {
        (0..WEEK / self.every).map(move |turn| self.start + turn * self.every)
    }

    /// When it last began, at or before `now`.
    pub(crate) fn last_start(self, now: DateTime<Utc>) -> DateTime<Utc> {
        let since = (minute_of_week(now) + WEEK - self.start) % self.every;
        let whole = now.with_second(0).and_then(|time| time.with_nanosecond(0)).unwrap_or(now);
        whole - TimeDelta::minutes(i64::from(since))
    }
}

/// How many minutes ago a chosen window began, so that it comes again as late as possible: an experiment of a few
/// minutes, or a jump of a few hours, must not run into it by chance.
const AGO: std::ops::RangeInclusive<u32> = 30..=180;
/// The number of attempts; after that any time will do.
const TRIES: usize = 1000;

/// A backup window that does not overlap the maintenance window, and began a while before `now`.
pub(crate) fn random_daily(other: Option<Window>, now: DateTime<Utc>) -> String {
    choose_window(other, Window::parse_daily, DAY, minute_of_week(now) % DAY, |start| {
        format!("{}-{}", format_time_of_day(start), format_time_of_day(start + SHORTEST))
    })
}

/// A maintenance window that does not overlap the backup window, and began a while before `now`.
pub(crate) fn random_weekly(other: Option<Window>, now: DateTime<Utc>) -> String {
    choose_window(other, Window::parse_weekly, WEEK, minute_of_week(now), |start| {
        format!("{}-{}", format_time_of_week(start), format_time_of_week(start + SHORTEST))
    })
}

fn choose_window(
    other: Option<Window>,
    read: impl Fn(&str) -> Result<Window, WindowFault>,
    every: u32,
    now: u32,
    write: impl Fn(u32) -> String,
) -> String {
    let late = (0..TRIES).map(|_| now + every - rand::random_range(AGO));
    let any = std::iter::repeat_with(|| rand::random_range(0..every));
    late.chain(any)
        .map(|start| write(start % every))
        .find(|text| read(text).is_ok_and(|window| other.is_none_or(|other| !window.overlaps(other))))
        .expect("half an hour fits somewhere: the other window leaves at least some of the day free")
}

fn minute_of_week(now: DateTime<Utc>) -> u32 {
    now.weekday().num_days_from_monday() * DAY + now.hour() * 60 + now.minute()
}

fn format_time_of_day(minute: u32) -> String {
    let minute = minute % DAY;
    format!("{:02}:{:02}", minute / 60, minute % 60)
}

fn format_time_of_week(minute: u32) -> String {
    let minute = minute % WEEK;
    format!("{}:{}", DAYS[(minute / DAY) as usize], format_time_of_day(minute))
}

fn time_of_day(text: &str) -> Result<u32, WindowFault> {
    let (hours, minutes) = text.split_once(':').ok_or(WindowFault::Format)?;
    Ok(two_digits(hours, 23)? * 60 + two_digits(minutes, 59)?)
}

fn time_of_week(text: &str) -> Result<u32, WindowFault> {
    let (day, time) = text.split_once(':').ok_or(WindowFault::Format)?;
    let day = day.to_ascii_lowercase();
    let day = (0u32..).zip(DAYS).find(|(_, name)| *name == day).ok_or(WindowFault::Format)?.0;
    Ok(day * DAY + time_of_day(time)?)
}

fn two_digits(text: &str, most: u32) -> Result<u32, WindowFault> {
    let is_number = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = if is_number { text.parse().ok() } else { None };
    number.filter(|number| *number <= most).ok_or(WindowFault::Format)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn daily(text: &str) -> Window {
        Window::parse_daily(text).unwrap()
    }

    fn weekly(text: &str) -> Window {
        Window::parse_weekly(text).unwrap()
    }

    #[test]
    fn windows_that_share_a_minute_overlap_on_any_day_and_over_midnight() {
        assert!(daily("04:00-04:30").overlaps(weekly("wed:04:15-wed:05:00")));
        assert!(weekly("wed:04:15-wed:05:00").overlaps(daily("04:00-04:30")));
        assert!(daily("23:45-00:15").overlaps(weekly("mon:00:00-mon:00:30")));
        assert!(daily("00:00-00:30").overlaps(weekly("sun:23:30-mon:00:10")));
        assert!(weekly("sun:23:30-mon:00:10").overlaps(daily("00:00-00:30")));
        assert!(daily("03:00-06:00").overlaps(weekly("tue:04:00-tue:04:30")));
        assert!(daily("04:00-04:30").overlaps(weekly("tue:03:00-tue:06:00")));
    }

    #[test]
    fn windows_that_only_touch_do_not_overlap() {
        assert!(!daily("04:00-04:30").overlaps(weekly("wed:04:30-wed:05:00")));
        assert!(!daily("04:30-05:00").overlaps(weekly("wed:04:00-wed:04:30")));
        assert!(!daily("23:30-00:00").overlaps(weekly("mon:00:00-mon:00:30")));
    }

    #[test]
    fn invalid_windows_are_refused() {
        for text in
            ["", "04:00", "4:00-5:00", "24:00-25:00", "04:00-04:60", "99:99-zz", "04:00–04:30", "+4:00-05:00"]
        {
            assert_eq!(Window::parse_daily(text), Err(WindowFault::Format), "{text}");
        }
        for text in ["04:00-04:30", "foo:04:00-foo:04:30", "mon:04:00-wed:04:30"] {
            assert_eq!(Window::parse_weekly(text), Err(WindowFault::Format), "{text}");
        }
        assert_eq!(Window::parse_daily("04:00-04:29"), Err(WindowFault::TooShort));
        assert_eq!(Window::parse_daily("04:00-04:00"), Err(WindowFault::TooShort));
        assert_eq!(Window::parse_weekly("sun:23:50-mon:00:10"), Err(WindowFault::TooShort));
    }

    #[test]
    fn the_last_start_is_never_in_the_future() {
        let now = "2026-11-21T10:20:30Z".parse::<DateTime<Utc>>().unwrap(); // a Saturday
        let start = |window: Window| window.last_start(now).to_rfc3339();
        assert_eq!(start(daily("10:00-10:30")), "2026-11-21T10:00:00+00:00");
        assert_eq!(start(daily("10:21-10:59")), "2026-11-20T10:21:00+00:00");
        assert_eq!(start(weekly("sat:10:20-sat:10:50")), "2026-11-21T10:20:00+00:00");
        assert_eq!(start(weekly("sun:10:20-sun:10:50")), "2026-11-15T10:20:00+00:00");
    }

    #[test]
    fn chosen_windows_do_not_overlap_the_other() {
        let now = "2026-11-21T10:20:30Z".parse::<DateTime<Utc>>().unwrap();
        for wide in [daily("00:00-22:30"), daily("08:00-07:00")] {
            let made = random_weekly(Some(wide), now);
            assert!(!weekly(&made).overlaps(wide), "{made}");
        }
        for week in [weekly("mon:00:00-mon:23:00"), weekly("thu:07:00-thu:23:00")] {
            let made = random_daily(Some(week), now);
            assert!(!daily(&made).overlaps(week), "{made}");
        }
    }

    #[test]
    fn chosen_windows_come_as_late_as_possible_at_any_hour() {
        let monday = "2026-11-23T00:00:59Z".parse::<DateTime<Utc>>().unwrap();
        for minute in 0..WEEK {
            let now = monday + TimeDelta::minutes(i64::from(minute));
            let backup = random_daily(None, now);
            let made = daily(&backup);
            let maintenance = random_weekly(Some(made), now);
            for (window, text) in [(made, &backup), (weekly(&maintenance), &maintenance)] {
                let since = now - window.last_start(now);
                assert!((30..=181).contains(&since.num_minutes()), "{text} at {now}");
            }
        }
    }
}
