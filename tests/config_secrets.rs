//! A configuration is shown without what lets somebody in.
#![cfg(test)]

use cfx::config::{Overrides, Source, load};

#[test]
fn secrets_of_headers_and_of_the_collector_are_not_shown() {
    let edge = r#"
upstreams: { litellm: { targets: ["http://litellm:4000"] }, app: { targets: ["http://app:1"] } }
routes:
  - { match: { path: /v1/ }, llm: litellm }
  - match: { path: /app, headers: { x-edge: "${SECRET}" } }
    upstream: app
    request_headers: { set: { authorization: Basic a-secret, x-who: "one ${SECRET}" }, add: { x-plain: seen } }
telemetry: { traces: { endpoint: "http://ada:a-secret@collector:4318/v1/traces?key=a-secret" } }
"#;
    let models = "models: { a: {} }\nstages: { plan: { model: a }, code: { model: a }, review: { model: a } }\n";
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in [("cfx.yaml", edge), ("models.yaml", models)] {
        std::fs::write(directory.path().join(name), text).unwrap();
    }
    let source = Source::Directory(directory.path().to_path_buf());
    let env = |name: &str| (name == "SECRET").then(|| "a-secret".to_owned());
    let snapshot = load(&source, &Overrides::default(), &env).unwrap_or_else(|problems| panic!("{problems}"));
    let shown = snapshot.shown().to_string();
    assert!(!shown.contains("a-secret") && !format!("{snapshot:?}").contains("Basic a-secret"), "{shown}");
    assert!(shown.contains("http://***@collector:4318/v1/traces?key=***"), "{shown}");
    assert!(shown.contains(r#"["authorization","***"]"#) && shown.contains(r#"["x-plain","seen"]"#), "{shown}");
}
