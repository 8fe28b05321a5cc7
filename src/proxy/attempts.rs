//! From an admitted request to the head of an answer: at most two attempts in all.
//!
//! The second is made when the first could not connect, was reset before its head, or was answered 502, 503 or 504:
//! to another target where there is one, else to the stage's fallback model where it has one. A provider's 429 and
//! every other 4xx pass through as they are, save those that refuse our own key.
//!
//! What has only failed lately is not asked at all: a target that nothing reaches, a model that fails for several users
//! (docs/decisions/008). Where that leaves nobody to ask, the request is refused at once.

use std::borrow::Cow;
use std::fmt::Display;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::commit::Commitment;
use super::exchange::{Ending, Exchange};
use super::patience::Lost;
use super::refuse::{Reason, Refusal};
use super::relay::{Framing, Stop};
use super::{Prepared, Services, outgoing};
use crate::config::{Model, Upstream};
use crate::llm::{Rewritten, rewrite};
use crate::upstream::{self, Answer, AttemptError, Group, Head, Limits, Member, Seat, Trial};

const MOST: u8 = 2;
/// When to come back to an upstream that cannot be reached.
const BACK_IN: Duration = Duration::from_secs(5);
/// How much of a 400 is read before it is passed on, and how long its end is waited for.
const LOOKED_AT: usize = 2048;
const LOOKED_AT_FOR: Duration = Duration::from_millis(250);

/// Why an attempt yielded nothing to pass on.
struct Failure {
    refusal: Refusal,
    /// Whether another target or model may do better.
    elsewhere: bool,
    /// The label in `cfx_upstream_attempts_total`.
    outcome: &'static str,
    fault: Fault,
}

/// Who is to blame for an attempt.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// It could not be reached, broke off before the head, or stayed silent.
    Target,
    /// It answered 5xx, and not of the protocol alone.
    Model,
    Nobody,
}

/// Where a request may go.
struct Way<'a> {
    seat: Seat,
    trial: Trial,
    model: &'a Arc<Model>,
}

/// Tries until a head is worth passing on, and says why not when none is.
pub async fn until_head(
    services: &Services,
    exchange: &mut Exchange,
    prepared: &Prepared,
    from_client: &HeaderMap,
    total_by: Instant,
    commitment: Option<&Commitment>,
) -> Result<(Answer, Framing), Refusal> {
    let upstream = &prepared.upstream;
    let group = &services.balancer.of(upstream).ok_or_else(unknown)?;
    group.budget.note_request(Instant::now());
    let (own, fallback) = (&prepared.choice.model, prepared.choice.fallback.as_ref());
    let others = |model: &Arc<Model>| fallback.filter(|other| !Arc::ptr_eq(other, model));
    let mut way = way(group, (own, None), others(own)).map_err(left_alone)?;
    let mut rewritten: Option<Rewritten> = None;
    loop {
        let Way { seat, trial, model } = way;
        if !Arc::ptr_eq(model, own) && rewritten.is_none() {
            rewritten = Some(rewrite(&prepared.request, &prepared.choice, model));
            exchange.answer.fallback_model = Some(Arc::clone(&model.alias));
            if let Some(commitment) = commitment {
                commitment.note_fallback(&model.alias);
            }
        }
        let stream = prepared.request.is_stream();
        let body = rewritten.as_ref().unwrap_or(&prepared.body);
        exchange.answer.text_sent = body.len.saturating_sub(attachments(prepared));
        let segments = body.segments.clone();
        let request = outgoing::request(exchange, prepared.endpoint, upstream, from_client, stream, segments);
        let member = Arc::clone(seat.member());
        let failure = match one(services, exchange, prepared, (group, seat, trial), &request, total_by).await {
            Ok(found) => return Ok(found), // counted when its end is known
            Err(failure) => failure,
        };
        services.metrics.attempt(&upstream.name, failure.outcome);
        let last = exchange.answer.attempts >= MOST || commitment.is_some_and(Commitment::is_made);
        if !failure.elsewhere || last {
            return Err(failure.refusal);
        }
        match self::way(group, (model, Some(&member)), others(model)) {
            Ok(next) if may_go_on(group, &member, failure.fault) => way = next,
            _ => return Err(failure.refusal),
        }
    }
}

