//! Reading shell text for `runbook check`: which programs it calls, which variables it uses.
//!
//! A scanner, not a parser: it knows quotes, comments, continuations, substitutions, here-documents and separators. What it misses costs a
//! hint. Nothing that is run depends on it.

use std::collections::BTreeSet;

/// One command with its words, quotes taken off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Command {
    pub(super) words: Vec<String>,
    /// Line in the block, from 0.
    pub(crate) line: usize,
}

/// What a block of shell text does, as far as it can be seen.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    pub(crate) commands: Vec<Command>,
    /// Variables that it uses, with the line of the first use.
    pub(super) used: Vec<(String, usize)>,
    /// Variables outside double quotes, where the shell would split their value.
    pub(super) bare: Vec<(String, usize)>,
    /// Variables that it sets itself.
    pub(super) set: BTreeSet<String>,
}

const KEYWORDS: [&str; 21] = [
    "if", "then", "else", "elif", "fi", "while", "until", "do", "done", "esac", "in", "{", "}", "!", "[[",
    "time", "function", "exec", "command", "builtin", "export",
];

/// Builtins of the shell.
const BUILTINS: [&str; 39] = [
    ":", ".", "[", "alias", "bg", "break", "cd", "continue", "declare", "echo", "eval", "exit", "false",
    "fg", "getopts", "hash", "jobs", "kill", "let", "local", "mapfile", "printf", "pwd", "read", "readonly",
    "return", "set", "shift", "shopt", "source", "test", "trap", "true", "type", "ulimit", "umask", "unset",
    "wait", "]]",
];

impl Scan {
    pub(crate) fn of_text(text: &str) -> Self {
        let mut scan = Scan::default();
        Scanner { letters: text.chars().collect(), place: 0, line: 0 }.list(&mut scan, None);
        scan.commands.retain(|command| !command.words.is_empty());
        scan
    }

    /// Programs that it calls, with the line of the first call.
    pub(super) fn programs(&self) -> Vec<(&str, usize)> {
        let mut programs: Vec<(&str, usize)> = Vec::new();
        for command in &self.commands {
            let Some(word) = command.words.first() else { continue };
            let is_plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "._+-/".contains(c))
                && !word.starts_with('-');
            let is_known = BUILTINS.contains(&word.as_str()) || self.set.contains(word);
            if is_plain && !is_known && programs.iter().all(|(other, _)| other != word) {
                programs.push((word, command.line));
            }
        }
        programs
    }

    /// The calls of a program.
    pub(super) fn calls<'a>(&'a self, program: &'a str) -> impl Iterator<Item = &'a Command> {
        self.commands.iter().filter(move |command| command.words.first().is_some_and(|word| word == program))
    }
}

struct Scanner {
    letters: Vec<char>,
    place: usize,
    line: usize,
}

impl Scanner {
    fn peek(&self) -> Option<char> {
        self.letters.get(self.place).copied()
    }

    fn next(&mut self) -> Option<char> {
        let letter = self.peek()?;
        self.place += 1;
        self.line += usize::from(letter == '\n');
        Some(letter)
    }

