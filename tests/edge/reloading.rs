//! Another configuration for a running edge: taken whole or not at all, and nothing that is under way notices.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::draining::{assert_whole, open_streams};
use crate::harness::process::printed;
use crate::harness::scripted::Recorded;
use crate::harness::{Answer, Builder, CHAT, Client, Harness, Reply, Request, Scripted, Switch, chat_body, several};

const NOBODY: &str = "http://127.0.0.1:9";
pub const SUCCESS: &str = "cfx_config_last_reload_success";
pub const RELOADS: &str = "cfx_config_reloads_total";

/// An edge that reads its configuration anew when it is told to, so that no test has to be faster than its watch.
pub fn told() -> Builder {
    Harness::builder().environment("CFX_NO_WATCH", "yes")
}

fn ask_admin(edge: &Harness, request: &Request) -> Answer {
    Client::plain(edge.admin).ask(&request.clone().instead("Host", &edge.admin.to_string()))
}

/// What `POST /-/reload` answers.
pub fn reload(edge: &Harness) -> Answer {
    ask_admin(edge, &Request::post("/-/reload", ""))
}

/// Changes one of the three files, which has to hold `from`.
pub fn rewrite(edge: &Harness, file: &str, from: &str, to: &str) {
    let path = edge.conf().join(file);
    let text = std::fs::read_to_string(&path).expect("a file");
    assert!(text.contains(from), "{file} has no {from:?}:\n{text}");
    // In its place at once: an editor's half-written file is another test.
    let beside = edge.conf().join(format!(".{file}.new"));
    std::fs::write(&beside, text.replacen(from, to, 1)).expect("a file");
    std::fs::rename(&beside, path).expect("a file");
}

fn paths(changes: &Value) -> Vec<&str> {
    changes.as_array().expect("a list").iter().map(|change| change["path"].as_str().expect("a path")).collect()
}

#[test]
fn a_reload_says_what_has_changed_and_the_next_request_has_it() {
    let edge = told().start();
    assert_eq!(edge.chat().status, 200);
    assert_eq!(edge.upstream.last().json()["model"], "upstream-smart");
    rewrite(&edge, "models.yaml", "upstream_model: upstream-smart", "upstream_model: upstream-other");
    rewrite(&edge, "limits.yaml", "concurrent_requests: 1000", "concurrent_requests: 7");
    let answer = reload(&edge);
    assert_eq!(answer.status, 200, "{answer}");
    let said = answer.json();
    assert_eq!(said["ok"], true);
    let expected = json!([
        {"file": "models.yaml", "path": "models.smart.upstream_model", "before": "upstream-smart", "after": "upstream-other"},
        {"file": "limits.yaml", "path": "concurrent_requests", "before": 1000, "after": 7},
    ]);
    assert_eq!(said["changed"], expected, "{answer}");
    assert_eq!(said["restart"], json!([]), "{answer}");
    assert_eq!(edge.chat().status, 200);
    assert_eq!(edge.upstream.last().json()["model"], "upstream-other");
    edge.assert_metric(RELOADS, &["\"applied\""], 1.0);
    edge.assert_metric(SUCCESS, &[], 1.0);

    let again = reload(&edge).json();
    assert_eq!((&again["changed"], &again["hash"]), (&json!([]), &said["hash"]));
    edge.assert_metric(RELOADS, &["\"unchanged\""], 1.0);
}

#[test]
fn a_mistake_is_told_to_all_who_ask_and_nothing_is_changed_by_it() {
    let edge = told().start();
    rewrite(&edge, "models.yaml", "upstream_model: upstream-smart", "upstream_model: upstream-other");
    rewrite(&edge, "limits.yaml", "daily_requests: 100000", "daily_requests: many");
    let answer = reload(&edge);
    assert_eq!(answer.status, 422, "{answer}");
    let said = answer.json();
    let problem = &said["problems"][0];
    assert_eq!((&said["ok"], said["problems"].as_array().map(Vec::len)), (&json!(false), Some(1)), "{answer}");
    let file = edge.conf().join("limits.yaml").display().to_string();
    assert_eq!((&problem["file"], &problem["line"], &problem["column"]), (&json!(file), &json!(1), &json!(17)));
    assert_eq!(problem["path"], "daily_requests");

    let place = format!("{file}:1:17 daily_requests");
    edge.process.wait_for_line(&place).expect("the log says so too");
    edge.assert_metric(SUCCESS, &[], 0.0);
    edge.assert_metric(RELOADS, &["\"refused\""], 1.0);
    let ready = edge.readiness();
    assert!(ready.status == 200 && ready.text().contains(&place), "{ready}");
    assert_eq!(edge.chat().status, 200);
    assert_eq!(edge.upstream.last().json()["model"], "upstream-smart", "the good half is not taken either");

    rewrite(&edge, "limits.yaml", "daily_requests: many", "daily_requests: 100000");
    assert_eq!(reload(&edge).status, 200);
    assert_eq!(edge.readiness().text(), "ready\n");
    edge.assert_metric(SUCCESS, &[], 1.0);
    assert_eq!(edge.chat().status, 200);
    assert_eq!(edge.upstream.last().json()["model"], "upstream-other");
}

