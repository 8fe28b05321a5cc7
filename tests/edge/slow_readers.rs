//! A client that does not read, or next to nothing, holds neither the model nor a place nor memory: what lies between is
//! bounded, and so is the time.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::harness::ordinary;
use crate::harness::{CHAT, Client, Harness, Reply, Request, chat_body, streaming, wire};

/// More than cfx and the sockets on both its sides may take in for a client that takes nothing out.
const BETWEEN: usize = 24 << 20;

/// 64 MiB of events, and how much of it cfx has taken.
fn a_flood(edge: &Harness) -> Arc<AtomicUsize> {
    let taken = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&taken);
    edge.upstream.then(Reply::script(move |exchange| {
        exchange.begin_events();
        let event = wire::chat_event("m", json!({"content": "x".repeat(64 << 10)}), None) + "\n\n";
        let chunk = format!("{:x}\r\n{event}\r\n", event.len());
        for _ in 0..1_024 {
            if exchange.try_send(chunk.as_bytes()).is_err() {
                break;
            }
            counter.fetch_add(chunk.len(), Ordering::Relaxed);
        }
    }));
    taken
}

fn impatient() -> Harness {
    Harness::builder().limit("read_stall: 700ms").streams(1).start()
}

/// The upstream is let go, the row says why, and the place is free.
fn let_go(edge: &Harness, taken: &AtomicUsize) {
    edge.upstream.closed(0);
    let row = edge.row();
    let said = (row.text("status"), row.number("http_status"), row.text("error_message"));
    assert_eq!(said, ("error", 200, "client_too_slow"), "{row:?}");
    assert!(row.flag("estimated") && row.number("input_tokens") > 0, "the model was at work: {row:?}");
    assert!(row.number("latency_ms") < 20_000, "{row:?}");
    let taken = taken.load(Ordering::Relaxed);
    assert!(taken < BETWEEN, "cfx took {taken} bytes");
    edge.assert_metric("cfx_requests_total", &["code=\"408\""], 1.0);
    edge.assert_metric("cfx_refusals_total", &["client_too_slow"], 1.0);
    edge.assert_metric("cfx_upstream_attempts_total", &["outcome=\"answered\""], 1.0);
    edge.assert_metric("cfx_streams_in_flight", &[], 0.0);
    assert!(edge.chat_stream().rest().1, "the user's only place is free");
}

#[test]
fn one_that_reads_nothing() {
    for tls in [false, true] {
        let edge = impatient();
        let taken = a_flood(&edge);
        let mut client = if tls { edge.tls_client() } else { edge.client() };
        client.send(&edge.request(CHAT, &streaming(chat_body())).bytes());
        let_go(&edge, &taken);
    }
}

#[test]
fn one_that_reads_a_byte_now_and_then() {
    let edge = impatient();
    let taken = a_flood(&edge);
    let mut socket = TcpStream::connect(edge.http).expect("a connection");
    socket.write_all(&edge.request(CHAT, &streaming(chat_body())).bytes()).expect("a request");
    let mut trickle = socket.try_clone().expect("a socket");
    let over = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&over);
    let reading = std::thread::spawn(move || {
        let mut byte = [0];
        while !stop.load(Ordering::Relaxed) && trickle.read(&mut byte).is_ok_and(|read| read > 0) {
            std::thread::sleep(Duration::from_millis(20)); // the client's own pace
        }
    });
    let_go(&edge, &taken);
    over.store(true, Ordering::Relaxed);
    let _ = socket.shutdown(std::net::Shutdown::Both);
    reading.join().expect("the reader ends");
}

