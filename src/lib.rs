//! cfx, the edge of a self-hosted AI coding platform.
//!
//! The rooms, and the only directions in which they may import each other. `tests/import_table/main.rs` holds this
//! list against the folders and against every `use crate::` in the source.
//!
//! ```text
//! units, clock, failpoint, heap, https, telemetry  <  config  <  { admission, llm, upstream, ledger, identity }  <  storage
//! { config … ledger }  <  entry  <  proxy
//! { config … identity }  <  control  <  dashboard
//! all  <  app  <  cli  <  main
//! ```

pub mod admission;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod dashboard;
pub mod entry;
pub mod failpoint;
pub mod heap;
pub mod https;
pub mod identity;
pub mod ledger;
pub mod llm;
pub mod proxy;
pub mod storage;
pub mod telemetry;
pub mod units;
pub mod upstream;
