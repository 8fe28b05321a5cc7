//! Somebody with an account: from the link that an operator hands out to a key, a request, its row, and the key's end; and
//! where the control API and the dashboard are served. On both stores, through the edge's own listeners.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::client::Answer;
use crate::harness::process::{cfx_of, printed};
use crate::harness::{Builder, CHAT, Client, Harness, Request, chat_body};
use crate::on_postgres::Store;

const API: &str = "match: { path: /api/ }, control: true";

/// What `cfx` prints for these arguments, on the installation of `harness`.
fn told(harness: &Harness, arguments: &[&str]) -> String {
    let mut command = cfx_of(&harness.data());
    command.args(arguments).arg("--data").arg(harness.data()).env("CFX_CONF", harness.conf());
    printed(&command.output().expect("cfx runs"))
}

/// A session of a new account, by the link that `cfx user create` prints.
fn signed_in(harness: &Harness, email: &str, more: &[&str]) -> String {
    let created = told(harness, &[&["user", "create", email, "--json"], more].concat());
    let link = serde_json::from_str::<Value>(&created).expect("JSON")["link"].as_str().expect("a link").to_owned();
    let by_link = json!({ "link": link });
    let session = asked(harness, "POST", "/api/login/link", None, Some(&by_link));
    assert_eq!(session.status, 200, "{session}");
    let again = asked(harness, "POST", "/api/login/link", None, Some(&by_link));
    assert_eq!(again.status, 401, "a link works once: {again}");
    session.json()["token"].as_str().expect("a token").to_owned()
}

fn asked(harness: &Harness, method: &str, path: &str, session: Option<&str>, body: Option<&Value>) -> Answer {
    let mut request = match body {
        Some(body) => Request::with_body(method, path, body.to_string()),
        None => Request::new(method, path),
    };
    if let Some(session) = session {
        request = request.key(session);
    }
    // By this name passwords and links may go in plain http.
    Client::plain(harness.http).ask(&request.instead("Host", "localhost"))
}

