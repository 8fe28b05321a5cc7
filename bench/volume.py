"""cfx over a Postgres with a million keys and ten million log rows, beside cfx over an empty one.

Loads the rows (minutes), asks the dashboard's questions of them and of a million in SQLite (questions.py: a plan is shown of
what takes over 100 ms), then serves the same requests over both databases in turns: under one key, and under keys drawn from
all, which is what fills the key cache. A question that was too slow is the command's failure, at its end.
Start it by scripts/volume, which brings the throw-away server.
"""

import argparse
import hashlib
import hmac
import os
import random
import statistics
import sys
import time
import uuid

import bodies
import contenders
import load
import questions
import upstreams
from ground import Database, Ground
from keys import keys

USERS = questions.USERS
DRAWN = 150_000


def fill(database, arguments, folder):
    """Fills the database and writes the drawn keys to a file, one a line."""
    started = time.monotonic()
    database.psql(f"""
        insert into cfx.accounts (id, email, created_at)
        select md5('user ' || n)::uuid, 'user' || n || '@example.org', now() from generate_series(0, {USERS} - 1) as n""")
    rows, drawn = folder / "keys.csv", folder / "keys.txt"
    picked = random.Random(8)
    with open(rows, "w") as table, open(drawn, "w") as kept:
        for number, key in enumerate(keys(arguments.keys)):
            user = uuid.UUID(hashlib.md5(f"user {number % USERS}".encode()).hexdigest())
            digest = hmac.digest(contenders.PEPPER.encode(), key.encode(), "sha256").hex()
            table.write(f"{uuid.UUID(int=picked.getrandbits(128))},{user},{key[9:21]},{key[:21]},{digest},volume\n")
            if number < DRAWN:
                kept.write(key + "\n")
    database.psql(f"\\copy public.api_keys (id, user_id, public_id, prefix, key_hash, label) from '{rows}' csv")
    print(f"volume: {arguments.keys:,} keys in {time.monotonic() - started:.0f} s", flush=True)
    database.psql(f"select cfx.ensure_partitions((now() - interval '{questions.DAYS + 10} days')::date, 6)")
    for statement in questions.log_rows(arguments.rows):
        database.psql(statement)
    database.psql("vacuum analyze")
    print(f"volume: {arguments.rows:,} log rows in {time.monotonic() - started:.0f} s in all", flush=True)
    return drawn


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--sqlite-rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    arguments = parser.parse_args()
    server = os.environ["CFX_TEST_POSTGRES"]
    with Ground() as ground:
        port = upstreams.answers(ground)
        body = bodies.chat(ground.folder, "small.json", 2_048)
        databases = {name: Database(server, f"volume_{name}") for name in ("empty", "full")}
        running = {name: contenders.cfx(ground, "volume", port, name, {"DATABASE_URL": database.url})
                   for name, database in databases.items()}
        drawn = fill(databases["full"], arguments, ground.folder)
        asked, slow = questions.Postgres(server, "volume_full"), []
        asked.learn()
        asked.sign_in()
        asked.ask(slow)
        questions.sqlite(arguments.sqlite_rows, slow)
        ratios, rounds = [], {name: [] for name in running}

        def turn(name, seconds, connections=32, **more):
            return load.measured(running[name], lambda: load.clients(running[name], seconds, connections, body, **more))

        for name, contender in running.items():
            load.check(contender, body)
            turn(name, 1)
        for _ in range(arguments.rounds):
            for name in running:
                rounds[name].append(turn(name, arguments.seconds)["cpu"])
            ratios.append(rounds["full"][-1] / rounds["empty"][-1])
        print(f"\nCPU a request, one key: empty {statistics.median(rounds['empty']):.2f} µs, "
              f"full {statistics.median(rounds['full']):.2f} µs, ratio {statistics.median(ratios):.2f} "
              f"({min(ratios):.2f}–{max(ratios):.2f})")
        before = running["full"].resident()
        # Thousands of keys and users a second that were never seen: who waits 250 ms for the store is refused with 503. Fewer
        # connections than the 30 look-ups that one address may have under way, beyond which it is asked to wait.
        many = [turn("full", 10, 24, refused=0.01, keys=drawn) for _ in range(3)]
        print(f"{DRAWN:,} keys in turn: {many[-1]['rate']:.0f} requests/s, CPU {many[-1]['cpu']:.2f} µs, "
              f"{sum(turn['refused'] for turn in many)} refused, "
              f"RSS {before:.0f} MB before, {running['full'].resident():.0f} MB after")
    if slow:
        sys.exit(f"volume: over {questions.LIMIT:.0f} ms:\n  " + "\n  ".join(slow))


if __name__ == "__main__":
    main()
