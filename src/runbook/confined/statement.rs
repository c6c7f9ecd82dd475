//! One SQL statement that reads, as PostgreSQL's own lexer would take it apart.
//!
//! It runs in a read-only transaction, and it cannot leave it, since it is one statement. What remains are functions that act
//! outside of transactions (`pg_terminate_backend`, `dblink`, `pg_switch_wal`, `lo_export`, `aws_s3.query_export_to_s3`), so functions are
//! known by name, and functions, views and operators of the database are looked up before it runs.

use std::collections::BTreeSet;

use super::is_listed;
use crate::runbook::values::Values;

/// A statement with its values in place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::runbook) struct Statement {
    pub(in crate::runbook) text: String,
    pub(in crate::runbook) uses: Uses,
}

/// What a statement, or an expression, calls and names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::runbook) struct Uses {
    /// Functions that it calls.
    pub(in crate::runbook) functions: BTreeSet<String>,
    /// Every other name: `t.f` is a call too, if there is a function `f` of a row of `t`.
    pub(in crate::runbook) names: BTreeSet<String>,
    /// Operators, those behind `in`, `like`, `between` and `order by` among them.
    pub(in crate::runbook) operators: BTreeSet<String>,
}

impl Uses {
    /// Adds those of another text.
    pub(in crate::runbook) fn extend(&mut self, other: Uses) {
        self.functions.extend(other.functions);
        self.names.extend(other.names);
        self.operators.extend(other.operators);
    }
}

const BEGINNINGS: [&str; 6] = ["select", "with", "values", "table", "show", "explain"];

/// Keywords of statements that write; the transaction would refuse them as well.
const WRITING: [&str; 12] = [
    "insert", "update", "delete", "merge", "into", "truncate", "copy", "call", "do", "analyze", "analyse",
    "execute",
];

/// Reserved words, and names of types, that no function can have and that stand before a parenthesis.
const BEFORE_PARENTHESES: &str = "all and any array as between bit case cast char character coalesce dec decimal distinct else except \
     exists extract float from greatest group grouping having in intersect interval lateral least limit \
     nchar not nullif numeric offset on only or order overlay position precision returning row select some \
     substring symmetric then time timestamp trim union using values varchar when where with xmlconcat \
     xmlelement xmlexists xmlforest xmlparse xmlpi xmlroot xmlserialize fetch";

/// Functions of PostgreSQL that read, compute or format, and that act on nothing.
const FUNCTIONS: &str = "abs age array_agg array_length array_lower array_position array_positions array_remove array_to_json array_to_string \
    array_upper ascii avg bit_length bool_and bool_or btrim cardinality ceil ceiling char_length character_length chr \
    clock_timestamp col_description concat concat_ws convert_from corr count cume_dist current_database current_schema \
    current_schemas current_setting date date_bin date_part date_trunc decode dense_rank div encode every exp first_value \
    float4 float8 floor format format_type generate_series generate_subscripts has_any_column_privilege has_column_privilege \
    has_database_privilege has_function_privilege has_schema_privilege has_sequence_privilege has_table_privilege hashtext host \
    ilike inet_server_addr inet_server_port initcap int2 int4 int8 isempty isfinite join json_agg json_array_elements \
    json_array_elements_text json_array_length json_build_array json_build_object json_each json_each_text json_extract_path \
    json_extract_path_text json_object_agg json_object_keys json_typeof jsonb_agg jsonb_array_elements jsonb_array_elements_text \
    jsonb_array_length jsonb_build_array jsonb_build_object jsonb_each jsonb_each_text jsonb_extract_path jsonb_extract_path_text \
    jsonb_object_agg jsonb_object_keys jsonb_path_exists jsonb_path_query jsonb_pretty jsonb_typeof justify_days justify_hours \
    justify_interval lag last_value lead left length like ln log lower lpad ltrim make_date make_interval make_time make_timestamp \
    make_timestamptz masklen max md5 min mod mode now nth_value ntile num_nonnulls num_nulls numeric obj_description octet_length \
    overlaps percent_rank percentile_cont percentile_disc pg_blocking_pids pg_column_size pg_current_wal_lsn pg_database_size \
    pg_encoding_to_char pg_get_constraintdef pg_get_expr pg_get_functiondef pg_get_indexdef pg_get_partkeydef \
    pg_get_serial_sequence pg_get_triggerdef pg_get_userbyid pg_get_viewdef pg_has_role pg_indexes_size pg_is_in_recovery \
    pg_last_wal_receive_lsn pg_last_wal_replay_lsn pg_last_xact_replay_timestamp pg_postmaster_start_time pg_relation_size \
    pg_size_bytes pg_size_pretty pg_table_is_visible pg_table_size pg_tablespace_size pg_total_relation_size pg_typeof \
    pg_wal_lsn_diff power quote_ident quote_literal quote_nullable radians random rank regexp_count regexp_match regexp_matches \
    regexp_replace regexp_split_to_array regexp_split_to_table repeat replace reverse right round row_number row_to_json rpad rtrim \
    scale sha224 sha256 sha384 sha512 sign split_part sqrt starts_with statement_timestamp stddev stddev_pop \
    stddev_samp string_agg string_to_array string_to_table strpos substr sum text timeofday timestamptz to_char to_date to_json \
    to_jsonb to_number to_regclass to_regnamespace to_regproc to_regrole to_regtype to_timestamp transaction_timestamp translate \
    trunc unnest upper upper_inf var_pop var_samp variance version width_bucket";

