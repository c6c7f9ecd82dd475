//! How the reports of alarms look.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::alarms::{
    Action, Audit, Change, Fault, Field, Gap, Listed, Plan, Removal, Report, TestReport, Unwatched,
};
use crate::output::{self, Page, escape_controls};
use crate::rds::{AlarmState, Place, Unreached, list_regions};
use crate::words::Tone;

impl output::Report for Plan {
    fn render(&self, page: &mut Page) {
        plan(self, page);
        let pending = self.pending();
        page.line(match pending {
            0 if !self.unreached.is_empty() => {
                "nothing to do in the accounts and Regions that could be checked".to_owned()
            }
            0 => "nothing to do: every alarm is as it should be".to_owned(),
            1 => "1 change to make:".to_owned(),
            many => format!("{many} changes to make:"),
        });
        if let Some(command) = &self.apply_command {
            page.command("  ", command);
        }
    }
}

fn plan(plan: &Plan, page: &mut Page) {
    let shown: Vec<&Change> = plan.changes.iter().filter(|change| change.action != Action::None).collect();
    for (noun, title) in [("alarm", "alarm"), ("event-subscription", "event subscription")] {
        let rows: Vec<_> =
            shown.iter().filter(|change| change.noun == noun).map(|change| row(change)).collect();
        page.table(&["", title, "rule", "threshold from"], rows);
    }
    for change in &shown {
        if change.action != Action::Update {
            continue;
        }
        page.line("");
        page.line(page.toned(Tone::Strong, at_home(&change.alarm, &change.place)));
        let rows = change.fields.iter().map(field_row).collect();
        page.table(&["field", "is", "should be"], rows);
    }
    if !shown.is_empty() {
        page.line("");
    }
    for warning in &plan.warnings {
        page.line(format!("{} {}", page.toned(Tone::Doubt, "warning:"), escape_controls(warning)));
    }
    page.line(page.toned(
        Tone::Faint,
        format!(
            "{} database{}, {} alarms, {} custom metrics: about ${:.2} a month (us-east-1, free ones not counted)",
            plan.databases.len(),
            if plan.databases.len() == 1 { "" } else { "s" },
            plan.alarms,
            plan.custom_metrics,
            plan.monthly_cost_usd
        ),
    ));
}

/// A name, and where that is if there are several accounts.
fn at_home(name: &str, place: &Place) -> String {
    match &place.account {
        Some(_) => format!("{} ({place})", escape_controls(name)),
        None => escape_controls(name),
    }
}

fn row(change: &Change) -> Vec<(String, Option<Tone>)> {
    let (sign, tone) = match change.action {
        Action::Create => ("create", Tone::Good),
        Action::Update => ("update", Tone::Doubt),
        Action::Delete => ("delete", Tone::Bad),
        Action::None => ("none", Tone::Faint),
    };
    let because = change.reason.clone().or_else(|| change.threshold_from.clone()).unwrap_or_default();
    vec![
        (sign.to_owned(), Some(tone)),
        (at_home(&change.alarm, &change.place), None),
        (change.rule.clone().unwrap_or_default(), None),
        (because, Some(Tone::Faint)),
    ]
}

fn field_row(field: &Field) -> Vec<(String, Option<Tone>)> {
    let shown = |value: &Option<String>| match value.as_deref() {
        None | Some("") => "none".to_owned(),
        Some(value) => value.to_owned(),
    };
    vec![
        (field.name.clone(), None),
        (shown(&field.before), Some(Tone::Bad)),
        (shown(&field.after), Some(Tone::Good)),
    ]
}

impl output::Report for Report {
    fn render(&self, page: &mut Page) {
        plan(&self.plan, page);
        if self.plan.pending() == 0 {
            page.line("nothing to do: every alarm is as it should be");
        } else {
            let left = if self.left > 0 { format!(", {} left", self.left) } else { String::new() };
            page.line(format!("{} of {} changes made{left}", self.applied, self.plan.pending()));
        }
    }
}

/// Alarms of ours.
#[derive(Serialize)]
pub(super) struct AlarmList {
    schema: &'static str,
    region: String,
    places: Vec<Place>,
    unreached: Vec<Unreached>,
    alarms: Vec<Listed>,
}

impl AlarmList {
    pub(super) fn new(alarms: Vec<Listed>, places: Vec<Place>, unreached: Vec<Unreached>) -> Self {
        AlarmList {
            schema: "lifeboat.alarms.list/1",
            region: list_regions(&places),
            places,
            unreached,
            alarms,
        }
    }
}

impl output::Report for AlarmList {
    fn render(&self, page: &mut Page) {
        if self.alarms.is_empty() {
            page.line(format!(
                "no alarms of lifeboat in {}: `lifeboat alarms plan --all` shows those to make",
                self.region
            ));
            return;
        }
        let rows = self.alarms.iter().map(|alarm| {
            let tone = match alarm.state {
                AlarmState::Ok => Tone::Good,
                AlarmState::Alarm => Tone::Bad,
                _ => Tone::Doubt,
            };
            let tells = match alarm.actions.as_slice() {
                [] => ("nobody".to_owned(), Some(Tone::Bad)),
                _ if !alarm.actions_enabled => ("nobody: its actions are off".to_owned(), Some(Tone::Bad)),
                actions => {
                    let names: Vec<&str> =
                        actions.iter().map(|arn| arn.rsplit(':').next().unwrap_or_default()).collect();
                    (names.join(", "), None)
                }
            };
            let since =
                alarm.since.map_or(String::new(), |since| since.format("%Y-%m-%d %H:%M UTC").to_string());
            vec![
                (alarm.state.to_string(), Some(tone)),
                (at_home(&alarm.name, &alarm.place), None),
                (since, Some(Tone::Faint)),
                (alarm.rule.clone().unwrap_or_default(), None),
                tells,
            ]
        });
        page.table(&["", "alarm", "since", "rule", "tells"], rows.collect());
    }
}

