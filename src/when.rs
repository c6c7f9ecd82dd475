//! Times as people say them and as logs print them: one parser for every command, flag and runbook.
//!
//! A time without a zone is that of the person's own clock, daylight saving included; what it means in UTC is shown
//! before anything happens. What could mean two times is refused, never guessed: a day without an hour, and a time that the
//! local clock showed twice, or never.

use std::fmt::Display;

use chrono::offset::LocalResult;
use chrono::{
    DateTime, Datelike, Days, NaiveDate, NaiveDateTime, NaiveTime, SecondsFormat, TimeDelta, TimeZone, Utc,
    Weekday,
};

use crate::error::{Error, Result};

/// What a time may look like, for hints and help.
pub const EXAMPLES: &str =
    "2026-11-21T14:05:00Z, \"20 minutes ago\", \"yesterday 14:05\" or \"2026-11-21 15:05\" (local time)";

/// Dates with a time, as logs and programs print them. A fraction of a second may follow each `%S`.
const STAMPS: [&str; 11] = [
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%d %H:%M",
    "%Y/%m/%d %H:%M:%S%.f",
    "%Y%m%dT%H%M%S",
    "%d/%b/%Y:%H:%M:%S",
    "%a, %d %b %Y %H:%M:%S",
    "%d %b %Y %H:%M:%S",
    "%d %b %Y %H:%M",
    "%b %d %Y %H:%M:%S",
    "%b %d, %Y %H:%M:%S",
    "%b %d, %Y %H:%M",
];

