//! Which file a URL of SQLite means: frameworks disagree on what three slashes are, on what is percent-encoded, and on which
//! directory a path begins at.
//!
//! A URL that can be read in several ways means the file that is there: decoded as URLs are first, as it was written second. Where an
//! absolute path and a relative one are both there, none is taken.

use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The file that a URL of SQLite names; `None` if it is no such URL.
///
/// `sqlite:///path` is absolute, and relative to Rails, Django and SQLAlchemy; `sqlite+driver:///path` is SQLAlchemy's and
/// relative; `file:path` is relative, to Prisma below `prisma/`.
pub(crate) fn sqlite_path(url: &str) -> Result<Option<PathBuf>> {
    let Some(readings) = read_url_variants(url.trim())? else { return Ok(None) };
    match readings.existing().as_slice() {
        [] => Ok(readings.all().next().cloned()),
        [one] => Ok(Some(one.clone())),
        [one, other, ..] => Err(refuse_ambiguous(one, other, "both exist")),
    }
}

/// The file that a URL names, which may be lost: the one that is `recorded`, if the URL can mean that; otherwise the one that
/// is there. Where it can mean several and there is none, it is refused.
pub(crate) fn sqlite_destination(url: &str, recorded: Option<&str>) -> Result<Option<PathBuf>> {
    let Some(readings) = read_url_variants(url.trim())? else { return Ok(None) };
    let is_recorded =
        |path: &&PathBuf| absolute_path(path).to_str().is_some_and(|path| recorded == Some(path));
    if let Some(known) = readings.all().find(is_recorded) {
        return Ok(Some(known.clone()));
    }
    match readings.existing().as_slice() {
        [] => {}
        [one] => return Ok(Some(one.clone())),
        [one, other, ..] => return Err(refuse_ambiguous(one, other, "both exist")),
    }
    let mut possible: Vec<PathBuf> = Vec::new();
    for path in readings.all().map(|path| absolute_path(path)) {
        if path.parent().is_some_and(Path::is_dir) && !possible.contains(&path) {
            possible.push(path);
        }
    }
    match possible.as_slice() {
        [one, other, ..] => Err(refuse_ambiguous(one, other, "neither exists")),
        _ => Ok(readings.all().next().cloned()),
    }
}

/// Those at which something lies, each file once.
fn existing_paths(readings: &[PathBuf]) -> Vec<PathBuf> {
    let mut found: Vec<(PathBuf, PathBuf)> = Vec::new();
    for reading in readings {
        // A link that leads nowhere is something, too.
        let is_there = reading.symlink_metadata().is_ok_and(|found| !found.is_dir());
        let whole = std::fs::canonicalize(reading).unwrap_or_else(|_| absolute_path(reading));
        if is_there && !whole.is_dir() && !found.iter().any(|(_, other)| *other == whole) {
            found.push((reading.clone(), whole));
        }
    }
    found.into_iter().map(|(reading, _)| reading).collect()
}

fn refuse_ambiguous(one: &Path, other: &Path, why: &str) -> Error {
    let from_root = |path: &Path| sqlite_url(&absolute_path(path)).replacen("//", "///", 1);
    Error::request(format!("the SQLite URL can mean `{}` or `{}`, and {why}", one.display(), other.display()))
        .hint(format!(
            "Name the right one with four slashes, and with `%25` for a percent sign: `{}` or `{}`.",
            from_root(one),
            from_root(other)
        ))
}

/// The URL that means a file.
pub(crate) fn sqlite_url(path: &Path) -> String {
    /// What a path may hold as it is; the rest would mean something else in a URL, or end it.
    const PLAIN: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS
        .add(b'%')
        .add(b'?')
        .add(b'#')
        .add(b' ')
        .add(b'"')
        .add(b'<')
        .add(b'>')
        .add(b'`');
    format!("sqlite://{}", percent_encoding::percent_encode(path.as_os_str().as_bytes(), PLAIN))
}

/// The paths that a URL can mean, the usual one first.
struct Readings {
    /// With what is percent-encoded decoded, as URLs are meant.
    decoded: Vec<PathBuf>,
    /// As it was written: some frameworks decode nothing. These count only where there is nothing at the others.
    as_written: Vec<PathBuf>,
}

impl Readings {
    fn all(&self) -> impl Iterator<Item = &PathBuf> {
        self.decoded.iter().chain(&self.as_written)
    }

