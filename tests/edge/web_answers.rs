//! What stands before and behind the answer of a web application: early hints, and trailers.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::mpsc::channel;

use serde_json::json;
use socket2::{Domain, Socket, Type};

use crate::harness::ordinary::http2_with;
use crate::harness::{CHAT, Harness, Reply, Request, chat_body};

const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\n\r\n";
const PAGE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\ncontent-type: text/html\r\n\r\npage";
const TRAILED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-checksum\r\n\r\n\
                       4\r\npage\r\n0\r\nx-checksum: 1\r\nx-cfx-request-id: forged\r\n\r\n";

fn as_it_stands(text: String) -> Reply {
    Reply::script(move |exchange| exchange.send(text.as_bytes()))
}

#[test]
fn early_hints_are_not_passed_on_and_the_answer_is() {
    // One thread: pingora's pool gives up a kept connection whose watcher is just letting go of it on another.
    let edge = Harness::builder().threads(1).start();
    let mut client = edge.client();
    for round in 0..3 {
        edge.web.then(as_it_stands(HINTS.repeat(round + 1) + PAGE));
        client.send(&Request::get("/app").bytes());
        let first = client.exactly(16).expect("an answer");
        assert_eq!(first, b"HTTP/1.1 200 OK\r", "{}", String::from_utf8_lossy(&first));
        let rest = rest_of_page(&mut client);
        assert!(!rest.contains("style.css") && rest.contains("x-cfx-request-id"), "{rest}");
    }
    assert_eq!(edge.web.connections(), 1, "one connection did for all");
    edge.web.then(as_it_stands(HINTS.to_string() + PAGE));
    let over_h2 = http2_with(&edge, "/app", &[]);
    assert_eq!((over_h2.status, over_h2.text().as_str(), over_h2.complete), (200, "page", true));
}

fn rest_of_page(client: &mut crate::harness::Client) -> String {
    let mut rest = Vec::new();
    while !rest.ends_with(b"\r\n\r\npage") {
        rest.extend(client.exactly(1).expect("the rest of it"));
    }
    String::from_utf8_lossy(&rest).to_ascii_lowercase()
}

#[test]
fn who_waits_to_be_told_to_go_on_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let edge = Harness::builder().web_target(&format!("http://{}", listener.local_addr().expect("an address"))).start();
    let application = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("a connection");
        let mut heard = vec![0; 4096];
        let mut length = 0;
        while !heard[..length].ends_with(b"\r\n\r\n") {
            length += socket.read(&mut heard[length..]).expect("a head");
        }
        socket.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").expect("cfx listens");
        socket.read_exact(&mut heard[..6]).expect("the body");
        socket.write_all(PAGE.as_bytes()).expect("cfx listens");
        heard[..6].to_vec()
    });
    let mut client = edge.client();
    let asked = Request::post("/app", "a body").header("Expect", "100-continue").bytes();
    let (head, body) = asked.split_at(asked.len() - 6);
    client.send(head);
    let told = client.exactly(25).expect("a word");
    assert_eq!(told, b"HTTP/1.1 100 Continue\r\n\r\n", "{}", String::from_utf8_lossy(&told));
    client.send(body);
    assert_eq!(client.answer().text(), "page");
    assert_eq!(application.join().expect("it was asked once"), b"a body");
}

#[test]
fn trailers_of_an_answer_end_with_it() {
    let edge = Harness::builder().threads(1).start();
    let mut client = edge.client();
    for _ in 0..2 {
        edge.web.then(as_it_stands(TRAILED.to_string()));
        client.send(&Request::get("/app").bytes());
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n0\r\n") {
            answer.extend(client.exactly(1).expect("an answer"));
        }
        assert_eq!(client.exactly(2).as_deref(), Some(&b"\r\n"[..]), "nothing stands behind the body");
        let answer = String::from_utf8_lossy(&answer).to_ascii_lowercase();
        assert!(answer.contains("page") && !answer.contains("x-checksum: 1") && !answer.contains("forged"), "{answer}");
    }
    assert_eq!(edge.web.connections(), 1, "both sides kept their connections");
    edge.web.then(as_it_stands(TRAILED.to_string()));
    let over_h2 = http2_with(&edge, "/app", &[]);
    assert_eq!((over_h2.text().as_str(), over_h2.complete), ("page", true));
    assert!(over_h2.headers.iter().all(|(_, value)| value != "forged"));
}

