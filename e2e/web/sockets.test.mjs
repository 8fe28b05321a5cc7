// WebSockets under load: none may be lost between its 101 and what it carries. Environment: as for client.mjs.
import assert from "node:assert/strict";
import test from "node:test";
import { next, opened, pinged } from "./sockets.mjs";

const AT_ONCE = 100;

/** Opens so many, some at once; what was lost, by what was said of it. */
async function lost(count, one) {
  const losses = new Map();
  let left = count;
  const worker = async () => {
    while (left-- > 0) {
      try {
        await one(left);
      } catch (error) {
        losses.set(error.message, (losses.get(error.message) ?? 0) + 1);
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return Object.fromEntries(losses);
}

async function echoes(secure, number) {
  const socket = await opened("echo.localhost", "/", secure);
  socket.send(`word ${number}`);
  const heard = await next(socket);
  socket.terminate();
  assert.equal(heard, `word ${number}`);
}

// The development server tells every socket how things stand once it is open, and answers its ping.
async function hears(secure, number) {
  const socket = await opened("dev.localhost", `/_next/hmr?id=${number}`, secure);
  await next(socket);
  await pinged(socket);
  socket.terminate();
}

test("10,000 upgrades of the development server", async () => {
  assert.deepEqual(await lost(10_000, (number) => hears(number % 2 === 0, number)), {});
});
test("4,000 upgrades of a server that says what it hears", async () => {
  assert.deepEqual(await lost(4_000, (number) => echoes(number % 2 === 0, number)), {});
});
