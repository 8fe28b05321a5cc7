//! The relay: an admitted request goes upstream and its answer comes back, each chunk as it arrives.
//!
//! Order: attempts until a head that is worth passing on; then the head; then chunks through the tap. Nothing is
//! written to the client before the upstream's head, so an upstream error is a real status code. A stream that
//! breaks says so in its own dialect and its connection is cut, never ended cleanly.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::{Instant, Sleep};

use super::attempts;
use super::downstream::Downstream;
use super::exchange::{Ending, Exchange};
use super::refuse::{Reason, Refusal};
use super::stamp::stamp;
use super::{Prepared, Services};
use crate::config::Timeouts;
use crate::llm::{AnswerTap, Dialect, Tap};
use crate::units::Usage;
use crate::upstream::Answer;

const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// How an answer is framed, told by its content type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    Json,
    EventStream,
}

/// Reads what passes, in the answer's own framing.
enum Meter {
    Stream(Box<Tap>),
    Answer(Box<AnswerTap>),
}

/// Sends the request and passes the answer on. `Err` only while nothing has been sent to the client.
pub async fn run(
    services: &Services,
    exchange: &mut Exchange,
    prepared: &Prepared,
    from_client: &HeaderMap,
    downstream: &mut impl Downstream,
) -> Result<Ending, Refusal> {
    let timeouts = prepared.timeouts;
    let total_by = Instant::now() + timeouts.total;
    let (answer, framing) = tokio::select! {
        biased;
        outcome = attempts::until_head(services, exchange, prepared, from_client, total_by) => outcome?,
        () = downstream.gone() => return Ok(Ending::Left),
        () = services.drain.is_cut() => return Err(Refusal::new(Reason::ShuttingDown, "this gateway is shutting down")),
    };
    let status = answer.head.status;
    exchange.answer.status = status.as_u16();
    let mut meter = Meter::new(framing, prepared);
    let headers = response_headers(exchange, &answer.head.headers, framing);
    let ending = if downstream.head(status, headers).await.is_err() {
        Ending::Left
    } else {
        let patience = Patience::new(framing, timeouts, total_by);
        pass_on(services, exchange, answer, &mut meter, downstream, patience).await
    };
    if let Ending::Broken(reason) = ending {
        tell(exchange, reason, &meter, prepared.endpoint.dialect(), downstream).await;
    }
    meter.read(services, exchange, prepared, ending);
    Ok(meter.verdict(exchange.answer.status, ending))
}

/// Everything between the head and the end.
async fn pass_on(
    services: &Services,
    exchange: &mut Exchange,
    mut answer: Answer,
    meter: &mut Meter,
    downstream: &mut impl Downstream,
    mut patience: Patience,
) -> Ending {
    let mut pieces = Vec::with_capacity(2);
    loop {
        let chunk = tokio::select! {
            biased;
            chunk = answer.chunk() => chunk,
            // Who hangs up behind the last word has had the whole answer.
            () = downstream.gone() => return if meter.complete() { Ending::Whole } else { Ending::Left },
            () = patience.lost() => return Ending::Broken(Reason::UpstreamTimeout),
            () = services.drain.is_cut() => return Ending::Broken(Reason::ShuttingDown),
        };
        let ended = match chunk {
            Ok(Some(chunk)) => {
                meter.push(chunk, &mut pieces);
                false
            }
            Ok(None) => {
                meter.finish(&mut pieces);
                true
            }
            Err(broken) => {
                tracing::warn!(request = %exchange.id.0, error = %broken, "an upstream answer broke off");
                return Ending::Broken(Reason::UpstreamError);
            }
        };
        for piece in pieces.drain(..) {
            exchange.answer.first_token.get_or_insert_with(|| exchange.started.elapsed());
            exchange.answer.bytes_out += piece.len() as u64;
            if downstream.chunk(piece).await.is_err() {
                return Ending::Left;
            }
        }
        if ended {
            return end(answer, meter, downstream).await;
        }
        patience.renew();
    }
}

/// The upstream closed its body cleanly. Whether the answer is whole is for the dialect to say.
async fn end(answer: Answer, meter: &Meter, downstream: &mut impl Downstream) -> Ending {
    answer.recycle();
    if !meter.complete() {
        return Ending::Broken(Reason::UpstreamError);
    }
    match downstream.finish().await {
        Ok(()) => Ending::Whole,
        Err(_left) => Ending::Left,
    }
}

/// Says in-band that the stream is not whole. A JSON answer cannot say it: its cut connection does.
async fn tell(exchange: &Exchange, reason: Reason, meter: &Meter, dialect: Dialect, downstream: &mut impl Downstream) {
    if let Meter::Stream(tap) = meter {
        let message = match reason {
            Reason::UpstreamTimeout => "the model's service stopped sending before its answer was complete",
            Reason::ShuttingDown => "this gateway is shutting down; the answer is not complete",
            _ => "the model's service broke off before its answer was complete",
        };
        let event = Refusal::new(reason, message).event(dialect, exchange.id);
        // A blank line ends whatever event the upstream had begun.
        let gap = if tap.report().at_boundary { "" } else { "\n\n" };
        let _ = downstream.chunk(Bytes::from(format!("{gap}{event}"))).await;
    }
}

