//! Every fault of `docs/faults.md`, with its outcome at all its places: the client, the row, the metrics, and the next
//! requests through the same edge, which share the upstream's connections with it.
//!
//! The table is what the test goes by: one that is not in it fails, and so does a line that no fault is behind. The two
//! good requests behind each fault keep every breaker closed, so that all faults meet the same edge.

mod bodies;
mod connections;
mod cuts;
mod document;
mod downstream;
mod heads;
mod observe;
mod play;
mod statuses;

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::Arc;

use serde_json::json;

use crate::harness::scripted::Recorded;
use crate::harness::{Harness, Reply};
use document::Outcome;
use downstream::{Ask, Downstream, Protocol};
use observe::Counters;
use play::{Fault, Kind};

/// Requests to this host go to an upstream where nobody listens.
pub const DOWN: &str = "down.test";

#[test]
fn json_over_http1() {
    hold(Kind::Json, Protocol::Http1);
}

#[test]
fn json_over_http2() {
    hold(Kind::Json, Protocol::Http2);
}

#[test]
fn streams_over_http1() {
    hold(Kind::Sse, Protocol::Http1);
}

#[test]
fn streams_over_http2() {
    hold(Kind::Sse, Protocol::Http2);
}

#[test]
fn the_table_has_each_fault_once() {
    let faults = faults();
    let names: BTreeSet<_> = faults.iter().map(|fault| fault.name.clone()).collect();
    assert_eq!(names.len(), faults.len(), "each name once");
    let both = |name: &String| [(name.clone(), "JSON"), (name.clone(), "SSE")];
    let wanted: BTreeSet<_> = names.iter().flat_map(both).collect();
    let have: BTreeSet<_> = document::outcomes().into_keys().collect();
    let missing: Vec<_> = wanted.difference(&have).collect();
    let idle: Vec<_> = have.difference(&wanted).collect();
    assert!(
        missing.is_empty() && idle.is_empty(),
        "missing from docs/faults.md: {missing:?}; no fault is behind {idle:?}"
    );
}

fn faults() -> Vec<Fault> {
    [connections::faults(), heads::faults(), statuses::faults(), bodies::faults()].into_iter().flatten().collect()
}

/// One edge, one kind, one protocol, every fault.
fn hold(kind: Kind, protocol: Protocol) {
    let (mut edge, faults) = (start(), Arc::new(faults()));
    play_on(&edge, &faults, kind);
    let outcomes = document::outcomes();
    let mut seen = Vec::new();
    let mut wrong = Vec::new();
    {
        let mut client = Downstream::new(&edge, protocol);
        let mut before = Counters::read(&edge);
        for (number, fault) in faults.iter().enumerate() {
            let case = Case { edge: &edge, kind, number, fault };
            match case.run(&mut client, &before) {
                Ok(what) => seen.push((fault, what)),
                Err(problem) => wrong.push(format!("{}: {problem}", fault.name)),
            }
            wrong.extend(case.next_requests(&mut client).map(|problem| format!("behind {}: {problem}", fault.name)));
            before = Counters::read(&edge);
        }
    }
    let rows = edge.stop_and_read().rows();
    for (fault, seen) in seen {
        let mine: Vec<_> = rows.iter().filter(|row| row.text("request_id") == seen.request).collect();
        let row = mine.iter().map(|row| observe::row(row)).collect::<Vec<_>>().join(" and ");
        if mine.iter().any(|row| observe::reason(row) != seen.reason) {
            wrong.push(format!("{}: its row is {row}, and {:?} was counted", fault.name, seen.reason));
        }
        let outcome = Outcome { row, ..seen.outcome };
        if outcomes.get(&(fault.name.clone(), kind.name())) != Some(&outcome) {
            wrong.push(format!("| {} | {} | {outcome} |", fault.name, kind.name()));
        }
    }
    let requests = faults.len() * 3;
    assert_eq!(rows.len(), requests, "each request has one row");
    assert!(wrong.is_empty(), "{} not as docs/faults.md has it:\n{}\n", wrong.len(), wrong.join("\n"));
}

