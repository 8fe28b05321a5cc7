//! The headers every answer of cfx carries, as far as they are known when it is sent. One function, called by the
//! relay, by refusals and by `response_filter`. `docs/headers.md` is the table of what stands where.

use std::cell::RefCell;
use std::time::Duration;

use bytes::BytesMut;
use http::header::VARY;
use http::{HeaderName, HeaderValue};

use super::exchange::Exchange;
use super::refuse::Refusal;
use super::route_guard;
use crate::units::Timestamp;

pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub const CFX_REQUEST_ID: HeaderName = HeaderName::from_static("x-cfx-request-id");
pub const CFX_STAGE: HeaderName = HeaderName::from_static("x-cfx-stage");
pub const CFX_STAGE_SOURCE: HeaderName = HeaderName::from_static("x-cfx-stage-source");
pub const CFX_MODEL_USED: HeaderName = HeaderName::from_static("x-cfx-model-used");
pub const CFX_SESSION_ID: HeaderName = HeaderName::from_static("x-cfx-session-id");
const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
const LIMIT_REQUESTS: HeaderName = HeaderName::from_static("x-ratelimit-limit-requests");
const REMAINING_REQUESTS: HeaderName = HeaderName::from_static("x-ratelimit-remaining-requests");
const RESET_REQUESTS: HeaderName = HeaderName::from_static("x-ratelimit-reset-requests");
pub const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Whether what an application said under this name still holds beside ours. Of the others put here ours alone counts.
pub fn is_added(name: &HeaderName) -> bool {
    name == VARY || name == SERVER_TIMING
}

/// Puts what is known of `exchange` into a response, by way of `put`.
pub fn stamp(exchange: &mut Exchange, put: &mut impl FnMut(HeaderName, HeaderValue)) {
    put(CFX_REQUEST_ID, exchange.id_text.clone());
    put(REQUEST_ID, exchange.id_text.clone());
    if let Some(staged) = exchange.staged.get() {
        put(CFX_STAGE, HeaderValue::from_static(staged.stage.as_str()));
        put(CFX_STAGE_SOURCE, HeaderValue::from_static(staged.source.as_str()));
    }
    if let Some(model) = exchange.model().and_then(|model| HeaderValue::from_str(model).ok()) {
        put(CFX_MODEL_USED, model);
    }
    if let Some(quota) = exchange.quota.get() {
        let (limit, remaining) = (HeaderValue::from(quota.limit), HeaderValue::from(quota.remaining));
        put(LIMIT, limit.clone());
        put(REMAINING, remaining.clone());
        put(LIMIT_REQUESTS, limit);
        put(REMAINING_REQUESTS, remaining);
        let (at, left) = reset(exchange.at, quota.reset);
        put(RESET, at);
        put(RESET_REQUESTS, left);
    }
    let overhead = exchange.head_is_ready();
    put(SERVER_TIMING, server_timing(overhead, exchange.answer.upstream_wait));
    route_guard::put_cors(exchange, put);
}

/// The further headers of a refusal.
pub fn stamp_refusal(refusal: &Refusal, put: &mut impl FnMut(HeaderName, HeaderValue)) {
    if let (Some(wait), Some(seconds)) = (refusal.retry_after, refusal.retry_after_seconds()) {
        put(http::header::RETRY_AFTER, HeaderValue::from(seconds));
        put(RETRY_AFTER_MS, HeaderValue::from(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)));
    }
    if !refusal.worth_retrying {
        put(SHOULD_RETRY, HeaderValue::from_static("false"));
    }
}

/// When the quota starts anew, as an instant and as a span. Both stay as they are for a second, which on a busy edge
/// is thousands of answers: each thread keeps its last ones.
fn reset(now: Timestamp, reset: Timestamp) -> (HeaderValue, HeaderValue) {
    thread_local! {
        static LAST: RefCell<Option<(Timestamp, u64, HeaderValue, HeaderValue)>> = const { RefCell::new(None) };
    }
    let left = now.until(reset);
    let second = left.as_secs();
    LAST.with_borrow_mut(|last| match last {
        Some((of, at, instant, span)) if (*of, *at) == (reset, second) && second > 0 => (instant.clone(), span.clone()),
        _ => {
            let (instant, span) = (text(&reset.rfc3339()), text(&openai_duration(left)));
            *last = Some((reset, second, instant.clone(), span.clone()));
            (instant, span)
        }
    })
}

/// Of text that is all digits and letters of ours.
fn text(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// `cfx;dur=0.123, upstream;dur=45.678`, in milliseconds (W3C Server Timing).
fn server_timing(overhead: Duration, wait: Duration) -> HeaderValue {
    let mut value = BytesMut::with_capacity(64);
    let mut entry = |name: &[u8], span: Duration| {
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        value.extend_from_slice(name);
        value.extend_from_slice(itoa::Buffer::new().format(micros / 1_000).as_bytes());
        // A leading 1 keeps the zeros of the fraction; it is cut off again.
        value.extend_from_slice(b".");
        value.extend_from_slice(&itoa::Buffer::new().format(1_000 + micros % 1_000).as_bytes()[1..]);
    };
    entry(b"cfx;dur=", overhead);
    if !wait.is_zero() {
        entry(b", upstream;dur=", wait);
    }
    HeaderValue::from_maybe_shared(value.freeze()).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// OpenAI's form of a reset: `12ms`, `1s`, `6m0s`, `5h30m0s`.
fn openai_duration(span: Duration) -> String {
    let seconds = span.as_secs();
    match (seconds / 3_600, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0) => format!("{}ms", span.subsec_millis()),
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m{seconds}s"),
        (hours, minutes, seconds) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resets_read_as_openai_writes_them() {
        for (millis, text) in [(12, "12ms"), (1_000, "1s"), (360_000, "6m0s"), (19_800_000, "5h30m0s")] {
            assert_eq!(openai_duration(Duration::from_millis(millis)), text);
        }
    }
}
