"""cfx with everything on, over SQLite and over Postgres, beside a bare stock pingora proxy from the same build and
nginx's proxy_pass.

All stand in front of the same upstream and get the same requests, in turns of a few seconds: a shared machine
drifts between fast and slow spells, so each turn of cfx is held against its neighbours. The figure to trust is CPU time
per request: user and system time of the process, from the operating system, over the requests served. Throughput and
latency swing with the machine and stand beside it.
"""

import argparse
import http.client
import json
import os
import pathlib
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
# BENCH_PROFILE=debug: to see that a measurement runs at all, not what it comes to.
RELEASE = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", HERE.parent / "target")) / os.environ.get("BENCH_PROFILE", "release")
NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
TICKS = os.sysconf("SC_CLK_TCK")
THREADS = 2
EVENTS = 200
PATIENCE = 30

ANSWER = json.dumps({
    "id": "chatcmpl-1", "created": 1, "model": "upstream-bench", "object": "chat.completion",
    "choices": [{"finish_reason": "stop", "index": 0, "message": {"content": "First read, then write.", "role": "assistant"}}],
    "usage": {"completion_tokens": 20, "prompt_tokens": 10, "total_tokens": 30}}, separators=(",", ":"))

NGINX_CONF = """
{user}
worker_processes {workers};
error_log {folder}/error.log;
pid {folder}/{name}.pid;
daemon off;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_max_body_size 20m;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  keepalive_requests 1000000000;
{server}
}}
"""

UPSTREAM = """
  server {{
    listen 127.0.0.1:{port} reuseport;
    location / {{ default_type application/json; return 200 '{answer}'; }}
  }}
"""

# As one deploys it: kept connections upstream, events unbuffered (the upstream's X-Accel-Buffering says so).
PROXY = """
  upstream behind {{ server 127.0.0.1:{upstream}; keepalive 64; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{plain} reuseport;
    listen 127.0.0.1:{tls} ssl reuseport;
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    location / {{
      proxy_pass http://behind;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
    }}
  }}
"""

CFX_CONF = {
    "cfx.yaml": """
entrypoints:
  http:  {{ address: "127.0.0.1:{plain}" }}
  https: {{ address: "127.0.0.1:{tls}", tls: true, http2: true }}
admin: {{ address: "127.0.0.1:{admin}" }}
tls: {{ certificates: [{{ cert: "{certificate}", key: "{key}" }}] }}
upstreams:
  litellm: {{ targets: ["http://127.0.0.1:{upstream}"], api_key: "sk-bench", http2: {http2} }}
routes:
  - {{ name: llm, match: {{ path: /v1/ }}, llm: litellm }}
server: {{ threads: {threads}, grace: 2s }}
# All clients come from one address here, and as many as there are open files for.
guards: {{ connections: 1000000, connections_per_address: 1000000 }}
""",
    "models.yaml": """
stages:
  plan:   {{ model: bench, system: "You plan. Say what you would do and why; write no code.", max_tokens: 8192 }}
  code:   {{ model: bench }}
  review: {{ model: bench }}
models:
  bench: {{ upstream_model: upstream-bench, price: {{ input: 3.00, output: 15.00 }} }}
""",
    "limits.yaml": "daily_requests: 1000000000\nconcurrent_streams: 1000\nconcurrent_requests: 1000\n",
}


class Contender:
    """One proxy in front of one upstream."""

    def __init__(self, name, process, plain, tls, key=None):
        self.name, self.process, self.plain, self.tls, self.key = name, process, plain, tls, key

    def cpu(self):
        """User and system seconds of the process and its children so far."""
        return sum(cpu_seconds(pid) for pid in family(self.process.pid))

    def resident(self):
        return sum(resident_kib(pid) for pid in family(self.process.pid)) / 1024


