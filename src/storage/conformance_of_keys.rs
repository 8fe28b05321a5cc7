//! What every adapter must do with keys that replace one another, and with the pepper's fingerprint.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::future::join_all;
use uuid::Uuid;

use crate::admission::{
    KeyRegistry, KeyStatus, KeyStore, NewKey, Pepper, PepperProblem, PepperStore, RawKey, ShortLived, StoredKey,
};
use crate::identity::{Account, AccountStore, Email};
use crate::storage::conformance::{self, NOON};
use crate::units::{KeyId, StoreError, Timestamp};

async fn stored<S: KeyStore>(store: &S, raw: &RawKey) -> StoredKey {
    KeyStore::find(store, raw.public_id().as_str()).await.unwrap().unwrap()
}

/// A replaced key stays valid for as long as was said, cannot be replaced twice, and hands its counter on.
pub(super) async fn rotation<S: KeyStore + KeyRegistry + AccountStore>(store: &S) {
    let (first, raw) = conformance::issue(store, store, "rotation@example.org").await;
    assert_eq!(stored(store, &raw).await.principal.counter, first.id, "the first runs on its own");
    let replacement = |raw: &RawKey| NewKey::of(raw, &Pepper::new(b"pepper"), first.user, "laptop", NOON);

    let (second_raw, until) = (RawKey::mint().unwrap(), Timestamp(NOON.0 + 86_400_000_000));
    let second = replacement(&second_raw);
    assert!(store.rotate(first.id, second.clone(), Some(until), None).await.unwrap());
    let old = stored(store, &raw).await;
    assert_eq!((old.active, old.retires_at), (true, Some(until)), "both are good meanwhile");
    let new = stored(store, &second_raw).await;
    assert_eq!((new.active, new.retires_at, new.principal.counter), (true, None, first.id));
    let rows = KeyRegistry::list(store, Some(first.user)).await.unwrap();
    assert_eq!(rows.iter().find(|row| row.id == first.id).unwrap().retires_at, Some(until));

    let third_raw = RawKey::mint().unwrap();
    let third = replacement(&third_raw);
    for retires_at in [None, Some(until)] {
        let again = NewKey { id: KeyId(Uuid::new_v4()), ..third.clone() };
        assert!(!store.rotate(first.id, again, retires_at, None).await.unwrap(), "it was replaced already");
    }
    assert!(store.rotate(second.id, third, None, None).await.unwrap());
    assert!(!stored(store, &second_raw).await.active);
    assert_eq!(stored(store, &third_raw).await.principal.counter, first.id, "however many there were");
    assert!(store.revoke(first.id, NOON).await.unwrap(), "who waits for its end can still be revoked");
}

/// What `ask` comes to. Who finds every connection taken comes again, a thousand times at the most.
async fn patiently(ask: impl AsyncFn() -> Result<bool, StoreError>) -> bool {
    for _ in 1..1_000 {
        if let Ok(done) = ask().await {
            return done;
        }
    }
    ask().await.unwrap()
}

/// However many are made at once, by new keys and by such as stand beside the one they replace; what is over does not count.
pub(super) async fn room<S: KeyStore + KeyRegistry + AccountStore>(store: &S) {
    let (first, _) = conformance::issue(store, store, "room@example.org").await;
    let now = Timestamp(NOON.0 + 1);
    let fresh = || NewKey::of(&RawKey::mint().unwrap(), &Pepper::new(b"pepper"), first.user, "one of many", now);
    let usable = async || {
        let rows = KeyRegistry::list(store, Some(first.user)).await.unwrap();
        rows.iter().filter(|row| row.status == KeyStatus::Active && row.expires_at.is_none_or(|end| now < end)).count()
    };
    assert_eq!(usable().await, 0, "the first is over");
    let held = fresh();
    assert!(KeyRegistry::create(store, held.clone(), Some(1)).await.unwrap());
    let made =
        join_all((0..32).map(async |_| patiently(async || KeyRegistry::create(store, fresh(), Some(10)).await).await));
    assert_eq!(made.await.into_iter().filter(|made| *made).count(), 9);
    assert_eq!(usable().await, 10);
    let until = Some(Timestamp(now.0 + 60_000_000));
    assert!(!store.rotate(held.id, fresh(), until, Some(10)).await.unwrap());
    assert!(store.rotate(held.id, fresh(), None, None).await.unwrap(), "in the place of another there is room");
    assert!(!KeyRegistry::create(store, fresh(), Some(10)).await.unwrap());
    assert!(KeyRegistry::create(store, fresh(), Some(11)).await.unwrap());
    assert!(KeyRegistry::create(store, fresh(), None).await.unwrap());
    assert_eq!(usable().await, 12);
}

/// A label and an end are changed each for itself, of active keys alone.
pub(super) async fn changes<S: KeyStore + KeyRegistry + AccountStore>(store: &S) {
    let (key, raw) = conformance::issue(store, store, "changes@example.org").await;
    let row = async || KeyRegistry::list(store, Some(key.user)).await.unwrap().remove(0);
    let change = async |key, label: Option<&str>, end| {
        KeyRegistry::change(store, key, label.map(str::to_owned), end, NOON, Some(1)).await.unwrap()
    };
    let later = Timestamp(NOON.0 + 9);
    assert!(change(key.id, Some("desk \u{1f98a}"), None).await);
    assert_eq!((&row().await.label[..], row().await.expires_at), ("desk \u{1f98a}", key.expires_at));
    assert!(change(key.id, None, Some(Some(later))).await);
    assert_eq!((&row().await.label[..], row().await.expires_at), ("desk \u{1f98a}", Some(later)));
    assert_eq!(stored(store, &raw).await.principal.expires_at, Some(later));
    assert!(change(key.id, None, Some(None)).await);
    assert_eq!(stored(store, &raw).await.principal.expires_at, None);
    assert!(!change(KeyId(Uuid::new_v4()), Some("x"), None).await);
    assert!(store.revoke(key.id, NOON).await.unwrap());
    assert!(!change(key.id, Some("x"), None).await, "it is revoked");
    assert_eq!(row().await.label, "desk \u{1f98a}");
}

