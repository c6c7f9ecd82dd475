//! Reading a runbook: CommonMark in, steps and faults out. Nothing is run here.

mod names;

use std::ops::Range;

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

use super::document::{Act, Front, Kind, Mode, Origin, Runbook, Script, SqlTarget, Step, Waiting};
use super::evaluation::{self, ByHand};
use super::fault::{Faults, Position};
use super::fence::{Fence, Language, ROLES, language, nearest_role};
use super::shell::is_name;
use super::{expect, front, sha256, values, wait};

/// How often a wait polls by default.
const EVERY: std::time::Duration = std::time::Duration::from_secs(15);

/// Reads the bytes of a file.
pub(crate) fn parse(origin: Origin, bytes: &[u8]) -> Runbook {
    let mut runbook = Runbook {
        origin,
        sha256: sha256(bytes),
        text: String::new(),
        front: Front::default(),
        steps: Vec::new(),
        faults: Faults::default(),
    };
    runbook.text = match std::str::from_utf8(bytes) {
        Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text).to_owned(),
        Err(error) => {
            let good = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            let at = Position {
                line: good.matches('\n').count() + 1,
                column: good.rsplit('\n').next().unwrap_or_default().chars().count() + 1,
            };
            runbook.faults.malformed(at, "utf-8", "the file is not UTF-8 text").hint("Save it as UTF-8.");
            return runbook;
        }
    };
    let text = runbook.text.clone();
    let body_at = match split_front(&text) {
        Some((yaml, body_at)) => {
            runbook.front = front::parse_front(yaml, &mut runbook.faults);
            body_at
        }
        None => {
            let start = Position { line: 1, column: 1 };
            runbook.faults.malformed(start, "front-matter", "there is no front matter").hint(
                "A runbook begins with a line `---`, then `runbook: 1` and a `title:`, then a line `---`.",
            );
            0
        }
    };
    let mut reader =
        Reader { text: &text, runbook: &mut runbook, title: String::new(), attached: Vec::new() };
    reader.read(body_at);
    reader.attach();
    names::check_names(&mut runbook);
    let free = runbook.free_names();
    for found in evaluation::list_evaluations(&runbook, &free, ByHand::LeftOut) {
        runbook.faults.malformed(found.at, "evaluated", found.message).hint("Its value may be any text. Pass it as a separate argument, such as `psql -v` or `bash -c '…' _ \"$value\"`.");
    }
    if runbook.steps.is_empty() && runbook.faults.is_empty() {
        let at = Position { line: 1, column: 1 };
        runbook.faults.malformed(at, "steps", "there is nothing to run: no block has an `id`");
    }
    runbook.faults.sort();
    runbook
}

/// The YAML, and where the text begins.
fn split_front(text: &str) -> Option<(&str, usize)> {
    let start = text.find('\n')? + 1;
    if text[..start].trim_end() != "---" {
        return None;
    }
    let mut place = start;
    for line in text[start..].split_inclusive('\n') {
        if matches!(line.trim_end(), "---" | "...") {
            return Some((&text[start..place], place + line.len()));
        }
        place += line.len();
    }
    None
}

/// A block that belongs to a step.
struct Attached {
    role: String,
    /// The step, by its id, or the one above.
    to: Option<String>,
    above: Option<usize>,
    script: Script,
    at: Position,
}

/// The attributes that any step can have.
struct Marks {
    only: Option<Mode>,
    completes_recovery: bool,
}

impl Marks {
    fn read(fence: &Fence, faults: &mut Faults) -> Self {
        let completes_recovery = fence.flag("recovered", faults);
        let only = match fence.value("only", faults).as_deref() {
            None => None,
            Some("real") => Some(Mode::Real),
            Some("rehearse" | "rehearsal") => Some(Mode::Rehearse),
            Some(other) => {
                let what = format!("`{}` is not a mode", other.escape_default());
                faults.malformed(fence.at("only"), "attribute", what).hint("`only` is real or rehearse.");
                None
            }
        };
        Marks { only, completes_recovery }
    }
}

struct Reader<'a> {
    text: &'a str,
    runbook: &'a mut Runbook,
    title: String,
    attached: Vec<Attached>,
}

