//! What a connection and the head of a request may be, before anything is known of who asks for what.

use std::time::Duration;

use http::HeaderName;

/// `guards` of `cfx.yaml`. A connection keeps those it came in under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guards {
    /// From a head's first byte to its last, of a connection's first head from when the connection was accepted.
    pub header_timeout: Duration,
    /// Of a request line and its headers together, in bytes.
    pub header_bytes: usize,
    /// Header lines of one request.
    pub headers: usize,
    /// Between two requests of a connection.
    pub idle: Duration,
    /// After so many requests a connection over HTTP/1.1 is closed. None: never for that.
    pub requests_per_connection: Option<u32>,
    /// The first answer after so long is the last of a connection over HTTP/1.1. None: never for that.
    pub connection_age: Option<Duration>,
    /// Connections at once. None: as many as the process has descriptors for, within reason.
    pub connections: Option<usize>,
    /// Those of one address, of IPv6 of one /64. None: half of all.
    pub connections_per_address: Option<usize>,
    /// Requests at once on one connection over HTTP/2.
    pub http2_streams: u32,
    pub encoded_slash: EncodedSlash,
    pub underscores: Underscores,
}

/// What becomes of a path with a slash in it that is written `%2F`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EncodedSlash {
    /// Whoever decodes it behind us would read another path than the one that was routed.
    Refuse,
    Pass,
}

/// What becomes of a header whose name has an underscore, which applications with CGI's habits cannot tell from the one
/// that has a hyphen there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Underscores {
    /// The request goes on without it.
    Drop,
    Pass,
    Refuse,
}

/// Where proxies that are trusted write who asked them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ClientHeader {
    /// `X-Forwarded-For`, with `X-Forwarded-Proto` and `X-Forwarded-Host` beside it.
    #[default]
    XForwardedFor,
    /// `Forwarded`, of RFC 7239.
    Forwarded,
    /// A header that holds one address, such as a CDN's own; `X-Forwarded-Proto` and `X-Forwarded-Host` beside it.
    Named(HeaderName),
}
