//! What a client's HTTP/2 frames cost it: those that ask for work and bring none are bounded.
//!
//! The library below answers every SETTINGS and PING and forgets every reset, at a cost that is ours alone; here they
//! are counted as they come in. Its own bounds stand beside this one: of streams, of resets that nobody has accepted
//! yet, of CONTINUATION frames, of the size of a head.

use std::time::{Duration, Instant};

/// The connection preface, before the first frame.
const PREFACE: usize = 24;
const HEAD: usize = 9;
/// What may be spent in a window: a page that is left while it loads resets some dozens of streams, and nobody pings a
/// hundred times a second.
const BUDGET: u32 = 1_000;
/// Of a trusted proxy, which brings many clients on one connection: as much as of fifty.
const BUDGET_OF_PROXY: u32 = 50 * BUDGET;
const WINDOW: Duration = Duration::from_secs(10);

const END_STREAM: u8 = 1;

/// One connection's frames.
#[derive(Debug)]
pub struct Frames {
    head: [u8; HEAD],
    /// Bytes of it that have come.
    have: usize,
    /// Bytes of the present frame that are still to come.
    left: usize,
    budget: u32,
    spent: u32,
    since: Instant,
}

impl Frames {
    pub fn new(of_proxy: bool) -> Self {
        let budget = if of_proxy { BUDGET_OF_PROXY } else { BUDGET };
        Self { head: [0; HEAD], have: 0, left: PREFACE, budget, spent: 0, since: Instant::now() }
    }

    /// Whether `bytes`, which came in next, are still within bounds.
    #[must_use]
    pub fn may(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let (passed, rest) = bytes.split_at(self.left.min(bytes.len()));
            self.left -= passed.len();
            let (more, rest) = rest.split_at((HEAD - self.have).min(rest.len()));
            self.head[self.have..self.have + more.len()].copy_from_slice(more);
            self.have += more.len();
            if self.have == HEAD {
                self.have = 0;
                if !self.affords() {
                    return false;
                }
            }
            bytes = rest;
        }
        true
    }

    /// Whether the frame whose head has come is within bounds.
    fn affords(&mut self) -> bool {
        let [high, middle, low, kind, flags, ..] = self.head;
        self.left = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        self.spent += cost(kind, flags, self.left == 0);
        if self.spent > self.budget && self.since.elapsed() >= WINDOW {
            // The clock is read where it matters and nowhere else.
            (self.spent, self.since) = (0, Instant::now());
        }
        self.spent <= self.budget
    }
}

/// By RFC 9113 §6. What carries a request or its body is free, and so is WINDOW_UPDATE: there are as many of those as
/// there is to download, and they ask for nothing.
fn cost(kind: u8, flags: u8, is_empty: bool) -> u32 {
    match kind {
        0 => u32::from(is_empty && flags & END_STREAM == 0), // DATA
        1 | 8 => 0,                                          // HEADERS, WINDOW_UPDATE
        3 => 5,                                              // RST_STREAM: a request was begun for it
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    /// How many of these are taken on one connection, in pieces of `step` bytes, of a thousand thousand at most.
    fn taken(frame: &[u8], step: usize) -> usize {
        taken_of(false, frame, step)
    }

    fn taken_of(proxy: bool, frame: &[u8], step: usize) -> usize {
        let mut frames = Frames::new(proxy);
        assert!(frames.may(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
        (0..1_000_000).take_while(|_| frame.chunks(step).all(|piece| frames.may(piece))).count()
    }

    #[test]
    fn frames_that_ask_for_work_alone_are_bounded() {
        for step in [1, 4, 100] {
            assert_eq!(taken(&frame(4, 0, &[0, 3, 0, 0, 0, 1]), step), 1_000, "SETTINGS");
            assert_eq!(taken(&frame(6, 0, &[7; 8]), step), 1_000, "PING");
            assert_eq!(taken(&frame(3, 0, &[0; 4]), step), 200, "RST_STREAM");
            assert_eq!(taken(&frame(0, 0, &[]), step), 1_000, "DATA of nothing");
            assert_eq!(taken(&frame(2, 0, &[0; 5]), step), 1_000, "PRIORITY");
        }
    }

    #[test]
    fn frames_that_bring_something_are_not() {
        assert_eq!(taken(&frame(0, 0, b"body"), 100), 1_000_000);
        assert_eq!(taken(&frame(0, END_STREAM, &[]), 100), 1_000_000);
        assert_eq!(taken(&frame(8, 0, &[0; 4]), 100), 1_000_000);
    }

    #[test]
    fn a_trusted_proxy_may_bring_what_fifty_clients_may() {
        assert_eq!(taken_of(true, &frame(3, 0, &[0; 4]), 100), 50 * 200, "RST_STREAM");
        assert_eq!(taken_of(true, &frame(6, 0, &[7; 8]), 100), 50 * 1_000, "PING");
    }

    #[test]
    fn time_forgives() {
        let mut frames = Frames::new(false);
        assert!(frames.may(&[b'P'; PREFACE]));
        let ping = frame(6, 0, &[7; 8]);
        assert!((0..BUDGET).all(|_| frames.may(&ping)));
        frames.since = Instant::now().checked_sub(WINDOW).unwrap();
        assert!((0..BUDGET).all(|_| frames.may(&ping)));
    }
}
