//! A model that thinks for two minutes, and an nginx between its client and cfx that gives up a silent answer after 30
//! seconds, as proxies that people have in front of them do.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::client::PATIENCE;
use crate::harness::ports::free_addresses;
use crate::harness::{CHAT, Harness, Reply, chat_body, streaming, wire};

const SILENCE: Duration = Duration::from_secs(110);
/// What nginx allows between two reads from cfx.
const IDLE: Duration = Duration::from_secs(30);

/// One nginx in front of an edge, stopped on drop.
struct Nginx {
    address: SocketAddr,
    process: Child,
    _folder: tempfile::TempDir,
}

impl Nginx {
    fn before(edge: SocketAddr) -> Self {
        let [address, ..] = free_addresses();
        let folder = tempfile::tempdir().expect("a folder");
        let place = folder.path().display();
        let conf = format!(
            "daemon off; master_process off; pid {place}/pid; error_log {place}/error.log;\n\
             events {{}}\n\
             http {{\n\
               access_log off; client_body_temp_path {place}/body; proxy_temp_path {place}/proxy;\n\
               fastcgi_temp_path {place}/f; uwsgi_temp_path {place}/u; scgi_temp_path {place}/s;\n\
               server {{\n\
                 listen {address};\n\
                 location / {{\n\
                   proxy_pass http://{edge}; proxy_http_version 1.1; proxy_set_header Connection \"\";\n\
                   proxy_buffering off; proxy_read_timeout {}s;\n\
                 }}\n\
               }}\n\
             }}\n",
            IDLE.as_secs()
        );
        let file = folder.path().join("nginx.conf");
        std::fs::write(&file, conf).expect("a file");
        // Debian has it where the path of ordinary users does not lead.
        let debian = "/usr/sbin/nginx";
        let mut command = Command::new(if Path::new(debian).exists() { debian } else { "nginx" });
        command.arg("-p").arg(folder.path()).arg("-c").arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().expect("nginx, which scripts/setup brings");
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < deadline, "nginx does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { address, process, _folder: folder }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn edge(keep_alive: &str) -> Harness {
    let edge = Harness::builder()
        .timeouts("connect: 2s, first_byte: 20s, between_chunks: 3m, total: 10m")
        .upstream(keep_alive)
        .start();
    edge.upstream.then(Reply::script(|exchange| {
        exchange.begin_events();
        exchange.event(&wire::chat_event("m", json!({"content": "Let me think."}), None));
        if !exchange.closed_within(SILENCE) {
            exchange.event(wire::DONE);
            exchange.end();
        }
    }));
    edge
}

/// What a client behind nginx hears of a stream, and for how long.
fn ask_through(nginx: &Nginx, edge: &Harness) -> (String, Duration) {
    let mut socket = TcpStream::connect(nginx.address).expect("nginx accepts connections");
    socket.set_read_timeout(Some(SILENCE + PATIENCE)).expect("a socket");
    let asked = Instant::now();
    let request = edge.request(CHAT, &streaming(chat_body())).header("Connection", "close");
    socket.write_all(&request.bytes()).expect("a request");
    let mut heard = Vec::new();
    // Cut, it may be by a reset; what was heard before that counts.
    let _ = socket.read_to_end(&mut heard);
    (String::from_utf8_lossy(&heard).into_owned(), asked.elapsed())
}

#[test]
#[ignore = "two minutes: `make soak`"]
fn comments_keep_a_long_silence_alive_through_it() {
    let edge = edge("keep_alive: 15s");
    let nginx = Nginx::before(edge.http);
    let (heard, took) = ask_through(&nginx, &edge);
    assert!(heard.contains("Let me think.") && heard.contains(wire::DONE), "{heard}");
    assert!(heard.ends_with("0\r\n\r\n"), "the answer is whole: {heard}");
    assert_eq!(heard.matches(": ping").count(), 7, "one every 15 s: {heard}");
    assert!(took >= SILENCE, "{took:?}");
    assert_eq!(edge.row().text("status"), "success");
}

#[test]
#[ignore = "half a minute: `make soak`"]
fn without_them_it_is_cut() {
    let edge = edge("keep_alive: off");
    let nginx = Nginx::before(edge.http);
    let (heard, took) = ask_through(&nginx, &edge);
    assert!(heard.contains("Let me think.") && !heard.contains(wire::DONE), "{heard}");
    assert!(!heard.contains(": ping") && !heard.ends_with("0\r\n\r\n"), "{heard}");
    assert!(took >= IDLE && took < SILENCE, "{took:?}");
    assert_eq!(edge.row().text("status"), "cancelled", "to cfx it is the client who left");
}
