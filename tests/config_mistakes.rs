//! One mistake at a time: each is found at its place and named. `¶` marks the place in each text.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "config_mistakes/inside.rs"]
mod inside;
#[path = "config_mistakes/routes.rs"]
mod routes;

use cfx::config::{Overrides, Source, load};

const EDGE: &str = "upstreams: { a: { targets: [\"http://a\"] } }\nroutes: [{ match: { path: /v1/ }, llm: a }]\n";
const MODELS: &str = "models: { m: {}, n: { max_output_tokens: 100 } }\n\
                      stages: { plan: { model: m }, code: { model: m }, review: { model: m } }\n";

/// Loads three files, each that is not given being a sound one, and gives the problems a line each.
fn problems(file: &str, text: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    for (name, sound) in [("cfx.yaml", EDGE), ("models.yaml", MODELS), ("limits.yaml", "")] {
        std::fs::write(directory.path().join(name), if name == file { text } else { sound }).unwrap();
    }
    std::fs::write(directory.path().join("blank.md"), " \n").unwrap();
    for (name, price) in [("good.json", "1e-6"), ("bad.json", "\"free\"")] {
        let prices = format!("{{\"m\": {{\"input_cost_per_token\": {price}}}}}");
        std::fs::write(directory.path().join(name), prices).unwrap();
    }
    match load(&Source::Directory(directory.path().to_path_buf()), &Overrides::default(), &|_| None) {
        Ok(_) => String::new(),
        Err(problems) => problems.to_string().replace(&format!("{}/", directory.path().display()), ""),
    }
}

/// Holds that a text has exactly one problem, at its mark, with this path and these words.
fn hold(file: &str, marked: &str, path: &str, part: &str) {
    let found = problems(file, &marked.replace('¶', ""));
    let before = marked.split('¶').next().unwrap();
    let (line, column) =
        (before.matches('\n').count() + 1, before.chars().rev().take_while(|c| *c != '\n').count() + 1);
    let place = if path.is_empty() { String::new() } else { format!(" {path}") };
    assert_eq!(found.lines().count(), 1, "{marked}\n{found}");
    assert!(found.starts_with(&format!("{file}:{line}:{column}{place}: ")), "{marked}\nfound {found}");
    assert!(found.contains(part), "{marked}\nwanted {part:?}\nfound {found}");
}

