//! Upstreams that fail are left alone, tried again in time, and stepped around where there is another way; no outage is
//! multiplied, and no client's own failures are held against the rest.

use std::collections::BTreeSet;

use serde_json::json;

use crate::harness::{
    Answer, CHAT, Harness, Reply, Request, Scripted, Switch, USER, chat_body, gate, several, streaming, wire,
};

const STATE: &str = "cfx_breaker_state";
const NOBODY: &str = "http://127.0.0.1:9";
const BOB: &str = "bob@example.org";
/// What a model that fell over says behind its head.
const INSIDE: &str = r#"data: {"error":{"message":"fell over","type":"server_error","param":null,"code":"500"}}"#;

fn chat_as(edge: &Harness, key: &str, model: &str) -> Answer {
    let mut body = chat_body();
    body["model"] = json!(model);
    edge.ask(&Request::post(CHAT, body.to_string()).key(key))
}

#[test]
fn a_dead_target_is_left_alone_within_five_requests() {
    let edge = Harness::builder().upstream_target(NOBODY).quota(100).start();
    let target = format!("target=\"{NOBODY}\"");
    for n in 1..=5 {
        assert_eq!(edge.chat().code(), "upstream_unavailable", "request {n}");
    }
    edge.assert_metric(STATE, &[&target], 2.0);
    edge.assert_metric("cfx_breaker_transitions_total", &[&target, "open"], 1.0);
    let refused = edge.chat();
    assert_eq!((refused.status, refused.code().as_str()), (503, "upstream_unavailable"), "{refused}");
    let wait: u64 = refused.header("retry-after").unwrap_or_default().parse().unwrap_or_default();
    assert!((1..=30).contains(&wait), "{refused}");
    assert!(!refused.text().contains("127.0.0.1"), "{refused}");
    edge.assert_metric("cfx_upstream_attempts_total", &["outcome=\"connect\""], 5.0);
    let rows = edge.rows(6);
    assert_eq!(rows.iter().map(|row| row.number("attempts")).collect::<Vec<_>>(), [1, 1, 1, 1, 1, 0]);
    let said = edge.readiness();
    assert_eq!(said.status, 200, "an edge whose upstream is down is no worse than any other: {said}");
    assert!(said.text().contains(&format!("upstream litellm: the breaker of {NOBODY} is open")), "{said}");
}

#[test]
fn what_nobody_was_asked_for_costs_no_quota() {
    let edge = Harness::builder().upstream_target(NOBODY).quota(10).start();
    // Three times the day's requests: not one of them was used.
    for _ in 0..30 {
        let answer = edge.chat();
        assert_eq!((answer.status, answer.code().as_str()), (503, "upstream_unavailable"), "{answer}");
    }
}

#[test]
fn a_target_that_is_back_is_found_by_one_request_and_then_used_by_all() {
    let (_upstream, switch, target) = Switch::before_scripted();
    let edge =
        Harness::builder().upstream_target(&target).upstream("breaker: { failures: 2, open_for: 300ms }").start();
    let state = |wanted| edge.assert_metric(STATE, &[&format!("target=\"{target}\"")], wanted);
    edge.assert_healthy();
    state(0.0);
    switch.kill();
    for _ in 0..2 {
        assert_eq!(edge.chat().status, 503);
    }
    // Half-open by the time it is looked at, and open again by a probe that finds nobody.
    state(1.0);
    assert_eq!(edge.chat().status, 503);
    state(2.0);
    switch.revive();
    state(1.0);
    edge.assert_healthy();
    state(0.0);
    edge.assert_metric("cfx_breaker_transitions_total", &["target=\"http", "\"half_open\""], 2.0);
    edge.assert_metric("cfx_breaker_transitions_total", &["target=\"http", "\"open\""], 2.0);
    edge.assert_metric("cfx_breaker_transitions_total", &["target=\"http", "\"closed\""], 1.0);
    assert_eq!(edge.readiness().text(), "ready\n");
}

#[test]
fn a_dead_target_opens_its_own_breaker_and_costs_no_client_an_answer() {
    let alive = Scripted::start();
    let edge = Harness::builder().upstream_target(&format!("{NOBODY}\", \"http://{}", alive.address)).start();
    for n in 1..=20 {
        assert_eq!(edge.chat().status, 200, "request {n}");
    }
    assert_eq!(alive.count(), 20);
    edge.assert_metric(STATE, &[&format!("target=\"{NOBODY}\"")], 2.0);
    edge.assert_metric(STATE, &[&alive.address.to_string()], 0.0);
    edge.assert_metric(STATE, &["target=\"\""], 0.0);
    // Five were sent there, and no more.
    edge.assert_metric("cfx_upstream_attempts_total", &["outcome=\"connect\""], 5.0);
    let attempts: i64 = edge.rows(20).iter().map(|row| row.number("attempts")).sum();
    assert_eq!(attempts, 25);
}

