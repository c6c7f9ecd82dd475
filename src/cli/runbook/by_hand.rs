//! What to do when this tool is not there: the blocks of a runbook in their order, those by hand in place of those that call it.

use serde::Serialize;

use crate::output::{Page, Report};
use crate::runbook::{Kind, Runbook};

/// A runbook without this tool (`lifeboat.runbook.by-hand/1`).
#[derive(Serialize)]
pub(super) struct ByHand {
    schema: &'static str,
    title: String,
    parameters: Vec<String>,
    steps: Vec<Block>,
}

#[derive(Serialize)]
struct Block {
    step: String,
    title: String,
    role: &'static str,
    only: Option<&'static str>,
    shell: String,
}

impl ByHand {
    pub(super) fn of(runbook: &Runbook) -> Self {
        let steps = runbook.steps.iter().map(|step| {
            let own = match &step.kind {
                Kind::Sh(act) => with_capture(&act.script.text, &act.capture),
                Kind::Sql(act, _) => format!(
                    "psql -X -v ON_ERROR_STOP=1 <<'SQL'\n{};\nSQL",
                    act.script.text.trim_end().trim_end_matches(';')
                ),
                Kind::Wait(waiting) => format!("# wait until: {}", waiting.condition.text),
                Kind::Confirm { text, .. } | Kind::Manual { text } | Kind::Approve { text, .. } => {
                    text.lines().map(|line| format!("# {line}")).collect::<Vec<_>>().join("\n")
                }
            };
            let by_hand: Vec<&str> = step.by_hand.iter().map(|script| script.text.as_str()).collect();
            Block {
                step: step.id.clone(),
                title: step.title.clone(),
                role: step.kind.role(),
                only: step.only.map(crate::runbook::Mode::word),
                shell: if by_hand.is_empty() { own } else { by_hand.join("\n") },
            }
        });
        ByHand {
            schema: "lifeboat.runbook.by-hand/1",
            title: runbook.front.title.clone(),
            parameters: runbook.front.parameters.iter().map(|parameter| parameter.name.clone()).collect(),
            steps: steps.collect(),
        }
    }
}

/// In a shell, what a step finds goes into variables by a substitution.
fn with_capture(text: &str, names: &[String]) -> String {
    match names {
        [] => text.to_owned(),
        [name] => format!("{name}=$(\n{text}\n)\necho \"${name}\""),
        names => {
            let numbered = names.iter().enumerate();
            let assigned: Vec<String> =
                numbered.map(|(place, name)| format!("{name}=${{{}}}", place + 1)).collect();
            format!("set -- $(\n{text}\n)\n{}\necho \"$@\"", assigned.join(" "))
        }
    }
}

impl Report for ByHand {
    fn render(&self, page: &mut Page) {
        page.verbatim(format!(
            "# {}, by hand: paste one block after the other, and look at what each says.",
            self.title
        ));
        page.verbatim("# First set the parameters:");
        for parameter in &self.parameters {
            page.verbatim(format!("export {parameter}="));
        }
        for block in &self.steps {
            let only = block.only.map(|only| format!(", only {only}")).unwrap_or_default();
            page.verbatim(format!("\n# {}: {} ({}{only})", block.step, block.title, block.role));
            page.verbatim(&block.shell);
        }
    }
}
