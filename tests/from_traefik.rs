//! `docs/from-traefik.md`: every snippet loads, and nothing of what Traefik offers is passed over.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use cfx::config::{Overrides, Source, load};

const PAGE: &str = include_str!("../docs/from-traefik.md");
const UPSTREAMS: &str =
    "upstreams: { app: { targets: [\"http://app:3000\"] }, auth: { targets: [\"http://auth:9000\"] } }\n";
const ROUTES: &str = "routes: [{ match: { path: /rest }, upstream: app }]\n";
const MODELS: &str = "models: { m: {} }\nstages: { plan: { model: m }, code: { model: m }, review: { model: m } }\n";
/// Of `ada`, whose password is nobody's.
const USERS: &str = "ada:$2y$05$abcdefghijklmnopqrstuuJHzJ2qbPXSVQ1sGJkCFoVPCpw6fQOGO\n";

/// The YAML between fences, each with the line that it begins at.
fn snippets() -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut inside = false;
    for (index, line) in PAGE.lines().enumerate() {
        match line {
            "```yaml" => {
                inside = true;
                found.push((index + 1, String::new()));
            }
            "```" => inside = false,
            line if inside => *found.last_mut().map(|(_, text)| text).unwrap() += &format!("{line}\n"),
            _ => {}
        }
    }
    found
}

/// The file that a snippet is a part of.
fn whole(snippet: &str) -> String {
    if snippet.starts_with('-') {
        let entries: String = snippet.lines().map(|line| format!("  {line}\n")).collect();
        return format!("{UPSTREAMS}routes:\n{entries}");
    }
    let lacking = [("upstreams:", UPSTREAMS), ("routes:", ROUTES)];
    let lacking = lacking.into_iter().filter(|(key, _)| !snippet.lines().any(|line| line.starts_with(key)));
    lacking.map(|(_, text)| text).collect::<String>() + snippet
}

/// What the snippets name.
fn folder() -> tempfile::TempDir {
    let conf = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("models.yaml", MODELS),
        ("users", USERS),
        ("404.html", "no"),
        ("5xx.html", "no"),
        ("soon.html", "soon"),
        ("robots.txt", ""),
    ] {
        std::fs::write(conf.path().join(name), text).unwrap();
    }
    conf
}

#[test]
fn every_snippet_loads() {
    let conf = folder();
    let snippets = snippets();
    assert!(snippets.len() > 20, "the page was read");
    for (line, snippet) in snippets {
        std::fs::write(conf.path().join("cfx.yaml"), whole(&snippet)).unwrap();
        let source = Source::Directory(conf.path().to_path_buf());
        let loaded = load(&source, &Overrides::default(), &|_| None);
        assert!(
            loaded.is_ok(),
            "line {line}:\n{snippet}\n{}",
            loaded.err().map(|problems| problems.to_string()).unwrap_or_default()
        );
    }
}

/// What cfx has to do that these do, with a key of the snippet that does it, and all that each can be told.
const OFFERED: [(&str, &str, &[&str]); 18] = [
    ("AddPrefix", "add_prefix:", &["prefix"]),
    ("BasicAuth", "basic_auth:", &["users", "usersFile", "realm", "headerField", "removeHeader"]),
    (
        "Buffering",
        "body:",
        &[
            "maxRequestBodyBytes",
            "memRequestBodyBytes",
            "maxResponseBodyBytes",
            "memResponseBodyBytes",
            "retryExpression",
        ],
    ),
    (
        "CircuitBreaker",
        "breaker:",
        &["expression", "checkPeriod", "fallbackDuration", "recoveryDuration", "responseCode"],
    ),
    (
        "Compress",
        "compress:",
        &["excludedContentTypes", "includedContentTypes", "minResponseBodyBytes", "encodings", "defaultEncoding"],
    ),
    ("Errors", "errors:", &["status", "service", "query", "statusRewrites"]),
    (
        "ForwardAuth",
        "forward_auth:",
        &[
            "address",
            "trustForwardHeader",
            "authResponseHeaders",
            "authResponseHeadersRegex",
            "authRequestHeaders",
            "addAuthCookiesToResponse",
            "headerField",
            "forwardBody",
            "maxBodySize",
            "preserveLocationHeader",
            "preserveRequestMethod",
        ],
    ),
    (
        "Headers",
        "cors:",
        &[
            "customRequestHeaders",
            "customResponseHeaders",
            "accessControlAllowCredentials",
            "accessControlAllowHeaders",
            "accessControlAllowMethods",
            "accessControlAllowOriginList",
            "accessControlAllowOriginListRegex",
            "accessControlExposeHeaders",
            "accessControlMaxAge",
            "addVaryHeader",
            "allowedHosts",
            "hostsProxyHeaders",
            "sslProxyHeaders",
            "stsSeconds",
            "stsIncludeSubdomains",
            "stsPreload",
            "forceSTSHeader",
            "frameDeny",
            "customFrameOptionsValue",
            "contentTypeNosniff",
            "browserXssFilter",
            "customBrowserXSSValue",
            "contentSecurityPolicy",
            "contentSecurityPolicyReportOnly",
            "publicKey",
            "referrerPolicy",
            "permissionsPolicy",
            "isDevelopment",
        ],
    ),
    ("IPAllowList", "allow:", &["sourceRange", "ipStrategy.depth", "ipStrategy.excludedIPs", "ipStrategy.ipv6Subnet"]),
    ("InFlightReq", "in_flight:", &["amount", "sourceCriterion.requestHeaderName", "requestHost"]),
    ("RateLimit", "rate_limit:", &["average", "period", "burst", "sourceCriterion", "redis"]),
    ("RedirectRegex", "redirect:", &["regex", "replacement", "permanent"]),
    ("RedirectScheme", "redirect:", &["scheme", "port", "permanent"]),
    ("ReplacePath", "rewrite:", &["path"]),
    ("ReplacePathRegex", "rewrite:", &["regex", "replacement"]),
    ("Retry", "targets:", &["attempts", "initialInterval"]),
    ("StripPrefix", "strip_prefix:", &["prefixes", "forceSlash"]),
    ("StripPrefixRegex", "rewrite:", &["regex"]),
];

