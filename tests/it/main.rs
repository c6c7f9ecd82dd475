//! Black box: the built binary against the local stack and real PostgreSQL. One test binary, so that it links once.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the way to fail")]

mod disk;
mod serving;
mod support;

mod alarms;
mod authorization;
mod calendar;
mod campaign;
mod backup;
mod backup_hostile;
mod backup_killed;
mod backup_postgres;
mod clients;
mod definitions;
mod deploy;
mod doctor;
mod drill;
mod evidence;
mod faults;
mod fleet;
mod histories;
mod house;
mod iam;
mod isolation;
mod lint;
mod moto;
mod notify;
mod places;
mod policy;
mod proof;
mod prune;
mod reference;
mod refusals;
mod restore;
mod roles;
mod runbook;
mod runbook_plan;
mod runbooks_shipped;
mod server;
mod server_hostile;
mod server_page;
mod signals;
mod snapshot;
mod sqlite_beside;
mod sqlite_corpus;
mod status;
mod stores;
mod sweep;
mod tables;
mod teardown;
mod upkeep;
mod verify;
mod watch;
