//! The limiter under random interleavings of requests, background turns, midnights and outages.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    /// So many at once.
    Take(u8),
    Spend(usize),
    GiveBack(usize),
    /// One turn of the background task.
    Turn,
    Idle,
    LongIdle,
    Midnight,
    /// Lets spawned calls go on by one poll.
    Yield,
    Down(bool),
    Mute(bool),
    Hang(bool),
}

/// What was used of a day is forgotten behind a minute without a request: in an outage after that an edge counts from
/// nothing, which breaks no promise and is not looked at here.
fn steps(outages: bool) -> impl Strategy<Value = Vec<Step>> {
    let calm = prop_oneof![
        6 => (1..9_u8).prop_map(Step::Take),
        4 => any::<usize>().prop_map(Step::Spend),
        4 => any::<usize>().prop_map(Step::GiveBack),
        3 => Just(Step::Turn),
        1 => Just(Step::Idle),
        1 => Just(if outages { Step::Idle } else { Step::LongIdle }),
        1 => Just(Step::Midnight),
        3 => Just(Step::Yield),
    ];
    let rough = prop_oneof![
        any::<bool>().prop_map(Step::Down),
        any::<bool>().prop_map(Step::Mute),
        any::<bool>().prop_map(Step::Hang),
    ];
    let step = if outages { prop_oneof![8 => calm, 1 => rough].boxed() } else { calm.boxed() };
    proptest::collection::vec(step, 1..120)
}

/// Runs the steps against edges that share a store; gives holds never passed the limit, and the count was true
/// at the end. With one edge, also that a request is refused only when the limit is reached.
async fn run(edges: Vec<Edge>, steps: Vec<Step>, limit: u32) {
    let alone = edges.len() == 1;
    let mut held: Vec<(Day, Hold)> = Vec::new();
    let mut spent: HashMap<Day, u32> = HashMap::new();
    for (number, step) in steps.into_iter().enumerate() {
        let edge = &edges[number % edges.len()];
        let today = edge.today();
        match step {
            Step::Take(count) => {
                let before = spent.get(&today).copied().unwrap_or(0)
                    + u32::try_from(held.iter().filter(|(day, _)| *day == today).count()).unwrap();
                let taken = join_all((0..count).map(|_| edge.take(limit))).await;
                let taken: Vec<_> = taken.into_iter().flatten().collect();
                let admitted = u32::try_from(taken.len()).unwrap();
                assert!(before + admitted <= limit, "over-admitted: {before} + {admitted}");
                if alone {
                    assert_eq!(admitted, u32::from(count).min(limit - before), "refused with room left");
                    let left = taken.iter().map(|hold| hold.remaining).min();
                    assert!(left.is_none_or(|left| left == limit - before - admitted), "{left:?}");
                }
                held.extend(taken.into_iter().map(|hold| (today, hold)));
            }
            Step::Spend(place) if !held.is_empty() => {
                let (day, hold) = held.swap_remove(place % held.len());
                *spent.entry(day).or_default() += 1;
                hold.spend();
            }
            Step::GiveBack(place) if !held.is_empty() => drop(held.swap_remove(place % held.len())),
            Step::Spend(_) | Step::GiveBack(_) => {}
            Step::Turn => edge.turn().await,
            Step::Idle => edge.idle().await,
            Step::LongIdle => edge.long_idle().await,
            Step::Midnight => edges.iter().for_each(|edge| edge.clock.advance(Duration::from_secs(86_400))),
            Step::Yield => tokio::task::yield_now().await,
            Step::Down(down) => edge.store.faults.down.store(down, Ordering::SeqCst),
            Step::Hang(hung) => edge.store.faults.hung.store(hung, Ordering::SeqCst),
            Step::Mute(mute) => edge.store.faults.mute.store(mute, Ordering::SeqCst),
        }
    }
    drop(held);
    edges[0].store.faults.down.store(false, Ordering::SeqCst);
    edges[0].store.faults.mute.store(false, Ordering::SeqCst);
    edges[0].store.faults.hung.store(false, Ordering::SeqCst);
    for edge in &edges {
        assert!(edge.limiter.shutdown(Duration::from_secs(60)).await);
    }
    for day in NOON.day().0..=edges[0].today().0 {
        let (used, leased) = edges[0].store.count(edges[0].user, Day(day));
        assert_eq!((used, leased), (spent.get(&Day(day)).copied().unwrap_or(0), 0), "day {day}");
    }
}

fn paused(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(test);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn one_edge_is_exact(steps in steps(false), limit in 1..60_u32) {
        paused(run(vec![Edge::new()], steps, limit));
    }

    #[test]
    fn one_edge_is_exact_through_outages_and_lost_answers(steps in steps(true), limit in 1..60_u32) {
        paused(run(vec![Edge::new()], steps, limit));
    }

    #[test]
    fn three_edges_never_pass_the_limit(steps in steps(false), limit in 1..200_u32) {
        let store = Arc::new(MemoryQuota::with_edges(3));
        let edges = (0..3).map(|_| Edge::over(Arc::clone(&store), OnStoreOutage::Local)).collect();
        paused(run(edges, steps, limit));
    }
}
