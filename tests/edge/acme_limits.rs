//! A CA that has had enough of us: pebble limits nobody, so this one is scripted as RFC 8555 (6.6) has it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cfx::clock::{Clock, ManualClock};
use cfx::config::{Challenge, Issuer};
use cfx::telemetry::metrics::Metrics;
use cfx::units::Timestamp;
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::acme_in_time::acme;

/// What it says to an order.
#[derive(Clone, Copy)]
struct Script {
    status: &'static str,
    problem: &'static str,
    wait: Option<u64>,
}

/// Starts it on the runtime this is called on. Its URL, and how many orders it was asked for.
async fn ca(script: Script, trust: &std::path::Path) -> (String, Arc<AtomicUsize>) {
    let own = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_string()]).expect("a certificate");
    std::fs::write(trust, own.cert.pem()).expect("a file");
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("versions").with_no_client_auth();
    let config = config.with_single_cert(vec![own.cert.der().clone()], key).expect("a certificate and its key");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("https://{}", listener.local_addr().expect("an address"));
    let (orders, base) = (Arc::new(AtomicUsize::new(0)), url.clone());
    let counted = Arc::clone(&orders);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(socket).await else { continue };
            let mut head = Vec::new();
            while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                head.push(stream.read_u8().await.expect("a head"));
            }
            let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok());
            let mut body = vec![0; length.unwrap_or(0)];
            stream.read_exact(&mut body).await.expect("a body");
            let answer = match head.split(' ').nth(1).unwrap_or_default() {
                "/dir" => json(
                    "200 OK",
                    &format!(
                        r#"{{"newNonce":"{base}/nonce","newAccount":"{base}/account","newOrder":"{base}/order","meta":{{}}}}"#
                    ),
                ),
                "/nonce" => "HTTP/1.1 200 OK\r\nConnection: close\r\nReplay-Nonce: bm9uY2U\r\n\r\n".to_string(),
                "/account" => json("201 Created", r#"{"status":"valid"}"#).replacen(
                    "\r\n",
                    &format!("\r\nLocation: {base}/account/1\r\n"),
                    1,
                ),
                _ => {
                    counted.fetch_add(1, Ordering::SeqCst);
                    let body = format!(r#"{{"type":"urn:ietf:params:acme:error:{}","status":429}}"#, script.problem);
                    let wait = script.wait.map(|wait| format!("\r\nRetry-After: {wait}\r\n"));
                    json(script.status, &body).replacen("\r\n", wait.as_deref().unwrap_or("\r\n"), 1)
                }
            };
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    (url, orders)
}

fn json(status: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nReplay-Nonce: bm9uY2U\r\nContent-Type: application/problem+json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
}

/// From a failed order to the earliest next one.
fn waits(script: Script) -> Duration {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let data = tempfile::tempdir().expect("a folder");
    let trust = data.path().join("ca.pem");
    let (url, orders) = runtime.block_on(ca(script, &trust));
    let issuer = Issuer {
        directory: format!("{url}/dir"),
        email: None,
        domains: vec!["limited.test".to_string()],
        challenge: Challenge::Http01,
        external_account: None,
        trust: Some(trust),
    };
    let clock = Arc::new(ManualClock::at(Timestamp(1_769_904_000_000_000)));
    let metrics = Arc::new(Metrics::new().expect("metrics"));
    let (acme, ..) = acme(data.path(), &[issuer], &clock, &metrics);
    runtime.block_on(acme.once());
    assert_eq!(orders.load(Ordering::SeqCst), 1, "{}", metrics.render());
    let waits = clock.now().until(acme.book().domains()[0].standing().due);
    clock.advance(waits - Duration::from_secs(2));
    runtime.block_on(acme.once());
    assert_eq!(orders.load(Ordering::SeqCst), 1, "nothing is asked before that");
    clock.advance(Duration::from_secs(4));
    runtime.block_on(acme.once());
    assert_eq!(orders.load(Ordering::SeqCst), 2);
    assert!(metrics.render().contains("cfx_acme_orders_total{outcome=\"rate_limited\"} 2"), "{}", metrics.render());
    waits
}

#[test]
fn who_is_asked_to_wait_waits_for_as_long_as_that_and_else_for_an_hour() {
    let limited = Script { status: "429 Too Many Requests", problem: "rateLimited", wait: Some(5 * 3_600) };
    let busy = Script { status: "503 Service Unavailable", problem: "serverInternal", wait: Some(3 * 3_600) };
    let silent = Script { wait: None, ..limited };
    for (script, hours) in [(limited, 5.0), (busy, 3.0), (silent, 1.0)] {
        let waits = waits(script).as_secs_f64() / 3_600.0;
        assert!((hours - 0.01..hours * 1.1).contains(&waits), "{waits} hours, not {hours}");
    }
}
