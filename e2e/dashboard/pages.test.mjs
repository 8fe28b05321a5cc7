// Every page, wide and narrow, at twice its size, dark and light, in both languages, by keyboard and without JavaScript;
// with names and texts in it that were made to break a layout.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { EDGE, NARROW, WIDE, api, enter, open, sessionOf, shoot, until, visit } from "./browser.mjs";
import { accessible, fits, walkable } from "./looks.mjs";
import * as model from "./model.mjs";
import { sdk, stream, work } from "./traffic.mjs";

const { LINK, MODEL_PORT } = process.env;
// 1440 × 900 at 200 %.
const ZOOMED = { viewport: { width: 720, height: 450 }, deviceScaleFactor: 2 };
const HOSTILE = {
  label: `${"W".repeat(60)}<script>alert(1)</script>`,
  session: `"><img src=x onerror=alert(1)>${"n".repeat(90)}`,
  right: "مفتاح الحاسوب المحمول  gnirts 🦊",
};

let browser, close, upstream, cookies;
// Path by name, for who is signed in and for who is not.
const signed = {
  overview: "/", logs: "/logs", "logs-filtered": "/logs?status=error&error=%3Cb%3E", log: "", "log-failed": "", keys: "/keys", connect: "/connect",
  playground: "/playground", operator: "/operator", account: "/account", "not-found": "/logs/00000000-0000-7000-8000-000000000000",
};
const unsigned = { "sign-in": "/sign-in", "sign-in-link": "/sign-in/link", register: "/register", "not-found-unsigned": "/no/such/page" };

before(async () => {
  upstream = await model.start(Number(MODEL_PORT));
  ({ browser, close } = await open());
  const { context, page } = await visit(browser);
  await enter(page, LINK);
  cookies = await context.cookies();
  const ask = api((await sessionOf(context)).value);
  const make = (body) => ask("/api/keys", { method: "POST", body, status: 201 });
  const { key } = await make({ label: HOSTILE.label, stages: ["plan", "code", "review", "direct"], daily_requests: 400 });
  await make({ label: HOSTILE.right, expires_at: new Date(Date.now() + 9e8).toISOString() });
  const gone = await make({ label: "gone" });
  await ask(`/api/keys/${gone.id}`, { method: "DELETE", status: 204 });
  await work(key, 1);
  const headers = { "x-cfx-session-id": HOSTILE.session };
  await stream(sdk(key), "code", "A session with a name of its own.", { headers });
  const latest = async (status) => {
    const { entries } = await ask(`/api/logs?status=${status}&limit=1`);
    return entries[0] && `/logs/${entries[0].request_id}`;
  };
  signed.log = await until("the row with the hostile session", async () => {
    const { entries } = await ask("/api/logs?limit=50");
    const entry = entries.find(({ session_id: session }) => session === HOSTILE.session);
    return entry && `/logs/${entry.request_id}`;
  });
  signed["log-failed"] = await until("a row that failed", () => latest("error"));
  await ask("/api/operator/users", { method: "POST", body: { email: `${"long".repeat(12)}@${"w".repeat(60)}.example.org` }, status: 201 });
  await context.close();
});

after(async () => {
  await close?.();
  await upstream?.stop();
});

async function everyPage(options, preferences, look) {
  const { context, page, complaints } = await visit(browser, options);
  const set = Object.entries(preferences).map(([name, value]) => ({ name: `cfx_${name}`, value, url: EDGE }));
  await context.addCookies(set);
  const problems = [];
  const go = async (names) => {
    for (const [name, path] of Object.entries(names)) {
      await page.goto(EDGE + path);
      // All of them are told, not the first alone.
      await look(page, name).catch((problem) => problems.push(problem.message));
    }
  };
  await go(unsigned);
  await context.addCookies(cookies);
  await go(signed);
  await context.close();
  assert.deepEqual([...problems, ...complaints], [], "nothing is amiss, no script failed, nothing was refused");
}

async function filtersOpen(page) {
  for (const closed of await page.locator("main details:not([open]) > summary").all()) {
    if (await closed.isVisible()) await closed.click();
  }
}

test("wide", async () => {
  await everyPage({ viewport: WIDE }, {}, async (page, name) => {
    await shoot(page, `${name}-1440`);
    await fits(page, name);
    await accessible(page, name);
    await walkable(page, name);
  });
});

test("narrow", async () => {
  await everyPage({ viewport: NARROW, hasTouch: true, isMobile: true }, {}, async (page, name) => {
    await shoot(page, `${name}-390`);
    await fits(page, name);
    await accessible(page, name);
    const menu = page.locator("details.menu > summary");
    if (await menu.isVisible()) {
      await menu.click();
      if (name === "overview") await shoot(page, "menu-390", { fullPage: false });
      await walkable(page, `${name} with its menu`);
    }
  });
});

test("light", async () => {
  await everyPage({ viewport: WIDE }, { theme: "light" }, async (page, name) => {
    await accessible(page, name);
    await shoot(page, `${name}-light-1440`);
  });
});

