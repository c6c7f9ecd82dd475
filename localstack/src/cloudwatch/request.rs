//! A call of CloudWatch, and what its actions share: refusals, pages, dimensions.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::document::{Document, Fields};
use crate::error::{ApiError, Result};
use crate::monitoring::Monitor;
use crate::monitoring::metrics::Dimensions;
use crate::stack::Context;
use crate::wire::{decode_page_token, encode_page_token};

pub(crate) const VERSION: &str = "2010-08-01";

/// A call of one action.
pub(crate) struct Request<'a> {
    pub(crate) cx: &'a Arc<Context>,
    pub(crate) region: &'a str,
    pub(crate) input: &'a Document,
    pub(crate) now: DateTime<Utc>,
}

impl Request<'_> {
    pub(super) fn read<T>(&self, look: impl FnOnce(&Monitor) -> T) -> T {
        self.cx.monitoring.read(|all| match all.monitors.get(self.region) {
            Some(monitor) => look(monitor),
            None => look(&Monitor::default()),
        })
    }

    pub(super) fn change<T>(&self, edit: impl FnOnce(&mut Monitor) -> T) -> T {
        self.cx.monitoring.change_monitor(self.region, edit)
    }
}

/// All of CloudWatch's refusals are the caller's fault.
pub(super) fn refusal(code: &str, message: impl Into<String>) -> ApiError {
    let status = if code == "ResourceNotFound" { 404 } else { 400 };
    ApiError { code: code.to_owned(), status, message: message.into() }
}

pub(super) fn missing_parameter(parameter: &str) -> ApiError {
    refusal("MissingParameter", format!("The parameter {parameter} is required."))
}

pub(super) fn invalid_value(message: impl Into<String>) -> ApiError {
    refusal("InvalidParameterValue", message)
}

pub(super) fn invalid_combination(message: impl Into<String>) -> ApiError {
    refusal("InvalidParameterCombination", message)
}

pub(super) fn validation_error(message: impl Into<String>) -> ApiError {
    refusal("ValidationError", message)
}

/// The order of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Rising,
    Falling,
}

/// The parameter for the number of items on a page.
pub(super) const PAGE_SIZE: &str = "MaxRecords";

/// A page of `items` in the order of their keys, which are unique. The token is the last key of a page, so that items which
/// come or go between two calls neither repeat nor hide others.
pub(super) fn page<T>(
    input: &Document,
    most: i64,
    order: Order,
    items: Vec<T>,
    key: impl Fn(&T) -> String,
) -> Result<(Vec<T>, Option<String>)> {
    let size = match input.integer(PAGE_SIZE)? {
        None => most,
        Some(wanted) if (1..=most).contains(&wanted) => wanted,
        Some(wanted) => {
            return Err(validation_error(format!(
                "1 validation error detected: Value '{wanted}' at '{PAGE_SIZE}' failed to satisfy constraint: Member must \
                 have value between 1 and {most}"
            )));
        }
    };
    let wrong = || refusal("InvalidNextToken", "The next token specified is invalid.");
    let after =
        input.text("NextToken").map(|token| decode_page_token(token).ok_or_else(wrong)).transpose()?;
    let mut keyed: Vec<(String, T)> = items.into_iter().map(|item| (key(&item), item)).collect();
    keyed.sort_by(|(a, _), (b, _)| if order == Order::Rising { a.cmp(b) } else { b.cmp(a) });
    if let Some(after) = after {
        keyed.retain(|(key, _)| if order == Order::Rising { *key > after } else { *key < after });
    }
    let size = usize::try_from(size).unwrap_or(100);
    let has_more = keyed.len() > size;
    keyed.truncate(size);
    let token = keyed.last().filter(|_| has_more).map(|(key, _)| encode_page_token(key));
    Ok((keyed.into_iter().map(|(_, item)| item).collect(), token))
}

/// The answer of an action that returns nothing.
pub(super) fn empty_result() -> Document {
    Fields::new().done()
}

pub(super) fn read_dimensions(input: &Document) -> Result<Dimensions> {
    let mut dimensions = Dimensions::new();
    for item in input.items("Dimensions") {
        let (name, value) = (item.required("Name")?, item.required("Value")?);
        if dimensions.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(invalid_value(format!("Duplicate dimension name {name} is not allowed.")));
        }
    }
    if dimensions.len() > 30 {
        return Err(invalid_value("No more than 30 dimensions may be given."));
    }
    Ok(dimensions)
}

pub(super) fn write_dimensions(dimensions: &Dimensions) -> Document {
    write_pairs("Name", dimensions)
}

/// A list of structures with the members `key` and `Value`.
pub(super) fn write_pairs(key: &str, pairs: &BTreeMap<String, String>) -> Document {
    let pairs = pairs
        .iter()
        .map(|(name, value)| Fields::new().with(key, name.as_str()).with("Value", value.as_str()).done());
    Document::List(pairs.collect())
}
