"""A provider that says what it was told to say, in the wire forms of OpenAI and Anthropic, and remembers what it was asked.

It stands where a paid API would be. Its forms were taken from what LiteLLM 1.106 accepts and passes on unchanged.
"""

import json
import re
import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WORDS = ["The ", "scripted ", "provider ", "answers."]
USAGE = {"prompt_tokens": 21, "completion_tokens": 4, "total_tokens": 25}
RESPONSES_USAGE = {
    "input_tokens": 21, "input_tokens_details": {"cached_tokens": 0},
    "output_tokens": 4, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 25,
}
# `CUT reset 2` in a prompt: of the stream's events two are sent, or with -1 all but one, and then it goes wrong like that.
CUT = re.compile(r"CUT (close|reset|inside|silent|clean) (-?\d+)")
# What it refuses, and how, where the prompt holds these words: status, error, header lines.
REFUSALS = {
    "Be too long.": (400, {"message": "This model's maximum context length is 8 tokens.", "param": "messages",
                           "type": "invalid_request_error", "code": "context_length_exceeded"}, {}),
    "Have a bad schema.": (400, {"message": "Invalid schema for function 'read_file'.", "param": "tools[0].function",
                                 "type": "invalid_request_error", "code": "invalid_function_parameters"}, {}),
    "Come too often.": (429, {"message": "Rate limit reached: 3 requests a minute.", "param": None,
                              "type": "requests", "code": "rate_limit_exceeded"}, {"retry-after": "7"}),
}


class Provider:
    """Started on a free port; `requests` holds (path, headers, body) in order of arrival."""

    def __init__(self):
        self.requests = []
        self.lock = threading.Lock()
        provider = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))))
                with provider.lock:
                    provider.requests.append((self.path, dict(self.headers), body))
                self.cut = CUT.search(json.dumps(body))
                answer(self, body)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.root = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def last(self, path):
        """The newest request whose path ends so."""
        with self.lock:
            return next(entry for entry in reversed(self.requests) if entry[0].split("?")[0].endswith(path))

    def forget(self):
        with self.lock:
            self.requests.clear()


def answer(handler, body):
    path = handler.path.split("?")[0]
    refusal = next((refusal for words, refusal in REFUSALS.items() if words in json.dumps(body)), None)
    if refusal:
        status, error, headers = refusal
        send_json(handler, {"error": error}, status, headers)
    elif path.endswith("/chat/completions"):
        chat(handler, body)
    elif path.endswith("/completions"):
        completions(handler, body)
    elif path.endswith("/responses"):
        responses(handler, body)
    elif path.endswith("/messages"):
        messages(handler, body)
    elif path.endswith("/embeddings"):
        inputs = body["input"] if isinstance(body["input"], list) else [body["input"]]
        rows = [{"object": "embedding", "index": n, "embedding": [0.25, -0.5]} for n in range(len(inputs))]
        send_json(handler, {"object": "list", "model": body["model"], "data": rows,
                            "usage": {"prompt_tokens": 3, "total_tokens": 3}})
    else:
        send_json(handler, {"error": {"message": f"no script for {path}"}}, status=404)


def chat(handler, body):
    tools = body.get("tools")
    call = {"id": "call_1", "type": "function", "function": {"name": "read_file", "arguments": '{"path":"src/main.rs"}'}}
    if not body.get("stream"):
        message = {"role": "assistant", "content": None if tools else "".join(WORDS)}
        if tools:
            message["tool_calls"] = [call]
        finish = "tool_calls" if tools else "stop"
        send_json(handler, {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": body["model"],
                            "choices": [{"index": 0, "message": message, "finish_reason": finish}], "usage": USAGE})
        return
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": body["model"]}
    deltas = [{"role": "assistant", "content": ""}]
    deltas += [{"tool_calls": [{"index": 0, **call}]}] if tools else [{"content": word} for word in WORDS]
    events = [{**chunk, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    events.append({**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls" if tools else "stop"}]})
    if (body.get("stream_options") or {}).get("include_usage"):
        events.append({**chunk, "choices": [], "usage": USAGE})
    send_events(handler, [f"data: {json.dumps(event)}" for event in events] + ["data: [DONE]"])


def completions(handler, body):
    chunk = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": body["model"]}
    events = [{**chunk, "choices": [{"index": 0, "text": word, "finish_reason": None}]} for word in WORDS]
    events.append({**chunk, "choices": [{"index": 0, "text": "", "finish_reason": "stop"}], "usage": USAGE})
    send_events(handler, [f"data: {json.dumps(event)}" for event in events] + ["data: [DONE]"])


def responses(handler, body):
    text = "".join(WORDS)
    item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed",
            "content": [{"type": "output_text", "text": text, "annotations": []}]}
    whole = {"id": "resp_1", "object": "response", "created_at": 1, "model": body["model"], "status": "completed",
             "output": [item], "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "error": None,
             "incomplete_details": None, "instructions": None, "metadata": {}, "temperature": 1.0, "top_p": 1.0,
             "usage": RESPONSES_USAGE}
    if not body.get("stream"):
        send_json(handler, whole)
        return
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    part = {"type": "output_text", "text": "", "annotations": []}
    at = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    events = [
        {"type": "response.created", "response": begun},
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "status": "in_progress", "content": []}},
        {"type": "response.content_part.added", **at, "part": part},
        *({"type": "response.output_text.delta", **at, "delta": word} for word in WORDS),
        {"type": "response.output_text.done", **at, "text": text},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": whole},
    ]
    numbered = [{**event, "sequence_number": n} for n, event in enumerate(events)]
    send_events(handler, [f"event: {event['type']}\ndata: {json.dumps(event)}" for event in numbered])


def messages(handler, body):
    usage = {"input_tokens": 21, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 4}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": body["model"], "stop_sequence": None}
    if not body.get("stream"):
        send_json(handler, {**message, "content": [{"type": "text", "text": "".join(WORDS)}],
                            "stop_reason": "end_turn", "usage": usage})
        return
    begun = {**message, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    events = [
        {"type": "message_start", "message": begun},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}} for word in WORDS),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": {"output_tokens": 4}},
        {"type": "message_stop"},
    ]
    send_events(handler, [f"event: {event['type']}\ndata: {json.dumps(event)}" for event in events])


def send_json(handler, value, status=200, headers=()):
    body = json.dumps(value).encode()
    handler.send_response(status)
    handler.send_header("content-type", "application/json")
    handler.send_header("content-length", str(len(body)))
    for name, text in dict(headers).items():
        handler.send_header(name, text)
    handler.end_headers()
    handler.wfile.write(body)


def send_events(handler, events):
    handler.send_response(200)
    handler.send_header("content-type", "text/event-stream")
    handler.send_header("transfer-encoding", "chunked")
    handler.end_headers()
    whole = [f"{event}\n\n".encode() for event in events]
    how, count = handler.cut.groups() if handler.cut else (None, len(whole))
    for data in whole[:int(count)]:
        send_chunk(handler, data)
    if how is None or how == "clean":
        handler.wfile.write(b"0\r\n\r\n")
        return
    handler.close_connection = True
    if how == "inside":
        data = whole[int(count)]
        send_chunk(handler, data[:len(data) // 2])
    if how == "silent":
        handler.connection.settimeout(60)
        handler.connection.recv(1)  # until whoever asked gives up
    if how == "reset":
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.connection.close()
    else:
        handler.connection.shutdown(socket.SHUT_RDWR)


def send_chunk(handler, data):
    handler.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
    handler.wfile.flush()
