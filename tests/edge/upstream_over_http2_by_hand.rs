//! What no server by the `h2` crate does to the streams on its connection: here it is spoken by hand.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use bytes::Bytes;

use crate::harness::client::PATIENCE;
use crate::harness::{Harness, chat_body};
use crate::upstream_over_http2::together;

/// Streams above the last one that a goodbye names were not looked at. The server side of the library never leaves any,
/// so this one is spoken by hand: it answers the first stream, and the second on another connection.
#[test]
fn a_stream_that_a_goodbye_left_out_is_sent_again_free_of_charge() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let target = format!("http://{}", listener.local_addr().expect("an address"));
    let serving = std::thread::spawn(move || {
        let mut first = ByHand::accept(&listener);
        let streams = [first.request(), first.request()];
        first.frame(7, 0, 0, &[streams[0].to_be_bytes(), [0; 4]].concat());
        let mut second = ByHand::accept(&listener);
        let again = second.request();
        second.answer(again);
        first.answer(streams[0]);
        (streams, first.other_requests(), again)
    });
    let edge = Harness::builder().upstream_target(&target).upstream("http2: always").threads(1);
    let edge = edge.upstream("breaker: { failures: 1, open_for: 30s }").start();
    for answer in together(&edge, 2, &chat_body().to_string()) {
        assert_eq!((answer.status, answer.text().as_str()), (200, r#"{"choices":[]}"#), "{answer}");
    }
    assert!(edge.rows(2).iter().all(|row| row.number("attempts") == 1));
    edge.assert_metric("cfx_breaker_state", &[], 0.0);
    drop(edge);
    assert_eq!(serving.join().expect("it was spoken to as it should be"), ([1, 3], 0, 1));
}

/// A connection of HTTP/2, frame by frame (RFC 9113, 4.1).
struct ByHand(TcpStream);

impl ByHand {
    fn accept(listener: &TcpListener) -> Self {
        let (socket, _) = listener.accept().expect("a connection");
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let mut connection = Self(socket);
        let mut preface = [0; 24];
        connection.0.read_exact(&mut preface).expect("the preface");
        assert_eq!(&preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        connection.frame(4, 0, 0, b"");
        connection
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
        let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
        self.0.write_all(&[head, payload.to_vec()].concat()).expect("cfx reads");
    }

    /// The stream of the next request, once all of it has come. What cfx asks of the connection is answered.
    fn request(&mut self) -> u32 {
        loop {
            let (kind, flags, stream, payload) = self.read().expect("a request");
            match (kind, flags & 1) {
                (0, 1) => return stream,
                (4, 0) => self.frame(4, 1, 0, b""),
                (6, 0) => self.frame(6, 1, 0, &payload),
                _ => {}
            }
        }
    }

    /// How many more there are until cfx closes the connection.
    fn other_requests(&mut self) -> usize {
        let mut count = 0;
        while let Some((kind, flags, ..)) = self.read() {
            count += usize::from(kind == 0 && flags & 1 == 1);
        }
        count
    }

    fn read(&mut self) -> Option<(u8, u8, u32, Bytes)> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).ok()?;
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        self.0.read_exact(&mut payload).ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Some((head[3], head[4], stream, payload.into()))
    }

    /// `:status: 200` and `content-type: application/json` (RFC 7541, 6), and a body.
    fn answer(&mut self, stream: u32) {
        let head = [&[0x88, 0x0f, 0x10, 16][..], b"application/json"].concat();
        self.frame(1, 4, stream, &head);
        self.frame(0, 1, stream, br#"{"choices":[]}"#);
    }
}
