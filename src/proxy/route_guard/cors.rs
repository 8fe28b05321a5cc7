//! Answers for browsers that ask on behalf of a page of another origin (the Fetch standard, 3.3). Who is not allowed gets
//! the answer all the same: it is the browser that keeps it from the page. So on a route that says who is allowed nobody
//! else may say it: what the application answers of its own is taken away.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use pingora::http::RequestHeader;

use super::is_preflight;
use crate::config::Cors;
use crate::proxy::exchange::Exchange;

/// Remembers the origin that may read the answer, before anything can refuse: a page is to read refusals, too.
pub fn note_origin(exchange: &Exchange, head: &RequestHeader) {
    if let Some(cors) = exchange.cors()
        && let Some(origin) = head.headers.get(ORIGIN).filter(|origin| cors.allows(origin))
    {
        let _ = exchange.origin.set(origin.clone());
    }
}

/// What somebody else's answer says to browsers of other origins, on a route where that is not theirs to say.
pub fn said_by_others(exchange: &Exchange, headers: &HeaderMap) -> Vec<HeaderName> {
    if exchange.cors().is_none() {
        return Vec::new();
    }
    headers.keys().filter(|name| name.as_str().starts_with("access-control-")).cloned().collect()
}

/// The headers of an answer; `Vary` among them, which may stand there already.
pub fn put(exchange: &Exchange, put: &mut impl FnMut(HeaderName, HeaderValue)) {
    let Some(cors) = exchange.cors() else { return };
    let everybody = cors.origins.is_none() && !cors.credentials;
    if !everybody {
        put(VARY, HeaderValue::from_static("Origin"));
    }
    let Some(origin) = exchange.origin.get() else { return };
    put(ACCESS_CONTROL_ALLOW_ORIGIN, if everybody { HeaderValue::from_static("*") } else { origin.clone() });
    if cors.credentials {
        put(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
    if let Some(expose) = &cors.expose {
        put(ACCESS_CONTROL_EXPOSE_HEADERS, expose.clone());
    }
}

/// What a browser is told that asks for leave; None where this is no such question. Whether the origin may is said
/// where all answers say it.
pub(super) fn preflight(cors: &Cors, head: &RequestHeader) -> Option<HeaderMap> {
    let origin = head.headers.get(ORIGIN).filter(|_| is_preflight(head))?;
    let mut headers = HeaderMap::new();
    if cors.allows(origin) {
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, cors.methods.clone());
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, cors.headers.clone());
        headers.extend(cors.max_age.clone().map(|age| (ACCESS_CONTROL_MAX_AGE, age)));
    }
    Some(headers)
}
