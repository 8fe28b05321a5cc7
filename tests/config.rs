//! What an operator sees of the configuration: the shipped files load, every mistake has its line.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use cfx::config::{
    Action, CertificateFiles, Challenge, OnStoreOutage, Overrides, Problems, Snapshot, Source, TlsVersion, Transport,
    load,
};
use proptest::prelude::*;

fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn load_plain(source: &Source) -> Result<Snapshot, Problems> {
    load(source, &Overrides::default(), &|_| None)
}

fn embedded(overrides: &Overrides) -> Snapshot {
    load(&Source::Embedded, overrides, &|_| None).unwrap_or_else(|problems| panic!("{problems}"))
}

/// A directory of its own with these files; it lasts as long as the first value.
fn directory(files: &[(&str, &str)]) -> (tempfile::TempDir, Source) {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(directory.path().join(name), text).unwrap();
    }
    let source = Source::Directory(directory.path().to_path_buf());
    (directory, source)
}

/// Every problem as `file:line:column path`.
fn places(problems: &Problems) -> Vec<String> {
    let place = |problem: &cfx::config::Problem| {
        let file = Path::new(&problem.file).file_name().unwrap().to_string_lossy().into_owned();
        let (line, column) = (problem.line.unwrap_or(0), problem.column.unwrap_or(0));
        format!("{file}:{line}:{column} {}", problem.path)
    };
    problems.iter().map(place).collect()
}

const EDGE: &str = r#"
upstreams: { litellm: { targets: ["http://litellm:4000"] } }
routes: [{ match: { path: /v1/ }, llm: litellm }]
"#;
const MODELS: &str = r#"
models: { gpt-mini: {} }
stages: { plan: { model: gpt-mini }, code: { model: gpt-mini }, review: { model: gpt-mini } }
"#;

#[test]
fn the_shipped_directory_and_the_built_in_files_are_the_same_configuration() {
    let directory = load_plain(&Source::Directory(in_repository("conf"))).unwrap_or_else(|p| panic!("{p}"));
    assert_eq!(format!("{directory:#?}"), format!("{:#?}", embedded(&Overrides::default())));
}

#[test]
fn ten_mistakes_in_three_files_are_reported_at_once_with_their_places() {
    let problems = load_plain(&Source::Directory(in_repository("tests/fixtures/ten_mistakes"))).unwrap_err();
    assert_eq!(
        places(&problems),
        [
            "cfx.yaml:3:37 entrypoints.http.redirct",
            "cfx.yaml:4:21 entrypoints.https.address",
            "cfx.yaml:9:14 upstreams.litellm.api_key",
            "cfx.yaml:13:15 routes[1].upstream",
            "cfx.yaml:14:12 routes[2].match",
            "models.yaml:3:20 stages.code.model",
            "models.yaml:5:3 stages.plan",
            "models.yaml:7:26 infer[0].last_user_message",
            "models.yaml:10:3 models.cfx-review",
            "limits.yaml:2:21 concurrent_streams",
        ],
        "{problems}"
    );
}

#[test]
fn a_problem_says_what_would_put_it_right() {
    let source = Source::Directory(in_repository("tests/fixtures/ten_mistakes"));
    let problems = load_plain(&source).unwrap_err().to_string();
    for part in [
        "routes[1].upstream: no upstream \"dashbord\", did you mean \"dashboard\"?",
        "entrypoints.http.redirct: unknown key, did you mean \"redirect\"?",
        "stages.code.model: no model \"gpt-minni\", did you mean \"gpt-mini\"?",
        "the environment variable CFX_TEST_UNSET is not set, set it",
        "expected a whole number, found \"2\"",
        "is taken by entrypoints.http.address",
        "keep this one or the one on line 2",
    ] {
        assert!(problems.contains(part), "no {part:?} in:\n{problems}");
    }
}

#[test]
fn five_lines_are_enough() {
    let (_directory, source) = directory(&[("cfx.yaml", EDGE), ("models.yaml", MODELS)]);
    let snapshot = load_plain(&source).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(snapshot.limits.daily_requests, 1000);
    assert_eq!(snapshot.edge.entrypoints.len(), 1);
    assert_eq!(snapshot.edge.entrypoints[0].transport, Transport::Plain { redirect_to: None });
    assert_eq!(&*snapshot.models.plan.model.upstream_model, "gpt-mini");
}

