//! docker-compose.yml and the image: who meets whom, who holds which secret, and that nothing runs as root.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use super::{shipped, text, yaml};

/// Variables of .env that are secrets or lead to them, and the only services that may be given each: the table of
/// docs/threat-model.md. Whatever else a service is given is in [`HARMLESS`].
const SECRETS: &[(&str, &[&str])] = &[
    ("KEY_HASH_PEPPER", &["cfx"]),
    ("DATABASE_URL", &["cfx"]),
    ("DIRECT_DATABASE_URL", &["cfx"]),
    ("REDIS_URL", &["cfx"]),
    ("CFX_ADMIN_TOKEN", &["cfx"]),
    ("LITELLM_MASTER_KEY", &["cfx", "litellm"]),
    ("ANTHROPIC_API_KEY", &["litellm"]),
    ("DEEPSEEK_API_KEY", &["litellm"]),
    ("OPENAI_API_KEY", &["litellm"]),
    ("DASHBOARD_DATABASE_URL", &["dashboard"]),
    ("SUPABASE_ANON_KEY", &["cfx"]),
    ("SUPABASE_JWT_SECRET", &["cfx"]),
    ("POSTGRES_PASSWORD", &["postgres"]),
    ("GRAFANA_PASSWORD", &["grafana"]),
];

/// Addresses and the names of files.
const HARMLESS: [&str; 9] = [
    "CFX_CONTROL",
    "CFX_DASHBOARD",
    "CFX_DASHBOARD_PAGES",
    "CFX_OTLP_ENDPOINT",
    "CFX_PUBLIC_URL",
    "CFX_TLS_CERT",
    "CFX_TLS_KEY",
    "DASHBOARD_URL",
    "SUPABASE_URL",
];

fn services() -> BTreeMap<String, Value> {
    let compose = yaml("docker-compose.yml");
    compose["services"].as_object().unwrap().iter().map(|(name, service)| (name.clone(), service.clone())).collect()
}

/// The variables of .env in a text: `${NAME}`, `${NAME:-default}`, `${NAME:?message}`.
fn variables(text: &str) -> BTreeSet<String> {
    text.split("${").skip(1).map(|rest| rest.split([':', '}']).next().unwrap().to_owned()).collect()
}

