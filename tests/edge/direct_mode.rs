//! Direct mode: whether a client may name a model itself, which, and how much it may ask for. Seen at the upstream.

use serde_json::{Value, json};

use crate::harness::{Answer, CHAT, Harness};

fn edge(direct: &str) -> Harness {
    Harness::builder().models_line("direct:", &format!("direct: {direct}")).start()
}

/// Asks for a model under the stage `direct`, and says either what the upstream was asked for, or the refusal's code.
fn ask(edge: &Harness, fields: &Value) -> Result<Value, (u16, String)> {
    let mut body = json!({"messages": [{"role": "user", "content": "hi"}]});
    body.as_object_mut().expect("an object").extend(fields.as_object().cloned().unwrap_or_default());
    edge.upstream.forget();
    let answer = edge.ask(&edge.request(CHAT, &body).header("X-CFX-Stage", "direct"));
    match answer.status {
        200 => {
            assert_eq!(
                (answer.header("x-cfx-stage"), answer.header("x-cfx-stage-source")),
                (Some("direct"), Some("header"))
            );
            let seen = edge.upstream.last().json();
            assert_eq!(seen["messages"], body["messages"], "no prompt is put in");
            Ok(seen)
        }
        status => {
            assert_eq!(edge.upstream.count(), 0, "a refused request stays here");
            Err((status, answer.code()))
        }
    }
}

fn model(alias: &str) -> Value {
    json!({"model": alias})
}

fn refused(code: &str) -> Result<Value, (u16, String)> {
    Err((400, code.to_string()))
}

#[test]
fn it_is_off_until_it_is_turned_on() {
    let edge = edge("{ enabled: false }");
    assert_eq!(ask(&edge, &model("smart")), refused("direct_mode_disabled"));
    let body = json!({"model": "smart", "messages": [{"role": "user", "content": "hi"}]});
    let answer = edge.ask(&edge.request(CHAT, &body).header("X-CFX-Stage", "direct"));
    assert!(answer.message().contains("direct mode disabled"), "{}", answer.message());
}

#[test]
fn allow_and_deny_decide_which_models_and_deny_wins() {
    let on = "enabled: true";
    // (allow, deny, alias, what the upstream is asked for)
    let table = [
        ("[]", "[]", "smart", Some("upstream-smart")),
        ("[]", "[]", "quick", Some("upstream-quick")),
        ("[]", "[]", "unheard-of", None),
        ("[]", "[]", "upstream-smart", None),
        ("[smart]", "[]", "smart", Some("upstream-smart")),
        ("[smart]", "[]", "quick", None),
        ("[]", "[smart]", "smart", None),
        ("[]", "[smart]", "quick", Some("upstream-quick")),
        ("[smart, quick]", "[quick]", "smart", Some("upstream-smart")),
        ("[smart, quick]", "[quick]", "quick", None),
    ];
    for (allow, deny, alias, wanted) in table {
        let edge = edge(&format!("{{ {on}, allow: {allow}, deny: {deny} }}"));
        let found = ask(&edge, &model(alias));
        match wanted {
            Some(upstream) => {
                assert_eq!(found.map(|seen| seen["model"].clone()), Ok(json!(upstream)), "{allow} {deny} {alias}")
            }
            None => assert_eq!(found, refused("model_not_allowed"), "{allow} {deny} {alias}"),
        }
    }
}

#[test]
fn a_missing_model_is_said_to_be_missing() {
    let edge = edge("{ enabled: true }");
    assert_eq!(ask(&edge, &json!({})), refused("missing_field"));
}