#[test]
fn one_that_opens_no_window_over_http_2() {
    let edge = impatient();
    let taken = a_flood(&edge);
    let status = ordinary::bounded(async {
        let mut sender = ordinary::http2_connection(&edge, 16 << 10).await;
        let request = ordinary::request(&edge, CHAT).body(()).expect("a request");
        let (answer, mut upload) = sender.send_request(request, false).expect("a stream");
        upload.send_data(streaming(chat_body()).to_string().into(), true).expect("a body");
        let answer = answer.await.expect("an answer");
        let mut body = answer.into_body();
        let mut read = 0;
        // The first window is taken and never given back.
        loop {
            match body.data().await {
                Some(Ok(bytes)) => read += bytes.len(),
                Some(Err(error)) => return (read, error.is_reset()),
                None => return (read, false),
            }
        }
    });
    assert_eq!(status, (16 << 10, true), "one window, then a reset");
    let_go(&edge, &taken);
}

#[test]
fn one_that_opens_a_window_of_a_byte_now_and_then_over_http_2() {
    let edge = impatient();
    let taken = a_flood(&edge);
    let reset = ordinary::bounded(async {
        let mut sender = ordinary::http2_connection(&edge, 1).await;
        let request = ordinary::request(&edge, CHAT).body(()).expect("a request");
        let (answer, mut upload) = sender.send_request(request, false).expect("a stream");
        upload.send_data(streaming(chat_body()).to_string().into(), true).expect("a body");
        let mut body = answer.await.expect("an answer").into_body();
        loop {
            match body.data().await {
                Some(Err(error)) => return error.is_reset(),
                None => return false,
                Some(Ok(byte)) => {
                    tokio::time::sleep(Duration::from_millis(20)).await; // the client's own pace
                    let _ = body.flow_control().release_capacity(byte.len());
                }
            }
        }
    });
    assert!(reset);
    let_go(&edge, &taken);
}

#[test]
fn a_refusal_to_one_that_opens_no_window_holds_no_place_either() {
    let edge = Harness::builder().limit("read_stall: 300ms").limit("concurrent_requests: 1").start();
    edge.upstream.then(Reply::hang_up());
    let reset = ordinary::bounded(async {
        let mut sender = ordinary::http2_connection(&edge, 0).await;
        let request = ordinary::request(&edge, CHAT).body(()).expect("a request");
        let (answer, mut upload) = sender.send_request(request, false).expect("a stream");
        upload.send_data(chat_body().to_string().into(), true).expect("a body");
        let answer = answer.await.expect("a head, which needs no window");
        assert_eq!(answer.status(), 502);
        answer.into_body().data().await.is_none_or(|part| part.is_err())
    });
    assert!(reset, "not one byte of a body could be sent");
    edge.rows(1);
    edge.assert_healthy();
}

#[test]
fn one_that_is_slow_and_goes_on_gets_all_of_it() {
    let edge = Harness::builder().limit("read_stall: 2s").start();
    let words = ["x".repeat(64 << 10)];
    let words: Vec<&str> = std::iter::repeat_n(words[0].as_str(), 128).collect();
    edge.upstream.then(Reply::events(wire::chat_events("m", &words, false)));
    let mut stream = edge.chat_stream();
    let mut events = 0;
    while let crate::harness::Next::Event(_) = stream.next() {
        events += 1;
        std::thread::sleep(Duration::from_millis(20)); // the client's own pace: 2.6 s in all
    }
    assert_eq!(events, 128 + 3, "the role, the words, the finish and the last word");
    assert_eq!(edge.row().text("status"), "success");
}

/// What comes from the upstream in large pieces is waited for in small ones: no client has to take a quarter of a megabyte
/// within `read_stall`.
#[test]
fn one_that_reads_a_document_slowly_and_goes_on_gets_all_of_it() {
    let edge = impatient();
    edge.upstream.then(Reply::json(200, json!({"choices": [], "padding": "x".repeat(1 << 20)}).to_string()));
    assert!(read_slowly(&edge, edge.request(CHAT, &chat_body())) > 1 << 20);
    assert_eq!(edge.row().text("status"), "success");
}

