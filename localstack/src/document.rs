//! Documents: what CloudWatch's three protocols have in common. JSON, CBOR and forms in; JSON, CBOR and XML out.
//!
//! Owns the format only. Numbers and booleans of a form are texts, so the reader of a field says which type it has.

use chrono::{DateTime, Utc};
use ciborium::value::Value as Cbor;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::error::{ApiError, Result};
use crate::wire::{Query, Xml, format_timestamp};

/// CBOR's tag for a time in seconds since 1970 (RFC 8949, section 3.4.2).
const EPOCH_TAG: u64 = 1;

/// A value, in whichever protocol it came.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Document {
    Null,
    Flag(bool),
    Integer(i64),
    Number(f64),
    Text(String),
    Time(DateTime<Utc>),
    List(Vec<Document>),
    /// In the order in which it is written.
    Map(Vec<(String, Document)>),
}

impl From<&str> for Document {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

macro_rules! documents {
    ($($value:ty => $variant:ident),*) => {
        $(impl From<$value> for Document {
            fn from(value: $value) -> Self {
                Self::$variant(value)
            }
        })*
    };
}

documents!(String => Text, i64 => Integer, f64 => Number, bool => Flag, DateTime<Utc> => Time);

impl<T: Into<Document>> From<Vec<T>> for Document {
    fn from(items: Vec<T>) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }
}

/// A map under construction; what is `None` is left out.
#[derive(Debug, Default)]
pub(crate) struct Fields(Vec<(String, Document)>);

impl Fields {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: impl Into<Document>) -> Self {
        self.0.push((name.to_owned(), value.into()));
        self
    }

    #[must_use]
    pub(crate) fn maybe(self, name: &str, value: Option<impl Into<Document>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    pub(crate) fn done(self) -> Document {
        Document::Map(self.0)
    }
}

impl From<Fields> for Document {
    fn from(fields: Fields) -> Self {
        fields.done()
    }
}

