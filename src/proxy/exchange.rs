//! What is known of one request, from its head to its log line. One slot a step, each written once.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue};

use super::Services;
use super::admit::Admitted;
use super::refuse::{Reason, Refusal};
use super::route_guard::Passed;
use super::stand_in::StandIn;
use crate::admission::Principal;
use crate::config::{Cors, Edits, Route, RouteGuards, Snapshot};
use crate::entry::guard::Guard;
use crate::llm::{Dialect, Endpoint};
use crate::telemetry::trace_context::{TRACEPARENT, TraceContext};
use crate::units::{RequestId, Stage, StageSource, Timestamp, Usage};
use crate::upstream::{Standing, Trial};

/// Opened before any check, closed by `account` whatever became of the request.
pub struct Exchange {
    pub id: RequestId,
    /// The id as it stands in headers, to the client and to the upstream.
    pub id_text: HeaderValue,
    pub at: Timestamp,
    pub started: Instant,
    /// The configuration this request began with and ends with.
    pub snapshot: Arc<Snapshot>,
    pub client: OnceLock<IpAddr>,
    pub route: OnceLock<Arc<str>>,
    /// The route itself, where there is more about it than where it leads.
    pub matched: OnceLock<Arc<Route>>,
    /// The origin of the page on whose behalf a browser asks, where the route lets it read the answer.
    pub origin: OnceLock<HeaderValue>,
    pub passed: OnceLock<Passed>,
    /// What answers in the place of an application whose answer was empty.
    pub stand_in: OnceLock<StandIn>,
    pub endpoint: OnceLock<Endpoint>,
    pub session_id: OnceLock<String>,
    pub principal: OnceLock<Arc<Principal>>,
    pub quota: OnceLock<QuotaView>,
    pub staged: OnceLock<Staged>,
    pub admitted: OnceLock<Admitted>,
    /// What has been observed of the answer so far.
    pub answer: Observed,
}

/// What the quota headers say.
#[derive(Debug, Clone, Copy)]
pub struct QuotaView {
    pub limit: u32,
    pub remaining: u32,
    pub reset: Timestamp,
}

/// What the stage headers and the ledger say.
#[derive(Debug, Clone)]
pub struct Staged {
    pub stage: Stage,
    pub source: StageSource,
    pub model: Arc<str>,
    pub stream: bool,
}

/// Facts gathered while answering, for the ledger, the metrics and the access log.
#[derive(Debug, Default)]
pub struct Observed {
    pub status: u16,
    pub refusal: Option<Reason>,
    /// The guard that refused it, where one did.
    pub guard: Option<Guard>,
    /// The model that answered, where it is not the stage's own.
    pub fallback_model: Option<Arc<str>>,
    pub attempts: u8,
    /// Whether a request reached the upstream: only then is quota spent.
    pub reached_upstream: bool,
    /// Where it is unanswered still at the end, it was paid for in vain.
    pub standing: Standing,
    /// Leave to ask the model that is answering, until it is known whether it did well.
    pub trial: Option<Trial>,
    /// Bytes of text in the body that was sent last, the stage's prompt included: what an estimate goes by.
    pub text_sent: usize,
    /// Until the answer's head arrived, all attempts together.
    pub upstream_wait: Duration,
    /// When the wait began that has not ended.
    pub waiting_since: Option<Instant>,
    /// Our own share of the time until the answer's head was ready to be sent.
    pub overhead: Option<Duration>,
    /// From the request's start to the first byte of the answer's body.
    pub first_token: Option<Duration>,
    pub usage: Option<Usage>,
    pub estimated: bool,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub ending: Ending,
    /// From the request's start to its answer's end, where that came before the accounting.
    pub latency: Option<Duration>,
}

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ending {
    /// Sent to its end, whatever it says.
    #[default]
    Whole,
    /// Sent to its end, with an error object inside a 200.
    ErrorInside,
    /// The head was sent before the upstream's, and what would have been a refusal came behind it.
    Told,
    /// It ended before its own end.
    Broken(Reason),
    /// The client left.
    Left,
}

impl Exchange {
    /// Of a request that is being read.
    pub fn begin(services: &Services) -> Self {
        let now = services.clock.now();
        Self::open(RequestId::new(now), now, services.snapshot.load_full())
    }

    pub fn open(id: RequestId, at: Timestamp, snapshot: Arc<Snapshot>) -> Self {
        let mut text = uuid::Uuid::encode_buffer();
        let text = id.0.as_hyphenated().encode_lower(&mut text);
        Self {
            id,
            id_text: HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("")),
            at,
            started: Instant::now(),
            snapshot,
            client: OnceLock::new(),
            route: OnceLock::new(),
            matched: OnceLock::new(),
            origin: OnceLock::new(),
            passed: OnceLock::new(),
            stand_in: OnceLock::new(),
            endpoint: OnceLock::new(),
            session_id: OnceLock::new(),
            principal: OnceLock::new(),
            quota: OnceLock::new(),
            staged: OnceLock::new(),
            admitted: OnceLock::new(),
            answer: Observed::default(),
        }
    }

    /// The dialect of the client, once the path has told it.
    pub fn dialect(&self) -> Option<Dialect> {
        self.endpoint.get().map(|endpoint| endpoint.dialect())
    }

    /// What the route changes, if it changes anything.
    pub fn edits(&self) -> Option<&Edits> {
        self.matched.get()?.edits.as_deref()
    }

    pub fn guards(&self) -> Option<&RouteGuards> {
        self.matched.get()?.guards.as_deref()
    }

    pub fn cors(&self) -> Option<&Cors> {
        self.guards()?.cors.as_ref()
    }

    /// The alias that answered or will.
    pub fn model(&self) -> Option<&Arc<str>> {
        self.answer.fallback_model.as_ref().or_else(|| self.staged.get().map(|staged| &staged.model))
    }

    /// Its place in the trace that its client's headers name, if they do.
    pub fn trace(&self, headers: &HeaderMap) -> TraceContext {
        let sample = self.snapshot.edge.telemetry.traces.as_ref().map(|traces| traces.sample);
        let header = headers.get(TRACEPARENT).and_then(|value| value.to_str().ok());
        TraceContext::of(header, self.id, sample)
    }

    /// Marks the moment the answer's head is ready: what was not the wait for the upstream until here was ours.
    pub fn head_is_ready(&mut self) -> Duration {
        self.answer.wait_is_over();
        let overhead = self.started.elapsed().saturating_sub(self.answer.upstream_wait);
        *self.answer.overhead.get_or_insert(overhead)
    }

    /// Marks the end of the answer: what is still done for the connection is no part of the request.
    pub fn answer_is_over(&mut self) {
        self.answer.latency.get_or_insert(self.started.elapsed());
    }

    /// From the request's start to the end of its answer.
    pub fn latency(&self) -> Duration {
        self.answer.latency.unwrap_or_else(|| self.started.elapsed())
    }
}

impl Observed {
    /// Notes what is about to be told to the client.
    pub fn refused(&mut self, refusal: &Refusal) {
        (self.refusal, self.guard) = (Some(refusal.reason), refusal.guard);
    }

    /// Ends the wait for the upstream, however it ended: an attempt that was given up waited all the same.
    pub fn wait_is_over(&mut self) {
        if let Some(since) = self.waiting_since.take() {
            self.upstream_wait += since.elapsed();
        }
    }
}
