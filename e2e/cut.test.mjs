// The official SDKs for Node on a stream that the provider cuts. Environment: BASE, KEY, CUTS and READERS as JSON, WORDS,
// BEHIND_LITELLM (may be empty).
import assert from "node:assert/strict";
import test from "node:test";
import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";

const { BASE: base, KEY: apiKey, WORDS: words } = process.env;
const openai = new OpenAI({ baseURL: `${base}/v1`, apiKey });
const anthropic = new Anthropic({ baseURL: base, apiKey });
const said = (content) => [{ role: "user", content }];

async function all(stream, text) {
  let read = "";
  for await (const item of stream) read += text(item) ?? "";
  return read;
}

// A failure that LiteLLM tells itself is an event: see test_cut_streams.py.
function ofResponse(event) {
  if (process.env.BEHIND_LITELLM && event.type === "response.failed") throw new Error("told");
  return event.type === "response.output_text.delta" ? event.delta : "";
}

const ofMessage = (event) => (event.type === "content_block_delta" ? event.delta.text : "");
const readers = {
  chat: async (content) =>
    all(await openai.chat.completions.create({ model: "code", messages: said(content), stream: true }),
      (chunk) => chunk.choices[0]?.delta.content),
  chatHelper: async (content) => {
    const stream = openai.chat.completions.stream({ model: "code", messages: said(content) });
    return (await stream.finalChatCompletion()).choices[0].message.content;
  },
  completions: async (prompt) =>
    all(await openai.completions.create({ model: "mocked", prompt, stream: true }), (chunk) => chunk.choices[0]?.text),
  responses: async (input) =>
    all(await openai.responses.create({ model: "code", input, stream: true }), ofResponse),
  messages: async (content) =>
    all(await anthropic.messages.create({ model: "review", max_tokens: 64, messages: said(content), stream: true }), ofMessage),
  messagesHelper: async (content) =>
    all(anthropic.messages.stream({ model: "review", max_tokens: 64, messages: said(content) }), ofMessage),
};

for (const name of JSON.parse(process.env.READERS)) {
  test(`${name}: a whole stream`, async () => assert.equal(await readers[name]("How?"), words));
  for (const cut of JSON.parse(process.env.CUTS)) {
    test(`${name}: ${cut}`, async () => {
      let read;
      try {
        read = await readers[name](`CUT ${cut}`);
      } catch {
        return; // whatever it is, its user hears of it
      }
      assert.fail(`it ended quietly with ${JSON.stringify(read)}`);
    });
  }
}
