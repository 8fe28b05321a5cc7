use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};

use super::super::breaker::Rule;
use super::*;
use crate::config::Target;

const MOST: usize = 4 << 10;

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
    assert_eq!(answer.joined(one, MOST), "onetwothree");
    assert_eq!(answer.chunk().await.unwrap(), None);
}

#[tokio::test]
async fn nothing_is_waited_for() {
    let (mut answer, mut far) = stream();
    let one = first(&mut answer, &mut far).await;
    let joined = answer.joined(one.clone(), MOST);
    assert_eq!(joined.as_ptr(), one.as_ptr(), "copied for nothing");
    far.write_all(b"3\r\ntwo\r\n").await.unwrap();
    assert_eq!(answer.chunk().await.unwrap().unwrap(), "two");
}

#[tokio::test]
async fn a_break_does_not_swallow_what_came_before_it() {
    let (mut answer, mut far) = stream();
    let one = first(&mut answer, &mut far).await;
    far.write_all(b"3\r\ntwo\r\nno size\r\n").await.unwrap();
    assert_eq!(answer.joined(one, MOST), "onetwo");
    assert!(matches!(answer.chunk().await, Err(Broken(WireProblem::Framing(_)))));
}

#[tokio::test]
async fn no_more_is_joined_than_is_worth_a_write() {
    let (mut answer, mut far) = stream();
    let one = first(&mut answer, &mut far).await;
    let large = [b"2000\r\n".as_slice(), &[b'x'; 0x2000], b"\r\n3\r\ntwo\r\n"].concat();
    far.write_all(&large).await.unwrap();
    let joined = answer.joined(one, MOST);
    assert!((MOST..=3 + 0x2000).contains(&joined.len()), "{}", joined.len());
    let mut rest = Vec::new();
    while joined.len() + rest.len() < 3 + 0x2000 + 3 {
        rest.extend_from_slice(&answer.chunk().await.unwrap().unwrap());
    }
    assert!(rest.ends_with(b"xtwo"));
}
