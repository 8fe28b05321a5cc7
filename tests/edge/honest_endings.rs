//! What became of a request is said the same everywhere, and what it used is counted once and never invented.

use serde_json::json;

use crate::harness::{CHAT, Harness, Reply, Request, asking_for_usage, body_for, chat_body, gate, streaming, wire};

#[test]
fn a_broken_stream_looks_like_no_success_anywhere() {
    let edge = Harness::start();
    edge.upstream.then(Reply::cut_after(vec![wire::chat_event("m", json!({"content": "Half"}), None)]));
    assert!(!edge.chat_stream().rest().1);
    let line = edge.process.wait_for_line("\"reason\":\"upstream_error\"").expect("an access line");
    assert!(line.contains("\"status\":200"), "as the client saw it: {line}");
    let row = edge.row();
    assert_eq!((row.number("http_status"), row.text("error_message")), (200, "upstream_error"));
    edge.assert_metric("cfx_requests_total", &["code=\"502\""], 1.0);
    edge.assert_metric("cfx_requests_total", &["code=\"200\"", "route=\"/v1/\""], 0.0);
    edge.assert_metric("cfx_refusals_total", &["upstream_error"], 1.0);
    edge.assert_metric("cfx_upstream_attempts_total", &["outcome=\"broken\""], 1.0);
}

#[test]
fn an_error_inside_a_200_counts_as_a_failure_of_the_upstream() {
    let edge = Harness::start();
    let error = json!({"error": {"message": "fell over", "type": "server_error", "param": null, "code": "500"}});
    edge.upstream.then(Reply::events(vec![format!("data: {error}"), wire::DONE.to_string()]));
    edge.chat_stream().rest();
    let line = edge.process.wait_for_line("\"reason\":\"upstream_error\"").expect("an access line");
    assert!(line.contains("\"status\":200"), "{line}");
    let row = edge.row();
    assert_eq!((row.text("status"), row.text("error_message")), ("error", "upstream_error"));
    edge.assert_metric("cfx_requests_total", &["code=\"502\""], 1.0);
    edge.assert_metric("cfx_upstream_attempts_total", &["outcome=\"error_inside\""], 1.0);
    edge.assert_metric("cfx_upstream_attempts_total", &["outcome=\"answered\""], 0.0);
}

