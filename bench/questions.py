"""The dashboard's questions over ten million log rows in Postgres, and over a million of one user's in SQLite, each to be
answered in 100 ms.

Makes both databases from the files in migrations/, loads the log, lets later migrations learn what it was spent on, and asks
what src/storage/postgres/reports.rs, cfx.overview and src/storage/sqlite/pages.rs ask: in Postgres as cfx_dashboard with a session, of a
user who has a tenth of all rows and of an ordinary one. Tells what a row costs SQLite, too, with and without the trees of
0006_log_filters. Needs no build of cfx. scripts/volume runs it; by hand:

    scripts/servers run python3 bench/questions.py --rows 100000 --sqlite-rows 10000

With --keep DIR the databases stay, the embedded one in DIR, and are asked again the next time. With --pages, and a cfx named by
CFX_BINARY (target/release/cfx), whole pages of `cfx dashboard` are asked for, too, beside a `cfx dev` whose control API it uses.
"""

import argparse
import contextlib
import datetime
import functools
import hashlib
import http.client
import os
import pathlib
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid

ROOT = pathlib.Path(__file__).resolve().parent.parent
MIGRATIONS = ROOT / "migrations"
LIMIT = 100.0
USERS = 10_000
DAYS = 60
WHO = {"a tenth of all rows": 0, "an ordinary share": 17}

# The user with a tenth of all rows: two stages, each with a model of its own, that its rows are spread over, and of whatever can be
# asked for some {rare}th rows, over all of the time. What it has none of is common with the others, so that the planner, who knows
# of all users together, expects some.
LOG_ROWS = """
insert into public.request_logs (user_id, api_key_id, request_id, created_at, cost_nano_usd, body_bytes, latency_ms,
    ttft_ms, input_tokens, cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens, total_tokens,
    http_status, attempts, stream, estimated, status, stage, stage_source, model, session_id, error_message)
select md5('user ' || case when heavy then 0 else n % {users} end)::uuid,
    md5('key ' || case when not heavy then (n % {users})::text when k % {rare} = 17 then 'rare' else 'all' end)::uuid,
    (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || '7' || substr(md5(n::text), 1, 3) || '8'
        || substr(md5(n::text), 4, 15))::uuid,
    at, 330000, 2048, 900 + n % 700, 200, 1000 + n % 500, 0, 0, 200 + n % 90, 0, 1200,
    200, 1, true, false,
    case when heavy and k % {rare} = 13 then 'rate_limited' when k % 20 = 0 then 'error'
         when not heavy and k % 50 = 7 then 'cancelled' else 'success' end,
    case when not heavy then (array['plan', 'code', 'review'])[1 + n % 3] when k % {rare} = 7 then 'direct'
         else (array['plan', 'code'])[1 + k % 2] end,
    'header',
    case when not heavy then (array['claude-sonnet', 'deepseek', 'gpt-mini'])[1 + n % 3] when k % {rare} = 11 then 'o3'
         else (array['claude-sonnet', 'deepseek'])[1 + k % 2] end,
    case when not heavy then 'session-' || n % {users} || '-' || k / (20 * {users}) when k % {rare} = 19 then 'rare'
         when k % 2 = 0 then 'long' else 'session-' || k / 200 end,
    case when heavy and k % {rare} = 20 then 'disk_full' when k % 20 = 0 then 'upstream_timeout' end
from (select n, n / 10 as k, n % 10 = 0 as heavy, now() - (n * {step}) * interval '1 microsecond' as at
        from generate_series({first}::bigint, {last}::bigint) as n) as rows
"""


