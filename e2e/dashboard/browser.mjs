// A headless Chromium, what its pages complained of, and pictures of them.
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { chromium } from "playwright-core";

export const { EDGE, SHOTS } = process.env;
export const WIDE = { width: 1440, height: 900 };
export const NARROW = { width: 390, height: 844 };
const PATIENCE = 15_000;

const SWITCHES = [
  "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync",
  "--disable-dev-shm-usage", "--no-first-run",
];

// Starts a browser whose profile is new and goes with it.
export async function open() {
  const profile = mkdtempSync(join(process.env.TMPDIR ?? "/tmp", "cfx-chromium-"));
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM, args: SWITCHES, env: { ...process.env, HOME: profile },
  });
  const close = async () => {
    await browser.close();
    rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  };
  return { browser, close };
}

// A window of its own cookies. `complaints` gathers what no page may cause: errors of scripts, what the content security
// policy refused, assets that are not there.
export async function visit(browser, options = {}) {
  const context = await browser.newContext({ viewport: WIDE, locale: "en-GB", timezoneId: "Europe/Istanbul", reducedMotion: "reduce", ...options });
  context.setDefaultTimeout(PATIENCE);
  const complaints = [];
  context.on("page", (page) => {
    page.on("pageerror", (error) => complaints.push(`${page.url()}: ${error}`));
    // The status of a page itself is looked at by whoever asked for it.
    page.on("console", (message) => {
      const ofPage = message.text().includes("Failed to load resource") && message.location().url === page.url();
      if (message.type() === "error" && !ofPage) complaints.push(`${page.url()}: ${message.text()} ${message.location().url}`);
    });
  });
  const page = await context.newPage();
  return { context, page, complaints };
}

// Asks until `look` answers something that is true, and returns it.
export async function until(what, look, within = PATIENCE) {
  const end = performance.now() + within;
  let last;
  for (;;) {
    try {
      const found = await look();
      if (found) return found;
      last = found;
    } catch (problem) {
      last = problem;
    }
    if (performance.now() > end) throw new Error(`not within ${within} ms: ${what} (last: ${last})`);
    await sleep(50);
  }
}

export async function shoot(page, name, options = {}) {
  mkdirSync(SHOTS, { recursive: true });
  const path = join(SHOTS, `${name}.png`);
  await page.screenshot({ path, fullPage: true, animations: "disabled", ...options });
  return path;
}

// From a link to signed in. The page at the link's end sends the token by itself.
export async function enter(page, link) {
  await page.goto(link);
  await page.waitForURL((url) => !url.pathname.startsWith("/sign-in"));
}

export async function sessionOf(context) {
  const cookies = await context.cookies();
  return cookies.find(({ name }) => name === "cfx_session" || name === "__Host-cfx_session");
}

// The control API as a program uses it.
export function api(token) {
  return async (path, { method = "GET", body, status = 200 } = {}) => {
    const answer = await fetch(EDGE + path, {
      method, body: body && JSON.stringify(body), redirect: "manual",
      headers: { ...(token && { authorization: `Bearer ${token}` }), ...(body && { "content-type": "application/json" }) },
    });
    const text = await answer.text();
    if (answer.status !== status) throw new Error(`${method} ${path}: ${answer.status} in place of ${status}: ${text}`);
    return text && JSON.parse(text);
  };
}