#[test]
fn one_that_reads_a_page_slowly_and_goes_on_gets_all_of_it() {
    let edge = impatient();
    edge.web.then(Reply::json(200, "x".repeat(1 << 20)));
    assert!(read_slowly(&edge, Request::get("/app")) > 1 << 20);
}

/// 64 KiB, which are read and written as one, in more than `read_stall`.
#[test]
fn one_that_takes_a_page_slowly_over_http_2_gets_all_of_it() {
    let edge = Harness::builder().limit("read_stall: 2s").start();
    edge.web.then(Reply::json(200, "x".repeat(128 << 10)));
    let taken = ordinary::bounded(async {
        let mut sender = ordinary::http2_connection(&edge, 8 << 10).await;
        let request = ordinary::request(&edge, "/app").method("GET").body(()).expect("a request");
        let (answer, _) = sender.send_request(request, true).expect("a stream");
        let mut body = answer.await.expect("an answer").into_body();
        let (mut taken, mut since) = (0, 0);
        while let Some(piece) = body.data().await {
            let piece = piece.map_err(|error| format!("after {taken} bytes: {error}")).expect("the rest of it");
            (taken, since) = (taken + piece.len(), since + piece.len());
            if since >= 8 << 10 {
                since -= 8 << 10;
                tokio::time::sleep(Duration::from_millis(300)).await; // the client's own pace
            }
            let _ = body.flow_control().release_capacity(piece.len());
        }
        taken
    });
    assert_eq!(taken, 128 << 10);
}

/// How many bytes come to a client with little room that takes some four seconds for a megabyte.
fn read_slowly(edge: &Harness, request: Request) -> usize {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(32 << 10).expect("little room before the client");
    socket.connect(&edge.http.into()).expect("a connection");
    let mut socket = TcpStream::from(socket);
    socket.write_all(&request.header("connection", "close").bytes()).expect("a request");
    let (mut read, mut piece) = (0, [0; 8 << 10]);
    while let Ok(more @ 1..) = socket.read(&mut piece) {
        read += more;
        std::thread::sleep(Duration::from_millis(30)); // the client's own pace
    }
    read
}

#[test]
fn a_document_is_no_other_case() {
    let edge = impatient();
    edge.upstream.then(Reply::json(200, json!({"choices": [], "padding": "x".repeat(48 << 20)}).to_string()));
    let mut client = Client::plain(edge.http);
    client.send(&edge.request(CHAT, &chat_body()).bytes());
    edge.upstream.closed(0);
    let row = edge.row();
    assert_eq!((row.text("status"), row.text("error_message")), ("error", "client_too_slow"), "{row:?}");
    assert_eq!(edge.ask(&Request::get("/v1/models").key(&edge.key)).status, 200);
    drop(client);
}

/// The line says how much of it the client's socket took, though what was being written then was cut in the middle.
#[test]
fn the_account_of_a_page_that_is_not_read_has_what_was_sent_of_it() {
    let edge = impatient();
    let page = "x".repeat(16 << 20);
    let chunked =
        format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{page}\r\n0\r\n\r\n", page.len());
    edge.web.then(Reply::json(200, page.as_str())).then(Reply::raw(chunked));
    for path in ["/with-length", "/in-chunks"] {
        let mut client = edge.client();
        client.send(&Request::get(path).bytes());
        let line = edge.process.wait_for_line(&format!("\"path\":\"{path}\"")).expect("an access line");
        let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(line["reason"], "client_too_slow");
        let sent = client.read_to_close();
        let head = sent.windows(4).position(|end| end == b"\r\n\r\n").expect("a head") + 4;
        let body = sent[head..].iter().filter(|byte| **byte == b'x').count();
        assert!(body > 64 << 10 && body < page.len(), "{body}");
        let told = usize::try_from(line["bytes_out"].as_u64().expect("a number")).expect("a length");
        // The connection's own buffer had it, and had nowhere to put it.
        assert!(told >= body && told - body < 4 << 10, "{path}: {told} for {body}");
    }
}
