//! The guards: what is turned away before it is a request, or for how it is written, by reason.

use std::sync::Arc;

use bytes::Bytes;

use super::arrival::Arrival;
use crate::config::Snapshot;

/// Why something was turned away, as a closed set: the label of `cfx_guard_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Guard {
    /// The edge has all the connections it takes.
    Connections,
    /// The address has.
    ConnectionsPerAddress,
    /// A trusted proxy sent none, or one that is none.
    ProxyHeader,
    /// TLS was not agreed on, or not in time.
    Handshake,
    /// The head of a request was not whole in time.
    HeaderTimeout,
    /// More bytes or lines than a head may have.
    HeadersTooLarge,
    /// No head of HTTP/1.1, HTTP/1.0 or HTTP/2.
    InvalidHead,
    /// Two parsers could see its body end in two places.
    AmbiguousFraming,
    /// A target that two parsers could read as two.
    InvalidPath,
    /// CONNECT or TRACE.
    Method,
    /// A header name with an underscore, where those are refused.
    Underscore,
    /// Frames of HTTP/2 that ask for work and bring none.
    Http2Flood,
    /// Nothing of an answer was taken for long.
    WriteStall,
}

impl Guard {
    pub const ALL: [Guard; 13] = [
        Guard::Connections,
        Guard::ConnectionsPerAddress,
        Guard::ProxyHeader,
        Guard::Handshake,
        Guard::HeaderTimeout,
        Guard::HeadersTooLarge,
        Guard::InvalidHead,
        Guard::AmbiguousFraming,
        Guard::InvalidPath,
        Guard::Method,
        Guard::Underscore,
        Guard::Http2Flood,
        Guard::WriteStall,
    ];

    pub fn label(self) -> &'static str {
        match self {
            Guard::Connections => "connections",
            Guard::ConnectionsPerAddress => "connections_per_address",
            Guard::ProxyHeader => "proxy_header",
            Guard::Handshake => "handshake",
            Guard::HeaderTimeout => "header_timeout",
            Guard::HeadersTooLarge => "headers_too_large",
            Guard::InvalidHead => "invalid_head",
            Guard::AmbiguousFraming => "ambiguous_framing",
            Guard::InvalidPath => "invalid_path",
            Guard::Method => "method",
            Guard::Underscore => "underscore",
            Guard::Http2Flood => "http2_flood",
            Guard::WriteStall => "write_stall",
        }
    }
}

/// Who knows the rules, keeps count, and words what is said to who is turned away.
pub trait Porter: Send + Sync {
    /// The configuration as it stands: what a connection that comes in now is held to.
    fn rules(&self) -> Arc<Snapshot>;

    /// Counts what is closed without a word.
    fn count(&self, guard: Guard);

    /// Counts and logs a head that is refused, and words the answer: whole, in HTTP/1.1, and the last on its connection.
    fn refuse(&self, guard: Guard, arrival: &Arrival) -> Bytes;
}
