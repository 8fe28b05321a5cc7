use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;

use super::*;
use crate::units::{KeyId, RequestId, Timestamp, UserId};

const AT: Timestamp = Timestamp(1_769_903_999_000_042); // 2026-01-31T23:59:59.000042Z
const USAGE: Usage = Usage { input: 1_204, cached_input: 1_000, cache_write: 0, output: 512, reasoning: 12 };

fn a_line() -> AccessLine<'static> {
    AccessLine {
        at: AT,
        request: RequestId(uuid::Uuid::from_u128(1)),
        client: Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7))),
        method: "POST",
        host: "cfx.example",
        path: "/v1/chat/completions",
        query: Some("api_key=of-the-client"),
        user_agent: Some("OpenAI/Python 1.0 sk-abcdefghijklmnop"),
        status: 200,
        route: "/v1/",
        reason: None,
        user: Some(UserId(uuid::Uuid::from_u128(2))),
        key: Some(KeyId(uuid::Uuid::nil())),
        stage: Some(Stage::Code),
        stage_source: Some(StageSource::Header),
        model: Some("deepseek"),
        stream: true,
        bytes_in: 2_048,
        bytes_out: 0,
        usage: Some(&USAGE),
        estimated: false,
        cost: NanoUsd(3_120_001),
        duration: Duration::from_micros(1_520_034),
        first_token: Some(Duration::from_millis(210)),
        overhead: Some(Duration::from_micros(70)),
        attempts: 1,
        fields: Fields::DEFAULT,
    }
}

fn text(line: &AccessLine<'_>, format: Format) -> String {
    formatted(line, format, str::to_owned)
}

#[test]
fn a_json_line_has_every_field_that_is_known() {
    let expected = concat!(
        r#"{"at":"2026-01-31T23:59:59.000042Z","request_id":"00000000-0000-0000-0000-000000000001","#,
        r#""client":"192.0.2.7","method":"POST","host":"cfx.example","path":"/v1/chat/completions","status":200,"#,
        r#""route":"/v1/","user":"00000000-0000-0000-0000-000000000002","key":"00000000-0000-0000-0000-000000000000","stage":"code","#,
        r#""stage_source":"header","model":"deepseek","stream":true,"bytes_in":2048,"bytes_out":0,"#,
        r#""input_tokens":1204,"cached_input_tokens":1000,"cache_write_tokens":0,"output_tokens":512,"#,
        r#""reasoning_tokens":12,"estimated":false,"cost_usd":0.003120001,"duration_ms":1520.034,"#,
        r#""first_token_ms":210.000,"overhead_ms":0.070,"attempts":1}"#,
        "\n"
    );
    assert_eq!(text(&a_line(), Format::Json), expected);
}

#[test]
fn only_fields_that_are_asked_for_are_written() {
    let lines = |fields: &[Field]| text(&AccessLine { fields: Fields::of(fields), ..a_line() }, Format::Json);
    let always = r#"{"at":"2026-01-31T23:59:59.000042Z","request_id":"00000000-0000-0000-0000-000000000001""#;
    assert_eq!(lines(&[]), format!("{always}}}\n"));
    assert_eq!(lines(&[Field::Status, Field::Stage]), format!("{always},\"status\":200,\"stage\":\"code\"}}\n"));
    for field in Field::ALL.iter().filter(|field| **field != Field::Reason) {
        let line: serde_json::Value = serde_json::from_str(&lines(&[*field])).unwrap();
        let members: Vec<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
        let mut expected = ["at", "request_id", field.name()];
        expected.sort_unstable();
        assert_eq!(members, expected);
    }
}

