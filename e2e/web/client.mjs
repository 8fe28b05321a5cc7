// A client of the applications behind cfx, by HTTP/1.1 in plain, HTTP/1.1 over TLS and HTTP/2 over TLS. Their names
// are told apart by cfx and need no resolver. Environment: HTTP and HTTPS (ports of cfx), CERTIFICATE.
import fs from "node:fs";
import http from "node:http";
import http2 from "node:http2";
import https from "node:https";
import tls from "node:tls";
import { Readable } from "node:stream";

export const ports = { plain: Number(process.env.HTTP), tls: Number(process.env.HTTPS) };
export const ca = fs.readFileSync(process.env.CERTIFICATE);
const host = "127.0.0.1";

/** An answer whose head has come: `{ status, headers, body }`, the body a stream. */
export const ways = { plain: over1(false), "HTTP/1.1 over TLS": over1(true), "HTTP/2": over2 };

function over1(secure) {
  const options = secure ? { port: ports.tls, ca } : { port: ports.plain };
  return (name, path, { method = "GET", headers = {}, body = null } = {}) =>
    new Promise((resolve, reject) => {
      const asked = (secure ? https : http).request(
        { host, ...options, servername: name, path, method, agent: false, headers: { host: name, ...headers } },
        (answer) => resolve({ status: answer.statusCode, headers: answer.headers, body: answer }),
      );
      asked.on("error", reject);
      send(asked, body);
    });
}

function over2(name, path, { method = "GET", headers = {}, body = null } = {}) {
  return new Promise((resolve, reject) => {
    const createConnection = () => tls.connect({ host, port: ports.tls, servername: name, ca, ALPNProtocols: ["h2"] });
    const connection = http2.connect(`https://${name}`, { createConnection, settings: { initialWindowSize: 1 << 20 } });
    connection.on("error", reject);
    const asked = connection.request({ ":method": method, ":path": path, ...headers }, { endStream: body === null });
    asked.on("response", (head) => resolve({ status: head[":status"], headers: head, body: asked }));
    asked.on("error", reject);
    asked.on("close", () => connection.close());
    if (body !== null) send(asked, body);
  });
}

function send(asked, body) {
  if (body === null) asked.end();
  else Readable.from(body, { objectMode: false }).pipe(asked);
}

/** The whole answer, its body as bytes. */
export async function ask(way, ...rest) {
  const { body, ...head } = await ways[way](...rest);
  const pieces = [];
  for await (const piece of body) pieces.push(piece);
  return { ...head, body: Buffer.concat(pieces) };
}

/** Lets the application go on with what waits at this gate. */
export const open = (name, gate) => ask("plain", name, `/open?gate=${gate}`, { method: "POST" });
