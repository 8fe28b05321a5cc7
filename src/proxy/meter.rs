//! What an answer used: read as it passes, as the upstream counted it, else estimated and marked so.

use bytes::Bytes;
use futures_util::FutureExt as _;

use super::Services;
use super::exchange::{Ending, Exchange};
use super::relay::{Framing, Terms};
use crate::llm::{AnswerTap, Dialect, Endpoint, Shown, Tally, Tap};
use crate::units::Usage;
use crate::upstream::Answer;

/// Pieces of an answer that are read for their count alone: an upstream may write faster than they are read.
const CATCHES_UP: usize = 64;

/// Reads what passes, in the answer's own framing.
pub enum Meter {
    Stream(Box<Tap>),
    Answer {
        tap: Box<AnswerTap>,
        /// Bytes that the client was promised and has not been sent.
        promised: Option<u64>,
    },
}

/// A request that lies with the upstream and will get no answer: its prompt is paid for all the same.
pub fn presume(services: &Services, exchange: &mut Exchange, endpoint: Endpoint) {
    let Some(model) = exchange.model().filter(|_| endpoint.is_metered()) else { return };
    exchange.answer.usage = Some(services.calibration.estimate(model, exchange.answer.text_sent, Shown::Document(0)));
    exchange.answer.estimated = true;
}

impl Meter {
    /// `promised` is the length of a success, where the client is told it.
    pub fn new(framing: Framing, terms: &Terms, promised: Option<u64>) -> Self {
        let dialect = terms.endpoint.dialect();
        match framing {
            Framing::EventStream => Meter::Stream(Box::new(Tap::new(dialect, terms.strip_usage))),
            Framing::Json => Meter::Answer { tap: Box::new(AnswerTap::new(dialect)), promised },
        }
    }

    /// Takes the next chunk, and appends to `pieces` what is to be passed on now: all of it, save the last of the
    /// promised bytes of a document that does not end with them. With those it would look whole.
    pub fn push(&mut self, chunk: Bytes, pieces: &mut Vec<Bytes>) {
        match self {
            Meter::Stream(tap) => tap.push(chunk, pieces),
            Meter::Answer { tap, promised } => {
                tap.push(&chunk);
                if let Some(left) = promised {
                    *left = left.saturating_sub(chunk.len() as u64);
                    if *left == 0 && !tap.report().complete {
                        return;
                    }
                }
                pieces.push(chunk);
            }
        }
    }

    /// Takes in what has come of an answer whose client left before any of it could be written: nobody will hear it, and
    /// the model has said it all the same. Waits for no more of it.
    pub async fn catch_up(&mut self, answer: &mut Answer) {
        let mut unheard = Vec::new();
        tokio::task::yield_now().await; // as `attempts::come_before` does
        for _ in 0..CATCHES_UP {
            let Some(Ok(Some(chunk))) = answer.chunk().now_or_never() else { break };
            self.push(chunk, &mut unheard);
            unheard.clear();
        }
    }

    /// The upstream has ended: appends what was held.
    pub fn finish(&mut self, pieces: &mut Vec<Bytes>) {
        if let Meter::Stream(tap) = self {
            tap.finish(pieces);
        }
    }

    /// A stream is whole when its dialect's last word has passed, or an error event in its place.
    pub fn complete(&self) -> bool {
        match self {
            Meter::Stream(tap) => {
                let report = tap.report();
                report.saw_end || report.error
            }
            Meter::Answer { tap, .. } => tap.report().complete,
        }
    }

    /// Nothing that the upstream may still do can matter to the client. A JSON document is framed by a length that the
    /// client was promised, so there the upstream has to keep its word to the last byte.
    pub fn said_all(&self) -> bool {
        self.is_stream() && self.complete()
    }

    pub fn is_stream(&self) -> bool {
        matches!(self, Meter::Stream(_))
    }

    /// A stream that has passed, and ends where an event ends.
    pub fn at_boundary(&self) -> Option<bool> {
        match self {
            Meter::Stream(tap) => Some(tap.report().at_boundary),
            Meter::Answer { .. } => None,
        }
    }

    /// A stream of which whole events have passed, none of them an error, whatever has begun behind them. A comment is no
    /// event: it says that somebody is there, and not that the model is.
    pub fn begins_well(&self) -> bool {
        let Meter::Stream(tap) = self else { return false };
        let report = tap.report();
        report.saw_event && !report.error
    }

    /// An error object inside a 200 is not a success, even when it was passed on whole.
    pub fn verdict(&self, status: u16, ending: Ending) -> Ending {
        let error = match self {
            Meter::Stream(tap) => tap.report().error,
            Meter::Answer { tap, .. } => status < 400 && tap.report().error,
        };
        if error && ending == Ending::Whole { Ending::ErrorInside } else { ending }
    }

    /// Notes the tokens, and learns from them where the answer is whole. An endpoint that is free has none: what a
    /// count of tokens answers with are not tokens used.
    pub fn read(&self, services: &Services, exchange: &mut Exchange, terms: &Terms, ending: Ending) {
        let Some(model) = exchange.model().filter(|_| terms.endpoint.is_metered()).cloned() else { return };
        let (counted, shown) = self.counted();
        let asked = exchange.answer.text_sent;
        let estimate = |shown| services.calibration.estimate(&model, asked, shown);
        let goes_on = self.counts_as_it_goes(terms);
        let (usage, estimated) = match counted {
            None if exchange.answer.status >= 400 => return,
            None => (estimate(shown), true),
            Some((usage, rest)) => match rest.filter(|_| goes_on || ending != Ending::Whole) {
                // Whoever counts in every chunk, or the prompt at the beginning, has not counted what came behind it.
                Some(rest) => {
                    let output = usage.output + estimate(Shown::Rest(rest)).output;
                    (Usage { output, ..usage }, true)
                }
                None if ending == Ending::Whole => {
                    services.calibration.learn(&model, asked, shown, &usage);
                    (usage, false)
                }
                // Most count once, when all is said. Anthropic counts as it goes: what it said so far may not be all.
                None => (usage, goes_on),
            },
        };
        exchange.answer.usage = Some(usage);
        exchange.answer.estimated = estimated;
    }

    fn counts_as_it_goes(&self, terms: &Terms) -> bool {
        matches!(self, Meter::Stream(_)) && terms.endpoint.dialect() == Dialect::Messages
    }

    /// What the upstream said it was, with what has been said since where anything has, and what has passed of an answer.
    fn counted(&self) -> (Option<(Usage, Option<Tally>)>, Shown) {
        match self {
            Meter::Stream(tap) => {
                let report = tap.report();
                let rest = Some(report.said_since).filter(|rest| !rest.is_empty());
                (report.usage.map(|usage| (usage, rest)), Shown::Stream(report.said))
            }
            Meter::Answer { tap, .. } => {
                let report = tap.report();
                (report.usage.map(|usage| (usage, None)), Shown::Document(report.answer_chars))
            }
        }
    }
}
