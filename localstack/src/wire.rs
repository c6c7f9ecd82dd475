//! The awsQuery protocol: a form comes in, XML goes out.
//!
//! Owns the format only: names of lists (`Tags.Tag.1.Key`), booleans, times, escaping. What a request means is up to
//! `rds`.

use std::collections::BTreeMap;
use std::fmt::Display;

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, SecondsFormat, Utc};

use crate::error::{ApiError, Result};

/// A request's parameters by their full names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Query(BTreeMap<String, String>);

impl Query {
    pub(crate) fn parse(form: &[u8]) -> Self {
        Self(form_urlencoded::parse(form).into_owned().collect())
    }

    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub(crate) fn from_pairs(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(pairs.into_iter().collect())
    }

    pub(crate) fn from_pair(name: &str, value: &str) -> Self {
        Self([(name.to_owned(), value.to_owned())].into())
    }

    /// A value, if it was given. The empty string counts as not given: that is how RDS reads `Port=`.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Whether a list is given as empty: `name=`, which clears the list (AWS query protocol).
    pub(crate) fn clears_list(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(String::is_empty)
    }

    pub(crate) fn owned(&self, name: &str) -> Option<String> {
        self.get(name).map(str::to_owned)
    }

    pub(crate) fn required(&self, name: &str) -> Result<&str> {
        self.get(name).ok_or_else(|| ApiError::missing_parameter(name))
    }

    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>> {
        let read = |text: &str| text.to_ascii_lowercase().parse().ok();
        self.parse_value(name, read, "MalformedInput", "true or false")
    }

    pub(crate) fn number(&self, name: &str) -> Result<Option<i64>> {
        self.parse_value(name, |text| text.parse().ok(), "MalformedInput", "an integer")
    }

    pub(crate) fn time(&self, name: &str) -> Result<Option<DateTime<Utc>>> {
        self.parse_value(name, parse_time, "InvalidParameterValue", "a time such as 2026-09-07T23:45:00Z")
    }

    fn parse_value<T>(
        &self,
        name: &str,
        read: impl FnOnce(&str) -> Option<T>,
        code: &str,
        wanted: &str,
    ) -> Result<Option<T>> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let refused = || ApiError::new(code, format!("{name} must be {wanted}, not {text}"));
        read(text).map(Some).ok_or_else(refused)
    }

    /// The members of a list, or `None` when the request does not mention it.
    ///
    /// Clients send `Name.Member.1` with the member's own name; old ones send `Name.member.1`.
    pub(crate) fn list(&self, name: &str, member: &str) -> Option<Vec<String>> {
        let found: Vec<String> = self
            .structures(name, member)
            .into_iter()
            .filter_map(|item| item.0.get("").cloned())
            .filter(|value| !value.is_empty())
            .collect();
        (!found.is_empty()).then_some(found)
    }

    /// The members of a list of structures, each with its own parameters, in the order of their numbers.
    pub(crate) fn structures(&self, name: &str, member: &str) -> Vec<Query> {
        let mut items: BTreeMap<u32, Query> = BTreeMap::new();
        for (key, value) in &self.0 {
            let Some(rest) = key.strip_prefix(name).and_then(|rest| rest.strip_prefix('.')) else { continue };
            let Some(rest) = [member, "member"]
                .iter()
                .find_map(|word| rest.strip_prefix(word).and_then(|rest| rest.strip_prefix('.')))
            else {
                continue;
            };
            let (number, field) = rest.split_once('.').unwrap_or((rest, ""));
            if let Ok(number) = number.parse() {
                items.entry(number).or_default().0.insert(field.to_owned(), value.clone());
            }
        }
        items.into_values().collect()
    }

    /// Whether one of the values contains a text.
    pub(crate) fn mentions(&self, text: &str) -> bool {
        self.0.values().any(|value| value.contains(text))
    }

    /// The parameters for a log: passwords are masked.
    pub(crate) fn redacted(&self) -> BTreeMap<String, String> {
        self.0
            .iter()
            .map(|(key, value)| {
                let secret = key.ends_with("Password") && value != "true" && value != "false";
                (key.clone(), if secret { "****".to_owned() } else { value.clone() })
            })
            .collect()
    }
}

/// XML under construction. Empty containers are written, as on AWS: a list without members is `<DBSecurityGroups/>`.
#[derive(Debug, Default)]
pub(crate) struct Xml(String);

