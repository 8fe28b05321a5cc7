//! A stream, behind a byte that chooses its dialect and where it is cut into pieces. Cutting changes nothing, and
//! without stripping every byte passes.

use bytes::Bytes;
use cfx::llm::{AnswerTap, Dialect, StreamReport, Tap};

/// An event of up to so many bytes is read in one go.
const HELD: usize = 16 * 1024;

const DIALECTS: [Dialect; 5] =
    [Dialect::Chat, Dialect::Completions, Dialect::Embeddings, Dialect::Responses, Dialect::Messages];

pub fn target(bytes: &[u8]) {
    let Some((how, stream)) = bytes.split_first() else { return };
    let dialect = DIALECTS[usize::from(how & 7) % DIALECTS.len()];
    let strip = how & 8 != 0;
    let stream = Bytes::copy_from_slice(stream);
    // The longest are cut into fewer: their pieces say no more for being many.
    let piece = (usize::from(how >> 4) + 1).max(stream.len() / 1024);
    let (whole, said) = tapped(dialect, strip, &stream, stream.len().max(1));
    let (cut, said_cut) = tapped(dialect, strip, &stream, piece);
    assert!(whole == cut, "pieces of {piece} bytes differ from the whole");
    assert_eq!(said.at_boundary, said_cut.at_boundary, "in pieces of {piece} bytes");
    // What an event says that is too long to be held is reckoned, as if it were sound.
    if stream.len() <= HELD {
        assert_eq!(said, said_cut, "in pieces of {piece} bytes");
    }
    if strip {
        assert!(whole.len() <= stream.len());
    } else {
        assert!(whole == stream, "a stream was changed");
    }
    let mut answer = AnswerTap::new(dialect);
    stream.chunks(piece).for_each(|piece| answer.push(piece));
    let mut at_once = AnswerTap::new(dialect);
    at_once.push(&stream);
    assert_eq!(answer.report(), at_once.report(), "in pieces of {piece} bytes");
}

fn tapped(dialect: Dialect, strip: bool, stream: &Bytes, piece: usize) -> (Vec<u8>, StreamReport) {
    let (mut tap, mut out) = (Tap::new(dialect, strip), Vec::new());
    for from in (0..stream.len()).step_by(piece) {
        tap.push(stream.slice(from..stream.len().min(from + piece)), &mut out);
    }
    tap.finish(&mut out);
    (out.concat(), tap.report())
}
