//! One attempt: a request built by us goes to one target, its answer's head comes back, then its body in chunks.
//!
//! Failure stance: an attempt that fails before the head says how, so that the caller may try elsewhere; a body that
//! breaks says so and is never passed off as an end.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

use super::connect::Dialer;
use super::framing::Framing;
use super::head::{Head, HeadProblem, Parsed};
use super::member::{Member, Seat};
use super::patience::Alarm;
use super::pool;
use super::wire::{Outbox, Wire, WireProblem};
use crate::config::Target;
use crate::failpoint;

/// What goes upstream: always a POST. Can be sent twice.
pub struct OutgoingRequest {
    path: &'static str,
    /// Lines as they are sent, without `host`, which is the target's, and without the length.
    lines: Vec<u8>,
    /// The body in order; sent as it stands, never joined.
    segments: Vec<Bytes>,
}

/// Why no head arrived.
#[derive(Debug, thiserror::Error)]
pub enum AttemptError {
    #[error("cannot connect: {0}")]
    Connect(std::io::Error),
    #[error("no connection within {0:?}")]
    ConnectTimeout(Duration),
    #[error("the connection broke before the answer's head was whole: {0}")]
    Reset(WireProblem),
    #[error("the kept connection was dead: {0}")]
    Dead(WireProblem),
    /// The upstream has answered, and may have been paid.
    #[error("the answer's head is not sound: {0}")]
    Unsound(HeadProblem),
    #[error("no answer in time")]
    Silent,
}

/// The body ended before its framing said so.
#[derive(Debug, thiserror::Error)]
#[error("the answer broke off: {0}")]
pub struct Broken(#[from] WireProblem);

/// An answer whose head has arrived. Dropping it closes the connection, whatever is still to come.
pub struct Answer {
    pub head: Head,
    framing: Framing,
    /// Pieces that were looked at and are still to be yielded, the end included.
    ahead: VecDeque<Result<Option<Bytes>, Broken>>,
    wire: Wire,
    /// What of the request the answer did not wait for.
    unsent: Option<Outbox>,
    keeps_alive: bool,
    /// In flight at its target for as long as the answer is held.
    seat: Seat,
}

/// How long each part of an attempt may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Until a fresh connection stands.
    pub connect: Duration,
    /// From then until the answer's head.
    pub head: Duration,
    /// Everything ends here.
    pub total_by: Instant,
}

/// A connection that was closed while it lay idle says so within a round trip or a few. One that lives on for longer has
/// taken the request, and the model may be at work on it.
const DEAD_WITHIN: Duration = Duration::from_millis(100);

/// Sends `request` to the target of `seat` and waits for the answer's head. The target's breaker hears what came of it.
///
/// `standing` is true from the moment a connection stands, and so for as long as the upstream may have the request:
/// also when this is dropped halfway. A kept connection that turns out to have been dead is replaced by a fresh one and
/// does not count as a failure: once, for all attempts of a request, which `spare` keeps.
pub async fn send(
    dialer: &Dialer,
    mut seat: Seat,
    request: &OutgoingRequest,
    limits: Limits,
    standing: &mut bool,
    spare: &mut bool,
) -> Result<Answer, AttemptError> {
    let mut kept = false;
    match exchanged(dialer, seat.member(), request, limits, standing, spare, &mut kept).await {
        Ok((wire, parsed, unsent)) => {
            seat.answered();
            let Parsed { head, length, keeps_alive } = parsed;
            Ok(Answer { head, framing: length.into(), ahead: VecDeque::new(), wire, unsent, keeps_alive, seat })
        }
        // It answered, if not in HTTP: what that says of it nobody knows. Nor does a connection that died while it lay idle.
        Err(error @ AttemptError::Unsound(_)) => {
            seat.judged(false);
            Err(error)
        }
        Err(error @ AttemptError::Dead(_)) if kept => Err(error),
        Err(error) => {
            seat.failed();
            Err(error)
        }
    }
}

/// A connection, the head that came on it, and what of the request that did not wait for.
type Exchanged = (Wire, Parsed, Option<Outbox>);

async fn exchanged(
    dialer: &Dialer,
    member: &Member,
    request: &OutgoingRequest,
    limits: Limits,
    standing: &mut bool,
    spare: &mut bool,
    kept: &mut bool,
) -> Result<Exchanged, AttemptError> {
    let target = &member.target;
    if let Some(wire) = pool::take(target) {
        (*standing, *kept) = (true, true);
        match head_of(wire, target, request, limits).await {
            Err(AttemptError::Dead(_)) if std::mem::take(spare) => (*standing, *kept) = (false, false),
            outcome => return outcome,
        }
    }
    // Rare, and with its TLS handshake large: no room is kept for it in every request.
    let wire = Box::pin(open(dialer, member, limits)).await?;
    *standing = true;
    head_of(wire, target, request, limits).await
}