impl Xml {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A single element with a text.
    pub(crate) fn with_text(name: &str, value: impl Display) -> Self {
        let mut xml = Self::new();
        xml.text(name, value);
        xml
    }

    /// A single list.
    pub(crate) fn with_list<T>(
        name: &str,
        member: &str,
        items: impl IntoIterator<Item = T>,
        each: impl FnMut(&mut Xml, T),
    ) -> Self {
        let mut xml = Self::new();
        xml.list(name, member, items, each);
        xml
    }

    /// A single element with others inside.
    pub(crate) fn with_element(name: &str, inside: impl FnOnce(&mut Xml)) -> Self {
        let mut xml = Self::new();
        xml.within(name, inside);
        xml
    }

    pub(crate) fn text(&mut self, name: &str, value: impl Display) -> &mut Self {
        self.0.push_str(&format!("<{name}>{}</{name}>", escape_xml(&value.to_string())));
        self
    }

    pub(crate) fn maybe(&mut self, name: &str, value: Option<impl Display>) -> &mut Self {
        if let Some(value) = value {
            self.text(name, value);
        }
        self
    }

    pub(crate) fn time(&mut self, name: &str, value: Option<DateTime<Utc>>) -> &mut Self {
        self.maybe(name, value.map(format_timestamp))
    }

    pub(crate) fn within(&mut self, name: &str, inside: impl FnOnce(&mut Xml)) -> &mut Self {
        self.0.push_str(&format!("<{name}>"));
        inside(self);
        self.0.push_str(&format!("</{name}>"));
        self
    }

    pub(crate) fn list<T>(
        &mut self,
        name: &str,
        member: &str,
        items: impl IntoIterator<Item = T>,
        mut each: impl FnMut(&mut Xml, T),
    ) -> &mut Self {
        self.within(name, |xml| {
            for item in items {
                xml.within(member, |xml| each(xml, item));
            }
        })
    }

    /// A list of plain values.
    pub(crate) fn values<T: Display>(
        &mut self,
        name: &str,
        member: &str,
        items: impl IntoIterator<Item = T>,
    ) -> &mut Self {
        self.within(name, |xml| {
            for item in items {
                xml.text(member, item);
            }
        })
    }

    /// Puts another value into the first element of that name.
    pub(crate) fn replace_text(&mut self, name: &str, value: &str) {
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        if let Some(start) = self.0.find(&open).map(|at| at + open.len())
            && let Some(length) = self.0[start..].find(&close)
        {
            self.0.replace_range(start..start + length, &escape_xml(value));
        }
    }

    /// The complete answer to an action; without a result it has only metadata.
    pub(crate) fn response(
        &self,
        namespace: &str,
        action: &str,
        has_result: bool,
        request_id: &str,
    ) -> String {
        let result =
            if has_result { format!("<{action}Result>{}</{action}Result>", self.0) } else { String::new() };
        format!(
            "<{action}Response xmlns=\"{namespace}\">{result}\
             <ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{action}Response>"
        )
    }
}

pub(crate) fn error_response(namespace: &str, error: &ApiError, request_id: &str) -> String {
    let mut xml = Xml::new();
    xml.within("Error", |xml| {
        xml.text("Type", error.fault_party()).text("Code", &error.code).text("Message", &error.message);
    });
    xml.text("RequestId", request_id);
    format!("<ErrorResponse xmlns=\"{namespace}\">{}</ErrorResponse>", xml.0)
}

/// EC2 has a format of its own for errors.
pub(crate) fn ec2_error_response(error: &ApiError, request_id: &str) -> String {
    let mut xml = Xml::new();
    xml.list("Errors", "Error", [error], |xml, error| {
        xml.text("Code", &error.code).text("Message", &error.message);
    });
    xml.text("RequestID", request_id);
    format!("<Response>{}</Response>", xml.0)
}

/// A time in ISO 8601: to the minute, to the second or finer; in UTC unless it has an offset; a date stands for its
/// midnight.
fn parse_time(text: &str) -> Option<DateTime<Utc>> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.to_utc());
    }
    let with_offset = ["%Y-%m-%dT%H:%M%:z", "%Y-%m-%dT%H:%M%z", "%Y-%m-%dT%H:%M:%S%.f%z"];
    if let Some(time) = with_offset.iter().find_map(|form| DateTime::parse_from_str(text, form).ok()) {
        return Some(time.to_utc());
    }
    let bare = text.strip_suffix('Z').unwrap_or(text);
    let without = ["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S%.f"];
    if let Some(time) = without.iter().find_map(|form| NaiveDateTime::parse_from_str(bare, form).ok()) {
        return Some(time.and_utc());
    }
    Some(NaiveDate::parse_from_str(bare, "%Y-%m-%d").ok()?.and_time(NaiveTime::MIN).and_utc())
}

