use super::*;
use crate::llm::endpoint::Endpoint;
use crate::llm::fixtures::{chat, choice, models, request};

fn stage(models: &Models, request: &Request, header: Option<&str>) -> (Stage, StageSource) {
    let choice = choice(models, request, header).unwrap();
    (choice.stage, choice.source)
}

fn refused(models: &Models, request: &Request, header: Option<&str>, scope: KeyScope<'_>) -> StageProblem {
    choose(models, request, header, scope).unwrap_err()
}

#[test]
fn the_header_comes_first_then_the_model_then_the_rules_then_the_default() {
    let models = models();
    let ask = chat("cfx-code", "please review this");
    assert_eq!(stage(&models, &ask, Some(" Review ")), (Stage::Review, StageSource::Header));
    assert_eq!(stage(&models, &ask, None), (Stage::Code, StageSource::Model));
    assert_eq!(stage(&models, &chat("gpt-4o", "please review this"), None), (Stage::Review, StageSource::Inferred));
    assert_eq!(stage(&models, &chat("gpt-4o", "how are you"), None), (Stage::Plan, StageSource::Default));
}

#[test]
fn models_name_stages_in_any_case() {
    for (name, named) in [
        ("plan", Some(Stage::Plan)),
        ("CFX-Plan", Some(Stage::Plan)),
        ("cfx-review", Some(Stage::Review)),
        ("Code", Some(Stage::Code)),
        ("cfx-", None),
        ("direct", None),
        ("cfx-direct", None),
        ("éfx-plan", None),
        ("planner", None),
    ] {
        assert_eq!(stage_named_by(name), named, "{name}");
    }
}

#[test]
fn rules_are_tried_in_order_and_need_all_their_conditions() {
    let models = models();
    let diff = "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b";
    assert_eq!(stage(&models, &chat("m", diff), None).0, Stage::Review);
    let with_tools = |text: &str| {
        let body = serde_json::json!({
            "messages": [{ "role": "user", "content": text }], "tools": [{ "type": "function" }]
        });
        request(Endpoint::ChatCompletions, &body.to_string())
    };
    assert_eq!(stage(&models, &with_tools(diff), None).0, Stage::Code);
    assert_eq!(stage(&models, &with_tools("review"), None).0, Stage::Review);
}