#[test]
fn the_cap_holds_under_all_three_names_and_is_put_in_where_absent() {
    let edge = edge("{ enabled: true, max_tokens: 100 }");
    let sent = |fields: Value| {
        let mut with_model = model("smart");
        with_model.as_object_mut().expect("an object").extend(fields.as_object().cloned().unwrap_or_default());
        ask(&edge, &with_model).expect("admitted")
    };
    for name in ["max_tokens", "max_completion_tokens"] {
        assert_eq!(sent(json!({name: 7}))[name], 7, "{name}");
        assert_eq!(sent(json!({name: 100}))[name], 100, "{name}");
        assert_eq!(sent(json!({name: 101}))[name], 100, "{name}");
        assert_eq!(sent(json!({name: 1e9}))[name], 100, "{name}");
    }
    let both = sent(json!({"max_tokens": 500, "max_completion_tokens": 600}));
    assert_eq!((&both["max_tokens"], &both["max_completion_tokens"]), (&json!(100), &json!(100)));
    let absent = sent(json!({}));
    assert_eq!(absent.get("max_tokens").or_else(|| absent.get("max_completion_tokens")), Some(&json!(100)), "{absent}");

    let body = json!({"model": "smart", "input": "hi", "max_output_tokens": 5_000});
    edge.ask(&edge.request("/v1/responses", &body).header("X-CFX-Stage", "direct"));
    assert_eq!(edge.upstream.last().json()["max_output_tokens"], 100);
    let body = json!({"model": "smart", "input": "hi"});
    edge.ask(&edge.request("/v1/responses", &body).header("X-CFX-Stage", "direct"));
    assert_eq!(edge.upstream.last().json()["max_output_tokens"], 100);
}

#[test]
fn many_answers_for_one_request_do_not_get_round_the_cap() {
    let edge = edge("{ enabled: true, max_tokens: 100 }");
    let sent = |n: u64| ask(&edge, &json!({"model": "smart", "n": n})).expect("admitted")["n"].clone();
    assert_eq!((sent(128), sent(1)), (json!(1), json!(1)));
}

/// Asks `stage` on /v1/messages for an answer with 4,096 tokens of thinking.
fn think(edge: &Harness, stage: &str) -> Answer {
    let body = json!({"model": "smart", "max_tokens": 9_000, "thinking": {"type": "enabled", "budget_tokens": 4_096},
                      "messages": [{"role": "user", "content": "hi"}]});
    edge.ask(&edge.request("/v1/messages", &body).header("X-CFX-Stage", stage))
}

#[test]
fn thinking_does_not_get_round_the_cap() {
    for (cap, status) in [(100, 400), (4_096, 400), (4_097, 200)] {
        let edge = edge(&format!("{{ enabled: true, max_tokens: {cap} }}"));
        let answer = think(&edge, "direct");
        assert_eq!(answer.status, status, "{cap}: {answer}");
        match status {
            200 => assert_eq!(edge.upstream.last().json()["max_tokens"], cap),
            _ => assert!(answer.message().contains(&format!("must be less than {cap}")), "{answer}"),
        }
    }
}

#[test]
fn a_stages_cap_keeps_room_for_thinking_as_far_as_the_model_goes() {
    for (most, cap) in [(64_000, 4_096 + 1_024), (4_500, 4_500)] {
        let edge = Harness::builder()
            .models_line("code:", "  code: { model: quick, max_tokens: 2048 }")
            .models_line("quick:", &format!("  quick: {{ upstream_model: upstream-quick, max_output_tokens: {most} }}"))
            .start();
        assert_eq!(think(&edge, "code").status, 200);
        assert_eq!(edge.upstream.last().json()["max_tokens"], cap, "{most}");
    }
}

#[test]
fn while_it_is_on_an_alias_named_as_model_is_taken_at_its_word() {
    let edge = edge("{ enabled: true }");
    let body = json!({"model": "quick", "messages": [{"role": "user", "content": "please review this"}]});
    let answer = edge.post(CHAT, &body);
    assert_eq!((answer.header("x-cfx-stage"), answer.header("x-cfx-stage-source")), (Some("direct"), Some("model")));
    assert_eq!(answer.header("x-cfx-model-used"), Some("quick"));
    let seen = edge.upstream.last().json();
    assert_eq!((&seen["model"], &seen["messages"]), (&json!("upstream-quick"), &body["messages"]));
}
