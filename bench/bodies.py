"""Requests as agents send them."""

import json

FILLER = "fn main() {\n    println!(\"a line of code, é, \\t and a quote\");\n}\n"


def chat(folder, name, size, stream=False):
    """The file of a chat request of about `size` bytes."""
    body = {"model": "plan", "temperature": 0, "messages": [
        {"role": "system", "content": "You are a coding agent."}, {"role": "user", "content": ""}]}
    if stream:
        body.update(stream=True, stream_options={"include_usage": True})
    room = size - len(json.dumps(body))
    body["messages"][1]["content"] = FILLER * max(1, room // len(json.dumps(FILLER)[1:-1]))
    return written(folder, name, body)


def embedding(folder, name, size):
    """The file of a request for an embedding of about `size` bytes of text."""
    return written(folder, name, {"model": "plan", "input": FILLER * max(1, size // len(json.dumps(FILLER)[1:-1]))})


def written(folder, name, body):
    path = folder / name
    path.write_text(json.dumps(body))
    return path
