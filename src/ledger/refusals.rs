//! Refused requests: the first few of a user's minute become rows, the rest one row together.
//!
//! A client that hammers against its quota would otherwise write more rows than all who work. What is kept is bounded
//! by the users with valid keys refused within one minute.

use std::collections::HashMap;
use std::time::Duration;

use crate::ledger::record::{Refused, Row};
use crate::units::{RequestId, Timestamp, UserId};

/// Rows of a user's minute that stand for one refusal each.
const EACH: u32 = 10;
const MINUTE: i64 = 60 * 1_000_000;

/// The refusals of the current minute, by user.
#[derive(Debug, Default)]
pub(super) struct Refusals(HashMap<UserId, Tally>);

#[derive(Debug)]
struct Tally {
    /// Minutes since the Unix epoch.
    minute: i64,
    written: u32,
    rest: Option<Rest>,
}

/// Those beyond the first few.
#[derive(Debug)]
struct Rest {
    last: Refused,
    /// In order of first appearance; a handful of codes at most.
    reasons: Vec<Counted>,
}

#[derive(Debug)]
struct Counted {
    reason: &'static str,
    http_status: u16,
    count: u64,
}

impl Refusals {
    /// Takes one refusal, and gives the rows it makes due: its own, and the sum of a minute that is over.
    pub(super) fn take(&mut self, refused: Refused) -> impl Iterator<Item = Row> + use<> {
        let minute = refused.created_at.0.div_euclid(MINUTE);
        let tally = self.0.entry(refused.user).or_insert(Tally { minute, written: 0, rest: None });
        let mut over = None;
        if tally.minute < minute {
            over = tally.rest.take().map(Rest::into_row);
            *tally = Tally { minute, written: 0, rest: None };
        }
        let mut own = None;
        if tally.written < EACH {
            tally.written += 1;
            own = Some(Row::refused(refused));
        } else {
            tally.add(refused);
        }
        over.into_iter().chain(own)
    }

    /// The sums of all minutes that are over at `now`, and forgets them.
    pub(super) fn sweep(&mut self, now: Timestamp) -> Vec<Row> {
        let minute = now.0.div_euclid(MINUTE);
        self.drain(|tally| tally.minute < minute)
    }

    /// All sums, of the current minute too: for shutdown.
    pub(super) fn take_all(&mut self) -> Vec<Row> {
        self.drain(|_| true)
    }

    fn drain(&mut self, over: impl Fn(&Tally) -> bool) -> Vec<Row> {
        let tallies = self.0.extract_if(|_, tally| over(tally));
        tallies.filter_map(|(_, tally)| tally.rest.map(Rest::into_row)).collect()
    }
}

impl Tally {
    fn add(&mut self, refused: Refused) {
        let first = Counted { reason: refused.reason, http_status: refused.http_status, count: 1 };
        match &mut self.rest {
            None => self.rest = Some(Rest { last: refused, reasons: vec![first] }),
            Some(rest) => {
                match rest.reasons.iter_mut().find(|known| known.reason == first.reason) {
                    Some(known) => known.count += 1,
                    None => rest.reasons.push(first),
                }
                rest.last = refused;
            }
        }
    }
}

impl Rest {
    /// One row that reads `daily_quota_exceeded ×190`: with the time, stage and model of the last and an id of its own,
    /// and without what is true of single requests only. The most frequent reason comes first and gives the row its
    /// status, because a row has one; of equals, the reason that came first.
    fn into_row(mut self) -> Row {
        self.reasons.sort_by_key(|counted| std::cmp::Reverse(counted.count));
        let http_status = self.reasons.first().map_or(self.last.http_status, |most| most.http_status);
        let counts: Vec<_> =
            self.reasons.iter().map(|Counted { reason, count, .. }| format!("{reason} ×{count}")).collect();
        let request = RequestId::new(self.last.created_at);
        let mut row = Row::refused(Refused {
            request,
            session_id: None,
            source: None,
            stream: false,
            body_bytes: 0,
            latency: Duration::ZERO,
            http_status,
            ..self.last
        });
        row.error = Some(counts.join(", "));
        row
    }
}
