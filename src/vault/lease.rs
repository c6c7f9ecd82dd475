//! Leases: who works on something that must not be worked on twice, on whichever machine.
//!
//! A lease is a note in the vault that its holder renews while it lives. It is made where nothing is, and changed only by
//! whoever saw it last, so that of two who want it one gets it. Whoever finds one that is held watches it: a holder whose
//! note has changed lives; one whose note has not changed for as long as it lasts ([`Pulse`]) is dead, and its lease is taken over. That time is
//! measured by the watcher's own stopwatch, from the moment when it first saw the note as it is: no clock of any machine, right or wrong,
//! counts. In a directory the kernel knows more: the lease of a dead process of this machine is free at once.
//!
//! What a holder may rely on: until [`Lease::require_held`] fails, nobody else holds it. It fails before others may take it.

use std::collections::HashMap;
use std::fs::File;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::Vault;
use super::backend::{Backend, LeaseLock, Version, checked_name};
use super::pulse::Pulse;
use super::renewal::{Renewable, Renewal, Renewals};
use crate::error::{Error, Kind, Result};

const PULSE: Pulse = Pulse {
    every: Duration::from_secs(8),
    relied_on: Duration::from_secs(30),
    lasts: Duration::from_secs(45),
};

/// Who holds a lease, for people.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Holder {
    schema: String,
    /// A number that nobody else has.
    id: String,
    /// Host name.
    pub host: String,
    /// The machine since its latest start, whatever it is called.
    #[serde(default)]
    machine: String,
    /// Process id.
    pub process: u32,
    /// What it does.
    pub what: String,
    /// The fleet run that this is a part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet: Option<String>,
    /// Since when, by its clock.
    pub since: DateTime<Utc>,
    #[serde(flatten)]
    renewals: Renewals,
    /// When it was let go, by the holder's clock; nobody holds it since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released_at: Option<DateTime<Utc>>,
}

impl Holder {
    /// Who is about to do something.
    pub(crate) fn new(host: &str, what: impl Into<String>, now: DateTime<Utc>) -> Self {
        // Two containers may have one host name; a kernel has its id to itself.
        let machine = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Holder {
            schema: "lifeboat.lease/1".to_owned(),
            id: format!("{:032x}", rand::random::<u128>()),
            host: host.to_owned(),
            machine: machine.trim().to_owned(),
            process: std::process::id(),
            what: what.into(),
            fleet: None,
            since: now,
            renewals: Renewals::default(),
            released_at: None,
        }
    }

    /// The same, as a part of a fleet run.
    pub(crate) fn in_fleet(self, fleet: Option<&str>) -> Self {
        Holder { fleet: fleet.map(str::to_owned), ..self }
    }

    /// `process 12 on web-1 (drill of orders-prod), since 2026-11-22T08:00:00Z`.
    pub(crate) fn told(&self) -> String {
        let since = crate::when::format_time(self.since);
        format!("process {} on {} ({}), since {since}", self.process, self.host, self.what)
    }
}

impl Renewable for Holder {
    const NOUN: &'static str = "lease";

    fn renewals(&mut self) -> &mut Renewals {
        &mut self.renewals
    }

    fn to_json(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec_pretty(self).unwrap_or_default();
        text.push(b'\n');
        text
    }
}

/// What came of wanting a lease.
#[derive(Debug)]
pub(crate) enum Leased {
    /// It is ours.
    Ours(Lease),
    /// Somebody else has it.
    Theirs(Theirs),
}

/// A lease that somebody else has.
#[derive(Clone, Debug)]
pub(crate) struct Theirs {
    /// Who; `None` if their note cannot be read.
    pub holder: Option<Holder>,
    /// Whether they are known to live: it was renewed while we looked, or their process is on this machine. Otherwise
    /// they may be dead, and time will tell.
    pub is_alive: bool,
    /// For how long their lease may look held when they are dead.
    pub lasts: Duration,
}

/// A lease that is held until the value is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    renewal: Renewal<Holder>,
    /// The dead holder that it was taken from.
    pub taken_from: Option<Holder>,
    _flock: Option<File>,
}

/// A note as this process saw it last.
#[derive(Debug)]
struct Watched {
    version: Version,
    /// When it was first seen as it is.
    since: Instant,
    /// Whether it was another before: then somebody lives who changes it.
    has_changed: bool,
}

static WATCHED: LazyLock<Mutex<HashMap<String, Watched>>> = LazyLock::new(Mutex::default);

