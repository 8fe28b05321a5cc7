use serde_json::Value;

use super::*;
use crate::llm::fixtures::models;

fn ids(list: &str, field: &str) -> Vec<String> {
    let list: Value = serde_json::from_str(list).unwrap();
    list["data"].as_array().unwrap().iter().map(|entry| entry[field].as_str().unwrap().to_owned()).collect()
}

#[test]
fn stages_are_always_listed_and_aliases_while_direct_mode_is_on() {
    let mut models = models();
    let everything = KeyScope::default();
    assert_eq!(ids(&model_list(&models, everything), "id"), ["cfx-plan", "cfx-code", "cfx-review"]);
    models.direct.enabled = true;
    let on = ["cfx-plan", "cfx-code", "cfx-review", "coder", "mini", "sonnet"];
    assert_eq!(ids(&model_list(&models, everything), "id"), on);
    assert_eq!(ids(&model_info(&models, everything), "model_name"), on);
}

#[test]
fn a_key_sees_what_it_may_use() {
    let mut models = models();
    models.direct.enabled = true;
    let only_code = KeyScope { stages: Some(&[Stage::Code]), models: None };
    assert_eq!(ids(&model_list(&models, only_code), "id"), ["cfx-code"]);
    let mini = ["mini".to_owned()];
    let only_mini = KeyScope { stages: None, models: Some(&mini) };
    assert_eq!(ids(&model_list(&models, only_mini), "id"), ["cfx-review", "mini"]);
    assert!(model(&models, only_mini, "cfx-plan").is_none());
    assert!(model(&models, only_mini, "Review").unwrap().contains("\"cfx-review\""));
    let one: Value = serde_json::from_str(&model(&models, only_mini, "mini").unwrap()).unwrap();
    assert_eq!((one["id"].as_str(), one["object"].as_str()), (Some("mini"), Some("model")));
    assert!(one["created"].is_u64() && one["owned_by"].is_string());
}

#[test]
fn model_info_says_what_agents_ask_and_nothing_of_the_upstream() {
    let models = models();
    let text = model_info(&models, KeyScope::default());
    for upstream in ["deepseek-chat", "anthropic/", "gpt-mini"] {
        assert!(!text.contains(upstream), "{upstream}");
    }
    let info: Value = serde_json::from_str(&text).unwrap();
    let plan = &info["data"][0];
    assert_eq!(plan["litellm_params"]["model"], "cfx-plan");
    assert_eq!(plan["model_info"]["max_input_tokens"], 200_000);
    assert_eq!(plan["model_info"]["max_output_tokens"], 64_000);
    assert_eq!(plan["model_info"]["supports_vision"], true);
    assert_eq!(plan["model_info"]["input_cost_per_token"], 3e-6);
    assert_eq!(plan["model_info"]["output_cost_per_token"], 1.5e-5);
    assert_eq!(plan["model_info"]["mode"], "chat");
    // The stage's cap is below the model's.
    assert_eq!(info["data"][1]["model_info"]["max_output_tokens"], 4_096);
}
