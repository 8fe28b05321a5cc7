//! Routes that are not models: the stock proxy loop with its headers dressed on the way in and out.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderName, StatusCode};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora_core::protocols::http::ServerSession;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorSource, ErrorType, Result};

use super::exchange::Exchange;
use super::stamp::{REQUEST_ID, is_added, stamp};
use super::sticky::Tokens;
use super::{edit, forwarding, route_guard};
use crate::config::{Limits, RouteGuards, Upstream};
use crate::telemetry::trace_context::TRACEPARENT;
use crate::upstream::{Balancer, By, Dialer, Seat};

/// A connection that cannot be made is tried once more, at another target.
pub const MOST_ATTEMPTS: u8 = 2;

/// Where a web request goes.
#[derive(Debug, Clone)]
pub enum Place {
    Upstream(Arc<Upstream>),
    /// A server of this process, by its listener.
    Inside(SocketAddr),
}

impl Place {
    /// None where the request stays in this process.
    pub fn upstream(&self) -> Option<&Upstream> {
        match self {
            Place::Upstream(upstream) => Some(upstream),
            Place::Inside(_) => None,
        }
    }
}

/// How long a connection to a web upstream, or to a server of this process, may lie idle.
const IDLE: Duration = Duration::from_secs(60);
/// How long a server of this process may take for a head, or between two pieces of an answer: its streams send comments
/// more often.
const INSIDE_SILENCE: Duration = Duration::from_secs(60);
/// It is there, or this process is about to end.
const INSIDE_CONNECT: Duration = Duration::from_secs(2);

/// Of 32 KiB, in what pingora writes as one: over HTTP/1.1 four reads of 64 KiB, over HTTP/2 one. Each has its `read_stall`.
const PARTS: u32 = 8;
const PARTS_OF_A_STREAM: u32 = 2;

/// What holds of a client for as long as a web application answers it: how long it is waited for, to take a piece of its
/// answer and to bring the next of its body (what becomes a WebSocket has a clock of its own), and that it gets one answer.
pub fn prepare(session: &mut ServerSession, limits: &Limits) {
    // Who takes nothing at all is left after twice `read_stall`, over HTTP/1.1 by the connection.
    let parts = if session.is_http2() { PARTS_OF_A_STREAM } else { PARTS };
    session.set_write_timeout(Some(parts * limits.read_stall));
    session.set_read_timeout(Some(limits.upload_stall));
    session.set_ignore_info_resp(true);
}

/// Whether this is not the answer yet. Early hints and the like are not passed on: over HTTP/2 pingora could not, and
/// many a client of HTTP/1.1 takes them for the answer.
pub fn is_interim(status: StatusCode) -> bool {
    status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
}

/// A seat at the target that the client keeps to; else at the best there is, other than the one that just failed; at
/// that one again where it has another address.
pub fn seat(
    balancer: &Balancer,
    upstream: &Upstream,
    failed: Option<Seat>,
    kept: Option<(&Tokens, &str)>,
) -> Result<Seat> {
    let unknown = || unreachable_error(ErrorType::ConnectNoRoute, "this edge did not start with the upstream");
    let (group, now) = (balancer.of(upstream).ok_or_else(unknown)?, Instant::now());
    if let (Some((tokens, token)), None) = (kept, &failed)
        && let Some(seat) = group.seat_at(|member| tokens.of(member) == token, now)
    {
        return Ok(seat);
    }
    let failed = failed.as_ref().map(Seat::member);
    let seat = group.seat(failed, now).or_else(|wait| match failed {
        Some(member) if member.has_several_addresses() => group.seat(None, now),
        _ => Err(wait),
    });
    seat.map_err(|_wait| unreachable_error(ErrorType::ConnectNoRoute, "no target of the upstream may be asked"))
}

/// A target with its name resolved: pingora's own resolution blocks, and panics where it fails.
pub async fn peer(
    dialer: &Dialer,
    seat: &mut Seat,
    upstream: &Upstream,
    guards: Option<&RouteGuards>,
    attempt: u8,
) -> Result<Box<HttpPeer>> {
    let of_route = guards.and_then(|guards| guards.timeouts).unwrap_or_default();
    let timeouts = of_route.over(upstream.timeouts);
    let Ok(address) = dialer.address(seat.member(), attempt.into()).await else {
        seat.failed(By::Anyone);
        return Err(unreachable_error(ErrorType::ConnectNoRoute, "the upstream's name does not resolve"));
    };
    let target = seat.target();
    let mut peer = HttpPeer::new(address, target.tls, target.host.clone());
    peer.options.connection_timeout = Some(timeouts.connect);
    peer.options.total_connection_timeout = Some(timeouts.connect);
    peer.options.read_timeout = Some(timeouts.between_chunks);
    peer.options.write_timeout = Some(timeouts.between_chunks);
    peer.options.idle_timeout = Some(IDLE);
    Ok(Box::new(peer))
}

/// The server of this process that listens there.
pub fn inside(address: SocketAddr) -> Box<HttpPeer> {
    let mut peer = HttpPeer::new(address, false, String::new());
    peer.options.connection_timeout = Some(INSIDE_CONNECT);
    peer.options.total_connection_timeout = Some(INSIDE_CONNECT);
    peer.options.read_timeout = Some(INSIDE_SILENCE);
    peer.options.write_timeout = Some(INSIDE_SILENCE);
    peer.options.idle_timeout = Some(IDLE);
    Box::new(peer)
}

