//! The relay: an admitted request goes upstream and its answer comes back, each chunk as it arrives.
//!
//! Order: attempts until a head that is worth passing on; then the head; then chunks through the tap. Nothing is
//! written to the client before the upstream's head, so an upstream error is a real status code. A stream that
//! breaks says so in its own dialect and its connection is cut, never ended cleanly.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue};
use pingora_timeout::fast_timeout::fast_timeout;

use super::attempts;
use super::downstream::Downstream;
use super::exchange::{Ending, Exchange};
use super::meter::{self, Meter};
use super::patience::{Patience, Rhythm, Waited};
use super::refuse::{Reason, Refusal};
use super::stamp::{RETRY_AFTER_MS, stamp};
use super::{Prepared, Services};
use crate::admission::BodyMemory;
use crate::config::{Timeouts, Upstream};
use crate::llm::Endpoint;
use crate::upstream::{Answer, Broken, Head};

const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// A comment by the HTML standard, 9.2: readers of a stream pass over it.
const COMMENT: &[u8] = b": ping\n\n";

/// What a client has to take the event that says why its stream ends. On a stop all of this has to fit into half a
/// second (`entry/signals.rs`), or the request would have no row.
const TOLD_WITHIN: Duration = Duration::from_millis(200);

/// How an answer is framed, told by its content type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    Json,
    EventStream,
}

/// What of a request is still needed once a head was accepted. There is no second attempt any more, so the body and
/// its share of the edge's memory go at that moment, not when the last of a thousand events has passed.
pub struct Terms {
    pub endpoint: Endpoint,
    /// We asked for usage and the client did not: it is taken out again.
    pub strip_usage: bool,
    timeouts: Timeouts,
    upstream: Arc<Upstream>,
    /// The body's share of the edge's memory, where the upstream has answered and does not have all of it yet.
    _room: Option<BodyMemory>,
}

/// How the passing on came to its end.
enum Stop {
    Whole,
    Left,
    /// What was passed on so far is whole pieces: the client can be told.
    Broken(Reason),
    /// A write was given up halfway: nothing may follow it.
    Stuck(Reason),
}

/// What comes next of an answer.
enum Next {
    Chunk(Bytes),
    End,
    Broken(Broken),
    Lost(Reason),
    /// Nothing for a while, where a comment may stand.
    Silent,
    Gone,
}

/// Sends the request and passes the answer on. `Err` only while nothing has been sent to the client.
pub async fn run(
    services: &Services,
    exchange: &mut Exchange,
    prepared: Box<Prepared>,
    from_client: &HeaderMap,
    downstream: &mut impl Downstream,
) -> Result<Ending, Refusal> {
    let total_by = Instant::now() + prepared.timeouts.total;
    let mut cut = pin!(services.drain.is_cut());
    let found = tokio::select! {
        biased;
        outcome = attempts::until_head(services, exchange, &prepared, from_client, total_by) => outcome.map(Some),
        () = downstream.gone() => Ok(None),
        () = &mut cut => Err(Refusal::shutting_down()),
    };
    let uploading = matches!(&found, Ok(Some((answer, _))) if answer.is_uploading());
    let terms = Terms::of(prepared, uploading);
    exchange.answer.wait_is_over();
    if exchange.answer.unanswered {
        exchange.answer.reached_upstream = true;
        meter::presume(services, exchange, terms.endpoint);
    }
    let Some((answer, framing)) = found? else { return Ok(Ending::Left) };
    let rhythm = match framing {
        Framing::EventStream => {
            Rhythm { between: Some(terms.timeouts.between_chunks), keep_alive: terms.upstream.keep_alive }
        }
        Framing::Json => Rhythm::default(),
    };
    let patience = Patience::new(rhythm, total_by, &services.drain, cut);
    Ok(answered(services, exchange, &terms, (answer, framing), downstream, patience).await)
}

