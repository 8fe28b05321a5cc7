//! After thousands of requests of every kind, good and bad: every admitted one has its row, the sums are what the
//! upstream reported, and nothing is left open.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::client::PATIENCE;
use crate::harness::ordinary::http2;
use crate::harness::{CHAT, Harness, Reply, Request, Row, body_for, chat_body, streaming, wire};

const CLIENTS: usize = 8;

/// An edge, and two users of it whom a limit keeps out.
struct Soak {
    edge: Harness,
    /// A key whose user may ask nothing today.
    spent: String,
    /// A key whose user may open no stream.
    unstreamed: String,
}

/// What one kind of request is, and what is expected of it.
struct Kind {
    name: &'static str,
    request: fn(&Soak) -> Request,
    status: u16,
    /// Input and output tokens as the upstream reports them; None where it reports none or is never asked.
    reported: Option<(u64, u64)>,
    /// Whether the upstream is asked.
    admitted: bool,
    /// Whether it is counted on the user's quota.
    counted: bool,
    by: By,
}

#[derive(Clone, Copy)]
enum By {
    Plain,
    Tls,
    /// The usual chat body on a connection of its own.
    Http2,
    /// The client goes after the first event.
    Leaving,
}

/// The reply is chosen by the `user` field of the body, which cfx does not own and passes on.
fn marked(path: &str, mark: &str, stream: bool) -> Request {
    let mut body = if stream { streaming(body_for(path)) } else { body_for(path) };
    body["user"] = json!(mark);
    Request::post(path, body.to_string())
}

fn good(name: &'static str, request: fn(&Soak) -> Request) -> Kind {
    let reported = Some((wire::PROMPT_TOKENS, wire::ANSWER_TOKENS));
    Kind { name, request, status: 200, reported, admitted: true, counted: true, by: By::Plain }
}

fn failing(name: &'static str, request: fn(&Soak) -> Request, status: u16) -> Kind {
    Kind { reported: None, status, ..good(name, request) }
}

fn refused(name: &'static str, request: fn(&Soak) -> Request, status: u16) -> Kind {
    Kind { admitted: false, counted: false, ..failing(name, request, status) }
}

