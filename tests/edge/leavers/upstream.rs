//! An upstream for thousands of requests at once. It plays each the part that its body names, and notes when a request
//! came and when cfx closed its connection.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::{Chance, Moment, Part};
use crate::harness::client::PATIENCE;
use crate::harness::intake::field;
use crate::harness::wire;

/// Text that stands where an answer stops halfway.
pub const HALF: &str = "half of it";

pub struct Upstream {
    pub address: SocketAddr,
    seen: Arc<Seen>,
}

struct Seen {
    requests: Mutex<HashMap<usize, Times>>,
    changed: watch::Sender<()>,
}

#[derive(Clone, Copy, Default)]
struct Times {
    arrived: Option<Instant>,
    closed: Option<Instant>,
}

impl Upstream {
    /// Answers to those who stay take about `span`. It has a thread of its own, so that no client's work delays what it
    /// sees. The thread ends with the test.
    pub fn start(span: Duration) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let seen = Arc::new(Seen { requests: Mutex::default(), changed: watch::Sender::new(()) });
        let noted = seen.clone();
        std::thread::spawn(move || {
            runtime.block_on(async {
                while let Ok((socket, _)) = listener.accept().await {
                    tokio::spawn(serve(socket, noted.clone(), span));
                }
            });
        });
        Self { address, seen }
    }

    pub fn count(&self) -> usize {
        self.seen.requests.lock().expect("no panic").len()
    }

    /// Waits until request `number` has come whole.
    pub async fn arrived(&self, number: usize) -> Instant {
        self.seen.wait(|requests| requests.get(&number)?.arrived, "a request at the upstream").await
    }

    /// Waits until cfx has closed the connection that request `number` came on, and says when it did.
    pub async fn closed(&self, number: usize) -> Instant {
        self.seen.wait(|requests| requests.get(&number)?.closed, "a close at the upstream").await
    }
}

impl Seen {
    fn note(&self, number: usize, note: impl FnOnce(&mut Times)) {
        note(self.requests.lock().expect("no panic").entry(number).or_default());
        self.changed.send_replace(());
    }

    async fn wait<T>(&self, ready: impl Fn(&HashMap<usize, Times>) -> Option<T>, what: &str) -> T {
        let mut changed = self.changed.subscribe();
        let waiting = async {
            loop {
                if let Some(found) = ready(&self.requests.lock().expect("no panic")) {
                    return found;
                }
                let _ = changed.changed().await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        waited.unwrap_or_else(|_late| panic!("waited {PATIENCE:?} for {what}"))
    }
}

async fn serve(socket: TcpStream, seen: Arc<Seen>, span: Duration) {
    let _ = socket.set_nodelay(true);
    let (mut reading, mut writing) = socket.into_split();
    let mut unread = Vec::new();
    while let Some(body) = request(&mut reading, &mut unread).await {
        let body: serde_json::Value = serde_json::from_slice(&body).expect("cfx sends JSON");
        let user = body["user"].as_str().expect("every request here names its part");
        let (number, part) = user.split_once(' ').expect("a number and a part");
        let number = number.parse().expect("a number");
        seen.note(number, |times| times.arrived = Some(Instant::now()));
        let left = tokio::select! {
            biased;
            left = async { reading.read_u8().await } => {
                assert!(left.is_err(), "cfx sends nothing before it has its answer");
                true
            }
            () = play((number, part), &mut writing, span) => false,
        };
        if left {
            seen.note(number, |times| times.closed = Some(Instant::now()));
            return;
        }
    }
}

/// The body of the next request; None once the connection has ended.
async fn request(reading: &mut OwnedReadHalf, unread: &mut Vec<u8>) -> Option<Vec<u8>> {
    loop {
        if let Some(end) = unread.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&unread[..end]).into_owned();
            let length: usize = field(&head, "content-length").and_then(|length| length.parse().ok())?;
            while unread.len() < end + 4 + length {
                more(reading, unread).await?;
            }
            let rest = unread.split_off(end + 4 + length);
            return Some(std::mem::replace(unread, rest).split_off(end + 4));
        }
        more(reading, unread).await?;
    }
}

