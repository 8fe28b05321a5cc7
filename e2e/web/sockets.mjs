// WebSockets through cfx. Environment: as for client.mjs.
import WebSocket from "ws";
import { ca, ports } from "./client.mjs";

const here = { address: "127.0.0.1", family: 4 };
const lookup = (_, { all }, found) => (all ? found(null, [here]) : found(null, here.address, here.family));

/** A socket of this application that is open, over TLS or plain. What comes from then on is kept in `said`. */
export function opened(name, path, secure) {
  const address = secure ? `wss://${name}:${ports.tls}${path}` : `ws://${name}:${ports.plain}${path}`;
  const origin = address.replace("ws", "http");
  const socket = new WebSocket(address, { ca, servername: name, lookup, origin, perMessageDeflate: false });
  socket.said = [];
  socket.on("message", (message) => socket.said.push(message.toString()));
  return new Promise((resolve, reject) => {
    socket.on("open", () => resolve(socket));
    socket.on("error", reject);
  });
}

/** What this socket says next; fails where it ends instead. */
export async function next(socket) {
  while (socket.said.length === 0) await event(socket, "message");
  return socket.said.shift();
}

/** A frame to the other end and its answer. */
export async function pinged(socket) {
  socket.ping();
  await event(socket, "pong");
}

async function event(socket, name) {
  if (socket.readyState !== WebSocket.OPEN) throw new Error("closed");
  await new Promise((resolve, reject) => {
    socket.once(name, resolve);
    socket.once("close", (code) => reject(new Error(`closed with ${code}`)));
  });
}
