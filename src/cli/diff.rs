//! `cfx check --diff`: what a configuration would change of the one that an edge runs on, or of another folder's.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use serde::Deserialize;
use serde_json::Value;

use super::Failure;
use crate::config::{Change, Overrides, Snapshot, Source, changes, load};

/// How long an edge on the same network may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is compared with.
pub enum Before {
    /// `http://127.0.0.1:9090`: the admin listener of an edge.
    Edge(Uri),
    Folder(PathBuf),
}

/// What an edge says at `/-/config`, as far as it is needed here.
#[derive(Debug, Deserialize)]
pub struct Running {
    configuration: Value,
    /// What its command line puts in the place of what its files say.
    pub flags: Overrides,
}

impl Before {
    pub fn parse(text: &str) -> Self {
        match text.parse::<Uri>() {
            Ok(uri) if uri.scheme_str() == Some("http") && uri.authority().is_some() => Before::Edge(uri),
            _ => Before::Folder(text.into()),
        }
    }
}

/// Asks an edge what it runs on.
pub fn ask(edge: &Uri, token: Option<&str>) -> Result<Running, Failure> {
    let failed = |why: String| Failure::Failed(format!("{edge} does not say what it runs on: {why}"));
    let answer = get(edge, token).map_err(|error| failed(error.to_string()))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).unwrap_or_default();
    if status != "200" {
        let said: Value = serde_json::from_str(body).unwrap_or_default();
        return Err(failed(format!("{status} {}", said["error"].as_str().unwrap_or_default())));
    }
    serde_json::from_str(body).map_err(|error| failed(error.to_string()))
}

/// HTTP/1.0, so that the answer is what comes until the connection ends.
fn get(edge: &Uri, token: Option<&str>) -> std::io::Result<String> {
    let (host, port) = (edge.host().unwrap_or_default(), edge.port_u16().unwrap_or(80));
    let host_name = host.trim_start_matches('[').trim_end_matches(']');
    let address = (host_name, port).to_socket_addrs()?.next().ok_or(std::io::ErrorKind::NotFound)?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let token = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    write!(stream, "GET /-/config HTTP/1.0\r\nHost: {host}:{port}\r\n{token}\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

impl Running {
    pub fn changes_to(&self, next: &Snapshot) -> Vec<Change> {
        changes(&self.configuration, &next.shown())
    }
}

/// What differs between two folders.
pub fn between(before: PathBuf, after: &Snapshot) -> Result<Vec<Change>, Failure> {
    let before = load(&Source::Directory(before), &Overrides::default(), &|name| std::env::var(name).ok())
        .map_err(|problems| Failure::Configuration(problems.to_string()))?;
    Ok(after.changes_since(&before))
}
