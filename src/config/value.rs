//! Values of `lifeboat.toml` that are read in more than one section.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

/// A duration as people write it: `90s`, `30m`, `1h 30m`, `7d`.
pub(crate) fn parse_duration(text: &str) -> std::result::Result<Duration, String> {
    const LONGEST: Duration = Duration::from_secs(366 * 86_400);
    match humantime::parse_duration(text) {
        Ok(duration) if duration <= LONGEST => Ok(duration),
        Ok(_) => Err("it is at most 366 days".to_owned()),
        Err(error) => Err(format!("{error}; write it as in 90s, 30m, 1h 30m, 7d")),
    }
}

pub(super) fn duration<'de, D: Deserializer<'de>>(
    source: D,
) -> std::result::Result<Option<Duration>, D::Error> {
    let text = String::deserialize(source)?;
    parse_duration(&text).map(Some).map_err(serde::de::Error::custom)
}

/// `expect = 5` and `expect = true` mean what they look like.
pub(super) fn text_or_value<'de, D: Deserializer<'de>>(source: D) -> std::result::Result<String, D::Error> {
    match toml::Value::deserialize(source)? {
        toml::Value::String(text) => Ok(text),
        toml::Value::Integer(number) => Ok(number.to_string()),
        toml::Value::Float(number) => Ok(number.to_string()),
        toml::Value::Boolean(truth) => Ok(truth.to_string()),
        other => {
            let kind = other.type_str();
            Err(serde::de::Error::custom(format!("this is a text, a number or a boolean, not a {kind}")))
        }
    }
}
