// What somebody does on their first day, from the link that `cfx dev` prints to signing out: one journey, in this order.
import assert from "node:assert/strict";
import { copyFileSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { EDGE, WIDE, enter, open, sessionOf, shoot, until, visit } from "./browser.mjs";
import { fits } from "./looks.mjs";
import * as model from "./model.mjs";
import { sdk, stream, work } from "./traffic.mjs";

const { LINK, CONF, MODEL_PORT } = process.env;
const LABEL = "laptop <b>&amp;</b> 🦊";

let browser, close, context, page, complaints;
let upstream;
let key;
// Made by this journey so far.
let requests = 0;

before(async () => {
  upstream = await model.start(Number(MODEL_PORT));
  ({ browser, close } = await open());
  ({ context, page, complaints } = await visit(browser));
});

after(async () => {
  await close?.();
  await upstream?.stop();
});

const number = async (locator) => Number((await locator.textContent()).replaceAll(/\D/g, ""));
const today = () => number(page.locator(".quota .large strong"));

test("the printed link signs in, once", async () => {
  await page.goto(EDGE);
  assert.equal(new URL(page.url()).pathname, "/sign-in", "nobody is signed in");
  await enter(page, LINK);
  assert.ok(!page.url().includes("cfx_link_"), "the token leaves the address");
  const cookie = await sessionOf(context);
  assert.deepEqual(
    { name: cookie.name, httpOnly: cookie.httpOnly, sameSite: cookie.sameSite, path: cookie.path, domain: cookie.domain },
    { name: "cfx_session", httpOnly: true, sameSite: "Strict", path: "/", domain: "127.0.0.1" },
  );
  const other = await visit(browser);
  await other.page.goto(LINK);
  await other.page.getByRole("alert").waitFor();
  assert.equal(await sessionOf(other.context), undefined, "a link that was used signs nobody in");
  await other.context.close();
});

test("the overview says that nothing was asked yet, and what to do", async () => {
  await page.goto(`${EDGE}/`);
  await page.getByRole("heading", { name: "Welcome" }).waitFor();
  assert.equal(await today(), 0);
  await page.locator("time.countdown", { hasText: "· in " }).waitFor();
  await fits(page, "the empty overview");
  await shoot(page, "overview-empty-1440");
});

test("a key is created, shown once and gone on reload", async () => {
  await page.goto(`${EDGE}/keys`);
  const form = page.locator("form[action='/keys']");
  if (!(await form.isVisible())) await page.locator("details.create > summary").click();
  await form.getByLabel("Name").fill(LABEL);
  await form.getByRole("button", { name: "Create a key" }).click();
  const shown = page.locator(".once pre");
  key = (await shown.textContent()).trim();
  assert.match(key, /^cfx_live_[0-9A-Za-z]{20,}$/);
  await shoot(page, "key-made-1440");
  await fits(page, "the page with the new key");
  await page.reload();
  await page.getByRole("heading", { name: "Keys" }).first().waitFor();
  assert.ok(!(await page.content()).includes(key), "gone on reload");
  assert.equal(await page.locator("li.card h2", { hasText: LABEL }).count(), 1, "made once, and its name is no markup");
  await page.goBack().catch(() => {});
  assert.ok(!(await page.content()).includes(key), "and on the way back");
});

test("the key serves the OpenAI SDK, and its request is in the live tail within two seconds", async () => {
  await page.goto(`${EDGE}/logs`);
  await page.getByRole("button", { name: "Follow live" }).click();
  await page.getByText("New requests appear as they end.").waitFor();
  const client = sdk(key);
  const answered = await client.chat.completions.create({ model: "plan", messages: [{ role: "user", content: "Hello" }] }).withResponse();
  const ended = performance.now();
  requests += 1;
  assert.match(answered.data.choices[0].message.content, /failing test/);
  const row = page.locator(`#rows a[href="/logs/${answered.response.headers.get("x-cfx-request-id")}"]`);
  await row.waitFor({ timeout: 2000 });
  console.log(`in the live tail after ${Math.round(performance.now() - ended)} ms`);
  const line = await page.locator("#rows tr").first().innerText();
  for (const told of ["Success", "plan", "claude-sonnet", LABEL]) assert.ok(line.includes(told), `${told}: ${line}`);
  await stream(client, "code", "And then?");
  requests += 1;
  await until("the stream's row", async () => (await page.locator("#rows tr").count()) === 2, 2500);
  await fits(page, "the live tail");
  await page.getByRole("button", { name: "Pause" }).click();
  await row.click();
  await page.getByRole("heading", { name: "Timeline" }).waitFor();
  await page.getByText("The answer was sent whole.").waitFor();
});

test("the overview's counts move", async () => {
  requests += await work(key, 6);
  // A request that was refused for what it asks counts for nothing.
  await until("every request counted", async () => {
    await page.goto(`${EDGE}/`);
    return (await today()) >= requests - 1;
  });
  assert.ok((await today()) <= requests, `${await today()} of ${requests}`);
  for (const row of [/plan\s*claude-sonnet/, /code\s*deepseek/, /review\s*gpt-mini/]) {
    assert.equal(await page.locator("section[aria-labelledby=stages] tbody tr").filter({ hasText: row }).count(), 1, String(row));
  }
  const cost = await page.locator(".figure", { hasText: "Cost today" }).innerText();
  assert.match(cost, /\$0\.\d*[1-9]/);
  await page.locator("#chart canvas").waitFor();
  const painted = await page.evaluate(() => {
    const canvas = document.querySelector("#chart canvas");
    return canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.some((byte) => byte !== 0);
  });
  assert.ok(painted, "the chart is drawn");
  await picture();
});

// The picture that README.md shows, of what this journey asked. Kept in the repository only where somebody asks for it.
async function picture() {
  await page.setViewportSize({ width: 1280, height: 900 });
  await page.reload();
  await page.locator("#chart canvas").waitFor();
  const taken = await shoot(page, "overview");
  await page.setViewportSize(WIDE);
  const { PICTURE } = process.env;
  if (PICTURE) copyFileSync(taken, PICTURE);
  assert.ok(statSync(taken).size < 150 * 1024, `${statSync(taken).size} bytes are too many for a page to load`);
}

test("a key that is revoked is refused", async () => {
  await page.goto(`${EDGE}/keys`);
  const card = page.locator("li.card", { hasText: LABEL });
  await card.locator("summary", { hasText: "Revoke" }).click();
  await card.getByRole("button", { name: "Yes, revoke it" }).click();
  await page.getByText("The key was revoked.").waitFor();
  // An edge hears of it within a second.
  const refused = () => stream(sdk(key), "plan", "Still there?").then(() => null, (problem) => problem);
  const { status, code } = await until("a refusal", refused, 1500);
  assert.deepEqual([status, code], [401, "invalid_api_key"]);
});

test("the playground streams on a key of its own", async () => {
  await page.goto(`${EDGE}/playground`);
  await page.getByLabel("Stage or model").selectOption("cfx-code");
  await page.getByLabel("Message").fill("Say something that takes a while.");
  const minted = page.waitForResponse((answer) => new URL(answer.url()).pathname === "/playground/key");
  await page.getByRole("button", { name: "Send" }).click();
  const answer = await (await minted).json();
  const minutes = (Date.parse(answer.expires_at) - Date.now()) / 60_000;
  assert.ok(minutes > 13 && minutes <= 15.1, `${minutes} minutes`);
  await until("the beginning of an answer before its end", async () => {
    const text = await page.locator("#answer").textContent();
    return text.length > 0 && (await page.locator("#play-state").textContent()) === "Streaming…";
  });
  await page.getByText("Done.").waitFor();
  assert.equal(await page.locator("#play-stage").textContent(), "code");
  assert.equal(await page.locator("#play-model").textContent(), "deepseek");
  assert.match(await page.locator("#play-tokens").textContent(), /[1-9]\d* tokens in, [1-9]\d* out/);
  await until("what it cost", async () => /\$0\.\d*[1-9]/.test(await page.locator("#play-cost").textContent()));
  assert.ok(!(await page.content()).includes(answer.key), "the key is in no element");
  await fits(page, "the playground after an answer");
  await shoot(page, "playground-answered-1440");
  await page.getByLabel("Message").fill("And something else that is cut short.");
  await page.getByRole("button", { name: "Send" }).click();
  await until("streaming", async () => (await page.locator("#play-state").textContent()) === "Streaming…");
  await page.getByRole("button", { name: "Stop" }).click();
  await page.getByText("Stopped.").waitFor();
});

test("a live tail that is refused says why, and comes again when it was told to", async () => {
  const cookie = await sessionOf(context);
  const tail = () => fetch(`${EDGE}/api/logs/tail`, { headers: { cookie: `${cookie.name}=${cookie.value}` } });
  const tails = await Promise.all([tail(), tail(), tail()]);
  assert.deepEqual(tails.map(({ status }) => status), [200, 200, 200]);
  const other = await visit(browser);
  await other.context.addCookies(await context.cookies());
  const asked = [];
  other.page.on("request", (request) => { if (request.url().includes("/api/logs/tail")) asked.push(performance.now()); });
  await other.page.goto(`${EDGE}/logs`);
  await other.page.getByRole("button", { name: "Follow live" }).click();
  await other.page.getByText(/: 3 live tails may be open at once, .* This page tries again by itself, in 10 s\.$/).waitFor();
  await fits(other.page, "the live tail that is refused");
  await Promise.all(tails.map(({ body }) => body.cancel()));
  await other.page.getByText("New requests appear as they end.").waitFor({ timeout: 30_000 });
  asked.slice(1).forEach((at, turn) => assert.ok(at - asked[turn] > 5_000, `asked again after ${at - asked[turn]} ms`));
  await other.context.close();
});

test("the playground says why it is refused, in the edge's words", async () => {
  const other = await visit(browser);
  await other.context.addCookies(await context.cookies());
  const error = { message: "more was asked for than this route lets through; try again in 90s", type: "rate_limit_error", code: "rate_limit_exceeded" };
  await other.page.route("**/v1/chat/completions", (route) => route.fulfill({ status: 429, headers: { "retry-after": "90" }, json: { error } }));
  await other.page.goto(`${EDGE}/playground`);
  await other.page.getByLabel("Message").fill("Anybody?");
  await other.page.getByRole("button", { name: "Send" }).click();
  await other.page.getByText("Failed. more was asked for than this route lets through; try again in 90s.").waitFor();
  await other.context.close();
});

test("the operator page shows a breaker that opened, and that it closed again", async () => {
  await page.goto(`${EDGE}/keys`);
  await page.locator("details.create > summary").click();
  await page.locator("form[action='/keys']").getByLabel("Name").fill("ci");
  await page.locator("form[action='/keys']").getByRole("button", { name: "Create a key" }).click();
  const client = sdk((await page.locator(".once pre").textContent()).trim());
  await upstream.stop();
  upstream = undefined;
  for (let tries = 0; tries < 4; tries += 1) await assert.rejects(stream(client, "plan", "Anybody?"), ({ status }) => [502, 503].includes(status));
  await page.goto(`${EDGE}/operator`);
  await page.getByText("Open: left alone").first().waitFor();
  await fits(page, "the operator page with an open breaker");
  await shoot(page, "operator-breaker-1440");
  upstream = await model.start(Number(MODEL_PORT));
  await until("an answer of the model that is back", () => stream(client, "plan", "Back?").catch(() => ""), 20_000);
  await page.reload();
  await until("a closed breaker", async () => {
    await page.reload();
    return (await page.getByText("Open: left alone").count()) === 0;
  });
});

test("the operator page shows a reload that failed, by file and line", async () => {
  const file = join(CONF, "models.yaml");
  const good = readFileSync(file, "utf8");
  writeFileSync(file, good.replace("default_stage: plan", "default_stage: plam"));
  await page.goto(`${EDGE}/operator`);
  await page.getByRole("button", { name: "Reload" }).click();
  const problem = page.locator(".problems li").first();
  await problem.waitFor();
  assert.match(await problem.textContent(), /models\.yaml:1:\d+.*plam/);
  await fits(page, "the operator page with a failed reload");
  await shoot(page, "operator-reload-1440");
  writeFileSync(file, good);
  await page.getByRole("button", { name: "Reload" }).click();
  await page.getByText("The configuration was read anew.").waitFor();
  assert.equal(await page.locator(".problems li").count(), 0);
});

test("signing out ends the session, also for who kept its cookie", async () => {
  const cookie = await sessionOf(context);
  await page.goto(`${EDGE}/`);
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByText("You are signed out.").waitFor();
  assert.equal(await sessionOf(context), undefined, "the cookie is gone");
  const kept = { headers: { cookie: `${cookie.name}=${cookie.value}` }, redirect: "manual" };
  const pages = await fetch(`${EDGE}/`, kept);
  assert.deepEqual([pages.status, pages.headers.get("location")?.split("?")[0]], [303, "/sign-in"]);
  assert.equal((await fetch(`${EDGE}/api/me`, kept)).status, 401);
  // The playground asks for its request's row until it is written.
  const unexpected = complaints.filter((complaint) => !(complaint.includes("/playground: ") && /404 .*\/api\/logs\//.test(complaint)));
  assert.deepEqual(unexpected, [], "no script failed, nothing was refused");
});
