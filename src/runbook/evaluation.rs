//! Where a value would be evaluated: by arithmetic and subscripts of the shell, by `eval` and its kind, or by another interpreter that is
//! handed text with a value in it.
//!
//! Hints for authors of runbooks, and a refusal for free text; every other value is kept harmless by
//! what it may consist of ([`super::values`]). In doubt, a value counts as evaluated.

mod words;

use std::collections::BTreeSet;

use super::document::{Kind, Runbook};
use super::fault::Position;
use words::{Command, Word, read_commands};

/// A place where a value would be evaluated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Evaluation {
    /// Line in the block, from 0.
    pub(super) line: usize,
    /// The value.
    pub(super) name: String,
    /// What would evaluate it.
    pub(super) by: String,
}

/// Whether blocks that people paste are checked too.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ByHand {
    Included,
    LeftOut,
}

/// An evaluation in a runbook.
pub(super) struct Found {
    pub(super) at: Position,
    pub(super) message: String,
}

/// Finds every block of a runbook that evaluates one of the `values`.
pub(super) fn list_evaluations(runbook: &Runbook, values: &BTreeSet<String>, by_hand: ByHand) -> Vec<Found> {
    let mut found = Vec::new();
    for step in &runbook.steps {
        let is_read = |role: &str| match role {
            "undo-check of " => false,
            "by-hand block of " => by_hand == ByHand::Included,
            _ => true,
        };
        for (role, script) in step.scripts().filter(|(role, _)| is_read(role)) {
            let the = if role.is_empty() { "" } else { "the " };
            let is_sql = role.is_empty() && matches!(step.kind, Kind::Sql(..));
            let evaluations = match is_sql {
                true => find_raw_values(&script.text, values),
                false => find_evaluations(&script.text, values),
            };
            found.extend(evaluations.into_iter().map(|it| Found {
                at: Position { line: script.at.line + it.line, ..script.at },
                message: format!(
                    "`{}` in {the}{role}`{}` evaluates the value of `{}`",
                    it.by, step.id, it.name
                ),
            }));
        }
    }
    found
}

/// Shells, which read what `-c` hands them, or their input.
const SHELLS: [&str; 8] = ["bash", "sh", "dash", "zsh", "ksh", "ash", "fish", "rbash"];

/// Other interpreters, with the options that their code follows.
const INTERPRETERS: [(&str, &[&str]); 22] = [
    ("python", &["-c"]),
    ("python2", &["-c"]),
    ("python3", &["-c"]),
    ("perl", &["-e", "-E", "-n", "-p", "-ne", "-pe", "-i", "-pie"]),
    ("ruby", &["-e", "-ne", "-pe"]),
    ("node", &["-e", "-p", "--eval", "--print"]),
    ("php", &["-r"]),
    ("lua", &["-e"]),
    ("psql", &["-c", "--command"]),
    ("mysql", &["-e", "--execute"]),
    ("mariadb", &["-e", "--execute"]),
    ("sqlite3", &["-cmd"]),
    ("mongosh", &["--eval"]),
    ("su", &["-c", "--command"]),
    ("script", &["-c", "--command"]),
    ("flock", &["-c", "--command"]),
    ("watch", &[]),
    ("parallel", &[]),
    ("gdb", &["-ex", "-eval-command"]),
    ("tclsh", &[]),
    ("osascript", &["-e"]),
    ("duckdb", &["-c", "-s"]),
];

/// Programs whose first argument is a program of their own.
const LANGUAGES: [&str; 6] = ["awk", "gawk", "mawk", "nawk", "sed", "jq"];

/// Parts of the shell that evaluate their arguments, or the names in them.
const BUILTINS: [&str; 11] =
    ["eval", "source", ".", "let", "trap", "alias", "mapfile", "readarray", "unset", "getopts", "compgen"];

/// Options that turn a part of the shell into one that evaluates: a number, or the name of a variable with its subscript.
const WITH_OPTION: [(&str, &[&str]); 12] = [
    ("declare", &["-i", "-n", "-ai", "-ia", "-gi", "-ig"]),
    ("typeset", &["-i", "-n"]),
    ("local", &["-i", "-n"]),
    ("export", &["-i"]),
    ("readonly", &["-i"]),
    ("printf", &["-v"]),
    ("test", &["-v", "-R"]),
    ("[", &["-v", "-R"]),
    ("[[", &["-v", "-R", "-eq", "-ne", "-lt", "-le", "-gt", "-ge"]),
    ("wait", &["-p"]),
    ("read", &[]),
    ("aws", &["send-command"]),
];

