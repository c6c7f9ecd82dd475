//! Pages of long answers, and filters.

use crate::error::{ApiError, Result};
use crate::wire::{Query, Xml, decode_page_token, encode_page_token};

/// Part of a list, and where the next part begins.
pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
    marker: Option<String>,
}

impl<T> Page<T> {
    /// The page as the result of an action.
    pub(super) fn to_xml(&self, list: &str, member: &str, write: impl FnMut(&mut Xml, &T)) -> Xml {
        let mut xml = Xml::new();
        self.write_marker(&mut xml);
        xml.list(list, member, &self.items, write);
        xml
    }

    /// Writes the marker, if there is more.
    pub(super) fn write_marker(&self, xml: &mut Xml) {
        xml.maybe("Marker", self.marker.as_ref());
    }
}

/// The page that a request asks for. `key` is unique; the marker of a page is its last key, so that items that come or
/// go between two calls neither repeat nor hide others.
pub(super) fn page<T>(query: &Query, items: Vec<T>, key: impl Fn(&T) -> String) -> Result<Page<T>> {
    page_up_to(query, 100, items, key)
}

/// The same for an action whose pages can have up to `longest` items.
pub(super) fn page_up_to<T>(
    query: &Query,
    longest: i64,
    mut items: Vec<T>,
    key: impl Fn(&T) -> String,
) -> Result<Page<T>> {
    let most = match query.number("MaxRecords")? {
        None => 100,
        Some(most) if (20..=longest).contains(&most) => usize::try_from(most).unwrap_or(100),
        Some(other) => {
            return Err(ApiError::invalid_value(format!(
                "Invalid value {other} for MaxRecords. Must be between 20 and {longest}"
            )));
        }
    };
    items.sort_by_key(&key);
    if let Some(marker) = query.get("Marker") {
        let after = decode_page_token(marker)
            .ok_or_else(|| ApiError::invalid_value(format!("Invalid marker: {marker}")))?;
        items.retain(|item| key(item) > after);
    }
    let has_more = items.len() > most;
    items.truncate(most);
    let marker = items.last().filter(|_| has_more).map(|last| encode_page_token(&key(last)));
    Ok(Page { items, marker })
}

/// The filters of a request.
#[derive(Debug)]
pub(super) struct Filters(Vec<(String, Vec<String>)>);

impl Filters {
    /// # Errors
    ///
    /// When a filter has a name that the action does not know, or no values.
    pub(super) fn parse(query: &Query, known: &[&str]) -> Result<Self> {
        let mut filters = Vec::new();
        for filter in query.structures("Filters", "Filter") {
            let name = filter.get("Name").unwrap_or_default();
            if !known.contains(&name) {
                return Err(ApiError::invalid_value(format!("Unrecognized filter name: {name}")));
            }
            let values = filter.list("Values", "Value").ok_or_else(|| {
                ApiError::invalid_combination(format!(
                    "The values for filter {name} must be specified and must not be blank."
                ))
            })?;
            filters.push((name.to_owned(), values));
        }
        Ok(Self(filters))
    }

    /// Whether the filter `name` admits something that has one of these values. Case is ignored, as in identifiers.
    pub(super) fn admit(&self, name: &str, is: &[&str]) -> bool {
        self.0
            .iter()
            .filter(|(filter, _)| filter == name)
            .all(|(_, values)| values.iter().any(|value| is.iter().any(|is| value.eq_ignore_ascii_case(is))))
    }

    /// The values of filter `name`.
    pub(super) fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(move |(filter, _)| filter == name)
            .flat_map(|(_, values)| values)
            .map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(form: &str, count: u32) -> Result<Page<u32>> {
        page(&Query::parse(form.as_bytes()), (0..count).rev().collect(), |number| format!("{number:04}"))
    }

    #[test]
    fn pages_follow_one_another_without_gap_or_repeat() {
        let mut seen = Vec::new();
        let mut form = "MaxRecords=20".to_owned();
        loop {
            let page = numbers(&form, 45).unwrap();
            seen.extend(page.items.iter().copied());
            match &page.marker {
                Some(marker) => form = format!("MaxRecords=20&Marker={marker}"),
                None => break,
            }
        }
        assert_eq!(seen, (0..45).collect::<Vec<_>>());
    }

    #[test]
    fn a_full_last_page_has_no_marker() {
        assert!(numbers("MaxRecords=20", 20).unwrap().marker.is_none());
        assert!(numbers("MaxRecords=20", 21).unwrap().marker.is_some());
    }

    #[test]
    fn sizes_outside_the_range_and_made_up_markers_are_refused() {
        for form in ["MaxRecords=19", "MaxRecords=101", "Marker=zz", "MaxRecords=x"] {
            assert!(numbers(form, 3).is_err(), "{form}");
        }
    }

    #[test]
    fn filters_join_their_values_with_or_and_each_other_with_and() {
        let query = Query::parse(
            b"Filters.Filter.1.Name=engine&Filters.Filter.1.Values.Value.1=mysql&Filters.Filter.1.Values.Value.2=postgres",
        );
        let filters = Filters::parse(&query, &["engine"]).unwrap();
        assert!(filters.admit("engine", &["postgres"]));
        assert!(!filters.admit("engine", &["oracle-ee"]));
        assert!(filters.admit("other", &["anything"]));
        assert_eq!(Filters::parse(&query, &["status"]).unwrap_err().code, "InvalidParameterValue");
    }
}
