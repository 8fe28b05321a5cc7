//! The real binary on free loopback ports with a folder of its own, in front of a scripted upstream.
//!
//! `Harness::builder()` says what differs from a plain installation; everything is stopped and removed on drop.
//! Waiting is always for a condition, bounded by [`client::PATIENCE`].

pub mod builder;
pub mod client;
pub mod http2;
pub mod intake;
pub mod ordinary;
pub mod pebble;
pub mod ports;
pub mod process;
mod request;
pub mod rows;
pub mod scripted;
pub mod switch;
pub mod tls;
pub mod trust;
pub mod wire;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};

pub use builder::Builder;
pub use client::{Answer, Client, Next, Streaming};
pub use http2::Http2;
pub use process::{Process, cfx};
pub use request::Request;
pub use rows::Row;
pub use scripted::{Gate, Reply, Scripted, gate};
pub use switch::Switch;

/// What the edge shows LiteLLM, and nobody else.
pub const UPSTREAM_KEY: &str = "sk-litellm-held-by-the-edge-only";
pub const PEPPER: &str = "a pepper of at least thirty-two bytes, for tests";
pub const USER: &str = "ada@example.org";

/// A running edge.
pub struct Harness {
    pub http: SocketAddr,
    pub https: SocketAddr,
    pub admin: SocketAddr,
    /// What stands in LiteLLM's place.
    pub upstream: Scripted,
    /// What stands behind `/`.
    pub web: Scripted,
    /// The certificate that `https` shows.
    pub certificate: CertificateDer<'static>,
    /// A key of [`USER`].
    pub key: String,
    pub process: Process,
    folder: tempfile::TempDir,
}

impl Harness {
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// A plain installation with defaults that no test runs into by accident.
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// One connection over plain HTTP.
    pub fn client(&self) -> Client {
        Client::plain(self.http)
    }

    /// One connection over TLS.
    pub fn tls_client(&self) -> Client {
        Client::tls(self.https, &self.certificate)
    }

    pub fn ask(&self, request: &Request) -> Answer {
        self.client().ask(request)
    }

    /// A POST with the usual key.
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask(&self.request(path, body))
    }

    /// A POST of these very bytes with the usual key.
    pub fn post_bytes(&self, path: &str, body: impl Into<Vec<u8>>) -> Answer {
        self.ask(&Request::post(path, body).key(&self.key))
    }

    pub fn request(&self, path: &str, body: &Value) -> Request {
        Request::post(path, body.to_string()).key(&self.key)
    }

    /// The least a chat request is.
    pub fn chat(&self) -> Answer {
        self.post(CHAT, &chat_body())
    }

    /// Opens a chat stream and hands it back at its head.
    pub fn chat_stream(&self) -> Streaming {
        self.client().stream(&self.request(CHAT, &streaming(chat_body())))
    }

    /// A chat stream whose upstream waits at a gate: passes its first event, and hands it back behind that.
    pub fn chat_stream_opening(&self, opener: &scripted::Opener) -> Streaming {
        opener.open();
        let mut stream = self.chat_stream();
        assert_eq!(stream.status, 200);
        stream.event();
        stream
    }

    /// Takes a key back, as an operator would.
    pub fn revoke(&self, key: &str) {
        process::revoke_key(&self.data(), key);
    }

    /// Another key, of any user, with any further arguments of `cfx key create`.
    pub fn new_key(&self, user: &str, arguments: &[&str]) -> String {
        process::create_key(&self.data(), user, arguments)
    }

    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub fn conf(&self) -> PathBuf {
        self.folder.path().join("conf")
    }

    /// Waits until the ledger has `count` rows, then hands them back, oldest first.
    pub fn rows(&self, count: usize) -> Vec<Row> {
        rows::wait_for(&self.data(), count)
    }

    /// The one row of the one request so far.
    pub fn row(&self) -> Row {
        let mut rows = self.rows(1);
        assert_eq!(rows.len(), 1, "one request, one row: {rows:?}");
        rows.remove(0)
    }

    /// Stops the edge, which writes everything that it still held, and hands back what the store says.
    pub fn stop_and_read(&mut self) -> rows::Store {
        self.process.stop();
        rows::Store::open(&self.data())
    }

    /// Starts the same installation again.
    pub fn restart(&mut self) {
        self.process.stop();
        self.process = Process::run(&self.conf(), &self.data(), self.admin).expect("cfx starts again");
    }

    /// Starts the same installation beside the one that runs, to take over from it, and hands that one back.
    pub fn take_over(&mut self) -> Process {
        let new = Process::take_over(&self.conf(), &self.data(), self.admin).expect("cfx takes over");
        std::mem::replace(&mut self.process, new)
    }

    /// What `/-/ready` says.
    pub fn readiness(&self) -> Answer {
        Client::plain(self.admin).ask(&Request::get("/-/ready").instead("Host", &self.admin.to_string()))
    }

    /// A counter's or gauge's value on `/metrics`, summed over every series whose labels contain all of `labels`.
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let text =
            Client::plain(self.admin).ask(&Request::get("/metrics").instead("Host", &self.admin.to_string())).text();
        let series = text.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
                && labels.iter().all(|label| line.contains(label))
        });
        series.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Holds that a metric comes to `wanted`: a request is counted a moment after its client has the answer.
    pub fn assert_metric(&self, name: &str, labels: &[&str], wanted: f64) {
        let deadline = Instant::now() + client::PATIENCE;
        loop {
            let value = self.metric(name, labels);
            if value == wanted {
                return;
            }
            assert!(Instant::now() < deadline, "{name}{labels:?} is {value}, not {wanted}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Nothing of the last request is left: a plain request still gets its answer.
    pub fn assert_healthy(&self) {
        let answer = self.chat();
        assert_eq!(answer.status, 200, "cfx is as well as before: {answer}");
    }
}

pub const CHAT: &str = "/v1/chat/completions";

pub fn chat_body() -> Value {
    json!({"model": "plan", "messages": [{"role": "user", "content": "How would you go about this?"}]})
}

pub fn streaming(mut body: Value) -> Value {
    body["stream"] = json!(true);
    body
}

/// A stream whose client asks for usage itself, and so sees it byte for byte.
pub fn asking_for_usage(mut body: Value) -> Value {
    body["stream_options"] = json!({"include_usage": true});
    streaming(body)
}

/// The targets at these addresses, as `upstream_target` takes them.
pub fn several(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(|address| format!("http://{address}")).collect::<Vec<_>>().join("\", \"")
}

/// The four dialects with a system prompt, as (path, body, where the system text is found upstream).
pub fn body_for(path: &str) -> Value {
    match path {
        "/v1/chat/completions" => chat_body(),
        "/v1/completions" => json!({"model": "complete", "prompt": "fn main() {"}),
        "/v1/embeddings" => json!({"model": "embed-small", "input": "a line of text"}),
        "/v1/responses" => json!({"model": "plan", "input": "How would you go about this?"}),
        "/v1/messages" => {
            json!({"model": "plan", "max_tokens": 512, "messages": [{"role": "user", "content": "How would you go about this?"}]})
        }
        "/v1/messages/count_tokens" => {
            json!({"model": "plan", "messages": [{"role": "user", "content": "How long is this?"}]})
        }
        other => panic!("no body for {other}"),
    }
}
