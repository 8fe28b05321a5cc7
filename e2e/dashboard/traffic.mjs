// Requests as people's clients make them: the OpenAI SDK, with nothing set but its address and key.
import OpenAI from "openai";

import { EDGE } from "./browser.mjs";

const QUESTIONS = [
  ["plan", "How would you split this service in two?"], ["plan", "What comes first?"], ["code", "Write the parser."],
  ["code", "Now its tests, please, with the empty file and the one that never ends."], ["code", "Rename it."],
  ["review", "Review this diff."], ["review", "Is the lock held across the await?"], ["code", "Make it pass."],
];

export function sdk(apiKey, base = EDGE) {
  return new OpenAI({ apiKey, baseURL: `${base}/v1`, maxRetries: 0, timeout: 20_000 });
}

export async function stream(client, model, content, options) {
  const chunks = await client.chat.completions.create({ model, stream: true, messages: [{ role: "user", content }] }, options);
  let text = "";
  for await (const chunk of chunks) text += chunk.choices[0]?.delta?.content ?? "";
  return text;
}

// So many requests to all stages, a few at once, some of which go wrong on purpose. Returns how many were made.
export async function work(key, times) {
  const client = sdk(key);
  const failed = (asked) => asked.then(() => { throw new Error("this was to fail"); }, (problem) => { if (!problem.status) throw problem; });
  for (let turn = 0; turn < times; turn += 1) {
    await Promise.all(QUESTIONS.map(([stage, question]) => stream(client, stage, `${question} (${turn})`)));
  }
  await failed(stream(client, "no-such-model", "Hello?", { headers: { "x-cfx-stage": "direct" } }));
  await failed(client.chat.completions.create({ model: "review", messages: [{ role: "user", content: "Fall over." }] }));
  return times * QUESTIONS.length + 2;
}
