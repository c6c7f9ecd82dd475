//! The rules of composite alarms: which alarms they depend on. Pure.
//!
//! The grammar is that of `PutCompositeAlarm` (CloudWatch API Reference): `ALARM(name)`, `OK(name)`, `INSUFFICIENT_DATA(name)`,
//! `TRUE`, `FALSE`, `AND`, `OR`, `NOT`, parentheses, and `AT_LEAST(2, NOT OK, (name, name))` with a number or a percentage. Names may
//! be ARNs. A name with spaces, commas or parentheses is in double quotes, where a backslash escapes the next character.

/// The names of the alarms that a rule depends on, in its order; of an ARN its last part. `None` if the rule cannot be parsed.
pub(super) fn list_alarm_names(rule: &str) -> Option<Vec<String>> {
    let mut reader = Reader { words: tokenize(rule)?.into_iter().peekable(), names: Vec::new() };
    reader.any()?;
    reader.words.next().is_none().then_some(reader.names)
}

#[derive(Debug, PartialEq)]
enum Word {
    Open,
    Close,
    Comma,
    Bare(String),
    Quoted(String),
}

fn tokenize(text: &str) -> Option<Vec<Word>> {
    let mut words = Vec::new();
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        words.push(match letter {
            _ if letter.is_whitespace() => continue,
            '(' => Word::Open,
            ')' => Word::Close,
            ',' => Word::Comma,
            '"' => {
                let mut name = String::new();
                loop {
                    match letters.next()? {
                        '"' => break Word::Quoted(name),
                        '\\' => name.push(letters.next()?),
                        other => name.push(other),
                    }
                }
            }
            first => {
                let mut bare = String::from(first);
                while let Some(next) =
                    letters.next_if(|next| !next.is_whitespace() && !"(),\"".contains(*next))
                {
                    bare.push(next);
                }
                Word::Bare(bare)
            }
        });
    }
    Some(words)
}

struct Reader {
    words: std::iter::Peekable<std::vec::IntoIter<Word>>,
    names: Vec<String>,
}

/// Each parses one part of the grammar; `None` if it is absent.
impl Reader {
    fn any(&mut self) -> Option<()> {
        self.all()?;
        while self.keyword("OR") {
            self.all()?;
        }
        Some(())
    }

    fn all(&mut self) -> Option<()> {
        self.one()?;
        while self.keyword("AND") {
            self.one()?;
        }
        Some(())
    }

