//! Shell text as commands and words, with the values that each of them would expand.

use std::collections::BTreeSet;

/// One command.
#[derive(Debug, Default)]
pub(super) struct Command {
    /// Line of its end, from 0.
    pub(super) line: usize,
    pub(super) words: Vec<Word>,
    /// Values in here-documents and here-strings.
    pub(super) input: Vec<String>,
    /// Whether its output is piped into the next one.
    pub(super) is_piped: bool,
    /// Names that the shell itself evaluates, and by what.
    pub(super) evaluated: Vec<(Vec<String>, String)>,
}

/// One word, quotes taken off.
#[derive(Debug, Default)]
pub(super) struct Word {
    pub(super) text: String,
    /// What is expanded in it.
    pub(super) names: Vec<String>,
    is_begun: bool,
}

impl Command {
    /// All that it expands.
    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.words.iter().flat_map(|word| &word.names).chain(&self.input)
    }

    /// The variables that it sets.
    pub(super) fn assigned(&self) -> Vec<String> {
        let mut assigned = Vec::new();
        for (place, word) in self.words.iter().enumerate() {
            let before = if place == 0 { "" } else { self.words[0].text.as_str() };
            let name = match word.text.split_once('=') {
                Some((name, _)) => name.trim_end_matches('+').split('[').next().unwrap_or_default(),
                None if ["read", "for", "mapfile", "readarray", "select", "printf"].contains(&before) => {
                    &word.text
                }
                None => continue,
            };
            if is_name(name) {
                assigned.push(name.to_owned());
            }
        }
        assigned
    }

    fn is_empty(&self) -> bool {
        self.words.is_empty() && self.evaluated.is_empty() && self.input.is_empty()
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Words that begin another command without being one.
const KEYWORDS: [&str; 14] =
    ["if", "then", "else", "elif", "fi", "while", "until", "do", "done", "esac", "{", "}", "!", "time"];

/// Splits shell text. Commands inside substitutions come before the one that contains them.
pub(super) fn read_commands(text: &str) -> Vec<Command> {
    let mut reader = Reader { letters: text.chars().collect(), ..Reader::default() };
    reader.read_all();
    reader.commands
}

#[derive(Default)]
struct Reader {
    letters: Vec<char>,
    place: usize,
    line: usize,
    commands: Vec<Command>,
    command: Command,
    word: Word,
    /// Here-documents that begin on the next line: their tags, and whether values are expanded in them.
    here: Vec<(String, bool)>,
}

impl Reader {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.letters.get(self.place + ahead).copied()
    }

    fn take(&mut self) -> Option<char> {
        let letter = self.peek(0)?;
        self.place += 1;
        self.line += usize::from(letter == '\n');
        Some(letter)
    }

    fn begins(&self, text: &str) -> bool {
        text.chars().enumerate().all(|(ahead, letter)| self.peek(ahead) == Some(letter))
    }

    fn read_all(&mut self) {
        while let Some(letter) = self.peek(0) {
            if self.begins("((") && !self.word.is_begun {
                let region = self.take_between(2, "))");
                self.evaluate(&region, "(( ))");
                continue;
            }
            let is_fresh = !self.word.is_begun;
            match letter {
                ' ' | '\t' => {
                    self.place += 1;
                    self.end_word();
                }
                '\n' => {
                    self.end_word();
                    let tags = std::mem::take(&mut self.here);
                    self.take();
                    for (tag, is_expanded) in tags {
                        self.take_here_document(&tag, is_expanded);
                    }
                    // A pipe at the end of a line continues on the next.
                    self.end_command(false);
                }
                '|' if self.peek(1) != Some('|') => {
                    self.place += 1 + usize::from(self.peek(1) == Some('&'));
                    self.end_word();
                    self.end_command(true);
                }
                ';' | '&' | '|' | '(' | ')' => {
                    self.place += 1;
                    self.end_word();
                    self.end_command(false);
                }
                '#' if is_fresh => {
                    while self.peek(0).is_some_and(|letter| letter != '\n') {
                        self.place += 1;
                    }
                }
                '<' if self.begins("<<<") => {
                    self.place += 3;
                    self.take_here_string();
                }
                '<' if self.begins("<<") => self.take_tag(),
                '<' | '>' => {
                    self.place += 1;
                    self.end_word();
                }
                _ => self.take_part(),
            }
        }
        self.end_word();
        self.end_command(false);
    }

    /// One letter of a word, or a quoted or expanded part of it.
    fn take_part(&mut self) {
        self.word.is_begun = true;
        match self.take() {
            Some('\\') => match self.take() {
                Some('\n') | None => {}
                Some(letter) => self.word.text.push(letter),
            },
            Some('\'') => {
                while let Some(letter) = self.take().filter(|letter| *letter != '\'') {
                    self.word.text.push(letter);
                }
            }
            Some('"') => {
                while let Some(letter) = self.peek(0).filter(|letter| *letter != '"') {
                    match letter {
                        '\\' => {
                            self.take();
                            let letter = self.take();
                            self.word.text.extend(letter);
                        }
                        '$' | '`' => self.take_expansion(),
                        letter => {
                            self.take();
                            self.word.text.push(letter);
                        }
                    }
                }
                self.take();
            }
            Some('$' | '`') => {
                self.place -= 1;
                self.take_expansion();
            }
            Some('[') if is_name(&self.word.text) => {
                let region = self.take_between(0, "]");
                self.evaluate(&region, "a subscript");
                self.word.text.push('[');
                self.word.names.extend(expanded(&region));
            }
            Some(letter) => self.word.text.push(letter),
            None => {}
        }
    }

    fn take_expansion(&mut self) {
        self.word.is_begun = true;
        if self.begins("$((") {
            let region = self.take_between(3, "))");
            self.word.names.extend(expanded(&region));
            self.evaluate(&region, "$(( ))");
        } else if self.begins("$[") {
            let region = self.take_between(2, "]");
            self.evaluate(&region, "$[ ]");
        } else if self.begins("$(") || self.begins("`") {
            let region = if self.begins("`") { self.take_between(1, "`") } else { self.take_between(2, ")") };
            self.word.names.extend(expanded(&region));
            self.word.text.push_str("$()");
            self.commands.extend(
                read_commands(&region).into_iter().map(|command| Command { line: self.line, ..command }),
            );
        } else if self.begins("${") {
            let region = self.take_between(2, "}");
            self.word.names.extend(expanded(&format!("${{{region}}}")));
            self.word.text.push('$');
            let name: String = region
                .trim_start_matches(['!', '#'])
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect();
            let rest = region
                .trim_start_matches(['!', '#'])
                .strip_prefix(name.as_str())
                .unwrap_or_default()
                .to_owned();
            if let Some(subscript) = rest.strip_prefix('[') {
                self.evaluate(subscript, "a subscript");
            }
            if rest.strip_prefix(':').is_some_and(|rest| !rest.starts_with(['-', '=', '?', '+'])) {
                self.evaluate(&rest, "an offset");
            }
            if region.starts_with('!') || rest.starts_with("@P") {
                self.command.evaluated.push((vec![name], format!("${{{region}}}")));
            }
        } else {
            self.place += 1;
            let mut name = String::new();
            while let Some(letter) =
                self.peek(0).filter(|letter| letter.is_ascii_alphanumeric() || *letter == '_')
            {
                name.push(letter);
                self.place += 1;
            }
            self.word.text.push('$');
            self.word.text.push_str(&name);
            self.word.names.push(name);
        }
    }

    /// The text up to `end`, brackets and quotes counted; the position is then after it.
    fn take_between(&mut self, skipped: usize, end: &str) -> String {
        self.place += skipped;
        let mut region = String::new();
        let (mut depth, mut quote): (usize, Option<char>) = (0, None);
        while let Some(letter) = self.peek(0) {
            if depth == 0 && quote.is_none() && self.begins(end) {
                self.place += end.chars().count();
                break;
            }
            self.take();
            region.push(letter);
            match (letter, quote) {
                ('\\', quote) if quote != Some('\'') => region.extend(self.take()),
                (letter, Some(open)) if letter == open => quote = None,
                (_, Some(_)) => {}
                ('\'' | '"', None) if end != "`" => quote = Some(letter),
                ('(' | '{' | '[', None) => depth += 1,
                (')' | '}' | ']', None) => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        region
    }

    /// Arithmetic: every name in it is evaluated, with a dollar sign or without.
    fn evaluate(&mut self, region: &str, by: &str) {
        let mut names = Vec::new();
        let mut outside = String::new();
        let mut rest = region;
        // A command in it is read as one; its result is what is computed with.
        while let Some((before, after)) = rest.split_once("$(") {
            outside.push_str(before);
            let mut inner = Reader { letters: after.chars().collect(), ..Reader::default() };
            let text = inner.take_between(0, ")");
            names.extend(expanded(&text));
            self.commands.extend(
                read_commands(&text).into_iter().map(|command| Command { line: self.line, ..command }),
            );
            rest = after.get(text.len() + 1..).unwrap_or_default();
        }
        outside.push_str(rest);
        let words = outside.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
        names.extend(words.filter(|word| is_name(word)).map(str::to_owned));
        self.command.evaluated.push((names, by.to_owned()));
    }

    fn take_here_string(&mut self) {
        self.end_word();
        while self.peek(0) == Some(' ') {
            self.place += 1;
        }
        while self.peek(0).is_some_and(|letter| !" \t\n;|&)".contains(letter)) {
            self.take_part();
        }
        let word = std::mem::take(&mut self.word);
        self.command.input.extend(word.names);
    }

    fn take_tag(&mut self) {
        self.end_word();
        self.place += 2;
        while self.peek(0).is_some_and(|letter| "- ".contains(letter)) {
            self.place += 1;
        }
        let mut tag = String::new();
        let mut is_expanded = true;
        while let Some(letter) = self.peek(0).filter(|letter| !" \t\n;|&<>()".contains(*letter)) {
            self.place += 1;
            match letter {
                '\'' | '"' | '\\' => is_expanded = false,
                letter => tag.push(letter),
            }
        }
        self.here.push((tag, is_expanded));
    }

    fn take_here_document(&mut self, tag: &str, is_expanded: bool) {
        let mut body = String::new();
        while self.peek(0).is_some() {
            let mut line = String::new();
            while let Some(letter) = self.take().filter(|letter| *letter != '\n') {
                line.push(letter);
            }
            if line.trim() == tag {
                break;
            }
            body.push_str(&line);
            body.push('\n');
        }
        if is_expanded {
            self.command.input.extend(expanded(&body));
        }
    }

    fn end_word(&mut self) {
        let word = std::mem::take(&mut self.word);
        if !word.is_begun || self.command.words.is_empty() && KEYWORDS.contains(&word.text.as_str()) {
            return;
        }
        self.command.words.push(word);
    }

    fn end_command(&mut self, is_piped: bool) {
        let mut command = std::mem::take(&mut self.command);
        if command.is_empty() {
            return;
        }
        // Assignments before a command belong to its environment, and not to its words.
        let assignments = command.words.iter().take_while(|word| {
            word.text.split_once('=').is_some_and(|(name, _)| is_name(name.trim_end_matches('+')))
        });
        let count = assignments.count();
        if count > 0 && count < command.words.len() {
            let rest = command.words.split_off(count);
            let line = self.line;
            self.commands.push(Command {
                line,
                words: std::mem::replace(&mut command.words, rest),
                ..Command::default()
            });
        }
        command.line = self
            .line
            .saturating_sub(usize::from(self.letters.get(self.place.wrapping_sub(1)) == Some(&'\n')));
        command.is_piped = is_piped;
        self.commands.push(command);
    }
}

/// The names after dollar signs, outside single quotes.
fn expanded(text: &str) -> Vec<String> {
    let mut names = BTreeSet::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('$') {
        let after = after.trim_start_matches(['{', '!', '#']);
        let name: String = after.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        rest = after;
        if is_name(&name) {
            names.insert(name);
        }
    }
    names.into_iter().collect()
}