#[test]
fn an_outage_of_the_store_is_counted_through_unless_told_to_refuse() {
    for (text, stance) in [
        ("", OnStoreOutage::Local),
        ("on_store_outage: local", OnStoreOutage::Local),
        ("on_store_outage: refuse", OnStoreOutage::Refuse),
    ] {
        let (_directory, source) = directory(&[("cfx.yaml", EDGE), ("models.yaml", MODELS), ("limits.yaml", text)]);
        let snapshot = load_plain(&source).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(snapshot.limits.on_store_outage, stance, "{text}");
    }
}

#[test]
fn a_file_that_is_no_yaml_is_one_problem_and_the_others_are_still_checked() {
    let files = [("cfx.yaml", "routes: [\n"), ("models.yaml", "modles: {}\n"), ("limits.yaml", "boddy: 1\n")];
    let (_directory, source) = directory(&files);
    let problems = load_plain(&source).unwrap_err();
    let of = |file: &str| places(&problems).iter().filter(|place| place.starts_with(file)).count();
    assert_eq!((of("cfx.yaml"), of("limits.yaml")), (1, 1), "{problems}");
    assert!(of("models.yaml") >= 3, "{problems}");
}

#[test]
fn missing_files_are_named() {
    let (directory, source) = directory(&[]);
    let problems = load_plain(&source).unwrap_err();
    assert_eq!(places(&problems), ["cfx.yaml:0:0 ", "models.yaml:0:0 "], "limits.yaml may be absent");
    let nowhere = Source::Directory(directory.path().join("nowhere"));
    assert!(load_plain(&nowhere).unwrap_err().to_string().contains("no such directory"));
}

#[test]
fn the_environment_fills_values_in_and_never_shows_in_messages() {
    let edge = r#"
upstreams:
  litellm: { targets: ["${URL}"], api_key: "${KEY:-}", timeouts: { total: "${TOTAL:-5m}" } }
routes: [{ match: { path: /v1/ }, llm: litellm }]
server: { threads: "${THREADS}" }
"#;
    let (_directory, source) = directory(&[("cfx.yaml", edge), ("models.yaml", MODELS)]);
    let env = |name: &str| match name {
        "URL" => Some("https://models.example.org".to_owned()),
        "KEY" => Some("12345".to_owned()),
        "THREADS" => Some("3".to_owned()),
        _ => None,
    };
    let snapshot = load(&source, &Overrides::default(), &env).unwrap_or_else(|problems| panic!("{problems}"));
    let upstream = &snapshot.edge.upstreams["litellm"];
    assert!(upstream.targets[0].tls);
    assert_eq!(upstream.targets[0].port, 443);
    assert_eq!(upstream.authorization.as_ref().map(|value| value.as_bytes()), Some(&b"Bearer 12345"[..]));
    assert_eq!(upstream.timeouts.total, Duration::from_secs(300));
    assert_eq!(snapshot.edge.server.threads, 3);

    let secret = |_: &str| Some("sk-secret".to_owned());
    let problems = load(&source, &Overrides::default(), &secret).unwrap_err();
    assert!(!format!("{problems}{problems:?}").contains("sk-secret"), "{problems}");
    let places = places(&problems);
    assert_eq!(places.len(), 3, "{problems}");
    assert_eq!(places[0], "cfx.yaml:3:24 upstreams.litellm.targets[0]");
}

