use futures_util::FutureExt;
use futures_util::future::join_all;
use uuid::Uuid;

use super::*;
use crate::admission::testing::MemoryQuota;
use crate::clock::ManualClock;
use crate::units::UserId;

const NOON: Timestamp = Timestamp(1_769_860_800_000_000); // 2026-01-31T12:00:00Z

/// One edge, its store and its time.
struct Edge {
    limiter: Arc<RateLimiter>,
    store: Arc<MemoryQuota>,
    clock: Arc<ManualClock>,
    user: Subject,
}

impl Edge {
    fn new() -> Self {
        Self::over(Arc::new(MemoryQuota::with_edges(1)), OnStoreOutage::Local)
    }

    fn over(store: Arc<MemoryQuota>, on_store_outage: OnStoreOutage) -> Self {
        let clock = Arc::new(ManualClock::at(NOON));
        let settings = QuotaSettings { on_store_outage, ..QuotaSettings::default() };
        let limiter = RateLimiter::new(store.clone(), EdgeId(Uuid::from_u128(7)), clock.clone(), settings);
        Self { limiter: Arc::new(limiter), store, clock, user: Subject::User(UserId(Uuid::from_u128(1))) }
    }

    fn today(&self) -> Day {
        self.clock.now().day()
    }

    async fn take(&self, limit: u32) -> Result<Hold, QuotaRefusal> {
        self.limiter.check_and_increment(self.user, self.today(), limit).await
    }

    async fn spend(&self, count: u32, limit: u32) {
        for _ in 0..count {
            self.take(limit).await.unwrap().spend();
        }
    }

    /// `(request_count, leased)` in the store.
    fn stored(&self) -> (u32, u32) {
        self.store.count(self.user, self.today())
    }

    /// One second or more of idleness.
    async fn idle(&self) {
        self.turns(6).await;
    }

    /// After this nothing is kept for anybody, as if a minute had passed without a request.
    async fn long_idle(&self) {
        self.limiter.0.slots.iter().for_each(|shard| lock(shard).values().for_each(|slot| slot.lock().rest()));
        self.idle().await;
    }

    /// What is unused goes back to the store, as if another edge had asked for it, and the day is remembered.
    async fn recalled(&self) {
        self.limiter.0.on_recall(self.user, self.today());
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(self.stored().1, 0);
    }

    /// Turns of the background task.
    async fn turns(&self, turns: u32) {
        for _ in 0..turns {
            self.turn().await;
        }
    }

    async fn turn(&self) {
        tokio::time::sleep(TURN).await;
        self.limiter.turn().await;
    }
}

fn exhausted(limit: u32) -> QuotaRefusal {
    QuotaRefusal::Exhausted { limit, reset: NOON.day().end() }
}

#[tokio::test(start_paused = true)]
async fn remaining_counts_down_to_zero_with_the_last_and_the_next_is_refused() {
    let edge = Edge::new();
    for left in (0..100).rev() {
        let hold = edge.take(100).await.unwrap();
        assert_eq!((hold.limit, hold.remaining, hold.reset), (100, left, NOON.day().end()));
        hold.spend();
    }
    assert_eq!(edge.take(100).await.unwrap_err(), exhausted(100));
    assert_eq!(edge.limiter.peek(edge.user, edge.today(), 100), Err(exhausted(100)));
    edge.turn().await;
    assert_eq!(edge.stored(), (100, 0));
}

#[tokio::test(start_paused = true)]
async fn most_requests_touch_no_store() {
    let edge = Edge::new();
    edge.spend(1_000, 1_000).await;
    assert!(edge.store.faults.calls() <= 120, "{} calls", edge.store.faults.calls());
    let calls = edge.store.faults.calls();
    for _ in 0..500 {
        assert!(edge.take(1_000).await.is_err());
    }
    assert!(edge.store.faults.calls() <= calls + 2, "exhaustion is remembered");
}