#[test]
fn mistakes_in_the_small_sections_of_the_edge() {
    for (text, path, part) in [
        ("trusted_proxies: [10.0.0.0/8, \"::1\", ¶proxy]", "trusted_proxies[2]", "an address or a network"),
        ("trusted_proxies: [10.0.0.0/8, ¶\"::/0\"]", "trusted_proxies[1]", "every address there is"),
        ("trusted_proxies: ¶10.0.0.1", "trusted_proxies", "expected a list"),
        (
            "telemetry: { access_log: { fields: [status, ¶modle] } }",
            "telemetry.access_log.fields[1]",
            "did you mean \"model\"?",
        ),
        ("telemetry: { access_log: { fields: ¶some } }", "telemetry.access_log.fields", "expected a list"),
        (
            "telemetry: { traces: { endpoint: ¶collector:4318 } }",
            "telemetry.traces.endpoint",
            "http://collector:4318/v1/traces",
        ),
        ("telemetry: { traces: { endpoint: ¶\"http://collector:4318\" } }", "telemetry.traces.endpoint", "a whole URL"),
        ("telemetry: { traces: { endpoint: \"http://c/v1\", sample: ¶2 } }", "telemetry.traces.sample", "from 0 to 1"),
        ("guards: { ¶header_time: 1s }", "guards.header_time", "did you mean \"header_timeout\"?"),
        ("guards: { header_timeout: ¶0s }", "guards.header_timeout", "more than nothing"),
        ("guards: { header_bytes: ¶100 }", "guards.header_bytes", "a size from 1KiB to 1MiB"),
        ("guards: { headers: ¶300 }", "guards.headers", "from 1 to 256"),
        ("guards: { connections: ¶some }", "guards.connections", "a whole number"),
        ("guards: { connection_age: ¶never }", "guards.connection_age", "off, or a duration"),
        ("guards: { encoded_slash: ¶decode }", "guards.encoded_slash", "known here: refuse, pass"),
        ("guards: { underscores: ¶keep }", "guards.underscores", "known here: drop, pass, refuse"),
        ("client_header: ¶\"x forwarded\"", "client_header", "the name of a header"),
        ("ledger: { spool: { size: ¶1KiB } }", "ledger.spool.size", "at least 1MiB"),
        ("ledger: { spool: { size: ¶lots } }", "ledger.spool.size", "a size such as"),
        ("ledger: { spool: { fsync: ¶always } }", "ledger.spool.fsync", "known here: off, each"),
        ("ledger: { spool: { on_full: ¶refuze } }", "ledger.spool.on_full", "did you mean \"refuse\"?"),
        ("ledger: { retention: ¶13 }", "ledger.retention", "whole months such as 13 months"),
        ("ledger: { retention: ¶1.5 months }", "ledger.retention", "whole months such as 13 months"),
        ("ledger: { retention: ¶90d }", "ledger.retention", "whole months such as 13 months"),
        ("ledger: { retention: ¶0 months }", "ledger.retention", "1 to 1200 months"),
        ("ledger: { retention: ¶99999999999 months }", "ledger.retention", "1 to 1200 months"),
        ("ledger: { ¶spol: {} }", "ledger.spol", "did you mean \"spool\"?"),
        ("server: { grace: ¶30 }", "server.grace", "a duration such as"),
        ("server: { grace: ¶0s }", "server.grace", "more than nothing"),
        ("server: { drain_after: ¶never }", "server.drain_after", "off, or a duration such as"),
        ("server: { threads: ¶0 }", "server.threads", "from 1 to 1024"),
        ("server: { threads: ¶four }", "server.threads", "a whole number, found \"four\""),
        ("server: { threads: auto, ¶threads: 2 }", "server.threads", "\"threads\" is given twice"),
        ("admin: { address: ¶\"localhost:9090\" }", "admin.address", "an IP address with a port"),
        ("admin: ¶9090", "admin", "expected a mapping, found \"9090\""),
        ("¶acme: { email: a@example.org }", "acme", "unknown key, known here: entrypoints"),
        ("entrypoints: ¶{}", "entrypoints", "no entrypoint"),
        ("entrypoints: { http: ¶{} }", "entrypoints.http", "\"address\" is missing"),
        ("entrypoints: { a: { address: \"1.2.3.4:1\", http2: ¶true } }", "entrypoints.a.http2", "over TLS only"),
        ("entrypoints: { a: { address: \"1.2.3.4:1\", redirect: ¶b } }", "entrypoints.a.redirect", "with tls: true"),
        ("entrypoints: { a: { address: \"1.2.3.4:1\", tls: ¶yes } }", "entrypoints.a.tls", "true or false"),
        (
            "entrypoints: { a: { address: \"1.2.3.4:1\", tls: true, redirect: ¶a } }",
            "entrypoints.a.redirect",
            "nothing to redirect to",
        ),
        (
            "entrypoints: { a: { address: \"0.0.0.0:9090\" } }\nadmin: { address: ¶\"127.0.0.1:9090\" }",
            "admin.address",
            "is taken by entrypoints.a.address",
        ),
        ("server: { grace: !x ¶1s }", "", "tags such as !x"),
    ] {
        hold("cfx.yaml", &format!("{text}\n{EDGE}"), path, part);
    }
}

