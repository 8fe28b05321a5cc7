//! Routes with guards: a request is led past them, or turned away with what they have to say.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use pingora_core::Result as PingoraResult;
use pingora_core::protocols::http::ServerSession;

use super::exchange::Exchange;
use super::refuse::Refusal;
use super::route::Destination;
use super::route_guard::{self, Verdict};
use super::stamp::{is_added, stamp};
use super::{Services, body, own};

/// Why a request gets no further than the guards of its route.
pub enum Turned {
    Away(Refusal),
    /// With an answer that is no refusal.
    Answered(StatusCode, HeaderMap, Bytes),
}

/// Leads a request past the guards of its route, of which there are some. Also one that the route itself refuses: a
/// browser asks for leave by a method that no model endpoint has, and who guesses paths is counted.
pub async fn past_guards(
    services: &Services,
    session: &ServerSession,
    exchange: &mut Exchange,
    found: Result<Destination, Refusal>,
) -> Result<Destination, Turned> {
    let found = found.map_err(Turned::Away);
    let Some(route) = exchange.matched.get().cloned() else { return found };
    let Some(guards) = &route.guards else { return found };
    route_guard::note_origin(exchange, session.req_header());
    match route_guard::pass(services, session, exchange, &route, guards).await {
        Ok(Verdict::Open(passed)) => {
            let _ = exchange.passed.set(passed);
            found
        }
        Ok(Verdict::Answered(status, headers, body)) => Err(Turned::Answered(status, headers, body)),
        Err(refusal) => Err(Turned::Away(refusal)),
    }
}

/// Answers a request that gets no further.
pub async fn turn(session: &mut ServerSession, exchange: &mut Exchange, turned: Turned) -> PingoraResult<bool> {
    match turned {
        Turned::Away(refusal) => own::refuse(session, exchange, refusal).await,
        Turned::Answered(status, mut headers, body) => {
            stamp(exchange, &mut |name, value| match is_added(&name) {
                true => drop(headers.append(name, value)),
                false => drop(headers.insert(name, value)),
            });
            if !body::drained(session).await {
                session.set_keepalive(None);
            }
            own::write(session, exchange, status, headers, body).await?;
            Ok(true)
        }
    }
}
