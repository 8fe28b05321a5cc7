//! Clients that go on whatever happens to the edge: whole answers, whole streams, and some that leave.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::chance::Chance;
use crate::harness::{CHAT, Harness, chat_body, streaming};

const CLIENTS: u64 = 8;
/// A client that has had nothing for so long leaves.
const PATIENCE: Duration = Duration::from_millis(700);

pub struct Clients {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    pause: AtomicBool,
    asking: AtomicUsize,
    /// Ids of whole answers, and when each was.
    finished: Mutex<Vec<(String, Instant)>>,
}

/// What a client does with its answer.
#[derive(Clone, Copy)]
enum Manner {
    ToTheEnd,
    LeaveAfterBytes(usize),
    LeaveAtOnce,
}

impl Clients {
    pub fn start(edge: &Harness, seed: u64) -> Self {
        let shared = Arc::new(Shared::default());
        let plain = edge.request(CHAT, &chat_body()).header("Connection", "close").bytes();
        let streamed = edge.request(CHAT, &streaming(chat_body())).header("Connection", "close").bytes();
        let threads = (0..CLIENTS).map(|number| {
            let (shared, plain, streamed, address) = (shared.clone(), plain.clone(), streamed.clone(), edge.http);
            let mut chance = Chance::new(seed ^ number);
            std::thread::spawn(move || {
                while !shared.stop.load(Ordering::SeqCst) {
                    let request = if chance.below(2) == 0 { &plain } else { &streamed };
                    shared.turn(address, request, manner(&mut chance));
                }
            })
        });
        Self { threads: threads.collect(), shared }
    }

    /// Ids of answers that were whole before `moment`. Forgets all others.
    pub fn take_finished_before(&self, moment: Instant) -> Vec<String> {
        let finished = std::mem::take(&mut *self.shared.finished.lock().expect("no client panics"));
        finished.into_iter().filter(|(_, at)| *at < moment).map(|(id, _)| id).collect()
    }

    /// Returns once nobody asks.
    pub fn pause(&self) {
        self.shared.pause.store(true, Ordering::SeqCst);
        let deadline = Instant::now() + crate::PATIENCE;
        while self.shared.asking.load(Ordering::SeqCst) > 0 {
            assert!(Instant::now() < deadline, "clients do not come to an end");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub fn resume(&self) {
        self.shared.pause.store(false, Ordering::SeqCst);
    }

    pub fn stop(self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.threads.into_iter().for_each(|thread| thread.join().expect("no client panics"));
    }
}

impl Shared {
    fn turn(&self, address: SocketAddr, request: &[u8], manner: Manner) {
        self.asking.fetch_add(1, Ordering::SeqCst);
        let connected = if self.pause.load(Ordering::SeqCst) { None } else { TcpStream::connect(address).ok() };
        let answer = connected.and_then(|stream| ask(stream, request, manner));
        if let Some(id) = &answer {
            self.finished.lock().expect("no client panics").push((id.clone(), Instant::now()));
        }
        self.asking.fetch_sub(1, Ordering::SeqCst);
        if answer.is_none() {
            std::thread::sleep(Duration::from_millis(5)); // the edge may be down: it is asked again soon
        }
    }
}

fn manner(chance: &mut Chance) -> Manner {
    match chance.below(8) {
        0 => Manner::LeaveAtOnce,
        1 => Manner::LeaveAfterBytes(400 + usize::try_from(chance.below(3_000)).expect("a small number")),
        _ => Manner::ToTheEnd,
    }
}

/// The id of a request whose answer was whole and good.
fn ask(mut stream: TcpStream, request: &[u8], manner: Manner) -> Option<String> {
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(request).ok()?;
    let mut answer = Vec::new();
    let most = match manner {
        Manner::ToTheEnd => usize::MAX,
        Manner::LeaveAfterBytes(bytes) => bytes,
        Manner::LeaveAtOnce => 0,
    };
    let mut buffer = [0; 4096];
    while answer.len() < most {
        match stream.read(&mut buffer) {
            Ok(0) => return whole(&answer),
            Ok(count) => answer.extend_from_slice(&buffer[..count]),
            Err(_) => break,
        }
    }
    let _ = stream.shutdown(Shutdown::Both);
    None
}

/// A stream is whole with its last word and its last chunk, an answer in one piece with its last brace.
fn whole(answer: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(answer).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let streamed = body.contains("data: [DONE]") && body.ends_with("0\r\n\r\n");
    if !head.starts_with("HTTP/1.1 200") || !(streamed || body.ends_with('}')) {
        return None;
    }
    let ids = head.lines().filter_map(|line| line.split_once(": "));
    ids.filter(|(name, _)| name.eq_ignore_ascii_case("x-request-id")).map(|(_, id)| id.trim().to_string()).next()
}
