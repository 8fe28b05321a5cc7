//! The first bytes of an HTTP/1.1 connection, behind one that says how they are cut and what a head may be. Cutting
//! changes no verdict; what passes is whole, is framed in one way only, is what pingora reads, and can be written anew.

use std::io::Cursor;
use std::time::Duration;

use bytes::BytesMut;
use cfx::config::Guards;
use cfx::entry::head::{NoHead, Patience, read};
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use pingora_core::ErrorType;
use pingora_core::protocols::http::v1::server::HttpSession;

use super::SHIPPED;
use super::wire::{Pieces, outcome};

pub fn target(bytes: &[u8]) {
    let Some((how, sent)) = bytes.split_first() else { return };
    let mut guards = SHIPPED.edge.guards;
    if how & 1 == 0 {
        (guards.header_bytes, guards.headers) = (256, 6);
    }
    let by_byte = of(sent, 1, &guards);
    for piece in [usize::from(how >> 1) % 61 + 2, sent.len().max(1)] {
        match (&by_byte, of(sent, piece, &guards)) {
            (Ok(head), Ok(read)) => assert!(read.starts_with(head) && sent.starts_with(&read), "pieces of {piece}"),
            (Err(one), Err(other)) => assert_eq!(*one, other, "in pieces of {piece} bytes"),
            (one, other) => panic!("{one:?} by bytes, {other:?} in pieces of {piece}"),
        }
    }
    let Ok(head) = by_byte else { return };
    assert!(head.len() <= guards.header_bytes && head.ends_with(b"\r\n\r\n"));
    let Some(session) = passed_on(&head, &sent[head.len()..]) else { return };
    let request = session.req_header();
    assert!(request.headers.len() <= guards.headers);
    let count = |name| request.headers.get_all(name).iter().count();
    assert!(count(CONTENT_LENGTH) + count(TRANSFER_ENCODING) <= 1, "a body that could end in two places");
    let target = head.trim_ascii_start().split(|byte| *byte == b' ').nth(1);
    assert_eq!(target, Some(request.raw_path()), "a target that was mended");

    let mut again = [request.method.as_str().as_bytes(), b" ", request.raw_path()].concat();
    again.extend(format!(" {:?}\r\n", request.version).bytes());
    for (name, value) in &request.headers {
        again.extend([name.as_str().as_bytes(), b":", value.as_bytes(), b"\r\n"].concat());
    }
    again.extend(b"\r\n");
    assert_eq!(of(&again, again.len(), &guards).as_deref(), Ok(&again[..]), "what passed does not pass again");
    let written_anew = passed_on(&again, b"").expect("a head that passed");
    assert_eq!(written_anew.req_header().headers, request.headers);
}

fn of(sent: &[u8], piece: usize, guards: &Guards) -> Result<BytesMut, NoHead> {
    // Nothing is waited for: what is not there has not come.
    let mut pieces = Pieces { left: sent, piece };
    let read = outcome(read(&mut pieces, guards, Patience::Idle(Duration::from_secs(60))));
    read.map(|(read, _behind)| read)
}

/// What pingora makes of a head that was handed to it. None: it refuses it.
fn passed_on(head: &[u8], behind: &[u8]) -> Option<HttpSession> {
    let mut session = HttpSession::new(Box::new(Cursor::new(Vec::new())));
    session.set_pipelined_prefix([head, behind].concat().as_slice().into());
    match outcome(session.read_request()) {
        Ok(end) => {
            // Blank lines before it are cut off by neither.
            assert_eq!(end, Some(head.len()), "its end is seen in two places: {}", head.escape_ascii());
            Some(session)
        }
        Err(error) => {
            let waited = matches!(error.etype(), ErrorType::ConnectionClosed | ErrorType::ReadTimedout);
            assert!(!waited, "more of it was waited for: {}", head.escape_ascii());
            None
        }
    }
}
