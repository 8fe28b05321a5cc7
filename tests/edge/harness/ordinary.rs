//! Ordinary clients: hyper's for HTTP/1.1 and `h2` for HTTP/2, as most users' libraries have inside. They hold cfx to
//! the rules of the protocol, where [`super::client`] would forgive.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::client::{PATIENCE, trusting};
use super::{Answer, Harness};

/// What was negotiated beside the answer.
pub struct Seen {
    pub answer: Answer,
    pub alpn: String,
}

/// A POST of JSON over TLS with HTTP/1.1.
pub fn http1(edge: &Harness, path: &str, body: &str) -> Seen {
    bounded(async {
        let stream = connect(edge, b"http/1.1").await;
        let alpn = negotiated(&stream);
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP/1.1");
        let driving = tokio::spawn(connection);
        let request = request(edge, path).body(Full::new(Bytes::from(body.to_string()))).expect("a request");
        let response = sender.send_request(request).await.expect("an answer");
        let (status, headers) = (response.status().as_u16(), lines(response.headers()));
        let collected = response.into_body().collect().await;
        let complete = collected.is_ok();
        let body = collected.map(|whole| whole.to_bytes().to_vec()).unwrap_or_default();
        driving.abort();
        Seen { answer: Answer { status, headers, body, complete }, alpn }
    })
}

/// Several POSTs of JSON at once on one HTTP/2 connection.
pub fn http2(edge: &Harness, path: &str, bodies: &[String]) -> Vec<Seen> {
    bounded(async {
        let stream = connect(edge, b"h2").await;
        let alpn = negotiated(&stream);
        let (sender, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        let driving = tokio::spawn(connection);
        let mut sender = sender.ready().await.expect("HTTP/2");
        let mut waiting = Vec::new();
        for body in bodies {
            let request = request(edge, path).body(()).expect("a request");
            let (response, mut upload) = sender.send_request(request, false).expect("a stream");
            upload.send_data(Bytes::from(body.clone()), true).expect("a body");
            sender = sender.ready().await.expect("HTTP/2");
            waiting.push(response);
        }
        let mut seen = Vec::new();
        for response in waiting {
            seen.push(Seen { answer: whole(response).await, alpn: alpn.clone() });
        }
        driving.abort();
        seen
    })
}

/// A GET over HTTP/2 with these headers.
pub fn http2_with(edge: &Harness, path: &str, headers: &[(String, String)]) -> Answer {
    bounded(async {
        let mut sender = http2_connection(edge, 1 << 16).await;
        let request = http::Request::get(format!("https://cfx.test{path}"));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(name, value));
        let (response, _) = sender.send_request(request.body(()).expect("a request"), true).expect("a stream");
        whole(response).await
    })
}

/// A POST of JSON on an HTTP/2 connection that its client would keep: the answer, once the server has closed it in
/// order. `between` runs when the request was sent.
pub fn http2_until_told_to_go(edge: &Harness, path: &str, body: &str, between: impl FnOnce()) -> Answer {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(1).enable_all().build().expect("a runtime");
    let (driving, response, _kept) = runtime.block_on(async {
        let (sender, connection) = h2::client::handshake(connect(edge, b"h2").await).await.expect("HTTP/2");
        let driving = tokio::spawn(connection);
        let mut sender = sender.ready().await.expect("HTTP/2");
        let request = request(edge, path).body(()).expect("a request");
        let (response, mut upload) = sender.send_request(request, false).expect("a stream");
        upload.send_data(Bytes::from(body.to_string()), true).expect("a body");
        (driving, response, sender)
    });
    between();
    let told = async {
        let answer = whole(response).await;
        // The server may be gone before the client has said its own farewell.
        let farewell = |error: &h2::Error| error.get_io().is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe);
        if let Err(error) = driving.await.expect("no panic") {
            assert!(farewell(&error), "it was told to go, and not cut: {error}");
        }
        answer
    };
    runtime.block_on(async { tokio::time::timeout(PATIENCE, told).await.expect("cfx keeps the connection") })
}

async fn whole(response: h2::client::ResponseFuture) -> Answer {
    let response = response.await.expect("an answer");
    let (status, headers) = (response.status().as_u16(), lines(response.headers()));
    let mut stream = response.into_body();
    let (mut body, mut complete) = (Vec::new(), true);
    while let Some(part) = stream.data().await {
        match part {
            Ok(part) => {
                let _ = stream.flow_control().release_capacity(part.len());
                body.extend(part);
            }
            Err(_) => {
                complete = false;
                break;
            }
        }
    }
    Answer { status, headers, body, complete }
}

/// A POST of JSON as HTTP/2 has it, its body still to come.
pub fn request(edge: &Harness, path: &str) -> http::request::Builder {
    http::Request::post(format!("https://cfx.test{path}"))
        .header("host", "cfx.test")
        .header("authorization", format!("Bearer {}", edge.key))
        .header("content-type", "application/json")
}

/// One HTTP/2 connection whose streams take in so many bytes before they say that they want more. Ends with the runtime.
pub async fn http2_connection(edge: &Harness, window: u32) -> h2::client::SendRequest<Bytes> {
    let mut builder = h2::client::Builder::new();
    let handshake = builder.initial_window_size(window).handshake(connect(edge, b"h2").await);
    let (sender, connection) = handshake.await.expect("HTTP/2");
    tokio::spawn(connection);
    sender.ready().await.expect("HTTP/2")
}

async fn connect(edge: &Harness, alpn: &[u8]) -> TlsStream<TcpStream> {
    let stream = TcpStream::connect(edge.https).await.expect("cfx accepts connections");
    let connector = TlsConnector::from(Arc::new(trusting(&edge.certificate, &[alpn])));
    connector.connect(ServerName::try_from("cfx.test").expect("a name"), stream).await.expect("TLS")
}

fn negotiated(stream: &TlsStream<TcpStream>) -> String {
    String::from_utf8_lossy(stream.get_ref().1.alpn_protocol().unwrap_or_default()).into_owned()
}

fn lines(headers: &http::HeaderMap) -> Vec<(String, String)> {
    let line = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    headers.iter().map(line).collect()
}

/// What `exchange` yields, which must not take for ever.
pub fn bounded<T>(exchange: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime
        .block_on(async { tokio::time::timeout(PATIENCE, exchange).await.expect("cfx neither answered nor hung up") })
}