#[test]
fn an_unknown_stage_is_refused_wherever_it_is_sent() {
    let models = models();
    for header in ["", "planning", "plan,code"] {
        let problem = choice(&models, &chat("m", "x"), Some(header)).unwrap_err();
        assert!(matches!(problem, StageProblem::UnknownStage(_)) && problem.param().is_none(), "{problem}");
    }
    let embeddings = request(Endpoint::Embeddings, r#"{"input":"x"}"#);
    let problem = refused(&models, &embeddings, Some("nope"), KeyScope::default());
    assert_eq!(problem, StageProblem::UnknownStage("nope".to_owned()));
}

#[test]
fn direct_mode_off() {
    let models = models();
    let problem = choice(&models, &chat("sonnet", "x"), Some("direct")).unwrap_err();
    assert_eq!((&problem, problem.to_string().as_str()), (&StageProblem::DirectOff, "direct mode disabled"));
    // Without the header an alias is a model name like any other: ignored.
    assert_eq!(stage(&models, &chat("mini", "x"), None), (Stage::Plan, StageSource::Default));
}

#[test]
fn direct_mode_on() {
    let mut models = models();
    models.direct.enabled = true;
    let direct = choice(&models, &chat("mini", "please review"), None).unwrap();
    assert_eq!((direct.stage, direct.source), (Stage::Direct, StageSource::Model));
    assert_eq!((&*direct.model.alias, direct.max_tokens), ("mini", Some(1_000)));
    assert!(direct.system.is_none() && direct.fallback.is_none() && direct.temperature.is_none());
    assert_eq!(stage(&models, &chat("mini", "x"), Some("direct")), (Stage::Direct, StageSource::Header));
    assert_eq!(stage(&models, &chat("mini", "x"), Some("plan")), (Stage::Plan, StageSource::Header));
    assert_eq!(stage(&models, &chat("no-such", "x"), None), (Stage::Plan, StageSource::Default));
    for (model, header) in [("embed", None), ("embed", Some("direct")), ("no-such", Some("direct"))] {
        let problem = refused(&models, &chat(model, "x"), header, KeyScope::default());
        assert_eq!(problem, StageProblem::ModelNotAllowed(model.to_owned()));
    }
    let nameless = request(Endpoint::ChatCompletions, r#"{"messages":[{"role":"user","content":"x"}]}"#);
    let problem = choice(&models, &nameless, Some("direct")).unwrap_err();
    assert_eq!((&problem, problem.param()), (&StageProblem::ModelMissing, Some("model")));
}

#[test]
fn thinking_fits_below_the_direct_cap_or_is_refused() {
    let mut models = models();
    models.direct.enabled = true;
    let thinking = |endpoint, budget: u64| {
        let body = serde_json::json!({
            "model": "mini", "messages": [{ "role": "user", "content": "x" }], "thinking": { "budget_tokens": budget }
        });
        request(endpoint, &body.to_string())
    };
    let ask = |models: &Models, endpoint, budget| choice(models, &thinking(endpoint, budget), None).map(drop);
    assert_eq!(ask(&models, Endpoint::Messages, 999), Ok(()));
    let problem = ask(&models, Endpoint::Messages, 1_000).unwrap_err();
    assert_eq!(
        (&problem, problem.param()),
        (&StageProblem::ThinkingTooLong { cap: 1_000 }, Some("thinking.budget_tokens"))
    );
    assert_eq!(ask(&models, Endpoint::CountTokens, 1_000), Ok(()), "nothing is generated");
    models.direct.max_tokens = None;
    assert_eq!(ask(&models, Endpoint::Messages, 1_000), Ok(()));
}

#[test]
fn deny_wins_over_allow_and_an_allow_list_shuts_out_the_rest() {
    for (allow, deny, model, allowed) in [
        (vec![], vec![], "sonnet", true),
        (vec!["mini"], vec![], "mini", true),
        (vec!["mini"], vec![], "sonnet", false),
        (vec!["mini"], vec!["mini"], "mini", false),
        (vec![], vec!["mini"], "sonnet", true),
    ] {
        let mut models = models();
        models.direct.enabled = true;
        models.direct.allow = allow.iter().map(ToString::to_string).collect();
        models.direct.deny = deny.iter().map(ToString::to_string).collect();
        let choice = choice(&models, &chat(model, "x"), None);
        assert_eq!(choice.is_ok(), allowed, "allow {allow:?} deny {deny:?} {model}");
    }
}

#[test]
fn a_key_uses_only_what_it_may() {
    let mut models = models();
    models.direct.enabled = true;
    let mini = ["mini".to_owned()];
    let only_plan = KeyScope { stages: Some(&[Stage::Plan]), models: None };
    let only_mini = KeyScope { stages: None, models: Some(&mini) };
    let no_stage = StageProblem::StageNotPermitted;
    assert_eq!(refused(&models, &chat("m", "x"), Some("code"), only_plan), no_stage(Stage::Code));
    assert_eq!(refused(&models, &chat("cfx-code", "x"), None, only_plan), no_stage(Stage::Code));
    assert_eq!(refused(&models, &chat("mini", "x"), None, only_plan), no_stage(Stage::Direct));
    // A rule only proposes: where its stage is not allowed the next one, or the default, decides.
    assert_eq!(choose(&models, &chat("m", "review"), None, only_plan).unwrap().stage, Stage::Plan);
    let no_sonnet = StageProblem::ModelNotPermitted("sonnet".into());
    assert_eq!(refused(&models, &chat("m", "x"), None, only_mini), no_sonnet);
    assert_eq!(choose(&models, &chat("m", "x"), Some("review"), only_mini).unwrap().stage, Stage::Review);
    let sonnet = ["sonnet".to_owned()];
    let only_sonnet = KeyScope { stages: None, models: Some(&sonnet) };
    let choice = choose(&models, &chat("m", "x"), Some("plan"), only_sonnet).unwrap();
    assert!(choice.fallback.is_none(), "the fallback is a model this key may not use");
    let completion = request(Endpoint::Completions, r#"{"prompt":"x"}"#);
    assert_eq!(refused(&models, &completion, None, only_plan), no_stage(Stage::Direct));
}

#[test]
fn embeddings_and_completions_have_models_of_their_own_or_are_off() {
    let mut models = models();
    let embeddings = request(Endpoint::Embeddings, r#"{"model":"cfx-code","input":"x"}"#);
    let completion = request(Endpoint::Completions, r#"{"model":"sonnet","prompt":"x"}"#);
    for (request, alias) in [(&embeddings, "embed"), (&completion, "coder")] {
        let choice = choice(&models, request, Some("plan")).unwrap();
        assert_eq!((choice.stage, choice.source), (Stage::Direct, StageSource::Default));
        assert_eq!(&*choice.model.alias, alias);
        assert!(choice.system.is_none());
    }
    models.embeddings = None;
    models.completions = None;
    for request in [&embeddings, &completion] {
        let problem = choice(&models, request, None).unwrap_err();
        assert!(matches!(problem, StageProblem::Off(_)), "{problem}");
        assert!(problem.to_string().contains("is not offered here"));
    }
}
