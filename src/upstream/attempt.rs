//! One attempt: a request built by us goes to one target, its answer's head comes back, then its body in chunks.
//!
//! Failure stance: an attempt that fails before the head says how, so that the caller may try elsewhere; a body that
//! breaks says so and is never passed off as an end.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Uri};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper_util::rt::TokioIo;

use super::connect::{Counted, Dialer};
use super::patience::Alarm;
use super::pool::{self, Wire};
use crate::config::Target;
use crate::failpoint;

/// What goes upstream: always a POST. Cheap to clone, so that it can be sent twice.
#[derive(Clone)]
pub struct OutgoingRequest {
    pub path: Uri,
    /// In order, without `host`, which is the target's. A list: a map would be built, copied and thrown away.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body in order; sent as it stands, never joined.
    pub segments: Vec<Bytes>,
}

/// Why no head arrived.
#[derive(Debug, thiserror::Error)]
pub enum AttemptError {
    #[error("cannot connect: {0}")]
    Connect(std::io::Error),
    #[error("no connection within {0:?}")]
    ConnectTimeout(Duration),
    #[error("the connection broke within the answer's head: {0}")]
    Reset(hyper::Error),
    #[error("the connection was dead before a byte of an answer")]
    Dead,
    #[error("no answer in time")]
    Silent,
}

/// The body ended before its framing said so.
#[derive(Debug, thiserror::Error)]
#[error("the answer broke off: {0}")]
pub struct Broken(#[from] hyper::Error);

/// An answer whose head has arrived. Dropping it closes the connection, whatever is still to come.
pub struct Answer {
    pub head: http::response::Parts,
    body: Incoming,
    /// Pieces that were looked at and are still to be yielded, the end included.
    ahead: VecDeque<Result<Option<Bytes>, Broken>>,
    wire: Wire,
    target: Arc<Target>,
}

/// The segments of a request body as hyper wants them.
pub struct OutgoingBody {
    segments: VecDeque<Bytes>,
    left: u64,
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

/// A connection that was closed while it lay idle says so as soon as it is used. One that lives on for longer has
/// taken the request, and the model may be at work on it.
const DEAD_WITHIN: Duration = Duration::from_secs(1);

/// Sends `request` to `target` and waits for the answer's head.
///
/// `standing` is true from the moment a connection stands, and so for as long as the upstream may have the request:
/// also when this is dropped halfway. A kept connection that turns out to have been dead is replaced by a fresh one,
/// once, and does not count as a failure.
pub async fn send(
    dialer: &Dialer,
    target: &Arc<Target>,
    request: &OutgoingRequest,
    limits: Limits,
    standing: &mut bool,
) -> Result<Answer, AttemptError> {
    if let Some(wire) = pool::take(target) {
        *standing = true;
        match head_of(wire, target, request, limits).await {
            Err(AttemptError::Dead) => *standing = false,
            outcome => return outcome,
        }
    }
    // Rare, and with its TLS handshake large: no room is kept for it in every request.
    let wire = Box::pin(open(dialer, target, limits)).await?;
    *standing = true;
    head_of(wire, target, request, limits).await
}

async fn open(dialer: &Dialer, target: &Target, limits: Limits) -> Result<Wire, AttemptError> {
    let now = Instant::now();
    let by = limits.total_by.min(now + limits.connect);
    let stream = Alarm::default()
        .before(by, pin!(dialer.dial(target)))
        .await
        .ok_or_else(|| AttemptError::ConnectTimeout(by.saturating_duration_since(now)))?
        .map_err(AttemptError::Connect)?;
    let (stream, read) = Counted::new(stream);
    let (sender, connection) = hyper::client::conn::http1::Builder::new()
        .handshake(TokioIo::new(stream))
        .await
        .map_err(AttemptError::Reset)?;
    Ok(Wire::new(sender, connection, read))
}

async fn head_of(
    mut wire: Wire,
    target: &Arc<Target>,
    request: &OutgoingRequest,
    limits: Limits,
) -> Result<Answer, AttemptError> {
    let read_before = wire.bytes_read();
    let sent = Instant::now();
    let head_by = limits.total_by.min(sent + limits.head);
    let mut response = Box::pin(wire.sender.send_request(request.to_http(target)));
    let mut written = false;
    let arrival = poll_fn(|context| {
        wire.drive(context); // the first turn writes the request
        if !std::mem::replace(&mut written, true) {
            failpoint::reached(failpoint::AFTER_FIRST_BYTE);
        }
        response.as_mut().poll(context)
    });
    let arrived = Alarm::default().before(head_by, pin!(arrival)).await.ok_or(AttemptError::Silent)?;
    let response: Response<Incoming> = arrived.map_err(|error| {
        let untouched = wire.bytes_read() == read_before;
        if untouched && sent.elapsed() < DEAD_WITHIN { AttemptError::Dead } else { AttemptError::Reset(error) }
    })?;
    let (head, body) = response.into_parts();
    Ok(Answer { head, body, ahead: VecDeque::new(), wire, target: Arc::clone(target) })
}

impl OutgoingRequest {
    fn to_http(&self, target: &Target) -> Request<OutgoingBody> {
        let segments: VecDeque<Bytes> = self.segments.iter().filter(|segment| !segment.is_empty()).cloned().collect();
        let left = segments.iter().map(|segment| segment.len() as u64).sum();
        let mut request = Request::new(OutgoingBody { segments, left });
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self.path.clone();
        let mut headers = HeaderMap::with_capacity(self.headers.len() + 2); // `host`, and the length that hyper adds
        headers.insert(HOST, target.authority.clone());
        for (name, value) in &self.headers {
            headers.append(name, value.clone());
        }
        *request.headers_mut() = headers;
        request
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
                    whole.extend_from_slice(bytes);
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
        loop {
            let frame = poll_fn(|context| {
                if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
                    return Poll::Ready(frame);
                }
                self.wire.drive(context);
                Pin::new(&mut self.body).poll_frame(context)
            })
            .await;
            match frame {
                None => return Ok(None),
                Some(Err(error)) => return Err(Broken(error)),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data)); // trailers carry nothing we pass on
                    }
                }
            }
        }
    }

    /// Gives the connection back for the next request. Call it after [`Answer::chunk`] returned None.
    pub fn recycle(self) {
        if self.body.is_end_stream() {
            pool::keep(&self.target, self.wire);
        }
    }
}

impl Body for OutgoingBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.segments.pop_front();
        self.left -= next.as_ref().map_or(0, |segment| segment.len() as u64);
        Poll::Ready(next.map(|segment| Ok(Frame::data(segment))))
    }

    fn is_end_stream(&self) -> bool {
        self.segments.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
