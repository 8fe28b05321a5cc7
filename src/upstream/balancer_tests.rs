use super::super::breaker::By;
use super::*;
use crate::config::{Breaker, Timeouts};

const OPEN_FOR: Duration = Duration::from_secs(30);

fn upstream(name: &str, targets: u16) -> Arc<Upstream> {
    let target = |port| Arc::new(Target::new(false, "model".to_owned(), port).unwrap());
    let second = Duration::from_secs(1);
    let timeouts =
        Timeouts { connect: second, first_byte: second, between_chunks: second, total: second, commit_after: None };
    let targets = (1..=targets).map(target).collect();
    let breaker = Breaker { failures: 2, open_for: OPEN_FOR };
    Arc::new(Upstream {
        name: name.to_owned(),
        targets,
        authorization: None,
        timeouts,
        keep_alive: None,
        breaker,
        health: None,
    })
}

fn group(targets: u16) -> Arc<Group> {
    let (upstream, models) = (upstream("some", targets), [Arc::from("small")]);
    Balancer::new([&upstream], models.iter()).of(&upstream).unwrap().clone()
}

fn port(seat: &Seat) -> u16 {
    seat.target().port
}

fn seat(group: &Group) -> Seat {
    group.seat(None, Instant::now()).unwrap()
}

fn fail(group: &Group, port: u16, times: usize) {
    let member = group.members().iter().find(|member| member.target.port == port).unwrap();
    (0..times).for_each(|_| Seat::take(member, Instant::now()).unwrap().failed(By::Anyone));
}

#[test]
fn the_idle_take_turns() {
    let group = group(3);
    let ports: Vec<_> = (0..4).map(|_| port(&seat(&group))).collect();
    assert_eq!(ports, [1, 2, 3, 1]);
}

#[test]
fn the_least_busy_comes_first_for_as_long_as_the_others_hold_their_answers() {
    let group = group(3);
    let held: Vec<_> = (0..5).map(|_| seat(&group)).collect();
    let mut ports: Vec<_> = held.iter().map(port).collect();
    ports.sort_unstable();
    assert_eq!(ports, [1, 1, 2, 2, 3]);
    assert_eq!(port(&seat(&group)), 3);
    drop(held);
    assert!(group.members().iter().all(|member| member.in_flight() == 0));
}

#[test]
fn upstreams_take_turns_apart_from_each_other() {
    let (one, other) = (upstream("one", 2), upstream("other", 2));
    let balancer = Balancer::new([&one, &other], [].iter());
    let (one, other) = (balancer.of(&one).unwrap(), balancer.of(&other).unwrap());
    for first in [1, 2, 1, 2] {
        assert_eq!((port(&seat(&one)), port(&seat(&other))), (first, first));
    }
}

#[test]
fn one_target_needs_no_turn_and_of_an_unknown_upstream_nothing_is_known() {
    let one = group(1);
    assert!(one.turns.is_none());
    assert_eq!(port(&seat(&one)), 1);
    assert!(one.trial("whatever", Instant::now()).is_ok_and(|trial| !trial.is_probe()), "nor of an unknown model");
    assert!(Balancer::new([], [].iter()).of(&upstream("unknown", 2)).is_none());
}

#[test]
fn the_one_that_just_failed_is_not_asked_again() {
    let group = group(2);
    let first = seat(&group);
    let second = group.seat(Some(first.member()), Instant::now()).unwrap();
    assert_ne!(port(&first), port(&second));
    let alone = self::group(1);
    let only = seat(&alone);
    assert!(alone.seat(Some(only.member()), Instant::now()).is_err());
}

#[test]
fn an_open_one_is_stepped_over_until_its_time_and_then_probed_once() {
    let group = group(2);
    fail(&group, 1, 2);
    assert!((0..4).all(|_| port(&seat(&group)) == 2));
    let later = Instant::now() + OPEN_FOR;
    let ports: Vec<_> = (0..4).map(|_| group.seat(None, later).unwrap()).collect();
    let probes: Vec<_> = ports.iter().filter(|seat| port(seat) == 1).collect();
    assert_eq!(probes.len(), 1, "one probe, however idle it is");
}

