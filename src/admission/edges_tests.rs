//! Several edges over one store: what they give up, what they hear, and what that costs.

use std::collections::HashMap;

use futures_util::future::join_all;
use proptest::prelude::*;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::*;
use crate::admission::testing::MemoryQuota;
use crate::clock::ManualClock;
use crate::units::{LeaseId, UserId};

const NOON: Timestamp = Timestamp(1_769_860_800_000_000); // 2026-01-31T12:00:00Z
const ADA: Subject = Subject::User(UserId(Uuid::from_u128(1)));

/// A running edge; dropping it is a crash.
struct Edge {
    limiter: Arc<RateLimiter>,
    clock: Arc<ManualClock>,
    running: JoinHandle<()>,
}

impl Edge {
    async fn start(store: &Arc<MemoryQuota>, number: u128) -> Self {
        let clock = Arc::new(ManualClock::at(NOON));
        let id = EdgeId(Uuid::from_u128(number));
        let limiter = RateLimiter::new(store.clone(), id, clock.clone(), QuotaSettings::default());
        let limiter = Arc::new(limiter);
        let running = tokio::spawn(Arc::clone(&limiter).run());
        // Its heartbeat is on its way.
        tokio::time::sleep(Duration::from_millis(1)).await;
        Self { limiter, clock, running }
    }

    async fn take(&self, limit: u32) -> Result<Hold, QuotaRefusal> {
        self.limiter.check_and_increment(ADA, self.clock.now().day(), limit).await
    }

    async fn spend(&self, count: u32, limit: u32) {
        for _ in 0..count {
            self.take(limit).await.unwrap().spend();
        }
    }

    fn unused(&self) -> u32 {
        self.limiter.0.known(ADA, self.clock.now().day()).map_or(0, |slot| slot.lock().unused())
    }

    fn live_edges(&self) -> u32 {
        self.limiter.0.live_edges()
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.running.abort();
    }
}

fn store() -> Arc<MemoryQuota> {
    Arc::new(MemoryQuota::with_edges(1))
}

fn recalls(store: &MemoryQuota) -> u64 {
    store.recalls.load(Ordering::SeqCst)
}

