//! What a page of another site makes a browser send comes to nothing.

use cfx::identity::Role;
use hyper::Method;
use serde_json::json;

use super::start;
use crate::harness::PASSWORD;

#[tokio::test]
async fn a_cross_site_post_is_refused_whatever_it_carries() {
    let harness = start().await;
    harness.account("bob@example.org", Role::Member, Some(PASSWORD)).await;
    let ada = harness.member().await;
    let new = json!({ "label": "stolen" });
    let csrf = ada.token.csrf();
    let post = || harness.post("/api/keys", &new).by_cookie(&ada).header("x-csrf-token", &csrf);
    post().header("origin", "https://evil.example").send().await.refused(403, "cross_site");
    post().header("origin", "null").send().await.refused(403, "cross_site");
    post().header("sec-fetch-site", "cross-site").send().await.refused(403, "cross_site");
    post().header("sec-fetch-site", "same-site").send().await.refused(403, "cross_site");
    assert!(harness.stores.registry.list(Some(ada.id)).await.unwrap().is_empty());
    let own = post().header("origin", "https://app.example.org").header("sec-fetch-site", "same-origin");
    own.send().await.ok(201);

    let login = json!({ "email": "bob@example.org", "password": PASSWORD });
    let planted = harness.post("/api/login", &login).header("sec-fetch-site", "cross-site").send().await;
    planted.refused(403, "cross_site");
    assert_eq!(planted.header("set-cookie"), "");
    // A form of another site can send neither JSON nor headers.
    let form = harness.ask(Method::POST, "/api/login").header("content-type", "text/plain").body(login.to_string());
    form.send().await.refused(415, "unsupported_media_type");
}

#[tokio::test]
async fn a_cookie_changes_something_only_beside_its_csrf_token() {
    let harness = start().await;
    let (ada, bob) = (harness.member().await, harness.someone("bob@example.org", Role::Member).await);
    let new = json!({ "label": "a" });
    harness.post("/api/keys", &new).by_cookie(&ada).send().await.refused(403, "invalid_csrf_token");
    for wrong in ["", "0", &bob.token.csrf(), &ada.token.csrf()[1..], ada.token.expose()] {
        let asking = harness.post("/api/keys", &new).by_cookie(&ada).header("x-csrf-token", wrong);
        asking.send().await.refused(403, "invalid_csrf_token");
    }
    harness.ask(Method::POST, "/api/logout").by_cookie(&ada).send().await.refused(403, "invalid_csrf_token");
    harness.post("/api/keys", &new).by_cookie(&ada).header("x-csrf-token", &ada.token.csrf()).send().await.ok(201);
    harness.post("/api/keys", &new).by(&ada).send().await.ok(201);
    harness.get("/api/keys").by_cookie(&ada).send().await.ok(200);
}

#[tokio::test]
async fn browsers_are_told_to_do_nothing_with_an_answer_but_read_it() {
    let harness = start().await;
    let ada = harness.member().await;
    for answer in [
        harness.get("/api/me").by(&ada).send().await,
        harness.get("/api/me").send().await,
        harness.get("/api/nothing").send().await,
        harness.post("/api/login", &json!({})).send().await,
    ] {
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
        assert_eq!(answer.header("content-security-policy"), "default-src 'none'; frame-ancestors 'none'");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.header("content-type"), "application/json");
    }
}