/// Of what there is no snippet.
const ELSEWHERE: [&str; 6] =
    ["Chain", "ContentType", "DigestAuth", "EncodedCharacters", "GrpcWeb", "PassTLSClientCert"];

/// What the page says of a middleware.
fn section(name: &str) -> &'static str {
    let section = PAGE.split("\n### ").find(|section| section.starts_with(&format!("{name}\n")));
    let section = section.unwrap_or_else(|| unreachable!("{name} has no section"));
    section.split("\n## ").next().unwrap()
}

#[test]
fn every_middleware_that_cfx_stands_in_for_is_shown_with_all_its_options() {
    for (name, key, options) in OFFERED {
        let (prose, snippet) = section(name).split_once("```yaml\n").unwrap_or_else(|| unreachable!("{name}: show it"));
        assert!(snippet.split("```").next().unwrap().contains(key), "{name}: {key}");
        for option in options {
            assert!(prose.contains(&format!("{option}`")), "{name}: {option}");
        }
    }
}

#[test]
fn of_every_other_middleware_the_page_says_why_there_is_none() {
    for name in ELSEWHERE {
        let section = section(name);
        assert!(section.contains("not offered") || section.contains("not needed"), "{name}");
    }
}

#[test]
fn every_option_of_an_entrypoint_is_spoken_of() {
    const OPTIONS: [&str; 34] = [
        "address",
        "allowACMEByPass",
        "asDefault",
        "forwardedHeaders.insecure",
        "forwardedHeaders.trustedIPs",
        "forwardedHeaders.connection",
        "http.encodeQuerySemicolons",
        "http.encodedCharacters",
        "http.maxHeaderBytes",
        "http.middlewares",
        "http.redirections.entryPoint.to",
        "http.redirections.entryPoint.priority",
        "http.sanitizePath",
        "http.tls.certResolver",
        "http.tls.domains",
        "http.tls.options",
        "http2.maxConcurrentStreams",
        "http2.maxDecoderHeaderTableSize",
        "http2.maxEncoderHeaderTableSize",
        "http3.advertisedPort",
        "observability.accessLogs",
        "permanent",
        "proxyProtocol.insecure",
        "proxyProtocol.trustedIPs",
        "reusePort",
        "scheme",
        "transport.keepAliveMaxRequests",
        "transport.keepAliveMaxTime",
        "transport.lifeCycle.graceTimeOut",
        "transport.lifeCycle.requestAcceptGraceTimeout",
        "transport.respondingTimeouts.idleTimeout",
        "transport.respondingTimeouts.readTimeout",
        "transport.respondingTimeouts.writeTimeout",
        "udp.timeout",
    ];
    let section = PAGE.split("\n## Entrypoints").nth(1).unwrap();
    for option in OPTIONS {
        assert!(section.contains(&format!("`{option}`")), "{option}");
    }
    for timeout in OPTIONS.iter().filter(|option| option.starts_with("transport.")) {
        let row = section.lines().find(|line| line.contains(&format!("`{timeout}`"))).unwrap();
        assert!(!row.contains("not offered") && row.matches('`').count() >= 4, "{timeout}: {row}");
    }
}

/// The lines of the shipped file's route table that stand there as comments.
fn shipped_examples() -> String {
    let table = include_str!("../conf/cfx.yaml").split("\nroutes:\n").nth(1).unwrap();
    let lines = table.lines().take_while(|line| line.is_empty() || line.starts_with(' '));
    let examples = lines
        .filter_map(|line| line.strip_prefix("  # "))
        .filter(|line| line.starts_with("- ") || line.starts_with("  "));
    examples.map(|line| format!("  {line}\n")).collect()
}

#[test]
fn the_examples_of_the_shipped_table_load() {
    let conf = folder();
    let upstreams: String = ["wiki", "apps", "hooks", "app", "auth"]
        .iter()
        .map(|name| format!("  {name}: {{ targets: [\"http://{name}\"] }}\n"))
        .collect();
    let examples = shipped_examples();
    assert!(examples.lines().count() > 20, "{examples}");
    std::fs::write(conf.path().join("cfx.yaml"), format!("upstreams:\n{upstreams}routes:\n{examples}")).unwrap();
    let loaded = load(&Source::Directory(conf.path().to_path_buf()), &Overrides::default(), &|_| None);
    assert!(loaded.is_ok(), "{examples}\n{}", loaded.err().map(|problems| problems.to_string()).unwrap_or_default());
}
