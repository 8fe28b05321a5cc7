//! The relay: an admitted request goes upstream and its answer comes back, each chunk as it arrives, or with those that
//! are close upon it.
//!
//! Order: attempts until a head that is worth passing on; then the head; then chunks through the tap. Nothing is
//! written to the client before the upstream's head, so an upstream error is a real status code. A stream that
//! breaks says so in its own dialect and its connection is cut, never ended cleanly.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;
use pingora_timeout::fast_timeout::fast_timeout;

use super::answer_head::response_headers;
use super::coalesce::{Coalescer, ENOUGH};
use super::downstream::{Downstream, parts};
use super::exchange::{Ending, Exchange};
use super::mark::Mark;
use super::meter::{self, Meter};
use super::patience::{Lost, Patience, Rhythm, Waited};
use super::refuse::{Reason, Refusal};
use super::{Prepared, Services, attempts, commit};
use crate::admission::BodyMemory;
use crate::config::{Timeouts, Upstream};
use crate::llm::Endpoint;
use crate::upstream::{Answer, Broken};

/// A comment by the HTML standard, 9.2: readers of a stream pass over it.
pub const COMMENT: &[u8] = b": ping\n\n";

/// What a client has to take the event that says why its stream ends. On a stop all of this has to fit into half a
/// second (`entry/signals.rs`), or the request would have no row.
pub const TOLD_WITHIN: Duration = Duration::from_millis(200);

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
pub enum Stop {
    Whole,
    Left,
    /// What was passed on so far is whole pieces: the client can be told.
    Broken(Lost),
    /// A write was given up halfway: nothing may follow it.
    Stuck(Lost),
}

/// How the wait for a head came to its end.
#[expect(clippy::large_enum_variant, reason = "moved twice; a box would cost every request an allocation")]
pub enum Found {
    Head(Answer, Framing),
    Refused(Refusal),
    Left,
    /// A comment could not be written whole.
    Stuck(Lost),
}

/// What comes next of an answer.
enum Next {
    Chunk(Bytes),
    End,
    Broken(Broken),
    Lost(Lost),
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
    let cut = pin!(services.drain.is_cut());
    let mut patience = Patience::new(&prepared.timeouts, exchange.snapshot.limits.read_stall, &services.drain, cut);
    let silence = prepared.timeouts.commit_after.filter(|_| prepared.request.is_stream());
    let (found, committed) = match silence {
        None => {
            let total_by = patience.total_by();
            let mut head = pin!(attempts::until_head(services, exchange, &prepared, from_client, total_by, None));
            let found = tokio::select! {
                biased;
                found = &mut head => found.into(),
                () = downstream.gone() => attempts::come_before(head).await.map_or(Found::Left, Found::from),
                () = patience.stopped() => Found::Refused(Refusal::shutting_down()),
            };
            (found, false)
        }
        Some(silence) => {
            let waiting =
                commit::until_head(services, exchange, &prepared, from_client, downstream, &mut patience, silence);
            Box::pin(waiting).await // only where it was asked for: other streams need no room for it
        }
    };
    let uploading = matches!(&found, Found::Head(answer, _) if answer.is_uploading());
    let terms = Terms::of(prepared, uploading);
    exchange.answer.wait_is_over();
    if exchange.answer.standing.unanswered {
        exchange.answer.reached_upstream = true;
        meter::presume(services, exchange, terms.endpoint);
    }
    match found {
        Found::Head(answer, framing) if committed && framing == Framing::Json => {
            exchange.head_is_ready();
            let telling = commit::answer(services, exchange, &terms, (answer, framing), downstream, &mut patience);
            Ok(Box::pin(telling).await)
        }
        Found::Head(answer, framing) => {
            patience.begin(terms.rhythm(framing));
            Ok(answered(services, exchange, &terms, (answer, framing), committed, downstream, &mut patience).await)
        }
        Found::Refused(refusal) if committed => Ok(commit::refuse(exchange, &terms, refusal, downstream).await),
        Found::Refused(refusal) => Err(refusal),
        Found::Stuck(lost) => Ok(commit::stuck(exchange, lost)),
        Found::Left => Ok(Ending::Left),
    }
}

