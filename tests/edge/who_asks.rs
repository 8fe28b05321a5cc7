//! Who the client is: one answer for log, limits and what stands behind, changed by nobody who is not trusted.

use std::net::Ipv4Addr;

use crate::harness::{Builder, CHAT, Client, Harness, Reply, Request, chat_body};

const CLIENT: &str = "203.0.113.9";
const TRUSTED: &str = "trusted_proxies: [127.0.0.0/8]";
const NOBODY_HERE: &str = "trusted_proxies: [192.0.2.1]";

fn start(builder: Builder) -> Harness {
    let edge = builder.start();
    edge.web.always(|_| Some(Reply::json(200, "{}")));
    edge
}

/// What the web application and the access log were told of a page's client, and whether it came by https.
fn told(edge: &mut Harness, client: &mut Client, request: &Request) -> (String, String, bool) {
    let answer = client.ask(request);
    assert_eq!(answer.status, 200, "{answer}");
    let seen = edge.web.last();
    for claim in ["forwarded", "cf-connecting-ip", "true-client-ip"] {
        assert_eq!(seen.header(claim), None, "{}", seen.head);
    }
    let address = seen.header("x-forwarded-for").expect("an address").to_string();
    assert_eq!(seen.header("x-real-ip"), Some(address.as_str()));
    let id = answer.header("x-request-id").expect("an id");
    let line = edge.process.wait_for_line(id).expect("a line in the log");
    let logged = line.split(r#""client":""#).nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
    (address, logged.to_string(), seen.header("x-forwarded-proto") == Some("https"))
}

fn claims() -> Request {
    [
        ("X-Forwarded-For", format!("6.6.6.6, {CLIENT}")),
        ("X-Forwarded-Proto", "https".to_string()),
        ("Forwarded", format!("for={CLIENT};proto=https;host=public.test")),
        ("CF-Connecting-IP", CLIENT.to_string()),
        ("True-Client-IP", CLIENT.to_string()),
        ("X-Real-IP", CLIENT.to_string()),
    ]
    .iter()
    .fold(Request::get("/"), |request, (name, value)| request.header(name, value))
}

#[test]
fn a_header_changes_nothing_from_an_untrusted_address_and_everything_from_a_trusted_one() {
    for header in ["x-forwarded-for", "forwarded", "cf-connecting-ip"] {
        for (trust, address, https) in [(NOBODY_HERE, "127.0.0.1", false), (TRUSTED, CLIENT, true)] {
            let mut edge = start(Harness::builder().edge(trust).edge(&format!("client_header: {header}")));
            let mut client = edge.client();
            let told = told(&mut edge, &mut client, &claims());
            assert_eq!(told, (address.to_string(), address.to_string(), https), "{header}, {trust}");
        }
    }
}

#[test]
fn the_host_that_a_trusted_proxy_was_asked_for_is_told() {
    for (trust, host) in [(NOBODY_HERE, "cfx.test"), (TRUSTED, "public.test")] {
        let edge = start(Harness::builder().edge(trust).edge("client_header: forwarded"));
        assert_eq!(edge.ask(&claims()).status, 200);
        assert_eq!(edge.web.last().header("x-forwarded-host"), Some(host), "{trust}");
    }
}

/// Thirty unknown keys in a minute are what an address may try.
fn try_keys(client: &mut Client, from: Option<&str>) -> u16 {
    (0..31)
        .map(|_| {
            let request = Request::post(CHAT, chat_body().to_string()).key(&unknown_key());
            let request = from.iter().fold(request, |request, address| request.header("X-Forwarded-For", address));
            client.ask(&request).status
        })
        .last()
        .unwrap_or_default()
}

/// Well formed, so that it has to be looked up.
fn unknown_key() -> String {
    cfx::admission::RawKey::mint().expect("randomness").expose().to_string()
}

#[test]
fn limits_by_address_go_by_the_same_answer() {
    let edge = start(Harness::builder().edge(TRUSTED));
    assert_eq!(try_keys(&mut edge.client(), Some(CLIENT)), 429);
    let other =
        Request::post(CHAT, chat_body().to_string()).key(&unknown_key()).header("X-Forwarded-For", "198.51.100.1");
    assert_eq!(edge.ask(&other).status, 401, "another client of the same proxy");
    let edge = start(Harness::builder().edge(NOBODY_HERE));
    let mut client = edge.client();
    assert_eq!(try_keys(&mut client, Some(CLIENT)), 429);
    assert_eq!(client.ask(&other).status, 429, "a header makes no other client of it");
}

/// A PROXY header of version 1, and one of version 2.
fn proxy_headers() -> [Vec<u8>; 2] {
    let address: Ipv4Addr = CLIENT.parse().expect("an address");
    let second = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c"[..], &address.octets(), &[127, 0, 0, 1, 0x30, 0x39, 1, 187]];
    [format!("PROXY TCP4 {CLIENT} 127.0.0.1 12345 443\r\n").into_bytes(), second.concat()]
}

#[test]
fn a_proxy_header_changes_everything_from_a_trusted_address() {
    let mut edge = start(Harness::builder().proxy_protocol().edge(TRUSTED));
    for header in proxy_headers() {
        for (mut client, https) in [(edge.client(), false), (edge.tls_client(), true)] {
            client.send_below(&header);
            for _ in 0..2 {
                let told = told(&mut edge, &mut client, &claims());
                assert_eq!(told, (CLIENT.to_string(), CLIENT.to_string(), https), "its claims are a client's own");
            }
        }
    }
    let mut client = edge.client();
    client.send_below(&proxy_headers()[0]);
    assert_eq!(try_keys(&mut client, None), 429);
    let mut other = edge.client();
    other.send_below(b"PROXY TCP4 198.51.100.1 127.0.0.1 12345 443\r\n");
    assert_eq!(other.ask(&Request::post(CHAT, chat_body().to_string()).key(&unknown_key())).status, 401);
    let mut own = edge.client();
    own.send_below(b"PROXY UNKNOWN\r\n");
    let told = told(&mut edge, &mut own, &Request::get("/"));
    assert_eq!(told.0, "127.0.0.1", "the proxy speaks for itself");
}

#[test]
fn a_trusted_proxy_that_sends_no_proxy_header_is_not_listened_to() {
    let edge = start(Harness::builder().proxy_protocol().edge(TRUSTED));
    for (number, bytes) in [&Request::get("/").bytes()[..], b"PROXY TCP4 1.2.3.4\r\n\r\n"].into_iter().enumerate() {
        let mut client = edge.client();
        client.send(bytes);
        assert!(client.read_to_close().is_empty());
        edge.assert_metric("cfx_guard_total", &["proxy_header"], number as f64 + 1.0);
    }
    assert_eq!(edge.web.count(), 0);
}

#[test]
fn a_proxy_header_changes_nothing_from_an_untrusted_address() {
    let mut edge = start(Harness::builder().proxy_protocol().edge(NOBODY_HERE));
    for header in proxy_headers() {
        let mut client = edge.client();
        client.send(&[header, Request::get("/").bytes()].concat());
        assert_eq!(client.answer().status, 400, "it is no HTTP");
    }
    assert_eq!(edge.web.count(), 0);
    let mut client = edge.client();
    let told = told(&mut edge, &mut client, &claims());
    assert_eq!(told.0, "127.0.0.1", "who sends none is served as anywhere");
}

#[test]
fn connections_are_counted_by_the_client_of_a_proxy_header() {
    let edge = start(Harness::builder().proxy_protocol().edge(TRUSTED).edge("guards: { connections_per_address: 1 }"));
    let from = |address: &str| {
        let client = edge.client();
        client.send_below(format!("PROXY TCP4 {address} 127.0.0.1 12345 443\r\n").as_bytes());
        client
    };
    let mut first = from(CLIENT);
    assert_eq!(first.ask(&Request::get("/health")).status, 200);
    assert!(from(CLIENT).read_to_close().is_empty());
    assert_eq!(from("198.51.100.1").ask(&Request::get("/health")).status, 200);
    edge.assert_metric("cfx_guard_total", &["connections_per_address"], 1.0);
}
