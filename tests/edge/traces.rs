//! Spans of requests, as a collector receives them by OTLP over HTTP.

use std::time::Instant;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

use crate::harness::client::PATIENCE;
use crate::harness::{CHAT, Harness, Reply, Request, Scripted, chat_body, streaming};

const SERVER: i32 = 2;
const CLIENT: i32 = 3;
const ERROR: i32 = 2;
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// A collector, and an edge that sends to it.
fn traced(settings: &str) -> (Scripted, Harness) {
    let collector = Scripted::start();
    collector.always(|_| Some(Reply::raw("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")));
    let endpoint = format!("http://{}/v1/traces", collector.address);
    let edge =
        Harness::builder().edge(&format!("telemetry: {{ traces: {{ endpoint: \"{endpoint}\"{settings} }} }}")).start();
    (collector, edge)
}

/// Everything that arrived, decoded, once there are `count` spans of it.
fn received(collector: &Scripted, count: usize) -> Vec<Span> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let spans: Vec<Span> = collector.requests().iter().flat_map(|request| decoded(&request.body)).collect();
        if spans.len() >= count {
            return spans;
        }
        assert!(Instant::now() < deadline, "{} spans of {count}", spans.len());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

fn decoded(body: &[u8]) -> Vec<Span> {
    let request = ExportTraceServiceRequest::decode(body).expect("protobuf");
    request
        .resource_spans
        .into_iter()
        .flat_map(|of| {
            let resource = of.resource.expect("a resource");
            let service = resource.attributes.iter().find(|attribute| attribute.key == "service.name");
            assert_eq!(service.and_then(|name| text(name.value.as_ref()?.value.as_ref()?)), Some("cfx".to_owned()));
            of.scope_spans.into_iter().flat_map(|scope| scope.spans)
        })
        .collect()
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        Value::BoolValue(flag) => Some(flag.to_string()),
        Value::DoubleValue(number) => Some(number.to_string()),
        _ => None,
    }
}

fn attribute(span: &Span, name: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key == name)?;
    text(found.value.as_ref()?.value.as_ref()?)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn one(spans: &[Span], kind: i32) -> &Span {
    let found: Vec<&Span> = spans.iter().filter(|span| span.kind == kind).collect();
    assert_eq!(found.len(), 1, "{spans:?}");
    found[0]
}

