//! What can be wrong behind cfx: each has a status of ours, never the upstream's words, one row, and no lasting harm.

use serde_json::json;

use crate::harness::{CHAT, Harness, Reply, chat_body, gate, streaming, wire};

struct Case {
    name: &'static str,
    reply: fn() -> Reply,
    status: u16,
    code: &'static str,
}

const HTML: &str = "<html><body>502 from some box at 10.0.0.7</body></html>";

fn html(status: &str) -> Reply {
    Reply::raw(format!("HTTP/1.1 {status}\r\ncontent-type: text/html\r\ncontent-length: {}\r\n\r\n{HTML}", HTML.len()))
}

fn litellm_error(status: u16) -> Reply {
    Reply::json(status, json!({"error": {"message": "inner words of 10.0.0.7", "type": "x", "param": null, "code": status.to_string()}}).to_string())
}

fn cases() -> Vec<Case> {
    vec![
        Case { name: "HTML with 200", reply: || html("200 OK"), status: 502, code: "upstream_error" },
        Case { name: "HTML with 404", reply: || html("404 Not Found"), status: 502, code: "upstream_error" },
        Case { name: "401", reply: || litellm_error(401), status: 502, code: "upstream_auth_error" },
        Case { name: "403", reply: || litellm_error(403), status: 502, code: "upstream_auth_error" },
        // LiteLLM without a database, to a key that is not its master key.
        Case {
            name: "400 for want of a database",
            reply: || {
                Reply::json(
                    400,
                    r#"{"error":{"message":"No connected db. 10.0.0.7","type":"no_db_connection","param":null,"code":"400"}}"#,
                )
            },
            status: 502,
            code: "upstream_auth_error",
        },
        // LiteLLM 1.106 says 500 in plain text and closes, where its own code failed.
        Case {
            name: "500 in plain text",
            reply: || {
                Reply::raw(
                    "HTTP/1.1 500 Internal Server Error\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\nTransfer-Encoding: chunked\r\n\r\n15\r\nInternal Server Error\r\n0\r\n\r\n",
                )
            },
            status: 502,
            code: "upstream_error",
        },
        Case { name: "503", reply: || litellm_error(503), status: 502, code: "upstream_error" },
        Case { name: "no byte", reply: Reply::hang_up, status: 502, code: "upstream_error" },
        Case {
            name: "half a head",
            reply: || Reply::raw("HTTP/1.1 200 OK\r\ncontent-ty"),
            status: 502,
            code: "upstream_error",
        },
        Case { name: "no HTTP", reply: || Reply::raw("SSH-2.0-OpenSSH_9.2\r\n"), status: 502, code: "upstream_error" },
        Case {
            name: "a redirect",
            reply: || Reply::raw("HTTP/1.1 302 Found\r\nlocation: http://10.0.0.7/\r\ncontent-length: 0\r\n\r\n"),
            status: 502,
            code: "upstream_error",
        },
    ]
}

#[test]
fn each_failure_has_an_answer_of_ours_and_one_row() {
    for stream in [false, true] {
        let mut edge = Harness::start();
        for case in cases() {
            // Always, not once: what dies on a kept connection is sent again on a fresh one.
            edge.upstream.always(move |_| Some((case.reply)()));
            let body = if stream { streaming(chat_body()) } else { chat_body() };
            let answer = edge.post(CHAT, &body);
            let name = case.name;
            assert_eq!((answer.status, answer.code().as_str()), (case.status, case.code), "{name}: {answer}");
            edge.upstream.always(|_| None);
            assert!(!answer.text().contains("10.0.0.7") && !answer.text().contains("inner words"), "{name}: {answer}");
            edge.assert_healthy();
        }
        let store = edge.stop_and_read();
        let rows = store.rows();
        assert_eq!(rows.len(), 2 * cases().len());
        for (case, row) in cases().iter().zip(rows.iter().step_by(2)) {
            assert_eq!(
                (row.text("status"), row.number("http_status")),
                ("error", i64::from(case.status)),
                "{}",
                case.name
            );
            assert_eq!(row.text("error_message"), case.code, "{}", case.name);
        }
    }
}

#[test]
fn one_that_is_down_is_said_to_be_unavailable() {
    let edge = Harness::builder().upstream_target("http://127.0.0.1:9").start();
    let answer = edge.chat();
    assert_eq!((answer.status, answer.code().as_str()), (503, "upstream_unavailable"), "{answer}");
    assert!(answer.header("retry-after").is_some_and(|wait| wait.parse::<u64>().is_ok()));
    assert!(!answer.text().contains("127.0.0.1"), "{answer}");
    assert_eq!(edge.row().text("status"), "error");
}

