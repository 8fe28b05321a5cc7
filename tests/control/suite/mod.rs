//! What holds however somebody signs in and wherever it is stored: included once for each pair, which says how to
//! [`start`](super::start).

use super::start;

mod bad_input;
mod every_operation;
mod exports;
mod keys;
mod operators;
mod other_sites;
mod registering;
mod signing_in;
mod usage_and_logs;
