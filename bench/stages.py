"""Where the time of a request goes: the instructions of a chat request of 2 KB, and of an event of a streamed answer, by stage,
through the whole process as it is served, with everything on; its system calls and allocations beside them.

Start it by scripts/stages, which builds what it needs and brings the throw-away Postgres. Writes docs/where-the-time-goes.md.
"""

import argparse
import collections
import http.client
import os
import re
import signal
import subprocess

import allocations
import bodies
import contenders
import flame
import instructions
import load
import page
import process
import setting
import upstreams
from ground import CFX, HERE, PATIENCE, RELEASE, Database, Ground

PAGE = HERE.parent / "docs" / "where-the-time-goes.md"
FLAME = PAGE.parent / "images" / "where-the-time-goes.svg"
# What is counted is the difference of two runs, over as much more as was done in the second: what is done once, or was done by
# the clock, is in neither's.
FEW, MANY = 1, 3
WARMING, STREAMS = 100, 5
SECONDS, CLIENTS = 3, 32
SHORT, LONG = 20, upstreams.EVENTS
OTHERWISE = "everything else"
# Asked by this script, to see that every row is stored.
METRICS = "/metrics"
# In a request's order. An instruction belongs to the innermost function that one of these knows by its file and name; what no one
# knows (headers' maps, the allocator, libc) to the stage it was called for.
STAGES = {
    "accept, parse": r"cfx/entry/(?!drain|admin|client_address|connection)|cfx/proxy/serve\.rs|pingora-core/.*/v1/server\.rs .*read_request",
    "route": r"cfx/proxy/(own|guard|guarded|path|route)\.rs|cfx/proxy/route_guard|cfx/(config/|entry/client_address)|"
             r"cfx/proxy/exchange\.rs .*(begin|open)\b",
    "authenticate": r"cfx/proxy/credential|cfx/admission/(key|keys|known|pepper|lookup|registry|principal|key_store)\.rs|"
                    r"cfx/proxy/admit\.rs .*authenticate",
    "read the body": r"cfx/proxy/body\.rs|pingora-core/.*/v1/server\.rs .*read_body",
    "admit: quota, caps": r"cfx/admission/|cfx/proxy/(admit|beside)\.rs",
    "read the JSON, rewrite": r"cfx/llm/(request|rewrite|stage|controls|catalog|endpoint)",
    "tap: usage, price": r"cfx/llm/(?!json)|cfx/proxy/meter\.rs",
    "choose a target": r"cfx/upstream/(balancer|breaker|shared_breaker|budget|favour|member|pool|connect|health|resolve|care)\.rs|"
                       r"cfx/proxy/attempts\.rs",
    "write upstream": r"cfx/upstream/(request|attempt)\.rs|cfx/proxy/outgoing\.rs",
    "read upstream": r"cfx/upstream/",
    "response head": r"cfx/proxy/(stamp|refuse)\.rs|cfx/proxy/.* .*(response_headers|dress_stream|write_head)|"
                     r"pingora-core/.*/v1/server\.rs .*response_header",
    "write downstream": r"cfx/proxy/downstream\.rs|pingora-core/.*/v1/server\.rs .*write_body",
    "between the two: relay, limits": r"cfx/proxy/(relay|patience|commit)\.rs|cfx/entry/drain",
    METRICS: r"cfx/(entry/admin|telemetry/exposition)|prometheus/",
    "ledger: record, spool": r"cfx/ledger/",
    "metrics, access log": r"cfx/telemetry/|cfx/proxy/(account|outcome)\.rs",
    "row to the store": r"cfx/storage/|libsqlite3/|rusqlite/|tokio-postgres/|postgres-protocol/|deadpool",
    "runtime: tokio": r"tokio/src/runtime/|mio/|std/std/src/sys/backtrace\.rs .*notify|notify/",
}
FORMS = {name: re.compile(f"(?:{form})") for name, form in STAGES.items()}
ALLOCATOR, COPYING, OWN = "allocator", "copying", "own"
LIBC_COPIES = re.compile(r"_*(mem(cpy|move|set|cmp)|bcmp)")
SHA = "sha2/"


