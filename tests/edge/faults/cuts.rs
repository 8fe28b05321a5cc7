//! A thousand answers, each cut at a place of chance: nobody reads one of them as whole that is not.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::downstream::{Ask, Downstream, Protocol};
use super::observe::in_band;
use super::play::{END, Kind, chunk, events, head};
use crate::harness::{Answer, Harness, Reply};

const CUTS: usize = 1_000;
/// Half of them over each protocol. Over HTTP/2 cfx takes a moment to reset a stream, so that its last event is read.
const CLIENTS: usize = 16;

const UNTOLD: &str = "it ends without a word";

/// One answer and its cut.
#[derive(Debug, Clone, Copy)]
struct Cut {
    kind: Kind,
    framing: Framing,
    /// How many of the answer's bytes are sent, head and framing included.
    at: usize,
    reset: bool,
    usage_asked: bool,
}

#[derive(Debug, Clone, Copy)]
enum Framing {
    Length,
    Chunks,
    Close,
}

#[test]
fn a_thousand_cuts_and_none_is_taken_for_whole() {
    let mut edge = Harness::start();
    let mut chance = Chance::new();
    let cuts: Arc<Vec<Cut>> = Arc::new((0..CUTS).map(|number| Cut::draw(&mut chance, number)).collect());
    let script = cuts.clone();
    edge.upstream.always(move |request| {
        let number: usize = request.header("openai-beta")?.parse().ok()?;
        let cut = script[number];
        Some(Reply::script(move |exchange| {
            exchange.send(&cut.bytes(number)[..cut.at]);
            if cut.reset { exchange.reset() } else { exchange.hang_up() }
        }))
    });
    let (whole, unheard, untold) = (Mutex::new(BTreeMap::new()), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for worker in 0..CLIENTS {
            let (edge, cuts, whole, unheard, untold) = (&edge, &cuts, &whole, &unheard, &untold);
            scope.spawn(move || {
                let protocol = if worker % 2 == 0 { Protocol::Http1 } else { Protocol::Http2 };
                let mut client = Downstream::new(edge, protocol);
                for (number, cut) in cuts.iter().enumerate().skip(worker).step_by(CLIENTS) {
                    let ask = Ask { host: "cfx.test", mark: &number.to_string(), body: &cut.request() };
                    let answer = match client.ask(&ask) {
                        Ok(answer) => answer,
                        // The reset of a stream overtakes its head where the machine has much else to do.
                        Err(_) if protocol == Protocol::Http2 => {
                            unheard.fetch_add(1, Ordering::SeqCst);
                            continue;
                        }
                        Err(problem) => panic!("{cut:?}: {problem}"),
                    };
                    let read = match cut.read(number, &answer) {
                        // Or its last event: what was heard is broken off all the same.
                        Err(UNTOLD) if protocol == Protocol::Http2 => {
                            untold.fetch_add(1, Ordering::SeqCst);
                            false
                        }
                        read => read.unwrap_or_else(|lie| panic!("{cut:?}: {lie}: {answer}")),
                    };
                    let id = answer.header("x-request-id").expect("an id").to_string();
                    whole.lock().expect("no panic").insert(id, read);
                }
            });
        }
    });
    let whole = whole.into_inner().expect("no panic");
    let count = whole.values().filter(|whole| **whole).count();
    assert!(count > 0 && count < CUTS / 2, "{count} of {CUTS} came whole: too many to have been cut, or none");
    let rows = edge.stop_and_read().rows();
    let (unheard, untold) = (unheard.into_inner(), untold.into_inner());
    assert!(unheard + untold < CUTS / 10, "of {unheard} answers not even the head was heard, of {untold} not the end");
    assert_eq!((rows.len(), whole.len()), (CUTS, CUTS - unheard));
    for row in rows {
        let whole = whole.get(row.text("request_id")).is_some_and(|whole| *whole);
        assert_eq!(row.text("status") == "success", whole, "{row:?}");
    }
}