#[tokio::test(start_paused = true)]
async fn a_request_given_back_can_be_taken_again_even_after_exhaustion() {
    let edge = Edge::new();
    let mut holds = Vec::new();
    while let Ok(hold) = edge.take(10).await {
        holds.push(hold);
    }
    assert_eq!(holds.len(), 10);
    drop(holds.pop());
    assert_eq!(edge.limiter.peek(edge.user, edge.today(), 10), Ok(()));
    edge.take(10).await.unwrap().spend();
    assert_eq!(edge.take(10).await.unwrap_err(), exhausted(10));
    drop(holds.pop());
    edge.idle().await;
    assert_eq!(edge.stored(), (9, 0), "what nobody wanted went back");
    edge.take(10).await.unwrap().spend();
    holds.into_iter().for_each(Hold::spend);
    edge.idle().await;
    assert_eq!(edge.stored(), (10, 0));
}

#[tokio::test(start_paused = true)]
async fn a_limit_raised_by_configuration_ends_the_exhaustion_and_a_lowered_one_binds_at_once() {
    let edge = Edge::new();
    edge.spend(10, 10).await;
    assert_eq!(edge.take(10).await.unwrap_err(), exhausted(10));
    assert_eq!(edge.limiter.peek(edge.user, edge.today(), 20), Ok(()));
    edge.spend(5, 20).await;
    assert_eq!(edge.take(12).await.unwrap_err(), exhausted(12));
    edge.spend(5, 20).await;
    assert_eq!(edge.take(20).await.unwrap_err(), exhausted(20));
}

#[tokio::test(start_paused = true)]
async fn a_lease_in_use_is_reported_and_goes_back_after_a_minute_without_a_request() {
    let edge = Edge::new();
    edge.spend(3, 1_000).await;
    assert_eq!(edge.stored(), (0, 8));
    edge.idle().await;
    assert_eq!(edge.stored(), (3, 5), "reported, and kept");
    edge.turns(4 * 60).await;
    assert_eq!(edge.stored(), (3, 0));
    for _ in 0..8 {
        edge.spend(1, 1_000).await;
        edge.turn().await;
    }
    let (used, leased) = edge.stored();
    assert!(used >= 3 + 4 && leased > 0, "the count lags by little more than a second: {used} {leased}");
    assert_eq!(edge.limiter.used(edge.user, edge.today()).await.unwrap(), 11);
}

#[tokio::test(start_paused = true)]
async fn who_asks_once_in_five_seconds_waits_for_the_store_once_and_leaves_little_unused() {
    let edge = Edge::new();
    let (mut waited, mut unused) = (0, 0);
    for _ in 0..120 {
        let now = edge.take(1_000).now_or_never();
        waited += u32::from(now.is_none());
        match now {
            Some(taken) => taken.unwrap().spend(),
            None => edge.spend(1, 1_000).await,
        }
        edge.turns(4 * 5).await;
        unused = unused.max(edge.stored().1);
    }
    assert_eq!(waited, 1, "the first of ten minutes");
    assert!(edge.limiter.leases_granted() <= 120 / 5, "{} leases", edge.limiter.leases_granted());
    assert!(unused <= 20, "{unused} would be lost with the process");
    assert_eq!(edge.stored().0, 120, "the count lags by a second, whatever is kept");
}

#[tokio::test(start_paused = true)]
async fn leases_grow_with_the_pace_and_shrink_with_it() {
    let edge = Edge::new();
    let slot = edge.limiter.0.slot(edge.user, edge.today());
    edge.spend(200, 100_000).await;
    let mut sizes = vec![slot.lock().last_granted()];
    let mut leases = edge.limiter.leases_granted();
    while sizes.len() < 6 {
        edge.spend(1, 100_000).await;
        edge.turns(4 * 5).await;
        if edge.limiter.leases_granted() > leases {
            leases = edge.limiter.leases_granted();
            sizes.push(slot.lock().last_granted());
        }
    }
    assert_eq!(sizes, [128, 64, 32, 16, 8, 8]);
}

