//! The minimum time that each state lasts. The work behind a state takes as long as it takes; the pace only adds
//! waiting.

use std::time::Duration;

use chrono::TimeDelta;

/// How fast the stack's instances change their states.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Pace {
    /// As long as the work takes.
    #[default]
    Instant,
    /// A second or two per state.
    Fast,
    /// Minutes, as on AWS.
    Real,
}

/// The stages of work that the pace can prolong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Create,
    Restore,
    BackUp,
    Copy,
    /// Between the answer to a change and the moment its status is visible.
    Settle,
    Modify,
    ResetCredentials,
    Reboot,
    Stop,
    Start,
    Delete,
}

impl Pace {
    /// The minimum duration of a stage.
    pub(crate) fn length(self, stage: Stage) -> TimeDelta {
        let milliseconds = match (self, stage) {
            (Self::Instant, _) => 0,
            (Self::Fast, Stage::Settle) => 400,
            (Self::Fast, Stage::Create | Stage::Restore) => 2_000,
            (Self::Fast, _) => 1_000,
            (Self::Real, Stage::Settle) => 10_000,
            (Self::Real, Stage::Restore) => 300_000,
            (Self::Real, Stage::Create) => 240_000,
            (Self::Real, Stage::Stop | Stage::Start | Stage::Delete) => 150_000,
            (Self::Real, Stage::BackUp | Stage::Modify) => 90_000,
            (Self::Real, Stage::Reboot | Stage::ResetCredentials | Stage::Copy) => 45_000,
        };
        TimeDelta::milliseconds(milliseconds)
    }

    /// How far the latest restorable time lags behind the present.
    pub(crate) fn restorable_lag(self) -> TimeDelta {
        TimeDelta::seconds(match self {
            Self::Instant => 1,
            Self::Fast => 3,
            Self::Real => 300,
        })
    }

    /// How often schedules are checked.
    pub(crate) fn tick(self) -> Duration {
        match self {
            Self::Instant | Self::Fast => Duration::from_millis(500),
            Self::Real => Duration::from_secs(5),
        }
    }
}
