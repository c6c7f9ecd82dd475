//! Times as people say them: `20 minutes ago`, `yesterday 14:05`, `2026-11-21 15:05`, RFC 3339.
//!
//! A time without a zone is that of the person's own clock, daylight saving included; what it means in UTC is shown
//! before anything happens. A time that the local clock showed twice, or never, is refused rather than guessed.

use std::fmt::Display;

use chrono::offset::LocalResult;
use chrono::{DateTime, Days, NaiveDate, NaiveDateTime, NaiveTime, TimeZone, Utc};

use crate::error::{Error, Result};

/// Reads a time; `now` and `zone` are the person's.
pub fn parse<Z: TimeZone>(text: &str, now: DateTime<Utc>, zone: &Z) -> Result<DateTime<Utc>>
where
    Z::Offset: Display,
{
    let text = text.trim();
    if let Ok(exact) = DateTime::parse_from_rfc3339(text) {
        return Ok(exact.with_timezone(&Utc));
    }
    if let Some(ago) = text.strip_suffix("ago") {
        let span = humantime::parse_duration(ago.trim())
            .ok()
            .and_then(|span| chrono::TimeDelta::from_std(span).ok());
        return span.and_then(|span| now.checked_sub_signed(span)).ok_or_else(|| unreadable(text));
    }
    let (local, offset) = split_zone(text);
    let today = now.with_timezone(zone).date_naive();
    let naive = read_local(local, today).ok_or_else(|| unreadable(text))?;
    match offset {
        Some(offset) => {
            // The offset was written down, so there is no doubt about it.
            let exact = format!("{}{offset}", naive.format("%Y-%m-%dT%H:%M:%S"));
            DateTime::parse_from_rfc3339(&exact)
                .map(|at| at.with_timezone(&Utc))
                .map_err(|_| unreadable(text))
        }
        None => {
            match zone.from_local_datetime(&naive) {
                LocalResult::Single(at) => Ok(at.with_timezone(&Utc)),
                LocalResult::None => Err(Error::request(format!(
                    "`{text}` is a time that this machine's clock never showed"
                ))
                .hint("The clocks were put forward over it: write it in UTC, as in 2026-03-29T00:30:00Z.")),
                LocalResult::Ambiguous(one, other) => {
                    let (first, second) = if one <= other { (one, other) } else { (other, one) };
                    Err(Error::request(format!("`{text}` is a time that this machine's clock showed twice"))
                        .hint(format!(
                            "The clocks were put back: write {} or {}.",
                            first.to_rfc3339(),
                            second.to_rfc3339()
                        )))
                }
            }
        }
    }
}

/// The part without a zone, and the zone as an offset, if one is written down.
fn split_zone(text: &str) -> (&str, Option<String>) {
    for suffix in ["UTC", "GMT", "Z"] {
        if let Some(local) = text.strip_suffix(suffix) {
            return (local.trim_end(), Some("Z".to_owned()));
        }
    }
    if let Some((local, last)) = text.rsplit_once(' ')
        && last.len() == 6
        && last.starts_with(['+', '-'])
    {
        return (local.trim_end(), Some(last.to_owned()));
    }
    (text, None)
}

fn read_local(text: &str, today: NaiveDate) -> Option<NaiveDateTime> {
    for form in ["%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M"] {
        if let Ok(at) = NaiveDateTime::parse_from_str(text, form) {
            return Some(at);
        }
    }
    let (day, time) = match text.split_once(' ') {
        Some(("today", time)) => (today, time),
        Some(("yesterday", time)) => (today.checked_sub_days(Days::new(1))?, time),
        Some(_) => return None,
        None => (today, text),
    };
    let time = ["%H:%M:%S", "%H:%M"].iter().find_map(|form| NaiveTime::parse_from_str(time, form).ok())?;
    Some(day.and_time(time))
}

fn unreadable(text: &str) -> Error {
    Error::request(format!("`{}` is not a time", text.escape_default())).hint(
        "Write it as in 2026-11-21T14:05:00Z, \"20 minutes ago\", \"yesterday 14:05\", or \"2026-11-21 15:05\" (local time).",
    )
}

#[cfg(test)]
mod tests {
    use chrono::FixedOffset;

    use super::*;

    #[test]
    fn times_are_read_as_people_say_them() {
        let now: DateTime<Utc> = "2026-11-21T23:30:00Z".parse().unwrap();
        // It is half past midnight of the 22nd where this person sits.
        let zone = FixedOffset::east_opt(3600).unwrap();
        for (text, expected) in [
            ("2026-11-21T14:05:00Z", "2026-11-21T14:05:00Z"),
            ("2026-11-21T14:05:00+02:00", "2026-11-21T12:05:00Z"),
            ("20 minutes ago", "2026-11-21T23:10:00Z"),
            ("1h 30m ago", "2026-11-21T22:00:00Z"),
            ("today 00:10", "2026-11-21T23:10:00Z"),
            ("yesterday 14:05", "2026-11-21T13:05:00Z"),
            ("00:10:30", "2026-11-21T23:10:30Z"),
            ("2026-11-21 15:05", "2026-11-21T14:05:00Z"),
            ("2026-11-21 15:05 UTC", "2026-11-21T15:05:00Z"),
            ("2026-11-21 15:05 -05:00", "2026-11-21T20:05:00Z"),
        ] {
            let read = parse(text, now, &zone).unwrap();
            assert_eq!(read, expected.parse::<DateTime<Utc>>().unwrap(), "{text}");
        }
        for wrong in
            ["", "soon", "yesterday", "25:00", "2026-11-21", "2026-13-01 10:00", "three days ago", "-5m ago"]
        {
            assert!(parse(wrong, now, &zone).is_err(), "{wrong}");
        }
    }
}
