//! What a test's installation looks like before it starts: three files in a folder, a store with one key, two upstreams.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use super::ports::free_addresses;
use super::process::{self, Process};
use super::scripted::Scripted;
use super::tls::Front;
use super::{Harness, USER};

/// Prices that make sums easy to check: 1, 0.5, 2 and 10 US dollars per million tokens.
const MODELS: &str = r#"
default_stage: plan
stages:
  plan:   { model: smart, system: "PLAN: say what you would do, write no code." }
  code:   { model: quick, system: "CODE: answer with unified diffs only.", max_tokens: 8192 }
  review: { model: smart, system: "REVIEW: name the risks, write no code.", placement: append }
embeddings: { model: embed-small }
completions: { model: complete }
infer:
  - { last_user_message: '(?i)\breview\b', stage: review }
  - { has_diff: true, stage: review }
direct: { enabled: false }
models:
  smart: { upstream_model: upstream-smart, price: { input: 1.00, cached_input: 0.50, output: 10.00 } }
  quick: { upstream_model: upstream-quick, price: { input: 1.00, output: 2.00 } }
  embed-small: { upstream_model: upstream-embed, price: { input: 1.00, output: 0 } }
  complete: { upstream_model: upstream-complete, price: { input: 1.00, output: 2.00 } }
"#;

pub struct Builder {
    models: String,
    daily_requests: u32,
    concurrent_streams: u32,
    limits: Vec<String>,
    timeouts: String,
    upstream: Vec<String>,
    edge: Vec<String>,
    upstream_target: Option<String>,
    web_target: Option<String>,
    threads: u32,
    server: String,
    /// The public listeners' addresses, where they are not any that are free.
    listening: Option<[SocketAddr; 2]>,
    /// Further pairs of `tls.certificates`, by the names in them.
    certificates: Vec<Vec<String>>,
    /// Further lines of the `tls` section.
    tls: Vec<String>,
    /// What follows in the `https` entrypoint's braces.
    https: String,
    front: Option<Front>,
    /// Further upstreams and routes: their lines.
    others: [String; 2],
    redirects: bool,
    proxy_protocol: bool,
    environment: String,
    files: Vec<(String, String)>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            models: MODELS.to_string(),
            daily_requests: 100_000,
            concurrent_streams: 1_000,
            limits: Vec::new(),
            timeouts: "connect: 2s, first_byte: 20s, between_chunks: 20s, total: 60s".to_string(),
            upstream: Vec::new(),
            edge: Vec::new(),
            upstream_target: None,
            web_target: None,
            threads: 2,
            server: "grace: 2s, drain_after: off".to_string(),
            listening: None,
            certificates: Vec::new(),
            tls: Vec::new(),
            https: String::new(),
            front: None,
            others: Default::default(),
            redirects: false,
            proxy_protocol: false,
            environment: String::new(),
            files: Vec::new(),
        }
    }
}

impl Builder {
    /// Requests per user and day.
    pub fn quota(mut self, daily_requests: u32) -> Self {
        self.daily_requests = daily_requests;
        self
    }

    pub fn streams(mut self, concurrent_streams: u32) -> Self {
        self.concurrent_streams = concurrent_streams;
        self
    }

    /// One more line of `limits.yaml`.
    pub fn limit(mut self, line: &str) -> Self {
        self.limits.push(line.to_string());
        self
    }

    /// `connect: 1s, …`: the timeouts of the LLM upstream.
    pub fn timeouts(mut self, timeouts: &str) -> Self {
        self.timeouts = timeouts.to_string();
        self
    }

    /// `keep_alive: 50ms`, …: one more line of the LLM upstream.
    pub fn upstream(mut self, line: &str) -> Self {
        self.upstream.push(format!("    {line}\n"));
        self
    }

    /// The usual `models.yaml` with one of its lines, found by its beginning, replaced.
    pub fn models_line(mut self, beginning: &str, line: &str) -> Self {
        let found = self.models.lines().find(|have| have.trim_start().starts_with(beginning)).map(String::from);
        let found = found.unwrap_or_else(|| panic!("models.yaml has no line {beginning:?}"));
        self.models = self.models.replace(&found, line);
        self
    }

