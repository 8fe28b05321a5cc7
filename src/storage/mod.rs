//! Adapters of the ports in `admission`, `ledger` and `identity`. SQL lives here and nowhere else.

mod migration;
pub mod postgres;
pub mod redis;
pub mod sqlite;

pub use migration::{Migration, Newer, Standing};

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod conformance_of_keys;
#[cfg(test)]
#[path = "../../tests/support/mod.rs"]
mod support;
