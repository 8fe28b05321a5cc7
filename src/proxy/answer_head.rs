//! The head of a model's answer as the client sees it: built here, so that no header of LiteLLM's crosses.

use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::exchange::Exchange;
use super::relay::Framing;
use super::stamp::{RETRY_AFTER_MS, stamp};
use crate::upstream::Head;

const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// What the upstream's head has for the client goes out of it.
pub fn response_headers(exchange: &mut Exchange, from_upstream: &mut Head, framing: Framing) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(20);
    let mut pass = |name: HeaderName, value: Option<HeaderValue>| {
        if let Some(value) = value {
            headers.insert(name, value);
        }
    };
    pass(CONTENT_TYPE, from_upstream.content_type.take());
    match framing {
        Framing::Json => {
            pass(CONTENT_LENGTH, from_upstream.content_length.map(HeaderValue::from));
            pass(RETRY_AFTER, from_upstream.retry_after.take());
            pass(RETRY_AFTER_MS, from_upstream.retry_after_ms.take());
        }
        Framing::EventStream => dress_stream(&mut headers),
    }
    stamp(exchange, &mut |name, value| {
        headers.insert(name, value);
    });
    headers
}

/// Nothing on the way to the client is to keep a stream, or to hold it back.
pub fn dress_stream(headers: &mut HeaderMap) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
}