    /// One more top-level line of `cfx.yaml`.
    pub fn edge(mut self, line: &str) -> Self {
        self.edge.push(line.to_string());
        self
    }

    /// The plain listener sends everybody to the TLS one.
    pub fn redirecting(mut self) -> Self {
        self.redirects = true;
        self
    }

    /// At these addresses, plain and TLS.
    pub fn listening(mut self, http: SocketAddr, https: SocketAddr) -> Self {
        self.listening = Some([http, https]);
        self
    }

    /// One more certificate, for these names: `a.test.pem` and `a.test.key` in the folder of the configuration, where
    /// `a.test` is the first of them.
    pub fn certificate(mut self, names: &[&str]) -> Self {
        self.certificates.push(names.iter().map(|name| name.to_string()).collect());
        self
    }

    /// `min_version: "1.3"`: one more line of the `tls` section.
    pub fn tls(mut self, line: &str) -> Self {
        self.tls.push(format!("  {line}\n"));
        self
    }

    /// `client_certificates: { … }`: more about the TLS entrypoint.
    pub fn https(mut self, more: &str) -> Self {
        self.https = format!(", {more}");
        self
    }

    /// Trusted proxies begin their connections with a PROXY header.
    pub fn proxy_protocol(mut self) -> Self {
        self.proxy_protocol = true;
        self
    }

    /// An LLM upstream that is not scripted: `http://127.0.0.1:9`.
    pub fn upstream_target(mut self, target: &str) -> Self {
        self.upstream_target = Some(target.to_string());
        self
    }

    /// The same of the web upstream.
    pub fn web_target(mut self, target: &str) -> Self {
        self.web_target = Some(target.to_string());
        self
    }

    /// Threads that serve; connections to the upstream are kept by thread.
    pub fn threads(mut self, threads: u32) -> Self {
        self.threads = threads;
        self
    }

    /// `grace: 10s, drain_after: 1s`: how it stops.
    pub fn stopping(mut self, server: &str) -> Self {
        self.server = server.to_string();
        self
    }

    /// The scripted upstream is an `https` target. What the edge trusts is said in its environment, as an operator would.
    pub fn upstream_over_tls(mut self, front: Front) -> Self {
        self.front = Some(front);
        self
    }

    /// Another LLM upstream, for requests to this host.
    pub fn upstream_at(mut self, host: &str, target: &str) -> Self {
        let [upstreams, routes] = &mut self.others;
        *upstreams += &format!("  \"{host}\": {{ targets: [\"{target}\"], api_key: \"${{LITELLM_API_KEY}}\" }}\n");
        *routes += &format!("  - {{ match: {{ host: {host}, path: /v1/ }}, llm: \"{host}\" }}\n");
        self
    }

    /// One more upstream, by name, with what stands in its braces.
    pub fn also(mut self, name: &str, fields: &str) -> Self {
        self.others[0] += &format!("  {name}: {{ {fields} }}\n");
        self
    }

    /// One more route: what stands in its braces.
    pub fn route(mut self, fields: &str) -> Self {
        self.others[1] += &format!("  - {{ {fields} }}\n");
        self
    }

    /// A file in the folder of `cfx.yaml`.
    pub fn file(mut self, name: &str, text: &str) -> Self {
        self.files.push((name.to_string(), text.to_string()));
        self
    }

