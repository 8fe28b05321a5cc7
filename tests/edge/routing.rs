//! Which route takes a request: host, wildcard, path, method and header, the most specific first.

use crate::harness::ordinary::http2;
use crate::harness::{Answer, CHAT, Harness, Reply, Request, Scripted, chat_body};

/// An edge with a route for each of these matches, each with an answer of its own.
fn edge(routes: &[(&str, &str)]) -> Harness {
    let builder = routes.iter().fold(Harness::builder(), |builder, (name, matching)| {
        builder.route(&format!("name: {name}, match: {{ {matching} }}, respond: {{ body: {name} }}"))
    });
    builder.start()
}

fn asked(edge: &Harness, method: &str, host: &str, path: &str) -> Answer {
    edge.ask(&Request::new(method, path).instead("Host", host))
}

#[test]
fn the_most_specific_route_takes_a_request_whatever_the_order() {
    let edge = edge(&[
        ("under", "host: '*.example.org'"),
        ("app", "host: app.example.org"),
        ("app-docs", "host: app.example.org, path: /docs/"),
        ("app-docs-exact", "host: app.example.org, exact: /docs"),
        ("app-docs-post", "host: app.example.org, path: /docs/, methods: [POST]"),
        ("app-docs-beta", "host: app.example.org, path: /docs/, headers: { x-beta: 'yes' }"),
        ("tokens", "path: /docs, headers: { x-token: '*' }"),
    ]);
    for (method, host, path, route) in [
        ("GET", "app.example.org", "/", "app"),
        ("GET", "APP.example.org:8080", "/x", "app"),
        ("GET", "wiki.example.org", "/docs/", "under"),
        ("GET", "a.wiki.example.org", "/", "under"),
        ("GET", "app.example.org", "/docs", "app-docs-exact"),
        ("GET", "app.example.org", "//docs", "app-docs-exact"),
        ("GET", "app.example.org", "/docs/", "app-docs"),
        ("GET", "app.example.org", "/docs/a", "app-docs"),
        ("GET", "app.example.org", "/docsx", "app"),
        ("POST", "app.example.org", "/docs/a", "app-docs-post"),
    ] {
        assert_eq!(asked(&edge, method, host, path).text(), route, "{method} {host}{path}");
    }
    let beta = |value: &str| Request::get("/docs/a").instead("Host", "app.example.org").header("X-Beta", value);
    assert_eq!(edge.ask(&beta("yes")).text(), "app-docs-beta");
    assert_eq!(edge.ask(&beta("no")).text(), "app-docs");
    assert_eq!(edge.ask(&Request::get("/docs").header("x-token", "any")).text(), "tokens");
    // Nothing else takes these: they are for the application behind `/`.
    edge.ask(&Request::get("/docs"));
    edge.ask(&Request::get("/").instead("Host", "example.org"));
    assert_eq!(edge.web.count(), 2);
}

#[test]
fn a_page_and_the_models_may_share_a_domain_or_have_their_own() {
    let [app, api] = [Scripted::start(), Scripted::start()];
    let edge = Harness::builder()
        .also("app", &format!("targets: [\"http://{}\"]", app.address))
        .upstream_at("api.example.org", &format!("http://{}", api.address))
        .route("match: { host: app.example.org }, upstream: app")
        .route("match: { host: api.example.org, path: / }, respond: { status: 404 }")
        .start();
    app.then(Reply::raw("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\napp"));
    assert_eq!(asked(&edge, "GET", "app.example.org", "/").text(), "app");
    assert_eq!(asked(&edge, "GET", "api.example.org", "/").status, 404);
    let chat = edge.request(CHAT, &chat_body()).instead("Host", "api.example.org");
    assert_eq!(edge.ask(&chat).status, 200);
    assert_eq!((api.count(), edge.upstream.count()), (1, 0));
    assert_eq!(edge.chat().status, 200, "one domain for both");
}

#[test]
fn an_application_may_have_paths_that_are_models_elsewhere() {
    let app = Scripted::start();
    let edge = Harness::builder()
        .also("app", &format!("targets: [\"http://{}\"]", app.address))
        .route("match: { host: app.example.org }, upstream: app")
        .route("match: { path: /v1/embeddings }, upstream: app")
        .start();
    app.always(|_| Some(Reply::json(200, "{}")));
    let mut client = edge.client();
    for length in [0, 10, 100_000] {
        let body = vec![b'x'; length];
        let answer = client.ask(&Request::post(CHAT, body.clone()).instead("Host", "app.example.org"));
        assert_eq!((answer.status, app.last().body == body), (200, true), "{length} bytes: {answer}");
        assert_eq!(client.ask(&edge.request(CHAT, &chat_body())).status, 200, "a model, on the same connection");
    }
    let over_h2 = http2(&edge, "/v1/embeddings", &["{\"input\":1}".to_string()]).remove(0).answer;
    assert_eq!((over_h2.status, app.last().body.as_slice()), (200, &b"{\"input\":1}"[..]));
    assert_eq!((app.count(), edge.upstream.count()), (4, 3));
    assert_eq!(edge.ask(&Request::post(CHAT, "{}").instead("Host", "nobody.example.org")).status, 401);
    edge.rows(3);
}
