// What every page has of script: times in the reader's own zone, a countdown, copying, the tokens of links, and how other
// scripts read the edge's answers. Pages work without it.
"use strict";
(() => {
  const { lang } = document.documentElement;
  // Days before months, as the pages write them.
  const locale = lang === "en" ? "en-GB" : lang;
  const words = document.body.dataset;
  const day = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "medium" });

  const local = (element) => {
    const at = new Date(element.dateTime);
    if (Number.isNaN(at.getTime())) return;
    element.title = `${element.dateTime.replace("T", " ").replace("Z", "")} UTC`;
    element.textContent = day.format(at);
  };

  // Why an answer is none: the edge's own words, and in how many seconds it says to ask again.
  const refusal = async (answer) => {
    const told = await answer.json().catch(() => ({}));
    const message = (told.error?.message ?? `HTTP ${answer.status}`).replace(/\.?$/, ".");
    return Object.assign(new Error(message), { status: answer.status, seconds: Number(answer.headers.get("Retry-After")) || undefined });
  };

  // The lines of a stream, as they come; one may come in several parts.
  const lines = async function* (body) {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let held = "";
    try {
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return;
        const whole = (held + value).split(/\r?\n/);
        held = whole.pop();
        yield* whole;
      }
    } finally {
      reader.cancel().catch(() => {}); // whoever stops reading leaves no answer open behind
    }
  };

  window.cfx = { local, locale, refusal, lines };
  document.querySelectorAll("time[data-local]").forEach(local);

  const units = words.units.split(" ");
  const two = (number) => String(number).padStart(2, "0");
  for (const element of document.querySelectorAll("time[data-countdown]")) {
    const end = new Date(element.dateTime);
    const clock = new Intl.DateTimeFormat(locale, { timeStyle: "short" }).format(end);
    element.title = day.format(end);
    const turn = () => {
      const left = Math.max(0, Math.ceil((end - Date.now()) / 1000));
      const time = `${Math.floor(left / 3600)} ${units[0]} ${two(Math.floor(left / 60) % 60)} ${units[1]} ${two(left % 60)} ${units[2]}`;
      element.textContent = `(${clock}) · ${element.dataset.countdown.replace("{time}", time)}`;
      if (left === 0) clearInterval(turning);
    };
    const turning = setInterval(turn, 1000);
    turn();
  }

  for (const button of document.querySelectorAll("[data-copy]")) {
    const text = button.previousElementSibling;
    const name = button.textContent;
    button.hidden = false;
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(text.textContent);
        button.textContent = words.copied;
      } catch {
        getSelection().selectAllChildren(text);
        button.textContent = words.copyFailed;
      }
      setTimeout(() => { button.textContent = name; }, 2000);
    });
  }

  // What is shown once is not to be sent for again: reloading leads to the page without it.
  const once = document.querySelector("[data-forget]");
  if (once) history.replaceState(null, "", once.dataset.forget);

  // A link's token stands behind the #, where no log has it; it leaves the address as soon as it is read.
  const form = document.querySelector("[data-fragment]");
  const token = location.hash.slice(1);
  if (form && token.startsWith("cfx_link_")) {
    form.elements[form.dataset.fragment].value = token;
    history.replaceState(null, "", location.pathname);
    if ("send" in form.dataset) form.requestSubmit();
  }
})();
