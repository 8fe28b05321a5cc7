"""The official OpenAI SDK for Python, as users hold it: only base_url and api_key are set."""

import time
import unittest

import httpx
import openai

from installation import running
from provider import WORDS

ASK = [{"role": "user", "content": "How would you go about this?"}]
TOOLS = [{"type": "function", "function": {"name": "read_file", "parameters": {
    "type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}}}]
MOCKED = "First read, then write."


class Plain(unittest.TestCase):
    limited = "limited-plain@example.org"

    def client(self, key=None, **options):
        return openai.OpenAI(base_url=running.http + "/v1", api_key=key or running.key, **options)

    def setUp(self):
        running.provider.forget()
        self.sdk = self.client()
        self.addCleanup(self.sdk.close)

    def test_completion(self):
        raw = self.sdk.chat.completions.with_raw_response.create(model="plan", messages=ASK)
        answer = raw.parse()
        self.assertEqual(answer.choices[0].message.content, MOCKED)
        self.assertGreater(answer.usage.total_tokens, 0)
        self.assertEqual(raw.headers["x-cfx-stage"], "plan")
        self.assertEqual(raw.headers["x-cfx-stage-source"], "model")
        self.assertEqual(raw.headers["x-cfx-model-used"], "mocked")
        self.assertEqual(answer._request_id, raw.headers["x-cfx-request-id"])
        for name in raw.headers:
            self.assertFalse(name.startswith(("x-litellm", "llm_provider")), name)

    def test_stream(self):
        chunks = list(self.sdk.chat.completions.create(model="plan", messages=ASK, stream=True))
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        self.assertEqual(text, MOCKED)
        self.assertEqual([chunk for chunk in chunks if chunk.usage], [], "usage was not asked for")

    def test_stream_with_usage(self):
        options = {"include_usage": True}
        chunks = list(self.sdk.chat.completions.create(model="plan", messages=ASK, stream=True, stream_options=options))
        self.assertEqual(len([chunk for chunk in chunks if chunk.usage]), 1)
        self.assertGreater(chunks[-1].usage.total_tokens, 0)

    def test_tool_calls(self):
        answer = self.sdk.chat.completions.create(model="code", messages=ASK, tools=TOOLS)
        call = answer.choices[0].message.tool_calls[0]
        self.assertEqual((call.function.name, call.function.arguments), ("read_file", '{"path":"src/main.rs"}'))
        sent = running.provider.last("/chat/completions")[2]
        self.assertEqual(sent["messages"][0], {"role": "system", "content": "E2E CODE PROMPT"})
        self.assertEqual(sent["tools"], TOOLS)

    def test_streamed_tool_calls(self):
        chunks = self.sdk.chat.completions.create(model="code", messages=ASK, tools=TOOLS, stream=True)
        calls = [call for chunk in chunks for choice in chunk.choices for call in choice.delta.tool_calls or []]
        self.assertEqual(calls[0].function.name, "read_file")

    def test_models(self):
        names = {model.id for model in self.sdk.models.list()}
        self.assertLessEqual({"cfx-plan", "cfx-code", "cfx-review"}, names)
        self.assertEqual(self.sdk.models.retrieve("cfx-plan").id, "cfx-plan")

    def test_embeddings(self):
        answer = self.sdk.embeddings.create(model="embedding", input=["one", "two"], encoding_format="float")
        self.assertEqual([row.embedding for row in answer.data], [[0.25, -0.5]] * 2)

    def test_completions(self):
        answer = self.sdk.completions.create(model="mocked", prompt="fn main() {")
        self.assertEqual(answer.choices[0].text, MOCKED)

    def test_responses(self):
        answer = self.sdk.responses.create(model="code", input="How?", instructions="You are Codex.")
        self.assertEqual(answer.output_text, "".join(WORDS))
        instructions = running.provider.last("/responses")[2]["instructions"]
        self.assertIn("E2E CODE PROMPT", instructions)
        self.assertIn("You are Codex.", instructions)

    def test_streamed_responses(self):
        events = list(self.sdk.responses.create(model="code", input="How?", stream=True))
        words = [event.delta for event in events if event.type == "response.output_text.delta"]
        self.assertEqual(words, WORDS)
        self.assertEqual(events[-1].type, "response.completed")

    def test_direct_model(self):
        answer = self.sdk.chat.completions.create(model="named", messages=ASK, extra_headers={"X-CFX-Stage": "direct"})
        self.assertEqual(answer.choices[0].message.content, "Named by the client itself.")

    def test_unknown_direct_model(self):
        with self.assertRaises(openai.BadRequestError) as raised:
            self.sdk.chat.completions.create(model="gpt-unheard-of", messages=ASK, extra_headers={"X-CFX-Stage": "direct"})
        self.assertEqual(raised.exception.code, "model_not_allowed")

    def test_bad_key(self):
        with self.client("cfx_live_nonsense") as sdk, self.assertRaises(openai.AuthenticationError) as raised:
            sdk.chat.completions.create(model="plan", messages=ASK)
        self.assertEqual(raised.exception.code, "invalid_api_key")
        self.assertTrue(raised.exception.request_id)

    def test_quota(self):
        with self.client(running.new_key(self.limited)) as sdk:
            sdk.chat.completions.create(model="plan", messages=ASK)
            asked = time.monotonic()
            with self.assertRaises(openai.RateLimitError) as raised:
                sdk.chat.completions.create(model="plan", messages=ASK)
        self.assertLess(time.monotonic() - asked, 5, "the SDK did not sleep and try again")
        headers = raised.exception.response.headers
        self.assertEqual((headers["x-ratelimit-limit"], headers["x-ratelimit-remaining"]), ("1", "0"))
        self.assertTrue(headers["x-ratelimit-reset"].endswith("T00:00:00Z"))
        self.assertGreater(int(headers["retry-after"]), 0)
        self.assertEqual(raised.exception.code, "daily_quota_exceeded")


class OverTls(Plain):
    limited = "limited-tls@example.org"

    def client(self, key=None, **options):
        http_client = httpx.Client(verify=running.tls())
        return openai.OpenAI(base_url=running.https + "/v1", api_key=key or running.key, http_client=http_client, **options)


if __name__ == "__main__":
    unittest.main()