impl Document {
    pub(crate) fn from_json(json: Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(flag) => Self::Flag(flag),
            Json::Number(number) => number
                .as_i64()
                .map_or_else(|| Self::Number(number.as_f64().unwrap_or(f64::NAN)), Self::Integer),
            Json::String(text) => Self::Text(text),
            Json::Array(items) => Self::List(items.into_iter().map(Self::from_json).collect()),
            Json::Object(fields) => {
                Self::Map(fields.into_iter().map(|(name, value)| (name, Self::from_json(value))).collect())
            }
        }
    }

    /// Times as seconds, which is how awsJson writes them.
    pub(crate) fn to_json(&self) -> Json {
        match self {
            Self::Null => Json::Null,
            Self::Flag(flag) => (*flag).into(),
            Self::Integer(number) => (*number).into(),
            Self::Number(number) => (*number).into(),
            Self::Text(text) => text.as_str().into(),
            Self::Time(time) => epoch_seconds(*time).into(),
            Self::List(items) => items.iter().map(Self::to_json).collect(),
            Self::Map(fields) => fields.iter().map(|(name, value)| (name.clone(), value.to_json())).collect(),
        }
    }

    pub(crate) fn from_cbor(bytes: &[u8]) -> Option<Self> {
        if bytes.is_empty() {
            return Some(Self::Map(Vec::new()));
        }
        ciborium::from_reader::<Cbor, _>(bytes).ok().map(from_cbor)
    }

    pub(crate) fn to_cbor(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        ciborium::into_writer(&to_cbor(self), &mut bytes).expect("a vector takes any number of bytes");
        bytes
    }

    /// Builds a document from a form, with lists and structures: `Dimensions.member.1.Name`.
    pub(crate) fn from_form(query: &Query) -> Self {
        let mut root = Self::Map(Vec::new());
        for (name, value) in query.pairs() {
            let path: Vec<&str> = name.split('.').collect();
            root.insert_at(&path, value);
        }
        root
    }

    fn insert_at(&mut self, path: &[&str], value: &str) {
        match path {
            [] => *self = value.into(),
            ["member", number, rest @ ..] => {
                let Some(index) = number.parse::<usize>().ok().filter(|index| (1..=1000).contains(index))
                else {
                    return;
                };
                if !matches!(self, Self::List(_)) {
                    *self = Self::List(Vec::new());
                }
                let Self::List(items) = self else { return };
                while items.len() < index {
                    items.push(Self::Null);
                }
                items[index - 1].insert_at(rest, value);
            }
            [name, rest @ ..] => {
                if !matches!(self, Self::Map(_)) {
                    *self = Self::Map(Vec::new());
                }
                let Self::Map(fields) = self else { return };
                let at = fields.iter().position(|(key, _)| key == name).unwrap_or_else(|| {
                    fields.push(((*name).to_owned(), Self::Null));
                    fields.len() - 1
                });
                fields[at].1.insert_at(rest, value);
            }
        }
    }

    /// Writes the members of a map as elements.
    pub(crate) fn write_xml(&self, xml: &mut Xml) {
        let Self::Map(fields) = self else { return };
        for (name, value) in fields {
            value.write_element(xml, name);
        }
    }

    fn write_element(&self, xml: &mut Xml, name: &str) {
        match self {
            Self::Null => {}
            Self::Flag(flag) => drop(xml.text(name, flag)),
            Self::Integer(number) => drop(xml.text(name, number)),
            Self::Number(number) => drop(xml.text(name, number)),
            Self::Text(text) => drop(xml.text(name, text)),
            Self::Time(time) => drop(xml.text(name, format_timestamp(*time))),
            Self::Map(_) => drop(xml.within(name, |xml| self.write_xml(xml))),
            Self::List(items) => {
                xml.within(name, |xml| items.iter().for_each(|item| item.write_element(xml, "member")));
            }
        }
    }

    /// What the log of calls shows: texts as they are, the rest as JSON.
    pub(crate) fn log_fields(&self) -> Vec<(String, String)> {
        let Self::Map(fields) = self else { return Vec::new() };
        fields
            .iter()
            .map(|(name, value)| match value {
                Self::Text(text) => (name.clone(), text.clone()),
                other => (name.clone(), other.to_json().to_string()),
            })
            .collect()
    }

    fn field(&self, name: &str) -> Option<&Document> {
        let Self::Map(fields) = self else { return None };
        fields
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value)
            .filter(|value| **value != Self::Null)
    }

    /// A text, if it was given and is not empty.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        match self.field(name)? {
            Self::Text(text) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    pub(crate) fn owned(&self, name: &str) -> Option<String> {
        self.text(name).map(str::to_owned)
    }

    pub(crate) fn required(&self, name: &str) -> Result<&str> {
        self.text(name)
            .ok_or_else(|| ApiError::new("MissingParameter", format!("The parameter {name} is required.")))
    }

    pub(crate) fn number(&self, name: &str) -> Result<Option<f64>> {
        self.field(name).map(|value| value.read_number(name)).transpose()
    }

    fn read_number(&self, name: &str) -> Result<f64> {
        let number = match self {
            Self::Integer(number) => Some(*number as f64),
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.parse().ok(),
            _ => None,
        };
        number.ok_or_else(|| wrong_type(name, "a number"))
    }

    pub(crate) fn integer(&self, name: &str) -> Result<Option<i64>> {
        match self.number(name)? {
            Some(number) if number.fract() != 0.0 || number.abs() > 9e15 => {
                Err(wrong_type(name, "an integer"))
            }
            other => Ok(other.map(|number| number as i64)),
        }
    }

    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>> {
        match self.field(name) {
            None => Ok(None),
            Some(Self::Flag(flag)) => Ok(Some(*flag)),
            Some(Self::Text(text)) if text == "true" || text == "false" => Ok(Some(text == "true")),
            Some(_) => Err(wrong_type(name, "true or false")),
        }
    }

    pub(crate) fn time(&self, name: &str) -> Result<Option<DateTime<Utc>>> {
        let time = match self.field(name) {
            None => return Ok(None),
            Some(Self::Time(time)) => Some(*time),
            Some(Self::Integer(seconds)) => DateTime::from_timestamp(*seconds, 0),
            Some(Self::Number(seconds)) => DateTime::from_timestamp_millis((seconds * 1000.0).round() as i64),
            Some(Self::Text(text)) => DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc()),
            Some(_) => None,
        };
        time.map(Some).ok_or_else(|| wrong_type(name, "a time"))
    }

    /// The members of a list; none if there is no list.
    pub(crate) fn items(&self, name: &str) -> &[Document] {
        match self.field(name) {
            Some(Self::List(items)) => items,
            _ => &[],
        }
    }

    pub(crate) fn texts(&self, name: &str) -> Vec<String> {
        self.items(name)
            .iter()
            .filter_map(|item| match item {
                Self::Text(text) => Some(text.clone()),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn numbers(&self, name: &str) -> Result<Vec<f64>> {
        let read = |item: &Self| if *item == Self::Null { Ok(0.0) } else { item.read_number(name) };
        self.items(name).iter().map(read).collect()
    }

    pub(crate) fn structure(&self, name: &str) -> Option<&Document> {
        self.field(name).filter(|value| matches!(value, Self::Map(_)))
    }
}

fn wrong_type(name: &str, wanted: &str) -> ApiError {
    ApiError::with_status(400, "SerializationException", format!("{name} must be {wanted}"))
}

fn epoch_seconds(time: DateTime<Utc>) -> f64 {
    time.timestamp_millis() as f64 / 1000.0
}

fn to_cbor(document: &Document) -> Cbor {
    match document {
        Document::Null => Cbor::Null,
        Document::Flag(flag) => Cbor::Bool(*flag),
        Document::Integer(number) => Cbor::Integer((*number).into()),
        Document::Number(number) => Cbor::Float(*number),
        Document::Text(text) => Cbor::Text(text.clone()),
        Document::Time(time) => Cbor::Tag(EPOCH_TAG, Box::new(Cbor::Float(epoch_seconds(*time)))),
        Document::List(items) => Cbor::Array(items.iter().map(to_cbor).collect()),
        Document::Map(fields) => {
            Cbor::Map(fields.iter().map(|(name, value)| (Cbor::Text(name.clone()), to_cbor(value))).collect())
        }
    }
}

fn from_cbor(value: Cbor) -> Document {
    match value {
        Cbor::Bool(flag) => Document::Flag(flag),
        Cbor::Integer(number) => Document::Integer(i64::try_from(number).unwrap_or(i64::MAX)),
        Cbor::Float(number) => Document::Number(number),
        Cbor::Text(text) => Document::Text(text),
        // The tag only says that it is a time, and the reader of the field knows that.
        Cbor::Tag(_, inside) => from_cbor(*inside),
        Cbor::Array(items) => Document::List(items.into_iter().map(from_cbor).collect()),
        Cbor::Map(fields) => Document::Map(
            fields
                .into_iter()
                .filter_map(|(name, value)| Some((name.into_text().ok()?, from_cbor(value))))
                .collect(),
        ),
        _ => Document::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_a_json_text_and_cbor_mean_the_same() {
        let form = Document::from_form(&Query::parse(
            b"AlarmName=a&Period=60&Dimensions.member.1.Name=D&Dimensions.member.1.Value=x&AlarmActions.member.1=t",
        ));
        let json = Document::from_json(serde_json::json!({
            "AlarmName": "a", "Period": 60, "Dimensions": [{"Name": "D", "Value": "x"}], "AlarmActions": ["t"]
        }));
        let cbor = Document::from_cbor(&json.to_cbor()).unwrap();
        for document in [form, json, cbor] {
            assert_eq!(document.text("AlarmName"), Some("a"));
            assert_eq!(document.integer("Period").unwrap(), Some(60));
            assert_eq!(document.items("Dimensions")[0].text("Value"), Some("x"));
            assert_eq!(document.texts("AlarmActions"), ["t"]);
        }
    }

    #[test]
    fn a_time_survives_each_protocol() {
        let time = DateTime::from_timestamp_millis(1_790_000_000_250).unwrap();
        let document = Fields::new().with("At", time).done();
        assert_eq!(Document::from_json(document.to_json()).time("At").unwrap(), Some(time));
        assert_eq!(Document::from_cbor(&document.to_cbor()).unwrap().time("At").unwrap(), Some(time));
        let mut xml = Xml::new();
        document.write_xml(&mut xml);
        let text = xml.response("n", "A", true, "r");
        assert!(text.contains(&format_timestamp(time)), "{text}");
    }

    #[test]
    fn what_is_not_a_number_is_refused() {
        let document = Document::from_json(serde_json::json!({ "Period": "soon", "Half": 0.5 }));
        assert!(document.integer("Period").is_err());
        assert!(document.integer("Half").is_err());
        assert_eq!(document.integer("Absent").unwrap(), None);
    }
}
