//! Admission of one request, step by step. Each passed check yields a value that the next one needs; the last is
//! [`Admitted`], which gives everything back when it is dropped.
//!
//! Order: a look at the edge's room, key, exhausted-quota peek, the user's requests, body, stage and model, the edge's
//! room, the user's streams, quota, ledger. What is cheap and turns most of a flood away comes first; nothing is counted
//! before everything that could refuse has been asked.
//!
//! Who sends slowly holds no room of others: the head and the key come before anything is taken, an upload holds one of
//! its own user's requests and the memory of what has arrived, and a place in flight is taken once it is whole.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use pingora_core::protocols::http::ServerSession;

use super::beside::{self, LARGE};
use super::body::{self, Body, Unread};
use super::exchange::{Ending, Exchange, QuotaView, Staged};
use super::refuse::{Reason, Refusal};
use super::{Prepared, Services, credential, stamp};
use crate::admission::{
    ConcurrencyRefusal, Hold, InFlight, KeyRefusal, Overloaded, Permit, Principal, Proved, QuotaRefusal, Subject,
};
use crate::config::{ResolvedLimits, Snapshot, Upstream};
use crate::failpoint;
use crate::ledger::{Entry, Opening, SpoolFull};
use crate::llm::{self, BodyProblem, Choice, Endpoint, KeyScope, Request, Rewritten, StageProblem, rewrite};
use crate::telemetry::metrics::StreamGauge;

/// Everything an admitted request holds. Dropping it frees the permits and gives the quota back unless it was spent.
pub struct Admitted {
    /// First, so that its end is written before another has the place.
    pub entry: Entry,
    pub holds: Holds,
    _permit: Permit,
    _in_flight: InFlight,
    _stream: Option<StreamGauge>,
}

/// A request's places in today's quotas; none where the endpoint is free of quota.
#[derive(Default)]
pub struct Holds {
    user: Option<Hold>,
    key: Option<Hold>,
}

impl Holds {
    /// The request reached its upstream: it stays counted.
    pub fn spend(self) {
        for hold in self.user.into_iter().chain(self.key) {
            hold.spend();
        }
    }
}

/// A key that was found good.
pub struct Authenticated {
    pub principal: Arc<Principal>,
    limits: ResolvedLimits,
    /// No patience is left for the store of the quota: it is that of the keys, which this request has waited for in
    /// vain.
    at_once: bool,
}

/// Turns a request away that would find no room on this edge, before anybody is asked whose it is. Its body is not
/// read for that, no store is asked, and no row is written: floods are counted.
pub fn look_for_room(services: &Services, exchange: &Exchange) -> Result<(), Refusal> {
    Ok(services.capacity.look(&exchange.snapshot.limits)?)
}

/// Checks the key. The request's identity is known from here on.
pub async fn authenticate(
    services: &Services,
    exchange: &Exchange,
    headers: &HeaderMap,
) -> Result<Authenticated, Refusal> {
    // Set for every connection with an address; those without one share a place.
    let address = exchange.client.get().copied().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let Proved { principal, unanswered } = services.keys.authenticate(credential::presented(headers)?, address).await?;
    let limits = exchange.snapshot.limits.of_user(&principal.email);
    let _ = exchange.principal.set(Arc::clone(&principal));
    Ok(Authenticated { principal, limits, at_once: unanswered && services.quota_beside_keys })
}

impl Authenticated {
    /// The counters this request runs on and up to where: the user's always, and the key's own where it has one.
    fn quotas(&self) -> impl Iterator<Item = (Subject, u32)> {
        let of_user = self.principal.user_daily_requests.unwrap_or(self.limits.daily_requests);
        let of_key = self.principal.daily_requests.map(|limit| (Subject::Key(self.principal.counter), limit));
        std::iter::once((Subject::User(self.principal.user), of_user)).chain(of_key)
    }

    /// Turns away whoever is known to have nothing left today, before the body is read.
    pub fn peek(&self, services: &Services, exchange: &Exchange) -> Result<(), Refusal> {
        let mut quotas = self.quotas();
        quotas
            .try_for_each(|(subject, limit)| services.quota.peek(subject, exchange.at.day(), limit))
            .map_err(|refusal| quota_refusal(exchange, refusal))
    }

    /// Takes one of the user's requests, before the body: else one user's uploads could fill the memory of all.
    pub fn enter(&self, services: &Services) -> Result<Permit, Refusal> {
        Ok(services.concurrency.enter(self.principal.user, &self.limits)?)
    }