/// The head that had come when the client left. The two connections are looked at one after the other: between the two
/// an upstream may have answered, and the client left, and only a turn of the runtime shows what came first. Without it
/// an answer would be taken for none, and not be paid for.
pub async fn come_before<T>(head: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    tokio::task::yield_now().await;
    head.now_or_never()
}

/// What the end of an answer that was passed on says of its model. Whoever leaves says nothing of it, nor does a 4xx,
/// nor an upstream that breaks off behind its head.
pub fn conclude(exchange: &mut Exchange, ending: Ending) {
    let Some(trial) = exchange.answer.trial.take() else { return };
    match ending {
        Ending::ErrorInside => trial.failed(client(exchange)),
        Ending::Whole if exchange.answer.status < 400 => trial.succeeded(),
        Ending::Whole | Ending::Told | Ending::Left | Ending::Broken(_) => {}
    }
}

/// What the end of an answer that was passed on says of its target. Of one that breaks its answers off behind their heads
/// nothing else would be known, and it has the least to do of all.
pub fn judge_target(exchange: &Exchange, answer: &Answer, stop: &Stop) {
    match stop {
        // What is wrong with a 4xx may be the client's fault, or not.
        Stop::Whole if exchange.answer.status < 400 => answer.judged(true),
        Stop::Broken(Lost::BrokeOff | Lost::Silence(_)) => answer.judged(false),
        Stop::Whole | Stop::Left | Stop::Stuck(_) | Stop::Broken(_) => {}
    }
}

/// A probe whose answer begins as it should has learnt what it was sent for.
pub fn note_beginning(exchange: &mut Exchange, begins_well: impl FnOnce() -> bool) {
    if let Some(trial) = exchange.answer.trial.as_mut().filter(|trial| trial.is_probe() && begins_well()) {
        trial.begins_well();
    }
}

/// Says that an answer broke off behind its head.
pub fn note_break(services: &Services, upstream: &Upstream, exchange: &Exchange, error: &dyn Display) {
    if let Some(group) = services.balancer.of(upstream) {
        complain(&group, exchange, "an upstream answer broke off", error);
    }
}

/// Says of an upstream that it failed: one line a second, for in an outage, or under poison, each request would write its
/// own. The rows and the metrics have each.
fn complain(group: &Group, exchange: &Exchange, message: &str, error: &dyn Display) {
    let (request, upstream) = (exchange.id.0, group.name());
    match group.complaints.write(Instant::now()) {
        Some(unwritten) => tracing::warn!(%request, %upstream, %error, unwritten, "{message}"),
        None => tracing::debug!(%request, %upstream, %error, "{message}"),
    }
}

/// To a model at any target but one, or else to the fallback at any. Where something stands before both, how long until
/// one of them may be asked.
fn way<'a>(
    group: &Group,
    (model, except): (&'a Arc<Model>, Option<&Arc<Member>>),
    fallback: Option<&'a Arc<Model>>,
) -> Result<Way<'a>, Duration> {
    let now = Instant::now();
    let mut soonest = Duration::MAX;
    for (model, except) in std::iter::once((model, except)).chain(fallback.map(|model| (model, None))) {
        let found = group.trial(&model.upstream_model, now).and_then(|trial| Ok((trial, group.seat(except, now)?)));
        match found {
            Ok((trial, seat)) => return Ok(Way { seat, trial, model }),
            Err(wait) => soonest = soonest.min(wait),
        }
    }
    Err(soonest)
}

/// Whether an upstream may be sent one more second attempt. A request that was under way on a target which has just
/// been taken out is moved and not multiplied: there are as many of them as were in flight there, once.
fn may_go_on(group: &Group, left: &Member, fault: Fault) -> bool {
    let now = Instant::now();
    fault == Fault::Target && group.leaves_alone(left, now) || group.budget.take(now)
}

/// No route leads to an upstream that this edge did not start with, and none is to be made up for a request.
fn unknown() -> Refusal {
    Refusal::new(Reason::InternalError, "an error inside the gateway")
}

fn left_alone(wait: Duration) -> Refusal {
    let message = "the model's service has failed lately and is left alone for a while";
    Refusal::new(Reason::UpstreamUnavailable, message).retry_after(wait)
}

