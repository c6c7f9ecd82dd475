//! What definitions say, in whichever of its forms PostgreSQL writes an expression.
//!
//! Expressions are stored as trees and deparsed on demand. When a dump is loaded, PostgreSQL reads what
//! it wrote and may build another tree from it. Its parser has rules of its own for that, and the same is done here, to the text:
//!
//! - A cast that follows `ARRAY[…]` is made of each element (`transformArrayExpr`): `(ARRAY['a'::varchar, 'b'::varchar])::text[]`
//!   comes back as `ARRAY[('a'::varchar)::text, ('b'::varchar)::text]`.
//! - `AND` and `OR` take in what stands in brackets before them (`makeAndExpr`, `makeOrExpr`): `((a AND b) AND c)`, as
//!   BETWEEN leaves it, comes back as `(a AND b AND c)`.
//! - Brackets around a name or a string that is cast make no difference, and not every function of PostgreSQL writes them.
//! - A natural join without a column in common reads `ON TRUE`, and comes back as `ON (true)`.
//!
//! No cast is ignored: a different cast
//! is another definition. It is used only for definitions that differ, and only for copies made with a dump:
//! physical copies have the same trees, and so the same words.

use super::judge::{DefinitionVerdict, Word};
use super::schema::dumped::DUMPED;
use super::schema::{Definitions, Digest, texts_sql};
use crate::error::Result;
use crate::postgres::{AS_IT_IS, RawText, Session};

/// Version of the rule; digests of different versions cannot be compared.
pub(crate) const RECIPE: u32 = 2;

/// Kinds whose definitions PostgreSQL writes from expressions.
const WORDED: [&str; 13] = [
    "columns",
    "constraint",
    "dumped: constraint",
    "function",
    "index",
    "policy",
    "publication",
    "rule",
    "statistics",
    "storage",
    "trigger",
    "type",
    "view",
];

/// Digests of what the definitions of a database say.
pub(crate) async fn read_wordings(session: &Session) -> Result<Definitions> {
    let mut all = Definitions::new();
    session
        .for_each(&texts_sql(session, &WORDED).await?, |row| {
            let (kind, text): (String, RawText) = (row.get(0), row.get(2));
            let kind = kind.strip_prefix(DUMPED).unwrap_or(&kind).to_owned();
            all.entry(kind).or_default().insert(
                row.get::<_, RawText>(1).into_string(),
                Digest::of_text(&normal_form(&text.into_string())),
            );
            Ok(())
        })
        .await?;
    Ok(all)
}

/// The same, of a database that is connected to for nothing else.
pub(super) async fn wordings_apart(session: &Session) -> Result<Definitions> {
    session.execute(AS_IT_IS).await?;
    session.execute("begin read only; set local search_path = pg_catalog; set local jit = off").await?;
    let read = read_wordings(session).await?;
    session.execute("rollback").await?;
    Ok(read)
}

/// Whether a definition that differs says the same on both sides.
pub(crate) fn says_the_same(found: &DefinitionVerdict, left: &Definitions, right: &Definitions) -> bool {
    let of = |all: &Definitions| all.get(&found.kind).and_then(|named| named.get(&found.name)).copied();
    found.verdict == Word::Differs && of(left).is_some() && of(left) == of(right)
}

/// A piece of an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    /// A word, a number, a string, a quoted name, or a symbol.
    Token(String),
    /// What stands in brackets, and the one that opens them.
    Group(char, Vec<Node>),
}

impl Node {
    fn is(&self, text: &str) -> bool {
        matches!(self, Node::Token(token) if token == text)
    }
}

/// The text with its casts of arrays made of their elements, and without the spaces between its tokens.
fn normal_form(text: &str) -> String {
    let mut rest = text;
    let nodes = read_nodes(&mut rest, None);
    let mut written = String::with_capacity(text.len());
    write_nodes(&reread_operators(nodes), &mut written);
    written
}

/// Reads up to the bracket that closes, or to the end. Brackets that do not match stand for themselves.
fn read_nodes(rest: &mut &str, closing: Option<char>) -> Vec<Node> {
    let mut nodes = Vec::new();
    while let Some(first) = rest.chars().next() {
        if first.is_whitespace() {
            *rest = rest.trim_start();
            continue;
        }
        if Some(first) == closing {
            *rest = &rest[1..];
            return nodes;
        }
        if matches!(first, '(' | '[') {
            *rest = &rest[1..];
            nodes.push(Node::Group(first, read_nodes(rest, Some(if first == '(' { ')' } else { ']' }))));
            continue;
        }
        let length = token_length(rest);
        nodes.push(Node::Token(rest[..length].to_owned()));
        *rest = &rest[length..];
    }
    nodes
}