#[test]
fn one_that_never_answers_is_given_up_by_the_total_for_json() {
    let edge =
        Harness::builder().timeouts("connect: 2s, first_byte: 100ms, between_chunks: 100ms, total: 400ms").start();
    edge.upstream.then(Reply::never());
    let answer = edge.chat();
    assert_eq!((answer.status, answer.code().as_str()), (504, "upstream_timeout"), "{answer}");
    edge.upstream.closed(0);
    assert_eq!(edge.row().number("http_status"), 504);
    edge.assert_healthy();
}

#[test]
fn one_that_never_answers_is_given_up_by_the_first_byte_for_streams() {
    let edge = Harness::builder().timeouts("connect: 2s, first_byte: 200ms, between_chunks: 20s, total: 60s").start();
    edge.upstream.then(Reply::never());
    let answer = edge.post(CHAT, &streaming(chat_body()));
    assert_eq!((answer.status, answer.code().as_str()), (504, "upstream_timeout"), "{answer}");
    edge.upstream.closed(0);
    edge.assert_healthy();
}

#[test]
fn one_that_falls_silent_mid_stream_is_given_up_and_said_so_in_the_stream() {
    let edge = Harness::builder().timeouts("connect: 2s, first_byte: 20s, between_chunks: 200ms, total: 60s").start();
    edge.upstream.then(Reply::script(|exchange| {
        exchange.begin_events();
        exchange.event(&wire::chat_event("m", json!({"content": "Half a "}), None));
        exchange.wait_for_close();
    }));
    let (events, whole) = edge.chat_stream().rest();
    assert!(!whole, "the connection is cut, not ended");
    assert!(events.last().is_some_and(|event| event.contains("upstream_timeout")), "{events:?}");
    let row = edge.row();
    assert_eq!((row.text("status"), row.text("error_message")), ("error", "upstream_timeout"));
}

#[test]
fn an_error_object_inside_a_200_stream_is_no_success() {
    let edge = Harness::start();
    let error =
        r#"data: {"error":{"message":"The provider fell over","type":"server_error","param":null,"code":"500"}}"#;
    edge.upstream.then(Reply::events(vec![error.to_string(), wire::DONE.to_string()]));
    let (events, _) = edge.chat_stream().rest();
    assert_eq!(events.first().map(String::as_str), Some(error), "the provider's own words pass");
    assert_eq!(edge.row().text("status"), "error");
}

#[test]
fn what_a_client_did_wrong_at_the_provider_passes_through() {
    let edge = Harness::start();
    for (status, message) in [
        (400, "This model's maximum context length is 8192 tokens"),
        (404, "no such model at the provider"),
        (422, "bad tool schema"),
        (429, "provider rate limit"),
    ] {
        let body = json!({"error": {"message": message, "type": "invalid_request_error", "param": null, "code": status.to_string()}});
        edge.upstream.then(Reply::json(status, body.to_string()));
        let answer = edge.chat();
        assert_eq!((answer.status, answer.json()), (status, body), "status and body as they came");
    }
}

/// What is looked into before it is passed on is passed on all the same.
#[test]
fn a_400_passes_as_it_came_however_long_slow_or_torn() {
    let head = |length: usize| {
        format!("HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n")
    };
    let body = json!({"error": {"message": "x".repeat(100_000), "type": "no_db_connection"}}).to_string();
    let edge = Harness::start();
    let whole = head(body.len()) + &body;
    edge.upstream.then(Reply::raw(whole));
    let answer = edge.chat();
    assert!(answer.status == 400 && answer.complete && answer.text() == body, "a long one is the provider's own");

    let (opener, gate) = gate();
    let (first, second) = (r#"{"error":{"message":"too "#, r#"long","type":"x"}}"#);
    let first_piece = head(first.len() + second.len()) + first;
    edge.upstream.then(Reply::script(move |exchange| {
        exchange.send(first_piece.as_bytes());
        gate.pass();
        exchange.send(second.as_bytes());
    }));
    let slow = edge.chat_stream();
    assert_eq!(slow.status, 400, "the head does not wait for the end");
    opener.open();
    assert_eq!(slow.rest(), (vec![format!("{first}{second}")], true));

    let torn = head(1_000) + first;
    edge.upstream.then(Reply::raw(torn));
    let answer = edge.chat();
    assert!(answer.status == 400 && !answer.complete, "a torn one is cut, never ended cleanly: {answer}");
    edge.assert_healthy();
}

#[test]
fn a_providers_retry_after_passes_through() {
    let edge = Harness::start();
    let body = r#"{"error":{"message":"slow down","type":"rate_limit_error","param":null,"code":"429"}}"#;
    edge.upstream.then(Reply::raw(format!(
        "HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/json\r\nretry-after: 7\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )));
    let answer = edge.chat();
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("7")));
    assert_eq!(edge.row().text("status"), "rate_limited");
}
