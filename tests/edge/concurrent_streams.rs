//! Two streams a user: the third waits its turn, and a turn comes the moment one ends, however it ends.

use std::time::{Duration, Instant};

use crate::harness::client::PATIENCE;
use crate::harness::{CHAT, Harness, Reply, chat_body, gate, streaming, wire};

/// A stream that is held open until its opener is dropped, seen up to its first event.
fn open_stream(edge: &Harness) -> (crate::harness::scripted::Opener, crate::harness::Streaming) {
    let (opener, closed) = gate();
    edge.upstream.then(Reply::gated(wire::chat_events("m", &wire::WORDS, false), closed));
    opener.open();
    let mut stream = edge.chat_stream();
    assert_eq!(stream.status, 200);
    stream.event();
    (opener, stream)
}

/// The status of a stream asked for until it is not refused any more: a place is freed when a stream's end has been
/// accounted for, which no client can see.
fn status_once_free(edge: &Harness) -> u16 {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let stream = edge.chat_stream();
        if stream.status != 429 || Instant::now() > deadline {
            let status = stream.status;
            stream.rest();
            return status;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn the_third_stream_is_refused_until_one_ends() {
    let edge = Harness::builder().streams(2).start();
    let (first_opener, first) = open_stream(&edge);
    let (_second_opener, _second) = open_stream(&edge);

    let refused = edge.post(CHAT, &streaming(chat_body()));
    assert_eq!((refused.status, refused.code().as_str()), (429, "too_many_concurrent_requests"));
    assert!(refused.header("retry-after").is_some_and(|wait| wait.parse::<u64>().is_ok()), "{refused}");
    assert!(refused.message().contains("try again in"), "{}", refused.message());
    assert_eq!(refused.header("x-should-retry"), None, "waiting helps here");
    assert_eq!(edge.upstream.count(), 2);

    drop(first_opener);
    assert!(first.rest().1, "the first ends properly");
    assert_eq!(status_once_free(&edge), 200);
}

#[test]
fn a_stream_whose_client_left_frees_its_place() {
    let edge = Harness::builder().streams(1).start();
    let (_opener, stream) = open_stream(&edge);
    assert_eq!(edge.post(CHAT, &streaming(chat_body())).status, 429);
    stream.leave();
    assert_eq!(status_once_free(&edge), 200);
}

#[test]
fn a_refused_stream_costs_no_quota() {
    let mut edge = Harness::builder().streams(1).start();
    let (opener, stream) = open_stream(&edge);
    for _ in 0..5 {
        assert_eq!(edge.post(CHAT, &streaming(chat_body())).status, 429);
    }
    drop(opener);
    stream.rest();
    assert_eq!(edge.stop_and_read().counted_requests(), 1);
}

#[test]
fn plain_requests_and_other_users_are_not_held_up() {
    let edge = Harness::builder().streams(1).start();
    let (_opener, _stream) = open_stream(&edge);
    assert_eq!(edge.chat().status, 200);
    let other = edge.new_key("grace@example.org", &[]);
    let request = edge.request(CHAT, &streaming(chat_body())).instead("Authorization", &format!("Bearer {other}"));
    assert_eq!(edge.ask(&request).status, 200);
}

#[test]
fn all_requests_of_a_user_together_are_bounded_too() {
    let edge = Harness::builder().limit("concurrent_requests: 1").start();
    let (opener, closed) = gate();
    edge.upstream.then(Reply::after(closed));
    let mut waiting = edge.client();
    waiting.send(&edge.request(CHAT, &chat_body()).bytes());
    edge.upstream.wait_for(1);
    assert_eq!(edge.chat().code(), "too_many_concurrent_requests");
    drop(opener);
    assert_eq!(waiting.answer().status, 200);
}