test("as the system has it", async () => {
  const background = (page) => page.evaluate(() => getComputedStyle(document.body).backgroundColor + getComputedStyle(document.documentElement).backgroundColor);
  const seen = {};
  for (const colorScheme of ["dark", "light"]) {
    for (const theme of ["auto", colorScheme]) {
      const { context, page } = await visit(browser, { colorScheme });
      await context.addCookies([{ name: "cfx_theme", value: theme, url: EDGE }]);
      await page.goto(`${EDGE}/sign-in`);
      seen[`${colorScheme} ${theme}`] = await background(page);
      await context.close();
    }
  }
  assert.equal(seen["dark auto"], seen["dark dark"]);
  assert.equal(seen["light auto"], seen["light light"]);
  assert.notEqual(seen["dark auto"], seen["light auto"]);
});

test("at twice the size, with everything open that opens", async () => {
  await everyPage(ZOOMED, {}, async (page, name) => {
    await filtersOpen(page);
    await fits(page, `${name} at 200 %`);
    if (["keys", "operator", "logs"].includes(name)) await shoot(page, `${name}-200`);
  });
});

test("narrow, with everything open that opens", async () => {
  await everyPage({ viewport: NARROW }, {}, async (page, name) => {
    await filtersOpen(page);
    await fits(page, `${name}, opened`);
    await accessible(page, `${name}, opened`);
    if (["keys", "operator", "logs"].includes(name)) await shoot(page, `${name}-open-390`);
  });
});

test("in Turkish", async () => {
  for (const viewport of [WIDE, NARROW]) {
    await everyPage({ viewport, locale: "tr-TR" }, {}, async (page, name) => {
      assert.equal(await page.locator("html").getAttribute("lang"), "tr", name);
      await fits(page, `${name} in Turkish`);
      await shoot(page, `${name}-tr-${viewport.width}`);
    });
  }
});

test("theme and language are chosen on the page, and stay", async () => {
  const { context, page } = await visit(browser);
  await page.goto(`${EDGE}/register`);
  await page.getByRole("button", { name: "Türkçe" }).click();
  assert.equal(new URL(page.url()).pathname, "/register");
  await page.getByRole("button", { name: "English" }).waitFor();
  await page.locator("form.toggles button[name=theme]").click();
  assert.equal(await page.locator("html").getAttribute("data-theme"), "light");
  await page.goto(`${EDGE}/sign-in`);
  assert.deepEqual([await page.locator("html").getAttribute("lang"), await page.locator("html").getAttribute("data-theme")], ["tr", "light"]);
  await context.close();
});

test("without JavaScript", async () => {
  const { context, page } = await visit(browser, { javaScriptEnabled: false });
  await page.goto(`${EDGE}/sign-in/link`);
  await page.getByRole("textbox", { name: "Link" }).waitFor();
  await page.goto(`${EDGE}/sign-in`);
  await page.getByLabel("Password").waitFor();
  await context.addCookies(cookies);
  await page.goto(`${EDGE}/`);
  await page.locator("details summary", { hasText: "As a table" }).click();
  assert.equal(await page.locator("#history ~ details tbody tr, section[aria-labelledby=history] tbody tr").count(), 30);
  assert.match(await page.locator("time.countdown").textContent(), /in \d+ h \d+ min/);
  await page.goto(`${EDGE}/logs`);
  await page.locator("details.filters > summary").click();
  await page.getByLabel("Stage").selectOption("code");
  await page.getByRole("button", { name: "Show" }).click();
  assert.ok(page.url().includes("stage=code"));
  assert.ok((await page.locator("#rows tr").count()) >= 5);
  assert.equal(await page.locator("#rows tr", { hasText: "review" }).count(), 0);
  await page.goto(`${EDGE}/keys`);
  await page.locator("details.create > summary").click();
  const form = page.locator("form[action='/keys']");
  await form.getByLabel("Name").fill("made without a script");
  await form.getByRole("button", { name: "Create a key" }).click();
  assert.match(await page.locator(".once pre").textContent(), /^cfx_live_/);
  await shoot(page, "key-made-without-script");
  const card = page.locator("li.card", { hasText: "made without a script" });
  await card.locator("summary", { hasText: "Revoke" }).click();
  await card.getByRole("button", { name: "Yes, revoke it" }).click();
  await page.getByText("The key was revoked.").waitFor();
  await context.close();
});

test("the page with a new key, narrow", async () => {
  const { context, page, complaints } = await visit(browser, { viewport: NARROW });
  await context.addCookies(cookies);
  await page.goto(`${EDGE}/keys`);
  await page.locator("details.create > summary").click();
  const form = page.locator("form[action='/keys']");
  await form.getByLabel("Name").fill("phone");
  await form.getByRole("button", { name: "Create a key" }).click();
  await page.locator(".once pre").waitFor();
  await shoot(page, "key-made-390");
  await fits(page, "the page with the new key");
  await accessible(page, "the page with the new key");
  assert.deepEqual(complaints, []);
  await context.close();
});