/// Operators that a statement may use without writing them.
const UNWRITTEN: [&str; 9] = ["=", "<>", "<", ">", "<=", ">=", "~~", "~~*", "!~~"];

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// As PostgreSQL folds it.
    Word(String),
    /// Between double quotes.
    Quoted(String),
    /// Anything else.
    Sign(String),
    Literal,
}

impl Token {
    fn is_word(&self, words: &[&str]) -> bool {
        matches!(self, Token::Word(word) if words.contains(&word.as_str()))
    }

    fn is_sign(&self, sign: &str) -> bool {
        matches!(self, Token::Sign(own) if own == sign)
    }

    fn name(&self) -> Option<&str> {
        match self {
            Token::Word(name) | Token::Quoted(name) => Some(name),
            _ => None,
        }
    }
}

impl Statement {
    /// Reads a statement, with `:'name'` replaced by a value as a string and `:"name"` by one as an identifier.
    pub(in crate::runbook) fn read(
        sql: &str,
        values: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, String> {
        let (text, tokens) = Lexer::new(sql, values).read_all()?;
        let first = tokens.first().ok_or("it has no statement")?;
        if !first.is_word(&BEGINNINGS) {
            return Err(format!("a statement that a plan runs begins with one of {}", BEGINNINGS.join(", ")));
        }
        if first.is_word(&["explain"])
            && !tokens
                .get(1)
                .is_some_and(|second| second.is_word(&["select", "with", "values", "table", "verbose"]))
        {
            return Err("of `explain`, a plan runs only `explain select …`, without options".to_owned());
        }
        let uses = judge_tokens(&tokens)?;
        Ok(Statement { text, uses })
    }

    /// The same for a step: every value that it uses must be there.
    pub(in crate::runbook) fn of_step(sql: &str, values: &Values) -> Result<Self, String> {
        Statement::read(sql, &|name| values.get(name).map(str::to_owned))
    }
}

/// Reads what a view or a rule of row security is made of.
pub(in crate::runbook) fn uses_of_expression(text: &str) -> Result<Uses, String> {
    let (_, tokens) = Lexer::new(text, &|_| None).read_all()?;
    judge_tokens(&tokens)
}

fn judge_tokens(tokens: &[Token]) -> Result<Uses, String> {
    let mut uses = Uses { operators: UNWRITTEN.map(str::to_owned).into(), ..Uses::default() };
    for (place, token) in tokens.iter().enumerate() {
        let before = |steps: usize| place.checked_sub(steps).and_then(|place| tokens.get(place));
        if token.is_word(&WRITING) {
            return Err(format!("`{}` occurs in statements that write", token.name().unwrap_or_default()));
        }
        match token {
            Token::Sign(sign) if sign == "(" => {
                let Some(Some(name)) = before(1).map(Token::name) else { continue };
                if is_syntax(before(1), before(2)) {
                    continue;
                }
                let is_qualified = before(2).is_some_and(|token| token.is_sign("."));
                let schema = if is_qualified { before(3).and_then(Token::name) } else { None };
                if is_qualified && schema != Some("pg_catalog") {
                    return Err(format!(
                        "function `{}.{name}` is not known to be read-only",
                        schema.unwrap_or_default()
                    ));
                }
                if !is_listed(name, FUNCTIONS) {
                    return Err(format!("function `{name}` is not known to be read-only"));
                }
                uses.functions.insert(name.to_owned());
            }
            Token::Sign(sign) if !"()[],.;:".contains(sign.as_str()) => {
                uses.operators.insert(sign.clone());
            }
            Token::Word(name) | Token::Quoted(name) => {
                uses.names.insert(name.clone());
            }
            _ => {}
        }
    }
    Ok(uses)
}

/// Whether the word before a parenthesis is not a function.
fn is_syntax(name: Option<&Token>, before: Option<&Token>) -> bool {
    let Some(name) = name else { return true };
    let after = |words: &[&str]| before.is_some_and(|before| before.is_word(words));
    matches!(name, Token::Word(word) if is_listed(word, BEFORE_PARENTHESES)) && !before.is_some_and(|before| before.is_sign("."))
        // A name of a subquery, with names of its columns.
        || after(&["as", "with", "recursive"])
        || name.is_word(&["over", "filter"]) && before.is_some_and(|before| before.is_sign(")"))
        || name.is_word(&["by"]) && after(&["order", "group", "partition"])
        || name.is_word(&["materialized"]) && after(&["as", "not"])
        || name.is_word(&["varying"]) && after(&["character", "char", "bit"])
}

struct Lexer<'a> {
    letters: Vec<char>,
    place: usize,
    text: String,
    tokens: Vec<Token>,
    values: &'a dyn Fn(&str) -> Option<String>,
}

