//! An upstream that says what it was told to, on a real socket, and remembers every byte it was sent.
//!
//! It stands where LiteLLM would be. What it says by default, header lines included, was copied from answers of
//! LiteLLM 1.106 (`make e2e` runs the real one).

use std::collections::VecDeque;
use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::client::PATIENCE;
use super::intake::{Intake, field};
use super::wire;

/// The upstream. Its threads end with the connections.
#[derive(Clone)]
pub struct Scripted {
    pub address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Default)]
struct Inner {
    requests: Vec<Recorded>,
    /// When each connection was closed by cfx, by its number.
    closed: Vec<Option<Instant>>,
    queue: VecDeque<Reply>,
    rule: Option<Rule>,
    early: Option<fn(&str) -> bool>,
}

type Rule = Arc<dyn Fn(&Recorded) -> Option<Reply> + Send + Sync>;
type Script = Box<dyn FnOnce(&mut Exchange) + Send>;

/// One request as it came.
#[derive(Clone, Debug)]
pub struct Recorded {
    pub head: String,
    pub body: Vec<u8>,
    /// Which connection it came on, counted from 0.
    pub connection: usize,
}

/// What to do with one request.
pub struct Reply(Script);

/// A request being answered.
pub struct Exchange {
    pub request: Recorded,
    socket: TcpStream,
    state: Arc<State>,
    /// Whether the connection may carry another request.
    reusable: bool,
    /// Whether it is closed in order when it may not.
    lingers: bool,
}

/// Holds a reply until the test lets it go on.
pub struct Gate(Receiver<()>);

/// The test's end of a [`Gate`]. Dropped, it opens the gate for good.
pub struct Opener(Sender<()>);

pub fn gate() -> (Opener, Gate) {
    let (sender, receiver) = mpsc::channel();
    (Opener(sender), Gate(receiver))
}

impl Opener {
    /// Lets one step pass.
    pub fn open(&self) {
        let _ = self.0.send(());
    }
}

impl Gate {
    pub fn pass(&self) {
        let _ = self.0.recv_timeout(PATIENCE);
    }
}

impl Scripted {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(State::default());
        let accepting = state.clone();
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let state = accepting.clone();
                let number = state.locked(|inner| {
                    inner.closed.push(None);
                    inner.closed.len() - 1
                });
                std::thread::spawn(move || serve(socket, number, state));
            }
        });
        Self { address, state }
    }

    /// The next request that no earlier `then` is waiting for gets this.
    pub fn then(&self, reply: Reply) -> &Self {
        self.state.locked(|inner| inner.queue.push_back(reply));
        self
    }

    /// Every request gets what `rule` says, or the usual answer where it says nothing.
    pub fn always(&self, rule: impl Fn(&Recorded) -> Option<Reply> + Send + Sync + 'static) {
        self.state.locked(|inner| inner.rule = Some(Arc::new(rule)));
    }

    /// Requests whose head this picks are answered when their head has come; their body is never read, and the
    /// connection ends behind the answer.
    pub fn early(&self, picks: fn(&str) -> bool) {
        self.state.locked(|inner| inner.early = Some(picks));
    }

    /// Everything asked so far.
    pub fn requests(&self) -> Vec<Recorded> {
        self.state.locked(|inner| inner.requests.clone())
    }

    /// The newest request.
    pub fn last(&self) -> Recorded {
        self.requests().pop().expect("nothing has reached the upstream")
    }

    /// How many requests have come.
    pub fn count(&self) -> usize {
        self.state.locked(|inner| inner.requests.len())
    }

    /// Waits until `count` requests have come.
    pub fn wait_for(&self, count: usize) {
        self.state.wait(|inner| (inner.requests.len() >= count).then_some(()), "a request at the upstream");
    }

    /// Waits until cfx has closed a connection, and says when it did.
    pub fn closed(&self, connection: usize) -> Instant {
        self.state.wait(|inner| inner.closed.get(connection).copied().flatten(), "a close at the upstream")
    }

    /// Connections so far, closed ones included.
    pub fn connections(&self) -> usize {
        self.state.locked(|inner| inner.closed.len())
    }

    pub fn forget(&self) {
        self.state.locked(|inner| inner.requests.clear());
    }
}

impl State {
    fn locked<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
        let mut inner = self.lock();
        let result = act(&mut inner);
        self.changed.notify_all();
        result
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn wait<T>(&self, ready: impl Fn(&Inner) -> Option<T>, what: &str) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut inner = self.lock();
        loop {
            if let Some(found) = ready(&inner) {
                return found;
            }
            let left = deadline.checked_duration_since(Instant::now()).unwrap_or(Duration::ZERO);
            assert!(!left.is_zero(), "waited {PATIENCE:?} for {what}");
            inner = self.changed.wait_timeout(inner, left).unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
    }
}

