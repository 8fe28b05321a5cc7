//! After thousands of requests of every kind, good and bad: every admitted one has its row, the sums are what the
//! upstream reported, and nothing is left open.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::client::PATIENCE;
use crate::harness::{CHAT, Client, Harness, Reply, Request, body_for, streaming, wire};

const CLIENTS: usize = 8;

/// What one kind of request is, and what is expected of it.
struct Kind {
    name: &'static str,
    request: fn(&Harness) -> Request,
    status: u16,
    /// Input and output tokens as the upstream reports them; None where it reports none or is never asked.
    reported: Option<(u64, u64)>,
    admitted: bool,
    over_tls: bool,
    /// The client goes after the first event.
    leaves: bool,
}

/// The reply is chosen by the `user` field of the body, which cfx does not own and passes on.
fn marked(path: &str, mark: &str, stream: bool) -> Request {
    let mut body = if stream { streaming(body_for(path)) } else { body_for(path) };
    body["user"] = json!(mark);
    Request::post(path, body.to_string())
}

fn kinds() -> Vec<Kind> {
    let whole = Some((wire::PROMPT_TOKENS, wire::ANSWER_TOKENS));
    let good = |name, request| Kind {
        name,
        request,
        status: 200,
        reported: whole,
        admitted: true,
        over_tls: false,
        leaves: false,
    };
    let failing = |name, request, status| Kind { reported: None, status, ..good(name, request) };
    let refused = |name, request, status| Kind { admitted: false, ..failing(name, request, status) };
    vec![
        good("chat", |edge| marked(CHAT, "", false).key(&edge.key)),
        good("chat stream", |edge| marked(CHAT, "", true).key(&edge.key)),
        Kind { over_tls: true, ..good("chat stream over TLS", |edge| marked(CHAT, "", true).key(&edge.key)) },
        good("completion stream", |edge| marked("/v1/completions", "", true).key(&edge.key)),
        good("response stream", |edge| marked("/v1/responses", "", true).key(&edge.key)),
        good("message stream", |edge| marked("/v1/messages", "", true).key(&edge.key)),
        Kind {
            reported: Some((wire::PROMPT_TOKENS, 0)),
            ..good("embedding", |edge| marked("/v1/embeddings", "", false).key(&edge.key))
        },
        failing("provider's 429", |edge| marked(CHAT, "429", false).key(&edge.key), 429),
        failing("upstream's 500", |edge| marked(CHAT, "500", false).key(&edge.key), 502),
        failing("upstream hangs up", |edge| marked(CHAT, "hang up", false).key(&edge.key), 502),
        failing("upstream's HTML", |edge| marked(CHAT, "html", false).key(&edge.key), 502),
        failing("stream cut", |edge| marked(CHAT, "cut", true).key(&edge.key), 200),
        Kind { leaves: true, ..failing("client leaves", |edge| marked(CHAT, "hold", true).key(&edge.key), 200) },
        refused("not JSON", |edge| Request::post(CHAT, "{nope").key(&edge.key), 400),
        refused("no key", |_| Request::post(CHAT, "{}"), 401),
        refused("wrong key", |_| Request::post(CHAT, "{}").key("cfx_live_nonsense"), 401),
        refused("too large", |edge| Request::post(CHAT, vec![b' '; 200 << 10]).key(&edge.key), 413),
        refused("form", |edge| marked(CHAT, "", false).key(&edge.key).instead("Content-Type", "text/plain"), 415),
        refused("models", |edge| Request::get("/v1/models").key(&edge.key), 200),
        refused("unknown path", |edge| Request::get("/v1/files").key(&edge.key), 404),
        refused("web page", |_| Request::get("/"), 200),
    ]
}

