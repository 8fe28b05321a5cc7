//! From an admitted request to the head of an answer: at most two attempts in all.
//!
//! The second is made when the first could not connect, was reset before its head, or was answered 502, 503 or 504:
//! to another target where there is one, else to the stage's fallback model where it has one. A provider's 429 and
//! every other 4xx pass through as they are.

use std::sync::Arc;

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http::response::Parts;
use tokio::time::Instant;

use super::exchange::Exchange;
use super::refuse::{Reason, Refusal};
use super::relay::Framing;
use super::{Prepared, Services, outgoing};
use crate::config::{Model, Target};
use crate::llm::rewrite;
use crate::upstream::{self, Answer, AttemptError};

const MOST: u8 = 2;

/// Why an attempt yielded nothing to pass on.
struct Failure {
    refusal: Refusal,
    /// Whether another target or model may do better.
    elsewhere: bool,
    /// The label in `cfx_upstream_attempts_total`.
    outcome: &'static str,
}

/// Tries until a head is worth passing on, and says why not when none is.
pub async fn until_head(
    services: &Services,
    exchange: &mut Exchange,
    prepared: &Prepared,
    from_client: &HeaderMap,
    total_by: Instant,
) -> Result<(Answer, Framing), Refusal> {
    let upstream = &prepared.upstream;
    let mut targets = upstream::in_turn(upstream);
    let Some(mut target) = targets.next() else {
        return Err(Refusal::new(Reason::UpstreamUnavailable, "the upstream has no target"));
    };
    let mut model: &Arc<Model> = &prepared.choice.model;
    let mut segments = prepared.segments.clone();
    loop {
        let stream = prepared.request.is_stream();
        let request = outgoing::request(exchange, prepared.endpoint, upstream, from_client, stream, segments.clone());
        let failure = match one(services, exchange, prepared, target, &request, total_by).await {
            Ok(found) => {
                services.metrics.attempt(&upstream.name, "answered");
                return Ok(found);
            }
            Err(failure) => failure,
        };
        services.metrics.attempt(&upstream.name, failure.outcome);
        if !failure.elsewhere || exchange.answer.attempts >= MOST {
            return Err(failure.refusal);
        }
        if let Some(other) = targets.next() {
            target = other;
        } else if let Some(fallback) = prepared.choice.fallback.as_ref().filter(|other| !Arc::ptr_eq(other, model)) {
            model = fallback;
            segments = rewrite(&prepared.request, &prepared.choice, model).segments;
            exchange.answer.fallback_model = Some(Arc::clone(&model.alias));
        } else {
            return Err(failure.refusal);
        }
    }
}

async fn one(
    services: &Services,
    exchange: &mut Exchange,
    prepared: &Prepared,
    target: &Target,
    request: &upstream::OutgoingRequest,
    total_by: Instant,
) -> Result<(Answer, Framing), Failure> {
    let timeouts = prepared.timeouts;
    let head_by = match prepared.request.is_stream() {
        true => total_by.min(Instant::now() + timeouts.first_byte),
        false => total_by,
    };
    exchange.answer.attempts += 1;
    let reached_before = exchange.answer.reached_upstream;
    exchange.answer.reached_upstream = true; // until the contrary is known: a client may leave while we wait
    let before = std::time::Instant::now();
    let outcome = upstream::send(&services.dialer, target, request, timeouts.connect, head_by).await;
    exchange.answer.upstream_wait += before.elapsed();
    match outcome {
        Ok(answer) => {
            let framing = judge(&answer.head).inspect_err(|failure| {
                let status = answer.head.status.as_u16();
                tracing::warn!(request = %exchange.id.0, upstream = %prepared.upstream.name, status,
                    outcome = failure.outcome, "an upstream answer was not passed on");
            })?;
            Ok((answer, framing))
        }
        Err(error) => {
            tracing::warn!(request = %exchange.id.0, upstream = %prepared.upstream.name, %error, "an attempt failed");
            if matches!(error, AttemptError::Connect(_) | AttemptError::ConnectTimeout(_)) {
                exchange.answer.reached_upstream = reached_before;
            }
            Err(Failure::from(error))
        }
    }
}

/// Whether a head is to be passed on, and in which framing its body comes.
fn judge(head: &Parts) -> Result<Framing, Failure> {
    let framing = framing(head);
    match (head.status.as_u16(), framing) {
        (401 | 403, _) => Err(Failure {
            refusal: Refusal::new(Reason::UpstreamAuthError, "the model's service did not accept this gateway's key")
                .final_word(),
            elsewhere: false,
            outcome: "auth",
        }),
        (status @ 500.., _) => Err(Failure {
            refusal: Refusal::new(Reason::UpstreamError, format!("the model's service answered {status}")),
            elsewhere: matches!(status, 502..=504),
            outcome: "server_error",
        }),
        (200..=299, Some(framing)) => Ok(framing),
        (400..=499, Some(Framing::Json)) => Ok(Framing::Json),
        _ => Err(Failure {
            refusal: Refusal::new(
                Reason::UpstreamError,
                "the model's service answered with something that is not JSON",
            ),
            elsewhere: false,
            outcome: "not_json",
        }),
    }
}

fn framing(head: &Parts) -> Option<Framing> {
    let kind = head.headers.get(CONTENT_TYPE)?.as_bytes();
    let essence = kind.split(|byte| *byte == b';').next()?.trim_ascii();
    if essence.eq_ignore_ascii_case(b"application/json") {
        Some(Framing::Json)
    } else if essence.eq_ignore_ascii_case(b"text/event-stream") {
        Some(Framing::EventStream)
    } else {
        None
    }
}

impl From<AttemptError> for Failure {
    fn from(error: AttemptError) -> Self {
        match error {
            AttemptError::Connect(_) | AttemptError::ConnectTimeout(_) => Failure {
                refusal: Refusal::new(Reason::UpstreamUnavailable, "the model's service cannot be reached")
                    .retry_after(std::time::Duration::from_secs(5)),
                elsewhere: true,
                outcome: "connect",
            },
            AttemptError::Reset(_) | AttemptError::Dead => Failure {
                refusal: Refusal::new(Reason::UpstreamError, "the model's service closed the connection unanswered"),
                elsewhere: true,
                outcome: "reset",
            },
            AttemptError::Silent => Failure {
                refusal: Refusal::new(Reason::UpstreamTimeout, "the model's service did not answer in time"),
                elsewhere: false,
                outcome: "timeout",
            },
        }
    }
}
