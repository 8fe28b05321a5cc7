//! `cfx explain` says what a live request finds: on route, upstream, path and headers.

use std::collections::BTreeSet;

use cfx::config::{Overrides, Snapshot, Source, load};
use cfx::proxy::explain::{Outcome, Question, explain};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::harness::process::printed;
use crate::harness::{Answer, Client, Harness, Request, Scripted, cfx};

/// Every kind of route, each of which says its name in its answers.
const ROUTES: [(&str, &str); 12] = [
    ("app", "match: { host: app.test }, upstream: one"),
    ("app-docs", "match: { host: app.test, path: /docs/ }, upstream: two, strip_prefix: /docs"),
    ("app-post", "match: { host: app.test, path: /docs/, methods: [POST, PUT] }, upstream: one, add_prefix: /p"),
    (
        "app-beta",
        "match: { host: app.test, path: /docs/, headers: { x-beta: 'yes' } }, upstream: two, \
      request_headers: { set: { x-beta: seen }, add: { x-more: added } }",
    ),
    ("under", "match: { host: '*.app.test' }, upstream: two, rewrite: { pattern: '^/(\\w+)/(\\w+)', to: '/$2/$1' }"),
    ("under-a", "match: { host: '*.a.app.test', path: /docs }, upstream: one, request_headers: { remove: [x-beta] }"),
    ("exact", "match: { exact: /docs/a }, upstream: one, request_headers: { set: { host: inner.test } }"),
    ("docs", "match: { path: /docs }, upstream: two, strip_prefix: /docs, add_prefix: /d"),
    ("any-beta", "match: { headers: { x-beta: '*' } }, upstream: one"),
    (
        "away",
        "match: { path: /away }, redirect: { to: \"https://else.test{path}{query}\", status: 302 }, strip_prefix: /away",
    ),
    ("fixed", "match: { path: /away/fixed, methods: [GET] }, respond: { status: 299, body: fixed }"),
    ("delete", "match: { methods: [DELETE] }, respond: { status: 405 }"),
];

fn start([one, two]: [&Scripted; 2]) -> Harness {
    let target = |upstream: &Scripted| format!("targets: [\"http://{}\"]", upstream.address);
    let builder = Harness::builder().also("one", &target(one)).also("two", &target(two));
    let named = |builder: crate::harness::Builder, (name, fields): &(&str, &str)| {
        builder.route(&format!("name: {name}, {fields}, response_headers: {{ set: {{ x-route: {name} }} }}"))
    };
    ROUTES.iter().fold(builder, named).start()
}

fn snapshot(edge: &Harness) -> Snapshot {
    let variables = |name: &str| (name == "LITELLM_API_KEY").then(|| "sk".to_string());
    load(&Source::Directory(edge.conf()), &Overrides::default(), &variables).expect("what the edge runs on")
}

struct Asked {
    host: &'static str,
    path: String,
    method: &'static str,
    beta: Option<&'static str>,
}

/// Requests without end, the same for the same seed.
struct Chance(u64);

impl Chance {
    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        from[usize::try_from(self.0 >> 33).expect("31 bits") % from.len()]
    }

    fn request(&mut self) -> Asked {
        let hosts = ["app.test", "APP.test", "x.app.test", "a.app.test", "x.a.app.test", "cfx.test", "other.test"];
        let segments = ["docs", "a", "away", "fixed", "docsx", "v1", "models", "%2e%2e", ""];
        let mut path = String::new();
        for _ in 0..self.pick(&[0, 1, 1, 2, 2, 3]) {
            path += "/";
            path += self.pick(&segments);
        }
        path += self.pick(&["/", "", "?", "?q=1&r=%2F", "/?x"]);
        let path = if path.starts_with('/') { path } else { format!("/{path}") };
        let method = self.pick(&["GET", "GET", "POST", "PUT", "DELETE", "HEAD"]);
        Asked { host: self.pick(&hosts), path, method, beta: self.pick(&[None, None, Some("yes"), Some("no")]) }
    }
}

impl Asked {
    fn question(&self) -> Question {
        let beta = self.beta.map(|beta| (HeaderName::from_static("x-beta"), HeaderValue::from_static(beta)));
        Question {
            method: Method::from_bytes(self.method.as_bytes()).expect("a method"),
            url: format!("http://{}{}", self.host, self.path).parse().expect("a URL"),
            headers: HeaderMap::from_iter(beta),
        }
    }

    fn live(&self, edge: &Harness) -> Answer {
        let request = Request::new(self.method, &self.path).instead("Host", self.host).header("Connection", "close");
        let request = self.beta.iter().fold(request, |request, beta| request.header("X-Beta", beta));
        let request = if matches!(self.method, "PUT") { request.header("Content-Length", "0") } else { request };
        let mut client: Client = edge.client();
        client.send(&request.bytes());
        if self.method == "HEAD" { client.head_only() } else { client.answer() }
    }
}

