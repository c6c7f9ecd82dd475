//! A plain SQL dump for a database of another name.
//!
//! pg_dump `--create` writes the name of the database into its script: it drops, makes and connects to it, and sets its
//! owner, rights, comment and settings. Those statements, and no others, are made to speak of another database: they are
//! recognised by the comment that pg_dump puts before each object (`-- Name: …; Type: DATABASE; …`).

use super::script::{Piece, Splitter, identifier};
use crate::postgres::quoted;

/// Rewrites a dump as it streams by.
pub(super) struct Renamed {
    splitter: Splitter,
    rewriter: Rewriter,
}

struct Rewriter {
    database: String,
    is_of_database: bool,
}

impl Renamed {
    /// For `database`, which exists already when the script runs.
    pub(super) fn new(database: &str) -> Self {
        // What stands before the first object drops the database.
        let rewriter = Rewriter { database: database.to_owned(), is_of_database: true };
        Renamed { splitter: Splitter::new(), rewriter }
    }

    /// Takes the next bytes of the dump, and gives what is to be run instead.
    pub(super) fn feed(&mut self, bytes: &[u8], give: &mut dyn FnMut(&[u8])) {
        let rewriter = &mut self.rewriter;
        self.splitter.feed(bytes, &mut |piece| rewriter.take(piece, give));
    }

    /// What is left.
    pub(super) fn finish(&mut self, give: &mut dyn FnMut(&[u8])) {
        let rewriter = &mut self.rewriter;
        self.splitter.finish(&mut |piece| rewriter.take(piece, give));
    }
}

impl Rewriter {
    fn take(&mut self, piece: Piece<'_>, give: &mut dyn FnMut(&[u8])) {
        let Piece::Line(line) = piece else { return give(piece.bytes()) };
        if line.starts_with(b"-- Name: ") {
            self.is_of_database = is_of_database(line);
        } else if line.starts_with(b"-- Data for Name: ") {
            self.is_of_database = false;
        }
        if !self.is_of_database {
            return give(line);
        }
        let is_dropped = [&b"DROP DATABASE "[..], b"CREATE DATABASE ", b"\\connect "];
        if is_dropped.iter().any(|start| line.starts_with(start)) {
            return;
        }
        match renamed(line, &self.database) {
            Some(renamed) => give(renamed.as_bytes()),
            None => give(line),
        }
    }
}

/// `-- Name: DATABASE app; Type: ACL; Schema: -; Owner: me`
fn is_of_database(line: &[u8]) -> bool {
    let text = String::from_utf8_lossy(line);
    let Some((name, rest)) = text.trim_start_matches("-- Name: ").rsplit_once("; Type: ") else {
        return false;
    };
    let kind = rest.split(';').next().unwrap_or_default();
    match kind {
        "DATABASE" | "DATABASE PROPERTIES" => true,
        "ACL" | "COMMENT" | "SECURITY LABEL" => name.starts_with("DATABASE "),
        _ => false,
    }
}

/// A statement on a database, for another one.
fn renamed(line: &[u8], database: &str) -> Option<String> {
    let text = std::str::from_utf8(line).ok()?;
    let starts =
        ["ALTER DATABASE ", "COMMENT ON DATABASE ", "GRANT ", "REVOKE ", "ALTER ROLE ", "SECURITY LABEL "];
    starts.iter().find(|start| text.starts_with(**start))?;
    let word = "DATABASE ";
    let at = text.find(word)? + word.len();
    let (_, rest) = identifier(&text[at..])?;
    Some(format!("{}{}{rest}", &text[..at], quoted(database)))
}

/// `CREATE DATABASE …;` for a database of another name.
pub(super) fn create_statement(line: &str, database: &str) -> Option<String> {
    let (_, rest) = identifier(line.strip_prefix("CREATE DATABASE ")?)?;
    Some(format!("CREATE DATABASE {}{}", quoted(database), rest.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_on_the_database_speak_of_the_new_one_and_no_others_are_touched() {
        let dump = "SET row_security = off;\n\nDROP DATABASE IF EXISTS app;\n--\n\
            -- Name: app; Type: DATABASE; Schema: -; Owner: me\n--\n\nCREATE DATABASE app WITH TEMPLATE = template0;\n\n\n\
            ALTER DATABASE app OWNER TO me;\n\n\\connect app\n\n--\n-- Name: DATABASE app; Type: COMMENT; Schema: -; Owner: me\n--\n\n\
            COMMENT ON DATABASE app IS 'ON DATABASE app';\n\n--\n-- Name: app; Type: DATABASE PROPERTIES; Schema: -; Owner: me\n--\n\n\
            ALTER DATABASE app SET work_mem TO '8MB';\nALTER ROLE me IN DATABASE app SET x.y TO '1';\n\n\\connect app\n\n\
            --\n-- Name: f(); Type: FUNCTION; Schema: public; Owner: me\n--\n\nCREATE FUNCTION f() AS $$\nALTER DATABASE app OWNER TO me;\n\\connect app\n$$;\n\n\
            --\n-- Data for Name: t; Type: TABLE DATA; Schema: public; Owner: me\n--\n\nCOPY public.t (a) FROM stdin;\n\
            GRANT ALL ON DATABASE app TO me;\n\\.\n\n--\n-- Name: DATABASE app; Type: ACL; Schema: -; Owner: me\n--\n\n\
            GRANT CONNECT ON DATABASE app TO you;\n";
        let expected = "SET row_security = off;\n\n--\n\
            -- Name: app; Type: DATABASE; Schema: -; Owner: me\n--\n\n\n\n\
            ALTER DATABASE \"n\" OWNER TO me;\n\n\n--\n-- Name: DATABASE app; Type: COMMENT; Schema: -; Owner: me\n--\n\n\
            COMMENT ON DATABASE \"n\" IS 'ON DATABASE app';\n\n--\n-- Name: app; Type: DATABASE PROPERTIES; Schema: -; Owner: me\n--\n\n\
            ALTER DATABASE \"n\" SET work_mem TO '8MB';\nALTER ROLE me IN DATABASE \"n\" SET x.y TO '1';\n\n\n\
            --\n-- Name: f(); Type: FUNCTION; Schema: public; Owner: me\n--\n\nCREATE FUNCTION f() AS $$\nALTER DATABASE app OWNER TO me;\n\\connect app\n$$;\n\n\
            --\n-- Data for Name: t; Type: TABLE DATA; Schema: public; Owner: me\n--\n\nCOPY public.t (a) FROM stdin;\n\
            GRANT ALL ON DATABASE app TO me;\n\\.\n\n--\n-- Name: DATABASE app; Type: ACL; Schema: -; Owner: me\n--\n\n\
            GRANT CONNECT ON DATABASE \"n\" TO you;\n";
        for size in [1, 7, dump.len()] {
            let (mut filter, mut out) = (Renamed::new("n"), Vec::new());
            for piece in dump.as_bytes().chunks(size) {
                filter.feed(piece, &mut |bytes| out.extend_from_slice(bytes));
            }
            filter.finish(&mut |bytes| out.extend_from_slice(bytes));
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn a_database_is_made_as_its_source_was() {
        let line =
            "CREATE DATABASE \"Odd \"\"db\" WITH TEMPLATE = template0 ENCODING = 'UTF8' LOCALE = 'C';\n";
        let statement = create_statement(line, "copy").unwrap();
        assert_eq!(
            statement,
            "CREATE DATABASE \"copy\" WITH TEMPLATE = template0 ENCODING = 'UTF8' LOCALE = 'C';"
        );
    }
}
