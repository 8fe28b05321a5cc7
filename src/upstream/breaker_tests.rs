use proptest::prelude::*;

use super::*;

const OPEN_FOR: Duration = Duration::from_secs(30);
const RULE: Rule = Rule { failures: 5, open_for: OPEN_FOR };
const ANY: Outcome = Outcome::Failure(By::Anyone);
const ADA: Outcome = Outcome::Failure(By::Client(1));
const BOB: Outcome = Outcome::Failure(By::Client(2));
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

    /// Asks for leave as a probe, and has its number.
    fn probe(&mut self) -> u64 {
        match self.ask() {
            Leave::Probe(number) => number,
            other => panic!("no probe: {other:?}"),
        }
    }

    fn told_probe(&mut self, number: u64, outcome: Outcome) {
        self.breaker.tell_probe(self.now, number, outcome);
    }
}

fn opened() -> Case {
    Case::new(RULE).told([ANY; 5], Duration::ZERO)
}

#[test]
fn five_in_a_row_open_it_however_far_apart() {
    let hour = Duration::from_secs(3_600);
    assert_eq!(Case::new(RULE).told([ANY; 4], hour).stand(), Stand::Closed);
    assert_eq!(Case::new(RULE).told([ANY; 5], hour).stand(), Stand::Open);
    assert_eq!(Case::new(RULE).told([ANY, ANY, ANY, ANY, OK, ANY], hour).stand(), Stand::Closed);
}

#[test]
fn ten_of_the_last_twenty_open_it_where_they_fell_into_ten_seconds() {
    let pairs = |count: usize| [OK, ANY].into_iter().cycle().take(2 * count);
    let quick = Duration::from_millis(400);
    assert_eq!(Case::new(RULE).told(pairs(9), quick).stand(), Stand::Closed);
    assert_eq!(Case::new(RULE).told(pairs(10), quick).stand(), Stand::Open);
    assert_eq!(Case::new(RULE).told(pairs(1_000), Duration::from_millis(600)).stand(), Stand::Closed);
    let thirds = [OK, OK, ANY].into_iter().cycle().take(3_000);
    assert_eq!(Case::new(RULE).told(thirds, Duration::ZERO).stand(), Stand::Closed, "a third is not half");
}

#[test]
fn one_clients_failures_alone_never_open_what_takes_several() {
    assert_eq!(Case::new(RULE).told([ADA; 1_000], Duration::ZERO).stand(), Stand::Closed);
    assert_eq!(Case::new(RULE).told([ADA, ADA, ADA, ADA, BOB], Duration::ZERO).stand(), Stand::Closed);
    assert_eq!(Case::new(RULE).told([ADA, ADA, ADA, ADA, BOB, BOB], Duration::ZERO).stand(), Stand::Open);
    assert_eq!(Case::new(RULE).told([ADA, BOB, ADA, BOB, ADA], Duration::ZERO).stand(), Stand::Open);
    // Poison as often as everything else together, and another's bad luck now and then.
    let poisoned = (0..2_000).map(|n| match n {
        n if n % 100 == 1 => BOB,
        n if n % 2 == 0 => ADA,
        _ => OK,
    });
    assert_eq!(Case::new(RULE).told(poisoned, Duration::from_millis(1)).stand(), Stand::Closed);
}

#[test]
fn open_it_lets_nothing_through_and_then_one_probe() {
    let mut case = opened();
    assert_eq!(case.ask(), Leave::Wait(OPEN_FOR));
    let mut case = case.after(OPEN_FOR - Duration::from_secs(1));
    assert_eq!((case.ask(), case.stand()), (Leave::Wait(Duration::from_secs(1)), Stand::Open));
    let mut case = case.after(Duration::from_secs(1));
    assert_eq!((case.breaker.peek(case.now), case.stand()), (Leave::Probe(1), Stand::HalfOpen));
    assert_eq!((case.ask(), case.ask()), (Leave::Probe(1), Leave::Wait(OPEN_FOR)));
}

