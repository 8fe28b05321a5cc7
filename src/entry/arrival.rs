//! What was learnt of a connection as it came in, for every request on it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use pingora::http::ResponseHeader;
use pingora_core::protocols::Digest;
use pingora_core::protocols::raw_connect::ProxyDigest;

use super::certificates::Table;
use super::guard::Porter;
use crate::config::Certificate;

/// One connection's beginning, and how far it has come.
pub struct Arrival {
    /// Who is at the other end of the connection: of the socket, or as a trusted proxy said in its PROXY header.
    pub peer: SocketAddr,
    /// None: plain, or no hands were shaken yet.
    pub tls: Option<Greeting>,
    /// When it was accepted.
    pub at: Instant,
    /// Whether pingora has accepted the head that was last handed to it; over HTTP/2, any head at all.
    has_head: AtomicBool,
    /// Over HTTP/1.1, of the request whose head that is.
    request: Progress,
    porter: Arc<dyn Porter>,
}

/// How far a request over HTTP/1.1 and its answer have come on their connection.
#[derive(Default)]
struct Progress {
    /// Bytes that came together with the head, behind it.
    behind_head: AtomicUsize,
    /// Whether its body has come whole: what is read behind that belongs to no request.
    is_body_over: AtomicBool,
    /// Whether anything was.
    has_strays: AtomicBool,
    /// Bytes that the connection has taken of its answer, heads and framing included.
    taken: AtomicU64,
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
    /// Of a connection that was accepted just now.
    pub fn new(peer: SocketAddr, porter: Arc<dyn Porter>) -> Self {
        let (has_head, request) = (AtomicBool::new(false), Progress::default());
        Self { peer, tls: None, at: Instant::now(), has_head, request, porter }
    }

    /// Another head is about to be read, which so many bytes came behind.
    pub fn await_head(&self, behind_head: usize) {
        self.has_head.store(false, Ordering::Relaxed);
        self.request.behind_head.store(behind_head, Ordering::Relaxed);
        self.request.taken.store(0, Ordering::Relaxed);
    }

    /// What is read from here on may be another head.
    pub fn note_request_over(&self) {
        self.request.is_body_over.store(false, Ordering::Relaxed);
    }

    /// Whether more came behind the head than its body, where this is so long.
    pub fn has_more_behind_head_than(&self, body: usize) -> bool {
        self.request.behind_head.load(Ordering::Relaxed) > body
    }

    /// The request's body has come whole.
    pub fn note_body_over(&self) {
        self.request.is_body_over.store(true, Ordering::Relaxed);
    }

    pub fn is_body_over(&self) -> bool {
        self.request.is_body_over.load(Ordering::Relaxed)
    }

    /// Something came behind the request: the connection ends behind its answer.
    pub fn note_strays(&self) {
        self.request.has_strays.store(true, Ordering::Relaxed);
    }

    pub fn has_strays(&self) -> bool {
        self.request.has_strays.load(Ordering::Relaxed)
    }

    pub fn note_taken(&self, bytes: usize) {
        self.request.taken.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes that the connection has taken of the answer so far.
    pub fn taken(&self) -> u64 {
        self.request.taken.load(Ordering::Relaxed)
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