fn token_length(text: &str) -> usize {
    let mut chars = text.char_indices();
    let Some((_, first)) = chars.next() else { return 0 };
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$') || !c.is_ascii();
    match first {
        '\'' | '"' => quoted_length(text, first, false),
        'E' if text[1..].starts_with('\'') => 1 + quoted_length(&text[1..], '\'', true),
        '$' => dollar_length(text).unwrap_or(1),
        // A number and its point are one, a name and the one that follows it are not.
        _ if first.is_ascii_digit() => {
            text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '.')).unwrap_or(text.len())
        }
        _ if is_word(first) => text.find(|c: char| !is_word(c)).unwrap_or(text.len()),
        _ => first.len_utf8(),
    }
}

fn quoted_length(text: &str, quote: char, has_escapes: bool) -> usize {
    let bytes = text.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if has_escapes => at += 2,
            byte if byte == quote as u8 && bytes.get(at + 1) == Some(&byte) => at += 2,
            byte if byte == quote as u8 => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

fn dollar_length(text: &str) -> Option<usize> {
    let tag_end = 1 + text[1..].find('$')?;
    let tag = &text[..=tag_end];
    let is_tag = tag[1..tag_end].chars().all(|c| c.is_alphanumeric() || c == '_');
    let body = text.get(tag.len()..).filter(|_| is_tag)?;
    body.find(tag).map(|end| tag.len() + end + tag.len())
}

/// Words that follow the first one in the names of types.
const WORDS_OF_TYPES: [&str; 14] = [
    "varying",
    "precision",
    "with",
    "without",
    "time",
    "zone",
    "local",
    "to",
    "year",
    "month",
    "day",
    "hour",
    "minute",
    "second",
];

/// The type that is cast to after `::`, if it is one of arrays: the type of the elements, and how many pieces it takes.
fn array_type(nodes: &[Node]) -> Option<(Vec<Node>, usize)> {
    let is_name = |node: &Node| matches!(node, Node::Token(token) if token.starts_with(|c: char| c.is_alphabetic() || c == '_' || c == '"'));
    nodes.first().filter(|node| is_name(node))?;
    let mut at = 1;
    while nodes.get(at).is_some_and(|node| node.is(".")) && nodes.get(at + 1).is_some_and(is_name) {
        at += 2;
    }
    let is_word = |node: &Node| WORDS_OF_TYPES.iter().any(|word| node.is(word));
    let is_modifier = |node: &Node| matches!(node, Node::Group('(', _));
    while nodes.get(at).is_some_and(|node| is_word(node) || is_modifier(node)) {
        at += 1;
    }
    let is_array = |node: &Node| matches!(node, Node::Group('[', inside) if inside.is_empty());
    nodes.get(at).filter(|node| is_array(node))?;
    Some((nodes[..at].to_vec(), at + 1))
}

/// Reads an expression as the parser would, innermost brackets first.
fn reread_operators(nodes: Vec<Node>) -> Vec<Node> {
    let inner = nodes.into_iter().map(|node| match node {
        Node::Group(bracket, inside) => Node::Group(bracket, reread_operators(inside)),
        token => token,
    });
    let mut nodes: Vec<Node> = inner.collect();
    for at in 1..nodes.len() {
        if nodes[at].is("TRUE") && nodes[at - 1].is("ON") {
            nodes[at] = Node::Group('(', vec![Node::Token("true".to_owned())]);
        }
    }
    flatten_operator("OR", flatten_operator("AND", unwrap_operands(push_casts(&nodes))))
}

/// Takes the brackets away from what is cast, where a cast binds no less without them: PostgreSQL writes statistics without.
fn unwrap_operands(nodes: Vec<Node>) -> Vec<Node> {
    let mut unwrapped = Vec::with_capacity(nodes.len());
    for (at, node) in nodes.iter().enumerate() {
        let is_cast = nodes.get(at + 1).is_some_and(|node| node.is(":"))
            && nodes.get(at + 2).is_some_and(|node| node.is(":"));
        // After a name the brackets are those of a call.
        let is_call = at
            .checked_sub(1)
            .is_some_and(|before| matches!(&nodes[before], Node::Token(token) if is_name(token)));
        match node {
            Node::Group('(', inside) if is_cast && !is_call && is_operand(inside) => {
                unwrapped.extend(inside.iter().cloned());
            }
            node => unwrapped.push(node.clone()),
        }
    }
    unwrapped
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || matches!(c, '_' | '"'))
}

