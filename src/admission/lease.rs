//! One subject's day on this edge: what the store has set aside, what was taken of it, and what came back.
//!
//! Pure bookkeeping under one lock; the store is spoken to by [`RateLimiter`](super::RateLimiter), one call at a time
//! for each slot (`busy`), so that an answer always meets the state it was asked for.
//!
//! ```text
//! store ──grant──▶ leases ──take──▶ Hold ──spend──▶ (counted)
//!                    │  ▲                  └─drop──▶ given back ──take──▶ Hold …
//!                    │  └ low: asked for ahead           └─ idle a second ──release──▶ store
//!                    └─ used up, idle a minute, recalled, midnight ──settle──▶ store
//! ```
//!
//! A request given back goes to `given_back`, or to `credit`, whatever became of its lease: the store counts it as used,
//! so this edge may hand it out again without a word, and says so only when nobody wants it. Of an open lease so many
//! were recorded as were taken, less those given back and not taken again: by that a death is accounted for.

use std::collections::VecDeque;

use uuid::Uuid;

use crate::admission::denial::Denial;
use crate::admission::memory::Memory;
use crate::admission::pace::Pace;
use crate::admission::quota_store::{Ask, Grant, Posting, PostingId, Settlement, Subject};
use crate::units::{Day, EdgeId, LeaseId};

/// Turns without a request after which what was given back goes to the store: at four turns a second, one second.
const IDLE: u32 = 4;
/// The same for all else, and for what is remembered where nothing is held: a minute, for which a key is believed too.
/// An agent works for some seconds between two requests, and its next is not to wait for the store.
const KEPT: u32 = 240;

#[derive(Debug)]
pub(super) struct State {
    subject: Subject,
    day: Day,
    /// Open leases with something left, oldest first.
    leases: VecDeque<Lease>,
    /// Ended leases that the store has not acknowledged.
    ended: Vec<Settlement>,
    /// Given back by requests, each under the lease that it was set aside with: whoever takes one is recorded under it.
    /// Counted as used by the store, or about to be.
    given_back: Vec<LeaseId>,
    /// The same of those that were posted.
    credit: u32,
    /// Credit on its way back to the store.
    releasing: Option<Posting>,
    /// Admitted without the store, and not on their way to it yet.
    local: u32,
    /// Locally admitted ones on their way to the store.
    posting: Option<Posting>,
    /// The store's `request_count + leased` by its last grant, and what was said to it since.
    counted: u32,
    /// Whether there was a grant; without one, `counted` is only what this edge posted.
    heard: bool,
    /// What is known of the day where there was none.
    pub(super) memory: Memory,
    pace: Pace,
    /// The limit that the last lease was asked for under.
    asked_under: u32,
    /// What the store had nothing left for.
    pub(super) denial: Denial,
    /// Other edges were asked for what they hold unused, and their answer is awaited.
    pub(super) recalling: bool,
    /// Another edge has asked for what is unused here, and will get it as soon as no call is under way.
    pub(super) recalled: bool,
    /// The id of the next lease; kept when an answer is lost, so that asking again finds the same lease.
    next: LeaseId,
    in_doubt: bool,
    /// A call to the store is under way for this slot.
    pub(super) busy: bool,
    /// Requests have waited for that call in vain: no other waits for it.
    pub(super) overdue: bool,
    /// The store's last answer came when requests had stopped waiting for it: the next is not waited for anew.
    pub(super) late: bool,
    touched: bool,
    idle: u32,
}

#[derive(Debug)]
struct Lease {
    id: LeaseId,
    granted: u32,
    available: u32,
    reported: u32,
}

/// What came of trying to take one request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Yes {
        /// Where it was set aside; None for credit.
        lease: Option<LeaseId>,
        remaining: u32,
        then: Then,
    },
    /// The limit is reached, as far as this edge knows.
    Exhausted,
    /// Nothing at hand; the store must be asked.
    Empty,
}

/// What to tell the store behind a taken request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Then {
    Nothing,
    /// Little is left: ask for the next lease now, so that the next requests need not wait.
    Refill,
    /// The last request of the day is out: say so at once.
    Settle,
}

/// What a slot needs from the store at a turn of the background task.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Nothing,
    /// These alone; may be sent together with other slots'.
    Settle(Vec<Settlement>),
    /// A release or a post, by itself.
    Own,
    /// It holds nothing and knows nothing worth keeping.
    Forget,
}

impl State {
    pub(super) fn new(subject: Subject, day: Day) -> Self {
        Self {
            subject,
            day,
            leases: VecDeque::new(),
            ended: Vec::new(),
            given_back: Vec::new(),
            credit: 0,
            releasing: None,
            local: 0,
            posting: None,
            counted: 0,
            heard: false,
            memory: Memory::default(),
            pace: Pace::default(),
            asked_under: 0,
            denial: Denial::default(),
            recalling: false,
            recalled: false,
            next: fresh_lease(),
            in_doubt: false,
            busy: false,
            overdue: false,
            late: false,
            touched: true,
            idle: 0,
        }
    }

