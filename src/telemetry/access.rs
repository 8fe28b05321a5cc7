//! The access log: one line for every request, whatever became of it. Never prompts, answers, keys or what stands in
//! queries.
//!
//! Failure stance: open. A request appends its line to a buffer in memory and goes on; one thread writes the buffer
//! out in batches. Where stdout is slower than the requests, lines are dropped, counted, and the loss is reported.

use std::io::Write;
use std::net::IpAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::heap;
use crate::telemetry::fields::Fields;
use crate::telemetry::{Format, line};
use crate::units::{KeyId, NanoUsd, RequestId, Stage, StageSource, Timestamp, Usage, UserId};

/// Bytes that may wait to be written: some 10,000 lines.
const CAPACITY: usize = 4 * 1024 * 1024;
/// How long the first line of a batch waits for company. Short enough to look immediate, long enough that a busy edge
/// makes 50 writes a second and not one a request.
const LINGER: Duration = Duration::from_millis(20);
/// Room that stays for the next batches: more than a busy edge fills in that time. What ends at once with a crowd takes more.
const KEPT: usize = 128 * 1024;
/// Without a line for so long, that room goes too.
const REST: Duration = Duration::from_secs(3);
/// What [`AccessLog::flush`] waits at most, so that a stuck pipe cannot hold up a shutdown.
const FLUSH_DEADLINE: Duration = Duration::from_secs(1);

/// What is known of a request when it has ended.
#[derive(Debug, Clone, Copy)]
pub struct AccessLine<'a> {
    /// When it began, as in the ledger; it ended `duration` later.
    pub at: Timestamp,
    pub request: RequestId,
    pub client: Option<IpAddr>,
    pub method: &'a str,
    pub host: &'a str,
    /// Without the query, which may carry secrets.
    pub path: &'a str,
    /// Shown with its values masked, where it is asked for.
    pub query: Option<&'a str>,
    pub user_agent: Option<&'a str>,
    pub status: u16,
    pub route: &'a str,
    /// Why it was refused or how it failed: the error code the client saw, or `cancelled` where it left.
    pub reason: Option<&'a str>,
    pub user: Option<UserId>,
    /// The id of the key's row, never the key.
    pub key: Option<KeyId>,
    pub stage: Option<Stage>,
    pub stage_source: Option<StageSource>,
    /// The configured alias.
    pub model: Option<&'a str>,
    pub stream: bool,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the answer's body.
    pub bytes_out: u64,
    pub usage: Option<&'a Usage>,
    /// Whether `usage` was estimated and not reported by the upstream.
    pub estimated: bool,
    pub cost: NanoUsd,
    pub duration: Duration,
    pub first_token: Option<Duration>,
    /// cfx's own share of the time until the answer's head.
    pub overhead: Option<Duration>,
    /// Requests sent upstream for it.
    pub attempts: u8,
    /// What of all this is written, as JSON. A line for people is always the same.
    pub fields: Fields,
}

/// The open access log. Clones write to the same stream.
#[derive(Clone)]
pub struct AccessLog {
    shared: Arc<Shared>,
    format: Format,
}

#[derive(Default)]
struct Shared {
    pending: Mutex<Pending>,
    /// Something waits, or someone waits for it to be gone.
    wake: Condvar,
    /// A batch has been written.
    written: Condvar,
}

#[derive(Default)]
struct Pending {
    /// Whole lines.
    lines: Vec<u8>,
    /// Lines lost and not yet reported.
    unreported: u64,
    /// Lines lost since the start.
    dropped: u64,
    /// A batch was taken and has not reached the stream yet.
    writing: bool,
    /// Someone waits in [`AccessLog::flush`].
    hurry: bool,
}

impl AccessLog {
    /// Opens the log on stdout. Fails only where no thread can be started.
    pub fn start(format: Format) -> std::io::Result<Self> {
        Self::to(format, std::io::stdout())
    }

    /// Opens the log on any stream. Each batch is one `write_all` and one `flush`.
    pub fn to(format: Format, stream: impl Write + Send + 'static) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let writer = Writer { shared: Arc::clone(&shared), stream, complained: false };
        std::thread::Builder::new().name("access-log".into()).spawn(move || writer.run())?;
        Ok(Self { shared, format })
    }

    /// Takes a line; never waits for the stream.
    pub fn write(&self, line: &AccessLine<'_>) {
        line::formatted(line, self.format, |text| {
            let mut pending = self.shared.pending();
            if pending.lines.len() + text.len() > CAPACITY {
                pending.unreported += 1;
                pending.dropped += 1;
                return;
            }
            let first = pending.lines.is_empty();
            pending.lines.extend_from_slice(text.as_bytes());
            drop(pending);
            if first {
                self.shared.wake.notify_one();
            }
        });
    }

    /// Lines lost since the start because the stream was too slow.
    pub fn dropped(&self) -> u64 {
        self.shared.pending().dropped
    }

    /// Waits until every line taken so far has been written, a second at most. False: some had not.
    pub fn flush(&self) -> bool {
        let deadline = Instant::now() + FLUSH_DEADLINE;
        let mut pending = self.shared.pending();
        while pending.writing || !pending.lines.is_empty() {
            pending.hurry = true;
            self.shared.wake.notify_one();
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            pending = self.shared.written.wait_timeout(pending, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl Shared {
    /// No code panics with the lock held, and a buffer of whole lines would be in order even then.
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread that owns the stream. It lives as long as the process.
struct Writer<W> {
    shared: Arc<Shared>,
    stream: W,
    complained: bool,
}

impl<W: Write> Writer<W> {
    fn run(mut self) {
        let mut batch = Vec::new();
        loop {
            let dropped = self.next_batch(&mut batch);
            self.write(&batch);
            batch.clear();
            batch.shrink_to(KEPT);
            if dropped > 0 {
                tracing::warn!(dropped, "the access log fell behind: stdout takes lines more slowly than requests end");
            }
            self.shared.pending().writing = false;
            self.shared.written.notify_all();
        }
    }

    /// Waits for lines and takes all there are. The buffers change places, so that neither is allocated again.
    fn next_batch(&self, batch: &mut Vec<u8>) -> u64 {
        let shared = &*self.shared;
        let pending = self.first_line(batch);
        let waited = shared.wake.wait_timeout_while(pending, LINGER, |pending| !pending.hurry);
        let mut pending = waited.unwrap_or_else(PoisonError::into_inner).0;
        std::mem::swap(&mut pending.lines, batch);
        pending.hurry = false;
        pending.writing = true;
        std::mem::take(&mut pending.unreported)
    }

    /// Waits for one. `batch` is empty, and has room only while lines come.
    fn first_line(&self, batch: &mut Vec<u8>) -> MutexGuard<'_, Pending> {
        let (wake, none) = (&self.shared.wake, |pending: &mut Pending| pending.lines.is_empty());
        let waited = wake.wait_timeout_while(self.shared.pending(), REST, none);
        let (mut pending, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            let room = std::mem::take(&mut pending.lines);
            drop(pending); // nobody who has a line waits for this
            drop((room, std::mem::take(batch)));
            heap::empty_cache();
            pending = self.shared.pending();
        }
        wake.wait_while(pending, none).unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&mut self, batch: &[u8]) {
        let outcome = self.stream.write_all(batch).and_then(|()| self.stream.flush());
        if let Err(error) = outcome
            && !std::mem::replace(&mut self.complained, true)
        {
            tracing::warn!(%error, "the access log cannot be written");
        }
    }
}

#[cfg(test)]
#[path = "access_tests.rs"]
mod tests;
