"""The dashboard loaded far beyond what it serves, and killed, beside chat requests at a steady pace.

The edge, its model, its clients and Postgres keep one core; the dashboard and those who load it have the other, as a
container with a limit of its own has. Rounds of three spells, each as long: nobody at the dashboard, 2,000 requests a second
for pages at it, the dashboard killed under that load. Fails where the p99 of chat requests is more than a tenth above that
of the quiet spell of the same round, in the median of the rounds, or where a chat request is refused. --shared: no cores of
their own; nothing is held against that. All load is of one address: through the edge, the route's `rate_limit` holds it.
Start it by scripts/beside, which brings the throw-away server.
"""

import argparse
import http.client
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import bodies
import contenders
import load
import process
import upstreams
from ground import CFX, PATIENCE, Database, Ground, free_port

WITHIN = 1.1
CLIENTS = 8
# Who look at pages. One alone is told to wait long before the dashboard is at its pace.
USERS = 24
# A user who looks at the dashboard has a session: a page costs the edge a question and the database several.
MODES = {"sign-in": "/sign-in", "overview": "/", "logs": "/logs"}

# Its routes are as conf/ has them.
EDGE = contenders.CFX_CONF["cfx.yaml"].replace("\nroutes:\n", """
  pages: {{ targets: ["http://127.0.0.1:{pages}"], breaker: {{ open_for: 2s }} }}
control: {{ address: "127.0.0.1:{control}" }}
identity: {{ registration: closed }}
routes:
  - {{ name: pages, match: {{ path: / }}, upstream: pages, rate_limit: {{ requests: 50, per: 1s, burst: 300 }} }}
  - {{ name: api, match: {{ path: /api/ }}, control: true, rate_limit: {{ requests: 50, per: 1s, burst: 300 }} }}
""")


class Dashboard:
    """`cfx dashboard` in front of an edge, which can be killed and started again."""

    def __init__(self, ground, database, control, port, cores):
        self.ground, self.port, self.cores = ground, port, cores
        url = database.url.replace("postgres@", "cfx_dashboard@")
        self.environment = {"PATH": os.environ["PATH"], "DASHBOARD_DATABASE_URL": url,
                            "CFX_EDGE_URL": f"http://127.0.0.1:{control}", "CFX_DASHBOARD_ADDRESS": f"127.0.0.1:{port}"}
        self.start()

    def start(self):
        command = pinned(self.cores) + [CFX, "dashboard"]
        self.process = self.ground.spawn("dashboard", command, self.port, env=self.environment)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(PATIENCE)


def pinned(cores):
    return ["taskset", "-c", cores] if cores else []


def session(contender, edge_environment, data, user):
    """The cookie of somebody who is signed in."""
    made = subprocess.run([CFX, "user", "create", f"{user}@example.org", "--data", data],
                          env=edge_environment, capture_output=True, text=True)
    if made.returncode != 0:
        sys.exit(f"beside: no link to sign in by:\n{made.stderr}")
    connection = http.client.HTTPConnection("127.0.0.1", contender.plain, timeout=PATIENCE)
    connection.request("POST", "/api/login/link", json.dumps({"link": re.search(r"cfx_link_\w+", made.stdout).group()}),
                       {"content-type": "application/json"})
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != 200:
        sys.exit(f"beside: signing in answers {answer.status}: {text[:300]}")
    return "cfx_session=" + json.loads(text)["token"]


