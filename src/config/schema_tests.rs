//! The schemas' keys are the checks' keys: each check says which it knows while it reads files that have everything.

use std::collections::{BTreeMap, BTreeSet};

use super::super::problem::Report;
use super::super::{check, raw};
use super::*;
use crate::config::Source;

/// Every section that there is, once.
const EDGE: &str = r#"
entrypoints:
  http: { address: "0.0.0.0:80", redirect: https }
  https: { address: "0.0.0.0:443", tls: true, client_certificates: { ca: "CAS" } }
admin: { address: "127.0.0.1:9090", token: sixteen-letters-or-more }
tls:
  certificates: [{ cert: "${NONE:-}", key: "${NONE:-}" }]
  acme: [{ domains: [example.org], eab: { key_id: a, hmac_key: AAAA } }]
upstreams:
  some:
    targets: [{ url: "http://a" }]
    timeouts: { connect: 1s }
    breaker: { failures: 1 }
    health: { path: / }
  web: { targets: ["http://b"] }
routes:
  - match: { path: /app/, headers: { x-beta: true } }
    upstream: web
    rewrite: { pattern: a, to: b }
    request_headers: { remove: [x-a] }
    response_headers: { remove: [x-a] }
    sticky: { cookie: c }
    compress: { at_least: 1KiB }
    rate_limit: { requests: 1 }
    maintenance: { retry_after: 1s }
    cors: { origins: ["*"] }
    basic_auth: { file: "USERS" }
    forward_auth: { upstream: web }
    timeouts: { connect: 1s }
  - { match: { path: /old }, redirect: { to: /app } }
  - { match: { path: /gone }, respond: { status: 410 } }
trusted_proxies: [10.0.0.0/8]
guards: { headers: 50 }
identity: { registration: open, supabase: { url: "https://abc.supabase.co", anon_key: k } }
control: { address: "127.0.0.1:9091" }
ledger: { spool: { size: 1GiB } }
server: { threads: auto }
telemetry: { access_log: { fields: [client] }, traces: { endpoint: "http://collector:4318/v1/traces" } }
"#;
const MODELS: &str = r#"
stages:
  plan: { model: m, temperature: { min: 0 }, timeouts: { total: 1s } }
  code: { model: m, temperature: { min: 0 }, timeouts: { total: 1s } }
  review: { model: m, temperature: { min: 0 }, timeouts: { total: 1s } }
embeddings: { model: m }
completions: { model: m }
infer: [{ has_diff: true, stage: review }]
direct: { enabled: true, allow: [m] }
models: { m: { price: { input: 1 } } }
"#;
const LIMITS: &str = r#"users: { "ada@example.org": { daily_requests: 1 } }"#;

/// The keys that the checks of a file know, by the way to the mapping that has them.
fn known(file: &str, text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let report = Report::new(file);
    let mut root = raw::parse(text).unwrap();
    raw::settle(&mut root, "", &|_| None, &report);
    let sound = match file {
        "cfx" => check::edge(&root, &report, &Source::Embedded).is_ok(),
        "models" => check::models(&root, &report, &Source::Embedded).is_ok(),
        _ => check::limits(&root, &report).is_ok(),
    };
    assert!(sound && report.sound().is_ok(), "{file}: {report:?}");
    report.known.take().into_iter().collect()
}

/// The keys of every mapping in a schema, by a way that leads there.
fn keys(schema: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let mut found = BTreeMap::new();
    gather(schema, String::new(), &mut found);
    found
}

fn gather(schema: &Value, path: String, found: &mut BTreeMap<String, BTreeSet<String>>) {
    if let Some(properties) = schema["properties"].as_object() {
        found.insert(path.clone(), properties.keys().cloned().collect());
        for (key, value) in properties {
            gather(value, raw::join_key(&path, key), found);
        }
    }
    if schema["additionalProperties"].is_object() {
        gather(&schema["additionalProperties"], format!("{path}.*"), found);
    }
    if schema["items"].is_object() {
        gather(&schema["items"], format!("{path}[]"), found);
    }
    schema["anyOf"].as_array().into_iter().flatten().for_each(|one| gather(one, path.clone(), found));
}

/// `upstreams.some.health` → `upstreams.*.health`, `routes[0]` → `routes[]`: names and places are any.
fn general(path: &str) -> String {
    let names = [".some", ".web", ".http", ".https", ".m", "[\"ada@example.org\"]"];
    let segments = path.replace(['0', '1', '2'], "");
    let ends = |at: usize| segments[at..].is_empty() || segments[at..].starts_with(['.', '[']);
    for name in names {
        if let Some(at) = segments.find(name).filter(|at| ends(at + name.len())) {
            return format!("{}.*{}", &segments[..at], &segments[at + name.len()..]);
        }
    }
    segments
}

#[test]
fn every_key_that_the_checks_know_is_in_the_schema_and_no_other() {
    let users = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(users.path(), format!("ada:{}", bcrypt::hash("correct horse", 4).unwrap())).unwrap();
    let cas = tempfile::NamedTempFile::new().unwrap();
    let ca = rcgen::generate_simple_self_signed(vec!["ca.example.org".to_owned()]).unwrap();
    std::fs::write(cas.path(), ca.cert.pem()).unwrap();
    let edge = EDGE.replace("USERS", users.path().to_str().unwrap()).replace("CAS", cas.path().to_str().unwrap());
    for (file, text) in [("cfx", edge.as_str()), ("models", MODELS), ("limits", LIMITS)] {
        let mut known: BTreeMap<String, BTreeSet<String>> =
            known(file, text).into_iter().map(|(path, keys)| (general(&path), keys)).collect();
        // One issuer may stand there without a list.
        let issuer = known.iter().filter(|(path, _)| path.starts_with("tls.acme[]"));
        let single = issuer.map(|(path, keys)| (path.replacen("[]", "", 1), keys.clone()));
        known.extend(single.collect::<Vec<_>>());
        assert_eq!(keys(&schema(file).unwrap()), known, "{file}.yaml; left the schema, right the checks");
    }
}

#[test]
fn only_the_three_files_have_one() {
    assert!(FILES.iter().all(|file| schema(file).is_some()));
    assert!(schema("litellm").is_none());
}
