//! How an answer travels: each chunk as it comes, usage seen exactly by who asked for it, a second attempt only while
//! nothing was sent, and a broken stream that says so.

use serde_json::json;

use crate::failing_over::{in_time, soon};
use crate::harness::{
    CHAT, Harness, Next, Reply, Request, Scripted, asking_for_usage, body_for, chat_body, gate, streaming, wire,
};

const STREAMING: [&str; 4] = [CHAT, "/v1/completions", "/v1/responses", "/v1/messages"];

#[test]
fn every_event_is_passed_on_before_the_next_is_made() {
    for (path, usage) in STREAMING.iter().flat_map(|path| [(*path, false), (*path, true)]) {
        let edge = Harness::start();
        let events = match path {
            "/v1/responses" => wire::responses_events("m", &wire::WORDS),
            "/v1/messages" => wire::messages_events("m", &wire::WORDS),
            "/v1/completions" => wire::completion_events("m", &wire::WORDS, usage),
            _ => wire::chat_events("m", &wire::WORDS, usage),
        };
        let (opener, closed) = gate();
        edge.upstream.then(Reply::gated(events.clone(), closed));
        let body = streaming(body_for(path));
        let openai = path == CHAT || path == "/v1/completions";
        let body = if usage && openai { asking_for_usage(body) } else { body };
        opener.open();
        let mut stream = edge.client().stream(&edge.request(path, &body));
        for event in &events {
            // Only once it has arrived here does the upstream make the next.
            assert_eq!(&stream.event(), event, "{path}");
            opener.open();
        }
        assert_eq!(stream.next(), Next::End, "{path}");
    }
}

#[test]
fn a_stream_is_marked_so_that_no_proxy_holds_it_back() {
    let edge = Harness::start();
    let stream = edge.chat_stream();
    assert_eq!(stream.header("x-accel-buffering"), Some("no"));
    assert_eq!(stream.header("cache-control"), Some("no-cache"));
    assert!(stream.header("content-type").is_some_and(|kind| kind.starts_with("text/event-stream")));
    assert_eq!(stream.header("content-length"), None);
    assert!(stream.rest().1);
}

#[test]
fn the_usage_chunk_is_seen_exactly_when_it_was_asked_for() {
    for path in [CHAT, "/v1/completions"] {
        for (asked, body) in [(false, streaming(body_for(path))), (true, asking_for_usage(body_for(path)))] {
            let edge = Harness::start();
            let (events, whole) = edge.client().stream(&edge.request(path, &body)).rest();
            let seen = events.iter().any(|event| event.contains("\"usage\""));
            assert!(whole && seen == asked, "{path}: {events:?}");
            assert_eq!(events.last().map(String::as_str), Some(wire::DONE), "{path}");
            assert_eq!(edge.upstream.last().json()["stream_options"]["include_usage"], true, "it is always metered");
            assert_eq!(edge.row().tokens(), (21, 4, 25), "{path}");
        }
    }
}

#[test]
fn a_clients_other_stream_options_are_kept() {
    let edge = Harness::start();
    let mut body = streaming(chat_body());
    body["stream_options"] = json!({"include_usage": false, "include_obfuscation": false});
    let (events, _) = edge.client().stream(&edge.request(CHAT, &body)).rest();
    assert!(!events.iter().any(|event| event.contains("\"usage\"")), "{events:?}");
    let sent = edge.upstream.last().json()["stream_options"].clone();
    assert_eq!(sent, json!({"include_usage": true, "include_obfuscation": false}));
}

#[test]
fn usage_is_read_across_any_chunk_boundary() {
    let whole: String = wire::chat_events("m", &wire::WORDS, true).iter().map(|event| format!("{event}\n\n")).collect();
    let bare: String = wire::chat_events("m", &wire::WORDS, false).iter().map(|event| format!("{event}\n\n")).collect();
    let edge = Harness::start();
    for size in [1, 2, 3, 7, 50, 1_000, whole.len()] {
        let pieces: Vec<Vec<u8>> = whole.as_bytes().chunks(size).map(<[u8]>::to_vec).collect();
        edge.upstream.then(Reply::script(move |exchange| {
            exchange.begin_events();
            pieces.iter().for_each(|piece| exchange.chunk(piece));
            exchange.end();
        }));
        let answer = edge.post(CHAT, &streaming(chat_body()));
        assert_eq!(answer.text(), bare, "in chunks of {size}");
    }
    assert!(edge.rows(7).iter().all(|row| row.tokens() == (21, 4, 25) && !row.flag("estimated")));
}

