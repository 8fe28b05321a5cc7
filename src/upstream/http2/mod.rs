//! HTTP/2 to a target: connections that the requests of a thread share, each request a stream, by the `h2` crate
//! (docs/decisions/009).
//!
//! Owns: when a connection is opened, shared and left; what a stream's and a connection's end say of a request.
//! Must not know: whether the target has to speak it, or what is done where it does not.

mod session;
mod sessions;
mod stream;

#[cfg(test)]
pub(super) use session::tests::pair_since;
pub(super) use session::{Place, Session};
pub(super) use sessions::{add, take, turn};
pub(super) use stream::{Stream, head_of, status_of};
