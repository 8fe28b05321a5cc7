//! What routes ask of a request: where it comes from, how often, who it is, how large it is.

use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::harness::{Answer, Builder, CHAT, Harness, Reply, Request, Scripted, chat_body, gate};

/// An edge that believes the test about addresses, with one route at `/app` that has these further keys.
fn edge(fields: &str) -> Harness {
    started(builder(fields))
}

/// The application behind it is content with everything.
fn started(builder: Builder) -> Harness {
    let edge = builder.start();
    edge.web.always(|_| Some(Reply::json(200, "{}")));
    edge
}

fn builder(fields: &str) -> Builder {
    let builder = Harness::builder().edge("trusted_proxies: [127.0.0.1]");
    builder.route(&format!("name: app, match: {{ path: /app }}, upstream: web, {fields}"))
}

fn from(address: &str) -> Request {
    Request::get("/app").header("X-Forwarded-For", address)
}

fn code(answer: &Answer) -> (u16, String) {
    (answer.status, answer.code())
}

#[test]
fn only_listed_addresses_may_come() {
    let edge = started(
        builder("allow: [10.0.0.0/8, \"2001:db8::/32\"]")
            .route("match: { host: api.test, path: /v1/ }, llm: litellm, allow: [10.0.0.0/8]"),
    );
    for address in ["10.1.2.3", "2001:db8::1"] {
        assert_eq!(edge.ask(&from(address)).status, 200, "{address}");
    }
    for address in ["192.0.2.1", "2001:db9::1"] {
        assert_eq!(code(&edge.ask(&from(address))), (403, "address_not_allowed".to_string()), "{address}");
    }
    assert_eq!(edge.web.count(), 2);
    let chat = edge.request(CHAT, &chat_body()).instead("Host", "api.test");
    assert_eq!(edge.ask(&chat).status, 403, "a key is no address");
    assert_eq!(edge.ask(&chat.header("X-Forwarded-For", "10.0.0.1")).status, 200);
    edge.assert_metric("cfx_refusals_total", &["address_not_allowed"], 3.0);
}

#[test]
fn an_address_that_asks_too_often_waits_and_nobody_else_does() {
    let edge = edge("rate_limit: { requests: 2, per: 1h }");
    assert_eq!([0; 2].map(|_| edge.ask(&from("2001:db8::1")).status), [200; 2]);
    let refused = edge.ask(&from("2001:db8::ffff:2")); // of the same network
    assert_eq!(code(&refused), (429, "rate_limit_exceeded".to_string()));
    let wait: u64 = refused.header("retry-after").and_then(|wait| wait.parse().ok()).expect("a wait");
    assert!((1700..=1800).contains(&wait), "{wait}");
    assert_eq!(edge.ask(&from("2001:db8:0:1::1")).status, 200);
    assert_eq!(edge.ask(&Request::get("/other").header("X-Forwarded-For", "2001:db8::1")).status, 200);
}

#[test]
fn an_address_has_so_many_requests_under_way_and_no_more() {
    let edge = edge("in_flight: 1");
    let (opener, closed) = gate();
    edge.web.then(Reply::script(move |exchange| {
        closed.pass();
        exchange.json(200, "{}");
    }));
    let mut first = edge.client();
    first.send(&from("10.0.0.1").bytes());
    edge.web.wait_for(1);
    assert_eq!(code(&edge.ask(&from("10.0.0.1"))), (429, "too_many_concurrent_requests".to_string()));
    assert_eq!(edge.ask(&from("10.0.0.2")).status, 200);
    opener.open();
    assert_eq!(first.answer().status, 200);
    let freed = || edge.ask(&from("10.0.0.1")).status == 200;
    assert!((0..1000).any(|_| freed()), "the place is free again once the request was accounted for");
}