/// Finds every evaluation of one of the `values` in shell text, and of variables that are made of them.
pub(super) fn find_evaluations(text: &str, values: &BTreeSet<String>) -> Vec<Evaluation> {
    let commands = read_commands(text);
    let values = with_copies(&commands, values);
    let mut found: Vec<Evaluation> = Vec::new();
    for (place, command) in commands.iter().enumerate() {
        // What is piped into an interpreter is its code.
        let piped =
            place.checked_sub(1).and_then(|before| commands.get(before)).filter(|before| before.is_piped);
        for (name, by) in evaluations_of(command, piped, &values) {
            let evaluation = Evaluation { line: command.line, name, by };
            if !found.contains(&evaluation) {
                found.push(evaluation);
            }
        }
    }
    found
}

/// The values, and the variables of the script that get one of them.
fn with_copies(commands: &[Command], values: &BTreeSet<String>) -> BTreeSet<String> {
    let mut known = values.clone();
    loop {
        let before = known.len();
        for command in commands {
            let used: BTreeSet<&String> = command.names().filter(|name| known.contains(*name)).collect();
            if !used.is_empty() {
                known.extend(command.assigned());
            }
        }
        if known.len() == before {
            return known;
        }
    }
}

fn evaluations_of(
    command: &Command,
    piped: Option<&Command>,
    values: &BTreeSet<String>,
) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut note = |names: &mut dyn Iterator<Item = &String>, by: &str| {
        found.extend(names.filter(|name| values.contains(*name)).map(|name| (name.clone(), by.to_owned())));
    };
    for (names, by) in &command.evaluated {
        note(&mut names.iter(), by);
    }
    let words = &command.words;
    for (place, word) in words.iter().enumerate() {
        let program = word.text.rsplit('/').next().unwrap_or_default();
        let rest = &words[place + 1..];
        let is_first = place == 0;
        if SHELLS.contains(&program) {
            note(&mut code_behind(rest, &["-c"]), program);
            let code =
                rest.iter().position(|word| is_code_option(word, &["-c"])).and_then(|at| rest.get(at + 1));
            if let Some(code) = code.filter(|code| code.names.is_empty()) {
                // Code without a value in it, which reads values from its environment.
                for inner in find_evaluations(&code.text, values) {
                    note(&mut std::iter::once(&inner.name), &inner.by);
                }
            }
            note_input(command, piped, code.is_none(), &mut note, program);
        }
        if let Some((_, options)) = INTERPRETERS.iter().find(|(name, _)| *name == program) {
            match options.is_empty() {
                true => note(&mut rest.iter().flat_map(|word| &word.names), program),
                false => note(&mut code_behind(rest, options), program),
            }
            if program == "sqlite3" || program == "duckdb" {
                note(
                    &mut rest.iter().filter(|word| word.text.contains(' ')).flat_map(|word| &word.names),
                    program,
                );
            }
            let has_code = rest.iter().any(|word| is_code_option(word, options));
            note_input(command, piped, !has_code, &mut note, program);
        }
        if LANGUAGES.contains(&program) {
            note(&mut code_behind(rest, &["-e", "--expression"]), program);
            note(&mut program_of(rest).into_iter().flat_map(|word| &word.names), program);
        }
        if program == "ssh" {
            let host =
                rest.iter().position(|word| !word.text.starts_with('-')).map_or(rest.len(), |at| at + 1);
            note(&mut rest[host..].iter().flat_map(|word| &word.names), program);
            note_input(command, piped, true, &mut note, program);
        }
        if is_first && BUILTINS.contains(&program) {
            note(&mut rest.iter().flat_map(|word| &word.names), program);
            if program == "let" {
                note(&mut bare_names(rest).iter(), program);
            }
        }
        if let Some((_, options)) = WITH_OPTION.iter().find(|(name, _)| *name == program).filter(|_| is_first)
        {
            let has_option = rest.iter().any(|word| options.contains(&word.text.as_str()));
            if has_option || options.is_empty() {
                note(&mut rest.iter().flat_map(|word| &word.names), program);
            }
            // A number is an expression, in which names need no dollar sign.
            if has_option && ["declare", "typeset", "local", "export", "readonly", "[["].contains(&program) {
                note(&mut bare_names(rest).iter(), program);
            }
        }
    }
    found
}