/// A later end is a key more, for one that is over and for one that is about to be; however many are given one at once.
pub(super) async fn room_for_ends<S: KeyStore + KeyRegistry + AccountStore>(store: &S) {
    let (over, _) = conformance::issue(store, store, "ends@example.org").await;
    let now = Timestamp(NOON.0 + 1);
    let in_minutes = |minutes: i64| Some(Timestamp(now.0 + minutes * 60_000_000));
    let made = async |expires_at, most| {
        let raw = RawKey::mint().unwrap();
        let key = NewKey { expires_at, ..NewKey::of(&raw, &Pepper::new(b"pepper"), over.user, "one of many", now) };
        assert!(KeyRegistry::create(store, key.clone(), most).await.unwrap());
        key.id
    };
    let ends = async |key, end| {
        let label = || Some("changed".to_owned());
        patiently(async || KeyRegistry::change(store, key, label(), Some(end), now, Some(4)).await).await
    };
    let end_of = async |key: KeyId| {
        let rows = KeyRegistry::list(store, Some(over.user)).await.unwrap();
        rows.into_iter().find(|row| row.id == key).map(|row| (row.label, row.expires_at)).unwrap()
    };
    let lasting = made(None, Some(4)).await;
    let limited = made(in_minutes(9), Some(4)).await;
    assert!(ends(over.id, in_minutes(5)).await, "it is the third");
    assert!(ends(over.id, Some(now)).await, "and over again");
    let many = join_all((0..16).map(async |_| made(Some(now), None).await)).await;
    let revived = join_all(many.iter().map(async |key| ends(*key, None).await)).await;
    assert_eq!(revived.iter().filter(|revived| **revived).count(), 2);
    let refused = many[revived.iter().position(|revived| !revived).unwrap()];
    assert_eq!(end_of(refused).await, ("one of many".to_owned(), Some(now)), "nothing of it is changed");
    assert!(ends(limited, in_minutes(10)).await, "three stand beside it");
    let fifth = made(in_minutes(9), None).await;
    for key in [limited, fifth] {
        assert!(!ends(key, in_minutes(11)).await && !ends(key, None).await, "four stand beside it");
        assert!(ends(key, in_minutes(8)).await, "it may end sooner");
    }
    assert!(ends(lasting, None).await, "it had no end before");
    assert!(ends(lasting, in_minutes(7)).await);
    assert_eq!(end_of(lasting).await, ("changed".to_owned(), in_minutes(7)));
    let change = KeyRegistry::change(store, fifth, None, Some(None), now, None);
    assert!(change.await.unwrap(), "no end of them");
}

pub(super) async fn pepper(store: &dyn PepperStore) {
    let (right, wrong) = (Pepper::new(b"the right pepper"), Pepper::new(b"another pepper"));
    right.check(store).await.unwrap();
    right.check(store).await.unwrap();
    let Err(PepperProblem::Another { found, kept }) = wrong.check(store).await else { panic!("it was taken") };
    assert!(wrong.fingerprint().starts_with(&found) && right.fingerprint().starts_with(&kept) && found != kept);
    right.check(store).await.unwrap();
}

/// Of keys that were made for minutes those that are long past go; another's of the same name stays.
pub(super) async fn only_past_keys_of_minutes_go<Forgot: Future<Output = u32>>(
    store: &(impl AccountStore + KeyRegistry),
    forget: impl Fn(ShortLived, Timestamp) -> Forgot,
) {
    const MINUTES: ShortLived = ShortLived { label: "playground", life: Duration::from_secs(900) };
    let account = Account::new(Email::parse("minutes@example.org").unwrap(), NOON);
    assert!(AccountStore::create(store, account.clone(), None).await.unwrap());
    let key = |label: &str, life: Option<u64>| NewKey {
        expires_at: life.map(|life| NOON.after(Duration::from_secs(life))),
        ..NewKey::of(&RawKey::mint().unwrap(), &Pepper::new(b"pepper"), account.id, label, NOON)
    };
    let past = [key("playground", Some(900)), key("playground", Some(900))];
    let kept = [key("playground", Some(3_600)), key("playground", None), key("laptop", Some(900))];
    for key in past.iter().chain(&kept) {
        assert!(KeyRegistry::create(store, key.clone(), None).await.unwrap());
    }
    let ended = NOON.after(MINUTES.life);
    assert_eq!(forget(MINUTES, ended).await, 0, "they end at this very moment");
    assert_eq!(forget(MINUTES, ended.after(Duration::from_secs(7_200))).await, 2);
    let left: HashSet<KeyId> =
        KeyRegistry::list(store, Some(account.id)).await.unwrap().iter().map(|row| row.id).collect();
    assert_eq!(left, kept.iter().map(|key| key.id).collect());
}
