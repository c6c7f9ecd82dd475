//! x
pub mod drill;
pub mod restore;
pub mod verify;
pub mod vault;
pub mod config;
pub mod aws;
pub mod postgres;
pub mod fleet;
pub mod interrupt;
pub mod error;
