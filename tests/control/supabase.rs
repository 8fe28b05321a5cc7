//! Tokens of Supabase's: those that are, and those that are made to look like it.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use cfx::config::Registration;
use cfx::identity::{Email, Role};
use ring::hmac;
use serde_json::{Value, json};

use crate::gotrue::Signer;
use crate::harness::{Harness, PASSWORD, noon};
use crate::stores::{Place, SECRET, Way};

const ADA: &str = "ada@example.org";

async fn by_secret() -> Harness {
    let harness = Harness::of(Way::Secret, Place::Memory).await;
    harness.gotrue().add_user(ADA, PASSWORD);
    harness
}

async fn by_keys() -> Harness {
    let harness = Harness::of(Way::Keys, Place::Memory).await;
    harness.gotrue().add_user(ADA, PASSWORD);
    harness
}

fn unsigned(header: &Value, claims: &Value) -> String {
    format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()))
}

fn by_mac(header: &Value, claims: &Value, secret: &[u8]) -> String {
    let text = unsigned(header, claims);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), text.as_bytes());
    format!("{text}.{}", BASE64.encode(tag))
}

#[tokio::test]
async fn a_users_token_opens_a_session_of_the_same_id() {
    let harness = by_secret().await;
    let (gotrue, claims) = (harness.gotrue(), harness.gotrue().claims(ADA));
    let first = harness.exchange(&gotrue.issue(ADA)).await;
    let ada = first.session(200);
    assert_eq!(ada.id.0.to_string(), claims["sub"].as_str().unwrap());
    assert_eq!(first.json()["me"]["email"], "ada@example.org");
    assert_eq!(first.json()["me"]["role"], "member");
    harness.get("/api/me").by(&ada).send().await.ok(200);
    assert_eq!(harness.exchange(&gotrue.issue(ADA)).await.session(200).id, ada.id, "the same account");
    assert_eq!(harness.stores.accounts.list().await.unwrap().len(), 1);
    let mut several = claims;
    several["aud"] = json!(["other", "authenticated"]);
    harness.exchange(&gotrue.sign(&several)).await.session(200);
}

#[tokio::test]
async fn nobody_new_signs_in_where_registration_is_closed() {
    let harness = by_secret().await;
    let gotrue = harness.gotrue();
    let ada = harness.exchange(&gotrue.issue(ADA)).await.session(200);
    harness.configure(|identity| identity.registration = Registration::Closed);
    assert_eq!(harness.exchange(&gotrue.issue(ADA)).await.session(200).id, ada.id);
    gotrue.add_user("eve@example.org", PASSWORD);
    harness.exchange(&gotrue.issue("eve@example.org")).await.refused(403, "registration_closed");
    assert_eq!(harness.stores.accounts.list().await.unwrap().len(), 1);
}

#[tokio::test]
async fn forgeries_are_refused_in_one_code() {
    let harness = by_secret().await;
    let now = noon().0 / 1_000_000;
    let claims = || harness.gotrue().claims(ADA);
    let hs256 = |claims: &Value| harness.gotrue().sign(claims);
    let changed = |name: &str, value: Value| {
        let mut claims = claims();
        claims[name] = value;
        hs256(&claims)
    };
    let lacking = |name: &str| {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove(name);
        hs256(&claims)
    };
    let good = hs256(&claims());
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (_, other_signature) = good.rsplit_once('.').unwrap();
    let mut admin = claims();
    admin["sub"] = json!("00000000-0000-0000-0000-000000000000");
    let tampered = format!("{}.{other_signature}", unsigned(&json!({ "alg": "HS256", "typ": "JWT" }), &admin));
    let curve = Signer::curve("mine");
    let forged = [
        ("none", format!("{}.", unsigned(&json!({ "alg": "none" }), &claims()))),
        ("None", format!("{}.", unsigned(&json!({ "alg": "None" }), &claims()))),
        ("none with a signature", format!("{}.{signature}", unsigned(&json!({ "alg": "none" }), &claims()))),
        ("no signature", format!("{signed}.")),
        ("two parts", signed.to_owned()),
        ("four parts", format!("{good}.x")),
        ("nothing", String::new()),
        ("noise", "a.b.c".to_owned()),
        ("another secret", by_mac(&json!({ "alg": "HS256" }), &claims(), b"guess")),
        ("no secret", by_mac(&json!({ "alg": "HS256" }), &claims(), b"")),
        ("another algorithm's name", by_mac(&json!({ "alg": "HS512" }), &claims(), SECRET.as_bytes())),
        ("a key of one's own", curve.token(&claims())),
        (
            "a key in the header",
            by_mac(&json!({ "alg": "HS256", "jwk": { "kty": "oct", "k": "AA" } }), &claims(), &[0]),
        ),
        ("critical", by_mac(&json!({ "alg": "HS256", "crit": ["exp"] }), &claims(), SECRET.as_bytes())),
        ("tampered", tampered),
        ("expired", changed("exp", json!(now - 60))),
        ("of tomorrow", changed("nbf", json!(now + 61))),
        ("no end", lacking("exp")),
        ("an end that is a text", changed("exp", json!("tomorrow"))),
        ("another issuer", changed("iss", json!("https://evil.supabase.co/auth/v1"))),
        ("no issuer", lacking("iss")),
        ("another audience", changed("aud", json!("anon"))),
        ("no audience", lacking("aud")),
        ("the public's role", changed("role", json!("anon"))),
        ("the service's role", changed("role", json!("service_role"))),
        ("no role", lacking("role")),
        ("no subject", lacking("sub")),
        ("a subject that is no id", changed("sub", json!("1 or 1=1"))),
        ("no e-mail", lacking("email")),
        ("an empty e-mail", changed("email", json!(""))),
        ("no e-mail address", changed("email", json!("<script>"))),
        ("too long", changed("padding", json!("x".repeat(16_000)))),
    ];
    for (what, token) in &forged {
        let answer = harness.exchange(token).await;
        assert_eq!(answer.header("set-cookie"), "", "{what}");
        let body = answer.refused(401, "invalid_token");
        assert_eq!(body["error"]["param"], "access_token", "{what}");
        assert!(!body.to_string().contains(SECRET), "{what}");
    }
    assert!(harness.stores.accounts.list().await.unwrap().is_empty());
    // Clocks may differ by a minute.
    harness.exchange(&changed("exp", json!(now - 59))).await.session(200);
    harness.exchange(&changed("nbf", json!(now + 60))).await.session(200);
    harness.clock.advance(Duration::from_secs(3_659));
    harness.exchange(&good).await.session(200);
    harness.clock.advance(Duration::from_secs(1));
    harness.exchange(&good).await.refused(401, "invalid_token");
}

