//! How a channel fared.

use serde::Serialize;

/// How a channel fared.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Delivery {
    pub channel: String,
    /// `sns`, `slack`, `webhook`, `ping`.
    pub kind: &'static str,
    /// Whether everything for it arrived.
    pub delivered: bool,
    /// Why not; without secrets.
    pub error: Option<String>,
}
