"""cfx with everything on beside a bare stock pingora proxy of the same crates, nginx, HAProxy and the gateways that one could
pick in its place: the same requests, the same upstream, the same cores, in turns.

Start it by scripts/bench, which builds and installs what it needs and brings the throw-away Postgres. At the end of a full run
docs/performance.md, its chart and the README's figure are written anew; those of a quick run go to target/bench.
"""

import argparse
import os
import pathlib
import resource
import sys

import allocations
import chart
import contenders
import footprint
import gateways
import page
import process
import report
import rounds
import setting
import streams
import upstreams
import wanted
import workloads
from ground import HERE, Database, Ground, NotStarted, free_port

ROOT = HERE.parent
STREAMS = 10_000
# Without these there is nothing to tell.
BUILT = ("cfx", "bare pingora")
CHARTED = ("chat-2k", "chat-100k", "chat-1m", "embeddings", "http2", "static", "sse-fast", "tls-new", "tls-resumed")


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few and short turns: whether everything works, and roughly what it comes to")
    parser.add_argument("--seconds", type=int, help="of one turn; 3, quick 1")
    parser.add_argument("--rounds", type=int, help="4, quick 2")
    parser.add_argument("--minutes", type=float, help="what has not begun by then is left out; 24, quick 6")
    parser.add_argument("--only", help="workloads whose names have one of these words in them, as chat,sse; nothing is written")
    parser.add_argument("--no-streams", action="store_true", help="leave out the 10,000 open streams; a quick run does")
    parser.add_argument("--no-peers", action="store_true", help="leave out onwards, Portkey and LiteLLM")
    parser.add_argument("--cores", help="where contenders run, as 0,1; all others have the rest. By default half of them")
    arguments = parser.parse_args()
    arguments.seconds = arguments.seconds or (1 if arguments.quick else 3)
    arguments.rounds = arguments.rounds or (2 if arguments.quick else 4)
    arguments.minutes = arguments.minutes or (6 if arguments.quick else 24)
    return arguments