    /// Reads the body, chooses stage and model, rewrites.
    pub async fn prepare(
        &self,
        services: &Services,
        exchange: &mut Exchange,
        endpoint: Endpoint,
        upstream: Arc<Upstream>,
        session: &mut ServerSession,
    ) -> Result<Box<Prepared>, Refusal> {
        let snapshot = Arc::clone(&exchange.snapshot);
        let read = body::read(session, &services.capacity, &snapshot.limits).await;
        let Body { bytes, room } = read.map_err(|unread| match unread {
            Unread::Refused(refusal) => refusal,
            Unread::Left(refusal) => {
                exchange.answer.ending = Ending::Left;
                refusal
            }
        })?;
        exchange.answer.bytes_in = bytes.len() as u64;
        let named = stage_header(&session.req_header().headers);
        let (understood, room) = if bytes.len() <= LARGE {
            (understand(endpoint, bytes, named, &self.principal, &snapshot), room)
        } else {
            // The room goes along: were the client to leave, the body would still be held until it has been looked at.
            let (named, principal) = (named.map(|name| name.map(str::to_owned)), Arc::clone(&self.principal));
            let looking = beside::run(move || {
                let named = named.as_ref().map(Option::as_deref).map_err(Clone::clone);
                (understand(endpoint, bytes, named, &principal, &snapshot), room)
            });
            Box::pin(looking).await?
        };
        let (request, choice, body) = understood?;
        let _ = exchange.staged.set(Staged {
            stage: choice.stage,
            source: choice.source,
            model: Arc::clone(&choice.model.alias),
            stream: request.is_stream(),
        });
        let timeouts = choice.timeouts.over(upstream.timeouts);
        Ok(Box::new(Prepared { endpoint, timeouts, upstream, body, request, choice, room }))
    }

    /// Takes a place and one of today's requests, and opens the ledger. After this the request counts.
    pub async fn admit(
        &self,
        services: &Services,
        exchange: &Exchange,
        prepared: &Prepared,
        mut permit: Permit,
    ) -> Result<Admitted, Refusal> {
        if services.drain.was_cut() {
            return Err(Refusal::shutting_down());
        }
        let stream = prepared.request.is_stream();
        let in_flight = services.capacity.enter(stream, &exchange.snapshot.limits)?;
        if stream {
            permit = permit.stream(&self.limits)?;
        }
        if permit.needs_sharing() {
            // Boxed: only where edges share a store, and then for streams alone.
            permit = Box::pin(permit.share(&self.limits)).await?;
        }
        let holds = match prepared.endpoint.is_metered() {
            true => self.take_quota(services, exchange).await?,
            false => Holds::default(),
        };
        failpoint::reached(failpoint::AFTER_GRANT);
        let entry = services.ledger.open(self.opening(exchange, prepared, &holds))?;
        entry.on_disk().await?;
        Ok(Admitted {
            entry,
            holds,
            _permit: permit,
            _in_flight: in_flight,
            _stream: stream.then(|| services.metrics.stream_opened()),
        })
    }

    async fn take_quota(&self, services: &Services, exchange: &Exchange) -> Result<Holds, Refusal> {
        let mut holds = Holds::default();
        for (subject, limit) in self.quotas() {
            let day = exchange.at.day();
            let taken = match self.at_once {
                true => services.quota.increment_at_once(subject, day, limit),
                false => services.quota.check_and_increment(subject, day, limit).await,
            };
            let hold = taken.map_err(|refusal| quota_refusal(exchange, refusal))?;
            match subject {
                Subject::User(_) => holds.user = Some(hold),
                Subject::Key(_) => holds.key = Some(hold),
            }
        }
        if let Some(tightest) = holds.user.iter().chain(&holds.key).min_by_key(|hold| hold.remaining) {
            let Hold { limit, remaining, reset, .. } = *tightest;
            let _ = exchange.quota.set(QuotaView { limit, remaining, reset });
        }
        Ok(holds)
    }

    fn opening(&self, exchange: &Exchange, prepared: &Prepared, holds: &Holds) -> Opening {
        Opening {
            request: exchange.id,
            created_at: exchange.at,
            user: self.principal.user,
            key: self.principal.key,
            lease: holds.user.as_ref().and_then(Hold::lease),
            key_lease: holds.key.as_ref().and_then(Hold::lease),
            session_id: exchange.session_id.get().cloned(),
            stage: prepared.choice.stage,
            source: prepared.choice.source,
            model: Arc::clone(&prepared.choice.model.alias),
            stream: prepared.request.is_stream(),
            body_bytes: exchange.answer.bytes_in,
        }
    }
}

/// Reads the body, which takes as long as it is long, chooses stage and model, and rewrites.
fn understand(
    endpoint: Endpoint,
    body: Bytes,
    named: Result<Option<&str>, Refusal>,
    principal: &Principal,
    snapshot: &Snapshot,
) -> Result<(Request, Choice, Rewritten), Refusal> {
    let request = Request::parse(endpoint, body)?;
    let scope = KeyScope { stages: principal.stages.as_deref(), models: principal.models.as_deref() };
    let choice = llm::choose(&snapshot.models, &request, named?, scope)?;
    let body = rewrite(&request, &choice, &choice.model);
    Ok((request, choice, body))
}

