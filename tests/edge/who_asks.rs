//! Who the client is: one answer for log, limits and what stands behind, changed by nobody who is not trusted.

use std::net::Ipv4Addr;

use crate::harness::{Answer, Builder, CHAT, Client, Harness, Reply, Request, Scripted, chat_body, gate};

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
    let logged = logged(edge, id);
    (address, logged, seen.header("x-forwarded-proto") == Some("https"))
}

/// The client of the request with this id, as the access log has it.
fn logged(edge: &Harness, id: &str) -> String {
    let line = edge.process.wait_for_line(id).expect("a line in the log");
    line.split(r#""client":""#).nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default().to_string()
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

/// What else proxies say, and applications go by.
const SAYINGS: [&str; 8] = [
    "X-Forwarded-Port",
    "X-Forwarded-Server",
    "X-Forwarded-Prefix",
    "X-Forwarded-Ssl",
    "X-Original-URL",
    "X-Original-Host",
    "X-Rewrite-URL",
    "Front-End-Https",
];

#[test]
fn what_else_a_proxy_says_reaches_an_application_from_one_that_is_trusted_and_from_nobody_else() {
    for (trust, reaches) in [(NOBODY_HERE, None), (TRUSTED, Some("/said"))] {
        let auth = Scripted::start();
        auth.always(|_| Some(Reply::json(200, "{}")));
        let edge = Harness::builder()
            .edge(trust)
            .also("auth", &format!("targets: [\"http://{}\"]", auth.address))
            .route("match: { path: /asked }, upstream: web, forward_auth: { upstream: auth, path: /verify }");
        let edge = start(edge);
        for path in ["/", "/asked"] {
            let request = SAYINGS.iter().fold(Request::get(path), |request, name| request.header(name, "/said"));
            assert_eq!(edge.ask(&request.header("X-Requested-With", "fetch")).status, 200);
            for name in SAYINGS {
                assert_eq!(edge.web.last().header(&name.to_lowercase()), reaches, "{name}, {trust}");
            }
            assert_eq!(edge.web.last().header("x-requested-with"), Some("fetch"));
        }
        let asked = auth.last();
        assert!(SAYINGS.iter().all(|name| asked.header(&name.to_lowercase()).is_none()), "{}", asked.head);
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
    [Claim::Version1, Claim::Version2].map(|claim| claim.proxy_header(CLIENT).expect("one of them"))
}

/// A way of saying whose a request is.
#[derive(Debug, Clone, Copy)]
enum Claim {
    Header(&'static str),
    Version1,
    Version2,
}

impl Claim {
    fn proxy_header(self, address: &str) -> Option<Vec<u8>> {
        let octets = address.parse::<Ipv4Addr>().expect("an address").octets();
        let fixed = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c";
        match self {
            Claim::Header(_) => None,
            Claim::Version1 => Some(format!("PROXY TCP4 {address} 127.0.0.1 12345 443\r\n").into_bytes()),
            Claim::Version2 => Some([&fixed[..], &octets, &[127, 0, 0, 1, 0x30, 0x39, 1, 187]].concat()),
        }
    }

    /// Asks for a page in the name of `address`, on a connection of its own.
    fn send(self, edge: &Harness, path: &str, address: &str) -> Client {
        let mut client = edge.client();
        let mut request = Request::get(path);
        match self {
            Claim::Header("forwarded") => request = request.header("Forwarded", &format!("for={address}")),
            Claim::Header(name) => request = request.header(name, address),
            _ => client.send_below(&self.proxy_header(address).unwrap_or_default()),
        }
        client.send(&request.bytes());
        client
    }

    fn ask(self, edge: &Harness, path: &str, address: &str) -> Answer {
        self.send(edge, path, address).answer()
    }

    fn edge(self, trust: &str) -> Harness {
        let builder = match self {
            Claim::Header(name) => Harness::builder().edge(&format!("client_header: {name}")),
            _ => Harness::builder().proxy_protocol(),
        };
        let routes = [
            "match: { path: /theirs }, upstream: web, allow: [203.0.113.0/24]",
            "match: { path: /ours }, upstream: web, allow: [127.0.0.0/8]",
            "match: { path: /seldom }, upstream: web, rate_limit: { requests: 1, per: 1h }",
            "match: { path: /alone }, upstream: web, in_flight: 1",
        ];
        start(routes.iter().fold(builder.edge(trust), |builder, route| builder.route(route)))
    }
}

const OTHER: &str = "198.51.100.1";

/// One is asked for in the name of [`CLIENT`] and is under way when another is in the name of [`OTHER`].
fn two_at_once(edge: &Harness, claim: Claim) -> (u16, u16) {
    let (opener, closed) = gate();
    let had = edge.web.count();
    edge.web.then(Reply::script(move |exchange| {
        closed.pass();
        exchange.json(200, "{}");
    }));
    let mut first = claim.send(edge, "/alone", CLIENT);
    edge.web.wait_for(had + 1);
    let second = claim.ask(edge, "/alone", OTHER).status;
    opener.open();
    (first.answer().status, second)
}

#[test]
fn a_claim_changes_log_allow_lists_and_limits_where_its_sender_is_trusted() {
    let headers = ["x-forwarded-for", "forwarded", "cf-connecting-ip"].map(Claim::Header);
    for claim in headers.into_iter().chain([Claim::Version1, Claim::Version2]) {
        let edge = claim.edge(TRUSTED);
        let status = |path, address| claim.ask(&edge, path, address).status;
        assert_eq!([status("/theirs", CLIENT), status("/theirs", OTHER)], [200, 403], "{claim:?}");
        let refused = claim.ask(&edge, "/ours", CLIENT);
        assert_eq!((refused.status, refused.code().as_str()), (403, "address_not_allowed"), "{claim:?}");
        assert_eq!(logged(&edge, refused.header("x-request-id").expect("an id")), CLIENT, "{claim:?}");
        let seldom = [CLIENT, OTHER, CLIENT].map(|address| status("/seldom", address));
        assert_eq!(seldom, [200, 200, 429], "{claim:?}: two clients");
        assert_eq!(two_at_once(&edge, claim), (200, 200), "{claim:?}: two clients");
    }
}

#[test]
fn a_claim_changes_nothing_where_its_sender_is_not_trusted() {
    for claim in ["x-forwarded-for", "forwarded", "cf-connecting-ip"].map(Claim::Header) {
        let edge = claim.edge(NOBODY_HERE);
        let status = |path, address| claim.ask(&edge, path, address).status;
        assert_eq!([status("/theirs", CLIENT), status("/ours", CLIENT)], [403, 200], "{claim:?}");
        let refused = claim.ask(&edge, "/theirs", CLIENT);
        assert_eq!(logged(&edge, refused.header("x-request-id").expect("an id")), "127.0.0.1", "{claim:?}");
        assert_eq!([CLIENT, OTHER].map(|address| status("/seldom", address)), [200, 429], "{claim:?}: one client");
        assert_eq!(two_at_once(&edge, claim), (200, 429), "{claim:?}: one client");
    }
    for claim in [Claim::Version1, Claim::Version2] {
        let edge = claim.edge(NOBODY_HERE);
        for path in ["/theirs", "/ours", "/seldom", "/alone"] {
            assert_eq!(claim.ask(&edge, path, CLIENT).status, 400, "{claim:?}: it is no HTTP");
        }
        assert_eq!(edge.web.count(), 0);
        assert_eq!(edge.ask(&Request::get("/ours")).status, 200);
    }
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
