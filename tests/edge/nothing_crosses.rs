//! The two sides of cfx must not see each other: no key, cookie or steering header goes up, nothing of LiteLLM comes down.

use crate::harness::{CHAT, Harness, Reply, Request, UPSTREAM_KEY, body_for, chat_body, streaming};

const POSTS: [&str; 6] =
    [CHAT, "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/messages", "/v1/messages/count_tokens"];

/// Headers a client may send that must stop here.
const STAYS: [(&str, &str); 22] = [
    ("Cookie", "session=of-the-client"),
    ("X-CFX-Stage", "plan"),
    ("X-CFX-Session-Id", "s-1"),
    ("x-litellm-api-key", "sk-1"),
    ("x-litellm-tags", "free"),
    ("x-litellm-enable-message-redaction", "false"),
    ("litellm-disable-message-redaction", "true"),
    ("Proxy-Authorization", "Basic eA=="),
    ("TE", "trailers"),
    ("Keep-Alive", "timeout=5"),
    ("Upgrade", "h2c"),
    ("X-Forwarded-For", "203.0.113.9"),
    ("X-Forwarded-Host", "elsewhere.example"),
    ("Forwarded", "for=203.0.113.9"),
    ("X-Real-IP", "203.0.113.9"),
    ("HTTP-Referer", "https://roocode.com"),
    ("X-Title", "Roo Code"),
    ("OpenAI-Organization", "org-1"),
    ("x-stainless-lang", "python"),
    ("Accept-Encoding", "gzip, br"),
    ("X-Amzn-Trace-Id", "Root=1"),
    ("User-Agent", "client-of-somebody/1.0"),
];

#[test]
fn what_goes_up_is_built_here() {
    let edge = Harness::start();
    for path in POSTS {
        let bare = Request::post(path, body_for(path).to_string()).key(&edge.key);
        let bare = bare.header("x-api-key", &edge.key).header("api-key", &edge.key);
        let request = STAYS.iter().fold(bare, |request, (name, value)| request.header(name, value));
        let answer = edge.ask(&request.header("anthropic-version", "2023-06-01"));
        assert_eq!(answer.status, 200, "{path}: {answer}");
        let seen = edge.upstream.last();
        assert_eq!(seen.line(), format!("POST {path} HTTP/1.1"));
        assert!(!seen.head.contains(&edge.key), "{path}: the client's key went up: {}", seen.head);
        for (name, value) in STAYS {
            let same = seen.header(name).is_some_and(|have| have == value);
            assert!(!same, "{path}: {name} went up: {}", seen.head);
        }
        assert_eq!(seen.header("authorization"), Some(format!("Bearer {UPSTREAM_KEY}").as_str()));
        assert_eq!(seen.header("content-type"), Some("application/json"));
        assert_eq!(seen.header("anthropic-version"), Some("2023-06-01"), "{path}: what the dialect needs is passed");
        assert_eq!(seen.header("host"), Some(edge.upstream.address.to_string().as_str()));
        assert_eq!(seen.header("x-request-id"), answer.header("x-request-id"));
        let trace = seen.header("traceparent").expect("a trace");
        assert!(trace.starts_with("00-") && trace.len() == 55, "{trace}");
        assert_eq!(seen.header("transfer-encoding"), None, "the length is known, so it is said");
    }
}

#[test]
fn every_line_of_a_beta_list_goes_up() {
    let edge = Harness::start();
    let request = edge.request("/v1/messages", &body_for("/v1/messages"));
    let request = request.header("anthropic-beta", "one-2025-01-01,two").header("Anthropic-Beta", "three");
    assert_eq!(edge.ask(&request).status, 200);
    let seen = edge.upstream.last();
    for line in ["anthropic-beta: one-2025-01-01,two\r\n", "anthropic-beta: three\r\n"] {
        assert!(seen.head.to_lowercase().contains(line), "{line:?} is not in {}", seen.head);
    }
}

#[test]
fn a_clients_trace_goes_on() {
    let edge = Harness::start();
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    edge.ask(&edge.request(CHAT, &chat_body()).header("traceparent", &format!("00-{trace}-00f067aa0ba902b7-01")));
    let seen = edge.upstream.last();
    let sent = seen.header("traceparent").expect("a trace");
    assert!(sent.contains(trace) && !sent.contains("00f067aa0ba902b7"), "the same trace, a span of ours: {sent}");
}