#[tokio::test(start_paused = true)]
async fn a_large_limit_is_leased_by_the_thousandth() {
    let edge = Edge::new();
    let slot = edge.limiter.0.slot(edge.user, edge.today());
    edge.spend(20_000, 1_000_000).await;
    let (leases, state) = (edge.limiter.leases_granted(), slot.lock());
    assert!(leases < 40 && state.last_granted() >= 750, "{leases} leases, the last of {}", state.last_granted());
    assert!(state.unused() <= 1_000, "{} would be lost with the process", state.unused());
}

#[tokio::test(start_paused = true)]
async fn what_many_used_within_a_second_is_said_in_one_call() {
    let edge = Edge::new();
    let day = edge.today();
    let user = |number: u128| Subject::User(UserId(Uuid::from_u128(number)));
    let ask = |number: u128| edge.limiter.check_and_increment(user(number), day, 1_000);
    for number in 0..40 {
        ask(number).await.unwrap().spend();
    }
    edge.turns(4).await;
    let calls = edge.store.faults.calls();
    for number in 0..40 {
        ask(number).await.unwrap().spend();
        if number % 10 == 9 {
            edge.turn().await;
        }
    }
    assert_eq!(edge.store.faults.calls() - calls, 1);
    edge.turns(4).await;
    assert!((0..40).all(|number| edge.store.count(user(number), day) == (2, 6)));
}

#[tokio::test(start_paused = true)]
async fn midnight_starts_a_new_count_and_settles_the_old_one() {
    let edge = Edge::new();
    let yesterday = edge.today();
    edge.spend(10, 10).await;
    let late = edge.take(11).await.unwrap();
    edge.clock.advance(Duration::from_secs(86_400));
    edge.spend(4, 10).await;
    edge.turn().await;
    assert_eq!(edge.store.count(edge.user, yesterday), (11, 0));
    drop(late);
    edge.idle().await;
    assert_eq!(edge.store.count(edge.user, yesterday), (10, 0), "given back to the day it was taken on");
    assert_eq!(edge.stored().0, 4);
}

#[tokio::test(start_paused = true)]
async fn the_leases_of_an_edge_never_keep_its_own_requests_out() {
    let edge = Edge::new();
    let taken = join_all((0..60).map(|_| edge.take(50))).await;
    assert_eq!(taken.iter().filter(|taken| taken.is_ok()).count(), 50);
}

