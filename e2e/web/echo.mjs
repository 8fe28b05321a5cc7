// A WebSocket server that says what it hears, on the port of its first argument.
import { WebSocketServer } from "ws";

const server = new WebSocketServer({ port: Number(process.argv[2]), host: "127.0.0.1", perMessageDeflate: false });
server.on("connection", (socket) => {
  socket.on("message", (message) => socket.send(message));
  socket.on("error", () => {});
});
