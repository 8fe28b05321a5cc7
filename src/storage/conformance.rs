//! What every adapter of a port must do, written once and run against each of them: the embedded store, Postgres on a
//! real server, and the doubles in memory that other rooms test with.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use uuid::Uuid;

use crate::admission::testing::MemoryQuota;
use crate::admission::{
    Ask, Changed, Grant, KeyRegistry, KeyStatus, KeyStore, LARGEST_LEASE, NewKey, OpenLease, Pepper, Posting,
    PostingId, QuotaStore, RawKey, Settlement, Subject, Word,
};
use crate::identity::{Account, AccountStore, Email};
use crate::ledger::{LedgerStore, Row, Status};
use crate::units::{
    Day, EdgeId, KeyId, LeaseId, NanoUsd, RequestId, Stage, StageSource, StoreError, Timestamp, Usage, UserId,
};

pub(super) const NOON: Timestamp = Timestamp(1_769_860_800_000_000); // 2026-01-31T12:00:00Z
const TODAY: Day = Day(20_484);
const EDGE: EdgeId = EdgeId(Uuid::from_u128(9));
/// The longest that a word between edges may take; only what fails waits as long.
const PATIENCE: Duration = Duration::from_secs(20);

fn ask(subject: Subject, lease: LeaseId, limit: u32, settled: Vec<Settlement>) -> Ask {
    Ask { edge: EDGE, lease, subject, day: TODAY, limit, most: LARGEST_LEASE, settled }
}

fn lease() -> LeaseId {
    LeaseId(Uuid::new_v4())
}

fn settlement(subject: Subject, lease: LeaseId, used: u32, closes: bool) -> Settlement {
    Settlement { lease, subject, day: TODAY, used, closes }
}

fn posting(subject: Subject, count: u32) -> Posting {
    Posting { id: PostingId(Uuid::new_v4()), subject, day: TODAY, count }
}

/// Everything a quota store promises, for a user and for a key, on one edge.
pub(super) async fn quota_store(store: &dyn QuotaStore) {
    for subject in [Subject::User(UserId(Uuid::new_v4())), Subject::Key(KeyId(Uuid::new_v4()))] {
        leases_are_granted_settled_and_closed(store, subject).await;
        a_call_that_is_repeated_changes_nothing(store, subject).await;
        a_post_may_pass_the_limit_and_a_release_makes_room(store, subject).await;
    }
    many_asks_at_once_never_pass_the_limit(store, Subject::User(UserId(Uuid::new_v4()))).await;
    a_lease_is_a_thousandth_of_a_large_limit_at_the_most(store, Subject::User(UserId(Uuid::new_v4()))).await;
}

async fn a_lease_is_a_thousandth_of_a_large_limit_at_the_most(store: &dyn QuotaStore, subject: Subject) {
    for (most, granted) in [(900, 900), (5_000, 1_000)] {
        let grant = store.grant(Ask { most, ..ask(subject, lease(), 1_000_000, vec![]) }).await.unwrap();
        assert_eq!(grant.granted, granted);
    }
    let small = Ask { most: 5_000, ..ask(subject, lease(), 20_000, vec![]) };
    let granted = store.grant(small).await.unwrap().granted;
    assert!([32, 128].contains(&granted), "{granted}");
}

async fn leases_are_granted_settled_and_closed(store: &dyn QuotaStore, subject: Subject) {
    assert_eq!(store.used(subject, TODAY).await.unwrap(), 0);
    let first = lease();
    let grant = store.grant(ask(subject, first, 100, vec![])).await.unwrap();
    assert_eq!(grant, Grant { granted: 25, counted: 25, live_edges: 1, elsewhere: 0 });
    assert_eq!(store.used(subject, TODAY).await.unwrap(), 0, "what is leased is not used");
    store.settle(vec![settlement(subject, first, 10, false)]).await.unwrap();
    assert_eq!(store.used(subject, TODAY).await.unwrap(), 10);
    let open = OpenLease { lease: first, subject, day: TODAY, granted: 25, used: 10 };
    assert!(store.open_leases(EDGE).await.unwrap().contains(&open));
    let second = lease();
    let closing = vec![settlement(subject, first, 12, true)];
    let grant = store.grant(ask(subject, second, 100, closing)).await.unwrap();
    assert_eq!((grant.granted, grant.counted), (22, 34), "12 used, 88 free, a quarter of them leased");
    store.settle(vec![settlement(subject, second, 22, true)]).await.unwrap();
    assert!(store.open_leases(EDGE).await.unwrap().iter().all(|open| open.subject != subject));
    assert_eq!(store.used(subject, TODAY).await.unwrap(), 34);
    assert_eq!(store.grant(ask(subject, lease(), 34, vec![])).await.unwrap().granted, 0);
    assert_eq!(store.used(subject, Day(TODAY.0 + 1)).await.unwrap(), 0, "another day is another count");
}