/// A string or a name, and what it is cast to.
fn is_operand(nodes: &[Node]) -> bool {
    let is_literal =
        |node: &Node| matches!(node, Node::Token(token) if is_name(token) || token.starts_with('\''));
    let is_of_type = |node: &Node| match node {
        Node::Token(token) => is_name(token) || matches!(token.as_str(), ":" | "."),
        Node::Group(..) => true,
    };
    nodes.first().is_some_and(is_literal)
        && (nodes.len() == 1 || nodes[1].is(":") || nodes[1].is("."))
        && nodes[1..].iter().all(is_of_type)
        && !nodes.windows(2).any(|pair| {
            matches!(pair, [Node::Token(left), Node::Token(right)]
            if is_name(left) && is_name(right) && !WORDS_OF_TYPES.contains(&right.as_str()))
        })
}

/// Takes the brackets away from what stands first in a chain of one operator and is such a chain itself.
fn flatten_operator(operator: &str, mut nodes: Vec<Node>) -> Vec<Node> {
    let has_chain = |nodes: &[Node]| nodes.iter().any(|node| node.is(operator));
    if let [Node::Group('(', inside), next, ..] = &nodes[..]
        && next.is(operator)
        && has_chain(inside)
    {
        let inside = inside.clone();
        nodes.splice(..1, inside);
    }
    nodes
}

/// Makes casts of arrays casts of their elements.
fn push_casts(nodes: &[Node]) -> Vec<Node> {
    let (mut written, mut at) = (Vec::with_capacity(nodes.len()), 0);
    while at < nodes.len() {
        let is_cast = nodes.get(at + 1).is_some_and(|node| node.is(":"))
            && nodes.get(at + 2).is_some_and(|node| node.is(":"));
        // Without brackets it stands in statistics.
        if nodes[at].is("ARRAY")
            && let Some(Node::Group('[', elements)) = nodes.get(at + 1)
            && !elements.is_empty()
            && nodes.get(at + 2).is_some_and(|node| node.is(":"))
            && nodes.get(at + 3).is_some_and(|node| node.is(":"))
            && let Some((element, length)) = array_type(&nodes[at + 4..])
        {
            written.extend(cast_elements(&nodes[at..at + 2], &element));
            at += 4 + length;
            continue;
        }
        let cast = match &nodes[at] {
            Node::Group('(', inside) if is_cast && is_array_of_elements(inside) => {
                array_type(&nodes[at + 3..])
                    .map(|(element, length)| (cast_elements(inside, &element), length))
            }
            _ => None,
        };
        match cast {
            Some((array, length)) => {
                written.extend(array);
                at += 3 + length;
            }
            None => {
                written.push(nodes[at].clone());
                at += 1;
            }
        }
    }
    written
}

/// `ARRAY[…]` and nothing else.
fn is_array_of_elements(nodes: &[Node]) -> bool {
    matches!(nodes, [array, Node::Group('[', inside)] if array.is("ARRAY") && !inside.is_empty())
}

fn cast_elements(array: &[Node], to: &[Node]) -> Vec<Node> {
    let [array, Node::Group(_, elements)] = array else { return array.to_vec() };
    let cast: Vec<Vec<Node>> =
        elements.split(|node| node.is(",")).map(|element| cast_element(element, to)).collect();
    vec![array.clone(), Node::Group('[', cast.join(&Node::Token(",".to_owned())))]
}

fn cast_element(element: &[Node], to: &[Node]) -> Vec<Node> {
    if is_array_of_elements(element) {
        return cast_elements(element, to);
    }
    let colon = || Node::Token(":".to_owned());
    let cast: Vec<Node> = [colon(), colon()].into_iter().chain(to.iter().cloned()).collect();
    // What is of that type already is not cast again.
    if element.len() > cast.len() && element.ends_with(&cast) {
        return element.to_vec();
    }
    unwrap_operands([vec![Node::Group('(', element.to_vec())], cast].concat())
}

