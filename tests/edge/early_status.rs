//! `commit_after`: a stream gets its 200 before the model has said anything, so that nothing in between takes it for
//! dead, and what would have been a status comes behind it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::scripted::{Gate, gate};
use crate::harness::{
    Builder, CHAT, Client, Harness, Next, Reply, Streaming, body_for, chat_body, several, streaming, wire,
};

const PING: &str = ": ping";

fn committing() -> Builder {
    Harness::builder()
        .timeouts("connect: 2s, first_byte: 20s, between_chunks: 20s, total: 60s, commit_after: 100ms")
        .upstream("keep_alive: 50ms")
}

/// `status` and `body`, once the gate opens.
fn late(gate: Gate, status: u16, body: String) -> Reply {
    Reply::script(move |exchange| {
        gate.pass();
        exchange.json(status, &body);
    })
}

/// A stream that has its 200 and a comment while the upstream still says nothing.
fn committed(edge: &Harness, path: &str) -> Streaming {
    let mut stream = edge.client().stream(&edge.request(path, &streaming(body_for(path))));
    assert_eq!(stream.status, 200);
    assert_eq!(stream.event(), PING);
    stream
}

/// The rest of a stream without its comments, and how it ended.
fn said(mut stream: Streaming) -> (Vec<String>, Next) {
    let mut events = Vec::new();
    loop {
        match stream.next() {
            Next::Event(event) if event == PING => {}
            Next::Event(event) => events.push(event),
            end => return (events, end),
        }
    }
}

/// The JSON of an event's data.
fn data(event: &str) -> Value {
    let line = event.lines().find_map(|line| line.strip_prefix("data: ")).expect("data");
    serde_json::from_str(line).expect("JSON")
}

#[test]
fn a_silent_model_is_covered_and_then_answers() {
    let edge = committing().start();
    let (opener, passed) = gate();
    edge.upstream.then(Reply::after(passed));
    let mut stream = committed(&edge, CHAT);
    for name in ["x-cfx-request-id", "x-cfx-model-used", "x-ratelimit-remaining", "server-timing"] {
        assert!(stream.header(name).is_some(), "{name} in {:?}", stream.headers);
    }
    assert_eq!(stream.header("content-type"), Some("text/event-stream"));
    assert_eq!(stream.header("x-accel-buffering"), Some("no"));
    assert_eq!([stream.event(), stream.event()], [PING; 2], "in the rhythm of keep_alive");
    opener.open();
    let (events, end) = said(stream);
    assert_eq!((events, end), (wire::chat_events("upstream-smart", &wire::WORDS, false), Next::End));
    let row = edge.row();
    assert_eq!((row.text("status"), row.number("http_status"), row.tokens()), ("success", 200, (21, 4, 25)));
    edge.assert_metric("cfx_requests_total", &["code=\"200\"", "model=\"smart\""], 1.0);
}

