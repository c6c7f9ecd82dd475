//! A call that has passed the guard, and who makes it.

use std::net::{IpAddr, SocketAddr};

use axum::extract::Request;

use super::answers::{Answer, Answered};
use super::endpoints::Endpoint;
use super::refusals::NOBODY;
use super::tokens::Scope;
use crate::backup::BackupName;
use crate::error::{Error, Kind};

/// The cookie of a browser that has logged in.
pub(super) const COOKIE: &str = "lifeboat_token";

/// From where a connection came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) SocketAddr);

/// Marks a request with both `Content-Length` and `Transfer-Encoding`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ambiguous;

/// Who calls.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// `local`, or the name of a token.
    pub(super) who: String,
    pub(super) scopes: Vec<Scope>,
    /// Whether the token came from the cookie of a browser.
    pub(super) is_logged_in: bool,
}

impl Caller {
    pub(super) fn local() -> Self {
        Caller { who: "local".to_owned(), scopes: Scope::ALL.to_vec(), is_logged_in: false }
    }

    pub(super) fn nobody() -> Self {
        Caller { who: NOBODY.to_owned(), scopes: Vec::new(), is_logged_in: false }
    }

    pub(super) fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }
}

/// A call that has passed.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) caller: Caller,
    pub(super) peer: IpAddr,
    /// Its id, in the answer and in the audit log.
    pub(super) request: String,
    /// The backup that its path names.
    pub(super) name: Option<BackupName>,
    pub(super) endpoint: &'static Endpoint,
}

/// Marks an answer whose lines are in the audit log already.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recorded;

/// The call that the guard made of a request.
pub(super) fn call_of(request: &Request) -> Answered<Call> {
    let call = request.extensions().get::<Call>().cloned();
    call.ok_or_else(|| Answer::of(&Error::new(Kind::Bug, "a request bypassed the guard")))
}
