//! A scripted upstream that speaks HTTP/2 and nothing else, by the server side of the `h2` crate. Over TLS it stands
//! behind a [`super::tls::Front`].

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::client::PATIENCE;
use super::scripted::Recorded;
use super::wire;

/// The upstream. Its thread ends with the test.
#[derive(Clone)]
pub struct Http2 {
    pub address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    inner: Mutex<Inner>,
    changed: Condvar,
    script: Mutex<Option<Script>>,
}

#[derive(Default)]
struct Inner {
    requests: Vec<Recorded>,
    connections: usize,
    open_connections: usize,
    /// Streams that are being answered, and the most there were.
    streams: usize,
    most_streams: usize,
    /// Why cfx has reset streams, and when.
    resets: Vec<(Reason, Instant)>,
    /// Bytes of answers that the windows had room for.
    sent: usize,
}

type Answering = Pin<Box<dyn Future<Output = ()> + Send>>;
type Script = Arc<dyn Fn(Exchange) -> Answering + Send + Sync>;

/// A request being answered.
pub struct Exchange {
    /// Its body is empty until [`Exchange::read`] has read it.
    pub request: Recorded,
    body: Option<RecvStream>,
    respond: SendResponse<Bytes>,
    answer: Option<SendStream<Bytes>>,
    orders: mpsc::UnboundedSender<Order>,
    state: Arc<State>,
}

enum Order {
    Goodbye,
    HangUp,
}

impl Http2 {
    pub fn start() -> Self {
        Self::with(|_| {})
    }

    /// With settings of its own.
    pub fn with(settings: impl Fn(&mut Builder) + Send + 'static) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(State::default());
        let accepting = state.clone();
        std::thread::spawn(move || {
            runtime.block_on(async {
                while let Ok((socket, _)) = listener.accept().await {
                    let mut builder = Builder::new();
                    settings(&mut builder);
                    tokio::spawn(serve(socket, builder, accepting.clone()));
                }
            });
        });
        Self { address, state }
    }

    /// As a target of an upstream with `http2: always`.
    pub fn target(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What becomes of every request from now on. At first it is [`Exchange::usual`].
    pub fn always<F: Future<Output = ()> + Send + 'static>(
        &self,
        script: impl Fn(Exchange) -> F + Send + Sync + 'static,
    ) {
        let script: Script = Arc::new(move |exchange| Box::pin(script(exchange)));
        *self.state.script.lock().unwrap_or_else(PoisonError::into_inner) = Some(script);
    }

    pub fn requests(&self) -> Vec<Recorded> {
        self.state.locked(|inner| inner.requests.clone())
    }

    pub fn count(&self) -> usize {
        self.state.locked(|inner| inner.requests.len())
    }

    /// Waits until `count` requests have come.
    pub fn wait_for(&self, count: usize) {
        self.state.wait("a request at the upstream", |inner| (inner.requests.len() >= count).then_some(()));
    }

    /// Connections so far, closed ones included.
    pub fn connections(&self) -> usize {
        self.state.locked(|inner| inner.connections)
    }

    /// Waits until no connection is open.
    pub fn deserted(&self) {
        self.left_with(0);
    }

    /// Waits until no more than `count` connections are open.
    pub fn left_with(&self, count: usize) {
        self.state.wait("cfx to close its connections", |inner| (inner.open_connections <= count).then_some(()));
    }

    /// The most streams that were answered beside each other.
    pub fn most_streams(&self) -> usize {
        self.state.locked(|inner| inner.most_streams)
    }

    /// Waits until cfx has reset `count` streams, and says why and when it did.
    pub fn resets(&self, count: usize) -> Vec<(Reason, Instant)> {
        self.state.wait("a reset at the upstream", |inner| (inner.resets.len() >= count).then(|| inner.resets.clone()))
    }

    /// Bytes of answers so far that cfx has had room for.
    pub fn sent(&self) -> usize {
        self.state.locked(|inner| inner.sent)
    }
}

impl State {
    fn locked<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
        let result = act(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
        result
    }

    fn wait<T>(&self, what: &str, ready: impl Fn(&Inner) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(found) = ready(&inner) {
                return found;
            }
            let left = deadline.checked_duration_since(Instant::now()).unwrap_or(Duration::ZERO);
            assert!(!left.is_zero(), "waited {PATIENCE:?} for {what}");
            inner = self.changed.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn script(&self) -> Script {
        let script = self.script.lock().unwrap_or_else(PoisonError::into_inner).clone();
        script.unwrap_or_else(|| Arc::new(|exchange| Box::pin(exchange.usual())))
    }
}

impl Exchange {
    /// Reads the request's body, and counts the request as come.
    pub async fn read(&mut self) {
        if let Some(mut body) = self.body.take() {
            while let Some(Ok(part)) = body.data().await {
                let _ = body.flow_control().release_capacity(part.len());
                self.request.body.extend(part);
            }
        }
        self.came();
    }

    /// Counts the request as come, whatever has come of its body.
    pub fn came(&self) {
        self.state.locked(|inner| inner.requests.push(self.request.clone()));
    }

    /// What LiteLLM would say, had it HTTP/2.
    pub async fn usual(mut self) {
        self.read().await;
        match wire::usual_answer(&self.request) {
            wire::Usual::Json(status, body) => self.json(status, &body).await,
            wire::Usual::Events(events) => self.events(&events).await,
        }
    }

    pub async fn json(&mut self, status: u16, body: &str) {
        self.head(status, "application/json", Some(body.len()));
        self.piece(body.as_bytes()).await;
        self.end();
    }

