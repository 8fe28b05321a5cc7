// What a hostile page, link or reader gets: nothing. Cookies, headers, posts of other sites, ways back, secrets in pages.
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer, request as plain } from "node:http";
import { request as secure } from "node:https";
import { after, before, test } from "node:test";

import { EDGE, api, enter, open, sessionOf, visit } from "./browser.mjs";

const { LINK, PEPPER_FILE, TLS } = process.env;
const PASSWORD = "four words and a number 7";
const PAGES = ["/", "/logs", "/keys", "/connect", "/playground", "/operator", "/account", "/logs/00000000-0000-7000-8000-000000000000", "/nowhere"];
const OPEN_PAGES = ["/sign-in", "/sign-in/link", "/register", "/nowhere"];
const FOREIGN = ["//evil.example", "/\\evil.example", "https://evil.example/", "/\t/evil.example", "javascript:alert(1)", "/%09/evil.example"];

let browser, close, context, page, session, ask, me;

before(async () => {
  ({ browser, close } = await open());
  ({ context, page } = await visit(browser));
  await enter(page, LINK);
  session = await sessionOf(context);
  ask = api(session.value);
  await ask("/api/me/password", { method: "PUT", body: { new: PASSWORD }, status: 204 });
  me = await ask("/api/me");
});

after(() => close?.());

const asked = (path, options = {}) => fetch(EDGE + path, { redirect: "manual", ...options, headers: { cookie: `${session.name}=${session.value}`, ...options.headers } });
const labels = async () => (await ask("/api/keys")).map(({ label }) => label);

test("every page has the headers that keep it to itself", async () => {
  const all = [...PAGES.map((path) => [path, () => asked(path)]), ...OPEN_PAGES.map((path) => [path, () => fetch(EDGE + path, { redirect: "manual" })])];
  for (const [path, get] of all) {
    const answer = await get();
    const html = await answer.text();
    const policy = Object.fromEntries(answer.headers.get("content-security-policy").split(";").map((part) => part.trim().split(/\s+(.*)/)));
    assert.deepEqual([policy["default-src"], policy["script-src"], policy["style-src"], policy["frame-ancestors"], policy["base-uri"], policy["form-action"]],
      ["'none'", "'self'", "'self'", "'none'", "'none'", "'self'"], path);
    assert.ok(!answer.headers.get("content-security-policy").includes("unsafe"), path);
    assert.equal(answer.headers.get("x-content-type-options"), "nosniff", path);
    assert.equal(answer.headers.get("x-frame-options"), "DENY", path);
    assert.match(answer.headers.get("referrer-policy"), /^(same-origin|no-referrer)$/, path);
    assert.match(answer.headers.get("permissions-policy"), /camera=\(\)/, path);
    assert.equal(answer.headers.get("cache-control"), "no-store", path);
    assert.match(answer.headers.get("content-type"), /^text\/html; ?charset=utf-8$/i, path);
    assert.ok(!answer.headers.has("server") && !answer.headers.has("x-powered-by"), path);
    assert.doesNotMatch(html, /<script(?![^>]*\b(src|type="application\/json"))/, `${path}: a script in the page itself`);
    assert.doesNotMatch(html, /\son[a-z]+=|\sstyle=|javascript:/, `${path}: script or style in an attribute`);
  }
});

test("every answer of the control API has its own", async () => {
  for (const path of ["/api/me", "/api/keys", "/api/logs", "/api/nowhere", "/api/openapi.json", "/api/docs"]) {
    const answer = await asked(path);
    await answer.text();
    const policy = answer.headers.get("content-security-policy");
    assert.match(policy, /default-src 'none'/, path);
    assert.match(policy, /frame-ancestors 'none'/, path);
    assert.equal(answer.headers.get("x-content-type-options"), "nosniff", path);
    assert.ok(!answer.headers.has("access-control-allow-origin"), path);
    if (!/openapi|docs/.test(path)) assert.equal(answer.headers.get("cache-control"), "no-store", path);
  }
});

