//! Adapters of the ports in `admission`, `ledger` and `identity`. SQL lives here and nowhere else.

mod log_rows;
mod migration;
pub mod postgres;
mod reach;
pub mod redis;
pub mod sqlite;

pub use migration::{Migration, Newer, Standing};

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod conformance_of_keys;
#[cfg(test)]
mod conformance_of_people;
#[cfg(test)]
mod conformance_of_reports;
#[cfg(test)]
#[path = "../../tests/support/mod.rs"]
mod support;
