//! Adapters of the ports in `admission`, `ledger` and `identity`. SQL lives here and nowhere else.

pub mod sqlite;

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod conformance_of_keys;