    /// Commands up to `end`, or to the end of the text.
    fn list(&mut self, scan: &mut Scan, end: Option<char>) {
        let mut command = Command { line: self.line, ..Command::default() };
        let mut word = Word::default();
        let mut here: Vec<String> = Vec::new();
        while let Some(letter) = self.next() {
            if Some(letter) == end {
                break;
            }
            match letter {
                ' ' | '\t' => self.end_word(&mut word, &mut command, scan),
                '\n' => {
                    self.end_word(&mut word, &mut command, scan);
                    self.end_command(&mut command, scan);
                    for tag in here.drain(..) {
                        self.skip_here_document(&tag);
                    }
                }
                '&' if self.peek() == Some('>') => self.end_word(&mut word, &mut command, scan),
                ';' | '|' | '&' => {
                    self.end_word(&mut word, &mut command, scan);
                    self.end_command(&mut command, scan);
                }
                '(' if self.peek() == Some(')') && word.is_begun && command.words.is_empty() => {
                    // A function: its name is not a program.
                    scan.set.insert(std::mem::take(&mut word).text);
                    self.place += 1;
                }
                '(' if self.peek() == Some('(') && command.words.is_empty() && !word.is_begun => {
                    self.place += 1;
                    self.arithmetic(scan);
                }
                '(' | ')' => {
                    self.end_word(&mut word, &mut command, scan);
                    self.end_command(&mut command, scan);
                }
                '#' if !word.is_begun => {
                    while self.peek().is_some_and(|c| c != '\n') {
                        self.place += 1
                    }
                }
                '<' if self.peek() == Some('<') => here.extend(self.here_tag()),
                '<' => self.end_word(&mut word, &mut command, scan),
                '>' => {
                    // A file descriptor before it belongs to it.
                    if word.text.chars().all(|c| c.is_ascii_digit()) {
                        word = Word::default();
                    }
                    self.end_word(&mut word, &mut command, scan);
                    if matches!(self.peek(), Some('&' | '|')) {
                        self.place += 1;
                    }
                    self.skip_target();
                }
                '\\' => match self.next() {
                    Some('\n') | None => {}
                    Some(other) => word.push(other),
                },
                '\'' => {
                    word.begin();
                    while let Some(letter) = self.next().filter(|c| *c != '\'') {
                        word.text.push(letter);
                    }
                }
                '"' => self.double_quoted(&mut word, scan),
                '$' => self.expansion(&mut word, scan, false),
                '`' => {
                    word.begin();
                    self.list(scan, Some('`'));
                }
                other => word.push(other),
            }
        }
        self.end_word(&mut word, &mut command, scan);
        self.end_command(&mut command, scan);
    }

    fn end_word(&mut self, word: &mut Word, command: &mut Command, scan: &mut Scan) {
        let ended = std::mem::take(word);
        if !ended.is_begun {
            return;
        }
        let first = command.words.first().map(String::as_str);
        let is_assignment =
            ended.text.split_once('=').is_some_and(|(name, _)| is_name(name.trim_end_matches('+')));
        if is_assignment && first.is_none() {
            if let Some((name, _)) = ended.text.split_once('=') {
                scan.set.insert(name.trim_end_matches('+').to_owned());
            }
            return;
        }
        for (name, line) in ended.bare {
            if scan.bare.iter().all(|(other, _)| *other != name) {
                scan.bare.push((name, line));
            }
        }
        match first {
            None if KEYWORDS.contains(&ended.text.as_str()) => {}
            None => {
                command.line = self.line;
                command.words.push(ended.text);
            }
            Some("for" | "read" | "local" | "declare" | "readonly") => {
                if is_name(&ended.text) {
                    scan.set.insert(ended.text.clone());
                }
                command.words.push(ended.text);
            }
            Some(_) => command.words.push(ended.text),
        }
    }

    fn end_command(&mut self, command: &mut Command, scan: &mut Scan) {
        let ended = std::mem::replace(command, Command { line: self.line, ..Command::default() });
        let is_syntax =
            ended.words.first().is_some_and(|word| matches!(word.as_str(), "for" | "case" | "select"));
        if !is_syntax {
            scan.commands.push(ended);
        }
    }

    fn double_quoted(&mut self, word: &mut Word, scan: &mut Scan) {
        word.begin();
        while let Some(letter) = self.next() {
            match letter {
                '"' => return,
                '\\' => word.text.extend(self.next()),
                '$' => self.expansion(word, scan, true),
                '`' => self.list(scan, Some('`')),
                other => word.text.push(other),
            }
        }
    }

    /// What follows a dollar sign.
    fn expansion(&mut self, word: &mut Word, scan: &mut Scan, is_quoted: bool) {
        word.begin();
        match self.peek() {
            Some('(') => {
                self.place += 1;
                if self.peek() == Some('(') {
                    self.place += 1;
                    self.arithmetic(scan);
                } else {
                    self.list(scan, Some(')'));
                }
                word.text.push_str("$()");
            }
            Some('{') => {
                self.place += 1;
                let name = self.name();
                let is_optional = matches!(self.peek(), Some(':' | '-' | '+'));
                let mut depth = 1;
                while depth > 0 {
                    match self.next() {
                        Some('{') => depth += 1,
                        Some('}') => depth -= 1,
                        Some(_) => {}
                        None => break,
                    }
                }
                self.note(name, word, scan, is_quoted, is_optional);
            }
            Some(letter) if letter.is_ascii_alphabetic() || letter == '_' => {
                let name = self.name();
                self.note(name, word, scan, is_quoted, false);
            }
            Some('\'') if !is_quoted => {}
            _ => word.text.push('$'),
        }
    }