#[test]
fn one_that_answers_in_vain_is_asked_last_for_a_while() {
    let group = group(2);
    let first = seat(&group);
    assert_eq!(port(&first), 1);
    first.judged(false);
    drop(first);
    let held: Vec<_> = (0..4).map(|_| seat(&group)).collect();
    assert!(held.iter().all(|seat| port(seat) == 2), "however idle the other is");
    let after = Instant::now() + Duration::from_secs(2);
    assert!(group.seat(None, after).is_ok_and(|seat| port(&seat) == 1));
    assert!(
        group.seat(Some(held[0].member()), Instant::now()).is_ok_and(|seat| port(&seat) == 1),
        "asked all the same"
    );
    held[0].judged(false);
    assert_eq!(port(&seat(&group)), 1, "with both out of favour the least busy is asked");
}

#[test]
fn a_5xx_is_held_against_the_model_where_no_other_target_does_better() {
    let (group, now) = (group(2), Instant::now());
    let blamed = |member: usize| group.blames_model(&group.members()[member], now);
    assert!(blamed(0) && blamed(1), "the first may be the model's");
    group.members()[0].favour.lose(now);
    assert_eq!((blamed(0), blamed(1)), (false, true));
    group.members()[1].favour.lose(now);
    assert!(blamed(0) && blamed(1), "both say so");
    let alone = self::group(1);
    alone.members()[0].favour.lose(now);
    assert!(alone.blames_model(&alone.members()[0], now));
}

#[test]
fn with_all_open_it_is_said_when_to_come_back() {
    let group = group(2);
    fail(&group, 1, 2);
    fail(&group, 2, 2);
    let wait = group.seat(None, Instant::now()).err().unwrap();
    assert!(wait <= Duration::from_secs(1), "{wait:?}");
    let alone = self::group(1);
    fail(&alone, 1, 2);
    let wait = alone.seat(None, Instant::now()).err().unwrap();
    assert!(wait <= OPEN_FOR && wait > OPEN_FOR / 2, "{wait:?}");
}

#[test]
fn with_several_and_all_open_each_is_probed_a_second_after_it_failed() {
    let group = group(2);
    fail(&group, 1, 2);
    fail(&group, 2, 2);
    assert!(group.seat(None, Instant::now()).is_err());
    let later = Instant::now() + Duration::from_secs(1);
    let mut probes: Vec<_> = (0..2).map(|_| group.seat(None, later).unwrap()).collect();
    probes.sort_by_key(port);
    assert_eq!(probes.iter().map(port).collect::<Vec<_>>(), [1, 2]);
    assert!(group.seat(None, later).is_err(), "one probe each");
    probes[1].connected();
    assert!((0..4).all(|_| group.seat(None, later).is_ok_and(|seat| port(&seat) == 2)), "it is back");
    // While another is to be had nobody hurries.
    probes.remove(0).failed(By::Anyone);
    let later = Instant::now() + OPEN_FOR / 2;
    assert!((0..4).all(|_| group.seat(None, later).is_ok_and(|seat| port(&seat) == 2)));
}

#[test]
fn of_several_that_are_left_alone_the_soonest_says_when_to_come_back() {
    for ill in [0, 1] {
        let group = group(2);
        let (checked, open) = (&group.members()[ill], &group.members()[1 - ill]);
        fail(&group, open.target.port, 2);
        checked.set_well(false);
        let wait = group.seat(None, Instant::now()).err().unwrap();
        assert!(wait < OPEN_FOR / 2, "the ill one may be well long before: {wait:?}");
    }
}

#[test]
fn with_all_ill_they_are_asked_as_though_none_were_and_breakers_hold() {
    let group = group(2);
    group.members()[0].set_well(false);
    assert!((0..4).all(|_| port(&seat(&group)) == 2));
    assert!(group.leaves_alone(&group.members()[0], Instant::now()));
    group.members()[1].set_well(false);
    let ports: Vec<_> = (0..4).map(|_| port(&seat(&group))).collect();
    assert!(ports.contains(&1) && ports.contains(&2), "{ports:?}");
    assert!(!group.leaves_alone(&group.members()[0], Instant::now()), "nothing was taken out");
    fail(&group, 1, 2);
    assert!((0..4).all(|_| port(&seat(&group)) == 2));
    fail(&group, 2, 2);
    assert!(group.seat(None, Instant::now()).is_err());
    group.members()[0].set_well(true);
    assert!(group.seat(None, Instant::now()).is_err(), "passing a check closes no breaker");
}

#[test]
fn a_probe_that_is_dropped_without_a_word_lets_the_next_try() {
    let group = group(1);
    fail(&group, 1, 2);
    let later = Instant::now() + OPEN_FOR;
    let probe = group.seat(None, later).unwrap();
    assert!(group.seat(None, later).is_err());
    drop(probe);
    let mut probe = group.seat(None, later).unwrap();
    probe.answered();
    assert!(group.seat(None, Instant::now()).is_ok());
}