/// From the answer's head to what is known at its end.
async fn answered(
    services: &Services,
    exchange: &mut Exchange,
    terms: &Terms,
    (mut answer, framing): (Answer, Framing),
    committed: bool,
    downstream: &mut impl Downstream,
    patience: &mut Patience<'_>,
) -> Ending {
    let status = answer.head.status;
    exchange.answer.status = status.as_u16();
    let promised = answer.head.content_length.filter(|_| status.is_success());
    let mut meter = Meter::new(framing, terms, promised);
    let headers = response_headers(exchange, &mut answer.head, framing);
    if services.drain.is_ending() {
        downstream.be_last();
    }
    let sent = match committed {
        true => Ok(()),
        false => written(patience, 0, pin!(downstream.head(status, headers))).await,
    };
    let stop = match sent {
        Ok(()) => pass_on((services, terms), exchange, &mut answer, &mut meter, downstream, patience).await,
        Err(stop) => stop,
    };
    if matches!(stop, Stop::Left) && exchange.answer.bytes_out == 0 {
        meter.catch_up(&mut answer).await;
    }
    attempts::judge_target(exchange, &answer, &stop);
    answer.recycle();
    if let Stop::Broken(lost) = stop {
        tell(exchange, lost, &meter, terms.endpoint, downstream).await;
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
    (services, terms): (&Services, &Terms),
    exchange: &mut Exchange,
    answer: &mut Answer,
    meter: &mut Meter,
    downstream: &mut impl Downstream,
    patience: &mut Patience<'_>,
) -> Stop {
    let mut pieces = Vec::with_capacity(2);
    let (mut coalescer, mut mark) = (Coalescer::default(), Mark::default());
    loop {
        let mut ended = false;
        let said_all = meter.said_all();
        // A request that is still going out goes as its answer is asked for.
        let gathers = coalescer.gathers() && !answer.is_uploading();
        let may_wait = gathers && !said_all && !answer.is_ahead();
        if let Some(until) = coalescer.wait_until(patience.last()).filter(|_| may_wait) {
            tokio::time::sleep_until(until.into()).await;
        }
        match next(answer, meter, downstream, patience).await {
            Next::Chunk(chunk) if meter.is_stream() => {
                let chunk = if gathers { answer.joined(chunk, ENOUGH) } else { chunk };
                coalescer.arrived(chunk.len(), patience.last(), Instant::now());
                meter.push(chunk, &mut pieces);
            }
            Next::Chunk(chunk) => meter.push(chunk, &mut pieces),
            Next::Silent => {
                if let Err(stop) = comment(exchange, downstream, patience).await {
                    return stop;
                }
                coalescer.reset();
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
            Next::Broken(_) | Next::Lost(_) if said_all => return finish(meter, downstream, patience).await,
            Next::Broken(error) => {
                attempts::note_break(services, &terms.upstream, exchange, &error);
                return Stop::Broken(Lost::BrokeOff);
            }
            Next::Lost(lost) => return Stop::Broken(lost),
        }
        mark.take_off(&mut pieces, exchange.answer.bytes_out > 0);
        for piece in pieces.drain(..).flat_map(parts) {
            exchange.answer.first_token.get_or_insert_with(|| exchange.started.elapsed());
            exchange.answer.bytes_out += piece.len() as u64;
            let length = piece.len();
            match written(patience, length, pin!(downstream.chunk(piece))).await {
                Ok(()) => {}
                // As above: this piece came behind the last word.
                Err(Stop::Left) if said_all => return Stop::Whole,
                Err(stop) => return stop,
            }
        }
        if ended {
            let has_length = answer.head.content_length.is_some();
            return end(exchange, has_length, meter, downstream, patience).await;
        }
        attempts::note_beginning(exchange, || meter.begins_well());
        patience.renew();
        if meter.said_all() {
            patience.settle();
        }
    }
}

/// Says in a silence that somebody is there.
async fn comment(
    exchange: &mut Exchange,
    downstream: &mut impl Downstream,
    patience: &mut Patience<'_>,
) -> Result<(), Stop> {
    exchange.answer.bytes_out += COMMENT.len() as u64;
    written(patience, COMMENT.len(), pin!(downstream.chunk(Bytes::from_static(COMMENT)))).await?;
    patience.note_comment();
    Ok(())
}

async fn next(
    answer: &mut Answer,
    meter: &Meter,
    downstream: &mut impl Downstream,
    patience: &mut Patience<'_>,
) -> Next {
    if let Some(lost) = patience.over() {
        return Next::Lost(lost);
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
            Waited::Lost(lost) => Next::Lost(lost),
            Waited::Silent => Next::Silent,
        },
    }
}

/// The upstream closed its body cleanly. Whether the answer is whole is for the dialect to say; a refusal needs no
/// words, and any of the length it announced will do.
async fn end(
    exchange: &Exchange,
    has_length: bool,
    meter: &Meter,
    downstream: &mut impl Downstream,
    patience: &mut Patience<'_>,
) -> Stop {
    let refused = exchange.answer.status >= 400;
    let framed = exchange.answer.bytes_out == 0 || has_length;
    if !(meter.complete() || (refused && framed)) {
        return Stop::Broken(Lost::BrokeOff);
    }
    finish(meter, downstream, patience).await
}

async fn finish(meter: &Meter, downstream: &mut impl Downstream, patience: &mut Patience<'_>) -> Stop {
    match written(patience, 0, pin!(downstream.finish())).await {
        Err(Stop::Left) if meter.said_all() => Stop::Whole,
        outcome => outcome.err().unwrap_or(Stop::Whole),
    }
}

/// One write of `bytes` to the client, or how it ended the answer.
async fn written(
    patience: &mut Patience<'_>,
    bytes: usize,
    write: Pin<&mut impl Future<Output = pingora_core::Result<()>>>,
) -> Result<(), Stop> {
    match patience.while_writing(bytes, write).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_left)) => Err(Stop::Left),
        Err(lost) => Err(Stop::Stuck(lost)),
    }
}

