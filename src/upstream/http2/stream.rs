//! One exchange on a shared connection: the request goes up as the peer's windows allow, the answer comes as it is read.
//!
//! Failure stance: what the peer says it has not looked at may be sent again; a stream that is reset or lost with its
//! connection is broken, never ended. Dropping an exchange that is not over resets its stream, at once.

use std::collections::VecDeque;
use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use futures_util::future::{Either, select};
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};
use http::{Method, StatusCode};

use super::super::attempt::{AttemptError, DEAD_WITHIN, Limits};
use super::super::connect::Io;
use super::super::head::{Head, HeadProblem, MOST_INTERIM};
use super::super::patience::Alarm;
use super::super::request::{OutgoingRequest, http2_head};
use super::super::wire::WireProblem;
use super::session::{Place, Session};
use crate::config::Target;
use crate::failpoint;

/// An answer's body on its way, and what of the request is still on its own.
pub struct Stream {
    body: RecvStream,
    upload: Option<Upload>,
    /// Kept for as long as the stream is.
    _place: Place,
}

/// A request's body on its way out. What the peer's windows have no room for waits here.
struct Upload {
    stream: SendStream<Bytes>,
    rest: VecDeque<Bytes>,
}

/// Sends `request` and waits for the answer's head.
pub async fn head_of(
    mut place: Place,
    target: &Target,
    request: &OutgoingRequest,
    limits: Limits,
) -> Result<(Head, Stream), AttemptError> {
    let sent = Instant::now();
    let head_by = limits.total_by.min(sent + limits.head);
    let rest: VecDeque<Bytes> = request.segments().filter(|segment| !segment.is_empty()).collect();
    let head = request.head_http2(target).map_err(|error| AttemptError::Connect(io::Error::other(error)))?;
    let begun = place.requests.send_request(head, rest.is_empty());
    let (mut response, stream) = begun.map_err(AttemptError::NotTaken)?;
    failpoint::reached(failpoint::AFTER_FIRST_BYTE);
    let mut upload = Some(Upload { stream, rest });
    let mut interim = 0;
    let arrival = poll_fn(|context| {
        poll_upload(context, &mut upload);
        poll_head(context, &mut response, &mut interim)
    });
    let arrived = Alarm::default().before(head_by, pin!(arrival)).await.ok_or(AttemptError::Silent)?;
    match arrived {
        Ok((head, body)) => Ok((head, Stream { body, upload, _place: place })),
        Err(Failed::Head(problem)) => Err(AttemptError::Unsound(problem)),
        Err(Failed::Stream(error)) => Err(why(error, &place, sent)),
    }
}

/// The status that a GET is answered with, on a connection that is left behind it.
pub async fn status_of(stream: Box<dyn Io>, target: &Target, path: &str) -> io::Result<StatusCode> {
    let (session, driver) = Session::open(stream, Instant::now()).await?;
    let running = pin!(driver.run_to_its_end());
    let asked = async {
        let head = http2_head(Method::GET, target, path).map_err(io::Error::other)?;
        let (response, _no_body) = session.place().requests.send_request(head, true).map_err(io::Error::other)?;
        Ok(response.await.map_err(io::Error::other)?.status())
    };
    match select(pin!(asked), running).await {
        Either::Left((status, _)) => status,
        Either::Right(((), _)) => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Why no head came.
enum Failed {
    Stream(h2::Error),
    Head(HeadProblem),
}

fn poll_head(
    context: &mut Context<'_>,
    response: &mut ResponseFuture,
    interim: &mut usize,
) -> Poll<Result<(Head, RecvStream), Failed>> {
    while let Poll::Ready(Some(Ok(_interim))) = response.poll_informational(context) {
        *interim += 1;
        if *interim > MOST_INTERIM {
            return Poll::Ready(Err(Failed::Head(HeadProblem::Interim)));
        }
    }
    let (parts, body) = ready!(Pin::new(response).poll(context)).map_err(Failed::Stream)?.into_parts();
    let mut head = Head::of_http2(parts.status, &parts.headers).map_err(Failed::Head)?;
    if body.is_end_stream() {
        head.content_length = Some(0);
    }
    Poll::Ready(Ok((head, body)))
}

/// What a stream's end before its head says of the request.
fn why(error: h2::Error, place: &Place, sent: Instant) -> AttemptError {
    let refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
    // The peer's goodbye ends the streams alone that it has not looked at (RFC 9113, 6.8).
    if error.is_remote() && (refused || error.is_go_away()) {
        return AttemptError::NotTaken(error);
    }
    match error.reason() {
        Some(reason) if error.is_library() && error.is_reset() => AttemptError::Unsound(HeadProblem::Http2(reason)),
        _ if !place.has_heard() && sent.elapsed() < DEAD_WITHIN.max(3 * place.round_trip()) => {
            AttemptError::Dead(WireProblem::Http2(error))
        }
        _ => AttemptError::Reset(WireProblem::Http2(error)),
    }
}

impl Stream {
    /// The next piece of the body; None at its clean end. Trailers are passed over.
    pub fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, WireProblem>> {
        poll_upload(context, &mut self.upload);
        loop {
            let Some(piece) = ready!(self.body.poll_data(context)).transpose()? else { return Poll::Ready(Ok(None)) };
            // Whoever asks for a piece has passed on the one before, or has a few small ones in hand: the peer may send as
            // much again.
            self.body.flow_control().release_capacity(piece.len())?;
            if !piece.is_empty() {
                return Poll::Ready(Ok(Some(piece)));
            }
        }
    }

    pub fn is_uploading(&self) -> bool {
        self.upload.is_some()
    }
}

/// Hands over what there is room for. Over with it where the peer wants no more: its answer says why.
fn poll_upload(context: &mut Context<'_>, upload: &mut Option<Upload>) {
    if let Some(under_way) = upload
        && under_way.poll(context).is_ready()
    {
        *upload = None;
    }
}

impl Upload {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        while let Some(segment) = self.rest.front_mut() {
            self.stream.reserve_capacity(segment.len());
            while self.stream.capacity() == 0 {
                match ready!(self.stream.poll_capacity(context)) {
                    Some(room) => room?,
                    None => return Poll::Ready(Ok(())),
                };
            }
            let piece = segment.split_to(segment.len().min(self.stream.capacity()));
            if segment.is_empty() {
                self.rest.pop_front();
            }
            self.stream.send_data(piece, self.rest.is_empty())?;
        }
        Poll::Ready(Ok(()))
    }
}
