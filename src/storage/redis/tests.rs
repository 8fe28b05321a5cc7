//! Against a real redis-server: the conformance suite, and what is promised where the server misbehaves.

use std::future::ready;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::testing::{Proxy, run, until};
use super::*;
use crate::admission::testing::MemoryQuota;
use crate::admission::{
    Ask, ConcurrencyStore, LARGEST_LEASE, OnStoreOutage, PlaceId, Posting, PostingId, QuotaSettings, RateLimiter,
    Settlement, Subject, Word,
};
use crate::clock::{Clock, SystemClock};
use crate::storage::conformance;
use crate::storage::support::redis::Server;
use crate::units::{Day, LeaseId, UserId};

const TODAY: Day = Day(20_484);

/// One edge on `url` that nobody has heard of yet, with a durable store that may be shared.
async fn silent_edge(url: &str, number: u128, durable: &Arc<MemoryQuota>) -> Arc<Redis> {
    let redis =
        Redis::new(RedisAddress::parse(url).unwrap(), EdgeId(Uuid::from_u128(number)), Arc::clone(durable) as _);
    redis.start().await.unwrap();
    redis
}

/// The same with its first heartbeat, listening.
pub(super) async fn edge(url: &str, number: u128, durable: &Arc<MemoryQuota>) -> Arc<Redis> {
    let redis = silent_edge(url, number, durable).await;
    redis.beat(redis.edge).await.unwrap();
    until("the edge hears", || ready(redis.hears())).await;
    redis
}

pub(super) fn durable() -> Arc<MemoryQuota> {
    Arc::new(MemoryQuota::with_edges(1))
}

pub(super) fn user() -> Subject {
    Subject::User(UserId(Uuid::new_v4()))
}

pub(super) fn ask(redis: &Redis, subject: Subject, limit: u32) -> Ask {
    let lease = LeaseId(Uuid::new_v4());
    Ask { edge: redis.edge, lease, subject, day: TODAY, limit, most: LARGEST_LEASE, settled: vec![] }
}

pub(super) fn settlement(subject: Subject, lease: LeaseId, used: u32, closes: bool) -> Vec<Settlement> {
    vec![Settlement { lease, subject, day: TODAY, used, closes }]
}

#[tokio::test]
async fn redis_conforms() {
    let (server, durable) = (Server::private(), durable());
    let redis = edge(&server.url(), 1, &durable).await;
    conformance::quota_store(&*redis).await;
}

#[tokio::test]
async fn two_edges_share_the_counts_and_hear_each_other() {
    let (server, durable) = (Server::private(), durable());
    let url = server.url();
    let (one, other) = (silent_edge(&url, 1, &durable).await, silent_edge(&url, 2, &durable).await);
    conformance::two_edges(&*one, &*other).await;
}

#[tokio::test]
async fn the_durable_store_follows_what_redis_counts() {
    let (server, durable) = (Server::private(), durable());
    let redis = edge(&server.url(), 1, &durable).await;
    let subject = user();
    let asked = ask(&redis, subject, 1_000);
    redis.grant(asked.clone()).await.unwrap();
    for used in [3, 7, 7, 20] {
        redis.settle(settlement(subject, asked.lease, used, false)).await.unwrap();
    }
    let begun = Instant::now();
    until("20 are stored", || ready(durable.count(subject, TODAY).0 == 20)).await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    let back = Posting { id: PostingId(Uuid::new_v4()), subject, day: TODAY, count: 5 };
    redis.release(back).await.unwrap();
    redis.release(back).await.unwrap();
    until("5 are given back", || ready(durable.count(subject, TODAY).0 == 15)).await;
    assert_eq!(redis.used(subject, TODAY).await.unwrap(), 15);
    // Another day of the same subject is known to the durable store alone.
    let other = Posting { id: PostingId(Uuid::new_v4()), subject, day: Day(TODAY.0 + 1), count: 9 };
    durable.post(other).await.unwrap();
    assert_eq!(redis.used(subject, Day(TODAY.0 + 1)).await.unwrap(), 9);
}

#[tokio::test]
async fn a_departing_edge_stores_the_last_of_it() {
    let (server, durable) = (Server::private(), durable());
    let redis = edge(&server.url(), 1, &durable).await;
    let (subject, other) = (user(), edge(&server.url(), 2, &durable).await);
    let asked = ask(&redis, subject, 1_000);
    redis.grant(asked.clone()).await.unwrap();
    redis.settle(settlement(subject, asked.lease, 6, false)).await.unwrap();
    redis.settle(settlement(subject, asked.lease, 8, true)).await.unwrap();
    assert_eq!(redis.beat(redis.edge).await.unwrap(), 2);
    redis.depart(redis.edge).await.unwrap();
    assert_eq!(durable.count(subject, TODAY).0, 8);
    assert_eq!(other.beat(other.edge).await.unwrap(), 1);
}