    fn one(&mut self) -> Option<()> {
        while self.keyword("NOT") {}
        match self.words.next()? {
            Word::Open => {
                self.any()?;
                self.expect(&Word::Close)
            }
            Word::Bare(word) => match word.to_ascii_uppercase().as_str() {
                "TRUE" | "FALSE" => Some(()),
                "AT_LEAST" => self.at_least(),
                state if is_state(state) => {
                    self.expect(&Word::Open)?;
                    self.name()?;
                    self.expect(&Word::Close)
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// What follows `AT_LEAST`: how many, in which state, of which.
    fn at_least(&mut self) -> Option<()> {
        self.expect(&Word::Open)?;
        let Word::Bare(count) = self.words.next()? else { return None };
        count.strip_suffix('%').unwrap_or(&count).parse::<u32>().ok().filter(|count| *count > 0)?;
        self.expect(&Word::Comma)?;
        self.keyword("NOT");
        let Word::Bare(state) = self.words.next()? else { return None };
        is_state(&state.to_ascii_uppercase()).then_some(())?;
        self.expect(&Word::Comma)?;
        self.expect(&Word::Open)?;
        self.name()?;
        while self.words.next_if_eq(&Word::Comma).is_some() {
            self.name()?;
        }
        self.expect(&Word::Close)?;
        self.expect(&Word::Close)
    }

    fn name(&mut self) -> Option<()> {
        let (Word::Bare(name) | Word::Quoted(name)) = self.words.next()? else { return None };
        let is_arn = name.starts_with("arn:");
        let last = name.split_once(":alarm:").filter(|_| is_arn).map(|(_, last)| last.to_owned());
        self.names.push(last.unwrap_or(name));
        Some(())
    }

    fn keyword(&mut self, keyword: &str) -> bool {
        let is_it = |word: &Word| matches!(word, Word::Bare(bare) if bare.eq_ignore_ascii_case(keyword));
        self.words.next_if(is_it).is_some()
    }

    fn expect(&mut self, word: &Word) -> Option<()> {
        self.words.next_if_eq(word).map(drop)
    }
}

fn is_state(word: &str) -> bool {
    ["ALARM", "OK", "INSUFFICIENT_DATA"].contains(&word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_whatever_letters_they_have() {
        for (rule, expected) in [
            ("ALARM(cpu)", vec!["cpu"]),
            (r#"ALARM("High CPU (prod)")"#, vec!["High CPU (prod)"]),
            (r#"ALARM("a") AND NOT (OK(b) OR FALSE) or insufficient_data("c, d")"#, vec!["a", "b", "c, d"]),
            (r#"ALARM("say \"hi\" \\ (now)")"#, vec![r#"say "hi" \ (now)"#]),
            (
                "ALARM(arn:aws:cloudwatch:eu-central-1:123456789012:alarm:lifeboat/orders/storage)",
                vec!["lifeboat/orders/storage"],
            ),
            (r#"ALARM("odd:alarm:name")"#, vec!["odd:alarm:name"]),
            (
                r#"AT_LEAST(2, ALARM, (a, "b (x)", arn:aws:cloudwatch:r:1:alarm:c)) OR TRUE"#,
                vec!["a", "b (x)", "c"],
            ),
            (r#"AT_LEAST(50%, NOT OK, ("AND", or))"#, vec!["AND", "or"]),
            ("NOT NOT OK(AND)", vec!["AND"]),
            ("TRUE", vec![]),
        ] {
            let expected: Vec<String> = expected.into_iter().map(str::to_owned).collect();
            assert_eq!(list_alarm_names(rule), Some(expected), "{rule}");
        }
    }

    #[test]
    fn what_is_no_rule_is_not_read_as_one() {
        for wrong in [
            "",
            "ALARM",
            "ALARM(a",
            "ALARM()",
            "BROKEN(a)",
            "ALARM(a) OR",
            "(ALARM(a)",
            "ALARM(a) ALARM(b)",
            "ALARM(\"a)",
            "ALARM(a b)",
            "AT_LEAST(0, ALARM, (a))",
            "AT_LEAST(2, ALARM, a)",
            "AT_LEAST(x, OK, (a))",
            "AT_LEAST(1, OK, ())",
        ] {
            assert_eq!(list_alarm_names(wrong), None, "{wrong}");
        }
    }
}

#[cfg(test)]
mod properties {
    use proptest::prelude::*;

    use super::list_alarm_names;

    proptest! {
        /// Whatever an alarm is called, a rule that quotes its name stands on it and on nothing else.
        #[test]
        fn a_quoted_name_is_read_back(name in "[ -~äß]{1,40}", other in "[a-zA-Z0-9_/-]{1,20}") {
            let quoted = name.replace('\\', "\\\\").replace('"', "\\\"");
            let expected = match name.split_once(":alarm:") {
                Some((_, last)) if name.starts_with("arn:") => last.to_owned(),
                _ => name,
            };
            for rule in [
                format!("ALARM(\"{quoted}\") AND NOT OK({other})"),
                format!("AT_LEAST(1, ALARM, (\"{quoted}\",{other}))"),
            ] {
                prop_assert_eq!(list_alarm_names(&rule), Some(vec![expected.clone(), other.clone()]), "{}", rule);
            }
        }

        #[test]
        fn no_text_makes_it_panic(rule in ".{0,80}") {
            let _ = list_alarm_names(&rule);
        }
    }
}
