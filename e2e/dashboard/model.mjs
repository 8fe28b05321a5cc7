// A model behind the edge that answers at a real one's pace in the wire form of OpenAI, and can be taken away.
import { createServer } from "node:http";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";

const ANSWER = "Start with the failing test, read what it asks for, and write the smallest thing that answers it. ".repeat(2);
const THINKING = 60;
const PACE = 12;

export async function start(port) {
  const server = createServer((request, response) => {
    answer(request, response).catch(() => response.destroy());
  });
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  return {
    async stop() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

async function answer(request, response) {
  let text = "";
  for await (const part of request) text += part;
  const body = JSON.parse(text);
  const question = body.messages.at(-1).content;
  if (question.includes("Fall over.")) {
    response.writeHead(500, { "content-type": "application/json" });
    response.end(JSON.stringify({ error: { message: "out of memory", type: "server_error", param: null, code: null } }));
    return;
  }
  const words = ANSWER.match(/\S+\s*/g).slice(0, 12 + (question.length * 7) % 24);
  const count = (said) => Math.ceil(said.length / 4);
  const usage = { prompt_tokens: count(text), completion_tokens: count(words.join("")) };
  usage.total_tokens = usage.prompt_tokens + usage.completion_tokens;
  const head = { id: "chatcmpl-1", created: Math.floor(Date.now() / 1000), model: body.model };
  await sleep(THINKING + (question.length * 13) % 80);
  if (!body.stream) {
    const message = { role: "assistant", content: words.join("") };
    response.writeHead(200, { "content-type": "application/json" });
    response.end(JSON.stringify({ ...head, object: "chat.completion", choices: [{ index: 0, message, finish_reason: "stop" }], usage }));
    return;
  }
  response.writeHead(200, { "content-type": "text/event-stream" });
  const send = (event) => response.write(`data: ${JSON.stringify({ ...head, object: "chat.completion.chunk", ...event })}\n\n`);
  for (const content of words) {
    send({ choices: [{ index: 0, delta: { content }, finish_reason: null }] });
    await sleep(PACE);
  }
  send({ choices: [{ index: 0, delta: {}, finish_reason: "stop" }] });
  send({ choices: [], usage });
  response.end("data: [DONE]\n\n");
}
