//! The log of API calls that the control endpoint shows. Passwords never enter it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

/// Older calls are dropped.
const MOST_CALLS: usize = 10_000;

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Call {
    /// In the stack's time.
    pub(crate) time: String,
    pub(crate) service: &'static str,
    pub(crate) action: String,
    pub(crate) region: String,
    pub(crate) account: String,
    pub(crate) parameters: BTreeMap<String, String>,
    /// `ok`, an error's code, `cut`, or `lost-response`.
    pub(crate) outcome: String,
    /// Absent when no answer was sent.
    pub(crate) status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<String>,
}

#[derive(Debug, Default)]
pub(crate) struct CallLog(Mutex<VecDeque<Call>>);

impl CallLog {
    pub(crate) fn add(&self, call: Call) {
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if calls.len() == MOST_CALLS {
            calls.pop_front();
        }
        calls.push_back(call);
    }

    pub(crate) fn all(&self) -> Vec<Call> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    pub(crate) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