#[test]
fn the_probe_decides() {
    let mut case = opened().after(OPEN_FOR);
    let probe = case.probe();
    case.told_probe(probe, OK);
    assert_eq!((case.stand(), case.breaker.is_quiet(), case.ask()), (Stand::Closed, true, Leave::Go));

    let mut case = opened().after(OPEN_FOR);
    let probe = case.probe();
    case.told_probe(probe, ADA);
    assert_eq!((case.stand(), case.ask()), (Stand::Open, Leave::Wait(OPEN_FOR)));
}

#[test]
fn a_probe_that_is_given_up_or_lost_makes_room_for_the_next() {
    let mut case = opened().after(OPEN_FOR);
    let first = case.probe();
    case.breaker.give_up(case.now, first);
    case.probe();
    let mut case = case.after(OPEN_FOR);
    let (second, third) = (2, case.probe());
    assert_eq!(third, 3, "nothing was heard of the second");
    // Two are under way now: whichever comes back first decides.
    case.told_probe(third, OK);
    case.told_probe(second, ADA);
    assert_eq!(case.stand(), Stand::Closed);
}

#[test]
fn a_probe_that_was_taken_for_lost_frees_no_place_but_its_own() {
    let mut case = opened().after(OPEN_FOR);
    let lost = case.probe();
    let mut case = case.after(OPEN_FOR);
    case.probe();
    case.breaker.give_up(case.now, lost);
    assert_eq!(case.ask(), Leave::Wait(OPEN_FOR), "a newer one is under way");

    // Nor does it where it fails for a client that has failed as a probe before.
    let mut case = opened().after(OPEN_FOR);
    let probe = case.probe();
    case.told_probe(probe, ADA);
    let mut case = case.after(OPEN_FOR);
    let lost = case.probe();
    let mut case = case.after(OPEN_FOR);
    case.probe();
    case.told_probe(lost, ADA);
    assert_eq!(case.ask(), Leave::Wait(OPEN_FOR));
}

#[test]
fn a_connection_that_stands_closes_what_failures_to_connect_have_opened_and_nothing_else() {
    let mut case = opened().after(OPEN_FOR);
    case.probe();
    case.breaker.connected();
    assert_eq!((case.stand(), case.ask()), (Stand::Closed, Leave::Go));

    let mut case = Case::new(RULE).told([ADA, BOB, ADA, BOB, ADA], Duration::ZERO).after(OPEN_FOR);
    let probe = case.probe();
    case.breaker.connected();
    assert_eq!(case.ask(), Leave::Wait(OPEN_FOR), "it was reached when it failed, too");
    case.told_probe(probe, ANY);
    let mut case = case.after(OPEN_FOR);
    case.probe();
    case.breaker.connected();
    assert_eq!(case.stand(), Stand::Closed, "what opened it last counts");
}

#[test]
fn one_client_whose_probes_fail_does_not_keep_it_open_for_the_rest() {
    let mut case = Case::new(RULE).told([ADA, BOB, ADA, BOB, ADA], Duration::ZERO).after(OPEN_FOR);
    let probe = case.probe();
    case.told_probe(probe, ADA);
    assert_eq!(case.stand(), Stand::Open, "the first time, anybody's failure may mean that it is still so");
    let mut case = case.after(OPEN_FOR);
    let probe = case.probe();
    case.told_probe(probe, ADA);
    let next = case.probe();
    assert_eq!(case.ask(), Leave::Wait(OPEN_FOR), "the next is asked, one at a time");
    case.told_probe(next, BOB);
    assert_eq!(case.stand(), Stand::Open, "it fails for another too");
    let mut case = case.after(OPEN_FOR);
    let probe = case.probe();
    case.told_probe(probe, OK);
    assert_eq!((case.stand(), case.breaker.probed_by), (Stand::Closed, None));
}