    /// One more variable of the environment, for the edge and every command.
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment += &format!("{name}={value}\n");
        self
    }

    pub fn start(mut self) -> Harness {
        let upstream = Scripted::start();
        let web = Scripted::start();
        let folder = tempfile::tempdir().expect("a folder for the test");
        let (conf, data) = (folder.path().join("conf"), folder.path().join("data"));
        std::fs::create_dir_all(&conf).expect("a folder");
        std::fs::create_dir_all(&data).expect("a folder");
        let certificate = certificate_for(&conf, &["cfx.test".to_string()]);
        self.certificates.iter().for_each(|names| drop(certificate_for(&conf, names)));
        if let Some(front) = self.front {
            let trust = conf.join("trusted.pem");
            let target = format!("https://{}", front.start(upstream.address, &trust));
            self = self.upstream_target(&target).environment("SSL_CERT_FILE", &trust.display().to_string());
        }
        std::fs::write(conf.join("models.yaml"), &self.models).expect("a file");
        for (name, text) in &self.files {
            std::fs::write(conf.join(name), text).expect("a file");
        }
        std::fs::write(conf.join("limits.yaml"), self.limits_yaml()).expect("a file");
        std::fs::write(data.with_file_name("environment"), &self.environment).expect("a file");
        process::make_store(&data);
        let key = process::create_key(&data, USER, &[]);
        // Who is no test may take a port before cfx binds it: then other ports are tried.
        for attempt in 1.. {
            let [http, https, admin] = free_addresses();
            let [http, https] = self.listening.unwrap_or([http, https]);
            let target = self.upstream_target.clone().unwrap_or_else(|| format!("http://{}", upstream.address));
            let edge = self.edge_yaml(&conf, [http, https, admin], &target, &web);
            std::fs::write(conf.join("cfx.yaml"), edge).expect("a file");
            match Process::run(&conf, &data, admin) {
                Ok(process) => {
                    return Harness { http, https, admin, upstream, web, certificate, key, process, folder };
                }
                Err(log) if attempt < 5 && log.to_lowercase().contains("in use") => {}
                Err(log) => panic!("cfx did not start:\n{log}"),
            }
        }
        unreachable!("the loop ends by return or panic")
    }

    fn limits_yaml(&self) -> String {
        let mut text = format!(
            "daily_requests: {}\nconcurrent_streams: {}\nconcurrent_requests: 1000\n",
            self.daily_requests, self.concurrent_streams
        );
        for line in &self.limits {
            let name = line.split(':').next().unwrap_or_default();
            text = text
                .lines()
                .filter(|have| !have.starts_with(name))
                .fold(String::new(), |text, line| text + line + "\n");
            let _ = writeln!(text, "{line}");
        }
        text
    }

    fn pairs(&self, conf: &Path) -> String {
        let first = std::iter::once("cfx.test");
        let stems = first.chain(self.certificates.iter().map(|names| names[0].as_str()));
        let pairs = stems.map(|stem| {
            let stem = conf.join(stem.replace('*', "any"));
            format!("{{ cert: \"{0}.pem\", key: \"{0}.key\" }}", stem.display())
        });
        pairs.collect::<Vec<_>>().join(", ")
    }

    fn edge_yaml(&self, conf: &Path, [http, https, admin]: [SocketAddr; 3], target: &str, web: &Scripted) -> String {
        format!(
            r#"
entrypoints:
  http:  {{ address: "{http}"{redirect}{proxied} }}
  https: {{ address: "{https}", tls: true, http2: true{proxied}{more} }}
admin: {{ address: "{admin}" }}
tls:
  certificates: [{certificates}]
{tls}upstreams:
  litellm:
    targets: ["{target}"]
    api_key: "${{LITELLM_API_KEY}}"
    timeouts: {{ {timeouts} }}
{upstream}  web: {{ targets: ["{web}"] }}
{upstreams}routes:
{routes}  - {{ match: {{ path: /v1/ }}, llm: litellm }}
  - {{ match: {{ path: / }}, upstream: web }}
server: {{ threads: {threads}, {server} }}
{extra}
"#,
            redirect = if self.redirects { ", redirect: https" } else { "" },
            proxied = if self.proxy_protocol { ", proxy_protocol: true" } else { "" },
            timeouts = self.timeouts,
            upstream = self.upstream.concat(),
            web = self.web_target.clone().unwrap_or_else(|| format!("http://{}", web.address)),
            threads = self.threads,
            server = self.server,
            upstreams = self.others[0],
            routes = self.others[1],
            certificates = self.pairs(conf),
            tls = self.tls.concat(),
            more = self.https,
            extra = self.edge.join("\n"),
        )
    }
}

/// A certificate for these names, written under the first of them.
pub fn certificate_for(conf: &Path, names: &[String]) -> rustls::pki_types::CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    let stem = conf.join(names[0].replace('*', "any"));
    std::fs::write(stem.with_added_extension("pem"), made.cert.pem()).expect("a file");
    std::fs::write(stem.with_added_extension("key"), made.signing_key.serialize_pem()).expect("a file");
    made.cert.der().clone()
}