#[test]
fn a_head_in_time_keeps_its_status() {
    let edge = Harness::builder()
        .timeouts("connect: 2s, first_byte: 20s, between_chunks: 20s, total: 60s, commit_after: 15s")
        .start();
    edge.upstream.then(Reply::json(429, r#"{"error":{"message":"slow down"}}"#));
    assert_eq!(edge.post(CHAT, &streaming(chat_body())).status, 429);
    assert!(edge.chat_stream().rest().1);
}

#[test]
fn an_answer_in_one_piece_waits_for_its_status() {
    let edge = committing().start();
    let (opener, passed) = gate();
    edge.upstream.then(late(passed, 429, r#"{"error":{"message":"slow down"}}"#.into()));
    let mut client = edge.client();
    client.send(&edge.request(CHAT, &chat_body()).bytes());
    edge.upstream.wait_for(1);
    let (other, held) = gate();
    edge.upstream.then(Reply::after(held));
    committed(&edge, CHAT).leave(); // so much time has passed
    drop(other);
    opener.open();
    assert_eq!(client.answer().status, 429);
}

#[test]
fn a_providers_refusal_comes_in_the_stream_and_stands_in_the_row() {
    for path in [CHAT, "/v1/completions", "/v1/responses", "/v1/messages"] {
        let edge = committing().start();
        let (opener, passed) = gate();
        let refusal =
            json!({"error": {"message": "3 requests a minute", "type": "requests", "code": "rate_limit_exceeded"}});
        edge.upstream.then(late(passed, 429, refusal.to_string()));
        let stream = committed(&edge, path);
        opener.open();
        let (events, end) = said(stream);
        assert_eq!((events.len(), end), (1, Next::Cut), "{path}: {events:?}");
        let told = data(&events[0]);
        assert_eq!(told["error"]["message"], "3 requests a minute", "{path}");
        match path {
            "/v1/messages" => assert!(events[0].starts_with("event: error\n") && told["type"] == "error"),
            "/v1/responses" => assert_eq!(told["response"]["error"]["code"], "rate_limit_exceeded"),
            _ => assert_eq!(told["error"]["code"], "rate_limit_exceeded"),
        }
        let row = edge.row();
        assert_eq!((row.text("status"), row.number("http_status")), ("rate_limited", 429), "{path}");
        edge.assert_metric("cfx_requests_total", &["code=\"429\""], 1.0);
        edge.assert_metric("cfx_upstream_attempts_total", &["outcome=\"answered\""], 1.0);
    }
}

#[test]
fn a_400_keeps_its_words_though_they_were_looked_at_before() {
    let short = "maximum context length is 8192 tokens".to_owned();
    let long = format!("{short}{}", " and not one more".repeat(400)); // more than is looked at
    for (path, words) in [CHAT, "/v1/responses", "/v1/messages"].into_iter().zip([&short, &long, &long]) {
        let edge = committing().start();
        let (opener, passed) = gate();
        let refusal = json!({"error": {"message": words, "code": "context_length_exceeded"}});
        edge.upstream.then(late(passed, 400, refusal.to_string()));
        let stream = committed(&edge, path);
        opener.open();
        let (events, end) = said(stream);
        assert_eq!((events.len(), end), (1, Next::Cut), "{path}: {events:?}");
        let error = &data(&events[0])["error"];
        assert_eq!((&error["message"], &error["code"]), (&json!(words), &json!("context_length_exceeded")), "{path}");
        assert_eq!(edge.row().number("http_status"), 400, "{path}");
    }
}

/// A stream whose upstream has refused it, and owes the rest of its words.
fn half_refused(edge: &Harness) -> Streaming {
    let (opener, gate) = gate();
    edge.upstream.then(Reply::script(move |exchange| {
        gate.pass();
        let head = "HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n";
        exchange.send(format!("{head}{{\"error\":").as_bytes());
        exchange.wait_for_close();
    }));
    let stream = committed(edge, CHAT);
    opener.open();
    edge.assert_metric("cfx_upstream_attempts_total", &["outcome=\"answered\""], 1.0);
    stream
}

#[test]
fn a_client_that_leaves_is_seen_while_the_rest_of_a_refusal_is_waited_for() {
    let edge = committing().start();
    half_refused(&edge).leave();
    edge.upstream.closed(0);
    let row = edge.row();
    assert_eq!((row.text("status"), row.number("http_status")), ("cancelled", 499));
    assert!(!row.flag("estimated") && row.number("input_tokens") == 0, "a refusal costs nothing: {row:?}");
}

#[test]
fn a_stop_does_not_wait_for_the_rest_of_a_refusal() {
    let mut edge = committing().start();
    let stream = half_refused(&edge);
    edge.process.signal("INT");
    let (events, end) = said(stream);
    assert_eq!(end, Next::Cut);
    assert_eq!(data(&events[0])["error"]["message"], "the model's service answered 429");
    assert!(edge.process.wait_for_exit().success());
    let rows = edge.stop_and_read().rows();
    assert_eq!((rows.len(), rows[0].number("http_status"), rows[0].text("status")), (1, 429, "rate_limited"));
}

#[test]
fn a_failure_comes_in_the_stream_and_there_is_no_second_attempt() {
    let plan = "  plan: { model: smart, system: \"PLAN\", fallback: quick }";
    let edge = committing().models_line("plan:", plan).start();
    let (opener, passed) = gate();
    edge.upstream.then(late(passed, 503, "{}".into()));
    let stream = committed(&edge, CHAT);
    opener.open();
    let (events, end) = said(stream);
    assert_eq!((data(&events[0])["error"]["code"].as_str(), end), (Some("upstream_error"), Next::Cut));
    let row = edge.row();
    let told = (row.text("status"), row.number("http_status"), row.text("error_message"), row.number("attempts"));
    assert_eq!(told, ("error", 502, "upstream_error", 1));
    edge.assert_metric("cfx_requests_total", &["code=\"502\""], 1.0);
    edge.assert_metric("cfx_refusals_total", &["upstream_error"], 1.0);
    edge.assert_metric("cfx_upstream_attempts_total", &["outcome=\"server_error\""], 1.0);
}

#[test]
fn a_second_attempt_is_covered_as_well_and_names_its_model() {
    let plan = "  plan: { model: smart, system: \"PLAN\", fallback: quick }";
    let edge = committing().models_line("plan:", plan).start();
    let (opener, passed) = gate();
    edge.upstream.then(Reply::json(503, "{}")).then(Reply::after(passed));
    let stream = committed(&edge, CHAT);
    assert_eq!(stream.header("x-cfx-model-used"), Some("quick"));
    opener.open();
    assert_eq!(said(stream).1, Next::End);
    assert_eq!(edge.row().number("attempts"), 2);
}

#[test]
fn a_limit_that_runs_out_comes_in_the_stream() {
    let edge = Harness::builder()
        .timeouts("connect: 2s, first_byte: 400ms, between_chunks: 20s, total: 60s, commit_after: 100ms")
        .start();
    edge.upstream.then(Reply::never());
    let (events, end) = said(committed(&edge, CHAT));
    let told = data(&events[0]);
    assert_eq!((told["error"]["code"].as_str(), end), (Some("upstream_timeout"), Next::Cut));
    assert!(told["error"]["message"].as_str().is_some_and(|words| words.contains("400ms (timeouts.first_byte)")));
    let row = edge.row();
    assert_eq!((row.number("http_status"), row.text("error_message")), (504, "upstream_timeout"));
    assert!(row.flag("estimated") && row.number("input_tokens") > 0, "{row:?}");
}

#[test]
fn a_document_where_a_stream_was_promised_is_an_error() {
    let edge = committing().start();
    let (opener, passed) = gate();
    edge.upstream.then(late(passed, 200, json!({"choices": []}).to_string()));
    let stream = committed(&edge, CHAT);
    opener.open();
    let (events, end) = said(stream);
    assert_eq!((data(&events[0])["error"]["code"].as_str(), end), (Some("upstream_error"), Next::Cut));
    let row = edge.row();
    assert_eq!((row.number("http_status"), row.text("error_message")), (502, "upstream_error"));
    assert!(row.flag("estimated") && row.number("input_tokens") > 0, "{row:?}");
}

#[test]
fn a_client_that_leaves_meanwhile_lets_the_upstream_go() {
    let edge = committing().start();
    edge.upstream.then(Reply::never());
    let stream = committed(&edge, CHAT);
    let left = Instant::now();
    stream.leave();
    let noticed = edge.upstream.closed(0).saturating_duration_since(left);
    assert!(noticed < Duration::from_millis(250), "the upstream saw it after {noticed:?}");
    let row = edge.row();
    assert_eq!((row.text("status"), row.number("http_status")), ("cancelled", 499));
    assert!(row.flag("estimated") && row.number("input_tokens") > 0, "{row:?}");
}

#[test]
fn a_stop_tells_those_who_are_waiting() {
    let mut edge = committing().start();
    edge.upstream.then(Reply::never());
    let stream = committed(&edge, CHAT);
    edge.process.signal("INT");
    let (events, end) = said(stream);
    assert_eq!((data(&events[0])["error"]["code"].as_str(), end), (Some("shutting_down"), Next::Cut));
    assert!(edge.process.wait_for_exit().success());
    let rows = edge.stop_and_read().rows();
    assert_eq!((rows.len(), rows[0].number("http_status"), rows[0].text("error_message")), (1, 503, "shutting_down"));
}

#[test]
fn a_stage_may_switch_it_off() {
    let plan = "  plan: { model: smart, system: \"PLAN\", timeouts: { commit_after: off, first_byte: 300ms } }";
    let edge = committing().models_line("plan:", plan).start();
    edge.upstream.then(Reply::never());
    let answer = edge.post(CHAT, &streaming(chat_body()));
    assert_eq!((answer.status, answer.code().as_str()), (504, "upstream_timeout"), "{answer}");
}

#[test]
fn nobody_is_asked_twice_for_a_target_that_cannot_be_reached() {
    // Nothing takes the handshake: a connection that never stands.
    let mute = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let targets = several(&[mute.local_addr().expect("an address")]).replace("http://", "https://");
    let edge = committing()
        .timeouts("connect: 400ms, first_byte: 20s, between_chunks: 20s, total: 60s, commit_after: 100ms")
        .upstream_target(&targets)
        .start();
    let (events, _) = said(committed(&edge, CHAT));
    assert!(data(&events[0])["error"]["message"].as_str().is_some_and(|words| words.contains("try again in 5s")));
    let row = edge.row();
    assert_eq!((row.number("http_status"), row.text("error_message")), (503, "upstream_unavailable"));
    assert!(!row.flag("estimated"), "nothing was sent, nothing is owed: {row:?}");
}

/// A proxy that ends a connection on which nothing has come from behind it for `idle`.
fn a_proxy_before(edge: SocketAddr, idle: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            std::thread::spawn(move || pass_on(client, edge, idle));
        }
    });
    address
}

fn pass_on(mut client: TcpStream, edge: SocketAddr, idle: Duration) -> std::io::Result<()> {
    let mut behind = TcpStream::connect(edge)?;
    let (mut asking, mut asked) = (client.try_clone()?, behind.try_clone()?);
    std::thread::spawn(move || std::io::copy(&mut asking, &mut asked));
    behind.set_read_timeout(Some(idle))?;
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = behind.read(&mut buffer) {
        client.write_all(&buffer[..read])?;
    }
    client.shutdown(std::net::Shutdown::Both)
}

#[test]
fn a_proxy_with_a_short_idle_limit_lets_it_live() {
    const IDLE: Duration = Duration::from_millis(1_000);
    let plan = "  plan: { model: smart, system: \"PLAN\", timeouts: { commit_after: 100ms } }";
    let edge = Harness::builder().upstream("keep_alive: 100ms").models_line("plan:", plan).start();
    let before = a_proxy_before(edge.http, IDLE);
    let (opener, passed) = gate();
    edge.upstream.then(Reply::after(passed));
    let asked = Instant::now();
    let mut stream = Client::plain(before).stream(&edge.request(CHAT, &streaming(chat_body())));
    while asked.elapsed() < IDLE + IDLE / 4 {
        assert_eq!(stream.event(), PING);
    }
    opener.open();
    let (events, end) = said(stream);
    assert_eq!((events, end), (wire::chat_events("upstream-smart", &wire::WORDS, false), Next::End));

    // The same wait without it, by a stage that does not commit: the proxy ends it.
    edge.upstream.then(Reply::never());
    let mut client = Client::plain(before);
    let mut body = streaming(chat_body());
    body["model"] = json!("code");
    client.send(&edge.request(CHAT, &body).bytes());
    assert!(client.answer_if_any().is_none(), "cut before a word");
}