impl Cut {
    fn draw(chance: &mut Chance, number: usize) -> Self {
        let kind = if chance.below(2) == 0 { Kind::Json } else { Kind::Sse };
        let framing = [Framing::Length, Framing::Chunks, Framing::Close][chance.below(3)];
        let (reset, usage_asked) = (chance.below(2) == 0, chance.below(2) == 0);
        let mut cut = Self { kind, framing, at: 0, reset, usage_asked };
        let bytes = cut.bytes(number);
        let head = bytes.windows(4).position(|end| end == b"\r\n\r\n").expect("a head");
        // Nine in ten behind the head, and as many of them near the end as anywhere.
        cut.at = match chance.below(10) {
            0 => chance.below(head),
            1..6 => head + chance.below(bytes.len() - head),
            _ => bytes.len() - chance.below(40),
        };
        cut
    }

    fn answer(self, number: usize) -> Vec<u8> {
        self.kind.answer(&format!("Answer {number}: çok güzel, naïve, 日本語, 🦀, \"quoted\", all the way."))
    }

    /// The answer as it would stand on the wire, uncut.
    fn bytes(self, number: usize) -> Vec<u8> {
        let answer = self.answer(number);
        let kind = self.kind.content_type();
        match self.framing {
            Framing::Length => {
                let head = head("200 OK", &format!("{kind}content-length: {}\r\n", answer.len()));
                [head.into_bytes(), answer].concat()
            }
            Framing::Chunks => {
                let mut bytes = self.kind.chunked_head().into_bytes();
                let pieces = if self.kind == Kind::Sse { events(&answer) } else { vec![answer] };
                pieces.iter().for_each(|piece| bytes.extend(chunk(piece)));
                bytes.extend(END);
                bytes
            }
            Framing::Close => [head("200 OK", kind).into_bytes(), answer].concat(),
        }
    }

    fn request(self) -> String {
        let mut body = crate::harness::chat_body();
        if self.kind == Kind::Sse {
            body = crate::harness::streaming(body);
        }
        if self.kind == Kind::Sse && self.usage_asked {
            body["stream_options"] = serde_json::json!({"include_usage": true});
        }
        body.to_string()
    }

    /// Whether a client takes the answer for whole; an error where it does so and is wrong.
    fn read(self, number: usize, answer: &Answer) -> Result<bool, &'static str> {
        if answer.status != 200 {
            return if answer.complete && answer.status == 502 { Ok(false) } else { Err("no refusal of ours") };
        }
        let sent = self.answer(number);
        if self.kind == Kind::Json {
            return match answer.complete {
                true if answer.body != sent => Err("taken for whole"),
                complete => Ok(complete),
            };
        }
        let wanted: Vec<Vec<u8>> = events(&sent);
        let wanted: Vec<_> =
            wanted.into_iter().filter(|event| self.usage_asked || !holds(event, b"\"usage\"")).collect();
        if answer.complete {
            // Framed by its close, the last word is the last word, with the blank line behind it or without.
            let same = answer.body.trim_ascii_end() == wanted.concat().trim_ascii_end();
            return if same { Ok(true) } else { Err("taken for whole") };
        }
        // Who does not look at the framing goes by the events alone: up to the last word, an error, or the end.
        let seen = events(&answer.body);
        let done = seen.iter().position(|event| event == b"data: [DONE]\n\n");
        if done.is_some_and(|done| seen[..=done] == wanted[..]) {
            return Ok(false);
        }
        let told = seen.last().is_some_and(|event| in_band(event).is_some());
        if told && done.is_none() { Ok(false) } else { Err(UNTOLD) }
    }
}

fn holds(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// A small generator (splitmix64) with a seed that no earlier run had; what it chose is in the message of a failure.
struct Chance(u64);

impl Chance {
    fn new() -> Self {
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).expect("randomness");
        Self(u64::from_le_bytes(seed))
    }

    /// From 0 to just under `end`.
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) >> 1).expect("64 bits") % end
    }
}
