//! The request as it goes upstream: built here from nothing. What is not on the list does not pass.

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::exchange::Exchange;
use super::stamp::REQUEST_ID;
use crate::config::Upstream;
use crate::llm::Endpoint;
use crate::telemetry::trace_context;
use crate::upstream::OutgoingRequest;

const TRACEPARENT: HeaderName = HeaderName::from_static(trace_context::TRACEPARENT);

/// What a provider's dialect needs from its client, and nothing that LiteLLM steers by.
const PASSED: [HeaderName; 4] = [
    HeaderName::from_static(trace_context::TRACESTATE),
    HeaderName::from_static("anthropic-version"),
    HeaderName::from_static("anthropic-beta"),
    HeaderName::from_static("openai-beta"),
];

/// Of a client's headers, the few that an attempt may need: taken before its session is lent to the relay. Values in
/// ASCII alone: an upstream that ends a connection over any other would end everybody's streams on it.
pub fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let mut passed = HeaderMap::new(); // empty it allocates nothing, and most clients send none of them
    for (name, value) in headers {
        if (PASSED.contains(name) || *name == TRACEPARENT) && value.to_str().is_ok() {
            passed.append(name, value.clone());
        }
    }
    passed
}

/// A fixed path with no query, JSON whatever the client called it, our own request id and credential.
pub fn request(
    exchange: &Exchange,
    endpoint: Endpoint,
    upstream: &Upstream,
    from_client: &HeaderMap,
    stream: bool,
    segments: Vec<Bytes>,
) -> OutgoingRequest {
    let mut request = OutgoingRequest::new(endpoint.path(), segments);
    request.text(&CONTENT_TYPE, "application/json");
    request.text(&ACCEPT, if stream { "text/event-stream" } else { "application/json" });
    request.text(&ACCEPT_ENCODING, "identity"); // the tap reads what passes
    request.text(&USER_AGENT, concat!("cfx/", env!("CARGO_PKG_VERSION")));
    if let Some(credential) = &upstream.authorization {
        request.header(&AUTHORIZATION, credential);
    }
    request.header(&REQUEST_ID, &exchange.id_text);
    if let Ok(trace) = HeaderValue::from_bytes(&exchange.trace(from_client).to_model()) {
        request.header(&TRACEPARENT, &trace);
    }
    // A list may be spread over several lines (RFC 9110, 5.3).
    for (name, value) in from_client.iter().filter(|(name, _)| **name != TRACEPARENT) {
        request.header(name, value);
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_is_no_text_in_ascii_is_left_out_and_no_other() {
        for name in PASSED.into_iter().chain([TRACEPARENT]) {
            let mut from_client = HeaderMap::new();
            for value in [&b"first"[..], b"\xe9\xff", "caf\u{e9}".as_bytes(), b"last, with a\ttab"] {
                from_client.append(&name, HeaderValue::from_bytes(value).unwrap());
            }
            let passed = passed_on(&from_client);
            let values: Vec<&HeaderValue> = passed.get_all(&name).iter().collect();
            assert_eq!(values, ["first", "last, with a\ttab"], "{name}");
        }
    }
}