/// Says in-band that the stream is not whole. A JSON answer cannot say it: its cut connection does.
async fn tell(exchange: &Exchange, lost: Lost, meter: &Meter, endpoint: Endpoint, downstream: &mut impl Downstream) {
    let Some(at_boundary) = meter.at_boundary() else { return };
    let event = Refusal::new(lost.reason(), lost.words()).event(endpoint.dialect(), exchange.id);
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
        Ending::Whole | Ending::Told | Ending::Left | Ending::Broken(_) => "answered",
    }
}

impl From<Result<(Answer, Framing), Refusal>> for Found {
    fn from(found: Result<(Answer, Framing), Refusal>) -> Self {
        match found {
            Ok((answer, framing)) => Found::Head(answer, framing),
            Err(refusal) => Found::Refused(refusal),
        }
    }
}

impl Terms {
    fn of(prepared: Box<Prepared>, uploading: bool) -> Self {
        let Prepared { endpoint, timeouts, upstream, body, room, .. } = *prepared;
        Self { endpoint, strip_usage: body.usage_injected, timeouts, upstream, _room: uploading.then_some(room) }
    }

    /// As it stands in the configuration and in the metrics.
    pub fn upstream_name(&self) -> &str {
        &self.upstream.name
    }

    /// What silence of an answer in this framing is borne.
    fn rhythm(&self, framing: Framing) -> Rhythm {
        match framing {
            Framing::EventStream => {
                Rhythm { between: Some(self.timeouts.between_chunks), keep_alive: self.upstream.keep_alive }
            }
            Framing::Json => Rhythm::default(),
        }
    }
}

impl Stop {
    fn ending(self) -> Ending {
        match self {
            Stop::Whole => Ending::Whole,
            Stop::Left => Ending::Left,
            Stop::Broken(lost) | Stop::Stuck(lost) => Ending::Broken(lost.reason()),
        }
    }
}