#[test]
fn name_and_password_open_a_route_and_are_not_passed_on() {
    let cheap = Params::new(8, 1, 1, None).expect("parameters");
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, cheap);
    let bob = argon2.hash_password_with_salt(b"s3cret:with colon", b"0123456789abcdef").expect("a hash").to_string();
    let ada = bcrypt::hash("correct horse", 4).expect("a hash");
    let edge = started(
        builder("basic_auth: { file: users, realm: The app, user_header: x-user }")
            .file("users", &format!("# who may\nada:{ada}\n\nbob:{bob}\n")),
    );
    let with = |credentials: &str| {
        let encoded = STANDARD.encode(credentials);
        edge.ask(&Request::get("/app").header("Authorization", &format!("Basic {encoded}")).header("X-User", "root"))
    };
    for (credentials, user) in
        [("ada:correct horse", "ada"), ("bob:s3cret:with colon", "bob"), ("ada:correct horse", "ada")]
    {
        assert_eq!(with(credentials).status, 200, "{credentials}");
        let sent = edge.web.last();
        assert_eq!((sent.header("x-user"), sent.header("authorization")), (Some(user), None));
    }
    for wrong in ["ada:wrong", "bob:correct horse", "eve:correct horse", "ada", ":", ""] {
        let refused = with(wrong);
        assert_eq!(code(&refused), (401, "unauthorized".to_string()), "{wrong}");
        assert_eq!(refused.header("www-authenticate"), Some("Basic realm=\"The app\", charset=\"UTF-8\""));
    }
    assert_eq!(edge.ask(&Request::get("/app").header("Authorization", "Bearer ada:correct horse")).status, 401);
    assert_eq!(edge.web.count(), 3);
}

