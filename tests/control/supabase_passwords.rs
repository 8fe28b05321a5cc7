//! Passwords that Supabase keeps: shown to it by the edge, whatever it answers.

use std::sync::{Arc, Mutex};

use cfx::config::Registration;
use cfx::identity::{Password, Role};
use hyper::Method;
use serde_json::{Value, json};
use tracing_subscriber::fmt::MakeWriter;

use crate::gotrue::{ANON_KEY, Asked, Gotrue, Manner, Signer};
use crate::harness::{Answer, Harness, PASSWORD};
use crate::stores::{Place, Way};

const ADA: &str = "ada@example.org";

async fn start() -> Harness {
    let harness = Harness::of(Way::Keys, Place::Memory).await;
    harness.gotrue().add_user(ADA, PASSWORD);
    harness
}

/// Each from an address of its own, so that none is held up by that.
async fn login(harness: &Harness, email: &str, password: &str) -> Answer {
    static ADDRESS: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let address = ADDRESS.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    let asking = harness.post("/api/login", &json!({ "email": email, "password": password }));
    asking.instead("x-real-ip", &format!("2001:db8:8:{address:x}::1")).send().await
}

#[tokio::test]
async fn a_password_of_supabases_opens_a_session_of_ours() {
    let harness = start().await;
    let claims = harness.gotrue().claims(ADA);
    let answer = login(&harness, "Ada@Example.org", PASSWORD).await;
    let ada = answer.session(200);
    assert_eq!(ada.id.0.to_string(), claims["sub"].as_str().unwrap());
    let cookie = answer.header("set-cookie");
    assert!(cookie.starts_with(&format!("__Host-cfx_session={};", ada.token.expose())), "{cookie}");
    assert_eq!(answer.json()["me"]["has_password"], false, "it is not kept here");
    assert_eq!(harness.gotrue().shown(), [json!({ "email": ADA, "password": PASSWORD })]);
    assert_eq!(login(&harness, ADA, PASSWORD).await.session(200).id, ada.id);
    // Refreshed as any session: without Supabase, whose own refresh token is not kept.
    harness.gotrue().set_away(true);
    let next = harness.ask(Method::POST, "/api/refresh").by(&ada).send().await.session(200);
    harness.get("/api/me").by(&next).send().await.ok(200);
    harness.clock.advance(cfx::identity::OVERLAP);
    harness.get("/api/me").by(&ada).send().await.refused(401, "invalid_session");
}

/// As supabase-js does in a browser, which keeps the refresh token to itself.
#[tokio::test]
async fn a_token_that_supabase_refreshed_opens_a_session_of_the_same_account() {
    let harness = start().await;
    let first = asked(harness.gotrue(), "password", &json!({ "email": ADA, "password": PASSWORD })).await;
    let ada = harness.exchange(first["access_token"].as_str().unwrap()).await.session(200);
    let refresh = json!({ "refresh_token": first["refresh_token"] });
    let second = asked(harness.gotrue(), "refresh_token", &refresh).await;
    assert_ne!(second["access_token"], first["access_token"]);
    assert_eq!(harness.exchange(second["access_token"].as_str().unwrap()).await.session(200).id, ada.id);
    let again = asked(harness.gotrue(), "refresh_token", &refresh).await;
    assert_eq!(again["error_code"], "refresh_token_not_found");
}

async fn asked(gotrue: &Gotrue, grant: &str, body: &Value) -> Value {
    use http_body_util::BodyExt;
    let stream = tokio::net::TcpStream::connect(gotrue.url.trim_start_matches("http://")).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    let request = hyper::Request::post(format!("/auth/v1/token?grant_type={grant}")).header("apikey", ANON_KEY);
    let answer = sender.send_request(request.body(body.to_string()).unwrap()).await.unwrap();
    serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap()
}

