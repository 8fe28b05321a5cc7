use super::*;

fn address(text: &str) -> Option<IpAddr> {
    Some(text.parse().unwrap())
}

fn fail(throttle: &Arc<Throttle>, account: &str, from: Option<IpAddr>) -> Option<u64> {
    match throttle.begin(account, from) {
        Ok(tried) => {
            tried.failed();
            None
        }
        Err(refusal) => refusal.retry_after_seconds(),
    }
}

#[tokio::test(start_paused = true)]
async fn waits_double_from_the_fifth_failure_on() {
    let throttle = Arc::<Throttle>::default();
    for _ in 0..5 {
        assert_eq!(fail(&throttle, "ada@example.org", None), None);
    }
    for expected in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900] {
        assert_eq!(fail(&throttle, "ada@example.org", None), Some(expected));
        tokio::time::advance(Duration::from_secs(expected)).await;
        assert_eq!(fail(&throttle, "ada@example.org", None), None);
    }
    assert_eq!(fail(&throttle, "bob@example.org", None), None, "others are not held up");
}

#[tokio::test(start_paused = true)]
async fn an_address_is_held_up_whichever_account_it_tries() {
    let throttle = Arc::<Throttle>::default();
    for guess in 0..50 {
        let from = address(&format!("2001:db8:0:7::{guess:x}"));
        assert_eq!(fail(&throttle, &format!("user{guess}@example.org"), from), None);
    }
    assert_eq!(fail(&throttle, "ada@example.org", address("2001:db8:0:7:ffff::1")), Some(1), "the same /64");
    assert_eq!(fail(&throttle, "ada@example.org", address("2001:db8:0:8::1")), None);
    assert_eq!(fail(&throttle, "eve@example.org", address("192.0.2.1")), None);
    let mapped = fail(&throttle, "eve@example.org", address("::ffff:192.0.2.1"));
    assert_eq!(mapped, None);
    let failures = |from| throttle.asker(address(from)).failures;
    assert_eq!(failures("2001:db8:0:7:1::2"), 50, "what is under way counts as failed");
    assert_eq!((failures("192.0.2.1"), failures("192.0.2.2"), throttle.asker(None).failures), (2, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn success_clears_the_account_and_not_the_address() {
    let throttle = Arc::<Throttle>::default();
    let from = address("192.0.2.1");
    for guess in 0..45 {
        assert_eq!(fail(&throttle, &format!("user{guess}@example.org"), from), None);
    }
    for _ in 0..4 {
        assert_eq!(fail(&throttle, "ada@example.org", from), None);
    }
    throttle.begin("ada@example.org", from).ok().unwrap().succeeded();
    for guess in 0..2 {
        let held_up = fail(&throttle, "ada@example.org", from);
        assert_eq!(held_up, (guess == 1).then_some(1), "her address has 49 failures still");
    }
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(fail(&throttle, "ada@example.org", from), None, "she has one");
}

#[tokio::test(start_paused = true)]
async fn who_guesses_from_one_network_keeps_nobody_out_who_comes_from_elsewhere() {
    let throttle = Arc::<Throttle>::default();
    let (guessing, hers) = (address("198.51.100.9"), address("203.0.113.9"));
    let mut let_through = 0;
    for _ in 0..4 * 60 * 60 {
        let_through += u32::from(fail(&throttle, "ada@example.org", guessing).is_none());
        let tried = throttle.begin("ada@example.org", hers).expect("whatever they do over there");
        tried.came_to_nothing();
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    assert!((10..35).contains(&let_through), "{let_through} guesses in four hours");
}

#[tokio::test(start_paused = true)]
async fn asking_again_while_held_up_is_held_against_the_address() {
    let throttle = Arc::<Throttle>::default();
    let from = address("192.0.2.1");
    for asked in 1..=50 {
        assert_eq!(fail(&throttle, "ada@example.org", from), (asked > 5).then_some(1));
        assert_eq!(throttle.asker(from).failures, asked);
    }
    assert_eq!(fail(&throttle, "bob@example.org", from), Some(1), "and now for every account");
    assert_eq!(throttle.asker(from).failures, 50);
}

#[tokio::test(start_paused = true)]
async fn who_guesses_at_one_account_from_many_networks_is_held_up_where_its_user_is_not() {
    let throttle = Arc::<Throttle>::default();
    let home = address("203.0.113.9");
    throttle.begin("ada@example.org", home).ok().unwrap().succeeded();
    let mut guesses = 0;
    let mut network = 0;
    for second in 0..60 * 60 {
        // As many networks as it takes: each is used once.
        loop {
            network += 1;
            let from = Some(IpAddr::from(u32::to_be_bytes(0x0a00_0000 + network)));
            if fail(&throttle, "ada@example.org", from).is_some() {
                break;
            }
            guesses += 1;
        }
        if second % 600 == 0 {
            throttle.begin("ada@example.org", home).expect("she was here").succeeded();
            assert_eq!(fail(&throttle, "bob@example.org", address("192.0.2.7")), None);
        }
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    assert!((200..=100 + 120 + 20).contains(&guesses), "{guesses} guesses in an hour");
    let elsewhere = address("192.0.2.8");
    if let Some(wait) = fail(&throttle, "ada@example.org", elsewhere) {
        assert!(wait <= 30, "{wait}");
        tokio::time::advance(Duration::from_secs(wait)).await;
        assert_eq!(fail(&throttle, "ada@example.org", elsewhere), None);
    }
}

#[tokio::test(start_paused = true)]
async fn tries_from_one_address_at_once_are_as_many_as_one_by_one() {
    let throttle = Arc::<Throttle>::default();
    let from = address("192.0.2.1");
    let at_once = |guess: u32| throttle.begin(&format!("user{guess}@example.org"), from).ok();
    let tries: Vec<_> = (0..100).filter_map(at_once).collect();
    assert_eq!(tries.len(), 50);
    tries.into_iter().for_each(Try::came_to_nothing);
    assert_eq!(fail(&throttle, "ada@example.org", from), None);
}

#[tokio::test(start_paused = true)]
async fn failures_are_forgotten_an_hour_after_the_last_also_where_others_sign_in_all_the_time() {
    let throttle = Arc::<Throttle>::default();
    let from = address("192.0.2.1");
    for guess in 0..50 {
        assert_eq!(fail(&throttle, &format!("user{guess}@example.org"), from), None);
    }
    let failures = || throttle.asker(from).failures;
    for _ in 0..59 {
        tokio::time::advance(Duration::from_secs(60)).await;
        throttle.begin("ada@example.org", from).ok().unwrap().succeeded();
        throttle.begin("bob@example.org", from).ok().unwrap().came_to_nothing();
        assert_eq!(failures(), 50);
    }
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(failures(), 0);
    for guess in 0..49 {
        assert_eq!(fail(&throttle, &format!("user{guess}@example.org"), from), None);
    }
    tokio::time::advance(Duration::from_secs(59 * 60)).await;
    drop(throttle.begin("ada@example.org", from));
    tokio::time::advance(Duration::from_secs(59 * 60)).await;
    assert_eq!(failures(), 50, "who hangs up has failed as well, and the hour began with that");
}

#[tokio::test(start_paused = true)]
async fn many_tries_at_once_are_as_many_as_one_by_one() {
    let throttle = Arc::<Throttle>::default();
    let tries: Vec<_> = (0..100).filter_map(|_| throttle.begin("ada@example.org", None).ok()).collect();
    assert_eq!(tries.len(), 5);
    tries.into_iter().for_each(Try::came_to_nothing);
    assert_eq!(fail(&throttle, "ada@example.org", None), None);
}
