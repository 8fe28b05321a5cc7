// WebSockets of the development server, one plain and one over TLS, that nobody uses for as long as the first argument
// says, in seconds, and that are used again then. Environment: as for client.mjs.
import assert from "node:assert/strict";
import { once } from "node:events";
import { setTimeout as wait } from "node:timers/promises";
import { ask } from "./client.mjs";
import { next, opened, pinged } from "./sockets.mjs";

// What has the same id is one page to the server.
const open = (secure) => opened("dev.localhost", `/_next/hmr?id=idle-${secure}`, secure);
const sockets = await Promise.all([false, true].map(open));
await Promise.all(sockets.map(next));
await wait(2_000); // what it says at the beginning
for (const socket of sockets) socket.said = [];
await Promise.race([wait(1_000 * process.argv[2]), ...sockets.map((socket) => once(socket, "close"))]);
assert.deepEqual(sockets.map(({ said }) => said), [[], []], "nobody used them");
// From here to there and back, and then what the making of a page has the server tell everybody.
await Promise.all(sockets.map(pinged));
await Promise.all([...sockets.map(next), ask("plain", "dev.localhost", "/")]);
for (const socket of sockets) socket.terminate();
