//! Thresholds as people write them, and what they are in the metric's own unit for one instance.
//!
//! CloudWatch counts storage and memory in bytes. A bare number could be read as percent or as bytes,
//! so it is refused there. The default threshold of each kind is in `kinds`.

use super::kinds::{Kind, Unit};
use crate::error::{Error, Result};
use crate::rds::Instance;
use crate::when::parse_duration;

const GIBIBYTE: f64 = 1024.0 * 1024.0 * 1024.0;

/// A threshold as it is written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Threshold {
    /// In the metric's own unit.
    Value(f64),
    /// Percent of what the instance has.
    Share(f64),
}

/// A threshold for one instance, and where it comes from.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Resolved {
    pub(super) value: f64,
    pub(super) from: String,
}

/// Reads a threshold of a kind.
pub(super) fn parse_threshold(kind: &Kind, text: &str) -> Result<Threshold> {
    let wrong = |why: &str| {
        Error::request(format!(
            "`{}` is not a threshold for alarms of kind `{}`: {why}",
            text.escape_default(),
            kind.name
        ))
        .hint(format!(
            "Write it as in `threshold = \"{}\"`, in [alarms.kinds.{}].",
            kind.threshold, kind.name
        ))
    };
    let text = text.trim();
    if let Some(percent) = text.strip_suffix('%') {
        let percent: f64 = percent.trim().parse().map_err(|_| wrong("there is no number before the `%`"))?;
        if !(percent > 0.0 && percent.is_finite()) {
            return Err(wrong("a percentage must be more than 0"));
        }
        // Load may exceed the vCPUs; nothing else can exceed 100%.
        if percent > 100.0 && kind.unit != Unit::Processors {
            return Err(wrong("a percentage must be at most 100"));
        }
        return match kind.unit {
            Unit::Percent => Ok(Threshold::Value(percent)),
            Unit::Age | Unit::Latency | Unit::Count => Err(wrong("it cannot be a percentage")),
            _ => Ok(Threshold::Share(percent)),
        };
    }
    let value = match kind.unit {
        Unit::Age => parse_duration(text).map_err(|why| wrong(&why))?.as_secs_f64(),
        Unit::Latency => {
            parse_duration(text).map_err(|_| wrong("a latency is a duration such as 20ms"))?.as_secs_f64()
        }
        Unit::Storage | Unit::Memory => {
            bytes(text).ok_or_else(|| wrong("a bare number could be percent or bytes: write 10% or 2GiB"))?
        }
        Unit::Percent => {
            let percent = number(text).ok_or_else(|| wrong("it is not a number"))?;
            if !(percent > 0.0 && percent <= 100.0) {
                return Err(wrong("a percentage must be more than 0 and at most 100"));
            }
            percent
        }
        _ => number(text).ok_or_else(|| wrong("it is not a number"))?,
    };
    if value > 0.0 { Ok(Threshold::Value(value)) } else { Err(wrong("it must be more than 0")) }
}

fn number(text: &str) -> Option<f64> {
    text.replace('_', "").parse().ok().filter(|number: &f64| number.is_finite())
}

fn bytes(text: &str) -> Option<f64> {
    const UNITS: [(&str, f64); 8] = [
        ("TiB", GIBIBYTE * 1024.0),
        ("GiB", GIBIBYTE),
        ("MiB", 1024.0 * 1024.0),
        ("KiB", 1024.0),
        ("TB", 1e12),
        ("GB", 1e9),
        ("MB", 1e6),
        ("kB", 1e3),
    ];
    UNITS.iter().find_map(|(unit, size)| Some(number(text.strip_suffix(unit)?.trim())? * size))
}

/// What a threshold is for one instance. `max_connections` is that of its parameter group, if set.
/// `None` if it depends on an unknown resource of the class.
pub(super) fn resolve_threshold(
    kind: &Kind,
    threshold: Threshold,
    instance: &Instance,
    max_connections: Option<u32>,
) -> Option<Resolved> {
    let percent = match threshold {
        Threshold::Value(value) => return Some(Resolved { value, from: format_value(kind.unit, value) }),
        Threshold::Share(percent) => percent,
    };
    let (whole, of) = match kind.unit {
        Unit::Storage => {
            let grows = instance
                .settings
                .max_storage_gib
                .map_or(String::new(), |most| format!(", autoscales to {most} GiB"));
            let gib = instance.storage_gib;
            (f64::from(gib) * GIBIBYTE, format!("{gib} GiB allocated{grows}"))
        }
        Unit::Memory => {
            let memory = memory(&instance.class)?;
            (memory, format!("{} GiB of {}", memory / GIBIBYTE, instance.class))
        }
        Unit::Connections => most_connections(instance, max_connections)?,
        Unit::Credits => {
            let most = most_credits(&instance.class)?;
            (most, format!("{most} credits that {} can accrue", instance.class))
        }
        Unit::Processors => {
            let count = processors(&instance.class)?;
            (count, format!("{count} vCPUs of {}", instance.class))
        }
        _ => return None,
    };
    Some(Resolved { value: (whole * percent / 100.0).floor(), from: format!("{percent}% of {of}") })
}

/// A value for people.
pub(super) fn format_value(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Age => {
            let seconds = value.max(0.0).round() as u64;
            match seconds {
                0..=119 => format!("{seconds} s"),
                120..=7199 => format!("{} min", seconds / 60),
                7200..=259_199 => format!("{} h", seconds / 3600),
                _ => format!("{} days", seconds / 86_400),
            }
        }
        Unit::Latency => format!("{} ms", value * 1000.0),
        Unit::Percent => format!("{value}%"),
        Unit::Storage | Unit::Memory => format!("{:.2} GiB", value / GIBIBYTE),
        _ => format!("{value}"),
    }
}