/// From the answer's head to what is known at its end.
async fn answered(
    services: &Services,
    exchange: &mut Exchange,
    terms: &Terms,
    (mut answer, framing): (Answer, Framing),
    downstream: &mut impl Downstream,
    mut patience: Patience<'_>,
) -> Ending {
    let status = answer.head.status;
    exchange.answer.status = status.as_u16();
    let promised = answer.head.content_length.filter(|_| status.is_success());
    let mut meter = Meter::new(framing, terms, promised);
    let headers = response_headers(exchange, &mut answer.head, framing);
    if services.drain.is_ending() {
        downstream.be_last();
    }
    let sent = patience.while_writing(pin!(downstream.head(status, headers))).await;
    let stop = match sent {
        Ok(Ok(())) => pass_on(exchange, answer, &mut meter, downstream, patience).await,
        Ok(Err(_left)) => Stop::Left,
        Err(reason) => Stop::Stuck(reason),
    };
    if let Stop::Broken(reason) = stop {
        tell(exchange, reason, &meter, terms.endpoint, downstream).await;
    }
    let ending = stop.ending();
    meter.read(services, exchange, terms, ending);
    let ending = meter.verdict(exchange.answer.status, ending);
    services.metrics.attempt(&terms.upstream.name, attempt_label(ending));
    attempts::conclude(exchange, ending);
    ending
}

/// Everything between the head and the end.
async fn pass_on(
    exchange: &mut Exchange,
    mut answer: Answer,
    meter: &mut Meter,
    downstream: &mut impl Downstream,
    mut patience: Patience<'_>,
) -> Stop {
    let mut pieces = Vec::with_capacity(2);
    loop {
        let mut ended = false;
        match next(&mut answer, meter, downstream, &mut patience).await {
            Next::Chunk(chunk) => meter.push(chunk, &mut pieces),
            Next::Silent => {
                exchange.answer.bytes_out += COMMENT.len() as u64;
                match patience.while_writing(pin!(downstream.chunk(Bytes::from_static(COMMENT)))).await {
                    Ok(Ok(())) => patience.note_comment(),
                    Ok(Err(_left)) => return Stop::Left,
                    Err(reason) => return Stop::Stuck(reason),
                }
                continue;
            }
            Next::End => {
                meter.finish(&mut pieces);
                ended = true;
            }
            // Who hangs up behind the last word has had the whole answer.
            Next::Gone if meter.complete() => return Stop::Whole,
            Next::Gone => return Stop::Left,
            // An upstream that fails behind its last word, or never closes, has harmed nobody.
            Next::Broken(_) | Next::Lost(_) if meter.said_all() => return finish(downstream, &mut patience).await,
            Next::Broken(error) => {
                tracing::warn!(request = %exchange.id.0, %error, "an upstream answer broke off");
                return Stop::Broken(Reason::UpstreamError);
            }
            Next::Lost(reason) => return Stop::Broken(reason),
        }
        for piece in pieces.drain(..) {
            exchange.answer.first_token.get_or_insert_with(|| exchange.started.elapsed());
            exchange.answer.bytes_out += piece.len() as u64;
            match patience.while_writing(pin!(downstream.chunk(piece))).await {
                Ok(Ok(())) => {}
                Ok(Err(_left)) => return Stop::Left,
                Err(reason) => return Stop::Stuck(reason),
            }
        }
        if ended {
            return end(exchange, answer, meter, downstream, &mut patience).await;
        }
        if let Some(trial) = exchange.answer.trial.as_mut().filter(|trial| trial.is_probe() && meter.begins_well()) {
            trial.begins_well();
        }
        patience.renew();
        if meter.said_all() {
            patience.settle();
        }
    }
}

async fn next(
    answer: &mut Answer,
    meter: &Meter,
    downstream: &mut impl Downstream,
    patience: &mut Patience<'_>,
) -> Next {
    if let Some(reason) = patience.over() {
        return Next::Lost(reason);
    }
    tokio::select! {
        biased;
        chunk = answer.chunk() => match chunk {
            Ok(Some(chunk)) => Next::Chunk(chunk),
            Ok(None) => Next::End,
            Err(broken) => Next::Broken(broken),
        },
        () = downstream.gone() => Next::Gone,
        waited = patience.waited(meter.at_boundary() == Some(true)) => match waited {
            Waited::Lost(reason) => Next::Lost(reason),
            Waited::Silent => Next::Silent,
        },
    }
}

