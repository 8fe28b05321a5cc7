"""cfx over a Postgres with a million keys and ten million log rows, beside cfx over an empty one.

Loads the rows (minutes), asks the dashboard's questions with their plans, then serves the same requests over both
databases in turns: under one key, and under keys drawn from all, which is what fills the key cache.
Start it by scripts/volume, which brings the throw-away server.
"""

import argparse
import hashlib
import hmac
import os
import random
import re
import statistics
import subprocess
import sys
import time
import uuid
import zlib

import run

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
PEPPER = b"a pepper of at least thirty-two bytes, for bench"
USERS = 10_000
DRAWN = 150_000

QUESTIONS = {
    "today's overview of a user": """
        select request_count, answered, input_tokens, output_tokens, cost_nano_usd from public.usage_counters
        where user_id = '{user}' and day = (now() at time zone 'utc')::date""",
    "this month's days of a user": """
        select day, request_count, answered, cost_nano_usd from public.usage_counters
        where user_id = '{user}' and day >= date_trunc('month', now() at time zone 'utc')::date order by day""",
    "a page of a user's logs, filtered by stage and status": """
        select * from public.request_logs
        where user_id = '{user}' and created_at < now() and stage = 'code' and status = 'error'
        order by created_at desc limit 50""",
    "a user's month by stage and model": """
        select stage, model, count(*), sum(input_tokens), sum(output_tokens), sum(cost_nano_usd) from public.request_logs
        where user_id = '{user}' and created_at >= date_trunc('month', now()) group by stage, model""",
}

LOG_ROWS = """
insert into public.request_logs (user_id, api_key_id, request_id, created_at, cost_nano_usd, body_bytes, latency_ms,
    ttft_ms, input_tokens, cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens, total_tokens,
    http_status, attempts, stream, estimated, status, stage, stage_source, model)
select md5('user ' || case when n % 10 = 0 then 0 else n % {users} end)::uuid, md5('key ' || n % 1000)::uuid,
    (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || '7' || substr(md5(n::text), 1, 3) || '8'
        || substr(md5(n::text), 4, 15))::uuid,
    at, 330000, 2048, 900 + n % 700, 200, 1000 + n % 500, 0, 0, 200 + n % 90, 0, 1200,
    200, 1, true, false, case when n % 20 = 0 then 'error' else 'success' end,
    (array['plan', 'code', 'review'])[1 + n % 3], 'header', (array['claude-sonnet', 'deepseek', 'gpt-mini'])[1 + n % 3]
from (select n, now() - (n * {step}) * interval '1 microsecond' as at from generate_series({first}::bigint, {last}::bigint) as n) as rows
"""


def base62(number, width):
    text = ""
    for _ in range(width):
        number, digit = divmod(number, 62)
        text = ALPHABET[digit] + text
    return text


def keys(count):
    """Well-formed keys whose hash is what cfx stores (src/admission/key.rs)."""
    source = random.Random(7)
    for _ in range(count):
        body = "cfx_live_" + base62(source.getrandbits(250), 44)
        yield body + base62(zlib.crc32(body.encode()), 6)


class Database:
    def __init__(self, server, name):
        self.url = server.rpartition("/")[0] + "/" + name
        subprocess.run(["psql", "-q", "-X", server, "-c", f"create database {name}"], check=True)

    def psql(self, text, **options):
        done = subprocess.run(["psql", "-q", "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", self.url, "-c", text],
                              capture_output=True, text=True, **options)
        if done.returncode != 0:
            sys.exit(f"volume: {done.stderr}")
        return done.stdout.strip()


def load(database, arguments, folder):
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
            digest = hmac.digest(PEPPER, key.encode(), "sha256").hex()
            table.write(f"{uuid.UUID(int=picked.getrandbits(128))},{user},{key[9:21]},{key[:21]},{digest},volume\n")
            if number < DRAWN:
                kept.write(key + "\n")
    database.psql(f"\\copy public.api_keys (id, user_id, public_id, prefix, key_hash, label) from '{rows}' csv")
    print(f"volume: {arguments.keys:,} keys in {time.monotonic() - started:.0f} s", flush=True)
    part = 1_000_000
    step = 60 * 86_400 * 1_000_000 // arguments.rows  # spread over the last sixty days
    database.psql(f"select cfx.ensure_partitions((now() - interval '70 days')::date, 6)")
    for first in range(0, arguments.rows, part):
        last = min(first + part, arguments.rows) - 1
        database.psql(LOG_ROWS.format(users=USERS, first=first, last=last, step=step))
    database.psql("vacuum analyze")
    print(f"volume: {arguments.rows:,} log rows in {time.monotonic() - started:.0f} s in all", flush=True)
    return drawn


def ask(database):
    """Every question for the busiest user and an ordinary one, three times; the best plan's text and time."""
    for title, text in QUESTIONS.items():
        for who, number in (("a tenth of all rows", 0), ("an ordinary share", 17)):
            user = uuid.UUID(hashlib.md5(f"user {number}".encode()).hexdigest())
            plans = [database.psql("explain (analyze, costs off) " + text.format(user=user)) for _ in range(3)]
            best = min(plans, key=lambda plan: float(re.search(r"Execution Time: ([\d.]+)", plan).group(1)))
            took = re.search(r"Execution Time: ([\d.]+)", best).group(1)
            print(f"\n{title} ({who}): {took} ms")
            if number == 0:
                print("\n".join("    " + line for line in best.splitlines()))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    arguments = parser.parse_args()
    server = os.environ["CFX_TEST_POSTGRES"]
    ground = run.Ground()
    try:
        port = run.free_port()
        ground.nginx("upstream", 1, run.UPSTREAM.format(port=port, answer=run.ANSWER), port)
        body = run.chat_body(ground.folder, "small.json", 2_048, stream=False)
        certificate, key = ground.certificate()
        databases = {name: Database(server, f"volume_{name}") for name in ("empty", "full")}
        contenders = {name: ground.cfx("volume", port, certificate, key, name, {"DATABASE_URL": database.url})
                      for name, database in databases.items()}
        drawn = load(databases["full"], arguments, ground.folder)
        ask(databases["full"])
        ratios, rounds = [], {name: [] for name in contenders}
        for contender in contenders.values():
            run.check(contender, False, body)
            run.window(contender, False, body, 32, 1)
        for _ in range(arguments.rounds):
            for name, contender in contenders.items():
                rounds[name].append(run.window(contender, False, body, 32, arguments.seconds)["cpu"])
            ratios.append(rounds["full"][-1] / rounds["empty"][-1])
        print(f"\nCPU a request, one key: empty {statistics.median(rounds['empty']):.2f} µs, "
              f"full {statistics.median(rounds['full']):.2f} µs, ratio {statistics.median(ratios):.2f} "
              f"({min(ratios):.2f}–{max(ratios):.2f})")
        before = contenders["full"].resident()
        os.environ["BENCH_KEYS"] = str(drawn)
        # Thousands of keys and users a second that were never seen: who waits 250 ms for the store is refused with 503. Fewer
        # connections than the 30 look-ups that one address may have under way, beyond which it is asked to wait.
        many = [run.window(contenders["full"], False, body, 24, 10, refused=0.01) for _ in range(3)]
        print(f"{DRAWN:,} keys in turn: {many[-1]['rate']:.0f} requests/s, CPU {many[-1]['cpu']:.2f} µs, "
              f"{sum(turn['refused'] for turn in many)} refused, "
              f"RSS {before:.0f} MB before, {contenders['full'].resident():.0f} MB after")
    finally:
        ground.close()


if __name__ == "__main__":
    main()