test("assets keep for good, and are few", async () => {
  const html = (await Promise.all(PAGES.map((path) => asked(path).then((answer) => answer.text())))).join("");
  const assets = new Set(html.match(/\/assets\/[^"]+/g));
  assert.ok(assets.size >= 5, [...assets].join());
  let bytes = 0;
  for (const path of assets) {
    const answer = await fetch(EDGE + path);
    bytes += (await answer.arrayBuffer()).byteLength;
    assert.equal(answer.status, 200, path);
    assert.match(answer.headers.get("cache-control"), /immutable/, path);
    const again = await fetch(EDGE + path, { headers: { "if-none-match": answer.headers.get("etag") } });
    assert.equal(again.status, 304, path);
  }
  assert.ok(bytes < 150 * 1024, `${bytes} bytes of assets`);
});

test("the session's cookie is as designed, and over plain http elsewhere there is none", async () => {
  const answer = await fetch(`${EDGE}/sign-in`, {
    method: "POST", redirect: "manual", headers: { "content-type": "application/x-www-form-urlencoded" },
    body: new URLSearchParams({ email: me.email, password: PASSWORD, next: "/" }),
  });
  assert.equal(answer.status, 303, await answer.text());
  const [cookie] = answer.headers.getSetCookie();
  assert.match(cookie, /^cfx_session=cfx_session_[0-9A-Za-z]+; Path=\/; Max-Age=\d+; HttpOnly; SameSite=Strict$/);
  assert.ok(!answer.headers.get("location").includes("cfx_"));
  assert.equal(await page.evaluate(() => document.cookie), "", "no script can read it");
  assert.equal(await page.evaluate(() => localStorage.length + sessionStorage.length), 0);
});

// A form sent as this host's, whatever the address.
async function signIn(base, host) {
  const body = new URLSearchParams({ email: me.email, password: PASSWORD, next: "/" }).toString();
  const send = base.startsWith("https:") ? secure : plain;
  const headers = { host, "content-type": "application/x-www-form-urlencoded", "content-length": body.length };
  const request = send(`${base}/sign-in`, { method: "POST", headers, rejectUnauthorized: false });
  request.end(body);
  const [answer] = await once(request, "response");
  let text = "";
  for await (const part of answer) text += part;
  return { status: answer.statusCode, cookies: answer.headers["set-cookie"] ?? [], text };
}

test("by https the cookie is bound to its host and secure; by plain http from elsewhere nobody signs in", async () => {
  const { status, cookies: [cookie] } = await signIn(TLS, new URL(TLS).host);
  assert.equal(status, 303);
  assert.match(cookie, /^__Host-cfx_session=cfx_session_[0-9A-Za-z]+; Path=\/; Max-Age=\d+; HttpOnly; SameSite=Strict; Secure$/);
  const elsewhere = await signIn(EDGE, "edge.example.org");
  assert.deepEqual([elsewhere.status, elsewhere.cookies], [403, []]);
  assert.match(elsewhere.text, /Signing in needs https here/);
});

test("a way back leads to our own pages alone", async () => {
  for (const next of FOREIGN) {
    const here = await asked(`/sign-in?next=${encodeURIComponent(next)}`);
    const to = new URL(here.headers.get("location") ?? "/", EDGE);
    assert.deepEqual([here.status, to.origin], [303, EDGE], `${next}: ${to}`);
    const html = await (await fetch(`${EDGE}/sign-in?next=${encodeURIComponent(next)}`)).text();
    const kept = html.match(/<input type="hidden" name="next" value="([^"]*)">/)[1];
    assert.equal(new URL(kept, EDGE).origin, EDGE, `${next}: ${kept}`);
    const looks = await asked("/preferences", {
      method: "POST", headers: { "content-type": "application/x-www-form-urlencoded" }, body: new URLSearchParams({ theme: "dark", back: next }),
    });
    assert.equal(new URL(looks.headers.get("location"), EDGE).origin, EDGE, next);
  }
  const own = await asked("/sign-in?next=%2Flogs%3Fstage%3Dplan");
  assert.equal(own.headers.get("location"), "/logs?stage=plan");
});

// A page of `origin` that sends a form and JSON here, as far as a browser lets it.
async function attack(host) {
  const { port } = new URL(EDGE);
  const pages = {
    "/form": (action, fields) => `<form id=f method=post action="${action}">${fields}</form><script>f.submit()</script>`,
  };
  const server = createServer((request, response) => {
    const { searchParams, pathname } = new URL(request.url, "http://x");
    response.setHeader("content-type", "text/html");
    const fields = '<input name=label value="planted"><input name=expires value="">';
    response.end(pathname === "/form" ? pages["/form"](searchParams.get("to"), fields) : "<p>nothing here</p>");
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const evil = `http://${host}:${server.address().port}`;
  const { context: other, page: theirs } = await visit(browser);
  await other.addCookies([session]);
  const sent = [];
  theirs.on("response", async (answer) => {
    const request = answer.request();
    if (request.method() !== "POST" || new URL(request.url()).port !== port) return;
    sent.push(request.allHeaders().then((headers) => ({ path: new URL(request.url()).pathname, status: answer.status(), withCookie: Boolean(headers.cookie) })));
  });
  for (const path of ["/keys", "/api/keys", "/sign-out", "/operator/reload", "/api/logout", "/preferences"]) {
    await theirs.goto(`${evil}/form?to=${encodeURIComponent(EDGE + path)}`);
    await theirs.waitForURL((url) => url.port === port);
  }
  await theirs.goto(`${evil}/`);
  for (const type of ["text/plain", "application/x-www-form-urlencoded"]) {
    await theirs.evaluate(({ url, type }) => fetch(url, {
      method: "POST", mode: "no-cors", credentials: "include", headers: { "content-type": type }, body: '{"label":"planted"}',
    }).catch(() => {}), { url: `${EDGE}/api/keys`, type });
  }
  const read = await theirs.evaluate((url) => fetch(url, { credentials: "include" }).then((answer) => answer.text(), () => "refused"), `${EDGE}/api/me`);
  const answers = await Promise.all(sent);
  await other.close();
  server.closeAllConnections();
  server.close();
  return { answers, read };
}

test("what another site posts with this browser's cookies is refused", async () => {
  const before = await labels();
  for (const [host, withCookie] of [["localhost", false], ["127.0.0.1", true]]) {
    const { answers, read } = await attack(host);
    assert.equal(answers.length, 8, JSON.stringify(answers));
    assert.deepEqual(answers.map(({ status }) => status), Array(8).fill(403), JSON.stringify(answers));
    // Another port is another origin and yet the same site: there even strict cookies go with a form.
    assert.deepEqual(answers.slice(0, 6).map((answer) => answer.withCookie), Array(6).fill(withCookie), JSON.stringify(answers));
    assert.equal(read, "refused", `${host}: no page of another origin reads the API`);
  }
  assert.deepEqual(await labels(), before, "no key was planted");
  assert.equal((await asked("/api/me")).status, 200, "nobody was signed out");
});

test("a post with the cookie and without its proof is refused", async () => {
  const before = await labels();
  const json = { method: "POST", headers: { "content-type": "application/json" }, body: '{"label":"planted"}' };
  const forms = { method: "POST", headers: { "content-type": "application/x-www-form-urlencoded" } };
  assert.equal((await asked("/api/keys", json)).status, 403);
  assert.equal((await asked("/api/keys", { ...json, headers: { ...json.headers, "x-csrf-token": "a".repeat(43) } })).status, 403);
  assert.equal((await asked("/keys", { ...forms, body: "label=planted" })).status, 403);
  assert.equal((await asked("/keys", { ...forms, body: `label=planted&csrf=${"a".repeat(43)}` })).status, 403);
  assert.equal((await asked("/keys", { ...forms, body: `label=planted&csrf=${me.csrf}`, headers: { ...forms.headers, origin: "https://evil.example" } })).status, 403);
  assert.deepEqual(await labels(), before);
});

test("no page has a secret in it but the one that shows a key", async () => {
  const { key, id } = await ask("/api/keys", { method: "POST", body: { label: "secret" }, status: 201 });
  const secrets = { key, session: session.value, link: LINK.split("#")[1], password: PASSWORD, pepper: readFileSync(PEPPER_FILE, "utf8").trim() };
  for (const [name, secret] of Object.entries(secrets)) assert.ok(secret.length >= 16, name);
  const paths = [...PAGES, ...OPEN_PAGES, "/api/me", "/api/keys", "/api/logs", "/api/operator/state", "/api/operator/users", "/api/openapi.json", "/api/docs", "/sign-in?said=signed_out"];
  for (const path of paths) {
    const answer = await asked(path);
    const told = (await answer.text()) + JSON.stringify([...answer.headers]);
    for (const [name, secret] of Object.entries(secrets)) assert.ok(!told.includes(secret), `${path} tells the ${name}`);
  }
  await ask(`/api/keys/${id}`, { method: "DELETE", status: 204 });
});

test("signing in is slowed down for who guesses", async () => {
  const attempt = (email, password) => fetch(`${EDGE}/api/login`, {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ email, password }),
  });
  let throttled;
  for (let tries = 0; tries < 12 && !throttled; tries += 1) {
    const answer = await attempt("nobody@example.org", "not the password");
    assert.ok([401, 429].includes(answer.status), String(answer.status));
    if (answer.status === 429) throttled = answer;
  }
  assert.ok(Number(throttled?.headers.get("retry-after")) > 0, "after a few guesses one is told to wait");
});
