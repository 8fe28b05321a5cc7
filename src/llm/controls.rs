//! What a body may say to LiteLLM and must not: the fields by which it would pick another model, another address,
//! other credentials, other retries, or no account at all.
//!
//! Collected from LiteLLM 1.8x to 1.106: `all_litellm_params` and the callback parameters in `types/utils.py`, the
//! refused and stripped fields in `proxy/auth/auth_utils.py` and `proxy/litellm_pre_call_utils.py`,
//! `proxy/route_llm_request.py`, and `models` of its OpenRouter transformation. None of them is a field of the OpenAI
//! or Anthropic APIs.

/// Refused at the top of a body and in its `metadata`, which LiteLLM reads for the same names. Sorted.
const ANYWHERE: [&str; 61] = [
    "additional_drop_params",
    "allowed_model_region",
    "allowed_openai_params",
    "api_base",
    "api_key",
    "api_type",
    "api_version",
    "applied_guardrails",
    "applied_policies",
    "base_model",
    "base_url",
    "cache_key",
    "callbacks",
    "client_secret",
    "configurable_clientside_auth_params",
    "content_policy_fallbacks",
    "context_window_fallback_dict",
    "context_window_fallbacks",
    "custom_llm_provider",
    "default_fallbacks",
    "default_headers",
    "deployment_url",
    "disable_fallbacks",
    "disable_global_guardrail",
    "disable_global_guardrails",
    "drop_params",
    "dynamic_callback_params",
    "extra_body",
    "extra_headers",
    "extra_query",
    "failure_callback",
    "fallback_depth",
    "fallbacks",
    "guardrail_config",
    "guardrails",
    "hf_model_name",
    "logger_fn",
    "max_agentic_loops",
    "max_fallbacks",
    "model_config",
    "model_file_id_mapping",
    "model_group",
    "model_info",
    "model_list",
    "no-log",
    "num_retries",
    "opted_out_global_guardrails",
    "policy_sources",
    "preset_cache_key",
    "provider_specific_header",
    "proxy_server_request",
    "retry_policy",
    "retry_strategy",
    "secret_fields",
    "service_callback",
    "specific_deployment",
    "standard_logging_object",
    "success_callback",
    "tags",
    "turn_off_message_logging",
    "user_config",
];

/// Refused at the top of a body only: in `metadata` they are words a client may use for itself. Sorted.
const AT_THE_TOP: [&str; 50] = [
    "acompletion",
    "assistant_continue_message",
    "atext_completion",
    "azure",
    "budget_duration",
    "cache",
    "caching",
    "caching_groups",
    "client",
    "client_id",
    "complete_response",
    "cooldown_time",
    "deployment_id",
    "enable_json_schema_validation",
    "ensure_alternating_roles",
    "fastest_response",
    "force_timeout",
    "headers",
    "knowledge_bases",
    "max_budget",
    "max_parallel_requests",
    "max_retries",
    "merge_reasoning_content_in_choices",
    "models",
    "modify_params",
    "order",
    "organization",
    "prompt_id",
    "prompt_label",
    "prompt_variables",
    "prompt_version",
    "region_name",
    "request_timeout",
    "roles",
    "rpm",
    "search_tool_name",
    "self",
    "shared_session",
    "stream_timeout",
    "tenant_id",
    "text_completion",
    "timeout",
    "tpm",
    "ttl",
    "use_chat_completions_api",
    "use_client",
    "user_continue_message",
    "vector_store_ids",
    "verbose",
    "weight",
];

/// Families of names: test doubles, LiteLLM's own state, provider and logging credentials, prices. Refused in both places.
const FAMILIES: [&str; 27] = [
    "_agentic_",
    "_code_interpreter_",
    "_guardrail",
    "_pillar_",
    "_pipeline_",
    "arize_",
    "aws_",
    "azure_",
    "cache_creation_input_",
    "cache_read_input_",
    "gcs_",
    "humanloop_",
    "input_cost_per_",
    "langfuse_",
    "langsmith_",
    "litellm_",
    "mock_",
    "output_cost_per_",
    "phoenix_",
    "pillar_",
    "posthog_",
    "router_",
    "s3_",
    "sagemaker_",
    "user_api_key",
    "vertex_",
    "wandb_",
];

/// Whether a top-level member of this name is LiteLLM's own.
pub(super) fn is_control(name: &str) -> bool {
    is_control_in_metadata(name) || AT_THE_TOP.binary_search(&name).is_ok()
}

/// Whether a member of `metadata` of this name is LiteLLM's own.
pub(super) fn is_control_in_metadata(name: &str) -> bool {
    ANYWHERE.binary_search(&name).is_ok() || FAMILIES.iter().any(|family| name.starts_with(family))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_sorted_so_that_they_can_be_searched() {
        assert!(ANYWHERE.is_sorted() && AT_THE_TOP.is_sorted() && FAMILIES.is_sorted());
    }

    #[test]
    fn fields_of_the_providers_own_apis_are_not_controls() {
        let legitimate = "model messages input instructions system prompt stream stream_options max_tokens n best_of \
            max_completion_tokens max_output_tokens temperature top_p top_k stop stop_sequences seed user store \
            metadata service_tier tools tool_choice functions function_call parallel_tool_calls response_format \
            reasoning_effort reasoning logprobs top_logprobs logit_bias presence_penalty frequency_penalty modalities \
            audio prediction web_search_options verbosity safety_identifier prompt_cache_key thinking container \
            mcp_servers context_management include truncation text max_tool_calls conversation prompt background \
            previous_response_id stream_options suffix echo dimensions encoding_format input_type top_a min_p \
            repetition_penalty chat_template_kwargs guided_json cache_control prompt_cache_retention betas";
        for name in legitimate.split_whitespace() {
            assert!(!is_control(name), "{name}");
        }
    }

    #[test]
    fn names_of_the_contract_are_controls() {
        for name in "fallbacks model_list api_base api_key base_url mock_response mock_timeout user_config \
            litellm_metadata litellm_session_id extra_body timeout"
            .split_whitespace()
        {
            assert!(is_control(name), "{name}");
        }
        assert!(is_control_in_metadata("fallbacks") && is_control_in_metadata("model_group"));
        for own in ["user_id", "order", "client", "session", "timeout"] {
            assert!(!is_control_in_metadata(own), "{own}");
        }
    }
}
