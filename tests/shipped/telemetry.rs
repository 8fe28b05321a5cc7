//! The dashboard and the alert rules that ship: whatever they name exists, and every alert is explained.

use std::collections::BTreeSet;

use cfx::telemetry::metrics::Metrics;
use regex::Regex;
use serde_json::Value;

use super::{shipped, text, yaml};

/// Labels that Prometheus adds to what it scrapes, and the one of histograms' buckets.
const OF_PROMETHEUS: [&str; 3] = ["instance", "job", "le"];

fn rules() -> Vec<Value> {
    let file: Value = yaml("conf/prometheus/alerts.yaml");
    let groups = file["groups"].as_array().unwrap().clone();
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

fn dashboard() -> Value {
    serde_json::from_str(&text("conf/grafana/dashboards/cfx.json")).unwrap()
}

/// Every expression, with where it stands.
fn expressions() -> Vec<(String, String)> {
    let of_rules = rules().into_iter().map(|rule| {
        let text = |member: &str| rule[member].as_str().unwrap().to_owned();
        (text("alert"), text("expr"))
    });
    let panels = dashboard()["panels"].as_array().unwrap().clone();
    let of_panels = panels.into_iter().flat_map(|panel| {
        let title = panel["title"].as_str().unwrap().to_owned();
        let targets = panel["targets"].as_array().cloned().unwrap_or_default();
        targets.into_iter().map(move |target| (title.clone(), target["expr"].as_str().unwrap().to_owned()))
    });
    of_rules.chain(of_panels).collect()
}

fn captured(pattern: &str, text: &str) -> BTreeSet<String> {
    Regex::new(pattern).unwrap().captures_iter(text).map(|found| found[1].to_owned()).collect()
}

/// The names of series: metrics, and of histograms what is made of them.
fn series() -> BTreeSet<String> {
    let names = captured(r#"name: "(cfx_\w+)""#, &text("src/telemetry/names.rs"));
    assert!(names.len() > 20, "the names of metrics are written otherwise now: {names:?}");
    let shown = Metrics::new().unwrap().render();
    let histograms = captured(r"(?m)^# TYPE (\w+) histogram$", &shown);
    assert!(histograms.contains("cfx_time_to_first_token_seconds"));
    names
        .into_iter()
        .flat_map(|name| {
            let parts: &[&str] = if histograms.contains(&name) { &["_bucket", "_count", "_sum"] } else { &[""] };
            parts.iter().map(|part| format!("{name}{part}")).collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn every_metric_that_dashboard_and_alerts_name_exists() {
    let series = series();
    for (place, expression) in expressions() {
        let named = captured(r"\b(cfx_\w+)", &expression);
        let unknown: Vec<_> = named.difference(&series).collect();
        assert!(unknown.is_empty(), "{place}: no such metric: {unknown:?}");
    }
}

#[test]
fn every_label_that_dashboard_and_alerts_name_exists() {
    let mut labels = captured(r#"pub const [A-Z_]+: &str = "(\w+)";"#, &text("src/telemetry/names.rs"));
    labels.extend(OF_PROMETHEUS.map(str::to_owned));
    for (place, expression) in expressions() {
        let mut named = captured(r"[{,]\s*(\w+)\s*(?:=|!=|=~|!~)", &expression);
        for grouping in captured(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)", &expression) {
            named.extend(grouping.split(',').map(|label| label.trim().to_owned()));
        }
        let unknown: Vec<_> = named.difference(&labels).collect();
        assert!(unknown.is_empty(), "{place}: no such label: {unknown:?}");
    }
}

#[test]
fn every_alert_is_explained_to_operators() {
    let operations = text("docs/operations.md");
    for rule in rules() {
        let alert = rule["alert"].as_str().unwrap();
        assert!(operations.contains(&format!("\n| `{alert}` |")), "{alert} is not explained in docs/operations.md");
        assert!(["page", "ticket"].contains(&rule["labels"]["severity"].as_str().unwrap()), "{alert}");
    }
}

#[test]
fn every_alert_is_tried_by_a_case_in_which_it_fires() {
    let cases: Value = yaml("tests/alerts/alerts.test.yaml");
    let fired: BTreeSet<&str> = cases["tests"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|case| case["alert_rule_test"].as_array().unwrap())
        .filter(|asked| asked["exp_alerts"].as_array().is_some_and(|alerts| !alerts.is_empty()))
        .map(|asked| asked["alertname"].as_str().unwrap())
        .collect();
    let rules = rules();
    let alerts: BTreeSet<&str> = rules.iter().map(|rule| rule["alert"].as_str().unwrap()).collect();
    assert_eq!(fired, alerts);
}

#[test]
fn the_alert_on_a_full_spool_knows_its_size() {
    let size = shipped().edge.ledger.spool.size;
    let rules = rules();
    let rule = rules.iter().find(|rule| rule["alert"] == "CfxSpoolFills").unwrap();
    assert_eq!(size, 1024 * 1024 * 1024, "conf/prometheus/alerts.yaml has this size too");
    assert!(rule["expr"].as_str().unwrap().ends_with("> 0.8 * 1024 * 1024 * 1024"));
}

#[test]
fn prometheus_and_grafana_find_each_other_and_what_they_are_to_load() {
    let prometheus: Value = yaml("conf/prometheus/prometheus.yaml");
    assert_eq!(prometheus["rule_files"], serde_json::json!(["alerts.yaml"]));
    // The job that the alerts ask for.
    assert_eq!(prometheus["scrape_configs"][0]["job_name"], "cfx");
    let source: Value = yaml("conf/grafana/provisioning/datasources/prometheus.yaml");
    assert_eq!(source["datasources"][0]["url"], "http://prometheus:9090");
    let provider: Value = yaml("conf/grafana/provisioning/dashboards/cfx.yaml");
    let compose: Value = yaml("docker-compose.yml");
    let mounted = compose["services"]["grafana"]["volumes"].as_array().unwrap();
    let folder = provider["providers"][0]["options"]["path"].as_str().unwrap();
    assert!(mounted.contains(&Value::from(format!("./conf/grafana/dashboards:{folder}:ro"))), "{mounted:?}");
}

#[test]
fn panels_stand_beside_each_other_and_not_upon_each_other() {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap();
    let place = |panel: &Value, of: &str| panel["gridPos"][of].as_u64().unwrap();
    let mut taken = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "an id given twice");
        let (x, y) = (place(panel, "x"), place(panel, "y"));
        assert!(x + place(panel, "w") <= 24, "{}", panel["title"]);
        for cell in (x..x + place(panel, "w")).flat_map(|x| (y..y + place(panel, "h")).map(move |y| (x, y))) {
            assert!(taken.insert(cell), "{} covers another", panel["title"]);
        }
    }
}
