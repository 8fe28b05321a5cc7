//! Adapters of the ports in `admission`, `ledger` and `identity`. SQL lives here and nowhere else.

pub mod redis;
pub mod sqlite;

#[cfg(test)]
mod conformance;