class Ground:
    """Everything that is started, in a folder of its own."""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="cfx-bench-"))
        self.processes = []
        # Of a throw-away server, from scripts/servers. None: SQLite alone.
        self.postgres = os.environ.get("CFX_TEST_POSTGRES")

    def close(self):
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def spawn(self, name, command, port, **options):
        log = open(self.folder / f"{name}.log", "w")
        process = subprocess.Popen([str(part) for part in command], stdout=log, stderr=log, **options)
        self.processes.append(process)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return process
            time.sleep(0.02)
        sys.exit(f"bench: {name} did not start:\n{(self.folder / f'{name}.log').read_text()[-3000:]}")

    def nginx(self, name, workers, server, port):
        folder = self.folder / name
        folder.mkdir()
        # Started by root, its workers would become nobody, who may not write here.
        user = "user root;" if os.getuid() == 0 else ""
        (folder / "nginx.conf").write_text(NGINX_CONF.format(user=user, workers=workers, folder=folder, name=name, server=server))
        return self.spawn(name, [NGINX, "-p", folder, "-c", folder / "nginx.conf"], port)

    def certificate(self):
        certificate, key = self.folder / "cert.pem", self.folder / "cert.key"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                        "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=localhost",
                        "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"], check=True, capture_output=True)
        return certificate, key

    def contenders(self, tag, upstream):
        """All of them in front of one upstream port."""
        certificate, key = self.certificate()
        found = []
        plain, tls = free_port(), free_port()
        bare = [RELEASE / "examples/bare_proxy", f"127.0.0.1:{upstream}", f"127.0.0.1:{plain}", f"127.0.0.1:{tls}",
                certificate, key, str(THREADS)]
        found.append(Contender("bare pingora", self.spawn(f"bare-{tag}", bare, tls), plain, tls))
        plain, tls = free_port(), free_port()
        server = PROXY.format(upstream=upstream, plain=plain, tls=tls, certificate=certificate, key=key)
        found.append(Contender("nginx", self.nginx(f"nginx-{tag}", THREADS, server, tls), plain, tls))
        found.append(self.cfx(tag, upstream, certificate, key, "cfx", {}))
        if self.postgres:
            database = f"cfx_{tag}"
            subprocess.run(["psql", "-q", "-X", self.postgres, "-c", f"create database {database}"], check=True)
            url = self.postgres.rpartition("/")[0] + "/" + database
            found.append(self.cfx(tag, upstream, certificate, key, "cfx + postgres", {"DATABASE_URL": url}))
        for contender in found:
            contender.key = contender.key or found[2].key
        return found

    def cfx(self, tag, upstream, certificate, key, name, store, limits=CFX_CONF["limits.yaml"], http2=False,
            edge=CFX_CONF["cfx.yaml"]):
        """cfx with everything on, over the store that the environment `store` names. `http2`: to its upstream."""
        plain, tls, admin = free_port(), free_port(), free_port()
        folder = self.folder / f"{name.replace(' ', '')}-{tag}"
        conf, data = folder / "conf", folder / "data"
        conf.mkdir(parents=True)
        data.mkdir()
        values = dict(plain=plain, tls=tls, admin=admin, upstream=upstream, certificate=certificate, key=key, threads=THREADS,
                      http2="always" if http2 else "auto")
        for file, text in {**CFX_CONF, "cfx.yaml": edge, "limits.yaml": limits}.items():
            (conf / file).write_text(text.format(**values))
        environment = {"PATH": os.environ["PATH"], "KEY_HASH_PEPPER": "a pepper of at least thirty-two bytes, for bench", **store}

        def command(*words):
            done = subprocess.run([RELEASE / "cfx", *words, "--data", data], env=environment, capture_output=True, text=True)
            if done.returncode != 0:
                sys.exit(f"bench: cfx {' '.join(words[:2])} failed:\n{done.stderr}")
            return done.stdout

        command("migrate")
        command("user", "create", "bench@example.org")
        made = command("key", "create", "--user", "bench@example.org", "--label", "bench", "--json")
        process = self.spawn(f"{folder.name}", [RELEASE / "cfx", "run", "--conf", conf, "--data", data], admin, env=environment)
        wait_for_port(tls)
        return Contender(name, process, plain, tls, json.loads(made)["key"])


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for_port(port):
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    sys.exit(f"bench: nothing listens on {port}")


def family(pid):
    """A process and its children (nginx works in its children)."""
    children = []
    for task in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        children += [int(child) for child in task.read_text().split()]
    return [pid] + children


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_kib(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text()).group(1))


