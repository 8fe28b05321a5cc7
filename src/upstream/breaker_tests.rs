use proptest::prelude::*;

use super::*;

const OPEN_FOR: Duration = Duration::from_secs(30);
const ONE: Rule = Rule { failures: 5, open_for: OPEN_FOR, by_several: false };
const SEVERAL: Rule = Rule { by_several: true, ..ONE };
const ADA: Outcome = Outcome::Failure(1);
const BOB: Outcome = Outcome::Failure(2);
const OK: Outcome = Outcome::Success;

/// A breaker and a clock that moves when it is told to.
struct Case {
    breaker: Breaker,
    now: Instant,
}

impl Case {
    fn new(rule: Rule) -> Self {
        Self { breaker: Breaker::new(rule), now: Instant::now() }
    }

    /// One outcome after another, `apart` from each other.
    fn told(mut self, outcomes: impl IntoIterator<Item = Outcome>, apart: Duration) -> Self {
        for outcome in outcomes {
            self.now += apart;
            self.breaker.tell(self.now, outcome);
        }
        self
    }

    fn after(mut self, time: Duration) -> Self {
        self.now += time;
        self
    }

    fn stand(&self) -> Stand {
        self.breaker.stand(self.now)
    }

    fn ask(&mut self) -> Leave {
        self.breaker.ask(self.now)
    }
}

fn opened() -> Case {
    Case::new(ONE).told([ADA; 5], Duration::ZERO)
}

#[test]
fn five_in_a_row_open_it_however_far_apart() {
    let hour = Duration::from_secs(3_600);
    assert_eq!(Case::new(ONE).told([ADA; 4], hour).stand(), Stand::Closed);
    assert_eq!(Case::new(ONE).told([ADA; 5], hour).stand(), Stand::Open);
    assert_eq!(Case::new(ONE).told([ADA, ADA, ADA, ADA, OK, ADA], hour).stand(), Stand::Closed);
}

#[test]
fn ten_of_the_last_twenty_open_it_where_they_fell_into_ten_seconds() {
    let pairs = |count: usize| [OK, ADA].into_iter().cycle().take(2 * count);
    let quick = Duration::from_millis(400);
    assert_eq!(Case::new(ONE).told(pairs(9), quick).stand(), Stand::Closed);
    assert_eq!(Case::new(ONE).told(pairs(10), quick).stand(), Stand::Open);
    assert_eq!(Case::new(ONE).told(pairs(1_000), Duration::from_millis(600)).stand(), Stand::Closed);
    let thirds = [OK, OK, ADA].into_iter().cycle().take(3_000);
    assert_eq!(Case::new(ONE).told(thirds, Duration::ZERO).stand(), Stand::Closed, "a third is not half");
}

#[test]
fn one_clients_failures_alone_never_open_what_takes_several() {
    assert_eq!(Case::new(SEVERAL).told([ADA; 1_000], Duration::ZERO).stand(), Stand::Closed);
    assert_eq!(Case::new(SEVERAL).told([ADA, ADA, ADA, ADA, BOB], Duration::ZERO).stand(), Stand::Closed);
    assert_eq!(Case::new(SEVERAL).told([ADA, ADA, ADA, ADA, BOB, BOB], Duration::ZERO).stand(), Stand::Open);
    assert_eq!(Case::new(SEVERAL).told([ADA, BOB, ADA, BOB, ADA], Duration::ZERO).stand(), Stand::Open);
    // Poison as often as everything else together, and another's bad luck now and then.
    let poisoned = (0..2_000).map(|n| match n {
        n if n % 100 == 1 => BOB,
        n if n % 2 == 0 => ADA,
        _ => OK,
    });
    assert_eq!(Case::new(SEVERAL).told(poisoned, Duration::from_millis(1)).stand(), Stand::Closed);
}

#[test]
fn open_it_lets_nothing_through_and_then_one_probe() {
    let mut case = opened();
    assert_eq!(case.ask(), Leave::Wait(OPEN_FOR));
    let mut case = case.after(OPEN_FOR - Duration::from_secs(1));
    assert_eq!((case.ask(), case.stand()), (Leave::Wait(Duration::from_secs(1)), Stand::Open));
    let mut case = case.after(Duration::from_secs(1));
    assert_eq!((case.breaker.peek(case.now), case.stand()), (Leave::Probe, Stand::HalfOpen));
    assert_eq!((case.ask(), case.ask()), (Leave::Probe, Leave::Wait(OPEN_FOR)));
}

#[test]
fn the_probe_decides() {
    let mut case = opened().after(OPEN_FOR);
    assert_eq!(case.ask(), Leave::Probe);
    case.breaker.tell_probe(case.now, OK);
    assert_eq!((case.stand(), case.breaker.is_quiet(), case.ask()), (Stand::Closed, true, Leave::Go));

    let mut case = opened().after(OPEN_FOR);
    assert_eq!(case.ask(), Leave::Probe);
    case.breaker.tell_probe(case.now, ADA);
    assert_eq!((case.stand(), case.ask()), (Stand::Open, Leave::Wait(OPEN_FOR)));
}

#[test]
fn a_probe_that_is_given_up_or_lost_makes_room_for_the_next() {
    let mut case = opened().after(OPEN_FOR);
    assert_eq!(case.ask(), Leave::Probe);
    case.breaker.give_up(case.now);
    assert_eq!(case.ask(), Leave::Probe);
    let mut case = case.after(OPEN_FOR);
    assert_eq!(case.ask(), Leave::Probe, "nothing was heard of the last one");
    // Two are under way now: whichever comes back first decides.
    case.breaker.tell_probe(case.now, OK);
    case.breaker.tell_probe(case.now, ADA);
    assert_eq!(case.stand(), Stand::Closed);
}

