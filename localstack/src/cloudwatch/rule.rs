//! The rules of composite alarms: `ALARM("a") AND NOT (OK(b) OR FALSE)`.

use super::evaluate::AlarmState;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Rule {
    Always(bool),
    In(AlarmState, String),
    Not(Box<Rule>),
    All(Vec<Rule>),
    Any(Vec<Rule>),
}

impl Rule {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut words = words(text)?;
        words.reverse();
        let rule = any(&mut words)?;
        words.is_empty().then_some(rule)
    }

    /// Whether it holds; `state` says what state an alarm is in.
    pub(super) fn holds(&self, state: &impl Fn(&str) -> Option<AlarmState>) -> bool {
        match self {
            Self::Always(truth) => *truth,
            Self::In(wanted, alarm) => state(alarm) == Some(*wanted),
            Self::Not(rule) => !rule.holds(state),
            Self::All(rules) => rules.iter().all(|rule| rule.holds(state)),
            Self::Any(rules) => rules.iter().any(|rule| rule.holds(state)),
        }
    }

    /// The alarms that it names; an ARN stands for its last part.
    pub(super) fn children(&self) -> Vec<&str> {
        match self {
            Self::Always(_) => Vec::new(),
            Self::In(_, alarm) => vec![alarm],
            Self::Not(rule) => rule.children(),
            Self::All(rules) | Self::Any(rules) => rules.iter().flat_map(Rule::children).collect(),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Word {
    Open,
    Close,
    Name(String),
    Quoted(String),
}

fn words(text: &str) -> Option<Vec<Word>> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '(' => {
                words.push(Word::Open);
                1
            }
            ')' => {
                words.push(Word::Close);
                1
            }
            '"' => {
                let end = rest[1..].find('"')?;
                words.push(Word::Quoted(rest[1..=end].to_owned()));
                end + 2
            }
            _ => {
                let end = rest.find(|c: char| c.is_whitespace() || "()\"".contains(c)).unwrap_or(rest.len());
                words.push(Word::Name(rest[..end].to_owned()));
                end
            }
        };
        rest = rest[length..].trim_start();
    }
    Some(words)
}

fn take(words: &mut Vec<Word>, keyword: &str) -> bool {
    let is_next = matches!(words.last(), Some(Word::Name(name)) if name.eq_ignore_ascii_case(keyword));
    if is_next {
        words.pop();
    }
    is_next
}

fn any(words: &mut Vec<Word>) -> Option<Rule> {
    let mut rules = vec![all(words)?];
    while take(words, "OR") {
        rules.push(all(words)?);
    }
    Some(if rules.len() == 1 { rules.remove(0) } else { Rule::Any(rules) })
}

fn all(words: &mut Vec<Word>) -> Option<Rule> {
    let mut rules = vec![one(words)?];
    while take(words, "AND") {
        rules.push(one(words)?);
    }
    Some(if rules.len() == 1 { rules.remove(0) } else { Rule::All(rules) })
}

fn one(words: &mut Vec<Word>) -> Option<Rule> {
    if take(words, "NOT") {
        return Some(Rule::Not(Box::new(one(words)?)));
    }
    match words.pop()? {
        Word::Open => {
            let inside = any(words)?;
            (words.pop()? == Word::Close).then_some(inside)
        }
        Word::Name(name) if name.eq_ignore_ascii_case("TRUE") => Some(Rule::Always(true)),
        Word::Name(name) if name.eq_ignore_ascii_case("FALSE") => Some(Rule::Always(false)),
        Word::Name(name) => {
            let state = AlarmState::named(&name.to_ascii_uppercase())?;
            let opened = words.pop()? == Word::Open;
            let (Word::Name(alarm) | Word::Quoted(alarm)) = words.pop()? else { return None };
            let closed = words.pop()? == Word::Close;
            let alarm = alarm.split_once(":alarm:").map_or(alarm.as_str(), |(_, name)| name).to_owned();
            (opened && closed).then_some(Rule::In(state, alarm))
        }
        _ => None,
    }
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
        for wrong in ["", "ALARM", "ALARM(a", "BROKEN(a)", "ALARM(a) OR", "(ALARM(a)", "ALARM(a) ALARM(b)"] {
            assert_eq!(Rule::parse(wrong), None, "{wrong}");
        }
    }
}
