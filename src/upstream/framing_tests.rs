use proptest::prelude::*;

use super::*;

/// All pieces of `text`, fed in cuts at `cuts`, then whether it ended, and what was left over.
fn read(mut framing: Framing, text: &[u8], cuts: &[usize]) -> Result<(Vec<u8>, bool, Vec<u8>), FramingProblem> {
    let (mut inbox, mut body, mut from) = (BytesMut::new(), Vec::new(), 0);
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (text.len() + 1)).collect();
    ends.sort_unstable();
    for end in ends.into_iter().chain([text.len()]) {
        inbox.extend_from_slice(&text[from..end]);
        from = end;
        loop {
            match framing.take(&mut inbox)? {
                Yield::Piece(piece) => {
                    assert!(!piece.is_empty());
                    body.extend_from_slice(&piece);
                }
                Yield::End => break,
                Yield::More => break,
            }
        }
    }
    let ended = framing.close();
    Ok((body, ended, inbox.to_vec()))
}

fn chunked(text: &str) -> Result<(Vec<u8>, bool, Vec<u8>), FramingProblem> {
    read(Framing::from(Length::Chunked), text.as_bytes(), &[])
}

#[test]
fn a_length_ends_a_body_and_leaves_the_rest() {
    let read = |length, text: &str| read(Framing::from(length), text.as_bytes(), &[]).unwrap();
    assert_eq!(read(Length::Known(3), "abcdef"), (b"abc".to_vec(), true, b"def".to_vec()));
    assert_eq!(read(Length::Known(0), "abc"), (Vec::new(), true, b"abc".to_vec()));
    assert_eq!(read(Length::Known(9), "abc"), (b"abc".to_vec(), false, Vec::new()));
    assert_eq!(read(Length::UntilClose, "abc"), (b"abc".to_vec(), true, Vec::new()));
}

#[test]
fn chunks_end_at_their_last_one_alone() {
    let whole = "3\r\nabc\r\nA;name=\"v\"\r\n0123456789\r\n0\r\nx-trailer: y\r\n\r\n";
    assert_eq!(chunked(&format!("{whole}NEXT")).unwrap(), (b"abc0123456789".to_vec(), true, b"NEXT".to_vec()));
    for cut in 0..whole.len() {
        let (body, ended, _) = chunked(&whole[..cut]).unwrap();
        assert!(!ended && b"abc0123456789".starts_with(&body[..]), "cut at {cut}");
    }
}

#[test]
fn chunks_that_came_at_one_time_are_one_piece() {
    let mut inbox = BytesMut::from("3\r\nabc\r\nA;name=\"v\"\r\n0123456789\r\n2\r\nd");
    let mut framing = Framing::from(Length::Chunked);
    let mut next = |inbox: &mut BytesMut| framing.take(inbox).unwrap();
    assert_eq!(next(&mut inbox), Yield::Piece("abc0123456789d".into()));
    assert_eq!((next(&mut inbox), inbox.len()), (Yield::More, 0));
    inbox.extend_from_slice(b"e\r\n4\r\nfghi\r\n0\r\n\r\n");
    assert_eq!(next(&mut inbox), Yield::Piece("efghi".into()));
    assert_eq!(next(&mut inbox), Yield::End);
}

#[test]
fn what_stands_before_a_mistake_comes_first() {
    for mistake in ["\r\nx\r\n", "\r\n\r\n", "wrong", "\r\n3\nabc"] {
        let mut inbox = BytesMut::from(&format!("1\r\na\r\n2\r\nbc{mistake}")[..]);
        let mut framing = Framing::from(Length::Chunked);
        assert_eq!(framing.take(&mut inbox), Ok(Yield::Piece("abc".into())), "{mistake:?}");
        assert!(framing.take(&mut inbox).is_err(), "{mistake:?}");
    }
}

#[test]
fn what_is_no_chunk_is_no_body() {
    for text in [
        "x\r\n",
        "\r\n",
        "+3\r\nabc",
        "3 3\r\nabc",
        "0x3\r\nabc",
        "11111111111111111\r\n",
        "3\nabc",
        "3\r\nabcd\r\n",
        "3\r\nabc\n\n0\r\n\r\n",
        "0\r\nx\n\r\n",
    ] {
        assert!(chunked(text).is_err(), "{text:?}");
    }
    assert!(chunked(&"1".repeat(LONGEST_LINE + 1)).is_err());
    let trailer = format!("0\r\n{}", format!("x: {}\r\n", "y".repeat(1_000)).repeat(17));
    assert!(chunked(&trailer).is_err());
}

proptest! {
    #[test]
    fn however_it_is_cut_a_body_is_the_same(
        pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..8),
        cuts in proptest::collection::vec(any::<usize>(), 0..12),
        chunks in any::<bool>(),
    ) {
        let body = pieces.concat();
        let (framing, mut text) = if chunks {
            let chunk = |piece: &Vec<u8>| [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
            let mut text: Vec<u8> = pieces.iter().flat_map(chunk).collect();
            text.extend_from_slice(b"0\r\n\r\n");
            (Framing::from(Length::Chunked), text)
        } else {
            (Framing::from(Length::Known(body.len() as u64)), body.clone())
        };
        text.extend_from_slice(b"rest");
        let (read, ended, rest) = read(framing, &text, &cuts).unwrap();
        prop_assert!(ended);
        prop_assert_eq!(read, body);
        prop_assert_eq!(rest, b"rest".to_vec());
    }

    #[test]
    fn no_bytes_make_it_panic(text in proptest::collection::vec(any::<u8>(), 0..200), cuts in proptest::collection::vec(any::<usize>(), 0..5)) {
        let _ = read(Framing::from(Length::Chunked), &text, &cuts);
        let _ = super::super::head::take(&mut BytesMut::from(&text[..]), &mut 0);
    }
}