/// Names in words, with a dollar sign or without.
fn bare_names(words: &[Word]) -> Vec<String> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    words.iter().flat_map(|word| word.text.split(move |letter| !is_part(letter))).map(str::to_owned).collect()
}

/// What an interpreter reads on its input, if it takes its code from there.
fn note_input(
    command: &Command,
    piped: Option<&Command>,
    takes_input: bool,
    note: &mut dyn FnMut(&mut dyn Iterator<Item = &String>, &str),
    program: &str,
) {
    if takes_input {
        note(&mut command.input.iter(), program);
        note(
            &mut piped
                .into_iter()
                .flat_map(|before| before.words.iter().skip(1))
                .flat_map(|word| &word.names),
            program,
        );
    }
}

fn is_code_option(word: &Word, options: &[&str]) -> bool {
    options.iter().any(|option| {
        word.text == *option
            || option.len() == 2
                && word.text.starts_with('-')
                && !word.text.starts_with("--")
                && word.text.ends_with(&option[1..])
    })
}

/// Values in the words behind options that are followed by code, or that are glued to it.
fn code_behind<'a>(words: &'a [Word], options: &'a [&'a str]) -> impl Iterator<Item = &'a String> {
    words
        .iter()
        .enumerate()
        .filter(move |(place, word)| {
            let follows = place.checked_sub(1).is_some_and(|before| is_code_option(&words[before], options));
            let is_glued =
                options.iter().any(|option| word.text.len() > option.len() && word.text.starts_with(option));
            follows || is_glued
        })
        .flat_map(|(_, word)| &word.names)
}

/// The program of awk, sed or jq: the first argument that is neither an option nor what an option takes.
fn program_of(words: &[Word]) -> Option<&Word> {
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.text.as_str() {
            "-F" | "-v" | "-f" | "--file" | "-e" | "--expression" => drop(words.next()),
            "--arg" | "--argjson" | "--slurpfile" | "--rawfile" => drop((words.next(), words.next())),
            option if option.starts_with('-') && option.len() > 1 => {}
            _ => return Some(word),
        }
    }
    None
}

