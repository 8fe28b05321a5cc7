//! One attempt: a request built by us goes to one target, over a connection that is kept or a fresh one, and its
//! answer's head comes back.
//!
//! Failure stance: an attempt that fails says how, so that the caller may try elsewhere.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::time::{Duration, Instant};

use tokio::task::yield_now;

use super::answer::{Answer, Source};
use super::breaker::By;
use super::connect::{Dialer, Dialled};
use super::head::{Head, HeadProblem, Parsed};
use super::http2::{self, Place, Session};
use super::member::{Member, Seat};
use super::patience::Alarm;
use super::pool;
use super::request::OutgoingRequest;
use super::wire::{Outbox, Wire, WireProblem};
use crate::config::Target;
use crate::failpoint;

/// Why no head arrived.
#[derive(Debug, thiserror::Error)]
pub enum AttemptError {
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    #[error("no connection within {0:?}")]
    ConnectTimeout(Duration),
    #[error("the connection broke before the answer's head was whole: {0}")]
    Reset(WireProblem),
    /// It had been kept, and went without a word as soon as it was used.
    #[error("the kept connection was dead: {0}")]
    Dead(WireProblem),
    /// The peer has said so itself, or its connection took no request any more (HTTP/2): it may be sent again.
    #[error("the request was not taken: {0}")]
    NotTaken(h2::Error),
    /// The upstream has answered, and may have been paid.
    #[error("the answer's head is not sound: {0}")]
    Unsound(HeadProblem),
    #[error("no answer in time")]
    Silent,
}

/// How a request stands with its upstream, over all attempts at it. It is the caller's: an attempt may be dropped
/// halfway, and what is true of the request then has to be known all the same.
#[derive(Debug, Default)]
pub struct Standing {
    /// A connection stands, so that the upstream may have the request, and has not answered it.
    pub unanswered: bool,
    /// A dead connection has been replaced, which is done once.
    replaced: bool,
}