fn begins_name(letter: char) -> bool {
    letter.is_ascii_alphabetic() || letter == '_' || !letter.is_ascii()
}

fn continues_name(letter: char) -> bool {
    begins_name(letter) || letter.is_ascii_digit() || letter == '$'
}

impl<'a> Lexer<'a> {
    fn new(sql: &str, values: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Lexer { letters: sql.chars().collect(), place: 0, text: String::new(), tokens: Vec::new(), values }
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.letters.get(self.place + ahead).copied()
    }

    fn begins(&self, text: &str) -> bool {
        text.chars().enumerate().all(|(ahead, letter)| self.peek(ahead) == Some(letter))
    }

    /// Advances, and appends what it passes to the text.
    fn pass(&mut self, count: usize) {
        let end = (self.place + count).min(self.letters.len());
        self.text.extend(&self.letters[self.place..end]);
        self.place = end;
    }

    fn read_all(mut self) -> Result<(String, Vec<Token>), String> {
        let mut is_ended = false;
        while let Some(letter) = self.peek(0) {
            if letter == '\0' {
                return Err("it contains a zero byte".to_owned());
            }
            if " \t\n\r\u{b}\u{c}".contains(letter) {
                self.pass(1);
                continue;
            }
            if self.begins("--") || self.begins("/*") {
                self.skip_comment()?;
                continue;
            }
            if is_ended {
                return Err("it has more than one statement".to_owned());
            }
            match letter {
                ';' => {
                    is_ended = true;
                    self.place += 1;
                }
                '\\' => return Err("psql commands are not supported here".to_owned()),
                '\'' => self.pass_string(false)?,
                '"' => {
                    let name = self.pass_quoted_name()?;
                    self.tokens.push(Token::Quoted(name));
                }
                '$' => self.pass_dollar_string()?,
                ':' => self.pass_colon()?,
                letter if begins_name(letter) => self.pass_word()?,
                letter if letter.is_ascii_digit() => {
                    while self.peek(0).is_some_and(|letter| letter.is_ascii_digit() || "._".contains(letter))
                    {
                        self.pass(1);
                    }
                    self.tokens.push(Token::Literal);
                }
                letter if "()[],.".contains(letter) => {
                    self.pass(1);
                    self.tokens.push(Token::Sign(letter.to_string()));
                }
                letter if "+-*/<>=~!@#%^&|`?".contains(letter) => self.pass_operator(),
                other => return Err(format!("`{}` is not valid in SQL", other.escape_default())),
            }
        }
        Ok((self.text, self.tokens))
    }