#[test]
fn one_client_whose_probes_fail_does_not_keep_it_open_for_the_rest() {
    let mut case = Case::new(SEVERAL).told([ADA, BOB, ADA, BOB, ADA], Duration::ZERO).after(OPEN_FOR);
    assert_eq!(case.ask(), Leave::Probe);
    case.breaker.tell_probe(case.now, ADA);
    assert_eq!(case.stand(), Stand::Open, "the first time, anybody's failure may mean that it is still so");
    let mut case = case.after(OPEN_FOR);
    assert_eq!(case.ask(), Leave::Probe);
    case.breaker.tell_probe(case.now, ADA);
    assert_eq!((case.ask(), case.ask()), (Leave::Probe, Leave::Wait(OPEN_FOR)), "the next is asked, one at a time");
    case.breaker.tell_probe(case.now, BOB);
    assert_eq!(case.stand(), Stand::Open, "it fails for another too");
    let mut case = case.after(OPEN_FOR);
    assert_eq!(case.ask(), Leave::Probe);
    case.breaker.tell_probe(case.now, OK);
    assert_eq!((case.stand(), case.breaker.probed_by), (Stand::Closed, None));
}

#[test]
fn a_target_is_probed_once_in_its_time_whoever_asks() {
    let mut case = opened();
    for _ in 0..3 {
        case = case.after(OPEN_FOR);
        assert_eq!(case.ask(), Leave::Probe);
        case.breaker.tell_probe(case.now, ADA);
        assert_eq!(case.stand(), Stand::Open);
    }
}

#[test]
fn what_was_sent_before_it_opened_changes_nothing() {
    let case = opened().told([OK, ADA, OK], Duration::ZERO);
    assert_eq!(case.stand(), Stand::Open);
    let case = case.after(OPEN_FOR / 2).told([ADA; 20], Duration::ZERO);
    let mut case = case.after(OPEN_FOR - OPEN_FOR / 2);
    assert_eq!(case.ask(), Leave::Probe);
    assert_eq!(case.told([OK; 30], Duration::ZERO).stand(), Stand::HalfOpen);
}

#[test]
fn it_is_quiet_again_once_its_failures_lie_behind() {
    let case = Case::new(ONE).told([ADA, OK], Duration::ZERO);
    assert!(!case.breaker.is_quiet());
    assert!(case.after(WITHIN).told([OK], Duration::ZERO).breaker.is_quiet());
    assert!(Case::new(ONE).told(std::iter::once(ADA).chain([OK; 20]), Duration::ZERO).breaker.is_quiet());
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Ask,
    Tell(Outcome),
    Pass(u64),
}

fn steps(clients: u128) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => Just(Step::Ask),
        2 => Just(Step::Tell(OK)),
        4 => (0..clients).prop_map(|by| Step::Tell(Outcome::Failure(by))),
        2 => (1..20_000u64).prop_map(Step::Pass),
    ];
    proptest::collection::vec(step, 0..300)
}

proptest! {
    /// Every way through it: it opens only by enough failures, lets at most one probe through in its time, and what it
    /// remembers stays small.
    #[test]
    fn no_course_of_events_breaks_its_rules(steps in steps(3), by_several in any::<bool>()) {
        let mut case = Case::new(Rule { by_several, ..ONE });
        let (mut probes, mut failures, mut last_probe) = (0_u32, 0_u32, None::<Instant>);
        for step in steps {
            let before = case.stand();
            match step {
                Step::Pass(milliseconds) => case.now += Duration::from_millis(milliseconds),
                Step::Ask => match case.ask() {
                    Leave::Go => prop_assert_eq!(before, Stand::Closed),
                    Leave::Wait(wait) => prop_assert!(before != Stand::Closed && wait <= OPEN_FOR),
                    Leave::Probe => {
                        prop_assert_eq!(before, Stand::HalfOpen);
                        prop_assert!(last_probe.is_none_or(|last| case.now >= last + OPEN_FOR) || probes == 0);
                        probes += 1;
                        last_probe = Some(case.now);
                    }
                },
                Step::Tell(outcome) if probes > 0 => {
                    probes -= 1;
                    last_probe = None;
                    case.breaker.tell_probe(case.now, outcome);
                }
                Step::Tell(outcome) => {
                    failures += u32::from(outcome != OK);
                    case.breaker.tell(case.now, outcome);
                    if before == Stand::Closed && case.stand() == Stand::Open {
                        prop_assert!(failures >= 5);
                        failures = 0;
                    }
                }
            }
            prop_assert!(case.breaker.run.len() <= 5 && case.breaker.recent.len() <= HALF);
            prop_assert!(!case.breaker.is_quiet() || case.stand() == Stand::Closed);
        }
    }

    #[test]
    fn one_client_opens_nothing_for_the_rest(steps in steps(1)) {
        let mut case = Case::new(SEVERAL);
        for step in steps {
            match step {
                Step::Ask => prop_assert_eq!(case.ask(), Leave::Go),
                Step::Tell(outcome) => case.breaker.tell(case.now, outcome),
                Step::Pass(milliseconds) => case.now += Duration::from_millis(milliseconds),
            }
        }
    }
}
