//! Where a vault is, as people write it.

use crate::error::{Error, Result};
use crate::postgres::refuse_quotes;

/// Reads the directory or the URL of a vault. What only a shell or a file of variables would understand is refused: the backups
/// would end up in a directory of that name. `subject` is what gave it.
pub(crate) fn read_location(text: &str, subject: &str) -> Result<String> {
    let text = text.trim();
    refuse_quotes(text, subject)?;
    let refused = |why: &str| Error::request(format!("{subject} {why}"));
    if text.chars().any(char::is_control) {
        return Err(refused("has a control character in it")
            .hint("Write the file of variables with plain line ends, without `\\r`."));
    }
    if text.ends_with(['"', '\'']) {
        return Err(refused("ends with a quote").hint("Remove the quotes: they are part of the value."));
    }
    if text.starts_with('~') {
        return Err(refused("begins with `~`, which only a shell replaces by a home directory")
            .hint("Write the whole path; a directory whose name begins so is `./~…`."));
    }
    if text.starts_with('$') || (text.contains("${") && !text.starts_with("./")) {
        return Err(refused("holds a variable, which only a shell replaces by its value")
            .hint("Write the whole path; a directory that has such a name is `./$…`."));
    }
    if let Some((scheme, _)) = text.split_once(":/").filter(|(scheme, rest)| {
        ["s3", "gs", "az"].iter().any(|store| scheme.eq_ignore_ascii_case(store)) && !rest.starts_with('/')
    }) {
        return Err(refused(&format!("begins with `{scheme}:/`, which is no URL of a bucket")).hint(
            format!("Write `{scheme}://BUCKET/PREFIX`; a directory that has such a name is `./{scheme}:/…`."),
        ));
    }
    Ok(text.to_owned())
}
