//! What may stand in the three files, as JSON Schemas for editors. The checks are what decides: a schema knows no reference
//! from one value to another, and its patterns are hints. Its keys are held against theirs by a test.

use serde_json::{Map, Value, json};

use super::schema_routes;

/// The files that have one.
pub const FILES: [&str; 3] = ["cfx", "models", "limits"];

/// The schema of `cfx.yaml`, `models.yaml` or `limits.yaml`, by the part of its name before the dot.
pub fn schema(file: &str) -> Option<Value> {
    let (mut schema, title) = match file {
        "cfx" => (edge(), "The edge: what it listens on, where requests go"),
        "models" => (models(), "Stages, and the models behind them"),
        "limits" => (limits(), "What one user, and one edge, may have at once"),
        _ => return None,
    };
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!(format!("{file}.yaml of cfx"));
    schema["description"] = json!(title);
    Some(schema)
}

fn identity() -> Value {
    object(&[
        ("registration", words(&["closed", "invited", "open"], "Who may make an account. Default: invited.")),
        ("session", span("How long a session holds that is not refreshed. Default: 12h.")),
        (
            "supabase",
            object(&[
                ("url", text("The project's URL, such as https://abc.supabase.co.")),
                ("jwt_secret", text("Its older way to sign. Absent: its public keys are fetched.")),
                (
                    "anon_key",
                    text("Its public key. Absent: its users sign in with its tokens, not with their passwords."),
                ),
                ("audience", text("What tokens must be for. Default: authenticated.")),
            ]),
        ),
    ])
}

fn edge() -> Value {
    let client_certificates = object(&[
        ("ca", text("The PEM file of the CAs whose certificates clients may show.")),
        ("required", flag("Whether a client without one gets no connection. Default: true.")),
    ]);
    let entrypoint = object(&[
        ("address", text("An IP address with its port, such as 0.0.0.0:443.")),
        ("tls", flag("Whether TLS is spoken. It needs a certificate.")),
        ("http2", flag("Whether HTTP/2 is offered over TLS. Default: true.")),
        ("client_certificates", client_certificates),
        ("redirect", text("The https entrypoint that everything but /health and /ready is sent to.")),
        ("proxy_protocol", flag("Whether trusted proxies begin with a PROXY header. Default: false.")),
    ]);
    let certificate = object(&[
        ("cert", text("The PEM file of the chain, the leaf first.")),
        ("key", text("The PEM file of its private key.")),
    ]);
    let spool = object(&[
        ("size", size("The most it may take of the disk. Default: 1GiB.")),
        ("fsync", words(&["off", "each"], "Whether a request waits until the disk has its record.")),
        ("on_full", words(&["refuse", "drop"], "What becomes of requests that find no room.")),
    ]);
    object(&[
        (
            "entrypoints",
            named(
                entrypoint,
                "The public listeners, by name. A change of `address`, `tls` or `proxy_protocol` takes a restart.",
            ),
        ),
        (
            "admin",
            object(&[
                ("address", text("Metrics, health, configuration; never to be published. Default: 127.0.0.1:9090.")),
                ("token", text("What /-/reload and /-/config are to be shown as Authorization: Bearer.")),
            ]),
        ),
        (
            "tls",
            object(&[
                ("certificates", list(certificate, "The first answers clients that ask for no name.")),
                ("min_version", any(&[number(""), words(&["1.2", "1.3"], "")], "Default: 1.2.")),
                ("acme", any(&[issuer(), list(issuer(), "")], "Whom further certificates are ordered from.")),
            ]),
        ),
        ("upstreams", named(upstream(), "Where requests go, by name.")),
        ("routes", list(schema_routes::route(), "The most specific answers, whatever the order.")),
        ("trusted_proxies", list(text("An address or a network."), "Whose word on who the client is counts.")),
        ("client_header", text("x-forwarded-for (the default), forwarded, or a header that holds one address.")),
        ("guards", guards()),
        ("identity", identity()),
        (
            "control",
            object(&[(
                "address",
                text("Where the control API listens for a dashboard elsewhere; never to be published."),
            )]),
        ),
        (
            "ledger",
            object(&[
                ("retention", text("Months besides the present one whose rows Postgres keeps: 13 months.")),
                ("spool", spool),
            ]),
        ),
        ("telemetry", telemetry()),
        (
            "server",
            object(&[
                (
                    "threads",
                    any(&[whole(""), words(&["auto"], "")], "Default: auto, one a core. A change takes a restart."),
                ),
                ("grace", span("How long open streams may go on behind a stop. Default: 30m.")),
                (
                    "drain_after",
                    span_or_off("How long connections are accepted behind a stop, where somebody asks for readiness."),
                ),
            ]),
        ),
    ])
}