#[test]
fn mistakes_in_upstreams() {
    for (text, path, part) in [
        ("¶{}", "upstreams.a", "\"targets\" is missing"),
        ("{ targets: ¶[] }", "upstreams.a.targets", "no target"),
        ("{ targets: ¶\"http://a\" }", "upstreams.a.targets", "expected a list, found \"http://a\""),
        ("{ targets: [¶a:80] }", "upstreams.a.targets[0]", "a URL such as"),
        ("{ targets: [¶a:80] }", "upstreams.a.targets[0]", "with http:// or https:// in front"),
        ("{ targets: [¶litellm] }", "upstreams.a.targets[0]", "with http:// or https:// in front"),
        ("{ targets: [¶\"ftp://a\"] }", "upstreams.a.targets[0]", "with http:// or https:// in front"),
        ("{ targets: [¶\"http://a:0\"] }", "upstreams.a.targets[0]", "its port from 1 to 65535"),
        ("{ targets: [¶\"http://a:70000\"] }", "upstreams.a.targets[0]", "its port from 1 to 65535"),
        ("{ targets: [¶\"http://a b\"] }", "upstreams.a.targets[0]", "a URL such as"),
        ("{ targets: [¶\"\"] }", "upstreams.a.targets[0]", ""),
        ("{ targets: [¶\"http://a/v1\"] }", "upstreams.a.targets[0]", "without a path"),
        ("{ targets: [¶\"http://a?x=1\"] }", "upstreams.a.targets[0]", "without a path"),
        ("{ targets: [¶\"http://me:secret@a\"] }", "upstreams.a.targets[0]", "a user or a password in a URL"),
        ("{ targets: [\"http://a\"], http2: ¶yes }", "upstreams.a.http2", "auto, off or always"),
        ("{ targets: [\"http://a\"], http2: ¶[h2] }", "upstreams.a.http2", "auto, off or always"),
        ("{ targets: [\"http://a\", ¶\"http://A:80\"] }", "upstreams.a.targets[1]", "same target twice"),
        ("{ targets: [\"http://a\"], timeouts: { ¶idle: 1s } }", "upstreams.a.timeouts.idle", "unknown"),
        ("{ targets: [\"http://a\"], timeouts: { total: ¶1y } }", "upstreams.a.timeouts.total", "a duration such"),
        (
            "{ targets: [\"http://a\"], timeouts: { commit_after: ¶on } }",
            "upstreams.a.timeouts.commit_after",
            "a duration such",
        ),
        ("{ targets: [\"http://a\"], breaker: { failures: ¶0 } }", "upstreams.a.breaker.failures", "from 1 to 1000"),
        ("{ targets: [\"http://a\"], breaker: { open_for: ¶30 } }", "upstreams.a.breaker.open_for", "a duration such"),
        ("{ targets: [\"http://a\"], breaker: { ¶open: 30s } }", "upstreams.a.breaker.open", "open_for"),
        ("{ targets: [\"http://a\"], breaker: ¶5 }", "upstreams.a.breaker", "expected a mapping"),
        ("{ targets: [\"http://a\"], health: ¶{} }", "upstreams.a.health", "\"path\" is missing"),
        ("{ targets: [\"http://a\"], health: ¶/health }", "upstreams.a.health", "expected a mapping"),
        ("{ targets: [\"http://a\"], health: { path: ¶health } }", "upstreams.a.health.path", "a path such as"),
        ("{ targets: [\"http://a\"], health: { path: ¶\"/a b\" } }", "upstreams.a.health.path", "a path such as"),
        ("{ targets: [\"http://a\"], health: { path: /, interval: ¶0s } }", "upstreams.a.health.interval", "more than"),
        (
            "{ targets: [\"http://a\"], health: { path: /, timeout: ¶1m } }",
            "upstreams.a.health.timeout",
            "the interval",
        ),
        (
            "{ targets: [\"http://a\"], health: { path: /, healthy: ¶0 } }",
            "upstreams.a.health.healthy",
            "from 1 to 1000",
        ),
        (
            "{ targets: [\"http://a\"], health: { path: /, ¶unhelthy: 1 } }",
            "upstreams.a.health.unhelthy",
            "did you mean",
        ),
        ("{ targets: [\"http://a\"], api_key: ¶[x] }", "upstreams.a.api_key", "found a list"),
        ("{ targets: [\"http://a\"], api_key: ¶\"\" }", "upstreams.a.api_key", "is empty"),
        ("{ targets: [\"http://a\"], api_key: ¶\"${NOWHERE}\" }", "upstreams.a.api_key", "NOWHERE is not set"),
    ] {
        hold("cfx.yaml", &format!("upstreams:\n  a: {text}\nroutes: [{{ llm: a }}]\n"), path, part);
    }
    let secret =
        problems("cfx.yaml", "upstreams: { a: { targets: [\"http://me:secret@a\"] } }\nroutes: [{ llm: a }]\n");
    assert!(!secret.contains("secret"), "{secret}");
    hold("cfx.yaml", "upstreams: ¶[]\nroutes: [{ llm: a }]\n", "upstreams", "expected a mapping, found a list");
}

