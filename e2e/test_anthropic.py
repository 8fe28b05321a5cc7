"""The official Anthropic SDK for Python: /v1/messages with x-api-key."""

import unittest

import anthropic

from installation import running
from provider import WORDS

ASK = [{"role": "user", "content": "What could go wrong here?"}]


class Messages(unittest.TestCase):
    def setUp(self):
        running.provider.forget()
        self.sdk = anthropic.Anthropic(base_url=running.http, api_key=running.key)
        self.addCleanup(self.sdk.close)

    def test_message(self):
        message = self.sdk.messages.create(model="review", max_tokens=64, system="You are Claude Code.", messages=ASK)
        self.assertEqual(message.content[0].text, "".join(WORDS))
        self.assertEqual((message.usage.input_tokens, message.usage.output_tokens), (21, 4))
        sent = str(running.provider.last("/messages")[2]["system"])
        self.assertIn("E2E REVIEW PROMPT", sent)
        self.assertIn("You are Claude Code.", sent)

    def test_stream(self):
        with self.sdk.messages.stream(model="review", max_tokens=64, messages=ASK) as stream:
            self.assertEqual(list(stream.text_stream), WORDS)
            self.assertEqual(stream.get_final_message().usage.output_tokens, 4)

    def test_a_model_that_litellm_answers_without_streaming(self):
        message = self.sdk.messages.create(model="plan", max_tokens=64, messages=ASK)
        self.assertEqual(message.content[0].text, "First read, then write.")

    def test_count_tokens(self):
        self.assertGreater(self.sdk.messages.count_tokens(model="review", messages=ASK).input_tokens, 0)

    def test_bad_key(self):
        with anthropic.Anthropic(base_url=running.http, api_key="cfx_live_nonsense") as sdk:
            with self.assertRaises(anthropic.AuthenticationError) as raised:
                sdk.messages.create(model="review", max_tokens=64, messages=ASK)
        self.assertEqual(raised.exception.body["error"]["type"], "authentication_error")

    def test_bad_request(self):
        with self.assertRaises(anthropic.BadRequestError) as raised:
            self.sdk.messages.create(model="review", max_tokens=64, messages=ASK, extra_body={"api_base": "http://127.0.0.1:1"})
        self.assertIn("api_base", raised.exception.message)


if __name__ == "__main__":
    unittest.main()
