//! Which databases, backups, drills and runs are shown. The form is sent to the server, so that it works without a script; the
//! answer at the top and what is to be done are never filtered.

use maud::{Markup, html};

/// Longer texts are cut.
const LONGEST: usize = 200;

/// The filter of a page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Filter {
    /// All of its words must occur, regardless of case.
    text: String,
    /// Only what needs attention.
    only_findings: bool,
}

impl Filter {
    /// From the query string.
    pub(super) fn of(query: Option<&str>) -> Self {
        let mut filter = Filter::default();
        for (key, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            match key.as_ref() {
                "q" => filter.text = value.trim().chars().take(LONGEST).collect(),
                "only" => filter.only_findings = value == "findings",
                _ => {}
            }
        }
        filter
    }

    fn is_on(&self) -> bool {
        !self.text.is_empty() || self.only_findings
    }

    /// Whether something is shown, by its texts; `is_fine` means that it needs no attention.
    pub(super) fn shows(&self, texts: &[&str], is_fine: bool) -> bool {
        let texts: Vec<String> = texts.iter().map(|text| text.to_lowercase()).collect();
        let mut words = self.text.split_whitespace().map(str::to_lowercase);
        !(self.only_findings && is_fine) && words.all(|word| texts.iter().any(|text| text.contains(&word)))
    }

    /// How many are shown, if not all.
    pub(super) fn count(&self, shown: usize, all: usize) -> Markup {
        html! { @if self.is_on() { (shown) " of " (all) " shown · " } }
    }

    pub(super) fn form(&self) -> Markup {
        html! {
            form.filter role="search" method="get" action="/" {
                label.unseen for="q" { "Search databases, backups, drills and runbooks" }
                input id="q" type="search" name="q" value=(self.text) maxlength=(LONGEST) placeholder="Search databases, backups, drills" autocomplete="off" spellcheck="false";
                label.check { input type="checkbox" name="only" value="findings" checked[self.only_findings]; "Only with findings" }
                button type="submit" { "Search" }
                @if self.is_on() { a href="/" { "Show all" } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_must_be_somewhere_and_an_empty_search_shows_all() {
        let filter = Filter::of(Some("q=+Orders%20SQLITE+&only=x&q2=y"));
        assert!(
            filter.shows(&["orders-prod", "SQLite"], true)
                && !filter.shows(&["orders-prod", "PostgreSQL"], true)
        );
        assert!(Filter::of(None).shows(&[], true) && Filter::of(Some("q=%20")).shows(&["x"], true));
        let filter = Filter::of(Some("q=a&only=findings"));
        assert!(filter.shows(&["A"], false) && !filter.shows(&["A"], true));
        assert_eq!(Filter::of(Some(&format!("q={}", "x".repeat(9000)))).text.len(), LONGEST);
    }
}