def rare(rows):
    """One in how many of the heavy user's rows is one of the rare ones: some 25 of each, in the larger logs."""
    return max(rows // 250 // 20 * 20, 40)


def log_rows(rows, part=1_000_000):
    """Statements that fill the log, a part each."""
    for first in range(0, rows, part):
        yield LOG_ROWS.format(users=USERS, rare=rare(rows), first=first, last=min(first + part, rows) - 1,
                              step=DAYS * 86_400 * 1_000_000 // rows)


COLUMNS = """log.request_id, log.created_at, log.api_key_id, log.session_id, log.stage, log.stage_source, log.model, log.stream,
    log.body_bytes, log.status, log.http_status, log.input_tokens, log.cached_input_tokens, log.cache_write_tokens,
    log.output_tokens, log.reasoning_tokens, log.total_tokens, log.estimated, log.cost_nano_usd, log.latency_ms, log.ttft_ms,
    log.attempts, log.error_message"""


@functools.cache
def key(name):
    return str(uuid.UUID(hashlib.md5(f"key {name}".encode()).hexdigest()))


# What a page is filtered by, of the heavy user: none of its rows, some, or all or a good part. Then some together.
ASKED = {
    "stage": ("review", "direct", "code"),
    "model": ("gpt-mini", "o3", "deepseek"),
    "status": ("cancelled", "rate_limited", "success"),
    "key": (str(uuid.UUID(int=0)), key("rare"), key("all")),
    "session": ("nothing", "rare", "long"),
    "error": ("nothing of the kind", "DISK", "TIMEOUT"),
}
FILTERS = {"newest page": {}}
FILTERS |= {f"a page by {what}, {how} has it": {what: value}
            for what, values in ASKED.items() for how, value in zip(("no row", "a rare row", "many a row"), values)}
FILTERS |= {
    "a page by a stage and a model that go with others": {"stage": "plan", "model": "deepseek"},
    "a page by stage and status": {"stage": "code", "status": "error"},
    "a page by stage and a status without rows": {"stage": "code", "status": "cancelled"},
    "a page by key and a stage without rows": {"key": key("all"), "stage": "review"},
    "a page by a rare key and stage": {"key": key("rare"), "stage": "code"},
}
SPAN = "log.user_id = '{user}' and log.created_at >= '0001-01-01Z' and log.created_at < '9999-12-30Z'"


def page(stage=None, model=None, status=None, key=None, session=None, error=None, condition=""):
    """The statement that `statement_for` picks, with what is not asked for left out as the server leaves it out."""
    kind = {"stage": stage, "model": model, "status": status}
    of_kind = "".join(f" and log.{name} = '{value}'" for name, value in kind.items() if value)
    by_whom = "".join(f" and log.{name} = '{value}'"
                      for name, value in {"api_key_id": key, "session_id": session}.items() if value)
    newest = "order by log.created_at desc, log.request_id desc limit 50"
    if error:
        found = f"""select log.request_id, log.created_at from public.request_logs as log
            where {SPAN}{of_kind}{by_whom} and log.error_message is not null
              and position(lower('{error}' collate "C") in lower(log.error_message collate "C")) > 0 {newest}"""
    elif any(kind.values()) and not session:
        of_split = "".join(f" and split.{name} = '{kind[name]}'" for name in ("stage", "model") if kind[name])
        of_status = f"where status.name = '{status}'" if status else ""
        found = f"""select newest.request_id, newest.created_at
            from (select distinct split.stage, split.model from cfx.usage_splits as split
                  where split.user_id = '{{user}}'{of_split}
                    and split.day >= (timestamptz '0001-01-01Z' at time zone 'UTC')::date
                    and split.day <= (timestamptz '9999-12-30Z' at time zone 'UTC')::date) as kind
            cross join unnest(array['success', 'error', 'rate_limited', 'cancelled']) as status (name)
            cross join lateral (
                select log.request_id, log.created_at from public.request_logs as log
                where {SPAN} and log.status = status.name
                  and case when log.stage is null then '' else log.stage end = kind.stage
                  and case when log.model is null then '' else log.model end = kind.model{by_whom} {newest}) as newest
            {of_status} order by newest.created_at desc, newest.request_id desc limit 50"""
    else:
        return f"""select {COLUMNS} from public.request_logs as log
            where {SPAN}{of_kind}{by_whom}{condition} {newest}"""
    return f"""select {COLUMNS} from ({found}) as page
        join public.request_logs as log on log.request_id = page.request_id and log.created_at = page.created_at
            and log.user_id = '{{user}}'
        order by log.created_at desc, log.request_id desc"""


POSTGRES = {
    "30 days": """
        select day - date '1970-01-01' as day, greatest(request_count, reached_upstream) as requests,
               greatest(rows, answered) as rows, answered, failed, input_tokens, output_tokens, cost_nano_usd
        from public.usage_counters where user_id = '{user}' and day >= current_date - 29 and day <= current_date
          and (request_count > 0 or rows > 0 or answered > 0) order by usage_counters.day""",
    "30 days by stage and model": """
        select stage, model, sum(requests)::bigint, sum(answered)::bigint, sum(input_tokens)::bigint,
               sum(output_tokens)::bigint, sum(cost_nano_usd)::bigint
        from cfx.usage_splits where user_id = '{user}' and day >= current_date - 29 and day <= current_date
        group by stage, model order by 7 desc, 3 desc, stage, model""",
    "a page from 30 days ago": page(condition=""" and log.created_at <= now() - interval '30 days'
        and (log.created_at, log.request_id) < (now() - interval '30 days', 'ffffffff-ffff-ffff-ffff-ffffffffffff')"""),
    "month to date": """
        select sum(answered), sum(cost_nano_usd) from public.usage_counters
        where user_id = '{user}' and day >= date_trunc('month', current_date)""",
    "pace": """
        select requests, latency[1], latency[2], first_token[1], first_token[2]
        from (select count(*) as requests,
                     percentile_disc(array[0.5, 0.95]) within group (order by latency_ms) as latency,
                     percentile_disc(array[0.5, 0.95]) within group (order by ttft_ms) as first_token
              from (select latency_ms, case when stream then ttft_ms end as ttft_ms from public.request_logs
                    where user_id = '{user}' and created_at >= now() - interval '1 day'
                      and created_at < now() + interval '1 day' and status = 'success'
                    order by created_at desc limit 1000) as newest) as paced""",
}
POSTGRES |= {title: page(**asked) for title, asked in FILTERS.items()}

SQLITE_NEWEST = """select * from request_logs
    where user_id = :user and request_id >= :first and request_id < :before
      and created_at >= :since and created_at < :until
    order by request_id desc limit 50"""
SQLITE_EVER = {"first": "00000000-0000", "before": "ffffffff-ffff", "since": "0001-01-01T00:00:00.000000Z",
               "until": "9999-12-30T00:00:00.000000Z"}


def sqlite_page(stage=None, model=None, status=None, key=None, session=None, error=None):
    """The statement that `statement_for` in src/storage/sqlite/pages.rs picks."""
    if error:
        by_whom = "and (:key is null or log.api_key_id = :key) and (:session is null or log.session_id = :session)"
        return sqlite_merge("request_logs_error", "and log.error_message is not null", "error_message", "null",
                            "instr(lower(last), lower(:error)) > 0", by_whom)
    if session:
        return sqlite_merge("request_logs_session", "and log.session_id = :session", "api_key_id", ":key", "true", "")
    if stage or model or status or key:
        return sqlite_merge("request_logs_kind", "", "api_key_id", ":key", "true", "")
    return SQLITE_NEWEST


def sqlite_merge(tree, within, last, only, passes, judged):
    def search(kind, what, rows):
        return f"""(select {what} from request_logs as log indexed by {tree}
            where log.user_id = :user {within} and log.status = {kind}.status
              and coalesce(log.stage, '') = +{kind}.stage and coalesce(log.model, '') = +{kind}.model {rows})"""

    def newest(company, before):
        return search(company, "log.request_id", f"""and log.{last} = {company}.last and log.request_id >= :first
            and log.request_id < {before} and log.created_at >= :since and log.created_at < :until {judged}
            order by log.request_id desc limit 1""")

    return f"""with recursive kind (status, stage, model) as (
            select status.name, split.stage, split.model
              from (select distinct stage, model from usage_splits
                     where user_id = :user and day >= substr(:since, 1, 10) and day <= substr(:until, 1, 10)
                       and (:stage is null or stage = :stage) and (:model is null or model = :model)) as split
             cross join (select 'success' as name union all select 'error'
                         union all select 'rate_limited' union all select 'cancelled') as status
             where :status is null or status.name = :status
        ), company (status, stage, model, last) as (
            select status, stage, model, coalesce({only}, {search("kind", f"min(log.{last})", "")}) from kind
            union all
            select status, stage, model, {search("company", f"min(log.{last})", f"and log.{last} > company.last")}
            from company where {only} is null and last is not null
        ), newest (status, stage, model, last, request_id) as (
            select status, stage, model, last, {newest("company", ":before")} from company
            where last is not null and {passes}
            union all
            select status, stage, model, last, {newest("newest", "newest.request_id")} from newest
            where request_id is not null
            order by 5 desc limit 50
        )
        select log.* from newest
         cross join request_logs as log on log.user_id = :user and log.request_id = newest.request_id
         order by log.request_id desc"""


SQLITE = {
    "30 days": ("""select day, max(request_count, reached_upstream), max(rows, answered), answered, failed, input_tokens,
            output_tokens, cost_nano_usd from usage_counters
        where user_id = :user and day >= date('now', '-29 days') and day <= date('now')
          and (request_count > 0 or rows > 0 or answered > 0) order by day""", {}),
    "30 days by stage and model": ("""select stage, model, sum(requests), sum(answered), sum(input_tokens),
            sum(output_tokens), sum(cost_nano_usd) from usage_splits
        where user_id = :user and day >= date('now', '-29 days') and day <= date('now')
        group by stage, model order by 7 desc, 3 desc, stage, model""", {}),
    "pace": ("""select latency_ms, iif(stream, ttft_ms, null) from request_logs
        where user_id = :user and request_id >= '00000000-0000' and created_at >= date('now', '-1 day')
          and +status = 'success' order by request_id desc limit 1000""", {}),
}
# Postgres judges the rows of a session one by one.
SQLITE_FILTERS = FILTERS | {
    "a page by a long session and a stage without rows": {"session": "long", "stage": "review"},
    "a page by a long session and a rare key": {"session": "long", "key": key("rare")},
    "a page by an error's text and a stage without rows": {"error": "TIMEOUT", "stage": "review"},
    "a page by an error's text and a rare key": {"error": "TIMEOUT", "key": key("rare")},
}
SQLITE |= {title: (sqlite_page(**asked), asked) for title, asked in SQLITE_FILTERS.items()}


# Whole pages, of the heavy user. The request is the first that the log's page names.
PAGES = ["/", "/logs", "/logs?stage=review", "/logs?stage=direct", "/logs?model=o3", "/logs?status=cancelled",
         "/logs?status=error", f"/logs?key={key('rare')}", "/logs?session=rare", "/logs?error=disk", "/logs/REQUEST",
         "/keys", "/connect"]


def session(number):
    """A token of the form that cfx gives out."""
    return "cfx_session_" + f"volume{number}".ljust(43, "x")


@functools.cache
def user(number):
    return str(uuid.UUID(hashlib.md5(f"user {number}".encode()).hexdigest()))


def told(title, who, took, slow):
    over = took > LIMIT
    if over:
        slow.append(f"{title} ({who}): {took:.1f} ms")
    print(f"{'SLOW' if over else '    '} {took:8.1f} ms  {title} ({who})", flush=True)


class Postgres:
    def __init__(self, server, name):
        self.url = server.rpartition("/")[0] + "/" + name

    def psql(self, *texts, url=None, **environment):
        command = ["psql", "-q", "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", url or self.url]
        command += [part for text in texts for part in ("-c", text)]
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)
        if done.returncode != 0:
            sys.exit(f"questions: {done.stderr}")
        return done.stdout.strip()

    def ask(self, slow):
        """The best of three, as the dashboard: planned and run behind row security."""
        login = re.sub(r"//[^@]*@", "//cfx_dashboard@", self.url)
        for title, text in POSTGRES.items():
            for who, number in WHO.items():
                explain = "explain (analyze, costs off, summary on) " + text.format(user=user(number))
                options = f"-c cfx.session={session(number)}"
                plans = [self.psql(explain, url=login, PGOPTIONS=options) for _ in range(3)]
                times = [sum(map(float, re.findall(r"(?:Planning|Execution) Time: ([\d.]+)", plan))) for plan in plans]
                told(title, who, min(times), slow)
                if min(times) > LIMIT:
                    print("\n".join("        " + line for line in plans[times.index(min(times))].splitlines()))

    def sign_in(self):
        self.psql(*(f"""insert into cfx.sessions (token_hash, user_id, expires_at)
            values (sha256('{session(number)}'), '{user(number)}', now() + interval '1 day')
            on conflict (token_hash) do update set expires_at = excluded.expires_at""" for number in WHO.values()))

    def learn(self):
        """What the migration does with rows that were there before it."""
        text = (MIGRATIONS / "postgres/0012_usage.sql").read_text()
        statement = text[text.index("with sums as"):text.index("-- Part of an error")]
        started = time.monotonic()
        self.psql("truncate cfx.usage_splits", statement, "vacuum analyze")
        print(f"questions: the days' sums learned in {time.monotonic() - started:.0f} s", flush=True)

    def migrate(self, files):
        """As cfx does, and remembers, so that it goes on from there."""
        for file in files:
            started, text = time.monotonic(), file.read_text()
            self.psql(text, f"""insert into cfx.schema_migrations (version, name, checksum) values (
                {int(file.name[:4])}, '{file.stem}', '{hashlib.sha256(text.encode()).hexdigest()[:16]}')""")
            if time.monotonic() - started > 1:
                print(f"questions: {file.stem} in {time.monotonic() - started:.0f} s", flush=True)


def postgres(server, rows, keep, slow):
    name = "questions" if keep else f"questions_{os.getpid()}"
    administrator, database = Postgres(server, "postgres"), Postgres(server, name)
    files = sorted((MIGRATIONS / "postgres").iterdir())
    if not administrator.psql(f"select 1 from pg_database where datname = '{name}'"):
        fill(administrator, database, name, files, rows)
    applied = database.psql("select name from cfx.schema_migrations").split()
    if len(applied) < len(files):
        database.migrate(file for file in files if file.stem not in applied)
        database.psql("vacuum analyze")
    database.sign_in()
    database.ask(slow)
    return database


def fill(administrator, database, name, files, rows):
    administrator.psql(f"create database {name}")
    database.psql("create schema cfx", """create table cfx.schema_migrations (version integer primary key, name text not null,
        checksum text not null, applied_at timestamptz not null default now())""")
    # Trees are quicker made than filled: what the log learns from, and is filtered by, comes when it is there.
    database.migrate(file for file in files if file.name < "0012")
    database.psql(f"""insert into cfx.accounts (id, email)
        select md5('user ' || n)::uuid, 'user' || n || '@example.org' from generate_series(0, {USERS} - 1) as n""",
                  f"select cfx.ensure_partitions((now() - interval '{DAYS + 10} days')::date, 6)")
    started = time.monotonic()
    for statement in log_rows(rows):
        database.psql(statement)
    print(f"questions: Postgres, {rows:,} rows in {time.monotonic() - started:.0f} s", flush=True)


def sqlite_rows(count, first=0):
    """Such rows as an edge would have written, oldest first: the heavy user's, and one of the others' after every ten. Where
    `first` is negative, the last are of that many steps from now."""
    now, step, every = time.time_ns() // 1_000, DAYS * 86_400 * 1_000_000 // count, rare(10 * count)
    all_key, rare_key = key("all"), key("rare")
    for n in range(first + count - 1, first - 1, -1):
        micros, odd = now - n * step, n % every
        yield sqlite_row(n, micros, (user(0), rare_key if odd == 17 else all_key),
                         "rare" if odd == 19 else "long" if n % 2 == 0 else f"session-{n // 200}",
                         "direct" if odd == 7 else ("plan", "code")[n % 2],
                         "o3" if odd == 11 else ("claude-sonnet", "deepseek")[n % 2],
                         "rate_limited" if odd == 13 else "error" if n % 20 == 0 else "success",
                         "disk_full" if odd == 20 else "upstream_timeout" if n % 20 == 0 else None)
        if n % 10 == 0:
            yield ordinary_row(n // 10, micros)


def ordinary_row(k, micros):
    who = 1 + k % (USERS - 1)
    return sqlite_row(-1 - k, micros, (user(who), key(who)), f"session-{who}-{k // (20 * USERS)}",
                      ("plan", "code", "review")[k % 3], ("claude-sonnet", "deepseek", "gpt-mini")[k % 3],
                      "error" if k % 20 == 0 else "cancelled" if k % 50 == 7 else "success",
                      "upstream_timeout" if k % 20 == 0 else None)


def sqlite_row(n, micros, of, session_id, stage, model, status, error):
    at = datetime.datetime.fromtimestamp(micros / 1e6, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    digest = hashlib.md5(str(n).encode()).hexdigest()
    ident = str(uuid.UUID(f"{micros // 1_000:012x}7{digest[:3]}8{digest[3:18]}"))
    return (*of, ident, session_id, stage, "header", model, 1, 2_048, 1_000 + n % 500, 0, 0, 200 + n % 90, 0, 1_200, 0, 330_000,
            900 + n % 700, 200, 1, status, 200, error, at)


SQLITE_INSERT = f"""insert into request_logs (user_id, api_key_id, request_id, session_id, stage, stage_source, model,
    stream, body_bytes, input_tokens, cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens,
    total_tokens, estimated, cost_nano_usd, latency_ms, ttft_ms, attempts, status, http_status, error_message, created_at)
    values ({', '.join('?' * 24)}) on conflict (user_id, request_id) do nothing"""


def sqlite(rows, slow, keep=None):
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(keep or stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(exist_ok=True)
        is_there = (folder / "questions.db").exists()
        database = stack.enter_context(contextlib.closing(sqlite3.connect(folder / "questions.db")))
        if not is_there:
            fill_sqlite(database, rows)
        for title, (text, values) in SQLITE.items():
            for who, number in {f"{rows:,} rows in SQLite": 0, "an ordinary share": 17}.items():
                times = []
                for _ in range(3):
                    asked = dict.fromkeys(ASKED) | SQLITE_EVER | values
                    begun = time.perf_counter()
                    database.execute(text, asked | {"user": user(number)}).fetchall()
                    times.append((time.perf_counter() - begun) * 1_000)
                told(title, who, min(times), slow)
        database.execute("pragma wal_checkpoint(truncate)")
        sqlite_price(folder)


def fill_sqlite(database, rows):
    database.executescript("pragma journal_mode = wal; pragma synchronous = off;")
    files = sorted((MIGRATIONS / "sqlite").iterdir())
    for file in files:
        if file.name < "0005":
            database.executescript(file.read_text())
    started = time.monotonic()
    database.executemany(SQLITE_INSERT, sqlite_rows(rows))
    database.commit()
    print(f"questions: SQLite, {rows:,} rows of one user in {time.monotonic() - started:.0f} s", flush=True)
    for file in files:
        if file.name >= "0005":
            started = time.monotonic()
            database.executescript(f"begin; {file.read_text()}; commit")
            print(f"questions: {file.stem} in {time.monotonic() - started:.1f} s", flush=True)


def sqlite_price(folder, batch=500, batches=100):
    """What writing a row takes of a core, as the ledger writes it, without the day's sums: those are kept by the batch."""
    of_one = [row for row in sqlite_rows(batch * batches, first=-batch * batches) if row[0] == user(0)]
    now = time.time_ns() // 1_000
    of_all = [ordinary_row(-1 - n * 7_919 % (batch * batches), now + n * 1_000) for n in range(batch * batches)]
    trees = ("request_logs_kind", "request_logs_session", "request_logs_error")
    for title, rows in (("one user", of_one), (f"{USERS:,} users at once", of_all)):
        took = []
        for dropped in (trees, ()):
            copy = pathlib.Path(shutil.copy(folder / "questions.db", folder / "price.db"))
            with contextlib.closing(sqlite3.connect(copy)) as database:
                database.executescript("pragma journal_mode = wal; pragma synchronous = normal;")
                for tree in dropped:
                    database.execute(f"drop index {tree}")
                database.execute("pragma wal_checkpoint(truncate)")
                begun = time.process_time()
                for first in range(0, len(rows), batch):
                    database.executemany(SQLITE_INSERT, rows[first:first + batch])
                    database.commit()
                took.append((time.process_time() - begun) * 1e6 / len(rows))
            copy.unlink()
        print(f"questions: a row of {title} takes {took[1]:.1f} µs, {took[0]:.1f} µs without {', '.join(trees)}", flush=True)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def pages(database, slow):
    """From the request to the page's last byte, the best of five, as the heavy user. The edge is there for its control API."""
    binary = os.environ.get("CFX_BINARY", ROOT / "target/release/cfx")
    edge, own, folder = free_port(), free_port(), tempfile.TemporaryDirectory()
    environment = {"PATH": os.environ["PATH"], "CFX_LOG": "warn"}
    processes = []
    try:
        with open(pathlib.Path(folder.name) / "log", "w") as log:
            def start(*words, **more):
                processes.append(subprocess.Popen([binary, *words], env=environment | more, stdout=log, stderr=log))
            start("dev", "--data", f"{folder.name}/data", "--http", f"127.0.0.1:{edge}", "--https",
                  f"127.0.0.1:{free_port()}", "--admin", f"127.0.0.1:{free_port()}", DATABASE_URL=database.url)
            login = re.sub(r"//[^@]*@", "//cfx_dashboard@", database.url)
            start("dashboard", "--address", f"127.0.0.1:{own}", "--edge", f"http://127.0.0.1:{edge}",
                  DASHBOARD_DATABASE_URL=login)
        deadline, request = time.monotonic() + 60, None
        for page in PAGES:
            times = []
            while len(times) < 5:
                begun = time.perf_counter()
                try:
                    connection = http.client.HTTPConnection("127.0.0.1", own, timeout=30)
                    connection.request("GET", page.replace("REQUEST", request or ""),
                                       headers={"Cookie": f"cfx_session={session(0)}"})
                    answer = connection.getresponse()
                    text = answer.read().decode()
                except OSError:
                    text, answer = "", None
                # Until both are there.
                if answer is None or answer.status != 200:
                    if time.monotonic() > deadline:
                        sys.exit(f"questions: {page}: {answer and answer.status}\n{text[:2000]}"
                                 + (pathlib.Path(folder.name) / "log").read_text()[-2000:])
                    time.sleep(0.2)
                    continue
                times.append((time.perf_counter() - begun) * 1_000)
            named = re.search(r"/logs/([0-9a-f-]{36})", text)
            request = request or (named and named[1])
            told(f"the page {page}, {len(text) // 1000} KB", "a tenth of all rows", min(times), slow)
    finally:
        for process in processes:
            process.terminate()
            process.wait()
        folder.cleanup()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--sqlite-rows", type=int, default=1_000_000)
    parser.add_argument("--keep", metavar="DIR")
    parser.add_argument("--pages", action="store_true")
    arguments = parser.parse_args()
    slow = []
    sqlite(arguments.sqlite_rows, slow, arguments.keep)
    database = postgres(os.environ["CFX_TEST_POSTGRES"], arguments.rows, arguments.keep, slow)
    if arguments.pages:
        pages(database, slow)
    if slow:
        sys.exit(f"questions: over {LIMIT:.0f} ms:\n  " + "\n  ".join(slow))


if __name__ == "__main__":
    main()