#[test]
fn what_comes_down_names_nothing_behind_us() {
    let edge = Harness::start();
    let address = edge.upstream.address.to_string();
    let secrets = [UPSTREAM_KEY, address.as_str(), "10.0.0.7", "uvicorn", "litellm"];
    let replies: [(fn() -> Reply, u16); 4] = [
        (Reply::usual, 200),
        (Reply::hang_up, 502),
        (|| Reply::json(401, r#"{"error":{"message":"bad key sk-litellm-held-by-the-edge-only at 10.0.0.7"}}"#), 502),
        (|| Reply::json(500, r#"{"error":{"message":"litellm.InternalServerError: 10.0.0.7"}}"#), 502),
    ];
    for (reply, status) in replies {
        // Always: a kept connection that breaks is tried again, and the second try must not be answered otherwise.
        edge.upstream.always(move |_| Some(reply()));
        for body in [chat_body(), streaming(chat_body())] {
            let answer = edge.post(CHAT, &body);
            assert_eq!(answer.status, status, "{answer}");
            let all = format!("{answer}").to_lowercase();
            for secret in secrets {
                assert!(!all.contains(&secret.to_lowercase()), "{secret:?} came down: {answer}");
            }
        }
    }
}

#[test]
fn other_paths_of_v1_never_reach_litellm_by_any_spelling() {
    let edge = Harness::start();
    for path in [
        "/v1/key/generate",
        "/v1/files",
        "/v1/",
        "/v1",
        "/v1/chat/completions/",
        "/v1/chat/completions/x",
        "/v1/./files",
        "/v1/%2e%2e/key/generate",
        "/v1/chat/completions%2f..%2f..%2fkey",
        "/v1\\key\\generate",
        "/v1/chat//completions/../../files",
        "/V1/chat/completions",
        "//v1/files",
        "/v1;x/files",
    ] {
        for method in ["GET", "POST", "PUT"] {
            let before = edge.web.count();
            let answer = edge.ask(&Request::new(method, path).key(&edge.key));
            let at_the_web = edge.web.count() - before == 1;
            assert!(at_the_web || answer.status >= 400, "{method} {path}: {answer}");
        }
    }
    assert_eq!(edge.upstream.count(), 0, "{:?}", edge.upstream.requests());
}

#[test]
fn a_web_page_gets_no_key_of_litellm_but_everything_else() {
    let edge = Harness::start();
    edge.web.then(Reply::json(200, "{}"));
    let answer =
        edge.ask(&Request::get("/some/page?q=1").header("Cookie", "a=b").header("X-Forwarded-For", "203.0.113.9"));
    assert_eq!(answer.status, 200);
    let seen = edge.web.last();
    assert_eq!(seen.line(), "GET /some/page?q=1 HTTP/1.1");
    assert_eq!(seen.header("cookie"), Some("a=b"));
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"), "what the client says of itself is not believed");
    assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
    let lied = edge.ask(&Request::get("/").header("X-Forwarded-Proto", "https"));
    assert_eq!(lied.header("x-request-id"), edge.web.last().header("x-request-id"));
    assert_eq!(edge.web.last().header("x-forwarded-proto"), Some("http"), "nobody we trust said so");
    assert!(!seen.head.contains(UPSTREAM_KEY));
}

#[test]
fn a_trusted_proxy_is_believed_about_the_client() {
    let edge = Harness::builder().edge("trusted_proxies: [127.0.0.0/8]").start();
    edge.web.then(Reply::json(200, "{}"));
    let headers = [("X-Forwarded-For", "198.51.100.1, 203.0.113.9"), ("X-Forwarded-Proto", "https")];
    let request = headers.iter().fold(Request::get("/"), |request, (name, value)| request.header(name, value));
    assert_eq!(edge.ask(&request).status, 200);
    let seen = edge.web.last();
    let client = seen.header("x-forwarded-for").expect("an address");
    assert!(client.ends_with("203.0.113.9"), "the last address that is no proxy of ours: {client}");
    assert_eq!(seen.header("x-forwarded-proto"), Some("https"), "as the proxy said");
}