/// A time as reports show it: RFC 3339 in UTC, to the second.
pub fn utc(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Reads a time; `now` and `zone` are the person's.
pub fn parse_time<Z: TimeZone>(text: &str, now: DateTime<Utc>, zone: &Z) -> Result<DateTime<Utc>>
where
    Z::Offset: Display,
{
    let asked = text;
    let text = text.trim();
    if let Ok(exact) = DateTime::parse_from_rfc3339(text) {
        return Ok(exact.with_timezone(&Utc));
    }
    if let Some(seconds) = text.strip_prefix('@') {
        let at = seconds.parse().ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
        return at.ok_or_else(|| unreadable(asked));
    }
    let words = text.to_ascii_lowercase();
    if let Some(ago) = words.strip_suffix("ago") {
        return before(now, ago).ok_or_else(|| unreadable(asked));
    }
    if matches!(words.as_str(), "latest" | "now") {
        return Err(Error::request(format!("`{words}` is not a time")).hint(
            "Use `--latest` (`drill run --from latest`) for the newest moment that can be restored, or name a time.",
        ));
    }
    let today = now.with_timezone(zone).date_naive();
    if let Some(day) = read_day(&words, today) {
        return Err(Error::request(format!("`{text}` is a day, and not a time")).hint(format!(
            "Add the hour: \"{text} 14:05\" is five past two in the afternoon of {day}, local time."
        )));
    }
    let (local, offset) = split_zone(text);
    let naive = read_local(local, today).ok_or_else(|| unreadable(asked))?;
    match offset {
        // The offset was written down, so there is no doubt about it.
        Some(seconds) => naive
            .checked_sub_signed(TimeDelta::seconds(seconds))
            .map(|at| at.and_utc())
            .ok_or_else(|| unreadable(asked)),
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

/// Reads a day: a date, `today`, `yesterday`, the name of a weekday (the last one before today), or `30 days ago`.
pub fn parse_day(text: &str, today: NaiveDate) -> Result<NaiveDate> {
    let words = text.trim().to_ascii_lowercase();
    let ago = words.strip_suffix("ago").and_then(read_span);
    let day = match ago {
        Some(span) => today.checked_sub_signed(TimeDelta::days(span.num_days())),
        None => read_day(&words, today),
    };
    day.ok_or_else(|| {
        Error::request(format!("`{}` is not a day", text.escape_default()))
            .hint("Write it as 2026-11-21, `today`, `yesterday`, `monday` or \"30 days ago\".")
    })
}

/// Whether what was said is meant as a time, and not as the id of a snapshot: ids begin with a letter, and have no spaces.
pub fn is_said_as_a_time(text: &str) -> bool {
    let text = text.trim();
    text.starts_with(|c: char| c.is_ascii_digit() || c == '@')
        || text.contains(' ')
        || matches!(text.to_ascii_lowercase().as_str(), "today" | "yesterday")
}

/// `1h 30m`, `20 minutes`, `an hour`, `half an hour`.
fn read_span(text: &str) -> Option<TimeDelta> {
    let text = text.trim();
    let (text, halves) = match text.strip_prefix("half ") {
        Some(rest) => (rest.trim(), true),
        None => (text, false),
    };
    let one = ["an ", "a ", "one "].iter().find_map(|article| text.strip_prefix(article));
    let text = one.map_or(text.to_owned(), |unit| format!("1 {}", unit.trim()));
    let span = TimeDelta::from_std(humantime::parse_duration(&text).ok()?).ok()?;
    Some(if halves { span / 2 } else { span })
}

fn before(now: DateTime<Utc>, span: &str) -> Option<DateTime<Utc>> {
    now.checked_sub_signed(read_span(span)?)
}

/// The part without a zone, and the zone as seconds east of UTC, if one is written down.
fn split_zone(text: &str) -> (&str, Option<i64>) {
    for suffix in ["UTC", "GMT", "Z", "z"] {
        if let Some(local) = text.strip_suffix(suffix) {
            return (local.trim_end(), Some(0));
        }
    }
    // A date has hyphens too: an offset stands behind the time, after a colon or at least a space.
    let Some(at) = text.rfind(['+', '-']).filter(|at| text[..*at].contains([':', 'T'])) else {
        return (text, None);
    };
    let (local, offset) = text.split_at(at);
    let digits: String = offset[1..].chars().filter(|c| *c != ':').collect();
    let is_offset = matches!(digits.len(), 2 | 4)
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && matches!(offset.len(), 3 | 5 | 6);
    let Some(value) = digits.parse::<i64>().ok().filter(|_| is_offset) else { return (text, None) };
    let (hours, minutes) = if digits.len() == 2 { (value, 0) } else { (value / 100, value % 100) };
    if hours > 14 || minutes > 59 {
        return (text, None);
    }
    let seconds = hours * 3600 + minutes * 60;
    (local.trim_end(), Some(if offset.starts_with('-') { -seconds } else { seconds }))
}

fn read_local(text: &str, today: NaiveDate) -> Option<NaiveDateTime> {
    let spaced = match text.split_once('T') {
        Some((date, time)) if date.ends_with(|c: char| c.is_ascii_digit()) && date.contains('-') => {
            format!("{date} {time}")
        }
        _ => text.split_whitespace().collect::<Vec<_>>().join(" "),
    };
    for form in STAMPS {
        if let Ok(at) = NaiveDateTime::parse_from_str(&spaced, form) {
            return Some(at);
        }
    }
    // `date` prints the zone before the year, and that is UTC or what was split off.
    if let Some((day, time)) = spaced.rsplit_once(' ') {
        let words = day.to_ascii_lowercase();
        let words = words.strip_suffix(" at").unwrap_or(&words);
        if let (Some(day), Some(time)) = (read_day(words, today), read_time_of_day(time)) {
            return Some(day.and_time(time));
        }
    }
    read_time_of_day(&spaced).map(|time| today.and_time(time))
}

fn read_time_of_day(text: &str) -> Option<NaiveTime> {
    match text {
        "noon" => return NaiveTime::from_hms_opt(12, 0, 0),
        "midnight" => return NaiveTime::from_hms_opt(0, 0, 0),
        _ => {}
    }
    ["%H:%M:%S%.f", "%H:%M", "%I:%M%P"].iter().find_map(|form| NaiveTime::parse_from_str(text, form).ok())
}

/// A day by its name or its date.
fn read_day(words: &str, today: NaiveDate) -> Option<NaiveDate> {
    match words {
        "today" => return Some(today),
        "yesterday" => return today.checked_sub_days(Days::new(1)),
        _ => {}
    }
    if let Some(name) = words.strip_prefix("last ").or(Some(words))
        && name.len() >= 3
        && let Ok(weekday) = name.parse::<Weekday>()
    {
        let since = (7 + today.weekday().num_days_from_monday() - weekday.num_days_from_monday()) % 7;
        return today.checked_sub_days(Days::new(if since == 0 { 7 } else { since.into() }));
    }
    ["%Y-%m-%d", "%Y/%m/%d", "%d %b %Y", "%b %d, %Y"]
        .iter()
        .find_map(|form| NaiveDate::parse_from_str(words, form).ok())
}

fn unreadable(text: &str) -> Error {
    Error::request(format!("`{}` is not a time", text.escape_default()))
        .hint(format!("Write it as in {EXAMPLES}."))
}

#[cfg(test)]
mod tests {
    use chrono::FixedOffset;

    use super::*;

    fn now() -> DateTime<Utc> {
        // A Saturday. It is half past midnight of the 22nd, a Sunday, where this person sits.
        "2026-11-21T23:30:00Z".parse().unwrap()
    }

    #[test]
    fn times_are_read_as_people_say_them_and_as_logs_print_them() {
        let zone = FixedOffset::east_opt(3600).unwrap();
        for (text, expected) in [
            ("2026-11-21T14:05:00Z", "2026-11-21T14:05:00Z"),
            ("2026-11-21T14:05:00+02:00", "2026-11-21T12:05:00Z"),
            ("20 minutes ago", "2026-11-21T23:10:00Z"),
            ("20m ago", "2026-11-21T23:10:00Z"),
            ("1h 30m ago", "2026-11-21T22:00:00Z"),
            ("an hour ago", "2026-11-21T22:30:00Z"),
            ("half an hour ago", "2026-11-21T23:00:00Z"),
            ("2 days ago", "2026-11-19T23:30:00Z"),
            ("today 00:10", "2026-11-21T23:10:00Z"),
            ("yesterday 14:05", "2026-11-21T13:05:00Z"),
            ("Yesterday at 14:05", "2026-11-21T13:05:00Z"),
            ("yesterday noon", "2026-11-21T11:00:00Z"),
            ("yesterday 2:05pm", "2026-11-21T13:05:00Z"),
            ("friday 09:00", "2026-11-20T08:00:00Z"),
            ("last sunday 09:00", "2026-11-15T08:00:00Z"),
            ("yesterday 14:05 UTC", "2026-11-21T14:05:00Z"),
            ("00:10:30", "2026-11-21T23:10:30Z"),
            ("2026-11-21 15:05", "2026-11-21T14:05:00Z"),
            ("2026-11-21T15:05", "2026-11-21T14:05:00Z"),
            ("2026-11-21T18:00Z", "2026-11-21T18:00:00Z"),
            ("20261121T180000Z", "2026-11-21T18:00:00Z"),
            ("2026-11-21 15:05 UTC", "2026-11-21T15:05:00Z"),
            ("2026-11-21 15:05 -05:00", "2026-11-21T20:05:00Z"),
            // PostgreSQL: `select now()`, and its log.
            ("2026-11-21 15:05:07.25+00", "2026-11-21T15:05:07.25Z"),
            ("2026-11-21 15:05:07.123456-0330", "2026-11-21T18:35:07.123456Z"),
            ("2026-11-21 15:05:07.123 UTC", "2026-11-21T15:05:07.123Z"),
            // Web servers, mail, `date -R`, `date -u +@%s`.
            ("21/Nov/2026:15:05:07 +0100", "2026-11-21T14:05:07Z"),
            ("Sat, 21 Nov 2026 15:05:07 +0000", "2026-11-21T15:05:07Z"),
            ("Sat, 21 Nov 2026 15:05:07 GMT", "2026-11-21T15:05:07Z"),
            ("21 Nov 2026 15:05 UTC", "2026-11-21T15:05:00Z"),
            ("@1763737507", "2025-11-21T15:05:07Z"),
        ] {
            let read = parse_time(text, now(), &zone).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(read, expected.parse::<DateTime<Utc>>().unwrap(), "{text}");
        }
        for wrong in [
            "",
            "soon",
            "25:00",
            "2026-13-01 10:00",
            "2026-11-21 10:00 +99:00",
            "three days ago",
            "-5m ago",
            "ago",
            "@x",
            "14:05 maybe",
            "20 minutes",
            "before-migration",
        ] {
            assert!(parse_time(wrong, now(), &zone).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_day_is_no_time_and_its_error_says_how_to_make_it_one() {
        for day in ["yesterday", "today", "2026-11-21", "monday"] {
            let error = parse_time(day, now(), &Utc).unwrap_err();
            assert_eq!(error.to_string(), format!("`{day}` is a day, and not a time"));
            assert!(error.hints()[0].contains(&format!("\"{day} 14:05\"")), "{:?}", error.hints());
            assert!(parse_time(&format!("{day} 14:05"), now(), &Utc).is_ok(), "{day}");
        }
        assert!(parse_time("latest", now(), &Utc).unwrap_err().hints()[0].contains("--latest"));
    }

    #[test]
    fn days_are_read_as_people_say_them() {
        let today = NaiveDate::from_ymd_opt(2026, 11, 21).unwrap();
        for (text, expected) in [
            ("2026-03-01", "2026-03-01"),
            ("today", "2026-11-21"),
            ("yesterday", "2026-11-20"),
            ("Saturday", "2026-11-14"),
            ("tue", "2026-11-17"),
            ("30 days ago", "2026-10-22"),
            ("a week ago", "2026-11-14"),
        ] {
            assert_eq!(parse_day(text, today).unwrap().to_string(), expected, "{text}");
        }
        for wrong in ["", "2026-02-30", "tomorrow", "14:05", "1 Jan"] {
            assert!(parse_day(wrong, today).is_err(), "{wrong}");
        }
    }

    #[test]
    fn ids_of_snapshots_are_not_taken_for_times() {
        for id in ["before-migration", "rds:orders-2026-11-21-03-00", "latest-good", "monday"] {
            assert!(!is_said_as_a_time(id), "{id}");
        }
        for time in
            ["yesterday", "yesterday 14:05", "20 minutes ago", "2026-11-21T14:05:00Z", "@1", "an hour ago"]
        {
            assert!(is_said_as_a_time(time), "{time}");
        }
    }
}