impl Recorded {
    /// `POST /v1/chat/completions HTTP/1.1`.
    pub fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    pub fn path(&self) -> &str {
        self.line().split(' ').nth(1).unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

impl Reply {
    pub fn script(script: impl FnOnce(&mut Exchange) + Send + 'static) -> Self {
        Self(Box::new(script))
    }

    /// What LiteLLM would say: by path, and as a stream where the body asks for one.
    pub fn usual() -> Self {
        Self::script(|exchange| {
            let request = exchange.request.clone();
            match wire::usual_answer(&request) {
                wire::Usual::Json(status, body) => exchange.json(status, &body),
                wire::Usual::Events(events) => {
                    exchange.begin_events();
                    events.iter().for_each(|event| exchange.event(event));
                    exchange.end();
                }
            }
        })
    }

    pub fn json(status: u16, body: impl Into<String>) -> Self {
        let body = body.into();
        Self::script(move |exchange| exchange.json(status, &body))
    }

    /// A stream of these events, ended properly.
    pub fn events(events: Vec<String>) -> Self {
        Self::script(move |exchange| {
            exchange.begin_events();
            events.iter().for_each(|event| exchange.event(event));
            exchange.end();
        })
    }

    /// A stream whose every event, and its end, waits for the gate.
    pub fn gated(events: Vec<String>, gate: Gate) -> Self {
        Self::script(move |exchange| {
            exchange.begin_events();
            for event in &events {
                gate.pass();
                exchange.event(event);
            }
            gate.pass();
            exchange.end();
        })
    }

    /// The usual answer, once the gate opens.
    pub fn after(gate: Gate) -> Self {
        Self::script(move |exchange| {
            gate.pass();
            (Self::usual().0)(exchange);
        })
    }

    /// A stream that breaks off after these events, without its last chunk.
    pub fn cut_after(events: Vec<String>) -> Self {
        Self::script(move |exchange| {
            exchange.begin_events();
            events.iter().for_each(|event| exchange.event(event));
            exchange.hang_up();
        })
    }

    /// Reads the request, then hangs up without a byte.
    pub fn hang_up() -> Self {
        Self::script(Exchange::hang_up)
    }

    /// Reads the request and stays silent until cfx gives up.
    pub fn never() -> Self {
        Self::script(Exchange::wait_for_close)
    }

    /// These bytes as they stand; then the connection is closed.
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self::script(move |exchange| {
            exchange.send(&bytes);
            exchange.hang_up();
        })
    }
}

impl Exchange {
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.try_send(bytes);
    }

    /// Fails once cfx has closed the connection.
    pub fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.socket.write_all(bytes)
    }

    pub fn json(&mut self, status: u16, body: &str) {
        let head = format!(
            "HTTP/1.1 {status} Scripted\r\ncontent-length: {}\r\ncontent-type: application/json\r\n{}\r\n",
            body.len(),
            wire::LITELLM_HEADERS
        );
        self.send(&[head.as_bytes(), body.as_bytes()].concat());
    }

    pub fn begin_events(&mut self) {
        let head = "HTTP/1.1 200 OK\r\ncache-control: no-cache\r\nx-accel-buffering: no\r\n\
             content-type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n";
        self.send(format!("{head}{}\r\n", wire::LITELLM_HEADERS).as_bytes());
    }

    /// One event as a chunk of its own.
    pub fn event(&mut self, event: &str) {
        self.chunk(format!("{event}\n\n").as_bytes());
    }

    pub fn chunk(&mut self, bytes: &[u8]) {
        let head = format!("{:x}\r\n", bytes.len());
        self.send(&[head.as_bytes(), bytes, b"\r\n"].concat());
    }

    pub fn end(&mut self) {
        self.send(b"0\r\n\r\n");
    }

    pub fn hang_up(&mut self) {
        let _ = self.socket.shutdown(Shutdown::Both);
        self.reusable = false;
    }

    /// Closes as a process does that was killed with bytes unread: the peer sees a reset.
    pub fn reset(&mut self) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
        let _inside = runtime.enter();
        let socket = self.socket.try_clone().and_then(|socket| socket.set_nonblocking(true).map(|()| socket));
        let socket = socket.and_then(tokio::net::TcpStream::from_std).expect("a socket");
        socket.set_zero_linger().expect("a socket");
        // Wakes the thread that reads, so that the last handle goes with this one.
        let _ = self.socket.shutdown(Shutdown::Read);
        (self.reusable, self.lingers) = (false, false);
    }

    /// Whether cfx closes the connection within this time.
    pub fn closed_within(&mut self, wait: Duration) -> bool {
        let (connection, inner) = (self.request.connection, self.state.lock());
        let waited = self.state.changed.wait_timeout_while(inner, wait, |inner| inner.closed[connection].is_none());
        waited.is_ok_and(|(inner, _)| inner.closed[connection].is_some())
    }

    pub fn wait_for_close(&mut self) {
        let connection = self.request.connection;
        self.state.wait(|inner| inner.closed[connection], "cfx to give up");
        self.reusable = false;
    }
}

/// One connection: this thread answers, another reads, so that a close is seen the moment it comes.
fn serve(socket: TcpStream, number: usize, state: Arc<State>) {
    let _ = socket.set_nodelay(true);
    let Ok(reading) = socket.try_clone() else { return };
    let (arrived, requests) = mpsc::channel();
    let watching = state.clone();
    std::thread::spawn(move || {
        let mut intake = Intake::new(reading);
        while let Some(head) = intake.head() {
            let early = watching.lock().early.is_some_and(|picks| picks(&head));
            let Some(body) = (if early { Some(Vec::new()) } else { intake.body(&head) }) else { break };
            if arrived.send(Recorded { head, body, connection: number }).is_err() || early {
                break;
            }
        }
        watching.locked(|inner| inner.closed[number] = Some(Instant::now()));
    });
    for request in requests {
        let reply = state.locked(|inner| {
            inner.requests.push(request.clone());
            inner.queue.pop_front().map(Ok).unwrap_or_else(|| Err(inner.rule.clone()))
        });
        let reply = reply.unwrap_or_else(|rule| rule.and_then(|rule| rule(&request)).unwrap_or_else(Reply::usual));
        let Ok(writing) = socket.try_clone() else { return };
        let mut exchange = Exchange { request, socket: writing, state: state.clone(), reusable: true, lingers: true };
        (reply.0)(&mut exchange);
        if !exchange.lingers {
            return;
        }
        if !exchange.reusable {
            break;
        }
    }
    let _ = socket.shutdown(Shutdown::Both);
}