#[test]
fn usage_is_read_in_all_dialects_streamed_or_not() {
    for path in STREAMING {
        for stream in [false, true] {
            let edge = Harness::start();
            let body = if stream { streaming(body_for(path)) } else { body_for(path) };
            assert_eq!(edge.post(path, &body).status, 200, "{path}");
            let row = edge.row();
            assert_eq!((row.tokens(), row.flag("estimated")), ((21, 4, 25), false), "{path}, stream: {stream}");
        }
    }
}

#[test]
fn an_answer_that_is_json_where_a_stream_was_asked_for_still_passes() {
    // LiteLLM 1.106 does so on /v1/messages for a model with `mock_response`.
    let edge = Harness::start();
    let body = json!({"content": [{"text": "hi", "type": "text"}], "id": "m", "model": "x", "role": "assistant",
                      "stop_reason": "end_turn", "type": "message", "usage": {"input_tokens": 5, "output_tokens": 6}});
    edge.upstream.then(Reply::json(200, body.to_string()));
    let answer = edge.post("/v1/messages", &streaming(body_for("/v1/messages")));
    assert_eq!((answer.status, answer.json()), (200, body));
    assert_eq!(edge.row().tokens(), (5, 6, 11));
}

#[test]
fn a_stream_that_breaks_off_says_so_and_is_never_ended_cleanly() {
    for (path, sign) in [
        (CHAT, "data: {\"error\":"),
        ("/v1/completions", "data: {\"error\":"),
        ("/v1/responses", "response.failed"),
        ("/v1/messages", "event: error"),
    ] {
        let edge = Harness::start();
        let mut events = match path {
            "/v1/responses" => wire::responses_events("m", &wire::WORDS),
            "/v1/messages" => wire::messages_events("m", &wire::WORDS),
            "/v1/completions" => wire::completion_events("m", &wire::WORDS, false),
            _ => wire::chat_events("m", &wire::WORDS, false),
        };
        events.truncate(3);
        edge.upstream.then(Reply::cut_after(events.clone()));
        let (seen, whole) = edge.client().stream(&edge.request(path, &streaming(body_for(path)))).rest();
        assert_eq!(seen[..3], events[..], "{path}: what came is passed on");
        assert!(seen.last().is_some_and(|last| last.contains(sign)), "{path}: {seen:?}");
        assert!(!seen.iter().any(|event| event.contains("[DONE]")), "{path}: {seen:?}");
        assert!(!whole, "{path}: SDKs that trust the framing must see the cut");
        let row = edge.row();
        assert_eq!((row.text("status"), row.number("http_status")), ("error", 200), "{path}");
        assert!(row.flag("estimated"), "{path}");
    }
}

#[test]
fn a_stream_without_its_last_word_is_broken_however_cleanly_it_ends() {
    let edge = Harness::start();
    let mut events = wire::chat_events("m", &wire::WORDS, false);
    events.truncate(3);
    edge.upstream.then(Reply::events(events));
    let (seen, whole) = edge.chat_stream().rest();
    assert!(!whole && seen.last().is_some_and(|last| last.contains("\"error\"")), "{seen:?}");
}

#[test]
fn a_json_answer_that_breaks_off_is_cut_too() {
    let edge = Harness::start();
    edge.upstream
        .then(Reply::raw("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"half\":"));
    let answer = edge.chat();
    assert!(!answer.complete, "{answer}");
    assert_eq!(edge.row().text("status"), "error");
}

