use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;

/// A connection whose peer takes no more than `room` bytes at once.
fn pair(room: usize) -> (Wire, DuplexStream) {
    let (near, far) = duplex(room);
    (Wire::new(Box::new(near), Duration::ZERO), far)
}

fn request(pieces: &[&'static str]) -> Outbox {
    Outbox::new(pieces.iter().map(|piece| Bytes::from_static(piece.as_bytes())))
}

async fn head(wire: &mut Wire, outbox: &mut Outbox) -> Result<Parsed, WireProblem> {
    let mut heard = false;
    poll_fn(|context| wire.poll_head(context, outbox, &mut heard)).await
}

async fn body(wire: &mut Wire, parsed: &Parsed) -> Result<Vec<u8>, WireProblem> {
    let (mut framing, mut body) = (Framing::from(parsed.length), Vec::new());
    while let Some(piece) = poll_fn(|context| wire.poll_piece(context, &mut framing)).await? {
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

#[tokio::test]
async fn one_exchange_follows_another() {
    let (mut wire, mut far) = pair(7);
    let peer = async {
        for answer in [
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n!\r\n0\r\n\r\n",
        ] {
            let mut read = [0; 20];
            far.read_exact(&mut read).await.unwrap();
            assert_eq!(&read, b"head and body, whole");
            far.write_all(answer.as_bytes()).await.unwrap();
        }
        far
    };
    let asking = async {
        let mut bodies = Vec::new();
        for _ in 0..2 {
            let mut outbox = request(&["head and", "", " body,", " whole"]);
            let parsed = head(&mut wire, &mut outbox).await.unwrap();
            assert!(outbox.is_sent());
            bodies.push(body(&mut wire, &parsed).await.unwrap());
            assert!(wire.is_quiet());
        }
        bodies
    };
    let (bodies, far) = tokio::join!(asking, peer);
    assert_eq!(bodies, [b"ok".to_vec(), b"!".to_vec()]);
    drop(far);
    assert!(!wire.is_quiet(), "the peer has closed");
}

#[tokio::test]
async fn an_answer_need_not_wait_for_the_whole_request() {
    let (mut wire, mut far) = pair(64);
    let long = "x".repeat(1_000);
    let mut outbox = Outbox::new([Bytes::from(long.clone())].into_iter());
    far.write_all(b"HTTP/1.1 413 Large\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    let parsed = head(&mut wire, &mut outbox).await.unwrap();
    assert_eq!(parsed.head.status, 413);
    assert!(!outbox.is_sent());
    // What is left still goes out beside the answer, where the peer wants it.
    let reading = async {
        let mut read = vec![0; long.len()];
        far.read_exact(&mut read).await.map(|_| read)
    };
    let writing = poll_fn(|context| {
        wire.poll_send(context, &mut outbox);
        if outbox.is_sent() { Poll::Ready(()) } else { Poll::Pending }
    });
    let (read, ()) = tokio::join!(reading, writing);
    assert_eq!(read.unwrap(), long.as_bytes());
}

#[tokio::test]
async fn a_large_request_is_written_in_turns_with_the_threads_other_work() {
    const BODY: usize = 40 * TURN;
    let (mut wire, far) = pair(2 * BODY);
    let body = Bytes::from(vec![b'x'; BODY]);
    let mut outbox =
        Outbox::new([Bytes::from_static(b"head"), body.slice(..TURN / 3), body.slice(TURN / 3..)].into_iter());
    let (mut turns, mut others) = (0, 0);
    let writing = poll_fn(|context| {
        wire.poll_send(context, &mut outbox);
        turns += 1;
        if outbox.is_sent() { Poll::Ready(()) } else { Poll::Pending }
    });
    let other = async {
        loop {
            tokio::task::yield_now().await;
            others += 1;
        }
    };
    // The peer has room for all of it at once.
    tokio::select! {
        biased;
        () = other => {}
        () = writing => {}
    }
    assert!(turns > BODY / TURN, "{turns} turns");
    assert!(others >= BODY / TURN, "{others} turns of the other");
    drop(far);
}

#[tokio::test]
async fn an_answer_is_read_although_the_request_could_not_be_written() {
    let (mut wire, mut far) = pair(64);
    far.write_all(b"HTTP/1.1 400 No\r\nconnection: close\r\n\r\nwhy").await.unwrap();
    drop(far);
    let mut outbox = request(&["request"]);
    let parsed = head(&mut wire, &mut outbox).await.unwrap();
    assert_eq!((parsed.head.status.as_u16(), parsed.keeps_alive), (400, false));
    assert_eq!(body(&mut wire, &parsed).await.unwrap(), b"why");
    assert!(!outbox.is_sent());
}

#[tokio::test]
async fn a_connection_that_ends_early_is_no_end() {
    for (answer, whole) in [
        ("", false),
        ("HTTP/1.1 200", false),
        ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort", false),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nshort\r\n", false),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nshort\r\n0\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\n\r\nshort", true),
    ] {
        let (mut wire, mut far) = pair(256);
        far.write_all(answer.as_bytes()).await.unwrap();
        far.shutdown().await.unwrap();
        let outcome = match head(&mut wire, &mut request(&["request"])).await {
            Ok(parsed) => body(&mut wire, &parsed).await,
            Err(problem) => Err(problem),
        };
        assert_eq!(outcome.is_ok(), whole, "{answer:?}: {outcome:?}");
    }
}

#[tokio::test]
async fn what_nobody_asked_for_spoils_a_connection() {
    let (mut wire, mut far) = pair(64);
    assert!(wire.is_quiet());
    far.write_all(b"HTTP/1.1 408 Timeout\r\n\r\n").await.unwrap();
    assert!(!wire.is_quiet());
}

#[tokio::test]
async fn nothing_is_set_aside_while_the_peer_says_nothing() {
    let (mut wire, mut far) = pair(64);
    let mut outbox = request(&["head"]);
    let mut context = Context::from_waker(Waker::noop());
    assert!(wire.poll_head(&mut context, &mut outbox, &mut false).is_pending());
    assert_eq!(wire.inbox.capacity(), 0);
    far.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nto").await.unwrap();
    let mut framing = Framing::from(head(&mut wire, &mut outbox).await.unwrap().length);
    let piece = poll_fn(|context| wire.poll_piece(context, &mut framing)).await.unwrap().unwrap();
    assert!(wire.poll_piece(&mut context, &mut framing).is_pending());
    assert_eq!((&piece[..], wire.inbox.capacity()), (&b"to"[..], 0));
    far.write_all(b"ken").await.unwrap();
    assert_eq!(poll_fn(|context| wire.poll_piece(context, &mut framing)).await.unwrap().unwrap(), "ken");
}

#[tokio::test]
async fn a_body_of_a_known_length_comes_at_once_and_one_in_trickles_gets_no_room_for_it() {
    let length = 40 << 10;
    for (together, reads) in [(length, 2), (1, 4)] {
        let (mut wire, mut far) = pair(1 << 20);
        let head_and = |body: usize| format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{}", "x".repeat(body));
        far.write_all(head_and(together).as_bytes()).await.unwrap();
        let mut framing = Framing::from(head(&mut wire, &mut request(&["head"])).await.unwrap().length);
        let mut came = 0;
        for _ in 0..reads {
            came += poll_fn(|context| wire.poll_piece(context, &mut framing)).await.unwrap().unwrap().len();
            far.write_all(b"x").await.unwrap();
        }
        assert_eq!(came, if together == length { length } else { reads });
        assert_eq!(wire.room > READ.0, together == length);
    }
}
