//! The parameters of a run: from flags, the environment and defaults, each validated once, when it is read.

use chrono::{DateTime, Utc};

use super::document::{Front, Mode, Parameter};
use super::values::{FREE_TEXT, LONGEST, Values, compile_pattern, judge_plain};
use crate::backup::schedule::quote_for_shell;
use crate::error::{Error, Result};
use crate::rds::RunId;
use crate::when::format_time;

/// Parses a time as people write it.
pub(crate) type ReadTime<'a> = &'a dyn Fn(&str) -> Result<DateTime<Utc>>;

/// Gives every parameter its value: from `--set`, else its environment variable, else its default.
pub(crate) fn resolve_parameters(
    front: &Front,
    said: &[(String, String)],
    mode: Mode,
    run: &RunId,
    read_time: ReadTime<'_>,
) -> Result<Values> {
    refuse_unknown(front, said)?;
    for parameter in &front.parameters {
        given_value(said, &parameter.name).map(|said| read_given(parameter, said)).transpose()?;
    }
    let missing = list_missing(front, said, mode);
    if !missing.is_empty() {
        return Err(refuse_missing(&missing));
    }
    let mut values = Values::default();
    values.set("run_id", run.as_str(), false);
    values.set("run_short", run.random(), false);
    values.set("run_mode", mode.word(), false);
    for parameter in &front.parameters {
        let text = match given_value(said, &parameter.name) {
            Some(said) => Some(read_given(parameter, said)?),
            None => read_default(parameter, mode, &values)?,
        };
        let text = text.ok_or_else(|| refuse_missing(&[parameter]))?;
        let text = read_value(parameter, text, read_time)?;
        values.set(&parameter.name, &text, parameter.secret);
    }
    Ok(values)
}

fn given_value<'a>(said: &'a [(String, String)], name: &str) -> Option<&'a str> {
    said.iter().rev().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
}

/// The parameters that have no value yet.
pub(crate) fn list_missing<'a>(
    front: &'a Front,
    said: &[(String, String)],
    mode: Mode,
) -> Vec<&'a Parameter> {
    let is_missing = |parameter: &&Parameter| {
        let is_written = match mode {
            Mode::Rehearse if parameter.rehearse.is_some() => true,
            _ => environment_of(parameter).is_some() || parameter.default.is_some(),
        };
        given_value(said, &parameter.name).is_none() && !is_written
    };
    front.parameters.iter().filter(is_missing).collect()
}

/// A value as it is used, if the parameter takes it.
pub(crate) fn read_value(parameter: &Parameter, text: String, read_time: ReadTime<'_>) -> Result<String> {
    let text = match parameter.is_time {
        true => format_time(read_time(&text)?),
        false => text,
    };
    refuse_unfit(parameter, &text).map(|()| text)
}

fn refuse_unknown(front: &Front, said: &[(String, String)]) -> Result<()> {
    for (name, _) in said {
        if !front.parameters.iter().any(|parameter| parameter.name == *name) {
            let known: Vec<&str> = front.parameters.iter().map(|it| it.name.as_str()).collect();
            let near = known.iter().find(|known| strsim::damerau_levenshtein(known, name) <= 2);
            let near = near.map(|near| format!("Did you mean `{near}`? ")).unwrap_or_default();
            return Err(Error::request(format!("the runbook has no parameter `{}`", name.escape_default()))
                .hint(match known.is_empty() {
                    true => "It takes none.".to_owned(),
                    false => format!("{near}It takes {}.", known.join(", ")),
                }));
        }
    }
    Ok(())
}

fn read_given(parameter: &Parameter, said: &str) -> Result<String> {
    if let Some(variable) = said.strip_prefix("env:") {
        return std::env::var(variable).map_err(|_| {
            Error::request(format!("the environment variable `{}` is not set", variable.escape_default()))
        });
    }
    if parameter.secret {
        return Err(Error::request(format!(
            "parameter `{}` is secret: its value must not be on a command line",
            parameter.name
        ))
        .hint(format!("Pass it in an environment variable: `--set {}=env:NAME`.", parameter.name)));
    }
    Ok(said.to_owned())
}

fn environment_of(parameter: &Parameter) -> Option<String> {
    parameter.env.as_ref().and_then(|name| std::env::var(name).ok()).filter(|text| !text.is_empty())
}

