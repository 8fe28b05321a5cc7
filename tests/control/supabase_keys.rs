//! A project's published keys, over real sockets: rotated, made up by the thousand, away.
//!
//! Time is the tests' own clock, which moves when it is told to.

use std::time::Duration;

use cfx::clock::ManualClock;
use cfx::control::HttpsSupabase;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;

use crate::gotrue::{Gotrue, Manner, Signer};
use crate::harness::{Harness, PASSWORD, noon, project};
use crate::stores::{Place, Way};

const ADA: &str = "ada@example.org";
const MINUTE: Duration = Duration::from_secs(60);
/// As docs/control-api.md has it: kept without a question, and for how long beyond where nobody answers it.
const KEPT: Duration = Duration::from_secs(10 * 60);
const KEPT_IN_AN_OUTAGE: Duration = Duration::from_secs(60 * 60);

async fn start() -> Harness {
    let harness = Harness::of(Way::Keys, Place::Memory).await;
    harness.gotrue().add_user(ADA, PASSWORD);
    harness
}

#[tokio::test]
async fn a_rotated_key_is_taken_at_once_and_the_old_one_goes_within_the_time_it_is_kept() {
    let harness = start().await;
    let gotrue = harness.gotrue();
    let by_old = |harness: &Harness| harness.gotrue().claims(ADA);
    let old = Signer::curve("old");
    gotrue.rotate(old.clone());
    harness.exchange(&gotrue.issue(ADA)).await.session(200);
    harness.clock.advance(MINUTE);
    for (new, asked) in [(Signer::rsa("new"), 2), (Signer::curve("newer"), 3)] {
        gotrue.rotate(new);
        harness.exchange(&gotrue.issue(ADA)).await.session(200);
        assert_eq!(gotrue.asked().keys, asked, "a key that is not known is asked for");
        harness.exchange(&old.token(&by_old(&harness))).await.refused(401, "invalid_token");
        harness.clock.advance(MINUTE);
    }
    // A key that was taken back holds until they are asked for again, and nobody needs to ask for another before that.
    let (staying, leaving) = (Signer::curve("staying"), Signer::curve("leaving"));
    gotrue.publish(&[staying.jwk().unwrap(), leaving.jwk().unwrap()]);
    harness.exchange(&leaving.token(&gotrue.claims(ADA))).await.session(200);
    gotrue.rotate(staying);
    harness.clock.advance(KEPT - Duration::from_secs(1));
    harness.exchange(&leaving.token(&gotrue.claims(ADA))).await.session(200);
    harness.clock.advance(Duration::from_secs(1));
    harness.exchange(&leaving.token(&gotrue.claims(ADA))).await.refused(401, "invalid_token");
    harness.exchange(&gotrue.issue(ADA)).await.session(200);
}

#[tokio::test]
async fn made_up_keys_by_the_thousand_are_asked_for_once_in_30_seconds() {
    let harness = start().await;
    let gotrue = harness.gotrue();
    harness.exchange(&gotrue.issue(ADA)).await.session(200);
    harness.clock.advance(MINUTE);
    let made_up = Signer::curve("made-up");
    let token = made_up.token(&gotrue.claims(ADA));
    let (_, rest) = token.split_once('.').unwrap();
    for round in 0_u32..3 {
        let flood = (0..100).map(|number| {
            use base64::Engine;
            let header = json!({ "alg": "ES256", "kid": format!("kid-{round}-{number}") }).to_string();
            let token = format!("{}.{rest}", base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(header));
            let harness = &harness;
            async move { harness.exchange(&token).await.refused(401, "invalid_token") }
        });
        futures_util::future::join_all(flood).await;
        assert_eq!(gotrue.asked().keys, 2 + round);
        harness.exchange(&gotrue.issue(ADA)).await.session(200);
        harness.clock.advance(Duration::from_secs(30));
    }
}