impl Reader<'_> {
    fn read(&mut self, body_at: usize) {
        let options = Options::ENABLE_TABLES | Options::ENABLE_TASKLISTS | Options::ENABLE_STRIKETHROUGH;
        let (mut heading, mut block): (Option<String>, Option<(Range<usize>, String)>) = (None, None);
        for (event, range) in Parser::new_ext(&self.text[body_at..], options).into_offset_iter() {
            let range = range.start + body_at..range.end + body_at;
            match event {
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => self.title = heading.take().unwrap_or_default(),
                Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(_))) => {
                    block = Some((range, String::new()))
                }
                Event::End(TagEnd::CodeBlock) => {
                    if let Some((range, content)) = block.take() {
                        self.block(range, &content);
                    }
                }
                Event::Text(text) => {
                    if let Some((_, content)) = &mut block {
                        content.push_str(&text);
                    } else if let Some(heading) = &mut heading {
                        heading.push_str(&text);
                    }
                }
                Event::Code(text) => {
                    if let Some(heading) = &mut heading {
                        heading.push_str(&text);
                    }
                }
                _ => {}
            }
        }
    }

    fn position(&self, offset: usize) -> Position {
        let before = &self.text[..offset];
        Position {
            line: before.matches('\n').count() + 1,
            column: before.rsplit('\n').next().unwrap_or_default().chars().count() + 1,
        }
    }

    fn block(&mut self, range: Range<usize>, content: &str) {
        let at = self.position(range.start);
        let raw = &self.text[range];
        let opening = raw.lines().next().unwrap_or_default();
        let ticks = opening.chars().take_while(|c| *c == '`' || *c == '~').count();
        let info_at = Position { column: at.column + ticks, ..at };
        let mut faults = Faults::default();
        let fence = Fence::parse(&opening[ticks..], info_at, &mut faults);
        let closing = raw.lines().last().unwrap_or_default().trim_start_matches(['>', ' ', '\t']);
        let is_closed = raw.lines().count() > 1 && closing.starts_with(&opening[..ticks]);
        match language(&fence.role) {
            Language::Prose => {
                if fence.has_attributes() && fence.value("id", &mut Faults::default()).is_some() {
                    let what = format!("a block of language `{}` has an `id` but is not run", fence.role);
                    self.runbook
                        .faults
                        .malformed(fence.at, "role", what)
                        .hint("Commands that lifeboat runs have the language `sh`.");
                }
                return;
            }
            Language::Unknown => {
                let what = format!("unknown role `{}`", fence.role.escape_default());
                let fault = self.runbook.faults.malformed(fence.at, "role", what);
                match nearest_role(&fence.role) {
                    Some(near) => fault.hint(format!("Did you mean `{near}`?")),
                    None => fault.hint(format!(
                        "Roles are {}; an example may have the language `text` or `console`.",
                        ROLES.join(", ")
                    )),
                }
                return;
            }
            Language::Role => {}
        }
        if !is_closed {
            faults
                .malformed(at, "fence", format!("this `{}` block is not closed", fence.role))
                .hint(format!("Close it with a line `{}`.", &opening[..ticks]));
        }
        let script = Script {
            text: content.trim_end().to_owned(),
            at: Position { line: at.line + 1, column: at.column },
            timeout: None,
            does: None,
        };
        self.role(fence, script, &mut faults);
        self.runbook.faults.append(&mut faults);
    }

    fn role(&mut self, fence: Fence, mut script: Script, faults: &mut Faults) {
        match fence.role.as_str() {
            "sh" | "sql" => self.act(&fence, script, faults),
            "wait" => self.wait(&fence, &script, faults),
            "confirm" | "manual" | "approve" => self.gate(&fence, script.text, faults),
            role => {
                let allowed: &[&str] = match role {
                    "expect" => &["for"],
                    "undo" => &["for", "timeout", "does"],
                    _ => &["for", "timeout"],
                };
                let to = fence.value("for", faults);
                script.does = if role == "undo" { fence.value("does", faults) } else { None };
                if role != "expect" {
                    script.timeout = fence.duration("timeout", faults);
                    if script.text.trim().is_empty() {
                        faults.malformed(fence.at, "empty", format!("this `{role}` block is empty"));
                    }
                }
                fence.refuse_the_rest(allowed, faults);
                let above = self.runbook.steps.len().checked_sub(1);
                self.attached.push(Attached { role: role.to_owned(), to, above, script, at: fence.at });
            }
        }
    }

    fn act(&mut self, fence: &Fence, mut script: Script, faults: &mut Faults) {
        if let Some(to) = fence.value("by-hand", faults) {
            fence.refuse_the_rest(&["by-hand"], faults);
            self.attached.push(Attached {
                role: "by-hand".to_owned(),
                to: Some(to),
                above: None,
                script,
                at: fence.at,
            });
            return;
        }
        let Some(id) = fence.value("id", faults) else {
            if fence.has_attributes() && faults.is_empty() {
                let what = format!("this `{}` block has no `id`, so it is only prose", fence.role);
                faults
                    .shortfall(fence.at, "id", what)
                    .hint("Give it an `id`, or leave out the other attributes.");
            }
            return;
        };
        let timeout = fence.duration("timeout", faults);
        script.timeout = timeout;
        if script.text.trim().is_empty() {
            faults.malformed(fence.at, "empty", format!("step `{id}` is empty"));
        }
        let is_sql = fence.role == "sql";
        let act = Act {
            sets: fence.names("sets", faults),
            capture: fence.names("capture", faults),
            secret: fence.flag("secret", faults),
            free_text: fence.flag("free-text", faults),
            read_only: fence.flag("read-only", faults),
            creates: fence.names("creates", faults),
            once: fence.flag("once", faults),
            script,
        };
        for name in act.outputs() {
            let is_taken = front::TAKEN.contains(&name.as_str());
            if !is_name(name) || is_taken || name.chars().any(|c| c.is_ascii_uppercase()) {
                faults
                    .malformed(
                        fence.at,
                        "variable",
                        format!("`{}` is not a valid name for a variable here", name.escape_default()),
                    )
                    .hint("Use lower-case letters, digits and underscores.");
            }
        }
        for object in act.creates.iter().filter(|object| !object.contains(':')) {
            faults
                .malformed(
                    fence.at("creates"),
                    "creates",
                    format!("`{object}` does not say what kind of object it is"),
                )
                .hint("Write it as in `db:{{target}}`, `snapshot:{{snapshot}}` or `file:{{path}}`.");
        }
        if is_sql && !act.sets.is_empty() {
            faults
                .malformed(fence.at("sets"), "attribute", "SQL sets no shell variables")
                .hint("Take its output with `capture=NAME`.");
        }
        let marks = Marks::read(fence, faults);
        let place = SqlTarget {
            on: if is_sql { fence.value("on", faults) } else { None },
            db: if is_sql { fence.value("db", faults) } else { None },
        };
        let common = [
            "id",
            "timeout",
            "capture",
            "secret",
            "free-text",
            "read-only",
            "creates",
            "once",
            "only",
            "recovered",
        ];
        let own = if is_sql { ["on", "db"] } else { ["sets", "by-hand"] };
        fence.refuse_the_rest(&[&common[..], &own].concat(), faults);
        let kind = if is_sql { Kind::Sql(act, place) } else { Kind::Sh(act) };
        self.step(fence, Some(id), kind, marks, timeout, faults);
    }

    fn wait(&mut self, fence: &Fence, script: &Script, faults: &mut Faults) {
        let id = fence.value("id", faults);
        if let Some(of) = fence.value("for", faults)
            && self.runbook.step(&of).is_none()
        {
            refuse_unknown_step(self.runbook, &of, fence.at("for"));
        }
        let timeout = fence.duration("timeout", faults);
        if timeout.is_none() {
            faults
                .shortfall(fence.at, "timeout", "this wait has no `timeout`")
                .hint("Say how long is too long, as in `timeout=90m`.");
        }
        let every = fence.duration("every", faults).unwrap_or(EVERY);
        let fails_on = fence.names("fails-on", faults);
        let marks = Marks::read(fence, faults);
        fence.refuse_the_rest(&["id", "for", "timeout", "every", "fails-on", "only", "recovered"], faults);
        if let Some(condition) = wait::parse_condition(&script.text, script.at, faults) {
            self.step(fence, id, Kind::Wait(Waiting { condition, every, fails_on }), marks, timeout, faults);
        }
    }

    fn gate(&mut self, fence: &Fence, text: String, faults: &mut Faults) {
        let id = fence.value("id", faults);
        let timeout = fence.duration("timeout", faults);
        let marks = Marks::read(fence, faults);
        let typed = fence.value("type", faults);
        let allowed: &[&str] = if fence.role == "manual" {
            &["id", "timeout", "only", "recovered"]
        } else {
            &["id", "timeout", "only", "recovered", "type"]
        };
        fence.refuse_the_rest(allowed, faults);
        if text.trim().is_empty() {
            faults.malformed(fence.at, "empty", format!("this `{}` block is empty", fence.role));
        }
        let last = values::placeholders(&text).pop().map(|name| format!("{{{{{name}}}}}"));
        let answer = typed.or(last);
        let kind = match (fence.role.as_str(), answer) {
            ("manual", _) => Kind::Manual { text },
            ("approve", answer) => Kind::Approve { text, answer },
            (_, Some(answer)) => Kind::Confirm { text, answer },
            (_, None) => {
                faults.malformed(fence.at, "confirm", "the gate does not say what must be typed").hint("Name the object at stake in the text, as `{{source}}`, or say it with `type=\"{{source}}\"`.");
                return;
            }
        };
        self.step(fence, id, kind, marks, timeout, faults);
    }

    fn step(
        &mut self,
        fence: &Fence,
        id: Option<String>,
        kind: Kind,
        marks: Marks,
        timeout: Option<std::time::Duration>,
        faults: &mut Faults,
    ) {
        let is_named = id.is_some();
        let id = id.unwrap_or_else(|| {
            let of_kind = self.runbook.steps.iter().filter(|step| step.kind.role() == kind.role()).count();
            format!("{}-{}", kind.role(), of_kind + 1)
        });
        let is_id = id.starts_with(|c: char| c.is_ascii_alphabetic())
            && id.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
        if !is_id || id.len() > 60 {
            faults
                .malformed(fence.at("id"), "id", format!("`{}` is not a valid step id", id.escape_default()))
                .hint("Use letters, digits, hyphens and underscores, a letter first.");
        }
        if let Some(other) = self.runbook.step(&id) {
            let what = format!("two steps have the id `{id}`: the other one is on line {}", other.at.line);
            let at = if is_named { fence.at("id") } else { fence.at };
            faults.malformed(at, "id", what);
        }
        let title = self
            .title
            .trim()
            .trim_start_matches(|c: char| c.is_ascii_digit())
            .trim_start_matches(['.', ')'])
            .trim()
            .to_owned();
        let title = if title.is_empty() { id.clone() } else { title };
        self.runbook.steps.push(Step {
            id,
            title,
            at: fence.at,
            kind,
            only: marks.only,
            timeout,
            expects: Vec::new(),
            probe: None,
            undo: None,
            undo_check: None,
            by_hand: Vec::new(),
            completes_recovery: marks.completes_recovery,
        });
    }

    /// Gives the blocks that belong to steps to their steps.
    fn attach(&mut self) {
        for block in std::mem::take(&mut self.attached) {
            let index = match &block.to {
                Some(id) => self.runbook.steps.iter().position(|step| step.id == *id),
                None => block.above,
            };
            let Some(index) = index else {
                match &block.to {
                    Some(id) => refuse_unknown_step(self.runbook, id, block.at),
                    None => {
                        let what = format!("there is no step above this `{}` block", block.role);
                        self.runbook.faults.malformed(block.at, block_code(&block.role), what);
                    }
                }
                continue;
            };
            let mut faults = Faults::default();
            let step = &mut self.runbook.steps[index];
            let is_second = match block.role.as_str() {
                "expect" => {
                    if step.kind.act().is_none() {
                        faults.malformed(
                            block.at,
                            "expect",
                            format!("`{}` has no output to expect anything of", step.id),
                        );
                    }
                    step.expects.extend(expect::parse_assertions(
                        &block.script.text,
                        block.script.at,
                        &mut faults,
                    ));
                    false
                }
                "probe" => step.probe.replace(block.script).is_some(),
                "undo" => step.undo.replace(block.script).is_some(),
                "undo-check" => step.undo_check.replace(block.script).is_some(),
                _ => {
                    step.by_hand.push(block.script);
                    false
                }
            };
            if is_second {
                faults.malformed(
                    block.at,
                    block_code(&block.role),
                    format!("step `{}` has two `{}` blocks", step.id, block.role),
                );
            }
            self.runbook.faults.append(&mut faults);
        }
    }
}

fn block_code(role: &str) -> &'static str {
    ROLES.iter().find(|known| **known == role).copied().unwrap_or("by-hand")
}

fn refuse_unknown_step(runbook: &mut Runbook, id: &str, at: Position) {
    let fault = runbook.faults.malformed(at, "step", format!("there is no step `{}`", id.escape_default()));
    let near = runbook.steps.iter().map(|step| (strsim::damerau_levenshtein(&step.id, id), &step.id)).min();
    if let Some((..=2, near)) = near {
        fault.hint(format!("Did you mean `{near}`?"));
    }
}

#[cfg(test)]
mod tests;