#[test]
fn mistakes_in_what_is_said_of_tls() {
    for (text, path, part) in [
        ("tls: { min_version: ¶1.1 }", "tls.min_version", "is no version of TLS"),
        ("tls: { ¶acmee: {} }", "tls.acmee", "did you mean \"acme\"?"),
        ("tls: { acme: ¶{ email: ops@example.org } }", "tls.acme", "\"domains\" is missing"),
        ("tls: { acme: { domains: ¶[] } }", "tls.acme.domains", "no domain"),
        ("tls: { acme: { domains: ¶example.org } }", "tls.acme.domains", "expected a list"),
        ("tls: { acme: { domains: [¶\"*.example.org\"] } }", "tls.acme.domains[0]", "without wildcard"),
        ("tls: { acme: { domains: [a.example, ¶localhost] } }", "tls.acme.domains[1]", "such as example.org"),
        ("tls: { acme: { domains: [¶192.0.2.1] } }", "tls.acme.domains[0]", "such as example.org"),
        ("tls: { acme: { domains: [¶-a.example] } }", "tls.acme.domains[0]", "such as example.org"),
        (
            "tls: { acme: [{ domains: [a.example] }, { domains: [¶A.example] }] }",
            "tls.acme[1].domains[0]",
            "ordered at tls.acme[0].domains[0] already",
        ),
        ("tls: { acme: { domains: [a.example], email: ¶ops } }", "tls.acme.email", "an e-mail address"),
        ("tls: { acme: { domains: [a.example], challenge: ¶dns-01 } }", "tls.acme.challenge", "http-01, tls-alpn-01"),
        (
            "tls: { acme: { domains: [a.example], directory: ¶\"http://ca.example/dir\" } }",
            "tls.acme.directory",
            "letsencrypt-staging",
        ),
        ("tls: { acme: { domains: [a.example], eab: ¶{ key_id: a } } }", "tls.acme.eab", "\"hmac_key\" is missing"),
        (
            "tls: { acme: { domains: [a.example], eab: { key_id: a, hmac_key: ¶\"$\" } } }",
            "tls.acme.eab.hmac_key",
            "in base64url",
        ),
        ("tls: { acme: { domains: [a.example], ca: ¶none.pem } }", "tls.acme.ca", "cannot be read as PEM"),
        (
            "entrypoints: { a: { address: \"1.2.3.4:1\", tls: true } }\ntls: { acme: ¶{ domains: [a.example] } }",
            "tls.acme",
            "http-01 is answered on port 80",
        ),
        (
            "entrypoints: { a: { address: \"1.2.3.4:1\" } }\ntls: { acme: ¶{ domains: [a.example] } }",
            "tls.acme",
            "no entrypoint speaks TLS",
        ),
        (
            "entrypoints: { a: { address: \"1.2.3.4:1\", client_certificates: ¶{ ca: a.pem } } }",
            "entrypoints.a.client_certificates",
            "over TLS only",
        ),
        (
            "entrypoints: { a: { address: \"1.2.3.4:1\", tls: true, client_certificates: { ca: ¶a.pem } } }",
            "entrypoints.a.client_certificates.ca",
            "cannot be read as PEM",
        ),
    ] {
        hold("cfx.yaml", &format!("{text}\n{EDGE}"), path, part);
    }
    let asking = "upstreams: { a: { targets: [\"http://a\"] } }\n\
                  routes: [{ match: { path: / }, client_certificate: ¶required, upstream: a }]\n";
    hold("cfx.yaml", asking, "routes[0].client_certificate", "no entrypoint asks its clients");
}

#[test]
fn mistakes_in_routes() {
    for (text, path, part) in [
        ("¶[]", "routes", "no route"),
        ("¶a", "routes", "expected a list"),
        ("[¶{ match: { path: / } }]", "routes[0]", "goes nowhere"),
        ("[{ llm: a, upstream: ¶a }]", "routes[0].upstream", "beside llm"),
        ("[{ match: { path: ¶v1 }, llm: a }]", "routes[0].match.path", "begins with /"),
        ("[{ match: { path: ¶/a/../b }, upstream: a }]", "routes[0].match.path", "begins with /"),
        ("[¶{ match: { path: /api/ }, llm: a }]", "routes[0]", "answers /v1/"),
        ("[{ match: { host: ¶\"a:80\" }, upstream: a }]", "routes[0].match.host", "without scheme or port"),
        ("[{ match: { ¶hots: b }, upstream: a }]", "routes[0].match.hots", "did you mean \"host\"?"),
        (
            "[{ upstream: a }, { match: ¶{ path: / }, upstream: a }]",
            "routes[1].match",
            "same requests as routes[0] in line 2",
        ),
        ("[{ match: { path: /, exact: ¶/ }, llm: a }]", "routes[0].match.exact", "beside path"),
        ("[{ match: { host: ¶\"*example.org\" }, upstream: a }]", "routes[0].match.host", "or *.example.org"),
        ("[{ match: { methods: [GET, ¶post] }, upstream: a }]", "routes[0].match.methods[1]", "in capitals"),
        ("[{ match: { methods: ¶[] }, upstream: a }]", "routes[0].match.methods", "no method"),
        (
            "[{ match: { headers: { ¶\"x y\": a } }, upstream: a }]",
            "routes[0].match.headers[\"x y\"]",
            "no name of a header",
        ),
        (
            "[{ match: { methods: [PUT, GET] }, upstream: a }, { match: ¶{ methods: [GET, PUT] }, upstream: a }]",
            "routes[1].match",
            "same requests as routes[0] in line 2",
        ),
        ("[{ name: x, llm: a }, { name: ¶x, match: { path: /v1 }, llm: a }]", "routes[1].name", "of routes[0] already"),
        ("[{ llm: a }, ¶{ match: { host: b }, upstream: a }]", "routes[1]", "reach \"a\" without a key"),
    ] {
        let upstreams = "upstreams: { a: { targets: [\"http://a\"] } }";
        hold("cfx.yaml", &format!("{upstreams}\nroutes: {text}\n"), path, part);
    }
    let spoken = "upstreams: { a: { targets: [\"http://a\"], http2: always } }\nroutes: [{ upstream: ¶a }]\n";
    hold("cfx.yaml", spoken, "routes[0].upstream", "this route speaks HTTP/1.1");
    hold("cfx.yaml", "¶upstreams: {}\n", "", "\"routes\" is missing");
}