fn guards() -> Value {
    let or = |word: &str, value: Value, what: &str| any(&[value, words(&[word], "")], what);
    object(&[
        ("header_timeout", span("From a head's first byte to its last. Default: 15s.")),
        ("header_bytes", size("Of a request line and its headers. Default: 32KiB. A change takes a restart.")),
        ("headers", whole("Lines of one request. Default: 100.")),
        ("idle", span("Between two requests of a connection. Default: 60s.")),
        ("requests_per_connection", or("off", whole(""), "Over HTTP/1.1. Default: off.")),
        ("connection_age", span_or_off("Over HTTP/1.1: the first answer after it is the last. Default: off.")),
        ("connections", or("auto", whole(""), "At once, on all entrypoints. Default: auto, by descriptors.")),
        ("connections_per_address", or("auto", whole(""), "Of IPv6 by /64. Default: auto, half of `connections`.")),
        ("http2_streams", whole("At once on one connection. Default: 128. A change takes a restart.")),
        ("encoded_slash", words(&["refuse", "pass"], "What becomes of %2F in a path. Default: refuse.")),
        (
            "underscores",
            words(&["drop", "pass", "refuse"], "Of header names, towards web applications. Default: drop."),
        ),
    ])
}

fn telemetry() -> Value {
    let traces = object(&[
        (
            "endpoint",
            text("By OTLP over HTTP: the whole URL, http://collector:4318/v1/traces. A change takes a restart."),
        ),
        ("sample", number("The share of requests that are traced: 0 to 1. Default: 1.")),
    ]);
    object(&[
        ("access_log", object(&[("fields", list(text("A field's name."), "What a line says."))])),
        ("traces", traces),
    ])
}

fn issuer() -> Value {
    let account = object(&[("key_id", text("As the CA names it.")), ("hmac_key", text("In base64."))]);
    object(&[
        ("email", text("Whom the CA may write to.")),
        ("domains", list(text("A name without a star."), "Each gets a certificate of its own.")),
        ("challenge", words(&["http-01", "tls-alpn-01"], "Answered on port 80 or 443. Default: http-01.")),
        ("directory", text("The URL of the CA's directory. Default: Let's Encrypt's.")),
        ("eab", account),
        ("ca", text("The PEM file that the directory's own certificate is trusted by.")),
    ])
}

fn upstream() -> Value {
    let weighted = object(&[("url", text("")), ("weight", whole("Its share of the requests. Default: 1."))]);
    let target = any(&[text("A URL such as http://litellm:4000."), weighted], "");
    let health = object(&[
        ("path", text("What is asked for by GET.")),
        ("interval", span("Between two checks. Default: 10s.")),
        ("timeout", span("Of one check. Default: 2s.")),
        ("healthy", whole("Checks passed in a row after which a target is used again. Default: 2.")),
        ("unhealthy", whole("Checks failed in a row after which it is left out. Default: 3.")),
    ]);
    let breaker = object(&[
        ("failures", whole("In a row, after which nothing is sent for a while. Default: 5.")),
        ("open_for", span("How long nothing is sent. Default: 30s.")),
    ]);
    object(&[
        ("targets", list(target, "Of several the least busy for its weight is asked.")),
        ("api_key", text("Sent as Authorization: Bearer by llm routes. Take it from the environment.")),
        ("http2", words(&["auto", "off", "always"], "Whether HTTP/2 is spoken to the targets. Default: auto.")),
        ("timeouts", timeouts()),
        ("keep_alive", span_or_off("After so much silence a stream's client is sent a comment. Default: 15s.")),
        ("breaker", breaker),
        ("health", health),
    ])
}