#[test]
fn the_command_line_wins_over_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let certificates = CertificateFiles { cert: folder.path().join("a.pem"), key: folder.path().join("a.key") };
    std::fs::write(&certificates.cert, made.cert.pem()).unwrap();
    std::fs::write(&certificates.key, made.signing_key.serialize_pem()).unwrap();
    let snapshot = embedded(&Overrides {
        http: Some(([127, 0, 0, 1], 8080).into()),
        https: Some(([127, 0, 0, 1], 8443).into()),
        admin: Some(([127, 0, 0, 1], 9091).into()),
        upstream_url: Some("http://127.0.0.1:4001".to_owned()),
        redirect: None,
        dashboard: true,
        most_grace: Some(Duration::from_secs(3)),
        self_signed: Some(certificates.clone()),
    });
    let edge = &snapshot.edge;
    assert_eq!((edge.server.grace, edge.server.drain_after), (Duration::from_secs(3), None));
    assert_eq!(edge.entrypoints[0].address.port(), 8080);
    assert_eq!(edge.entrypoints[0].transport, Transport::Plain { redirect_to: Some(8443) });
    assert_eq!(edge.entrypoints[1].address.port(), 8443);
    assert_eq!(edge.admin.port(), 9091);
    assert_eq!((edge.certificates.len(), &edge.certificates[0].files), (1, &certificates));
    let of_models = edge.routes.iter().find(|route| &*route.name == "llm").unwrap();
    let Action::Llm(upstream) = &of_models.action else { panic!("{:?}", edge.routes) };
    assert_eq!(upstream.targets.len(), 1);
    assert_eq!(upstream.targets[0].port, 4001);
    assert_eq!(edge.upstreams["litellm"].targets, upstream.targets);
    assert!(matches!(edge.routes.last().unwrap().action, Action::Dashboard));
    assert!(edge.routes.iter().any(|route| route.action == Action::Control));

    let patient = embedded(&Overrides { most_grace: Some(Duration::from_secs(86_400)), ..Overrides::default() });
    assert_eq!(patient.edge.server.grace, Duration::from_secs(1_800), "what the file says is shorter");
    assert_eq!(embedded(&Overrides::default()).edge.server.drain_after, Some(Duration::from_secs(5)));
    let plain = embedded(&Overrides { redirect: Some(false), ..Overrides::default() });
    assert_eq!(plain.edge.entrypoints[0].transport, Transport::Plain { redirect_to: None });
}

#[test]
fn flags_that_cannot_be_are_problems_too() {
    let overrides = Overrides {
        upstream_url: Some("litellm:4000".to_owned()),
        http: Some(([0, 0, 0, 0], 9090).into()),
        ..Overrides::default()
    };
    let problems = load(&Source::Embedded, &overrides, &|_| None).unwrap_err();
    assert_eq!(problems.iter().len(), 2, "{problems}");
    assert!(problems.to_string().contains("--upstream: expected a URL"), "{problems}");
    assert!(problems.to_string().contains("both listen"), "{problems}");
}

#[test]
fn an_upstream_of_the_command_line_opens_no_way_around_the_keys() {
    let overrides = Overrides { upstream_url: Some("http://dashboard:3000".to_owned()), ..Overrides::default() };
    let problems = load(&Source::Embedded, &overrides, &|_| None).unwrap_err().to_string();
    assert!(
        problems.contains("--upstream: route \"dashboard\" would let requests reach \"litellm\" without a key"),
        "{problems}"
    );
}

#[test]
fn routes_are_most_specific_first() {
    let edge = r#"
upstreams: { web: { targets: ["http://web"] }, litellm: { targets: ["http://litellm:4000"] } }
routes:
  - { match: { path: / }, upstream: web }
  - { match: { path: /v1/ }, llm: litellm }
  - { match: { path: /docs }, upstream: web }
  - { name: wiki, match: { host: Wiki.Example.org }, upstream: web }
  - { name: under, match: { host: "*.example.org" }, upstream: web }
  - { match: { host: "*.example.org", path: /deep/er }, upstream: web }
  - { name: under-a, match: { host: "*.a.example.org" }, upstream: web }
  - { match: { host: wiki.example.org, path: /docs/ }, upstream: web }
  - { name: get, match: { host: wiki.example.org, path: /docs/, methods: [GET, HEAD] }, upstream: web }
  - { name: named, match: { host: wiki.example.org, path: /docs/, headers: { x-beta: "*" } }, upstream: web }
  - { match: { host: wiki.example.org, exact: /healthz }, upstream: web }
  - { name: probe, match: { exact: /docs }, upstream: web }
"#;
    let (_directory, source) = directory(&[("cfx.yaml", edge), ("models.yaml", MODELS)]);
    let snapshot = load_plain(&source).unwrap_or_else(|problems| panic!("{problems}"));
    let order = snapshot.edge.routes.iter().map(|route| &*route.name);
    let expected =
        ["/healthz", "named", "get", "/docs/", "wiki", "under-a", "/deep/er", "under", "probe", "/docs", "/v1/", "/"];
    assert_eq!(order.collect::<Vec<_>>(), expected);
}

