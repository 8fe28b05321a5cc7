//! Sessions: how they begin, how they are shown, how they end.

use std::time::Duration;

use cfx::clock::Clock;
use cfx::identity::{Purpose, Role};
use hyper::Method;
use serde_json::json;

use super::start;
use crate::harness::{PASSWORD, Someone};

fn login(email: &str, password: &str) -> serde_json::Value {
    json!({ "email": email, "password": password })
}

#[tokio::test]
async fn a_password_opens_a_session_and_logging_out_ends_it() {
    let harness = start().await;
    harness.account("ada@example.org", Role::Member, Some(PASSWORD)).await;
    let answer = harness.post("/api/login", &login("Ada@Example.org", PASSWORD)).send().await;
    let ada = answer.session(200);
    assert_eq!(
        answer.header("set-cookie"),
        format!("__Host-cfx_session={}; Path=/; Max-Age=43200; HttpOnly; Secure; SameSite=Strict", ada.token.expose())
    );
    let body = answer.json();
    assert_eq!(body["expires_at"], "2026-02-01T00:00:00Z");
    assert_eq!(body["me"]["role"], "member");
    assert_eq!(body["me"]["has_password"], harness.has_own_passwords(), "Supabase's is not ours");
    assert_eq!(body["me"]["csrf"], ada.token.csrf());
    assert_eq!(body["me"]["daily_limit"], 1000);

    let me = harness.get("/api/me").by(&ada).send().await.ok(200);
    assert_eq!(me, body["me"]);
    assert_eq!(harness.get("/api/me").by_cookie(&ada).send().await.ok(200), me);

    let logout = harness.ask(Method::POST, "/api/logout").by_cookie(&ada).header("x-csrf-token", &ada.token.csrf());
    let logout = logout.send().await;
    logout.ok(204);
    assert!(logout.header("set-cookie").starts_with("__Host-cfx_session=; Path=/; Max-Age=0;"));
    harness.get("/api/me").by(&ada).send().await.refused(401, "invalid_session");
}

