//! Requests as they end, as server-sent events.
//!
//! The newest rows are looked at each second, and those that were not there before are sent. A row is written when its
//! request ends and stands where the request began, so that a new one may stand among older ones: what was sent is
//! known by its id and not by its place.

use std::collections::{HashSet, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive};
use axum::response::{IntoResponse, Response, Sse};
use futures_util::StreamExt;
use futures_util::stream;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::super::caller::Caller;
use super::super::params::Params;
use super::super::places::Place;
use super::super::refusal::{Code, Refusal};
use super::super::{Shared, api, describe};
use super::{Wanted, cursor_text, parse_cursor};
use crate::ledger::{Filter, LogRow, Reports, took_too_long};
use crate::units::{RequestId, StoreError, Timestamp};

pub(in crate::control) const TAILS_PER_USER: usize = 3;
pub(in crate::control) const TAILS: usize = 200;

const EVERY: Duration = Duration::from_secs(1);
/// Rows that are looked at. Of more that end within a second the rest is on the pages.
const NEWEST: u32 = 200;
/// How far before its beginning a tail looks, whatever is asked for: longer than a request takes that is news still. What
/// is older is on the pages, and would be looked through again each second.
const LOOKS_BACK: Duration = Duration::from_secs(35 * 60);
/// Looks in a row that took too long before the tail gives up.
const PATIENCE: u32 = 3;
/// Looks between two questions whether the session still holds.
const LOOKS_PER_SESSION: u32 = 5;
/// Proxies give up on what is silent for longer than a minute or two.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Where a client that has lost its connection was: the event's `id`.
const LAST_EVENT_ID: &str = "last-event-id";

struct Tail {
    control: Shared,
    caller: Caller,
    reports: Box<dyn Reports>,
    filter: Filter,
    ticks: Interval,
    looks: u32,
    /// Those of the newest rows that need not be sent any more. None before the first look.
    seen: Option<HashSet<RequestId>>,
    /// When they were looked at.
    looked_at: Timestamp,
    resumed: Resumed,
    /// Between these some may have ended that are not sent: said before the next row.
    gap: Option<api::Gap>,
    ready: VecDeque<LogRow>,
    /// Looks that took too long since the last one that was answered.
    too_long: u32,
    is_over: bool,
    _place: Place,
}

/// Which of the rows that are there at the beginning are news.
enum Resumed {
    /// None: what is there is on the page already.
    Now,
    /// All: the filter says from when on.
    FromTheFirst,
    /// What ended since then, but this one.
    Behind { ended: Timestamp, request: RequestId },
}

