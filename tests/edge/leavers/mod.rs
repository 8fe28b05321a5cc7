//! Clients that leave at a chosen moment in a chosen manner, and the upstream that sees what becomes of their requests.
//!
//! Many of them at once, so they are tasks and not threads.

pub mod client;
pub mod upstream;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{chat_body, streaming};

/// When a client leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Half of its body has been sent.
    Upload,
    /// The upstream has the request, and says nothing.
    FirstByte,
    BetweenEvents,
    /// Half of an event has come.
    MidEvent,
    /// Half of a JSON document has come.
    Document,
    /// `[DONE]` has come, and the body's end has not.
    LastWord,
}

pub const MOMENTS: [Moment; 6] =
    [Moment::Upload, Moment::FirstByte, Moment::BetweenEvents, Moment::MidEvent, Moment::Document, Moment::LastWord];

/// How it leaves, and so what it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// HTTP/1.1, as a client that closes its socket.
    Close,
    /// HTTP/1.1, as a client whose machine knows nothing of the connection any more.
    Reset,
    /// HTTP/1.1, as a client that says it has nothing more to send.
    HalfClose,
    /// HTTP/2, as a client that cancels one request of several.
    ResetStream,
    /// HTTP/2, as a client that is killed.
    CloseHttp2,
}

pub const MANNERS: [Manner; 5] =
    [Manner::Close, Manner::Reset, Manner::HalfClose, Manner::ResetStream, Manner::CloseHttp2];

/// What a request is to see. It travels in the field `user`, which cfx does not own and passes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Leaves(Moment),
    /// Gets a stream to its end.
    Stays,
    /// Gets a document to its end.
    StaysForADocument,
}

impl Moment {
    /// Whether some of an answer's text has passed by then.
    pub fn has_text(self) -> bool {
        matches!(self, Moment::BetweenEvents | Moment::MidEvent | Moment::Document)
    }
}

impl Part {
    /// The body of request `number`.
    pub fn body(self, number: usize) -> Value {
        let mut body = match self {
            Part::StaysForADocument | Part::Leaves(Moment::Document) => chat_body(),
            _ => streaming(chat_body()),
        };
        if body["stream"] == true {
            // Else cfx asks for usage itself and takes it out again, and answers would differ by that.
            body["stream_options"] = json!({"include_usage": true});
        }
        body["user"] = json!(format!("{number} {self:?}"));
        body
    }
}

/// Numbers at random, the same ones for the same seed.
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        let mut chance = Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(1));
        chance.below(2); // neighbouring seeds begin alike
        chance
    }

    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % end.max(1)
    }

    pub fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    pub fn millis(&mut self, below: usize) -> Duration {
        Duration::from_millis(self.below(below) as u64)
    }
}

/// How soon the upstream has to see that a client left, on a machine that wakes whoever wants to run at once.
pub const AT_ONCE: Duration = Duration::from_millis(250);

/// How late this machine is to wake who wants to run: on a loaded one what was seen late was not always done late.
pub struct Lateness {
    worst: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

impl Lateness {
    pub fn watch() -> Self {
        let (worst, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (seen, told) = (worst.clone(), over.clone());
        std::thread::spawn(move || {
            let tick = Duration::from_millis(2);
            while !told.load(Ordering::Relaxed) {
                let before = Instant::now();
                std::thread::sleep(tick);
                let late = before.elapsed().saturating_sub(tick);
                seen.fetch_max(u64::try_from(late.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
            }
        });
        Self { worst, over }
    }

    /// The longest that a thread which slept has been kept waiting so far.
    pub fn worst(&self) -> Duration {
        Duration::from_micros(self.worst.load(Ordering::Relaxed))
    }
}

impl Drop for Lateness {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}
