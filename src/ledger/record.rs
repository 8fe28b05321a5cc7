//! What is written down about a request: opened when it is admitted, closed when it ends, whatever way it ends.
//!
//! Prompts and answers never come here; `error` holds a code or a short text of ours.

use std::sync::Arc;
use std::time::Duration;

use crate::failpoint;
use crate::ledger::Ledger;
use crate::ledger::spool::{SpoolFull, Ticket};
use crate::units::{KeyId, LeaseId, NanoUsd, RequestId, Stage, StageSource, Timestamp, Usage, UserId};

/// What is known of a request once it is admitted.
#[derive(Debug, Clone, PartialEq)]
pub struct Opening {
    pub request: RequestId,
    pub created_at: Timestamp,
    pub user: UserId,
    pub key: KeyId,
    /// The lease of the user's quota that it is counted on. None where the endpoint is free of quota, or where it was
    /// counted without the store.
    pub lease: Option<LeaseId>,
    /// The same of the key's own quota, where the key has one.
    pub key_lease: Option<LeaseId>,
    /// `X-CFX-Session-Id`, as the client sent it.
    pub session_id: Option<String>,
    pub stage: Stage,
    pub source: StageSource,
    /// The alias it was admitted for.
    pub model: Arc<str>,
    pub stream: bool,
    pub body_bytes: u64,
}

/// Leases by which a request is counted: of its user's quota, and of its key's own.
pub(super) type Leases = [Option<LeaseId>; 2];

/// How it ended.
#[derive(Debug, Clone)]
pub struct Closing {
    pub status: Status,
    /// As sent to the client; 499 where the client left first.
    pub http_status: u16,
    /// None: the upstream reported none and nothing could be estimated.
    pub usage: Option<Usage>,
    /// Whether `usage` is our estimate and not the upstream's word.
    pub estimated: bool,
    pub cost: NanoUsd,
    /// From the request's head to the answer's end.
    pub latency: Duration,
    /// From the request's head to the answer's first token.
    pub first_token: Option<Duration>,
    /// Tries of an upstream; 0 where none was reached.
    pub attempts: u8,
    /// The alias that answered: the stage's own, or its fallback.
    pub model: Arc<str>,
    /// A refusal's code or a short text of ours.
    pub error: Option<String>,
}

/// A request that had a valid key and was turned away.
#[derive(Debug, Clone)]
pub struct Refused {
    pub request: RequestId,
    pub created_at: Timestamp,
    pub user: UserId,
    pub key: KeyId,
    pub session_id: Option<String>,
    /// This and the next three: as far as it was known when the refusal fell.
    pub stage: Option<Stage>,
    pub source: Option<StageSource>,
    pub model: Option<Arc<str>>,
    pub stream: bool,
    /// 0 where the refusal came before the body.
    pub body_bytes: u64,
    /// Never 401: those have no user to be written to.
    pub http_status: u16,
    /// The refusal's code, as in the answer.
    pub reason: &'static str,
    pub latency: Duration,
}

/// The ledger's own closed set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    Success,
    Error,
    RateLimited,
    /// The client left before the end.
    Cancelled,
}

/// One row of `request_logs`.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub request: RequestId,
    pub created_at: Timestamp,
    pub user: UserId,
    pub key: KeyId,
    pub session_id: Option<String>,
    pub stage: Option<Stage>,
    pub source: Option<StageSource>,
    pub model: Option<Arc<str>>,
    pub stream: bool,
    pub body_bytes: u64,
    pub status: Status,
    pub http_status: u16,
    pub usage: Option<Usage>,
    pub estimated: bool,
    pub cost: NanoUsd,
    pub latency: Duration,
    pub first_token: Option<Duration>,
    pub attempts: u8,
    pub error: Option<String>,
}

/// An admitted request that has not ended. Dropped without [`close`](Entry::close), as by a panic, it is written as
/// `error: internal_error`, so that every admitted request has its row.
#[must_use = "an entry that is dropped is closed as an internal error"]
pub struct Entry {
    ledger: Ledger,
    opening: Option<Opening>,
    /// Where it is written down. None: it is not (`on_full: drop`).
    ticket: Option<Ticket>,
}

/// The error of a row whose edge stopped before the request ended.
const STOPPED: &str = "edge stopped";

impl Status {
    pub const ALL: [Status; 4] = [Status::Success, Status::Error, Status::RateLimited, Status::Cancelled];