    /// A stream of these events, ended properly.
    pub async fn events(&mut self, events: &[String]) {
        self.head(200, "text/event-stream; charset=utf-8", None);
        for event in events {
            self.event(event).await;
        }
        self.end();
    }

    /// The same, handed over as a whole before any of it leaves, each event in a frame.
    pub fn events_at_once(&mut self, events: &[String]) {
        self.head(200, "text/event-stream; charset=utf-8", None);
        if let Some(answer) = &mut self.answer {
            for event in events {
                let _ = answer.send_data(Bytes::from(format!("{event}\n\n")), false);
            }
        }
        self.end();
    }

    pub fn head(&mut self, status: u16, content_type: &str, length: Option<usize>) {
        let mut head = http::Response::builder().status(status).header("content-type", content_type);
        for line in wire::LITELLM_HEADERS.lines() {
            let (name, value) = line.split_once(": ").expect("a header line");
            head = head.header(name, value);
        }
        if let Some(length) = length {
            head = head.header("content-length", length);
        }
        self.answer = self.respond.send_response(head.body(()).expect("a head"), false).ok();
    }

    /// An answer before the answer.
    pub fn interim(&mut self, status: u16) {
        let head = http::Response::builder().status(status).body(()).expect("a head");
        self.respond.send_informational(head).expect("a stream");
    }

    pub async fn event(&mut self, event: &str) -> bool {
        self.piece(format!("{event}\n\n").as_bytes()).await
    }

    /// Sends this as cfx has room for it; false once the stream is reset.
    pub async fn piece(&mut self, bytes: &[u8]) -> bool {
        let Some(answer) = &mut self.answer else { return false };
        let mut left = Bytes::copy_from_slice(bytes);
        while !left.is_empty() {
            answer.reserve_capacity(left.len());
            let room = match std::future::poll_fn(|context| answer.poll_capacity(context)).await {
                Some(Ok(room)) => room.min(left.len()),
                _ => return false,
            };
            if answer.send_data(left.split_to(room), false).is_err() {
                return false;
            }
            self.state.locked(|inner| inner.sent += room);
        }
        true
    }

    pub fn end(&mut self) {
        if let Some(answer) = &mut self.answer {
            let _ = answer.send_data(Bytes::new(), true);
        }
    }

    /// Ends the answer with a trailer.
    pub fn end_with_trailer(&mut self, name: &'static str, value: &'static str) {
        let trailer = [(http::HeaderName::from_static(name), http::HeaderValue::from_static(value))];
        let _ = self.answer.as_mut().expect("a head").send_trailers(trailer.into_iter().collect());
    }

    pub fn reset(&mut self, reason: Reason) {
        match &mut self.answer {
            Some(answer) => answer.send_reset(reason),
            None => self.respond.send_reset(reason),
        }
    }

    /// Waits until cfx has reset the stream, or its connection is gone.
    pub async fn left(&mut self) {
        let reason = match &mut self.answer {
            Some(answer) => std::future::poll_fn(|context| answer.poll_reset(context)).await,
            None => std::future::poll_fn(|context| self.respond.poll_reset(context)).await,
        };
        if let Ok(reason) = reason {
            self.state.locked(|inner| inner.resets.push((reason, Instant::now())));
        }
    }

    /// This connection takes no more streams; those on it go on.
    pub fn goodbye(&self) {
        let _ = self.orders.send(Order::Goodbye);
    }

    /// The connection is closed with all that is on it.
    pub fn hang_up(&self) {
        let _ = self.orders.send(Order::HangUp);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.state.locked(|inner| inner.streams -= 1);
    }
}

/// One connection.
async fn serve(socket: TcpStream, builder: Builder, state: Arc<State>) {
    let _ = socket.set_nodelay(true);
    let number = state.locked(|inner| {
        inner.open_connections += 1;
        inner.connections += 1;
        inner.connections - 1
    });
    let (sender, mut orders) = mpsc::unbounded_channel();
    if let Ok(mut connection) = builder.handshake::<_, Bytes>(socket).await {
        loop {
            tokio::select! {
                accepted = connection.accept() => match accepted {
                    Some(Ok((request, respond))) => {
                        let exchange = begin(request, respond, number, sender.clone(), state.clone());
                        tokio::spawn(state.script()(exchange));
                    }
                    Some(Err(_)) | None => break,
                },
                order = orders.recv() => match order {
                    Some(Order::Goodbye) => connection.graceful_shutdown(),
                    Some(Order::HangUp) | None => break,
                },
            }
        }
    }
    state.locked(|inner| inner.open_connections -= 1);
}

fn begin(
    request: http::Request<RecvStream>,
    respond: SendResponse<Bytes>,
    connection: usize,
    orders: mpsc::UnboundedSender<Order>,
    state: Arc<State>,
) -> Exchange {
    let (head, body) = request.into_parts();
    let path = head.uri.path_and_query().map_or("", |path| path.as_str());
    let mut text = format!("{} {path} HTTP/2\r\n", head.method);
    text += &format!(":authority: {}\r\n", head.uri.authority().map_or("", |authority| authority.as_str()));
    for (name, value) in &head.headers {
        text += &format!("{name}: {}\r\n", String::from_utf8_lossy(value.as_bytes()));
    }
    state.locked(|inner| {
        inner.streams += 1;
        inner.most_streams = inner.most_streams.max(inner.streams);
    });
    let request = Recorded { head: text, body: Vec::new(), connection };
    Exchange { request, body: Some(body), respond, answer: None, orders, state }
}
