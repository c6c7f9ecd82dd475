//! The restore drill: restore to a throwaway, compare, time, remove.
//!
//! Owns the throwaway instance from the request that creates it to the Describe call that no longer finds it, and the
//! record in the vault. A drill never writes to its source, and nothing in here deletes an instance that is not proven to
//! be a throwaway ([`throwaway::prove_throwaway`]).
//!
//! ```text
//! fleet            drills of many databases: which, in which order, how many at once, by which of several machines
//! sweep            removes what a drill that died has left behind
//! lease            one drill of one source at a time, on whichever machine
//! preflight        reads only: everything that can be known to fail fails here, before anything is created
//! run              the phases in order, the verdict, the removal
//! begin            the record of a drill that begins
//! bring_up         the request for the copy, the wait for it, the login
//! compare          source and copy, by `verify`; checks: the user's own SQL
//! objectives       RTO and RPO against their objectives
//! removal          the end of the throwaway, and the proof that it is gone
//! plan, context    what a drill is asked to do; what it works with
//! throwaway        its name, its tags, and the proof that a drill made it
//!
//! report           every drill of a period, for an auditor; calendar, headline: by months, and in one sentence
//! annotate         what was done about a drill, and who signed it off
//! proof            which records prove something, for everything that relies on them
//! journal          writes the evidence before the restore and after the removal, and reads it
//! verify_evidence  whether the evidence is as it was written, by the chain that names each file by its hash
//! page             the evidence as a page; outcome: its words and tones
//! estimate         how long a drill may still take, by earlier ones
//! evidence         `lifeboat.drill/1`; database: which one it is of
//! ```

pub(crate) mod annotate;
mod begin;
mod bring_up;
pub(crate) mod calendar;
pub(crate) mod chain;
pub(crate) mod checks;
mod compare;
mod context;
pub(crate) mod database;
mod decimal;
pub(crate) mod estimate;
pub(crate) mod evidence;
pub(crate) mod fleet;
pub(crate) mod headline;
pub(crate) mod journal;
pub(crate) mod lease;
mod objectives;
pub(crate) mod outcome;
pub(crate) mod page;
mod plan;
mod preflight;
pub(crate) mod proof;
pub(crate) mod removal;
pub(crate) mod report;
mod run;
mod settings;
pub(crate) mod sweep;
pub(crate) mod throwaway;
pub(crate) mod verify_evidence;

pub(crate) use checks::{Check, Freshness};
pub(crate) use context::{Context, Event};
pub(crate) use evidence::Report;
pub(crate) use plan::{Afterwards, BaselineChoice, CopyLogin, DEFAULT_FROM, Plan, Request, copy_settings};
pub(crate) use preflight::plan_drill;
pub(crate) use run::{run_alone, run_drill};
pub(crate) use settings::{DrillSettings, FleetSettings};
