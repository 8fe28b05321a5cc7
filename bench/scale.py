"""Fleets of edges over one Postgres and one Redis: exact, nothing lost, and what each million of requests costs those two.

Plays one scenario after the other by examples/scale, each on an empty database and an empty Redis, and writes the tables of
docs/scale.md between their marks. A scenario whose counts are wrong fails the command.
Start it by scripts/scale, which brings the throw-away servers.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "scale.md"
BEGIN, END = "<!-- begin: written by make scale -->", "<!-- end: written by make scale -->"
# What edges say whether or not anybody asks them.
UNASKED = ("heartbeats", "words", "other")
PLENTY = 1_000_000
SECONDS = 6


def curve():
    """Users who ask once in five seconds, on more and more edges."""
    for redis in (False, True):
        for edges, near in ((1, None), (10, None), (100, None), (100, 1)):
            yield {"redis": redis, "edges": edges, "near": near, "rate": 200}


def paces():
    """The same load from fewer and fewer users, each at one edge."""
    for edges, users, limit in ((4, 200, PLENTY), (4, 40, PLENTY), (4, 10, PLENTY), (100, 40, PLENTY), (100, 40, 1_000)):
        # A fifth of them ask a fifth of all: each as often as another.
        yield {"redis": False, "edges": edges, "near": 1, "rate": 200, "users": users, "heavy": users // 5, "limit": limit,
               "used-up": 0}


class Servers:
    def __init__(self, postgres, redis, fleet):
        self.postgres, self.redis, self.fleet, self.databases = postgres, redis, fleet, 0

    def sql(self, text):
        subprocess.run(["psql", "-q", "-X", "-v", "ON_ERROR_STOP=1", self.postgres, "-c", text], check=True)

    def play(self, redis, **options):
        """One scenario, and its figures."""
        self.databases += 1
        name = f"scale_{self.databases}"
        self.sql(f"create database {name}")
        subprocess.run(["redis-cli", "-u", self.redis, "flushall"], check=True, stdout=subprocess.DEVNULL)
        command = [self.fleet, "--postgres", self.postgres.rpartition("/")[0] + "/" + name]
        command += ["--redis", self.redis] if redis else []
        for option, value in {"seconds": SECONDS, **options}.items():
            command += [] if value is None else [f"--{option}", str(value)]
        # In memory where that can be: a hundred spools on one disk are no hundred disks.
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        with tempfile.TemporaryDirectory(prefix="cfx-scale.", dir=memory) as folder:
            done = subprocess.run([*command, "--data", folder], stdout=subprocess.PIPE, text=True,
                                  env={**os.environ, "RUST_BACKTRACE": "0"})
        shown = " ".join(f"{option} {value}" for option, value in options.items() if value is not None)
        if done.returncode != 0:
            sys.exit(f"scale: failed with {shown}, counted in {'Redis' if redis else 'Postgres'}")
        self.sql(f"drop database {name} with (force)")
        run = {"redis": redis, **json.loads(done.stdout)}
        print(f"scale: {'Redis' if redis else 'Postgres'}, {shown}: {run['admitted']} admitted, "
              f"{run['exhausted']} refused, {run['unanswered']} unanswered", flush=True)
        return run


def statements(run, *kinds):
    told = run["servers"]["statements"]
    return sum(told.get(kind, {"calls": 0})["calls"] for kind in kinds)


def asked_for(run):
    """Statements that requests brought about."""
    return statements(run, *(kind for kind in run["servers"]["statements"] if kind not in UNASKED))


def each(run, figure):
    return figure / max(run["admitted"], 1)


def idle_cost(idle, run, figure):
    """What the same edges would have taken in the same time had nobody asked."""
    alike = idle[run["redis"]]
    return alike["servers"][figure] / alike["edges"] / watched(alike) * run["edges"] * watched(run)


def watched(run):
    return run["seconds"] + 2  # examples/scale looks again when all has settled


def scripts(run):
    return run["servers"]["commands"].get("evalsha", {"calls": 0})["calls"]


def table(heads, rows):
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    return "\n".join(lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows])


def place(run):
    where = "any edge" if run["near"] is None else "one edge"
    return [("Redis" if run["redis"] else "Postgres"), run["edges"], "" if run["edges"] == 1 else where]


def postgres_table(runs, idle):
    rows = [place(run) + [
        f"{100 * each(run, run['waited']):.0f} %",
        f"{each(run, asked_for(run)):.2f}",
        f"{each(run, statements(run, 'keys')):.2f}",
        f"{each(run, statements(run, 'grants')):.2f}",
        f"{each(run, statements(run, 'settlements')):.2f}",
        f"{each(run, statements(run, 'posts')):.2f}",
        f"{each(run, statements(run, 'ledger')):.2f}",
        f"{each(run, run['servers']['postgres_cpu'] - idle_cost(idle, run, 'postgres_cpu')) * 1e6:.0f}",
        f"{each(run, run['servers']['wal']) / 1e3:.1f}",
        run["connections"]["count"],
    ] for run in runs]
    return table(["counted in", "edges", "a user's requests come to", "waited for a store", "transactions", "keys", "grants",
                  "settlements", "posts", "ledger", "Postgres' CPU, s", "WAL, GB", "connections"], rows)


def redis_table(runs, idle):
    rows = [place(run)[1:] + [
        f"{each(run, scripts(run)):.2f}",
        f"{each(run, run['servers']['redis_cpu'] - idle_cost(idle, run, 'redis_cpu')) * 1e6:.0f}",
        f"{run['servers']['commands']['evalsha']['micros'] / max(scripts(run), 1):.0f}",
        f"{each(run, run['servers']['redis_bytes']) / 1e3:.1f}",
    ] for run in runs if run["redis"]]
    return table(["edges", "a user's requests come to", "scripts", "Redis' CPU, s", "µs a script, by its own clock",
                  "to and from it, GB"], rows)


def pace_table(runs):
    rows = [[
        run["edges"], f"{run['limit']:,}", f"{run['rate'] / run['users']:g}",
        f"{run['admitted'] / max(run['leases'], 1):.1f}", f"{100 * each(run, run['waited']):.1f} %",
        f"{each(run, statements(run, 'grants')):.3f}", f"{each(run, asked_for(run)):.3f}",
        f"{each(run, run['servers']['postgres_cpu']) * 1e6:.0f}",
    ] for run in runs]
    return table(["edges", "limit", "a user's requests a second", "requests a lease", "waited for a store", "grants",
                  "transactions", "Postgres' CPU, s"], rows)


def idle_table(idle):
    rows = []
    for redis, run in sorted(idle.items()):
        seconds = run["edges"] * watched(run)
        own = run["connections"]["own_mb"] / max(run["connections"]["count"], 1)
        transactions = statements(run, *run["servers"]["statements"])
        rows.append(["Redis" if redis else "Postgres", f"{transactions / seconds:.2f}",
                     f"{run['servers']['postgres_cpu'] / seconds * 1e3:.2f}",
                     f"{scripts(run) / seconds:.2f}" if redis else "",
                     f"{run['servers']['redis_cpu'] / seconds * 1e3:.2f}" if redis else "", f"{own:.1f}"])
    return table(["counted in", "transactions", "Postgres' CPU, ms", "scripts", "Redis' CPU, ms", "MB a connection"], rows)


def exact_table(runs):
    rows = [["Redis" if run["redis"] else "Postgres", run["edges"], f"{run['limit']:,}", f"{run['asked']:,}",
             f"{run['admitted']:,}", f"{run['exhausted']:,}", run["unanswered"], run["used_up_afterwards"]] for run in runs]
    return table(["counted in", "edges", "limit", "asked", "admitted", "refused", "unanswered",
                  "left of three days, all granted to one edge more"], rows)


def machine():
    version = lambda *command: subprocess.run(command, capture_output=True, text=True).stdout.strip()
    names = (line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name"))
    model = next(names, platform.machine())
    redis = version("redis-server", "--version").split()[2].removeprefix("v=")
    postgres = version("psql", "--version").split()[2]
    return (f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, {os.cpu_count()} × {model}, Postgres {postgres} (`fsync` and "
            f"`full_page_writes` off), Redis {redis}, everything on one machine")


def write(text):
    page = PAGE.read_text()
    head, rest = page.split(BEGIN)
    _, tail = rest.split(END)
    PAGE.write_text(f"{head}{BEGIN}\n{text}\n{END}{tail}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fleet", required=True, help="examples/scale, built")
    parser.add_argument("--dry", action="store_true", help="print the tables and leave docs/scale.md as it is")
    arguments = parser.parse_args()
    servers = Servers(os.environ["CFX_TEST_POSTGRES"], os.environ["CFX_TEST_REDIS"], arguments.fleet)
    idle = {redis: servers.play(redis, edges=100, rate=0, users=100) for redis in (False, True)}
    runs = [servers.play(**scenario) for scenario in curve()]
    paced = [servers.play(**scenario) for scenario in paces()]
    # The four who ask a fifth of all ask for twice their limit.
    exact = [servers.play(redis, edges=100, rate=200, heavy=4, limit=40) for redis in (False, True)]
    streams = servers.play(True, edges=10, rate=100, seconds=10, answer=10_000)
    open_streams = streams["rate"] * 10
    redis_us = (streams["servers"]["redis_cpu"] - idle_cost(idle, streams, "redis_cpu")) / streams["admitted"] * 1e6
    text = "\n\n".join([
        f"Measured {machine()}; edges of a {pathlib.Path(arguments.fleet).parent.parent.name} build.",
        "**Exact.** No user was admitted once more than the limit, no lease was left, and every row and every count was there when "
        "the edges had gone. Unanswered is who was not told in time, on a machine that plays all of this at once; such a "
        "request is refused here, so that the limit holds:",
        exact_table(exact),
        "**A million admitted requests**, of users who ask once in five seconds (200 requests a second in all; ten users ask a "
        "fifth of them). Millions of transactions, all and by kind; without what edges do when nobody asks:",
        postgres_table(runs, idle),
        "The same million in Redis:",
        redis_table(runs, idle),
        "**By the pace of a user**, each at one edge, counted in Postgres, 200 requests a second in all; a million requests again:",
        pace_table(paced),
        "**An edge that nobody asks**, a second:",
        idle_table(idle),
        f"**Streams that last.** {streams['admitted']:,} streams of ten seconds on ten edges, {open_streams:,} open at the end: "
        f"{each(streams, scripts(streams)):.1f} scripts and {redis_us:.0f} µs of Redis' CPU each.",
    ])
    print(text)
    if not arguments.dry:
        write(text)


if __name__ == "__main__":
    main()
