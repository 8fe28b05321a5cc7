"""A stream that the provider cuts must raise in every SDK and never end as if it were whole; a whole one never raises."""

import asyncio
import json
import os
import subprocess
import unittest

import anthropic
import openai

from installation import ROOT, running
from provider import WORDS

# How the provider goes wrong, and behind how many of its events; -1 is all but the last word.
CUTS = ["close 1", "reset 1", "close 3", "reset 3", "inside 0", "inside 2", "inside -1", "silent 1", "silent -1",
        "clean 1", "clean -1", "close -1", "reset -1"]
# LiteLLM ends a stream that its provider ended early, if cleanly, with a last word of its own, and so it does where only the
# last word is missing. How long it bears silence is its affair.
CUTS_BEHIND_LITELLM = [cut for cut in CUTS if cut.split()[0] in ("close", "reset", "inside") and not cut.endswith("-1")]


class Failed(Exception):
    """The failure that LiteLLM itself told, in the one form that responses have for it: cfx passes it on as it is, and
    OpenAI's SDKs hand it out as an event. Where cfx says that a stream is broken, they raise by themselves."""


def word_of(base, event):
    if base == running.http and event.type == "response.failed":
        raise Failed
    return event.delta if event.type == "response.output_text.delta" else ""


def asked(cut):
    return f"CUT {cut}" if cut else "How would you go about this?"


def said(text):
    return [{"role": "user", "content": text}]


def chat(base, cut):
    with openai.OpenAI(base_url=base + "/v1", api_key=running.key) as sdk:
        stream = sdk.chat.completions.create(model="code", messages=said(asked(cut)), stream=True)
        return "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)


def chat_async(base, cut):
    async def read():
        async with openai.AsyncOpenAI(base_url=base + "/v1", api_key=running.key) as sdk:
            stream = await sdk.chat.completions.create(model="code", messages=said(asked(cut)), stream=True)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])
    return asyncio.run(read())


def chat_helper(base, cut):
    with openai.OpenAI(base_url=base + "/v1", api_key=running.key) as sdk:
        with sdk.chat.completions.stream(model="code", messages=said(asked(cut))) as stream:
            return "".join(event.delta for event in stream if event.type == "content.delta")


def completions(base, cut):
    with openai.OpenAI(base_url=base + "/v1", api_key=running.key) as sdk:
        stream = sdk.completions.create(model="mocked", prompt=asked(cut), stream=True)
        return "".join(chunk.choices[0].text for chunk in stream if chunk.choices)


def responses(base, cut):
    with openai.OpenAI(base_url=base + "/v1", api_key=running.key) as sdk:
        stream = sdk.responses.create(model="code", input=asked(cut), stream=True)
        return "".join(word_of(base, event) for event in stream)


def responses_async(base, cut):
    async def read():
        async with openai.AsyncOpenAI(base_url=base + "/v1", api_key=running.key) as sdk:
            stream = await sdk.responses.create(model="code", input=asked(cut), stream=True)
            return "".join([word_of(base, event) async for event in stream])
    return asyncio.run(read())


def messages(base, cut):
    with anthropic.Anthropic(base_url=base, api_key=running.key) as sdk:
        stream = sdk.messages.create(model="review", max_tokens=64, messages=said(asked(cut)), stream=True)
        return "".join(event.delta.text for event in stream if event.type == "content_block_delta")


def messages_helper(base, cut):
    with anthropic.Anthropic(base_url=base, api_key=running.key) as sdk:
        with sdk.messages.stream(model="review", max_tokens=64, messages=said(asked(cut))) as stream:
            return "".join(stream.text_stream)


def messages_async(base, cut):
    async def read():
        async with anthropic.AsyncAnthropic(base_url=base, api_key=running.key) as sdk:
            stream = await sdk.messages.create(model="review", max_tokens=64, messages=said(asked(cut)), stream=True)
            return "".join([event.delta.text async for event in stream if event.type == "content_block_delta"])
    return asyncio.run(read())


READERS = [chat, chat_async, chat_helper, completions, responses, responses_async, messages, messages_helper, messages_async]
NODE = ["chat", "chatHelper", "completions", "responses", "messages", "messagesHelper"]


class Cut(unittest.TestCase):
    def read_all(self, base, cuts, readers):
        for reader in readers:
            with self.subTest(reader=reader.__name__, cut=None):
                self.assertEqual(reader(base, None), "".join(WORDS))
            for cut in cuts:
                with self.subTest(reader=reader.__name__, cut=cut):
                    try:
                        text = reader(base, cut)
                    except Exception:  # whatever it is, its user hears of it
                        continue
                    self.fail(f"it ended quietly with {text!r}")

    def test_the_provider_itself(self):
        self.read_all(running.without_litellm, CUTS, READERS)

    def test_behind_litellm(self):
        readers = [reader for reader in READERS if reader is not completions]  # which LiteLLM makes up itself here
        self.read_all(running.http, CUTS_BEHIND_LITELLM, readers)

    def node(self, base, cuts, readers):
        environment = {**os.environ, "BASE": base, "KEY": running.key, "CUTS": json.dumps(cuts),
                       "READERS": json.dumps(readers), "WORDS": "".join(WORDS), "BEHIND_LITELLM": "yes" if base == running.http else ""}
        done = subprocess.run(["node", "--test", "cut.test.mjs"], cwd=ROOT / "e2e", env=environment,
                              capture_output=True, text=True, timeout=300)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_the_provider_itself_in_node(self):
        self.node(running.without_litellm, CUTS, NODE)

    def test_behind_litellm_in_node(self):
        self.node(running.http, CUTS_BEHIND_LITELLM, [reader for reader in NODE if reader != "completions"])


if __name__ == "__main__":
    unittest.main()
