//! A model that thinks for minutes: what its client hears meanwhile.

use serde_json::json;

use crate::harness::scripted::{Reply, gate};
use crate::harness::{CHAT, Harness, asking_for_usage, chat_body, streaming, wire};

const PING: &str = ": ping";

fn edge() -> Harness {
    Harness::builder().upstream("keep_alive: 50ms").start()
}

fn word(text: &str) -> String {
    wire::chat_event("m", json!({"content": text}), None)
}

/// Another stream of the same edge that is silent where comments may stand: so many of them are so much time.
fn let_pass(edge: &Harness, silences: usize) {
    edge.upstream.then(Reply::script(|exchange| {
        exchange.begin_events();
        exchange.event(&word("a"));
        exchange.wait_for_close();
    }));
    let mut clock = edge.chat_stream();
    clock.event();
    (0..silences).for_each(|_| assert_eq!(clock.event(), PING));
    clock.leave();
}

#[test]
fn it_hears_comments_between_events_until_the_model_goes_on() {
    let edge = edge();
    let (opener, passed) = gate();
    edge.upstream.then(Reply::script(move |exchange| {
        exchange.begin_events();
        exchange.event(&word("Half a "));
        passed.pass();
        exchange.event(&word("word"));
        exchange.event(wire::DONE);
        exchange.end();
    }));
    let mut stream = edge.chat_stream();
    assert!(stream.event().contains("Half a "));
    assert_eq!([stream.event(), stream.event(), stream.event()], [PING; 3]);
    opener.open();
    let (rest, whole) = stream.rest();
    let said: Vec<_> = rest.iter().filter(|event| *event != PING).collect();
    assert!(whole && said.len() == 2 && said[0].contains("word"), "{rest:?}");
    let row = edge.row();
    assert_eq!((row.text("status"), row.number("http_status")), ("success", 200));
}

/// Behind a comment it would be no mark, but a part of the first field's name.
#[test]
fn a_byte_order_mark_behind_a_comment_is_left_out() {
    let edge = edge();
    for body in [streaming(chat_body()), asking_for_usage(chat_body())] {
        let (opener, passed) = gate();
        let event = word("whole");
        let marked = format!("\u{feff}{event}");
        edge.upstream.then(Reply::script(move |exchange| {
            exchange.begin_events();
            passed.pass();
            exchange.event(&marked);
            exchange.event(wire::DONE);
            exchange.end();
        }));
        let mut stream = edge.client().stream(&edge.request(CHAT, &body));
        assert_eq!(stream.event(), PING);
        opener.open();
        let (events, whole) = stream.rest();
        let said: Vec<_> = events.into_iter().filter(|event| event != PING).collect();
        assert!(whole, "{said:?}");
        assert_eq!(said, [event, wire::DONE.to_owned()]);
    }
}

#[test]
fn no_comment_stands_inside_an_event() {
    let edge = edge();
    let (opener, passed) = gate();
    let event = word("whole");
    edge.upstream.then(wire::halves(&[], &event, passed));
    let stream = edge.client().stream(&edge.request(CHAT, &asking_for_usage(chat_body())));
    edge.upstream.wait_for(1);
    let_pass(&edge, 4);
    opener.open();
    let (events, whole) = stream.rest();
    assert!(whole, "{events:?}");
    let said: Vec<_> = events.into_iter().filter(|event| event != PING).collect();
    assert_eq!(said, [event, wire::DONE.to_owned()]);
}

#[test]
fn an_event_that_is_held_back_does_not_hold_comments_back() {
    let edge = edge();
    let (opener, passed) = gate();
    let event = word("whole");
    edge.upstream.then(wire::halves(&[word("before")], &event, passed));
    let mut stream = edge.chat_stream();
    assert!(stream.event().contains("before"));
    assert_eq!([stream.event(), stream.event()], [PING; 2]);
    opener.open();
    let (events, whole) = stream.rest();
    let said: Vec<_> = events.into_iter().filter(|event| event != PING).collect();
    assert!(whole);
    assert_eq!(said, [event, wire::DONE.to_owned()]);
}

#[test]
fn comments_are_no_sign_of_life_of_the_model() {
    let edge = Harness::builder()
        .timeouts("connect: 2s, first_byte: 20s, between_chunks: 300ms, total: 60s")
        .upstream("keep_alive: 50ms")
        .start();
    edge.upstream.then(Reply::script(|exchange| {
        exchange.begin_events();
        exchange.event(&word("Half a "));
        exchange.wait_for_close();
    }));
    let (events, whole) = edge.chat_stream().rest();
    assert!(!whole && events.iter().any(|event| event == PING), "{events:?}");
    assert!(events.last().is_some_and(|event| event.contains("upstream_timeout")), "{events:?}");
    assert_eq!(edge.row().text("error_message"), "upstream_timeout");
}

#[test]
fn an_answer_in_one_piece_hears_none() {
    let edge = edge();
    let (opener, passed) = gate();
    edge.upstream.then(Reply::after(passed));
    let mut client = edge.client();
    client.send(&edge.request(CHAT, &chat_body()).bytes());
    edge.upstream.wait_for(1);
    let_pass(&edge, 3);
    opener.open();
    let answer = client.answer();
    assert_eq!(answer.status, 200, "{answer}");
    assert!(answer.json().is_object());
}
