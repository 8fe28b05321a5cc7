//! The clocks over a running answer: silence between chunks (of a stream), the client's patience with that silence, the
//! total, what a client that does not read may cost, and the edge's own end.

use std::borrow::Cow;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::refuse::Reason;
use crate::config::Timeouts;
use crate::entry::drain::Drain;
use crate::upstream::Alarm;

/// What the upstream has to end its body behind the last word, before it is ended without it.
const TAIL: Duration = Duration::from_secs(1);

/// What a client must take in a second while its answer waits for it, in bytes. One that takes a byte now and then would
/// else hold an upstream, a permit and full buffers up to the total.
const SLOWEST_READER: u64 = 1 << 10;

/// Word that the edge's grace is over: [`Drain::is_cut`], listened to once for the whole request.
pub type Cut<'request> = Pin<&'request mut (dyn Future<Output = ()> + Send + 'request)>;

/// What a wait for the upstream came to, other than a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    /// The upstream has to be given up.
    Lost(Lost),
    /// The client has heard nothing for as long as it should be left to.
    Silent,
}

/// Why an answer ends before its own end. A span is the limit that ran out, as it was configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// The upstream closed it, or did not keep to its framing or to its dialect.
    BrokeOff,
    /// The upstream sent nothing for so long.
    Silence(Duration),
    /// It took so long in all.
    Total(Duration),
    /// The client let it wait for so long.
    Unread(Duration),
    /// The edge stops.
    Stopped,
}

/// What ended a wait that has an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rung {
    Due,
    Stopped,
}

/// The clocks of a stream; an answer in one piece has none of them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rhythm {
    /// The longest silence of the upstream.
    pub between: Option<Duration>,
    /// The longest silence towards the client.
    pub keep_alive: Option<Duration>,
}

pub struct Patience<'request> {
    rhythm: Rhythm,
    total: Duration,
    total_by: Instant,
    /// When the last word has been said: what may follow has until then.
    tail_by: Option<Instant>,
    last: Instant,
    /// When the client last heard anything.
    heard: Instant,
    read_stall: Duration,
    /// How long the client has let its answer wait, less what it took meanwhile.
    waited_for: Duration,
    alarm: Alarm,
    drain: &'request Drain,
    cut: Cut<'request>,
    /// Who is woken by the cut.
    woken: Option<Waker>,
}

impl Lost {
    pub fn reason(self) -> Reason {
        match self {
            Lost::BrokeOff => Reason::UpstreamError,
            Lost::Silence(_) | Lost::Total(_) => Reason::UpstreamTimeout,
            Lost::Unread(_) => Reason::ClientTooSlow,
            Lost::Stopped => Reason::ShuttingDown,
        }
    }

    /// What the client is told, and which setting an operator may want to raise.
    pub fn words(self) -> Cow<'static, str> {
        match self {
            Lost::BrokeOff => "the model's service broke off before its answer was complete".into(),
            Lost::Silence(span) => format!(
                "the model's service sent nothing for {span:?} (timeouts.between_chunks); the answer is not complete"
            )
            .into(),
            Lost::Total(span) => format!("the answer was not complete after {span:?} (timeouts.total)").into(),
            Lost::Unread(span) => format!("the answer waited {span:?} to be read (read_stall)").into(),
            Lost::Stopped => "this gateway is shutting down; the answer is not complete".into(),
        }
    }
}

impl<'request> Patience<'request> {
    /// From the moment the request goes upstream.
    pub fn new(timeouts: &Timeouts, read_stall: Duration, drain: &'request Drain, cut: Cut<'request>) -> Self {
        let now = Instant::now();
        Self {
            rhythm: Rhythm::default(),
            total: timeouts.total,
            total_by: now + timeouts.total,
            tail_by: None,
            last: now,
            heard: now,
            read_stall,
            waited_for: Duration::ZERO,
            alarm: Alarm::default(),
            drain,
            cut,
            woken: None,
        }
    }

    /// When everything ends.
    pub fn total_by(&self) -> Instant {
        self.total_by
    }

    /// The answer's head has come.
    pub fn begin(&mut self, rhythm: Rhythm) {
        self.rhythm = rhythm;
        self.renew();
    }

    /// A chunk has come and was passed on.
    pub fn renew(&mut self) {
        self.last = Instant::now();
        self.heard = self.last;
    }

    /// When a chunk was last passed on; before the first, when the head had come.
    pub fn last(&self) -> Instant {
        self.last
    }