#[tokio::test]
async fn wrong_passwords_unknown_and_disabled_accounts_have_one_answer() {
    let harness = start().await;
    harness.account("ada@example.org", Role::Member, Some(PASSWORD)).await;
    harness.account("none@example.org", Role::Member, None).await;
    let gone = harness.account("gone@example.org", Role::Member, Some(PASSWORD)).await;
    let operator = harness.operator().await;
    let path = format!("/api/operator/users/{}", gone.id.0);
    harness.ask(Method::PATCH, &path).json(&json!({ "disabled": true })).by(&operator).send().await.ok(200);
    let mut answers = Vec::new();
    for (email, password) in [
        ("ada@example.org", "not her password"),
        ("nobody@example.org", PASSWORD),
        ("gone@example.org", PASSWORD),
        ("none@example.org", PASSWORD),
        ("no address", PASSWORD),
        ("ada@example.org", &*"x".repeat(513)),
        ("ada@example.org", ""),
    ] {
        // Each from an address of its own, so that none is held up.
        let from = format!("2001:db8:0:{:x}::1", answers.len());
        let asking = harness.post("/api/login", &login(email, password)).instead("x-real-ip", &from);
        answers.push(asking.send().await.refused(401, "invalid_credentials"));
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
}

#[tokio::test]
async fn a_link_that_holds_is_not_held_up_by_its_address() {
    let harness = start().await;
    let ada = harness.account("ada@example.org", Role::Member, None).await;
    let link = harness.link(Purpose::SignIn(ada.id)).await;
    let show = |link: &str| harness.post("/api/login/link", &json!({ "link": link }));
    for _ in 0..50 {
        show("cfx_link_").send().await.refused(401, "invalid_link");
    }
    show("cfx_link_").send().await.refused(429, "too_many_attempts");
    show(&link).send().await.session(200);
}

#[tokio::test]
async fn a_link_signs_in_once() {
    let harness = start().await;
    let ada = harness.account("ada@example.org", Role::Member, None).await;
    let link = harness.link(Purpose::SignIn(ada.id)).await;
    let asking = || harness.post("/api/login/link", &json!({ "link": link }));
    let someone = asking().send().await.session(200);
    assert_eq!(someone.id, ada.id);
    asking().send().await.refused(401, "invalid_link");

    let invitation = harness.link(Purpose::Invitation { email: None, role: Role::Operator }).await;
    let by_invitation = harness.post("/api/login/link", &json!({ "link": invitation }));
    by_invitation.send().await.refused(401, "invalid_link");
    harness.post("/api/login/link", &json!({ "link": "cfx_link_" })).send().await.refused(401, "invalid_link");

    let late = harness.link(Purpose::SignIn(ada.id)).await;
    harness.clock.advance(Duration::from_secs(3600));
    harness.post("/api/login/link", &json!({ "link": late })).send().await.refused(401, "invalid_link");
}

#[tokio::test]
async fn a_forgotten_password_is_set_anew_by_a_link() {
    let harness = start().await;
    let ada = harness.account("ada@example.org", Role::Member, Some("the forgotten one")).await;
    let elsewhere = harness.session(ada.id).await;
    let link = harness.link(Purpose::SignIn(ada.id)).await;
    let short = harness.post("/api/login/link/password", &json!({ "link": link, "new": "short" })).send().await;
    assert_eq!(short.refused(400, "invalid_field")["error"]["param"], "new");
    let set = harness.post("/api/login/link/password", &json!({ "link": link, "new": PASSWORD })).send().await;
    let now = set.session(200);
    harness.get("/api/me").by(&now).send().await.ok(200);
    let old = crate::harness::Someone { token: elsewhere, ..now };
    harness.get("/api/me").by(&old).send().await.refused(401, "invalid_session");
    harness.post("/api/login", &login("ada@example.org", PASSWORD)).send().await.session(200);
}

#[tokio::test]
async fn refreshing_rotates_the_token_for_thirty_days_at_most() {
    let harness = start().await;
    let began = harness.clock.now();
    let mut ada = harness.member().await;
    let mut refreshed = 0;
    loop {
        let answer = harness.ask(Method::POST, "/api/refresh").by(&ada).send().await;
        let next = answer.session(200);
        assert_ne!(next.token, ada.token);
        let old = std::mem::replace(&mut ada, next);
        refreshed += 1;
        let body = answer.json();
        let end = cfx::units::Timestamp::parse(body["expires_at"].as_str().unwrap()).unwrap();
        let left = harness.clock.now().until(end);
        let told = |name: &str| cfx::units::Timestamp::parse(body["me"][name].as_str().unwrap()).unwrap();
        assert_eq!((told("created_at"), told("expires_at")), (harness.clock.now(), end));
        assert_eq!(began.until(told("ends_at")), Duration::from_secs(30 * 86_400));
        if left < Duration::from_secs(12 * 3600) {
            assert_eq!(began.until(end), Duration::from_secs(30 * 86_400));
            harness.clock.advance(left);
            break;
        }
        harness.get("/api/me").by(&ada).send().await.ok(200);
        harness.clock.advance(Duration::from_secs(11 * 3600));
        harness.get("/api/me").by(&old).send().await.refused(401, "invalid_session");
    }
    assert!(refreshed > 60, "{refreshed}");
    harness.ask(Method::POST, "/api/refresh").by(&ada).send().await.refused(401, "invalid_session");
}

#[tokio::test]
async fn a_new_token_that_does_not_arrive_signs_nobody_out() {
    let harness = start().await;
    let ada = harness.member().await;
    let refresh = |who: &Someone| harness.ask(Method::POST, "/api/refresh").by(who).send();
    let refreshed = futures_util::future::join_all((0..8).map(|_| refresh(&ada))).await;
    let next = refreshed[0].session(200);
    for answer in refreshed {
        assert_eq!(answer.session(200).token, next.token, "tabs that renew it at once are given one and the same");
    }
    // The answers were lost, and only hours later a page is opened again.
    harness.clock.advance(Duration::from_secs(3 * 3600));
    let me = harness.get("/api/me").by(&ada).send().await.ok(200);
    assert_eq!(me["expires_at"], "2026-02-01T00:00:00Z", "for as long as it would have held");
    assert_eq!(refresh(&ada).await.session(200).token, next.token);

    // Now one arrives.
    harness.get("/api/me").by(&next).send().await.ok(200);
    harness.clock.advance(Duration::from_secs(29));
    harness.get("/api/me").by(&ada).send().await.ok(200);
    harness.get("/api/me").by(&next).send().await.ok(200);
    harness.clock.advance(Duration::from_secs(1));
    harness.get("/api/me").by(&ada).send().await.refused(401, "invalid_session");
    refresh(&ada).await.refused(401, "invalid_session");
    harness.get("/api/me").by(&next).send().await.ok(200);
}

#[tokio::test]
async fn who_signs_out_by_either_token_has_left_with_both() {
    let harness = start().await;
    for by_old in [true, false] {
        let old = harness.someone(&format!("{by_old}@example.org"), Role::Member).await;
        let next = harness.ask(Method::POST, "/api/refresh").by(&old).send().await.session(200);
        let logout = harness.ask(Method::POST, "/api/logout").by(if by_old { &old } else { &next });
        logout.send().await.ok(204);
        for gone in [&old, &next] {
            harness.get("/api/me").by(gone).send().await.refused(401, "invalid_session");
            harness.ask(Method::POST, "/api/refresh").by(gone).send().await.refused(401, "invalid_session");
        }
    }
    let (old, operator) = (harness.member().await, harness.operator().await);
    let next = harness.ask(Method::POST, "/api/refresh").by(&old).send().await.session(200);
    let path = format!("/api/operator/users/{}", old.id.0);
    let disable = harness.ask(Method::PATCH, &path).json(&json!({ "disabled": true })).by(&operator);
    disable.send().await.ok(200);
    for gone in [&old, &next] {
        harness.get("/api/me").by(gone).send().await.refused(401, "invalid_session");
    }
}

#[tokio::test]
async fn a_new_password_ends_every_other_session() {
    let harness = start().await;
    let ada = harness.member().await;
    let put = |body: serde_json::Value| harness.ask(Method::PUT, "/api/me/password").json(&body).by(&ada);
    put(json!({ "new": PASSWORD })).send().await.ok(204);
    put(json!({ "new": "another password" })).send().await.refused(400, "missing_field");
    let nobodys = json!({ "current": PASSWORD, "new": "another password" });
    let none = harness.someone("none@example.org", Role::Member).await;
    let slip = harness.ask(Method::PUT, "/api/me/password").json(&nobodys).by(&none).send().await;
    assert_eq!(slip.refused(400, "invalid_field")["error"]["param"], "current", "there is none to be right or wrong");
    let wrong = put(json!({ "current": "not this one", "new": "another password" })).send().await;
    assert_eq!(wrong.refused(403, "wrong_password")["error"]["param"], "current");
    let other = harness.post("/api/login", &login("ada@example.org", PASSWORD)).send().await.session(200);
    put(json!({ "current": PASSWORD, "new": "another password" })).send().await.ok(204);
    harness.get("/api/me").by(&other).send().await.refused(401, "invalid_session");
    harness.get("/api/me").by(&ada).send().await.ok(200);
    harness.post("/api/login", &login("ada@example.org", "another password")).send().await.session(200);
}

#[tokio::test]
async fn sessions_of_nobody_are_none() {
    let harness = start().await;
    let (ada, operator) = (harness.member().await, harness.operator().await);
    let bob = harness.someone("bob@example.org", Role::Member).await;
    harness.stores.delete_account(bob.id).await;
    harness.get("/api/me").by(&bob).send().await.refused(401, "invalid_session");
    let path = format!("/api/operator/users/{}", ada.id.0);
    harness.ask(Method::PATCH, &path).json(&json!({ "disabled": true })).by(&operator).send().await.ok(200);
    harness.get("/api/me").by(&ada).send().await.refused(401, "invalid_session");
    for token in ["cfx_session_", "cfx_live_0123456789AB", "../../etc/passwd", &"x".repeat(5_000)] {
        let shown = format!("Bearer {token}");
        harness.get("/api/me").header("authorization", &shown).send().await.refused(401, "invalid_session");
    }
    harness.clock.advance(Duration::from_secs(12 * 3600));
    let late = harness.get("/api/me").by(&operator).send().await;
    late.refused(401, "invalid_session");
    assert_eq!(late.header("www-authenticate"), "Bearer");
}

#[tokio::test]
async fn two_sessions_at_once_are_one_too_many() {
    let harness = start().await;
    let (ada, olga) = (harness.member().await, harness.operator().await);
    harness.get("/api/me").by(&ada).by_cookie(&olga).send().await.refused(400, "conflicting_sessions");
    harness.get("/api/me").by_cookie(&ada).by_cookie(&olga).send().await.refused(400, "conflicting_sessions");
    harness.get("/api/me").by(&ada).by(&olga).send().await.refused(400, "conflicting_sessions");
    harness.get("/api/me").by(&ada).by_cookie(&ada).send().await.ok(200);
    let basic = harness.get("/api/me").header("authorization", "Basic YTpi").by_cookie(&ada);
    basic.send().await.ok(200);
}

#[tokio::test]
async fn in_plain_http_only_this_machine_itself_signs_in() {
    let harness = start().await;
    harness.account("ada@example.org", Role::Member, Some(PASSWORD)).await;
    let plain = |host: &str, from: &str| {
        let asking = harness.post("/api/login", &login("ada@example.org", PASSWORD));
        asking.instead("x-forwarded-proto", "http").instead("x-forwarded-host", host).instead("x-real-ip", from)
    };
    plain("localhost:8080", "192.0.2.7").send().await.refused(403, "insecure_transport");
    let refused = plain("app.example.org", "127.0.0.1").send().await.refused(403, "insecure_transport");
    assert!(refused["error"]["message"].as_str().unwrap().contains("https"));
    let answer = plain("localhost:8080", "127.0.0.1").send().await;
    let ada = answer.session(200);
    let cookie = format!("cfx_session={}", ada.token.expose());
    assert_eq!(answer.header("set-cookie"), format!("{cookie}; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict"));
    let me = |host: &str| {
        let asking = harness.get("/api/me").header("cookie", &cookie).instead("x-real-ip", "127.0.0.1");
        asking.instead("x-forwarded-proto", "http").instead("x-forwarded-host", host)
    };
    me("127.0.0.1:8080").send().await.ok(200);
    me("app.example.org").send().await.refused(401, "missing_session");
    // Over TLS the name that anybody on the network could have set is not taken.
    harness.get("/api/me").header("cookie", &cookie).send().await.refused(401, "missing_session");
}
