//! The files that ship: they agree with each other, and nothing but cfx is on the internet.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod compose;
mod telemetry;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use cfx::config::{Overrides, Snapshot, Source, load};
use serde_json::Value;

fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn text(path: &str) -> String {
    std::fs::read_to_string(in_repository(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn yaml(path: &str) -> Value {
    serde_yaml::from_str(&text(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn shipped() -> Snapshot {
    let source = Source::Directory(in_repository("conf"));
    load(&source, &Overrides::default(), &|_| None).unwrap_or_else(|problems| panic!("{problems}"))
}

/// The YAML files below a folder, by their paths from it.
fn yaml_files(folder: &Path) -> Vec<String> {
    let walk = |path: PathBuf| match path.is_dir() {
        true => {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            yaml_files(&path).into_iter().map(|below| format!("{name}/{below}")).collect()
        }
        false => vec![path.file_name().unwrap().to_str().unwrap().to_owned()],
    };
    let files = std::fs::read_dir(folder).unwrap().flat_map(|entry| walk(entry.unwrap().path()));
    files.filter(|name| name.ends_with(".yaml") || name.ends_with(".yml")).collect()
}

/// Whether cfx reads this file of its folder: as it ships it loads, and with a key that there is not it is named.
fn cfx_reads(name: &str) -> bool {
    shipped();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(name), text(&format!("conf/{name}")) + "\nno_such_key: 1\n").unwrap();
    let source = Source::Directory(folder.path().to_path_buf());
    let problems = load(&source, &Overrides::default(), &|_| None).map(drop).unwrap_err().to_string();
    problems.contains(name) && problems.contains("no_such_key")
}

#[test]
fn every_yaml_file_under_conf_loads_as_what_reads_it_wants_it() {
    let files = yaml_files(&in_repository("conf"));
    assert!(files.len() >= 8, "{files:?}");
    for name in files {
        let file = yaml(&format!("conf/{name}"));
        let lists = |key: &str| file[key].as_array().is_some_and(|list| !list.is_empty());
        let sound = match name.as_str() {
            "cfx.yaml" | "limits.yaml" | "models.yaml" => cfx_reads(&name),
            "litellm.yaml" => lists("model_list"),
            "prometheus/prometheus.yaml" => lists("scrape_configs") && file["rule_files"][0] == "alerts.yaml",
            "prometheus/alerts.yaml" => lists("groups"),
            "grafana/provisioning/dashboards/cfx.yaml" => {
                file["providers"][0]["options"]["path"] == "/etc/grafana/dashboards"
            }
            "grafana/provisioning/datasources/prometheus.yaml" => {
                file["datasources"][0]["url"] == "http://prometheus:9090"
            }
            _ => panic!("conf/{name} is new: say here who reads it, and how it is to look"),
        };
        assert!(sound, "conf/{name}");
    }
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
