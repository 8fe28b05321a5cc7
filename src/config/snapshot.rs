//! The checked configuration: what the rest of cfx reads. Every name in it resolves, every number is in range.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use ipnet::IpNet;
use regex::Regex;
use serde::{Deserialize, Serialize};

use super::certificate::CertificatePair;
use super::guards::{ClientHeader, Guards};
use super::identity::Identity;
use super::routes::Route;
use super::target::Target;
use super::telemetry::Telemetry;
use super::timeouts::{TimeoutOverrides, Timeouts};
use super::tls::{ClientCertificates, Issuer, TlsVersion};
use super::watching::{Breaker, Health};
use crate::units::Stage;

/// One whole configuration, swapped as one. A request keeps the snapshot it began with; what is the same in the next one
/// is the same in memory, so that streams of many hours do not hold as many copies of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    pub edge: Arc<Edge>,
    pub models: Arc<Models>,
    pub limits: Arc<Limits>,
}

/// `conf/cfx.yaml`.
#[derive(Debug, Clone, PartialEq)]
pub struct Edge {
    pub entrypoints: Vec<Entrypoint>,
    pub admin: SocketAddr,
    /// What the admin listener is to be shown by whoever changes something there, or looks into the configuration.
    pub admin_token: Option<Secret>,
    /// Certificates in file order; the first is served where no name matches.
    pub certificates: Vec<CertificatePair>,
    /// Whom further certificates are ordered from.
    pub issuers: Vec<Issuer>,
    pub min_tls_version: TlsVersion,
    pub upstreams: BTreeMap<String, Arc<Upstream>>,
    /// Most specific first; the first that takes a request has it.
    pub routes: Vec<Arc<Route>>,
    /// Whose word on who the client is counts, by headers and by PROXY headers.
    pub trusted_proxies: Vec<IpNet>,
    pub client_header: ClientHeader,
    pub guards: Guards,
    pub identity: Identity,
    /// Where the control API listens for the inside, beside the routes that lead to it. None: for this machine alone, at a port
    /// of the system's choice.
    pub control: Option<SocketAddr>,
    pub ledger: Ledger,
    pub telemetry: Telemetry,
    pub server: Server,
}

/// One public listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entrypoint {
    pub name: String,
    pub address: SocketAddr,
    pub transport: Transport,
    /// None: clients are not asked for certificates.
    pub client_certificates: Option<ClientCertificates>,
    /// Trusted proxies begin their connections here with a PROXY header, of version 1 or 2.
    pub proxy_protocol: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Plain HTTP. With `redirect`, every request but `/health` and `/ready` is sent to the https entrypoint at this port.
    Plain { redirect_to: Option<u16> },
    /// TLS, with HTTP/2 offered by ALPN where `http2`.
    Tls { http2: bool },
}

/// A PEM chain and its key on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
}

#[derive(Debug, PartialEq)]
pub struct Upstream {
    pub name: String,
    /// At least one.
    pub targets: Vec<Arc<Target>>,
    /// `Bearer` and the API key, sent to this upstream by LLM routes. Marked as sensitive, so that it prints as that
    /// word alone. None: no credential is sent.
    pub authorization: Option<HeaderValue>,
    pub timeouts: Timeouts,
    /// After so much silence of a stream its client is sent a comment. None: it is left to wait.
    pub keep_alive: Option<Duration>,
    pub breaker: Breaker,
    /// None: no target is asked how it is.
    pub health: Option<Health>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Server {
    /// Worker threads; `auto` is one a core.
    pub threads: usize,
    /// How long open streams may go on once no connection is accepted any more.
    pub grace: Duration,
    /// How long connections are still accepted after a stop was asked for, where somebody asks for readiness and must
    /// be given the time to notice. None: not at all.
    pub drain_after: Option<Duration>,
}

/// How long rows are kept, and where they wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ledger {
    /// Whole months besides the present one, after which a database that divides its rows by month drops them.
    pub retention: u32,
    pub spool: Spool,
}

/// What the ledger keeps on disk until the store has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spool {
    /// The most it may take of the disk, in bytes.
    pub size: u64,
    pub fsync: Fsync,
    pub on_full: OnSpoolFull,
}

/// Which requests wait for the disk to keep their record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fsync {
    /// None. The disk is asked every second: a loss of power may take what came since, the death of the process
    /// nothing.
    #[default]
    Off,
    /// Each, before it goes upstream.
    Each,
}

/// What becomes of requests that find no room in the spool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnSpoolFull {
    #[default]
    Refuse,
    /// They are served, and their rows are lost where memory has no room either.
    Drop,
}

/// `conf/models.yaml`.
#[derive(Debug, PartialEq)]
pub struct Models {
    pub default_stage: Stage,
    pub plan: StagePolicy,
    pub code: StagePolicy,
    pub review: StagePolicy,
    /// None: `off`.
    pub embeddings: Option<Arc<Model>>,
    pub completions: Option<Arc<Model>>,
    /// The first rule that matches decides.
    pub infer: Vec<InferRule>,
    pub direct: Direct,
    /// By alias, in the file's order of names.
    pub aliases: BTreeMap<String, Arc<Model>>,
}

/// What a stage does to a request.
#[derive(Debug, Clone, PartialEq)]
pub struct StagePolicy {
    pub model: Arc<Model>,
    /// None: the request's own system prompt stands alone.
    pub system: Option<Prompt>,
    pub placement: Placement,
    pub max_tokens: Option<u64>,
    /// Bounds that a given `temperature` is clamped to; an absent one stays absent.
    pub temperature: Option<(f64, f64)>,
    /// Asked once where the stage's model could not be reached, was cut off before its answer's head, or answered 502,
    /// 503 or 504; never once something was sent to the client.
    pub fallback: Option<Arc<Model>>,
    pub timeouts: TimeoutOverrides,
}