#[test]
fn explain_and_a_hundred_live_requests_agree() {
    let upstreams = [Scripted::start(), Scripted::start()];
    let [one, two] = &upstreams;
    let edge = start([one, two]);
    let snapshot = snapshot(&edge);
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).expect("randomness");
    let seed = u64::from_le_bytes(seed);
    let mut chance = Chance(seed);
    let mut seen = BTreeSet::new();
    for number in 0..100 {
        let asked = chance.request();
        let said =
            format!("request {number} of seed {seed}: {} {}{} {:?}", asked.method, asked.host, asked.path, asked.beta);
        let explanation = explain(&snapshot.edge, &asked.question());
        [one, two, &edge.web].iter().for_each(|upstream| upstream.forget());
        let answer = asked.live(&edge);
        let taken = explanation.looked_at.last().filter(|(_, miss)| miss.is_none()).map(|(route, _)| &*route.name);
        seen.extend(taken.map(str::to_string));
        if let Some(name) = taken.filter(|name| ROUTES.iter().any(|(known, _)| known == name)) {
            assert_eq!(answer.header("x-route"), Some(name), "{said}\n{answer}");
        }
        match &explanation.outcome {
            Outcome::Web(upstream, sent) => {
                let counts = [one.count(), two.count(), edge.web.count()];
                let (expected, upstream) = match upstream.as_str() {
                    "one" => ([1, 0, 0], one),
                    "two" => ([0, 1, 0], two),
                    _ => ([0, 0, 1], &edge.web),
                };
                assert_eq!(counts, expected, "{said}");
                let recorded = upstream.last();
                assert_eq!(recorded.path(), sent.target, "{said}");
                for name in ["x-beta", "x-more", "x-forwarded-prefix"] {
                    let sent = sent.headers.get(name).map(|value| value.to_str().expect("text"));
                    assert_eq!(recorded.header(name), sent, "{name} of {said}");
                }
                if let Some(host) = sent.headers.get("host") {
                    assert_eq!(recorded.header("host").map(str::as_bytes), Some(host.as_bytes()), "{said}");
                }
            }
            Outcome::Redirect(status, to) => {
                assert_eq!((answer.status, answer.header("location")), (*status, Some(to.as_str())), "{said}");
            }
            Outcome::Fixed(status) | Outcome::Refused(status, _) => assert_eq!(answer.status, *status, "{said}"),
            Outcome::Page(_) | Outcome::Model(..) => assert_eq!(answer.status, 401, "{said}"),
            Outcome::Own(_) => assert_eq!(answer.status, 200, "{said}"),
        }
    }
    assert!(seen.len() > 7, "the requests went to {seen:?} alone");
}

#[test]
fn the_command_walks_the_table_aloud() {
    let upstreams = [Scripted::start(), Scripted::start()];
    let edge = start([&upstreams[0], &upstreams[1]]);
    let explain = |arguments: &[&str]| {
        let output = cfx().arg("explain").arg("--conf").arg(edge.conf()).args(arguments).output().expect("cfx starts");
        (output.status.code(), printed(&output))
    };
    let (code, said) = explain(&["GET http://app.test/docs/x?y=1", "-H", "X-Beta: no"]);
    assert_eq!(code, Some(0), "{said}");
    for line in [
        "entrypoint http at 127.0.0.1:",
        "app-beta         app.test/docs/… x-beta: yes              no: the header x-beta says something else",
        "app-post         POST,PUT app.test/docs/…                 no: another method",
        "app-docs         app.test/docs/…                          takes it",
        "upstream two",
        "sent: GET /x?y=1",
        "path: /docs is cut off",
        "answer: x-route is set to \"app-docs\"",
    ] {
        assert!(said.contains(line), "{line}\nin\n{said}");
    }
    let (code, said) = explain(&["POST https://cfx.test/v1/chat/completions", "--json"]);
    let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((code, said["outcome"].as_str(), said["upstream"].as_str()), (Some(0), Some("model"), Some("litellm")));
    let (code, said) = explain(&["POST", "http://app.test/docs/x"]);
    assert!(code == Some(0) && said.contains("takes it") && said.contains("sent: POST /p/docs/x"), "{said}");
    assert_eq!(explain(&["GET nowhere"]).0, Some(64));
    assert_eq!(explain(&["GET", "http://app.test/", "HTTP/1.1"]).0, Some(64));
    assert_eq!(explain(&["http://a/", "-H", "no header"]).0, Some(64));
}
