//! The front matter: owner, needs and parameters.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::document::{Front, Needs, NeedsAws, NeedsDatabase, NeedsFile, Parameter};
use super::fault::{Faults, Position};
use super::values;
use crate::when::parse_duration;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    runbook: Spanned<u32>,
    title: Spanned<String>,
    owner: Option<Spanned<String>>,
    review_by: Option<Spanned<String>>,
    rto: Option<Spanned<String>>,
    rpo: Option<Spanned<String>>,
    #[serde(default, alias = "parameters")]
    params: BTreeMap<String, Spanned<WrittenParameter>>,
    #[serde(default)]
    needs: WrittenNeeds,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenParameter {
    #[serde(default)]
    required: bool,
    pattern: Option<Spanned<String>>,
    default: Option<Spanned<String>>,
    rehearse: Option<Spanned<String>>,
    env: Option<String>,
    #[serde(default)]
    secret: bool,
    #[serde(default)]
    free_text: bool,
    is: Option<Spanned<String>>,
    example: Option<String>,
    help: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenNeeds {
    #[serde(default)]
    commands: Vec<String>,
    aws: Option<NeedsAws>,
    #[serde(default)]
    files: Vec<Spanned<NeedsFile>>,
    #[serde(default)]
    databases: Vec<NeedsDatabase>,
}

/// Names that are reserved by lifeboat, the shell or the programs that it starts.
pub(super) const TAKEN: [&str; 10] = [
    "run_id",
    "run_short",
    "run_mode",
    "http_proxy",
    "https_proxy",
    "ftp_proxy",
    "all_proxy",
    "no_proxy",
    "auto_resume",
    "histchars",
];

/// Reads the front matter; it begins in line 2 of the file.
pub(super) fn parse_front(yaml: &str, faults: &mut Faults) -> Front {
    let written: Written = match serde_saphyr::from_str(yaml) {
        Ok(written) => written,
        Err(error) => {
            let at = error.location().map_or(Position { line: 2, column: 1 }, |found| {
                below(
                    usize::try_from(found.line()).unwrap_or(1),
                    usize::try_from(found.column()).unwrap_or(1),
                )
            });
            let text = error.without_snippet().to_string();
            let text = text
                .split(" at line ")
                .next()
                .unwrap_or_default()
                .lines()
                .next()
                .unwrap_or_default()
                .to_owned();
            faults.malformed(at, "front-matter", format!("the front matter is invalid: {}", text.trim_start_matches("error: "))).hint(
                "It needs `runbook: 1` and a `title`, and may have owner, review_by, rto, rpo, params and needs.",
            );
            return Front::default();
        }
    };
    let start = Position { line: 1, column: 1 };
    if written.runbook.value != 1 {
        faults
            .malformed(
                position_of(&written.runbook),
                "version",
                format!("format version {} is not supported", written.runbook.value),
            )
            .hint("This version of lifeboat supports `runbook: 1`.");
    }
    if written.owner.as_ref().is_none_or(|owner| owner.value.trim().is_empty()) {
        faults
            .shortfall(start, "owner", "this runbook has no owner")
            .hint("Add `owner:` to the front matter.");
    }
    if written.rto.is_none() {
        faults.note(start, "rto", "there is no `rto`: a run cannot show the time left");
    }
    let review_by = read_date(&written, faults);
    let mut duration = |written: &Option<Spanned<String>>, name: &str| {
        let written = written.as_ref()?;
        let read = parse_duration(&written.value).ok();
        if read.is_none() {
            faults
                .malformed(
                    position_of(written),
                    "front-matter",
                    format!("`{}` is not a duration for `{name}`", written.value.escape_default()),
                )
                .hint("Write it as in `60m`.");
        }
        read
    };
    let (rto, rpo) = (duration(&written.rto, "rto"), duration(&written.rpo, "rpo"));
    let mut parameters: Vec<Parameter> =
        written.params.into_iter().map(|(name, parameter)| read_parameter(name, parameter, faults)).collect();
    parameters.sort_by_key(|parameter| parameter.at);
    refuse_unknown_placeholders(&parameters, faults);
    Front {
        title: written.title.value,
        owner: written.owner.map(|owner| owner.value).unwrap_or_default(),
        review_by,
        rto,
        rpo,
        parameters,
        needs: Needs {
            files: read_files(written.needs.files, faults),
            databases: written.needs.databases,
            commands: written.needs.commands,
            aws: written.needs.aws,
        },
    }
}

fn below(line: usize, column: usize) -> Position {
    Position { line: line + 1, column: column.max(1) }
}

fn position_of<T>(spanned: &Spanned<T>) -> Position {
    below(
        usize::try_from(spanned.referenced.line()).unwrap_or(1),
        usize::try_from(spanned.referenced.column()).unwrap_or(1),
    )
}

fn read_files(written: Vec<Spanned<NeedsFile>>, faults: &mut Faults) -> Vec<NeedsFile> {
    for file in &written {
        if let Some(Err(why)) = file.value.has.as_deref().map(values::compile_line_pattern) {
            let what = format!("`has` of `{}` is invalid: {why}", file.value.path);
            faults.malformed(position_of(file), "pattern", what);
        }
    }
    written.into_iter().map(|file| file.value).collect()
}

fn read_date(written: &Written, faults: &mut Faults) -> Option<NaiveDate> {
    let Some(text) = &written.review_by else {
        let start = Position { line: 1, column: 1 };
        faults
            .shortfall(start, "review", "this runbook has no review date")
            .hint("Add `review_by: YYYY-MM-DD`.");
        return None;
    };
    let date = NaiveDate::parse_from_str(text.value.trim(), "%Y-%m-%d").ok();
    if date.is_none() {
        faults
            .malformed(
                position_of(text),
                "front-matter",
                format!("`{}` is not a date", text.value.escape_default()),
            )
            .hint("Write it as in `2027-03-01`.");
    }
    date
}

fn read_parameter(name: String, written: Spanned<WrittenParameter>, faults: &mut Faults) -> Parameter {
    let at = position_of(&written);
    let WrittenParameter { required, pattern, default, rehearse, env, secret, free_text, is, example, help } =
        written.value;
    let is_name = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if !is_name || TAKEN.contains(&name.as_str()) {
        let what = format!("`{}` is not a valid parameter name", name.escape_default());
        faults.malformed(at, "parameter", what).hint(
            "Use lower-case letters, digits and underscores, a letter first; run_id, run_short, run_mode, http_proxy and the like are reserved.",
        );
    }
    let written = [&default, &rehearse].into_iter().flatten().map(|it| it.value.as_str());
    let texts: Vec<&str> = written.chain(example.as_deref()).collect();
    if let Some(pattern) = &pattern {
        match values::compile_pattern(&pattern.value) {
            Err(why) => {
                let what = format!("the pattern of `{name}` is invalid: {why}");
                faults.malformed(position_of(pattern), "pattern", what);
            }
            Ok(compiled) => {
                let fixed = |text: &&&str| !text.contains("{{") && !text.is_empty();
                for text in texts.iter().filter(fixed).filter(|text| !compiled.is_match(text)) {
                    let what = format!(
                        "`{}` does not match the pattern of its own parameter `{name}`",
                        text.escape_default()
                    );
                    faults.malformed(position_of(pattern), "pattern", what);
                }
            }
        }
    } else if !secret && is.is_none() {
        faults.note(at, "pattern", format!("parameter `{name}` has no pattern"));
    }
    if !secret && !free_text {
        for text in &texts {
            if let Err(why) = values::judge_plain(&values::without_placeholders(text)) {
                let what = format!("`{}` cannot be a value of `{name}`: {why}", text.escape_default());
                faults.malformed(at, "free-text", what).hint(values::FREE_TEXT);
            }
        }
    }
    if let Some(is) = is.as_ref().filter(|is| is.value != "time") {
        let what = format!("parameter `{name}` is `{}`, which is not supported", is.value.escape_default());
        faults.malformed(position_of(is), "parameter", what).hint("`is` can only be `time`.");
    }
    if required && default.is_some() {
        faults
            .malformed(at, "parameter", format!("parameter `{name}` is required and has a default"))
            .hint("Leave out one of them.");
    }
    if !required && default.is_none() && rehearse.is_none() && env.is_none() {
        faults
            .malformed(at, "parameter", format!("parameter `{name}` has no default and is not required"))
            .hint("Add `required: true` or a `default`.");
    }
    let text = |written: Option<Spanned<String>>| written.map(|it| it.value);
    Parameter {
        name,
        at,
        required,
        pattern: text(pattern),
        default: text(default),
        rehearse: text(rehearse),
        env,
        secret,
        is_time: is.is_some(),
        free_text,
        example,
        help,
    }
}

/// A default may use the parameters before it.
fn refuse_unknown_placeholders(parameters: &[Parameter], faults: &mut Faults) {
    for (index, parameter) in parameters.iter().enumerate() {
        for text in [&parameter.default, &parameter.rehearse].into_iter().flatten() {
            for used in values::placeholders(text) {
                let is_known = used == "run.short"
                    || used == "run.id"
                    || parameters[..index].iter().any(|other| other.name == used);
                if !is_known {
                    let what = format!(
                        "the default of `{}` uses `{{{{{used}}}}}`, which is not available there",
                        parameter.name
                    );
                    faults
                        .malformed(parameter.at, "placeholder", what)
                        .hint("It can use run.id, run.short and the parameters before it.");
                }
            }
        }
    }
}