#[test]
fn a_signal_reloads() {
    let edge = told().start();
    rewrite(&edge, "models.yaml", "upstream_model: upstream-smart", "upstream_model: upstream-other");
    edge.process.signal("HUP");
    edge.assert_metric(RELOADS, &["\"applied\""], 1.0);
    assert_eq!(edge.chat().status, 200);
    assert_eq!(edge.upstream.last().json()["model"], "upstream-other");
}

#[test]
fn what_takes_a_restart_is_named_and_stays_as_it_was() {
    let edge = told().start();
    rewrite(&edge, "cfx.yaml", &edge.http.to_string(), "127.0.0.1:9");
    rewrite(&edge, "cfx.yaml", &edge.admin.to_string(), "127.0.0.1:19");
    rewrite(&edge, "cfx.yaml", "threads: 2, grace: 2s", "threads: 3, grace: 5s");
    rewrite(&edge, "cfx.yaml", "server: {", "guards: { http2_streams: 7, headers: 50 }\nserver: {");
    for _ in 0..2 {
        let answer = reload(&edge);
        assert_eq!(answer.status, 200, "{answer}");
        let mut restart = answer.json()["restart"].clone();
        assert_eq!(
            paths(&restart.take()),
            ["admin.address", "entrypoints.http.address", "guards.http2_streams", "server.threads"],
            "for as long as it is so: {answer}"
        );
    }
    edge.process.wait_for_line("takes a restart").expect("the log names it");
    edge.assert_healthy();
    let shown = ask_admin(&edge, &Request::get("/-/config")).json();
    assert_eq!(shown["configuration"]["cfx.yaml"]["server"]["grace"], "5s", "the rest is taken");
    assert_eq!(shown["configuration"]["cfx.yaml"]["server"]["threads"], 2);
    let guards = &shown["configuration"]["cfx.yaml"]["guards"];
    assert_eq!((&guards["headers"], &guards["http2_streams"]), (&json!(50), &json!(128)));
}

#[test]
fn streams_and_connections_go_on_as_they_were() {
    let edge = told().threads(1).start();
    let (openers, streams) = open_streams(&edge, 20);
    let mut kept = edge.client();
    let chat = edge.request(CHAT, &chat_body());
    assert_eq!(kept.ask(&chat).status, 200);
    let connections = edge.upstream.connections();
    for round in 0..10 {
        let (from, to) = if round % 2 == 0 { ("input: 1.00", "input: 1.50") } else { ("input: 1.50", "input: 1.00") };
        rewrite(&edge, "models.yaml", from, to);
        let answer = reload(&edge);
        assert_eq!(answer.status, 200, "round {round}: {answer}");
        assert_eq!(kept.ask(&chat).status, 200, "round {round}");
    }
    assert_eq!(edge.upstream.connections(), connections, "connections to the upstream are kept over reloads");
    drop(openers);
    assert_whole(streams);
    edge.assert_metric("cfx_streams_in_flight", &[], 0.0);
}

