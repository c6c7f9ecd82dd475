//! What the tool knows of its own command lines: whether this version takes one, and whether it only reads.

use clap::error::ErrorKind;

/// Whether this version understands a call of itself as runbooks have it: its commands and flags, not their values.
pub(super) fn understands(command_line: &clap::Command, words: &[String]) -> std::result::Result<(), String> {
    let mut root = command_line.clone();
    root.build();
    let mut command = &root;
    for word in words.iter().skip(1) {
        if let Some(flag) = word.strip_prefix("--").filter(|flag| !flag.is_empty()) {
            let name = flag.split('=').next().unwrap_or_default();
            if !command.get_arguments().any(|argument| argument.get_long() == Some(name)) {
                return Err(format!("`{}` has no flag `--{name}`", command.get_name()));
            }
        } else if command.has_subcommands() && !word.starts_with('-') {
            command = command.find_subcommand(word).ok_or_else(|| format!("there is no command `{word}`"))?;
        }
    }
    if command.has_subcommands() {
        return Err(format!("`{}` is not a whole command", words.join(" ")));
    }
    Ok(())
}

/// What is wrong with a command line as it was printed, in a hint or a report: whether somebody can paste it. A command that
/// is only named, such as `lifeboat drill show`, is right if there is one of that name.
pub(super) fn fault_of_printed(command_line: clap::Command, line: &str) -> Option<String> {
    let Some(words) = shlex::split(line) else { return Some("a quote is opened and not closed".to_owned()) };
    let mut root = command_line;
    root.build();
    let error = match root.clone().try_get_matches_from(&words) {
        Ok(_) => return None,
        Err(error) => error,
    };
    let is_placeholder = |word: &&String| {
        let letters = word.trim_matches(|c: char| matches!(c, '[' | ']' | ',' | '<' | '>'));
        word.contains(['…', '$', '{'])
            || (letters.len() > 1 && letters.chars().all(|c| c.is_ascii_uppercase() || "_-=.:".contains(c)))
            || letters == "N"
    };
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => None,
        // Nothing but its name, or something stands for what only the reader knows.
        ErrorKind::MissingRequiredArgument
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
        | ErrorKind::MissingSubcommand
            if words.iter().skip(1).all(|word| !word.starts_with('-')) && is_path(&root, &words[1..]) =>
        {
            None
        }
        _ if words.iter().any(|word| is_placeholder(&word)) => understands(&root, &words).err(),
        _ => Some(error.render().to_string().lines().next().unwrap_or_default().to_owned()),
    }
}

fn is_path(root: &clap::Command, words: &[String]) -> bool {
    let mut command = root;
    words.iter().all(|word| match command.find_subcommand(word) {
        Some(next) => {
            command = next;
            true
        }
        None => false,
    })
}

/// Commands that change and write nothing, here and in AWS, and what may be said to them.
const READING: [(&[&str], &[&str]); 11] = [
    (&["restore", "window"], &["database"]),
    (&["policy", "show"], &["databases"]),
    (&["snapshot", "list"], &["database", "class", "kind"]),
    (&["snapshot", "show"], &["id"]),
    (&["drill", "list"], &["databases"]),
    (&["drill", "show"], &["run"]),
    (&["backup", "list"], &["databases"]),
    (&["backup", "show"], &["name"]),
    (&["alarms", "list"], &["databases"]),
    (&["runbook", "list"], &[]),
    (&["runbook", "runs"], &[]),
];

