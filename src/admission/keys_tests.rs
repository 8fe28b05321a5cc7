use std::collections::HashMap;

use futures_util::future::join_all;
use uuid::Uuid;

use super::*;
use crate::admission::key_store::StoredKey;
use crate::admission::testing::MemoryKeys;
use crate::clock::ManualClock;
use crate::units::{KeyId, UserId};

const NOON: Timestamp = Timestamp(1_769_860_800_000_000); // 2026-01-31T12:00:00Z
const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 9));
const PEPPER: &[u8] = b"a pepper for tests";

/// The cache over a store that counts its look-ups.
struct Door {
    keys: Arc<Keys>,
    store: Arc<MemoryKeys>,
    clock: Arc<ManualClock>,
}

impl Door {
    fn new() -> Self {
        Self::with(KeySettings::default())
    }

    fn with(settings: KeySettings) -> Self {
        let store = Arc::new(MemoryKeys::default());
        let clock = Arc::new(ManualClock::at(NOON));
        let keys = Arc::new(Keys::new(store.clone(), PEPPER, clock.clone(), settings));
        Self { keys, store, clock }
    }

    /// A key that the store knows from now on.
    fn issue(&self, expires_at: Option<Timestamp>) -> RawKey {
        let raw = RawKey::mint().unwrap();
        let principal = Principal {
            user: UserId(Uuid::from_u128(1)),
            email: Arc::from("ada@example.org"),
            key: KeyId(Uuid::from_u128(2)),
            counter: KeyId(Uuid::from_u128(2)),
            label: "laptop".to_owned(),
            stages: None,
            models: None,
            daily_requests: None,
            user_daily_requests: None,
            expires_at,
        };
        let stored = StoredKey { hash: Pepper::new(PEPPER).hash(&raw), active: true, retires_at: None, principal };
        self.store.keys.lock().unwrap().insert(raw.public_id().as_str().to_owned(), stored);
        raw
    }

    fn revoke(&self, raw: &RawKey) {
        self.store.keys.lock().unwrap().get_mut(raw.public_id().as_str()).unwrap().active = false;
    }

    async fn knock(&self, raw: &RawKey) -> Result<Arc<Principal>, KeyRefusal> {
        self.keys.authenticate(raw.expose(), ADDRESS).await.map(|proved| proved.principal)
    }

    fn lookups(&self) -> u64 {
        self.store.faults.calls()
    }

    fn down(&self, down: bool) {
        self.store.faults.down.store(down, Ordering::SeqCst);
    }
}

