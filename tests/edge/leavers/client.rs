//! One client, over HTTP/1.1 or HTTP/2: until it leaves, or until its answer has come whole.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Reason, RecvStream, SendStream};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::upstream::{HALF, Upstream};
use super::{Manner, Moment, Part};
use crate::harness::client::{PATIENCE, trusting};
use crate::harness::{CHAT, Harness, wire};

/// One HTTP/2 connection, for one client or for many.
#[derive(Clone)]
pub struct Http2 {
    sender: SendRequest<Bytes>,
    driving: Arc<JoinHandle<()>>,
}

impl Http2 {
    pub async fn connect(edge: &Harness) -> Self {
        let stream = TcpStream::connect(edge.https).await.expect("cfx accepts connections");
        stream.set_nodelay(true).expect("a socket");
        let connector = TlsConnector::from(Arc::new(trusting(&edge.certificate, &[b"h2"])));
        let stream = connector.connect(ServerName::try_from("cfx.test").expect("a name"), stream).await.expect("TLS");
        let (sender, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        let driving = tokio::spawn(async move {
            let _ = connection.await;
        });
        Self { sender, driving: Arc::new(driving) }
    }

    /// Waits for the answer to a request of no consequence.
    async fn is_heard(&self) {
        let request = http::Request::get("https://cfx.test/health").body(()).expect("a request");
        let mut sender = self.sender.clone().ready().await.expect("HTTP/2");
        let (response, _) = sender.send_request(request, true).expect("a stream");
        assert_eq!(response.await.expect("an answer").status(), 200);
    }

    /// Sends a request's head and the first `length` bytes of its body.
    pub async fn send(
        &self,
        edge: &Harness,
        body: &[u8],
        length: usize,
    ) -> (h2::client::ResponseFuture, SendStream<Bytes>) {
        let request = http::Request::post(format!("https://cfx.test{CHAT}"))
            .header("authorization", format!("Bearer {}", edge.key))
            .header("content-type", "application/json")
            .header("content-length", body.len())
            .body(())
            .expect("a request");
        let mut sender = self.sender.clone().ready().await.expect("HTTP/2");
        let (response, mut upload) = sender.send_request(request, false).expect("a stream");
        upload.send_data(Bytes::copy_from_slice(&body[..length]), length == body.len()).expect("a body");
        (response, upload)
    }
}

impl Http2 {
    /// Closes the connection without a word.
    pub async fn close(self) {
        self.driving.abort();
        while !self.driving.is_finished() {
            tokio::task::yield_now().await;
        }
    }
}

/// Asks with request `number`, leaves, and says when. `pause` lies between the moment and the leaving. Whoever cancels a
/// stream does so on `shared`, where others go on.
pub async fn leaves(
    edge: &Harness,
    upstream: &Upstream,
    number: usize,
    (moment, manner): (Moment, Manner),
    pause: Duration,
    shared: Option<&Http2>,
) -> Instant {
    let leaving = async {
        match manner {
            Manner::Close | Manner::Reset | Manner::HalfClose => {
                leaves_http1(edge, upstream, number, (moment, manner), pause).await
            }
            Manner::ResetStream | Manner::CloseHttp2 => {
                let connection = match shared.filter(|_| manner == Manner::ResetStream) {
                    Some(shared) => shared.clone(),
                    None => Http2::connect(edge).await,
                };
                leaves_http2(edge, upstream, number, (moment, manner), pause, &connection).await
            }
        }
    };
    let left = tokio::time::timeout(PATIENCE, leaving).await;
    left.unwrap_or_else(|_late| panic!("{moment:?} did not come to {manner:?} in {PATIENCE:?}"))
}

/// The text behind which a client leaves.
fn mark(moment: Moment) -> &'static str {
    if moment == Moment::LastWord { wire::DONE } else { HALF }
}

