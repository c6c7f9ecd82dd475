//! Which database a drill was of: a name is its own within an account and a Region only.

use std::collections::{BTreeMap, BTreeSet};

/// A database: its name is its own within an account and Region only.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Which {
    /// Its name.
    pub id: String,
    /// The number of its account; `None` where it is not known.
    pub account: Option<String>,
    pub region: String,
}

impl Which {
    /// Whether both may be the same: an account that is not known may be any.
    pub(crate) fn may_be(&self, other: &Which) -> bool {
        let is_same = |a: &Option<String>, b: &Option<String>| a.is_none() || b.is_none() || a == b;
        (&self.id, &self.region) == (&other.id, &other.region) && is_same(&self.account, &other.account)
    }
}

/// What each is called: its name, with Region and account where that alone could be several.
pub(crate) fn label_databases(of: &BTreeSet<Which>) -> BTreeMap<Which, String> {
    let mut namesakes = BTreeMap::<&str, Vec<&Which>>::new();
    for which in of {
        namesakes.entry(&which.id).or_default().push(which);
    }
    let label = |which: &Which| {
        let alike = &namesakes[which.id.as_str()];
        let spans = |part: fn(&Which) -> Option<&str>| alike.iter().any(|one| part(one) != part(which));
        let parts = [
            which.account.as_deref().filter(|_| spans(|it| it.account.as_deref())),
            Some(which.region.as_str()).filter(|_| spans(|it| Some(&it.region))),
        ];
        match parts.into_iter().flatten().collect::<Vec<_>>() {
            parts if parts.is_empty() => which.id.clone(),
            parts => format!("{} ({})", which.id, parts.join(", ")),
        }
    };
    of.iter().map(|which| (which.clone(), label(which))).collect()
}