/// One thread, so that all requests find the same kept connections.
fn start() -> Harness {
    let nobody = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let stage =
        |name: &str, timeouts: &str| format!("  {name}: {{ model: quick, system: \"X\", timeouts: {{ {timeouts} }} }}");
    let edge = Harness::builder()
        .threads(1)
        .upstream_at(DOWN, &format!("http://{nobody}"))
        .models_line("code:", &stage("code", "first_byte: 500ms, total: 1s"))
        .models_line("review:", &stage("review", "first_byte: 20s, between_chunks: 1s, total: 2s"))
        .start();
    edge.upstream.early(|head| head.contains("openai-beta: unread"));
    edge
}

/// The upstream knows by a header of the request what to do with it.
fn play_on(edge: &Harness, faults: &Arc<Vec<Fault>>, kind: Kind) {
    let faults = faults.clone();
    edge.upstream.always(move |request: &Recorded| {
        let mark = request.header("openai-beta")?.to_string();
        let fault = mark.split(' ').nth(1).and_then(|number| faults.get(number.parse::<usize>().ok()?));
        let play = match (fault, mark.split(' ').next()) {
            (Some(fault), _) => (fault.play)(kind),
            (None, Some("json")) => Kind::Json.framed(&Kind::Json.answer(&mark)),
            _ => Kind::Sse.framed(&Kind::Sse.answer(&mark)),
        };
        Some(Reply::script(move |exchange| play.perform(exchange)))
    });
}

struct Case<'a> {
    edge: &'a Harness,
    kind: Kind,
    number: usize,
    fault: &'a Fault,
}

/// What came of a fault, but for its row.
struct Seen {
    request: String,
    /// What `cfx_refusals_total` counted.
    reason: String,
    outcome: Outcome,
}

impl Case<'_> {
    fn run(&self, client: &mut Downstream<'_>, before: &Counters) -> Result<Seen, String> {
        let play = (self.fault.play)(self.kind);
        let mark = format!("{} {}", if self.fault.unread { "unread" } else { "fault" }, self.number);
        let body = body(self.kind, self.fault.stage, self.fault.prompt);
        let answer = client.ask(&Ask { host: self.fault.host, mark: &mark, body: &body })?;
        let after = before.after(self.edge, 1);
        let attempt = after.moved_since(before, "cfx_upstream_attempts_total", "outcome").join(", ");
        let code = after.moved_since(before, "cfx_requests_total", "code").join(", ");
        let reason = after.moved_since(before, "cfx_refusals_total", "reason").join(", ");
        let breaker = after.held_against(before);
        let seen = observe::client(&answer, &play);
        let request = answer.header("x-request-id").unwrap_or_default().to_string();
        Ok(Seen { request, reason, outcome: Outcome { client: seen, row: String::new(), attempt, code, breaker } })
    }

    /// One of each kind, on the client's connection where that still stands; what is wrong with them.
    fn next_requests(&self, client: &mut Downstream<'_>) -> impl Iterator<Item = String> {
        let mut problems = Vec::new();
        let before = Counters::read(self.edge);
        for kind in [Kind::Json, Kind::Sse] {
            let mark = format!("{} next-{}", if kind == Kind::Json { "json" } else { "sse" }, self.number);
            let body = body(kind, "plan", 0);
            match client.ask(&Ask { host: "cfx.test", mark: &mark, body: &body }) {
                Ok(answer) if answer.status == 200 && answer.complete && answer.body == kind.answer(&mark) => {}
                Ok(answer) => problems.push(format!("{answer}")),
                Err(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() {
            let after = before.after(self.edge, 2);
            let moved = |name, label| after.moved_since(&before, name, label);
            let attempts = moved("cfx_upstream_attempts_total", "outcome");
            let codes = moved("cfx_requests_total", "code");
            let breaker = after.held_against(&before);
            if attempts != ["answered", "answered"] || codes != ["200", "200"] || breaker != "not counted" {
                problems.push(format!("counted as {attempts:?}, {codes:?}, held against: {breaker}"));
            }
        }
        problems.into_iter()
    }
}

/// A client that asks for usage sees a stream byte for byte.
fn body(kind: Kind, stage: &str, prompt: usize) -> String {
    let content = format!("How would you go about this? {}", "x".repeat(prompt));
    let mut body = json!({"model": stage, "messages": [{"role": "user", "content": content}]});
    if kind == Kind::Sse {
        body["stream"] = json!(true);
        body["stream_options"] = json!({"include_usage": true});
    }
    body.to_string()
}
