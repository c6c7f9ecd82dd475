//! Backup and maintenance windows, in UTC, on the circle of the week: one may run over midnight, or over Sunday's.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

const DAY: u32 = 24 * 60;
const WEEK: u32 = 7 * DAY;
const SHORTEST: u32 = 30;
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// A part of each day, or of each week.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    start: u32,
    length: u32,
    every: u32,
}

impl Window {
    /// Reads a backup window, `hh24:mi-hh24:mi`, of at least 30 minutes (Amazon RDS API, `ModifyDBInstance`).
    pub(crate) fn daily(text: &str) -> Result<Self> {
        Self::read(text, "backup", DAY, time_of_day)?.ok_or_else(|| {
            wrong(text, "backup", "it is not of the form hh24:mi-hh24:mi")
                .hint("Use UTC and 24-hour times, such as 03:00-03:30; it may span midnight.")
        })
    }

    /// Reads a maintenance window, `ddd:hh24:mi-ddd:hh24:mi`.
    pub(crate) fn weekly(text: &str) -> Result<Self> {
        Self::read(text, "maintenance", WEEK, time_of_week)?.ok_or_else(|| {
            wrong(text, "maintenance", "it is not of the form ddd:hh24:mi-ddd:hh24:mi")
                .hint("Use UTC and 24-hour times, such as sun:05:00-sun:05:30.")
        })
    }

    /// `None` if the text is not of that form.
    fn read(text: &str, kind: &str, every: u32, time: fn(&str) -> Option<u32>) -> Result<Option<Self>> {
        let read = text.split_once('-').and_then(|(start, end)| Some((time(start)?, time(end)?)));
        let Some((start, end)) = read else { return Ok(None) };
        Self::between(start, end, every).map(Some).ok_or_else(|| {
            wrong(text, kind, "it is shorter than 30 minutes")
                .hint(format!("AWS requires a {kind} window of at least 30 minutes."))
        })
    }

    /// A backup window of half an hour that meets none of `others`: the first from 03:00 on.
    pub(crate) fn clear_of(others: &[Window]) -> Option<Window> {
        (0..DAY / SHORTEST)
            .map(|turn| (3 * 60 + turn * SHORTEST) % DAY)
            .map(|start| Window { start, length: SHORTEST, every: DAY })
            .find(|window| others.iter().all(|other| !window.meets(*other)))
    }

    fn between(start: u32, end: u32, every: u32) -> Option<Self> {
        let length = (end + every - start) % every;
        (length >= SHORTEST).then_some(Window { start, length, every })
    }

    /// Whether some minute of some week belongs to both; windows that only touch do not meet.
    pub(crate) fn meets(self, other: Self) -> bool {
        self.starts().any(|a| {
            other
                .starts()
                .any(|b| (b + WEEK - a) % WEEK < self.length || (a + WEEK - b) % WEEK < other.length)
        })
    }

    fn starts(self) -> impl Iterator<Item = u32> {
        (0..WEEK / self.every).map(move |turn| self.start + turn * self.every)
    }
}

impl fmt::Display for Window {
    /// As AWS writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let day = |at: u32| if self.every == WEEK { DAYS[(at / DAY % 7) as usize] } else { "" };
        let colon = if self.every == WEEK { ":" } else { "" };
        let (start, end) = (self.start, self.start + self.length);
        let time = |at: u32| format!("{}{colon}{:02}:{:02}", day(at), at / 60 % 24, at % 60);
        write!(f, "{}-{}", time(start), time(end))
    }
}

impl FromStr for Window {
    type Err = Error;

    /// A daily window.
    fn from_str(text: &str) -> Result<Self> {
        Self::daily(text)
    }
}

fn wrong(text: &str, kind: &str, why: &str) -> Error {
    Error::request(format!("`{}` is not a {kind} window: {why}", text.escape_default()))
}

fn time_of_day(text: &str) -> Option<u32> {
    let (hours, minutes) = text.trim().split_once(':')?;
    Some(two_digits(hours, 23)? * 60 + two_digits(minutes, 59)?)
}

fn time_of_week(text: &str) -> Option<u32> {
    let (day, time) = text.trim().split_once(':')?;
    let day = (0u32..).zip(DAYS).find(|(_, name)| day.eq_ignore_ascii_case(name))?.0;
    Some(day * DAY + time_of_day(time)?)
}

fn two_digits(text: &str, most: u32) -> Option<u32> {
    let is_number = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| is_number && *number <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_follow_the_rules_of_aws() {
        for right in ["03:00-03:30", "23:45-00:15", "00:00-23:59"] {
            assert!(Window::daily(right).is_ok(), "{right}");
        }
        for wrong in
            ["25:00-26:00", "03:00-03:10", "3:00-4:00", "03:00", "", "03:00-03:00", "03:60-04:30", "a-b"]
        {
            assert!(Window::daily(wrong).is_err(), "{wrong}");
        }
        assert!(Window::weekly("Sun:23:45-Mon:00:15").is_ok());
        for wrong in ["sun:05:00-sun:05:10", "xyz:05:00-sun:06:00", "05:00-06:00"] {
            assert!(Window::weekly(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn windows_meet_on_the_circle_of_the_week() {
        for (daily, weekly, expected) in [
            ("03:00-03:30", "sun:03:15-sun:03:45", true),
            ("03:00-03:30", "sun:03:30-sun:04:00", false),
            ("23:45-00:15", "sun:23:50-mon:00:20", true),
            ("23:45-00:15", "mon:00:10-mon:00:40", true),
            ("23:00-23:30", "sun:23:30-mon:00:30", false),
            ("12:00-12:30", "sun:05:00-sun:12:15", true),
        ] {
            let (daily, weekly) = (Window::daily(daily).unwrap(), Window::weekly(weekly).unwrap());
            assert_eq!(
                (daily.meets(weekly), weekly.meets(daily)),
                (expected, expected),
                "{daily:?} {weekly:?}"
            );
        }
    }
}