async fn a_call_that_is_repeated_changes_nothing(store: &dyn QuotaStore, subject: Subject) {
    let again = lease();
    let first = store.grant(ask(subject, again, 1_000, vec![])).await.unwrap();
    assert_eq!(store.grant(ask(subject, again, 1_000, vec![])).await.unwrap(), first);
    for closes in [false, false, true, true] {
        store.settle(vec![settlement(subject, again, 6, closes)]).await.unwrap();
        assert_eq!(store.used(subject, TODAY).await.unwrap(), 40);
    }
    let give_back = posting(subject, 6);
    for _ in 0..2 {
        store.release(give_back).await.unwrap();
        assert_eq!(store.used(subject, TODAY).await.unwrap(), 34);
    }
}

async fn a_post_may_pass_the_limit_and_a_release_makes_room(store: &dyn QuotaStore, subject: Subject) {
    let outage = posting(subject, 10);
    for _ in 0..2 {
        store.post(outage).await.unwrap();
    }
    assert_eq!(store.used(subject, TODAY).await.unwrap(), 44);
    let beyond = store.grant(ask(subject, lease(), 40, vec![])).await.unwrap();
    assert_eq!((beyond.granted, beyond.counted), (0, 44));
    store.release(posting(subject, 5)).await.unwrap();
    assert_eq!(store.grant(ask(subject, lease(), 40, vec![])).await.unwrap().granted, 1);
}

async fn many_asks_at_once_never_pass_the_limit(store: &dyn QuotaStore, subject: Subject) {
    let grants = join_all((0..300).map(|_| store.grant(ask(subject, lease(), 100, vec![])))).await;
    assert_eq!(grants.into_iter().map(|grant| grant.unwrap().granted).sum::<u32>(), 100);
}

/// What an edge left and does not come back for: of days before the one that `close` is given, and of no other.
pub(super) async fn leases_left_behind<S: QuotaStore>(
    store: &S,
    close: impl AsyncFn(&S, Day) -> Result<u32, StoreError>,
) {
    for subject in [Subject::User(UserId(Uuid::new_v4())), Subject::Key(KeyId(Uuid::new_v4()))] {
        let left = lease();
        store.grant(ask(subject, left, 100, vec![])).await.unwrap();
        store.settle(vec![settlement(subject, left, 10, false)]).await.unwrap();
        assert_eq!(close(store, TODAY).await.unwrap(), 0, "its day is not over");
        assert_eq!(close(store, Day(TODAY.0 + 1)).await.unwrap(), 1);
        assert!(store.open_leases(EDGE).await.unwrap().is_empty());
        assert_eq!(store.used(subject, TODAY).await.unwrap(), 10);
        let grant = store.grant(ask(subject, lease(), 100, vec![])).await.unwrap();
        assert_eq!((grant.granted, grant.counted), (22, 32), "what was not used of it is free");
        assert_eq!(close(store, Day(TODAY.0 + 1)).await.unwrap(), 1);
    }
}

/// What two edges see of each other. `one` and `other` keep the same counts; each is heard by the edge that has it.
pub(super) async fn two_edges(one: &dyn QuotaStore, other: &dyn QuotaStore) {
    let edges = [EdgeId(Uuid::new_v4()), EdgeId(Uuid::new_v4())];
    for store in [one, other] {
        until(|| store.hears()).await;
    }
    let alone = one.beat(edges[0]).await.unwrap();
    assert_eq!(other.beat(edges[1]).await.unwrap(), alone + 1);
    for subject in [Subject::User(UserId(Uuid::new_v4())), Subject::Key(KeyId(Uuid::new_v4()))] {
        what_the_other_edge_holds_is_told(one, other, edges, subject).await;
    }
    what_is_recalled_comes_back_and_is_told(one, other, edges, Subject::User(UserId(Uuid::new_v4()))).await;
    one.depart(edges[0]).await.unwrap();
    assert_eq!(other.beat(edges[1]).await.unwrap(), alone);
}

