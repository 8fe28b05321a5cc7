//! What was learnt of a connection as it came in, for every request on it.

use std::net::SocketAddr;
use std::sync::Arc;

use pingora::http::ResponseHeader;
use pingora_core::protocols::Digest;
use pingora_core::protocols::raw_connect::ProxyDigest;

use super::certificates::{Certificate, Table};

/// One connection's beginning.
#[derive(Debug)]
pub struct Arrival {
    /// Who is at the other end of the socket.
    pub peer: SocketAddr,
    /// None: plain.
    pub tls: Option<Greeting>,
}

/// What was said in a TLS handshake.
#[derive(Debug)]
pub struct Greeting {
    /// Whom the client asked for, lower case.
    server_name: Option<Box<str>>,
    shown: Option<Arc<Certificate>>,
    /// What could have been shown: what was swapped since changes nothing for this connection.
    table: Arc<Table>,
    has_certificate: bool,
}

impl Greeting {
    pub fn new(server_name: Option<String>, table: Arc<Table>, has_certificate: bool) -> Self {
        let shown = table.choose(server_name.as_deref()).cloned();
        Self { server_name: server_name.map(String::into_boxed_str), shown, table, has_certificate }
    }

    /// Whether requests for `host` (lower case, without port) belong on this connection: for the name that was asked
    /// for, for those that the certificate shown is good for, which is what lets HTTP/2 clients send them here, and for
    /// those that it would have been shown for. Who asked for no name is believed.
    pub fn is_for(&self, host: &str) -> bool {
        let Some(name) = &self.server_name else { return true };
        let host = host.trim_end_matches('.');
        let is_shown = |chosen: &Arc<Certificate>| self.shown.as_ref().is_some_and(|shown| Arc::ptr_eq(shown, chosen));
        **name == *host
            || self.shown.as_ref().is_some_and(|shown| shown.covers(host))
            || self.table.choose(Some(host)).is_some_and(is_shown)
    }

    /// Whether the client showed a certificate, which was held against the entrypoint's CAs.
    pub fn has_certificate(&self) -> bool {
        self.has_certificate
    }
}

impl Arrival {
    /// In the form in which pingora carries what it does not know to each request of a connection, HTTP/1.1 or HTTP/2:
    /// as the remark of a proxy it was dialled through, which a client's connection never has.
    pub fn into_digest(self) -> pingora_core::Result<Arc<ProxyDigest>> {
        let unused = Box::new(ResponseHeader::build_no_case(200, Some(0))?);
        Ok(Arc::new(ProxyDigest::new(unused, Some(Box::new(self)))))
    }

    /// The arrival of the connection that `digest` is of.
    pub fn of(digest: Option<&Digest>) -> Option<&Self> {
        digest?.proxy_digest.as_ref()?.user_data.as_ref()?.downcast_ref()
    }
}
