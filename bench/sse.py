"""An upstream that streams EVENTS events an answer, each a chunk and a write of its own, in LiteLLM's form.

Usage: sse.py PORT. Reads requests by their length, or to their last chunk, and keeps connections open.
"""

import asyncio
import json
import sys

EVENTS = 200
CHUNK = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "upstream-bench"}
HEAD = (b"HTTP/1.1 200 OK\r\ncache-control: no-cache\r\nx-accel-buffering: no\r\n"
        b"content-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n")


def chunks():
    # No two alike: LiteLLM takes a model that repeats itself for a broken one.
    deltas = [{**CHUNK, "choices": [{"index": 0, "delta": {"content": f"word {number:03} or two "}}]} for number in range(EVENTS - 3)]
    usage = {"prompt_tokens": 500, "completion_tokens": EVENTS - 3, "total_tokens": 497 + EVENTS}
    stop = {**CHUNK, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    events = [*deltas, stop, {**CHUNK, "choices": [{"index": 0, "delta": {}}], "usage": usage}]
    data = [f"data: {json.dumps(event)}\n\n".encode() for event in events] + [b"data: [DONE]\n\n"]
    return [b"%x\r\n%s\r\n" % (len(part), part) for part in data]


async def serve(reader, writer):
    parts = chunks()
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n") if b": " in line)
            if b"content-length" in fields:
                await reader.readexactly(int(fields[b"content-length"]))
            else:
                await reader.readuntil(b"\r\n0\r\n\r\n")
            writer.write(HEAD)
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0)  # the next stream's turn: so no two chunks of one answer leave together
            writer.write(b"0\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
