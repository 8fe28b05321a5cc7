//! The clocks over a running answer: silence between chunks (of a stream), the client's patience with that silence, the
//! total, and the edge's own end.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::refuse::Reason;
use crate::entry::drain::Drain;
use crate::upstream::Alarm;

/// What the upstream has to end its body behind the last word, before it is ended without it.
const TAIL: Duration = Duration::from_secs(1);

/// Word that the edge's grace is over: [`Drain::is_cut`], listened to once for the whole request.
pub type Cut<'request> = Pin<&'request mut (dyn Future<Output = ()> + Send + 'request)>;

/// What a wait for the upstream came to, other than a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    /// The upstream has to be given up.
    Lost(Reason),
    /// The client has heard nothing for as long as it should be left to.
    Silent,
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
    total_by: Instant,
    /// When the last word has been said: what may follow has until then.
    tail_by: Option<Instant>,
    last: Instant,
    /// When the client last heard anything.
    heard: Instant,
    alarm: Alarm,
    drain: &'request Drain,
    cut: Cut<'request>,
}

impl<'request> Patience<'request> {
    pub fn new(rhythm: Rhythm, total_by: Instant, drain: &'request Drain, cut: Cut<'request>) -> Self {
        let now = Instant::now();
        Self { rhythm, total_by, tail_by: None, last: now, heard: now, alarm: Alarm::default(), drain, cut }
    }

    /// A chunk has come and was passed on.
    pub fn renew(&mut self) {
        self.last = Instant::now();
        self.heard = self.last;
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
    pub fn over(&self) -> Option<Reason> {
        if self.drain.was_cut() {
            return Some(Reason::ShuttingDown);
        }
        (self.last >= self.end()).then_some(Reason::UpstreamTimeout)
    }

    /// Resolves when the upstream has to be given up, or the client to be told that all is well, which is only done
    /// where it `may_comment`. Safe to drop and call again.
    pub async fn waited(&mut self, may_comment: bool) -> Waited {
        let end = self.end();
        let due = self.rhythm.between.map_or(end, |between| end.min(self.last + between));
        let keep_alive = self.rhythm.keep_alive.filter(|_| may_comment && self.tail_by.is_none());
        match keep_alive.map(|silence| self.heard + silence).filter(|comment| *comment < due) {
            None => Waited::Lost(poll_fn(|context| self.poll_until(context, due)).await),
            Some(comment) => match poll_fn(|context| self.poll_until(context, comment)).await {
                Reason::UpstreamTimeout => Waited::Silent,
                reason => Waited::Lost(reason),
            },
        }
    }

    /// What `write` yields, or why it was given up. A client that reads slowly holds up neither the total nor a stop.
    /// A write given up halfway leaves half a piece behind: nothing may be written after it.
    pub async fn while_writing<T>(&mut self, mut write: Pin<&mut impl Future<Output = T>>) -> Result<T, Reason> {
        let due = self.total_by;
        poll_fn(|context| match write.as_mut().poll(context) {
            Poll::Ready(written) => Poll::Ready(Ok(written)),
            Poll::Pending => self.poll_until(context, due).map(Err),
        })
        .await
    }

    fn end(&self) -> Instant {
        self.tail_by.map_or(self.total_by, |tail_by| tail_by.min(self.total_by))
    }

    fn poll_until(&mut self, context: &mut Context<'_>, due: Instant) -> Poll<Reason> {
        // The flag first: a future that has resolved must not be asked again.
        if self.drain.was_cut() || self.cut.as_mut().poll(context).is_ready() {
            return Poll::Ready(Reason::ShuttingDown);
        }
        self.alarm.poll_rung(context, due).map(|()| Reason::UpstreamTimeout)
    }
}
