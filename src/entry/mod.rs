//! How connections come in and how they end: listeners, certificates, the admin listener, readiness, the stop.
//!
//! Owns: sockets before a request is known. Must not know: routes, keys, models.

pub mod admin;
pub mod certificates;
pub mod client_address;
pub mod drain;
pub mod listeners;
pub mod readiness;
pub mod self_signed;
pub mod signals;