def ask(url, rate, seconds, cookies, cores, folder):
    """Asks for a page at this pace at most, as each user in turn: each of the clients waits between an answer and its next request."""
    clients = 64
    script = folder / "pages.lua"
    listed = ", ".join(f"'{cookie}'" for cookie in cookies)
    script.write_text(f"""
local cookies, turn = {{ {listed} }}, 0
function request()
  turn = turn % #cookies + 1
  return wrk.format(nil, nil, {{ Cookie = cookies[turn] }})
end
function delay() return {clients * 1000 // rate} end
local thread
function setup(made) thread = made end
local pages = 0
function response(status) if status == 200 then pages = pages + 1 end; served = pages end
function done() io.write("pages: " .. thread:get("served") .. "\\n") end
""")
    command = [*pinned(cores), "wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "10s", "-s", script, url]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def served(said):
    """Pages that came as such, of what wrk says of one spell, and all that was asked for."""
    return [int(re.search(pattern, said).group(1)) for pattern in (r"pages: (\d+)", r"(\d+) requests in")]


def chat(contender, body, rate, seconds, cores):
    """Chat requests at a steady pace: the times they took, in ms."""
    with tempfile.NamedTemporaryFile() as log:
        done = subprocess.run(
            [*pinned(cores), "h2load", "--h1", f"-c{CLIENTS}", f"--rps={rate / CLIENTS}", "-D", str(seconds), "-d", body,
             "-H", "content-type: application/json", "-H", f"authorization: Bearer {contender.key}", f"--log-file={log.name}",
             f"http://127.0.0.1:{contender.plain}/v1/chat/completions"],
            capture_output=True, text=True, timeout=seconds + PATIENCE)
        rows = [line.split("\t") for line in open(log.name)]
    refused = [row[1] for row in rows if row[1] != "200"]
    if done.returncode != 0 or not rows or refused:
        sys.exit(f"beside: of {len(rows)} chat requests {len(refused)} were refused ({set(refused)}):\n{done.stdout}{done.stderr}")
    return [int(row[2]) / 1e3 for row in rows]


def until_served(url):
    """Seconds until the edge serves pages again."""
    started = time.monotonic()
    while time.monotonic() < started + PATIENCE:
        try:
            urllib.request.urlopen(url, timeout=PATIENCE).read()
            return time.monotonic() - started
        except urllib.error.HTTPError:
            time.sleep(0.05)
    sys.exit("beside: a dashboard that is back is not served")


def percentile(times, part):
    return sorted(times)[min(len(times) - 1, int(len(times) * part))]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=6)
    parser.add_argument("--rate", type=int, default=500, help="chat requests a second")
    parser.add_argument("--pages", type=int, default=2_000, help="requests a second at the dashboard")
    parser.add_argument("--shared", action="store_true", help="all on all cores")
    arguments = parser.parse_args()
    edge_core, page_core = (None, None) if arguments.shared else ("0", "1")
    with Ground() as ground:
        control, pages = free_port(), free_port()
        port = upstreams.answers(ground)
        body = bodies.chat(ground.folder, "small.json", 2_048)
        database = Database(os.environ["CFX_TEST_POSTGRES"], "beside")
        store = {"DATABASE_URL": database.url}
        edge = EDGE.replace("{pages}", str(pages)).replace("{control}", str(control))
        contender = contenders.cfx(ground, "beside", port, store=store, edge=edge)
        load.check(contender, body)
        dashboard = Dashboard(ground, database, control, pages, page_core)
        if edge_core:
            postmaster = int(database.psql("select pid from pg_stat_activity where backend_type = 'checkpointer'"))
            parent = int(re.search(r"PPid:\s+(\d+)", open(f"/proc/{postmaster}/status").read()).group(1))
            for pid in (contender.process.pid, parent, ground.processes[0].pid):
                process.pin(pid, [int(edge_core)])
        environment = {"PATH": os.environ["PATH"], "KEY_HASH_PEPPER": contenders.PEPPER, **store}
        cookies = [session(contender, environment, ground.folder / "cfx-beside" / "data", f"user{n}") for n in range(USERS)]
        chat(contender, body, arguments.rate, 2, edge_core)
        wrong = []
        for way, at in {"at itself": pages, "through the edge": contender.plain}.items():
            for name, path in MODES.items():
                rounds, pages_served, asked, back = [], 0, 0, []
                for _ in range(arguments.rounds):
                    quiet = chat(contender, body, arguments.rate, arguments.seconds, edge_core)
                    url = f"http://127.0.0.1:{at}{path}"
                    others = ask(url, arguments.pages, arguments.seconds + 1, cookies, page_core, ground.folder)
                    time.sleep(0.5)
                    loaded = chat(contender, body, arguments.rate, arguments.seconds, edge_core)
                    of_spell = served(others.communicate(timeout=PATIENCE)[0])
                    pages_served, asked = pages_served + of_spell[0], asked + of_spell[1]
                    others = ask(url, arguments.pages, arguments.seconds + 1, cookies, page_core, ground.folder)
                    time.sleep(0.5)
                    dashboard.kill()
                    dead = chat(contender, body, arguments.rate, arguments.seconds, edge_core)
                    others.communicate(timeout=PATIENCE)
                    dashboard.start()
                    back.append(until_served(f"http://127.0.0.1:{contender.plain}/sign-in"))
                    rounds.append((quiet, loaded, dead))
                spells = [[(percentile(times, 0.5), percentile(times, 0.99)) for times in spell] for spell in zip(*rounds)]
                of_rounds = [[p99 / base for (_, p99), (_, base) in zip(spell, spells[0])] for spell in spells[1:]]
                ratios = [statistics.median(each) for each in of_rounds]
                shown = [f"{statistics.median(p50 for p50, _ in spell):.2f}/{statistics.median(p99 for _, p99 in spell):.2f}" for spell in spells]
                told = [f"({ratio:.2f} ×, at worst {max(each):.2f})" for ratio, each in zip(ratios, of_rounds)]
                seconds = arguments.rounds * (arguments.seconds + 1)
                print(f"{name} {way}: {pages_served / seconds:,.0f} pages/s of {asked / seconds:,.0f} asked for; chat p50/p99 ms: quiet {shown[0]}, "
                      f"loaded {shown[1]} {told[0]}, killed {shown[2]} {told[1]}, "
                      f"served again after at most {max(back):.1f} s", flush=True)
                if max(ratios) > WITHIN:
                    wrong.append(f"{name} {way}")
        if wrong and not arguments.shared:
            sys.exit("beside: p99 of chat requests more than a tenth above: " + ", ".join(wrong))


if __name__ == "__main__":
    main()