/// Values that are in SQL unquoted (`:name`), where psql takes their text for SQL.
pub(super) fn find_raw_values(sql: &str, values: &BTreeSet<String>) -> Vec<Evaluation> {
    let mut found = Vec::new();
    for (line, text) in sql.lines().enumerate() {
        for (at, _) in text.match_indices(':') {
            let is_cast = text[..at].ends_with(':');
            let name: String =
                text[at + 1..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            if !is_cast && values.contains(&name) {
                found.push(Evaluation { line, name, by: "psql".to_owned() });
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values() -> BTreeSet<String> {
        ["count", "host"].map(str::to_owned).into()
    }

    #[test]
    fn every_place_that_evaluates_a_value_is_found() {
        let mut missed = Vec::new();
        for text in [
            "(( count > 0 ))",
            "if (( $count > 0 )); then x; fi",
            "echo $((count+1))",
            "echo \"$((count + 1))\"",
            "echo $[count]",
            "[[ \"$count\" -gt 0 ]]",
            "[[ $count -eq 0 && -f x ]]",
            "[[ -v $count ]]",
            "let x=count+1",
            "let \"x = $count\"",
            "declare -i n=$count",
            "typeset -i n=\"$count\"",
            "local -i n=\"$count\"",
            "a[$count]=1",
            "echo \"${a[$count]}\"",
            "echo ${a[count]}",
            "test -v \"$count\"",
            "[ -v \"$count\" ]",
            "printf -v \"$count\" x",
            "read -r \"$count\"",
            "unset \"$count\"",
            "mapfile \"$count\"",
            "eval \"$count\"",
            "eval echo $count",
            "bash -c \"echo $count\"",
            "sh -c \"echo $count\"",
            "bash -lc \"$count\"",
            "sudo -u x bash -c \"$count\"",
            "bash -c '(( count > 0 ))'",
            "python3 -c \"print($count)\"",
            "perl -e \"$count\"",
            "ruby -e \"$count\"",
            "node -e \"$count\"",
            "ssh \"$host\" \"ls $count\"",
            "ssh db ls \"$count\"",
            "psql -c \"select $count\"",
            "psql -Atc \"select $count\"",
            "psql --command=\"select $count\"",
            "awk \"{print $count}\"",
            "awk -F: \"/$count/\" x",
            "sed \"s/a/$count/\" x",
            "sed -i -e \"s/a/$count/\" x",
            "jq \".$count\" x",
            "find . -exec sh -c \"ls $count\" \\;",
            "ls | xargs sh -c \"echo $count\"",
            "bash <<EOF\necho $count\nEOF",
            "python3 - <<EOF\nprint($count)\nEOF",
            "psql <<SQL\nselect $count;\nSQL",
            "ssh db <<EOF\nls $count\nEOF",
            "bash <<< \"$count\"",
            "echo \"ls $count\" | bash",
            "printf '%s' \"$count\" | psql",
            "x=$count\n(( x > 0 ))",
            "x=\"$count\"; y=$x; echo $((y))",
            "for n in $count; do (( n )); done",
            "read -r n <<< \"$count\"\necho $(( n + 1 ))",
            "echo \"$(echo $((count)))\"",
            "x=$(( $(echo \"$count\") ))",
            "echo \"${x:count}\"",
            "echo \"${x:$count:1}\"",
            "echo \"${!count}\"",
            "echo \"${count@P}\"",
            "trap \"rm $count\" EXIT",
            "source \"$count\"",
            ". \"$count\"",
            "su - app -c \"ls $count\"",
            "mysql -e \"select $count\"",
            "sqlite3 db \"select $count\"",
            "watch \"ls $count\"",
            "/bin/bash -c \"$count\"",
            "env -i bash -c \"$count\"",
            "psql -c 'select 1' -c \"select $count\"",
            "aws ssm send-command --parameters \"commands=ls $count\"",
            "cat x |\n bash -c \"$count\"",
            "for ((i = 0; i < count; i++)); do x; done",
            "(( x = 1,\n count ))",
        ] {
            missed.extend(find_evaluations(text, &values()).is_empty().then_some(text));
        }
        assert!(missed.is_empty(), "{missed:#?}");
        assert_eq!(
            find_evaluations("x\ny\n(( count ))", &values())[0],
            Evaluation { line: 2, name: "count".into(), by: "(( ))".into() }
        );
    }

    #[test]
    fn a_value_that_is_handed_over_as_it_is_is_no_fault() {
        for text in [
            "echo \"$count\"",
            "[ \"$count\" -gt 0 ]",
            "test \"$count\" = x",
            "[[ \"$count\" = x ]]",
            "aws rds describe-db-instances --query \"A[?b=='$count']\"",
            "psql -h \"$host\" -v n=\"$count\" <<'SQL'\nselect :'n';\nSQL",
            "psql -h \"$host\" -c 'select 1'",
            "bash -c 'echo \"$1\"' _ \"$count\"",
            "python3 x.py \"$count\"",
            "awk -v n=\"$count\" '{ print n }' x",
            "n=\"$count\" awk '{ print ENVIRON[\"n\"] }' x",
            "jq --arg n \"$count\" '.[$n]' x",
            "ssh \"$host\" uptime",
            "sed -n 1p \"$count\"",
            "(( 3 > 2 )) && echo \"$count\"",
            "began=$(date +%s)\necho \"$host\" $(( $(date +%s) - began ))",
            "echo '(( count ))'",
            "# (( count ))",
            "read -r a b <<< \"$count\"",
            "cat <<EOF\n$count\nEOF",
            "echo \"${count:-x}\" \"${count%%x}\"",
            "for table in a b; do psql -d \"$host\" -f x; done",
            "grep -q \"^x=$count\" file",
            "printf '%s' \"$count\" > x",
            "find . -name \"$count\"",
            "until [ \"$(aws x \"$host\")\" = \"$count\" ]; do sleep 5; done",
            "test -f \"$count\"",
        ] {
            assert_eq!(find_evaluations(text, &values()), [], "{text}");
        }
    }

    #[test]
    fn a_value_that_is_taken_for_sql_is_found() {
        let lines =
            |sql: &str| find_raw_values(sql, &values()).iter().map(|found| found.line).collect::<Vec<_>>();
        assert_eq!(lines("select 1\nwhere n = :count"), [1]);
        assert_eq!(lines("select :'count', :\"count\", x::count, a[1:2]"), Vec::<usize>::new());
    }
}
