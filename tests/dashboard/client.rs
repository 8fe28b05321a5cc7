//! Requests as a browser without a script makes them, one connection each.

use std::fmt::Write;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::doubles::Stand;

pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    /// Empty where it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(named, _)| named == name).map_or("", |(_, value)| value)
    }

    /// The value of the first hidden field of this name.
    pub fn field(&self, name: &str) -> &str {
        let behind = self.body.split(&format!(r#"name="{name}" value=""#)).nth(1).expect("the page has the field");
        behind.split('"').next().unwrap()
    }
}

pub async fn ask(address: SocketAddr, line: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut text = format!("{line} HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    if !headers.iter().any(|(name, _)| *name == "host") {
        write!(text, "host: {address}\r\n").unwrap();
    }
    for (name, value) in headers {
        write!(text, "{name}: {value}\r\n").unwrap();
    }
    text.push_str("\r\n");
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers =
        lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_owned(), value.to_owned()));
    Answer { status, headers: headers.collect(), body: body.to_owned() }
}

impl Stand {
    /// GET as whoever is signed in.
    pub async fn get(&self, path: &str) -> Answer {
        ask(self.address, &format!("GET {path}"), &[("cookie", &self.cookie())], "").await
    }

    /// POST of a form as whoever is signed in, with the session's proof.
    pub async fn post(&self, path: &str, form: &str) -> Answer {
        let form = format!("csrf={}&{form}", self.api.token.csrf());
        self.post_bare(path, &form).await
    }

    pub async fn post_bare(&self, path: &str, form: &str) -> Answer {
        ask(self.address, &format!("POST {path}"), &[("cookie", &self.cookie())], form).await
    }

    /// What the control API was asked as whoever is signed in, in order.
    pub fn asked(&self) -> Vec<String> {
        self.api.asked.lock().unwrap().clone()
    }

    pub fn cookie(&self) -> String {
        format!("cfx_session={}", self.api.token.expose())
    }
}
