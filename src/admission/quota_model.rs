//! The limiter as a machine of several edges: any order of requests, crashes, restarts, midnights, clocks that differ,
//! a store that fails in three ways and words that are lost, against what `docs/decisions/005-quota-leases.md`
//! promises.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;

use futures_util::future::join_all;
use proptest::prelude::*;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::line::{Line, Skewed};
use super::*;
use crate::admission::lease::State;
use crate::admission::quota_store::LARGEST_LEASE;
use crate::admission::testing::MemoryQuota;
use crate::clock::ManualClock;
use crate::units::{LeaseId, UserId};

const EDGES: usize = 3;
/// 2026-01-31T23:59:50Z: midnight is near.
const EVENING: Timestamp = Timestamp(1_769_903_990_000_000);
const ADA: Subject = Subject::User(UserId(Uuid::from_u128(1)));

#[derive(Debug, Clone)]
enum Step {
    /// So many requests at once on one edge.
    Take(usize, u8),
    /// So many at once on every edge.
    Rush(u8),
    Spend(usize, usize),
    GiveBack(usize, usize),
    /// Milliseconds.
    Wait(u16),
    /// A minute in which nobody asks.
    Rest,
    /// To the evening of the same day, or over midnight.
    Jump(u16),
    Crash(usize),
    Restart(usize),
    Stop(usize),
    Down(bool),
    Mute(bool),
    Hang(bool),
    /// Words do not reach this edge.
    Deaf(usize, bool),
    /// No edge hears, and all know it.
    Unheard(bool),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum World {
    /// The store always answers and every word is heard.
    Calm,
    /// The store always answers.
    Deaf,
    Rough,
}

fn steps(world: World) -> impl Strategy<Value = Vec<Step>> {
    let edge = 0..EDGES;
    let calm = prop_oneof![
        8 => (edge.clone(), 1..7_u8).prop_map(|(edge, count)| Step::Take(edge, count)),
        2 => (1..9_u8).prop_map(Step::Rush),
        5 => (edge.clone(), any::<usize>()).prop_map(|(edge, place)| Step::Spend(edge, place)),
        5 => (edge.clone(), any::<usize>()).prop_map(|(edge, place)| Step::GiveBack(edge, place)),
        5 => (0..1_500_u16).prop_map(Step::Wait),
        1 => Just(Step::Rest),
        1 => (0..12_u16).prop_map(Step::Jump),
        1 => edge.clone().prop_map(Step::Crash),
        2 => edge.clone().prop_map(Step::Restart),
        1 => edge.clone().prop_map(Step::Stop),
    ];
    let deaf = prop_oneof![
        2 => (edge, any::<bool>()).prop_map(|(edge, deaf)| Step::Deaf(edge, deaf)),
        1 => any::<bool>().prop_map(Step::Unheard),
    ];
    let rough = prop_oneof![
        any::<bool>().prop_map(Step::Down),
        any::<bool>().prop_map(Step::Mute),
        any::<bool>().prop_map(Step::Hang),
    ];
    let step = match world {
        World::Calm => calm.boxed(),
        World::Deaf => prop_oneof![8 => calm, 1 => deaf].boxed(),
        World::Rough => prop_oneof![8 => calm, 1 => deaf, 2 => rough].boxed(),
    };
    proptest::collection::vec(step, 1..70)
}

/// One life of an edge.
struct Life {
    limiter: Arc<RateLimiter>,
    line: Arc<Line>,
    running: JoinHandle<()>,
    held: Vec<(Day, Hold)>,
}

/// One edge, alive or not, and what its spool knows.
struct Node {
    id: EdgeId,
    clock: Arc<Skewed>,
    opens: HashMap<LeaseId, u32>,
    life: Option<Life>,
}

/// What is true, beside what the limiter believes.
struct Model {
    world: World,
    limit: u32,
    store: Arc<MemoryQuota>,
    base: Arc<ManualClock>,
    nodes: Vec<Node>,
    spent: HashMap<Day, u32>,
    /// Given back to an edge that died with it: the store goes on counting them.
    unreturned: HashMap<Day, u32>,
    /// Admitted without the store by an edge that died with it, at most.
    unposted: HashMap<Day, u32>,
    /// Admitted without the store in lives that are over.
    local: u64,
}

impl Life {
    fn sum(&self, day: Day, count: impl Fn(&State) -> u32) -> u32 {
        self.limiter.0.known(ADA, day).map_or(0, |slot| count(&slot.lock()))
    }
}

impl Model {
    fn new(world: World, limit: u32) -> Self {
        let (store, base) = (Arc::new(MemoryQuota::with_edges(1)), Arc::new(ManualClock::at(EVENING)));
        let node = |number: usize| Node {
            id: EdgeId(Uuid::from_u128(100 + number as u128)),
            clock: Arc::new(Skewed { base: Arc::clone(&base), skew: [0, 2_000_000, -2_000_000][number % 3] }),
            opens: HashMap::new(),
            life: None,
        };
        let nodes = (0..EDGES).map(node).collect();
        let (spent, unreturned, unposted) = Default::default();
        Self { world, limit, store, base, nodes, spent, unreturned, unposted, local: 0 }
    }