/// What tells clients apart for a breaker.
fn client(exchange: &Exchange) -> u128 {
    exchange.principal.get().map_or(0, |principal| principal.user.0.as_u128())
}

/// Bytes of images, files and sounds, which pass as they came.
fn attachments(prepared: &Prepared) -> usize {
    prepared.request.body().len() - prepared.request.text_bytes()
}

async fn one(
    services: &Services,
    exchange: &mut Exchange,
    prepared: &Prepared,
    (group, seat, trial): (&Group, Seat, Trial),
    request: &upstream::OutgoingRequest,
    total_by: Instant,
) -> Result<(Answer, Framing), Failure> {
    let timeouts = prepared.timeouts;
    let limits = Limits {
        connect: timeouts.connect,
        head: if prepared.request.is_stream() { timeouts.first_byte } else { timeouts.total },
        total_by,
    };
    exchange.answer.attempts += 1;
    exchange.answer.waiting_since = Some(Instant::now());
    let client = client(exchange);
    // The client may leave at any moment of this: what is true of the request then is in the exchange, not here.
    let standing = &mut exchange.answer.standing;
    let outcome = upstream::send(&services.dialer, (seat, client), request, limits, standing).await;
    exchange.answer.wait_is_over();
    exchange.answer.reached_upstream |= exchange.answer.standing.unanswered;
    exchange.answer.standing.unanswered &= matches!(outcome, Err(AttemptError::Silent));
    match outcome {
        Ok(mut answer) => match judged(exchange, &mut answer, total_by).await {
            Ok(framing) => {
                exchange.answer.trial = Some(trial);
                Ok((answer, framing))
            }
            Err(failure) => {
                let (status, message) = (answer.head.status.as_u16(), &failure.refusal.message);
                let what = format_args!("{status} ({}): {message}", failure.outcome);
                complain(group, exchange, "an upstream answer was not passed on", &what);
                if failure.fault == Fault::Model && group.blames_model(answer.member(), Instant::now()) {
                    trial.failed(client);
                }
                answer.judged(false);
                Err(failure)
            }
        },
        Err(error) => {
            complain(group, exchange, "an attempt failed", &error);
            Err(failure_of(error, prepared, total_by))
        }
    }
}

/// Whether an answer is to be passed on. Of all but a 400 the head alone decides.
async fn judged(exchange: &mut Exchange, answer: &mut Answer, total_by: Instant) -> Result<Framing, Failure> {
    let framing = judge(&answer.head)?;
    if answer.head.status != StatusCode::BAD_REQUEST {
        return Ok(framing);
    }
    exchange.answer.waiting_since = Some(Instant::now());
    let by = total_by.min(Instant::now() + LOOKED_AT_FOR);
    let body = answer.whole_within(LOOKED_AT, by).await;
    exchange.answer.wait_is_over();
    if body.is_some_and(|body| lacks_database(&body)) { Err(auth_error()) } else { Ok(framing) }
}

/// Whether a head is to be passed on, and in which framing its body comes.
fn judge(head: &Head) -> Result<Framing, Failure> {
    let framing = framing(head);
    match (head.status.as_u16(), framing) {
        (401 | 403, _) => Err(auth_error()),
        // It does not know the method or the version: nothing that a model has said.
        (status @ (501 | 505), _) => Err(server_error(status, Fault::Nobody)),
        (status @ 500.., _) => Err(server_error(status, Fault::Model)),
        // Without a body by definition (RFC 9110, 15.3.5 and 15.3.6), a part of what was asked for, or a way to another place.
        (status @ (..200 | 204..=206 | 300..=399), _) => {
            Err(not_an_answer(format_args!("{status}, which is no answer of a model")))
        }
        (200..=299, _) if head.content_length == Some(0) => Err(not_an_answer("with an empty body")),
        // Neither the tap nor the client could read it.
        _ if head.encoded => Err(not_an_answer("in a content coding that was not asked for")),
        (200..=299, Some(framing)) => Ok(framing),
        (400..=499, Some(Framing::Json)) => Ok(Framing::Json),
        (status @ 400..=499, _) => Err(not_an_answer(format_args!("{status} without the Content-Type of JSON"))),
        _ => Err(not_an_answer("without the Content-Type of JSON or of an event stream")),
    }
}

