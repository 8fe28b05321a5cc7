//! Which keys open the door, in which headers, and what those that do not are told.

use crate::harness::{Answer, CHAT, Harness, Request, chat_body, rows};

#[test]
fn keys_that_are_no_keys_get_one_answer() {
    let edge = Harness::start();
    let mut wrong_checksum = edge.key.clone();
    let last = if wrong_checksum.pop() == Some('0') { '1' } else { '0' };
    wrong_checksum.push(last);
    let revoked = edge.new_key("grace@example.org", &[]);
    assert_eq!(ask_with(&edge, &revoked).status, 200);
    edge.revoke(&revoked);
    eventually(|| ask_with(&edge, &revoked).status == 401, "a revocation is effective");

    let mut answers = Vec::new();
    for key in [wrong_checksum.as_str(), revoked.as_str(), "sk-garbage", "cfx_live_", "é"] {
        let answer = ask_with(&edge, key);
        assert_eq!((answer.status, answer.code().as_str()), (401, "invalid_api_key"), "{key}: {answer}");
        assert!(!answer.text().contains(key), "the key is not repeated");
        answers.push(answer.message());
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "unknown, malformed and revoked read the same: {answers:?}");

    let none = edge.ask(&Request::post(CHAT, chat_body().to_string()));
    assert_eq!((none.status, none.code().as_str()), (401, "missing_api_key"));
    edge.assert_healthy();
}

#[test]
fn an_expired_key_is_told_so() {
    let edge = Harness::start();
    let key = edge.new_key("grace@example.org", &["--expires", "1m"]);
    // A minute cannot be waited for: the store is told that it has passed.
    rows::expire_key(&edge.data(), &key);
    let answer = ask_with(&edge, &key);
    assert_eq!((answer.status, answer.code().as_str()), (403, "expired_api_key"), "{answer}");
    assert_eq!(answer.header("x-should-retry"), Some("false"));
}

#[test]
fn a_key_may_be_kept_to_some_stages_and_models() {
    let edge = Harness::start();
    let key = edge.new_key("grace@example.org", &["--stages", "plan"]);
    assert_eq!(ask_with(&edge, &key).status, 200);
    let refused = edge.ask(&Request::post(CHAT, chat_body().to_string()).key(&key).header("X-CFX-Stage", "code"));
    assert_eq!((refused.status, refused.code().as_str()), (403, "not_permitted"), "{refused}");
    assert!(refused.message().contains("code"), "{}", refused.message());
}

#[test]
fn one_key_may_come_in_any_of_three_headers_but_not_two_keys() {
    let edge = Harness::start();
    let other = edge.new_key(crate::harness::USER, &[]);
    let key = edge.key.as_str();
    let ask = |headers: &[(&str, String)]| {
        let bare = Request::post(CHAT, chat_body().to_string());
        edge.ask(&headers.iter().fold(bare, |request, (name, value)| request.header(name, value)))
    };
    let bearer = |word: &str, key: &str| ("Authorization", format!("{word} {key}"));
    for fine in [
        vec![bearer("Bearer", key)],
        vec![bearer("bearer", key)],
        vec![bearer("BEARER", key)],
        vec![("x-api-key", key.to_string())],
        vec![("api-key", key.to_string())],
        vec![bearer("Bearer", key), ("x-api-key", key.to_string()), ("api-key", key.to_string())],
        vec![bearer("Bearer", key), bearer("Bearer", key)],
    ] {
        let answer = ask(&fine);
        assert_eq!(answer.status, 200, "{fine:?}: {answer}");
    }
    for differing in [
        vec![bearer("Bearer", key), bearer("Bearer", &other)],
        vec![bearer("Bearer", key), ("x-api-key", other.clone())],
        vec![("x-api-key", key.to_string()), ("api-key", other.clone())],
    ] {
        let answer = ask(&differing);
        assert_eq!((answer.status, answer.code().as_str()), (400, "conflicting_keys"), "{answer}");
    }
}

#[test]
fn a_key_may_have_a_quota_of_its_own_that_a_rotation_does_not_renew() {
    let edge = Harness::builder().quota(100).start();
    let key = edge.new_key(crate::harness::USER, &["--daily", "2"]);
    let first = ask_with(&edge, &key);
    assert_eq!(
        (first.status, first.header("x-ratelimit-limit"), first.header("x-ratelimit-remaining")),
        (200, Some("2"), Some("1"))
    );

    let new = rotate(&edge, &key, &["--overlap", "1h"]);
    assert_eq!(ask_with(&edge, &new).status, 200);
    for used_up in [&key, &new] {
        let refused = ask_with(&edge, used_up);
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (429, "daily_quota_exceeded"),
            "one count for both: {refused}"
        );
    }
    assert_eq!(edge.chat().status, 200, "the user's other keys go on");
}

#[test]
fn a_flood_of_invented_keys_is_braked_and_the_honest_beside_it_go_on() {
    let edge = Harness::start();
    edge.assert_healthy();
    let mut client = edge.client();
    let mut codes = std::collections::BTreeMap::<_, u32>::new();
    for _ in 0..500 {
        let invented = cfx::admission::RawKey::mint().expect("randomness");
        let answer = client.ask(&Request::get("/v1/models").key(invented.expose()));
        if answer.status == 429 {
            let seconds: u64 = answer.header("retry-after").and_then(|wait| wait.parse().ok()).expect("an integer");
            assert!((1..=60).contains(&seconds) && answer.message().ends_with(&format!("try again in {seconds}s")));
        }
        *codes.entry(answer.code()).or_default() += 1;
    }
    // The minute may turn once while this runs.
    let invalid = codes["invalid_api_key"];
    assert!(invalid == 30 || invalid == 60, "{codes:?}");
    assert_eq!(codes["too_many_failed_keys"], 500 - invalid);
    for _ in 0..20 {
        edge.assert_healthy();
    }
}

fn rotate(edge: &Harness, key: &str, arguments: &[&str]) -> String {
    let id = &key["cfx_live_".len()..][..12];
    let mut command = crate::harness::cfx();
    command.args(["key", "rotate", id, "--json", "--data"]).arg(edge.data()).args(arguments);
    let output = command.output().expect("cfx starts");
    let made: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    made["key"].as_str().unwrap_or_else(|| panic!("no new key: {output:?}")).to_string()
}

fn ask_with(edge: &Harness, key: &str) -> Answer {
    edge.ask(&Request::post(CHAT, chat_body().to_string()).key(key))
}

/// Waits for what follows an outside event by moments: a revocation, an expiry.
fn eventually(mut condition: impl FnMut() -> bool, what: &str) {
    let deadline = std::time::Instant::now() + crate::harness::client::PATIENCE;
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}
