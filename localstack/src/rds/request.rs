//! A call of RDS, and how it names objects.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::error::{ApiError, Result};
use crate::rds::validate::check_identifier;
use crate::resources::Instance;
use crate::scope;
use crate::stack::Context;
use crate::store::State;
use crate::wire::Query;

/// A call of one action.
pub(crate) struct Request<'a> {
    pub(crate) cx: &'a Arc<Context>,
    pub(crate) region: &'a str,
    pub(crate) query: &'a Query,
    pub(crate) now: DateTime<Utc>,
}

impl Request<'_> {
    /// The identifier in a parameter, in lower case as RDS stores it. An ARN counts as the name in it.
    pub(super) fn resolve_identifier(&self, parameter: &str) -> Result<String> {
        Ok(self.resolve_name(self.query.required(parameter)?))
    }

    /// The identifier that a caller chooses for a new object, in lower case.
    pub(super) fn new_identifier(&self, parameter: &str, longest: usize) -> Result<String> {
        check_identifier(parameter, self.query.required(parameter)?, longest)
    }

    /// The name of the object in this Region that a name or an ARN refers to. The ARN of another Region's object
    /// stays whole, and is then not found.
    pub(super) fn resolve_name(&self, text: &str) -> String {
        let is_elsewhere = scope::scope_of_arn(text).is_some_and(|scope| scope != self.region);
        if is_elsewhere { text.to_lowercase() } else { local_name(text) }
    }

    pub(super) fn instance<'s>(&self, state: &'s State, id: &str) -> Result<&'s Instance> {
        state.region(self.region).instances.get(id).ok_or_else(|| ApiError::no_instance(id))
    }

    pub(super) fn instance_mut<'s>(&self, state: &'s mut State, id: &str) -> Result<&'s mut Instance> {
        state.region_mut(self.region).instances.get_mut(id).ok_or_else(|| ApiError::no_instance(id))
    }
}

/// `arn:aws:rds:eu-west-1:123456789012:snapshot:rds:app-2026` → `rds:app-2026`; anything else as it is. Lowercase.
pub(super) fn local_name(text: &str) -> String {
    let is_arn = text.starts_with("arn:");
    let name = if is_arn { text.splitn(7, ':').nth(6).unwrap_or(text) } else { text };
    name.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_stands_for_its_last_part_even_with_colons_in_it() {
        assert_eq!(local_name("arn:aws:rds:eu-west-1:123456789012:snapshot:rds:App-2026"), "rds:app-2026");
        assert_eq!(local_name("Orders"), "orders");
    }
}
