//! Identifiers and texts as SQL that means themselves.

/// An identifier, quoted so that any name means itself.
pub(crate) fn quote_identifier(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

/// A text as an SQL literal that means itself, whatever `standard_conforming_strings` says.
pub(crate) fn quote_literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_is_a_literal_that_means_itself() {
        assert_eq!(quote_literal("it's \\ here"), "E'it''s \\\\ here'");
    }

    #[test]
    fn any_identifier_means_itself() {
        assert_eq!(quote_identifier("Kandidaten \"2026\"; drop"), "\"Kandidaten \"\"2026\"\"; drop\"");
    }
}