#[test]
fn a_breaker_stays_open_over_reloads_and_its_target_may_move_away() {
    let alive = Scripted::start();
    let edge = told().upstream_target(NOBODY).start();
    for _ in 0..5 {
        assert_eq!(edge.chat().status, 503);
    }
    let target = format!("target=\"{NOBODY}\"");
    edge.assert_metric("cfx_breaker_state", &[&target], 2.0);
    rewrite(&edge, "models.yaml", "input: 1.00", "input: 1.50");
    rewrite(&edge, "cfx.yaml", "connect: 2s", "connect: 3s");
    assert_eq!(reload(&edge).status, 200);
    edge.assert_metric("cfx_breaker_state", &[&target], 2.0);
    edge.assert_metric("cfx_upstream_attempts_total", &["outcome=\"connect\""], 5.0);
    assert_eq!(edge.chat().code(), "upstream_unavailable");
    edge.assert_metric("cfx_upstream_attempts_total", &["outcome=\"connect\""], 5.0);

    let both = several(&["127.0.0.1:9".parse().expect("an address"), alive.address]);
    rewrite(&edge, "cfx.yaml", NOBODY, &both);
    assert_eq!(reload(&edge).status, 200);
    for _ in 0..5 {
        assert_eq!(edge.chat().status, 200);
    }
    edge.assert_metric("cfx_breaker_state", &[&target], 2.0);
    edge.assert_metric("cfx_upstream_attempts_total", &["outcome=\"connect\""], 5.0);

    rewrite(&edge, "cfx.yaml", &format!("{NOBODY}\", \""), "");
    assert_eq!(reload(&edge).status, 200);
    assert_eq!(edge.readiness().text(), "ready\n");
    let text = ask_admin(&edge, &Request::get("/metrics")).text();
    assert!(!text.contains(&target), "what is gone is shown no more");
    assert_eq!(edge.chat().status, 200);
}

#[test]
fn a_target_that_was_found_ill_stays_so_until_a_check_says_otherwise() {
    let (one, other) = (Scripted::start(), Scripted::start());
    let is_up = |request: &Recorded| (request.path() == "/up").then(|| Reply::json(200, "{}"));
    [&one, &other].into_iter().for_each(|target| target.always(is_up));
    let switch = Switch::before(one.address);
    let targets = several(&[switch.address, other.address]);
    let health = "health: { path: /up, interval: 100ms, healthy: 1, unhealthy: 2 }";
    let edge = told().upstream_target(&targets).upstream(health).start();
    let ill = format!("target=\"http://{}\"", switch.address);
    edge.assert_metric("cfx_target_healthy", &[&ill], 1.0);
    switch.kill();
    edge.assert_metric("cfx_target_healthy", &[&ill], 0.0);
    for price in ["1.50", "1.00"] {
        let from = if price == "1.50" { "input: 1.00" } else { "input: 1.50" };
        rewrite(&edge, "models.yaml", from, &format!("input: {price}"));
        assert_eq!(reload(&edge).status, 200);
        assert_eq!(edge.metric("cfx_target_healthy", &[&ill]), 0.0);
    }
    assert_eq!(edge.metric("cfx_target_health_transitions_total", &[&ill, "\"ill\""]), 1.0);
    switch.revive();
    edge.assert_metric("cfx_target_healthy", &[&ill], 1.0);

    // Without checks nobody could find it well again.
    switch.kill();
    edge.assert_metric("cfx_target_healthy", &[&ill], 0.0);
    rewrite(&edge, "cfx.yaml", health, "");
    assert_eq!(reload(&edge).status, 200);
    assert_eq!(edge.readiness().text(), "ready\n");
    assert_eq!(edge.chat().status, 200);
}

#[test]
fn a_request_ends_with_the_configuration_that_it_began_with() {
    let (before, after) = (Scripted::start(), Scripted::start());
    let edge = told().upstream_target(&several(&[before.address])).start();
    let body = chat_body().to_string();
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        edge.http,
        edge.key,
        body.len()
    );
    let mut slow = edge.client();
    slow.send(head.as_bytes());
    slow.send(&body.as_bytes()[..10]);
    // Its head was read when another request on the same thread was answered behind it.
    edge.assert_metric("cfx_body_memory_bytes", &[], 10.0);
    rewrite(&edge, "cfx.yaml", &before.address.to_string(), &after.address.to_string());
    assert_eq!(reload(&edge).status, 200);
    assert_eq!(edge.chat().status, 200);
    assert_eq!((before.count(), after.count()), (0, 1));
    slow.send(&body.as_bytes()[10..]);
    assert_eq!(slow.answer().status, 200);
    assert_eq!((before.count(), after.count()), (1, 1), "its key was meant for the target of that time");
}

#[test]
fn certificates_are_read_anew_and_a_pair_that_does_not_fit_is_named() {
    let mut edge = told().start();
    let made = rcgen::generate_simple_self_signed(["cfx.test".to_string()]).expect("a certificate");
    let file = |name: &str| -> PathBuf { edge.conf().join(name) };
    std::fs::write(file("cfx.test.pem"), made.cert.pem()).expect("a file");
    let refused = reload(&edge);
    assert_eq!(refused.status, 422, "{refused}");
    let problem = &refused.json()["problems"][0];
    assert_eq!(problem["path"], "tls.certificates[0].key", "{refused}");
    assert!(problem["message"].as_str().is_some_and(|text| text.contains("cfx.test.key: does not belong to")));
    assert_eq!(edge.tls_client().ask(&Request::get("/health")).status, 200, "the pair before is served");
    edge.assert_metric(SUCCESS, &[], 0.0);

    std::fs::write(file("cfx.test.key"), made.signing_key.serialize_pem()).expect("a file");
    let answer = reload(&edge);
    assert_eq!((answer.status, &answer.json()["certificates"]), (200, &json!(["cfx.test"])), "{answer}");
    edge.certificate = made.cert.der().clone();
    assert_eq!(edge.tls_client().ask(&Request::get("/health")).status, 200);
    edge.assert_metric(SUCCESS, &[], 1.0);
}

