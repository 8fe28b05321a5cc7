//! What a browser is shown where a web application cannot be reached: a page in the place of a refusal's JSON, under the
//! headers that the dashboard's own pages have. It loads nothing, so that it may be shown whatever is away.

use http::header::{ACCEPT, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use pingora::http::RequestHeader;

use super::exchange::Exchange;
use super::refuse::{Reason, Refusal};

pub const KIND: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const HEADERS: [(HeaderName, HeaderValue); 4] = [
    (CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; base-uri 'none'; frame-ancestors 'none'")),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (REFERRER_POLICY, HeaderValue::from_static("same-origin")),
];

/// None: whoever asks is no browser that opens a page, or nothing is away. Its texts are words of ours alone.
pub fn instead_of(refusal: &Refusal, exchange: &Exchange, asked: &RequestHeader) -> Option<String> {
    let away = matches!(refusal.reason, Reason::UpstreamUnavailable | Reason::UpstreamTimeout | Reason::UpstreamError);
    if !away || exchange.endpoint.get().is_some() || !opens_a_page(asked) {
        return None;
    }
    let (status, request) = (refusal.status(), exchange.id.0);
    let again = match refusal.retry_after_seconds() {
        Some(seconds) => format!("Try again in {seconds} seconds."),
        None => "Try again in a moment.".to_owned(),
    };
    Some(format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"dark light\">\n<title>{status}</title>\n\
         <h1>This page cannot be shown at the moment</h1>\n\
         <p>The application behind it does not answer. {again}</p>\n<p>Request {request}</p>\n"
    ))
}

/// Adds what no page is without.
pub fn seal(headers: &mut HeaderMap) {
    headers.extend(HEADERS);
}

fn opens_a_page(asked: &RequestHeader) -> bool {
    let named = asked.headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut kinds = named.flat_map(|value| value.split(',')).filter_map(|kind| kind.split(';').next());
    matches!(asked.method, Method::GET | Method::HEAD)
        && kinds.any(|kind| kind.trim().eq_ignore_ascii_case("text/html"))
}
