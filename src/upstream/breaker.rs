//! When to stop asking what only fails, and when to ask again. Pure: the time is passed in, nobody is told.
//!
//! Closed → open after so many failures in a row, or ten among the last twenty outcomes within 10 s → half-open once it
//! has been open for its time, when one request is let through as a probe → closed by the probe's success, open again
//! by its failure. What is a failure is for the caller to say ([docs/decisions/008](../../docs/decisions/008-breaker.md)).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Of the last so many outcomes, half are too many, where all of that half fell into [`WITHIN`].
const LAST: u64 = 20;
const HALF: usize = 10;
const WITHIN: Duration = Duration::from_secs(10);

/// How long nothing is asked of what there is nothing else to ask for.
const LAST_RESORT_AFTER: Duration = Duration::from_secs(1);

/// What one breaker goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Failures in a row that open it.
    pub failures: usize,
    /// How long nothing is asked then.
    pub open_for: Duration,
}

/// How a breaker stands. The numbers are those of the metric `cfx_breaker_state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stand {
    Closed = 0,
    HalfOpen = 1,
    Open = 2,
}

impl Stand {
    pub fn as_str(self) -> &'static str {
        match self {
            Stand::Closed => "closed",
            Stand::HalfOpen => "half-open",
            Stand::Open => "open",
        }
    }
}

/// Whether a request may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    Go,
    /// It goes as the one that finds out, the probe of this number. Whoever gives it up without an outcome says so with
    /// [`Breaker::give_up`].
    Probe(u64),
    /// Nothing goes before this long has passed.
    Wait(Duration),
}

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Success,
    Failure(By),
}

/// Whose request it was that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// It would have failed whoever had asked: each counts.
    Anyone,
    /// It may lie with what was asked. Any number that is the same for the same client, whose failures are worth no more
    /// than half of what opens a breaker, rounded up.
    Client(u128),
}

#[derive(Debug)]
pub struct Breaker {
    rule: Rule,
    state: State,
    /// Who failed since the last success, none counted beyond its share.
    run: Vec<By>,
    /// Failures among the last outcomes, the oldest first, none counted beyond its share.
    recent: VecDeque<Failure>,
    /// Outcomes so far.
    outcomes: u64,
    /// How many probes were sent.
    probes: u64,
    /// Whose probe has failed last, since it was closed.
    probed_by: Option<By>,
    /// What opened it last was a failure that anyone would have met.
    by_anyone: bool,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Closed,
    Open {
        since: Instant,
        until: Instant,
    },
    /// A probe is under way. One that has not come back by then is taken for lost, and the next is sent.
    HalfOpen {
        number: u64,
        next_probe: Instant,
    },
}

#[derive(Debug, Clone, Copy)]
struct Failure {
    /// Its number among all outcomes.
    number: u64,
    at: Instant,
    by: By,
}

impl Breaker {
    pub fn new(rule: Rule) -> Self {
        Self {
            rule,
            state: State::Closed,
            run: Vec::new(),
            recent: VecDeque::new(),
            outcomes: 0,
            probes: 0,
            probed_by: None,
            by_anyone: false,
        }
    }

    /// Goes by another rule from the next outcome on.
    pub fn set_rule(&mut self, rule: Rule) {
        self.rule = rule;
    }

    /// How it stands for whoever comes at this moment.
    pub fn stand(&self, now: Instant) -> Stand {
        match self.state {
            State::Closed => Stand::Closed,
            State::Open { until, .. } if now < until => Stand::Open,
            State::Open { .. } | State::HalfOpen { .. } => Stand::HalfOpen,
        }
    }

    /// The state it was last brought into, whatever has passed since.
    pub fn phase(&self) -> Stand {
        match self.state {
            State::Closed => Stand::Closed,
            State::HalfOpen { .. } => Stand::HalfOpen,
            State::Open { .. } => Stand::Open,
        }
    }

    /// Whether it is closed, and nothing that is remembered could change what comes: until a failure comes, it need not
    /// be told of successes.
    pub fn is_quiet(&self) -> bool {
        matches!(self.state, State::Closed) && self.run.is_empty() && self.recent.is_empty()
    }

