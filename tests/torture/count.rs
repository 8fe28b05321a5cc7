//! What the quota must have counted, by the rows.
//!
//! A request counts from its OPEN on. Where nothing of it reached the upstream its place is given back, and the next
//! request takes it. So the count is that of the rows that are no such gift, but for two things, both bounded here life
//! by life and no further: a place that lay given back when its process died stays counted, and the one record that a
//! damage hit may have been the END of a gift, whose row then reads as if it had counted.

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::time::SystemTime;

use crate::store::Row;

/// Milliseconds: a row's times are cut to them, and its place is free a moment after it was made.
const GIVEN_BACK_WITHIN: u64 = 20;

/// One process that died.
#[derive(Debug)]
pub struct Life {
    /// Milliseconds since the epoch.
    died: u64,
    /// The last record that it wrote was taken from it. All its requests had ended by then.
    damaged: bool,
}

/// What the rows say of the quota.
#[derive(Debug)]
pub struct Expected {
    /// Rows of requests that count.
    pub rows: usize,
    /// Of these the ones that may have been given back, as their END might have said.
    pub in_doubt: usize,
    /// Places that may have lain given back when their process died.
    pub in_hand: usize,
}

impl Life {
    /// To be called when it has died and before the next one begins.
    pub fn over(damaged: bool) -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock that is set");
        Self { died: u64::try_from(now.as_millis()).expect("a time near ours"), damaged }
    }
}

/// Every process that died, with the rows of its requests. Those of the last, which was stopped in order, are in none.
fn by_life<'a>(lives: &'a [Life], rows: &'a [Row]) -> impl Iterator<Item = (&'a Life, Vec<&'a Row>)> {
    let mut of_each: Vec<_> = lives.iter().map(|life| (life, Vec::new())).collect();
    for row in rows {
        if let Some((_, of_life)) = of_each.get_mut(lives.partition_point(|life| life.died < row.began())) {
            of_life.push(row);
        }
    }
    of_each.into_iter()
}

impl Expected {
    /// `reached`: the requests that the upstream has read.
    pub fn by(lives: &[Life], rows: &[Row], reached: &HashSet<String>) -> Self {
        // One that was left with the connection standing may have been read: its edge has guessed its tokens.
        let counts = |row: &Row| row.was_stopped() || row.estimated || reached.contains(&row.request);
        let in_doubt = hit(lives, rows).into_iter().filter(|id| !reached.contains(*id)).count();
        let in_hand = by_life(lives, rows).map(|(_, rows)| {
            let admitted: Vec<_> = rows.into_iter().filter(|row| row.was_stopped() || row.attempts > 0).collect();
            let taken = admitted.iter().map(|row| (row.began(), false));
            let given = admitted.iter().filter(|row| !counts(row)).map(|row| (row.ended() + GIVEN_BACK_WITHIN, true));
            left_over(taken.chain(given).collect())
        });
        Self { rows: rows.iter().filter(|row| counts(row)).count(), in_doubt, in_hand: in_hand.sum() }
    }

    pub fn allowed(&self) -> RangeInclusive<usize> {
        self.rows - self.in_doubt..=self.rows + self.in_hand
    }
}

/// The requests whose END a damage took: one of each damaged life at the most.
pub fn hit<'a>(lives: &'a [Life], rows: &'a [Row]) -> HashSet<&'a str> {
    let damaged = by_life(lives, rows).filter(|(life, _)| life.damaged);
    let of_each = damaged.flat_map(|(_, rows)| {
        let stopped: Vec<_> = rows.into_iter().filter(|row| row.was_stopped()).collect();
        assert!(stopped.len() <= 1, "one damage has taken more than one END: {stopped:?}");
        stopped
    });
    of_each.map(|row| row.request.as_str()).collect()
}

/// How many places nobody took after they were given (`true`). Whoever comes takes one that lies there before any other.
fn left_over(mut events: Vec<(u64, bool)>) -> usize {
    events.sort_unstable();
    events.into_iter().fold(0, |there, (_, given)| if given { there + 1 } else { there.saturating_sub(1) })
}