#[test]
fn trailers_of_an_upload_are_not_passed_on() {
    let edge = Harness::start();
    edge.web.always(|_| Some(as_it_stands(PAGE.to_string())));
    let mut client = edge.client();
    for _ in 0..2 {
        let head = Request::new("POST", "/app").header("Transfer-Encoding", "chunked").framed_by_hand().bytes();
        client.send(&[&head[..], b"6\r\na body\r\n0\r\nX-Real-IP: 9.9.9.9\r\n\r\n"].concat());
        assert_eq!(client.answer().text(), "page");
        let sent = edge.web.last();
        assert_eq!((sent.body, sent.head.contains("9.9.9.9")), (b"a body".to_vec(), false));
    }
}

#[test]
fn an_application_keeps_its_timings_and_is_logged_under_the_edges_id() {
    let edge = Harness::start();
    edge.web.then(Reply::raw(
        "HTTP/1.1 200 OK\r\nserver-timing: db;dur=3\r\nx-request-id: its-own\r\ncontent-length: 2\r\n\r\nhi",
    ));
    let answer = edge.ask(&Request::get("/app"));
    let all = |name: &str| -> Vec<&str> {
        answer.headers.iter().filter(|(have, _)| have == name).map(|(_, value)| value.as_str()).collect()
    };
    let timings = all("server-timing");
    assert!(timings.len() == 2 && timings[0] == "db;dur=3" && timings[1].starts_with("cfx;dur="), "{timings:?}");
    assert_eq!(all("x-request-id"), all("x-cfx-request-id"));
    assert_eq!(edge.web.last().header("x-request-id"), answer.header("x-request-id"), "it was told which");
}

#[test]
fn a_switch_that_nobody_asked_for_is_the_applications_mistake() {
    let edge = Harness::start();
    edge.web.always(|_| {
        Some(as_it_stands(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n".into(),
        ))
    });
    assert_eq!(edge.ask(&Request::get("/app")).status, 502);
    assert_eq!(http2_with(&edge, "/app", &[]).status, 502);
}

#[test]
fn an_answer_in_http_1_0_that_is_compressed_goes_on_in_http_1_1() {
    let edge = Harness::builder().route("match: { path: /app }, upstream: web, compress: true").start();
    let page = "a page that is long enough to gain something ".repeat(100);
    edge.web.then(as_it_stands(format!(
        "HTTP/1.0 200 OK\r\ncontent-type: text/html\r\ncontent-length: {}\r\n\r\n{page}",
        page.len()
    )));
    let mut client = edge.client();
    client.send(&Request::get("/app").header("Accept-Encoding", "gzip").bytes());
    assert_eq!(client.exactly(15).as_deref(), Some(&b"HTTP/1.1 200 OK"[..]));
}

#[test]
fn cookies_that_came_in_lines_of_their_own_go_on_in_one() {
    let edge = Harness::start();
    let cookies = ["session=abc", "theme=dark"].map(|cookie| ("cookie".to_string(), cookie.to_string()));
    http2_with(&edge, "/app", &cookies);
    let sent = edge.web.last();
    assert_eq!(sent.header("cookie"), Some("session=abc; theme=dark"));
}

#[test]
fn what_an_application_says_of_its_connection_goes_no_further() {
    let edge = Harness::start();
    let head = "HTTP/1.1 200 OK\r\nconnection: x-hop, keep-alive\r\nx-hop: 1\r\nkeep-alive: timeout=5\r\nx-end: 2\r\ncontent-length: 4\r\n\r\npage";
    for over_h2 in [false, true] {
        edge.web.then(as_it_stands(head.to_string()));
        let answer = if over_h2 { http2_with(&edge, "/app", &[]) } else { edge.ask(&Request::get("/app")) };
        assert_eq!(
            (answer.header("x-hop"), answer.header("keep-alive"), answer.header("x-end")),
            (None, None, Some("2"))
        );
        assert_eq!(answer.text(), "page");
    }
}

