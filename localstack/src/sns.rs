//! SNS: topics, subscriptions, and messages that are delivered: over HTTP to this machine, or into a queue that the control
//! endpoint shows.

mod actions;
mod publish;
mod deliver;
mod filter;
mod policy;
mod error;

pub(crate) use actions::{NAMESPACE, Request, VERSION, has_no_result, perform_action};
pub(crate) use deliver::confirm_endpoint;
pub(crate) use policy::Publisher;
pub(crate) use publish::{Admission, Message, publish, publish_admission};