#[tokio::test(start_paused = true)]
async fn only_an_answer_in_time_lets_a_request_wait_for_another() {
    for (late, waited) in [(true, 250), (false, 200 + 250)] {
        let edge = Edge::new();
        edge.store.faults.hung.store(true, Ordering::SeqCst);
        let slot = edge.limiter.0.slot(edge.user, edge.today());
        let began = tokio::time::Instant::now();
        let answered = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            slot.lock().late = late;
            slot.changed.notify_waiters();
        };
        let (taken, ()) = tokio::join!(edge.take(1_000), answered);
        assert!(taken.is_ok(), "counted without the store");
        assert_eq!(began.elapsed(), Duration::from_millis(waited), "late: {late}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_costs_one_patience_and_then_nothing() {
    let edge = Edge::new();
    edge.spend(1, 100).await;
    edge.recalled().await;
    edge.store.faults.hung.store(true, Ordering::SeqCst);
    let began = tokio::time::Instant::now();
    edge.take(100).await.unwrap().spend();
    assert_eq!(began.elapsed(), Duration::from_millis(250));
    edge.spend(98, 100).await;
    assert_eq!(began.elapsed(), Duration::from_millis(250), "who comes later does not wait again");
    assert_eq!(edge.take(100).await.unwrap_err(), exhausted(100), "the last known remainder bounds it");
    assert_eq!(edge.limiter.admitted_locally(), 99);
    edge.store.faults.hung.store(false, Ordering::SeqCst);
    for _ in 0..40 {
        edge.turn().await;
    }
    assert_eq!(edge.stored().0, 100, "posted once the store is back");
    assert_eq!(edge.take(100).await.unwrap_err(), exhausted(100));
    edge.long_idle().await;
    assert_eq!(edge.stored(), (100, 0), "what was granted too late for anyone went back");
}

#[tokio::test(start_paused = true)]
async fn lost_answers_are_not_counted_twice() {
    let edge = Edge::new();
    edge.spend(1, 100).await;
    edge.recalled().await;
    edge.store.faults.mute.store(true, Ordering::SeqCst);
    edge.spend(5, 100).await;
    for _ in 0..8 {
        edge.turn().await;
    }
    edge.store.faults.mute.store(false, Ordering::SeqCst);
    for _ in 0..8 {
        edge.turn().await;
    }
    assert_eq!(edge.stored(), (6, 0));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_comes_late_is_not_added_to_what_was_admitted_meanwhile() {
    let edge = Edge::new();
    edge.spend(1, 4).await;
    edge.recalled().await;
    edge.store.faults.hung.store(true, Ordering::SeqCst);
    edge.spend(3, 4).await;
    edge.store.faults.hung.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(edge.limiter.leases_granted() >= 2, "the store has answered");
    assert_eq!(edge.take(4).await.unwrap_err(), exhausted(4));
    edge.long_idle().await;
    assert_eq!(edge.stored(), (4, 0));
}

#[tokio::test(start_paused = true)]
async fn refuse_on_outage_refuses_as_unavailable_but_the_exhausted_as_exhausted() {
    let edge = Edge::over(Arc::new(MemoryQuota::with_edges(1)), OnStoreOutage::Refuse);
    edge.spend(4, 4).await;
    assert_eq!(edge.take(4).await.unwrap_err(), exhausted(4));
    edge.store.faults.down.store(true, Ordering::SeqCst);
    assert_eq!(edge.take(9).await.unwrap_err(), QuotaRefusal::StoreUnavailable);
    assert_eq!(edge.take(4).await.unwrap_err(), exhausted(4));
}

#[tokio::test(start_paused = true)]
async fn shutdown_gives_everything_back() {
    let edge = Edge::new();
    edge.spend(3, 1_000).await;
    let unspent = edge.take(1_000).await.unwrap();
    drop(unspent);
    assert!(edge.limiter.shutdown(Duration::from_secs(5)).await);
    assert_eq!(edge.stored(), (3, 0));
    edge.store.faults.down.store(true, Ordering::SeqCst);
    edge.spend(1, 1_000).await;
    assert!(!edge.limiter.shutdown(Duration::from_secs(5)).await, "it says what it could not do");
}

#[tokio::test(start_paused = true)]
async fn who_has_nothing_open_is_forgotten() {
    let edge = Edge::new();
    edge.spend(1, 1_000).await;
    for _ in 0..300 {
        edge.turn().await;
    }
    assert_eq!(edge.limiter.0.slots.iter().map(|shard| lock(shard).len()).sum::<usize>(), 0);
    let hold = edge.take(1_000).await.unwrap();
    assert_eq!(hold.remaining, 998, "the store remembers");
}

#[test]
fn fifty_threads_of_clients_get_exactly_the_limit() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build().unwrap();
    runtime.block_on(async {
        let edge = Arc::new(Edge::new());
        let client = |edge: Arc<Edge>| async move {
            let mut admitted = 0;
            for _ in 0..24 {
                match edge.take(1_000).await {
                    Ok(hold) => {
                        assert!(hold.remaining < 1_000);
                        hold.spend();
                        admitted += 1;
                    }
                    Err(refusal) => assert_eq!(refusal, exhausted(1_000)),
                }
            }
            admitted
        };
        let clients: Vec<_> = (0..50).map(|_| tokio::spawn(client(Arc::clone(&edge)))).collect();
        let admitted: u32 = join_all(clients).await.into_iter().map(Result::unwrap).sum();
        assert_eq!(admitted, 1_000);
        assert!(edge.limiter.shutdown(Duration::from_secs(5)).await);
        assert_eq!(edge.stored(), (1_000, 0));
    });
}

#[path = "quota_interleavings.rs"]
mod interleavings;

#[path = "quota_line.rs"]
mod line;
#[path = "quota_model.rs"]
mod model;

#[path = "outage_tests.rs"]
mod outage;
