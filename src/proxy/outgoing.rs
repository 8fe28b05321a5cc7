//! The request as it goes upstream: built here from nothing. What is not on the list does not pass.

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::exchange::Exchange;
use super::stamp::REQUEST_ID;
use crate::config::Upstream;
use crate::llm::Endpoint;
use crate::upstream::OutgoingRequest;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// What a provider's dialect needs from its client, and nothing that LiteLLM steers by.
const PASSED: [HeaderName; 3] = [
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
    if let Ok(trace) = HeaderValue::from_bytes(&traceparent(exchange, from_client)) {
        request.header(&TRACEPARENT, &trace);
    }
    // A list may be spread over several lines (RFC 9110, 5.3).
    for (name, value) in from_client.iter().filter(|(name, _)| **name != TRACEPARENT) {
        request.header(name, value);
    }
    request
}

/// W3C Trace Context: the client's trace goes on with a span of ours; without one it begins here, named by the request.
fn traceparent(exchange: &Exchange, from_client: &HeaderMap) -> [u8; 55] {
    let mut id = [0; 32];
    exchange.id.0.simple().encode_lower(&mut id);
    let inherited = from_client.get(&TRACEPARENT).and_then(|value| value.to_str().ok()).and_then(trace_of);
    let (trace, flags) = inherited.map_or((&id[..], &b"01"[..]), |(trace, flags)| (trace.as_bytes(), flags.as_bytes()));
    let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
    text[3..35].copy_from_slice(trace);
    text[36..52].copy_from_slice(&id[16..]);
    text[53..].copy_from_slice(flags);
    text
}

/// The trace id and flags of a well-formed version-00 header.
fn trace_of(header: &str) -> Option<(&str, &str)> {
    let mut parts = header.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let sound = version == "00" && hex(trace, 32) && hex(parent, 16) && hex(flags, 2) && parts.next().is_none();
    (sound && trace.bytes().any(|byte| byte != b'0')).then_some((trace, flags))
}

#[cfg(test)]
mod tests {
    use super::trace_of;

    #[test]
    fn only_well_formed_traces_are_continued() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(trace_of(&format!("00-{trace}-00f067aa0ba902b7-01")), Some((trace, "01")));
        for bad in ["", "00", "00-xyz-00f067aa0ba902b7-01", "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"] {
            assert_eq!(trace_of(bad), None, "{bad}");
        }
        assert_eq!(trace_of(&format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32))), None);
    }
}
