//! How the reports of drills look.

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::drill::evidence::{CheckResult, ObjectiveVerdict, State};
use crate::drill::outcome::{Fate, Outcome};
use crate::drill::page::words;
use crate::drill::sweep::{Action, SweepReport};
use crate::drill::{Plan, Report};
use crate::output::{self, Page};
use crate::restore::Chosen;
use crate::verify::judge::DefinitionVerdict;
use crate::verify::{Baseline, TableVerdict, Verdict, Word};
use crate::when::{format_span, format_time};
use crate::words::{Tone, format_thousands};

/// Tables that are as they should be are listed one by one up to this many.
const LISTED: usize = 40;

/// Several drills of one command.
#[derive(Serialize)]
pub(super) struct Drills {
    pub(super) schema: &'static str,
    pub(super) drills: Vec<Report>,
}

impl output::Report for Drills {
    fn render(&self, page: &mut Page) {
        for (position, drill) in self.drills.iter().enumerate() {
            if position > 0 {
                page.line("");
            }
            drill.render(page);
        }
    }
}

impl output::Report for Report {
    fn render(&self, page: &mut Page) {
        render_drill(self, Outcome::of_record(self), page);
    }
}

/// A drill as `drill show` prints it: what became of it may be more than its record says.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct Shown<'a> {
    report: &'a Report,
    #[serde(skip)]
    outcome: Outcome,
}

impl<'a> Shown<'a> {
    pub(super) fn new(report: &'a Report, outcome: Outcome) -> Self {
        Shown { report, outcome }
    }
}

impl output::Report for Shown<'_> {
    fn render(&self, page: &mut Page) {
        render_drill(self.report, self.outcome, page);
    }
}

fn render_drill(it: &Report, outcome: Outcome, page: &mut Page) {
    let tone = outcome.tone();
    let took = it.finished_at.map(|at| (at - it.started_at).as_seconds_f64());
    page.heading(tone, outcome.headline(), format!("drill {} of `{}`", it.run, it.source.id), took);
    for reason in &it.reasons {
        page.line(format!("  {} {}", page.toned(tone, "-"), output::escape_controls(reason)));
    }
    for hint in &it.hints {
        page.line(format!("  {} {hint}", page.toned(Tone::Strong, "hint:")));
    }
    page.line("");
    render_facts(it, outcome, page);
    page.line("");
    render_tables(&it.tables, it.baseline, page);
    render_definitions(&it.definitions, page);
    render_checks(&it.checks, page);
    if !it.phases.is_empty() {
        let phases = it.phases.iter().map(|phase| format!("{} {}", phase.name, format_span(phase.seconds)));
        page.line(page.toned(Tone::Faint, format!("  {}", phases.collect::<Vec<_>>().join(" · "))));
    }
    for untested in &it.not_tested {
        page.line(page.toned(Tone::Faint, format!("  not tested: {}", output::escape_controls(untested))));
    }
    // The page is written when the drill is over.
    let is_over = it.state != State::Running;
    page.line(format!("  evidence: {}", if is_over { &it.evidence.html } else { &it.evidence.json }));
}

