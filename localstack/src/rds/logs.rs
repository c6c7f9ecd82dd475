//! The server's log, as RDS lists and returns it. There is one file, which is never rotated.

use std::time::UNIX_EPOCH;

use crate::error::{ApiError, Result};
use crate::rds::paging::{Filters, page};
use crate::rds::request::Request;
use crate::wire::Xml;

const NAME: &str = "error/postgresql.log";
/// The default and maximum number of lines in a portion, and its maximum length.
const LINES: i64 = 10_000;
const LONGEST: usize = 1 << 20;

struct LogFile {
    written_at: u128,
    size: u64,
}

/// The log of an instance, if its server ever wrote one.
fn find_log(request: &Request<'_>) -> Result<(std::path::PathBuf, Option<LogFile>)> {
    let id = request.resolve_identifier("DBInstanceIdentifier")?;
    let resource_id = request.cx.store.read(|state| Ok(request.instance(state, &id)?.resource_id.clone()))?;
    let path = request.cx.home.cluster(&resource_id).log;
    let file = std::fs::metadata(&path).ok().map(|metadata| LogFile {
        written_at: metadata
            .modified()
            .ok()
            .and_then(|at| at.duration_since(UNIX_EPOCH).ok())
            .map_or(0, |since| since.as_millis()),
        size: metadata.len(),
    });
    Ok((path, file))
}

pub(super) fn describe_log_files(request: &Request<'_>) -> Result<Xml> {
    let query = request.query;
    Filters::parse(query, &[])?;
    let (_, file) = find_log(request)?;
    let (since, least) =
        (query.number("FileLastWritten")?.unwrap_or(0), query.number("FileSize")?.unwrap_or(0));
    let found: Vec<LogFile> = file
        .into_iter()
        .filter(|file| {
            query.get("FilenameContains").is_none_or(|part| NAME.contains(part))
                && i128::try_from(file.written_at).is_ok_and(|at| at >= i128::from(since))
                && i128::from(file.size) >= i128::from(least)
        })
        .collect();
    let page = page(query, found, |_| NAME.to_owned())?;
    Ok(page.to_xml("DescribeDBLogFiles", "DescribeDBLogFilesDetails", |xml, file| {
        xml.text("LogFileName", NAME).text("LastWritten", file.written_at).text("Size", file.size);
    }))
}

pub(super) fn download_log_portion(request: &Request<'_>) -> Result<Xml> {
    let query = request.query;
    let name = query.required("LogFileName")?;
    let (path, file) = find_log(request)?;
    if name != NAME || file.is_none() {
        return Err(ApiError::new(
            "DBLogFileNotFoundFault",
            format!("DBLog File: {name}, is not found on the DB instance"),
        ));
    }
    let text = std::fs::read(&path).map_err(|error| ApiError::new("InternalFailure", error.to_string()))?;
    let most = usize::try_from(query.number("NumberOfLines")?.unwrap_or(LINES).clamp(1, LINES)).unwrap_or(1);
    // The marker is the position of the first byte that has not been returned yet.
    let start = match query.get("Marker") {
        None => start_of_last_lines(&text, most),
        Some(marker) => marker
            .parse::<usize>()
            .map_err(|_| ApiError::invalid_value(format!("Invalid marker: {marker}")))?,
    }
    .min(text.len());
    let rest = &text[start..];
    let end = rest.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(most - 1);
    let length = end.map_or(rest.len(), |(at, _)| at + 1).min(LONGEST);
    let mut xml = Xml::with_text("LogFileData", String::from_utf8_lossy(&rest[..length]));
    xml.text("Marker", start + length).text("AdditionalDataPending", start + length < text.len());
    Ok(xml)
}

/// The position at which the last `most` lines begin.
fn start_of_last_lines(text: &[u8], most: usize) -> usize {
    let ends = text.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n');
    ends.map(|(at, _)| at + 1).nth(most).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::start_of_last_lines;

    #[test]
    fn the_last_lines_begin_where_a_line_begins() {
        assert_eq!(start_of_last_lines(b"a\nbb\nccc\n", 1), 5);
        assert_eq!(start_of_last_lines(b"a\nbb\nccc\n", 2), 2);
        assert_eq!(start_of_last_lines(b"a\nbb\nccc\n", 9), 0);
        assert_eq!(start_of_last_lines(b"", 1), 0);
    }
}