#[test]
fn secrets_of_clients_are_masked_wherever_they_are_shown() {
    let key = "cfx_live_UZ2k8HP2zGndAbCdEfGhIjKlMnOpQrStUvWxYz0123456789AB";
    let path = format!("/v1/{key}");
    let line = AccessLine { path: &path, fields: Fields::of(Field::ALL), ..a_line() };
    let json = text(&line, Format::Json);
    assert!(
        json.contains(r#""path":"/v1/cfx_live_***","query":"api_key=***","user_agent":"OpenAI/Python 1.0 sk-***""#)
    );
    for format in [Format::Json, Format::Human { colour: false }] {
        let shown = text(&line, format);
        assert!(!["UZ2k8", "of-the-client", "abcdefg"].iter().any(|secret| shown.contains(secret)), "{shown}");
    }
}

#[test]
fn what_is_not_known_is_left_out() {
    let line = AccessLine {
        client: None,
        user: None,
        key: None,
        stage: None,
        stage_source: None,
        model: None,
        usage: None,
        first_token: None,
        overhead: None,
        stream: false,
        attempts: 0,
        status: 401,
        reason: Some("missing_api_key"),
        ..a_line()
    };
    let parsed: serde_json::Value = serde_json::from_str(&text(&line, Format::Json)).unwrap();
    let names: Vec<&str> = parsed.as_object().unwrap().keys().map(String::as_str).collect();
    let mut expected = [
        "at",
        "request_id",
        "method",
        "host",
        "path",
        "status",
        "route",
        "reason",
        "stream",
        "bytes_in",
        "bytes_out",
        "duration_ms",
        "attempts",
    ];
    expected.sort_unstable();
    assert_eq!(names, expected);
    assert_eq!(parsed["reason"], "missing_api_key");
}

#[test]
fn people_see_columns() {
    let plain = Format::Human { colour: false };
    assert_eq!(
        text(&a_line(), plain),
        "23:59:59  200    1.52s  POST    /v1/chat/completions        code    deepseek          \
         1204→512 tok  $0.003120  first 210ms\n"
    );
    let refused =
        AccessLine { status: 429, reason: Some("daily_quota_exceeded"), usage: None, first_token: None, ..a_line() };
    let shown = text(&refused, Format::Human { colour: true });
    assert!(shown.contains("\x1b[33m429\x1b[0m") && shown.ends_with("\x1b[33mdaily_quota_exceeded\x1b[0m\n"));
}

#[test]
fn the_second_is_remembered_but_never_stale() {
    for micros in [0, 1, 999_999, 1_000_000, 86_400_000_000, -1] {
        let at = Timestamp(AT.0 + micros);
        let line = text(&AccessLine { at, ..a_line() }, Format::Json);
        assert!(line.contains(&at.rfc3339_micros()), "{line}");
    }
}

proptest! {
    #[test]
    fn whatever_a_client_sends_it_is_one_line_of_json(host in any::<String>(), path in any::<String>(), method in any::<String>()) {
        let line = AccessLine { host: &host, path: &path, method: &method, ..a_line() };
        let written = text(&line, Format::Json);
        prop_assert_eq!(written.matches('\n').count(), 1);
        prop_assert!(!written.trim_end_matches('\n').chars().any(char::is_control));
        let parsed: serde_json::Value = serde_json::from_str(&written).unwrap();
        prop_assert_eq!(parsed["host"].as_str().unwrap(), host);
        prop_assert_eq!(parsed["path"].as_str().unwrap(), path);
        prop_assert_eq!(parsed["method"].as_str().unwrap(), method);
    }

    #[test]
    fn nor_can_it_act_on_a_terminal(path in any::<String>(), method in any::<String>()) {
        let written = text(&AccessLine { path: &path, method: &method, ..a_line() }, Format::Human { colour: false });
        prop_assert!(!written.trim_end_matches('\n').chars().any(char::is_control));
    }

    #[test]
    fn decimals_are_exact(value in any::<u64>()) {
        let mut out = String::new();
        push_decimal(&mut out, value, 9);
        let (whole, fraction) = out.split_once('.').unwrap();
        prop_assert_eq!(fraction.len(), 9);
        prop_assert_eq!(format!("{whole}{fraction}").parse::<u128>().unwrap(), u128::from(value));
    }
}
