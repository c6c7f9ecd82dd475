//! Scratch databases: what a backup is restored into before anything takes the place of anything.
//!
//! Its name says what it is for, and an advisory lock holds it: a scratch database whose lock is free belongs to a process
//! that died, and the next restore removes it.

use crate::error::Result;
use crate::postgres::{Server, Session};

/// Scratch databases have this name and eight hexadecimal digits: a name that never needs quotes.
pub(super) const SCRATCH: &str = "lifeboat_scratch_";

/// Roles that load scripts have this name and the digits of their scratch database.
pub(super) const LOADER: &str = "lifeboat_loader_";

/// Who runs the server that a backup is loaded into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::backup) enum ServerOwner {
    /// Somebody else: it was named by its URL.
    User,
    /// This process, which has started it for a proof.
    Lifeboat,
}

/// A scratch database of a server.
#[derive(Clone, Debug)]
pub(in crate::backup) struct ScratchDatabase<'a> {
    pub(super) server: &'a Server,
    pub(super) owner: ServerOwner,
    pub(super) name: String,
}

impl<'a> ScratchDatabase<'a> {
    /// A name for a scratch database, which is not created yet.
    pub(in crate::backup) fn new(server: &'a Server, owner: ServerOwner) -> Self {
        ScratchDatabase { server, owner, name: format!("{SCRATCH}{:08x}", rand::random::<u32>()) }
    }

    /// Holds it for as long as the session lasts.
    pub(super) async fn lock(&self, session: &Session) -> Result<()> {
        session.rows("select pg_advisory_lock($1)", &[&lock_key_of(&self.name)]).await?;
        Ok(())
    }
}

/// The advisory lock of a scratch database and of its role.
pub(super) fn lock_key_of(name: &str) -> i64 {
    let digits = name.trim_start_matches(SCRATCH).trim_start_matches(LOADER);
    i64::from(u32::from_str_radix(digits, 16).unwrap_or_default())
}

/// The role that loads a scratch database.
pub(super) fn loader_role_of(scratch: &str) -> String {
    let digits = scratch.rsplit('_').next().unwrap_or_default();
    format!("{LOADER}{digits}")
}
