//! Commands that are printed run as they are printed: the global flags that this command was given are repeated in them,
//! or they would look into another vault, another Region or another configuration.

/// Global flags, each with its value as a shell takes it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Repeated {
    flags: Vec<(&'static str, String)>,
    subcommands: Vec<String>,
}

impl Repeated {
    /// Of these flags, in commands that begin with one of `subcommands`.
    pub(crate) fn new(flags: Vec<(&'static str, String)>, subcommands: Vec<String>) -> Self {
        Repeated { flags, subcommands }
    }

    /// A text in which every command of ours repeats the flags that it does not have itself.
    pub(super) fn complete(&self, text: &str) -> String {
        const PROGRAM: &str = "lifeboat ";
        if self.flags.is_empty() {
            return text.to_owned();
        }
        let mut completed = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(PROGRAM) {
            let (before, found) = rest.split_at(at);
            let behind = &found[PROGRAM.len()..];
            completed.push_str(before);
            completed.push_str(PROGRAM);
            let is_word =
                !before.ends_with(|c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '/' | '.'));
            let first =
                behind.split(|c: char| !(c.is_ascii_lowercase() || c == '-')).next().unwrap_or_default();
            if is_word && self.subcommands.iter().any(|command| command == first) {
                let end = behind.find(['`', '\n', ';', '&', '|']).unwrap_or(behind.len());
                let has = |flag: &str| behind[..end].split([' ', '=']).any(|word| word == flag);
                for (flag, value) in self.flags.iter().filter(|(flag, _)| !has(flag)) {
                    completed.push_str(&format!("{flag} {value} "));
                }
            }
            rest = behind;
        }
        completed + rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_repeat_the_global_flags_that_they_lack() {
        let repeated = Repeated::new(
            vec![("--vault", "/srv/v".to_owned()), ("--region", "eu-west-1".to_owned())],
            vec!["drill".to_owned(), "status".to_owned()],
        );
        for (text, expected) in [
            (
                "see `lifeboat drill show x`, then `lifeboat status`.",
                "see `lifeboat --vault /srv/v --region eu-west-1 drill show x`, then `lifeboat --vault /srv/v --region eu-west-1 status`.",
            ),
            (
                "lifeboat drill run x --region us-east-1 && lifeboat status --vault=/other",
                "lifeboat --vault /srv/v drill run x --region us-east-1 && lifeboat --region eu-west-1 status --vault=/other",
            ),
            (
                "lifeboat removed it; not-lifeboat drill; lifeboat 0.1.0",
                "lifeboat removed it; not-lifeboat drill; lifeboat 0.1.0",
            ),
        ] {
            assert_eq!(repeated.complete(text), expected);
            assert_eq!(Repeated::default().complete(text), text);
        }
    }
}
