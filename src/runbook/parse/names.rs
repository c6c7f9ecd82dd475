//! Names in a runbook: each is a parameter, or set by a step before it is used, and none is in text that is run.

use crate::runbook::document::{Kind, Runbook};
use crate::runbook::fault::{Faults, Position};
use crate::runbook::values;

/// Every name in the text is known where it is used.
pub(super) fn check_names(runbook: &mut Runbook) {
    if runbook.faults.iter().any(|fault| fault.code == "front-matter") {
        return;
    }
    let known = runbook.names();
    let mut faults = Faults::default();
    for (index, step) in runbook.steps.iter().enumerate() {
        let mut used: Vec<(String, Position)> = Vec::new();
        let mut of_text = |text: &str, at: Position| {
            used.extend(values::placeholders(text).into_iter().map(|name| (name, at)))
        };
        match &step.kind {
            Kind::Confirm { text, answer } => {
                of_text(text, step.at);
                of_text(answer, step.at);
            }
            Kind::Manual { text } => of_text(text, step.at),
            Kind::Approve { text, answer } => {
                of_text(text, step.at);
                of_text(answer.as_deref().unwrap_or_default(), step.at);
            }
            Kind::Wait(waiting) => {
                used.extend(waiting.condition.names().into_iter().map(|name| (name, step.at)))
            }
            Kind::Sh(act) => act.creates.iter().for_each(|object| of_text(object, step.at)),
            Kind::Sql(act, place) => {
                act.creates.iter().for_each(|object| of_text(object, step.at));
                of_text(place.db.as_deref().unwrap_or_default(), step.at);
                used.extend(
                    place.on.as_deref().map(|on| (on.trim_matches(['{', '}', '$', ' ']).to_owned(), step.at)),
                );
            }
        }
        if let Some(does) = step.undo.as_ref().and_then(|undo| undo.does.as_deref()) {
            used.extend(values::placeholders(does).into_iter().map(|name| (name, step.at)));
        }
        used.extend(
            step.expects
                .iter()
                .flat_map(|assertion| assertion.names().into_iter().map(|name| (name, assertion.at))),
        );
        for (name, at) in used {
            let here = |set_by: &Option<usize>| set_by.is_none_or(|set_by| set_by <= index);
            match known.get(&name.replace('.', "_")) {
                Some(set_by) if here(set_by) => {}
                Some(_) => {
                    let what = format!("`{name}` has no value yet when `{}` is reached", step.id);
                    faults.malformed(at, "placeholder", what);
                }
                None => {
                    let what =
                        format!("`{}` is neither a parameter nor set by a step", name.escape_default());
                    let fault = faults.malformed(at, "placeholder", what);
                    let near = known.keys().find(|other| strsim::damerau_levenshtein(other, &name) <= 2);
                    if let Some(near) = near {
                        fault.hint(format!("Did you mean `{near}`?"));
                    }
                }
            }
        }
        for (_, script) in step.scripts() {
            for name in values::placeholders(&script.text)
                .into_iter()
                .filter(|name| known.contains_key(&name.replace('.', "_")))
            {
                let hint = match &step.kind {
                    Kind::Sql(..) => format!("Write `:'{name}'`: psql quotes it."),
                    _ => format!(
                        "Write `\"${}\"`: values reach a shell as environment variables only.",
                        name.replace('.', "_")
                    ),
                };
                faults
                    .malformed(script.at, "placeholder", format!("`{{{{{name}}}}}` is in text that is run"))
                    .hint(hint);
            }
        }
    }
    runbook.faults.append(&mut faults);
}