#[test]
fn no_route_leads_around_the_keys() {
    let edge = r#"
upstreams:
  litellm: { targets: ["http://litellm:4000"] }
  same:    { targets: ["http://LITELLM:4000/"] }
routes:
  - { match: { path: /v1/ }, llm: litellm }
  - { match: { path: /ui/ }, upstream: same }
"#;
    let (_directory, source) = directory(&[("cfx.yaml", edge), ("models.yaml", MODELS)]);
    let problems = load_plain(&source).unwrap_err();
    assert_eq!(places(&problems), ["cfx.yaml:7:5 routes[1]"]);
}

#[test]
fn a_certificate_must_be_there_and_its_key_must_go_with_it() {
    let root = tempfile::tempdir().unwrap();
    let conf = root.path().join("conf");
    std::fs::create_dir_all(root.path().join("certs")).unwrap();
    std::fs::create_dir_all(&conf).unwrap();
    for name in ["a", "b"] {
        let made = rcgen::generate_simple_self_signed(vec![format!("{name}.example.org")]).unwrap();
        std::fs::write(root.path().join(format!("certs/{name}.pem")), made.cert.pem()).unwrap();
        std::fs::write(root.path().join(format!("certs/{name}.key")), made.signing_key.serialize_pem()).unwrap();
    }
    let with = |cert: &str, key: &str| {
        let tls = format!("tls: {{ certificates: [{{ cert: certs/{cert}, key: certs/{key} }}] }}\n");
        std::fs::write(conf.join("cfx.yaml"), format!("{EDGE}{tls}")).unwrap();
        std::fs::write(conf.join("models.yaml"), MODELS).unwrap();
        load_plain(&Source::Directory(conf.clone()))
    };
    let snapshot = with("a.pem", "a.key").unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(snapshot.edge.certificates[0].files.cert, root.path().join("certs/a.pem"));
    assert_eq!(snapshot.edge.entrypoints.len(), 2, "a certificate opens https");
    let wrong_key = with("a.pem", "b.key").unwrap_err();
    assert_eq!(places(&wrong_key), ["cfx.yaml:4:49 tls.certificates[0].key"], "{wrong_key}");
    let both_missing = with("nowhere.pem", "nowhere.key").unwrap_err();
    assert_eq!(both_missing.iter().len(), 2, "{both_missing}");
    let swapped = with("a.key", "a.pem").unwrap_err();
    assert_eq!(swapped.iter().len(), 2, "{swapped}");
}

#[test]
fn a_prices_file_fills_in_what_the_models_leave_out() {
    let models = r#"
prices_file: prices.json
models: { gpt-mini: { price: { output: 5 } }, deepseek: { upstream_model: deepseek-chat } }
stages: { plan: { model: gpt-mini }, code: { model: deepseek }, review: { model: gpt-mini } }
"#;
    let prices = r#"{
        "sample_spec": { "max_input_tokens": "prose" },
        "gpt-mini": { "input_cost_per_token": 7.5e-07, "output_cost_per_token": 4.5e-06, "supports_vision": true },
        "deepseek-chat": { "input_cost_per_token": 2.8e-07, "cache_read_input_token_cost": 2.8e-08,
                           "output_cost_per_token": 4.2e-07, "max_input_tokens": 131072, "max_output_tokens": 8192 }
    }"#;
    let (_directory, source) = directory(&[("cfx.yaml", EDGE), ("models.yaml", models), ("prices.json", prices)]);
    let snapshot = load_plain(&source).unwrap_or_else(|problems| panic!("{problems}"));
    let (mini, deepseek) = (&snapshot.models.aliases["gpt-mini"], &snapshot.models.aliases["deepseek"]);
    assert_eq!((mini.price.input, mini.price.output), (750_000_000, 5_000_000_000));
    assert!(mini.vision);
    assert_eq!((deepseek.price.cached_input, deepseek.price.cache_write), (28_000_000, 280_000_000));
    assert_eq!((deepseek.context_window, deepseek.max_output_tokens), (Some(131_072), Some(8192)));
}