fn write_nodes(nodes: &[Node], written: &mut String) {
    for node in nodes {
        match node {
            Node::Token(token) => {
                written.push_str(token);
                written.push(' ');
            }
            Node::Group(bracket, inside) => {
                written.push(*bracket);
                write_nodes(inside, written);
                written.push(if *bracket == '(' { ')' } else { ']' });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn are_one(left: &str, right: &str) -> bool {
        normal_form(left) == normal_form(right)
    }

    #[test]
    fn a_cast_of_an_array_is_one_of_its_elements() {
        for (before, after) in [
            (
                "((s)::text = ANY ((ARRAY['a'::character varying, 'b'::character varying])::text[]))",
                "((s)::text = ANY (ARRAY[('a'::character varying)::text, ('b'::character varying)::text]))",
            ),
            ("(ARRAY[1, 2])::bigint[]", "ARRAY[(1)::bigint, (2)::bigint]"),
            (
                "(ARRAY[ARRAY['a, b'::character varying], ARRAY['c]'::character varying]])::\"S s\".\"t\"[]",
                "ARRAY[ARRAY[('a, b'::character varying)::\"S s\".\"t\"], ARRAY[('c]'::character varying)::\"S s\".\"t\"]]",
            ),
            (
                "f((ARRAY[(x)::timestamp with time zone, now()])::timestamp(3) without time zone[], 1)",
                "f(ARRAY[((x)::timestamp with time zone)::timestamp(3) without time zone, (now())::timestamp(3) without time zone], 1)",
            ),
        ] {
            assert!(are_one(before, after), "{before}: {} and {}", normal_form(before), normal_form(after));
        }
    }

    #[test]
    fn another_cast_is_another_definition() {
        for (left, right) in [
            ("(x)::integer", "(x)::bigint"),
            ("(x)::integer", "x"),
            ("('a'::character varying)::text", "'a'::text"),
            ("(ARRAY['a'::character varying])::text[]", "ARRAY['a'::text]"),
            ("(ARRAY['a'::character varying])::text[]", "ARRAY['a'::character varying]"),
            ("(ARRAY['a'::character varying])::text[]", "(ARRAY['a'::character varying])::bpchar[]"),
            ("(ARRAY['a'::text])::text", "ARRAY[('a'::text)::text]"),
            ("a b", "ab"),
            ("'a b'", "'ab'"),
            ("'(ARRAY[1])::int[]'", "'ARRAY[(1)::int]'"),
            ("(a OR b) AND c", "a OR (b AND c)"),
            ("$$a  b$$", "$$a b$$"),
            ("E'a\\'b c'", "E'a\\'bc'"),
        ] {
            assert!(!are_one(left, right), "{left} and {right}");
        }
    }

    #[test]
    fn a_cast_to_a_type_that_is_none_of_arrays_ends_where_its_name_ends() {
        assert!(are_one(
            "(s::text = ANY (ARRAY['a'::character varying, x]::text[]))",
            "(s::text = ANY (ARRAY['a'::character varying::text, x::text]))"
        ));
        assert!(are_one("((x)::text)::date", "x::text::date"));
        assert!(!are_one("(a + b)::text", "a + b::text") && !are_one("f(x)::text", "fx::text"));
        // What stands second is a tree of its own.
        assert!(are_one("(((a > 1) AND (a < 2)) AND b)", "((a > 1) AND (a < 2) AND b)"));
        assert!(!are_one("(a AND (b AND c))", "(a AND b AND c)"));
        assert!(!are_one("((a OR b) AND c)", "(a OR b AND c)"));
        assert!(are_one("x LEFT JOIN y ON TRUE", "x LEFT JOIN y ON (true)"));
        assert!(!are_one("(ARRAY[a])::text OR b = ARRAY[]::text[]", "ARRAY[(a)::text OR b] = []"));
        assert_eq!(normal_form("(ARRAY[a])::text"), "(ARRAY [a ]): : text ");
    }

    #[test]
    fn odd_brackets_do_no_harm() {
        for text in ["(", ")", "[)", "'", "\"", "$a$", "E'\\", "(ARRAY[", "é", ""] {
            normal_form(text);
        }
    }
}