def shares(arguments):
    """The contenders' cores, and everybody else's."""
    available = sorted(os.sched_getaffinity(0))
    own = {int(core) for core in arguments.cores.split(",")} if arguments.cores else set(available[:max(1, len(available) // 2)])
    return own, set(available) - own or set(available)


def starters(arguments):
    """How each contender is started, by its name."""
    def cfx(ground, tag, upstream):
        server = os.environ["CFX_TEST_POSTGRES"]
        contender = contenders.cfx(ground, tag, upstream, store={"DATABASE_URL": Database(server, f"bench_{tag}").url})
        contender.store = postmaster()
        return contender

    found = {"cfx": cfx, "bare pingora": contenders.bare, "nginx": contenders.nginx, "HAProxy": contenders.haproxy}
    return found if arguments.no_peers else {**found, "onwards": gateways.onwards, "Portkey": gateways.portkey, "LiteLLM": gateways.litellm}


def postmaster():
    """Of the server that scripts/servers started."""
    return int((pathlib.Path(os.environ["CFX_TEST_SERVERS"]) / "data/postmaster.pid").read_text().split()[0])


class Run:
    """One run: what was seen so far, and how long it may still take."""

    def __init__(self, arguments, cores):
        self.arguments, self.cores = arguments, cores
        self.starters = starters(arguments)
        self.results, self.footprint, self.budget = rounds.Results(), {}, rounds.Budget(arguments.minutes)
        # What the model of the open streams speaks: HTTP/1.1 where there are open files enough for two a stream.
        self.model_speaks = None

    def ground(self, tag, upstream, make):
        """Everybody in front of one upstream, and their workloads, one after another."""
        with Ground(self.cores) as ground:
            port = upstream(ground)
            chosen = [workload for workload in make(ground, port) if self.asked(workload.name)]
            running, missing = {}, {}
            for name in [name for name in self.starters if any(name in workload.who for workload in chosen)]:
                try:
                    running[name] = self.starters[name](ground, tag, port)
                except NotStarted as reason:
                    if name in BUILT:
                        raise
                    missing[name] = str(reason)
                    print(f"bench: {name} is left out: {reason}", file=sys.stderr)
            for workload in chosen:
                if self.begins(workload.name):
                    rounds.measure(workload, running, self.results, self.arguments)
                    self.results.failed[workload.name] |= {name: missing[name] for name in missing if name in workload.who}
                    report.show(self.results, workload.name)
            if tag == "json" and self.begins("start"):
                self.footprint |= footprint.start(ground, running["cfx"])
                self.footprint["binary_mb"] = footprint.binary_mb()

    def asked(self, name):
        return not self.arguments.only or any(word in name for word in self.arguments.only.split(","))

    def begins(self, name):
        """Whether there is time for it, and it is asked for."""
        if not self.asked(name):
            return False
        if self.budget.left() > 0:
            return True
        self.results.left_out[name] = "time was up"
        return False

    def memory(self):
        native = {name: self.starters[name] for name in workloads.PROXIES}
        if self.begins("prompt-memory"):
            with Ground(self.cores) as ground:
                self.footprint["prompt_memory"] = footprint.prompt_memory(ground, native)
        if self.arguments.no_streams or self.arguments.quick:
            self.results.left_out["10,000 open streams"] = "not asked for, or a quick run"
        elif self.begins("streams"):
            asked = streams.options(["--streams", str(STREAMS), "--seconds", "10", "--after", "1"])
            self.footprint["streams"] = {}
            for way, tls in (("plain", False), ("tls", True)):
                count, http2, _, (seen,) = streams.held(asked, tls, crowds=1, cores=self.cores)
                self.model_speaks = "HTTP/2" if http2 else "HTTP/1.1"
                if count == STREAMS and seen["whole"] == count and not seen["errors"]:
                    self.footprint["streams"][way] = seen["stream_kb"]
                else:
                    self.results.left_out[f"{STREAMS:,} open streams, {way}"] = f"{seen['whole']:,.0f} came whole to their end"
        if self.begins("allocations"):
            fast = {name: self.starters[name] for name in workloads.FAST if name in self.starters}
            self.footprint["allocations"], missing = allocations.of(fast, upstreams.answers)
            self.results.left_out |= {f"allocations of {name}": reason for name, reason in missing.items()}


def show_footprint(found):
    print("\nMemory, start, allocations")
    for name, value in found.items():
        each = value if isinstance(value, dict) else {"cfx": value}
        print(f"  {name:16} " + ", ".join(f"{who} {report.number(seen, '{:,.2f}')}" for who, seen in each.items()), flush=True)


def write(arguments, where, run, lines):
    """A quick run's figures go where no commit takes them."""
    results, found = run.results, run.footprint
    target = ROOT / "target/bench" if arguments.quick else ROOT / "docs"
    (target / "images").mkdir(parents=True, exist_ok=True)
    drawn = chart.svg(results, [name for name in CHARTED if name in results.workloads], f"{where['date']}, {setting.told(where)}")
    (target / "images/performance.svg").write_text(drawn or "")
    (target / "performance.json").write_text(report.as_json(where, results, found, lines))
    (target / "performance.md").write_text(page.performance(where, results, found, lines, "images/performance.svg"))
    figure, readme = page.figure(where, results), ROOT / "README.md"
    if figure and not arguments.quick:
        readme.write_text(page.with_figure(readme.read_text(), figure))
    print(f"\nbench: {target.relative_to(ROOT)}/performance.md, performance.json, images/performance.svg"
          + (", README.md" if figure and not arguments.quick else "") + " written")


def main():
    arguments = options()
    cores, others = shares(arguments)
    process.pin(os.getpid(), others)
    process.pin(postmaster(), others)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    where = setting.of(arguments, cores, others)
    print(f"bench: {setting.told(where)}; contenders on core {where['cores']['contenders']}, all others on {where['cores']['others']}; "
          f"{arguments.rounds} rounds of {arguments.seconds} s a turn", flush=True)
    run = Run(arguments, cores)
    run.ground("json", upstreams.answers, lambda ground, _: workloads.of_json(ground, run.results))
    run.ground("events", upstreams.events, lambda ground, _: workloads.of_events(ground))
    run.ground("paced", lambda _: free_port(), lambda _, port: workloads.of_paced(port))
    run.memory()
    if run.footprint:
        show_footprint(run.footprint)
    where["model_speaks"] = run.model_speaks
    lines = wanted.lines(run.results, run.footprint)
    report.show_wanted([line for line in lines if line["holds"] is not None] if arguments.only else lines)
    if not arguments.only:
        write(arguments, where, run, lines)


if __name__ == "__main__":
    main()
