"""What a request may say that LiteLLM would obey and the client must not: tried against the real LiteLLM.

Where a hole is open in LiteLLM 1.106 as configured here, the first assertion shows it, so that a change of LiteLLM's is
noticed; the second shows that cfx closes it.
"""

import unittest

from installation import running
from provider import REFUSALS

ASK = [{"role": "user", "content": "How?"}]
CHAT = "/v1/chat/completions"
DIRECT = {"X-CFX-Stage": "direct"}
MOCKED, NAMED = "First read, then write.", "Named by the client itself."


def words(answer):
    status, body, _ = answer
    return body["choices"][0]["message"]["content"] if status == 200 else body


class Controls(unittest.TestCase):
    def setUp(self):
        running.provider.forget()

    def assert_refused(self, answer, field):
        status, body, headers = answer
        self.assertEqual(status, 400, body)
        self.assertIn(field, body["error"]["message"])
        self.assertEqual(body["request_id"], headers["x-request-id"])
        self.assertEqual(running.provider.requests, [], "nothing went on")

    def test_a_model_in_the_query(self):
        path, body = CHAT + "?model=mock-direct", {"model": "mock-plan", "messages": ASK}
        self.assertEqual(words(running.ask_litellm(path, body)), NAMED, "LiteLLM lets the query win")
        self.assertEqual(words(running.ask(path, body)), MOCKED)

    def test_an_escaped_second_model(self):
        body = '{"model":"mock-plan","mod\\u0065l":"mock-direct","messages":[{"role":"user","content":"How?"}]}'
        self.assertEqual(words(running.ask_litellm(CHAT, body)), NAMED, "LiteLLM takes the last of two")
        self.assert_refused(running.ask(CHAT, body), "model")

    def test_a_second_model(self):
        body = '{"model":"mock-plan","model":"mock-direct","messages":[{"role":"user","content":"How?"}]}'
        self.assertEqual(words(running.ask_litellm(CHAT, body)), NAMED, "LiteLLM takes the last of two")
        self.assert_refused(running.ask(CHAT, body), "model")

    def test_form_content_types(self):
        body = '{"model":"mock-plan","messages":[{"role":"user","content":"How?"}]}'
        for kind in ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/xform+json"]:
            with self.subTest(kind):
                status, answer, _ = running.ask(CHAT, body, {"content-type": kind})
                self.assertEqual((status, answer["error"]["code"]), (415, "unsupported_media_type"))
        status, answer, _ = running.ask_litellm(CHAT, body, {"content-type": "application/x-www-form-urlencoded"})
        self.assertEqual(status, 400, f"LiteLLM parses it as a form and misses the messages: {answer}")

    def test_fields_that_steer(self):
        fields = {
            "fallbacks": ["mock-direct"], "context_window_fallbacks": [], "model_list": [], "user_config": {},
            "api_base": "http://127.0.0.1:9", "base_url": "http://127.0.0.1:9", "api_key": "sk-mine", "api_version": "1",
            "mock_response": "free", "mock_tool_calls": [], "mock_timeout": True, "litellm_params": {}, "litellm_metadata": {},
            "litellm_trace_id": "x", "num_retries": 5, "custom_llm_provider": "openai", "extra_headers": {"x": "y"},
            "extra_body": {"model": "x"}, "guardrails": [], "no-log": True, "tags": ["free"], "cache": {"no-cache": True},
        }
        for field, value in fields.items():
            for stage, headers in [("stage", {}), ("direct", DIRECT)]:
                with self.subTest(field=field, by=stage):
                    model = "openai" if headers else "code"
                    body = {"model": model, "messages": ASK, field: value}
                    self.assert_refused(running.ask(CHAT, body, headers), field)

    def test_fields_that_steer_from_metadata(self):
        for field in ["fallbacks", "api_base", "tags", "guardrails"]:
            with self.subTest(field):
                body = {"model": "code", "messages": ASK, "metadata": {field: ["mock-direct"]}}
                self.assert_refused(running.ask(CHAT, body), field)

    def test_metadata_of_ones_own_passes(self):
        status, body, _ = running.ask(CHAT, {"model": "code", "messages": ASK, "metadata": {"task": "42"}})
        self.assertEqual(status, 200, body)

    def test_headers_that_steer(self):
        headers = {"x-litellm-api-key": "sk-mine", "x-litellm-num-retries": "5", "x-litellm-timeout": "1",
                   "x-litellm-tags": "free", "x-litellm-enable-message-redaction": "true"}
        self.assertEqual(words(running.ask(CHAT, {"model": "plan", "messages": ASK}, headers)), MOCKED)

    def test_an_unknown_path_does_not_reach_litellm(self):
        paths = {"/v1/key/generate": 404, "/v1/files": 404, "/v1/chat/completions/../../key/generate": 400}
        for path, status in paths.items():
            with self.subTest(path):
                self.assertEqual(running.ask(path, {})[0], status)

    def test_the_providers_own_refusals_pass_through(self):
        for prompt, (refused, error, lines) in REFUSALS.items():
            for stream in [False, True]:
                with self.subTest(prompt, stream=stream):
                    asked = {"messages": [{"role": "user", "content": prompt}], "stream": stream}
                    theirs, answer, litellms = running.ask_litellm(CHAT, {"model": "scripted", **asked})
                    status, body, _ = running.ask(CHAT, {"model": "code", **asked})
                    self.assertEqual((status, body), (theirs, answer), "as LiteLLM says it")
                    self.assertEqual(status, refused)
                    self.assertIn(error["message"], body["error"]["message"])
                    wait = litellms.get("llm_provider-retry-after")
                    self.assertEqual(wait, lines.get("retry-after"), "LiteLLM passes the provider's on by this name alone")
                    self.assertNotIn("retry-after", litellms)


if __name__ == "__main__":
    unittest.main()