/// The stage that the head names, if it names one; two that differ name none.
fn stage_header(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let mut named = headers.get_all(stamp::CFX_STAGE).iter();
    let Some(first) = named.next() else { return Ok(None) };
    if named.any(|other| other != first) {
        return Err(Refusal::new(Reason::InvalidStage, "X-CFX-Stage is given twice with different values"));
    }
    let text =
        first.to_str().map_err(|_not_text| Refusal::new(Reason::InvalidStage, "X-CFX-Stage is not plain text"))?;
    Ok(Some(text))
}

fn quota_refusal(exchange: &Exchange, refusal: QuotaRefusal) -> Refusal {
    match refusal {
        QuotaRefusal::Exhausted { limit, reset } => {
            let _ = exchange.quota.set(QuotaView { limit, remaining: 0, reset });
            Refusal::new(
                Reason::DailyQuotaExceeded,
                format!("all {limit} requests of this UTC day are used; the quota resets at {}", reset.rfc3339()),
            )
            .retry_after(exchange.at.until(reset))
            .final_word()
        }
        QuotaRefusal::StoreUnavailable => store_unavailable("the quota cannot be checked: the store does not answer"),
    }
}

fn store_unavailable(message: &'static str) -> Refusal {
    Refusal::new(Reason::StoreUnavailable, message).retry_after(Duration::from_secs(5))
}

impl From<KeyRefusal> for Refusal {
    fn from(refusal: KeyRefusal) -> Self {
        match refusal {
            KeyRefusal::Missing => credential::missing(),
            KeyRefusal::Invalid => Refusal::new(Reason::InvalidApiKey, "the API key is not valid"),
            KeyRefusal::Expired => Refusal::new(Reason::ExpiredApiKey, "the API key has expired").final_word(),
            KeyRefusal::TooManyFailed { wait } => Refusal::new(
                Reason::TooManyFailedKeys,
                "too many API keys from this address were not valid, and this one is not known yet",
            )
            .retry_after(wait),
            KeyRefusal::StoreUnavailable => {
                store_unavailable("the API key cannot be checked: the store does not answer")
            }
        }
    }
}

impl From<ConcurrencyRefusal> for Refusal {
    fn from(refusal: ConcurrencyRefusal) -> Self {
        let message = match refusal {
            ConcurrencyRefusal::Streams { limit } => format!("{limit} streams of this user are open, the most allowed"),
            ConcurrencyRefusal::Requests { limit } => {
                format!("{limit} requests of this user are under way, the most allowed")
            }
        };
        Refusal::new(Reason::TooManyConcurrentRequests, message).retry_after(Duration::from_secs(1))
    }
}

impl From<Overloaded> for Refusal {
    fn from(Overloaded { wait, .. }: Overloaded) -> Self {
        Refusal::new(Reason::Overloaded, "this gateway is at its limit").retry_after(wait)
    }
}

impl From<SpoolFull> for Refusal {
    fn from(_: SpoolFull) -> Self {
        store_unavailable("this gateway cannot write down requests at the moment")
    }
}

impl From<StageProblem> for Refusal {
    fn from(problem: StageProblem) -> Self {
        let reason = match problem {
            StageProblem::UnknownStage(_) => Reason::InvalidStage,
            StageProblem::DirectOff => Reason::DirectModeDisabled,
            StageProblem::ModelMissing => Reason::MissingField,
            StageProblem::ThinkingTooLong { .. } => Reason::InvalidField,
            StageProblem::ModelNotAllowed(_) => Reason::ModelNotAllowed,
            StageProblem::StageNotPermitted(_) | StageProblem::ModelNotPermitted(_) => Reason::NotPermitted,
            StageProblem::Off(_) => Reason::NotFound,
        };
        let refusal = Refusal::new(reason, problem.to_string()).final_word();
        match problem.param() {
            Some(param) => refusal.at(param),
            None => refusal,
        }
    }
}

impl From<BodyProblem> for Refusal {
    fn from(problem: BodyProblem) -> Self {
        let reason = match problem {
            BodyProblem::Json { .. } | BodyProblem::NotAnObject => Reason::InvalidJson,
            BodyProblem::Missing(_) => Reason::MissingField,
            BodyProblem::Wrong { .. } | BodyProblem::Twice(_) | BodyProblem::Control(_) | BodyProblem::NotOwned(_) => {
                Reason::InvalidField
            }
        };
        let refusal = Refusal::new(reason, problem.to_string()).final_word();
        match problem.param() {
            Some(param) => refusal.at(param.to_owned()),
            None => refusal,
        }
    }
}
