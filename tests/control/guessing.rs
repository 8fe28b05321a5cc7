//! Guessing at passwords, whoever keeps them.

use std::pin::pin;
use std::time::Duration;

use cfx::identity::Role;
use futures_util::future::join_all;
use serde_json::json;

use crate::harness::{Harness, PASSWORD};
use crate::stores::{Place, Way};

fn login(email: &str, password: &str) -> serde_json::Value {
    json!({ "email": email, "password": password })
}

#[tokio::test]
async fn guessing_is_held_up_by_account_and_others_at_the_address_are_not() {
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
    // The account's own password is held up too, wherever it comes from; others at the same address are not.
    let own = harness.post("/api/login", &login("ADA@example.org", PASSWORD)).instead("x-real-ip", "192.0.2.99");
    own.send().await.refused(429, "too_many_attempts");
    guess("bob@example.org").await.refused(401, "invalid_credentials");
    failures + 1
}