#[tokio::test]
async fn keys_outlive_an_outage_by_an_hour_and_a_first_outage_is_our_trouble() {
    for outage in
        [Outage::Away, Outage::Manner(Manner::Answers(500, "")), Outage::Manner(Manner::Answers(200, "<html>"))]
    {
        let harness = start().await;
        let gotrue = harness.gotrue();
        outage.begin(gotrue);
        let refused = harness.exchange(&gotrue.issue(ADA)).await;
        refused.refused(503, "supabase_unavailable");
        assert!((1..=30).contains(&refused.header("retry-after").parse().unwrap()));
        Outage::end(gotrue);
        harness.clock.advance(MINUTE);
        harness.exchange(&gotrue.issue(ADA)).await.session(200);

        outage.begin(gotrue);
        harness.clock.advance(KEPT + KEPT_IN_AN_OUTAGE - Duration::from_secs(1));
        harness.exchange(&gotrue.issue(ADA)).await.session(200);
        harness.clock.advance(Duration::from_secs(1));
        harness.exchange(&gotrue.issue(ADA)).await.refused(503, "supabase_unavailable");
        Outage::end(gotrue);
        harness.clock.advance(MINUTE);
        harness.exchange(&gotrue.issue(ADA)).await.session(200);
    }
}

/// How it is not itself.
enum Outage {
    Away,
    Manner(Manner),
}

impl Outage {
    fn begin(&self, gotrue: &Gotrue) {
        match self {
            Outage::Away => gotrue.set_away(true),
            Outage::Manner(manner) => gotrue.keys_behave(manner.clone()),
        }
    }

    fn end(gotrue: &Gotrue) {
        gotrue.set_away(false);
        gotrue.keys_behave(Manner::Itself);
    }
}

#[tokio::test]
async fn keys_are_read_to_a_bound_and_from_who_was_named() {
    let harness = start().await;
    let gotrue = harness.gotrue();
    let thief = Gotrue::start(Signer::curve("thief"), harness.clock.clone());
    let elsewhere = format!("{}/auth/v1/.well-known/jwks.json", thief.url);
    for manner in [Manner::Endless, Manner::AnswersWith(302, "location", elsewhere)] {
        gotrue.keys_behave(manner);
        harness.exchange(&gotrue.issue(ADA)).await.refused(503, "supabase_unavailable");
        harness.clock.advance(MINUTE);
    }
    assert_eq!((gotrue.asked().keys, thief.asked().keys), (2, 0));
}

#[tokio::test]
async fn a_project_is_believed_by_its_certificate() {
    for trusted in [true, false] {
        let clock = std::sync::Arc::new(ManualClock::at(noon()));
        let (gotrue, certificate) = Gotrue::start_tls(Signer::curve("one"), clock.clone());
        gotrue.add_user(ADA, PASSWORD);
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()).unwrap();
        let supabase = if trusted { HttpsSupabase::trusting(roots) } else { HttpsSupabase::default() };
        let harness = Harness::with(Way::Keys, Place::Memory, Some(gotrue), supabase, clock).await;
        let login = || harness.post("/api/login", &json!({ "email": ADA, "password": PASSWORD }));
        let token = harness.gotrue().issue(ADA);
        if trusted {
            harness.exchange(&token).await.session(200);
            login().send().await.session(200);
        } else {
            harness.exchange(&token).await.refused(503, "supabase_unavailable");
            login().send().await.refused(503, "supabase_unavailable");
            assert!(harness.gotrue().shown().is_empty(), "no password was shown");
        }
    }
}

#[tokio::test]
async fn another_project_takes_the_place_of_the_first() {
    let harness = start().await;
    let first = harness.gotrue();
    let second = Gotrue::start(Signer::curve("first"), harness.clock.clone());
    second.add_user("bob@example.org", PASSWORD);
    let ada = harness.exchange(&first.issue(ADA)).await.session(200);
    harness.exchange(&second.issue("bob@example.org")).await.refused(401, "invalid_token");

    harness.configure(|identity| identity.supabase = Some(project(&second, Way::Keys)));
    harness.exchange(&first.issue(ADA)).await.refused(401, "invalid_token");
    harness.exchange(&second.issue("bob@example.org")).await.session(200);
    harness.get("/api/me").by(&ada).send().await.ok(200);
    // The same key's name, another's signature and an issuer that is the new one's.
    let mut forged = first.claims(ADA);
    forged["iss"] = json!(format!("{}/auth/v1", second.url));
    harness.exchange(&first.sign(&forged)).await.refused(401, "invalid_token");
}
