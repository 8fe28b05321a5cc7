//! A tail, read event by event.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;
use tokio::time::timeout;

use crate::harness::{Harness, Someone};

pub const PATIENCE: Duration = Duration::from_secs(15);

/// A stream that is read event by event.
pub struct Reader {
    body: Incoming,
    text: String,
}

#[derive(Debug)]
pub struct Event {
    pub id: String,
    pub kind: String,
    pub entry: Value,
}

pub async fn open(harness: &Harness, who: &Someone, query: &str, last: Option<&str>) -> Reader {
    let mut asking = harness.get(&format!("/api/logs/tail{query}")).by(who);
    if let Some(last) = last {
        asking = asking.header("last-event-id", last);
    }
    let response = asking.open().await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    Reader { body: response.into_body(), text: String::new() }
}

impl Reader {
    /// The next event; None where the stream ends.
    pub async fn next(&mut self) -> Option<Event> {
        timeout(PATIENCE, self.event()).await.expect("an event, or an end, in time")
    }

    /// The `id` that comes before anything else.
    pub async fn place(&mut self) -> String {
        while !self.text.contains("\n\n") {
            let frame =
                timeout(PATIENCE, self.body.frame()).await.expect("in time").expect("a stream").expect("a whole one");
            self.text += std::str::from_utf8(&frame.into_data().unwrap()).unwrap();
        }
        self.text.lines().find_map(|line| line.strip_prefix("id: ")).expect("an id").to_owned()
    }

    async fn event(&mut self) -> Option<Event> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                let field = |name: &str| {
                    block
                        .lines()
                        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
                        .unwrap_or_default()
                        .to_owned()
                };
                if field("data").is_empty() {
                    continue; // a comment
                }
                let entry = serde_json::from_str(&field("data")).unwrap();
                return Some(Event { id: field("id"), kind: field("event"), entry });
            }
            let frame = self.body.frame().await?.expect("a whole stream");
            self.text += std::str::from_utf8(&frame.into_data().unwrap()).unwrap();
        }
    }
}