    /// `ahead`: whether the next lease may be asked for before this one is used up.
    pub(super) fn take(&mut self, limit: u32, ahead: bool) -> Taken {
        if limit < self.asked_under && !self.busy {
            // What others have used since these leases were granted is not known here: they may lie beyond the new limit.
            self.asked_under = limit;
            self.put_down();
        }
        let free = if limit < self.asked_under { 0 } else { self.free() };
        if free == 0 {
            return if self.denial.is_exhausted(limit) { Taken::Exhausted } else { Taken::Empty };
        }
        // What was set aside may lie beyond a limit lowered since, or beyond what was admitted locally meanwhile.
        if self.in_use() >= limit {
            return Taken::Exhausted;
        }
        self.touched = true;
        let lease = self.take_one();
        let low = free - 1 <= self.pace.granted / 4;
        let then = match (self.busy, self.denial.is_exhausted(limit)) {
            (false, false) if ahead && low && !self.denial.is_elsewhere(limit) => Then::Refill,
            (false, true) if free == 1 => Then::Settle,
            _ => Then::Nothing,
        };
        Taken::Yes { lease, remaining: limit.saturating_sub(self.in_use()), then }
    }

    /// One of what is free: credit first, because the store counts it as used already.
    fn take_one(&mut self) -> Option<LeaseId> {
        if let Some(lease) = self.given_back.pop() {
            return Some(lease);
        }
        if self.credit > 0 {
            self.credit -= 1;
            return None;
        }
        let lease = self.leases.front_mut()?;
        lease.available -= 1;
        let id = lease.id;
        if lease.available == 0 {
            self.leases.pop_front().into_iter().for_each(|lease| self.end(&lease));
        }
        Some(id)
    }

    /// Takes one without the store: bounded by the last known remainder or, where no grant was heard of, by this edge's
    /// share of what is remembered of it, or of the limit. Gives what is left, or None where that bound is reached.
    pub(super) fn take_local(&mut self, limit: u32, live_edges: u32) -> Option<u32> {
        let bound = if self.heard { limit } else { self.memory.share(limit, live_edges) };
        let left = bound.saturating_sub(self.in_use()).checked_sub(1)?;
        self.touched = true;
        self.local += 1;
        Some(left)
    }

    /// `lease`: where it was set aside.
    pub(super) fn give_back(&mut self, lease: Option<LeaseId>) {
        self.touched = true;
        match lease {
            Some(lease) => self.given_back.push(lease),
            None if self.local > 0 => self.local -= 1,
            None => self.credit += 1,
        }
    }

    /// Given back, and counted by the store as used.
    pub(super) fn given_back(&self) -> u32 {
        self.credit.saturating_add(u32::try_from(self.given_back.len()).unwrap_or(u32::MAX))
    }

    /// Requests this edge may admit without asking.
    pub(super) fn free(&self) -> u32 {
        self.given_back() + self.leases.iter().map(|lease| lease.available).sum::<u32>()
    }

    /// Requests admitted today, as best this edge knows; other edges' leases count as used.
    pub(super) fn in_use(&self) -> u32 {
        let pending = |posting: Option<Posting>| posting.map_or(0, |posting| posting.count);
        let counted = self.counted + self.local + pending(self.posting);
        counted.saturating_sub(self.free() + pending(self.releasing))
    }

    pub(super) fn knows_count(&self) -> bool {
        self.heard
    }

    /// The post and the release that must reach the store before anything else, in this order.
    pub(super) fn postings(&mut self) -> (Option<Posting>, Option<Posting>) {
        if self.posting.is_none() && self.local > 0 {
            // They were admitted in place of a lease whose answer was lost: both would be too many.
            self.abandon_lost();
            self.posting = Some(self.posting_of(self.local));
            self.local = 0;
        }
        (self.posting, self.releasing)
    }

    pub(super) fn posted(&mut self) {
        if let Some(posting) = self.posting.take() {
            self.counted += posting.count;
        }
    }

    pub(super) fn released(&mut self) {
        if let Some(posting) = self.releasing.take() {
            self.counted = self.counted.saturating_sub(posting.count);
        }
    }

    /// `room`: what may be set aside beside what is in hand.
    pub(super) fn ask(&mut self, edge: EdgeId, limit: u32, room: u32) -> Ask {
        self.in_doubt = true;
        let (settled, most) = (self.settlements(), room.min(self.pace.wanted()));
        Ask { edge, lease: self.next, subject: self.subject, day: self.day, limit, most, settled }
    }