fn render_facts(report: &Report, outcome: Outcome, page: &mut Page) {
    let moment = &report.moment;
    let at = moment.time.map_or("a time not yet known".to_owned(), format_time);
    let restored = match (&moment.snapshot_id, &moment.snapshot_type) {
        (Some(id), kind) => format!("snapshot `{id}` ({}) of {at}", kind.as_deref().unwrap_or("unknown")),
        (None, _) => format!("point in time {at}"),
    };
    page.line(format!("  restored   {restored}"));
    let against = match report.baseline {
        Baseline::Aligned => "the source as it was at that very moment (aligned)",
        Baseline::Recorded => "what was recorded when the backup was taken (recorded)",
        Baseline::Live => "the source as it is now (live)",
    };
    page.line(format!("  compared   with {against}"));
    let available =
        report.rto.available_seconds.map(|seconds| format!(" (available after {})", format_span(seconds)));
    page.line(render_objective(
        page,
        "RTO",
        report.rto.measured_seconds,
        report.rto.objective_seconds,
        report.rto.verdict,
        &available.unwrap_or_default(),
    ));
    let newest =
        report.rpo.newest_row.map(|at| format!(" (newest row {})", format_time(at))).unwrap_or_default();
    page.line(render_objective(
        page,
        "RPO",
        report.rpo.measured_seconds,
        report.rpo.objective_seconds,
        report.rpo.verdict,
        &newest,
    ));
    let throwaway = &report.throwaway;
    let fate = Fate::of_throwaway(throwaway, outcome);
    let told = match (fate, fate.known_at()) {
        (Fate::LeftBehind(why), _) => format!("LEFT BEHIND: {}", output::escape_controls(why)),
        (Fate::Kept(until), _) => format!("kept until {}", format_time(until)),
        (Fate::Removed(_), Some(at)) => format!("removed at {}", format_time(at)),
        (_, Some(at)) => format!("{} at {}: {}", fate.word(), format_time(at), fate.explain()),
        (Fate::NeverMade | Fate::InUse, _) => fate.word().to_owned(),
        (_, None) => format!("{}: {}", fate.word(), fate.explain()),
    };
    let fate = match fate {
        Fate::Removed(_) | Fate::NeverMade => told,
        _ => page.toned(fate.tone(), told),
    };
    page.line(format!("  throwaway  `{}` ({}), {fate}", throwaway.id, throwaway.class));
    if let Some(isolation) = report.isolation.as_ref().filter(|it| !it.would_have_acted.is_empty()) {
        let acting: Vec<String> =
            isolation.would_have_acted.iter().map(|it| output::escape_controls(it)).collect();
        page.line(format!("  kept still {}", acting.join(", ")));
    }
}

fn render_objective(
    page: &Page,
    name: &str,
    measured: Option<f64>,
    objective: f64,
    met: ObjectiveVerdict,
    remark: &str,
) -> String {
    let (word, tone) = (met.word(measured), met.tone());
    let word = match met {
        ObjectiveVerdict::Fail => word.to_uppercase(),
        ObjectiveVerdict::NotJudged => format!("{word}: the backup was chosen by hand"),
        ObjectiveVerdict::Pass | ObjectiveVerdict::Unknown => word.to_owned(),
    };
    let measured = measured.map_or("-".to_owned(), format_span);
    format!("  {name}        {measured} of {}, {}{remark}", format_span(objective), page.toned(tone, word))
}

fn render_tables(verdicts: &[TableVerdict], baseline: Baseline, page: &mut Page) {
    let is_fine = |word: Word| matches!(word, Word::Identical | Word::Equal);
    let mut listed: Vec<&TableVerdict> = verdicts.iter().collect();
    listed.sort_by_key(|table| {
        (words::table_rank(table.verdict), &table.database, &table.schema, &table.table)
    });
    let fine = listed.iter().filter(|table| is_fine(table.verdict)).count();
    let is_long = listed.len() > LISTED;
    if is_long {
        listed.retain(|table| !is_fine(table.verdict));
    }
    let rows = |rows: Option<u64>| (rows.map_or("-".to_owned(), format_thousands), None);
    let cells = listed.iter().map(|table| {
        vec![
            (table.verdict.as_str().to_owned(), Some(words::tone_of_table(table.verdict, baseline))),
            (table.database.clone(), None),
            (format!("{}.{}", table.schema, table.table), None),
            rows(table.expected_rows),
            rows(table.observed_rows),
            (table.reason.clone(), Some(Tone::Faint)),
        ]
    });
    page.table(&["verdict", "database", "table", "expected", "found", ""], cells.collect());
    if is_long && fine > 0 {
        page.line(format!("  … and {fine} tables with equal rows (all of them in the evidence)"));
    }
    if !verdicts.is_empty() {
        page.line("");
    }
}

