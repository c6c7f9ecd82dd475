//! The page of a command in the reference, in Markdown, from the same words as `--help`.

use std::fmt::Write as _;

use clap::{Arg, Command};

/// Draws the page of a command whose whole name is `name`, such as `lifeboat-drill-run`. Pages of other commands stand beside it.
pub(super) fn draw_page(command: &Command, name: &str) -> String {
    let title = name.replace('-', " ");
    let title = if command.get_name().contains('-') { name_of(name, command.get_name()) } else { title };
    let mut page = format!("# {title}\n\n");
    if let Some(about) = command.get_long_about().or(command.get_about()) {
        let _ = writeln!(page, "{}\n", about.to_string().trim());
    }
    let usage = command.clone().render_usage().to_string();
    let _ = writeln!(
        page,
        "```text\n{}\n```\n",
        usage.trim_start_matches("Usage:").trim().replace("\n       ", "\n")
    );
    let children: Vec<&Command> = visible_subcommands(command).collect();
    if !children.is_empty() {
        page.push_str("| command | |\n|---|---|\n");
        for child in children {
            let file = format!("{name}-{}", child.get_name());
            let about = child.get_about().map(ToString::to_string).unwrap_or_default();
            let _ = writeln!(page, "| [`{}`]({}) | {} |", child.get_name(), file_name(&file), cell(&about));
        }
        page.push('\n');
    }
    draw_arguments(command, name == "lifeboat", &mut page);
    if name != "lifeboat" {
        page.push_str("[Global options](lifeboat.md#global-options) and [exit codes](../exit-codes.md) are those of every command.\n");
    }
    page
}

/// The file of a command's page: `drill-run.md`.
pub(super) fn file_name(name: &str) -> String {
    format!("{}.md", name.strip_prefix("lifeboat-").unwrap_or(name))
}

/// The commands below one, without `help` and hidden ones.
pub(super) fn visible_subcommands(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|child| child.get_name() != "help" && !child.is_hide_set())
}

/// A command's name may have a hyphen of its own, as in `restore point-in-time`.
fn name_of(name: &str, last: &str) -> String {
    let before = name.strip_suffix(last).unwrap_or(name);
    format!("{}{last}", before.replace('-', " "))
}

fn draw_arguments(command: &Command, is_root: bool, page: &mut String) {
    const GLOBAL: &str = "Global options";
    let shown = |arg: &&Arg| !arg.is_hide_set() && !["help", "version"].contains(&arg.get_id().as_str());
    let heading = |arg: &Arg| match arg.get_help_heading() {
        Some(heading) => heading.to_owned(),
        None if arg.is_positional() => "Arguments".to_owned(),
        None => "Options".to_owned(),
    };
    let arguments: Vec<&Arg> = command.get_arguments().filter(shown).collect();
    let mut headings: Vec<String> = Vec::new();
    for argument in &arguments {
        let heading = heading(argument);
        if !headings.contains(&heading) && (is_root || heading != GLOBAL) {
            headings.push(heading);
        }
    }
    // Arguments come first, as in the usage.
    headings.sort_by_key(|heading| heading != "Arguments");
    for title in headings {
        let _ = writeln!(page, "## {title}\n\n| | |\n|---|---|");
        for argument in arguments.iter().filter(|argument| heading(argument) == title) {
            let _ = writeln!(page, "| {} | {} |", draw_flag(argument), draw_help(argument));
        }
        page.push('\n');
    }
}

/// `` `--rto DURATION` ``, `` `-q`, `--quiet` ``, `` `DB...` ``.
fn draw_flag(argument: &Arg) -> String {
    let takes_value = argument.get_action().takes_values();
    let names: Vec<String> =
        argument.get_value_names().unwrap_or_default().iter().map(ToString::to_string).collect();
    let many = if argument.get_num_args().is_some_and(|range| range.max_values() > 1) { "..." } else { "" };
    let value = if takes_value { format!("{}{many}", names.join(" ")) } else { String::new() };
    let Some(long) = argument.get_long() else {
        return match argument.get_short() {
            Some(short) => format!("`-{short}`"),
            None => format!("`{value}`"),
        };
    };
    let short = argument.get_short().map(|short| format!("`-{short}`, ")).unwrap_or_default();
    cell(&format!("{short}`--{long}{}{value}`", if takes_value { " " } else { "" }))
}

fn draw_help(argument: &Arg) -> String {
    let help = argument.get_long_help().or(argument.get_help()).map(ToString::to_string).unwrap_or_default();
    let mut text = cell(help.trim());
    let mut notes = Vec::new();
    if argument.get_action().takes_values() && !argument.is_hide_possible_values_set() {
        let values = argument.get_possible_values();
        let values = values.iter().filter(|value| !value.is_hide_set());
        let values: Vec<String> = values
            .map(|value| match value.get_help() {
                Some(help) => format!("`{}` ({})", value.get_name(), cell(&help.to_string())),
                None => format!("`{}`", value.get_name()),
            })
            .collect();
        if !values.is_empty() {
            notes.push(format!("Values: {}", values.join(", ")));
        }
    }
    let defaults: Vec<String> =
        argument.get_default_values().iter().map(|value| format!("`{}`", value.to_string_lossy())).collect();
    if !defaults.is_empty() && argument.get_action().takes_values() && !argument.is_hide_default_value_set() {
        notes.push(format!("Default: {}", defaults.join(" ")));
    }
    if let Some(variable) = argument.get_env().filter(|_| !argument.is_hide_env_set()) {
        notes.push(format!("Environment: `{}`", variable.to_string_lossy()));
    }
    for note in notes {
        if !text.is_empty() {
            text.push_str("<br>");
        }
        text.push_str(&note);
    }
    text
}

/// A text as one cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace("\n\n", "<br>").replace('\n', " ")
}
