//! Guessing at passwords, whoever keeps them.

use std::pin::pin;
use std::time::Duration;

use cfx::identity::{Purpose, Role};
use futures_util::future::join_all;
use serde_json::json;

use crate::harness::{Harness, PASSWORD};
use crate::stores::{Place, Way};

fn login(email: &str, password: &str) -> serde_json::Value {
    json!({ "email": email, "password": password })
}

#[tokio::test]
async fn guessing_is_held_up_by_account_and_nobody_else_is() {
    guess_until_held_up(&Harness::start().await).await;
}

#[tokio::test]
async fn a_flood_of_guesses_keeps_nobody_out_who_comes_from_elsewhere() {
    let harness = Harness::start().await;
    harness.account("ada@example.org", Role::Member, Some(PASSWORD)).await;
    let guesses = (0..200).map(|n| {
        let from = format!("198.51.100.{}", n % 20);
        let guess = login(&format!("user{n}@example.org"), "a wrong password");
        harness.post("/api/login", &guess).instead("x-real-ip", &from).send()
    });
    let (mut flood, mut signed_in) = (pin!(join_all(guesses)), 0);
    let answers = loop {
        let hers = harness.post("/api/login", &login("ada@example.org", PASSWORD));
        tokio::select! {
            biased;
            answers = &mut flood => break answers,
            hers = hers.instead("x-real-ip", "203.0.113.9").send() => {
                hers.session(200);
                signed_in += 1;
            }
        }
    };
    assert!(signed_in > 0, "she came while they guessed");
    for answer in answers {
        let code = if answer.status == 401 { (401, "invalid_credentials") } else { (503, "overloaded") };
        answer.refused(code.0, code.1);
    }
}

/// The same: the password is shown to Supabase behind the throttle, and not before it.
#[tokio::test]
async fn guessing_at_passwords_of_supabase_is_held_up_alike() {
    let harness = Harness::of(Way::Secret, Place::Memory).await;
    let tried = guess_until_held_up(&harness).await;
    assert_eq!(harness.gotrue().asked().tokens, tried, "what is held up never reaches Supabase");
}

/// A password that is set by a link, as often as one likes: no more than one at a time is hashed for it.
#[tokio::test]
async fn who_has_a_link_keeps_no_passwords_from_being_tried() {
    let harness = Harness::start().await;
    let mallory = harness.account("mallory@example.org", Role::Member, None).await;
    let link = harness.link(Purpose::SignIn(mallory.id)).await;
    let change = json!({ "link": link, "new": "a password of mine" });
    let sets = (0..100).map(|n| {
        let from = format!("198.51.100.{}", n % 20);
        harness.post("/api/login/link/password", &change).instead("x-real-ip", &from).send()
    });
    let answers = join_all(sets).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1, "it works once");
    for answer in answers.iter().filter(|answer| ![200, 401].contains(&answer.status)) {
        let message = answer.refused(503, "overloaded")["error"]["message"].to_string();
        assert!(message.contains("link"), "nobody waits in line for a hash that comes to nothing: {message}");
    }
}

/// How many attempts were let through.
async fn guess_until_held_up(harness: &Harness) -> u32 {
    harness.account("ada@example.org", Role::Member, Some(PASSWORD)).await;
    let guess = |email: &str| {
        let asking = harness.post("/api/login", &login(email, "a wrong password"));
        async move { asking.send().await }
    };
    let (mut failures, mut wait) = (0, 0);
    // Until the wait is longer than the rest of this test takes.
    while wait < 4 {
        let answer = guess("ada@example.org").await;
        if answer.status == 401 {
            failures += 1;
            continue;
        }
        answer.refused(429, "too_many_attempts");
        wait = answer.header("retry-after").parse().unwrap();
        assert!(wait >= 1 && failures >= 5, "five are free: {failures}");
        if wait < 4 {
            tokio::time::sleep(Duration::from_secs(wait)).await;
        }
    }
    // The account's own password is held up too, where the guesses come from; elsewhere, and others there, are not.
    let own = || harness.post("/api/login", &login("ADA@example.org", PASSWORD));
    own().send().await.refused(429, "too_many_attempts");
    guess("bob@example.org").await.refused(401, "invalid_credentials");
    own().instead("x-real-ip", "192.0.2.99").send().await.session(200);
    failures + 2
}