/// A stage's system prompt, read from its file and escaped once, so that no request does it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt(Arc<str>);

/// Where a stage's prompt goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Placement {
    /// A system message of its own, before all others.
    #[default]
    Prepend,
    /// After the text of the first system message; a message of its own where there is none.
    Append,
}

/// All conditions that are given must hold.
#[derive(Debug, Clone)]
pub struct InferRule {
    pub last_user_message: Option<Regex>,
    /// Whether the last user message carries a unified diff.
    pub has_diff: Option<bool>,
    pub has_tools: Option<bool>,
    pub stage: Stage,
}

/// Requests that name a model alias themselves.
#[derive(Debug, Clone, PartialEq)]
pub struct Direct {
    pub enabled: bool,
    /// Aliases; empty: every alias that `deny` does not name.
    pub allow: Vec<String>,
    /// Wins over `allow`.
    pub deny: Vec<String>,
    pub max_tokens: Option<u64>,
}

/// One alias and the model behind it.
#[derive(Debug, PartialEq)]
pub struct Model {
    pub alias: Arc<str>,
    pub upstream_model: Arc<str>,
    pub price: Price,
    pub context_window: Option<u64>,
    pub max_output_tokens: Option<u64>,
    pub vision: bool,
}

/// Prices in billionths of a US dollar per million tokens: 3.00 in the file is 3_000_000_000 here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Price {
    pub input: u64,
    /// Where the file has none: `input`.
    pub cached_input: u64,
    /// Where the file has none: `input`.
    pub cache_write: u64,
    pub output: u64,
    /// Where the file has none: `output`.
    pub reasoning: u64,
}

/// `conf/limits.yaml`.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Per user and UTC day.
    pub daily_requests: u32,
    /// Streams per user.
    pub concurrent_streams: u32,
    /// Requests of any kind per user.
    pub concurrent_requests: u32,
    /// Bytes of one request body.
    pub body: usize,
    /// Admitted requests on this edge, all users together.
    pub in_flight: usize,
    /// Those of them whose answers are streamed.
    pub streams_in_flight: usize,
    /// Bytes of all request bodies held at once on this edge.
    pub body_memory: usize,
    /// Bytes of web answers that clients have yet to take, all together, on this edge.
    pub answer_memory: usize,
    /// Between two pieces of an upload, and until its first.
    pub upload_stall: Duration,
    /// What a client may let its answer wait, less what it takes meanwhile.
    pub read_stall: Duration,
    pub on_store_outage: OnStoreOutage,
    /// By e-mail address, lower case.
    pub users: BTreeMap<String, UserLimits>,
}

/// What becomes of requests that need the quota store while it does not answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnStoreOutage {
    /// Counted on this edge alone, within what is known to be left.
    #[default]
    Local,
    Refuse,
}

/// One user's own values in place of the general ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UserLimits {
    pub daily_requests: Option<u32>,
    pub concurrent_streams: Option<u32>,
    pub concurrent_requests: Option<u32>,
}

/// The limits that hold for one user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResolvedLimits {
    pub daily_requests: u32,
    pub concurrent_streams: u32,
    pub concurrent_requests: u32,
}

/// A value that prints as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: String) -> Self {
        Self(value)
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("***")
    }
}

/// Patterns that are written alike are the same.
impl PartialEq for InferRule {
    fn eq(&self, other: &Self) -> bool {
        let parts = |Self { last_user_message, has_diff, has_tools, stage }: &Self| {
            (last_user_message.as_ref().map(|pattern| pattern.as_str().to_owned()), *has_diff, *has_tools, *stage)
        };
        parts(self) == parts(other)
    }
}

impl Prompt {
    pub fn new(text: &str) -> Self {
        let quoted = serde_json::Value::from(text).to_string();
        Self(quoted.get(1..quoted.len() - 1).unwrap_or_default().into())
    }

    pub fn text(&self) -> String {
        serde_json::from_str(&format!("\"{}\"", self.0)).unwrap_or_default()
    }

    /// The inside of a JSON string.
    pub fn escaped(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl Models {
    /// The upstreams' own names of all models.
    pub fn asked_for(&self) -> impl Iterator<Item = &Arc<str>> + Clone {
        self.aliases.values().map(|model| &model.upstream_model)
    }

    /// The policy of a stage; `Direct` has none.
    pub fn stage(&self, stage: Stage) -> Option<&StagePolicy> {
        match stage {
            Stage::Plan => Some(&self.plan),
            Stage::Code => Some(&self.code),
            Stage::Review => Some(&self.review),
            Stage::Direct => None,
        }
    }
}

impl Edge {
    /// Whether what this address says of its clients counts.
    pub fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.trusted_proxies.iter().any(|range| range.contains(&address))
    }
}

impl Limits {
    /// What holds for one user: their own values over the general ones.
    pub fn of_user(&self, email: &str) -> ResolvedLimits {
        let own = self.users.get(email).copied().unwrap_or_default();
        ResolvedLimits {
            daily_requests: own.daily_requests.unwrap_or(self.daily_requests),
            concurrent_streams: own.concurrent_streams.unwrap_or(self.concurrent_streams),
            concurrent_requests: own.concurrent_requests.unwrap_or(self.concurrent_requests),
        }
    }
}