impl Standing {
    /// Whether the request may be sent once more, over another connection: then it lies with nobody.
    fn may_replace(&mut self) -> bool {
        let may = !std::mem::replace(&mut self.replaced, true);
        self.unanswered &= !may;
        may
    }
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
pub(super) const DEAD_WITHIN: Duration = Duration::from_millis(100);

/// Sends `request` to the target of `seat` and waits for the answer's head. The target's breaker hears what came of it;
/// `client` is the same for all requests of one.
///
/// A kept connection that turns out to have been dead is replaced by a fresh one and does not count as a failure: once,
/// for all attempts of a request.
pub async fn send(
    dialer: &Dialer,
    (mut seat, client): (Seat, u128),
    request: &OutgoingRequest,
    limits: Limits,
    standing: &mut Standing,
) -> Result<Answer, AttemptError> {
    match exchanged(dialer, &mut seat, request, limits, standing).await {
        Ok((head, source)) => {
            seat.answered();
            Ok(Answer::new(head, source, seat))
        }
        // It answered, if not in HTTP: what that says of it nobody knows. Nor does a connection that died while it lay idle.
        Err(error @ AttemptError::Unsound(_)) => {
            seat.judged(false);
            Err(error)
        }
        Err(error @ AttemptError::Dead(_)) => Err(error),
        Err(error @ (AttemptError::Connect(_) | AttemptError::ConnectTimeout(_))) => {
            seat.failed(By::Anyone);
            Err(error)
        }
        // It was reached: what it was asked may have been too much for it.
        Err(error) => {
            seat.failed(By::Client(client));
            Err(error)
        }
    }
}

/// Where a request goes on its way.
enum Connection {
    Http1(Wire),
    Http2(Place),
}

impl Connection {
    /// Whether it stood before `moment`, and so may have died without a word while it lay there. Those of HTTP/1.1 that are
    /// kept are taken elsewhere: one that is here was made for the request.
    fn stood_before(&self, moment: Instant) -> bool {
        matches!(self, Connection::Http2(place) if place.opened() < moment)
    }
}

async fn exchanged(
    dialer: &Dialer,
    seat: &mut Seat,
    request: &OutgoingRequest,
    limits: Limits,
    standing: &mut Standing,
) -> Result<(Head, Source), AttemptError> {
    // Those that a busy thread has read by now go out together, and wake the upstream once: docs/decisions/023.
    yield_now().await;
    if let Some(wire) = pool::take(seat.target()) {
        standing.unanswered = true;
        match head_of(wire, seat.target(), request, limits).await {
            Err(AttemptError::Dead(_)) if standing.may_replace() => {}
            outcome => return outcome,
        }
    }
    // What follows is rare, or in HTTP/2, and large: no room is kept for it in every request.
    if seat.target().may_speak_http2() {
        return Box::pin(exchanged_over_either(dialer, seat, request, limits, standing)).await;
    }
    let wire = Box::pin(open(limits, connected_by_http1(dialer, seat.member()))).await?;
    standing.unanswered = true;
    seat.connected();
    head_of(wire, seat.target(), request, limits).await.map_err(AttemptError::on_a_fresh_connection)
}

/// The same where the connection may be HTTP/2, and none of HTTP/1.1 is kept.
async fn exchanged_over_either(
    dialer: &Dialer,
    seat: &mut Seat,
    request: &OutgoingRequest,
    limits: Limits,
    standing: &mut Standing,
) -> Result<(Head, Source), AttemptError> {
    let asked = Instant::now();
    let mut found = http2::take(seat.target(), None).map(Connection::Http2);
    let mut younger_than = None;
    loop {
        let connection = match found.take() {
            Some(connection) => connection,
            None => {
                let (connection, fresh) = open(limits, connected(dialer, seat.member(), younger_than)).await?;
                if fresh {
                    seat.connected();
                }
                connection
            }
        };
        // Found full at first and with room after a wait, it has lain there all the same.
        let kept = connection.stood_before(asked);
        standing.unanswered = true;
        let target = seat.target();
        let sent = Instant::now();
        let outcome = match connection {
            Connection::Http1(wire) => head_of(wire, target, request, limits).await,
            Connection::Http2(place) => http2::head_of(place, target, request, limits)
                .await
                .map(|(head, stream)| (head, Source::Http2(Box::new(stream)))),
        };
        match outcome {
            Err(error @ AttemptError::NotTaken(_)) => {
                standing.unanswered = false;
                if !standing.may_replace() {
                    return Err(error);
                }
                younger_than = None;
            }
            // Connections that lay beside a dead one are not believed either.
            Err(AttemptError::Dead(_)) if kept && standing.may_replace() => younger_than = Some(sent),
            outcome if kept => return outcome,
            outcome => return outcome.map_err(AttemptError::on_a_fresh_connection),
        }
    }
}

impl AttemptError {
    /// What died as soon as it was used had not been lying there if it was made for this.
    fn on_a_fresh_connection(self) -> Self {
        match self {
            AttemptError::Dead(problem) => AttemptError::Reset(problem),
            other => other,
        }
    }
}

/// A connection to a target that may choose its kind, and whether it was made here. One at a time is opened on a thread
/// for as long as it may be one to share: whoever comes meanwhile waits for it.
async fn connected(dialer: &Dialer, member: &Member, younger_than: Option<Instant>) -> io::Result<(Connection, bool)> {
    let target = &member.target;
    let mut turn = None;
    if !member.chose_http1() {
        turn = Some(http2::turn(target).lock_owned().await);
        if let Some(place) = http2::take(target, younger_than) {
            return Ok((Connection::Http2(place), false));
        }
    }
    if member.chose_http1() {
        drop(turn.take());
    }
    let since = Instant::now();
    let Dialled { stream, http2 } = dialer.dial(member).await?;
    member.note_choice(http2);
    if !http2 {
        return Ok((Connection::Http1(Wire::new(stream, since.elapsed())), true));
    }
    Ok((Connection::Http2(http2::add(target, Session::open(stream, since).await?)), true))
}

async fn connected_by_http1(dialer: &Dialer, member: &Member) -> io::Result<Wire> {
    let since = Instant::now();
    Ok(Wire::new(dialer.dial(member).await?.stream, since.elapsed()))
}

/// What `connecting` comes to within the time that it has.
async fn open<T>(limits: Limits, connecting: impl Future<Output = io::Result<T>>) -> Result<T, AttemptError> {
    let now = Instant::now();
    let by = limits.total_by.min(now + limits.connect);
    Alarm::default()
        .before(by, pin!(connecting))
        .await
        .ok_or_else(|| AttemptError::ConnectTimeout(by.saturating_duration_since(now)))?
        .map_err(AttemptError::Connect)
}

async fn head_of(
    mut wire: Wire,
    target: &Target,
    request: &OutgoingRequest,
    limits: Limits,
) -> Result<(Head, Source), AttemptError> {
    let sent = Instant::now();
    let head_by = limits.total_by.min(sent + limits.head);
    let mut outbox = Outbox::new(std::iter::once(request.head(target)).chain(request.segments()));
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
    let Parsed { head, length, keeps_alive } = parsed;
    let unsent = (!outbox.is_sent()).then_some(outbox);
    Ok((head, Source::Http1 { wire, framing: length.into(), unsent, keeps_alive }))
}

#[cfg(test)]
#[path = "attempt_tests.rs"]
mod tests;
