//! Text of which nobody knows that it is UTF-8.
//!
//! Names of roles and databases are shared by all databases of a server, each in the encoding of the database that it was
//! created from; a database with the encoding SQL_ASCII keeps whatever bytes it is given. psql and pg_dump pass such text
//! on as it is. Here it is shown with an escape for each byte that is not UTF-8, so that it can be compared and told.

use std::error::Error;

use tokio_postgres::types::{FromSql, Type};

/// Says that a session wants the text of a database with the encoding SQL_ASCII as it is; the server would refuse to send
/// what is not UTF-8.
pub(crate) const AS_IT_IS: &str = "select set_config('client_encoding', 'SQL_ASCII', false) \
                            where current_setting('server_encoding') = 'SQL_ASCII'";

/// A text as the server sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RawText {
    text: String,
    is_utf8: bool,
}

impl RawText {
    /// The text, with `\xe9` for a byte that is not UTF-8.
    pub(crate) fn into_string(self) -> String {
        self.text
    }

    /// Whether every byte was UTF-8: only then does the text mean the same in a query.
    pub(crate) fn is_utf8(&self) -> bool {
        self.is_utf8
    }
}

impl From<&[u8]> for RawText {
    fn from(bytes: &[u8]) -> Self {
        let mut text = String::with_capacity(bytes.len());
        let mut is_utf8 = true;
        for chunk in bytes.utf8_chunks() {
            text.push_str(chunk.valid());
            for byte in chunk.invalid() {
                is_utf8 = false;
                text.push_str(&format!("\\x{byte:02x}"));
            }
        }
        RawText { text, is_utf8 }
    }
}

impl<'a> FromSql<'a> for RawText {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(RawText::from(raw))
    }

    fn accepts(of: &Type) -> bool {
        <&str as FromSql>::accepts(of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_not_utf8_are_escaped_one_by_one() {
        let text = RawText::from(&b"n\xe9\xffm"[..]);
        assert!(!text.is_utf8());
        assert_eq!(text.into_string(), r"n\xe9\xffm");
        let text = RawText::from("né".as_bytes());
        assert!(text.is_utf8());
        assert_eq!(text.into_string(), "né");
    }
}
