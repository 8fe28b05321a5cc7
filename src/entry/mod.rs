//! How connections come in and how they end: sockets, certificates, the guards before a request is one, the admin
//! listener, readiness, the stop, and the hand-over to another process.
//!
//! Owns: sockets before a request is known. Must not know: routes, keys, models.

pub mod acme;
pub mod admin;
pub mod arrival;
pub mod bounded;
mod buffers;
pub mod certificates;
pub mod claims;
pub mod client_address;
pub mod connection;
mod crowd;
pub mod descriptors;
pub mod doors;
pub mod drain;
pub mod ebb;
mod forwarded;
mod frames;
pub mod guard;
pub mod handover;
pub mod head;
mod heads;
mod kept;
mod linger;
pub mod listeners;
pub mod proxy_header;
pub mod readiness;
pub mod self_signed;
pub mod signals;
pub mod sockets;
pub mod successor;
pub mod supervisor;
pub mod tls;
pub mod visit;
pub mod whole_file;
