//! The clients of the fault table: one connection over HTTP/1.1 and one over HTTP/2, each used for as long as it holds.

use std::sync::Arc;

use bytes::Bytes;
use h2::client::SendRequest;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::harness::client::{PATIENCE, trusting};
use crate::harness::{Answer, CHAT, Client, Harness, Request};

/// How the client speaks to cfx.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http2,
}

/// One request of a test's client.
pub struct Ask<'a> {
    pub host: &'a str,
    /// By this the upstream knows what to do with it.
    pub mark: &'a str,
    pub body: &'a str,
}

pub struct Downstream<'edge> {
    edge: &'edge Harness,
    kept: Kept,
}

enum Kept {
    Http1(Option<Client>),
    Http2(Box<Http2>),
}

/// One HTTP/2 connection.
struct Http2 {
    runtime: tokio::runtime::Runtime,
    sender: SendRequest<Bytes>,
}

impl<'edge> Downstream<'edge> {
    pub fn new(edge: &'edge Harness, protocol: Protocol) -> Self {
        let kept = match protocol {
            Protocol::Http1 => Kept::Http1(None),
            Protocol::Http2 => Kept::Http2(Box::new(Http2::connect(edge))),
        };
        Self { edge, kept }
    }

    /// The answer, or what went wrong with the connection instead. An HTTP/1.1 connection is used again after every
    /// whole answer, an HTTP/2 connection after every answer: a stream that is cut is the affair of that stream.
    pub fn ask(&mut self, ask: &Ask<'_>) -> Result<Answer, String> {
        match &mut self.kept {
            Kept::Http1(kept) => {
                let mut client = kept.take().unwrap_or_else(|| self.edge.client());
                let request = Request::post(CHAT, ask.body).key(&self.edge.key).header("openai-beta", ask.mark);
                client.send(&request.instead("Host", ask.host).bytes());
                let answer = client.answer_if_any().ok_or("cfx closed the connection without an answer")?;
                let goes_on = !answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
                *kept = (answer.complete && goes_on).then_some(client);
                Ok(answer)
            }
            Kept::Http2(connection) => connection.ask(self.edge, ask),
        }
    }
}

impl Http2 {
    fn connect(edge: &Harness) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let sender = runtime.block_on(async {
            let stream = TcpStream::connect(edge.https).await.expect("cfx accepts connections");
            let connector = TlsConnector::from(Arc::new(trusting(&edge.certificate, &[b"h2"])));
            let name = ServerName::try_from("cfx.test").expect("a name");
            let stream = connector.connect(name, stream).await.expect("TLS");
            let (sender, connection) = h2::client::Builder::new()
                .initial_window_size(16 << 20)
                .initial_connection_window_size(16 << 20)
                .handshake(stream)
                .await
                .expect("HTTP/2");
            tokio::spawn(connection);
            sender
        });
        Self { runtime, sender }
    }

    fn ask(&mut self, edge: &Harness, ask: &Ask<'_>) -> Result<Answer, String> {
        let request = http::Request::post(format!("https://{}{CHAT}", ask.host))
            .header("authorization", format!("Bearer {}", edge.key))
            .header("content-type", "application/json")
            .header("openai-beta", ask.mark)
            .body(())
            .expect("a request");
        let sender = self.sender.clone();
        let exchange = exchange(sender, request, Bytes::copy_from_slice(ask.body.as_bytes()));
        let bounded =
            async { tokio::time::timeout(PATIENCE, exchange).await.map_err(|_late| "no answer".to_string())? };
        self.runtime.block_on(bounded)
    }
}

async fn exchange(sender: SendRequest<Bytes>, request: http::Request<()>, body: Bytes) -> Result<Answer, String> {
    let mut sender = sender.ready().await.map_err(|error| format!("the connection is gone: {error}"))?;
    let (response, mut upload) = sender.send_request(request, false).map_err(|error| error.to_string())?;
    upload.send_data(body, true).map_err(|error| error.to_string())?;
    let response = response.await.map_err(|error| format!("no answer: {error}"))?;
    let line = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let (status, headers) = (response.status().as_u16(), response.headers().iter().map(line).collect());
    let mut stream = response.into_body();
    let (mut body, mut complete) = (Vec::new(), true);
    while let Some(part) = stream.data().await {
        let Ok(part) = part else {
            complete = false;
            break;
        };
        let _ = stream.flow_control().release_capacity(part.len());
        body.extend(part);
    }
    Ok(Answer { status, headers, body, complete })
}
