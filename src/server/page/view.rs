//! What the dashboard shows, and to whom.

use crate::backup::catalogue::Catalogue;
use crate::backup::failures::Failure;
use crate::runbook::report::Report as RunReport;
use crate::server::drills::Drills;
use crate::server::jobs::{Job, State as JobState};
use crate::server::overview::Overview;

/// What the page shows.
pub(super) struct DashboardData {
    pub(super) overview: Overview,
    pub(super) catalogue: Catalogue,
    pub(super) failures: Vec<Failure>,
    pub(super) drills: Drills,
    pub(super) runs: Vec<RunReport>,
    pub(super) damaged_runs: Vec<String>,
    pub(super) jobs: Vec<Job>,
    pub(super) vault: String,
}

/// What the viewer may do.
#[derive(Clone, Copy)]
pub(super) struct Permissions {
    pub(super) create: bool,
    pub(super) restore: bool,
    pub(super) delete: bool,
    /// Log out.
    pub(super) leave: bool,
}

/// Running jobs.
pub(super) fn running_jobs(jobs: &[Job]) -> impl Iterator<Item = &Job> {
    jobs.iter().filter(|job| job.state == JobState::Running)
}
