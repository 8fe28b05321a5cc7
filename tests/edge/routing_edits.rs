//! What a route changes: paths, headers, redirects, pages.

use crate::harness::ordinary::{http2, http2_with};
use crate::harness::{Answer, Client, Harness, Reply, Request};

/// An edge with one route at `/app`, with these further keys.
fn edge(fields: &str) -> Harness {
    Harness::builder().route(&format!("name: app, match: {{ path: /app }}, upstream: web, {fields}")).start()
}

#[test]
fn paths_are_cut_rewritten_and_prefixed_and_the_query_stays() {
    for (fields, asked, sent) in [
        ("strip_prefix: /app", "/app/x?a=1&b=%20", "/x?a=1&b=%20"),
        ("strip_prefix: /app/", "/app", "/"),
        ("strip_prefix: /app", "//app//x", "/x"),
        ("add_prefix: /v2", "/app/x", "/v2/app/x"),
        ("rewrite: { pattern: '^/app/(\\w+)/old$', to: '/new/$1' }", "/app/a/old?q", "/new/a?q"),
        ("strip_prefix: /app, rewrite: { pattern: 'x+', to: y }, add_prefix: /z/", "/app/xx/x", "/z/y/x"),
        ("request_headers: { set: { x-a: b } }", "/app/%7e/ä?", "/app/%7e/ä?"),
    ] {
        let edge = edge(fields);
        edge.ask(&Request::get(asked));
        assert_eq!(edge.web.last().path(), sent, "{fields}");
        let stripped = fields.contains("strip_prefix").then_some("/app");
        assert_eq!(edge.web.last().header("x-forwarded-prefix"), stripped, "{fields}");
    }
}

#[test]
fn headers_are_taken_away_set_and_added_both_ways() {
    let edge = edge(
        "request_headers: { remove: [x-secret], set: { x-tenant: one, host: inner.test }, add: { x-more: b } }, \
         response_headers: { remove: [server], set: { x-frame-options: DENY }, add: { x-more: d } }",
    );
    edge.web.then(Reply::raw(
        "HTTP/1.1 200 OK\r\nserver: old/1.0\r\nx-frame-options: ALLOW\r\nx-more: c\r\ncontent-length: 2\r\n\r\nhi",
    ));
    let request = Request::get("/app").header("X-Secret", "1").header("X-Tenant", "mine").header("X-More", "a");
    let answer = edge.ask(&request);
    let sent = edge.web.last();
    assert_eq!((sent.header("x-secret"), sent.header("x-tenant")), (None, Some("one")));
    assert_eq!((sent.header("host"), sent.header("x-forwarded-host")), (Some("inner.test"), Some("cfx.test")));
    let more = |headers: &str| headers.to_lowercase().lines().filter(|line| line.starts_with("x-more:")).count();
    assert_eq!(more(&sent.head), 2);
    assert_eq!((answer.header("server"), answer.header("x-frame-options")), (None, Some("DENY")));
    assert_eq!(answer.headers.iter().filter(|(name, _)| name == "x-more").count(), 2);
    // cfx's own answers on this route are dressed likewise.
    edge.web.always(|_| Some(Reply::hang_up()));
    let refused = edge.ask(&Request::get("/app"));
    assert_eq!((refused.status, refused.header("x-frame-options")), (502, Some("DENY")));
    // Another route is another matter.
    edge.web.always(|_| None);
    assert_eq!(edge.ask(&Request::get("/")).header("x-frame-options"), None);
}

#[test]
fn a_redirect_keeps_path_and_query_and_leads_to_no_host_that_the_client_names() {
    let edge = Harness::builder()
        .route("match: { host: example.org }, redirect: { to: \"https://www.example.org{path}{query}\" }")
        .route("match: { path: /old }, redirect: { to: \"{path}{query}\", status: 302 }, strip_prefix: /old, add_prefix: /new")
        .route("match: { path: /same }, redirect: { to: \"{path}\", status: 303 }, strip_prefix: /same")
        .route("match: { path: /host }, redirect: { to: \"http://{host}/x\", status: 307 }")
        .start();
    let to = |request: &Request| {
        let answer = edge.ask(request);
        (answer.status, answer.header("location").unwrap_or_default().to_string())
    };
    let moved = to(&Request::new("POST", "/a/b?c=d").instead("Host", "example.org:80"));
    assert_eq!(moved, (308, "https://www.example.org/a/b?c=d".to_string()));
    assert_eq!(to(&Request::get("/old/x?y")), (302, "/new/x?y".to_string()));
    assert_eq!(to(&Request::get("/same//evil.example")), (303, "/evil.example".to_string()));
    assert_eq!(to(&Request::get("/same/\\evil.example")), (400, String::new()));
    assert_eq!(to(&Request::get("/host")), (307, "http://cfx.test/x".to_string()));
    assert_eq!(edge.web.count(), 0);
}