fn unreachable_error(kind: ErrorType, words: &'static str) -> Box<Error> {
    let mut error = Error::explain(kind, words);
    error.esource = ErrorSource::Upstream;
    error
}

/// What an error says of the target: that it broke off, or was silent. Where a head had come it answered, and only loses
/// our favour; a WebSocket may end as it likes. What could not be connected was told before.
pub fn note_failure(session: &ServerSession, seat: Option<&mut Seat>, exchange: &Exchange, error: &Error) {
    let is_its_own = error.esource() == &ErrorSource::Upstream && !is_about_connecting(error.etype());
    let Some(seat) = seat.filter(|_| is_its_own) else { return };
    match session.response_written() {
        None => seat.failed(By::Client(client_of(exchange))),
        Some(_) if session.was_upgraded() => {}
        Some(_) => seat.judged(false),
    }
}

/// What the end of an answer says of its target.
pub fn note_end(seat: Option<&Seat>, exchange: &Exchange, error: Option<&Error>) {
    if let Some(seat) = seat.filter(|_| error.is_none() && exchange.answer.status < 400) {
        seat.judged(true);
    }
}

/// Who asks here is told apart by address: there is no key.
pub fn client_of(exchange: &Exchange) -> u128 {
    exchange.client.get().map_or(0, |address| match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    })
}

fn is_about_connecting(kind: &ErrorType) -> bool {
    matches!(
        kind,
        ErrorType::ConnectTimedout
            | ErrorType::ConnectRefused
            | ErrorType::ConnectNoRoute
            | ErrorType::ConnectError
            | ErrorType::TLSHandshakeFailure
            | ErrorType::TLSHandshakeTimedout
            | ErrorType::InvalidCert
            | ErrorType::BindError
            | ErrorType::SocketError
    )
}

/// Tells the web application who asked and how, and the id under which it is logged. What the client claims about
/// itself in these headers is replaced.
pub fn dress_request(
    session: &ServerSession,
    request: &mut RequestHeader,
    exchange: &Exchange,
    seat: Option<&Seat>,
) -> Result<()> {
    forwarding::tell(session, request, exchange)?;
    // Over HTTP/1.0 a client may name no host; what goes on is HTTP/1.1, which must.
    if let Some(seat) = seat.filter(|_| !request.headers.contains_key(HOST)) {
        request.insert_header(HOST, seat.target().authority.clone())?;
    }
    // Without a span of ours the client's own word passes as it came.
    if exchange.snapshot.edge.telemetry.traces.is_some() {
        let trace = exchange.trace(&session.req_header().headers);
        request.insert_header(TRACEPARENT, trace.to_web().as_slice())?;
    }
    request.insert_header(REQUEST_ID, exchange.id_text.clone())?;
    exchange.passed.get().map_or(Ok(()), |passed| passed.tell(request))?;
    exchange.edits().map_or(Ok(()), |edits| edit::request(edits, request))
}

/// An empty piece at the end would be written as the chunk that ends a body, and once more at its end. One before it, as
/// comes of a chunk whose size was cut in two, stays: to pingora no piece at all is the end.
pub fn drop_empty_end(body: &mut Option<Bytes>, end: bool) {
    if end && body.as_ref().is_some_and(Bytes::is_empty) {
        *body = None;
    }
}

/// Adds what cfx says of every answer. The request id is ours alone, as it was on the way to the application.
pub fn dress_response(response: &mut ResponseHeader, exchange: &mut Exchange) -> Result<()> {
    exchange.answer.status = response.status.as_u16();
    for name in route_guard::said_by_others(exchange, &response.headers) {
        response.remove_header(&name);
    }
    if response.status != StatusCode::SWITCHING_PROTOCOLS {
        drop_hop_by_hop(response);
    }
    let mut outcome = Ok(());
    stamp(exchange, &mut |name, value| {
        if outcome.is_ok() {
            outcome = match is_added(&name) {
                true => response.append_header(name, value).map(drop),
                false => response.insert_header(name, value),
            };
        }
    });
    outcome
}

/// What the application said of its connection to us (RFC 9110 §7.6.1). The framing is the stock loop's to decide.
fn drop_hop_by_hop(response: &mut ResponseHeader) {
    const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
    let is_framing = |name: &HeaderName| [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING].contains(name);
    let lines = response.headers.get_all(CONNECTION).iter().filter_map(|line| line.to_str().ok());
    let named = lines.flat_map(|line| line.split(',')).filter_map(|name| name.trim().parse().ok());
    let unwanted: Vec<HeaderName> = named.filter(|name| !is_framing(name)).chain([KEEP_ALIVE]).collect();
    for name in &unwanted {
        response.remove_header(name);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{Overrides, Source, load};
    use crate::units::{RequestId, Timestamp};

    #[test]
    fn what_was_no_wait_for_the_upstream_is_told_as_ours() {
        let snapshot = load(&Source::Embedded, &Overrides::default(), &|_| None).unwrap();
        let mut exchange = Exchange::open(RequestId::new(Timestamp(0)), Timestamp(0), snapshot.into());
        exchange.started = Instant::now().checked_sub(Duration::from_secs(3)).unwrap();
        exchange.answer.upstream_wait = Duration::from_secs(2);
        let mut response = ResponseHeader::build(200, None).unwrap();
        dress_response(&mut response, &mut exchange).unwrap();
        let timing = response.headers.get("server-timing").and_then(|value| value.to_str().ok()).unwrap();
        assert!(timing.starts_with("cfx;dur=1") && timing.ends_with("upstream;dur=2000.000"), "{timing}");
    }
}
