//! What a route asks of a request before it goes on, in this order: the cheap before the dear, and whatever needs no
//! secret before what does.
//!
//! 1. the address is one of those that may come;
//! 2. it has not come too often, and 3. not too often at once;
//! 4. the route is not under maintenance;
//! 5. a browser that only asks for leave is answered, for it brings no password along;
//! 6. name and password are right; 7. another server says yes;
//! 8. the body is not announced to be too large.
//!
//! Failure stance: closed. What cannot be asked has not said yes.

mod address;
mod basic;
mod body;
mod buckets;
mod cors;
mod forward;

use std::net::IpAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use pingora::http::RequestHeader;
use pingora_core::Result as PingoraResult;
use pingora_core::protocols::http::ServerSession;

use super::Services;
use super::exchange::Exchange;
use super::refuse::{Reason, Refusal};
use crate::config::{Route, RouteGuards};
pub use address::{AddressLimits, Place};
pub use basic::Passwords;
pub use body::{Intake, TOO_LARGE, TOO_SLOW, too_large, too_slow};
pub use cors::{note_origin, put as put_cors, said_by_others};
pub use forward::AuthServers;

/// What guards know beyond one request.
#[derive(Default)]
pub struct GuardState {
    addresses: AddressLimits,
    passwords: Passwords,
    servers: AuthServers,
}

/// A request that its route's guards let pass.
#[derive(Default)]
pub struct Passed {
    /// Counted as under way for as long as this lives.
    _place: Option<Place>,
    /// What the guards know of the client, for the upstream. A client's own lines of these names are thrown away.
    told: Vec<(HeaderName, Option<HeaderValue>)>,
    /// The password was meant for cfx.
    keeps_authorization: bool,
}

/// What becomes of a request at its guards.
pub enum Verdict {
    Open(Passed),
    /// A guard has an answer of its own, which is no refusal.
    Answered(StatusCode, HeaderMap, Bytes),
}

/// Leads a request past the guards of its route.
pub async fn pass(
    services: &Services,
    session: &ServerSession,
    exchange: &mut Exchange,
    route: &Route,
    guards: &RouteGuards,
) -> Result<Verdict, Refusal> {
    let client = exchange.client.get().map(IpAddr::to_canonical);
    let state = &services.guards;
    if !guards.allows(client) {
        return Err(Refusal::new(Reason::AddressNotAllowed, "this address may not come here").final_word());
    }
    let place = state.addresses.enter(&route.matching, guards, client)?;
    if let Some(maintenance) = guards.maintenance.as_ref().filter(|maintenance| !maintenance.excepts(client)) {
        let refusal = Refusal::new(Reason::Maintenance, "this is under maintenance");
        return Err(match maintenance.retry_after {
            Some(wait) => refusal.retry_after(wait),
            None => refusal.final_word(),
        });
    }
    let head = session.req_header();
    if let Some(headers) = guards.cors.as_ref().and_then(|cors| cors::preflight(cors, head)) {
        return Ok(Verdict::Answered(StatusCode::NO_CONTENT, headers, Bytes::new()));
    }
    let mut passed = Passed { _place: place, told: Vec::new(), keeps_authorization: true };
    if let Some(basic) = &guards.basic {
        let user = state.passwords.check(basic, &head.headers).await?;
        passed.keeps_authorization = false;
        passed.told.extend(basic.user_header.clone().map(|name| (name, HeaderValue::from_str(&user).ok())));
    }
    if let Some(forward) = &guards.forward {
        match state.servers.ask(services, session, exchange, forward).await? {
            forward::Word::Yes(told) => passed.told.extend(told),
            forward::Word::No(status, mut headers, body) => {
                for name in said_by_others(exchange, &headers) {
                    headers.remove(name);
                }
                return Ok(Verdict::Answered(status, headers, body));
            }
        }
    }
    body::check_length(guards, &head.headers)?;
    Ok(Verdict::Open(passed))
}

impl Passed {
    /// Puts what the guards know into the upstream's request.
    pub fn tell(&self, request: &mut RequestHeader) -> PingoraResult<()> {
        if !self.keeps_authorization {
            request.remove_header(&http::header::AUTHORIZATION);
        }
        self.told.iter().for_each(|(name, _)| drop(request.remove_header(name)));
        let known = self.told.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
        known.into_iter().try_for_each(|(name, value)| request.append_header(name, value).map(drop))
    }
}

/// Whether a request is one that browsers make before another (the Fetch standard, 4.8).
fn is_preflight(head: &RequestHeader) -> bool {
    head.method == Method::OPTIONS && head.headers.contains_key(http::header::ACCESS_CONTROL_REQUEST_METHOD)
}
