//! A client that keeps to one target of its upstream, by a cookie. The target is named by a digest, which says nothing of
//! where it is; where it is gone, or may not be asked, another is chosen and takes its place in the cookie.

use http::header::{COOKIE, SET_COOKIE};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora_core::Result;
use pingora_core::protocols::http::ServerSession;
use sha2::{Digest as _, Sha256};

use super::exchange::Exchange;
use super::route;
use crate::config::{Sticky, Target};
use crate::upstream::Seat;

/// What the cookie says of a target.
pub fn token(target: &Target) -> String {
    let digest = Sha256::digest(target.to_string());
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

fn sticky(exchange: &Exchange) -> Option<&Sticky> {
    exchange.edits()?.sticky.as_ref()
}

/// What the client's cookie says, where the route looks for one.
pub fn kept(exchange: &Exchange, head: &RequestHeader) -> Option<String> {
    let name = sticky(exchange)?.cookie.as_str();
    let lines = head.headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut cookies = lines.flat_map(|line| line.split(';')).filter_map(|cookie| cookie.trim().split_once('='));
    cookies.find(|(have, _)| *have == name).map(|(_, token)| token.to_owned())
}

/// Tells a client that has no cookie of its target, or another's.
pub fn keep(
    session: &ServerSession,
    response: &mut ResponseHeader,
    exchange: &Exchange,
    seat: Option<&Seat>,
) -> Result<()> {
    let (Some(sticky), Some(seat)) = (sticky(exchange), seat) else { return Ok(()) };
    let token = token(seat.target());
    if kept(exchange, session.req_header()).is_some_and(|kept| kept == token) {
        return Ok(());
    }
    let secure = if route::came_by_https(session, &exchange.snapshot.edge) { "; Secure" } else { "" };
    let age = sticky.max_age.map(|age| format!("; Max-Age={}", age.as_secs())).unwrap_or_default();
    let cookie = format!("{}={token}; Path=/; HttpOnly; SameSite=Lax{secure}{age}", sticky.cookie);
    response.append_header(SET_COOKIE, cookie).map(drop)
}