impl Vault {
    /// Wants the lease `name`. Of a dead holder of another machine it is ours only after this was asked again and again
    /// for as long as that lease lasts.
    pub(crate) fn lease(&self, name: &str, holder: Holder) -> Result<Leased> {
        self.lease_with(PULSE, checked_name(name)?, holder)
    }

    fn lease_with(&self, pulse: Pulse, name: &str, holder: Holder) -> Result<Leased> {
        let backend = &self.backend;
        let find_holder = || -> Result<Leased> {
            let seen =
                backend.versioned(name)?.and_then(|(content, _)| serde_json::from_slice(&content).ok());
            Ok(Leased::Theirs(Theirs { holder: seen, is_alive: true, lasts: pulse.lasts }))
        };
        let flock = match backend.lease_lock(name)? {
            LeaseLock::Held => return find_holder(),
            LeaseLock::Ours(file) => Some(file),
            LeaseLock::None => None,
        };
        let (seen, taken_from) = match backend.versioned(name)? {
            None => (None, None),
            Some((content, version)) => {
                let there: Option<Holder> = serde_json::from_slice(&content).ok();
                let is_free = there.as_ref().is_some_and(|there| {
                    // On this machine its lock would be held.
                    there.released_at.is_some()
                        || (flock.is_some() && !there.machine.is_empty() && there.machine == holder.machine)
                });
                if !is_free && let Some(theirs) = watch(backend, name, &version, there.as_ref(), pulse) {
                    return Ok(Leased::Theirs(theirs));
                }
                (Some(version), there.filter(|there| there.released_at.is_none()))
            }
        };
        let Some(renewal) = Renewal::start(Arc::clone(backend), name, holder, seen.as_ref(), pulse)? else {
            return find_holder();
        };
        WATCHED.lock().remove(&backend.shown(name));
        Ok(Leased::Ours(Lease { renewal, taken_from, _flock: flock }))
    }
}

/// Who has a lease, as long as it changes now and then; `None` when it has not for too long.
fn watch(
    backend: &Arc<dyn Backend>,
    name: &str,
    version: &Version,
    there: Option<&Holder>,
    pulse: Pulse,
) -> Option<Theirs> {
    let mut watched = WATCHED.lock();
    let now = Instant::now();
    let known = watched.entry(backend.shown(name)).or_insert_with(|| Watched {
        version: version.clone(),
        since: now,
        has_changed: false,
    });
    if known.version != *version {
        *known = Watched { version: version.clone(), since: now, has_changed: true };
    }
    let lasts = pulse.lasts(there.and_then(|there| there.renewals.lasts_seconds));
    (known.since.elapsed() <= lasts).then(|| Theirs {
        holder: there.cloned(),
        is_alive: known.has_changed,
        lasts,
    })
}

impl Lease {
    /// Fails unless it is still ours, and will be for some seconds: to be asked before something is done that must not be
    /// done twice.
    pub(crate) fn require_held(&self) -> Result<()> {
        self.renewal.require_held()
    }

    /// Lets it go.
    pub(crate) fn release(mut self, now: DateTime<Utc>) {
        self.let_go(Some(now));
    }

