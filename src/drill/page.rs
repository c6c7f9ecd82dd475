//! The page of a drill.
use super::report::Report;

pub(super) fn render(report: &Report, json: &[u8]) -> String {
    format!("{} {}", report.run, json.len())
}
