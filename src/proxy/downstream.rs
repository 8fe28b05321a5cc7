//! The client as the relay sees it: a place to write an answer to, and word of its leaving.

use std::future::Future;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, Version};
use pingora::http::ResponseHeader;
use pingora_core::protocols::http::ServerSession;
use pingora_core::{ErrorType, Result};

use crate::entry::arrival::Arrival;

/// Where an answer goes. A pingora session today; anything that can take bytes and may stop wanting them.
pub trait Downstream: Send {
    /// Has the answer be the last on its connection. Before the head.
    fn be_last(&mut self);

    /// Sends the head. Once it has returned, the status can no longer change.
    fn head(&mut self, status: StatusCode, headers: HeaderMap) -> impl Future<Output = Result<()>> + Send;

    /// Sends one piece of the body at once.
    fn chunk(&mut self, piece: Bytes) -> impl Future<Output = Result<()>> + Send;

    /// Marks the clean end of the body.
    fn finish(&mut self) -> impl Future<Output = Result<()>> + Send;

    /// Resolves when the client has left. Safe to drop and call again; must not be polled beside a write.
    fn gone(&mut self) -> impl Future<Output = ()> + Send;
}

/// What is written to a client in one go, and waited for as one. A client is known to read when a write is over: were a
/// quarter of a megabyte one write, it would have to read all of it within `read_stall`.
const PART: usize = 32 << 10;

/// A pingora session, HTTP/1.1 or HTTP/2, whose request has been read to its end.
pub struct Client<'session> {
    session: &'session mut ServerSession,
}

impl<'session> Client<'session> {
    /// Writes have no limit here: the relay has its own for them.
    pub fn new(session: &'session mut ServerSession) -> Self {
        Self { session }
    }
}

impl Downstream for Client<'_> {
    fn be_last(&mut self) {
        self.session.set_keepalive(None);
    }

    async fn head(&mut self, status: StatusCode, headers: HeaderMap) -> Result<()> {
        // What came behind the request will not be answered.
        if Arrival::of(self.session.digest()).is_some_and(Arrival::has_strays) {
            self.be_last();
        }
        write_head(self.session, status, headers).await
    }

    async fn chunk(&mut self, piece: Bytes) -> Result<()> {
        self.session.write_response_body(piece, false).await
    }

    async fn finish(&mut self) -> Result<()> {
        self.session.write_response_body(Bytes::new(), true).await
    }

    async fn gone(&mut self) {
        // An end is all there is to hear: what a client says behind its request, its connection throws away.
        match self.session.read_body_or_idle(true).await {
            Err(error) if left(error.etype()) => {}
            _ => std::future::pending().await,
        }
    }
}

/// A piece of an answer as it is written: most are one part.
pub fn parts(mut piece: Bytes) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || (!piece.is_empty()).then(|| piece.split_to(piece.len().min(PART))))
}

/// FIN, RST, or an HTTP/2 stream reset; anything else is a client that talks out of turn.
pub fn left(cause: &ErrorType) -> bool {
    matches!(cause, ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::H2Error | ErrorType::H2Downgrade)
}

/// Writes a head whose framing fits the client: chunked where the length is unknown and the client speaks HTTP/1.1.
pub async fn write_head(session: &mut ServerSession, status: StatusCode, mut headers: HeaderMap) -> Result<()> {
    let version = session.req_header().version;
    let bodiless = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if bodiless {
        headers.remove(http::header::CONTENT_LENGTH); // RFC 9110, 8.6
    } else if version == Version::HTTP_11 && !headers.contains_key(http::header::CONTENT_LENGTH) {
        headers.insert(http::header::TRANSFER_ENCODING, http::HeaderValue::from_static("chunked"));
    }
    let (mut head, ()) = http::Response::new(()).into_parts();
    head.status = status;
    head.headers = headers;
    session.write_response_header(Box::new(ResponseHeader::from(head))).await
}