#[tokio::test]
async fn a_restarted_edge_finds_its_leases_and_stores_nothing_twice() {
    let (server, durable) = (Server::private(), durable());
    let asked = dying_edge(server.url(), Arc::clone(&durable)).await;
    let (subject, lease) = (asked.subject, asked.lease);
    let redis = edge(&server.url(), 1, &durable).await;
    let open = redis.open_leases(redis.edge).await.unwrap();
    assert_eq!(open.iter().map(|open| (open.lease, open.granted, open.used)).collect::<Vec<_>>(), [(lease, 32, 9)]);
    redis.settle(settlement(subject, lease, 11, true)).await.unwrap();
    until("all is stored", || ready(durable.count(subject, TODAY).0 >= 11)).await;
    redis.depart(redis.edge).await.unwrap();
    assert_eq!(durable.count(subject, TODAY).0, 11);
    assert!(redis.open_leases(redis.edge).await.unwrap().is_empty());
}

/// Settles 9, tells the durable store of a part, and is gone before Redis hears that it has it.
pub(super) async fn dying_edge(url: String, durable: Arc<MemoryQuota>) -> Ask {
    let process = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let life = process.spawn(async move {
        let redis = edge(&url, 1, &durable).await;
        let asked = ask(&redis, user(), 1_000);
        redis.grant(asked.clone()).await.unwrap();
        for used in [6, 9] {
            redis.settle(settlement(asked.subject, asked.lease, used, false)).await.unwrap();
        }
        redis.store((asked.subject, TODAY)).await.unwrap();
        asked
    });
    let asked = life.await.unwrap();
    process.shutdown_background();
    asked
}

#[tokio::test]
async fn words_reach_the_other_edge_and_what_was_missed_is_said() {
    let (mut server, durable) = (Server::private(), durable());
    let (one, other) = (edge(&server.url(), 1, &durable).await, edge(&server.url(), 2, &durable).await);
    let subject = user();
    one.recall(one.edge, subject, TODAY).await.unwrap();
    assert_eq!(other.hear(other.edge).await, Word::Recall { subject, day: TODAY });

    let asked = ask(&one, subject, 4);
    assert_eq!(one.grant(asked.clone()).await.unwrap().granted, 1);
    let all = ask(&one, subject, 1);
    assert_eq!(one.grant(all).await.unwrap().granted, 0);
    one.settle(settlement(subject, asked.lease, 0, true)).await.unwrap();
    assert_eq!(other.hear(other.edge).await, Word::Freed { subject, day: TODAY });

    server.restart();
    assert_eq!(other.hear(other.edge).await, Word::Missed);
    until("it hears again", || ready(other.hears())).await;
}

#[tokio::test]
async fn a_key_of_another_program_is_named_and_holds_up_nobody_else() {
    let (server, durable) = (Server::private(), durable());
    let redis = edge(&server.url(), 1, &durable).await;
    let [text, hash, mine] = [user(), user(), user()];
    let keys = [text, hash].map(|subject| redis.day_key((subject, TODAY)));
    run(&server, &["SET", &keys[0], "theirs"]).await;
    run(&server, &["HSET", &keys[1], "theirs", "1"]).await;
    for (subject, key) in [text, hash].into_iter().zip(&keys) {
        for error in [
            redis.grant(ask(&redis, subject, 10)).await.unwrap_err(),
            redis.post(Posting { id: PostingId(Uuid::new_v4()), subject, day: TODAY, count: 1 }).await.unwrap_err(),
        ] {
            let named = error.0.contains("REDIS_URL") && error.0.contains(key.as_str()) && error.0.contains("prefix");
            assert!(named, "{error}");
        }
    }
    let Subject::User(ada) = mine else { unreachable!() };
    let streams = format!("cfx:{{open:{}}}:streams", ada.0);
    run(&server, &["SET", &streams, "theirs"]).await;
    let error = redis.enter(ada, PlaceId(Uuid::new_v4()), 2).await.unwrap_err();
    assert!(error.0.contains(&streams), "{error}");
    let asked = ask(&redis, mine, 10);
    redis.grant(asked.clone()).await.unwrap();
    let mut batch = settlement(mine, asked.lease, 1, true);
    batch.extend(settlement(text, LeaseId(Uuid::new_v4()), 1, true));
    redis.settle(batch).await.unwrap_err();
    assert_eq!(redis.used(mine, TODAY).await.unwrap(), 1);
    assert_eq!(
        run(&server, &["GET", &keys[0]]).await,
        redis::Value::BulkString(b"theirs".to_vec()),
        "it is left alone"
    );
}