async fn what_the_other_edge_holds_is_told(
    one: &dyn QuotaStore,
    other: &dyn QuotaStore,
    edges: [EdgeId; 2],
    subject: Subject,
) {
    let ask_of = |edge: EdgeId, lease: LeaseId| Ask { edge, ..ask(subject, lease, 80, vec![]) };
    let leases = [lease(), lease()];
    let first = one.grant(ask_of(edges[0], leases[0])).await.unwrap();
    assert_eq!(first, Grant { granted: 10, counted: 10, live_edges: 2, elsewhere: 0 }, "a quarter of this edge's half");
    let second = other.grant(ask_of(edges[1], leases[1])).await.unwrap();
    assert_eq!(second, Grant { granted: 8, counted: 18, live_edges: 2, elsewhere: 10 });
    one.settle(vec![settlement(subject, leases[0], 3, false)]).await.unwrap();
    assert_eq!(other.grant(ask_of(edges[1], leases[1])).await.unwrap(), Grant { elsewhere: 7, ..second });
    for (store, edge, lease, granted, used) in [(one, edges[0], leases[0], 10, 3), (other, edges[1], leases[1], 8, 0)] {
        let open = OpenLease { lease, subject, day: TODAY, granted, used };
        assert_eq!(store.open_leases(edge).await.unwrap(), [open], "each edge's leases are its own");
        store.settle(vec![settlement(subject, lease, granted, true)]).await.unwrap();
        assert_eq!(store.open_leases(edge).await.unwrap(), []);
    }
    assert_eq!(one.used(subject, TODAY).await.unwrap(), 18);
}

async fn what_is_recalled_comes_back_and_is_told(
    one: &dyn QuotaStore,
    other: &dyn QuotaStore,
    edges: [EdgeId; 2],
    subject: Subject,
) {
    let ask_of = |edge: EdgeId, lease: LeaseId| Ask { edge, ..ask(subject, lease, 1, vec![]) };
    let held = lease();
    assert_eq!(one.grant(ask_of(edges[0], held)).await.unwrap().granted, 1);
    let empty = other.grant(ask_of(edges[1], lease())).await.unwrap();
    assert_eq!((empty.granted, empty.elsewhere), (0, 1));

    other.recall(edges[1], subject, TODAY).await.unwrap();
    assert_eq!(word(one, edges[0]).await, Word::Recall { subject, day: TODAY });
    one.settle(vec![settlement(subject, held, 0, true)]).await.unwrap();
    assert_eq!(word(other, edges[1]).await, Word::Freed { subject, day: TODAY }, "and not one's own recall");
    let granted = lease();
    assert_eq!(other.grant(ask_of(edges[1], granted)).await.unwrap().granted, 1);

    other.settle(vec![settlement(subject, granted, 1, true)]).await.unwrap();
    assert_eq!(one.grant(ask_of(edges[0], lease())).await.unwrap().granted, 0, "used up, and one edge knows it");
    other.release(posting(subject, 1)).await.unwrap();
    assert_eq!(word(one, edges[0]).await, Word::Freed { subject, day: TODAY });
    assert_eq!(one.grant(ask_of(edges[0], lease())).await.unwrap().granted, 1);
}

/// The next word that says something.
async fn word(store: &dyn QuotaStore, edge: EdgeId) -> Word {
    let next = async {
        loop {
            match store.hear(edge).await {
                Word::Missed => {}
                word => return word,
            }
        }
    };
    tokio::time::timeout(PATIENCE, next).await.expect("a word was to be heard")
}

async fn until(condition: impl Fn() -> bool) {
    let poll = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, poll).await.expect("it was to come true");
}

/// Two thousand rows, some of them twice in a batch and all of them twice in all: as many as there are ids stay.
pub(super) async fn ledger_store(store: &dyn LedgerStore) {
    let batch = |numbers: std::ops::Range<u128>| numbers.map(row).collect::<Arc<[Row]>>();
    for _ in 0..2 {
        store.append((0..1_500).chain(1_000..1_500).map(row).collect()).await.unwrap();
        store.append(batch(1_400..2_000)).await.unwrap();
    }
    store.append(batch(0..0)).await.unwrap();
}

