//! Our errors in the terms of the API: they name flags of the command line, which a request does not have. A flag
//! with a matching field becomes that field, one that `lifeboat serve` takes is named as one of the server, and a
//! sentence about any other is replaced by the command that has it.

/// Flags, and their fields in a request.
const FIELDS: [(&str, &str); 4] = [
    ("pass `--allow-last-copy`", "ask with `?allow_last_copy=true`"),
    ("`--name`", "`backup_name`"),
    ("`--confirm`", "`confirm`"),
    ("`--level`", "`level`"),
];

/// Flags of `lifeboat serve` itself.
pub(crate) const OF_THE_SERVER: [&str; 8] = [
    "--identity",
    "--pg-bin",
    "--seal-key",
    "--accept-unsealed",
    "--trust-content",
    "--tls",
    "--ca",
    "--vault",
];

/// A hint in the terms of the API; none if only the command line can do it.
pub(super) fn for_callers(hint: &str) -> Option<String> {
    let mut kept: Vec<String> = Vec::new();
    for sentence in sentences(hint) {
        let sentence =
            FIELDS.iter().fold(sentence.to_owned(), |text, (flag, field)| text.replace(flag, field));
        let flags = bare_flags(&sentence);
        match () {
            () if flags.is_empty() => kept.push(sentence),
            () if flags.iter().all(|flag| OF_THE_SERVER.contains(&flag.as_str())) => {
                let sentence = sentence.trim_end_matches('.');
                kept.push(format!("{sentence} when starting `lifeboat serve`."));
            }
            () => {}
        }
    }
    (!kept.is_empty()).then(|| kept.join(" "))
}

/// Replaces hints that only the command line can follow.
pub(super) const ELSEWHERE: &str =
    "Only a flag of `lifeboat backup` helps here: run it on the machine of the server.";

fn sentences(text: &str) -> Vec<&str> {
    let mut rest = text;
    let mut found = Vec::new();
    while let Some(at) = rest.find(". ") {
        found.push(&rest[..=at]);
        rest = &rest[at + 2..];
    }
    found.push(rest);
    found
}

/// Flags outside a whole command.
fn bare_flags(text: &str) -> Vec<String> {
    let outside_of_commands = text.split('`').enumerate().filter(|(at, part)| {
        let is_code = at % 2 == 1;
        !(is_code && ["lifeboat ", "docker ", "aws "].iter().any(|program| part.starts_with(program)))
    });
    let words = outside_of_commands
        .flat_map(|(_, part)| part.split(|c: char| c.is_whitespace() || ",;:()".contains(c)));
    words
        .filter(|word| word.starts_with("--") && word.len() > 2)
        .map(|word| word.trim_end_matches('.').split('=').next().unwrap_or_default().to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_speaks_of_the_fields_of_the_api() {
        for (hint, told) in [
            (
                "Make a new backup first, or pass `--allow-last-copy`.",
                Some("Make a new backup first, or ask with `?allow_last_copy=true`."),
            ),
            (
                "Choose another `--name`, or leave it out: the default name contains the time.",
                Some("Choose another `backup_name`, or leave it out: the default name contains the time."),
            ),
            (
                "Pass the file with the secret key with `--identity`.",
                Some("Pass the file with the secret key with `--identity` when starting `lifeboat serve`."),
            ),
            (
                "Nothing was changed. Stop the processes that use the file, and pass `--offline`.",
                Some("Nothing was changed."),
            ),
            (
                "Add `--format custom`. SQL dumps cannot be read in parallel.",
                Some("SQL dumps cannot be read in parallel."),
            ),
            ("`--keep-going` accepts every difference.", None),
            (
                "Run `lifeboat backup keep one --no-longer` first.",
                Some("Run `lifeboat backup keep one --no-longer` first."),
            ),
            ("A dash -- like this -- is no flag.", Some("A dash -- like this -- is no flag.")),
        ] {
            assert_eq!(for_callers(hint).as_deref(), told, "{hint}");
        }
    }
}