#[tokio::test]
async fn whoever_may_not_sign_in_has_the_one_answer_and_an_unconfirmed_address_its_own() {
    let harness = start().await;
    let gotrue = harness.gotrue();
    for email in ["banned@example.org", "late@example.org"] {
        gotrue.add_user(email, PASSWORD);
    }
    gotrue.ban("banned@example.org");
    gotrue.unconfirmed("late@example.org");
    let gone = harness.account("gone@example.org", Role::Member, Some(PASSWORD)).await;
    let olga = harness.operator().await;
    let path = format!("/api/operator/users/{}", gone.id.0);
    harness.ask(Method::PATCH, &path).json(&json!({ "disabled": true })).by(&olga).send().await.ok(200);
    let mut answers = Vec::new();
    for (email, password) in [
        (ADA, "not her password"),
        ("nobody@example.org", PASSWORD),
        ("banned@example.org", PASSWORD),
        ("gone@example.org", PASSWORD),
        ("late@example.org", "not the password"),
        ("no address", PASSWORD),
        (ADA, &*"x".repeat(513)),
    ] {
        answers.push(login(&harness, email, password).await.refused(401, "invalid_credentials"));
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
    assert_eq!(gotrue.asked().tokens, 5, "what can be nobody's is shown to nobody");
    login(&harness, "late@example.org", PASSWORD).await.refused(403, "email_not_confirmed");
}

#[tokio::test]
async fn an_accounts_own_password_holds_beside_and_without_supabase() {
    let harness = start().await;
    let olga = harness.account("olga@example.org", Role::Operator, None).await;
    let own = Password::choose("a password of her own".to_owned()).unwrap().hash().unwrap();
    assert!(harness.stores.accounts.set_password(olga.id, own, None).await.unwrap());
    assert_eq!(login(&harness, "olga@example.org", "a password of her own").await.session(200).id, olga.id);
    assert_eq!(harness.gotrue().asked(), Asked::default(), "Supabase was not asked");
    harness.gotrue().set_away(true);
    login(&harness, "olga@example.org", "a password of her own").await.session(200);
    // An address is no proof: whoever registers hers at Supabase has another account, and not hers.
    harness.gotrue().set_away(false);
    harness.gotrue().add_user("olga@example.org", PASSWORD);
    login(&harness, "olga@example.org", PASSWORD).await.refused(409, "email_taken");
}

/// What is of our own accounts alone, as docs/control-api.md has it.
#[tokio::test]
async fn registering_is_ours_and_a_password_that_is_set_holds_beside_supabases() {
    let harness = start().await;
    harness.open_registration();
    let bob = json!({ "email": "bob@example.org", "password": PASSWORD });
    let registered = harness.post("/api/register", &bob).send().await;
    assert_eq!(registered.ok(201)["me"]["has_password"], true);
    assert_eq!(harness.gotrue().asked(), Asked::default(), "nobody was registered there");

    let ada = login(&harness, ADA, PASSWORD).await.session(200);
    let set = |body: Value| harness.ask(Method::PUT, "/api/me/password").json(&body).by(&ada);
    set(json!({ "new": "a password of her own" })).send().await.ok(204);
    assert_eq!(harness.get("/api/me").by(&ada).send().await.ok(200)["has_password"], true);
    set(json!({ "new": "another of her own" })).send().await.refused(400, "missing_field");
    set(json!({ "current": PASSWORD, "new": "another of her own" })).send().await.refused(403, "wrong_password");
    for password in [PASSWORD, "a password of her own"] {
        assert_eq!(login(&harness, ADA, password).await.session(200).id, ada.id, "{password}");
    }
    harness.gotrue().set_away(true);
    assert_eq!(login(&harness, ADA, "a password of her own").await.session(200).id, ada.id);
}

#[tokio::test]
async fn nobody_new_signs_in_by_password_where_registration_is_closed() {
    let harness = start().await;
    harness.configure(|identity| identity.registration = Registration::Closed);
    login(&harness, ADA, PASSWORD).await.refused(403, "registration_closed");
    assert!(harness.stores.accounts.list().await.unwrap().is_empty());
}

#[tokio::test]
async fn without_the_projects_public_key_its_passwords_are_nobodys() {
    let harness = start().await;
    harness.configure(|identity| identity.supabase.as_mut().unwrap().anon_key = None);
    login(&harness, ADA, PASSWORD).await.refused(401, "invalid_credentials");
    assert_eq!(harness.gotrue().asked(), Asked::default());
    harness.exchange(&harness.gotrue().issue(ADA)).await.session(200);
}

#[tokio::test]
async fn a_supabase_that_is_not_itself_is_said_to_be() {
    let logged = Logged::default();
    let subscriber = tracing_subscriber::fmt().with_writer(logged.clone()).with_max_level(tracing::Level::TRACE);
    let _here = tracing::subscriber::set_default(subscriber.finish());
    let harness = start().await;
    let gotrue = harness.gotrue();
    let thief = Gotrue::start(Signer::curve("first"), harness.clock.clone());
    let token = format!("{{\"access_token\":\"{}\"}}", Signer::curve("first").token(&gotrue.claims(ADA)));
    let token: &'static str = token.leak();
    for (place, (manner, said)) in [
        (Manner::Answers(500, "{\"error_code\":\"unexpected_failure\"}"), "it answers 500, unexpected_failure"),
        (Manner::Answers(503, "upstream connect error"), "it answers 503"),
        (Manner::Answers(200, "<html>LEAK</html>"), "it answers 200, and no session"),
        (Manner::Answers(200, "{\"access_token\":{\"LEAK\":1}}"), "it answers 200, and no session"),
        (Manner::Answers(200, "{\"access_token\":\"LEAK\"}"), "what it gave for a password"),
        (Manner::Answers(200, token), "its signature does not hold"),
        (Manner::Answers(401, "{\"message\":\"Invalid API key LEAK\"}"), "it answers 401"),
        (Manner::Answers(400, "{\"error_code\":\"bad_json\",\"msg\":\"LEAK\"}"), "it answers 400, bad_json"),
        (Manner::AnswersWith(307, "location", format!("{}/auth/v1/token", thief.url)), "it answers 307"),
        (Manner::Endless, "more than 256 KiB"),
    ]
    .into_iter()
    .enumerate()
    {
        gotrue.behave(manner);
        let answer = login(&harness, &format!("guest{place}@example.org"), PASSWORD).await;
        let body = answer.refused(503, "supabase_unavailable").to_string();
        assert_eq!((answer.header("retry-after"), answer.header("set-cookie")), ("5", ""));
        let log = logged.take();
        assert!(log.contains(said), "{said}: {log}");
        for secret in [PASSWORD, ANON_KEY, "LEAK", token] {
            assert!(!log.contains(secret) && !body.contains(secret), "{secret}: {log} {body}");
        }
    }
    assert_eq!(thief.asked().tokens, 0, "no password goes where a redirect leads");
    gotrue.behave(Manner::Itself);
    gotrue.set_away(true);
    login(&harness, ADA, PASSWORD).await.refused(503, "supabase_unavailable");
    gotrue.set_away(false);
    login(&harness, ADA, PASSWORD).await.session(200);
}

/// Whoever keeps Supabase busy, or waits until it is away, guesses no faster at the passwords that are ours.
#[tokio::test]
async fn a_wrong_password_counts_also_where_supabase_says_nothing_of_it() {
    let harness = start().await;
    harness.account("olga@example.org", Role::Operator, Some("a password of her own")).await;
    harness.gotrue().behave(Manner::AnswersWith(429, "retry-after", "1".to_owned()));
    let login =
        |guess: &str| harness.post("/api/login", &json!({ "email": "olga@example.org", "password": guess })).send();
    for guess in 0..5 {
        login(&format!("a guess at it, number {guess}")).await.refused(503, "supabase_unavailable");
    }
    login("a guess too many").await.refused(429, "too_many_attempts");
}

/// No password is looked at without one: nobody is told to come again, and whoever guesses at ours is held up all the same.
#[tokio::test]
async fn who_is_asked_for_a_captcha_is_told_of_another_way_in() {
    let harness = start().await;
    let olga = harness.account("olga@example.org", Role::Operator, None).await;
    let own = Password::choose("a password of her own".to_owned()).unwrap().hash().unwrap();
    assert!(harness.stores.accounts.set_password(olga.id, own, None).await.unwrap());
    harness.gotrue().behave(Manner::Answers(400, "{\"code\":400,\"error_code\":\"captcha_failed\",\"msg\":\"LEAK\"}"));
    let answer = login(&harness, ADA, PASSWORD).await;
    let message = answer.refused(403, "captcha_required")["error"]["message"].to_string();
    assert!(message.contains("ask an operator for a link") && !message.contains("LEAK"), "{message}");
    assert_eq!((answer.header("retry-after"), answer.header("set-cookie")), ("", ""));
    login(&harness, "olga@example.org", "a password of her own").await.session(200);
    let guess =
        |guess: &str| harness.post("/api/login", &json!({ "email": "olga@example.org", "password": guess })).send();
    for number in 0..5 {
        guess(&format!("a guess at it, number {number}")).await.refused(403, "captcha_required");
    }
    guess("a guess too many").await.refused(429, "too_many_attempts");
}

#[tokio::test]
async fn a_supabase_that_takes_no_more_says_when_it_will() {
    let harness = start().await;
    for (says, wait) in [("7", "7"), ("99999999", "900"), ("tomorrow", "5"), ("0", "1")] {
        harness.gotrue().behave(Manner::AnswersWith(429, "retry-after", says.to_owned()));
        let answer = login(&harness, ADA, PASSWORD).await;
        answer.refused(503, "supabase_unavailable");
        assert_eq!(answer.header("retry-after"), wait);
    }
    harness.gotrue().behave(Manner::Itself);
    login(&harness, ADA, PASSWORD).await.session(200);
}

/// Five seconds of it, for all at once and not one after the other: sixteen wait for Supabase, and whoever comes on top is
/// told so at once.
#[tokio::test]
async fn a_supabase_that_is_silent_is_waited_for_by_a_few_and_not_for_long() {
    let harness = start().await;
    harness.gotrue().behave(Manner::Silent);
    let began = std::time::Instant::now();
    let guests = (0..20).map(|guest| {
        let harness = &harness;
        async move { login(harness, &format!("guest{guest}@example.org"), PASSWORD).await }
    });
    let answers = futures_util::future::join_all(guests).await;
    assert!(began.elapsed() < std::time::Duration::from_secs(40), "{:?}", began.elapsed());
    let coded = |code: &str| answers.iter().filter(|answer| answer.json()["error"]["code"] == code).count();
    assert_eq!((coded("supabase_unavailable"), coded("overloaded")), (16, 4));
}

/// What is logged on this thread.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl Logged {
    fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
    }
}

impl std::io::Write for Logged {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Logged {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