/// Text that looks like the real files more often than chance would make it.
fn mangled() -> impl Strategy<Value = String> {
    let shipped = ["cfx.yaml", "models.yaml", "limits.yaml"]
        .map(|file| std::fs::read_to_string(in_repository("conf").join(file)).unwrap());
    let cut = (prop::sample::select(shipped.to_vec()), any::<prop::sample::Index>(), 0..40_usize, "[ -~\n]{0,6}");
    let cut = cut.prop_map(|(text, at, length, with)| {
        let mut letters: Vec<char> = text.chars().collect();
        let start = at.index(letters.len());
        let end = letters.len().min(start + length);
        letters.splice(start..end, with.chars());
        letters.into_iter().collect()
    });
    prop_oneof![cut, any::<String>(), "[\\[\\]{}:,'\"&*|>!${} a-z\n-]{0,80}"]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_it_panic(edge in mangled(), models in mangled(), limits in mangled()) {
        let files = [("cfx.yaml", edge.as_str()), ("models.yaml", &models), ("limits.yaml", &limits)];
        let (_directory, source) = directory(&files);
        if let Err(problems) = load_plain(&source) {
            prop_assert!(problems.iter().len() > 0);
        }
    }
}

#[test]
fn how_an_upstream_is_watched_has_defaults_that_fit_together() {
    let watched = |lines: &str| {
        let edge = EDGE.replace("\"http://litellm:4000\"]", &format!("\"http://litellm:4000\"]{lines}"));
        let (_folder, source) = directory(&[("cfx.yaml", &edge), ("models.yaml", MODELS)]);
        let snapshot = load_plain(&source).unwrap_or_else(|problems| panic!("{problems}"));
        let upstream = snapshot.edge.upstreams["litellm"].clone();
        (upstream.breaker, upstream.health.clone())
    };
    let seconds = Duration::from_secs;
    let (breaker, health) = watched("");
    assert_eq!((breaker.failures, breaker.open_for, health), (5, seconds(30), None));
    let (breaker, health) = watched(", breaker: { open_for: 5s }, health: { path: /health }");
    let health = health.unwrap();
    assert_eq!((breaker.failures, breaker.open_for), (5, seconds(5)));
    assert_eq!((health.interval, health.timeout, health.healthy, health.unhealthy), (seconds(10), seconds(2), 2, 3));
    let (_, health) = watched(", health: { path: /health, interval: 1s }");
    assert_eq!(health.unwrap().timeout, seconds(1), "a check ends before the next begins");
}

#[test]
fn who_issues_certificates_is_said_in_a_line_and_opens_https() {
    let acme = "tls: { acme: { email: ops@example.org, domains: [Example.org, www.example.org] } }\n";
    let (_folder, source) = directory(&[("cfx.yaml", &format!("{EDGE}{acme}")), ("models.yaml", MODELS)]);
    let edge = load_plain(&source).unwrap_or_else(|problems| panic!("{problems}")).edge;
    assert_eq!(edge.entrypoints.len(), 2, "http for the challenge, https for the certificate");
    assert_eq!(edge.min_tls_version, TlsVersion::V1_2);
    let [issuer] = &edge.issuers[..] else { panic!("one CA") };
    assert_eq!(issuer.directory, "https://acme-v02.api.letsencrypt.org/directory");
    assert_eq!(issuer.domains, ["example.org", "www.example.org"]);
    assert_eq!((issuer.challenge, issuer.external_account.as_ref()), (Challenge::Http01, None));

    let several = "entrypoints: { https: { address: \"127.0.0.1:443\", tls: true } }\n\
                   tls:\n  min_version: 1.3\n  acme:\n    - { domains: [a.example], challenge: tls-alpn-01 }\n    \
                   - { domains: [b.example], challenge: tls-alpn-01, directory: zerossl,\n        \
                   eab: { key_id: mine, hmac_key: \"c2VjcmV0LWtleQ==\" } }\n";
    let (_folder, source) = directory(&[("cfx.yaml", &format!("{EDGE}{several}")), ("models.yaml", MODELS)]);
    let edge = load_plain(&source).unwrap_or_else(|problems| panic!("{problems}")).edge;
    assert_eq!((edge.issuers.len(), edge.min_tls_version), (2, TlsVersion::V1_3));
    assert_eq!(edge.issuers[1].external_account.as_ref().map(|account| account.key_id.as_str()), Some("mine"));
    assert!(!format!("{edge:?}").contains("c2VjcmV0"), "a secret is not printed");
}
