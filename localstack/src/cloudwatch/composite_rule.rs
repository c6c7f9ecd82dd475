//! The rules of composite alarms: `ALARM("a") AND NOT (OK(b) OR FALSE)`.

use crate::monitoring::alarm::AlarmState;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Rule {
    Always(bool),
    In(AlarmState, String),
    Not(Box<Rule>),
    All(Vec<Rule>),
    Any(Vec<Rule>),
    AtLeast(Quorum, Vec<Rule>),
}

/// How many of the alarms must be in the state.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Quorum {
    Number(usize),
    Percent(usize),
}

impl Rule {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut words = split_words(text)?;
        words.reverse();
        let rule = parse_any(&mut words)?;
        words.is_empty().then_some(rule)
    }

    /// Whether the rule holds, given the states of alarms.
    pub(super) fn holds(&self, state: &impl Fn(&str) -> Option<AlarmState>) -> bool {
        match self {
            Self::Always(truth) => *truth,
            Self::In(wanted, alarm) => state(alarm) == Some(*wanted),
            Self::Not(rule) => !rule.holds(state),
            Self::All(rules) => rules.iter().all(|rule| rule.holds(state)),
            Self::Any(rules) => rules.iter().any(|rule| rule.holds(state)),
            Self::AtLeast(quorum, rules) => {
                let holding = rules.iter().filter(|rule| rule.holds(state)).count();
                match quorum {
                    Quorum::Number(number) => holding >= *number,
                    Quorum::Percent(percent) => holding * 100 >= percent * rules.len(),
                }
            }
        }
    }

    /// The names of the alarms in the rule; an ARN counts as the name in it.
    pub(super) fn children(&self) -> Vec<&str> {
        match self {
            Self::Always(_) => Vec::new(),
            Self::In(_, alarm) => vec![alarm],
            Self::Not(rule) => rule.children(),
            Self::All(rules) | Self::Any(rules) | Self::AtLeast(_, rules) => {
                rules.iter().flat_map(Rule::children).collect()
            }
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Word {
    Open,
    Close,
    Comma,
    Name(String),
    Quoted(String),
}

fn split_words(text: &str) -> Option<Vec<Word>> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (word, length) = match first {
            '(' => (Word::Open, 1),
            ')' => (Word::Close, 1),
            ',' => (Word::Comma, 1),
            '"' => read_quoted(rest)?,
            _ => {
                let end = rest.find(|c: char| c.is_whitespace() || "(),\"".contains(c)).unwrap_or(rest.len());
                (Word::Name(rest[..end].to_owned()), end)
            }
        };
        words.push(word);
        rest = rest[length..].trim_start();
    }
    Some(words)
}

/// A name in double quotes, in which a backslash escapes any character, and the length that it has in the rule.
fn read_quoted(text: &str) -> Option<(Word, usize)> {
    let mut name = String::new();
    let mut letters = text.char_indices().skip(1);
    loop {
        match letters.next()? {
            (at, '"') => return Some((Word::Quoted(name), at + 1)),
            (_, '\\') => name.push(letters.next()?.1),
            (_, other) => name.push(other),
        }
    }
}

fn take_keyword(words: &mut Vec<Word>, keyword: &str) -> bool {
    let is_next = matches!(words.last(), Some(Word::Name(name)) if name.eq_ignore_ascii_case(keyword));
    if is_next {
        words.pop();
    }
    is_next
}

fn parse_any(words: &mut Vec<Word>) -> Option<Rule> {
    let mut rules = vec![parse_all(words)?];
    while take_keyword(words, "OR") {
        rules.push(parse_all(words)?);
    }
    Some(if rules.len() == 1 { rules.remove(0) } else { Rule::Any(rules) })
}

fn parse_all(words: &mut Vec<Word>) -> Option<Rule> {
    let mut rules = vec![parse_one(words)?];
    while take_keyword(words, "AND") {
        rules.push(parse_one(words)?);
    }
    Some(if rules.len() == 1 { rules.remove(0) } else { Rule::All(rules) })
}