def ask(model, contender, body, streams, events):
    """So many streams of so many events, each event sent once the one before has come."""
    model.events = events
    connection = http.client.HTTPConnection("127.0.0.1", contender.plain, timeout=PATIENCE * 4)
    for _ in range(streams):
        connection.request("POST", load.CHAT, body, {"content-type": "application/json", **contender.asked_with()})
        answer, seen = connection.getresponse(), 0
        while line := answer.readline():
            if not line.strip():
                seen += 1
                model.reached.release()
        if answer.status != 200 or seen != events:
            raise load.Failed(f"{contender.name} answers {answer.status} with {seen} events of {events}")
    connection.close()


class Counted:
    """By stage and kind, of one request or event; and calls of the allocator."""

    def __init__(self, dumps, per, program):
        texts = [dump.read_text(errors="replace") for dump in dumps]
        self.allocations = -subtracted([allocations.calls_of(text) for text in texts]) / per
        read = [instructions.read(dump) for dump in dumps]
        self.frames = instructions.frames(program, sorted(set.union(*(dump.addresses(str(program)) for dump in read))))
        self.stages = {address: self._stage(address) for address in self.frames}
        self.parts, self.sha = collections.Counter(), 0
        for sign, dump in zip((-1, 1), read):
            for (stage, function, place), cost in instructions.by_stage(dump, str(program), self.stages.get, OTHERWISE).items():
                if stage != METRICS:
                    self.parts[stage, self._kind(function, place, str(program))] += sign * cost / per
                    self.sha += sign * cost / per * any(frame.startswith(SHA) for frame in self._frames(place, str(program)))

    def _frames(self, place, program):
        return self.frames.get(place[1], ()) if place[0] == program else ()

    def _stage(self, address):
        for frame in self.frames[address]:
            # A closure is where it was written, which is the frame around it, or has its function's name.
            if " {closure" not in frame:
                for name, form in FORMS.items():
                    if form.match(frame):
                        return name
        return None

    def _kind(self, function, place, program):
        if any(frame.startswith("tikv-jemalloc") for frame in self._frames(place, program)):
            return ALLOCATOR
        return COPYING if place[0] != program and LIBC_COPIES.match(function[1]) else OWN

    def of(self, stage=None, kind=None):
        return sum(cost for (here, what), cost in self.parts.items() if stage in (None, here) and kind in (None, what))


def subtracted(pair):
    return pair[0] - pair[1]


def watched(ground):
    return ["valgrind", "--quiet", f"--callgrind-out-file={ground.folder / 'callgrind'}", *instructions.ASKED]


def counted(starter, behind, run, per, program):
    """`run` asks for as much as it is told, and is told twice."""
    with Ground() as ground:
        port = behind(ground)
        ground.watched = watched(ground)
        contender = starter(ground, port)
        run(ground, contender, None)
        contender.settle()
        allocations.mark(contender, "-z")
        for many in (False, True):
            run(ground, contender, many)
            contender.settle()
            allocations.mark(contender, "-d")
        dumps = [ground.folder / f"callgrind.{number}" for number in (1, 2)]
        return Counted(dumps, per, program)


def chat(starter, program, requests):
    def run(ground, contender, many):
        body = bodies.chat(ground.folder, "small.json", 2 << 10).read_bytes()
        allocations.ask(contender, body, WARMING if many is None else requests * (MANY if many else FEW))

    return counted(starter, upstreams.answers, run, requests * (MANY - FEW), program)


def event(starter, program):
    model = upstreams.Lockstep(SHORT)

    def run(ground, contender, many):
        body = bodies.chat(ground.folder, "stream.json", 2 << 10, stream=True).read_bytes()
        ask(model, contender, body, STREAMS, LONG if many else SHORT)

    return counted(starter, lambda _: model.port, run, STREAMS * (LONG - SHORT), program)


def in_kernel(starter):
    """The part of the CPU time that is the kernel's, under load."""
    with Ground({min(os.sched_getaffinity(0))}) as ground:
        contender = starter(ground, upstreams.answers(ground))
        body = bodies.chat(ground.folder, "small.json", 2 << 10)
        load.clients(contender, 1, CLIENTS, body)
        before = process.cpu_times(contender.process.pid)
        load.clients(contender, SECONDS, CLIENTS, body)
        user, system = (now - then for now, then in zip(process.cpu_times(contender.process.pid), before))
        return system / (user + system)


