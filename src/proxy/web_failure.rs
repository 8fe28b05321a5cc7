//! Web requests that did not end as they should: what the client is told, what the account says, and one line in the log.

use std::io;
use std::time::{Duration, Instant};

use pingora_core::protocols::http::ServerSession;
use pingora_core::{Error, ErrorSource, ErrorType};
use pingora_proxy::FailToProxy;

use super::exchange::{Ending, Exchange};
use super::refuse::{Reason, Refusal};
use super::{Services, downstream, edit, own, route_guard, stand_in, unread};
use crate::config::Upstream;

/// A failure of the stock loop, or of one of our own writes: answered in our shape where the client is still there. Where
/// an answer has begun, it is accounted for as one that broke off.
pub async fn answer(
    services: &Services,
    session: &mut ServerSession,
    exchange: &mut Exchange,
    upstream: Option<&Upstream>,
    error: &Error,
) -> FailToProxy {
    let gone = FailToProxy { error_code: 0, can_reuse_downstream: false };
    let is_answered = session.response_written().is_some();
    if *error.etype() == edit::REPLACED && !is_answered {
        return stand_in::send(session, exchange).await;
    }
    // What cfx answers itself has been accounted for. A WebSocket is over when either side goes.
    if is_answered && (upstream.is_none() || session.was_upgraded()) {
        return gone;
    }
    let Some(refusal) = refusal(exchange, error) else {
        exchange.answer.ending = Ending::Left;
        return gone;
    };
    complain(services, exchange, upstream, error, is_answered);
    if is_answered {
        exchange.answer.ending = Ending::Broken(refusal.reason);
        if !session.is_http2() {
            own::close(session).await; // pingora would drop it, with what of it was not flushed yet
        }
        return gone;
    }
    let code = refusal.status();
    session.set_keepalive(None);
    let _ = own::refuse(session, exchange, refusal).await;
    FailToProxy { error_code: code, can_reuse_downstream: false }
}

/// What the client is told, or would have been. None: it has left.
fn refusal(exchange: &Exchange, error: &Error) -> Option<Refusal> {
    Some(match (error.esource(), error.etype()) {
        // The upstream's answer, by its status; the page is the route's.
        (_, kind) if *kind == route_guard::TOO_LARGE => {
            route_guard::too_large(exchange.guards().and_then(|guards| guards.body).unwrap_or_default())
        }
        (_, kind) if *kind == unread::NO_ROOM => {
            Refusal::new(Reason::Overloaded, "this gateway is at its limit").retry_after(unread::WAIT)
        }
        (ErrorSource::Downstream, kind) if *kind == route_guard::TOO_SLOW || *kind == ErrorType::ReadTimedout => {
            route_guard::too_slow(exchange.snapshot.limits.upload_stall)
        }
        (ErrorSource::Downstream, ErrorType::WriteTimedout) => {
            Refusal::new(Reason::ClientTooSlow, "the answer is not read")
        }
        (ErrorSource::Downstream, ErrorType::WriteError) if is_given_up(error) => {
            Refusal::new(Reason::ClientTooSlow, "the answer is not read")
        }
        (ErrorSource::Downstream, ErrorType::WriteError) => return None,
        (ErrorSource::Downstream, kind) if downstream::left(kind) => return None,
        (ErrorSource::Upstream, _) => upstream_failure(error),
        (ErrorSource::Downstream, _) => Refusal::new(Reason::InvalidField, "the request could not be read"),
        _ => Refusal::new(Reason::InternalError, "an error inside the gateway"),
    })
}

fn upstream_failure(error: &Error) -> Refusal {
    match error.etype() {
        ErrorType::ConnectTimedout
        | ErrorType::ConnectRefused
        | ErrorType::ConnectNoRoute
        | ErrorType::ConnectError => Refusal::new(Reason::UpstreamUnavailable, "the web application cannot be reached")
            .retry_after(Duration::from_secs(5)),
        ErrorType::ReadTimedout | ErrorType::WriteTimedout => {
            Refusal::new(Reason::UpstreamTimeout, "the web application did not answer in time")
        }
        // What a connection for a WebSocket says of an application that did not switch in time.
        ErrorType::ReadError if cause(error) == Some(io::ErrorKind::TimedOut) => {
            Refusal::new(Reason::UpstreamTimeout, "the web application did not answer in time")
        }
        _ => Refusal::new(Reason::UpstreamError, "the web application broke off"),
    }
}

/// Whether a write ended because we would not wait any longer: what the kernel says has a number.
fn is_given_up(error: &Error) -> bool {
    let io: Option<&io::Error> = error.root_cause().downcast_ref();
    io.is_some_and(|io| io.kind() == io::ErrorKind::TimedOut && io.raw_os_error().is_none())
}

fn cause(error: &Error) -> Option<io::ErrorKind> {
    error.root_cause().downcast_ref().map(io::Error::kind)
}

/// One line a second of an upstream: every request has its own, with its reason.
fn complain(services: &Services, exchange: &Exchange, upstream: Option<&Upstream>, error: &Error, is_answered: bool) {
    let group = upstream.and_then(|upstream| services.balancer.of(upstream));
    let unwritten = match &group {
        Some(group) => group.complaints.write(Instant::now()),
        None => Some(0),
    };
    let (request, upstream, error) = (exchange.id.0, group.as_ref().map(|group| group.name()), told(error));
    match (unwritten, is_answered) {
        (Some(unwritten), true) => tracing::warn!(%request, upstream, error, unwritten, "a web answer broke off"),
        (Some(unwritten), false) => tracing::warn!(%request, upstream, error, unwritten, "a web request failed"),
        (None, _) => tracing::debug!(%request, upstream, error, "a web request failed"),
    }
}

/// An error as it may stand in the log: whose it is, its kind, and the system's word for it. Its own words may hold what
/// the other side sent, whole heads included.
pub fn told(error: &Error) -> String {
    let (source, kind) = (error.esource().as_str(), error.etype().as_str());
    match cause(error) {
        Some(cause) => format!("{source}: {kind}: {cause}"),
        None => format!("{source}: {kind}"),
    }
}