fn read_default(parameter: &Parameter, mode: Mode, values: &Values) -> Result<Option<String>> {
    let written = match mode {
        Mode::Rehearse if parameter.rehearse.is_some() => parameter.rehearse.as_ref(),
        _ => {
            if let Some(text) = environment_of(parameter) {
                return Ok(Some(text));
            }
            parameter.default.as_ref()
        }
    };
    written
        .map(|text| {
            values.fill(text).map_err(|why| {
                Error::request(format!("the default of `{}` cannot be filled in: {why}", parameter.name))
            })
        })
        .transpose()
}

/// All of them at once, not one at a time.
fn refuse_missing(missing: &[&Parameter]) -> Error {
    let named: Vec<String> = missing
        .iter()
        .map(|parameter| {
            let help = parameter.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
            format!("`{}`{help}", parameter.name)
        })
        .collect();
    let flags: Vec<String> = missing
        .iter()
        .filter(|parameter| parameter.env.is_none())
        .map(|parameter| match parameter.secret {
            true => format!("--set {}=env:VARIABLE", parameter.name),
            false => format!(
                "--set {}",
                quote_for_shell(&format!(
                    "{}={}",
                    parameter.name,
                    parameter.example.as_deref().unwrap_or("VALUE")
                ))
            ),
        })
        .collect();
    let variables: Vec<&str> = missing.iter().filter_map(|parameter| parameter.env.as_deref()).collect();
    let mut error = Error::request(match named.as_slice() {
        [one] => format!("parameter {one} has no value"),
        _ => format!("{} parameters have no value: {}", named.len(), named.join(", ")),
    });
    if !flags.is_empty() {
        error = error.hint(format!("Pass `{}`.", flags.join(" ")));
    }
    match variables.as_slice() {
        [] => error,
        [one] => error.hint(format!("Set the environment variable {one}.")),
        _ => error.hint(format!("Set the environment variables {}.", variables.join(", "))),
    }
}

