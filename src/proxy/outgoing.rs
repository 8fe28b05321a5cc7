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

/// Of a client's headers, the few that an attempt may need: taken before its session is lent to the relay.
pub fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let mut passed = HeaderMap::new(); // empty it allocates nothing, and most clients send none of them
    for (name, value) in headers {
        if PASSED.contains(name) || *name == TRACEPARENT {
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
