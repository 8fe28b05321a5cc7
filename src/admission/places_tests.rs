//! Places in a store in memory, on paused time.

use std::sync::atomic::AtomicBool;

use super::*;
use crate::admission::{Concurrency, ConcurrencyRefusal};
use crate::config::ResolvedLimits;

const LIMITS: ResolvedLimits = ResolvedLimits { daily_requests: 10, concurrent_streams: 2, concurrent_requests: 9 };
const ADA: UserId = UserId(Uuid::from_u128(1));

#[derive(Default)]
struct Memory {
    places: Mutex<HashMap<PlaceId, UserId>>,
    renewed: AtomicU64,
    calls: AtomicU64,
    hung: AtomicBool,
}

impl Memory {
    async fn before(&self) {
        self.calls.fetch_add(1, Ordering::SeqCst);
        while self.hung.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn taken(&self) -> usize {
        self.places.lock().unwrap().len()
    }

    async fn until_taken(&self, count: usize) {
        for _ in 0..1_000 {
            if self.taken() == count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{} places are taken, not {count}", self.taken());
    }
}

#[async_trait]
impl ConcurrencyStore for Memory {
    async fn enter(&self, user: UserId, place: PlaceId, limit: u32) -> Result<bool, StoreError> {
        self.before().await;
        let mut places = self.places.lock().unwrap();
        let free = places.values().filter(|other| **other == user).count() < limit as usize;
        if free {
            places.insert(place, user);
        }
        Ok(free)
    }

    async fn leave(&self, left: &[(UserId, PlaceId)]) -> Result<(), StoreError> {
        self.before().await;
        let mut places = self.places.lock().unwrap();
        places.retain(|place, _| left.iter().all(|(_, gone)| gone != place));
        Ok(())
    }

    async fn renew(&self, open: &[(UserId, PlaceId)]) -> Result<(), StoreError> {
        self.before().await;
        self.renewed.fetch_add(open.len() as u64, Ordering::SeqCst);
        self.places.lock().unwrap().extend(open.iter().map(|(user, place)| (*place, *user)));
        Ok(())
    }
}

fn edge(store: &Arc<Memory>) -> Arc<Concurrency> {
    let places = SharedPlaces::new(Arc::clone(store) as _);
    tokio::spawn(Arc::clone(&places).run());
    Concurrency::shared(places)
}

async fn stream(edge: &Arc<Concurrency>) -> Result<crate::admission::Permit, ConcurrencyRefusal> {
    edge.enter(ADA, &LIMITS)?.stream(&LIMITS)?.share(&LIMITS).await
}

#[tokio::test(start_paused = true)]
async fn a_users_streams_are_counted_on_all_edges_and_given_back() {
    let store = Arc::new(Memory::default());
    let (one, other) = (edge(&store), edge(&store));
    let first = stream(&one).await.unwrap();
    let _second = stream(&other).await.unwrap();
    assert_eq!(stream(&other).await.unwrap_err(), ConcurrencyRefusal::Streams { limit: 2 });
    drop(first);
    store.until_taken(1).await;
    let _third = stream(&other).await.unwrap();
    let calls = store.calls.load(Ordering::SeqCst);
    let request = one.enter(ADA, &LIMITS).unwrap();
    assert!(!request.needs_sharing(), "what is no stream costs no round trip");
    let _request = request.share(&LIMITS).await.unwrap();
    assert_eq!(store.calls.load(Ordering::SeqCst), calls);
}

#[tokio::test(start_paused = true)]
async fn an_open_stream_is_renewed_before_its_place_runs_out() {
    let store = Arc::new(Memory::default());
    let one = edge(&store);
    let permit = stream(&one).await.unwrap();
    tokio::time::sleep(PLACE_LIFE).await;
    assert!(store.renewed.load(Ordering::SeqCst) >= 2);
    store.places.lock().unwrap().clear();
    store.until_taken(1).await;
    drop(permit);
    store.until_taken(0).await;
}

#[tokio::test(start_paused = true)]
async fn without_the_store_the_edges_own_cap_holds_and_nobody_waits_long() {
    let store = Arc::new(Memory::default());
    let one = edge(&store);
    store.hung.store(true, Ordering::SeqCst);
    let begun = tokio::time::Instant::now();
    let _first = stream(&one).await.unwrap();
    assert!(begun.elapsed() <= PATIENCE + Duration::from_millis(5));
    let begun = tokio::time::Instant::now();
    let _second = stream(&one).await.unwrap();
    assert!(begun.elapsed() < Duration::from_millis(5), "the second knows that the store is away");
    assert_eq!(stream(&one).await.unwrap_err(), ConcurrencyRefusal::Streams { limit: 2 });
    assert_eq!(one.unshared(), 2);
    store.hung.store(false, Ordering::SeqCst);
    store.until_taken(2).await;
}
