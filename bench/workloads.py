"""What is asked of the contenders, and of which of them. Each workload is measured in rounds of turns (rounds.py)."""

import contextlib
import dataclasses
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import bodies
import load
from contenders import EXHAUSTED, RSA_NAME
from keys import keys
from upstreams import EVENTS

PROXIES = ("cfx", "bare pingora", "nginx", "HAProxy")
FAST = (*PROXIES, "onwards")
ALL = (*FAST, "Portkey", "LiteLLM")
# Milliseconds of processor time a request: theirs are few and long turns, of a quarter of the clients, or too large a part of what
# they worked on would be cut off by a turn's end.
SLOW = ("Portkey", "LiteLLM")
CONNECTIONS = 32
# Of bare pingora's peak.
SHARE = 0.7
# Of each client that keeps its own pace. h2load's clock of a client ticks every 10 ms at the most: beyond 100 they would ask in bursts.
EACH_RATE = 80
HONEST_RATE, HONEST_CONNECTIONS = 200, 8
# Fewer unknown keys than an address may show in a minute before it is told to wait: each gets its 401.
UNKNOWN_KEYS = 20
PACED_STREAMS, PACED_EVERY = 50, 20


@dataclasses.dataclass
class Workload:
    name: str
    title: str
    who: tuple
    turn: Callable
    # Sees to it that what is about to be measured is what is meant.
    check: Callable = lambda contender: None
    unit: str = "request"
    # Units in an answer.
    per: int = 1
    # What the others are held against.
    base: str = "bare pingora"
    # Of figures that mean nothing here.
    without: tuple = ()
    # Who is asked, of those that run; by default themselves.
    faces: Callable | None = None
    note: str = ""
    # In the chart.
    label: str = ""


def posts(name, title, who, body, connections=CONNECTIONS, path=load.CHAT, part=b"First read", tls=False, **more):
    """Clients that stay and ask again and again."""
    def turn(contender, seconds):
        clients = connections // 4 if contender.name in SLOW else connections
        return load.measured(contender, lambda: load.clients(contender, seconds, clients, body, path, tls))
    return Workload(name, title, who, turn, lambda contender: load.check(contender, body, path, tls, part=part), **more)


def of_json(ground, results):
    """In front of the upstream that has its answers ready, the most important first: time may run out."""
    small = bodies.chat(ground.folder, "small.json", 2 << 10)
    middle = bodies.chat(ground.folder, "middle.json", 100 << 10)
    large = bodies.chat(ground.folder, "large.json", 1 << 20)
    text = bodies.embedding(ground.folder, "embedding.json", 2 << 10)
    return [
        posts("chat-2k", f"Chat, 2 KB, JSON, {CONNECTIONS} connections", ALL, small, label="chat, 2 KB"),
        posts("chat-1m", "Chat, a prompt of 1 MB, 16 connections", FAST, large, 16, label="chat, a prompt of 1 MB"),
        at_share(results, small),
        handshakes("tls-new", "TLS, new connections, full handshakes, 16 clients", "full",
                   label="TLS, a full handshake"),
        handshakes("tls-resumed", "TLS, new connections, sessions resumed, 16 clients", "resumed",
                   label="TLS, a session resumed"),
        handshakes("tls-new-rsa", "TLS, new connections, full handshakes, a certificate of RSA with 2,048 bits, 16 clients", "full",
                   who=("cfx", "nginx"), server=RSA_NAME, base="nginx"),
        handshakes("tls-resumed-rsa", "TLS, new connections, sessions resumed, the same certificate, 16 clients", "resumed",
                   who=("cfx", "nginx"), server=RSA_NAME, base="nginx"),
        connections(),
        refusals(ground, small),
        floods(ground, small),
        posts("chat-100k", f"Chat, 100 KB, JSON, {CONNECTIONS} connections", FAST, middle, label="chat, 100 KB"),
        posts("embeddings", f"Embeddings, 2 KB of text, 1,536 numbers, {CONNECTIONS} connections", FAST, text,
              path="/v1/embeddings", part=b'"embedding":[', label="embeddings"),
        multiplexed(small),
        static(),
    ]


def of_events(ground):
    streamed = bodies.chat(ground.folder, "streamed.json", 2 << 10, stream=True)
    return [posts("sse-fast", f"SSE, {EVENTS} events an answer, each a write, 8 connections", ALL, streamed, 8, part=b"[DONE]",
                  unit="event", per=EVENTS, label="SSE, an event",
                  note="cfx has pieces go together that come closer than 0.5 ms upon one another, as these do, "
                  "so that its figure is not what an event costs by itself; sse-paced tells that "
                  "(docs/decisions/021-pieces-that-go-together.md); the others write them as they read them.")]


def of_paced(model):
    def turn(contender, seconds):
        # Of which a part goes by until all are open.
        seconds += 1
        def ask(direct=False):
            return load.paced(contender, seconds, model, PACED_STREAMS, PACED_EVERY, direct)
        return ask(direct=True)[1] if contender.name == "nobody" else load.measured(contender, ask)

    def faces(running):
        return [dataclasses.replace(running["cfx"], name="nobody", log=None, store=None), *running.values()]

    return [Workload("sse-paced", f"SSE, {PACED_STREAMS} streams, a token every {PACED_EVERY} ms", FAST, turn, unit="event",
                     faces=faces, note="nobody: the clients ask the model itself, which is what its own two ends take. "
                     "first: from a request to its first token; late: from a token's leaving the model to its coming to the client; "
                     "jitter: by how much that differs from the token's before.")]


