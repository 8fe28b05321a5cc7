// Two gigabytes up and two down, while cfx stays as it is. Environment: as for client.mjs, and CFX, the process.
import assert from "node:assert/strict";
import fs from "node:fs";
import test from "node:test";
import { ask, ways } from "./client.mjs";

const APP = "app.localhost";
const BYTES = 2 * 1024 ** 3;
const MOST_GROWTH = 32 * 1024 ** 2;
const PIECE = Buffer.alloc(256 * 1024, "x");
const WAYS = JSON.parse(process.env.WAYS ?? JSON.stringify(Object.keys(ways)));

function* pieces() {
  for (let sent = 0; sent < BYTES; sent += PIECE.length) yield PIECE;
}

/** What Linux says of cfx's memory, in bytes. */
function memory(line) {
  const said = fs.readFileSync(`/proc/${process.env.CFX}/status`, "utf8");
  return 1024 * Number(new RegExp(`^${line}:\\s+(\\d+) kB$`, "m").exec(said)[1]);
}

/** By how much cfx grew at its most while this was going on. */
async function growth(of) {
  const before = memory("VmRSS");
  fs.writeFileSync(`/proc/${process.env.CFX}/clear_refs`, "5"); // the peak counts from here
  await of();
  return memory("VmHWM") - before;
}

const passed = (grown) => assert.ok(grown < MOST_GROWTH, `cfx grew by ${(grown / 1024 ** 2).toFixed(1)} MiB`);
const rate = (since) => `${((BYTES / 1e6) / ((performance.now() - since) / 1000)).toFixed(0)} MB/s`;

for (const way of WAYS) {
  // With its length said, and without.
  const framing = { plain: { "content-length": BYTES } }[way] ?? {};

  test(`${way}: an upload`, async (context) => {
    const since = performance.now();
    const grown = await growth(async () => {
      const headers = { "content-type": "application/octet-stream", ...framing };
      const answer = await ask(way, APP, "/upload", { method: "POST", headers, body: pieces() });
      assert.deepEqual([answer.status, JSON.parse(answer.body)], [200, { bytes: BYTES }]);
    });
    context.diagnostic(`grew by ${(grown / 1024 ** 2).toFixed(1)} MiB at ${rate(since)}`);
    passed(grown);
  });

  test(`${way}: a download`, async (context) => {
    const since = performance.now();
    const grown = await growth(async () => {
      const { status, body } = await ways[way](APP, `/download?bytes=${BYTES}`);
      assert.equal(status, 200);
      let read = 0;
      for await (const piece of body) read += piece.length;
      assert.equal(read, BYTES);
    });
    context.diagnostic(`grew by ${(grown / 1024 ** 2).toFixed(1)} MiB at ${rate(since)}`);
    passed(grown);
  });
}
