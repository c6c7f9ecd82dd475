//! Which transactions an observation has seen the end of.

use serde::{Deserialize, Serialize};

/// Which transactions had ended at an instant of a source, as 64-bit ids: those before `visible_before` that are not
/// listed as running.
///
/// PostgreSQL lists running transactions without their subtransactions, which may be any id from `settled_before`
/// on; rows from before that are beyond all doubt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Boundary {
    /// Every earlier transaction had ended.
    pub settled_before: u64,
    /// No later transaction had begun to write.
    pub visible_before: u64,
    /// Those in between that were still running.
    pub running: Vec<u64>,
}

impl Boundary {
    /// From the text of a `pg_snapshot`: `xmin:xmax:xip,…`.
    pub(crate) fn of_snapshot(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let (settled, visible, running) = (parts.next()?, parts.next()?, parts.next()?);
        let running = running.split(',').filter(|id| !id.is_empty()).map(str::parse);
        Some(Boundary {
            settled_before: settled.parse().ok()?,
            visible_before: visible.parse().ok()?,
            running: running.collect::<std::result::Result<_, _>>().ok()?,
        })
    }

    /// Whether any transaction was still running.
    pub(crate) fn has_running(&self) -> bool {
        self.settled_before < self.visible_before
    }
}