    fn let_go(&mut self, now: Option<DateTime<Utc>>) {
        if self.renewal.stop() {
            // What cannot be written now is found out by whoever watches.
            let _ = self.renewal.change(|holder| holder.released_at = Some(now.unwrap_or(holder.since)));
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.let_go(None);
    }
}

/// Somebody else has what is wanted.
pub(crate) fn is_held(what: &str, theirs: &Theirs) -> Error {
    let who = theirs.holder.as_ref().map_or("another process".to_owned(), Holder::told);
    Error::new(Kind::StillGoing, format!("{what} is held by {who}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Pulse = Pulse {
        every: Duration::from_millis(40),
        relied_on: Duration::from_millis(250),
        lasts: Duration::from_millis(400),
    };

    /// Renewed as often, and lost only by those that stop for longer than any machine does.
    const CALM: Pulse = Pulse {
        every: Duration::from_millis(40),
        relied_on: Duration::from_secs(60),
        lasts: Duration::from_secs(90),
    };

    fn vault() -> (tempfile::TempDir, Vault) {
        let backend = tempfile::tempdir().unwrap();
        let vault = Vault::open(backend.path().to_str().unwrap(), &crate::aws::Access::default()).unwrap();
        (backend, vault)
    }

    fn holder(machine: &str) -> Holder {
        Holder { machine: machine.to_owned(), ..Holder::new("here", "a test", DateTime::UNIX_EPOCH) }
    }

    fn ours(leased: Leased) -> Lease {
        match leased {
            Leased::Ours(lease) => lease,
            Leased::Theirs(theirs) => panic!("{theirs:?}"),
        }
    }

    #[test]
    fn a_lease_is_held_by_one_and_free_when_it_is_let_go() {
        let (_place, vault) = vault();
        let lease = ours(vault.lease_with(CALM, "leases/a", holder("m")).unwrap());
        for machine in ["m", "n"] {
            assert!(matches!(
                vault.lease_with(CALM, "leases/a", holder(machine)).unwrap(),
                Leased::Theirs(_)
            ));
        }
        lease.release(DateTime::UNIX_EPOCH);
        let again = ours(vault.lease_with(CALM, "leases/a", holder("n")).unwrap());
        assert!(again.taken_from.is_none() && again.require_held().is_ok());
    }

    #[test]
    fn the_lease_of_a_dead_process_of_this_machine_is_free_at_once() {
        let (_place, vault) = vault();
        // Its lock ended with it, its note did not.
        vault.write("leases/a", &holder("m").to_json()).unwrap();
        let lease = ours(vault.lease_with(QUICK, "leases/a", holder("m")).unwrap());
        assert!(lease.taken_from.is_some());
    }

    #[test]
    fn the_lease_of_another_machine_is_taken_over_when_it_was_not_renewed_while_we_watched() {
        let (_place, vault) = vault();
        vault.write("leases/a", &holder("other").to_json()).unwrap();
        let began = Instant::now();
        let lease = loop {
            match vault.lease_with(QUICK, "leases/a", holder("m")).unwrap() {
                Leased::Ours(lease) => break lease,
                Leased::Theirs(theirs) => assert!(!theirs.is_alive),
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        assert!(began.elapsed() >= QUICK.lasts, "{:?}", began.elapsed());
        assert!(lease.taken_from.is_some());
    }

    #[test]
    fn one_that_is_renewed_is_never_taken_over() {
        let (_place, vault) = vault();
        let mut theirs = holder("other");
        vault.write("leases/a", &theirs.to_json()).unwrap();
        let pulse = Pulse { lasts: Duration::from_secs(2), ..CALM };
        for round in 0..30 {
            theirs.renewals.renewed += round % 3;
            vault.write("leases/a", &theirs.to_json()).unwrap();
            let Leased::Theirs(seen) = vault.lease_with(pulse, "leases/a", holder("m")).unwrap() else {
                panic!("it was taken over")
            };
            // Once it was seen to change, it is known to be alive, whether or not it has changed this very moment.
            assert_eq!(seen.is_alive, round > 0);
            assert!(matches!(vault.lease_with(pulse, "leases/a", holder("m")).unwrap(), Leased::Theirs(_)));
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    #[test]
    fn whoever_has_lost_a_lease_is_told() {
        let (backend, vault) = vault();
        let lease = ours(vault.lease_with(CALM, "leases/a", holder("m")).unwrap());
        vault.write("leases/a", &holder("thief").to_json()).unwrap();
        let began = Instant::now();
        while lease.require_held().is_ok() {
            assert!(began.elapsed() < Duration::from_secs(60));
            std::thread::sleep(CALM.every);
        }
        assert!(lease.require_held().unwrap_err().chain().contains("lost to another"));
        drop(lease);
        // And does not take it back on leaving.
        assert!(std::fs::read_to_string(backend.path().join("leases/a")).unwrap().contains("thief"));
    }

    #[test]
    fn a_lease_is_lost_when_the_vault_vanishes() {
        let (backend, vault) = vault();
        let lease = ours(vault.lease_with(QUICK, "leases/a", holder("m")).unwrap());
        std::fs::remove_dir_all(backend.path()).unwrap();
        std::fs::write(backend.path(), "in the way").unwrap();
        let began = Instant::now();
        while lease.require_held().is_ok() {
            assert!(began.elapsed() < Duration::from_secs(60));
            std::thread::sleep(Duration::from_millis(20));
        }
        std::fs::remove_file(backend.path()).unwrap();
    }

    #[test]
    fn of_many_who_want_it_one_gets_it() {
        let (_place, vault) = vault();
        vault.write("leases/a", &holder("m").to_json()).unwrap();
        let got: Vec<Option<Lease>> = std::thread::scope(|scope| {
            let all: Vec<_> = (0..16)
                .map(|_| {
                    scope.spawn(|| match vault.lease_with(PULSE, "leases/a", holder("m")).unwrap() {
                        Leased::Ours(lease) => Some(lease),
                        Leased::Theirs(_) => None,
                    })
                })
                .collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert_eq!(got.iter().flatten().count(), 1);
    }
}
