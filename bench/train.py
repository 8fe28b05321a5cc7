"""Has a cfx that counts its own steps do all that cfx does under load, so that the compiler knows what is to be fast.

Start it by scripts/profile, which builds that cfx and makes a profile of what it leaves behind. What nobody asks for here is
built to be small: who adds a path that has to be fast adds it here.
"""

import os
import re

import bodies
import contenders
import load
import rounds
import streams
import upstreams
import workloads
from ground import CFX, Database, Ground, NotStarted, free_port

SECONDS = 3
# What most edges do most of the time.
CHAT_SECONDS = 10
# Open at once, of a model that speaks HTTP/1.1 and of one that speaks HTTP/2.
STREAMS = 400
# The echo model says a word every 30 ms.
ECHO_CONNECTIONS = 100
# Of the bare proxy that is not here: what of it is asked for is how fast honest clients come.
PEAK = 8_000


def over_postgres(tag, upstream, make):
    """The workloads of `make bench`, each in a turn of cfx alone."""
    with Ground() as ground:
        port = upstream(ground)
        store = {"DATABASE_URL": Database(os.environ["CFX_TEST_POSTGRES"], f"train_{tag}").url}
        contender = contenders.cfx(ground, tag, port, store=store)
        for workload in [workload for workload in make(ground, port) if "cfx" in workload.who]:
            faces = workload.faces({"cfx": contender}) if workload.faces else [contender]
            for face in faces:
                print(f"train: {workload.name}, {face.name}", flush=True)
                workload.check(face)
                workload.turn(face, CHAT_SECONDS if workload.name == "chat-2k" else SECONDS)


def of_json():
    results = rounds.Results()
    results.turns["chat-2k"] = {"bare pingora": [{"rate": PEAK}]}
    over_postgres("json", upstreams.answers, lambda ground, _: workloads.of_json(ground, results))


def dialects():
    """`cfx dev`, over SQLite: its model answers in every dialect, at once and in streams."""
    asked = {
        "/v1/chat/completions": {"messages": [{"role": "user", "content": "Why? " * 20}]},
        "/v1/messages": {"max_tokens": 100, "messages": [{"role": "user", "content": "Why? " * 20}]},
        "/v1/responses": {"input": "Why? " * 20},
    }
    with Ground() as ground:
        contender = dev(ground)
        for path, body in asked.items():
            for stream in (False, True):
                print(f"train: {path}{', streamed' if stream else ''}", flush=True)
                file = bodies.written(ground.folder, "asked.json", {"model": "plan", "stream": stream, **body})
                load.check(contender, file, path)
                load.clients(contender, SECONDS * (2 if stream else 1), ECHO_CONNECTIONS if stream else 8, file, path)


def dev(ground):
    conf, data = ground.folder / "conf", ground.folder / "data"
    conf.mkdir()
    plain, tls, admin = free_port(), free_port(), free_port()
    contenders.written(conf, contenders.CFX_CONF, plain=plain, tls=tls, admin=admin, upstream=free_port(), threads=2, http2="auto",
                       **contenders.certificates(ground))
    command = [CFX, "dev", "--conf", conf, "--data", data, "--http", f"127.0.0.1:{plain}", "--https", f"127.0.0.1:{tls}",
               "--admin", f"127.0.0.1:{admin}"]
    process = ground.spawn("dev", command, admin, env={"PATH": os.environ["PATH"]})
    contender = contenders.Contender("cfx", process, plain, tls, admin=admin, command=command, log=ground.log("dev"))
    if not contenders.ready(contender):
        raise NotStarted(f"cfx dev is not ready:\n{contender.log.read_text()[-3000:]}")
    contender.key = re.search(r"\bcfx_\w{20,}", (data / "dev-key").read_text()).group()
    return contender


def main():
    of_json()
    over_postgres("events", upstreams.events, lambda ground, _: workloads.of_events(ground))
    for tls in (False, True):
        for speaks in ("--http1", "--http2"):
            print(f"train: streams, {'TLS' if tls else 'plain'}, {speaks}", flush=True)
            asked = streams.options(["--streams", str(STREAMS), "--seconds", str(SECONDS), "--every", "100", "--after", "0", speaks])
            streams.held(asked, tls, crowds=1)
    dialects()


if __name__ == "__main__":
    main()
