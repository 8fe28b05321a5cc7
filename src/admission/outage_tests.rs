//! What counts as an outage, and what is known of a day in one.

use super::*;
use crate::admission::quota_store::Remembered;

const BOB: Subject = Subject::User(UserId(Uuid::from_u128(2)));

#[tokio::test(start_paused = true)]
async fn one_slow_call_about_one_users_leases_is_no_outage() {
    let edge = Edge::new();
    edge.spend(3, 1_000).await;
    edge.idle().await;
    edge.spend(3, 1_000).await;
    // Another edge asks for what is left; to say so takes long, and nothing else of the user's is said meanwhile.
    edge.store.slow_settlements.store(2_000, Ordering::SeqCst);
    edge.limiter.0.on_recall(edge.user, edge.today());
    tokio::time::sleep(Duration::from_millis(10)).await;
    let began = tokio::time::Instant::now();
    edge.take(1_000).await.unwrap().spend();
    assert_eq!(began.elapsed(), Duration::from_millis(250));
    assert_eq!(edge.limiter.admitted_locally(), 1, "it was waited for in vain");
    edge.take(1_000).await.unwrap().spend();
    assert_eq!(began.elapsed(), Duration::from_millis(250), "and is not waited for again");
    assert!(!edge.limiter.0.outage.lasts());
    edge.limiter.check_and_increment(BOB, edge.today(), 1_000).await.unwrap().spend();
    assert_eq!((began.elapsed(), edge.limiter.admitted_locally()), (Duration::from_millis(250), 2), "of Ada's alone");
    tokio::time::sleep(Duration::from_secs(3)).await;
    edge.store.slow_settlements.store(0, Ordering::SeqCst);
    edge.take(1_000).await.unwrap().spend();
    assert_eq!(edge.limiter.admitted_locally(), 2, "the call has ended");
    edge.idle().await;
    assert_eq!(edge.stored().0, 9);
}

#[tokio::test(start_paused = true)]
async fn what_is_left_by_another_count_is_shared_where_no_grant_was_heard_of() {
    let edge = Edge::new();
    edge.store.faults.down.store(true, Ordering::SeqCst);
    *edge.store.elsewhere.lock().unwrap() = Some(Remembered { used: 40, live_edges: 3 });
    let began = tokio::time::Instant::now();
    let taken = join_all((0..100).map(|_| edge.take(100))).await;
    assert!(began.elapsed() < Duration::from_millis(250), "{:?}", began.elapsed());
    assert_eq!(taken.iter().filter(|taken| taken.is_ok()).count(), 20, "60 are left, for three edges");
    assert_eq!(edge.take(100).await.unwrap_err(), exhausted(100));
    taken.into_iter().flatten().for_each(Hold::spend);

    *edge.store.elsewhere.lock().unwrap() = Some(Remembered { used: 100, live_edges: 3 });
    let bob = edge.limiter.check_and_increment(BOB, edge.today(), 100).await;
    assert_eq!(bob.unwrap_err(), exhausted(100), "who has used it up gets none");

    edge.store.faults.down.store(false, Ordering::SeqCst);
    for _ in 0..8 {
        edge.turn().await;
    }
    assert_eq!(edge.stored(), (20, 0));
    edge.spend(80, 100).await;
    assert_eq!(edge.take(100).await.unwrap_err(), exhausted(100));
}

#[tokio::test(start_paused = true)]
async fn where_nothing_is_remembered_the_limit_is_shared_and_it_is_asked_again() {
    let edge = Edge::over(Arc::new(MemoryQuota::with_edges(4)), OnStoreOutage::Local);
    edge.limiter.0.note_live_edges(4);
    edge.store.faults.down.store(true, Ordering::SeqCst);
    edge.spend(10, 100).await;
    *edge.store.elsewhere.lock().unwrap() = Some(Remembered { used: 44, live_edges: 4 });
    edge.turn().await;
    edge.turn().await;
    let began = tokio::time::Instant::now();
    edge.take(100).await.unwrap().spend();
    assert_eq!(began.elapsed(), Duration::ZERO, "only the first waits for it");
    tokio::time::sleep(Duration::from_millis(100)).await;
    edge.spend(3, 100).await;
    assert_eq!(edge.take(100).await.unwrap_err(), exhausted(100), "a quarter of 56 in all");
}