fn render_definitions(verdicts: &[DefinitionVerdict], page: &mut Page) {
    let rows = verdicts.iter().map(|found| {
        vec![
            (found.verdict.as_str().to_owned(), Some(Tone::Bad)),
            (found.database.clone(), None),
            (found.kind.clone(), None),
            (found.name.clone(), None),
            (found.reason.clone(), Some(Tone::Faint)),
        ]
    });
    page.table(&["verdict", "database", "kind", "name", ""], rows.collect());
    if !verdicts.is_empty() {
        page.line("");
    }
}

fn render_checks(results: &[CheckResult], page: &mut Page) {
    let rows = results.iter().map(|check| {
        let (word, tone) = (check.verdict.word(), check.verdict.tone());
        vec![
            (word.to_owned(), Some(tone)),
            (check.name.clone(), None),
            (check.expect.clone(), None),
            (check.observed.clone().unwrap_or("-".to_owned()), None),
        ]
    });
    page.table(&["verdict", "check", "expected", "found"], rows.collect());
    if !results.is_empty() {
        page.line("");
    }
}

/// `drill list`.
#[derive(Serialize)]
pub(super) struct History {
    schema: &'static str,
    drills: Vec<Past>,
}

#[derive(Serialize)]
struct Past {
    run: String,
    source: String,
    outcome: Outcome,
    verdict: Verdict,
    started_at: DateTime<Utc>,
    asked_for: String,
    rto_seconds: Option<f64>,
    rpo_seconds: Option<f64>,
    throwaway: String,
    left_behind: bool,
}

impl History {
    pub(super) fn new(drills: &[(&Report, Outcome)]) -> Self {
        let drills = drills.iter().map(|(report, outcome)| Past {
            run: report.run.clone(),
            source: report.source.id.clone(),
            outcome: *outcome,
            verdict: report.verdict,
            started_at: report.started_at,
            asked_for: report.moment.asked_for.clone(),
            rto_seconds: report.rto.measured_seconds,
            rpo_seconds: report.rpo.measured_seconds,
            throwaway: report.throwaway.id.clone(),
            left_behind: Fate::of_throwaway(&report.throwaway, *outcome).may_be_left(),
        });
        History { schema: "lifeboat.drill-list/1", drills: drills.collect() }
    }
}

impl output::Report for History {
    fn render(&self, page: &mut Page) {
        if self.drills.is_empty() {
            page.line("no drill is recorded in this vault");
            return;
        }
        let rows = self.drills.iter().map(|past| {
            let seconds = |seconds: Option<f64>| (seconds.map_or("-".to_owned(), format_span), None);
            let remark = if past.left_behind { "throwaway may be left: `lifeboat drill sweep`" } else { "" };
            vec![
                (past.outcome.word().to_owned(), Some(past.outcome.tone())),
                (past.run.clone(), None),
                (past.source.clone(), None),
                (format_time(past.started_at), None),
                (past.asked_for.clone(), None),
                seconds(past.rto_seconds),
                seconds(past.rpo_seconds),
                (remark.to_owned(), Some(Tone::Doubt)),
            ]
        });
        page.table(&["", "run", "source", "began", "from", "RTO", "RPO", ""], rows.collect());
    }
}

impl output::Report for SweepReport {
    fn render(&self, page: &mut Page) {
        for note in &self.notes {
            page.line(page.toned(Tone::Doubt, output::escape_controls(note)));
        }
        for group in &self.parameter_groups {
            let (word, tone) = action_word(group.action);
            let word = page.toned(tone, word);
            page.line(format!(
                "{word} parameter group `{}`: {}",
                group.name,
                output::escape_controls(&group.reason)
            ));
        }
        if self.instances.is_empty() {
            page.line(format!("no throwaway in {}", self.region));
            return;
        }
        let rows = self.instances.iter().map(|swept| {
            let (word, tone) = match swept.left_behind {
                true if swept.action == Action::Left => ("LEFT BEHIND", Tone::Bad),
                _ => action_word(swept.action),
            };
            vec![
                (word.to_owned(), Some(tone)),
                (swept.id.clone(), None),
                (swept.class.clone(), None),
                (swept.reason.clone(), None),
            ]
        });
        page.table(&["", "instance", "class", "why"], rows.collect());
    }
}

