//! Black box: the built binary against the local stack and real PostgreSQL. One test binary, so that it links once.

mod support;

mod clients;
mod drill;
mod faults;
mod house;
mod refusals;
mod signals;
mod sweep;