#[tokio::test]
async fn forgotten_scripts_are_loaded_again() {
    let (server, durable) = (Server::private(), durable());
    let redis = edge(&server.url(), 1, &durable).await;
    let subject = user();
    redis.grant(ask(&redis, subject, 100)).await.unwrap();
    run(&server, &["SCRIPT", "FLUSH"]).await;
    let grants = futures_util::future::join_all((0..20).map(|_| redis.grant(ask(&redis, subject, 60)))).await;
    assert_eq!(grants.into_iter().map(|grant| grant.unwrap().granted).sum::<u32>(), 35);
}

#[tokio::test]
async fn no_request_waits_for_a_slow_redis() {
    let (server, durable) = (Server::private(), durable());
    let proxy = Proxy::before(&server).await;
    let redis = edge(&proxy.url(), 1, &durable).await;
    let settings = QuotaSettings { on_store_outage: OnStoreOutage::Local, ..QuotaSettings::default() };
    let limiter = RateLimiter::new(Arc::clone(&redis) as _, redis.edge, Arc::new(SystemClock), settings);
    proxy.delay(Duration::from_millis(500));
    for _ in 0..4 {
        let begun = Instant::now();
        limiter.check_and_increment(user(), TODAY, 100).await.unwrap().spend();
        assert!(begun.elapsed() < Duration::from_millis(400), "{:?}", begun.elapsed());
    }
    proxy.delay(Duration::ZERO);
    proxy.cut(true);
    let begun = Instant::now();
    limiter.check_and_increment(user(), TODAY, 100).await.unwrap().spend();
    assert!(begun.elapsed() < Duration::from_millis(400), "{:?}", begun.elapsed());
    proxy.cut(false);
}

