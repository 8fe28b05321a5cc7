//! Who asks which edge, how often: a few users ask much, a long tail asks now and then, and all is drawn alike each time.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use super::edge::NotServed;
use super::{Fleet, User};

/// Between handfuls of requests.
const TICK: Duration = Duration::from_millis(5);
/// Of a hundred requests, those that reach no upstream.
const GIVEN_BACK: u64 = 1;
/// Of five requests, those that are no streams.
const NO_STREAMS: u64 = 1;

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// A second, all edges together. None: as fast as 64 clients go, each after its last answer.
    pub rate: Option<u32>,
    pub requests: u64,
    /// Which drawn request is the first. None: each user asks once, in turn, at whatever edge is drawn.
    pub from: Option<u64>,
    /// Users who ask a share of all requests between them; the others ask the rest, each as often as another.
    pub heavy: usize,
    /// Per cent.
    pub heavy_share: u64,
    /// Edges that one user's requests come to. None: any.
    pub near: Option<usize>,
    /// How long the upstream takes.
    pub answer: Duration,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Tally {
    pub admitted: AtomicU64,
    pub exhausted: AtomicU64,
    /// A store did not answer in time.
    pub unanswered: AtomicU64,
    /// Of those admitted, which waited for a store.
    pub waited: AtomicU64,
}

/// Draws that are alike each time (splitmix64).
struct Draws(u64);

impl Draws {
    fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound.max(1)).unwrap_or(u64::MAX);
        usize::try_from(self.next() % bound).unwrap_or_default()
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

/// One request that is about to be made.
#[derive(Clone, Copy)]
struct Draw {
    number: u64,
    user: usize,
    edge: usize,
}

impl Load {
    fn draw(&self, number: u64, fleet: &Fleet) -> Draw {
        let mut draws = Draws(number.wrapping_mul(0xD134_2543_DE82_EF95));
        let heavy = self.heavy.min(fleet.users.len());
        let user = match draws.next() % 100 < self.heavy_share {
            _ if self.from.is_none() => usize::try_from(number).unwrap_or_default() % fleet.users.len(),
            true => draws.below(heavy),
            false => heavy + draws.below(fleet.users.len() - heavy),
        };
        let edges = fleet.edges.len();
        let edge = match self.near {
            None => draws.below(edges),
            Some(near) => (Draws(user as u64).below(edges) + draws.below(near)) % edges,
        };
        Draw { number, user, edge }
    }

    /// Asks until every request has ended.
    pub async fn drive(self, fleet: &Arc<Fleet>) -> Arc<Tally> {
        let tally = Arc::new(Tally::default());
        match self.rate {
            Some(rate) => self.paced(rate, fleet, &tally).await,
            None => self.hammered(fleet, &tally).await,
        }
        tally
    }

    async fn paced(self, rate: u32, fleet: &Arc<Fleet>, tally: &Arc<Tally>) {
        let mut asking = JoinSet::new();
        let began = Instant::now();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut number = 0;
        while number < self.requests {
            tick.tick().await;
            let due = began.elapsed().as_micros() * u128::from(rate) / 1_000_000;
            while number < self.requests && u128::from(number) < due {
                let (fleet, tally) = (Arc::clone(fleet), Arc::clone(tally));
                asking.spawn(async move { self.ask(self.from.unwrap_or(0) + number, &fleet, &tally).await });
                number += 1;
            }
            while asking.try_join_next().is_some_and(|ended| ended.map(|()| true).expect("a request")) {}
        }
        while let Some(ended) = asking.join_next().await {
            ended.expect("a request");
        }
    }

    async fn hammered(self, fleet: &Arc<Fleet>, tally: &Arc<Tally>) {
        let next = Arc::new(AtomicU64::new(0));
        let mut asking = JoinSet::new();
        for _ in 0..64 {
            let (fleet, tally, next) = (Arc::clone(fleet), Arc::clone(tally), Arc::clone(&next));
            asking.spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    if number >= self.requests {
                        break;
                    }
                    self.ask(self.from.unwrap_or(0) + number, &fleet, &tally).await;
                }
            });
        }
        while let Some(ended) = asking.join_next().await {
            ended.expect("a client");
        }
    }

    async fn ask(&self, number: u64, fleet: &Fleet, tally: &Tally) {
        let draw = self.draw(number, fleet);
        let user: &User = &fleet.users[draw.user];
        let stream = draw.number % 5 >= NO_STREAMS;
        user.asked.fetch_add(1, Ordering::SeqCst);
        let admitted = noting_a_wait(fleet.edges[draw.edge].admit(user, fleet.limit, stream)).await;
        let (figure, served) = match admitted {
            (Ok(served), waited) => {
                tally.waited.fetch_add(u64::from(waited), Ordering::SeqCst);
                (&tally.admitted, Some(served))
            }
            (Err(NotServed::Exhausted), _) => (&tally.exhausted, None),
            (Err(NotServed::Unanswered), _) => (&tally.unanswered, None),
        };
        figure.fetch_add(1, Ordering::SeqCst);
        let Some(served) = served else { return };
        if !self.answer.is_zero() {
            tokio::time::sleep(self.answer).await;
        }
        if draw.number % 100 < GIVEN_BACK {
            user.given_back.fetch_add(1, Ordering::SeqCst);
            served.given_back();
        } else {
            user.spent.fetch_add(1, Ordering::SeqCst);
            served.answered();
        }
    }
}

/// Whether it had its answer without waiting.
async fn noting_a_wait<F: Future>(future: F) -> (F::Output, bool) {
    let (mut future, mut waited) = (pin!(future), false);
    let output = poll_fn(|context| {
        let polled = future.as_mut().poll(context);
        waited |= polled.is_pending();
        polled
    })
    .await;
    (output, waited)
}
