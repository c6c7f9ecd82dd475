//! What a step may do in a plan, and what is repeated without asking: a list of known single commands.
//!
//! No shell is used. A block is split into words here, a value is always part of one argument, every command is
//! checked against a list of commands known to be read-only, and is then started by its absolute path. Whatever is not on the list, and
//! whatever this parser does not know, is not run in a plan: a list of what is forbidden would never be complete. The words that
//! are accepted mean the same to bash, so that a person can paste them.

mod aws;
mod programs;
pub(super) mod statement;

use super::values::Values;

pub(super) use programs::{Program, judge_call, search_path};

/// Whether a word is one of a list, which has spaces between its words.
pub(super) fn is_listed(word: &str, list: &str) -> bool {
    list.split_whitespace().any(|listed| listed == word)
}

/// Whether a call of lifeboat is read-only; the reason if it is not.
pub(crate) type ReadsOnly<'a> = &'a dyn Fn(&[String]) -> Result<(), String>;

/// Why a block cannot be confined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// Line in the block, from 0.
    pub(super) line: usize,
    pub(super) why: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}: {}", self.line + 1, self.why)
    }
}

/// A block of single commands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Block {
    calls: Vec<Call>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Call {
    line: usize,
    words: Vec<Word>,
}

type Word = Vec<Part>;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// A parameter, or a value that a step has set.
    Value(String),
}

/// One command with its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Argv {
    pub(super) line: usize,
    pub(super) words: Vec<String>,
}

impl Block {
    /// Reads the text of a block. Only names that `is_known` knows are values.
    pub(super) fn read(text: &str, is_known: &dyn Fn(&str) -> bool) -> Result<Self, Refusal> {
        let mut reader = Reader { letters: text.chars().collect(), place: 0, line: 0 };
        let block = reader.read_block(is_known).map_err(|why| Refusal { line: reader.line, why })?;
        match block.calls.is_empty() {
            true => Err(Refusal { line: 0, why: "the block has no command".to_owned() }),
            false => Ok(block),
        }
    }

    /// The commands with their values in place. A value never becomes an option: it may not begin an argument with a hyphen.
    pub(super) fn fill(&self, values: &Values) -> Result<Vec<Argv>, Refusal> {
        self.fill_with(&|name| {
            values.get(name).map(str::to_owned).ok_or_else(|| format!("`{name}` has no value yet"))
        })
    }

    /// The same with a harmless placeholder for each value, to judge the text alone.
    pub(super) fn fill_with_examples(&self) -> Vec<Argv> {
        self.fill_with(&|_| Ok("x".to_owned())).unwrap_or_default()
    }

    fn fill_with(&self, value_of: &dyn Fn(&str) -> Result<String, String>) -> Result<Vec<Argv>, Refusal> {
        let mut filled = Vec::new();
        for call in &self.calls {
            let refused = |why: String| Refusal { line: call.line, why };
            let mut words = Vec::new();
            for word in &call.words {
                let mut text = String::new();
                for part in word {
                    match part {
                        Part::Text(part) => text.push_str(part),
                        Part::Value(name) => {
                            let value = value_of(name).map_err(refused)?;
                            if text.is_empty() && value.starts_with('-') {
                                return Err(refused(format!("the value of `{name}` begins with a hyphen")));
                            }
                            if value.contains('\0') {
                                return Err(refused(format!("the value of `{name}` contains a zero byte")));
                            }
                            text.push_str(&value);
                        }
                    }
                }
                words.push(text);
            }
            filled.push(Argv { line: call.line, words });
        }
        Ok(filled)
    }
}

struct Reader {
    letters: Vec<char>,
    place: usize,
    line: usize,
}

impl Reader {
    fn peek(&self) -> Option<char> {
        self.letters.get(self.place).copied()
    }

    fn take(&mut self) -> Option<char> {
        let letter = self.peek()?;
        self.place += 1;
        Some(letter)
    }

    fn read_block(&mut self, is_known: &dyn Fn(&str) -> bool) -> Result<Block, String> {
        let mut block = Block::default();
        let mut call = Call::default();
        let mut word: Option<Word> = None;
        while let Some(letter) = self.take() {
            match letter {
                '\n' => {
                    call.words.extend(word.take());
                    if !call.words.is_empty() {
                        block.calls.push(std::mem::take(&mut call));
                    }
                    self.line += 1;
                    call.line = self.line;
                }
                ' ' | '\t' => call.words.extend(word.take()),
                '#' if word.is_none() && call.words.is_empty() => {
                    while self.peek().is_some_and(|letter| letter != '\n') {
                        self.place += 1;
                    }
                }
                '\\' if self.peek() == Some('\n') => {
                    self.place += 1;
                    self.line += 1;
                }
                '\'' => {
                    let word = word.get_or_insert_default();
                    loop {
                        match self.take() {
                            Some('\'') => break,
                            Some(letter) if !letter.is_control() => push(word, letter),
                            _ => return Err("a quoted argument is not closed on its line".to_owned()),
                        }
                    }
                    // An empty argument counts as well.
                    if word.is_empty() {
                        word.push(Part::Text(String::new()));
                    }
                }
                '"' => self.read_double_quoted(word.get_or_insert_default(), is_known)?,
                letter if letter.is_ascii_alphanumeric() || "_./:=,@%+-".contains(letter) => {
                    push(word.get_or_insert_default(), letter);
                }
                letter => return Err(refusal_of(letter, self.peek())),
            }
        }
        call.words.extend(word);
        if !call.words.is_empty() {
            block.calls.push(call);
        }
        Ok(block)
    }