def system_calls(starter, requests):
    """By name, a request; None where nobody may look."""
    found = []
    with Ground({min(os.sched_getaffinity(0))}) as ground:
        contender = starter(ground, upstreams.answers(ground))
        body = bodies.chat(ground.folder, "small.json", 2 << 10).read_bytes()
        allocations.ask(contender, body, WARMING)
        for times in (FEW, MANY):
            contender.settle()
            told = ground.folder / f"calls{times}"
            try:
                look = subprocess.Popen(["strace", "-f", "-c", "-o", told, "-p", str(contender.process.pid)], stderr=subprocess.PIPE, text=True)
            except FileNotFoundError:
                return None
            if "attached" not in look.stderr.readline():
                return None
            allocations.ask(contender, body, requests * times)
            contender.settle()
            look.send_signal(signal.SIGINT)
            look.communicate(timeout=PATIENCE)
            rows = re.findall(r"^ *[\d.]+ +[\d.]+ +\d+ +(\d+) +(?:\d+ +)?([a-z]\w+)$", told.read_text(), re.MULTILINE)
            found.append(collections.Counter({name: int(calls) for calls, name in rows if name != "total"}))
    first, second = found
    return {name: (second[name] - first[name]) / (requests * (MANY - FEW)) for name in second}


INTRODUCTION = """# Where the time goes

`make stages` wrote this page, on {date}, and writes it again on any Linux machine where valgrind runs. It tells which part of a
request costs what, in instructions, which the machine's speed and its other work do not change; how long that takes is what
[`make bench`](decisions/019-measured-in-turns.md) measures.

| | |
|---|---|
| machine | {machine} |
| versions | {versions} |
| cfx | {settings} |

Instructions are those of the whole process outside of the kernel, as it is served: the release build, one request at a time over
kept connections.
"""
DRAWN = """![Flame graph of a chat request: stacks of functions, each as wide as its part of the processor time](images/{name})

The same by time, the kernel's included, as perf saw it under load (`make stages ARGS=--flame` draws it): each function as wide as its part, upon the
one that called it. Opened by itself it can be searched and looked into. A stack deeper than perf keeps is drawn upon what called the same function elsewhere.
"""
HOW = """## How it is counted

- callgrind counts each instruction by its address. `addr2line` says which functions that is in, those among them that were inlined there,
  which are most. The innermost that a stage knows (`STAGES` in `bench/stages.py`) says whose it is. What serves all stages, as
  maps of headers, the allocator and libc, belongs to the one that called it; where many called a function, to each in the measure of what
  its calls cost. So figures of stages are good to some hundred instructions. The sum is counted; from run to
  run it differs by one or two in a hundred.
- {requests:,} requests and then {more:,} are counted, and the difference divided by {difference:,}; of events, {streams} streams of {short} and of
  {long}. What is done once a connection, once a stream or by the clock cancels out. Background work that each request brings is in it:
  the spool's thread, the row's way to the store in batches, of which one request at a time makes smaller ones than a busy edge.
- Each event of a stream leaves the model when the client has the one before: a read, a write and a wake-up each. A wake-up goes down through
  the futures of the stages that are long over: what that costs stands with them.
- `own` is all that is neither `allocator` (jemalloc) nor `copying` (libc's `memcpy`, `memmove`, `memset`, `memcmp`).

What instructions do not tell:

- **Copies.** libc copies more than 2 KB or so by `rep movsb`, which valgrind counts once a byte and a processor does by 32 or 64: `copying` looks
  many times dearer than it is.
- **Hashing.** valgrind shows programs a processor without the SHA instructions, so the key's HMAC is computed in software: {sha:,.0f}
  instructions a chat request, where one with them takes a few hundred.
- **The kernel.** None of its work is here. With {clients} clients at once it had {kernel:.0f} % of the process' CPU time; the calls to it stand above.
- **Waiting for memory.** An instruction that misses the cache costs as much as hundreds that do not.
"""
CALLS = """## System calls

{total:.2f} a chat request, counted by `strace -c -f` on one thread, one request at a time: a busy edge finds several sockets ready by one
`epoll_wait`, and stores many rows by one statement.

{table}"""