#[test]
fn ten_megabytes_of_answer_arrive_whole() {
    let edge = Harness::start();
    let text = "x".repeat(10 << 20);
    let body = json!({"choices": [{"message": {"role": "assistant", "content": text}}],
                      "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}})
    .to_string();
    edge.upstream.then(Reply::json(200, body.clone()));
    let answer = edge.chat();
    assert!(answer.complete && answer.text() == body);
    assert_eq!(edge.row().tokens(), (1, 2, 3));
}

#[test]
fn megabytes_of_request_are_understood_as_any_other() {
    let edge = Harness::start();
    let long: String = (0..(3 << 20) / 8).map(|number| format!("{number:07} ")).collect();
    let body = json!({"model": "plan", "messages": [{"role": "user", "content": long}]});
    assert_eq!(edge.post(CHAT, &body).status, 200);
    let seen = edge.upstream.last().json();
    let last = seen["messages"].as_array().and_then(|messages| messages.last()).expect("messages");
    assert!(last["content"] == long.as_str(), "the prompt arrived otherwise than it was sent");

    let cut = body.to_string();
    let refused = [
        (edge.request(CHAT, &body).header("X-CFX-Stage", "deploy"), "invalid_stage"),
        (Request::post(CHAT, &cut[..cut.len() - 1]).key(&edge.key), "invalid_json"),
    ];
    for (request, code) in refused {
        let answer = edge.ask(&request);
        assert_eq!((answer.status, answer.code().as_str()), (400, code), "{answer}");
    }
    edge.assert_metric("cfx_body_memory_bytes", &[], 0.0);
}

#[test]
fn connections_to_the_upstream_are_used_again() {
    let edge = Harness::start();
    let mut client = edge.client();
    for _ in 0..20 {
        assert_eq!(client.ask(&edge.request(CHAT, &chat_body())).status, 200);
    }
    assert_eq!(edge.upstream.connections(), 1);
}

#[test]
fn a_kept_connection_that_died_meanwhile_costs_nothing() {
    let edge = Harness::start();
    edge.upstream.then(Reply::script(|exchange| {
        exchange.json(200, &json!({"choices": [], "usage": wire::chat_usage()}).to_string());
        exchange.hang_up();
    }));
    let mut client = edge.client();
    assert_eq!(client.ask(&edge.request(CHAT, &chat_body())).status, 200);
    edge.upstream.closed(0);
    assert_eq!(client.ask(&edge.request(CHAT, &chat_body())).status, 200);
    assert_eq!(edge.rows(2)[1].number("attempts"), 1, "no attempt was lost on it");
}

#[test]
fn a_kept_connection_that_dies_as_it_is_used_is_replaced_once_for_all_attempts() {
    in_time(|| {
        let edge = Harness::start();
        let mut client = edge.client();
        let mut ask = || client.ask(&edge.request(CHAT, &chat_body()));
        assert_eq!(ask().status, 200);
        edge.upstream.then(Reply::hang_up());
        assert_eq!(soon(&mut ask)?.status, 200, "on a fresh connection");
        assert_eq!(edge.upstream.count(), 3);
        assert_eq!(edge.rows(2)[1].number("attempts"), 1);
        edge.upstream.always(|_| Some(Reply::hang_up()));
        let answer = soon(&mut ask)?;
        assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_error"), "{answer}");
        assert_eq!(edge.upstream.count(), 5, "no stage has a fallback here: once on the kept one, once on a fresh one");
        Some(())
    });
}

#[test]
fn connections_that_nobody_uses_are_closed_by_themselves() {
    let edge = Harness::start();
    assert_eq!(edge.chat().status, 200);
    edge.upstream.closed(0);
}

#[test]
fn an_answer_that_is_no_http_is_not_asked_for_again() {
    let edge = Harness::start();
    edge.upstream.always(|_| Some(Reply::raw("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab")));
    let answer = edge.chat();
    assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_error"), "{answer}");
    assert_eq!(edge.upstream.count(), 1, "it has answered, and may have been paid");
    edge.assert_metric("cfx_upstream_attempts_total", &["outcome=\"not_http\""], 1.0);
}

#[test]
fn a_second_target_is_asked_while_nothing_was_sent() {
    for (name, status) in [("reset before the head", None), ("502", Some(502)), ("503", Some(503)), ("504", Some(504))]
    {
        let (good, bad) = (Scripted::start(), Scripted::start());
        bad.always(move |_| Some(status.map_or_else(Reply::hang_up, |status| Reply::json(status, "{}"))));
        let targets = format!("http://{}\", \"http://{}", bad.address, good.address);
        let edge = Harness::builder().upstream_target(&targets).start();
        let answers: Vec<_> = (0..4).map(|_| edge.chat()).collect();
        assert!(answers.iter().all(|answer| answer.status == 200), "{name}: {answers:?}");
        assert!(bad.count() > 0 && good.count() == 4, "{name}: both were asked");
        let rows = edge.rows(4);
        assert!(rows.iter().any(|row| row.number("attempts") == 2), "{name}");
        assert!(rows.iter().all(|row| row.text("status") == "success"), "{name}");
        let id = |request: &crate::harness::scripted::Recorded| request.header("x-request-id").map(str::to_string);
        let first = bad.requests().remove(0);
        let again = good.requests().into_iter().find(|request| id(request) == id(&first)).expect("the same request");
        assert_eq!(again.body, first.body, "{name}: the body was kept for it");
    }
}

#[test]
fn a_target_that_is_down_is_stepped_over() {
    let good = Scripted::start();
    let targets = format!("http://127.0.0.1:9\", \"http://{}", good.address);
    let edge = Harness::builder().upstream_target(&targets).start();
    assert!((0..4).all(|_| edge.chat().status == 200));
}

#[test]
fn a_stages_fallback_is_asked_where_there_is_no_other_target() {
    let edge =
        Harness::builder().models_line("plan:", "  plan: { model: smart, fallback: quick, system: \"PLAN\" }").start();
    edge.upstream.then(Reply::json(503, "{}"));
    let answer = edge.chat();
    assert_eq!((answer.status, answer.header("x-cfx-model-used")), (200, Some("quick")), "{answer}");
    let models: Vec<_> = edge.upstream.requests().iter().map(|request| request.json()["model"].clone()).collect();
    assert_eq!(models, ["upstream-smart", "upstream-quick"]);
    let row = edge.row();
    assert_eq!((row.text("model"), row.number("attempts")), ("quick", 2));
}

#[test]
fn two_attempts_are_the_most() {
    let edge =
        Harness::builder().models_line("plan:", "  plan: { model: smart, fallback: quick, system: \"PLAN\" }").start();
    edge.upstream.always(|_| Some(Reply::json(503, "{}")));
    assert_eq!(edge.chat().code(), "upstream_error");
    assert_eq!(edge.upstream.count(), 2);
}

#[test]
fn nothing_is_tried_again_once_a_byte_was_sent() {
    let edge =
        Harness::builder().models_line("plan:", "  plan: { model: smart, fallback: quick, system: \"PLAN\" }").start();
    edge.upstream.then(Reply::cut_after(vec![wire::chat_event("m", json!({"content": "Half"}), None)]));
    edge.chat_stream().rest();
    assert_eq!(edge.upstream.count(), 1);
}

#[test]
fn an_interim_answer_is_not_taken_for_the_answer() {
    let edge = Harness::start();
    edge.upstream.then(Reply::script(|exchange| {
        exchange.send(b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n");
        exchange.json(200, &json!({"choices": [], "usage": wire::chat_usage()}).to_string());
    }));
    assert_eq!(edge.chat().status, 200);
}

#[test]
fn an_answer_that_came_before_its_request_is_nobodys() {
    let edge = Harness::start();
    for round in 0..50 {
        let (sent, lies_there) = std::sync::mpsc::channel();
        edge.upstream.then(Reply::script(move |exchange| {
            exchange.json(200, &json!({"choices": [], "usage": wire::chat_usage()}).to_string());
            exchange.json(200, r#"{"stray": true}"#);
            sent.send(()).expect("the test waits");
            exchange.wait_for_close();
        }));
        assert!(!edge.chat().text().contains("stray"), "round {round}");
        lies_there.recv().expect("the script goes on");
        let next = edge.chat();
        assert!(!next.text().contains("stray"), "round {round}: {next}");
    }
}

#[test]
fn an_answer_in_a_coding_that_nobody_asked_for_is_no_answer() {
    let edge = Harness::start();
    let packed =
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\nxx";
    edge.upstream.then(Reply::raw(packed));
    let answer = edge.chat();
    assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_error"), "{answer}");
    assert_eq!(edge.upstream.count(), 1);
}