fn reply_to(body: &Value) -> Option<Reply> {
    match body["user"].as_str()? {
        "429" => Some(Reply::json(429, r#"{"error":{"message":"slow","type":"x","param":null,"code":"429"}}"#)),
        "500" => Some(Reply::json(500, r#"{"error":{"message":"no","type":"x","param":null,"code":"500"}}"#)),
        "hang up" => Some(Reply::hang_up()),
        "html" => Some(Reply::raw("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 4\r\n\r\n<p/>")),
        "cut" => Some(Reply::cut_after(wire::chat_events("m", &wire::WORDS[..2], false).into_iter().take(2).collect())),
        "hold" => Some(Reply::script(|exchange| {
            exchange.begin_events();
            exchange.event(&wire::chat_event("m", json!({"content": "Word "}), None));
            exchange.wait_for_close();
        })),
        _ => None,
    }
}

/// What must be found in the store afterwards.
#[derive(Default)]
struct Expected {
    admitted: AtomicU64,
    input: AtomicU64,
    output: AtomicU64,
}

/// Sends `count` requests of all kinds in turn from several clients at once.
fn storm(edge: &Harness, count: usize, expected: &Expected) {
    let kinds = Arc::new(kinds());
    std::thread::scope(|scope| {
        for first in 0..CLIENTS {
            let kinds = kinds.clone();
            scope.spawn(move || {
                for number in (first..count).step_by(CLIENTS) {
                    one(edge, &kinds[number % kinds.len()], expected);
                }
            });
        }
    });
}

fn one(edge: &Harness, kind: &Kind, expected: &Expected) {
    let request = (kind.request)(edge);
    let mut client = if kind.over_tls { edge.tls_client() } else { Client::plain(edge.http) };
    let status = if kind.leaves {
        let mut stream = client.stream(&request);
        stream.event();
        let status = stream.status;
        stream.leave();
        status
    } else {
        client.ask(&request).status
    };
    assert_eq!(status, kind.status, "{}", kind.name);
    expected.admitted.fetch_add(u64::from(kind.admitted), Ordering::Relaxed);
    let (input, output) = kind.reported.unwrap_or_default();
    expected.input.fetch_add(input, Ordering::Relaxed);
    expected.output.fetch_add(output, Ordering::Relaxed);
}

fn start() -> Harness {
    let edge = Harness::builder().quota(4_000_000).limit("body: 100KiB").start();
    edge.upstream.always(|request| reply_to(&request.json()));
    edge.web.always(|_| Some(Reply::json(200, "{}")));
    edge
}

/// Stops the edge and holds the store against what was sent.
fn settle(mut edge: Harness, expected: &Expected) {
    let store = edge.stop_and_read();
    // A refused request was never tried at an upstream.
    let rows: Vec<_> = store.rows().into_iter().filter(|row| row.number("attempts") > 0).collect();
    assert_eq!(rows.len() as u64, expected.admitted.load(Ordering::Relaxed), "one row for each admitted request");
    assert_eq!(
        store.counted_requests() as u64,
        expected.admitted.load(Ordering::Relaxed),
        "and the quota counts the same"
    );
    let mut ids: Vec<_> = rows.iter().map(|row| row.text("request_id").to_string()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), rows.len(), "each has an id of its own");

    let known: Vec<_> = rows.iter().filter(|row| row.text("status") == "success").collect();
    assert!(known.iter().all(|row| !row.flag("estimated")));
    let sum = |column: &str| known.iter().map(|row| row.number(column)).sum::<i64>() as u64;
    let (input, output) = (expected.input.load(Ordering::Relaxed), expected.output.load(Ordering::Relaxed));
    assert_eq!((sum("input_tokens"), sum("output_tokens")), (input, output), "tokens as the upstream reported them");
    assert_eq!(sum("total_tokens"), input + output);
    // Every model here costs 1 dollar per million tokens in; `smart` 10 and `complete` 2 per million out.
    let due = |row: &&crate::harness::Row| {
        let out = if row.text("model") == "smart" { 10_000 } else { 2_000 };
        row.number("input_tokens") * 1_000 + row.number("output_tokens") * out
    };
    assert_eq!(known.iter().map(|row| row.nano_usd()).sum::<i64>(), known.iter().map(due).sum::<i64>(), "cost");
}

/// Open file descriptors of the edge, once nothing is under way any more.
fn open_descriptors(edge: &Harness) -> usize {
    let deadline = Instant::now() + PATIENCE;
    while edge.metric("cfx_streams_in_flight", &[]) > 0.0 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    std::fs::read_dir(format!("/proc/{}/fd", edge.process.id())).expect("the edge runs, and /proc tells of it").count()
}

/// Resident memory in KiB.
pub fn resident(edge: &Harness) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", edge.process.id()));
    let status = status.expect("the edge runs, and /proc tells of it");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line VmRSS");
    line.split_whitespace().next().and_then(|size| size.parse().ok()).expect("a size")
}

/// Asks until the number of descriptors is down to `most`: kept connections to the upstream close by and by.
fn assert_descriptors_return(edge: &Harness, most: usize) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let open = open_descriptors(edge);
        if open <= most {
            return;
        }
        assert!(Instant::now() < deadline, "{open} descriptors are open, {most} were");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_thousand_requests_of_every_kind_leave_only_their_rows() {
    let edge = start();
    let expected = Expected::default();
    storm(&edge, 210, &expected);
    let warm = open_descriptors(&edge);
    storm(&edge, 840, &expected);
    assert_eq!(edge.metric("cfx_streams_in_flight", &[]), 0.0);
    // Each client may leave one connection to the upstream idle, on either of the two threads.
    assert_descriptors_return(&edge, warm + 2 * CLIENTS);
    settle(edge, &expected);
}

#[test]
#[ignore = "long: `make soak`"]
fn ten_thousand_requests_of_every_kind_leave_only_their_rows() {
    let edge = start();
    let expected = Expected::default();
    storm(&edge, 5_000, &expected);
    let (warm, memory) = (open_descriptors(&edge), resident(&edge));
    storm(&edge, 10_000, &expected);
    assert_descriptors_return(&edge, warm + 2 * CLIENTS);
    let now = resident(&edge);
    println!("resident memory: {memory} KiB warm, {now} KiB after 10,000 more; descriptors: {warm} warm");
    assert!(now * 100 <= memory * 105, "memory grew from {memory} to {now} KiB");
    settle(edge, &expected);
}