#[test]
fn mistakes_beside_the_stages() {
    for (text, path, part) in [
        ("default_stage: ¶direct", "default_stage", "is no stage, known here: plan, code, review"),
        ("default_stage: ¶reveiw", "default_stage", "did you mean \"review\"?"),
        ("embeddings: { model: ¶x }", "embeddings.model", "no model \"x\", known here: m, n"),
        ("embeddings: ¶on", "embeddings", "expected { model: … } or off"),
        ("completions: ¶{}", "completions", "\"model\" is missing"),
        ("direct: { enabled: ¶maybe }", "direct.enabled", "true or false"),
        ("direct: { deny: [m, ¶embed-large] }", "direct.deny[1]", "no model \"embed-large\""),
        ("direct: { max_tokens: ¶0 }", "direct.max_tokens", "from 1 to"),
        ("infer: [¶{ stage: code }]", "infer[0]", "matches every request"),
        ("infer: [¶{ has_diff: true }]", "infer[0]", "\"stage\" is missing"),
        ("infer: [{ last_user_message: ¶'[', stage: code }]", "infer[0].last_user_message", "unclosed character class"),
        ("prices_file: ¶nowhere.json", "prices_file", "\"nowhere.json\" cannot be read"),
        ("prices_file: ¶blank.md", "prices_file", "no JSON object"),
    ] {
        hold("models.yaml", &format!("{MODELS}{text}\n"), path, part);
    }
}

#[test]
fn mistakes_in_a_stage() {
    for (text, path, part) in [
        ("¶{}", "stages.plan", "\"model\" is missing"),
        ("{ model: ¶[m] }", "stages.plan.model", "expected text, found a list"),
        ("{ model: m, system: a, system_file: ¶blank.md }", "stages.plan.system_file", "beside system"),
        ("{ model: m, system_file: ¶blank.md }", "stages.plan.system_file", "\"blank.md\" is empty"),
        ("{ model: m, system_file: ¶nope.md }", "stages.plan.system_file", "\"nope.md\" cannot be read: No such file"),
        ("{ model: n, max_tokens: ¶200 }", "stages.plan.max_tokens", "more than max_output_tokens of \"n\""),
        ("{ model: m, temperature: ¶{ min: 1, max: 0.5 } }", "stages.plan.temperature", "above max"),
        ("{ model: m, temperature: { max: ¶3 } }", "stages.plan.temperature.max", "from 0 to 2"),
        ("{ model: m, fallback: ¶m }", "stages.plan.fallback", "the stage's model itself"),
        ("{ model: m, placement: ¶before }", "stages.plan.placement", "is no placement, known here: prepend, append"),
        ("{ model: m, timeouts: { total: ¶5 } }", "stages.plan.timeouts.total", "a duration"),
    ] {
        let models = "models: { m: {}, n: { max_output_tokens: 100 } }";
        let rest = "code: { model: m }\n  review: { model: m }";
        hold("models.yaml", &format!("{models}\nstages:\n  plan: {text}\n  {rest}\n"), path, part);
    }
    hold("models.yaml", "¶models: { m: {} }\n", "", "\"stages\" is missing");
}

