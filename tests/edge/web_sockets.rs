//! WebSockets of a web application: what is switched stays switched.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use crate::harness::client::PATIENCE;
use crate::harness::{Answer, Client, Harness, Reply, Request};

const SWITCH: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";

fn asking(path: &str) -> Request {
    let request = Request::get(path).header("Connection", "Upgrade").header("Upgrade", "websocket");
    request.header("Sec-WebSocket-Version", "13").header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
}

/// An application that has said that it switches before it was asked, and then says what it hears.
fn hasty() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            let _ = socket.write_all(SWITCH);
            std::thread::spawn(move || {
                let _ = head(&mut socket).map(|_| std::io::copy(&mut socket.try_clone()?, &mut socket));
            });
        }
    });
    address
}

/// Everything up to the blank line, byte by byte.
fn head(socket: &mut TcpStream) -> std::io::Result<String> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        socket.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// Asks for a WebSocket and sends a word through it. What came back: the head, and the word.
fn one_word(edge: &Harness) -> std::io::Result<(String, [u8; 4])> {
    let mut socket = TcpStream::connect(edge.http)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.write_all(&asking("/socket").bytes())?;
    let head = head(&mut socket)?;
    let mut word = [0; 4];
    socket.write_all(b"word")?;
    socket.read_exact(&mut word)?;
    Ok((head, word))
}

#[test]
fn an_application_may_switch_faster_than_its_request_ends() {
    let edge = Harness::builder().web_target(&format!("http://{}", hasty())).start();
    for round in 0..100 {
        let (head, word) = one_word(&edge).unwrap_or_else(|error| panic!("cut in round {round}: {error}"));
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert_eq!(&word, b"word");
    }
}

#[test]
fn a_switch_over_tls_is_one_as_well() {
    let edge = Harness::start();
    edge.web.then(Reply::script(|exchange| {
        exchange.send(SWITCH);
        exchange.send(b"word");
        exchange.wait_for_close();
    }));
    let mut client = edge.tls_client();
    client.send(&asking("/socket").bytes());
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(client.exactly(1).expect("a head"));
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    assert_eq!(client.exactly(4).as_deref(), Some(&b"word"[..]));
    let asked = edge.web.last();
    assert_eq!((asked.header("upgrade"), asked.header("x-forwarded-proto")), (Some("websocket"), Some("https")));
}

#[test]
fn an_application_that_does_not_switch_answers_as_ever() {
    let edge = Harness::start();
    let mut client = edge.client();
    for _ in 0..2 {
        edge.web.then(Reply::json(426, "{\"switch\":false}"));
        let answer = client.ask(&asking("/socket"));
        assert_eq!((answer.status, answer.text().as_str()), (426, "{\"switch\":false}"));
    }
    assert_eq!(client.ask(&Request::get("/page")).status, 404, "and the connection is as good as before");
    assert_eq!(edge.web.connections(), 3, "a connection that was made for a WebSocket serves nothing else");
}

#[test]
fn one_that_does_not_answer_is_waited_for_as_long_as_the_route_says() {
    let route = "match: { path: /socket }, upstream: web, timeouts: { connect: 1s, between_chunks: 100ms }";
    let edge = Harness::builder().route(route).start();
    edge.web.then(Reply::never());
    let answer: Answer = edge.ask(&asking("/socket"));
    assert_eq!((answer.status, answer.code().as_str()), (504, "upstream_timeout"));
}

#[test]
fn one_that_is_not_there_is_an_application_that_is_not_there() {
    let nobody = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let edge = Harness::builder().web_target(&format!("http://{nobody}")).start();
    let answer = Client::plain(edge.http).ask(&asking("/socket"));
    assert_eq!((answer.status, answer.code().as_str()), (503, "upstream_unavailable"));
}
