//! Times as people say them and as logs print them: one parser for every command, flag and runbook.
//!
//! A time without a zone is that of the person's own clock, daylight saving included; what it means in UTC is shown
//! before anything happens. What could mean two times is refused, never guessed: a day without an hour, and a time that the
//! local clock showed twice, or never.

use std::borrow::Cow;
use std::fmt::Display;
use std::time::Duration;

use chrono::offset::LocalResult;
use chrono::{
    DateTime, Datelike, Days, NaiveDate, NaiveDateTime, NaiveTime, SecondsFormat, TimeDelta, TimeZone, Utc,
    Weekday,
};

use crate::error::{Error, Result};

/// What a time may look like, for hints and help.
pub(crate) const EXAMPLES: &str =
    "2026-11-21T14:05:00Z, \"20 minutes ago\", \"yesterday 14:05\" or \"2026-11-21 15:05\" (local time)";

/// Dates with a time, as logs and programs print them. A fraction of a second may follow each `%S`.
const STAMPS: [&str; 14] = [
    "%a %b %d %H:%M:%S %Y",
    "%d.%m.%Y %H:%M:%S%.f",
    "%d.%m.%Y %H:%M",
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
pub(crate) fn format_time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Seconds as people say them, in the two units that one decides by: `340 ms`, `2.4 s`, `1m 12s`, `24h`, `3d 4h`.
pub(crate) fn format_span(seconds: f64) -> String {
    let seconds = seconds.max(0.0);
    if seconds < 1.0 {
        return format!("{:.0} ms", seconds * 1000.0);
    }
    if seconds < 60.0 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    let (large, small) = match whole {
        0..3_600 => ((whole / 60, "m"), (whole % 60, "s")),
        3_600..172_800 => ((whole / 3_600, "h"), (whole % 3_600 / 60, "m")),
        _ => ((whole / 86_400, "d"), (whole % 86_400 / 3_600, "h")),
    };
    match small.0 {
        0 => format!("{}{}", large.0, large.1),
        rest => format!("{}{} {rest}{}", large.0, large.1, small.1),
    }
}

/// A span that is no more than a guess: `3 s`, `40 s`, `11 min`, `1h 20m`.
pub(crate) fn format_rough_span(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds.round() as u64 {
        whole @ 0..10 => format!("{} s", whole.max(1)),
        10..90 => format!("{} s", (seconds / 10.0).round() * 10.0),
        90..5_400 => format!("{:.0} min", seconds / 60.0),
        _ => format_span((seconds / 300.0).round() * 300.0),
    }
}

/// An age as a span without what nobody asks of one: `12 s`, `20m`, `3h 5m`, `3d 4h`, `15d`. A negative one, as a clock that
/// was set back gives it, is `in the future`.
pub(crate) fn format_age(age: TimeDelta) -> String {
    let seconds = age.num_seconds();
    let unit = match seconds {
        ..0 => return "in the future".to_owned(),
        0..60 => return format!("{seconds} s"),
        60..1_209_600 => 60,
        _ => 86_400,
    };
    format_span((seconds - seconds % unit) as f64)
}

/// How long ago something was: `3d 4h ago`. A moment in the future is named.
pub(crate) fn format_ago(then: DateTime<Utc>, now: DateTime<Utc>) -> String {
    if then > now { format_time(then) } else { format!("{} ago", format_age(now - then)) }
}

/// Reads a time; `now` and `zone` are the person's.
pub(crate) fn parse_time<Z: TimeZone>(text: &str, now: DateTime<Utc>, zone: &Z) -> Result<DateTime<Utc>>
where
    Z::Offset: Display,
{
    let at = without_leap_second(read_time(text, now, zone)?);
    // Other years have no form that every program reads.
    if (1..=9999).contains(&at.year()) { Ok(at) } else { Err(unreadable_time(text)) }
}

fn read_time<Z: TimeZone>(text: &str, now: DateTime<Utc>, zone: &Z) -> Result<DateTime<Utc>>
where
    Z::Offset: Display,
{
    let asked = text;
    let text = &with_a_point(text.trim());
    if let Ok(exact) = DateTime::parse_from_rfc3339(text) {
        return Ok(exact.with_timezone(&Utc));
    }
    if let Some(seconds) = since_the_epoch(text) {
        return read_epoch(seconds).ok_or_else(|| unreadable_time(asked));
    }
    let words = text.to_ascii_lowercase();
    if let Some(ago) = words.strip_suffix("ago") {
        return time_before(now, ago).ok_or_else(|| unreadable_time(asked));
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
    refuse_weekday_of_today(&words, today)?;
    let (local, offset) = split_zone(text);
    let naive = read_local(&local, today)
        .filter(|at| (1..=9999).contains(&at.year()))
        .ok_or_else(|| unreadable_time(asked))?;
    match offset {
        // The offset was written down, so there is no doubt about it.
        Some(seconds) => naive
            .checked_sub_signed(TimeDelta::seconds(seconds))
            .map(|at| at.and_utc())
            .ok_or_else(|| unreadable_time(asked)),
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

/// A duration as people write it: `90s`, `30m`, `1h 30m`, `7d`; at most 366 days.
pub(crate) fn parse_duration(text: &str) -> std::result::Result<Duration, String> {
    const LONGEST: Duration = Duration::from_secs(366 * 86_400);
    match humantime::parse_duration(text) {
        Ok(duration) if duration <= LONGEST => Ok(duration),
        Ok(_) => Err("it is at most 366 days".to_owned()),
        Err(error) => Err(format!("{error}; write it as in 90s, 30m, 1h 30m, 7d")),
    }
}

/// Reads a day: a date, `today`, `yesterday`, the name of a weekday (the last one before today), or `30 days ago`.
pub(crate) fn parse_day(text: &str, today: NaiveDate) -> Result<NaiveDate> {
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
pub(crate) fn looks_like_a_time(text: &str) -> bool {
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

/// A fraction of a second behind a comma, as ISO 8601 and Python's log have it.
fn with_a_point(text: &str) -> String {
    let between_digits = |at: usize| {
        let is_digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_digit);
        text[..at].contains(':')
            && is_digit(text.as_bytes()[..at].last())
            && is_digit(text.as_bytes().get(at + 1))
    };
    match text.rfind(',').filter(|at| between_digits(*at)) {
        Some(at) => format!("{}.{}", &text[..at], &text[at + 1..]),
        None => text.to_owned(),
    }
}

/// AWS and PostgreSQL know no leap seconds: both take one for the second after it.
fn without_leap_second(at: DateTime<Utc>) -> DateTime<Utc> {
    if at.timestamp_subsec_nanos() < 1_000_000_000 {
        return at;
    }
    DateTime::from_timestamp(at.timestamp() + 1, 0).unwrap_or(at)
}

/// `@1763737507`, and without the sign what can be nothing else: ten digits, or thirteen with the milliseconds.
fn since_the_epoch(text: &str) -> Option<&str> {
    let is_plain = matches!(text.len(), 10 | 13) && text.bytes().all(|byte| byte.is_ascii_digit());
    text.strip_prefix('@').or_else(|| is_plain.then_some(text))
}

fn read_epoch(text: &str) -> Option<DateTime<Utc>> {
    let (seconds, fraction) = match text.split_once('.') {
        Some(parts) => parts,
        None if text.len() == 13 => text.split_at_checked(10)?,
        None => (text, ""),
    };
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) || fraction.len() > 9 {
        return None;
    }
    DateTime::from_timestamp(seconds.parse().ok()?, format!("{fraction:0<9}").parse().ok()?)
}

/// "monday 09:00", said on a Monday: this morning, or a week ago?
fn refuse_weekday_of_today(words: &str, today: NaiveDate) -> Result<()> {
    let Some((name, rest)) = words.split_once(' ').filter(|(name, _)| name.len() >= 3) else { return Ok(()) };
    let has_a_date = rest.bytes().filter(u8::is_ascii_digit).count() > 6 || rest.contains(',');
    if name.parse::<Weekday>().is_ok_and(|weekday| weekday == today.weekday()) && !has_a_date {
        return Err(Error::request(format!("`{words}` may mean today or a week ago: today is a {name}"))
            .hint(format!("Write \"today {rest}\" or \"last {name} {rest}\".")));
    }
    Ok(())
}

fn time_before(now: DateTime<Utc>, span: &str) -> Option<DateTime<Utc>> {
    now.checked_sub_signed(read_span(span)?)
}

/// The part without a zone, and the zone as seconds east of UTC, if one is written down.
fn split_zone(text: &str) -> (Cow<'_, str>, Option<i64>) {
    // `date` prints the zone before the year.
    let (front, year) = match text.rsplit_once(' ') {
        Some((front, year)) if year.len() == 4 && year.bytes().all(|byte| byte.is_ascii_digit()) => {
            (front, Some(year))
        }
        _ => (text, None),
    };
    for suffix in ["UTC", "GMT", "Z", "z"] {
        if let Some(local) = front.strip_suffix(suffix) {
            let local = local.trim_end();
            let whole = year.map_or(Cow::Borrowed(local), |year| Cow::Owned(format!("{local} {year}")));
            return (whole, Some(0));
        }
    }
    let (local, offset) = split_offset(text);
    (Cow::Borrowed(local), offset)
}

fn split_offset(text: &str) -> (&str, Option<i64>) {
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
    // The half of the day belongs to the word before it.
    let words = spaced.to_ascii_lowercase().replace(" am", "am").replace(" pm", "pm");
    if let Some((day, time)) = words.rsplit_once(' ') {
        let day = day.strip_suffix(" at").unwrap_or(day);
        if let (Some(day), Some(time)) = (read_day(day, today), read_time_of_day(time)) {
            return Some(day.and_time(time));
        }
    }
    if let Some((time, day)) = words.split_once(' ')
        && let (Some(time), Some(day)) = (read_time_of_day(time), read_day(day, today))
    {
        return Some(day.and_time(time));
    }
    read_time_of_day(&words).map(|time| today.and_time(time)).or_else(|| read_without_year(&spaced, today))
}

/// `Nov 30 12:43:07`, as syslog has it: the latest of that date that is not ahead by more than a zone.
fn read_without_year(text: &str, today: NaiveDate) -> Option<NaiveDateTime> {
    let latest = today.checked_add_days(Days::new(1))?;
    (0..2).find_map(|years| {
        let dated = format!("{} {text}", today.year() - years);
        let at = ["%Y %b %d %H:%M:%S", "%Y %b %d %H:%M"]
            .iter()
            .find_map(|form| NaiveDateTime::parse_from_str(&dated, form).ok())?;
        (at.date() <= latest).then_some(at)
    })
}

fn read_time_of_day(text: &str) -> Option<NaiveTime> {
    match text {
        "noon" => return NaiveTime::from_hms_opt(12, 0, 0),
        "midnight" => return NaiveTime::from_hms_opt(0, 0, 0),
        _ => {}
    }
    // `2pm` is `2:00pm`.
    let hour = text.strip_suffix("am").or_else(|| text.strip_suffix("pm"));
    let whole = match hour.filter(|hour| hour.bytes().all(|byte| byte.is_ascii_digit())) {
        Some(hour) => format!("{hour}:00{}", &text[hour.len()..]),
        None => text.to_owned(),
    };
    ["%H:%M:%S%.f", "%H:%M", "%I:%M%P", "%I:%M:%S%P"]
        .iter()
        .find_map(|form| NaiveTime::parse_from_str(&whole, form).ok())
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

fn unreadable_time(text: &str) -> Error {
    let error = Error::request(format!("`{}` is not a time", text.escape_default()));
    let is_zone = |word: &&str| {
        let is_short = matches!(word.len(), 3..=5) && word.bytes().all(|byte| byte.is_ascii_uppercase());
        !matches!(*word, "UTC" | "GMT")
            && (is_short || (word.contains('/') && !word.contains(':')))
            && word.starts_with(|c: char| c.is_ascii_uppercase())
    };
    match text.split_whitespace().find(is_zone).filter(|_| text.contains(':')) {
        Some(zone) => error.hint(format!(
            "Write the offset from UTC in place of `{zone}`, as in \"2026-11-21 15:05 +01:00\": names of zones are not unique."
        )),
        None => error.hint(format!("Write it as in {EXAMPLES}.")),
    }
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
            ("1763737507", "2025-11-21T15:05:07Z"),
            ("1763737507250", "2025-11-21T15:05:07.25Z"),
            ("@1763737507.5", "2025-11-21T15:05:07.5Z"),
            // `date`, in two locales; `date -Ins`; C's asctime(); Python's log; syslog.
            ("Fri Nov 20 12:40:36 UTC 2026", "2026-11-20T12:40:36Z"),
            ("Fri Nov 20 12:40:36 2026", "2026-11-20T11:40:36Z"),
            ("2026-11-20 12:40:60", "2026-11-20T11:41:00Z"),
            ("2026-11-20T12:40:36,116965305+00:00", "2026-11-20T12:40:36.116965305Z"),
            ("2026-11-20 12:43:07,123", "2026-11-20T11:43:07.123Z"),
            ("Nov 20 12:43:07", "2026-11-20T11:43:07Z"),
            ("Dec 31 23:30:00", "2025-12-31T22:30:00Z"),
            ("20.11.2026 12:43", "2026-11-20T11:43:00Z"),
            ("2pm", "2026-11-22T13:00:00Z"),
            ("yesterday 2 pm", "2026-11-21T13:00:00Z"),
            ("yesterday at 2:05 PM", "2026-11-21T13:05:00Z"),
            ("14:05 yesterday", "2026-11-21T13:05:00Z"),
            ("2:05pm yesterday", "2026-11-21T13:05:00Z"),
            ("14:05 2026-11-20", "2026-11-20T13:05:00Z"),
            ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"),
            ("2024-02-29 10:00 UTC", "2024-02-29T10:00:00Z"),
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
            "2027-02-29 10:00",
            "Sat Nov 20 12:40:36 UTC 2026",
            "+262142-12-31 23:59:59",
            "11/12/2026 10:00",
            "@1763737507.x",
            "@666666666660",
            "9999-12-31T23:59:60Z",
            "0001-01-01T00:00:00+14:00",
            "13pm",
            "pm",
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
    fn a_weekday_that_may_be_today_or_a_week_ago_is_refused() {
        let zone = FixedOffset::east_opt(3600).unwrap();
        let error = parse_time("Sunday 00:10", now(), &zone).unwrap_err();
        assert_eq!(error.to_string(), "`sunday 00:10` may mean today or a week ago: today is a sunday");
        assert_eq!(error.hints(), ["Write \"today 00:10\" or \"last sunday 00:10\"."]);
        assert!(parse_time("Sun, 15 Nov 2026 15:05:07 GMT", now(), &zone).is_ok());
        assert!(parse_time("Sun Nov 15 15:05:07 UTC 2026", now(), &zone).is_ok());
    }

    #[test]
    fn a_zone_by_its_name_is_refused_and_the_hint_is_about_the_zone() {
        for (text, zone) in [
            ("2026-11-20 13:43:07.123 CET", "CET"),
            ("2026-11-20 13:43 Europe/Berlin", "Europe/Berlin"),
            ("Fri Nov 20 12:40:36 EST 2026", "EST"),
        ] {
            let error = parse_time(text, now(), &Utc).unwrap_err();
            assert!(error.hints()[0].contains(&format!("in place of `{zone}`")), "{:?}", error.hints());
        }
        assert!(parse_time("soon", now(), &Utc).unwrap_err().hints()[0].contains("20 minutes ago"));
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
            assert!(!looks_like_a_time(id), "{id}");
        }
        for time in
            ["yesterday", "yesterday 14:05", "20 minutes ago", "2026-11-21T14:05:00Z", "@1", "an hour ago"]
        {
            assert!(looks_like_a_time(time), "{time}");
        }
    }

    #[test]
    fn spans_read_like_people_say_them() {
        let said: Vec<String> =
            [0.34, 2.44, 72.0, 18_180.0, 86_400.0, 273_661.0].into_iter().map(format_span).collect();
        assert_eq!(said, ["340 ms", "2.4 s", "1m 12s", "5h 3m", "24h", "3d 4h"]);
    }

    #[test]
    fn ages_have_two_units_and_a_clock_that_was_set_back_is_said() {
        let ages = [0, 59, 60, 11_100, 273_600, 1_300_000, -1]
            .map(|seconds| format_age(TimeDelta::seconds(seconds)));
        assert_eq!(ages, ["0 s", "59 s", "1m", "3h 5m", "3d 4h", "15d", "in the future"]);
        let ahead = now() + TimeDelta::hours(1);
        assert_eq!(format_ago(ahead, now()), format_time(ahead));
        assert_eq!(format_ago(now(), ahead), "1h ago");
    }
}