    fn note(&mut self, name: String, word: &mut Word, scan: &mut Scan, is_quoted: bool, is_optional: bool) {
        word.text.push('$');
        word.text.push_str(&name);
        if name.is_empty() {
            return;
        }
        if !is_quoted {
            word.bare.push((name.clone(), self.line));
        }
        if !is_optional && scan.used.iter().all(|(other, _)| *other != name) {
            scan.used.push((name, self.line));
        }
    }

    fn arithmetic(&mut self, scan: &mut Scan) {
        let _ = scan;
        let mut depth = 2;
        while depth > 0 {
            match self.next() {
                Some('(') => depth += 1,
                Some(')') => depth -= 1,
                Some(_) => {}
                None => return,
            }
        }
    }

    fn name(&mut self) -> String {
        let start = self.place;
        while self.peek().is_some_and(|c| c.is_ascii_alphanumeric() || c == '_') {
            self.place += 1;
        }
        self.letters[start..self.place].iter().collect()
    }

    /// After the first `<` of a here-document, or of a here-string, which has no tag.
    fn here_tag(&mut self) -> Option<String> {
        self.place += 1;
        if self.peek() == Some('<') {
            self.place += 1;
            return None;
        }
        while self.peek().is_some_and(|c| "- '\"\\".contains(c)) {
            self.place += 1;
        }
        let tag = self.name();
        while self.peek().is_some_and(|c| "'\"".contains(c)) {
            self.place += 1;
        }
        Some(tag)
    }

    fn skip_here_document(&mut self, tag: &str) {
        while self.place < self.letters.len() {
            let mut line = String::new();
            while let Some(letter) = self.next().filter(|c| *c != '\n') {
                line.push(letter);
            }
            if line.trim() == tag {
                return;
            }
        }
    }

    /// After `>`: the target is a word of its own, unless it is a file descriptor.
    fn skip_target(&mut self) {
        while self.peek().is_some_and(|c| ">| ".contains(c)) {
            self.place += 1;
        }
        if self.peek() == Some('&') {
            self.place += 1;
            while self.peek().is_some_and(|c| c.is_ascii_digit() || c == '-') {
                self.place += 1;
            }
        } else if self.letters[self.place..].starts_with(&['/', 'd', 'e', 'v', '/', 'n', 'u', 'l', 'l']) {
            self.place += 9;
        }
    }
}

#[derive(Default)]
struct Word {
    text: String,
    is_begun: bool,
    bare: Vec<(String, usize)>,
}

impl Word {
    fn begin(&mut self) {
        self.is_begun = true;
    }

    fn push(&mut self, letter: char) {
        self.is_begun = true;
        self.text.push(letter);
    }
}

pub(super) fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Whether a program can be found, by its name or path.
pub(super) fn is_there(program: &str) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    let is_program = |path: &std::path::Path| {
        std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    if program.contains('/') {
        return is_program(std::path::Path::new(program));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| is_program(&directory.join(program)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_variables_and_quotes_are_seen() {
        let scan = Scan::of_text(
            "url=$(sed -n 's/^A=//p' \"$env_file\" | tail -1)   # a comment; rm\naws rds describe-db-instances \\\n  --db-instance-identifier $source --query 'a|b;c'\nif [ -n \"$url\" ]; then psql -c \"x $(date +%s)\"; fi\nfor t in a b; do echo \"$t\"; done\n",
        );
        let programs: Vec<&str> = scan.programs().into_iter().map(|(name, _)| name).collect();
        assert_eq!(programs, ["sed", "tail", "aws", "date", "psql"]);
        let used: Vec<&str> = scan.used.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(used, ["env_file", "source", "url", "t"]);
        assert_eq!(scan.bare, [("source".to_owned(), 2)]);
        assert!(scan.set.contains("url") && scan.set.contains("t"));
    }
}