fn kinds() -> Vec<Kind> {
    let input_only = Some((wire::PROMPT_TOKENS, 0));
    let embedding = good("embedding", |soak| marked("/v1/embeddings", "", false).key(&soak.edge.key));
    let count = good("count of tokens", |soak| marked("/v1/messages/count_tokens", "", false).key(&soak.edge.key));
    let over_tls = good("chat stream over TLS", |soak| marked(CHAT, "", true).key(&soak.edge.key));
    let over_http2 = good("chat over HTTP/2", |soak| marked(CHAT, "", false).key(&soak.edge.key));
    let leaving = failing("client leaves", |soak| marked(CHAT, "hold", true).key(&soak.edge.key), 200);
    vec![
        good("chat", |soak| marked(CHAT, "", false).key(&soak.edge.key)),
        good("chat stream", |soak| marked(CHAT, "", true).key(&soak.edge.key)),
        Kind { by: By::Tls, ..over_tls },
        Kind { by: By::Http2, ..over_http2 },
        good("completion stream", |soak| marked("/v1/completions", "", true).key(&soak.edge.key)),
        good("response stream", |soak| marked("/v1/responses", "", true).key(&soak.edge.key)),
        good("message stream", |soak| marked("/v1/messages", "", true).key(&soak.edge.key)),
        Kind { reported: input_only, ..embedding },
        Kind { reported: None, counted: false, ..count },
        good("direct mode", |soak| {
            let body = json!({"model": "quick", "messages": [{"role": "user", "content": "hi"}]});
            soak.edge.request(CHAT, &body).header("X-CFX-Stage", "direct")
        }),
        good("stray bytes behind the answer", |soak| marked(CHAT, "stray", false).key(&soak.edge.key)),
        failing("provider's 429", |soak| marked(CHAT, "429", false).key(&soak.edge.key), 429),
        failing("upstream's 500", |soak| marked(CHAT, "500", false).key(&soak.edge.key), 502),
        failing("upstream hangs up", |soak| marked(CHAT, "hang up", false).key(&soak.edge.key), 502),
        failing("upstream's HTML", |soak| marked(CHAT, "html", false).key(&soak.edge.key), 502),
        failing("stream cut", |soak| marked(CHAT, "cut", true).key(&soak.edge.key), 200),
        // The review stage alone waits so briefly.
        failing(
            "never answers",
            |soak| marked("/v1/messages", "never", true).key(&soak.edge.key).header("X-CFX-Stage", "review"),
            504,
        ),
        Kind { by: By::Leaving, ..leaving },
        // Tried until its breaker opens, and nothing of it arrives anywhere.
        refused("upstream down", |soak| marked(CHAT, "", false).key(&soak.edge.key).instead("Host", "down.test"), 503),
        refused("quota spent", |soak| marked(CHAT, "", false).key(&soak.spent), 429),
        refused("a stream too many", |soak| marked(CHAT, "", true).key(&soak.unstreamed), 429),
        refused("not JSON", |soak| Request::post(CHAT, "{nope").key(&soak.edge.key), 400),
        refused("nested", |soak| Request::post(CHAT, format!("{{\"x\":{}", "[".repeat(300))).key(&soak.edge.key), 400),
        refused(
            "model twice",
            |soak| Request::post(CHAT, r#"{"model":"plan","model":"code"}"#).key(&soak.edge.key),
            400,
        ),
        refused("gzip", |soak| marked(CHAT, "", false).key(&soak.edge.key).header("Content-Encoding", "gzip"), 415),
        refused("no key", |_| Request::post(CHAT, "{}"), 401),
        refused("wrong key", |_| Request::post(CHAT, "{}").key("cfx_live_nonsense"), 401),
        refused("too large", |soak| Request::post(CHAT, vec![b' '; 200 << 10]).key(&soak.edge.key), 413),
        refused("form", |soak| marked(CHAT, "", false).key(&soak.edge.key).instead("Content-Type", "text/plain"), 415),
        refused("models", |soak| Request::get("/v1/models").key(&soak.edge.key), 200),
        refused("unknown path", |soak| Request::get("/v1/files").key(&soak.edge.key), 404),
        refused("web page", |_| Request::get("/"), 200),
    ]
}

fn reply_to(body: &Value) -> Option<Reply> {
    match body["user"].as_str()? {
        "429" => Some(Reply::json(429, r#"{"error":{"message":"slow","type":"x","param":null,"code":"429"}}"#)),
        "500" => Some(Reply::json(500, r#"{"error":{"message":"no","type":"x","param":null,"code":"500"}}"#)),
        "hang up" => Some(Reply::hang_up()),
        "never" => Some(Reply::never()),
        "stray" => Some(Reply::script(|exchange| {
            let body = json!({"choices": [], "usage": wire::chat_usage()}).to_string();
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
            // In one write, so that it is there with the answer: what comes later nobody can tell from the next answer.
            exchange.send(format!("{head}{body}HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{{}}").as_bytes());
        })),
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
    counted: AtomicU64,
    input: AtomicU64,
    output: AtomicU64,
}

/// Sends `count` requests of all kinds in turn from several clients at once.
fn storm(soak: &Soak, count: usize, expected: &Expected) {
    let kinds = Arc::new(kinds());
    std::thread::scope(|scope| {
        for first in 0..CLIENTS {
            let kinds = kinds.clone();
            scope.spawn(move || {
                for number in (first..count).step_by(CLIENTS) {
                    one(soak, &kinds[number % kinds.len()], expected);
                }
            });
        }
    });
}

fn one(soak: &Soak, kind: &Kind, expected: &Expected) {
    let (edge, request) = (&soak.edge, (kind.request)(soak));
    let status = match kind.by {
        By::Plain => edge.ask(&request).status,
        By::Tls => edge.tls_client().ask(&request).status,
        By::Http2 => http2(edge, CHAT, &[chat_body().to_string()]).remove(0).answer.status,
        By::Leaving => {
            let mut stream = edge.client().stream(&request);
            stream.event();
            let status = stream.status;
            stream.leave();
            status
        }
    };
    assert_eq!(status, kind.status, "{}", kind.name);
    expected.admitted.fetch_add(u64::from(kind.admitted), Ordering::Relaxed);
    expected.counted.fetch_add(u64::from(kind.counted), Ordering::Relaxed);
    let (input, output) = kind.reported.unwrap_or_default();
    expected.input.fetch_add(input, Ordering::Relaxed);
    expected.output.fetch_add(output, Ordering::Relaxed);
}

fn start() -> Soak {
    let edge = Harness::builder()
        .quota(4_000_000)
        .limit("body: 100KiB")
        .limit("users: { spent@example.org: { daily_requests: 0 }, unstreamed@example.org: { concurrent_streams: 0 } }")
        .models_line("direct:", "direct: { enabled: true }")
        .models_line("review:", "  review: { model: smart, system: \"REVIEW\", timeouts: { first_byte: 50ms } }")
        .upstream_at("down.test", "http://127.0.0.1:9")
        .start();
    edge.upstream.always(|request| reply_to(&request.json()));
    edge.web.always(|_| Some(Reply::json(200, "{}")));
    let [spent, unstreamed] = ["spent", "unstreamed"].map(|user| edge.new_key(&format!("{user}@example.org"), &[]));
    Soak { edge, spent, unstreamed }
}

/// Stops the edge and holds the store against what was sent.
fn settle(mut soak: Soak, expected: &Expected) {
    let store = soak.edge.stop_and_read();
    // A refused request was never tried at an upstream, or never came to it.
    let asked = |row: &Row| row.number("attempts") > 0 && row.number("http_status") != 503;
    let rows: Vec<_> = store.rows().into_iter().filter(asked).collect();
    assert_eq!(rows.len() as u64, expected.admitted.load(Ordering::Relaxed), "one row for each admitted request");
    assert_eq!(
        store.counted_requests() as u64,
        expected.counted.load(Ordering::Relaxed),
        "and the quota counts what it should"
    );
    let mut ids: Vec<_> = rows.iter().map(|row| row.text("request_id").to_string()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), rows.len(), "each has an id of its own");

    // A count of tokens takes none itself.
    let known = |row: &&Row| row.text("status") == "success" && !row.is_null("input_tokens");
    let known: Vec<_> = rows.iter().filter(known).collect();
    assert!(known.iter().all(|row| !row.flag("estimated")));
    let sum = |column: &str| known.iter().map(|row| row.number(column)).sum::<i64>() as u64;
    let (input, output) = (expected.input.load(Ordering::Relaxed), expected.output.load(Ordering::Relaxed));
    assert_eq!((sum("input_tokens"), sum("output_tokens")), (input, output), "tokens as the upstream reported them");
    assert_eq!(sum("total_tokens"), input + output);
    // Every model here costs 1 dollar per million tokens in; `smart` 10 and `complete` 2 per million out.
    let due = |row: &&Row| {
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
    let soak = start();
    let expected = Expected::default();
    storm(&soak, 210, &expected);
    let warm = open_descriptors(&soak.edge);
    storm(&soak, 840, &expected);
    assert_eq!(soak.edge.metric("cfx_streams_in_flight", &[]), 0.0);
    // Each client may leave one connection to the upstream idle, on either of the two threads.
    assert_descriptors_return(&soak.edge, warm + 2 * CLIENTS);
    settle(soak, &expected);
}

#[test]
#[ignore = "long: `make soak`"]
fn ten_thousand_requests_of_every_kind_leave_only_their_rows() {
    let soak = start();
    let expected = Expected::default();
    storm(&soak, 5_000, &expected);
    let (warm, memory) = (open_descriptors(&soak.edge), resident(&soak.edge));
    storm(&soak, 10_000, &expected);
    assert_descriptors_return(&soak.edge, warm + 2 * CLIENTS);
    let now = resident(&soak.edge);
    println!("resident memory: {memory} KiB warm, {now} KiB after 10,000 more; descriptors: {warm} warm");
    assert!(now * 100 <= memory * 105, "memory grew from {memory} to {now} KiB");
    settle(soak, &expected);
}