    async fn run(mut self, steps: Vec<Step>) {
        for edge in 0..EDGES {
            self.restart(edge).await;
        }
        for step in steps {
            self.step(step).await;
            self.check_admitted();
        }
        self.end().await;
    }

    async fn step(&mut self, step: Step) {
        let faults = &self.store.faults;
        match step {
            Step::Take(edge, count) => {
                // What was freed a moment ago is still being said: a refusal before it is heard is no broken promise.
                tokio::time::sleep(Duration::from_millis(1)).await;
                self.take(&[edge], count).await;
            }
            Step::Rush(count) => self.take(&[0, 1, 2], count).await,
            Step::Spend(edge, place) => {
                if let Some((day, hold)) = self.pick(edge, place) {
                    *self.spent.entry(day).or_default() += 1;
                    hold.spend();
                }
            }
            Step::GiveBack(edge, place) => self.give_back(edge, place),
            Step::Wait(millis) => {
                let time = Duration::from_millis(millis.into());
                self.base.advance(time);
                tokio::time::sleep(time).await;
            }
            Step::Rest => self.rest().await,
            Step::Jump(seconds) => self.base.advance(Duration::from_secs(seconds.into())),
            Step::Crash(edge) => self.crash(edge),
            Step::Restart(edge) => self.restart(edge).await,
            Step::Stop(edge) => self.stop(edge).await,
            Step::Down(down) => faults.down.store(down, Ordering::SeqCst),
            Step::Mute(mute) => faults.mute.store(mute, Ordering::SeqCst),
            Step::Hang(hung) => faults.hung.store(hung, Ordering::SeqCst),
            Step::Deaf(edge, deaf) => {
                self.nodes[edge].life.iter().for_each(|life| life.line.deaf.store(deaf, Ordering::SeqCst));
            }
            Step::Unheard(unheard) => self.store.unheard.store(unheard, Ordering::SeqCst),
        }
    }

    async fn rest(&self) {
        for (life, day) in self.lives().flat_map(|life| self.days().map(move |day| (life, day))) {
            life.limiter.0.known(ADA, day).iter().for_each(|slot| slot.lock().rest());
        }
        tokio::time::sleep(2 * TURN).await;
    }

    /// The record says so first, and whoever has the place next is recorded anew.
    fn give_back(&mut self, edge: usize, place: usize) {
        let Some((_, hold)) = self.pick(edge, place) else { return };
        if let Some(opens) = hold.lease().and_then(|lease| self.nodes[edge].opens.get_mut(&lease)) {
            *opens -= 1;
        }
        drop(hold);
    }

    fn pick(&mut self, edge: usize, place: usize) -> Option<(Day, Hold)> {
        let held = &mut self.nodes[edge].life.as_mut()?.held;
        if held.is_empty() { None } else { Some(held.swap_remove(place % held.len())) }
    }

    /// Many requests at once. Where one edge alone is asked, a refusal must be true.
    async fn take(&mut self, edges: &[usize], count: u8) {
        let (nodes, limit, this) = (&self.nodes, self.limit, &*self);
        let ask = |edge: usize| async move {
            let life = nodes[edge].life.as_ref()?;
            let day = nodes[edge].clock.now().day();
            match life.limiter.check_and_increment(ADA, day, limit).await {
                Ok(hold) => Some((edge, day, hold)),
                Err(refusal) => {
                    if edges.len() == 1 {
                        this.check_refused(edge, day, refusal);
                    }
                    None
                }
            }
        };
        let asks = edges.iter().flat_map(|edge| (0..count).map(|_| *edge));
        let taken: Vec<_> = join_all(asks.map(ask)).await.into_iter().flatten().collect();
        for (edge, day, hold) in taken {
            let node = &mut self.nodes[edge];
            if let Some(lease) = hold.lease() {
                *node.opens.entry(lease).or_default() += 1;
            }
            node.life.as_mut().unwrap().held.push((day, hold));
        }
    }

    fn check_refused(&self, edge: usize, day: Day, refusal: QuotaRefusal) {
        assert_eq!(refusal, QuotaRefusal::Exhausted { limit: self.limit, reset: day.end() });
        if self.world == World::Calm {
            for (number, life) in self.nodes.iter().enumerate().filter_map(|(n, node)| Some((n, node.life.as_ref()?))) {
                let unused = life.sum(day, State::unused);
                assert_eq!(unused, 0, "edge {edge} refused while edge {number} held an unused lease");
            }
            let (used, leased) = self.store.count(ADA, day);
            assert_eq!(used + leased, self.limit, "edge {edge} refused while the store had some");
        }
    }

