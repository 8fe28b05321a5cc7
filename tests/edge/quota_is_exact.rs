//! A quota is a promise in both directions: not one request more, not one less, whoever asks how.

use std::sync::Arc;

use rusqlite::Connection;

use crate::harness::{CHAT, Harness, body_for, chat_body};

#[test]
fn fifty_clients_at_once_get_exactly_a_thousand_requests() {
    let mut edge = Harness::builder().quota(1_000).start();
    let request = Arc::new(edge.request(CHAT, &chat_body()));
    let http = edge.http;
    let asking: Vec<_> = (0..50)
        .map(|_| {
            let request = request.clone();
            std::thread::spawn(move || {
                let mut client = crate::harness::Client::plain(http);
                (0..24).map(|_| client.ask(&request)).collect::<Vec<_>>()
            })
        })
        .collect();
    let answers: Vec<_> = asking.into_iter().flat_map(|thread| thread.join().expect("a client")).collect();

    let count = |status: u16| answers.iter().filter(|answer| answer.status == status).count();
    assert_eq!((count(200), count(429)), (1_000, 200));
    for answer in &answers {
        let remaining: u32 =
            answer.header("x-ratelimit-remaining").and_then(|left| left.parse().ok()).expect("never negative");
        assert!(remaining < 1_000, "the first request is counted too: {remaining}");
        assert_eq!(answer.header("x-ratelimit-limit"), Some("1000"));
        if answer.status == 429 {
            assert_eq!((answer.code().as_str(), remaining), ("daily_quota_exceeded", 0));
        }
    }
    assert_eq!(edge.upstream.count(), 1_000, "the refused ones never reached the upstream");
    assert_eq!(edge.stop_and_read().counted_requests(), 1_000);
}

#[test]
fn the_last_refusal_says_when_to_come_back() {
    let edge = Harness::builder().quota(1).start();
    assert_eq!(edge.chat().header("x-ratelimit-remaining"), Some("0"));
    let refused = edge.chat();
    assert_eq!(refused.status, 429);
    assert_eq!(refused.header("x-should-retry"), Some("false"), "SDKs would sleep until midnight otherwise");
    let seconds: u64 = refused.header("retry-after").and_then(|wait| wait.parse().ok()).expect("an integer");
    assert!((1..=86_400).contains(&seconds), "{seconds}");
    assert!(
        refused.message().ends_with(&format!("try again in {seconds}s")),
        "Codex reads this: {}",
        refused.message()
    );
    let reset = refused.header("x-ratelimit-reset").expect("a reset");
    assert!(reset.ends_with("T00:00:00Z"), "the next midnight in UTC: {reset}");
}

#[test]
fn a_restart_forgets_nothing() {
    let mut edge = Harness::builder().quota(5).start();
    let served = |edge: &Harness, asked: usize| (0..asked).filter(|_| edge.chat().status == 200).count();
    assert_eq!(served(&edge, 3), 3);
    edge.restart();
    assert_eq!(served(&edge, 4), 2, "three of five were used before");
}

#[test]
fn each_user_has_a_quota_of_their_own() {
    let edge = Harness::builder().quota(1).limit("users: { grace@example.org: { daily_requests: 2 } }").start();
    let second = edge.new_key("grace@example.org", &[]);
    let third = edge.new_key("grace@example.org", &[]);
    let status = |key: &str| edge.ask(&crate::harness::Request::post(CHAT, chat_body().to_string()).key(key)).status;
    assert_eq!([status(&edge.key), status(&edge.key)], [200, 429]);
    assert_eq!([status(&second), status(&third), status(&second)], [200, 200, 429], "two keys, one user, one counter");
}

#[test]
fn a_limit_on_the_account_wins_over_the_configured_one() {
    let edge = Harness::builder().quota(5).start();
    let store = Connection::open(edge.data().join("cfx.db")).expect("the store opens");
    store.busy_timeout(crate::harness::client::PATIENCE).expect("a busy timeout");
    assert_eq!(store.execute("update accounts set daily_requests = 1", ()).ok(), Some(1));
    let first = edge.chat();
    assert_eq!((first.status, first.header("x-ratelimit-limit")), (200, Some("1")));
    assert_eq!(edge.chat().code(), "daily_quota_exceeded");
}

#[test]
fn what_never_reached_the_upstream_is_given_back() {
    let mut edge = Harness::builder().quota(3).upstream_target("http://127.0.0.1:9").start();
    for _ in 0..5 {
        assert_eq!(edge.chat().code(), "upstream_unavailable", "never a quota refusal: nothing was used");
    }
    assert_eq!(edge.stop_and_read().counted_requests(), 0);
}

#[test]
fn counting_tokens_and_listing_models_are_free() {
    let mut edge = Harness::builder().quota(1).start();
    for _ in 0..3 {
        let count = "/v1/messages/count_tokens";
        assert_eq!(edge.post(count, &body_for(count)).status, 200);
        assert_eq!(edge.ask(&crate::harness::Request::get("/v1/models").key(&edge.key)).status, 200);
    }
    assert_eq!([edge.chat().status, edge.chat().status], [200, 429]);
    let count = "/v1/messages/count_tokens";
    assert_eq!(edge.post(count, &body_for(count)).status, 200, "free even when the day is used up");
    assert_eq!(edge.stop_and_read().counted_requests(), 1);
}

#[test]
fn an_outage_of_the_store_is_counted_through_or_refused_as_configured() {
    for (line, status) in [("on_store_outage: local", 200), ("on_store_outage: refuse", 503)] {
        let edge = Harness::builder().limit(line).start();
        let busy = Connection::open(edge.data().join("cfx.db")).expect("the store opens");
        busy.execute_batch("begin immediate").expect("the only place for a writer");
        let answer = edge.chat();
        assert_eq!(answer.status, status, "{line}: {answer}");
        if status == 503 {
            assert_eq!(answer.code(), "store_unavailable", "{answer}");
        }
        drop(busy);
    }
}