impl output::Report for Removal {
    fn render(&self, page: &mut Page) {
        let verb = if self.dry_run { "would be removed" } else { "removed" };
        let all = [("alarm", &self.alarms), ("event subscription", &self.event_subscriptions)];
        for (noun, names) in all {
            for name in names {
                page.line(format!("{noun} `{}` {verb}", escape_controls(name)));
            }
        }
        for (name, source) in &self.event_sources {
            page.line(format!("`{source}` {verb} from event subscription `{name}`"));
        }
        for name in &self.not_ours {
            page.line(format!("`{}` kept: its tags do not say that lifeboat made it", escape_controls(name)));
        }
        if self.alarms.is_empty() && self.event_subscriptions.is_empty() && self.event_sources.is_empty() {
            page.line("nothing to remove");
        }
    }
}

impl output::Report for Audit {
    fn render(&self, page: &mut Page) {
        // A topic where nothing arrives is one fault, however many alarms publish there.
        let is_of_topic = |fault: &&Fault| fault.code.starts_with("topic-");
        let mut topics: BTreeMap<(&str, &str), (&Fault, Vec<&str>)> = BTreeMap::new();
        for alarm in self.faulty() {
            for fault in alarm.faults.iter().filter(is_of_topic) {
                let group = topics.entry((fault.code, &fault.message)).or_insert((fault, Vec::new()));
                group.1.push(&alarm.name);
            }
            let mut own = alarm.faults.iter().filter(|fault| !is_of_topic(fault)).peekable();
            if own.peek().is_none() {
                continue;
            }
            page.line(format!(
                "{} {} {}",
                page.toned(Tone::Bad, if alarm.noun == "alarm" { "alarm" } else { "event subscription" }),
                page.toned(Tone::Strong, at_home(&alarm.name, &alarm.place)),
                page.toned(Tone::Faint, format!("({})", alarm.state))
            ));
            own.for_each(|fault| fault_lines(fault, page));
        }
        for (fault, names) in topics.into_values() {
            let more = if names.len() > 3 { format!(" and {} more", names.len() - 3) } else { String::new() };
            let shown = names.iter().take(3).map(|name| escape_controls(name)).collect::<Vec<_>>().join(", ");
            page.line(format!(
                "{} {}{more}",
                page.toned(Tone::Bad, "topic of"),
                page.toned(Tone::Strong, shown)
            ));
            fault_lines(fault, page);
        }
        for Unwatched { database, place } in &self.unwatched_in {
            page.line(format!(
                "{} {}: no alarm that works watches it",
                page.toned(Tone::Bad, "database"),
                page.toned(Tone::Strong, at_home(database, place))
            ));
        }
        let is_unwatched = |gap: &&Gap| {
            self.unwatched_in.iter().any(|it| (&it.database, &it.place) == (&gap.database, &gap.place))
        };
        for gap in self.gaps.iter().filter(|gap| !is_unwatched(gap)) {
            page.line(format!(
                "{} {}: nothing watches its {}",
                page.toned(Tone::Doubt, "database"),
                page.toned(Tone::Strong, at_home(&gap.database, &gap.place)),
                gap.lacks.join(", ")
            ));
        }
        for unknown in &self.unknown {
            page.line(format!("{} {}", page.toned(Tone::Doubt, "not known:"), escape_controls(unknown)));
        }
        let faulty = self.faulty().count();
        page.line(match (self.alarms.len(), faulty) {
            (0, _) => format!("there are no alarms in {}", self.region),
            (all, 0) => {
                format!("{all} alarms and event subscriptions in {}: all can fire and arrive", self.region)
            }
            (all, faulty) => {
                format!("{faulty} of {all} alarms and event subscriptions in {} have faults", self.region)
            }
        });
    }
}

fn fault_lines(fault: &Fault, page: &mut Page) {
    page.line(format!("  {}: {}", page.toned(Tone::Doubt, fault.code), escape_controls(&fault.message)));
    page.remedy(4, &fault.remedy);
}

impl output::Report for TestReport {
    fn render(&self, page: &mut Page) {
        let tone = match self.verdict {
            "pass" => Tone::Good,
            "fail" => Tone::Bad,
            _ => Tone::Doubt,
        };
        let head = format!("test of alarm `{}`", self.alarm);
        page.heading(tone, &self.verdict.to_uppercase(), head, Some(self.seconds));
        for action in &self.actions {
            let said = action
                .said
                .as_deref()
                .unwrap_or("the history says nothing of it yet: try again with a longer --wait");
            page.line(format!("  {} {}", action.result, escape_controls(said)));
        }
        match self.arrived {
            Some(true) => page.line("  arrived: the message is in the inbox"),
            Some(false) => page.line("  not arrived: the inbox does not show the message"),
            None => page.line(page.toned(
                Tone::Faint,
                "  whether anyone received it is not known: pass --inbox URL, or ask the person on call",
            )),
        }
        page.line(page.toned(Tone::Faint, format!("  state put back to {}", self.state)));
    }
}
