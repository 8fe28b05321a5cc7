//! What the ports have, as the wire has it.

use super::me::ends_for_good;
use super::{Control, api, words};
use crate::admission::{KeyRow, KeyState};
use crate::config::Snapshot;
use crate::identity::{Account, Session, SessionToken};
use crate::ledger::{DayUsage, LogRow};
use crate::units::Timestamp;

impl Control {
    pub(super) fn me(&self, account: &Account, session: &Session, token: &SessionToken, has_password: bool) -> api::Me {
        let limits = self.snapshot().limits.of_user(account.email.as_str());
        api::Me {
            id: account.id.0,
            email: account.email.to_string(),
            role: account.role.as_str().to_owned(),
            daily_limit: account.daily_requests.unwrap_or(limits.daily_requests),
            concurrent_streams: limits.concurrent_streams,
            has_password,
            csrf: token.csrf(),
            created_at: session.created_at.rfc3339(),
            expires_at: session.expires_at.rfc3339(),
            ends_at: ends_for_good(session.began_at).rfc3339(),
        }
    }
}

/// Requests a day that hold for this account.
pub(super) fn daily_limit(account: &Account, snapshot: &Snapshot) -> u32 {
    let configured = snapshot.limits.of_user(account.email.as_str()).daily_requests;
    account.daily_requests.unwrap_or(configured)
}

pub(super) fn key(row: KeyRow, now: Timestamp) -> api::Key {
    let time = |time: Option<Timestamp>| time.map(Timestamp::rfc3339);
    api::Key {
        state: key_state(row.state(now)),
        id: row.id.0,
        label: row.label,
        prefix: row.prefix,
        stages: row.stages.map(|stages| stages.iter().map(|stage| stage.as_str().to_owned()).collect()),
        models: row.models,
        daily_requests: row.daily_requests,
        created_at: row.created_at.rfc3339(),
        expires_at: time(row.expires_at),
        retires_at: time(row.retires_at),
        last_used_at: time(row.last_used_at),
    }
}

/// Why a key that was replaced does not hold any more is of no use to who reads this.
fn key_state(state: KeyState) -> api::KeyState {
    match state {
        KeyState::Active => api::KeyState::Active,
        KeyState::Retiring => api::KeyState::Retiring,
        KeyState::Replaced | KeyState::Revoked => api::KeyState::Revoked,
        KeyState::Expired => api::KeyState::Expired,
    }
}

pub(super) fn day(usage: &DayUsage) -> api::DayOfUse {
    api::DayOfUse {
        day: usage.day.iso(),
        requests: usage.requests,
        answered: usage.answered,
        failed: usage.failed,
        input_tokens: usage.input_tokens,
        output_tokens: usage.output_tokens,
        cost_usd: words::dollars(usage.cost),
    }
}

pub(super) fn user(account: &Account) -> api::User {
    api::User {
        id: account.id.0,
        email: account.email.to_string(),
        role: account.role.as_str().to_owned(),
        created_at: account.created_at.rfc3339(),
        disabled_at: account.disabled_at.map(Timestamp::rfc3339),
        daily_requests: account.daily_requests,
    }
}

pub(super) fn log_entry(row: LogRow) -> api::LogEntry {
    api::LogEntry {
        request_id: row.request.0,
        created_at: row.created_at.rfc3339_micros(),
        key_id: row.key.0,
        session_id: row.session_id,
        stage: row.stage.map(|stage| stage.as_str().to_owned()),
        stage_source: row.source.map(|source| source.as_str().to_owned()),
        model: row.model,
        stream: row.stream,
        body_bytes: row.body_bytes,
        status: row.status.as_str().to_owned(),
        http_status: row.http_status,
        input_tokens: row.input_tokens,
        cached_input_tokens: row.cached_input_tokens,
        cache_write_tokens: row.cache_write_tokens,
        output_tokens: row.output_tokens,
        reasoning_tokens: row.reasoning_tokens,
        total_tokens: row.total_tokens,
        estimated: row.estimated,
        cost_usd: words::dollars(row.cost),
        latency_ms: row.latency_ms,
        first_token_ms: row.first_token_ms,
        attempts: row.attempts,
        error: row.error,
    }
}