#[test]
fn one_clients_poison_leaves_everybody_elses_way_open() {
    for (name, stream) in [("5xx", false), ("an error inside a 200", true)] {
        let edge = Harness::start();
        let bob = edge.new_key(BOB, &[]);
        // Another key of the same user makes no other client.
        let second = edge.new_key(USER, &[]);
        edge.upstream.always(move |request| {
            let poisoned = request.json().to_string().contains("poison");
            poisoned.then(|| if stream { Reply::events(vec![INSIDE.to_string()]) } else { Reply::json(500, "{}") })
        });
        let mut poison = if stream { streaming(chat_body()) } else { chat_body() };
        poison["messages"][0]["content"] = json!("poison");
        for n in 0..30 {
            let key = if n % 2 == 0 { &edge.key } else { &second };
            let answer = edge.ask(&Request::post(CHAT, poison.to_string()).key(key));
            assert_eq!(answer.status, if stream { 200 } else { 502 }, "{name}, request {n}: {answer}");
        }
        assert_eq!(edge.upstream.count(), 30, "{name}: each was asked");
        assert_eq!(chat_as(&edge, &bob, "plan").status, 200, "{name}");
        edge.assert_healthy();
        edge.assert_metric(STATE, &[], 0.0);
        edge.assert_metric("cfx_breaker_transitions_total", &[], 0.0);
    }
}

type Failing = fn() -> Reply;

#[test]
fn a_prompt_that_is_too_much_for_a_target_leaves_it_to_everybody_else() {
    let timeouts = "connect: 2s, first_byte: 60ms, between_chunks: 20s, total: 60s";
    for (name, failing) in [("a reset", Reply::hang_up as Failing), ("silence", Reply::never)] {
        let edge = Harness::builder().timeouts(timeouts).start();
        let bob = edge.new_key(BOB, &[]);
        edge.upstream.always(move |request| request.json().to_string().contains("poison").then(failing));
        let mut poison = streaming(chat_body());
        poison["messages"][0]["content"] = json!("poison");
        let poisoned = |key: &str| edge.ask(&Request::post(CHAT, poison.to_string()).key(key));
        for n in 0..12 {
            let answer = poisoned(&edge.key);
            assert!(matches!(answer.code().as_str(), "upstream_error" | "upstream_timeout"), "{name} {n}: {answer}");
        }
        edge.assert_metric("cfx_breaker_failures_total", &["target=\"http"], 12.0);
        assert_eq!(chat_as(&edge, &bob, "plan").status, 200, "{name}");
        edge.assert_metric("cfx_breaker_transitions_total", &[], 0.0);
        for key in [&edge.key, &bob, &edge.key, &bob, &edge.key] {
            poisoned(key);
        }
        edge.assert_metric(STATE, &["target=\"http"], 2.0);
    }
}

#[test]
fn nobody_waits_for_the_answer_of_the_one_that_found_a_target_back() {
    let (upstream, switch, target) = Switch::before_scripted();
    let edge =
        Harness::builder().upstream_target(&target).upstream("breaker: { failures: 2, open_for: 300ms }").start();
    let state = |wanted| edge.assert_metric(STATE, &[&format!("target=\"{target}\"")], wanted);
    switch.kill();
    (0..2).for_each(|_| assert_eq!(edge.chat().status, 503));
    switch.revive();
    state(1.0);
    let (opener, closed) = gate();
    upstream.then(Reply::after(closed));
    std::thread::scope(|scope| {
        let probe = scope.spawn(|| edge.chat());
        upstream.wait_for(1);
        state(0.0);
        edge.assert_healthy();
        drop(opener);
        assert_eq!(probe.join().expect("an answer").status, 200);
    });
}

#[test]
fn a_model_is_open_to_all_once_its_probe_has_said_something_and_not_before() {
    let edge = Harness::builder().upstream("breaker: { failures: 2, open_for: 300ms }").start();
    let bob = edge.new_key(BOB, &[]);
    let model = ["model=\"upstream-smart\""];
    for key in [&edge.key, &bob] {
        edge.upstream.then(Reply::json(500, "{}"));
        assert_eq!(chat_as(&edge, key, "plan").code(), "upstream_error");
    }
    edge.assert_metric(STATE, &model, 1.0);
    let (opener, closed) = gate();
    let mut events = wire::chat_events("m", &wire::WORDS, true);
    events.splice(0..0, [": still there", ": still there"].map(String::from));
    edge.upstream.then(Reply::gated(events, closed));
    let mut stream = edge.chat_stream_opening(&opener);
    opener.open();
    // With the second comment here, what the first one says has been weighed.
    assert_eq!(stream.event(), ": still there");
    assert_eq!(edge.metric(STATE, &model), 1.0, "somebody is there, which is all that a comment says");
    opener.open();
    stream.event();
    edge.assert_metric(STATE, &model, 0.0);
    assert_eq!(chat_as(&edge, &bob, "plan").status, 200);
    drop(opener);
    assert!(stream.rest().1);
}

