//! What a store says of changes, and how much is asked for again because of it.

use super::*;

/// The cache in front of a store that tells it of every change within a poll.
async fn watched(door: &Door) -> tokio::task::JoinHandle<()> {
    let watching = tokio::spawn(Arc::clone(&door.keys).watch());
    tokio::time::sleep(Duration::from_millis(1)).await;
    watching
}

async fn tell(door: &Door, change: Option<PublicId>) {
    door.store.told.lock().unwrap().push(change);
    tokio::time::sleep(POLL).await;
}

#[tokio::test(start_paused = true)]
async fn a_change_of_one_key_has_no_other_asked_for_again() {
    let door = Door::new();
    let watching = watched(&door).await;
    let keys: Vec<_> = (0..100).map(|_| door.issue(None)).collect();
    for key in &keys {
        door.knock(key).await.unwrap();
    }
    let before = door.lookups();
    door.revoke(&keys[7]);
    tell(&door, Some(keys[7].public_id())).await;
    assert_eq!(door.knock(&keys[7]).await, Err(KeyRefusal::Invalid));
    assert_eq!(door.lookups(), before + 1);
    for key in keys.iter().filter(|key| key.public_id() != keys[7].public_id()) {
        door.knock(key).await.unwrap();
    }
    assert_eq!(door.lookups(), before + 1, "the others were not concerned");
    tell(&door, None).await;
    for key in &keys {
        let _ = door.knock(key).await;
    }
    assert_eq!(door.lookups(), before + 101, "a change without a name may be one of any key");
    watching.abort();
}

#[tokio::test(start_paused = true)]
async fn a_key_made_or_revived_after_it_was_refused_opens_as_soon_as_it_is_named() {
    let door = Door::new();
    let watching = watched(&door).await;
    let (key, another) = (door.issue(None), RawKey::mint().unwrap());
    let stored = door.store.keys.lock().unwrap().drain().collect::<Vec<_>>();
    assert_eq!(door.knock(&key).await, Err(KeyRefusal::Invalid));
    assert_eq!(door.knock(&another).await, Err(KeyRefusal::Invalid));
    door.store.keys.lock().unwrap().extend(stored);
    assert_eq!(door.knock(&key).await, Err(KeyRefusal::Invalid), "nothing was told yet");
    tell(&door, Some(key.public_id())).await;
    assert!(door.knock(&key).await.is_ok());
    watching.abort();
}

#[tokio::test(start_paused = true)]
async fn a_change_told_of_while_the_key_is_looked_up_is_not_lost() {
    for named in [true, false] {
        let door = Arc::new(Door::new());
        let watching = watched(&door).await;
        let (good, bad) = (door.issue(None), door.issue(None));
        let stored = door.store.keys.lock().unwrap().remove(bad.public_id().as_str()).unwrap();
        // The store reads at the beginning of its half second and answers at the end.
        *door.store.slow_answer.lock().unwrap() = Duration::from_millis(220);
        let knocking = join_all([door.knock(&good), door.knock(&bad)]);
        let changing = async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            door.revoke(&good);
            door.store.keys.lock().unwrap().insert(bad.public_id().as_str().to_owned(), stored.clone());
            let ids = [good.public_id(), bad.public_id()].map(|id| named.then_some(id));
            door.store.told.lock().unwrap().extend(ids);
        };
        let (answers, ()) = tokio::join!(knocking, changing);
        assert!(answers[0].is_ok() && answers[1] == Err(KeyRefusal::Invalid), "as it was when they were asked for");
        *door.store.slow_answer.lock().unwrap() = Duration::ZERO;
        assert_eq!(door.knock(&good).await, Err(KeyRefusal::Invalid), "named: {named}");
        assert!(door.knock(&bad).await.is_ok(), "named: {named}");
        watching.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_named_is_not_served_from_memory_while_the_store_is_away() {
    let door = Door::new();
    let watching = watched(&door).await;
    let (named, other) = (door.issue(None), door.issue(None));
    door.knock(&named).await.unwrap();
    door.knock(&other).await.unwrap();
    tell(&door, Some(named.public_id())).await;
    door.down(true);
    assert_eq!(door.knock(&named).await, Err(KeyRefusal::StoreUnavailable));
    door.keys.flush();
    assert!(door.knock(&other).await.is_ok(), "what may have changed is");
    assert_eq!(door.knock(&named).await, Err(KeyRefusal::StoreUnavailable));
    door.down(false);
    assert!(door.knock(&named).await.is_ok());
    watching.abort();
}

#[tokio::test(start_paused = true)]
async fn a_named_key_is_looked_up_past_the_brake_of_its_address() {
    let door = Door::new();
    let watching = watched(&door).await;
    let key = door.issue(None);
    door.knock(&key).await.unwrap();
    for _ in 0..40 {
        let _ = door.knock(&RawKey::mint().unwrap()).await;
    }
    assert!(matches!(door.knock(&RawKey::mint().unwrap()).await, Err(KeyRefusal::TooManyFailed { .. })));
    tell(&door, Some(key.public_id())).await;
    assert!(door.knock(&key).await.is_ok());
    watching.abort();
}

#[tokio::test(start_paused = true)]
async fn a_flush_of_many_keys_asks_for_a_few_at_a_time_and_all_are_served() {
    let door = Door::with(KeySettings { lookups: 8, ..KeySettings::default() });
    let keys: Vec<_> = (0..400).map(|_| door.issue(None)).collect();
    for key in &keys {
        door.knock(key).await.unwrap();
    }
    let before = door.lookups();
    *door.store.delay.lock().unwrap() = Duration::from_millis(2);
    door.keys.flush();
    let began = tokio::time::Instant::now();
    let answers = join_all(keys.iter().map(|key| door.knock(key))).await;
    assert!(answers.iter().all(Result::is_ok));
    assert!(began.elapsed() <= Duration::from_millis(250));
    assert_eq!((door.lookups() - before, door.store.in_flight.lock().unwrap().1), (400, 8));

    // With a store as slow as to serve only some of them in time, the rest are served as they were known.
    *door.store.delay.lock().unwrap() = Duration::from_millis(50);
    door.keys.flush();
    let began = tokio::time::Instant::now();
    let answers = join_all(keys.iter().map(|key| door.knock(key))).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(began.elapsed(), Duration::from_millis(250));
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(door.store.in_flight.lock().unwrap().0, 0, "nobody waits, and nothing is asked");
    assert!(door.knock(&door.issue(None)).await.is_ok(), "the store is not taken to be away for that");
}