def milliseconds(text):
    number, unit = re.match(r"([\d.]+)(us|ms|s|m)", text).groups()
    return float(number) * {"us": 1e-3, "ms": 1, "s": 1e3, "m": 6e4}[unit]


def window(contender, tls, body, connections, seconds, refused=0.0):
    """One turn: CPU a request in µs, requests a second, p50 and p99 in ms. `refused`: the part that may be."""
    scheme, port = ("https", contender.tls) if tls else ("http", contender.plain)
    environment = {**os.environ, "BENCH_BODY": str(body), "BENCH_KEY": contender.key}
    before, started = contender.cpu(), time.monotonic()
    done = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "--timeout", "10s", "-s", HERE / "load.lua",
         f"{scheme}://127.0.0.1:{port}/v1/chat/completions"],
        env=environment, capture_output=True, text=True, timeout=seconds + PATIENCE)
    cpu, elapsed = contender.cpu() - before, time.monotonic() - started
    text = done.stdout
    served = int(re.search(r"(\d+) requests in", text).group(1))
    others = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    others = int(others.group(1)) if others else 0
    if done.returncode != 0 or others > refused * served or "Socket errors" in text:
        sys.exit(f"bench: {contender.name} failed under load:\n{text}{done.stderr}")
    p50, p99 = (milliseconds(re.search(rf"\s{part}%\s+(\S+)", text).group(1)) for part in (50, 99))
    return {"cpu": cpu / served * 1e6, "rate": served / elapsed, "p50": p50, "p99": p99, "refused": others}


def handshakes(contender, manner, connections, seconds):
    """One turn of clients that come, shake hands and go: CPU a connection in µs, and of how many the server had the session."""
    before, started = contender.cpu(), time.monotonic()
    done = subprocess.run([RELEASE / "examples/handshakes", f"127.0.0.1:{contender.tls}", manner, str(seconds), str(connections)],
                          capture_output=True, text=True, timeout=seconds + PATIENCE)
    cpu, elapsed = contender.cpu() - before, time.monotonic() - started
    seen = json.loads(done.stdout) if done.returncode == 0 else {}
    if not seen.get("handshakes") or seen["failed"]:
        sys.exit(f"bench: {contender.name} failed to shake hands:\n{done.stdout}{done.stderr}")
    return {"cpu": cpu / seen["handshakes"] * 1e6, "rate": seen["handshakes"] / elapsed, "p50": seen["p50_us"] / 1e3,
            "p99": seen["p99_us"] / 1e3, "resumed": seen["resumed"] / seen["handshakes"]}


def check(contender, tls, body):
    """One request by hand: what is measured must be the answer, not a refusal."""
    kind = http.client.HTTPSConnection if tls else http.client.HTTPConnection
    options = {}
    if tls:
        import ssl
        options["context"] = ssl._create_unverified_context()
    connection = kind("127.0.0.1", contender.tls if tls else contender.plain, timeout=PATIENCE, **options)
    connection.request("POST", "/v1/chat/completions", body.read_bytes(),
                       {"content-type": "application/json", "authorization": f"Bearer {contender.key}"})
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != 200 or (b"First read" not in text and b"[DONE]" not in text):
        sys.exit(f"bench: {contender.name} answers {answer.status}: {text[:300]}")
    connection.close()


def chatting(tls, body, connections):
    """Turns of clients that stay and ask."""
    def turn(contender, seconds):
        if seconds == 0:
            check(contender, tls, body)
        return window(contender, tls, body, connections, max(seconds, 1))
    return turn


def coming(manner, connections):
    """Turns of clients that come, shake hands and go."""
    return lambda contender, seconds: handshakes(contender, manner, connections, max(seconds, 1))