/// RDS's default is a formula over memory; the database gets a little less than the class has.
pub(super) fn most_connections(instance: &Instance, max_connections: Option<u32>) -> Option<(f64, String)> {
    if let Some(most) = max_connections {
        let group = instance.parameter_group.as_deref().unwrap_or("its parameter group");
        return Some((f64::from(most), format!("max_connections {most} in {group}")));
    }
    // DBInstanceClassMemory is less than what the class is sold with: what the system and RDS take is left out.
    let memory = memory(&instance.class)? * 0.9;
    let most = match instance.engine.as_str() {
        "postgres" | "aurora-postgresql" => (memory / 9_531_392.0).min(5000.0),
        "mysql" | "mariadb" => (memory / 12_582_880.0).min(16_000.0),
        _ => return None,
    };
    let most = most.floor();
    Some((most, format!("about {most} connections, estimated for {}", instance.class)))
}

fn size(class: &str) -> &str {
    class.rsplit('.').next().unwrap_or_default()
}

fn times_xlarge(size: &str) -> Option<f64> {
    match size {
        "xlarge" => Some(1.0),
        other => other.strip_suffix("xlarge")?.parse().ok(),
    }
}

/// The letter and number of a class: `m6g` of `db.m6g.large`.
fn family(class: &str) -> &str {
    class.strip_prefix("db.").and_then(|rest| rest.split('.').next()).unwrap_or_default()
}

/// Memory in bytes, by the rule that sizes follow (Amazon RDS User Guide, "Hardware specifications").
pub(super) fn memory(class: &str) -> Option<f64> {
    let size = size(class);
    let family = family(class);
    let large = match family.chars().next()? {
        't' | 'm' => 8.0,
        'r' => 16.0,
        'c' => 4.0,
        'x' if family.starts_with("x2g") || family.starts_with("x2ied") => 32.0,
        'z' => 16.0,
        _ => return None,
    };
    let gibibytes = match size {
        "micro" => 1.0,
        "small" => 2.0,
        "medium" => large / 2.0,
        "large" => large,
        other => large * 2.0 * times_xlarge(other)?,
    };
    Some(gibibytes * GIBIBYTE)
}

/// Virtual processors: two for anything up to `large`, one for what is smaller and older.
fn processors(class: &str) -> Option<f64> {
    match size(class) {
        "micro" | "small" if family(class) == "t2" => Some(1.0),
        "medium" if !family(class).starts_with('t') => Some(1.0),
        "micro" | "small" | "medium" | "large" => Some(2.0),
        other => times_xlarge(other).map(|times| times * 4.0),
    }
}

/// What a burstable class can save up: a day's worth (Amazon EC2 User Guide, "CPU credits").
fn most_credits(class: &str) -> Option<f64> {
    let is_old = family(class) == "t2";
    Some(match size(class) {
        "micro" if is_old => 144.0,
        "small" if is_old => 288.0,
        "micro" => 288.0,
        "small" | "medium" => 576.0,
        "large" => 864.0,
        "xlarge" => 2304.0,
        "2xlarge" => 4608.0,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::kinds::find_kind;
    use super::*;

    #[track_caller]
    fn read(kind: &str, text: &str) -> Threshold {
        parse_threshold(find_kind(kind).unwrap(), text).unwrap()
    }

    #[test]
    fn thresholds_are_read_as_people_write_them() {
        assert_eq!(read("storage", "10%"), Threshold::Share(10.0));
        assert_eq!(read("storage", "2GiB"), Threshold::Value(2_147_483_648.0));
        assert_eq!(read("backup-age", "26h"), Threshold::Value(93_600.0));
        assert_eq!(read("cpu", "90%"), Threshold::Value(90.0));
        assert_eq!(read("cpu", "90"), Threshold::Value(90.0));
        assert_eq!(read("read-latency", "20ms"), Threshold::Value(0.02));
        assert_eq!(read("load", "150%"), Threshold::Share(150.0));
    }

    #[test]
    fn what_could_mean_two_things_or_nothing_is_refused() {
        for (kind, text, why) in [
            ("storage", "10", "percent or bytes"),
            ("storage", "120%", "at most 100"),
            ("storage", "-5%", "more than 0"),
            ("cpu", "101", "at most 100"),
            ("backup-age", "26", "time unit"),
            ("backup-age", "10%", "percentage"),
            ("connections", "many", "number"),
            ("memory", "0GiB", "more than 0"),
        ] {
            let error = parse_threshold(find_kind(kind).unwrap(), text).unwrap_err();
            assert!(error.to_string().contains(why), "{kind} {text}: {error}");
        }
    }

    #[test]
    fn classes_have_the_memory_of_the_manual() {
        for (class, gibibytes) in [
            ("db.t3.micro", 1.0),
            ("db.t4g.medium", 4.0),
            ("db.m6g.large", 8.0),
            ("db.r6g.large", 16.0),
            ("db.r5.4xlarge", 128.0),
            ("db.m5.2xlarge", 32.0),
        ] {
            assert_eq!(memory(class), Some(gibibytes * GIBIBYTE), "{class}");
        }
        assert_eq!(memory("db.serverless"), None);
    }
}
