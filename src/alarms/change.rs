//! One change to an alarm or event subscription: what differs, and what `apply` does about it.

use serde::Serialize;

use crate::rds::{AlarmSpec, EventSubscription, Place, Tags};

/// The action on an alarm or an event subscription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Action {
    Create,
    /// It is changed.
    Update,
    /// It goes.
    Delete,
    /// No change.
    #[default]
    None,
}

/// A setting that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Field {
    pub name: String,
    pub before: Option<String>,
    pub after: Option<String>,
}

/// The change to one alarm or event subscription.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Change {
    /// Its name.
    pub alarm: String,
    /// `alarm` or `event-subscription`.
    #[serde(rename = "type")]
    pub noun: &'static str,
    pub database: Option<String>,
    #[serde(flatten)]
    pub place: Place,
    /// The action.
    pub action: Action,
    /// What differs.
    pub fields: Vec<Field>,
    /// The rule, for people: `FreeStorageSpace < 2147483648`.
    pub rule: Option<String>,
    /// Where the threshold comes from.
    pub threshold_from: Option<String>,
    /// Why it is deleted.
    pub reason: Option<String>,
    #[serde(skip)]
    pub(super) work: Work,
}

/// What `apply` does.
#[derive(Clone, Debug, Default)]
pub(super) enum Work {
    #[default]
    Nothing,
    Put {
        spec: Box<AlarmSpec>,
        arn: Option<String>,
        is_spec_new: bool,
        set: Tags,
    },
    Delete,
    Subscribe {
        subscription: Box<EventSubscription>,
        is_new: bool,
        new_sources: Vec<String>,
    },
}

impl Change {
    pub(super) fn of_subscription(
        wanted: EventSubscription,
        action: Action,
        fields: Vec<Field>,
        new_sources: Vec<String>,
    ) -> Self {
        let is_new = action == Action::Create;
        let sources = if wanted.sources.is_empty() { "all".to_owned() } else { wanted.sources.join(", ") };
        let categories = match wanted.categories.as_slice() {
            [] => "all categories".to_owned(),
            some => some.join(", "),
        };
        Change {
            alarm: wanted.name.clone(),
            noun: "event-subscription",
            action,
            fields,
            rule: Some(format!(
                "{} {sources}: {categories}",
                wanted.source_type.as_deref().unwrap_or("events")
            )),
            work: match action {
                Action::None => Work::Nothing,
                _ => Work::Subscribe { subscription: Box::new(wanted), is_new, new_sources },
            },
            ..Change::default()
        }
    }
}