fn parse_one(words: &mut Vec<Word>) -> Option<Rule> {
    if take_keyword(words, "NOT") {
        return Some(Rule::Not(Box::new(parse_one(words)?)));
    }
    match words.pop()? {
        Word::Open => {
            let inside = parse_any(words)?;
            (words.pop()? == Word::Close).then_some(inside)
        }
        Word::Name(name) if name.eq_ignore_ascii_case("TRUE") => Some(Rule::Always(true)),
        Word::Name(name) if name.eq_ignore_ascii_case("FALSE") => Some(Rule::Always(false)),
        Word::Name(name) if name.eq_ignore_ascii_case("AT_LEAST") => parse_at_least(words),
        Word::Name(name) => {
            let state = AlarmState::from_name(&name.to_ascii_uppercase())?;
            let opened = words.pop()? == Word::Open;
            let alarm = parse_alarm_name(words)?;
            let closed = words.pop()? == Word::Close;
            (opened && closed).then_some(Rule::In(state, alarm))
        }
        _ => None,
    }
}

fn parse_alarm_name(words: &mut Vec<Word>) -> Option<String> {
    let (Word::Name(alarm) | Word::Quoted(alarm)) = words.pop()? else { return None };
    let is_arn = alarm.starts_with("arn:");
    let last = alarm.split_once(":alarm:").filter(|_| is_arn).map(|(_, name)| name.to_owned());
    Some(last.unwrap_or(alarm))
}

/// `(2, NOT OK, (a, b))`, `(50%, ALARM, (a, b))`.
fn parse_at_least(words: &mut Vec<Word>) -> Option<Rule> {
    let next = |words: &mut Vec<Word>, word: Word| (words.pop()? == word).then_some(());
    next(words, Word::Open)?;
    let Word::Name(count) = words.pop()? else { return None };
    let quorum = match count.strip_suffix('%') {
        Some(percent) => Quorum::Percent(percent.parse().ok()?),
        None => Quorum::Number(count.parse().ok()?),
    };
    next(words, Word::Comma)?;
    let is_negated = take_keyword(words, "NOT");
    let Word::Name(state) = words.pop()? else { return None };
    let state = AlarmState::from_name(&state.to_ascii_uppercase())?;
    next(words, Word::Comma)?;
    next(words, Word::Open)?;
    let mut rules = Vec::new();
    loop {
        let rule = Rule::In(state, parse_alarm_name(words)?);
        rules.push(if is_negated { Rule::Not(Box::new(rule)) } else { rule });
        match words.pop()? {
            Word::Comma => {}
            Word::Close => break,
            _ => return None,
        }
    }
    next(words, Word::Close)?;
    Some(Rule::AtLeast(quorum, rules))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_as_the_guide_writes_them() {
        let rule = Rule::parse(r#"ALARM("a b") AND NOT (OK(b) OR FALSE)"#).unwrap();
        assert_eq!(rule.children(), ["a b", "b"]);
        let states = |b: AlarmState| move |name: &str| Some(if name == "b" { b } else { AlarmState::Alarm });
        assert!(rule.holds(&states(AlarmState::Alarm)));
        assert!(!rule.holds(&states(AlarmState::Ok)));
        let rule = Rule::parse(r#"AT_LEAST(50%, NOT OK, ("a (\"x\")", b, c))"#).unwrap();
        assert_eq!(rule.children(), [r#"a ("x")"#, "b", "c"]);
        assert!(rule.holds(&states(AlarmState::Ok)));
        assert!(!Rule::parse("AT_LEAST(3, ALARM, (a, b, c))").unwrap().holds(&states(AlarmState::Ok)));
        for wrong in ["", "ALARM", "ALARM(a", "BROKEN(a)", "ALARM(a) OR", "(ALARM(a)", "ALARM(a) ALARM(b)"] {
            assert_eq!(Rule::parse(wrong), None, "{wrong}");
        }
    }
}