    /// A comment was sent to the client: the upstream's own silence goes on.
    pub fn note_comment(&mut self) {
        self.heard = Instant::now();
    }

    /// The last word has passed.
    pub fn settle(&mut self) {
        let now = self.last;
        self.tail_by.get_or_insert(now + TAIL);
    }

    /// Asked before every chunk: an upstream that is never late would else never be stopped.
    pub fn over(&self) -> Option<Lost> {
        if self.drain.was_cut() {
            return Some(Lost::Stopped);
        }
        (self.last >= self.end()).then_some(Lost::Total(self.total))
    }

    /// Resolves when the upstream has to be given up, or the client to be told that all is well, which is only done
    /// where it `may_comment`. Safe to drop and call again.
    pub async fn waited(&mut self, may_comment: bool) -> Waited {
        let end = (self.end(), Lost::Total(self.total));
        let silence = self.rhythm.between.map(|between| (self.last + between, Lost::Silence(between)));
        let (due, lost) = silence.filter(|(due, _)| *due < end.0).unwrap_or(end);
        let keep_alive = self.rhythm.keep_alive.filter(|_| may_comment && self.tail_by.is_none());
        let comment = keep_alive.map(|silence| self.heard + silence).filter(|comment| *comment < due);
        match (self.rung(comment.unwrap_or(due)).await, comment) {
            (Rung::Stopped, _) => Waited::Lost(Lost::Stopped),
            (Rung::Due, Some(_)) => Waited::Silent,
            (Rung::Due, None) => Waited::Lost(lost),
        }
    }

    /// Resolves once `due` has passed, or the edge stops. Safe to drop and call again.
    pub async fn rung(&mut self, due: Instant) -> Rung {
        poll_fn(|context| self.poll_rung(context, due)).await
    }

    /// Resolves when the edge stops. Safe to drop and call again.
    pub async fn stopped(&mut self) {
        poll_fn(|context| self.poll_stopped(context)).await;
    }

    /// What `write` yields, which is `bytes` long, or why it was given up. A client that reads slowly holds up neither
    /// the total nor a stop, and is itself waited for no longer than `read_stall`: waits add up, and what it takes is set
    /// against them. What the sockets take ahead of it earns nothing, for nothing has been waited for then. A write given
    /// up halfway leaves half a piece behind: nothing may be written after it.
    pub async fn while_writing<T>(
        &mut self,
        bytes: usize,
        mut write: Pin<&mut impl Future<Output = T>>,
    ) -> Result<T, Lost> {
        let mut since: Option<Instant> = None; // most writes are done at once, and need no clock
        let outcome = poll_fn(|context| {
            if let Poll::Ready(written) = write.as_mut().poll(context) {
                return Poll::Ready(Ok(written));
            }
            let since = *since.get_or_insert_with(Instant::now);
            let read_by = since + self.read_stall.saturating_sub(self.waited_for);
            let (due, lost) = match read_by < self.total_by {
                true => (read_by, Lost::Unread(self.read_stall)),
                false => (self.total_by, Lost::Total(self.total)),
            };
            self.poll_rung(context, due).map(|rung| match rung {
                Rung::Due => Err(lost),
                Rung::Stopped => Err(Lost::Stopped),
            })
        })
        .await;
        if let Some(since) = since {
            self.waited_for += since.elapsed();
        }
        if !self.waited_for.is_zero() {
            let worth = Duration::from_micros(bytes as u64 * 1_000_000 / SLOWEST_READER);
            self.waited_for = self.waited_for.saturating_sub(worth);
        }
        outcome
    }

    fn end(&self) -> Instant {
        self.tail_by.map_or(self.total_by, |tail_by| tail_by.min(self.total_by))
    }

    fn poll_rung(&mut self, context: &mut Context<'_>, due: Instant) -> Poll<Rung> {
        if self.poll_stopped(context).is_ready() {
            return Poll::Ready(Rung::Stopped);
        }
        self.alarm.poll_rung(context, due).map(|()| Rung::Due)
    }

    fn poll_stopped(&mut self, context: &mut Context<'_>) -> Poll<()> {
        // The flag first: a future that has resolved must not be asked again.
        if self.drain.was_cut() {
            return Poll::Ready(());
        }
        // All requests of a thread stand in one list, behind one lock: who stands there already need not look again. A
        // `Notify` that has been asked once keeps who asked until it calls them, and the flag is set before it does.
        if self.woken.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            return Poll::Pending;
        }
        self.woken = Some(context.waker().clone());
        self.cut.as_mut().poll(context)
    }
}