def at_share(results, body):
    def turn(contender, seconds):
        peak = results.middle("chat-2k", "bare pingora", "rate")
        if peak is None:
            raise load.Failed("bare pingora's peak is not known")
        rate = peak * SHARE
        return load.measured(contender, lambda: load.at_rate(contender, seconds, body, rate, max(32, round(rate / EACH_RATE))))
    return Workload("chat-at-70", f"Chat, 2 KB, at {SHARE * 100:.0f} % of bare pingora's peak, clients that ask {EACH_RATE} times a second each",
                    PROXIES, turn)


def handshakes(name, title, manner, who=PROXIES, server="localhost", **more):
    def turn(contender, seconds):
        return load.measured(contender, lambda: load.handshakes(contender, seconds, manner, server))
    def check(contender):
        if server == RSA_NAME:
            load.check_rsa(contender, server)
    return Workload(name, title, who, turn, check, unit="connection", **more)


def connections():
    def turn(contender, seconds):
        return load.measured(contender, lambda: load.connections(contender, seconds))
    return Workload("tcp-new", "TCP, new connections on which nothing is said, one client", PROXIES, turn, unit="connection",
                    note="What of a TLS connection is not TLS.")


def multiplexed(body):
    def turn(contender, seconds):
        return load.measured(contender, lambda: load.multiplexed(contender, seconds, body))
    return Workload("http2", "Chat, 2 KB, over TLS and HTTP/2, 8 connections of 16 requests at a time", PROXIES, turn,
                    lambda contender: load.multiplexed(contender, 1, body), label="chat, 2 KB, HTTP/2 and TLS")


def static():
    path = "/assets/app.js"

    def turn(contender, seconds):
        return load.measured(contender, lambda: load.clients(contender, seconds, CONNECTIONS, path=path))
    return Workload("static", f"A file of 32 KB through a web route, {CONNECTIONS} connections", PROXIES, turn,
                    lambda contender: load.check(contender, path=path, part=b"export const"), label="a file of 32 KB, web route")


def unknown_keys(ground):
    """The file of keys that were given to nobody."""
    path = ground.folder / "unknown.txt"
    if not path.exists():
        path.write_text("".join(f"{key}\n" for key in keys(UNKNOWN_KEYS)))
    return path


def refusal(contender, seconds, ground, body, status, words=()):
    keys = unknown_keys(ground) if status == 401 else None
    return load.clients(contender, seconds, CONNECTIONS, body, refused=1.0, keys=keys, words=words)


def exhausted(contender):
    return contender.as_who("429, quota used up", contender.keys[EXHAUSTED])


def refusals(ground, body):
    """What it costs to say no, beside what it costs to serve."""
    def faces(running):
        cfx = running["cfx"]
        return [cfx.as_who("served", cfx.key), cfx.as_who("401, key unknown", cfx.key), exhausted(cfx)]

    def turn(contender, seconds):
        if contender.name == "served":
            return load.measured(contender, lambda: load.clients(contender, seconds, CONNECTIONS, body))
        return load.measured(contender, lambda: refusal(contender, seconds, ground, body, int(contender.name[:3])))

    def check(contender):
        if contender.name.startswith("429"):
            use_up(contender, body)
    return Workload("refusals", f"cfx: what a refusal costs, chat, 2 KB, {CONNECTIONS} connections", ("cfx",), turn, check, base="served",
                    faces=faces)


def use_up(contender, body):
    """The one request of the day, if it is not gone; then the refusal that is meant."""
    with contextlib.suppress(load.Failed):
        load.check(contender, body)
    load.check(contender, body, status=429, part=b"daily_quota_exceeded")


def floods(ground, body):
    """An honest client at its own pace, alone, and beside those who are refused as fast as they can ask."""
    def faces(running):
        cfx = running["cfx"]
        return [cfx.as_who("alone", cfx.key), cfx.as_who("beside 401s", cfx.key), cfx.as_who("beside 429s", cfx.key)]

    def check(contender):
        if contender.name == "beside 429s":
            use_up(exhausted(contender), body)

    def honest(contender, seconds):
        return load.measured(contender, lambda: load.at_rate(contender, seconds, body, HONEST_RATE, HONEST_CONNECTIONS))

    def turn(contender, seconds):
        if contender.name == "alone":
            return honest(contender, seconds)
        status = int(contender.name[len("beside "):][:3])
        flooding = contender if status == 401 else exhausted(contender)
        with beside(flooding, seconds, ground, body, status) as flood:
            turn = honest(contender, seconds)
        return {**turn, "flood": flood["rate"]}
    return Workload("floods", f"cfx: an honest client, {HONEST_RATE} requests a second, beside a flood of refusals at full speed",
                    ("cfx",), turn, check, base="alone", faces=faces, without=("cpu", "store_cpu", "switches"),
                    note="Those who flood yield their core to the honest client, so that what is seen is the edge's doing.")


@contextlib.contextmanager
def beside(contender, seconds, ground, body, status):
    """A flood for as long as the block lasts; in what is given, how many were refused in a second."""
    seen = {}
    with ThreadPoolExecutor(1) as pool:
        started = time.monotonic()
        flood = pool.submit(refusal, contender, seconds + 1, ground, body, status, ["chrt", "-i", "0"])
        # Until it has come to its full speed: CPU time is what tells.
        began = contender.cpu()
        while contender.cpu() - began < 0.2 and not flood.done():
            time.sleep(0.01)
        yield seen
        refused, _ = flood.result()
        seen["rate"] = refused / (time.monotonic() - started)