def scenario(title, contenders, turn, arguments, per=1, unit="request"):
    """Rounds of turns, then the table. `turn`: one of a contender, of so many seconds, none of which is counted where they
    are 0. `per`: things in an answer that the CPU time is divided by."""
    rounds = {contender.name: [] for contender in contenders}
    for contender in contenders:
        turn(contender, 0)
    for number in range(arguments.rounds):
        # Each round begins with another, so that no one always follows the same neighbour.
        order = contenders[number % len(contenders):] + contenders[:number % len(contenders)]
        for contender in order:
            rounds[contender.name].append(turn(contender, arguments.seconds))
    bare = rounds["bare pingora"]
    print(f"\n{title}")
    print(f"  {'':16}{'CPU µs/' + unit:>16}{'× bare (range)':>24}{'answers/s':>12}{'p50 ms':>9}{'p99 ms':>9}{'RSS MB':>9}")
    ratio = None
    for contender in contenders:
        turns = rounds[contender.name]
        ratios = sorted(turn["cpu"] / other["cpu"] for turn, other in zip(turns, bare))
        middle = {name: statistics.median(turn[name] for turn in turns) for name in turns[0]}
        spread = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}–{ratios[-1]:.2f})"
        print(f"  {contender.name:16}{middle['cpu'] / per:>16.2f}{spread:>24}{middle['rate']:>12.0f}"
              f"{middle['p50']:>9.2f}{middle['p99']:>9.2f}{contender.resident():>9.1f}"
              + (f"  {middle['resumed']:.0%} resumed" if "resumed" in middle else ""), flush=True)
        if contender.name == "cfx":
            ratio = statistics.median(ratios)
    return ratio


def chat_body(folder, name, size, stream):
    """A chat request of about `size` bytes, as an agent sends it."""
    filler = "fn main() {\n    println!(\"a line of code, é, \\t and a quote\");\n}\n"
    body = {"model": "plan", "temperature": 0, "messages": [
        {"role": "system", "content": "You are a coding agent."}, {"role": "user", "content": ""}]}
    if stream:
        body.update(stream=True, stream_options={"include_usage": True})
    room = size - len(json.dumps(body))
    body["messages"][1]["content"] = filler * max(1, room // len(json.dumps(filler)[1:-1]))
    path = folder / name
    path.write_text(json.dumps(body))
    return path


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=3, help="of one turn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", help="part of a scenario's title")
    parser.add_argument("--most", type=float, help="fail where cfx's chat CPU is above this multiple of bare pingora's")
    arguments = parser.parse_args()
    ground = Ground()
    try:
        json_port, sse_port = free_port(), free_port()
        ground.nginx("upstream", 1, UPSTREAM.format(port=json_port, answer=ANSWER), json_port)
        ground.spawn("sse", [sys.executable, HERE / "sse.py", str(sse_port)], sse_port)
        small = chat_body(ground.folder, "small.json", 2_048, stream=False)
        streamed = chat_body(ground.folder, "streamed.json", 2_048, stream=True)
        large = chat_body(ground.folder, "large.json", 1 << 20, stream=False)
        chat, events = ground.contenders("json", json_port), ground.contenders("sse", sse_port)
        event, connection = {"per": EVENTS, "unit": "event"}, {"unit": "connection"}
        scenarios = [
            ("chat, 2 KB, 32 connections, plaintext", chat, chatting(False, small, 32), {}),
            ("chat, 2 KB, 32 connections, TLS", chat, chatting(True, small, 32), {}),
            (f"SSE, {EVENTS} events an answer, 8 connections, plaintext", events, chatting(False, streamed, 8), event),
            (f"SSE, {EVENTS} events an answer, 8 connections, TLS", events, chatting(True, streamed, 8), event),
            ("chat, 1 MB, 16 connections, plaintext", chat, chatting(False, large, 16), {}),
            # No store has a part in these.
            ("TLS, new connections, 16 clients", chat[:3], coming("full", 16), connection),
            ("TLS, resumed connections, 16 clients", chat[:3], coming("resumed", 16), connection),
        ]
        worst = 0
        for title, contenders, turn, options in scenarios:
            if arguments.only and arguments.only.lower() not in title.lower():
                continue
            ratio = scenario(title, contenders, turn, arguments, **options)
            if "2 KB" in title:
                worst = max(worst, ratio)
        print("\nCPU: user + system time of the process over answers (or events, connections) served; × bare: median of the rounds, "
              "each against\nthe bare proxy's turn of the same round. cfx: key, quota, ledger, metrics, usage tap all on,\nits store SQLite where no other is named.")
        if arguments.most and worst > arguments.most:
            sys.exit(f"bench: cfx takes {worst:.2f} × bare pingora's CPU, over {arguments.most}")
    finally:
        ground.close()


if __name__ == "__main__":
    main()
