//! Where an upstream is, and what is spoken there.

use std::fmt;

use http::HeaderValue;

/// One address of an upstream: `http://litellm:4000`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    pub tls: bool,
    /// A name or an IP literal, without brackets.
    pub host: String,
    pub port: u16,
    /// `host:port` as the `Host` header has it: the port left out where it is the scheme's own.
    pub authority: HeaderValue,
    pub http2: Http2,
    /// Of its upstream's requests it gets this many for each one of another's weight; at least 1, without a common factor.
    pub weight: u16,
}

/// Whether an upstream's targets are spoken to in HTTP/2. Else it is HTTP/1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Http2 {
    /// Offered by ALPN to `https` targets, which choose.
    #[default]
    Auto,
    Off,
    /// `https` targets have to choose it, `http` ones to know it beforehand.
    Always,
}

impl Target {
    /// None where `host` cannot stand in a header.
    pub fn new(tls: bool, host: String, port: u16) -> Option<Self> {
        let bracketed = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let authority = match (tls, port) {
            (false, 80) | (true, 443) => bracketed,
            (_, port) => format!("{bracketed}:{port}"),
        };
        Some(Self { tls, host, port, authority: authority.try_into().ok()?, http2: Http2::default(), weight: 1 })
    }

    /// Whether a connection to it may turn out to be HTTP/2.
    pub fn may_speak_http2(&self) -> bool {
        match self.http2 {
            Http2::Auto => self.tls,
            Http2::Off => false,
            Http2::Always => true,
        }
    }
}

/// `http://litellm:4000`, as the operator knows it.
impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(formatter, "{scheme}://{}", self.authority.to_str().unwrap_or(&self.host))
    }
}
