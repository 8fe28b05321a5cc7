use std::time::Duration;

use super::*;

fn observation() -> RequestObservation<'static> {
    RequestObservation {
        route: "/v1/",
        stage: Some(Stage::Code),
        model: Some("deepseek"),
        status: 200,
        duration: Duration::from_millis(1_500),
        first_token: Some(Duration::from_millis(15)),
        overhead: Some(Duration::from_micros(60)),
        usage: None,
        cost: NanoUsd(0),
    }
}

fn has(text: &str, line: &str) {
    assert!(text.lines().any(|found| found == line), "no line `{line}` in:\n{text}");
}

#[test]
fn a_request_is_counted_under_its_labels() {
    let metrics = Metrics::new().unwrap();
    metrics.request(&observation());
    metrics.request(&observation());
    metrics.request(&RequestObservation { status: 404, model: None, stage: None, ..observation() });
    let text = metrics.render();
    has(&text, r#"cfx_requests_total{code="200",model="deepseek",route="/v1/",stage="code"} 2"#);
    has(&text, r#"cfx_requests_total{code="404",model="",route="/v1/",stage=""} 1"#);
    has(&text, "# TYPE cfx_request_duration_seconds histogram");
    has(&text, r#"cfx_request_duration_seconds_bucket{le="1.28"} 0"#);
    has(&text, r#"cfx_request_duration_seconds_bucket{le="2.56"} 3"#);
    has(&text, r#"cfx_time_to_first_token_seconds_bucket{le="0.02"} 3"#);
    has(&text, r#"cfx_overhead_seconds_bucket{le="0.0001"} 3"#);
    has(&text, concat!(r#"cfx_build_info{version=""#, env!("CARGO_PKG_VERSION"), r#""} 1"#));
}

#[test]
fn tokens_and_cost_add_up_by_model() {
    let metrics = Metrics::new().unwrap();
    let usage = Usage { input: 100, cached_input: 40, cache_write: 7, output: 20, reasoning: 5 };
    let seen = RequestObservation { usage: Some(&usage), cost: NanoUsd(1_500_000_000), ..observation() };
    metrics.request(&seen);
    metrics.request(&RequestObservation { status: 499, ..seen });
    let text = metrics.render();
    has(&text, r#"cfx_tokens_total{kind="input",model="deepseek"} 200"#);
    has(&text, r#"cfx_tokens_total{kind="cached_input",model="deepseek"} 80"#);
    has(&text, r#"cfx_tokens_total{kind="cache_write",model="deepseek"} 14"#);
    has(&text, r#"cfx_tokens_total{kind="output",model="deepseek"} 40"#);
    has(&text, r#"cfx_tokens_total{kind="reasoning",model="deepseek"} 10"#);
    has(&text, r#"cfx_cost_usd_total{model="deepseek"} 3"#);
}

#[test]
fn streams_count_while_they_live() {
    let metrics = Metrics::new().unwrap();
    let first = metrics.stream_opened();
    let second = metrics.stream_opened();
    drop(first);
    has(&metrics.render(), "cfx_streams_in_flight 1");
    drop(second);
    has(&metrics.render(), "cfx_streams_in_flight 0");
}

#[test]
fn the_other_counters_and_gauges_show() {
    let metrics = Metrics::new().unwrap();
    metrics.refusal("daily_quota_exceeded");
    metrics.attempt("litellm", "answered");
    metrics.set_leases(1, 0);
    metrics.set_ledger(12, 3, 2);
    metrics.set_ledger(12, 3, 2);
    metrics.set_spool(4_096, 1);
    metrics.set_ledger_lag(Duration::from_millis(1_500));
    metrics.set_streams_unshared(6);
    metrics.set_fullness(7, 8_192, 4_096);
    metrics.set_shed("in_flight", 9);
    metrics.set_shed("in_flight", 11);
    metrics.set_access_log_dropped(4);
    metrics.set_access_log_dropped(5);
    let text = metrics.render();
    has(&text, r#"cfx_refusals_total{reason="daily_quota_exceeded"} 1"#);
    has(&text, r#"cfx_upstream_attempts_total{outcome="answered",upstream="litellm"} 1"#);
    has(&text, r#"cfx_quota_lease_total{outcome="granted"} 1"#);
    has(&text, "cfx_ledger_queue 12");
    has(&text, "cfx_ledger_dropped_total 3");
    has(&text, "cfx_ledger_quarantined_total 2");
    has(&text, "cfx_ledger_spool_bytes 4096");
    has(&text, "cfx_ledger_spool_cuts_total 1");
    has(&text, "cfx_ledger_lag_seconds 1.5");
    has(&text, "cfx_access_log_dropped_total 5");
    has(&text, "cfx_streams_unshared_total 6");
    has(&text, "cfx_requests_in_flight 7");
    has(&text, "cfx_body_memory_bytes 8192");
    has(&text, "cfx_answer_memory_bytes 4096");
    has(&text, r#"cfx_shed_total{cap="in_flight"} 11"#);
}

#[test]
fn certificates_show_the_earliest_expiry_of_a_name_and_old_ones_go() {
    let metrics = Metrics::new().unwrap();
    metrics.set_certificates([("old.example", Timestamp(1_000_000))]);
    metrics.set_certificates([("a.example", Timestamp(9_000_000)), ("a.example", Timestamp(5_000_000))]);
    let text = metrics.render();
    has(&text, r#"cfx_certificate_expiry_seconds{name="a.example"} 5"#);
    assert!(!text.contains("old.example"));
}

#[test]
fn many_threads_lose_no_count() {
    let metrics = Metrics::new().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                (0..500u16).for_each(|n| metrics.request(&RequestObservation { status: 200 + n % 50, ..observation() }))
            });
        }
    });
    let counted: u64 = metrics
        .render()
        .lines()
        .filter(|line| line.starts_with("cfx_requests_total{"))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum();
    assert_eq!(counted, 2_000);
}