/// A node that has every slot still refuses a command or a script that touches two of them.
#[tokio::test]
async fn no_call_touches_two_slots_of_a_cluster() {
    let server = Server::with(&["--cluster-enabled", "yes"]);
    run(&server, &["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).await;
    let durable = durable();
    until("the cluster is up", async || {
        let info: String = redis::from_redis_value(run(&server, &["CLUSTER", "INFO"]).await).unwrap();
        info.contains("cluster_state:ok")
    })
    .await;
    let url = server.url();
    let (one, other) = (silent_edge(&url, 1, &durable).await, silent_edge(&url, 2, &durable).await);
    conformance::quota_store(&*edge(&format!("{url}?prefix=alone:"), 3, &durable).await).await;
    conformance::two_edges(&*one, &*other).await;
    let (user, place) = (UserId(Uuid::new_v4()), PlaceId(Uuid::new_v4()));
    assert!(one.enter(user, place, 1).await.unwrap());
    one.renew(&[(user, place), (UserId(Uuid::new_v4()), PlaceId(Uuid::new_v4()))]).await.unwrap();
    one.leave(&[(user, place), (UserId(Uuid::new_v4()), place)]).await.unwrap();
    assert!(other.enter(user, PlaceId(Uuid::new_v4()), 1).await.unwrap());
}

#[tokio::test]
async fn keys_go_two_days_after_their_day() {
    let (server, durable) = (Server::private(), durable());
    let redis = edge(&server.url(), 1, &durable).await;
    let (subject, today) = (user(), SystemClock.now().day());
    redis.grant(Ask { day: today, ..ask(&redis, subject, 100) }).await.unwrap();
    redis.enter(UserId(Uuid::new_v4()), PlaceId(Uuid::new_v4()), 1).await.unwrap();
    let ends = run(&server, &["EXPIRETIME", &redis.day_key((subject, today))]).await;
    assert_eq!(ends, redis::Value::Int(today.end().0 / 1_000_000 + 2 * 86_400));
    let keys: Vec<String> = redis::from_redis_value(run(&server, &["KEYS", "*"]).await).unwrap();
    for key in keys {
        let life = run(&server, &["TTL", &key]).await;
        let lasting = key == "cfx:{epoch}:name";
        assert_eq!(life == redis::Value::Int(-1), lasting, "{key}: {life:?}");
    }
}

/// The password is never shown, and what cannot get better by waiting is told apart from what can.
#[tokio::test]
async fn a_redis_that_cannot_be_used_is_described() {
    let server = Server::private();
    run(&server, &["CONFIG", "SET", "requirepass", "right"]).await;
    let port_of = |server: &Server| server.url().rsplit(':').next().unwrap().to_owned();
    let port = port_of(&server);
    let plain = Server::private();
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let [cert, key] = ["cert", "key"].map(|name| folder.path().join(name).display().to_string());
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let tls = ["--port", "0", "--tls-port", "PORT", "--tls-auth-clients", "no", "--tls-cert-file", &cert];
    let secret = Server::with(&[&tls[..], &["--tls-key-file", &key, "--tls-ca-cert-file", &cert]].concat());
    let theirs = Server::private();
    run(&theirs, &["RPUSH", "cfx:{epoch}:name", "theirs"]).await;
    let gone = {
        let mut gone = Server::private();
        gone.kill();
        gone.url()
    };
    for (url, refused, part) in [
        (format!("redis://:wrong@127.0.0.1:{port}"), true, "user or password is refused"),
        (format!("redis://127.0.0.1:{port}"), true, "user or password is refused"),
        (format!("rediss://127.0.0.1:{}", port_of(&plain)), false, "does not speak TLS write redis://"),
        (theirs.url(), true, "the key cfx:{epoch}:name is not ours"),
        (gone, false, "nothing listens there"),
        (secret.url(), false, "write rediss://"),
        (secret.url().replace("redis://", "rediss://"), false, "its certificate must be one this machine trusts"),
    ] {
        let redis = Redis::new(RedisAddress::parse(&url).unwrap(), EdgeId(Uuid::from_u128(1)), durable());
        let error = redis.start().await.unwrap_err();
        assert_eq!(matches!(error, NoRedis::Refused(_)), refused, "{url}: {error}");
        let text = error.to_string();
        assert!(text.starts_with("REDIS_URL (127.0.0.1:") && text.contains(part), "{url}: {text}");
        assert!(!text.contains("wrong"), "{text}");
        assert_eq!(redis.problem().map(|problem| problem.0), Some(text));
    }
}

#[tokio::test]
async fn edges_that_start_without_redis_share_what_the_durable_store_has_left() {
    let (mut server, durable) = (Server::private(), durable());
    let (url, subject, today) = (server.url(), user(), SystemClock.now().day());
    server.kill();
    durable.post(Posting { id: PostingId(Uuid::new_v4()), subject, day: today, count: 40 }).await.unwrap();
    let mut admitted = Vec::new();
    let edges = [1, 2].map(|number| {
        let address = RedisAddress::parse(&url).unwrap();
        Redis::new(address, EdgeId(Uuid::from_u128(number)), Arc::clone(&durable) as _)
    });
    for redis in &edges {
        assert!(matches!(redis.start().await, Err(NoRedis::Away(_))));
        assert!(redis.beat(redis.edge).await.is_ok(), "it beats in the durable store");
    }
    for redis in &edges {
        redis.beat(redis.edge).await.unwrap();
        let limiter =
            RateLimiter::new(Arc::clone(redis) as _, redis.edge, Arc::new(SystemClock), QuotaSettings::default());
        let mut count = 0;
        while let Ok(hold) = limiter.check_and_increment(subject, today, 100).await {
            hold.spend();
            count += 1;
        }
        admitted.push(count);
    }
    assert_eq!(admitted, [30, 30], "60 are left");
    edges[0].depart(edges[0].edge).await.unwrap_err();
    assert_eq!(edges[1].beat(edges[1].edge).await.unwrap(), 1, "who departs does so there too");
}

#[tokio::test]
async fn a_user_without_the_right_to_the_channel_is_found_out_at_the_start_and_later() {
    let server = Server::private();
    let user = async |rights: &[&str]| {
        run(&server, &[&["ACL", "SETUSER", "cfx", "reset", "on", ">secret", "~cfx:*", "+@all"], rights].concat()).await;
    };
    let url = server.url().replace("redis://", "redis://cfx:secret@");
    for rights in [&["resetchannels"][..], &["&cfx:*", "-publish"], &["&cfx:*", "-subscribe"]] {
        user(rights).await;
        let redis = Redis::new(RedisAddress::parse(&url).unwrap(), EdgeId(Uuid::from_u128(1)), durable());
        let Err(NoRedis::Refused(problem)) = redis.start().await else { panic!("{rights:?}") };
        assert!(problem.0.contains("may not do what cfx needs") && problem.0.contains("&cfx:*"), "{problem}");
        assert!(!problem.0.contains("secret"), "{problem}");
    }
    user(&["&cfx:*"]).await;
    let redis = edge(&url, 1, &durable()).await;
    assert!(redis.problem().is_none());
    user(&["resetchannels"]).await;
    until("the operator is told", || ready(redis.problem().is_some_and(|why| why.0.contains("not heard")))).await;
    assert!(!redis.hears() && !redis.is_away());
    user(&["&cfx:*"]).await;
    until("it hears again", || ready(redis.hears() && redis.problem().is_none())).await;
}
