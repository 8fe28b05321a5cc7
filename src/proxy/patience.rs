//! The clocks over a running answer: silence between chunks (of a stream), the total, and the edge's own end.

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

pub struct Patience<'request> {
    /// None: only the total counts.
    between: Option<Duration>,
    total_by: Instant,
    /// When the last word has been said: what may follow has until then.
    tail_by: Option<Instant>,
    last: Instant,
    alarm: Alarm,
    drain: &'request Drain,
    cut: Cut<'request>,
}

impl<'request> Patience<'request> {
    pub fn new(between: Option<Duration>, total_by: Instant, drain: &'request Drain, cut: Cut<'request>) -> Self {
        Self { between, total_by, tail_by: None, last: Instant::now(), alarm: Alarm::default(), drain, cut }
    }

    /// A chunk has come and was passed on.
    pub fn renew(&mut self) {
        self.last = Instant::now();
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

    /// Resolves when the upstream has to be given up, and says why. Safe to drop and call again.
    pub async fn lost(&mut self) -> Reason {
        let end = self.end();
        let due = self.between.map_or(end, |between| end.min(self.last + between));
        poll_fn(|context| self.poll_until(context, due)).await
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
