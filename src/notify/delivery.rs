//! The result of a channel.

use serde::Serialize;

/// The result of a channel.
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