async fn more(reading: &mut OwnedReadHalf, unread: &mut Vec<u8>) -> Option<()> {
    reading.read_buf(unread).await.ok().filter(|count| *count > 0).map(|_| ())
}

/// Plays a part to its end, or until it is dropped.
async fn play((number, part): (usize, &str), writing: &mut OwnedWriteHalf, span: Duration) {
    let mut chance = Chance::new(number as u64);
    let is = |other: Part| part == format!("{other:?}");
    let _ = if is(Part::Stays) {
        stays(number, &mut chance, writing, span).await
    } else if is(Part::StaysForADocument) {
        tokio::time::sleep(span / 100 * u32::try_from(chance.below(100)).expect("below a hundred")).await;
        let body = whole(number, Part::StaysForADocument);
        writing.write_all(&document(&body, body.len())).await
    } else if is(Part::Leaves(Moment::FirstByte)) {
        hold().await
    } else if is(Part::Leaves(Moment::Document)) {
        let body = whole(number, Part::StaysForADocument);
        let half = body.windows(HALF.len()).position(|window| window == HALF.as_bytes()).expect("half") + HALF.len();
        let _ = writing.write_all(&document(&body, half)).await;
        hold().await
    } else {
        let _ = writing.write_all(&until(number, part)).await;
        hold().await
    };
}

async fn hold() -> std::io::Result<()> {
    std::future::pending::<Infallible>().await;
    Ok(())
}

/// A stream in chunks that are cut anywhere.
async fn stays(
    number: usize,
    chance: &mut Chance,
    writing: &mut OwnedWriteHalf,
    span: Duration,
) -> std::io::Result<()> {
    writing.write_all(HEAD).await?;
    let body = whole(number, Part::Stays);
    let mut rest = &body[..];
    while !rest.is_empty() {
        let (piece, more) = rest.split_at(1 + chance.below(rest.len().min(400)));
        rest = more;
        writing.write_all(&chunk(piece)).await?;
        tokio::time::sleep(span.mul_f64(piece.len() as f64 / body.len() as f64)).await;
    }
    writing.write_all(b"0\r\n\r\n").await
}

/// What one who leaves is sent of a stream, in one piece.
fn until(number: usize, part: &str) -> Vec<u8> {
    let mut sent = HEAD.to_vec();
    let events = events(number);
    let words = 2 + number % 4; // the first says nothing
    if part == format!("{:?}", Part::Leaves(Moment::LastWord)) {
        events.iter().for_each(|event| sent.extend(chunk(event.as_bytes())));
        return sent;
    }
    events[..words].iter().for_each(|event| sent.extend(chunk(event.as_bytes())));
    let event = format!("{}\n\n", wire::chat_event("m", json!({"content": format!(" {HALF} and the rest")}), None));
    let end = if part == format!("{:?}", Part::Leaves(Moment::MidEvent)) {
        event.find(HALF).expect("its text") + HALF.len()
    } else {
        event.len()
    };
    sent.extend(chunk(&event.as_bytes()[..end]));
    sent
}

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// The first `length` bytes of a document behind their head.
fn document(body: &[u8], length: usize) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), &body[..length]].concat()
}

/// All of the answer to request `number`, which is no other's.
pub fn whole(number: usize, part: Part) -> Vec<u8> {
    match part {
        Part::StaysForADocument => {
            let text = format!("{} {HALF} ve geri kalanı", "söz ".repeat(20 + number % 200));
            json!({"id": format!("chatcmpl-{number}"), "object": "chat.completion", "usage": wire::chat_usage(),
                   "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}]})
            .to_string()
            .into_bytes()
        }
        _ => events(number).concat().into_bytes(),
    }
}

/// The events of the stream of request `number`.
fn events(number: usize) -> Vec<String> {
    let mut chance = Chance::new(number as u64);
    let words: Vec<String> = (0..5 + chance.below(20))
        .map(|at| format!("{number}.{at}: {} ", "çok güzel \u{1F680} ".repeat(chance.below(8))))
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    wire::chat_events("m", &words, true).into_iter().map(|event| format!("{event}\n\n")).collect()
}