/// The answer's head as the client sees it: built here, so that no header of LiteLLM's crosses.
fn response_headers(exchange: &mut Exchange, from_upstream: &HeaderMap, framing: Framing) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(20);
    let mut pass = |name: HeaderName| {
        if let Some(value) = from_upstream.get(&name) {
            headers.insert(name, value.clone());
        }
    };
    pass(CONTENT_TYPE);
    match framing {
        Framing::Json => {
            pass(CONTENT_LENGTH);
            pass(RETRY_AFTER);
            pass(HeaderName::from_static("retry-after-ms"));
        }
        Framing::EventStream => {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
        }
    }
    stamp(exchange, &mut |name, value| {
        headers.insert(name, value);
    });
    headers
}

impl Meter {
    fn new(framing: Framing, prepared: &Prepared) -> Self {
        let dialect = prepared.endpoint.dialect();
        match framing {
            Framing::EventStream => Meter::Stream(Box::new(Tap::new(dialect, prepared.strip_usage))),
            Framing::Json => Meter::Answer(Box::new(AnswerTap::new(dialect))),
        }
    }

    fn push(&mut self, chunk: Bytes, pieces: &mut Vec<Bytes>) {
        match self {
            Meter::Stream(tap) => tap.push(chunk, pieces),
            Meter::Answer(tap) => {
                tap.push(&chunk);
                pieces.push(chunk);
            }
        }
    }

    fn finish(&mut self, pieces: &mut Vec<Bytes>) {
        if let Meter::Stream(tap) = self {
            tap.finish(pieces);
        }
    }

    /// A stream is whole when its dialect's last word has passed, or an error event in its place.
    fn complete(&self) -> bool {
        match self {
            Meter::Stream(tap) => {
                let report = tap.report();
                report.saw_end || report.error
            }
            Meter::Answer(tap) => tap.report().complete,
        }
    }

    /// An error object inside a 200 is not a success, even when it was passed on whole.
    fn verdict(&self, status: u16, ending: Ending) -> Ending {
        let error = match self {
            Meter::Stream(tap) => tap.report().error,
            Meter::Answer(tap) => status < 400 && tap.report().error,
        };
        if error && ending == Ending::Whole { Ending::ErrorInside } else { ending }
    }

    /// Tokens: as the upstream counted them, else estimated from what passed, and marked so.
    fn read(&self, services: &Services, exchange: &mut Exchange, prepared: &Prepared, ending: Ending) {
        let (usage, characters) = match self {
            Meter::Stream(tap) => {
                let report = tap.report();
                (report.usage, report.delta_chars)
            }
            Meter::Answer(tap) => {
                let report = tap.report();
                (report.usage, report.answer_chars)
            }
        };
        let model = exchange.model().cloned().unwrap_or_else(|| prepared.choice.model.alias.clone());
        let asked = prepared.request.text_bytes();
        match (usage, ending) {
            (Some(usage), Ending::Whole) => {
                services.calibration.learn(&model, asked, characters, &usage);
                exchange.answer.usage = Some(usage);
            }
            (None, _) if exchange.answer.status >= 400 => {}
            // What was counted before the end (Anthropic counts the prompt first) stands; the rest is estimated.
            (counted, _) => {
                let estimate = services.calibration.estimate(&model, asked, characters);
                exchange.answer.usage = Some(completed(counted, estimate));
                exchange.answer.estimated = true;
            }
        }
    }
}

/// The counted part of an answer that has no last word, and an estimate of what may not have been counted.
fn completed(counted: Option<Usage>, estimate: Usage) -> Usage {
    match counted {
        None => estimate,
        Some(counted) => Usage { output: counted.output.max(estimate.output), ..counted },
    }
}

/// The clock over a running answer: silence between chunks (of a stream) and the total.
struct Patience {
    between: Option<Duration>,
    total_by: Instant,
    last: Instant,
    alarm: Pin<Box<Sleep>>,
}

impl Patience {
    fn new(framing: Framing, timeouts: Timeouts, total_by: Instant) -> Self {
        let between = (framing == Framing::EventStream).then_some(timeouts.between_chunks);
        let last = Instant::now();
        let first = between.map_or(total_by, |between| total_by.min(last + between));
        Self { between, total_by, last, alarm: Box::pin(tokio::time::sleep_until(first)) }
    }

    fn renew(&mut self) {
        self.last = Instant::now();
    }

    /// Resolves when either limit has passed. The alarm is moved only when it rings, not with every chunk.
    async fn lost(&mut self) {
        loop {
            self.alarm.as_mut().await;
            let due = self.between.map_or(self.total_by, |between| self.total_by.min(self.last + between));
            if Instant::now() >= due {
                return;
            }
            self.alarm.as_mut().reset(due);
        }
    }
}