    /// What [`Breaker::ask`] would say, with nothing set in motion.
    pub fn peek(&self, now: Instant) -> Leave {
        let (State::Open { until: at, .. } | State::HalfOpen { next_probe: at, .. }) = self.state else {
            return Leave::Go;
        };
        match at.saturating_duration_since(now) {
            Duration::ZERO => Leave::Probe(self.probes + 1),
            wait => Leave::Wait(wait),
        }
    }

    pub fn ask(&mut self, now: Instant) -> Leave {
        let leave = self.peek(now);
        if let Leave::Probe(number) = leave {
            self.probes = number;
            self.state = State::HalfOpen { number, next_probe: now + self.rule.open_for };
        }
        leave
    }

    /// There is nothing else to ask: where it is open, its probe may go sooner.
    pub fn hasten(&mut self) {
        if let State::Open { since, until } = &mut self.state {
            *until = (*until).min(*since + LAST_RESORT_AFTER);
        }
    }

    /// What came of a request that went as [`Leave::Go`]. One that comes back late, to a breaker that is no longer
    /// closed, changes nothing: it was sent before. False where a client's failure was not counted because its share is
    /// used up.
    pub fn tell(&mut self, now: Instant, outcome: Outcome) -> bool {
        if !matches!(self.state, State::Closed) {
            return true;
        }
        self.outcomes += 1;
        let oldest = self.outcomes.saturating_sub(LAST);
        while self.recent.front().is_some_and(|first| first.number <= oldest || now >= first.at + WITHIN) {
            self.recent.pop_front();
        }
        match outcome {
            Outcome::Success => {
                self.run.clear();
                true
            }
            Outcome::Failure(by) => self.note(now, by),
        }
    }

    /// What came of the probe of this number. Its success counts however late it comes. One client's second failure in a
    /// row as a probe says nothing more than its first: the next who asks is the probe.
    pub fn tell_probe(&mut self, now: Instant, number: u64, outcome: Outcome) {
        match (self.state, outcome) {
            (State::Closed, _) => {
                self.tell(now, outcome);
            }
            (_, Outcome::Success) => self.close(),
            // Whoever asks most is the probe most of the time: poison would keep it open for ever.
            (State::HalfOpen { .. }, Outcome::Failure(by @ By::Client(_))) if self.probed_by == Some(by) => {
                self.give_up(now, number);
            }
            (State::HalfOpen { .. }, Outcome::Failure(by)) => {
                self.probed_by = Some(by);
                self.open(now, by);
            }
            (State::Open { .. }, Outcome::Failure(_)) => {}
        }
    }

    /// A probe found what no one had found when it opened: a connection that stands. Where something else opened it,
    /// that says nothing.
    pub fn connected(&mut self) {
        if self.by_anyone && !matches!(self.state, State::Closed) {
            self.close();
        }
    }

    /// The probe of this number told nothing: the next who asks is one. One that was taken for lost frees nobody's place.
    pub fn give_up(&mut self, now: Instant, number: u64) {
        if let State::HalfOpen { number: latest, next_probe } = &mut self.state
            && *latest == number
        {
            *next_probe = now;
        }
    }

    fn note(&mut self, now: Instant, by: By) -> bool {
        let in_a_row = self.run.iter().filter(|other| **other == by).count() < share(by, self.rule.failures);
        if in_a_row {
            self.run.push(by);
        }
        if self.recent.iter().filter(|other| other.by == by).count() < share(by, HALF) {
            self.recent.push_back(Failure { number: self.outcomes, at: now, by });
        }
        if self.run.len() >= self.rule.failures || self.recent.len() >= HALF {
            self.open(now, by);
        }
        in_a_row
    }

    fn open(&mut self, now: Instant, by: By) {
        self.by_anyone = by == By::Anyone;
        self.turn(State::Open { since: now, until: now + self.rule.open_for });
    }

    fn close(&mut self) {
        self.probed_by = None;
        self.turn(State::Closed);
    }

    /// What led to a turn is over with it.
    fn turn(&mut self, state: State) {
        self.state = state;
        self.run.clear();
        self.recent.clear();
    }
}

/// How much of `all` the failures of one are worth.
fn share(by: By, all: usize) -> usize {
    match by {
        By::Anyone => all,
        By::Client(_) => all.div_ceil(2),
    }
}

#[cfg(test)]
#[path = "breaker_tests.rs"]
mod tests;
