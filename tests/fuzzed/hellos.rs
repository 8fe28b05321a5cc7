//! Where the seeds of `client_hello` come from: what openssl and curl say first, written down as they say it.

use std::io::Read;
use std::net::TcpListener;
use std::process::{Command, Stdio};

use crate::targets;

/// A tool and how it is asked to greet; `{}` is where.
const GREETINGS: [(&str, &[&str]); 8] = [
    ("openssl13", &["openssl", "s_client", "-connect", "{}", "-servername", "a.example"]),
    ("openssl12", &["openssl", "s_client", "-connect", "{}", "-servername", "x.b.example", "-tls1_2"]),
    (
        "openssl12-c",
        &["openssl", "s_client", "-connect", "{}", "-servername", "c.example", "-tls1_2", "-alpn", "http/1.1"],
    ),
    (
        "openssl12-challenge",
        &["openssl", "s_client", "-connect", "{}", "-servername", "c.example", "-tls1_2", "-alpn", "acme-tls/1"],
    ),
    (
        "openssl13-challenge",
        &["openssl", "s_client", "-connect", "{}", "-servername", "c.example", "-alpn", "acme-tls/1"],
    ),
    (
        "openssl12-nobody",
        &["openssl", "s_client", "-connect", "{}", "-noservername", "-tls1_2", "-alpn", "h2,http/1.1"],
    ),
    ("curl", &["curl", "-sk", "--resolve", "c.example:{port}:127.0.0.1", "https://c.example:{port}/"]),
    (
        "curl12",
        &[
            "curl",
            "-sk",
            "--tls-max",
            "1.2",
            "--http1.1",
            "--resolve",
            "y.b.example:{port}:127.0.0.1",
            "https://y.b.example:{port}/",
        ],
    ),
];

#[test]
#[ignore = "writes the seeds anew; wants openssl and curl"]
fn record() {
    let folder = targets::folder("client_hello");
    std::fs::create_dir_all(&folder).expect("a folder");
    for (name, words) in GREETINGS {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let worded =
            |word: &&str| word.replace("{}", &address.to_string()).replace("{port}", &address.port().to_string());
        let words: Vec<_> = words.iter().map(worded).collect();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut client = command.spawn().expect("the tool");
        let (mut stream, _) = listener.accept().expect("a connection");
        // The byte that says how it is cut, and one record.
        let mut hello = vec![0x20, 0, 0, 0, 0, 0];
        stream.read_exact(&mut hello[1..]).expect("a record's head");
        let length = usize::from(hello[4]) << 8 | usize::from(hello[5]);
        hello.resize(6 + length, 0);
        stream.read_exact(&mut hello[6..]).expect("a record");
        drop(stream);
        client.wait().expect("its end");
        std::fs::write(folder.join(name), hello).expect("a seed");
    }
}