#[test]
fn the_configuration_is_shown_without_its_secrets_and_to_no_stranger() {
    let token = "a-token-of-the-operators";
    let edge = told().environment("ADMIN_TOKEN", token).start();
    let shown = ask_admin(&edge, &Request::get("/-/config"));
    assert_eq!(shown.status, 200, "{shown}");
    let litellm = &shown.json()["configuration"]["cfx.yaml"]["upstreams"]["litellm"];
    assert_eq!((&litellm["api_key"], &litellm["timeouts"]["total"]), (&json!("***"), &json!("1m")));
    assert!(!shown.text().contains(crate::harness::UPSTREAM_KEY), "{shown}");

    let asked = |request: Request| Client::plain(edge.admin).ask(&request).status;
    let here = edge.admin.to_string();
    assert_eq!(asked(Request::post("/-/reload", "").instead("Host", "rebound.example")), 421);
    assert_eq!(asked(Request::get("/-/config").instead("Host", "rebound.example")), 421);
    let page = Request::post("/-/reload", "").instead("Host", &here).header("Origin", "http://evil.example");
    assert_eq!(asked(page), 403);

    let address = format!("address: \"{}\"", edge.admin);
    rewrite(&edge, "cfx.yaml", &address, &format!("{address}, token: \"${{ADMIN_TOKEN}}\""));
    assert_eq!(reload(&edge).status, 200);
    assert_eq!(reload(&edge).status, 401, "from now on it is asked for");
    let with = |token: &str| {
        let request = Request::get("/-/config").header("Authorization", &format!("Bearer {token}"));
        ask_admin(&edge, &request)
    };
    assert_eq!(with("another-token-of-length").status, 401);
    let shown = with(token);
    assert_eq!(shown.status, 200, "{shown}");
    assert!(!shown.text().contains(token), "{shown}");
}

#[test]
fn what_a_reload_would_change_can_be_asked_before() {
    let edge = told().start();
    let (good, next) = (edge.conf(), edge.conf().with_file_name("conf-of-tomorrow"));
    crate::upgrading::copy(&good, &next);
    let check = |diff: &str, more: &[&str]| {
        let mut command = crate::harness::process::cfx_of(&edge.data());
        command.arg("check").arg("--conf").arg(&next).arg("--diff").arg(diff).args(more).output().expect("cfx starts")
    };
    let url = format!("http://{}", edge.admin);
    let said = |output: std::process::Output| {
        assert!(output.status.success(), "{}", printed(&output));
        String::from_utf8(output.stdout).expect("text")
    };
    assert_eq!(said(check(&url, &[])), format!("nothing differs from {url}, values of secrets aside\n"));
    let file = next.join("cfx.yaml");
    let text = std::fs::read_to_string(&file).expect("a file");
    std::fs::write(&file, text.replace("total: 60s", "total: 90s").replace("threads: 2", "threads: 3"))
        .expect("a file");
    let expected = "cfx.yaml server.threads: 2 → 3 (takes a restart)\n\
                    cfx.yaml upstreams.litellm.timeouts.total: \"1m\" → \"90s\"\n";
    assert_eq!(said(check(&url, &[])), expected);
    assert_eq!(said(check(&good.display().to_string(), &[])), expected);
    let json: Value = serde_json::from_str(&said(check(&url, &["--json"]))).expect("JSON");
    assert_eq!(
        (paths(&json["changed"]), paths(&json["restart"])),
        (vec!["upstreams.litellm.timeouts.total"], vec!["server.threads"],)
    );

    std::fs::copy(&file, good.join("cfx.yaml")).expect("a file");
    let answer = reload(&edge).json();
    assert_eq!((&answer["changed"], &answer["restart"]), (&json["changed"], &json["restart"]), "and so it comes");
    let nobody = check("http://127.0.0.1:9", &[]);
    assert_eq!(nobody.status.code(), Some(1), "{}", printed(&nobody));
}