#[test]
fn another_server_decides_and_says_who_it_is() {
    let auth = Scripted::start();
    let edge = started(
        builder("forward_auth: { upstream: auth, path: \"/verify?a=1\", copy: [x-user, x-team], timeout: 2s }")
            .route(
                "match: { path: /shared }, upstream: web, forward_auth: { upstream: auth, path: /verify }, \
                 cors: { origins: [https://app.test] }",
            )
            .also("auth", &format!("targets: [\"http://{}\"]", auth.address)),
    );
    auth.then(Reply::raw("HTTP/1.1 204 Yes\r\nx-user: ada\r\nx-other: z\r\n\r\n"));
    let request = Request::post("/app/x?y", "body")
        .header("Cookie", "a=b")
        .header("X-Team", "admins")
        .header("X-Forwarded-For", "10.0.0.1");
    assert_eq!(edge.ask(&request).status, 200);
    let (asked, sent) = (auth.last(), edge.web.last());
    assert_eq!(asked.line(), "GET /verify?a=1 HTTP/1.1");
    for (name, value) in [
        ("x-forwarded-method", "POST"),
        ("x-forwarded-uri", "/app/x?y"),
        ("x-forwarded-host", "cfx.test"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-for", "10.0.0.1"),
        ("cookie", "a=b"),
    ] {
        assert_eq!(asked.header(name), Some(value), "{name}");
    }
    assert_eq!((asked.header("content-length"), asked.body.len()), (None, 0));
    assert_eq!((sent.header("x-user"), sent.header("x-team"), sent.header("x-other")), (Some("ada"), None, None));
    assert_eq!(sent.body, b"body");

    auth.then(Reply::raw(
        "HTTP/1.1 302 Sign in\r\nlocation: https://auth.test/\r\nset-cookie: s=1\r\nset-cookie: t=2\r\ncontent-length: 2\r\n\r\nno",
    ));
    let refused = edge.ask(&Request::get("/app"));
    assert_eq!(
        (refused.status, refused.header("location"), refused.text().as_str()),
        (302, Some("https://auth.test/"), "no")
    );
    assert_eq!(refused.headers.iter().filter(|(name, _)| name == "set-cookie").count(), 2);

    auth.then(Reply::raw(
        "HTTP/1.1 403 No\r\nvary: Cookie\r\nserver-timing: auth;dur=1\r\naccess-control-allow-origin: *\r\ncontent-length: 2\r\n\r\nno",
    ));
    let refused = edge.ask(&Request::get("/shared").header("Origin", "https://app.test"));
    let all = |name: &str| refused.headers.iter().filter(|(have, _)| have == name).count();
    assert_eq!((refused.status, all("vary"), all("server-timing")), (403, 2, 2), "{refused}");
    assert_eq!(
        (all("access-control-allow-origin"), refused.header("access-control-allow-origin")),
        (1, Some("https://app.test"))
    );

    // Whoever cannot be asked has not said yes; a kept connection that has died is another matter.
    auth.then(Reply::json(200, "{}"));
    assert_eq!(edge.ask(&Request::get("/app")).status, 200);
    auth.then(Reply::never());
    let silent = edge.ask(&Request::get("/app"));
    assert_eq!(code(&silent), (503, "upstream_unavailable".to_string()));
    assert_eq!(edge.web.count(), 2);
}

#[test]
fn a_page_of_another_origin_may_do_what_its_route_says() {
    let cors = "cors: { origins: [https://app.test], methods: [POST], headers: [content-type, authorization], \
                expose: [x-cfx-stage], max_age: 10m, credentials: true }";
    let edge = started(
        builder(cors)
            .route(&format!("match: {{ host: api.test, path: /v1/ }}, llm: litellm, {cors}"))
            .route("match: { path: /open }, upstream: web, cors: { origins: ['*'] }"),
    );
    let mut client = edge.client(); // one for all: no byte too many comes with an answer
    let mut preflight = |path: &str, host: &str, origin: &str| {
        let request = Request::new("OPTIONS", path).instead("Host", host).header("Origin", origin);
        client.ask(&request.header("Access-Control-Request-Method", "POST"))
    };
    for (path, host) in [("/app", "cfx.test"), (CHAT, "api.test")] {
        let answer = preflight(path, host, "https://app.test");
        assert_eq!((answer.status, answer.body.len()), (204, 0), "{answer}");
        for (name, value) in [
            ("access-control-allow-origin", "https://app.test"),
            ("access-control-allow-methods", "POST"),
            ("access-control-allow-headers", "content-type, authorization"),
            ("access-control-allow-credentials", "true"),
            ("access-control-max-age", "600"),
            ("vary", "Origin"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{name} of {path}");
        }
        assert_eq!((answer.header("transfer-encoding"), answer.header("content-length")), (None, None));
        let refused = preflight(path, host, "https://evil.test");
        assert_eq!((refused.status, refused.header("access-control-allow-origin")), (204, None));
        assert_eq!(refused.header("access-control-allow-methods"), None);
    }
    assert_eq!((edge.web.count(), edge.upstream.count()), (0, 0));

    let chat = edge.request(CHAT, &chat_body()).instead("Host", "api.test").header("Origin", "https://app.test");
    let answer = edge.ask(&chat);
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, Some("https://app.test")));
    assert_eq!(
        (answer.header("vary"), answer.header("access-control-expose-headers")),
        (Some("Origin"), Some("x-cfx-stage"))
    );
    let refused = edge.ask(&chat.clone().instead("Authorization", "Bearer nonsense"));
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (401, Some("https://app.test")));

    edge.web.then(Reply::raw(
        "HTTP/1.1 200 OK\r\nvary: Accept\r\naccess-control-allow-origin: null\r\ncontent-length: 2\r\n\r\nhi",
    ));
    let answer = edge.ask(&Request::get("/app").header("Origin", "https://app.test"));
    let all = |name: &str| -> Vec<&str> {
        answer.headers.iter().filter(|(have, _)| have == name).map(|(_, value)| value.as_str()).collect()
    };
    assert_eq!((all("vary"), all("access-control-allow-origin")), (vec!["Accept", "Origin"], vec!["https://app.test"]));
    let generous = "HTTP/1.1 200 OK\r\naccess-control-allow-origin: https://evil.test\r\naccess-control-allow-credentials: true\r\n\
                    access-control-expose-headers: x-secret\r\ncontent-length: 2\r\n\r\nhi";
    for origin in [Some("https://evil.test"), None] {
        edge.web.then(Reply::raw(generous));
        let request = Request::get("/app");
        let answer = edge.ask(&origin.iter().fold(request, |request, origin| request.header("Origin", origin)));
        let said = answer.headers.iter().find(|(name, _)| name.starts_with("access-control-"));
        assert_eq!((answer.text().as_str(), said), ("hi", None), "the application's own word does not count here");
    }
    edge.web.then(Reply::raw(generous));
    let elsewhere = edge.ask(&Request::get("/other").header("Origin", "https://evil.test"));
    assert_eq!(elsewhere.header("access-control-allow-origin"), Some("https://evil.test"), "without `cors` it does");
    edge.web.then(Reply::raw("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"));
    let open = edge.ask(&Request::get("/open").header("Origin", "https://any.test"));
    assert_eq!((open.header("access-control-allow-origin"), open.header("vary")), (Some("*"), None));
    assert_eq!(edge.ask(&Request::new("OPTIONS", "/app")).status, 200, "any other OPTIONS is the application's");
}