#[tokio::test]
async fn published_keys_verify_what_they_signed_and_nothing_else() {
    let harness = by_keys().await;
    let gotrue = harness.gotrue();
    let claims = gotrue.claims(ADA);
    let (curve, rsa, other) = (Signer::curve("one"), Signer::rsa("rsa"), Signer::curve("one"));
    let jwk = curve.jwk().unwrap();
    gotrue.publish(&[jwk.clone(), rsa.jwk().unwrap()]);
    harness.exchange(&curve.token(&claims)).await.session(200);
    harness.exchange(&rsa.token(&claims)).await.session(200);
    harness.exchange(&other.token(&claims)).await.refused(401, "invalid_token");

    // What is public is no secret to make a MAC with, whatever form it is taken in.
    let modulus = rsa.jwk().unwrap()["n"].as_str().unwrap().to_owned();
    let [x, y] = ["x", "y"].map(|name| jwk[name].as_str().unwrap().to_owned());
    let point = [vec![4], BASE64.decode(&x).unwrap(), BASE64.decode(&y).unwrap()].concat();
    let public: [Vec<u8>; 5] =
        [point, jwk.to_string().into_bytes(), x.into_bytes(), BASE64.decode(&modulus).unwrap(), modulus.into_bytes()];
    for secret in &public {
        for kid in ["one", "rsa"] {
            let header = json!({ "alg": "HS256", "kid": kid });
            harness.exchange(&by_mac(&header, &claims, secret)).await.refused(401, "invalid_token");
        }
    }
    // Nor is one key's name on another's signature, nor none.
    let good = rsa.token(&claims);
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let payload = signed.split_once('.').unwrap().1;
    for header in [
        json!({ "alg": "RS256", "kid": "one" }),
        json!({ "alg": "ES256", "kid": "rsa" }),
        json!({ "alg": "RS256" }),
        json!({ "alg": "none", "kid": "rsa" }),
    ] {
        let token = format!("{}.{payload}.{signature}", BASE64.encode(header.to_string()));
        harness.exchange(&token).await.refused(401, "invalid_token");
    }
}

#[tokio::test]
async fn an_address_is_no_proof_of_an_account() {
    let harness = by_secret().await;
    let local = harness.account("ada@example.org", Role::Operator, None).await;
    harness.exchange(&harness.gotrue().issue(ADA)).await.refused(409, "email_taken");
    let found = harness.stores.accounts.find(&Email::parse("ada@example.org").unwrap()).await.unwrap().unwrap();
    assert_eq!((found.id, found.role), (local.id, Role::Operator));
}

#[tokio::test]
async fn a_disabled_account_is_nobody_here_whatever_supabase_says() {
    let harness = by_secret().await;
    let (ada, operator) = (harness.exchange(&harness.gotrue().issue(ADA)).await.session(200), harness.operator().await);
    let path = format!("/api/operator/users/{}", ada.id.0);
    let disable = harness.ask(hyper::Method::PATCH, &path).json(&json!({ "disabled": true })).by(&operator);
    disable.send().await.ok(200);
    harness.exchange(&harness.gotrue().issue(ADA)).await.refused(401, "invalid_token");
    harness.get("/api/me").by(&ada).send().await.refused(401, "invalid_session");
}

#[tokio::test]
async fn without_a_project_there_is_nothing_to_exchange() {
    let harness = Harness::start().await;
    harness.exchange("a.b.c").await.refused(404, "not_found");
}
