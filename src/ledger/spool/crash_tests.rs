//! Any sequence of requests, batches and deaths: nothing is lost, nothing is made up, leases are counted exactly.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;

use super::testing::{Disk, SMALL, drain, opening, row};
use super::*;
use crate::units::RequestId;

#[derive(Debug, Clone)]
enum Step {
    Open(u8),
    /// Ends one of those under way.
    End(prop::sample::Index),
    /// One of those under way did not happen.
    GiveBack(prop::sample::Index),
    Refused,
    /// A batch goes to the store, and the spool hears of it or not.
    Batch {
        size: usize,
        told: bool,
    },
    Flush,
    /// The process dies and another begins.
    Kill,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..40_u8).prop_map(Step::Open),
        8 => any::<prop::sample::Index>().prop_map(Step::End),
        2 => any::<prop::sample::Index>().prop_map(Step::GiveBack),
        1 => Just(Step::Refused),
        3 => (1..60_usize, prop::bool::weighted(0.8)).prop_map(|(size, told)| Step::Batch { size, told }),
        1 => Just(Step::Flush),
        1 => Just(Step::Kill),
    ]
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    InMemory,
    OnDisk,
    /// The process died before it was sure to be written.
    Uncertain,
}

struct World {
    disk: Disk,
    spool: Spool,
    next: u64,
    under_way: BTreeMap<u64, Ticket>,
    ended: BTreeMap<u64, End>,
    opens: HashMap<LeaseId, u32>,
    /// The first word counts, as in the store.
    store: HashMap<RequestId, Row>,
}

impl World {
    fn new() -> Self {
        let disk = Disk::new();
        let (spool, recovered) = disk.open(settings());
        assert!(recovered[0].leases.is_empty());
        let (under_way, ended, opens, store) = Default::default();
        Self { disk, spool, next: 0, under_way, ended, opens, store }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Open(count) => (0..*count).for_each(|_| self.open()),
            Step::End(which) => {
                for _ in 0..self.under_way.len().min(20) {
                    let n = *which.get(&self.under_way.keys().copied().collect::<Vec<_>>());
                    self.end(n);
                }
            }
            Step::GiveBack(which) if !self.under_way.is_empty() => {
                let n = *which.get(&self.under_way.keys().copied().collect::<Vec<_>>());
                let ticket = self.under_way.remove(&n).unwrap();
                assert!(self.spool.give_back(&ticket, row(n), &[opening(n).lease, None], 500).written);
                *self.opens.get_mut(&opening(n).lease.unwrap()).unwrap() -= 1;
                self.ended.insert(n, End::OnDisk);
            }
            Step::GiveBack(_) => {}
            Step::Refused => {
                self.spool.end(None, row(self.next), 500).unwrap();
                self.ended.insert(self.next, End::InMemory);
                self.next += 1;
            }
            Step::Batch { size, told } => {
                let taken = self.spool.take(*size);
                self.append(&taken.rows);
                if *told {
                    self.spool.stored(taken);
                } else {
                    // What was taken is only ever forgotten by a death.
                    self.kill();
                }
            }
            Step::Flush => {
                self.spool.flush();
                self.becomes(End::OnDisk);
            }
            Step::Kill => self.kill(),
        }
    }

    fn open(&mut self) {
        let opening = opening(self.next);
        let ticket = self.spool.open_request(&opening).unwrap().unwrap();
        *self.opens.entry(opening.lease.unwrap()).or_default() += 1;
        self.under_way.insert(self.next, ticket);
        self.becomes(End::OnDisk);
        self.next += 1;
    }

    /// What happens to all that is in memory.
    fn becomes(&mut self, now: End) {
        self.ended.values_mut().filter(|end| **end == End::InMemory).for_each(|end| *end = now);
    }

    fn end(&mut self, n: u64) {
        let ticket = self.under_way.remove(&n).unwrap();
        self.spool.end(Some(&ticket), row(n), 500).unwrap();
        self.ended.insert(n, End::InMemory);
    }

    fn append(&mut self, rows: &[Row]) {
        for row in rows {
            self.store.entry(row.request).or_insert_with(|| row.clone());
        }
    }

    fn kill(&mut self) {
        self.disk = self.disk.killed();
        let (spool, recovered) = self.disk.open(settings());
        assert_eq!(recovered.len(), 1);
        assert_eq!(recovered[0].leases, self.opens);
        self.spool = spool;
        self.under_way.clear();
        self.becomes(End::Uncertain);
    }

    /// One more death, and then the store is there for as long as it takes.
    fn settle(mut self) {
        self.kill();
        let rows = drain(&self.spool, 50);
        self.append(&rows);
        for n in 0..self.next {
            let found = self.store.get(&opening(n).request);
            match self.ended.get(&n) {
                Some(End::OnDisk) => assert_eq!(found, Some(&row(n)), "request {n} had ended"),
                Some(_) => assert!(
                    found.is_none_or(|found| *found == row(n) || is_stopped(found)),
                    "request {n} had just ended: {found:?}"
                ),
                None => assert!(found.is_some_and(is_stopped), "request {n} was under way: {found:?}"),
            }
        }
        let Self { disk, spool, .. } = self;
        drop(spool); // removes what it has no more use for
        let (again, _) = disk.open(settings());
        assert!(drain(&again, 50).is_empty(), "what is stored does not come back");
    }
}

fn settings() -> SpoolSettings {
    SpoolSettings { size: 64 << 20, lanes: 8 * 512, capacity: 8 * 512 * 30, ..SMALL }
}

fn is_stopped(row: &Row) -> bool {
    (row.error.as_deref(), row.attempts) == (Some("edge stopped"), 0)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_by_any_death(steps in prop::collection::vec(any_step(), 1..60)) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        world.settle();
    }
}