pub(super) fn timeouts() -> Value {
    object(&[
        ("connect", span("Until a connection stands. Default: 10s.")),
        ("first_byte", span("Of streams: until the answer's head. Default: 120s.")),
        ("between_chunks", span("Of streams: between two pieces. Default: 120s.")),
        ("total", span("Of the whole exchange. Default: 30m.")),
        ("commit_after", span_or_off("After so long a stream gets its 200 before the model answers. Default: off.")),
    ])
}

fn models() -> Value {
    const STAGES: [&str; 3] = ["plan", "code", "review"];
    let stage = || {
        object(&[
            ("model", text("One of `models`.")),
            ("system", text("The stage's system prompt.")),
            ("system_file", text("The file that holds it, relative to this folder.")),
            (
                "placement",
                words(&["prepend", "append"], "Before all other messages, or behind the first system message."),
            ),
            ("max_tokens", whole("The most that a request may ask for.")),
            ("temperature", object(&[("min", number("From 0 to 2.")), ("max", number("From 0 to 2."))])),
            ("fallback", text("Asked once where the model cannot be reached or fails before it answers.")),
            ("timeouts", timeouts()),
        ])
    };
    let passed = |what: &str| any(&[words(&["off"], ""), object(&[("model", text("One of `models`."))])], what);
    let rule = object(&[
        ("last_user_message", text("A regular expression.")),
        ("has_diff", flag("Whether the last user message carries a unified diff.")),
        ("has_tools", flag("Whether the request carries tools.")),
        ("stage", words(&STAGES, "What the rule chooses.")),
    ]);
    let names = || list(text("One of `models`."), "");
    let direct = object(&[
        ("enabled", flag("Whether requests may name a model themselves.")),
        ("allow", names()),
        ("deny", names()),
        ("max_tokens", whole("The most that such a request may ask for.")),
    ]);
    let price = object(&[
        ("input", dollars()),
        ("cached_input", dollars()),
        ("cache_write", dollars()),
        ("output", dollars()),
        ("reasoning", dollars()),
    ]);
    let model = object(&[
        ("upstream_model", text("The upstream's own name for it. Default: the alias.")),
        ("price", price),
        ("context_window", whole("In tokens.")),
        ("max_output_tokens", whole("In tokens.")),
        ("vision", flag("Whether it reads images.")),
    ]);
    object(&[
        ("default_stage", words(&STAGES, "Where nothing else says which. Default: plan.")),
        ("stages", object(&STAGES.map(|name| (name, stage())))),
        ("embeddings", passed("Who answers /v1/embeddings.")),
        ("completions", passed("Who answers /v1/completions.")),
        ("infer", list(rule, "The first rule whose conditions all hold decides.")),
        ("direct", direct),
        ("models", named(model, "By alias.")),
        ("prices_file", text("In the format of LiteLLM's model_prices_and_context_window.json.")),
    ])
}

