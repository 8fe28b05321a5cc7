"""What stands behind everybody: a model that answers at once, one that streams, one that keeps its callers waiting."""

import json
import socket
import threading

import process
from contenders import nginx_process
from ground import RELEASE, free_port

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


class Holder:
    """Takes requests whole, and answers them when it is told to."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1_024)
        self.port = self.listener.getsockname()[1]
        self.taken, self.go = threading.Semaphore(0), threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def wait_for(self, requests, patience):
        """Whether so many have been read to their last byte, each within this time."""
        return all(self.taken.acquire(timeout=patience) for _ in range(requests))

    def _accept(self):
        while True:
            connection, _ = self.listener.accept()
            threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection):
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
            self.taken.release()
            self.go.wait()
            connection.sendall(f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(CHAT)}\r\n\r\n{CHAT}".encode())