#[test]
fn a_clients_trace_goes_on_through_the_edge_to_the_model() {
    let (collector, edge) = traced("");
    let request = edge.request(CHAT, &streaming(chat_body()));
    let answer =
        edge.ask(&request.header("traceparent", &format!("00-{TRACE}-{PARENT}-01")).header("tracestate", "a=1"));
    assert_eq!(answer.status, 200);
    let spans = received(&collector, 2);
    let (request, call) = (one(&spans, SERVER), one(&spans, CLIENT));
    assert!(spans.iter().all(|span| hex(&span.trace_id) == TRACE));
    assert_eq!(hex(&request.parent_span_id), PARENT);
    assert_eq!(call.parent_span_id, request.span_id);
    let upstream = edge.upstream.last();
    assert_eq!(upstream.header("traceparent"), Some(format!("00-{TRACE}-{}-01", hex(&call.span_id)).as_str()));
    assert_eq!(upstream.header("tracestate"), Some("a=1"));

    assert_eq!(request.name, "POST /v1/");
    let (input, output, _) = edge.row().tokens();
    for (name, value) in [
        ("http.request.method", "POST"),
        ("url.path", CHAT),
        ("http.response.status_code", "200"),
        ("client.address", "127.0.0.1"),
        ("cfx.stage", "plan"),
        ("cfx.model", "smart"),
        ("cfx.request_id", answer.header("x-request-id").expect("an id")),
    ] {
        assert_eq!(attribute(request, name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(call.name, "chat upstream-smart");
    for (name, value) in [
        ("gen_ai.operation.name", "chat".to_owned()),
        ("gen_ai.provider.name", "litellm".to_owned()),
        ("gen_ai.request.model", "upstream-smart".to_owned()),
        ("gen_ai.request.stream", "true".to_owned()),
        ("gen_ai.usage.input_tokens", input.to_string()),
        ("gen_ai.usage.output_tokens", output.to_string()),
    ] {
        assert_eq!(attribute(call, name), Some(value), "{name}");
    }
    assert!(request.start_time_unix_nano <= call.start_time_unix_nano);
    assert!(call.start_time_unix_nano <= call.end_time_unix_nano);
    assert_eq!(call.end_time_unix_nano, request.end_time_unix_nano);
}

#[test]
fn a_span_says_how_a_request_failed_and_never_what_it_said() {
    let (collector, edge) = traced("");
    edge.upstream.always(|_| Some(Reply::hang_up()));
    assert_eq!(edge.chat().status, 502);
    let path = format!("/v1/{}", edge.key);
    assert_eq!(edge.ask(&edge.request(&path, &chat_body())).status, 404);
    let spans = received(&collector, 3);
    let call = one(&spans, CLIENT);
    assert_eq!(call.status.as_ref().map(|status| status.code), Some(ERROR));
    assert_eq!(attribute(call, "error.type").as_deref(), Some("upstream_error"));
    let failed = spans.iter().find(|span| span.span_id == call.parent_span_id).expect("the request's span");
    assert_eq!(failed.status.as_ref().map(|status| status.code), Some(ERROR));
    // A client's own mistake is none of the server's.
    let unknown = spans.iter().find(|span| attribute(span, "error.type").as_deref() == Some("not_found"));
    assert_eq!(unknown.and_then(|span| span.status.as_ref()).map_or(0, |status| status.code), 0);
    for request in collector.requests() {
        let sent = String::from_utf8_lossy(&request.body);
        for secret in [edge.key.as_str(), "How would you go about this?", crate::harness::UPSTREAM_KEY] {
            assert!(!sent.contains(secret), "{secret} was sent to the collector");
        }
    }
}

#[test]
fn who_is_not_to_be_traced_is_not() {
    let (collector, edge) = traced(", sample: 0");
    // The trace of this one begins here, and none that does is to be kept.
    assert_eq!(edge.chat().status, 200);
    assert!(edge.upstream.last().header("traceparent").expect("a trace").ends_with("-00"));
    let ask = |flags: &str| {
        let header = format!("00-{TRACE}-{PARENT}-{flags}");
        assert_eq!(edge.ask(&edge.request(CHAT, &chat_body()).header("traceparent", &header)).status, 200);
    };
    ask("00");
    ask("01");
    assert_eq!(received(&collector, 2).len(), 2, "the last one alone");
}

#[test]
fn a_web_application_is_told_the_requests_span() {
    let (collector, edge) = traced("");
    let request = Request::get("/page").header("traceparent", &format!("00-{TRACE}-{PARENT}-01"));
    edge.ask(&request);
    let spans = received(&collector, 1);
    let sent = edge.web.last().header("traceparent").expect("a trace").to_owned();
    assert_eq!(sent, format!("00-{TRACE}-{}-01", hex(&one(&spans, SERVER).span_id)));
}

#[test]
fn what_a_collector_does_not_take_is_counted_and_costs_no_request() {
    let (collector, edge) = traced("");
    collector.always(|_| Some(Reply::raw("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")));
    assert_eq!(edge.chat().status, 200);
    edge.assert_metric("cfx_trace_spans_dropped_total", &[], 2.0);
    edge.process.wait_for_line("traces were not taken").expect("a warning");
    edge.assert_healthy();
}

#[test]
fn an_edge_that_stops_sends_what_it_has() {
    let (collector, mut edge) = traced("");
    assert_eq!(edge.chat().status, 200);
    edge.process.stop();
    assert_eq!(received(&collector, 2).len(), 2);
}