/// Asks until `wanted` holds of the answer: rows are written behind, and revocations are heard of.
fn until(ask: impl Fn() -> Answer, wanted: impl Fn(&Answer) -> bool) {
    let begun = Instant::now();
    loop {
        let answer = ask();
        if wanted(&answer) {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "it did not come about: {answer}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn from_a_link_to_a_revoked_key(edge: Builder) {
    let harness = edge.route(API).also("spare", "targets: [\"http://127.0.0.1:9\"]").start();
    let (ada, bob) =
        (signed_in(&harness, "grace@example.org", &["--operator"]), signed_in(&harness, "bob@example.org", &[]));
    let me = asked(&harness, "GET", "/api/me", Some(&ada), None).json();
    assert_eq!((&me["email"], &me["role"]), (&json!("grace@example.org"), &json!("operator")));

    let made = asked(&harness, "POST", "/api/keys", Some(&ada), Some(&json!({ "label": "laptop" })));
    assert_eq!(made.status, 201, "{made}");
    let (key, id) = (made.json()["key"].as_str().unwrap().to_owned(), made.json()["id"].as_str().unwrap().to_owned());
    let listed = asked(&harness, "GET", "/api/keys", Some(&ada), None);
    assert!(listed.text().contains(&id) && !listed.text().contains(&key), "a key is shown once: {listed}");

    let answered = harness.ask(&Request::post(CHAT, chat_body().to_string()).key(&key));
    assert_eq!(answered.status, 200, "{answered}");
    let request = answered.header("x-cfx-request-id").unwrap().to_owned();
    until(|| asked(&harness, "GET", "/api/logs", Some(&ada), None), |page| page.text().contains(&request));
    let today = asked(&harness, "GET", "/api/usage/today", Some(&ada), None).json();
    assert_eq!((&today["requests"], &today["answered"]), (&json!(1), &json!(1)), "{today}");
    let stages = asked(&harness, "GET", "/api/usage/stages", Some(&ada), None);
    assert!(stages.text().contains("\"plan\""), "{stages}");

    // Nothing of it is another's to see or to touch.
    let of_bob = asked(&harness, "GET", "/api/logs", Some(&bob), None).json();
    assert_eq!(of_bob["entries"], json!([]));
    for (method, path) in [
        ("GET", format!("/api/logs/{request}")),
        ("DELETE", format!("/api/keys/{id}")),
        ("POST", format!("/api/keys/{id}/rotate")),
    ] {
        let body = (method == "POST").then(|| json!({}));
        assert_eq!(asked(&harness, method, &path, Some(&bob), body.as_ref()).status, 404, "{method} {path}");
    }
    assert_eq!(asked(&harness, "GET", "/api/operator/state", Some(&bob), None).status, 403);
    let state = asked(&harness, "GET", "/api/operator/state", Some(&ada), None);
    let state = state.json();
    assert_eq!(state["upstreams"][0]["targets"][0]["breaker"], json!("closed"), "{state}");
    let upstreams = state["upstreams"].as_array().expect("a list").iter();
    let unrouted: Vec<_> =
        upstreams.filter(|upstream| upstream["unrouted"] == json!(true)).map(|one| &one["name"]).collect();
    assert_eq!(unrouted, ["spare"], "{state}");

    let revoked = asked(&harness, "DELETE", &format!("/api/keys/{id}"), Some(&ada), None);
    assert!(revoked.status == 200 || revoked.status == 204, "{revoked}");
    let refused = || harness.ask(&Request::post(CHAT, chat_body().to_string()).key(&key));
    until(refused, |answer| answer.status == 401);

    // An operator's word ends everything of an account.
    told(&harness, &["user", "disable", "bob@example.org"]);
    until(|| asked(&harness, "GET", "/api/me", Some(&bob), None), |answer| answer.status == 401);
}

#[test]
fn from_a_link_to_a_revoked_key_on_sqlite() {
    from_a_link_to_a_revoked_key(Harness::builder());
}

#[test]
fn from_a_link_to_a_revoked_key_on_postgres() {
    from_a_link_to_a_revoked_key(Store::fresh().edge());
}

#[test]
fn a_limit_that_is_granted_holds_and_is_shown() {
    let harness = Harness::builder().quota(50).route(API).start();
    let ada = signed_in(&harness, "grace@example.org", &[]);
    let limit = || asked(&harness, "GET", "/api/me", Some(&ada), None).json()["daily_limit"].clone();
    assert_eq!(limit(), json!(50));
    told(&harness, &["quota", "grant", "grace@example.org", "7"]);
    assert_eq!(limit(), json!(7));
    let shown = told(&harness, &["quota", "show", "grace@example.org"]);
    assert!(shown.contains("0 of 7 requests today (the user's own limit)"), "{shown}");
    told(&harness, &["quota", "grant", "grace@example.org", "default"]);
    assert_eq!(limit(), json!(50));
}

#[test]
fn the_control_api_is_served_where_its_route_is() {
    let harness = Harness::builder().route("match: { host: edge.test, path: /cfx/ }, control: true").start();
    let ask = |host: &str, path: &str| harness.ask(&Request::get(path).instead("Host", host));
    let document = ask("edge.test", "/cfx/openapi.json");
    assert_eq!((document.status, &document.json()["openapi"].as_str().unwrap()[..3]), (200, "3.1"), "{document}");
    assert_eq!(ask("edge.test", "/cfx/me").status, 401);
    assert_eq!(ask("edge.test", "/cfx/nothing").code(), "not_found");
    assert!(!ask("other.test", "/cfx/openapi.json").text().contains("openapi"), "it is that host's alone");
}

#[test]
fn the_dashboard_is_served_where_its_route_is_and_asks_who_comes() {
    let harness = Harness::builder().route("match: { host: app.test }, dashboard: true").route(API).start();
    let ask = |path: &str| harness.ask(&Request::get(path).instead("Host", "app.test"));
    let turned = ask("/");
    assert_eq!((turned.status, turned.header("location")), (303, Some("/sign-in")), "{turned}");
    let page = ask("/sign-in");
    assert_eq!(page.status, 200, "{page}");
    assert!(page.header("content-security-policy").is_some_and(|policy| !policy.contains("unsafe-inline")), "{page}");
    assert!(page.text().contains("<form"), "{page}");
}
