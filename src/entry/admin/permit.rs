//! Who may look into the configuration and have it read anew.
//!
//! Failure stance: closed. Three things could ask in an operator's place, and each is met: a page in a browser on the
//! operator's machine, by its Origin; a name in DNS that leads such a page here, by the Host it asks for; anybody in
//! the network, by the token, without which nothing is answered where others than this machine can ask.

use std::net::IpAddr;

use axum::Json;
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN, WWW_AUTHENTICATE};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use subtle::ConstantTimeEq;

use crate::config::Secret;

/// Why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Denied {
    #[error("the edge is starting")]
    Starting,
    #[error("ask for it by an address, or by a name without dots; a name of the internet could be anybody's")]
    Host,
    #[error("web pages may not ask")]
    Origin,
    #[error(
        "this listener can be reached by others: set admin.token in cfx.yaml, and send it as Authorization: Bearer"
    )]
    NoToken,
    #[error("send admin.token of cfx.yaml as Authorization: Bearer")]
    Token,
}

/// `loopback`: nobody but this machine reaches the listener.
pub(super) fn check(headers: &HeaderMap, token: Option<&Secret>, loopback: bool) -> Result<(), Denied> {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()?.parse::<Authority>().ok());
    if !host.is_some_and(|host| is_ours(host.host())) {
        return Err(Denied::Host);
    }
    if headers.contains_key(ORIGIN) {
        return Err(Denied::Origin);
    }
    match token {
        None if loopback => Ok(()),
        None => Err(Denied::NoToken),
        Some(token) => {
            let shown = headers.get(AUTHORIZATION).and_then(|value| bearer(value.as_bytes()));
            let same = shown.is_some_and(|shown| bool::from(shown.ct_eq(token.expose().as_bytes())));
            if same { Ok(()) } else { Err(Denied::Token) }
        }
    }
}

/// What stands behind the scheme, whose name has no case (RFC 9110 §11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(b"Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}

/// An address, or a name that no public DNS has: `localhost`, or a container's.
fn is_ours(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    address.is_ok() || !host.contains('.')
}

impl IntoResponse for Denied {
    fn into_response(self) -> Response {
        let status = match self {
            Denied::Starting => StatusCode::SERVICE_UNAVAILABLE,
            Denied::Host => StatusCode::MISDIRECTED_REQUEST,
            Denied::Origin | Denied::NoToken => StatusCode::FORBIDDEN,
            Denied::Token => StatusCode::UNAUTHORIZED,
        };
        let body = Json(json!({ "ok": false, "error": self.to_string() }));
        match self {
            Denied::Token => (status, [(WWW_AUTHENTICATE, "Bearer")], body).into_response(),
            _ => (status, body).into_response(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "a token of some length";

    fn asked(headers: &[(&'static str, &str)], token: Option<&str>, loopback: bool) -> Result<(), Denied> {
        let pairs = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        check(&pairs.collect(), token.map(|token| Secret::new(token.to_owned())).as_ref(), loopback)
    }

    #[test]
    fn this_machine_may_ask_by_an_address_or_a_local_name() {
        for host in ["127.0.0.1:9090", "[::1]:9090", "10.0.0.7", "localhost:9090", "cfx:9090"] {
            assert_eq!(asked(&[("host", host)], None, true), Ok(()), "{host}");
        }
        for host in ["evil.example", "evil.example:9090", "127.0.0.1.nip.io", "localhost.evil.example", "", "a b"] {
            assert_eq!(asked(&[("host", host)], None, true), Err(Denied::Host), "{host}");
        }
        assert_eq!(asked(&[], None, true), Err(Denied::Host));
    }

    #[test]
    fn no_web_page_may_ask_whatever_it_knows() {
        let bearer = format!("Bearer {TOKEN}");
        let headers = [("host", "localhost"), ("origin", "http://localhost"), ("authorization", &bearer)];
        assert_eq!(asked(&headers, Some(TOKEN), true), Err(Denied::Origin));
    }

    #[test]
    fn others_than_this_machine_need_the_token() {
        let host = ("host", "10.0.0.7:9090");
        assert_eq!(asked(&[host], None, false), Err(Denied::NoToken));
        let bearer = format!("Bearer {TOKEN}");
        for loopback in [true, false] {
            assert_eq!(asked(&[host], Some(TOKEN), loopback), Err(Denied::Token));
            assert_eq!(asked(&[host, ("authorization", "Bearer another")], Some(TOKEN), loopback), Err(Denied::Token));
            assert_eq!(asked(&[host, ("authorization", TOKEN)], Some(TOKEN), loopback), Err(Denied::Token));
            let small = bearer.replacen('B', "b", 1);
            for shown in [&bearer, &small] {
                assert_eq!(asked(&[host, ("authorization", shown)], Some(TOKEN), loopback), Ok(()));
            }
        }
    }
}