#[tokio::test(start_paused = true)]
async fn an_unused_lease_is_given_up_before_another_edge_refuses() {
    let store = store();
    let slow = Edge::start(&store, 1).await;
    slow.spend(1, 40).await;
    assert_eq!(slow.unused(), 7, "a first lease was set aside");
    // A pause in which it is kept.
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(slow.unused(), 7);
    let busy = Edge::start(&store, 2).await;
    let began = tokio::time::Instant::now();
    busy.spend(39, 40).await;
    assert!(began.elapsed() < Duration::from_millis(250), "{:?}", began.elapsed());
    assert_eq!((slow.unused(), recalls(&store)), (0, 1));
    assert!(busy.take(40).await.is_err() && slow.take(40).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn many_who_wait_at_once_recall_once_and_a_refused_user_who_goes_on_costs_nothing() {
    let store = store();
    let silent = Edge::start(&store, 1).await;
    silent.spend(1, 40).await;
    // It lives by its heartbeat, but answers nobody.
    silent.running.abort();
    let busy = Edge::start(&store, 2).await;
    busy.spend(32, 40).await;
    let began = tokio::time::Instant::now();
    let refused = join_all((0..64).map(|_| busy.take(40))).await;
    assert!(refused.iter().all(Result::is_err));
    assert!(began.elapsed() <= Duration::from_millis(250), "{:?}", began.elapsed());
    assert_eq!(recalls(&store), 1);
    let calls = store.faults.calls();
    for _ in 0..1_000 {
        assert!(busy.take(40).await.is_err());
    }
    assert_eq!((store.faults.calls(), recalls(&store)), (calls, 1), "the denial is remembered");
}

#[tokio::test(start_paused = true)]
async fn what_comes_back_elsewhere_ends_an_exhaustion() {
    let store = store();
    let (one, other) = (Edge::start(&store, 1).await, Edge::start(&store, 2).await);
    let unspent = one.take(1).await.unwrap();
    assert!(other.take(1).await.is_err());
    drop(unspent);
    // The first edge keeps it for a second, in case it is wanted there.
    tokio::time::sleep(Duration::from_secs(2)).await;
    other.spend(1, 1).await;
    assert!(one.take(1).await.is_err() && other.take(1).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn what_is_freed_while_a_denial_is_on_its_way_is_not_refused() {
    let store = store();
    let (one, other) = (Edge::start(&store, 1).await, Edge::start(&store, 2).await);
    one.spend(1, 2).await;
    let unspent = one.take(2).await.unwrap();
    let day = one.clock.now().day();
    let slot = other.limiter.0.slot(ADA, day);
    tokio::time::sleep(Duration::from_millis(5)).await;
    // The denial as it stands in the store, and the word that overtakes its answer.
    store.slow_answers.store(50, Ordering::SeqCst);
    let asking = tokio::spawn({
        let limiter = Arc::clone(&other.limiter);
        async move { limiter.check_and_increment(ADA, day, 2).await }
    });
    tokio::time::sleep(Duration::from_millis(10)).await;
    drop(unspent);
    one.limiter.0.on_recall(ADA, day);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(slot.lock().denial.freed(), 1, "the word was first");
    store.slow_answers.store(0, Ordering::SeqCst);
    asking.await.unwrap().unwrap().spend();
}

#[tokio::test(start_paused = true)]
async fn an_edge_that_does_not_hear_holds_no_more_than_it_needs() {
    let store = store();
    let edge = Edge::start(&store, 1).await;
    edge.spend(1, 1_000).await;
    assert!(edge.unused() > 1);
    store.unheard.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(edge.unused(), 0);
    edge.spend(5, 1_000).await;
    assert_eq!(edge.unused(), 0, "one at a time, none ahead");
    let other = Edge::start(&store, 2).await;
    let last = edge.take(7).await.unwrap();
    assert!(other.take(7).await.is_err());
    drop(last);
    tokio::time::sleep(Duration::from_secs(3)).await;
    other.spend(1, 7).await;
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_is_lowered_binds_what_was_set_aside_before() {
    let store = store();
    let (one, other) = (Edge::start(&store, 1).await, Edge::start(&store, 2).await);
    one.spend(1, 1_000).await;
    other.spend(30, 1_000).await;
    assert!(one.unused() > 0);
    assert!(one.take(20).await.is_err(), "others have used more than that meanwhile");
    assert_eq!(one.unused(), 0);
    one.spend(1, 40).await;
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_is_lowered_during_a_call_takes_nothing_of_the_leases_of_before() {
    let store = store();
    let (one, other) = (Edge::start(&store, 1).await, Edge::start(&store, 2).await);
    one.spend(3_000, 1_000_000).await;
    other.spend(2_500, 1_000_000).await;
    store.slow_answers.store(100, Ordering::SeqCst);
    // Until a call is under way, with something still in hand.
    while !one.limiter.0.known(ADA, NOON.day()).unwrap().lock().busy {
        one.spend(1, 1_000_000).await;
    }
    assert!(one.unused() > 0);
    assert!(one.take(5_000).await.is_err(), "together they have had more than that");
}

#[tokio::test(start_paused = true)]
async fn a_large_lease_is_recalled_and_accounted_for_as_a_small_one_is() {
    let store = store();
    let (one, other) = (Edge::start(&store, 1).await, Edge::start(&store, 2).await);
    let mut spent = 3_000;
    one.spend(spent, 1_000_000).await;
    while one.unused() < 500 {
        one.spend(1, 1_000_000).await;
        spent += 1;
    }
    let limit = spent + 100;
    other.spend(100, limit).await;
    assert!(other.take(limit).await.is_err(), "what was unused of the large lease was had back, and no more");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!((one.unused(), store.count(ADA, NOON.day())), (0, (limit, 0)));
}

#[tokio::test(start_paused = true)]
async fn edges_know_how_many_they_are() {
    let store = store();
    let one = Edge::start(&store, 1).await;
    let (two, three) = (Edge::start(&store, 2).await, Edge::start(&store, 3).await);
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!([&one, &two, &three].map(Edge::live_edges), [3, 3, 3]);
    drop(three); // it crashes
    assert!(two.limiter.shutdown(Duration::from_secs(1)).await);
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(one.live_edges(), 2, "who took leave is gone at once");
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(one.live_edges(), 1, "who crashed, when its heartbeat has run out");
}

#[tokio::test(start_paused = true)]
async fn a_restarted_edge_accounts_for_what_it_left_open() {
    let store = store();
    let day = NOON.day();
    let dead = Edge::start(&store, 1).await;
    let holds: Vec<_> = join_all((0..5).map(|_| dead.take(100))).await.into_iter().map(Result::unwrap).collect();
    let mut opens = HashMap::<LeaseId, u32>::new();
    holds.iter().for_each(|hold| *opens.entry(hold.lease().unwrap()).or_default() += 1);
    holds.into_iter().for_each(Hold::spend);
    drop(dead);
    assert!(store.count(ADA, day).1 > 0);
    let clock = Arc::new(ManualClock::at(NOON));
    let again = RateLimiter::new(store.clone(), EdgeId(Uuid::from_u128(1)), clock, QuotaSettings::default());
    assert!(again.recover(EdgeId(Uuid::from_u128(1)), &opens).await.unwrap() > 0);
    assert_eq!(store.count(ADA, day), (5, 0), "what was opened is counted, the rest is free again");
    assert_eq!(again.recover(EdgeId(Uuid::from_u128(1)), &opens).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_edge_accounts_for_another_that_will_not_be_back() {
    let store = store();
    let (dead, heir) = (Edge::start(&store, 1).await, Edge::start(&store, 2).await);
    dead.spend(1, 40).await;
    heir.spend(1, 40).await;
    let (held, own) = (dead.unused(), heir.unused());
    drop(dead);
    heir.limiter.recover(EdgeId(Uuid::from_u128(1)), &HashMap::new()).await.unwrap();
    assert!(held > 0);
    assert_eq!(store.count(ADA, NOON.day()), (0, own + 1), "its own lease stays open");
}

#[tokio::test(start_paused = true)]
async fn what_others_hold_is_not_shown_as_used() {
    let store = store();
    let (one, other) = (Edge::start(&store, 1).await, Edge::start(&store, 2).await);
    other.spend(1, 100).await;
    one.spend(3, 100).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(one.limiter.used(ADA, NOON.day()).await.unwrap(), 4);
}

#[tokio::test(start_paused = true)]
async fn of_a_lease_without_a_record_what_was_reported_counts() {
    let store = store();
    let dead = Edge::start(&store, 1).await;
    dead.spend(3, 100).await;
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_millis(250)).await;
        dead.spend(1, 100).await;
    }
    let reported = store.count(ADA, NOON.day()).0;
    assert!(reported >= 3, "{reported}");
    drop(dead);
    let again = Edge::start(&store, 1).await;
    again.limiter.recover(EdgeId(Uuid::from_u128(1)), &HashMap::new()).await.unwrap();
    assert_eq!(store.count(ADA, NOON.day()), (reported, 0));
}

#[tokio::test(start_paused = true)]
async fn a_place_that_lay_given_back_at_a_death_is_not_counted() {
    let store = store();
    let dead = Edge::start(&store, 1).await;
    let mut opens: HashMap<LeaseId, u32> = HashMap::new();
    let mut open = |hold: &Hold| *opens.entry(hold.lease().unwrap()).or_default() += 1;
    let first = dead.take(100).await.unwrap();
    open(&first);
    first.spend();
    tokio::time::sleep(Duration::from_millis(900)).await;
    let (second, third) = (dead.take(100).await.unwrap(), dead.take(100).await.unwrap());
    open(&second);
    second.spend();
    let lease = third.lease();
    drop(third); // its END has taken its OPEN back
    let fourth = dead.take(100).await.unwrap();
    assert_eq!(fourth.lease(), lease, "who has its place is recorded as it was");
    drop(fourth);
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(store.count(ADA, NOON.day()).0, 2, "reported as used, while the place is kept for another");
    drop(dead);
    let again = Edge::start(&store, 1).await;
    again.limiter.recover(EdgeId(Uuid::from_u128(1)), &opens).await.unwrap();
    assert_eq!(store.count(ADA, NOON.day()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn around_midnight_each_request_counts_on_the_day_it_has_where_it_arrived() {
    let store = store();
    let (fast, slow) = (Edge::start(&store, 1).await, Edge::start(&store, 2).await);
    let to_midnight = NOON.until(NOON.day().end());
    fast.clock.advance(to_midnight + Duration::from_secs(1));
    slow.clock.advance(to_midnight - Duration::from_secs(1));
    let (today, tomorrow) = (NOON.day(), Day(NOON.day().0 + 1));
    fast.spend(7, 20).await;
    slow.spend(20, 20).await;
    assert!(slow.take(20).await.is_err(), "its day is full");
    tokio::time::sleep(Duration::from_secs(2)).await;
    slow.clock.advance(Duration::from_secs(2));
    slow.spend(13, 20).await;
    assert!(slow.take(20).await.is_err() && fast.take(20).await.is_err(), "and now the next day, by both together");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!((store.count(ADA, today), store.count(ADA, tomorrow)), ((20, 0), (20, 0)));
}

/// 64 clients hammer two edges, each request at one of them by chance, over a store that takes `latency` ms.
async fn hammer(limit: u32, latency: u64, choices: Vec<bool>) {
    let store = store();
    store.slow_answers.store(latency, Ordering::SeqCst);
    let edges = [Edge::start(&store, 1).await, Edge::start(&store, 2).await];
    let (edges, choices) = (&edges, &choices);
    let client = |number: usize| async move {
        let mut admitted = 0;
        for choice in choices.iter().skip(number * 40).take(40) {
            if let Ok(hold) = edges[usize::from(*choice)].take(limit).await {
                hold.spend();
                admitted += 1;
            }
        }
        admitted
    };
    let admitted: u32 = join_all((0..64).map(client)).await.into_iter().sum();
    let touches = store.faults.calls();
    assert_eq!(admitted, limit);
    assert!(touches * 100 <= u64::from(limit) * 12, "{touches} calls for {admitted} requests");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn two_edges_hammered_at_random_admit_the_limit_and_ask_for_few(
        latency in 0..6_u64,
        choices in proptest::collection::vec(any::<bool>(), 64 * 40),
    ) {
        let paused = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        paused.unwrap().block_on(hammer(1_000, latency, choices));
    }
}