/// One request's row; equal numbers are one request.
pub(super) fn row(number: u128) -> Row {
    Row {
        request: RequestId(Uuid::from_u128(number)),
        created_at: Timestamp(NOON.0 + 1),
        user: UserId(Uuid::from_u128(1)),
        key: KeyId(Uuid::from_u128(2)),
        session_id: Some("session".to_owned()),
        stage: Some(Stage::Review),
        source: Some(StageSource::Inferred),
        model: Some(Arc::from("gpt-mini")),
        stream: true,
        body_bytes: 2048,
        status: Status::Success,
        http_status: 200,
        usage: Some(Usage { input: 100, cached_input: 60, cache_write: 10, output: 20, reasoning: 5 }),
        estimated: false,
        cost: NanoUsd(1),
        latency: Duration::from_micros(1_234_567),
        first_token: Some(Duration::from_millis(321)),
        attempts: 2,
        error: None,
    }
}

/// A key of a new user, its row, and the raw key.
pub(super) async fn issue(accounts: &dyn AccountStore, keys: &dyn KeyRegistry, email: &str) -> (NewKey, RawKey) {
    let account = Account::new(Email::parse(email).unwrap(), NOON);
    assert!(accounts.create(account.clone(), None).await.unwrap());
    let raw = RawKey::mint().unwrap();
    let key = NewKey {
        stages: Some(vec![Stage::Plan, Stage::Code]),
        models: Some(vec!["deepseek".to_owned(), "odd,\"name".to_owned()]),
        daily_requests: Some(50),
        expires_at: Some(Timestamp(NOON.0 + 1)),
        ..NewKey::of(&raw, &Pepper::new(b"pepper"), account.id, "laptop", NOON)
    };
    assert!(keys.create(key.clone(), None).await.unwrap());
    (key, raw)
}

pub(super) async fn keys<S: KeyStore + KeyRegistry + AccountStore>(store: Arc<S>) {
    let (key, raw) = issue(&*store, &*store, "keys@example.org").await;
    let found = KeyStore::find(&*store, raw.public_id().as_str()).await.unwrap().unwrap();
    assert!(found.active && found.hash == key.hash);
    let principal = found.principal;
    assert_eq!((principal.user, principal.key, &*principal.email), (key.user, key.id, "keys@example.org"));
    assert_eq!((&principal.stages, &principal.models), (&key.stages, &key.models));
    assert_eq!((principal.daily_requests, principal.expires_at), (Some(50), key.expires_at));
    assert!(KeyStore::find(&*store, "000000000000").await.unwrap().is_none());

    let later = Timestamp(NOON.0 + 5);
    store.mark_used(&[(key.id, later)]).await.unwrap();
    store.mark_used(&[(key.id, NOON)]).await.unwrap();
    let rows = KeyRegistry::list(&*store, Some(key.user)).await.unwrap();
    assert_eq!((rows.len(), rows[0].last_used_at, rows[0].status), (1, Some(later), KeyStatus::Active));
    assert_eq!((&rows[0].prefix[..], &rows[0].label[..]), (raw.display_prefix(), "laptop"));

    let before = store.changes(None).await.unwrap().mark;
    let fresh = RawKey::mint().unwrap();
    let replacement = NewKey::of(&fresh, &Pepper::new(b"pepper"), key.user, "laptop", later);
    assert!(store.rotate(key.id, replacement.clone(), None, None).await.unwrap());
    match store.changes(Some(before)).await.unwrap().what {
        Changed::Any => {}
        Changed::Keys(ids) => {
            let told = |raw: &RawKey| ids.contains(&raw.public_id());
            assert!(told(&raw) && told(&fresh), "both are named: {ids:?}");
        }
    }
    assert!(
        !store.rotate(key.id, NewKey { id: KeyId(Uuid::new_v4()), ..replacement.clone() }, None, None).await.unwrap()
    );
    assert!(!KeyStore::find(&*store, raw.public_id().as_str()).await.unwrap().unwrap().active);
    assert!(KeyStore::find(&*store, fresh.public_id().as_str()).await.unwrap().unwrap().active);
    assert!(store.revoke(replacement.id, later).await.unwrap());
    assert!(!store.revoke(replacement.id, later).await.unwrap(), "it was revoked already");
    let statuses: Vec<_> = KeyRegistry::list(&*store, None).await.unwrap().into_iter().map(|row| row.status).collect();
    assert_eq!(statuses, [KeyStatus::Revoked, KeyStatus::Revoked]);
}

#[tokio::test]
async fn the_quota_double_conforms() {
    quota_store(&MemoryQuota::with_edges(1)).await;
}