#[test]
fn a_fixed_answer_needs_no_upstream() {
    let edge = Harness::builder()
        .file("robots.txt", "User-agent: *\n")
        .route("match: { exact: /robots.txt }, respond: { file: robots.txt }")
        .route("match: { path: /gone }, respond: { status: 410, body: '{\"gone\":true}', content_type: application/json }, response_headers: { set: { cache-control: max-age=60 } }")
        .route("match: { path: /empty }, respond: { status: 204 }")
        .start();
    let robots = edge.ask(&Request::get("/robots.txt"));
    assert_eq!((robots.status, robots.text().as_str()), (200, "User-agent: *\n"));
    assert_eq!(robots.header("content-type"), Some("text/plain; charset=utf-8"));
    let gone = edge.ask(&Request::post("/gone", "{}"));
    assert_eq!((gone.status, gone.header("cache-control")), (410, Some("max-age=60")));
    assert_eq!(gone.json()["gone"], true);
    let mut client = edge.client();
    let empty = client.ask(&Request::get("/empty"));
    assert_eq!((empty.status, empty.header("content-length"), empty.header("transfer-encoding")), (204, None, None));
    assert_eq!(client.ask(&Request::get("/empty")).status, 204, "the connection is as good as before");
}

#[test]
fn a_page_of_the_routes_stands_in_for_an_error() {
    let edge = Harness::builder()
        .file("404.html", "<h1>not here</h1>")
        .file("5xx.html", "<h1>back soon</h1>")
        .route("match: { path: /app }, upstream: web, errors: { \"404\": 404.html, \"500-599\": 5xx.html }")
        .start();
    let whole = |answer: crate::harness::Answer| (answer.status, answer.text(), answer.complete);
    let mut client: Client = edge.client();
    for (from_upstream, status, page) in [
        ("HTTP/1.1 404 No\r\ncontent-length: 5\r\n\r\nother", 404, "<h1>not here</h1>"),
        (
            "HTTP/1.1 500 No\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
            500,
            "<h1>back soon</h1>",
        ),
        ("HTTP/1.1 403 No\r\ncontent-length: 5\r\n\r\nother", 403, "other"),
        ("HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n", 503, "<h1>back soon</h1>"),
    ] {
        edge.web.then(Reply::raw(from_upstream));
        let answer = client.ask(&Request::get("/app/x"));
        assert_eq!(whole(answer.clone()), (status, page.to_string(), true), "{from_upstream}");
        if page.starts_with('<') {
            assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
        }
        assert!(answer.header("x-request-id").is_some());
        client = edge.client();
    }
    // What cfx itself has to say looks the same, and still carries its code in the log.
    edge.web.always(|_| Some(Reply::hang_up()));
    assert_eq!(whole(edge.ask(&Request::get("/app"))), (502, "<h1>back soon</h1>".to_string(), true));
    edge.assert_metric("cfx_refusals_total", &["upstream_error"], 1.0);
    let head = edge.ask(&Request::get("/other"));
    assert!(head.text().contains("upstream_error"), "{head}");
}

#[test]
fn a_page_in_the_place_of_an_empty_answer_keeps_what_its_head_says() {
    let edge = Harness::builder()
        .file("401.html", "<h1>sign in</h1>")
        .route(
            "match: { path: /app }, upstream: web, errors: { \"401\": 401.html }, \
             response_headers: { add: { x-more: a }, remove: [server] }",
        )
        .start();
    let said = "www-authenticate: Bearer realm=\"app\"\r\nset-cookie: a=1\r\nset-cookie: b=2\r\nretry-after: 7\r\n\
                server: old\r\netag: \"x\"\r\n";
    let count = |answer: &Answer, name: &str| answer.headers.iter().filter(|(have, _)| have == name).count();
    for body in ["", "x"] {
        let length = body.len();
        let raw = format!("HTTP/1.1 401 No\r\n{said}content-length: {length}\r\n\r\n{body}");
        edge.web.always(move |_| Some(Reply::raw(raw.as_str())));
        let over_h2 = http2_with(&edge, "/app", &[]);
        for answer in [edge.ask(&Request::get("/app")), edge.ask(&Request::post("/app", "a body")), over_h2] {
            assert_eq!((answer.status, answer.text().as_str(), answer.complete), (401, "<h1>sign in</h1>", true));
            assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"app\""), "{answer}");
            assert_eq!((answer.header("retry-after"), answer.header("content-length")), (Some("7"), Some("16")));
            assert_eq!((count(&answer, "set-cookie"), count(&answer, "x-more")), (2, 1), "{answer}");
            assert_eq!((count(&answer, "x-request-id"), count(&answer, "server-timing")), (1, 1), "{answer}");
            assert_eq!((answer.header("server"), answer.header("etag")), (None, None));
            assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
        }
        let head = edge.client().stream(&Request::new("HEAD", "/app"));
        assert_eq!((head.status, head.header("content-length")), (401, Some("16")));
    }
}

#[test]
fn http_2_is_edited_like_http_1() {
    let edge = Harness::builder()
        .file("5xx.html", "<h1>back soon</h1>")
        .route("match: { path: /app }, upstream: web, strip_prefix: /app, body: 4B, errors: { \"500-599\": 5xx.html }")
        .start();
    edge.web.then(Reply::raw("HTTP/1.1 500 No\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"));
    let seen = http2(&edge, "/app/x?y", &["1234".to_string()]).remove(0).answer;
    assert_eq!((seen.status, seen.text().as_str(), seen.complete), (500, "<h1>back soon</h1>", true));
    let sent = edge.web.last();
    assert_eq!((sent.path(), sent.header("x-forwarded-prefix")), ("/x?y", Some("/app")));
    assert_eq!(http2(&edge, "/app", &["12345".to_string()]).remove(0).answer.status, 413);
}
