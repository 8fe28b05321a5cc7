//! One row for every admitted request, and every column of it true.

use serde_json::json;

use crate::harness::{CHAT, Harness, Reply, Request, body_for, chat_body, gate, streaming, wire};

#[test]
fn a_streams_row_says_all_there_is_to_say() {
    let edge = Harness::start();
    let (opener, closed) = gate();
    edge.upstream.then(Reply::gated(wire::chat_events("m", &wire::WORDS, true), closed));
    let request =
        edge.request(CHAT, &streaming(chat_body())).header("X-CFX-Stage", "review").header("X-CFX-Session-Id", "s-1");
    opener.open();
    let mut stream = edge.client().stream(&request);
    stream.event();
    let id = stream.header("x-request-id").map(str::to_string).expect("an id");
    drop(opener);
    assert!(stream.rest().1);

    let row = edge.row();
    assert_eq!(row.text("request_id"), id);
    assert_eq!((row.text("stage"), row.text("stage_source"), row.text("model")), ("review", "header", "smart"));
    assert_eq!((row.text("session_id"), row.text("status"), row.number("http_status")), ("s-1", "success", 200));
    assert_eq!(row.tokens(), (21, 4, 25));
    assert_eq!(row.nano_usd(), 21 * 1_000 + 4 * 10_000, "1 and 10 dollars per million tokens");
    assert!(row.flag("stream") && !row.flag("estimated") && row.number("attempts") == 1);
    assert!(row.number("latency_ms") >= row.number("ttft_ms"), "{row:?}");
    assert!(row.text("error_message").is_empty());
    assert!(
        !row.text("user_id").is_empty() && !row.text("api_key_id").is_empty() && !row.text("created_at").is_empty()
    );
}

#[test]
fn every_endpoint_has_a_row_of_its_stage_model_and_price() {
    for (path, stage, model, cost) in [
        (CHAT, "plan", "smart", 21 * 1_000 + 4 * 10_000),
        ("/v1/completions", "direct", "complete", 21 * 1_000 + 4 * 2_000),
        ("/v1/embeddings", "direct", "embed-small", 21 * 1_000),
        ("/v1/responses", "plan", "smart", 21 * 1_000 + 4 * 10_000),
        ("/v1/messages", "plan", "smart", 21 * 1_000 + 4 * 10_000),
    ] {
        let edge = Harness::start();
        let answer = edge.post(path, &body_for(path));
        assert_eq!(answer.status, 200, "{path}: {answer}");
        let row = edge.row();
        assert_eq!((row.text("stage"), row.text("model"), row.nano_usd()), (stage, model, cost), "{path}");
        assert_eq!((row.text("status"), row.flag("stream")), ("success", false), "{path}");
    }
}

#[test]
fn cached_tokens_are_charged_as_such() {
    let edge = Harness::start();
    let usage = json!({"prompt_tokens": 1_000, "completion_tokens": 10, "total_tokens": 1_010,
                       "prompt_tokens_details": {"cached_tokens": 400}});
    edge.upstream.then(Reply::json(200, json!({"choices": [], "usage": usage}).to_string()));
    edge.chat();
    assert_eq!(edge.row().nano_usd(), 600 * 1_000 + 400 * 500 + 10 * 10_000);
}

#[test]
fn an_answer_without_usage_is_estimated_and_marked() {
    let edge = Harness::start();
    edge.upstream.then(Reply::events(wire::chat_events("m", &wire::WORDS, false)));
    assert!(edge.chat_stream().rest().1);
    let row = edge.row();
    assert!(row.flag("estimated") && row.number("output_tokens") > 0 && row.number("input_tokens") > 0, "{row:?}");
    assert_eq!(row.text("status"), "success");
}

#[test]
fn prompts_and_answers_are_nowhere_in_the_store_or_the_log() {
    let mut edge = Harness::start();
    let secret = "the-prompt-nobody-may-read";
    let body = json!({"model": "plan", "messages": [{"role": "user", "content": secret}]});
    assert_eq!(edge.post(CHAT, &body).status, 200);
    assert_eq!(edge.post(CHAT, &streaming(body)).status, 200);
    edge.post_bytes(CHAT, format!("{{\"{secret}\": nope"));
    let words = json!({"error": {"message": "the-answer-nobody-may-read", "type": "x", "param": null, "code": "400"}});
    edge.upstream.then(Reply::json(400, words.to_string()));
    edge.chat();
    let key = edge.key.clone();
    let text = edge.stop_and_read().all_text() + &edge.process.log();
    for hidden in
        [secret, "the-answer-nobody-may-read", "scripted upstream", key.as_str(), crate::harness::UPSTREAM_KEY]
    {
        assert!(!text.contains(hidden), "{hidden:?} was written down");
    }
}

#[test]
fn of_many_refusals_in_a_minute_ten_are_rows_and_the_rest_one() {
    let mut edge = Harness::start();
    for _ in 0..40 {
        assert_eq!(edge.post_bytes(CHAT, "{nope").status, 400);
    }
    let rows = edge.stop_and_read().rows();
    // A minute may have turned in between: then there are two lots.
    assert!([11, 22].contains(&rows.len()) || (11..=22).contains(&rows.len()), "{} rows", rows.len());
    assert!(rows.iter().all(|row| row.number("http_status") == 400 && row.number("attempts") == 0));
}

#[test]
fn a_refused_streams_row_says_what_was_known_of_it() {
    let edge = Harness::builder().streams(1).start();
    let (opener, closed) = gate();
    edge.upstream.then(Reply::gated(wire::chat_events("m", &wire::WORDS, true), closed));
    let first = edge.chat_stream_opening(&opener);
    let body = streaming(chat_body());
    let refused = edge.ask(&edge.request(CHAT, &body).header("X-CFX-Stage", "review"));
    assert_eq!(refused.status, 429, "{refused}");
    let row = edge.row();
    assert_eq!((row.text("stage"), row.text("stage_source"), row.text("model")), ("review", "header", "smart"));
    assert_eq!((row.flag("stream"), row.number("body_bytes")), (true, body.to_string().len() as i64));
    assert_eq!((row.text("status"), row.number("http_status")), ("rate_limited", 429));
    drop(opener);
    assert!(first.rest().1);
}

#[test]
fn requests_without_a_valid_key_leave_no_row() {
    let mut edge = Harness::start();
    for _ in 0..5 {
        edge.ask(&Request::post(CHAT, "{}").key("cfx_live_nonsense"));
        edge.ask(&Request::post(CHAT, "{}"));
    }
    edge.assert_metric("cfx_refusals_total", &["invalid_api_key"], 5.0);
    edge.assert_metric("cfx_refusals_total", &["missing_api_key"], 5.0);
    assert!(edge.stop_and_read().rows().is_empty());
}

#[test]
fn a_stop_waits_for_the_streams_and_writes_their_rows() {
    let mut edge = Harness::start();
    let (opener, closed) = gate();
    edge.upstream.then(Reply::gated(wire::chat_events("m", &wire::WORDS, true), closed));
    let stream = edge.chat_stream_opening(&opener);
    edge.process.signal("TERM");
    drop(opener);
    assert!(stream.rest().1, "the stream goes on to its end");
    assert!(edge.process.wait_for_exit().success());
    let rows = edge.stop_and_read().rows();
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].text("status"), rows[0].tokens()), ("success", (21, 4, 25)));
}