fn limits() -> Value {
    let count = |what: &str| whole(what);
    let user = object(&[
        ("daily_requests", count("Per UTC day. 0 keeps the user out.")),
        ("concurrent_streams", count("At once.")),
        ("concurrent_requests", count("At once, streams included.")),
    ]);
    object(&[
        ("daily_requests", count("Per user and UTC day. Default: 1000.")),
        ("concurrent_streams", count("Per user. Default: 2.")),
        ("concurrent_requests", count("Per user, streams included. Default: 16.")),
        ("body", size("Of one request. Default: 10MiB.")),
        ("in_flight", count("Per edge. Default: 20000.")),
        ("streams_in_flight", count("Per edge. Default: 10000.")),
        ("body_memory", size("Of all request bodies together. Default: 512MiB.")),
        ("answer_memory", size("Of web answers that wait for their clients, all together. Default: 256MiB.")),
        ("upload_stall", span("Between two pieces of a request. Default: 30s.")),
        ("read_stall", span("That an answer may wait to be read. Default: 60s.")),
        (
            "on_store_outage",
            words(&["local", "refuse"], "While the store of the counters is away. A change takes a restart."),
        ),
        ("users", named(user, "One user's own values, by e-mail address.")),
    ])
}

/// A mapping with these keys and no other. Any may be left empty, which is as if it were not there.
pub(super) fn object(properties: &[(&str, Value)]) -> Value {
    let properties = properties.iter().map(|(key, value)| ((*key).to_owned(), or_nothing(value.clone())));
    json!({
        "type": "object",
        "properties": properties.collect::<Map<_, _>>(),
        "additionalProperties": false,
    })
}

pub(super) fn named(value: Value, what: &str) -> Value {
    described(json!({ "type": "object", "additionalProperties": or_nothing(value) }), what)
}

pub(super) fn list(items: Value, what: &str) -> Value {
    described(json!({ "type": "array", "items": items }), what)
}

pub(super) fn any(of: &[Value], what: &str) -> Value {
    described(json!({ "anyOf": of }), what)
}

/// Text, and whatever else YAML makes of letters and digits.
pub(super) fn text(what: &str) -> Value {
    described(json!({ "type": ["string", "number", "boolean"] }), what)
}

pub(super) fn words(words: &[&str], what: &str) -> Value {
    let mut words: Vec<Value> = words.iter().map(|word| json!(word)).collect();
    if words.contains(&json!("off")) {
        words.push(json!(false)); // what `off` is to an editor that reads YAML 1.1
    }
    described(json!({ "anyOf": [{ "enum": words }, variable()] }), what)
}

pub(super) fn flag(what: &str) -> Value {
    described(json!({ "anyOf": [{ "type": "boolean" }, variable()] }), what)
}

pub(super) fn whole(what: &str) -> Value {
    described(json!({ "anyOf": [{ "type": "integer", "minimum": 0 }, variable()] }), what)
}

fn number(what: &str) -> Value {
    described(json!({ "anyOf": [{ "type": "number" }, variable()] }), what)
}

fn dollars() -> Value {
    number("USD per million tokens.")
}

pub(super) fn size(what: &str) -> Value {
    let written = json!({ "type": "string", "pattern": "^[0-9]+ *(B|KiB|MiB|GiB|KB|kB|MB|GB)?$" });
    described(json!({ "anyOf": [{ "type": "integer", "minimum": 1 }, written, variable()] }), what)
}

pub(super) fn span(what: &str) -> Value {
    described(json!({ "anyOf": [written_span(), variable()] }), what)
}

fn span_or_off(what: &str) -> Value {
    any(&[written_span(), words(&["off"], "")], what)
}

fn written_span() -> Value {
    json!({ "type": "string", "pattern": "^([0-9]+(ms|s|m|h|d))+$" })
}

/// The environment may fill in any value.
fn variable() -> Value {
    json!({ "type": "string", "pattern": "\\$\\{" })
}

fn described(mut schema: Value, what: &str) -> Value {
    if !what.is_empty() {
        schema["description"] = json!(what);
    }
    schema
}

fn or_nothing(mut schema: Value) -> Value {
    match schema.get_mut("type") {
        Some(Value::Array(types)) => types.push(json!("null")),
        Some(one) => *one = json!([one.take(), "null"]),
        None => {
            if let Some(Value::Array(of)) = schema.get_mut("anyOf") {
                of.push(json!({ "type": "null" }));
            }
        }
    }
    schema
}

#[cfg(test)]
#[path = "schema_tests.rs"]
mod tests;