/// The same public id with another secret, and a checksum that holds.
fn same_id(raw: &RawKey) -> RawKey {
    let body: String = raw.expose()[..52].to_owned() + if raw.expose().as_bytes()[52] == b'a' { "b" } else { "a" };
    let digits = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let crc = u64::from(crc32fast::hash(body.as_bytes()));
    let place = |power: u32| char::from(digits[usize::try_from(crc / 62_u64.pow(power) % 62).unwrap()]);
    RawKey::parse(&(body + &(0..6).rev().map(place).collect::<String>())).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_known_key_is_looked_up_once() {
    let door = Door::new();
    let key = door.issue(None);
    for _ in 0..100 {
        assert_eq!(&*door.knock(&key).await.unwrap().email, "ada@example.org");
    }
    assert_eq!(door.lookups(), 1);
}

#[tokio::test(start_paused = true)]
async fn garbage_and_nothing_are_refused_without_a_look_up() {
    let door = Door::new();
    assert_eq!(door.keys.authenticate("", ADDRESS).await, Err(KeyRefusal::Missing));
    assert_eq!(door.keys.authenticate("sk-proj-123", ADDRESS).await, Err(KeyRefusal::Invalid));
    assert_eq!(door.lookups(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_key_is_looked_up_once_and_a_wrong_secret_never_locks_the_right_one_out() {
    let door = Door::new();
    let key = door.issue(None);
    let wrong = same_id(&key);
    for _ in 0..10 {
        assert_eq!(door.knock(&wrong).await, Err(KeyRefusal::Invalid));
    }
    assert!(door.knock(&key).await.is_ok());
    assert_eq!(door.lookups(), 1, "one look-up told about both");
    let unknown = RawKey::mint().unwrap();
    for _ in 0..10 {
        assert_eq!(door.knock(&unknown).await, Err(KeyRefusal::Invalid));
    }
    assert_eq!(door.lookups(), 2);
}

#[tokio::test(start_paused = true)]
async fn many_at_once_share_one_look_up() {
    let door = Door::new();
    *door.store.delay.lock().unwrap() = Duration::from_millis(20);
    let key = door.issue(None);
    let answers = join_all((0..100).map(|_| door.knock(&key))).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(door.lookups(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_leaves_does_not_take_the_look_up_along() {
    let door = Door::new();
    *door.store.delay.lock().unwrap() = Duration::from_millis(20);
    let key = door.issue(None);
    let _ = tokio::time::timeout(Duration::from_millis(5), door.knock(&key)).await;
    assert!(door.knock(&key).await.is_ok());
    assert_eq!(door.lookups(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_invented_keys_meets_a_cap_that_known_keys_do_not() {
    let door = Arc::new(Door::with(KeySettings { lookups: 4, failures: 1_000, ..KeySettings::default() }));
    let key = door.issue(None);
    door.knock(&key).await.unwrap();
    *door.store.delay.lock().unwrap() = Duration::from_millis(100);
    let flood = join_all((0..200).map(|_| async { door.knock(&RawKey::mint().unwrap()).await }));
    let honest = async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        door.clock.advance(Duration::from_secs(61));
        door.knock(&key).await
    };
    let (refusals, honest) = tokio::join!(flood, honest);
    assert!(refusals.iter().all(|refusal| matches!(refusal, Err(KeyRefusal::Invalid | KeyRefusal::StoreUnavailable))));
    assert!(honest.is_ok(), "its look-up did not wait behind the flood");
    assert_eq!(door.store.in_flight.lock().unwrap().1, 5, "four of the flood, one of the known key");
}

#[tokio::test(start_paused = true)]
async fn a_change_elsewhere_is_noticed_at_the_next_poll() {
    let door = Door::new();
    let key = door.issue(None);
    let watching = tokio::spawn(Arc::clone(&door.keys).watch());
    tokio::time::sleep(Duration::from_millis(1)).await;
    door.knock(&key).await.unwrap();
    door.revoke(&key);
    assert!(door.knock(&key).await.is_ok(), "nothing was noticed yet");
    door.store.told.lock().unwrap().push(None);
    tokio::time::sleep(POLL).await;
    assert_eq!(door.knock(&key).await, Err(KeyRefusal::Invalid));
    watching.abort();
}

#[tokio::test(start_paused = true)]
async fn a_revocation_that_nobody_tells_of_holds_within_a_minute() {
    let settings = KeySettings::default();
    assert_eq!(settings.fresh, Duration::from_secs(60));
    // In use all the time, and asked for the last time just before or long before the revocation.
    for (pause, before) in [(100, 0), (1_000, 29), (1_000, 31), (59_999, 0), (60_000, 0)] {
        let door = Door::new();
        let key = door.issue(None);
        let watching = tokio::spawn(Arc::clone(&door.keys).watch());
        tokio::time::sleep(Duration::from_millis(1)).await;
        door.knock(&key).await.unwrap();
        let pass = async |time: Duration| {
            door.clock.advance(time);
            tokio::time::sleep(time).await;
        };
        pass(Duration::from_secs(before)).await;
        door.knock(&key).await.unwrap();
        door.revoke(&key);
        let mut passed = Duration::ZERO;
        let refusal = loop {
            pass(Duration::from_millis(pause)).await;
            passed += Duration::from_millis(pause);
            match door.knock(&key).await {
                Ok(_) => assert!(passed < settings.fresh, "admitted {passed:?} after its revocation"),
                Err(refusal) => break refusal,
            }
        };
        assert_eq!(refusal, KeyRefusal::Invalid);
        assert!(door.store.told.lock().unwrap().is_empty(), "no word of it came");
        watching.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_made_after_it_was_refused_opens_at_the_next_poll() {
    let door = Door::new();
    let key = door.issue(None);
    let stored = door.store.keys.lock().unwrap().drain().collect::<Vec<_>>();
    assert_eq!(door.knock(&key).await, Err(KeyRefusal::Invalid));
    door.store.keys.lock().unwrap().extend(stored);
    door.keys.flush();
    assert!(door.knock(&key).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn expiry_is_local_and_exact() {
    let door = Door::new();
    let key = door.issue(Some(Timestamp(NOON.0 + 1_000_000)));
    assert!(door.knock(&key).await.is_ok());
    door.clock.advance(Duration::from_micros(999_999));
    assert!(door.knock(&key).await.is_ok());
    door.down(true);
    door.clock.advance(Duration::from_micros(1));
    assert_eq!(door.knock(&key).await, Err(KeyRefusal::Expired));
}

#[tokio::test(start_paused = true)]
async fn an_outage_stops_only_keys_never_seen_and_for_an_hour_at_most() {
    let door = Door::new();
    let (known, new) = (door.issue(None), door.issue(None));
    door.knock(&known).await.unwrap();
    door.down(true);
    door.clock.advance(Duration::from_secs(61));
    for _ in 0..50 {
        assert!(door.knock(&known).await.is_ok());
    }
    assert_eq!(door.lookups(), 2, "the store is not asked for each request while it is away");
    assert_eq!(door.knock(&new).await, Err(KeyRefusal::StoreUnavailable));
    door.clock.advance(Duration::from_secs(3600));
    assert_eq!(door.knock(&known).await, Err(KeyRefusal::StoreUnavailable));
    door.down(false);
    assert!(door.knock(&known).await.is_ok() && door.knock(&new).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_proved_key_says_whether_the_store_was_waited_for_in_vain() {
    let door = Door::new();
    let key = door.issue(None);
    let unanswered = async || door.keys.authenticate(key.expose(), ADDRESS).await.unwrap().unanswered;
    assert!(!unanswered().await);
    *door.store.delay.lock().unwrap() = Duration::from_millis(500);
    door.keys.flush();
    assert!(unanswered().await, "it was asked for, and is served as it was known");
    assert!(!unanswered().await, "for a second the store is not asked again");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_is_waited_for_250_ms() {
    let door = Door::new();
    let key = door.issue(None);
    *door.store.delay.lock().unwrap() = Duration::from_secs(60);
    let began = tokio::time::Instant::now();
    assert_eq!(door.knock(&key).await, Err(KeyRefusal::StoreUnavailable));
    assert_eq!(began.elapsed(), Duration::from_millis(250));
}

#[tokio::test(start_paused = true)]
async fn a_key_in_use_is_asked_for_again_behind_its_requests() {
    let door = Door::new();
    let key = door.issue(None);
    door.knock(&key).await.unwrap();
    for _ in 0..20 {
        door.clock.advance(Duration::from_secs(10));
        let began = tokio::time::Instant::now();
        *door.store.delay.lock().unwrap() = Duration::from_millis(50);
        door.knock(&key).await.unwrap();
        assert_eq!(began.elapsed(), Duration::ZERO, "no request waits for a refresh");
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    assert!((4..=8).contains(&door.lookups()), "{}", door.lookups());
}

#[tokio::test(start_paused = true)]
async fn last_used_times_are_written_in_batches() {
    let door = Door::new();
    let key = door.issue(None);
    let id = door.knock(&key).await.unwrap().key;
    door.clock.advance(Duration::from_secs(1));
    door.knock(&key).await.unwrap();
    assert!(door.store.used.lock().unwrap().is_empty());
    door.keys.write_used().await;
    assert_eq!(door.store.used.lock().unwrap().get(&id), Some(&Timestamp(NOON.0 + 1_000_000)));
    door.store.used.lock().unwrap().clear();
    door.keys.write_used().await;
    assert!(door.store.used.lock().unwrap().is_empty(), "what was not used is not written again");
}

#[tokio::test(start_paused = true)]
async fn invented_keys_from_one_address_cost_no_more_look_ups_than_the_brake_allows() {
    let door = Door::new();
    let (cached, new) = (door.issue(None), door.issue(None));
    door.knock(&cached).await.unwrap();
    let before = door.lookups();
    let mut refusals = HashMap::<_, u32>::new();
    for _ in 0..10_000 {
        let refusal = door.knock(&RawKey::mint().unwrap()).await.unwrap_err();
        let kind = if matches!(refusal, KeyRefusal::TooManyFailed { .. }) { "braked" } else { "invalid" };
        *refusals.entry(kind).or_default() += 1;
        assert!(door.knock(&cached).await.is_ok());
    }
    assert_eq!((refusals["invalid"], refusals["braked"]), (30, 9_970));
    assert_eq!(door.lookups() - before, 30);

    door.keys.flush();
    door.clock.advance(Duration::from_secs(20));
    assert!(door.knock(&cached).await.is_ok(), "a key once proved is looked up again past the brake");
    let braked = Err(KeyRefusal::TooManyFailed { wait: Duration::from_secs(40) });
    assert_eq!(door.knock(&new).await, braked);
    let elsewhere = "198.51.100.1".parse().unwrap();
    assert!(door.keys.authenticate(new.expose(), elsewhere).await.is_ok(), "another address is not concerned");
    assert!(door.knock(&new).await.is_ok(), "and now it is known");
    door.clock.advance(Duration::from_secs(40));
    assert_eq!(door.knock(&RawKey::mint().unwrap()).await, Err(KeyRefusal::Invalid), "a minute later");
}

#[tokio::test(start_paused = true)]
async fn a_team_behind_one_address_is_let_in_by_an_edge_that_knows_none_of_its_keys() {
    let door = Door::new();
    *door.store.delay.lock().unwrap() = Duration::from_millis(20);
    let keys: Vec<_> = (0..64).map(|_| door.issue(None)).collect();
    let knocked = join_all(keys.iter().map(|key| door.knock(key))).await;
    assert!(knocked.iter().all(Result::is_ok), "{knocked:?}");
    assert_eq!(door.store.in_flight.lock().unwrap().1, 30, "no more are under way than may fail");
}

#[tokio::test(start_paused = true)]
async fn invented_keys_that_come_at_once_cost_no_more_look_ups_than_the_brake_allows() {
    let door = Door::new();
    *door.store.delay.lock().unwrap() = Duration::from_millis(20);
    let invented: Vec<_> = (0..1_000).map(|_| RawKey::mint().unwrap()).collect();
    let refused = join_all(invented.iter().map(|key| door.knock(key))).await;
    let braked = |refused: &&Result<_, _>| matches!(refused, Err(KeyRefusal::TooManyFailed { .. }));
    assert_eq!((refused.iter().filter(braked).count(), door.lookups()), (970, 30));
}

#[tokio::test(start_paused = true)]
async fn who_may_ask_no_more_keeps_nobody_elsewhere_from_a_key_they_asked_for_too() {
    let door = Door::new();
    *door.store.delay.lock().unwrap() = Duration::from_millis(20);
    let invented: Vec<_> = (0..30).map(|_| RawKey::mint().unwrap()).collect();
    let good = door.issue(None);
    let elsewhere = "198.51.100.1".parse().unwrap();
    let flood = join_all(invented.iter().chain([&good]).map(|key| door.knock(key)));
    let (flood, there) = tokio::join!(flood, door.keys.authenticate(good.expose(), elsewhere));
    assert!(matches!(flood.last(), Some(Err(KeyRefusal::TooManyFailed { .. }))), "it stood behind the thirty");
    assert!(there.is_ok(), "{there:?}");
}

#[tokio::test(start_paused = true)]
async fn one_wrong_key_sent_again_and_again_brakes_nobody() {
    let door = Door::new();
    let (wrong, good) = (RawKey::mint().unwrap(), door.issue(None));
    for _ in 0..1_000 {
        assert_eq!(door.knock(&wrong).await, Err(KeyRefusal::Invalid));
    }
    assert!(door.knock(&good).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_brakes_nobody() {
    let door = Door::new();
    let keys: Vec<_> = (0..100).map(|_| door.issue(None)).collect();
    door.down(true);
    for key in &keys {
        assert_eq!(door.knock(key).await, Err(KeyRefusal::StoreUnavailable));
    }
    door.down(false);
    for key in &keys {
        assert!(door.knock(key).await.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn a_replaced_key_ends_by_the_local_clock_and_then_reads_as_revoked() {
    let door = Door::new();
    let key = door.issue(None);
    let end = Timestamp(NOON.0 + 1_000_000);
    door.store.keys.lock().unwrap().get_mut(key.public_id().as_str()).unwrap().retires_at = Some(end);
    assert!(door.knock(&key).await.is_ok());
    door.clock.advance(Duration::from_micros(999_999));
    assert!(door.knock(&key).await.is_ok());
    door.down(true);
    door.clock.advance(Duration::from_micros(1));
    assert_eq!(door.knock(&key).await, Err(KeyRefusal::Invalid));
}

#[path = "keys_changes_tests.rs"]
mod changes;
