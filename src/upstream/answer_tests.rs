use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};

use super::super::breaker::Rule;
use super::*;
use crate::config::Target;

const ENOUGH: usize = 4 << 10;

/// A stream in chunks, and the connection it comes by.
fn stream() -> (Answer, DuplexStream) {
    let (near, far) = duplex(64 << 10);
    let target = Arc::new(Target::new(false, "model".to_owned(), 1).unwrap());
    let rule = Rule { failures: 2, open_for: Duration::from_secs(30) };
    let seat = Seat::take(&Arc::new(Member::new("some", &target, rule)), Instant::now()).unwrap();
    let head = Head {
        status: StatusCode::OK,
        content_type: None,
        content_length: None,
        encoded: false,
        retry_after: None,
        retry_after_ms: None,
    };
    let wire = Wire::new(Box::new(near), Duration::ZERO);
    let framing = Framing::Chunked(super::super::framing::Chunk::Size);
    (Answer::new(head, Source::Http1 { wire, framing, unsent: None, keeps_alive: true }, seat), far)
}

async fn first(answer: &mut Answer, far: &mut DuplexStream) -> Bytes {
    far.write_all(b"3\r\none\r\n").await.unwrap();
    answer.chunk().await.unwrap().unwrap()
}

#[tokio::test]
async fn what_has_come_meanwhile_goes_with_the_first_and_the_end_has_its_turn() {
    let (mut answer, mut far) = stream();
    let one = first(&mut answer, &mut far).await;
    far.write_all(b"3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\n").await.unwrap();
    assert_eq!(answer.joined(one, ENOUGH), "onetwothree");
    assert_eq!(answer.chunk().await.unwrap(), None);
}

#[tokio::test]
async fn nothing_is_waited_for() {
    let (mut answer, mut far) = stream();
    let one = first(&mut answer, &mut far).await;
    let joined = answer.joined(one.clone(), ENOUGH);
    assert_eq!(joined.as_ptr(), one.as_ptr(), "copied for nothing");
    far.write_all(b"3\r\ntwo\r\n").await.unwrap();
    assert_eq!(answer.chunk().await.unwrap().unwrap(), "two");
}

#[tokio::test]
async fn a_break_does_not_swallow_what_came_before_it() {
    let (mut answer, mut far) = stream();
    let one = first(&mut answer, &mut far).await;
    far.write_all(b"3\r\ntwo\r\nno size\r\n").await.unwrap();
    assert_eq!(answer.joined(one, ENOUGH), "onetwo");
    assert!(matches!(answer.chunk().await, Err(Broken(WireProblem::Framing(_)))));
}

#[tokio::test]
async fn what_is_enough_by_itself_is_not_copied_and_what_is_not_gets_no_more_than_enough() {
    let (mut answer, mut far) = stream();
    let one = first(&mut answer, &mut far).await;
    // Each is read by itself, for the room for a read is 4 KiB at first.
    let large = [b"1000\r\n".as_slice(), &[b'x'; 0x1000], b"\r\n1000\r\n", &[b'y'; 0x1000], b"\r\n"].concat();
    far.write_all(&large).await.unwrap();
    let joined = answer.joined(one, ENOUGH);
    assert!((ENOUGH..2 * ENOUGH).contains(&joined.len()), "{}", joined.len());
    let next = answer.chunk().await.unwrap().unwrap();
    let whole = answer.joined(next.clone(), next.len());
    assert_eq!(whole.as_ptr(), next.as_ptr(), "copied for nothing");
    let mut length = joined.len() + next.len();
    while length < 3 + 0x2000 {
        length += answer.chunk().await.unwrap().unwrap().len();
    }
    assert_eq!(length, 3 + 0x2000);
}

#[tokio::test]
async fn who_looks_ahead_again_sees_what_was_seen_before_and_more() {
    let (mut answer, mut far) = stream();
    far.write_all(b"3\r\none\r\n").await.unwrap();
    let by = || Instant::now() + Duration::from_secs(60);
    assert_eq!(answer.whole_within(2, by()).await, None, "more than was to be looked at");
    assert_eq!(answer.whole_within(2, by()).await, None, "nothing further is waited for");
    far.write_all(b"3\r\ntwo\r\n0\r\n\r\n").await.unwrap();
    for _ in 0..2 {
        assert_eq!(answer.whole_within(ENOUGH, by()).await.as_deref(), Some(&b"onetwo"[..]));
    }
    let mut all = Vec::new();
    while let Some(piece) = answer.chunk().await.unwrap() {
        all.extend_from_slice(&piece);
    }
    assert_eq!(all, b"onetwo", "each once");
}
