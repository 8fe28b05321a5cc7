//! The three YAML files of `conf/`, checked into one [`Snapshot`].
//!
//! Owns: the files' shape, their defaults, `${ENV}` interpolation, and every message about a mistake in them.
//! Must not know: requests, sockets, stores. What leaves this room is checked; raw types never do.

mod snapshot;

pub use snapshot::*;
