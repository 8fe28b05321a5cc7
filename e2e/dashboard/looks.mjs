// What is looked at on every page, whatever it shows: nothing wider than its place, no word over another, everything
// labelled and in contrast (axe-core), everything reached by the Tab key with its focus seen.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
const GRAVE = ["serious", "critical"];

export async function fits(page, where) {
  assert.deepEqual(await page.evaluate(misplaced), [], `${where}: wider than its place, or over something else`);
}

export async function accessible(page, where) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate((values) => axe.run(document, { runOnly: { type: "tag", values }, resultTypes: ["violations"] }), RULES);
  const told = violations.map(({ id, impact, help, nodes }) => ({ id, impact, help, at: nodes.map(({ html, failureSummary }) => `${html.slice(0, 160)} ${failureSummary}`).slice(0, 4) }));
  const minor = told.filter(({ impact }) => !GRAVE.includes(impact));
  if (minor.length > 0) console.log(`${where}: ${minor.map(({ id, impact, at }) => `${impact} ${id} ×${at.length}`).join(", ")}`);
  assert.deepEqual(told.filter(({ impact }) => GRAVE.includes(impact)), [], where);
}

// Walks the page by Tab from its beginning to its end.
export async function walkable(page, where) {
  await page.evaluate(() => {
    window.scrollTo(0, 0);
    document.activeElement?.blur();
    window.walk = { seen: new Set(), unseen: [], rounds: 0 };
  });
  for (let steps = 0; steps < 400; steps += 1) {
    await page.keyboard.press("Tab");
    if (await page.evaluate(step)) break;
  }
  const { missed, unseen } = await page.evaluate(notReached);
  assert.deepEqual(missed, [], `${where}: not reached by Tab`);
  assert.deepEqual(unseen, [], `${where}: focus is not seen`);
}

/* What follows runs in the page. */

// Notes where the focus stands; true once it has come round. A page may have put it in its middle.
function step() {
  const at = document.activeElement;
  const { seen, unseen } = window.walk;
  if (!at || at === document.body) {
    window.walk.rounds += 1;
    return window.walk.rounds > 2;
  }
  // A field for a date has several stops.
  if (seen.has(at)) return at !== window.walk.last;
  window.walk.last = at;
  seen.add(at);
  const style = getComputedStyle(at);
  const box = at.getBoundingClientRect();
  const marked = (style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2) || style.boxShadow !== "none";
  const inside = box.width > 0 && box.height > 0 && box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth;
  if (!marked || !inside) unseen.push(at.outerHTML.slice(0, 160));
  return false;
}

function notReached() {
  const { seen, unseen } = window.walk;
  const all = document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex]");
  const missed = [...all].filter((element) => {
    if (element.disabled || element.tabIndex < 0 || seen.has(element)) return false;
    if (!element.checkVisibility({ visibilityProperty: true, contentVisibilityAuto: true })) return false;
    // Arrow keys move within a group of radio buttons.
    return !(element.type === "radio" && [...seen].some((other) => other.name === element.name));
  });
  return { missed: missed.map((element) => element.outerHTML.slice(0, 160)), unseen };
}

function misplaced() {
  const told = [];
  const name = (element) => `<${element.tagName.toLowerCase()}${element.id && `#${element.id}`} class="${element.className?.baseVal ?? element.className}"> ${(element.textContent ?? "").trim().slice(0, 60)}`;
  const root = document.documentElement;
  if (root.scrollWidth > root.clientWidth) told.push(`the page: ${root.scrollWidth} in ${root.clientWidth} px`);

  const visible = (element) => element.checkVisibility({ opacityProperty: true, visibilityProperty: true, contentVisibilityAuto: true });
  // For screen readers alone, or off the page until it is focused.
  const away = (element) => {
    for (let at = element; at && at !== document.body; at = at.parentElement) {
      const style = getComputedStyle(at);
      if (style.clipPath !== "none" || (style.position === "absolute" && at.offsetWidth <= 1) || at.matches(".skip")) return true;
    }
    return false;
  };
  const scrolls = (element) => {
    for (let at = element; at && at !== document.body; at = at.parentElement) {
      if (["auto", "scroll"].includes(getComputedStyle(at).overflowX)) return at;
    }
    return null;
  };
  // What is to be copied is to be seen, whole.
  for (const settings of document.querySelectorAll(".recipes pre")) {
    if (settings.scrollWidth > settings.clientWidth + 1) told.push(`cut off: ${name(settings)} ${settings.scrollWidth} in ${settings.clientWidth} px`);
  }
  const texts = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode;
    const element = node.parentElement;
    if (!node.textContent.trim() || element.closest("script, template, noscript, option, datalist, svg") || !visible(element) || away(element)) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    const boxes = [...range.getClientRects()].filter((box) => box.width > 1 && box.height > 1);
    if (boxes.length > 0) texts.push({ element, boxes, scroller: scrolls(element) });
  }
  for (const { element, boxes, scroller } of texts) {
    const style = getComputedStyle(element);
    const cut = style.textOverflow === "ellipsis" && (element.title || element.closest("[title]"));
    if (!scroller && boxes.some((box) => box.right > root.clientWidth + 1 || box.left < -1)) told.push(`beyond the window: ${name(element)}`);
    if (!scroller && !cut && element.clientWidth > 0 && element.scrollWidth > element.clientWidth + 1) {
      told.push(`wider than its place: ${name(element)} ${element.scrollWidth} in ${element.clientWidth} px`);
    }
    // Its own box may hold it while a box further out does not.
    const holder = element.closest("td, th, li, dd, dt, p, button, summary, label, h1, h2, h3");
    if (holder && !scroller && !cut) {
      const place = holder.getBoundingClientRect();
      if (boxes.some((box) => box.right > place.right + 2)) told.push(`out of its box: ${name(element)}`);
    }
  }
  // What somebody typed may be longer than its field; what is offered may not.
  for (const select of document.querySelectorAll("select")) {
    if (visible(select) && select.scrollWidth > select.clientWidth + 1) told.push(`wider than its place: ${name(select)}`);
  }
  const controls = [...document.querySelectorAll("button, input:not([type=hidden]), select, textarea, summary")].filter((element) => visible(element) && !away(element));
  const things = [
    ...texts.flatMap(({ element, boxes, scroller }) => boxes.map((box) => ({ element, box, scroller }))),
    ...controls.map((element) => ({ element, box: element.getBoundingClientRect(), scroller: scrolls(element) })),
  ];
  const fixed = (element) => {
    for (let at = element; at; at = at.parentElement) if (["fixed", "sticky"].includes(getComputedStyle(at).position)) return true;
    return false;
  };
  for (const thing of things) thing.fixed = fixed(thing.element);
  for (const [index, one] of things.entries()) {
    for (const other of things.slice(index + 1)) {
      if (one.fixed !== other.fixed || one.scroller !== other.scroller) continue;
      if (one.element.contains(other.element) || other.element.contains(one.element)) continue;
      const width = Math.min(one.box.right, other.box.right) - Math.max(one.box.left, other.box.left);
      const height = Math.min(one.box.bottom, other.box.bottom) - Math.max(one.box.top, other.box.top);
      // Line boxes reach a little beyond their letters.
      if (width > 2 && height > 4) told.push(`over each other by ${Math.round(width)}×${Math.round(height)}: ${name(one.element)} | ${name(other.element)}`);
    }
  }
  return told;
}
