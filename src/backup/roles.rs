//! Which roles the statements of a dump name: owners, and those who were granted something.

use std::collections::BTreeSet;

use super::token::{Statement, Token, TokenKind};

/// Words that stand where a role does and are none.
const NOT_ROLES: [&str; 4] = ["public", "current_user", "current_role", "session_user"];

/// Adds the roles that a statement names.
pub(super) fn note_roles(statement: &Statement<'_>, roles: &mut BTreeSet<String>) {
    let words = Words(*statement);
    let begins = |start: &[&str]| start.iter().enumerate().all(|(at, word)| words.is(at, word));
    for at in 0..statement.tokens.len() {
        if words.is(at, "owner") && words.is(at + 1, "to") {
            words.take_list(at + 2, roles);
        }
    }
    if begins(&["grant"]) || begins(&["revoke"]) || begins(&["alter", "default", "privileges"]) {
        for at in words.at_top_level() {
            let is_list = (words.is(at, "to") || words.is(at, "from"))
                || (words.is(at, "role") && at > 0 && words.is(at - 1, "for"))
                || (words.is(at, "by") && at > 0 && words.is(at - 1, "granted"));
            if is_list {
                words.take_list(at + 1, roles);
            }
        }
    } else if begins(&["create", "policy"]) {
        words.at_top_level().filter(|at| words.is(*at, "to")).for_each(|at| words.take_list(at + 1, roles));
    } else if begins(&["create", "schema"]) {
        let at = words.at_top_level().find(|at| words.is(*at, "authorization"));
        at.into_iter().for_each(|at| words.take_list(at + 1, roles));
    } else if begins(&["create", "user", "mapping", "for"]) {
        words.take_list(4, roles);
    } else if begins(&["alter", "role"]) && (words.is(3, "in") || words.is(3, "set")) {
        words.take_list(2, roles);
    }
}

struct Words<'a>(Statement<'a>);

impl Words<'_> {
    fn text(&self, token: &Token) -> String {
        String::from_utf8_lossy(&self.0.text[token.span.clone()]).into_owned()
    }

    fn is(&self, at: usize, word: &str) -> bool {
        self.0
            .tokens
            .get(at)
            .is_some_and(|token| token.kind == TokenKind::Word && self.text(token).eq_ignore_ascii_case(word))
    }

    fn is_symbol(&self, at: usize, symbol: &str) -> bool {
        let token = self.0.tokens.get(at);
        token.is_some_and(|token| token.kind == TokenKind::Symbol && self.text(token) == symbol)
    }

    /// Where tokens stand outside of brackets.
    fn at_top_level(&self) -> impl Iterator<Item = usize> {
        let mut depth = 0_i32;
        let outside = (0..self.0.tokens.len()).filter(|at| {
            depth += i32::from(self.is_symbol(*at, "(")) - i32::from(self.is_symbol(*at, ")"));
            depth == 0
        });
        outside.collect::<Vec<_>>().into_iter()
    }

    /// The names from `at` on that commas divide.
    fn take_list(&self, mut at: usize, roles: &mut BTreeSet<String>) {
        loop {
            at += usize::from(self.is(at, "group"));
            let Some(token) = self.0.tokens.get(at) else { return };
            let text = self.text(token);
            match token.kind {
                TokenKind::Word if NOT_ROLES.contains(&text.to_ascii_lowercase().as_str()) => {}
                TokenKind::Word => drop(roles.insert(text.to_ascii_lowercase())),
                TokenKind::Quoted => drop(roles.insert(text[1..text.len() - 1].replace("\"\"", "\""))),
                _ => return,
            }
            if !self.is_symbol(at + 1, ",") {
                return;
            }
            at += 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::sql_lexer::{Lexer, Piece};

    fn roles_of(script: &str) -> Vec<String> {
        let (mut lexer, mut roles) = (Lexer::new(), BTreeSet::new());
        let mut take = |piece: Piece<'_>| {
            if let Piece::Statement(statement) = piece {
                note_roles(&statement, &mut roles);
            }
            Ok(())
        };
        lexer.feed(script.as_bytes(), &mut take).unwrap();
        lexer.finish(&mut take).unwrap();
        roles.into_iter().collect()
    }

    #[test]
    fn roles_are_found_wherever_pg_dump_names_them() {
        for (script, roles) in [
            ("ALTER TABLE public.t OWNER TO \"Ann \"\"A\"\"\";", vec!["Ann \"A\""]),
            ("GRANT SELECT(a),UPDATE(b) ON TABLE public.t TO reader WITH GRANT OPTION;", vec!["reader"]),
            ("GRANT ALL ON SCHEMA s TO PUBLIC;", vec![]),
            ("REVOKE ALL ON FUNCTION f(\"to\" integer) FROM a;", vec!["a"]),
            (
                "ALTER DEFAULT PRIVILEGES FOR ROLE boss IN SCHEMA s GRANT SELECT ON TABLES TO reader;",
                vec!["boss", "reader"],
            ),
            ("CREATE POLICY p ON public.t FOR SELECT TO a, b USING ((owner = 'x'::text));", vec!["a", "b"]),
            ("CREATE SCHEMA s AUTHORIZATION me;", vec!["me"]),
            ("CREATE USER MAPPING FOR remote SERVER s OPTIONS (\"user\" 'x');", vec!["remote"]),
            ("ALTER ROLE me IN DATABASE app SET work_mem TO '1MB';", vec!["me"]),
            ("GRANT SELECT ON t TO a GRANTED BY b;", vec!["a", "b"]),
            ("CREATE TABLE t (\"to\" text, owner text);", vec![]),
            ("ALTER TABLE t ALTER COLUMN c SET DEFAULT 'owner to x';", vec![]),
        ] {
            assert_eq!(roles_of(script), roles, "{script}");
        }
    }
}
