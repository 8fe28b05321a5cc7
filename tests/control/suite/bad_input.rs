//! Whatever is sent: a clear error, nothing leaked, nothing broken.

use hyper::Method;
use serde_json::{Value, json};

use super::start;
use crate::harness::PASSWORD;

#[tokio::test]
async fn bodies_are_bounded_typed_and_known_to_the_last_field() {
    let harness = start().await;
    let huge = json!({ "email": "ada@example.org", "password": "x".repeat(1 << 20) });
    harness.post("/api/login", &huge).send().await.refused(413, "body_too_large");
    let login = json!({ "email": "ada@example.org", "password": PASSWORD });
    harness.ask(Method::POST, "/api/login").body(login.to_string()).send().await.refused(415, "unsupported_media_type");
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""] {
        let asking = harness.ask(Method::POST, "/api/login").header("content-type", kind).body(login.to_string());
        asking.send().await.refused(415, "unsupported_media_type");
    }
    let post = |body: &[u8]| {
        harness.ask(Method::POST, "/api/login").header("content-type", "Application/JSON; charset=utf-8").body(body)
    };
    for body in ["", "{", "null garbage", "\u{0}", "{\"email\":\"\\ud800\"}", "{\"email\": NaN}", "{'a':1}"] {
        post(body.as_bytes()).send().await.refused(400, "invalid_json");
    }
    post(b"{\"email\":\"\xff\"}").send().await.refused(400, "invalid_json");
    let deep = format!("{{\"email\":{}", "[".repeat(30_000));
    assert_eq!(post(deep.as_bytes()).send().await.status, 400);
    for body in ["null", "7", "\"x\"", "[\"ada@example.org\",\"x\"]"] {
        post(body.as_bytes()).send().await.refused(400, "invalid_field");
    }
    let mut more = login.clone();
    more["remember"] = json!(true);
    assert_eq!(
        post(more.to_string().as_bytes()).send().await.refused(400, "invalid_field")["error"]["param"],
        "remember"
    );
    assert_eq!(post(b"{}").send().await.refused(400, "missing_field")["error"]["param"], "email");
}

#[tokio::test]
async fn fields_take_what_they_are_for() {
    let harness = start().await;
    let ada = harness.member().await;
    let refused = |body: Value| {
        let asking = harness.post("/api/keys", &body).by(&ada);
        async move {
            let answer = asking.send().await;
            assert_eq!(answer.status, 400, "{body} {answer:?}");
            answer.json()["error"]["param"].as_str().unwrap_or_default().to_owned()
        }
    };
    for (body, param) in [
        (json!({ "label": "" }), "label"),
        (json!({ "label": "x".repeat(101) }), "label"),
        (json!({ "label": "a\u{0}b" }), "label"),
        (json!({ "label": "a\u{202e}b" }), "label"),
        (json!({ "label": "a\u{200b}b" }), "label"),
        (json!({ "label": "a\u{2066}b" }), "label"),
        (json!({ "label": "a\u{e0041}b" }), "label"),
        (json!({ "label": "a\r\nSet-Cookie: x=y" }), "label"),
        (json!({ "label": "a", "expires_at": "2020-01-01T00:00:00Z" }), "expires_at"),
        (json!({ "label": "a", "expires_at": "never" }), "expires_at"),
        (json!({ "label": "a", "expires_at": 1_700_000_000 }), "expires_at"),
        (json!({ "label": "a", "expires_at": "99999-01-01T00:00:00Z" }), "expires_at"),
        (json!({ "label": "a", "stages": [] }), "stages"),
        (json!({ "label": "a", "stages": ["deploy"] }), "stages"),
        (json!({ "label": "a", "models": ["gpt\u{0}"] }), "models"),
        (json!({ "label": "a", "models": [] }), "models"),
        (json!({ "label": "a", "daily_requests": 0 }), "daily_requests"),
        (json!({ "label": "a", "daily_requests": 1.5 }), "daily_requests"),
        (json!({ "label": "a", "daily_requests": 1e30 }), "daily_requests"),
    ] {
        assert_eq!(refused(body).await, param);
    }
    for label in ["'; drop table api_keys; --", "<script>alert(1)</script>", "🦀🔑", "{{7*7}}", "%s%n", "👩\u{200d}💻"]
    {
        let made = harness.post("/api/keys", &json!({ "label": label })).by(&ada).send().await.ok(201);
        assert_eq!(made["label"], label);
    }
}

#[tokio::test]
async fn addresses_are_addresses_in_any_script() {
    let harness = start().await;
    harness.open_registration();
    for email in
        ["", "ada", "a@b@c", "a b@c", "ada@example.org\r\nBcc: x@y", "\"<script>\"@x", "a\u{0}@b", &"a".repeat(60_000)]
    {
        let body = json!({ "email": email, "password": PASSWORD });
        let refused = harness.post("/api/register", &body).send().await.refused(400, "invalid_field");
        assert_eq!(refused["error"]["param"], "email");
    }
    for password in ["", "ninechars", &"x".repeat(513)] {
        let body = json!({ "email": "ada@example.org", "password": password });
        let refused = harness.post("/api/register", &body).send().await.refused(400, "invalid_field");
        assert_eq!(refused["error"]["param"], "password");
    }
    let body = json!({ "email": "имя@пример.рф", "password": "пароль из слов" });
    harness.post("/api/register", &body).send().await.session(201);
    harness.post("/api/login", &body).send().await.session(200);
}

#[tokio::test]
async fn paths_and_methods_that_are_not_there_say_so_in_the_same_shape() {
    let harness = start().await;
    let ada = harness.member().await;
    for path in ["/api", "/api/", "/api/nothing", "/api/keys/", "/api/me/password/x", "/api//me", "/", "/v1/models"] {
        harness.get(path).by(&ada).send().await.refused(404, "not_found");
    }
    let wrong = harness.ask(Method::DELETE, "/api/me").by(&ada).send().await;
    wrong.refused(405, "method_not_allowed");
    assert_eq!(wrong.header("allow"), "GET,HEAD");
    let get = harness.get("/api/login").send().await;
    get.refused(405, "method_not_allowed");
    assert_eq!(get.header("allow"), "POST");
    harness.ask(Method::OPTIONS, "/api/keys").send().await.refused(405, "method_not_allowed");
    let head = harness.ask(Method::HEAD, "/api/me").by(&ada).send().await;
    assert_eq!((head.status, head.body.len()), (200, 0));
}

#[tokio::test]
async fn odd_headers_break_nothing() {
    let harness = start().await;
    let ada = harness.member().await;
    for (name, value) in [
        ("cookie", "=; ;;; __Host-cfx_session"),
        ("cookie", "__Host-cfx_session=\"quoted\""),
        ("authorization", "Bearer"),
        ("authorization", "Bearer  "),
        ("authorization", "Digest username=\"x\""),
    ] {
        assert_eq!(harness.get("/api/me").header(name, value).send().await.status, 401, "{name}: {value}");
    }
    for (name, value) in [("x-real-ip", "not an address"), ("x-forwarded-host", "[::1"), ("x-forwarded-proto", "ftp")] {
        harness.get("/api/me").by(&ada).instead(name, value).send().await.ok(200);
    }
    let body = json!({ "email": "nobody@example.org", "password": PASSWORD });
    let nowhere = harness.post("/api/login", &body).instead("x-real-ip", "not an address");
    nowhere.send().await.refused(401, "invalid_credentials");
}