def table(counted, unit):
    everything = counted.of()

    def row(name, stage, strong=""):
        cells = [counted.of(stage), *(counted.of(stage, kind) for kind in (OWN, ALLOCATOR, COPYING))]
        return [f"{strong}{name}{strong}", *(f"{strong}{round(cell):,}{strong}" for cell in cells), f"{100 * cells[0] / everything:.1f} %"]

    rows = [row(stage, stage) for stage in (*STAGES, OTHERWISE) if stage != METRICS and counted.of(stage) >= 1]
    return page.markdown(["stage", unit, "own", "allocator", "copying", "of all"], [*rows, row("all", None, "**")])


def written(where, requests, chats, events, calls, kernel):
    sections = [INTRODUCTION.format(date=where["date"], machine=setting.told(where), settings=setting.SETTINGS["cfx"],
                                    versions=", ".join(f"{name} {version}" for name, version in where["versions"].items()))]
    for title, unit, (own, bare) in (("A chat request of 2 KB", "a request", chats), ("An event of a stream", "an event", events)):
        sections.append(f"## {title}\n\n{table(own, unit)}\n{own.of():,.0f} instructions and {own.allocations:.1f} calls of the allocator "
                        f"{unit}. A bare stock Pingora proxy of the same crates, built without a profile, which does nothing of this, takes {bare.of():,.0f} ({OWN} "
                        f"{bare.of(kind=OWN):,.0f}, {ALLOCATOR} {bare.of(kind=ALLOCATOR):,.0f}, {COPYING} {bare.of(kind=COPYING):,.0f}) "
                        f"and {bare.allocations:.1f}.\n")
        if own is chats[0] and FLAME.exists():
            sections.append(DRAWN.format(name=FLAME.name))
    if calls:
        rows = [[f"`{name}`", f"{count:.2f}"] for name, count in sorted(calls.items(), key=lambda call: -call[1]) if count >= 0.005]
        sections.append(CALLS.format(total=sum(calls.values()), table=page.markdown(["call", "a request"], rows)))
    sections.append(HOW.format(requests=requests * FEW, more=requests * MANY, difference=requests * (MANY - FEW), streams=STREAMS,
                               short=SHORT, long=LONG, sha=chats[0].sha, kernel=100 * kernel, clients=CLIENTS))
    return "\n".join(sections)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=300, help="of the shorter run; the other has three times as many")
    parser.add_argument("--flame", action="store_true", help="draw the flame graph anew, which takes perf and inferno-flamegraph")
    parser.add_argument("--dry", action="store_true", help="print the page and leave docs as they are")
    arguments = parser.parse_args()
    server = os.environ["CFX_TEST_POSTGRES"]

    def cfx(tag):
        return lambda ground, port: contenders.cfx(ground, tag, port, store={"DATABASE_URL": Database(server, f"stages_{tag}").url})

    def bare(ground, port):
        return contenders.bare(ground, "stages", port)

    # As callgrind names them.
    programs = CFX.resolve(), (RELEASE / "examples/bare_proxy").resolve()
    chats = chat(cfx("chat"), programs[0], arguments.requests), chat(bare, programs[1], arguments.requests)
    events = event(cfx("event"), programs[0]), event(bare, programs[1])
    calls = system_calls(cfx("calls"), arguments.requests)
    kernel = in_kernel(cfx("kernel"))
    if arguments.flame:
        with Ground({min(os.sched_getaffinity(0))}) as ground:
            drawing = flame.drawn(ground, cfx("flame")(ground, upstreams.answers(ground)), programs[0])
        FLAME.write_text(drawing)
    known = ("cfx", "bare pingora", "Postgres", "rustc")
    versions = {name: version for name, version in setting.versions().items() if name in known}
    where = {"date": setting.today(), "machine": setting.machine(),
             "versions": {**versions, "valgrind": setting.version(setting.said("valgrind", "--version"))}}
    text = written(where, arguments.requests, chats, events, calls, kernel)
    if arguments.dry:
        print(text)
    else:
        PAGE.write_text(text)
        print(f"stages: docs/{PAGE.name} written")


if __name__ == "__main__":
    main()
