//! What other processes say, and what becomes of it when it cannot be heard.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::ports::{eventually, listens, open, open_for_edge};
use crate::admission::{
    Changed, KeyRefusal, KeyRegistry, KeySettings, KeyStore, Keys, QuotaSettings, QuotaStore, RateLimiter, RawKey,
    Subject, Word,
};
use crate::clock::{Clock, ManualClock, SystemClock};
use crate::storage::conformance::{self, NOON};
use crate::storage::postgres::{Address, Postgres};
use crate::storage::support::postgres::{Database, Server};
use crate::storage::support::proxy::Proxy;
use crate::units::{EdgeId, Timestamp, UserId};

const EDGE: EdgeId = EdgeId(Uuid::from_u128(1));
const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The store by way of a proxy.
async fn behind(proxy: &Proxy, database: &Database) -> Arc<Postgres> {
    Address::parse(&by_way_of(proxy, database), None).unwrap().open_for_edge().await.unwrap()
}

fn by_way_of(proxy: &Proxy, database: &Database) -> String {
    let url = database.url();
    let (user, rest) = url.split_once('@').unwrap();
    let (_, name) = rest.split_once('/').unwrap();
    format!("{user}@{}/{name}", proxy.address())
}

fn before(database: &Database) -> Proxy {
    let url = database.url();
    let (_, rest) = url.split_once('@').unwrap();
    Proxy::before(rest.split_once('/').unwrap().0.parse().unwrap())
}

#[tokio::test]
async fn a_revocation_by_another_process_reaches_a_cached_key() {
    let database = Database::fresh().await;
    let (edge, command) = (open_for_edge(&database).await, open(&database).await);
    let (key, raw) = conformance::issue(&*command, &*command, "ada@example.org").await;
    listens(&edge).await;
    let clock = ManualClock::at(Timestamp(NOON.0 - 1));
    let keys = Arc::new(Keys::new(edge, b"pepper", Arc::new(clock), KeySettings::default()));
    let watching = tokio::spawn(Arc::clone(&keys).watch());
    assert_eq!(keys.authenticate(raw.expose(), ADDRESS).await.unwrap().principal.key, key.id);
    command.revoke(key.id, NOON).await.unwrap();
    eventually(async || keys.authenticate(raw.expose(), ADDRESS).await.is_err()).await;
    watching.abort();
}

#[tokio::test]
async fn a_key_changed_in_the_database_is_named_and_an_account_concerns_any() {
    let database = Database::fresh().await;
    let store = open_for_edge(&database).await;
    listens(&store).await;
    let (_, raw) = conformance::issue(&*store, &*store, "ada@example.org").await;
    let told = async |statement: &str| {
        let before = store.changes(None).await.unwrap().mark;
        database.connect().await.batch_execute(statement).await.unwrap();
        eventually(async || store.changes(Some(before)).await.unwrap().mark != before).await;
        store.changes(Some(before)).await.unwrap().what
    };
    // Its own notice of the key that was made, too.
    eventually(async || store.changes(None).await.unwrap().mark >= 3).await;
    let named = told("update public.api_keys set label = 'desk'").await;
    assert_eq!(named, Changed::Keys(vec![raw.public_id()]));
    assert_eq!(told("update cfx.accounts set disabled_at = now()").await, Changed::Any);
    assert!(!KeyStore::find(&*store, raw.public_id().as_str()).await.unwrap().unwrap().active);
}

#[tokio::test]
async fn what_was_said_while_the_connection_was_cut_counts_as_missed() {
    let database = Database::fresh().await;
    let proxy = before(&database);
    let store = behind(&proxy, &database).await;
    listens(&store).await;
    assert_eq!(store.hear(EDGE).await, Word::Missed, "nobody knows what was said before it began to listen");
    let mark = store.changes(None).await.unwrap().mark;
    proxy.cut();
    eventually(async || !store.hears()).await;
    assert!(store.beat(EDGE).await.is_err(), "the pool has no connection either");
    proxy.mend();
    listens(&store).await;
    assert_eq!(store.hear(EDGE).await, Word::Missed);
    assert_eq!(store.changes(Some(mark)).await.unwrap().what, Changed::Any, "every cached key is asked for again");
    assert_eq!(store.beat(EDGE).await.unwrap(), 1);
}

#[tokio::test]
async fn a_connection_on_which_nothing_arrives_is_found_out_and_a_direct_one_helps() {
    let database = Database::fresh().await;
    let pooler = before(&database);
    pooler.swallow_notices(true);
    let url = by_way_of(&pooler, &database);
    let direct = Address::parse(&url, Some(&database.url())).unwrap().open_for_edge().await.unwrap();
    listens(&direct).await;
    conformance::quota_store(&*direct).await;
    assert_eq!(direct.pool.session().await.unwrap().statement_cache.size(), 0, "the pooler's sessions are shared");

    let deaf = Address::parse(&url, None).unwrap().open_for_edge().await.unwrap();
    // It says so only after it has listened in vain; the words of its start come first.
    assert_eq!(deaf.hear(EDGE).await, Word::Missed);
    assert!(!deaf.hears());
    conformance::quota_store(&*deaf).await;
    assert!(!deaf.hears());
}

#[tokio::test]
async fn a_server_that_was_gone_is_used_again_when_it_is_back() {
    let server = Server::private();
    let database = server.database().await;
    let store = open_for_edge(&database).await;
    listens(&store).await;
    server.halt();
    eventually(async || !store.hears()).await;
    let refusal = store.beat(EDGE).await.unwrap_err().0;
    assert!(refusal.contains("DATABASE_URL names postgres@127.0.0.1:"), "{refusal}");
    server.resume();
    eventually(async || store.beat(EDGE).await.is_ok()).await;
    listens(&store).await;
}

#[tokio::test]
async fn no_request_waits_for_a_slow_store_longer_than_a_quarter_of_a_second() {
    let database = Database::fresh().await;
    let proxy = before(&database);
    let store = behind(&proxy, &database).await;
    let (key, raw) = conformance::issue(&*store, &*store, "ada@example.org").await;
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(Timestamp(NOON.0 - 1)));
    let keys = Keys::new(store.clone(), b"pepper", clock, KeySettings::default());
    let limiter = Arc::new(RateLimiter::new(store.clone(), EDGE, Arc::new(SystemClock), QuotaSettings::default()));
    assert_eq!(keys.authenticate(raw.expose(), ADDRESS).await.unwrap().principal.key, key.id);
    proxy.delay(Duration::from_millis(500));

    let patience = Duration::from_millis(250) + Duration::from_millis(150); // a busy machine's own delays
    let begun = tokio::time::Instant::now();
    let unknown = RawKey::mint().unwrap();
    assert_eq!(keys.authenticate(unknown.expose(), ADDRESS).await.unwrap_err(), KeyRefusal::StoreUnavailable);
    assert!(begun.elapsed() < patience, "a key never seen: {:?}", begun.elapsed());

    let begun = tokio::time::Instant::now();
    assert!(keys.authenticate(raw.expose(), ADDRESS).await.is_ok(), "a cached key");
    assert!(begun.elapsed() < patience, "a cached key: {:?}", begun.elapsed());

    let begun = tokio::time::Instant::now();
    let user = Subject::User(UserId(Uuid::new_v4()));
    assert!(limiter.check_and_increment(user, SystemClock.now().day(), 100).await.is_ok(), "counted here meanwhile");
    assert!(begun.elapsed() < patience, "the first request of the day: {:?}", begun.elapsed());
}