#[test]
fn one_client_that_is_too_much_for_a_target_leaves_it_to_the_others() {
    let group = group(1);
    let fails = |by| seat(&group).failed(by);
    (0..10).for_each(|_| fails(By::Client(1)));
    fails(By::Client(2));
    assert!(group.seat(None, Instant::now()).is_err(), "it fails for two");

    let group = self::group(2);
    let first = Arc::clone(&group.members()[0]);
    let fails = || Seat::take(&first, Instant::now()).unwrap().failed(By::Client(1));
    fails();
    assert!((0..2).any(|_| port(&seat(&group)) == 1), "it counts, and that will do");
    (0..10).for_each(|_| fails());
    assert!((0..4).all(|_| port(&seat(&group)) == 2), "it counts no more: another is asked first");
    assert_eq!(first.wait(Instant::now()), None);
}

#[test]
fn a_connection_that_stands_is_all_that_a_target_nobody_reached_has_to_show() {
    let group = group(1);
    fail(&group, 1, 2);
    let later = Instant::now() + OPEN_FOR;
    let mut probe = group.seat(None, later).unwrap();
    assert!(group.seat(None, later).is_err());
    probe.connected();
    assert!(group.seat(None, later).is_ok(), "nobody waits for its answer");
    // What comes of it counts as any other's.
    probe.failed(By::Client(1));
    assert!(group.seat(None, later).is_ok());
}

#[test]
fn a_model_is_left_alone_after_the_failures_of_several_clients() {
    let group = group(1);
    let trial = || group.trial("small", Instant::now());
    (0..10).for_each(|_| trial().unwrap().failed(1));
    assert!(trial().is_ok());
    trial().unwrap().failed(2);
    assert!(trial().is_err_and(|wait| wait <= OPEN_FOR));
    assert!(group.trial("another", Instant::now()).is_ok());
}

#[test]
fn an_answer_that_begins_well_closes_it_and_its_end_is_one_outcome_more() {
    let group = group(1);
    let trial = || group.trial("small", Instant::now());
    [1, 2].into_iter().for_each(|by| trial().unwrap().failed(by));
    let later = Instant::now() + OPEN_FOR;
    let mut probe = group.trial("small", later).unwrap();
    assert!(probe.is_probe() && group.trial("small", later).is_err());
    probe.begins_well();
    assert!(!probe.is_probe() && trial().is_ok());
    probe.succeeded();
}

#[test]
fn a_models_probe_whose_client_leaves_lets_the_next_try() {
    let group = group(1);
    [1, 2].into_iter().for_each(|by| group.trial("small", Instant::now()).unwrap().failed(by));
    let later = Instant::now() + OPEN_FOR;
    let probe = group.trial("small", later).unwrap();
    assert!(probe.is_probe() && group.trial("small", later).is_err());
    drop(probe);
    assert!(group.trial("small", later).is_ok_and(|next| next.is_probe()));
}

#[test]
fn the_operator_is_told_what_is_left_alone() {
    let upstream = upstream("some", 2);
    let models = [Arc::from("small")];
    let balancer = Balancer::new([&upstream], models.iter());
    let now = Instant::now();
    assert_eq!(balancer.problem(now), None);
    let group = &balancer.of(&upstream).unwrap();
    fail(group, 1, 2);
    [1, 2].into_iter().for_each(|by| group.trial("small", now).unwrap().failed(by));
    let problem = balancer.problem(now).unwrap();
    assert_eq!(
        problem,
        "upstream some: the breaker of http://model:1 is open; upstream some: the breaker of model small is open"
    );
    let turns: Vec<_> = group.readings(now).map(|reading| reading.turns).collect();
    assert_eq!(turns, [[0, 0, 1], [0, 0, 0], [0, 0, 1]]);
}

fn changed(of: &Upstream, change: impl FnOnce(&mut Upstream)) -> Arc<Upstream> {
    let Upstream { name, targets, authorization, timeouts, keep_alive, breaker, health } = of;
    let mut next = Upstream {
        name: name.clone(),
        targets: targets.clone(),
        authorization: authorization.clone(),
        timeouts: *timeouts,
        keep_alive: *keep_alive,
        breaker: *breaker,
        health: health.clone(),
    };
    change(&mut next);
    Arc::new(next)
}

