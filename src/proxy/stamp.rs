//! The headers every answer of cfx carries, as far as they are known when it is sent. One function, called by the
//! relay, by refusals and by `response_filter`. `docs/headers.md` is the table of what stands where.

use std::fmt::Write;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::exchange::Exchange;
use super::refuse::Refusal;

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
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Puts what is known of `exchange` into a response, by way of `put`.
pub fn stamp(exchange: &mut Exchange, put: &mut impl FnMut(HeaderName, HeaderValue)) {
    let mut buffer = uuid::Uuid::encode_buffer();
    if let Ok(id) = HeaderValue::from_str(exchange.id.0.as_hyphenated().encode_lower(&mut buffer)) {
        put(CFX_REQUEST_ID, id.clone());
        put(REQUEST_ID, id);
    }
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
        put_text(put, RESET, &quota.reset.rfc3339());
        put_text(put, RESET_REQUESTS, &openai_duration(exchange.at.until(quota.reset)));
    }
    let overhead = exchange.head_is_ready();
    put_text(put, SERVER_TIMING, &server_timing(overhead, exchange.answer.upstream_wait));
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

fn put_text(put: &mut impl FnMut(HeaderName, HeaderValue), name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        put(name, value);
    }
}

/// `cfx;dur=0.123, upstream;dur=45.678`, in milliseconds (W3C Server Timing).
fn server_timing(overhead: Duration, wait: Duration) -> String {
    let mut text = String::with_capacity(48);
    let mut entry = |name: &str, span: Duration| {
        let _ = write!(text, "{name};dur={}.{:03}", span.as_millis(), span.subsec_micros() % 1_000);
    };
    entry("cfx", overhead);
    if !wait.is_zero() {
        entry(", upstream", wait);
    }
    text
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