fn refuse_unfit(parameter: &Parameter, text: &str) -> Result<()> {
    let name = &parameter.name;
    let shown =
        if parameter.secret { "its value".to_owned() } else { format!("`{}`", text.escape_default()) };
    let wrong = |why: String| Error::request(format!("{shown} cannot be `{name}`: {why}"));
    if text.len() > LONGEST {
        return Err(wrong(format!("it has more than {LONGEST} bytes")));
    }
    if text.chars().any(char::is_control) {
        return Err(wrong("it has a control character".to_owned()));
    }
    match &parameter.pattern {
        Some(pattern) => {
            let compiled =
                compile_pattern(pattern).map_err(|why| wrong(format!("its pattern is invalid: {why}")))?;
            if !compiled.is_match(text) {
                let example = parameter
                    .example
                    .as_ref()
                    .map(|example| format!(" An example is `{example}`."))
                    .unwrap_or_default();
                return Err(wrong(format!("it does not match `{pattern}`"))
                    .hint(format!("Nothing was run.{example}")));
            }
        }
        // A value like `--force` would be an option of the command that gets it.
        None if text.starts_with('-') && !parameter.secret => {
            return Err(wrong("it begins with a hyphen".to_owned()));
        }
        None => {}
    }
    match parameter.secret || parameter.free_text {
        true => Ok(()),
        false => judge_plain(text).map_err(|why| wrong(why).hint(format!("Nothing was run. {FREE_TEXT}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::error::Kind;

    fn parameter(name: &str) -> Parameter {
        Parameter { name: name.to_owned(), required: true, ..Parameter::default() }
    }

    fn read_time(text: &str) -> Result<DateTime<Utc>> {
        let now = "2026-11-22T05:00:00Z".parse().unwrap();
        crate::when::parse_time(text, now, &Utc)
    }

    #[test]
    fn a_time_is_taken_as_people_say_it_and_all_missing_values_are_named_at_once() {
        let when =
            Parameter { is_time: true, example: Some("2026-11-20T14:05:00Z".into()), ..parameter("when") };
        let front =
            Front { parameters: vec![parameter("source"), when, parameter("table")], ..Front::default() };
        let error =
            resolve_parameters(&front, &[("table".into(), "users".into())], Mode::Real, &run(), &read_time)
                .unwrap_err();
        assert_eq!(error.chain(), "2 parameters have no value: `source`, `when`");
        assert_eq!(error.hints(), ["Pass `--set source=VALUE --set when=2026-11-20T14:05:00Z`."]);
        for (said, meant) in [
            ("20 minutes ago", "2026-11-22T04:40:00Z"),
            ("yesterday 14:05", "2026-11-21T14:05:00Z"),
            ("2026-11-20T14:05:00Z", "2026-11-20T14:05:00Z"),
        ] {
            let said = [("source", "x"), ("when", said), ("table", "users")];
            let said = said.map(|(name, value)| (name.to_owned(), value.to_owned()));
            let values = resolve_parameters(&front, &said, Mode::Real, &run(), &read_time).unwrap();
            assert_eq!(values.get("when"), Some(meant));
        }
    }

    fn run() -> RunId {
        RunId::parse("20261122-050000-abc234").unwrap()
    }

    #[test]
    fn a_hostile_value_is_refused_before_anything_is_run() {
        let source = Parameter { pattern: Some("^[a-z][a-z0-9-]{0,62}$".into()), ..parameter("source") };
        let front = Front {
            parameters: vec![source, Parameter { free_text: true, ..parameter("free") }],
            ..Front::default()
        };
        let said = |source: &str, free: &str| {
            resolve_parameters(
                &front,
                &[("source".into(), source.into()), ("free".into(), free.into())],
                Mode::Real,
                &run(),
                &read_time,
            )
        };
        assert!(said("orders-prod", "x y").is_ok());
        for wrong in ["orders; rm -rf /", "orders\nrm", "-orders", "$(id)", "`id`", "orders\n", "", "Orders"]
        {
            assert!(said(wrong, "x").is_err(), "{wrong:?}");
        }
        for wrong in ["--force", "a\nb", "a\0b", "\u{1b}[2J"] {
            assert!(said("orders", wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_value_is_plain_or_it_is_said_to_be_free_text() {
        for plain in [
            "",
            "x",
            "orders-prod",
            "public.users",
            "a,b",
            "1.5",
            "+02:00",
            "50%",
            "me@example.com",
            "./bin/x",
            "2026-11-20T14:05:00Z",
            "2026-11-20 14:05:00.123+00",
            "https://x/y?a=b",
            "Grüße",
            "日本",
        ] {
            assert_eq!(judge_plain(plain), Ok(()), "{plain}");
        }
        for other in [
            "a b",
            "$x",
            "`x`",
            "a[0]",
            "x(",
            "{}",
            "<",
            ">",
            "|",
            "&",
            ";",
            "'",
            "\"",
            "\\",
            "*",
            "?",
            "!",
            "#",
            "^",
            "~",
            "a=b",
            "a\tb",
            "a\nb",
            "\u{202e}",
            "https://x/$(y)",
            "2026-11-20 $(x)",
            "2026-11-20; x",
            "\u{a0}",
            "x://$IFS",
            "a://b c",
        ] {
            assert!(judge_plain(other).is_err(), "{other:?}");
        }
        let recorded = BTreeMap::from([("count".to_owned(), "HOME[$(id)]".to_owned())]);
        let mut values = Values::default();
        assert_eq!(values.take_over(&recorded, &BTreeSet::new()).unwrap_err().kind(), Kind::Guard);
        assert!(values.take_over(&recorded, &["count".to_owned()].into()).is_ok());
    }

    #[test]
    fn defaults_follow_the_mode_and_the_parameters_before_them() {
        let target = Parameter {
            required: false,
            default: Some("{{source}}-r{{run.short}}".into()),
            rehearse: Some("drill-{{source}}-{{run.short}}".into()),
            ..parameter("target")
        };
        let front = Front { parameters: vec![parameter("source"), target], ..Front::default() };
        let said = [("source".to_owned(), "orders".to_owned())];
        let value = |mode| {
            resolve_parameters(&front, &said, mode, &run(), &read_time)
                .unwrap()
                .get("target")
                .unwrap()
                .to_owned()
        };
        assert_eq!(value(Mode::Real), "orders-rabc234");
        assert_eq!(value(Mode::Rehearse), "drill-orders-abc234");
        let unknown =
            resolve_parameters(&front, &[("sorce".into(), "x".into())], Mode::Real, &run(), &read_time)
                .unwrap_err();
        assert!(unknown.hints()[0].contains("Did you mean `source`?"), "{:?}", unknown.hints());
    }

    #[test]
    fn a_secret_is_neither_taken_from_the_command_line_nor_shown() {
        let front = Front {
            parameters: vec![Parameter { secret: true, ..parameter("password") }],
            ..Front::default()
        };
        let said = resolve_parameters(
            &front,
            &[("password".into(), "hunter2".into())],
            Mode::Real,
            &run(),
            &read_time,
        )
        .unwrap_err();
        assert!(said.chain().contains("must not be on a command line") && !said.chain().contains("hunter2"));
        let mut values = Values::default();
        values.set("password", "hunter2", true);
        values.set("a", "1", false);
        assert_eq!(values.fill_for_display("{{a}} {{password}} {{b}}"), "1 {{password}} {{b}}");
        assert!(values.list_public().keys().eq(["a"]));
    }
}
