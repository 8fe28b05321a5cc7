//! The files that ship: they agree with each other, and nothing but cfx is on the internet.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cfx::config::{Overrides, Snapshot, Source, load};
use serde_json::Value;

fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn yaml(path: &str) -> Value {
    let text = std::fs::read_to_string(in_repository(path)).unwrap();
    serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn shipped() -> Snapshot {
    let source = Source::Directory(in_repository("conf"));
    load(&source, &Overrides::default(), &|_| None).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn every_yaml_file_under_conf_is_loaded_by_a_test() {
    let files = std::fs::read_dir(in_repository("conf")).unwrap().map(|file| file.unwrap().file_name());
    let yaml: BTreeSet<String> =
        files.filter_map(|name| name.into_string().ok()).filter(|name| name.ends_with(".yaml")).collect();
    let loaded = ["cfx.yaml", "limits.yaml", "litellm.yaml", "models.yaml"].map(str::to_owned);
    assert_eq!(yaml, BTreeSet::from(loaded), "a new file needs a test that loads it");
}

#[test]
fn the_files_name_their_schemas_which_are_those_that_cfx_prints() {
    for file in ["cfx", "models", "limits"] {
        let text = std::fs::read_to_string(in_repository(&format!("conf/{file}.yaml"))).unwrap();
        assert_eq!(text.lines().next(), Some(&*format!("# yaml-language-server: $schema=schema/{file}.json")));
        let schema = std::fs::read_to_string(in_repository(&format!("conf/schema/{file}.json"))).unwrap();
        assert_eq!(schema, cfx::cli::schema::text(file), "write them anew: cfx schema --out conf/schema");
    }
}

#[test]
fn litellm_serves_exactly_the_models_that_cfx_asks_for() {
    let snapshot = shipped();
    let asked: BTreeSet<&str> = snapshot.models.aliases.values().map(|model| &*model.upstream_model).collect();
    let litellm = yaml("conf/litellm.yaml");
    let list = litellm["model_list"].as_array().unwrap();
    let served: BTreeSet<&str> = list.iter().map(|model| model["model_name"].as_str().unwrap()).collect();
    assert_eq!(asked, served);
    assert_eq!(served.len(), list.len(), "a name given twice would be balanced over");
}

#[test]
fn litellm_leaves_retries_to_cfx_and_takes_its_keys_from_the_environment() {
    let litellm = yaml("conf/litellm.yaml");
    assert_eq!(litellm["litellm_settings"]["num_retries"], 0);
    assert_eq!(litellm["router_settings"]["num_retries"], 0);
    let from_environment = |value: &Value| value.as_str().unwrap().starts_with("os.environ/");
    assert!(from_environment(&litellm["general_settings"]["master_key"]));
    let models = litellm["model_list"].as_array().unwrap();
    assert!(models.iter().all(|model| from_environment(&model["litellm_params"]["api_key"])));
}

#[test]
fn no_fallback_is_dearer_than_the_model_it_stands_in_for() {
    let models = shipped().models;
    for policy in [&models.plan, &models.code, &models.review] {
        let Some(fallback) = &policy.fallback else { continue };
        let (price, instead) = (policy.model.price, fallback.price);
        assert!(
            instead.input <= price.input && instead.output <= price.output,
            "{} is dearer than {}",
            fallback.alias,
            policy.model.alias
        );
    }
}

#[test]
fn no_alias_makes_an_agent_take_it_for_another_model() {
    for alias in shipped().models.aliases.keys() {
        assert!(!["o1", "o3", "o4"].iter().any(|id| alias.contains(id)), "Roo Code changes its requests for {alias}");
    }
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
fn litellm_meets_cfx_on_an_internal_network_only() {
    let compose = yaml("docker-compose.yml");
    let networks = |service: &str| -> BTreeSet<String> {
        let names = compose["services"][service]["networks"].as_array().unwrap();
        names.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
    };
    let shared: Vec<String> = networks("cfx").intersection(&networks("litellm")).cloned().collect();
    assert_eq!(shared, ["backend"]);
    assert_eq!(compose["networks"]["backend"]["internal"], true);
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
    let unit = std::fs::read_to_string(in_repository("systemd/cfx.service")).unwrap();
    let killed = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")?.strip_suffix("min")).unwrap();
    let killed = Duration::from_secs(60 * killed.parse::<u64>().unwrap());
    assert!(leaving < killed, "{leaving:?} >= {killed:?}");
    let depends = compose["services"]["cfx"]["depends_on"].as_array().unwrap();
    assert!(depends.contains(&Value::from("litellm")), "LiteLLM must stop after cfx");
}

#[test]
fn every_variable_of_the_compose_file_is_explained_in_the_example() {
    let compose = std::fs::read_to_string(in_repository("docker-compose.yml")).unwrap();
    let example = std::fs::read_to_string(in_repository(".env.example")).unwrap();
    let names = compose.split("${").skip(1).map(|rest| rest.split([':', '}']).next().unwrap());
    for name in names.filter(|name| *name != "LITELLM_IMAGE") {
        assert!(example.contains(&format!("\n{name}=")), "{name} is not in .env.example");
    }
}
