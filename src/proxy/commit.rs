//! `commit_after`: where an upstream is silent for longer than what stands in front of cfx will bear, a stream gets its
//! 200 before there is a head, and comments from then on. Off unless configured, for what it costs: the status can no
//! longer change and there is no second attempt any more, so that an error has to come in the stream.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use pingora_timeout::fast_timeout::fast_timeout;

use super::downstream::Downstream;
use super::exchange::{Ending, Exchange};
use super::patience::{Lost, Patience, Rung};
use super::refuse::{self, Reason, Refusal};
use super::relay::{COMMENT, Found, Framing, TOLD_WITHIN, Terms};
use super::stamp::CFX_MODEL_USED;
use super::{Prepared, Services, answer_head, attempts, meter};
use crate::upstream::Answer;

/// The most of an upstream's refusal that is read to be told in the stream, and how long its end is waited for.
const REFUSAL_BYTES: usize = 64 << 10;
const REFUSAL_WITHIN: Duration = Duration::from_secs(2);

/// What the attempts and the head that was sent ahead of them know of each other.
#[derive(Default)]
pub struct Commitment {
    made: AtomicBool,
    fallback: OnceLock<Arc<str>>,
}

impl Commitment {
    /// Whether the client has a head already.
    pub fn is_made(&self) -> bool {
        self.made.load(Ordering::Relaxed)
    }

    /// Another model than the stage's own is asked.
    pub fn note_fallback(&self, alias: &Arc<str>) {
        let _ = self.fallback.set(Arc::clone(alias));
    }

    /// The head that is sent now. Nothing of the upstream's is known yet but who is asked.
    fn head(&self, mut headers: HeaderMap) -> HeaderMap {
        self.made.store(true, Ordering::Relaxed);
        let model = self.fallback.get().and_then(|alias| HeaderValue::from_str(alias).ok());
        if let Some(model) = model {
            headers.insert(CFX_MODEL_USED, model);
        }
        headers
    }
}

/// Waits for a head, and sends one of our own where none has come after `silence`. True where that was done.
pub async fn until_head(
    services: &Services,
    exchange: &mut Exchange,
    prepared: &Prepared,
    from_client: &HeaderMap,
    downstream: &mut impl Downstream,
    patience: &mut Patience<'_>,
    silence: Duration,
) -> (Found, bool) {
    let mut headers = Some(head_ahead(exchange));
    let (commitment, mut sent) = (Commitment::default(), 0);
    let total_by = patience.total_by();
    let found = {
        let head = attempts::until_head(services, exchange, prepared, from_client, total_by, Some(&commitment));
        let mut head = pin!(head);
        let mut due = Instant::now() + silence;
        loop {
            let rung = tokio::select! {
                biased;
                found = &mut head => break found.into(),
                () = downstream.gone() => break attempts::come_before(head).await.map_or(Found::Left, Found::from),
                rung = patience.rung(due) => rung,
            };
            if rung == Rung::Stopped {
                break Found::Refused(Refusal::shutting_down());
            }
            let headers = headers.take().map(|headers| commitment.head(headers));
            let speaking = async {
                if let Some(headers) = headers {
                    if services.drain.is_ending() {
                        downstream.be_last();
                    }
                    downstream.head(StatusCode::OK, headers).await?;
                }
                downstream.chunk(Bytes::from_static(COMMENT)).await
            };
            match patience.while_writing(COMMENT.len(), pin!(speaking)).await {
                Ok(Ok(())) => sent += COMMENT.len() as u64,
                Ok(Err(_left)) => break Found::Left,
                Err(lost) => break Found::Stuck(lost),
            }
            due = prepared.upstream.keep_alive.map_or(total_by, |rhythm| Instant::now() + rhythm);
        }
    };
    exchange.answer.bytes_out += sent;
    if !commitment.is_made() {
        exchange.answer.overhead = None; // what was noted with the head that was not needed
    }
    (found, commitment.is_made())
}

/// The head of a stream that has not begun.
fn head_ahead(exchange: &mut Exchange) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(20);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    answer_head::dress_stream(&mut headers);
    super::stamp::stamp(exchange, &mut |name, value| {
        headers.insert(name, value);
    });
    headers
}

/// Tells in the stream what would have been a status: the row keeps that status.
pub async fn refuse(
    exchange: &mut Exchange,
    terms: &Terms,
    refusal: Refusal,
    downstream: &mut impl Downstream,
) -> Ending {
    exchange.answer.refusal = Some(refusal.reason);
    exchange.answer.status = refusal.status();
    let event = refusal.event(terms.endpoint.dialect(), exchange.id);
    say(exchange, event, downstream).await
}

/// The same with an answer that is no stream: an upstream's own refusal, or a document where events were to come.
pub async fn answer(
    services: &Services,
    exchange: &mut Exchange,
    terms: &Terms,
    (mut answer, framing): (Answer, Framing),
    downstream: &mut impl Downstream,
    patience: &mut Patience<'_>,
) -> Ending {
    let status = answer.head.status;
    services.metrics.attempt(terms.upstream_name(), "answered");
    if status.is_success() {
        debug_assert_eq!(framing, Framing::Json);
        meter::presume(services, exchange, terms.endpoint);
        attempts::conclude(exchange, Ending::Left); // it may well have been whole: nobody has looked
        let message = "the model's service answered with one document, and the client was told to expect a stream";
        return refuse(exchange, terms, Refusal::new(Reason::UpstreamError, message), downstream).await;
    }
    let by = patience.total_by().min(Instant::now() + REFUSAL_WITHIN);
    let body = tokio::select! {
        biased;
        body = answer.whole_within(REFUSAL_BYTES, by) => body.unwrap_or_default(),
        () = downstream.gone() => return Ending::Left,
        () = patience.stopped() => Vec::new(), // its status is known, and may still be told
    };
    exchange.answer.status = status.as_u16();
    attempts::conclude(exchange, Ending::Whole);
    let dialect = terms.endpoint.dialect();
    let event = refuse::event_of_upstream(status.as_u16(), &body, dialect, exchange.id);
    say(exchange, event, downstream).await
}

/// A write that was given up halfway: nothing can be said behind it.
pub fn stuck(exchange: &mut Exchange, lost: Lost) -> Ending {
    exchange.answer.status = StatusCode::OK.as_u16();
    Ending::Broken(lost.reason())
}

async fn say(exchange: &mut Exchange, event: String, downstream: &mut impl Downstream) -> Ending {
    exchange.answer.bytes_out += event.len() as u64;
    match fast_timeout(TOLD_WITHIN, downstream.chunk(Bytes::from(event))).await {
        Ok(Err(_left)) => Ending::Left,
        Ok(Ok(())) | Err(_) => Ending::Told,
    }
}
