// What a browser does with a Next.js application, through cfx: pages, pieces, caches, ranges, compression.
import assert from "node:assert/strict";
import test from "node:test";
import zlib from "node:zlib";
import { ask, open, ways } from "./client.mjs";

// Next.js that compresses nothing, so that cfx does; and one that compresses itself behind the same kind of route.
const APP = "app.localhost";
const COMPRESSING = "compressing.localhost";
const PICTURE = "/picture.svg";
const decoders = { gzip: zlib.gunzipSync, br: zlib.brotliDecompressSync, zstd: null };

const entries = (list) => (list ?? "").toLowerCase().split(",").map((entry) => entry.trim());
const depends = (answer) => entries(answer.headers.vary).filter((entry) => entry === "accept-encoding").length;

for (const way of Object.keys(ways)) {
  test(`${way}: a page that was made beforehand, and its scripts`, async () => {
    const page = await ask(way, APP, "/");
    assert.equal(page.status, 200);
    assert.match(page.headers["content-type"], /^text\/html/);
    assert.match(page.body.toString(), /A page made beforehand/);
    assert.ok(page.headers["x-cfx-request-id"], "it came through cfx");
    const script = /src="(\/_next\/static\/[^"]+\.js)"/.exec(page.body.toString())[1];
    const read = await ask(way, APP, script);
    assert.equal(read.status, 200);
    assert.match(read.headers["cache-control"], /immutable/);
    assert.equal((await ask(way, APP, "/nothing-here")).status, 404);
  });

  test(`${way}: what a page says of itself to React`, async () => {
    const { location } = (await ask(way, APP, "/", { headers: { rsc: "1" } })).headers;
    const read = await ask(way, APP, location, { headers: { rsc: "1" } });
    assert.match(read.headers["content-type"], /^text\/x-component/);
    assert.ok(entries(read.headers.vary).includes("rsc"), read.headers.vary);
  });

  for (const accepted of ["identity", "gzip", "br"]) {
    test(`${way}: a server component arrives as it is made, ${accepted}`, async () => {
      const gate = `${process.pid} ${way} ${accepted}`.replaceAll(/\W/g, "-");
      const headers = { "accept-encoding": accepted };
      const { status, body, headers: said } = await ways[way](APP, `/streamed?gate=${gate}`, { headers });
      assert.equal(status, 200);
      assert.equal(said["content-encoding"], accepted === "identity" ? undefined : accepted);
      const read = decoded(body, accepted);
      let page = "";
      while (!page.includes("this was made first")) page += (await read.next()).value;
      assert.ok(page.includes("wait") && !page.includes("this was made last"), "the rest is not made yet");
      await open(APP, gate);
      for (let piece; !(piece = await read.next()).done; ) page += piece.value;
      assert.match(page, /this was made last/);
      assert.match(page, /<\/html>/);
    });
  }

  test(`${way}: events arrive one by one and are never compressed`, async () => {
    const gate = `${process.pid} ${way} events`.replaceAll(/\W/g, "-");
    const headers = { "accept-encoding": "gzip, br, zstd" };
    const { headers: said, body } = await ways[way](APP, `/events?gate=${gate}`, { headers });
    assert.match(said["content-type"], /^text\/event-stream/);
    assert.equal(said["content-encoding"], undefined);
    const read = body.setEncoding("utf8")[Symbol.asyncIterator]();
    assert.equal((await read.next()).value, "data: first\n\n");
    await open(APP, gate);
    assert.equal((await read.next()).value, "data: last\n\n");
    assert.ok((await read.next()).done);
  });

  for (const name of [APP, COMPRESSING]) {
    test(`${way}: ${name}: what has not changed is not sent again`, async () => {
      for (const path of ["/", PICTURE]) {
        for (const accepted of ["identity", "gzip"]) {
          const headers = { "accept-encoding": accepted };
          const first = await ask(way, name, path, { headers });
          const { etag } = first.headers;
          assert.ok(etag, `${path} has a tag`);
          const again = await ask(way, name, path, { headers: { ...headers, "if-none-match": etag } });
          assert.deepEqual([again.status, again.body.length], [304, 0], `${path} ${accepted} ${etag}`);
          assert.equal(bare(again.headers.etag), bare(etag));
          const other = await ask(way, name, path, { headers: { ...headers, "if-none-match": '"another"' } });
          assert.equal(other.status, 200);
        }
      }
    });

    test(`${way}: ${name}: parts of a picture`, async () => {
      const whole = await ask(way, name, PICTURE, { headers: { "accept-encoding": "identity" } });
      assert.equal(whole.headers["accept-ranges"], "bytes");
      // A part is never compressed by cfx, whatever is taken.
      const accepted = name === APP ? "gzip, br" : "identity";
      const part = (range, more = {}) =>
        ask(way, name, PICTURE, { headers: { "accept-encoding": accepted, range, ...more } });
      const middle = await part("bytes=100-299");
      assert.equal(middle.status, 206);
      assert.equal(middle.headers["content-range"], `bytes 100-299/${whole.body.length}`);
      assert.equal(middle.headers["content-encoding"], undefined);
      assert.deepEqual(middle.body, whole.body.subarray(100, 300));
      assert.deepEqual((await part("bytes=-50")).body, whole.body.subarray(-50));
      const beyond = await part("bytes=999999-");
      // Next.js says so under a 500 where it should be a 416; what it says is passed on.
      assert.ok([416, 500].includes(beyond.status), `${beyond.status}`);
      assert.equal(beyond.headers["content-range"], `bytes */${whole.body.length}`);
      const stale = await part("bytes=0-9", { "if-range": '"another"' });
      assert.equal(stale.status, 200, "it has changed: all of it");
    });

    test(`${way}: ${name}: HEAD says what GET would, without the body`, async () => {
      for (const path of ["/", PICTURE]) {
        for (const accepted of ["identity", "gzip"]) {
          const headers = { "accept-encoding": accepted };
          const got = await ask(way, name, path, { headers });
          const head = await ask(way, name, path, { headers, method: "HEAD" });
          assert.deepEqual([head.status, head.body.length], [200, 0]);
          for (const header of ["content-type", "content-encoding", "cache-control"]) {
            assert.equal(head.headers[header], got.headers[header], `${header} of ${path}, ${accepted}`);
          }
          // What Next.js compresses itself has the tag that it would have without.
          assert.equal(bare(head.headers.etag), bare(got.headers.etag));
          assert.equal(depends(head), depends(got), `vary of ${path}, ${accepted}`);
        }
      }
    });

    test(`${way}: ${name}: compression is negotiated, once, and said in Vary once`, async () => {
      for (const path of ["/", PICTURE]) {
        const plain = await ask(way, name, path, { headers: { "accept-encoding": "identity" } });
        assert.equal(plain.headers["content-encoding"], undefined);
        assert.equal(depends(plain), 1, `${path}: ${plain.headers.vary}`);
        for (const coding of Object.keys(decoders)) {
          const coded = await ask(way, name, path, { headers: { "accept-encoding": coding } });
          assert.equal(coded.status, 200);
          assert.equal(depends(coded), 1, `${path}, ${coding}: ${coded.headers.vary}`);
          // Next.js itself knows gzip alone; what it leaves, cfx compresses.
          assert.equal(coded.headers["content-encoding"], coding);
          assert.ok(coded.body.length < plain.body.length, `${coding} gains`);
          if (decoders[coding]) assert.deepEqual(decoders[coding](coded.body), plain.body);
        }
      }
    });
  }
}

/** A tag without its weakness, which stands for the same bytes where they are encoded. */
const bare = (etag) => etag.replace(/^W\//, "");

/** What can be read of an encoded stream so far, as it comes. */
async function* decoded(body, coding) {
  const decoder = { gzip: zlib.createGunzip, br: zlib.createBrotliDecompress }[coding];
  const stream = decoder ? body.pipe(decoder()) : body;
  for await (const piece of stream) yield piece.toString();
}
