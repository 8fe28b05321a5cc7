//! Real servers for tests, those of this crate and those of `tests/edge` alike.

pub mod postgres;
pub mod proxy;
pub mod redis;