/// The upstream closed its body cleanly. Whether the answer is whole is for the dialect to say; a refusal needs no
/// words, and any of the length it announced will do.
async fn end(
    exchange: &Exchange,
    answer: Answer,
    meter: &Meter,
    downstream: &mut impl Downstream,
    patience: &mut Patience<'_>,
) -> Stop {
    let refused = exchange.answer.status >= 400;
    let framed = exchange.answer.bytes_out == 0 || answer.head.content_length.is_some();
    answer.recycle();
    let whole = meter.complete() || (refused && framed);
    if !whole {
        return Stop::Broken(Reason::UpstreamError);
    }
    finish(downstream, patience).await
}

async fn finish(downstream: &mut impl Downstream, patience: &mut Patience<'_>) -> Stop {
    match patience.while_writing(pin!(downstream.finish())).await {
        Ok(Ok(())) => Stop::Whole,
        Ok(Err(_left)) => Stop::Left,
        Err(reason) => Stop::Stuck(reason),
    }
}

/// Says in-band that the stream is not whole. A JSON answer cannot say it: its cut connection does.
async fn tell(
    exchange: &Exchange,
    reason: Reason,
    meter: &Meter,
    endpoint: Endpoint,
    downstream: &mut impl Downstream,
) {
    let Some(at_boundary) = meter.at_boundary() else { return };
    let message = match reason {
        Reason::UpstreamTimeout => "the model's service stopped sending before its answer was complete",
        Reason::ShuttingDown => "this gateway is shutting down; the answer is not complete",
        _ => "the model's service broke off before its answer was complete",
    };
    let event = Refusal::new(reason, message).event(endpoint.dialect(), exchange.id);
    // A blank line ends whatever event the upstream had begun.
    let gap = if at_boundary { "" } else { "\n\n" };
    let _ = fast_timeout(TOLD_WITHIN, downstream.chunk(Bytes::from(format!("{gap}{event}")))).await;
}

/// The label of an attempt whose head was passed on: how the rest of it went.
fn attempt_label(ending: Ending) -> &'static str {
    match ending {
        Ending::ErrorInside => "error_inside",
        Ending::Broken(Reason::UpstreamError) => "broken",
        Ending::Broken(Reason::UpstreamTimeout) => "timeout",
        Ending::Whole | Ending::Left | Ending::Broken(_) => "answered",
    }
}

/// The answer's head as the client sees it: built here, so that no header of LiteLLM's crosses.
fn response_headers(exchange: &mut Exchange, from_upstream: &mut Head, framing: Framing) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(20);
    let mut pass = |name: HeaderName, value: Option<HeaderValue>| {
        if let Some(value) = value {
            headers.insert(name, value);
        }
    };
    pass(CONTENT_TYPE, from_upstream.content_type.take());
    match framing {
        Framing::Json => {
            pass(CONTENT_LENGTH, from_upstream.content_length.map(HeaderValue::from));
            pass(RETRY_AFTER, from_upstream.retry_after.take());
            pass(RETRY_AFTER_MS, from_upstream.retry_after_ms.take());
        }
        Framing::EventStream => {
            pass(CACHE_CONTROL, Some(HeaderValue::from_static("no-cache")));
            pass(ACCEL_BUFFERING, Some(HeaderValue::from_static("no")));
        }
    }
    stamp(exchange, &mut |name, value| {
        headers.insert(name, value);
    });
    headers
}

impl Terms {
    fn of(prepared: Box<Prepared>, uploading: bool) -> Self {
        let Prepared { endpoint, timeouts, upstream, body, room, .. } = *prepared;
        Self { endpoint, strip_usage: body.usage_injected, timeouts, upstream, _room: uploading.then_some(room) }
    }
}

impl Stop {
    fn ending(self) -> Ending {
        match self {
            Stop::Whole => Ending::Whole,
            Stop::Left => Ending::Left,
            Stop::Broken(reason) | Stop::Stuck(reason) => Ending::Broken(reason),
        }
    }
}