    fn check_admitted(&self) {
        for (life, day) in self.lives().flat_map(|life| self.days().map(move |day| (life, day))) {
            let unused = life.sum(day, State::unused);
            assert!(unused <= LARGEST_LEASE, "{unused} would be lost with the process");
        }
        let mut admitted = self.spent.clone();
        for (day, _) in self.nodes.iter().flat_map(|node| node.life.iter().flat_map(|life| &life.held)) {
            *admitted.entry(*day).or_default() += 1;
        }
        let local = self.local + self.lives().map(|life| life.limiter.admitted_locally()).sum::<u64>();
        assert!(local == 0 || self.world == World::Rough, "the store answered, and {local} were counted without it");
        for (day, admitted) in admitted {
            assert!(u64::from(admitted) <= u64::from(self.limit) + local, "day {}: {admitted} admitted", day.0);
        }
    }

    /// Every day that may have been counted on.
    fn days(&self) -> impl Iterator<Item = Day> + use<> {
        (EVENING.day().0 - 1..=self.base.now().day().0 + 1).map(Day)
    }

    fn lives(&self) -> impl Iterator<Item = &Life> {
        self.nodes.iter().filter_map(|node| node.life.as_ref())
    }

    /// The process is gone, and the requests it had under way with it: they reached their upstream.
    fn crash(&mut self, edge: usize) {
        let Some(life) = self.nodes[edge].life.take() else { return };
        life.line.cut.send_replace(true);
        life.running.abort();
        self.local += life.limiter.admitted_locally();
        for day in self.days() {
            *self.unreturned.entry(day).or_default() +=
                life.sum(day, |state| state.not_released(|lease| self.store.reported(lease)));
            *self.unposted.entry(day).or_default() += life.sum(day, State::not_posted);
        }
        for (day, hold) in life.held {
            *self.spent.entry(day).or_default() += 1;
            hold.spend();
        }
    }

    /// Starts the edge again on what its spool knows; it stays dead where the store does not answer.
    async fn restart(&mut self, edge: usize) {
        let node = &mut self.nodes[edge];
        if node.life.is_some() {
            return;
        }
        let line =
            Line { store: Arc::clone(&self.store), cut: watch::Sender::new(false), deaf: AtomicBool::new(false) };
        let line = Arc::new(line);
        let limiter = RateLimiter::new(line.clone(), node.id, node.clock.clone(), QuotaSettings::default());
        let limiter = Arc::new(limiter);
        let recovered = tokio::time::timeout(Duration::from_secs(1), limiter.recover(node.id, &node.opens)).await;
        if matches!(recovered, Ok(Ok(_))) {
            let running = tokio::spawn(Arc::clone(&limiter).run());
            node.life = Some(Life { limiter, line, running, held: Vec::new() });
        }
    }

    /// Requests end, then the process; what could not be said to the store is as if it had crashed.
    async fn stop(&mut self, edge: usize) {
        let Some(life) = &mut self.nodes[edge].life else { return };
        for (day, hold) in std::mem::take(&mut life.held) {
            *self.spent.entry(day).or_default() += 1;
            hold.spend();
        }
        life.limiter.shutdown(Duration::from_secs(5)).await;
        self.crash(edge);
    }

    /// Everything works again, every edge comes back, and all is settled: then the store's count is the truth.
    async fn end(mut self) {
        let faults = &self.store.faults;
        [&faults.down, &faults.mute, &faults.hung].iter().for_each(|fault| fault.store(false, Ordering::SeqCst));
        for edge in 0..EDGES {
            self.restart(edge).await;
        }
        for life in self.nodes.iter_mut().filter_map(|node| node.life.as_mut()) {
            life.held.clear();
            assert!(life.limiter.shutdown(Duration::from_secs(60)).await);
        }
        let of = |counts: &HashMap<Day, u32>, day| counts.get(&day).copied().unwrap_or(0);
        for day in self.days() {
            let (used, leased) = self.store.count(ADA, day);
            assert_eq!(leased, 0, "day {}", day.0);
            let (spent, unreturned, unposted) =
                (of(&self.spent, day), of(&self.unreturned, day), of(&self.unposted, day));
            if self.world == World::Rough {
                assert!(used <= spent + unreturned && used + unposted >= spent, "{used} of {spent} on day {}", day.0);
            } else {
                assert!(used >= spent && used <= spent + unreturned, "{used} of {spent} on day {}", day.0);
            }
        }
    }
}

fn paused(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(test);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn while_the_store_answers_and_words_arrive_every_promise_holds(steps in steps(World::Calm), limit in 1..80_u32) {
        paused(Model::new(World::Calm, limit).run(steps));
    }

    #[test]
    fn words_that_are_lost_never_cost_a_request_too_many(steps in steps(World::Deaf), limit in 1..80_u32) {
        paused(Model::new(World::Deaf, limit).run(steps));
    }

    #[test]
    fn outages_cost_no_more_than_was_counted_without_the_store(steps in steps(World::Rough), limit in 1..80_u32) {
        paused(Model::new(World::Rough, limit).run(steps));
    }
}