#[test]
fn an_upstream_that_stays_as_it_is_has_the_same_group_over_every_configuration() {
    let (first, models) = (upstream("some", 2), [Arc::from("small")]);
    let balancer = Balancer::new([&first], models.iter());
    let group = balancer.of(&first).unwrap();
    let second = changed(&first, |next| next.timeouts.total *= 2);
    balancer.adopt([&second], models.iter());
    assert!(Arc::ptr_eq(&group, &balancer.of(&second).unwrap()) && Arc::ptr_eq(&group, &balancer.of(&first).unwrap()));
}

#[test]
fn a_target_that_stays_keeps_what_was_learnt_of_it_and_one_that_goes_keeps_its_requests() {
    let (first, models) = (upstream("some", 2), [Arc::from("small")]);
    let balancer = Balancer::new([&first], models.iter());
    let before = balancer.of(&first).unwrap();
    fail(&before, 1, 2);
    let held = before.seat(None, Instant::now()).unwrap();
    assert_eq!(port(&held), 2);
    let third = Arc::new(Target::new(false, "model".to_owned(), 3).unwrap());
    let second = changed(&first, |next| next.targets = vec![Arc::clone(&first.targets[0]), third]);
    balancer.adopt([&second], models.iter());
    let after = balancer.of(&second).unwrap();
    assert!(Arc::ptr_eq(&before.members()[0], &after.members()[0]));
    assert_eq!(port(&seat(&after)), 3, "the breaker of the first is open still");
    assert_eq!(port(&seat(&before)), 2, "who began before is sent where the upstream was");
    assert_eq!(held.member().in_flight(), 1);
}

#[test]
fn breakers_go_by_the_rule_of_the_present_configuration_and_keep_their_failures() {
    let (first, models) = (upstream("some", 1), [Arc::from("small")]);
    let balancer = Balancer::new([&first], models.iter());
    fail(&balancer.of(&first).unwrap(), 1, 1);
    let second = changed(&first, |next| next.breaker.failures = 4);
    balancer.adopt([&second], models.iter());
    let group = balancer.of(&second).unwrap();
    fail(&group, 1, 2);
    assert!(group.seat(None, Instant::now()).is_ok(), "three of four");
    fail(&group, 1, 1);
    assert!(group.seat(None, Instant::now()).is_err());
}

#[test]
fn models_come_and_go_and_those_that_stay_keep_their_breakers() {
    let (first, small, large) = (upstream("some", 1), Arc::from("small"), Arc::from("large"));
    let balancer = Balancer::new([&first], [&small].into_iter());
    let now = Instant::now();
    (1..=2).for_each(|client| balancer.of(&first).unwrap().trial("small", now).unwrap().failed(client));
    assert!(balancer.of(&first).unwrap().trial("small", now).is_err());
    balancer.adopt([&first], [&small, &large].into_iter());
    assert!(
        balancer.of(&first).unwrap().trial("small", now).is_err()
            && balancer.of(&first).unwrap().trial("large", now).is_ok()
    );
    balancer.adopt([&first], [&large].into_iter());
    let readings: Vec<_> =
        balancer.of(&first).unwrap().readings(now).map(|reading| reading.subject.model.clone()).collect();
    assert_eq!(readings, ["", "large"]);
}

#[test]
fn a_target_that_nobody_asks_any_more_is_well() {
    let second = Duration::from_secs(1);
    let health = Health { path: "/".to_owned(), interval: second, timeout: second, healthy: 1, unhealthy: 1 };
    let first = changed(&upstream("some", 2), |upstream| upstream.health = Some(health));
    let balancer = Balancer::new([&first], [].iter());
    balancer.of(&first).unwrap().members()[0].set_well(false);
    let same = changed(&first, |next| next.timeouts.total *= 2);
    balancer.adopt([&same], [].iter());
    assert!(!balancer.of(&same).unwrap().members()[0].is_well());
    let without = changed(&first, |next| next.health = None);
    balancer.adopt([&without], [].iter());
    assert!(balancer.of(&without).unwrap().members()[0].is_well() && balancer.problem(Instant::now()).is_none());
}

#[test]
fn a_configuration_that_nobody_uses_any_more_is_forgotten() {
    let first = upstream("some", 1);
    let balancer = Balancer::new([&first], [].iter());
    let known = |balancer: &Balancer| balancer.table.load().by_place.len();
    for _ in 0..3 {
        balancer.adopt([&upstream("some", 1)], [].iter());
        assert_eq!(known(&balancer), 2, "the present one, and that of a request");
    }
    drop(first);
    balancer.adopt([&upstream("some", 1)], [].iter());
    assert_eq!(known(&balancer), 1);
}
