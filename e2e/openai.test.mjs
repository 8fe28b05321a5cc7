// The official OpenAI SDK for Node, as users hold it. Environment: BASE_URL, KEY, LIMITED_KEY (may be empty).
import assert from "node:assert/strict";
import test from "node:test";
import OpenAI from "openai";

const { BASE_URL: baseURL, KEY: apiKey, LIMITED_KEY: limitedKey } = process.env;
const sdk = new OpenAI({ baseURL, apiKey });
const messages = [{ role: "user", content: "How would you go about this?" }];
const tools = [{ type: "function", function: { name: "read_file", parameters: { type: "object", properties: {} } } }];

async function all(stream) {
  const items = [];
  for await (const item of stream) items.push(item);
  return items;
}

test("completion", async () => {
  const { data, response } = await sdk.chat.completions.create({ model: "plan", messages }).withResponse();
  assert.equal(data.choices[0].message.content, "First read, then write.");
  assert.equal(response.headers.get("x-cfx-stage"), "plan");
  assert.equal(data._request_id, response.headers.get("x-cfx-request-id"));
});

test("stream without usage", async () => {
  const chunks = await all(await sdk.chat.completions.create({ model: "plan", messages, stream: true }));
  assert.equal(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join(""), "First read, then write.");
  assert.deepEqual(chunks.filter((chunk) => chunk.usage), []);
});

test("stream with usage", async () => {
  const options = { model: "plan", messages, stream: true, stream_options: { include_usage: true } };
  const chunks = await all(await sdk.chat.completions.create(options));
  assert.equal(chunks.filter((chunk) => chunk.usage).length, 1);
});

test("tool calls", async () => {
  const answer = await sdk.chat.completions.create({ model: "code", messages, tools });
  assert.equal(answer.choices[0].message.tool_calls[0].function.name, "read_file");
});

test("models", async () => {
  const names = (await all(await sdk.models.list())).map((model) => model.id);
  for (const stage of ["cfx-plan", "cfx-code", "cfx-review"]) assert.ok(names.includes(stage), `${stage} in ${names}`);
});

test("embeddings", async () => {
  const answer = await sdk.embeddings.create({ model: "embedding", input: "one", encoding_format: "float" });
  assert.deepEqual(answer.data[0].embedding, [0.25, -0.5]);
});

test("responses", async () => {
  const answer = await sdk.responses.create({ model: "code", input: "How?" });
  assert.equal(answer.output_text, "The scripted provider answers.");
});

test("streamed responses", async () => {
  const events = await all(await sdk.responses.create({ model: "code", input: "How?", stream: true }));
  const words = events.filter((event) => event.type === "response.output_text.delta").map((event) => event.delta);
  assert.equal(words.join(""), "The scripted provider answers.");
  assert.equal(events.at(-1).type, "response.completed");
});

test("bad key", async () => {
  const stranger = new OpenAI({ baseURL, apiKey: "cfx_live_nonsense" });
  await assert.rejects(stranger.chat.completions.create({ model: "plan", messages }), OpenAI.AuthenticationError);
});

test("unknown direct model", async () => {
  const headers = { "X-CFX-Stage": "direct" };
  const asked = sdk.chat.completions.create({ model: "gpt-unheard-of", messages }, { headers });
  await assert.rejects(asked, (error) => error instanceof OpenAI.BadRequestError && error.code === "model_not_allowed");
});

test("quota", { skip: !limitedKey }, async () => {
  const limited = new OpenAI({ baseURL, apiKey: limitedKey });
  await limited.chat.completions.create({ model: "plan", messages });
  await assert.rejects(limited.chat.completions.create({ model: "plan", messages }), (error) => {
    assert.ok(error instanceof OpenAI.RateLimitError);
    assert.equal(error.headers.get("x-ratelimit-remaining"), "0");
    assert.ok(Number(error.headers.get("retry-after")) > 0);
    return true;
  });
});
