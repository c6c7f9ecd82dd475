//! IAM's policy simulator. Everything is allowed unless a fault refuses it with AccessDenied.

use crate::error::{ApiError, Result};
use crate::faults::InjectedFaults;
use crate::scope;
use crate::wire::{Query, Xml};

pub(crate) const NAMESPACE: &str = "https://iam.amazonaws.com/doc/2010-05-08/";
pub(crate) const VERSION: &str = "2010-05-08";

/// The most actions in one call.
const MOST: usize = 100;

pub(crate) fn perform_action(injected: &InjectedFaults, query: &Query, action: &str) -> Result<Xml> {
    if action != "SimulatePrincipalPolicy" {
        return Err(ApiError::no_operation(action, VERSION));
    }
    let identity = query.required("PolicySourceArn")?;
    let account = identity.split(':').nth(4).unwrap_or_default();
    let actions = query.list("ActionNames", "member").unwrap_or_default();
    if actions.is_empty() || actions.len() > MOST {
        return Err(invalid_input("ActionNames must have 1 to 100 members"));
    }
    let resources = query.list("ResourceArns", "member").unwrap_or_else(|| vec!["*".to_owned()]);
    let mut xml = Xml::new();
    xml.text("IsTruncated", "false");
    let pairs = actions.iter().flat_map(|action| resources.iter().map(move |resource| (action, resource)));
    xml.list("EvaluationResults", "member", pairs, |xml, (action, resource)| {
        let bare = action.split_once(':').map_or(action.as_str(), |(_, bare)| bare);
        let about = Query::from_pair("Resource", resource);
        let region = scope::scope_of_arn(resource).map(|scope| scope::region_of(&scope).to_owned());
        let is_denied = injected.would_deny(bare, region.as_deref(), account, &about);
        xml.text("EvalActionName", action)
            .text("EvalResourceName", resource)
            .text("EvalDecision", if is_denied { "implicitDeny" } else { "allowed" });
    });
    Ok(xml)
}

fn invalid_input(message: &str) -> ApiError {
    ApiError::with_status(400, "InvalidInput", message)
}