/// The token of a page, made of the last key on it. It is hexadecimal so that nobody is tempted to construct one.
pub(crate) fn encode_page_token(key: &str) -> String {
    key.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// The key in a token.
pub(crate) fn decode_page_token(marker: &str) -> Option<String> {
    let bytes: Option<Vec<u8>> =
        (0..marker.len()).step_by(2).map(|at| u8::from_str_radix(marker.get(at..at + 2)?, 16).ok()).collect();
    String::from_utf8(bytes?).ok()
}

/// Times as RDS writes them: UTC, milliseconds, `Z`.
pub(crate) fn format_timestamp(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Escapes text for an element. Characters that XML 1.0 cannot contain become `?`; a raw carriage return would be
/// read as a line feed, so it becomes a reference.
fn escape_xml(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\r' => escaped.push_str("&#13;"),
            '\t' | '\n' => escaped.push(character),
            control if (control as u32) < 0x20 || matches!(control, '\u{fffe}' | '\u{ffff}') => {
                escaped.push('?')
            }
            _ => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_come_in_order_of_their_numbers_under_either_member_name() {
        let query = Query::parse(b"S.Id.10=c&S.Id.2=b&S.Id.1=a&T.member.1=x&S.Other.1=no");
        assert_eq!(query.list("S", "Id").unwrap(), ["a", "b", "c"]);
        assert_eq!(query.list("T", "Tag").unwrap(), ["x"]);
        assert_eq!(query.list("Absent", "Id"), None);
    }

    #[test]
    fn structures_keep_their_fields_together() {
        let query = Query::parse(b"Tags.Tag.1.Key=a&Tags.Tag.1.Value=1&Tags.Tag.2.Key=b");
        let tags = query.structures("Tags", "Tag");
        assert_eq!(tags.len(), 2);
        assert_eq!((tags[0].get("Key"), tags[0].get("Value")), (Some("a"), Some("1")));
        assert_eq!((tags[1].get("Key"), tags[1].get("Value")), (Some("b"), None));
    }

    #[test]
    fn passwords_are_masked_and_switches_about_passwords_are_not() {
        let shown = Query::parse(b"MasterUserPassword=s3cret&ManageMasterUserPassword=true&A=b").redacted();
        assert_eq!(shown["MasterUserPassword"], "****");
        assert_eq!(shown["ManageMasterUserPassword"], "true");
        assert_eq!(shown["A"], "b");
    }

    #[test]
    fn text_is_escaped() {
        let mut xml = Xml::new();
        xml.text("V", "a<b>&\"c\"\u{1}\r");
        assert_eq!(xml.0, "<V>a&lt;b&gt;&amp;\"c\"?&#13;</V>");
    }

    #[test]
    fn times_are_read_with_and_without_fractions_and_offsets() {
        let query = Query::parse(b"A=2026-11-21T10:00:00Z&B=2026-11-21T11:00:00.250%2B01:00&C=yesterday");
        assert_eq!(format_timestamp(query.time("A").unwrap().unwrap()), "2026-11-21T10:00:00.000Z");
        assert_eq!(format_timestamp(query.time("B").unwrap().unwrap()), "2026-11-21T10:00:00.250Z");
        assert_eq!(query.time("C").unwrap_err().code, "InvalidParameterValue");
        for text in [
            "2026-11-29T18:00Z",
            "2026-11-29T18:00",
            "2026-11-29T18:00:00",
            "2026-11-29T20:00+02:00",
            "2026-11-29T18:00:00.0Z",
        ] {
            assert_eq!(
                parse_time(text).map(format_timestamp).as_deref(),
                Some("2026-11-29T18:00:00.000Z"),
                "{text}"
            );
        }
        assert_eq!(
            parse_time("2026-11-29").map(format_timestamp).as_deref(),
            Some("2026-11-29T00:00:00.000Z")
        );
        for text in ["", "18:00", "2026-11-29 18", "2026-13-01", "2026-11-29T25:00Z"] {
            assert_eq!(parse_time(text), None, "{text}");
        }
    }
}
