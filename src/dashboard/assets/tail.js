// The live tail: requests as they end, at the head of the newest page.
"use strict";
(() => {
  const button = document.getElementById("tail");
  if (!button) return;
  const state = document.getElementById("tail-state");
  const missed = document.getElementById("tail-gap");
  const rows = document.getElementById("rows");
  const blank = document.getElementById("row").content;
  const { locale } = cfx;
  const count = new Intl.NumberFormat(locale);
  const seconds = new Intl.NumberFormat(locale, { minimumFractionDigits: 1, maximumFractionDigits: 1 });
  const money = new Intl.NumberFormat(locale, { style: "currency", currency: "USD", currencyDisplay: "narrowSymbol", minimumFractionDigits: 2, maximumFractionDigits: 6 });
  const MOST = 200;
  // In seconds: after how long a connection that was lost is tried again, twice as long each time.
  const SOON = 3;
  const LATE = 30;
  let following;
  // Where the tail is, for who opens it anew.
  let last = "";

  // Only ever as text: what clients and providers send is in here.
  const show = (entry) => {
    const link = `/logs/${encodeURIComponent(entry.request_id)}`;
    if (rows.querySelector(`a[href="${CSS.escape(link)}"]`) || document.querySelector(`#rows a[href="${link}"]`)) return;
    const row = blank.cloneNode(true);
    const field = (name) => row.querySelector(`[data-field="${name}"]`);
    row.querySelector("[data-link]").href = link;
    const time = field("created_at");
    time.dateTime = entry.created_at;
    cfx.local(time);
    const status = field("status");
    status.textContent = status.dataset[entry.status] ?? entry.status;
    status.dataset.status = entry.status;
    field("http_status").textContent = entry.http_status;
    field("stage").textContent = entry.stage ?? "";
    field("model").textContent = entry.model ?? "";
    const key = document.querySelector(`#key option[value="${CSS.escape(entry.key_id)}"]`);
    field("key_id").textContent = key?.textContent ?? field("key_id").dataset.unknown;
    field("total_tokens").textContent = entry.total_tokens == null ? "–" : count.format(entry.total_tokens) + (entry.estimated ? " ≈" : "");
    field("cost_usd").textContent = money.format(entry.cost_usd);
    field("latency_ms").textContent = entry.latency_ms < 1000 ? `${entry.latency_ms} ms` : `${seconds.format(entry.latency_ms / 1000)} s`;
    rows.prepend(row);
    rows.closest(".scroll").hidden = false;
    document.getElementById("none")?.remove();
    while (rows.rows.length > MOST) rows.lastElementChild.remove();
  };

  // At the beginning the page itself has what is older.
  const gap = ({ from, until }) => {
    if (!last) return;
    const at = (time) => new Date(time).toLocaleTimeString(locale);
    missed.textContent = missed.dataset.words.replace("{from}", at(from)).replace("{until}", at(until));
    missed.hidden = false;
  };

  const stop = (words) => {
    following?.abort();
    following = undefined;
    button.textContent = button.dataset.follow;
    button.setAttribute("aria-pressed", "false");
    state.textContent = words;
  };

  // The events of a stream, each with a line of data, as the edge sends them. An `EventSource` would tell neither the words of
  // a refusal nor for how long to wait.
  const events = async function* (body) {
    let event = {};
    for await (const line of cfx.lines(body)) {
      const [, field, value] = /^([^:]*):? ?(.*)$/s.exec(line);
      if (field) event[field] = value;
      if (line) continue;
      last = event.id ?? last;
      if (event.data) yield event;
      event = {};
    }
  };

  // Shows what comes until there is no more.
  const listen = async (signal, opened) => {
    state.textContent = state.dataset.waiting;
    const headers = { "Accept": "text/event-stream", ...(last && { "Last-Event-ID": last }) };
    const answer = await fetch(button.dataset.url, { headers, signal });
    if (!answer.ok) throw await cfx.refusal(answer);
    state.textContent = state.dataset.open;
    opened();
    for await (const { event, data } of events(answer.body)) {
      const told = JSON.parse(data);
      if (event === "log") show(told);
      else if (event === "gap") gap(told);
      // It ends behind this, and would be opened again and again.
      else if (event === "problem") stop(told.error.message);
    }
  };

  const start = async () => {
    following = new AbortController();
    const { signal } = following;
    button.textContent = button.dataset.pause;
    button.setAttribute("aria-pressed", "true");
    for (let lost = SOON; !signal.aborted; lost = Math.min(2 * lost, LATE)) {
      const problem = await listen(signal, () => { lost = SOON; }).catch((problem) => problem);
      if (signal.aborted) return;
      // What is refused for good is asked for once.
      if (problem?.status < 500 && problem.status !== 429) return stop(problem.message);
      const wait = problem?.status ? problem.seconds ?? LATE : lost;
      const refused = () => state.dataset.refused.replace("{message}", () => problem.message).replace("{n}", count.format(wait));
      state.textContent = problem?.status ? refused() : state.dataset.lost;
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, 1000 * wait);
        signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); });
      });
    }
  };

  button.hidden = false;
  button.addEventListener("click", () => (following ? stop("") : start()));
  addEventListener("pagehide", () => stop(""));
})();
