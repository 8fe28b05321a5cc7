// The playground: asks /v1 as any client does, with a key that is kept in this page's memory alone.
"use strict";
(() => {
  const form = document.getElementById("playground");
  const at = (name) => document.getElementById(name);
  const [send, stop, state, answer] = ["send", "stop", "play-state", "answer"].map(at);
  const words = form.dataset;
  const { locale } = cfx;
  const count = new Intl.NumberFormat(locale);
  const money = new Intl.NumberFormat(locale, { style: "currency", currency: "USD", currencyDisplay: "narrowSymbol", minimumFractionDigits: 2, maximumFractionDigits: 6 });
  const facts = ["stage", "model", "tokens", "cost", "first", "request"];
  let key;
  let running;

  const fresh = async (signal) => {
    // A minute to spare, so that it does not end on its way.
    if (key && Date.parse(key.expires_at) - Date.now() > 60_000) return key.key;
    state.textContent = words.key;
    const made = await fetch(form.action, { method: "POST", headers: { "Accept": "application/json", "X-CSRF-Token": form.elements.csrf.value }, signal });
    if (made.redirected) { location.reload(); throw new Error(words.failed); }
    if (!made.ok) throw await cfx.refusal(made);
    key = await made.json();
    return key.key;
  };

  const told = (usage) => {
    if (!usage) return;
    const [input, output] = [usage.prompt_tokens, usage.completion_tokens].map((number) => count.format(number));
    at("play-tokens").textContent = words.tokens.replace("{input}", input).replace("{output}", output);
  };

  const events = async function* (body) {
    for await (const line of cfx.lines(body)) {
      const data = line.startsWith("data:") ? line.slice(5).trim() : "";
      if (data && data !== "[DONE]") yield JSON.parse(data);
    }
  };

  // The row is written behind the answer: asked for a few times until it is there.
  const cost = async (id) => {
    for (let tries = 0; tries < 10; tries += 1) {
      const row = await fetch(`/api/logs/${encodeURIComponent(id)}`);
      if (row.ok) {
        const entry = await row.json();
        at("play-cost").textContent = money.format(entry.cost_usd) + (entry.estimated ? " ≈" : "");
        return;
      }
      if (row.status !== 404) return;
      await new Promise((resolve) => { setTimeout(resolve, 400); });
    }
  };

  const ask = async (signal) => {
    const raw = await fresh(signal);
    state.textContent = words.waiting;
    const began = performance.now();
    const response = await fetch("/v1/chat/completions", {
      method: "POST",
      headers: { "Authorization": `Bearer ${raw}`, "Content-Type": "application/json" },
      body: JSON.stringify({
        model: form.elements.model.value, stream: true, stream_options: { include_usage: true },
        messages: [{ role: "user", content: form.elements.question.value }],
      }),
      credentials: "omit",
      signal,
    });
    at("play-headers").textContent = [`HTTP ${response.status}`, ...[...response.headers].map(([name, value]) => `${name}: ${value}`)].join("\n");
    at("play-stage").textContent = response.headers.get("x-cfx-stage") ?? words.none;
    at("play-model").textContent = response.headers.get("x-cfx-model-used") ?? words.none;
    const id = response.headers.get("x-cfx-request-id");
    if (id) {
      at("play-request").textContent = id;
      at("play-request").href = `/logs/${encodeURIComponent(id)}`;
    }
    try {
      if (!response.ok) {
        if (response.status === 401) key = undefined;
        throw await cfx.refusal(response);
      }
      let first = true;
      for await (const event of events(response.body)) {
        if (event.error) throw new Error(event.error.message);
        told(event.usage);
        const text = event.choices?.[0]?.delta?.content;
        if (!text) continue;
        if (first) {
          first = false;
          at("play-first").textContent = `${Math.round(performance.now() - began)} ms`;
          state.textContent = words.streaming;
        }
        answer.append(text);
        answer.scrollTop = answer.scrollHeight;
      }
    } finally {
      if (id) cost(id).catch(() => {});
    }
  };

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (running) return;
    running = new AbortController();
    answer.textContent = "";
    for (const name of facts) at(`play-${name}`).textContent = words.none;
    send.disabled = true;
    stop.hidden = false;
    try {
      await ask(running.signal);
      state.textContent = words.done;
    } catch (problem) {
      state.textContent = running.signal.aborted ? words.stopped : `${words.failed} ${problem.message}`;
    } finally {
      running = undefined;
      send.disabled = false;
      stop.hidden = true;
    }
  });
  stop.addEventListener("click", () => running?.abort());
  send.disabled = false;
  state.textContent = words.ready;
})();
