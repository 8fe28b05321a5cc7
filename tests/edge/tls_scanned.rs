//! The default policy of TLS as those see it who look for faults in it: sslscan and testssl.sh, with `make soak`.

use std::process::{Command, Output};

use serde_json::Value;

use crate::harness::Harness;
use crate::harness::process::printed;

/// What testssl.sh says of a certificate that only tests trust, of the grade that it draws from that, and of the headers
/// by which an application guards its pages: `/health` has none.
const OF_THE_TEST: [&str; 4] = ["cert_", "overall_grade", "grade_cap_reason", "security_headers"];

fn said(program: &str, arguments: &[&str]) -> Output {
    let output = Command::new(program).args(arguments).output();
    output.unwrap_or_else(|error| panic!("{program}: {error}; scripts/setup soak installs it"))
}

#[test]
#[ignore = "needs sslscan, and half a minute: make soak"]
fn sslscan_finds_two_versions_and_no_weak_cipher() {
    let edge = Harness::start();
    let output = said("sslscan", &["--no-colour", "--sni-name=cfx.test", &edge.https.to_string()]);
    let text = printed(&output);
    println!("{text}");
    let line = |beginning: &str| {
        let found = text.lines().find(|line| line.starts_with(beginning)).unwrap_or_else(|| panic!("no {beginning}"));
        found[beginning.len()..].trim().to_string()
    };
    for (version, stands) in [
        ("SSLv2", "disabled"),
        ("SSLv3", "disabled"),
        ("TLSv1.0", "disabled"),
        ("TLSv1.1", "disabled"),
        ("TLSv1.2", "enabled"),
        ("TLSv1.3", "enabled"),
    ] {
        assert_eq!(line(version), stands, "{version}");
    }
    for sound in ["Session renegotiation not supported", "TLSv1.2 not vulnerable to heartbleed"] {
        assert!(text.contains(sound), "not said: {sound}");
    }
    assert!(!text.contains("Compression enabled"));
    let ciphers: Vec<&str> =
        text.lines().filter(|line| line.starts_with("Preferred") || line.starts_with("Accepted")).collect();
    assert!(ciphers.len() >= 6, "{ciphers:?}");
    for cipher in ciphers {
        let forward_secret = cipher.contains("ECDHE-") || cipher.contains("TLS_");
        let authenticated = cipher.contains("GCM") || cipher.contains("POLY1305");
        assert!(forward_secret && authenticated, "{cipher}");
    }
}

#[test]
#[ignore = "needs testssl.sh, and minutes: make soak"]
fn testssl_reports_nothing_above_low() {
    let edge = Harness::start();
    let file = edge.data().join("testssl.json");
    let program = if said("sh", &["-c", "command -v testssl"]).status.success() { "testssl" } else { "testssl.sh" };
    let name = format!("cfx.test:{}/health", edge.https.port());
    let output = said(
        program,
        &[
            "--quiet",
            "--color=0",
            "--warnings=batch",
            "--ip=127.0.0.1",
            "--jsonfile",
            &file.display().to_string(),
            &name,
        ],
    );
    println!("{}", printed(&output));
    let text = std::fs::read_to_string(&file).expect("testssl.sh writes what it finds");
    let found: Vec<Value> = serde_json::from_str(&text).expect("a list");
    let of = |finding: &Value, member: &str| finding[member].as_str().unwrap_or_default().to_string();
    // A warning is about the machine that it runs on.
    let above_low: Vec<String> = found
        .iter()
        .filter(|finding| !["OK", "INFO", "LOW", "DEBUG", "WARN"].contains(&of(finding, "severity").as_str()))
        .filter(|finding| !OF_THE_TEST.iter().any(|own| of(finding, "id").starts_with(own)))
        .map(|finding| format!("{} {}: {}", of(finding, "severity"), of(finding, "id"), of(finding, "finding")))
        .collect();
    assert_eq!(above_low, Vec::<String>::new());
    assert!(found.len() > 60, "it looked at no more than {} things", found.len());
}