#[test]
fn a_model_that_fails_for_several_is_left_alone_and_no_other_is() {
    for (name, stream) in [("5xx", false), ("an error inside a 200", true)] {
        let edge = Harness::start();
        let bob = edge.new_key(BOB, &[]);
        edge.upstream.always(move |request| {
            let smart = request.json()["model"] == "upstream-smart";
            let failing = move || if stream { Reply::events(vec![INSIDE.to_string()]) } else { Reply::json(500, "{}") };
            smart.then(failing)
        });
        let body = if stream { streaming(chat_body()) } else { chat_body() };
        for key in [&edge.key, &bob, &edge.key, &bob, &edge.key] {
            edge.ask(&Request::post(CHAT, body.to_string()).key(key));
        }
        edge.assert_metric(STATE, &["model=\"upstream-smart\""], 2.0);
        let asked = edge.upstream.count();
        let refused = edge.chat();
        assert_eq!((refused.status, refused.code().as_str()), (503, "upstream_unavailable"), "{name}: {refused}");
        assert_eq!(edge.upstream.count(), asked, "{name}: it is not even asked");
        assert_eq!(chat_as(&edge, &bob, "code").status, 200, "{name}: another model of the same upstream");
        assert!(edge.readiness().text().contains("the breaker of model upstream-smart is open"), "{name}");
    }
}

#[test]
fn a_good_answer_makes_up_for_the_failures_before_it() {
    let edge = Harness::start();
    let bob = edge.new_key(BOB, &[]);
    for round in 1..=2 {
        for _ in 0..4 {
            edge.upstream.then(Reply::json(500, "{}"));
        }
        for key in [&edge.key, &bob, &edge.key, &bob] {
            assert_eq!(chat_as(&edge, key, "plan").code(), "upstream_error", "round {round}");
        }
        // As one piece and as a stream: each is a success once it is whole.
        let body = if round == 1 { chat_body() } else { streaming(chat_body()) };
        assert_eq!(edge.post(CHAT, &body).status, 200, "round {round}");
    }
    assert_eq!(edge.upstream.then(Reply::json(500, "{}")).count(), 10);
    assert_eq!(edge.chat().code(), "upstream_error");
    edge.assert_metric(STATE, &["model=\"upstream-smart\""], 0.0);
}

#[test]
fn a_stages_fallback_is_asked_at_once_while_its_model_is_left_alone() {
    let edge =
        Harness::builder().models_line("plan:", "  plan: { model: smart, fallback: quick, system: \"PLAN\" }").start();
    let bob = edge.new_key(BOB, &[]);
    edge.upstream.always(|request| (request.json()["model"] == "upstream-smart").then(|| Reply::json(500, "{}")));
    for key in [&edge.key, &bob, &edge.key, &bob, &edge.key] {
        assert_eq!(chat_as(&edge, key, "plan").code(), "upstream_error");
    }
    let answer = edge.chat();
    assert_eq!((answer.status, answer.header("x-cfx-model-used")), (200, Some("quick")), "{answer}");
    let row = edge.rows(6).remove(5);
    assert_eq!((row.text("model"), row.number("attempts")), ("quick", 1));
}

#[test]
fn what_clients_do_wrong_and_their_leaving_open_nothing() {
    let edge = Harness::start();
    let bob = edge.new_key(BOB, &[]);
    for status in [400, 404, 422, 429] {
        edge.upstream.always(move |_| Some(Reply::json(status, r#"{"error":{"message":"no","type":"x"}}"#)));
        for n in 0..10 {
            assert_eq!(chat_as(&edge, if n % 2 == 0 { &edge.key } else { &bob }, "plan").status, status);
        }
    }
    edge.upstream.always(|_| Some(Reply::never()));
    for n in 0..10 {
        let asked = edge.upstream.count();
        let key = if n % 2 == 0 { &edge.key } else { &bob };
        let mut leaving = edge.client();
        leaving.send(&Request::post(CHAT, chat_body().to_string()).key(key).bytes());
        edge.upstream.wait_for(asked + 1);
        drop(leaving);
    }
    edge.rows(50);
    edge.upstream.always(|_| None);
    edge.assert_metric(STATE, &[], 0.0);
    edge.assert_healthy();
}

#[test]
fn an_outage_is_not_doubled_by_second_attempts() {
    let upstreams = [Scripted::start(), Scripted::start()];
    let edge = Harness::builder().upstream_target(&several(&upstreams.each_ref().map(|one| one.address))).start();
    upstreams.iter().for_each(|one| one.always(|_| Some(Reply::json(503, "{}"))));
    const REQUESTS: usize = 50;
    for _ in 0..REQUESTS {
        assert_eq!(edge.chat().code(), "upstream_error");
    }
    let asked: usize = upstreams.iter().map(Scripted::count).sum();
    assert!((REQUESTS + 10..=REQUESTS + 20).contains(&asked), "{asked} for {REQUESTS} requests");
    edge.assert_metric("cfx_upstream_retries_refused_total", &[], (2 * REQUESTS - asked) as f64);
    let attempts: BTreeSet<_> = edge.rows(REQUESTS).iter().map(|row| row.number("attempts")).collect();
    assert_eq!(attempts, BTreeSet::from([1, 2]));
}