/// Whether a LiteLLM without a database says so: that is how it answers a key which is not its master key. It does so
/// with 400, and it is no fault of the client's.
fn lacks_database(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        error: Named<'a>,
    }
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow, rename = "type")]
        kind: Cow<'a, str>,
    }
    serde_json::from_slice(body).is_ok_and(|body: Body<'_>| body.error.kind == "no_db_connection")
}

fn auth_error() -> Failure {
    Failure {
        refusal: Refusal::new(Reason::UpstreamAuthError, "the model's service did not accept this gateway's key")
            .final_word(),
        elsewhere: false,
        outcome: "auth",
        fault: Fault::Nobody,
    }
}

fn server_error(status: u16, fault: Fault) -> Failure {
    Failure {
        refusal: Refusal::new(Reason::UpstreamError, format!("the model's service answered {status}")),
        elsewhere: matches!(status, 502..=504),
        outcome: "server_error",
        fault,
    }
}

/// A head with which no answer of a model begins: `how` it answered.
fn not_an_answer(how: impl Display) -> Failure {
    Failure {
        refusal: Refusal::new(Reason::UpstreamError, format!("the model's service answered {how}")),
        elsewhere: false,
        outcome: "not_json",
        fault: Fault::Nobody,
    }
}

fn framing(head: &Head) -> Option<Framing> {
    let kind = head.content_type.as_ref()?.as_bytes();
    let essence = kind.split(|byte| *byte == b';').next()?.trim_ascii();
    if essence.eq_ignore_ascii_case(b"application/json") {
        Some(Framing::Json)
    } else if essence.eq_ignore_ascii_case(b"text/event-stream") {
        Some(Framing::EventStream)
    } else {
        None
    }
}

/// What an attempt that yielded no head says to the client, and to those who decide what to do next.
fn failure_of(error: AttemptError, prepared: &Prepared, total_by: Instant) -> Failure {
    let timeouts = &prepared.timeouts;
    let refusal = match error {
        AttemptError::Connect(_) => {
            Refusal::new(Reason::UpstreamUnavailable, "the model's service cannot be reached").retry_after(BACK_IN)
        }
        AttemptError::ConnectTimeout(_) => {
            let limit = ran_out(total_by, timeouts.total, (timeouts.connect, "connect"));
            let message = format!("no connection to the model's service within {limit}");
            Refusal::new(Reason::UpstreamUnavailable, message).retry_after(BACK_IN)
        }
        AttemptError::Reset(_) | AttemptError::Dead(_) | AttemptError::NotTaken(_) => {
            Refusal::new(Reason::UpstreamError, "the model's service closed the connection unanswered")
        }
        AttemptError::Unsound(_) => {
            Refusal::new(Reason::UpstreamError, "the model's service answered with something that is not HTTP")
        }
        AttemptError::Silent => {
            let own = if prepared.request.is_stream() { timeouts.first_byte } else { timeouts.total };
            let limit = ran_out(total_by, timeouts.total, (own, "first_byte"));
            Refusal::new(Reason::UpstreamTimeout, format!("the model's service did not begin to answer within {limit}"))
        }
    };
    let (elsewhere, outcome, fault) = match error {
        AttemptError::Connect(_) | AttemptError::ConnectTimeout(_) => (true, "connect", Fault::Target),
        AttemptError::Reset(_) | AttemptError::Dead(_) | AttemptError::NotTaken(_) => (true, "reset", Fault::Target),
        AttemptError::Unsound(_) => (false, "not_http", Fault::Nobody),
        AttemptError::Silent => (false, "timeout", Fault::Target),
    };
    Failure { refusal, elsewhere, outcome, fault }
}

/// The limit that ended a wait, as it stands in the configuration: the wait's own, or the total where that passed too.
fn ran_out(total_by: Instant, total: Duration, own: (Duration, &str)) -> String {
    let (span, name) = if Instant::now() < total_by { own } else { (total, "total") };
    format!("{span:?} (timeouts.{name})")
}

#[cfg(test)]
#[path = "attempts_tests.rs"]
mod tests;