    fn read_double_quoted(&mut self, word: &mut Word, is_known: &dyn Fn(&str) -> bool) -> Result<(), String> {
        loop {
            match self.take() {
                Some('"') => {
                    if word.is_empty() {
                        word.push(Part::Text(String::new()));
                    }
                    return Ok(());
                }
                Some('$') => {
                    let name = self.read_name()?;
                    if !is_known(&name) {
                        return Err(format!("`${name}` is neither a parameter nor set by a step"));
                    }
                    word.push(Part::Value(name));
                }
                Some('`') => {
                    return Err(
                        "a backtick between double quotes runs a command; use single quotes".to_owned()
                    );
                }
                Some('\\') => {
                    return Err(
                        "a backslash between double quotes needs a shell; use single quotes".to_owned()
                    );
                }
                Some(letter) if !letter.is_control() => push(word, letter),
                _ => return Err("a quoted argument is not closed on its line".to_owned()),
            }
        }
    }

    /// `name` or `{name}` after a dollar sign.
    fn read_name(&mut self) -> Result<String, String> {
        let is_braced = self.peek() == Some('{');
        self.place += usize::from(is_braced);
        let mut name = String::new();
        while let Some(letter) = self.peek().filter(|letter| letter.is_ascii_alphanumeric() || *letter == '_')
        {
            name.push(letter);
            self.place += 1;
        }
        let is_closed = !is_braced || self.take() == Some('}');
        match is_closed && name.starts_with(|letter: char| letter.is_ascii_lowercase()) {
            true => Ok(name),
            false => Err("`$` must be followed by the name of a value".to_owned()),
        }
    }
}

fn push(word: &mut Word, letter: char) {
    match word.last_mut() {
        Some(Part::Text(text)) => text.push(letter),
        _ => word.push(Part::Text(letter.to_string())),
    }
}

fn refusal_of(letter: char, next: Option<char>) -> String {
    match letter {
        '$' if next == Some('(') => "`$(` runs another command".to_owned(),
        '$' => "a value must be inside double quotes".to_owned(),
        '`' => "a backtick runs another command".to_owned(),
        '<' | '>' => format!("`{letter}` redirects input or output"),
        '|' | '&' | ';' => format!("`{letter}` joins commands; write one command per line"),
        other => format!("`{}` needs a shell, which a plan does not use", other.escape_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Block, Refusal> {
        Block::read(text, &|name| ["source", "when"].contains(&name))
    }

    fn fill(text: &str, source: &str) -> Result<Vec<Vec<String>>, String> {
        let mut values = Values::default();
        values.set("source", source, false);
        let filled =
            read(text).and_then(|block| block.fill(&values)).map_err(|refusal| refusal.to_string())?;
        Ok(filled.into_iter().map(|argv| argv.words).collect())
    }

    #[test]
    fn words_are_read_as_bash_reads_them() {
        let text = "# who\naws rds describe-db-instances \\\n  --db-instance-identifier \"$source\" --query 'A[?b==`c d`]' ''\n\naws sts get-caller-identity --output=text x\"${source}\"'y'";
        let wanted = [
            vec![
                "aws",
                "rds",
                "describe-db-instances",
                "--db-instance-identifier",
                "a;b $(c)",
                "--query",
                "A[?b==`c d`]",
                "",
            ],
            vec!["aws", "sts", "get-caller-identity", "--output=text", "xa;b $(c)y"],
        ];
        assert_eq!(fill(text, "a;b $(c)").unwrap(), wanted);
        let bash = std::process::Command::new("bash")
            .args(["-c", &format!("aws() {{ printf '%s\\n' aws \"$@\"; }}\n{text}")])
            .env("source", "a;b $(c)")
            .output()
            .unwrap();
        assert_eq!(String::from_utf8(bash.stdout).unwrap(), wanted.concat().join("\n") + "\n");
    }

    #[test]
    fn whatever_is_language_is_refused() {
        for text in [
            "echo $(( $(touch x) ))",
            "echo \"${source:-$(touch x)}\"",
            "cat <<EOF\n$(touch x)\nEOF",
            "echo $'a\\'' ; touch x",
            "function cat { touch x; }",
            "ls > x",
            "ls >& x",
            "ls >| x",
            "ls 2>x",
            "ls | tee x",
            "ls & touch x",
            "ls && touch x",
            "a=b ls x;",
            "ls *",
            "ls ~",
            "ls {a,b}",
            "echo `touch x`",
            "echo \"`touch x`\"",
            "echo $source",
            "echo \"$other\"",
            "echo \"$1\"",
            "echo \"${source@P}\"",
            "echo \"${!source}\"",
            "echo \"${source[0]}\"",
            "echo \"$PATH\"",
            "echo \"\\$source\"",
            "ls 'a",
            "ls \"a",
            "ls 'a\nb'",
            "ls (a)",
            "! ls",
            "[ -f x ]",
            "ls x # y",
            "ls\u{a0}x",
            "ls\rx",
            "ls ^x",
            "",
            "# nothing",
            "ls ?",
            "ls\u{0}x",
            "ls é",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_value_is_one_argument_and_never_an_option() {
        assert_eq!(fill("test -f \"$source\"", "a b\nc").unwrap(), [["test", "-f", "a b\nc"]]);
        for value in ["-x", "--endpoint-url=http://x"] {
            assert!(fill("ls \"$source\"", value).unwrap_err().contains("begins with a hyphen"));
            assert!(fill("ls ''\"$source\"", value).unwrap_err().contains("begins with a hyphen"));
            assert!(fill("ls \"\"\"$source\"", value).unwrap_err().contains("begins with a hyphen"));
        }
        assert!(fill("ls \"$when\"", "x").unwrap_err().contains("line 1: `when` has no value yet"));
    }
}
