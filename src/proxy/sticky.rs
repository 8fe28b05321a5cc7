//! A client that keeps to one target of its upstream, by a cookie. The target is named by a digest under a key, which says
//! nothing of where it is, not even to who tries all addresses there are, and is the same from every edge of an
//! installation; where it is gone, or may not be asked, another is chosen and takes its place in the cookie.

use http::header::{COOKIE, SET_COOKIE};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora_core::Result;
use pingora_core::protocols::http::ServerSession;

use super::exchange::Exchange;
use super::route;
use crate::admission::Pepper;
use crate::config::Sticky;
use crate::upstream::{Member, Seat};

/// What names targets in cookies.
pub struct Tokens {
    pepper: Pepper,
}

impl Tokens {
    /// Edges with one pepper name a target alike.
    pub fn new(pepper: Pepper) -> Self {
        Self { pepper }
    }

    /// What the cookie says of a target: 16 hexadecimal digits, worked out once.
    pub fn of<'member>(&self, member: &'member Member) -> &'member str {
        member.token(|target| {
            let mut digest = self.pepper.digest("cfx sticky cookie", &target.to_string());
            digest.truncate(16);
            digest
        })
    }
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
    tokens: &Tokens,
) -> Result<()> {
    let (Some(sticky), Some(seat)) = (sticky(exchange), seat) else { return Ok(()) };
    let token = tokens.of(seat.member());
    if kept(exchange, session.req_header()).is_some_and(|kept| kept == token) {
        return Ok(());
    }
    let secure = if route::came_by_https(session, &exchange.snapshot.edge) { "; Secure" } else { "" };
    let age = sticky.max_age.map(|age| format!("; Max-Age={}", age.as_secs())).unwrap_or_default();
    let cookie = format!("{}={token}; Path=/; HttpOnly; SameSite=Lax{secure}{age}", sticky.cookie);
    response.append_header(SET_COOKIE, cookie).map(drop)
}
