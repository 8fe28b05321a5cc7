//! What every adapter must do with keys that replace one another, and with the pepper's fingerprint.

use uuid::Uuid;

use crate::admission::{KeyRegistry, KeyStore, NewKey, Pepper, PepperProblem, PepperStore, RawKey, StoredKey};
use crate::identity::AccountStore;
use crate::storage::conformance::{self, NOON};
use crate::units::{KeyId, Timestamp};

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
    assert!(store.rotate(first.id, second.clone(), Some(until)).await.unwrap());
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
        assert!(!store.rotate(first.id, again, retires_at).await.unwrap(), "it was replaced already");
    }
    assert!(store.rotate(second.id, third, None).await.unwrap());
    assert!(!stored(store, &second_raw).await.active);
    assert_eq!(stored(store, &third_raw).await.principal.counter, first.id, "however many there were");
    assert!(store.revoke(first.id, NOON).await.unwrap(), "who waits for its end can still be revoked");
}

pub(super) async fn pepper(store: &dyn PepperStore) {
    let (right, wrong) = (Pepper::new(b"the right pepper"), Pepper::new(b"another pepper"));
    right.check(store).await.unwrap();
    right.check(store).await.unwrap();
    let Err(PepperProblem::Another { found, kept }) = wrong.check(store).await else { panic!("it was taken") };
    assert!(wrong.fingerprint().starts_with(&found) && right.fingerprint().starts_with(&kept) && found != kept);
    right.check(store).await.unwrap();
}
