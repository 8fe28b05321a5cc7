//! The same answers over TLS, HTTP/1.1 and HTTP/2, to clients that hold us to the rules.

use crate::harness::ordinary::{http1, http2};
use crate::harness::{CHAT, Client, Harness, Request, chat_body, streaming, wire};

#[test]
fn tls_with_http_1_and_2_say_the_same_as_plain() {
    let edge = Harness::start();
    let plain = edge.chat().json();
    let over_tls = http1(&edge, CHAT, &chat_body().to_string());
    assert_eq!((over_tls.answer.status, over_tls.alpn.as_str()), (200, "http/1.1"));
    assert_eq!(over_tls.answer.json(), plain);
    let over_h2 = http2(&edge, CHAT, &[chat_body().to_string()]).remove(0);
    assert_eq!((over_h2.answer.status, over_h2.alpn.as_str()), (200, "h2"));
    assert_eq!(over_h2.answer.json(), plain);
    assert_eq!(over_h2.answer.header("transfer-encoding"), None, "HTTP/2 frames by itself");
}

#[test]
fn streams_run_side_by_side_on_one_http_2_connection() {
    let edge = Harness::start();
    let bodies: Vec<String> = (0..20).map(|_| streaming(chat_body()).to_string()).collect();
    let expected: String =
        wire::chat_events("upstream-smart", &wire::WORDS, false).iter().map(|event| format!("{event}\n\n")).collect();
    for seen in http2(&edge, CHAT, &bodies) {
        assert!(seen.answer.complete, "{}", seen.answer);
        assert_eq!(seen.answer.text(), expected);
    }
    assert_eq!(edge.rows(20).iter().filter(|row| row.text("status") == "success").count(), 20);
}

#[test]
fn refusals_keep_the_connection_for_what_comes_next() {
    let edge = Harness::start();
    let mut client = edge.client();
    assert_eq!(client.ask(&edge.request(CHAT, &serde_json::json!({"model": "plan"}))).status, 400);
    assert_eq!(client.ask(&edge.request(CHAT, &chat_body())).status, 200);
    let mut client = edge.tls_client();
    assert_eq!(client.ask(&Request::get("/v1/models")).status, 401);
    assert_eq!(client.ask(&edge.request(CHAT, &chat_body())).status, 200);
}

#[test]
fn a_broken_stream_is_an_error_to_an_ordinary_client() {
    let edge = Harness::start();
    let mut events = wire::chat_events("m", &wire::WORDS, false);
    events.truncate(2);
    edge.upstream.then(crate::harness::Reply::cut_after(events.clone()));
    assert!(!http1(&edge, CHAT, &streaming(chat_body()).to_string()).answer.complete);
    edge.upstream.then(crate::harness::Reply::cut_after(events));
    assert!(
        !http2(&edge, CHAT, &[streaming(chat_body()).to_string()]).remove(0).answer.complete,
        "a reset, not an end"
    );
}

#[test]
fn a_plain_listener_told_to_redirect_does_so_and_nothing_else() {
    let edge = Harness::builder().redirecting().start();
    let answer = edge.ask(&Request::post(CHAT, "{}").key(&edge.key));
    assert_eq!(answer.status, 308, "{answer}");
    let wanted = format!("https://cfx.test:{}{CHAT}", edge.https.port());
    assert_eq!(answer.header("location"), Some(wanted.as_str()));
    assert_eq!(edge.ask(&Request::get("/health")).status, 200, "probes come without TLS");
    assert_eq!(edge.tls_client().ask(&edge.request(CHAT, &chat_body())).status, 200);
}

#[test]
fn a_redirecting_listener_serves_nothing_to_who_names_no_host() {
    let edge = Harness::builder().redirecting().start();
    let mut client = edge.client();
    client.send(b"GET / HTTP/1.0\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_field"), "{answer}");
    assert!(answer.message().contains("the Host header is missing"), "{answer}");
    assert_eq!(edge.web.count(), 0);
}

#[test]
fn what_the_admin_listener_says_is_not_said_in_public() {
    let edge = Harness::start();
    let get = |path: &str, host: &str| Client::plain(edge.admin).ask(&Request::get(path).instead("Host", host));
    let own = edge.admin.to_string();
    assert_eq!(get("/-/healthy", &own).status, 200);
    assert_eq!(get("/-/ready", &own).status, 200);
    assert_eq!(edge.chat().status, 200);
    assert!(get("/metrics", &own).text().contains("cfx_build_info"));
    for path in ["/metrics", "/-/ready", "/-/healthy"] {
        let public = edge.ask(&Request::get(path));
        assert!(!public.text().contains("cfx_build_info"), "{path} is not public: {public}");
    }
}