/// Your requests as they end
///
/// Events of the type `log`, each with one request as JSON and an `id` to go on from (`Last-Event-ID`). Without `from` only
/// what ends from now on is sent; with it, the newest 200 since then come first, of those of the last 35 minutes. Comments keep
/// the connection open. Where some that ended, or were asked for, are not sent, because they began more than 35 minutes ago or
/// were more than 200 at once, an event of the type `gap` says between when: `GET /api/logs` has them. Where there is too much to
/// look through, an event of the type `problem` says so, and is the last one.
#[utoipa::path(
    get, path = "/api/logs/tail", tag = "logs",
    params(Wanted, ("Last-Event-ID" = Option<String>, Header, description = "The `id` of the last event that came")),
    responses(
        (status = 200, description = "A stream without an end", body = api::LogEntry, content_type = "text/event-stream"),
        (status = 429, description = "There are as many tails as may be open"),
    )
)]
pub(in crate::control) async fn tail(
    State(control): State<Shared>,
    caller: Caller,
    Params(wanted, _): Params<Wanted>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let mut filter = wanted.filter()?;
    let Some(place) = control.tails.take(caller.account.id) else {
        let message = format!("{TAILS_PER_USER} live tails may be open at once, and {TAILS} of all users");
        return Err(Refusal::new(Code::TooManyStreams, message).retry_after(Duration::from_secs(10)));
    };
    let reports = control.ports.reports.of(caller.account.id);
    let resumed = resumed(&*reports, &filter, &headers).await?;
    let from = looked_through_from(filter.since, caller.now);
    let looked_at = resumed.since(&filter).unwrap_or(caller.now);
    let gap = resumed.since(&filter).filter(|since| *since < from).map(|since| gap(since, from));
    filter.since = Some(from);
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Who loses the connection before anything has ended comes back with this.
    let begun = matches!(resumed, Resumed::Now).then(|| begun(caller.now));
    let edge = Arc::clone(&control.ports.edge);
    let tail = Tail {
        control,
        caller,
        reports,
        filter,
        ticks,
        looks: 0,
        seen: None,
        looked_at,
        resumed,
        gap,
        ready: VecDeque::new(),
        too_long: 0,
        is_over: false,
        _place: place,
    };
    let events = stream::unfold(tail, |mut tail| async move {
        let event = tail.next().await?;
        Some((Ok::<_, Infallible>(event), tail))
    });
    let events = stream::iter(begun.map(Ok)).chain(events).take_until(async move { edge.draining().await });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

async fn resumed(reports: &dyn Reports, filter: &Filter, headers: &HeaderMap) -> Result<Resumed, Refusal> {
    let last = headers.get(LAST_EVENT_ID).and_then(|id| parse_cursor(id.to_str().ok()?));
    if let Some(last) = last {
        // Where its row is gone the instant at which it began is still known.
        let row = reports.row(last.request).await?;
        let ended = row.map_or(last.created_at, |row| ended(&row));
        return Ok(Resumed::Behind { ended, request: last.request });
    }
    Ok(if filter.since.is_some() { Resumed::FromTheFirst } else { Resumed::Now })
}

impl Resumed {
    /// From when on all is to be sent. None: from now on.
    fn since(&self, filter: &Filter) -> Option<Timestamp> {
        match self {
            Resumed::Now => None,
            Resumed::FromTheFirst => filter.since,
            Resumed::Behind { ended, .. } => Some(*ended),
        }
    }
}

impl Tail {
    /// None where the session is over, or what is asked for is too much.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(gap) = self.gap.take() {
                return Event::default().event("gap").json_data(gap).ok();
            }
            if let Some(row) = self.ready.pop_front() {
                return event(row);
            }
            if self.is_over {
                return None;
            }
            self.ticks.tick().await;
            // A store that is away for a moment ends nothing: what it would have told is told later.
            if self.session_is_over().await.unwrap_or(false) {
                return None;
            }
            match self.look().await {
                Ok(()) => self.too_long = 0,
                Err(error) if took_too_long(&error) => {
                    self.too_long += 1;
                    self.is_over = self.too_long >= PATIENCE;
                    if self.is_over {
                        return problem(&Refusal::question_too_large());
                    }
                }
                Err(error) => tracing::debug!("a live tail waits for the store: {error}"),
            }
        }
    }

    async fn session_is_over(&mut self) -> Result<bool, StoreError> {
        let now = self.control.ports.clock.now();
        if now >= self.caller.session.expires_at {
            return Ok(true);
        }
        self.looks += 1;
        if !self.looks.is_multiple_of(LOOKS_PER_SESSION) {
            return Ok(false);
        }
        let signed = self.control.ports.sessions.signed(self.caller.token.hash(), now).await?;
        Ok(signed.is_none())
    }

    async fn look(&mut self) -> Result<(), StoreError> {
        let rows = self.reports.rows(&self.filter, None, NEWEST).await?;
        // A row that has left the newest ones does not come back.
        let there = rows.iter().map(|row| row.request).collect();
        let seen = self.seen.replace(there);
        let is_news = |row: &LogRow| match &seen {
            Some(seen) => !seen.contains(&row.request),
            None => match self.resumed {
                Resumed::Now => false,
                Resumed::FromTheFirst => true,
                Resumed::Behind { ended: last, request } => ended(row) >= last && row.request != request,
            },
        };
        let now = self.control.ports.clock.now();
        let before = std::mem::replace(&mut self.looked_at, now);
        if rows.len() >= NEWEST as usize && rows.iter().all(is_news) {
            self.gap.get_or_insert(gap(before, now));
        }
        self.ready.extend(rows.into_iter().rev().filter(is_news));
        Ok(())
    }
}

/// The place of a tail that has sent nothing yet: an event without data, which a client takes for no event.
fn begun(now: Timestamp) -> Event {
    Event::default().id(cursor_text(now, RequestId(uuid::Uuid::nil())))
}

fn gap(from: Timestamp, until: Timestamp) -> api::Gap {
    api::Gap { from: from.rfc3339_micros(), until: until.rfc3339_micros() }
}

fn event(row: LogRow) -> Option<Event> {
    let id = cursor_text(row.created_at, row.request);
    Event::default().event("log").id(id).json_data(describe::log_entry(row)).ok()
}

fn problem(refusal: &Refusal) -> Option<Event> {
    Event::default().event("problem").json_data(refusal.body(None)).ok()
}

fn looked_through_from(wanted: Option<Timestamp>, now: Timestamp) -> Timestamp {
    let earliest = now.0.saturating_sub(i64::try_from(LOOKS_BACK.as_micros()).unwrap_or(i64::MAX));
    wanted.map_or(Timestamp(earliest), |wanted| Timestamp(wanted.0.max(earliest)))
}

fn ended(row: &LogRow) -> Timestamp {
    let latency = i64::try_from(row.latency_ms).unwrap_or(i64::MAX).saturating_mul(1000);
    Timestamp(row.created_at.0.saturating_add(latency))
}
