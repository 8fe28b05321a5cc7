//! A request as spans: itself, and within it what a model was asked, in the words of OpenTelemetry's conventions for HTTP
//! servers and generative AI (<https://opentelemetry.io/docs/specs/semconv/>). Never a prompt, an answer or a key.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use crate::telemetry::access::AccessLine;
use crate::telemetry::redact;
use crate::telemetry::trace_context::TraceContext;
use crate::units::Timestamp;

/// What a model was asked for a request.
#[derive(Debug, Clone, Copy)]
pub struct ModelCall<'a> {
    /// `gen_ai.operation.name`.
    pub operation: &'static str,
    /// As the upstream knows it.
    pub model: &'a str,
}

/// The request's span, and the model's where one was asked.
pub(super) fn spans(line: &AccessLine<'_>, call: Option<&ModelCall<'_>>, context: &TraceContext) -> Vec<SpanData> {
    let mut spans = vec![request(line, context)];
    spans.extend(call.map(|call| model_call(line, call, context)));
    spans
}

fn request(line: &AccessLine<'_>, context: &TraceContext) -> SpanData {
    let mut attributes = vec![
        text("http.request.method", line.method),
        text("url.path", &redact::keys(line.path)),
        number("http.response.status_code", line.status.into()),
        text("server.address", line.host),
        text("cfx.route", line.route),
        KeyValue::new("cfx.request_id", line.request.0.to_string()),
    ];
    attributes.extend(line.client.map(|client| KeyValue::new("client.address", client.to_string())));
    attributes.extend(line.reason.map(|reason| text("error.type", reason)));
    attributes.extend(line.user.map(|user| KeyValue::new("user.id", user.0.to_string())));
    attributes.extend(line.stage.map(|stage| text("cfx.stage", stage.as_str())));
    attributes.extend(line.model.map(|model| text("cfx.model", model)));
    attributes.extend(line.first_token.map(|after| seconds("cfx.first_token_seconds", after)));
    // A client's own mistake is no failure of the server (semantic conventions for HTTP servers).
    let failed = line.status >= 500 || (line.status < 400 && line.reason.is_some());
    SpanData {
        parent_span_id: context.parent.map_or(SpanId::INVALID, SpanId::from_bytes),
        parent_span_is_remote: context.parent.is_some(),
        span_kind: SpanKind::Server,
        name: Cow::Owned(format!("{} {}", line.method, line.route)),
        attributes,
        status: status(failed, line.reason),
        ..span(context, context.request, time(line.at), line)
    }
}

fn model_call(line: &AccessLine<'_>, call: &ModelCall<'_>, context: &TraceContext) -> SpanData {
    let mut attributes = vec![
        text("gen_ai.operation.name", call.operation),
        text("gen_ai.provider.name", "litellm"),
        text("gen_ai.request.model", call.model),
        KeyValue::new("gen_ai.request.stream", line.stream),
        number("cfx.attempts", line.attempts.into()),
    ];
    if let Some(usage) = line.usage {
        attributes.extend([
            number("gen_ai.usage.input_tokens", usage.input),
            number("gen_ai.usage.output_tokens", usage.output),
            number("gen_ai.usage.cache_read.input_tokens", usage.cached_input),
            number("gen_ai.usage.cache_creation.input_tokens", usage.cache_write),
            KeyValue::new("cfx.usage.estimated", line.estimated),
            KeyValue::new("cfx.cost_usd", line.cost.0 as f64 / 1e9),
        ]);
    }
    attributes.extend(line.reason.map(|reason| text("error.type", reason)));
    // Of what was ours until the head, all but nothing comes behind the question.
    let asked = time(line.at) + line.overhead.unwrap_or_default().min(line.duration);
    SpanData {
        parent_span_id: SpanId::from_bytes(context.request),
        span_kind: SpanKind::Client,
        name: Cow::Owned(format!("{} {}", call.operation, call.model)),
        attributes,
        status: status(line.reason.is_some() || line.status >= 400, line.reason),
        ..span(context, context.call, asked, line)
    }
}

/// A bare span from `start` to the request's end.
fn span(context: &TraceContext, id: [u8; 8], start: SystemTime, line: &AccessLine<'_>) -> SpanData {
    let trace = TraceId::from_bytes(context.trace);
    let flags = TraceFlags::SAMPLED;
    SpanData {
        span_context: SpanContext::new(trace, SpanId::from_bytes(id), flags, false, TraceState::NONE),
        parent_span_id: SpanId::INVALID,
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: Cow::Borrowed(""),
        start_time: start,
        end_time: time(line.at) + line.duration,
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: InstrumentationScope::builder("cfx").with_version(env!("CARGO_PKG_VERSION")).build(),
    }
}

fn time(at: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_micros(u64::try_from(at.0).unwrap_or(0))
}

fn status(failed: bool, reason: Option<&str>) -> Status {
    if failed { Status::error(reason.unwrap_or_default().to_owned()) } else { Status::Unset }
}

fn text(name: &'static str, value: &str) -> KeyValue {
    KeyValue::new(name, value.to_owned())
}

fn number(name: &'static str, value: u64) -> KeyValue {
    KeyValue::new(name, i64::try_from(value).unwrap_or(i64::MAX))
}

fn seconds(name: &'static str, value: Duration) -> KeyValue {
    KeyValue::new(name, value.as_secs_f64())
}