fn networks(service: &Value) -> BTreeSet<String> {
    service["networks"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

#[test]
fn only_cfx_publishes_ports_and_only_80_and_443() {
    let compose = yaml("docker-compose.yml");
    for (name, service) in compose["services"].as_object().unwrap() {
        let ports = service.get("ports").map(|ports| ports.as_array().unwrap().clone()).unwrap_or_default();
        let expected: &[&str] = if name == "cfx" { &["80:80", "443:443"] } else { &[] };
        assert_eq!(ports, expected, "{name}");
        assert!(service.get("network_mode").is_none(), "{name} must not share the host's network");
    }
}

#[test]
fn nothing_cuts_a_stream_before_its_own_time() {
    let edge = shipped().edge;
    let compose = yaml("docker-compose.yml");
    let stop = compose["services"]["cfx"]["stop_grace_period"].as_str().unwrap();
    let stop = Duration::from_secs(60 * stop.strip_suffix('m').unwrap().parse::<u64>().unwrap());
    let longest = edge.upstreams.values().map(|upstream| upstream.timeouts.total).max().unwrap();
    assert!(longest <= edge.server.grace, "{longest:?} > {:?}", edge.server.grace);
    let leaving = edge.server.grace + edge.server.drain_after.unwrap_or_default();
    assert!(leaving < stop, "{leaving:?} >= {stop:?}");
    let unit = text("systemd/cfx.service");
    let killed = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")?.strip_suffix("min")).unwrap();
    let killed = Duration::from_secs(60 * killed.parse::<u64>().unwrap());
    assert!(leaving < killed, "{leaving:?} >= {killed:?}");
    let depends = compose["services"]["cfx"]["depends_on"].as_object().unwrap();
    assert!(depends.contains_key("litellm"), "LiteLLM must stop after cfx");
}

#[test]
fn no_service_holds_a_secret_that_is_not_its_own() {
    for (name, service) in services() {
        assert!(service.get("env_file").is_none(), "{name} would be given all of .env");
        let given = service.get("environment").map(Value::to_string).unwrap_or_default();
        let everything = variables(&service.to_string());
        let held = variables(&given);
        for variable in &everything {
            let of_the_image = variable.ends_with("_IMAGE");
            assert!(held.contains(variable) || of_the_image, "{name}: {variable} belongs under environment, if at all");
        }
        for variable in &held {
            let known = SECRETS.iter().find(|(secret, _)| secret == variable);
            match known {
                Some((_, owners)) => assert!(owners.contains(&name.as_str()), "{name} must not hold {variable}"),
                None => assert!(HARMLESS.contains(&variable.as_str()), "{name}: is {variable} a secret?"),
            }
        }
    }
}

#[test]
fn the_threat_model_says_who_holds_which_secret() {
    let page = text("docs/threat-model.md");
    for (secret, owners) in SECRETS {
        let row = page.lines().find(|line| line.starts_with("| ") && line.contains(&format!("`{secret}`")));
        let row = row.unwrap_or_else(|| panic!("no row for {secret}"));
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        assert_eq!(cells[2], owners.join(", "), "{secret}");
    }
}

#[test]
fn whoever_has_no_business_with_each_other_has_no_network_in_common() {
    let services = services();
    let meet = |one: &str, other: &str| -> Vec<String> {
        networks(&services[one]).intersection(&networks(&services[other])).cloned().collect()
    };
    assert_eq!(meet("cfx", "litellm"), ["backend"]);
    for store in ["postgres", "redis"] {
        assert_eq!(meet("cfx", store).len(), 1);
        assert!(meet("litellm", store).is_empty(), "LiteLLM must not reach {store}");
    }
    assert!(meet("dashboard", "redis").is_empty());
    assert!(meet("dashboard", "litellm").is_empty(), "not even on their way out");
    for reader in ["prometheus", "grafana"] {
        assert_eq!(networks(&services[reader]), BTreeSet::from(["metrics".to_owned()]));
    }
    // Only these have a way out: cfx to its clients, LiteLLM and a dashboard to others' APIs.
    let compose = yaml("docker-compose.yml");
    let closed = |network: &str| compose["networks"][network]["internal"] == true;
    let with_a_way_out: BTreeSet<&str> = services
        .iter()
        .filter(|(_, service)| networks(service).iter().any(|network| !closed(network)))
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(with_a_way_out, BTreeSet::from(["cfx", "dashboard", "litellm"]));
    assert_eq!(meet("cfx", "dashboard"), ["database", "web"]);
}

#[test]
fn what_is_optional_is_behind_a_profile_and_starts_before_cfx() {
    let services = services();
    for (name, service) in &services {
        let profiles = service.get("profiles").map(|profiles| profiles.as_array().unwrap().len());
        let optional = !["cfx", "litellm"].contains(&name.as_str());
        assert_eq!(profiles, optional.then_some(1), "{name}");
    }
    for store in ["postgres", "redis"] {
        let wanted = &services["cfx"]["depends_on"][store];
        assert_eq!((&wanted["condition"], &wanted["required"]), (&"service_healthy".into(), &false.into()), "{store}");
        assert!(services[store].get("healthcheck").is_some(), "{store}");
    }
}

#[test]
fn cfx_is_no_root_and_writes_to_its_volume_alone() {
    let cfx = &services()["cfx"];
    assert_eq!(cfx["read_only"], true);
    assert_eq!(cfx["cap_drop"], serde_json::json!(["ALL"]));
    assert_eq!(cfx["security_opt"], serde_json::json!(["no-new-privileges:true"]));
    for volume in cfx["volumes"].as_array().unwrap() {
        let volume = volume.as_str().unwrap();
        assert!(volume == "data:/app/data" || volume.ends_with(":ro"), "{volume}");
    }
    let image = text("Dockerfile");
    let last = |instruction: &str| image.lines().rfind(|line| line.starts_with(instruction)).unwrap_or_default();
    assert_eq!(last("USER "), "USER 10001:10001");
    assert_eq!(last("FROM "), "FROM scratch");
    assert!(image.contains("\nHEALTHCHECK "));
}

/// With another its profile is of no use, and the image would be slower without a word.
#[test]
fn the_image_is_built_by_the_compiler_that_its_profile_is_of() {
    let (image, compiler) = (text("Dockerfile"), text("pgo/rustc"));
    let release = compiler.lines().find_map(|line| line.strip_prefix("release: ")).unwrap();
    assert!(image.contains(&format!("\nFROM rust:{release}-bookworm AS build\n")), "{release}");
    assert!(image.contains(" scripts/release-build "));
}

#[test]
fn every_variable_of_the_compose_file_is_explained_in_the_example() {
    let example = text(".env.example");
    for name in variables(&text("docker-compose.yml")).iter().filter(|name| !name.ends_with("_IMAGE")) {
        assert!(example.contains(&format!("\n{name}=")), "{name} is not in .env.example");
    }
    for line in example.lines().filter(|line| !line.starts_with('#')) {
        let Some((name, value)) = line.split_once('=') else { continue };
        assert!(value.is_empty() || HARMLESS.contains(&name), "{name} must not have a value that someone would keep");
    }
}
