use std::collections::VecDeque;

use async_trait::async_trait;

use super::super::auth::AuthAnswer;
use super::*;
use crate::clock::ManualClock;

/// Answers what it is told to, in turn, and then nothing.
struct Script {
    answers: Mutex<VecDeque<&'static str>>,
    asked: Mutex<u32>,
    clock: ManualClock,
}

#[async_trait]
impl SupabaseAuth for Script {
    async fn keys(&self, project: &str) -> Result<Vec<u8>, String> {
        assert_eq!(project, URL);
        *self.asked.lock().unwrap() += 1;
        tokio::task::yield_now().await;
        self.answers.lock().unwrap().pop_front().map(|text| text.as_bytes().to_vec()).ok_or("away".to_owned())
    }

    async fn password(&self, _: &str, _: &str, _: Vec<u8>) -> Result<AuthAnswer, String> {
        panic!("keys are all that is asked for");
    }
}

impl Script {
    fn of(answers: &[&'static str]) -> Self {
        let answers = Mutex::new(answers.iter().copied().collect());
        Self { answers, asked: Mutex::default(), clock: ManualClock::at(Timestamp(0)) }
    }

    fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    fn asked(&self) -> u32 {
        *self.asked.lock().unwrap()
    }
}

const URL: &str = "https://abc.supabase.co";
const FIRST: &str = r#"{"keys":[
    {"kid":"one","kty":"EC","crv":"P-256","alg":"ES256","use":"sig","x":"AA","y":"AA"},
    {"kid":"secret","kty":"oct","alg":"HS256","k":"AA"},
    {"kid":"other","kty":"EC","crv":"P-384","x":"AA","y":"AA"},
    {"kid":"wrap","kty":"RSA","use":"enc","n":"AA","e":"AQAB"},
    {"kid":"mixed","kty":"RSA","alg":"HS256","n":"AA","e":"AQAB"},
    {"kid":"odd","kty":"new"}]}"#;
const ROTATED: &str = r#"{"keys":[{"kid":"two","kty":"RSA","n":"AA","e":"AQAB"}]}"#;

async fn outcome(jwks: &Jwks, source: &Script, kid: &str) -> Result<Algorithm, &'static str> {
    match jwks.key(&Source { auth: source, clock: &source.clock, url: URL }, kid).await {
        Ok(key) => Ok(key.algorithm),
        Err(KeyProblem::Unknown) => Err("unknown"),
        Err(KeyProblem::Away { .. }) => Err("away"),
    }
}

#[tokio::test]
async fn keys_are_kept_and_a_new_one_is_asked_for_at_most_every_30_seconds() {
    let (jwks, source) = (Jwks::default(), Script::of(&[FIRST, FIRST, ROTATED]));
    assert_eq!(outcome(&jwks, &source, "one").await, Ok(Algorithm::ES256));
    assert_eq!(outcome(&jwks, &source, "one").await, Ok(Algorithm::ES256));
    assert_eq!(source.asked(), 1);
    for _ in 0..5 {
        assert_eq!(outcome(&jwks, &source, "two").await, Err("unknown"));
    }
    assert_eq!(source.asked(), 1, "it was just asked");
    source.advance(Duration::from_secs(30));
    assert_eq!(outcome(&jwks, &source, "two").await, Err("unknown"));
    source.advance(Duration::from_secs(30));
    assert_eq!(outcome(&jwks, &source, "two").await, Ok(Algorithm::RS256));
    assert_eq!(outcome(&jwks, &source, "one").await, Err("unknown"), "it was taken back");
    assert_eq!(source.asked(), 3);
}

#[tokio::test]
async fn keys_outlive_an_outage_by_an_hour() {
    let (jwks, source) = (Jwks::default(), Script::of(&[FIRST]));
    assert_eq!(outcome(&jwks, &source, "one").await, Ok(Algorithm::ES256));
    source.advance(FRESH + STALE - Duration::from_secs(1));
    assert_eq!(outcome(&jwks, &source, "one").await, Ok(Algorithm::ES256));
    assert_eq!(source.asked(), 2, "it was asked and did not answer");
    source.advance(Duration::from_secs(1));
    assert_eq!(outcome(&jwks, &source, "one").await, Err("away"));
}

#[tokio::test]
async fn what_is_no_jwks_is_as_good_as_none() {
    let (jwks, source) = (Jwks::default(), Script::of(&["<html>", "{\"keys\":7}", "{\"keys\":[]}"]));
    assert_eq!(outcome(&jwks, &source, "one").await, Err("away"));
    source.advance(PAUSE);
    assert_eq!(outcome(&jwks, &source, "one").await, Err("away"));
    source.advance(PAUSE);
    assert_eq!(outcome(&jwks, &source, "one").await, Err("unknown"));
}

#[tokio::test]
async fn only_keys_for_signing_by_an_algorithm_of_ours_are_taken() {
    let (jwks, source) = (Jwks::default(), Script::of(&[FIRST]));
    for kid in ["secret", "other", "wrap", "mixed", "odd"] {
        assert_eq!(outcome(&jwks, &source, kid).await, Err("unknown"), "{kid}");
    }
}

#[tokio::test]
async fn of_many_who_need_a_key_one_asks() {
    let (jwks, source) = (Arc::new(Jwks::default()), Arc::new(Script::of(&[FIRST, FIRST])));
    let many: Vec<_> = (0..20)
        .map(|_| {
            let (jwks, source) = (Arc::clone(&jwks), Arc::clone(&source));
            tokio::spawn(async move { outcome(&jwks, &source, "one").await })
        })
        .collect();
    for one in many {
        assert_eq!(one.await.unwrap(), Ok(Algorithm::ES256));
    }
    assert_eq!(source.asked(), 1);
}

#[tokio::test]
async fn a_clock_that_is_set_back_keeps_nothing_alive() {
    let jwks = Jwks::default();
    let late = Script::of(&[FIRST]);
    late.advance(Duration::from_secs(86_400));
    assert_eq!(outcome(&jwks, &late, "one").await, Ok(Algorithm::ES256));
    let early = Script::of(&[ROTATED]);
    assert_eq!(outcome(&jwks, &early, "one").await, Err("unknown"));
    assert_eq!(outcome(&jwks, &early, "two").await, Ok(Algorithm::RS256));
    assert_eq!(early.asked(), 1);
}