async fn open(dialer: &Dialer, member: &Member, limits: Limits) -> Result<Wire, AttemptError> {
    let now = Instant::now();
    let by = limits.total_by.min(now + limits.connect);
    let stream = Alarm::default()
        .before(by, pin!(dialer.dial(member)))
        .await
        .ok_or_else(|| AttemptError::ConnectTimeout(by.saturating_duration_since(now)))?
        .map_err(AttemptError::Connect)?;
    Ok(Wire::new(stream, now.elapsed()))
}

async fn head_of(
    mut wire: Wire,
    target: &Target,
    request: &OutgoingRequest,
    limits: Limits,
) -> Result<Exchanged, AttemptError> {
    let sent = Instant::now();
    let head_by = limits.total_by.min(sent + limits.head);
    let mut outbox = Outbox::new(std::iter::once(request.head(target)).chain(request.segments.iter().cloned()));
    let (mut heard, mut begun) = (false, false);
    let arrival = poll_fn(|context| {
        let arrived = wire.poll_head(context, &mut outbox, &mut heard); // the first turn writes the request
        if !std::mem::replace(&mut begun, true) {
            failpoint::reached(failpoint::AFTER_FIRST_BYTE);
        }
        arrived
    });
    let arrived = Alarm::default().before(head_by, pin!(arrival)).await.ok_or(AttemptError::Silent)?;
    let parsed = arrived.map_err(|problem| match problem {
        WireProblem::Head(problem) => AttemptError::Unsound(problem),
        problem if !heard && sent.elapsed() < DEAD_WITHIN.max(3 * wire.round_trip()) => AttemptError::Dead(problem),
        problem => AttemptError::Reset(problem),
    })?;
    Ok((wire, parsed, (!outbox.is_sent()).then_some(outbox)))
}

impl OutgoingRequest {
    pub fn new(path: &'static str, segments: Vec<Bytes>) -> Self {
        Self { path, lines: Vec::with_capacity(512), segments }
    }

    pub fn header(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.line(name, value.as_bytes());
    }

    /// A value of our own making.
    pub fn text(&mut self, name: &HeaderName, value: &'static str) {
        self.line(name, value.as_bytes());
    }

    fn line(&mut self, name: &HeaderName, value: &[u8]) {
        for part in [name.as_str().as_bytes(), b": ", value, b"\r\n"] {
            self.lines.extend_from_slice(part);
        }
    }

    fn head(&self, target: &Target) -> Bytes {
        let length = self.segments.iter().map(Bytes::len).sum::<usize>();
        let mut digits = itoa::Buffer::new();
        let parts = [
            &b"POST "[..],
            self.path.as_bytes(),
            b" HTTP/1.1\r\nhost: ",
            target.authority.as_bytes(),
            b"\r\n",
            &self.lines,
            b"content-length: ",
            digits.format(length).as_bytes(),
            b"\r\n\r\n",
        ];
        parts.concat().into()
    }
}

impl Answer {
    /// The next piece of the body; None at its clean end. Safe to drop while waiting: nothing is lost.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Broken> {
        match self.ahead.pop_front() {
            Some(piece) => piece,
            None => self.arriving().await,
        }
    }

    /// The whole body where it ends within `most` bytes and by `by`; None for any other. All of it is yielded by
    /// [`Answer::chunk`] all the same.
    pub async fn whole_within(&mut self, most: usize, by: Instant) -> Option<Vec<u8>> {
        Alarm::default().before(by, pin!(self.look_ahead(most))).await?
    }

    async fn look_ahead(&mut self, most: usize) -> Option<Vec<u8>> {
        let mut whole = Vec::new();
        while whole.len() <= most {
            let piece = self.arriving().await;
            let ending = match &piece {
                Ok(Some(bytes)) => {
                    whole.extend_from_slice(bytes.get(..=most).unwrap_or(bytes));
                    None
                }
                Ok(None) => Some(true),
                Err(_broken) => Some(false),
            };
            self.ahead.push_back(piece);
            if let Some(clean) = ending {
                return clean.then_some(whole);
            }
        }
        None
    }

    async fn arriving(&mut self) -> Result<Option<Bytes>, Broken> {
        let Self { wire, framing, unsent, .. } = self;
        let piece = poll_fn(|context| {
            if let Some(outbox) = unsent {
                wire.poll_send(context, outbox);
                if outbox.is_sent() {
                    *unsent = None;
                }
            }
            wire.poll_piece(context, framing)
        });
        Ok(piece.await?)
    }

    /// The upstream answered before it had the whole request, which is held until it has.
    pub fn is_uploading(&self) -> bool {
        self.unsent.is_some()
    }

    pub fn member(&self) -> &Member {
        self.seat.member()
    }

    /// Whether it was one of a model: what is not, others are asked for first.
    pub fn judged(&self, good: bool) {
        self.seat.judged(good);
    }

    /// Gives the connection back for the next request. Call it after [`Answer::chunk`] returned None.
    pub fn recycle(self) {
        if self.keeps_alive && self.unsent.is_none() && self.framing == Framing::Ended {
            pool::keep(self.seat.target(), self.wire);
        }
    }
}