/// What a sweep did, in a word.
fn action_word(action: Action) -> (&'static str, Tone) {
    match action {
        Action::Removed => ("removed", Tone::Good),
        Action::WouldRemove => ("would remove", Tone::Doubt),
        Action::Left => ("left alone", Tone::Faint),
        Action::Failed => ("FAILED", Tone::Bad),
    }
}

/// `drill run --dry-run`.
#[derive(Serialize)]
pub(super) struct PlanReport {
    schema: &'static str,
    source: String,
    region: String,
    restore: String,
    baseline: Baseline,
    throwaway: String,
    class: String,
    subnet_group: Option<String>,
    security_groups: Vec<String>,
    parameter_group: Option<String>,
    option_group: Option<String>,
    backup_retention_days: i32,
    tags: std::collections::BTreeMap<String, String>,
    checks: usize,
    rto_seconds: f64,
    rpo_seconds: f64,
    expires_at: DateTime<Utc>,
}

impl PlanReport {
    pub(super) fn new(plan: &Plan, region: &str) -> Self {
        let restore = plan.restore_request(None);
        PlanReport {
            schema: "lifeboat.drill-plan/1",
            source: plan.source.id.to_string(),
            region: region.to_owned(),
            restore: moment_of(plan),
            baseline: plan.way_and_baseline().1,
            throwaway: restore.id.to_string(),
            class: restore.settings.class.unwrap_or_default(),
            subnet_group: restore.settings.subnet_group,
            security_groups: restore.settings.security_groups,
            parameter_group: restore.settings.parameter_group,
            option_group: restore.settings.option_group,
            backup_retention_days: restore.settings.retention_days.unwrap_or_default(),
            tags: restore.tags,
            checks: plan.request.checks.len(),
            rto_seconds: plan.request.rto.as_secs_f64(),
            rpo_seconds: plan.request.rpo.as_secs_f64(),
            expires_at: plan.expires,
        }
    }
}

impl output::Report for PlanReport {
    fn render(&self, page: &mut Page) {
        let or_default = |value: &Option<String>| value.clone().unwrap_or("AWS's default".to_owned());
        page.line(format!("would restore {} of `{}` in {}", self.restore, self.source, self.region));
        page.line(format!(
            "  to               `{}` ({}), not public, Single-AZ, no backups",
            self.throwaway, self.class
        ));
        page.line(format!("  subnet group     {}", or_default(&self.subnet_group)));
        page.line(format!("  security groups  {}", self.security_groups.join(", ")));
        page.line(format!("  parameter group  {}", or_default(&self.parameter_group)));
        page.line(format!("  option group     {}", or_default(&self.option_group)));
        page.line(format!("  checks           {} of your own", self.checks));
        page.line(format!(
            "  objectives       RTO {}, RPO {}",
            format_span(self.rto_seconds),
            format_span(self.rpo_seconds)
        ));
        page.line(format!(
            "  removed by       the drill itself, or a sweep after {}",
            format_time(self.expires_at)
        ));
        page.line("all preflight checks passed; nothing was created");
    }
}

/// Several plans of one command.
#[derive(Serialize)]
pub(super) struct Plans {
    pub(super) schema: &'static str,
    pub(super) plans: Vec<PlanReport>,
}

impl output::Report for Plans {
    fn render(&self, page: &mut Page) {
        for plan in &self.plans {
            plan.render(page);
        }
    }
}

/// What a plan goes back to, in words.
pub(super) fn moment_of(plan: &Plan) -> String {
    match &plan.chosen {
        Chosen::Snapshot(snapshot) => {
            let at = snapshot.moment().map_or(String::new(), |at| format!(" of {}", format_time(at)));
            format!("{} snapshot `{}`{at}", snapshot.snapshot_type, snapshot.id)
        }
        Chosen::Time(at) => format!("the state of {}", format_time(*at)),
        Chosen::Now { .. } => "the state of now".to_owned(),
    }
}