async fn leaves_http1(
    edge: &Harness,
    upstream: &Upstream,
    number: usize,
    (moment, manner): (Moment, Manner),
    pause: Duration,
) -> Instant {
    let mut socket = TcpStream::connect(edge.http).await.expect("cfx accepts connections");
    socket.set_nodelay(true).expect("a socket");
    let body = Part::Leaves(moment).body(number);
    let request = edge.request(CHAT, &body);
    if moment == Moment::Upload {
        // A reset that comes before cfx has read the head leaves no request at all: so it is asked whether it has.
        let request = request.header("Expect", "100-continue").bytes();
        let (head, body) = request.split_at(request.len() - body.to_string().len());
        socket.write_all(head).await.expect("cfx reads");
        let mut read = Vec::new();
        while !contains(&read, "100 Continue") {
            assert!(socket.read_buf(&mut read).await.is_ok_and(|count| count > 0), "cfx closed: {}", shown(&read));
        }
        socket.write_all(&body[..body.len() / 2]).await.expect("cfx reads");
    } else {
        socket.write_all(&request.bytes()).await.expect("cfx reads");
    }
    match moment {
        Moment::Upload => {}
        Moment::FirstByte => drop(upstream.arrived(number).await),
        _ => {
            let mut read = Vec::new();
            while !contains(&read, mark(moment)) {
                assert!(socket.read_buf(&mut read).await.is_ok_and(|count| count > 0), "cfx closed: {}", shown(&read));
            }
        }
    }
    tokio::time::sleep(pause).await;
    let left = Instant::now();
    match manner {
        Manner::HalfClose => {
            socket.shutdown().await.expect("a socket");
            let mut rest = Vec::new();
            let _ = socket.read_to_end(&mut rest).await; // until cfx has hung up as well
        }
        Manner::Reset => socket.set_zero_linger().expect("a socket"),
        _ => {}
    }
    drop(socket);
    left
}

async fn leaves_http2(
    edge: &Harness,
    upstream: &Upstream,
    number: usize,
    (moment, manner): (Moment, Manner),
    pause: Duration,
    connection: &Http2,
) -> Instant {
    let body = Part::Leaves(moment).body(number).to_string().into_bytes();
    let length = if moment == Moment::Upload { body.len() / 2 } else { body.len() };
    let (response, mut upload) = connection.send(edge, &body, length).await;
    let mut answer = None;
    match moment {
        // The same: who has its answer to a later request knows that the earlier one was taken up.
        Moment::Upload => connection.is_heard().await,
        Moment::FirstByte => drop(upstream.arrived(number).await),
        _ => {
            let mut stream = response.await.expect("an answer").into_body();
            let mut read = Vec::new();
            while !contains(&read, mark(moment)) {
                assert!(part(&mut stream, &mut read).await == Some(true), "cfx ended it: {}", shown(&read));
            }
            answer = Some(stream);
        }
    }
    tokio::time::sleep(pause).await;
    let left = Instant::now();
    match manner {
        Manner::ResetStream => upload.send_reset(Reason::CANCEL),
        _ => connection.driving.abort(),
    }
    drop(answer);
    left
}

/// Asks with request `number` and reads its answer to the end: its body, and whether it ended as it should.
pub async fn stays(edge: &Harness, number: usize, part_of_it: Part, shared: Option<&Http2>) -> (Vec<u8>, bool) {
    let body = part_of_it.body(number);
    match shared {
        Some(connection) => {
            let body = body.to_string().into_bytes();
            let (response, _upload) = connection.send(edge, &body, body.len()).await;
            let response = response.await.expect("an answer");
            assert_eq!(response.status(), 200);
            let (mut stream, mut read) = (response.into_body(), Vec::new());
            loop {
                match part(&mut stream, &mut read).await {
                    Some(true) => {}
                    Some(false) => return (read, true),
                    None => return (read, false),
                }
            }
        }
        None => {
            let mut socket = TcpStream::connect(edge.http).await.expect("cfx accepts connections");
            let request = edge.request(CHAT, &body).header("Connection", "close");
            socket.write_all(&request.bytes()).await.expect("cfx reads");
            let mut read = Vec::new();
            let _ = socket.read_to_end(&mut read).await;
            unframed(&read)
        }
    }
}

/// Reads on: true where something came, false at the end, None where the stream was reset.
async fn part(stream: &mut RecvStream, read: &mut Vec<u8>) -> Option<bool> {
    let Some(part) = stream.data().await else { return Some(false) };
    let part = part.ok()?;
    let _ = stream.flow_control().release_capacity(part.len());
    read.extend_from_slice(&part);
    Some(true)
}

/// The body of an HTTP/1.1 answer without its framing, and whether it is whole by that.
fn unframed(answer: &[u8]) -> (Vec<u8>, bool) {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
    let head = shown(&answer[..end]).to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 200"), "{}", shown(answer));
    let mut rest = &answer[end + 4..];
    if let Some(length) = crate::harness::intake::field(&head, "content-length") {
        return (rest.to_vec(), length.parse() == Ok(rest.len()));
    }
    let mut body = Vec::new();
    while let Some(line) = rest.windows(2).position(|pair| pair == b"\r\n") {
        let size = usize::from_str_radix(&shown(&rest[..line]), 16).expect("a chunk's size");
        let Some(chunk) = rest.get(line + 2..line + 2 + size) else { break };
        if size == 0 {
            return (body, true);
        }
        body.extend_from_slice(chunk);
        rest = rest.get(line + 4 + size..).unwrap_or_default();
    }
    (body, false)
}

fn contains(read: &[u8], mark: &str) -> bool {
    read.windows(mark.len()).any(|window| window == mark.as_bytes())
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