    fn skip_comment(&mut self) -> Result<(), String> {
        self.text.push(' ');
        if self.begins("--") {
            while self.peek(0).is_some_and(|letter| letter != '\n' && letter != '\r') {
                self.place += 1;
            }
            return Ok(());
        }
        let mut depth = 0;
        loop {
            if self.begins("/*") {
                depth += 1;
                self.place += 2;
            } else if self.begins("*/") {
                depth -= 1;
                self.place += 2;
                if depth == 0 {
                    return Ok(());
                }
            } else if self.peek(0).is_none() {
                return Err("a comment is not closed".to_owned());
            } else {
                self.place += 1;
            }
        }
    }

    /// A string, from its opening quote.
    fn pass_string(&mut self, has_escapes: bool) -> Result<(), String> {
        self.pass(1);
        loop {
            match self.peek(0) {
                None => return Err("a string is not closed".to_owned()),
                Some('\\') if has_escapes => self.pass(2),
                Some('\'') if self.peek(1) == Some('\'') => self.pass(2),
                Some('\'') => {
                    self.pass(1);
                    self.tokens.push(Token::Literal);
                    return Ok(());
                }
                Some(_) => self.pass(1),
            }
        }
    }

    fn pass_quoted_name(&mut self) -> Result<String, String> {
        let mut name = String::new();
        self.pass(1);
        loop {
            match self.peek(0) {
                None => return Err("a quoted identifier is not closed".to_owned()),
                Some('"') if self.peek(1) == Some('"') => {
                    name.push('"');
                    self.pass(2);
                }
                Some('"') => {
                    self.pass(1);
                    return Ok(name);
                }
                Some(letter) => {
                    name.push(letter);
                    self.pass(1);
                }
            }
        }
    }

    fn pass_dollar_string(&mut self) -> Result<(), String> {
        let mut tag = String::from("$");
        let mut ahead = 1;
        while let Some(letter) = self.peek(ahead).filter(|letter| continues_name(*letter) && *letter != '$') {
            tag.push(letter);
            ahead += 1;
        }
        let is_tag = self.peek(ahead) == Some('$') && !tag[1..].starts_with(|c: char| c.is_ascii_digit());
        if !is_tag {
            return Err("`$` means nothing here; a value is written `:'name'`".to_owned());
        }
        tag.push('$');
        self.pass(ahead + 1);
        while self.peek(0).is_some() {
            if self.begins(&tag) {
                self.pass(tag.chars().count());
                self.tokens.push(Token::Literal);
                return Ok(());
            }
            self.pass(1);
        }
        Err("a dollar-quoted string is not closed".to_owned())
    }

    fn pass_colon(&mut self) -> Result<(), String> {
        if self.begins("::") {
            self.pass(2);
            self.tokens.push(Token::Sign(":".to_owned()));
            return Ok(());
        }
        let quote = self.peek(1).filter(|letter| ['\'', '"'].contains(letter));
        let start = self.place + 1 + usize::from(quote.is_some());
        let name: String = self.letters[start..]
            .iter()
            .take_while(|letter| letter.is_ascii_alphanumeric() || **letter == '_')
            .collect();
        let end = start + name.len();
        let value = (self.values)(&name);
        match (quote, value) {
            (Some(quote), Some(value)) if self.letters.get(end) == Some(&quote) => {
                if value.contains('\0') {
                    return Err(format!("the value of `{name}` contains a zero byte"));
                }
                self.place = end + 1;
                if quote == '"' {
                    self.text.push_str(&crate::postgres::quote_identifier(&value));
                    self.tokens.push(Token::Quoted(value));
                } else {
                    self.text.push_str(&string_literal(&value));
                    self.tokens.push(Token::Literal);
                }
                Ok(())
            }
            (Some(_), _) => Err(format!("`{name}` has no value yet")),
            (None, Some(_)) => Err(format!("`:{name}` would be read as SQL; write `:'{name}'`")),
            (None, None) => {
                self.pass(1);
                self.tokens.push(Token::Sign(":".to_owned()));
                Ok(())
            }
        }
    }

    fn pass_word(&mut self) -> Result<(), String> {
        let mut word = String::new();
        while let Some(letter) = self.peek(0).filter(|letter| continues_name(*letter)) {
            word.push(letter.to_ascii_lowercase());
            self.pass(1);
        }
        match (word.as_str(), self.peek(0)) {
            ("e", Some('\'')) => self.pass_string(true),
            ("b" | "x" | "n", Some('\'')) => self.pass_string(false),
            ("u", Some('&')) if self.peek(1).is_some_and(|letter| ['\'', '"'].contains(&letter)) => {
                Err("`U&` escapes are not supported".to_owned())
            }
            _ => {
                self.tokens.push(Token::Word(word));
                Ok(())
            }
        }
    }

