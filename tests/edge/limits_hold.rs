//! Limits hold whatever a client or an upstream does: slow readers, long waits, announced bodies, half-made connections.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::client::PATIENCE;
use crate::harness::{CHAT, Client, Harness, Next, Reply, Request, chat_body, gate, streaming, wire};

/// More than all buffers between the upstream and a client that does not read.
fn a_flood() -> Reply {
    Reply::script(|exchange| {
        exchange.begin_events();
        let event = wire::chat_event("m", json!({"content": "x".repeat(64 << 10)}), None);
        for _ in 0..1_024 {
            exchange.event(&event);
        }
        exchange.wait_for_close();
    })
}

fn not_reading(edge: &Harness, mut client: Client) -> Client {
    client.send(&edge.request(CHAT, &streaming(chat_body())).bytes());
    edge.upstream.wait_for(1);
    client
}

#[test]
fn the_total_holds_for_a_client_that_does_not_read() {
    for tls in [false, true] {
        let mut edge =
            Harness::builder().timeouts("connect: 2s, first_byte: 20s, between_chunks: 20s, total: 700ms").start();
        edge.upstream.then(a_flood());
        let _client = not_reading(&edge, if tls { edge.tls_client() } else { edge.client() });
        edge.upstream.closed(0);
        let row = edge.row();
        assert_eq!((row.text("status"), row.text("error_message")), ("error", "upstream_timeout"), "over TLS: {tls}");
        assert!(row.number("latency_ms") < 5_000, "{row:?}");
        edge.process.stop();
    }
}

#[test]
fn a_stop_writes_the_row_of_a_client_that_does_not_read() {
    for tls in [false, true] {
        let mut edge = Harness::start();
        edge.upstream.then(a_flood());
        let _client = not_reading(&edge, if tls { edge.tls_client() } else { edge.client() });
        edge.process.signal("INT");
        assert!(edge.process.wait_for_exit().success());
        let rows = edge.stop_and_read().rows();
        assert_eq!(rows.len(), 1, "{rows:?}");
        assert_eq!((rows[0].text("status"), rows[0].text("error_message")), ("error", "shutting_down"), "TLS: {tls}");
        assert!(rows[0].flag("estimated") && rows[0].number("input_tokens") > 0, "{rows:?}");
    }
}

#[test]
fn a_stop_tells_those_who_wait_when_to_come_back() {
    let mut edge = Harness::start();
    edge.upstream.then(Reply::never());
    let mut client = edge.client();
    client.send(&edge.request(CHAT, &chat_body()).bytes());
    edge.upstream.wait_for(1);
    edge.process.signal("INT");
    let answer = client.answer();
    assert_eq!((answer.status, answer.code().as_str()), (503, "shutting_down"), "{answer}");
    assert_eq!((answer.header("retry-after"), answer.header("retry-after-ms")), (Some("2"), Some("2000")));
    let timing = answer.header("server-timing").expect("a server-timing");
    assert!(timing.contains("upstream;dur="), "the wait was the upstream's, not ours: {timing}");
    assert!(edge.process.wait_for_exit().success());
    let rows = edge.stop_and_read().rows();
    assert!(rows[0].flag("estimated") && rows[0].number("input_tokens") > 0, "the model was at work: {rows:?}");
}

#[test]
fn a_stop_tells_a_stream_under_way() {
    let mut edge = Harness::start();
    let (opener, closed) = gate();
    edge.upstream.then(Reply::gated(wire::chat_events("m", &wire::WORDS, true), closed));
    let mut stream = edge.chat_stream_opening(&opener);
    edge.process.signal("INT");
    assert!(stream.event().contains("shutting_down"));
    assert_eq!(stream.next(), Next::Cut);
    assert!(edge.process.wait_for_exit().success());
    assert_eq!(edge.stop_and_read().rows().len(), 1);
}

/// Takes connections in, and never answers a handshake.
fn a_mute_listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let target = format!("https://{}", listener.local_addr().expect("an address"));
    (listener, target)
}

#[test]
fn leaving_before_a_connection_stands_costs_nothing() {
    let (listener, target) = a_mute_listener();
    let mut edge = Harness::builder().upstream_target(&target).start();
    let mut client = edge.client();
    client.send(&edge.request(CHAT, &chat_body()).bytes());
    let _half_made = listener.accept().expect("cfx connects");
    drop(client);
    let row = edge.row();
    assert_eq!((row.text("status"), row.flag("estimated")), ("cancelled", false), "{row:?}");
    assert_eq!(edge.stop_and_read().counted_requests(), 0, "the upstream never saw it");
}

