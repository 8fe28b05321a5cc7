// Somebody whose password Supabase keeps: from the sign-in page to a row of their own, and out again.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { EDGE, api, open, sessionOf, until, visit } from "./browser.mjs";
import * as model from "./model.mjs";
import { sdk } from "./traffic.mjs";

const { EMAIL, PASSWORD, MODEL_PORT } = process.env;

let browser, close, context, page, complaints, upstream;

before(async () => {
  upstream = await model.start(Number(MODEL_PORT));
  ({ browser, close } = await open());
  ({ context, page, complaints } = await visit(browser));
});

after(async () => {
  await close?.();
  await upstream?.stop();
});

async function signIn(password) {
  await page.goto(`${EDGE}/sign-in`);
  await page.getByLabel("E-mail").fill(EMAIL);
  await page.getByLabel("Password").fill(password);
  await page.getByRole("button", { name: "Sign in" }).click();
}

test("a password that is not theirs is said to be none", async () => {
  await signIn("not the password");
  await page.getByRole("alert").waitFor();
  assert.match(await page.getByRole("alert").innerText(), /do not match an account/);
  assert.equal(await sessionOf(context), undefined);
});

test("the password that Supabase keeps signs in by the page", async () => {
  await signIn(PASSWORD);
  await page.waitForURL((url) => url.pathname === "/");
  const cookie = await sessionOf(context);
  assert.match(cookie.value, /^cfx_session_/, "the session is the gateway's own");
  await page.goto(`${EDGE}/account`);
  await page.getByRole("main").getByText(EMAIL).waitFor();
});

test("what they ask is in their log", async () => {
  const { value } = await sessionOf(context);
  const { key } = await api(value)("/api/keys", { method: "POST", body: { label: "supabase" }, status: 201 });
  const asked = { model: "plan", messages: [{ role: "user", content: "Hello" }] };
  const { response } = await sdk(key).chat.completions.create(asked).withResponse();
  const row = page.locator(`#rows a[href="/logs/${response.headers.get("x-cfx-request-id")}"]`);
  await until("the request's row", async () => {
    await page.goto(`${EDGE}/logs`);
    return row.isVisible();
  });
  assert.equal(await page.locator("#rows tr").count(), 1);
});

test("signing out ends it, also for who kept the cookie", async () => {
  const { name, value } = await sessionOf(context);
  await page.goto(`${EDGE}/`);
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByText("You are signed out.").waitFor();
  assert.equal(await sessionOf(context), undefined);
  assert.equal((await fetch(`${EDGE}/api/me`, { headers: { cookie: `${name}=${value}` } })).status, 401);
  assert.deepEqual(complaints, []);
});
