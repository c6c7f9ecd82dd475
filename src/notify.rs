//! Notifications about changes: SNS, Slack and compatible services, signed webhooks, mail, dead man's switches.
//!
//! What a command reports is compared with what was sent before, which the vault keeps in `notify/state/`; a failure and
//! a change are sent, repeated good news is not. Sending comes last, takes a few seconds at
//! most, and never changes the result of the command: failed deliveries are reported on stderr.
//!
//! ```text
//! command       a command that channels are notified of, from its begin to its end
//! notifier      all channels: what of it is news, and sending that
//! announcement  what a command has to say of one subject
//! news          what was sent last, and whether something is news
//! message       how it reads, as text and as JSON
//! channel       one way out: its secret, its form, its attempts
//! ```

mod announcement;
mod channel;
mod command;
mod delivery;
mod mail;
pub(crate) mod message;
mod notifier;
mod settings;
pub(crate) mod news;

pub(crate) use announcement::{Announcement, Nature, State, Subject};
pub(crate) use command::{NotifiedCommand, Ping, Saying};
pub(crate) use delivery::Delivery;
pub(crate) use message::Sender;
pub(crate) use notifier::{News, Notifier};
pub(crate) use settings::{ChannelKind, ChannelSettings, NotifySettings, Secret};