#[test]
fn connecting_is_bounded_by_the_total() {
    let (_listener, target) = a_mute_listener();
    let timeouts = "connect: 60s, first_byte: 20s, between_chunks: 20s, total: 300ms";
    let edge = Harness::builder().upstream_target(&target).timeouts(timeouts).start();
    let asked = Instant::now();
    let answer = edge.chat();
    assert_eq!((answer.status, answer.code().as_str()), (503, "upstream_unavailable"), "{answer}");
    assert!(asked.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_slow_upstream_that_hangs_up_is_not_asked_again_for_free() {
    let edge = Harness::start();
    let mut client = edge.client();
    assert_eq!(client.ask(&edge.request(CHAT, &chat_body())).status, 200);
    edge.upstream.then(Reply::script(|exchange| {
        // The model at work, for longer than a dead connection takes to say that it is dead.
        std::thread::sleep(Duration::from_millis(300));
        exchange.hang_up();
    }));
    let answer = client.ask(&edge.request(CHAT, &chat_body()));
    assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_error"), "{answer}");
    assert_eq!(edge.upstream.count(), 2, "it may have been paid for once already");
}

#[test]
fn an_upload_that_was_only_announced_takes_no_room_from_others() {
    let edge = Harness::builder().limit("body: 64KiB").limit("body_memory: 64KiB").start();
    let head =
        Request::post(CHAT, "").key(&edge.key).header("Content-Length", "65530").header("Expect", "100-continue");
    let _waiting: Vec<TcpStream> = (0..3)
        .map(|_| {
            let mut socket = TcpStream::connect(edge.http).expect("a connection");
            socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
            socket.write_all(&head.clone().framed_by_hand().bytes()).expect("a head");
            let mut go_on = [0; 25];
            socket.read_exact(&mut go_on).expect("an answer");
            assert!(go_on.starts_with(b"HTTP/1.1 100"), "cfx waits for the body now");
            socket
        })
        .collect();
    edge.assert_healthy();
    assert_eq!(edge.chat().status, 200);
}

#[test]
fn a_prompt_is_forgotten_once_its_answer_has_begun() {
    let edge = Harness::builder().limit("body: 64KiB").limit("body_memory: 64KiB").start();
    let long = json!({"model": "plan", "messages": [{"role": "user", "content": "x".repeat(50_000)}]});
    let (opener, closed) = gate();
    edge.upstream.then(Reply::gated(wire::chat_events("m", &wire::WORDS, true), closed));
    opener.open();
    let mut stream = edge.client().stream(&edge.request(CHAT, &streaming(long.clone())));
    stream.event();
    assert_eq!(edge.post(CHAT, &long).status, 200, "there is room for the next while the first still streams");
    drop(opener);
    assert!(stream.rest().1);
}

#[test]
fn what_goes_wrong_behind_the_last_word_harms_nobody() {
    type After = fn(&mut crate::harness::scripted::Exchange);
    let cases: [(&str, After); 3] = [
        ("a reset", |exchange| exchange.hang_up()),
        ("a body held open", |exchange| exchange.wait_for_close()),
        ("chatter", |exchange| {
            // Ends when cfx has closed: then a write fails.
            while exchange.try_send(b"7\r\n: ping\n\r\n").is_ok() {
                std::thread::sleep(Duration::from_millis(20));
            }
            exchange.hang_up();
        }),
    ];
    for (name, after) in cases {
        let edge = Harness::start();
        edge.upstream.then(Reply::script(move |exchange| {
            exchange.begin_events();
            wire::chat_events("m", &wire::WORDS, true).iter().for_each(|event| exchange.event(event));
            after(exchange);
        }));
        let (events, whole) = edge.chat_stream().rest();
        let said = events.iter().rfind(|event| !event.contains(": ping"));
        assert!(whole && said.is_some_and(|last| last == wire::DONE), "{name}: {events:?}");
        let row = edge.row();
        assert_eq!(
            (row.text("status"), row.tokens(), row.flag("estimated")),
            ("success", (21, 4, 25), false),
            "{name}"
        );
    }
}

#[test]
fn a_refusals_latency_is_the_clients_and_not_the_connections() {
    let edge = Harness::start();
    let head = Request::post(CHAT, "").key(&edge.key).instead("Content-Type", "text/plain");
    let mut client = edge.client();
    client.send(&head.header("Content-Length", "1000000").framed_by_hand().bytes());
    assert_eq!(client.answer().status, 415);
    // cfx reads on for seconds, so that the refusal is not lost to a reset.
    let row = edge.row();
    assert!(row.number("latency_ms") < 2_000, "{row:?}");
    drop(client);
}