    /// Those at which something lies, each file once.
    fn existing(&self) -> Vec<PathBuf> {
        match existing_paths(&self.decoded) {
            none if none.is_empty() => existing_paths(&self.as_written),
            found => found,
        }
    }
}

/// The paths that it can mean.
fn read_url_variants(url: &str) -> Result<Option<Readings>> {
    let url = match url.get(..5) {
        Some(start) if start.eq_ignore_ascii_case("jdbc:") => &url[5..],
        _ => url,
    };
    let Some((scheme, rest)) = url.split_once(':') else { return Ok(None) };
    let scheme = scheme.to_ascii_lowercase();
    let (kind, driver) =
        scheme.split_once('+').map_or((scheme.as_str(), None), |(kind, it)| (kind, Some(it)));
    if !["sqlite", "sqlite3", "spatialite", "file"].contains(&kind) || driver == Some("") {
        return Ok(None);
    }
    // Where no `key=value` follows, a question mark belongs to the name; a `#` always does, since no part of a file is meant.
    let is_parameter = |pair: &str| pair.is_empty() || pair.find('=').is_some_and(|at| at > 0);
    let (path, query) = match rest.split_once('?') {
        Some((path, query)) if query.split('&').all(is_parameter) => (path, query),
        _ => (rest, ""),
    };
    let path = path.strip_prefix("//localhost/").map_or(path.to_owned(), |path| format!("///{path}"));
    let mut texts = Vec::new();
    match path.strip_prefix("//") {
        // Four slashes: an absolute path to everybody.
        Some(path) if path.starts_with("//") => texts.push(path[1..].to_owned()),
        Some(path) if path.starts_with('/') => {
            let relative = path[1..].to_owned();
            match (kind, driver) {
                (_, Some(_)) => texts.push(relative),
                ("file", None) => texts.push(path.to_owned()),
                _ => texts.extend([path.to_owned(), relative]),
            }
        }
        Some(path) => texts.push(path.to_owned()),
        None => texts.push(path.clone()),
    }
    // SQLAlchemy: `sqlite+pysqlite:///file:app.db?uri=true`. Without that, a name may begin so.
    let is_uri = query.split('&').any(|pair| pair.eq_ignore_ascii_case("uri=true"));
    let inner = |text: &String| text.strip_prefix("file:").or(text.strip_prefix("/file:")).map(str::to_owned);
    let inner: Vec<String> = texts.iter().filter_map(inner).collect();
    texts = if is_uri { [inner, texts].concat() } else { [texts, inner].concat() };
    let in_memory = |text: &String| text.trim_matches('/').is_empty() || text.contains(":memory:");
    if texts.iter().all(in_memory) || query.split('&').any(|pair| pair == "mode=memory") {
        return Err(Error::request("the SQLite URL names an in-memory database, which cannot be backed up")
            .hint("Name the file, as in `sqlite:///absolute/path/of.db`."));
    }
    let is_of_prisma = kind == "file" && driver.is_none();
    let paths = |bytes_of: &dyn Fn(&str) -> Vec<u8>| -> Vec<PathBuf> {
        let mut paths: Vec<PathBuf> = Vec::new();
        for text in &texts {
            let path = PathBuf::from(std::ffi::OsString::from_vec(bytes_of(text)));
            if !path.as_os_str().is_empty() && !paths.contains(&path) {
                paths.push(path);
            }
        }
        if is_of_prisma && paths.first().is_some_and(|path| path.is_relative()) {
            let below: Vec<PathBuf> = paths.iter().map(|path| Path::new("prisma").join(path)).collect();
            paths.extend(below);
        }
        paths
    };
    let decoded = paths(&|text| percent_encoding::percent_decode_str(text).collect());
    let as_written = paths(&|text| text.as_bytes().to_vec());
    Ok(Some(Readings { decoded, as_written }))
}