#[test]
fn mistakes_in_a_model() {
    for (text, path, part) in [
        ("{ price: { input: ¶-1 } }", "models.m.price.input", "dollars per million"),
        ("{ price: { input: 1, ¶ouput: 2 } }", "models.m.price.ouput", "did you mean \"output\"?"),
        ("{ context_window: ¶200k }", "models.m.context_window", "a whole number"),
        ("{ vision: ¶\"true\" }", "models.m.vision", "true or false"),
        ("{}\n  ¶Plan: {}", "models.Plan", "is the name of a stage"),
        ("{}\n  ¶cfx-code: {}", "models.cfx-code", "is the name of a stage"),
        ("{}\n  ¶\"a b\": {}", "models[\"a b\"]", "without spaces"),
        ("{}\n  ¶m: {}", "models.m", "keep this one or the one on line 3"),
        ("{ price: {} }\n  ¶z: {}\nprices_file: good.json", "models.z", "prices_file has no \"z\""),
    ] {
        let stages = "stages: { plan: { model: m }, code: { model: m }, review: { model: m } }";
        hold("models.yaml", &format!("{stages}\nmodels:\n  m: {text}\n"), path, part);
    }
    let unreadable = "stages: { plan: { model: m }, code: { model: m }, review: { model: m } }\n\
                      models: { ¶m: {} }\nprices_file: bad.json\n";
    hold("models.yaml", unreadable, "models.m", "the entry of prices_file is no price");
}

#[test]
fn mistakes_in_limits() {
    for (text, path, part) in [
        ("¶daily_request: 5", "daily_request", "did you mean \"daily_requests\"?"),
        ("daily_requests: ¶-5", "daily_requests", "a whole number"),
        ("daily_requests: ¶5000000000", "daily_requests", "from 1 to 1000000000"),
        ("concurrent_streams: ¶0", "concurrent_streams", "from 1 to"),
        ("read_stall: ¶60", "read_stall", "a duration such"),
        ("upload_stall: ¶0s", "upload_stall", "more than nothing"),
        ("body: ¶10M", "body", "a size such as"),
        ("body: ¶1GiB", "body", "does not fit in body_memory"),
        ("body_memory: ¶1MiB", "body_memory", "does not fit in body_memory"),
        ("users: ¶[ada]", "users", "expected a mapping, found a list"),
        ("users: { ¶ada: {} }", "users.ada", "no e-mail address"),
        ("users:\n  a@b.c: { ¶daily_request: 1 }", "users[\"a@b.c\"].daily_request", "unknown key"),
        ("users: { a@b.c: {}, ¶A@b.c: {} }", "users[\"A@b.c\"]", "the same user twice"),
        ("¶- a", "", "expected a mapping, found a list"),
        ("daily_requests: 1\nbody: ¶*nowhere", "", "not YAML"),
    ] {
        hold("limits.yaml", text, path, part);
    }
}

#[test]
fn several_mistakes_of_one_file_are_all_told() {
    let text = "entrypoints:\n  http: { redirect: htps }\n  https: { adress: \"0.0.0.0:443\", tls: true }\n\
                upstreams: { a: { targets: [x, y] }, b: { targets: 5, timeouts: { total: 1 } } }\n\
                routes:\n  - { match: { path: /v1 }, llm: c }\n  - { match: { path: /v1/ }, llm: d }\n  - 7\n";
    let found = problems("cfx.yaml", text);
    let places: Vec<&str> = found.lines().filter_map(|line| line.split(": ").next()).collect();
    assert_eq!(
        places,
        [
            "cfx.yaml:2:9 entrypoints.http",
            "cfx.yaml:2:21 entrypoints.http.redirect",
            "cfx.yaml:3:10 entrypoints.https",
            "cfx.yaml:3:12 entrypoints.https.adress",
            "cfx.yaml:4:29 upstreams.a.targets[0]",
            "cfx.yaml:4:32 upstreams.a.targets[1]",
            "cfx.yaml:4:52 upstreams.b.targets",
            "cfx.yaml:4:74 upstreams.b.timeouts.total",
            "cfx.yaml:6:34 routes[0].llm",
            "cfx.yaml:7:14 routes[1].match",
            "cfx.yaml:7:35 routes[1].llm",
            "cfx.yaml:8:5 routes[2]",
        ],
        "{found}"
    );
}