    pub fn as_str(self) -> &'static str {
        match self {
            Status::Success => "success",
            Status::Error => "error",
            Status::RateLimited => "rate_limited",
            Status::Cancelled => "cancelled",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

impl Entry {
    pub(super) fn new(ledger: Ledger, opening: Opening, ticket: Option<Ticket>) -> Self {
        Self { ledger, opening: Some(opening), ticket }
    }

    /// Waits until the disk has the record, where `fsync: each` asks for that.
    pub async fn on_disk(&self) -> Result<(), SpoolFull> {
        if let Some(ticket) = &self.ticket {
            self.ledger.spool().synced(ticket).await?;
        }
        failpoint::reached(failpoint::AFTER_OPEN);
        Ok(())
    }

    /// Ends the record. Returns at once; the row is written behind.
    pub fn close(mut self, closing: Closing) {
        if let Some(opening) = self.opening.take() {
            self.ledger.push(self.ticket.as_ref(), Row::of(opening, closing));
        }
    }

    /// Ends the record of a request that did not happen, and writes that down before it returns: only then may others
    /// have its places in the quota. Had its process died in between, both would be found opened, and one counted.
    #[must_use = "places whose END is not written stay counted"]
    pub fn give_back(mut self, closing: Closing) -> bool {
        self.opening.take().is_none_or(|opening| self.end_given_back(opening, closing))
    }

    fn end_given_back(&self, opening: Opening, closing: Closing) -> bool {
        let places = [opening.lease, opening.key_lease];
        let row = Row::of(opening, closing);
        if let Some(ticket) = &self.ticket {
            return self.ledger.give_back(ticket, row, &places);
        }
        // What was never opened is not found after a death, whatever becomes of its end.
        self.ledger.push(None, row);
        true
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let Some(opening) = self.opening.take() else { return };
        let latency = opening.created_at.until(self.ledger.now());
        let closing = Closing::without_answer(latency, Arc::clone(&opening.model), "internal_error");
        // Where it is not written, the disk's thread says so and tries again.
        let _ = self.end_given_back(opening, closing);
    }
}

impl Closing {
    /// Of a request that nobody could say the end of.
    fn without_answer(latency: Duration, model: Arc<str>, error: &str) -> Self {
        Self {
            status: Status::Error,
            http_status: 500,
            usage: None,
            estimated: false,
            cost: NanoUsd(0),
            latency,
            first_token: None,
            attempts: 0,
            model,
            error: Some(error.to_owned()),
        }
    }
}

impl Row {
    /// When the request ended.
    pub(super) fn ended(&self) -> Timestamp {
        let latency = i64::try_from(self.latency.as_micros()).unwrap_or(i64::MAX);
        Timestamp(self.created_at.0.saturating_add(latency))
    }

    /// The row of a request that its edge did not live to see the end of. `last`: the last sign of life there was;
    /// how long the request really took is not known. It is counted as what it was to its client, a failure of ours.
    pub(super) fn stopped(opening: Opening, last: Timestamp) -> Self {
        let latency = opening.created_at.until(last);
        let model = Arc::clone(&opening.model);
        Self::of(opening, Closing::without_answer(latency, model, STOPPED))
    }

    pub(super) fn of(opening: Opening, closing: Closing) -> Self {
        Self {
            request: opening.request,
            created_at: opening.created_at,
            user: opening.user,
            key: opening.key,
            session_id: opening.session_id,
            stage: Some(opening.stage),
            source: Some(opening.source),
            model: Some(closing.model),
            stream: opening.stream,
            body_bytes: opening.body_bytes,
            status: closing.status,
            http_status: closing.http_status,
            usage: closing.usage,
            estimated: closing.estimated,
            cost: closing.cost,
            latency: closing.latency,
            first_token: closing.first_token,
            attempts: closing.attempts,
            error: closing.error,
        }
    }

    pub(super) fn refused(refused: Refused) -> Self {
        Self {
            request: refused.request,
            created_at: refused.created_at,
            user: refused.user,
            key: refused.key,
            session_id: refused.session_id,
            stage: refused.stage,
            source: refused.source,
            model: refused.model,
            stream: refused.stream,
            body_bytes: refused.body_bytes,
            status: match refused.http_status {
                429 => Status::RateLimited,
                499 => Status::Cancelled, // it left while its body was read
                _ => Status::Error,
            },
            http_status: refused.http_status,
            usage: None,
            estimated: false,
            cost: NanoUsd(0),
            latency: refused.latency,
            first_token: None,
            attempts: 0,
            error: Some(refused.reason.to_owned()),
        }
    }
}
