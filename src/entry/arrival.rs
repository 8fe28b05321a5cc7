//! What was learnt of a connection as it came in, for every request on it.

use std::net::SocketAddr;
use std::sync::Arc;

use pingora::http::ResponseHeader;
use pingora_core::protocols::Digest;
use pingora_core::protocols::raw_connect::ProxyDigest;

/// One connection's beginning.
#[derive(Debug)]
pub struct Arrival {
    /// Who is at the other end of the socket.
    pub peer: SocketAddr,
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