    pub(super) fn granted(&mut self, ask: &Ask, grant: Grant) {
        self.settled(&ask.settled);
        self.in_doubt = false;
        self.counted = grant.counted;
        self.heard = true;
        if grant.granted == 0 {
            return;
        }
        self.denial.forget();
        self.pace.note(grant.granted);
        self.asked_under = ask.limit;
        let id = std::mem::replace(&mut self.next, fresh_lease());
        self.leases.push_back(Lease { id, granted: grant.granted, available: grant.granted, reported: 0 });
    }

    /// Everything the store does not know yet about this slot's leases. Of an open one not what lies given back: it would
    /// stay counted if this process died now.
    pub(super) fn settlements(&self) -> Vec<Settlement> {
        let used = self.leases.iter().map(|lease| (lease, lease.used().saturating_sub(self.given_back_of(lease))));
        let open = used.filter(|(lease, used)| *used > lease.reported);
        let open = open.map(|(lease, used)| self.settlement(lease.id, used, false));
        self.ended.iter().copied().chain(open).collect()
    }

    fn given_back_of(&self, lease: &Lease) -> u32 {
        let places = self.given_back.iter().filter(|place| **place == lease.id).count();
        u32::try_from(places).unwrap_or(u32::MAX)
    }

    /// The store has acknowledged these.
    pub(super) fn settled(&mut self, acknowledged: &[Settlement]) {
        self.ended.retain(|ended| !acknowledged.contains(ended));
        for lease in &mut self.leases {
            let reported = acknowledged.iter().find(|settlement| settlement.lease == lease.id);
            lease.reported = reported.map_or(lease.reported, |settlement| settlement.used);
        }
    }

    /// Called four times a second; `close` at shutdown, `reports` where leases in use are reported. Marks the slot busy
    /// when it asks for a call to the store. An edge that does not hear the others keeps nothing in hand, and believes a
    /// denial for a second only.
    pub(super) fn turn(&mut self, today: Day, close: bool, hears: bool, reports: bool) -> Turn {
        self.memory.turn();
        self.pace.turn();
        if self.busy {
            return Turn::Nothing;
        }
        self.idle = if std::mem::take(&mut self.touched) { 0 } else { self.idle.saturating_add(1) };
        self.denial.turn(hears);
        let over = close || self.day < today;
        // A lease ends with what is released of it: of an open one, the store would take the next request for the one
        // released, should this process die before it has reported that.
        let unwanted = self.idle >= KEPT || (self.idle >= IDLE && self.given_back() > 0);
        if over || !hears || unwanted {
            self.put_down();
        }
        if self.local > 0 || self.posting.is_some() || self.releasing.is_some() {
            self.busy = true;
            return Turn::Own;
        }
        let settlements = self.settlements();
        if !settlements.is_empty() && (reports || !self.ended.is_empty()) {
            self.busy = true;
            return Turn::Settle(settlements);
        }
        let empty = settlements.is_empty() && self.free() == 0;
        let known = self.denial.is_kept() || self.idle < KEPT;
        if empty && (over || !known) { Turn::Forget } else { Turn::Nothing }
    }

    /// Another edge has run dry: whatever is left here goes back. True where the store must hear of it, and then the
    /// slot is marked busy.
    pub(super) fn give_up(&mut self) -> bool {
        self.recalled = false;
        self.put_down();
        self.busy = self.releasing.is_some() || !self.settlements().is_empty();
        self.busy
    }

    /// Ends every lease and sends all credit on its way back. Where that frees anything, the store has some again by
    /// the time it is next asked, so that an exhaustion remembered is no longer true.
    fn put_down(&mut self) {
        if self.free() > 0 || self.in_doubt {
            self.denial.forget();
        }
        for lease in std::mem::take(&mut self.leases) {
            self.end(&lease);
            self.counted = self.counted.saturating_sub(lease.available);
        }
        self.abandon_lost();
        if self.releasing.is_none() && self.given_back() > 0 {
            self.releasing = Some(self.posting_of(self.given_back()));
            self.credit = 0;
            self.given_back.clear();
        }
    }

    /// Ends the lease whose grant was not answered: it may stand in the store.
    fn abandon_lost(&mut self) {
        if std::mem::take(&mut self.in_doubt) {
            let lost = std::mem::replace(&mut self.next, fresh_lease());
            self.ended.push(self.settlement(lost, 0, true));
        }
    }

    fn end(&mut self, lease: &Lease) {
        self.ended.push(self.settlement(lease.id, lease.used(), true));
    }

    fn settlement(&self, lease: LeaseId, used: u32, closes: bool) -> Settlement {
        Settlement { lease, subject: self.subject, day: self.day, used, closes }
    }

    fn posting_of(&self, count: u32) -> Posting {
        Posting { id: PostingId::fresh(), subject: self.subject, day: self.day, count }
    }
}

fn fresh_lease() -> LeaseId {
    LeaseId(Uuid::new_v4())
}

impl Lease {
    fn used(&self) -> u32 {
        self.granted - self.available
    }
}

#[cfg(test)]
#[path = "lease_probe.rs"]
mod probe;