#[test]
fn an_error_in_the_first_event_counts_in_every_dialect_however_the_stream_ends() {
    let failed =
        json!({"type": "response.failed", "response": {"status": "failed", "error": {"code": "server_error"}}});
    let error = json!({"error": {"message": "fell over", "type": "server_error", "param": null, "code": "500"}});
    for (path, event) in [
        (CHAT, format!("data: {error}")),
        ("/v1/completions", format!("data: {error}")),
        ("/v1/responses", format!("data: {failed}")),
        ("/v1/responses", r#"data: {"type":"error","code":"500","message":"fell over","param":null}"#.to_string()),
        ("/v1/messages", format!("event: error\ndata: {{\"type\":\"error\",{}", &error.to_string()[1..])),
        ("/v1/messages", "event: error\ndata: fell over".to_string()),
    ] {
        let edge = Harness::builder().upstream("breaker: { failures: 3, open_for: 30s }").start();
        let other = edge.new_key("grace@example.org", &[]);
        let ask = |key: &str| {
            let request = Request::post(path, streaming(body_for(path)).to_string()).key(key);
            edge.client().stream(&request)
        };
        // Ended properly, cut, or left by the client, as SDKs do that raise.
        edge.upstream.then(Reply::events(vec![event.clone()])).then(Reply::cut_after(vec![event.clone()]));
        let stays_open = event.clone();
        edge.upstream.then(Reply::script(move |exchange| {
            exchange.begin_events();
            exchange.event(&stays_open);
            exchange.wait_for_close();
        }));
        for (key, leaves) in [(&edge.key, false), (&other, false), (&edge.key, true)] {
            let mut stream = ask(key);
            assert_eq!((stream.status, stream.event()), (200, event.clone()), "{path}");
            if leaves { stream.leave() } else { drop(stream.rest()) }
        }
        for row in edge.rows(3) {
            let said = (row.text("status"), row.number("http_status"), row.text("error_message"));
            assert_eq!(said, ("error", 200, "upstream_error"), "{path} {event}");
        }
        edge.assert_metric("cfx_upstream_attempts_total", &["outcome=\"error_inside\""], 3.0);
        edge.assert_metric("cfx_requests_total", &["code=\"502\""], 3.0);
        edge.assert_metric("cfx_breaker_transitions_total", &["state=\"open\""], 1.0);
    }
}

#[test]
fn a_client_that_left_is_no_refusal() {
    let edge = Harness::start();
    edge.upstream.then(Reply::never());
    let mut client = edge.client();
    client.send(&edge.request(CHAT, &chat_body()).bytes());
    edge.upstream.wait_for(1);
    drop(client);
    edge.process.wait_for_line("\"reason\":\"cancelled\"").expect("an access line");
    edge.assert_metric("cfx_requests_total", &["code=\"499\""], 1.0);
    edge.assert_metric("cfx_refusals_total", &[], 0.0);
}

#[test]
fn a_prompt_that_got_no_answer_is_still_metered() {
    for stream in [true, false] {
        let timeouts = "connect: 2s, first_byte: 200ms, between_chunks: 20s, total: 400ms";
        let edge = Harness::builder().timeouts(timeouts).start();
        edge.upstream.then(Reply::never());
        let body = if stream { streaming(chat_body()) } else { chat_body() };
        assert_eq!(edge.post(CHAT, &body).status, 504);
        let row = edge.row();
        assert!(row.flag("estimated") && row.number("input_tokens") > 0 && row.nano_usd() > 0, "{row:?}");
        assert_eq!(row.number("output_tokens"), 0);
    }
}

#[test]
fn counting_tokens_is_never_billed() {
    let path = "/v1/messages/count_tokens";
    let timeouts = "connect: 2s, first_byte: 20s, between_chunks: 20s, total: 400ms";
    let edge = Harness::builder().timeouts(timeouts).start();
    edge.upstream.then(Reply::usual()).then(Reply::never());
    assert_eq!([edge.post(path, &body_for(path)).status, edge.post(path, &body_for(path)).status], [200, 504]);
    for row in edge.rows(2) {
        assert_eq!((row.nano_usd(), row.flag("estimated")), (0, false), "{row:?}");
        assert_eq!(row.text("input_tokens"), "", "no tokens were used, whatever the answer counts: {row:?}");
    }
    edge.assert_metric("cfx_tokens_total", &[], 0.0);
}

#[test]
fn an_estimate_goes_by_the_text_that_was_sent() {
    let prompt = "word ".repeat(2_000);
    let plan = format!("  plan: {{ model: smart, system: \"{prompt}\" }}");
    let edge = Harness::builder().models_line("plan:", &plan).start();
    let image = format!("data:image/png;base64,{}", "A".repeat(100_000));
    let content =
        json!([{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": image}}]);
    let body = json!({"model": "plan", "messages": [{"role": "user", "content": content}]});
    edge.upstream.then(Reply::never());
    let mut client = edge.client();
    client.send(&edge.request(CHAT, &body).bytes());
    edge.upstream.wait_for(1);
    drop(client);
    let input = edge.row().number("input_tokens");
    assert!((2_500..3_000).contains(&input), "10,000 characters of the stage's prompt, none of the image: {input}");
}

#[test]
fn a_usage_that_came_whole_is_exact_though_the_client_left() {
    let edge = Harness::start();
    let body = asking_for_usage(chat_body());
    let events = wire::chat_events("m", &wire::WORDS, true);
    let (opener, closed) = gate();
    edge.upstream.then(Reply::gated(events.clone(), closed));
    opener.open();
    let mut stream = edge.client().stream(&edge.request(CHAT, &body));
    for _ in 2..events.len() {
        opener.open();
    }
    while !stream.event().contains("\"usage\"") {}
    stream.leave();
    edge.upstream.closed(0);
    let row = edge.row();
    assert_eq!((row.text("status"), row.tokens(), row.flag("estimated")), ("cancelled", (21, 4, 25), false));
}

#[test]
fn a_refusal_of_the_providers_without_words_is_whole() {
    let edge = Harness::start();
    let head = "HTTP/1.1 404 Not Found\r\ncontent-type: application/json\r\ncontent-length: 0\r\n\r\n";
    edge.upstream.then(Reply::raw(head));
    let mut client = edge.client();
    let answer = client.ask(&edge.request(CHAT, &chat_body()));
    assert!(answer.status == 404 && answer.complete && answer.body.is_empty(), "{answer}");
    assert_eq!(client.ask(&edge.request(CHAT, &chat_body())).status, 200, "on the same connection");
    let row = edge.rows(2).remove(0);
    assert_eq!((row.number("http_status"), row.text("error_message")), (404, "answered by the upstream"));
}
