//! What was learnt of a connection as it came in, for every request on it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use pingora::http::ResponseHeader;
use pingora_core::protocols::Digest;
use pingora_core::protocols::raw_connect::ProxyDigest;

use super::guard::Porter;

/// One connection's beginning, and how far it has come.
pub struct Arrival {
    /// Who is at the other end of the connection: of the socket, or as a trusted proxy said in its PROXY header.
    pub peer: SocketAddr,
    /// When it was accepted.
    pub at: Instant,
    /// Whether pingora has accepted the head that was last handed to it; over HTTP/2, any head at all.
    has_head: AtomicBool,
    porter: Arc<dyn Porter>,
}

impl Arrival {
    pub fn new(peer: SocketAddr, porter: Arc<dyn Porter>) -> Arc<Self> {
        Arc::new(Self { peer, at: Instant::now(), has_head: AtomicBool::new(false), porter })
    }

    /// The same connection, from `peer`.
    pub fn from(&self, peer: SocketAddr) -> Arc<Self> {
        let porter = Arc::clone(&self.porter);
        Arc::new(Self { peer, at: self.at, has_head: AtomicBool::new(false), porter })
    }

    /// Another head is about to be read.
    pub fn await_head(&self) {
        self.has_head.store(false, Ordering::Relaxed);
    }

    /// A head was read and is good: there is a request.
    pub fn note_head(&self) {
        self.has_head.store(true, Ordering::Relaxed);
    }

    pub fn has_head(&self) -> bool {
        self.has_head.load(Ordering::Relaxed)
    }

    pub fn porter(&self) -> &dyn Porter {
        &*self.porter
    }

    /// In the form in which pingora carries what it does not know to each request of a connection, HTTP/1.1 or HTTP/2:
    /// as the remark of a proxy it was dialled through, which a client's connection never has.
    pub fn digest(self: &Arc<Self>) -> pingora_core::Result<Arc<ProxyDigest>> {
        let unused = Box::new(ResponseHeader::build_no_case(200, Some(0))?);
        Ok(Arc::new(ProxyDigest::new(unused, Some(Box::new(Arc::clone(self))))))
    }

    /// The arrival of the connection that `digest` is of.
    pub fn of(digest: Option<&Digest>) -> Option<&Self> {
        let arrival: &Arc<Self> = digest?.proxy_digest.as_ref()?.user_data.as_ref()?.downcast_ref()?;
        Some(arrival)
    }
}

impl fmt::Debug for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arrival").field("peer", &self.peer).finish_non_exhaustive()
    }
}
