//! Spans on their way to a collector, by OTLP over HTTP (http/protobuf).
//!
//! Failure stance: open. A request hands its spans to a queue and goes on; one task sends them in batches. Where the
//! collector is slower than the requests, or away, spans are dropped and counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response};
use opentelemetry_http::{HttpClient, HttpError, ResponseBodyTooLarge};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use crate::https::{self, Https, NoAnswer, Terms};
use crate::telemetry::access::AccessLine;
use crate::telemetry::redact;
use crate::telemetry::seldom::Seldom;
use crate::telemetry::spans::{self, ModelCall};
use crate::telemetry::trace_context::TraceContext;

/// Requests whose spans may wait.
const CAPACITY: usize = 8_192;
/// Spans sent at once.
const BATCH: usize = 512;
/// How long the first span of a batch waits for company.
const LINGER: Duration = Duration::from_secs(1);
/// For a batch to be taken, second attempts included.
const PATIENCE: Duration = Duration::from_secs(10);
/// In bytes. A collector has little to say, and what stands in front of it a page at most.
const LARGEST: usize = 4 * 1024 * 1024;
const TERMS: Terms = Terms { plain: true, connect_within: None, idle: Duration::from_secs(90) };

/// The way to the collector. Without one there is none of these, and nothing is done for a span.
pub struct Traces {
    queue: mpsc::Sender<Item>,
    dropped: Arc<AtomicU64>,
}

/// The other end of [`Traces`], to be run.
pub struct Sending {
    queue: mpsc::Receiver<Item>,
    exporter: SpanExporter,
    endpoint: String,
    dropped: Arc<AtomicU64>,
}

/// What the exporter sends with.
#[derive(Debug)]
struct Collector(Https);

enum Item {
    Spans(Vec<SpanData>),
    /// Somebody waits for all before it to be gone.
    Flush(oneshot::Sender<()>),
}

/// The way to `endpoint`, a whole URL. The error says why there cannot be one.
pub fn open(endpoint: &str) -> Result<(Traces, Sending), String> {
    let collector = Collector(Https::trusting(https::system(), TERMS).map_err(|error| error.to_string())?);
    let mut exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(collector)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(endpoint)
        .with_timeout(PATIENCE)
        .build()
        .map_err(|error| error.to_string())?;
    exporter.set_resource(&Resource::builder().with_service_name("cfx").build());
    let (sender, queue) = mpsc::channel(CAPACITY);
    let dropped = Arc::default();
    let sending = Sending { queue, exporter, endpoint: endpoint.to_owned(), dropped: Arc::clone(&dropped) };
    Ok((Traces { queue: sender, dropped }, sending))
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        match timeout(PATIENCE, self.0.ask(request.map(Body::from), LARGEST)).await? {
            Ok(answer) => Ok(answer),
            // Which is how the exporter knows that to send them again is of no use.
            Err(NoAnswer::TooLong(_)) => Err(ResponseBodyTooLarge::new().into()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Traces {
    /// Takes the spans of a request that has ended; never waits.
    pub fn record(&self, line: &AccessLine<'_>, call: Option<&ModelCall<'_>>, context: &TraceContext) {
        if context.is_sampled() {
            let spans = spans::spans(line, call, context);
            let number = spans.len() as u64;
            if self.queue.try_send(Item::Spans(spans)).is_err() {
                self.dropped.fetch_add(number, Ordering::Relaxed);
            }
        }
    }

    /// Spans that never reached the collector.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits until the spans taken so far are gone, for `patience` at most.
    pub async fn flush(&self, patience: Duration) {
        let (done, gone) = oneshot::channel();
        let _ = timeout(patience, async {
            if self.queue.send(Item::Flush(done)).await.is_ok() {
                let _ = gone.await;
            }
        })
        .await;
    }
}

impl Sending {
    /// Sends until nobody has the other end any more.
    pub async fn run(mut self) {
        let complaints = Seldom::new(std::time::Instant::now());
        let mut batch = Vec::new();
        while let Some(first) = self.queue.recv().await {
            let asked = self.gather(first, &mut batch).await;
            if !batch.is_empty() {
                self.send(std::mem::take(&mut batch), &complaints).await;
            }
            if let Some(asked) = asked {
                let _ = asked.send(());
            }
        }
    }

    /// Fills a batch until it is full, old enough, or somebody waits for it, who is returned.
    async fn gather(&mut self, first: Item, batch: &mut Vec<SpanData>) -> Option<oneshot::Sender<()>> {
        let due = Instant::now() + LINGER;
        let mut next = Some(first);
        while let Some(item) = next {
            match item {
                Item::Flush(asked) => return Some(asked),
                Item::Spans(spans) => batch.extend(spans),
            }
            if batch.len() >= BATCH {
                return None;
            }
            next = timeout_at(due, self.queue.recv()).await.ok().flatten();
        }
        None
    }

    async fn send(&self, batch: Vec<SpanData>, complaints: &Seldom) {
        let spans = batch.len() as u64;
        if let Err(error) = self.exporter.export(batch).await {
            self.dropped.fetch_add(spans, Ordering::Relaxed);
            if let Some(before) = complaints.write(std::time::Instant::now()) {
                let endpoint = &*redact::url(&self.endpoint);
                let error = error.to_string().replace(&self.endpoint, endpoint);
                tracing::warn!(error, endpoint, spans, before, "traces were not taken, and are lost");
            }
        }
    }
}
