"""A flood of well-formed keys that nobody was given, from one address, beside an honest client at the same door.

Fails where fewer than 10,000 a second were refused, where the store was asked about more of them than the brake allows,
where the honest client was refused or kept waiting, or where memory grew with the flood.
Start it by scripts/flood, which brings the throw-away server.
"""

import argparse
import http.client
import os
import sys
import threading
import time

import bodies
import contenders
import load
import upstreams
from ground import PATIENCE, Database, Ground
from keys import keys

LEAST = 10_000
# Failed look-ups of one address in a minute; the minute may turn while this runs.
LOOK_UPS = 60
# 50,000 unknown keys are remembered as such, and no more.
GROWTH_MB = 48
HONEST_P99_MS = 250


class Honest(threading.Thread):
    """Asks for the list of models again and again under a real key."""

    def __init__(self, contender):
        super().__init__(daemon=True)
        self.contender, self.over, self.times, self.statuses = contender, threading.Event(), [], set()

    def run(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.contender.plain, timeout=PATIENCE)
        while not self.over.is_set():
            started = time.monotonic()
            connection.request("GET", "/v1/models", headers={"authorization": f"Bearer {self.contender.key}"})
            answer = connection.getresponse()
            answer.read()
            self.statuses.add(answer.status)
            self.times.append((time.monotonic() - started) * 1e3)

    def p99(self):
        return sorted(self.times)[len(self.times) * 99 // 100]


def look_ups(database):
    return int(database.psql("""
        select coalesce(sum(calls), 0)::bigint from pg_stat_statements join pg_database on oid = dbid
        where datname = current_database() and query like '%where key.public_id = $1%'
          and query like '%account.disabled_at%'"""))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=500_000, help="invented, sent in turn")
    parser.add_argument("--seconds", type=int, default=20)
    arguments = parser.parse_args()
    with Ground() as ground:
        port = upstreams.answers(ground)
        body = bodies.chat(ground.folder, "small.json", 2_048)
        database = Database(os.environ["CFX_TEST_POSTGRES"], "flood")
        database.psql("create extension pg_stat_statements")
        contender = contenders.cfx(ground, "flood", port, store={"DATABASE_URL": database.url})
        load.check(contender, body)
        invented = ground.folder / "invented.txt"
        invented.write_text("".join(key + "\n" for key in keys(arguments.keys)))
        asked, memory = look_ups(database), contender.resident()
        if asked == 0:
            sys.exit("flood: the honest key's look-up is not in the statistics, so none would be")
        honest = Honest(contender)
        honest.start()
        # Every one of them has to be.
        refused, _ = load.clients(contender, arguments.seconds, 32, body, refused=1.0, keys=invented)
        rate = refused / arguments.seconds
        honest.over.set()
        honest.join(PATIENCE)
        asked, grown, p99 = look_ups(database) - asked, contender.resident() - memory, honest.p99()
        print(f"{rate:,.0f} invented keys refused a second for {arguments.seconds} s; {asked} look-ups; "
              f"honest meanwhile: {len(honest.times):,} answers, all {sorted(honest.statuses)}, p99 {p99:.1f} ms; "
              f"RSS {memory:.0f} MB before, {memory + grown:.0f} MB after")
        wrong = {
            f"fewer than {LEAST:,} a second": rate < LEAST,
            f"more than {LOOK_UPS} look-ups": asked > LOOK_UPS,
            "the honest client was refused": honest.statuses != {200},
            f"the honest client's p99 is above {HONEST_P99_MS} ms": p99 > HONEST_P99_MS,
            f"memory grew by more than {GROWTH_MB} MB": grown > GROWTH_MB,
        }
        if any(wrong.values()):
            sys.exit("flood: " + "; ".join(what for what, holds in wrong.items() if holds))


if __name__ == "__main__":
    main()