    fn pass_operator(&mut self) {
        let mut sign = String::new();
        while let Some(letter) = self.peek(0).filter(|letter| "+-*/<>=~!@#%^&|`?".contains(*letter)) {
            if !sign.is_empty() && (self.begins("--") || self.begins("/*")) {
                break;
            }
            sign.push(letter);
            self.pass(1);
        }
        self.tokens.push(Token::Sign(sign));
    }
}

fn string_literal(value: &str) -> String {
    let doubled = value.replace('\'', "''");
    match doubled.contains('\\') {
        // A space before it, so that it is not read as part of a name.
        true => format!(" E'{}'", doubled.replace('\\', "\\\\")),
        false => format!("'{doubled}'"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(sql: &str) -> Result<Statement, String> {
        Statement::read(sql, &|name| match name {
            "a" => Some("it's \\ x; drop".to_owned()),
            "t" => Some("my \"table\"".to_owned()),
            _ => None,
        })
    }

    #[test]
    fn one_statement_that_reads_is_taken_with_its_values() {
        let wanted = "select count(*) from  \"my \"\"table\"\"\" where x =  E'it''s \\\\ x; drop'::text  \n";
        assert_eq!(
            read("select count(*) from  :\"t\" where x = :'a'::text ;-- the end\n").unwrap().text,
            wanted
        );
        for sql in [
            "select 1",
            "SELECT now() - max(created_at) from orders;",
            "values (1), (2)",
            "table orders",
            "show server_version",
            "explain select * from orders",
            "with x as (select 1) select * from x",
            "select 'drop table x; select pg_sleep(1)'",
            "select $$ pg_terminate_backend(1) $$, $a$ $$ ; $a$",
            "select /* ; delete */ 1 -- ; x\n",
            "select a[1:2], 'x'::numeric(10, 2), a -> 'b' ->> 'c' from t",
            "select sum(x) filter (where y > 0) over (partition by z order by w) from t group by (z) order by (1)",
            "select pg_catalog.count(*) from a join b using (id) where id in (select 1) and not exists (select 1) and x like ('a')",
            "select * from (values (1, 2)) as v (a, b)",
            "select E'\\'; drop table x; --'",
        ] {
            assert!(read(sql).is_ok(), "{sql}: {:?}", read(sql));
        }
    }

    #[test]
    fn whatever_could_do_more_is_refused() {
        for sql in [
            "select 1; set default_transaction_read_only = off; delete from users",
            "begin read write",
            "commit",
            "set transaction read write",
            "select set_config('transaction_read_only', 'off', true)",
            "select 1 \\! touch x",
            "select 1 \\g |touch x",
            "select 1 \\gexec",
            "\\copy x to y",
            "select pg_terminate_backend(1)",
            "select \"pg_terminate_backend\"(1)",
            "select pg_terminate_backend/**/(1)",
            "select pg_terminate_backend --x\n (1)",
            "select pg_catalog . pg_terminate_backend (1)",
            "select PG_SLEEP(1)",
            "select lo_export(1, 'x')",
            "select dblink_exec('x', 'y')",
            "select public.count(1)",
            "select query_to_xml('select pg_switch_wal()', true, true, '')",
            "select nextval('s')",
            "select pg_notify('a', 'b')",
            "select \"Count\"(1)",
            "with x as (delete from users returning 1) select * from x",
            "select * into y from x",
            "explain analyze delete from x",
            "explain (analyze) select 1",
            "explain verbose analyze select 1",
            "copy x to program 'touch y'",
            "do $$ begin end $$",
            "select 1 from x for update",
            "select U&\"\\0070g_sleep\"(1)",
            "select :a",
            "select :'b'",
            "select $1",
            "",
            ";",
            "-- nothing",
            "select 'x",
            "select $a$ x",
            "call p()",
            "lock x",
            "listen x",
            "prepare x as select 1",
            "select over(1)",
            "select by(1)",
            "select aws_s3.query_export_to_s3('x', y)",
            "select E'\\\\'; drop table x; --'",
            "select 1 /* /* */ ; delete from x",
            "select ''; delete from x; --'",
        ] {
            assert!(read(sql).is_err(), "{sql}");
        }
    }
}