/// Whether a call of this tool only reads, by the parser that would run it. Neither another configuration nor another vault,
/// identity or endpoint may be named: a plan shows whose it is.
pub(super) fn only_reads(command_line: &clap::Command, words: &[String]) -> std::result::Result<(), String> {
    let mut root = command_line.clone();
    root.build();
    let matches = root.try_get_matches_from(words).map_err(|error| {
        let text = error.render().to_string();
        text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
    })?;
    let (mut path, mut given, mut inner) = (Vec::new(), Vec::new(), &matches);
    loop {
        let is_given =
            |id: &&clap::Id| inner.value_source(id.as_str()) == Some(clap::parser::ValueSource::CommandLine);
        given.extend(
            inner
                .ids()
                .filter(is_given)
                .map(clap::Id::as_str)
                .filter(|id| !id.starts_with(char::is_uppercase)),
        );
        let Some((name, below)) = inner.subcommand() else { break };
        path.push(name);
        inner = below;
    }
    let Some((_, arguments)) = READING.iter().find(|(known, _)| *known == path) else {
        return Err(format!("`lifeboat {}` is not known to be read-only", path.join(" ")));
    };
    let known = ["region", "json", "color", "quiet", "verbose"];
    match given.into_iter().find(|id| !known.contains(id) && !arguments.contains(id)) {
        None => Ok(()),
        Some(other) => {
            Err(format!("`{other}` of `lifeboat {}` is not known to be read-only", path.join(" ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::{Cli, fault_of_printed};

    #[test]
    fn a_call_only_reads_if_its_whole_command_line_is_known_to() {
        let judge =
            |text: &str| only_reads(&Cli::command(), &text.split(' ').map(str::to_owned).collect::<Vec<_>>());
        for text in [
            "lifeboat restore window orders",
            "lifeboat --json snapshot list --region eu-west-1",
            "lifeboat backup show x",
            "lifeboat -v policy show orders",
        ] {
            assert_eq!(judge(text), Ok(()), "{text}");
        }
        for text in [
            "lifeboat --region status serve token add x",
            "lifeboat status",
            "lifeboat status --publish",
            "lifeboat drill run x --dry-run",
            "lifeboat snapshot prune --dry-run",
            "lifeboat verify record x",
            "lifeboat --vault /x snapshot list",
            "lifeboat backup list --vault=s3://x",
            "lifeboat --config x.toml policy show",
            "lifeboat --endpoint-url http://x policy show",
            "lifeboat --profile x policy show",
            "lifeboat drill report",
            "lifeboat drill list --year 2026",
            "lifeboat serve token list",
            "lifeboat backup verify x",
            "lifeboat snapshot",
            "lifeboat",
        ] {
            assert!(judge(text).is_err(), "{text}");
        }
    }

    /// Every command of ours in the text of a module, with something in the place of what is formatted.
    fn printed_commands(source: &str) -> Vec<String> {
        let code = source.split("#[cfg(test)]").next().unwrap_or_default();
        let lines: Vec<&str> = code
            .lines()
            .filter(|line| !line.trim_start().starts_with("//!"))
            .filter(|line| !line.trim_start().starts_with("//") || line.trim_start().starts_with("///"))
            .collect();
        let mut commands = Vec::new();
        for (open, close) in [('`', '`'), ('"', '"')] {
            let text = lines.join("\n").replace("\\\n", "");
            let mut rest = text.as_str();
            while let Some(at) = rest.find(&format!("{open}lifeboat ")) {
                let behind = &rest[at + 1..];
                let end = behind.find([close, '\n']).unwrap_or(behind.len());
                commands.extend(behind[..end].split(" && ").map(str::to_owned));
                rest = &behind[end.min(behind.len())..];
            }
        }
        commands
    }

    #[test]
    fn every_command_in_a_hint_or_a_remedy_is_one_that_this_version_takes() {
        let root = Cli::command();
        let names: Vec<&str> = root.get_subcommands().map(clap::Command::get_name).collect();
        let mut faults: Vec<String> = Vec::new();
        let (mut folders, mut checked) =
            (vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))], 0);
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let source = std::fs::read_to_string(&path).unwrap_or_default();
                for command in printed_commands(&source) {
                    let first = command.split(' ').nth(1).unwrap_or_default();
                    if !names.contains(&first) || command.contains(": ") {
                        continue;
                    }
                    let command =
                        command.split(" >").next().and_then(|it| it.split(" | ").next()).unwrap_or_default();
                    // What is formatted is a word, or flags of which there may be none.
                    let filled = |flags: &str| {
                        let mut text = String::new();
                        for (at, part) in command.split('{').enumerate() {
                            let (hole, rest) =
                                if at == 0 { ("", part) } else { part.split_once('}').unwrap_or(("", part)) };
                            let is_last = rest.is_empty() && text.ends_with(' ');
                            text.push_str(if at == 0 {
                                ""
                            } else if is_last || hole == "flags" {
                                flags
                            } else {
                                "x1"
                            });
                            text.push_str(rest);
                        }
                        text.trim().to_owned()
                    };
                    let fault = fault_of_printed(&filled("x1"))
                        .and_then(|fault| fault_of_printed(&filled("")).and(Some(fault)));
                    faults.extend(fault.map(|fault| format!("{}: `{command}`: {fault}", path.display())));
                    checked += 1;
                }
            }
        }
        assert!(faults.is_empty(), "{}", faults.join("\n"));
        assert!(checked > 100, "only {checked} commands were found");
    }
}