#[test]
fn a_body_is_held_to_the_limit_of_its_route_whether_or_not_it_says_its_length() {
    let edge = edge("body: 1KiB");
    let sized = |length: usize| Request::post("/app", vec![b'x'; length]);
    assert_eq!(edge.ask(&sized(1024)).status, 200);
    assert_eq!(code(&edge.ask(&sized(1025))), (413, "body_too_large".to_string()));
    assert_eq!(edge.web.count(), 1);
    let mut client = edge.client();
    let chunked = Request::new("POST", "/app").header("Transfer-Encoding", "chunked").framed_by_hand();
    client.send(&chunked.bytes());
    for _ in 0..3 {
        client.send(format!("200\r\n{}\r\n", "x".repeat(512)).as_bytes());
    }
    client.send(b"0\r\n\r\n");
    assert_eq!(code(&client.answer()), (413, "body_too_large".to_string()));
    assert_eq!(edge.ask(&Request::post("/other", vec![b'x'; 2000])).status, 200);
}

#[test]
fn maintenance_sends_everybody_away_but_those_who_do_it() {
    let maintenance = "maintenance: { file: soon.html, retry_after: 10m, except: [10.0.0.0/8] }";
    let edge = started(
        builder(maintenance)
            .route(&format!("match: {{ host: api.test, path: /v1/ }}, llm: litellm, {maintenance}"))
            .file("soon.html", "<h1>soon</h1>"),
    );
    let away = edge.ask(&from("192.0.2.1"));
    assert_eq!((away.status, away.text().as_str(), away.header("retry-after")), (503, "<h1>soon</h1>", Some("600")));
    assert_eq!(away.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(edge.ask(&from("10.0.0.1")).status, 200);
    let chat = edge.ask(&edge.request(CHAT, &chat_body()).instead("Host", "api.test"));
    assert_eq!(code(&chat), (503, "maintenance".to_string()), "an SDK is told in its own dialect");
    assert_eq!((edge.web.count(), edge.upstream.count()), (1, 0));
}

#[test]
fn a_route_may_wait_for_its_application_as_long_as_it_says() {
    let edge = edge("timeouts: { connect: 1s, between_chunks: 100ms }");
    edge.web.then(Reply::never());
    assert_eq!(code(&edge.ask(&Request::get("/app"))), (504, "upstream_timeout".to_string()));
}

#[test]
fn no_way_to_write_a_path_or_a_host_goes_past_the_guards() {
    let builder = Harness::builder()
        .route("name: host, match: { host: admin.test }, upstream: web, maintenance: { retry_after: 10m }");
    let edge = started(
        builder.route(
            "name: app, match: { path: /@admin/é }, upstream: web, maintenance: { retry_after: 10m }"
                .replace('é', "%c3%a9")
                .as_str(),
        ),
    );
    for path in [
        "/@admin/é",
        "/%40admin/%C3%A9",
        "/@%61dmin/%c3%a9",
        "/@adm%69n//%C3%a9/x",
        "//%40%61%64%6d%69%6e/%C3%A9",
        "/@admin;x/%c3%a9",
        "/;/@admin%3bx/%c3%a9;y/z",
    ] {
        assert_eq!(edge.ask(&Request::get(path)).status, 503, "{path}");
    }
    // What says something else goes its own way, and as it was written.
    for path in ["/@%41dmin/%c3%a9", "/@admins;x/%c3%a9", "/@admin%2561/"] {
        assert_eq!(edge.ask(&Request::get(path)).status, 200, "{path}");
        assert!(edge.web.last().head.starts_with(&format!("GET {path} HTTP/1.1")), "{path}");
    }
    for host in ["admin.test", "ADMIN.test", "admin.test.", "admin.test:80", "Admin.Test.:8080"] {
        assert_eq!(edge.ask(&Request::get("/").instead("Host", host)).status, 503, "{host}");
    }
}
