//! What is refused for how it is written, whoever asks and for whatever: of heads that never became requests, in the
//! entry's name, and of requests before they are routed.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::HOST;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use pingora::http::RequestHeader;
use pingora_core::protocols::http::ServerSession;

use super::account::{self, Asked};
use super::exchange::Exchange;
use super::refuse::{Reason, Refusal};
use super::route::{self, Destination};
use super::stamp::stamp;
use super::{Services, path};
use crate::config::{Guards, Snapshot, Underscores};
use crate::entry::arrival::Arrival;
use crate::entry::guard::{Guard, Porter};
use crate::entry::head::is_a_host;
use crate::units::RequestId;

/// Where a request goes, once what no route is to see was refused.
pub fn look_and_find(
    services: &Services,
    session: &ServerSession,
    exchange: &Exchange,
) -> Result<Destination, Refusal> {
    look(session, &exchange.snapshot.edge.guards)?;
    route::find(session, exchange, &services.challenges)
}

/// Refuses what no route is to see. Costs an ordinary request a look at its path.
fn look(session: &ServerSession, guards: &Guards) -> Result<(), Refusal> {
    let head = session.req_header();
    if session.is_http2() {
        // Over HTTP/1.1 this was done as they came.
        name_one_host(head)?;
        measure(head, guards)?;
    }
    look_at(head, guards)
}

/// What holds of a head however it came.
pub fn look_at(head: &RequestHeader, guards: &Guards) -> Result<(), Refusal> {
    if head.method == Method::TRACE {
        let refusal = Refusal::new(Reason::MethodNotAllowed, "TRACE is answered nowhere").final_word();
        return Err(refusal.by(Guard::Method));
    }
    if guards.underscores == Underscores::Refuse && head.headers.keys().any(has_underscore) {
        let message = "a header name has an underscore (guards.underscores lets those pass)";
        return Err(Refusal::new(Reason::InvalidRequest, message).final_word().by(Guard::Underscore));
    }
    path::check(head, guards.encoded_slash)
}

/// Whether an application with CGI's habits would take this header for another.
pub fn has_underscore(name: &HeaderName) -> bool {
    name.as_str().contains('_')
}

/// Whoever routes by a host and whoever stands behind must read the same one.
fn name_one_host(head: &RequestHeader) -> Result<(), Refusal> {
    let authority = head.uri.authority().map(|authority| authority.as_str().as_bytes());
    let mut hosts = authority.into_iter().chain(head.headers.get_all(HOST).iter().map(HeaderValue::as_bytes));
    if hosts.all(is_a_host) { Ok(()) } else { Err(refusal(Guard::InvalidHead)) }
}

fn measure(head: &RequestHeader, guards: &Guards) -> Result<(), Refusal> {
    // As HTTP/1.1 would write them: a colon, a space, and the end of the line; and the line of the target.
    let lines: usize = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let authority = head.uri.authority().map_or(0, |authority| authority.as_str().len());
    let bytes = lines + head.method.as_str().len() + head.raw_path().len() + authority;
    if head.headers.len() > guards.headers || bytes > guards.header_bytes {
        return Err(refusal(Guard::HeadersTooLarge));
    }
    Ok(())
}

/// What is said to who is turned away.
fn refusal(guard: Guard) -> Refusal {
    let (reason, message) = match guard {
        Guard::HeaderTimeout => (Reason::HeaderTimeout, "the request's head did not come in time"),
        Guard::HeadersTooLarge => (Reason::HeadersTooLarge, "the request's head is larger than this gateway reads"),
        Guard::AmbiguousFraming => (Reason::InvalidRequest, "where the request's body ends could be read in two ways"),
        Guard::Method => (Reason::MethodNotAllowed, "this gateway is no forward proxy"),
        _ => (Reason::InvalidRequest, "the request's head is not well-formed HTTP/1.1"),
    };
    let refusal = Refusal::new(reason, message).by(guard);
    if guard == Guard::HeaderTimeout { refusal } else { refusal.final_word() }
}

/// The porter of an edge that serves.
pub struct Gate {
    services: Arc<Services>,
}

impl Gate {
    pub fn new(services: Arc<Services>) -> Arc<Self> {
        Arc::new(Self { services })
    }
}

impl Porter for Gate {
    fn rules(&self) -> Arc<Snapshot> {
        self.services.snapshot.load_full()
    }

    fn count(&self, guard: Guard) {
        self.services.metrics.guarded(guard.label());
    }

    fn refuse(&self, guard: Guard, arrival: &Arrival) -> Bytes {
        let now = self.services.clock.now();
        let mut exchange = Exchange::open(RequestId::new(now), now, self.rules());
        let _ = exchange.client.set(arrival.peer.ip().to_canonical());
        let refusal = refusal(guard);
        let body = refusal.body(None, exchange.id);
        exchange.answer.refused(&refusal);
        exchange.answer.status = refusal.status();
        exchange.answer.bytes_out = body.len() as u64;
        let answer = written(&refusal, &body, &mut exchange);
        let headers = HeaderMap::new();
        let nothing = Asked { method: "", host: "", path: "", query: None, user_agent: None, headers: &headers };
        account::settle(&self.services, &mut exchange, &nothing);
        answer
    }
}

fn written(refusal: &Refusal, body: &str, exchange: &mut Exchange) -> Bytes {
    let mut answer = BytesMut::with_capacity(512 + body.len());
    let status = http::StatusCode::from_u16(refusal.status()).unwrap_or(http::StatusCode::BAD_REQUEST);
    answer.put_slice(b"HTTP/1.1 ");
    answer.put_slice(status.as_str().as_bytes());
    answer.put_slice(b" ");
    answer.put_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    answer.put_slice(b"\r\ncontent-type: application/json\r\ncache-control: no-store\r\nconnection: close\r\n");
    let mut put = |name: HeaderName, value: HeaderValue| {
        answer.put_slice(name.as_str().as_bytes());
        answer.put_slice(b": ");
        answer.put_slice(value.as_bytes());
        answer.put_slice(b"\r\n");
    };
    stamp(exchange, &mut put);
    super::stamp::stamp_refusal(refusal, &mut put);
    put(http::header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    answer.put_slice(b"\r\n");
    answer.put_slice(body.as_bytes());
    answer.freeze()
}
