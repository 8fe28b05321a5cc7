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
  const AGAIN = 10_000;
  let source;
  let again;

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

  const stop = () => {
    clearTimeout(again);
    source?.close();
    source = undefined;
    button.textContent = button.dataset.follow;
    button.setAttribute("aria-pressed", "false");
    state.textContent = "";
  };
  const start = () => {
    source = new EventSource(button.dataset.url);
    button.textContent = button.dataset.pause;
    button.setAttribute("aria-pressed", "true");
    state.textContent = state.dataset.waiting;
    source.onopen = () => { state.textContent = state.dataset.open; };
    source.onerror = () => {
      state.textContent = state.dataset.lost;
      // Refused, a browser does not try again by itself.
      if (source?.readyState === EventSource.CLOSED) again = setTimeout(start, AGAIN);
    };
    source.addEventListener("log", (event) => show(JSON.parse(event.data)));
    // At the beginning the page itself has what is older.
    source.addEventListener("gap", (event) => {
      if (!event.lastEventId) return;
      const { from, until } = JSON.parse(event.data);
      const at = (time) => new Date(time).toLocaleTimeString(locale);
      missed.textContent = missed.dataset.words.replace("{from}", at(from)).replace("{until}", at(until));
      missed.hidden = false;
    });
    // It ends behind this, and would be opened again and again.
    source.addEventListener("problem", (event) => {
      stop();
      state.textContent = JSON.parse(event.data).error.message;
    });
  };
  button.hidden = false;
  button.addEventListener("click", () => (source ? stop() : start()));
  addEventListener("pagehide", stop);
})();
