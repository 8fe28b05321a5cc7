"""What stands behind everybody: a model that answers at once, two that stream, one that keeps its callers waiting."""

import json
import socket
import threading

import process
from contenders import nginx_process
from ground import PATIENCE, RELEASE, free_port

CHAT = json.dumps({
    "id": "chatcmpl-1", "created": 1, "model": "upstream-bench", "object": "chat.completion",
    "choices": [{"finish_reason": "stop", "index": 0, "message": {"content": "First read, then write.", "role": "assistant"}}],
    "usage": {"completion_tokens": 20, "prompt_tokens": 10, "total_tokens": 30}}, separators=(",", ":"))
# As many numbers as text-embedding-3-small gives.
EMBEDDING = json.dumps({
    "object": "list", "model": "upstream-bench", "usage": {"prompt_tokens": 10, "total_tokens": 10},
    "data": [{"object": "embedding", "index": 0, "embedding": [round((n * 7919 % 2003 - 1001) / 9973, 8) for n in range(1536)]}],
}, separators=(",", ":"))
ASSET_KB = 32
# Of a streamed answer.
EVENTS = 200
STREAM_HEAD = (b"HTTP/1.1 200 OK\r\ncache-control: no-cache\r\nx-accel-buffering: no\r\n"
               b"content-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n")
CHUNK = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "upstream-bench"}
# The longest word that nginx reads of its configuration.
WORD = 3_000

SERVER = """
  server {{
    listen 127.0.0.1:{port} reuseport;
    listen 127.0.0.2:{port} reuseport;
    location / {{ default_type application/json; return 200 '{chat}'; }}
    location /v1/embeddings {{ default_type application/json; {sets} return 200 "{names}"; }}
    location /assets/ {{ root {root}; }}
  }}
"""


def answers(ground):
    """nginx, which has each answer ready: chat, embeddings, a file."""
    port, root = free_port(), ground.folder / "www"
    (root / "assets").mkdir(parents=True)
    (root / "assets/app.js").write_text(("export const line = 'a line of code';\n" * 1_000)[: ASSET_KB << 10])
    parts = [EMBEDDING[start:start + WORD] for start in range(0, len(EMBEDDING), WORD)]
    sets = " ".join(f"set $part{number} '{part}';" for number, part in enumerate(parts))
    names = "".join(f"${{part{number}}}" for number in range(len(parts)))
    server = SERVER.format(port=port, chat=CHAT, root=root, sets=sets, names=names)
    nginx_process(ground.spawn, ground, "upstream", process.threads(), server, port)
    return port


def events(ground):
    """Streams of EVENTS events as fast as they are taken, each a chunk and a write of its own."""
    port = free_port()
    ground.spawn("events", [RELEASE / "examples/crowd", "events", "--listen", f"127.0.0.1:{port}", "--events", EVENTS], port)
    return port


def listening(serve):
    """The port on which every connection is served by a thread of its own."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1_024)

    def accept():
        while True:
            connection, _ = listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=serve, args=[connection], daemon=True).start()
    threading.Thread(target=accept, daemon=True).start()
    return listener.getsockname()[1]


def requests_on(connection):
    """One by one, each once it was read to its last byte."""
    reader = connection.makefile("rb")
    while line := reader.readline():
        length = 0
        while line.strip():
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
            line = reader.readline()
        while length > 0 and (piece := reader.read1(min(length, 1 << 16))):
            length -= len(piece)
        yield


class Holder:
    """Takes requests whole, and answers them when it is told to."""

    def __init__(self):
        self.taken, self.go = threading.Semaphore(0), threading.Event()
        self.port = listening(self._serve)

    def wait_for(self, requests, patience):
        """Whether so many have been read to their last byte, each within this time."""
        return all(self.taken.acquire(timeout=patience) for _ in range(requests))

    def _serve(self, connection):
        for _ in requests_on(connection):
            self.taken.release()
            self.go.wait()
            connection.sendall(f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(CHAT)}\r\n\r\n{CHAT}".encode())


def chunks(events):
    """A streamed answer in LiteLLM's form, an event a chunk."""
    said = [{**CHUNK, "choices": [{"index": 0, "delta": {"content": f"word {number:03} or two "}}]} for number in range(events - 3)]
    usage = {"prompt_tokens": 500, "completion_tokens": events - 3, "total_tokens": 497 + events}
    stop = {**CHUNK, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    every = [*said, stop, {**CHUNK, "choices": [{"index": 0, "delta": {}}], "usage": usage}]
    data = [f"data: {json.dumps(event)}\n\n".encode() for event in every] + [b"data: [DONE]\n\n"]
    return [b"%x\r\n%s\r\n" % (len(part), part) for part in data]


class Lockstep:
    """Streams its answer event by event, each only when the client has the one before: so no two are written or read at once."""

    def __init__(self, events):
        self.events, self.reached = events, threading.Semaphore(0)
        self.port = listening(self._serve)

    def _serve(self, connection):
        for _ in requests_on(connection):
            connection.sendall(STREAM_HEAD)
            for part in chunks(self.events):
                connection.sendall(part)
                if not self.reached.acquire(timeout=PATIENCE * 4):
                    return connection.close()
            connection.sendall(b"0\r\n\r\n")