/// However long the body is, and so wherever its end is read, by whatever is behind it.
#[test]
fn what_comes_behind_a_body_ends_the_connection_behind_the_answer_which_says_so() {
    let edge = Harness::start();
    edge.web.always(|_| Some(Reply::json(200, "{}")));
    let another = String::from_utf8(Request::get("/another").bytes()).expect("a head");
    let mut asked = 0;
    for client in [Harness::client, Harness::tls_client] {
        for (size, body) in [10, 6_000, 9_000, 12_000, 200_000].map(|size| (size, "b".repeat(size))) {
            for behind in ["\r\n", "x", &another] {
                let mut client = client(&edge);
                client.send(&[Request::post("/app", body.as_str()).bytes(), behind.into()].concat());
                let answer = client.answer();
                asked += 1;
                let case = format!("{size} bytes and {behind:?}");
                assert_eq!((answer.status, answer.complete), (200, true), "{case}: {}", answer.text());
                // A larger one comes in several pieces, and its answer may come before the last of them.
                if size < 16_000 {
                    assert_eq!(answer.header("connection"), Some("close"), "{case}");
                }
                assert!(client.read_to_close().is_empty(), "{case}");
                assert_eq!((edge.web.count(), edge.web.last().body.len()), (asked, size), "{case}");
            }
        }
    }
    let mut client = edge.client();
    for _ in 0..2 {
        let answer = client.ask(&Request::post("/app", "b".repeat(9_000)));
        assert_eq!((answer.status, answer.header("connection")), (200, Some("keep-alive")), "with nothing behind it");
    }
}

#[test]
fn an_answer_to_a_model_request_with_more_behind_it_says_that_it_is_the_last() {
    let edge = Harness::start();
    let mut client = edge.client();
    client.send(&[&edge.request(CHAT, &chat_body()).bytes()[..], b"x"].concat());
    let answer = client.answer();
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    assert!(client.read_to_close().is_empty());
}

/// A client with little room before it, so that an answer is still on its way when cfx is done with it.
fn narrow(edge: &Harness) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4 << 10).expect("little room before the client");
    socket.connect(&edge.http.into()).expect("cfx");
    TcpStream::from(socket)
}

/// A connection that is closed with bytes unread is reset, and a reset takes with it what of the answer is on its way.
#[test]
fn much_that_comes_behind_a_request_costs_its_client_nothing_of_the_answer() {
    let edge = Harness::start();
    let page = "p".repeat(40_000);
    edge.web.then(Reply::json(200, page.as_str()));
    let mut client = narrow(&edge);
    client.write_all(&[Request::get("/app").bytes(), vec![b'x'; 64 << 10]].concat()).expect("room for it");
    edge.process.wait_for_line("\"path\":\"/app\"").expect("the answer is over, as far as cfx can see");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("an end and no reset");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with(&page), "{} bytes", answer.len());
}

/// The same of a model's answer, behind a prompt whose end is not read with its head.
#[test]
fn much_that_comes_behind_a_prompt_costs_its_client_nothing_of_the_answer() {
    let edge = Harness::start();
    let (sent, may_answer) = channel();
    let may_answer = Mutex::new(may_answer);
    let answer =
        json!({"choices": [{"index": 0, "message": {"role": "assistant", "content": "p".repeat(40_000)}}]}).to_string();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", answer.len());
    let reply = head + &answer;
    edge.upstream.then(Reply::script(move |exchange| {
        may_answer.lock().expect("one asks").recv().expect("word of it");
        exchange.send(reply.as_bytes());
    }));
    let mut client = narrow(&edge);
    let mut body = chat_body();
    body["messages"][0]["content"] = "long ".repeat(4_000).into();
    client.write_all(&[edge.request(CHAT, &body).bytes(), vec![b'x'; 64 << 10]].concat()).expect("room for it");
    sent.send(()).expect("the model waits");
    edge.process.wait_for_line(&format!("\"path\":\"{CHAT}\"")).expect("the answer is over, as far as cfx can see");
    let mut whole = String::new();
    client.read_to_string(&mut whole).expect("an end and no reset");
    assert!(whole.starts_with("HTTP/1.1 200 ") && whole.ends_with(&answer), "{} bytes", whole.len());
    let head = whole[..whole.len() - answer.len()].to_ascii_lowercase();
    assert!(head.contains("connection: close\r\n"), "{head}");
}