/// A path as it is meant, whatever the working directory becomes.
pub(super) fn absolute_path(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(url: &str) -> String {
        match read_url_variants(url) {
            Ok(Some(readings)) => readings.decoded[0].display().to_string(),
            Ok(None) => "none".to_owned(),
            Err(error) => error.chain(),
        }
    }

    #[test]
    fn a_url_means_the_file_that_its_framework_means() {
        for (url, path) in [
            ("sqlite:///srv/app.db", "/srv/app.db"),
            ("sqlite:////srv/app.db", "/srv/app.db"),
            ("sqlite:./app.db", "./app.db"),
            ("sqlite3:db/dev.sqlite3", "db/dev.sqlite3"),
            ("sqlite://app.db", "app.db"),
            ("sqlite+aiosqlite:///app.db", "app.db"),
            ("sqlite+aiosqlite:////srv/app.db", "/srv/app.db"),
            ("sqlite+pysqlite:///file:app.db?mode=ro&uri=true", "app.db"),
            ("SQLite+pysqlcipher:///a%20b.db", "a b.db"),
            ("spatialite:////srv/geo.db", "/srv/geo.db"),
            ("jdbc:sqlite:/srv/app.db", "/srv/app.db"),
            ("jdbc:sqlite:app.db?cache=shared", "app.db"),
            ("file:./dev.db", "./dev.db"),
            ("file:/srv/app.db?mode=ro", "/srv/app.db"),
            ("file:///srv/app.db", "/srv/app.db"),
            ("file://localhost/srv/app.db", "/srv/app.db"),
            ("postgresql://h/d", "none"),
            ("sqlite+:///x", "none"),
        ] {
            assert_eq!(first(url), path, "{url}");
        }
        for url in [
            "sqlite://",
            "sqlite::memory:",
            "sqlite:///:memory:",
            "sqlite+aiosqlite://",
            "file::memory:?cache=shared",
            "file:x?mode=memory",
        ] {
            assert!(first(url).contains("in-memory"), "{url}: {}", first(url));
        }
    }

    #[test]
    fn of_several_readings_the_file_that_is_there_is_meant() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let url = |name: &str| format!("sqlite://{}", at(name).display());
        std::fs::write(at("a%20b.db"), "").unwrap();
        assert_eq!(sqlite_path(&url("a%20b.db")).unwrap(), Some(at("a%20b.db")));
        std::fs::write(at("a b.db"), "").unwrap();
        // Where both are there, the URL is read as one.
        assert_eq!(sqlite_path(&url("a%20b.db")).unwrap(), Some(at("a b.db")));
        assert_eq!(sqlite_path(&url("a%2520b.db")).unwrap(), Some(at("a%20b.db")));
        let here = tempfile::tempdir_in(".").unwrap();
        let name = here.path().file_name().unwrap().to_str().unwrap();
        std::fs::write(here.path().join("d.db"), "").unwrap();
        assert_eq!(
            sqlite_path(&format!("sqlite:///{name}/d.db")).unwrap(),
            Some(Path::new(name).join("d.db"))
        );
        std::fs::write(at("c#1.db"), "").unwrap();
        assert_eq!(sqlite_path(&url("c#1.db")).unwrap(), Some(at("c#1.db")));
        assert_eq!(sqlite_path(&url("new.db")).unwrap(), Some(at("new.db")));
    }

    #[test]
    fn a_url_means_the_path_that_it_was_made_of() {
        for path in ["/a b/c.db", "/a#b?c%41.db", "/\u{fc}/x", "/srv/app.db"] {
            let url = sqlite_url(Path::new(path));
            assert_eq!(sqlite_path(&url).unwrap(), Some(PathBuf::from(path)), "{url}");
        }
        for (url, first) in [
            ("sqlite:////srv/app.db", "/srv/app.db"),
            ("sqlite:///srv/app.db?mode=ro&cache=shared", "/srv/app.db"),
            ("sqlite:///srv/what?.db", "/srv/what?.db"),
            ("sqlite:///srv/a#b.db", "/srv/a#b.db"),
            ("sqlite:app.db", "app.db"),
            ("sqlite://app.db", "app.db"),
        ] {
            assert_eq!(sqlite_path(url).unwrap(), Some(PathBuf::from(first)), "{url}");
        }
        assert_eq!(sqlite_path("postgresql://h/d").unwrap(), None);
    }

    #[test]
    fn of_a_lost_file_the_recorded_path_decides() {
        let here = std::env::current_dir().unwrap().join("nowhere.db");
        let decided = |recorded| sqlite_destination("sqlite:///nowhere.db", recorded);
        assert_eq!(decided(here.to_str()).unwrap(), Some(PathBuf::from("nowhere.db")));
        assert_eq!(decided(Some("/nowhere.db")).unwrap(), Some(PathBuf::from("/nowhere.db")));
        assert!(decided(Some("/elsewhere.db")).unwrap_err().chain().contains("can mean"));
        assert!(decided(None).is_err());
    }
}