#[test]
fn what_nobody_reaches_is_probed_once_in_its_time_whoever_asks() {
    let mut case = opened();
    for _ in 0..3 {
        case = case.after(OPEN_FOR);
        let probe = case.probe();
        case.told_probe(probe, ANY);
        assert_eq!(case.stand(), Stand::Open);
    }
}

#[test]
fn it_is_said_when_a_clients_share_is_used_up() {
    let mut case = Case::new(RULE);
    let mut counted = |outcome| case.breaker.tell(case.now, outcome);
    assert_eq!([ADA, ADA, ADA, ADA, OK, ADA].map(&mut counted), [true, true, true, false, true, true]);
    assert_eq!([ADA, ADA, ADA, ANY].map(&mut counted), [true, true, false, true]);
}

#[test]
fn what_was_sent_before_it_opened_changes_nothing() {
    let case = opened().told([OK, ANY, OK], Duration::ZERO);
    assert_eq!(case.stand(), Stand::Open);
    let case = case.after(OPEN_FOR / 2).told([ANY; 20], Duration::ZERO);
    let mut case = case.after(OPEN_FOR - OPEN_FOR / 2);
    case.probe();
    assert_eq!(case.told([OK; 30], Duration::ZERO).stand(), Stand::HalfOpen);
}

#[test]
fn it_is_quiet_again_once_its_failures_lie_behind() {
    let case = Case::new(RULE).told([ADA, OK], Duration::ZERO);
    assert!(!case.breaker.is_quiet());
    assert!(case.after(WITHIN).told([OK], Duration::ZERO).breaker.is_quiet());
    assert!(Case::new(RULE).told(std::iter::once(ADA).chain([OK; 20]), Duration::ZERO).breaker.is_quiet());
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Ask,
    Tell(Outcome),
    Pass(u64),
}

fn steps(clients: std::ops::Range<u128>) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => Just(Step::Ask),
        2 => Just(Step::Tell(OK)),
        4 => clients.prop_map(|by| Step::Tell(if by == 0 { ANY } else { Outcome::Failure(By::Client(by)) })),
        2 => (1..20_000u64).prop_map(Step::Pass),
    ];
    proptest::collection::vec(step, 0..300)
}

proptest! {
    /// Every way through it: it opens only by enough failures, lets at most one probe through in its time, and what it
    /// remembers stays small.
    #[test]
    fn no_course_of_events_breaks_its_rules(steps in steps(0..4)) {
        let mut case = Case::new(RULE);
        let (mut probes, mut failures, mut last_probe) = (0_u32, 0_u32, None::<Instant>);
        let mut latest = 0;
        for step in steps {
            let before = case.stand();
            match step {
                Step::Pass(milliseconds) => case.now += Duration::from_millis(milliseconds),
                Step::Ask => match case.ask() {
                    Leave::Go => prop_assert_eq!(before, Stand::Closed),
                    Leave::Wait(wait) => prop_assert!(before != Stand::Closed && wait <= OPEN_FOR),
                    Leave::Probe(number) => {
                        latest = number;
                        prop_assert_eq!(before, Stand::HalfOpen);
                        prop_assert!(last_probe.is_none_or(|last| case.now >= last + OPEN_FOR) || probes == 0);
                        probes += 1;
                        last_probe = Some(case.now);
                    }
                },
                Step::Tell(outcome) if probes > 0 => {
                    probes -= 1;
                    last_probe = None;
                    case.told_probe(latest, outcome);
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
    fn one_client_opens_nothing_for_the_rest(steps in steps(1..2)) {
        let mut case = Case::new(RULE);
        for step in steps {
            match step {
                Step::Ask => prop_assert_eq!(case.ask(), Leave::Go),
                Step::Tell(outcome) => {
                    case.breaker.tell(case.now, outcome);
                }
                Step::Pass(milliseconds) => case.now += Duration::from_millis(milliseconds),
            }
        }
    }
}
